"""Which class each label of a batch is of, and what that class weighs.

Not part of upstream Keras 3.15.1, where labels of more than one axis are always
taken for vectors of classes, and the class is where the highest entry stands.
Labels of a class index for each timestep or pixel look the same; only the
output that they belong to tells. So `Model.fit` and `Model.train_on_batch` make
`ClassWeights` of what the user gave them, which tells it to the data adapters.
"""

import contextlib

from keras.src import losses
from keras.src import tree
from keras.src.losses import ownership
from keras.src.losses import weighting
from keras.src.trainers.argument_errors import invalid
from keras.src.trainers.output_structure import flatten_with_paths


class ClassWeights(dict):
    """Class indices and their weights, numbers all of them.

    Args:
        class_weight: A dict, or something that can be made one.
        output_shape: The shape of the model's only output, if it is known and
            has a loss of Keras' own; else `None`.

    Raises:
        ValueError: If `class_weight` holds something else.
    """

    def __init__(self, class_weight, output_shape=None):
        if not hasattr(class_weight, "get"):
            raise _invalid(f"It is of type {type(class_weight)}.", class_weight)
        super().__init__()
        # Which may be a class of the user's.
        self._given = class_weight
        keys = getattr(class_weight, "keys", tuple)()
        for key, weight in [(key, class_weight[key]) for key in keys]:
            problem = f"{key!r} is no class index."
            index = _number(key, problem, class_weight)
            if not index.is_integer():
                raise _invalid(problem, class_weight)
            problem = f"What stands for the class {key!r} is no number."
            self[int(index)] = _number(weight, problem, class_weight)
        self.output_shape = output_shape

    def get(self, index, default=None):
        return self._given.get(index, super().get(index, default))

    def are_indices(self, labels):
        """Whether each entry of the labels is the class of a position."""
        return _lacks_last_axis(weighting.shape_of(labels), self.output_shape)


def _number(x, problem, class_weight):
    """`x` as a float; the digits of a string, as from JSON, are a number."""
    if tuple(getattr(x, "shape", ())):
        raise _invalid(problem, class_weight)
    try:
        return float(x)
    except (TypeError, ValueError) as error:
        raise _invalid(problem, class_weight) from error


def _invalid(problem, class_weight):
    return invalid(
        "class_weight",
        problem,
        class_weight,
        "a dict-like mapping with integer keys, the class indices, to numbers, "
        "such as {0: 1.0, 1: 2.5}. For several outputs, pass `sample_weight`.",
    )


def _lacks_last_axis(shape, output_shape):
    """Whether a shape is that of the output without its last axis."""
    if output_shape is None or shape is None:
        return False
    shape, expected = tuple(shape), tuple(output_shape)[:-1]
    return len(shape) == len(expected) > 1 and all(
        None in (size, wanted) or size == wanted
        for size, wanted in zip(shape, expected)
    )


@contextlib.contextmanager
def read_for(model, class_weight):
    """Reads the `class_weight` of a call that trains a model.

    Where the model does not tell what it will put out, `check` looks at the
    first batch.

    Args:
        model: The model.
        class_weight: What the user gave.

    Yields:
        `ClassWeights`, or `None` if the user gave none.
    """
    if class_weight is None:
        yield None
        return
    is_own = _has_loss_of_keras(model)
    shape = _output_shape(model) if is_own else None
    weights = ClassWeights(class_weight, shape)
    if is_own and shape is None:
        model._is_to_check_class_weight = True
    try:
        yield weights
    finally:
        model._is_to_check_class_weight = False


def _has_loss_of_keras(model):
    if model._compile_loss is None:
        return False
    return all(
        isinstance(loss, str) or ownership.is_keras_own(losses.get(loss))
        for _, loss in flatten_with_paths(model._compile_loss._user_loss)
        if loss is not None
    )


def _output_shape(model):
    """The shape of the only output, if the model or a checked batch tells."""
    outputs = tree.flatten(getattr(model, "outputs", None))
    if len(outputs) == 1 and outputs[0] is not None:
        return weighting.shape_of(outputs[0])
    return getattr(model, "_checked_output_shape", None)


def check(model, y, y_pred):
    """Refuses labels whose class weights are those of something else.

    Args:
        model: A model that `read_for` knew no output of, or any other one.
        y: The labels of a batch.
        y_pred: The predictions for it.

    Raises:
        ValueError: If there is a class index for each position of the output,
            and the sample weights were made for vectors of classes.
    """
    # Once will do. The data that `fit` validates on has no class weights.
    if hasattr(model, "_checked_output_shape"):
        return
    is_to_refuse = getattr(model, "_is_to_check_class_weight", False)
    leaves = [*tree.flatten(y), *tree.flatten(y_pred)]
    shapes = list(map(weighting.shape_of, leaves))
    checked = ()
    if len(shapes) == 2 and not any(shape is None for shape in shapes):
        labels, output = map(tuple, shapes)
        is_wrong = _lacks_last_axis(labels, output) and labels[-1] != 1
        if is_wrong and is_to_refuse:
            raise ValueError(
                "Invalid `class_weight`. The labels are class indices of each "
                "position, and the model did not tell the shape of its output "
                "before the first batch, so that they were read as vectors.\n"
                f"Received: labels of shape {labels} for an output of shape "
                f"{output}\n"
                f"Expected labels of shape {(*labels, 1)}, or `sample_weight` "
                "instead of `class_weight`."
            )
        # Other batches may be longer.
        checked = (None,) * len(output[:-1]) + output[-1:]
    model._checked_output_shape = checked
