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
x, y = np.ones((2, 1)), np.zeros((2, 1))
model.evaluate(x, [y, y], verbose=0)
stopping = keras.callbacks.EarlyStopping(monitor="val_a_loss")
stopping.set_model(model)
try:
    stopping._set_monitor_op()
    found = stopping.monitor_op.__name__
except ValueError as error:
    found = f"ValueError({str(error)[:49]!r}...)"
print(f"val_a_loss is to be: {found}, right: less")
