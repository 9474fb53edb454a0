"""Train one model with three outputs and check that its loss logs add up.

The model reads the 8x8 handwritten digits that ship with scikit-learn and
answers three questions at once: which digit it is (`digit`), whether it is
odd (`odd`), and what the picture looked like (`image`). After training, the
script compares what Keras logged with what the logs should add up to,

    loss == sum(weight * <output>_loss) + regularization

in a table for the test images and in a picture for the training epochs. The
exit status is 0 if the books balance and 1 if they do not. Run it with

    python examples/digits.py [--backend tensorflow|jax|torch]
                              [--epochs N] [--out DIR]
"""

import argparse
import os
import pathlib
import sys

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from matplotlib.ticker import MaxNLocator
from matplotlib.ticker import NullFormatter
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

# Keras picks its backend once, when it is first imported. The functions below
# that need it import it themselves, after `main` has read `--backend`.

BACKENDS = ("tensorflow", "jax", "torch")
SEED = 0
# Neither the 1437 training images nor the 360 test images divide by 64: the
# last batch is short (29 and 40 images), and has to count for less.
BATCH_SIZE = 64
LOSS_WEIGHTS = {"digit": 1.0, "odd": 0.5, "image": 10.0}
# Every number compared is an average of at most 23 float32 values, so rounding
# may cost some 23 * 6e-8 of it, about 1.4e-6; a bit under ten times that leaves
# room for sums done in another order. Counting the short batch as a full one,
# as Keras 3.15.1 does on TensorFlow, costs the test images about 5e-3.
TOLERANCE = 1e-5
# From the palette of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS = {"digit": "#0072B2", "odd": "#E69F00", "image": "#009E73"}
REGULARIZATION_COLOUR = "#CC79A7"


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Train a three-output model and check its loss logs."
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default=os.environ.get("KERAS_BACKEND") or "tensorflow",
        help="default: $KERAS_BACKEND, else tensorflow",
    )
    parser.add_argument(
        "--epochs", type=int, default=12, metavar="N", help="default: 12"
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("build/digits"),
        metavar="DIR",
        help="folder for the picture, default: %(default)s",
    )
    args = parser.parse_args()
    # argparse does not look at a default that came from the environment.
    if args.backend not in BACKENDS:
        parser.error(f"set KERAS_BACKEND to one of {', '.join(BACKENDS)}")
    if args.epochs < 1:
        parser.error("--epochs must be at least 1")
    try:  # Now, rather than after the training.
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot create --out {args.out}: {error.strerror}")
    if not os.access(args.out, os.W_OK):
        parser.error(f"cannot write to --out {args.out}")
    return args


def load_split():
    """Returns (x, labels by output name) for training, then for testing."""
    pixels, digits = load_digits(return_X_y=True)
    pixels = (pixels / 16.0).astype("float32")
    x_train, x_test, d_train, d_test = train_test_split(
        pixels, digits, test_size=0.2, random_state=SEED, stratify=digits
    )

    def with_labels(x, digit):
        odd = (digit % 2).astype("float32").reshape(-1, 1)
        return x, {"digit": digit, "odd": odd, "image": x}

    return with_labels(x_train, d_train), with_labels(x_test, d_test)


def build_model():
    import keras

    pixels = keras.Input((64,), name="pixels")
    hidden = keras.layers.Dense(
        96, "relu", kernel_regularizer=keras.regularizers.L2(1e-3)
    )(pixels)
    code = keras.layers.Dense(32, "relu")(hidden)
    dense = keras.layers.Dense
    outputs = {
        "digit": dense(10, "softmax", name="digit")(code),
        "odd": dense(1, "sigmoid", name="odd")(code),
        "image": dense(64, "sigmoid", name="image")(code),
    }
    model = keras.Model(pixels, outputs)
    model.compile(
        optimizer=keras.optimizers.Adam(2e-3),
        loss={
            "digit": "sparse_categorical_crossentropy",
            "odd": "binary_crossentropy",
            "image": "mse",
        },
        loss_weights=LOSS_WEIGHTS,
        metrics={"digit": ["accuracy"], "odd": ["accuracy"]},
    )
    return model


def regularization_of(model):
    """The penalty of the weights as they are now, without Keras' logs."""
    import keras

    return float(keras.ops.convert_to_numpy(sum(model.losses)))


def make_regularization_log(samples):
    import keras

    class RegularizationLog(keras.callbacks.Callback):
        """Averages the penalty over an epoch as `loss` does: by samples."""

        def on_train_begin(self, logs=None):
            self.epochs = []

        def on_epoch_begin(self, epoch, logs=None):
            self.total = 0.0

        def on_train_batch_begin(self, batch, logs=None):
            # Before the step: its loss is that of the weights it starts with.
            size = min(BATCH_SIZE, samples - batch * BATCH_SIZE)
            # Asking for `self.model` also brings its weights up to date, which
            # on JAX live outside of the model while it trains.
            self.total += size * regularization_of(self.model)

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append(self.total / samples)

    return RegularizationLog()


def make_progress_log(progress, epochs, steps):
    """A bar for the whole training and a line for each epoch.

    Where the output is no terminal, rich shows the bar once, at the end.
    """
    import keras

    task = progress.add_task("training", total=epochs * steps)

    def print_epoch(epoch, logs):
        names = ["loss", *(f"{output}_loss" for output in LOSS_WEIGHTS)]
        numbers = "  ".join(f"{name} {logs[name]:.4f}" for name in names)
        progress.console.print(f"epoch {epoch + 1:2}/{epochs}  {numbers}")

    return keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: progress.advance(task),
        on_epoch_end=print_epoch,
    )


def train(model, x, y, epochs, console):
    """Returns what Keras logged and the penalty, both by epoch."""
    regularization = make_regularization_log(len(x))
    with Progress(console=console) as progress:
        steps = -(-len(x) // BATCH_SIZE)
        history = model.fit(
            x,
            y,
            batch_size=BATCH_SIZE,
            epochs=epochs,
            verbose=0,
            callbacks=[
                regularization,
                make_progress_log(progress, epochs, steps),
            ],
        )
    logs = {name: np.array(values) for name, values in history.history.items()}
    return logs, np.array(regularization.epochs)


def contributions_of(logs):
    return {
        name: weight * logs[f"{name}_loss"]
        for name, weight in LOSS_WEIGHTS.items()
    }


def imbalance(logs, regularization):
    """What `loss` has too much, or too little, by the other numbers."""
    return logs["loss"] - sum(contributions_of(logs).values()) - regularization


def largest_imbalance(logs, regularization):
    return float(np.max(np.abs(imbalance(logs, regularization))))


def is_balanced(logs, regularization):
    # Written so that NaN is not balanced.
    difference = np.abs(imbalance(logs, regularization))
    return bool(np.all(difference <= TOLERANCE * np.abs(logs["loss"])))


def balance_table(logs, regularization):
    contributions = contributions_of(logs)
    table = Table(title="Losses on the test images")
    table.add_column("output")
    for heading in ("loss weight", "raw loss", "contribution"):
        table.add_column(heading, justify="right")
    for name, weight in LOSS_WEIGHTS.items():
        raw, weighted = logs[f"{name}_loss"], contributions[name]
        table.add_row(name, f"{weight:g}", f"{raw:.6f}", f"{weighted:.6f}")
    table.add_section()
    total = sum(contributions.values())
    table.add_row("sum", "", "", f"{total:.6f}")
    table.add_row("regularization", "", "", f"{regularization:.6f}")
    table.add_row("both together", "", "", f"{total + regularization:.6f}")
    table.add_section()
    table.add_row("logged loss", "", "", f"{logs['loss']:.6f}")
    difference = imbalance(logs, regularization)
    table.add_row("difference", "", "", f"{difference:+.1e}")
    return table


def draw_raw(axes, epochs, logs):
    curves = {name: logs[f"{name}_loss"] for name in LOSS_WEIGHTS}
    for name, raw in curves.items():
        axes.plot(epochs, raw, color=COLOURS[name], marker="o", ms=4, lw=2)
    axes.set(yscale="log", ylabel="raw loss, log scale")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    # Names go right of the last points, apart even where the points are not.
    low, high = axes.get_ylim()
    lowest = low
    for name in sorted(curves, key=lambda name: curves[name][-1]):
        y = max(curves[name][-1], lowest)
        lowest = y * (high / low) ** 0.05
        axes.annotate(
            f"{name}_loss",
            (epochs[-1], y),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS[name],
            weight="bold",
        )
    axes.set_title("Raw losses, as logged: no weight in them", loc="left")


def draw_stack(axes, epochs, logs, regularization):
    layers = [
        (f"{LOSS_WEIGHTS[name]:g} × {name}_loss", COLOURS[name], contribution)
        for name, contribution in contributions_of(logs).items()
    ]
    layers.append(("regularization", REGULARIZATION_COLOUR, regularization))
    handles, bottom = [], np.zeros(len(epochs))
    for label, colour, height in layers:
        handles.append(
            axes.bar(epochs, height, 1.0, bottom, color=colour, label=label)
        )
        bottom += height
    edges = np.append(epochs, epochs[-1] + 1) - 0.5
    axes.stairs(logs["loss"], edges, baseline=None, color="black", lw=2)
    handles += axes.plot([], [], color="black", lw=2, label="logged loss")
    # Listed as they are stacked, the logged loss on top.
    axes.legend(handles=handles, loc="upper right", frameon=False, reverse=True)
    if is_balanced(logs, regularization):
        title = "Weighted, they add up to the logged loss"
    else:
        worst = largest_imbalance(logs, regularization)
        title = f"Weighted, they miss the loss by up to {worst:.2g}"
    axes.set_title(title, loc="left")


def draw(path, logs, regularization):
    epochs = np.arange(1, len(regularization) + 1)
    figure = Figure(figsize=(10, 4.4), dpi=180, layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_raw(left, epochs, logs)
    draw_stack(right, epochs, logs, regularization)
    for axes in (left, right):
        axes.set_xlabel("epoch (averages over the training images)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        # Room for the legend, however few the epochs are.
        axes.set_xlim(0.4, max(len(epochs), 3) + 0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main():
    args = parse_arguments()
    os.environ["KERAS_BACKEND"] = args.backend
    import keras

    console = Console(highlight=False)
    console.print(f"keras {keras.__version__} on {keras.backend.backend()}")
    keras.utils.set_random_seed(SEED)
    (x_train, y_train), (x_test, y_test) = load_split()
    model = build_model()
    epochs, penalties = train(model, x_train, y_train, args.epochs, console)
    test = model.evaluate(
        x_test, y_test, batch_size=BATCH_SIZE, verbose=0, return_dict=True
    )
    # Evaluating moves no weight, so the penalty is one number, known exactly.
    penalty = regularization_of(model)

    console.print(balance_table(test, penalty))
    worst = largest_imbalance(epochs, penalties)
    console.print(f"Training epochs: largest difference {worst:.1e}")
    balanced = is_balanced(test, penalty) and is_balanced(epochs, penalties)
    if balanced:
        verdict = "[bold green]The books balance[/]: no difference is"
    else:
        verdict = "[bold red]The books do NOT balance[/]: a difference is"
    console.print(f"{verdict} above {TOLERANCE:g} of the loss.")
    console.print(
        f"Test accuracy: digit {test['digit_accuracy']:.1%}, "
        f"odd {test['odd_accuracy']:.1%}"
    )
    path = args.out / "digits_losses.png"
    draw(path, epochs, penalties)
    print(f"The picture is at {path}")
    return 0 if balanced else 1


if __name__ == "__main__":
    sys.exit(main())
