"""Tests that the mutants are many, that they are mutants, and that some die."""

import os
import subprocess
import sys

import pytest

import keras
import pip_build
from integration_tests.support import mutation

# Of each kind one: the raw loss, the number of samples, a mask.
KILLED = (
    "compile_utils: values = replicas.unscale_losses",
    "raw_loss.batch_size: leaf.shape[0] -> (leaf.shape[-1])",
    "weighting.both: mask1 is None -> (False)",
)


@pytest.fixture(scope="module")
def mutants():
    return [m for path in mutation.MODULES for m in mutation.mutants_of(path)]


@pytest.mark.parametrize("path", mutation.MODULES)
def test_mutants_are_different_and_compile(mutants, path):
    found = [mutant for mutant in mutants if mutant.path == path]
    original = (mutation.ROOT / path).read_text(encoding="utf-8")
    # Most lines of some modules are text.
    assert len(found) >= original.count("\n") / 10
    assert len({mutant.name for mutant in found}) == len(found)
    assert len({original, *(m.source for m in found)}) == len(found) + 1
    for mutant in found:
        compile(mutant.source, path, "exec")


def test_each_mistake_by_hand_is_somewhere(mutants):
    operators = {mutant.operator for mutant in mutants}
    assert {name for name, _, _ in mutation.BY_HAND} <= operators


def test_equivalent_mutants_are_still_there(mutants):
    assert set(mutation.EQUIVALENT) <= {mutant.name for mutant in mutants}


@pytest.mark.skipif(
    os.environ.get(pip_build.BASE_VARIABLE) is not None,
    reason="on another base release, some tests fail without any change",
)
@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="mutants are put to tests on PyTorch first, whatever is set here",
)
def test_mutants_are_killed():
    command = [sys.executable, mutation.__file__, "--stages", "1"]
    answer = subprocess.run(
        [*command, "--only", *KILLED],
        capture_output=True,
        text=True,
    )
    # Had the tests failed without a change, it would say so instead.
    assert "3 mutants, 0 of them live." in answer.stdout, answer.stdout
    assert answer.returncode == 0
