"""Tests of what the fork promises about recorded losses.

Most models here have the heads `a = x` and `b = 2x`, and labels of zero. With
five samples `x = 0, 0, 0, 0, 10` their mean squared errors are

    a: (4 * 0 + 10 ** 2) / 5 = 20        b: (4 * 0 + 20 ** 2) / 5 = 80

and in batches of four the first batch has the losses 0 and 0, and the second,
short one 100 and 400.
"""

import math
import shutil

import ml_dtypes
import numpy as np
import pytest
from absl.testing import parameterized

from keras.src import backend
from keras.src import callbacks
from keras.src import layers
from keras.src import losses
from keras.src import metrics
from keras.src import models
from keras.src import ops
from keras.src import optimizers
from keras.src import regularizers
from keras.src import testing
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.dtype_policies import dtype_policy as policies
from keras.src.trainers import compile_utils
from keras.src.trainers import identifiers
from keras.src.trainers import metric_plan
from keras.src.trainers.compile_utils import CompileLoss
from keras.src.trainers.compile_utils import CompileMetrics
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDataset

X = np.array([[0.0], [0.0], [0.0], [0.0], [10.0]], "float32")
ZEROS = np.zeros((5, 1), "float32")
RAW = {"a_loss": 20.0, "b_loss": 80.0}

CONTAINERS = {
    "list": lambda a, b: [a, b],
    "tuple": lambda a, b: (a, b),
    "dict": lambda a, b: {"a": a, "b": b},
}


def compiled(
    container="list",
    loss_weights=(1.0, 1.0),
    learning_rate=0.0,
    batch_size=None,
    regularizer=None,
    **kwargs,
):
    """The model with the heads `a = x` and `b = 2x`.

    Losses and weights come in the container of the outputs, so that what
    fails on stock Keras fails because of the numbers, not of the form.
    """
    inputs = layers.Input((1,), batch_size=batch_size)
    heads = [
        layers.Dense(
            1,
            use_bias=False,
            kernel_initializer="ones" if name == "a" else twos,
            kernel_regularizer=regularizer,
            name=name,
        )(inputs)
        for name in "ab"
    ]
    contain = CONTAINERS[container]
    model = models.Model(inputs, contain(*heads))
    model.compile(
        optimizers.SGD(learning_rate),
        loss=contain("mse", "mse"),
        loss_weights=contain(*loss_weights),
        **kwargs,
    )
    return model


def twos(shape, dtype=None):
    return np.full(shape, 2.0, "float32")


class Batches(PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def batches_of(x, y, size):
    """Splits arrays into batches, labels in the container of `y`."""
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        if isinstance(y, dict):
            yield x[part], {name: label[part] for name, label in y.items()}
        else:
            yield x[part], tuple(label[part] for label in y)


def tf_data(x, y, size, known=True, drop_remainder=False):
    tf = pytest.importorskip("tensorflow")

    y = tuple(y) if isinstance(y, list) else y
    data = tf.data.Dataset.from_tensor_slices((x, y))
    data = data.batch(size, drop_remainder=drop_remainder)
    # Nothing is filtered out, but the length is unknown from here on.
    return data if known else data.filter(lambda x, y: True)


def data_loader(x, y, size):
    import torch

    def collate(batch):
        # PyTorch's own collation makes lists, which TensorFlow's trainer
        # refuses.
        x = torch.stack([x for x, _ in batch])
        if isinstance(batch[0][1], dict):
            y = {k: torch.stack([y[k] for _, y in batch]) for k in batch[0][1]}
        else:
            y = tuple(map(torch.stack, zip(*(y for _, y in batch))))
        return x, y

    samples = [
        (torch.as_tensor(x[0]), _tensors(y))
        for x, y in batches_of(x, y, size=1)
    ]
    return torch.utils.data.DataLoader(samples, size, collate_fn=collate)


def _tensors(y):
    import torch

    if isinstance(y, dict):
        return {k: torch.as_tensor(v[0]) for k, v in y.items()}
    return tuple(torch.as_tensor(v[0]) for v in y)


# Each takes arrays and a batch size and returns arguments of `fit`.
ROUTES = {
    "arrays": lambda x, y, n: {"x": x, "y": y, "batch_size": n},
    "generator": lambda x, y, n: {"x": batches_of(x, y, n)},
    "py_dataset": lambda x, y, n: {"x": Batches(list(batches_of(x, y, n)))},
    "tf_data": lambda x, y, n: {"x": tf_data(x, y, n)},
    "tf_data_unknown": lambda x, y, n: {"x": tf_data(x, y, n, known=False)},
    "data_loader": lambda x, y, n: {"x": data_loader(x, y, n)},
}
MODES = {
    "default": {},
    "jit": {"jit_compile": True},
    "eager": {"run_eagerly": True},
    "two_steps": {"steps_per_execution": 2},
    "more_steps_than_batches": {"steps_per_execution": 3},
    "jit_two_steps": {"jit_compile": True, "steps_per_execution": 2},
}


def named(**table):
    """Combinations of the tables' keys as `named_parameters`."""
    combinations = [()]
    for keys in table.values():
        combinations = [(*c, key) for c in combinations for key in keys]
    return [("_".join(c), *c) for c in combinations]


class NoSuchLabel(ValueError):
    """An error of a user's own."""


class RecordedLossTest(testing.TestCase):
    """What `fit` and `evaluate` log for several outputs."""

    def assertLogged(self, logs, expected, prefix=""):
        for name, value in expected.items():
            logged = logs[prefix + name]
            logged = logged[-1] if isinstance(logged, list) else logged
            self.assertAllClose(logged, value, rtol=1e-5, msg=prefix + name)

    def skip_what_numpy_lacks(self, method):
        if method == "fit" and backend.backend() == "numpy":
            self.skipTest("NumPy can't train.")

    def skip_what_torch_lacks(self, mode, container):
        if backend.backend() != "torch":
            return
        if "steps" in mode:
            self.skipTest("Keras on PyTorch has one step per execution.")
        if "jit" in mode and shutil.which("c++") is None:
            self.skipTest("torch.compile needs a C++ compiler.")
        if "jit" in mode and container != "dict":
            self.skipTest("torch.compile takes half a minute; once will do.")

    def test_state_of_the_caller(self):
        """In a stateless scope the sums go there, for batches of any size."""
        loss = CompileLoss(["mse", "mse"])
        zeros = np.zeros((3, 1), "float32")
        loss([zeros, zeros], [zeros, zeros])
        state = loss.variables
        before = [ops.convert_to_numpy(v.value) for v in state]

        def add(y):
            zeros = [(v, 0.0 * v.value) for v in state]
            with backend.StatelessScope(zeros) as scope:
                loss([0.0 * y, 0.0 * y], [y, 2.0 * y])
            return [scope.get_current_value(v) for v in state]

        if backend.backend() == "tensorflow":
            import tensorflow as tf

            add = tf.function(
                add, input_signature=[tf.TensorSpec((None, 1), "float32")]
            )
        # The sums of squares of 1, 1 and 2, and of twice as much; the number.
        after = add(ops.convert_to_tensor([[1.0], [1.0], [2.0]]))
        after = list(map(ops.convert_to_numpy, after))
        self.assertAllClose(after, [6.0, 3.0, 24.0, 3.0], rtol=0, atol=0)
        self.assertAllClose(state, before, rtol=0, atol=0)

    @parameterized.named_parameters(
        named(container=CONTAINERS, route=ROUTES, method=["fit", "evaluate"])
    )
    def test_short_last_batch(self, container, route, method):
        self.skip_what_numpy_lacks(method)
        model = compiled(container)
        data = ROUTES[route](X, CONTAINERS[container](ZEROS, ZEROS), 4)
        if method == "fit":
            logs = model.fit(**data, shuffle=False, verbose=0).history
        else:
            logs = model.evaluate(**data, return_dict=True, verbose=0)
        self.assertLogged(logs, {**RAW, "loss": 100.0})

    @parameterized.named_parameters(named(mode=MODES, container=CONTAINERS))
    @pytest.mark.requires_trainable_backend
    def test_modes(self, mode, container):
        self.skip_what_torch_lacks(mode, container)
        model = compiled(container, (3.0, 0.5), **MODES[mode])
        y = CONTAINERS[container](ZEROS, ZEROS)
        history = model.fit(
            X,
            y,
            batch_size=4,
            shuffle=False,
            validation_data=(X, y),
            validation_batch_size=4,
            verbose=0,
        ).history
        expected = {**RAW, "loss": 3 * 20.0 + 0.5 * 80.0}
        self.assertLogged(history, expected)
        self.assertLogged(history, expected, "val_")

    @parameterized.named_parameters(
        ("nothing", 0.0), ("one", 1.0), ("seven", 7.0)
    )
    def test_a_weight_never_shows_in_the_raw_loss(self, weight):
        model = compiled(loss_weights=(weight, 1.0))
        logs = model.evaluate(
            X, [ZEROS, ZEROS], batch_size=4, return_dict=True, verbose=0
        )
        self.assertLogged(logs, {**RAW, "loss": weight * 20.0 + 80.0})

    @pytest.mark.requires_trainable_backend
    def test_the_total_is_the_weighted_sum_plus_regularization(self):
        model = compiled(
            loss_weights=(7.0, 0.25), regularizer=regularizers.L2(0.5)
        )
        y = [ZEROS, ZEROS]
        history = model.fit(X, y, batch_size=4, verbose=0, shuffle=False)
        # The kernels are 1 and 2: 0.5 * (1 ** 2 + 2 ** 2) = 2.5.
        total = 7.0 * 20.0 + 0.25 * 80.0 + 2.5
        self.assertLogged(history.history, {**RAW, "loss": total})

    @pytest.mark.requires_trainable_backend
    def test_the_gradient_is_weighted(self):
        model = compiled(loss_weights=(7.0, 0.0), learning_rate=0.001)
        model.fit(X, [ZEROS, ZEROS], batch_size=5, verbose=0)
        # d/dk mean((k * x) ** 2) = 2 * k * mean(x ** 2) = 2 * 20 at k = 1.
        kernel_a, kernel_b = (w.item() for w in model.get_weights())
        self.assertAllClose(kernel_a, 1.0 - 0.001 * 7.0 * 40.0, rtol=1e-5)
        self.assertAllClose(kernel_b, 2.0)

    @parameterized.named_parameters(named(method=["fit", "evaluate"]))
    def test_static_batch_size_and_unknown_length(self, method):
        """An update that runs without data must not be counted.

        TensorFlow learns that the data is at its end by running a step that
        has none. With a static batch size everything that does not depend on
        the data is run all the same. The model's total is counted in another
        module of upstream's; see the known limits in RELEASE_NOTES.md.
        """
        self.skip_what_numpy_lacks(method)
        x = np.array([[1.0], [1.0], [3.0], [3.0]], "float32")
        y = (np.zeros((4, 1), "float32"), np.zeros((4, 1), "float32"))
        model = compiled("tuple", batch_size=2)
        data = tf_data(x, y, 2, known=False, drop_remainder=True)
        if method == "fit":
            logs = model.fit(data, epochs=2, verbose=0).history
        else:
            logs = model.evaluate(data, return_dict=True, verbose=0)
        # (2 * 1 ** 2 + 2 * 3 ** 2) / 4 = 5, and 4 times that.
        self.assertLogged(logs, {"a_loss": 5.0, "b_loss": 20.0})

    def test_600_batches_in_bfloat16(self):
        """A sum that is kept in bfloat16 stops growing at 256 ones."""
        self.addCleanup(backend.set_floatx, backend.floatx())
        self.addCleanup(policies.set_dtype_policy, policies.dtype_policy())
        backend.set_floatx("bfloat16")
        model = compiled()
        # 300 samples without a loss, then 300 with 2 ** 2 and 4 ** 2.
        x = np.repeat([[0.0], [2.0]], 300, axis=0)
        y = [np.zeros((600, 1)), np.zeros((600, 1))]
        logs = model.evaluate(x, y, batch_size=1, verbose=0, return_dict=True)
        self.assertLogged(logs, {"a_loss": 2.0, "b_loss": 8.0})

    @parameterized.parameters(1, 2, 3, 4, 5, 7)
    def test_batch_size_changes_no_number(self, batch_size):
        model = compiled("dict", (2.0, 1.0))
        logs = model.evaluate(
            X,
            {"a": ZEROS, "b": ZEROS},
            batch_size=batch_size,
            return_dict=True,
            verbose=0,
        )
        self.assertLogged(logs, {**RAW, "loss": 120.0})

    def test_sample_weights_are_part_of_the_raw_loss(self):
        model = compiled(loss_weights=(1.0, 5.0))
        logs = model.evaluate(
            X,
            [ZEROS, ZEROS],
            sample_weight=np.array([1.0, 1.0, 1.0, 1.0, 2.0]),
            batch_size=4,
            return_dict=True,
            verbose=0,
        )
        # The second batch has the losses 2 * 100 and 2 * 400.
        expected = {"a_loss": 40.0, "b_loss": 160.0, "loss": 840.0}
        self.assertLogged(logs, expected)

    def test_nan_stays_in_its_own_entry(self):
        model = compiled()
        labels = ZEROS.copy()
        labels[1] = math.nan
        logs = model.evaluate(
            X, [labels, ZEROS], batch_size=4, return_dict=True, verbose=0
        )
        expected = {"a_loss": math.nan, "b_loss": 80.0, "loss": math.nan}
        self.assertLogged(logs, expected)

    @pytest.mark.requires_trainable_backend
    def test_epochs_start_anew(self):
        model = compiled(learning_rate=0.001)
        y = [ZEROS, ZEROS]
        history = model.fit(X, y, batch_size=5, epochs=2, verbose=0).history
        # After one step with the gradient 40 the kernel of `a` is 0.96.
        self.assertAllClose(history["a_loss"][0], 20.0, rtol=1e-5)
        self.assertAllClose(history["a_loss"][1], 0.96**2 * 20.0, rtol=1e-5)

    @pytest.mark.requires_trainable_backend
    def test_train_on_batch_and_test_on_batch(self):
        model = compiled(loss_weights=(2.0, 1.0))
        y = [ZEROS, ZEROS]
        for method in (model.train_on_batch, model.test_on_batch):
            self.assertLogged(
                method(X[:4], [y[:4] for y in y], return_dict=True),
                {"a_loss": 0.0, "b_loss": 0.0, "loss": 0.0},
            )
            self.assertLogged(
                method(X[4:], [y[4:] for y in y], return_dict=True),
                {"a_loss": 100.0, "b_loss": 400.0, "loss": 600.0},
            )

    @pytest.mark.requires_trainable_backend
    def test_evaluate_in_a_callback_leaves_the_epoch_alone(self):
        model = compiled()
        y = [ZEROS, ZEROS]
        seen = []
        callback = callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: seen.append(
                model.evaluate(X, y, batch_size=2, return_dict=True, verbose=0)
            )
        )
        history = model.fit(
            X,
            y,
            batch_size=4,
            epochs=2,
            shuffle=False,
            callbacks=[callback],
            verbose=0,
        ).history
        self.assertAllClose(history["b_loss"], [80.0, 80.0], rtol=1e-5)
        for logs in seen:
            self.assertLogged(logs, RAW)


class CompileLossTest(testing.TestCase):
    """`CompileLoss` by itself."""

    def test_raw_is_recorded_before_it_is_weighted(self):
        compile_loss = CompileLoss(
            ["mse", "mae"], [10.0, 0.0], output_names=["a", "b"]
        )
        value = compile_loss(
            [np.zeros((2, 1)), np.zeros((2, 1))],
            [np.full((2, 1), 2.0), np.full((2, 1), 3.0)],
        )
        self.assertAllClose(value, 40.0)
        a_loss, b_loss = compile_loss.metrics
        self.assertEqual([a_loss.name, b_loss.name], ["a_loss", "b_loss"])
        self.assertAllClose(a_loss.result(), 4.0)
        self.assertAllClose(b_loss.result(), 3.0)

    def test_average_over_samples(self):
        compile_loss = CompileLoss("mse", output_names=["a", "b"])
        compile_loss([ZEROS[:4]] * 2, [X[:4], 2 * X[:4]])
        compile_loss([ZEROS[4:]] * 2, [X[4:], 2 * X[4:]])
        a_loss, b_loss = compile_loss.metrics
        self.assertAllClose(a_loss.result(), 20.0)
        self.assertAllClose(b_loss.result(), 80.0)
        a_loss.reset_state()
        b_loss.reset_state()
        self.assertAllClose(a_loss.result(), 0.0)
        self.assertAllClose(b_loss.result(), 0.0)

    def test_a_variable_is_read_at_each_call(self):
        weight = backend.Variable(2.0)
        compile_loss = CompileLoss("mse", weight)
        self.assertAllClose(compile_loss(ZEROS, X), 2.0 * 20.0)
        weight.assign(0.5)
        self.assertAllClose(compile_loss(ZEROS, X), 0.5 * 20.0)

    @parameterized.parameters("bfloat16", "float16", "float64", "int32")
    def test_a_tensor_is_a_list_of_weights(self, dtype):
        weights = ops.convert_to_tensor([2, 3], dtype)
        compile_loss = CompileLoss(["mse", "mse"], weights)
        # 2 * 20 + 3 * 80
        loss = compile_loss([ZEROS, ZEROS], [X, 2 * X])
        self.assertAllClose(loss, 280.0)

    @parameterized.parameters(ml_dtypes.bfloat16, "float16", "int8", "bool")
    def test_an_array_is_a_list_of_weights(self, dtype):
        weights = np.array([0, 1], dtype)
        for weights in (weights, list(weights)):
            compile_loss = CompileLoss(["mse", "mse"], weights)
            # 0 * 20 + 1 * 80
            loss = compile_loss([ZEROS, ZEROS], [X, 2 * X])
            self.assertAllClose(loss, 80.0)

    def test_an_array_of_equal_weights_is_still_a_list(self):
        for weights in ([2.0, 2.0], [2.0, 3.0]):
            compile_loss = CompileLoss("mse", np.array(weights))
            with self.assertRaisesRegex(ValueError, "`loss_weights` must"):
                compile_loss(ZEROS, X)

    def test_nan_stays_in_its_own_result(self):
        compile_loss = CompileLoss(["mse", "mse"])
        compile_loss([ZEROS, ZEROS], [X * math.nan, X])
        results = [float(metric.result()) for metric in compile_loss.metrics]
        self.assertAllClose(results, [math.nan, 20.0])

    @parameterized.parameters(("z", "a"), ("a", "z"))
    def test_the_order_of_a_plain_dict_is_that_of_its_keys(self, *keys):
        # JAX hands on no other, so that no other is the same everywhere.
        y = dict.fromkeys(keys, X)
        compile_loss = CompileLoss("mse")
        compile_loss(y, y)
        names = [metric.name for metric in compile_loss.metrics]
        self.assertEqual(names, ["a_loss", "z_loss"])

    def test_a_missing_label(self):
        with self.assertRaisesRegex(ValueError, "Output 1 has a loss"):
            CompileLoss("mse")([ZEROS, None], [X, X])

    def test_a_missing_label_of_a_loss_that_goes_by_its_shape(self):
        compile_loss = CompileLoss("crossentropy", output_names=["a", "b"])
        with self.assertRaisesRegex(ValueError, "'b' has a loss, and no label"):
            compile_loss.build({"a": ZEROS}, [X, X])

    def test_losses_without_a_reduction(self):
        """They are added up by sample; the mean is recorded."""
        unreduced = losses.MeanSquaredError(reduction="none")
        compile_loss = CompileLoss([unreduced, "mse"], [2, 10])
        # Squares 0, 0, 0, 0, 100, and their mean.
        for _ in range(2):
            total = compile_loss([ZEROS, ZEROS], [X, X])
            self.assertAllClose(total, [200.0] * 4 + [400.0])
            results = [float(m.result()) for m in compile_loss.metrics]
            self.assertAllClose(results, [20.0, 20.0])
        # Whoever takes the gradient asks for a number.
        with self.assertRaisesRegex(
            ValueError, r"\(5,\), with reduction='none"
        ):
            compile_loss.require_number()

    def test_the_first_loss_without_a_reduction_is_named(self):
        each = losses.MeanSquaredError(reduction=None)
        loss = CompileLoss([each, "mse", each], output_names=["a", "b", "c"])
        # A single sample with values for each of two timesteps.
        y_pred = np.array([[[1.0], [3.0]]], "float32")
        total = loss([0 * y_pred] * 3, [y_pred, y_pred, 2 * y_pred])
        # 1 and 9, their mean 5, and 4 and 36.
        self.assertAllClose(total, [[1 + 5 + 4, 9 + 5 + 36]])
        found = [metric.result() for metric in loss.metrics]
        self.assertAllClose(found, [5.0, 5.0, 20.0])
        with self.assertRaisesRegex(ValueError, r"output 'a'.*\(1, 2\)"):
            loss.require_number()

    def test_listed_names(self):
        for given, listed in (
            (["mse", "mse"], ["a_loss", "b_loss"]),
            ([None, "mse"], []),
        ):
            loss = CompileLoss(given, output_names=["a", "b"])
            loss([ZEROS] * 2, [X, X])
            self.assertEqual(loss.listed_names, listed)
            unlisted = [] if listed else loss.metrics
            self.assertEqual(loss.unlisted_metrics, unlisted)

    def test_what_is_one_number(self):
        """Of the last call, whatever came before."""
        one = CompileLoss(losses.MeanSquaredError(reduction="none"))
        one.require_number()
        for y_pred in (X, X[:1]):
            one(np.zeros_like(y_pred), y_pred)
        one.require_number()

    def test_lists_at_a_list_of_outputs_go_entry_by_entry(self):
        def mean(y_true, y_pred):
            return ops.mean(y_pred, axis=-1)

        compile_loss = CompileLoss([mean, [mean, mean]])
        # 10 / 5, and twice 20 / 5.
        loss = compile_loss([ZEROS, ZEROS], [X, 2 * X])
        self.assertAllClose(loss, 2.0 + 2 * 4.0)
        # Only losses of one's own take the tuple as a whole.
        compile_loss = CompileLoss([mean, "mse", (mean, mean)])
        with self.assertRaisesRegex(ValueError, "3 entries"):
            compile_loss((ZEROS, ZEROS), (X, X))

    @parameterized.parameters(ValueError, TypeError, NoSuchLabel)
    def test_the_error_of_a_loss_stays_as_it_is(self, kind):
        error = kind("No such label.", 7)

        def refuse(y_true, y_pred):
            raise error

        compile_loss = CompileLoss(["mse", refuse], output_names=["a", "b"])
        labels = [np.ones((2, 1)), np.ones((2, 1))]
        predictions = [np.ones((2, 1)), np.ones((2, 3))]
        with self.assertRaises(kind) as raised:
            compile_loss(labels, predictions)
        self.assertIs(raised.exception, error)
        self.assertEqual(error.args, ("No such label.", 7))
        self.assertIsNone(error.__cause__)

    def test_the_error_of_a_loss_has_a_note_of_its_output(self):
        def refuse(y_true, y_pred):
            raise ValueError("No such label.")

        compile_loss = CompileLoss(["mse", refuse], output_names=["a", "b"])
        labels = [np.ones((2, 1)), np.ones((2, 1))]
        predictions = [np.ones((2, 1)), np.ones((2, 3))]
        with self.assertRaises(ValueError) as raised:
            compile_loss(labels, predictions)
        (note,) = raised.exception.__notes__
        for words in ("output 'b' failed", "(2, 1)", "(2, 3)"):
            self.assertIn(words, note)

    def test_an_output_that_is_one_number(self):
        compile_loss = CompileLoss({"a": lambda _, y_pred: y_pred, "b": "mse"})
        for number, x in ((1.0, X[:4]), (6.0, X[4:])):
            y_pred = {"a": ops.convert_to_tensor(number), "b": x}
            compile_loss({"a": number, "b": 0 * x}, y_pred)
        # A batch of four samples, and one of one.
        a, b = compile_loss.metrics
        self.assertAllClose(a.result(), (4 * 1 + 6) / 5)
        self.assertAllClose(b.result(), RAW["a_loss"])

    def test_a_single_loss_has_no_entry(self):
        compile_loss = CompileLoss("mse", 3.0)
        self.assertAllClose(compile_loss(ZEROS, X), 60.0)
        self.assertEqual(compile_loss.metrics, [])
        self.assertEqual(compile_loss.variables, [])

    def test_sample_weights_of_a_loss_of_several_outputs(self):
        def both(y_true, y_pred):
            return y_pred["a"][:, 0] + 10 * y_pred["b"][:, 0]

        compile_loss = CompileLoss({"both": both, "c": "mse"})
        x = np.array([[1.0], [2.0]])
        y_pred = {"both": {"a": x, "b": x}, "c": x}
        y_true = {"both": {"a": 0 * x, "b": 0 * x}, "c": 0 * x}
        weight = np.array([2.0, 1.0])
        # (2 * 11 + 22) / 2, and (2 * 1 + 4) / 2.
        loss = compile_loss(y_true, y_pred, weight)
        self.assertAllClose(loss, 22.0 + 3.0)
        weights = {"both": {"a": weight, "b": 2 * weight}, "c": weight}
        # The mean of both: (3 * 11 + 1.5 * 22) / 2.
        loss = compile_loss(y_true, y_pred, weights)
        self.assertAllClose(loss, 33.0 + 3.0)
        weights["both"]["b"] = None
        with self.assertRaisesRegex(ValueError, "sample weights of several"):
            compile_loss(y_true, y_pred, weights)

    def test_a_loss_of_a_structure_of_one_output(self):
        compile_loss = CompileLoss({"a": lambda _, y_pred: y_pred["b"][:, 0]})
        weight = np.array([1.0, 2.0])
        x = np.array([[1.0], [3.0]])
        # (1 * 1 + 2 * 3) / 2
        loss = compile_loss({"a": {"b": x}}, {"a": {"b": x}}, weight)
        self.assertAllClose(loss, 3.5)

    def test_lists_for_outputs_with_a_loss_alone(self):
        compile_loss = CompileLoss(
            {"a": "mse", "c": "mse"}, output_names=["a", "b", "c"]
        )
        weights = np.array([1.0, 0.0]), np.array([0.0, 1.0])
        x, zeros = np.array([[1.0], [3.0]]), np.zeros((2, 1))
        # 1 / 2 of `a` and 9 / 2 of `c`.
        loss = compile_loss([zeros, zeros], [x, x, x], list(weights))
        self.assertAllClose(loss, 5.0)

    def test_lists_for_two_of_nine_outputs(self):
        # The two whose indices a set has in the wrong order.
        names = [f"h{index}" for index in range(9)]
        compile_loss = CompileLoss(
            {"h1": "mse", "h8": "mse"}, output_names=names
        )
        x = np.array([[1.0], [3.0]])
        # (0 + 4) / 2 of `h1`, (1 + 9) / 2 of `h8`.
        loss = compile_loss([np.ones((2, 1)), 0 * x], [x] * 9)
        self.assertAllClose(loss, 7.0)
        results = {m.name: float(m.result()) for m in compile_loss.metrics}
        self.assertEqual(results, {"h1_loss": 2.0, "h8_loss": 5.0})

    def test_name_and_reduction(self):
        for _ in range(2):
            compile_loss = CompileLoss("mse", reduction="sum")
            self.assertEqual(compile_loss.name, "compile_loss")
            self.assertEqual(compile_loss.reduction, "sum")

    def test_several_losses_as_one(self):
        y_true, y_pred = np.full((2, 1), 2.0), np.ones((2, 1))
        compile_loss = CompileLoss(["mse", ["mae", "mape"]])
        # 1, and 1 + 100 * 1 / 2.
        self.assertAllClose(compile_loss([y_true] * 2, [y_pred] * 2), 52.0)
        results = [float(metric.result()) for metric in compile_loss.metrics]
        self.assertAllClose(results, [1.0, 51.0])
        unreduced = losses.MeanSquaredError(name="last", reduction=None)
        compile_loss = CompileLoss(["mse", ["mae", unreduced]])
        with self.assertRaisesRegex(ValueError, "mae_last.*batch_size', None"):
            compile_loss([y_true] * 2, [y_pred] * 2)
            compile_loss.require_number()

    def test_state_is_each_metric_s_own(self):
        compile_loss = CompileLoss("mse")
        heads = 32
        y_true = [KerasTensor((None, 1)) for _ in range(heads)]
        compile_loss.build(y_true, y_true)
        self.assertLen(compile_loss.metrics, heads)
        # A total and a count for each.
        self.assertLen({id(v) for v in compile_loss.variables}, 2 * heads)
        self.assertEqual({v.dtype for v in compile_loss.variables}, {"float32"})

    def test_build_twice(self):
        compile_loss = CompileLoss("mse", output_names=["a", "b"])
        y = [KerasTensor((3, 4)), KerasTensor((3, 4))]
        compile_loss.build(y, y)
        variables = compile_loss.variables
        compile_loss.build([ZEROS, ZEROS], [X, X])
        self.assertIs(compile_loss.variables[0], variables[0])
        self.assertAllClose(compile_loss([ZEROS, ZEROS], [X, X]), 40.0)

    def test_float64_is_kept(self):
        self.addCleanup(backend.set_floatx, backend.floatx())
        self.addCleanup(policies.set_dtype_policy, policies.dtype_policy())
        backend.set_floatx("float64")
        compile_loss = CompileLoss("mse")
        y = [KerasTensor((None, 1)), KerasTensor((None, 1))]
        compile_loss.build(y, y)
        self.assertEqual(compile_loss.metrics[0].dtype, "float64")
        self.assertEqual(compile_loss.variables[0].dtype, "float64")


class CompileMetricsTest(testing.TestCase):
    """`CompileMetrics` by itself."""

    def test_unweighted_metrics_see_no_sample_weight(self):
        compile_metrics = CompileMetrics(["mae"], ["mae"])
        compile_metrics.update_state(
            np.zeros((2, 1)), np.array([[1.0], [3.0]]), np.array([3.0, 1.0])
        )
        # (1 + 3) / 2, and (3 * 1 + 1 * 3) / (3 + 1).
        result = compile_metrics.result()
        self.assertEqual(list(result), ["mae", "weighted_mae"])
        self.assertAllClose(result["mae"], 2.0)
        self.assertAllClose(result["weighted_mae"], 1.5)

    def test_results_before_the_first_batch(self):
        with self.assertRaisesRegex(ValueError, "not yet been built"):
            CompileMetrics(["mae"], None).result()

    @parameterized.parameters((CompileLoss,), (CompileMetrics,))
    def test_case_of_names(self, kind):
        """It matters, except in names that are resolved by shapes."""
        for known in ("MSE", "CE", "Crossentropy"):
            arguments = (known, None) if kind is CompileLoss else ([known], [])
            kind(*arguments).build(ZEROS, X)
        arguments = ("Mse", None) if kind is CompileLoss else (["Mse"], [])
        with self.assertRaisesRegex(ValueError, "'Mse'"):
            kind(*arguments).build(ZEROS, X)

    def test_none_among_others(self):
        user_metrics = {"a": [None, "mae"], "b": [None]}
        compile_metrics = CompileMetrics(user_metrics, None)
        # An output without a metric needs no label.
        compile_metrics.build({"a": ZEROS}, {"a": X, "b": X})
        self.assertEqual(list(compile_metrics.result()), ["a_mae"])

    @parameterized.parameters(
        (CompileMetrics, (["mae"], None)),
        (CompileLoss, ("mse",)),
    )
    def test_no_config(self, kind, arguments):
        # They are made of what `compile` was given, which is saved instead.
        with self.assertRaises(NotImplementedError):
            kind(*arguments).get_config()
        with self.assertRaises(NotImplementedError):
            kind.from_config({})

    def test_reset(self):
        compile_metrics = CompileMetrics({"a": "mae", "b": ["mae"]}, None)
        y_true, y_pred = {"a": ZEROS, "b": ZEROS}, {"a": X, "b": X}
        for _ in range(2):
            # (4 * 0 + 10) / 5
            compile_metrics.update_state(y_true, y_pred)
            results = list(map(float, compile_metrics.result().values()))
            self.assertAllClose(results, [2.0, 2.0])
            compile_metrics.reset_state()
        results = list(map(float, compile_metrics.result().values()))
        self.assertAllClose(results, [0.0, 0.0])

    def test_names_before_the_first_batch(self):
        model = models.Model(inputs := layers.Input((1,)), [inputs, inputs])
        for metrics_, expected in (
            (["mae", "mse"], ["a_mae", "b_mse"]),
            ([], []),
            # Only the metric that is made of it will know its name.
            ([{"class_name": "Mean", "config": {}}, None], ["compile_metrics"]),
        ):
            one = CompileMetrics(metrics_, None, output_names=["a", "b"])
            self.assertEqual(list(one.names_for(model)), expected)
            sequential = models.Sequential([layers.Input((1,))])
            sequential.add(layers.Dense(1))
            found = CompileMetrics(["mae"], None).names_for(sequential)
            self.assertEqual(list(found), ["mae"])
            # Other models don't know how many outputs they have.
            self.assertEqual(one.names_for(object()), {one.name: one})

    def test_names_of_outputs(self):
        for y_pred, names in (([X, X], ["a", "b"]), (X, [None])):
            one = CompileMetrics(["mae"] * len(names), None)
            one.output_names = ["a", "b"][: len(names)]
            one.update_state(y_pred, y_pred)
            found = [metrics_.output_name for metrics_ in one._flat_metrics]
            self.assertEqual(found, names)

    def test_labels_of_no_output(self):
        y_true = {"a": ZEROS, "b": ZEROS, "other": ZEROS}
        alone = CompileMetrics(["mae", "mae"], None, output_names=["a", "b"])
        with self.assertRaisesRegex(ValueError, "'other'"):
            alone.update_state(y_true, [X, X])
        # A `CompileLoss` refuses what it doesn't know by itself.
        beside = CompileMetrics(["mae", "mae"], None, output_names=["a", "b"])
        beside.stand_beside(CompileLoss("mse", output_names=["a", "b"]))
        beside.update_state(y_true, [X, X])
        self.assertAllClose(beside.result()["a_mae"], 2.0)
        # Or a `compute_loss` reads it.
        read = CompileMetrics(["mae", "mae"], None, output_names=["a", "b"])
        read.stand_beside(None, has_further_labels=True)
        read.update_state(y_true, [X, X])
        read.update_state([ZEROS] * 3, [X, X])
        self.assertAllClose(read.result()["a_mae"], 2.0)
        with self.assertRaisesRegex(ValueError, "3 entries for 2 outputs"):
            alone.update_state([ZEROS] * 3, [X, X])

    def test_other_outputs_than_at_first(self):
        one = CompileMetrics(["mae"], None)
        one.update_state(ZEROS, X)
        with self.assertRaisesRegex(ValueError, "y_pred"):
            one.update_state([ZEROS] * 2, [X, X])

    def test_another_container_than_at_first(self):
        one = CompileMetrics(["mae"] * 2, None, output_names=["a", "b"])
        one.update_state([ZEROS] * 2, [X, X])
        one.update_state((ZEROS, ZEROS), (3 * X, X))
        # The means of 2 and 6, and of 2 and 2.
        self.assertAllClose(one.result()["a_mae"], 4.0)
        self.assertAllClose(one.result()["b_mae"], 2.0)

    def test_a_missing_label(self):
        one = CompileMetrics([None, ["accuracy"]], None)
        with self.assertRaisesRegex(ValueError, "has a metric, and no label"):
            one.update_state([ZEROS, None], [X, X])

    def test_sample_weights_that_no_metric_sees(self):
        one = CompileMetrics(["mae"], None)
        one.update_state(ZEROS, X, sample_weight={"of the loss": 1.0})
        self.assertAllClose(one.result()["mae"], 2.0)

    def test_a_list_for_outputs_with_a_loss_alone_is_for_labels(self):
        compile_metrics = CompileMetrics(["mae"], None)
        compile_metrics.stand_beside(CompileLoss([None, "mse"]))
        with self.assertRaisesRegex(ValueError, "`metrics`.* 1 entries"):
            compile_metrics.build([ZEROS], [X, X])

    def test_variables(self):
        compile_metrics = CompileMetrics({"a": ["mae"], "b": "mse"}, None)
        y = {"a": ZEROS, "b": ZEROS}
        compile_metrics.build(y, y)
        # A total and a count for each, in the order of the metrics.
        self.assertLen(compile_metrics.variables, 4)
        self.assertEqual(
            [id(v) for v in compile_metrics.variables],
            [id(v) for m in compile_metrics.metrics for v in m.variables],
        )

    def test_one_object_for_a_sub_structure(self):
        y = {"a": (ZEROS, ZEROS), "b": ZEROS}
        compile_metrics = CompileMetrics(
            {"a": metrics.MeanSquaredError()}, None
        )
        with self.assertRaisesRegex(ValueError, "used twice"):
            compile_metrics.build(y, y)

    @parameterized.parameters((True,), (False,))
    def test_masks_reach_every_metric(self, label_axis):
        y_true = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]], "float32")
        y_pred = np.array([[0.9, 0.2, 0.9], [0.9, 0.9, 0.9]], "float32")
        mask = np.array([[True, True, False], [True, False, False]])
        y_pred = ops.convert_to_tensor(y_pred[..., None])
        backend.common.masking.set_keras_mask(
            y_pred, ops.convert_to_tensor(mask)
        )
        compile_metrics = CompileMetrics(
            [metrics.Precision(), metrics.Recall(), "mae"], None
        )
        y_true = y_true[..., None] if label_axis else y_true
        compile_metrics.update_state(y_true, y_pred)
        # What counts is 0.9, 0.2 and 0.9, all labelled 1: two of three found,
        # none wrong.
        result = compile_metrics.result()
        self.assertAllClose(result["precision"], 1.0)
        self.assertAllClose(result["recall"], 2 / 3)
        self.assertAllClose(result["mae"], (0.1 + 0.8 + 0.1) / 3)

    def test_masks_in_a_short_batch(self):
        inputs = layers.Input((3, 1))
        model = models.Model(inputs, layers.Masking(0.0)(inputs))
        model.compile(loss="mse", metrics=[metrics.Recall(name="recall")])
        x = np.array([[0.9, 0.2, 0.0], [0.9, 0.0, 0.0], [0.9, 0.2, 0.0]])
        logs = model.evaluate(
            x[..., None], np.ones((3, 3, 1)), batch_size=2, return_dict=True
        )
        # Of the five that are not masked, the three of 0.9 are found.
        self.assertAllClose(logs["recall"], 3 / 5)


class Pair(metrics.Metric):
    def result(self):
        return {"p": 1.0, "q": 2.0}


class NamesTest(testing.TestCase):
    def test_names_in_the_logs(self):
        pair, of_compile = Pair(name="twice"), Pair(name="pair")
        compiled = CompileMetrics(["mae", of_compile], None)
        compiled.build(ZEROS, X)
        mae = compiled.metrics[0]
        others = [
            metrics.Mean(name=name)
            for name in ("mae", "pair", "p", "twice", "q")
        ]
        model_metrics = [compiled, mae, pair, pair, *others]
        for is_known in (False, True):
            found = list(metric_plan.logged_metrics(model_metrics))
            self.assertIs(found[0][0], compiled)
            names = [name for _, named in found for name in named]
            expected = ["mae", "pair", "twice", "mae_1", "pair_1"]
            if is_known:
                # The keys of what was read are taken, its name is not.
                expected += ["p_1", "twice", "q_1"]
            else:
                expected += ["p", "twice_1", "q"]
            self.assertEqual(names, expected)
            for one in (of_compile, pair):
                metric_plan.result_of(one)

    @parameterized.parameters(
        (identifiers, "get_loss"),
        (identifiers, "get_metric"),
        (identifiers, "is_binary_or_sparse_categorical"),
        (metric_plan, "MetricsList"),
        (metric_plan, "get_metrics_list"),
    )
    def test_what_others_import_from_here(self, module, name):
        self.assertIs(getattr(compile_utils, name), getattr(module, name))
