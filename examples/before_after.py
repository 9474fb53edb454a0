"""Measures what this Keras and others log for the same small models.

    python examples/before_after.py [--write]

prints the tables of README.md, RELEASE_NOTES.md and docs/before_after.md, and
with `--write` puts them in there, between the marks. Each row is a model whose
right numbers can be worked out by hand: the heads are `z = x` and `a = 2x`, and
all labels are zero.

Each Keras runs in a process of its own: Keras 2 is the package `tf_keras`,
older releases of Keras 3 are fetched by pip and checked against
requirements-older.txt, stock Keras is the base wheel, *head* a nightly build of
upstream's, and the fork is the wheel that is built of the checkout. It takes
some minutes, and needs the backends and what requirements.txt pins.
"""

import argparse
import functools
import importlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    # Last: nothing of the checkout shall hide a package of the same name.
    sys.path.append(str(ROOT))

import pip_build  # noqa: E402
from integration_tests.support import older_keras  # noqa: E402

FINDER = ROOT / "integration_tests" / "support" / "checkout_finder.py"
CHECK = ROOT / "tools" / "check_losses.py"
BACKENDS = ("tensorflow", "jax", "torch")
# Those that every release can be imported with.
HISTORY_BACKENDS = ("tensorflow", "torch")
KERAS_2 = "Keras 2"
HEAD = pip_build.HEAD
FORK = "fork"
COMMAND = "python examples/before_after.py --write"
# What is done, and what comes of it if it is done right.
RIGHT = {
    "weighted": ("loss weight 10: `a_loss`", "80"),
    "short": ("short last batch: `a_loss`", "171.4"),
    "short_total": ("short last batch: `loss`", "214.3"),
    "two_losses": ("`loss=['mse', 'mae']`, one output: `loss`", "30"),
    "swapped_weights": (
        "`loss_weights={'a': 10, 'z': 1}`, list of losses: `loss`",
        "41",
    ),
    "misspelt_weight": (
        "`loss_weights={'z': 1, 'zz': 10}`, `zz` no output: `loss`",
        "ValueError",
    ),
    "sample_weights": ("sample weights (N,), output (N, N, 1): `loss`", "0.5"),
    "masked_precision": ("masked output: `precision`", "1"),
    "bfloat16": (
        "300 samples without and 300 with a loss, bfloat16: `a_loss`",
        "8",
    ),
}
# Those that come first.
THREE_ROWS = ("weighted", "short", "two_losses")
# The rows whose history is told, and the heads of their columns.
HISTORY = {
    "weighted": "`a_loss`, weight 10",
    "short": "`a_loss`, short batch",
    "short_total": "`loss`, short batch",
}


class Models:
    """The models of the table, for any Keras.

    Args:
        keras: The package `keras`, or `tf_keras`.
    """

    def __init__(self, keras):
        # Only needed where a Keras is.
        import numpy as np

        self.keras = keras
        self.np = np

    def number(self, row):
        """What is logged for a row of the table, as text."""
        try:
            found = getattr(self, row)()
        except (ValueError, TypeError, KeyError) as error:
            # What a user would see is what is to be shown. A subclass of
            # ValueError is one.
            is_value_error = isinstance(error, ValueError)
            return "ValueError" if is_value_error else type(error).__name__
        return "not logged" if found is None else f"{float(found):.4g}"

    def heads(self, *names, container=list):
        keras = self.keras
        inputs = keras.Input((1,))
        outputs = [
            keras.layers.Dense(
                1,
                use_bias=False,
                kernel_initializer=keras.initializers.Constant(kernel),
                name=name,
            )(inputs)
            for name, kernel in zip(names, (1.0, 2.0))
        ]
        if len(names) == 1:
            return keras.Model(inputs, outputs[0])
        if container is dict:
            outputs = dict(zip(names, outputs))
        return keras.Model(inputs, outputs)

    def evaluate(self, model, x, y, batch_size=4, **compiled):
        model.compile("sgd", **compiled)
        return model.evaluate(
            x, y, batch_size=batch_size, verbose=0, return_dict=True
        )

    def zeros_and_tens(self, tens, **options):
        """`a` has a squared error of 400 for all samples but the first four.

        That of `z` is a fourth of it.
        """
        x = self.np.array([[0.0]] * 4 + [[10.0]] * tens)
        y = self.np.zeros_like(x)
        model = self.heads("z", "a")
        return self.evaluate(model, x, [y, y], loss=["mse", "mse"], **options)

    def weighted(self):
        # 400 / 5, in one batch.
        logs = self.zeros_and_tens(1, batch_size=5, loss_weights=[1, 10])
        return logs.get("a_loss")

    def short(self):
        # 3 * 400 / 7. With a single sample in the last batch, nightly builds of
        # 3.16 are right by luck: to them, any last batch has a single one.
        return self.zeros_and_tens(3).get("a_loss")

    def short_total(self):
        # 3 * (100 + 400) / 7.
        return self.zeros_and_tens(3)["loss"]

    def two_losses(self):
        x, y = self.np.array([[5.0], [5.0]]), self.np.zeros((2, 1))
        return self.evaluate(self.heads("z"), x, y, loss=["mse", "mae"])["loss"]

    def swapped_weights(self):
        x, y = self.np.ones((2, 1)), self.np.zeros((2, 1))
        return self.evaluate(
            self.heads("z", "a"),
            x,
            [y, y],
            loss=["mse", "mse"],
            loss_weights={"a": 10, "z": 1},
        )["loss"]

    def misspelt_weight(self):
        x, y = self.np.ones((2, 1)), self.np.zeros((2, 1))
        return self.evaluate(
            self.heads("z", "a", container=dict),
            x,
            {"z": y, "a": y},
            loss={"z": "mse", "a": "mse"},
            loss_weights={"z": 1, "zz": 10},
        )["loss"]

    def sample_weights(self):
        # Squared errors of 1 in the first sample, which alone counts, and of
        # 4 in the second: (1 + 1) / 4.
        y_pred = self.np.array([[[1.0], [1.0]], [[2.0], [2.0]]], "float32")
        return self.keras.losses.MeanSquaredError()(
            self.np.zeros_like(y_pred),
            y_pred,
            sample_weight=self.np.array([1.0, 0.0]),
        )

    def masked_precision(self):
        x = self.np.array([[1, 1, 0]])
        inputs = self.keras.Input((3,))
        outputs = self.keras.layers.Embedding(
            2, 1, mask_zero=True, embeddings_initializer="ones"
        )(inputs)
        model = self.keras.Model(inputs, outputs)
        y = self.np.array([[[1.0], [1.0], [0.0]]])
        logs = self.evaluate(model, x, y, loss="mse", metrics=["Precision"])
        # Keras 2 writes it in small letters.
        return {name.lower(): value for name, value in logs.items()}[
            "precision"
        ]

    def bfloat16(self):
        # `keras.config` is new in Keras 3.
        (getattr(self.keras, "config", None) or self.keras.backend).set_floatx(
            "bfloat16"
        )
        x = self.np.repeat([[0.0], [2.0]], 300, axis=0)
        y = self.np.zeros((600, 1))
        return self.evaluate(
            self.heads("z", "a"), x, [y, y], batch_size=1, loss=["mse", "mse"]
        ).get("a_loss")


def environment(keras, backend):
    """Which command, and with which variables, runs a script with a Keras."""
    command = [sys.executable]
    variables = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    if keras == FORK:
        variables["PYTHONPATH"] = str(built())
    elif keras in (stock(), HEAD):
        command += [FINDER, "--stock"]
        variables |= {pip_build.BASE_VARIABLE: HEAD} if keras == HEAD else {}
    elif keras != KERAS_2:
        variables["PYTHONPATH"] = str(older_keras.unpacked(keras))
    return command, variables


@functools.cache
def built():
    """A folder with the fork's wheel unpacked: what a user has installed."""
    folder = pip_build.BUILD / "measured"
    shutil.rmtree(folder, ignore_errors=True)
    pip_build.unpack(pip_build.build(), folder)
    return folder


def stock():
    """The version of the base release."""
    return next(iter(pip_build.bases()))


def run(keras, backend, *script):
    """What a script prints with a Keras; `None` if that can't be imported."""
    command, variables = environment(keras, backend)
    answer = subprocess.run(
        [*command, *script],
        env=variables,
        capture_output=True,
        text=True,
    )
    if answer.returncode:
        last_line = answer.stderr.splitlines()[-1]
        # Older releases of Keras use what today's JAX does not have any more.
        if backend == "jax" and "module 'jax" in last_line:
            return None
        sys.exit(f"{keras} on {backend}: {answer.stderr}")
    return answer.stdout


def numbers(keras, backend):
    """What a Keras logs, by row; `None` if it can't be imported."""
    package = "tf_keras" if keras == KERAS_2 else "keras"
    printed = run(keras, backend, __file__, "--numbers", package)
    return printed and json.loads(printed.splitlines()[-1])


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def comparison(backend, found, chosen=tuple(RIGHT)):
    """The table of one backend: what was right, and what each Keras gave."""
    compared = [KERAS_2, "3.6.0", stock(), HEAD, FORK]
    compared = [keras for keras in compared if (keras, backend) in found]
    head = [
        f"Keras {keras}" if keras[0].isdigit() else keras for keras in compared
    ]
    rows = []
    for row in chosen:
        text, right = RIGHT[row]
        cells = [
            "does not import"
            if found[keras, backend] is None
            else found[keras, backend][row]
            for keras in compared
        ]
        rows.append([text, right, *cells])
    return markdown([backend, "right", *head], rows)


def history(older, found):
    """The table of releases."""
    columns = [(row, name) for row in HISTORY for name in HISTORY_BACKENDS]
    head = [f"{HISTORY[row]}, {backend}" for row, backend in columns]
    rows = [["*right*", *(RIGHT[row][1] for row, _ in columns)]]
    for keras in (KERAS_2, *older, stock(), FORK):
        cells = [
            found[keras, backend][row] if (keras, backend) in found else ""
            for row, backend in columns
        ]
        rows.append([keras, *cells])
    return markdown(["Keras", *head], rows)


def put(text, name, content, command=COMMAND):
    """Puts content between the marks of that name."""
    begin, end = f"<!-- {name}: {command} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    replaced, count = pattern.subn(
        lambda _: f"{begin}\n\n{content}\n\n{end}", text
    )
    if count != 1:
        raise ValueError(f"{begin} ... {end} is there {count} times, not once.")
    return replaced


def measure(older):
    """`numbers` by (Keras, backend), with a bar that shows the progress."""
    from rich.progress import Progress

    runs = [
        (keras, backend)
        for backend in BACKENDS
        for keras in (KERAS_2, *older, stock(), HEAD, FORK)
        # Keras 2 has one backend, and one older release has to do for JAX.
        if (keras != KERAS_2 or backend == "tensorflow")
        and (keras not in older or keras == "3.6.0" or backend != "jax")
    ]
    with Progress() as progress:
        return {
            (keras, backend): numbers(keras, backend)
            for keras, backend in progress.track(runs, description="measuring")
        }


def tables():
    """Everything that is to stand in the documents, by name."""
    older = list(older_keras.pinned())
    found = measure(older)
    parts = {
        f"before and after, {backend}": comparison(backend, found)
        for backend in BACKENDS
    }
    parts["three rows"] = comparison("tensorflow", found, THREE_ROWS)
    parts["history"] = history(older, found)
    for keras in (stock(), FORK):
        printed = plain_version(run(keras, "tensorflow", str(CHECK)))
        parts[f"check, {keras}"] = f"```\n{printed.strip()}\n```"
    return parts


def plain_version(printed):
    """Without the digits of the version that any change of ours changes."""
    return re.sub(r"(\+rawloss\.\d+)\.[0-9a-f]{8}", r"\1", printed)


DOCUMENTS = {
    "README.md": (
        "three rows",
        f"check, {stock()}",
        "check, fork",
    ),
    "RELEASE_NOTES.md": ("before and after, tensorflow",),
    "docs/before_after.md": (
        "before and after, jax",
        "before and after, torch",
        "history",
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", action="store_true", help="put the tables in the documents"
    )
    # What a process for one Keras does.
    parser.add_argument("--numbers", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.numbers:
        models = Models(importlib.import_module(arguments.numbers))
        print(json.dumps({row: models.number(row) for row in RIGHT}))
        return
    parts = tables()
    for name, content in parts.items():
        print(f"\n{name}\n\n{content}")
    if arguments.write:
        for document, names in DOCUMENTS.items():
            path = ROOT / document
            text = path.read_text(encoding="utf-8")
            for name in names:
                text = put(text, name, parts[name])
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
