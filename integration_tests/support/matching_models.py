"""Models, containers and data routes for `matching_test` and `errors_test`.

The heads are `z = x`, `a = 2x` and `m = 3x`, in this order, so that neither
sorting nor dropping one goes unseen. All inputs are ones and the labels are
twice the predictions, so that at the beginning

    head   kernel   label   MSE   d MSE / d kernel   MAE   d MAE / d kernel
    z        1        2      1          -2            1          -1
    a        2        4      4          -4            2          -1
    m        3        6      9          -6            3          -1

Any two labels swapped, any two losses swapped and any two weights swapped
give other numbers.
"""

import itertools
from collections import OrderedDict

import numpy as np
import pytest

import keras

ROWS = 4
BATCH = 2
KERNELS = {"z": 1.0, "a": 2.0, "m": 3.0}
MSE = {"z": 1.0, "a": 4.0, "m": 9.0}
MAE = {"z": 1.0, "a": 2.0, "m": 3.0}
LEARNING_RATE = 0.125
X = np.ones((ROWS, 1), "float32")
LABELS = {
    name: np.full((ROWS, 1), 2 * kernel, "float32")
    for name, kernel in KERNELS.items()
}


def _list(values):
    return list(values.values())


def _tuple(values):
    return tuple(values.values())


def _nested_dict(values):
    (first, value), *rest = values.items()
    return {"b": {first: value}, "c": dict(rest)}


def _nested_list(values):
    *rest, last = values.values()
    return [rest, last]


# Each takes values by head, in the order of `KERNELS`.
CONTAINERS = {
    "list": _list,
    "tuple": _tuple,
    "dict": dict,
    "ordered_dict": OrderedDict,
    "nested_dict": _nested_dict,
    "nested_list": _nested_list,
}
FLAT = ["list", "tuple", "dict", "ordered_dict"]
NAMED = [*FLAT, "nested_dict"]
# A plain dict is flattened by sorted keys, and so is the functional model's
# list of outputs: that is the order in which a list is matched to it.
SORTED = "dict"


def pack(container, values):
    """Puts values by head into a container, in the order z, a, m."""
    ordered = {name: values[name] for name in KERNELS if name in values}
    return CONTAINERS[container](ordered)


def in_model_order(container, values):
    """Values by head as a flat list in the order of a functional model."""
    heads = [name for name in KERNELS if name in values]
    return [
        values[head]
        for head in (sorted(heads) if container == SORTED else heads)
    ]


def by_name(container, values, heads="za"):
    """Values by head as a flat dict keyed by the outputs' names."""
    names = output_names(container, heads)
    # The other way round than the outputs: the order must not matter.
    return {names[head]: values[head] for head in reversed(list(values))}


def output_names(container, heads="za"):
    """The names of the outputs, by head."""
    if container != "nested_dict":
        return {head: head for head in heads}
    first, *rest = heads
    return {first: f"b/{first}", **{head: f"c/{head}" for head in rest}}


def logged_stems(container, heads="za", names=None):
    """What the names of raw losses begin with, by head, as in Keras 3.15.1.

    Args:
        container: The container of the outputs.
        heads: The outputs, in the order of the model.
        names: What stands for the name of each, by head. Defaults to its own.
    """
    names = names or output_names(container, heads)
    if container != "nested_list":
        return names
    *inner, _ = heads
    return {h: f"0/{n}" if h in inner else n for h, n in names.items()}


def constant(value):
    return keras.initializers.Constant(value)


def head_layer(head, name=None):
    return keras.layers.Dense(
        1,
        use_bias=False,
        kernel_initializer=constant(KERNELS[head]),
        name=name or head,
    )


class Subclassed(keras.Model):
    """A model whose outputs have no names but the keys of dicts.

    Args:
        container: A function that puts values by head into a container.
        heads: The names of the heads.
    """

    def __init__(self, container, heads):
        super().__init__()
        self.container = container
        self.heads = {head: head_layer(head) for head in heads}

    def call(self, x):
        return self.container(
            {head: layer(x) for head, layer in self.heads.items()}
        )


def functional(container, heads="za"):
    inputs = keras.Input((1,))
    outputs = {head: head_layer(head)(inputs) for head in heads}
    return keras.Model(inputs, pack(container, outputs))


def subclassed(container, heads="za"):
    model = Subclassed(CONTAINERS[container], heads)
    model(X)
    return model


MODELS = {"functional": functional, "subclassed": subclassed}


def single_functional(head="z"):
    inputs = keras.Input((1,))
    return keras.Model(inputs, head_layer(head)(inputs))


def single_sequential(head="z"):
    return keras.Sequential([keras.Input((1,)), head_layer(head)])


def single_subclassed(head="z"):
    model = Subclassed(lambda values: values[head], head)
    model(X)
    return model


SINGLE_MODELS = {
    "functional": single_functional,
    "sequential": single_sequential,
    "subclassed": single_subclassed,
}


def compiled(model, eager=True, learning_rate=LEARNING_RATE, **kwargs):
    """Compiles for plain gradient descent.

    Matching happens in Python, before anything is traced, so that most tests
    can do without tracing; those of the data routes do not.
    """
    kwargs.setdefault("loss", "mse")
    optimizer = keras.optimizers.SGD(learning_rate)
    model.compile(optimizer, run_eagerly=eager, **kwargs)
    return model


def train(model, y, sample_weight=None, x=X):
    """The logs of one step on one batch."""
    # Before Keras 3.15, the step averages over all batches since then.
    model.reset_metrics()
    return model.train_on_batch(x, y, sample_weight, return_dict=True)


def kernels(model):
    """The kernels of the heads, by the name of the layer."""
    return {
        weight.path.split("/")[-2]: float(
            keras.ops.convert_to_numpy(weight)[0, 0]
        )
        for weight in model.trainable_variables
    }


def stepped(**gradients):
    """The kernels after one step down these gradients; others stay."""
    return {
        head: KERNELS[head] - LEARNING_RATE * gradient
        for head, gradient in gradients.items()
    }


def assert_logged(logs, expected):
    """All and only these names, with these values."""
    assert sorted(logs) == sorted(expected)
    for name, value in expected.items():
        logged = logs[name]
        logged = logged[-1] if isinstance(logged, list) else logged
        assert float(logged) == pytest.approx(value, rel=1e-5), name


class Batches(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def _batches(*data):
    """Tuples of batches, in the containers of the data."""
    data = keras.tree.lists_to_tuples(data)
    return [
        keras.tree.map_structure(
            lambda array: array[start : start + BATCH], data
        )
        for start in range(0, ROWS, BATCH)
    ]


def _tf_data(*data):
    tf = pytest.importorskip("tensorflow")

    # `tf.data` would stack the entries of a list.
    data = keras.tree.lists_to_tuples(data)
    return {"x": tf.data.Dataset.from_tensor_slices(data).batch(BATCH)}


def _data_loader(*data):
    torch = pytest.importorskip("torch")

    def collate(rows):
        # PyTorch's own collation turns tuples into lists, which TensorFlow's
        # trainer refuses.
        return keras.tree.map_structure(
            lambda *arrays: torch.as_tensor(np.stack(arrays)), *rows
        )

    data = keras.tree.lists_to_tuples(data)
    rows = [
        keras.tree.map_structure(lambda array: array[i], data)
        for i in range(ROWS)
    ]
    return {"x": torch.utils.data.DataLoader(rows, BATCH, collate_fn=collate)}


def _arrays(x, y, sample_weight=None):
    return {
        "x": x,
        "y": y,
        "sample_weight": sample_weight,
        "batch_size": BATCH,
    }


# Each takes inputs, labels and maybe sample weights, and returns arguments of
# `fit`.
ROUTES = {
    "arrays": _arrays,
    "generator": lambda *data: {"x": (b for b in _batches(*data))},
    "py_dataset": lambda *data: {"x": Batches(_batches(*data))},
    "tf_data": _tf_data,
    "data_loader": _data_loader,
}


def fit(model, route, *data):
    """The history of one epoch on one of the routes.

    With a learning rate of 0 all batches have the same losses.
    """
    arguments = ROUTES[route](X, *data)
    return model.fit(**arguments, verbose=0, shuffle=False).history


def cases(where=None, **table):
    """`pytest.mark.parametrize` for the combinations of the table's values.

    Args:
        where: Tells of a combination whether to test it. Default: all.
        **table: The values of each parameter.
    """
    combinations = [
        values
        for values in itertools.product(*table.values())
        if where is None or where(*values)
    ]
    if len(table) == 1:
        combinations = [value for (value,) in combinations]
    return pytest.mark.parametrize(",".join(table), combinations)
