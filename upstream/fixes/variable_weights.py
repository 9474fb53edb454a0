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
weight = keras.Variable(1.0)
model.compile(
    keras.optimizers.SGD(0.0), loss=["mse", "mse"], loss_weights=[1.0, weight]
)
# The losses are 1 for `z` and 4 for `a`: 1 + 10 * 4 = 41.
x, y = np.ones((2, 1)), np.zeros((2, 1))
model.fit(x, [y, y], verbose=0)
weight.assign(10.0)
history = model.fit(x, [y, y], verbose=0).history
print(f"loss: {history['loss'][0]}, right: 41.0")
