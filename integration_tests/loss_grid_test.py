"""Every loss of Keras', in every combination of what it is called with.

Losses x reductions x sample weights x masks x dtypes x ranks of the output,
against the formulae in NumPy, with float64. Nothing here is taken from what
Keras returns.
"""

import functools
import itertools
import math
from typing import Any
from typing import Callable
from typing import NamedTuple

import numpy as np
import pytest

import keras
import pip_build
from keras.src import backend
from keras.src.losses import losses as losses_module

REDUCTIONS = (
    "sum_over_batch_size",
    "mean",
    "mean_with_sample_weight",
    "sum",
    None,
)
WEIGHTS = ("none", "scalar", "n", "n_1", "full")
MASKS = ("none", "some", "nothing_left")
# How far a value may be off, relative to the numbers that it is made from: the
# value itself or, if that is larger, what a loss adds and subtracts inside. A
# number has 24 bits in float32, 11 in float16 and 8 in bfloat16, so that each
# rounding is wrong by up to 2**-24, 2**-12 and 2**-9. No loss does more than 16
# of them that add up. In float32, backends' exp and log are off by 1e-6.
TOLERANCES = {"float32": 1e-5, "float16": 16 * 2**-12, "bfloat16": 16 * 2**-9}

# Shapes without the last axis. All sizes differ, so that nothing fits by
# accident; the axis of the classes has the size 4.
N, T = 3, 2
SHAPES = {1: (N,), 2: (N,), 3: (N, T), 4: (N, T, 5)}
CLASSES = 4


# Labels and predictions. All numbers are multiples of 1/8 or 1/16, with few
# digits: there is no dtype that rounds them.


def reals(rng, shape):
    """Labels and predictions from 1/8 to 3, whose distance is at least 1/8."""
    y_true = rng.integers(1, 25, shape) / 8
    y_pred = rng.integers(1, 25, shape) / 8
    return y_true, np.where(y_true == y_pred, y_true + 0.5, y_pred)


def signs(rng, shape):
    return rng.choice([-1.0, 1.0], shape), rng.integers(-16, 17, shape) / 8


def binary(rng, shape):
    y_true = rng.integers(0, 2, shape).astype("float64")
    return y_true, rng.integers(1, 16, shape) / 16


def binary_logits(rng, shape):
    y_true, _ = binary(rng, shape)
    return y_true, rng.integers(-16, 17, shape) / 8


def probabilities(rng, shape):
    """Rows of 1, 2, 5 and 8 sixteenths, in any order."""
    rows = np.broadcast_to(np.array([1, 2, 5, 8]) / 16, shape)
    return rng.permuted(rows, axis=-1)


def distributions(rng, shape):
    return probabilities(rng, shape), probabilities(rng, shape)


def one_hot(rng, shape):
    return np.eye(shape[-1])[rng.integers(shape[-1], size=shape[:-1])]


def classes(rng, shape):
    return one_hot(rng, shape), probabilities(rng, shape)


def class_logits(rng, shape):
    return one_hot(rng, shape), rng.integers(-16, 17, shape) / 8


def indices(rng, shape):
    return rng.integers(shape[-1], size=shape[:-1]), probabilities(rng, shape)


def index_logits(rng, shape):
    y_true, _ = indices(rng, shape)
    return y_true, rng.integers(-16, 17, shape) / 8


def embeddings(rng, shape):
    """Unit vectors; the third one's class has no other vector."""
    y_pred = [[1, 0, 0, 0], [0.5, 0.5, -0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]
    return np.array([7, 7, 2]), np.array(y_pred)


def sequences(rng, shape):
    """Labels end with blanks, which are 0."""
    y_true = np.array([[1, 2], [3, 0], [2, 2]])
    return y_true, rng.integers(-16, 17, (N, 4, CLASSES)) / 8


# The formulae. `y` are the labels and `p` the predictions, and classes are on
# the last axis.


def mean(x):
    return x.mean(axis=-1)


def total(x):
    return x.sum(axis=-1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / total(np.exp(x))[..., None]


def norm(x):
    return np.sqrt(total(x**2))


def hinge(y, p):
    return np.maximum(1 - y * p, 0)


def categorical_hinge(y, p):
    highest_of_others = ((1 - y) * p).max(axis=-1)
    return np.maximum(highest_of_others - total(y * p) + 1, 0)


def huber(y, p, delta):
    e = np.abs(y - p)
    return mean(np.where(e <= delta, e**2 / 2, delta * e - delta**2 / 2))


def smoothed(y, by, classes):
    return y * (1 - by) + by / classes


def crossentropies(y, p):
    """Of each entry by itself."""
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def binary_focal(y, p, gamma=2, alpha=None):
    right = y * p + (1 - y) * (1 - p)
    balance = 1 if alpha is None else y * alpha + (1 - y) * (1 - alpha)
    return mean(balance * (1 - right) ** gamma * crossentropies(y, p))


def crossentropy(y, p):
    return total(-y * np.log(p))


def categorical_focal(y, p, alpha=0.25, gamma=2):
    return total(-alpha * (1 - p) ** gamma * y * np.log(p))


def of_class(y, p):
    return np.take_along_axis(p, y[..., None], axis=-1)[..., 0]


def samples(x):
    """The sums over all axes but the first."""
    return x.reshape(len(x), -1).sum(axis=-1)


def dice(y, p, sum_=np.sum):
    return 1 - 2 * sum_(y * p) / (sum_(y) + sum_(p))


def tversky(y, p, alpha=0.5, beta=0.5, sum_=np.sum):
    # Keras' `alpha` is the weight of what the predictions lack.
    lacking, too_much = sum_(y * (1 - p)), sum_((1 - y) * p)
    both = sum_(y * p)
    return 1 - both / (both + alpha * lacking + beta * too_much)


def circle(y, p, gamma, margin):
    """Softplus of the log of all pairs of a similar and another vector."""
    values = []
    for i, vector in enumerate(p):
        similar, other = [], []
        for j in range(len(p)):
            s = vector @ p[j]
            if j != i and y[j] == y[i]:
                similar.append(
                    np.exp(-gamma * max(1 + margin - s, 0) * (s - 1 + margin))
                )
            elif y[j] != y[i]:
                other.append(np.exp(gamma * max(s + margin, 0) * (s - margin)))
        values.append(np.log(1 + sum(similar) * sum(other)))
    return np.array(values)


def ctc(y, p):
    """Adds up all paths that spell the labels."""

    def spelled(path):
        return [c for c, _ in itertools.groupby(path) if c != 0]

    def probability(labels, steps):
        labels = [c for c in labels if c != 0]
        paths = itertools.product(range(CLASSES), repeat=len(steps))
        return sum(
            math.prod(step[c] for step, c in zip(steps, path))
            for path in paths
            if spelled(path) == labels
        )

    pairs = zip(y.tolist(), softmax(p).tolist())
    return np.array([-math.log(probability(*pair)) for pair in pairs])


class Case(NamedTuple):
    """A loss and what it should give, unreduced."""

    make: Callable
    data: Callable
    values: Callable
    kwargs: dict[str, Any] = {}
    # With rank 1, each sample is an entry; a loss that compares the entries
    # of a sample has at least rank 2.
    ranks: tuple[int, ...] = (2, 3, 4)
    # The mask that the loss itself makes, from labels and values.
    mask: Callable | None = None
    # About the largest number that is added or subtracted on the way.
    inside: float = 1.0


ALL_RANKS = (1, 2, 3, 4)

# Every class of losses is in at least one of them.
FALSE_FACTORS = (0.75, 0.25) if pip_build.is_on_head() else (0.25, 0.75)
CASES = {
    "MeanSquaredError": Case(
        keras.losses.MeanSquaredError,
        reals,
        lambda y, p: mean((y - p) ** 2),
        ranks=ALL_RANKS,
    ),
    "MeanAbsoluteError": Case(
        keras.losses.MeanAbsoluteError,
        reals,
        lambda y, p: mean(abs(y - p)),
        ranks=ALL_RANKS,
    ),
    "MeanAbsolutePercentageError": Case(
        keras.losses.MeanAbsolutePercentageError,
        reals,
        lambda y, p: 100 * mean(abs(y - p) / y),
        ranks=ALL_RANKS,
    ),
    "MeanSquaredLogarithmicError": Case(
        keras.losses.MeanSquaredLogarithmicError,
        reals,
        lambda y, p: mean((np.log(1 + y) - np.log(1 + p)) ** 2),
        ranks=ALL_RANKS,
    ),
    "CosineSimilarity": Case(
        keras.losses.CosineSimilarity,
        reals,
        lambda y, p: -total(y * p) / (norm(y) * norm(p)),
    ),
    "Huber": Case(
        keras.losses.Huber,
        reals,
        lambda y, p: huber(y, p, delta=1),
        ranks=ALL_RANKS,
    ),
    "Huber_delta": Case(
        keras.losses.Huber,
        reals,
        lambda y, p: huber(y, p, delta=0.5),
        {"delta": 0.5},
    ),
    "LogCosh": Case(
        keras.losses.LogCosh,
        reals,
        lambda y, p: mean(np.log(np.cosh(p - y))),
        ranks=ALL_RANKS,
        # Keras adds `softplus(-2 * error)`; errors are less than 3.
        inside=6.0,
    ),
    "Hinge": Case(
        keras.losses.Hinge,
        signs,
        lambda y, p: mean(hinge(y, p)),
        ranks=ALL_RANKS,
    ),
    "Hinge_binary_labels": Case(
        keras.losses.Hinge,
        lambda rng, shape: (binary(rng, shape)[0], signs(rng, shape)[1]),
        lambda y, p: mean(hinge(2 * y - 1, p)),
    ),
    "SquaredHinge": Case(
        keras.losses.SquaredHinge,
        signs,
        lambda y, p: mean(hinge(y, p) ** 2),
        ranks=ALL_RANKS,
    ),
    "CategoricalHinge": Case(
        keras.losses.CategoricalHinge, classes, categorical_hinge
    ),
    "KLDivergence": Case(
        keras.losses.KLDivergence,
        distributions,
        lambda y, p: total(y * np.log(y / p)),
    ),
    "Poisson": Case(
        keras.losses.Poisson,
        reals,
        lambda y, p: mean(p - y * np.log(p)),
        ranks=ALL_RANKS,
    ),
    "BinaryCrossentropy": Case(
        keras.losses.BinaryCrossentropy,
        binary,
        lambda y, p: mean(crossentropies(y, p)),
        ranks=ALL_RANKS,
    ),
    "BinaryCrossentropy_logits_smoothed": Case(
        keras.losses.BinaryCrossentropy,
        binary_logits,
        lambda y, p: mean(crossentropies(smoothed(y, 0.25, 2), sigmoid(p))),
        {"from_logits": True, "label_smoothing": 0.25},
    ),
    "BinaryFocalCrossentropy": Case(
        keras.losses.BinaryFocalCrossentropy,
        binary,
        binary_focal,
        ranks=ALL_RANKS,
    ),
    "BinaryFocalCrossentropy_logits_balanced": Case(
        keras.losses.BinaryFocalCrossentropy,
        binary_logits,
        lambda y, p: binary_focal(y, sigmoid(p), gamma=3, alpha=0.75),
        {
            "from_logits": True,
            "gamma": 3.0,
            "alpha": 0.75,
            "apply_class_balancing": True,
        },
    ),
    "CategoricalCrossentropy": Case(
        keras.losses.CategoricalCrossentropy, classes, crossentropy
    ),
    "CategoricalCrossentropy_logits_smoothed": Case(
        keras.losses.CategoricalCrossentropy,
        class_logits,
        lambda y, p: crossentropy(smoothed(y, 0.25, CLASSES), softmax(p)),
        {"from_logits": True, "label_smoothing": 0.25},
    ),
    "CategoricalFocalCrossentropy": Case(
        keras.losses.CategoricalFocalCrossentropy, classes, categorical_focal
    ),
    "CategoricalFocalCrossentropy_logits": Case(
        keras.losses.CategoricalFocalCrossentropy,
        class_logits,
        lambda y, p: categorical_focal(y, softmax(p), alpha=0.5, gamma=3),
        {"from_logits": True, "alpha": 0.5, "gamma": 3.0},
    ),
    "SparseCategoricalCrossentropy": Case(
        keras.losses.SparseCategoricalCrossentropy,
        indices,
        lambda y, p: -np.log(of_class(y, p)),
    ),
    "SparseCategoricalCrossentropy_logits": Case(
        keras.losses.SparseCategoricalCrossentropy,
        index_logits,
        lambda y, p: -np.log(of_class(y, softmax(p))),
        {"from_logits": True},
    ),
    "SparseCategoricalCrossentropy_ignore": Case(
        keras.losses.SparseCategoricalCrossentropy,
        indices,
        lambda y, p: np.where(y == 1, 0, -np.log(of_class(y, p))),
        {"ignore_class": 1},
        mask=lambda y, values: y != 1,
    ),
    "CategoricalGeneralizedCrossEntropy": Case(
        keras.losses.CategoricalGeneralizedCrossEntropy,
        indices,
        lambda y, p: (1 - of_class(y, p) ** 0.5) / 0.5,
        {"q": 0.5},
    ),
    "CTC": Case(keras.losses.CTC, sequences, ctc, ranks=(3,)),
    "Dice": Case(keras.losses.Dice, binary, dice),
    "Dice_axis": Case(
        keras.losses.Dice,
        binary,
        lambda y, p: dice(y, p, samples),
        {"axis": (1, 2)},
        ranks=(3,),
    ),
    "Tversky": Case(keras.losses.Tversky, binary, tversky),
    "Tversky_axis": Case(
        keras.losses.Tversky,
        binary,
        # Releases take `alpha` for `beta`; head does not any more.
        lambda y, p: tversky(y, p, *FALSE_FACTORS, samples),
        {"alpha": 0.25, "beta": 0.75, "axis": (1, 2)},
        ranks=(3,),
    ),
    # With the default `gamma` of 80, narrow dtypes have no digits left.
    "Circle": Case(
        keras.losses.Circle,
        embeddings,
        lambda y, p: circle(y, p, gamma=2, margin=0.5),
        {"gamma": 2.0, "margin": 0.5},
        ranks=(2,),
        mask=lambda y, values: values > 0,
    ),
    # Any function becomes a loss in this way, and each value may be one.
    "LossFunctionWrapper": Case(
        lambda **kwargs: losses_module.LossFunctionWrapper(
            lambda y_true, y_pred: keras.ops.abs(y_true - y_pred), **kwargs
        ),
        reals,
        lambda y, p: abs(y - p),
    ),
}


def data_of(case, rank):
    """Labels, predictions and the unreduced loss."""
    shape = SHAPES[rank] if rank == 1 else (*SHAPES[rank], CLASSES)
    y_true, y_pred = case.data(np.random.default_rng(rank), shape)
    if rank > 1:
        return y_true, y_pred, case.values(y_true, y_pred)
    # A sample's only entry.
    values = case.values(y_true[:, None], y_pred[:, None])
    return y_true, y_pred, values.reshape(N)


def weight_of(kind, shape):
    """Sample weights for values of a shape; 0 is one of them."""
    if kind == "none" or (kind != "scalar" and not shape):
        return None
    if kind == "scalar":
        return np.array(1.5)
    shape = {"n": (N,), "n_1": (N, 1), "full": shape}[kind]
    return np.resize(np.array([0.5, 3.0, 0.0, 1.25, 2.0]), shape)


def mask_of(kind, shape):
    """A mask of the shape (N,) or (N, T)."""
    if kind == "none" or not shape:
        return None
    kept = np.resize(np.array([True, True, False]), shape[:2])
    return kept & (kind == "some")


def expanded(x, shape):
    """Axes that are missing come last."""
    x = np.asarray(x)
    if x.ndim > len(shape):
        x = x[..., 0]
    x = np.reshape(x, x.shape + (1,) * (len(shape) - x.ndim))
    return np.broadcast_to(x, shape)


def reduced(values, weight, mask, reduction):
    """The formulae in the docstring of `keras.losses.Loss`."""
    w = expanded(1 if weight is None else weight, values.shape)
    m = expanded(1 if mask is None else mask, values.shape)
    if reduction is None:
        found = w * m * values
        # An axis of size 1 that only the weights have is there, too.
        is_column = weight is not None and np.ndim(weight) == 2
        return found[:, None] if is_column and values.ndim == 1 else found
    if reduction == "sum":
        return (w * m * values).sum()
    by_weight = reduction == "mean_with_sample_weight"
    divisor = (w * m).sum() if by_weight else m.sum()
    return (w * m * values).sum() / divisor if divisor else np.float64(0)


def tensor(x, mask=None):
    x = keras.ops.convert_to_tensor(x, dtype="float32")
    if mask is not None:
        backend.common.masking.set_keras_mask(
            x, mask=keras.ops.convert_to_tensor(mask)
        )
    return x


def compute_once(losses):
    """Lets losses that differ in reduction share their unreduced values.

    It is what takes the time: each time it is called, JAX compiles the
    branches in hinge losses and the loop in CTC anew.
    """
    computed = {}

    class Shared(functools.partial):
        """Still Keras' own: there is nothing of a user's in between."""

        def __call__(self, y_true, y_pred, **kwargs):
            shape = tuple(y_pred.shape)  # No two ranks have the same.
            if shape not in computed:
                computed[shape] = super().__call__(y_true, y_pred, **kwargs)
            return computed[shape]

    for loss in losses:
        loss.fn = Shared(loss.fn)


def combinations(case):
    """Yields descriptions, and what the loss is to be called with."""
    for rank in case.ranks:
        y_true, y_pred, values = data_of(case, rank)
        seen = set()
        for weight_kind, mask_kind in itertools.product(WEIGHTS, MASKS):
            weight = weight_of(weight_kind, values.shape)
            mask = mask_of(mask_kind, values.shape)
            found = values
            if rank == 1 and mask is None and weight_kind in ("none", "scalar"):
                # Nothing tells samples apart: the function takes the mean.
                found = values.mean()
            # A loss that is a scalar has no axes for weights and masks.
            key = (weight is None, mask is None)
            if not values.shape and key in seen:
                continue
            seen.add(key)
            yield (
                f"rank={rank} weight={weight_kind} mask={mask_kind}",
                (y_true, tensor(y_pred, mask), weight),
                (found, mask),
            )


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_grid(name, dtype):
    case = CASES[name]
    losses = {
        reduction: case.make(**case.kwargs, reduction=reduction, dtype=dtype)
        for reduction in REDUCTIONS
    }
    compute_once(losses.values())
    wrong = []
    if dtype != "float32":
        # No rank has a path of its own that depends on the dtype: one will do.
        case = case._replace(ranks=(max(r for r in case.ranks if r < 4),))
    for what, (y_true, y_pred, weight), (values, mask) in combinations(case):
        if case.mask is not None:
            own = case.mask(y_true, values)
            mask = own if mask is None else own & expanded(mask, own.shape)
        given = None if weight is None else weight.copy()
        # Roundings are relative to what is added, not to what comes out.
        size = np.maximum(abs(values), case.inside)
        for reduction, loss in losses.items():
            got = loss(y_true, y_pred, sample_weight=given)
            got_dtype = backend.common.standardize_dtype(got.dtype)
            got = keras.ops.convert_to_numpy(keras.ops.cast(got, "float32"))
            expected = reduced(values, weight, mask, reduction)
            off = TOLERANCES[dtype] * reduced(size, weight, mask, reduction)
            if (
                got_dtype != dtype
                or got.shape != expected.shape
                or not np.all(abs(got - expected) <= off)
            ):
                wrong.append(
                    f"{what} reduction={reduction}: {got} of {got_dtype} is "
                    f"not {expected}"
                )
        if not np.array_equal(given, weight):
            wrong.append(f"{what}: {given} was {weight} before")
    assert not wrong, f"{len(wrong)} of them, such as\n" + "\n".join(wrong[:8])


def test_all_losses_are_here():
    made = {type(case.make(**case.kwargs)) for case in CASES.values()}
    known = {
        loss
        for loss in losses_module.__dict__.values()
        if isinstance(loss, type) and issubclass(loss, keras.losses.Loss)
    }
    # What head has besides is no matter of ours.
    new = {"SparseCategoricalFocalCrossentropy"}
    known = {loss for loss in known if loss.__name__ not in new}
    assert made == known - {keras.losses.Loss}


@pytest.mark.skipif(
    backend.backend() != "tensorflow", reason="Keras 2 has no other backend."
)
def test_keras_2_agrees():
    """Where Keras 2 is right: some of rank 2 and 3, in three reductions.

    It weighs samples only if a single axis is missing in the weights, knows
    no outputs of rank 1, and makes a NaN of what is masked altogether.
    """
    tf_keras = pytest.importorskip("tf_keras")
    wrong, compared = [], set()
    for name, case in CASES.items():
        old_class = getattr(tf_keras.losses, name.split("_")[0], None)
        if old_class is None:
            continue
        case = case._replace(ranks=tuple(r for r in case.ranks if r in (2, 3)))
        for what, (y_true, y_pred, weight), _ in combinations(case):
            if "nothing_left" in what:
                continue
            # Some losses of Keras 2 refuse what is of another dtype.
            y_true = y_true.astype("float32")
            weight = None if weight is None else weight.astype("float32")
            for reduction in ("sum_over_batch_size", "sum", "none"):
                old = old_class(**case.kwargs, reduction=reduction)
                new = case.make(**case.kwargs, reduction=reduction)
                expected = old(y_true, y_pred, weight).numpy()
                got = new(y_true, y_pred, weight).numpy()
                if got.ndim == expected.ndim + 1:
                    # An axis of the weights, which Keras 2 leaves out.
                    got = got[..., 0]
                compared.add(old_class.__name__)
                if got.shape != expected.shape or not np.allclose(
                    got, expected, rtol=TOLERANCES["float32"], atol=1e-6
                ):
                    wrong.append(
                        f"{name} {what} reduction={reduction}: {got} is not "
                        f"{expected}"
                    )
    # Keras 2 lacks the five newest, and has no name for wrapped functions.
    assert len(compared) == 17, compared
    assert not wrong, f"{len(wrong)} of them, such as\n" + "\n".join(wrong[:8])
