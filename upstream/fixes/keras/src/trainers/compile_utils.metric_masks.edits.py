"""Built-in metrics that read no mask get it as sample weights."""

from keras.src import ops
from keras.src.backend.common.masking import get_keras_mask


class MetricsList:
    # in update_state, replaces bc54bd74feff: only `MeanMetricWrapper` reads
    # the mask of the predictions.
    def _(m, y_true, y_pred, sample_weight):
        weight = sample_weight
        if reads_no_mask(m):
            weight = mask_sample_weight(m, y_pred, sample_weight)
        m.update_state(y_true, y_pred, sample_weight=weight)


# adds: which metrics get it; those of users get what they got.
def reads_no_mask(metric):
    """Whether a metric is a built-in one that only knows sample weights."""
    if isinstance(
        metric,
        (metrics_module.MeanMetricWrapper, metrics_module.FBetaScore),
    ):
        # The former reads masks, the latter has no positions to leave out.
        return False
    module = type(metric).update_state.__module__
    return module.startswith("keras.src.metrics.")


# adds: what they get.
def mask_sample_weight(metric, y_pred, sample_weight):
    """Sample weights that are 0 where the mask of `y_pred` is `False`."""
    mask = get_keras_mask(y_pred)
    if mask is None:
        return sample_weight
    weight = ops.cast(mask, metric.dtype)
    if sample_weight is not None:
        sample_weight = ops.cast(sample_weight, metric.dtype)
        # Both start with the axis of the samples.
        while len(sample_weight.shape) < len(weight.shape):
            sample_weight = ops.expand_dims(sample_weight, axis=-1)
        while len(weight.shape) < len(sample_weight.shape):
            weight = ops.expand_dims(weight, axis=-1)
        weight = ops.multiply(weight, sample_weight)
    if getattr(metric, "sparse_y_pred", False):
        # `IoU` flattens predictions and weights, and wants as many of both.
        while len(weight.shape) < len(y_pred.shape):
            weight = ops.expand_dims(weight, axis=-1)
        weight = ops.broadcast_to(weight, ops.shape(y_pred))
    return weight
