"""Tests of when the callback has contributions logged, and when no longer.

What is logged is the business of `CompileLoss`.
"""

import contextlib
import types

from absl.testing import parameterized

from keras.src import testing
from keras.src.callbacks.loss_contributions import LossContributions


class CompileLoss:
    """What the callback turns on and off."""

    def __init__(self, strategy):
        self.strategy = strategy
        self.calls = []

    def log_contributions(self, is_on):
        self.calls.append((is_on, self.strategy.is_entered))


class Strategy:
    """One of `tf.distribute`, under which variables are made."""

    is_entered = False

    @contextlib.contextmanager
    def scope(self):
        self.is_entered = True
        yield
        self.is_entered = False


def model_with(strategy=None):
    compile_loss = CompileLoss(strategy or Strategy())
    return types.SimpleNamespace(
        _compile_loss=compile_loss,
        distribute_strategy=strategy,
        train_function="compiled",
        test_function="compiled",
    )


def run(model, *events):
    """Calls methods of a callback of the model's; what they have done.

    Args:
        model: A model that has been compiled.
        *events: Names of the methods.

    Returns:
        For each event, `True` or `False` where contributions were turned on or
        off, else `None`.
    """
    callback = LossContributions()
    found = []
    for event in events:
        del model._compile_loss.calls[:]
        model.train_function = model.test_function = "compiled"
        if event == "set_model":
            callback.set_model(model)
        else:
            getattr(callback, event)()
        calls = model._compile_loss.calls
        found.append(calls[-1][0] if calls else None)
        # Steps are compiled anew if, and only if, they have changed.
        functions = [None if calls else "compiled"] * 2
        if [model.train_function, model.test_function] != functions:
            raise AssertionError(f"{event}: the steps are the old ones.")
    return found


class LossContributionsTest(testing.TestCase):
    @parameterized.named_parameters(
        ("fit", ("on_train_begin", "on_train_end"), (None, False)),
        # `fit` validates at the end of each epoch, and goes on.
        (
            "fit_with_validation",
            ("on_train_begin", "on_test_end", "on_test_end", "on_train_end"),
            (None, None, None, False),
        ),
        ("evaluate", ("on_test_end",), (False,)),
        ("predict", ("on_predict_end",), (False,)),
        (
            "evaluate_after_fit",
            ("on_train_begin", "on_train_end", "set_model", "on_test_end"),
            (None, False, True, False),
        ),
    )
    def test_when(self, events, expected):
        found = run(model_with(), "set_model", *events)
        self.assertEqual(found, [True, *expected])

    def test_metrics_are_made_under_the_strategy(self):
        model = model_with(Strategy())
        run(model, "set_model")
        self.assertEqual(model._compile_loss.calls, [(True, True)])
        self.assertFalse(model.distribute_strategy.is_entered)

    def test_a_model_that_is_not_compiled(self):
        for attributes in ({}, {"_compile_loss": None}):
            model = types.SimpleNamespace(**attributes)
            callback = LossContributions()
            callback.set_model(model)
            callback.on_test_end()
            self.assertEqual(vars(model), attributes)
