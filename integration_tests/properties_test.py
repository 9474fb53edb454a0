"""Random outputs, arguments and data: what is accepted is right.

There is no third outcome. Either `meaning`, which is the contract's rule in a
few lines, makes sense of all arguments, and every number is that of the NumPy
reference, or a `ValueError` names an argument that makes no sense. And what
must not matter changes no number: batches, containers, order of outputs, the
form of an argument, the route of the data.

Each property is tried on 100 examples, that of routes on 25, always the same;
with `--thorough`, on 100 times as many others. What fails is printed with a
line that reproduces it.
"""

import functools
import importlib.util
import itertools

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import keras
from integration_tests.support import reference
from integration_tests.support.matching_models import Batches
from keras.src.trainers.compile_utils import CompileLoss
from keras.src.trainers.compile_utils import CompileMetrics

# Float32: see `keras2_parity_test`.
RELATIVE, ABSOLUTE = 1e-5, 1e-6
WIDTH = 2
# Sizes of batches. Few, since JAX compiles each operation for each.
SIZES = (1, 3)
KEYS = ("z", "a", "m", "b")


class Refused(Exception):
    """The contract has no meaning for an argument."""


class Leaf:
    """An output in a tree of outputs."""

    def __repr__(self):
        return "*"


LEAF = Leaf()


def is_container(value):
    return isinstance(value, (dict, list, tuple))


def children(tree):
    """Keys and children in the order of `keras.tree.flatten`."""
    if isinstance(tree, dict):
        return [(key, tree[key]) for key in sorted(tree)]
    return list(enumerate(tree))


def leaves(tree, names=None):
    """The path of each output, in the model's order."""
    if not is_container(tree):
        return [()]
    pairs = children(tree)
    if isinstance(tree, dict) and set(tree) == set(names or ()):
        pairs = [(name, tree[name]) for name in names]
    return [
        (key, *path) for key, child in pairs for path in leaves(child, names)
    ]


def output_names(tree, names):
    """Dict keys above an output, then the model's name for the rest."""
    found = []
    for i, path in enumerate(leaves(tree, names)):
        keys = [part for part in path if isinstance(part, str)]
        # The places in lists and tuples below the last key.
        last = max(
            (j for j, part in enumerate(path) if part in KEYS), default=-1
        )
        inner = list(path[last + 1 :])
        if inner or not keys:
            inner = [names[i]] if names else inner if keys else []
        found.append("/".join(map(str, keys + inner)) or None)
    return found


def stems(tree, names):
    """What names of raw losses begin with: the path, as in Keras 3.15.1."""
    found = []
    for path, name in zip(leaves(tree, names), names or itertools.repeat("")):
        if not (path and isinstance(path[-1], str)):
            path = (*path[:-1], name)
        found.append("/".join(map(str, path)))
    return found


def pack(tree, values, names=None):
    """Puts values, in the model's order, into a tree's containers."""
    values = dict(zip(leaves(tree, names), values))

    def build(node, path):
        if not is_container(node):
            return values[path]
        if isinstance(node, dict):
            return {k: build(child, (*path, k)) for k, child in node.items()}
        return type(node)(build(c, (*path, i)) for i, c in enumerate(node))

    return build(tree, ())


def by_structure(tree, value, several, path=()):
    """What a value of the outputs' structure means, by path."""
    if not is_container(tree):
        is_list = isinstance(value, (list, tuple))
        if is_container(value) and not (
            several and is_list and not any(map(is_container, value))
        ):
            raise Refused
        return {path: value}
    if not is_container(value):
        return {(*path, *below): value for below in leaves(tree)}
    if not fits(tree, value):
        raise Refused
    nodes, found = dict(children(tree)), {}
    for key, item in children(value):
        found |= by_structure(nodes[key], item, several, (*path, key))
    return found


def fits(tree, value):
    if isinstance(tree, dict) or isinstance(value, dict):
        both = isinstance(tree, dict) and isinstance(value, dict)
        return both and set(value) <= set(tree)
    return is_container(tree) and len(tree) == len(value)


def meaning(tree, names, value, several=False, labelled=None):
    """Section 3 of the contract: an item, or `None`, for each output."""
    paths, named = leaves(tree, names), output_names(tree, names)
    if not is_container(value):
        return [value] * len(paths)
    if is_container(tree) and fits(tree, value):
        found = by_structure(tree, value, several)
    elif isinstance(value, dict):
        if several and named == [None] and len(value) == 1:
            # The only output has no name that the key could miss.
            (item,) = value.values()
            by_structure(LEAF, item, several)
            return [item]
        if not set(value) <= set(named):
            raise Refused
        found = {paths[named.index(k)]: item for k, item in value.items()}
    elif several and len(paths) == 1 and len(value) != 1:
        found = {paths[0]: value}
    elif len(value) == len(paths):
        if names is None and not is_ordered(tree):
            raise Refused
        found = dict(zip(paths, value))
    elif labelled is not None and len(value) == len(labelled):
        found = {paths[i]: item for i, item in zip(labelled, value)}
    else:
        raise Refused
    for item in found.values():
        by_structure(LEAF, item, several)
    return [found.get(path) for path in paths]


def is_ordered(tree):
    """A plain dict does not tell its order on every backend."""
    if not is_container(tree):
        return True
    return not (isinstance(tree, dict) and len(tree) > 1) and all(
        is_ordered(child) for _, child in children(tree)
    )


# Strategies.


def trees(depth=2):
    """Outputs: a leaf, or containers of them, with one to four each."""
    if depth == 0:
        return st.just(LEAF)
    child = st.one_of(st.just(LEAF), trees(depth - 1))
    keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True)
    return st.one_of(
        st.just(LEAF),
        st.lists(child, min_size=1, max_size=3),
        st.lists(child, min_size=1, max_size=3).map(tuple),
        keys.flatmap(lambda k: st.fixed_dictionaries(dict.fromkeys(k, child))),
    )


@st.composite
def outputs(draw):
    """A tree of outputs, and the names that the model gives them, if any."""
    tree = draw(trees())
    count = len(leaves(tree))
    assume(count <= 5)
    if draw(st.booleans()):
        return tree, None
    if isinstance(tree, dict) and not any(map(is_container, tree.values())):
        # The order of the model is that in which it has them.
        return tree, list(draw(st.permutations(list(tree))))
    return tree, [f"o{i}" for i in range(count)]


@st.composite
def forms(draw, tree, names, item):
    """Values of an argument: all legal forms, and near misses."""
    named = output_names(tree, names)
    count = len(named)
    kind = draw(
        st.sampled_from(["one", "names", "list", "tree", "tree", "any"])
    )
    if kind == "one":
        return draw(item)
    if kind == "names":
        known = [name for name in named if name] + ["q"]
        keys = draw(st.permutations(known))[: draw(st.integers(1, len(known)))]
        # Now and then, a key that is no name.
        keys = [k for k in keys if k != "q" or draw(st.integers(0, 3)) == 0]
        return {key: draw(item) for key in keys}
    if kind == "list":
        off = draw(st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1]))
        container = draw(st.sampled_from([list, tuple]))
        return container(draw(item) for _ in range(max(count + off, 0)))
    if kind == "any":
        tree = draw(trees())

    def like(node):
        if not is_container(node) or draw(st.integers(0, 7)) == 0:
            return draw(item)
        if isinstance(node, dict):
            keys = [k for k in node if draw(st.integers(0, 5))]
            return {key: like(node[key]) for key in keys}
        return draw(st.sampled_from([list, tuple]))(map(like, node))

    return like(tree)


def losses():
    names = st.sampled_from(["mse", "mae", "huber"])
    objects = st.tuples(
        names,
        st.sampled_from(["sum", "sum_over_batch_size", "mean"]),
    )
    one = st.one_of(names, objects.map(lambda pair: _object(*pair)), st.none())
    several = st.lists(one, min_size=1, max_size=3)
    return st.one_of(one, one, one, one, several)


CLASSES = {
    "mse": keras.losses.MeanSquaredError,
    "mae": keras.losses.MeanAbsoluteError,
    "huber": keras.losses.Huber,
}


@functools.cache
def _object(name, reduction):
    return CLASSES[name](reduction=reduction)


def loss_weights():
    numbers = st.sampled_from([0, 1, 2.5, -1.0, 100, True])
    arrays = st.sampled_from([np.float32(0.5), np.array(3), np.int64(2)])
    one = st.one_of(numbers, arrays, st.none())
    return st.one_of(one, one, one, st.lists(one, min_size=1, max_size=3))


def arrays(size, shapes):
    """Small random arrays: each is a seed, of which there are 1000."""
    return st.builds(
        lambda seed, shape: (
            np.random.default_rng(seed)
            .normal(size=(size, *shape))
            .astype("float32")
        ),
        st.integers(0, 999),
        st.sampled_from(shapes),
    )


def in_numpy(loss):
    """Function and reduction of what is given as a loss."""
    if isinstance(loss, str):
        return reference.LOSSES[loss], "mean"
    name = next(n for n, c in CLASSES.items() if type(loss) is c)
    return reference.LOSSES[name], loss.reduction


def expected_entries(tree, loss, weight, per_output, weights):
    """For each output: a list of entries, each a list of losses, a weight.

    Raises `Refused` if several weights meet another number of losses.
    """
    found = []
    for i, (item, factor) in enumerate(zip(per_output, weights)):
        items = list(item) if is_container(item) else [item]
        if is_container(factor):
            if len(factor) != len(items):
                raise Refused
            pairs = [([x], w) for x, w in zip(items, factor)]
        elif (
            is_container(item)
            and isinstance(loss, (list, tuple))
            and len(per_output) > 1
        ):
            # Upstream's tests pin that the sum is logged as one.
            pairs = [([x for x in items if x is not None], factor)]
        else:
            pairs = [([x], factor) for x in items]
        found += [
            (i, together, 1.0 if w is None else float(w))
            for together, w in pairs
            if together and together != [None]
        ]
    return found


def in_order_of(loss, tree, names, entries):
    """Entries in the order of a dict of losses, if outputs are a dict, too."""
    if not (isinstance(loss, dict) and isinstance(tree, dict)):
        return entries
    paths, named = leaves(tree, names), output_names(tree, names)

    def place(entry):
        index = entry[0]
        if not fits(tree, loss):
            return (list(loss).index(named[index]),), index
        places, node = [], loss
        for part in paths[index]:
            if not is_container(node):
                break
            is_dict = isinstance(node, dict)
            places.append(list(node).index(part) if is_dict else part)
            node = node[part]
        return tuple(places), index

    return sorted(entries, key=place)


def is_reported(entries, loss, tree):
    """See "Where upstream's tests decide" in the release notes."""
    if len(entries) != 1 or not is_container(tree) or len(leaves(tree)) == 1:
        return len(entries) > 1
    both = isinstance(loss, dict) and isinstance(tree, dict)
    return not both or set(loss) == set(tree)


@st.composite
def calls(draw):
    """All arguments of a `CompileLoss`, and of two calls of it."""
    tree, names = draw(outputs())
    batches = []
    # The structure of labels and of weights may change from call to call.
    for size in draw(st.permutations(SIZES)):
        values = arrays(size, [(WIDTH,)])
        weight = st.one_of(st.none(), arrays(size, [(), (1,)]))
        count = len(leaves(tree))
        batches.append(
            {
                "y_true": draw(forms(tree, names, st.one_of(values, values))),
                "y_pred": draw(
                    st.lists(values, min_size=count, max_size=count)
                ),
                "sample_weight": draw(
                    st.one_of(st.none(), forms(tree, names, weight))
                ),
            }
        )
    return {
        "tree": tree,
        "names": names,
        "loss": draw(forms(tree, names, losses())),
        "loss_weights": draw(
            st.one_of(st.none(), forms(tree, names, loss_weights()))
        ),
        "batches": batches,
    }


def understand(argument, problems, *args, **kwargs):
    """The meaning; or `None`, with the argument noted as a problem."""
    try:
        return meaning(*args, **kwargs)
    except Refused:
        problems.add(argument)
        return None


def has_loss(item):
    return any(x is not None for x in (item if is_container(item) else [item]))


def wide(array):
    return None if array is None else array.astype("float64")


def close(value, expected):
    value = float(keras.ops.convert_to_numpy(value))
    return value == pytest.approx(expected, rel=RELATIVE, abs=ABSOLUTE)


@given(calls())
def test_accepted_and_right_or_refused_by_name(call):
    tree, names, loss = call["tree"], call["names"], call["loss"]
    problems = set()
    per_output = understand("loss", problems, tree, names, loss, several=True)
    weights = understand(
        "loss_weights",
        problems,
        tree,
        names,
        call["loss_weights"],
        several=True,
    )
    entries, labelled = [], []
    if per_output is not None:
        labelled = [i for i, item in enumerate(per_output) if has_loss(item)]
    if not problems:
        try:
            entries = expected_entries(
                tree, loss, call["loss_weights"], per_output, weights
            )
            entries = in_order_of(loss, tree, names, entries)
        except Refused:
            problems.add("loss_weights")
    read = []
    for batch in call["batches"]:
        y, w = (
            understand(
                name, problems, tree, names, batch[name], labelled=labelled
            )
            for name in ("y_true", "sample_weight")
        )
        if y is not None and any(y[i] is None for i in labelled):
            problems.add("y_true")
        read.append((y, batch["y_pred"], w))
    try:
        compiled = CompileLoss(loss, call["loss_weights"], output_names=names)
        totals = [
            compiled(
                batch["y_true"],
                pack(
                    tree,
                    map(keras.ops.convert_to_tensor, batch["y_pred"]),
                    names,
                ),
                batch["sample_weight"],
            )
            for batch in call["batches"]
        ]
    except ValueError as error:
        assert any(f"`{name}`" in str(error) for name in problems), error
        return
    assert not problems
    if not labelled:
        # Layers may add losses all the same.
        assert totals == [None] * len(totals)
        return
    sums, size = np.zeros(len(entries)), 0
    for total, (y, p, w) in zip(totals, read):
        raw = [
            sum(
                reference.raw_loss(
                    reference.Entry("", 0, *in_numpy(x)),
                    [reference.Output(*map(wide, (y[i], p[i], w[i])))],
                )
                for x in together
            )
            for i, together, _ in entries
        ]
        factors = [weight for _, _, weight in entries]
        assert close(total, np.dot(raw, factors))
        sums, size = sums + len(p[0]) * np.array(raw), size + len(p[0])
    logged = [metric.result() for metric in compiled.metrics]
    if is_reported(entries, loss, tree):
        assert len(logged) == len(entries)
        assert all(map(close, logged, sums / size))
        begins = stems(tree, names)
        for metric, (i, _, _) in zip(compiled.metrics, entries):
            assert metric.name.startswith(begins[i])
    else:
        assert not logged


METRICS = ("mse", "mae")


@given(st.data())
def test_metrics_accepted_and_right_or_refused_by_name(data):
    tree, names = data.draw(outputs())
    one = st.sampled_from([*METRICS, None])
    item = st.one_of(one, one, st.lists(one, min_size=1, max_size=3))
    given_metrics = {
        argument: data.draw(forms(tree, names, item))
        for argument in ("metrics", "weighted_metrics")
    }
    size, count = data.draw(st.sampled_from(SIZES)), len(leaves(tree))
    values = st.lists(arrays(size, [(WIDTH,)]), min_size=count, max_size=count)
    y, p = data.draw(values), data.draw(values)
    weights = data.draw(
        st.lists(arrays(size, [(), (1,)]), min_size=count, max_size=count)
    )
    # Of one sign, lest they add up to nearly nothing.
    weights = [abs(weight) + 0.5 for weight in weights]
    problems, expected = set(), []
    for argument, value in given_metrics.items():
        if value and not is_container(value):
            problems.add(argument)
            continue
        per_output = [None] * count
        if value:
            per_output = understand(
                argument, problems, tree, names, value, several=True
            )
        for i, item in enumerate(per_output or ()):
            for name in item if is_container(item) else [item]:
                weight = weights[i] if argument != "metrics" else None
                if name is not None:
                    output = reference.Output(*map(wide, (y[i], p[i], weight)))
                    number = reference.metric(reference.LOSSES[name], [output])
                    expected.append((name, number))
    try:
        compiled = CompileMetrics(**given_metrics, output_names=names)
        compiled.update_state(
            pack(tree, y, names),
            pack(tree, map(keras.ops.convert_to_tensor, p), names),
            pack(tree, weights, names),
        )
    except ValueError as error:
        assert any(f"`{name}`" in str(error) for name in problems), error
        return
    assert not problems
    result = compiled.result()
    assert len(result) == len(expected)
    for (name, value), (metric, number) in zip(result.items(), expected):
        assert metric in name
        assert close(value, number)


# What must not matter.


@st.composite
def presentations(draw, count):
    """A tree for outputs `o0`, `o1`, ... in any order, and the model's names.

    In a dict, the keys are the names.
    """
    order = draw(st.permutations(range(count)))
    names = [f"o{i}" for i in order]
    kind = draw(st.sampled_from(["list", "tuple", "dict", "nested", "named"]))
    tree = [LEAF] * count
    if kind == "dict":
        tree = dict.fromkeys(names, LEAF)
    elif kind == "tuple":
        tree = tuple(tree)
    elif kind == "nested":
        cut = draw(st.integers(1, count))
        tree = [tree[:cut], tuple(tree[cut:])] if cut < count else [tree]
    elif kind == "named":
        # Only dicts tell their names here.
        return dict.fromkeys(names, LEAF), None
    return tree, names


@st.composite
def written(draw, tree, names, values):
    """An argument with these values by name, in a form that it may have."""
    order = names or sorted(tree)
    forms = ["structure", "names"] + ["list"] * (names is not None)
    if len(set(map(str, values.values()))) == 1:
        forms.append("one")
    form = draw(st.sampled_from(forms))
    if form == "one":
        return next(iter(values.values()))
    if form == "names":
        return {name: values[name] for name in draw(st.permutations(order))}
    flat = [values[name] for name in order]
    return flat if form == "list" else pack(tree, flat, names or order)


@given(st.data())
def test_form_container_order_and_batches_do_not_matter(data):
    count = data.draw(st.integers(2, 4))
    named = [f"o{i}" for i in range(count)]

    def of_each(strategy):
        return {name: data.draw(strategy) for name in named}

    size = sum(SIZES) + SIZES[0]
    values = arrays(size, [(WIDTH,)])
    y, p = of_each(values), of_each(values)
    loss = of_each(st.sampled_from(["mse", "mae", "huber"]))
    weights = of_each(st.sampled_from([0.0, 0.5, 1.0, 10.0]))
    raw = {
        name: np.mean(
            reference.LOSSES[loss[name]](wide(y[name]), wide(p[name]))
        )
        for name in named
    }
    tree, names = data.draw(presentations(count))
    order = names or sorted(tree)

    def packed(arrays, rows):
        parts = [
            keras.ops.convert_to_tensor(arrays[name][rows]) for name in order
        ]
        return pack(tree, parts, order)

    compiled = CompileLoss(
        data.draw(written(tree, names, loss)),
        data.draw(written(tree, names, weights)),
        output_names=names,
    )
    total, start = 0.0, 0
    for rows in data.draw(st.permutations([*SIZES, SIZES[0]])):
        part = slice(start, start + rows)
        loss_of_batch = compiled(packed(y, part), packed(p, part))
        total += rows * float(keras.ops.convert_to_numpy(loss_of_batch))
        start += rows
    logged = {metric.name: metric.result() for metric in compiled.metrics}
    logged_as = dict(zip(order, stems(tree, names)))
    assert sorted(logged) == sorted(f"{x}_loss" for x in logged_as.values())
    for name, stem in logged_as.items():
        assert close(logged[f"{stem}_loss"], raw[name])
    # The books balance.
    expected = sum(weights[name] * raw[name] for name in named)
    assert total / size == pytest.approx(expected, RELATIVE, ABSOLUTE)


@functools.cache
def model():
    """Two outputs, run eagerly: only the data change."""
    inputs = keras.Input((WIDTH,))
    layers = [keras.layers.Dense(WIDTH, name=name) for name in "za"]
    made = keras.Model(inputs, [layer(inputs) for layer in layers])
    made.compile(
        loss={"z": "mse", "a": "mae"},
        loss_weights={"a": 10.0, "z": 0.5},
        run_eagerly=True,
    )
    return made


def tf_data(batches):
    """As for data of which nobody knows how long they are."""
    import tensorflow as tf

    shape = tf.TensorSpec((None, WIDTH))
    return tf.data.Dataset.from_generator(
        lambda: iter(batches), output_signature=(shape, (shape, shape))
    )


DATA_ROUTES = {
    "generator": lambda batches: (batch for batch in batches),
    "py_dataset": Batches,
}
if importlib.util.find_spec("tensorflow"):
    DATA_ROUTES["tf_data"] = tf_data


# Most of the time goes into the trainers.
@settings(max_examples=settings().max_examples // 4)
@given(st.data())
def test_route_and_batch_size_do_not_matter(data):
    rows = data.draw(st.integers(1, 7))
    batch_size = data.draw(st.integers(1, 8))
    values = arrays(rows, [(WIDTH,)])
    x, z, a = (data.draw(values) for _ in range(3))
    route = data.draw(st.sampled_from(["arrays", *DATA_ROUTES]))
    if route == "arrays":
        arguments = {"x": x, "y": [z, a], "batch_size": batch_size}
    else:
        batches = [
            (x[part], (z[part], a[part]))
            for start in range(0, rows, batch_size)
            for part in [slice(start, start + batch_size)]
        ]
        arguments = {"x": DATA_ROUTES[route](batches)}
    logs = model().evaluate(**arguments, return_dict=True, verbose=0)
    kernel_z, bias_z, kernel_a, bias_a = map(wide, model().get_weights())
    raw_z = np.mean(reference.LOSSES["mse"](z, x @ kernel_z + bias_z))
    raw_a = np.mean(reference.LOSSES["mae"](a, x @ kernel_a + bias_a))
    expected = {
        "z_loss": raw_z,
        "a_loss": raw_a,
        "loss": 0.5 * raw_z + 10.0 * raw_a,
    }
    assert logs == pytest.approx(expected, RELATIVE, ABSOLUTE)
