"""The base of the callbacks that watch one logged value.

Replaces the module of the same name in Keras 3.15.1, which finds the
direction of neither `val_<output>_loss` nor `val_<output>_accuracy`: it looks
for metrics by the names they have on their own. Here they are looked up by
the names that are logged.
"""

import warnings

from keras.src import ops
from keras.src.callbacks.callback import Callback
from keras.src.trainers import metric_plan


class MonitorCallback(Callback):
    """Watches a logged value, and tells whether it has improved.

    The base of `EarlyStopping`, `ModelCheckpoint` and `ReduceLROnPlateau`.

    Args:
        monitor: The logged name to watch. Defaults to `"val_loss"`.
        mode: `"min"` if a lower value is better, `"max"` if a higher one is.
            `"auto"` finds out: a loss is better lower, and a metric as its
            class says. Defaults to `"auto"`.
        baseline: The value that the first one has to improve on, or `None`.
        min_delta: The change, in the units of the value watched, up to which
            there is no improvement. Defaults to 0.
    """

    def __init__(
        self, monitor="val_loss", mode="auto", baseline=None, min_delta=0
    ):
        super().__init__()
        if mode not in ("auto", "min", "max"):
            warnings.warn(
                f"{type(self).__name__} mode '{mode}' is unknown. Expected one "
                "of 'auto', 'min', 'max'. Using 'auto'.",
                stacklevel=2,
            )
            mode = "auto"
        self.monitor = monitor
        self.mode = mode
        self.best = baseline
        self.min_delta = abs(min_delta)
        self.monitor_op = None

    def _set_monitor_op(self):
        """Decides which of two values is the better one.

        Raises:
            ValueError: In mode `"auto"`, if nothing tells.
        """
        directions = {"min": "down", "max": "up"}
        direction = directions.get(self.mode) or self._find_direction()
        if direction is None:
            raise ValueError(
                f"{type(self).__name__} can't tell whether "
                f"monitor={self.monitor!r} is to be minimised or maximised. "
                "Expected the name of a loss or of a metric whose direction "
                "is known; else pass `mode='min'` or `mode='max'`."
            )
        self.monitor_op = ops.greater if direction == "up" else ops.less
        if direction == "down":
            self.min_delta = -abs(self.min_delta)

    def _find_direction(self):
        """`"up"`, `"down"`, or `None` if the model doesn't know."""
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return "down"
        named = {}
        metrics = getattr(self.model, "metrics", ())
        for _, names in metric_plan.logged_metrics(metrics):
            named.update(names)
        # An output called `val` logs `val_..._loss` in training, too. What is
        # logged under no such name is warned of later, as in the base release.
        metric = named.get(name) or named.get(self.monitor)
        if metric is None:
            own = {one.name: one for one in reversed(list(named.values()))}
            metric = own.get(name)
        if not hasattr(metric, "_direction"):
            return None
        return "up" if metric._direction == "up" else "down"

    def _is_improvement(self, monitor_value, reference_value):
        if reference_value is None:
            return True
        return self.monitor_op(monitor_value - self.min_delta, reference_value)
