"""The way in which edits are applied, and where the edited modules appear."""

import inspect
import linecache
import subprocess
import sys
import traceback

import pytest

import pip_build
from patching import edits
from patching import statements

BASE = '''"""A module.\x0c"""
import os

VALUE = "\u2028"


def free(x):
    return x


class Owner:
    attribute = 1

    @property
    def value(self):
        """Says what it is."""
        return 1

    @value.setter
    def value(self, new):
        self._value = new

    def made(self):
        @deco
        def inner(step):
            return step + 1

        def other(step):
            return step

        return inner


class Last:
    def only(self):
        return None
'''


def digits(name, base=BASE):
    """The digits of a definition of the base."""
    found = edits.definitions(edits.ast.parse(base), edits.lines_of(base))
    (text,) = [one.text for one in found if one.name == name]
    return edits.digits_of(text)


def edit(*lines):
    return "\n".join(['"""Edits, no module."""', "", *lines, ""])


def replacing(name, *body, at="    ", shell="class Owner:"):
    return edit(shell, f"{at}# replaces {digits(name)}: a test.", *body)


INNER = edit(
    "class Owner:",
    "    def made(self):",
    f"        # replaces {digits('Owner.made.inner')}: a test,",
    "        # of which there is more to say.",
    "        def inner(step):",
    "            return step + 2",
)


def test_function_in_a_method():
    old = BASE[BASE.index("        @deco") : BASE.index("\n        def other")]
    new = "        def inner(step):\n            return step + 2\n"
    assert edits.apply(BASE, INNER) == BASE.replace(old, new)


def test_method_keeps_the_docstring_and_the_setter_stays():
    source = replacing(
        "Owner.value",
        "    @property",
        "    def value(self):",
        "        # Not one.",
        "        return 2",
    )
    old = "        return 1\n"
    new = "        # Not one.\n        return 2\n"
    assert edits.apply(BASE, source) == BASE.replace(old, new)


def test_docstring_of_the_edit():
    source = replacing(
        "Owner.value",
        "    @property",
        "    def value(self):",
        '        """Says more."""',
        "        return 1",
    )
    assert edits.apply(BASE, source) == BASE.replace(
        "Says what it is", "Says more"
    )


def test_setter():
    source = replacing(
        "Owner.value.setter",
        "    @value.setter",
        "    def value(self, new):",
        "        self._value = 2 * new",
    )
    assert edits.apply(BASE, source) == BASE.replace("= new", "= 2 * new")


def test_whole_class_and_function():
    source = edit(
        f"# replaces {digits('free')}: a test.",
        "def free(x):",
        "    return -x",
        "",
        "",
        f"# replaces {digits('Last')}: a test.",
        "class Last:",
        "    pass",
    )
    expected = BASE.replace("return x\n", "return -x\n")
    expected = (
        expected[: expected.index("class Last")] + "class Last:\n    pass\n"
    )
    assert edits.apply(BASE, source) == expected


def test_additions_come_last_in_their_order():
    source = edit(
        "# adds: a test.",
        "def second():",
        "    return 2",
        "",
        "",
        "# adds: a test.",
        "def third():",
        "    return 3",
        "",
        "",
        "class Last:",
        "    # adds: a test.",
        "    def first(self):",
        "        return 1",
        "",
        "    # adds: a test.",
        "    def also(self):",
        "        return 1",
    )
    assert edits.apply(BASE, source) == BASE + "\n".join(
        [
            "",
            "    def first(self):",
            "        return 1",
            "",
            "    def also(self):",
            "        return 1",
            "",
            "",
            "def second():",
            "    return 2",
            "",
            "",
            "def third():",
            "    return 3",
            "",
        ]
    )


def test_missing_imports_are_added():
    source = edit("import os", "import re", "from a import b") + INNER[24:]
    changed = edits.apply(BASE, source)
    assert changed.count("import os\nimport re\n\nfrom a import b\n") == 1
    assert changed.count("import os") == 1


IMPORTS = """import os
import sys
from typing import Any

import numpy as np

from keras.src import tree
from keras.src.losses.loss import Loss
"""


@pytest.mark.parametrize(
    ("line", "neighbour", "after"),
    [
        ("import abc", "import os", False),
        ("import re", "import os", True),
        ("import types", "import sys", True),
        ("from abc import ABC", "from typing import Any", False),
        ("from typing import NamedTuple", "from typing import Any", True),
        ("from typing import ANY", "from typing import Any", False),
        ("from typing import Any as One", "from typing import Any", True),
        ("from absl import logging", "import numpy as np", True),
        ("import absl", "import numpy as np", False),
        ("from keras.src import ops", "from keras.src import tree", False),
        ("from keras.src.losses.loss import x", "import Loss", True),
        ("import keras", "from keras.src import tree", False),
        ("from integration_tests import x", "from keras.src import tr", False),
    ],
)
def test_place_of_an_import(line, neighbour, after):
    """The order that `ruff check --select I` wants, one import a line."""
    source = edit(line) + INNER[24:]
    base = BASE.replace("import os\n", IMPORTS)
    (found,) = [one for one in IMPORTS.splitlines() if neighbour in one]
    pair = f"{found}\n{line}\n" if after else f"{line}\n{found}\n"
    changed = edits.apply(base, source)
    assert changed.count(pair) == 1
    assert changed.replace(f"{line}\n", "", 1) == edits.apply(base, INNER)


def test_first_import_of_its_group():
    source = edit("from typing import Any", "import re") + INNER[24:]
    changed = edits.apply(BASE.replace("import os", "import numpy"), source)
    assert changed.count("import re\nfrom typing import Any\n\nimport num") == 1
    source = edit("from keras import ops", "import keras") + INNER[24:]
    changed = edits.apply(BASE, source)
    assert changed.count("os\n\nimport keras\nfrom keras import ops\n") == 1


def test_several_base_releases():
    known = digits("Owner.made.inner")
    source = INNER.replace(known, f"0123456789ab, {known}")
    assert edits.apply(BASE, source) == edits.apply(BASE, INNER)


@pytest.mark.parametrize("path", pip_build.edit_files())
def test_applying_twice_is_applying_once(path):
    file = pip_build.edit_files()[path]
    base = (pip_build.unpacked_base() / path).read_bytes().decode()
    source = file.read_text(encoding="utf-8")
    once = edits.apply(base, source)
    assert once != base
    assert edits.apply(once, source, may_be_there=True) == once


@pytest.mark.parametrize("path", pip_build.edit_files())
def test_the_rest_is_the_base_byte_for_byte(path):
    """Without what was edited, and the imports, both are the same text."""
    base = (pip_build.unpacked_base() / path).read_bytes().decode()
    source = pip_build.edit_files()[path].read_text(encoding="utf-8")
    added = {one.names[0]: not one.accepted for one in edits.read(source, path)}

    def without_edited(text):
        lines = edits.lines_of(text)
        for one in edits.definitions(edits.ast.parse(text), lines[:]):
            if one.name in added:
                # There are blank lines above what is added.
                gap = (1 if "." in one.name else 2) * added[one.name]
                lines[one.start - gap : one.end] = [""] * (
                    one.end - one.start + gap
                )
        return "".join(lines)

    def imports(text):
        lines = edits.lines_of(text)
        nodes = edits.ast.parse(text).body
        texts = ["".join(lines[n.lineno - 1 : n.end_lineno]) for n in nodes]
        return [t for t, n in zip(texts, nodes) if isinstance(n, edits.IMPORTS)]

    edited = edits.apply(base, source)
    rest = without_edited(edited)
    for line in imports(edited):
        if line not in imports(base):
            rest = rest.replace(line, "", 1)
    assert rest == without_edited(base)


@pytest.mark.parametrize(
    ("base", "source", "words"),
    [
        (BASE.replace("step + 1", "step + 3"), INNER, ["Owner.made.inner"]),
        (BASE.replace("def inner", "def renamed"), INNER, ["no Owner.made.in"]),
        (BASE, INNER.replace("class Owner", "class Other"), ["no Other.made"]),
        (BASE + BASE[BASE.index("class Owner") :], INNER, ["2 times"]),
        (BASE, INNER.replace("# replaces", "# was"), ["made.inner", "'# adds"]),
        (BASE, INNER + "VALUE = 2\n", ["line 9", "no definition"]),
        (BASE, INNER + "def broken(:\n", ["line 9"]),
        (
            BASE,
            edit("# adds: a test.", "def free():", "    pass"),
            ["free", "replace it"],
        ),
        (
            BASE,
            edit(
                "class New:",
                "    # adds: it.",
                "    def f(self):",
                "        pass",
            ),
            ["no class New"],
        ),
    ],
)
def test_refused(base, source, words):
    with pytest.raises(edits.EditError) as raised:
        edits.apply(base, source, "NAME.edits.py")
    message = str(raised.value)
    assert message.startswith("NAME.edits.py: ") and "\n" not in message
    for word in words:
        assert word in message


def test_build_refuses_a_changed_base(tmp_path):
    """Each edit notices that its definition is another one."""
    for path, file in pip_build.edit_files().items():
        source = file.read_text(encoding="utf-8")
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        of_releases, _ = edits.chosen(edits.read(source, path), False)
        for one in of_releases:
            if one.accepted is None:
                continue
            name = one.names[0]
            base = (pip_build.unpacked_base() / path).read_bytes().decode()
            lines = edits.lines_of(base)
            (there,) = [
                found
                for found in edits.definitions(edits.ast.parse(base), lines)
                if found.name == name
            ]
            end = there.end
            if isinstance(one, edits.InnerEdit):
                end = next(
                    found.end
                    for found in statements.statements_of(there.node, lines)
                    if found.digits in one.accepted
                )
            lines[end - 1] = lines[end - 1][:-1] + "  # Changed.\n"
            target.write_bytes("".join(lines).encode())
            with pytest.raises(pip_build.BuildError, match=name):
                pip_build.edited(tmp_path, path, file)


def test_lines_in_tracebacks_and_getsource(request):
    """Where they point to is what the module really is."""
    if request.config.getoption("--stock"):
        pytest.skip("stock Keras has no edits")
    from keras.src.trainers import epoch_iterator
    from keras.src.trainers import trainer

    for module in (epoch_iterator, trainer):
        path = module.__name__.replace(".", "/") + ".py"
        assert module.__file__ == str(pip_build.edited_files()[path])
        edited, _ = pip_build.edited(
            pip_build.unpacked_base(), path, pip_build.edit_files()[path]
        )
        assert inspect.getsource(module) == edited
    source = inspect.getsource(trainer.Trainer.metrics_names.fget)
    assert "as a list, in its order" in source
    # The base's own method, below lines that the edits have moved.
    source = inspect.getsource(trainer.Trainer._should_eval)
    assert source.startswith("    def _should_eval(")
    with pytest.raises(ValueError) as raised:
        trainer.Trainer._should_eval(None, 0, "never")
    frame = traceback.extract_tb(raised.tb)[-1]
    assert frame.filename == trainer.__file__
    assert "raise ValueError(" in linecache.getline(*frame[:2])


def test_wheel_and_checkout_have_the_same_modules(tmp_path):
    for path in pip_build.edit_files():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((pip_build.unpacked_base() / path).read_bytes())
    version = tmp_path / "keras/src/version.py"
    version.write_bytes(
        (pip_build.unpacked_base() / "keras/src/version.py").read_bytes()
    )
    done = pip_build.lay_over(tmp_path)
    for path, file in pip_build.edited_files().items():
        assert (tmp_path / path).read_bytes() == file.read_bytes()
        assert any(line.startswith(f"edited: {path} (") for line in done)
        assert f"added: {path}" not in done
    assert not [line for line in done if edits.SUFFIX in line]


def test_a_definition_for_each_base():
    older = BASE.replace("return x", "return [x]")
    source = edit(
        f"# replaces {digits('free')}: for this base.",
        "def free(x):",
        "    return 1",
        "",
        "",
        f"# replaces {digits('free', older)}: for an older one.",
        "def free(x):",
        "    return 2",
    )
    for base, number in ((BASE, 1), (older, 2)):
        once = edits.apply(base, source)
        assert once.count("def free(x):") == 1
        assert f"def free(x):\n    return {number}\n" in once
        assert edits.apply(once, source, may_be_there=True) == once
    newest = BASE.replace("return x", "return (x,)")
    with pytest.raises(edits.EditError) as error:
        edits.apply(newest, source)
    for base in (BASE, older, newest):
        assert digits("free", base) in str(error.value)


# Statements of a definition that stays.

STEPS = """def step(x, size=None):
    if x:
        a = 1

        # About b.
        b = f(
            a,  # Inside.
        )
    elif size:
        a = 1
    for one in x:
        g(one)

    def inner():
        return a

    return inner
"""
A = statements.digits_of("a = 1\n")
B = statements.digits_of("b = f(\n    a,  # Inside.\n)\n")
G = statements.digits_of("g(one)\n")
FOR = statements.digits_of("for one in x:\n    g(one)\n")
FOR_HEADER = statements.digits_of("for one in x:\n")
DEF = statements.digits_of("def inner():\n    return a\n")
RETURN = statements.digits_of("return inner\n")


def change(verb, digits, *body, where="step"):
    """An edit file that changes a statement."""
    lines = [f"# in {where}, {verb} {digits}: a test.", "def _():"]
    return edit(*lines, *(f"    {line}" for line in body))


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        (
            # With the comment above it, and comments of ours.
            change("replaces", B, "# Ours.", "b = g(a)"),
            STEPS[STEPS.index("        # About") : STEPS.index("    elif")],
            "        # Ours.\n        b = g(a)\n",
        ),
        (
            change("replaces", f"{A} 2 of 2", "a = 2", "b = 3"),
            "size:\n        a = 1\n",
            "size:\n        a = 2\n        b = 3\n",
        ),
        (
            change("replaces", f"0123456789ab, {A} 1 of 2", "a = 2"),
            "x:\n        a = 1\n",
            "x:\n        a = 2\n",
        ),
        (
            # And not the blank line either.
            change("replaces", B, "..."),
            STEPS[STEPS.index("\n        # About") : STEPS.index("    elif")],
            "",
        ),
        (
            # The comment stays with what it is about.
            change("before", B, "if a:", "    h()"),
            "        # About b.\n",
            "        if a:\n            h()\n        # About b.\n",
        ),
        (
            change("after", G, "h()"),
            "        g(one)\n",
            "        g(one)\n        h()\n",
        ),
        (
            change("after", FOR, "h()"),
            "        g(one)\n",
            "        g(one)\n    h()\n",
        ),
        (
            change("before", RETURN, "def more():", "    return 2"),
            "    return inner\n",
            "    def more():\n        return 2\n\n    return inner\n",
        ),
        (
            change("after", FOR, "def more():", "    return 2"),
            "        g(one)\n",
            "        g(one)\n\n    def more():\n        return 2\n",
        ),
        (
            change("after", DEF, "h()"),
            "        return a\n",
            "        return a\n\n    h()\n",
        ),
        (
            change("replaces", FOR_HEADER, "for one in sorted(x):", "    ..."),
            "for one in x:",
            "for one in sorted(x):",
        ),
        (
            change(
                "replaces",
                statements.digits_of("elif size:\n"),
                "if size is not None:",
                "    ...",
            ),
            "elif size:",
            "elif size is not None:",
        ),
        (
            # A parameter.
            change(
                "replaces",
                statements.digits_of("def step(x, size=None):\n"),
                "def step(x, size=None, more=1): ...",
            ),
            "def step(x, size=None):",
            "def step(x, size=None, more=1):",
        ),
        (
            change(
                "replaces",
                statements.digits_of("return a\n"),
                "return b",
                where="step.inner",
            ),
            "return a\n",
            "return b\n",
        ),
    ],
)
def test_statement(source, old, new):
    assert STEPS.count(old) == 1
    once = edits.apply(STEPS, source)
    assert once == STEPS.replace(old, new)
    assert (
        "..." in source or edits.apply(once, source, may_be_there=True) == once
    )
    command = [sys.executable, "-m", "ruff", "format", "--check", "-"]
    answer = subprocess.run(command, input=once, text=True, capture_output=True)
    assert answer.returncode == 0, answer.stderr


def test_statements_of_a_method():
    """Of a class that another base calls otherwise, beside another edit."""
    one = "\n".join("    " + line for line in STEPS.splitlines()) + "\n"
    source = edit(
        "import re",
        "",
        "# or BaseOwner: a test.",
        "class Owner:",
        f"    # in step, after {G}: it is done",
        "    # twice.",
        "    def _(one):",
        "        g(one + 1)",
        "",
        f"    # in step, after {FOR}: once more.",
        "    def _():",
        "        g(0)",
        "",
        "    # adds: a test.",
        "    def more(self):",
        "        return 2",
    )
    old = "            g(one)\n"
    new = "            g(one)\n            g(one + 1)\n        g(0)\n"
    for name in ("Owner", "BaseOwner"):
        base = f"import os\n\n\nclass {name}:\n{one}"
        expected = base.replace(old, new).replace("os\n", "os\nimport re\n")
        expected += "\n    def more(self):\n        return 2\n"
        once = edits.apply(base, source)
        assert once == expected
        assert edits.apply(once, source, may_be_there=True) == once


def test_what_already_contains_the_statement():
    source = change("replaces", G, "if one:", "    g(one)")
    once = edits.apply(STEPS, source)
    assert once.count("        if one:\n            g(one)\n") == 1
    assert edits.apply(once, source, may_be_there=True) == once


def test_around_what_is_replaced():
    source = edit(
        *(
            line
            for verb in ("after", "replaces", "before")
            for line in (f"# in step, {verb} {G}: a test.", "def _():", verb)
        )
    )
    for verb in ("after", "replaces", "before"):
        source = source.replace(f"\n{verb}\n", f"\n    {verb}(1)\n")
    new = "".join(f"        {v}(1)\n" for v in ("before", "replaces", "after"))
    expected = STEPS.replace("        g(one)\n", new)
    assert edits.apply(STEPS, source) == expected


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (change("replaces", A, "a = 2"), ["line 4 (a test.)", "2 statem", A]),
        (change("replaces", f"{A} 3 of 2", "a = 2"), ["2 statements", A]),
        (change("before", "0" * 12, "a = 2"), ["0 statements", "0" * 12]),
        (change("after", G, "a = 2", where="steps"), ["no steps", "line 4"]),
        (change("replaces", FOR, "for a in b:", "    ..."), ["no header"]),
        (change("replaces", FOR_HEADER, "pass"), ["a header", "for one in"]),
        (change("after", G, "..."), ["nothing", "after"]),
        (change("after", G, "a = 1") + "value = 1\n", ["line 6"]),
        (edit("# adds: it.", "def _():", "    pass"), ["line 4", "# in NAME"]),
        (
            change("replaces", FOR, "pass") + change("after", G, "pass")[24:],
            ["two edits", "line 11"],
        ),
        (change("replaces", G, "..."), ["no Python", "line 13"]),
    ],
)
def test_refused_statement(source, words):
    with pytest.raises(edits.EditError) as raised:
        edits.apply(STEPS, source, "NAME.edits.py")
    message = str(raised.value)
    assert message.startswith("NAME.edits.py: ") and "\n" not in message
    for word in words:
        assert word in message


def test_what_stands_there_does_not_hide_what_is_gone():
    """Nobody can tell `a = 1` of the base from one that was edited in."""
    source = change("replaces", B, "a = 1")
    base = STEPS.replace("b = f(", "b = g(")
    with pytest.raises(edits.EditError, match=B):
        edits.apply(base, source)
    assert edits.apply(base, source, may_be_there=True) == base


def test_all_that_does_not_fit_is_named():
    source = edit(
        "# replaces 0123456789ab: a test.",
        "def step():",
        "    pass",
        "",
        "",
        "# adds: a test.",
        "def step():",
        "    pass",
        "",
        "",
        "# in step, before 0123456789ab: a test.",
        "def _():",
        "    pass",
        "",
        "",
        "# in missing, before 0123456789ab: a test.",
        "def _():",
        "    pass",
    )
    with pytest.raises(edits.EditError) as raised:
        edits.apply(STEPS, source.replace("adds", f"replaces {A}"), "NAME")
    assert len(raised.value.problems) == 3
    assert str(raised.value).count("\nNAME: line") == 2


def test_digits_on_the_command_line(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(STEPS, encoding="utf-8")
    command = [sys.executable, "-m", "patching.edits", str(module), "step"]
    answer = subprocess.run(
        command, capture_output=True, text=True, cwd=pip_build.ROOT
    )
    first, *lines = answer.stdout.splitlines()
    assert first == f"{statements.digits_of(STEPS)}  step"
    rows = [" ".join(line.split()) for line in lines]
    assert rows[3] == f"4 {A} 1 of 2 a = 1"
    assert rows[4] == f"5 {B} b = f("
    assert rows[7] == f"8 {FOR} for one in x:"
    assert rows[8] == f"9 {FOR_HEADER} header for one in x:"
    # step: 1 header; if: 2; a, b; elif: 1 header; a; for: 2; g; inner: 2;
    # return a; return inner.
    assert len(rows) == 14


# The bases at hand: each of the wheel's, and head's if it is unpacked.
BASES = sorted((pip_build.BUILD / "base").glob("*/unpacked"))
BASES += sorted((pip_build.BUILD / "head").glob("unpacked-*"))


@pytest.mark.parametrize("base", BASES, ids=lambda path: path.parent.name[:4])
@pytest.mark.parametrize(
    "path",
    [
        "keras/src/trainers/compile_utils.py",
        "keras/src/trainers/trainer.py",
        "keras/src/backend/jax/trainer.py",
    ],
)
def test_statements_of_the_bases(base, path):
    """All can be named, and put back where they were."""
    source = (base / path).read_text(encoding="utf-8")
    lines = edits.lines_of(source)
    for definition in edits.definitions(edits.ast.parse(source), lines):
        found = list(statements.statements_of(definition.node, lines))
        for one in found:
            own = "".join(lines[one.start : one.end])
            assert statements.indented(one.text, one.column) == own
        named = [(one.start, one.is_header) for one in found]
        assert len(set(named)) == len(named)


def test_statement_of_each_base():
    """`CompileLoss.call` ends with the same statement in all of them."""
    source = edit(
        "class CompileLoss:",
        "    # in call, before c44e91703e3b: a test.",
        "    def _(total_loss):",
        "        total_loss = total_loss + 0",
    )
    path = "keras/src/trainers/compile_utils.py"
    old = "            return total_loss\n"
    for base in BASES:
        text = (base / path).read_bytes().decode()
        assert edits.apply(text, source) == text.replace(
            old, f"            total_loss = total_loss + 0\n{old}"
        )


# What is left out on one kind of base.

USES = edit(
    "import json",
    "import re",
    "",
    "",
    "# adds (3.15): a test.",
    "def one():",
    "    return re.I, json",
    "",
    "",
    "# adds (head): a test.",
    "def one():  # noqa: F811",
    "    return json",
    "",
    "",
    "# adds: a test.",
    "# not on head: there it is right.",
    "def two():",
    "    return three",
    "",
    "",
    "# adds: a test. together with two.",
    "def three():",
    "    return 3",
    "",
    "",
    "# adds: a test.",
    "# together with three.",
    "def four():",
    "    return 4",
    "",
    "",
    f"# in step, after {G}: a test.",
    "# not on head: a test.",
    "def _():",
    "    four()",
    "",
    "",
    f"# in step, before {G}: a test.",
    "def _():",
    "    one()",
    "",
    "",
    f"# in step (head), after {FOR}: a test.",
    "def _():",
    "    five()",
    "",
    "",
    "# in step (3.15), after 0123456789ab, " + f"{FOR}: a test.",
    "def _():",
    "    six()",
)


def test_what_is_left_out_on_head():
    release = edits.apply(STEPS, USES)
    for name in ("one", "two", "three", "four"):
        assert release.count(f"\ndef {name}(") == 1
    assert "return re.I, json\n" in release and "return json\n" not in release
    assert release.startswith("import json\nimport re\n")
    assert (
        "        one()\n        g(one)\n        four()\n    six()\n\n"
        in release
    )
    head = edits.apply(STEPS, USES, on_head=True)
    assert head.startswith("import json\n") and "import re" not in head
    assert head.count("\ndef one(") == 1 and "return json\n" in head
    assert "        one()\n        g(one)\n    five()\n\n" in head
    for name in ("two", "three", "four"):
        assert f"def {name}(" not in head


# Of `keras.src.backend` and `keras.src.ops` up to 3.15; elsewhere on head.
MOVED = {
    "backend": {
        "cast",
        "convert_to_numpy",
        "convert_to_tensor",
        "get_keras_mask",
        "is_float_dtype",
        "is_tensor",
        "set_keras_mask",
        "standardize_dtype",
    },
    "ops": {"name_scope"},
}


@pytest.mark.parametrize(
    "path", [*pip_build.overlay(), *pip_build.edit_files()]
)
def test_our_modules_use_names_of_both_bases(path):
    file = {**pip_build.overlay(), **pip_build.edit_files()}[path]
    used = [
        (node.value.id, node.attr)
        for node in edits.ast.walk(edits.ast.parse(file.read_text("utf-8")))
        if isinstance(node, edits.ast.Attribute)
        and isinstance(node.value, edits.ast.Name)
    ]
    assert not [pair for pair in used if pair[1] in MOVED.get(pair[0], ())]
