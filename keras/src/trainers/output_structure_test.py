"""Tests of containers as data."""

from collections import OrderedDict
from collections import namedtuple

import numpy as np

from keras.src import testing
from keras.src.trainers import output_structure

Pair = namedtuple("Pair", ["first", "second"])
SERIALIZED = {"class_name": "Mean", "config": {"name": "mean"}}


class OutputStructureTest(testing.TestCase):
    def test_a_serialized_object_is_no_container(self):
        for container in ({}, [], (), Pair(1, 2), {"class_name": 1}):
            self.assertTrue(output_structure.is_container(container))
        for leaf in (None, "mse", 1.0, np.zeros(2), SERIALIZED):
            self.assertFalse(output_structure.is_container(leaf))

    def test_kinds(self):
        for container, kind in (
            (OrderedDict(), dict),
            ([], list),
            ((), tuple),
            (Pair(1, 2), Pair),
            (type("Wrapped", (tuple,), {})(), tuple),
        ):
            self.assertIs(output_structure.kind_of(container), kind)

    def test_leaves_come_in_the_order_of_keras_tree(self):
        structure = {"b": [1, None], "a": Pair(2, SERIALIZED)}
        self.assertEqual(
            output_structure.flatten_with_paths(structure),
            [
                (("a", 0), 2),
                (("a", 1), SERIALIZED),
                (("b", 0), 1),
                (("b", 1), None),
            ],
        )
        ordered = OrderedDict([("b", 1), ("a", 2)])
        self.assertEqual(
            output_structure.flatten_with_paths(ordered),
            [(("b",), 1), (("a",), 2)],
        )

    def test_signatures_tell_what_reads_differently_apart(self):
        different = [
            1,
            None,
            [1],
            (1,),
            [1, None],
            {"a": 1},
            {"b": 1},
            {"a": [1]},
            OrderedDict(a=1),
        ]
        signatures = list(map(output_structure.signature, different))
        self.assertLen(set(signatures), len(different))
        self.assertEqual(
            output_structure.signature({"a": [1, 2]}),
            output_structure.signature({"a": [np.zeros(3), 4]}),
        )

    def test_keys_of_several_types(self):
        # Which can't be sorted together.
        self.assertEqual(
            output_structure.flatten_with_paths({"b": 1, 0: 2, "a": 3}),
            [((0,), 2), (("a",), 3), (("b",), 1)],
        )

    def test_unique_names(self):
        self.assertEqual(
            output_structure.unique_names(
                ["h", "h", "h_1", "x"], ["_loss"] * 4, taken={"x_loss"}
            ),
            ["h_loss", "h_2_loss", "h_1_loss", "x_1_loss"],
        )

    def test_describe(self):
        self.assertEqual(
            output_structure.describe({"a": [np.zeros((2, 3)), "mse"]}),
            "{'a': [<ndarray of shape (2, 3)>, 'mse']}",
        )

    def test_pack_and_below(self):
        node = output_structure.Node(Pair, (0, 1), (1, 0), ())
        root = output_structure.Node(dict, ("x", "y"), (node, 2), ())
        self.assertEqual(output_structure.below(root), [1, 0, 2])
        self.assertEqual(
            root.pack(["p", "q", "r"]), {"x": Pair("q", "p"), "y": "r"}
        )

    def test_places(self):
        place = output_structure.Place
        self.assertEqual(
            output_structure.places_of({"a": [1, (None, 2)], "b": Pair(3, [])}),
            {
                "a": [place(("a", 0)), (None, place(("a", 1, 1)))],
                "b": (place(("b", 0)), []),
            },
        )
        self.assertEqual(output_structure.places_of(1), place(()))

    def test_only_a_plain_dict_hides_its_order(self):
        for structure, is_ordered in (
            (1, True),
            ([1, {"a": 2}], True),
            (OrderedDict(b=1, a=2), True),
            ({"a": 1, "b": 2}, False),
            ([{"a": 1, "b": 2}], False),
            ([{"a": 1, "b": 2}, 3], False),
        ):
            self.assertEqual(output_structure.is_ordered(structure), is_ordered)
