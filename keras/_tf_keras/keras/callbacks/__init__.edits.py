"""Edits to `keras.callbacks` of Keras 3.15.1; no whole module, see `patching`.

Makes the callback that is only ours public.
"""

from keras.src.callbacks.loss_contributions import (
    LossContributions as LossContributions,
)
