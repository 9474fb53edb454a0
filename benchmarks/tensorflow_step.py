"""Times a training step of the TensorFlow trainer: the fork over stock Keras.

    python benchmarks/tensorflow_step.py [--epochs N] [--steps N]

Fork and stock are two processes that train in turn, one epoch each, so that a
machine that slows down slows both. Data of known length ends where the trainer
knows it will; of data of unknown length the trainer finds the end by running
into it, which is where the fork's step differs.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

import rich.progress

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNNER = ROOT / "integration_tests" / "support" / "checkout_finder.py"
BATCH = 32
GOAL = 1.02


def serve(steps):
    """Trains for an epoch on the data that each line of the input names.

    Answers with the microseconds of a step.
    """
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
    for line in sys.stdin:
        name = line.strip()
        start = time.perf_counter()
        models[name].fit(datasets[name], epochs=1, verbose=0)
        print(1e6 * (time.perf_counter() - start) / steps, flush=True)


def start(stock, steps):
    """`serve` in another process, with or without the fork's modules."""
    options = ["--stock"] if stock else []
    command = [sys.executable, RUNNER, *options, __file__]
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
    }
    return subprocess.Popen(
        [*command, "--serve", f"--steps={steps}"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def ask(process, name):
    process.stdin.write(f"{name}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def row(name, pairs):
    """A row of the table, from pairs of times of stock and fork."""
    stock, fork = (statistics.median(times) for times in zip(*pairs))
    ratios = [f / s for s, f in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return (
        f"| {name} length | {stock:.0f} | {fork:.0f} | {middle:.2f} "
        f"| {low:.2f} to {high:.2f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--serve", action="store_true", help="internal")
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.steps)
        return
    processes = [start(stock, arguments.steps) for stock in (True, False)]
    pairs = {"known": [], "unknown": []}
    # A first answer comes when both are ready.
    for process in processes:
        ask(process, "known")
    for number in rich.progress.track(range(arguments.epochs), "Training"):
        for name in pairs:
            # Who goes first changes, too.
            order = processes[:: -1 if number % 2 else 1]
            times = {process: ask(process, name) for process in order}
            pairs[name].append([times[process] for process in processes])
    for process in processes:
        process.stdin.close()
        process.wait()
    print("| data | stock us | fork us | fork/stock | spread |")
    print("| --- | --- | --- | --- | --- |")
    for name in pairs:
        print(row(name, pairs[name]))
    print(f"The goal is a median ratio of at most {GOAL}.")


if __name__ == "__main__":
    main()
