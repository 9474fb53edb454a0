"""Learn the weights of losses: Kendall, Gal and Cipolla (CVPR 2018).

    python examples/uncertainty_weighting.py [--json FILE]

Each output i has a trainable log-variance s_i, and the model minimises

    sum(factor_i * exp(-s_i) * raw_i + s_i / 2)

with a factor of 1/2 for squared errors and of 1 for cross-entropies, as in the
paper. Keras never trains a loss weight: it may only be assigned. So a layer
computes the sum and gives it to `add_loss`. The loss weights are 0, so that
the logs still have the raw loss of each output, and nothing is counted twice.
The other model has the same heads and fixed weights of 1.
"""

import math
import sys

import books
from rich.table import Table

import keras
from keras import losses
from keras import ops

EPOCHS = 15
RATE = 2e-3
# Adam moves whatever it trains by about its rate in a step. Log-variances have
# further to go than kernels: the layer trains s_i / SCALE.
SCALE = 20.0
LOSSES = {
    "digit": losses.SparseCategoricalCrossentropy(),
    "odd": losses.BinaryCrossentropy(),
    "image": losses.MeanSquaredError(),
}
FACTORS = {"digit": 1.0, "odd": 1.0, "image": 0.5}


class Uncertainty(keras.layers.Layer):
    """Adds the loss above, given labels and predictions by output name."""

    def build(self, labels_shape, predictions_shape):
        self.scaled = {
            name: self.add_weight(
                shape=(), initializer="zeros", name=f"scaled_{name}"
            )
            for name in LOSSES
        }

    def call(self, labels, predictions):
        for name, loss in LOSSES.items():
            log_variance = SCALE * self.scaled[name]
            raw = loss(labels[name], predictions[name])
            weight = FACTORS[name] * ops.exp(-log_variance)
            self.add_loss(weight * raw + 0.5 * log_variance)
        return predictions


def build_model(learned):
    keras.utils.set_random_seed(books.SEED)
    dense = keras.layers.Dense
    pixels = keras.Input((64,), name="pixels")
    code = dense(32, "relu")(dense(96, "relu")(pixels))
    outputs = {
        "digit": dense(10, "softmax", name="digit")(code),
        "odd": dense(1, "sigmoid", name="odd")(code),
        "image": dense(64, "sigmoid", name="image")(code),
    }
    inputs = {"pixels": pixels}
    if learned:
        # `add_loss` knows of no labels: here they are inputs, too.
        sizes = {"digit": 1, "odd": 1, "image": 64}
        labels = {
            name: keras.Input((size,), name=f"{name}_label")
            for name, size in sizes.items()
        }
        outputs = Uncertainty(name="uncertainty")(labels, outputs)
        inputs |= {f"{name}_label": labels[name] for name in LOSSES}
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(RATE),
        loss=dict(LOSSES),
        loss_weights=0.0 if learned else 1.0,
        metrics={"digit": ["accuracy"], "odd": ["accuracy"]},
    )
    return model


def log_variances(model):
    layer = model.get_layer("uncertainty")
    return {
        name: SCALE * float(ops.convert_to_numpy(variable))
        for name, variable in layer.scaled.items()
    }


def weights_of(model):
    """What multiplies each raw loss, fixed or learned."""
    if "uncertainty" not in [layer.name for layer in model.layers]:
        return dict.fromkeys(LOSSES, 1.0)
    return {
        name: FACTORS[name] * math.exp(-log_variance)
        for name, log_variance in log_variances(model).items()
    }


def run(learned):
    """Returns the model, its books and its logs of the test images."""
    train, test = (
        (x, books.labels_of(x, digits)) for x, digits in books.load_images()
    )

    def inputs(x, labels):
        if not learned:
            return {"pixels": x}
        more = {f"{name}_label": labels[name] for name in LOSSES}
        return {"pixels": x, **more}

    model = build_model(learned)
    book = books.Books(
        len(train[0]),
        LOSSES,
        weights_of,
        lambda model: (
            0.5 * sum(log_variances(model).values()) if learned else 0.0
        ),
    )
    model.fit(
        inputs(*train),
        train[1],
        batch_size=books.BATCH_SIZE,
        epochs=EPOCHS,
        callbacks=[book],
        verbose=0,
    )
    logs = model.evaluate(
        inputs(*test), test[1], batch_size=360, verbose=0, return_dict=True
    )
    return model, book, logs


def main():
    args = books.parser(__doc__.splitlines()[0]).parse_args()
    console = books.start()
    results = [run(learned) for learned in (False, True)]
    (_, _, fixed), (model, _, learned) = results
    table = Table(title="Raw losses of the test images")
    table.add_column("output")
    for heading in (
        "weights of 1",
        "learned weights",
        "log-variance",
        "weight",
    ):
        table.add_column(heading, justify="right")
    for name, log_variance in log_variances(model).items():
        raw = [f"{logs[f'{name}_loss']:.4f}" for logs in (fixed, learned)]
        weight = weights_of(model)[name]
        table.add_row(name, *raw, f"{log_variance:.2f}", f"{weight:.2f}")
    table.add_section()
    for name in ("digit_accuracy", "odd_accuracy"):
        shares = [f"{logs[name]:.1%}" for logs in (fixed, learned)]
        table.add_row(name, *shares)
    console.print(table)
    return books.close(
        console,
        [book for _, book, _ in results],
        args.json,
        log_variances=log_variances(model),
    )


if __name__ == "__main__":
    sys.exit(main())
