"""The tables of the documents: the fork's column, and how they are put in."""

import importlib.util
import pathlib

import pytest

import keras

ROOT = pathlib.Path(__file__).resolve().parent.parent


def load(name):
    """A script of `examples/`, which is no package."""
    file = ROOT / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


before_after = load("before_after")


@pytest.fixture(autouse=True)
def same_floatx():
    floatx = keras.config.floatx()
    yield
    keras.config.set_floatx(floatx)


@pytest.mark.parametrize("row", before_after.RIGHT)
def test_is_right_in_each_row(row):
    _, right = before_after.RIGHT[row]
    assert before_after.Models(keras).number(row) == right


@pytest.mark.parametrize("document", before_after.DOCUMENTS)
def test_documents_hold_every_table_that_is_measured(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for name in before_after.DOCUMENTS[document]:
        changed = before_after.put(text, name, "| new |")
        assert changed.count("| new |") == 1
        # What was there is gone, and nothing else.
        begin = changed.index("| new |")
        assert changed[:begin] == text[:begin]
        assert text.endswith(changed[begin + len("| new |") :])


def test_a_table_without_a_place_is_an_error():
    with pytest.raises(ValueError, match="0 times"):
        before_after.put("no marks\n", "history", "| new |")


def test_the_fork_is_right_in_every_table():
    # The columns of the tables: what was done, what is right, ..., the fork.
    text = (ROOT / "RELEASE_NOTES.md").read_text(encoding="utf-8")
    for what, right in before_after.RIGHT.values():
        found = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines()
            if line.startswith(f"| {what} |")
        ]
        assert [cells[-1] for cells in found] == [right] * 3
