import numpy as np

import keras

model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile("sgd", loss="mse")
try:
    found = model.fit(np.ones((0, 1)), np.ones((0, 1)), verbose=0).history
except (Exception, StopIteration) as error:
    found = f"{type(error).__name__}({str(error)[:60]!r})"
print(f"no samples: {found}; right: a ValueError that says so")
