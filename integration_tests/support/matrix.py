"""Runs every test suite on every backend and ends in one table.

run.py starts this with the interpreter that has everything installed. Each
suite is a pytest process of its own, since a process has one backend.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time
import xml.etree.ElementTree
from typing import NamedTuple

import pip_build

ROOT = pip_build.ROOT
OUTPUT = pip_build.BUILD / "tests"
# Independent of the backend, and so run once.
WHEEL_TESTS = (
    "integration_tests/pip_build_test.py",
    "integration_tests/upstream_branch_test.py",
)
# Of packages of others, and of the edits themselves.
ON_ONE_BASE = (
    "integration_tests/clients_test.py",
    "integration_tests/edits_test.py",
)
# The backend on which ours run on upstream's head, too: the quickest.
ON_HEAD = "torch"
# Upstream's own tests, out of the wheel: of every package that we touch.
UPSTREAM_PACKAGES = (
    "keras.src.trainers",
    "keras.src.models",
    "keras.src.callbacks",
    "keras.src.losses",
    "keras.src.metrics",
    "keras.src.saving",
    "keras.src.legacy",
)
# Those of a backend's own trainer; the ones of JAX need several devices.
UPSTREAM_BACKEND_PACKAGES = {"tensorflow": ("keras.src.backend.tensorflow",)}
WORKERS = min(os.cpu_count() or 1, 4)
# Far more than any suite takes: for a test that hangs.
LIMIT_SECONDS = 45 * 60


class Result(NamedTuple):
    """A row of the table."""

    backend: str
    suite: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def environment(backend, **more):
    """The same for everyone: nothing of the caller's shell that matters."""
    variables = dict(os.environ)
    for name in ("PYTEST_ADDOPTS", "PYTHONPATH", "TF_USE_LEGACY_KERAS"):
        variables.pop(name, None)
    return {
        **variables,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # One thread for each worker, or they get in each other's way.
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        **more,
    }


def version_under_test(arguments):
    if arguments.stock:
        return pip_build.locked_base()[0]
    return pip_build.version()


def counts(report):
    """`(passed, failed, skipped)` out of a junit file."""
    if not report.is_file():
        return 0, 0, 0
    (suite,) = xml.etree.ElementTree.parse(report).getroot().iter("testsuite")
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    skipped = int(suite.get("skipped"))
    return int(suite.get("tests")) - failed - skipped, failed, skipped


def run(command, log, cwd, variables):
    """Runs a command into a log file; its exit status and seconds."""
    start = time.monotonic()
    with log.open("wb") as output:
        try:
            status = subprocess.run(
                command,
                cwd=cwd,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=LIMIT_SECONDS,
            ).returncode
        except subprocess.TimeoutExpired:
            output.write(f"\nstopped after {LIMIT_SECONDS} s\n".encode())
            status = 124
    return status, time.monotonic() - start


def run_suite(backend, suite, options, variables, arguments, cwd=ROOT):
    """Runs pytest, and shows what it printed if something failed."""
    name = "-".join(filter(None, (backend, suite))).replace(" ", "-")
    print(f"{name} ...", flush=True)
    report, log = OUTPUT / f"{name}.xml", OUTPUT / f"{name}.log"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short"]
    command += ["-p", "no:cacheprovider", f"--junitxml={report}", *options]
    status, seconds = run([*command, *arguments.rest], log, cwd, variables)
    passed, failed, skipped = counts(report)
    # Status 5: no test ran, which is fine if the user's options chose none.
    nothing_chosen = status == 5 and arguments.rest
    if not failed and not nothing_chosen and (status or not passed):
        failed = 1
    print(
        f"    {passed} passed, {failed} failed, {skipped} skipped "
        f"in {seconds:.0f} s",
        flush=True,
    )
    if failed:
        shown = log.read_text(encoding="utf-8", errors="replace").splitlines()
        if arguments.stock:
            # Expected, and too many to show in full.
            shown = [line for line in shown if line.startswith("FAILED")]
        print("\n".join(shown), flush=True)
    return Result(backend, suite, passed, failed, skipped, seconds)


def run_ours(backend, arguments):
    options = ["keras", "integration_tests"]
    options += [f"--ignore={file}" for file in WHEEL_TESTS]
    options += ["-n", str(WORKERS)]
    if arguments.stock:
        options.append("--stock")
    return run_suite(backend, "ours", options, environment(backend), arguments)


def run_ours_on_head(backend, arguments):
    """Our tests on upstream's head, but those that no base matters to."""
    options = ["keras", "integration_tests", "-n", str(WORKERS)]
    options += [f"--ignore={file}" for file in (*WHEEL_TESTS, *ON_ONE_BASE)]
    variables = environment(
        backend, **{pip_build.BASE_VARIABLE: pip_build.HEAD}
    )
    return run_suite(backend, "on head", options, variables, arguments)


def run_upstream(backend, arguments, package=None, packages=None):
    """Runs upstream's tests on the Keras in `package`, or the installed one.

    Those of `packages`, or of all that we touch.
    """
    folder = OUTPUT / f"{backend}-upstream"
    folder.mkdir(exist_ok=True)
    # An own file, for pytest not to look for one above and find ours.
    settings = folder / "pytest.ini"
    settings.write_text("[pytest]\npython_files = *_test.py\n")
    path = [str(pathlib.Path(__file__).resolve().parent)]
    if arguments.stock and package is None:
        package = pip_build.unpacked_base()
    if package is not None:
        path.insert(0, str(package))
    variables = environment(
        backend,
        PYTHONPATH=os.pathsep.join(path),
        # `pip uninstall` would not know what pytest compiles beside the tests.
        PYTHONDONTWRITEBYTECODE="1",
        RAWLOSS_KERAS_VERSION=version_under_test(arguments),
    )
    options = ["-c", str(settings), "--noconftest", "--collect-in-virtualenv"]
    options += ["-p", "upstream_plugin", "-n", str(WORKERS)]
    if packages is None:
        packages = UPSTREAM_PACKAGES
        packages += UPSTREAM_BACKEND_PACKAGES.get(backend, ())
    options += ["--pyargs", *packages]
    return run_suite(backend, "upstream", options, variables, arguments, folder)


def run_lint():
    """Both of ruff's checks, as one row."""
    print("lint ...", flush=True)
    failed, total = 0, 0
    commands = (["check", "--no-cache"], ["format", "--check", "--no-cache"])
    for number, options in enumerate(commands):
        log = OUTPUT / f"lint-{number}.log"
        command = [sys.executable, "-m", "ruff", *options, "."]
        status, seconds = run(command, log, ROOT, dict(os.environ))
        total += seconds
        if status:
            failed += 1
            print(log.read_text(encoding="utf-8"), flush=True)
    return Result("", "lint", len(commands) - failed, failed, 0, total)


def show(results, version):
    """The table, and the closing line."""
    # Only needed, and only installed, where the tests are.
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Keras {version}")
    table.add_column("backend")
    table.add_column("suite")
    for title in ("passed", "failed", "skipped", "seconds"):
        table.add_column(title, justify="right")
    for result in results:
        table.add_row(
            *map(str, result[:5]),
            f"{result.seconds:.0f}",
            style="red" if result.failed else None,
        )
    print()
    Console().print(table)
    passed, failed, skipped = (
        sum(row[column] for row in results) for column in (2, 3, 4)
    )
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if passed and not failed else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--backend",
        nargs="+",
        choices=pip_build.BACKENDS,
        default=pip_build.BACKENDS,
    )
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("rest", nargs="*", metavar="-- option of pytest")
    arguments = parser.parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    results = []
    for backend in arguments.backend:
        results.append(run_ours(backend, arguments))
        if not pip_build.is_on_head():
            # The wheels of nightly builds hold no tests of upstream's.
            results.append(run_upstream(backend, arguments))
    if ON_HEAD in arguments.backend and not (
        arguments.stock or pip_build.is_on_head()
    ):
        results.append(run_ours_on_head(ON_HEAD, arguments))
    if not arguments.stock:
        variables = environment("tensorflow")
        results.append(
            run_suite("", "wheel", [*WHEEL_TESTS], variables, arguments)
        )
        results.append(run_lint())
    sys.exit(show(results, version_under_test(arguments)))


if __name__ == "__main__":
    main()
