"""Tests of how weights line up with what they weigh."""

import numpy as np
import pytest
from absl.testing import parameterized

from keras.src import backend
from keras.src import ops
from keras.src import testing
from keras.src.backend.common.variables import standardize_dtype
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
        ((1, 2, 1), (3, 2), (1, 2)),
        # Of a size that is not known yet.
        ((2, 3), (None, None), (2, 3)),
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
        for given in ((y, y), (y, zeros(2)), (zeros(2), y)):
            found = weighting.keep_apart(*given, 1)
            self.assertEqual(list(map(id, found)), list(map(id, given)))

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

    @parameterized.parameters(
        # What there is, and what becomes of both.
        ((2, 1), (2,), (2, 1), (2, 1)),
        ((2,), (2, 1), (2, 1), (2, 1)),
        ((2, 3, 1), (2, 3), (2, 3), (2, 3)),
        ((2, 3), (2, 3, 1), (2, 3), (2, 3)),
        ((1,), (), (), ()),
        ((2, 1), (2, 1), (2, 1), (2, 1)),
        ((2, 3), (2,), (2, 3), (2,)),
        ((2,), (2, 1, 1), (2,), (2, 1, 1)),
    )
    def test_squeeze_or_expand(self, shape1, shape2, expected1, expected2):
        found = weighting.squeeze_or_expand_to_same_rank(
            zeros(*shape1), zeros(*shape2)
        )
        self.assertEqual(
            [tuple(x.shape) for x in found], [expected1, expected2]
        )

    def test_squeeze_rather_than_expand(self):
        for shapes in (((2, 1), (2,)), ((2,), (2, 1))):
            found = weighting.squeeze_or_expand_to_same_rank(
                *(zeros(*shape) for shape in shapes), expand_rank_1=False
            )
            self.assertEqual([tuple(x.shape) for x in found], [(2,), (2,)])

    @parameterized.parameters(
        ((2, 1), (2,), (2,)),
        ((2, 3, 1), (2, 3), (2, 3, 1)),
        ((2, 3, 4), (2, 3), (2, 3)),
        ((2, 1), (2, 3), (2, 3)),
        ((2, 3, 1, 1), (2, 3), (2, 3)),
    )
    def test_with_axis_of(self, other, shape, expected):
        found = weighting.with_axis_of(zeros(*other), zeros(*shape))
        self.assertEqual(tuple(found.shape), expected)

    @parameterized.parameters(((), 1), ((4,), 4), ((2, 3), 6), ((2, 0), 0))
    def test_size(self, shape, expected):
        self.assertEqual(int(weighting.size(zeros(*shape))), expected)

    @pytest.mark.skipif(
        backend.backend() != "tensorflow", reason="about unknown shapes"
    )
    def test_size_at_run_time(self):
        import tensorflow as tf

        for shape in ([None, 3], [2, None], [None, None]):
            spec = tf.TensorSpec(shape, "float32")
            size = tf.function(weighting.size, [spec])
            self.assertEqual(int(size(zeros(2, 3))), 6)

    def test_cast(self):
        x = ops.ones((2,), "float32")
        self.assertIs(weighting.cast(x, "float32"), x)
        self.assertTrue(weighting.is_converted(x, "float32"))
        for other, dtype in ((x, "float16"), ([1.0, 1.0], "float32")):
            self.assertFalse(weighting.is_converted(other, dtype))
            found = weighting.cast(other, dtype)
            self.assertEqual(standardize_dtype(found.dtype), dtype)
            self.assertAllClose(ops.cast(found, "float32"), [1.0, 1.0])

    def test_map_leaves(self):
        x = zeros(2)
        self.assertEqual(weighting.map_leaves(len, x), 2)
        found = weighting.map_leaves(len, {"a": x, "b": [zeros(3)]})
        self.assertEqual(found, {"a": 2, "b": [3]})

    @parameterized.product(
        # Of four samples, the mask leaves three.
        case=[
            ([1, 0, 1, 1], None, [1, 0, 1, 1]),
            ([1, 0, 1, 1], [2, 3, 4, 0], [2, 0, 4, 0]),
            ([1, 0, 1, 1], [[2], [3], [4], [0]], [[2], [0], [4], [0]]),
            ([[1], [0], [1], [1]], [2, 3, 4, 0], [[2], [0], [4], [0]]),
            ([1, 0, 1, 1], [[2, 1]] * 4, [[2, 1], [0, 0], [2, 1], [2, 1]]),
            ([[1, 0], [1, 1]], [2, 3], [[2, 0], [3, 3]]),
            ([[1, 0], [1, 1]], 2, [[2, 0], [2, 2]]),
        ],
        reduction=["sum", "mean", "sum_over_batch_size"],
        dtype=["float16", "float32"],
    )
    def test_apply_mask(self, case, reduction, dtype):
        mask, weight, expected = case
        expected = np.array(expected, "float32")
        if reduction != "sum":
            # They are averaged over four, but three are left.
            expected = expected * (4 / 3)
        found = weighting.apply_mask(
            None
            if weight is None
            else ops.convert_to_tensor(weight, "float32"),
            ops.convert_to_tensor(mask, "bool"),
            dtype,
            reduction,
        )
        self.assertEqual(standardize_dtype(found.dtype), dtype)
        self.assertEqual(tuple(found.shape), expected.shape)
        self.assertAllClose(
            ops.cast(found, "float32"), expected, rtol=1e-3, atol=0
        )

    def test_apply_no_mask(self):
        self.assertIsNone(weighting.apply_mask(None, None, "float32", "sum"))
        weight = zeros(2)
        self.assertIs(
            weighting.apply_mask(weight, None, "float32", "mean"), weight
        )

    def test_apply_mask_that_leaves_nothing(self):
        mask = ops.zeros((3,), "bool")
        found = weighting.apply_mask(None, mask, "float32", "mean")
        self.assertAllEqual(found, [0.0, 0.0, 0.0])

    def test_apply_mask_of_more_than_float16_counts(self):
        # The largest number of float16 is 65504.
        mask = ops.arange(140000) < 70000
        found = weighting.apply_mask(None, mask, "float16", "mean")
        self.assertAllEqual(ops.cast(found[:2], "float32"), [2.0, 2.0])
        self.assertAllEqual(ops.cast(found[-2:], "float32"), [0.0, 0.0])
