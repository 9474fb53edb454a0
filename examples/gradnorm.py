"""Balance three outputs by their gradients, after GradNorm (Chen et al. 2018).

    python examples/gradnorm.py [--json FILE]

Before each epoch a callback measures, for each output i and with all training
images,

    raw_i:  its raw loss; raw_i / raw_i before training, divided by the mean of
            that over the outputs, is its inverse training rate rate_i;
    norm_i: the norm of the gradient of raw_i in the last shared layer;

and moves the loss weights half of the way to where weight_i * norm_i would be
in proportion to rate_i ** ALPHA, with a sum of as many as there are outputs.
So none drowns the others, and what trains slowly gets a larger share.

What is simplified: GradNorm moves the weights at each step, by gradient
descent on the distance to that goal, and takes the norms from the batch. Here
the goal is computed, and the weights are assigned once an epoch.
"""

import sys

import books
import numpy as np
from rich.table import Table

import keras

EPOCHS = 10
ALPHA = 1.0
LOSSES = {
    "digit": "sparse_categorical_crossentropy",
    "odd": "binary_crossentropy",
    "image": "mse",
}


def build_model(optimizer, weights):
    dense = keras.layers.Dense
    pixels = keras.Input((64,), name="pixels")
    code = dense(32, "relu", name="shared")(dense(96, "relu")(pixels))
    outputs = {
        "digit": dense(10, "softmax", name="digit")(code),
        "odd": dense(1, "sigmoid", name="odd")(code),
        "image": dense(64, "sigmoid", name="image")(code),
    }
    model = keras.Model(pixels, outputs)
    model.compile(optimizer, LOSSES, weights)
    return model


class Probe:
    """Measures raw losses and gradients, on any backend, without autodiff.

    A copy of the model takes one step of gradient descent with a rate of 1,
    for which one output has the weight 1 and all others have 0: the kernel
    changes by that output's gradient. As the weights are Variables, the copy
    is compiled only once.
    """

    def __init__(self, x, labels):
        self.x, self.labels = x, labels
        self.weights = make_weights()
        self.model = build_model(keras.optimizers.SGD(1.0), self.weights)

    def measure(self, values, output):
        for name, weight in self.weights.items():
            weight.assign(float(name == output))
        self.model.set_weights(values)
        self.model.reset_metrics()
        shared = self.model.get_layer("shared")
        before = shared.get_weights()[0]
        logs = self.model.train_on_batch(self.x, self.labels, return_dict=True)
        gradient = before - shared.get_weights()[0]
        return float(logs[f"{output}_loss"]), float(np.linalg.norm(gradient))


class Balance(keras.callbacks.Callback):
    """Assigns the weights before each epoch, as described above."""

    def __init__(self, weights, probe):
        super().__init__()
        self.weights, self.probe, self.epochs = weights, probe, []

    def on_epoch_begin(self, epoch, logs=None):
        values = self.model.get_weights()
        measured = [self.probe.measure(values, name) for name in LOSSES]
        raw, norms = np.transpose(measured)
        first = self.epochs[0]["raw"] if self.epochs else raw
        rates = raw / first
        rates /= np.mean(rates)
        goal = rates**ALPHA / norms
        goal *= len(goal) / np.sum(goal)
        weights = [float(self.weights[name]) for name in LOSSES]
        weights = (weights + goal) / 2
        for name, weight in zip(LOSSES, weights):
            self.weights[name].assign(weight)
        found = {"raw": raw, "norm": norms, "rate": rates, "weight": weights}
        self.epochs.append({n: v.tolist() for n, v in found.items()})


def make_weights():
    return {
        name: keras.Variable(1.0, trainable=False, name=f"weight_of_{name}")
        for name in LOSSES
    }


def main():
    args = books.parser(__doc__.splitlines()[0]).parse_args()
    console = books.start()
    (x, digits), _ = books.load_images()
    labels = books.labels_of(x, digits)
    weights = make_weights()
    model = build_model(keras.optimizers.Adam(2e-3), weights)
    balance = Balance(weights, Probe(x, labels))
    book = books.Books(
        len(x),
        LOSSES,
        lambda model: {name: float(weight) for name, weight in weights.items()},
    )
    logs = model.fit(
        x,
        labels,
        batch_size=books.BATCH_SIZE,
        epochs=EPOCHS,
        callbacks=[balance, keras.callbacks.LossContributions(), book],
        verbose=0,
    ).history
    table = Table(title="Gradients in the last shared layer")
    table.add_column("epoch", justify="right")
    table.add_column("output")
    for heading in (
        "raw loss",
        "norm",
        "weight",
        "share without",
        "share with weights",
    ):
        table.add_column(heading, justify="right")
    for epoch in range(0, EPOCHS, 3):
        found = {n: np.array(v) for n, v in balance.epochs[epoch].items()}
        norms = found["norm"]
        with_weights = found["weight"] * norms
        columns = found["raw"], norms, found["weight"]
        columns += norms / sum(norms), with_weights / sum(with_weights)
        for name, *row in zip(LOSSES, *columns):
            numbers = [f"{number:.3f}" for number in row[:3]]
            numbers += [f"{share:.0%}" for share in row[3:]]
            table.add_row(str(epoch + 1), name, *numbers)
        table.add_section()
    console.print(table)
    return books.close(
        console, [book], args.json, logs=logs, epochs=balance.epochs
    )


if __name__ == "__main__":
    sys.exit(main())
