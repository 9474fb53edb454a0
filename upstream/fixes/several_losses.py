import numpy as np

import keras

model = keras.Sequential(
    [
        keras.Input((1,)),
        keras.layers.Dense(1, use_bias=False, kernel_initializer="ones"),
    ]
)
model.compile("sgd", loss=["mse", "mae"])
# An error of 5: its square is 25, and 25 + 5 = 30.
x, y = np.full((2, 1), 5.0), np.zeros((2, 1))
loss, mse, mae = model.evaluate(x, y, verbose=0)
print(f"loss, mse, mae: {loss}, {mse}, {mae}; right: 30.0, 25.0, 5.0")
