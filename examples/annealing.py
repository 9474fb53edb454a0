"""Anneal a loss weight: the KL term of a variational autoencoder.

    python examples/annealing.py [--json FILE] [--picture FILE]

A VAE that starts with the whole KL term may never use its code. So its weight
starts at 0 and grows with every step to 1, which it has from the seventh epoch
on. The weight is a `keras.Variable` that a callback assigns. Nothing has to be
compiled again, and `kl_loss` in the logs remains the KL term itself.
"""

import pathlib
import sys

import books
import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

import keras
from keras import ops

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "tools"))

import plot_terms  # noqa: E402

EPOCHS = 12
WARM_UP_EPOCHS = 6
# The mean over the 64 pixels, 64 times, is the sum that the bound asks for.
PIXELS = 64.0


class Code(keras.layers.Layer):
    """Draws a code from N(mean, variance), and says how far that is from
    N(0, 1): the KL divergence."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.seeds = keras.random.SeedGenerator(books.SEED)

    def call(self, parameters):
        mean, log_variance = ops.split(parameters, 2, axis=-1)
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
        kl = ops.exp(log_variance) + ops.square(mean) - 1.0 - log_variance
        code = mean + ops.exp(0.5 * log_variance) * noise
        return code, 0.5 * ops.sum(kl, axis=-1, keepdims=True)


class Anneal(keras.callbacks.Callback):
    """Lets a weight grow from 0 to 1, the same amount before each step."""

    def __init__(self, weight, steps):
        super().__init__()
        self.weight, self.steps, self.step = weight, steps, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.weight.assign(min(1.0, self.step / self.steps))
        self.step += 1


def build_model(kl_weight):
    dense = keras.layers.Dense
    pixels = keras.Input((64,), name="pixels")
    parameters = dense(2 * 8)(dense(96, "relu")(pixels))
    code, kl = Code(name="code")(parameters)
    image = dense(64, "sigmoid")(dense(96, "relu")(code))
    model = keras.Model(pixels, {"image": image, "kl": kl})
    model.compile(
        keras.optimizers.Adam(5e-3),
        loss={
            "image": "binary_crossentropy",
            "kl": lambda y_true, y_pred: y_pred,
        },
        loss_weights={"image": PIXELS, "kl": kl_weight},
    )
    return model


def draw(path, logs):
    logs = plot_terms.logs_of(logs)
    epochs = np.arange(1, EPOCHS + 1)
    figure = Figure(figsize=(12, 3.9), dpi=180, layout="constrained")
    raw, weight, terms = figure.subplots(1, 3)
    plot_terms.draw_raw(raw, logs)
    colour = plot_terms.colours_of(logs)["kl_contribution"]
    weight.plot(epochs, logs["kl_weight"], color=colour, marker="o", ms=4, lw=2)
    weight.set_ylim(0, 1.05)
    plot_terms.finish(weight, "kl_weight, the epoch's mean")
    plot_terms.draw_terms(terms, logs)
    figure.savefig(path)


def main():
    parser = books.parser(__doc__.splitlines()[0])
    parser.add_argument("--picture", type=pathlib.Path, metavar="FILE")
    args = parser.parse_args()
    console = books.start()
    (x, _), _ = books.load_images()
    kl_weight = keras.Variable(0.0, trainable=False, name="kl_weight")
    model = build_model(kl_weight)
    steps = -(-len(x) // books.BATCH_SIZE)
    book = books.Books(
        len(x),
        ["image", "kl"],
        lambda model: {"image": PIXELS, "kl": float(kl_weight)},
    )
    logs = model.fit(
        x,
        {"image": x, "kl": np.zeros((len(x), 1))},
        batch_size=books.BATCH_SIZE,
        epochs=EPOCHS,
        callbacks=[
            Anneal(kl_weight, WARM_UP_EPOCHS * steps),
            keras.callbacks.LossContributions(),
            book,
        ],
        verbose=0,
    ).history
    columns = ["image_loss", "image_contribution"]
    columns += ["kl_loss", "kl_weight", "kl_contribution", "loss"]
    table = Table()
    for name in ("epoch", *columns):
        table.add_column(name.replace("_", "\n"), justify="right")
    for epoch in range(EPOCHS):
        values = [f"{logs[name][epoch]:.3f}" for name in columns]
        table.add_row(str(epoch + 1), *values)
    console.print(table)
    if args.picture:
        draw(args.picture, logs)
    return books.close(console, [book], args.json, logs=logs)


if __name__ == "__main__":
    sys.exit(main())
