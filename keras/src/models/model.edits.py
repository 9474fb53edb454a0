"""Edits to `model.py` of Keras 3.15.1; no whole module, see `patching`.

What `class_weight` means depends on the model's output and loss, which data
adapters don't know. Whatever ends a training ends the recording of terms.
"""
# Some names are those of the base.
# ruff: noqa: F821

import functools
import inspect

from keras.src.trainers import class_weights
from keras.src.trainers import loss_terms


class Model:
    # adds: labels of a class index for each timestep were read as vectors; no
    # callback is told of an error, after which it might have to clear up.
    @functools.wraps(Trainer.fit)
    def fit(self, *args, **kwargs):
        call = inspect.signature(super().fit).bind(*args, **kwargs)
        given = call.arguments.get("class_weight")
        with (
            loss_terms.until_error(self),
            class_weights.read_for(self, given) as weights,
        ):
            if given is not None:
                call.arguments["class_weight"] = weights
            return super().fit(*call.args, **call.kwargs)

    # adds: the same.
    def train_on_batch(
        self,
        x,
        y=None,
        sample_weight=None,
        class_weight=None,
        return_dict=False,
    ):
        with class_weights.read_for(self, class_weight) as weights:
            return super().train_on_batch(
                x, y, sample_weight, weights, return_dict
            )

    # adds: an epoch without data had the logs of the one before, with the
    # trainers that look for the data in a step. And a step of the user's own
    # knows nothing of metrics that only the fork has.
    def _get_metrics_result_or_logs(self, logs):
        if getattr(self, "_has_empty_epoch", False):
            self._has_empty_epoch = False
            return {}
        results = super()._get_metrics_result_or_logs(logs)
        if results is logs and isinstance(logs, dict):
            unlisted = {metric.name for metric in self._unlisted_metrics()}
            known = self.get_metrics_result() if unlisted else {}
            if logs.keys() == known.keys() - unlisted:
                return {name: known[name] for name in logs}
        return results
