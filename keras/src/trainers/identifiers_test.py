"""Tests of how strings, functions and objects become losses and metrics."""

import numpy as np
from absl.testing import parameterized

from keras.src import losses
from keras.src import metrics
from keras.src import ops
from keras.src import testing
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.trainers import identifiers
from keras.src.trainers.identifiers import get_loss
from keras.src.trainers.identifiers import get_metric
from keras.src.trainers.identifiers import is_binary_or_sparse_categorical

# Absolute errors 0, 0, 0, 0, 10; in batches of four and of one.
ZEROS = np.zeros((5, 1), "float32")
X = np.array([[0.0], [0.0], [0.0], [0.0], [10.0]], "float32")
BATCHES = [(ZEROS[:4], X[:4]), (ZEROS[4:], X[4:])]


def absolute_error(y_true, y_pred):
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


class AbsoluteError(losses.Loss):
    def call(self, y_true, y_pred):
        return absolute_error(y_true, y_pred)


class WithOwnCall(losses.MeanAbsoluteError):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return 2.0 * super().__call__(y_true, y_pred, sample_weight)


class NotOfKeras:
    def __call__(self, y_true, y_pred):
        return absolute_error(y_true, y_pred)


class ShapesTest(testing.TestCase):
    @parameterized.parameters(
        ((4, 1), (4, 1), (True, False)),
        ((4,), (4, 3), (False, True)),
        ((4, 1), (4, 3), (False, True)),
        ((4, 1), (4, 2), (False, True)),
        ((4, 3), (4, 3), (False, False)),
        # With timesteps.
        ((4, 7, 1), (4, 7, 1), (True, False)),
        ((4, 7), (4, 7, 3), (False, True)),
        ((4, 7, 1), (4, 7, 3), (False, True)),
        ((4, 7, 3), (4, 7, 3), (False, False)),
        # Of sizes that are not known yet.
        ((None, None), (None, None, 3), (False, True)),
        ((None, 3), (None, 3), (False, False)),
    )
    def test_kind_of_classification(self, labels, predictions, expected):
        kind = is_binary_or_sparse_categorical(
            KerasTensor(labels), KerasTensor(predictions)
        )
        self.assertEqual(tuple(map(bool, kind)), expected)

    @parameterized.parameters(
        ((4, 1), (4, 1), "binary_crossentropy"),
        ((4,), (4, 3), "sparse_categorical_crossentropy"),
        ((4, 1), (4, 3), "sparse_categorical_crossentropy"),
        ((4, 3), (4, 3), "categorical_crossentropy"),
    )
    def test_crossentropy_by_shape(self, labels, predictions, expected):
        y_true, y_pred = KerasTensor(labels), KerasTensor(predictions)
        for name in ("crossentropy", "ce", "CE"):
            loss = get_loss(name, y_true, y_pred)
            self.assertEqual(loss.fn.__name__, expected)
            self.assertEqual(loss.name, name)

    @parameterized.parameters(
        ((4, 1), (4, 1), "Binary"),
        ((4,), (4, 3), "SparseCategorical"),
        ((4, 1), (4, 3), "SparseCategorical"),
        ((4, 3), (4, 3), "Categorical"),
    )
    def test_names_by_shape(self, labels, predictions, expected):
        y_true, y_pred = KerasTensor(labels), KerasTensor(predictions)
        kinds = {
            "accuracy": "Accuracy",
            "acc": "Accuracy",
            "crossentropy": "Crossentropy",
            "ce": "Crossentropy",
            "Accuracy": "Accuracy",
        }
        for name, kind in kinds.items():
            metric = get_metric(name, y_true, y_pred)
            self.assertEqual(type(metric).__name__, expected + kind)
            self.assertEqual(metric.name, name)


class LossTest(testing.TestCase):
    def test_a_loss_is_kept(self):
        for loss in (losses.Huber(name="mine"), AbsoluteError()):
            self.assertIs(get_loss(loss, ZEROS, X), loss)
        self.assertIsNone(get_loss(None, ZEROS, X))

    @parameterized.named_parameters(
        ("string", "mae", "mae"),
        ("upper_case", "MAE", "MAE"),
        ("long_string", "mean_absolute_error", "mean_absolute_error"),
        ("function", losses.mean_absolute_error, "mean_absolute_error"),
        ("own_function", absolute_error, "absolute_error"),
        ("callable", NotOfKeras(), "not_of_keras"),
        ("class", losses.MeanAbsoluteError, "mean_absolute_error"),
        ("own_class", AbsoluteError, "absolute_error"),
        ("class_name", "MeanAbsoluteError", "mean_absolute_error"),
        (
            "config",
            {"class_name": "MeanAbsoluteError", "config": {"name": "mine"}},
            "mine",
        ),
    )
    def test_a_loss_is_made(self, identifier, name):
        loss = get_loss(identifier, ZEROS, X)
        self.assertIsInstance(loss, losses.Loss)
        self.assertEqual(loss.name, name)
        # The mean over samples, which a function alone would not give.
        self.assertAllClose(loss(ZEROS, X), 2.0)

    def test_what_is_no_loss(self):
        for identifier in ("unknown", 3):
            with self.assertRaisesRegex(ValueError, f"{identifier}"):
                get_loss(identifier, ZEROS, X)


class MetricTest(testing.TestCase):
    def assertAverages(self, metric, expected):
        for y_true, y_pred in BATCHES:
            metric.update_state(y_true, y_pred)
        self.assertAllClose(metric.result(), expected)

    def test_a_metric_is_kept(self):
        metric = metrics.Precision(name="mine")
        self.assertIs(get_metric(metric, ZEROS, X), metric)
        self.assertEqual(metric.name, "mine")

    @parameterized.named_parameters(
        ("string", "mae", "mae"),
        ("upper_case", "MAE", "MAE"),
        ("function", absolute_error, "absolute_error"),
        ("function_of_keras", losses.mean_absolute_error, None),
        ("callable", NotOfKeras(), "not_of_keras"),
        ("class", metrics.MeanAbsoluteError, None),
        (
            "config",
            {"class_name": "MeanAbsoluteError", "config": {"name": "mine"}},
            "mine",
        ),
        ("loss", losses.MeanAbsoluteError(), None),
        ("loss_class", losses.MeanAbsoluteError, None),
        ("own_loss", AbsoluteError(name="mine"), "mine"),
        ("no_reduction", losses.MeanAbsoluteError(reduction=None), None),
    )
    def test_a_metric_averages_over_samples(self, identifier, name):
        metric = get_metric(identifier, ZEROS, X)
        self.assertIsInstance(metric, metrics.Metric)
        self.assertEqual(metric.name, name or "mean_absolute_error")
        # 10 / 5; an average over batches would be 5.
        self.assertAverages(metric, 2.0)

    def test_losses_that_are_one_number(self):
        """These two average over batches, as in the base release."""
        metric = get_metric(losses.MeanAbsoluteError("sum"), ZEROS, X)
        # (0 + 10) / 2
        self.assertAverages(metric, 5.0)
        # Twice as much.
        self.assertAverages(get_metric(WithOwnCall(), ZEROS, X), 10.0)

    def test_a_loss_is_to_be_minimised(self):
        for loss in (AbsoluteError(), losses.MeanAbsoluteError("sum")):
            self.assertEqual(get_metric(loss, ZEROS, X)._direction, "down")
        # Nobody can know of a function.
        metric = get_metric(absolute_error, ZEROS, X)
        self.assertFalse(hasattr(metric, "_direction"))

    def test_what_is_no_metric(self):
        with self.assertRaisesRegex(ValueError, "metric"):
            get_metric(None, ZEROS, X)
        for identifier in ("unknown", 3):
            with self.assertRaisesRegex(ValueError, f"{identifier}"):
                get_metric(identifier, ZEROS, X)


class CheckIdentifierTest(testing.TestCase):
    def check(self, identifier):
        identifiers.check_identifier(
            "loss",
            identifier,
            {"a": identifier, "b": None},
            identifiers.LOSSES_BY_SHAPE,
            {"mse": losses.mean_squared_error, "MSE": None},
            "loss",
            "what can be a loss.",
        )

    @parameterized.named_parameters(
        ("none", None),
        ("name", "mse"),
        ("other_name", "MSE"),
        ("by_shape", "crossentropy"),
        ("by_shape_in_upper_case", "CE"),
        ("function", absolute_error),
        ("object", losses.Huber()),
        ("class", losses.Huber),
        ("config", {"class_name": "Huber", "config": {}}),
    )
    def test_what_may_be_one(self, identifier):
        self.assertIsNone(self.check(identifier))

    @parameterized.parameters(
        "Mse", "crossentropy_", "", 3, 2.5, (np.zeros((5, 1)),)
    )
    def test_what_can_be_none(self, identifier):
        with self.assertRaises(ValueError) as caught:
            self.check(identifier)
        shown = repr(identifier)
        if isinstance(identifier, np.ndarray):
            shown = "<ndarray of shape (5, 1)>"
        self.assertEqual(
            str(caught.exception),
            "Invalid `loss`. Could not interpret loss identifier: "
            f"{identifier!r}.\n"
            f"Received: loss={{'a': {shown}, 'b': None}}\n"
            "Expected what can be a loss.",
        )
