"""The statements of a definition, and what they are told apart by."""

import ast
import hashlib
from typing import NamedTuple

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Statement(NamedTuple):
    """A statement or its header: lines `start` to `end`, counted from 0.

    Args:
        start: Its first line.
        end: The line below its last one.
        column: Its indentation.
        text: Its source, without the indentation.
        is_header: Whether it is only what stands above a body.
    """

    start: int
    end: int
    column: int
    text: str
    is_header: bool

    @property
    def digits(self):
        return digits_of(self.text)

    @property
    def first_line(self):
        return self.text.splitlines()[0]


def digits_of(text):
    """What an edit names a text of the base by."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def indented(text, column):
    """Moves lines to the right, but for blank ones."""
    return "".join(
        " " * column + line if line.strip() else line
        for line in text.splitlines(keepends=True)
    )


def dedented(lines, column):
    """Moves lines to the left, as far as they are blank there."""
    return "".join(
        line[min(column, len(line) - len(line.lstrip(" "))) :] for line in lines
    )


def start_of(node):
    """The first line of a statement, decorators included."""
    nodes = [node, *getattr(node, "decorator_list", [])]
    return min(one.lineno for one in nodes) - 1


def is_comment(line):
    return line.lstrip().startswith("#")


def is_placeholder(body):
    """Whether a body is `...`."""
    return (
        len(body) == 1
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and body[0].value.value is ...
    )


def body_start(node, lines):
    """The first line of a body, comments above its first statement included."""
    line = start_of(node.body[0])
    while line > node.lineno and (
        not lines[line - 1].strip() or is_comment(lines[line - 1])
    ):
        line -= 1
    return line


def header_text(node, lines):
    """The source of what stands above a body, without its indentation."""
    line = start_of(node.body[0])
    before_body = lines[line][: node.body[0].col_offset].rstrip()
    if before_body:
        found = [*lines[node.lineno - 1 : line], f"{before_body}\n"]
    else:
        found = lines[node.lineno - 1 : body_start(node, lines)]
    return dedented(found, node.col_offset)


def statements_of(definition, lines):
    """All statements of a definition, in their order, headers included.

    Args:
        definition: The node.
        lines: The lines of the module.
    """
    yield _header_of(definition, lines)
    for node in _below(definition):
        is_elif = lines[node.lineno - 1].lstrip().startswith("elif")
        if not is_elif:
            start, column = start_of(node), node.col_offset
            text = dedented(lines[start : node.end_lineno], column)
            yield Statement(start, node.end_lineno, column, text, False)
        if getattr(node, "body", None) and not isinstance(node, ast.Try):
            yield _header_of(node, lines)


def _header_of(node, lines):
    text = header_text(node, lines)
    start = node.lineno - 1
    end = start + text.count("\n")
    return Statement(start, end, node.col_offset, text, True)


def _below(node):
    """The statements below a node, at any depth, in their order."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
            yield from _below(child)


def own_statements(node, lines):
    """What the function `_` of an edit holds, without its indentation.

    Args:
        node: The function.
        lines: The lines of the edit file.

    Returns:
        Its text, '' if it is `...`, and whether that is a header alone.
    """
    if is_placeholder(node.body):
        return "", False
    (first, *others) = node.body
    if not others and is_placeholder(getattr(first, "body", [])):
        return header_text(first, lines), True
    found = lines[body_start(node, lines) : node.end_lineno]
    return dedented(found, first.col_offset), False


def comment_above(statement, lines):
    """The first line of the comment directly above, else the statement's."""
    line = statement.start
    column = statement.column
    while line and lines[line - 1][column:].startswith("#"):
        if lines[line - 1][:column].strip():
            break
        line -= 1
    return line


def is_there(text, lines):
    """Whether a text stands in lines, whatever its indentation."""
    wanted = _bare(text.splitlines())
    found = _bare(lines)
    return any(
        found[first : first + len(wanted)] == wanted
        for first in range(len(found) - len(wanted) + 1)
    )


def _bare(lines):
    return [line.strip() for line in lines]


def covers(text, lines, start, end):
    """Whether a text already stands around the lines `start` to `end`."""
    size = text.count("\n")
    return any(
        is_there(text, lines[first : first + size])
        for first in range(max(0, end - size), start + 1)
    )


def stands_above(text, lines):
    """Whether lines end with a text, but for blank ones."""
    found = _bare(lines)
    while found and not found[-1]:
        found.pop()
    wanted = _bare(text.splitlines())
    return found[-len(wanted) :] == wanted


def stands_below(text, lines):
    """Whether lines start with a text, but for blank ones."""
    size = text.count("\n")
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    return is_there(text, lines[first : first + size])


def with_gaps(text, verb, neighbour, lines, start, end):
    """Our statements with the blank lines that definitions need around them.

    Args:
        text: The statements, without indentation.
        verb: "replaces", "before" or "after".
        neighbour: What they replace or are put beside, without indentation.
        lines: The lines of the module.
        start: The first line that goes.
        end: The line below the last one that goes.
    """
    nodes = ast.parse(text).body
    is_beside = _is_definition(ast.parse(neighbour).body[0])
    above = _is_definition(nodes[0]) or verb == "after" and is_beside
    below = _is_definition(nodes[-1]) or verb == "before" and is_beside
    # The first statement of a body needs none.
    starts_body = lines[start - 1].rstrip().endswith(":")
    if above and lines[start - 1].strip() and not starts_body:
        text = f"\n{text}"
    if below and "".join(lines[end : end + 1]).strip():
        text = f"{text}\n"
    return text


def _is_definition(node):
    return isinstance(node, (*FUNCTIONS, ast.ClassDef))


def leaves_gap(statement, lines, start):
    """Whether blank lines meet, or end a body, once a statement is gone."""
    below = "".join(lines[statement.end : statement.end + 1])
    column = len(below) - len(below.lstrip())
    return not lines[start - 1].strip() and (
        not below.strip() or column < statement.column
    )
