"""Sums over an epoch are kept in float32, or in float64 where floatx is."""

from keras.src import backend


# or BaseTrainer: its name on head.
class Trainer:
    # in compile, replaces bdcd1fe4d493: it was kept in floatx.
    def _(self):
        # In bfloat16, a count stops growing at 256.
        dtype = backend.result_type(backend.floatx(), "float32")
        self._loss_tracker = metrics_module.Mean(name="loss", dtype=dtype)
