import numpy as np

import keras

# The first sample alone counts. It has 2 of the 4 squared errors, 1 each:
# (1 + 1) / 4 = 0.5.
errors = np.array([[[1.0], [1.0]], [[2.0], [2.0]]], "float32")
loss = keras.losses.MeanSquaredError()
loss = float(loss(0 * errors, errors, sample_weight=np.array([1.0, 0.0])))
print(f"loss: {loss}, right: 0.5")
