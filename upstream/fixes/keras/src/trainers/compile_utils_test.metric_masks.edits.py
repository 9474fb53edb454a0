import numpy as np

from keras.src import backend
from keras.src import ops


class TestCompileMetrics:
    # adds: the precision was 2/3, and the error 0.577.
    def test_masked_positions_do_not_count(self):
        received = []

        class Entries(metrics_module.Sum):
            def update_state(self, y_true, y_pred, sample_weight=None):
                received.append(sample_weight)
                super().update_state(ops.ones_like(y_pred))

        metrics = [
            metrics_module.Precision(name="precision"),
            metrics_module.RootMeanSquaredError(name="rmse"),
            metrics_module.MeanSquaredError(name="mse"),
            Entries(name="entries"),
        ]
        compile_metrics = CompileMetrics(metrics=metrics, weighted_metrics=[])
        # The last position is padding.
        y_true = np.array([[[1.0], [0.0], [0.0]], [[1.0], [1.0], [0.0]]])
        y_pred = ops.ones((2, 3, 1))
        mask = ops.convert_to_tensor([[True, True, False]] * 2)
        backend.set_keras_mask(y_pred, mask)
        compile_metrics.update_state(y_true, y_pred)
        result = compile_metrics.result()
        self.assertAllClose(result["precision"], 3 / 4)
        self.assertAllClose(result["rmse"], np.sqrt(1 / 4))
        self.assertAllClose(result["mse"], 1 / 4)
        # What users write gets what it got.
        self.assertAllClose(result["entries"], 6.0)
        self.assertEqual(received, [None])

    # adds: it was 0.5; this metric flattens what it gets.
    def test_masked_positions_do_not_count_in_iou(self):
        metrics = [metrics_module.BinaryIoU(name="iou")]
        compile_metrics = CompileMetrics(metrics=metrics, weighted_metrics=[])
        # Two labels for each position, and the last position is padding.
        y_true = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
        y_pred = ops.convert_to_tensor(
            [[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]], dtype="float32"
        )
        mask = ops.convert_to_tensor([[True, True, False]])
        backend.set_keras_mask(y_pred, mask)
        compile_metrics.update_state(y_true, y_pred)
        self.assertAllClose(compile_metrics.result()["iou"], 1.0)

    # adds: a mask and weights count both.
    def test_masked_positions_do_not_count_with_weights(self):
        metrics = [metrics_module.TruePositives(name="positives")]
        compile_metrics = CompileMetrics(metrics=[], weighted_metrics=metrics)
        y_pred = ops.ones((2, 3, 1))
        mask = ops.convert_to_tensor([[True, True, False]] * 2)
        backend.set_keras_mask(y_pred, mask)
        weights = np.array([[1.0, 2.0, 100.0], [4.0, 8.0, 100.0]])
        compile_metrics.update_state(np.ones((2, 3, 1)), y_pred, weights)
        result = compile_metrics.result()
        self.assertAllClose(result["positives"], 1 + 2 + 4 + 8)
        # Weights of samples.
        compile_metrics.reset_state()
        compile_metrics.update_state(
            np.ones((2, 3, 1)), y_pred, np.array([1.0, 10.0])
        )
        result = compile_metrics.result()
        self.assertAllClose(result["positives"], 2 * 1 + 2 * 10)
