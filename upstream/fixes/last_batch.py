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
# A batch of 4 samples without an error, and one of 3 with an error of 20 in
# `a`: 3 * 20² / 7 = 171.43.
x, y = np.array([[0.0]] * 4 + [[10.0]] * 3), np.zeros((7, 1))
logs = model.evaluate(x, [y, y], batch_size=4, verbose=0, return_dict=True)
print(f"a_loss: {logs['a_loss']:.2f}, right: 171.43")
