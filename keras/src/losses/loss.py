"""The base class of all losses, and how a loss becomes one number.

Replaces the module of the same name in Keras 3.15.1. What is changed: sample
weights and masks line up with the unreduced loss sample by sample (see
`weighting.py`); where they tell entries apart that one of Keras' own losses
would average first, it keeps these apart; weights are never changed in place;
a scalar loss is scaled for `tf.distribute` like any other; integer labels of
Keras' own losses are not rounded to a narrow float type. What users write
themselves is handed what the base release hands it (see `ownership.py`). What
has neither weight nor mask goes straight to the mean.
"""

import numpy as np

from keras.src import backend
from keras.src import dtype_policies
from keras.src import ops
from keras.src import tree
from keras.src.api_export import keras_export
from keras.src.backend.common.masking import get_keras_mask
from keras.src.backend.common.variables import is_float_dtype
from keras.src.backend.common.variables import standardize_dtype
from keras.src.losses import native
from keras.src.losses import ownership
from keras.src.losses import replicas
from keras.src.losses import weighting
from keras.src.losses.replicas import scale_loss_for_distribution
from keras.src.losses.replicas import (
    unscale_loss_for_distribution as unscale_loss_for_distribution,
)
from keras.src.losses.weighting import apply_mask
from keras.src.losses.weighting import is_converted
from keras.src.losses.weighting import map_leaves
from keras.src.losses.weighting import squeeze_or_expand_to_same_rank
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.utils.naming import auto_name

# A float type with fewer than the 24 bits of precision of float32 has no
# room for class indices above 256 (bfloat16) or 2048 (float16).
_NARROW = ("float16", "bfloat16")
_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
_REDUCTIONS = ("sum", *_MEANS, "none", None)


@keras_export(["keras.Loss", "keras.losses.Loss"])
class Loss(KerasSaveable):
    """The base of all losses.

    A subclass implements `call`, which returns the unreduced loss: a value
    for each sample, or several for each. Calling the object weighs these
    values, leaves out those that are masked, and reduces them.

    With `l` the values, `w` the sample weights, `m` the mask (1 where there
    is none) and `n` the number of values that the mask leaves, the reductions
    are

    - `"sum_over_batch_size"`, `"mean"`: `sum(w * m * l) / n`
    - `"mean_with_sample_weight"`: `sum(w * m * l) / sum(w * m)`
    - `"sum"`: `sum(w * m * l)`
    - `"none"`, `None`: the array `w * m * l`

    Sample weights and masks are aligned with the values from the left: of
    shape `(batch_size,)`, they weigh each sample as a whole. Where `n` or the
    sum of the weights is 0, so is the loss. A NaN stays a NaN, also under a
    weight of 0 or a mask: the weights are factors. A single number stands for
    the value of each entry that the weights or the mask have.

    Args:
        name: Name of the loss. Defaults to one made from the class.
        reduction: How the values become one number; see above. Defaults to
            `"sum_over_batch_size"`.
        dtype: The dtype, or `keras.DTypePolicy`, of the computation. Defaults
            to `keras.config.floatx()`. Predictions and labels are converted
            to it, except for integer labels of Keras' own losses where it is
            `float16` or `bfloat16`, which would round them.

    Example:

    >>> import numpy as np
    >>> import keras
    >>> class Quartic(keras.losses.Loss):
    ...     def call(self, y_true, y_pred):
    ...         return keras.ops.mean((y_true - y_pred) ** 4, axis=-1)
    >>> labels = np.array([[0.0], [0.0]])
    >>> predictions = np.array([[1.0], [2.0]])
    >>> float(Quartic()(labels, predictions))
    8.5
    >>> weights = np.array([1.0, 0.5])
    >>> float(Quartic()(labels, predictions, sample_weight=weights))
    4.5
    """

    def __init__(self, name=None, reduction="sum_over_batch_size", dtype=None):
        self.reduction = standardize_reduction(reduction)
        self.name = name or auto_name(type(self).__name__)
        self._dtype_policy = dtype_policies.get(dtype or backend.floatx())
        self._dtype = self._dtype_policy.compute_dtype

    @property
    def dtype(self):
        return self._dtype

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Computes the loss.

        Args:
            y_true: Labels, of shape `(batch_size, ...)`, or a structure.
            y_pred: Predictions, likewise. A mask that they carry is used.
            sample_weight: Factors whose axes are the first ones of the
                unreduced loss, or a number for all. Defaults to 1.

        Returns:
            The reduced loss, a scalar unless `reduction` is `None`.

        Raises:
            ValueError: If sample weights or mask don't fit the unreduced loss.
        """
        with backend.name_scope(self.name):
            mask = get_keras_mask(y_pred)
            if sample_weight is not None:
                sample_weight = ops.convert_to_tensor(sample_weight, self.dtype)
            values, mask = unreduced(self, y_true, y_pred, sample_weight, mask)
            return reduce_weighted_values(
                values,
                sample_weight=sample_weight,
                mask=mask,
                reduction=self.reduction,
                dtype=self.dtype,
            )

    def call(self, y_true, y_pred):
        """Computes the unreduced loss.

        Args:
            y_true: Labels, of shape `(batch_size, ...)`, or a structure.
            y_pred: Predictions, likewise.

        Returns:
            A tensor of shape `(batch_size, ...)`.
        """
        raise NotImplementedError

    def get_config(self):
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def _obj_type(self):
        return "Loss"


# These are no methods, whose names a user's own loss may have for its own.


def unreduced(loss, y_true, y_pred, sample_weight=None, mask=None):
    """The unreduced loss, with an entry for each that is to be weighed.

    Returns:
        The values, and their mask: that of the predictions, joined with the
        one that the loss gave them.
    """
    found, axes = ownership.worker(loss), 0
    if sample_weight is not None or mask is not None:
        axes = max(map(weighting.axes_told_apart, (sample_weight, mask)))
    if ownership.is_defined_by_keras(found):
        y_true, y_pred = _convert(y_true, y_pred, loss.dtype)
        is_entrywise = ownership.is_entrywise(found)
        if axes and is_entrywise:
            y_true, y_pred = weighting.keep_apart(y_true, y_pred, axes)
        values = loss.call(y_true, y_pred)
        if is_entrywise:
            # These mask nothing, and asking costs 3 us with TensorFlow.
            return values, mask
    else:
        values = _values_of_users_own(
            loss, found, y_true, y_pred, sample_weight, axes
        )
    return values, weighting.both(mask, get_keras_mask(values))


def _values_of_users_own(loss, found, y_true, y_pred, sample_weight, axes):
    """What a loss of a user's own, or of a user's function, returns."""
    y_true = map_leaves(lambda x: _tensor(x, loss.dtype), y_true)
    y_pred = map_leaves(lambda x: _tensor(x, loss.dtype), y_pred)
    is_function = found is not loss
    if not is_function:
        warn_of_ranks(found, y_true, y_pred)
    values = loss.call(y_true, y_pred)
    rank = weighting.rank_of(values)
    if is_function and rank and rank < axes:
        # The axis that was squeezed is what the weights are for.
        y_true = weighting.with_axis_of(y_pred, y_true)
        values = loss.call(y_true, y_pred)
    if rank == 0 and weighting.axes_told_apart(sample_weight):
        warn_of_scalar(found, sample_weight)
    if rank == 0 and loss.reduction in _MEANS and replicas.are_several():
        warn_of_share(found)
    return values


def sample_values(loss, y_true, y_pred):
    """The unreduced loss for a metric, which averages it over samples."""
    values, _ = unreduced(loss, y_true, y_pred)
    if weighting.rank_of(values) != 0:
        return values
    mask = get_keras_mask(y_pred)
    if mask is None:
        shape = ops.shape(tree.flatten(y_pred)[0])[:1]
    else:
        shape = ops.shape(mask)
    return ops.broadcast_to(values, shape)


def _convert(y_true, y_pred, dtype):
    """Labels and predictions as tensors, for a loss of Keras' own."""
    if is_converted(y_true, dtype) and is_converted(y_pred, dtype):
        return y_true, y_pred
    y_pred = _numbers_as_array(y_pred)
    if not weighting.is_nested(y_pred):
        y_true = _numbers_as_array(y_true)
    return (
        map_leaves(lambda x: _label(x, dtype), y_true),
        map_leaves(lambda x: _tensor(x, dtype), y_pred),
    )


def _tensor(x, dtype):
    if is_converted(x, dtype):
        return x
    return ops.convert_to_tensor(x, dtype=dtype)


def _label(x, dtype):
    if dtype not in _NARROW:
        return _tensor(x, dtype)
    if not hasattr(x, "dtype"):
        x = np.asarray(x)
    if is_float_dtype(standardize_dtype(x.dtype)):
        return _tensor(x, dtype)
    return ops.convert_to_tensor(x)


def _numbers_as_array(x):
    """A list of numbers as an array; anything else as it is.

    Read as a structure, each number would be an output of its own.
    """
    if not isinstance(x, (list, tuple)):
        return x
    are_numbers = all(
        isinstance(leaf, (int, float, np.generic)) for leaf in tree.flatten(x)
    )
    return np.asarray(x) if are_numbers else x


def standardize_reduction(reduction):
    """Returns `reduction` if there is one of that name.

    Raises:
        ValueError: If there is none.
    """
    if reduction not in _REDUCTIONS:
        raise ValueError(
            "Invalid value for argument `reduction`. "
            f"Received: reduction={reduction!r}. Expected one of {_REDUCTIONS}."
        )
    return reduction


def warn_of_ranks(found, y_true, y_pred):
    """Warns of labels that are broadcast over predictions of a single column.

    Args:
        found: The object or function of a user's, see `ownership.worker`.
        y_true: Labels.
        y_pred: Predictions.
    """
    ranks = weighting.rank_of(y_true), weighting.rank_of(y_pred)
    if ranks == (1, 2) and y_pred.shape[1] == 1:
        shapes = f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
        ownership.warn_once(
            found,
            "ranks",
            f" gets labels and predictions of the shapes {shapes}. Their "
            "difference has an entry for each pair of samples. Expected labels "
            "of the shape (batch_size, 1). It is right as it is if it brings "
            "both to one shape by itself.",
        )


def warn_of_scalar(found, sample_weight):
    """Warns of a loss that gives weights no samples to weigh."""
    ownership.warn_once(
        found,
        "scalar",
        " returned one number for a batch with sample or class weights of the "
        f"shape {tuple(sample_weight.shape)}. It counts as the loss of each "
        "sample. For weights to tell samples apart, return a value for each.",
    )


def warn_of_share(found):
    """Warns of a loss that may have divided by the size of the whole batch."""
    ownership.warn_once(
        found,
        "share",
        " returned one number for a replica's share of a batch. It counts as "
        "the mean of the share. If it is a sum divided by the size of the "
        "whole batch, return a value for each sample instead.",
    )


def reduce_values(values, sample_weight=None, reduction="sum_over_batch_size"):
    """Reduces values that are weighted already.

    Args:
        values: A tensor.
        sample_weight: The weights that are in `values`, as far as
            `"mean_with_sample_weight"` needs them.
        reduction: The name of a reduction; see `Loss`.

    Returns:
        A scalar tensor; `values` if there is no reduction.
    """
    if reduction in (None, "none"):
        return values
    if reduction == "sum":
        return ops.sum(values)
    if reduction == "mean_with_sample_weight" and sample_weight is not None:
        # Divided by the weights of the whole batch, it adds up as it is.
        return _mean(values, sample_weight)
    if len(values.shape) == 0:
        mean = values
    else:
        mean = _mean(values)
    return scale_loss_for_distribution(mean)


def reduce_to_number(values):
    """The loss of a batch: its mean, if it is not reduced yet."""
    return values if len(values.shape) == 0 else reduce_values(values)


def _mean(values, weights=None):
    """The mean by number or by weight; 0 where there is nothing to divide by.

    A replica may get no sample of a batch.
    """
    if weights is None and all(tuple(values.shape)):
        if weighting.dtype_names[values.dtype] in ("float32", "float64"):
            return native.mean_of_all(values)
        return ops.mean(values)
    wide = weighting.wide_dtype(values.dtype)
    if weights is None:
        divisor = ops.cast(weighting.size(values), wide)
    else:
        weights = ops.broadcast_to(weights, ops.shape(values))
        (divisor,) = replicas.of_all_replicas(ops.sum(ops.cast(weights, wide)))
    # Not as a quotient, whose gradient is NaN where the divisor is 0, with
    # PyTorch and Keras before 3.15.
    mean = ops.sum(ops.cast(values, wide)) * ops.divide_no_nan(1.0, divisor)
    return ops.cast(mean, values.dtype)


def reduce_weighted_values(
    values,
    sample_weight=None,
    mask=None,
    reduction="sum_over_batch_size",
    dtype=None,
):
    """Weighs, masks and reduces an unreduced loss.

    Args:
        values: The unreduced loss, of shape `(batch_size, ...)`, or a scalar
            if the loss function has reduced it already.
        sample_weight: See `Loss`.
        mask: Like `sample_weight`, of bools; `False` leaves a value out.
        reduction: The name of a reduction; see `Loss`.
        dtype: The dtype to compute in, or `None` for that of `values`.

    Returns:
        The reduced loss.

    Raises:
        ValueError: If weights or mask don't fit the values.
    """
    reduction = standardize_reduction(reduction)
    if not is_converted(values, dtype):
        values = ops.convert_to_tensor(values, dtype=dtype)
    if sample_weight is None and mask is None:
        return reduce_values(values, None, reduction)
    if sample_weight is not None:
        sample_weight = ops.convert_to_tensor(sample_weight, values.dtype)
    if mask is not None:
        mask = ops.convert_to_tensor(mask, "bool")
    if all(size == 1 for size in values.shape) and any(
        map(weighting.axes_told_apart, (sample_weight, mask))
    ):
        values = ops.reshape(values, ())
    elif sample_weight is not None:
        # Without a reduction, users see the shape that the base release gives.
        values, sample_weight = squeeze_or_expand_to_same_rank(
            values, sample_weight
        )
    else:
        values, mask = squeeze_or_expand_to_same_rank(values, mask)
    if sample_weight is not None:
        sample_weight = weighting.align(
            sample_weight, values.shape, "sample_weight"
        )
    if mask is not None:
        mask = weighting.align(mask, values.shape, "mask")
    weight = apply_mask(sample_weight, mask, values.dtype, reduction)
    return reduce_values(values * weight, weight, reduction)
