"""The guide runs from top to bottom, and its numbers are those it explains."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import keras
import pip_build
from examples import render_guide
from integration_tests.support import checkout_finder

GUIDE = checkout_finder.ROOT / "guides" / "reading_losses.py"


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="it takes some 20 s; what it shows is tested on all backends",
)
def test_reading_losses(tmp_path, request):
    stock = ["--stock"] if request.config.getoption("--stock") else []
    answer = subprocess.run(
        [sys.executable, checkout_finder.__file__, *stock, GUIDE],
        env={**os.environ, "GUIDE_PICTURES": str(tmp_path)},
        stdout=subprocess.PIPE,
        check=True,  # The balance check is in the guide.
        text=True,
    )
    numbers = {
        name: float(value)
        for name, value in re.findall(
            r"^(\S.*?) +([\d.]+)$", answer.stdout, re.MULTILINE
        )
    }
    # The same for all sizes of batches, to the digits that float32 has.
    by_size = re.findall(r"^(?:64|100|360) (\{.*\})$", answer.stdout, re.M)
    losses = [
        [float(number) for number in re.findall(r"[\d.]+", line)]
        for line in by_size
    ]
    assert len(losses) == 3
    for other in losses[1:]:
        # Six decimals are printed; the last may be rounded either way.
        assert other == pytest.approx(losses[0], abs=2e-6)
    pictures = {path.name for path in pathlib.Path(tmp_path).iterdir()}
    text = GUIDE.read_text(encoding="utf-8")
    assert pictures == set(re.findall(r"docs/(guide_\w+\.png)", text))
    by_hand = numbers["sum(w * loss) / 360"]
    assert numbers["digit_loss"] == pytest.approx(by_hand, abs=2e-6)
    # Five decimals, likewise.
    by_hand = numbers["over rows in the mask"]
    # On head, a GRU hands no mask on, without us, too.
    if not pip_build.is_on_head():
        assert numbers["loss"] == pytest.approx(by_hand, abs=2e-5)


def test_what_is_rendered_is_the_guide():
    """All of its text and code; what it printed then is not run again."""
    found = render_guide.cells(GUIDE)
    text = "".join(cell.source for cell in found if cell.is_text)
    code = [cell.source for cell in found if not cell.is_text]
    assert len(code) >= 10 and "## " in text
    notebook = json.loads(render_guide.NOTEBOOK.read_text(encoding="utf-8"))
    written = [
        ("".join(cell["source"]), cell["cell_type"] == "markdown")
        for cell in notebook["cells"]
    ]
    wanted = [
        (cell.source.replace("](../docs/", "]("), cell.is_text)
        for cell in found
    ]
    assert written == wanted
    printing = [
        "".join(cell["outputs"][0]["text"])
        for cell in notebook["cells"]
        if cell.get("outputs")
    ]
    assert len(printing) >= 5
    page = render_guide.PAGE.read_text(encoding="utf-8")
    place = 0
    for source, _ in written:
        place = page.index(source, place)
    for output in printing:
        assert f"```\n{output}\n```" in page
    for picture in re.findall(r"\]\((\w+\.png)\)", page):
        assert (render_guide.PAGE.parent / picture).is_file()


def test_cells_of_a_guide(tmp_path):
    guide = tmp_path / "guide.py"
    guide.write_text(
        '"""\nTitle: A\nDescription: B: c.\n"""\n\n# Why.\nx = 1\n\n'
        '"""\n## Next\n"""\n\n# ruff: noqa: E402\nprint(x + 1)\n'
    )
    found = render_guide.cells(guide)
    assert [cell.source for cell in found] == [
        "# A\n\nB: c.",
        "# Why.\nx = 1",
        "## Next",
        "print(x + 1)",
    ]
    assert list(render_guide.outputs(found)) == ["", "", "", "2"]
