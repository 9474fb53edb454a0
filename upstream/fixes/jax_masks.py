import numpy as np

import keras

x = keras.Input((3,))
embedding = keras.layers.Embedding(
    2, 1, mask_zero=True, embeddings_initializer="ones"
)
model = keras.Model(x, embedding(x))
model.compile(keras.optimizers.SGD(0.0), loss="mse", metrics=["mae"])
# The last position is padding, and the only one with an error.
y = np.array([[[1.0], [1.0], [0.0]]])
history = model.fit(np.array([[1, 1, 0]]), y, verbose=0).history
print(f"mae: {history['mae'][0]:.4f}, right: 0.0000")
