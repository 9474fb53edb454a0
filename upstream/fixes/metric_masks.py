import numpy as np

import keras

x = keras.Input((3,))
embedding = keras.layers.Embedding(
    2, 1, mask_zero=True, embeddings_initializer="ones"
)
model = keras.Model(x, embedding(x))
model.compile("sgd", loss="mse", metrics=["Precision"])
# The last position is padding, and the others are predicted right.
y = np.array([[[1.0], [1.0], [0.0]]])
logs = model.evaluate(np.array([[1, 1, 0]]), y, verbose=0, return_dict=True)
print(f"Precision: {logs['Precision']:.4f}, right: 1.0000")
