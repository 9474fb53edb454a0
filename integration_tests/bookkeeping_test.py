"""What recording raw losses costs: counts of state, operations and calls.

Nothing here is timed; `benchmarks/compile_loss.py` does that.
"""

import gc
from unittest import mock

import numpy as np
from absl.testing import parameterized

import keras
from keras.src import backend
from keras.src import ops
from keras.src import testing
from keras.src.trainers.compile_utils import CompileLoss

COUNT = 32
NAMES = [f"y{i:02d}" for i in range(COUNT)]
X = np.ones((4, 3), "float32")
Y = {name: np.zeros((4, 1), "float32") for name in NAMES}


def model_of(names=NAMES, tracked=True):
    """A compiled model; without tracking, a loop over the same losses."""
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in names}
    losses = {name: keras.losses.MeanSquaredError() for name in names}

    class Untracked(keras.Model):
        def compute_loss(self, x, y, y_pred, sample_weight, training=True):
            values = [losses[name](y[name], y_pred[name]) for name in names]
            return sum(values[1:], values[0])

    model = (keras.Model if tracked else Untracked)(inputs, outputs)
    # TensorFlow would spend most of the time on XLA.
    jit_compile = backend.backend() == "jax"
    loss = losses if tracked else None
    model.compile("sgd", loss=loss, jit_compile=jit_compile)
    return model


def operations(function, *arguments):
    """How many operations the backend runs, or compiles, for a call."""
    if backend.backend() == "jax":
        import jax

        text = jax.jit(function).lower(*arguments).as_text()
        return sum(" = " in line for line in text.splitlines())
    if backend.backend() == "tensorflow":
        import tensorflow as tf

        step = tf.function(function, autograph=False)
        arguments = tf.nest.map_structure(tf.constant, arguments)
        graph = step.get_concrete_function(*arguments).graph
        inner = graph.as_graph_def().library.function
        nodes = sum(len(function.node_def) for function in inner)
        return len(graph.get_operations()) + nodes
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.found += 1
            return function(*args, **(kwargs or {}))

    with Count() as count:
        function(*arguments)
    return count.found


def step_operations(model):
    """The operations of a whole training step of a built model."""
    model.train_on_batch(X, Y)
    if backend.backend() != "jax":
        return operations(model.train_step, (X, Y))
    state = tuple(
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    )
    return operations(model.train_step, state, (X, Y))


def recording_operations(names):
    """What a call has more than a loop over the same losses."""
    y = {name: ops.convert_to_tensor(Y[name]) for name in names}
    losses = {name: keras.losses.MeanSquaredError() for name in names}
    compile_loss = CompileLoss(losses)
    compile_loss(y, y)

    def call(y_true, y_pred):
        if backend.backend() != "jax":
            return compile_loss(y_true, y_pred)
        # What JAX traces must hand on what it assigns.
        with backend.StatelessScope() as scope:
            total = compile_loss(y_true, y_pred)
        return total, scope.get_current_value(compile_loss.variables[0])

    def loop(y_true, y_pred):
        values = [losses[name](y_true[name], y_pred[name]) for name in names]
        return sum(values[1:], values[0])

    return operations(call, y, y) - operations(loop, y, y)


def assignments():
    """A mock that counts writes to variables, and lets them happen."""
    return mock.patch.object(
        backend.Variable,
        "assign",
        autospec=True,
        side_effect=backend.Variable.assign,
    )


def live_arrays():
    """How many of the backend's arrays something still holds."""
    gc.collect()
    if backend.backend() == "jax":
        import jax

        return len(jax.live_arrays())
    if backend.backend() == "torch":
        import torch

        kinds = torch.Tensor
    else:
        import tensorflow as tf

        kinds = (tf.__internal__.EagerTensor, tf.Variable)
    return sum(issubclass(type(x), kinds) for x in gc.get_objects())


class BookkeepingTest(testing.TestCase):
    def test_state_is_one_array(self):
        model = model_of()
        model.train_on_batch(X, Y)
        # The total's mean has two of its own.
        self.assertLen(model.metrics_variables, 2 + 1)
        # One sum for each entry, and the number of samples.
        self.assertEqual(tuple(model.metrics_variables[2].shape), (COUNT + 1,))

    def test_each_entry_is_a_metric(self):
        model = model_of()
        model.train_on_batch(X, Y)
        metrics = model._compile_loss.metrics
        self.assertEqual(
            [metric.name for metric in metrics],
            [f"{name}_loss" for name in NAMES],
        )

    def test_a_call_records_in_as_many_operations_at_any_number(self):
        few, many = recording_operations(NAMES[:2]), recording_operations(NAMES)
        # The loop adds the losses one by one, TensorFlow and PyTorch at once.
        more = -(COUNT - 2)
        if backend.backend() == "jax":
            # It makes a vector of each scalar and joins 16 of them at a time.
            more = (COUNT - 2) + (COUNT // 16 + 1)
        self.assertLessEqual(many - few, more)

    def test_reset_writes_once(self):
        model = model_of()
        model.train_on_batch(X, Y)
        with assignments() as assign:
            model.reset_metrics()
        # The total's mean has two variables.
        self.assertEqual(assign.call_count, 2 + 1)
        for metric in model.metrics:
            self.assertAllClose(metric.result(), 0.0)

    def test_reading_all_is_as_many_operations_as_reading_none(self):
        """Up to what makes scalars of a vector."""
        few, many = model_of(NAMES[:2]), model_of()
        few.train_on_batch(X, {name: Y[name] for name in NAMES[:2]})
        many.train_on_batch(X, Y)
        more = operations(many.get_metrics_result)
        more -= operations(few.get_metrics_result)
        # JAX has no operation with several results: a slice and a reshape
        # each. A TensorFlow function returns each of its results by one more.
        each = {"jax": 2, "tensorflow": 1, "torch": 0}[backend.backend()]
        self.assertLessEqual(more, each * (COUNT - 2))

    def test_step_is_hardly_more_than_the_losses(self):
        tracked = step_operations(model_of())
        untracked = step_operations(model_of(tracked=False))
        # The goal is 1.10 at 128 outputs. What a step has once for all
        # outputs is a larger part of it at 32.
        self.assertLess(tracked / untracked, 1.10)

    @parameterized.parameters((2,), (COUNT,))
    def test_steps_leave_nothing_behind(self, count):
        names = NAMES[:count]
        model = model_of(names)
        y = {name: Y[name] for name in names}
        for _ in range(3):
            model.train_on_batch(X, y)
        before = live_arrays()
        for _ in range(20):
            model.train_on_batch(X, y)
        self.assertEqual(live_arrays(), before)
