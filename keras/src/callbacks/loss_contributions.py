"""A callback that logs every term of the total loss."""

import contextlib
import warnings

from keras.src.api_export import keras_export
from keras.src.callbacks.callback import Callback
from keras.src.trainers import loss_terms


@keras_export("keras.callbacks.LossContributions")
class LossContributions(Callback):
    """Logs every term of the total loss.

    What is trained on, and logged as `loss`, is a sum. For each output that
    has a loss, this callback adds to the logs

    - `<output>_loss`: the raw loss, which a model with a single loss doesn't
      log otherwise;
    - `<output>_weight`: the loss weight;
    - `<output>_contribution`: what the output adds to the total, which is
      weight x raw loss;

    and, where there is something of the kind,

    - `regularization_loss`: what regularizers of weights add;
    - `<path>_added_loss`: what a layer adds by `add_loss` or an activity
      regularizer. The path is that of the layer in the model, such as
      `encoder/kl`. What the model itself adds is `added_loss`;
    - `other_loss`: whatever else a `compute_loss` or a step of your own adds.

    All of these are averages over the samples of the epoch, with `val_` before
    them for validation data. The contributions and the losses of the second
    list add up to `loss`, also where loss weights move during the epoch.

    Terms are recorded in `compute_loss`, which adds them up, while the callback
    is there; steps are compiled anew for it. Where something else is logged
    under one of the names, the term gets another one, such as
    `regularization_1_loss`.

    A `train_step` that doesn't call `compute_loss`, or keeps a total of its
    own, has no terms, nor has a model whose `metrics` leave the terms out, nor,
    on JAX, a `compute_loss` that is called outside of a stateless scope. Then
    there is a warning, and nothing else changes.

    Example:

    >>> import numpy as np
    >>> import keras
    >>> x = keras.Input((1,))
    >>> model = keras.Model(
    ...     x,
    ...     keras.layers.Dense(
    ...         1,
    ...         kernel_initializer="ones",
    ...         kernel_regularizer=keras.regularizers.L2(0.5),
    ...         name="answer",
    ...     )(x),
    ... )
    >>> model.compile("sgd", "mse", loss_weights=10.0)
    >>> logs = model.fit(
    ...     np.full((2, 1), 3.0),
    ...     np.zeros((2, 1)),
    ...     callbacks=[keras.callbacks.LossContributions()],
    ...     verbose=0,
    ... ).history
    >>> logs["answer_loss"], logs["answer_contribution"]
    ([9.0], [90.0])
    >>> logs["regularization_loss"], logs["loss"]
    ([0.5], [90.5])
    """

    def __init__(self):
        super().__init__()
        self._is_training = False
        self._has_warned = False
        self._terms = None

    def set_model(self, model):
        super().set_model(model)
        # In a training, an evaluation may come with a callback of its own.
        if loss_terms.are_recorded(model) is False:
            strategy = getattr(model, "distribute_strategy", None)
            with strategy.scope() if strategy else contextlib.nullcontext():
                self._terms = loss_terms.LossTerms(model)
            loss_terms.attach(model, self._terms)

    def on_train_begin(self, logs=None):
        self._is_training = True

    def on_epoch_end(self, epoch, logs=None):
        self._warn_of_no_terms(logs)

    def on_train_end(self, logs=None):
        self._is_training = False
        self._detach()

    def on_test_end(self, logs=None):
        if not self._is_training:
            self._warn_of_no_terms(logs)
            self._detach()

    def on_predict_end(self, logs=None):
        if not self._is_training:
            self._detach()

    def _detach(self):
        if self._terms is not None:
            loss_terms.attach(self.model, None)
            self._terms = None

    def _warn_of_no_terms(self, logs):
        terms = self._terms
        if terms is None or self._has_warned:
            return
        if not any(metric.name in logs for metric in terms.metrics):
            self._has_warned = True
            warnings.warn(
                "`LossContributions` has no terms of the loss of "
                f"{self.model.name!r} to log. They are recorded where "
                "`Model.compute_loss` adds them up, on JAX in a stateless "
                "scope, and logged with what `Model.metrics` lists. This "
                "model, or a step of its own, does without one of these.",
                UserWarning,
            )
