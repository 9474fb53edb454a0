import numpy as np

import keras

model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile("sgd", loss="mse", metrics=["mae"])
model.compile("sgd", loss="mse")
x, y = np.ones((2, 1)), np.zeros((2, 1))
logs = model.evaluate(x, y, verbose=0, return_dict=True)
print(f"logs: {sorted(logs)}, right: ['loss']")
