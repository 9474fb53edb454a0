"""Tests of what may be a loss weight, and how it is applied and saved."""

from collections import namedtuple

import ml_dtypes
import numpy as np

from keras.src import backend
from keras.src import ops
from keras.src import testing
from keras.src.trainers import loss_weights

Pair = namedtuple("Pair", ["first", "second"])


class LossWeightsTest(testing.TestCase):
    def test_numbers_become_floats(self):
        given = [1, np.float16(2), np.array(3), True, None]
        if backend.backend() == "numpy":
            # What has a shape is a tensor there, and kept.
            given[1:3] = 2.0, 3
        plain = loss_weights.plain_weights(given)
        self.assertEqual(plain, [1.0, 2.0, 3.0, 1.0, None])
        self.assertEqual({type(x) for x in plain[:4]}, {float})

    def test_an_array_is_a_list_of_weights(self):
        for array in (
            np.array([1, 2]),
            np.array([1, 2], ml_dtypes.bfloat16),
            ops.convert_to_tensor([1.0, 2.0]),
        ):
            (weights,) = loss_weights.plain_weights((array,))
            self.assertIsInstance(weights, loss_weights.WeightArray)
            self.assertEqual(weights, [1.0, 2.0])

    def test_what_is_no_scalar_is_refused(self):
        for weight in ("1", 1j, np.zeros((1, 1)), object()):
            with self.assertRaisesRegex(ValueError, "`loss_weights`.*scalar"):
                loss_weights.plain_weights({"a": weight})
        with self.assertRaisesRegex(ValueError, r"shape \(2,\)"):
            loss_weights.plain_weights([backend.Variable([1.0, 2.0])])

    def test_variables_and_tensors_are_kept(self):
        variable = backend.Variable(2.0)
        tensor = ops.convert_to_tensor(3.0)
        kept = loss_weights.plain_weights([variable, {"a": tensor}, variable])
        self.assertIs(kept[0], variable)
        self.assertIs(kept[1]["a"], tensor)

    def test_handed_weights_are_read_instead(self):
        first, second = backend.Variable(2.0), backend.Variable(3.0)
        weights = loss_weights.HandedWeights(
            [first, 5.0, {"a": second, "b": first}]
        )
        self.assertEqual(
            list(map(id, weights.variables)), [id(first), id(second)]
        )
        self.assertIs(weights.read(first), first)
        with weights.handed([first], ["outer"]):
            self.assertEqual(weights.read(first), "outer")
            self.assertIs(weights.read(second), second)
            self.assertEqual(weights.read(5.0), 5.0)
            self.assertIsNone(weights.read(None))
            with self.assertRaises(ArithmeticError):
                with weights.handed([second], ["inner"]):
                    self.assertEqual(weights.read(second), "inner")
                    raise ArithmeticError
            # A compiled step may be part of another one.
            self.assertEqual(weights.read(first), "outer")
        self.assertIs(weights.read(first), first)

    def test_weigh(self):
        raw = ops.convert_to_tensor(3.0)
        self.assertIs(loss_weights.weigh(raw, None), raw)
        for dtype, weight in (
            ("float32", 2.0),
            ("float32", backend.Variable(2.0, dtype="float16")),
            ("float16", backend.Variable(2.0, dtype="float32")),
        ):
            weighed = loss_weights.weigh(ops.cast(raw, dtype), weight)
            self.assertAllClose(weighed, 6.0)
            self.assertEqual(
                backend.common.standardize_dtype(weighed.dtype), dtype
            )

    def test_what_is_saved_is_plain(self):
        tensor = ops.convert_to_tensor(2.0)
        array = np.ones(2)
        given = Pair({"a": backend.Variable(2.0)}, [None, 3, Pair(1.0, tensor)])
        kept = loss_weights.current_loss_weights([array, given])[0]
        self.assertIs(kept, array)
        saved = loss_weights.current_loss_weights(given)
        self.assertEqual(saved, ({"a": 2.0}, [None, 3, (1.0, 2.0)]))
        self.assertIs(type(saved), tuple)
        for one in (saved[0]["a"], saved[1][2][1]):
            self.assertIs(type(one), float)
        self.assertIs(type(saved[1][2]), tuple)
