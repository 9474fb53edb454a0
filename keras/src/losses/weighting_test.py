"""Tests of how weights line up with what they weigh."""

import numpy as np
from absl.testing import parameterized

from keras.src import ops
from keras.src import testing
from keras.src.losses import weighting


def zeros(*shape):
    return ops.zeros(shape)


class WeightingTest(testing.TestCase):
    @parameterized.parameters(
        ((), (), ()),
        ((), (2, 3), ()),
        ((2,), (2,), (2,)),
        ((2,), (2, 3), (2, 1)),
        ((2, 1), (2,), (2,)),
        ((2, 1, 1), (2, 3), (2, 1)),
        ((1, 3), (2, 3), (1, 3)),
        ((1,), (2, 3), (1, 1)),
        ((1, 1), (2,), (1,)),
        # One number has no shape of its own.
        ((2,), (), (2,)),
        ((2, 3), (), (2, 3)),
        ((2, 1), (), (2, 1)),
    )
    def test_align(self, shape, values, expected):
        aligned = weighting.align(zeros(*shape), values, "sample_weight")
        self.assertEqual(tuple(aligned.shape), expected)

    @parameterized.parameters(
        ((3,), (2, 3)), ((2, 3), (2,)), ((2, 2), (2, 3)), ((2, 3, 2), (2, 3))
    )
    def test_align_refuses(self, shape, values):
        with self.assertRaisesRegex(ValueError, "`mask`"):
            weighting.align(zeros(*shape), values, "mask")

    @parameterized.parameters(
        (None, 0), ((), 0), ((1,), 0), ((2,), 1), ((2, 1), 1), ((1, 3), 2)
    )
    def test_axes_told_apart(self, shape, expected):
        weight = None if shape is None else zeros(*shape)
        self.assertEqual(weighting.axes_told_apart(weight), expected)

    @parameterized.parameters(
        # Labels and predictions, axes of weights, and what becomes of both.
        ((2,), (2,), 1, (2, 1), (2, 1)),
        ((2,), (2,), 2, (2,), (2,)),
        ((2, 3), (2, 3, 1), 2, (2, 3, 1), (2, 3, 1)),
        ((2, 3, 1), (2, 3), 2, (2, 3, 1), (2, 3, 1)),
        ((2, 3), (2, 3, 1), 1, (2, 3), (2, 3, 1)),
        ((2, 3), (2, 3, 4), 2, (2, 3), (2, 3, 4)),
        ((2,), (2, 1), 1, (2,), (2, 1)),
        ((2, 3), (2, 3), 2, (2, 3), (2, 3)),
    )
    def test_keep_apart(self, y_true, y_pred, axes, labels, predictions):
        found = weighting.keep_apart(zeros(*y_true), zeros(*y_pred), axes)
        self.assertEqual([tuple(x.shape) for x in found], [labels, predictions])

    def test_keep_apart_leaves_structures(self):
        y = {"a": zeros(2)}
        self.assertIs(weighting.keep_apart(y, y, 1)[0], y)

    def test_same_ranks_of_structures(self):
        y_true = {"a": zeros(2), "b": zeros(2, 3)}
        y_pred = {"a": zeros(2, 1), "b": zeros(2, 3, 1)}
        labels, predictions = weighting.same_ranks(y_true, y_pred)
        self.assertEqual(tuple(labels["a"].shape), (2, 1))
        self.assertEqual(tuple(predictions["b"].shape), (2, 3))
        # Only the loss can know how these belong together.
        pair = [zeros(2, 1)] * 2
        self.assertIs(weighting.same_ranks(zeros(2), pair)[1], pair)

    def test_both(self):
        first, second = np.array([True, False]), np.array([[True], [True]])
        self.assertIsNone(weighting.both(None, None))
        self.assertIs(weighting.both(first, None), first)
        self.assertIs(weighting.both(None, first), first)
        both = weighting.both(
            ops.convert_to_tensor(first), ops.convert_to_tensor(second)
        )
        self.assertAllEqual(both, [[True], [False]])

    def test_rank_of(self):
        self.assertEqual(weighting.rank_of(zeros(2, 3)), 2)
        self.assertEqual(weighting.rank_of(zeros()), 0)
        self.assertIsNone(weighting.rank_of([1.0]))
