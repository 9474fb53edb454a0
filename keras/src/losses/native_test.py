"""Tests of what each backend does in its own way.

All of it is compared with numbers worked out by hand, which `keras.ops` gives
too, so that no test needs to know which way was taken.
"""

import types
from unittest import mock

import numpy as np
import pytest
from absl.testing import parameterized

from keras.src import backend
from keras.src import ops
from keras.src import testing
from keras.src.losses import native

NAN, INF = float("nan"), float("inf")


def only_on(name):
    return pytest.mark.skipif(backend.backend() != name, reason=f"about {name}")


def compiled(function):
    """The function in a graph, where the backend has graphs."""
    if backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def gradient(function, x):
    """The gradient of a function of one tensor, or `None` if it has none."""
    x = ops.convert_to_tensor(x)
    if backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)
    if backend.backend() == "jax":
        import jax

        return jax.grad(function)(x)
    x.requires_grad_(True)
    function(x).backward()
    return x.grad


def variables(*values, dtype="float32"):
    return [
        backend.Variable(np.float32(value), dtype=dtype, trainable=False)
        for value in values
    ]


def tensors(*values, dtype="float32"):
    return [ops.convert_to_tensor(value, dtype) for value in values]


def dtype_of(x):
    return backend.common.variables.standardize_dtype(x.dtype)


class NativeTest(testing.TestCase):
    def assertKept(self, result, x):
        """Checks the dtype of what was made of `x`."""
        # `keras.ops`, which does it with NumPy, makes float32 of float64.
        if backend.backend() != "numpy":
            self.assertEqual(result.dtype, x.dtype)

    @parameterized.product(
        dtype=["float32", "float64"],
        case=[
            (7.0, 7.0),
            ([1.0, 2.0, 6.0], 3.0),
            ([[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]], 4.0),
            ([[[1.0], [3.0]], [[5.0], [-1.0]]], 2.0),
            ([1.0, NAN], NAN),
            ([[1.0], [INF]], INF),
        ],
    )
    def test_mean_of_all(self, dtype, case):
        values, expected = case
        values = ops.convert_to_tensor(values, dtype)
        mean = native.mean_of_all(values)
        self.assertEqual(tuple(mean.shape), ())
        self.assertAllClose(mean, expected)
        self.assertAllClose(ops.mean(values), expected)
        self.assertKept(mean, values)

    def test_mean_of_many(self):
        # In float16, or one by one in float32, they are no longer counted.
        values = ops.ones((1 << 20, 17))
        self.assertAllClose(native.mean_of_all(values), 1.0)

    @parameterized.parameters(((3,),), ((2, 3),), ((2, 3, 1),))
    def test_mean_in_a_graph(self, shape):
        values = np.arange(float(np.prod(shape)), dtype="float32")
        mean = compiled(native.mean_of_all)
        for end in (None, 1):
            found = mean(ops.convert_to_tensor(values.reshape(shape)[:end]))
            self.assertAllClose(found, values.reshape(shape)[:end].mean())

    @only_on("tensorflow")
    def test_mean_of_an_unknown_number(self):
        import tensorflow as tf

        for shape in ([None], [None, 1]):
            mean = tf.function(
                native.mean_of_all, [tf.TensorSpec(shape, "float32")]
            )
            for values, expected in (([4.0], 4.0), ([1.0, 2.0, 6.0], 3.0)):
                values = np.reshape(values, [-1] + [1] * (len(shape) - 1))
                found = mean(tf.constant(values, "float32"))
                self.assertAllClose(found, expected)

    @pytest.mark.requires_trainable_backend
    def test_gradients(self):
        # Of (x^2 + y^2 + z^2) / 3.
        found = gradient(
            lambda x: native.mean_of_all(x * x), np.float32([1.0, 3.0, 6.0])
        )
        self.assertAllClose(found, [2 / 3, 2.0, 4.0])

    @parameterized.product(
        dtype=["float32", "float64"],
        count=[3, np.int32(3), "tensor"],
    )
    def test_add_to_sums(self, dtype, count):
        if isinstance(count, str):
            count = ops.convert_to_tensor(3, "int32")
        sums = variables(0, 10, dtype=dtype)
        counts = variables(0, 4, dtype=dtype)
        values = [ops.cast(x, sums[0].value.dtype) for x in tensors(2.5, -5.0)]
        native.add_to_sums(sums, counts, values, count)
        # 3 * 2.5, 10 - 3 * 5 and 4 + 3
        self.assertAllClose(sums, [7.5, -5.0])
        self.assertAllClose(counts, [3.0, 7.0])
        native.add_to_sums(sums, counts, values, 1)
        self.assertAllClose(sums, [10.0, -10.0])
        self.assertAllClose(counts, [4.0, 8.0])
        self.assertEqual({x.dtype for x in sums + counts}, {dtype})
        # The tensors are still those of the caller.
        self.assertAllClose(values, [2.5, -5.0])

    def test_more_sums_than_counts_of_values(self):
        sums, counts = variables(*range(33)), variables(*range(33))
        native.add_to_sums(sums, counts, tensors(*range(33)), 2)
        # i + 2 * i, and i + 2
        self.assertAllClose(sums, 3.0 * np.arange(33))
        self.assertAllClose(counts, 2.0 + np.arange(33))

    def test_a_sum_of_what_is_no_number(self):
        sums, counts = variables(1, 1, 1), variables(0, 0, 0)
        native.add_to_sums(sums, counts, tensors(NAN, 2.0, INF), 3)
        self.assertAllClose(sums, [NAN, 7.0, INF])
        self.assertAllClose(counts, [3.0, 3.0, 3.0])

    @parameterized.parameters(3, "tensor")
    def test_sums_in_a_stateless_scope(self, count):
        if count == "tensor":
            count = ops.convert_to_tensor(3, "int32")
        state = variables(1, 4, 2, 6)
        mapping = [(state[0], ops.convert_to_tensor(100.0))]
        with backend.StatelessScope(state_mapping=mapping) as scope:
            for values in (tensors(2.0, 5.0), tensors(1.0, 0.0)):
                native.add_to_sums(state[:2], state[2:], values, count)
        found = [scope.get_current_value(x) for x in state]
        found = list(map(ops.convert_to_numpy, found))
        # 100 + 3 * 2 + 3 * 1, 4 + 3 * 5, and twice 3 more.
        self.assertAllClose(found, [109.0, 19.0, 8.0, 12.0])
        self.assertAllClose(state, [1.0, 4.0, 2.0, 6.0])

    def test_sums_in_a_graph(self):
        state = variables(1, 2)

        @compiled
        def add(start, values):
            mapping = list(zip(state, start))
            with backend.StatelessScope(state_mapping=mapping) as scope:
                size = ops.shape(values)[0]
                mean = native.mean_of_all(values)
                native.add_to_sums(state[:1], state[1:], [mean], size)
            return [scope.get_current_value(x) for x in state]

        # 1 + (3 + 5), and 1 + (2 + 3 + 4)
        for values, expected in (([3.0, 5.0], [9, 4]), ([2, 3, 4.0], [10, 5])):
            found = add(tensors(1.0, 2.0), ops.convert_to_tensor(values))
            found = list(map(ops.convert_to_numpy, found))
            self.assertAllClose(found, expected)
        self.assertAllClose(state, [1.0, 2.0])

    @only_on("tensorflow")
    def test_sums_of_a_function(self):
        """Variables change with each call, and nothing is added to a trace."""
        import tensorflow as tf

        state = variables(1, 2)

        @tf.function(input_signature=[tf.TensorSpec([None], "float32")])
        def add(values):
            mean = native.mean_of_all(values)
            size = ops.shape(values)[0]
            native.add_to_sums(state[:1], state[1:], [mean], size)

        add(tf.constant([3.0, 5.0]))
        self.assertAllClose(state, [9.0, 4.0])
        add(tf.constant([2.0, 3.0, 4.0]))
        self.assertAllClose(state, [18.0, 7.0])

    @pytest.mark.requires_trainable_backend
    def test_sums_want_no_gradient(self):
        sums, counts = variables(0), variables(0)

        def loss(x):
            if backend.backend() == "jax":
                # It has variables only as values.
                with backend.StatelessScope() as scope:
                    native.add_to_sums(sums, counts, [x * x], 2)
                return 3.0 * x + scope.get_current_value(sums[0])
            native.add_to_sums(sums, counts, [x * x], 2)
            return 3.0 * x + sums[0].value

        self.assertAllClose(gradient(loss, np.float32(5.0)), 3.0)
        if backend.backend() == "torch":
            self.assertFalse(sums[0].value.requires_grad)
            self.assertIsNone(sums[0].value.grad_fn)

    @parameterized.parameters(
        (6, 4, 1.5),
        (-6, 4, -1.5),
        (6, -4, -1.5),
        (0, 3, 0.0),
        (0, 0, 0.0),
        # Weights of 1 and -1, and what a weight of 0 makes of NaN.
        (5, 0, 0.0),
        (NAN, 0, 0.0),
        (INF, 0, 0.0),
        (NAN, 2, NAN),
        (6, NAN, NAN),
    )
    def test_ratio(self, total, count, expected):
        for dtype in ("float32", "float64"):
            numbers = variables(total, count, dtype=dtype)
            found = native.ratio(*[number.value for number in numbers])
            self.assertEqual(tuple(found.shape), ())
            self.assertKept(found, numbers[0].value)
            self.assertAllClose(found, expected)
            self.assertAllClose(ops.divide_no_nan(*numbers), expected)

    def test_ratio_in_a_stateless_scope(self):
        total, count = variables(6, 4)
        mapping = [(count, ops.convert_to_tensor(0.0))]
        with backend.StatelessScope(state_mapping=mapping):
            self.assertAllClose(native.ratio(total.value, count.value), 0.0)
            total.assign(10.0)
            count.assign(4.0)
            self.assertAllClose(native.ratio(total.value, count.value), 2.5)
        self.assertAllClose(native.ratio(total.value, count.value), 1.5)

    @only_on("jax")
    def test_nothing_is_divided_by_0(self):
        import jax

        with jax.debug_nans(True):
            zero = ops.zeros(())
            self.assertAllClose(native.ratio(zero, zero), 0.0)

    @parameterized.product(
        dtype=["float32", "float64", "bfloat16"],
        value=[3.0, NAN, INF],
        trainable=[False, True],
    )
    def test_set_to_zero(self, dtype, value, trainable):
        variable = backend.Variable(
            np.float32(value), dtype=dtype, trainable=trainable
        )
        kind = variable.value.dtype
        native.set_to_zero(variable)
        self.assertAllClose(ops.cast(variable.value, "float32"), 0.0)
        self.assertEqual(variable.value.dtype, kind)
        variable.assign_add(2.0)
        self.assertAllClose(ops.cast(variable.value, "float32"), 2.0)

    def test_zero_in_a_stateless_scope(self):
        (variable,) = variables(3)
        with backend.StatelessScope() as scope:
            native.set_to_zero(variable)
            self.assertAllClose(variable.value, 0.0)
        zero = scope.get_current_value(variable)
        self.assertAllClose(zero, 0.0)
        self.assertEqual(dtype_of(zero), "float32")
        self.assertAllClose(variable.value, 3.0)

    def test_may_assign(self):
        given, other = variables(1, 2)
        # An eager step of JAX is traced for its gradient, unlike others.
        self.assertEqual(native.may_assign(given), backend.backend() != "jax")
        with backend.StatelessScope([(given, 3.0)]):
            self.assertTrue(native.may_assign(given))
            self.assertFalse(native.may_assign(other))

    def test_no_two_variables_share_a_zero(self):
        first, second = variables(3, 4)
        for variable in (first, second):
            native.set_to_zero(variable)
        if backend.backend() == "jax":
            # A step that is compiled gives up what it was handed.
            first.value.delete()
            self.assertAllClose(second.value, 0.0)
        first.assign(5.0)
        self.assertAllClose(second.value, 0.0)
        # Nor does the next zero come from where the first one went.
        native.set_to_zero(first)
        self.assertAllClose(first.value, 0.0)

    def test_what_is_of_no_graph_is_of_this_one(self):
        for x in (None, 3, 2.5, np.zeros(2), ops.ones(2), variables(1)[0]):
            self.assertTrue(native.is_of_this_graph(x))

    @only_on("tensorflow")
    def test_tensors_of_another_graph(self):
        import tensorflow as tf

        kept, found = [], []

        @tf.function
        def keep(x):
            kept.append(tf.shape(x)[0])
            found.append(native.is_of_this_graph(kept[0]))
            return x

        @tf.function
        def other(x):
            found.append(native.is_of_this_graph(kept[0]))
            found.append(native.is_of_this_graph(tf.shape(x)[0]))
            found.append(native.is_of_this_graph(eager))
            return x

        eager = tf.constant(1)
        keep(tf.ones(3))
        other(tf.ones(3))
        self.assertEqual(found, [True, False, True, True])
        self.assertFalse(native.is_of_this_graph(kept[0]))

    def test_what_keras_makes_is_on_its_device(self):
        for x in (ops.ones(2), variables(1)[0].value):
            self.assertTrue(native.is_on_keras_device(x))

    @parameterized.parameters(
        # Where a tensor is, where Keras computes, and the current GPU.
        ("cpu", "cpu", 0, True),
        ("cpu", "cuda", 0, False),
        ("cuda:0", "cuda", 0, True),
        ("cuda:1", "cuda", 0, False),
        ("cuda:1", "cuda", 1, True),
        ("cuda:0", "cpu", 0, False),
        ("meta", "cpu", 0, False),
        ("meta", "meta", 0, True),
        ("mps", "mps", 0, True),
    )
    @only_on("torch")
    def test_devices(self, device, wanted, current, expected):
        import torch

        tensor = types.SimpleNamespace(device=torch.device(device))
        core = getattr(backend.torch, "ops", backend.torch).core
        with (
            mock.patch.object(core, "get_device", lambda: wanted),
            mock.patch.object(torch.cuda, "current_device", lambda: current),
        ):
            self.assertEqual(native.is_on_keras_device(tensor), expected)

    @only_on("torch")
    def test_a_tensor_that_is_elsewhere(self):
        import torch

        x = torch.ones((), device="meta")
        self.assertFalse(native.is_on_keras_device(x))
