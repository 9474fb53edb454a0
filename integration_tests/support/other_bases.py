"""Tests the fork on each base release, and records what passes where.

    python integration_tests/support/other_bases.py [--base 3.14.1 ...]
        [--backend jax ...] [--suite ours upstream] [--clone CLONE]
        [-- option of pytest ...]

needs an environment with `requirements.txt`. For each base it builds the wheel,
installs it into a folder of its own, and runs our tests and upstream's, if the
base's wheel has them, with one backend after the other. Those for upstream's
head are the ones that master of CLONE has, a clone of upstream's repository;
names that have moved since are given back. What is measured replaces the rows
of `docs/other_bases.md`; other rows stay. `--base` without a name only writes
down anew which part of the fork each base needs.

Of upstream's tests that fail, those are counted apart that fail without the
fork, too: releases know nothing of backends that are newer than they are.
"""

import argparse
import os
import pathlib
import re
import shutil
import sys
import tempfile
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

import pip_build  # noqa: E402
from integration_tests.support import matrix  # noqa: E402
from integration_tests.support import upstream_commits  # noqa: E402
from patching import edits  # noqa: E402

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
NEEDED_COLUMNS = ("part of the fork", "needed for", "definitions")
# More ids than these would hide the table.
SHOWN = 4
ABOUT = f"""# What passes on which base release

Written by `integration_tests/support/other_bases.py`; do not edit. The releases
are those of `{pip_build.LOCKED_BASE.name}` and `{pip_build.OTHER_BASES.name}`.
All use the backends of `requirements.txt`, which are newer than most of them.
A row that is not here was not measured: those of the base of the fork are in
CONTRIBUTING.md. The wheels of Keras 3.13.2, 3.14.1 and of head hold no tests of
upstream's; on head, those of master in the clone are run, which is older.

Before Keras 3.15, `train_on_batch` and `test_on_batch` average over all batches
since `reset_metrics`. The fork leaves that as it is, so that a test of ours
fails that expects the numbers of the last batch. Before 3.14, both return
arrays, which fails a test that puts the values into a set; what an activity
regularizer adds is not divided by the size of the batch, which fails those of
other losses; and on PyTorch each result is read by an operation of its own.

Upstream's own tests of 3.12 expect the words that Keras had then for metrics of
an output that is not there. The fork has those of 3.15, which fails two.

Of the clone's tests, those fail on head with the fork and without it that
compare an array with a number, which head's `assertAllClose` refuses, and those
that need what its wheel has not: `ops.random`, `NpzIOStore`, what a report of
quantization held, and a saved file.

From one nightly build to a later one, `pip_build.py --base keras-nightly==...`
lists the edits that no longer fit. From that of October 1 to that of October 27
none is: it took two seconds to learn it, and the rest is to run the tests.
"""
ABOUT_NEEDED = """
## Which part of the fork is needed for which base

Modules of ours are needed for each base. Of modules that are edited, these
definitions and statements are: *releases* are those up to 3.15.1. Why head does
not need one, its edit says, after "not on head"; our tests of what upstream has
mended there pass on head without the fork.
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


def measure(base, backend, suite, folder, arguments):
    """A row of the table, or `None` if there are no such tests."""
    rest, on_head = arguments.rest, pip_build.is_on_head()
    options = argparse.Namespace(stock=False, rest=rest)
    if suite == "ours":
        run_ours = matrix.run_ours_on_head if on_head else matrix.run_ours
        result = run_ours(backend, options)
    elif on_head and arguments.clone:
        results = run_clones(backend, arguments.clone, folder, rest)
        return row_of_clone(base, backend, results)
    elif has_tests(folder):
        result = matrix.run_upstream(backend, options, folder)
    else:
        return None
    name = f"{backend}-{result.suite}".replace(" ", "-")
    report = matrix.OUTPUT / f"{name}.xml"
    failed = failed_tests(report)
    on_stock = []
    if failed and suite == "upstream":
        names = {name.rpartition("::")[2] for name in failed}
        # By their names: with xdist, ids are no paths.
        chosen = " or ".join(sorted({re.split(r"\W", n)[0] for n in names}))
        options = argparse.Namespace(stock=True, rest=[*rest, f"-k={chosen}"])
        matrix.run_upstream(backend, options)
        on_stock = [n for n in failed_tests(report) if n in failed]
    ours = [one.rpartition(".")[2] for one in failed if one not in on_stock]
    return (
        base,
        backend,
        suite,
        str(result.passed),
        str(result.failed - len(on_stock)),
        str(len(on_stock)),
        str(result.skipped),
        shown(ours),
    )


def run_clones(backend, clone, folder, rest):
    """Runs the tests of upstream's master on an installed head, and on stock.

    Args:
        backend: The backend.
        clone: A clone of upstream's repository.
        folder: A folder with our wheel, installed.
        rest: More options of pytest's.

    Returns:
        What became of each test with the fork, and without it.
    """
    packages = matrix.UPSTREAM_PACKAGES
    packages += matrix.UPSTREAM_BACKEND_PACKAGES.get(backend, ())
    paths = [package.replace(".", "/") for package in packages]
    options = ["-n", str(matrix.WORKERS), "--dist", "loadfile"]
    options += ["-p", "upstream_names", *rest]
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        tests = upstream_commits.extract(clone, "master", scratch / "tests")
        for name, source in (
            ("fork", folder),
            ("stock", pip_build.unpacked_base()),
        ):
            tree = scratch / name
            shutil.copytree(source / "keras", tree / "keras")
            upstream_commits.copy_tests(tests, tree)
            for setting in upstream_commits.SETTINGS:
                shutil.copyfile(tests / setting, tree / setting)
            results.append(
                upstream_commits.run_tests(backend, tree, paths, *options)
            )
            log = tree / f"{backend}.log"
            shutil.copyfile(log, matrix.OUTPUT / f"head-{name}-{log.name}")
    return results


def row_of_clone(base, backend, results):
    """The row of the table for what `run_clones` gives."""
    with_fork, without = results
    failed = [one for one, state in with_fork.items() if state == "FAIL"]
    on_stock = [one for one in failed if without.get(one) == "FAIL"]
    ours = [
        f"{module.rpartition('.')[2]}::{test}"
        for module, test in failed
        if (module, test) not in on_stock
    ]
    states = list(with_fork.values())
    return (
        base,
        backend,
        "upstream",
        str(states.count("pass")),
        str(len(ours)),
        str(len(on_stock)),
        str(states.count("skipped")),
        shown(ours),
    )


def shown(names):
    """Ids of tests, as the table has them."""
    found = ", ".join(f"`{one}`" for one in names[:SHOWN])
    more = len(names) - SHOWN
    return f"{found} and {more} more" if more > 0 else found


def needed():
    """Rows that say which edits which kind of base needs."""
    rows = []
    for path, file in pip_build.edit_files().items():
        text = file.read_text(encoding="utf-8")
        found = edits.read(text, path)
        left_out = {
            on_head: edits.chosen(found, on_head)[1]
            for on_head in (True, False)
        }
        for kind, some in (
            ("each", [x for x in found if x not in sum(left_out.values(), [])]),
            ("releases", left_out[True]),
            ("head", left_out[False]),
        ):
            names = dict.fromkeys(f"`{one.names[0]}`" for one in some)
            if names:
                rows.append((f"`{path}`", kind, ", ".join(names)))
    return rows


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

    measured = sorted((k for k in rows if k[0] in known), key=place)
    text = f"{ABOUT}\n{table(COLUMNS, [rows[key] for key in measured])}"
    text += f"{ABOUT_NEEDED}\n{table(NEEDED_COLUMNS, needed())}"
    TABLE.write_text(text, encoding="utf-8")


def table(columns, rows):
    lines = [columns, ("---",) * len(columns), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main():
    with pip_build.one_line_errors():
        known = list(pip_build.bases())
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", nargs="*", choices=known, default=known)
    parser.add_argument("--clone", type=pathlib.Path)
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
                    row = measure(base, backend, suite, folder, arguments)
                    if row is None:
                        print(f"{suite}: the wheel has no tests", flush=True)
                        continue
                    failed += int(row[4])
                    write_rows({**read_rows(), row[:3]: row})
        write_rows(read_rows())
    print(TABLE)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
