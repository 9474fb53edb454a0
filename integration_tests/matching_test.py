"""Every argument reaches the output that it is meant for.

One test, or one set of parameters, for each way in which stock Keras trains
something else than what `compile` and `fit` were told. Where the numbers come
from: see the table in `matching_models`.
"""

import numpy as np
import pytest

import keras
from integration_tests.support.matching_models import CONTAINERS
from integration_tests.support.matching_models import FLAT
from integration_tests.support.matching_models import KERNELS
from integration_tests.support.matching_models import LABELS
from integration_tests.support.matching_models import MAE
from integration_tests.support.matching_models import MODELS
from integration_tests.support.matching_models import MSE
from integration_tests.support.matching_models import NAMED
from integration_tests.support.matching_models import ROUTES
from integration_tests.support.matching_models import ROWS
from integration_tests.support.matching_models import SINGLE_MODELS
from integration_tests.support.matching_models import X
from integration_tests.support.matching_models import assert_logged
from integration_tests.support.matching_models import by_name
from integration_tests.support.matching_models import cases
from integration_tests.support.matching_models import compiled
from integration_tests.support.matching_models import constant
from integration_tests.support.matching_models import fit
from integration_tests.support.matching_models import functional
from integration_tests.support.matching_models import head_layer
from integration_tests.support.matching_models import in_model_order
from integration_tests.support.matching_models import kernels
from integration_tests.support.matching_models import logged_stems
from integration_tests.support.matching_models import output_names
from integration_tests.support.matching_models import pack
from integration_tests.support.matching_models import single_functional
from integration_tests.support.matching_models import stepped
from integration_tests.support.matching_models import subclassed
from integration_tests.support.matching_models import train
from keras.src.trainers.compile_utils import CompileLoss

ALL = [*NAMED, "nested_list"]
LOSSES = {"z": "mse", "a": "mae"}
# Names of equal losses; in different lists, they need no number.
EQUAL = dict.fromkeys(ALL, {"z": "mse", "a": "mse_1"})
EQUAL["nested_list"] = {"z": "mse", "a": "mse"}
WEIGHTS = {"z": 1.0, "a": 10.0}
TWO_LABELS = {head: LABELS[head] for head in "za"}
# z: MSE 1; a: MAE 2; 1 * 1 + 10 * 2 = 21.
TWO_RAW = {"z": 1.0, "a": 2.0}
TWO_TOTAL = 21.0
TWO_STEPPED = stepped(z=1.0 * -2.0, a=10.0 * -1.0)


def entries(container, values, kind="functional", losses=LOSSES):
    """The logged names of raw losses given by head."""
    names = None
    if kind == "subclassed" and container in ("list", "tuple", "nested_list"):
        names = losses
    names = logged_stems(container, names=names)
    return {f"{names[head]}_loss": value for head, value in values.items()}


# 1. Forms: the outputs' own structure, names, one for all, a flat list.


@cases(
    container=ALL,
    kind=MODELS,
    route=ROUTES,
    where=lambda _, kind, route: (
        kind == "functional" or route in ("arrays", "tf_data")
    ),
)
def test_same_structure(container, kind, route):
    model = compiled(
        MODELS[kind](container),
        eager=container not in ("list", "dict"),
        learning_rate=0.0,
        loss=pack(container, LOSSES),
        loss_weights=pack(container, WEIGHTS),
    )
    history = fit(model, route, pack(container, TWO_LABELS))
    expected = entries(container, TWO_RAW, kind)
    assert_logged(history, {**expected, "loss": TWO_TOTAL})


@cases(container=ALL, kind=MODELS)
def test_same_structure_trains_the_right_heads(container, kind):
    model = compiled(
        MODELS[kind](container),
        loss=pack(container, LOSSES),
        loss_weights=pack(container, WEIGHTS),
    )
    train(model, pack(container, TWO_LABELS))
    assert kernels(model) == pytest.approx(TWO_STEPPED)


@cases(
    container=NAMED,
    form=["structure", "names", "list", "tuple"],
    eager=[True, False],
    where=lambda container, form, eager: (
        eager or container in ("list", "dict") and form != "tuple"
    ),
)
def test_forms_of_each_argument(container, form, eager):
    """All arguments in one form, whatever container the outputs are in."""

    def conform(values):
        if form == "structure":
            return pack(container, values)
        if form == "names":
            return by_name(container, values)
        flat = in_model_order(container, values)
        return tuple(flat) if form == "tuple" else flat

    model = compiled(
        functional(container),
        eager=eager,
        loss=conform(LOSSES),
        loss_weights=conform(WEIGHTS),
        metrics=conform({"z": "mae", "a": "mse"}),
        weighted_metrics=conform({"z": "mse", "a": "mae"}),
    )
    sample_weights = {
        "z": np.full((ROWS,), 0.5, "float32"),
        "a": np.full((ROWS,), 3.0, "float32"),
    }
    logs = train(model, conform(TWO_LABELS), conform(sample_weights))
    # Raw losses include sample weights: z 0.5 * 1, a 3 * 2. Means of metrics
    # do not change with a constant weight.
    raw = {"z": 0.5, "a": 6.0}
    names = output_names(container)
    if container == "nested_dict":
        # Upstream's tests pin the model's own names here.
        names = {"z": "z", "a": "a"}
    expected = {
        **entries(container, raw),
        "loss": 0.5 + 10.0 * 6.0,
        f"{names['z']}_mae": 1.0,
        f"{names['a']}_mse": 4.0,
        f"{names['z']}_mse": 1.0,
        f"{names['a']}_mae": 2.0,
    }
    assert_logged(logs, expected)
    gradients = {"z": 0.5 * -2.0, "a": 10.0 * 3.0 * -1.0}
    assert kernels(model) == pytest.approx(stepped(**gradients))


@cases(labels=["list", "tuple", "names"])
def test_lists_for_a_subclassed_model_with_an_ordered_dict(labels):
    """Its order is known: z, a, which is not the order of sorted keys."""
    model = compiled(
        subclassed("ordered_dict"),
        loss=["mse", "mae"],
        loss_weights=[1.0, 10.0],
        metrics=["mae", "mse"],
    )
    y = [LABELS["z"], LABELS["a"]]
    y = {"list": y, "tuple": tuple(y), "names": TWO_LABELS}[labels]
    expected = {**entries("ordered_dict", TWO_RAW), "loss": TWO_TOTAL}
    expected |= {"z_mae": 1.0, "a_mse": 4.0}
    assert_logged(train(model, y), expected)
    assert kernels(model) == pytest.approx(TWO_STEPPED)


def test_keys_win_over_the_names_of_layers():
    """The key `z` stands for the layer `a`, and the other way round."""
    inputs = keras.Input((1,))
    outputs = {"z": head_layer("a")(inputs), "a": head_layer("z")(inputs)}
    model = compiled(
        keras.Model(inputs, outputs),
        loss={"z": "mse", "a": "mae"},
        loss_weights={"z": 10.0, "a": 1.0},
    )
    logs = train(model, {"z": LABELS["a"], "a": LABELS["z"]})
    # MSE of layer a: 4; MAE of layer z: 1.
    assert_logged(logs, {"z_loss": 4.0, "a_loss": 1.0, "loss": 41.0})


@cases(container=FLAT, labels=["list", "tuple", "ordered_dict", "reversed"])
def test_labels_in_another_container(container, labels):
    """Labels by name go by name, labels in a list by the model's order."""
    model = compiled(functional(container))
    if labels == "ordered_dict":
        y = pack("ordered_dict", TWO_LABELS)
    elif labels == "reversed":
        y = by_name(container, TWO_LABELS)
    else:
        y = in_model_order(container, TWO_LABELS)
        y = tuple(y) if labels == "tuple" else y
    logs = train(model, y)
    assert_logged(logs, {"z_loss": 1.0, "a_loss": 4.0, "loss": 5.0})


@cases(route=ROUTES, container=["list", "dict"])
def test_labels_in_another_container_by_route(route, container):
    """A tuple for dict outputs, and a dict for outputs in a list."""
    model = compiled(functional(container), learning_rate=0.0)
    y = by_name(container, TWO_LABELS)
    if container == "dict":
        y = tuple(in_model_order(container, TWO_LABELS))
    history = fit(model, route, y)
    assert_logged(history, {"z_loss": 1.0, "a_loss": 4.0, "loss": 5.0})


@cases(container=ALL, kind=MODELS)
def test_one_loss_and_weight_for_all(container, kind):
    model = compiled(MODELS[kind](container), loss="mse", loss_weights=3)
    logs = train(model, pack(container, TWO_LABELS))
    expected = entries(container, {"z": 1.0, "a": 4.0}, kind, EQUAL[container])
    assert_logged(logs, {**expected, "loss": 3.0 * 5.0})
    assert kernels(model) == pytest.approx(stepped(z=-6.0, a=-12.0))


@cases(
    container=ALL,
    kind=MODELS,
    route=ROUTES,
    where=lambda _, kind, route: kind == "functional" or route == "arrays",
)
def test_one_label_for_all(container, kind, route):
    """As many rows as outputs: stock deals the rows out to the outputs."""
    model = compiled(
        MODELS[kind](container),
        eager=container != "list",
        learning_rate=0.0,
        loss="mse",
    )
    labels = np.array([[4.0], [0.0], [4.0], [0.0]], "float32")
    history = fit(model, route, labels)
    # z: (3 ** 2 + 1 ** 2) / 2; a: (2 ** 2 + 2 ** 2) / 2.
    expected = entries(container, {"z": 5.0, "a": 4.0}, kind, EQUAL[container])
    assert_logged(history, {**expected, "loss": 9.0})


# 2. Loss weights.


@cases(
    container=NAMED,
    losses=["structure", "names", "one"],
    weights=[(1.0, 10.0), (1.0, 0.0), (0.0, 1.0)],
)
def test_weights_by_name(container, losses, weights):
    """Never by sorted key: a weight of 0 freezes its own head only."""
    z, a = weights
    loss = {
        "structure": pack(container, {"z": "mse", "a": "mse"}),
        "names": by_name(container, {"z": "mse", "a": "mse"}),
        "one": "mse",
    }
    model = compiled(
        functional(container),
        loss=loss[losses],
        loss_weights=by_name(container, {"a": a, "z": z}),
    )
    logs = train(model, pack(container, TWO_LABELS))
    raw = entries(container, {"z": 1.0, "a": 4.0})
    assert_logged(logs, {**raw, "loss": z * 1.0 + a * 4.0})
    assert kernels(model) == pytest.approx(stepped(z=-2.0 * z, a=-4.0 * a))


@cases(container=NAMED, only=["z", "a"])
def test_partial_weights(container, only):
    """A missing weight is 1."""
    weights = by_name(container, {only: 10.0})
    model = compiled(functional(container), loss="mse", loss_weights=weights)
    logs = train(model, pack(container, TWO_LABELS))
    total = {"z": 10.0 * 1.0 + 4.0, "a": 1.0 + 10.0 * 4.0}[only]
    raw = entries(container, {"z": 1.0, "a": 4.0})
    assert_logged(logs, {**raw, "loss": total})


@cases(
    container=FLAT,
    form=["list", "tuple", "array", "int_array", "with_none", "tensor"],
)
def test_weights_in_a_list(container, form):
    weights = in_model_order(container, {"z": 1, "a": 10})
    convert = {
        "list": list,
        "tuple": tuple,
        "array": lambda weights: np.array(weights, "float64"),
        "int_array": np.array,
        "with_none": lambda weights: [
            None if weight == 1 else weight for weight in weights
        ],
        "tensor": lambda weights: keras.ops.convert_to_tensor(
            weights, "float32"
        ),
    }
    model = compiled(
        functional(container), loss="mse", loss_weights=convert[form](weights)
    )
    logs = train(model, pack(container, TWO_LABELS))
    assert_logged(logs, {"z_loss": 1.0, "a_loss": 4.0, "loss": 41.0})


SCALARS = {
    "int": lambda: 3,
    "float": lambda: 3.0,
    "float32": lambda: np.float32(3.0),
    "int64": lambda: np.int64(3),
    "zero_d": lambda: np.array(3.0),
    "tensor": lambda: keras.ops.convert_to_tensor(3.0),
    "variable": lambda: keras.Variable(3.0, trainable=False),
}


@cases(kind=SINGLE_MODELS, scalar=SCALARS)
def test_weight_of_a_single_output(kind, scalar):
    model = compiled(
        SINGLE_MODELS[kind](), loss="mse", loss_weights=SCALARS[scalar]()
    )
    logs = train(model, LABELS["z"])
    assert_logged(logs, {"loss": 3.0})
    assert kernels(model) == pytest.approx(stepped(z=3.0 * -2.0))


@cases(container=["list", "dict"], scalar=SCALARS)
def test_scalar_weights_of_several_outputs(container, scalar):
    weights = pack(container, {"z": 1.0, "a": SCALARS[scalar]()})
    model = compiled(functional(container), loss_weights=weights)
    logs = train(model, pack(container, TWO_LABELS))
    expected = {"z_loss": 1.0, "a_loss": 4.0, "loss": 1.0 + 3.0 * 4.0}
    assert_logged(logs, expected)


def test_equal_weights_in_the_shape_of_predictions():
    """Upstream's tests pin it: such an array stands for its one value."""
    loss = CompileLoss("mse", np.array([3.0, 3.0, 3.0]))
    value = loss(np.zeros((3,)), np.array([1.0, 2.0, 3.0]))
    # 3 * (1 + 4 + 9) / 3
    assert float(value) == pytest.approx(14.0)


# 3. Several losses of one output.


@cases(kind=SINGLE_MODELS, weights=[None, 10, [10, 1]], container=[list, tuple])
def test_several_losses_of_a_single_output(kind, weights, container):
    model = compiled(
        SINGLE_MODELS[kind]("m"),
        loss=container(["mse", "mae"]),
        loss_weights=weights,
    )
    logs = train(model, LABELS["m"])
    mse, mae = {None: (1, 1), 10: (10, 10)}.get(
        weights if weights != [10, 1] else "", (10, 1)
    )
    prefix = "m_" if kind == "functional" else ""
    expected = {
        f"{prefix}mse_loss": 9.0,
        f"{prefix}mae_loss": 3.0,
        "loss": mse * 9.0 + mae * 3.0,
    }
    assert_logged(logs, expected)
    gradient = mse * -6.0 + mae * -1.0
    assert kernels(model) == pytest.approx(stepped(m=gradient))


@cases(route=ROUTES)
def test_several_losses_of_a_single_output_by_route(route):
    model = compiled(
        single_functional("m"),
        eager=False,
        learning_rate=0.0,
        loss=["mse", "mae"],
    )
    history = fit(model, route, LABELS["m"])
    expected = {"m_mse_loss": 9.0, "m_mae_loss": 3.0, "loss": 12.0}
    assert_logged(history, expected)


@cases(
    container=FLAT,
    kind=MODELS,
    weighted=[False, True],
    # Lists of a subclassed model have no names to key the losses by.
    where=lambda container, kind, _: (
        kind == "functional" or container in ("dict", "ordered_dict")
    ),
)
def test_several_losses_of_one_of_the_outputs(container, kind, weighted):
    weights = {"a": 10.0, "z": 2.0} if weighted else None
    model = compiled(
        MODELS[kind](container),
        loss={"a": ["mse", "mae"], "z": "mse"},
        loss_weights=weights,
    )
    logs = train(model, pack(container, TWO_LABELS))
    # The weight of an output is the weight of all its losses.
    a, z = (10.0, 2.0) if weighted else (1.0, 1.0)
    expected = {
        "z_loss": 1.0,
        "a_mse_loss": 4.0,
        "a_mae_loss": 2.0,
        "loss": z * 1.0 + a * (4.0 + 2.0),
    }
    assert_logged(logs, expected)
    gradients = {"z": z * -2.0, "a": a * (-4.0 - 1.0)}
    assert kernels(model) == pytest.approx(stepped(**gradients))


def test_list_in_a_list_is_reported_as_one():
    """Upstream's tests pin it: one entry, the sum of both raw losses."""
    model = compiled(
        functional("list"), loss=["mse", ["mse", "mae"]], loss_weights=[1, 10]
    )
    logs = train(model, [LABELS["z"], LABELS["a"]])
    # a: 4 + 2
    assert_logged(logs, {"z_loss": 1.0, "a_loss": 6.0, "loss": 61.0})
    gradients = {"z": -2.0, "a": 10.0 * (-4.0 - 1.0)}
    assert kernels(model) == pytest.approx(stepped(**gradients))


# 4. Outputs without a loss, a label or a sample weight.


@cases(
    container=FLAT,
    form=["none", "names"],
    labels=["all", "none", "names", "short"],
    with_metrics=[False, True],
)
def test_one_output_without_a_loss(container, form, labels, with_metrics):
    if form == "names":
        loss = {"a": "mse"}
    else:
        loss = in_model_order(container, {"z": None, "a": "mse"})
    y = {
        "all": pack(container, TWO_LABELS),
        "none": in_model_order(container, {"z": None, "a": LABELS["a"]}),
        "names": {"a": LABELS["a"]},
        "short": [LABELS["a"]],
    }[labels]
    metrics = {"a": "mae"} if with_metrics else None
    model = compiled(functional(container), loss=loss, metrics=metrics)
    logs = train(model, y)
    expected = {"loss": 4.0, "a_loss": 4.0}
    if form == "names" and container in ("dict", "ordered_dict"):
        # Upstream's tests pin it: no entry for the only loss in a dict that
        # leaves out outputs of a dict.
        del expected["a_loss"]
    if with_metrics:
        expected["a_mae"] = 2.0
    assert_logged(logs, expected)
    assert kernels(model) == pytest.approx(stepped(z=0.0, a=-4.0))


@cases(container=FLAT, labels=["none", "names", "short"], with_metrics=[0, 1])
def test_labels_of_two_outputs_of_three(container, labels, with_metrics):
    """Stock reads the metrics from the wrong labels."""
    heads = in_model_order(container, dict(zip("zam", "zam")))
    missing, *labelled = heads
    loss = [None, "mse", "mse"]
    y = {
        "none": [None, *(LABELS[head] for head in labelled)],
        "names": {head: LABELS[head] for head in reversed(labelled)},
        "short": [LABELS[head] for head in labelled],
    }[labels]
    metrics = {head: "mae" for head in labelled} if with_metrics else None
    model = compiled(functional(container, "zam"), loss=loss, metrics=metrics)
    logs = train(model, y)
    expected = {f"{head}_loss": MSE[head] for head in labelled}
    expected["loss"] = sum(expected.values())
    if with_metrics:
        expected |= {f"{head}_mae": MAE[head] for head in labelled}
    assert_logged(logs, expected)
    gradients = {head: -2.0 * KERNELS[head] for head in labelled}
    gradients[missing] = 0.0
    assert kernels(model) == pytest.approx(stepped(**gradients))


@cases(route=ROUTES, container=["list", "dict"])
def test_partial_labels_by_route(route, container):
    """The keys sort the other way round than the outputs."""
    model = compiled(
        functional(container, "zam"),
        learning_rate=0.0,
        loss={"z": "mse", "m": "mse"},
    )
    history = fit(model, route, {"m": LABELS["m"], "z": LABELS["z"]})
    assert_logged(history, {"z_loss": 1.0, "m_loss": 9.0, "loss": 10.0})


SHARES = np.array([2.0, 0.0, 1.0, 1.0], "float32")


# Sample weights, and what they do to the mean of z and to that of a.
SAMPLE_WEIGHTS = {
    "dict": ({"a": 3.0 * SHARES, "z": SHARES}, 1.0, 3.0),
    "partial_z": ({"z": 3.0 * SHARES}, 3.0, 1.0),
    "partial_a": ({"a": 3.0 * SHARES}, 1.0, 3.0),
    "partial_none": ({"a": 3.0 * SHARES, "z": None}, 1.0, 3.0),
    "one": (3.0 * SHARES, 3.0, 3.0),
}


@cases(
    container=FLAT,
    weights=SAMPLE_WEIGHTS,
    route=ROUTES,
    # The adapter for arrays wants them in the structure of the labels, the
    # other ones take no `None`.
    where=lambda container, weights, route: (
        weights in ("dict", "one", "partial_none")
        if route == "arrays"
        else weights != "partial_none" and container in ("list", "dict")
    ),
)
def test_sample_weights(container, weights, route):
    """By name, whatever container the labels are in."""
    shares, factor_z, factor_a = SAMPLE_WEIGHTS[weights]
    y = pack(container, TWO_LABELS)
    if route == "arrays" and weights != "one":
        y = dict(TWO_LABELS)
    model = compiled(functional(container), learning_rate=0.0)
    history = fit(model, route, y, shares)
    z, a = factor_z * 1.0, factor_a * 4.0
    assert_logged(history, {"z_loss": z, "a_loss": a, "loss": z + a})


@cases(container=FLAT, weights=SAMPLE_WEIGHTS, labels=["list", "names"])
def test_sample_weights_of_a_batch(container, weights, labels):
    shares, factor_z, factor_a = SAMPLE_WEIGHTS[weights]
    y = by_name(container, TWO_LABELS)
    if labels == "list":
        y = in_model_order(container, TWO_LABELS)
    model = compiled(functional(container))
    logs = train(model, y, shares)
    z, a = factor_z * 1.0, factor_a * 4.0
    assert_logged(logs, {"z_loss": z, "a_loss": a, "loss": z + a})
    gradients = {"z": factor_z * -2.0, "a": factor_a * -4.0}
    assert kernels(model) == pytest.approx(stepped(**gradients))


@cases(kind=["functional", "sequential", "subclassed"], route=ROUTES)
def test_single_output_by_route(kind, route):
    model = compiled(
        SINGLE_MODELS[kind]("m"), eager=False, learning_rate=0.0, loss="mse"
    )
    history = fit(model, route, LABELS["m"], 3.0 * SHARES)
    assert_logged(history, {"loss": 27.0})


@cases(route=ROUTES)
def test_everything_in_dicts_for_a_single_output(route):
    model = compiled(
        single_functional("m"),
        eager=False,
        learning_rate=0.0,
        loss={"m": "mse"},
        loss_weights={"m": 10},
        metrics={"m": "mae"},
    )
    history = fit(model, route, {"m": LABELS["m"]}, {"m": 3.0 * SHARES})
    assert_logged(history, {"loss": 10 * 3.0 * 9.0, "mae": 3.0})


@cases(form=["dict", "list", "tuple"])
def test_containers_around_one_thing(form):
    """A container of one for a single output that is in none."""
    wrap = {
        "dict": lambda value: {"m": value},
        "list": lambda value: [value],
        "tuple": lambda value: (value,),
    }[form]
    model = compiled(
        single_functional("m"),
        loss=wrap("mse"),
        loss_weights=wrap(10),
        metrics=wrap("mae"),
    )
    logs = train(model, wrap(LABELS["m"]))
    assert_logged(logs, {"loss": 90.0, "mae": 3.0})


@cases(kind=MODELS, container=["list", "tuple", "dict"])
def test_a_container_with_a_single_output(kind, container):
    model = compiled(MODELS[kind](container, "m"), loss="mse", metrics=["mae"])
    for y in (LABELS["m"], pack(container, {"m": LABELS["m"]})):
        assert_logged(train(model, y), {"loss": 9.0, "mae": 3.0})
        for weight in model.trainable_variables:
            weight.assign([[3.0]])


# 5. Data whose structure changes.


def not_all_traced(container, _, eager):
    return eager or container in ("list", "dict")


@cases(
    container=FLAT,
    loss=["one", "names"],
    eager=[True, False],
    where=not_all_traced,
)
def test_label_structure_changes_between_calls(container, loss, eager):
    model = compiled(
        functional(container),
        eager=eager,
        learning_rate=0.0,
        loss="mae" if loss == "one" else {"z": "mse", "a": "mae"},
        metrics={"a": "mae", "z": "mse"},
    )
    expected = {**entries(container, TWO_RAW), "loss": 3.0}
    expected |= {"a_mae": 2.0, "z_mse": 1.0}
    flat = in_model_order(container, TWO_LABELS)
    forms = [flat, by_name(container, TWO_LABELS), tuple(flat)]
    for y in [*forms, pack(container, TWO_LABELS), *reversed(forms)]:
        assert_logged(train(model, y), expected)


@cases(
    container=FLAT,
    first=["subset", "all"],
    eager=[True, False],
    where=not_all_traced,
)
def test_label_subset_changes_between_calls(container, first, eager):
    model = compiled(
        functional(container, "zam"),
        eager=eager,
        learning_rate=0.0,
        loss={"z": "mse", "m": "mse"},
        metrics={"z": "mae"},
    )
    expected = {"z_loss": 1.0, "m_loss": 9.0, "loss": 10.0, "z_mae": 1.0}
    forms = [
        {"m": LABELS["m"], "z": LABELS["z"]},
        pack(container, LABELS),
        in_model_order(container, LABELS),
    ]
    for y in forms if first == "subset" else reversed(forms):
        assert_logged(train(model, y), expected)


def test_sample_weights_come_and_go():
    model = compiled(functional("list"), eager=False, learning_rate=0.0)
    y = [LABELS["z"], LABELS["a"]]
    expected = {"z_loss": 1.0, "a_loss": 4.0, "loss": 5.0}
    assert_logged(train(model, y), expected)
    logs = train(model, y, {"a": 3.0 * SHARES})
    assert_logged(logs, {"z_loss": 1.0, "a_loss": 12.0, "loss": 13.0})
    assert_logged(train(model, y), expected)


# 6. Names.


def shared_layer():
    """Outputs x and 2x of one layer called `h`."""
    inputs = keras.Input((1,))
    layer = keras.layers.Dense(
        1, use_bias=False, kernel_initializer="ones", name="h"
    )
    return keras.Model(inputs, [layer(inputs), layer(2.0 * inputs)])


@cases(form=["list", "names"])
def test_one_layer_for_two_outputs(form):
    """Labels 2 and 4: MSE 1 and 4. The gradients add up: -2 and -8."""
    y = [LABELS["z"], LABELS["a"]]
    loss, weights = ["mse", "mse"], [1, 10]
    metrics = ["mae", "mae"]
    if form == "names":
        names = ["h_1", "h"]
        y, loss, weights, metrics = (
            dict(zip(names, reversed(values)))
            for values in (y, loss, weights, metrics)
        )
    model = compiled(
        shared_layer(), loss=loss, loss_weights=weights, metrics=metrics
    )
    logs = train(model, y)
    expected = {
        "h_loss": 1.0,
        "h_1_loss": 4.0,
        "loss": 41.0,
        "h_mae": 1.0,
        "h_1_mae": 2.0,
    }
    assert_logged(logs, expected)
    (weight,) = model.trainable_variables
    kernel = keras.ops.convert_to_numpy(weight)[0, 0]
    assert kernel == pytest.approx(1.0 - 0.125 * (-2.0 + 10 * -8.0))


@cases(
    name=["loss", "val", "a b", "a/b", "z_1", "total", "0"],
    container=["dict", "ordered_dict", "subclassed"],
)
def test_odd_names(name, container):
    if container == "subclassed":
        model = RenamedHeads({"z": "z", name: "a"})
    else:
        inputs = keras.Input((1,))
        outputs = {
            "z": head_layer("z")(inputs),
            name: head_layer("a")(inputs),
        }
        model = keras.Model(inputs, CONTAINERS[container](outputs))
    compiled(
        model,
        loss={"z": "mse", name: "mse"},
        loss_weights={name: 10.0, "z": 1.0},
        metrics={name: ["mae"]},
    )
    logs = train(model, {"z": LABELS["z"], name: LABELS["a"]})
    # `val_loss` is the total of the validation.
    entry = {"val": "val_1_loss"}.get(name, f"{name}_loss")
    expected = {"z_loss": 1.0, entry: 4.0, f"{name}_mae": 2.0, "loss": 41.0}
    assert_logged(logs, expected)


class RenamedHeads(keras.Model):
    """A model that returns a dict with keys of one's choice."""

    def __init__(self, heads):
        super().__init__()
        self.keys = list(heads)
        self.head_layers = [head_layer(head) for head in heads.values()]
        self(X)

    def call(self, x):
        return dict(zip(self.keys, [layer(x) for layer in self.head_layers]))


@cases(name=["loss", "val", "my-head"])
def test_odd_layer_names(name):
    inputs = keras.Input((1,))
    outputs = [head_layer("z")(inputs), head_layer("a", name)(inputs)]
    model = compiled(keras.Model(inputs, outputs), eager=False)
    model.optimizer.learning_rate = 0.0
    y = [LABELS["z"], LABELS["a"]]
    history = model.fit(X, y, validation_data=(X, y), verbose=0).history
    entry = {"val": "val_1_loss"}.get(name, f"{name}_loss")
    expected = {"z_loss": 1.0, entry: 4.0, "loss": 5.0}
    validated = {f"val_{key}": value for key, value in expected.items()}
    assert_logged(history, {**expected, **validated})


def test_losses_of_unnamed_outputs_have_different_names():
    model = compiled(subclassed("list", "zam"), loss=["mse", "mae", "mse"])
    logs = train(model, pack("list", LABELS))
    expected = {"mse_loss": 1.0, "mae_loss": 2.0, "mse_1_loss": 9.0}
    assert_logged(logs, {**expected, "loss": 12.0})


def test_equal_losses_of_one_output_have_different_names():
    def mse(y_true, y_pred):
        return 100.0 * keras.ops.mean(keras.ops.square(y_true - y_pred), -1)

    model = compiled(functional("list"), loss={"z": "mse", "a": ["mse", mse]})
    logs = train(model, [LABELS["z"], LABELS["a"]])
    expected = {"z_loss": 1.0, "a_mse_loss": 4.0, "a_1_mse_loss": 400.0}
    assert_logged(logs, {**expected, "loss": 405.0})


@cases(outputs=["one", "list"])
def test_metrics_named_like_losses_hide_none(outputs):
    def mse_loss(y_true, y_pred):
        return 7.0 + 0.0 * y_pred

    inputs = keras.Input((1,))
    model = keras.Model(inputs, head_layer("a")(inputs))
    losses, metrics, y = ["mse", "mae"], [mse_loss], LABELS["a"]
    expected = {"a_mse_loss": 4.0, "a_mae_loss": 2.0, "loss": 6.0}
    # A metric of the only output has no prefix.
    name = "mse_loss"
    if outputs == "list":
        model = functional("list")
        losses, metrics = {"a": losses, "z": "mse"}, {"a": metrics}
        y = [LABELS["z"], LABELS["a"]]
        expected |= {"z_loss": 1.0, "loss": 7.0}
        name = "a_mse_loss_1"
    logs = train(compiled(model, loss=losses, metrics=metrics), y)
    assert_logged(logs, {**expected, name: 7.0})


# 7. Losses of sub-structures.


def sum_of_all(y_true, y_pred):
    """Mean error over a whole structure: the sum over its outputs."""
    errors = [
        keras.ops.mean(keras.ops.abs(label - prediction))
        for label, prediction in zip(
            keras.tree.flatten(y_true), keras.tree.flatten(y_pred)
        )
    ]
    return sum(errors)


def test_a_function_of_ones_own_takes_a_substructure():
    """Upstream's tests pin it: Keras' own losses go to each output below."""
    inputs = keras.Input((1,))
    z, a, m = (head_layer(head)(inputs) for head in "zam")
    y = {"b": [LABELS["z"], LABELS["a"]], "c": LABELS["m"]}

    model = keras.Model(inputs, {"b": [z, a], "c": m})
    compiled(model, loss={"b": sum_of_all, "c": "mse"}, learning_rate=0.0)
    # 1 + 2, and 9.
    logs = train(model, y)
    assert_logged(logs, {"b_loss": 3.0, "c_loss": 9.0, "loss": 12.0})

    compiled(model, loss={"b": "mae", "c": "mse"}, learning_rate=0.0)
    logs = train(model, y)
    assert logs["loss"] == pytest.approx(12.0)
    assert logs["c_loss"] == pytest.approx(9.0)
    assert sorted(logs.values()) == pytest.approx([1.0, 2.0, 9.0, 12.0])


# 8. Metrics.


@cases(container=FLAT, form=["flat", "lists", "names", "partial"])
def test_metrics_go_to_their_outputs(container, form):
    metrics = {
        "flat": in_model_order(container, {"z": "mae", "a": "mse"}),
        "lists": in_model_order(container, {"z": ["mae"], "a": ["mse", "mae"]}),
        "names": {"a": ["mse"], "z": "mae"},
        "partial": {"a": ["mse", "mae"]},
    }[form]
    model = compiled(functional(container), metrics=metrics)
    logs = train(model, by_name(container, TWO_LABELS))
    expected = {"z_loss": 1.0, "a_loss": 4.0, "loss": 5.0, "a_mse": 4.0}
    if form != "partial":
        expected["z_mae"] = 1.0
    if form in ("lists", "partial"):
        expected["a_mae"] = 2.0
    assert_logged(logs, expected)


@cases(container=FLAT)
def test_unweighted_metrics_see_no_sample_weight(container):
    y = {head: labels.copy() for head, labels in TWO_LABELS.items()}
    # Absolute errors of z: 1, 1, 1, 5; their mean is 2.
    y["z"][3] = 6.0
    shares = np.array([1.0, 1.0, 1.0, 5.0], "float32")
    model = compiled(
        functional(container),
        metrics={"z": ["mae"]},
        weighted_metrics={"z": ["mae"]},
    )
    logs = train(model, y, {"z": shares})
    assert logs["z_mae"] == pytest.approx(2.0)
    # (1 + 1 + 1 + 5 * 5) / (1 + 1 + 1 + 5) = 28 / 8
    assert logs["z_weighted_mae"] == pytest.approx(3.5)
    # MSE: (1 + 1 + 1 + 5 * 25) / 4
    assert logs["z_loss"] == pytest.approx(32.0)
    assert logs["a_loss"] == pytest.approx(4.0)


class Constant(keras.metrics.Metric):
    """A metric with a value that nothing else has."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        pass

    def result(self):
        return keras.ops.convert_to_tensor(77.0)


@cases(
    container=["list", "dict"], name=["loss", "a_loss"], single=[False, True]
)
def test_a_metric_named_like_a_loss(container, name, single):
    """It must overwrite neither the total nor an entry."""
    metric = Constant(name=name)
    if single:
        model = compiled(single_functional("a"), metrics=[metric])
        logs = train(model, LABELS["a"])
        raw = {"loss": 4.0}
    else:
        model = compiled(functional(container), metrics={"a": metric})
        logs = train(model, pack(container, TWO_LABELS))
        raw = {"loss": 5.0, "z_loss": 1.0, "a_loss": 4.0}
    assert {key: logs[key] for key in raw} == pytest.approx(raw)
    others = [value for key, value in logs.items() if key not in raw]
    assert others == [77.0]


def test_equal_metrics_of_one_output_have_different_names():
    model = compiled(
        functional("list"), metrics={"a": [Constant(name="mae"), "mae"]}
    )
    logs = train(model, [LABELS["z"], LABELS["a"]])
    raw = {"loss": 5.0, "z_loss": 1.0, "a_loss": 4.0}
    values = {value for name, value in logs.items() if name not in raw}
    assert values == {77.0, 2.0}


@cases(kind=MODELS)
def test_metrics_of_nested_outputs(kind):
    """Upstream's tests pin it: the functional model's names, or none."""
    metrics = {"b": {"z": "mae"}, "c": {"a": "mse"}}
    model = compiled(MODELS[kind]("nested_dict"), metrics=metrics)
    logs = train(model, pack("nested_dict", TWO_LABELS))
    raw = {"b/z_loss": 1.0, "c/a_loss": 4.0, "loss": 5.0}
    prefixes = ("z_", "a_") if kind == "functional" else ("", "")
    expected = {f"{prefixes[0]}mae": 1.0, f"{prefixes[1]}mse": 4.0}
    assert_logged(logs, {**raw, **expected})


def test_equal_metrics_of_nested_outputs():
    metrics = {"b": {"z": "mae"}, "c": {"a": "mae"}}
    model = compiled(subclassed("nested_dict"), metrics=metrics)
    logs = train(model, pack("nested_dict", TWO_LABELS))
    assert len(logs) == 5
    assert sorted(v for k, v in logs.items() if "mae" in k) == [1.0, 2.0]


P = np.array([0.2, 0.9, 0.6, 0.3], "float32")
Q = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]],
    "float32",
)
CLASSES = np.array([0, 1, 0, 2])
HITS = np.array([0.0, 1.0, 0.0, 1.0], "float32")
# Labels, predictions, accuracy and crossentropy.
CLASSIFICATIONS = {
    # Rounded 0, 1, 1, 0: the last two are wrong.
    "binary": (
        HITS[:, None],
        P[:, None],
        0.5,
        -np.mean(np.log([0.8, 0.9, 0.4, 0.3])),
    ),
    # Largest 0, 1, 2, 0: the last two are wrong.
    "sparse": (CLASSES, Q, 0.5, -np.mean(np.log([0.7, 0.8, 0.2, 0.1]))),
    "sparse_column": (
        CLASSES[:, None],
        Q,
        0.5,
        -np.mean(np.log([0.7, 0.8, 0.2, 0.1])),
    ),
    "categorical": (
        np.eye(3, dtype="float32")[CLASSES],
        Q,
        0.5,
        -np.mean(np.log([0.7, 0.8, 0.2, 0.1])),
    ),
}


def identities(shape, names):
    """A model without weights whose outputs are all its input."""
    inputs = keras.Input(shape)
    outputs = [keras.layers.Identity(name=name)(inputs) for name in names]
    return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0])


@cases(
    classification=CLASSIFICATIONS,
    metric=["acc", "accuracy", "ce", "crossentropy"],
    count=[1, 2],
)
def test_names_that_go_by_shape(classification, metric, count):
    labels, predictions, accuracy, entropy = CLASSIFICATIONS[classification]
    names = "pq"[:count]
    model = compiled(
        identities(predictions.shape[1:], names),
        loss="crossentropy",
        metrics=[metric] if count == 1 else [[metric], [metric]],
    )
    logs = model.test_on_batch(
        predictions, [labels] * count if count > 1 else labels, return_dict=True
    )
    value = accuracy if metric.startswith("acc") else entropy
    expected = {"loss": count * entropy}
    if count == 1:
        expected[metric] = value
    else:
        for name in names:
            expected |= {f"{name}_loss": entropy, f"{name}_{metric}": value}
    assert sorted(logs) == sorted(expected)
    for name, value in expected.items():
        assert logs[name] == pytest.approx(value, rel=1e-4), name


# The input 0 is masked. Predictions are 1 - x: they are 1 there, and so are
# the labels, so that every number would be another one without the mask.
MASKED_X = np.array([[0.1, 0.6, 0.0], [0.4, 0.0, 0.0]], "float32")[..., None]
MASKED_Y = np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]], "float32")[..., None]
# What counts: predictions 0.9, 0.4, 0.6 and labels 1, 1, 0.
MASKED = {
    # Of 0.9 and 0.6, which are above 0.5, one is right.
    "precision": (lambda: keras.metrics.Precision(name="metric"), 0.5),
    # Of the two that are there, one is found.
    "recall": (lambda: keras.metrics.Recall(name="metric"), 0.5),
    # Of the pairs (0.9, 0.6) and (0.4, 0.6), one is in order.
    "auc": (lambda: keras.metrics.AUC(name="metric"), 0.5),
    "rmse": (
        lambda: keras.metrics.RootMeanSquaredError(name="metric"),
        np.sqrt((0.1**2 + 0.6**2 + 0.6**2) / 3),
    ),
    # Both classes: 1 is predicted twice and there twice, once together: 1/3.
    # 0 is predicted once and there once, never together: 0.
    "binary_iou": (
        lambda: keras.metrics.BinaryIoU(name="metric"),
        (1 / 3 + 0.0) / 2,
    ),
    # The classes of predictions are what is left of the comma: all are 0.
    # 0 is predicted three times and there once: 1/3; 1 never together: 0.
    "mean_iou": (
        lambda: keras.metrics.MeanIoU(num_classes=2, name="metric"),
        (1 / 3 + 0.0) / 2,
    ),
    "true_positives": (
        lambda: keras.metrics.TruePositives(name="metric"),
        1.0,
    ),
    "mae": (
        lambda: keras.metrics.MeanAbsoluteError(name="metric"),
        (0.1 + 0.6 + 0.6) / 3,
    ),
}


def masked_heads(names):
    inputs = keras.Input((3, 1))
    masked = keras.layers.Masking(0.0)(inputs)
    outputs = [
        keras.layers.Dense(
            1,
            kernel_initializer=constant(-1.0),
            bias_initializer=constant(1.0),
            name=name,
        )(masked)
        for name in names
    ]
    return keras.Model(inputs, outputs if len(names) > 1 else outputs[0])


@cases(
    name=MASKED,
    heads=["p", "pq"],
    argument=["metrics", "weighted_metrics"],
    eager=[True, False],
    where=lambda name, heads, argument, eager: (
        (argument == "metrics") == (heads == "p") and (eager or heads == "p")
    ),
)
def test_masks(name, heads, argument, eager):
    make, expected = MASKED[name]
    metrics = [make()] if heads == "p" else {"q": [make()]}
    model = compiled(masked_heads(heads), eager=eager, **{argument: metrics})
    y = MASKED_Y if heads == "p" else [MASKED_Y, MASKED_Y]
    logs = model.test_on_batch(MASKED_X, y, return_dict=True)
    value = logs["metric" if heads == "p" else "q_metric"]
    assert value == pytest.approx(expected, abs=1e-4)


@cases(name=["precision", "mae"], eager=[True, False])
def test_masks_in_training(name, eager):
    make, expected = MASKED[name]
    model = compiled(masked_heads("p"), eager=eager, metrics=[make()])
    logs = train(model, MASKED_Y, x=MASKED_X)
    assert logs["metric"] == pytest.approx(expected, abs=1e-4)


@cases(name=["precision", "recall", "rmse", "binary_iou"])
def test_masks_and_sample_weights(name):
    """The second sample counts twice as much as the first."""
    make, _ = MASKED[name]
    # Weights 1, 1 and 2 for what counts.
    expected = {
        "precision": 1 / 3,
        "recall": 1 / 2,
        "rmse": np.sqrt((0.1**2 + 0.6**2 + 2 * 0.6**2) / 4),
        # 1: together 1, predicted 3, there 2; 0: together 0.
        "binary_iou": (1 / 4 + 0.0) / 2,
    }[name]
    model = compiled(masked_heads("p"), weighted_metrics=[make()])
    logs = model.test_on_batch(
        MASKED_X,
        MASKED_Y,
        sample_weight=np.repeat([1.0, 2.0], 3).reshape(2, 3, 1),
        return_dict=True,
    )
    assert logs["metric"] == pytest.approx(expected, abs=1e-4)


# 9. Callbacks.

WATCHERS = {
    "early_stopping": keras.callbacks.EarlyStopping,
    "reduce_lr": keras.callbacks.ReduceLROnPlateau,
    "checkpoint": keras.callbacks.ModelCheckpoint,
}
DIRECTIONS = {
    "val_loss": "less",
    "val_a_loss": "less",
    "a_loss": "less",
    "val_a_accuracy": "greater",
    "a_accuracy": "greater",
    "val_a_mae": "less",
}


@cases(watcher=WATCHERS, container=["list", "dict"])
def test_direction_of_what_callbacks_watch(watcher, container, tmp_path):
    watchers = {}
    for monitor in DIRECTIONS:
        arguments = {"monitor": monitor, "mode": "auto"}
        if watcher == "checkpoint":
            arguments["filepath"] = tmp_path / "saved.weights.h5"
            arguments["save_best_only"] = True
            arguments["save_weights_only"] = True
        watchers[monitor] = WATCHERS[watcher](**arguments)
    model = compiled(functional(container), metrics={"a": ["accuracy", "mae"]})
    y = pack(container, TWO_LABELS)
    model.fit(
        X,
        y,
        epochs=1,
        validation_data=(X, y),
        callbacks=list(watchers.values()),
        verbose=0,
    )
    for monitor, watcher in watchers.items():
        # Whether 0 is better than 1, or 1 better than 0.
        watcher._set_monitor_op()
        watcher.min_delta = 0
        low = bool(watcher._is_improvement(0.0, 1.0))
        high = bool(watcher._is_improvement(1.0, 0.0))
        expected = DIRECTIONS[monitor] == "less"
        assert (low, high) == (expected, not expected), monitor


@cases(monitor=["val_a_loss", "val_a_accuracy"])
def test_early_stopping_stops_in_the_right_direction(monitor):
    """Values 2, 1, 0: a loss improves; an accuracy does not."""
    model = compiled(functional("list"), metrics={"a": ["accuracy"]})
    train(model, [LABELS["z"], LABELS["a"]])
    watcher = keras.callbacks.EarlyStopping(monitor, patience=2)
    watcher.set_model(model)
    model.stop_training = False
    watcher.on_train_begin()
    for epoch, value in enumerate([2.0, 1.0, 0.0]):
        watcher.on_epoch_end(epoch, {monitor: value})
    assert model.stop_training == (monitor == "val_a_accuracy")
    assert watcher.best == (2.0 if monitor == "val_a_accuracy" else 0.0)
