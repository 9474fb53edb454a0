"""Do the losses that your Keras logs add up? One file, for any Keras 3.

Copy this file next to your code. It needs keras and numpy, changes nothing in
the model, and works with stock Keras as with the fork that it comes from:

    from check_losses import check_losses

    model.compile(loss=..., loss_weights=weights)
    print(check_losses(model, x, y, loss_weights=weights))

It computes the loss of every output of every batch by itself, has
`model.evaluate` log the same batches, and compares. Logs that add up are

    <output>_loss == the loss before its loss weight, averaged over samples
    loss == sum(weight * <output>_loss) + regularization

Where they do not, it works out what the logs would be under each defect that
some Keras is known to have, and names the one that gives the numbers that were
logged. `python check_losses.py` shows it at work on a small model.
"""

import contextlib
import dataclasses
import inspect
import itertools
import textwrap

import numpy as np

import keras

# How far numbers are rounded, relative to their size, by what they are
# computed in: a few dozens of sums in float32, a handful in the others.
ROUNDING = {"float16": 1e-3, "bfloat16": 6e-3}
ROUNDING_OTHERWISE = 1e-5
# Averages of numbers that came from the same compiled step.
AVERAGING = 2e-5
AVERAGING_IN_HALF = 0.03
# Rounding of less than this hides no defect.
PRECISE = 1e-3
# A running sum in float32 is rounded once for each batch.
ROUNDING_OF_A_SUM = 6e-8
# A defect explains a wrong number if this much of the error is gone under it.
EXPLAINED = 0.9
# An error that no defect explains is told if it is this large, compared with
# the terms of the sum: accelerators may round more coarsely than we think.
UNEXPLAINED = 0.01
# Some loss or other is always as small as the rounding of the others.
DROPPED = 1e-4
# After 256 batches, sums in bfloat16 can no longer grow.
BATCHES_IN_HALF = 600
# What decides what `evaluate` logs. A model that has its own is refused.
DECIDES_THE_LOGS = (
    "test_step",
    "compute_loss",
    "compute_metrics",
    "metrics",
    "get_metrics_result",
    "reset_metrics",
    "make_test_function",
    "evaluate",
)


@dataclasses.dataclass
class LossCheck:
    """What `check_losses` found. Print it.

    Attributes:
        findings: A text for each defect; empty if the losses balance.
        right: What should have been logged, by name.
        logged: What was logged, by the same names.
        title: Which Keras it is, and what it was given.
        parts: What `loss` is made of: the loss functions' part, that of
            regularizers, and what layers added.
        notes: What else is good to know. No defect of these logs.
    """

    findings: list
    right: dict
    logged: dict
    title: str
    parts: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)

    @property
    def balanced(self):
        return not self.findings

    def __str__(self):
        width = max(map(len, self.right))
        lines = [self.title, f"{'':{width}}  {'right':>12}  {'logged':>12}"]
        for name, right in self.right.items():
            logged = self.logged.get(name)
            shown = "-" if logged is None else f"{logged:.6g}"
            lines.append(f"{name:{width}}  {right:12.6g}  {shown:>12}")
        if any(list(self.parts.values())[1:]):
            parts = [f"{name} {part:.6g}" for name, part in self.parts.items()]
            lines += textwrap.wrap(f"`loss` is made of: {', '.join(parts)}", 80)
        balance = "balance." if self.balanced else "do NOT balance:"
        lines.append(f"The losses {balance}")
        for text in self.findings + self.notes:
            lines += textwrap.wrap(
                text, 78, initial_indent="- ", subsequent_indent="  "
            )
        return "\n".join(lines)


def check_losses(
    model,
    x,
    y=None,
    sample_weight=None,
    *,
    loss_weights,
    batch_size=32,
    steps=16,
    cut_last_batch=True,
):
    """Compares what a compiled model logs with what it should log.

    If all is well it runs `evaluate` once, and once more for a short batch;
    else once for each batch, too, which with TensorFlow takes 0.3 s a batch.

    Args:
        model: A compiled `keras.Model`.
        x: Inputs as for `model.evaluate`: arrays, or anything that gives
            batches `(x, y)` or `(x, y, sample_weight)` when iterated over.
        y: Labels, if `x` holds arrays.
        sample_weight: Sample weights, if `x` holds arrays, or `None`.
        loss_weights: What `compile` got as `loss_weights`; `None` if nothing.
        batch_size: The size of a batch, if `x` holds arrays.
        steps: How many batches are used, at most. They are taken from `x`,
            so a generator has given them away.
        cut_last_batch: Whether to look what would be logged if half of the
            last batch were left out, if all batches are equally large and
            balance: short batches are where some Keras goes wrong. Use
            `False` for a model or a loss that takes one size only.

    Returns:
        A `LossCheck`.

    Raises:
        ValueError: If this script can't tell, and why.
    """
    _refuse_what_has_its_own_logs(model)
    batches = list(_batches(x, y, sample_weight, batch_size, steps))
    if not batches:
        raise ValueError("There are no batches to check.")
    with _left_as_found(model, loss_weights):
        outputs = Outputs(model, _predict(model, batches[0][0]))
        check = _Check(model, outputs, batches, loss_weights)
        return check.run(cut_last_batch)


def _refuse_what_has_its_own_logs(model):
    if not getattr(model, "compiled", False):
        raise ValueError("Compile the model first.")
    for name in DECIDES_THE_LOGS:
        if name in vars(model) or not _is_of_keras(model, name):
            raise ValueError(
                f"`{type(model).__name__}.{name}` is the model's own: what its "
                "losses should add up to is not known here."
            )


def _is_of_keras(model, name):
    own = getattr(type(model), name, None)
    return own is getattr(keras.Model, name, None)


@contextlib.contextmanager
def _left_as_found(model, loss_weights):
    """Gives all state its old values, whatever ends the check.

    That is the weights, the states of layers, of random numbers and of
    metrics, and the loss weights that are Variables.
    """
    given = (_compiled_weights(model), loss_weights)
    variables = [
        *model.variables,
        *model.metrics_variables,
        # The states of recurrent layers are in no list of the model's.
        *(v for layer in model._flatten_layers() for v in vars(layer).values()),
    ]
    variables = [v for v in _leaves([*variables, *given]) if _is_variable(v)]
    values = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]
    try:
        yield
    finally:
        # Some metrics had no variables yet.
        model.reset_metrics()
        for variable, value in zip(variables, values):
            variable.assign(value)


def _is_variable(value):
    return hasattr(value, "assign") and hasattr(value, "dtype")


def _compiled_weights(model, otherwise=None):
    """The loss weights that `compile` got, if this Keras keeps them."""
    compiled = getattr(model, "_compile_loss", None)
    return getattr(compiled, "_user_loss_weights", otherwise)


# Batches, and structures of arrays. The latter are written out, since
# `keras.tree` came with Keras 3.4.


def _batches(x, y, sample_weight, batch_size, steps):
    """Triples `(x, y, sample_weight)` of arrays."""
    if not _holds_arrays(x, y):
        for batch in itertools.islice(_iterable(x), steps):
            batch = tuple(batch) if isinstance(batch, (list, tuple)) else batch
            batch = batch if isinstance(batch, tuple) else (batch,)
            batch = _to_numpy((*batch, None, None)[:3])
            if _length(batch):
                yield batch
        return
    data = _map(_in_floatx, _to_numpy((x, y, sample_weight)))
    count = min(_length(data), steps * batch_size)
    for start in range(0, count, batch_size):
        yield _rows(data, slice(start, min(start + batch_size, count)))


def _iterable(dataset):
    # Not all releases can iterate over one of their own.
    if isinstance(dataset, keras.utils.PyDataset):
        count = getattr(dataset, "num_batches", None) or len(dataset)
        return map(dataset.__getitem__, range(count))
    return dataset


def _holds_arrays(x, y):
    """Whether it is no iterable of batches."""
    if y is not None or isinstance(x, dict):
        return True
    if _is_array(x) or _is_of_numbers(x):
        return True
    return isinstance(x, (list, tuple)) and all(map(_is_array, x))


def _is_array(value):
    return hasattr(value, "shape")


def _is_of_numbers(value):
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(_is_of_numbers, value))
    return isinstance(value, (bool, int, float))


def _map(function, structure):
    if isinstance(structure, dict):
        return {key: _map(function, x) for key, x in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(_map(function, x) for x in structure))
    if isinstance(structure, (list, tuple)):
        return type(structure)(_map(function, x) for x in structure)
    return None if structure is None else function(structure)


def _flatten(structure, path=()):
    """`(path, leaf)` in the order in which Keras flattens: keys sorted."""
    if isinstance(structure, dict):
        items = [(key, structure[key]) for key in sorted(structure, key=str)]
    elif isinstance(structure, (list, tuple)):
        items = enumerate(structure)
    else:
        return [(path, structure)]
    return [leaf for key, x in items for leaf in _flatten(x, (*path, key))]


def _leaves(structure):
    return [leaf for _, leaf in _flatten(structure) if leaf is not None]


def _to_numpy(parts):
    def convert(x):
        if isinstance(x, np.ndarray):
            return x
        if hasattr(x, "iloc"):
            return x.to_numpy()
        return np.asarray(keras.ops.convert_to_numpy(x))

    return tuple(
        np.asarray(part) if _is_of_numbers(part) else _map(convert, part)
        for part in parts
    )


def _in_floatx(x):
    """As Keras does with arrays, though not with batches of the user's own."""
    half = keras.config.floatx() == "bfloat16"
    floatx = "float32" if half else keras.config.floatx()
    return x.astype(floatx) if x.dtype.kind == "f" else x


def _rows(structure, rows):
    return _map(lambda x: x[rows], structure)


def _length(structure):
    leaves = _leaves(structure)
    return len(leaves[0]) if leaves else 0


def _shapes(batch):
    """The shapes of all arrays, without the axis of the samples."""
    return [x.shape[1:] for x in _leaves(batch)]


def _lists_as_tuples(structure):
    if isinstance(structure, dict):
        return {key: _lists_as_tuples(x) for key, x in structure.items()}
    if isinstance(structure, (list, tuple)):
        return tuple(map(_lists_as_tuples, structure))
    return structure


def _with_a_short_batch(batches, outputs):
    """Leaves half of the last batch out; `None` if that makes no sense."""
    sizes = {len(x) for batch in batches for x in _leaves(batch)}
    size = min(sizes)
    if len(sizes) > 1 or size == 1 or outputs.takes_one_size:
        return None
    weights = outputs.match("sample_weight", batches[0][2])
    if any(
        getattr(weight, "ndim", 0) == 1 and rank > 2
        for weight, rank in zip(weights, outputs.ranks)
    ):
        # Where stock Keras takes these for weights of timesteps, it fails
        # for batches of any other size.
        return None
    if len(batches) == 1:
        first = size - size // 3
        return [
            _rows(batches[0], slice(first)),
            _rows(batches[0], slice(first, None)),
        ]
    return [*batches[:-1], _rows(batches[-1], slice(size - size // 2))]


class Outputs:
    """The outputs of a model: their paths and names, in the model's order."""

    def __init__(self, model, y_pred):
        found = _flatten(y_pred)
        names = list(getattr(model, "output_names", None) or [])
        self.order_is_known = len(names) == len(found)
        self.is_dict = isinstance(y_pred, dict)
        if self.is_dict and set(names) == set(y_pred):
            found = [((name,), y_pred[name]) for name in names]
        self.paths = [path for path, _ in found]
        self.ranks = [len(leaf.shape) for _, leaf in found]
        self.dtypes = {
            keras.backend.standardize_dtype(leaf.dtype) for _, leaf in found
        }
        if self.is_dict:
            names = ["/".join(map(str, path)) for path in self.paths]
        elif not self.order_is_known:
            self.order_is_known = True
            names = [None] * len(found)
        self.names = names
        self.names_in_logs = list(names)
        self.longer_names = [
            "/".join(map(str, (*path[:-1], name)))
            for path, name in zip(self.paths, names)
        ]
        inputs = _leaves(getattr(model, "inputs", None))
        self.takes_one_size = any(x.shape[0] is not None for x in inputs)

    def __len__(self):
        return len(self.paths)

    def read(self, y_pred):
        """The leaves of predictions, in this order."""
        leaves = dict(_flatten(y_pred))
        return [leaves[path] for path in self.paths]

    def match(self, name, value, by_sorted_key=False):
        """One item for each output; several losses of one are a list.

        With `by_sorted_key`, as some Keras does it: the keys of a dict only
        tell an order.
        """
        if name == "loss_weights" and getattr(value, "shape", ()):
            # An array of weights is a list of them; a Variable is one.
            value = value if _is_variable(value) else list(value)
        if isinstance(value, dict):
            if by_sorted_key:
                return [value[key] for key in sorted(value)]
            nested = any(len(path) > 1 for path in self.paths)
            if nested and not set(value) <= set(self.names):
                return self._same_structure(name, value)
            return [value.get(output) for output in self.names]
        if not isinstance(value, (list, tuple)):
            return [value] * len(self)
        if len(self) == 1 and name in ("loss", "loss_weights"):
            return [value[0] if len(value) == 1 else list(value)]
        if max(map(len, self.paths)) > 1:
            return self._same_structure(name, value)
        if len(value) != len(self) or not self.order_is_known:
            raise self._unknown(name)
        return list(value)

    def _same_structure(self, name, value):
        leaves = dict(_flatten(value))
        if set(leaves) == set(self.paths):
            return [leaves[path] for path in self.paths]
        is_flat = all(len(path) == 1 for path in leaves)
        if isinstance(value, dict) or not is_flat or len(value) != len(self):
            raise self._unknown(name)
        return list(value)

    def use_names_of(self, logs):
        """Takes the name of each output from what is logged.

        Some Keras calls an output of a nested list by its place and name.
        """
        pairs = zip(self.names, self.longer_names)
        for index, (name, longer) in enumerate(pairs):
            if f"{name}_loss" not in logs and f"{longer}_loss" in logs:
                self.names_in_logs[index] = longer

    def _unknown(self, name):
        return ValueError(
            f"This form of `{name}` is not known here. Known are: one for all "
            "outputs, a list with one for each, a dict of output names, and "
            "the structure of the outputs."
        )

    def reads_otherwise(self, value):
        """Whether reading a dict by sorted key makes a difference."""
        if not isinstance(value, dict) or len(value) != len(self):
            return False
        return sorted(value) != self.names and len(self) > 1

    def display(self, index):
        return repr(self.names[index] or f"output {index}")


class _Dataset(keras.utils.PyDataset):
    """Batches for `evaluate`. Of a generator, some Keras lose the first."""

    def __init__(self, batches):
        super().__init__()
        if any(_shapes(batch) != _shapes(batches[0]) for batch in batches):
            # TensorFlow takes for axes that vary those that do so between the
            # first two batches.
            batches = sorted(batches, key=_shapes)
            batches = [batches[0], *batches[:0:-1]]
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        parts = self.batches[index]
        given = sum(part is not None for part in parts)
        # TensorFlow takes a list for an array.
        return _lists_as_tuples(parts[:given])


# What `compile` makes a loss of a function with.
_Function = keras.losses.MeanSquaredError.__base__


def _loss_object(identifier, y_true, y_pred):
    if str(identifier).lower() in ("crossentropy", "ce"):
        classes = y_pred.shape[-1]
        fewer = len(y_true.shape) < len(y_pred.shape)
        if classes == 1:
            identifier = "binary_crossentropy"
        elif fewer or y_true.shape[-1] == 1:
            identifier = "sparse_categorical_crossentropy"
        else:
            identifier = "categorical_crossentropy"
    loss = keras.losses.get(identifier)
    if isinstance(loss, keras.losses.Loss):
        return loss
    return _Function(loss, name=getattr(loss, "__name__", "loss"))


def _loss_name(identifier):
    if isinstance(identifier, str):
        return identifier
    return getattr(identifier, "name", getattr(identifier, "__name__", "loss"))


def _value(number):
    """A scalar tensor of any backend and dtype as a float.

    A loss that is not reduced is logged as its mean.
    """
    wide = keras.ops.cast(number, "float32")
    return float(np.mean(keras.ops.convert_to_numpy(wide), dtype=float))


def _tensor(x):
    """An array as a loss gets it; `None` stays."""
    return None if x is None else keras.ops.convert_to_tensor(x)


def _averages_entries(loss):
    """Whether it is one of Keras' own that averages over the last axis."""
    function = getattr(loss, "fn", None)
    if not getattr(function, "__module__", "").startswith("keras."):
        return False
    y_true = _tensor(np.array([0, 1, 0, 1], "float32"))
    y_pred = _tensor(np.array([0.1, 0.2, 0.6, 0.9], "float32"))
    of_each = loss.call(y_true[:, None], y_pred[:, None])
    of_all = loss.call(y_true, y_pred)
    return len(of_each.shape) == 1 and np.isclose(
        _value(of_each), _value(of_all), rtol=1e-3
    )


def _for_weights(loss, y_true, y_pred):
    """Labels and predictions with a last axis that no weight is for.

    Without it a loss averages over samples or timesteps itself, and their
    weights come too late.
    """
    is_flat = len(y_pred.shape) == 1
    lacks_an_axis = (
        len(y_true.shape) == len(y_pred.shape) - 1 and y_pred.shape[-1] == 1
    )
    if not (is_flat or lacks_an_axis) or not _averages_entries(loss):
        return y_true, y_pred
    if loss.reduction == "sum":
        # It adds up the averages.
        return y_true, y_pred
    if is_flat:
        y_pred = keras.ops.expand_dims(y_pred, -1)
    if len(y_true.shape) < len(y_pred.shape):
        y_true = y_true[..., None]
    return y_true, y_pred


def _aligned(sample_weight, loss, y_true, y_pred):
    """Weights of samples, for a loss that has an entry for each timestep."""
    is_of_samples = sample_weight[:1].size == 1
    own_call = type(loss).__call__ is not keras.losses.Loss.__call__
    if not is_of_samples or len(y_pred.shape) < 3 or own_call:
        return sample_weight
    y_true = keras.ops.convert_to_tensor(y_true, y_pred.dtype)
    shape = tuple(loss.call(y_true, y_pred).shape)
    column = sample_weight.reshape(-1, *[1] * (len(shape) - 1))
    # Keras divides by the sum of what it is given.
    return np.broadcast_to(column, shape) if shape else sample_weight


# What the model gives, and how far rounding moves it.


def _predict(model, x):
    has_training = "training" in inspect.signature(model.call).parameters
    return model(x, **({"training": False} if has_training else {}))


def _rounding(model, outputs):
    """How far the model's numbers are rounded, relative to their size."""
    layers = model._flatten_layers()
    dtypes = {getattr(layer, "compute_dtype", None) for layer in layers}
    dtypes |= {keras.config.floatx(), *outputs.dtypes}
    known = [ROUNDING[dtype] for dtype in dtypes if dtype in ROUNDING]
    return max(known, default=ROUNDING_OTHERWISE)


def _moved(x, rounding, random):
    """An input, moved as far as rounding might; whole numbers mean things."""
    if x.dtype.kind != "f":
        return x
    sign = random.choice([-1, 1], x.shape)
    return np.where(x == np.round(x), x, x * (1 + rounding * sign)).astype(
        x.dtype
    )


def _moved_tensor(y_pred, rounding, random):
    """A prediction, moved so; with the mask that it carries."""
    size = np.abs(keras.ops.convert_to_numpy(keras.ops.cast(y_pred, "float32")))
    # What it is the sum of may be larger than itself.
    size = np.maximum(size, np.sqrt(np.mean(size**2)))
    step = rounding * size * random.choice([-1, 1], size.shape)
    dtype = keras.backend.standardize_dtype(y_pred.dtype)
    if "float" not in dtype:
        return y_pred
    layer = keras.layers.Activation(
        lambda x: x + keras.ops.convert_to_tensor(step, dtype),
        # A name of its own, so that none of the user's layers gets another.
        name="moved",
        dtype=dtype,
    )
    return layer(y_pred)


@dataclasses.dataclass
class Forward:
    """What the model gives for a batch.

    Attributes:
        y_pred: The predictions, in the order of the outputs.
        moved: Predictions that rounding may make of them.
        added: What layers added to the loss.
        regularization: What the regularizers of weights add.
        rounding_of_added: How far rounding may move both.
    """

    y_pred: list
    moved: list
    added: float
    regularization: float
    rounding_of_added: float


def _added(model):
    """What was added to the loss: by regularizers, by all, and sizes."""
    terms = [_value(keras.ops.sum(x)) for x in model.losses]
    regularized = [
        _value(keras.ops.sum(variable.regularizer(variable)))
        for variable in model.trainable_variables
        if getattr(variable, "regularizer", None) is not None
    ]
    return sum(regularized), sum(terms), sum(map(abs, terms))


def _forward(model, outputs, x, rounding):
    random = np.random.default_rng(0)
    other = _map(lambda leaf: _moved(leaf, rounding, random), x)
    moved = [outputs.read(_predict(model, other))]
    _, moved_terms, _ = _added(model)
    y_pred = outputs.read(_predict(model, x))
    regularization, terms, size = _added(model)
    for _ in range(2):
        moved.append([_moved_tensor(y, rounding, random) for y in y_pred])
    return Forward(
        y_pred,
        moved,
        terms - regularization,
        regularization,
        2 * abs(moved_terms - terms) + rounding * size,
    )


@dataclasses.dataclass(frozen=True)
class Reading:
    """One way to read what the model was compiled with and is fed.

    The default is the right one.
    """

    by_sorted_key: tuple = ()
    aligned: bool = True
    only_first: bool = False
    without: tuple = ()


RIGHT = Reading()


class Entry:
    """A loss of one output: its place, functions, weight and logged name."""

    def __init__(self, output, losses, weight, name, several):
        self.output = output
        self.losses = losses
        self.weight = weight
        # What it is logged as by a Keras that gives outputs no names.
        self.unnamed_key = f"{_loss_name(losses[0])}_loss"
        self.short_key = f"{name}_loss" if name else self.unnamed_key
        self.key = self.short_key
        if name and several:
            self.key = f"{name}_{self.unnamed_key}"

    def weight_now(self):
        return 1.0 if self.weight is None else _value(self.weight)


class _Check:
    def __init__(self, model, outputs, batches, loss_weights):
        self.model = model
        self.outputs = outputs
        self.batches = batches
        self.arguments = {"loss": model.loss, "loss_weights": loss_weights}
        self.in_half = keras.config.floatx() in ("bfloat16", "float16")
        self.rounding = _rounding(model, outputs)
        self.findings = []
        self.notes = []
        self.raws, self.known, self.held = {}, {}, []
        self.entries = self.entries_of(RIGHT)
        self.take(batches)

    def take(self, batches):
        """Has the model predict these batches."""
        self.batches = batches
        self.sizes = np.array([self.size_of(batch) for batch in batches], float)
        for batch in batches:
            if id(batch) not in self.known:
                forward = _forward(
                    self.model, self.outputs, batch[0], self.rounding
                )
                self.known[id(batch)] = forward
                # An id is that of another if nothing holds the first.
                self.held.append(batch)
        self.forwards = [self.known[id(batch)] for batch in batches]

    def size_of(self, batch):
        """How many samples a batch counts for."""
        if self.entries:
            labels = self.outputs.match("y", batch[1])
            label = labels[self.entries[0].output]
            if label is not None:
                return len(label)
        return _length(batch)

    def run(self, cut_last_batch):
        self.refuse_random_numbers()
        together = self.evaluate(self.batches)
        self.outputs.use_names_of(together)
        self.use_names_of_losses(together)
        self.entries = self.entries_of(RIGHT)
        right = self.expected(RIGHT)
        if not all(np.all(np.isfinite(x)) for x in right.values()):
            raise ValueError("A loss is not finite: look into that first.")
        self.noise, self.terms = self.bounds(right)
        result = self.result(right, together)
        self.find_unknown_keys()
        if self.finds_other_loss_weights():
            return result
        if self.balances(right, together) and self.is_precise():
            self.find_frozen_weights(RIGHT)
            self.find_shared_names(together)
        else:
            self.find_defects(right, together)
        if cut_last_batch and not self.findings:
            self.try_a_short_batch()
        return result

    def use_names_of_losses(self, logs):
        """Some Keras calls outputs by their losses if some have none."""
        unnamed = [entry.unnamed_key for entry in self.entries_of(RIGHT)]
        for entry in self.entries_of(RIGHT):
            key = entry.unnamed_key
            if entry.key in logs or entry.short_key in logs:
                continue
            if key in logs and unnamed.count(key) == 1:
                name = key.removesuffix("_loss")
                self.outputs.names_in_logs[entry.output] = name

    def result(self, right, logged):
        averages = {
            key: float(np.average(values, weights=self.sizes))
            for key, values in right.items()
            if key in logged or len(self.entries) > 1
        }
        added, regularization = (
            float(np.average(values, weights=self.sizes))
            for values in zip(
                *((f.added, f.regularization) for f in self.forwards)
            )
        )
        parts = {
            "loss functions": averages["loss"] - added - regularization,
            "regularization": regularization,
            "added by layers": added,
        }
        keras_name = f"keras {keras.__version__} on {keras.backend.backend()}"
        sizes = " + ".join(f"{size:g}" for size in self.sizes[-3:])
        dots = "... + " if len(self.sizes) > 3 else ""
        title = f"{keras_name}, samples by batch: {dots}{sizes}"
        if not _is_of_keras(self.model, "train_step"):
            self.notes.append(
                f"`{type(self.model).__name__}.train_step` is the model's own. "
                "What `fit` logs is not looked at, only what `evaluate` logs."
            )
        noise = np.average(self.noise["loss"], weights=self.sizes)
        if noise > abs(averages["loss"]) / 10:
            self.notes.append(
                f"Rounding alone may move `loss` by {noise:.2g}: whether it "
                "is right can't be told more closely."
            )
        return LossCheck(
            self.findings, averages, logged, title, parts, self.notes
        )

    # What is logged.

    def evaluate(self, batches):
        """What the model logs for these batches."""
        logs = self.model.evaluate(
            _Dataset(batches),
            verbose=0,
            return_dict=True,
        )
        if "loss" not in logs:
            text = f"This Keras logs no `loss` for {len(batches)} batches."
            if getattr(self.model, "steps_per_execution", 1) > 1:
                text += " Compile without `steps_per_execution` to check it."
            raise ValueError(text)
        keys = ["loss"]
        if len(self.entries) > 1:
            for entry in self.entries:
                longer = f"{self.outputs.longer_names[entry.output]}_loss"
                keys += [entry.key, entry.short_key, entry.unnamed_key, longer]
        return {key: float(logs[key]) for key in keys if key in logs}

    def evaluate_each(self):
        """What the model logs for each batch alone."""
        alone = [self.evaluate([batch]) for batch in self.batches]
        return {
            key: np.array([logs[key] for logs in alone]) for key in alone[0]
        }

    # What should be logged.

    def entries_of(self, reading):
        outputs, loss = self.outputs, self.arguments["loss"]
        losses, weights = (
            outputs.match(name, value, name in reading.by_sorted_key)
            for name, value in self.arguments.items()
        )
        are_summed = isinstance(loss, (list, tuple)) and len(outputs) > 1
        entries = []
        for index, (own, weight) in enumerate(zip(losses, weights)):
            own = list(own) if isinstance(own, (list, tuple)) else [own]
            several = len(own) > 1 and not are_summed
            if reading.only_first:
                groups = [own[:1]]
            else:
                groups = [own] if are_summed else [[one] for one in own]
            for number, group in enumerate(groups):
                group = [one for one in group if one is not None]
                if not group:
                    continue
                one_weight = weight
                if isinstance(weight, (list, tuple)):
                    one_weight = weight[number]
                name = outputs.names_in_logs[index]
                entries.append(Entry(index, group, one_weight, name, several))
        _make_unique(entries)
        return [
            entry
            for position, entry in enumerate(entries)
            if position not in reading.without
        ]

    def read(self, number, reading):
        """Labels and sample weights of a batch, one of each for an output."""
        _, y, sample_weight = self.batches[number]
        return (
            self.outputs.match(name, value, name in reading.by_sorted_key)
            for name, value in (("y", y), ("sample_weight", sample_weight))
        )

    def compute(self, entry, number, reading, predictions):
        """The raw loss of an entry for predictions of a batch."""
        labels, weights = self.read(number, reading)
        index, total = entry.output, 0.0
        y_true, y_pred = labels[index], predictions[index]
        for identifier in entry.losses:
            loss = _loss_object(identifier, y_true, y_pred)
            weight, given = weights[index], (y_true, y_pred)
            if reading.aligned and weight is not None:
                given = _for_weights(loss, *given)
                weight = _aligned(weight, loss, *given)
            total += _value(loss(_tensor(given[0]), given[1], _tensor(weight)))
        return total

    def raw(self, entry, number, reading):
        """The raw loss of an entry for a batch; each is computed once."""
        losses = tuple(map(id, entry.losses))
        read_so = {"y", "sample_weight"} & set(reading.by_sorted_key)
        batch = id(self.batches[number])
        key = (entry.output, losses, batch, *sorted(read_so), reading.aligned)
        if key not in self.raws:
            y_pred = self.forwards[number].y_pred
            self.raws[key] = self.compute(entry, number, reading, y_pred)
        return self.raws[key]

    def expected(self, reading):
        """What each batch alone should log, by name, under a reading."""
        numbers = range(len(self.batches))
        totals = np.array([f.added + f.regularization for f in self.forwards])
        values = {}
        for entry in self.entries_of(reading):
            raws = np.array([self.raw(entry, n, reading) for n in numbers])
            values[entry.key] = raws
            totals = totals + entry.weight_now() * raws
        values["loss"] = totals
        return values

    def bounds(self, right):
        """How far rounding may move each number, and how large its terms are.

        Both by name, for each batch.
        """
        noise, terms = {}, {}
        added = np.array([f.rounding_of_added for f in self.forwards])
        size = [abs(f.added) + abs(f.regularization) for f in self.forwards]
        noise["loss"], terms["loss"] = added, np.array(size)
        for entry in self.entries:
            weight, raw = abs(entry.weight_now()), np.abs(right[entry.key])
            noise[entry.key] = self.rounding * raw + [
                self.moves(entry, number) for number in range(len(raw))
            ]
            terms[entry.key] = raw
            for bound in (noise, terms):
                bound["loss"] = bound["loss"] + weight * bound[entry.key]
        return noise, terms

    def moves(self, entry, number):
        """How far a raw loss moves with the predictions."""
        raw = self.raw(entry, number, RIGHT)
        moves = [
            abs(self.compute(entry, number, RIGHT, moved) - raw)
            for moved in self.forwards[number].moved
        ]
        # A prediction may have been moved to where the loss has no value.
        return 2 * max(filter(np.isfinite, moves), default=0.0)

    # What is wrong.

    def refuse_random_numbers(self):
        """Compares two predictions of the first batch, and their losses."""
        other = _forward(
            self.model, self.outputs, self.batches[0][0], self.rounding
        )
        pairs = [(self.forwards[0].added, other.added)]
        for entry in self.entries:
            raw = self.raw(entry, 0, RIGHT)
            again = self.compute(entry, 0, RIGHT, other.y_pred)
            pairs.append((raw, again))
        for first, second in pairs:
            # Not by how far it moves: random numbers move it, too.
            if abs(first - second) > self.rounding * abs(first):
                raise ValueError(
                    "The model or its loss draws random numbers, or has a "
                    "state: the same batch gives two losses. That can't be "
                    "checked."
                )

    def finds_other_loss_weights(self):
        """Whether `compile` got others than we were told."""
        told = self.arguments["loss_weights"]
        compiled = _compiled_weights(self.model, otherwise=told)
        here = [entry.weight_now() for entry in self.entries]
        self.arguments["loss_weights"] = compiled
        self.entries = self.entries_of(RIGHT)
        there = [entry.weight_now() for entry in self.entries]
        if np.allclose(here, there, rtol=1e-6, atol=0):
            return False
        here, there = (
            " and ".join(f"{weight:g}" for weight in weights)
            for weights in (here, there)
        )
        self.findings.append(
            "The `loss_weights` given here are not those that `compile` got: "
            f"{here} here, {there} there. Nothing can be told before they are."
        )
        return True

    def is_precise(self):
        """Whether rounding is too small to hide a defect.

        If not, what is logged for each batch alone tells more than what we
        compute, and sums in halves are to be looked at anyway.
        """
        return not self.in_half and all(
            np.all(noise <= PRECISE * self.terms[key])
            for key, noise in self.noise.items()
        )

    def balances(self, right, together):
        """Whether the averages over all batches are right."""
        for key in together.keys() & right.keys():
            value = np.average(right[key], weights=self.sizes)
            noise = np.average(self.noise[key], weights=self.sizes)
            noise += self.rounding_of_averages(self.terms[key])
            if not abs(together[key] - value) <= noise:
                return False
        return True

    def rounding_of_averages(self, values):
        tolerance = AVERAGING_IN_HALF if self.in_half else AVERAGING
        return np.max(np.abs(values)) * (
            tolerance + ROUNDING_OF_A_SUM * len(values)
        )

    def find_defects(self, right, together):
        self.logged_alone = self.evaluate_each()
        again = self.evaluate(self.batches[:1])
        for key, value in again.items():
            noise = self.noise.get(key, self.noise["loss"])[0]
            if abs(self.logged_alone[key][0] - value) > noise:
                raise ValueError(
                    "Evaluating the same batch twice gives two results: the "
                    "model draws random numbers, or has a state. That can't be "
                    "checked."
                )
        reading, text = self.explain_total(right)
        frozen = self.find_frozen_weights(reading or RIGHT)
        # One that was frozen at another value explains any total.
        if text is not None and (reading is not None or not frozen):
            self.findings.append(text)
        if reading is not None:
            self.find_wrong_entries(reading)
            if not reading.only_first:
                self.find_shared_names(together)
        self.find_averaging_defects(together)

    def find_unknown_keys(self):
        for name, value in self.arguments.items():
            if isinstance(value, dict) and self.outputs.names[0] is not None:
                top = {str(path[0]) for path in self.outputs.paths if path}
                for key in set(value) - {*self.outputs.names, *top}:
                    self.findings.append(
                        f"`{name}` has the key {key!r}, which is no output's "
                        "name. This Keras does not say so, and gives what "
                        "belongs to it to another output, or to none."
                    )

    def find_frozen_weights(self, reading):
        """Assigns to the Variables among the weights, and looks.

        Returns:
            Whether there are any that can be assigned to in vain.
        """
        sharing, found = {}, False
        for entry in self.entries_of(reading):
            if _is_variable(entry.weight):
                sharing.setdefault(id(entry.weight), []).append(entry)
        before = self.evaluate(self.batches[:1]) if sharing else None
        for entries in sharing.values():
            weight, old = entries[0].weight, entries[0].weight_now()
            kept = np.array(keras.ops.convert_to_numpy(weight))
            step = 1 + abs(old)
            weight.assign(kept + np.asarray(step, kept.dtype))
            after = self.evaluate(self.batches[:1])
            weight.assign(kept)
            raws = [self.raw(entry, 0, reading) for entry in entries]
            change, seen = step * sum(raws), after["loss"] - before["loss"]
            noise = self.noise["loss"][0]
            if abs(change) > 10 * noise and abs(seen) <= noise:
                found = True
                names = self.display(entries)
                self.findings.append(
                    f"The loss weight of {names} is a Variable, but "
                    "assigning to it does not change the loss: the compiled "
                    "step keeps the value it was traced with."
                )
        return found

    def display(self, entries):
        names = [self.outputs.display(entry.output) for entry in entries]
        return " and ".join(dict.fromkeys(names))

    def explain_total(self, right):
        """How the logged `loss` came about.

        Returns:
            The `Reading` that gives it, `None` if no known one does, and what
            is to be said of that, if anything.
        """
        logged, right = self.logged_alone["loss"], right["loss"]
        gap, noise = np.abs(logged - right), self.noise["loss"]
        if np.all(gap <= noise):
            return RIGHT, None
        if "loss" in _metric_names(self.model):
            return RIGHT, "`loss` is also the name of a metric, and holds that."
        is_certain = np.any(gap > DROPPED * self.terms["loss"])
        found = []
        for reading, text in self.readings():
            if reading.without and not is_certain:
                continue
            rest = _largest(logged - self.total_under(reading))
            if rest <= (1 - EXPLAINED) * _largest(gap):
                # What rounding can't tell apart, the first one explains.
                found.append((max(rest, _largest(noise)), reading, text))
        if found:
            return min(found, key=lambda item: item[0])[1:]
        if np.all(gap <= noise + UNEXPLAINED * self.terms["loss"]):
            return RIGHT, None
        text = (
            "`loss` is not the sum of the weighted losses and the "
            "regularization. No known defect explains it. "
        )
        if keras.backend.backend() == "jax" and any(
            forward.added for forward in self.forwards
        ):
            return None, text + (
                "Is a layer that adds a loss used twice? With JAX, some Keras "
                "counts only its last use."
            )
        return None, text + (
            "Are the `loss_weights` given here those of `compile`?"
        )

    def total_under(self, reading):
        try:
            return self.expected(reading)["loss"]
        except Exception:
            # Labels that a loss can't take. Keras, which took them, has not
            # read them so; each backend has errors of its own.
            return np.full(len(self.batches), np.inf)

    def readings(self):
        """The wrong readings that are known, each with a text."""
        _, y, sample_weight = self.batches[0]
        given = {**self.arguments, "y": y, "sample_weight": sample_weight}
        names = [n for n, v in given.items() if self.outputs.reads_otherwise(v)]
        for count in range(1, len(names) + 1):
            for chosen in itertools.combinations(names, count):
                yield (
                    Reading(by_sorted_key=chosen),
                    f"{' and '.join(f'`{name}`' for name in chosen)}: "
                    "the dict is not read by its keys. Its values go to the "
                    "outputs in the order of the sorted keys.",
                )
        if _leaves(sample_weight):
            yield (
                Reading(aligned=False),
                "Sample weights weigh the wrong axis: those of shape "
                "(batch_size,) not the samples, but the last axis of the loss, "
                "or all samples alike.",
            )
        if len(self.entries) > len({entry.output for entry in self.entries}):
            yield (
                Reading(only_first=True),
                "Of several losses of one output only the first is trained "
                "on; the others are dropped.",
            )
        everything = range(len(self.entries))
        for count in range(1, min(len(self.entries), 3)):
            for without in itertools.combinations(everything, count):
                missing = self.display([self.entries[i] for i in without])
                yield (
                    Reading(without=without),
                    f"The loss of {missing} is dropped: it is not in `loss`.",
                )

    def find_wrong_entries(self, reading):
        values, entries = self.expected(reading), self.entries_of(reading)
        metrics = _metric_names(self.model)
        shared = [key for key in self.sharing(self.logged_alone)]
        for entry in entries:
            found, raw = self.logged_alone.get(entry.key), values[entry.key]
            if found is None or entry.key in shared or len(entries) == 1:
                continue
            noise = self.noise[entry.key]
            if np.all(np.abs(found - raw) <= noise):
                continue
            text = self.explain_entry(entry, found, entries, values)
            name = self.outputs.names[entry.output]
            if metrics & {entry.key, entry.key.removeprefix(f"{name}_")}:
                text = "is also the name of a metric, and holds that."
            if text is not None:
                self.findings.append(f"`{entry.key}` {text}")

    def explain_entry(self, entry, found, entries, values):
        raw, weight = values[entry.key], entry.weight_now()
        gap = _largest(found - raw)
        weighted = f"holds the loss times its loss weight, {weight:g}."
        if weight:
            weighted += " The raw loss is what it holds divided by the weight."
        known = [(weight * raw, f"{weighted} Keras 3.5 and 3.6 do that.")]
        for other in entries:
            raw_of_other, factor = values[other.key], other.weight_now()
            text = f"holds the loss of {self.outputs.display(other.output)}"
            known.append((raw_of_other, f"{text}."))
            text += f" times its loss weight, {factor:g}."
            known.append((factor * raw_of_other, text))
        rest, text = min(
            ((_largest(found - value), text) for value, text in known),
            key=lambda item: max(item[0], _largest(self.noise[entry.key])),
        )
        if rest <= (1 - EXPLAINED) * gap:
            return text
        if gap <= UNEXPLAINED * _largest(raw):
            return None
        name = self.outputs.display(entry.output)
        return f"is not the loss of {name}. No known defect explains it."

    def find_shared_names(self, logged):
        for key, entries in self.sharing(logged).items():
            if len({entry.output for entry in entries}) == 1:
                which = f"{len(entries)} losses of {self.display(entries)}"
            else:
                which = f"losses of {self.display(entries)}"
            self.findings.append(
                f"The {which} share the name `{key}`: only one of them shows."
            )

    def sharing(self, logged):
        """Entries of which the logs show only one, by the name it has."""
        found = {}
        for entry in self.entries:
            for key in (entry.key, entry.short_key, entry.unnamed_key):
                if key in logged:
                    found.setdefault(key, []).append(entry)
                    break
        return {key: entries for key, entries in found.items() if entries[1:]}

    # What is wrong only when several batches are put together.

    def find_averaging_defects(self, together):
        found = self.wrong_averages(self.logged_alone, together)
        self.findings += found
        if self.in_half and not found:
            repeats = -(-BATCHES_IN_HALF // len(self.batches))
            values = {
                key: np.tile(value, repeats)
                for key, value in self.logged_alone.items()
            }
            together = self.evaluate(self.batches * repeats)
            count = len(self.batches) * repeats
            for text in self.wrong_averages(values, together):
                self.notes.append(f"After {count} batches like these: {text}")

    def try_a_short_batch(self):
        batches = _with_a_short_batch(self.batches, self.outputs)
        if batches is None:
            return
        try:
            self.take(batches)
            values, together = self.expected(RIGHT), self.evaluate(batches)
        except Exception as error:
            raise ValueError(
                f"The model or its loss takes no batch of {self.sizes[-1]:g} "
                "samples. With `cut_last_batch=False` none is tried."
            ) from error
        self.noise, self.terms = self.bounds(values)
        if not self.is_precise():
            values = self.evaluate_each()
        elif self.balances(values, together):
            return
        sizes = " + ".join(f"{size:g}" for size in self.sizes[-2:])
        for text in self.wrong_averages(values, together):
            self.notes.append(
                f"Yours balance; with a short last batch, {sizes} samples, "
                f"they would not. {text}"
            )

    def wrong_averages(self, values, together):
        """A text for all averages that are wrong for the same reason."""
        wrong = {}
        for key in together.keys() & values.keys():
            text = self.explain_average(
                values[key], together[key], self.sizes_of_output(key)
            )
            if text is not None:
                wrong.setdefault(text, []).append(key)
        order = ["loss", *(entry.key for entry in self.entries)]
        return [
            f"{', '.join(f'`{key}`' for key in order if key in keys)}: {text}"
            for text, keys in wrong.items()
        ]

    def sizes_of_output(self, key):
        """How many samples each batch has of the output with this loss."""
        for entry in self.entries:
            if key in (entry.key, entry.short_key):
                index = entry.output
                sizes = [len(f.y_pred[index]) for f in self.forwards]
                return np.array(sizes, float)
        return self.sizes

    def explain_average(self, values, logged, own_sizes):
        """Why an average over batches is wrong; `None` if it is right."""
        sizes, own_sizes = (
            np.resize(x, len(values)) for x in (self.sizes, own_sizes)
        )
        right = np.average(values, weights=sizes)
        if abs(logged - right) <= self.rounding_of_averages(values):
            return None
        known, text = [], "each batch counts by the first axis of this output"
        if np.any(own_sizes != sizes):
            text += " alone, which is not that of the first one with a loss."
            known.append((np.average(values, weights=own_sizes), text))
        if not known or np.ptp(own_sizes):
            text = "each batch counts the same, so a short one counts too much."
            known.append((np.mean(values), text))
        inputs = np.array([_length(x) for x, _, _ in self.batches])
        if len(inputs) == len(values) and np.any(inputs != self.sizes):
            known.append(
                (
                    np.average(values, weights=inputs),
                    "each batch counts by the first axis of its inputs, not by "
                    "that of its labels.",
                )
            )
        if self.in_half:
            floatx = keras.config.floatx()
            text = (
                f"its sums are kept in {floatx}, and stop growing, or overflow."
            )
            for weights in (sizes, np.ones_like(sizes)):
                known.append((_average_in_half(values, weights, floatx), text))
        rest, text = min((_gap(logged, value), text) for value, text in known)
        if rest <= (1 - EXPLAINED) * _gap(logged, right):
            return text
        return "not the average over samples. No known defect explains it."


def _make_unique(entries):
    """Numbers keys that are there already, as the fork does."""
    taken = {}
    for entry in entries:
        count = taken[entry.key] = taken.get(entry.key, -1) + 1
        if count:
            stem = entry.key.removesuffix("_loss")
            entry.key = f"{stem}_{count}_loss"


def _metric_names(model):
    """The names of metrics, without those that record raw losses."""
    losses = getattr(model, "_compile_loss", None)
    losses = [id(metric) for metric in getattr(losses, "metrics", [])]
    names = set()
    # The first is that of the total.
    for metric in model.metrics[1:]:
        for one in getattr(metric, "metrics", None) or [metric]:
            if id(one) not in losses:
                names.add(one.name)
    return names


def _largest(values):
    return float(np.max(np.abs(values)))


def _gap(number, other):
    """How far numbers are apart; two that are both infinite are not."""
    return 0.0 if number == other else abs(number - other)


def _average_in_half(values, weights, floatx):
    """An average whose two sums are rounded at each step, as in `floatx`."""
    total = count = 0.0
    for value, weight in zip(values, weights):
        total = _rounded(total + _rounded(value * weight, floatx), floatx)
        count = _rounded(count + weight, floatx)
    return total / count


def _rounded(number, floatx):
    if floatx == "float16":
        return float(np.float16(number))
    # bfloat16 is the upper half of float32, rounded to even.
    bits = int(np.float32(number).view(np.uint32))
    bits += 0x7FFF + (bits >> 16 & 1)
    return float(np.uint32(bits & 0xFFFF0000).view(np.float32))


def main():
    """A model with two outputs, and a last batch that is short."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 8))
    labels = [x[:, :1], x.sum(axis=1, keepdims=True)]
    inputs = keras.Input((8,))
    outputs = [keras.layers.Dense(1, name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, outputs)
    model.compile(loss=["mse", "mse"], loss_weights=[1, 10])
    print(check_losses(model, x, labels, loss_weights=[1, 10]))


if __name__ == "__main__":
    main()
