"""Tests and measures the fork on a machine with a GPU and without a network.

    python -m integration_tests.support.gpu_lane [--backend NAME ...]
        [--output FILE]

Where there is a package index, this first fetches what such a machine lacks
into build/gpu_lane/; `--fetch` does no more. Then copy the checkout there with
that folder, and run the same command. It builds the wheel, installs it and
what is missing beside the machine's own packages (nothing of theirs changes),
runs keras/ and integration_tests/ on all cores and the benchmarks, on every
backend that is installed, and writes a table, which it adds to as it goes.
Without a GPU all of it runs on the CPU, and the table says so. A GPU machine
needs Python 3.12, and PyTorch, JAX or TensorFlow.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

import pip_build  # noqa: E402
from integration_tests.support import matrix  # noqa: E402

FOLDER = pip_build.BUILD / "gpu_lane"
WHEELS, SITE = FOLDER / "wheels", FOLDER / "site"
# What Keras and the tests import besides NumPy and a backend. Pure Python but
# for h5py, hypothesis, ml_dtypes and optree, whose wheels are for these:
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64")
PLATFORMS += ("manylinux2014_x86_64",)
PACKAGES = (
    *("absl-py", "h5py", "ml_dtypes", "namex", "optree", "packaging", "rich"),
    *("markdown-it-py", "mdurl", "Pygments", "typing_extensions"),
    *("hypothesis", "sortedcontainers", "pytest", "pluggy", "iniconfig"),
    *("execnet", "pytest-xdist", "tf_keras", "wheel"),
)
# Run with each backend; what they print as a table is kept.
BENCHMARKS = ("benchmarks/compile_loss.py",)
OUTPUTS = 32
# Prints the device and the version, or nothing where the backend is missing.
DEVICE = {
    "torch": """
import torch
gpu = torch.cuda.is_available()
name = torch.cuda.get_device_name() if gpu else "CPU"
print(json.dumps([gpu, name, torch.__version__]))
""",
    "jax": """
import jax
device = jax.devices()[0]
gpu = device.platform == "gpu"
print(json.dumps([gpu, device.device_kind if gpu else "CPU", jax.__version__]))
""",
    "tensorflow": """
import tensorflow as tf
gpus = tf.config.list_physical_devices("GPU")
details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
name = details[0].get("device_name", "GPU") if gpus else "CPU"
print(json.dumps([bool(gpus), name, tf.__version__]))
""",
}


def fetch():
    """Fetches wheels for the other machine."""
    part = FOLDER / "wheels.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    base = pip_build.base_wheel()
    pip_build.say(f"Fetching {len(PACKAGES)} packages ...")
    options = [f"--platform={name}" for name in PLATFORMS]
    options += [f"--python-version={PYTHON}", f"--constraint={pip_build.PINS}"]
    status, lines = pip_build.run_pip(
        *(sys.executable, "download", "--no-deps", "--only-binary=:all:"),
        *(f"--dest={part}", *options, *PACKAGES),
    )
    if status:
        raise pip_build.BuildError(
            f"pip cannot get the wheels ({pip_build.last_word(lines)}): check "
            "the network, or carry build/gpu_lane/ here from a machine that "
            "has one."
        )
    shutil.copy(base, part)
    part.rename(WHEELS)


def install():
    """Installs our wheel, and what is missing, into a folder of its own."""
    shutil.rmtree(SITE, ignore_errors=True)
    present = {
        name.lower().replace("_", "-")
        for names in importlib.metadata.packages_distributions().values()
        for name in names
    }
    missing = [
        name
        for name in PACKAGES
        if name.lower().replace("_", "-") not in present
    ]
    pip_build.say(f"Missing here: {', '.join(missing) or 'nothing'}")
    if missing:
        into_site(f"--find-links={WHEELS}", *missing)
    (base,) = WHEELS.glob("keras-*.whl")
    build = [sys.executable, "pip_build.py", f"--base-wheel={base}"]
    if subprocess.call(build, cwd=ROOT, env=environment("torch")):
        sys.exit(1)
    into_site(str(pip_build.wheel_path()))


def into_site(*arguments):
    status, lines = pip_build.run_pip(
        *(sys.executable, "install", "--no-index", "--no-deps"),
        *(f"--target={SITE}", *arguments),
    )
    if status:
        raise pip_build.BuildError(
            f"pip cannot install into {SITE} ({pip_build.last_word(lines)}): "
            f"this is Python {platform.python_version()}, and the wheels in "
            f"{WHEELS} are for {PYTHON}."
        )


def environment(backend, *first):
    """Environment variables, with folders in front of the machine's own."""
    return matrix.environment(
        backend,
        PYTHONPATH=os.pathsep.join(map(str, [*first, SITE])),
        # The backends share the GPU with each other.
        XLA_PYTHON_CLIENT_PREALLOCATE="false",
        TF_FORCE_GPU_ALLOW_GROWTH="true",
        # The tests' tolerances are those of float32, not of TF32.
        JAX_DEFAULT_MATMUL_PRECISION="highest",
        NVIDIA_TF32_OVERRIDE="0",
    )


def last_json(command, variables):
    """What a script prints in its last line; `None` if it fails."""
    answer = subprocess.run(
        command, env=variables, cwd=ROOT, capture_output=True, text=True
    )
    lines = answer.stdout.splitlines()
    if answer.returncode or not lines:
        pip_build.say(answer.stdout[-2000:] + answer.stderr[-2000:])
        return None
    return json.loads(lines[-1])


def devices():
    """For each installed backend: whether on a GPU, its device and version."""
    module = "import importlib.util, json, sys\n"
    found = {}
    for backend, code in DEVICE.items():
        if importlib.util.find_spec(backend) is not None:
            command = [sys.executable, "-c", module + code]
            found[backend] = last_json(command, environment(backend))
    return {name: device for name, device in found.items() if device}


def test(backend, rest):
    """Runs our tests on all cores; a `matrix.Result`."""
    options = ["keras", "integration_tests", "-n", str(os.cpu_count() or 1)]
    options += [f"--ignore={file}" for file in matrix.WHEEL_TESTS]
    arguments = types.SimpleNamespace(rest=rest, stock=False)
    matrix.OUTPUT.mkdir(parents=True, exist_ok=True)
    return matrix.run_suite(
        backend, "gpu_lane", options, environment(backend), arguments
    )


def benchmark(backend, script):
    """The lines of the table that a benchmark prints."""
    pip_build.say(f"{script} on {backend} ...")
    parts = ("--parts", "calls", "objects", "steps")
    answer = subprocess.run(
        [sys.executable, script, "--print", "--backend", backend, *parts],
        env=environment(backend),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if answer.returncode:
        pip_build.say(answer.stderr[-2000:])
        return [f"`{script}` failed."]
    return [x for x in answer.stdout.splitlines() if x.startswith("|")]


def launches(backend):
    """Rows of what a step asks of the device, stock and fork."""
    pip_build.say(f"a step's launches on {backend} ...")
    command = [sys.executable, "benchmarks/launches.py", str(OUTPUTS)]
    stock = last_json(command, environment(backend, pip_build.unpacked_base()))
    fork = last_json(command, environment(backend))
    if stock is None or fork is None:
        return [f"| {backend} | failed | | |"]
    versions = stock["keras"], fork["keras"]
    if versions != (pip_build.locked_base()[0], pip_build.version()):
        raise pip_build.BuildError(f"{versions} were measured.")
    return [
        f"| {backend} | {what} | {stock['counts'][what]:g} | {count:g} |"
        for what, count in fork["counts"].items()
    ]


def report(found, results, benchmarks, counts):
    """The page, as lines of Markdown."""
    gpus = [backend for backend, device in found.items() if device[0]]
    lines = [
        "# GPU lane",
        "",
        "Written by `integration_tests/support/gpu_lane.py` on "
        f"{datetime.date.today()}, at commit {pip_build.commit()}, with Python "
        f"{platform.python_version()}.",
        "",
    ]
    if gpus:
        lines += [f"On a GPU: {', '.join(gpus)}.", ""]
    else:
        lines += [
            "**No GPU ran.** The machine has none: all numbers are of its "
            "CPU, and show no more than that the lane works.",
            "",
        ]
    lines += [
        "| backend | version | device | passed | failed | skipped | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for backend, (_, device, version) in found.items():
        result = results.get(backend)
        numbers = ["not run"] + [""] * 3
        if result:
            numbers = [result.passed, result.failed, result.skipped]
            numbers.append(round(result.seconds))
        cells = [backend, version, device, *numbers]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += [
        "",
        f"What a training step of a model with {OUTPUTS} outputs asks of the "
        "device (`benchmarks/launches.py`):",
        "",
        "| backend | a step's | stock | fork |",
        "| --- | --- | --- | --- |",
        *counts,
    ]
    for (backend, script), table in benchmarks.items():
        lines += ["", f"`{script}` on {backend}:", "", *table]
    return [*lines, ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--backend", nargs="+", choices=tuple(DEVICE))
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=ROOT / "benchmarks" / "gpu_lane.md",
    )
    parser.add_argument("--without-tests", action="store_true")
    parser.add_argument("rest", nargs="*", metavar="-- option of pytest")
    arguments = parser.parse_args()
    with pip_build.one_line_errors():
        if not WHEELS.is_dir():
            fetch()
        if not arguments.fetch:
            sys.exit(run(arguments))


def run(arguments):
    install()
    found = devices()
    if arguments.backend:
        found = {k: v for k, v in found.items() if k in arguments.backend}
    if not found:
        raise pip_build.BuildError(
            "no backend works here: install PyTorch, JAX or TensorFlow."
        )
    results, counts, benchmarks = {}, [], {}

    def write():
        lines = report(found, results, benchmarks, counts)
        arguments.output.write_text("\n".join(lines), encoding="utf-8")

    for name in () if arguments.without_tests else found:
        results[name] = test(name, arguments.rest)
        write()
    for name in found:
        counts += launches(name)
        write()
    for name in found:
        for script in BENCHMARKS:
            benchmarks[name, script] = benchmark(name, script)
            write()
    pip_build.say(arguments.output.read_text(encoding="utf-8"))
    failed = any(result.failed for result in results.values())
    broken = any("failed" in line for line in counts)
    return 1 if failed or broken else 0


if __name__ == "__main__":
    main()
