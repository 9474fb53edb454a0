import numpy as np


class LossTest:
    # adds: with as many timesteps as samples, timesteps were weighed.
    def test_weights_of_samples(self):
        # The losses are 1 in the first sample, and 4 in the second.
        y_true = np.zeros((2, 2))
        y_pred = np.array([[1.0, 1.0], [2.0, 2.0]])
        weights = np.array([1.0, 3.0])
        loss = ExampleLoss()(y_true, y_pred, weights)
        self.assertAllClose(loss, (2 * 1.0 + 2 * 3 * 4.0) / 4)
        loss = ExampleLoss(reduction="mean_with_sample_weight")
        value = loss(y_true, y_pred, weights)
        self.assertAllClose(value, (2 * 1.0 + 2 * 3 * 4.0) / (2 + 2 * 3))
        # With other numbers of them, it was an error.
        y_true = np.zeros((2, 3))
        y_pred = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
        loss = ExampleLoss()(y_true, y_pred, weights)
        self.assertAllClose(loss, (3 * 1.0 + 3 * 3 * 4.0) / 6)
        # One row for all samples may be broadcast.
        loss = ExampleLoss()(y_true, y_pred, np.array([[0.0, 0.0, 1.0]]))
        self.assertAllClose(loss, (1.0 + 4.0) / 6)
        with self.assertRaisesRegex(ValueError, "from the first axis on"):
            ExampleLoss()(y_true, y_pred, np.array([0.0, 0.0, 1.0]))

    # adds: one number for all samples is what it was.
    @parameterized.parameters("sum_over_batch_size", "mean_with_sample_weight")
    def test_scalar_weight(self, reduction):
        y_true, y_pred = np.zeros((2, 3)), np.ones((2, 3))
        loss = ExampleLoss(reduction=reduction)(y_true, y_pred, 5.0)
        expected = 6 * 5.0 / 6 if reduction.startswith("sum") else 6 * 5.0 / 5.0
        self.assertAllClose(loss, expected)

    # adds: they were multiplied from the last axis on.
    def test_weights_of_samples_with_mask(self):
        y_pred = ops.convert_to_tensor([[1.0, 1.0], [2.0, 2.0]])
        mask = ops.convert_to_tensor([[True, False], [True, True]])
        backend.set_keras_mask(y_pred, mask)
        weights = ops.convert_to_tensor([1.0, 3.0])
        loss = ExampleLoss()(np.zeros((2, 2)), y_pred, weights)
        self.assertAllClose(loss, (1.0 + 2 * 3 * 4.0) / 3)
        self.assertAllClose(weights, [1.0, 3.0])

    # adds: with PyTorch, the user's weights had other values afterwards.
    def test_mask_does_not_change_weights(self):
        y_pred = ops.convert_to_tensor([[1.0, 1.0], [2.0, 2.0]])
        mask = ops.convert_to_tensor([[True, False], [True, True]])
        backend.set_keras_mask(y_pred, mask)
        weights = ops.convert_to_tensor([[1.0, 1.0], [3.0, 0.0]])
        loss = ExampleLoss()(np.zeros((2, 2)), y_pred, weights)
        self.assertAllClose(loss, (1.0 + 3 * 4.0) / 3)
        self.assertAllClose(weights, [[1.0, 1.0], [3.0, 0.0]])
