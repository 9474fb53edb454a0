"""Measures our fixes for upstream on what upstream has.

    python integration_tests/support/upstream_commits.py CLONE
        [--onto v3.15.1 master] [--wheel FOLDER] [--backend jax ...]
        [--part NAME ...] [--suites] [--api]

needs an environment with `requirements.txt`. CLONE is a clone of upstream's
repository, FOLDER an unpacked wheel. For each of these bases, all parts of
`upstream/fixes` (or those named, for instance one alone) are applied to a copy,
and their tests are run there, and on a copy that has the tests alone. With
`--suites`, all of upstream's tests of the packages around are run instead, with
the parts and without them, which takes long; with `--api`, upstream's API
generator. What is measured goes into `docs/upstream_commits.md`; other rows
stay there, unless there is no such part any more.
"""

import argparse
import difflib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

import pip_build  # noqa: E402
from integration_tests.support import matrix  # noqa: E402
from patching import edits  # noqa: E402
from patching import upstream_branch  # noqa: E402

TABLE = ROOT / "docs" / "upstream_commits.md"
BACKENDS = ("tensorflow", "jax", "torch", "numpy")
SUITE_COLUMNS = ("base", "backend", "pass", "fail", "fail without", "new")
API_COLUMNS = ("base", "API files")
COLUMNS = ("part", "base", "source", "tests", "lint", *BACKENDS)
# What upstream's tests, linter and generator need, beside the package.
SETTINGS = (
    "api_gen.py",
    "conftest.py",
    "pyproject.toml",
    ".pre-commit-config.yaml",
)
ABOUT = """# Our fixes for upstream, measured

Written by `integration_tests/support/upstream_commits.py`; do not edit. For
each part of `upstream/fixes`, on releases and branches of upstream's: the lines
that it adds and removes, in the package and in tests; what upstream's linter
says of the files; and its tests, all parts applied, and how many of them fail
where only the tests are.
"""
ABOUT_SUITES = """
Upstream's own tests of the packages around, with all parts applied, and without
them. `new` names those that fail with the parts only.
"""
ABOUT_API = """
What upstream's `api_gen.py` makes with all parts, compared with what it makes
without them.
"""


class Base(NamedTuple):
    """What parts are applied to.

    Args:
        name: What the table calls it.
        folder: A folder with the package and `SETTINGS`.
        tests: A folder that has upstream's tests, if the package has none.
    """

    name: str
    folder: pathlib.Path
    tests: pathlib.Path


# 1. The bases.


def extract(clone, ref, folder):
    """Unpacks what `SETTINGS` names, and the package, of a commit."""
    folder.mkdir()
    archive = ["git", "-C", clone, "archive", ref, "keras", *SETTINGS]
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as source:
        extracting = ["tar", "--extract", f"--directory={folder}"]
        status = subprocess.run(extracting, stdin=source.stdout).returncode
    if status or source.returncode:
        raise pip_build.BuildError(
            f"git cannot unpack {ref} of {clone}: give a clone that has it."
        )
    return folder


def all_bases(arguments, folder):
    """The bases, in the order in which they are to be measured."""
    bases = []
    for number, ref in enumerate(arguments.onto):
        tree = extract(arguments.clone, ref, folder / f"base-{number}")
        bases.append(Base(ref, tree, tree))
    if arguments.wheel:
        tree = folder / "base-wheel"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(
            arguments.wheel / "keras", tree / "keras", ignore=ignored
        )
        tests = bases[-1].folder
        for name in SETTINGS:
            shutil.copyfile(tests / name, tree / name)
        if arguments.suites:
            copy_tests(tests, tree)
        source = (tree / "keras/src/version.py").read_text(encoding="utf-8")
        name = re.search(r'__version__ = "(.+)"', source)[1]
        bases.append(Base(name, tree, tests))
    return bases


def copy_tests(source, tree):
    """Puts upstream's tests beside the modules of a wheel that has none."""
    for file in (source / "keras/src").rglob("*_test.py"):
        target = tree / file.relative_to(source)
        if target.parent.is_dir() and not target.exists():
            shutil.copyfile(file, target)


# 2. A base with parts.


def reader(tree, tests):
    """Reads a module of `tree`, and a test of `tests` where it has none."""

    def read(path):
        for folder in (tree, tests):
            file = folder / path
            if file.is_file() and (folder == tree or path.endswith("_test.py")):
                return file.read_bytes().decode()
        return None

    return read


def applied(base, parts, folder, only_tests=False):
    """A copy of a base with parts.

    Returns:
        For each part `{path: (source before, source after)}`, and the problems
        of those that don't apply.
    """
    shutil.copytree(base.folder, folder)
    read = reader(folder, base.tests)
    changes, problems = {}, []
    for part in parts:
        files, wrong = upstream_branch.changed_files(part, read)
        problems += wrong
        if wrong:
            continue
        changes[part.name] = {
            path: (read(path), source)
            for path, source in files.items()
            if upstream_branch.is_test(path) or not only_tests
        }
        for path, (_, source) in changes[part.name].items():
            (folder / path).write_bytes(source.encode())
    return changes, problems


def lines_changed(before, after):
    """How many lines are added and removed."""
    found = difflib.unified_diff(
        (before or "").splitlines(), after.splitlines(), n=0
    )
    marks = [line[0] for line in list(found)[2:]]
    return marks.count("+"), marks.count("-")


def size(changes, want_tests):
    """`+a -r` of a part's changes of tests, or of the rest."""
    found = [
        lines_changed(*pair)
        for path, pair in changes.items()
        if upstream_branch.is_test(path) == want_tests
    ]
    added, removed = (sum(column) for column in zip((0, 0), *found))
    return f"+{added} -{removed}"


def tests_of(changes):
    """`{path: names of new tests}` of a part's changes."""
    found = {}
    for path, pair in changes.items():
        if upstream_branch.is_test(path):
            before, after = (_test_names(source or "") for source in pair)
            found[path] = after - before
    return found


def _test_names(source):
    lines = edits.lines_of(source)
    return {
        one.name
        for one in edits.definitions(edits.ast.parse(source), lines)
        if one.name.rpartition(".")[2].startswith("test_")
    }


# 3. What is measured.


def linter(tree):
    """The `PYTHONPATH` of the ruff that upstream pins."""
    text = (tree / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    version = re.search(r"ruff-pre-commit\s+rev: v(\S+)", text)[1]
    folder = pip_build.BUILD / f"ruff-{version}"
    if not folder.is_dir():
        with pip_build.scratch_folder() as scratch:
            target = scratch / folder.name
            status, lines = pip_build.run_pip(
                sys.executable,
                "install",
                f"--target={target}",
                f"ruff=={version}",
            )
            if status:
                raise pip_build.BuildError(
                    f"pip cannot get ruff {version} "
                    f"({pip_build.last_word(lines)}): check pip's settings."
                )
            pip_build.move_folder(target, folder)
    return folder


def lint(base, files):
    """'passes', or which of upstream's checks a part alone fails.

    Args:
        base: The `Base`.
        files: `{path: source}`.
    """
    failed = []
    ruff = linter(base.folder) / "bin" / "ruff"
    with tempfile.TemporaryDirectory() as folder:
        for name in SETTINGS:
            shutil.copyfile(base.folder / name, pathlib.Path(folder) / name)
        for path, source in files.items():
            file = pathlib.Path(folder) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(source.encode())
        for options in (["check"], ["format", "--check"]):
            command = [ruff, *options, "--no-cache", "--config=pyproject.toml"]
            answer = subprocess.run(
                [*command, *files], cwd=folder, capture_output=True
            )
            if answer.returncode:
                failed.append(options[0])
    return f"{' and '.join(failed)} FAIL" if failed else "passes"


def run_tests(backend, tree, paths, *options):
    """Runs tests; `{(module.class, name): 'pass', 'FAIL' or 'skipped'}`.

    Args:
        backend: The backend.
        tree: A folder with the package and its tests.
        paths: Files or folders in it.
        *options: More options of pytest's.
    """
    report = tree / f"{backend}.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short"]
    command += ["-p", "no:cacheprovider", f"--junitxml={report}"]
    command += ["--continue-on-collection-errors"]
    path = os.pathsep.join((str(tree), str(pathlib.Path(__file__).parent)))
    variables = matrix.environment(backend, PYTHONPATH=path)
    log = tree / f"{backend}.log"
    matrix.run([*command, *options, *paths], log, tree, variables)
    if not report.is_file():
        return {}
    cases = xml.etree.ElementTree.parse(report).getroot().iter("testcase")
    return {
        (case.get("classname"), case.get("name")): _state(case)
        for case in cases
    }


def names_of(base):
    """Options for tests that are older than the modules they test."""
    return ["-p", "upstream_names"] if base.tests != base.folder else []


def _state(case):
    if case.findall("failure") or case.findall("error"):
        return "FAIL"
    return "skipped" if case.findall("skipped") else "pass"


def of_part(wanted, results):
    """What became of the tests of a part, as a list."""
    return [
        state
        for (module, test), state in results.items()
        if any(
            _is_one(module, test, path, some) for path, some in wanted.items()
        )
    ]


def _is_one(module, test, path, names):
    """Whether a test of a report is one of these, or a variant of it."""
    place = path.removesuffix(".py").replace("/", ".")
    for name in names:
        owner, _, own = name.rpartition(".")
        where = f"{place}.{owner}" if owner else place
        if module == where and re.match(rf"{re.escape(own)}(\d|\[|_|$)", test):
            return True
    return False


def cell(with_fix, without):
    """What the table says of a part's tests."""
    counts = [
        f"{with_fix.count(state)} {state}"
        for state in ("pass", "skipped", "FAIL")
        if state in with_fix
    ]
    if not counts:
        return "NONE RUN"
    if set(with_fix) != {"skipped"}:
        counts.append(f"{without.count('FAIL')} without")
    return ", ".join(counts)


def measure(base, parts, backends, folder):
    """The rows of a base, and what doesn't apply to it."""
    ours, stock = folder / "ours", folder / "stock"
    changes, problems = applied(base, parts, ours)
    applied(base, parts, stock, only_tests=True)
    wanted = {name: tests_of(one) for name, one in changes.items()}
    paths = sorted({path for one in wanted.values() for path in one})
    names = {
        name.rpartition(".")[2]
        for one in wanted.values()
        for some in one.values()
        for name in some
    }
    results = {}
    for backend in backends if names else ():
        print(f"{base.name} on {backend} ...", flush=True)
        chosen = ["-k", " or ".join(sorted(names)), *names_of(base)]
        results[backend] = [
            run_tests(backend, tree, paths, *chosen) for tree in (ours, stock)
        ]
    rows = []
    for part in parts:
        if part.name not in changes:
            rows.append([part.name, base.name, *["does not apply"] * 7])
            continue
        read = reader(base.folder, base.tests)
        files, wrong = upstream_branch.changed_files(part, read)
        problems += wrong
        one = {path: (read(path), source) for path, source in files.items()}
        row = [part.name, base.name, size(one, False), size(one, True)]
        # A wheel has no settings, and is not what upstream's linter reads.
        is_clone = base.tests == base.folder
        row.append(lint(base, files) if is_clone else "")
        for backend in BACKENDS:
            found = [
                of_part(wanted[part.name], x) for x in results.get(backend, ())
            ]
            row.append(cell(*found) if found else "")
        rows.append(row)
    put_away(base, ours, stock)
    return rows, problems


def measure_suites(base, parts, backends, folder):
    """Like `measure`, for all tests of the packages around."""
    ours, stock = folder / "ours", folder / "stock"
    _, problems = applied(base, parts, ours)
    applied(base, [], stock)
    rows = []
    for backend in backends:
        print(f"{base.name} on {backend} ...", flush=True)
        packages = (
            *matrix.UPSTREAM_PACKAGES,
            *matrix.UPSTREAM_BACKEND_PACKAGES.get(backend, ()),
        )
        paths = [package.replace(".", "/") for package in packages]
        options = ["-n", str(matrix.WORKERS), "--dist", "loadfile"]
        options += names_of(base)
        found, known = (
            run_tests(backend, tree, paths, *options) for tree in (ours, stock)
        )
        new = [
            f"`{module.rpartition('.')[2]}::{test}`"
            for (module, test), state in found.items()
            if state == "FAIL" and known.get((module, test)) != "FAIL"
        ]
        counts = [
            str(list(states).count(state))
            for states, state in (
                (found.values(), "pass"),
                (found.values(), "FAIL"),
                (known.values(), "FAIL"),
            )
        ]
        listed = ", ".join(sorted(new)) or ("none" if found else "NONE RUN")
        rows.append([base.name, backend, *counts, listed])
    put_away(base, ours, stock)
    return rows, problems


def measure_api(base, parts, backends, folder):
    """Like `measure`, for the files that upstream's generator makes."""
    ours, stock = folder / "ours", folder / "stock"
    _, problems = applied(base, parts, ours)
    applied(base, [], stock)
    print(f"{base.name}: API ...", flush=True)
    found, known = (generated(tree, backends[0]) for tree in (ours, stock))
    differing = sorted(
        f"`{path}` DIFFERS"
        for path in found | known
        if found.get(path) != known.get(path)
    )
    put_away(base, ours, stock)
    same = f"the same {len(known)}" if known else "NONE RUN"
    return [[base.name, ", ".join(differing) or same]], problems


def generated(tree, backend):
    """`{path: text}` of the files that upstream's API generator makes."""
    api = tree / "keras" / "api"
    shutil.rmtree(api, ignore_errors=True)
    variables = matrix.environment(backend, PYTHONPATH=str(tree))
    log = tree / "api_gen.log"
    matrix.run([sys.executable, tree / "api_gen.py"], log, tree, variables)
    return {
        file.relative_to(tree).as_posix(): file.read_text(encoding="utf-8")
        for file in api.rglob("*.py")
    }


def put_away(base, *trees):
    """Keeps the logs of copies of a base, and removes the rest."""
    for tree in trees:
        for log in tree.glob("*.log"):
            name = f"{base.name}-{tree.name}-{log.name}"
            shutil.copyfile(log, matrix.OUTPUT / name)
        shutil.rmtree(tree)


# 4. The table.


def write(rows, names, columns=COLUMNS):
    """Puts rows into their table; keeps what was not measured of such parts."""
    tables = {COLUMNS: {}, SUITE_COLUMNS: {}, API_COLUMNS: {}}
    by_length = {len(columns): columns for columns in tables}
    text = TABLE.read_text(encoding="utf-8") if TABLE.is_file() else ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        kind = by_length.get(len(cells))
        is_row = cells and cells[0] not in ("---", *(kind or [""])[:1])
        if is_row and (kind != COLUMNS or cells[0] in names):
            tables[kind][_key(cells)] = cells
    known = tables[columns]
    for row in rows:
        old = known.get(_key(row), row)
        known[_key(row)] = [new or was for new, was in zip(row, old)]
    text = ""
    for about, (columns, known) in zip(
        (ABOUT, ABOUT_SUITES, ABOUT_API), tables.items()
    ):
        order = list(dict.fromkeys(cells[1] for cells in known.values()))
        found = sorted(known.values(), key=lambda c: (c[0], order.index(c[1])))
        lines = [columns, ("---",) * len(columns), *found]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        text += f"{about}\n{table}\n"
    TABLE.write_text(text, encoding="utf-8")


def _key(cells):
    """What tells a row from others of its table."""
    return tuple(cells[: 1 if len(cells) == len(API_COLUMNS) else 2])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("clone", type=pathlib.Path, metavar="CLONE")
    tag = f"v{pip_build.locked_base()[0]}"
    parser.add_argument("--onto", nargs="+", default=[tag, "master"])
    parser.add_argument("--wheel", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument(
        "--backend", nargs="+", choices=BACKENDS, default=BACKENDS
    )
    parser.add_argument("--part", nargs="+", metavar="NAME")
    parser.add_argument("--suites", action="store_true")
    parser.add_argument("--api", action="store_true")
    arguments = parser.parse_args()
    matrix.OUTPUT.mkdir(parents=True, exist_ok=True)
    run, columns = measure, COLUMNS
    if arguments.suites:
        run, columns = measure_suites, SUITE_COLUMNS
    elif arguments.api:
        run, columns = measure_api, API_COLUMNS
    with tempfile.TemporaryDirectory() as folder, pip_build.one_line_errors():
        folder = pathlib.Path(folder)
        every = upstream_branch.read_parts()
        parts = [p for p in every if p.name in (arguments.part or [p.name])]
        names = [part.name for part in every]
        is_fine = True
        for base in all_bases(arguments, folder):
            rows, problems = run(base, parts, arguments.backend, folder)
            write(rows, names, columns)
            print(
                "".join(f"{base.name}: {line}\n" for line in problems), end=""
            )
            text = " ".join(cell for row in rows for cell in row)
            is_fine &= not re.search("FAIL|DIFFERS|NONE RUN|not apply|::", text)
    print(TABLE)
    sys.exit(0 if is_fine else 1)


if __name__ == "__main__":
    main()
