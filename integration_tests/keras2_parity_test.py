"""Keras, Keras 2 and NumPy log the same numbers, on a grid of settings.

Every number of `fit`, `evaluate`, `train_on_batch` and `test_on_batch` counts.
The grid is that of `parity_grid`: all values of any two settings meet in at
least one model; of any three, with `--thorough`. Keras 2 is there with
TensorFlow only. Where it is another, `keras2_differences` says why.
"""

import logging
import re

import pytest

import keras
from integration_tests.support import parity_grid
from integration_tests.support.keras2_differences import DIFFERENCES
from integration_tests.support.keras2_differences import PLAIN
from integration_tests.support.keras2_differences import has_same_order
from integration_tests.support.keras2_differences import is_comparable
from integration_tests.support.matching_models import logged_stems

# Float32 has 24 bits, so that each rounding is wrong by 6e-8 of what is added.
# A number comes from some dozens of them, of terms up to about 1; the furthest
# off were wrong by 5e-7.
RELATIVE, ABSOLUTE = 1e-5, 1e-6

KERAS_2_RUNS = keras.backend.backend() == "tensorflow"
if_keras2_runs = pytest.mark.skipif(
    not KERAS_2_RUNS, reason="Keras 2 runs with TensorFlow only"
)


def configs(thorough):
    """Those on which Keras 2 is to agree come first, then others."""
    strength = 3 if thorough else 2
    agreeing = parity_grid.covering(
        lambda c: parity_grid.is_valid(c) and is_comparable(c), strength
    )
    others = parity_grid.covering(strength=strength, done=agreeing)
    return agreeing + others


# Compiled steps count the samples of a batch when they run.
COMPILED = [
    PLAIN._replace(**changes, validation=True)
    for changes in (
        {"container": "dict", "losses": "classes", "l2": True},
        {"container": "single", "shape": "steps", "sample_weight": "steps"},
        {"losses": "binary", "sample_weight": "structure", "metrics": "names"},
        {"shape": "steps", "mask": "first", "batch_size": 8},
    )
]


def pytest_generate_tests(metafunc):
    if "config" in metafunc.fixturenames:
        chosen = configs(metafunc.config.getoption("thorough"))
        ids = ["-".join(map(str, config)) for config in chosen]
        metafunc.parametrize("config", chosen, ids=ids)


def ours(config):
    return parity_grid.logged(keras, config, run_eagerly=True)


def keras2(config, **kwargs):
    import tf_keras

    # It warns of what is on purpose here: no `weighted_metrics`, an output
    # without a loss.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logs = parity_grid.logged(tf_keras, config, **kwargs)
    if config.container != "nested_list":
        return logs
    # Keras 2 has no path in its names. Keras 3.15.1 has, and so have we.
    stem_of = logged_stems(config.container, parity_grid.HEADS)

    def renamed(name):
        val, head, rest = re.fullmatch("(val_)?([^_]*)(.*)", name).groups("")
        is_raw = rest.endswith("_loss") and head in stem_of
        return val + stem_of[head] + rest if is_raw else name

    return {
        method: {renamed(name): number for name, number in numbers.items()}
        for method, numbers in logs.items()
    }


def assert_same(logs, expected):
    """The same names and numbers, for each method."""
    assert list(logs) == list(expected)
    for method, numbers in expected.items():
        assert sorted(logs[method]) == sorted(numbers), method
        for name, number in numbers.items():
            assert float(logs[method][name]) == pytest.approx(
                float(number), rel=RELATIVE, abs=ABSOLUTE
            ), (method, name)


def test_grid(config):
    logs, expected = ours(config), parity_grid.expected(config)
    assert_same(logs, expected)
    if not (KERAS_2_RUNS and is_comparable(config)):
        return
    theirs = keras2(config, run_eagerly=True)
    assert_same(theirs, expected)
    assert_same(logs, theirs)
    if has_same_order(config):
        assert list(logs["evaluate"]) == list(theirs["evaluate"])


@pytest.mark.parametrize("setting", range(len(COMPILED)))
def test_compiled_reference(setting):
    config = COMPILED[setting]
    logs = parity_grid.logged(keras, config)
    assert_same(logs, parity_grid.expected(config))


@if_keras2_runs
@pytest.mark.parametrize("setting", range(len(COMPILED)))
def test_compiled_keras2(setting):
    assert is_comparable(COMPILED[setting])
    logs = keras2(COMPILED[setting])
    assert_same(logs, parity_grid.expected(COMPILED[setting]))


@pytest.mark.parametrize("name", DIFFERENCES)
def test_our_side_of_a_difference(name):
    difference = DIFFERENCES[name]
    if difference.refused:
        with pytest.raises(ValueError, match=difference.refused):
            ours(difference.example)
    else:
        expected = parity_grid.expected(difference.example)
        assert_same(ours(difference.example), expected)


@if_keras2_runs
@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_is_still_there(name):
    difference = DIFFERENCES[name]
    example = difference.example
    assert difference.refused or difference.applies(example)
    if difference.error:
        with pytest.raises(Exception) as raised:
            keras2(example, run_eagerly=True)
        assert type(raised.value).__name__ == difference.error
    elif difference.refused:
        assert keras2(example, run_eagerly=True)
    elif difference.is_order:
        theirs = keras2(example, run_eagerly=True)
        assert list(ours(example)["evaluate"]) != list(theirs["evaluate"])
    else:
        theirs = keras2(example, run_eagerly=True)
        with pytest.raises(AssertionError):
            assert_same(theirs, parity_grid.expected(example))
