"""How much of a batch each replica of `tf.distribute` has.

Not part of upstream Keras 3.15.1, where all replicas count alike, however many
samples each of them has. Only `tf.distribute` computes the loss once for each
replica, on its share of the batch, and adds up the gradients; everything here
does nothing anywhere else.
"""

import contextlib
import threading

from keras.src import backend
from keras.src import ops
from keras.src import tree


class _Share(threading.local):
    """The part of the batch that this replica has; `None` if not known.

    `tf.distribute` runs each replica in a thread of its own.
    """

    value = None


_SHARE = _Share()


@contextlib.contextmanager
def replica_share(data):
    """Lets losses count by how much of the batch their replica has.

    Args:
        data: The replica's share: nested tensors of shape `(samples, ...)`.
    """
    if are_several():
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


def are_several():
    return _replicas() > 1


def _replicas():
    if backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def of_all_replicas(*numbers):
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


def _own_share(dtype):
    share = _SHARE.value
    return ops.cast(1.0 / _replicas() if share is None else share, dtype)


def scale_loss_for_distribution(value):
    """Makes a mean over a replica's share one that adds up to the batch's.

    In a trainer's step, that is by the number of samples; elsewhere all
    replicas count alike.
    """
    if _replicas() == 1:
        return value
    return ops.multiply(value, _own_share(value.dtype))


def unscale_loss_for_distribution(value):
    """Undoes `scale_loss_for_distribution`."""
    if _replicas() == 1:
        return value
    return ops.divide_no_nan(value, _own_share(value.dtype))


def unscale_losses(values):
    """`unscale_loss_for_distribution` of each; asks only once for replicas."""
    if _replicas() == 1:
        return values
    return [unscale_loss_for_distribution(value) for value in values]
