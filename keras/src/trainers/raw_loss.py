"""The metrics of losses: what they average, and by which number of samples.

Not part of upstream Keras 3.15.1, where all of them are plain `Mean`s that
count by whatever comes first among inputs or outputs.
"""

import threading

from keras.src import backend
from keras.src import metrics as metrics_module
from keras.src import ops
from keras.src.losses import backend_ops
from keras.src.losses import native
from keras.src.losses import weighting


class LossMean(metrics_module.Mean):
    """An average over samples of numbers that stand for whole batches.

    Args:
        name: The name that it is logged under.
        dtype: The dtype of the sums. Defaults to float32, or to float64 where
            that is `keras.config.floatx()`.
    """

    def __init__(self, name, dtype=None):
        super().__init__(
            name=name, dtype=dtype or weighting.wide_dtype(backend.floatx())
        )
        # `keras.callbacks.MonitorCallback` reads it.
        self._direction = "down"

    def result(self):
        return native.ratio(self.total.value, self.count.value)

    def reset_state(self):
        native.set_to_zero(self.total)
        native.set_to_zero(self.count)


class UnlistedLossMean(LossMean):
    """The raw loss of a single loss entry, which the base release has not.

    Steps of users' own that tell all metrics their labels don't expect it.
    """

    def update_state(self, *args, **kwargs):
        pass


class TotalLoss(LossMean):
    """The logged total, which counts by the size that the losses counted by.

    Args:
        compile_loss: The `CompileLoss` of the model, or `None`.
        name: See `LossMean`.
        dtype: See `LossMean`.

    Attributes:
        terms: A `LossTerms` while the terms of the total are logged, or `None`.
        unlisted_names: What the last ones were logged under.
        expects_loss: Whether this `compile` or an earlier one gave the model a
            loss.
    """

    terms = None
    unlisted_names = ()

    def __init__(self, compile_loss=None, name="loss", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self._sizes = None if compile_loss is None else compile_loss.sizes
        self.expects_loss = compile_loss is not None

    @property
    def variables(self):
        terms = self.terms
        return [*super().variables, *(() if terms is None else terms.variables)]

    def reset_state(self):
        super().reset_state()
        if self.terms is not None:
            self.terms.reset_state()

    def update_state(self, values, sample_weight=None):
        # A step that never called `CompileLoss` counts by its inputs.
        size = None if self._sizes is None else self._sizes.take()
        is_number = not weighting.is_nested(sample_weight) and (
            sample_weight is not None and not weighting.rank_of(sample_weight)
        )
        if is_number and size is not None:
            sample_weight = size
        if self.terms is None:
            super().update_state(values, sample_weight=sample_weight)
            return
        before = ops.copy(self.count)
        super().update_state(values, sample_weight=sample_weight)
        self.terms.collect(ops.subtract(self.count, before))


def metrics_of(names):
    """The metrics of the raw losses of loss entries, by their names."""
    kind = LossMean if len(names) > 1 else UnlistedLossMean
    return [kind(f"{name}_loss") for name in names]


class BatchSizes(threading.local):
    """Hands on the size of the last batch, once.

    Only a trainer's own step is told: what a step of the user's tells the total
    is the user's. `tf.distribute` runs each replica in a thread of its own.
    """

    seen = None
    told = None

    def put(self, size=None):
        self.seen, self.told = size, None

    def tell(self):
        self.told = self.seen

    def take(self):
        """The size, or `None` if there is none that can be used here."""
        size, self.told = self.told, None
        return size if native.is_of_this_graph(size) else None


def batch_size(batch, indices):
    """The number of samples in a batch, read at run time.

    That is the size of the label of the first output that has a loss, or else
    of its prediction; of the next such output where neither has an axis.

    Args:
        batch: A `Batch`.
        indices: The outputs that have a loss, in the order of the outputs.

    Returns:
        An `int`, or a scalar tensor where a graph does not know it.

    Raises:
        ValueError: If the batch is known to have no samples.
    """
    # The first one that tells is enough.
    for leaf in (
        leaves[index]
        for index in indices
        for leaves in (batch.labels, batch.predictions)
    ):
        # An output that is one number tells nothing.
        if not weighting.rank_of(leaf):
            continue
        # `ops.shape` would run an operation in any case.
        size = leaf.shape[0]
        if size is None:
            size = ops.shape(leaf)[0]
        if isinstance(size, int) and size == 0:
            raise ValueError(
                "The batch has no samples: an output or a label has the shape "
                f"{tuple(leaf.shape)}. Expected at least one sample."
            )
        return size
    return 1


def record(metrics, values, size):
    """Adds the losses of a batch to their metrics, all in one go.

    Args:
        metrics: A list of `LossMean`s.
        values: A scalar tensor for each.
        size: The number of samples in the batch.
    """
    sums = [metric.total for metric in metrics]
    counts = [metric.count for metric in metrics]
    dtype = sums[0].dtype
    if not weighting.is_tensor_of(values[0], dtype):
        values = [backend_ops.cast(value, dtype) for value in values]
    native.add_to_sums(sums, counts, values, size)
