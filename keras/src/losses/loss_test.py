"""Tests of how sample weights, masks and dtypes enter a loss.

Most models here have the single weight `k = 1`, the output `k * x` and labels
of zero. Their squared errors are `(k * x) ** 2`, and so a mean of them is
`k ** 2 * loss` with the gradient `2 * loss`.
"""

import warnings
from unittest import mock

import numpy as np
import pytest
from absl.testing import parameterized

from keras.src import backend
from keras.src import layers
from keras.src import losses
from keras.src import models
from keras.src import ops
from keras.src import optimizers
from keras.src import regularizers
from keras.src import testing
from keras.src import tree
from keras.src.dtype_policies import dtype_policy as policies
from keras.src.losses import replicas
from keras.src.losses.loss import Loss
from keras.src.losses.loss import reduce_weighted_values
from keras.src.losses.loss import sample_values

LEARNING_RATE = 0.01
REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum")
NARROW = ("float16", "bfloat16")

if backend.backend() == "tensorflow":
    import tensorflow as tf

    try:
        # TensorFlow takes it only before its first operation. The collection
        # of tests is early enough.
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * 2,
        )
    except RuntimeError:
        pass

# Entries of `x` with this value are masked. It is so large that one of them in
# a mean is seen.
M = 9.0

# Squares: 1, 4 and 9, 16.
SQUARE = [[1, 2], [3, 4]]
# Squares: 1, 4, 9 and 0, 1, 4.
SEQUENCES = [[1, 2, 3], [0, 1, 2]]
# With a mask that leaves the squares 1, 4 and 1.
MASKED_SEQUENCES = [[1, 2, M], [M, 1, M]]
# Sums of squares by rows: 2, 4, 9 and 5, 0, 1.
IMAGES = [[[1, 1], [2, 0], [0, 3]], [[1, 2], [0, 0], [1, 0]]]
# With a mask that leaves the sums 2, 9 and 5, 0: four rows of two.
MASKED_IMAGES = [[[1, 1], [M, M], [0, 3]], [[1, 2], [0, 0], [M, M]]]

# `x` without its last axis of size 1, sample weights, the mean squared error.
ALIGNED = {
    # (1 + 4 + 10 * (9 + 16)) / 4; with the weights on timesteps, it is
    # (1 + 9 + 10 * (4 + 16)) / 4 = 52.5.
    "n_as_many_as_t": (SQUARE, [1, 10], 63.75),
    "n_1_as_many_as_t": (SQUARE, [[1], [10]], 63.75),
    # (1 + 8 + 27 + 64) / 4
    "n_t": (SQUARE, [[1, 2], [3, 4]], 25.0),
    "n_t_1": (SQUARE, [[[1], [2]], [[3], [4]]], 25.0),
    # (14 + 10 * 5) / 6
    "n": (SEQUENCES, [1, 10], 32 / 3),
    "n_1": (SEQUENCES, [[1], [10]], 32 / 3),
    # (1 + 4 + 1) / 3, then (5 + 10) / 3
    "mask": (MASKED_SEQUENCES, None, 2.0),
    "n_mask": (MASKED_SEQUENCES, [1, 10], 5.0),
    "n_1_mask": (MASKED_SEQUENCES, [[1], [10]], 5.0),
    # (1 * 1 + 2 * 4 + 5 * 1) / 3
    "n_t_mask": (MASKED_SEQUENCES, [[1, 2, 3], [4, 5, 6]], 14 / 3),
    # (15 + 10 * 6) / 12
    "n_as_many_as_width": (IMAGES, [1, 10], 6.25),
    "n_1_images": (IMAGES, [[1], [10]], 6.25),
    # (2 + 2 * 4 + 3 * 9 + 4 * 5 + 6 * 1) / 12
    "n_h_images": (IMAGES, [[1, 2, 3], [4, 5, 6]], 5.25),
    # 16 / 8, then (2 + 9 + 10 * 5) / 8
    "mask_images": (MASKED_IMAGES, None, 2.0),
    "n_mask_images": (MASKED_IMAGES, [1, 10], 7.625),
    # (2 + 3 * 9 + 4 * 5) / 8
    "n_h_mask_images": (MASKED_IMAGES, [[1, 2, 3], [4, 5, 6]], 6.125),
}


def named(**table):
    """Combinations of the tables' keys as `named_parameters`."""
    combinations = [()]
    for keys in table.values():
        combinations = [(*c, key) for c in combinations for key in keys]
    return [("_".join(map(str, c)), *c) for c in combinations]


def array(values, dtype="float32"):
    return None if values is None else np.array(values, dtype)


def mask_of(x):
    """`False` where all that follows the second axis is `M`."""
    return (x != M).reshape(*x.shape[:2], -1).any(axis=-1)


def masked(y_pred, mask):
    y_pred = ops.convert_to_tensor(y_pred)
    backend.common.masking.set_keras_mask(
        y_pred, mask=ops.convert_to_tensor(mask)
    )
    return y_pred


class Mask(layers.Layer):
    """Leaves its input as it is, so that what is masked can be seen."""

    def call(self, inputs):
        return inputs * 1.0

    def compute_mask(self, inputs, previous_mask=None):
        # Flat, since before Keras 3.15 `any` takes one axis with PyTorch.
        shape = (*ops.shape(inputs)[:2], -1)
        return ops.any(ops.reshape(ops.not_equal(inputs, M), shape), axis=-1)


class SquaredError(Loss):
    """The example of a subclass in the docstring of stock's `Loss`."""

    def call(self, y_true, y_pred):
        return ops.mean(ops.square(y_pred - y_true), axis=-1)


def scaling_model(
    shape, mask=False, rank_1=False, regularizer=None, **compile_arguments
):
    """The model `k * x`, with `k = 1`."""
    inputs = outputs = layers.Input(shape)
    if mask:
        outputs = Mask()(outputs)
    outputs = layers.Dense(
        1,
        use_bias=False,
        kernel_initializer="ones",
        kernel_regularizer=regularizer,
    )(outputs)
    if rank_1:
        outputs = layers.Reshape(())(outputs)
    model = models.Model(inputs, outputs)
    arguments = {"loss": losses.MeanSquaredError(), **compile_arguments}
    model.compile(optimizers.SGD(LEARNING_RATE), **arguments)
    return model


def kernel(model):
    return float(np.squeeze(model.get_weights()[0]))


class LossTestCase(testing.TestCase):
    def assertLoss(self, loss, expected, **kwargs):
        self.assertAllClose(loss, expected, rtol=1e-5, **kwargs)

    def run_model(self, model, method, x, y, sample_weight=None, **kwargs):
        """The loss that a method of a model returns for a single batch."""
        if method != "evaluate" and backend.backend() == "numpy":
            self.skipTest("NumPy can't train.")
        if method == "fit":
            # With TensorFlow, `fit` may take the data apart into samples.
            kwargs = {"batch_size": len(x), "shuffle": False, **kwargs}
            history = model.fit(
                x, y, sample_weight=sample_weight, verbose=0, **kwargs
            )
            return history.history["loss"][0]
        if method == "evaluate":
            loss = model.evaluate(
                x,
                y,
                sample_weight=sample_weight,
                batch_size=len(x),
                verbose=0,
                **kwargs,
            )
        else:
            loss = model.train_on_batch(
                x, y, sample_weight=sample_weight, **kwargs
            )
        return float(loss)

    def assertStep(
        self, model, method, x, y, sample_weight, loss, gradient, **kwargs
    ):
        """Checks the loss of a batch, and what SGD makes of its gradient."""
        got = self.run_model(model, method, x, y, sample_weight, **kwargs)
        self.assertLoss(got, loss)
        step = 0.0 if method == "evaluate" else LEARNING_RATE * gradient
        self.assertAllClose(kernel(model), 1.0 - step, rtol=1e-5)


class AlignmentTest(LossTestCase):
    """Sample weights and masks line up with the samples."""

    @parameterized.named_parameters(
        named(case=ALIGNED, last_axis=["label_axis", "no_label_axis"])
    )
    def test_loss_object(self, case, last_axis):
        x, weight, expected = ALIGNED[case]
        x, weight = array(x)[..., None], array(weight)
        y = np.zeros_like(x)
        if last_axis == "no_label_axis":
            y = y[..., 0]
        y_pred = masked(x, mask_of(x)) if (x == M).any() else x
        self.assertLoss(losses.MeanSquaredError()(y, y_pred, weight), expected)

    @parameterized.named_parameters(named(case=ALIGNED))
    def test_fit(self, case):
        self.check_model(case, "fit")

    @parameterized.named_parameters(
        named(
            case=["n_as_many_as_t", "n_as_many_as_width", "n_mask_images"],
            method=["train_on_batch", "evaluate"],
        )
    )
    def test_other_methods(self, case, method):
        self.check_model(case, method)

    @parameterized.named_parameters(named(case=["mask", "n_t", "n_t_mask"]))
    def test_labels_without_the_last_axis(self, case):
        self.check_model(case, "fit", label_axis=False)

    def check_model(self, case, method, label_axis=True):
        x, weight, expected = ALIGNED[case]
        x, weight = array(x)[..., None], array(weight)
        model = scaling_model(x.shape[1:], mask=(x == M).any())
        y = np.zeros_like(x if label_axis else x[..., 0])
        self.assertStep(model, method, x, y, weight, expected, 2 * expected)

    @parameterized.named_parameters(named(weight=["n", "n_1", "n_t"]))
    def test_mean_with_sample_weight(self, weight):
        # (14 + 10 * 5) / (3 * 1 + 3 * 10): each weight acts on three values.
        expected = 64 / 33
        weight = {
            "n": [1, 10],
            "n_1": [[1], [10]],
            "n_t": [[1, 1, 1], [10, 10, 10]],
        }[weight]
        x = array(SEQUENCES)[..., None]
        y, weight = np.zeros_like(x), array(weight)
        loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
        self.assertLoss(loss(y, x, weight), expected)
        model = scaling_model(x.shape[1:], loss=loss)
        self.assertStep(model, "fit", x, y, weight, expected, 2 * expected)

    def test_mean_with_sample_weight_and_mask(self):
        x = array(MASKED_SEQUENCES)[..., None]
        loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
        y, weight = np.zeros_like(x), array([[1], [10]])
        y_pred = masked(x, mask_of(x))
        # (1 + 4 + 10 * 1) / (2 * 1 + 1 * 10)
        self.assertLoss(loss(y, y_pred, weight), 1.25)
        model = scaling_model(x.shape[1:], mask=True, loss=loss)
        self.assertStep(model, "fit", x, y, weight, 1.25, 2.5)

    @parameterized.named_parameters(
        named(reduction=REDUCTIONS, case=["plain", "weights", "mask"])
    )
    @pytest.mark.skipif(
        backend.backend() in ("jax", "numpy"),
        reason="JAX has no float64, and `ops.mean` none with NumPy",
    )
    def test_float64_is_summed_up_in_float64(self, reduction, case):
        # In float32, 1 + 1e-10 is 1.
        x = ops.convert_to_tensor([[1], [1e-10], [0]], "float64")
        total, count, weight = 1 + 1e-10, 3, None
        if case == "weights":
            weight = np.array([1, 2, 1])
            total = 1 + 2e-10
            count = 4 if reduction == "mean_with_sample_weight" else 3
        elif case == "mask":
            x = masked(x, np.array([True, True, False]))
            count = 2
        loss = losses.MeanAbsoluteError(reduction=reduction, dtype="float64")
        found = ops.convert_to_numpy(loss(ops.zeros_like(x), x, weight))
        expected = total if reduction == "sum" else total / count
        np.testing.assert_allclose(found, expected, rtol=1e-13)

    @parameterized.named_parameters(named(width=[2, 3]))
    def test_mask_of_the_output_and_of_the_loss(self, width):
        # Images of two rows: probability 1/2 in the first row of the first
        # image, else 1/4. The output masks that image's second row, and the
        # loss the second column of the first row.
        y_pred = np.full((2, 2, width, 4), 0.25, "float32")
        y_pred[0, 0] = [0.5, 0.25, 0.125, 0.125]
        y_true = np.zeros((2, 2, width), "int32")
        y_true[0, 0, 1] = 3
        mask = np.array([[True, False], [True, True]])
        loss = losses.SparseCategoricalCrossentropy(ignore_class=3)
        # log(4) is twice log(2). With as many columns as rows, a mask of
        # columns would leave other pixels.
        first, second = width - 1, 2 * width
        expected = np.log(2) * (first + 2 * second) / (first + second)
        self.assertLoss(loss(y_true, masked(y_pred, mask)), expected)
        weight = array([1, 10])
        expected = np.log(2) * (first + 20 * second) / (first + second)
        self.assertLoss(loss(y_true, masked(y_pred, mask), weight), expected)


class Rank1Test(LossTestCase):
    """Outputs of shape `(batch_size,)`."""

    # Squared errors 1, 4, 9; their mean times the weights' is 17.1.
    x = array([[1], [2], [3]])
    weight = array([1, 0, 10])
    expected = 91 / 3

    @parameterized.named_parameters(named(axes=[1, 2]))
    def test_sample_weight_of_loss_object(self, axes):
        weight = self.weight.reshape([-1] + [1] * (axes - 1))
        loss = losses.MeanSquaredError()(np.zeros(3), self.x[:, 0], weight)
        self.assertLoss(loss, self.expected)

    @parameterized.named_parameters(
        named(reduction=[*REDUCTIONS, "none"], has_mask=[False, True])
    )
    def test_reduction(self, reduction, has_mask):
        loss = losses.MeanSquaredError(reduction=reduction)
        y_pred = self.x[:, 0]
        if has_mask:
            y_pred = masked(y_pred, np.array([True, True, False]))
        expected = {
            "sum_over_batch_size": 1 / 2 if has_mask else 91 / 3,
            "mean": 1 / 2 if has_mask else 91 / 3,
            "mean_with_sample_weight": 1 / 1 if has_mask else 91 / 11,
            "sum": 1 if has_mask else 91,
            "none": [1, 0, 0] if has_mask else [1, 0, 90],
        }[reduction]
        self.assertLoss(loss(np.zeros(3), y_pred, self.weight), expected)

    def test_mask_alone(self):
        y_pred = masked(self.x[:, 0], np.array([True, False, True]))
        loss = losses.MeanSquaredError()(np.zeros(3), y_pred)
        self.assertLoss(loss, 5.0)

    @parameterized.named_parameters(
        named(method=["fit", "train_on_batch", "evaluate"])
    )
    def test_sample_weight(self, method):
        model = scaling_model((1,), rank_1=True)
        self.assertStep(
            model,
            method,
            self.x,
            np.zeros(3, "float32"),
            self.weight,
            self.expected,
            2 * self.expected,
        )

    @parameterized.named_parameters(named(method=["fit", "train_on_batch"]))
    def test_class_weight(self, method):
        model = scaling_model((1,), rank_1=True)
        self.assertStep(
            model,
            method,
            array([[1], [3], [2]]),
            array([0, 1, 0], "int32"),
            None,
            # Errors 1, 2, 2: (1 + 10 * 4 + 4) / 3.
            loss=15.0,
            # Those of the samples are 2 * error * x: 2, 12, 8.
            gradient=(2 + 10 * 12 + 8) / 3,
            class_weight={0: 1.0, 1: 10.0},
        )


class LabelRankTest(LossTestCase):
    """Who brings labels and predictions to one rank."""

    labels = array([0, 1, 2])
    # Errors 1, 2, 0.
    y_pred = array([[1], [3], [2]])

    @parameterized.named_parameters(
        ("alone", None, 5 / 3),
        ("n", [1, 10, 1], 41 / 3),
        ("n_1", [[1], [10], [1]], 41 / 3),
    )
    def test_loss_object(self, weight, expected):
        loss = losses.MeanSquaredError()
        self.assertLoss(loss(self.labels, self.y_pred, array(weight)), expected)

    @parameterized.named_parameters(
        named(method=["fit", "train_on_batch", "evaluate"])
    )
    def test_model(self, method):
        self.assertStep(
            scaling_model((1,)),
            method,
            self.y_pred,
            self.labels,
            None,
            loss=5 / 3,
            # 2 * error * x: 2, 12, 0.
            gradient=14 / 3,
        )

    @parameterized.named_parameters(
        ("n", (3,), (3, 1), (3, 1), (3, 1)),
        ("n_1", (3, 1), (3,), (3, 1), (3, 1)),
        ("n_t", (3, 2), (3, 2, 1), (3, 2), (3, 2)),
        # Class indices have an axis less than the predictions, and keep it.
        ("classes", (3,), (3, 4), (3,), (3, 4)),
    )
    def test_shapes_in_call(self, label_shape, shape, label_rank, rank):
        seen = []

        def watching(y_true, y_pred):
            seen.append((tuple(y_true.shape), tuple(y_pred.shape)))
            return ops.mean(y_pred, axis=-1)

        class Watching(Loss):
            def call(self, y_true, y_pred):
                return watching(y_true, y_pred)

        y_true, y_pred = np.ones(label_shape), np.ones(shape)
        Watching()(y_true, y_pred)
        function = losses.LossFunctionWrapper(watching)
        function(y_true, y_pred)
        function.call(y_true, y_pred)
        self.assertEqual(
            seen, [(label_shape, shape), *[(label_rank, rank)] * 2]
        )

    def test_structures(self):
        def both_squared_errors(y_true, y_pred):
            errors = tree.map_structure(
                lambda y, p: ops.mean(ops.square(p - y), axis=-1),
                y_true,
                y_pred,
            )
            return errors["a"] + errors["b"]

        y_true = {"a": self.labels, "b": self.labels}
        y_pred = {"a": self.y_pred, "b": 2 * self.y_pred}
        loss = losses.LossFunctionWrapper(both_squared_errors)
        # Errors 2, 5, 2 of b: (1 + 4 + 0 + 4 + 25 + 4) / 3.
        self.assertLoss(loss(y_true, y_pred), 38 / 3)

    @parameterized.named_parameters(
        # 1 and -9 of a, less 16 and -1 of b.
        ("alone", None, ((1 - 16) + (-9 + 1)) / 2),
        ("n", [1, 3], ((1 - 16) + 3 * (-9 + 1)) / 2),
    )
    def test_structures_whose_order_matters(self, weight, expected):
        class Signed(Loss):
            def call(self, y_true, y_pred):
                a, b = (y - p for y, p in zip(y_true, y_pred))
                return a * ops.abs(a) - b * ops.abs(b)

        # Differences 1, -3 of a and 4, -1 of b.
        y_true = [array([1, 0]), array([4, 1])]
        y_pred = [array([0, 3]), array([0, 2])]
        loss = Signed()(y_true, y_pred, array(weight))
        self.assertLoss(loss, expected)

    def test_a_function_is_asked_again_and_an_object_is_not(self):
        calls = []

        def difference(y_true, y_pred):
            calls.append(tuple(y_true.shape))
            return ops.mean(y_pred - 2 * y_true, axis=-1)

        class Difference(Loss):
            def call(self, y_true, y_pred):
                return difference(y_true, ops.squeeze(y_pred, axis=-1))

        y_true, weight = array([[1, 2], [3, 4]]), array([[1, 0], [0, 2]])
        y_pred = array([[[9], [8]], [[7], [6]]])
        # (1 * (9 - 2) + 2 * (6 - 8)) / 4
        function = losses.LossFunctionWrapper(difference)
        self.assertLoss(function(y_true, y_pred, weight), 0.75)
        self.assertEqual(calls, [(2, 2), (2, 2, 1)])
        calls.clear()
        with self.assertRaisesRegex(ValueError, "`sample_weight`"):
            Difference()(y_true, y_pred, weight)
        self.assertEqual(calls, [(2, 2)])
        calls.clear()

        def number(y_true, y_pred):
            return ops.mean(difference(y_true, y_pred))

        losses.LossFunctionWrapper(number)(y_true, y_pred, weight)
        self.assertEqual(calls, [(2, 2)])

    def test_columns_are_no_reason_to_warn(self):
        class OfClasses(Loss):
            def call(self, y_true, y_pred):
                return ops.mean(y_pred, axis=-1) - y_true

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            OfClasses()(self.labels, np.ones((3, 4)))
        with self.assertWarnsRegex(UserWarning, "each pair of samples"):
            OfClasses()(self.labels, self.y_pred)


class BaseTest(LossTestCase):
    def test_config(self):
        loss = SquaredError.from_config({"name": "mine", "reduction": "sum"})
        self.assertEqual((loss.name, loss.reduction), ("mine", "sum"))

    def test_a_loss_has_to_be_written(self):
        with self.assertRaises(NotImplementedError):
            Loss()(array([1]), array([2]))


class SampleValuesTest(LossTestCase):
    """What a loss that is used as a metric averages."""

    @parameterized.named_parameters(
        ("values", lambda p: p[0], (3, 2)),
        ("values_of_samples", lambda p: ops.mean(p[0], axis=-1), (3,)),
        ("number", lambda p: ops.mean(p[0]), (3,)),
    )
    def test_shapes(self, call, expected):
        class Own(Loss):
            def call(self, y_true, y_pred):
                return call(y_pred)

        y_pred = [array([[1, 1]] * 3), array([[1]] * 5)]
        found = sample_values(Own(), y_pred, y_pred)
        self.assertEqual(tuple(found.shape), expected)
        self.assertAllClose(found, np.ones(expected))

    @parameterized.named_parameters(
        ("number", None, (3, 2)), ("values_of_samples", (1, 2), (3,))
    )
    def test_only_a_number_is_for_all_that_a_mask_has(self, axis, expected):
        class Own(Loss):
            def call(self, y_true, y_pred):
                return ops.mean(y_pred, axis=axis)

        y_pred = masked(ops.ones((3, 2, 4)), np.ones((3, 2), bool))
        found = sample_values(Own(), y_pred, y_pred)
        self.assertEqual(tuple(found.shape), expected)
        self.assertAllClose(found, np.ones(expected))


@pytest.mark.skipif(
    backend.backend() != "tensorflow", reason="about unknown shapes"
)
class UnknownSizesTest(LossTestCase):
    def traced(self, function, *shapes):
        import tensorflow as tf

        return tf.function(function, [tf.TensorSpec(x) for x in shapes])

    def test_a_number_for_each_sample(self):
        class Number(Loss):
            def call(self, y_true, y_pred):
                return ops.mean(y_pred)

        def of_samples(y_pred):
            return sample_values(Number(), y_pred, y_pred)

        def of_mask(y_pred, mask):
            y_pred = masked(y_pred, ops.cast(mask, "bool"))
            return sample_values(Number(), y_pred, y_pred)

        y_pred = array([[1, 3]] * 3)
        found = self.traced(of_samples, [None, 2])(y_pred)
        self.assertAllEqual(found, [2.0] * 3)
        found = self.traced(of_mask, [None, 2], [None, 2])(y_pred, y_pred)
        self.assertAllEqual(found, [[2.0] * 2] * 3)

    def test_a_mean_by_weight(self):
        loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
        traced = self.traced(loss, [None, 2, 1], [None, 2, 1], [None])
        y_pred = array([[[1], [3]], [[2], [0]]])
        # (1 * (1 + 9) + 3 * 4) / (2 * (1 + 3))
        found = traced(0 * y_pred, y_pred, array([1, 3]))
        self.assertLoss(found, 22 / 8)

    def test_a_mean(self):
        y_pred = array([[1], [3]])
        traced = self.traced(losses.MeanSquaredError(), [None, 1], [None, 1])
        self.assertLoss(traced(0 * y_pred, y_pred), 5.0)
        nothing = np.zeros((0, 1), "float32")
        self.assertLoss(traced(nothing, nothing), 0.0)


class DtypeTest(LossTestCase):
    """All that enters a loss gets its dtype, and the result has it."""

    def test_policy_is_not_that_of_layers(self):
        policy = policies.dtype_policy()
        self.addCleanup(policies.set_dtype_policy, policy)
        policies.set_dtype_policy("mixed_bfloat16")
        self.assertEqual(SquaredError().dtype, "float32")

    @parameterized.named_parameters(
        ("labels", True, False), ("predictions", False, True)
    )
    def test_only_one_has_the_dtype(self, has_label, has_prediction):
        seen = []

        class Watching(Loss):
            def call(self, y_true, y_pred):
                seen.extend([y_true, y_pred])
                return ops.mean(y_pred, axis=-1)

        def of(is_right):
            if is_right:
                return ops.ones((2, 1))
            return np.ones((2, 1), "int32")

        self.assertLoss(Watching()(of(has_label), of(has_prediction)), 1.0)
        for x in seen:
            self.assertTrue(ops.is_tensor(x))
            self.assertEqual(
                backend.common.standardize_dtype(x.dtype), "float32"
            )

    @parameterized.named_parameters(
        named(
            dtype=["float32", *NARROW],
            weight_dtype=["float64", "int32", "bool"],
            reduction=["mean", "mean_with_sample_weight", "sum", None],
        )
    )
    def test_weights(self, dtype, weight_dtype, reduction):
        # Squares: 1, 4 and 9, 16, of which the first two are left.
        expected = {
            "mean": 5 / 4,
            "mean_with_sample_weight": 5 / 2,
            "sum": 5.0,
            None: [[1, 4], [0, 0]],
        }
        value = reduce_weighted_values(
            array([[1, 4], [9, 16]]),
            np.array([1, 0], weight_dtype),
            reduction=reduction,
            dtype=dtype,
        )
        self.assertEqual(backend.common.standardize_dtype(value.dtype), dtype)
        self.assertLoss(ops.cast(value, "float32"), expected[reduction])

    def test_masks_are_bools(self):
        # Also if they are made of other numbers: (4 + 9) / 2.
        value = reduce_weighted_values(
            array([1, 4, 9]), mask=np.array([0, 2, 5])
        )
        self.assertLoss(value, 6.5)


class UntouchedTest(LossTestCase):
    """Sample weights of the user's are not changed in place."""

    x = array(MASKED_SEQUENCES)[..., None]
    weight = np.ones((2, 3), "float32")

    def kinds_of_weights(self):
        kinds = {"numpy": self.weight.copy()}
        kinds["tensor"] = ops.convert_to_tensor(self.weight.copy())
        return kinds

    @parameterized.named_parameters(
        named(kind=["numpy", "tensor"], reduction=[*REDUCTIONS, None])
    )
    def test_loss_object(self, kind, reduction):
        weight = self.kinds_of_weights()[kind]
        loss = losses.MeanSquaredError(reduction=reduction)
        y, y_pred = np.zeros_like(self.x), masked(self.x, mask_of(self.x))
        first = loss(y, y_pred, weight)
        self.assertAllClose(weight, self.weight, rtol=0, atol=0)
        self.assertAllClose(loss(y, y_pred, weight), first)

    @parameterized.named_parameters(named(kind=["numpy", "tensor"]))
    @pytest.mark.requires_trainable_backend
    def test_fit(self, kind):
        weight = self.kinds_of_weights()[kind]
        model = scaling_model((3, 1), mask=True)
        model.optimizer.learning_rate = 0.0
        history = model.fit(
            self.x,
            np.zeros_like(self.x),
            sample_weight=weight,
            batch_size=2,
            epochs=3,
            shuffle=False,
            verbose=0,
        )
        self.assertAllClose(weight, self.weight, rtol=0, atol=0)
        # (1 + 4 + 1) / 3
        self.assertLoss(history.history["loss"], [2.0] * 3)

    @parameterized.named_parameters(named(kind=["numpy", "tensor"]))
    def test_train_on_batch(self, kind):
        weight = self.kinds_of_weights()[kind]
        model = scaling_model((3, 1), mask=True)
        y = np.zeros_like(self.x)
        self.assertStep(model, "train_on_batch", self.x, y, weight, 2.0, 4.0)
        self.assertAllClose(weight, self.weight, rtol=0, atol=0)


class DistributionTest(LossTestCase):
    """Two replicas give what one gives for the global batch."""

    def setUp(self):
        super().setUp()
        if backend.backend() != "tensorflow":
            self.skipTest("Only `tf.distribute` runs a loss on each replica.")
        devices = [d.name for d in tf.config.list_logical_devices("CPU")]
        if len(devices) < 2:
            self.skipTest("TensorFlow was in use before it got two CPUs.")
        self.strategy = tf.distribute.MirroredStrategy(devices[:2])

    @parameterized.named_parameters(
        named(
            kind=["scalar", "per_sample", "object", "sum"],
            method=["fit", "evaluate"],
        )
    )
    def test_model(self, kind, method):
        def scalar(y_true, y_pred):
            return ops.mean(ops.square(y_true - y_pred))

        def per_sample(y_true, y_pred):
            return ops.mean(ops.square(y_true - y_pred), axis=-1)

        loss = {
            "scalar": scalar,
            "per_sample": per_sample,
            "object": losses.MeanSquaredError(),
            "sum": losses.MeanSquaredError(reduction="sum"),
        }[kind]
        # (1 + 4 + 9 + 16) / 4; the replicas' own means are 2.5 and 12.5.
        expected = 30.0 if kind == "sum" else 7.5
        with self.strategy.scope():
            model = scaling_model((1,), loss=loss)
        x = array([[1], [2], [3], [4]])
        y = np.zeros_like(x)
        self.assertStep(model, method, x, y, None, expected, 2 * expected)


class IntegerLabelsTest(LossTestCase):
    """Class indices are not rounded to a narrow float type."""

    # 257 is no bfloat16, and 2049 no float16.
    labels = array([257, 2, 2049], "int32")

    def setUp(self):
        super().setUp()
        self.addCleanup(backend.set_floatx, backend.floatx())
        self.addCleanup(policies.set_dtype_policy, policies.dtype_policy())

    def logits(self):
        # A class's probability is 1 / (1 + 2099 * exp(-20)): its crossentropy
        # is 4e-6. With the neighbouring class it would be 20.
        return 20.0 * np.eye(2100, dtype="float32")[self.labels]

    @parameterized.named_parameters(
        named(dtype=NARROW, way=["argument", "floatx"], shape=["n", "n_1"])
    )
    def test_sparse_categorical_crossentropy(self, dtype, way, shape):
        labels = self.labels if shape == "n" else self.labels[:, None]
        if way == "floatx":
            backend.set_floatx(dtype)
        loss = losses.SparseCategoricalCrossentropy(
            from_logits=True, dtype=dtype if way == "argument" else None
        )
        value = loss(labels, self.logits())
        self.assertEqual(backend.common.standardize_dtype(value.dtype), dtype)
        # Of that size are the steps of bfloat16 numbers around 1.
        self.assertAllClose(ops.cast(value, "float32"), 0.0, atol=2**-7)

    @parameterized.named_parameters(
        named(dtype=NARROW, way=["argument", "floatx"])
    )
    def test_evaluate(self, dtype, way):
        if way == "floatx":
            backend.set_floatx(dtype)
        inputs = layers.Input((2100,))
        model = models.Model(inputs, layers.Activation("linear")(inputs))
        model.compile(
            loss=losses.SparseCategoricalCrossentropy(
                from_logits=True, dtype=dtype if way == "argument" else None
            )
        )
        loss = self.run_model(model, "evaluate", self.logits(), self.labels)
        self.assertAllClose(loss, 0.0, atol=2**-7)

    @parameterized.named_parameters(
        named(
            dtype=NARROW,
            way=["argument", "floatx"],
            label_dtype=["int32", "int64", "uint8", "bool"],
        )
    )
    def test_dtype_in_call(self, dtype, way, label_dtype):
        seen = []

        class Watching(Loss):
            def call(self, y_true, y_pred):
                for x in (y_true, y_pred):
                    seen.append(backend.common.standardize_dtype(x.dtype))
                return ops.mean(y_pred, axis=-1)

        if way == "floatx":
            backend.set_floatx(dtype)
        loss = Watching(dtype=dtype if way == "argument" else None)
        labels = ops.convert_to_tensor(np.array([[0], [1]]), dtype=label_dtype)
        loss(labels, np.ones((2, 1), "float32"))
        # What users write gets one dtype, as ever.
        self.assertEqual(seen, [dtype, dtype])

    @parameterized.named_parameters(
        named(
            dtype=[*NARROW, "float32"],
            form=["list", "NumPy", "list of NumPy", "list of lists"],
        )
    )
    def test_labels_that_are_no_tensors(self, dtype, form):
        numbers = array([0, 1], "int32")
        labels = {
            "list": [0, 1],
            "NumPy": numbers,
            "list of NumPy": list(numbers),
            "list of lists": [[0], [1]],
        }[form]
        x = array([[2], [4]])
        # (4 + 9) / 2, and with weights (4 + 3 * 9) / 2.
        for weight, expected in ((None, 6.5), ([1, 3], 15.5)):
            value = losses.MeanSquaredError(dtype=dtype)(
                labels, x if form == "NumPy" else x.tolist(), weight
            )
            self.assertLoss(ops.cast(value, "float32"), expected)

    @parameterized.named_parameters(named(form=["labels", "predictions"]))
    def test_a_list_beside_a_tensor(self, form):
        y_true, y_pred = [0.0, 1.0], [[0.5], [0.75]]
        if form == "labels":
            y_pred = ops.convert_to_tensor(y_pred)
        else:
            y_true = ops.convert_to_tensor(y_true)
        value = losses.BinaryCrossentropy()(y_true, y_pred)
        self.assertLoss(value, -np.log([0.5, 0.75]).mean())

    def test_weights_in_a_list(self):
        loss = losses.MeanSquaredError()
        value = loss(array([0, 1]), array([2, 4]), [1, 3])
        self.assertLoss(value, (4 + 3 * 9) / 2)

    def test_weights_for_one_label_of_several_predictions(self):
        class OfFirst(Loss):
            def call(self, y_true, y_pred):
                return ops.square(y_pred[0] - y_true)

        x = array([2, 4])
        # (1 * 1 + 3 * 4) / 2
        loss = OfFirst()(array([1, 2]), [x, x], sample_weight=array([1, 3]))
        self.assertLoss(loss, 6.5)

    def test_a_list_that_ends_in_an_array_is_a_structure(self):
        class Scaled(Loss):
            def call(self, y_true, y_pred):
                return y_pred[0] * (y_pred[1] - y_true[1])

        x = array([[1], [3]])
        # 2 * (1 + 3) / 2
        self.assertLoss(Scaled()([0.0, 0 * x], [2.0, x]), 4.0)

    @parameterized.named_parameters(named(dtype=NARROW))
    def test_a_label_that_is_a_number(self, dtype):
        def squared_error(y_true, y_pred):
            return ops.square(ops.subtract(y_pred, y_true))

        loss = losses.LossFunctionWrapper(squared_error, dtype=dtype)
        value = loss(1, ops.convert_to_tensor(3.0))
        self.assertLoss(ops.cast(value, "float32"), 4.0)
        loss = losses.MeanSquaredError(dtype=dtype)
        value = loss(1, ops.convert_to_tensor([3.0, 3.0]))
        self.assertLoss(ops.cast(value, "float32"), 4.0)

    @parameterized.named_parameters(named(dtype=NARROW))
    def test_float_labels_are_cast(self, dtype):
        loss = losses.MeanSquaredError(dtype=dtype)
        value = loss(array([0, 1]), array([[2], [4]]))
        self.assertEqual(backend.common.standardize_dtype(value.dtype), dtype)
        # (4 + 9) / 2
        self.assertLoss(ops.cast(value, "float32"), 6.5)

    def test_wide_dtype_casts_integer_labels(self):
        # float32 holds all class indices: losses go on seeing one dtype.
        labels = array([[0], [1]], "int32")
        value = SquaredError()(labels, array([[2], [4]]))
        self.assertEqual(
            backend.common.standardize_dtype(value.dtype), "float32"
        )
        self.assertLoss(value, 6.5)

    @parameterized.named_parameters(named(dtype=NARROW))
    def test_arithmetic_with_integer_labels(self, dtype):
        def squared_error(y_true, y_pred):
            # TensorFlow's own operators refuse operands of two dtypes.
            return ops.mean(ops.square(ops.subtract(y_pred, y_true)), axis=-1)

        loss = losses.LossFunctionWrapper(squared_error, dtype=dtype)
        # Errors 2, 3; gradients 2 * error * x: 8, 24. All are whole numbers.
        x, y = array([[2], [4]]), array([0, 1], "int32")
        value = loss(y, x)
        self.assertEqual(backend.common.standardize_dtype(value.dtype), dtype)
        self.assertLoss(ops.cast(value, "float32"), 6.5)
        model = scaling_model((1,), loss=loss)
        self.assertStep(model, "fit", x, y, None, loss=6.5, gradient=16.0)


class ManyValuesTest(LossTestCase):
    """A mean of more values than float16 can count, which is 65504."""

    @parameterized.named_parameters(
        named(
            reduction=["mean", "mean_with_sample_weight"],
            dtype=NARROW,
            has_weight=[False, True],
            has_mask=[False, True],
        )
    )
    def test_mean_of_ones(self, reduction, dtype, has_weight, has_mask):
        if backend.backend() == "numpy" and dtype == "bfloat16":
            self.skipTest("There, `ops.mean` counts in bfloat16: up to 256.")
        x = np.ones((2, 40000, 1), "float32")
        y_pred = masked(x, np.ones((2, 40000), bool)) if has_mask else x
        weight = np.ones(2, "float32") if has_weight else None
        loss = losses.MeanSquaredError(reduction=reduction, dtype=dtype)
        value = loss(np.zeros_like(x), y_pred, weight)
        self.assertAllClose(ops.cast(value, "float32"), 1.0)


class ShareTest(testing.TestCase):
    """A number for a replica's share of a batch is taken for a mean."""

    @parameterized.named_parameters(
        ("number", 6.0, "sum_over_batch_size", 1.5, True),
        ("values", [2.0, 10.0], "sum_over_batch_size", 1.5, False),
        ("sum", 6.0, "sum", 6.0, False),
    )
    def test_own_function(self, returned, reduction, expected, warns):
        self.enterContext(mock.patch.object(replicas, "_replicas", lambda: 4))

        def own(y_true, y_pred):
            return ops.convert_to_tensor(returned)

        loss = losses.LossFunctionWrapper(own, reduction=reduction)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                found = loss(np.zeros((2, 1)), np.zeros((2, 1)))
        self.assertAllClose(found, expected)
        texts = [str(warning.message) for warning in caught]
        self.assertLen([text for text in texts if "share" in text], warns)


class NoReductionTest(LossTestCase):
    """Training needs a scalar."""

    x = array([[1], [2], [3]])

    @parameterized.named_parameters(
        named(has_regularizer=[False, True], outputs=[1, 2])
    )
    def test_fit(self, has_regularizer, outputs):
        self.check_refusal("fit", "none", has_regularizer, outputs)

    @parameterized.named_parameters(named(reduction=["none", None]))
    def test_train_on_batch(self, reduction):
        self.check_refusal("train_on_batch", reduction)

    def test_evaluate_with_a_regularizer(self):
        self.check_refusal("evaluate", "none", has_regularizer=True)

    def check_refusal(
        self, method, reduction, has_regularizer=False, outputs=1
    ):
        regularizer = regularizers.L2(0.1) if has_regularizer else None
        inputs = layers.Input((1,))
        heads = [
            layers.Dense(
                1,
                use_bias=False,
                kernel_initializer="ones",
                kernel_regularizer=regularizer,
                name=name,
            )(inputs)
            for name in ("first", "second")[:outputs]
        ]
        model = models.Model(inputs, heads[0] if outputs == 1 else heads)
        bad = losses.MeanSquaredError(reduction=reduction)
        model.compile(
            optimizers.SGD(LEARNING_RATE),
            loss=bad if outputs == 1 else ["mse", bad],
        )
        y = np.zeros_like(self.x)
        # The output at fault and the shape of its loss are named.
        name = "first" if outputs == 1 else "second"
        with self.assertRaisesRegex(ValueError, "reduction") as raised:
            self.run_model(model, method, self.x, y if outputs == 1 else [y, y])
        self.assertIn(name, str(raised.exception))
        # TensorFlow may know no more of the batch size than that there is one.
        self.assertRegex(str(raised.exception), r"\((3|None),\)")
        self.assertEqual(kernel(model), 1.0)

    @parameterized.named_parameters(named(reduction=["none", None]))
    def test_loss_object_gives_weighted_values(self, reduction):
        loss = losses.MeanSquaredError(reduction=reduction)
        y = np.zeros_like(self.x)
        self.assertLoss(loss(y, self.x), [1, 4, 9])
        self.assertLoss(loss(y, self.x, array([1, 0, 10])), [1, 0, 90])
        y_pred = masked(self.x, np.array([True, True, False]))
        self.assertLoss(loss(y, y_pred, array([2, 3, 4])), [2, 12, 0])


class NothingLeftTest(LossTestCase):
    """No weight, no value that the mask leaves, no sample, no number."""

    x = array(SEQUENCES)[..., None]

    @parameterized.named_parameters(named(reduction=REDUCTIONS))
    def test_zero_weights(self, reduction):
        loss = losses.MeanSquaredError(reduction=reduction)
        y, weight = np.zeros_like(self.x), np.zeros(2, "float32")
        self.assertAllClose(loss(y, self.x, weight), 0.0, atol=0)
        model = scaling_model((3, 1), loss=loss)
        self.assertStep(model, "fit", self.x, y, weight, 0.0, 0.0)

    @parameterized.named_parameters(
        named(reduction=REDUCTIONS, weight=["none", "n", "n_t"])
    )
    def test_fully_masked(self, reduction, weight):
        weight = {
            "none": None,
            "n": array([1, 10]),
            "n_t": np.ones((2, 3), "float32"),
        }[weight]
        loss = losses.MeanSquaredError(reduction=reduction)
        x = np.full_like(self.x, M)
        y_pred, y = masked(x, np.zeros((2, 3), bool)), np.zeros_like(x)
        self.assertAllClose(loss(y, y_pred, weight), 0.0, atol=0)

    @parameterized.named_parameters(named(reduction=REDUCTIONS))
    def test_fit_fully_masked(self, reduction):
        loss = losses.MeanSquaredError(reduction=reduction)
        x, weight = np.full_like(self.x, M), array([1, 10])
        y = np.zeros_like(x)
        model = scaling_model((3, 1), mask=True, loss=loss)
        self.assertStep(model, "fit", x, y, weight, 0.0, 0.0)

    def test_weights_only_where_masked(self):
        # What the mask leaves has the weight 0.
        x = array(MASKED_SEQUENCES)[..., None]
        weight = np.where(mask_of(x), 0.0, 1.0)
        for reduction in REDUCTIONS:
            loss = losses.MeanSquaredError(reduction=reduction)
            value = loss(np.zeros_like(x), masked(x, mask_of(x)), weight)
            self.assertAllClose(value, 0.0, atol=0, msg=reduction)

    @parameterized.named_parameters(
        named(
            reduction=REDUCTIONS,
            shape=["0_3", "0_3_1"],
            has_weight=[False, True],
        )
    )
    def test_empty_batch(self, reduction, shape, has_weight):
        shape = tuple(map(int, shape.split("_")))
        loss = losses.MeanSquaredError(reduction=reduction)
        empty = np.zeros(shape, "float32")
        weight = np.zeros(0, "float32") if has_weight else None
        value = ops.convert_to_numpy(loss(empty, empty, weight))
        self.assertEqual((value.shape, float(value)), ((), 0.0))

    def test_empty_batch_of_a_structure(self):
        class First(Loss):
            def call(self, y_true, y_pred):
                return ops.mean(ops.square(y_pred["a"]), axis=-1)

        empty = {"a": np.zeros((0, 2), "float32")}
        self.assertEqual(float(First()(empty, empty)), 0.0)

    @pytest.mark.requires_trainable_backend
    def test_empty_batch_in_training(self):
        model = scaling_model((3, 1))
        empty = np.zeros((0, 3, 1), "float32")
        with self.assertRaises(ValueError) as raised:
            model.train_on_batch(empty, empty)
        self.assertIn("(0, 3, 1)", str(raised.exception))
        self.assertEqual(kernel(model), 1.0)

    @parameterized.named_parameters(named(reduction=REDUCTIONS))
    def test_nan_under_zero_weight_is_nan(self, reduction):
        # A weight is a factor. What is not a number is not hidden by it.
        x = self.x.copy()
        x[0, 0, 0] = np.nan
        loss = losses.MeanSquaredError(reduction=reduction)
        y, weight = np.zeros_like(x), array([0, 1])
        value = ops.convert_to_numpy(loss(y, x, weight))
        self.assertTrue(np.isnan(value))
        model = scaling_model((3, 1), loss=loss)
        logged = self.run_model(model, "evaluate", x, y, weight)
        self.assertTrue(np.isnan(logged))

    @parameterized.named_parameters(named(reduction=REDUCTIONS))
    def test_masked_nan_is_nan(self, reduction):
        x = self.x.copy()
        x[0, 0, 0] = np.nan
        loss = losses.MeanSquaredError(reduction=reduction)
        value = loss(np.zeros_like(x), masked(x, ~np.isnan(x[..., 0])))
        self.assertTrue(np.isnan(ops.convert_to_numpy(value)))

    def test_nan_stays_in_its_sample(self):
        x = self.x.copy()
        x[0, 0, 0] = np.nan
        loss = losses.MeanSquaredError(reduction=None)
        value = loss(np.zeros_like(x), x, array([0, 1]))
        self.assertAllClose(value, [[np.nan, 0, 0], [0, 1, 4]])


# Sample weights for an unreduced loss of shape (2, 3).
ACROSS_SAMPLES = {
    "t": (3,),
    "n_more_t": (2, 4),
    "n_fewer_t": (2, 2),
    "n_t_more": (2, 3, 2),
    "more_n_1": (4, 1),
}


class RefusalTest(LossTestCase):
    """Nothing is broadcast from one sample to another."""

    x = array(SEQUENCES)[..., None]

    def assertRefused(self, what, shape, loss_shape, function):
        with self.assertRaises(ValueError) as raised:
            function()
        for shown in (what, str(shape), str(loss_shape)):
            self.assertIn(shown, str(raised.exception))

    @parameterized.named_parameters(
        named(case=ACROSS_SAMPLES, reduction=["mean", "sum", None])
    )
    def test_sample_weight(self, case, reduction):
        shape = ACROSS_SAMPLES[case]
        loss = losses.MeanSquaredError(reduction=reduction)
        self.assertRefused(
            "sample_weight",
            shape,
            (2, 3),
            lambda: loss(np.zeros_like(self.x), self.x, np.ones(shape)),
        )

    @parameterized.named_parameters(named(case=["t", "n_more_t", "n_t_more"]))
    def test_mask(self, case):
        shape = ACROSS_SAMPLES[case]
        y_pred = masked(self.x, np.ones(shape, bool))
        self.assertRefused(
            "mask",
            shape,
            (2, 3),
            lambda: losses.MeanSquaredError()(np.zeros_like(self.x), y_pred),
        )

    @parameterized.named_parameters(
        named(method=["fit", "train_on_batch", "evaluate"])
    )
    def test_model(self, method):
        model = scaling_model((3, 1))
        weight = np.ones((2, 4), "float32")
        with self.assertRaises(ValueError) as raised:
            self.run_model(model, method, self.x, np.zeros_like(self.x), weight)
        # The size of the batch may be unknown where the error is found.
        self.assertRegex(str(raised.exception), r"\((2|None), 4\)")
        self.assertRegex(str(raised.exception), r"\((2|None), 3\)")
        self.assertEqual(kernel(model), 1.0)

    @parameterized.named_parameters(
        named(reduction=REDUCTIONS, has_mask=[False, True])
    )
    def test_sample_weight_of_a_scalar_loss(self, reduction, has_mask):
        y_true, y_pred = np.ones((3, 2)), 0.5 * np.ones((3, 2), "float32")
        weight = array([1, 2, 6])
        if has_mask:
            y_pred = masked(y_pred, np.array([True, True, False]))
        factor = {
            "sum_over_batch_size": 3 / 2 if has_mask else 3,
            "mean": 3 / 2 if has_mask else 3,
            "mean_with_sample_weight": 1,
            "sum": 3 if has_mask else 9,
        }[reduction]
        loss = losses.Dice(reduction=reduction)
        # Dice is 2 * 3 / (6 + 3).
        self.assertLoss(loss(y_true, y_pred, weight), factor / 3)

    def test_reduction(self):
        for refused in (
            lambda: Loss(reduction="median"),
            lambda: reduce_weighted_values(self.x, reduction="median"),
        ):
            with self.assertRaisesRegex(ValueError, "median"):
                refused()

    def test_mask_of_a_scalar_loss(self):
        # There is nothing left that could be masked.
        def one_number(y_true, y_pred):
            return ops.mean(ops.square(y_pred - y_true))

        y_pred = masked(self.x, np.array([[True, False, True]] * 2))
        loss = losses.LossFunctionWrapper(one_number)
        # (14 + 5) / 6
        self.assertLoss(loss(np.zeros_like(self.x), y_pred), 19 / 6)

    def test_number_for_all(self):
        # A number is no weight of one sample that is used for others.
        loss = losses.MeanSquaredError()
        for weight in (3, 3.0, np.float32(3), ops.convert_to_tensor(3.0)):
            value = loss(np.zeros_like(self.x), self.x, weight)
            # 3 * (14 + 5) / 6
            self.assertLoss(value, 9.5)

    @parameterized.named_parameters(
        named(shape=["1", "1_1", "1_3", "1_3_1"], reduction=REDUCTIONS)
    )
    def test_one_row_for_all_samples(self, shape, reduction):
        shape = tuple(map(int, shape.split("_")))
        has_timesteps = 3 in shape
        weight = np.reshape([1, 2, 3] if has_timesteps else [2], shape)
        # 1 + 8 + 27 + 2 + 12, and 2 * 19; the weights add up to 12.
        total = 50 if has_timesteps else 38
        divisor = {"sum": 1, "mean_with_sample_weight": 12}.get(reduction, 6)
        loss = losses.MeanSquaredError(reduction=reduction)
        self.assertLoss(loss(0 * self.x, self.x, weight), total / divisor)

    @parameterized.named_parameters(named(weight=["n_1", "n_t"]))
    def test_axes_of_size_1_within_a_sample(self, weight):
        # Images of 1 x 2: a weight for each row, and one for each column.
        x = array([[[1, 2]], [[3, 4]]])[..., None]
        weight, expected = {
            "n_1": ([[1], [10]], (5 + 250) / 4),
            "n_t": ([[[1, 2]], [[3, 4]]], (1 + 8 + 27 + 64) / 4),
        }[weight]
        loss = losses.MeanSquaredError()(np.zeros_like(x), x, array(weight))
        self.assertLoss(loss, expected)
