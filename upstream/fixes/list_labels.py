import numpy as np

import keras


def head(name, kernel):
    return keras.layers.Dense(
        1,
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(kernel),
        name=name,
    )


x = keras.Input((1,))
model = keras.Model(x, [head("z", 1.0)(x), head("a", 2.0)(x)])
model.compile("sgd", loss=["mse", "mse"])


def batches():
    for _ in range(2):
        yield np.ones((2, 1)), [np.zeros((2, 1)), np.zeros((2, 1))]


# The losses are 1 for `z` and 4 for `a`.
try:
    logs = model.evaluate(batches(), steps=2, verbose=0, return_dict=True)
    found = logs["loss"]
except TypeError as error:
    found = f"TypeError({str(error)[:34]!r}...)"
print(f"loss: {found}, right: 5.0")
