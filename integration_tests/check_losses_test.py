"""What `tools/check_losses.py` says of stock Keras, of 3.6.0 and of the fork.

It must not complain of a model whose logs add up, and must name what is wrong
with all others. Which Keras has which defect was found without the tool: see
`compile_utils_test.py`, and the tables that `examples/before_after.py` makes.
On the grid of `parity_grid`, NumPy says of each model whether its logs add up.
"""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import keras
from integration_tests.support import check_losses_cases as cases
from integration_tests.support import older_keras
from integration_tests.support import parity_grid

BACKEND = keras.backend.backend()
BATCHES = "each batch counts the same, so a short one counts too much"
SORTED = "the dict is not read by its keys"
UNKNOWN_KEY = "`loss_weights` has the key 'zz', which is no output's name"
# What stock Keras 3.15.1 gets wrong, and where it does: (backends, texts).
EVERYWHERE = ("tensorflow", "jax", "torch")
STOCK = {
    "short_batch": (("tensorflow",), [f"`z_loss`, `a_loss`: {BATCHES}"]),
    "weighted_logs": ((), []),
    "weight_near_one": ((), []),
    "two_losses": (EVERYWHERE, ["only the first is trained on"]),
    "two_losses_of_one_of_two": (EVERYWHERE, ["share the name `a_loss`"]),
    "swapped_weights": (EVERYWHERE, [f"`loss_weights`: {SORTED}"]),
    "misspelt_weight": (
        EVERYWHERE,
        [UNKNOWN_KEY, f"`loss_weights`: {SORTED}"],
    ),
    "swapped_losses": ((), []),
    "swapped_labels": ((), []),
    "misaligned_sample_weights": (EVERYWHERE, ["weigh timesteps, not samples"]),
    "same_names": (
        EVERYWHERE,
        ["`mse_loss` holds the loss of 'output 1'", "is hidden by another"],
    ),
    "nested_outputs": ((), []),
    "variable_weight": (("jax",), ["weight of 'z' is a Variable"]),
    "bfloat16": (EVERYWHERE, ["sums are kept in bfloat16, and stop growing"]),
}
# What Keras 3.6.0 gets wrong with TensorFlow, if it takes such models at all.
KERAS_3_6 = {
    "short_batch": [f"`z_loss`, `a_loss`: {BATCHES}"],
    "weighted_logs": [
        "`z_loss` holds the loss times its loss weight, 0.25",
        "`a_loss` holds the loss times its loss weight, 10",
    ],
    "weight_near_one": ["`a_loss` holds the loss times its loss weight, 1.03"],
    "swapped_weights": [
        f"`loss_weights`: {SORTED}",
        "`z_loss` holds the loss times its loss weight, 10",
    ],
    "swapped_losses": [f"`loss`: {SORTED}"],
    "swapped_labels": [f"`y`: {SORTED}"],
    "misaligned_sample_weights": ["weigh timesteps, not samples"],
    "nested_outputs": [
        "losses of 'b/z' and 'c/a' and 'c/m' share the name `mse_loss`"
    ],
}
# Without the cases that differ in nothing that 3.6.0 does otherwise.
BALANCED_ON_3_6 = (
    "one_output",
    "dicts",
    "without_a_loss",
    "regularized",
    "added_losses",
    "weights_for_each_output",
    "masked",
    "dropout_and_batch_normalization",
    "metrics",
    "own_function",
    "subclassed",
)


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


def assert_each_is_found(findings, texts):
    """Each text in a finding of its own kind, and no finding without one."""
    for text in texts:
        assert any(text in finding for finding in findings), (text, findings)
    for finding in findings:
        assert any(text in finding for text in texts), finding


@pytest.mark.parametrize("case", cases.BALANCED, ids=lambda c: c.__name__)
def test_never_cries_wolf(case, stock):
    # Short batches are what stock Keras gets wrong with TensorFlow.
    goes_wrong = stock and BACKEND == "tensorflow"
    checked = case(cut_last_batch=not goes_wrong)
    assert checked.findings == []
    assert checked.balanced
    assert "The losses balance." in str(checked)


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


@pytest.mark.parametrize("case", cases.DEFECTS, ids=lambda c: c.__name__)
def test_names_the_defect(case, stock):
    backends, texts = STOCK[case.__name__]
    if not stock and case is cases.misspelt_weight:
        with pytest.raises(ValueError, match="zz"):
            case()
        return
    goes_wrong = stock and BACKEND in backends
    assert_each_is_found(case().findings, texts if goes_wrong else [])


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


def test_changes_nothing_in_the_model():
    inputs = keras.Input((3,))
    hidden = keras.layers.BatchNormalization()(inputs)
    hidden = keras.layers.Dropout(0.5)(hidden)
    model = keras.Model(inputs, [cases.head("z")(hidden)])
    weight = keras.Variable(3.0)
    before = [np.array(v) for v in model.get_weights()]
    cases.check(
        model, cases.x(), cases.labels("z"), loss=["mse"], loss_weights=[weight]
    )
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert float(keras.ops.convert_to_numpy(weight)) == 3.0


class Noise(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(0)

    def call(self, inputs):
        shape = keras.ops.shape(inputs)
        return inputs + keras.random.normal(shape, seed=self.generator)


class OwnLoss(keras.Model):
    def compute_loss(self, *args, **kwargs):
        return 2 * super().compute_loss(*args, **kwargs)


def noisy():
    inputs = keras.Input((3,))
    return keras.Model(inputs, cases.head("a")(Noise()(inputs)))


def own_loss():
    inputs = keras.Input((3,))
    return OwnLoss(inputs, cases.head("a")(inputs))


def not_a_number():
    return cases.heads(
        "a", bias_initializer=keras.initializers.Constant(np.nan)
    )


@pytest.mark.parametrize(
    "model, text",
    [
        (noisy, "random numbers"),
        (own_loss, "`OwnLoss.compute_loss` is the model's own"),
        (not_a_number, "not finite"),
    ],
)
def test_says_so_if_it_cannot_tell(model, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        cases.check(model(), cases.x(), *cases.labels("a"), loss="mse")


def test_unlike_weights_are_not_explained_away():
    # The caller's error: the model was compiled with others.
    model = cases.heads("z", "a")
    model.compile("sgd", loss=["mse", "mse"], loss_weights=[1, 10])
    checked = cases.check_losses(
        model,
        cases.x(),
        cases.labels("z", "a"),
        loss_weights=[1, 3],
        cut_last_batch=False,
    )
    (finding,) = checked.findings
    assert "No known defect explains it" in finding


@pytest.fixture(scope="module")
def findings_of_3_6():
    chosen = [*BALANCED_ON_3_6, *KERAS_3_6]
    answer = subprocess.run(
        [sys.executable, cases.__file__, *chosen],
        env={
            **os.environ,
            "KERAS_BACKEND": BACKEND,
            "PYTHONPATH": str(older_keras.unpacked("3.6.0")),
        },
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(answer.stdout.splitlines()[-1])


# Today's JAX can't import Keras 3.6.0, and PyTorch has nothing to add.
@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="Keras 3.6.0 is run on TensorFlow only"
)
def test_is_right_on_keras_3_6(findings_of_3_6):
    assert len(findings_of_3_6) == len(BALANCED_ON_3_6) + len(KERAS_3_6)
    for name, findings in findings_of_3_6.items():
        assert_each_is_found(findings, KERAS_3_6.get(name, []))
