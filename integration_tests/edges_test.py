"""At the edges: class weights, the end of data, odd forms, and saved files.

All models multiply by known kernels, so that the numbers can be found by hand;
a comment says how. Sections and tests that are called *stock right* pass with
`--stock` as well: they are there so that nothing right gets lost.
"""

import collections
import importlib.util
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import keras
import pip_build
from keras.src.trainers.data_adapters import data_adapter_utils

BACKEND = keras.backend.backend()
pytestmark = pytest.mark.filterwarnings("ignore:.*ran out of data")


def dense(kernel=1.0, units=1, **arguments):
    return keras.layers.Dense(
        units,
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(kernel),
        **arguments,
    )


def multiplying(shape=(1,), units=1, kernel=1.0, **arguments):
    """A model of one output, whose last axis holds `units` equal numbers."""
    inputs = keras.Input(shape)
    return keras.Model(inputs, dense(kernel, units, **arguments)(inputs))


def with_heads(pack, kernels=(1.0, 2.0, 3.0)):
    """A model whose outputs `a`, `b` and `c` are x, 2x and 3x.

    Args:
        pack: Called with the outputs; what it leaves out is no output.
        kernels: Other numbers than 1, 2 and 3.
    """
    inputs = keras.Input((1,))
    layers = [dense(k, name=name) for k, name in zip(kernels, "abc")]
    return keras.Model(inputs, pack(*(layer(inputs) for layer in layers)))


def still(model, loss="mse", **arguments):
    """Compiles a model to be trained without being changed."""
    model.compile(keras.optimizers.SGD(0.0), loss=loss, **arguments)
    return model


def column(*values):
    return np.array(values, "float32").reshape(-1, 1)


class Repeated(keras.utils.PyDataset):
    """The same batch, `length` times."""

    def __init__(self, *batch, length=1):
        super().__init__()
        self.batch = batch
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.batch


def as_arrays(x, y):
    return {"x": x, "y": y}


def as_py_dataset(x, y):
    return {"x": Repeated(x, y)}


def as_tf_data(x, y):
    tf = pytest.importorskip("tensorflow")
    return {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(len(x))}


routes = pytest.mark.parametrize(
    "route", [as_arrays, as_py_dataset, as_tf_data]
)


def loss_of_fit(model, data, **arguments):
    (loss,) = model.fit(**data, verbose=0, **arguments).history["loss"]
    return loss


# 1. Class weights: a class for each position.

WEIGHTS = {0: 1.0, 1: 10.0, 2: 100.0}
TIMESTEPS = np.array([[0, 1, 2, 0], [1, 1, 1, 2]])
# As many timesteps as samples: nothing may go by sizes alone.
SQUARE = np.array([[2, 1], [1, 0]])
IMAGES = np.array([[[0, 1], [2, 2]], [[1, 1], [2, 0]], [[1, 0], [0, 1]]])


def weight_of(labels):
    return np.vectorize(lambda label: WEIGHTS.get(int(label), 1.0))(labels)


def ones_for(labels):
    return np.ones((*labels.shape, 1), "float32")


def loss_of_classes(labels, route, loss="sparse_categorical_crossentropy"):
    """What is trained on where each of three classes is as probable."""
    shape = (*labels.shape[1:], 1)
    model = multiplying(shape, 3, activation="softmax", name="out")
    data = route(ones_for(labels), labels)
    return loss_of_fit(still(model, loss), data, class_weight=WEIGHTS)


@routes
@pytest.mark.parametrize("labels", [TIMESTEPS, SQUARE, IMAGES])
def test_class_weight_for_each_position(labels, route):
    if BACKEND == "torch" and labels is IMAGES:
        pytest.skip("Keras can't train on images of classes with PyTorch")
    found = loss_of_classes(labels, route)
    expected = np.log(3) * weight_of(labels).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.SparseCategoricalCrossentropy(),
        {"out": keras.losses.sparse_categorical_crossentropy},
        ["crossentropy"],
    ],
    ids=["object", "function_in_dict", "by_shape_in_list"],
)
def test_class_weight_for_each_position_in_all_forms(loss):
    found = loss_of_classes(TIMESTEPS, as_arrays, loss)
    expected = np.log(3) * weight_of(TIMESTEPS).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@routes
def test_class_weight_for_positions_of_one_score(route):
    model = still(multiplying((4, 1), kernel=3.0))
    data = route(ones_for(TIMESTEPS), TIMESTEPS.astype("float32"))
    # Each prediction is 3.
    found = loss_of_fit(model, data, class_weight=WEIGHTS)
    expected = (weight_of(TIMESTEPS) * (3 - TIMESTEPS) ** 2).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy"])
def test_class_weight_for_pixels_of_one_score(loss):
    kernel = {"mse": 3.0, "binary_crossentropy": 0.5}[loss]
    model = still(multiplying((2, 2, 1), kernel=kernel), loss)
    labels = np.minimum(IMAGES, 1).astype("float32")
    data = as_arrays(ones_for(labels), labels)
    found = loss_of_fit(model, data, class_weight=WEIGHTS)
    values = {"mse": (3 - labels) ** 2, "binary_crossentropy": np.log(2)}[loss]
    expected = (weight_of(labels) * values).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_class_weight_for_positions_in_a_single_batch():
    model = multiplying((4, 1), 3, activation="softmax")
    still(model, "sparse_categorical_crossentropy")
    found = model.train_on_batch(
        ones_for(TIMESTEPS), TIMESTEPS, class_weight=WEIGHTS
    )
    expected = np.log(3) * weight_of(TIMESTEPS).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_class_weight_for_positions_in_metrics():
    model = multiplying((4, 1), kernel=3.0)
    still(model, metrics=["mae"], weighted_metrics=["mse"])
    history = model.fit(
        ones_for(TIMESTEPS),
        TIMESTEPS.astype("float32"),
        class_weight=WEIGHTS,
        verbose=0,
    ).history
    errors, weights = 3 - TIMESTEPS, weight_of(TIMESTEPS)
    expected = {
        "loss": (weights * errors**2).mean(),
        "mae": errors.mean(),
        "mse": (weights * errors**2).sum() / weights.sum(),
    }
    found = {name: value for name, (value,) in history.items()}
    assert found == pytest.approx(expected, rel=1e-5)


class TellsNothing(keras.Model):
    """Its output has a shape that nobody knows before there is one."""

    def __init__(self):
        super().__init__()
        self.layer = dense(1.0, 3, activation="softmax")

    def call(self, x):
        return self.layer(x)


@pytest.mark.parametrize("method", ["fit", "train_on_batch"])
def test_class_weight_for_positions_that_are_not_known(method):
    model = TellsNothing()
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = ones_for(TIMESTEPS)
    model(x)
    before = model.get_weights()
    with pytest.raises(ValueError) as error:
        getattr(model, method)(x, TIMESTEPS, class_weight=WEIGHTS)
    for part in ("`class_weight`", "4)", "4, 3)", "4, 1)", "`sample_weight`"):
        assert part in str(error.value)
    np.testing.assert_array_equal(model.get_weights(), before)


def test_what_to_do_where_positions_are_not_known():
    model = still(TellsNothing(), "sparse_categorical_crossentropy")
    x, expected = ones_for(TIMESTEPS), np.log(3) * weight_of(TIMESTEPS).mean()
    with pytest.raises(ValueError, match="class_weight"):
        model.fit(x, TIMESTEPS, class_weight=WEIGHTS, verbose=0)
    # Without class weights, nothing is wrong with these labels.
    validation = (x, TIMESTEPS)
    logs = model.fit(*validation, validation_data=validation, verbose=0).history
    np.testing.assert_allclose(logs["loss"], [np.log(3)], rtol=1e-5)
    np.testing.assert_allclose(logs["val_loss"], [np.log(3)], rtol=1e-5)
    model = still(TellsNothing(), "sparse_categorical_crossentropy")
    logs = model.fit(
        x,
        TIMESTEPS[..., None],
        class_weight=WEIGHTS,
        validation_data=validation,
        verbose=0,
    ).history
    np.testing.assert_allclose(logs["loss"], [expected], rtol=1e-5)
    np.testing.assert_allclose(logs["val_loss"], [np.log(3)], rtol=1e-5)


def test_class_weight_after_a_step_without_it():
    """The step has told what the model puts out."""
    model = still(TellsNothing(), "sparse_categorical_crossentropy")
    x, expected = ones_for(TIMESTEPS), np.log(3) * weight_of(TIMESTEPS).mean()
    model.train_on_batch(x, TIMESTEPS)
    for _ in range(2):
        found = model.train_on_batch(x, TIMESTEPS, class_weight=WEIGHTS)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


class OwnDefault(dict):
    """A dict whose classes are weighed by their number."""

    def get(self, index, default=None):
        return 1.0 + index


class OnlyGet:
    def get(self, index, default=None):
        return 1.0 + index


@pytest.mark.parametrize("make", [OwnDefault, OnlyGet])
def test_class_weight_of_a_class_of_the_users(make):
    model = still(keras.Sequential([keras.Input((1,)), dense(1.0)]), "mse")
    x, y = np.zeros((3, 1), "float32"), np.array([[0.0], [1.0], [2.0]])
    found = model.train_on_batch(x, y, class_weight=make())
    # (1 * 0 + 2 * 1 + 3 * 4) / 3
    np.testing.assert_allclose(found, 14 / 3, rtol=1e-6)


def test_class_weight_for_more_positions_than_at_first():
    """With one position, it makes no difference; from then on, it is known."""
    model = TellsNothing()
    for labels in (TIMESTEPS[:, :1], TIMESTEPS, SQUARE):
        still(model, "sparse_categorical_crossentropy")
        found = model.train_on_batch(
            ones_for(labels), labels, class_weight=WEIGHTS
        )
        expected = np.log(3) * weight_of(labels).mean()
        np.testing.assert_allclose(found, expected, rtol=1e-5)


# 2. Class weights, stock right: all else goes by the highest entry.


def own_function(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


class OwnLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return own_function(y_true, y_pred)


def absolute(labels, outputs):
    return np.abs(labels - outputs).mean(-1)


def crossentropy(labels, outputs):
    return -(labels * np.log(outputs / outputs.sum(-1, keepdims=True))).sum(-1)


ONE_HOT = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], "float32")
SOFT = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.6, 0.2, 0.2]], "float32")
MULTI_HOT = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 1]], "float32")
PACKED = np.array([[1, 7, 3], [2, 0, 5], [4, 3, 9]], "float32")


@pytest.mark.parametrize(
    "loss, labels, values",
    [
        ("categorical_crossentropy", ONE_HOT, crossentropy),
        ("categorical_crossentropy", SOFT, crossentropy),
        (
            keras.losses.CategoricalCrossentropy(label_smoothing=0.3),
            ONE_HOT,
            lambda y, p: crossentropy(0.7 * y + 0.1, p),
        ),
        ("mae", MULTI_HOT, absolute),
        ("mae", PACKED, absolute),
        (own_function, PACKED, absolute),
        (OwnLoss(), PACKED, absolute),
    ],
)
@pytest.mark.parametrize("route", [as_arrays, as_tf_data])
def test_class_weight_for_vectors(loss, labels, values, route):
    x = column(1, 2, 3)
    model, outputs = multiplying((1,), 3), np.repeat(x, 3, -1)
    found = loss_of_fit(
        still(model, loss), route(x, labels), class_weight=WEIGHTS
    )
    weights = weight_of(labels.argmax(-1))
    expected = (weights * values(labels, outputs)).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_class_weight_for_an_own_loss_of_positions():
    model = still(multiplying((3, 1)), own_function)
    x = np.repeat(column(1, 2, 3), 3, -1)
    data = as_arrays(x[..., None], PACKED)
    found = loss_of_fit(model, data, class_weight=WEIGHTS)
    weights = weight_of(PACKED.argmax(-1))
    expected = (weights * absolute(PACKED, x)).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_class_weight_for_vectors_of_an_unknown_model():
    model = still(TellsNothing(), "categorical_crossentropy")
    x = column(1, 2, 3)
    expected = np.log(3) * weight_of([1, 2, 0]).mean()
    for _ in range(2):
        found = model.train_on_batch(x, ONE_HOT, class_weight=WEIGHTS)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = loss_of_fit(model, as_arrays(x, ONE_HOT), class_weight=WEIGHTS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


X, Y = column(1, 3), column(0, 1)
# The errors are 1 for the class 0, and 2 for the class 1.


@pytest.mark.parametrize(
    "class_weight, expected",
    [
        ({0: 1.0, 1: 10.0}, 20.5),
        ({0: 1, 1: 10, 7: 3.0}, 20.5),
        ({np.int64(0): 1.0, np.int64(1): np.float32(10)}, 20.5),
        ({0.0: 3.0}, 3.5),
        ({False: 3.0, True: False}, 1.5),
        ({1: 0.0}, 0.5),
        ({-1: 5.0, 1: np.array(10.0)}, 20.5),
        (collections.defaultdict(int, {1: 10}), 20.5),
        ({}, 2.5),
        # Stock reads the first from `tf.data` alone, the second from arrays.
        ({"0": 1.0, "1": 10.0}, 20.5),
        ({0: "2.0"}, 3.0),
    ],
)
def test_class_weight_that_is_fine(class_weight, expected):
    model = still(multiplying())
    data = as_arrays(X, Y)
    assert loss_of_fit(model, data, class_weight=class_weight) == expected
    found = model.train_on_batch(X, Y, class_weight=class_weight)
    assert found == expected


# 3. Class weights that can't be meant.


@pytest.mark.parametrize(
    "class_weight, part",
    [
        ({"out": {0: 1.0, 1: 2.0}}, "'out'"),
        ({"0.5": 1.0}, "'0.5'"),
        ({"cat": 0.5}, "'cat'"),
        ({0.5: 1.0}, "0.5"),
        ({0: {1: 2.0}}, "0"),
        ({0: "two"}, "0"),
        ({0: None}, "0"),
        ({0: np.ones(2)}, "0"),
        ([1.0, 2.0], "list"),
        (np.array([1.0, 2.0]), "ndarray"),
        ("balanced", "str"),
    ],
)
def test_class_weight_that_is_none(class_weight, part):
    model = still(multiplying())
    for route in (as_arrays, as_py_dataset):
        with pytest.raises(ValueError, match="Invalid `class_weight`") as error:
            model.fit(**route(X, Y), class_weight=class_weight, verbose=0)
        assert part in str(error.value)
        assert "a dict-like mapping" in str(error.value)
    with pytest.raises(ValueError, match="Invalid `class_weight`"):
        model.train_on_batch(X, Y, class_weight=class_weight)


@pytest.mark.parametrize("class_weight", [{-1: 3.0}, {1.0: 7.0}, {}])
def test_class_weight_of_tf_data_is_that_of_arrays(class_weight):
    model, y = still(multiplying()), column(-1, 1)
    # Squares of 2 and 2.
    weights = [class_weight.get(label, 1.0) for label in (-1, 1)]
    for route in (as_arrays, as_tf_data):
        found = loss_of_fit(model, route(X, y), class_weight=class_weight)
        assert found == 4 * np.mean(weights)


def test_fit_tells_its_arguments():
    """As help and packages read them."""
    import inspect

    names = list(inspect.signature(keras.Model.fit).parameters)
    assert names[:4] == ["self", "x", "y", "batch_size"]
    assert "class_weight" in names
    model = still(multiplying())
    with pytest.raises(TypeError, match="batches"):
        model.fit(X, Y, batches=2)
    # Positions count, too: the 11th argument.
    none = (None, 1, 0, None, 0.0, None, True)
    history = model.fit(X, Y, *none, {1: 10.0}).history
    assert history["loss"] == [20.5]


# 4. Data that ends before the epoch.


def two_batches(x=((1, 3), (2, 6))):
    """Batches whose losses are 5 and 20."""
    for batch in x:
        yield column(*batch), column(0, 0)


def of_unknown_length():
    tf = pytest.importorskip("tensorflow")
    data = column(1, 3, 2, 6), column(0, 0, 0, 0)
    data = tf.data.Dataset.from_tensor_slices(data).batch(2)
    return data.filter(lambda *batch: True)


MODES = ["default", "eager"]
if BACKEND != "torch":
    MODES.append("several_steps")


def in_mode(mode):
    arguments = {"run_eagerly": mode == "eager"}
    if mode == "several_steps":
        arguments["steps_per_execution"] = 2
    return still(multiplying(), metrics=["mae"], **arguments)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("source", [two_batches, of_unknown_length])
def test_epoch_without_data(source, mode):
    # The first two batches of a generator are kept, and come again: the second
    # epoch is the one without data.
    history = in_mode(mode).fit(
        source(), steps_per_epoch=2, epochs=3, verbose=0
    )
    assert history.history == {"loss": [12.5, 12.5], "mae": [3.0, 3.0]}
    assert history.epoch == [0, 1, 2]


@pytest.mark.parametrize("mode", MODES)
def test_epoch_that_ends_early(mode):
    history = (
        in_mode(mode)
        .fit(of_unknown_length(), steps_per_epoch=3, epochs=2, verbose=0)
        .history
    )
    assert history == {"loss": [12.5, 12.5], "mae": [3.0, 3.0]}


@pytest.mark.parametrize("mode", MODES)
def test_validation_after_an_epoch_without_data(mode):
    model = in_mode(mode)
    history = model.fit(
        of_unknown_length(),
        steps_per_epoch=2,
        epochs=3,
        validation_data=(X, 0 * Y),
        verbose=0,
    ).history
    assert history == {
        "loss": [12.5, 12.5],
        "mae": [3.0, 3.0],
        "val_loss": [5.0] * 3,
        "val_mae": [2.0] * 3,
    }
    # The variables are all there.
    assert model.evaluate(X, 0 * Y, verbose=0) == [5.0, 2.0]
    assert model.train_on_batch(X, 0 * Y) == [5.0, 2.0]


def test_callbacks_see_an_epoch_without_data():
    seen = []

    class Seen(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(sorted(logs))

    model = in_mode("default")
    data = of_unknown_length()
    model.fit(data, steps_per_epoch=2, epochs=2, callbacks=[Seen()], verbose=0)
    assert seen == [["loss", "mae"], []]
    # What comes after is an epoch like any other.
    assert model.fit(X, 0 * Y, verbose=0).history["loss"] == [5.0]


# Stock right.


def test_validation_data_that_ends():
    """It can be read only once, and was refused in the second epoch."""
    tf = pytest.importorskip("tensorflow")
    batches = two_batches()
    spec = tf.TensorSpec((None, 1))
    once = tf.data.Dataset.from_generator(
        lambda: batches, output_signature=(spec, spec)
    )
    history = (
        still(multiplying())
        .fit(X, 0 * Y, epochs=3, validation_data=once, verbose=0)
        .history
    )
    assert history == {"loss": [5.0] * 3, "val_loss": [12.5]}


# 5. One sample-weight array for several outputs.

THREE = column(1, 2, 3)
SHARED = np.array([1, 0.5, 0.75], "float32")
# Errors of a = x, b = 2x and c = 3x, weighted: x^2 is 1, 4 and 9.
MEAN_SQUARE = (1 * 1 + 0.5 * 4 + 0.75 * 9) / 3


def squares_of_pair(y_true, y_pred):
    """A loss of the user's own over a tuple or a dict."""
    pairs = zip(keras.tree.flatten(y_true), keras.tree.flatten(y_pred))
    return sum(keras.ops.mean(keras.ops.square(t - p), -1) for t, p in pairs)


class SquaresOfPair(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return squares_of_pair(y_true, y_pred)


own_losses = pytest.mark.parametrize(
    "loss", [squares_of_pair, SquaresOfPair()], ids=["function", "class"]
)


def logged(model, how, y):
    """The total that is logged for sample weights `SHARED`."""
    if how == "fit":
        history = model.fit(THREE, y, sample_weight=SHARED, verbose=0).history
        return history["loss"][0]
    if how == "evaluate":
        return model.evaluate(
            THREE, y, sample_weight=SHARED, verbose=0, return_dict=True
        )["loss"]
    if how == "train_on_batch":
        return model.train_on_batch(
            THREE, y, sample_weight=SHARED, return_dict=True
        )["loss"]
    batches = (batch for batch in [(THREE, y, SHARED)])
    return model.fit(batches, verbose=0).history["loss"][0]


HOW = pytest.mark.parametrize(
    "how", ["fit", "evaluate", "train_on_batch", "generator"]
)


@HOW
def test_one_sample_weight_for_a_dict_in_a_dict(how):
    model = with_heads(lambda a, b, c: {"s": {"a": a, "b": b}, "c": c})
    loss = SquaresOfPair()
    still(model, {"s": loss, "c": "mse"}, loss_weights={"s": 1.0, "c": 10.0})
    y = {"s": {"a": 0 * THREE, "b": 0 * THREE}, "c": 0 * THREE}
    # a and b: (1 + 4) x^2; c: 9 x^2.
    expected = (5 + 10 * 9) * MEAN_SQUARE
    np.testing.assert_allclose(logged(model, how, y), expected, rtol=1e-5)


def test_several_sample_weights_for_a_dict_in_a_dict():
    model = with_heads(lambda a, b, c: {"s": {"a": a, "b": b}})
    still(model, {"s": squares_of_pair})
    y = {"s": {"a": 0 * THREE, "b": 0 * THREE}}
    weights = {"s": {"a": SHARED, "b": 2 * SHARED}}
    # Their mean, as stock Keras has it for a pair.
    loss = model.evaluate(THREE, y, sample_weight=weights, verbose=0)
    np.testing.assert_allclose(loss, 1.5 * 5 * MEAN_SQUARE, rtol=1e-5)
    model = with_heads(lambda a, b, c: {"s": {"a": a, "b": b}})
    still(model, {"s": squares_of_pair})
    weights["s"]["b"] = 2 * SHARED[:, None]
    with pytest.raises(ValueError, match="sample_weight"):
        model.evaluate(THREE, y, sample_weight=weights, verbose=0)


def test_one_sample_weight_for_nested_outputs_by_themselves():
    model = still(with_heads(lambda a, b, c: {"s": {"a": a, "b": b}, "c": c}))
    y = {"s": {"a": 0 * THREE, "b": 0 * THREE}, "c": 0 * THREE}
    np.testing.assert_allclose(
        logged(model, "fit", y), (1 + 4 + 9) * MEAN_SQUARE, rtol=1e-5
    )


# Stock right.


@HOW
def test_one_sample_weight_for_a_pair_in_a_list(how):
    loss = [squares_of_pair, None]
    model = still(with_heads(lambda a, b, c: [(a, b), c]), loss)
    y = ((0 * THREE, 0 * THREE), 0 * THREE)
    np.testing.assert_allclose(
        logged(model, how, y), 5 * MEAN_SQUARE, rtol=1e-5
    )


def test_custom_step_gets_a_sample_weight_for_each_label():
    """What users' own steps were written for."""

    class Step(keras.Model):
        def compute_loss(self, x, y, y_pred, sample_weight, training=True):
            first, second = sample_weight
            return super().compute_loss(x, y, y_pred, [first, 10 * second])

    inputs = keras.Input((1,))
    model = Step(inputs, [dense(1.0)(inputs), dense(2.0)(inputs)])
    y = [0 * THREE, 0 * THREE]
    np.testing.assert_allclose(
        logged(still(model), "fit", y), (1 + 10 * 4) * MEAN_SQUARE, rtol=1e-5
    )


# 6. An input without samples beside one that has some.


class OfGraph(keras.Model):
    """Predicts x and 2x for each node; the edges go unused."""

    def __init__(self):
        super().__init__()
        self.one, self.two = dense(1.0), dense(2.0)

    def call(self, x):
        _, nodes = x
        return {"one": self.one(nodes), "two": self.two(nodes)}


EDGES = np.zeros((0, 2), "int32")
NODES = column(1, 2, 1, 2)
# The mean of 1, 4, 1, 4, and of the absolute differences of 2, 4, 2, 4 and -1.
OF_GRAPH = {"one_loss": 2.5, "two_loss": 4.0, "loss": 6.5}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch"])
def test_graph_without_edges(method, mode):
    arguments = {"run_eagerly": mode == "eager"}
    if mode == "several_steps":
        arguments["steps_per_execution"] = 2
    model = still(OfGraph(), {"one": "mse", "two": "mae"}, **arguments)
    x, y = (EDGES, NODES), {"one": 0 * NODES, "two": 0 * NODES - 1}
    if method == "train_on_batch":
        found = model.train_on_batch(x, y, return_dict=True)
    elif method == "evaluate":
        found = model.evaluate(Repeated(x, y), verbose=0, return_dict=True)
    else:
        history = model.fit(Repeated(x, y, length=3), verbose=0).history
        found = {name: value for name, (value,) in history.items()}
    assert found == pytest.approx(OF_GRAPH, rel=1e-6)


def test_graph_without_nodes():
    model = still(OfGraph(), {"one": "mse", "two": "mae"})
    x, y = (EDGES, NODES[:0]), {"one": NODES[:0], "two": NODES[:0]}
    with pytest.raises(ValueError, match="no samples"):
        model.train_on_batch(x, y)


def test_require_samples_reads_all_inputs():
    require = data_adapter_utils.require_samples
    for x in (
        None,
        [EDGES, NODES],
        {"nodes": NODES, "edges": EDGES, "none": None},
        [np.float32(1), NODES],
        [keras.KerasTensor((None, 2)), EDGES],
    ):
        require(x)
    for x in (EDGES, [EDGES, EDGES], [None, EDGES, np.float32(1)]):
        with pytest.raises(ValueError, match=r"\(0, 2\)"):
            require(x)


# 7. `None` in a batch of a PyDataset. (JAX and PyTorch: stock right.)


class OfFirst(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = dense()

    def call(self, x):
        return self.layer(x["one"] if isinstance(x, dict) else x[0])


SQUARED = column(1, 2), column(0, 0)


@pytest.mark.parametrize(
    "make, batch",
    [
        (multiplying, (*SQUARED, None)),
        (OfFirst, ((SQUARED[0], None), SQUARED[1])),
        (OfFirst, ({"one": SQUARED[0], "two": None}, SQUARED[1], None)),
    ],
    ids=["no_weight", "in_tuple", "in_dict"],
)
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_none_in_a_batch(method, make, batch):
    model = still(make())
    found = getattr(model, method)(Repeated(*batch, length=2), verbose=0)
    if method == "fit":
        assert found.history == {"loss": [2.5]}
    elif method == "evaluate":
        assert found == 2.5
    else:
        np.testing.assert_array_equal(found, column(1, 2, 1, 2))


def test_none_for_an_output_in_a_batch():
    model = still(with_heads(lambda a, b, c: (a, b)), ["mse", None])
    x, y = SQUARED
    data = Repeated(x, (y, None), (np.array([1.0, 3.0], "float32"), None))
    # (1 * 1 + 3 * 4) / 2
    assert model.evaluate(data, verbose=0, return_dict=True)["loss"] == 6.5


# 8. An error in the first batch, and right data after it.


def attempts(method, kind):
    """Calls with wrong and with right sample weights."""
    right = np.array([3, 1], "float32")
    wrong = np.ones((2, 3), "float32")
    if kind == "key":
        model = with_heads(lambda a, b, c: [a, b], kernels=(1.0,) * 3)
        wrong, right, y = {"q": right}, {"b": right}, [0 * X, 0 * X]
    else:
        model, y = multiplying(), 0 * X
    arguments = {} if method == "train_on_batch" else {"verbose": 0}
    metrics = ["mae"] if kind == "shape" else [["mae"], ["mae"]]
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9), "mse", metrics=metrics
    )
    call = getattr(model, method)
    return (
        model,
        lambda weights: call(X, y, sample_weight=weights, **arguments),
        wrong,
        right,
    )


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch"])
@pytest.mark.parametrize("kind", ["shape", "key"])
def test_wrong_sample_weights_before_right_ones(kind, method):
    model, call, wrong, right = attempts(method, kind)
    before = model.get_weights()
    for _ in range(2):
        with pytest.raises(ValueError, match="sample_weight"):
            call(wrong)
        np.testing.assert_array_equal(model.get_weights(), before)
    call(right)
    # The gradient of mean(w * (k * x)^2) for x of 1 and 3: w * 2k * x^2.
    last = 1 - 0.1 * (3 * 2 * 1 + 1 * 2 * 9) / 2
    if method == "evaluate":
        last = 1
    np.testing.assert_allclose(model.get_weights()[-1], [[last]], rtol=1e-5)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_wrong_key_before_right_ones(method):
    """Stock right."""
    model = with_heads(lambda a, b, c: {"a": a, "b": b}, kernels=(1.0,) * 3)
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics={"a": "mae"})
    y, weights = {"a": 0 * X, "b": 0 * X}, np.array([3, 1], "float32")
    call = getattr(model, method)
    for wrong in ({"a": weights, "q": weights}, {"q": weights}):
        with pytest.raises(ValueError, match="sample_weight"):
            call(X, y, sample_weight=wrong, verbose=0)
    call(X, y, sample_weight={"a": weights, "b": weights}, verbose=0)
    last = 1 if method == "evaluate" else 1 - 0.1 * (3 * 2 * 1 + 1 * 2 * 9) / 2
    for kernel in model.get_weights():
        np.testing.assert_allclose(kernel, [[last]], rtol=1e-5)


def test_a_function_that_works_is_kept():
    model = still(multiplying())
    model.fit(X, Y, verbose=0)
    model.evaluate(X, Y, verbose=0)
    made = model.train_function, model.test_function
    with pytest.raises(ValueError, match="sample_weight"):
        model.train_on_batch(X, Y, sample_weight=np.ones((2, 3)))
    model.fit(X, Y, verbose=0)
    model.evaluate(X, Y, verbose=0)
    assert (model.train_function, model.test_function) == made


# 9. Files of Keras 2.

KERAS_2 = """
import os
import sys
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np
import tf_keras as keras

def dense(kernel, name=None):
    constant = keras.initializers.Constant(kernel)
    return keras.layers.Dense(
        1, use_bias=False, kernel_initializer=constant, name=name
    )

def save(name, heads, loss, **arguments):
    inputs = keras.Input((1,))
    outputs = [dense(k, n)(inputs) for k, n in zip((1.0, 2.0), heads)]
    model = keras.Model(inputs, outputs if len(heads) > 1 else outputs[0])
    model.compile(keras.optimizers.SGD(0.0), loss, **arguments)
    x = np.ones((2, 1), "float32")
    model.fit(x, [x] * len(heads) if len(heads) > 1 else x, verbose=0)
    model.save(os.path.join(sys.argv[1], name + ".h5"))

def own(y_true, y_pred):
    return keras.backend.mean(keras.backend.abs(y_true - y_pred), -1)

mae = keras.metrics.MeanAbsoluteError
save("one", "a", "mse", metrics=["mae"])
save("two", "ab", "mse", metrics=[["mae"], ["mae"]])
save("lists", "ab", ["mse", "mae"], metrics=[["mae", "mse"], ["mape"]])
save("dict", "ab", {"a": "mse", "b": "mae"}, metrics={"b": "mae"})
save("objects", "ab", "mse", metrics={"a": mae(), "b": mae(name="b_q")})
save("weighted", "a", "mse", metrics=["mae"], weighted_metrics=["mae"])
save("wrapped", "a", keras.losses.Huber(2.0), metrics=["accuracy"])
save("own", "ab", [own, own], metrics=[[own], ["mae"]])
"""


@pytest.fixture(scope="module")
def files_of_keras_2(tmp_path_factory):
    if not importlib.util.find_spec("tf_keras"):
        pytest.skip("Keras 2 is not installed")
    folder = tmp_path_factory.mktemp("keras_2")
    done = subprocess.run(
        [sys.executable, "-c", KERAS_2, folder],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    return folder


# Predictions x and 2x for x of 1 and 3; labels of 0.
TWO = {"loss": 25.0, "a_loss": 5.0, "b_loss": 20.0}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("one", {"loss": 5.0, "mae": 2.0}),
        ("two", {**TWO, "a_mae": 2.0, "b_mae": 4.0}),
        (
            "lists",
            {
                "loss": 9.0,
                "a_loss": 5.0,
                "b_loss": 4.0,
                "a_mae": 2.0,
                "a_mse": 5.0,
                "b_mape": 4e9,
            },
        ),
        ("dict", {"loss": 9.0, "a_loss": 5.0, "b_loss": 4.0, "b_mae": 4.0}),
        ("objects", {**TWO, "a_mean_absolute_error": 2.0, "b_b_q": 4.0}),
        ("weighted", {"loss": 5.0, "mae": 2.0, "weighted_mae": 2.0}),
        # 1 / 2 for the error of 1, and 2 * (3 - 1) for that of 3.
        ("wrapped", {"loss": 2.25, "accuracy": 0.0}),
    ],
)
def test_file_of_keras_2(name, expected, files_of_keras_2, tmp_path):
    model = keras.models.load_model(files_of_keras_2 / f"{name}.h5")
    y = [0 * X] * len(model.outputs) if len(model.outputs) > 1 else 0 * X
    for _ in range(2):
        logs = model.evaluate(X, y, verbose=0, return_dict=True)
        assert logs == pytest.approx(expected, rel=1e-5)
        # Saved again, it is a file of Keras 3.
        model.save(tmp_path / "again.h5")
        model = keras.models.load_model(tmp_path / "again.h5")
    logs = model.fit(X, y, verbose=0).history
    assert {k: v for k, (v,) in logs.items()} == pytest.approx(
        expected, rel=1e-5
    )


def test_own_functions_in_a_file_of_keras_2(files_of_keras_2):
    file = files_of_keras_2 / "own.h5"
    model = keras.models.load_model(file)
    np.testing.assert_array_equal(model.predict(X, verbose=0)[1], 2 * X)
    with pytest.raises(ValueError, match="'own'.*custom_objects"):
        model.evaluate(X, [0 * X] * 2, verbose=0)
    model = keras.models.load_model(file, custom_objects={"own": own_function})
    logs = model.evaluate(X, [0 * X] * 2, verbose=0, return_dict=True)
    expected = {"loss": 6.0, "a_loss": 2.0, "b_loss": 4.0}
    assert logs == {**expected, "a_own": 2.0, "b_mae": 4.0}


# 10. Files with losses and metrics of users' own.


def another(y_true, y_pred):
    return own_function(y_true, y_pred)


def check_that_it_predicts(loss, folder):
    still(with_heads(lambda a, b, c: [a, b]), loss).save(folder / "model.h5")
    model = keras.models.load_model(folder / "model.h5")
    first, second = model.predict(X, verbose=0)
    np.testing.assert_array_equal(first, X)
    np.testing.assert_array_equal(second, 2 * X)
    with pytest.raises((ValueError, TypeError)):
        model.fit(X, [0 * X, 0 * X], verbose=0)
    # Compiled anew, it trains.
    history = still(model, "mae").fit(X, [0 * X, 0 * X], verbose=0).history
    assert history["loss"] == [6.0]


HAS_CLASS = pytest.mark.skipif(
    pip_build.is_on_head(),
    reason="head refuses to load what names a class that it can't find",
)


@pytest.mark.parametrize(
    "loss",
    [[own_function, "mse"], another, pytest.param(OwnLoss(), marks=HAS_CLASS)],
)
def test_h5_with_an_own_loss_predicts(loss, tmp_path):
    check_that_it_predicts(loss, tmp_path)


@pytest.mark.parametrize(
    "loss",
    [
        [own_function, another],
        pytest.param([OwnLoss(name="p"), OwnLoss(name="q")], marks=HAS_CLASS),
        {"a": own_function, "b": another},
    ],
)
def test_h5_with_several_own_losses_predicts(loss, tmp_path):
    """Stock right."""
    check_that_it_predicts(loss, tmp_path)


def test_h5_with_own_objects_says_what_is_missing(tmp_path):
    file = tmp_path / "model.h5"
    model = with_heads(lambda a, b, c: [a, b])
    still(model, [own_function, "mse"], metrics=[[another], ["mae"]]).save(file)
    model = keras.models.load_model(file)
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError) as error:
            method(X, [0 * X, 0 * X], verbose=0)
        for part in ("custom_objects", "compile"):
            assert part in str(error.value)
    known = {"own_function": own_function, "another": another}
    model = keras.models.load_model(file, custom_objects=known)
    logs = model.evaluate(X, [0 * X, 0 * X], verbose=0, return_dict=True)
    expected = {"loss": 22.0, "a_loss": 2.0, "b_loss": 20.0}
    assert logs == {**expected, "a_another": 2.0, "b_mae": 4.0}


# 11. Odd forms, stock right.

Pair = collections.namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "weights", [Pair(1.0, 2.0), Pair(1, None), Pair(np.float32(1), 2)]
)
def test_namedtuple_of_loss_weights_is_saved(weights, tmp_path):
    model = with_heads(lambda a, b, c: [a, b])
    model.compile("sgd", "mse", loss_weights=weights)
    expected = list(weights)
    saved = model.get_compile_config()["loss_weights"]
    saved = keras.saving.deserialize_keras_object(saved)
    assert list(saved) == expected
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.predict(X, verbose=0)[1], 2 * X)


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.MeanSquaredError(),
        keras.losses.MeanSquaredError(reduction="sum"),
        OwnLoss(),
        keras.losses.Huber(),
    ],
)
def test_loss_of_no_samples(loss):
    z = np.zeros((0, 4, 2), "float32")
    assert float(loss(z, z)) == 0.0


def test_loss_of_no_samples_is_refused_in_training():
    model, z = still(multiplying()), np.zeros((0, 1), "float32")
    for method in (model.fit, model.evaluate):
        with pytest.raises(Exception):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                method(z, z, verbose=0)


SERIALIZED = keras.metrics.serialize(keras.metrics.MeanAbsoluteError(name="q"))


@pytest.mark.parametrize(
    "metrics, expected",
    [
        ([SERIALIZED, SERIALIZED], {"a_q": 2.0, "b_q": 4.0}),
        ({"a": SERIALIZED}, {"a_q": 2.0}),
        ([[SERIALIZED], ["mae"]], {"a_q": 2.0, "b_mae": 4.0}),
        ({"b": ["mse", SERIALIZED]}, {"b_mse": 20.0, "b_q": 4.0}),
    ],
)
@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
def test_serialized_metrics(argument, metrics, expected):
    model = with_heads(lambda a, b, c: [a, b])
    still(model, **{argument: metrics})
    logs = model.evaluate(X, [0 * X, 0 * X], verbose=0, return_dict=True)
    assert logs == pytest.approx({**TWO, **expected})


@pytest.mark.parametrize(
    "metrics", [["mae", ["mse", "msle"]], [["mae"], "mse", ["msle"]]]
)
def test_nested_metrics_of_one_output(metrics):
    model = still(multiplying(), metrics=metrics)
    logs = model.evaluate(X, 0 * X, verbose=0, return_dict=True)
    msle = np.mean(np.log1p([1, 3]) ** 2)
    assert logs == pytest.approx(
        {"loss": 5.0, "mae": 2.0, "mse": 5.0, "msle": msle}
    )


@pytest.mark.parametrize("wrap", [lambda f: [f], lambda f: (f,)])
@own_losses
def test_list_of_one_loss_of_a_dict(loss, wrap):
    model = with_heads(lambda a, b, c: {"a": a, "b": b})
    still(model, wrap(loss))
    y = {"a": 0 * X, "b": 0 * X}
    # (1 + 4) x^2
    assert model.evaluate(X, y, verbose=0, return_dict=True)["loss"] == 25.0
    assert model.fit(X, y, verbose=0).history["loss"] == [25.0]


class OneNumberInAnArray(keras.losses.Loss):
    def __call__(self, y_true, y_pred, sample_weight=None):
        squares = keras.ops.square(y_true - y_pred)
        return keras.ops.reshape(keras.ops.mean(squares), (1,))


def test_loss_that_returns_one_number_in_an_array():
    if BACKEND == "jax":
        pytest.skip("JAX differentiates numbers only")
    model = still(multiplying(), OneNumberInAnArray())
    assert model.fit(X, 0 * X, verbose=0).history["loss"] == [5.0]
    assert model.evaluate(X, 0 * X, verbose=0) == 5.0
