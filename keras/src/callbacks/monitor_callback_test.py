"""Tests of how a callback that watches a value knows the better one."""

import types
import warnings

import numpy as np
from absl.testing import parameterized

from keras.src import metrics
from keras.src import ops
from keras.src import testing
from keras.src.callbacks.monitor_callback import MonitorCallback
from keras.src.trainers.compile_utils import CompileMetrics

ZEROS = np.zeros((2, 1), "float32")
# Names, and whether lower or higher values are better; `None` is not known.
UP, DOWN, NEITHER = "up", "down", None


def metric(name, direction):
    one = metrics.Mean(name=name)
    if direction is not None:
        one._direction = direction
    return one


def model_of(*its_metrics):
    """What is looked up of a model."""
    return types.SimpleNamespace(metrics=list(its_metrics))


class MonitorCallbackTest(testing.TestCase):
    def callback(self, monitor, model, **arguments):
        callback = MonitorCallback(monitor, **arguments)
        callback.set_model(model)
        callback._set_monitor_op()
        return callback

    def direction(self, monitor, model, **arguments):
        """Whether 0 is better than 1, or 1 better than 0."""
        callback = self.callback(monitor, model, **arguments)
        low = bool(callback._is_improvement(0.0, 1.0))
        high = bool(callback._is_improvement(1.0, 0.0))
        self.assertNotEqual(low, high)
        # The same value is no better.
        self.assertFalse(callback._is_improvement(1.0, 1.0))
        return DOWN if low else UP

    def test_arguments(self):
        callback = MonitorCallback()
        self.assertIsNone(callback.model)
        self.assertEqual(
            (callback.monitor, callback.mode), ("val_loss", "auto")
        )
        self.assertEqual((callback.best, callback.min_delta), (None, 0))
        callback = MonitorCallback("a", "max", 3.0, -0.5)
        self.assertEqual((callback.monitor, callback.mode), ("a", "max"))
        self.assertEqual((callback.best, callback.min_delta), (3.0, 0.5))
        self.assertTrue(callback._is_improvement(1.0, None))

    def test_modes(self):
        # Whatever is known of the metric.
        model = model_of(metric("known", DOWN), metric("unknown", NEITHER))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for monitor in ("known", "unknown", "missing", "loss"):
                for mode, expected in (("min", DOWN), ("max", UP)):
                    found = self.direction(monitor, model, mode=mode)
                    self.assertEqual(found, expected)
            self.assertEqual(self.direction("known", model, mode="auto"), DOWN)

    def test_an_unknown_mode(self):
        with self.assertWarnsRegex(
            UserWarning, "^MonitorCallback mode 'least' is unknown"
        ):
            callback = MonitorCallback("a", "least")
        self.assertEqual(callback.mode, "auto")

    @parameterized.parameters("", "val_")
    def test_what_the_model_tells(self, prefix):
        model = model_of(
            metric("down", DOWN),
            metric("up", UP),
            metric("neither", NEITHER),
            # Of two that have one name, the first one is logged under it.
            metric("twice", UP),
            metric("twice", DOWN),
        )
        for name in ("down", "up"):
            self.assertEqual(self.direction(prefix + name, model), name)
        self.assertEqual(self.direction(prefix + "twice", model), UP)
        self.assertEqual(self.direction(prefix + "twice_1", model), DOWN)
        # The total needs no metric.
        for one in (model, model_of(), types.SimpleNamespace()):
            self.assertEqual(self.direction(f"{prefix}loss", one), DOWN)
        for name in ("neither", "missing"):
            with self.assertRaisesRegex(
                ValueError, f"monitor='{prefix}{name}' is to be minimised"
            ):
                self.callback(prefix + name, model)

    def test_an_output_called_val(self):
        model = model_of(metric("val_score", UP), metric("score_1", DOWN))
        self.assertEqual(self.direction("val_score", model), UP)
        # That of the validation comes first.
        model.metrics.append(metric("score", DOWN))
        self.assertEqual(self.direction("val_score", model), DOWN)

    @parameterized.parameters("", "val_")
    def test_compiled_metrics(self, prefix):
        """By the names that are logged, or else by their own."""
        first = metric("mine", UP), metric("twice", UP)
        second = metric("yours", DOWN), metric("twice", DOWN)
        compiled = CompileMetrics({"a": list(first), "b": list(second)}, None)
        compiled.build(dict.fromkeys("ab", ZEROS), dict.fromkeys("ab", ZEROS))
        model = model_of(compiled)
        for name, expected in (
            ("a_mine", UP),
            ("b_yours", DOWN),
            ("a_twice", UP),
            ("b_twice", DOWN),
            ("mine", UP),
            ("yours", DOWN),
            # The first of them.
            ("twice", UP),
        ):
            found = self.direction(prefix + name, model)
            self.assertEqual(found, expected, name)

    @parameterized.parameters(("min",), ("max",))
    def test_min_delta(self, mode):
        callback = self.callback("a", model_of(), mode=mode, min_delta=0.25)
        sign = -1.0 if mode == "min" else 1.0
        for _ in range(2):
            for change, is_better in (
                (0.125, False),
                (0.25, False),
                (0.5, True),
            ):
                found = callback._is_improvement(1.0 + sign * change, 1.0)
                self.assertEqual(bool(found), is_better)
                self.assertFalse(
                    callback._is_improvement(1.0 - sign * change, 1.0)
                )
            # As at the beginning of another training.
            callback._set_monitor_op()

    def test_a_comparison_of_tensors(self):
        callback = self.callback("loss", model_of())
        one, two = ops.convert_to_tensor(1.0), ops.convert_to_tensor(2.0)
        self.assertTrue(callback._is_improvement(one, two))
        self.assertFalse(callback._is_improvement(two, one))
