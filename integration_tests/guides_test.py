"""The guide runs from top to bottom, and its numbers are those it explains."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

import keras
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
    assert numbers["loss"] == pytest.approx(by_hand, abs=2e-5)
