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
model.compile("sgd", loss=["mse", "mse"], loss_weights={"a": 10, "z": 1})
# The losses are 1 for `z` and 4 for `a`: 1 * 1 + 10 * 4 = 41.
x, y = np.ones((2, 1)), np.zeros((2, 1))
logs = model.evaluate(x, [y, y], verbose=0, return_dict=True)
print(f"loss: {logs['loss']}, right: 41.0")
