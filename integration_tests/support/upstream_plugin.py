"""A pytest plugin for upstream's own tests, run unchanged on our build.

Does what upstream's conftest.py, which is not in the wheel, does for them; and
makes sure that they test the build that they are meant to.
"""

import importlib
import importlib.util
import os
import pathlib
import sys
import types

import pytest

MARKERS = (
    "requires_trainable_backend: needs a backend that can train",
    "multi_device: needs more than one device",
)
SKIPS = pathlib.Path(__file__).with_name("upstream_skips.txt")


def skip_if_backend(backend, reason):
    """What upstream's tests import from the conftest.py that they lack."""
    return pytest.mark.skipif(
        os.environ["KERAS_BACKEND"] == backend, reason=reason
    )


def pytest_configure(config):
    conftest = types.ModuleType("conftest")
    conftest.skip_if_backend = skip_if_backend
    sys.modules["conftest"] = conftest
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    # With xdist only the workers import Keras; the first process just waits.
    if config.getoption("dist", "no") == "no":
        if importlib.util.find_spec("torch"):
            # After TensorFlow, torch would find libraries not its own.
            importlib.import_module("torch")
        found = importlib.import_module("keras").__version__
        wanted = os.environ["RAWLOSS_KERAS_VERSION"]
        if found != wanted:
            raise pytest.UsageError(f"Keras {found} is not Keras {wanted}")


def pytest_report_header():
    return [
        f"under test: {importlib.util.find_spec('keras').origin}",
        f"backend: {os.environ['KERAS_BACKEND']}",
    ]


def skips():
    """`{end of a test's id: reason}` for this backend."""
    found = {}
    for line in SKIPS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            backend, test, reason = line.split(maxsplit=2)
            if backend == os.environ["KERAS_BACKEND"]:
                found[test] = reason
    return found


def pytest_collection_modifyitems(items):
    for end, reason in skips().items():
        for item in items:
            if item.nodeid.endswith(end):
                item.add_marker(pytest.mark.skip(reason=reason))
