"""What the GPU lane runs and writes; the lane itself takes too long for CI."""

import os
import re
import sys

import pytest

import keras
import pip_build
from integration_tests.support import gpu_lane
from integration_tests.support import matrix

FORK, STOCK = pip_build.version(), pip_build.locked_base()[0]
RESULT = matrix.Result("jax", "gpu_lane", 7, 1, 2, 3.4)


def test_what_is_run(monkeypatch):
    runs = []
    monkeypatch.setattr(matrix, "run_suite", lambda *run: runs.append(run))
    gpu_lane.test("jax", ["-x"])
    ((backend, _, options, variables, arguments),) = runs
    assert backend == variables["KERAS_BACKEND"] == "jax"
    assert arguments.rest == ["-x"] and not arguments.stock
    assert variables["PYTHONPATH"] == str(gpu_lane.SITE)
    *folders, _, cores, first, second = options
    ignored = [first, second]
    assert cores == str(os.cpu_count())
    # They build wheels and branches, which has nothing to do with a GPU.
    assert ignored == [f"--ignore={file}" for file in matrix.WHEEL_TESTS]
    for path in (*folders, *matrix.WHEEL_TESTS, *gpu_lane.BENCHMARKS):
        assert (gpu_lane.ROOT / path).exists()


def test_the_device_is_asked_for():
    backend = keras.backend.backend()
    script = "import json\n" + gpu_lane.DEVICE[backend]
    on_gpu, name, version = gpu_lane.last_json(
        [sys.executable, "-c", script], gpu_lane.environment(backend)
    )
    assert on_gpu == (name != "CPU")
    assert version[0].isdigit()


def report(**found):
    table = {("jax", "a.py"): ["| x | y |"]}
    return "\n".join(gpu_lane.report(found, {"jax": RESULT}, table, []))


def test_report_without_a_gpu():
    text = report(jax=(False, "CPU", "0.11"), torch=(False, "CPU", "2.11"))
    assert "**No GPU ran.**" in text
    assert "| jax | 0.11 | CPU | 7 | 1 | 2 | 3 |" in text
    assert "| torch | 2.11 | CPU | not run |" in text
    assert "`a.py` on jax:\n\n| x | y |" in text


def test_report_with_a_gpu():
    text = report(jax=(True, "H100", "0.11"), torch=(False, "CPU", "2.11"))
    assert "On a GPU: jax." in text
    assert "No GPU ran" not in text


@pytest.mark.parametrize("versions", [(STOCK, FORK), (FORK, FORK)])
def test_launches(monkeypatch, versions):
    answers = [
        {"keras": version, "counts": {"launches": count}}
        for version, count in zip(versions, (90, 30.0))
    ]
    monkeypatch.setattr(gpu_lane, "last_json", lambda *_: answers.pop(0))
    if versions[0] == FORK:
        # Then the fork would be compared with itself.
        with pytest.raises(pip_build.BuildError, match=re.escape(FORK)):
            gpu_lane.launches("jax")
    else:
        rows = gpu_lane.launches("jax")
        assert rows == ["| jax | launches | 90 | 30 |"]


def test_a_script_that_fails(capsys):
    command = [sys.executable, "-c", "print(1); raise SystemExit('why')"]
    assert gpu_lane.last_json(command, gpu_lane.environment("jax")) is None
    assert "why" in capsys.readouterr().out
    answer = gpu_lane.last_json(
        [sys.executable, "-c", "print('a'); print('[1]')"],
        gpu_lane.environment("jax"),
    )
    assert answer == [1]
