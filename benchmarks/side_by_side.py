"""Stock Keras and the fork in one process, and how to time them in turns."""

import contextlib
import gc
import importlib
import math
import statistics
import sys
import time
from typing import NamedTuple

import pip_build
from integration_tests.support import checkout_finder

PACKAGE = "keras"


class Side:
    """One of the two, complete: every module of it is loaded from anew.

    Args:
        stock: Whether it is the base release instead of the fork.
    """

    def __init__(self, stock):
        self.name = "stock" if stock else "fork"
        finder = None if stock else checkout_finder.CheckoutFinder()
        _forget_modules()
        if finder:
            sys.meta_path.insert(0, finder)
        self.keras = importlib.import_module(PACKAGE)
        self.compile_utils = importlib.import_module(
            "keras.src.trainers.compile_utils"
        )
        if finder:
            sys.meta_path.remove(finder)
        self._modules = {name: sys.modules[name] for name in _module_names()}

    @contextlib.contextmanager
    def active(self):
        """Lets imports inside of functions find this side's modules."""
        _forget_modules()
        sys.modules.update(self._modules)
        yield self


def _module_names():
    return [
        name
        for name in sys.modules
        if name == PACKAGE or name.startswith(f"{PACKAGE}.")
    ]


def _forget_modules():
    for name in _module_names():
        del sys.modules[name]


def both():
    """The sides `(stock, fork)`."""
    path = str(pip_build.unpacked_base())
    if path not in sys.path:
        sys.path.insert(0, path)
    return Side(stock=True), Side(stock=False)


class Ratio(NamedTuple):
    """A median, and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values):
        values = list(values)
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(statistics.median(values), low, high)


def in_turns(contenders, budget, rounds=(5, 61), slice_seconds=0.002):
    """Times functions, each a few calls at a time, one after the other.

    Whatever else the machine does falls on all of them alike.

    Args:
        contenders: A dict of names and pairs `(side, function)`.
        budget: Seconds that it may take, if the fewest rounds fit in.
        rounds: The fewest and the most rounds.
        slice_seconds: How long one function runs, at least, in a round.

    Returns:
        A dict of names and lists of seconds for a call, one for each round.
    """
    calls = {}
    for name, (side, function) in contenders.items():
        with side.active():
            function()  # The first call builds.
            calls[name] = math.ceil(slice_seconds / _seconds(function, 1))
    found = {name: [] for name in contenders}
    start, names = time.perf_counter(), list(contenders)
    for number in range(rounds[1]):
        elapsed = time.perf_counter() - start
        if number >= rounds[0] and elapsed * (number + 1) > budget * number:
            break
        # Who goes first changes, too.
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            side, function = contenders[name]
            with side.active():
                found[name].append(_seconds(function, calls[name]))
    return found


def _seconds(function, calls):
    """Processor time for a call, which other programs change the least."""
    is_enabled = gc.isenabled()
    gc.disable()
    start = time.process_time()
    for _ in range(calls):
        result = function()
    if hasattr(result, "block_until_ready"):
        result.block_until_ready()  # JAX returns before it is done.
    elapsed = time.process_time() - start
    if is_enabled:
        gc.enable()
    return elapsed / calls


def ratio(found, above, below):
    """The `Ratio` of two of the lists that `in_turns` gives."""
    return Ratio.of(a / b for a, b in zip(found[above], found[below]))
