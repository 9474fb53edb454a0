import os
import tempfile

import numpy as np

import keras

model = keras.Sequential(
    [
        keras.Input((1,)),
        keras.layers.Dense(1, use_bias=False, kernel_initializer="ones"),
    ]
)
model.compile(
    keras.optimizers.SGD(0.25, momentum=0.5), loss="mean_squared_error"
)
x, y = np.ones((2, 1)), np.zeros((2, 1))
# The gradient is twice the kernel: 1 - 0.25 * 2 = 0.5. With half of that step
# as momentum, the next one ends at 0.5 - 0.25 - 0.25 = 0.
model.fit(x, y, verbose=0)
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model.h5")
    model.save(path)
    loaded = keras.models.load_model(path)
try:
    loaded.fit(x, y, verbose=0)
    found = float(loaded.get_weights()[0][0, 0])
except ValueError as error:
    found = f"ValueError({str(error)[:16]!r}...)"
print(f"kernel: {found}, right: 0.0")
