"""Runs the guide, and writes it down with all that it prints and draws.

    python examples/render_guide.py

writes `docs/reading_losses.md` and `docs/reading_losses.ipynb`, on the backend
that `KERAS_BACKEND` names and with the Keras that is installed. It takes less
than a minute. The guide itself is a script: text stands in it as strings.
"""

import ast
import contextlib
import io
import json
import os
import pathlib
import re
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
GUIDE = ROOT / "guides" / "reading_losses.py"
PAGE = ROOT / "docs" / "reading_losses.md"
NOTEBOOK = PAGE.with_suffix(".ipynb")


class Cell(NamedTuple):
    """A part of the guide.

    Args:
        is_text: Whether it is text; else it is code.
        source: The text, as Markdown, or the code.
        line: The line of the guide that the code begins at.
    """

    is_text: bool
    source: str
    line: int = 1


def cells(guide):
    """The parts of a guide; its first string holds title and description."""
    source = guide.read_text(encoding="utf-8")
    lines, found, begin = source.splitlines(), [], 0
    for node in ast.parse(source).body:
        value = getattr(node, "value", None)
        is_text = isinstance(node, ast.Expr) and isinstance(value, ast.Constant)
        if not is_text:
            continue
        found.append(code_of(lines, begin, node.lineno - 1))
        found.append(Cell(True, value.value.strip()))
        begin = node.end_lineno
    found.append(code_of(lines, begin, len(lines)))
    found = [cell for cell in found if cell.source]
    head = dict(
        line.split(": ", 1) for line in found[0].source.splitlines() if line
    )
    title = f"# {head['Title']}\n\n{head['Description']}"
    return [Cell(True, title), *found[1:]]


def code_of(lines, begin, end):
    # What tells the linter something tells a reader nothing.
    kept = [line for line in lines[begin:end] if "ruff: noqa" not in line]
    return Cell(False, "\n".join(kept).strip(), begin + 1)


def outputs(found):
    """What each cell prints; runs all of them, in one namespace."""
    names = {"__name__": "__main__", "__file__": str(GUIDE)}
    for cell in found:
        printed = io.StringIO()
        if not cell.is_text:
            code = compile(cell.source, str(GUIDE), "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, names)
        yield printed.getvalue().rstrip()


def as_page(found, printed):
    """The guide as Markdown, for the folder that the pictures are in."""
    parts = [f"<!-- Written by examples/{pathlib.Path(__file__).name}. -->"]
    for cell, output in zip(found, printed):
        text = cell.source
        parts.append(
            re.sub(r"\]\(\.\./docs/", "](", text)
            if cell.is_text
            else f"```python\n{text}\n```"
        )
        if output:
            parts.append(f"```\n{output}\n```")
    return "\n\n".join(parts) + "\n"


def as_notebook(found, printed):
    """The guide as a notebook, of version 4.5 of the format."""

    def of_lines(text):
        return text.splitlines(keepends=True)

    written = []
    for number, (cell, output) in enumerate(zip(found, printed)):
        text = re.sub(r"\]\(\.\./docs/", "](", cell.source)
        one = {"id": f"cell-{number}", "metadata": {}, "source": of_lines(text)}
        if cell.is_text:
            written.append({"cell_type": "markdown", **one})
            continue
        stream = {"output_type": "stream", "name": "stdout"}
        shown = [{**stream, "text": of_lines(output)}] if output else []
        written.append(
            {
                "cell_type": "code",
                "execution_count": None,
                "outputs": shown,
                **one,
            }
        )
    kernel = {"name": "python3", "display_name": "Python 3"}
    return {
        "cells": written,
        "metadata": {"kernelspec": {**kernel, "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def main():
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    found = cells(GUIDE)
    printed = list(outputs(found))
    PAGE.write_text(as_page(found, printed), encoding="utf-8")
    notebook = json.dumps(as_notebook(found, printed), indent=1)
    NOTEBOOK.write_text(notebook + "\n", encoding="utf-8")
    print(f"Written: {PAGE} and {NOTEBOOK.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
