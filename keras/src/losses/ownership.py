"""Tells whose own a loss, a metric or a function is: Keras' or a user's.

Not part of upstream Keras 3.15.1. What users write themselves is handed what
the base release hands it; what is corrected about labels, weights and masks is
for Keras' own alone. This module is the only place that decides which is which.
"""

import functools
import types
import warnings
import weakref


class _Packages(dict):
    """Whether a module is in one of some packages, which every step asks."""

    def __init__(self, *names):
        super().__init__()
        self._names = names

    def __missing__(self, module):
        # Tests, which lie beside the modules, write what users would.
        is_test = module.endswith("_test")
        self[module] = module.startswith(self._names) and not is_test
        return self[module]


# Where Keras' own losses and metrics are defined.
_LOSSES = _Packages("keras.src.losses.", "keras.src.metrics.")
# And what the steps of every model are.
_TRAINERS = _Packages(
    "keras.src.trainers.", "keras.src.backend.", "keras.src.models."
)
# Keras' own functions that make a value of each entry of labels and predictions
# and return the mean over the last axis. In all others but the accuracies, the
# last axis holds the classes, or the parts of a vector.
_ENTRYWISE = {
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "hinge",
    "huber",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "squared_hinge",
}
_NOWHERE = {}
_warned = weakref.WeakKeyDictionary()


def worker(obj):
    """What gets labels and predictions in the end.

    Args:
        obj: A loss, a metric, or a function used as one.

    Returns:
        A function of Keras', or of the user's; for an object that is the
        user's, or that can't be told, the object itself.
    """
    while True:
        if isinstance(obj, types.FunctionType):
            return obj
        if isinstance(obj, functools.partial):
            obj = obj.func
            continue
        if isinstance(obj, types.MethodType):
            if not is_defined_by_keras(obj.__func__):
                return obj.__func__
            obj = obj.__self__
        method = _method(obj)
        if not is_defined_by_keras(method):
            return obj
        if isinstance(obj, type):
            return method
        # These two methods do nothing but hand on to a function.
        if method.__qualname__ == "LossFunctionWrapper.call":
            obj = obj.fn
        elif method.__qualname__ == "MeanMetricWrapper.update_state":
            obj = obj._fn
        else:
            return method


def _method(obj):
    """The method of a loss or a metric that is handed labels, or `None`."""
    kind = obj if isinstance(obj, type) else type(obj)
    name = "update_state" if hasattr(kind, "update_state") else "call"
    if name in getattr(obj, "__dict__", ()):
        # Whoever puts a function there has written it.
        return None
    if name == "call" and not is_defined_by_keras(
        getattr(kind, "__call__", None)
    ):
        return None
    return getattr(kind, name, None)


def is_defined_by_keras(function, packages=_LOSSES):
    """Whether a function, or what `worker` returns, is Keras' own.

    Args:
        function: What may have been defined by Keras.
        packages: Where Keras would have defined it.
    """
    # Not `__module__`, which `functools.wraps` copies.
    module = getattr(function, "__globals__", _NOWHERE).get("__name__", "")
    return packages[module]


def is_called_by_keras(loss):
    """Whether what happens in a call of a `Loss` object is up to Keras."""
    return is_defined_by_keras(type(loss).__call__)


def overrides(model, name):
    """Whether a model, or its class, has a method other than all models."""
    return not is_defined_by_keras(getattr(model, name), _TRAINERS)


def is_keras_own(obj):
    """Whether a loss, a metric, or a function used as one, is Keras' own.

    That is so where labels and predictions get to a function that
    `keras.losses` or `keras.metrics` defines, with nothing of the user's in
    between. A subclass that overrides none of `__call__`, `call` and
    `update_state` counts as Keras' own. What can't be told is the user's.

    Args:
        obj: A loss, a metric, a function used as one, or the `worker` of one.

    Returns:
        A bool.
    """
    return is_defined_by_keras(worker(obj))


def is_entrywise(function):
    """Whether a function of Keras' own averages entries over the last axis."""
    return function.__name__ in _ENTRYWISE


def warn_once(found, what, text):
    """Warns of what is probably wrong in a class or function of a user's.

    Args:
        found: The `worker` of a loss or metric.
        what: A word for the kind of warning. A class or function is warned of
            each kind once.
        text: What follows its name.
    """
    owner, kind = found, type(found)
    # A function, or what a compiler has made of one, has a class of nobody's
    # own.
    if isinstance(getattr(kind, "__call__", None), types.FunctionType):
        owner = kind
    name = getattr(owner, "__name__", repr(owner))
    if not type(owner).__weakrefoffset__:
        # A function that is written in C.
        owner = type(owner)
    given = _warned.setdefault(owner, set())
    if what not in given:
        given.add(what)
        warnings.warn(f"`{name}`{text}", UserWarning, stacklevel=2)
