"""Loss weights that are `keras.Variable`s, and what they do to a model.

All models have heads without bias on inputs of 1, with labels of 0: a head
with the kernel k has the raw loss k^2 and the gradient 2k. Kernels, learning
rates and weights are powers of two, so that float32 rounds nothing.
"""

import csv
import json
import pathlib

import numpy as np
import pytest

import keras

BACKEND = keras.backend.backend()
# What `compile` is given for each way to run a step. With PyTorch, Keras has no
# several steps per execution, and jit needs a compiler that machines may lack.
MODES = {
    "default": {},
    "eager": {"run_eagerly": True},
    "jit": {"jit_compile": True},
    "several": {"steps_per_execution": 2},
}
if BACKEND == "torch":
    del MODES["jit"], MODES["several"]
ONES = np.ones((4, 1), "float32")
ZEROS = np.zeros((4, 1), "float32")


def head(name, **arguments):
    return keras.layers.Dense(
        1, use_bias=False, kernel_initializer="ones", name=name, **arguments
    )


def two_heads(loss_weights, loss="mse", rate=0.25, **arguments):
    inputs = keras.Input((1,))
    model = keras.Model(inputs, {n: head(n)(inputs) for n in ("a", "b")})
    model.compile(keras.optimizers.SGD(rate), loss, loss_weights, **arguments)
    return model


def one_head(loss_weights, rate=0.25, **arguments):
    model = keras.Sequential([keras.Input((1,)), head("only")])
    model.compile(keras.optimizers.SGD(rate), "mse", loss_weights, **arguments)
    return model


def labels(rows=4):
    return {name: np.zeros((rows, 1), "float32") for name in ("a", "b")}


def train(model, y, **arguments):
    """What `train_on_batch` returns for a batch of ones."""
    # Before Keras 3.15, it averages over all batches since then.
    model.reset_metrics()
    return model.train_on_batch(ONES, y, **arguments)


def evaluate(model, y, **arguments):
    """What `test_on_batch` returns for a batch of ones."""
    model.reset_metrics()
    return model.test_on_batch(ONES, y, **arguments)


def kernels(model):
    return [np.ravel(weight).tolist() for weight in model.get_weights()]


class Assign(keras.callbacks.Callback):
    """Assigns what a function of the epoch, or of the batch, returns."""

    def __init__(self, variable, at_epoch=None, at_batch=None):
        super().__init__()
        self.variable = variable
        self.at_epoch = at_epoch
        self.at_batch = at_batch

    def on_epoch_begin(self, epoch, logs=None):
        if self.at_epoch:
            self.variable.assign(self.at_epoch(epoch))

    def on_train_batch_begin(self, batch, logs=None):
        if self.at_batch:
            self.variable.assign(self.at_batch(batch))


# 1. Each step reads the current value.

FORMS = {
    "list": lambda weight: [weight, 1.0],
    "tuple": lambda weight: (weight, 1.0),
    "dict": lambda weight: {"b": 1.0, "a": weight},
    "only_one": lambda weight: {"a": weight},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_an_assignment_changes_the_next_step(form, mode):
    weight = keras.Variable(1.0)
    model = two_heads(FORMS[form](weight), **MODES[mode])
    logs = train(model, labels(), return_dict=True)
    assert logs == {"loss": 2.0, "a_loss": 1.0, "b_loss": 1.0}
    # Both kernels: 1 - 0.25 * 2.
    assert kernels(model) == [[0.5], [0.5]]
    weight.assign(2.0)
    logs = train(model, labels(), return_dict=True)
    assert logs == {"loss": 0.75, "a_loss": 0.25, "b_loss": 0.25}
    # 0.5 - 0.25 * 2 * 2 * 0.5 and 0.5 - 0.25 * 2 * 0.5.
    assert kernels(model) == [[0.0], [0.25]]
    weight.assign(-3.0)
    model.set_weights([np.ones((1, 1)), np.ones((1, 1))])
    logs = evaluate(model, labels(), return_dict=True)
    assert logs == {"loss": -2.0, "a_loss": 1.0, "b_loss": 1.0}
    assert model.evaluate(ONES, labels(), verbose=0)[0] == -2.0
    assert float(weight) == -3.0


@pytest.mark.parametrize("mode", MODES)
def test_single_output(mode):
    weight = keras.Variable(1.0)
    model = one_head(weight, **MODES[mode])
    assert train(model, ZEROS) == 1.0
    weight.assign(2.0)
    assert train(model, ZEROS) == 0.5
    assert kernels(model) == [[0.0]]
    model.set_weights([np.ones((1, 1))])
    weight.assign(8.0)
    assert model.evaluate(ONES, ZEROS, verbose=0) == 8.0


def test_one_variable_for_all_outputs():
    weight = keras.Variable(1.0)
    model = two_heads(weight)
    assert train(model, labels())[0] == 2.0
    weight.assign(2.0)
    assert train(model, labels())[0] == 1.0
    assert kernels(model) == [[0.0], [0.0]]


@pytest.mark.parametrize("mode", MODES)
def test_assignments_between_epochs(mode):
    weight = keras.Variable(100.0)
    model = two_heads([weight, 1.0], rate=0.0, **MODES[mode])
    history = model.fit(
        ONES,
        labels(),
        # Two batches, of 3 samples and of 1.
        batch_size=3,
        epochs=3,
        callbacks=[Assign(weight, at_epoch=lambda epoch: 2.0**epoch)],
        validation_data=(2 * ONES, labels()),
        verbose=0,
    ).history
    assert history["a_loss"] == history["b_loss"] == [1.0, 1.0, 1.0]
    assert history["loss"] == [2.0, 3.0, 5.0]
    assert history["val_loss"] == [8.0, 12.0, 20.0]


@pytest.mark.parametrize("eagerly", [False, True])
def test_assignments_between_batches(eagerly):
    weight = keras.Variable(100.0)
    model = two_heads([weight, 1.0], rate=0.0, run_eagerly=eagerly)
    x = np.arange(4, dtype="float32").reshape(4, 1)
    history = model.fit(
        x,
        labels(),
        batch_size=1,
        shuffle=False,
        callbacks=[Assign(weight, at_batch=float)],
        verbose=0,
    ).history
    # (0 + 1 + 4 + 9) / 4, and (0 * 0 + 1 * 1 + 2 * 4 + 3 * 9) / 4 more.
    assert history == {"loss": [12.5], "a_loss": [3.5], "b_loss": [3.5]}


def test_100_assignments_trace_nothing():
    calls = []

    def squares(y_true, y_pred):
        calls.append(None)
        return keras.ops.square(y_pred)

    weight = keras.Variable(1.0)
    model = two_heads([weight, 1.0], squares, rate=0.0)
    for _ in range(2):
        train(model, labels())
        evaluate(model, labels())
    before = len(calls)
    for step in range(100):
        weight.assign(float(step))
        assert train(model, labels())[0] == step + 1
        assert evaluate(model, labels())[0] == step + 1
    # PyTorch calls both losses at each step, as there is nothing to trace.
    expected = 2 * 200 if BACKEND == "torch" else 0
    assert len(calls) - before == expected


def test_two_models_with_one_variable():
    weight = keras.Variable(2.0)
    models = [two_heads([weight, 1.0]), one_head(weight)]
    assert train(models[0], labels())[0] == 3.0
    assert train(models[1], ZEROS) == 2.0
    weight.assign(4.0)
    # Kernels are 1 - 0.25 * 2 * 2 = 0, 0.5, and 0.
    assert train(models[0], labels())[0] == 0.25
    for model in models:
        model.set_weights([np.ones_like(w) for w in model.get_weights()])
    assert models[0].evaluate(ONES, labels(), verbose=0)[0] == 5.0
    assert models[1].evaluate(ONES, ZEROS, verbose=0) == 4.0


@pytest.mark.parametrize("dtype", ["int32", "bfloat16", "float16", "float64"])
def test_variables_of_other_dtypes(dtype):
    # PyTorch has no integers that could be trained.
    weight = keras.Variable(3, dtype=dtype, trainable=False)
    model = two_heads([weight, 1.0])
    assert train(model, labels())[0] == 4.0
    weight.assign(2)
    assert evaluate(model, labels())[0] == 2 * 0.25 + 0.25


# 2. A weight is no part of the model.


def test_a_weight_is_neither_trained_nor_reset_nor_shown():
    weight = keras.Variable(2.0, name="weight_of_a")
    model = two_heads([weight, 1.0], rate=0.125)
    model.fit(ONES, labels(), epochs=2, verbose=0)
    model.reset_metrics()
    assert float(weight) == 2.0
    assert [metric.name for metric in model.metrics] == [
        "loss",
        "a_loss",
        "b_loss",
    ]
    known = [
        *model.variables,
        *model.metrics_variables,
        *model.optimizer.variables,
    ]
    assert all(variable is not weight for variable in known)


def test_a_weight_that_the_user_made_part_of_the_model():
    """It is saved with the model, and not trained unless it is to be."""
    weight = keras.Variable(2.0, trainable=False)
    model = two_heads([weight, 1.0], rate=0.125)
    model.weight_of_a = weight
    # The optimizer is to know of it, too.
    model.compile(keras.optimizers.SGD(0.125), "mse", [weight, 1.0])
    assert any(variable is weight for variable in model.weights)
    assert train(model, labels())[0] == 3.0
    assert float(weight) == 2.0
    weight.assign(4.0)
    # Kernels are 1 - 0.125 * 2 * 2 and 1 - 0.125 * 2.
    assert evaluate(model, labels())[0] == 4 * 0.25 + 0.5625


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_saving_writes_the_current_value(tmp_path, suffix):
    weight = keras.Variable(1.0)
    model = two_heads({"a": weight, "b": 0.5})
    train(model, labels())
    weight.assign(8.0)
    model.set_weights([np.ones((1, 1)), np.ones((1, 1))])
    model.save(tmp_path / f"model{suffix}")
    loaded = keras.models.load_model(tmp_path / f"model{suffix}")
    for each in (model, loaded):
        logs = each.evaluate(ONES, labels(), verbose=0, return_dict=True)
        assert logs == {"loss": 8.5, "a_loss": 1.0, "b_loss": 1.0}
    # The model that was saved still follows its variable.
    weight.assign(1.0)
    assert model.evaluate(ONES, labels(), verbose=0)[0] == 1.5


def test_the_compile_config_is_plain():
    weights = [keras.Variable(2.0), keras.ops.convert_to_tensor(3.0)]
    config = two_heads(weights).get_compile_config()
    assert json.loads(json.dumps(config["loss_weights"])) == [2.0, 3.0]
    model = two_heads(None)
    model.compile_from_config(config)
    assert model.evaluate(ONES, labels(), verbose=0)[0] == 5.0


# 3. Contributions in the logs.


def contributions():
    return keras.callbacks.LossContributions()


@pytest.mark.parametrize("mode", ["default", "eager"])
def test_contributions_under_weights_that_move_in_an_epoch(mode):
    weight = keras.Variable(100.0)
    model = two_heads([weight, 0.5], rate=0.0, **MODES[mode])
    x = np.arange(5, dtype="float32").reshape(5, 1)
    history = model.fit(
        x,
        labels(5),
        # Of 2, 2 and 1 samples.
        batch_size=2,
        epochs=2,
        shuffle=False,
        callbacks=[contributions(), Assign(weight, at_batch=lambda b: 2.0**b)],
        validation_data=(x[1:3], labels(2)),
        verbose=0,
    ).history
    # The weights 1, 2 and 4; the sums of squares 1, 13 and 16.
    raw, mean_weight, contribution = 30 / 5, 10 / 5, (1 + 26 + 64) / 5
    expected = {
        "loss": contribution + 0.5 * raw,
        "a_loss": raw,
        "a_weight": mean_weight,
        "a_contribution": contribution,
        "b_loss": raw,
        "b_weight": 0.5,
        "b_contribution": 0.5 * raw,
        # After the last batch, the weight is 4.
        "val_loss": 4 * 2.5 + 0.5 * 2.5,
        "val_a_loss": 2.5,
        "val_a_weight": 4.0,
        "val_a_contribution": 4 * 2.5,
        "val_b_loss": 2.5,
        "val_b_weight": 0.5,
        "val_b_contribution": 0.5 * 2.5,
    }
    assert set(history) == set(expected)
    for name, value in expected.items():
        # A fifth is rounded to float32.
        np.testing.assert_allclose(history[name], [value] * 2, rtol=1e-6)


def test_contributions_of_fixed_weights_and_several_losses():
    model = two_heads({"a": 4.0}, {"a": ["mse", "mae"], "b": "mse"}, rate=0.0)
    logs = model.fit(
        2 * ONES, labels(), callbacks=[contributions()], verbose=0
    ).history
    assert logs == {
        "loss": [4 * 4.0 + 4 * 2.0 + 4.0],
        "a_mse_loss": [4.0],
        "a_mae_loss": [2.0],
        "b_loss": [4.0],
        "a_mse_contribution": [16.0],
        "a_mse_weight": [4.0],
        "a_mae_contribution": [8.0],
        "a_mae_weight": [4.0],
        "b_contribution": [4.0],
        "b_weight": [1.0],
    }


def test_contribution_of_a_single_loss():
    model = one_head(keras.Variable(2.0), rate=0.0)
    history = model.fit(
        ONES, ZEROS, callbacks=[contributions()], verbose=0
    ).history
    assert history == {
        "loss": [2.0],
        # A `Sequential` has no names of outputs.
        "mse_loss": [1.0],
        "mse_weight": [2.0],
        "mse_contribution": [2.0],
    }


# 4. Callbacks that watch moving weights.


def anneal(weight):
    """Halves the weight of `a` from 1, epoch by epoch."""
    return Assign(weight, at_epoch=lambda epoch: 0.5**epoch)


def still(weight, **arguments):
    return two_heads([weight, 1.0], rate=0.0, **arguments)


@pytest.mark.parametrize(
    "monitor, epochs",
    [
        # The total falls from 2 to 1 + 1/16, and the contribution, too.
        ("loss", 5),
        ("a_contribution", 5),
        # The raw loss stays at 1: nothing has improved after the first epoch.
        ("a_loss", 2),
        ("val_a_loss", 2),
    ],
)
def test_early_stopping(monitor, epochs):
    weight = keras.Variable(1.0)
    history = (
        still(weight)
        .fit(
            ONES,
            labels(),
            epochs=5,
            callbacks=[
                contributions(),
                anneal(weight),
                keras.callbacks.EarlyStopping(monitor, patience=1),
            ],
            validation_data=(ONES, labels()),
            verbose=0,
        )
        .history
    )
    assert len(history["loss"]) == epochs
    expected = [1 + 0.5**epoch for epoch in range(epochs)]
    assert history["loss"] == expected


def test_reduce_lr_on_plateau():
    weight = keras.Variable(1.0)
    model = two_heads([weight, 1.0], rate=0.0)
    model.optimizer.learning_rate = 2.0**-40
    model.fit(
        ONES,
        labels(),
        epochs=3,
        callbacks=[
            anneal(weight),
            # The raw loss has not improved in the second and third epoch.
            keras.callbacks.ReduceLROnPlateau(
                "a_loss", factor=0.5, patience=1, min_lr=0.0
            ),
        ],
        verbose=0,
    )
    assert float(model.optimizer.learning_rate) == 2.0**-42


def test_model_checkpoint(tmp_path):
    weight = keras.Variable(1.0)
    for monitor, saved in {"loss": [1, 2, 3], "a_loss": [1]}.items():
        folder = tmp_path / monitor
        still(weight).fit(
            ONES,
            labels(),
            epochs=3,
            callbacks=[
                anneal(weight),
                keras.callbacks.ModelCheckpoint(
                    str(folder / "{epoch}.keras"),
                    monitor=monitor,
                    save_best_only=True,
                ),
            ],
            verbose=0,
        )
        names = sorted(file.stem for file in folder.iterdir())
        assert names == [str(epoch) for epoch in saved]
        # As at the end of that epoch.
        loaded = keras.models.load_model(folder / f"{saved[-1]}.keras")
        total = loaded.evaluate(ONES, labels(), verbose=0)[0]
        assert total == 1 + 0.5 ** (saved[-1] - 1)


def test_csv_logger(tmp_path):
    weight = keras.Variable(1.0)
    file = tmp_path / "log.csv"
    still(weight).fit(
        ONES,
        labels(),
        epochs=2,
        callbacks=[
            contributions(),
            anneal(weight),
            keras.callbacks.CSVLogger(str(file)),
        ],
        verbose=0,
    )
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == [2.0, 1.5]
    assert [float(row["a_loss"]) for row in rows] == [1.0, 1.0]
    assert [float(row["a_weight"]) for row in rows] == [1.0, 0.5]
    assert [float(row["a_contribution"]) for row in rows] == [1.0, 0.5]


def scalars(folder):
    """What TensorBoard would show: `{tag: [value of each step]}`."""
    import tensorflow as tf

    found = {}
    for file in sorted(pathlib.Path(folder).glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                number = tf.make_ndarray(value.tensor)
                if number.ndim == 0 and number.dtype.kind == "f":
                    found.setdefault(value.tag, []).append(float(number))
    return found


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorflow")
    pytest.importorskip("tensorboard")
    weight = keras.Variable(1.0)
    still(weight).fit(
        ONES,
        labels(),
        epochs=3,
        callbacks=[
            contributions(),
            anneal(weight),
            keras.callbacks.TensorBoard(str(tmp_path)),
        ],
        validation_data=(2 * ONES, labels()),
        verbose=0,
    )
    train = scalars(tmp_path / "train")
    assert train["epoch_loss"] == [2.0, 1.5, 1.25]
    assert train["epoch_a_loss"] == [1.0, 1.0, 1.0]
    assert train["epoch_a_weight"] == [1.0, 0.5, 0.25]
    assert train["epoch_a_contribution"] == [1.0, 0.5, 0.25]
    validation = scalars(tmp_path / "validation")
    assert validation["epoch_a_loss"] == [4.0, 4.0, 4.0]
    assert validation["epoch_a_contribution"] == [4.0, 2.0, 1.0]


class Stop(keras.callbacks.Callback):
    """Ends the training as a power cut would."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_a_resumed_annealing_is_an_uninterrupted_one(tmp_path):
    def train(*more):
        weight = keras.Variable(1.0)
        model = two_heads([weight, 1.0], rate=0.125)
        callbacks = [contributions(), anneal(weight), *more]
        history = model.fit(
            ONES, labels(), epochs=4, callbacks=callbacks, verbose=0
        )
        return history.history, kernels(model)

    def backup():
        return keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))

    whole, kernels_of_whole = train()
    with pytest.raises(KeyboardInterrupt):
        train(backup(), Stop())
    resumed, kernels_of_resumed = train(backup())
    # 1 - 2 * 0.125 * weight is 3/4, 7/8, 15/16 and 31/32.
    kernel = np.cumprod([1.0, 3 / 4, 7 / 8, 15 / 16, 31 / 32])
    assert kernels_of_whole[0] == kernels_of_resumed[0] == [kernel[-1]]
    assert whole["a_loss"] == (kernel[:4] ** 2).tolist()
    assert set(resumed) == set(whole)
    for name, values in whole.items():
        assert resumed[name] == values[2:], name
