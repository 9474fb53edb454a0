"""Tests of the metrics of losses."""

import threading

import numpy as np

from keras.src import backend
from keras.src import metrics
from keras.src import ops
from keras.src import testing
from keras.src.trainers import raw_loss
from keras.src.trainers.output_matcher import Batch


class Sizes:
    def __init__(self):
        self.sizes = raw_loss.BatchSizes()


class Terms:
    """What the total needs of `LossTerms`."""

    def __init__(self):
        self.variables = [backend.Variable(0.0)]
        self.sizes = []

    def collect(self, size):
        self.sizes.append(float(size))

    def reset_state(self):
        self.sizes.clear()


class RawLossTest(testing.TestCase):
    def test_it_is_a_mean(self):
        for metric in (raw_loss.LossMean("a_loss"), raw_loss.TotalLoss(None)):
            self.assertIsInstance(metric, metrics.Mean)
            self.assertEqual(metric._direction, "down")
            self.assertAllClose(metric.result(), 0.0)
            metric.update_state(6.0, sample_weight=2)
            metric.update_state(3.0)
            # (2 * 6 + 3) / 3
            self.assertAllClose(metric.result(), 5.0)
            self.assertAllClose(metric.variables, [15.0, 3.0])
            metric.reset_state()
            self.assertAllClose(metric.variables, [0.0, 0.0])
            self.assertAllClose(metric.result(), 0.0)

    def test_sums_are_wide(self):
        self.addCleanup(backend.set_floatx, backend.floatx())
        for floatx, wide in (("bfloat16", "float32"), ("float64", "float64")):
            backend.set_floatx(floatx)
            metric = raw_loss.LossMean("a_loss")
            self.assertEqual({v.dtype for v in metric.variables}, {wide})

    def test_record(self):
        means = [raw_loss.LossMean("a"), raw_loss.LossMean("b")]
        for size, values in ((3, [1.0, 2.0]), (1, [5.0, np.nan])):
            values = [ops.convert_to_tensor(v, "float16") for v in values]
            raw_loss.record(means, values, size)
        # (3 * 1 + 5) / 4; what is not a number shows in its own entry.
        self.assertAllClose(means[0].variables, [8.0, 4.0])
        self.assertAllClose(means[0].result(), 2.0)
        self.assertTrue(np.isnan(ops.convert_to_numpy(means[1].result())))

    def test_record_in_a_stateless_scope(self):
        mean = raw_loss.LossMean("a")
        values = [ops.convert_to_tensor(2.0)]
        with backend.StatelessScope() as scope:
            raw_loss.record([mean], values, 3)
        found = [scope.get_current_value(v) for v in mean.variables]
        found = list(map(ops.convert_to_numpy, found))
        self.assertAllClose(found, [6.0, 3.0])
        self.assertAllClose(mean.variables, [0.0, 0.0])

    def test_the_total_counts_as_the_losses_do(self):
        losses = Sizes()
        total = raw_loss.TotalLoss(losses)
        losses.sizes.put(3)
        losses.sizes.tell()
        total.update_state(2.0, sample_weight=7)
        # The size is handed on once.
        total.update_state(10.0, sample_weight=1)
        # (3 * 2 + 10) / 4
        self.assertAllClose(total.result(), 4.0)
        losses.sizes.put(3)
        losses.sizes.tell()
        # A step that gives no number of samples counts as one.
        total.update_state(9.0)
        # (3 * 2 + 10 + 9) / 5
        self.assertAllClose(total.result(), 5.0)
        losses.sizes.put(3)
        losses.sizes.tell()
        # Weights of values are no number of samples.
        total.reset_state()
        total.update_state([1.0, 5.0], sample_weight=[1.0, 3.0])
        self.assertAllClose(total.result(), 4.0)

    def test_a_loss_that_is_not_reduced(self):
        losses = Sizes()
        total = raw_loss.TotalLoss(losses)
        for values in ([1.0, 3.0], [5.0]):
            losses.sizes.put(len(values))
            losses.sizes.tell()
            total.update_state(values, sample_weight=7)
        # (2 * 2 + 5) / 3
        self.assertAllClose(total.result(), 3.0)

    def test_terms_are_part_of_the_total(self):
        total, terms = raw_loss.TotalLoss(None), Terms()
        own = list(total.variables)
        total.terms = terms
        self.assertEqual(
            list(map(id, total.variables)), list(map(id, own + terms.variables))
        )
        total.update_state(2.0, sample_weight=3)
        total.update_state(7.0, sample_weight=2)
        # (3 * 2 + 2 * 7) / 5
        self.assertAllClose(total.result(), 4.0)
        self.assertAllClose(terms.sizes, [3.0, 2.0])
        total.reset_state()
        self.assertAllClose(total.result(), 0.0)
        self.assertEmpty(terms.sizes)
        total.terms = None
        total.update_state(2.0)
        self.assertEmpty(terms.sizes)

    def test_sizes_of_another_graph(self):
        if backend.backend() != "tensorflow":
            self.skipTest("Only TensorFlow has tensors of graphs.")
        import tensorflow as tf

        losses = Sizes()
        total = raw_loss.TotalLoss(losses)

        @tf.function(input_signature=[tf.TensorSpec([None, 1], "float32")])
        def put(x):
            batch = Batch([None], [x], [None])
            losses.sizes.put(raw_loss.batch_size(batch, [0]))
            losses.sizes.tell()
            return losses.sizes.seen

        # Read at run time.
        for size in (3, 2):
            self.assertAllClose(put(tf.ones((size, 1))), size)
        total.update_state(2.0, sample_weight=7)
        self.assertAllClose(total.count, 7.0)

    def test_sizes_are_those_of_the_thread(self):
        sizes = raw_loss.BatchSizes()
        sizes.put(3)
        sizes.tell()
        found = []
        thread = threading.Thread(target=lambda: found.append(sizes.take()))
        thread.start()
        thread.join()
        self.assertEqual((found, sizes.take(), sizes.take()), ([None], 3, None))

    def test_batch_size(self):
        number, rows = np.zeros(()), np.zeros((4, 2))
        for labels, predictions, indices, expected in (
            ([np.zeros(3), rows], [rows, rows], [0, 1], 3),
            ([np.zeros(3), rows], [rows, rows], [1], 4),
            ([None, np.zeros(3)], [rows, rows], [0, 1], 4),
            ([number, np.zeros(3)], [number, rows], [0, 1], 3),
            ([number], [number], [0], 1),
            ([number, None], [number, rows], [0, 1], 4),
        ):
            batch = Batch(labels, predictions, [None] * len(labels))
            self.assertEqual(raw_loss.batch_size(batch, indices), expected)
        empty = Batch([np.zeros((0, 1))], [rows], [None])
        with self.assertRaisesRegex(ValueError, r"no samples.*\(0, 1\)"):
            raw_loss.batch_size(empty, [0])
