"""What the examples of moving loss weights share: the data and the books.

`annealing.py`, `uncertainty_weighting.py` and `gradnorm.py` each train on the
8x8 handwritten digits of scikit-learn with loss weights that move, and check
at every step that the logged loss is the sum of its parts. Run them with

    KERAS_BACKEND=jax python examples/annealing.py [--json FILE]

The exit status is 0 if the books balance and 1 if they do not.
"""

import argparse
import json
import pathlib

import numpy as np
from rich.console import Console
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras

SEED = 0
# The 1437 training images are 11 batches and a short one of 29 images.
BATCH_SIZE = 128
# Of the sum of all parts' sizes. Keras logs averages over the epoch so far, so
# that a step's own value is the difference of two sums, each of up to 50 times
# its size where the step is the short one, and each rounded up to twelve times
# in float32: 2 * 50 * 12 * 6e-8 would be 7e-5 if all rounding went one way.
TOLERANCE = 1e-4


def parser(description):
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument(
        "--json",
        type=pathlib.Path,
        metavar="FILE",
        help="write what was logged and assigned, step by step",
    )
    return arguments


def load_images():
    """Returns (pixels, digits) for training, then for testing."""
    pixels, digits = load_digits(return_X_y=True)
    pixels = (pixels / 16.0).astype("float32")
    x_train, x_test, y_train, y_test = train_test_split(
        pixels, digits, test_size=0.2, random_state=SEED, stratify=digits
    )
    return (x_train, y_train), (x_test, y_test)


def labels_of(x, digits):
    """What the heads `digit`, `odd` and `image` are to answer."""
    odd = (digits % 2).astype("float32").reshape(-1, 1)
    return {"digit": digits.reshape(-1, 1), "odd": odd, "image": x}


class Books(keras.callbacks.Callback):
    """Compares the loss of each step with weights x raw losses + the rest.

    Put it after the callback that assigns the weights.

    Args:
        samples: Number of training samples, which are in one array.
        names: The names of the outputs.
        weights: A function of the model that returns what the next step will
            multiply the raw losses by: a dict of numbers by output name.
        rest: A function likewise, of what the next step will add to that.
    """

    def __init__(self, samples, names, weights, rest=lambda model: 0.0):
        super().__init__()
        self.samples, self.names = samples, names
        self.weights, self.rest = weights, rest
        self.steps = []

    def on_epoch_begin(self, epoch, logs=None):
        self.sums = dict.fromkeys(["loss", *self.names], 0.0)

    def on_train_batch_begin(self, batch, logs=None):
        # Asking for `self.model` brings its variables up to date, which on JAX
        # live outside of the model while it trains.
        model = self.model
        step = {"weights": self.weights(model), "rest": self.rest(model)}
        self.steps.append(step)

    def on_train_batch_end(self, batch, logs=None):
        before = batch * BATCH_SIZE
        after = min(self.samples, before + BATCH_SIZE)
        raw = {}
        for name, old in self.sums.items():
            log = "loss" if name == "loss" else f"{name}_loss"
            self.sums[name] = float(logs[log]) * after
            raw[name] = (self.sums[name] - old) / (after - before)
        self.steps[-1] |= {"loss": raw.pop("loss"), "raw": raw}

    def imbalance(self):
        """The largest difference, as a share of the sizes of the parts."""
        worst = []
        for step in self.steps:
            weights, raw = step["weights"], step["raw"]
            parts = [weights[name] * raw[name] for name in weights]
            parts.append(step["rest"])
            size = sum(map(abs, parts))
            worst.append(abs(step["loss"] - sum(parts)) / size)
        return float(np.max(worst))  # NaN if one is NaN.


def close(console, books, path=None, **more):
    """Says whether the books balance; the exit status."""
    steps = sum(len(book.steps) for book in books)
    worst = float(np.max([book.imbalance() for book in books]))
    # Written so that NaN is not balanced.
    balanced = worst <= TOLERANCE
    if balanced:
        verdict = "[bold green]The books balance[/]"
    else:
        verdict = "[bold red]The books do NOT balance[/]"
    console.print(
        f"{verdict} at {steps} steps: "
        f"the largest difference is {worst:.0e} of the loss."
    )
    if path:
        more["steps"] = [book.steps for book in books]
        path.write_text(json.dumps(more), encoding="utf-8")
    return 0 if balanced else 1


def start():
    """Seeds everything; a console that has printed what runs."""
    keras.utils.set_random_seed(SEED)
    console = Console(highlight=False)
    console.print(f"keras {keras.__version__} on {keras.backend.backend()}")
    return console
