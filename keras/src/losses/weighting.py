"""How sample weights and masks line up with what they weigh.

Not part of upstream Keras 3.15.1, which lines them up from the right, so that
the weights of samples may weigh timesteps or pixels. Here they line up from
the left, sample by sample, and nothing is broadcast from one sample to another
but the one row that is meant for all.
"""

import math

from keras.src import ops
from keras.src import tree
from keras.src.backend.common.variables import standardize_dtype
from keras.src.losses import backend_ops
from keras.src.losses import native
from keras.src.losses import replicas


class _DtypeNames(dict):
    """The names of dtypes, which every step asks for several times.

    No `lru_cache`: PyTorch's compiler warns the user of each one.
    """

    def __missing__(self, dtype):
        self[dtype] = standardize_dtype(dtype)
        return self[dtype]


dtype_names = _DtypeNames()


def wide_dtype(dtype):
    """The dtype to sum up in: float32, or float64 for what is float64.

    In float16, a sum above 65504 would be infinite, and in bfloat16 one of 600
    batches would saturate. `backend.result_type` knows no float64.
    """
    return "float64" if dtype_names[dtype] == "float64" else "float32"


def is_tensor_of(x, dtype):
    """Whether casting `x` would do nothing."""
    return backend_ops.is_tensor(x) and dtype_names[x.dtype] == dtype


def cast(x, dtype):
    """`x` as a tensor of a dtype; asking first takes less than a cast."""
    return x if is_tensor_of(x, dtype) else ops.cast(x, dtype)


def is_converted(x, dtype):
    """Whether `ops.convert_to_tensor` would return `x` as it is."""
    return is_tensor_of(x, dtype) and native.is_on_keras_device(x)


def is_nested(x):
    # An array is asked for its shape in less time than it is looked up.
    return not hasattr(x, "shape") and tree.is_nested(x)


def map_leaves(function, x):
    return tree.map_structure(function, x) if is_nested(x) else function(x)


def shape_of(x):
    """The shape of a tensor, or `None` if its number of axes is not known."""
    shape = getattr(x, "shape", None)
    # A tensor of TensorFlow may not know how many it has.
    return None if getattr(shape, "rank", 0) is None else shape


def rank_of(x):
    """The number of axes of a tensor, or `None` if that is not known."""
    shape = shape_of(x)
    return None if shape is None else len(shape)


def squeeze_or_expand_to_same_rank(x1, x2, expand_rank_1=True):
    """Gives two tensors the same rank, if an axis of size 1 does it.

    Args:
        x1: A tensor.
        x2: A tensor.
        expand_rank_1: Whether a tensor of rank 1 gets an axis, rather than
            the other one losing its last.

    Returns:
        The tuple `(x1, x2)`, with one of them changed if their ranks differ
        by one and the last axis of the larger has size 1.
    """
    rank1, rank2 = len(x1.shape), len(x2.shape)
    if rank1 == rank2 + 1 and x1.shape[-1] == 1:
        if rank2 == 1 and expand_rank_1:
            return x1, ops.expand_dims(x2, axis=-1)
        return ops.squeeze(x1, axis=-1), x2
    if rank2 == rank1 + 1 and x2.shape[-1] == 1:
        x2, x1 = squeeze_or_expand_to_same_rank(x2, x1, expand_rank_1)
    return x1, x2


def same_ranks(y_true, y_pred):
    """`squeeze_or_expand_to_same_rank` for each pair of nested tensors."""
    if not (is_nested(y_true) or is_nested(y_pred)):
        return squeeze_or_expand_to_same_rank(y_true, y_pred)
    labels, predictions = tree.flatten(y_true), tree.flatten(y_pred)
    if len(labels) != len(predictions):
        # Only the loss itself can know how they belong together.
        return y_true, y_pred
    pairs = list(map(squeeze_or_expand_to_same_rank, labels, predictions))
    return (
        tree.pack_sequence_as(y_true, [label for label, _ in pairs]),
        tree.pack_sequence_as(y_pred, [prediction for _, prediction in pairs]),
    )


def axes_told_apart(weight):
    """The number of axes of weights or a mask, without those of size 1 last."""
    shape = tuple(getattr(weight, "shape", ()))
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return len(shape)


def keep_apart(y_true, y_pred, axes):
    """Adds the axis of size 1 that an entrywise loss averages over.

    Such a loss of labels and predictions `(batch_size,)`, or of labels
    `(batch_size, timesteps)` and predictions `(batch_size, timesteps, 1)`,
    would average over the axis that is to be weighed.

    Args:
        y_true: Labels.
        y_pred: Predictions.
        axes: The number of axes that are to be weighed.

    Returns:
        Labels and predictions.
    """
    if is_nested(y_true) or is_nested(y_pred):
        return y_true, y_pred
    ranks = len(y_true.shape), len(y_pred.shape)
    if ranks == (1, 1) and axes == 1:
        return ops.expand_dims(y_true, -1), ops.expand_dims(y_pred, -1)
    if axes >= min(ranks) > 1:
        return with_axis_of(y_pred, y_true), with_axis_of(y_true, y_pred)
    return y_true, y_pred


def with_axis_of(x, y):
    """`y`, with the last axis of `x` if that has size 1 and `y` lacks it."""
    shape, rank = getattr(x, "shape", ()), len(getattr(y, "shape", ()))
    if rank > 1 and len(shape) == rank + 1 and shape[-1] == 1:
        return ops.expand_dims(y, axis=-1)
    return y


def both(mask1, mask2):
    """The mask of what neither of two masks leaves out; `None` is no mask."""
    if mask1 is None or mask2 is None:
        return mask2 if mask1 is None else mask1
    rank = max(len(mask1.shape), len(mask2.shape))
    return ops.logical_and(_with_rank(mask1, rank), _with_rank(mask2, rank))


def align(weight, shape, what):
    """Gives weights one axis for each of the values, from the left.

    Axes that are missing at the end get the size 1, and so may any other axis
    have. The weights of a single number keep their shape.

    Args:
        weight: The weights, or a mask.
        shape: The shape of the values.
        what: What errors call `weight`.

    Returns:
        `weight`, with the rank of the values.

    Raises:
        ValueError: If an axis has another size than that of the values.
    """
    rank, axes = len(shape), axes_told_apart(weight)
    if rank == 0 or len(weight.shape) == 0:
        return weight
    while len(weight.shape) > max(rank, axes):
        weight = ops.squeeze(weight, axis=-1)
    fits = axes <= rank and all(
        mine in (None, 1, its) or its is None
        for mine, its in zip(weight.shape, shape)
    )
    if not fits:
        raise ValueError(
            f"The shape of `{what}` doesn't fit what it is to weigh. "
            f"Received: `{what}` of shape {tuple(weight.shape)} for values "
            f"of the shape {tuple(shape)}. Expected the same axes from the "
            "first on; axes at the end may be left out, and any may have the "
            "size 1."
        )
    return _with_rank(weight, rank)


def _with_rank(x, rank):
    while len(x.shape) < rank:
        x = ops.expand_dims(x, axis=-1)
    return x


def size(x):
    """The number of entries, read at run time if need be."""
    return math.prod(ops.shape(x))


def apply_mask(sample_weight, mask, dtype, reduction):
    """Puts a mask into sample weights, or makes weights of it.

    Args:
        sample_weight: Weights, or `None` for 1. Not changed.
        mask: Bools, or `None` for no mask.
        dtype: The dtype of the result.
        reduction: If it divides by the number of values, the weights of those
            that the mask leaves are made larger by as much as there are fewer
            of them.

    Returns:
        The weights, with the axes of the one that has more.
    """
    if mask is None:
        return sample_weight
    kept = ops.cast(mask, dtype)
    if reduction in ("mean", "sum_over_batch_size"):
        wide = wide_dtype(dtype)
        count, total = replicas.of_all_replicas(
            ops.sum(ops.cast(mask, wide)), ops.cast(size(mask), wide)
        )
        kept = kept * ops.cast(ops.divide_no_nan(total, count), dtype)
    if sample_weight is None:
        return kept
    weight = ops.cast(sample_weight, dtype)
    kept, weight = squeeze_or_expand_to_same_rank(kept, weight)
    rank = max(len(weight.shape), len(kept.shape))
    return _with_rank(weight, rank) * _with_rank(kept, rank)
