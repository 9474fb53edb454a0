"""What the README shows of its commands, and how it gets there."""

import pathlib
import re
import textwrap

import pytest

from integration_tests import before_after_test

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
DOCUMENTS += [ROOT / "guides" / "reading_losses.py"]
readme_runs = before_after_test.load("readme_runs")


def test_epochs_in_between_are_left_out():
    printed = textwrap.dedent("""\
        a line of the backend's
        Training on tensorflow ...
        epoch  1/12  loss 3.9
        epoch  2/12  loss 2.4
        epoch 11/12  loss 0.5
        epoch 12/12  loss 0.4
        │     2 │ in a table, with a space at its end \n
        """)
    run = readme_runs.RUNS["train"]
    assert readme_runs.shown(printed, run.begin, run.without) == (
        "```\n"
        "Training on tensorflow ...\n"
        "epoch  1/12  loss 3.9\n"
        "...\n"
        "epoch 12/12  loss 0.4\n"
        "│     2 │ in a table, with a space at its end\n"
        "```"
    )


def test_rows_in_between_are_left_out_with_their_lines():
    rows = ["│     1 │ a", "├──", "│     9 │ a", "├──", "│    10 │ a", "└──"]
    run = readme_runs.RUNS["gradnorm"]
    text = readme_runs.shown("\n".join(rows), "│", run.without)
    assert text.splitlines()[1:-1] == [rows[0], "...", *rows[4:]]


def test_output_without_its_first_line_is_an_error():
    with pytest.raises(ValueError, match="No line begins with 'Training on'"):
        readme_runs.shown("Traceback: no Training on\n", "Training on", "(?!)")


def test_the_documents_have_a_place_for_each_run():
    shown = [name for name, run in readme_runs.RUNS.items() if run.begin]
    for name in shown:
        text = readme_runs.document_of(name).read_text(encoding="utf-8")
        changed = readme_runs.before_after.put(
            text, name, "new", readme_runs.COMMAND
        )
        # Begins where it was cut, so that the next run can be put in, too.
        (block,) = re.findall(
            rf"<!-- {name}: .*?-->\n\n(.*?)\n\n<!-- end of {name} -->",
            text,
            re.DOTALL,
        )
        assert changed.replace("\nnew\n", f"\n{block}\n") == text
        first = block.splitlines()[1]
        assert re.match(readme_runs.RUNS[name].begin, first)


def test_every_picture_of_the_documents_is_drawn_by_a_run():
    shown = set()
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        shown |= set(re.findall(r"\((?:(?:\.\./)?docs/)?(\w+\.png)\)", text))
    drawn = {
        picture.name
        for run in readme_runs.RUNS.values()
        for picture in run.pictures
    }
    assert (
        shown == drawn == {p.name for p in readme_runs.PICTURES.glob("*.png")}
    )
