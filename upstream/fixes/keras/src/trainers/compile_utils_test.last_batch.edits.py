import numpy as np

from keras.src import initializers
from keras.src import layers
from keras.src import models


class TestCompileLoss:
    # adds: on TensorFlow, `a_loss` was 200.
    def test_each_batch_counts_by_its_size(self):
        inputs = layers.Input((1,))
        outputs = [
            layers.Dense(
                1,
                use_bias=False,
                kernel_initializer=initializers.Constant(kernel),
                name=name,
            )(inputs)
            for name, kernel in (("z", 1.0), ("a", 2.0))
        ]
        model = models.Model(inputs, outputs)
        model.compile(loss=["mse", "mse"])
        # Batches of 4 and of 3. The errors are 0 in the first one, and 10 for
        # `z` and 20 for `a` in the other.
        x = np.array([[0.0], [0.0], [0.0], [0.0], [10.0], [10.0], [10.0]])
        y = np.zeros((7, 1))
        logs = model.evaluate(
            x, [y, y], batch_size=4, verbose=0, return_dict=True
        )
        self.assertAllClose(logs["z_loss"], 3 * 100.0 / 7)
        self.assertAllClose(logs["a_loss"], 3 * 400.0 / 7)
        self.assertAllClose(logs["loss"], 3 * 500.0 / 7)
