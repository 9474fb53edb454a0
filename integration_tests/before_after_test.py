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


def rows(row):
    """A row of the table of each backend, as cells."""
    what, _ = before_after.RIGHT[row]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for document in ("RELEASE_NOTES.md", "docs/before_after.md")
        for line in (ROOT / document).read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| {what} |")
    ]


@pytest.mark.parametrize("row", before_after.RIGHT)
def test_the_fork_is_right_in_every_table(row):
    # The columns of the tables: what was done, what is right, ..., the fork.
    _, right = before_after.RIGHT[row]
    assert [cells[-1] for cells in rows(row)] == [right] * 3


@pytest.mark.parametrize("row", before_after.RIGHT)
def test_backends_differ_as_the_release_notes_say(row):
    tensorflow, jax, torch = [cells[1:] for cells in rows(row)]
    if row == "short":
        assert set(torch) == {"171.4"}
    else:
        # TensorFlow alone has Keras 2.
        assert torch == [tensorflow[0], *tensorflow[2:]]
    assert jax == [torch[0], "does not import", *torch[2:]]
