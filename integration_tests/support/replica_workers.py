"""Trains the model of `replica_cases.py` on several replicas.

    python integration_tests/support/checkout_finder.py integration_tests/\
replica_workers.py WORKER [RANK PORT ...]

Each worker prints what it found as one line of JSON, the last one.
"""

import gc
import json
import os
import sys

from integration_tests.support import replica_cases as cases

# TensorFlow gives two replicas 4 and 3 of the first samples, and one and none
# in the last batch; three replicas get 3, 3 and 1.
TENSORFLOW = {"samples": 15, "batch_size": 7}
# What JAX splits evenly, also what is left for the last batch.
EVEN = {"samples": 20, "batch_size": 8}
# Samples of two ranks of PyTorch: the second one has no third batch.
UNEVEN_RANKS = (10, 8)


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
    return {
        **fit_and_evaluate(model, moving, arrays, TENSORFLOW["batch_size"]),
        "terms": terms(strategy),
    }


def terms(strategy):
    """Logs of an evaluation with all terms of the total."""
    import keras

    with strategy.scope():
        model, _ = cases.make_model()
    x, y, sample_weight = cases.data(TENSORFLOW["samples"])
    return model.evaluate(
        x,
        y,
        sample_weight=sample_weight,
        batch_size=TENSORFLOW["batch_size"],
        callbacks=[keras.callbacks.LossContributions()],
        verbose=0,
        return_dict=True,
    )


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
        "scaled": scaled(strategy),
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


def scaled(strategy):
    """On each replica, the dtype and value of 8 times its share of a batch.

    The replicas have 1, 3 and 4 samples, beside an input that is left out.
    """
    import tensorflow as tf

    from keras.src.losses import replicas

    x = strategy.experimental_distribute_values_from_function(
        lambda replica: tf.zeros(
            ((1, 3, 4)[replica.replica_id_in_sync_group], 1)
        )
    )

    def scale(x):
        with replicas.replica_share({"left_out": None, "x": x}):
            return replicas.scale_loss_for_distribution(
                tf.constant(8.0, "float16")
            )

    found = tf.function(lambda: strategy.run(scale, (x,)))()
    return [
        [value.dtype.name, float(value)]
        for value in strategy.experimental_local_results(found)
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


def on_distribution(distribution, arrays, batch_size):
    """What a model finds that a `keras.distribution` spreads out."""
    with distribution.scope():
        model, moving = cases.make_model()
        found = fit_and_evaluate(model, moving, arrays, batch_size)
    kernel = model.get_layer("mean").kernel.value
    return found | {"shard": kernel.sharding.shard_shape(kernel.shape)}


def jax_devices():
    """On the devices of one process, by data and by data and model."""
    from keras import distribution as keras_distribution

    arrays, batch_size = cases.data(EVEN["samples"]), EVEN["batch_size"]
    by_data = keras_distribution.DataParallel()
    mesh = keras_distribution.DeviceMesh((2, 2), ("batch", "model"))
    layouts = keras_distribution.LayoutMap(mesh)
    layouts[".*kernel"] = (None, "model")
    by_model = keras_distribution.ModelParallel(layout_map=layouts)
    found = {
        "devices": len(keras_distribution.list_devices()),
        "data": on_distribution(by_data, arrays, batch_size),
        "model": on_distribution(by_model, arrays, batch_size),
    }
    with by_data.scope():
        found["errors"] = errors_of_uneven_batches(arrays, batch_size)
    return found


def errors_of_uneven_batches(arrays, batch_size):
    """What is said of batches of 8 and 2 samples, or of 10, on 4 devices.

    Also whether the model is still what it was.
    """
    found = {}
    for built in (False, True):
        model, _ = cases.make_model()
        before = cases.kernels(model)
        if built:
            x, y, sample_weight = cases.rows(arrays, slice(batch_size))
            model.evaluate(x, y, sample_weight=sample_weight, verbose=0)
        x, y, sample_weight = cases.rows(arrays, slice(batch_size + 2))
        batch = {"x": x, "y": y, "sample_weight": sample_weight}
        in_batches = {"batch_size": batch_size, "verbose": 0}
        for method, arguments in {
            "train_on_batch": batch,
            "test_on_batch": batch,
            "fit": batch | in_batches,
            "evaluate": batch | in_batches,
            "predict": {"x": x} | in_batches,
        }.items():
            said = "nothing"
            try:
                getattr(model, method)(**arguments)
            except ValueError as error:
                said = str(error)
            is_unchanged = cases.kernels(model) == before
            found[f"{method} {built}"] = [said, is_unchanged]
    return found


def jax_processes(rank, port):
    from keras import distribution as keras_distribution

    keras_distribution.initialize(f"127.0.0.1:{port}", 2, int(rank))
    arrays, batch_size = cases.data(EVEN["samples"]), EVEN["batch_size"]
    # Each process reads its own half of every batch.
    mine = cases.halves(len(arrays[0]), batch_size)[int(rank)]
    return on_distribution(
        keras_distribution.DataParallel(auto_shard_dataset=False),
        cases.rows(arrays, mine),
        batch_size // 2,
    )


def torch_ranks(rank, port):
    import torch

    rank = int(rank)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    torch.set_num_threads(1)
    samples, batch_size = EVEN["samples"], EVEN["batch_size"]
    half = cases.halves(samples, batch_size)[rank]
    found = {
        "even": on_rank(cases.rows(cases.data(samples), half)),
        "uneven": on_rank(cases.rank_rows(UNEVEN_RANKS)[rank]),
    }
    # Without, a process aborts now and then as it ends: what is parallel is in
    # a cycle, and holds the group's threads until there is no Python any more.
    gc.collect()
    torch.distributed.destroy_process_group()
    return found


def on_rank(arrays):
    """Training as Keras' guide to DistributedDataParallel has it."""
    import torch

    model, moving = cases.make_model()
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=cases.RATE)
    batches = cases.batches(arrays, EVEN["batch_size"] // 2)

    def epoch(train):
        model.reset_metrics()
        total, samples = 0.0, 0
        for x, y, sample_weight in batches:
            # Only training has steps that the ranks take together.
            y_pred = (parallel if train else model)(torch.from_numpy(x))
            loss = model.compute_loss(x, y, y_pred, sample_weight)
            if train:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            total += len(x) * loss.item()
            samples += len(x)
        logs = {k: float(v) for k, v in model.get_metrics_result().items()}
        return logs | {"loss": total / samples, "samples": samples}

    def gathered(logs):
        """The averages over the samples of all ranks."""
        ranks = [None, None]
        torch.distributed.all_gather_object(ranks, logs)
        samples = sum(rank["samples"] for rank in ranks)
        return {
            name: sum(rank["samples"] * rank[name] for rank in ranks) / samples
            for name in logs
            if name != "samples"
        }

    found = {"history": [], "gathered": []}
    for _ in range(cases.EPOCHS):
        # A rank that has no batch left takes part in the steps of the others.
        with torch.distributed.algorithms.join.Join([parallel]):
            logs = epoch(train=True)
        found["gathered"].append(gathered(logs))
        del logs["samples"]
        found["history"].append(logs)
        moving.assign(cases.HEADS["moving"].moves_to)
    found["kernels"] = cases.kernels(model)
    with torch.no_grad():
        found["evaluated"] = gathered(epoch(train=False))
    return found


WORKERS = {
    worker.__name__: worker
    for worker in (
        tensorflow_mirrored,
        tensorflow_multi_worker,
        jax_devices,
        jax_processes,
        torch_ranks,
    )
}


def main():
    name, *arguments = sys.argv[1:]
    print(json.dumps(WORKERS[name](*arguments)))


if __name__ == "__main__":
    main()
