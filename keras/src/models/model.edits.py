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
        call = inspect.signature(super().fit).bind(*args, **kwargs).arguments
        given = call.get("class_weight")
        with (
            loss_terms.until_error(self),
            class_weights.read_for(self, given) as weights,
        ):
            return super().fit(**{**call, "class_weight": weights})

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
    # trainers that look for the data in a step.
    def _get_metrics_result_or_logs(self, logs):
        if getattr(self, "_has_empty_epoch", False):
            self._has_empty_epoch = False
            return {}
        return super()._get_metrics_result_or_logs(logs)
