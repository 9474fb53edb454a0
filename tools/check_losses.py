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
some Keras is known to have, and names a defect only if that gives the numbers
that were logged. `python check_losses.py` shows it at work on a small model.
"""

import dataclasses
import inspect
import itertools
import textwrap

import numpy as np

import keras

# The loss of a batch, computed here step by step and by Keras in one compiled
# step, differs by rounding. On accelerators that multiply in reduced precision
# it may be a per cent; every defect that is compared with this tolerance
# changes a number by a loss, or by a factor.
ROUNDING = 0.05
# A difference above it is still real if a known defect explains it.
EXACT = 1e-3
# Averages of numbers that came from the same compiled step. They differ by
# float32's rounding, 6e-8 for each of some dozens of sums.
AVERAGING = 2e-5
# bfloat16 has 8 bits: 0.4 % for each of a handful of sums.
AVERAGING_IN_HALF = 0.03
# Below it a loss is rounding, and nothing else.
NOTHING = 1e-6
# A defect explains a wrong number if this much of the error is gone under it.
EXPLAINED = 0.9
# After 256 batches, sums in bfloat16 can no longer grow.
BATCHES_IN_HALF = 600


@dataclasses.dataclass
class LossCheck:
    """What `check_losses` found. Print it.

    Attributes:
        findings: A text for each defect; empty if the losses balance.
        right: What should have been logged, by name.
        logged: What was logged, by the same names.
        title: Which Keras it is, and what it was given.
    """

    findings: list
    right: dict
    logged: dict
    title: str

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
        if self.balanced:
            return "\n".join([*lines, "The losses balance."])
        lines.append("The losses do NOT balance:")
        for text in self.findings:
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

    Args:
        model: A compiled `keras.Model`.
        x: Inputs as for `model.evaluate`: arrays, or anything that gives
            batches `(x, y)` or `(x, y, sample_weight)` when iterated over.
        y: Labels, if `x` holds arrays.
        sample_weight: Sample weights, if `x` holds arrays, or `None`.
        loss_weights: What `compile` got as `loss_weights`; `None` if nothing.
        batch_size: The size of a batch, if `x` holds arrays.
        steps: How many batches are used, at most.
        cut_last_batch: Whether half of the last batch is left out if all
            batches are equally large: short batches are where some Keras
            goes wrong. Use `False` for a model that takes one size only.

    Returns:
        A `LossCheck`.

    Raises:
        ValueError: If this script can't tell, and why.
    """
    _refuse_what_has_its_own_logs(model)
    if y is None and not _is_array(x) and not isinstance(x, dict):
        batches = [_to_numpy(batch) for batch in itertools.islice(x, steps)]
        batches = [_as_triple(batch) for batch in batches if _size(batch)]
    else:
        data = _to_numpy((x, y, sample_weight))
        count = min(_size(data), steps * batch_size)
        batches = [
            _rows(data, slice(start, min(start + batch_size, count)))
            for start in range(0, count, batch_size)
        ]
    if not batches:
        raise ValueError("There are no batches to check.")
    outputs = Outputs(model, _predict(model, batches[0]))
    if cut_last_batch:
        batches = _with_a_short_batch(batches, outputs)
    return _Check(model, outputs, batches, loss_weights).run()


def _refuse_what_has_its_own_logs(model):
    if not getattr(model, "compiled", False):
        raise ValueError("Compile the model first.")
    for name in ("test_step", "compute_loss", "compute_metrics"):
        if getattr(type(model), name) is not getattr(keras.Model, name):
            raise ValueError(
                f"`{type(model).__name__}.{name}` is the model's own: what its "
                "losses should add up to is not known here."
            )


# Structures of arrays. Written out, since `keras.tree` came with Keras 3.4.


def _is_array(value):
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _map(function, structure):
    if isinstance(structure, dict):
        return {key: _map(function, x) for key, x in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)(_map(function, x) for x in structure)
    return None if structure is None else function(structure)


def _flatten(structure, path=()):
    """`(path, leaf)` in the order in which Keras flattens: keys sorted."""
    if isinstance(structure, dict):
        items = [(key, structure[key]) for key in sorted(structure)]
    elif isinstance(structure, (list, tuple)):
        items = enumerate(structure)
    else:
        return [(path, structure)]
    return [leaf for key, x in items for leaf in _flatten(x, (*path, key))]


def _to_numpy(structure):
    def convert(x):
        if isinstance(x, np.ndarray):
            return x
        return np.asarray(keras.ops.convert_to_numpy(x))

    return _map(convert, structure)


def _rows(structure, rows):
    return _map(lambda x: x[rows], structure)


def _size(structure):
    leaves = [x for _, x in _flatten(structure) if x is not None]
    return len(leaves[0]) if leaves else 0


def _as_triple(batch):
    batch = tuple(batch) if isinstance(batch, (list, tuple)) else (batch,)
    return (*batch, None, None)[:3]


def _with_a_short_batch(batches, outputs):
    """Leaves half of the last batch out, if all have the same size."""
    sizes = {_size(batch) for batch in batches}
    size = min(sizes)
    if len(sizes) > 1 or size == 1 or outputs.takes_one_size:
        return batches
    sample_weights = [x for _, x in _flatten(batches[0][2]) if x is not None]
    if any(x.ndim == 1 for x in sample_weights) and outputs.rank > 2:
        # Where stock Keras takes these for weights of timesteps, it fails
        # for batches of any other size.
        return batches
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
        self.rank = max(len(leaf.shape) for _, leaf in found)
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
        inputs = [x for _, x in _flatten(getattr(model, "inputs", None))]
        self.takes_one_size = any(
            x is not None and x.shape[0] is not None for x in inputs
        )

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


# What `compile` makes a loss of a function with.
_Function = keras.losses.MeanSquaredError.__base__


def _loss_object(identifier, y_true, y_pred):
    if str(identifier).lower() in ("crossentropy", "ce"):
        classes, fewer = y_pred.shape[-1], y_true.ndim < len(y_pred.shape)
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


def _unnamed_key(entry):
    """What the entry is logged as by a Keras that gives outputs no names."""
    return f"{_loss_name(entry.losses[0])}_loss"


def _value(number):
    """A scalar tensor of any backend and dtype as a float."""
    wide = keras.ops.cast(number, "float32")
    return float(keras.ops.convert_to_numpy(wide))


def _predict(model, batch):
    has_training = "training" in inspect.signature(model.call).parameters
    return model(batch[0], **({"training": False} if has_training else {}))


def _aligned(sample_weight, loss, y_true, y_pred):
    """Weights of samples, for a loss that has an entry for each timestep."""
    is_of_samples = sample_weight is not None and sample_weight[:1].size == 1
    if not is_of_samples or y_pred.ndim < 3:
        return sample_weight
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        y_true = y_true[..., None]
    y_true = keras.ops.convert_to_tensor(y_true, y_pred.dtype)
    shape = tuple(loss.call(y_true, y_pred).shape)
    column = sample_weight.reshape(-1, *[1] * (len(shape) - 1))
    # Keras divides by the sum of what it is given.
    return np.broadcast_to(column, shape) if shape else sample_weight


@dataclasses.dataclass(frozen=True)
class Reading:
    """One way to read what the model was compiled with and is fed.

    The default is the right one.
    """

    by_sorted_key: tuple = ()
    aligned: bool = True
    only_first: bool = False
    without: tuple = ()


class Entry:
    """A loss of one output: its place, functions, weight and logged name."""

    def __init__(self, output, losses, weight, key):
        self.output = output
        self.losses = losses
        self.weight = weight
        self.key = key

    def weight_now(self):
        return 1.0 if self.weight is None else _value(self.weight)


class _Check:
    def __init__(self, model, outputs, batches, loss_weights):
        self.model = model
        self.outputs = outputs
        self.batches = batches
        self.arguments = {"loss": model.loss, "loss_weights": loss_weights}
        self.sizes = np.array([_size(batch) for batch in batches], float)
        self.in_half = keras.config.floatx() in ("bfloat16", "float16")
        self.tolerance = AVERAGING_IN_HALF if self.in_half else AVERAGING
        self.findings = []
        self.entries = self.entries_of(Reading())

    def run(self):
        self.find_unknown_keys()
        once, again = (self.evaluate(self.batches[:1]) for _ in range(2))
        if any(_differ(once[key], again[key], self.tolerance) for key in once):
            raise ValueError(
                "Evaluating the same batch twice gives two results: the model "
                "draws random numbers, or has a state. That can't be checked."
            )
        self.outputs.use_names_of(once)
        self.entries = self.entries_of(Reading())
        alone = [self.evaluate([batch]) for batch in self.batches]
        self.logged_alone = {
            key: np.array([logs[key] for logs in alone]) for key in alone[0]
        }
        together = self.evaluate(self.batches)
        self.predictions = []
        self.additional = []
        for batch in self.batches:
            y_pred = _predict(self.model, batch)
            self.predictions.append(self.outputs.read(y_pred))
            added = [_value(keras.ops.sum(x)) for x in self.model.losses]
            self.additional.append(sum(added))
        self.additional = np.array(self.additional)
        right_alone = self.expected(Reading())
        numbers = [*right_alone.values(), *self.logged_alone.values()]
        if not all(np.all(np.isfinite(x)) for x in numbers):
            raise ValueError("A loss is not finite: look into that first.")
        frozen = self.find_frozen_weights()
        reading = self.find_batch_defects(right_alone, frozen)
        if not reading.only_first:
            self.find_shared_names(together)
        self.find_averaging_defects(together)
        right = {
            key: float(np.average(values, weights=self.sizes))
            for key, values in right_alone.items()
            if key in together or len(self.entries) > 1
        }
        keras_name = f"keras {keras.__version__} on {keras.backend.backend()}"
        sizes = " + ".join(f"{size:g}" for size in self.sizes[-3:])
        dots = "... + " if len(self.sizes) > 3 else ""
        title = f"{keras_name}, samples by batch: {dots}{sizes}"
        return LossCheck(self.findings, right, together, title)

    # What is logged.

    def evaluate(self, batches):
        """What the model logs for these batches."""
        if len(batches) == 1:
            x, y, sample_weight = batches[0]
            logs = self.model.evaluate(
                x,
                y,
                sample_weight=sample_weight,
                batch_size=_size(batches[0]),
                verbose=0,
                return_dict=True,
            )
        else:
            logs = self.model.evaluate(
                self.generate(batches),
                steps=len(batches),
                verbose=0,
                return_dict=True,
            )
        if "loss" not in logs:
            raise ValueError(
                f"This Keras logs no loss for {len(batches)} batches. If you "
                "compiled with `steps_per_execution`, leave that out here."
            )
        keys = ["loss", *(entry.key for entry in self.entries)]
        keys += [_unnamed_key(entry) for entry in self.entries]
        keys += [f"{name}_loss" for name in self.outputs.names]
        keys += [f"{name}_loss" for name in self.outputs.longer_names]
        return {key: float(logs[key]) for key in keys if key in logs}

    def generate(self, batches):
        for x, y, sample_weight in batches:
            parts = (x, y, sample_weight)
            given = sum(part is not None for part in parts)
            # TensorFlow takes a list for an array.
            yield _lists_as_tuples(parts[:given])

    # What should be logged.

    def entries_of(self, reading):
        outputs, loss = self.outputs, self.arguments["loss"]
        losses, weights = (
            outputs.match(name, value, name in reading.by_sorted_key)
            for name, value in self.arguments.items()
        )
        several_are_one = isinstance(loss, (list, tuple)) and len(outputs) > 1
        entries = []
        for index, (own, weight) in enumerate(zip(losses, weights)):
            name = outputs.names_in_logs[index]
            if not isinstance(own, (list, tuple)):
                own = [own]
            several = len(own) > 1
            if reading.only_first or (several and several_are_one):
                groups = [own[:1] if reading.only_first else own]
            else:
                groups = [[one] for one in own]
            for number, group in enumerate(groups):
                group = [one for one in group if one is not None]
                if not group:
                    continue
                stem = name or _loss_name(group[0])
                key = f"{stem}_loss"
                if name and several and not several_are_one:
                    key = f"{name}_{_loss_name(group[0])}_loss"
                own_weight = weight
                if isinstance(weight, (list, tuple)):
                    own_weight = weight[number]
                entries.append(Entry(index, group, own_weight, key))
        taken = {}
        for entry in entries:
            count = taken[entry.key] = taken.get(entry.key, -1) + 1
            if count:
                stem = entry.key.removesuffix("_loss")
                entry.key = f"{stem}_{count}_loss"
        return [
            entry
            for position, entry in enumerate(entries)
            if position not in reading.without
        ]

    def raw(self, entry, labels, weights, predictions, reading):
        """The raw loss of an entry for one batch."""
        index, total = entry.output, 0.0
        y_true, y_pred = labels[index], predictions[index]
        for identifier in entry.losses:
            loss = _loss_object(identifier, y_true, y_pred)
            sample_weight = weights[index]
            if reading.aligned:
                sample_weight = _aligned(sample_weight, loss, y_true, y_pred)
            total += _value(loss(y_true, y_pred, sample_weight))
        return total

    def expected(self, reading):
        """What each batch alone should log, by name, under a reading."""
        entries = self.entries_of(reading)
        values = {entry.key: [] for entry in entries}
        totals = []
        for number, (_, y, sample_weight) in enumerate(self.batches):
            labels, weights = (
                self.outputs.match(name, value, name in reading.by_sorted_key)
                for name, value in (("y", y), ("sample_weight", sample_weight))
            )
            total = self.additional[number]
            for entry in entries:
                raw = self.raw(
                    entry, labels, weights, self.predictions[number], reading
                )
                values[entry.key].append(raw)
                total += entry.weight_now() * raw
            totals.append(total)
        values["loss"] = totals
        return {key: np.array(numbers) for key, numbers in values.items()}

    # What is wrong.

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

    def find_frozen_weights(self):
        """Assigns to the Variables among the weights, and looks."""
        frozen = []
        for entry in self.entries:
            if not hasattr(entry.weight, "assign"):
                continue
            before, old = self.evaluate(self.batches[:1]), entry.weight_now()
            entry.weight.assign(2 * old + 1)
            after = self.evaluate(self.batches[:1])
            entry.weight.assign(old)
            labels, weights = (
                self.outputs.match(name, value)
                for name, value in zip(
                    ("y", "sample_weight"), self.batches[0][1:]
                )
            )
            raw = self.raw(
                entry, labels, weights, self.predictions[0], Reading()
            )
            change = (old + 1) * raw
            if abs(change) < ROUNDING * abs(before["loss"]) + NOTHING:
                continue
            if abs(after["loss"] - before["loss"]) < abs(change) / 2:
                frozen.append(entry)
                self.findings.append(
                    "The loss weight of "
                    f"{self.outputs.display(entry.output)} is a Variable, but "
                    "assigning to it does not change the loss: the compiled "
                    "step keeps the value it was traced with."
                )
        return frozen

    def find_batch_defects(self, right, frozen):
        """What is wrong with a batch by itself.

        Returns:
            The `Reading` that gives the logged total, as far as is known.
        """
        logged, reading = self.logged_alone, Reading()
        if not frozen and self.is_suspect(logged["loss"], right["loss"]):
            reading = self.explain_total(logged["loss"], right["loss"])
        if reading is None:
            return Reading()
        values = self.expected(reading)
        entries = self.entries_of(reading)
        for entry in entries:
            found, raw = logged.get(entry.key), values.get(entry.key)
            if found is None or not self.is_suspect(found, raw):
                continue
            text = self.explain_entry(entry, found, raw, entries, values)
            if text is not None:
                self.findings.append(f"`{entry.key}` {text}")
        return reading

    def is_suspect(self, found, right):
        return _differ(found, right, ROUNDING if self.in_half else EXACT)

    def explain_entry(self, entry, found, raw, entries, values):
        weight = entry.weight_now()
        if _explains(weight * raw, found, raw):
            text = f"holds the loss times its loss weight, {weight:g}."
            if weight:
                text += " The raw loss is what it holds divided by the weight."
            return f"{text} Keras 3.5 and 3.6 do that."
        if not _differ(found, raw, ROUNDING):
            return None
        for other in entries:
            for factor in (1, other.weight_now()):
                if _explains(factor * values[other.key], found, raw):
                    name = self.outputs.display(other.output)
                    return f"holds the loss of {name}."
        name = self.outputs.display(entry.output)
        return f"is not the loss of {name}. No known defect explains it."

    def explain_total(self, logged, right):
        """The first reading that gives the logged `loss`, as a finding."""
        is_certain = _differ(logged, right, ROUNDING)
        for reading, text in self.readings():
            # Some loss or other is always as small as rounding.
            if reading.without and not is_certain:
                continue
            if _explains(self.expected(reading)["loss"], logged, right):
                self.findings.append(text)
                return reading
        if not is_certain:
            return Reading()
        self.findings.append(
            "`loss` is not the sum of the weighted losses and the "
            "regularization. No known defect explains it. Are the "
            "`loss_weights` given here those of `compile`?"
        )
        return None

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
        if any(x is not None for _, x in _flatten(sample_weight)):
            yield (
                Reading(aligned=False),
                "Sample weights of shape (batch_size,) weigh timesteps, not "
                "samples.",
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
                missing = " and ".join(
                    self.outputs.display(self.entries[i].output)
                    for i in without
                )
                yield (
                    Reading(without=without),
                    f"The loss of {missing} is dropped: it is not in `loss`.",
                )

    def find_shared_names(self, logged):
        for index in range(len(self.outputs)):
            own = [entry for entry in self.entries if entry.output == index]
            name = self.outputs.names_in_logs[index]
            if len(own) < 2 or name is None or f"{name}_loss" not in logged:
                continue
            others = [
                key
                for key in logged
                if key.startswith(f"{name}_")
                and key.endswith("_loss")
                and key != f"{name}_loss"
            ]
            if not others:
                self.findings.append(
                    f"The {len(own)} losses of {name!r} share the name "
                    f"`{name}_loss`: one hides the other."
                )
        for key, sharing in self.sharing(logged).items():
            names = [self.outputs.display(entry.output) for entry in sharing]
            self.findings.append(
                f"The losses of {' and '.join(names)} share the name "
                f"`{key}`: one hides the others."
            )
        if len(self.outputs) > 1 and self.outputs.names[0] is None:
            for entry in self.entries:
                if entry.key in logged or not logged.keys() & {
                    other.key for other in self.entries
                }:
                    continue
                self.findings.append(
                    "Outputs without names have losses of the same name in "
                    f"the logs: that of {self.outputs.display(entry.output)} "
                    "is hidden by another."
                )

    def sharing(self, logged):
        """Entries that lack their own names in the logs, by what they share."""
        own, found = {entry.key for entry in self.entries}, {}
        for entry in self.entries:
            key = _unnamed_key(entry)
            if entry.key not in logged and key in logged and key not in own:
                found.setdefault(key, []).append(entry)
        return {key: entries for key, entries in found.items() if entries[1:]}

    def find_averaging_defects(self, together):
        """What is wrong only when several batches are put together."""
        wrong = {}
        for key in ["loss", *(entry.key for entry in self.entries)]:
            if key in together:
                text = self.explain_average(
                    self.logged_alone[key], together[key], self.sizes
                )
                wrong.setdefault(text, []).append(key)
        for text, keys in wrong.items():
            if text is not None:
                names = ", ".join(f"`{key}`" for key in keys)
                self.findings.append(f"{names}: {text}")
        if self.in_half and set(wrong) == {None}:
            self.find_saturation()

    def find_saturation(self):
        repeats = -(-BATCHES_IN_HALF // len(self.batches))
        logs = self.evaluate(self.batches * repeats)
        for key in ["loss", *(entry.key for entry in self.entries)]:
            if key in logs:
                text = self.explain_average(
                    np.tile(self.logged_alone[key], repeats),
                    logs[key],
                    np.tile(self.sizes, repeats),
                )
                if text is not None:
                    self.findings.append(
                        f"`{key}`: {text} After {len(self.batches) * repeats} "
                        f"batches like these it is {logs[key]:.4g}."
                    )

    def explain_average(self, values, logged, sizes):
        """Why an average over batches is wrong; `None` if it is right."""
        right = np.average(values, weights=sizes)
        scale = np.max(np.abs(values))
        gap = abs(logged - right)
        if gap <= self.tolerance * scale + NOTHING:
            return None
        by_batches = np.mean(values)
        known = [
            (
                by_batches,
                "each batch counts the same, so a short one counts too much.",
            )
        ]
        if self.in_half:
            floatx = keras.config.floatx()
            text = f"its sums are kept in {floatx}, and stop growing."
            for weights in (sizes, np.ones_like(sizes)):
                known.append((_average_in_half(values, weights, floatx), text))
        for expected, text in known:
            if _explains(expected, logged, right):
                return text
        return "not the average over samples. No known defect explains it."


def _lists_as_tuples(structure):
    if isinstance(structure, dict):
        return {key: _lists_as_tuples(x) for key, x in structure.items()}
    if isinstance(structure, (list, tuple)):
        return tuple(map(_lists_as_tuples, structure))
    return structure


def _differ(found, right, tolerance):
    found, right = np.asarray(found), np.asarray(right)
    scale = np.maximum(np.abs(found), np.abs(right))
    return bool(np.any(np.abs(found - right) > tolerance * scale + NOTHING))


def _explains(expected, logged, right):
    """Whether a wrong number is as expected, compared with how wrong it is."""
    gap = np.max(np.abs(np.asarray(logged) - right))
    rest = np.max(np.abs(np.asarray(logged) - expected))
    return bool(rest <= (1 - EXPLAINED) * gap)


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
