"""Tests of when the terms of a model's total are recorded for the logs.

The logs of whole trainings are those of `integration_tests/loss_terms_test.py`.
"""

import warnings

import numpy as np
import pytest

from keras.src import layers
from keras.src import models
from keras.src import ops
from keras.src import optimizers
from keras.src import testing
from keras.src.callbacks.callback import Callback
from keras.src.callbacks.loss_contributions import LossContributions
from keras.src.trainers import loss_terms

X = np.array([[1.0], [3.0]], "float32")


class AddsInTests(layers.Layer):
    def call(self, x, training=False):
        if not training:
            self.add_loss(ops.mean(x))
        return x


class LeavesOut(models.Model):
    @property
    def metrics(self):
        return []


def model_of(layer=None, kind=models.Model):
    inputs = layers.Input((1,))
    model = kind(inputs, (layer or layers.Identity())(inputs))
    model.compile(optimizers.SGD(0.0), "mse")
    return model


class Predicts(Callback):
    """Looks at predictions, with a callback of the training."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def on_epoch_begin(self, epoch, logs=None):
        self.model.predict(X, callbacks=[self.other], verbose=0)


class LossContributionsTest(testing.TestCase):
    def test_it_ends_with_the_evaluation(self):
        model = model_of()
        for method in (
            lambda **kwargs: model.evaluate(X, X, **kwargs),
            lambda **kwargs: model.predict(X, **kwargs),
        ):
            method(callbacks=[LossContributions()], verbose=0)
            self.assertIs(loss_terms.are_recorded(model), False)

    def test_a_model_that_leaves_them_out(self):
        model = model_of(kind=LeavesOut)
        with self.assertWarnsRegex(UserWarning, "has no terms of the loss"):
            model.evaluate(X, X, callbacks=[LossContributions()], verbose=0)

    @pytest.mark.requires_trainable_backend
    def test_it_warns_once(self):
        model = model_of(kind=LeavesOut)
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            callbacks = [LossContributions()]
            model.fit(X, X, callbacks=callbacks, epochs=2, verbose=0)
        found = [one for one in given if "no terms" in str(one.message)]
        self.assertLen(found, 1)

    def test_a_model_that_is_not_compiled(self):
        model = models.Sequential([layers.Input((1,)), layers.Identity()])
        found = model.predict(X, callbacks=[LossContributions()], verbose=0)
        self.assertAllClose(found, X)

    @pytest.mark.requires_trainable_backend
    def test_predictions_do_not_end_it(self):
        callback = LossContributions()
        self.assertIsNone(callback.model)
        logs = model_of().fit(
            X,
            0 * X,
            callbacks=[Predicts(callback), callback],
            epochs=2,
            verbose=0,
        )
        # (1 + 9) / 2
        self.assertAllClose(logs.history["identity_contribution"], [5.0, 5.0])

    @pytest.mark.requires_trainable_backend
    def test_a_term_that_comes_later_is_no_reason_to_warn(self):
        model = model_of(AddsInTests(name="adds"))
        with warnings.catch_warnings():
            warnings.filterwarnings("error", ".*LossContributions.*")
            logs = model.fit(
                X,
                0 * X,
                callbacks=[LossContributions()],
                validation_data=(X, 0 * X),
                epochs=2,
                verbose=0,
            ).history
        self.assertAllClose(logs["val_adds_added_loss"], [2.0, 2.0])
