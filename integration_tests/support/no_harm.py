"""Shows that nothing which is right on stock Keras is wrong on the fork.

    python -m integration_tests.support.no_harm [--backend NAME ...] [FILE ...]

Runs tests of users' programs on stock Keras and on the fork, and lists those
that pass on stock and fail on the fork. Run it with the interpreter of the
environment that `run.py test` has made.
"""

import argparse
import sys
import xml.etree.ElementTree

import pip_build
from integration_tests.support import matrix

FILES = (
    "integration_tests/users_code_test.py",
    "integration_tests/users_loops_test.py",
    "integration_tests/edges_test.py",
    "integration_tests/clients_test.py",
)


def outcomes(backend, files, stock):
    """Whether each test that was run has passed, by its name."""
    name = f"{backend}-{'stock' if stock else 'fork'}-no-harm"
    print(f"{name} ...", flush=True)
    report = matrix.OUTPUT / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", *files]
    command += ["-p", "no:cacheprovider", f"--junitxml={report}"]
    command += ["-n", str(matrix.WORKERS)] + ["--stock"] * stock
    matrix.run(
        command,
        matrix.OUTPUT / f"{name}.log",
        matrix.ROOT,
        matrix.environment(backend),
    )
    found = {}
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        if "skipped" not in kinds:
            key = f"{case.get('classname')}::{case.get('name')}"
            found[key] = not kinds & {"failure", "error"}
    return found


def show(rows, harmed):
    """The table, and the tests that it is about."""
    from rich.console import Console
    from rich.table import Table

    table = Table("backend", title="Users' programs, stock and fork")
    for title in ("right on both", "mended", "wrong on both", "harmed"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)
    for name in harmed:
        print(f"harmed: {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--backend",
        nargs="+",
        choices=pip_build.BACKENDS,
        default=pip_build.BACKENDS,
    )
    parser.add_argument("files", nargs="*", default=FILES, metavar="FILE")
    arguments = parser.parse_args()
    matrix.OUTPUT.mkdir(parents=True, exist_ok=True)
    rows, harmed = [], []
    for backend in arguments.backend:
        stock, fork = (
            outcomes(backend, arguments.files, is_stock)
            for is_stock in (True, False)
        )
        pairs = [(stock.get(name, False), fork[name]) for name in fork]
        kinds = [(True, True), (False, True), (False, False), (True, False)]
        rows.append((backend, *map(pairs.count, kinds)))
        harmed += [
            f"{backend} {name}"
            for name, passed in fork.items()
            if stock.get(name) and not passed
        ]
    show(rows, harmed)
    sys.exit(1 if harmed else 0)


if __name__ == "__main__":
    main()
