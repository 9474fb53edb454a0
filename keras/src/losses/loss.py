"""The base class of all losses, and how a loss becomes one number.

Replaces the module of the same name in Keras 3.15.1. What is changed: sample
weights and masks line up with the unreduced loss from the left, sample by
sample, and nothing is broadcast from one sample to another; labels get the
rank of the predictions before `call`; weights are never changed in place; a
scalar loss is scaled for `tf.distribute` like any other; integer labels are
not rounded to a narrow float type. What has neither weight nor mask goes
straight to the mean.
"""

import contextlib
import math
import threading

import numpy as np

from keras.src import backend
from keras.src import dtype_policies
from keras.src import ops
from keras.src import tree
from keras.src.api_export import keras_export
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
    weight of 0 or a mask: the weights are factors.

    Args:
        name: Name of the loss. Defaults to one made from the class.
        reduction: How the values become one number; see above. Defaults to
            `"sum_over_batch_size"`.
        dtype: The dtype, or `keras.DTypePolicy`, of the computation. Defaults
            to `keras.config.floatx()`. Predictions and labels are converted
            to it, except for integer labels where it is `float16` or
            `bfloat16`, which would round them.

    Example:

    >>> import numpy as np
    >>> import keras
    >>> class Quartic(keras.losses.Loss):
    ...     def call(self, y_true, y_pred):
    ...         return keras.ops.mean((y_true - y_pred) ** 4, axis=-1)
    >>> labels = np.array([0.0, 0.0])
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
            ValueError: If the batch has no samples, or if sample weights or
                mask don't fit the unreduced loss.
        """
        mask = backend.get_keras_mask(y_pred)
        is_weighted = sample_weight is not None or mask is not None
        if is_weighted and (
            has_timesteps(sample_weight) or has_timesteps(mask)
        ):
            y_true = with_axis_of(y_pred, y_true)
        y_true, y_pred = self._convert(y_true, y_pred)
        if is_weighted:
            y_true, y_pred = _with_sample_axis(y_true, y_pred)
        values = self.call(y_true, y_pred)
        return reduce_weighted_values(
            values,
            sample_weight=sample_weight,
            mask=_both(mask, backend.get_keras_mask(values)),
            reduction=self.reduction,
            dtype=self._dtype,
        )

    def _convert(self, y_true, y_pred):
        """Labels and predictions as tensors of the same rank."""
        dtype = self._dtype
        if not (is_tensor_of(y_true, dtype) and is_tensor_of(y_pred, dtype)):
            y_pred = _numbers_as_array(y_pred)
            if not _is_nested(y_pred):
                y_true = _numbers_as_array(y_true)
            if _is_nested(y_true) or _is_nested(y_pred):
                return _align_structures(
                    tree.map_structure(self._label, y_true),
                    tree.map_structure(self._prediction, y_pred),
                )
            y_true, y_pred = self._label(y_true), self._prediction(y_pred)
        _require_samples(y_pred)
        return squeeze_or_expand_to_same_rank(y_true, y_pred)

    def _prediction(self, x):
        return ops.convert_to_tensor(x, dtype=self._dtype)

    def _label(self, x):
        if self._dtype not in _NARROW:
            return ops.convert_to_tensor(x, dtype=self._dtype)
        if not hasattr(x, "dtype"):
            x = np.asarray(x)
        dtype = backend.standardize_dtype(x.dtype)
        if backend.is_float_dtype(dtype):
            return ops.convert_to_tensor(x, dtype=self._dtype)
        return ops.convert_to_tensor(x)

    def call(self, y_true, y_pred):
        """Computes the unreduced loss.

        Args:
            y_true: Labels. A tensor has the rank of `y_pred` if that takes
                no more than an axis of size 1 at the end.
            y_pred: Predictions.

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


class _DtypeNames(dict):
    """The names of dtypes, which every step asks for several times.

    No `lru_cache`: PyTorch's compiler warns the user of each one.
    """

    def __missing__(self, dtype):
        self[dtype] = backend.standardize_dtype(dtype)
        return self[dtype]


_dtype_names = _DtypeNames()


def is_tensor_of(x, dtype):
    """Whether converting `x` to a tensor would do nothing."""
    return backend.is_tensor(x) and _dtype_names[x.dtype] == dtype


def _is_nested(x):
    # An array is asked for its shape in less time than it is looked up.
    return not hasattr(x, "shape") and tree.is_nested(x)


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


def _align_structures(y_true, y_pred):
    labels, predictions = tree.flatten(y_true), tree.flatten(y_pred)
    for prediction in predictions:
        _require_samples(prediction)
    if len(labels) != len(predictions):
        # Only the loss itself can know how they belong together.
        return y_true, y_pred
    pairs = [
        squeeze_or_expand_to_same_rank(label, prediction)
        for label, prediction in zip(labels, predictions)
    ]
    return (
        tree.pack_sequence_as(y_true, [label for label, _ in pairs]),
        tree.pack_sequence_as(y_pred, [prediction for _, prediction in pairs]),
    )


def _with_sample_axis(y_true, y_pred):
    """Keeps a loss that averages over the last axis from losing the samples.

    Predictions of shape `(batch_size,)` have no other axis than that of the
    samples. It must outlive `call` for there to be something to weigh.
    """
    if tree.is_nested(y_true) or tree.is_nested(y_pred):
        return y_true, y_pred
    if len(y_true.shape) == len(y_pred.shape) == 1:
        return ops.expand_dims(y_true, -1), ops.expand_dims(y_pred, -1)
    return y_true, y_pred


def has_timesteps(weight):
    """Whether sample weights or a mask tell the parts of a sample apart."""
    return any(size != 1 for size in getattr(weight, "shape", ())[1:])


def with_axis_of(y_pred, y_true):
    """Labels with the last axis of predictions that have one score each.

    Most losses and metrics would have the predictions lose that axis instead,
    and average over the one before it, which holds what is to be weighed.

    Args:
        y_pred: Predictions.
        y_true: Labels.

    Returns:
        The labels, of shape `(batch_size, ..., 1)` if they had the shape
        `(batch_size, ...)` and the predictions have the other one.
    """
    shape = getattr(y_pred, "shape", ())
    rank = len(getattr(y_true, "shape", ()))
    if rank > 1 and len(shape) == rank + 1 and shape[-1] == 1:
        return ops.expand_dims(y_true, axis=-1)
    return y_true


def _require_samples(y_pred):
    shape = y_pred.shape
    if len(shape) and shape[0] == 0:
        raise ValueError(
            f"A loss of no samples is not defined. Received: `y_pred` of shape "
            f"{tuple(shape)}. Expected a batch size of at least 1."
        )


def _both(mask1, mask2):
    if mask1 is None or mask2 is None:
        return mask2 if mask1 is None else mask1
    rank = max(len(mask1.shape), len(mask2.shape))
    return ops.logical_and(
        _expand_to_rank(mask1, rank), _expand_to_rank(mask2, rank)
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


def _mean(values, weights=None):
    """The mean by number or by weight; 0 where there is nothing to divide by.

    A replica may get no sample of a batch.
    """
    if weights is None and None not in tuple(values.shape):
        # No such replica has a static shape, since it would need one of 0.
        return _mean_of_all(values)
    # In float16, a sum above 65504 would be infinite.
    wide = backend.result_type(_dtype_names[values.dtype], "float32")
    if weights is None:
        divisor = ops.cast(_size(values), wide)
    else:
        weights = ops.broadcast_to(weights, ops.shape(values))
        (divisor,) = _of_all_replicas(ops.sum(ops.cast(weights, wide)))
    # Not as a quotient, whose gradient is NaN where the divisor is 0, with
    # PyTorch and Keras before 3.15.
    mean = ops.sum(ops.cast(values, wide)) * ops.divide_no_nan(1.0, divisor)
    return ops.cast(mean, values.dtype)


def _mean_of_all(values):
    """The mean of all entries.

    `ops.mean` works out anew, in each call, in which type to compute. For the
    types that stay as they are, that takes longer than the mean itself.
    """
    # Unless the axis is named, TensorFlow makes a tensor of all axes first.
    axis = 0 if len(values.shape) == 1 else None
    if _dtype_names[values.dtype] in ("float32", "float64"):
        if backend.backend() == "torch":
            return values.mean()
        if backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.reduce_mean(values, axis)
        if backend.backend() == "jax":
            import jax

            return jax.numpy.mean(values)
    return ops.mean(values, axis=axis)


def _size(x):
    """The number of entries, read at run time if need be."""
    shape = ops.shape(x)
    if all(isinstance(size, int) for size in shape):
        return math.prod(shape)
    return ops.prod(ops.convert_to_tensor(shape, dtype="int32"))


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
        mask: Like `sample_weight`, of bools; `False` leaves a value out. A
            scalar has nothing that could be left out.
        reduction: The name of a reduction; see `Loss`.
        dtype: The dtype to compute in, or `None` for that of `values`.

    Returns:
        The reduced loss.
    """
    reduction = standardize_reduction(reduction)
    if not is_tensor_of(values, dtype):
        values = ops.convert_to_tensor(values, dtype=dtype)
    if len(values.shape) == 0:
        mask = None
    if sample_weight is None and mask is None:
        return reduce_values(values, None, reduction)
    if sample_weight is not None:
        sample_weight = _align(sample_weight, values, "sample_weight")
    if mask is not None:
        mask = _align(mask, values, "mask", dtype="bool")
    weight = apply_mask(sample_weight, mask, values.dtype, reduction)
    return reduce_values(values * weight, weight, reduction)


def _align(weight, values, what, dtype=None):
    """Gives weights one axis for each of `values`, from the left.

    Axes that are missing at the end get the size 1. All samples must be
    there; within a sample, an axis may have the size 1.
    """
    weight = ops.convert_to_tensor(weight, dtype=dtype or values.dtype)
    rank = len(values.shape)
    while len(weight.shape) > max(rank, 1) and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, axis=-1)
    if len(weight.shape) == 0:
        return weight
    fits = len(weight.shape) <= rank and all(
        None in (mine, its) or mine == its or (axis > 0 and mine == 1)
        for axis, (mine, its) in enumerate(zip(weight.shape, values.shape))
    )
    if not fits:
        raise ValueError(
            f"The shape of `{what}` doesn't fit the loss. "
            f"Received: `{what}` of shape {tuple(weight.shape)} for a loss "
            f"that, before its reduction, has the shape {tuple(values.shape)}. "
            "Expected the same axes from the first on; axes at the end may be "
            "left out."
        )
    return _expand_to_rank(weight, rank)


def _expand_to_rank(x, rank):
    while len(x.shape) < rank:
        x = ops.expand_dims(x, axis=-1)
    return x


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
        # In float16, a count above 65504 would be infinite.
        count, total = _of_all_replicas(
            ops.sum(ops.cast(mask, "float32")),
            ops.cast(_size(mask), "float32"),
        )
        kept = kept * ops.cast(ops.divide_no_nan(total, count), dtype)
    if sample_weight is None:
        return kept
    weight = ops.cast(sample_weight, dtype)
    kept, weight = squeeze_or_expand_to_same_rank(kept, weight)
    rank = max(len(weight.shape), len(kept.shape))
    return _expand_to_rank(weight, rank) * _expand_to_rank(kept, rank)


class _Share(threading.local):
    """The part of the batch that this replica has; `None` if not known.

    `tf.distribute` runs each replica in a thread of its own.
    """

    value = None


_SHARE = _Share()


@contextlib.contextmanager
def replica_share(data):
    """Lets losses count by how much of the batch their replica has.

    Only `tf.distribute` computes the loss once for each replica, on its share
    of the batch, and adds up the gradients. Does nothing without replicas.

    Args:
        data: The replica's share: nested tensors of shape `(samples, ...)`.
    """
    if _replicas() > 1:
        import tensorflow as tf

        leaf = next(leaf for leaf in tree.flatten(data) if leaf is not None)
        samples = tf.cast(tf.shape(leaf)[0], "float32")
        context = tf.distribute.get_replica_context()
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, samples)
        _SHARE.value = ops.divide_no_nan(samples, total)
    try:
        yield
    finally:
        _SHARE.value = None


def _replicas():
    if backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def _of_all_replicas(*numbers):
    """What numbers of this replica's share of a batch are for all of it.

    Outside of a trainer's step, where shares are not known, all replicas are
    taken to have the same numbers.
    """
    if _replicas() == 1:
        return numbers
    if _SHARE.value is None:
        return [number * _replicas() for number in numbers]
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, list(numbers))


def _replica_share(dtype):
    share = _SHARE.value
    return ops.cast(1.0 / _replicas() if share is None else share, dtype)


def scale_loss_for_distribution(value):
    """Makes a mean over a replica's share one that adds up to the batch's.

    In a trainer's step, that is by the number of samples; elsewhere all
    replicas count alike.
    """
    if _replicas() == 1:
        return value
    return ops.multiply(value, _replica_share(value.dtype))


def unscale_loss_for_distribution(value):
    """Undoes `scale_loss_for_distribution`."""
    if _replicas() == 1:
        return value
    return ops.divide_no_nan(value, _replica_share(value.dtype))


def unscale_losses(values):
    """`unscale_loss_for_distribution` of each; asks only once for replicas."""
    if _replicas() == 1:
        return values
    return [unscale_loss_for_distribution(value) for value in values]
