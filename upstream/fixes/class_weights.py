import numpy as np

import keras

model = keras.Sequential(
    [
        keras.Input((3, 1)),
        keras.layers.Dense(2, use_bias=False, kernel_initializer="zeros"),
    ]
)
model.compile("sgd", loss="mse")
# One sample of 3 positions, of the classes 0, 0 and 1. Each has a loss of 0.5:
# 0.5 * (1 + 1 + 4) / 3 = 1.
x, y = np.ones((1, 3, 1)), np.eye(2)[[[0, 0, 1]]]
try:
    found = model.train_on_batch(x, y, class_weight={0: 1.0, 1: 4.0})
except TypeError as error:
    found = f"TypeError({str(error)[:27]!r}...)"
print(f"loss: {found}, right: 1.0")
