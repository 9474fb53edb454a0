"""The grid on which Keras, Keras 2 and the NumPy reference are compared.

A `Config` says everything about a small model, its data and the arguments of
`compile` and `fit`. From it come a model, of Keras or of Keras 2, the numbers
that it logs, and the numbers that `reference` says it should log. The model is
a linear layer with one or three linear heads, so that the reference can train
it, too: no step of training is compared with anything but NumPy.
"""

import functools
import itertools
import random
from typing import NamedTuple

import numpy as np

import keras
from integration_tests.support import reference
from integration_tests.support.matching_models import by_name
from integration_tests.support.matching_models import in_model_order
from integration_tests.support.matching_models import logged_stems
from integration_tests.support.matching_models import pack

HEADS = ("z", "a", "m")
ROWS, STEPS, FEATURES = 5, 3, 4
LEARNING_RATE = 2**-7
L2 = 0.25
# The rows of each call of `test_on_batch` and `train_on_batch`.
CALLS = {
    "test_on_batch": [slice(3, 5)],
    "train_on_batch": [slice(0, 2)],
}

# The loss of each head.
LOSSES = {
    "regression": ("mse", "mae", "huber"),
    "binary": ("bce", "mse", "mae"),
    "classes": ("scce", "mae", "cce"),
    "same": ("mse", "mse", "mse"),
    "functions": ("quartic", "mae", "mean_quartic"),
}
UNITS = dict.fromkeys(("mse", "huber", "quartic", "scce", "cce"), 4)
ACTIVATIONS = {"bce": "sigmoid", "scce": "softmax", "cce": "softmax"}
CLASSES = {
    "mse": "MeanSquaredError",
    "mae": "MeanAbsoluteError",
    "huber": "Huber",
    "bce": "BinaryCrossentropy",
    "scce": "SparseCategoricalCrossentropy",
    "cce": "CategoricalCrossentropy",
}
NAMES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "huber": "huber",
    "bce": "binary_crossentropy",
    "scce": "sparse_categorical_crossentropy",
    "cce": "categorical_crossentropy",
}
# Powers of 2, so that no rounding adds up.
LOSS_WEIGHTS = {"z": 0.5, "a": 8.0, "m": 0.0}

AXES = {
    "container": (
        "single",
        "list",
        "tuple",
        "dict",
        "ordered_dict",
        "nested_dict",
        "nested_list",
    ),
    "losses": tuple(LOSSES),
    "loss_as": ("string", "function", "object"),
    "reduction": (
        "sum_over_batch_size",
        "sum",
        "mean",
        "mean_with_sample_weight",
    ),
    "loss_form": ("structure", "names", "list", "one", "partial", "several"),
    "loss_weights": ("none", "structure", "names", "list", "one", "partial"),
    "labels": ("structure", "names", "list", "one"),
    "label_rank": ("full", "squeezed"),
    "sample_weight": (
        "none",
        "all",
        "column",
        "steps",
        "structure",
        "names",
        "list",
        "partial",
    ),
    "shape": ("flat", "steps"),
    "mask": ("none", "all", "first"),
    "batch_size": (2, 5, 8),
    "metrics": ("none", "structure", "names", "flat"),
    "validation": (False, True),
    "l2": (False, True),
}
Config = NamedTuple("Config", [(axis, object) for axis in AXES])


def epochs(config):
    """Enough to see that an epoch starts anew; validation does, too."""
    return 1 if config.validation else 2


def heads(config):
    return HEADS[:1] if config.container == "single" else HEADS


def losses(config):
    """The loss of each head, by head."""
    return dict(zip(heads(config), LOSSES[config.losses]))


def is_valid(config):
    """Whether the settings make sense together."""
    one_for_all = "one" in (config.loss_form, config.labels)
    return not (
        config.container == "single"
        and "partial" in (config.loss_form, config.sample_weight)
        or config.reduction != "sum_over_batch_size"
        and config.loss_as != "object"
        or one_for_all
        and config.losses != "same"
        # `None` is no metric in a list of a single output.
        or config.metrics == "flat"
        and config.container == "single"
        or config.loss_form == "several"
        and (config.loss_as != "string" or config.losses != "same")
        or config.shape == "flat"
        and (config.mask != "none" or config.sample_weight == "steps")
        # Several outputs, one array: it can only weigh samples as a whole.
        or config.sample_weight == "steps"
        and config.container != "single"
        # Without weights of timesteps, the sum over samples of the means over
        # timesteps, as in Keras 2; with them, the sum over both.
        or config.reduction == "sum"
        and config.label_rank == "squeezed"
        and config.shape == "steps"
    )


def covering(valid=is_valid, strength=2, done=()):
    """Configs such that all values of any `strength` axes meet in one.

    Of some random ones, the one that holds most that is new is taken, until
    nothing that is possible is missing.

    Args:
        valid: Tells of a `Config` whether it may be taken.
        strength: How many settings are to meet.
        done: Configs that are there already.
    """
    rng = random.Random(0)

    def parts(config):
        return set(itertools.combinations(enumerate(config), strength))

    def draw(fixed):
        for _ in range(200):
            values = [rng.choice(values) for values in AXES.values()]
            for axis, value in fixed:
                values[axis] = value
            config = Config(*values)
            if valid(config):
                return config
        return None

    axes = [[(i, v) for v in vs] for i, vs in enumerate(AXES.values())]
    missing = [
        part
        for chosen in itertools.combinations(axes, strength)
        for part in itertools.product(*chosen)
    ]
    rng.shuffle(missing)
    covered, configs = set().union(*map(parts, done)), []
    for part in missing:
        if part in covered:
            continue
        drawn = [found for _ in range(20) if (found := draw(part))]
        if drawn:
            best = max(drawn, key=lambda c: len(parts(c) - covered))
            covered |= parts(best)
            configs.append(best)
    return configs


# Data.


@functools.cache
def inputs(shape, mask):
    """Inputs, and the mask, which is `None` if there is none.

    Masked timesteps are 0. The last sample, which is a batch of its own for
    most batch sizes, has no other.
    """
    size = (ROWS, STEPS, FEATURES) if shape == "steps" else (ROWS, FEATURES)
    x = np.random.default_rng(0).integers(1, 9, size) / 8
    if mask == "none":
        return x, None
    kept = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0]])
    return x * kept[..., None], kept.astype(bool)


def labels(config):
    rng = np.random.default_rng(1)
    shape = inputs(config.shape, "none")[0].shape[:-1]
    made = {}
    for head, loss in losses(config).items():
        units = UNITS.get(loss, 1)
        if loss == "scce":
            y = rng.integers(units, size=(*shape, 1))
        elif loss == "cce":
            y = np.eye(units)[rng.integers(units, size=shape)]
        elif loss == "bce":
            y = rng.integers(2, size=(*shape, 1)).astype("float64")
        else:
            # In eighths, as inputs and weights are, a prediction would meet its
            # label now and then: there an absolute error has no gradient, and
            # each backend would round to either side of it.
            y = (rng.integers(-8, 9, (*shape, units)) + 0.3) / 8
        if config.label_rank == "squeezed" and y.shape[-1] == 1:
            y = y[..., 0]
        made[head] = made["z"] if config.labels == "one" and made else y
    return made


def sample_weights(config):
    """The sample weight of each head; `None` where it has none."""
    form, names = config.sample_weight, heads(config)
    rng = np.random.default_rng(2)
    shape = {"column": (ROWS, 1), "steps": (ROWS, STEPS)}.get(form, (ROWS,))
    if form == "none":
        return dict.fromkeys(names)
    if form in ("all", "column", "steps"):
        return dict.fromkeys(names, rng.integers(0, 9, shape) / 4)
    made = {head: rng.integers(0, 9, shape) / 4 for head in names}
    if config.shape == "steps":
        made["z"] = rng.integers(0, 9, (ROWS, STEPS)) / 4
    if form == "partial":
        made["a"] = None
    return made


def loss_weights(config):
    """The weight of each head's loss."""
    weights = {head: LOSS_WEIGHTS[head] for head in heads(config)}
    if config.loss_weights == "none":
        return dict.fromkeys(weights, 1.0)
    if config.loss_weights == "one":
        return dict.fromkeys(weights, 2.0)
    if config.loss_weights == "partial":
        weights["a"] = 1.0
    return weights


# What the user writes.


def conform(config, form, values):
    """Values by head, in one of the forms that an argument may have."""
    if form == "none":
        return None
    if form in ("all", "column", "steps", "one"):
        return values["z"]
    if form in ("partial", "several"):
        given = {
            h: v for h, v in values.items() if h != "a" or form != "partial"
        }
        form, values = "names", given
    if config.container == "single":
        one = values["z"]
        return {"names": {"z": one}, "list": [one]}.get(form, one)
    if form == "structure":
        return pack(config.container, values)
    if form == "names":
        return by_name(config.container, values, HEADS)
    return in_model_order(config.container, values)


def identifier(k, config, loss):
    """A loss as the user gives it to Keras or Keras 2, which is `k`."""
    if loss == "quartic":
        return lambda y, p: (y - p) ** 4
    if loss == "mean_quartic":
        mean = keras.ops.mean if k is keras else k.backend.mean
        return lambda y, p: mean((y - p) ** 4)
    if config.loss_as == "object":
        reduction = config.reduction
        if k is not keras and reduction == "mean":
            # The name of the same before Keras 3.
            reduction = "sum_over_batch_size"
        return getattr(k.losses, CLASSES[loss])(reduction=reduction)
    if config.loss_as == "function":
        return getattr(k.losses, NAMES[loss])
    return NAMES[loss]


def metrics(config):
    """The names of each head's metric and weighted metric, or `None`."""
    return {
        head: ("accuracy", None) if loss in ACTIVATIONS else ("mae", "mse")
        for head, loss in losses(config).items()
    }


def compile_arguments(k, config):
    given = {
        head: identifier(k, config, loss)
        for head, loss in losses(config).items()
    }
    if config.loss_form == "several":
        given["z"] = [given["z"], "mae"]
    arguments = {
        "loss": conform(config, config.loss_form, given),
        "loss_weights": conform(
            config, config.loss_weights, loss_weights(config)
        ),
    }
    if config.loss_weights == "one":
        arguments["loss_weights"] = 2.0
    if config.metrics != "none":
        for place, name in enumerate(("metrics", "weighted_metrics")):
            values = {h: found[place] for h, found in metrics(config).items()}
            form = config.metrics
            if form == "flat":
                form = "list"
            else:
                values = {h: v and [v] for h, v in values.items()}
            arguments[name] = conform(config, form, values)
    return arguments


def data(config, dtype="float32"):
    """`x, y, sample_weight` as the user gives them."""
    x, _ = inputs(config.shape, config.mask)
    weights = sample_weights(config)
    return (
        x.astype(dtype),
        conform(config, config.labels, labels(config)),
        conform(config, config.sample_weight, weights),
    )


# The model.


def initial_weights(config):
    """The kernel of the trunk, then kernels and biases of the heads."""
    rng = np.random.default_rng(3)
    shapes = [(FEATURES, 2)]
    for loss in losses(config).values():
        units = UNITS.get(loss, 1)
        shapes += [(2, units), (units,)]
    return [rng.integers(-8, 9, shape) / 8 for shape in shapes]


def model(k, config, **kwargs):
    """A compiled model of Keras or of Keras 2."""
    x, _ = inputs(config.shape, config.mask)
    trunk_kernel, *head_weights = initial_weights(config)
    regularizer = k.regularizers.L2(L2) if config.l2 else None
    trunk = k.layers.Dense(2, use_bias=False, kernel_regularizer=regularizer)
    layers = {
        head: k.layers.Dense(
            UNITS.get(loss, 1), activation=ACTIVATIONS.get(loss), name=head
        )
        for head, loss in losses(config).items()
    }
    entry = k.Input(x.shape[1:])
    plain = trunk(entry)
    masked = plain
    if config.mask != "none":
        masked = trunk(k.layers.Masking()(entry))
    outputs = {
        head: layer(plain if config.mask == "first" and head != "z" else masked)
        for head, layer in layers.items()
    }
    if config.container == "single":
        made = k.Model(entry, outputs["z"])
    else:
        made = k.Model(entry, pack(config.container, outputs))
    trunk.set_weights([trunk_kernel])
    for i, head in enumerate(layers):
        layers[head].set_weights(head_weights[2 * i : 2 * i + 2])
    made.compile(
        optimizer=k.optimizers.SGD(LEARNING_RATE),
        **compile_arguments(k, config),
        **kwargs,
    )
    return made


def map_leaves(function, structure):
    if isinstance(structure, dict):
        pairs = structure.items()
        return {key: map_leaves(function, value) for key, value in pairs}
    if isinstance(structure, (list, tuple)):
        return type(structure)(map_leaves(function, v) for v in structure)
    return None if structure is None else function(structure)


def logged(k, config, **kwargs):
    """All numbers that a model logs, by method."""
    made = model(k, config, **kwargs)
    x, y, weight = data(config)
    size = {"batch_size": config.batch_size, "verbose": 0}
    evaluated = np.ravel(made.evaluate(x, y, sample_weight=weight, **size))
    logs = {"evaluate": dict(zip(made.metrics_names, evaluated))}
    for name, calls in CALLS.items():
        for i, rows in enumerate(calls):
            batch = map_leaves(lambda array: array[rows], (x, y, weight))
            method = getattr(made, name)
            # Before Keras 3.15 it averages over all batches since then.
            made.reset_metrics()
            logs[f"{name} {i}"] = method(*batch, return_dict=True)
    if config.validation:
        size["validation_data"] = (x, y) if weight is None else (x, y, weight)
        size["validation_batch_size"] = config.batch_size
    history = made.fit(
        x, y, sample_weight=weight, epochs=epochs(config), shuffle=False, **size
    ).history
    for i in range(epochs(config)):
        logs[f"fit {i}"] = {name: values[i] for name, values in history.items()}
    return logs


# What it should log.


def entries(config):
    """The loss entries of the reference."""
    names = dict.fromkeys(heads(config), "z")
    if config.container != "single":
        names = logged_stems(config.container, HEADS)
    weights, found = loss_weights(config), []
    for i, (head, loss) in enumerate(losses(config).items()):
        if config.loss_form == "partial" and head == "a":
            continue
        is_pair = config.loss_form == "several" and head == "z"
        for name in ("mse", "mae") if is_pair else (loss,):
            suffix = ""
            if is_pair:
                suffix = {"mse": "_mean_squared_error"}.get(name, "_mae")
            reduction = config.reduction
            if name in ("quartic", "mean_quartic"):
                reduction = "mean"
            found.append(
                reference.Entry(
                    f"{names[head]}{suffix}_loss",
                    i,
                    reference.LOSSES[name],
                    reduction,
                    weights[head],
                )
            )
    return found


def predictions(config, weights, x):
    trunk, *others = weights
    found = []
    for i, loss in enumerate(losses(config).values()):
        logits = x @ trunk @ others[2 * i] + others[2 * i + 1]
        activation = ACTIVATIONS.get(loss)
        if activation == "sigmoid":
            logits = 1 / (1 + np.exp(-logits))
        elif activation == "softmax":
            logits = np.exp(logits)
            logits = logits / logits.sum(-1, keepdims=True)
        found.append(logits)
    return found


def outputs(config, weights, rows):
    """The outputs for some of the rows."""
    x, mask = inputs(config.shape, config.mask)
    given = zip(labels(config).values(), sample_weights(config).values())
    found = []
    for i, (p, (y, w)) in enumerate(
        zip(predictions(config, weights, x[rows]), given)
    ):
        is_masked = mask is not None and (i == 0 or config.mask == "all")
        found.append(
            reference.Output(
                y[rows],
                p,
                None if w is None else w[rows],
                mask[rows] if is_masked else None,
            )
        )
    return found


def _right(loss):
    if loss == "bce":
        return lambda y, p: np.mean((p > 0.5) == y, -1)
    if loss == "scce":
        return lambda y, p: p.argmax(-1) == y.reshape(p.shape[:-1])
    return lambda y, p: p.argmax(-1) == y.argmax(-1)


def metric_logs(config, batches):
    logs = {}
    if config.metrics == "none":
        return logs
    for i, (head, names) in enumerate(metrics(config).items()):
        prefix = "" if config.container == "single" else f"{head}_"
        for place, name in enumerate(names):
            if name is None:
                continue
            values = reference.LOSSES.get(name) or _right(losses(config)[head])
            seen = [batch[i] for batch in batches]
            if place == 0:
                seen = [output._replace(sample_weight=None) for output in seen]
            logs[prefix + name] = reference.metric(values, seen)
    return logs


class Trained:
    """The reference's model: its weights change as those of a model do."""

    def __init__(self, config, **changes):
        self.config = config
        self.entries = entries(config)
        self.weights = initial_weights(config)
        self.outputs = changes.get("outputs", outputs)

    def regularization(self):
        return L2 * np.sum(self.weights[0] ** 2) if self.config.l2 else 0.0

    def total(self, flat, rows):
        kept, self.weights = self.weights, self.unflatten(flat)
        outs = self.outputs(self.config, self.weights, rows)
        loss = reference.step(self.entries, outs, self.regularization())["loss"]
        self.weights = kept
        return loss

    def unflatten(self, flat):
        ends = np.cumsum([weight.size for weight in self.weights])[:-1]
        parts = zip(np.split(flat, ends), self.weights)
        return [part.reshape(weight.shape) for part, weight in parts]

    def run(self, all_rows, train=False):
        """The logs of an epoch over some batches."""
        steps, batches = [], []
        for rows in all_rows:
            outs = self.outputs(self.config, self.weights, rows)
            batches.append(outs)
            steps.append(
                reference.step(self.entries, outs, self.regularization())
            )
            if train:
                flat = np.concatenate([w.ravel() for w in self.weights])
                slope = reference.gradient(lambda v: self.total(v, rows), flat)
                self.weights = self.unflatten(flat - LEARNING_RATE * slope)
        sizes = [len(batch[0].label) for batch in batches]
        logs = reference.epoch(steps, sizes)
        if len(self.entries) == 1:
            logs = {"loss": logs["loss"]}
        return logs | metric_logs(self.config, batches)


def expected(config, **changes):
    """What `logged` should return."""
    trained = Trained(config, **changes)
    starts = range(0, ROWS, config.batch_size)
    batches = [
        slice(start, min(start + config.batch_size, ROWS)) for start in starts
    ]
    logs = {"evaluate": trained.run(batches)}
    for name, calls in CALLS.items():
        for i, rows in enumerate(calls):
            train = name == "train_on_batch"
            logs[f"{name} {i}"] = trained.run([rows], train)
    for i in range(epochs(config)):
        logs[f"fit {i}"] = trained.run(batches, train=True)
        validation = trained.run(batches) if config.validation else {}
        logs[f"fit {i}"] |= {f"val_{n}": v for n, v in validation.items()}
    return logs
