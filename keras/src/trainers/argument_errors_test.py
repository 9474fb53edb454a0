"""Tests of how an error about an argument is worded."""

import numpy as np
from absl.testing import parameterized

from keras.src import testing
from keras.src.trainers import argument_errors
from keras.src.trainers.argument_errors import Refusal
from keras.src.trainers.argument_errors import UnknownOutputError
from keras.src.trainers.output_matcher import Match


class Outputs:
    """What an error needs of an `OutputMatcher`."""

    def __init__(self, *names):
        self.names = list(names)

    def __len__(self):
        return len(self.names)

    def display_name(self, index):
        return f"number {index}"

    def expected(self):
        return "what is right."


class InvalidTest(testing.TestCase):
    def test_text(self):
        error = argument_errors.invalid(
            "loss",
            "It is wrong.",
            {"a": np.zeros((2, 3)), "b": ["mse", None]},
            "something else.",
        )
        self.assertIs(type(error), ValueError)
        self.assertEqual(
            str(error),
            "Invalid `loss`. It is wrong.\n"
            "Received: loss={'a': <ndarray of shape (2, 3)>, "
            "'b': ['mse', None]}\n"
            "Expected something else.",
        )

    def test_type(self):
        error = argument_errors.invalid("loss", "", 1, "2.", TypeError)
        self.assertIs(type(error), TypeError)

    def test_an_unknown_output_is_of_both_types(self):
        for kind in (KeyError, ValueError):
            with self.assertRaises(kind) as caught:
                raise UnknownOutputError("first\nsecond")
            # A `KeyError` would put it in quotes, on one line.
            self.assertEqual(str(caught.exception), "first\nsecond")


class RefusalTest(testing.TestCase):
    def assertSays(self, error, problem, expected="what is right."):
        """Checks the whole text of an error about `loss`."""
        self.assertEqual(
            str(error),
            f"Invalid `loss`. {problem}\n"
            "Received: loss=['mse']\n"
            f"Expected {expected}",
        )

    def refusal(self, *names):
        return Refusal(Outputs(*names), "loss", ["mse"])

    def test_key(self):
        problem = (
            "The path 'c' in the `loss` argument, can't be found in either "
            "the model's outputs or their names."
        )
        error = self.refusal("a", "b").key("c")
        self.assertIs(type(error), UnknownOutputError)
        self.assertSays(error, problem, "keys: ['a', 'b']")
        # With a single name missing, none of them can be told to be used.
        for names in ([None, None], ["a", None]):
            self.assertSays(
                self.refusal(*names).key("c"),
                problem,
                "no keys: the outputs have no names. Use a list.",
            )

    @parameterized.parameters(
        ((), {"x": 1, "y": 2}, "x"),
        (("b", 0), {"x": 1}, "b/0/x"),
        (("b", 0), {}, "b/0"),
    )
    def test_depth(self, path, item, shown):
        error = self.refusal("a", "b").depth(Match(1, item, path))
        self.assertIs(type(error), UnknownOutputError)
        self.assertSays(
            error,
            f"The path {shown!r} can't be found in the model's outputs: "
            "number 1 is a single output.",
        )

    def test_nesting(self):
        error = self.refusal("a").nesting(Match(0, [], ()))
        self.assertIs(type(error), ValueError)
        self.assertSays(
            error, "There is a list where output number 0 has only one."
        )

    @parameterized.parameters(
        ((), ""), (("a",), " at 'a'"), (("a", 1), " at 'a/1'")
    )
    def test_count(self, path, where):
        self.assertSays(
            self.refusal("a", "b").count(3, path),
            f"There are 3 entries{where} for 2 outputs.",
        )

    @parameterized.parameters((None, "what is right."), ("two.", "two."))
    def test_weights(self, forms, expected):
        self.assertSays(
            self.refusal("a", "b").weights(3, 2, forms),
            "There are 3 weights for 2 losses.",
            f"a scalar for each loss: {expected}",
        )

    def test_order(self):
        self.assertSays(
            self.refusal("a", "b").order(),
            "A list can't be matched to a dict of outputs whose order the "
            "model doesn't tell.",
        )

    @parameterized.parameters(
        ("y_true", "y_true and y_pred have different structures. "),
        ("loss_weights", "`loss_weights` must match the number of losses. "),
        ("sample_weight", ""),
        ("metrics", ""),
    )
    def test_what_upstream_pins(self, argument, pinned):
        error = Refusal(Outputs("a"), argument, None).count(2)
        self.assertStartsWith(
            str(error),
            f"Invalid `{argument}`. {pinned}There are 2 entries",
        )
