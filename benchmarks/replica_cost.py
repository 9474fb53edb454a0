"""Works out what tracking each output's loss costs on many replicas.

    python benchmarks/replica_cost.py [--write]

With JAX, XLA compiles the training step of a model for 8, 64 and 512 devices,
and the collectives in the program are counted; it is not run. With TensorFlow,
a step is traced on two replicas, and what they reduce is counted; more of them
reduce the same. Without tracking, the losses of a sample are added up before
the mean is taken. `--write` puts the tables into docs/replicas.md.
"""

import argparse
import json
import math
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "replicas.md"
START, END = "<!-- replica_cost.py -->\n", "<!-- end -->"
REPLICAS, OUTPUTS, FEATURES = (8, 64, 512), 32, 16
BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1}
# A collective's result: one shape, or a tuple of them.
COLLECTIVE = re.compile(
    r" = (?P<result>.+?) (?:all-reduce|all-gather|reduce-scatter|all-to-all"
    r"|collective-permute)(?:-start)?\("
)
SHAPE = re.compile(r"(f32|s32|u32|pred)\[([\d,]*)\]")


def make_model(tracked):
    """A model with many outputs, and a batch for any number of replicas."""
    import numpy as np

    import keras

    inputs = keras.Input((FEATURES,))
    names = [f"y{i:03d}" for i in range(OUTPUTS)]
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in names}

    class SumOfSquares(keras.losses.Loss):
        def call(self, y_true, y_pred):
            errors = [y_pred[name] - y_true[name] for name in names]
            return sum(keras.ops.square(error) for error in errors)

    class Untracked(keras.Model):
        def compute_loss(self, x, y, y_pred, sample_weight, training=True):
            return SumOfSquares()(y, y_pred)

    model = (keras.Model if tracked else Untracked)(inputs, outputs)
    model.compile("sgd", loss=dict.fromkeys(names, "mse") if tracked else None)

    def batch(samples):
        x = np.zeros((samples, FEATURES), "float32")
        return x, {name: np.zeros((samples, 1), "float32") for name in names}

    return model, batch


# JAX


def collectives(hlo):
    """The number of collectives in a program, and the bytes that they take."""
    found = [match["result"] for match in COLLECTIVE.finditer(hlo)]
    size = sum(
        BYTES[dtype] * math.prod(int(n) for n in shape.split(",") if n)
        for result in found
        for dtype, shape in SHAPE.findall(result)
    )
    return len(found), size


def compiled_step(replicas, tracked):
    """The optimized program of a step with a sample for each replica."""
    import jax
    import numpy as np

    model, batch = make_model(tracked)
    model.train_on_batch(*batch(replicas))  # On one device: makes variables.
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:replicas]), ("batch",))
    by_batch, everywhere = (
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        for axes in (["batch"], [])
    )

    def abstract(values, sharding):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            values,
        )

    state = tuple(
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    )
    step = jax.jit(model.train_step, out_shardings=everywhere)
    lowered = step.lower(
        abstract(state, everywhere), abstract(batch(replicas), by_batch)
    )
    return lowered.compile().as_text()


def measure_jax(is_fork):
    return {
        str(replicas): [
            collectives(compiled_step(replicas, tracked))
            for tracked in (True, False)
        ]
        for replicas in REPLICAS
    }


def jax_table(measured):
    yield "| replicas | Keras | collectives: tracked | untracked | bytes: "
    yield "tracked | untracked | for tracking, on all wires |\n"
    yield "| --- " * 7 + "|\n"
    for replicas in REPLICAS:
        for side, counts in measured.items():
            (number, size), (fewer, smaller) = counts[str(replicas)]
            yield f"| {replicas} | {side} | {number} | {fewer} | {size} | "
            yield f"{smaller} | {on_wires(size - smaller, replicas):,} |\n"


def on_wires(size, replicas):
    """Bytes sent by all replicas for an all-reduce, in a ring.

    Each sends all parts but one to be summed up, and then all sums but one.
    """
    return 2 * (replicas - 1) * size


# TensorFlow


def measure_tensorflow(is_fork):
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    return [
        traced_step(strategy, tracked, is_fork) for tracked in (True, False)
    ]


def traced_step(strategy, tracked, is_fork):
    """The sizes of what is reduced over replicas: in the step, for logs."""
    import tensorflow as tf

    context_class = tf.distribute.ReplicaContext
    all_reduce, reduced = context_class.all_reduce, []

    def noted(context, operation, value, **options):
        leaves = tf.nest.flatten(value)
        reduced.append(sum(size_of(leaf.shape) for leaf in leaves))
        return all_reduce(context, operation, value, **options)

    with strategy.scope():
        model, batch = make_model(tracked)
    context_class.all_reduce = noted
    logs = model.train_on_batch(*batch(2), return_dict=True)
    context_class.all_reduce = all_reduce
    # Stock averages the replicas' logs, one by one. The fork adds up the
    # variables that the logs are computed from.
    for_logs = [size_of(())] * len(logs)
    if is_fork:
        for_logs = [size_of(v.shape) for v in model.metrics_variables]
    # Both replicas came by, in turns.
    return reduced[::2], for_logs


def size_of(shape):
    """Bytes in float32."""
    return 4 * math.prod(shape)


def tensorflow_table(measured):
    yield "| replicas | Keras | reductions: tracked | untracked | bytes: "
    yield "tracked | untracked | for tracking, on all wires |\n"
    yield "| --- " * 7 + "|\n"
    for replicas in REPLICAS:
        for side, counts in measured.items():
            tracked, untracked = (sum(lists, []) for lists in counts)
            more = sum(tracked) - sum(untracked)
            yield f"| {replicas} | {side} | {len(tracked)} | {len(untracked)} "
            yield f"| {sum(tracked)} | {sum(untracked)} | "
            yield f"{on_wires(more, replicas):,} |\n"


# Both

BACKENDS = {
    "JAX": ("jax", measure_jax, jax_table),
    "TensorFlow": ("tensorflow", measure_tensorflow, tensorflow_table),
}


def measured(title, is_fork):
    """What a process that has only one of the two finds."""
    backend = BACKENDS[title][0]
    finder = ROOT / "integration_tests" / "support" / "checkout_finder.py"
    command = [sys.executable, finder, *["--stock"] * (not is_fork)]
    flags = f"--xla_force_host_platform_device_count={max(REPLICAS)}"
    answer = subprocess.run(
        [*command, __file__, "--measure", title, *["--fork"] * is_fork],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "JAX_PLATFORMS": "cpu",
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "XLA_FLAGS": flags,
        },
        capture_output=True,
        text=True,
    )
    if answer.returncode:
        sys.exit(answer.stdout[-2000:] + answer.stderr[-4000:])
    return json.loads(answer.stdout.splitlines()[-1])


def tables():
    for title, (_, _, table) in BACKENDS.items():
        print(f"{title} ...", flush=True)
        found = {"stock": measured(title, False), "fork": measured(title, True)}
        yield f"\n{title}:\n\n{''.join(table(found))}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--measure", choices=BACKENDS, help=argparse.SUPPRESS)
    parser.add_argument("--fork", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure = BACKENDS[arguments.measure][1]
        print(json.dumps(measure(arguments.fork)))
        return
    text = "".join(tables())
    print(text)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        head, _, rest = page.partition(START)
        tail = rest.partition(END)[2]
        PAGE.write_text(f"{head}{START}{text}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
