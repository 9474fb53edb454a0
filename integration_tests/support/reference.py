"""What Keras should log and train, in NumPy with float64.

It is short, so that it can be checked by eye, and shares no code with Keras.
The formulae are those of SPEC, of the docstring of `keras.losses.Loss` and of
the textbooks. Classes are on the last axis.
"""

from typing import Callable
from typing import NamedTuple

import numpy as np


def _chosen(y, p):
    """The probability of the class whose number is the label."""
    y = y.reshape(p.shape[:-1]).astype(int)
    return np.take_along_axis(p, y[..., None], -1)[..., 0]


def _binary(y, p):
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p), -1)


def _huber(y, p):
    error = abs(y - p)
    return np.mean(np.where(error < 1, error**2 / 2, error - 0.5), -1)


# What a loss function returns, before sample weights, masks and reduction.
LOSSES = {
    "mse": lambda y, p: np.mean((y - p) ** 2, -1),
    "mae": lambda y, p: np.mean(abs(y - p), -1),
    "huber": _huber,
    "bce": _binary,
    "cce": lambda y, p: -np.sum(y * np.log(p), -1),
    "scce": lambda y, p: -np.log(_chosen(y, p)),
    # Functions of a user: a value for each entry, and a single number.
    "quartic": lambda y, p: (y - p) ** 4,
    "mean_quartic": lambda y, p: np.mean((y - p) ** 4),
}


class Output(NamedTuple):
    """One output, for a batch: arrays with an entry for each sample."""

    label: np.ndarray
    prediction: np.ndarray
    sample_weight: np.ndarray | None = None
    mask: np.ndarray | None = None


class Entry(NamedTuple):
    """A loss entry: the output with this index, and what is made of it."""

    name: str
    output: int
    values: Callable
    reduction: str = "mean"
    weight: float = 1.0


def unreduced(values, output):
    label, prediction = output.label, output.prediction
    if label.ndim == prediction.ndim - 1 and prediction.shape[-1] == 1:
        label = label[..., None]
    return values(label, prediction)


def spread(factor, values):
    """A factor for each value. The axes that it has are the first ones."""
    if factor is None:
        return np.ones(values.shape)
    factor = np.asarray(factor, "float64")
    missing = (1,) * (values.ndim - factor.ndim)
    return np.broadcast_to(
        factor.reshape(factor.shape[: values.ndim] + missing), values.shape
    )


def raw_loss(entry, outputs):
    output = outputs[entry.output]
    values = unreduced(entry.values, output)
    if values.ndim == 0:
        # One number stands for each entry that weights or mask have.
        factors = [np.ndim(x) for x in (output.sample_weight, output.mask)]
        shape = output.label.shape[: max(factors)]
        values = np.broadcast_to(values, shape)
    weights = spread(output.sample_weight, values)
    kept = spread(output.mask, values)
    if entry.reduction == "sum":
        return np.sum(weights * kept * values)
    by_weight = entry.reduction == "mean_with_sample_weight"
    count = np.sum(weights * kept if by_weight else kept)
    return np.sum(weights * kept * values) / count if count else 0.0


def step(entries, outputs, regularization=0.0):
    """All raw losses of one batch, and what is trained on."""
    logs = {entry.name: raw_loss(entry, outputs) for entry in entries}
    total = sum(entry.weight * logs[entry.name] for entry in entries)
    return {**logs, "loss": total + regularization}


def epoch(steps, sizes):
    """Averages over samples: each batch counts by its size."""
    return {
        name: np.average([logs[name] for logs in steps], weights=sizes)
        for name in steps[0]
    }


def metric(values, batches):
    """A mean over all samples, timesteps and batches, by weight."""
    weighted = total = 0.0
    for output in batches:
        found = unreduced(values, output)
        factors = spread(output.sample_weight, found)
        factors = factors * spread(output.mask, found)
        weighted += np.sum(factors * found)
        total += np.sum(factors)
    return weighted / total if total else 0.0


def gradient(function, x, h=1e-5):
    """By central differences: wrong by about h**2, or 1e-10."""
    steps = h * np.eye(len(x))
    return np.array([function(x + s) - function(x - s) for s in steps]) / (
        2 * h
    )
