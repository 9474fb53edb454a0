import numpy as np

import keras

model = keras.Sequential([keras.Input((3, 1)), keras.layers.Dense(2)])
model.compile("sgd", loss="mse")
# Vectors of two classes for 3 positions of each sample.
x, y = np.ones((4, 3, 1)), np.ones((4, 3, 2))
try:
    model.train_on_batch(x, y, class_weight={0: 1.0, 1: 2.0})
except Exception as error:
    print(f"{type(error).__name__}({str(error)[:60]!r}); right: ValueError")
