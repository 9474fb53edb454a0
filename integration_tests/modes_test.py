"""The same numbers, however a model is built, compiled, run and restored.

The model has the heads a = k * x and b = k * x, with the kernels 1 and 2. The
labels are 0, and the samples x = 1, 1 and 2 come in batches of 2 and 1: the
mean of x^2 is 1 in the first batch and 4 in the second. So the raw losses are
k^2 and 4 * k^2. With the loss weights 2 and 0.5 and the learning rate 1/8, a
step changes the kernels by the factors

    a: 1 - 2 * 2 * 1 / 8 = 1/2, then 1 - 2 * 2 * 4 / 8 = -1
    b: 1 - 0.5 * 2 * 1 / 8 = 7/8, then 1 - 0.5 * 2 * 4 / 8 = 1/2

and the epoch's raw losses are

    a: (2 * 1 + 4 * (1/2)^2) / 3 = 1
    b: (2 * 4 + 4 * (7/4)^2) / 3 = 6.75

where the mean of the batches would be 8.125 for b. All these numbers, and
those on the way, have at most 8 bits: not even bfloat16 rounds them.
"""

import threading

import numpy as np
import pytest

import keras

BACKEND = keras.backend.backend()
X = np.array([[1.0], [1.0], [2.0]], "float32")
ZEROS = np.zeros((3, 1), "float32")
START = [np.array([[kernel]], "float32") for kernel in (1.0, 2.0)]
LABELS = {"a": ZEROS, "b": ZEROS}
WEIGHTS = {"a": 2.0, "b": 0.5}

TRAINED = {"loss": 2 * 1 + 0.5 * 6.75, "a_loss": 1.0, "b_loss": 6.75}
KERNELS = {"a": -0.5, "b": 0.875}
# x^2 is 2 on average.
EVALUATED = {
    "loss": 2 * 2 * 0.5**2 + 0.5 * 2 * 0.875**2,
    "a_loss": 2 * 0.5**2,
    "b_loss": 2 * 0.875**2,
}
# Of the model that is not trained.
UNTRAINED = {"loss": 2 * 2.0 + 0.5 * 8.0, "a_loss": 2.0, "b_loss": 8.0}

# What `compile` is given for each way to run a step.
RUNS = {
    "default": {},
    "eager": {"run_eagerly": True},
    "no_jit": {"jit_compile": False},
    "jit": {"jit_compile": True},
    "two_steps": {"steps_per_execution": 2},
    # The epoch has two.
    "five_steps": {"steps_per_execution": 5},
    "two_eager_steps": {"steps_per_execution": 2, "run_eagerly": True},
}
if BACKEND == "torch":
    # Keras refuses several steps per execution there, and jit needs a compiler
    # that machines may lack.
    RUNS = {name: RUNS[name] for name in ("default", "eager")}
BASIC_RUNS = [name for name in RUNS if name in ("default", "eager")]
MOST_RUNS = [
    name for name in RUNS if name in ("default", "eager", "five_steps")
]


def two_heads(model_class=keras.Model, kernels=(1.0, 2.0), **arguments):
    inputs = keras.Input((1,))
    outputs = {
        name: keras.layers.Dense(
            1,
            use_bias=False,
            kernel_initializer=keras.initializers.Constant(kernel),
            name=name,
            **arguments,
        )(inputs)
        for name, kernel in zip("ab", kernels)
    }
    return model_class(inputs, outputs)


def compiled(model, rate=0.125, loss="mse", optimizer=None, **arguments):
    if optimizer is None:
        optimizer = keras.optimizers.SGD(rate)
    # In the form that stock Keras takes, too.
    loss = {"a": loss, "b": loss}
    model.compile(optimizer, loss, dict(WEIGHTS), **arguments)
    return model


def fit(model, x=X, y=LABELS, **arguments):
    """What is logged in the last epoch."""
    settings = {"batch_size": 2, "shuffle": False, "verbose": 0} | arguments
    history = model.fit(x, y, **settings).history
    return {name: values[-1] for name, values in history.items()}


def evaluate(model, x=X, y=LABELS, batch_size=2):
    return model.evaluate(x, y, batch_size, verbose=0, return_dict=True)


def kernels(model):
    return {
        name: keras.ops.convert_to_numpy(model.get_layer(name).kernel).item()
        for name in "ab"
    }


def check(model, trained=TRAINED, trained_kernels=KERNELS, evaluated=EVALUATED):
    assert fit(model) == trained
    assert kernels(model) == trained_kernels
    assert evaluate(model) == evaluated


@pytest.fixture
def restored_dtypes():
    """Undoes what a test sets, whether it passes or not."""
    floatx = keras.config.floatx()
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)


# 1. How a step is run.


def batches():
    return [(X[:2], labels_of(X[:2])), (X[2:], labels_of(X[2:]))]


def labels_of(x):
    return {"a": 0 * x, "b": 0 * x}


class PyDataset(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return batches()[index]


ROUTES = {
    "generator": lambda: (batch for batch in batches()),
    "py_dataset": PyDataset,
}


@pytest.mark.parametrize("run", RUNS)
def test_run(run):
    model = compiled(two_heads(), **RUNS[run])
    assert evaluate(model) == UNTRAINED
    check(model)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("run", MOST_RUNS)
def test_route(run, route):
    model = compiled(two_heads(), **RUNS[run])
    logs = fit(model, ROUTES[route](), None, batch_size=None)
    assert logs == TRAINED
    assert evaluate(model, ROUTES[route](), None, batch_size=None) == EVALUATED


@pytest.mark.parametrize("run", MOST_RUNS)
def test_epochs_and_validation(run):
    """Each epoch changes a by the factor -1/2, and b by 7/16."""
    model = compiled(two_heads(), **RUNS[run])
    history = model.fit(
        X,
        LABELS,
        batch_size=2,
        epochs=3,
        shuffle=False,
        validation_data=(X, LABELS),
        verbose=0,
    ).history
    a = np.array([0.25**epoch for epoch in range(4)])
    b = np.array([(7 / 16) ** (2 * epoch) for epoch in range(4)])
    expected = {
        "a_loss": a[:3],
        "b_loss": 6.75 * b[:3],
        "loss": 2 * a[:3] + 0.5 * 6.75 * b[:3],
        # After the epoch.
        "val_a_loss": 2 * a[1:],
        "val_b_loss": 8 * b[1:],
        "val_loss": 4 * a[1:] + 4 * b[1:],
    }
    assert set(history) == set(expected)
    for name, values in expected.items():
        # The squares of 7^3 / 2^12 have more than the 24 bits of float32.
        np.testing.assert_allclose(history[name], values, rtol=1e-6)


@pytest.mark.parametrize("run", MOST_RUNS)
def test_gradient_accumulation(run):
    """One step in an epoch, by the mean of the gradients of its batches."""
    optimizer = keras.optimizers.SGD(0.125, gradient_accumulation_steps=2)
    model = compiled(two_heads(), optimizer=optimizer, **RUNS[run])
    # a: 1 - (2 * 2 * 1 + 2 * 2 * 4) / 2 / 8, b: 2 - (2 + 8) / 2 / 8.
    a, b = -0.25, 1.375
    evaluated = {"a_loss": 2 * a**2, "b_loss": 2 * b**2}
    evaluated["loss"] = 2 * evaluated["a_loss"] + 0.5 * evaluated["b_loss"]
    check(model, UNTRAINED, {"a": a, "b": b}, evaluated)


# 2. Dtypes.


@pytest.mark.parametrize("run", BASIC_RUNS)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(restored_dtypes, policy, run):
    keras.config.set_dtype_policy(policy)
    # By default gradients are 2^15 times as large, too much for float16.
    optimizer = keras.optimizers.SGD(0.125)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 2.0**10)
    model = compiled(two_heads(), optimizer=optimizer, **RUNS[run])
    check(model)


@pytest.mark.parametrize("run", BASIC_RUNS)
def test_gradients_too_large_for_float16(restored_dtypes, run):
    """No step is made, and the losses are logged without the scale."""
    keras.config.set_dtype_policy("mixed_float16")
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.125), 2.0**20
    )
    model = compiled(two_heads(), optimizer=optimizer, **RUNS[run])
    check(model, UNTRAINED, {"a": 1.0, "b": 2.0}, UNTRAINED)


@pytest.mark.parametrize("run", BASIC_RUNS)
@pytest.mark.parametrize("floatx", ["float64", "bfloat16"])
def test_floatx(restored_dtypes, floatx, run):
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(floatx)
    check(compiled(two_heads(), **RUNS[run]))


# 3. Losses beside those of `compile`.


class SquaredInput(keras.layers.Layer):
    """Adds the mean of x^2 as a loss."""

    def call(self, x):
        self.add_loss(keras.ops.mean(keras.ops.square(x)))
        return x


def with_added_loss(**arguments):
    inner = two_heads(**arguments)
    inputs = keras.Input((1,))
    return keras.Model(inputs, inner(SquaredInput()(inputs)))


def with_a_layer_used_twice(**arguments):
    """Its outputs are x and 3 * x, the heads 1 and 2 times it."""
    inputs = keras.Input((1,))
    scale = keras.layers.Dense(
        1, use_bias=False, kernel_initializer="ones", **arguments
    )
    once, thrice = scale(inputs), scale(inputs * 3.0)
    heads = two_heads()(thrice / 3.0)
    return keras.Model(inputs, heads | {"once": once})


OTHER_LOSSES = {
    # (2 * 1 + 4) / 3
    "add_loss": (with_added_loss, {}, 2.0),
    # 0.5 * (1^2 + 2^2)
    "regularizers": (two_heads, {"kernel_regularizer": "l2"}, 0.01 * 5.0),
    # The L1 norm of the outputs, over the batch size: (1 + 2) times the mean
    # of x, (2 * 1 + 2) / 3.
    "of_outputs": (two_heads, {"activity_regularizer": "l1"}, 0.01 * 3 * 4 / 3),
    # The same for 1 and 3.
    "of_a_layer_used_twice": (
        with_a_layer_used_twice,
        {"activity_regularizer": "l1"},
        0.01 * 4 * 4 / 3,
    ),
}


@pytest.mark.parametrize("run", MOST_RUNS)
@pytest.mark.parametrize("kind", OTHER_LOSSES)
def test_other_losses(kind, run):
    build, arguments, extra = OTHER_LOSSES[kind]
    model = compiled(build(**arguments), rate=0.0, **RUNS[run])
    expected = UNTRAINED | {"loss": UNTRAINED["loss"] + extra}
    for logs in (fit(model), evaluate(model), evaluate(model, batch_size=3)):
        # The factor 0.01 of "l1" and "l2" is rounded to float32.
        assert logs == pytest.approx(expected, rel=1e-6)


# 4. Custom steps.


class CustomSteps(keras.Model):
    def train_step(self, *args):
        return super().train_step(*args)

    def test_step(self, *args):
        return super().test_step(*args)


class CustomLoss(keras.Model):
    """Doubles the total, not what is logged for the outputs."""

    def compute_loss(self, *args, **kwargs):
        return 2 * super().compute_loss(*args, **kwargs)


class CustomMetrics(keras.Model):
    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        return {**logs, "answer": 42.0}


class OldCustomLoss(keras.Model):
    """An override from before there was the argument `training`."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return super().compute_loss(x, y, y_pred, sample_weight)


CUSTOM = {
    CustomSteps: lambda logs: logs,
    CustomMetrics: lambda logs: {**logs, "answer": 42.0},
    CustomLoss: lambda logs: {**logs, "loss": 2 * logs["loss"]},
    OldCustomLoss: lambda logs: logs,
}


@pytest.mark.parametrize("run", MOST_RUNS)
@pytest.mark.parametrize("model_class", CUSTOM, ids=lambda c: c.__name__)
def test_custom(model_class, run):
    expected = CUSTOM[model_class]
    # Twice the loss at half the rate.
    rate = 0.0625 if model_class is CustomLoss else 0.125
    model = compiled(two_heads(model_class), rate, **RUNS[run])
    check(model, expected(TRAINED), KERNELS, expected(EVALUATED))


# 5. Where a model comes from.


def recompiled(arguments, folder):
    """Fitted to other losses before."""
    model = two_heads()
    model.compile("sgd", {"a": "mae"}, metrics={"b": "mae"}, **arguments)
    fit(model)
    evaluate(model)
    model.set_weights(START)
    return compiled(model, **arguments)


def cloned(arguments, folder):
    model = compiled(two_heads(), **arguments)
    fit(model)
    return compiled(keras.models.clone_model(model), **arguments)


def cloned_with_config(arguments, folder):
    model = compiled(two_heads(), **arguments)
    config = model.get_compile_config()
    fit(model)
    clone = keras.models.clone_model(model)
    clone.compile_from_config(config)
    return clone


def loaded(arguments, folder):
    compiled(two_heads(), **arguments).save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def loaded_after_training(arguments, folder):
    model = compiled(two_heads(), **arguments)
    check(model)
    model.save(folder / "model.keras")
    model = keras.models.load_model(folder / "model.keras")
    assert kernels(model) == KERNELS
    assert evaluate(model) == EVALUATED
    model.set_weights(START)
    return model


SOURCES = [
    recompiled,
    cloned,
    cloned_with_config,
    loaded,
    loaded_after_training,
]


@pytest.mark.parametrize("run", MOST_RUNS)
@pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.__name__)
def test_source(source, run, tmp_path):
    check(source(RUNS[run], tmp_path))


class Stopped(Exception):
    """Ends a training as a crash would."""


class StopIn(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.where, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.where:
            raise Stopped


@pytest.mark.parametrize("run", BASIC_RUNS)
@pytest.mark.parametrize("batch", [0, 1])
def test_backup_and_restore(tmp_path, batch, run):
    """Training goes on where the last epoch ended that was complete."""

    def resumable(*callbacks):
        # The backup is gone once training is through.
        model = compiled(two_heads(), **RUNS[run])
        backup = keras.callbacks.BackupAndRestore(tmp_path)
        return model, fit(model, epochs=2, callbacks=[backup, *callbacks])

    with pytest.raises(Stopped):
        resumable(StopIn(1, batch))
    model, logs = resumable()
    a, b = 1 * 0.25, 6.75 * (7 / 16) ** 2
    assert logs == {"loss": 2 * a + 0.5 * b, "a_loss": a, "b_loss": b}
    assert kernels(model) == {"a": 0.25, "b": 2 * (7 / 16) ** 2}


# 6. What goes on beside an output, an epoch, or a model.


@pytest.mark.parametrize("run", MOST_RUNS)
def test_nan_in_one_output(run):
    model = compiled(two_heads(kernels=(np.nan, 2.0)), **RUNS[run])
    logs = fit(model)
    assert np.isnan([logs["loss"], logs["a_loss"]]).all()
    assert logs["b_loss"] == 6.75
    assert kernels(model)["b"] == 0.875
    logs = evaluate(model)
    assert np.isnan([logs["loss"], logs["a_loss"]]).all()
    assert logs["b_loss"] == EVALUATED["b_loss"]


@pytest.mark.parametrize("run", BASIC_RUNS)
def test_nan_in_one_batch(run):
    """The next epoch knows nothing of it."""
    model = compiled(two_heads(), rate=0.0, **RUNS[run])
    bad = {"a": np.where(X == 2, np.nan, ZEROS), "b": ZEROS}
    logs = evaluate(model, y=bad)
    assert np.isnan([logs["loss"], logs["a_loss"]]).all()
    assert logs["b_loss"] == 8.0
    assert evaluate(model) == UNTRAINED


class Evaluate(keras.callbacks.Callback):
    """Evaluates on other data at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def on_epoch_end(self, epoch, logs=None):
        self.found.append(evaluate(self.model, 4 * X[:1], labels_of(X[:1])))


@pytest.mark.parametrize("run", MOST_RUNS)
def test_evaluate_in_a_callback(run):
    model = compiled(two_heads(), **RUNS[run])
    callback = Evaluate()
    logs = fit(
        model,
        callbacks=[callback],
        validation_data=(X, LABELS),
        validation_batch_size=2,
    )
    expected = {f"val_{name}": value for name, value in EVALUATED.items()}
    assert logs == TRAINED | expected
    # x^2 is 16, eight times what it was.
    assert callback.found == [{n: 8 * v for n, v in EVALUATED.items()}]
    assert kernels(model) == KERNELS


@pytest.mark.parametrize("run", BASIC_RUNS)
def test_one_loss_object_for_all(run):
    loss = keras.losses.MeanSquaredError()
    models = [compiled(two_heads(), loss=loss, **RUNS[run]) for _ in range(2)]
    fitted = [fit(model) for model in models]
    assert fitted == [TRAINED] * 2
    assert [evaluate(model) for model in models] == [EVALUATED] * 2


class InTurn(keras.callbacks.Callback):
    """Has each step of a model begin with one of another model's."""

    def __init__(self, barrier):
        super().__init__()
        self.barrier = barrier

    def on_train_batch_begin(self, batch, logs=None):
        self.barrier.wait()


@pytest.mark.parametrize("run", MOST_RUNS)
def test_two_models_at_the_same_time(run):
    # Steps are traced meanwhile, on a machine that may be slow.
    barrier = threading.Barrier(2, timeout=120)
    found = {}

    def work(index):
        model = compiled(two_heads(), **RUNS[run])
        logs = fit(model, callbacks=[InTurn(barrier)])
        found[index] = logs, kernels(model), evaluate(model)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: (TRAINED, KERNELS, EVALUATED) for i in range(2)}
