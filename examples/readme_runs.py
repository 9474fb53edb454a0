"""Runs what the documents tell to run, and puts in what was printed.

    python examples/readme_runs.py [train annealing ... test] [--write]

runs the commands, or those named, and prints what the README shows of each;
with `--write` it goes in there, between the marks, and the pictures of these
runs and of the guide go to docs/. It needs what requirements.txt pins. `test`
takes some 20 minutes, all others together take two.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    # Last: nothing of the checkout shall hide a package of the same name.
    sys.path.append(str(ROOT))

import pip_build  # noqa: E402
from examples import before_after  # noqa: E402

DOCUMENTS = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "docs/moving_weights.md")
]
PICTURES = ROOT / "docs"
NEW_PICTURES = pip_build.BUILD / "pictures"
COMMAND = "python examples/readme_runs.py --write"
LEFT_OUT = "..."


class Run(NamedTuple):
    """A command, and what the README shows of it.

    Attributes:
        command: A script, by its place in the repository, and its arguments.
        begin: A pattern of the first line that is shown; `None` shows nothing.
        without: A pattern of lines that dots stand for.
        pictures: Where new ones lie after the run.
    """

    command: tuple
    begin: str | None = None
    without: str = r"(?!)"
    pictures: tuple = ()


def epochs(begin, first, last):
    """A pattern of the lines of some epochs, that begin so."""
    numbers = "|".join(map(str, range(first, last + 1)))
    return rf"{begin} +(?:{numbers})(?: │|/)"


RUNS = {
    "train": Run(
        ("run.py", "train"),
        "Training on",
        epochs("epoch", 2, 11),
        (pip_build.BUILD / "digits" / "digits_losses.png",),
    ),
    "annealing": Run(
        (
            "examples/annealing.py",
            f"--picture={NEW_PICTURES / 'moving_weights.png'}",
        ),
        "┏",
        epochs("│", 3, 11),
        (NEW_PICTURES / "moving_weights.png",),
    ),
    "uncertainty_weighting": Run(
        ("examples/uncertainty_weighting.py",), " +Raw losses of"
    ),
    "gradnorm": Run(
        ("examples/gradnorm.py",),
        " +Gradients in",
        # Each epoch has three rows, and a line below them.
        epochs("│", 2, 9) + "|├",
    ),
    "guide": Run(
        ("examples/render_guide.py",),
        pictures=tuple(
            NEW_PICTURES / f"guide_{name}.png"
            for name in (
                "contributions",
                "moving_weight",
                "penalty",
                "added",
                "starved",
            )
        ),
    ),
    "test": Run(("run.py", "test"), "┏"),
}


def shown(printed, begin, without):
    """What the README shows of what a command printed.

    Raises:
        ValueError: If it printed no line to begin at.
    """
    lines = [line.rstrip() for line in printed.splitlines()]
    starts = [n for n, line in enumerate(lines) if re.match(begin, line)]
    if not starts:
        raise ValueError(f"No line begins with {begin!r} in:\n{printed}")
    kept = []
    for line in lines[starts[0] :]:
        if not re.match(without, line):
            kept.append(line)
        elif kept[-1:] != [LEFT_OUT]:
            kept.append(LEFT_OUT)
    return "```\n" + "\n".join(kept).rstrip() + "\n```"


def run(name):
    """Runs a command, on TensorFlow; what it printed."""
    script, *arguments = RUNS[name].command
    # run.py installs the fork itself.
    command, variables = [sys.executable], dict(os.environ)
    if script != "run.py":
        command, variables = before_after.environment(
            before_after.FORK, "tensorflow"
        )
    variables |= {"COLUMNS": "80", "GUIDE_PICTURES": str(NEW_PICTURES)}
    answer = subprocess.run(
        [*command, str(ROOT / script), *arguments],
        cwd=ROOT,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if answer.returncode:
        sys.exit(f"{name}:\n{answer.stdout}\n{answer.stderr}")
    return before_after.plain_version(answer.stdout)


def document_of(name):
    """The document that has a place for what a run prints."""
    mark = f"<!-- {name}: {COMMAND} -->"
    (found,) = [
        document
        for document in DOCUMENTS
        if mark in document.read_text(encoding="utf-8")
    ]
    return found


def write(name, content):
    """Puts what a run printed and drew into the documents."""
    if content is not None:
        document = document_of(name)
        text = document.read_text(encoding="utf-8")
        text = before_after.put(text, name, content, COMMAND)
        document.write_text(text, encoding="utf-8")
    for picture in RUNS[name].pictures:
        shutil.copyfile(picture, PICTURES / picture.name)


def main():
    from rich.progress import Progress

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="name", help=", ".join(RUNS)
    )
    parser.add_argument(
        "--write", action="store_true", help="put it into the documents"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(RUNS)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(RUNS)}")
    NEW_PICTURES.mkdir(parents=True, exist_ok=True)
    with Progress() as progress:
        for name in progress.track(arguments.names or list(RUNS)):
            printed, begin = run(name), RUNS[name].begin
            content = begin and shown(printed, begin, RUNS[name].without)
            progress.console.print(
                f"{name}\n{content or printed}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
            if arguments.write:
                write(name, content)


if __name__ == "__main__":
    main()
