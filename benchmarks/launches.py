"""Counts what a training step asks of the device, with `keras` as installed.

    KERAS_BACKEND=torch python benchmarks/launches.py [N]

The model has N outputs (32 if not given), each with a loss of its own that is
tracked. The step is one of `fit`. The last line is a JSON dict of counts.
"""

import collections
import json
import sys

import numpy as np

SAMPLES, FEATURES = 32, 16
# Calls with which the host starts work on the device, or waits for it.
LAUNCHES = ("LaunchKernel", "GraphLaunch", "MemcpyAsync", "MemsetAsync")
SYNCS = ("StreamSynchronize", "DeviceSynchronize", "EventSynchronize")


def model_and_batch(count):
    import keras

    inputs = keras.Input((FEATURES,))
    names = [f"y{i:03d}" for i in range(count)]
    model = keras.Model(
        inputs,
        {name: keras.layers.Dense(1, name=name)(inputs) for name in names},
    )
    model.compile("sgd", loss=dict.fromkeys(names, "mse"))
    rng = np.random.default_rng(0)
    x = rng.random((SAMPLES, FEATURES), "float32")
    return model, x, {n: rng.random((SAMPLES, 1), "float32") for n in names}


def torch_events(model, x, y, steps):
    """How often each event occurs in an epoch of so many steps."""
    import torch

    x, y = np.tile(x, (steps, 1)), {k: np.tile(y[k], (steps, 1)) for k in y}
    with torch.profiler.profile() as profile:
        model.fit(x, y, batch_size=SAMPLES, shuffle=False, verbose=0)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return collections.Counter(event.name for event in profile.events())


def torch_counts(model, x, y):
    """Per step: what an epoch has more when it has ten steps more."""
    import torch

    model.train_on_batch(x, y)
    few, many = (torch_events(model, x, y, steps) for steps in (2, 12))
    events = {name: (many[name] - few[name]) / 10 for name in many}

    def total(parts):
        return sum(
            count
            for name, count in events.items()
            if any(part in name for part in parts)
        )

    found = {"operators": total(["aten::"])}
    # Reads a number back, for which the host has to wait on a GPU.
    found["numbers read by the host"] = events.get(
        "aten::_local_scalar_dense", 0
    )
    if torch.cuda.is_available():
        found["launches"] = total(LAUNCHES)
        found["host syncs"] = total(SYNCS)
    return found


def jax_counts(model, x, y):
    """Of the step after XLA has optimized it for the device."""
    import jax

    logs = model.train_on_batch(x, y)
    state = (
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
        [v.value for v in model.optimizer.variables],
        [v.value for v in model.metrics_variables],
    )
    lowered = jax.jit(model.train_step).lower(state, (x, y))
    entry = lowered.compile().as_text().partition("\nENTRY ")[2]
    lines = [line for line in entry.splitlines() if " = " in line]
    # What is no work of the device's own.
    passive = ("parameter(", "tuple(", "get-tuple-element(", "constant(")
    passive += ("bitcast(",)
    return {
        "kernels and copies in the step": sum(
            not any(f" {name}" in line for name in passive) for line in lines
        ),
        "arrays of state": len(jax.tree.leaves(state)),
        "numbers logged": len(logs),
    }


def tensorflow_counts(model, x, y):
    import tensorflow as tf

    model.train_on_batch(x, y)
    step = tf.function(model.train_step, autograph=False)
    graph = step.get_concrete_function((x, y)).graph
    inner = graph.as_graph_def().library.function
    return {
        "operations in the graph": len(graph.get_operations())
        + sum(len(function.node_def) for function in inner)
    }


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    import keras

    counts = {
        "torch": torch_counts,
        "jax": jax_counts,
        "tensorflow": tensorflow_counts,
    }
    found = counts[keras.backend.backend()](*model_and_batch(count))
    print(json.dumps({"keras": keras.__version__, "counts": found}))


if __name__ == "__main__":
    main()
