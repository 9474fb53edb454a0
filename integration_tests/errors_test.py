"""What is refused, when, and in which words.

A table of things that a user may get wrong. Each must be refused before any
weight has changed, by an error that says which argument it is, what came and
what was expected. The outputs are those of `matching_models`: `z`, `a` and,
if there are three, `m`.
"""

from typing import Any
from typing import NamedTuple

import numpy as np
import pytest

import keras
from integration_tests.support.matching_models import KERNELS
from integration_tests.support.matching_models import LABELS
from integration_tests.support.matching_models import ROWS
from integration_tests.support.matching_models import SINGLE_MODELS
from integration_tests.support.matching_models import X
from integration_tests.support.matching_models import assert_logged
from integration_tests.support.matching_models import cases
from integration_tests.support.matching_models import compiled
from integration_tests.support.matching_models import fit
from integration_tests.support.matching_models import functional
from integration_tests.support.matching_models import kernels
from integration_tests.support.matching_models import pack
from integration_tests.support.matching_models import subclassed
from integration_tests.support.matching_models import train

Z, A, M = (LABELS[head] for head in "zam")
SHARES = np.ones((ROWS,), "float32")
NAMES = ("'z'", "'a'")
UNKNOWN = (KeyError, ValueError)


class Case(NamedTuple):
    """One mistake.

    Args:
        outputs: The container of the outputs and the heads, `"list za"`. A
            star stands before it if the model is a subclassed one.
        compile: Arguments of `compile`, or a function that makes them.
        words: What the error must hold.
        y: Labels, if not the right ones.
        sample_weight: Sample weights.
        errors: Types that the error must be of, all of them.
        at_compile: Whether `compile` can know already.
        rows: How many rows the batch has.
    """

    outputs: str
    compile: Any
    words: tuple
    y: Any = "right"
    sample_weight: Any = None
    errors: tuple = (ValueError,)
    at_compile: bool = False
    rows: int = ROWS


def bad_key(outputs, argument, value, names=NAMES):
    """A key `q` that is no output's name."""
    words = (f"`{argument}`", "q", *names)
    kwargs = {"loss": "mse", argument: value}
    return Case(outputs, kwargs, words, errors=UNKNOWN)


def bad_count(outputs, argument, value, names=NAMES):
    heads = outputs.split()[1]
    words = (f"`{argument}`", str(len(value)), str(len(heads)), *names)
    return Case(outputs, {"loss": "mse", argument: value}, words)


def bad_weight(value, *received):
    """Something that is no scalar where a loss weight belongs."""
    return Case(
        "list za",
        lambda: {"loss": "mse", "loss_weights": value()},
        ("`loss_weights`", "scalar", *received),
        at_compile=True,
    )


def bad_data(argument, value, *words, outputs="list za", errors=(ValueError,)):
    data = {"y" if argument == "y_true" else argument: value}
    words = (f"`{argument}`", *words)
    return Case(outputs, {"loss": "mse"}, words, errors=errors, **data)


def bad_name(argument, value, *words):
    return Case(
        "list za",
        lambda: {"loss": "mse"} | {argument: value()},
        (f"`{argument}`", *words),
        at_compile=True,
    )


def no_loss(value):
    """What `compile` takes, since a layer may add a loss; none does."""
    return Case("list za", lambda: {"loss": value()}, ("No loss to compute",))


def shared(make):
    """The same metric object twice."""
    return lambda: make(keras.metrics.MeanSquaredError(name="shared"))


def shared_by_both_lists():
    metric = keras.metrics.MeanSquaredError(name="shared")
    return {
        "loss": "mse",
        "metrics": {"z": metric},
        "weighted_metrics": {"a": metric},
    }


def difference(y_true, y_pred):
    return keras.ops.mean(y_true - y_pred)


TABLE = {
    # Keys that name no output.
    "loss_key_list": bad_key("list za", "loss", {"z": "mse", "q": "mse"}),
    "loss_key_tuple": bad_key("tuple za", "loss", {"q": "mse"}),
    "loss_key_dict": bad_key("dict za", "loss", {"z": "mse", "q": "mse"}),
    "loss_key_ordered": bad_key("ordered_dict za", "loss", {"q": "mse"}),
    "loss_key_nested": bad_key(
        "nested_dict za", "loss", {"b": {"q": "mse"}, "c": {"a": "mse"}}, ()
    ),
    # No key that could be shown.
    "loss_no_key_nested": Case(
        "nested_list zam", {"loss": [{}, "mse"]}, ("`loss`", "0 entries at '0'")
    ),
    "loss_key_single": bad_key("single z", "loss", {"q": "mse"}, ("'z'",)),
    "loss_key_subclassed": bad_key(
        "*dict za", "loss", {"z": "mse", "q": "mse"}
    ),
    "loss_keys_too_many": bad_key(
        "dict za", "loss", {"z": "mse", "a": "mse", "q": "mse"}
    ),
    "weight_key_list": bad_key("list za", "loss_weights", {"z": 1, "q": 2}),
    "weight_key_dict": bad_key("dict za", "loss_weights", {"z": 1, "q": 2}),
    "weight_key_alone": bad_key("dict za", "loss_weights", {"q": 2}),
    "weight_key_subclassed": bad_key(
        "*dict za", "loss_weights", {"z": 1, "q": 2}
    ),
    "weight_key_single": bad_key(
        "single z", "loss_weights", {"q": 2}, ("'z'",)
    ),
    "metric_key_list": bad_key("list za", "metrics", {"q": ["mae"]}),
    "metric_key_dict": bad_key("dict za", "metrics", {"z": "mae", "q": "mae"}),
    "metric_key_single": bad_key("single z", "metrics", {"q": "mae"}, ("'z'",)),
    "weighted_metric_key": bad_key(
        "dict za", "weighted_metrics", {"q": ["mae"]}
    ),
    "label_key_list": bad_data(
        "y_true", {"z": Z, "q": A}, "q", *NAMES, errors=UNKNOWN
    ),
    "label_key_dict": bad_data(
        "y_true", {"z": Z, "q": A}, "q", *NAMES, outputs="dict za"
    ),
    "label_keys_all_wrong": bad_data(
        "y_true", {"p": Z, "q": A}, "p", *NAMES, outputs="dict za"
    ),
    "label_keys_too_many": bad_data(
        "y_true", {"z": Z, "a": A, "q": A}, "q", *NAMES
    ),
    "label_keys_subclassed": bad_data(
        "y_true", {"z": Z, "q": A}, "q", *NAMES, outputs="*dict za"
    ),
    "label_key_single": bad_data(
        "y_true", {"q": Z}, "q", "'z'", outputs="single z"
    ),
    "label_key_with_metric_only": Case(
        "list za",
        {"loss": {"z": "mse"}, "metrics": {"a": "mae"}},
        ("`y_true`", "q", *NAMES),
        y={"z": Z, "q": A},
    ),
    "sample_weight_key_list": bad_data(
        "sample_weight", {"q": SHARES}, "q", *NAMES, errors=UNKNOWN
    ),
    "sample_weight_key_dict": bad_data(
        "sample_weight",
        {"z": SHARES, "q": SHARES},
        "q",
        *NAMES,
        outputs="dict za",
        errors=UNKNOWN,
    ),
    "names_for_outputs_without_names": bad_data(
        "y_true", {"z": Z, "a": A}, "names", outputs="*list za"
    ),
    # Counts.
    "losses_too_few": bad_count("list zam", "loss", ["mse", "mse"]),
    "losses_too_few_tuple": bad_count("list zam", "loss", ("mse", "mse")),
    "losses_too_few_dict_outputs": bad_count(
        "dict zam", "loss", ["mse", "mse"]
    ),
    "losses_too_few_subclassed": bad_count(
        "*list zam", "loss", ["mse", "mse"], ()
    ),
    "losses_too_many": bad_count("list za", "loss", ["mse", "mse", "mse"]),
    "losses_one": bad_count("list za", "loss", ["mse"]),
    "weights_too_few": bad_count("list zam", "loss_weights", [1, 2]),
    "weights_too_many": bad_count("list za", "loss_weights", [1, 2, 3]),
    "weights_too_many_tuple": bad_count("tuple za", "loss_weights", (1, 2, 3)),
    "weights_too_many_array": bad_count(
        "dict za", "loss_weights", np.array([1.0, 2.0, 3.0])
    ),
    "weights_for_a_single_output": Case(
        "single z",
        {"loss": "mse", "loss_weights": np.array([1.0, 2.0, 3.0])},
        ("`loss_weights`", "3", "1"),
    ),
    "weights_for_two_losses": Case(
        "single z",
        {"loss": ["mse", "mae"], "loss_weights": [1, 2, 3]},
        ("`loss_weights`", "3", "2"),
    ),
    "metrics_too_many": bad_count("list za", "metrics", [["mae"]] * 3),
    "metrics_too_few": bad_count("list zam", "metrics", ["mae", "mae"]),
    "weighted_metrics_too_many": bad_count(
        "dict za", "weighted_metrics", [["mae"]] * 3
    ),
    "labels_too_many": bad_data("y_true", [Z, A, M], "3", "2", *NAMES),
    "labels_too_few": bad_data("y_true", [Z], "1", "2", *NAMES),
    "labels_too_few_of_three": bad_data(
        "y_true", (Z, A), "2", "3", *NAMES, "'m'", outputs="list zam"
    ),
    "labels_too_many_dict_outputs": bad_data(
        "y_true", (Z, A, M), "3", "2", *NAMES, outputs="dict za"
    ),
    "labels_for_a_single_output": bad_data(
        "y_true", [Z, A], "2", "'z'", outputs="single z"
    ),
    "sample_weights_too_many": bad_data(
        "sample_weight", (SHARES,) * 3, "3", "2", *NAMES
    ),
    "labels_for_losses_but_not_for_metrics": Case(
        "list zam",
        {"loss": [None, "mse", "mse"], "metrics": {"z": "mae", "m": "mae"}},
        ("`y_true`", "metric", "'z'"),
        y=[A, M],
    ),
    # Containers where there are none, or others.
    "labels_too_deep": bad_data(
        "y_true", {"z": {"w": Z}, "a": A}, "w", "'z'", outputs="dict za"
    ),
    "labels_list_in_a_list": bad_data("y_true", [[Z, A], A], *NAMES),
    "loss_too_deep": Case(
        "dict za",
        {"loss": {"z": {"w": "mse"}, "a": "mse"}},
        ("`loss`", "w", "'z'"),
    ),
    "losses_of_unknown_order": Case(
        "*dict za", {"loss": ["mse", "mae"]}, ("`loss`", "order", *NAMES)
    ),
    "labels_of_unknown_order": bad_data(
        "y_true", (Z, A), "order", *NAMES, outputs="*dict za"
    ),
    "weights_of_unknown_order": Case(
        "*dict za",
        {"loss": "mse", "loss_weights": [1, 2]},
        ("`loss_weights`", "order", *NAMES),
    ),
    "metrics_of_unknown_order": Case(
        "*dict za",
        {"loss": "mse", "metrics": ["mae", "mse"]},
        ("`metrics`", "order", *NAMES),
    ),
    # Loss weights that are no scalars.
    "weight_array_per_output": bad_weight(
        lambda: {"z": np.array([[1.0, 2.0, 3.0]]), "a": 1.0}, "(1, 3)"
    ),
    "weight_string": bad_weight(lambda: {"z": "2", "a": 1.0}, "'2'"),
    "weight_strings": bad_weight(lambda: ["high", 1.0], "'high'"),
    "weight_complex": bad_weight(lambda: [1j, 1.0], "1j"),
    "weight_complex_alone": bad_weight(lambda: 2j, "2j"),
    "weight_nested_array": bad_weight(lambda: np.ones((2, 1)), "(2, 1)"),
    "weight_vector_variable": bad_weight(
        lambda: keras.Variable([1.0, 2.0]), "(2,)"
    ),
    "weight_function": bad_weight(lambda: [difference, 1.0], "function"),
    "weights_in_lists": Case(
        "list za",
        {"loss": "mse", "loss_weights": [[1.0, 2.0], 1.0]},
        ("`loss_weights`", "2", "1"),
    ),
    "weight_array_of_an_output": Case(
        "dict za",
        {"loss": "mse", "loss_weights": {"z": np.array([1.0, 2.0, 3.0])}},
        ("`loss_weights`", "3", "1"),
    ),
    # Things that are no losses or metrics.
    "unknown_loss": bad_name("loss", lambda: "msee", "'msee'"),
    "unknown_loss_of_an_output": bad_name(
        "loss", lambda: {"z": "mse", "a": "msee"}, "'msee'"
    ),
    "number_as_loss": bad_name("loss", lambda: ["mse", 3], "3"),
    "unknown_metric": bad_name("metrics", lambda: {"z": ["maee"]}, "maee"),
    "unknown_weighted_metric": bad_name(
        "weighted_metrics", lambda: ["mae", "maee"], "maee"
    ),
    "number_as_metric": bad_name("metrics", lambda: [3, "mae"], "3"),
    "metrics_not_in_a_container": bad_name("metrics", lambda: "mae", "list"),
    "no_loss_list": no_loss(lambda: [None, None]),
    "no_loss_dict": no_loss(lambda: {"z": None, "a": None}),
    "no_loss_empty": no_loss(dict),
    "shared_metric_list": bad_name(
        "metrics", shared(lambda metric: [metric, metric]), "shared"
    ),
    "shared_metric_dict": bad_name(
        "metrics", shared(lambda m: {"z": [m], "a": ["mae", m]}), "shared"
    ),
    "shared_metric_of_one_output": bad_name(
        "metrics", shared(lambda m: {"z": [m, m]}), "shared"
    ),
    "shared_metric_both_lists": Case(
        "list za", shared_by_both_lists, ("metrics", "shared"), at_compile=True
    ),
    # Labels that are not there.
    "no_labels": bad_data("y_true", None, "None", *NAMES),
    "no_labels_dict": bad_data(
        "y_true", None, "None", *NAMES, outputs="dict za"
    ),
    "no_labels_single": bad_data("y_true", None, "None", outputs="single z"),
    "no_label_list": bad_data("y_true", [None, A], "None", *NAMES),
    "no_label_dict": bad_data(
        "y_true", {"z": None, "a": A}, "None", *NAMES, outputs="dict za"
    ),
    "no_label_key": bad_data("y_true", {"a": A}, "'z'"),
    "no_label_key_dict": bad_data("y_true", {"a": A}, "'z'", outputs="dict za"),
    "no_label_for_a_metric": Case(
        "list za",
        {"loss": [None, "mse"], "metrics": {"z": ["mae"]}},
        ("`y_true`", "metric", "'z'"),
        y=[None, A],
    ),
    # No data.
    "no_samples": Case("list za", {"loss": "mse"}, ("samples", "0"), rows=0),
    "no_samples_dict": Case(
        "dict za", {"loss": "mse"}, ("samples", "0"), rows=0
    ),
    "no_samples_single": Case(
        "single z", {"loss": "mse"}, ("samples", "0"), rows=0
    ),
}


def build(outputs):
    container, heads = outputs.split()
    if container == "single":
        return SINGLE_MODELS["functional"](heads)
    if container.startswith("*"):
        return subclassed(container[1:], heads)
    return functional(container, heads)


def right_labels(outputs):
    container, heads = outputs.strip("*").split()
    if container == "single":
        return LABELS[heads]
    return pack(container, {head: LABELS[head] for head in heads})


def assert_untouched(model, outputs):
    heads = outputs.split()[1]
    assert kernels(model) == {head: KERNELS[head] for head in heads}
    # `compile` leaves a model that it refuses as it was: without an optimizer.
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        assert int(optimizer.iterations) == 0


def assert_says(error, case):
    for error_type in case.errors:
        assert isinstance(error, error_type)
    for word in case.words:
        assert word in str(error)
    # A `KeyError` would show its message on one line.
    assert "\\n" not in str(error)


def can_be_fitted(name, method):
    return method == "train_on_batch" or TABLE[name].rows > 0


@cases(name=TABLE, method=["train_on_batch", "fit"], where=can_be_fitted)
def test_errors(name, method):
    case = TABLE[name]
    model = build(case.outputs)
    y = right_labels(case.outputs) if isinstance(case.y, str) else case.y
    if case.rows == 0:
        y = keras.tree.map_structure(lambda labels: labels[:0], y)
    arguments = case.compile() if callable(case.compile) else case.compile

    is_compiled = False
    with pytest.raises(Exception) as caught:
        compiled(model, eager=method == "train_on_batch", **arguments)
        is_compiled = True
        if method == "train_on_batch":
            train(model, y, case.sample_weight, x=X[: case.rows])
        elif case.sample_weight is not None:
            # The adapter for arrays has rules of its own for these.
            fit(model, "generator", y, case.sample_weight)
        else:
            fit(model, "arrays", y)
    assert_says(caught.value, case)
    assert not (is_compiled and case.at_compile)
    assert_untouched(model, case.outputs)


DATA_CASES = [
    name
    for name, case in TABLE.items()
    if not isinstance(case.y, str) or case.sample_weight is not None
]


@cases(name=DATA_CASES, eager=[True, False])
def test_a_wrong_batch_between_right_ones(name, eager):
    """It is refused however many right ones came before; nothing stays."""
    case = TABLE[name]
    model = build(case.outputs)
    compiled(model, eager=eager, learning_rate=0.0, **case.compile)
    right = right_labels(case.outputs)
    expected = train(model, right)
    y = right if isinstance(case.y, str) else case.y
    with pytest.raises(Exception) as caught:
        train(model, y, case.sample_weight)
    assert_says(caught.value, case)
    assert int(model.optimizer.iterations) == 1
    assert_logged(train(model, right), expected)
