"""All terms of the total in the logs, and the picture of them.

Models are linear with known kernels on known inputs, so that the terms can be
found by hand; a comment says how. Kernels, learning rates, weights and inputs
are small multiples of powers of two where results are compared exactly.
"""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import keras
from integration_tests.support import checkout_finder
from keras import ops

BACKEND = keras.backend.backend()
# By default, steps are compiled, with XLA as well where that is known to work.
MODES = {
    "default": {},
    "eager": {"run_eagerly": True},
    "several": {"steps_per_execution": 2},
}
if BACKEND == "torch":
    # Keras has no several steps per execution there.
    del MODES["several"]
not_jax = pytest.mark.skipif(BACKEND == "jax", reason="JAX has other steps")
# Sums of some dozens of terms in float32.
ROUNDING = 2e-6


def column(*values):
    return np.array(values, "float32").reshape(-1, 1)


def dense(kernel=1.0, name=None, **arguments):
    """Multiplies by a number."""
    return keras.layers.Dense(
        1,
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(kernel),
        name=name,
        **arguments,
    )


@keras.saving.register_keras_serializable("terms")
class Adds(keras.layers.Layer):
    """Adds a factor times the mean of its input, and returns the input."""

    def __init__(self, factor=1.0, **arguments):
        super().__init__(**arguments)
        self.factor = factor

    def call(self, x):
        self.add_loss(self.factor * ops.mean(x))
        return x


def still(model, loss="mse", **arguments):
    """Compiles a model that does not move."""
    model.compile(keras.optimizers.SGD(0.0), loss, **arguments)
    return model


def fit(model, x, y, callbacks=(), **arguments):
    """The logs of a training whose terms are logged."""
    every = [keras.callbacks.LossContributions(), *callbacks]
    arguments = {"verbose": 0, "shuffle": False, **arguments}
    return model.fit(x, y, callbacks=every, **arguments).history


def terms(logs, prefix=""):
    """The values of the terms of a `History` that has no confusing names."""
    found = {}
    for name, values in logs.items():
        stem = name.removeprefix("val_")
        if name.startswith("val_") != bool(prefix):
            continue
        if stem.endswith(("_contribution", "added_loss")) or stem in (
            "regularization_loss",
            "other_loss",
        ):
            found[stem] = np.array(values)
    return found


def assert_balance(logs, rtol=ROUNDING):
    for prefix in ("", "val_") if "val_loss" in logs else ("",):
        found = list(terms(logs, prefix).values())
        size = sum(map(np.abs, found))
        difference = np.abs(sum(found) - logs[f"{prefix}loss"])
        assert np.all(difference <= rtol * size), (prefix, logs)


def approx(logs):
    return {
        name: pytest.approx(values, rel=1e-6) for name, values in logs.items()
    }


# 1. What is logged.


@pytest.mark.parametrize("mode", MODES)
def test_single_output(mode):
    inputs = keras.Input((1,))
    model = keras.Model(inputs, dense(2.0, name="only")(inputs))
    still(model, loss_weights=3.0, **MODES[mode])
    logs = fit(
        model,
        column(1, 2, 4),
        column(0, 0, 0),
        batch_size=2,
        epochs=2,
        validation_data=(column(1), column(0)),
    )
    # (4 + 16 + 64) / 3, and 4.
    assert logs == {
        "loss": [84.0, 84.0],
        "only_loss": [28.0, 28.0],
        "only_weight": [3.0, 3.0],
        "only_contribution": [84.0, 84.0],
        "val_loss": [12.0, 12.0],
        "val_only_loss": [4.0, 4.0],
        "val_only_weight": [3.0, 3.0],
        "val_only_contribution": [12.0, 12.0],
    }


@pytest.mark.parametrize("mode", MODES)
def test_regularizers_of_weights_that_move(mode):
    """Two kernels of 1 with gradients of their penalties alone: 0.5 and 1."""
    inputs = keras.Input((1,))
    hidden = dense(kernel_regularizer=keras.regularizers.L1(0.5))(inputs)
    hidden = dense(kernel_regularizer=keras.regularizers.L2(0.5))(hidden)
    frozen = dense(kernel_regularizer="l2", trainable=False)(hidden)
    model = keras.Model(inputs, dense(0.0, name="out")(frozen))
    model.layers[-1].trainable = False
    model.compile(keras.optimizers.SGD(0.25), "mse", **MODES[mode])
    x = column(1, 1, 1)
    logs = fit(
        model, x, 0 * x, batch_size=2, epochs=1, validation_data=(x, 0 * x)
    )
    # Of 2 samples: 0.5 * 1 + 0.5 * 1. Then the kernels are 1 - 0.25 * 0.5 and
    # 1 - 0.25 * 1: of 1 sample, 0.5 * 0.875 + 0.5 * 0.5625; after it they are
    # 0.75 and 0.5625.
    first, second = 1.0, 0.4375 + 0.28125
    last = 0.5 * 0.75 + 0.5 * 0.5625**2
    assert logs == approx(
        {
            "loss": [(2 * first + second) / 3],
            "regularization_loss": [(2 * first + second) / 3],
            "out_loss": [0.0],
            "out_weight": [1.0],
            "out_contribution": [0.0],
            "val_loss": [last],
            "val_regularization_loss": [last],
            "val_out_loss": [0.0],
            "val_out_weight": [1.0],
            "val_out_contribution": [0.0],
        }
    )


@pytest.mark.parametrize("mode", MODES)
def test_activity_regularizer(mode):
    inputs = keras.Input((1,))
    hidden = dense(
        2.0, "hidden", activity_regularizer=keras.regularizers.L1(0.5)
    )(inputs)
    model = keras.Model(inputs, dense(name="out")(hidden))
    logs = fit(
        still(model, **MODES[mode]),
        column(1, 3, 4),
        column(0, 0, 0),
        batch_size=2,
        validation_data=(column(1), column(0)),
    )
    # 0.5 * (2 + 6) / 2 for 2 samples and 0.5 * 8 for one.
    assert logs["hidden_added_loss"] == approx({"": [8 / 3]})[""]
    assert logs["val_hidden_added_loss"] == [1.0]
    assert set(terms(logs)) == {"hidden_added_loss", "out_contribution"}
    assert_balance(logs)


@pytest.mark.parametrize("mode", MODES)
def test_shared_layer(mode):
    """One term, for all uses of the layer."""
    shared, inputs = Adds(0.5, name="shared"), keras.Input((1,))
    model = keras.Model(
        inputs, dense(name="out")(shared(dense(2.0)(shared(inputs))))
    )
    logs = fit(still(model, **MODES[mode]), column(1, 3), column(0, 0))
    # 0.5 * 2 and 0.5 * 4.
    assert logs["shared_added_loss"] == [3.0]
    # (4 + 36) / 2.
    assert logs["out_contribution"] == [20.0]
    assert logs["loss"] == [23.0]


class Encoder(keras.Model):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.kl = Adds(2.0, name="kl")
        self.inner = keras.Sequential([Adds(8.0, name="deep")], name="inner")

    def call(self, x):
        self.add_loss(4.0 * ops.mean(x))
        return self.inner(self.kl(x))


class Outer(keras.Model):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.encoder = Encoder(name="encoder")
        self.kl = Adds(16.0, name="kl")

    def call(self, x):
        self.add_loss(ops.mean(x))
        return self.kl(self.encoder(x))


@pytest.mark.parametrize("mode", MODES)
def test_nested_models(mode):
    logs = fit(still(Outer(), **MODES[mode]), column(1, 3), column(0, 0))
    assert logs == {
        "loss": [2 * (1 + 2 + 4 + 8 + 16) + 5.0],
        "mse_loss": [5.0],
        "mse_weight": [1.0],
        "mse_contribution": [5.0],
        "added_loss": [2.0],
        "encoder_added_loss": [8.0],
        "encoder/kl_added_loss": [4.0],
        "encoder/inner/deep_added_loss": [16.0],
        "kl_added_loss": [32.0],
    }


def test_nested_functional_models():
    inner = keras.Sequential(
        [keras.Input((1,)), Adds(2.0, name="kl")], name="inner"
    )
    wrapped = keras.layers.TimeDistributed(inner, name="rows")
    inputs = keras.Input((2, 1))
    model = keras.Model(
        inputs, keras.layers.Flatten(name="out")(wrapped(inputs))
    )
    x = np.ones((3, 2, 1), "float32")
    logs = fit(still(model), x, np.ones((3, 2)))
    assert set(terms(logs)) == {"out_contribution", "rows/inner/kl_added_loss"}
    assert_balance(logs)
    np.testing.assert_allclose(
        logs["rows/inner/kl_added_loss"], logs["loss"], rtol=ROUNDING
    )


class Code(keras.layers.Layer):
    """The mean of a code, and the KL divergence from N(0, 1) as a loss."""

    def call(self, parameters):
        mean, log_variance = ops.split(parameters, 2, axis=-1)
        kl = ops.exp(log_variance) + ops.square(mean) - 1.0 - log_variance
        self.add_loss(0.5 * ops.mean(ops.sum(kl, axis=-1)))
        return mean


class VAE(keras.Model):
    def __init__(self):
        super().__init__()
        kernel = keras.initializers.Constant([[1.0, -1.0, 0.5, 0.25]])
        self.encoder = keras.layers.Dense(4, False, False, kernel)
        self.code = Code(name="code")
        self.decoder = keras.layers.Dense(1, kernel_initializer="ones")

    def call(self, x):
        return self.decoder(self.code(self.encoder(x)))


def vae():
    encoder = keras.layers.Dense(
        4,
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(
            [[1.0, -1.0, 0.5, 0.25]]
        ),
        kernel_regularizer=keras.regularizers.L2(0.25),
    )
    inputs = keras.Input((1,))
    code = Code(name="code")(encoder(inputs))
    return keras.Model(inputs, dense_of_ones(code))


def dense_of_ones(code):
    return keras.layers.Dense(1, kernel_initializer="ones", name="image")(code)


@pytest.mark.parametrize("mode", MODES)
def test_vae(mode):
    x = np.array([0.5, -1.0, 2.0])
    logs = fit(
        still(vae(), loss_weights=64.0, **MODES[mode]),
        column(*x),
        column(*x),
        batch_size=2,
    )
    mean, log_variance = x[:, None] * [1.0, -1.0], x[:, None] * [0.5, 0.25]
    kl = np.exp(log_variance) + mean**2 - 1 - log_variance
    # The two parts of the code cancel each other.
    expected = {
        "image_contribution": 64 * np.mean(x**2),
        "code_added_loss": 0.5 * kl.sum(axis=1).mean(),
        "regularization_loss": 0.25 * (1 + 1 + 0.25 + 0.0625),
    }
    assert set(terms(logs)) == set(expected)
    for name, value in expected.items():
        assert logs[name] == [pytest.approx(value, rel=1e-5)], name
    assert_balance(logs)


@pytest.mark.parametrize("mode", MODES)
def test_model_without_a_loss_of_compile(mode):
    model = still(Outer(), None, **MODES[mode])
    logs = fit(model, column(1, 3), validation_data=None, y=None)
    assert terms(logs).keys() == logs.keys() - {"loss"}
    assert len(logs) == 6
    assert_balance(logs)


# 2. Steps and losses of users' own.


class OwnLoss(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        loss = super().compute_loss(x, y, y_pred, *args, **kwargs)
        return loss + 8.0 * ops.mean(y_pred)


@pytest.mark.parametrize("mode", MODES)
def test_own_compute_loss(mode):
    inputs = keras.Input((1,))
    model = OwnLoss(inputs, Adds(name="adds")(dense(name="out")(inputs)))
    logs = fit(
        still(model, **MODES[mode]),
        column(1, 3, 4),
        column(0, 0, 0),
        batch_size=2,
        validation_data=(column(1), column(0)),
    )
    # Means of 1, 3 and 4, and of their squares.
    assert logs["adds_added_loss"] == approx({"": [8 / 3]})[""]
    assert logs["adds_contribution"] == approx({"": [26 / 3]})[""]
    assert logs["other_loss"] == approx({"": [64 / 3]})[""]
    assert logs["val_other_loss"] == [8.0]
    assert_balance(logs)


class OwnStep(keras.Model):
    """Steps as in Keras' guides."""

    if BACKEND == "jax":

        def train_step(self, state, data):
            variables, fixed, optimizer, metrics = state
            x, y = data[:2]
            differentiate = self.gradient()
            (loss, results), gradients = differentiate(
                variables,
                fixed,
                metrics,
                x,
                y,
                None,
                training=True,
                optimizer_variables=optimizer,
            )
            loss, y_pred, fixed, metrics = results
            variables, optimizer = self.optimizer.stateless_apply(
                optimizer, gradients, variables
            )
            logs, metrics = self._update_metrics_variables(
                metrics, loss, x, y, y_pred, None
            )
            return logs, (variables, fixed, optimizer, metrics)

        def gradient(self):
            import jax

            return jax.value_and_grad(
                self.compute_loss_and_updates, has_aux=True
            )

    else:

        def train_step(self, data):
            x, y = data[:2]
            loss = self.compute_loss(x, y, self(x, training=True))
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss + 1.0)
                else:
                    metric.update_state(y, y)
            return {m.name: m.result() for m in self.metrics}


@pytest.mark.parametrize("eagerly", [True, False])
def test_add_loss_in_an_own_train_step(eagerly):
    inputs = keras.Input((1,))
    model = OwnStep(inputs, Adds(2.0, name="adds")(inputs))
    still(model, run_eagerly=eagerly)
    logs = fit(model, column(1, 3), column(0, 0), batch_size=1, epochs=2)
    assert logs["adds_added_loss"] == [4.0, 4.0]
    assert logs["adds_contribution"] == [5.0, 5.0]
    assert logs["adds_weight"] == [1.0, 1.0]
    other = 0.0 if BACKEND == "jax" else 1.0
    assert logs["other_loss"] == [other] * 2
    assert logs["loss"] == [9.0 + other] * 2


class NeverCalls(keras.Model):
    """Has no `compute_loss` in its steps, as some of Keras' guides."""

    def train_step(self, *arguments):
        if BACKEND == "jax":
            return {"loss": ops.ones(())}, arguments[0]
        return {"loss": ops.ones(())}


class LeavesOut(keras.Model):
    @property
    def metrics(self):
        return [self.own]


def leaves_out(inputs, outputs):
    model = LeavesOut(inputs, outputs)
    model.own = keras.metrics.Mean(name="own")
    return model


class OutsideOfAScope(keras.Model):
    """On JAX: the step of Keras' guide on it."""

    def loss_of(self, variables, fixed, x, y):
        y_pred, fixed = self.stateless_call(variables, fixed, x)
        return self.compute_loss(x, y, y_pred), (y_pred, fixed)

    def train_step(self, state, data):
        import jax

        variables, fixed, optimizer, old = state
        x, y = data[:2]
        (loss, (y_pred, fixed)), gradients = jax.value_and_grad(
            self.loss_of, has_aux=True
        )(variables, fixed, x, y)
        variables, optimizer = self.optimizer.stateless_apply(
            optimizer, gradients, variables
        )
        new, logs = [], {}
        for metric in self.metrics:
            own = old[len(new) : len(new) + len(metric.variables)]
            values = (loss,) if metric.name == "loss" else (y, y_pred)
            own = metric.stateless_update_state(own, *values)
            logs[metric.name] = metric.stateless_result(own)
            new += own
        return logs, (variables, fixed, optimizer, new)


WITHOUT = {"never calls": NeverCalls, "leaves out": leaves_out}
if BACKEND == "jax":
    WITHOUT["outside of a scope"] = OutsideOfAScope


@pytest.mark.parametrize("kind", WITHOUT)
def test_models_without_terms(kind, recwarn):
    """There is one warning, and nothing else changes."""
    inputs = keras.Input((1,))

    def train(*callbacks):
        model = WITHOUT[kind](inputs, dense(2.0)(inputs))
        model.compile(keras.optimizers.SGD(2.0**-4), "mse")
        logs = model.fit(
            column(1, 2, 3),
            column(0, 0, 0),
            batch_size=2,
            epochs=3,
            shuffle=False,
            callbacks=list(callbacks),
            verbose=0,
        ).history
        return logs, model.get_weights()

    logs, weights = train()
    recwarn.clear()
    found, kernels = train(keras.callbacks.LossContributions())
    assert found == logs
    np.testing.assert_array_equal(kernels, weights)
    told = [str(one.message) for one in recwarn]
    told = [text for text in told if "LossContributions" in text]
    assert len(told) == 1
    assert "has no terms" in told[0] and "compute_loss" in told[0]


def test_evaluation_without_terms_warns():
    model = leaves_out(*[keras.Input((1,))] * 2)
    still(model)
    with pytest.warns(UserWarning, match="LossContributions"):
        model.evaluate(
            column(1),
            column(1),
            callbacks=[keras.callbacks.LossContributions()],
            verbose=0,
        )


# 3. Names.


class Named(keras.metrics.Mean):
    """A metric that is always 7."""

    def update_state(self, *args, **kwargs):
        pass

    def result(self):
        return ops.full((), 7.0)


def test_names_that_are_there_are_not_overwritten():
    inputs = keras.Input((1,))
    hidden = Adds(name="x")(dense(kernel_regularizer="l2")(inputs))
    outputs = {
        "other": Adds(2.0, name="added")(hidden),
        "regularization": dense(3.0, kernel_regularizer="l2")(hidden),
    }
    model = OwnLoss(inputs, outputs)
    model.compute_loss = lambda *args, **kwargs: (
        0.5 + OwnLoss.__base__.compute_loss(model, *args, **kwargs)
    )
    still(model, metrics={"other": [Named("contribution")]})
    model.own = Named("x_added_loss")
    x, y = column(1, 3), {name: column(0, 0) for name in outputs}
    logs = fit(model, x, y, epochs=2, validation_data=(x, y))
    expected = {
        "other_loss": 5.0,
        "other_weight": 1.0,
        "other_contribution": 7.0,
        "other_1_contribution": 5.0,
        "regularization_loss": 45.0,
        "regularization_weight": 1.0,
        "regularization_contribution": 45.0,
        "x_added_loss": 7.0,
        "x_1_added_loss": 2.0,
        "added_added_loss": 4.0,
        # 0.01 * (1 + 9).
        "regularization_1_loss": 0.1,
        "other_1_loss": 0.5,
        "loss": 56.6,
    }
    expected |= {f"val_{name}": value for name, value in expected.items()}
    assert logs == approx({name: [x] * 2 for name, x in expected.items()})


class SameNames(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = [Adds(2.0**i, name="same") for i in range(3)]
        self.val = Adds(8.0, name="val")

    def call(self, x):
        self.add_loss(16.0 * ops.mean(x))
        for part in self.parts:
            x = part(x)
        return self.val(x)


def test_layers_of_one_name_and_one_called_val():
    x = column(1, 1)
    logs = fit(still(SameNames(), None), x, None, validation_data=(x, None))
    expected = {
        "loss": [31.0],
        "added_loss": [16.0],
        "same_added_loss": [1.0],
        "same_1_added_loss": [2.0],
        "same_2_added_loss": [4.0],
        # Not `val_added_loss`: that is of the validation.
        "val_1_added_loss": [8.0],
    }
    validation = {f"val_{name}": value for name, value in expected.items()}
    assert logs == expected | validation


def test_list_form_of_evaluate():
    inputs = keras.Input((1,))
    model = still(keras.Model(inputs, Adds()(inputs)), metrics=["mae"])
    x = column(1, 3)
    found = model.evaluate(
        x, 0 * x, callbacks=[keras.callbacks.LossContributions()], verbose=0
    )
    assert found == model.evaluate(x, 0 * x, verbose=0) == [7.0, 2.0]


# 4. Only while the callback is there.


def state_of(model):
    names = [metric.name for metric in model.metrics]
    return names, len(model.metrics_variables), model.metrics_names


class Fails(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_nothing_remains(is_interrupted):
    inputs = keras.Input((1,))
    model = still(keras.Model(inputs, Adds(name="adds")(inputs)))
    x = column(1, 3)
    plain = model.fit(x, 0 * x, verbose=0).history
    state = state_of(model)
    if is_interrupted:
        with pytest.raises(KeyboardInterrupt):
            fit(model, x, 0 * x, [Fails()])
    else:
        assert len(fit(model, x, 0 * x)) > 1
    assert state_of(model) == state
    assert model.fit(x, 0 * x, verbose=0).history == plain
    # And once more.
    assert len(fit(model, x, 0 * x, epochs=2)["adds_added_loss"]) == 2


def test_penalties_are_not_computed_again():
    calls = []

    class Counts(keras.regularizers.Regularizer):
        def __call__(self, x):
            calls.append(None)
            return ops.sum(x)

    model = keras.Sequential(
        [keras.Input((1,)), dense(kernel_regularizer=Counts())]
    )
    still(model, run_eagerly=True)
    x = column(1, 2, 3)
    model.fit(x, x, batch_size=1, verbose=0)
    before = len(calls)
    model.fit(x, x, batch_size=1, verbose=0)
    once = len(calls) - before
    logs = fit(model, x, x, batch_size=1)
    assert len(calls) - before == 2 * once
    assert logs["regularization_loss"] == [1.0]


class Evaluates(keras.callbacks.Callback):
    """Looks at other data, and has the terms of them logged, too."""

    def look(self):
        x = column(100, 100)
        self.seen = self.model.evaluate(
            x,
            0 * x,
            callbacks=[keras.callbacks.LossContributions()],
            return_dict=True,
            verbose=0,
        )

    def on_epoch_begin(self, epoch, logs=None):
        self.look()
        self.model.reset_metrics()

    def on_epoch_end(self, epoch, logs=None):
        self.look()


@pytest.mark.parametrize("place", [0, 1], ids=["before", "after"])
@pytest.mark.parametrize("mode", MODES)
def test_evaluation_by_a_callback(mode, place):
    inputs = keras.Input((1,))
    model = still(keras.Model(inputs, Adds(name="adds")(inputs)), **MODES[mode])
    x, looks = column(1, 3, 5), Evaluates()
    callbacks = [keras.callbacks.LossContributions()]
    callbacks.insert(place, looks)
    logs = model.fit(
        x,
        0 * x,
        batch_size=2,
        epochs=2,
        callbacks=callbacks,
        validation_data=(x[:1], x[:1]),
        verbose=0,
    ).history
    # (1 + 9 + 25) / 3 and 3.
    assert logs["adds_contribution"] == approx({"": [35 / 3] * 2})[""]
    assert logs["adds_added_loss"] == approx({"": [3.0] * 2})[""]
    assert logs["val_adds_added_loss"] == [1.0, 1.0]
    assert logs["val_adds_contribution"] == [0.0, 0.0]
    assert looks.seen["loss"] == 100.0**2 + 100


# 5. Other callbacks.


def decaying():
    """A penalty of 0.5, 0.125 and so on; `out` stays at 0."""
    inputs = keras.Input((1,))
    hidden = dense(kernel_regularizer=keras.regularizers.L2(0.5))(inputs)
    model = keras.Model(inputs, dense(0.0, name="out", trainable=False)(hidden))
    model.compile(keras.optimizers.SGD(0.5), "mse")
    return model


def test_csv_logger(tmp_path):
    file, x = tmp_path / "log.csv", column(1, 1)
    logger = keras.callbacks.CSVLogger(str(file))
    fit(decaying(), x, 0 * x, [logger], epochs=2, validation_data=(x, 0 * x))
    rows = list(csv.DictReader(file.read_text().splitlines()))
    for name, values in {
        "regularization_loss": [0.5, 0.125],
        "out_contribution": [0.0, 0.0],
        "val_regularization_loss": [0.125, 0.03125],
    }.items():
        assert [float(row[name]) for row in rows] == values


@pytest.mark.parametrize("monitor", ["", "val_"])
def test_early_stopping_knows_the_direction(monitor):
    """It goes on while the penalty falls, and stops where a term stays."""
    x = column(1, 1)
    for name, epochs in (("regularization_loss", 4), ("out_contribution", 2)):
        stop = keras.callbacks.EarlyStopping(f"{monitor}{name}", patience=1)
        logs = fit(
            decaying(), x, 0 * x, [stop], epochs=4, validation_data=(x, 0 * x)
        )
        assert len(logs["loss"]) == epochs


def test_progress_bar(capsys):
    x = column(1, 1)
    fit(decaying(), x, 0 * x, verbose=2)
    assert "regularization_loss: 0.5000" in capsys.readouterr().out


def test_tensorboard(tmp_path):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorboard")
    x = column(1, 1)
    board = keras.callbacks.TensorBoard(str(tmp_path))
    fit(decaying(), x, 0 * x, [board], epochs=2)
    found = []
    for file in (tmp_path / "train").glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                if value.tag == "epoch_regularization_loss":
                    found.append(float(tf.make_ndarray(value.tensor)))
    assert found == [0.5, 0.125]


# 6. They add up.


class Moves(keras.callbacks.Callback):
    """Assigns another weight before each batch."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def on_train_batch_begin(self, batch, logs=None):
        self.weight.assign((batch % 3) / 2)


MODELS = st.fixed_dictionaries(
    {
        "outputs": st.integers(1, 3),
        "penalty": st.sampled_from([None, "l1", "l2"]),
        "activity": st.booleans(),
        "added": st.sampled_from([None, 1.0, -0.5]),
        "is_nested": st.booleans(),
        "has_own_loss": st.booleans(),
        "moves": st.booleans(),
        "rate": st.sampled_from([0.0, 0.01]),
        "mode": st.sampled_from(sorted(MODES)),
        "samples": st.integers(1, 7),
        "batch_size": st.integers(1, 4),
        "accumulated": st.sampled_from([None, 2]),
        "dtype": st.sampled_from(["float32", "mixed_bfloat16"]),
    }
)


def drawn_model(case, weight):
    dtype, inputs = case["dtype"], keras.Input((2,))
    inner = [
        keras.layers.Dense(
            3,
            kernel_regularizer=case["penalty"],
            activity_regularizer="l2" if case["activity"] else None,
            dtype=dtype,
        )
    ]
    if case["added"] is not None:
        inner.append(Adds(case["added"], dtype=dtype))
    if case["is_nested"]:
        inner = [keras.Sequential(inner, name="inner")]
    hidden = inputs
    for layer in inner:
        hidden = layer(hidden)
    names = [f"out{i}" for i in range(case["outputs"])]
    outputs = {
        name: keras.layers.Dense(1, name=name, dtype=dtype)(hidden)
        for name in names
    }
    kind = OwnTerm if case["has_own_loss"] else keras.Model
    model = kind(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(
            case["rate"], gradient_accumulation_steps=case["accumulated"]
        ),
        {name: "mse" for name in names},
        loss_weights={names[0]: weight if case["moves"] else 2.0},
        **MODES[case["mode"]],
    )
    return model


class OwnTerm(keras.Model):
    def compute_loss(self, x=None, *args, **kwargs):
        return super().compute_loss(x, *args, **kwargs) + ops.mean(x)


@settings(max_examples=12 if BACKEND == "torch" else 6)
@given(MODELS)
def test_balance(case):
    keras.utils.set_random_seed(0)
    weight = keras.Variable(1.0)
    model = drawn_model(case, weight)
    rng = np.random.default_rng(case["samples"])
    x = rng.normal(size=(case["samples"], 2)).astype("float32")
    y = {
        name: rng.normal(size=(case["samples"], 1)).astype("float32")
        for name in model.output_names
    }
    logs = fit(
        model,
        x,
        y,
        [Moves(weight)],
        batch_size=case["batch_size"],
        epochs=2,
        validation_data=(x[:3], {name: y[name][:3] for name in y}),
    )
    expected = {f"{name}_contribution" for name in y}
    expected |= {"regularization_loss"} if case["penalty"] else set()
    expected |= {"other_loss"} if case["has_own_loss"] else set()
    found = set(terms(logs))
    added = {name for name in found if name.endswith("added_loss")}
    assert found - added == expected
    assert len(added) == case["activity"] + (case["added"] is not None)
    assert_balance(logs, 1e-5 if case["dtype"] == "float32" else 1e-2)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    """With its scaled loss, which is not what is logged."""
    inputs = keras.Input((1,))
    hidden = dense(2.0, kernel_regularizer="l2", dtype=policy)(inputs)
    hidden = Adds(name="adds", dtype=policy)(hidden)
    model = keras.Model(inputs, dense(name="out", dtype=policy)(hidden))
    model.dtype_policy = keras.dtype_policies.DTypePolicy(policy)
    logs = fit(still(model), column(1, 3, 4), column(0, 0, 0), batch_size=2)
    assert logs["adds_added_loss"] == approx({"": [16 / 3]})[""]
    assert logs["regularization_loss"] == approx({"": [0.04]})[""]
    # 4 * (1 + 9 + 16) / 3.
    assert logs["out_contribution"] == approx({"": [104 / 3]})[""]
    assert_balance(logs)


REPLICAS = """
import json, sys
import numpy as np
import keras

x = np.array([1, 3, 4, 5, 7, 2], "float32").reshape(-1, 1)

class Adds(keras.layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(x))
        return x

def make():
    inputs = keras.Input((1,))
    hidden = keras.layers.Dense(
        1, use_bias=False, kernel_initializer="ones",
        kernel_regularizer=keras.regularizers.L2(0.5),
    )(inputs)
    model = keras.Model(inputs, Adds(name="adds")(hidden))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    one = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [one, one])
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = make()
else:
    import jax
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=jax.devices())
    )
    model = make()
logs = model.fit(
    x, 0 * x, batch_size=4, epochs=2, shuffle=False, verbose=0,
    validation_data=(x[:2], x[:2]),
    callbacks=[keras.callbacks.LossContributions()],
).history
print(json.dumps({n: [float(v) for v in logs[n]] for n in logs}))
"""


@pytest.mark.skipif(BACKEND == "torch", reason="a rank logs what is its own")
def test_replicas(tmp_path):
    script = tmp_path / "replicas.py"
    script.write_text(REPLICAS)
    answer = subprocess.run(
        [sys.executable, checkout_finder.__file__, str(script)],
        env={
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        },
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    logs = json.loads(answer.stdout.splitlines()[-1])
    # Means of 1, 3, 4, 5, 7 and 2, and of their squares.
    expected = {
        "adds_loss": 104 / 6,
        "adds_weight": 1.0,
        "adds_contribution": 104 / 6,
        "adds_added_loss": 22 / 6,
        "regularization_loss": 0.5,
        "loss": 104 / 6 + 22 / 6 + 0.5,
        "val_adds_loss": 0.0,
        "val_adds_weight": 1.0,
        "val_adds_contribution": 0.0,
        "val_adds_added_loss": 2.0,
        "val_regularization_loss": 0.5,
        "val_loss": 2.5,
    }
    assert logs == approx({name: [x] * 2 for name, x in expected.items()})


# 7. The picture.


@pytest.fixture
def plot(monkeypatch):
    folder = checkout_finder.ROOT / "tools"
    monkeypatch.syspath_prepend(str(folder))
    import plot_terms

    return plot_terms


def stacked(axes):
    """For each term, where its bars begin and how high they are."""
    return {
        bars.get_label(): [(bar.get_y(), bar.get_height()) for bar in bars]
        for bars in axes.containers
    }


def logs_to_draw():
    return {
        "loss": [10.0, 3.0],
        "a_loss": [2.0, 1.0],
        "a_weight": [4.0, 4.0],
        "a_contribution": [8.0, 4.0],
        # Raw, and no term, as there is a contribution of it.
        "other_loss": [6.0, 6.0],
        "other_weight": [0.5, 0.5],
        "other_contribution": [3.0, 3.0],
        "other_1_loss": [-2.0, -5.0],
        "encoder/kl_added_loss": [0.5, 0.5],
        "regularization_loss": [0.5, 0.5],
        "accuracy": [0.5, 0.5],
    }


def test_picture(plot, tmp_path):
    figure = plot.plot_terms(logs_to_draw(), tmp_path / "terms.png")
    assert (tmp_path / "terms.png").stat().st_size > 10_000
    left, right = figure.axes
    curves = [line.get_ydata().tolist() for line in left.lines]
    assert curves == [[2.0, 1.0], [6.0, 6.0]]
    assert [text.get_text() for text in left.texts] == ["a_loss", "other_loss"]
    assert stacked(right) == {
        "a_contribution": [(0.0, 8.0), (0.0, 4.0)],
        "other_contribution": [(8.0, 3.0), (4.0, 3.0)],
        "encoder/kl_added_loss": [(11.0, 0.5), (7.0, 0.5)],
        # Down from 0.
        "other_1_loss": [(0.0, -2.0), (0.0, -5.0)],
        "regularization_loss": [(11.5, 0.5), (7.5, 0.5)],
    }
    assert right.get_title(loc="left") == "Terms add up to loss"
    legend = [text.get_text() for text in right.get_legend().get_texts()]
    assert legend[0] == "loss" and len(legend) == 6


def test_picture_of_logs_that_do_not_add_up(plot):
    logs = {**logs_to_draw(), "loss": [10.0, 4.5]}
    _, right = plot.plot_terms(logs).axes
    assert right.get_title(loc="left") == "Terms miss loss by up to 1.5"
    logs["loss"][0] = float("nan")
    _, right = plot.plot_terms(logs).axes
    assert right.get_title(loc="left") == "Terms miss loss by up to nan"


def test_picture_of_many_terms(plot):
    """The eight largest of eleven, and the others as one."""
    logs = {f"y{i:02}_contribution": [float(i)] * 3 for i in range(1, 12)}
    logs["loss"] = [66.0] * 3
    _, right = plot.plot_terms(logs).axes
    bars = stacked(right)
    assert len(bars) == 9
    assert bars["3 others"] == [(60.0, 1.0 + 2.0 + 3.0)] * 3


def test_picture_of_a_run_and_of_its_csv(plot, tmp_path):
    x, file = column(1, 1), tmp_path / "log.csv"
    logger = keras.callbacks.CSVLogger(str(file))
    model = decaying()
    fit(model, x, 0 * x, [logger], epochs=2, validation_data=(x, 0 * x))
    expected = {
        False: [(0.0, 0.5), (0.0, 0.125)],
        True: [(0.0, 0.125), (0.0, 0.03125)],
    }
    for validation, bars in expected.items():
        for logs in (model.history, plot.read_csv(file)):
            _, right = plot.plot_terms(logs, validation=validation).axes
            assert stacked(right)["regularization_loss"] == bars
    picture = tmp_path / "terms.png"
    script = checkout_finder.ROOT / "tools" / "plot_terms.py"
    subprocess.run(
        [sys.executable, script, file, "--out", picture, "--validation"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert picture.exists()


def test_no_terms_to_draw(plot):
    with pytest.raises(ValueError, match="LossContributions.*'a_loss', 'loss'"):
        plot.plot_terms({"loss": [1.0], "a_loss": [1.0]})
    with pytest.raises(ValueError, match="and validation data"):
        plot.plot_terms(logs_to_draw(), validation=True)
