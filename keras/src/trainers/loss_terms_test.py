"""Tests of which terms of the total there are, and how they are recorded.

The logs of whole trainings are those of `integration_tests/loss_terms_test.py`.
"""

import contextlib
import types

import numpy as np
import pytest
from absl.testing import parameterized

from keras.src import backend
from keras.src import layers
from keras.src import metrics
from keras.src import models
from keras.src import ops
from keras.src import optimizers
from keras.src import regularizers
from keras.src import testing
from keras.src.callbacks.loss_contributions import LossContributions
from keras.src.dtype_policies import dtype_policy as policies
from keras.src.trainers import loss_terms

# Mean 2, and of the squares 5.
X = np.array([[1.0], [3.0]], "float32")


class Adds(layers.Layer):
    def call(self, x):
        self.add_loss(ops.mean(x))
        return x


class AddsInTraining(layers.Layer):
    def call(self, x, training=False):
        if training:
            self.add_loss(ops.mean(x))
        return x


class AddsInTests(layers.Layer):
    def call(self, x, training=False):
        if not training:
            self.add_loss(ops.mean(x))
        return x


class Phases(models.Model):
    """Two layers of one name, each of which adds a loss in its time."""

    def __init__(self):
        super().__init__()
        self.first = AddsInTraining(name="same")
        self.second = AddsInTests(name="same")

    def call(self, x, training=False):
        x = self.first(x, training=training)
        return self.second(x, training=training)


class Heads(models.Model):
    """Several outputs, and no layer."""

    def __init__(self, count):
        super().__init__()
        self.heads = [f"h{index}" for index in range(count)]

    def call(self, x):
        return {name: x * index for index, name in enumerate(self.heads)}


class Shares(models.Model):
    """A layer that is found in two places."""

    def __init__(self):
        super().__init__()
        self.first = Adds(name="first")
        self.second = models.Sequential(
            [self.first, Adds(name="inner")], name="second"
        )

    def call(self, x):
        return self.second(x)


class AddsMore(models.Model):
    """Adds a 2 that is of no layer, and of no regularizer."""

    @property
    def losses(self):
        found = super().losses
        # JAX hands on what was found first.
        return found if self._losses_override else [*found, 2 * ops.ones(())]


def functional(layer, kind=models.Model, **arguments):
    inputs = layers.Input((1,))
    return kind(inputs, layer(inputs), **arguments)


def still(model, loss="mse"):
    """Compiles a model that does not move."""
    model.compile(optimizers.SGD(0.0), loss)
    return model


def fit(model, y=None, **arguments):
    """The logs of one batch whose terms are logged."""
    return model.fit(
        X,
        0 * X if y is None else y,
        callbacks=[LossContributions()],
        verbose=0,
        **arguments,
    ).history


@contextlib.contextmanager
def recording(model):
    """Yields the terms of a model that has had a batch, and keeps its state."""
    terms = loss_terms.LossTerms(model)
    loss_terms.attach(model, terms)
    state = [(v, v.value) for v in model._loss_tracker.variables]
    with backend.StatelessScope(state_mapping=state):
        yield terms


def note(terms, *names):
    """Notes that loss entries have the raw losses 1, 2, ... and no weight."""
    values = [ops.convert_to_tensor(1.0 + i) for i in range(len(names))]
    terms.note(names, True, values, [None] * len(names))


class TermMeanTest(testing.TestCase):
    def test_only_a_loss_has_a_direction(self):
        for is_loss in (True, False):
            metric = loss_terms.TermMean("mine", lambda: 3.0, is_loss)
            self.assertEqual(metric.name, "mine")
            self.assertEqual(
                getattr(metric, "_direction", None), "down" if is_loss else None
            )
            metric.update_state(X, X, sample_weight=X)
            metric.reset_state()
            self.assertEqual((metric.result(), metric.variables), (3.0, []))


class LossTermsTest(testing.TestCase):
    # NumPy can't train, and adds up no list of losses, without us, too.

    @parameterized.parameters(1, 2, 8)
    @pytest.mark.requires_trainable_backend
    def test_there_is_room_for_all(self, count):
        model = still(Heads(count))
        logs = fit(model, dict.fromkeys(model.heads, 0 * X), epochs=2)
        self.assertLen(logs, 1 + 3 * count)
        for index, name in enumerate(model.heads):
            # The mean of 1 and 9, times the square of the factor.
            expected = [5.0 * index**2] * 2
            self.assertAllClose(logs[f"{name}_loss"], expected)
            self.assertAllClose(logs[f"{name}_contribution"], expected)
            self.assertAllClose(logs[f"{name}_weight"], [1.0, 1.0])

    @pytest.mark.requires_trainable_backend
    def test_there_is_no_state_before_outputs_are_known(self):
        known = still(functional(Adds()))
        known.evaluate(X, X, verbose=0)
        for model, is_known in (
            (still(Heads(2)), False),
            (still(Heads(2), None), False),
            (still(functional(Adds())), False),
            (still(functional(Adds()), None), True),
            (known, True),
        ):
            terms = loss_terms.LossTerms(model)
            self.assertLen(terms.variables, 2 * is_known)

    @pytest.mark.requires_trainable_backend
    def test_state_that_comes_with_the_first_step(self):
        model = still(Heads(2))
        terms = loss_terms.LossTerms(model)
        loss_terms.attach(model, terms)
        y = dict.fromkeys(model.heads, 0 * X)
        logs = model.test_on_batch(X, y, return_dict=True)
        if backend.backend() == "jax":
            # It has to be there before.
            self.assertEmpty(terms.variables)
            self.assertNotIn("h1_contribution", logs)
            return
        for _ in range(2):
            self.assertAllClose(logs["h1_contribution"], 5.0)
            self.assertAllClose(logs["h1_weight"], 1.0)
            logs = model.test_on_batch(X, y, return_dict=True)

    def test_a_step_without_anything_to_record(self):
        model = still(functional(layers.Identity()), None)
        with recording(model) as terms:
            terms.record(model, [], [])
            model._loss_tracker.update_state(1.0)
            self.assertEmpty(terms.metrics)

    @pytest.mark.requires_trainable_backend
    def test_weights_are_not_rounded(self):
        self.addCleanup(backend.set_floatx, backend.floatx())
        self.addCleanup(policies.set_dtype_policy, policies.dtype_policy())
        backend.set_floatx("bfloat16")
        model = functional(layers.Identity(name="out"))
        model.compile(optimizers.SGD(0.0), "mse", loss_weights=0.1)
        self.assertAllClose(fit(model)["out_weight"], [0.1])

    @pytest.mark.requires_trainable_backend
    def test_all_but_weights_have_a_direction(self):
        class Own(models.Model):
            def compute_loss(self, *args, **kwargs):
                return super().compute_loss(*args, **kwargs)

        model = still(functional(layers.Identity(), Own))
        model.evaluate(X, X, verbose=0)
        with recording(model) as terms:
            terms.note(["out"], False, [ops.convert_to_tensor(1.0)], [2.0])
            terms.record(model, [], [])
            found = {
                metric.name: getattr(metric, "_direction", None)
                for metric in terms.metrics
            }
        self.assertIsNone(found.pop("out_weight"))
        self.assertIn("other_loss", found)
        self.assertEqual(set(found.values()), {"down"})

    def test_narrow_losses_are_added_up_in_the_total_s_type(self):
        model = still(functional(layers.Identity()), None)
        values = [ops.convert_to_tensor(40000.0, "float16") for _ in range(2)]
        with recording(model) as terms:
            terms.record(model, values, values)
            model._loss_tracker.update_state(0.0)
            (metric,) = terms.metrics
            # In float16, it would be infinite.
            self.assertAllClose(metric.result(), 80000.0)

    @pytest.mark.requires_trainable_backend
    def test_a_layer_called_like_the_validation_of_another(self):
        inputs = layers.Input((1,))
        outputs = Adds(name="x")(Adds(name="val_x")(inputs))
        model = still(models.Model(inputs, outputs))
        logs = fit(model, validation_data=(X[1:], X[1:]))
        for name, expected in (
            ("x_added_loss", 2.0),
            ("val_x_1_added_loss", 2.0),
            ("val_x_added_loss", 3.0),
            ("val_val_x_1_added_loss", 3.0),
        ):
            self.assertAllClose(logs[name], [expected])

    @pytest.mark.requires_trainable_backend
    def test_a_layer_called_like_one_of_an_earlier_step(self):
        logs = fit(still(Phases()), validation_data=(X, 0 * X))
        self.assertAllClose(logs["same_added_loss"], [2.0])
        self.assertAllClose(logs["val_same_added_loss"], [0.0])
        self.assertAllClose(logs["val_same_1_added_loss"], [2.0])

    @pytest.mark.requires_trainable_backend
    def test_an_output_called_like_a_term(self):
        """With the only loss of several outputs, which no list has."""
        inputs = layers.Input((1,))
        outputs = [
            layers.Dense(
                1,
                kernel_initializer="ones",
                kernel_regularizer=regularizers.L2(0.5),
                name=name,
            )(inputs)
            for name in ("regularization", "b")
        ]
        model = still(models.Model(inputs, outputs), ["mse", None])
        logs = fit(model, [0 * X, None])
        # The mean of 1 and 9, and two kernels of 1.
        self.assertAllClose(logs["regularization_loss"], [5.0])
        self.assertAllClose(logs["regularization_1_loss"], [1.0])

    @pytest.mark.requires_trainable_backend
    def test_there_is_no_room_for_more(self):
        model = still(functional(Adds()))
        model.evaluate(X, X, verbose=0)
        model.reset_metrics()
        names = [f"h{index}" for index in range(40)]
        with recording(model) as terms:
            (room,) = terms.variables[0].shape
            for _ in range(2):
                note(terms, *names)
                terms.record(model, [], [])
                self.assertLen(terms.metrics, room)
            model._loss_tracker.update_state(0.0)
            self.assertAllClose(terms.metrics[0].result(), 1.0)

    @pytest.mark.requires_trainable_backend
    def test_sums_are_as_wide_as_that_of_the_total(self):
        self.addCleanup(backend.set_floatx, backend.floatx())
        self.addCleanup(policies.set_dtype_policy, policies.dtype_policy())
        for floatx, wide in (("bfloat16", "float32"), ("float64", "float64")):
            backend.set_floatx(floatx)
            model = still(functional(Adds()))
            model.evaluate(X, X, verbose=0)
            terms = loss_terms.LossTerms(model)
            self.assertEqual({v.dtype for v in terms.variables}, {wide})

    @pytest.mark.requires_trainable_backend
    def test_a_step_without_terms_adds_none(self):
        model = still(functional(Adds(name="adds")))
        model.evaluate(X, X, verbose=0)
        total = model._loss_tracker
        model.reset_metrics()
        with recording(model) as terms:
            note(terms, "adds")
            terms.record(model, [], [])
            total.update_state(1.0, sample_weight=2.0)
            total.update_state(5.0, sample_weight=3.0)
            found = {one.name: float(one.result()) for one in terms.metrics}
        # 2 * 1 / 5 of each.
        expected = {"adds_contribution": 0.4, "adds_weight": 0.4}
        self.assertEqual(found.keys(), expected.keys())
        for name, value in expected.items():
            self.assertAllClose(found[name], value)

    @pytest.mark.requires_trainable_backend
    def test_a_term_that_only_training_has(self):
        model = still(functional(AddsInTraining(name="adds")))
        logs = fit(model, validation_data=(X, 0 * X))
        self.assertAllClose(logs["adds_added_loss"], [2.0])
        self.assertAllClose(logs["val_adds_added_loss"], [0.0])
        self.assertAllClose(logs["val_adds_contribution"], [5.0])

    @pytest.mark.requires_trainable_backend
    def test_a_layer_in_two_places(self):
        logs = fit(still(Shares()))
        self.assertAllClose(logs["first_added_loss"], [2.0])
        self.assertNotIn("second/first_added_loss", logs)
        self.assertAllClose(logs["second/inner_added_loss"], [2.0])

    @pytest.mark.requires_trainable_backend
    def test_a_loss_of_nobody_s(self):
        dense = layers.Dense(
            1,
            kernel_initializer="ones",
            kernel_regularizer=regularizers.L2(0.5),
            name="out",
        )
        logs = fit(still(functional(dense, AddsMore)))
        self.assertAllClose(logs["regularization_loss"], [0.5])
        self.assertAllClose(logs["added_loss"], [2.0])
        self.assertAllClose(logs["loss"], [7.5])

    @parameterized.parameters("compute_loss", "train_step", "test_step", None)
    @pytest.mark.requires_trainable_backend
    def test_methods_that_may_add_something(self, name):
        def own(self, *args, **kwargs):
            return getattr(models.Model, name)(self, *args, **kwargs)

        kind = type("Own", (models.Model,), {name: own} if name else {})
        logs = fit(still(functional(Adds(name="adds"), kind)))
        self.assertEqual("other_loss" in logs, name is not None)
        if name:
            self.assertAllClose(logs["other_loss"], [0.0], atol=1e-5)


class AttachTest(testing.TestCase):
    def test_models_without_terms(self):
        compiled, uncompiled = still(functional(Adds())), functional(Adds())
        self.assertIs(loss_terms.are_recorded(compiled), False)
        own = types.SimpleNamespace(_loss_tracker=metrics.Mean())
        for model in (uncompiled, own, types.SimpleNamespace()):
            self.assertIsNone(loss_terms.are_recorded(model))

    @parameterized.parameters("mse", None)
    def test_steps_are_compiled_anew(self, loss):
        model = still(functional(Adds()), loss)
        for terms in (loss_terms.LossTerms(model), None):
            model.train_function = model.test_function = "compiled"
            loss_terms.attach(model, terms)
            self.assertIsNone(model.train_function)
            self.assertIsNone(model.test_function)
            self.assertIs(loss_terms.are_recorded(model), terms is not None)
            if loss:
                self.assertIs(model._compile_loss.terms, terms)

    def test_an_error_ends_it(self):
        model = still(functional(Adds()))
        model.train_function = "compiled"
        for is_recorded in (False, True):
            if is_recorded:
                loss_terms.attach(model, loss_terms.LossTerms(model))
            with self.assertRaises(KeyboardInterrupt):
                with loss_terms.until_error(model):
                    raise KeyboardInterrupt
            self.assertIs(loss_terms.are_recorded(model), False)
            # Nothing is compiled anew for nothing.
            if not is_recorded:
                self.assertEqual(model.train_function, "compiled")

    def test_recording_goes_on_without_an_error(self):
        model = still(functional(Adds()))
        loss_terms.attach(model, loss_terms.LossTerms(model))
        with loss_terms.until_error(model):
            pass
        self.assertIs(loss_terms.are_recorded(model), True)
