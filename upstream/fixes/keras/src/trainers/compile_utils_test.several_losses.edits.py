import numpy as np


class TestCompileLoss:
    # adds: the loss was 25, and both metrics were 0.
    def test_several_losses_of_single_output(self):
        compile_loss = CompileLoss(loss=["mse", "mae"], loss_weights=[1, 10])
        # The errors are 5 in the first batch, of 3 samples, and 1 in the
        # other one, of one sample.
        y_pred = np.full((3, 2), 5.0)
        value = compile_loss(np.zeros((3, 2)), y_pred)
        self.assertAllClose(value, 25.0 + 10 * 5.0)
        value = compile_loss(np.zeros((1, 2)), np.ones((1, 2)))
        self.assertAllClose(value, 1.0 + 10 * 1.0)
        mse, mae = [metric.result() for metric in compile_loss.metrics]
        self.assertAllClose(mse, (3 * 25.0 + 1.0) / 4)
        self.assertAllClose(mae, (3 * 5.0 + 1.0) / 4)
