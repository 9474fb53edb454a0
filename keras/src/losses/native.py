"""What is done natively on one backend, and what that gains.

Not part of upstream Keras 3.15.1. The first three answer what `keras.ops` can't
be asked. All else could be written in it, and nobody can tell from outside
which one ran; the gains are those of `benchmarks/README.md`.
"""

import functools

from keras.src import backend
from keras.src import ops
from keras.src.losses import backend_ops

_BACKEND = backend.backend()


def is_on_keras_device(tensor):
    """Whether a tensor is where Keras computes; only PyTorch's may not be.

    A batch of a `DataLoader` is on the CPU, also if the model is on a GPU.
    `ops.convert_to_tensor` moves it, and takes 3 us for one that is there.
    """
    if _BACKEND != "torch":
        return True
    wanted, device = backend_ops.torch_core.get_device(), tensor.device
    if device.type != wanted or device.index is None:
        return device.type == wanted
    import torch

    return wanted == "cuda" and device.index == torch.cuda.current_device()


def is_of_this_graph(x):
    """Whether `x` may be read here; a tensor of another graph may not."""
    if _BACKEND != "tensorflow":
        return True
    import tensorflow as tf

    if not tf.is_symbolic_tensor(x):
        return True
    return not tf.executing_eagerly() and (
        x.graph is tf.compat.v1.get_default_graph()
    )


def may_assign(variable):
    """Whether a step may change a variable here, so that the change lasts.

    In a stateless scope that is so for the variables that it was given, and
    with JAX nowhere else: a variable would keep what is only being traced.
    """
    if backend.in_stateless_scope():
        scope = backend.get_stateless_scope()
        return scope.get_current_value(variable) is not None
    return _BACKEND != "jax"


def mean_of_all(values):
    """The mean of all entries of a tensor of float32 or float64.

    `ops.mean` works out anew, in each call, in which type to compute. For the
    types that stay as they are, that takes longer than the mean itself.
    """
    if _BACKEND == "torch":
        return values.mean()
    if _BACKEND == "tensorflow":
        import tensorflow as tf

        if len(values.shape) == 1:
            # A list of axes is made a tensor in each call, a number is not.
            return tf.raw_ops.Mean(input=values, axis=0)
        return tf.reduce_mean(values)
    if _BACKEND == "jax":
        return _jax_mean()(values)
    return ops.mean(values)


def add_to_sums(sums, counts, values, count):
    """Adds `values` times `count` to variables, and `count` to others.

    No gradient is wanted of it. An eager call of `assign_add` for each costs
    more than the loss whose mean it records.

    Args:
        sums: A list of scalar variables.
        counts: As many scalar variables.
        values: As many scalar tensors.
        count: A number, or a scalar tensor of integers.
    """
    # A stateless scope has to see each variable change.
    is_stateless = backend.in_stateless_scope()
    if _BACKEND == "torch" and not is_stateless:
        import torch

        if isinstance(count, int) and _are_on_one_device(values):
            with torch.no_grad():
                # A plain number would be added to one variable at a time.
                ones = [torch.ones_like(values[0])] * len(counts)
                torch._foreach_add_(
                    [variable._value for variable in (*sums, *counts)],
                    [*values, *ones],
                    alpha=count,
                )
            return
    if _BACKEND == "tensorflow" and not is_stateless:
        import tensorflow as tf

        count = tf.cast(count, sums[0].dtype)
        products = tf.raw_ops.Pack(values=values) * count
        products = tf.raw_ops.Unpack(value=products, num=len(values))
        pairs = [*zip(sums, products), *((one, count) for one in counts)]
        for variable, value in pairs:
            held = variable._value
            if isinstance(held, tf.distribute.DistributedValues):
                # Outside of the replicas, TensorFlow's own takes no sum.
                variable.assign_add(value)
            else:
                # It is but a half of TensorFlow's `assign_add`.
                tf.raw_ops.AssignAddVariableOp(
                    resource=held.handle, value=value
                )
        return
    if _BACKEND == "jax" and not is_stateless:
        variables = [*sums, *counts]
        states = [variable.value for variable in variables]
        for variable, state in zip(
            variables, _jax_sums()(states, values, count)
        ):
            variable.assign(state)
        return
    count = ops.cast(count, sums[0].dtype)
    for variable, value in zip(sums, values):
        variable.assign_add(ops.stop_gradient(value) * count)
    for variable in counts:
        variable.assign_add(count)


def ratio(total, count):
    """`total / count`, or 0 where `count` is 0.

    `ops.divide_no_nan` takes four times as long with PyTorch, and nine times
    with JAX.

    Args:
        total: A scalar tensor.
        count: Another one.
    """
    if _BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.math.divide_no_nan(total, count)
    if _BACKEND == "torch":
        import torch

        return torch.where(count == 0, count, total / count)
    if _BACKEND == "jax":
        return _jax_ratio()(total, count)
    return ops.divide_no_nan(total, count)


def set_to_zero(variable):
    """Sets a variable to 0.

    `assign` first makes a tensor, and a copy of it. A step of `train_on_batch`
    with 32 losses sets 66 variables to 0; with TensorFlow, that would be most
    of it.
    """
    is_stateless = backend.in_stateless_scope()
    if _BACKEND == "torch" and not is_stateless:
        variable._value.detach().zero_()
    elif _BACKEND == "tensorflow" and not is_stateless:
        variable._value.assign(0.0, read_value=False)
    elif _BACKEND == "jax" and not is_stateless:
        variable.assign(_jax_zero(variable.dtype)())
    else:
        variable.assign(ops.zeros((), variable.dtype))


@functools.lru_cache(maxsize=None)
def _jax_zero(dtype):
    """A function that makes a 0, a new one each time.

    None may be shared: a compiled step gives up the arrays that it is given.
    """
    import jax

    return jax.jit(lambda: jax.numpy.zeros((), dtype))


@functools.lru_cache(maxsize=None)
def _jax_mean():
    """The mean as a function that JAX compiles."""
    import jax

    return jax.jit(jax.numpy.mean, inline=True)


@functools.lru_cache(maxsize=None)
def _jax_sums():
    """The sums of `add_to_sums` as a function that JAX compiles."""
    import jax

    def add(states, values, count):
        products = [jax.lax.stop_gradient(value) * count for value in values]
        terms = [*products, *[count] * len(values)]
        return [(s + t).astype(s.dtype) for s, t in zip(states, terms)]

    return jax.jit(add)


@functools.lru_cache(maxsize=None)
def _jax_ratio():
    """`ratio` as a function that JAX compiles.

    It never divides by 0, which `jax_debug_nans` would stop at.
    """
    import jax

    def divide(total, count):
        is_zero = count == 0
        return jax.numpy.where(is_zero, count, total / (count + is_zero))

    return jax.jit(divide, inline=True)


def _are_on_one_device(tensors):
    """Whether PyTorch can stack these: a user's loss may be left elsewhere."""
    return len({tensor.device for tensor in tensors}) == 1
