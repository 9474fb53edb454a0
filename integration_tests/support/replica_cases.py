"""A model for replicas, its data, and what NumPy says it computes.

`replica_workers.py` trains the model on several replicas. `replicas_test.py`
compares that with `expected`, which knows of one device only. Keras is
imported in functions, since a worker has things to set up before.

Every head multiplies the input by two numbers `k` and has a loss of its own,
so that one run shows all of them. With `e = k * x - y`, the raw loss is
`R(f(e))` and its gradient `R(f'(e) * x)`, where `R` is a weighted sum or mean.
"""

import itertools
from typing import NamedTuple

import numpy as np

RATE, L2 = 0.01, 0.5
EPOCHS, TIMESTEPS, UNITS = 2, 2, 2


class Head(NamedTuple):
    """An output of the model.

    Args:
        kernel: What it multiplies by at first, in both units.
        loss: The name of `f`, "square" or "absolute". Before it: "values" or
            "scalar" for a callable that returns a loss for each sample, or one
            for all. After it: a reduction, if it is not the mean.
        weight: Its loss weight.
        moves_to: Its loss weight from the second epoch on.
        sample_weights: Whether it has sample weights.
        masked: Whether it leaves out inputs of 0.
        l2: Whether its kernel is regularized.
    """

    kernel: float
    loss: str
    weight: float = 1.0
    moves_to: float | None = None
    sample_weights: bool = False
    masked: bool = False
    l2: bool = False


HEADS = {
    "mean": Head(1.0, "square", 2.0),
    "sum": Head(0.5, "square sum", 0.1),
    "absolute": Head(-1.0, "absolute", l2=True),
    "values": Head(2.0, "values absolute", 3.0),
    "values_sum": Head(1.5, "values square sum", 0.1),
    "scalar": Head(0.3, "scalar square", 0.5),
    "moving": Head(1.0, "square", 2.0, moves_to=0.25),
    "weighted": Head(1.0, "square", sample_weights=True),
    "weighted_sum": Head(0.5, "square sum", 0.1, sample_weights=True),
    "weighted_values": Head(1.0, "values square", sample_weights=True),
    "by_weight": Head(
        2.0, "square mean_with_sample_weight", sample_weights=True
    ),
    "masked": Head(1.0, "square", masked=True),
    "masked_sum": Head(1.0, "square sum", 0.1, masked=True),
    "masked_weighted": Head(0.5, "absolute", masked=True, sample_weights=True),
}


def data(samples):
    """Inputs, and labels and sample weights by the name of the head."""
    rng = np.random.default_rng(samples)
    x = rng.uniform(0.5, 2.0, (samples, TIMESTEPS, 1)).astype("float32")
    # Not the same share of each replica.
    x[: samples // 2, 1] = 0.0
    y, sample_weight = {}, {}
    for name, head in HEADS.items():
        shape = samples, TIMESTEPS, UNITS
        y[name] = rng.uniform(-2.0, 2.0, shape).astype("float32")
        if head.sample_weights:
            weights = rng.uniform(0.0, 3.0, samples)
            sample_weight[name] = weights.astype("float32")
    return x, y, sample_weight


def _callable_loss(kind, function, reduction):
    import keras

    f = {"square": keras.ops.square, "absolute": keras.ops.abs}[function]
    axis = (1, 2) if kind == "values" else None

    def loss(y_true, y_pred):
        return keras.ops.mean(f(y_pred - y_true), axis=axis)

    if reduction == "sum_over_batch_size":
        return loss
    wrapper = type(keras.losses.MeanSquaredError()).__mro__[1]
    return wrapper(loss, reduction=reduction)


def _loss(head):
    import keras

    words = head.loss.split()
    kind = words.pop(0) if words[0] in ("values", "scalar") else None
    function = words.pop(0)
    reduction = words.pop() if words else "sum_over_batch_size"
    if kind:
        return _callable_loss(kind, function, reduction)
    losses = {
        "square": keras.losses.MeanSquaredError,
        "absolute": keras.losses.MeanAbsoluteError,
    }
    return losses[function](reduction=reduction)


def make_model():
    """The compiled model, and the loss weight that moves."""
    import keras

    inputs = keras.Input((TIMESTEPS, 1))
    kept = keras.layers.Masking()(inputs)
    outputs = {
        name: keras.layers.Dense(
            UNITS,
            use_bias=False,
            kernel_initializer=keras.initializers.Constant(head.kernel),
            kernel_regularizer=keras.regularizers.L2(L2) if head.l2 else None,
            name=name,
        )(kept if head.masked else inputs)
        for name, head in HEADS.items()
    }
    model = keras.Model(inputs, outputs)
    loss_weights = {name: head.weight for name, head in HEADS.items()}
    moving = keras.Variable(loss_weights["moving"], name="loss_weight")
    loss_weights["moving"] = moving
    model.compile(
        keras.optimizers.SGD(RATE),
        loss={name: _loss(head) for name, head in HEADS.items()},
        loss_weights=loss_weights,
    )
    return model, moving


def kernels(model):
    return {
        name: model.get_layer(name).get_weights()[0][0].tolist()
        for name in HEADS
    }


def train(model, moving, fit, evaluate):
    """Trains and evaluates; what `expected` returns, as JSON has it.

    Args:
        model: The model.
        moving: The loss weight that moves.
        fit: Called with callbacks; returns a `History`.
        evaluate: Returns the logs.
    """
    import keras

    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs):
            seen.append({name: float(logs[name]) for name in logs})

        def on_epoch_end(self, epoch, logs):
            moving.assign(HEADS["moving"].moves_to)

    history = fit([Watch()]).history
    return {
        "history": {name: list(map(float, history[name])) for name in history},
        "batches": seen,
        "kernels": kernels(model),
        "evaluated": evaluate(),
    }


def _reduced(head, values, weights, mask):
    """`R`, of values of shape `(samples, timesteps)`."""
    weights = weights[:, None] * mask
    total = np.sum(weights * values)
    if head.loss.endswith("mean_with_sample_weight"):
        return total / np.sum(weights)
    if not head.loss.endswith("sum"):
        return total / np.sum(mask)
    # A callable has taken the mean over the timesteps before.
    return total / TIMESTEPS if "values" in head.loss else total


def raw_loss_and_gradient(head, kernel, x, y, weights):
    """Of one batch, on one device, in float64."""
    x, y, weights = (array.astype("float64") for array in (x, y, weights))
    error = kernel * x - y
    if "square" in head.loss:
        values, slopes = error**2, 2 * error
    else:
        values, slopes = np.abs(error), np.sign(error)
    mask = (x[..., 0] != 0) | (not head.masked)
    raw = _reduced(head, values.mean(axis=-1), weights, mask)
    gradient = [
        _reduced(head, part, weights, mask) / UNITS
        for part in np.moveaxis(slopes * x, -1, 0)
    ]
    return raw, np.array(gradient)


def rows(arrays, index):
    """The samples at `index` of what `data` returns."""
    x, *dicts = arrays
    picked = [{name: d[name][index] for name in d} for d in dicts]
    return x[index], *picked


def batches(arrays, batch_size):
    """What `data` returns, in batches."""
    return [
        rows(arrays, slice(start, start + batch_size))
        for start in range(0, len(arrays[0]), batch_size)
    ]


def halves(samples, batch_size):
    """The indices of the first and second half of every batch."""
    index = [
        np.array_split(np.arange(samples)[start : start + batch_size], 2)
        for start in range(0, samples, batch_size)
    ]
    return [np.concatenate(half) for half in zip(*index)]


def rank_rows(counts):
    """What `data` returns, for ranks with as many samples as `counts` says."""
    arrays = data(sum(counts))
    ends = np.cumsum(counts)
    return [
        rows(arrays, slice(end - count, end))
        for count, end in zip(counts, ends)
    ]


class Averages:
    """Logs as averages over the samples seen so far."""

    def __init__(self):
        self.samples, self.sums, self.seen = 0, {}, []

    def add(self, logs, samples):
        self.samples += samples
        for name, value in logs.items():
            self.sums[name] = self.sums.get(name, 0.0) + samples * value
        self.seen.append(
            {name: total / self.samples for name, total in self.sums.items()}
        )


class OneDevice:
    """Gradient descent on the model, in NumPy."""

    def __init__(self):
        self.kernels = {
            name: np.full(UNITS, head.kernel) for name, head in HEADS.items()
        }
        self.weights = {name: head.weight for name, head in HEADS.items()}

    def move(self):
        self.weights["moving"] = HEADS["moving"].moves_to

    def batch(self, x, y, sample_weight):
        """Logs and gradients."""
        logs, gradients = {"loss": 0.0}, {}
        for name, head in HEADS.items():
            kernel, weight = self.kernels[name], self.weights[name]
            weights = sample_weight.get(name, np.ones(len(x)))
            raw, gradient = raw_loss_and_gradient(
                head, kernel, x, y[name], weights
            )
            logs[f"{name}_loss"] = raw
            logs["loss"] += weight * raw
            gradients[name] = weight * gradient
            if head.l2:
                logs["loss"] += L2 * np.sum(kernel**2)
                gradients[name] += 2 * L2 * kernel
        return logs, gradients

    def step(self, gradients):
        for name, gradient in gradients.items():
            self.kernels[name] = self.kernels[name] - RATE * gradient

    def epoch(self, arrays, batch_size, train=True):
        """The logs after each batch of an epoch."""
        averages = Averages()
        for batch in batches(arrays, batch_size):
            logs, gradients = self.batch(*batch)
            averages.add(logs, len(batch[0]))
            if train:
                self.step(gradients)
        return averages.seen


def terms(samples, batch_size):
    """The logs of an evaluation of the new model, and all that adds up."""
    device = OneDevice()
    logs = device.epoch(data(samples), batch_size, train=False)[-1]
    found = {}
    for name, head in HEADS.items():
        found[f"{name}_weight"] = head.weight
        found[f"{name}_contribution"] = head.weight * logs[f"{name}_loss"]
    found["regularization_loss"] = sum(
        L2 * UNITS * head.kernel**2 for head in HEADS.values() if head.l2
    )
    return {**logs, **found}


def expected_on_ranks(ranks, batch_size):
    """What ranks find whose gradients PyTorch averages, from NumPy.

    Args:
        ranks: For each rank, its samples.
        batch_size: The size of a rank's batch. A rank that has no batch left
            has a gradient of 0 in the average.

    Returns:
        A dict with the logs of each rank and epoch, and the kernels.
    """
    device, history = OneDevice(), []
    for _ in range(EPOCHS):
        averages = [Averages() for _ in ranks]
        steps = itertools.zip_longest(
            *(batches(arrays, batch_size) for arrays in ranks)
        )
        for step in steps:
            sums = dict.fromkeys(HEADS, 0.0)
            for batch, average in zip(step, averages):
                if batch is None:
                    continue
                logs, gradients = device.batch(*batch)
                average.add(logs, len(batch[0]))
                for name, gradient in gradients.items():
                    sums[name] = sums[name] + gradient
            device.step({name: g / len(ranks) for name, g in sums.items()})
        history.append([average.seen[-1] for average in averages])
        device.move()
    return {"history": history, "kernels": dict(device.kernels)}


def expected(samples, batch_size):
    """What `train` returns, from NumPy.

    Args:
        samples: The number of samples in an epoch.
        batch_size: The size of a batch, over all replicas.
    """
    device, arrays = OneDevice(), data(samples)
    seen, history = [], {}
    for _ in range(EPOCHS):
        logs = device.epoch(arrays, batch_size)
        seen += logs
        for name, value in logs[-1].items():
            history.setdefault(name, []).append(value)
        device.move()
    return {
        "history": history,
        "batches": seen,
        "kernels": dict(device.kernels),
        "evaluated": device.epoch(arrays, batch_size, train=False)[-1],
    }
