"""Makes `pytest` in the checkout test the checkout's files.

All other modules of Keras come from the base release that the fork is laid
over. With `--stock` all of them do, so that everyone can see which tests fail
without the fork.
"""

import importlib
import importlib.util
import os
import pathlib
import sys

import hypothesis
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = pathlib.Path(__file__).resolve().parent
sys.path.append(str(ROOT))

import pip_build  # noqa: E402
from integration_tests.support import checkout_finder  # noqa: E402

MAIN_MODULE = "keras.src.trainers.compile_utils"


def pytest_addoption(parser):
    parser.addoption(
        "--stock",
        action="store_true",
        help="test the base release without the fork's modules",
    )
    parser.addoption(
        "--thorough",
        action="store_true",
        help="try many more settings and random examples; takes hours",
    )


def pytest_configure(config):
    stock = config.getoption("--stock")
    try:
        checkout_finder.install(stock)
    except (pip_build.BuildError, RuntimeError) as error:
        raise pytest.UsageError(str(error)) from error
    choose_examples(config.getoption("thorough"))
    # With xdist only the workers import Keras; the first process just waits.
    if config.getoption("dist", "no") == "no":
        import_keras(checkout_finder.file_under_test(MAIN_MODULE, stock))


def choose_examples(thorough):
    """How many random examples `properties_test` tries, and which."""
    hypothesis.settings.register_profile(
        "chosen",
        max_examples=10_000 if thorough else 100,
        derandomize=not thorough,
        print_blob=True,
        # Tests share the machine with others.
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
        # It takes minutes to explain what the smallest example shows.
        phases=set(hypothesis.Phase) - {hypothesis.Phase.explain},
    )
    hypothesis.settings.load_profile("chosen")


def import_keras(expected):
    if importlib.util.find_spec("torch"):
        # After TensorFlow, torch would find libraries that are not its own.
        importlib.import_module("torch")
    found = pathlib.Path(importlib.import_module(MAIN_MODULE).__file__)
    if found != expected:
        raise pytest.UsageError(f"{expected} is to be tested, not {found}")
    # Where a package was not imported before, pytest makes up an empty one for
    # the folder of a test file.
    for file in (ROOT / "keras").rglob("*_test.py"):
        folder = file.relative_to(ROOT).parent
        importlib.import_module(".".join(folder.parts))


def pytest_collection_modifyitems(items):
    """Skips tests that train where Keras can't: with NumPy."""
    if os.environ["KERAS_BACKEND"] != "numpy":
        return
    for item in items:
        if item.get_closest_marker("requires_trainable_backend"):
            item.add_marker(pytest.mark.skip(reason="NumPy can't train."))


@pytest.fixture(autouse=True)
def puts_back():
    """Fails a test that leaves Keras as others would not expect it."""
    before = settings_of_keras()
    yield
    after = settings_of_keras()
    for name in before:
        if after[name] != before[name]:
            pytest.fail(f"{name} was {before[name]}, and is {after[name]}")


def settings_of_keras():
    import keras

    return {
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "image_data_format": keras.config.image_data_format(),
        # Asked for it, Keras settles it; else the first layer would, which may
        # stand in a test of another floatx.
        "dtype_policy": keras.config.dtype_policy().name,
        "distribution": keras.distribution.distribution(),
        "custom objects": sorted(keras.saving.get_custom_objects()),
    }


def pytest_report_header(config):
    file = checkout_finder.file_under_test(
        MAIN_MODULE, config.getoption("--stock")
    )
    return [
        f"under test: {file}",
        f"backend: {os.environ['KERAS_BACKEND']}",
    ]


def pytest_ignore_collect(collection_path, config):
    """With `--stock`, leaves out tests of modules that only the fork has."""
    if not config.getoption("--stock"):
        return None
    if not collection_path.is_relative_to(ROOT):
        return None
    path = collection_path.relative_to(ROOT).as_posix()
    module = path.replace("_test.py", ".py")
    only_ours = (
        module != path
        and module in pip_build.overlay()
        and not (pip_build.unpacked_base() / module).exists()
    )
    return True if only_ours else None
