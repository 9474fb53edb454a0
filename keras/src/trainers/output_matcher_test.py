"""Tests of the one rule that matches arguments to outputs.

Outputs are zeros here, since only their structure is looked at, and what is
matched to them are strings.
"""

from collections import OrderedDict
from collections import namedtuple

import numpy as np
from absl.testing import parameterized

from keras.src import testing
from keras.src.trainers.argument_errors import UnknownOutputError
from keras.src.trainers.output_matcher import SAMPLE_WEIGHT
from keras.src.trainers.output_matcher import Y_TRUE
from keras.src.trainers.output_matcher import Argument
from keras.src.trainers.output_matcher import Batch
from keras.src.trainers.output_matcher import OutputMatcher
from keras.src.trainers.output_structure import Node
from keras.src.trainers.output_structure import below

ONE = Argument("one")
SEVERAL = Argument("several", several=True)
# Of losses, those in upper case can take several outputs as a whole.
LOSS = Argument("loss", several=True, takes_structure=str.isupper)

Pair = namedtuple("Pair", ["first", "second"])
AB = ["a", "b"]
DICT = {"a": 0, "b": 0}
# Its outputs are called `a/x`, `a/y` and `b`.
DEEP = {"a": {"x": 0, "y": 0}, "b": 0}
# `a/0`, `a/1` and `b`, if the model has no names for them.
DEEP_LIST = {"a": [0, 0], "b": 0}


def matched(argument, value, outputs, names=None, labelled=None):
    """Targets, items and paths; of several outputs, the target is a tuple."""
    find = None if labelled is None else lambda matcher: labelled
    matcher = OutputMatcher(outputs, names, find)
    return [
        (tuple(below(target)) if isinstance(target, Node) else target, *rest)
        for target, *rest in matcher.match(argument, value)
    ]


class OutputsTest(testing.TestCase):
    @parameterized.named_parameters(
        ("one", 0, None, [()], [None]),
        ("one_named", 0, ["a"], [()], ["a"]),
        ("list", [0, 0], None, [(0,), (1,)], [None, None]),
        ("list_named", [0, 0], AB, [(0,), (1,)], AB),
        ("equal_names", (0, 0), ["a", "a"], [(0,), (1,)], ["a", "a_1"]),
        ("names_of_others", [0, 0], ["a"], [(0,), (1,)], [None, None]),
        ("pair", Pair(0, 0), AB, [(0,), (1,)], AB),
        ("dict", {"b": 0, "a": 0}, None, [("a",), ("b",)], AB),
        # The order of the model.
        ("dict_named", DICT, ["b", "a"], [("b",), ("a",)], ["b", "a"]),
        # Its keys are what users wrote.
        ("other_names", DICT, ["x", "y"], [("a",), ("b",)], AB),
        (
            "ordered",
            OrderedDict(b=0, a=0),
            None,
            [("b",), ("a",)],
            ["b", "a"],
        ),
        ("numbers", {2: 0, 1: 0}, None, [(1,), (2,)], ["1", "2"]),
        (
            "deep",
            DEEP,
            None,
            [("a", "x"), ("a", "y"), ("b",)],
            ["a/x", "a/y", "b"],
        ),
        (
            "deep_list",
            DEEP_LIST,
            None,
            [("a", 0), ("a", 1), ("b",)],
            ["a/0", "a/1", "b"],
        ),
        (
            "deep_list_named",
            DEEP_LIST,
            ["p", "q", "r"],
            [("a", 0), ("a", 1), ("b",)],
            ["a/p", "a/q", "b"],
        ),
        (
            "list_of_dicts",
            [{"a": 0}, {"a": 0}],
            None,
            [(0, "a"), (1, "a")],
            ["a", "a_1"],
        ),
        ("lists", [[0], 0], None, [(0, 0), (1,)], [None, None]),
        ("lists_named", [[0], 0], AB, [(0, 0), (1,)], AB),
    )
    def test_names(self, outputs, model_names, paths, names):
        matcher = OutputMatcher(outputs, model_names)
        self.assertEqual(matcher.paths, paths)
        self.assertEqual(matcher.names, names)
        self.assertLen(matcher, len(paths))
        has_names = model_names is not None and len(model_names) == len(paths)
        self.assertEqual(
            matcher.model_names, model_names if has_names else None
        )

    @parameterized.parameters(
        (0, True, False),
        ([0, 0], True, False),
        (DICT, True, True),
        (DEEP, False, True),
        ([DICT], False, False),
    )
    def test_kinds(self, outputs, is_flat, is_dict):
        matcher = OutputMatcher(outputs)
        self.assertEqual(matcher.is_flat, is_flat)
        self.assertEqual(matcher.is_dict, is_dict)

    @parameterized.parameters(
        # Outputs, the model's names, and a name for each as Keras 3.15.1 has
        # it, where `?` is the name of a loss.
        (0, None, "?"),
        (0, ["a"], "a"),
        ([0, 0], None, "? ?"),
        ([0, 0], AB, "a b"),
        (DICT, None, "a b"),
        (DEEP, None, "a/x a/y b"),
        (DEEP, ["p", "q", "r"], "a/x a/y b"),
        (DEEP_LIST, None, "a/? a/? b"),
        (DEEP_LIST, ["p", "q", "r"], "a/p a/q b"),
        ([{"a": 0}, {"b": 0}], None, "0/a 1/b"),
        ([{"a": 0}, {"b": 0}], AB, "0/a 1/b"),
        ({"u": ([0], [0, 0])}, None, "u/0/? u/1/? u/1/?"),
        ({"q": [{"a": 0}, 0]}, AB, "q/0/a q/b"),
        ([0, [0, 0]], None, "? 1/? 1/?"),
        ([0, [0, 0]], ["a", "b", "c"], "a 1/b 1/c"),
        ({"a": {0: 0, 1: 0}}, None, "a/0 a/1"),
    )
    def test_logged_path(self, outputs, model_names, expected):
        matcher = OutputMatcher(outputs, model_names)
        paths = map(matcher.logged_path, range(len(matcher)))
        found = [
            "/".join("?" if x is None else str(x) for x in path)
            for path in paths
        ]
        self.assertEqual(" ".join(found), expected)

    def test_logged_path_of_sub_structures(self):
        def target_of(outputs, names=None):
            matcher = OutputMatcher(outputs, names)
            value = ["F"] if isinstance(outputs, list) else {"a": "F"}
            match, *_ = matcher.match(LOSS, value)
            path = matcher.path_of(match.target)
            return list(matcher.logged_path(match.target)), path

        self.assertEqual(target_of({"a": [0, 0]}), (["a"], ("a",)))
        self.assertEqual(target_of(DEEP), (["a"], ("a",)))
        self.assertEqual(target_of([[0, 0]], AB), ([0], (0,)))
        # The outputs as a whole.
        self.assertEqual(target_of([{"x": 0, "y": 0}]), ([0], (0,)))
        matcher = OutputMatcher({"a": 0, "b": 0})
        (match,) = matcher.match(LOSS, ["F"])
        self.assertEqual(matcher.logged_path(match.target), ["a_b"])

    def test_names_of_outputs(self):
        matcher = OutputMatcher([0, [0, 0]], ["a", "b", "c"])
        self.assertEqual(matcher.path_of(2), (1, 1))
        self.assertEqual(matcher.display_name(2), "'c'")
        matcher = OutputMatcher([0, 0])
        self.assertEqual(matcher.display_name(1), "1")

    @parameterized.parameters(
        (
            0,
            None,
            "one value for the only output; or the structure of the outputs, "
            "*.",
        ),
        (
            [0, 0],
            None,
            "one for each of the 2 outputs, in this order; or the structure "
            "of the outputs, [*, *].",
        ),
        (
            (0, 0),
            AB,
            "one for each of the 2 outputs ['a', 'b'], in this order; or a "
            "dict with keys from ['a', 'b']; or the structure of the outputs, "
            "(*, *).",
        ),
        (
            DICT,
            None,
            "one for each of the 2 outputs ['a', 'b'] by name; or a dict with "
            "keys from ['a', 'b']; or the structure of the outputs, "
            "{'a': *, 'b': *}.",
        ),
    )
    def test_what_is_expected(self, outputs, names, expected):
        self.assertEqual(OutputMatcher(outputs, names).expected(), expected)


class MatchTest(testing.TestCase):
    @parameterized.named_parameters(
        ("one", 0, None),
        ("list", [0, 0], None),
        ("dict", DICT, ["b", "a"]),
        ("deep", DEEP, None),
    )
    def test_a_leaf_is_for_each_output(self, outputs, names):
        count = len(OutputMatcher(outputs))
        for argument in (ONE, SEVERAL, Y_TRUE):
            for leaf in ("p", None):
                self.assertEqual(
                    matched(argument, leaf, outputs, names),
                    [(index, leaf, ()) for index in range(count)],
                )

    @parameterized.named_parameters(
        ("list", [0, 0], ["p", "q"], [(0, "p", (0,)), (1, "q", (1,))]),
        (
            "tuple_of_list",
            (0, 0),
            ["p", None],
            [(0, "p", (0,)), (1, None, (1,))],
        ),
        (
            "list_of_pair",
            Pair(0, 0),
            ["p", "q"],
            [(0, "p", (0,)), (1, "q", (1,))],
        ),
        (
            "pair_of_list",
            [0, 0],
            Pair("p", "q"),
            [(0, "p", (0,)), (1, "q", (1,))],
        ),
        (
            "dict",
            DICT,
            {"b": "q", "a": "p"},
            [(1, "q", ("b",)), (0, "p", ("a",))],
        ),
        ("some_keys", DICT, {"b": "q"}, [(1, "q", ("b",))]),
        ("no_keys", DICT, {}, []),
        (
            "deep",
            DEEP,
            {"a": {"y": "q"}, "b": "r"},
            [(1, "q", ("a", "y")), (2, "r", ("b",))],
        ),
        (
            "for_all_below",
            DEEP,
            {"a": "p"},
            [(0, "p", ("a",)), (1, "p", ("a",))],
        ),
        (
            "deep_list",
            DEEP_LIST,
            {"a": ("p", "q")},
            [(0, "p", ("a", 0)), (1, "q", ("a", 1))],
        ),
        (
            "dicts_in_a_list",
            [{"a": 0}, {"a": 0}],
            [{"a": "p"}, {}],
            [(0, "p", (0, "a"))],
        ),
    )
    def test_the_structure_of_the_outputs(self, outputs, value, expected):
        for argument in (ONE, SEVERAL):
            self.assertEqual(matched(argument, value, outputs), expected)

    def test_the_structure_in_the_order_of_the_model(self):
        found = matched(ONE, {"a": "p", "b": "q"}, DICT, ["b", "a"])
        self.assertEqual(found, [(1, "p", ("a",)), (0, "q", ("b",))])

    @parameterized.named_parameters(
        ("list", [0, 0], AB, {"b": "q", "a": "p"}, [1, 0]),
        ("some", [0, 0], AB, {"b": "q"}, [1]),
        ("one", 0, ["a"], {"a": "p"}, [0]),
        ("equal_names", [0, 0], ["a", "a"], {"a_1": "q"}, [1]),
        ("deep", DEEP, None, {"a/y": "q", "b": "r"}, [1, 2]),
        ("deep_list", DEEP_LIST, None, {"a/1": "q"}, [1]),
        ("lists", [[0], 0], AB, {"a": "p"}, [0]),
    )
    def test_a_dict_of_names(self, outputs, names, value, indices):
        expected = [
            (index, item, (key,))
            for index, (key, item) in zip(indices, value.items())
        ]
        for argument in (ONE, SEVERAL):
            self.assertEqual(matched(argument, value, outputs, names), expected)

    @parameterized.named_parameters(
        ("dict", DICT, ["b", "a"]),
        ("ordered", OrderedDict(b=0, a=0), None),
        ("nested", {"d": OrderedDict(b=0, a=0)}, None),
        ("lists", [[0], [0]], None),
    )
    def test_a_flat_list(self, outputs, names):
        """It is in the order of the model."""
        for value in (["p", "q"], ("p", "q")):
            self.assertEqual(
                matched(ONE, value, outputs, names),
                [(0, "p", (0,)), (1, "q", (1,))],
            )

    def test_a_flat_list_for_outputs_in_no_order(self):
        for outputs in (DICT, {"d": {"b": 0, "a": 0}}):
            with self.assertRaisesRegex(ValueError, "`one`.*order the model"):
                matched(ONE, ["p", "q"], outputs)

    def test_several_for_one_output(self):
        for value, expected in (
            (["p", "q"], [(0, ["p", "q"], ())]),
            (["p"], [(0, "p", (0,))]),
            ([], [(0, [], ())]),
            # Whatever it is called.
            ({"any": "p"}, [(0, "p", ("any",))]),
            ({"any": ["p", "q"]}, [(0, ["p", "q"], ("any",))]),
        ):
            for argument in (SEVERAL, LOSS):
                self.assertEqual(matched(argument, value, 0), expected)
        for value in (["p", "q"], [], {"any": "p"}):
            with self.assertRaisesRegex(ValueError, "`one`"):
                matched(ONE, value, 0)
        # Two of that name there are not, and another one is known.
        with self.assertRaises(UnknownOutputError):
            matched(SEVERAL, {"any": "p", "other": "q"}, 0)
        with self.assertRaises(UnknownOutputError):
            matched(SEVERAL, {"any": "p"}, 0, ["a"])

    def test_several_for_each_of_two(self):
        for value, outputs, path in (
            ([["p", "q"], "r"], [0, 0], 0),
            ({"a": ["p", "q"], "b": "r"}, DICT, "a"),
        ):
            first, second = matched(SEVERAL, value, outputs)
            self.assertEqual(first, (0, ["p", "q"], (path,)))
            self.assertEqual(second[:2], (1, "r"))
            with self.assertRaisesRegex(ValueError, "a list where output"):
                matched(ONE, value, outputs)
            value = {"a": [["p"], "q"]} if path == "a" else [[["p"], "q"], "r"]
            with self.assertRaisesRegex(ValueError, "a list where output"):
                matched(SEVERAL, value, outputs)

    @parameterized.parameters(
        # Also where the whole list has the outputs' number of entries.
        (["F"], DICT, [((0, 1), "F", (0,))]),
        (("F",), DEEP, [((0, 1, 2), "F", (0,))]),
        ({"a": "F", "b": "p"}, DEEP, [((0, 1), "F", ("a",)), (2, "p", ("b",))]),
        # Each by itself.
        ({"a": "p"}, DEEP, [(0, "p", ("a",)), (1, "p", ("a",))]),
        ("F", DICT, [(0, "F", ()), (1, "F", ())]),
        (["F"], {"a": 0}, [(0, "F", (0,))]),
        (
            ["F", ("p", "q")],
            (0, 0),
            [((0, 1), "F", (0,)), (0, "p", (1, 0)), (1, "q", (1, 1))],
        ),
        (
            ("F", None, ["p", "q"]),
            [0, 0],
            [((0, 1), "F", (0,)), (0, "p", (2, 0)), (1, "q", (2, 1))],
        ),
        (
            ["F", {"x": "p"}],
            {"x": 0, "y": 0},
            [((0, 1), "F", (0,)), (0, "p", (1, "x"))],
        ),
        # The outputs' own kind of container goes entry by entry, and so does
        # one whose losses take no structure.
        (("F", ("p", "q")), (0, 0), [(0, "F", (0,)), (1, ("p", "q"), (1,))]),
        (["p", ("p", "q")], (0, 0), [(0, "p", (0,)), (1, ("p", "q"), (1,))]),
        (["F", ["p", "q"]], (0, 0), [(0, "F", (0,)), (1, ["p", "q"], (1,))]),
        # Nor does one for three.
        (["F", ("p",) * 3], (0, 0), [(0, "F", (0,)), (1, ("p",) * 3, (1,))]),
    )
    def test_losses_of_structures(self, value, outputs, expected):
        self.assertEqual(matched(LOSS, value, outputs), expected)

    def test_only_losses_take_structures(self):
        for value in (["F"], ("F",)):
            with self.assertRaisesRegex(ValueError, "1 entries for 2 outputs"):
                matched(SEVERAL, value, DICT)
        with self.assertRaisesRegex(ValueError, "1 entries for 2 outputs"):
            matched(LOSS, ["p"], DICT)
        with self.assertRaisesRegex(ValueError, "1 entries for 2 outputs"):
            matched(LOSS, ["F"], [0, 0])
        # All that stand beside a tuple have to.
        with self.assertRaisesRegex(ValueError, "3 entries for 2 outputs"):
            matched(LOSS, ["F", "p", ("q", "r")], (0, 0))
        with self.assertRaisesRegex(ValueError, "3 entries for 2 outputs"):
            matched(LOSS, ["F", ("q", "r"), "p"], (0, 0))
        # And one has to be there.
        with self.assertRaisesRegex(ValueError, "1 entries for 2 outputs"):
            matched(LOSS, [("q", "r")], (0, 0))

    def test_lists_for_only_those_that_have_a_loss(self):
        for argument in (Y_TRUE, SAMPLE_WEIGHT):
            found = matched(argument, ["p", "q"], [0, 0, 0], None, [0, 2])
            self.assertEqual(found, [(0, "p", (0,)), (2, "q", (1,))])
        # A full list is one for all.
        found = matched(Y_TRUE, ["p", "q"], [0, 0], None, [1])
        self.assertEqual(found, [(0, "p", (0,)), (1, "q", (1,))])
        for argument, labelled in (
            (ONE, [0, 2]),
            (Y_TRUE, [0]),
            (Y_TRUE, None),
        ):
            with self.assertRaisesRegex(ValueError, "2 entries for 3 outputs"):
                matched(argument, ["p", "q"], [0, 0, 0], None, labelled)

    def test_what_has_a_loss_is_asked_once(self):
        asked = []

        def find(matcher):
            asked.append(matcher)
            return [1]

        matcher = OutputMatcher([0, 0], None, find)
        matcher.match(Y_TRUE, "p")
        self.assertEmpty(asked)
        self.assertEqual((matcher.labelled, matcher.labelled), ([1], [1]))
        self.assertLen(asked, 1)
        self.assertIs(asked[0], matcher)
        self.assertEqual(OutputMatcher([0]).labelled, [])

    def test_further_keys(self):
        taking = Y_TRUE._replace(further_keys=True)
        for value in ({"a": "p", "other": "q"}, {"other": "q", "a": "p"}):
            found = matched(taking, value, DICT)
            self.assertEqual(found, [(0, "p", ("a",))])
            found = matched(taking, value, [0, 0], AB)
            self.assertEqual(found, [(0, "p", ("a",))])
        value = {"a": {"x": "p"}, "b": "r", "other": "q"}
        found = matched(taking, value, DEEP)
        self.assertEqual(found, [(0, "p", ("a", "x")), (2, "r", ("b",))])
        self.assertEqual(list(value), ["a", "b", "other"])
        self.assertEqual(matched(taking, {"other": "q"}, 0, ["a"]), [])


class RefusalTest(testing.TestCase):
    @parameterized.named_parameters(
        ("count", ["p"], [0, 0], None, "There are 1 entries for 2 outputs"),
        ("too_many", ["p"] * 3, DICT, None, "There are 3 entries for 2"),
        ("empty", [], [0, 0], None, "There are 0 entries for 2"),
        ("of_one", ["p", "q"], 0, None, "There are 2 entries for 1"),
        (
            "count_below",
            {"a": ["p"]},
            DEEP_LIST,
            None,
            "There are 1 entries at 'a' for 3",
        ),
        ("key", {"c": "p"}, [0, 0], AB, r"path 'c' in .*keys: \['a', 'b'\]"),
        ("key_of_dict", {"a": "p", "c": "q"}, DICT, None, "The path 'c' in"),
        ("no_names", {"a": "p"}, [0, 0], None, "no keys: the outputs have no"),
        # Not the one that is right.
        ("second_key", {"a": "p", "c": "q"}, DEEP, None, "The path 'c' in"),
        ("key_below", {"a": {"z": "p"}}, DEEP, None, "The path 'a/z' in"),
        (
            "second_key_below",
            {"a": {"x": "p", "z": "p"}},
            DEEP,
            None,
            "The path 'a/z' in",
        ),
        (
            "key_in_a_list",
            {"a": {"z": "p"}},
            DEEP_LIST,
            None,
            "The path 'a/z' in",
        ),
        (
            "positions_as_keys",
            {"a": {0: "p", 1: "q"}},
            DEEP_LIST,
            None,
            "The path 'a/0' in",
        ),
        (
            "too_deep",
            {"a": {"z": "p"}},
            DICT,
            None,
            "The path 'a/z' can't be found.*'a' is a single",
        ),
        (
            "too_deep_by_name",
            {"a": {"z": "p"}},
            [0, 0],
            AB,
            "The path 'a/z' can't be found.*'a' is a single",
        ),
        ("nested", [["p"], "q"], [0, 0], None, "a list where output 0 has"),
        ("nested_name", [["p"], "q"], [0, 0], AB, "where output 'a' has"),
    )
    def test_text(self, value, outputs, names, text):
        with self.assertRaisesRegex(ValueError, f"(?s)Invalid `one`.*{text}"):
            matched(ONE, value, outputs, names)

    def test_an_unknown_key_is_a_key_error_too(self):
        with self.assertRaises(KeyError):
            matched(ONE, {"c": "p"}, DICT)

    def test_what_is_shown(self):
        matcher = OutputMatcher([0, 0])
        with self.assertRaisesRegex(ValueError, r"Received: one=\['p'\]\n"):
            matcher.match(ONE, ["p"])
        with self.assertRaisesRegex(ValueError, "Received: one='given'\n"):
            matcher.match(ONE, ["p"], shown="given")

    def test_a_label_that_is_too_deep(self):
        matcher = OutputMatcher([0, 0])
        for label in ([np.zeros(2)], {"b": np.zeros(2)}):
            with self.assertRaisesRegex(ValueError, "`y_true`"):
                matcher.read(Y_TRUE, [np.zeros(2), label])

    def test_errors_show_the_containers(self):
        with self.assertRaisesRegex(ValueError, r"y_true=\[1, \(2, 3\)\]\n"):
            OutputMatcher((0, 0)).read(Y_TRUE, [1, (2, 3)])

    def test_errors_show_the_first_key_that_is_too_deep(self):
        value = {"a": {"x": "mse", "y": "mse"}, "b": "mse"}
        with self.assertRaisesRegex(ValueError, "The path 'a/x' can't"):
            matched(LOSS, value, DICT)

    def test_missing_labels(self):
        matcher = OutputMatcher([0, 0])
        matcher.require_labels("loss", ["p", None], [0], "p")
        matcher.require_labels("loss", [None, None], [], None)
        with self.assertRaisesRegex(
            ValueError,
            "Invalid `y_true`. Output 1 has a loss, and no label.\n"
            r"Received: y_true=\['p', None\]\nExpected one for each",
        ):
            matcher.require_labels("loss", ["p", None], [0, 1], ["p", None])
        with self.assertRaisesRegex(ValueError, "Output 'b' has a metric"):
            OutputMatcher(DICT).require_labels("metric", [0, None], {1: 0}, 0)

    def test_other_outputs_than_at_first(self):
        known = OutputMatcher([0, 0], AB)
        for outputs, names in (((0, 0), AB), (DICT, None)):
            matcher = OutputMatcher(outputs, names)
            matcher.require_same_outputs([known], outputs)
            matcher.require_same_outputs([], outputs)
        for outputs, names in (
            ([0], ["a"]),
            ([0, 0], ["b", "a"]),
            (DEEP, None),
        ):
            with self.assertRaisesRegex(
                ValueError, r"(?s)Invalid `y_pred`.*Expected .*\['a', 'b'\]"
            ):
                matcher = OutputMatcher(outputs, names)
                matcher.require_same_outputs([known], outputs)


class ReadTest(testing.TestCase):
    @parameterized.named_parameters(
        ("none", DICT, None, [None, None]),
        ("leaf", DICT, "p", ["p", "p"]),
        ("dict", DICT, {"b": "q", "a": "p"}, ["p", "q"]),
        ("some_keys", DICT, {"b": "q"}, [None, "q"]),
        ("none_among_others", [0, 0], [None, "q"], [None, "q"]),
        ("tuple", [0, 0], ("p", "q"), ["p", "q"]),
        ("deep", DEEP, {"a": {"y": "q"}, "b": "r"}, [None, "q", "r"]),
        ("names", DEEP, {"a/y": "q"}, [None, "q", None]),
        ("below", DEEP, {"a": "p"}, ["p", "p", None]),
        ("all", [[0, 0], [0]], [["p", "q"], ["r"]], ["p", "q", "r"]),
        ("one", 0, "p", ["p"]),
        ("one_in_a_list", 0, ["p"], ["p"]),
    )
    def test_a_leaf_for_each_output(self, outputs, data, expected):
        matcher = OutputMatcher(outputs)
        # The second time, it is known where they stand.
        for _ in range(2):
            self.assertEqual(matcher.read(Y_TRUE, data), expected)

    def test_the_next_batch(self):
        matcher = OutputMatcher(DICT, ["b", "a"])
        for data, expected in (
            ({"a": "p", "b": "q"}, ["q", "p"]),
            ({"a": "r", "b": "s"}, ["s", "r"]),
            ({"a": "r", "b": None}, [None, "r"]),
            (["s", "r"], ["s", "r"]),
            ({"a": "r", "b": "s"}, ["s", "r"]),
            ("t", ["t", "t"]),
        ):
            self.assertEqual(matcher.read(Y_TRUE, data), expected)

    def test_the_same_data_for_another_argument(self):
        matcher = OutputMatcher([0, 0, 0], None, lambda matcher: [0, 2])
        data = ["p", "q"]
        self.assertEqual(matcher.read(Y_TRUE, data), ["p", None, "q"])
        with self.assertRaisesRegex(ValueError, "`other`"):
            matcher.read(Argument("other"), data)

    def test_a_batch(self):
        matcher = OutputMatcher(DICT, ["b", "a"])
        y_true, y_pred = ["s", "r"], {"a": "p", "b": "q"}
        self.assertEqual(
            matcher.read_batch(y_true, y_pred, {"a": "w"}),
            Batch(["s", "r"], ["q", "p"], [None, "w"]),
        )
        y_pred = {"a": "t", "b": "u"}
        self.assertEqual(
            matcher.read_batch(None, y_pred),
            Batch([None, None], ["u", "t"], [None, None]),
        )
        # Of labels, as the argument says.
        y_true = {"a": "r", "other": "x"}
        with self.assertRaisesRegex(ValueError, "`y_true`.*path 'other'"):
            matcher.read_batch(y_true, y_pred)
        taking = Y_TRUE._replace(further_keys=True)
        found = matcher.read_batch(y_true, y_pred, None, taking)
        self.assertEqual(found.labels, [None, "r"])

    def test_weights_that_do_not_match(self):
        matcher = OutputMatcher([0, 0])
        with self.assertRaisesRegex(ValueError, "Invalid `sample_weight`"):
            matcher.read_batch("p", ["p", "q"], ["v", "w", "x"])
