"""Applies our edits to modules of upstream's that are too large to replace.

An edit file `keras/.../NAME.edits.py` lies where the module `NAME.py` would
lie. It is no whole module. It holds definitions, each in a shell of the class
or function that it belongs to, and above each a comment that says what becomes
of it:

    class Trainer:
        # replaces 5f1c0d9e2b7a: the names came in another order than values.
        @property
        def metrics_names(self):
            ...

        # adds: shared by `fit` and `evaluate`.
        def _require_samples(self):
            ...

The twelve digits are the start of the SHA-256 of the definition in the base
release, decorators included. Where upstream has changed it, nothing is built
until somebody has looked at the edit again; several, with commas between, are
several base releases. A definition that has to be another one on another
release stands there twice, each with its digits. A replacing definition
without a docstring keeps the base's. What is added comes last in its class or
module. Imports of the edit file that the module lacks are added to it, where
its own order has them. Every other byte of the module stays as it was.

    python3 -m patching.edits BASE_FILE [CLASS.]NAME

prints a definition's digits.
"""

import ast
import hashlib
import io
import pathlib
import re
import sys
from typing import NamedTuple

SUFFIX = ".edits.py"
MARKER = re.compile(
    r"#\s*(?:(?P<adds>adds)|replaces (?P<hashes>[0-9a-f]{12}"
    r"(?:, *[0-9a-f]{12})*)):\s*\S"
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
IMPORTS = (ast.Import, ast.ImportFrom)


class EditError(Exception):
    """An edit that can't be applied; its text is one line for the user."""


class Definition(NamedTuple):
    """A function or class: lines `start` to `end`, counted from 0."""

    name: str
    start: int
    end: int
    text: str
    node: ast.AST


class Edit(NamedTuple):
    """A definition of an edit file.

    Args:
        definition: The `Definition`.
        accepted: The digits that the base's definition may have, or `None`
            for what is added.
        docstring_at: The line of the definition, counted from its first, that
            a docstring belongs above; `None` if it has one.
    """

    definition: Definition
    accepted: list | None
    docstring_at: int | None


def digits_of(text):
    """What an edit names the definition of the base by."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def lines_of(source):
    """The lines as Python counts them."""
    return io.StringIO(source, newline="\n").readlines()


def inside(outer, lines, prefix=""):
    """The definitions directly in a module, class or function."""
    for node in outer.body:
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            continue
        name = prefix + node.name
        for decorator in node.decorator_list:
            # A property's setter has the name of the property.
            if isinstance(decorator, ast.Attribute) and isinstance(
                decorator.value, ast.Name
            ):
                if decorator.value.id == node.name:
                    name += f".{decorator.attr}"
        start = min([node, *node.decorator_list], key=_line).lineno - 1
        text = "".join(lines[start : node.end_lineno])
        yield Definition(name, start, node.end_lineno, text, node)


def definitions(outer, lines, prefix=""):
    """All definitions in a module, class or function, at any depth."""
    for definition in inside(outer, lines, prefix):
        yield definition
        yield from definitions(definition.node, lines, f"{definition.name}.")


def _line(node):
    return node.lineno


def _is_docstring(node):
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def read(source, name):
    """The edits of an edit file, as a list of `Edit`.

    Raises:
        EditError: If something else than marked definitions and their shells
            is in the file, or if it is no Python.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise EditError(f"{name}: line {error.lineno}: {error.msg}.") from error
    return list(_read_inside(tree, lines_of(source), "", name))


def _read_inside(outer, lines, prefix, name):
    found = list(inside(outer, lines, prefix))
    if prefix and not found:
        raise EditError(
            f"{name}: {prefix.rstrip('.')} has no '# replaces DIGITS: why' or "
            "'# adds: why' above it, and nothing in it that has."
        )
    for node in outer.body:
        is_allowed = isinstance(node, (*FUNCTIONS, ast.ClassDef, *IMPORTS))
        if not (is_allowed or node is outer.body[0] and _is_docstring(node)):
            raise EditError(
                f"{name}: line {node.lineno} is no definition and no import: "
                "an edit file holds nothing else."
            )
    for definition in found:
        match = MARKER.match(_first_line_of_comment(lines, definition.start))
        if not match:
            inner = f"{definition.name}."
            yield from _read_inside(definition.node, lines, inner, name)
            continue
        hashes = match["hashes"]
        yield Edit(
            definition,
            re.split(", *", hashes) if hashes else None,
            _place_of_docstring(definition, lines),
        )


def _first_line_of_comment(lines, end):
    """The first line of the comment that ends above a line, or ''."""
    start = end
    while start and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    return lines[start].strip() if start < end else ""


def _place_of_docstring(definition, lines):
    first = definition.node.body[0]
    if _is_docstring(first):
        return None
    place = min([first, *getattr(first, "decorator_list", [])], key=_line)
    place = place.lineno - 1
    while not lines[place - 1].strip() or lines[place - 1].lstrip()[0] == "#":
        place -= 1
    return place - definition.start


def with_docstring(edit, target, lines):
    """The text of a replacing definition, with the base's docstring if need be.

    Args:
        edit: The `Edit`.
        target: The `Definition` to be replaced.
        lines: The lines of the base.
    """
    first = target.node.body[0]
    if edit.docstring_at is None or not _is_docstring(first):
        return edit.definition.text
    own = lines_of(edit.definition.text)
    own[edit.docstring_at : edit.docstring_at] = lines[
        first.lineno - 1 : first.end_lineno
    ]
    return "".join(own)


def apply(base, edit, name="edit", only=None):
    """Applies an edit file to a module.

    Applying it again changes nothing.

    Args:
        base: The source of the module.
        edit: The source of the edit file.
        name: What errors call the edit file.
        only: The names of the definitions to apply; `None` for all.

    Returns:
        The edited source.

    Raises:
        EditError: If the module has no such definition, or another one than
            the edit was written for, or already has what is to be added.
    """
    lines = lines_of(base)
    tree = ast.parse(base)
    present = {}
    for definition in definitions(tree, lines):
        present.setdefault(definition.name, []).append(definition)
    changes = []
    for one in _for_base(read(edit, name), present, lines):
        wanted = one.definition
        if only is not None and wanted.name not in only:
            continue
        target, *others = present.get(wanted.name, [None])
        if others:
            raise EditError(
                f"{name}: the base has {wanted.name} {1 + len(others)} times: "
                "replace what is around it."
            )
        if one.accepted is None:
            if target is None:
                changes.append(_addition(wanted, present, lines, name))
            elif target.text != wanted.text:
                raise EditError(
                    f"{name}: the base has a {wanted.name} of its own: "
                    "replace it instead of adding one."
                )
            continue
        if target is None:
            raise EditError(
                f"{name}: the base has no {wanted.name}: find out what "
                "became of it, and change or drop the edit."
            )
        text = with_docstring(one, target, lines)
        if target.text == text:
            continue
        if digits_of(target.text) not in one.accepted:
            raise EditError(
                f"{name}: {wanted.name} was written for the base's "
                f"{' or '.join(one.accepted)}, which is now "
                f"{digits_of(target.text)}: look at both again."
            )
        changes.append((target.start, target.end, 0, text))
    changes += _missing_imports(tree, lines, edit)
    # From the end, so that the line numbers of the rest stay right. Sorting is
    # stable: what is added to one place keeps the order of the edit file.
    for start, end, _, text in reversed(sorted(changes, key=lambda c: c[:3])):
        lines[start:end] = [text]
    return "".join(lines)


def _for_base(found, present, lines):
    """Of edits of one definition, the one that is for this base.

    If none is, one that accepts what any of them does, for the error.
    """
    by_name = {}
    for one in found:
        by_name.setdefault(one.definition.name, []).append(one)
    for name, several in by_name.items():
        if len(several) == 1:
            yield several[0]
            continue
        fitting = [
            one
            for one in several
            for target in present.get(name, ())
            if digits_of(target.text) in one.accepted
            or with_docstring(one, target, lines) == target.text
        ]
        every = [digits for one in several for digits in one.accepted]
        yield fitting[0] if fitting else several[0]._replace(accepted=every)


def _addition(wanted, present, lines, name):
    outer = wanted.name.rpartition(".")[0]
    if not outer:
        return len(lines), len(lines), 0, "\n\n" + wanted.text
    (target,) = present.get(outer, [None])
    if target is None or not isinstance(target.node, ast.ClassDef):
        raise EditError(
            f"{name}: the base has no class {outer} to add {wanted.name} to."
        )
    # Before what is added to the module, where the class ends the module.
    return target.end, target.end, -outer.count(".") - 1, "\n" + wanted.text


def _missing_imports(tree, lines, edit):
    own = [node for node in tree.body if isinstance(node, IMPORTS)]
    known = {_text_of(node, lines) for node in own}
    edit_lines = lines_of(edit)
    missing = [
        node
        for node in ast.parse(edit).body
        if isinstance(node, IMPORTS) and _text_of(node, edit_lines) not in known
    ]
    changes = {}
    for node in sorted(missing, key=import_key):
        start, gap_above, gap_below = _place_of_import(node, own)
        # What opens a group of its own has the others of it beside it.
        place = (start, gap_above, gap_below)
        changes[place] = changes.get(place, "") + _text_of(node, edit_lines)
    return [
        (start, start, 0, "\n" * above + text + "\n" * below)
        for (start, above, below), text in changes.items()
    ]


def import_key(node):
    """Where an import stands among others: the order that ruff checks.

    Standard library, other packages, own ones; in each, modules before names,
    and of the names of a module constants, then classes, then the rest.
    """
    is_from = isinstance(node, ast.ImportFrom)
    module = node.module if is_from else node.names[0].name
    root = module.partition(".")[0]
    if root in ("keras", "integration_tests"):
        group = 2
    else:
        group = 0 if root in sys.stdlib_module_names else 1
    name = node.names[0].name if is_from else ""
    if name.isupper() and len(name) > 1:
        kind = 0
    else:
        kind = 1 if name[:1].isupper() else 2
    return group, is_from, module, kind, name, node.names[0].asname or ""


def _place_of_import(node, own):
    """The line before which an import belongs, and the gaps around it."""
    key = import_key(node)
    if not own:
        return 0, 0, 0
    group = [other for other in own if import_key(other)[0] == key[0]]
    for other in group:
        if import_key(other) > key:
            return other.lineno - 1, 0, 0
    if group:
        return group[-1].end_lineno, 0, 0
    for other in own:
        if import_key(other) > key:
            return other.lineno - 1, 0, 1
    return own[-1].end_lineno, 1, 0


def _text_of(node, lines):
    return "".join(lines[node.lineno - 1 : node.end_lineno])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
    for definition in definitions(ast.parse(source), lines_of(source)):
        if definition.name == sys.argv[2]:
            print(digits_of(definition.text))
            return
    sys.exit(f"error: {sys.argv[1]} has no {sys.argv[2]}.")


if __name__ == "__main__":
    main()
