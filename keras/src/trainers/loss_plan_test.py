"""Tests of how losses and loss weights become loss entries."""

import types

import numpy as np
from absl.testing import parameterized

from keras.src import backend
from keras.src import losses
from keras.src import ops
from keras.src import testing
from keras.src import tree
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.trainers import loss_plan
from keras.src.trainers.loss_weights import plain_weights
from keras.src.trainers.output_matcher import OutputMatcher
from keras.src.trainers.output_structure import Node

X = np.array([[1.0], [3.0]], "float32")
AB = ["a", "b"]
DICT = {"a": X, "b": X}
DEEP = {"both": {"a": X, "b": X}, "c": X}


def own_loss(y_true, y_pred):
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


def both(y_true, y_pred):
    return y_pred["a"][:, 0] + 10 * y_pred["b"][:, 0]


def pair(y_true, y_pred):
    return y_pred[0][:, 0] + 10 * y_pred[1][:, 0]


def plan(loss, outputs, weights=None, names=None, taken=()):
    matcher = OutputMatcher(outputs, names)
    # Labels are of the shapes of the outputs.
    batch = matcher.read_batch(outputs, outputs)
    weights = plain_weights(weights)
    return loss_plan.entries(loss, weights, matcher, batch, taken)


def entries(*args, **kwargs):
    """What stands in the entries, losses by their names."""
    found, _ = plan(*args, **kwargs)
    return [
        (path, loss.name, weight, name) for path, loss, weight, name in found
    ]


def weights_of(loss, outputs, weights, **kwargs):
    """Pairs of the names and the weights of losses."""
    found = entries(loss, outputs, weights, **kwargs)
    return [(name, weight) for _, name, weight, _ in found]


class EntriesTest(testing.TestCase):
    @parameterized.named_parameters(
        ("one", "mse", X, None, [((), "mse", None, "mse")]),
        ("one_named", "mse", X, ["a"], [((), "mse", None, "a")]),
        (
            "for_each",
            "mse",
            [X, X],
            None,
            [((0,), "mse", None, "mse"), ((1,), "mse", None, "mse_1")],
        ),
        (
            "for_each_named",
            "mse",
            [X, X],
            AB,
            [((0,), "mse", None, "a"), ((1,), "mse", None, "b")],
        ),
        ("none", [None, "mae"], [X, X], AB, [((1,), "mae", None, "b")]),
        ("nothing", [None, None], [X, X], AB, []),
        ("nothing_at_all", None, X, None, []),
        ("some_keys", {"b": "mae"}, [X, X], AB, [((1,), "mae", None, "b")]),
        (
            "in_the_order_of_outputs",
            {"b": "mae", "a": "mse"},
            [X, X],
            AB,
            [((0,), "mse", None, "a"), ((1,), "mae", None, "b")],
        ),
        (
            "in_the_order_of_a_dict_of_losses",
            {"b": "mae", "a": "mse"},
            DICT,
            None,
            [(("b",), "mae", None, "b"), (("a",), "mse", None, "a")],
        ),
        (
            "several_for_one",
            ["mse", None, "mae"],
            X,
            None,
            [((), "mse", None, "mse"), ((), "mae", None, "mae")],
        ),
        (
            "several_for_one_named",
            ["mse", "mae"],
            X,
            ["a"],
            [((), "mse", None, "a_mse"), ((), "mae", None, "a_mae")],
        ),
        (
            "one_twice",
            ["mse", "mse"],
            X,
            ["a"],
            [((), "mse", None, "a_mse"), ((), "mse", None, "a_1_mse")],
        ),
        (
            "several_for_one_of_two",
            {"a": ["mse", "mae"], "b": "mse"},
            DICT,
            None,
            [
                (("a",), "mse", None, "a_mse"),
                (("a",), "mae", None, "a_mae"),
                (("b",), "mse", None, "b"),
            ],
        ),
        # Upstream's tests pin that these two are one.
        (
            "a_list_in_a_list",
            ["mse", [None, "mae", "mape"]],
            [X, X],
            AB,
            [((0,), "mse", None, "a"), ((1,), "mae_mape", None, "b")],
        ),
        (
            "an_empty_list_in_a_list",
            ["mse", [None]],
            [X, X],
            AB,
            [((0,), "mse", None, "a")],
        ),
        (
            "deep",
            {"both": {"b": "mse"}, "c": "mae"},
            DEEP,
            None,
            [
                (("both", "b"), "mse", None, "both/b"),
                (("c",), "mae", None, "c"),
            ],
        ),
        (
            "a_loss_of_a_structure",
            {"both": both, "c": "mae"},
            DEEP,
            None,
            [(("both",), "both", None, "both"), (("c",), "mae", None, "c")],
        ),
        (
            "one_for_each_below",
            {"both": "mse"},
            DEEP,
            None,
            [
                (("both", "a"), "mse", None, "both/a"),
                (("both", "b"), "mse", None, "both/b"),
            ],
        ),
        ("loss_of_all", [both], DICT, None, [((), "both", None, "a_b")]),
        # `val_loss` is the total of the validation.
        (
            "an_output_called_val",
            "mse",
            {"val": X, "x": X},
            None,
            [(("val",), "mse", None, "val_1"), (("x",), "mse", None, "x")],
        ),
    )
    def test_entries(self, loss, outputs, names, expected):
        self.assertEqual(entries(loss, outputs, names=names), expected)

    def test_names_that_are_taken(self):
        taken = {"a_loss", "b_loss"}
        found = entries("mse", X, names=["a"], taken=taken)
        self.assertEqual([name for *_, name in found], ["a_1"])
        # The base release logs these.
        found = entries("mse", [X, X], names=AB, taken=taken)
        self.assertEqual([name for *_, name in found], AB)

    def test_targets(self):
        loss = {"both": both, "c": ["mse", "mae"]}
        _, (first, *rest) = plan(loss, DEEP)
        self.assertIsInstance(first, Node)
        self.assertEqual(first.path, ("both",))
        self.assertEqual(rest, [2, 2])

    def test_losses_are_made_for_their_output(self):
        one, three = np.zeros((2, 1)), np.zeros((2, 3))
        found, _ = plan({"b": "ce", "a": "ce"}, [three, one], names=AB)
        self.assertEqual(
            [entry.loss.fn.__name__ for entry in found],
            ["categorical_crossentropy", "binary_crossentropy"],
        )
        loss = losses.Huber()
        found, _ = plan([loss, loss], [X, X])
        self.assertTrue(all(entry.loss is loss for entry in found))

    def test_a_sum_of_losses(self):
        found, _ = plan(
            ["mse", ["mae", losses.MeanSquaredError("sum")]], [X, X]
        )
        loss = found[1].loss
        self.assertEqual(loss.name, "mae_mean_squared_error")
        self.assertEqual(loss.reduction, ["sum_over_batch_size", "sum"])
        # (1 + 3) / 2, and 1 + 9.
        self.assertAllClose(loss(0 * X, X), 2.0 + 10.0)
        found, _ = plan(["mse", ["mae", "mape"]], [X, X])
        # 1, and 100 * 1 / 2; of labels and predictions in the other order, 100.
        self.assertAllClose(found[1].loss(2 + 0 * X, 1 + 0 * X), 51.0)
        # (4 * 1 + 0) / 2, and 4 * 1.
        weight = np.array([4.0, 0.0])
        self.assertAllClose(loss(0 * X, X, weight), 2.0 + 4.0)


class WeightsTest(testing.TestCase):
    @parameterized.named_parameters(
        ("one", "mse", X, 2, [("mse", 2.0)]),
        (
            "one_for_all",
            ["mse", "mae"],
            [X, X],
            2,
            [("mse", 2.0), ("mae", 2.0)],
        ),
        ("list", ["mse", "mae"], [X, X], [2, 3], [("mse", 2.0), ("mae", 3.0)]),
        (
            "none",
            ["mse", "mae"],
            (X, X),
            [None, 3],
            [("mse", None), ("mae", 3.0)],
        ),
        # A weight may stand where there is no loss.
        ("none_of_losses", [None, "mae"], [X, X], [2, 3], [("mae", 3.0)]),
        (
            "some_keys",
            {"a": "mse", "b": "mae"},
            DICT,
            {"b": 3},
            [("mse", None), ("mae", 3.0)],
        ),
        (
            "dict_of_list",
            ["mse", "mae"],
            [X, X],
            {"b": 3, "a": 2},
            [("mse", 2.0), ("mae", 3.0)],
        ),
        ("several", ["mse", "mae"], X, [2, 3], [("mse", 2.0), ("mae", 3.0)]),
        ("one_for_several", ["mse", "mae"], X, 2, [("mse", 2.0), ("mae", 2.0)]),
        # They go with the losses, of which one is none.
        (
            "several_and_none",
            ["mse", None, "mae"],
            X,
            [2, 3, 4],
            [("mse", 2.0), ("mae", 4.0)],
        ),
        (
            "several_for_one_of_two",
            {"a": ["mse", "mae"], "b": "mse"},
            DICT,
            {"a": [2, 3], "b": 4},
            [("mse", 2.0), ("mae", 3.0), ("mse", 4.0)],
        ),
        (
            "a_list_in_a_list",
            ["mse", ["mae", "mape"]],
            [X, X],
            [2, [3, 4]],
            [("mse", 2.0), ("mae", 3.0), ("mape", 4.0)],
        ),
        (
            "one_for_a_list_in_a_list",
            ["mse", ["mae", "mape"]],
            [X, X],
            [2, 3],
            [("mse", 2.0), ("mae_mape", 3.0)],
        ),
        (
            "array",
            ["mse", "mae"],
            [X, X],
            np.array([2, 3]),
            [("mse", 2.0), ("mae", 3.0)],
        ),
        (
            "array_for_several",
            ["mse", "mae"],
            X,
            np.array([2, 2]),
            [("mse", 2.0), ("mae", 2.0)],
        ),
        # Upstream's tests pin an array of the shape of the predictions.
        ("array_of_one", "mse", X[:, 0], np.array([2, 2]), [("mse", 2.0)]),
        (
            "array_of_one_number",
            {"a": "mse"},
            {"a": X[:1, 0]},
            {"a": np.array([2])},
            [("mse", 2.0)],
        ),
        (
            "array_in_a_dict",
            {"a": "mse"},
            {"a": X[:, 0]},
            {"a": np.array([2, 2])},
            [("mse", 2.0)],
        ),
    )
    def test_weights(self, loss, outputs, weights, expected):
        names = AB if isinstance(outputs, list) else None
        found = weights_of(loss, outputs, weights, names=names)
        self.assertEqual(found, expected)

    @parameterized.named_parameters(
        ("two_for_one", "mse", X, [2, 3], "2 weights for 1 losses"),
        ("two_for_one_of_two", ["mse", "mae"], [X, X], [2, [3, 4]], "for 1"),
        ("one_in_a_list", ["mse", "mae"], X, [[2]], ""),
        ("three_for_two", ["mse", "mae"], X, [2, 3, 4], "3 weights for 2"),
        ("too_few", ["mse", "mae", "mape"], X, [2, 3], "2 weights for 3"),
        ("too_many_outputs", ["mse", "mae"], [X, X], [2, 3, 4], "3 entries"),
        ("unknown_key", "mse", DICT, {"c": 2}, "path 'c'"),
        ("array", "mse", X[:, 0], np.array([2, 3]), "2 weights for 1 losses"),
        ("array_of_others", "mse", X, np.array([2, 2]), "2 weights for 1"),
        (
            "array_for_three",
            ["mse", "mae", "mape"],
            X[:, 0],
            np.array([2, 2]),
            "2 weights for 3",
        ),
        ("long_array", "mse", X[:, 0], np.array([2, 2, 2]), "3 weights for 1"),
    )
    def test_refusals(self, loss, outputs, weights, text):
        with self.assertRaisesRegex(
            ValueError, f"`loss_weights` must match the number.*{text}"
        ):
            entries(loss, outputs, weights)

    def test_variables_are_kept(self):
        first, second = backend.Variable(2.0), backend.Variable(3.0)
        found, _ = plan(["mse", ["mae", "mape"]], [X, X], [first, second])
        self.assertIs(found[0].loss_weights, first)
        self.assertIs(found[1].loss_weights, second)
        found, _ = plan({"both": both}, DEEP, {"both": first})
        self.assertIs(found[0].loss_weights, first)

    def assertWeighed(self, loss, outputs, weights, expected, total):
        """Checks weights, and what they make of labels of zero."""
        found, targets = plan(loss, outputs, weights)
        self.assertEqual([entry.loss_weights for entry in found], expected)
        leaves = OutputMatcher(outputs).read_batch(None, outputs).predictions
        sums = 0.0
        for (_, loss, weight, _), target in zip(found, targets):
            y_pred = loss_plan.at(target, leaves)
            y_true = tree.map_structure(np.zeros_like, y_pred)
            sums += (1.0 if weight is None else weight) * loss(y_true, y_pred)
        self.assertAllClose(sums, total)

    @parameterized.parameters(
        (None, [None, None], 27.0),
        (3, [3.0, 3.0], 81.0),
        ({"both": 2, "c": 3}, [2.0, 3.0], 59.0),
        ({"both": 2}, [2.0, None], 49.0),
        ({"c": 3}, [None, 3.0], 37.0),
        ({}, [None, None], 27.0),
    )
    def test_weights_of_losses_of_structures(self, weights, expected, total):
        # Raw losses are (11 + 33) / 2 and (1 + 9) / 2.
        loss = {"both": both, "c": "mse"}
        self.assertWeighed(loss, DEEP, weights, expected, total)

    def test_weights_of_a_dict_in_a_list(self):
        loss, outputs = [both, "mse"], [DEEP["both"], X]
        self.assertWeighed(loss, outputs, [2, 3], [2.0, 3.0], 59.0)
        for weights in ([2, 3, 4], [2], {"c": 2}, [[2, 2], 3]):
            with self.assertRaisesRegex(ValueError, "`loss_weights` must"):
                plan(loss, outputs, weights)

    @parameterized.parameters(
        (None, [None, None, None], 29.0),
        ([2, (3, 4)], [2.0, 3.0, 4.0], 44 + 15 + 8),
        ([2, [3, None]], [2.0, 3.0, None], 44 + 15 + 2),
        ([2, 3], [2.0, 3.0, 3.0], 44 + 15 + 6),
        ([None, 3], [None, 3.0, 3.0], 22 + 15 + 6),
    )
    def test_weights_of_a_structure_and_of_what_is_in_it(
        self, weights, expected, total
    ):
        # Raw losses are (11 + 33) / 2, (1 + 9) / 2 and (1 + 3) / 2.
        loss = [pair, ("mse", "mae")]
        self.assertWeighed(loss, (X, X), weights, expected, total)

    @parameterized.parameters(
        ([2, (3, 4, 5)],),
        ([2, (3,)],),
        ([2, {"mse": 3, "mae": 4}],),
        ([2, 3, 4],),
        ({0: 2, 1: 3},),
    )
    def test_weights_of_other_structures(self, weights):
        with self.assertRaisesRegex(ValueError, "`loss_weights` must"):
            plan([pair, ("mse", "mae")], (X, X), weights)

    @parameterized.parameters(
        ([],), ([2, 3],), ({"both": {"a": 2}},), ({"both": [2]},), ({"x": 2},)
    )
    def test_loss_weights_that_are_no_part_of_the_losses(self, weights):
        loss = {"both": both, "c": "mse"}
        with self.assertRaisesRegex(ValueError, "`loss_weights` must") as found:
            entries(loss, DEEP, weights)
        self.assertIn("the structure of `loss`", str(found.exception))


class ChecksTest(testing.TestCase):
    def test_what_takes_a_structure(self):
        for loss in (own_loss, losses.LossFunctionWrapper(own_loss)):
            self.assertTrue(loss_plan.takes_structure(loss))
        for loss in (
            "mse",
            None,
            losses.mean_squared_error,
            losses.Huber(),
            losses.Huber,
        ):
            self.assertFalse(loss_plan.takes_structure(loss))

    def test_what_may_be_a_loss(self):
        for loss in (
            None,
            "mse",
            "CE",
            own_loss,
            {"a": ["mse", None], "b": {"c": losses.Huber(), "d": "Huber"}},
            [],
        ):
            loss_plan.check_losses(loss)
        for loss in ("Mse", 3, {"a": ["mse", "Mse"]}, [None, (0.5,)]):
            with self.assertRaisesRegex(
                ValueError, "Invalid `loss`. Could not interpret loss"
            ):
                loss_plan.check_losses(loss)

    @parameterized.parameters(
        ("mse", [X, X], [0, 1]),
        (None, [X, X], []),
        ([None, "mse"], [X, X], [1]),
        ([[None], ["mse", None]], [X, X], [1]),
        ({"b": "mse"}, DICT, [1]),
        ([both], DICT, [0, 1]),
        ({"both": both}, DEEP, [0, 1]),
        ({"c": "mse", "both": {"b": "mse"}}, DEEP, [1, 2]),
        ([pair, (None, "mse")], (X, X), [0, 1]),
    )
    def test_outputs_with_a_loss(self, loss, outputs, expected):
        found = loss_plan.with_loss(loss, OutputMatcher(outputs))
        self.assertEqual(found, expected)

    @parameterized.parameters(
        # The shapes of the label and of the second output.
        ((2, 3), (2, 1), True),
        ((None, 3), (None, 1), True),
        ((2, 3, 4), (2, 1, 4), True),
        ((2, 3), (2, 3), False),
        ((2, 1), (2, 1), False),
        ((2, 1), (2, 3), False),
        ((2, None), (2, 1), False),
        ((2, 3), (2, None), False),
        # Loss functions bring ranks together.
        ((2,), (2, 1), False),
    )
    def test_a_label_that_is_wider_than_an_output(
        self, label, output, is_refused
    ):
        first, second, y_true = map(KerasTensor, (label, output, label))
        matcher = OutputMatcher([first, second], AB)
        batch = matcher.read_batch(y_true, [first, second])

        def check(loss):
            arguments = (loss, None, matcher, batch, ())
            found, targets = loss_plan.entries(*arguments)
            loss_plan.require_no_broadcast(found, targets, batch, matcher)

        # One of the user's may mean it.
        for loss in (
            own_loss,
            ["mse", own_loss],
            ["mse", None],
            [None, [own_loss, own_loss]],
        ):
            check(loss)
        if not is_refused:
            check("mse")
            return
        for loss in (
            "mse",
            [None, "mse"],
            [own_loss, "mse"],
            [None, [own_loss, "mse"]],
        ):
            with self.assertRaisesRegex(
                ValueError, "`y_true`.* output 'b' has fewer columns"
            ) as found:
                check(loss)
            self.assertIn(f"the shape {output}", str(found.exception))

    @parameterized.parameters((True, True), (True, False), (False, True))
    def test_a_label_or_an_output_of_unknown_rank(self, *are_unknown):
        class Unknown:
            rank = None

        unknown, known = types.SimpleNamespace(shape=Unknown()), np.ones((2, 3))
        y_true, y_pred = (unknown if is_ else known for is_ in are_unknown)
        matcher = OutputMatcher([y_pred, y_pred], AB)
        batch = matcher.read_batch(y_true, [y_pred, y_pred])
        found, targets = loss_plan.entries("mse", None, matcher, batch, ())
        # It may be right.
        loss_plan.require_no_broadcast(found, targets, batch, matcher)

    @parameterized.parameters(
        # The number of entries, the losses, the outputs.
        (1, "mse", X, False),
        (1, {"a": "mse"}, {"a": X}, False),
        (1, ["mse"], [X], False),
        (2, ["mse", "mae"], X, True),
        (2, ["mse", "mae"], [X, X], True),
        (1, ["mse", None], [X, X], True),
        (1, {"a": "mse"}, [X, X], True),
        # Upstream's tests pin the second one of these.
        (1, {"a": "mse", "b": None}, DICT, True),
        (1, {"a": "mse"}, DICT, False),
    )
    def test_what_is_reported(self, count, loss, outputs, expected):
        found = loss_plan.is_reported([None] * count, loss, outputs)
        self.assertIs(found, expected)

    def test_a_raw_loss_that_is_no_number(self):
        matcher = OutputMatcher(DEEP)
        (match, _) = matcher.match(loss_plan.LOSS, {"both": both, "c": "mse"})
        loss = losses.MeanSquaredError(name="mine", reduction=None)
        for target, shown in (
            (2, "'c'"),
            (match.target, "'both/a' and 'both/b'"),
        ):
            error = loss_plan.no_number((2, 1), loss, target, matcher, "mse")
            self.assertEqual(
                str(error),
                f"Invalid `loss`. The loss 'mine' of output {shown} has the "
                "shape (2, 1), with reduction=None. Training needs one "
                "number.\n"
                "Received: loss='mse'\n"
                "Expected a loss with a reduction, such as "
                "'sum_over_batch_size'.",
            )


class TargetsTest(testing.TestCase):
    def setUp(self):
        super().setUp()
        (match,) = OutputMatcher(DEEP).match(loss_plan.LOSS, {"both": both})
        self.node = match.target

    def test_what_stands_there(self):
        leaves = ["p", "q", "r"]
        self.assertEqual(loss_plan.at(2, leaves), "r")
        found = loss_plan.at(self.node, leaves)
        self.assertEqual(found, {"a": "p", "b": "q"})

    def test_sample_weights(self):
        first, second = np.array([2.0, 1.0]), np.array([4.0, 6.0])
        weights = [first, second, None]
        self.assertIs(loss_plan.sample_weight_at(1, weights), second)
        self.assertIsNone(loss_plan.sample_weight_at(2, weights))
        found = loss_plan.sample_weight_at(self.node, weights)
        # (2 + 4) / 2 and (1 + 6) / 2
        self.assertAllClose(found, [3.0, 3.5])
        found = loss_plan.sample_weight_at(self.node, [first, first, None])
        self.assertIs(found, first)
        found = loss_plan.sample_weight_at(self.node, [None, None, second])
        self.assertIsNone(found)

    def test_sample_weights_that_can_t_be_one(self):
        one = np.ones(2)
        for other in (None, np.ones((2, 1)), np.ones(3)):
            with self.assertRaisesRegex(ValueError, "weights of several"):
                loss_plan.sample_weight_at(self.node, [one, other, None])
