#!/usr/bin/env python3
"""Turns the fork into a branch on a git checkout of upstream Keras.

    python3 -m patching.upstream_branch CHECKOUT [--tag v3.15.1]
        [--branch raw-losses]

CHECKOUT is your own clone of upstream's repository. The branch starts at the
tag and holds one commit for each part of `upstream/parts.toml`, with our
modules, our edits and our tests at upstream's places. The text for a pull
request is written to `build/upstream/PULL_REQUEST.md`.

Nothing in CHECKOUT changes before all commits are made; the branch is checked
out last. No hook is run. Needs git and Python's standard library.
"""

import pip_build  # First, since it refuses a Python that is too old.

# isort: split
import argparse
import ast
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import tomllib
from typing import NamedTuple

from patching import edits

ROOT = pip_build.ROOT
PARTS = ROOT / "upstream" / "parts.toml"
TEMPLATE = ROOT / "upstream" / "PULL_REQUEST.md"
TEXT = pip_build.BUILD / "upstream" / "PULL_REQUEST.md"
CLONE = "git clone https://github.com/keras-team/keras"
# What the parts' file calls an edit file of imports alone.
IMPORTS = "imports"
# What a module's docstring says of the base is said by the commit upstream.
ABOUT_THE_BASE = (
    "Replaces the module of the same name",
    "Not part of upstream",
)


class Tests(NamedTuple):
    """A file of tests in the branch.

    Args:
        to: Its path. What upstream has there already stays, above ours.
        source: The file of the fork that they are taken from.
        tests: The names of those to take, or `None` for all that are left.
        about: A docstring for the file, if not the source's.
    """

    to: str
    source: str
    tests: list | None
    about: str | None


class Part(NamedTuple):
    """One commit.

    Args:
        subject: The first line of its message.
        body: The rest of its message.
        modules: Paths of modules that are ours from first to last line.
        edits: `{path: names of edited definitions}`.
        tests: A list of `Tests`.
    """

    subject: str
    body: str
    modules: list
    edits: dict
    tests: list


# 1. The parts.


def read_parts():
    """The parts, with each module and each edit in exactly one of them."""
    table = tomllib.loads(PARTS.read_text(encoding="utf-8"))
    left_modules = dict.fromkeys(pip_build.overlay())
    left_edits = {}
    for path, file in pip_build.edit_files().items():
        name = file.relative_to(ROOT).as_posix()
        found = edits.read(file.read_text(encoding="utf-8"), name)
        left_edits[path] = dict.fromkeys(one.definition.name for one in found)
        # Where there are no definitions, there are imports.
        left_edits[path] = left_edits[path] or {IMPORTS: None}
    parts = []
    for entry in table["part"]:
        for path in entry.get("modules", ()):
            _take(left_modules, path, entry)
        chosen = {
            path: [
                _take(left_edits.get(path, {}), name, entry) for name in all_
            ]
            for path, all_ in entry.get("edits", {}).items()
        }
        tests = [
            Tests(one["to"], one["from"], one.get("tests"), one.get("about"))
            for one in entry.get("tests", ())
        ]
        modules = list(entry.get("modules", ()))
        body = entry["body"].strip()
        parts.append(Part(entry["subject"], body, modules, chosen, tests))
    (rest,) = [
        part for part, entry in zip(parts, table["part"]) if entry.get("rest")
    ]
    rest.modules.extend(left_modules)
    for path, names in left_edits.items():
        if names:
            rest.edits.setdefault(path, []).extend(names)
    return parts, table["stays"], table["wording"]


def _take(left, name, entry):
    if name not in left:
        raise pip_build.BuildError(
            f"{PARTS.relative_to(ROOT)}: {entry['subject']!r} names {name}, "
            "which the fork does not have, or another part has taken: "
            "correct it."
        )
    del left[name]
    return name


# 2. What becomes of a file of ours.


def reworded(text, wording):
    """Says of our own words what they mean in upstream's repository."""
    for old, new in wording.items():
        text = re.sub(old, new, text)
    return text


def without_the_base(source):
    """A module without the paragraph of its docstring about the base."""
    node = ast.parse(source).body[0]
    lines = edits.lines_of(source)
    end = node.end_lineno
    docstring = "".join(lines[:end]).rstrip("\n").removesuffix('"""')
    paragraphs = [
        one.rstrip("\n")
        for one in docstring.split("\n\n")
        if not one.startswith(ABOUT_THE_BASE)
    ]
    close = '"""\n' if len(paragraphs) == 1 else '\n"""\n'
    return "\n\n".join(paragraphs) + close + "".join(lines[end:])


def used_names(node):
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def bound_names(node):
    """What a statement of a module defines or changes."""
    if isinstance(node, edits.IMPORTS):
        return {
            alias.asname or alias.name.partition(".")[0] for alias in node.names
        }
    if hasattr(node, "name"):
        return {node.name}
    found = set()
    for one in ast.walk(node):
        if isinstance(one, edits.IMPORTS):
            found |= bound_names(one)
        elif isinstance(getattr(one, "ctx", None), (ast.Store, ast.Del)):
            found |= _owner(one)
        elif isinstance(one, ast.Expr) and isinstance(one.value, ast.Call):
            # As in `table.update(more)`.
            found |= _owner(one.value.func)
    return found


def _owner(node):
    """The name at the start of `name`, `name[i]` or `name.attribute`."""
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def without_unused_imports(base, source):
    """Drops the imports that are used no more, or were not used ever.

    Those that nothing in the base used either are there for others.
    """
    tree = ast.parse(source)
    base_tree = ast.parse(base)
    used = used_names(tree)
    kept = {
        name
        for node in base_tree.body
        if isinstance(node, edits.IMPORTS)
        for name in bound_names(node)
    } - used_names(base_tree)
    lines = edits.lines_of(source)
    for node in reversed(tree.body):
        if not isinstance(node, edits.IMPORTS):
            continue
        if bound_names(node) & (used | kept) or _is_export(node):
            continue
        start, end = node.lineno - 1, node.end_lineno
        above = lines[start - 1].strip() if start else ""
        below = lines[end].strip() if end < len(lines) else ""
        # The only one of its group takes a blank line with it.
        lines[start : end + (not above and not below)] = []
    return "".join(lines)


def _is_export(node):
    """Whether an import is there for others: `from a import b as b`."""
    return any(alias.asname == alias.name for alias in node.names)


def edited(base, path, names, wording):
    """A module of upstream's, with the edits of these names."""
    file = pip_build.edit_files()[path]
    name = file.relative_to(ROOT).as_posix()
    source = reworded(file.read_text(encoding="utf-8"), wording)
    try:
        result = edits.apply(base, source, name, only=names)
    except edits.EditError as error:
        raise pip_build.BuildError(str(error)) from error
    return without_unused_imports(base, result)


def chosen_tests(source, names, about):
    """A file with some of another's tests, and what they need of it.

    Args:
        source: The source of the file.
        names: The names of the tests.
        about: The docstring of the new file, or `None` for that of the old.
    """
    tree = ast.parse(source)
    lines = edits.lines_of(source)
    docstring, *statements = tree.body
    binds = [bound_names(node) for node in statements]
    needed, wanted = set(), set(names)
    while wanted:
        found = {
            number
            for number, bound in enumerate(binds)
            if bound & wanted and number not in needed
        }
        needed |= found
        wanted = set().union(
            *(used_names(statements[number]) for number in found)
        )
    text = f'"""{about.strip()}\n"""\n' if about else ""
    if about and "\n" not in about.strip():
        text = f'"""{about.strip()}"""\n'
    text = text or "".join(lines[: docstring.end_lineno])
    previous = docstring
    for number in sorted(needed):
        node = statements[number]
        start = _start(node)
        while lines[start - 1].startswith("#"):
            start -= 1
        text += _gap(previous, node, lines, start)
        text += "".join(lines[start : node.end_lineno])
        previous = node
    return text


def _start(node):
    nodes = [node, *getattr(node, "decorator_list", [])]
    return min(one.lineno for one in nodes) - 1


def _gap(above, node, lines, start):
    """The blank lines between two statements of a module."""
    definitions = (*edits.FUNCTIONS, ast.ClassDef)
    if isinstance(above, edits.IMPORTS) and isinstance(node, edits.IMPORTS):
        groups = [edits.import_key(one)[0] for one in (above, node)]
        return "\n" * (groups[0] != groups[1])
    if isinstance(above, definitions) or isinstance(node, definitions):
        return "\n\n"
    is_adjacent = above.end_lineno == start
    return "" if is_adjacent else "\n"


def appended(base, source):
    """A test file of upstream's with ours below, and all imports on top."""
    ours = ast.parse(source)
    docstring, *statements = ours.body
    defined = [
        set().union(*map(bound_names, nodes))
        for nodes in (
            [n for n in ast.parse(base).body if not _is_import(n)],
            [n for n in statements if not _is_import(n)],
        )
    ]
    if defined[0] & defined[1]:
        raise pip_build.BuildError(
            f"upstream's tests define {sorted(defined[0] & defined[1])} too: "
            "rename ours."
        )
    imports = [node for node in statements if _is_import(node)]
    lines = edits.lines_of(source)
    rest = lines[imports[-1].end_lineno :]
    about = ast.get_docstring(ours).splitlines()
    comment = "".join(f"# {line}".rstrip() + "\n" for line in about)
    # An edit file may hold imports alone.
    header = "".join(
        "".join(lines[node.lineno - 1 : node.end_lineno]) for node in imports
    )
    above = edits.apply(base, header).rstrip("\n")
    return f"{above}\n\n\n{comment}{''.join(rest)}"


def _is_import(node):
    return isinstance(node, edits.IMPORTS)


def names_of_tests(source):
    return [
        node.name
        for node in ast.parse(source).body
        if isinstance(node, (*edits.FUNCTIONS, ast.ClassDef))
        and re.match("test_|Test|.*Test$", node.name)
    ]


def source_of_tests(one, parts, stays, wording):
    """The source of a file of tests for the branch."""
    source = (ROOT / one.source).read_text(encoding="utf-8")
    all_ = names_of_tests(source)
    if one.tests is None:
        taken = {
            name
            for part in parts
            for other in part.tests
            if other.source == one.source
            for name in other.tests or ()
        }
        taken |= set(stays.get(one.source, ()))
        names = [name for name in all_ if name not in taken]
    else:
        taken, names = set(all_), one.tests
    if missing := sorted({*names, *taken} - set(all_)):
        raise pip_build.BuildError(
            f"{PARTS.relative_to(ROOT)}: {one.source} has no {missing[0]}: "
            "correct it."
        )
    if taken or one.about:
        source = chosen_tests(source, names, one.about)
    return reworded(source, wording)


def place_upstream(path, read):
    """Where upstream's repository has a file of the wheel.

    The public modules are generated. They lie in `keras/api/` and are moved
    when a wheel is built.
    """
    places = [path]
    if not path.startswith("keras/src/"):
        places = [path.replace("keras/", "keras/api/", 1), path]
    for place in places:
        if read(place) is not None:
            return place
    raise pip_build.BuildError(
        f"the checkout has no {' and no '.join(places)} to edit: give one of "
        "upstream's repository at that tag."
    )


def changed_files(part, parts, stays, wording, read):
    """What a part makes of the files before it, as `{path: source}`.

    Args:
        part: The `Part`.
        parts: All of them.
        stays: Tests that stay in the fork, `{file: names}`.
        wording: Replacements of words.
        read: Gives the source of a path before this part, or `None`.
    """
    files = {}
    for path in part.modules:
        source = (ROOT / path).read_text(encoding="utf-8")
        files[path] = reworded(without_the_base(source), wording)
    for path, names in part.edits.items():
        place = place_upstream(path, read)
        files[place] = edited(read(place), path, names, wording)
    for one in part.tests:
        source = source_of_tests(one, parts, stays, wording)
        base = read(one.to)
        files[one.to] = source if base is None else appended(base, source)
    return files


# 3. Git.


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

    def run(self, *arguments, text=None, own_index=False):
        """Git's exit status and what it printed, or its last complaint."""
        environment = dict(self.environment)
        if own_index:
            del environment["GIT_INDEX_FILE"]
        result = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            input=None if text is None else text.encode(),
            stdin=subprocess.DEVNULL if text is None else None,
            env=environment,
            capture_output=True,
        )
        output = result.stdout.decode()
        if result.returncode:
            output = pip_build.last_word(result.stderr.decode().splitlines())
        return result.returncode, output

    def ask(self, *arguments, text=None, own_index=False):
        """What git printed."""
        status, output = self.run(*arguments, text=text, own_index=own_index)
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
def open_checkout(folder):
    """The repository at `folder`, if it is one that a branch can go to."""
    if shutil.which("git") is None:
        raise pip_build.BuildError("there is no git: install it.")
    with tempfile.TemporaryDirectory() as scratch:
        index = pathlib.Path(scratch) / "index"
        repository = Repository(folder.resolve(), index)
        if not folder.is_dir():
            raise pip_build.BuildError(
                f"there is no folder {folder}: make it with '{CLONE}'."
            )
        if repository.run("rev-parse", "--show-toplevel")[0]:
            raise pip_build.BuildError(
                f"{folder} is no git checkout: make one with '{CLONE}'."
            )
        top = repository.ask("rev-parse", "--show-toplevel").strip()
        repository.folder = pathlib.Path(top)
        yield repository


def start(repository, tag, branch):
    """The commit to start from, if all is as it has to be."""
    folder = repository.folder
    status = repository.ask("status", "--porcelain", own_index=True)
    if status:
        first = status.splitlines()[0]
        raise pip_build.BuildError(
            f"{folder} holds what is not committed ({first.strip()}): commit "
            "it, or put it away with 'git stash --include-untracked'."
        )
    if repository.run("check-ref-format", "--branch", branch)[0]:
        raise pip_build.BuildError(
            f"{branch!r} can't be the name of a branch: choose another one."
        )
    missing, _ = repository.run("show-ref", "--verify", f"refs/heads/{branch}")
    if not missing:
        raise pip_build.BuildError(
            f"{folder} has a branch {branch}: choose another name with "
            f"--branch, or remove it with 'git branch -D {branch}'."
        )
    missing, commit = repository.run(
        "rev-parse", "--verify", f"refs/tags/{tag}^{{commit}}"
    )
    if missing:
        raise pip_build.BuildError(
            f"{folder} has no tag {tag}: get it with 'git fetch --tags' from "
            "upstream's repository, or give another --tag."
        )
    commit = commit.strip()
    file = "keras/src/version.py"
    found = re.search(
        r'^__version__ = "(.+)"$',
        repository.source(commit, file) or "",
        re.MULTILINE,
    )
    if not found:
        raise pip_build.BuildError(
            f"{tag} of {folder} is no Keras, its {file} names no version: give "
            "a checkout of upstream's repository."
        )
    wanted = pip_build.locked_base()[0]
    if found[1] != wanted:
        raise pip_build.BuildError(
            f"{tag} of {folder} is Keras {found[1]}, but this fork is laid "
            f"over {wanted}: give the tag of that release."
        )
    if repository.run("var", "GIT_AUTHOR_IDENT")[0]:
        raise pip_build.BuildError(
            f"git does not know who you are: tell it in {folder} with 'git "
            "config user.name NAME' and 'git config user.email ADDRESS'."
        )
    return commit


def make_branch(folder, tag, branch):
    """Makes the branch; what was done, as `[(part, commit, its files)]`."""
    parts, stays, wording = read_parts()
    done = []
    with open_checkout(folder) as repository:
        commit = first = start(repository, tag, branch)
        for part in parts:
            pip_build.say(f"{part.subject} ...")

            def read(path, commit=commit):
                return repository.source(commit, path)

            files = changed_files(part, parts, stays, wording, read)
            message = f"{part.subject}\n\n{part.body}\n"
            commit = repository.commit(commit, files, message)
            done.append((part, commit, list(files)))
        sizes = {
            commit: repository.ask(
                "show", "--shortstat", "--format=", commit
            ).strip()
            for _, commit, _ in done
        }
        TEXT.parent.mkdir(parents=True, exist_ok=True)
        TEXT.write_text(
            pull_request(done, sizes, tag, branch), encoding="utf-8"
        )
        repository.ask("branch", branch, commit)
        repository.ask("switch", "--quiet", branch, own_index=True)
        folder = repository.folder
    return folder, first, done


# 4. The text.


def pull_request(done, sizes, tag, branch):
    """The text of the pull request, its template filled in."""
    rows = ["| part | tests | size |", "| --- | --- | --- |"]
    for number, (part, commit, _) in enumerate(done, 1):
        tests = ", ".join(f"`{one.to}`" for one in part.tests)
        rows.append(f"| {number}. {part.subject} | {tests} | {sizes[commit]} |")
    text = TEMPLATE.read_text(encoding="utf-8")
    values = {
        "parts": "\n".join(rows),
        "count": str(len(done)),
        "tag": tag,
        "version": tag.removeprefix("v"),
        "branch": branch,
        "first_test": done[0][0].tests[0].to,
    }
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkout", type=pathlib.Path, metavar="CHECKOUT")
    parser.add_argument("--tag", help="the release to start from")
    parser.add_argument("--branch", default="raw-losses")
    arguments = parser.parse_args()
    with pip_build.one_line_errors():
        tag = arguments.tag or f"v{pip_build.locked_base()[0]}"
        folder, _, done = make_branch(arguments.checkout, tag, arguments.branch)
    pip_build.say(
        f"The branch {arguments.branch} of {folder} is {len(done)} commits "
        f"ahead of {tag}; look at it with 'git log --stat {tag}..'."
    )
    pip_build.say(str(TEXT))


if __name__ == "__main__":
    main()
