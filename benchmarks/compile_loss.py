"""Times and counts what `CompileLoss` costs, stock Keras beside the fork.

    python benchmarks/compile_loss.py [--backend ...] [--parts ...]

Each backend gets a process of its own, in which both versions of Keras are
loaded; their runs alternate. The table replaces that in README.md beside
this file, and the picture there; what was measured before of other backends
and parts is kept, and shown anew by `--parts` without any. Nothing else should
run meanwhile.
"""

import argparse
import datetime
import gc
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import pip_build  # noqa: E402

BACKENDS = {"torch": "PyTorch", "tensorflow": "TensorFlow", "jax": "JAX"}
README = HERE / "README.md"
PICTURE = HERE / "compile_loss.png"
ROWS = pip_build.BUILD / "benchmarks"
BEGIN, END = "<!-- Written by compile_loss.py. -->\n", "<!-- End. -->\n"
COUNTS = (1, 2, 8, 32, 128, 512)
FORMS = ("list", "dict")
SAMPLES, FEATURES, CLASSES = 32, 16, 4
LOOP_STEPS = 10_000
# For the runs of one row.
SECONDS = {"call": 1.2, "step": 1.5, "fit": 6.0}
# The steps of an epoch.
EPOCH = 24
# A model with one output and penalties, and numbers of outputs.
TERMS = ("MLP", 2, 8, 32)
# The ratios that are to be reached, at most.
GOALS = {
    "call": {"torch": 0.40, "tensorflow": 0.45, "jax": 0.38},
    "object": 0.25,
    "step": {
        ("torch", "layers", 8): 0.68,
        ("torch", "layers", 32): 0.62,
        ("torch", "columns", 8): 0.52,
        ("torch", "columns", 32): 0.44,
        ("tensorflow", "layers", 32): 0.72,
        ("jax", "layers", 32): 0.95,
    },
    "fit": {("tensorflow", 32): 0.92, ("jax", 32): 1.00},
    "recording": 1.10,
}


# What is measured.


def named(values, form):
    """A list of values, or a dict of them by output name."""
    if form == "list":
        return list(values)
    return {f"y{i:03d}": value for i, value in enumerate(values)}


def tensors(side, count, form, seed):
    import numpy as np

    rng = np.random.default_rng(seed)
    arrays = (rng.random((SAMPLES, CLASSES), "float32") for _ in range(count))
    convert = side.keras.ops.convert_to_tensor
    return named([convert(array) for array in arrays], form)


def leaves(structure):
    if isinstance(structure, dict):
        return list(structure.values())
    return list(structure) if isinstance(structure, list) else [structure]


def sum_of(functions, y_true, y_pred):
    """The loop that a user would write by hand."""
    total = None
    for function, label, prediction in zip(functions, y_true, y_pred):
        value = function(label, prediction)
        total = value if total is None else total + value
    return total


def compile_loss(side, count, form):
    """A `CompileLoss` of MSE, as `compile` would make it."""
    losses = [side.keras.losses.MeanSquaredError() for _ in range(count)]
    return side.compile_utils.CompileLoss(
        named(losses, form) if count > 1 or form == "dict" else losses[0],
        output_names=list(named([None] * count, "dict")),
    )


def call_of(side, count, form, what):
    """A function that computes the total of `count` losses eagerly."""
    y_true, y_pred = (tensors(side, count, form, seed) for seed in (0, 1))
    if what == "call":
        if count == 1 and form == "list":
            y_true, y_pred = y_true[0], y_pred[0]
        loss = compile_loss(side, count, form)
        return lambda: loss(y_true, y_pred)
    y_true, y_pred = leaves(y_true), leaves(y_pred)
    if what == "loop":
        losses = [side.keras.losses.MeanSquaredError() for _ in y_true]
        return lambda: sum_of(losses, y_true, y_pred)
    ops, error = side.keras.ops, side.keras.losses.mean_squared_error

    def bare(y_true, y_pred):
        return ops.mean(error(y_true, y_pred))

    functions = [bare] * count
    return lambda: sum_of(functions, y_true, y_pred)


def eager_calls(stock, fork):
    """One row for each number and form of outputs."""
    from side_by_side import in_turns
    from side_by_side import ratio

    for count in COUNTS:
        for form in FORMS:
            contenders = {
                f"{side.name} {what}": (side, None)
                for side in (stock, fork)
                for what in ("call", "loop", "bare")
            }
            del contenders["stock bare"]
            for name in contenders:
                side, what = contenders[name][0], name.split()[1]
                with side.active():
                    function = call_of(side, count, form, what)
                contenders[name] = (side, function)
            found = in_turns(contenders, SECONDS["call"])
            yield {
                "count": count,
                "form": form,
                "seconds": medians(found),
                "stock": ratio(found, "stock call", "stock loop"),
                "own": ratio(found, "fork call", "fork loop"),
                "to stock": ratio(found, "fork call", "stock loop"),
                "loop": ratio(found, "fork loop", "stock loop"),
                "floor": ratio(found, "fork bare", "stock loop"),
            }


def medians(found):
    return {name: statistics.median(values) for name, values in found.items()}


def loss_objects(stock, fork):
    """One loss object, without and with sample weights."""
    import numpy as np
    from side_by_side import in_turns
    from side_by_side import ratio

    cases = {"no weight, no mask": None, "weights (N,)": "float32"}
    for case, dtype in cases.items():
        weight = None if dtype is None else np.ones(SAMPLES, dtype)
        contenders = {}
        for side in (stock, fork):
            with side.active():
                loss = side.keras.losses.MeanSquaredError()
                pair = [tensors(side, 1, "list", seed)[0] for seed in (0, 1)]
            contenders[side.name] = (
                side,
                lambda loss=loss, pair=pair: loss(*pair, weight),
            )
        found = in_turns(contenders, SECONDS["call"], rounds=(31, 301))
        yield {
            "case": case,
            "seconds": medians(found),
            "ratio": ratio(found, "fork", "stock"),
        }


def model_of(
    side, count, form, tracked=True, jit_compile="auto", heads="layers"
):
    """A compiled model with `count` outputs of one unit.

    Each is the output of a layer of its own or, with other `heads`, a column
    of what the only layer returns.
    """
    keras = side.keras
    losses = [keras.losses.MeanSquaredError() for _ in range(count)]

    class Untracked(keras.Model):
        def compute_loss(self, x, y, y_pred, sample_weight, training=True):
            return sum_of(losses, leaves(y), leaves(y_pred))

    base = keras.Model if tracked else Untracked

    class Columns(base):
        def __init__(self):
            super().__init__()
            self.layer = keras.layers.Dense(count)

        def call(self, x):
            y = self.layer(x)
            return named([y[:, i : i + 1] for i in range(count)], form)

    if heads == "layers":
        inputs = keras.Input((FEATURES,))
        names = list(named([None] * count, "dict"))
        outputs = [keras.layers.Dense(1, name=name)(inputs) for name in names]
        model = base(inputs, named(outputs, form))
    else:
        model = Columns()
    loss = named(losses, form) if tracked else None
    model.compile("sgd", loss=loss, jit_compile=jit_compile)
    return model


def batch_of(count, form):
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.random((SAMPLES, FEATURES), "float32")
    y = [rng.random((SAMPLES, 1), "float32") for _ in range(count)]
    return x, named(y, form)


def steps(stock, fork):
    """`train_on_batch` of a model with many heads."""
    from side_by_side import in_turns
    from side_by_side import ratio

    # The other backends compile each of these steps for seconds.
    is_compiled = stock.keras.backend.backend() != "torch"
    kinds = [("layers", form) for form in FORMS] + [("columns", "dict")]
    for count in (32,) if is_compiled else COUNTS:
        for heads, form in [("layers", "dict")] if is_compiled else kinds:
            x, y = batch_of(count, form)
            contenders = {}
            for side in (stock, fork):
                for tracked in (True, False):
                    with side.active():
                        model = model_of(
                            side, count, form, tracked, heads=heads
                        )
                    contenders[f"{side.name} {tracked}"] = (
                        side,
                        lambda model=model: model.train_on_batch(x, y),
                    )
            found = in_turns(contenders, SECONDS["step"])
            yield {
                "count": count,
                "form": form,
                "heads": heads,
                "seconds": medians(found),
                "ratio": ratio(found, "fork True", "stock True"),
                "untracked": ratio(found, "fork False", "stock True"),
            }


def small_model(side, kind):
    """A compiled model with one output, and its data."""
    import numpy as np

    keras, rng = side.keras, np.random.default_rng(0)
    layers, shape = keras.layers, {"MLP": (16,), "CNN": (16, 16, 1)}[kind]
    body = {
        "MLP": [layers.Dense(64, activation="relu")],
        "CNN": [layers.Conv2D(8, 3, activation="relu"), layers.Flatten()],
    }[kind]
    head = layers.Dense(10, activation="softmax")
    model = keras.Sequential([keras.Input(shape), *body, head])
    model.compile(
        "adam", "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    x = rng.random((EPOCH * SAMPLES, *shape), "float32")
    return model, x, rng.integers(0, 10, len(x))


def fits(stock, fork):
    """An epoch of `fit`, for a step of it without what `train_on_batch` does.

    For a model with many heads, also without the recording of raw losses.
    """
    import numpy as np
    from side_by_side import in_turns
    from side_by_side import ratio

    for kind in ("MLP", "CNN", 8, 32):
        contenders = {}
        for side, recorded in ((stock, True), (fork, True), (fork, False)):
            is_small = isinstance(kind, str)
            if is_small and not recorded:
                continue
            with side.active():
                if is_small:
                    model, x, y = small_model(side, kind)
                else:
                    model = model_of(side, kind, "dict")
                    x, y = batch_of(kind, "dict")
                    x = np.tile(x, (EPOCH, 1))
                    y = {name: np.tile(y[name], (EPOCH, 1)) for name in y}

                def epoch(model=model, x=x, y=y):
                    model.fit(
                        x, y, batch_size=SAMPLES, shuffle=False, verbose=0
                    )

                if not recorded:
                    plan = side.compile_utils.loss_plan
                    is_reported = plan.is_reported
                    plan.is_reported = lambda *args: False
                epoch()
                if not recorded:
                    plan.is_reported = is_reported
            contenders[f"{side.name} {recorded}"] = (side, epoch)
        found = in_turns(contenders, SECONDS["fit"], rounds=(9, 201))
        row = {
            "count": kind,
            "seconds": {
                name: seconds / EPOCH
                for name, seconds in medians(found).items()
            },
            "ratio": ratio(found, "fork True", "stock True"),
        }
        if not is_small:
            row["recording"] = ratio(found, "fork True", "fork False")
        yield row


def terms(stock, fork):
    """The same with `LossContributions`, without the compilation it takes."""
    import importlib

    import numpy as np
    from side_by_side import in_turns
    from side_by_side import ratio

    for kind in TERMS:
        contenders = {}
        for recorded in (True, False):
            with fork.active():
                if isinstance(kind, str):
                    model, x, y = small_model(fork, kind)
                    for layer in model.layers:
                        penalty = fork.keras.regularizers.L2(1e-4)
                        layer.kernel.regularizer = penalty
                else:
                    model = model_of(fork, kind, "dict")
                    x, y = batch_of(kind, "dict")
                    x = np.tile(x, (EPOCH, 1))
                    y = {name: np.tile(y[name], (EPOCH, 1)) for name in y}

                def epoch(model=model, x=x, y=y):
                    model.fit(
                        x, y, batch_size=SAMPLES, shuffle=False, verbose=0
                    )

                # The first builds the losses.
                epoch()
                if recorded:
                    name = "keras.src.trainers.loss_terms"
                    module = importlib.import_module(name)
                    module.attach(model, module.LossTerms(model))
                    epoch()
            contenders[str(recorded)] = fork, epoch
        found = in_turns(contenders, SECONDS["fit"], rounds=(9, 201))
        yield {
            "count": kind,
            "seconds": {
                name: seconds / EPOCH
                for name, seconds in medians(found).items()
            },
            "ratio": ratio(found, "True", "False"),
        }


def first_steps(stock, fork):
    """Trace and compilation of the step, and the step."""
    from side_by_side import Ratio

    count, found = 128, {side.name: [] for side in (stock, fork)}
    x, y = batch_of(count, "dict")
    for number in range(4):
        for side in (stock, fork) if number % 2 else (fork, stock):
            with side.active():
                model = model_of(side, count, "dict")
                begin = time.perf_counter()
                model.train_on_batch(x, y)
                found[side.name].append(time.perf_counter() - begin)
                del model
                forget_models(side)
    # The first of each side also starts the compiler.
    yield {
        "count": count,
        "seconds": medians(found),
        "ratio": Ratio.of(
            f / s for f, s in zip(found["fork"][1:], found["stock"][1:])
        ),
    }


def forget_models(side):
    side.keras.backend.clear_session()
    gc.collect()


def traced(side, loss, y_true, y_pred):
    """Traces a call of a loss as the backend's compiled step would."""
    backend = side.keras.backend.backend()
    if backend == "jax":
        import jax

        jax.jit(lambda *args: loss(*args)).trace(y_true, y_pred)
    elif backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(loss.__call__, autograph=False)
        function.get_concrete_function(y_true, y_pred)
    else:
        loss(y_true, y_pred)


def growth(stock, fork):
    """Seconds to build and trace a `CompileLoss`, and their exponent."""
    from side_by_side import Ratio

    counts = (32, 128, 512)
    for side in (stock, fork):
        per_count, exponents = [], []
        with side.active():
            data = [
                [tensors(side, count, "dict", seed) for seed in (0, 1)]
                for count in counts
            ]
            for number in range(6):
                row = []
                for count, pair in zip(counts, data):
                    loss = compile_loss(side, count, "dict")
                    gc.collect()
                    gc.disable()
                    begin = time.perf_counter()
                    traced(side, loss, *pair)
                    row.append(time.perf_counter() - begin)
                    gc.enable()
                if number:  # The first one is the warm-up.
                    per_count.append(row)
                    exponents.append(
                        math.log(row[-1] / row[0])
                        / math.log(counts[-1] / counts[0])
                    )
        yield {
            "side": side.name,
            "seconds": [statistics.median(c) for c in zip(*per_count)],
            "exponent": Ratio.of(exponents),
        }


def operations(side, count, tracked):
    """The number of operations in the compiled step, by kind of graph."""
    with side.active():
        model = model_of(side, count, "dict", tracked)
        x, y = batch_of(count, "dict")
        model._symbolic_build(data_batch=(x, y))
        model.optimizer.build(model.trainable_variables)
        if side.keras.backend.backend() == "tensorflow":
            return tensorflow_operations(model, x, y)
        return jax_operations(model, x, y, is_compiled=count == 128)


def tensorflow_operations(model, x, y):
    import tensorflow as tf

    step = tf.function(model.train_step, autograph=False)
    data = tf.nest.map_structure(tf.constant, (x, y))
    graph = step.get_concrete_function(data).graph
    functions = graph.as_graph_def().library.function
    inner = sum(len(function.node_def) for function in functions)
    return {"operations in the graph": len(graph.get_operations()) + inner}


def jax_operations(model, x, y, is_compiled):
    import jax

    state = tuple(
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    )
    lowered = jax.jit(model.train_step).lower(state, (x, y))
    texts = {"operations in the HLO": lowered.as_text()}
    if is_compiled:
        optimized = lowered.compile().as_text()
        texts["lines of the optimized HLO"] = optimized
    counts = {
        kind: sum(" = " in line for line in text.splitlines())
        for kind, text in texts.items()
    }
    return {**counts, "arrays of state": len(jax.tree.leaves(state))}


def graphs(stock, fork):
    """Operations with and without tracking."""
    for count in (32, 128):
        for side in (stock, fork):
            tracked, untracked = (
                operations(side, count, tracked) for tracked in (True, False)
            )
            yield {
                "count": count,
                "side": side.name,
                "found": {
                    kind: (tracked[kind], untracked[kind]) for kind in tracked
                },
            }


def live_arrays(backend):
    gc.collect()
    if backend == "jax":
        import jax

        return len(jax.live_arrays())
    if backend == "torch":
        import torch

        kind = torch.Tensor
    else:
        import tensorflow as tf

        kind = (tf.__internal__.EagerTensor, tf.Variable)
    # Not `isinstance`, which would ask proxies what they stand for.
    return sum(issubclass(type(x), kind) for x in gc.get_objects())


def peak_bytes(side, model, x, y):
    """The most memory that one step holds at once, over what it began with."""
    backend = side.keras.backend.backend()
    if backend == "torch":
        from torch import profiler

        with profiler.profile(profile_memory=True) as profile:
            model.train_on_batch(x, y)
        events = profile.profiler.kineto_results.events()
        held = peak = 0
        for event in sorted(events, key=lambda event: event.start_ns()):
            if event.name() == "[memory]":
                held += event.nbytes()
                peak = max(peak, held)
        return peak
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    model.train_on_batch(x, y)
    return max(0, status_bytes("VmHWM") - before)


def status_bytes(field):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def memory(stock, fork):
    """Peak of the first and a later step, and live arrays, at N = 512.

    Each side in a process of its own: the second one would be given what the
    first one has freed.
    """
    for side in filter(None, (stock, fork)):
        backend = side.keras.backend.backend()
        with side.active():
            forget_models(side)
            x, y = batch_of(COUNTS[-1], "dict")
            before = live_arrays(backend)
            # With XLA, TensorFlow would compile this for minutes.
            jit_compile = backend == "jax"
            model = model_of(side, COUNTS[-1], "dict", True, jit_compile)
            first = peak_bytes(side, model, x, y)
            later = peak_bytes(side, model, x, y)
            model.train_on_batch(x, y)
            after = live_arrays(backend) - before
            own = len(model.variables) + len(model.optimizer.variables)
            del model
            forget_models(side)
        yield {
            "side": side.name,
            "first": first,
            "later": later,
            "live": after,
            "own": own,
        }


def loop(stock, fork):
    """Live arrays and memory over 10,000 steps of the fork."""
    backend = fork.keras.backend.backend()
    with fork.active():
        model = model_of(fork, 2, "dict")
        x, y = batch_of(2, "dict")
        for number in range(1, LOOP_STEPS + 1):
            model.train_on_batch(x, y)
            if number in (LOOP_STEPS // 10, LOOP_STEPS):
                yield {
                    "steps": number,
                    "arrays": live_arrays(backend),
                    "bytes": status_bytes("VmRSS"),
                }


PARTS = {
    "calls": eager_calls,
    "objects": loss_objects,
    "steps": steps,
    "fits": fits,
    "terms": terms,
    "first": first_steps,
    "growth": growth,
    "graphs": graphs,
    "memory": memory,
    "loop": loop,
}


def parts_of(backend):
    """The parts, and how many rows each has with a backend."""
    every = len(COUNTS) * len(FORMS)
    found = {"calls": every, "objects": 2, "steps": every + len(COUNTS)}
    if backend != "torch":
        found |= {"steps": 1, "first": 1, "graphs": 4}
    found["terms"] = len(TERMS)
    return {**found, "fits": 4, "growth": 2, "memory": 2, "loop": 2}


def measure(backend, parts, alone=None):
    """Prints each row as JSON; runs in a process of its own.

    Args:
        backend: The backend.
        parts: Names of `PARTS`.
        alone: `"stock"` or `"fork"` to leave out the other one.
    """
    if backend == "torch":
        import torch

        torch.set_num_threads(1)
    import side_by_side

    sides = side_by_side.both()
    if alone:
        sides = [side if side.name == alone else None for side in sides]
    for part in parts:
        for row in PARTS[part](*sides):
            print(json.dumps({"part": part, **row}), flush=True)


# What is shown.

# What the picture shows, and how.
LINES = {
    "stock": ("stock's call", "tab:gray", "o-"),
    "to stock": ("the fork's call", "tab:blue", "o-"),
    "loop": ("loop over the fork's losses", "tab:green", "^-"),
    "floor": ("functions alone", "tab:orange", "s--"),
}


def of_part(rows, part):
    return [row for row in rows if row["part"] == part]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def spread(ratio, goal=None):
    """A ratio with its quartiles, bold where it is above its goal."""
    median, low, high = (f"{number:.2f}" for number in ratio)
    if goal is None:
        return f"{median} ({low} to {high})"
    if float(median) > goal:
        median = f"**{median}**"
    return f"{median} ({low} to {high}), goal {goal:.2f}"


def pair(stock, fork, digits=3):
    return f"{stock:.{digits}g}; {fork:.{digits}g}"


def shown_calls(rows, backend):
    rows = {row["count"]: row for row in rows if row["form"] == "dict"}
    for count in (1, 8, 32):
        goal = GOALS["call"][backend] if count > 1 else 0.5
        what = f"eager call / stock's loop, N = {count}"
        yield what, spread(rows[count]["to stock"], goal)
    row = rows[32]
    for column in ("stock", "loop", "floor"):
        what = f"{LINES[column][0]} / stock's loop, N = 32"
        yield what, f"{row[column][0]:.2f}"
    seconds = (1e3 * row["seconds"][f"{x} call"] for x in ("stock", "fork"))
    yield "eager call, N = 32, ms: stock; fork", pair(*seconds)


def shown_objects(rows, backend):
    for row in rows:
        goal = GOALS["object"] if "no" in row["case"] else None
        yield f"one loss object, {row['case']}", spread(row["ratio"], goal)


def shown_steps(rows, backend):
    kinds = {"layers": "a layer each", "columns": "columns of one layer"}
    rows = [r for r in rows if r["form"] == "dict" and r["count"] in (8, 32)]
    for row in rows:
        what = f"`train_on_batch`, {kinds[row['heads']]}, N = {row['count']}"
        goal = GOALS["step"].get((backend, row["heads"], row["count"]))
        yield what, spread(row["ratio"], goal)
    for row in rows:
        if row["count"] == 32:
            what = f"the same with a loop, {kinds[row['heads']]}, N = 32"
            yield what, f"{row['untracked'][0]:.2f}"
    (row,) = (r for r in rows if (r["heads"], r["count"]) == ("layers", 32))
    seconds = (1e3 * row["seconds"][f"{x} True"] for x in ("stock", "fork"))
    yield "`train_on_batch`, N = 32, ms: stock; fork", pair(*seconds)


def outputs(row):
    is_small = isinstance(row["count"], str)
    return f"one output, {row['count']}" if is_small else f"N = {row['count']}"


def shown_fits(rows, backend):
    for row in rows:
        goal = 1.0 if isinstance(row["count"], str) else None
        goal = GOALS["fit"].get((backend, row["count"]), goal)
        yield f"step of `fit`, {outputs(row)}", spread(row["ratio"], goal)
    goal = None if backend == "torch" else GOALS["recording"]
    for row in rows:
        if "recording" in row:
            what = f"step of `fit` / without recording, {outputs(row)}"
            yield what, spread(row["recording"], goal)


def shown_terms(rows, backend):
    for row in rows:
        more = 1e6 * (row["seconds"]["True"] - row["seconds"]["False"])
        what = f"step of `fit` / without `LossContributions`, {outputs(row)}"
        yield what, f"{spread(row['ratio'])}, {more:.0f} us more"


def shown_first(rows, backend):
    for row in rows:
        yield f"first step, N = {row['count']}", spread(row["ratio"], 1.0)


def shown_memory(rows, backend):
    stock, fork = sorted(rows, key=lambda row: row["side"] == "fork")
    peaks = pair(stock["first"] / 2**20, fork["first"] / 2**20, digits=4)
    yield "peak of the first step, N = 512, MiB: stock; fork", peaks
    arrays = pair(stock["live"], fork["live"], digits=4)
    yield "live arrays after three steps, N = 512: stock; fork", arrays


def shown_loop(rows, backend):
    what = "live arrays after 1,000; 10,000 steps of the fork, N = 2"
    yield what, "; ".join(str(row["arrays"]) for row in rows)


def shown_graphs(rows, backend):
    found = {(row["count"], row["side"]): row["found"] for row in rows}
    stock, fork = found[128, "stock"], found[128, "fork"]
    (kind,) = (kind for kind in fork if kind.startswith("operations"))
    shares = [side[kind][0] / side[kind][1] for side in (stock, fork)]
    what = "operations, step / step with a loop, N = 128: stock; fork"
    yield what, pair(*shares)
    if "arrays of state" in fork:
        pairs = [found[32, x]["arrays of state"] for x in ("stock", "fork")]
        what = "arrays of state more than with a loop, N = 32: stock; fork"
        yield what, pair(*(with_ - without for with_, without in pairs))


def shown_growth(rows, backend):
    stock, fork = sorted(rows, key=lambda row: row["side"] == "fork")
    seconds = pair(stock["seconds"][-1], fork["seconds"][-1])
    yield "build and trace, N = 512, s: stock; fork", seconds
    what = "exponent of the fork's build and trace, N = 32 to 512"
    yield what, spread(fork["exponent"], 1.05)


SHOWN = {
    "calls": shown_calls,
    "objects": shown_objects,
    "steps": shown_steps,
    "fits": shown_fits,
    "terms": shown_terms,
    "first": shown_first,
    "growth": shown_growth,
    "graphs": shown_graphs,
    "memory": shown_memory,
    "loop": shown_loop,
}


def shown(results):
    """A row for each measure; `results` are the rows of each backend."""
    lines = {}
    for part, cells_of in SHOWN.items():
        for backend, rows in results.items():
            rows = of_part(rows, part)
            for what, cell in cells_of(rows, backend) if rows else ():
                lines.setdefault(what, {})[backend] = cell
    return table(
        ["", *(BACKENDS[backend] for backend in results)],
        (
            [what, *(cells.get(backend, "") for backend in results)]
            for what, cells in lines.items()
        ),
    )


def draw(results):
    """Ratios to a loop over stock's loss objects, against N."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(results), figsize=(11, 4), sharey=True, layout="constrained"
    )
    for ax, (backend, rows) in zip(axes, results.items()):
        rows = [x for x in of_part(rows, "calls") if x["form"] == "dict"]
        counts = [row["count"] for row in rows]
        for column, (label, color, style) in LINES.items():
            ratios = list(zip(*(row[column] for row in rows)))
            ax.plot(counts, ratios[0], style, color=color, label=label)
            ax.fill_between(counts, *ratios[1:], color=color, alpha=0.2, lw=0)
        goal = GOALS["call"][backend]
        ax.axhline(goal, color="black", ls=":", label="goal, N >= 8")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.set_xticks(COUNTS, map(str, COUNTS))
        ax.grid(alpha=0.3)
        ax.set_title(BACKENDS[backend])
        ax.set_xlabel("number of outputs N, log scale")
    # Shared by all, once all is drawn.
    axes[0].set_ylabel("time / that of a loop over\nstock's losses, log scale")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.savefig(PICTURE, dpi=110)


def write(results):
    """Puts table and picture where README.md has them."""
    seconds = max(file.stat().st_mtime for file in ROWS.glob("*.json"))
    day = datetime.date.fromtimestamp(seconds)
    cores = len(os.sched_getaffinity(0))
    text = f"Taken on {cores} CPU cores on {day}.\n\n{shown(results)}"
    page = README.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    page = f"{before}{BEGIN}\n{text}\n{END}{after}"
    README.write_text(page, encoding="utf-8")
    if all(of_part(rows, "calls") for rows in results.values()):
        if len(results) > 1:
            draw(results)


def run(backend, parts, advance, alone=None):
    """Lets a process of its own measure a backend; returns its rows."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, __file__, "--measure", "--backend", backend]
    command += ["--alone", alone] if alone else []
    log = ROWS / f"{backend}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, "--parts", *parts],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        rows = []
        for line in process.stdout:
            if line.startswith("{"):
                rows.append(json.loads(line))
                advance(rows[-1])
    if process.wait():
        lines = log.read_text().splitlines()[-20:]
        sys.exit("\n".join([*lines, f"error: see {log}"]))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--backend", nargs="+", choices=BACKENDS, default=list(BACKENDS)
    )
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--print",
        action="store_true",
        help="print the table, and write nothing",
    )
    parser.add_argument("--measure", action="store_true", help="internal")
    parser.add_argument("--alone", help="internal")
    arguments = parser.parse_args()
    if arguments.measure:
        return measure(arguments.backend[0], arguments.parts, arguments.alone)
    from rich import progress

    ROWS.mkdir(parents=True, exist_ok=True)
    todo = {
        backend: {
            part: count
            for part, count in parts_of(backend).items()
            if part in arguments.parts
        }
        for backend in arguments.backend
    }
    measured = {}
    with progress.Progress(
        *progress.Progress.get_default_columns(), progress.TimeElapsedColumn()
    ) as bar:
        total = sum(sum(parts.values()) for parts in todo.values())
        task = bar.add_task("", total=total)
        for backend, parts in todo.items():

            def advance(row, backend=backend):
                where = f"{BACKENDS[backend]}: {row['part']}"
                bar.update(task, advance=1, description=where)

            bar.update(task, description=BACKENDS[backend])
            together = [part for part in parts if part != "memory"]
            measured[backend] = []
            if together:
                measured[backend] += run(backend, together, advance)
            for alone in ("stock", "fork") if "memory" in parts else ():
                measured[backend] += run(backend, ["memory"], advance, alone)
    if arguments.print:
        print(shown(measured))
        return
    for backend, rows in measured.items():
        if not rows:
            continue
        saved = ROWS / f"{backend}.json"
        known = json.loads(saved.read_text()) if saved.exists() else []
        known = [row for row in known if row["part"] not in todo[backend]]
        saved.write_text(json.dumps(known + rows))
    write(
        {
            backend: json.loads((ROWS / f"{backend}.json").read_text())
            for backend in BACKENDS
            if (ROWS / f"{backend}.json").exists()
        }
    )


if __name__ == "__main__":
    main()
