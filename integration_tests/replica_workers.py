"""Trains the model of `replica_cases.py` on several replicas.

    python integration_tests/checkout_finder.py integration_tests/\
replica_workers.py WORKER [RANK PORT ...]

Each worker prints what it found as one line of JSON, the last one.
"""

import json
import os
import sys

from integration_tests import replica_cases as cases

# TensorFlow gives two replicas 4 and 3 of the first samples, and one and none
# in the last batch; three replicas get 3, 3 and 1.
TENSORFLOW = {"samples": 15, "batch_size": 7}
# JAX splits evenly, also what is left for the last batch.
JAX = {"samples": 20, "batch_size": 8}
# Two ranks of PyTorch; the second one has no third batch.
TORCH = {"ranks": (10, 8), "batch_size": 4}


def fit_and_evaluate(model, moving, arrays, batch_size):
    x, y, sample_weight = arrays
    options = {
        "x": x,
        "y": y,
        "sample_weight": sample_weight,
        "batch_size": batch_size,
        "verbose": 0,
    }
    return cases.train(
        model,
        moving,
        lambda callbacks: model.fit(
            **options, callbacks=callbacks, shuffle=False, epochs=cases.EPOCHS
        ),
        lambda: model.evaluate(**options, return_dict=True),
    )


def on_strategy(strategy):
    """What a model finds in the scope of a strategy of `tf.distribute`."""
    with strategy.scope():
        model, moving = cases.make_model()
    arrays = cases.data(TENSORFLOW["samples"])
    return fit_and_evaluate(model, moving, arrays, TENSORFLOW["batch_size"])


def tensorflow_mirrored(count):
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * int(count)
    )
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{i}" for i in range(int(count))]
    )
    return {
        **on_strategy(strategy),
        "shares": shares(strategy),
        "executions": several_steps(strategy),
    }


def shares(strategy):
    """How many samples each replica gets of each batch."""
    import tensorflow as tf

    x, _, _ = cases.data(TENSORFLOW["samples"])
    data = tf.data.Dataset.from_tensor_slices(x).batch(TENSORFLOW["batch_size"])
    return [
        [len(share) for share in strategy.experimental_local_results(batch)]
        for batch in strategy.experimental_distribute_dataset(data)
    ]


def several_steps(strategy):
    """Logs with two steps in an execution; the last one holds one step."""
    with strategy.scope():
        model, _ = cases.make_model()
        model.compile(loss="mse", steps_per_execution=2)
    x, y, _ = cases.data(TENSORFLOW["samples"])
    return model.evaluate(
        x,
        y,
        batch_size=TENSORFLOW["batch_size"],
        verbose=0,
        return_dict=True,
    )


def tensorflow_multi_worker(rank, *ports):
    rank = int(rank)
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
            "task": {"type": "worker", "index": rank},
        }
    )
    import tensorflow as tf

    return on_strategy(tf.distribute.MultiWorkerMirroredStrategy())


WORKERS = {
    worker.__name__: worker
    for worker in (tensorflow_mirrored, tensorflow_multi_worker)
}


def main():
    name, *arguments = sys.argv[1:]
    print(json.dumps(WORKERS[name](*arguments)))


if __name__ == "__main__":
    main()
