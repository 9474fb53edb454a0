"""What the edits to upstream's trainers, adapters and saving are for.

A test, or a set of parameters, for each way in which stock Keras gets it
wrong. All models are linear with known kernels, so that the numbers can be
found by hand; a comment says how.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import keras
import pip_build
from integration_tests.support import checkout_finder
from keras.src import losses as losses_module

BACKEND = keras.backend.backend()
only_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="about TensorFlow's trainer"
)


def linear(kernel=1.0, regularizer=None):
    """A model that multiplies by `kernel`."""
    return keras.Sequential(
        [
            keras.Input((None, 1) if kernel is None else (1,)),
            keras.layers.Dense(
                1,
                use_bias=False,
                kernel_initializer=keras.initializers.Constant(kernel or 1.0),
                kernel_regularizer=regularizer,
            ),
        ]
    )


def two_headed(kernels=(1.0, 2.0)):
    """A model with the outputs `z` and `a`, which multiply by `kernels`."""
    inputs = keras.Input((1,))
    return keras.Model(
        inputs,
        [
            keras.layers.Dense(
                1,
                use_bias=False,
                kernel_initializer=keras.initializers.Constant(kernel),
                name=name,
            )(inputs)
            for name, kernel in zip("za", kernels)
        ],
    )


def still(model, loss="mse", **arguments):
    """Compiles a model to be trained without being changed."""
    model.compile(keras.optimizers.SGD(0.0), loss=loss, **arguments)
    return model


def column(*values):
    return np.array(values, "float32").reshape(-1, 1)


class OneBatch(keras.utils.PyDataset):
    """The same batch, `length` times."""

    def __init__(self, *batch, length=1):
        super().__init__()
        self.batch = batch
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.batch


# 1. The end of data of unknown length.


def batches(static, rows=8):
    """Rows of (1, 0) in batches of 4, and nobody knows how many."""
    tf = pytest.importorskip("tensorflow")

    data = np.ones((rows, 1), "float32"), np.zeros((rows, 1), "float32")
    dataset = tf.data.Dataset.from_tensor_slices(data)
    dataset = dataset.batch(4, drop_remainder=static)
    return dataset.filter(lambda *batch: True)


@only_tensorflow
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("static", [False, True])
def test_no_step_without_data(static, steps):
    model = linear()
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.5),
        loss="mse",
        steps_per_execution=steps,
    )
    model.fit(batches(static), epochs=3, verbose=0)
    # 2 batches an epoch. The loss is kernel^2, its gradient 2 * kernel.
    assert int(model.optimizer.iterations) == 6
    kernel, velocity = 1.0, 0.0
    for step in range(6):
        velocity = 0.5 * velocity - 0.1 * 0.5**step * 2 * kernel
        kernel += velocity
    found = model.layers[-1].kernel.numpy().item()
    np.testing.assert_allclose(found, kernel, rtol=1e-5)


@only_tensorflow
@pytest.mark.parametrize("static", [False, True])
def test_no_batch_without_data(static):
    model = still(linear(2.0), metrics=["mae"])
    # Each prediction is 2, each label 0.
    logs = model.evaluate(batches(static), verbose=0, return_dict=True)
    assert logs == {"loss": 4.0, "mae": 2.0}
    history = model.fit(batches(static), epochs=2, verbose=0).history
    assert history == {"loss": [4.0, 4.0], "mae": [2.0, 2.0]}


@only_tensorflow
@pytest.mark.parametrize("eagerly", [False, True])
def test_step_that_reads_no_data(eagerly):
    """Where the data ends, not even this is run."""
    import tensorflow as tf

    class Copying(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.source = self.add_weight(initializer="ones", trainable=False)
            self.target = self.add_weight(initializer="zeros", trainable=False)

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            logs = super().train_step(data)
            self.target.assign(self.source)
            return logs

    model = Copying()
    model.compile("sgd", loss="mse", run_eagerly=eagerly)
    model.fit(batches(False), verbose=0)
    assert float(model.target) == 1.0
    model.target.assign(0.0)
    with pytest.raises(tf.errors.OutOfRangeError):
        model.train_function(iter(batches(False).take(0)))
    assert float(model.target) == 0.0


# 2. Compiling again.


def test_no_loss_any_more():
    model = linear(2.0, keras.regularizers.L2(0.5))
    still(model)
    x, y = column(1, 1), column(0, 0)
    # (2 - 0)^2 + 0.5 * 2^2
    assert model.evaluate(x, y, verbose=0) == 6.0
    still(model, loss=None)
    assert model.evaluate(x, y, verbose=0) == 2.0
    assert model.fit(x, y, verbose=0).history == {"loss": [2.0]}


def test_no_metrics_any_more():
    model = still(linear(), metrics=["mae"], weighted_metrics=["mse"])
    x, y = column(1, 1), column(0, 0)
    model.fit(x, y, verbose=0)
    still(model)
    assert model.fit(x, y, verbose=0).history == {"loss": [1.0]}
    assert model.metrics_names == ["loss"]


def test_refused_compile_changes_nothing():
    model = still(linear(), metrics=["mae"])
    with pytest.raises(ValueError):
        model.compile("adam", loss="no such loss")
    logs = model.evaluate(column(1), column(0), verbose=0, return_dict=True)
    assert logs == {"loss": 1.0, "mae": 1.0}


def test_total_is_summed_up_widely():
    floatx = keras.config.floatx()
    keras.config.set_floatx("bfloat16")
    try:
        model = still(linear(2.0))
        # 300 batches of one sample with the loss 0, and 300 with 2^2.
        x = column(*[0] * 300, *[1] * 300)
        loss = model.evaluate(x, 0 * x, batch_size=1, verbose=0)
    finally:
        keras.config.set_floatx(floatx)
    np.testing.assert_allclose(loss, 2.0, rtol=1e-6)


# 3. The list that `evaluate` returns.


class Extremes(keras.metrics.Metric):
    """A metric with two results."""

    def update_state(self, *args, **kwargs):
        pass

    def result(self):
        return {"low": -1.0, "high": 1.0}


class WithOwnMetric(keras.Model):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.extremes = Extremes()


@pytest.mark.parametrize("own", [False, True])
def test_metrics_names(own):
    model = two_headed()
    if own:
        model = WithOwnMetric(model.inputs, model.outputs)
    still(
        model,
        metrics={"z": ["mse", "mae"], "a": ["mae"]},
        weighted_metrics={"z": ["mae"]},
    )
    x, y = column(1, 1), [column(0, 0), column(0, 0)]
    # z is 1, a is 2. What no metric is called on its own comes last, sorted.
    expected = {"loss": 5.0, "z_loss": 1.0, "a_loss": 4.0, "a_mae": 2.0}
    if own:
        expected |= {"high": 1.0, "low": -1.0}
    expected |= {"z_mae": 1.0, "z_mse": 1.0, "z_weighted_mae": 1.0}
    values = model.evaluate(x, y, verbose=0)
    assert model.metrics_names == list(expected)
    assert values == list(expected.values())
    assert model.test_on_batch(x, y) == values
    assert model.train_on_batch(x, y) == values


def test_metrics_names_of_one_output():
    model = still(linear(2.0), metrics=["mae", "mse"])
    values = model.evaluate(column(1), column(0), verbose=0)
    assert model.metrics_names == ["loss", "mae", "mse"]
    assert values == [4.0, 2.0, 4.0]


# 4. Labels in lists.


def generated(x, labels):
    for _ in range(2):
        yield x, labels


def as_py_dataset(x, labels):
    return OneBatch(x, labels, length=2)


def as_data_loader(x, labels):
    data = pytest.importorskip("torch").utils.data

    class Rows(data.Dataset):
        def __len__(self):
            return 2 * len(x)

        def __getitem__(self, index):
            row = index % len(x)
            return x[row], [label[row] for label in labels]

    # The default collation makes lists of what is a list or a tuple.
    return data.DataLoader(Rows(), batch_size=len(x))


@pytest.mark.parametrize("source", [generated, as_py_dataset, as_data_loader])
def test_labels_in_a_list(source):
    model = still(two_headed())
    x = column(1, 2)
    y = [column(0, 0), column(1, 1)]
    # z: (1 + 4) / 2; a: (1^2 + 3^2) / 2.
    expected = {"loss": 7.5, "z_loss": 2.5, "a_loss": 5.0}
    logs = model.evaluate(source(x, y), verbose=0, return_dict=True)
    assert logs == expected
    history = model.fit(source(x, y), verbose=0).history
    assert history == {name: [value] for name, value in expected.items()}


@pytest.mark.skipif(
    BACKEND != "torch" and not pip_build.is_on_head(),
    reason="up to 3.15.1, the adapter makes a tuple of each batch, as stock",
)
def test_data_loader_without_labels():
    """Batches that are one tensor, not a list."""
    data = pytest.importorskip("torch").utils.data
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    batches = data.DataLoader(column(1, 2, 3), batch_size=2)
    expected = model.predict(column(1, 2, 3), verbose=0)
    found = model.predict(batches, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# 5. Class weights. Errors of 1 for the class 0 and of 2 for the class 1.

X, Y = column(1, 3), column(0, 1)
# (1 * 1 + 10 * 4) / 2
WEIGHTS, WEIGHTED = {0: 1.0, 1: 10.0}, 20.5


def test_class_weight_and_a_label_in_a_list():
    model = still(linear())
    data = OneBatch(X, [Y])
    history = model.fit(data, class_weight=WEIGHTS, verbose=0).history
    assert history["loss"] == [WEIGHTED]
    history = model.fit(X, [Y], class_weight=WEIGHTS, verbose=0).history
    assert history["loss"] == [WEIGHTED]


@pytest.mark.parametrize("one_hot", [False, True])
def test_class_weight_without_all_classes(one_hot):
    tf = pytest.importorskip("tensorflow")
    model = still(linear())
    x, y = X, Y
    # (3 * 1 + 1 * 4) / 2
    expected = 3.5
    if one_hot:
        model = still(
            keras.Sequential(
                [
                    keras.Input((1,)),
                    keras.layers.Dense(2, kernel_initializer="ones"),
                ]
            )
        )
        y = np.array([[1, 0], [0, 1]], "float32")
        # Both predictions are x: 3 * (0 + 1) / 2 and 1 * (9 + 4) / 2.
        expected = (1.5 + 6.5) / 2
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    history = model.fit(data, class_weight={0: 3.0}, verbose=0).history
    assert history["loss"] == [expected]


def test_class_weight_for_each_timestep():
    model = still(linear(None))
    x = np.array([[[1], [3]], [[2], [2]]], "float32")
    y = np.array([[[0], [1]], [[1], [0]]], "float32")
    # (1 * 1 + 10 * 4 + 10 * 1 + 1 * 4) / 4
    expected = 13.75
    history = model.fit(x, y, class_weight=WEIGHTS, verbose=0).history
    assert history["loss"] == [expected]
    history = model.fit(OneBatch(x, y), class_weight=WEIGHTS, verbose=0).history
    assert history["loss"] == [expected]
    assert model.train_on_batch(x, y, class_weight=WEIGHTS) == expected


def test_class_weight_for_two_outputs():
    model = still(two_headed())
    for train in (
        lambda: model.fit(OneBatch(X, [Y, Y]), class_weight=WEIGHTS, verbose=0),
        lambda: model.train_on_batch(X, [Y, Y], class_weight=WEIGHTS),
    ):
        with pytest.raises(ValueError, match="labels of 2 outputs"):
            train()


# 6. Sample weights by name.


@pytest.mark.parametrize("container", [list, tuple])
def test_dict_of_sample_weights(container):
    model = still(two_headed())
    x, y = column(1, 2), container([column(0, 0), column(1, 1)])
    weights = {"a": np.array([3, 1], "float32")}
    # z: (1 + 4) / 2; a: (3 * 1^2 + 1 * 3^2) / 2.
    expected = {"loss": 8.5, "z_loss": 2.5, "a_loss": 6.0}
    history = model.fit(x, y, sample_weight=weights, verbose=0).history
    assert history == {name: [value] for name, value in expected.items()}
    logs = model.evaluate(
        x, y, sample_weight=weights, verbose=0, return_dict=True
    )
    assert logs == expected


@pytest.mark.parametrize("wrap", [lambda y: [y], lambda y: {"z": y}])
def test_weights_of_timesteps_for_a_label_in_a_container(wrap):
    layer = keras.layers.Dense(
        1, use_bias=False, kernel_initializer="ones", name="z"
    )
    inputs = keras.Input((2, 1))
    model = still(keras.Model(inputs, layer(inputs)))
    x = np.array([[[1], [2]], [[3], [4]]], "float32")
    weights = np.array([[1, 2], [3, 4]], "float32")
    y = wrap(np.zeros_like(x))
    loss = model.evaluate(x, y, sample_weight=weights, verbose=0)
    # (1 * 1 + 2 * 4 + 3 * 9 + 4 * 16) / 4
    assert loss == 25.0


def test_unknown_name_of_a_sample_weight():
    model = still(two_headed())
    with pytest.raises(ValueError, match="sample_weight"):
        model.fit(X, [Y, Y], sample_weight={"b": np.ones(2)}, verbose=0)


# 7. No samples.

EMPTY = np.zeros((0, 1), "float32")


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_empty_arrays(method):
    model = still(linear())
    with pytest.raises(ValueError, match="holds no samples"):
        getattr(model, method)(EMPTY, EMPTY, verbose=0)


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
def test_empty_batch(method, built):
    model = linear()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss="mse")
    if built:
        # Of several sizes: TensorFlow then forgets about sizes.
        for rows in (1, 2, 3):
            model.train_on_batch(np.ones((rows, 1)), np.ones((rows, 1)))
    kernel = model.get_weights()[0]
    with pytest.raises(ValueError, match="holds no samples"):
        getattr(model, method)(EMPTY, EMPTY)
    np.testing.assert_array_equal(model.get_weights()[0], kernel)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
@pytest.mark.parametrize("built", [False, True])
def test_empty_data_of_unknown_length(method, built):
    tf = pytest.importorskip("tensorflow")
    model = still(linear())
    if built:
        model.train_on_batch(X, Y)
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(2)
    data = data.filter(lambda *batch: False)
    with pytest.raises(ValueError, match="holds no samples"):
        getattr(model, method)(data, verbose=0)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_empty_py_dataset(method):
    model = still(linear())
    data = OneBatch(X, Y, length=0)
    # With TensorFlow, it is upstream that refuses it.
    message = "length 0" if BACKEND == "tensorflow" else "holds no samples"
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(data, verbose=0)


def test_data_that_ends_early_is_only_warned_about():
    model = still(linear())
    with pytest.warns(UserWarning, match="ran out of data"):
        history = model.fit(
            generated(X, Y), steps_per_epoch=5, verbose=0
        ).history
    assert history["loss"] == [2.5]


def test_no_samples_to_predict_on_are_no_error():
    model = still(linear())
    assert model.predict_on_batch(EMPTY).shape == (0, 1)


# 8. Saving.


def after_loading(model, folder, suffix="keras"):
    file = os.path.join(folder, f"model.{suffix}")
    model.save(file)
    return keras.models.load_model(file)


def cosine(y_true, y_pred, axis):
    """Minus the mean cosine of the angles between vectors along `axis`."""
    y_true, y_pred = (
        values / np.linalg.norm(values, axis=axis, keepdims=True)
        for values in (y_true, y_pred)
    )
    return -np.sum(y_true * y_pred, axis=axis).mean()


LABELS = np.array([[1, 2], [3, -4]], "float32")
PREDICTIONS = np.array([[2, 7], [3, 1]], "float32")


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # Errors of 1, 5, 0 and 5: 0.5 * (1 + 25 + 0 + 25) / 4.
        (losses_module.Huber(delta=5.0), 6.375),
        # 0.5 * 1 for the error of 1, 5 - 0.5 for each of 5.
        (losses_module.Huber(), 2.375),
        (
            losses_module.CosineSimilarity(axis=0),
            cosine(LABELS, PREDICTIONS, 0),
        ),
        (losses_module.CosineSimilarity(), cosine(LABELS, PREDICTIONS, 1)),
    ],
)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_saved_loss(loss, expected, suffix, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(
                2, kernel_initializer="identity", use_bias=False
            ),
        ]
    )
    still(model, loss=loss)
    for one in (model, after_loading(model, tmp_path, suffix)):
        found = one.evaluate(PREDICTIONS, LABELS, verbose=0)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


NOT_DEFAULTS = {
    "alpha": 0.3,
    "apply_class_balancing": True,
    "axis": -2,
    "beta": 0.7,
    "delta": 5.0,
    "from_logits": True,
    "gamma": 3.0,
    "ignore_class": 3,
    "label_smoothing": 0.1,
    "margin": 0.1,
    "q": 0.3,
    "reduction": "sum",
    "remove_diagonal": False,
}


@pytest.mark.parametrize(
    "cls",
    [
        cls
        for cls in sorted(losses_module.ALL_OBJECTS, key=lambda o: o.__name__)
        if isinstance(cls, type) and cls.__init__ is not object.__init__
        if cls.__name__ not in ("Loss", "LossFunctionWrapper")
    ],
)
def test_config_of_every_loss(cls):
    names = cls.__init__.__code__.co_varnames[
        1 : cls.__init__.__code__.co_argcount
    ]
    arguments = {n: NOT_DEFAULTS[n] for n in names if n in NOT_DEFAULTS}
    assert set(names) - set(arguments) <= {"name", "dtype"}
    loaded = keras.losses.deserialize(keras.losses.serialize(cls(**arguments)))
    # Upstream's tests pin that `get_config` of CosineSimilarity lacks `axis`.
    config = keras.losses.serialize(loaded)["config"]
    assert {name: config[name] for name in arguments} == arguments


@pytest.mark.parametrize(
    "arguments",
    [
        {"loss": "mse"},
        {"loss": "mse", "metrics": ["mse", "accuracy"]},
        {"loss": "mae", "weighted_metrics": ["mae"]},
        {"loss": ["mse", "mae"], "metrics": [["mae"], ["mse"]]},
        {"loss": {"z": "mse", "a": "huber"}, "loss_weights": {"z": 2.0}},
    ],
)
def test_h5(arguments, tmp_path):
    has_two = not isinstance(arguments["loss"], str)
    model = two_headed() if has_two else linear()
    y = [Y, Y] if has_two else Y
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), **arguments)
    model.fit(X, y, verbose=0)
    loaded = after_loading(model, tmp_path, "h5")
    again = after_loading(model, tmp_path, "keras")
    for one in (loaded, again):
        assert one.evaluate(X, y, verbose=0, return_dict=True) == pytest.approx(
            model.evaluate(X, y, verbose=0, return_dict=True), rel=1e-6
        )
    for one in (model, loaded, again):
        # The momentum of the first step shows in the second one.
        one.fit(X, y, verbose=0)
        for ours, first in zip(one.get_weights(), model.get_weights()):
            np.testing.assert_allclose(ours, first, rtol=1e-5)


# 9. Replicas.

REPLICAS = """
import json
import sys

import numpy as np
import tensorflow as tf

import keras

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(
                1,
                use_bias=False,
                kernel_initializer="ones",
                kernel_regularizer=keras.regularizers.L2(0.5),
            ),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), loss="mse", metrics=["mae"])
x = np.arange(12, dtype="float32").reshape(12, 1)
found = [model.fit(x, 0 * x, batch_size=5, verbose=0).history["loss"][0]]
found += model.evaluate(x, 0 * x, batch_size=5, verbose=0)
with model.distribute_strategy.scope():
    model.compile(keras.optimizers.SGD(0.001), loss="mse")
history = model.fit(
    x, 0 * x, batch_size=5, epochs=2, shuffle=False, verbose=0
).history
found += [float(model.get_weights()[0][0, 0]), *history["loss"]]

# Of unknown length: three batches, of 5, 5 and 2 rows.
with model.distribute_strategy.scope():
    model.compile(keras.optimizers.SGD(0.0), loss="mse")
model.set_weights([np.ones((1, 1))])
data = tf.data.Dataset.from_tensor_slices((x, 0 * x)).batch(5)
data = data.filter(lambda *batch: True)
model.fit(data, epochs=2, verbose=0)
found += [int(model.optimizer.iterations.numpy())]
found += [model.evaluate(data, verbose=0)]
print(json.dumps(found))
"""


@only_tensorflow
def test_uneven_replicas(tmp_path, request):
    script = tmp_path / "replicas.py"
    script.write_text(REPLICAS, encoding="utf-8")
    stock = ["--stock"] if request.config.getoption("--stock") else []
    answer = subprocess.run(
        [sys.executable, checkout_finder.__file__, *stock, script],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    # The means of the squares and of the numbers from 0 to 11.
    expected = [506 / 12 + 0.5, 506 / 12 + 0.5, 5.5]
    # Two epochs of gradient descent on mean((k * x) ** 2) + 0.5 * k ** 2.
    kernel, losses = 1.0, []
    for _ in range(2):
        total = 0.0
        for batch in np.split(np.arange(12.0), [5, 10]):
            loss = np.mean((kernel * batch) ** 2) + 0.5 * kernel**2
            total += len(batch) * loss
            kernel -= 0.001 * 2 * loss / kernel
        losses.append(total / 12)
    expected += [kernel, *losses]
    # Two epochs of three steps each.
    expected += [6, 506 / 12 + 0.5]
    found = json.loads(answer.stdout.splitlines()[-1])
    # Six steps in float32.
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# 10. Losses that layers add, and calls of layers in a step.

EAGER_OR_NOT = pytest.mark.parametrize("eagerly", [False, True])


@EAGER_OR_NOT
def test_losses_of_a_layer_used_twice(eagerly):
    """Both count for the total and for the gradient."""
    layer = keras.layers.Dense(
        1,
        use_bias=False,
        kernel_initializer="ones",
        activity_regularizer=keras.regularizers.L1(1.0),
    )
    inputs = keras.Input((1,))
    model = keras.Model(inputs, layer(inputs) + layer(2.0 * inputs))
    model.compile(keras.optimizers.SGD(0.125), "mse", run_eagerly=eagerly)
    x = column(1, 1)
    # The output is 3, and right. The L1 norms over the batch size are 1 and 2,
    # which is the gradient, too.
    assert model.train_on_batch(x, 3 * x) == 3.0
    kernel = keras.ops.convert_to_numpy(layer.kernel).item()
    assert kernel == 1.0 - 0.125 * 3.0


class SharesAnId(keras.layers.Layer):
    """Adds a loss of 1, of an `id` that one of `other` had in a step before.

    Which objects share an `id` is up to Python, as soon as one of them is gone.
    Here they do, if `other` remembers any.
    """

    def __init__(self, other):
        super().__init__()
        # Not as an attribute, which would make it a layer of this one.
        self.ids = lambda: other._loss_ids

    def call(self, x):
        ones = []
        for _ in range(1000):
            ones.append(keras.ops.mean(x) * 0.0 + 1.0)
            if id(ones[-1]) in self.ids():
                break
        self.add_loss(ones[-1])
        return x


@EAGER_OR_NOT
def test_losses_of_an_earlier_step(eagerly):
    """What a layer added to one step takes nothing from the next."""
    other = keras.layers.ActivityRegularization(l1=1.0)
    inputs = keras.Input((1,))
    # The L1 norm over the batch size is 1.
    model = keras.Sequential([inputs, SharesAnId(other), other])
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=eagerly)
    ones = column(1, 1, 1)
    for _ in range(10):
        # Another batch size has compiled steps traced again.
        for size in (3, 2):
            model.reset_metrics()
            assert model.train_on_batch(ones[:size], ones[:size]) == 2.0
            model.reset_metrics()
            assert model.test_on_batch(ones[:size], ones[:size]) == 2.0


class OneMoreInTraining(keras.layers.Layer):
    def call(self, x, training=False):
        return x + 1.0 if training else x


class PassesNothingOn(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = OneMoreInTraining()

    def call(self, x, training=None):
        return self.layer(x)


@EAGER_OR_NOT
def test_training_holds_for_all_layers(eagerly):
    model = PassesNothingOn()
    model.compile(keras.optimizers.SGD(0.0), "mae", run_eagerly=eagerly)
    ones = column(1, 1, 1)
    assert model.train_on_batch(ones, ones) == 1.0
    model.reset_metrics()
    assert model.test_on_batch(ones, ones) == 0.0
    # A step of the user's own calls the model by what `fit` uses on JAX.
    values = [
        [v.value for v in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
        )
    ]
    assert model.stateless_call(*values, ones, training=True)[0][0] == 2.0
