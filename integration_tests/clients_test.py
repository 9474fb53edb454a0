"""Public packages, as they are installed from the index, go on working.

What they do is in `clients_cases.py`, which runs on stock Keras and on the fork
in a process of its own. All models are linear with known kernels, so that the
numbers can be found by hand.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from integration_tests.support import checkout_finder
from integration_tests.support import clients
from integration_tests.support import clients_cases

SCRIPT = (
    checkout_finder.ROOT / "integration_tests" / "support" / "clients_cases.py"
)


@pytest.fixture(scope="module")
def folder():
    return clients.installed()


@pytest.fixture(scope="module", params=["stock", "fork"])
def found(request, folder):
    """What all cases found on one of the two."""
    stock = request.param == "stock"
    if request.config.getoption("--stock") and not stock:
        pytest.skip("the fork is not under test")
    answer = subprocess.run(
        [
            sys.executable,
            checkout_finder.__file__,
            *(["--stock"] if stock else []),
            SCRIPT,
            folder,
        ],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    return json.loads(answer.stdout.splitlines()[-1])


def result(found, case):
    assert "error" not in found[case], found[case]["error"]
    return found[case]


def approx(expected):
    return pytest.approx(expected, rel=1e-4)


def test_softadapt(found):
    a, b, weights = 2.0, 3.0, np.array([1.0, 1.0])
    raw, totals = [], []
    for epoch in range(4):
        raw.append([a, b**2])
        totals.append(float(weights @ raw[-1]))
        a -= 0.125 * weights[0]
        b -= 0.125 * weights[1] * 2 * b
        if epoch:
            # The softmax of 0.1 x the last slope of each raw loss.
            slopes = np.exp(0.1 * (np.array(raw[-1]) - raw[-2]))
            weights = slopes / np.sum(slopes)
    case = result(found, "softadapt")
    assert case["history"] == {
        "loss": approx(totals),
        "a_loss": approx([each[0] for each in raw]),
        "b_loss": approx([each[1] for each in raw]),
    }
    assert case["weights"] == approx(list(weights))
    assert case["kernels"] == approx([a, b])


def perplexity(weights):
    """e to the mean crossentropy of the tokens that are not 0."""
    following = np.array(clients_cases.FOLLOWING)
    chosen = clients_cases.PROBABILITIES[clients_cases.TOKENS, following]
    weights = weights * (following != 0)
    return float(np.exp(np.sum(weights * -np.log(chosen)) / np.sum(weights)))


def test_perplexity(found):
    case = result(found, "perplexity")
    plain = perplexity(np.ones((2, 3)))
    assert case["history"]["perplexity"] == approx([plain])
    assert case["history"]["weighted"] == approx([plain])
    assert case["plain"]["perplexity"] == approx(plain)
    assert case["plain"]["weighted"] == approx(plain)
    # The loss, for one batch, is the mean over the same tokens.
    assert case["plain"]["loss"] == approx(np.log(plain))
    weighted = perplexity(np.array(clients_cases.SAMPLE_WEIGHTS))
    assert case["weighted"]["perplexity"] == approx(plain)
    assert case["weighted"]["weighted"] == approx(weighted)


def test_keras_tuner(found):
    case = result(found, "keras_tuner")
    # The mean absolute error of x = 2, whatever the other output weighs.
    assert case["scores"] == {"4.0": approx(8.0), "1.0": approx(2.0)}
    assert case["best"] == 1.0


def test_scikeras(found):
    case = result(found, "scikeras")
    # (2^2 + 6^2) / 2 and (2 + 6) / 2.
    assert case["history"] == {
        "loss": [approx(20.0)],
        "mean_absolute_error": [approx(4.0)],
    }
    assert case["predictions"] == approx([2.0, 6.0])
    assert case["message"].startswith("No valid loss function found.")


def test_autokeras(found):
    case = result(found, "autokeras")
    assert case["losses"] == [None, None]
    np.testing.assert_allclose(case["predictions"], np.ones((2, 2, 1)), 1e-4)
    # Predicted 1 where 3 is right.
    assert case["loss"] == approx(4.0)
    assert case["mae"] == approx(2.0)
    assert case["list"] == approx([4.0, 2.0])
