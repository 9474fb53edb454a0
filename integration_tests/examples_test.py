"""The examples of moving loss weights do what they say, on each backend.

Each runs once, in a process of its own, as a user would run it. The numbers
that it logged at each step are then what its formulas say. And NumPy sums up
long epochs as the fork does.
"""

import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import keras
from integration_tests import before_after_test
from integration_tests.support import checkout_finder

EXAMPLES = pathlib.Path(checkout_finder.ROOT) / "examples"
# Epochs times batches, for each training.
STEPS = {
    "annealing": [12 * 12],
    "uncertainty_weighting": [15 * 12] * 2,
    "gradnorm": [10 * 12],
}
ENVIRONMENT = {
    **os.environ,
    # Where other tests use the other cores, more threads wait for each other.
    "OMP_NUM_THREADS": "1",
    # JAX takes longer to compile such small models than to train them.
    "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")
    + " --xla_backend_optimization_level=0",
}
# 1437 images in batches of 128: 11 are full, and the last one has 29.
SIZES = np.array([128] * 11 + [29])
# Of a step's own values, which are differences of averages over an epoch;
# `TOLERANCE` in `examples/books.py` has the reason.
ROUNDING = 1e-4


@pytest.fixture(scope="module")
def results(request, tmp_path_factory):
    """A function: what a script has written, and what it has printed."""
    folder = tmp_path_factory.mktemp("examples")
    stock = ["--stock"] if request.config.getoption("--stock") else []
    known = {}

    def run(name):
        if name not in known:
            file = folder / f"{name}.json"
            script = str(EXAMPLES / f"{name}.py")
            answer = subprocess.run(
                [sys.executable, checkout_finder.__file__, *stock, script]
                + ["--json", str(file)],
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
            )
            found = json.loads(file.read_text()) if file.exists() else None
            known[name] = answer, found
        answer, found = known[name]
        assert answer.returncode == 0, answer.stderr[-2000:]
        return found, answer.stdout

    return run


def column(steps, kind, name):
    return np.array([step[kind][name] for step in steps])


@pytest.mark.parametrize("name", STEPS)
def test_the_books_balance_at_each_step(name, results):
    found, printed = results(name)
    assert [len(steps) for steps in found["steps"]] == STEPS[name]
    for step in (step for steps in found["steps"] for step in steps):
        parts = [step["rest"]]
        for output, raw in step["raw"].items():
            parts.append(step["weights"][output] * raw)
        size = sum(map(abs, parts))
        assert abs(step["loss"] - sum(parts)) <= ROUNDING * size
    assert "The books balance" in printed


def test_annealed_weight(results):
    found, _ = results("annealing")
    # Grows for six of the twelve epochs.
    expected = np.minimum(1.0, np.arange(12 * 12) / (6 * 12))
    (steps,) = found["steps"]
    weights = column(steps, "weights", "kl")
    # Assigned as float32.
    np.testing.assert_allclose(weights, expected, rtol=1e-7)
    # Logged: the mean over samples, summed up in float32.
    by_epoch = expected.reshape(12, 12) @ SIZES / 1437
    np.testing.assert_allclose(
        found["logs"]["kl_weight"], by_epoch, rtol=12 * 6e-8
    )


def test_contributions_of_an_annealed_output(results):
    found, _ = results("annealing")
    logs = {name: np.array(found["logs"][name]) for name in found["logs"]}
    (steps,) = found["steps"]
    products = column(steps, "weights", "kl") * column(steps, "raw", "kl")
    expected = products.reshape(12, 12) @ SIZES / 1437
    np.testing.assert_allclose(logs["kl_contribution"], expected, rtol=ROUNDING)
    # Not the product of averages: in the first epoch, where the weight grows
    # while the raw loss moves, that is another number.
    first = logs["kl_weight"][0] * logs["kl_loss"][0]
    assert abs(first / expected[0] - 1) > 100 * ROUNDING
    # Both sums are of twelve batches in float32.
    np.testing.assert_allclose(
        logs["image_contribution"] + logs["kl_contribution"],
        logs["loss"],
        rtol=2 * 12 * 6e-8,
    )


FACTORS = {"digit": 1.0, "odd": 1.0, "image": 0.5}


def test_fixed_weights_are_fixed(results):
    found, _ = results("uncertainty_weighting")
    fixed = found["steps"][0]
    for step in fixed:
        assert step["weights"] == dict.fromkeys(FACTORS, 1.0)
        assert step["rest"] == 0.0


@pytest.mark.parametrize("name", FACTORS)
def test_log_variances_descend_the_gradient_of_the_paper(name, results):
    """Adam (Kingma and Ba 2015), step by step, from the logged raw losses."""
    found, _ = results("uncertainty_weighting")
    learned = found["steps"][1]
    factor, rate, scale = FACTORS[name], 0.002, 20.0
    s, mean, variance, expected = 0.0, 0.0, 0.0, []
    for step, raw in enumerate(column(learned, "raw", name), 1):
        expected.append(s)
        # Of factor * exp(-s) * raw + s / 2; what is trained is s / scale.
        gradient = scale * (0.5 - factor * math.exp(-s) * raw)
        mean = 0.9 * mean + 0.1 * gradient
        variance = 0.999 * variance + 0.001 * gradient**2
        unbiased = variance / (1 - 0.999**step)
        s -= scale * rate * (mean / (1 - 0.9**step)) / math.sqrt(unbiased)
    weights = column(learned, "weights", name)
    # Relative to the distance that 180 steps of scale * rate may go.
    np.testing.assert_allclose(
        -np.log(weights / factor), expected, atol=ROUNDING * 180 * scale * rate
    )
    assert found["log_variances"][name] == pytest.approx(
        s, abs=ROUNDING * 180 * scale * rate
    )


@pytest.mark.parametrize("name", FACTORS)
def test_log_variances_end_where_their_gradient_is_zero(name, results):
    """At 1/2 = factor * exp(-s) * raw, so s = log(2 * factor * raw)."""
    found, _ = results("uncertainty_weighting")
    raw = column(found["steps"][1][-12:], "raw", name) @ SIZES / 1437
    goal = math.log(2 * FACTORS[name] * raw)
    # Raw losses still fall, and differ between batches, by less than half:
    # the weight follows them to within a factor of 2. Where s starts, at 0, it
    # is further away.
    assert abs(found["log_variances"][name] - goal) < math.log(2)
    assert abs(goal) > math.log(2)


def test_gradnorm_goes_half_of_the_way_at_each_epoch(results):
    found, _ = results("gradnorm")
    first, weights = np.array(found["epochs"][0]["raw"]), np.ones(3)
    (steps,) = found["steps"]
    for index, epoch in enumerate(found["epochs"]):
        rates = np.array(epoch["raw"]) / first
        rates /= rates.mean()
        # With these weights, weight * norm / rate is the same for all.
        goal = rates / np.array(epoch["norm"])
        weights = (weights + 3 * goal / goal.sum()) / 2
        for step in steps[12 * index : 12 * (index + 1)]:
            # Assigned as float32, and so carried on to later epochs.
            np.testing.assert_allclose(
                list(step["weights"].values()), weights, rtol=1e-6
            )
            assert sum(step["weights"].values()) == pytest.approx(3, rel=1e-6)


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import books
    import gradnorm

    return {"books": books, "gradnorm": gradnorm}


@pytest.mark.parametrize(
    "output, raw, gradient",
    [
        # All logits are 0. Of the kernel of `digit`, only the column of the
        # label is k: the gradient in the code is k * (1/10 - 1).
        ("digit", math.log(10), 0.9),
        # k * (1/2 - 1)
        ("odd", math.log(2), 0.5),
        # 64 pixels of k * 2 * (1/2 - 0) / 64 * 1/4.
        ("image", 0.25, 0.25),
    ],
)
def test_gradient_norm_of_each_output(output, raw, gradient, modules):
    """All that the shared layer reads is 1, and so is what it returns."""
    k = 0.125
    ones, zeros = np.ones, np.zeros
    digit, odd, image = zeros((32, 10)), ones((32, 1)), ones((32, 64))
    digit[:, 0] = 1.0
    bias = zeros(10)
    bias[0] = 1.0
    labels = {
        "digit": zeros((2, 1)),
        "odd": ones((2, 1)),
        "image": zeros((2, 64)),
    }
    probe = modules["gradnorm"].Probe(zeros((2, 64)), labels)
    _, hidden, *_ = probe.model.layers
    hidden.set_weights([zeros((64, 96)), ones(96)])
    for name, kernel, offset in [
        ("shared", zeros((96, 32)), ones(32)),
        ("digit", k * digit, -32 * k * bias),
        ("odd", k * odd, -32 * k * ones(1)),
        ("image", k * image, -32 * k * ones(64)),
    ]:
        probe.model.get_layer(name).set_weights([kernel, offset])
    values = probe.model.get_weights()
    # Each of the 96 x 32 numbers of the shared kernel has that gradient. A
    # second time, since a measurement must leave nothing behind.
    for _ in range(2):
        found = probe.measure(values, output)
        expected = [raw, gradient * k * math.sqrt(96 * 32)]
        # Logarithms in float32, and a softmax or sigmoid.
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [2.5, 3.5, math.nan])
def test_books_that_do_not_balance(loss, modules):
    book = modules["books"].Books(1, ["a", "b"], None)
    step = {
        "weights": {"a": 1.0, "b": 0.5},
        "raw": {"a": 1.0, "b": 2.0},
        "rest": 1.0,
        "loss": 3.0,
    }
    console = modules["books"].Console(quiet=True)
    book.steps = [step]
    assert modules["books"].close(console, [book]) == 0
    book.steps = [step, {**step, "loss": loss}]
    assert modules["books"].close(console, [book]) == 1


def test_long_epochs_are_summed_up_as_the_fork_does():
    # Only the fork has it.
    from keras.src.trainers import raw_loss

    averages = before_after_test.load("long_epochs").averages(0.7, 32, 1000)
    mean, loss = raw_loss.LossMean("loss"), keras.ops.convert_to_tensor(0.7)
    for average in averages:
        raw_loss.record([mean], [loss], 32)
        assert float(keras.ops.convert_to_numpy(mean.result())) == average
