import numpy as np
from absl.testing import parameterized

from keras.src import backend
from keras.src import ops


class TestCompileLoss:
    # adds: the count stayed 2112 in bfloat16, and 2100 in float16.
    @parameterized.parameters("bfloat16", "float16")
    def test_losses_are_summed_up_in_float32(self, floatx):
        before = backend.floatx()
        backend.set_floatx(floatx)
        try:
            compile_loss = CompileLoss(loss=["mse", "mse"])
            zeros, ones = [ops.zeros((1, 1))] * 2, [ops.ones((1, 1))] * 2
            compile_loss(zeros, zeros)
            metric = compile_loss.metrics[0]
            # As after 2,100 samples with a loss of 0; 100 with a loss of 1.
            metric.count.assign(2100)
            for _ in range(100):
                compile_loss(zeros, ones)
            result = metric.result()
        finally:
            backend.set_floatx(before)
        self.assertAllClose(np.array(float(result)), 100 / 2200)
