"""Models for `check_losses_test.py`, balanced ones and others.

    python integration_tests/support/check_losses_cases.py CASE ...

prints as JSON what `tools/check_losses.py` finds in each case with the Keras
that is installed; it imports nothing but that Keras, NumPy and the tool.
Without arguments it runs all cases.
"""

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


check_losses = load_tool().check_losses


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


def mixed_precision(**options):
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    model = heads("z", "a")
    keras.mixed_precision.set_dtype_policy(policy)
    return check(model, x(), labels("z", "a"), loss="mse", **options)


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
    from_a_generator,
)


# Logs that do not add up with some Keras.


def short_batch():
    return lists()


def weighted_logs():
    return lists(loss_weights=[0.25, 10], cut_last_batch=False)


def weight_near_one():
    return lists(loss_weights=[1, 1.03], cut_last_batch=False)


def two_losses():
    return check(heads("a"), x(), *labels("a"), loss=["mse", "mae"])


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


def same_names():
    return check(
        TwoOutputs(),
        x(),
        labels("z", "a"),
        loss=["mse", "mse"],
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


def bfloat16():
    floatx = keras.config.floatx()
    keras.config.set_floatx("bfloat16")
    found = lists(cut_last_batch=False)
    keras.config.set_floatx(floatx)
    return found


DEFECTS = (
    short_batch,
    weighted_logs,
    weight_near_one,
    two_losses,
    two_losses_of_one_of_two,
    swapped_weights,
    misspelt_weight,
    swapped_losses,
    swapped_labels,
    misaligned_sample_weights,
    same_names,
    nested_outputs,
    variable_weight,
    bfloat16,
)


def main(chosen):
    found = {}
    for case in (*BALANCED, *DEFECTS):
        if chosen and case.__name__ not in chosen:
            continue
        keras.utils.set_random_seed(0)
        try:
            options = {"cut_last_batch": False} if case in BALANCED else {}
            checked = case(**options)
        except (ValueError, TypeError, KeyError) as error:
            # What a user would see is what is to be compared.
            found[case.__name__] = [f"{type(error).__name__}: {error}"]
        else:
            found[case.__name__] = checked.findings
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
