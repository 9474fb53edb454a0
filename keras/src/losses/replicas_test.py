"""Tests of how the shares of a batch add up.

Here the replicas are two halves of the CPU; real ones are those of
`integration_tests/replicas_test.py`.
"""

import threading
from unittest import mock

import numpy as np
from absl.testing import parameterized

from keras.src import backend
from keras.src import ops
from keras.src import testing
from keras.src.losses import replicas

if backend.backend() == "tensorflow":
    import tensorflow as tf

    try:
        # Only before its first operation; another test may have been faster.
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * 2,
        )
    except RuntimeError:
        pass

# Means 3 and 11, of all of them 5; three quarters of the batch, and one.
SHARES = [[1.0, 2.0, 6.0], [11.0]]


def tensor(values, dtype="float32"):
    return ops.convert_to_tensor(values, dtype)


class OneReplicaTest(testing.TestCase):
    """Nothing happens."""

    def test_numbers_are_left_alone(self):
        numbers = [tensor(2.0), tensor([1.0, 3.0])]
        # Not even data is looked at.
        with replicas.replica_share(None):
            self.assertIs(replicas.unscale_losses(numbers), numbers)
            for number in numbers:
                for function in (
                    replicas.scale_loss_for_distribution,
                    replicas.unscale_loss_for_distribution,
                ):
                    self.assertIs(function(number), number)
            found = replicas.of_all_replicas(*numbers)
        self.assertEqual(list(map(id, found)), list(map(id, numbers)))


class UnknownSharesTest(testing.TestCase):
    """Outside of a trainer's step, all replicas count alike."""

    def setUp(self):
        super().setUp()
        count = mock.patch.object(replicas, "_replicas", lambda: 4)
        self.enterContext(count)

    @parameterized.parameters("float16", "bfloat16", "float32")
    def test_scale(self, dtype):
        value = tensor(6.0, dtype)
        for function, expected in (
            (replicas.scale_loss_for_distribution, 1.5),
            (replicas.unscale_loss_for_distribution, 24.0),
            (lambda x: replicas.unscale_losses([x])[0], 24.0),
        ):
            found = function(value)
            self.assertEqual(found.dtype, value.dtype)
            self.assertAllClose(ops.cast(found, "float32"), expected)

    def test_all_have_the_same_numbers(self):
        found = replicas.of_all_replicas(tensor(3.0), tensor(5.0))
        self.assertAllClose(list(map(float, found)), [12.0, 20.0])

    def test_several_losses(self):
        found = replicas.unscale_losses([tensor(1.0), tensor(2.0)])
        self.assertAllClose(list(map(float, found)), [4.0, 8.0])

    def test_a_replica_without_samples(self):
        with mock.patch.object(replicas._SHARE, "value", tensor(0.0)):
            scaled = replicas.scale_loss_for_distribution(tensor(6.0))
            self.assertAllClose(scaled, 0.0)
            unscaled = replicas.unscale_loss_for_distribution(scaled)
            self.assertAllClose(unscaled, 0.0)

    def test_a_share_is_that_of_one_thread(self):
        found = []

        def scale():
            found.append(replicas.scale_loss_for_distribution(tensor(6.0)))

        with mock.patch.object(replicas._SHARE, "value", tensor(0.5)):
            thread = threading.Thread(target=scale)
            thread.start()
            thread.join()
            scale()
        self.assertAllClose(list(map(float, found)), [1.5, 3.0])


class TwoReplicasTest(testing.TestCase):
    """In a trainer's step, they count by how many samples they have."""

    def setUp(self):
        super().setUp()
        if backend.backend() != "tensorflow":
            self.skipTest("Only `tf.distribute` runs a loss on each replica.")
        devices = [d.name for d in tf.config.list_logical_devices("CPU")]
        if len(devices) < 2:
            self.skipTest("TensorFlow was in use before it got two CPUs.")
        # Collective operations of several strategies in one process may get
        # the same number, and are then refused for their shapes.
        self.strategy = tf.distribute.MirroredStrategy(
            devices[:2], tf.distribute.ReductionToOneDevice()
        )

    def run_on_each(self, function, shares):
        """What a function of a replica's share returns on each of them."""
        shares = [np.array(share, "float32") for share in shares]
        data = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                shares[context.replica_id_in_sync_group]
            )
        )
        # In a graph, as in a step.
        results = tf.function(
            lambda data: self.strategy.run(function, args=(data,))
        )(data)
        results = tf.nest.map_structure(
            self.strategy.experimental_local_results, results
        )
        return tf.nest.map_structure(float, results)

    def test_means_add_up(self):
        def step(x):
            mean = tf.reduce_mean(x)
            with replicas.replica_share({"a": [None, x], "b": 0 * x[:1]}):
                scaled = replicas.scale_loss_for_distribution(mean)
                (again,) = replicas.unscale_losses([scaled])
            return scaled, again

        scaled, again = self.run_on_each(step, SHARES)
        # 3 * 3 / 4 and 11 / 4, which is 5.
        self.assertAllClose(scaled, [2.25, 2.75])
        self.assertAllClose(again, [3.0, 11.0])

    def test_numbers_of_all(self):
        def step(x):
            numbers = tf.reduce_sum(x), tf.cast(tf.size(x), "float32")
            with replicas.replica_share(x):
                known = replicas.of_all_replicas(*numbers)
            return known, replicas.of_all_replicas(*numbers)

        known, unknown = self.run_on_each(step, SHARES)
        # 9 and 11 of 3 and 1: each replica gets the sums.
        self.assertAllClose(known, [[20.0, 20.0], [4.0, 4.0]])
        # Each one takes the other to be like itself.
        self.assertAllClose(unknown, [[18.0, 22.0], [6.0, 2.0]])

    def test_a_replica_without_samples(self):
        def step(x):
            with replicas.replica_share(x):
                total = replicas.scale_loss_for_distribution(tf.constant(5.0))
                return total, replicas.unscale_loss_for_distribution(total)

        total, again = self.run_on_each(step, [[1.0, 2.0], []])
        self.assertAllClose(total, [5.0, 0.0])
        self.assertAllClose(again, [5.0, 0.0])

    def test_shares_end_with_the_step(self):
        def step(x):
            try:
                with replicas.replica_share(x):
                    raise ArithmeticError
            except ArithmeticError:
                return replicas.scale_loss_for_distribution(tf.constant(6.0))

        # Half of it, though the shares are others.
        self.assertAllClose(self.run_on_each(step, SHARES), [3.0, 3.0])
