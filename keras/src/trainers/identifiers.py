"""Makes losses and metrics of what `compile` accepts as one.

Not part of upstream Keras 3.15.1, which has `get_loss`, `get_metric` and
`is_binary_or_sparse_categorical` in `compile_utils.py`.
"""

import types

from keras.src import losses as losses_module
from keras.src import metrics as metrics_module
from keras.src.losses import loss as loss_module
from keras.src.losses import ownership
from keras.src.trainers.argument_errors import invalid
from keras.src.utils.naming import get_object_name


def is_binary_or_sparse_categorical(y_true, y_pred):
    """Tells from the shapes which kind of classification this is.

    Args:
        y_true: Labels.
        y_pred: Predictions, of shape `(batch_size, ..., classes)`.

    Returns:
        A tuple of two bools: whether there is a single score for each
        prediction, and whether the labels are class indices.
    """
    classes = y_pred.shape[-1]
    is_binary = classes == 1
    has_fewer_axes = len(y_true.shape) < len(y_pred.shape)
    is_sparse = has_fewer_axes or (y_true.shape[-1] == 1 and classes > 1)
    return is_binary, is_sparse


def _by_shape(choices, y_true, y_pred):
    """Picks from (binary, sparse categorical, categorical)."""
    is_binary, is_sparse = is_binary_or_sparse_categorical(y_true, y_pred)
    return choices[0 if is_binary else 1 if is_sparse else 2]


_ACCURACIES = (
    metrics_module.BinaryAccuracy,
    metrics_module.SparseCategoricalAccuracy,
    metrics_module.CategoricalAccuracy,
)
_CROSSENTROPY_METRICS = (
    metrics_module.BinaryCrossentropy,
    metrics_module.SparseCategoricalCrossentropy,
    metrics_module.CategoricalCrossentropy,
)
_CROSSENTROPY_LOSSES = (
    losses_module.binary_crossentropy,
    losses_module.sparse_categorical_crossentropy,
    losses_module.categorical_crossentropy,
)
METRICS_BY_SHAPE = {
    "accuracy": _ACCURACIES,
    "acc": _ACCURACIES,
    "crossentropy": _CROSSENTROPY_METRICS,
    "ce": _CROSSENTROPY_METRICS,
}
LOSSES_BY_SHAPE = {
    "crossentropy": _CROSSENTROPY_LOSSES,
    "ce": _CROSSENTROPY_LOSSES,
}


def get_metric(identifier, y_true, y_pred):
    """Makes a `Metric` of what `compile` accepts as one.

    Args:
        identifier: A string, a function, or a `Metric` object or class.
            `"accuracy"`, `"acc"`, `"crossentropy"` and `"ce"` are resolved
            by the shapes of `y_true` and `y_pred`.
        y_true: Labels of the output.
        y_pred: Predictions of the output.

    Returns:
        A `Metric`, named as the user named it. That of a `Loss` object
        averages over samples, if the loss tells them apart.
    """
    if identifier is None:
        raise ValueError("Expected metric, received `None`")
    choices = METRICS_BY_SHAPE.get(str(identifier).lower())
    if choices is None:
        metric = metrics_module.get(identifier)
    else:
        metric = _by_shape(choices, y_true, y_pred)()
    is_string = isinstance(identifier, str)
    name = identifier if is_string else get_object_name(metric)
    if isinstance(metric, losses_module.Loss):
        metric = _metric_of_loss(metric)
    elif not isinstance(metric, metrics_module.Metric):
        metric = metrics_module.MeanMetricWrapper(metric)
    metric.name = name
    return metric


def _metric_of_loss(loss):
    """The metric of a loss: over samples, if it has a value for each."""
    values = loss
    if loss.reduction != "sum" and ownership.is_called_by_keras(loss):
        values = types.MethodType(loss_module.sample_values, loss)
    metric = metrics_module.MeanMetricWrapper(values)
    metric._direction = "down"
    return metric


def get_loss(identifier, y_true, y_pred):
    """Makes a `Loss` of what `compile` accepts as one.

    Args:
        identifier: A string, a function, a `Loss` object or class, or `None`.
            `"crossentropy"` and `"ce"` are resolved by the shapes of
            `y_true` and `y_pred`.
        y_true: Labels of the output.
        y_pred: Predictions of the output.

    Returns:
        A `Loss`, or `None` for `None`.
    """
    if identifier is None:
        return None
    choices = LOSSES_BY_SHAPE.get(str(identifier).lower())
    if choices is None:
        loss = losses_module.get(identifier)
    else:
        loss = _by_shape(choices, y_true, y_pred)
    if isinstance(loss, losses_module.Loss):
        return loss
    is_string = isinstance(identifier, str)
    name = identifier if is_string else get_object_name(loss)
    return losses_module.LossFunctionWrapper(loss, name=name)


def check_identifier(
    argument, identifier, received, by_shape, names, kind, expected
):
    """Refuses what is neither a known name nor could be called.

    Args:
        argument: The argument of `compile` that holds it.
        identifier: What is to be a loss or a metric.
        received: All that the argument holds, for the error.
        by_shape: Names that are resolved by shapes.
        names: All other names.
        kind: What errors call it.
        expected: What errors expect.

    Raises:
        ValueError: If it can't be a loss or a metric.
    """
    if isinstance(identifier, str):
        is_known = identifier in names or identifier.lower() in by_shape
    else:
        is_known = identifier is None or callable(identifier)
        # Else a serialized object.
        is_known = is_known or isinstance(identifier, dict)
    if not is_known:
        problem = f"Could not interpret {kind} identifier: {identifier!r}."
        raise invalid(argument, problem, received, expected)
