"""What `tools/check_losses.py` says of stock Keras, of 3.6.0 and of the fork.

It must not complain of a model whose logs add up, and must name what is wrong
with all others. Which Keras has which defect was found without the tool: see
`compile_utils_test.py`, and the tables that `examples/before_after.py` makes.
On the grid of `parity_grid`, NumPy says of each model whether its logs add up.
"""

import json
import os
import subprocess
import sys
from contextlib import nullcontext as does_not_raise

import numpy as np
import pytest

import keras
from integration_tests.support import check_losses_cases as cases
from integration_tests.support import older_keras
from integration_tests.support import parity_grid

BACKEND = keras.backend.backend()
BATCHES = "each batch counts the same, so a short one counts too much"
SHORT = (
    "note: Yours balance; with a short last batch, 6 + 3 samples, they would"
)
ROUNDING = "note: Rounding alone may move `loss`"
SORTED = "the dict is not read by its keys"
UNKNOWN_KEY = "`loss_weights` has the key 'zz', which is no output's name"
HALF = "sums are kept in {}, and stop growing"
RANDOM = "refused: The model or its loss draws random numbers"
CUT = "takes no batch of 5 samples. With `cut_last_batch=False` none is tried"
ONLY_FIRST = "Of several losses of one output only the first is trained on"
SHARED = "The losses of 'output 0' and 'output 1' share the name `{}`"
WEIGHTED = "`{}_loss` holds the loss times its loss weight, {:g}"
OTHER_WEIGHTS = "not those that `compile` got: 1 and 1 here, 1 and {} there"
NO_TRAIN_STEP = "note: `OwnTrainStep.train_step` is the model's own"
OWN_AXIS = (
    "`mae_loss`: each batch counts by the first axis of this output alone"
)
MISALIGNED = "Sample weights weigh the wrong axis"
LAST_USE = "With JAX, some Keras counts only its last use"
BY_INPUTS = "`loss`: each batch counts by the first axis of its inputs"
METRIC = "`loss` is also the name of a metric"
# What Keras 3.6.0 itself says.
NO_VARIABLES = "TypeError: When providing the `loss_weights` argument"
NO_LISTS = "refused: For a model with multiple outputs"


def frozen(name):
    return f"The loss weight of {name} is a Variable, but"


def same(texts):
    """For a case in which all Keras are to be judged alike."""
    return {"fork": texts, "stock": texts, "3.6.0": texts}


# What is to be said of each case that is not simply balanced: of which Keras,
# and on which backend if it isn't the same on all. Which Keras has which
# defect was found without the tool.
TABLE = {
    # Of these nobody can say more: terms that cancel, or halves.
    "far_from_zero_in_bfloat16": same([ROUNDING]),
    "far_from_zero_in_float16": same([ROUNDING]),
    "predictions_in_bfloat16": same([ROUNDING]),
    "near_zero_by_cancellation": same([ROUNDING]),
    "added_losses_that_cancel": same([ROUNDING]),
    "heads_that_cancel": same([ROUNDING])
    | {"3.6.0": [ROUNDING, WEIGHTED.format("a", -1)]},
    # Labels, losses and weights are all swapped, and the labels alike.
    "dicts_of_heads_that_cancel": same([ROUNDING])
    | {
        "3.6.0": [
            ROUNDING,
            "`z_loss` holds the loss of 'a' times its loss weight, -1",
        ]
    },
    "one_variable_for_losses_that_cancel": same([ROUNDING])
    | {"3.6.0": [NO_VARIABLES]},
    # What Keras refuses itself.
    "array_of_weights": {
        "stock": ["refused: The truth value of an array"],
        "3.6.0": ["refused: The truth value of an array"],
    },
    # `AUC` with PyTorch: no fault of the losses.
    "metrics": {"3.6.0": {"torch": ["NotImplementedError: Cannot copy"]}},
    # What some get wrong.
    "one_variable_for_opposite_losses": {
        "stock": {"jax": [frozen("'z' and 'a'")]},
        "3.6.0": [NO_VARIABLES],
    },
    "negative_variable": {
        "stock": {"jax": [frozen("'z'")]},
        "3.6.0": [NO_VARIABLES],
    },
    "variable_weight": {
        "stock": {"jax": [frozen("'z'")]},
        "3.6.0": [NO_VARIABLES],
    },
    "swapped_variables": {
        "stock": {
            "tensorflow": [SORTED],
            "jax": [SORTED, frozen("'z'"), frozen("'a'")],
            "torch": [SORTED],
        },
        "3.6.0": [NO_VARIABLES],
    },
    "short_batch": {
        "stock": {"tensorflow": [f"`z_loss`, `a_loss`: {BATCHES}"]},
        "3.6.0": {"tensorflow": [f"`z_loss`, `a_loss`: {BATCHES}"]},
    },
    "tiny_short_batch": {
        "stock": {"tensorflow": [f"`z_loss`, `a_loss`: {BATCHES}"]},
        "3.6.0": {"tensorflow": [f"`z_loss`, `a_loss`: {BATCHES}"]},
    },
    "short_batch_in_bfloat16": {
        "stock": {"tensorflow": [f"`z_loss`, `a_loss`: {BATCHES}"]},
        "3.6.0": {"tensorflow": [f"`z_loss`, `a_loss`: {BATCHES}"]},
    },
    "weighted_logs": {
        "3.6.0": [WEIGHTED.format("z", 0.25), WEIGHTED.format("a", 10)]
    },
    "tiny_weighted_logs": {"3.6.0": [WEIGHTED.format("a", 10)]},
    "weight_near_one": {"3.6.0": [WEIGHTED.format("a", 1.03)]},
    "two_losses": {"stock": [ONLY_FIRST], "3.6.0": [NO_LISTS]},
    "two_losses_of_which_one_is_tiny": {
        "stock": [ONLY_FIRST],
        "3.6.0": [NO_LISTS],
    },
    "two_losses_of_one_of_two": {
        "stock": ["The 2 losses of 'a' share the name `a_loss`"],
        "3.6.0": [NO_LISTS],
    },
    "swapped_weights": {
        "stock": [f"`loss_weights`: {SORTED}"],
        "3.6.0": [f"`loss_weights`: {SORTED}", WEIGHTED.format("z", 10)],
    },
    "misspelt_weight": {
        "fork": ["refused: Invalid `loss_weights`"],
        "stock": [UNKNOWN_KEY, f"`loss_weights`: {SORTED}"],
        "3.6.0": [
            UNKNOWN_KEY,
            f"`loss_weights`: {SORTED}",
            WEIGHTED.format("z", 10),
        ],
    },
    "swapped_losses": {"3.6.0": [f"`loss`: {SORTED}"]},
    "swapped_labels": {"3.6.0": [f"`y`: {SORTED}"]},
    "misaligned_sample_weights": {
        "stock": [MISALIGNED],
        "3.6.0": [MISALIGNED],
    },
    "flat_output_with_sample_weights": {
        "stock": [MISALIGNED],
        "3.6.0": [MISALIGNED],
    },
    "one_of_three_without_a_loss": {"3.6.0": [WEIGHTED.format("mse", 2)]},
    "layer_used_twice": {"stock": {"jax": [LAST_USE]}},
    "same_names": {
        "stock": [SHARED.format("mse_loss")],
        "3.6.0": [SHARED.format("mse_loss")],
    },
    "same_names_of_objects": {
        "stock": [SHARED.format("mean_squared_error_loss")],
        "3.6.0": [SHARED.format("mean_squared_error_loss")],
    },
    "nested_outputs": {
        "3.6.0": ["losses of 'b/z' and 'c/a' and 'c/m' share the name"]
    },
    "metric_named_loss": {"stock": [METRIC], "3.6.0": [METRIC]},
    "told_other_weights": same([OTHER_WEIGHTS.format(0)]),
    "told_no_weights": same([OTHER_WEIGHTS.format(10)]),
    "told_weights_of_none": same(["1 and 10 here, 1 and 1 there"]),
    "graphs_of_several_sizes": {"stock": [BY_INPUTS], "3.6.0": [BY_INPUTS]},
    # TensorFlow's compiled step does not know any first axis.
    "nodes_and_graphs": {
        "stock": {
            "tensorflow": [f"`mse_loss`, `mae_loss`: {BATCHES}"],
            "jax": [OWN_AXIS],
            "torch": [OWN_AXIS],
        },
        "3.6.0": {
            "tensorflow": [f"`mse_loss`, `mae_loss`: {BATCHES}"],
            "torch": [OWN_AXIS],
        },
    },
    # Equally many count the same by their number, too.
    "nodes_of_equally_many_graphs": {
        "stock": {
            "tensorflow": [f"`mse_loss`: {BATCHES}", OWN_AXIS],
            "jax": [OWN_AXIS],
            "torch": [OWN_AXIS],
        },
        "3.6.0": {
            "tensorflow": [f"`mse_loss`: {BATCHES}", OWN_AXIS],
            "torch": [OWN_AXIS],
        },
    },
    "bfloat16": {
        "stock": [HALF.format("bfloat16")],
        "3.6.0": [HALF.format("bfloat16")],
    },
    # 600 batches of 6 samples, 3600 in all: float16 stops at 2048 samples, or
    # at a sum of 2048 times the smallest step.
    "float16": {"stock": {"jax": [HALF.format("float16")]}},
    "float16_with_a_short_batch": {
        "stock": [HALF.format("float16")],
        "3.6.0": [HALF.format("float16")],
    },
    # What can't be told.
    "own_train_step": same([NO_TRAIN_STEP]),
    "pairs": same([CUT]),
    "noise": same([RANDOM]),
    "noise_of_numpy": same([RANDOM]),
    "noise_in_the_loss": same([RANDOM]),
    "with_a_state": same([RANDOM]),
    "own_metrics": same(["refused: `OwnMetrics.metrics` is the model's own"]),
    "own_test_step": same(["`OwnTestStep.test_step` is the model's own"]),
    "own_result": same(["`OwnResult.get_metrics_result` is the model's own"]),
    "own_loss": same(["refused: `OwnLoss.compute_loss` is the model's own"]),
    "not_a_number": same(["refused: A loss is not finite"]),
}


def expected(case, keras_name):
    texts = TABLE.get(case, {}).get(keras_name, [])
    return texts.get(BACKEND, []) if isinstance(texts, dict) else texts


def taken_by_stock(config):
    """Leaves out forms of arguments that stock Keras mostly refuses."""
    return (
        parity_grid.is_valid(config)
        and config.loss_form in ("structure", "names", "list", "one")
        and config.loss_weights in ("none", "structure", "names", "list")
        and config.labels == "structure"
        and config.label_rank == "full"
        and config.sample_weight in ("none", "all", "structure", "column")
        and config.metrics in ("none", "structure")
    )


def pytest_generate_tests(metafunc):
    if "config" in metafunc.fixturenames:
        stock = metafunc.config.getoption("--stock")
        valid = taken_by_stock if stock else parity_grid.is_valid
        configs = parity_grid.covering(valid)
        metafunc.parametrize("config", configs, ids=range(len(configs)))


@pytest.fixture
def stock(request):
    return request.config.getoption("--stock")


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


def assert_says(case, keras_name, said):
    """Each text in one of what was said, and nothing said without one."""
    texts = expected(case, keras_name)
    for text in texts:
        assert any(text in one for one in said), (case, text, said)
    if BACKEND == "tensorflow" and keras_name != "fork":
        # These never hide anything, and are due wherever losses are logged.
        texts = [*texts, SHORT]
    for one in said:
        assert any(text in one for text in texts), (case, one)


@pytest.mark.parametrize("case", cases.ALL, ids=lambda c: c.__name__)
def test_says_what_is_wrong_and_never_cries_wolf(case, stock):
    keras_name = "stock" if stock else "fork"
    assert_says(case.__name__, keras_name, cases.said(case))


@pytest.mark.parametrize(
    "case",
    [
        cases.short_batch_if_it_were_one,
        cases.weights_of_timesteps_and_of_samples,
    ],
    ids=lambda c: c.__name__,
)
def test_a_short_batch_that_you_have_not_is_no_defect(case, stock):
    checked = case()
    assert checked.balanced
    assert "The losses balance." in str(checked)
    goes_wrong = stock and BACKEND == "tensorflow"
    assert len(checked.notes) == goes_wrong


def is_right(logs, expected):
    """Whether logged losses are those that NumPy gives; names may be others."""
    found = sorted(v for name, v in logs.items() if name.endswith("loss"))
    right = sorted(v for name, v in expected.items() if name.endswith("loss"))
    return found == pytest.approx(right, rel=1e-5, abs=1e-6)


def test_agrees_with_numpy_on_the_grid(config, stock):
    x, y, sample_weight = parity_grid.data(config)
    # Only TensorFlow's compiled step gets short batches wrong.
    model = parity_grid.model(
        keras, config, run_eagerly=not (stock and BACKEND == "tensorflow")
    )
    try:
        logs = model.evaluate(
            x,
            y,
            sample_weight=sample_weight,
            batch_size=config.batch_size,
            verbose=0,
            return_dict=True,
        )
    except Exception as error:
        if not stock:
            raise
        pytest.skip(f"stock Keras refuses it: {type(error).__name__}")
    checked = cases.check_losses(
        model,
        x,
        y,
        sample_weight,
        loss_weights=parity_grid.compile_arguments(keras, config)[
            "loss_weights"
        ],
        batch_size=config.batch_size,
        cut_last_batch=False,
    )
    expected = parity_grid.expected(config)["evaluate"]
    assert checked.balanced == is_right(logs, expected)
    # That the fork is right everywhere is tested in `keras2_parity_test.py`.
    assert checked.balanced or stock, checked.findings


def test_reports_what_should_have_been_logged(stock):
    # Predictions 0, labels 0, 0, 0, 0 and 10: the mean of squares is 20, the
    # mean of the batches' means (0 + 100) / 2.
    model = cases.heads("z", "a", kernel_initializer="zeros")
    y = np.array([[0.0], [0], [0], [0], [10]])
    x = np.zeros((5, 3))
    checked = cases.check(
        model,
        x,
        [y, y],
        loss=["mse", "mse"],
        loss_weights=[1, 10],
        batch_size=4,
    )
    right = {"z_loss": 20, "a_loss": 20, "loss": 220}
    assert checked.right == right
    if stock and BACKEND == "tensorflow":
        right = {"z_loss": 50, "a_loss": 50, "loss": 220}
    assert checked.logged == right


def test_explains_the_loss_of_one_output():
    # Kernel and x are 2 and 1: the predictions are 2 * 3 = 6, the labels 4.
    inputs = keras.Input((3,))
    outputs = cases.head(
        "a",
        kernel_initializer=keras.initializers.Constant(2),
        kernel_regularizer=keras.regularizers.L2(0.5),
    )(cases.AddsLoss()(inputs))
    checked = cases.check(
        keras.Model(inputs, outputs),
        np.ones((5, 3)),
        np.full((5, 1), 4.0),
        loss="mse",
    )
    assert checked.balanced
    # (6 - 4) ** 2, 0.5 * 3 * 2 ** 2, and 1 ** 2 + 0.5 * 1.
    assert checked.parts == {
        "loss functions": 4,
        "regularization": 6,
        "added by layers": 1.5,
    }
    assert checked.right == {"loss": 11.5}
    text = "`loss` is made of: loss functions 4, regularization 6, added by"
    assert text in str(checked)


def counted(monkeypatch, otherwise=None):
    """Counts the calls of `evaluate`; from the second on, does `otherwise`."""
    calls, evaluate = [], keras.Model.evaluate

    def counting(self, *arguments, **options):
        calls.append(self)
        if otherwise is not None and len(calls) > 1:
            raise otherwise
        return evaluate(self, *arguments, **options)

    monkeypatch.setattr(keras.Model, "evaluate", counting)
    return calls


def test_one_evaluate_is_enough_where_all_is_well(monkeypatch):
    calls = counted(monkeypatch)
    assert cases.lists(cut_last_batch=False).balanced
    assert len(calls) == 1


def test_rounding_of_a_sum_grows_with_its_length():
    tool = cases.tool
    check = tool._Check.__new__(tool._Check)
    check.in_half, check.sizes, check.batches = False, np.ones(1), []
    values = np.full(3000, 0.7, "float32")
    # As Keras sums: one after the other, in float32.
    logged = np.cumsum(values)[-1] / 3000
    assert abs(logged - 0.7) > 2e-5 * 0.7
    assert check.explain_average(values, logged, check.sizes) is None
    wrong = check.explain_average(values, 1.001 * logged, check.sizes)
    assert wrong is not None


class Stateful(keras.Model):
    """Everything that a forward pass may change."""

    def __init__(self, random=True):
        super().__init__()
        self.random = random
        self.recurrent = keras.layers.LSTM(4, stateful=True)
        self.normalization = keras.layers.BatchNormalization()
        self.noise = cases.Noise()
        self.head = keras.layers.Dense(1)

    def call(self, inputs):
        hidden = self.normalization(inputs, training=True)
        if self.random:
            hidden = self.noise(self.recurrent(hidden))
        return self.head(hidden[..., :1])

    def state(self):
        """By what a user sees, not by what `variables` says."""
        found = [
            *self.normalization.get_weights(),
            *self.head.get_weights(),
            *(self.recurrent.states if self.random else ()),
            self.noise.generator.state,
        ]
        return [np.array(keras.ops.convert_to_numpy(x)) for x in found]


@pytest.mark.parametrize(
    "random, otherwise",
    [
        (False, None),
        (True, None),
        (False, RuntimeError("broken")),
        (False, KeyboardInterrupt()),
    ],
    ids=["balanced", "refused", "error", "interrupted"],
)
def test_changes_nothing_in_the_model(monkeypatch, random, otherwise):
    model = Stateful(random)
    inputs = cases.random(6, 5, 3) + 1
    y = cases.random(*((6, 1) if random else (6, 5, 1)), seed=1)
    weight = keras.Variable(0.1, dtype="float64")
    model(inputs)
    model.compile("sgd", ["mse"], loss_weights=[weight], metrics=["mae"])
    model.test_on_batch(inputs, y)
    before = [*model.state(), keras.ops.convert_to_numpy(weight)]
    logs = model.get_metrics_result()
    counted(monkeypatch, otherwise)
    ending = otherwise or (ValueError("random numbers") if random else None)
    raises = pytest.raises(type(ending)) if ending else does_not_raise()
    with raises:
        cases.check_losses(model, inputs, y, loss_weights=[weight])
    after = [*model.state(), keras.ops.convert_to_numpy(weight)]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.get_metrics_result() == logs


def test_unlike_weights_are_asked_about():
    # The caller's error: the model was compiled with others.
    model = cases.heads("z", "a")
    model.compile("sgd", loss=["mse", "mse"], loss_weights=[1, 10])
    checked = cases.check_losses(
        model, cases.x(), cases.labels("z", "a"), loss_weights=[1, 3]
    )
    (finding,) = checked.findings
    assert "1 and 3 here, 1 and 10 there" in finding


# Today's JAX can't import Keras 3.6.0.
@pytest.mark.skipif(BACKEND == "jax", reason="JAX is too new for Keras 3.6.0")
def test_is_right_on_keras_3_6():
    answer = subprocess.run(
        [sys.executable, cases.__file__],
        env={
            **os.environ,
            "KERAS_BACKEND": BACKEND,
            "PYTHONPATH": str(older_keras.unpacked("3.6.0")),
        },
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    said = json.loads(answer.stdout.splitlines()[-1])
    assert list(said) == [case.__name__ for case in cases.ALL]
    for case, texts in said.items():
        assert_says(case, "3.6.0", texts)
