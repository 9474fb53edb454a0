"""Tests of whose the metrics are, what they are handed and called."""

import warnings

import numpy as np
import pytest
from absl.testing import parameterized

from keras.src import backend
from keras.src import losses
from keras.src import metrics
from keras.src import ops
from keras.src import testing
from keras.src.trainers import metric_plan
from keras.src.trainers.metric_plan import MetricsList
from keras.src.trainers.metric_plan import get_metrics_list
from keras.src.trainers.output_matcher import OutputMatcher

ZEROS = np.zeros((5, 1), "float32")
X = np.array([[0.0], [0.0], [0.0], [0.0], [10.0]], "float32")
# Two samples with two timesteps each.
ERRORS = np.array([[1.0, 3.0], [5.0, 7.0]], "float32")
MASK = np.array([[True, False], [True, True]])


def own_metric(y_true, y_pred):
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


class Recorder(metrics.Metric):
    """A metric of a user's, which keeps what it was handed."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.handed = y_true, y_pred, sample_weight

    def result(self):
        return 0.0


class TwoResults(Recorder):
    def result(self):
        return {"low": 1.0, "high": 2.0}


def masked(y_pred, mask):
    y_pred = ops.convert_to_tensor(y_pred)
    backend.common.masking.set_keras_mask(y_pred, ops.convert_to_tensor(mask))
    return y_pred


class MetricsListTest(testing.TestCase):
    def test_names(self):
        metrics_list = MetricsList([], name="of_a", output_name="a")
        self.assertEqual(metrics_list.name, "of_a")
        self.assertEqual(metrics_list.output_name, "a")

    def test_no_config(self):
        with self.assertRaises(NotImplementedError):
            MetricsList([]).get_config()
        with self.assertRaises(NotImplementedError):
            MetricsList.from_config({})

    def test_none_is_no_metric(self):
        self.assertIsNone(get_metrics_list(None, ZEROS, X))
        metrics_list = get_metrics_list("mae", ZEROS, X, "a")
        self.assertEqual(metrics_list.output_name, "a")

    def test_all_are_updated_and_reset(self):
        metrics_list = get_metrics_list(("mae", "mse"), ZEROS, X)
        for _ in range(2):
            metrics_list.update_state(ZEROS, X)
            results = [float(one.result()) for one in metrics_list.metrics]
            # 10 / 5 and 100 / 5
            self.assertAllClose(results, [2.0, 20.0])
            metrics_list.reset_state()
            results = [float(one.result()) for one in metrics_list.metrics]
            self.assertAllClose(results, [0.0, 0.0])
        # 10 counts once, and the zeros three times in all.
        weights = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
        metrics_list.update_state(ZEROS, X, weights)
        results = [float(one.result()) for one in metrics_list.metrics]
        self.assertAllClose(results, [2.5, 25.0])

    def test_a_loss_of_one_number_as_a_metric(self):
        """It is the value of each sample, and of each entry of a mask."""

        class Largest(losses.Loss):
            def call(self, y_true, y_pred):
                return ops.max(ops.abs(y_true - y_pred))

        metrics_list = get_metrics_list([Largest()], ZEROS, X)
        for x in (X[:4], X[4:]):
            metrics_list.update_state(0 * x, x)
        # Four times 0, and 10 once.
        self.assertAllClose(metrics_list.metrics[0].result(), 2.0)
        metrics_list.reset_state()
        for largest, mask in (
            (1.0, [[True, True], [True, False]]),
            (7.0, [[True, False], [False, False]]),
        ):
            y_pred = ops.full((2, 2, 1), largest)
            backend.common.masking.set_keras_mask(
                y_pred, ops.convert_to_tensor(mask)
            )
            metrics_list.update_state(ops.zeros((2, 2, 1)), y_pred)
        # (3 * 1 + 7) / 4
        found = metrics_list.metrics[0].result()
        self.assertAllClose(found, 2.5)


class CheckMetricsTest(testing.TestCase):
    def check(self, first, second=None):
        arguments = {"metrics": first, "weighted_metrics": second}
        metric_plan.check_metrics(arguments)

    def test_what_is_taken(self):
        for given in (
            None,
            [],
            {},
            ["mae", None, own_metric],
            ("mae", metrics.Precision),
            {"a": ["accuracy", "mae"], "b": {"c": "ce", "d": None}},
            [{"class_name": "Mean", "config": {"name": "mean"}}],
        ):
            self.check(given, given)

    def test_two_objects_of_a_kind(self):
        self.check([metrics.Precision(), metrics.Precision()], ["mae", "mae"])

    @parameterized.parameters("mae", own_metric, metrics.Precision)
    def test_what_is_no_container(self, given):
        kind = type(given).__name__
        with self.assertRaisesRegex(
            ValueError, f"Invalid `weighted_metrics`. It is of type.*{kind}"
        ):
            self.check(["mae"], given)

    def test_what_is_no_metric(self):
        for bad in ("Mse", 3):
            text = f"`metrics`. Could not interpret metric.*: {bad!r}"
            with self.assertRaisesRegex(ValueError, text):
                self.check({"a": ["mae", bad]})

    def test_an_object_that_is_used_twice(self):
        metric = metrics.Precision(name="mine")
        for arguments in (
            ([metric, metric],),
            ({"a": [metric], "b": {"c": metric}},),
            ([metric], {"a": metric}),
        ):
            last = ("metrics", "weighted_metrics")[len(arguments) - 1]
            text = f"Invalid `{last}`. The metric object .*mine.* used twice"
            with self.assertRaisesRegex(ValueError, text):
                self.check(*arguments)


class MatchMetricsTest(testing.TestCase):
    """Which output has which metrics."""

    def match(self, given, outputs, names=None):
        matcher = OutputMatcher(outputs, names)
        return metric_plan.match_metrics("metrics", given, matcher)

    @parameterized.parameters(
        (None, {}),
        ([], {}),
        ({}, {}),
        (["mae"], {0: ["mae"]}),
        (["mae", None, "mse"], {0: ["mae", "mse"]}),
        # However they are nested.
        ([["mae", ("mse",)], None], {0: ["mae", "mse"]}),
        ([None], {}),
        ({"a": "mae"}, {0: ["mae"]}),
        ({"a": ["mae", None]}, {0: ["mae"]}),
        ({"a": None}, {}),
    )
    def test_one_output(self, given, expected):
        self.assertEqual(self.match(given, X, ["a"]), expected)
        # Without a name, any key can only mean that output.
        self.assertEqual(self.match(given, X), expected)

    @parameterized.parameters(
        (["mae", "mse"], {0: ["mae"], 1: ["mse"]}),
        ([["mae", "mse"], None], {0: ["mae", "mse"]}),
        ([[None, "mae"], ["mse"]], {0: ["mae"], 1: ["mse"]}),
        ({"b": ["mse"], "a": "mae"}, {0: ["mae"], 1: ["mse"]}),
        ({"b": "mae"}, {1: ["mae"]}),
        ([None, [None]], {}),
    )
    def test_two_outputs(self, given, expected):
        found = self.match(given, [X, X], ["a", "b"])
        self.assertEqual(found, expected)
        # In the order of the outputs.
        self.assertEqual(list(found), list(expected))

    def test_a_sub_structure(self):
        y = {"a": [X, X], "b": X}
        found = self.match({"a": "mae"}, y)
        self.assertEqual(found, {0: ["mae"], 1: ["mae"]})
        with self.assertRaisesRegex(ValueError, "used twice"):
            self.match({"a": metrics.MeanSquaredError()}, y)

    @parameterized.parameters((["mae"],), ({"c": "mae"},), (["mae"] * 3,))
    def test_what_does_not_match(self, given):
        with self.assertRaisesRegex(ValueError, "Invalid `metrics`"):
            self.match(given, [X, X], ["a", "b"])


class NeedLabelsTest(testing.TestCase):
    def test_only_metrics_of_keras_own_need_them(self):
        lists = {
            "metrics": {3: [Recorder()], 2: ["mae"]},
            "weighted_metrics": {
                4: [lambda y_true, y_pred: y_pred],
                1: [{"class_name": "MeanAbsoluteError", "config": {}}],
                0: [Recorder(), metrics.MeanAbsoluteError()],
            },
        }
        self.assertEqual(metric_plan.need_labels(lists), [0, 1, 2])


class FirstLabelsTest(testing.TestCase):
    def test_labels_that_are_named(self):
        matcher = OutputMatcher({"h": {"p": 0, "q": 0}})
        for y_true in (
            # Sorted, it comes before those of the outputs.
            {"a_further": 1, "h": {"p": 2, "q": 3}},
            {"a_further": 1, "h/p": 2, "h/q": 3},
        ):
            found = metric_plan.first_labels(y_true, matcher)
            self.assertIs(found, y_true)

    def test_labels_that_are_not(self):
        matcher = OutputMatcher([0, 0])
        for y_true, expected in (
            ((1, 2, 3), [1, 2]),
            ({"b": 2, "a": 1, "c": 3}, [1, 2]),
            ((1, 2), (1, 2)),
            (None, None),
        ):
            found = metric_plan.first_labels(y_true, matcher)
            self.assertEqual(found, expected)


class NamesTest(testing.TestCase):
    def test_names_of_their_own(self):
        for metric, expected in (
            ("mae", "mae"),
            (own_metric, "own_metric"),
            (metrics.Precision(name="mine"), "mine"),
            # These have to be made first.
            (metrics.Precision, None),
            ({"class_name": "Mean", "config": {}}, None),
        ):
            self.assertEqual(metric_plan.name_of(metric), expected)

    @parameterized.parameters(
        ((), "mine"),
        (("other",), "mine"),
        (("mine",), "mine_1"),
        (("mine", "mine_1", "mine_3"), "mine_2"),
    )
    def test_metrics_of_the_model(self, taken, expected):
        metric = metrics.Mean(name="mine")
        self.assertEqual(metric_plan.logged_name(metric, taken), expected)

    def test_a_metric_called_loss(self):
        metric = metrics.Mean(name="loss")
        self.assertEqual(metric_plan.logged_name(metric, {"loss"}), "loss")

    def test_results_that_are_dicts(self):
        metric = TwoResults()
        self.assertIsNone(metric_plan.result_names(metric))
        result = metric_plan.result_of(metric)
        self.assertEqual(result, {"low": 1.0, "high": 2.0})
        self.assertEqual(metric_plan.result_names(metric), ("low", "high"))
        metric = Recorder()
        self.assertEqual(metric_plan.result_of(metric), 0.0)
        self.assertIsNone(metric_plan.result_names(metric))

    def assertNamed(self, outputs, names, lists, expected, taken=("loss",)):
        first, second = lists
        named = metric_plan.name_metrics(
            {"metrics": first, "weighted_metrics": second},
            OutputMatcher(outputs, names),
            taken,
        )
        self.assertEqual(list(named), expected)
        given = [m for one in lists for found in one.values() for m in found]
        self.assertEqual(list(named.values()), given)

    def test_one_output(self):
        lists = {0: ["mae", "mae", "mse"]}, {0: ["mae", "mape", "mae"]}
        expected = ["mae", "mae_1", "mse", "weighted_mae", "mape"]
        expected.append("weighted_mae_1")
        for outputs in (X, [X], {"a": X}):
            for names in (None, ["a"]):
                self.assertNamed(outputs, names, lists, expected)

    def test_names_that_are_taken(self):
        self.assertNamed(
            X,
            None,
            ({0: ["mae"]}, {0: ["mse"]}),
            ["mae_2", "mse_1"],
            taken=("mae", "mae_1", "mse"),
        )

    @parameterized.parameters(
        ([X, X], ["a", "b"]), ({"a": X, "b": X}, None), ((X, X), ("a", "b"))
    )
    def test_outputs_with_names(self, outputs, names):
        self.assertNamed(
            outputs,
            names,
            ({0: ["mae"], 1: ["mae", "mae"]}, {1: ["mae", "mse"]}),
            ["a_mae", "b_mae", "b_mae_1", "b_weighted_mae", "b_mse"],
        )

    def test_outputs_without_names(self):
        lists = {0: ["mae"], 1: ["mae"]}, {0: ["mse"]}
        self.assertNamed([X, X], None, lists, ["mae", "mae_1", "mse"])

    @parameterized.parameters(
        (({2: ["mae"] * 3}, {}), ["mae", "mae_1", "mae_2"]),
        (({0: ["mae"], 2: ["mae"]}, {}), ["mae", "mae_1"]),
        (({0: ["mae"]}, {2: ["mae"]}), ["mae", "weighted_mae"]),
        (({0: ["mae"], 2: ["mse"]}, {}), ["mae", "mse"]),
    )
    def test_nested_outputs(self, lists, expected):
        outputs = {"a": {"c": X, "d": X}, "b": X}
        self.assertNamed(outputs, None, lists, expected)

    def test_nested_outputs_with_names_of_the_model(self):
        lists = {0: ["mae"], 2: ["mse"]}, {}
        outputs, names = {"a": {"c": X, "d": X}, "b": X}, ["x", "y", "z"]
        self.assertNamed(outputs, names, lists, ["x_mae", "z_mse"])


class UpdateTest(testing.TestCase):
    """What a metric is handed."""

    def assertResult(
        self, metric, y_true, y_pred, sample_weight, expected, mask=None
    ):
        if mask is not None:
            y_pred = masked(y_pred, mask)
        metric_plan.update(metric, y_true, y_pred, sample_weight)
        self.assertAllClose(metric.result(), expected, rtol=1e-5)

    @parameterized.parameters((None,), (MASK,))
    def test_a_user_s_gets_what_there_is(self, mask):
        metric, y_true = Recorder(), ERRORS[:, 0]
        y_pred = ops.convert_to_tensor(ERRORS)
        if mask is not None:
            y_pred = masked(y_pred, mask)
        for weight in (None, np.ones(2)):
            metric_plan.update(metric, y_true, y_pred, weight)
            for found, given in zip(metric.handed, (y_true, y_pred, weight)):
                self.assertIs(found, given)

    def test_a_function_of_a_user_s_is_warned_of(self):
        def difference(y_true, y_pred):
            return ops.mean(ops.abs(y_true - y_pred), axis=-1)

        metric = metrics.MeanMetricWrapper(difference)
        y_pred = ops.convert_to_tensor([[1.0], [3.0]])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            metric_plan.update(metric, ops.zeros((2, 1)), y_pred, None)
        self.assertEmpty(caught)
        with self.assertWarnsRegex(UserWarning, r"`difference`.*\(2,\) and"):
            metric_plan.update(metric, ops.zeros(2), y_pred, None)

    def test_a_class_of_a_user_s_is_not_warned_of(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            metric_plan.update(Recorder(), np.zeros(2), np.ones((2, 1)), None)

    @parameterized.named_parameters(
        # 16 / 4
        ("nothing", None, None, 4.0),
        # (2 * 4 + 12) / 6
        ("samples", [2.0, 1.0], None, 20 / 6),
        ("samples_1", [[2.0], [1.0]], None, 20 / 6),
        # (1 + 2 * 7) / 3
        ("timesteps", [[1.0, 0.0], [0.0, 2.0]], None, 5.0),
        # 13 / 3
        ("mask", None, MASK, 13 / 3),
        # (2 * 1 + 5 + 7) / 4
        ("samples_and_mask", [2.0, 1.0], MASK, 3.5),
        # (4 * 1 + 2 * 5) / 6; the weight of 3 is masked.
        ("timesteps_and_mask", [[4.0, 3.0], [2.0, 0.0]], MASK, 14 / 6),
    )
    def test_means_of_entries(self, weight, mask, expected):
        weight = None if weight is None else np.array(weight, "float32")
        y_pred = ERRORS[..., None]
        for labels in (np.zeros((2, 2, 1)), np.zeros((2, 2))):
            self.assertResult(
                metrics.MeanAbsoluteError(),
                labels,
                y_pred,
                weight,
                expected,
                mask,
            )

    def test_labels_stay_labels(self):
        y_true, y_pred = np.array([2.0, 4.0]), np.array([1.0, 4.0])
        # Half of 2, and nothing; the other way round, it is all of 1.
        metric = metrics.MeanAbsolutePercentageError()
        self.assertResult(metric, y_true, y_pred, np.ones(2), 25.0)
        metric = metrics.MeanAbsolutePercentageError()
        self.assertResult(metric, y_true[:, None], y_pred[:, None], None, 25.0)

    def test_weights_of_numbers(self):
        """Labels and predictions `(batch_size,)`."""
        y_pred, weight = np.array([1.0, 3.0]), np.array([3.0, 1.0])
        # (3 * 1 + 3) / 4
        metric = metrics.MeanAbsoluteError()
        self.assertResult(metric, np.zeros(2), y_pred, weight, 1.5)
        metric = metrics.MeanAbsoluteError()
        mask = np.array([False, True])
        self.assertResult(metric, np.zeros(2), y_pred, weight, 3.0, mask)

    @parameterized.named_parameters(
        # Right are three of four.
        ("nothing", None, None, 3 / 4),
        # (3 + 1 + 1) / 8
        ("samples", [3.0, 1.0], None, 5 / 8),
        # Of what is left, all but one.
        ("mask", None, [[True, True], [False, True]], 2 / 3),
        # (3 + 1) / 7
        ("both", [3.0, 1.0], [[True, True], [False, True]], 4 / 7),
    )
    def test_means_of_vectors(self, weight, mask, expected):
        classes = np.array([[0, 1], [2, 2]])
        y_true = np.eye(3, dtype="float32")[classes]
        y_pred = np.eye(3, dtype="float32")[[[0, 2], [2, 2]]]
        weight = None if weight is None else np.array(weight, "float32")
        mask = None if mask is None else np.array(mask)
        for metric, labels in (
            (metrics.CategoricalAccuracy(), y_true),
            (metrics.SparseCategoricalAccuracy(), classes),
        ):
            self.assertResult(metric, labels, y_pred, weight, expected, mask)

    def test_masks_of_predictions_without_classes(self):
        # Found are two, of which the second is wrong; the third is masked.
        self.assertResult(
            metrics.Precision(),
            np.array([[1.0, 1.0], [0.0, 0.0]]),
            np.array([[0.9, 0.1], [0.9, 0.9]], "float32"),
            None,
            0.5,
            np.array([[True, True], [True, False]]),
        )

    def test_sample_weights_without_a_mask(self):
        """A weight for each sample, where predictions have timesteps."""
        # Found are 3, 1 and 1, of which the last one is wrong.
        self.assertResult(
            metrics.Precision(),
            np.array([[[1.0], [1.0]], [[1.0], [0.0]]], "float32"),
            np.array([[[0.9], [0.1]], [[0.9], [0.9]]], "float32"),
            np.array([3.0, 1.0]),
            4.0 / 5.0,
        )

    @parameterized.parameters(
        # Of class 0, both are found and nothing else, but for one: 2 / 3.
        (None, None, 2 / 3),
        # (3 + 1) / (3 + 3 + 1)
        ([3.0, 1.0], None, 4 / 7),
        # Without the one that is not found.
        (None, [[True, False, True], [True, True, True]], 1.0),
        # 3 / (3 + 3)
        ([3.0, 1.0], [[True, True, True], [True, True, False]], 1 / 2),
    )
    def test_intersection_over_union(self, weight, mask, expected):
        y_true = np.array([[0, 0, 1], [1, 1, 0]])
        y_pred = np.array([[0, 1, 1], [1, 1, 0]])
        one_hot = np.eye(2, dtype="float32")
        weight = None if weight is None else np.array(weight, "float32")
        mask = None if mask is None else np.array(mask)
        for metric, *data in (
            (metrics.IoU(2, [0]), y_true, y_pred),
            (metrics.OneHotIoU(2, [0]), one_hot[y_true], one_hot[y_pred]),
        ):
            self.assertResult(metric, *data, weight, expected, mask)

    @pytest.mark.skipif(
        backend.backend() != "tensorflow", reason="about TensorFlow's graphs"
    )
    def test_intersection_over_union_of_batches_of_any_size(self):
        import tensorflow as tf

        metric = metrics.IoU(2, [0])
        labels = tf.TensorSpec((None, None), "int32")
        weight = tf.TensorSpec((None,), "float32")
        update = tf.function(
            lambda *data: metric_plan.update(metric, *data),
            input_signature=(labels, labels, weight),
        )
        update(
            np.array([[0, 0, 1], [1, 1, 0]]),
            np.array([[0, 1, 1], [1, 1, 0]]),
            np.array([3.0, 1.0], "float32"),
        )
        # As above.
        self.assertAllClose(metric.result(), 4 / 7)

    @parameterized.parameters(((3,),), ((3, 1),))
    def test_f_beta_counts_samples(self, shape):
        # One is found, one is not, and one is found that is not there: by
        # weights 1, 3 and 2, that is 2 * 1 / (2 * 1 + 3 + 2).
        self.assertResult(
            metrics.F1Score(average="micro", threshold=0.5),
            np.array([[1.0], [1.0], [0.0]], "float32"),
            np.array([[0.9], [0.1], [0.9]], "float32"),
            np.array([1.0, 3.0, 2.0], "float32").reshape(shape),
            2 / 7,
        )

    def test_weights_that_do_not_fit(self):
        for metric in (metrics.Precision(), metrics.Recall()):
            with self.assertRaisesRegex(ValueError, "`sample_weight`"):
                metric_plan.update(metric, ERRORS, ERRORS, np.ones(3))
            self.assertAllClose(metric.result(), 0.0)
