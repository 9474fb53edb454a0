"""Every term of the total, recorded where a step adds them up.

Not part of upstream Keras 3.15.1, where `loss` is all that is known of what
regularizers and `add_loss` add. `keras.callbacks.LossContributions` attaches
`LossTerms` to the metric of the total; without it, none of this is there.

A step writes its terms into one variable, and where it updates the total, they
are added to the sums with the size by which the total counts them. So they have
the same average as the total, whatever the step, and no step has to hand them
on: on JAX they are part of the metrics' state.
"""

import contextlib
import threading

from keras.src import backend
from keras.src import metrics as metrics_module
from keras.src import ops
from keras.src.losses import native
from keras.src.losses import ownership
from keras.src.losses import replicas
from keras.src.losses import weighting
from keras.src.trainers.loss_weights import weigh
from keras.src.trainers.output_structure import unique_names

# What follows the name of an entry or the path of a layer.
SUFFIXES = {
    "raw": "_loss",
    "contribution": "_contribution",
    "weight": "_weight",
    "added": "_added_loss",
    "rest": "_loss",
}
# What is the same number in another form, and no term of the total.
NO_TERMS = ("raw", "weight")
# Losses of the model itself, and of sources that are no layer.
OF_NO_LAYER = ("rest", "added")
REGULARIZATION = ("rest", "regularization")
OTHER = ("rest", "other")
# The methods of a model in which users add something else to the total.
MAY_ADD = (
    "compute_loss",
    "_compute_loss",
    "compute_loss_and_updates",
    "train_step",
    "test_step",
)


class TermMean(metrics_module.Metric):
    """What the logs and callbacks see of a term: its average so far.

    The state is that of the total. A step of the user's that updates all
    metrics with labels and predictions, or resets them, changes nothing here.

    Args:
        name: The name that it is logged under.
        mean: A function that returns the average.
        is_loss: Whether it is to be minimised.
    """

    def __init__(self, name, mean, is_loss):
        super().__init__(name=name)
        self._mean = mean
        if is_loss:
            # `keras.callbacks.MonitorCallback` reads it.
            self._direction = "down"

    def update_state(self, *args, **kwargs):
        pass

    def reset_state(self):
        pass

    def result(self):
        return self._mean()


class LossTerms:
    """The terms of a model's total.

    Args:
        model: A compiled model.

    Attributes:
        metrics: A `TermMean` for each number that has been recorded. A term
            that a step does not have is 0 in it.
        variables: What belongs to the state of the total.
    """

    def __init__(self, model):
        self.metrics = []
        self.variables = []
        self._total = model._loss_tracker
        self._layers = []
        self._indices = {}
        self._has_others = any(
            ownership.overrides(model, name)
            for name in MAY_ADD
            if hasattr(model, name)
        )
        self._noted = threading.local()
        compile_loss = model._compile_loss
        if model.built and (compile_loss is None or compile_loss.built):
            self._make_variables(model)

    def _make_variables(self, model):
        """Makes room for all terms that there may be.

        JAX wants to know its variables before it has seen a step.
        """
        self._layers = list(_with_paths(model))
        entries = getattr(model._compile_loss, "_flat_losses", None) or ()
        room = 3 * len(entries) + len(self._layers) + 2
        state = metrics_module.Metric(name="loss_terms")
        for name in ("last", "sums"):
            dtype = self._total.total.dtype
            state.add_variable((room,), "zeros", dtype=dtype, name=name)
        self.variables = state.variables

    def reset_state(self):
        for variable in self.variables:
            variable.assign(ops.zeros(variable.shape, variable.dtype))

    def note(self, names, are_logged, raw_losses, weights):
        """Notes what `CompileLoss` has just computed.

        Args:
            names: The names of the loss entries.
            are_logged: Whether their raw losses are logged without this.
            raw_losses: A scalar tensor for each entry.
            weights: Its loss weight, or `None` for 1.
        """
        self._noted.value = names, are_logged, raw_losses, weights

    def record(self, model, losses, values):
        """Writes down the terms of a step, which replace those of another one.

        Args:
            model: The model.
            losses: What `model.losses` held.
            values: The scalar that each of them adds to the total.
        """
        noted = getattr(self._noted, "value", None)
        self._noted.value = None
        if not self.variables:
            if backend.in_stateless_scope():
                return
            self._make_variables(model)
        last = self.variables[0]
        if not native.may_assign(last):
            return
        found = {} if noted is None else _of_entries(last.dtype, *noted)
        found |= self._of_layers(model, losses, values)
        self._name(model, found)
        if not self._indices:
            return
        numbers = [found.get(key, 0.0) for key in self._indices]
        numbers = ops.stack([weighting.cast(x, last.dtype) for x in numbers])
        room = last.shape[0] - len(self._indices)
        # `ops.pad` takes PyTorch ten times as long.
        numbers = ops.concatenate([numbers, ops.zeros((room,), last.dtype)])
        last.assign(ops.stop_gradient(numbers))

    def _of_layers(self, model, losses, values):
        """What layers add, by layer, and what regularizers of weights add."""
        if not losses:
            return {}
        owners, is_stateless = {}, backend.in_stateless_scope()
        for number, (layer, _) in enumerate(self._layers):
            # In a stateless scope, a layer only knows the `id`s.
            own = layer._loss_ids if is_stateless else map(id, layer._losses)
            key = ("added", number) if number else OF_NO_LAYER
            owners.update(dict.fromkeys(own, key))
        keys = [owners.get(id(loss)) for loss in losses]
        # They follow the losses of layers. What follows them is unknown.
        penalties = 0
        if None in keys:
            weights = model.trainable_weights
            penalties = sum(v.regularizer is not None for v in weights)
        found, dtype = {}, self._total.total.dtype
        for key, value in zip(keys, replicas.unscale_losses(values)):
            value = weighting.cast(value, dtype)
            if key is None:
                key = REGULARIZATION if penalties > 0 else OF_NO_LAYER
                penalties -= 1
            found[key] = found[key] + value if key in found else value
        return found

    def _name(self, model, found):
        """Gives those a place and a metric that have not been seen before."""
        new = [key for key in found if key not in self._indices]
        # Only if somebody has given the model more loss entries meanwhile.
        new = new[: self.variables[0].shape[0] - len(self._indices)]
        if not new:
            return
        stems = [
            self._layers[stem][1] if kind == "added" else stem
            for kind, stem in new
        ]
        suffixes = [SUFFIXES[kind] for kind, _ in new]
        if self._has_others and not self._indices:
            stems.append(OTHER[1])
            suffixes.append(SUFFIXES[OTHER[0]])
        taken = self._taken(model)
        taken |= {f"val_{a}{b}" for a, b in zip(stems, suffixes)}
        names = unique_names(stems, suffixes, taken)
        for (kind, stem), name in zip(new, names):
            index = self._indices[kind, stem] = len(self._indices)
            mean = lambda index=index: self._mean(
                self.variables[1].value[index]
            )
            self.metrics.append(TermMean(name, mean, kind != "weight"))
        for name in names[len(new) :]:
            self.metrics.append(TermMean(name, self._mean_of_others, True))

    def _taken(self, model):
        """The names that are logged for something else, here or as `val_`."""
        first, others = model._listed_names()
        taken = {"loss", *first, *others}
        for metric in (
            *self.metrics,
            *getattr(model._compile_loss, "metrics", ()),
        ):
            taken.add(metric.name)
        in_validation = {f"val_{name}" for name in taken}
        return taken | in_validation | {x.removeprefix("val_") for x in taken}

    def collect(self, size):
        """Adds the last step's terms to the sums.

        Args:
            size: The number that the total has just counted the step by.
        """
        # A step that has not called `compute_loss` has no terms.
        if not self._indices or not native.may_assign(self.variables[1]):
            return
        last, sums = self.variables
        sums.assign_add(ops.multiply(last.value, size))
        last.assign(ops.zeros(last.shape, last.dtype))

    def _mean(self, total):
        return native.ratio(total, self._total.count.value)

    def _mean_of_others(self):
        """What the total holds beyond the terms."""
        sums = self.variables[1].value
        terms = [
            sums[index]
            for (kind, _), index in self._indices.items()
            if kind not in NO_TERMS
        ]
        return self._mean(ops.subtract(self._total.total, sum(terms)))


def are_recorded(model):
    """Whether terms are recorded; `None` if none can be."""
    total = getattr(model, "_loss_tracker", None)
    return total.terms is not None if hasattr(total, "terms") else None


def attach(model, terms):
    """Has the steps of a model record their terms from now on.

    Args:
        model: A compiled model.
        terms: `LossTerms`, or `None` to stop it.
    """
    total = model._loss_tracker
    if total.terms is not None:
        # `evaluate` makes a list of its logs when the callback has gone.
        total.unlisted_names = [one.name for one in total.terms.metrics]
    total.terms = terms
    if model._compile_loss is not None:
        model._compile_loss.terms = terms
    # Steps that were compiled before record what they did then.
    model.train_function = None
    model.test_function = None


@contextlib.contextmanager
def until_error(model):
    """Stops recording after an error, since no callback is told of one."""
    try:
        yield
    except BaseException:
        if are_recorded(model):
            attach(model, None)
        raise


def _of_entries(dtype, names, are_logged, raw_losses, weights):
    """What `LossTerms.note` was given, by kind and name."""
    count = len(names)
    contributions = map(weigh, raw_losses, weights)
    scaled = replicas.unscale_losses([*raw_losses, *contributions])
    found = {}
    for name, weight, raw, contribution in zip(
        names, weights, scaled[:count], scaled[count:]
    ):
        if not are_logged:
            found["raw", name] = raw
        found["contribution", name] = contribution
        weight = 1.0 if weight is None else weight
        found["weight", name] = ops.cast(weight, dtype)
    return found


def _with_paths(layer, path="", seen=None):
    """A model, its layers and theirs, each once, with its path in the model."""
    seen = set() if seen is None else seen
    yield layer, path
    for inner in layer._layers:
        if id(inner) not in seen:
            seen.add(id(inner))
            start = f"{path}/" if path else ""
            yield from _with_paths(inner, start + inner.name, seen)
