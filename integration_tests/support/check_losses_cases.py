"""Models for `check_losses_test.py`, balanced ones and others.

    python integration_tests/support/check_losses_cases.py CASE ...

prints as JSON what `tools/check_losses.py` says in each case with the Keras
that is installed; it imports nothing but that Keras, NumPy and the tool.
Without arguments it runs all cases.
"""

import contextlib
import importlib.util
import json
import pathlib
import sys

import numpy as np

import keras

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/check_losses.py"
ROWS = 24


def load_tool():
    spec = importlib.util.spec_from_file_location("check_losses", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


tool = load_tool()
check_losses = tool.check_losses


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def x():
    return random(ROWS, 3)


def labels(*names):
    """A column of labels for each output, no two alike."""
    return [random(ROWS, 1, seed=ord(name)) + 2 for name in names]


def head(name, **arguments):
    return keras.layers.Dense(1, name=name, **arguments)


def heads(*names, container=list, **arguments):
    """A model with outputs of these names, in this order."""
    inputs = keras.Input((3,))
    outputs = [head(name, **arguments)(inputs) for name in names]
    if container is dict:
        return keras.Model(inputs, dict(zip(names, outputs)))
    return keras.Model(inputs, outputs[0] if len(names) == 1 else outputs)


def check(model, inputs, y=None, sample_weight=None, **arguments):
    """Compiles a model and checks it."""
    options = {"cut_last_batch": True, "batch_size": 6}
    for name in ("cut_last_batch", "batch_size", "steps"):
        if name in arguments:
            options[name] = arguments.pop(name)
    model.compile("sgd", **arguments)
    return check_losses(
        model,
        inputs,
        y,
        sample_weight,
        loss_weights=arguments.get("loss_weights"),
        **options,
    )


# Logs that add up. None of these may be complained of.


def one_output(**options):
    return check(heads("a"), x(), *labels("a"), loss="mse", **options)


def lists(**options):
    return check(
        heads("z", "a"),
        x(),
        labels("z", "a"),
        loss=["mse", "mae"],
        **options,
    )


def dicts(**options):
    y = dict(zip("za", labels("z", "a")))
    return check(
        heads("z", "a", container=dict),
        x(),
        y,
        loss={"z": "mse", "a": keras.losses.Huber()},
        **options,
    )


def without_a_loss(**options):
    y = dict(zip("za", labels("z", "a")))
    return check(
        heads("a", "z", container=dict),
        x(),
        y,
        loss={"a": "mse", "z": None},
        **options,
    )


def regularized(**options):
    model = heads(
        "z",
        "a",
        kernel_regularizer="l2",
        activity_regularizer=keras.regularizers.L1(0.1),
    )
    return check(model, x(), labels("z", "a"), loss="mse", **options)


class AddsLoss(keras.layers.Layer):
    def call(self, inputs):
        self.add_loss(keras.ops.mean(keras.ops.square(inputs)))
        self.add_loss(0.5 * keras.ops.mean(inputs))
        return inputs


def added_losses(**options):
    inputs = keras.Input((3,))
    hidden = AddsLoss()(inputs)
    model = keras.Model(inputs, [head("z")(hidden), head("a")(hidden)])
    return check(model, x(), labels("z", "a"), loss="mse", **options)


def only_added_losses(**options):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, head("a")(AddsLoss()(inputs)))
    batches = [(x()[:6],), (x()[6:9],)]
    return check(model, batches, **options)


def weighted_samples(**options):
    weights = np.abs(random(ROWS, seed=1))
    return check(
        heads("z", "a"),
        x(),
        labels("z", "a"),
        weights,
        loss="mse",
        weighted_metrics=[["mae"], []],
        **options,
    )


def weights_for_each_output(**options):
    weights = [np.abs(random(ROWS, seed=seed)) for seed in (1, 2)]
    return check(
        heads("z", "a"),
        x(),
        labels("z", "a"),
        weights,
        loss=["mse", "mae"],
        **options,
    )


def masked(**options):
    inputs = keras.Input((5,), dtype="int32")
    hidden = keras.layers.Embedding(7, 4, mask_zero=True)(inputs)
    model = keras.Model(inputs, [head("z")(hidden), head("a")(hidden)])
    tokens = np.random.default_rng(0).integers(0, 7, (ROWS, 5))
    y = [random(ROWS, 5, 1, seed=1), random(ROWS, 5, 1, seed=2)]
    return check(model, tokens, y, loss="mse", metrics=[["mae"], []], **options)


def weighted_timesteps(**options):
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, head("a")(inputs))
    data = random(ROWS, 5, 3), random(ROWS, 5, 1, seed=1)
    weights = np.abs(random(ROWS, 5, seed=2))
    return check(model, *data, weights, loss="mse", **options)


def labels_without_the_last_axis(**options):
    """Some Keras squeezes such predictions, and weighs means of timesteps."""
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, head("a")(inputs))
    data = random(ROWS, 5, 3), random(ROWS, 5, seed=1)
    weights = np.abs(random(ROWS, seed=2))
    return check(model, *data, weights, loss="mae", **options)


def weights_of_timesteps_and_of_samples(**options):
    inputs = keras.Input((5, 3))
    of_samples = keras.layers.GlobalAveragePooling1D()(inputs)
    model = keras.Model(inputs, [head("z")(inputs), head("a")(of_samples)])
    y = [random(ROWS, 5, 1, seed=1), random(ROWS, 1, seed=2)]
    weights = [np.abs(random(*shape)) for shape in ((ROWS, 5), (ROWS,))]
    return check(
        model, random(ROWS, 5, 3), y, weights, loss=["mse", "mae"], **options
    )


def dropout_and_batch_normalization(**options):
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(8)(inputs)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Dropout(0.5)(hidden)
    hidden = keras.layers.GaussianNoise(1.0)(hidden)
    model = keras.Model(inputs, [head("z")(hidden), head("a")(hidden)])
    model.compile("sgd", ["mse", "mse"])
    model.fit(x(), labels("z", "a"), verbose=0)
    return check(model, x(), labels("z", "a"), loss="mse", **options)


def metrics(**options):
    y = labels("z", "a")
    return check(
        heads("z", "a"),
        x(),
        [(y[0] > 2).astype("float32"), y[1]],
        loss=["binary_crossentropy", "mse"],
        metrics=[["accuracy", keras.metrics.AUC(name="loss_auc")], ["mae"]],
        weighted_metrics=[[], ["mse", "mae"]],
        **options,
    )


def classes(**options):
    inputs = keras.Input((3,))
    outputs = [
        keras.layers.Dense(4, "softmax", name=name)(inputs) for name in "za"
    ]
    model = keras.Model(inputs, outputs)
    integers = np.random.default_rng(0).integers(0, 4, ROWS)
    one_hot = np.eye(4, dtype="float32")[integers]
    return check(
        model,
        x(),
        [integers, one_hot],
        loss=["sparse_categorical_crossentropy", "crossentropy"],
        **options,
    )


def flat_labels(**options):
    (y,) = labels("a")
    return check(heads("a"), x(), y[:, 0], loss="mae", **options)


def own_function(**options):
    def cubic(y_true, y_pred):
        difference = keras.ops.abs(y_true - y_pred)
        return keras.ops.mean(difference**3, axis=-1)

    return check(
        heads("z", "a"),
        x(),
        labels("z", "a"),
        loss=[cubic, keras.losses.MeanSquaredError(reduction="sum")],
        **options,
    )


def eager(**options):
    return lists(run_eagerly=True, **options)


def several_steps(**options):
    # PyTorch has no such mode.
    steps = 1 if keras.backend.backend() == "torch" else 2
    return lists(steps_per_execution=steps, jit_compile=False, **options)


class TwoOutputs(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(1)
        self.other = keras.layers.Dense(1)

    def call(self, inputs, training=True):
        # By default in training mode, unlike in `evaluate`.
        scale = 2.0 if training else 1.0
        return [self.layer(inputs) * scale, self.other(inputs)]


def subclassed(**options):
    return check(
        TwoOutputs(), x(), labels("z", "a"), loss=["mse", "mae"], **options
    )


def small(**options):
    """Losses near the smallest that float32 can tell from nothing."""
    model = heads("z", "a", kernel_initializer="zeros")
    y = [np.full((ROWS, 1), 1e-5), np.full((ROWS, 1), 2e-5)]
    return check(model, x(), y, loss="mse", **options)


def large(**options):
    y = [1e6 * y for y in labels("z", "a")]
    return check(heads("z", "a"), 1e6 * x(), y, loss="mse", **options)


@contextlib.contextmanager
def dtype_policy(name):
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(policy)


@contextlib.contextmanager
def floatx(name):
    before = keras.config.floatx()
    keras.config.set_floatx(name)
    try:
        yield
    finally:
        keras.config.set_floatx(before)


def mixed_precision(**options):
    with dtype_policy("mixed_bfloat16"):
        model = heads("z", "a")
    return check(model, x(), labels("z", "a"), loss="mse", **options)


def far_from_zero(output_dtype="float32"):
    """A model that predicts 100 and some: in bfloat16, 100 or 100.5."""
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(64, "relu")(inputs)
    hidden = keras.layers.Dense(64, "relu")(hidden)
    bias = keras.initializers.Constant(100)
    outputs = keras.layers.Dense(
        1, bias_initializer=bias, dtype=output_dtype, name="a"
    )(hidden)
    return keras.Model(inputs, outputs)


def far_from_zero_in_bfloat16(**options):
    with dtype_policy("mixed_bfloat16"):
        model = far_from_zero()
    return check(model, x(), 100 + x()[:, :1], loss="mse", **options)


def far_from_zero_in_float16(**options):
    with dtype_policy("mixed_float16"):
        model = far_from_zero()
    return check(model, x(), 100 + x()[:, :1], loss="mse", **options)


def predictions_in_bfloat16(**options):
    with dtype_policy("mixed_bfloat16"):
        model = far_from_zero(output_dtype="bfloat16")
    return check(model, x(), 100 + x()[:, :1], loss="mse", **options)


def one_layer_in_bfloat16(**options):
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(64, "relu", dtype="bfloat16")(inputs)
    model = keras.Model(inputs, head("a", dtype="float32")(hidden))
    return check(model, x(), *labels("a"), loss="mse", **options)


class OneOutput(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(1)

    def call(self, inputs):
        return self.layer(inputs)


def metric_named_as_a_loss(**options):
    metric = keras.metrics.MeanAbsoluteError(name="mse_loss")
    return check(
        OneOutput(), x(), *labels("a"), loss="mse", metrics=[metric], **options
    )


def metric_named_as_the_loss_of_another(**options):
    metric = keras.metrics.MeanAbsoluteError(name="a_loss")
    return check(
        heads("a"), x(), *labels("a"), loss="mse", metrics=[metric], **options
    )


def negative_mse(y_true, y_pred):
    return -keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


def one_variable_for_opposite_losses(**options):
    weight = keras.Variable(1.0)
    return check(
        heads("z", "a", "m", kernel_initializer="zeros"),
        x(),
        labels("z", "a", "m"),
        loss=["mse", negative_mse, "mse"],
        loss_weights=[weight, weight, 1.0],
        **options,
    )


def one_variable_for_losses_that_cancel(**options):
    weight = keras.Variable(1.0)
    (y,) = labels("z")
    return check(
        heads("z", "a", kernel_initializer="zeros"),
        x(),
        [y, y],
        loss=["mse", negative_mse],
        loss_weights=[weight, weight],
        **options,
    )


def negative_variable(**options):
    weight = keras.Variable(-1.0)
    return lists(loss_weights=[weight, 1.0], **options)


def critic(y_true, y_pred):
    return keras.ops.mean(y_true * y_pred, axis=-1)


def near_zero_by_cancellation(**options):
    """Terms of 1e4, that add up to less than a thousandth."""
    model = heads("a", kernel_initializer="ones")
    half = random(ROWS // 2, 3)
    inputs = np.concatenate([half, np.flip(half * (1 + 1e-7), 0)])
    y = np.repeat([[1e4], [-1e4]], ROWS // 2, axis=0)
    return check(model, inputs, y, loss=critic, batch_size=ROWS, **options)


def heads_that_cancel(**options):
    (y,) = labels("z")
    return check(
        heads("z", "a", kernel_initializer="ones"),
        x(),
        [y, y * (1 + 1e-7)],
        loss=["mse", "mse"],
        loss_weights=[1, -1],
        **options,
    )


def dicts_of_heads_that_cancel(**options):
    """Sorted by key, these go to the other output each."""
    (y,) = labels("z")
    return check(
        heads("z", "a", kernel_initializer="ones"),
        x(),
        {"z": y, "a": y},
        loss={"z": "mse", "a": "mse"},
        loss_weights={"z": 1, "a": -1},
        **options,
    )


class AddsWhatCancels(keras.layers.Layer):
    def call(self, inputs):
        self.add_loss(1e4 * keras.ops.mean(inputs))
        return inputs


def added_losses_that_cancel(**options):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, head("a")(AddsWhatCancels()(inputs)))
    half = random(ROWS // 2, 3)
    data = np.concatenate([half, np.flip(-half * (1 + 1e-7), 0)])
    return check(model, [(data,)], **options)


def array_of_weights(**options):
    return lists(loss_weights=np.array([1.0, 10.0]), **options)


def not_reduced(**options):
    loss = keras.losses.MeanSquaredError(reduction=None)
    return check(heads("a"), x(), *labels("a"), loss=loss, **options)


def not_reduced_with_two_outputs(**options):
    loss = keras.losses.MeanSquaredError(reduction="none")
    return check(
        heads("z", "a"), x(), labels("z", "a"), loss=[loss, "mae"], **options
    )


def two_inputs(**options):
    inputs = [keras.Input((3,)), keras.Input((3,))]
    hidden = AddsLoss()(keras.layers.Add()(inputs))
    model = keras.Model(inputs, head("a")(hidden))
    return check(model, [x(), random(ROWS, 3, seed=1)], **options)


def lists_of_numbers(**options):
    y = labels("a")[0].tolist()
    return check(heads("a"), x().tolist(), y, loss="mse", **options)


class OwnCall(keras.losses.Loss):
    """As people write it who come from elsewhere: no `call` at all."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        return keras.ops.mean(keras.ops.square(y_true - y_pred))


def own_call_of_a_loss(**options):
    loss = [OwnCall(name="own"), "mse"]
    return check(heads("z", "a"), x(), labels("z", "a"), loss=loss, **options)


def own_call_of_a_loss_with_timesteps(**options):
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, head("a")(inputs))
    data = random(ROWS, 5, 3), random(ROWS, 5, 1, seed=1)
    return check(model, *data, np.ones(ROWS), loss=OwnCall(), **options)


class OfGraphs(keras.Model):
    """From two nodes of each graph, one number for the graph."""

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(1)

    def call(self, inputs):
        nodes = self.layer(inputs["nodes"])
        return keras.ops.mean(keras.ops.reshape(nodes, (-1, 2)), -1)[:, None]


def inputs_with_another_first_axis(sizes=(4, 4, 4), **options):
    batches = [
        ({"nodes": random(2 * n, 3, seed=n)}, random(n, 1, seed=n))
        for n in sizes
    ]
    return check(OfGraphs(), batches, loss="mse", **options)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(6 * index, 6 * index + 6)
        return x()[rows], tuple(y[rows] for y in labels("z", "a"))


def from_a_dataset(**options):
    return check(heads("z", "a"), Batches(), loss="mse", **options)


def of_pairs(y_true, y_pred):
    y_true = keras.ops.reshape(y_true, (-1, 2))
    y_pred = keras.ops.reshape(y_pred, (-1, 2))
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


def pairs(**options):
    data = x()[:20], labels("a")[0][:20]
    return check(heads("a"), *data, loss=of_pairs, batch_size=10, **options)


def batches_of_several_lengths(**options):
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, head("a")(inputs))
    batches = [
        (random(6, length, 3), random(6, length, 1, seed=1))
        for length in (5, 5, 4, 7)
    ]
    return check(model, batches, loss="mse", **options)


def with_a_regression_of_ones(**options):
    """Probabilities at their very end, where rounding leaves their range."""

    def cross_entropy(y_true, y_pred):
        return -keras.ops.mean(
            y_true * keras.ops.log(y_pred)
            + (1 - y_true) * keras.ops.log(1 - y_pred + 1e-7),
            axis=-1,
        )

    bias = keras.initializers.Constant(20)
    model = heads("a", activation="sigmoid", bias_initializer=bias)
    y = np.ones((ROWS, 1), "float32")
    return check(model, x(), y, loss=cross_entropy, **options)


def from_a_generator_of_floats64(**options):
    batches = [
        (x().astype("float64")[rows], labels("a")[0].astype("float64")[rows])
        for rows in (slice(6), slice(6, 12))
    ]
    return check(heads("a"), iter(batches), loss="mse", **options)


def arrays_of_floats64(**options):
    y = [y.astype("float64") for y in labels("z", "a")]
    return check(
        heads("z", "a"),
        x().astype("float64"),
        y,
        loss=[negative_mse, "mse"],
        **options,
    )


def from_a_generator(**options):
    def batches():
        y = labels("z", "a")
        while True:
            for start in range(0, ROWS, 6):
                rows = slice(start, start + 6)
                yield x()[rows], [labels[rows] for labels in y]

    return check(heads("z", "a"), batches(), loss="mse", steps=3, **options)


BALANCED = (
    one_output,
    lists,
    dicts,
    without_a_loss,
    regularized,
    added_losses,
    only_added_losses,
    weighted_samples,
    weights_for_each_output,
    masked,
    weighted_timesteps,
    labels_without_the_last_axis,
    weights_of_timesteps_and_of_samples,
    dropout_and_batch_normalization,
    metrics,
    classes,
    flat_labels,
    own_function,
    eager,
    several_steps,
    subclassed,
    small,
    large,
    mixed_precision,
    far_from_zero_in_bfloat16,
    far_from_zero_in_float16,
    predictions_in_bfloat16,
    one_layer_in_bfloat16,
    metric_named_as_a_loss,
    metric_named_as_the_loss_of_another,
    one_variable_for_losses_that_cancel,
    near_zero_by_cancellation,
    heads_that_cancel,
    dicts_of_heads_that_cancel,
    added_losses_that_cancel,
    array_of_weights,
    not_reduced,
    not_reduced_with_two_outputs,
    two_inputs,
    lists_of_numbers,
    own_call_of_a_loss,
    own_call_of_a_loss_with_timesteps,
    inputs_with_another_first_axis,
    from_a_dataset,
    batches_of_several_lengths,
    with_a_regression_of_ones,
    from_a_generator,
    from_a_generator_of_floats64,
    arrays_of_floats64,
)


# Logs that do not add up with some Keras, or that can't be told.


def short_batch():
    return lists(batch_size=5)


def short_batch_if_it_were_one():
    return lists()


def tiny_short_batch():
    """Losses of 1e-8, of which the last rows have the most."""
    y = [1e-4 * y for y in labels("z", "a")]
    for of_one in y:
        of_one[-4:] *= 5
    return check(
        heads("z", "a", kernel_initializer="zeros"),
        x(),
        y,
        loss="mse",
        batch_size=20,
    )


def short_batch_in_bfloat16():
    """More wrong than right is known to: what was logged alone tells."""
    with dtype_policy("mixed_bfloat16"):
        model = heads("z", "a", bias_initializer="ones")
    y = labels("z", "a")
    for of_one in y:
        of_one[-4:] += 0.2
    return check(
        model, x(), y, loss=["mse", "mse"], batch_size=20, cut_last_batch=False
    )


def weighted_logs():
    return lists(loss_weights=[0.25, 10], cut_last_batch=False)


def tiny_weighted_logs():
    y = [1e-5 * y for y in labels("z", "a")]
    return check(
        heads("z", "a", kernel_initializer="zeros"),
        x(),
        y,
        loss=["mse", "mse"],
        loss_weights=[1, 10],
        cut_last_batch=False,
    )


def weight_near_one():
    return lists(loss_weights=[1, 1.03], cut_last_batch=False)


def two_losses():
    return check(heads("a"), x(), *labels("a"), loss=["mse", "mae"])


def two_losses_of_which_one_is_tiny():
    return check(
        heads("a", kernel_initializer="zeros"),
        x(),
        *labels("a"),
        loss=["mse", "mae"],
        loss_weights=[1, 0.001],
    )


def two_losses_of_one_of_two():
    y = dict(zip("za", labels("z", "a")))
    return check(
        heads("z", "a", container=dict),
        x(),
        y,
        loss={"z": "mse", "a": ["mse", "mae"]},
        cut_last_batch=False,
    )


def swapped_weights():
    return lists(loss_weights={"a": 10, "z": 1}, cut_last_batch=False)


def misspelt_weight():
    return dicts(loss_weights={"z": 1, "zz": 10}, cut_last_batch=False)


def swapped_losses():
    return check(
        heads("z", "a"),
        x(),
        labels("z", "a"),
        loss={"z": "mse", "a": "mae"},
        cut_last_batch=False,
    )


def swapped_labels():
    y = dict(zip("za", labels("z", "a")))
    return check(
        heads("z", "a"), x(), y, loss=["mse", "mae"], cut_last_batch=False
    )


def misaligned_sample_weights():
    inputs = keras.Input((6, 3))
    model = keras.Model(inputs, head("a")(inputs))
    data = random(ROWS, 6, 3), random(ROWS, 6, 1, seed=1)
    weights = np.tile(np.arange(6.0), ROWS // 6)
    return check(model, *data, weights, loss="mse")


def flat_output_with_sample_weights():
    """The last axis, over which `mse` averages, is that of the samples."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Reshape(())(head("a")(inputs)))
    y = 3 * random(ROWS, seed=1)
    weights = np.abs(random(ROWS, seed=2))
    return check(model, x(), y, weights, loss="mse")


def one_of_three_without_a_loss():
    """Not in the dicts at all: Keras 3.6 then names outputs by their losses."""
    y = dict(zip("za", labels("z", "a")))
    return check(
        heads("a", "m", "z", container=dict),
        x(),
        y,
        loss={"z": "mse", "a": "mae"},
        loss_weights={"z": 2, "a": 1},
        cut_last_batch=False,
    )


def layer_used_twice():
    inputs = [keras.Input((3,)), keras.Input((3,))]
    layer = keras.layers.Dense(4, activity_regularizer="l2")
    hidden = keras.layers.Subtract()([layer(one) for one in inputs])
    model = keras.Model(inputs, head("a")(hidden))
    data = [10 * x(), 10 * random(ROWS, 3, seed=1)]
    return check(model, data, *labels("a"), loss="mse")


def same_names():
    return check(
        TwoOutputs(),
        x(),
        labels("z", "a"),
        loss=["mse", "mse"],
        cut_last_batch=False,
    )


def same_names_of_objects():
    losses = [keras.losses.MeanSquaredError(), keras.losses.MeanSquaredError()]
    return check(
        TwoOutputs(),
        x(),
        labels("z", "a"),
        loss=losses,
        cut_last_batch=False,
    )


def nested_outputs():
    inputs = keras.Input((3,))
    z, a, m = (head(name)(inputs) for name in "zam")
    y = labels("z", "a", "m")
    return check(
        keras.Model(inputs, {"b": {"z": z}, "c": {"a": a, "m": m}}),
        x(),
        {"b": {"z": y[0]}, "c": {"a": y[1], "m": y[2]}},
        loss="mse",
        cut_last_batch=False,
    )


def variable_weight():
    weights = [keras.Variable(1.0), 1.0]
    return lists(loss_weights=weights, cut_last_batch=False)


def swapped_variables():
    weights = {"z": keras.Variable(10.0), "a": keras.Variable(0.3)}
    return lists(loss_weights=weights, cut_last_batch=False)


def metric_named_loss():
    metric = keras.metrics.MeanAbsoluteError(name="loss")
    return check(
        heads("a"),
        x(),
        *labels("a"),
        loss="mse",
        metrics=[metric],
        cut_last_batch=False,
    )


def metric_named_as_the_loss_of_its_output():
    metric = keras.metrics.MeanAbsoluteError(name="loss")
    return check(
        heads("z", "a"),
        x(),
        labels("z", "a"),
        loss="mse",
        metrics=[[], [metric]],
        cut_last_batch=False,
    )


def told_other_weights():
    model = heads("z", "a")
    model.compile("sgd", loss=["mse", "mse"], loss_weights=[1.0, 0.0])
    return check_losses(model, x(), labels("z", "a"), loss_weights=[1.0, 1.0])


def told_weights_of_none():
    model = heads("z", "a")
    model.compile("sgd", loss=["mse", "mse"])
    return check_losses(model, x(), labels("z", "a"), loss_weights=[1, 10])


def told_no_weights():
    model = heads("z", "a")
    model.compile("sgd", loss=["mse", "mse"], loss_weights=[1, 10])
    return check_losses(model, x(), labels("z", "a"), loss_weights=None)


def bfloat16():
    with floatx("bfloat16"):
        return lists(cut_last_batch=False)


def float16():
    with floatx("float16"):
        return lists(cut_last_batch=False)


def float16_with_a_short_batch():
    with floatx("float16"):
        return lists(batch_size=5)


def graphs_of_several_sizes():
    """Batches of 2 and 6 graphs; those of 6 have few nodes."""

    class OfAny(OfGraphs):
        def call(self, inputs):
            of_nodes = keras.ops.mean(self.layer(inputs["nodes"]))
            return of_nodes + 0.0 * inputs["of_graphs"]

    batches = [
        (
            {"of_graphs": random(n, 1), "nodes": random(nodes, 3, seed=n)},
            random(n, 1, seed=n) + n,
        )
        for n, nodes in ((2, 9), (6, 4))
    ]
    return check(OfAny(), batches, loss="mse")


class OfNodesAndGraphs(keras.Model):
    """A number for each node, and one for each graph."""

    def __init__(self):
        super().__init__()
        self.of_nodes = keras.layers.Dense(1)
        self.of_graphs = keras.layers.Dense(1)

    def call(self, inputs):
        nodes, belongs_to = inputs
        graphs = keras.ops.matmul(belongs_to, nodes)
        return [self.of_nodes(nodes), self.of_graphs(graphs)]


def nodes_and_graphs(counts=((10, 4), (30, 2), (15, 3))):
    """Batches of so many nodes and graphs; larger ones have other losses."""
    batches = []
    for nodes, graphs in counts:
        belongs_to = np.eye(graphs, dtype="float32")[np.arange(nodes) % graphs]
        batches.append(
            (
                (random(nodes, 3, seed=nodes), belongs_to.T.copy()),
                (np.full((nodes, 1), nodes), np.full((graphs, 1), 9.0 * nodes)),
            )
        )
    return check(OfNodesAndGraphs(), batches, loss=["mse", "mae"])


def nodes_of_equally_many_graphs():
    return nodes_and_graphs(counts=((10, 4), (30, 4), (15, 4)))


class OwnTrainStep(OneOutput):
    def train_step(self, *arguments):
        return super().train_step(*arguments)


def own_train_step():
    return check(
        OwnTrainStep(), x(), *labels("a"), loss="mse", cut_last_batch=False
    )


class Noise(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(0)

    def call(self, inputs):
        shape = keras.ops.shape(inputs)
        return inputs + keras.random.normal(shape, seed=self.generator)


class NoiseOfNumPy(keras.layers.Layer):
    def call(self, inputs):
        return inputs * np.random.default_rng().normal()


def with_layer(layer):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, head("a")(layer(inputs)))
    return check(model, x(), *labels("a"), loss="mse")


def noise():
    return with_layer(Noise())


def noise_of_numpy():
    return with_layer(NoiseOfNumPy())


def noise_in_the_loss():
    def noisy(y_true, y_pred):
        factor = np.random.default_rng().normal()
        return factor * keras.ops.mean(keras.ops.square(y_true - y_pred), -1)

    return check(heads("a"), x(), *labels("a"), loss=noisy)


def with_a_state():
    inputs = keras.Input(batch_shape=(6, 5, 3))
    hidden = keras.layers.LSTM(4, stateful=True)(inputs)
    model = keras.Model(inputs, head("a")(hidden))
    return check(model, random(ROWS, 5, 3), *labels("a"), loss="mse")


class OwnMetrics(OneOutput):
    """As the guides have it, but without a `test_step` of its own."""

    def __init__(self):
        super().__init__()
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]


def own_metrics():
    return check(OwnMetrics(), x(), *labels("a"), loss="mse")


class OwnTestStep(OneOutput):
    def test_step(self, *arguments):
        return super().test_step(*arguments)


def own_test_step():
    return check(OwnTestStep(), x(), *labels("a"), loss="mse")


class OwnResult(OneOutput):
    def get_metrics_result(self):
        return {**super().get_metrics_result(), "loss": 0.0}


def own_result():
    return check(OwnResult(), x(), *labels("a"), loss="mse")


class OwnLoss(OneOutput):
    def compute_loss(self, *args, **kwargs):
        return 2 * super().compute_loss(*args, **kwargs)


def own_loss():
    return check(OwnLoss(), x(), *labels("a"), loss="mse")


def not_a_number():
    bias = keras.initializers.Constant(np.nan)
    return check(
        heads("a", bias_initializer=bias), x(), *labels("a"), loss="mse"
    )


OTHERS = (
    one_variable_for_opposite_losses,
    negative_variable,
    short_batch,
    short_batch_if_it_were_one,
    tiny_short_batch,
    short_batch_in_bfloat16,
    weighted_logs,
    tiny_weighted_logs,
    weight_near_one,
    two_losses,
    two_losses_of_which_one_is_tiny,
    two_losses_of_one_of_two,
    swapped_weights,
    misspelt_weight,
    swapped_losses,
    swapped_labels,
    misaligned_sample_weights,
    flat_output_with_sample_weights,
    one_of_three_without_a_loss,
    layer_used_twice,
    same_names,
    same_names_of_objects,
    nested_outputs,
    variable_weight,
    swapped_variables,
    metric_named_loss,
    metric_named_as_the_loss_of_its_output,
    told_other_weights,
    told_no_weights,
    told_weights_of_none,
    bfloat16,
    float16,
    float16_with_a_short_batch,
    graphs_of_several_sizes,
    nodes_and_graphs,
    nodes_of_equally_many_graphs,
    own_train_step,
    pairs,
    noise,
    noise_of_numpy,
    noise_in_the_loss,
    with_a_state,
    own_metrics,
    own_test_step,
    own_result,
    own_loss,
    not_a_number,
)


ALL = (*BALANCED, *OTHERS)


def said(case):
    """What the tool says of a case: findings, notes, or why it refuses."""
    keras.utils.set_random_seed(0)
    try:
        checked = case()
    except ValueError as error:
        return [f"refused: {error}"]
    return checked.findings + [f"note: {text}" for text in checked.notes]


def main(chosen):
    found = {}
    for case in ALL:
        if not chosen or case.__name__ in chosen:
            try:
                found[case.__name__] = said(case)
            except Exception as error:
                # What a user would see is what is to be compared.
                found[case.__name__] = [f"{type(error).__name__}: {error}"]
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
