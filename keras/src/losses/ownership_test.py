"""Tests of who is found to have written a loss, a metric or a function."""

import functools
import operator
import types
import warnings

from absl.testing import parameterized

from keras.src import losses
from keras.src import metrics
from keras.src import models
from keras.src import ops
from keras.src import testing
from keras.src.distillation.distiller import Distiller
from keras.src.losses import ownership
from keras.src.metrics import accuracy_metrics


def own(y_true, y_pred):
    return losses.mean_squared_error(y_true, y_pred)


class OwnLoss(losses.Loss):
    def call(self, y_true, y_pred):
        return y_true - y_pred


class OwnCall(losses.MeanSquaredError):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return super().__call__(y_true, y_pred, sample_weight)


class OwnMetric(metrics.Precision):
    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(y_true, y_pred, sample_weight)


class CalledMetric(metrics.Precision):
    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)


class OtherDefaults(losses.Huber):
    def __init__(self):
        super().__init__(delta=2.0)


class OtherResult(metrics.MeanSquaredError):
    def result(self):
        return ops.sqrt(super().result())


class Callable:
    def __call__(self, y_true, y_pred):
        return y_true - y_pred

    def method(self, y_true, y_pred):
        return y_true - y_pred


def with_own_call():
    loss = losses.MeanSquaredError()
    loss.call = own
    return loss


def named_partial():
    """One that a further `partial` does not take in."""
    partial = functools.partial(losses.huber, delta=2.0)
    partial.name = "mine"
    return partial


def with_own_update():
    metric = metrics.MeanSquaredError()
    metric.update_state = types.MethodType(lambda self, *args: None, metric)
    return metric


KERAS = {
    "function": lambda: losses.mean_squared_error,
    "metric_function": lambda: accuracy_metrics.binary_accuracy,
    "partial": lambda: functools.partial(losses.huber, delta=2.0),
    "partial_of_partial": lambda: functools.partial(
        functools.partial(losses.huber, delta=2.0)
    ),
    "partial_of_named_partial": lambda: functools.partial(named_partial()),
    "loss": losses.MeanSquaredError,
    "loss_class": lambda: losses.MeanSquaredError,
    "wrapper": lambda: losses.LossFunctionWrapper(losses.mean_squared_error),
    "method": lambda: losses.MeanSquaredError().call,
    "only_init": OtherDefaults,
    "metric": metrics.Precision,
    "mean_metric": metrics.MeanSquaredError,
    "loss_as_metric": lambda: metrics.MeanMetricWrapper(losses.Huber()),
    "only_result": OtherResult,
    # What it is updated by is Keras'.
    "metric_with_own_call": CalledMetric,
}
USERS = {
    "function": lambda: own,
    "wraps": lambda: functools.wraps(losses.mean_squared_error)(own),
    "partial": lambda: functools.partial(own),
    "wrapper": lambda: losses.LossFunctionWrapper(own),
    "loss": OwnLoss,
    "loss_class": lambda: OwnLoss,
    "dunder_call": OwnCall,
    "instance_call": with_own_call,
    "method": lambda: OwnLoss().call,
    "method_of_own_call": lambda: OwnCall().call,
    "method_of_wrapper": lambda: losses.LossFunctionWrapper(own).call,
    "metric": OwnMetric,
    "instance_update": with_own_update,
    "mean_metric": lambda: metrics.MeanMetricWrapper(own),
    "loss_as_metric": lambda: metrics.MeanMetricWrapper(OwnLoss()),
    "callable": Callable,
    "method_of_another": lambda: Callable().method,
    "operation": lambda: ops.subtract,
    "builtin": lambda: max,
}


class OwnershipTest(testing.TestCase):
    @parameterized.named_parameters((name, name) for name in KERAS)
    def test_keras(self, name):
        self.assertTrue(ownership.is_keras_own(KERAS[name]()))

    @parameterized.named_parameters((name, name) for name in USERS)
    def test_users(self, name):
        self.assertFalse(ownership.is_keras_own(USERS[name]()))

    def test_workers(self):
        for obj, expected in (
            (own, own),
            (losses.CTC(), losses.ctc),
            (metrics.Precision(), metrics.Precision.update_state),
            (OwnMetric().update_state, OwnMetric.update_state),
        ):
            self.assertIs(ownership.worker(obj), expected)
        for obj in (OwnLoss(), OwnMetric(), Callable()):
            self.assertIs(ownership.worker(obj), obj)

    def test_entrywise(self):
        for loss in (losses.MeanSquaredError(), losses.Hinge(), losses.Huber()):
            self.assertTrue(ownership.is_entrywise(ownership.worker(loss)))
        for loss in (losses.KLDivergence(), losses.Dice(), losses.CTC()):
            self.assertFalse(ownership.is_entrywise(ownership.worker(loss)))

    def test_methods_that_models_override(self):
        class OwnModel(models.Model):
            def compute_loss(self, *args, **kwargs):
                return super().compute_loss(*args, **kwargs)

        def compute_loss(*args, **kwargs):
            return 0.0

        changed = models.Sequential()
        changed.compute_loss = compute_loss
        # Keras' own, with a loss that is none of `compile`.
        distiller = Distiller.__new__(Distiller)
        for model in (OwnModel(), changed, distiller):
            self.assertTrue(ownership.overrides(model, "compute_loss"))
            self.assertFalse(ownership.overrides(model, "compute_metrics"))
        for model in (models.Model(), models.Sequential()):
            self.assertFalse(ownership.overrides(model, "compute_loss"))

    def test_warnings_are_given_once(self):
        def another(y_true, y_pred):
            return y_true

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                ownership.warn_once(another, "first", " is warned of.")
                ownership.warn_once(another, "second", " is warned of.")
                ownership.warn_once(OwnLoss(), "first", " is warned of.")
                ownership.warn_once(OwnMetric(), "first", " is warned of.")
                # These have one class.
                ownership.warn_once(operator.sub, "first", " is warned of.")
                ownership.warn_once(operator.pow, "first", " is warned of.")
        texts = [str(warning.message) for warning in caught]
        self.assertEqual(
            texts,
            [
                "`another` is warned of.",
                "`another` is warned of.",
                "`OwnLoss` is warned of.",
                "`OwnMetric` is warned of.",
                "`sub` is warned of.",
                "`pow` is warned of.",
            ],
        )
