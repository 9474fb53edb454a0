"""What recording raw losses costs: counts of state, operations and calls.

Nothing here is timed; `benchmarks/compile_loss.py` does that.
"""

import gc

import numpy as np
from absl.testing import parameterized

import keras
from keras.src import backend
from keras.src import ops
from keras.src import testing
from keras.src.trainers.compile_utils import CompileLoss

COUNT = 32
NAMES = [f"y{i:02d}" for i in range(COUNT)]
# How many operations there may be for each loss entry. PyTorch records all of
# them in one. TensorFlow has two sums, and two variables that come into the
# graph; JAX a product and two sums, with the conversion of each. To read one is
# a quotient, and what makes it 0 where nothing was counted, without a division
# by 0.
RECORDED = {"torch": 0, "tensorflow": 4, "jax": 7}[backend.backend()]
READ = {"torch": 3, "tensorflow": 6, "jax": 8}[backend.backend()]
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
        state = map(scope.get_current_value, compile_loss.variables)
        return total, list(state)

    def loop(y_true, y_pred):
        values = [losses[name](y_true[name], y_pred[name]) for name in names]
        return sum(values[1:], values[0])

    return operations(call, y, y) - operations(loop, y, y)


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
    def test_state_is_a_total_and_a_count_each(self):
        model = model_of()
        model.train_on_batch(X, Y)
        # The total of the model has them, too.
        self.assertLen(model.metrics_variables, 2 * (COUNT + 1))

    def test_each_entry_is_a_metric(self):
        model = model_of()
        model.train_on_batch(X, Y)
        metrics = model._compile_loss.metrics
        self.assertEqual(
            [metric.name for metric in metrics],
            [f"{name}_loss" for name in NAMES],
        )

    def test_a_call_records_in_few_operations(self):
        few, many = recording_operations(NAMES[:2]), recording_operations(NAMES)
        self.assertLessEqual(many - few, RECORDED * (COUNT - 2))

    def test_reset_leaves_zeros(self):
        model = model_of()
        model.train_on_batch(X, Y)
        model.reset_metrics()
        for metric in model.metrics:
            self.assertAllClose(metric.result(), 0.0)
            self.assertAllClose(metric.variables, [0.0, 0.0])

    def test_reading_takes_few_operations(self):
        few, many = model_of(NAMES[:2]), model_of()
        few.train_on_batch(X, {name: Y[name] for name in NAMES[:2]})
        many.train_on_batch(X, Y)
        more = operations(many.get_metrics_result)
        more -= operations(few.get_metrics_result)
        self.assertLessEqual(more, READ * (COUNT - 2))

    def test_step_is_the_losses_and_what_is_said_above(self):
        tracked = step_operations(model_of())
        untracked = step_operations(model_of(tracked=False))
        more = RECORDED + READ + 1
        self.assertLessEqual(tracked - untracked, more * (COUNT + 2))

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
        # Arrays of an earlier test may go meanwhile.
        self.assertLessEqual(live_arrays(), before)
