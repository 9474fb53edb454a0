import numpy as np

import keras

keras.config.set_floatx("bfloat16")
model = keras.Sequential(
    [
        keras.Input((1,)),
        keras.layers.Dense(1, use_bias=False, kernel_initializer="ones"),
    ]
)
model.compile("sgd", loss="mse")
# 300 samples without an error, and 300 with an error of 4: (0 + 16) / 2 = 8.
x, y = np.repeat([[0.0], [4.0]], 300, axis=0), np.zeros((600, 1))
logs = model.evaluate(x, y, batch_size=1, verbose=0, return_dict=True)
print(f"loss: {logs['loss']}, right: 8.0")
