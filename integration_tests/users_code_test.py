"""What users write themselves gets what stock Keras hands it.

Losses, metrics and functions of users' own, each in the way in which it is
written for Keras 3.15.1, and what of Keras' own is used beside them. All
numbers are worked out by NumPy, in float64.

No test here passes on stock and fails on the fork. Those that are called
`test_new_...` show what stock has wrong, or doesn't have; they are the only
ones that fail with `--stock`.
"""

import functools
import itertools
import types
import warnings
from typing import Any
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import keras
import pip_build
from keras import ops
from keras.src import backend as keras_backend
from keras.src.losses.losses import LossFunctionWrapper
from keras.src.trainers.compile_utils import CompileLoss
from keras.src.trainers.compile_utils import CompileMetrics
from keras.src.trainers.compile_utils import get_loss

BACKEND = keras.backend.backend()
only_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="about shapes that TensorFlow only"
)
only_torch = pytest.mark.skipif(
    BACKEND != "torch", reason="about devices that PyTorch only"
)
N = 3
# As many timesteps as samples, so that what is meant for the one fits the
# other, and another number of them.
TIMESTEPS = pytest.mark.parametrize("steps", [3, 2], ids=["n", "t"])


def numbers(*shape, seed=0):
    """Sixteenths between 0 and 1, which no float type rounds."""
    rng = np.random.default_rng([seed, *shape])
    return (rng.integers(1, 16, shape) / 16).astype("float32")


def integers(stop, *shape, seed=0):
    rng = np.random.default_rng([seed, *shape])
    return rng.integers(stop, size=shape).astype("int32")


def keeping(*shape):
    """A mask that leaves at least one value of each sample, and not all."""
    mask = np.arange(np.prod(shape)).reshape(shape) % 3 != 1
    assert mask.any() and not mask.all()
    return mask


def wide(array):
    return np.asarray(array).astype("float64")


def close(found, expected, rtol=1e-5):
    found = ops.convert_to_numpy(found)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-6)


def masked(array, mask):
    tensor = ops.convert_to_tensor(array)
    keras_backend.common.masking.set_keras_mask(
        tensor, ops.convert_to_tensor(mask)
    )
    return tensor


class Passing(keras.Model):
    """Predicts what is given as `predictions`, times a weight of 1.

    The `i`-th of them carries the mask that is given as `mask_i`, if any.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.one = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        if not isinstance(inputs, dict):
            inputs = {"predictions": inputs}
        predictions = keras.tree.map_structure(
            lambda x: ops.cast(ops.multiply(x, self.one), self.compute_dtype),
            inputs["predictions"],
        )
        for i, prediction in enumerate(keras.tree.flatten(predictions)):
            mask = inputs.get(f"mask_{i}")
            if mask is not None:
                keras_backend.common.masking.set_keras_mask(prediction, mask)
        return predictions


def passing(loss, eager=True, **kwargs):
    model = Passing()
    model.compile(
        keras.optimizers.SGD(0.0), loss=loss, run_eagerly=eager, **kwargs
    )
    return model


def fit(model, x, y, sample_weight=None, **kwargs):
    history = model.fit(
        x, y, sample_weight=sample_weight, shuffle=False, verbose=0, **kwargs
    ).history
    return {name: values[-1] for name, values in history.items()}


def evaluate(model, x, y, sample_weight=None, **kwargs):
    return model.evaluate(
        x,
        y,
        sample_weight=sample_weight,
        verbose=0,
        return_dict=True,
        **kwargs,
    )


def train_on_batch(model, x, y, sample_weight=None, **kwargs):
    return model.train_on_batch(
        x, y, sample_weight=sample_weight, return_dict=True, **kwargs
    )


def evaluate_batch(model, x, y, sample_weight=None):
    return model.test_on_batch(
        x, y, sample_weight=sample_weight, return_dict=True
    )


ROUTES = [fit, evaluate, train_on_batch]
# Stock loses the masks on the way to the metrics where JAX trains.
MASK_ROUTES = [evaluate] if BACKEND == "jax" else ROUTES


def name_of(value):
    return value if value is None else getattr(value, "__name__", str(value))


def by_route(routes=ROUTES):
    return pytest.mark.parametrize("route", routes, ids=name_of)


def each_once(**values):
    """Parameters of which each takes each of its values, though not all pairs.

    All pairs would take minutes.
    """
    rows = max(map(len, values.values()))
    columns = [
        itertools.islice(itertools.cycle(v), rows) for v in values.values()
    ]
    return pytest.mark.parametrize(
        tuple(values), list(zip(*columns)), ids=name_of
    )


def loss_by(route, loss, x, y, sample_weight=None, **kwargs):
    """The loss of a batch: of a model's, or called directly."""
    if route != "direct":
        # Compiling takes most of a test's time.
        model = passing(loss, eager=route is not fit)
        return route(model, x, y, sample_weight, **kwargs)["loss"]
    if isinstance(x, dict):
        x = masked(x["predictions"], x["mask_0"])
    return get_loss(loss, y, x)(y, x, sample_weight=sample_weight)


LOSS_ROUTES = ["direct", *ROUTES]


def own_loss(function, **kwargs):
    """An object of a `Loss` class of the user's own."""

    class OwnLoss(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return function(y_true, y_pred)

    return OwnLoss(**kwargs)


def nothing(rank):
    """A loss of 0 for each entry of the first `rank` axes."""

    def zeros(y_true, y_pred):
        shape = ops.shape(y_pred)[:rank]
        return ops.sum(ops.reshape(y_pred * 0.0, (*shape, -1)), axis=-1)

    return zeros


def metric_by(route, metric, x, y, sample_weight=None, rank=2, **kwargs):
    """The result of a metric in `weighted_metrics`, or called directly."""
    if route == "direct":
        if not isinstance(metric, keras.metrics.Metric):
            metric = keras.metrics.MeanMetricWrapper(metric)
        if isinstance(x, dict):
            x = masked(x["predictions"], x["mask_0"])
        metric.update_state(y, ops.convert_to_tensor(x), sample_weight)
        return metric.result()
    kwargs = kwargs or {"weighted_metrics": [metric]}
    model = passing(nothing(rank), eager=route is not fit, **kwargs)
    logs = route(model, x, y, sample_weight)
    (name,) = set(logs) - {"loss"}
    return logs[name]


# 1. Metric classes of users' own get labels, predictions and weights as they
# are.


class OwnMetric(keras.metrics.Metric):
    """The sum of values, times the sample weights where there are some."""

    def __init__(self, values):
        super().__init__(name="own")
        self.values = values
        self.total = self.add_weight(shape=(), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        values = self.values(y_true, y_pred)
        if sample_weight is not None:
            values = values * ops.cast(sample_weight, values.dtype)
        self.total.assign_add(ops.sum(values))

    def result(self):
        return ops.convert_to_tensor(self.total)


class OwnMean(keras.metrics.Mean):
    """The mean of values, weighed by the sample weights."""

    def __init__(self, values):
        super().__init__(name="own")
        self.values = values

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(
            self.values(y_true, y_pred), sample_weight=sample_weight
        )


class OwnWrapper(keras.metrics.MeanMetricWrapper):
    """The same, with Keras' own `__init__`."""

    def __init__(self, values):
        super().__init__(values, name="own")

    def update_state(self, y_true, y_pred, sample_weight=None):
        values = self._fn(y_true, y_pred)
        keras.metrics.Mean.update_state(self, values, sample_weight)


class OwnCrossentropy(keras.metrics.SparseCategoricalCrossentropy):
    """The same, with nearly all of it from one of Keras' own metrics."""

    def __init__(self, values):
        super().__init__(name="own")
        self.values = values

    def update_state(self, y_true, y_pred, sample_weight=None):
        values = self.values(y_true, y_pred)
        keras.metrics.Mean.update_state(self, values, sample_weight)


OWN_METRICS = [OwnMetric, OwnMean, OwnWrapper, OwnCrossentropy]
by_metric_class = each_once(metric_class=OWN_METRICS, route=ROUTES)


def own_result(metric_class, values, weights):
    total = np.sum(wide(values) * weights)
    return total if metric_class is OwnMetric else total / np.sum(weights)


def surprise(y_true, y_pred):
    """-log of the probability of the label's class."""
    index = ops.expand_dims(ops.cast(y_true, "int32"), -1)
    return -ops.log(ops.take_along_axis(y_pred, index, axis=-1))[..., 0]


def surprise_in_numpy(y_true, y_pred):
    index = y_true[..., None].astype(int)
    return -np.log(np.take_along_axis(wide(y_pred), index, -1))[..., 0]


@by_metric_class
@TIMESTEPS
def test_own_metric_of_classes(metric_class, steps, route):
    x, y = numbers(N, steps, 4), integers(4, N, steps)
    weights = numbers(N, steps, seed=1)
    found = metric_by(route, metric_class(surprise), x, y, weights)
    expected = own_result(metric_class, surprise_in_numpy(y, x), weights)
    close(found, expected)


@by_metric_class
def test_own_metric_beside_own_loss(metric_class, route):
    """A Dice score for each image, with a weight for each."""

    def image_error(y, p):
        return ops.mean(ops.square(y - p), axis=(1, 2, 3))

    def dice(y, p):
        axes = (1, 2, 3)
        y = ops.convert_to_tensor(y)
        return 2.0 * ops.sum(y * p, axes) / ops.sum(y + p, axes)

    x, y = numbers(N, 2, 2, 1), numbers(N, 2, 2, 1, seed=1)
    weights = numbers(N, seed=2)
    model = passing(image_error, weighted_metrics=[metric_class(dice)])
    logs = route(model, x, y, weights)
    axes = (1, 2, 3)
    values = 2 * np.sum(wide(x) * y, axes) / np.sum(wide(x) + y, axes)
    close(logs["own"], own_result(metric_class, values, weights))
    close(logs["loss"], np.mean(np.mean((wide(y) - x) ** 2, axes) * weights))


@by_metric_class
def test_own_metric_of_two_outputs(metric_class, route):
    x = {"a": numbers(N, 2, 4), "b": numbers(N, 4)}
    y = {"a": integers(4, N, 2), "b": integers(4, N)}
    weights = {"a": numbers(N, 2, seed=1), "b": numbers(N, seed=1)}
    model = passing(
        {"a": nothing(2), "b": nothing(1)},
        weighted_metrics={name: [metric_class(surprise)] for name in x},
    )
    logs = route(model, {"predictions": x}, y, weights)
    for name in x:
        values = surprise_in_numpy(y[name], x[name])
        expected = own_result(metric_class, values, weights[name])
        close(logs[f"{name}_own"], expected)


# Row 0 is for the token of padding, which the embedding masks.
TABLE = np.array(
    [[0.25, 0.25, 0.5], [0.5, 0.25, 0.25], [0.125, 0.75, 0.125]], "float32"
)
TOKENS = np.array([[1, 2, 1], [2, 2, 0], [1, 0, 0]], "int32")
TOKEN_LABELS = np.array([[2, 1, 1], [1, 2, 0], [2, 0, 0]], "int32")
SURPRISES = surprise_in_numpy(TOKEN_LABELS, TABLE[TOKENS])


def embedding(eager=True, loss="sparse_categorical_crossentropy", **kwargs):
    model = keras.Sequential(
        [
            keras.layers.Embedding(
                3,
                3,
                mask_zero=True,
                embeddings_initializer=keras.initializers.Constant(TABLE),
            )
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.0), loss=loss, run_eagerly=eager, **kwargs
    )
    return model


class Perplexity(keras.metrics.Metric):
    """Leaves out the labels that are 0, as its users have to know."""

    def __init__(self):
        super().__init__(name="own")
        self.crossentropy = keras.losses.SparseCategoricalCrossentropy(
            reduction="sum"
        )
        self.total = self.add_weight(shape=(), initializer="zeros")
        self.count = self.add_weight(shape=(), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = ops.cast(y_true, self.dtype)
        y_pred = ops.cast(y_pred, self.dtype)
        if sample_weight is None:
            sample_weight = ops.ones_like(y_true)
        sample_weight = ops.cast(sample_weight, self.dtype)
        kept = ops.cast(ops.not_equal(y_true, 0), self.dtype)
        sample_weight = sample_weight * kept
        # A weight for each token, for values for each token.
        self.total.assign_add(self.crossentropy(y_true, y_pred, sample_weight))
        self.count.assign_add(ops.sum(sample_weight))

    def result(self):
        return ops.exp(self.total / self.count)


ARGUMENTS = ["metrics", "weighted_metrics"]
by_argument = each_once(route=ROUTES, argument=ARGUMENTS)


@pytest.mark.parametrize("eager", [True, False])
@by_argument
def test_own_metric_that_leaves_padding_out(argument, route, eager):
    model = embedding(eager, **{argument: [Perplexity()]})
    logs = route(model, TOKENS, TOKEN_LABELS)
    mean = SURPRISES[TOKENS != 0].mean()
    close(logs["own"], np.exp(mean))
    close(logs["loss"], mean)


@by_route()
def test_own_metric_that_weighs_padding_by_itself(route):
    model = embedding(weighted_metrics=[Perplexity()])
    weights = numbers(3, 3)
    logs = route(model, TOKENS, TOKEN_LABELS, weights)
    kept = weights * (TOKENS != 0)
    close(logs["own"], np.exp(np.sum(SURPRISES * kept) / np.sum(kept)))


@by_metric_class
def test_own_metric_of_sequences_on_a_masked_model(metric_class, route):
    def surprise_of_sequence(y_true, y_pred):
        return ops.mean(surprise(y_true, y_pred), axis=-1)

    metric = metric_class(surprise_of_sequence)
    logs = route(embedding(metrics=[metric]), TOKENS, TOKEN_LABELS)
    expected = own_result(metric_class, SURPRISES.mean(-1), np.ones(3))
    close(logs["own"], expected)


class WithoutWeights(OwnMetric):
    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            raise NotImplementedError("No sample weights, please")
        super().update_state(y_true, y_pred)


@by_argument
def test_own_metric_that_takes_no_weights(argument, route):
    model = embedding(**{argument: [WithoutWeights(surprise)]})
    logs = route(model, TOKENS, TOKEN_LABELS)
    close(logs["own"], SURPRISES.sum())


# 2. Functions and classes that index an axis.


def distance(y_true, y_pred, power=2):
    """Knows that predictions have one more axis than labels."""
    return ops.abs(ops.cast(y_true, y_pred.dtype) - y_pred[..., 0]) ** power


class Distance:
    def __call__(self, y_true, y_pred):
        return distance(y_true, y_pred)

    def method(self, y_true, y_pred):
        return distance(y_true, y_pred)

    @staticmethod
    def static(y_true, y_pred):
        return distance(y_true, y_pred)


def calls_keras(y_true, y_pred):
    return keras.losses.mean_squared_error(y_true[..., None], y_pred)


@functools.wraps(keras.losses.mean_squared_error)
def wraps_keras(y_true, y_pred):
    return distance(y_true, y_pred)


def jitted():
    """`distance`, compiled as the backend's users do."""
    if BACKEND == "jax":
        import jax

        return jax.jit(distance)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(distance)
    import torch

    return torch.compile(distance, backend="eager")


OWN_FUNCTIONS = {
    "function": distance,
    "lambda": lambda y, p: ops.square(ops.subtract(y, p[..., 0])),
    "partial": functools.partial(distance, power=2),
    "partial_of_partial": functools.partial(functools.partial(distance)),
    "method": Distance().method,
    "static": Distance.static,
    "object": Distance(),
    "partial_of_object": functools.partial(Distance()),
    "calls_keras": calls_keras,
    "wraps_keras": wraps_keras,
    "jitted": jitted(),
}


class OwnInit(keras.metrics.MeanMetricWrapper):
    """A function of the user's own, and nothing else."""

    def __init__(self):
        super().__init__(distance, name="own")


METRIC_CLASSES = {
    "class": lambda: OwnMean(distance),
    "own_wrapper": lambda: OwnWrapper(distance),
    "wrapper": lambda: keras.metrics.MeanMetricWrapper(distance, name="own"),
    "own_init": OwnInit,
    "attribute": lambda: with_own_update_state(
        keras.metrics.MeanSquaredError(name="own")
    ),
}
# These look for the mask of the predictions.
MASKED_CLASSES = ("wrapper", "own_init")


def with_own_update_state(metric):
    def update_state(y_true, y_pred, sample_weight=None):
        values = distance(y_true, y_pred)
        keras.metrics.Mean.update_state(metric, values, sample_weight)

    metric.update_state = update_state
    return metric


def as_metric(form):
    """A new one each time, if it has a state."""
    if form in METRIC_CLASSES:
        return METRIC_CLASSES[form]()
    return OWN_FUNCTIONS[form]


# Shapes of labels; predictions have an axis of size 1 more.
LABEL_SHAPES = {"n": (N, 3), "t": (N, 2), "image": (N, 3, 3)}
by_label_shape = pytest.mark.parametrize(
    "shape", LABEL_SHAPES.values(), ids=LABEL_SHAPES
)
by_metric_form = pytest.mark.parametrize(
    "form", [*OWN_FUNCTIONS, *METRIC_CLASSES]
)


def indexed(shape):
    """Predictions, labels and the squares of what is between them."""
    x, y = numbers(*shape, 1), numbers(*shape, seed=1)
    return x, y, (wide(y) - x[..., 0]) ** 2


@by_metric_form
@by_route(["direct", evaluate_batch])
def test_metric_that_indexes_an_axis(form, route):
    x, y, values = indexed((N, N))
    weights = numbers(N, N, seed=2)
    found = metric_by(route, as_metric(form), x, y, weights)
    close(found, np.sum(values * weights) / np.sum(weights))


@pytest.mark.parametrize("form", ["function", "class"])
@each_once(shape=LABEL_SHAPES.values(), route=ROUTES)
def test_metric_that_indexes_an_axis_by_route(form, shape, route):
    x, y, values = indexed(shape)
    weights = numbers(*shape, seed=2)
    rank = len(shape)
    found = metric_by(route, as_metric(form), x, y, weights, rank=rank)
    close(found, np.sum(values * weights) / np.sum(weights))


def of_masked_metric(form, shape, route, argument):
    """A metric's result, and what it has to be."""
    x, y, values = indexed(shape)
    mask = keeping(*shape)
    metric = as_metric(form)
    found = metric_by(
        route,
        metric,
        {"predictions": x, "mask_0": mask},
        y,
        rank=len(shape),
        **{argument: [metric]},
    )
    if form in METRIC_CLASSES and form not in MASKED_CLASSES:
        mask = np.ones(shape)
    return found, np.sum(values * mask) / np.sum(mask)


@by_metric_form
@each_once(shape=LABEL_SHAPES.values(), argument=ARGUMENTS)
def test_metric_that_indexes_an_axis_of_masked(form, shape, argument):
    close(*of_masked_metric(form, shape, evaluate_batch, argument))


@pytest.mark.parametrize("form", ["function", "class"])
@each_once(route=MASK_ROUTES, argument=ARGUMENTS)
def test_metric_that_indexes_an_axis_of_masked_by_route(form, route, argument):
    close(*of_masked_metric(form, (N, N), route, argument))


def with_own_call():
    """One of Keras' own losses, with a `call` of the user's."""
    loss = keras.losses.MeanSquaredError()
    loss.call = distance
    return loss


class OverMeanSquaredError(keras.losses.MeanSquaredError):
    def call(self, y_true, y_pred):
        return distance(y_true, y_pred)


LOSS_CLASSES = {
    "class": lambda: own_loss(distance),
    "subclass": OverMeanSquaredError,
    "attribute": with_own_call,
}
by_loss_class = pytest.mark.parametrize(
    "loss", LOSS_CLASSES.values(), ids=LOSS_CLASSES
)


@by_loss_class
@each_once(route=LOSS_ROUTES, shape=LABEL_SHAPES.values())
def test_loss_class_that_indexes_an_axis(loss, shape, route):
    x, y, values = indexed(shape)
    weights = numbers(*shape, seed=2)
    found = loss_by(route, loss(), x, y, weights)
    close(found, np.mean(values * weights))


@by_loss_class
@each_once(route=LOSS_ROUTES, shape=LABEL_SHAPES.values())
def test_loss_class_that_indexes_an_axis_of_a_masked_model(loss, shape, route):
    x, y, values = indexed(shape)
    mask = keeping(*shape)
    x = {"predictions": x, "mask_0": mask}
    close(loss_by(route, loss(), x, y), np.mean(values[mask]))


# 3. `Loss` classes of users' own that bring tensors to one rank by themselves.


def squares(y, p):
    return ops.square(y - p)


RANKS = {
    # Name: the loss, the shapes of labels and of predictions.
    "expand_labels": (
        lambda y, p: squares(ops.expand_dims(y, -1), p),
        lambda *shape: (shape, (*shape, 1)),
    ),
    "expand_predictions": (
        lambda y, p: squares(y, ops.expand_dims(p, -1)),
        lambda *shape: ((*shape, 1), shape),
    ),
    "squeeze_predictions": (
        lambda y, p: squares(y, ops.squeeze(p, -1)),
        lambda *shape: (shape, (*shape, 1)),
    ),
    "squeeze_labels": (
        lambda y, p: squares(ops.squeeze(y, -1), p),
        lambda *shape: ((*shape, 1), shape),
    ),
}
by_ranks = pytest.mark.parametrize(
    ("function", "shapes"), RANKS.values(), ids=RANKS
)
SHAPES = [(N,), (N, 3), (N, 2), (N, 3, 3), (N, 2, 4)]
by_shape_and_route = pytest.mark.parametrize(
    ("shape", "route"),
    [(shape, "direct") for shape in SHAPES]
    + [((N,), fit), ((N,), evaluate_batch), ((N, 3), train_on_batch)],
    ids=name_of,
)


@by_ranks
@by_shape_and_route
def test_loss_class_that_aligns_ranks(function, shapes, shape, route):
    label_shape, prediction_shape = shapes(*shape)
    y, x = numbers(*label_shape), numbers(*prediction_shape, seed=1)
    found = loss_by(route, own_loss(function), x, y)
    close(found, np.mean((wide(y).ravel() - x.ravel()) ** 2))


@by_ranks
@by_shape_and_route
def test_weighted_loss_class_that_aligns_ranks(function, shapes, shape, route):
    label_shape, prediction_shape = shapes(*shape)
    y, x = numbers(*label_shape), numbers(*prediction_shape, seed=1)
    weights = numbers(*shape, seed=2)
    found = loss_by(route, own_loss(function), x, y, weights)
    values = (wide(y).ravel() - x.ravel()) ** 2
    close(found, np.mean(values * weights.ravel()))


STRUCTURES = {
    "dict": (
        lambda y, p: squares(y["a"], p["a"][:, 0]) + y["b"][:, 0] * p["b"],
        lambda a, b: {"a": a, "b": b},
    ),
    "tuple": (
        lambda y, p: squares(y[0], p[0][:, 0]) + y[1][:, 0] * p[1],
        lambda a, b: (a, b),
    ),
    "list": (
        lambda y, p: squares(y[0], p[0][:, 0]) + y[1][:, 0] * p[1],
        lambda a, b: [a, b],
    ),
}


@pytest.mark.parametrize(
    ("function", "pack"), STRUCTURES.values(), ids=STRUCTURES
)
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_class_over_a_structure(function, pack, weighted):
    a, b = numbers(N), numbers(N, 1, seed=1)
    c, d = numbers(N, 1, seed=2), numbers(N, seed=3)
    weights = numbers(N, seed=4) if weighted else None
    found = own_loss(function)(pack(a, b), pack(c, d), sample_weight=weights)
    values = (wide(a) - c[:, 0]) ** 2 + wide(b)[:, 0] * d
    close(found, np.mean(values * (weights if weighted else 1)))


# 4. Weights and masks don't change what a loss sees.


def of_sorted(y, p):
    return ops.square(ops.sort(y, axis=-1) - ops.sort(p, axis=-1))


def of_sums(y, p):
    return ops.square(ops.cumsum(y - p, axis=-1))


def sorted_in_numpy(y, p):
    return (np.sort(wide(y)) - np.sort(wide(p))) ** 2


def sums_in_numpy(y, p):
    return np.cumsum(wide(y) - p, axis=-1) ** 2


OVER_THE_BATCH = {
    "sort": (of_sorted, sorted_in_numpy),
    "cumsum": (of_sums, sums_in_numpy),
}
by_kind = pytest.mark.parametrize("kind", [lambda f: f, own_loss], ids="fc")


@by_kind
@pytest.mark.parametrize(
    ("function", "in_numpy"), OVER_THE_BATCH.values(), ids=OVER_THE_BATCH
)
@pytest.mark.parametrize("weights", ["none", "ones", "others", "column"])
@by_route(["direct", evaluate_batch, train_on_batch])
def test_loss_over_the_batch(kind, function, in_numpy, weights, route):
    x, y = numbers(N), numbers(N, seed=1)
    weights = {
        "none": None,
        "ones": np.ones(N, "float32"),
        "others": numbers(N, seed=2),
        "column": np.ones((N, 1), "float32"),
    }[weights]
    found = loss_by(route, kind(function), x, y, weights)
    factor = 1 if weights is None else np.ravel(weights)
    close(found, np.mean(in_numpy(y, x) * factor))


@by_kind
@pytest.mark.parametrize("weight", [1.0, 3.0])
@by_route([fit, train_on_batch])
def test_loss_over_the_batch_with_class_weights(kind, weight, route):
    x, y = numbers(N), np.array([1, 0, 1], "float32")
    logs = route(
        passing(kind(of_sorted)), x, y, class_weight={0: weight, 1: 1.0}
    )
    factor = np.where(y == 0, weight, 1.0)
    close(logs["loss"], np.mean(sorted_in_numpy(y, x) * factor))


def of_each_timestep(y, p):
    """Later ones count more."""
    return ops.square(y - p) * ops.arange(1, y.shape[-1] + 1, dtype="float32")


def timesteps_in_numpy(y, p):
    return (wide(y) - p) ** 2 * np.arange(1, y.shape[-1] + 1)


ALONG_TIME = {
    "cumsum": (of_sums, sums_in_numpy),
    "factor": (of_each_timestep, timesteps_in_numpy),
}
by_function_of_time = pytest.mark.parametrize(
    ("function", "in_numpy"), ALONG_TIME.values(), ids=ALONG_TIME
)
AGGREGATES = {"mean": (ops.mean, np.mean), "max": (ops.max, np.max)}


def squeezing(function):
    """A `Loss` class gets the predictions with their last axis."""
    return own_loss(lambda y, p: function(y, ops.squeeze(p, -1)))


by_kind_of_time = pytest.mark.parametrize(
    "kind", [lambda f: f, squeezing], ids="fc"
)


@by_kind_of_time
@by_function_of_time
@pytest.mark.parametrize("aggregate", AGGREGATES)
@each_once(
    weight_shape=[(N,), (N,), None, (N, 1)],
    ones=[True, False],
    steps=[3, 2],
)
@by_route(["direct", train_on_batch])
def test_function_along_time(
    kind, function, in_numpy, aggregate, weight_shape, ones, steps, route
):
    in_keras, of_numpy = AGGREGATES[aggregate]
    x, y = numbers(N, steps, 1), numbers(N, steps, seed=1)
    weights = None if weight_shape is None else numbers(*weight_shape, seed=2)
    if weights is not None and ones:
        weights = np.ones_like(weights)

    def of_sequence(y, p):
        return in_keras(function(y, p), axis=-1)

    found = loss_by(route, kind(of_sequence), x, y, weights)
    values = of_numpy(in_numpy(y, x[..., 0]), axis=-1)
    factor = 1 if weights is None else np.ravel(weights)
    close(found, np.mean(values * factor))


@by_kind_of_time
@by_function_of_time
@pytest.mark.parametrize("weight_shape", [None, (N,), (N, 1)])
@by_route(["direct", train_on_batch])
def test_each_entry_along_time_with_ones(
    kind, function, in_numpy, weight_shape, route
):
    """With as many timesteps as samples, a weight of 1 fits either."""
    x, y = numbers(N, N, 1), numbers(N, N, seed=1)
    weights = weight_shape and np.ones(weight_shape, "float32")
    found = loss_by(route, kind(function), x, y, weights)
    close(found, np.mean(in_numpy(y, x[..., 0])))


@by_kind_of_time
@by_function_of_time
@each_once(route=LOSS_ROUTES, steps=[3, 2])
def test_function_along_time_of_a_masked_model(
    kind, function, in_numpy, steps, route
):
    x, y = numbers(N, steps, 1), numbers(N, steps, seed=1)
    mask = keeping(N, steps)
    x = {"predictions": x, "mask_0": mask}
    found = loss_by(route, kind(function), x, y)
    close(found, in_numpy(y, x["predictions"][..., 0])[mask].mean())


def largest_error(y, p):
    return ops.max(ops.abs(y - p), axis=-1)


@pytest.mark.parametrize("shape", [(N, 3), (N, 3, 1)])
@by_route(LOSS_ROUTES)
def test_largest_error(shape, route):
    x, y, weights = numbers(*shape), numbers(N, 3, seed=1), numbers(N, 1)
    found = loss_by(route, largest_error, x, y, weights)
    errors = np.abs(wide(y) - x.reshape(N, 3)).max(-1)
    close(found, np.mean(errors * weights[:, 0]))


@by_kind
@pytest.mark.parametrize("weight_shape", [(N,), (N, 1)])
@pytest.mark.parametrize("ones", [True, False])
@by_route(["direct", train_on_batch])
def test_largest_error_of_a_batch(kind, weight_shape, ones, route):
    x, y = numbers(N), numbers(N, seed=1)
    weights = numbers(*weight_shape, seed=2)
    if ones:
        weights = np.ones_like(weights)
    found = loss_by(route, kind(largest_error), x, y, weights)
    close(found, np.max(np.abs(wide(y) - x)) * np.mean(weights))


# 5. Keras' own, where the correction of weights would take something away.


def normalized(p):
    return p / p.sum(-1, keepdims=True)


def crossentropy_in_numpy(y, p):
    return -np.sum(y * np.log(normalized(p)), -1)


def divergence_in_numpy(y, p):
    return np.sum(y * np.log(y / p), -1)


def unit(x, axis=-1):
    return x / np.linalg.norm(x, axis=axis, keepdims=True)


def cosine_in_numpy(y, p):
    return np.sum(unit(y) * unit(p), -1)


def categorical_hinge_in_numpy(y, p):
    right, wrong = np.sum(y * p, -1), np.max((1 - y) * p, -1)
    return np.maximum(wrong - right + 1, 0)


def focal_in_numpy(y, p):
    p = normalized(p)
    return -np.sum(0.25 * (1 - p) ** 2 * y * np.log(p), -1)


def binary_crossentropy_in_numpy(y, p):
    return np.mean(-y * np.log(p) - (1 - y) * np.log(1 - p), -1)


def square_in_numpy(y, p):
    return np.mean((y - p) ** 2, -1)


def dice_in_numpy(y, p):
    return 1 - 2 * np.sum(y * p) / np.sum(y + p)


CLASSWISE = {
    "CategoricalCrossentropy": crossentropy_in_numpy,
    "KLDivergence": divergence_in_numpy,
    "CosineSimilarity": lambda y, p: -cosine_in_numpy(y, p),
    "CategoricalHinge": categorical_hinge_in_numpy,
    "CategoricalFocalCrossentropy": focal_in_numpy,
}
OF_ONE_SAMPLE = {
    **CLASSWISE,
    "MeanSquaredError": square_in_numpy,
    "BinaryCrossentropy": binary_crossentropy_in_numpy,
    "Dice": dice_in_numpy,
    "Tversky": dice_in_numpy,
}
by_classwise_loss = pytest.mark.parametrize(
    ("name", "in_numpy"), CLASSWISE.items(), ids=CLASSWISE
)
by_loss_of_one_sample = pytest.mark.parametrize(
    ("name", "in_numpy"), OF_ONE_SAMPLE.items(), ids=OF_ONE_SAMPLE
)
DISTRIBUTIONS = np.array(
    [[0.25, 0.5, 0.25], [0.125, 0.75, 0.125], [0.5, 0.25, 0.25]], "float32"
)
ONE_OF_THEM = [0.25, 0.5, 0.25], [0.125, 0.75, 0.125]


@by_loss_of_one_sample
@pytest.mark.parametrize("weight", [1.0, 0.5, [1.0], [0.5]])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", None])
@pytest.mark.parametrize("container", [list, np.array])
def test_loss_of_one_sample(name, in_numpy, weight, reduction, container):
    y, p = (container(values) for values in ONE_OF_THEM)
    loss = getattr(keras.losses, name)(reduction=reduction)
    if weight in ([1.0], [0.5]):
        weight = np.array(weight, "float32")
    found = loss(y, p, sample_weight=weight)
    assert tuple(found.shape) == ()
    y, p = map(wide, ONE_OF_THEM)
    close(found, in_numpy(y, p) * np.sum(weight))


def test_loss_of_one_sample_by_its_numbers():
    loss = keras.losses.CategoricalCrossentropy()
    found = loss([0, 1, 0], [0.1, 0.8, 0.1], sample_weight=1.0)
    close(found, -np.log(0.8))


def vectorized(function, *arrays):
    if BACKEND == "jax":
        import jax

        return jax.vmap(function)(*arrays)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tensors = tuple(tf.constant(array) for array in arrays)
        return tf.vectorized_map(lambda pair: function(*pair), tensors)
    import torch

    return torch.vmap(function)(*map(torch.tensor, arrays))


@by_loss_of_one_sample
@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", None])
def test_loss_of_one_sample_in_vmap(name, in_numpy, weight, reduction):
    loss = getattr(keras.losses, name)(reduction=reduction)
    y, p = DISTRIBUTIONS, np.roll(DISTRIBUTIONS, 1, axis=0)
    found = vectorized(lambda y, p: loss(y, p, sample_weight=weight), y, p)
    expected = [in_numpy(wide(a), wide(b)) * weight for a, b in zip(y, p)]
    close(found, expected)


def weighted_rates(y, p, w):
    """Weights of what is predicted to be true, by what is true."""
    positive = p > 0.5
    return {
        "TruePositives": np.sum(w * y * positive),
        "FalsePositives": np.sum(w * (1 - y) * positive),
        "FalseNegatives": np.sum(w * y * ~positive),
        "TrueNegatives": np.sum(w * (1 - y) * ~positive),
    }


def precision_in_numpy(y, p, w):
    rates = weighted_rates(y, p, w)
    true = rates["TruePositives"]
    return true / (true + rates["FalsePositives"])


def recall_in_numpy(y, p, w):
    rates = weighted_rates(y, p, w)
    true = rates["TruePositives"]
    return true / (true + rates["FalseNegatives"])


def auc_in_numpy(y, p, w):
    """The weight of the pairs of a true and a false one in the right order."""
    y, p, w = y.ravel(), p.ravel(), w.ravel()
    order = (np.sign(p[:, None] - p) + 1) / 2
    pairs = (w * y)[:, None] * (w * (1 - y))
    return np.sum(order * pairs) / np.sum(pairs)


def r2_in_numpy(y, p, w):
    mean = np.sum(y * w, 0) / np.sum(w, 0)
    unexplained = np.sum(w * (y - p) ** 2, 0)
    return np.mean(1 - unexplained / np.sum(w * (y - mean) ** 2, 0))


def weighted_mean(values):
    return lambda y, p, w: np.sum(values(y, p) * w) / np.sum(w)


KERAS_METRICS = {
    "Precision": precision_in_numpy,
    "Recall": recall_in_numpy,
    "AUC": auc_in_numpy,
    **{
        name: lambda y, p, w, name=name: weighted_rates(y, p, w)[name]
        for name in weighted_rates(*np.zeros((3, 1)))
    },
    "mse": weighted_mean(lambda y, p: (y - p) ** 2),
    "mae": weighted_mean(lambda y, p: np.abs(y - p)),
    "BinaryAccuracy": weighted_mean(lambda y, p: (p > 0.5) == y),
}


@pytest.mark.parametrize("name", [*KERAS_METRICS, "R2Score"])
@pytest.mark.parametrize("column", [False, True])
@each_once(route=[evaluate_batch, train_on_batch], steps=[3, 2])
def test_weighted_metric_of_sequences(name, column, steps, route):
    x = numbers(N, steps, 1)
    y = integers(2, N, steps, seed=4).astype("float32")
    if name == "R2Score":
        y = numbers(N, steps, seed=1)
    weights = numbers(N, seed=2)
    found = metric_by(
        route, name, x, y, weights[:, None] if column else weights, rank=1
    )
    in_numpy = {**KERAS_METRICS, "R2Score": r2_in_numpy}[name]
    full = np.repeat(wide(weights)[:, None], steps, axis=1)
    close(found, in_numpy(wide(y), wide(x[..., 0]), full))


@pytest.mark.parametrize("name", KERAS_METRICS)
@pytest.mark.parametrize("size", [3, 2])
def test_weighted_metric_of_images(name, size):
    x = numbers(N, size, size, 1)
    y = integers(2, N, size, size, seed=4).astype("float32")
    weights = numbers(N, 1, seed=2)
    found = metric_by(train_on_batch, name, x, y, weights, rank=1)
    full = wide(weights)[:, :, None] * np.ones((N, size, size))
    close(found, KERAS_METRICS[name](wide(y), wide(x[..., 0]), full))


def pearson_in_numpy(y, p):
    y, p = y - y.mean(-1, keepdims=True), p - p.mean(-1, keepdims=True)
    return np.sum(unit(y) * unit(p), -1)


def concordance_in_numpy(y, p):
    covariance = y.std(-1) * p.std(-1) * pearson_in_numpy(y, p)
    spread = y.var(-1) + p.var(-1) + (y.mean(-1) - p.mean(-1)) ** 2
    return 2 * covariance / spread


def sequences_of_classes(steps):
    rng = np.random.default_rng(steps)
    y, p = DISTRIBUTIONS[rng.integers(3, size=(2, N, steps))]
    return rng.permuted(p, axis=-1), y, numbers(N, steps, seed=2)


@by_classwise_loss
@each_once(route=["direct", train_on_batch, "direct"], steps=[3, 3, 2])
def test_classes_with_one_more_axis(name, in_numpy, steps, route):
    x, y, weights = sequences_of_classes(steps)
    loss = getattr(keras.losses, name)()
    found = loss_by(route, loss, x[..., None], y, weights)
    close(found, np.mean(in_numpy(wide(y), wide(x)) * weights))


CORRELATIONS = {
    "CosineSimilarity": cosine_in_numpy,
    "PearsonCorrelation": pearson_in_numpy,
    "ConcordanceCorrelation": concordance_in_numpy,
}


@pytest.mark.parametrize(
    ("name", "in_numpy"), CORRELATIONS.items(), ids=CORRELATIONS
)
@each_once(route=["direct", evaluate_batch], steps=[3, 2])
def test_correlation_with_one_more_axis(name, in_numpy, steps, route):
    x, y, weights = numbers(N, steps, 4), numbers(N, steps, 4, seed=1), None
    weights = numbers(N, steps, seed=2)
    metric = getattr(keras.metrics, name)()
    found = metric_by(route, metric, x[..., None], y, weights)
    values = in_numpy(wide(y), wide(x))
    close(found, np.sum(values * weights) / np.sum(weights), rtol=1e-4)


@pytest.mark.parametrize("name", ["Dice", "Tversky"])
@pytest.mark.parametrize("weights", ["ones", "others", "column"])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
@by_route(["direct", evaluate_batch, train_on_batch])
def test_dice_with_weights(name, weights, reduction, route):
    x, y = numbers(N, 1), np.array([[1], [0], [1]], "float32")
    loss = getattr(keras.losses, name)(reduction=reduction)
    weights = {
        "ones": np.ones(N, "float32"),
        "others": numbers(N, seed=2),
        "column": numbers(N, 1, seed=2),
    }[weights]
    found = loss_by(route, loss, x, y, weights)
    factor = weights.sum() if reduction == "sum" else weights.mean()
    close(found, dice_in_numpy(wide(y), wide(x)) * factor)


@pytest.mark.parametrize("name", ["Dice", "Tversky"])
@by_route([fit, train_on_batch])
def test_dice_with_class_weights(name, route):
    x, y = numbers(N, 1), np.array([[1], [0], [1]], "float32")
    loss = getattr(keras.losses, name)()
    found = loss_by(route, loss, x, y, class_weight={0: 0.5, 1: 3.0})
    close(found, dice_in_numpy(wide(y), wide(x)) * (3.0 + 0.5 + 3.0) / 3)


@pytest.mark.parametrize("name", ["Dice", "Tversky"])
@by_route(LOSS_ROUTES)
def test_dice_of_each_image_with_weights(name, route):
    x, y = numbers(N, 2, 2, 1), integers(2, N, 2, 2, 1).astype("float32")
    y[:, 0, 0] = 1
    weights = numbers(N, seed=2)
    loss = getattr(keras.losses, name)(axis=(1, 2, 3))
    found = loss_by(route, loss, x, y, weights)
    values = [dice_in_numpy(wide(a), wide(b)) for a, b in zip(y, x)]
    close(found, np.mean(values * weights))


def over_the_last_axis(y, p):
    return ops.mean(ops.square(y - p), axis=-1)


by_own = pytest.mark.parametrize("own", [False, True])


def mean_square_loss(own, reduction="sum_over_batch_size"):
    """The same loss, of Keras' own or of the user's."""
    if own:
        return own_loss(over_the_last_axis, reduction=reduction)
    return keras.losses.MeanSquaredError(reduction=reduction)


BROADCAST = [
    # Shapes of the weights and of the values, which are means over an axis.
    ((1,), (N,)),
    ((1,), (N, 2)),
    ((1, 1), (N,)),
    ((1, 1), (N, 2)),
    ((1, 2), (N, 2)),
    ((1, 3), (N, 3)),
    ((1, 2, 1), (N, 2)),
    ((1, 2, 4), (N, 2, 4)),
    ((N, 1), (N, 2)),
    ((N, 1, 4), (N, 2, 4)),
    ((1, 1, 4), (N, 2, 4)),
    ((1, 2, 1), (N, 2, 4)),
]


def aligned(weights, shape):
    """Weights of one of the shapes above, for values of another one."""
    if weights.ndim > len(shape):
        weights = weights[..., 0]
    return np.broadcast_to(wide(weights), shape)


@pytest.mark.parametrize(("weight_shape", "shape"), BROADCAST)
@by_own
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
@by_route(["direct", train_on_batch])
def test_weights_that_are_broadcast(weight_shape, shape, own, reduction, route):
    x, y = numbers(*shape, 2), numbers(*shape, 2, seed=1)
    weights = numbers(*weight_shape, seed=2)
    found = loss_by(route, mean_square_loss(own, reduction), x, y, weights)
    values = square_in_numpy(wide(y), wide(x)) * aligned(weights, shape)
    close(found, values.sum() if reduction == "sum" else values.mean())


# 6. `LossFunctionWrapper.call`, by hand and through `super()`.


def hinge_in_numpy(y, p):
    return np.mean(np.maximum(1 - y * p, 0), -1)


def poisson_in_numpy(y, p):
    return np.mean(p - y * np.log(p), -1)


def binary_focal_in_numpy(y, p):
    right = np.where(y == 1, p, 1 - p)
    return np.mean(-((1 - right) ** 2) * np.log(right), -1)


BY_HAND = {
    # Name: the values of labels, and the loss of labels and predictions that
    # have the shape `(samples, 1)`.
    "Hinge": ([-1, 1], hinge_in_numpy),
    "SquaredHinge": (
        [-1, 1],
        lambda y, p: np.mean(np.maximum(1 - y * p, 0) ** 2, -1),
    ),
    "CategoricalHinge": ([0, 1], categorical_hinge_in_numpy),
    "Poisson": ([0, 1], poisson_in_numpy),
    "KLDivergence": ([0.25, 0.75], divergence_in_numpy),
    "Dice": ([0, 1], dice_in_numpy),
    "Tversky": ([0, 1], dice_in_numpy),
    "BinaryCrossentropy": ([0, 1], binary_crossentropy_in_numpy),
    "BinaryFocalCrossentropy": ([0, 1], binary_focal_in_numpy),
    # With a single class, there is nothing to be wrong about.
    "CategoricalCrossentropy": ([0, 1], lambda y, p: np.zeros(len(p))),
    "CategoricalFocalCrossentropy": ([0, 1], lambda y, p: np.zeros(len(p))),
    "SparseCategoricalCrossentropy": ([0, 0], lambda y, p: np.zeros(len(p))),
    "MeanSquaredError": ([0, 1], square_in_numpy),
    "MeanAbsoluteError": (
        [0, 1],
        lambda y, p: np.mean(np.abs(y - p), -1),
    ),
}
by_hand = pytest.mark.parametrize(
    ("name", "labels", "in_numpy"),
    [(name, *row) for name, row in BY_HAND.items()],
    ids=BY_HAND,
)


@by_hand
def test_call_by_hand(name, labels, in_numpy):
    y = np.array(labels * 2, "float32")[:N]
    p = numbers(N, 1)
    loss = getattr(keras.losses, name)()
    found = loss.call(ops.convert_to_tensor(y), ops.convert_to_tensor(p))
    expected = in_numpy(wide(y)[:, None], wide(p))
    assert tuple(found.shape) == np.shape(expected)
    close(found, expected)


@pytest.mark.parametrize(
    ("label_shape", "prediction_shape", "expected"),
    [
        ((N,), (N, 1), (N, 1)),
        ((N, 1), (N,), (N, 1)),
        ((N, 2), (N, 2, 1), (N, 2)),
        ((N, 2, 1), (N, 2), (N, 2)),
        ((N, 3), (N, 3, 1), (N, 3)),
        ((N, 2, 2), (N, 2, 2, 1), (N, 2, 2)),
        ((N, 2), (N, 2), (N, 2)),
    ],
)
@pytest.mark.parametrize("structure", ["tensor", "dict", "list"])
def test_call_of_own_function_by_hand(
    label_shape, prediction_shape, expected, structure
):
    pack, unpack = {
        "tensor": (lambda x: x, lambda x: x),
        "dict": (lambda x: {"a": x}, lambda x: x["a"]),
        "list": (lambda x: [x], lambda x: x[0]),
    }[structure]
    y, p = numbers(*label_shape), numbers(*prediction_shape, seed=1)
    loss = LossFunctionWrapper(lambda y, p: squares(unpack(y), unpack(p)))
    found = loss.call(
        pack(ops.convert_to_tensor(y)), pack(ops.convert_to_tensor(p))
    )
    close(found, (wide(y).reshape(expected) - p.reshape(expected)) ** 2)


def own_wrapper_class():
    class OwnWrapperLoss(LossFunctionWrapper):
        def __init__(self):
            super().__init__(lambda y, p: ops.mean(ops.square(y - p), -1))

    return OwnWrapperLoss


PACKED = {
    "hinge": (keras.losses.Hinge, [-1, 1], hinge_in_numpy),
    "poisson": (keras.losses.Poisson, [0, 1], poisson_in_numpy),
    "mse": (keras.losses.MeanSquaredError, [0, 1], square_in_numpy),
    "bce": (
        keras.losses.BinaryCrossentropy,
        [0, 1],
        binary_crossentropy_in_numpy,
    ),
    "own": (own_wrapper_class(), [0, 1], square_in_numpy),
}


@pytest.mark.parametrize(
    ("base", "labels", "in_numpy"), PACKED.values(), ids=PACKED
)
@each_once(route=LOSS_ROUTES, weighted=[False, True, True, True])
def test_labels_with_packed_weights(base, labels, in_numpy, weighted, route):
    class Packed(base):
        def call(self, y_true, y_pred):
            values = super().call(y_true[:, 0], y_pred)
            return y_true[:, 1] * values

    y = np.stack([np.array(labels * 2)[:N], [0.5, 2, 3]], -1).astype("float32")
    x = numbers(N, 1)
    weights = numbers(N, seed=2) if weighted else None
    found = loss_by(route, Packed(), x, y, weights)
    values = wide(y)[:, 1] * in_numpy(wide(y)[:, :1], wide(x))
    close(found, np.mean(values * (weights if weighted else 1)))


# 7. Losses that return one number, which stands for the value of each sample.


def own_dice(y, p):
    return 1.0 - 2.0 * ops.sum(y * p) / ops.sum(y + p)


def mean_crossentropy(y, p):
    return ops.mean(keras.losses.sparse_categorical_crossentropy(y, p))


def scalar_data(kind, steps):
    if kind == "dice":
        x, y = numbers(N, steps), integers(2, N, steps).astype("float32")
        y[0] = 1
        return own_dice, x, y, dice_in_numpy(wide(y), wide(x))
    x, y = numbers(N, steps, 4), integers(4, N, steps)
    values = surprise_in_numpy(y, normalized(wide(x)))
    return mean_crossentropy, x, y, np.mean(values)


SCALARS = pytest.mark.parametrize("kind", ["dice", "crossentropy"])
by_scalar_form = pytest.mark.parametrize("form", ["function", "class"])
REDUCTIONS = {
    "sum_over_batch_size": lambda w: w.mean(),
    "mean": lambda w: w.mean(),
    "sum": lambda w: w.sum(),
    "mean_with_sample_weight": lambda w: 1.0,
}
by_reduction = pytest.mark.parametrize(
    ("reduction", "factor"), REDUCTIONS.items(), ids=REDUCTIONS
)


def scalar_loss(form, function, reduction):
    if form == "function":
        return LossFunctionWrapper(function, reduction=reduction)
    return own_loss(function, reduction=reduction)


@SCALARS
@by_scalar_form
@by_reduction
@pytest.mark.parametrize("shape", [(N,), (N, 1), (N, 2)])
@pytest.mark.parametrize("ones", [True, False])
def test_scalar_loss_with_weights(kind, form, reduction, factor, shape, ones):
    function, x, y, value = scalar_data(kind, 2)
    weights = np.ones(shape, "float32") if ones else numbers(*shape, seed=2)
    loss = scalar_loss(form, function, reduction)
    found = loss(y, x, sample_weight=weights)
    close(found, value * factor(wide(weights)))


@SCALARS
@by_scalar_form
@each_once(route=[fit, evaluate_batch, train_on_batch], ones=[True, False])
def test_scalar_loss_with_weights_in_a_model(kind, form, route, ones):
    function, x, y, value = scalar_data(kind, 2)
    loss = function if form == "function" else own_loss(function)
    weights = np.ones(N, "float32") if ones else numbers(N, seed=2)
    found = loss_by(route, loss, x, y, weights)
    close(found, value * wide(weights).mean())


@by_scalar_form
def test_scalar_loss_without_reduction(form):
    function, x, y, value = scalar_data("dice", 2)
    weights = numbers(N, seed=2)
    loss = scalar_loss(form, function, None)
    close(loss(y, x, sample_weight=weights), value * weights)


@by_route(["direct", train_on_batch])
@TIMESTEPS
def test_scalar_loss_with_weights_of_timesteps(route, steps):
    x, y = numbers(N, steps, 1), numbers(N, steps, seed=1)
    weights = numbers(N, steps, seed=2)
    found = loss_by(route, lambda y, p: ops.mean(squares(y, p)), x, y, weights)
    errors = (wide(y) - x[..., 0]) ** 2
    close(found, np.mean(errors) * np.mean(weights))


@by_scalar_form
@by_route([fit, train_on_batch])
def test_scalar_loss_with_class_weights(form, route):
    x, y = numbers(N, 1), np.array([[1], [0], [1]], "float32")
    loss = own_dice if form == "function" else own_loss(own_dice)
    found = loss_by(route, loss, x, y, class_weight={0: 4.0, 1: 0.5})
    close(found, dice_in_numpy(wide(y), wide(x)) * 5.0 / 3.0)


MASKED_REDUCTIONS = {
    # The kept ones, for which the scalar stands, and their weights.
    "sum_over_batch_size": lambda m, w: np.sum(m * w) / np.sum(m),
    "mean": lambda m, w: np.sum(m * w) / np.sum(m),
    "sum": lambda m, w: np.sum(m * w),
    "mean_with_sample_weight": lambda m, w: 1.0,
}


@SCALARS
@by_scalar_form
@pytest.mark.parametrize(
    ("reduction", "factor"), MASKED_REDUCTIONS.items(), ids=MASKED_REDUCTIONS
)
@pytest.mark.parametrize("weighted", [False, True])
def test_scalar_loss_with_a_mask(kind, form, reduction, factor, weighted):
    function, x, y, value = scalar_data(kind, 2)
    mask = keeping(N, 2)
    weights = numbers(N, 2, seed=2) if weighted else None
    loss = scalar_loss(form, function, reduction)
    found = loss(y, masked(x, mask), sample_weight=weights)
    close(found, value * factor(mask, wide(weights) if weighted else 1.0))


@SCALARS
@by_scalar_form
@by_route([evaluate_batch, train_on_batch])
def test_scalar_loss_of_a_masked_model(kind, form, route):
    function, x, y, value = scalar_data(kind, 2)
    loss = function if form == "function" else own_loss(function)
    x = {"predictions": x, "mask_0": keeping(N, 2)}
    close(loss_by(route, loss, x, y), value)


# 8. Labels of unknown rank.


def of_unknown_rank(x, y, *weights, source):
    """A dataset of one batch, in which labels have a shape when it runs."""
    tf = pytest.importorskip("tensorflow")

    flat = keras.tree.flatten((x, y, *weights))
    count = len(keras.tree.flatten(x))
    if source == "from_generator":
        dataset = tf.data.Dataset.from_generator(
            lambda: iter([(x, y, *weights)]),
            output_types=keras.tree.map_structure(
                lambda array: tf.as_dtype(array.dtype), (x, y, *weights)
            ),
        )
    else:
        dataset = tf.data.Dataset.from_tensors((x, y, *weights))

        def hidden(array):
            return tf.numpy_function(lambda a: a, [array], array.dtype)

        dataset = dataset.map(
            lambda *batch: tuple(tf.nest.map_structure(hidden, batch))
        )

    def with_shapes(*batch):
        leaves = tf.nest.flatten(batch)
        for leaf, array in zip(leaves[:count], flat):
            leaf.set_shape((None, *array.shape[1:]))
        if weights:
            for leaf, array in zip(
                leaves[-len(tf.nest.flatten(weights)) :],
                tf.nest.flatten(weights),
            ):
                leaf.set_shape((None, *array.shape[1:]))
        return tuple(tf.nest.pack_sequence_as(batch, leaves))

    return dataset.map(with_shapes)


def reshaping(y, p):
    """Makes of the labels what it needs."""
    y = ops.reshape(y, ops.shape(p))
    return ops.mean(ops.square(y - p), axis=-1)


SOURCES = pytest.mark.parametrize("source", ["from_generator", "map"])


@only_tensorflow
@SOURCES
@pytest.mark.parametrize("label_shape", [(N,), (N, 1)])
@each_once(method=["fit", "evaluate", "fit"], weighted=[False, True, True])
def test_labels_of_unknown_rank(source, label_shape, weighted, method):
    x, y = numbers(N, 1), numbers(*label_shape, seed=1)
    weights = (numbers(N, seed=2),) if weighted else ()
    data = of_unknown_rank(x, y, *weights, source=source)
    model = passing(own_loss(reshaping), eager=False)
    found = getattr(model, method)(data, verbose=0)
    found = found.history["loss"][0] if method == "fit" else found
    values = (wide(y).ravel() - x.ravel()) ** 2
    close(found, np.mean(values * (weights[0] if weighted else 1)))


@only_tensorflow
@SOURCES
@pytest.mark.parametrize("weighted", [False, True])
def test_labels_of_unknown_rank_for_two_outputs(source, weighted):
    x = {"predictions": {"a": numbers(N, 1), "b": numbers(N, 1, seed=1)}}
    y = {"a": numbers(N, seed=2), "b": numbers(N, 1, seed=3)}
    weights = {"a": numbers(N, seed=4), "b": numbers(N, seed=5)}
    data = of_unknown_rank(
        x, y, *([weights] if weighted else []), source=source
    )
    model = passing(
        {"a": own_loss(reshaping), "b": own_loss(reshaping)}, eager=False
    )
    logs = model.evaluate(data, verbose=0, return_dict=True)
    # Stock counts its batches wrong where nobody knows how many there are, so
    # that only the total is to be seen.
    total = 0
    for name in y:
        errors = wide(y[name]).ravel() - x["predictions"][name].ravel()
        total += np.mean(errors**2 * (weights[name] if weighted else 1))
    close(logs["loss"], total)


# 9. Labels on another device than the predictions.


@only_torch
@pytest.mark.parametrize(
    "loss",
    [squares, own_loss(squares), OverMeanSquaredError(), own_dice, "mse"],
    ids=["function", "class", "subclass", "scalar", "keras"],
)
@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_labels_on_another_device(loss, as_tensor, weighted):
    import torch

    y, p = numbers(N, 3), numbers(N, 3, 1)
    weights = numbers(N, 3) if weighted else None
    if loss == "mse":
        weights = weights if weights is None else weights[:, 0]
    if not isinstance(loss, OverMeanSquaredError):
        p = p[..., 0]
    if as_tensor:
        y = torch.from_numpy(y)
        weights = weights if weights is None else torch.from_numpy(weights)
    with keras.device("meta"):
        p = ops.convert_to_tensor(p)
        assert p.device.type == "meta"
        found = get_loss(loss, y, p)(y, p, sample_weight=weights)
        total = CompileLoss(loss)(y, p, weights)
    assert found.device.type == total.device.type == "meta"
    assert tuple(found.shape) == tuple(total.shape) == ()


# 10. Whose own it is.


def of_other_module(name):
    """`distance`, as if a module of this name had it."""
    names = {**distance.__globals__, "__name__": name}
    return types.FunctionType(
        distance.__code__, names, "distance", distance.__defaults__
    )


def under_the_name_of_keras():
    function = of_other_module("users_code")
    function.__module__ = "keras.src.losses.losses"
    function.__name__ = function.__qualname__ = "mean_squared_error"
    function.__wrapped__ = keras.losses.mean_squared_error
    return function


class MeanSquaredError(keras.losses.MeanSquaredError):
    """Of the same name as one of Keras' own."""

    def call(self, y_true, y_pred):
        return distance(y_true, y_pred)


MeanSquaredError.__module__ = keras.losses.MeanSquaredError.__module__


@pytest.mark.parametrize(
    "function",
    [
        of_other_module("keras_hub.src.metrics.perplexity"),
        of_other_module("keras_hub.src.losses"),
        of_other_module("my.keras.src.losses.losses"),
        under_the_name_of_keras(),
        MeanSquaredError().call,
        functools.partial(MeanSquaredError().call),
    ],
    ids=["hub", "hub_losses", "mine", "copied", "method", "partial"],
)
@pytest.mark.parametrize("masked_model", [False, True])
def test_users_function_under_another_name(function, masked_model):
    x, y, values = indexed((N, N))
    weights = numbers(N, N, seed=2)
    if masked_model:
        x, weights = {"predictions": x, "mask_0": keeping(N, N)}, None
    found = metric_by(evaluate_batch, function, x, y, weights)
    weights = x["mask_0"] if masked_model else weights
    close(found, np.sum(values * weights) / np.sum(weights))


def test_users_loss_class_under_another_name():
    x, y, values = indexed((N, N))
    weights = numbers(N, N, seed=2)
    found = loss_by("direct", MeanSquaredError(), x, y, weights)
    close(found, np.mean(values * weights))


@pytest.mark.parametrize("function", [ops.subtract, np.subtract])
def test_functions_of_operations_are_the_users(function):
    """They get ranks to which they apply their own rules."""
    x, y = numbers(N, N, 1), numbers(N, N, seed=1)
    weights = numbers(N, N, seed=2)
    p = ops.convert_to_tensor(x)
    if function is np.subtract and getattr(p, "is_cuda", False):
        pytest.skip("NumPy can't read what is on a GPU")
    metrics = CompileMetrics(None, [function])
    metrics.update_state(y, p, weights)
    (found,) = metrics.result().values()
    values = np.mean(wide(y) - x, axis=-1)
    close(found, np.sum(values * weights) / np.sum(weights))
    # As a loss, it gets predictions of the rank of the labels.
    found = CompileLoss(function)(y, p, weights)
    close(found, np.mean((wide(y) - x[..., 0]) * weights))


class OnlyInit(keras.losses.MeanSquaredError):
    def __init__(self):
        super().__init__(name="only_init")


class OnlyResult(keras.metrics.MeanSquaredError):
    def result(self):
        return super().result()


KERAS_OWN_LOSSES = {
    "function": keras.losses.mean_squared_error,
    "string": "mse",
    "object": keras.losses.MeanSquaredError(),
    "only_init": OnlyInit(),
    "partial": functools.partial(keras.losses.mean_squared_error),
    "partial_of_partial": functools.partial(
        functools.partial(keras.losses.mean_squared_error)
    ),
    "wrapper": LossFunctionWrapper(keras.losses.mean_squared_error),
    "wrapped_partial": LossFunctionWrapper(
        functools.partial(keras.losses.mean_squared_error)
    ),
}


@pytest.mark.parametrize(
    "loss", KERAS_OWN_LOSSES.values(), ids=KERAS_OWN_LOSSES
)
@by_label_shape
@by_route(["direct", train_on_batch])
def test_new_weights_of_entries_with_keras_own_loss(loss, shape, route):
    x, y, values = indexed(shape)
    weights = numbers(*shape, seed=2)
    close(loss_by(route, loss, x, y, weights), np.mean(values * weights))


KERAS_OWN_METRICS = {
    "string": lambda: "mse",
    "function": lambda: keras.metrics.mean_squared_error,
    "partial": lambda: functools.partial(keras.losses.mean_squared_error),
    "object": keras.metrics.MeanSquaredError,
    "only_result": OnlyResult,
    "wrapper": lambda: keras.metrics.MeanMetricWrapper(
        keras.losses.mean_squared_error, name="own"
    ),
}


@pytest.mark.parametrize(
    "metric", KERAS_OWN_METRICS.values(), ids=KERAS_OWN_METRICS
)
@by_label_shape
@pytest.mark.parametrize("masked_model", [False, True])
def test_new_weights_of_entries_with_keras_own_metric(
    metric, shape, masked_model
):
    x, y, values = indexed(shape)
    weights = numbers(*shape, seed=2)
    if masked_model:
        x, weights = {"predictions": x, "mask_0": keeping(*shape)}, None
    found = metric_by(evaluate_batch, metric(), x, y, weights, rank=len(shape))
    weights = x["mask_0"] if masked_model else weights
    close(found, np.sum(values * weights) / np.sum(weights))


# 11. What stock has wrong as well. A function of the user's own is asked a
# second time where weights or mask don't fit what it returned.


def keras_over_the_last_axis(y, p):
    return keras.losses.mean_squared_error(y, p)


ASKED_AGAIN = {
    "function": over_the_last_axis,
    "partial": functools.partial(over_the_last_axis),
    "calls_keras": keras_over_the_last_axis,
    "wrapper": LossFunctionWrapper(over_the_last_axis),
}
by_asked_again = pytest.mark.parametrize(
    "function", ASKED_AGAIN.values(), ids=ASKED_AGAIN
)


@by_asked_again
@by_label_shape
@pytest.mark.parametrize("column", [False, True])
@by_route(["direct", train_on_batch])
def test_new_function_is_asked_again_for_weights(
    function, shape, column, route
):
    x, y, values = indexed(shape)
    weights = numbers(*shape, seed=2)
    given = weights[..., None] if column else weights
    close(loss_by(route, function, x, y, given), np.mean(values * weights))


@by_asked_again
@by_label_shape
@by_route(["direct", train_on_batch])
def test_new_function_is_asked_again_for_a_mask(function, shape, route):
    x, y, values = indexed(shape)
    mask = keeping(*shape)
    x = {"predictions": x, "mask_0": mask}
    close(loss_by(route, function, x, y), np.mean(values[mask]))


@by_route(["direct", train_on_batch])
def test_new_function_that_never_fits_is_refused(route):
    """Weights of timesteps have no meaning for one value of a sequence.

    Stock multiplies the values of the samples by the weights of timesteps.
    """

    def of_sequence(y, p):
        return ops.mean(ops.reshape(ops.square(y - p), (N, -1)), axis=-1)

    x, y, _ = indexed((N, N))
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        loss_by(route, of_sequence, x, y, numbers(N, N))


@by_own
@by_route(["direct", train_on_batch])
def test_new_weights_of_timesteps_alone_are_refused(own, route):
    """With as many timesteps as samples, they would mean samples."""
    x, y = numbers(N, 2, 4), numbers(N, 2, 4, seed=1)
    with pytest.raises(ValueError, match=r"sample_weight.*\(2,\)"):
        loss_by(route, mean_square_loss(own), x, y, numbers(2))


@by_own
@by_route(["direct", train_on_batch])
def test_new_weights_of_as_many_timesteps_mean_samples(own, route):
    x, y, weights = numbers(N, N, 4), numbers(N, N, 4, seed=1), numbers(N)
    found = loss_by(route, mean_square_loss(own), x, y, weights)
    values = square_in_numpy(wide(y), wide(x))
    close(found, np.mean(values * weights[:, None]))


# The sum of the weights that such a mean is divided by.
SUMMED_WRONG = [
    pair for pair in BROADCAST if np.prod(pair[0]) < np.prod(pair[1])
]


@by_own
@pytest.mark.parametrize(("weight_shape", "shape"), SUMMED_WRONG)
def test_new_mean_by_weights_that_are_broadcast(own, weight_shape, shape):
    x, y = numbers(*shape, 2), numbers(*shape, 2, seed=1)
    weights = numbers(*weight_shape, seed=2)
    loss = mean_square_loss(own, "mean_with_sample_weight")
    weights_of_all = aligned(weights, shape)
    values = square_in_numpy(wide(y), wide(x))
    close(
        loss(y, x, sample_weight=weights),
        np.sum(values * weights_of_all) / np.sum(weights_of_all),
    )


# One label array for several heads.

HEADS = [numbers(N, 1), numbers(N, 1, seed=1)]


class Arranged(Passing):
    """A model with its outputs in a container."""

    def __init__(self, arrange, **kwargs):
        super().__init__(**kwargs)
        self.arrange = arrange

    def call(self, inputs):
        flat = super().call(inputs)
        return self.arrange([flat[key] for key in sorted(flat)])


def many(arrays):
    return {"predictions": {str(i): array for i, array in enumerate(arrays)}}


ARRANGEMENTS = {
    "list": list,
    "dict": lambda leaves: dict(zip("abc", leaves)),
}


def headed(container, losses):
    arrange = ARRANGEMENTS[container]
    model = Arranged(arrange)
    if isinstance(losses, list):
        losses = arrange(losses)
    model.compile(keras.optimizers.SGD(0.0), loss=losses, run_eagerly=True)
    return model


by_container = pytest.mark.parametrize("container", ARRANGEMENTS)


@by_container
@pytest.mark.parametrize("loss", ["mse", keras.losses.mean_absolute_error])
@by_route([fit, evaluate_batch])
def test_new_label_that_would_broadcast_heads_is_refused(
    container, loss, route
):
    """It holds the labels of each, and the loss would mix them up."""
    model = headed(container, loss)
    with pytest.raises(ValueError, match="y_true"):
        route(model, many(HEADS), numbers(N, 3))


@by_container
def test_new_label_that_is_broadcast_to_heads(container):
    heads = [numbers(N, 3), numbers(N, 3, seed=1)]
    y = numbers(N, 1)
    logs = train_on_batch(headed(container, "mse"), many(heads), y)
    close(logs["loss"], sum(np.mean((wide(y) - p) ** 2) for p in heads))


@by_container
@by_kind
@by_route([fit, evaluate_batch])
def test_new_packed_label_for_own_losses_of_two_heads(container, kind, route):
    losses = [
        kind(lambda y, p, i=i: ops.mean(ops.square(y[:, i : i + 1] - p), -1))
        for i in range(2)
    ]
    y = numbers(N, 2, seed=2)
    logs = route(headed(container, losses), many(HEADS), y)
    expected = sum(
        np.mean((wide(y)[:, i : i + 1] - p) ** 2) for i, p in enumerate(HEADS)
    )
    close(logs["loss"], expected)


# A `Loss` object as a metric.

AS_METRICS = {
    "mse": (keras.losses.MeanSquaredError, square_in_numpy),
    "bce": (keras.losses.BinaryCrossentropy, binary_crossentropy_in_numpy),
    "own": (lambda **kwargs: own_loss(over_the_last_axis, **kwargs), None),
}
by_loss_as_metric = pytest.mark.parametrize(
    ("loss", "in_numpy"),
    [(loss, f or square_in_numpy) for loss, f in AS_METRICS.values()],
    ids=AS_METRICS,
)
by_method = pytest.mark.parametrize("method", [fit, evaluate], ids=name_of)


def of_loss_as_metric(method, argument, loss, x, y, weights=None):
    model = passing(nothing(1), **{argument: [loss]})
    logs = method(model, x, y, weights, batch_size=2)
    (name,) = set(logs) - {"loss"}
    return logs[name]


@by_loss_as_metric
@by_method
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_new_loss_as_metric_with_a_short_last_batch(
    loss, in_numpy, method, argument
):
    x, y = numbers(5, 2), numbers(5, 2, seed=1)
    found = of_loss_as_metric(method, argument, loss(), x, y)
    close(found, np.mean(in_numpy(wide(y), wide(x))))


@by_loss_as_metric
@by_method
def test_new_loss_as_weighted_metric(loss, in_numpy, method):
    x, y, weights = numbers(5, 2), numbers(5, 2, seed=1), numbers(5, seed=2)
    found = of_loss_as_metric(method, "weighted_metrics", loss(), x, y, weights)
    values = in_numpy(wide(y), wide(x))
    close(found, np.sum(values * weights) / np.sum(weights))


@by_loss_as_metric
@by_method
def test_loss_as_metric_that_sums(loss, in_numpy, method):
    """It stays the mean over batches of the sums over each."""
    x, y = numbers(5, 2), numbers(5, 2, seed=1)
    found = of_loss_as_metric(method, "metrics", loss(reduction="sum"), x, y)
    close(found, np.sum(in_numpy(wide(y), wide(x))) / 3)


# 12. Warnings, which change nothing.


def warnings_of(*calls):
    """What users are warned of, for each of the calls."""
    found = []
    for call in calls:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        found.append(
            [str(w.message) for w in caught if w.category is UserWarning]
        )
    return found


def new_loss_class(function=squares):
    class Column(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return function(y_true, y_pred)

    return Column


FLAT_LABELS, COLUMN = numbers(N), numbers(N, 1, seed=1)


def test_new_warning_of_a_loss_class():
    first, second = new_loss_class(), new_loss_class()
    (one,), none, again, (other,) = warnings_of(
        lambda: first()(FLAT_LABELS, COLUMN),
        lambda: first()(FLAT_LABELS, COLUMN),
        lambda: first(name="another")(FLAT_LABELS, COLUMN),
        lambda: second()(FLAT_LABELS, COLUMN),
    )
    assert none == again == []
    for message in (one, other):
        assert "Column" in message
        assert "(3,)" in message and "(3, 1)" in message


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@by_route([fit, evaluate_batch])
def test_new_warning_of_a_loss_class_in_a_model(eager, weighted, route):
    # One number for each sample, so that weights fit.
    loss = new_loss_class(lambda y, p: squares(y, p[:, 0]))()
    weights = numbers(N) if weighted else None
    model = passing(loss, eager)
    (one,), again = warnings_of(
        lambda: route(model, COLUMN, FLAT_LABELS, weights),
        lambda: route(model, COLUMN, FLAT_LABELS, weights),
    )
    assert "Column" in one
    assert again == []


@pytest.mark.parametrize("argument", ARGUMENTS)
@by_route([fit, evaluate_batch])
def test_new_warning_of_a_function_as_a_metric(argument, route):
    def column_error(y, p):
        return ops.abs(ops.subtract(y, p))

    def other_error(y, p):
        return ops.abs(ops.subtract(y, p))

    models = [
        passing("mse", **{argument: [function]})
        for function in (column_error, column_error, other_error)
    ]
    (one,), again, (other,) = warnings_of(
        *(
            lambda model=model: route(model, COLUMN, FLAT_LABELS)
            for model in models
        )
    )
    assert again == []
    for message, name in ((one, "column_error"), (other, "other_error")):
        assert name in message
        assert "(3,)" in message and "(3, 1)" in message


def new_scalar_loss(form):
    def one_number(y, p):
        return ops.mean(ops.square(y - p))

    if form == "function":
        return one_number

    class OneNumber(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return one_number(y_true, y_pred)

    return OneNumber()


@by_scalar_form
@pytest.mark.parametrize("weights", ["sample_weight", "class_weight"])
def test_new_warning_of_one_number_for_a_weighted_batch(form, weights):
    loss = new_scalar_loss(form)
    y = np.array([[0], [1], [1]], "float32")
    given = {
        "sample_weight": np.ones(N, "float32"),
        "class_weight": {0: 1.0, 1: 2.0},
    }[weights]
    model = passing(loss)
    without, (one,), again = warnings_of(
        lambda: train_on_batch(model, COLUMN, y),
        lambda: train_on_batch(model, COLUMN, y, **{weights: given}),
        lambda: train_on_batch(model, COLUMN, y, **{weights: given}),
    )
    assert without == again == []
    assert ("one_number" if form == "function" else "OneNumber") in one
    # The shape of the weights.
    assert "(3,)" in one


ONES = np.ones(N, "float32")
QUIET = {
    # A loss, metrics, labels, predictions and weights.
    "keras": ("mse", ["mae", "mse"], FLAT_LABELS, COLUMN, None),
    "keras_weighted": ("mse", ["mae"], FLAT_LABELS, COLUMN, ONES),
    "keras_object": (
        keras.losses.MeanSquaredError(),
        [keras.metrics.MeanSquaredError()],
        FLAT_LABELS,
        COLUMN,
        ONES,
    ),
    "keras_binary": (
        "binary_crossentropy",
        ["accuracy", "AUC"],
        FLAT_LABELS,
        COLUMN,
        ONES,
    ),
    "keras_only_init": (OnlyInit(), [], FLAT_LABELS, COLUMN, ONES),
    "keras_dice": (keras.losses.Dice(), [], COLUMN, COLUMN, ONES),
    "keras_tversky": ("tversky", [], COLUMN, COLUMN, ONES),
    "keras_partial": (
        functools.partial(keras.losses.mean_squared_error),
        [],
        FLAT_LABELS,
        COLUMN,
        ONES,
    ),
    "aligned_function": (
        lambda y, p: squares(y, p),
        [],
        FLAT_LABELS,
        COLUMN,
        ONES,
    ),
    "same_shapes": (
        own_loss(squares),
        [lambda y, p: squares(ops.convert_to_tensor(y), p)],
        COLUMN,
        COLUMN,
        ONES,
    ),
    "other_shapes": (
        own_loss(lambda y, p: distance(y, p)),
        [distance],
        numbers(N, 2),
        numbers(N, 2, 1),
        None,
    ),
    "metric_class": (
        "mse",
        [OwnMean(lambda y, p: ops.abs(ops.subtract(y, p[:, 0])))],
        FLAT_LABELS,
        COLUMN,
        ONES,
    ),
    "one_number": (own_loss(own_dice), [], COLUMN, COLUMN, None),
}


@pytest.mark.parametrize(
    ("loss", "metrics", "y", "x", "weights"), QUIET.values(), ids=QUIET
)
@by_route([evaluate_batch, train_on_batch])
def test_no_warning(loss, metrics, y, x, weights, route):
    model = passing(loss, metrics=metrics)
    (messages,) = warnings_of(lambda: route(model, x, y, weights))
    assert messages == []


# Each label with each prediction.
ALL_PAIRS = (wide(FLAT_LABELS) - COLUMN) ** 2


@by_route(LOSS_ROUTES)
@pytest.mark.filterwarnings("ignore")
def test_loss_class_that_is_warned_of(route):
    close(
        loss_by(route, own_loss(squares), COLUMN, FLAT_LABELS),
        np.mean(ALL_PAIRS),
    )


@by_route(["direct", *ROUTES])
@pytest.mark.filterwarnings("ignore")
def test_function_as_a_metric_that_is_warned_of(route):
    found = metric_by(
        route,
        lambda y, p: ops.square(ops.subtract(y, p)),
        COLUMN,
        FLAT_LABELS,
        rank=1,
    )
    close(found, np.mean(ALL_PAIRS))


# 13. Any program: what is handed over is what the rules of stock say.

COUNT = 3


def aligned_shapes(label, prediction):
    """How stock aligns ranks, for functions as losses.

    If one has an axis of size 1 more than the other, the other gets one, too,
    if it is a vector; else the one loses it.
    """
    if len(label) == len(prediction) + 1 and label[-1] == 1:
        if len(prediction) == 1:
            return label, (*prediction, 1)
        return label[:-1], prediction
    if len(prediction) == len(label) + 1 and prediction[-1] == 1:
        return aligned_shapes(prediction, label)[::-1]
    return label, prediction


class Program(NamedTuple):
    """A random one: its data and, for each output, an `Output`."""

    route: Any
    container: str
    policy: str
    has_weights: bool
    class_weight: bool
    outputs: list


class Output(NamedTuple):
    """What one output is handed, and to whom.

    Args:
        label: The shape of the label.
        label_dtype: Its dtype.
        prediction: The shape of the prediction.
        weights: The shape of its sample weights, if there are some.
        mask: The shape of its mask, or `None`.
        loss: One of `LOSS_KINDS`.
        loss_dtype: The dtype of the loss, or `None`.
        scalar: Whether the loss returns one number.
        metrics: Some of `METRIC_KINDS`.
        weighted_metrics: Some of `METRIC_KINDS`.
    """

    label: tuple
    label_dtype: str
    prediction: tuple
    weights: tuple
    mask: Any
    loss: str
    loss_dtype: Any
    scalar: bool
    metrics: list
    weighted_metrics: list


def recording(seen, shape):
    """A function that notes what it gets, and returns zeros."""

    def recorder(y_true, y_pred):
        seen.append((y_true, y_pred))
        # Of the predictions, for there to be a gradient.
        return ops.zeros(shape) + ops.cast(0.0 * ops.sum(y_pred), "float32")

    return recorder


class Callable:
    def __init__(self, function):
        self.function = function

    def __call__(self, y_true, y_pred):
        return self.function(y_true, y_pred)


def loss_with_own_dunder_call(seen, shape, dtype):
    class OwnCall(keras.losses.Loss):
        def __call__(self, y_true, y_pred, sample_weight=None):
            seen.append((y_true, y_pred, sample_weight))
            return ops.cast(0.0 * ops.sum(y_pred), "float32")

    return OwnCall(dtype=dtype)


def keras_loss_with_own_call(seen, shape, dtype):
    class OverKeras(keras.losses.MeanSquaredError):
        def call(self, y_true, y_pred):
            return recording(seen, shape)(y_true, y_pred)

    return OverKeras(dtype=dtype)


# Each with what is recorded, and the shape of what is returned.
LOSS_KINDS = {
    "class": lambda *a: own_loss(recording(*a[:2]), dtype=a[2]),
    "over_keras": keras_loss_with_own_call,
    "dunder_call": loss_with_own_dunder_call,
    "function": lambda *a: recording(*a[:2]),
    "partial": lambda *a: functools.partial(recording(*a[:2])),
    "object": lambda *a: Callable(recording(*a[:2])),
    "wrapper": lambda *a: LossFunctionWrapper(recording(*a[:2]), dtype=a[2]),
}
FUNCTION_KINDS = ("function", "partial", "object", "wrapper")
# The others have the dtype of all, which is float32.
DTYPE_KINDS = ("class", "over_keras", "wrapper")


def metric_over(base):
    class Recording(base):
        def __init__(self, seen, shape, name):
            super().__init__(name=name)
            # As an attribute, Keras would make another list of it.
            self.note = seen.append

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.note((y_true, y_pred, sample_weight))

        def result(self):
            return ops.zeros(())

    return Recording


METRIC_KINDS = {
    "class": metric_over(keras.metrics.Metric),
    "mean": metric_over(keras.metrics.Mean),
    "precision": metric_over(keras.metrics.Precision),
    "mse": metric_over(keras.metrics.MeanSquaredError),
    "function": lambda seen, shape, name: recording(seen, shape),
    "partial": lambda seen, shape, name: functools.partial(
        recording(seen, shape)
    ),
    "object": lambda seen, shape, name: Callable(recording(seen, shape)),
}

axes = st.lists(st.sampled_from([1, 2, 3]), max_size=3).map(tuple)


@st.composite
def outputs(draw, class_weight, masks):
    """An `Output`, with weights for each sample if they are for classes."""
    prediction = (COUNT, *draw(axes))
    label = draw(
        st.sampled_from(
            [
                prediction,
                prediction[:-1] or prediction,
                (*prediction, 1),
                (COUNT,),
                (COUNT, 1),
                (COUNT, *draw(axes)),
            ]
        )
    )
    prefix = prediction[: draw(st.integers(1, len(prediction)))]
    weights = draw(st.sampled_from([prefix, prefix, (COUNT,), (COUNT, 1)]))
    if class_weight:
        label, weights = (
            draw(st.sampled_from([label[:1], (COUNT, 1)])),
            (COUNT,),
        )
    # Stock puts weights and mask together if they have one shape.
    mask = draw(st.sampled_from([None, weights])) if masks else None
    kinds = st.lists(st.sampled_from(sorted(METRIC_KINDS)), max_size=2)
    loss = draw(st.sampled_from(sorted(LOSS_KINDS)))
    return Output(
        label=label,
        label_dtype="int32" if class_weight else draw(dtypes),
        prediction=prediction,
        weights=weights,
        mask=mask,
        loss=loss,
        loss_dtype=draw(loss_dtypes) if loss in DTYPE_KINDS else None,
        scalar=draw(st.booleans()),
        metrics=draw(kinds),
        weighted_metrics=draw(kinds),
    )


dtypes = st.sampled_from(["float32", "int32"])
loss_dtypes = st.sampled_from([None, "float16", "bfloat16"])


@st.composite
def programs(draw):
    route = draw(
        st.sampled_from(
            ["direct", evaluate, evaluate_batch, fit, train_on_batch]
        )
    )
    trains = route in (fit, train_on_batch)
    container = draw(st.sampled_from(["one", "list", "dict"]))
    count = 1 if container == "one" else draw(st.integers(2, 3))
    class_weight = trains and container == "one" and draw(st.booleans())
    has_weights = class_weight or draw(st.booleans())
    masks = draw(st.booleans())
    if BACKEND == "jax" and trains or BACKEND == "torch" and has_weights:
        # Stock loses masks where JAX trains, and with PyTorch it multiplies
        # the user's weights by them, in place.
        masks = False
    return Program(
        route=route,
        container=container,
        policy=draw(st.sampled_from(["float32", "mixed_bfloat16"])),
        has_weights=has_weights,
        class_weight=class_weight,
        outputs=[draw(outputs(class_weight, masks)) for _ in range(count)],
    )


def as_described(x):
    """Shape and dtype of an array, or `None`."""
    if x is None:
        return None
    return tuple(x.shape), keras_backend.common.standardize_dtype(x.dtype)


def mask_of(x):
    mask = keras_backend.common.masking.get_keras_mask(x)
    return None if mask is None else ops.convert_to_numpy(mask).tolist()


def described(record):
    """What a recorder was handed, to be compared."""
    y_true, y_pred, *weight = record
    found = [as_described(y_true), as_described(y_pred), mask_of(y_pred)]
    for w in weight:
        found += [as_described(w)]
        found += [None if w is None else ops.convert_to_numpy(w).tolist()]
    return found


def expected_for_loss(output, policy, weight, mask):
    """What stock hands to a loss."""
    label, prediction = output.label, output.prediction
    dtype = "bfloat16" if policy == "mixed_bfloat16" else "float32"
    if output.loss == "dunder_call":
        found = [(label, output.label_dtype), (prediction, dtype), mask]
        return found + expected_weight(weight)
    loss_dtype = output.loss_dtype or "float32"
    if output.loss in FUNCTION_KINDS:
        label, prediction = aligned_shapes(label, prediction)
    if loss_dtype != dtype or prediction != output.prediction:
        # A tensor of its own carries no mask.
        mask = None
    return [(label, loss_dtype), (prediction, loss_dtype), mask]


def expected_weight(weight):
    if weight is None:
        return [None, None]
    return [(weight.shape, "float32"), weight.tolist()]


def expected_for_metric(kind, output, policy, weight, mask):
    """What stock hands to a metric."""
    dtype = "bfloat16" if policy == "mixed_bfloat16" else "float32"
    found = [(output.label, output.label_dtype), (output.prediction, dtype)]
    found += [mask]
    if kind in FUNCTION_KINDS:
        return found
    return found + expected_weight(weight)


def data_of(program):
    """Predictions, labels, weights and masks of each output."""
    found = []
    for i, output in enumerate(program.outputs):
        label = integers(2, *output.label, seed=i).astype(output.label_dtype)
        weight = numbers(*output.weights, seed=10 + i)
        if program.class_weight:
            weight = np.where(label.ravel() == 0, 0.5, 2.0).astype("float32")
        mask = None if output.mask is None else keeping(*output.mask)
        found.append(
            (
                numbers(*output.prediction, seed=20 + i),
                label,
                weight if program.has_weights else None,
                mask,
            )
        )
    return found


@settings(max_examples=settings().max_examples // 3)
@given(programs())
@pytest.mark.filterwarnings("ignore")
def test_what_is_handed_over(program):
    arrange = {"one": lambda leaves: leaves[0], **ARRANGEMENTS}[
        program.container
    ]
    data = data_of(program)
    seen, expected = [], []
    losses, metrics, weighted_metrics = [], [], []

    def note(*handed):
        expected.append(list(handed))
        seen.append([])
        return seen[-1]

    for i, (output, (_, _, weight, mask)) in enumerate(
        zip(program.outputs, data)
    ):
        given_mask = None if mask is None else mask.tolist()
        handed = output, program.policy
        shape = output.prediction
        if weight is not None or mask is not None:
            shape = output.weights
        loss_shape = () if output.scalar else shape
        losses.append(
            LOSS_KINDS[output.loss](
                note(*expected_for_loss(*handed, weight, given_mask)),
                loss_shape,
                output.loss_dtype,
            )
        )
        for into, kinds, w in (
            (metrics, output.metrics, None),
            (weighted_metrics, output.weighted_metrics, weight),
        ):
            into.append(
                [
                    METRIC_KINDS[kind](
                        note(
                            *expected_for_metric(kind, *handed, w, given_mask)
                        ),
                        shape,
                        f"own_{i}_{j}_{len(kinds)}",
                    )
                    for j, kind in enumerate(kinds)
                ]
            )
    if program.container == "one":
        metrics, weighted_metrics = metrics[0], weighted_metrics[0]
    else:
        metrics, weighted_metrics = arrange(metrics), arrange(weighted_metrics)
    step = stepping(
        program, data, arrange, arrange(losses), metrics, weighted_metrics
    )
    step()
    # The first one was to build what is used, with shapes only.
    for records in seen:
        records.clear()
    step()
    found = [[described(record) for record in records] for records in seen]
    assert found == [[handed] for handed in expected]


def stepping(program, data, arrange, losses, metrics, weighted_metrics):
    """A function that shows the program a batch."""
    predictions, labels, weights, masks = zip(*data)
    y = arrange(labels)
    w = arrange(weights) if program.has_weights else None
    if program.route == "direct":
        dtype = keras.DTypePolicy(program.policy).compute_dtype
        tensors = [ops.convert_to_tensor(p, dtype) for p in predictions]
        for tensor, mask in zip(tensors, masks):
            if mask is not None:
                keras_backend.common.masking.set_keras_mask(
                    tensor, ops.convert_to_tensor(mask)
                )
        loss = CompileLoss(losses)
        metric = CompileMetrics(metrics, weighted_metrics)

        def step():
            loss(y, arrange(tensors), w)
            metric.update_state(y, arrange(tensors), w)

        return step
    model = Arranged(arrange, dtype=program.policy)
    model.compile(
        keras.optimizers.SGD(0.0),
        loss=losses,
        metrics=metrics,
        weighted_metrics=weighted_metrics,
        run_eagerly=True,
    )
    x = many(predictions)
    for i, mask in enumerate(masks):
        if mask is not None:
            x[f"mask_{i}"] = mask
    if program.class_weight:
        weighing = {"class_weight": {0: 0.5, 1: 2.0}}
    else:
        weighing = {"sample_weight": w}
    return lambda: program.route(model, x, y, **weighing)


# 14. Found by programs that no row has: stock is right here.


class OwnFunctionInside(keras.metrics.MeanMetricWrapper):
    """Wraps a method of its own."""

    def __init__(self):
        super().__init__(self.compute, name="inside")

    def compute(self, y_true, y_pred):
        return 2 * keras.ops.mean(keras.ops.abs(y_true - y_pred), -1)


class LossOfItself(keras.losses.MeanSquaredError):
    def __init__(self):
        super().__init__()
        self.fn = self.compute

    def compute(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_true - y_pred), -1)


class WithAMethod(keras.losses.MeanSquaredError):
    def ranks(self, y_true, y_pred):
        ranks = 10 * len(y_true.shape) + len(y_pred.shape)
        return keras.ops.ones_like(y_pred) * ranks


def test_function_that_is_a_method_of_its_own_object():
    y, p = np.zeros((2, 1), "float32"), np.array([[1.0], [3.0]], "float32")
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    model.compile(loss="mae", metrics=[OwnFunctionInside()])
    logs = model.evaluate(p, y, verbose=0, return_dict=True)
    # The mean of 1 and 3, and twice that.
    assert logs == pytest.approx({"loss": 2.0, "inside": 4.0})
    assert float(LossOfItself()(y, p)) == pytest.approx(2.0)


def test_method_of_an_object_of_keras_own():
    y = np.zeros(3, "float32")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse", metrics=[WithAMethod().ranks])
    logs = model.evaluate(y[:, None], y, verbose=0, return_dict=True)
    assert logs["ranks"] == 12.0


@pytest.mark.parametrize("value", [0.0, [1.0, 2.0]], ids=["number", "list"])
@pytest.mark.parametrize("weighted", [False, True])
def test_function_that_returns_no_tensor(value, weighted):
    loss = LossFunctionWrapper(lambda y_true, y_pred: value)
    y = np.zeros((2, 1), "float32")
    weights = np.array([2.0, 4.0], "float32") if weighted else None
    expected = np.mean(np.multiply(value, weights if weighted else 1.0))
    assert float(loss(y, y, weights)) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_number_in_an_array(shape):
    def one_number(y_true, y_pred):
        mean = keras.ops.mean(keras.ops.square(y_true - y_pred))
        return keras.ops.reshape(mean, shape)

    loss = LossFunctionWrapper(one_number)
    y, p = np.zeros((2, 1), "float32"), np.array([[1.0], [3.0]], "float32")
    # The mean of 1 and 9, times that of 2 and 4.
    assert float(loss(y, p, np.array([2.0, 4.0]))) == pytest.approx(15.0)
    assert float(loss(y, p)) == pytest.approx(5.0)


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
def test_dict_for_the_only_output_without_a_name(argument):
    class Plain(keras.Model):
        def call(self, x):
            return 2.0 * x

    model = Plain()
    model.compile(loss="mse", **{argument: {"output": ["mae"]}})
    x = np.array([[1.0], [3.0]], "float32")
    logs = model.evaluate(x, 0 * x, verbose=0, return_dict=True)
    # 4 * (1 + 9) / 2, and 2 * (1 + 3) / 2.
    assert logs == pytest.approx({"loss": 20.0, "mae": 4.0})


class Unhashable:
    __hash__ = None

    def __call__(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.subtract(y_true, y_pred))


class WithoutReferences:
    __slots__ = ()

    def __call__(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.subtract(y_true, y_pred))


@pytest.mark.filterwarnings("ignore:`:UserWarning")
@pytest.mark.parametrize(
    "arguments",
    [{"loss": Unhashable()}, {"loss": "mse", "metrics": [WithoutReferences()]}],
    ids=["unhashable", "no references"],
)
def test_callable_that_nothing_can_point_to(arguments):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(**arguments)
    x = np.array([[1.0], [3.0]], "float32")
    weights = np.array([2.0, 4.0], "float32")
    logs = model.train_on_batch(x, x[:, 0], weights, return_dict=True)
    assert all(map(np.isfinite, logs.values()))


def test_monitor_of_a_metric_by_its_own_name():
    """Stock warns that it is not logged, and trains."""
    inputs = keras.Input((1,))
    outputs = [keras.layers.Dense(1, name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, outputs)
    model.compile(loss=["mse", "mse"], metrics=[["mae"], ["mae"]])
    x = np.ones((2, 1), "float32")
    stopping = keras.callbacks.EarlyStopping("mae")
    with pytest.warns(UserWarning, match="not available"):
        history = model.fit(
            x, [x, x], epochs=2, callbacks=[stopping], verbose=0
        ).history
    assert len(history["loss"]) == 2


@pytest.mark.parametrize(
    "values,weights,expected",
    [((3,), (3, 1), (3, 1)), ((3, 2, 1), (3, 2), (3, 2)), ((3,), (3,), (3,))],
)
def test_shape_without_a_reduction(values, weights, expected):
    loss = LossFunctionWrapper(
        lambda y_true, y_pred: keras.ops.reshape(y_pred, values), reduction=None
    )
    p = np.arange(1.0, 1 + np.prod(values), dtype="float32")
    found = loss(0 * p, p, 2 * np.ones(weights, "float32"))
    assert tuple(found.shape) == expected
    np.testing.assert_allclose(np.ravel(number_of(found)), 2 * p)


def number_of(tensor):
    return keras.ops.convert_to_numpy(tensor)


# 15. Losses that users derive from Keras', with names and configs of their own.


not_on_head = pytest.mark.skipif(
    pip_build.is_on_head(), reason="stock head asks each for its `delta`, too"
)


def again(loss):
    return keras.losses.deserialize(keras.losses.serialize(loss))


@keras.saving.register_keras_serializable("users_code")
class ScaledCosine(keras.losses.CosineSimilarity):
    def __init__(self, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, y_true, y_pred):
        return self.scale * super().call(y_true, y_pred)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("users_code")
class FixedDelta(keras.losses.Huber):
    def __init__(self, name="huber", reduction="sum_over_batch_size"):
        super().__init__(delta=2.0, name=name, reduction=reduction)


@keras.saving.register_keras_serializable("users_code")
class PassesOn(keras.losses.Huber):
    def __init__(self, scale=1.0, **kwargs):
        super().__init__(delta=2.0, **kwargs)
        self.scale = scale

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("users_code")
class OfItsOwn(keras.losses.Huber):
    def __init__(self, **kwargs):
        keras.losses.Loss.__init__(self, **kwargs)

    def call(self, y_true, y_pred):
        return 3.5 * ops.abs(y_true - y_pred)


@pytest.mark.parametrize(
    "loss,expected",
    [
        # The same vector.
        (ScaledCosine(scale=5.0), -5.0),
        # 2 * (3 - 2 / 2)
        pytest.param(FixedDelta(), 4.0, marks=not_on_head),
        pytest.param(PassesOn(), 4.0, marks=not_on_head),
        pytest.param(OfItsOwn(), 10.5, marks=not_on_head),
    ],
)
def test_config_of_a_derived_loss(loss, expected):
    y_pred = np.full((2, 1), 3.0, "float32")
    y_true = y_pred if isinstance(loss, ScaledCosine) else 0 * y_pred
    for one in (loss, again(loss)):
        close(one(y_true, y_pred), expected)


@keras.saving.register_keras_serializable("users_code")
class FixedAxis(keras.losses.SparseCategoricalCrossentropy):
    def __init__(self, from_logits=False, ignore_class=None, **kwargs):
        super().__init__(from_logits, ignore_class, axis=1, **kwargs)


@pytest.mark.skipif(BACKEND != "torch", reason="the others know no other axis")
@not_on_head
def test_config_of_a_derived_loss_with_another_axis():
    # Of two classes, along the second axis, both for each of three positions.
    y_pred = np.full((1, 2, 3), 0.5, "float32")
    y_true = np.zeros((1, 3), "int32")
    for loss in (FixedAxis(), again(FixedAxis())):
        close(loss(y_true, y_pred), np.log(2))


class HasATensor(keras.losses.Loss):
    def __init__(self):
        super().__init__()
        self._tensor = ops.ones(())

    def call(self, y_true, y_pred):
        return self._tensor * ops.mean(ops.square(y_true - y_pred), -1)


class HasMethods(keras.losses.Loss):
    def _tensor(self, x):
        return 3.0 * x

    def _convert(self, x):
        return self._tensor(x)

    def _unreduced(self, y_true, y_pred):
        return ops.square(self._convert(y_true - y_pred))

    def call(self, y_true, y_pred):
        return ops.mean(self._unreduced(y_true, y_pred), -1)


class HasALabel(keras.losses.MeanSquaredError):
    def __init__(self):
        super().__init__()
        self._label = "a"
        self._sample_values = None


@pytest.mark.parametrize(
    "loss,expected", [(HasATensor, 1.0), (HasMethods, 9.0), (HasALabel, 1.0)]
)
def test_private_names(loss, expected):
    y_pred = np.ones((4, 1), "float32")
    close(loss()(0 * y_pred, y_pred), expected)
    model = passing(loss(), metrics=[loss()])
    logs = evaluate(model, y_pred, 0 * y_pred)
    close(list(logs.values()), [expected] * 2)


@pytest.mark.skipif(
    BACKEND != "torch", reason="NumPy takes no tensors of the others"
)
@pytest.mark.parametrize("name", ["subtract", "sub"])
def test_functions_that_are_written_in_c(name):
    """Their warning has nothing to be noted at."""
    import torch

    function = np.subtract if name == "subtract" else torch.Tensor.sub
    model = passing("mse", metrics=[function])
    y_pred = np.array([[1.0], [2.0], [6.0]], "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logs = evaluate(model, y_pred, np.zeros(3, "float32"))
    # Each prediction is subtracted from each label.
    close(logs[name], -3.0)


# 16. Losses and metrics that do without labels, where there are none.


class OfPredictions(keras.losses.Loss):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return ops.mean(y_pred)


class MeanPrediction(keras.metrics.Mean):
    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(y_pred)


def mean_prediction(y_true, y_pred):
    return ops.mean(y_pred, -1)


class AddsMean(keras.layers.Layer):
    def call(self, x):
        self.add_loss(ops.mean(x))
        return x


PREDICTIONS = np.array([[1.0], [2.0], [6.0]], "float32")


@pytest.mark.parametrize("eager", [False, True], ids=["compiled", "eager"])
def test_loss_without_labels(eager):
    model = passing(OfPredictions(), eager)
    close(fit(model, PREDICTIONS, None)["loss"], 3.0)


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
@pytest.mark.parametrize("kind", ["class", "function"])
def test_metric_without_labels(kind, argument):
    metric = mean_prediction
    if kind == "class":
        metric = MeanPrediction(name="mean_prediction")
    inputs = keras.Input((1,))
    model = keras.Model(inputs, AddsMean()(inputs))
    model.compile(run_eagerly=True, **{argument: [metric]})
    logs = model.evaluate(PREDICTIONS, verbose=0, return_dict=True)
    close([logs["loss"], logs["mean_prediction"]], [3.0, 3.0])


def test_one_output_without_a_label():
    inputs = keras.Input((1,))
    layer = keras.layers.Identity
    outputs = [layer(name="a")(inputs), layer(name="b")(inputs)]
    model = keras.Model(inputs, outputs)
    model.compile(loss=["mse", OfPredictions()])

    def batches():
        yield PREDICTIONS, (0 * PREDICTIONS, None)

    logs = model.evaluate(batches(), steps=1, verbose=0, return_dict=True)
    # (1 + 4 + 36) / 3 and 3.
    close(logs["loss"], 41 / 3 + 3)


@pytest.mark.parametrize("kind", ["list", "tuple", "scalars"])
def test_sample_weights_in_a_list(kind):
    model = passing("mse")
    weights = {
        "list": [1.0, 2.0, 0.5],
        "tuple": (1.0, 2.0, 0.5),
        "scalars": list(np.array([1.0, 2.0, 0.5], "float32")),
    }[kind]
    p = ops.convert_to_tensor(PREDICTIONS)
    loss = model.compute_loss(y=0 * p, y_pred=p, sample_weight=weights)
    # (1 * 1 + 2 * 4 + 0.5 * 36) / 3
    close(loss, 9.0)
