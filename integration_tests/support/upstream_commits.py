"""Runs upstream's own tests on each commit of the branch for upstream.

    python integration_tests/support/upstream_commits.py [--backend jax ...]
        [--checkout FOLDER] [-- option of pytest ...]

needs an environment with `requirements.txt`. Makes the branch in a clone of
yours or, without one, in a repository made from the base wheel, unpacks each
commit beside it, and runs the tests of the packages that the commit touches,
and of the trainers. What is measured goes into `docs/upstream_commits.md`;
other rows stay there, unless there is no such part any more.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

import pip_build  # noqa: E402
from integration_tests import upstream_branch_test  # noqa: E402
from integration_tests.support import matrix  # noqa: E402
from patching import upstream_branch  # noqa: E402

TABLE = ROOT / "docs" / "upstream_commits.md"
BRANCH = "raw-losses"
COLUMNS = ("part", "backend", "packages", "passed", "failed", "skipped")
ABOUT = f"""# Upstream's tests on each commit of the branch

Written by `integration_tests/support/upstream_commits.py`; do not edit. For
each part of `upstream/parts.toml`: upstream's own tests, unchanged but for
those that the commits append, of the packages that its commit touches, and of
the trainers. The commits start at Keras {pip_build.locked_base()[0]}.
"""


def packages_of(files):
    """The packages with tests that a commit's files are in."""
    known = (
        *matrix.UPSTREAM_PACKAGES,
        *sum(matrix.UPSTREAM_BACKEND_PACKAGES.values(), ()),
    )
    folders = {package: f"{package.replace('.', '/')}/" for package in known}
    return tuple(
        package
        for package, folder in folders.items()
        if package == "keras.src.trainers"
        or any(file.startswith(folder) for file in files)
    )


def row(part, result, packages):
    shown = ", ".join(f"`{name}`" for name in packages)
    return (part, result.backend, shown, *map(str, result[2:5]))


def write(rows, parts):
    """Puts rows into the table, and keeps other rows of the same parts."""
    measured, rows = {cells[:2] for cells in rows}, list(rows)
    if TABLE.is_file():
        for line in TABLE.read_text(encoding="utf-8").splitlines():
            cells = tuple(cell.strip() for cell in line.split("|")[1:-1])
            is_row = len(cells) == len(COLUMNS) and cells[0] in parts
            if is_row and cells[:2] not in measured:
                rows.append(cells)
    rows = sorted(rows, key=lambda cells: (int(cells[0].split(".")[0]), cells))
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    TABLE.write_text(f"{ABOUT}\n{table}\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--backend", nargs="+", choices=pip_build.BACKENDS, default=["jax"]
    )
    parser.add_argument("--checkout", type=pathlib.Path)
    parser.add_argument("--part", nargs="+", type=int, metavar="NUMBER")
    parser.add_argument("rest", nargs="*", metavar="-- option of pytest")
    arguments = parser.parse_args()
    matrix.OUTPUT.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder, pip_build.one_line_errors():
        folder = pathlib.Path(folder)
        checkout = arguments.checkout
        if checkout is None:
            checkout = upstream_branch_test.new_repository(folder / "clone")
        tag = upstream_branch_test.TAG
        _, _, done = upstream_branch.make_branch(checkout, tag, BRANCH)
        parts = [
            f"{number}. {part.subject}"
            for number, (part, _, _) in enumerate(done, 1)
        ]
        for number, (part, (_, commit, files)) in enumerate(
            zip(parts, done), 1
        ):
            if arguments.part and number not in arguments.part:
                continue
            packages = packages_of(files)
            tree = folder / "tree"
            tree.mkdir()
            archive = ["git", "-C", checkout, "archive", commit]
            with subprocess.Popen(archive, stdout=subprocess.PIPE) as source:
                extract = ["tar", "--extract", f"--directory={tree}"]
                subprocess.run(extract, stdin=source.stdout, check=True)
            for backend in arguments.backend:
                print(f"{part}: ", end="", flush=True)
                result = matrix.run_upstream(
                    backend,
                    argparse.Namespace(stock=True, rest=arguments.rest),
                    tree,
                    packages,
                )
                rows.append(row(part, result, packages))
                write(rows, parts)
            shutil.rmtree(tree)
    print(TABLE)
    sys.exit(1 if any(cells[4] != "0" for cells in rows) else 0)


if __name__ == "__main__":
    main()
