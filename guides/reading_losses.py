"""
Title: Reading the losses of a model with several outputs
Author: The authors of this fork
Date created: 2026/11/24
Last modified: 2026/11/24
Description: What each logged loss means, how they add up, and which to look at.
Accelerator: NONE
"""

"""
## Introduction

A model with several outputs logs several losses: one for each output, and
`loss`, which is what it is trained on. This guide trains such a model on real
data, and says of each number what it is and what it is good for.

All of it rests on one equation, which holds for every epoch, on every backend
and for every batch size:

    loss == sum(weight * <output>_loss) + regularization
"""

"""
## Setup
"""

# ruff: noqa: E402 - a guide is text first, imports later.
import os
import pathlib
import sys

import matplotlib
import numpy as np
from sklearn.datasets import load_digits

import keras

matplotlib.use("Agg")  # Pictures go to files.

from matplotlib import pyplot as plt

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))

from plot_terms import plot_terms

PICTURES = pathlib.Path(os.environ.get("GUIDE_PICTURES", ROOT / "docs"))
# From the palette of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS = {
    "digit": "#0072B2",
    "odd": "#E69F00",
    "image": "#009E73",
    "regularization": "#CC79A7",
}
plt.rcParams.update({"font.size": 11, "axes.spines.top": False})
plt.rcParams.update({"axes.spines.right": False, "lines.linewidth": 2.5})

keras.utils.set_random_seed(0)

"""
The data are the 1797 handwritten digits that come with scikit-learn, 8 by 8
pixels each. We ask three things of a picture: which digit it is, whether it is
odd, and what the picture looked like.
"""

pixels, digits = load_digits(return_X_y=True)
pixels = (pixels / 16.0).astype("float32")
labels = {
    "digit": digits,
    "odd": (digits % 2).astype("float32").reshape(-1, 1),
    "image": pixels,
}
order = np.random.default_rng(0).permutation(len(pixels))
train, test = order[:1437], order[1437:]


def rows(indices):
    """Inputs and labels of some of the samples."""
    return pixels[indices], {name: y[indices] for name, y in labels.items()}


x_train, y_train = rows(train)
x_test, y_test = rows(test)


def build():
    inputs = keras.Input((64,))
    hidden = keras.layers.Dense(
        64, "relu", kernel_regularizer=keras.regularizers.L2(1e-3)
    )(inputs)
    code = keras.layers.Dense(24, "relu")(hidden)
    return keras.Model(
        inputs,
        {
            "digit": keras.layers.Dense(10, "softmax", name="digit")(code),
            "odd": keras.layers.Dense(1, "sigmoid", name="odd")(code),
            "image": keras.layers.Dense(64, "sigmoid", name="image")(code),
        },
    )


losses = {
    "digit": "sparse_categorical_crossentropy",
    "odd": "binary_crossentropy",
    "image": "mse",
}


def train_with(weights, epochs=12, callbacks=()):
    """A trained model and its logs."""
    keras.utils.set_random_seed(0)
    model = build()
    model.compile(
        keras.optimizers.Adam(2e-3),
        loss=losses,
        loss_weights=weights,
        metrics={"digit": ["accuracy"]},
    )
    history = model.fit(
        x_train,
        y_train,
        validation_data=(x_test, y_test),
        batch_size=64,
        epochs=epochs,
        verbose=0,
        callbacks=list(callbacks),
    )
    return model, history.history


"""
## Raw loss, weight, contribution

The three losses are in different units: two are cross-entropies, the third is
a squared error of pixels between 0 and 1, and small from the start. So that all
three matter, the image gets a larger weight.
"""

weights = {"digit": 1.0, "odd": 0.5, "image": 10.0}
model, logs = train_with(weights)
print("last epoch:", {name: round(v[-1], 4) for name, v in logs.items()})

"""
- `digit_loss`, `odd_loss`, `image_loss` are the **raw losses**: what the loss
  functions returned. The weights are not in them. A raw loss has the unit of
  its loss function, and can be compared with other runs, other weights, and
  with what guessing would give: `log(10) = 2.30` for ten digits that are
  equally frequent, `log(2) = 0.69` for odd or even.
- The **contribution** of an output is its weight times its raw loss. It is what
  the output has to say in training. Contributions can be compared with each
  other.
- `loss` is the **total**: all contributions, and what regularizers and
  `add_loss` add.

The left picture is for the question "how good is each output?", the right one
for "what is the model trained on?".
"""

epochs = np.arange(1, 13)
figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4), layout="constrained"
)
for name in losses:
    raw = np.array(logs[f"val_{name}_loss"])
    left.plot(epochs, raw, color=COLOURS[name])
    left.annotate(
        f"{name}_loss",
        (12, raw[-1]),
        xytext=(6, {"digit": -6, "odd": 6, "image": 0}[name]),
        textcoords="offset points",
        color=COLOURS[name],
        va="center",
    )
left.set(yscale="log", xlabel="epoch", xlim=(0.5, 16), xticks=[1, 4, 8, 12])
left.set_ylabel("raw loss, log scale")
left.yaxis.set_major_formatter("{x:g}")
left.set_title("Raw losses (test images)", loc="left")
parts = {
    f"{weight:g} × {name}_loss": weight * np.array(logs[f"val_{name}_loss"])
    for name, weight in weights.items()
}
total = np.array(logs["val_loss"])
parts["regularization"] = total - sum(parts.values())
right.stackplot(
    epochs, *parts.values(), labels=list(parts), colors=COLOURS.values()
)
right.plot(epochs, total, color="black", label="val_loss")
right.set(xlabel="epoch", xticks=[1, 4, 8, 12], xlim=(1, 12), ylim=(0, None))
right.set_ylabel("loss, weights applied")
right.set_title("Contributions, and the total", loc="left")
right.legend(frameon=False, reverse=True)
figure.savefig(PICTURES / "guide_contributions.png", dpi=160)

"""
![Left: the raw losses of three outputs over twelve epochs, on a logarithmic
axis. Right: their contributions and the regularization, stacked; they reach
val_loss.](../docs/guide_contributions.png)

The image has by far the smallest raw loss, and yet the largest contribution
after the first epochs: the raw loss alone does not tell what the model is
trained on, and the contribution alone does not tell how good an output is.
"""

"""
## The balance check

In the right picture, regularization was what remained. It can also be known by
itself: `model.losses` holds what regularizers and `add_loss` add, for the model
as it is now. `evaluate` changes no weight, so all terms of the equation are
those of the same model.
"""


def check_balance(model, logs, weights):
    """Prints `loss`, and what it should be."""
    total = sum(weight * logs[f"{n}_loss"] for n, weight in weights.items())
    total += sum(float(keras.ops.convert_to_numpy(x)) for x in model.losses)
    print(f"loss {logs['loss']:.6f}, should be {total:.6f}")
    # float32 has 7 digits, and there are some dozens of sums.
    np.testing.assert_allclose(logs["loss"], total, rtol=1e-5)


scores = model.evaluate(x_test, y_test, verbose=0, return_dict=True)
check_balance(model, scores, weights)

"""
If your losses do not balance, `tools/check_losses.py` says why. While weights
move, as in `fit`, the regularization of an epoch is an average over its steps;
`examples/digits.py` shows how to log it.
"""

"""
## Short batches

360 test images make five batches of 64 and one of 40. An epoch's value is the
average over *samples*: the short batch counts for 40, not for 64. So the size
of the batches changes no number.
"""

for batch_size in (64, 100, 360):
    scores = model.evaluate(
        x_test, y_test, batch_size=batch_size, verbose=0, return_dict=True
    )
    print(batch_size, {n: f"{scores[f'{n}_loss']:.6f}" for n in losses})

"""
What is averaged is the loss of a batch. That makes a difference for losses that
do not average over their batch themselves, such as `reduction="sum"`: those are
averages of sums, and do depend on the size of the batches.
"""

"""
## Sample weights

A sample weight is a factor of the loss of one sample. It is *in* the raw loss,
unlike the loss weight. The sum is divided by the number of samples, not by the
sum of their weights: if half of the samples get the weight 0, the raw loss is
about half as large.
"""

only_small = (y_test["digit"] < 5).astype("float32")
scores = model.evaluate(
    x_test,
    y_test,
    sample_weight={"digit": only_small},
    verbose=0,
    return_dict=True,
)
predictions = keras.ops.convert_to_numpy(model(x_test)["digit"])
of_each = -np.log(predictions[np.arange(360), y_test["digit"]])
print(f"digit_loss            {scores['digit_loss']:.6f}")
print(f"sum(w * loss) / 360   {(only_small * of_each).sum() / 360:.6f}")
print(f"over the samples used {of_each[only_small > 0].mean():.6f}")

"""
The second line is what is logged and trained on. To see the third one, divide
by the mean of the weights.
"""

"""
## Masks

A mask leaves timesteps out, and these do not count in the divisor either. Here
a picture is a sequence of eight rows that stops early, and the model is to say
how much ink each row has.
"""

lengths = np.random.default_rng(1).integers(2, 9, len(pixels))
images = pixels.reshape(-1, 8, 8)
is_there = np.arange(8) < lengths[:, None]
sequences = np.where(is_there[:, :, None], images + 0.01, 0)
ink = images.sum(axis=2, keepdims=True)

inputs = keras.Input((8, 8))
masked = keras.layers.Masking()(inputs)
hidden = keras.layers.GRU(16, return_sequences=True)(masked)
sequence_model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
sequence_model.compile("adam", loss="mse")
score = sequence_model.evaluate(
    sequences[test], ink[test], batch_size=360, verbose=0
)
answer = keras.ops.convert_to_numpy(sequence_model(sequences[test]))
squares = ((answer - ink[test]) ** 2)[:, :, 0]
print(f"loss                 {score:.5f}")
print(f"over rows in the mask {squares[is_there[test]].mean():.5f}")
print(f"over all rows         {squares.mean():.5f}")

"""
Sample weights differ from masks in this: what they leave out still counts in
the divisor.
"""

"""
## Moving weights

A loss weight may be a `keras.Variable`. It is read at each step, so a callback
can move it without compiling again. Here the image is to matter only when the
digits are known already.
"""

image_weight = keras.Variable(1.0)
ramp = [1.0, 1.0, 1.0, 1.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0]
moving = {"digit": 1.0, "odd": 0.5, "image": image_weight}
_, moving_logs = train_with(
    moving,
    callbacks=[
        keras.callbacks.LossContributions(),
        keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: image_weight.assign(ramp[epoch])
        ),
    ],
)

"""
The raw loss of the image can be read straight through, for it holds no weight.
`loss` rises, although the outputs get better: it is another `loss` in each
epoch. Do not stop early on `loss`, and do not choose checkpoints by it, while a
weight moves; use a raw loss or a metric.

`LossContributions` adds `<output>_weight` and `<output>_contribution` to the
logs of each epoch. The contribution is summed up step by step, so that it is
right when a weight moves within an epoch, too, where weight x raw loss of the
epoch is not.
"""

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4), layout="constrained"
)
left.plot(
    epochs,
    moving_logs["image_weight"],
    color=COLOURS["image"],
    label="image_weight",
)
left.set_title("The weight, as the callback set it", loc="left")
right.plot(epochs, moving_logs["loss"], color="black", label="loss")
right.plot(
    epochs,
    moving_logs["image_contribution"],
    color=COLOURS["image"],
    linestyle="--",
    label="image_contribution",
)
right.plot(
    epochs,
    moving_logs["image_loss"],
    color=COLOURS["image"],
    label="image_loss",
)
right.set(yscale="log", ylabel="loss, log scale")
left.set_ylabel("loss weight")
right.yaxis.set_major_formatter("{x:g}")
right.set_title("What is logged", loc="left")
for axes in (left, right):
    axes.set(xlabel="epoch", xticks=[1, 4, 8, 12])
    axes.legend(frameon=False)
figure.savefig(PICTURES / "guide_moving_weight.png", dpi=160)

"""
![Left: the loss weight of the image stays at 1 for four epochs and then rises
to 40. Right: image_loss falls throughout; its contribution rises, and with it
loss.](../docs/guide_moving_weight.png)
"""

"""
## One output: what is in `loss` besides its loss

A model with one output logs only `loss`, and that holds whatever regularizers
and layers add. `LossContributions` logs all terms, for one output too:

- `<output>_loss`, the raw loss, and `<output>_contribution`;
- `regularization_loss`, what regularizers of weights add;
- `<layer>_added_loss`, what a layer adds by `add_loss` or an activity
  regularizer.

`tools/plot_terms.py` draws them: one file to copy, and one call.

First a classifier with an L2 penalty. It has been trained without one, and then
goes on with one that is too strong, as happens when a penalty is to cure
overfitting.
"""


def classifier(penalty):
    inputs = keras.Input((64,))
    hidden = keras.layers.Dense(
        64, "relu", kernel_regularizer=keras.regularizers.L2(penalty)
    )(inputs)
    outputs = keras.layers.Dense(
        10,
        "softmax",
        kernel_regularizer=keras.regularizers.L2(penalty),
        name="digit",
    )(hidden)
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy"
    )
    return model


def log_terms(model, labels, epochs=10):
    """Trains a model on the pictures; its history."""
    return model.fit(
        x_train,
        labels[train],
        validation_data=(x_test, labels[test]),
        batch_size=64,
        epochs=epochs,
        verbose=0,
        callbacks=[keras.callbacks.LossContributions()],
    )


keras.utils.set_random_seed(0)
plain = classifier(penalty=0.0)
plain.fit(x_train, digits[train], batch_size=64, epochs=10, verbose=0)
penalized = classifier(penalty=0.05)
penalized.set_weights(plain.get_weights())
history = log_terms(penalized, digits)
plot_terms(history, PICTURES / "guide_penalty.png")
for name in ("loss", "digit_loss", "regularization_loss"):
    first, last = history.history[name][0], history.history[name][-1]
    print(f"{name}: {first:.3f} in the first epoch, {last:.3f} in the last one")

"""
![Left: digit_loss rises. Right: the contribution of digit rises, the
regularization falls by more, and loss falls with
it.](../docs/guide_penalty.png)

`loss` falls from epoch to epoch, and the model gets worse: it is the weights
that shrink. An early stop on `val_loss` would never come. Here one on
`val_digit_loss` would come at once; `regularization_loss` can be watched, too.

The second model is a variational autoencoder. A layer adds the KL divergence of
its code by `add_loss`, so that there is no output and no weight for it.
"""


class Code(keras.layers.Layer):
    """Draws a code, and adds its KL divergence from N(0, 1)."""

    def __init__(self, factor, **arguments):
        super().__init__(**arguments)
        self.factor = factor
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, parameters):
        mean, log_variance = keras.ops.split(parameters, 2, axis=-1)
        squares = keras.ops.exp(log_variance) + keras.ops.square(mean)
        kl = 0.5 * keras.ops.sum(squares - 1.0 - log_variance, axis=-1)
        self.add_loss(self.factor * keras.ops.mean(kl))
        noise = keras.random.normal(keras.ops.shape(mean), seed=self.seeds)
        return mean + keras.ops.exp(0.5 * log_variance) * noise


def autoencoder(factor):
    dense = keras.layers.Dense
    inputs = keras.Input((64,))
    parameters = dense(16)(dense(96, "relu")(inputs))
    code = Code(factor, name="code")(parameters)
    image = dense(64, "sigmoid", name="image")(dense(96, "relu")(code))
    model = keras.Model(inputs, image)
    # The sum over the pixels, where the loss takes their mean.
    model.compile(
        keras.optimizers.Adam(5e-3), "binary_crossentropy", loss_weights=64.0
    )
    return model


keras.utils.set_random_seed(0)
history = log_terms(autoencoder(factor=1.0), pixels)
plot_terms(history, PICTURES / "guide_added.png")
for factor in (1.0, 20.0):
    if factor > 1:
        history = log_terms(autoencoder(factor), pixels)
    end = {name: values[-1] for name, values in history.history.items()}
    print(
        f"KL times {factor:g}: val_loss {end['val_loss']:.2f}, "
        f"val_image_loss {end['val_image_loss']:.3f}, "
        f"val_code_added_loss {end['val_code_added_loss']:.2f}"
    )

"""
![Left: image_loss falls. Right: the contribution of the image and, on top of
it, the loss that the code adds; they reach loss.](../docs/guide_added.png)

With the KL term times 20, training looks just as calm, and `loss` is not much
higher. But the layer adds next to nothing: the code says nothing about the
picture, and `image_loss` is that of the average picture. One look at the two
terms tells; `loss` does not.

**When `loss` goes down and the raw loss goes up**, look at the terms first: one
of the others has fallen by more.

1. `regularization_loss` has: the penalty is too strong. Make it weaker, and
   choose epochs by the raw loss of the validation data.
2. `<layer>_added_loss` has: what the layer wants and what the output wants
   contradict each other. Give the added loss a smaller factor, or let it grow
   from 0.
3. `<output>_weight` has: the weight moves, and `loss` is another one in each
   epoch.
4. `other_loss` has: look into your own `compute_loss`.
"""

"""
## When training goes wrong

Look at the numbers in this order.

1. **Is a raw loss NaN?** A NaN stays in its own entry and in `loss`. The entry
   that is NaN first names the output to look at.
2. **Is a raw loss no better than guessing?** 2.30 for ten digits, 0.69 for odd
   or even, the variance of the labels for a squared error. Then that output
   learns nothing, whatever `loss` does.
3. **Does one contribution dwarf the others?** Then its weight is too large for
   its unit, and the other outputs starve. Change the weight; the raw losses of
   both runs can be compared, since it is not in them.
4. **Is `regularization_loss` most of `loss`?** Then `loss` falls because the
   weights of the model shrink.
5. **Do training and validation differ?** Compare raw loss with raw loss. Both
   `loss` and `val_loss` hold the regularization.

Here is the third case: the weight of the image, once 10 and once 3000.
"""

_, starved = train_with({"digit": 1.0, "odd": 0.5, "image": 3000.0})
figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4), layout="constrained"
)
for run, style, text in ((logs, "-", "10"), (starved, "--", "3000")):
    left.plot(epochs, run["val_loss"], style, color="black", label=text)
    right.plot(
        epochs,
        run["val_digit_loss"],
        style,
        color=COLOURS["digit"],
        label=f"{text}: accuracy {run['val_digit_accuracy'][-1]:.0%}",
    )
left.set(yscale="log", ylabel="total, log scale")
left.yaxis.set_major_formatter("{x:g}")
left.set_title("val_loss: falls in both runs", loc="left")
right.set(ylim=(0, None), ylabel="raw loss")
right.set_title("val_digit_loss: one run learns slowly", loc="left")
right.axhline(np.log(10), color="grey", linewidth=1)
right.annotate("guessing", (12, np.log(10) + 0.05), color="grey", ha="right")
for axes in (left, right):
    axes.set(xlabel="epoch", xticks=[1, 4, 8, 12])
    # Between the curves and below the line of guessing.
    axes.legend(title="weight of image", frameon=False, loc=(0.5, 0.5))
figure.savefig(PICTURES / "guide_starved.png", dpi=160)

"""
![Left: val_loss falls in both runs. Right: val_digit_loss falls quickly with a
weight of 10 and slowly with one of 3000.](../docs/guide_starved.png)

`loss` falls nicely in both runs, and can't be compared between them. The raw
loss of the digit can, and shows what the large weight costs.
"""

image_share = 3000 * starved["image_loss"][-1] / starved["loss"][-1]
print(f"share of the image in loss, weight 3000: {image_share:.1%}")
