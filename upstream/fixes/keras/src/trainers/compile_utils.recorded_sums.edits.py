"""Sums over an epoch are kept in float32, or in float64 where floatx is."""

from keras.src import backend


class CompileLoss:
    # in build, replaces 709521cce6b3: they were kept in floatx.
    def _(self, name):
        # In bfloat16, a count stops growing at 256.
        dtype = backend.result_type(backend.floatx(), "float32")
        mean = metrics_module.Mean(name=name, dtype=dtype)
        self._tracker.add_to_store("metrics", mean)
