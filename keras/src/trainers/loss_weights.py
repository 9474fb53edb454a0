"""What may be a loss weight, and how it is read, applied and saved.

Not part of upstream Keras 3.15.1, which takes numbers, and keeps what a
`keras.Variable` held when a step was traced.
"""

import contextlib

import numpy as np

from keras.src import backend
from keras.src import ops
from keras.src.losses.backend_ops import convert_to_numpy
from keras.src.losses.backend_ops import is_tensor
from keras.src.trainers.argument_errors import invalid
from keras.src.trainers.output_structure import describe
from keras.src.trainers.output_structure import flatten_with_paths


def _map_weights(function, weights):
    """The same structure, of what a function makes of each weight."""
    if isinstance(weights, dict):
        return {k: _map_weights(function, v) for k, v in weights.items()}
    if isinstance(weights, (list, tuple)):
        # A namedtuple is matched like a tuple, and can't be saved.
        kind = list if isinstance(weights, list) else tuple
        return kind(_map_weights(function, weight) for weight in weights)
    return function(weights)


class WeightArray(list):
    """A 1-D array of loss weights: a list of weights."""


def plain_weights(loss_weights):
    """Loss weights with numbers as floats and 1-D arrays as lists.

    Args:
        loss_weights: What `compile` was given.

    Returns:
        The same structure of floats, `WeightArray`s, tensors, variables and
        `None`s.

    Raises:
        ValueError: If it holds something that is no scalar.
    """

    def refuse(weight):
        return invalid(
            "loss_weights",
            f"{describe(weight)} is no scalar.",
            loss_weights,
            "scalars: numbers, 0-d arrays or tensors, or scalar "
            "`keras.Variable`s, in the structure of the outputs.",
        )

    def convert(weight):
        if weight is None:
            return None
        if isinstance(weight, backend.Variable) or is_tensor(weight):
            # Kept as it is: its value may change between steps.
            if len(weight.shape) == 0:
                return weight
            if isinstance(weight, backend.Variable):
                raise refuse(weight)
            weight = convert_to_numpy(weight)
        array = np.asarray(weight)
        # To NumPy, bfloat16 is a type that somebody made up.
        is_real = array.dtype.kind in "biuf" or array.dtype.name == "bfloat16"
        if not is_real or array.ndim > 1:
            raise refuse(weight)
        if array.ndim == 0:
            return float(array)
        return WeightArray(float(value) for value in array)

    return _map_weights(convert, loss_weights)


class HandedWeights:
    """The variables among loss weights, and what a step reads instead of them.

    A step that is compiled by JAX has to be handed whatever may change: what it
    reads by itself is what it read when it was traced.

    Args:
        loss_weights: See `plain_weights`.
    """

    def __init__(self, loss_weights):
        leaves = [leaf for _, leaf in flatten_with_paths(loss_weights)]
        variables = [x for x in leaves if isinstance(x, backend.Variable)]
        # Each of them once.
        self.variables = list({id(x): x for x in variables}.values())
        self._values = {}

    @contextlib.contextmanager
    def handed(self, variables, values):
        """Reads `values` instead of some of the variables.

        Args:
            variables: Some of `self.variables`.
            values: A scalar tensor for each of them.
        """
        before = self._values
        self._values = {
            id(variable): value for variable, value in zip(variables, values)
        }
        try:
            yield
        finally:
            # A compiled step may be part of another one.
            self._values = before

    def read(self, weight):
        return self._values.get(id(weight), weight)


def weigh(raw, weight):
    """The contribution of a loss entry: its raw loss times its weight."""
    if weight is None:
        return raw
    if not isinstance(weight, float):
        weight = ops.cast(weight, raw.dtype)
    return ops.multiply(raw, weight)


def current_loss_weights(loss_weights):
    """Loss weights as they are now: numbers where `keras.Variable`s stood.

    Args:
        loss_weights: What `compile` was given.

    Returns:
        The same structure, which can be saved on every backend.
    """

    def convert(weight):
        if isinstance(weight, backend.Variable) or is_tensor(weight):
            return convert_to_numpy(weight).tolist()
        return weight

    return _map_weights(convert, loss_weights)
