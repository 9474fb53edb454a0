"""Draw what the loss of a Keras model is made of, epoch by epoch.

One file to copy, which needs `matplotlib` and `numpy`. Train with
`keras.callbacks.LossContributions()` among the callbacks, and give it what
`fit` returned:

    from plot_terms import plot_terms

    history = model.fit(..., callbacks=[keras.callbacks.LossContributions()])
    plot_terms(history, "terms.png")

The left picture has the raw losses, by which outputs, epochs and runs are
compared. The right one has all terms of the total, stacked, and the logged
`loss` as a line, which they reach.

It also reads the file of a `keras.callbacks.CSVLogger`:

    python plot_terms.py training.csv [--out terms.png] [--validation]
"""

import argparse
import csv
import pathlib
import re

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from matplotlib.ticker import MaxNLocator
from matplotlib.ticker import NullFormatter

# The palette of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MORE_COLOURS = ("#F0E442", "#882255")
GREY = "#999999"
# Of the sum of the sizes of all terms: float32, summed over an epoch.
TOLERANCE = 1e-4
CONTRIBUTION = re.compile(r"(.+)_contribution(_\d+)?$")
OTHER_TERM = re.compile(
    r"(regularization(_\d+)?_loss|(.+_)?added(_\d+)?_loss|other(_\d+)?_loss)$"
)


def plot_terms(logs, path=None, validation=False):
    """Draws the raw losses and all terms of the total.

    Args:
        logs: What `fit` returned, its `history`, or a dict like that, of a
            training with `keras.callbacks.LossContributions`.
        path: Where to save the picture, or `None`.
        validation: Whether to draw the losses of the validation data.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If there are no terms in the logs.
    """
    logs = logs_of(logs, validation)
    figure = Figure(figsize=(10, 4), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_raw(left, logs)
    draw_terms(right, logs)
    if validation:
        figure.suptitle("Validation data")
    if path is not None:
        figure.savefig(path)
    return figure


def logs_of(logs, validation=False):
    """The logs as arrays by name, without `val_` before the names."""
    logs = getattr(logs, "history", logs)
    prefix = "val_" if validation else ""
    found = {
        name.removeprefix(prefix): np.asarray(values, float)
        for name, values in logs.items()
        if name.startswith(prefix)
    }
    if not validation and "val_loss" in logs:
        # An output called `val` has `val_..._loss` in training, too: then
        # there is `val_val_..._loss`.
        found = {
            name: values
            for name, values in found.items()
            if not (name.startswith("val_") and f"val_{name}" not in logs)
        }
    if "loss" not in found or not terms_of(found):
        raise ValueError(
            "There are no terms of the loss in these logs. Expected those of a "
            "training with `keras.callbacks.LossContributions()`"
            + (" and validation data" if validation else "")
            + f". Received: {sorted(logs)}"
        )
    return found


def raw_of(logs):
    """The raw loss of each output that has a contribution."""
    found = {}
    for name in sorted(logs):
        match = CONTRIBUTION.match(name)
        if match and f"{match[1]}_loss" in logs:
            found[match[1]] = logs[f"{match[1]}_loss"]
    return found


def terms_of(logs):
    """The terms by name: contributions first, then what else adds up."""
    # An output may be called `other` or `regularization`.
    raw = {f"{name}_loss" for name in raw_of(logs)}
    names = sorted(logs)
    found = [name for name in names if CONTRIBUTION.match(name)]
    found += [x for x in names if OTHER_TERM.match(x) and x not in raw]
    return {name: logs[name] for name in found}


def colours_of(logs):
    """A colour for each term; an output's raw loss has that of the term."""
    names = list(terms_of(logs))
    palette = (*COLOURS, *MORE_COLOURS)
    if len(names) > len(palette):
        # The largest have a colour, the others are drawn as one.
        names.sort(key=lambda name: -np.nanmean(np.abs(logs[name])))
        names = names[: len(palette)]
        names = [name for name in terms_of(logs) if name in names]
    return dict(zip(names, palette))


def draw_raw(axes, logs):
    """Draws the raw losses, each with its name at its end."""
    colours, raw = colours_of(logs), raw_of(logs)
    epochs = np.arange(1, len(logs["loss"]) + 1)
    for name, values in raw.items():
        colour = colours.get(f"{name}_contribution", GREY)
        axes.plot(epochs, values, color=colour, marker="o", ms=3, lw=2)
    axes.set_ylabel("raw loss")
    if raw and all(np.all(values > 0) for values in raw.values()):
        axes.set(yscale="log", ylabel="raw loss, log scale")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    lowest = -np.inf
    for name in sorted(raw, key=lambda name: raw[name][-1]):
        # In the axes' own units, names stay apart where the ends do not.
        point = axes.transData.transform((epochs[-1], raw[name][-1]))
        height = axes.transAxes.inverted().transform(point)[1]
        lowest = max(height, lowest + 0.06)
        axes.annotate(
            f"{name}_loss",
            (1.0, lowest),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            color=colours.get(f"{name}_contribution", GREY),
            va="center",
            weight="bold",
        )
    finish(axes, "Raw losses: no weight in them")


def draw_terms(axes, logs):
    """Draws the terms, stacked, and the logged loss."""
    logs = {name: np.asarray(values, float) for name, values in logs.items()}
    terms, colours, total = terms_of(logs), colours_of(logs), logs["loss"]
    shown = {name: terms[name] for name in terms if name in colours}
    others = [values for name, values in terms.items() if name not in colours]
    if others:
        shown[f"{len(others)} others"] = sum(others)
    epochs = np.arange(1, len(total) + 1)
    above, below, handles = np.zeros(len(total)), np.zeros(len(total)), []
    for name, values in shown.items():
        # What is negative goes down from 0, lest it hide another term.
        is_above = values >= 0
        bottom = np.where(is_above, above, below)
        colour = colours.get(name, GREY)
        bars = axes.bar(epochs, values, 1.0, bottom, color=colour, label=name)
        handles.append(bars)
        above = above + np.where(is_above, values, 0)
        below = below + np.where(is_above, 0, values)
    if np.any(below < 0):
        axes.axhline(0, color="black", lw=0.8)
    edges = np.append(epochs, epochs[-1] + 1) - 0.5
    axes.stairs(total, edges, baseline=None, color="black", lw=2)
    handles += axes.plot([], [], color="black", lw=2, label="loss")
    axes.legend(
        handles=handles,
        reverse=True,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
    )
    missing = np.abs(total - sum(terms.values()))
    size = sum(map(np.abs, terms.values()))
    # Written so that NaN doesn't add up.
    if np.all(missing <= TOLERANCE * size):
        title = "Terms add up to loss"
    else:
        title = f"Terms miss loss by up to {np.max(missing):.2g}"
    finish(axes, title)
    axes.set(xlim=(0.5, len(epochs) + 0.5), ylabel="loss, weights applied")


def finish(axes, title):
    """What all pictures over epochs have."""
    axes.set_title(title, loc="left")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def read_csv(path):
    """The logs in the file of a `CSVLogger`."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "epoch"] if rows else []
    return {name: [float(row[name]) for row in rows] for name in names}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=pathlib.Path, help="file of a CSVLogger")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("terms.png")
    )
    parser.add_argument("--validation", action="store_true")
    args = parser.parse_args()
    plot_terms(read_csv(args.log), args.out, args.validation)
    print(f"The picture is at {args.out}")


if __name__ == "__main__":
    main()
