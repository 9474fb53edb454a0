"""Times a call of one Keras loss object, stock and fork side by side.

    python integration_tests/checkout_finder.py benchmarks/loss_call.py

Both versions of the modules are loaded into one process, and their runs
alternate, so that whatever else the machine does falls on both alike. Ratios
are of medians; the spread is that of the middle half of the runs' ratios.
Everything is eager, as in a PyTorch training step; one thread.
"""

import importlib.util
import os
import statistics
import sys
import time

import numpy as np

import keras
import pip_build

LOSS, LOSSES = "keras.src.losses.loss", "keras.src.losses.losses"
CASES = {
    "no weight, no mask": {},
    "weights (N,)": {"sample_weight": np.ones(32, "float32")},
}
RUNS, CALLS = 31, 200


def load_stock(*names):
    """Stock's modules of these names, each using those before it."""
    ours, loaded = {name: sys.modules[name] for name in names}, []
    for name in names:
        file = pip_build.unpacked_base() / (name.replace(".", "/") + ".py")
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        loaded.append(module)
    sys.modules.update(ours)
    return loaded


def seconds(call):
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS


def compare(stock, fork):
    """Medians of both, their ratio, and the middle half of the ratios."""
    pairs = []
    for _ in range(RUNS):
        pairs.append((seconds(stock), seconds(fork)))
    before, after = (statistics.median(column) for column in zip(*pairs))
    low, _, high = statistics.quantiles(
        [after / before for before, after in pairs], n=4
    )
    return before, after, low, high


def main():
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)
    _, stock = load_stock(LOSS, LOSSES)
    rng = np.random.default_rng(0)
    y_true, y_pred = (
        keras.ops.convert_to_tensor(rng.random((32, 4), "float32"))
        for _ in range(2)
    )
    print(f"{keras.backend.backend()}, {os.cpu_count()} cores")
    print("| MeanSquaredError | stock µs | fork µs | fork/stock | spread |")
    print("| --- | --- | --- | --- | --- |")
    for name, arguments in CASES.items():
        calls = [
            lambda loss=loss: loss(y_true, y_pred, **arguments)
            for loss in (
                stock.MeanSquaredError(),
                keras.losses.MeanSquaredError(),
            )
        ]
        for call in calls:
            seconds(call)  # Warm-up.
        before, after, low, high = compare(*calls)
        print(
            f"| {name} | {before * 1e6:.1f} | {after * 1e6:.1f} | "
            f"{after / before:.2f} | {low:.2f} to {high:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
