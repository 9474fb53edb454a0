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

Of a definition that stays, single statements are changed by functions `_`,
whose parameters are there for the linter alone:

    # or BaseTrainer: its name on head.
    class Trainer:
        # in compile, after 0c1d2e3f4a5b: an epoch starts without old sums.
        def _(self):
            self.reset_metrics()

        # in fit.epoch, replaces 1d2e3f4a5b6c 2 of 3: the size is read.
        def _(x):
            size = ops.shape(x)[0]

These digits are those of the statement, without its indentation, from its
first to its last line. `2 of 3` tells equal statements of a definition apart.
What is put there is indented to its place: `before`, `after`, or in place of
the statement and the comment directly above it. A body of `...` removes them.
A header (`def f(x):`, `if x:`) has digits of its own, and is replaced by one
over a body of `...`; the comment above it stays. A shell may have further
names, for bases that call it otherwise.

What is added to released bases alone says `# adds (3.15): why`, to upstream's
head alone `# adds (head): why`; so do statements, `# in fit (head), after ...`.
`# not on head: why`, below the rest of the comment, leaves any edit out there,
`# together with NAME, NAME.` where an edit of these is left out, and those with
it. An import goes with the edits that use it.

    python3 -m patching.edits BASE_FILE [CLASS.]NAME

prints the digits of a definition and of its statements.
"""

import ast
import io
import itertools
import pathlib
import re
import sys
from typing import NamedTuple

from patching import statements
from patching.statements import FUNCTIONS
from patching.statements import digits_of

SUFFIX = ".edits.py"
DIGITS = r"(?P<hashes>[0-9a-f]{12}(?:, *[0-9a-f]{12})*)"
MARKER = re.compile(
    rf"(?:adds(?: \((?P<where>3\.15|head)\))?|replaces {DIGITS}): *\S"
)
NOT_ON_HEAD = re.compile(r"(?:^| )not on head: *\S")
TOGETHER = re.compile(r"(?:^| )together with (?P<names>[\w.]+(?:, *[\w.]+)*)\.")
# Above a function `_`.
INNER_MARKER = re.compile(
    r"in (?P<name>[\w.]+)(?: \((?P<where>3\.15|head)\))?, "
    rf"(?P<verb>replaces|before|after) {DIGITS}"
    r"(?: (?P<number>\d+) of (?P<count>\d+))?: *(?P<why>\S.*)"
)
# Above a shell.
NAMES_MARKER = re.compile(r"or (?P<names>\w+(?:, *\w+)*): *\S")
IMPORTS = (ast.Import, ast.ImportFrom)


class EditError(Exception):
    """Edits that can't be applied.

    Args:
        problems: A line for each.
    """

    def __init__(self, *problems):
        super().__init__("\n".join(problems))
        self.problems = problems


class Definition(NamedTuple):
    """A function or class: lines `start` to `end`, counted from 0."""

    name: str
    start: int
    end: int
    text: str
    node: ast.AST


class Use(NamedTuple):
    """Where an edit is used.

    Args:
        on_releases: Whether on Keras up to 3.15.
        on_head: Whether on what comes after it.
        together: Names of edits without which it is left out.
        names: What it needs imports for, and more.
    """

    on_releases: bool
    on_head: bool
    together: set
    names: set


class Edit(NamedTuple):
    """A definition of an edit file.

    Args:
        names: What the base may call it.
        definition: The `Definition`.
        accepted: The digits that the base's definition may have, or `None`
            for what is added.
        docstring_at: The line of the definition, counted from its first, that
            a docstring belongs above; `None` if it has one.
        use: The `Use`.
    """

    names: list
    definition: Definition
    accepted: list | None
    docstring_at: int | None
    use: Use


class InnerEdit(NamedTuple):
    """Statements of an edit file.

    Args:
        names: What the base may call the definition that they belong to.
        verb: "replaces", "before" or "after".
        accepted: The digits that the base's statement may have.
        number: Which of the equal statements of the definition it is.
        count: How many there are.
        text: Our statements, or our header, without indentation.
        is_header: Whether it is a header.
        place: Where it stands in the edit file, for errors.
        use: The `Use`.
    """

    names: list
    verb: str
    accepted: list
    number: int
    count: int
    text: str
    is_header: bool
    place: str
    use: Use


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
        start = statements.start_of(node)
        text = "".join(lines[start : node.end_lineno])
        yield Definition(name, start, node.end_lineno, text, node)


def definitions(outer, lines, prefix=""):
    """All definitions in a module, class or function, at any depth."""
    for definition in inside(outer, lines, prefix):
        yield definition
        yield from definitions(definition.node, lines, f"{definition.name}.")


def _is_docstring(node):
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def read(source, name):
    """The edits of an edit file, as a list of `Edit` and `InnerEdit`.

    Raises:
        EditError: If something else than marked definitions and their shells
            is in the file, or if it is no Python.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise EditError(f"{name}: line {error.lineno}: {error.msg}.") from error
    return list(_read_inside(tree, lines_of(source), [""], name))


def _read_inside(outer, lines, prefixes, name):
    found = list(inside(outer, lines))
    shell = prefixes[0].rstrip(".")
    if shell and not found:
        raise EditError(
            f"{name}: {shell} has no '# replaces DIGITS: why' or '# adds: why' "
            "above it, and nothing in it that has."
        )
    for node in outer.body:
        is_allowed = isinstance(node, (*FUNCTIONS, ast.ClassDef, *IMPORTS))
        if not (is_allowed or node is outer.body[0] and _is_docstring(node)):
            raise EditError(
                f"{name}: line {node.lineno} is no definition and no import: "
                "an edit file holds nothing else."
            )
    for definition in found:
        comment = _comment_above(lines, definition.start)
        if definition.name == "_":
            yield _read_inner(definition, comment, lines, prefixes, name)
            continue
        match = MARKER.match(comment)
        called = [definition.name]
        if not match:
            if others := NAMES_MARKER.match(comment):
                called += re.split(", *", others["names"])
            names = _joined(prefixes, [f"{one}." for one in called])
            yield from _read_inside(definition.node, lines, names, name)
            continue
        hashes = match["hashes"]
        names = _joined(prefixes, called)
        yield Edit(
            names,
            definition._replace(name=names[0]),
            re.split(", *", hashes) if hashes else None,
            _place_of_docstring(definition, lines),
            _read_use(definition, comment, match["where"]),
        )


def _read_use(definition, comment, where=None):
    together = TOGETHER.search(comment)
    names = re.split(", *", together["names"]) if together else []
    return Use(
        where != "head",
        where != "3.15" and not NOT_ON_HEAD.search(comment),
        set(names),
        {
            node.id
            for node in ast.walk(definition.node)
            if isinstance(node, ast.Name)
        },
    )


def chosen(found, on_head):
    """Of all edits of a file, those for a base, and those left out."""
    left_out = [
        one
        for one in found
        if not (one.use.on_head if on_head else one.use.on_releases)
    ]
    names = {one.names[0] for one in left_out}
    # What stands there for each kind of base is only left out in name.
    names -= {one.names[0] for one in found if one not in left_out}
    kept = [one for one in found if one not in left_out]
    while True:
        more = [
            one
            for one in kept
            if one.use.together & names
            or any(one.names[0] in other.use.together for other in left_out)
        ]
        if not more:
            return kept, left_out
        left_out += more
        names |= {one.names[0] for one in more}
        kept = [one for one in kept if one not in more]


def _joined(prefixes, names):
    return [prefix + name for prefix in prefixes for name in names]


def _read_inner(definition, comment, lines, prefixes, name):
    match = INNER_MARKER.match(comment)
    if not match:
        raise EditError(
            f"{name}: line {definition.start + 1}: above a function _ belongs "
            "'# in NAME, replaces|before|after DIGITS: why'."
        )
    text, is_header = statements.own_statements(definition.node, lines)
    verb, number, count = match["verb"], match["number"], match["count"]
    if verb != "replaces" and (is_header or not text):
        raise EditError(
            f"{name}: line {definition.start + 1}: a header, or nothing, can't "
            f"stand {verb} a statement: write statements."
        )
    return InnerEdit(
        _joined(prefixes, [match["name"]]),
        verb,
        re.split(", *", match["hashes"]),
        int(number or 1),
        int(count or 1),
        text,
        is_header,
        f"line {definition.start + 1} ({match['why']})",
        _read_use(definition, comment, match["where"]),
    )


def _comment_above(lines, end):
    """The text of the comment that ends above a line, on one line, or ''."""
    start = end
    while start and statements.is_comment(lines[start - 1]):
        start -= 1
    return " ".join(line.strip().lstrip("# ") for line in lines[start:end])


def _place_of_docstring(definition, lines):
    if _is_docstring(definition.node.body[0]):
        return None
    return statements.body_start(definition.node, lines) - definition.start


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


def apply(base, edit, name="edit", on_head=False, may_be_there=False):
    """Applies an edit file to a module.

    Args:
        base: The source of the module.
        edit: The source of the edit file.
        name: What errors call the edit file.
        on_head: Whether the base is newer than Keras 3.15.
        may_be_there: Whether the base may have some of it already, which then
            changes nothing. Elsewhere, a statement that is gone is an error,
            even if what replaces it stands somewhere in its definition.

    Returns:
        The edited source.

    Raises:
        EditError: If the module lacks what edits were written for, or already
            has what is to be added. It names all of these edits.
    """
    job = _Job(base, name, may_be_there)
    kept, left_out = chosen(read(edit, name), on_head)
    for one in _for_base(kept, job.present, job.lines):
        if isinstance(one, InnerEdit):
            job.change_statement(one)
        elif one.accepted is None:
            job.add(one)
        else:
            job.replace(one)
    used, unused = (
        set().union(*(one.use.names for one in some))
        for some in (kept, left_out)
    )
    unneeded = unused - used
    job.changes += _missing_imports(job.tree, job.lines, edit, unneeded)
    return job.finish()


class Change(NamedTuple):
    """New text for lines of a module.

    Args:
        start: The first line that goes.
        end: The line below the last one that goes.
        rank: What comes first, of what is put to the same line.
        text: The new text.
        target: The lines of what it replaces or is put beside, if any.
    """

    start: int
    end: int
    rank: int
    text: str
    target: tuple = ()


def _clash(one, other):
    """Whether a change takes away what another one changes."""
    if one.target and one.target == other.target:
        return one.start < one.end and other.start < other.end
    start, end = other.target or (other.start, other.end)
    if start == end:
        return one.start < start < one.end
    return one.start <= start and end <= one.end


class _Job:
    """What the edits of a file do to a module.

    Args:
        base: The source of the module.
        name: What errors call the edit file.
        may_be_there: See `apply`.
    """

    def __init__(self, base, name, may_be_there):
        self.name = name
        self.may_be_there = may_be_there
        self.lines = lines_of(base)
        self.tree = ast.parse(base)
        self.present = {}
        for definition in definitions(self.tree, self.lines):
            self.present.setdefault(definition.name, []).append(definition)
        self.changes = []
        self.problems = []

    def refuse(self, problem):
        self.problems.append(f"{self.name}: {problem}")

    def find(self, names):
        """The base's definition, `None` if there is not exactly one."""
        name = next((one for one in names if one in self.present), names[0])
        target, *others = self.present.get(name, [None])
        if others:
            self.refuse(
                f"the base has {name} {1 + len(others)} times: replace what "
                "is around it."
            )
            return None
        return target

    def find_or_refuse(self, names, at=""):
        known = len(self.problems)
        target = self.find(names)
        if target is None and len(self.problems) == known:
            self.refuse(
                f"{at}the base has no {' or '.join(names)}: find out what "
                "became of it, and change or drop the edit."
            )
        return target

    def replace(self, one):
        target = self.find_or_refuse(one.names)
        if target is None:
            return
        text = with_docstring(one, target, self.lines)
        if target.text == text:
            return
        if digits_of(target.text) not in one.accepted:
            self.refuse(
                f"{target.name} was written for the base's "
                f"{' or '.join(one.accepted)}, which is now "
                f"{digits_of(target.text)}: look at both again."
            )
            return
        self.changes.append(Change(target.start, target.end, 0, text))

    def add(self, one):
        known = len(self.problems)
        target = self.find(one.names)
        text = one.definition.text
        if len(self.problems) > known or target and target.text == text:
            return
        if target:
            self.refuse(
                f"the base has a {target.name} of its own: replace it instead "
                "of adding one."
            )
            return
        outers = [name.rpartition(".")[0] for name in one.names]
        if not outers[0]:
            end = len(self.lines)
            self.changes.append(Change(end, end, 0, f"\n\n{text}"))
            return
        outer = self.find(outers)
        if outer is None or not isinstance(outer.node, ast.ClassDef):
            self.refuse(
                f"the base has no class {' or '.join(outers)} to add "
                f"{one.definition.name} to."
            )
            return
        # Before what is added to the module, where the class ends the module.
        rank = -outer.name.count(".") - 1
        self.changes.append(Change(outer.end, outer.end, rank, f"\n{text}"))

    def change_statement(self, one):
        target = self.find_or_refuse(one.names, f"{one.place}: ")
        if target is None:
            return
        equal = [
            found
            for found in statements.statements_of(target.node, self.lines)
            if found.digits in one.accepted
        ]
        if len(equal) != one.count or one.number > one.count:
            own = self.lines[target.start : target.end]
            if self.may_be_there and one.text:
                if statements.is_there(one.text, own):
                    return
            self.refuse(
                f"{one.place}: {target.name} has {len(equal)} statements "
                f"{' or '.join(one.accepted)} instead of {one.count}: look at "
                "both again."
            )
            return
        found = equal[one.number - 1]
        if found.is_header != one.is_header:
            self.refuse(
                f"{one.place}: {' or '.join(one.accepted)} in {target.name} is "
                f"{'a header' if found.is_header else 'no header'}, "
                f"{found.first_line!r}, but the edit is "
                f"{'one' if one.is_header else 'none'}."
            )
            return
        self._put(one, found)

    def _put(self, one, found):
        text, start, end, rank = one.text, found.start, found.end, 0
        above = statements.comment_above(found, self.lines)
        if one.verb == "replaces":
            start = start if found.is_header else above
            is_done = statements.covers(text, self.lines, start, end)
        elif one.verb == "before":
            start = end = above
            is_done = statements.stands_above(text, self.lines[:start])
        else:
            start = end
            # Before what comes after the statements around this one.
            rank = -1000 - found.column
            is_done = statements.stands_below(text, self.lines[end:])
        if is_done and text:
            return
        if found.text.startswith("elif "):
            text = f"el{text}"
        elif text and not found.is_header:
            text = statements.with_gaps(
                text, one.verb, found.text, self.lines, start, end
            )
        elif not text and statements.leaves_gap(found, self.lines, start):
            start -= 1
        text = statements.indented(text, found.column)
        target = (found.start, found.end)
        self.changes.append(Change(start, end, rank, text, target))

    def finish(self):
        """The edited source."""
        changes = sorted(self.changes, key=lambda change: change[:3])
        clashes = {
            one.start
            for one, other in itertools.permutations(changes, 2)
            if _clash(one, other)
        }
        for line in sorted(clashes):
            self.refuse(
                f"two edits change line {line + 1} of the base, "
                f"{self.lines[line].strip()!r}, or what is in it: make them "
                "one."
            )
        if self.problems:
            raise EditError(*self.problems)
        # From the end, so that the line numbers of the rest stay right.
        # Sorting is stable: what is added to one place keeps its order.
        lines = self.lines
        for change in reversed(changes):
            lines[change.start : change.end] = [change.text]
        source = "".join(lines)
        try:
            ast.parse(source)
        except SyntaxError as error:
            raise EditError(
                f"{self.name}: with it, line {error.lineno} of the module is "
                f"no Python ({error.msg}): correct the edit."
            ) from error
        return source


def _for_base(found, present, lines):
    """Of edits of one definition, the one that is for this base.

    If none is, one that accepts what any of them does, for the error.
    """
    by_name = {}
    for one in found:
        # Many edits change statements of one definition.
        key = id(one) if isinstance(one, InnerEdit) else one.definition.name
        by_name.setdefault(key, []).append(one)
    for several in by_name.values():
        if len(several) == 1:
            yield several[0]
            continue
        fitting = [
            one
            for one in several
            for target in itertools.chain(
                *(present.get(name, ()) for name in one.names)
            )
            if digits_of(target.text) in one.accepted
            or with_docstring(one, target, lines) == target.text
        ]
        every = [digits for one in several for digits in one.accepted]
        yield fitting[0] if fitting else several[0]._replace(accepted=every)


def _missing_imports(tree, lines, edit, unneeded):
    own = [node for node in tree.body if isinstance(node, IMPORTS)]
    known = {_text_of(node, lines) for node in own}
    edit_lines = lines_of(edit)
    missing = [
        node
        for node in ast.parse(edit).body
        if isinstance(node, IMPORTS)
        and _text_of(node, edit_lines) not in known
        and not _bound_by(node) <= unneeded
    ]
    changes = {}
    for node in sorted(missing, key=import_key):
        start, gap_above, gap_below = _place_of_import(node, own)
        # What opens a group of its own has the others of it beside it.
        place = (start, gap_above, gap_below)
        changes[place] = changes.get(place, "") + _text_of(node, edit_lines)
    return [
        Change(start, start, 0, "\n" * above + text + "\n" * below)
        for (start, above, below), text in changes.items()
    ]


def _bound_by(node):
    return {
        alias.asname or alias.name.partition(".")[0] for alias in node.names
    }


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


def listing(definition, lines):
    """The digits of a definition and of its statements, as lines."""
    yield f"{digits_of(definition.text)}  {definition.name}"
    found = list(statements.statements_of(definition.node, lines))
    counts = {}
    for number, one in enumerate(found, 1):
        equal = [other for other in found if other.text == one.text]
        counts[one.text] = counts.get(one.text, 0) + 1
        which = ""
        if len(equal) > 1:
            which = f" {counts[one.text]} of {len(equal)}"
        what = f" {'header' if one.is_header else ''}".ljust(8)
        indent = " " * (one.column - definition.node.col_offset)
        yield f"{number:4} {one.digits}{which}{what}{indent}{one.first_line}"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
    lines = lines_of(source)
    for definition in definitions(ast.parse(source), lines):
        if definition.name == sys.argv[2]:
            print("\n".join(listing(definition, lines)))
            return
    sys.exit(f"error: {sys.argv[1]} has no {sys.argv[2]}.")


if __name__ == "__main__":
    main()
