#!/usr/bin/env python3
"""Makes a branch of each of our fixes in a clone of upstream Keras.

    python3 -m patching.upstream_branch CLONE --onto BRANCH_OR_TAG
        [--prefix fix-]

CLONE is your own clone of upstream's repository. `upstream/fixes/README.md`
says what a fix is. Each becomes a branch of one commit, `fix-NAME`, that starts
at what CLONE has under BRANCH_OR_TAG; `fix-all` has all of them. A fix that
does not apply there, or that upstream has by now, is left out and named. The
texts for its issue and its pull request go to `build/upstream/`.

No file that is checked out in CLONE changes, and no hook is run. Needs git and
Python's standard library.
"""

import pip_build  # First, since it refuses a Python that is too old.

# isort: split
import argparse
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

from patching import edits

ROOT = pip_build.ROOT
FIXES = ROOT / "upstream" / "fixes"
TEMPLATE = ROOT / "upstream" / "PULL_REQUEST.md"
TEXTS = pip_build.BUILD / "upstream"
CLONE = "git clone https://github.com/keras-team/keras"
TEXT = re.compile(
    r"# (?P<subject>[^\n]+)\n\n(?P<body>.+?)\n"
    r"## Pull request\n(?P<description>.+?)\n"
    r"## Issue: (?P<title>[^\n]+)\n(?P<issue>.+)",
    re.DOTALL,
)
REPRODUCTION = "{reproduction}"


class Part(NamedTuple):
    """A fix.

    Args:
        name: Its name.
        text: The match of `TEXT`.
        edits: `{path in Keras: edit file}`.
        head_edits: Those for where these do not apply, likewise.
        files: `{path in Keras: new file}`.
        reproduction: The source of the script that shows what is wrong.
    """

    name: str
    text: re.Match
    edits: dict
    head_edits: dict
    files: dict
    reproduction: str


class Result(NamedTuple):
    """What became of a part.

    Args:
        part: The `Part`.
        commit: Its commit, or `None` if there is none.
        problems: Why it does not apply, a line for each reason.
    """

    part: Part
    commit: str | None
    problems: list


# 1. The parts.


def read_parts(folder=None):
    """All parts, by name."""
    folder = FIXES if folder is None else folder
    parts = []
    for file in sorted(folder.glob("*.md")):
        if file.name == "README.md":
            continue
        name = file.stem
        script = file.with_suffix(".py")
        text = TEXT.fullmatch(file.read_text(encoding="utf-8"))
        if text is None:
            raise pip_build.BuildError(
                f"{file}: expected '# SUBJECT', '## Pull request' and "
                f"'## Issue: TITLE' with a text below each: see README.md "
                "there."
            )
        if not script.is_file():
            raise pip_build.BuildError(
                f"{file} has no {script.name} beside it."
            )
        changed = _files_of(folder, f".{name}{edits.SUFFIX}")
        if not changed:
            raise pip_build.BuildError(
                f"{file}: no file below {folder} ends with "
                f".{name}{edits.SUFFIX}."
            )
        parts.append(
            Part(
                name,
                text,
                changed,
                _files_of(folder, f".{name}.head{edits.SUFFIX}"),
                _files_of(folder, f".{name}.py"),
                script.read_text(encoding="utf-8"),
            )
        )
    return parts


def _files_of(folder, suffix):
    """`{path in Keras: file}` of those that end so."""
    return {
        file.relative_to(folder).as_posix().removesuffix(suffix) + ".py": file
        for file in sorted((folder / "keras").rglob(f"*{suffix}"))
    }


def changed_files(part, read):
    """What a part makes of the files before it.

    Args:
        part: The `Part`.
        read: Gives the source of a path before this part, or `None`.

    Returns:
        `{path: source}` of what changes, and why the part doesn't apply.
    """
    files, problems = {}, []
    for path, file in part.edits.items():
        base = read(path)
        if base is None:
            problems.append(f"{part.name}: {file.name}: there is no {path}.")
            continue
        source, wrong = _applied(base, file, part)
        if wrong and path in part.head_edits:
            source, wrong = _applied(base, part.head_edits[path], part)
        problems += wrong
        if source not in (None, base):
            files[path] = source
    for path, file in part.files.items():
        if read(path) is not None:
            problems.append(f"{part.name}: {file.name}: there is a {path}.")
        files[path] = file.read_text(encoding="utf-8")
    return files, problems


def _applied(base, file, part):
    """The edited source, `None` if it can't be, and why."""
    name = f"{part.name}: {file.name}"
    source = file.read_text(encoding="utf-8")
    try:
        return edits.apply(base, source, name, may_be_there=True), []
    except edits.EditError as error:
        return None, error.problems


def is_test(path):
    return path.endswith("_test.py")


# 2. Git.


class Repository:
    """A git checkout, to which commits are added without touching its files.

    Args:
        folder: The folder that git is run in.
        index: A file for the commit that is being made.
    """

    def __init__(self, folder, index):
        self.folder = folder
        self.environment = {**os.environ, "GIT_INDEX_FILE": str(index)}
        for name in ("GIT_DIR", "GIT_WORK_TREE"):
            self.environment.pop(name, None)

    def run(self, *arguments, text=None):
        """Git's exit status and what it printed, or its last complaint."""
        result = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            input=None if text is None else text.encode(),
            stdin=subprocess.DEVNULL if text is None else None,
            env=self.environment,
            capture_output=True,
        )
        output = result.stdout.decode()
        if result.returncode:
            output = pip_build.last_word(result.stderr.decode().splitlines())
        return result.returncode, output

    def ask(self, *arguments, text=None):
        """What git printed."""
        status, output = self.run(*arguments, text=text)
        if status:
            raise pip_build.BuildError(
                f"'git {arguments[0]}' fails in {self.folder} ({output}): "
                "see to it that git works there."
            )
        return output

    def source(self, commit, path):
        """The text of a file in a commit, or `None`."""
        status, text = self.run("cat-file", "blob", f"{commit}:{path}")
        return None if status else text

    def commit(self, parent, files, message):
        """A commit that changes files of `parent`."""
        self.ask("read-tree", parent)
        for path, source in files.items():
            blob = self.ask("hash-object", "-w", "--stdin", text=source).strip()
            entry = self.ask("ls-tree", parent, "--", path)
            mode = entry.split()[0] if entry else "100644"
            self.ask(
                "update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}"
            )
        tree = self.ask("write-tree").strip()
        return self.ask("commit-tree", tree, "-p", parent, text=message).strip()


@contextlib.contextmanager
def open_clone(folder):
    """The repository at `folder`, if it is one that a branch can go to."""
    if shutil.which("git") is None:
        raise pip_build.BuildError("there is no git: install it.")
    if not folder.is_dir():
        raise pip_build.BuildError(
            f"there is no folder {folder}: make it with '{CLONE}'."
        )
    with tempfile.TemporaryDirectory() as scratch:
        index = pathlib.Path(scratch) / "index"
        repository = Repository(folder.resolve(), index)
        if repository.run("rev-parse", "--git-dir")[0]:
            raise pip_build.BuildError(
                f"{folder} is no git checkout: make one with '{CLONE}'."
            )
        yield repository


def start(repository, onto, branches):
    """The commit to start from, if all is as it has to be."""
    folder = repository.folder
    for branch in branches:
        if repository.run("check-ref-format", "--branch", branch)[0]:
            raise pip_build.BuildError(
                f"{branch!r} can't be the name of a branch: give another "
                "--prefix."
            )
        ref = f"refs/heads/{branch}"
        if not repository.run("show-ref", "--verify", ref)[0]:
            raise pip_build.BuildError(
                f"{folder} has a branch {branch}: give another --prefix, or "
                f"remove it with 'git branch -D {branch}'."
            )
    missing, commit = repository.run(
        "rev-parse", "--verify", f"{onto}^{{commit}}"
    )
    if missing:
        raise pip_build.BuildError(
            f"{folder} has no branch or tag {onto}: get it with 'git fetch "
            "--tags' from upstream's repository, or give another --onto."
        )
    commit = commit.strip()
    if repository.source(commit, "keras/src/version.py") is None:
        raise pip_build.BuildError(
            f"{onto} of {folder} is no Keras, it has no keras/src/version.py: "
            "give a clone of upstream's repository."
        )
    if repository.run("var", "GIT_AUTHOR_IDENT")[0]:
        raise pip_build.BuildError(
            f"git does not know who you are: tell it in {folder} with 'git "
            "config user.name NAME' and 'git config user.email ADDRESS'."
        )
    return commit


def commit_part(repository, part, parent):
    """Puts a part onto a commit; the `Result`."""

    def read(path):
        return repository.source(parent, path)

    files, problems = changed_files(part, read)
    if problems or all(is_test(path) for path in files):
        return Result(part, None, problems)
    message = f"{part.text['subject']}\n\n{part.text['body'].strip()}\n"
    return Result(part, repository.commit(parent, files, message), [])


def make_branches(folder, onto, prefix, parts):
    """Makes a branch for each part, and one for all.

    Returns:
        The commit that they start at, the list of `Result`, and that of the
        branch of all parts.
    """
    names = [f"{prefix}{name}" for name in [*(p.name for p in parts), "all"]]
    with open_clone(folder) as repository:
        first = last = start(repository, onto, names)
        alone = [commit_part(repository, part, first) for part in parts]
        together = []
        for result in alone:
            if result.commit:
                together.append(commit_part(repository, result.part, last))
                last = together[-1].commit or last
        for result in alone:
            if result.commit:
                branch = f"{prefix}{result.part.name}"
                repository.ask("branch", branch, result.commit)
        if last != first:
            repository.ask("branch", f"{prefix}all", last)
    return first, alone, together


# 3. The texts.


def write_texts(part):
    """Writes what is said of a part; the folder."""
    folder = TEXTS / part.name
    folder.mkdir(parents=True, exist_ok=True)
    script = f"```python\n{part.reproduction.strip()}\n```"
    values = {
        name: text.strip() for name, text in part.text.groupdict().items()
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name in ("subject", "description"):
        text = text.replace("{" + name + "}", values[name])
    issue = f"<!-- {values['title']} -->\n\n{values['issue']}\n"
    for name, text in (("PULL_REQUEST.md", text), ("ISSUE.md", issue)):
        text = text.replace(REPRODUCTION, script)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def say_what_became(alone, together, prefix):
    """Says it; whether all parts that upstream lacks could be applied."""
    is_fine = True
    for result in alone:
        name = result.part.name
        if result.commit:
            pip_build.say(f"{prefix}{name}: {write_texts(result.part)}")
        elif not result.problems:
            pip_build.say(f"{name}: upstream has it by now; left out.")
    for results, where in ((alone, ""), (together, f"{prefix}all: ")):
        for problem in (p for result in results for p in result.problems):
            is_fine = False
            print(f"error: {where}{problem}", file=sys.stderr)
    return is_fine


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("clone", type=pathlib.Path, metavar="CLONE")
    parser.add_argument("--onto", required=True, metavar="BRANCH_OR_TAG")
    parser.add_argument("--prefix", default="fix-")
    arguments = parser.parse_args()
    with pip_build.one_line_errors():
        _, alone, together = make_branches(
            arguments.clone, arguments.onto, arguments.prefix, read_parts()
        )
        if not say_what_became(alone, together, arguments.prefix):
            sys.exit(1)


if __name__ == "__main__":
    main()
