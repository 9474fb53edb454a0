"""The way in which edits are applied, and where the edited modules appear."""

import inspect
import linecache
import subprocess
import sys
import traceback

import pytest

import pip_build
from patching import edits

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


def test_only_some_of_the_edits():
    source = replacing(
        "Owner.value",
        "    @property",
        "    def value(self):",
        "        return 2",
    ) + "\n".join(
        [
            "",
            f"    # replaces {digits('Owner.value.setter')}: a test.",
            "    @value.setter",
            "    def value(self, new):",
            "        self._value = 3",
            "",
        ]
    )
    changed = edits.apply(BASE, source, only={"Owner.value.setter"})
    assert changed == BASE.replace("_value = new", "_value = 3")
    assert edits.apply(changed, source) == edits.apply(BASE, source)


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
    assert edits.apply(once, source) == once


@pytest.mark.parametrize("path", pip_build.edit_files())
def test_the_rest_is_the_base_byte_for_byte(path):
    """Without what was edited, and the imports, both are the same text."""
    base = (pip_build.unpacked_base() / path).read_bytes().decode()
    source = pip_build.edit_files()[path].read_text(encoding="utf-8")
    added = {
        one.definition.name: not one.accepted
        for one in edits.read(source, path)
    }

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
        for one in edits.read(source, path):
            if one.accepted is None:
                continue
            name = one.definition.name
            base = (pip_build.unpacked_base() / path).read_bytes().decode()
            lines = edits.lines_of(base)
            (there,) = [
                found
                for found in edits.definitions(edits.ast.parse(base), lines)
                if found.name == name
            ]
            lines[there.end - 1] = lines[there.end - 1][:-1] + "  # Changed.\n"
            target.write_bytes("".join(lines).encode())
            with pytest.raises(pip_build.BuildError, match=name):
                pip_build.edited(tmp_path, path, file)


def test_digits_on_the_command_line(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(BASE, encoding="utf-8")
    command = [sys.executable, edits.__file__, str(module), "Owner.made.inner"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.stdout.strip() == digits("Owner.made.inner")


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
        assert edits.apply(once, source) == once
    newest = BASE.replace("return x", "return (x,)")
    with pytest.raises(edits.EditError) as error:
        edits.apply(newest, source)
    for base in (BASE, older, newest):
        assert digits("free", base) in str(error.value)
