"""The backend's own operations, which check nothing before they run.

Not part of upstream Keras 3.15.1. Up to that release they are names of
`keras.src.backend`; upstream's head has them in `keras.src.backend.ops`. What
both have under one name is imported from there.
"""

from keras.src import backend

_ops = getattr(backend, "ops", backend)

cast = _ops.cast
convert_to_numpy = _ops.convert_to_numpy
is_tensor = _ops.is_tensor

if backend.backend() == "torch":
    # Its `get_device` tells where Keras computes.
    torch_core = getattr(backend.torch, "ops", backend.torch).core
