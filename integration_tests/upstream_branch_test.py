"""The branches that upstream_branch.py makes, and what it refuses.

A small repository stands in for a clone of upstream's, and small fixes for
ours. Ours are put to the Keras releases at hand below.
"""

import os
import re
import subprocess
import sys

import pytest

import pip_build
from patching import statements
from patching import upstream_branch

SUMS = '''"""Sums."""


def total(values):
    result = sum(values)
    return result


def mean(values):
    return sum(values) / len(values)
'''
SUMS_TEST = '''"""Tests of sums."""

from keras.src import sums


class SumsTest:
    def test_total(self):
        assert sums.total([1, 2]) == 3
'''
PATH = "keras/src/sums.py"
TEST_PATH = "keras/src/sums_test.py"
DIGITS = statements.digits_of("result = sum(values)\n")
MEAN = statements.digits_of("return sum(values) / len(values)\n")
FLOATS = f"""# in total, replaces {DIGITS}: sums are floats.
def _(values):
    result = float(sum(values))
"""
FLOATS_TEST = """class SumsTest:
    # adds: a sum is a float.
    def test_float(self):
        assert isinstance(sums.total([1]), float)
"""
EMPTY = f"""# in mean, before {MEAN}: nothing has no mean.
def _(values):
    if not values:
        return 0.0
"""
NEW_TEST = '''"""Tests of means."""


def test_mean():
    pass
'''
TEXT = """# {subject}

Why it is
right.

## Pull request

{name} was wrong:

{{reproduction}}

## Issue: {name} is wrong

{{reproduction}}

prints 1.
"""
# What upstream's check of a pull request looks for.
TERMS = (
    "I am a human, and not a bot.",
    "I will be responsible for responding to review comments in a timely "
    "manner.",
    "I will work with the maintainers to push this PR forward until "
    "submission.",
)


def git(folder, *arguments):
    answer = subprocess.run(
        ["git", "-C", str(folder), *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def put(folder, files):
    for path, source in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(source, encoding="utf-8")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """No settings of git but the clone's."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


@pytest.fixture
def clone(tmp_path):
    """A repository that is as hard to commit to as it can be."""
    folder = tmp_path / "clone"
    files = {PATH: SUMS, TEST_PATH: SUMS_TEST}
    put(folder, {**files, "keras/src/version.py": "__version__ = '9'\n"})
    git(folder, "init", "--quiet", "--initial-branch=master")
    git(folder, "config", "user.name", "A Contributor")
    git(folder, "config", "user.email", "contributor@example.com")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=A release")
    git(folder, "tag", "v9")
    git(folder, "config", "core.autocrlf", "true")
    put(folder, {"mine.txt": "not committed\n"})
    hook = folder / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    return folder


@pytest.fixture
def fixes(tmp_path, monkeypatch):
    """Two fixes of one module."""
    folder = tmp_path / "fixes"
    put(
        folder,
        {
            "README.md": "About fixes.\n",
            "floats.md": TEXT.format(subject="Sum in floats", name="total"),
            "floats.py": "print(1)\n",
            "keras/src/sums.floats.edits.py": FLOATS,
            "keras/src/sums_test.floats.edits.py": FLOATS_TEST,
            "empty.md": TEXT.format(subject="Give 0 for nothing", name="mean"),
            "empty.py": "print(2)\n",
            "keras/src/sums.empty.edits.py": EMPTY,
            "keras/src/means_test.empty.py": NEW_TEST,
        },
    )
    monkeypatch.setattr(upstream_branch, "FIXES", folder)
    monkeypatch.setattr(upstream_branch, "TEXTS", tmp_path / "texts")
    return folder


def run(monkeypatch, *arguments):
    """Runs the command; its exit status, or the line that it ends with."""
    monkeypatch.setattr(sys, "argv", ["upstream_branch", *map(str, arguments)])
    try:
        upstream_branch.main()
    except SystemExit as end:
        return end.code
    return 0


def show(clone, branch, path):
    return git(clone, "show", f"{branch}:{path}") + "\n"


WITH_FLOATS = SUMS.replace("= sum(values)", "= float(sum(values))")
RETURN = "    return sum(values) / len"
BEFORE_RETURN = "    if not values:\n        return 0.0\n"


def test_branches(clone, fixes, monkeypatch, capsys):
    before = git(clone, "rev-parse", "HEAD"), git(clone, "status", "-s")
    assert run(monkeypatch, clone / "keras", "--onto", "v9") == 0
    after = git(clone, "rev-parse", "HEAD"), git(clone, "status", "-s")
    assert before == after and git(clone, "branch", "--show-current") == (
        "master"
    )
    with_empty = SUMS.replace(RETURN, BEFORE_RETURN + RETURN)
    both = WITH_FLOATS.replace(RETURN, BEFORE_RETURN + RETURN)
    assert show(clone, "fix-floats", PATH) == WITH_FLOATS
    assert show(clone, "fix-empty", PATH) == with_empty
    assert show(clone, "fix-all", PATH) == both
    test = (
        SUMS_TEST
        + "\n"
        + FLOATS_TEST.partition("    # adds: a sum is a fl")[2].partition("\n")[
            2
        ]
    )
    assert show(clone, "fix-floats", TEST_PATH) == test
    assert show(clone, "fix-all", TEST_PATH) == test
    assert show(clone, "fix-empty", TEST_PATH) == SUMS_TEST
    assert show(clone, "fix-all", "keras/src/means_test.py") == NEW_TEST
    log = git(clone, "log", "-1", "--format=%an|%B", "fix-floats")
    assert log == "A Contributor|Sum in floats\n\nWhy it is\nright."
    assert git(clone, "rev-list", "--count", "v9..fix-floats") == "1"
    assert git(clone, "rev-list", "--count", "v9..fix-all") == "2"
    assert capsys.readouterr().out.split() == [
        "fix-empty:",
        str(upstream_branch.TEXTS / "empty"),
        "fix-floats:",
        str(upstream_branch.TEXTS / "floats"),
    ]


def test_what_upstream_has_is_left_out(clone, fixes, monkeypatch, capsys):
    put(clone, {PATH: WITH_FLOATS})
    git(clone, "commit", "-qanm", "Theirs")
    assert run(monkeypatch, clone, "--onto", "master") == 0
    assert "floats: upstream has it by now" in capsys.readouterr().out
    names = git(clone, "branch", "--format=%(refname:short)").split()
    assert names == ["fix-all", "fix-empty", "master"]


def test_what_does_not_apply_is_named(clone, fixes, monkeypatch, capsys):
    put(clone, {PATH: SUMS.replace("= sum(", "= max(")})
    git(clone, "commit", "-qanm", "Theirs")
    assert run(monkeypatch, clone, "--onto", "master") == 1
    (line,) = capsys.readouterr().err.splitlines()
    for word in ("error: floats: ", "sums.floats.edits", "total", DIGITS):
        assert word in line
    # The commits themselves are equal only if made in the same second.
    assert git(clone, "diff", "fix-all", "fix-empty") == ""
    assert git(clone, "rev-list", "--count", "master..fix-all") == "1"


def test_the_form_for_head(clone, fixes, monkeypatch, capsys):
    theirs = SUMS.replace("result = sum(values)", "result = sum(iter(values))")
    put(clone, {PATH: theirs})
    git(clone, "commit", "-qanm", "Theirs")
    digits = statements.digits_of("result = sum(iter(values))\n")
    source = FLOATS.replace(DIGITS, digits).replace("sum(v", "1.0 * sum(v")
    put(fixes, {"keras/src/sums.floats.head.edits.py": source})
    for onto, prefix, expected in (
        ("v9", "a-", "result = float(sum(values))"),
        ("master", "b-", "result = float(1.0 * sum(values))"),
    ):
        options = [clone, "--onto", onto, "--prefix", prefix]
        assert run(monkeypatch, *options) == 0
        assert expected in show(clone, f"{prefix}floats", PATH)


def test_what_does_not_go_together_is_named(clone, fixes, monkeypatch, capsys):
    source = EMPTY.replace("before", "replaces")
    put(fixes, {"keras/src/sums.empty.edits.py": source})
    source = EMPTY.replace("0.0", "1.0").replace("before", "replaces")
    put(fixes, {"keras/src/sums.floats.edits.py": source})
    assert run(monkeypatch, clone, "--onto", "v9") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: fix-all: floats: ") and MEAN in line
    assert git(clone, "rev-parse", "fix-floats")


def accepts(text):
    """Whether upstream's check of a pull request passes."""
    lines = text.splitlines()
    return all(
        any(
            re.match(rf"- *\[ *[xX] *\] *{re.escape(term)}", line)
            for line in lines
        )
        for term in TERMS
    )


def test_a_person_ticks_the_boxes(clone, fixes, monkeypatch):
    run(monkeypatch, clone, "--onto", "v9")
    text = (upstream_branch.TEXTS / "floats/PULL_REQUEST.md").read_text("utf-8")
    assert not accepts(text)
    assert not re.search(r"\[ *[xX] *\]", text)
    assert text.count("- [ ] ") == 3
    ticked = text.replace("- [ ] ", "- [x] ")
    assert accepts(ticked)
    for term in TERMS:
        assert not accepts(ticked.replace(term, ""))
    one = TERMS[1]
    assert not accepts(ticked.replace(one, one.replace(" in a ", "\n  in a ")))


def test_texts(clone, fixes, monkeypatch):
    run(monkeypatch, clone, "--onto", "v9")
    folder = upstream_branch.TEXTS / "floats"
    text = (folder / "PULL_REQUEST.md").read_text("utf-8")
    assert text.startswith("<!-- Sum in floats -->\n")
    assert "total was wrong:\n\n```python\nprint(1)\n```\n" in text
    assert "AI coding agent" in text
    assert not re.search(r"\{\w+\}", text)
    issue = (folder / "ISSUE.md").read_text("utf-8")
    assert issue == (
        "<!-- total is wrong -->\n\n```python\nprint(1)\n```\n\nprints 1.\n"
    )


# What is refused. Nothing is made then.


def test_refused(clone, fixes, monkeypatch, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    git(clone, "branch", "taken-empty")
    git(clone, "switch", "--quiet", "--orphan", "bare")
    put(clone, {"a.txt": "a\n"})
    git(clone, "add", "a.txt")
    git(clone, "commit", "-qnm", "No Keras")
    count = len(git(clone, "branch").split("\n"))
    for arguments, words in (
        ([tmp_path / "nothing", "--onto", "v9"], ["nothing", "git clone"]),
        ([empty, "--onto", "v9"], ["empty", "git clone"]),
        ([clone, "--onto", "v10"], ["v10", "git fetch --tags", "--onto"]),
        ([clone, "--onto", "bare"], ["bare", "no Keras", "version.py"]),
        ([clone, "--onto", "v9", "--prefix", "a..b"], ["a..b", "--prefix"]),
        (
            [clone, "--onto", "v9", "--prefix", "taken-"],
            ["taken-empty", "git branch -D"],
        ),
    ):
        line = run(monkeypatch, *arguments)
        assert line.startswith("error: ") and "\n" not in line
        for word in words:
            assert word in line
    assert len(git(clone, "branch").split("\n")) == count


def test_nobody_to_commit_as(clone, fixes, monkeypatch):
    git(clone, "config", "--unset", "user.name")
    git(clone, "config", "--unset", "user.email")
    git(clone, "config", "user.useConfigOnly", "true")
    line = run(monkeypatch, clone, "--onto", "v9")
    assert "git config user.name" in line


@pytest.mark.parametrize(
    ("path", "source", "words"),
    [
        ("floats.md", "# Sum in floats\n\nNo more.\n", ["## Pull request"]),
        ("floats.py", None, ["floats.md", "no floats.py"]),
        ("keras/src/sums.floats.edits.py", None, ["no file", "floats.edits"]),
    ],
)
def test_half_a_part(fixes, path, source, words):
    for file in fixes.rglob("*_test.floats.*"):
        file.unlink()
    (fixes / path).unlink()
    if source:
        put(fixes, {path: source})
    with pytest.raises(pip_build.BuildError) as raised:
        upstream_branch.read_parts()
    for word in words:
        assert word in str(raised.value)


# Our fixes.

PARTS = upstream_branch.read_parts()
BASES = [pip_build.unpacked_base()]
BASES += sorted((pip_build.BUILD / "head").glob("unpacked-*"))[-1:]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_message(part):
    lines = [part.text["subject"], *part.text["body"].splitlines()]
    assert max(map(len, lines)) <= 72
    assert not lines[0].endswith(".")


@pytest.mark.parametrize("base", BASES, ids=lambda path: path.name)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_our_fixes_apply(part, base):
    """To the module as it is there, and in its form; wheels have no tests."""
    of_modules = {
        path: file
        for path, file in part.edits.items()
        if not upstream_branch.is_test(path)
    }

    def read(path):
        return (base / path).read_bytes().decode()

    files, problems = upstream_branch.changed_files(
        part._replace(edits=of_modules, files={}), read
    )
    assert not problems
    assert set(files) == set(of_modules)
    settings = f"--config={pip_build.ROOT / 'ruff.toml'}"
    for path, new in files.items():
        for options in (["format", "--diff"], ["check", "--ignore=E722"]):
            command = [sys.executable, "-m", "ruff", *options, settings]
            command += ["--no-cache", f"--stdin-filename={path}", "-"]
            found, known = (
                subprocess.run(command, input=source.encode(), cwd=base)
                for source in (new, read(path))
            )
            assert found.returncode <= known.returncode
