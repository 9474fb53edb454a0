"""Tests the fork on each base release, and records what passes where.

    python integration_tests/support/other_bases.py [--base 3.14.1 ...]
        [--backend jax ...] [--suite ours upstream] [-- option of pytest ...]

needs an environment with `requirements.txt`. For each base it builds the wheel,
installs it into a folder of its own, and runs our tests and upstream's, if the
base's wheel has them, with one backend after the other. What is measured
replaces the rows of `docs/other_bases.md`; other rows stay.

Of upstream's tests that fail, those are counted apart that fail without the
fork, too: releases know nothing of backends that are newer than they are.
"""

import argparse
import os
import pathlib
import re
import shutil
import sys
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

import pip_build  # noqa: E402
from integration_tests.support import matrix  # noqa: E402

TABLE = ROOT / "docs" / "other_bases.md"
SUITES = ("ours", "upstream")
COLUMNS = (
    "base",
    "backend",
    "suite",
    "passed",
    "failed",
    "fail on stock too",
    "skipped",
    "what fails",
)
# More ids than these would hide the table.
SHOWN = 4
ABOUT = f"""# What passes on which base release

Written by `integration_tests/support/other_bases.py`; do not edit. The releases
are those of `{pip_build.LOCKED_BASE.name}` and `{pip_build.OTHER_BASES.name}`.
All use the backends of `requirements.txt`, which are newer than most of them.
A row that is not here was not measured: those of the base of the fork are in
README.md. The wheels of Keras 3.13.2 and 3.14.1 hold no tests of upstream's.

Before Keras 3.15, `train_on_batch` and `test_on_batch` average over all batches
since `reset_metrics`. The fork leaves that as it is, so that a test of ours
fails that expects the numbers of the last batch. Before 3.14, both return
arrays, which fails a test that puts the values into a set; what an activity
regularizer adds is not divided by the size of the batch, which fails those of
other losses; and on PyTorch each result is read by an operation of its own.

Upstream's own tests of 3.12 expect the words that Keras had then for metrics of
an output that is not there. The fork has those of 3.15, which fails two.
"""


def failed_tests(report):
    """The ids of failed tests in a junit file, as pytest takes them."""
    if not report.is_file():
        return []
    found = []
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            found.append(f"{case.get('classname')}::{case.get('name')}")
    return found


def install(wheel, folder):
    """Installs a wheel, and nothing else, into a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    status, lines = pip_build.run_pip(
        sys.executable,
        "install",
        "--no-deps",
        "--no-compile",
        "--no-index",
        f"--target={folder}",
        str(wheel),
    )
    if status:
        raise pip_build.BuildError(
            f"pip cannot install {wheel.name} into {folder} "
            f"({pip_build.last_word(lines)}): make it writable."
        )
    return folder


def has_tests(folder):
    return any((folder / "keras" / "src" / "trainers").rglob("*_test.py"))


def measure(base, backend, suite, folder, rest):
    """A row of the table, or `None` if there are no such tests."""
    arguments = argparse.Namespace(stock=False, rest=rest)
    if suite == "ours":
        result = matrix.run_ours(backend, arguments)
    elif has_tests(folder):
        result = matrix.run_upstream(backend, arguments, folder)
    else:
        return None
    report = matrix.OUTPUT / f"{backend}-{suite}.xml"
    failed = failed_tests(report)
    on_stock = []
    if failed and suite == "upstream":
        names = {name.rpartition("::")[2] for name in failed}
        # By their names: with xdist, ids are no paths.
        chosen = " or ".join(sorted({re.split(r"\W", n)[0] for n in names}))
        arguments = argparse.Namespace(stock=True, rest=[*rest, f"-k={chosen}"])
        matrix.run_upstream(backend, arguments)
        on_stock = [n for n in failed_tests(report) if n in failed]
    ours = [name for name in failed if name not in on_stock]
    shown = ", ".join(f"`{one.rpartition('.')[2]}`" for one in ours[:SHOWN])
    if len(ours) > SHOWN:
        shown += f" and {len(ours) - SHOWN} more"
    return (
        base,
        backend,
        suite,
        str(result.passed),
        str(result.failed - len(on_stock)),
        str(len(on_stock)),
        str(result.skipped),
        shown,
    )


def read_rows():
    """The rows of the table as it is, by base, backend and suite."""
    if not TABLE.is_file():
        return {}
    rows = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = tuple(cell.strip() for cell in line.split("|")[1:-1])
        if len(cells) == len(COLUMNS) and re.match(r"\d", cells[0]):
            rows[cells[:3]] = cells
    return rows


def write_rows(rows):
    known = list(pip_build.bases())

    def place(key):
        base, backend, suite = key
        return (
            known.index(base),
            pip_build.BACKENDS.index(backend),
            SUITES.index(suite),
        )

    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    lines += [
        rows[key]
        for key in sorted((k for k in rows if k[0] in known), key=place)
    ]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    TABLE.write_text(f"{ABOUT}\n{table}\n", encoding="utf-8")


def main():
    with pip_build.one_line_errors():
        known = list(pip_build.bases())
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", nargs="+", choices=known, default=known)
    parser.add_argument(
        "--backend",
        nargs="+",
        choices=pip_build.BACKENDS,
        default=pip_build.BACKENDS,
    )
    parser.add_argument("--suite", nargs="+", choices=SUITES, default=SUITES)
    parser.add_argument("rest", nargs="*", metavar="-- option of pytest")
    arguments = parser.parse_args()
    matrix.OUTPUT.mkdir(parents=True, exist_ok=True)
    failed = 0
    with pip_build.one_line_errors():
        for base in arguments.base:
            # Read by everything that is started from here.
            os.environ[pip_build.BASE_VARIABLE] = base
            wheel = pip_build.build()
            folder = pip_build.BUILD / "other_bases" / base
            install(wheel, folder)
            for backend in arguments.backend:
                for suite in arguments.suite:
                    print(f"keras {base}: ", end="", flush=True)
                    row = measure(base, backend, suite, folder, arguments.rest)
                    if row is None:
                        print(f"{suite}: the wheel has no tests", flush=True)
                        continue
                    failed += int(row[4])
                    write_rows({**read_rows(), row[:3]: row})
    print(TABLE)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
