"""Times a training step of the TensorFlow trainer: the fork over stock Keras.

    python benchmarks/tensorflow_step.py [--rounds N] [--steps N]

Fork and stock run in turn, each in a process of its own, so that a machine
that slows down slows both. Data of known length ends where the trainer knows
it will; of data of unknown length the trainer finds the end by running into
it, which is where the fork's step differs.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNNER = ROOT / "integration_tests" / "checkout_finder.py"
EPOCHS = 7
BATCH = 32
GOAL = 1.02


def measure(steps):
    """Microseconds for a step, one number for each epoch and kind of data."""
    import numpy as np
    import tensorflow as tf

    import keras

    keras.utils.set_random_seed(0)
    rows = np.random.rand(BATCH * steps, 16).astype("float32")
    labels = rows.sum(axis=1, keepdims=True)
    known = tf.data.Dataset.from_tensor_slices((rows, labels)).batch(BATCH)
    known = known.cache()
    datasets = {
        "known": known.prefetch(8),
        "unknown": known.filter(lambda *batch: True).prefetch(8),
    }
    times = {name: [] for name in datasets}
    models = {}
    for name in datasets:
        models[name] = keras.Sequential(
            [
                keras.Input((16,)),
                keras.layers.Dense(32, activation="relu"),
                keras.layers.Dense(1),
            ]
        )
        models[name].compile("adam", loss="mse", metrics=["mae"])
        models[name].fit(datasets[name], epochs=2, verbose=0)
    for _ in range(EPOCHS):
        for name, dataset in datasets.items():
            start = time.perf_counter()
            models[name].fit(dataset, epochs=1, verbose=0)
            times[name].append(1e6 * (time.perf_counter() - start) / steps)
    return times


def run(stock, steps):
    """`measure` in another process, with or without the fork's modules."""
    options = ["--stock"] if stock else []
    command = [sys.executable, RUNNER, *options, __file__]
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
    }
    finished = subprocess.run(
        [*command, "--measure", f"--steps={steps}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    return json.loads(finished.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--measure", action="store_true", help="internal")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.steps)))
        return
    found = {True: [], False: []}
    for number in range(arguments.rounds):
        # Who goes first changes, too.
        for stock in (True, False) if number % 2 else (False, True):
            found[stock].append(run(stock, arguments.steps))
    print(f"{'data':<9}{'stock':>18}{'fork':>18}{'fork/stock':>20}")
    for name in ("known", "unknown"):
        # The fastest epoch of a process is the one least disturbed.
        stock = [min(times[name]) for times in found[True]]
        fork = [min(times[name]) for times in found[False]]
        ratios = [f / s for f, s in zip(fork, stock)]
        cells = [
            f"{statistics.median(values):.0f} us "
            f"({min(values):.0f}-{max(values):.0f})"
            for values in (stock, fork)
        ]
        spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
        ratio = f"{statistics.median(ratios):.3f} {spread}"
        print(f"{name:<9}{cells[0]:>18}{cells[1]:>18}{ratio:>20}")
    print(f"The goal is a median ratio of at most {GOAL}.")


if __name__ == "__main__":
    main()
