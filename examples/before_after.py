"""Prints what stock Keras and the fork log for the same small models.

    python examples/before_after.py [--backend tensorflow|jax|torch]

Each row is a model whose right numbers can be worked out by hand: the heads
are `z = x` and `a = 2x`, and all labels are zero. Each Keras runs in a process
of its own, from the checkout: nothing has to be installed but a backend, rich
and what Keras needs. The tables of README.md and RELEASE_NOTES.md are printed
by this script.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

FINDER = "integration_tests/checkout_finder.py"
ROOT = pathlib.Path(__file__).resolve().parent.parent
# What is done, and what comes of it if it is done right.
ROWS = {
    "short last batch: `a_loss`": "80",
    "`loss=['mse', 'mae']`, one output: `loss`": "30",
    "`loss_weights={'a': 10, 'z': 1}`, list of losses: `loss`": "41",
    "`loss_weights={'z': 1, 'zz': 10}`, `zz` no output: `loss`": "ValueError",
    "sample weights (N,), output (N, N, 1): `loss`": "0.5",
    "masked output: `precision`": "1",
    "300 samples without and 300 with a loss, bfloat16: `a_loss`": "8",
}


def measure():
    """The logged numbers, in the order of `ROWS`, as text."""
    import numpy as np

    import keras

    def heads(*names, container=list):
        inputs = keras.Input((1,))
        outputs = [
            keras.layers.Dense(
                1,
                use_bias=False,
                kernel_initializer=keras.initializers.Constant(kernel),
                name=name,
            )(inputs)
            for name, kernel in zip(names, (1.0, 2.0))
        ]
        if len(names) == 1:
            return keras.Model(inputs, outputs[0])
        if container is dict:
            outputs = dict(zip(names, outputs))
        return keras.Model(inputs, outputs)

    def evaluate(model, x, y, batch_size=4, **compiled):
        model.compile("sgd", **compiled)
        return model.evaluate(
            x, y, batch_size=batch_size, verbose=0, return_dict=True
        )

    def short_last_batch():
        x, y = np.array([[0.0], [0], [0], [0], [10]]), np.zeros((5, 1))
        return evaluate(heads("z", "a"), x, [y, y], loss=["mse", "mse"])[
            "a_loss"
        ]

    def two_losses():
        x, y = np.array([[5.0], [5.0]]), np.zeros((2, 1))
        return evaluate(heads("z"), x, y, loss=["mse", "mae"])["loss"]

    def swapped_weights():
        x, y = np.ones((2, 1)), np.zeros((2, 1))
        return evaluate(
            heads("z", "a"),
            x,
            [y, y],
            loss=["mse", "mse"],
            loss_weights={"a": 10, "z": 1},
        )["loss"]

    def misspelt_weight():
        x, y = np.ones((2, 1)), np.zeros((2, 1))
        return evaluate(
            heads("z", "a", container=dict),
            x,
            {"z": y, "a": y},
            loss={"z": "mse", "a": "mse"},
            loss_weights={"z": 1, "zz": 10},
        )["loss"]

    def sample_weights():
        # Squared errors of 1 in the first sample, which alone counts, and of
        # 4 in the second: (1 + 1) / 4.
        y_pred = np.array([[[1.0], [1.0]], [[2.0], [2.0]]], "float32")
        return keras.losses.MeanSquaredError()(
            np.zeros_like(y_pred), y_pred, sample_weight=np.array([1.0, 0.0])
        )

    def masked_precision():
        x = np.array([[1, 1, 0]])
        inputs = keras.Input((3,))
        outputs = keras.layers.Embedding(
            2, 1, mask_zero=True, embeddings_initializer="ones"
        )(inputs)
        model = keras.Model(inputs, outputs)
        y = np.array([[[1.0], [1.0], [0.0]]])
        return evaluate(model, x, y, loss="mse", metrics=["Precision"])[
            "Precision"
        ]

    def bfloat16():
        keras.config.set_floatx("bfloat16")
        x = np.repeat([[0.0], [2.0]], 300, axis=0)
        y = np.zeros((600, 1))
        return evaluate(
            heads("z", "a"), x, [y, y], batch_size=1, loss=["mse", "mse"]
        )["a_loss"]

    results = []
    for case in (
        short_last_batch,
        two_losses,
        swapped_weights,
        misspelt_weight,
        sample_weights,
        masked_precision,
        bfloat16,
    ):
        try:
            results.append(f"{float(case()):.4g}")
        except (ValueError, TypeError) as error:
            # What a user would see is what is to be shown.
            is_value_error = isinstance(error, ValueError)
            results.append("ValueError" if is_value_error else "TypeError")
    return results


def run(backend, stock):
    command = [sys.executable, str(ROOT / FINDER)]
    command += ["--stock"] if stock else []
    answer = subprocess.run(
        [*command, str(pathlib.Path(__file__).resolve()), "--numbers"],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(answer.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--backend",
        choices=["tensorflow", "jax", "torch"],
        default="tensorflow",
    )
    parser.add_argument("--numbers", action="store_true")
    arguments = parser.parse_args()
    if arguments.numbers:
        print(json.dumps(measure()))
        return
    stock, fork = (run(arguments.backend, stock) for stock in (True, False))
    print(f"| {arguments.backend} | right | Keras 3.15.1 | fork |")
    print("| --- | --- | --- | --- |")
    for (row, right), before, after in zip(ROWS.items(), stock, fork):
        print(f"| {row} | {right} | {before} | {after} |")


if __name__ == "__main__":
    main()
