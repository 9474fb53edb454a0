"""The branch that upstream_branch.py makes, and what it refuses.

A git repository made from the unpacked base wheel stands in for a clone of
upstream's: it has neither upstream's conftest.py nor its settings.
"""

import ast
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys

import pytest

import pip_build
from patching import edits
from patching import upstream_branch

TAG = f"v{pip_build.locked_base()[0]}"
NUMBERS = range(1, 1 + len(upstream_branch.read_parts()[0]))
# What Keras and its tests import, apart from themselves.
UPSTREAM_IMPORTS = {
    "absl",
    "jax",
    "ml_dtypes",
    "numpy",
    "pytest",
    "tensorboard",
    "tensorflow",
    "torch",
    *sys.stdlib_module_names,
}
# Of the commits that are about one backend, by number; the others run on the
# one that is imported fastest.
BACKENDS = {4: "tensorflow", 5: "tensorflow"}
# Plugins of pytest. After TensorFlow, torch would find libraries that are not
# its own. Of many tests, a few: all of them run for the fork already.
TORCH_FIRST = """
import torch
"""
EVERY = """
def pytest_collection_modifyitems(items):
    items[:] = items[:: 1 + len(items) // 8]
"""


def git(folder, *arguments, **variables):
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **variables,
    }
    answer = subprocess.run(
        ["git", "-C", str(folder), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def new_repository(folder, version=None):
    """A repository with the base's package, or with one that says little."""
    folder.mkdir()
    package = pip_build.unpacked_base() / "keras"
    if version is None:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, folder / "keras", ignore=ignored)
    else:
        file = folder / "keras/src/version.py"
        file.parent.mkdir(parents=True)
        file.write_text(f'__version__ = "{version}"\n')
    git(folder, "init", "--quiet", "--initial-branch=master")
    git(folder, "config", "user.name", "A Contributor")
    git(folder, "config", "user.email", "contributor@example.com")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=A release")
    git(folder, "tag", TAG)
    return folder


def run(*arguments, **variables):
    """Runs upstream_branch.py, with no settings of git but the checkout's."""
    return subprocess.run(
        [sys.executable, upstream_branch.__file__, *map(str, arguments)],
        env={
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            **variables,
        },
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The stand-in with the branch, made as hard as it can be to commit."""
    folder = new_repository(tmp_path_factory.mktemp("upstream") / "keras")
    hook = folder / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    git(folder, "config", "core.autocrlf", "true")
    # Not the commit that the branch starts at.
    (folder / "NEWS").write_text("newer\n")
    git(folder, "add", "NEWS")
    git(folder, "commit", "--quiet", "--no-verify", "--message=Later")
    answer = run(folder / "keras", "--branch", "sums")
    assert answer.returncode == 0, answer.stderr
    text = answer.stdout.splitlines()[-1]
    assert text == str(upstream_branch.TEXT)
    return folder


@pytest.fixture(scope="module")
def commits(checkout):
    return git(checkout, "rev-list", "--reverse", f"{TAG}..sums").splitlines()


def changed(checkout, first, last, *options):
    names = git(checkout, "diff", "--name-only", first, last, *options)
    return names.splitlines()


def test_branch(checkout, commits):
    assert git(checkout, "branch", "--show-current") == "sums"
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "merge-base", "sums", "master") == git(
        checkout, "rev-parse", TAG
    )
    assert not (checkout / "NEWS").exists()
    assert len(commits) == len(NUMBERS)
    author = git(checkout, "log", "-1", "--format=%an <%ae>")
    assert author == "A Contributor <contributor@example.com>"


def test_messages(checkout, commits):
    for commit in commits:
        message = git(checkout, "log", "-1", "--format=%B", commit)
        subject, blank, *body = message.splitlines()
        assert len(subject) <= 72 and not subject.endswith(".")
        assert blank == "" and body
        assert max(map(len, body)) <= 72


def test_code_is_that_of_the_fork(checkout):
    """All of it and nothing else, but for docstrings and unused imports."""
    ours = pip_build.overlay() | pip_build.edited_files()
    files = changed(checkout, TAG, "sums", "--", "*.py", ":!*_test.py")
    assert set(files) == {*ours, "integration_tests/support/matching_models.py"}

    def code(source):
        nodes = ast.parse(source)
        for node in ast.walk(nodes):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body:
                is_text = isinstance(body[0], ast.Expr) and isinstance(
                    getattr(body[0].value, "value", None), str
                )
                node.body = body[is_text:]
        imports = {
            ast.unparse(node)
            for node in nodes.body
            if isinstance(node, edits.IMPORTS)
        }
        nodes.body = [n for n in nodes.body if not isinstance(n, edits.IMPORTS)]
        return imports, ast.dump(nodes)

    for path, file in ours.items():
        found_imports, found = code((checkout / path).read_text("utf-8"))
        imports, expected = code(file.read_text("utf-8"))
        assert found == expected, path
        assert found_imports <= imports, path


def test_tests_of_the_fork_are_there(checkout):
    """All but those that are named in the parts' file."""

    def tests(source):
        return {
            node.name
            for node in ast.walk(ast.parse(source))
            if isinstance(node, edits.FUNCTIONS)
            and node.name.startswith("test_")
        }

    parts, stays, _ = upstream_branch.read_parts()
    ours = {one.source for part in parts for one in part.tests}
    wanted = set()
    for path in ours:
        source = (pip_build.ROOT / path).read_text("utf-8")
        wanted |= tests(source) - set(stays.get(path, ()))
    files = changed(checkout, TAG, "sums")
    found = [tests((checkout / path).read_text("utf-8")) for path in files]
    assert wanted <= set().union(*found)


def test_tests_of_upstream_stay(checkout):
    files = changed(checkout, TAG, "sums", "--diff-filter=M", "--", "*_test.py")
    assert files
    numbers = git(checkout, "diff", "--numstat", TAG, "sums", "--", *files)
    for line in numbers.splitlines():
        _, removed, path = line.split("\t")
        assert removed == "0", path


@pytest.mark.parametrize(
    ("path", "there", "expected"),
    [
        ("keras/src/a.py", "keras/src/a.py", "keras/src/a.py"),
        ("keras/losses/__init__.py",) * 3,
        (
            "keras/losses/__init__.py",
            "keras/api/losses/__init__.py",
            "keras/api/losses/__init__.py",
        ),
        (
            "keras/_tf_keras/keras/losses/__init__.py",
            "keras/api/_tf_keras/keras/losses/__init__.py",
            "keras/api/_tf_keras/keras/losses/__init__.py",
        ),
        ("keras/losses/__init__.py", "keras/api/__init__.py", None),
    ],
)
def test_place_of_generated_modules(path, there, expected):
    """The stand-in has them where the wheel has them, a clone has not."""
    read = {there: ""}.get
    if expected is None:
        with pytest.raises(pip_build.BuildError, match="keras/api/losses"):
            upstream_branch.place_upstream(path, read)
    else:
        assert upstream_branch.place_upstream(path, read) == expected


TESTS = """\
\"""A file.\"""

import os
import re

import numpy as np

FIRST = np.ones(1)
SECOND = {}
SECOND.update(b=FIRST)
if os.name:
    del SECOND["b"]

# A heading.

# What it is for.
THIRD = 3


def helper():
    return SECOND


class Other:
    pass


# 1. A heading.


# Said above.
@mark(THIRD)
def test_one():
    helper()


def test_two():
    re.match("", "")
"""


def test_chosen_tests():
    """With all that they need, and with what changes it."""
    one = upstream_branch.chosen_tests(TESTS, ["test_one"], None)
    expected = TESTS.replace("import re\n", "").replace("# A heading.\n\n", "")
    expected = expected.replace("class Other:\n    pass\n\n\n", "")
    expected = expected.replace("# 1. A heading.\n\n\n", "")
    assert one == expected[: expected.index("\n\ndef test_two")]
    two = upstream_branch.chosen_tests(TESTS, ["test_two"], "Another.")
    assert two == (
        '"""Another."""\n\nimport re\n\n\n'
        + TESTS[TESTS.index("def test_two") :]
    )


def test_exported_names_stay(checkout):
    for path in changed(checkout, TAG, "sums", "--diff-filter=M"):
        old, new = (
            re.findall(r"^@keras_export\((?:.|\n)*?\)$", source, re.MULTILINE)
            for source in (
                git(checkout, "show", f"{TAG}:{path}"),
                (checkout / path).read_text("utf-8"),
            )
        )
        assert old == new, path


def imported(source):
    """The modules that a file imports, `importorskip` included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Call):
            if getattr(node.func, "attr", None) == "importorskip":
                yield node.args[0].value


@pytest.mark.parametrize("number", NUMBERS)
def test_only_what_upstream_has_is_imported(checkout, commits, number):
    """And not what only a later commit brings."""
    commit = commits[number - 1]
    there = set(git(checkout, "ls-tree", "-r", "--name-only", commit).split())
    before = set(git(checkout, "ls-tree", "-r", "--name-only", TAG).split())
    for path in changed(checkout, f"{commit}^", commit):
        names = set(imported(git(checkout, "show", f"{commit}:{path}")))
        if path in before:
            names -= set(imported(git(checkout, "show", f"{TAG}:{path}")))
        for name in names:
            place = name.replace(".", "/")
            assert (
                name.partition(".")[0] in UPSTREAM_IMPORTS
                or f"{place}.py" in there
                or f"{place}/__init__.py" in there
            ), (path, name)


def test_words(checkout):
    """In upstream's repository there is no fork, and no upstream."""
    lines = [
        line
        for line in git(checkout, "diff", TAG, "sums").splitlines()
        if line.startswith("+")
    ]
    words = r"upstream|\bstock|\bfork|RELEASE_NOTES|SPEC\.md|pip_build|edits\."
    words += r"|Keras 3\.15\.1"
    assert not [x for x in lines if re.search(words, x, re.IGNORECASE)]


@pytest.mark.parametrize("number", NUMBERS)
def test_lint(trees, checkout, commits, number):
    commit = commits[number - 1]
    settings = f"--config={pip_build.ROOT / 'ruff.toml'}"
    # Upstream's own code has bare excepts. Ours is checked for them as it is.
    check = ["check", "--extend-ignore=E722"]
    for options in (check, ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *options, "--no-cache"]
        answer = subprocess.run(
            [*command, settings, *changed(checkout, f"{commit}^", commit)],
            cwd=trees[number],
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, answer.stdout


@pytest.fixture(scope="module")
def trees(checkout, commits, tmp_path_factory):
    """`{number of a commit: folder with its files}`."""
    folder = tmp_path_factory.mktemp("trees")
    for number, commit in enumerate(commits, 1):
        git(checkout, "worktree", "add", "-q", folder / str(number), commit)
    return {number: folder / str(number) for number in NUMBERS}


@pytest.fixture(scope="module")
def answers(trees, checkout, commits, tmp_path_factory):
    """What pytest says of each commit; `{number: finished process}`.

    Each imports a Keras of its own, which takes longer than the tests, so that
    two of them run at a time.
    """
    plugins = tmp_path_factory.mktemp("plugins")
    (plugins / "every.py").write_text(EVERY)
    (plugins / "torch_first.py").write_text(TORCH_FIRST)
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short"]
    command += ["-p", "every", "-p", "no:cacheprovider"]

    def run_tests(number):
        commit = commits[number - 1]
        options = [f"{commit}^", commit, "--", "*_test.py"]
        files = changed(checkout, *options)
        # Takes seconds.
        sources = [(trees[number] / file).read_text("utf-8") for file in files]
        needs_torch = re.search(r'import torch|skip\("torch', "".join(sources))
        options = ["-p", "torch_first"] if needs_torch else []
        return subprocess.run(
            [*command, *options, *files],
            cwd=trees[number],
            env={
                **os.environ,
                "PYTHONPATH": str(plugins),
                "KERAS_BACKEND": BACKENDS.get(number, "jax"),
            },
            capture_output=True,
            text=True,
        )

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return dict(zip(NUMBERS, pool.map(run_tests, NUMBERS)))


@pytest.mark.parametrize("number", NUMBERS)
def test_each_commit_passes(answers, number):
    """Of many tests, a few from all over."""
    answer = answers[number]
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr
    assert re.search(r"\d+ passed", answer.stdout), answer.stdout


def test_text_of_the_pull_request(trees):
    """Its scripts print what it says, without the branch and with it."""
    text = upstream_branch.TEXT.read_text("utf-8")
    assert not re.search(r"\{\w+\}", text)
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.M)
    promised = re.findall(
        r"^\S+ prints `(.+)`, this branch `(.+)`\.$", text, re.MULTILINE
    )
    assert len(blocks) == 1 + len(promised) and promised
    # After TensorFlow, torch would find libraries that are not its own.
    script = "import torch\n" + "\n".join(blocks)

    def run_script(folder):
        return subprocess.run(
            [sys.executable, "-c", script],
            cwd=folder,
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
            capture_output=True,
            text=True,
        )

    folders = pip_build.unpacked_base(), trees[len(NUMBERS)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for number, answer in enumerate(pool.map(run_script, folders)):
            assert answer.returncode == 0, answer.stderr[-3000:]
            assert answer.stdout.split() == [pair[number] for pair in promised]


# What is refused. A small repository is enough: nothing gets far.


@pytest.fixture
def small(tmp_path):
    return new_repository(tmp_path / "keras", pip_build.locked_base()[0])


def assert_refused(answer, *words):
    assert answer.returncode == 1, answer
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert str(word) in line


def assert_untouched(folder, branches=("master",)):
    found = git(folder, "for-each-ref", "--format=%(refname:short)")
    assert set(found.split()) == {*branches, TAG}
    assert git(folder, "branch", "--show-current") == "master"


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_no_checkout(tmp_path, kind):
    folder = tmp_path / "nothing"
    if kind == "empty":
        folder.mkdir()
    answer = run(folder, GIT_CEILING_DIRECTORIES=tmp_path)
    assert_refused(answer, folder, "git clone")


@pytest.mark.parametrize("kind", ["changed", "staged", "untracked"])
def test_uncommitted_work(small, kind):
    file = small / ("keras/src/version.py" if kind != "untracked" else "new.py")
    file.write_text("mine\n")
    if kind == "staged":
        git(small, "add", "--all")
    assert_refused(run(small), small, file.name, "git stash")
    assert file.read_text() == "mine\n"
    assert_untouched(small)


def test_existing_branch(small):
    git(small, "branch", "raw-losses")
    assert_refused(run(small), "raw-losses", "--branch", "git branch -D")
    assert_untouched(small, ("master", "raw-losses"))


def test_impossible_branch(small):
    assert_refused(run(small, "--branch", "a..b"), "a..b", "another")
    assert_untouched(small)


def test_missing_tag(small):
    answer = run(small, "--tag", "v3.99.0")
    assert_refused(answer, "v3.99.0", "git fetch --tags")
    assert_untouched(small)


def test_other_release(tmp_path):
    folder = new_repository(tmp_path / "keras", "3.11.3")
    words = "3.11.3", pip_build.locked_base()[0], "tag"
    assert_refused(run(folder), *words)
    assert_untouched(folder)


def test_no_keras(tmp_path):
    folder = new_repository(tmp_path / "keras", "")
    assert_refused(run(folder), TAG, "version.py", "upstream's repository")
    assert_untouched(folder)


def test_release_that_was_changed(tmp_path):
    """It says 3.15.1, but the edits were made for something else."""
    folder = new_repository(tmp_path / "keras", pip_build.locked_base()[0])
    answer = run(folder)
    assert_refused(answer, "keras/src/losses/losses.py")
    assert_untouched(folder)


def test_nobody_to_commit_as(small):
    git(small, "config", "--unset", "user.name")
    git(small, "config", "--unset", "user.email")
    git(small, "config", "user.useConfigOnly", "true")
    assert_refused(run(small), small, "git config user.name")
    assert_untouched(small)
