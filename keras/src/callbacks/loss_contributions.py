"""A callback that logs what each output adds to the total loss."""

import contextlib

from keras.src.api_export import keras_export
from keras.src.callbacks.callback import Callback


@keras_export("keras.callbacks.LossContributions")
class LossContributions(Callback):
    """Adds loss weights and contributions to the logs.

    For each logged `<output>_loss`, the raw loss, it adds

    - `<output>_contribution`: what the output added to the total loss, which
      is weight x raw loss, averaged over the samples of the epoch;
    - `<output>_weight`: the loss weight, averaged over the samples likewise.

    and both with `val_` before them if there is validation data. All
    contributions and the regularization add up to `loss`. That holds when the
    weights move during an epoch, too: the weight of each step is multiplied
    by the raw loss of that step.

    They are recorded while the callback is there, by steps that are compiled
    anew for it. A model that logs no loss but `loss` has one contribution only,
    and nothing is added for it. A metric that is called `contribution` or
    `weight` keeps its name, and what is added gets another one.

    Example:

    >>> import numpy as np
    >>> import keras
    >>> x = keras.Input((1,))
    >>> model = keras.Model(
    ...     x,
    ...     {
    ...         "a": keras.layers.Dense(1, kernel_initializer="ones")(x),
    ...         "b": keras.layers.Dense(1, kernel_initializer="ones")(x),
    ...     },
    ... )
    >>> model.compile("sgd", "mse", loss_weights={"a": 10.0, "b": 0.0})
    >>> history = model.fit(
    ...     np.full((2, 1), 3.0),
    ...     {"a": np.zeros((2, 1)), "b": np.zeros((2, 1))},
    ...     callbacks=[keras.callbacks.LossContributions()],
    ...     verbose=0,
    ... )
    >>> history.history["a_contribution"], history.history["b_contribution"]
    ([90.0], [0.0])
    """

    def __init__(self):
        super().__init__()
        self._is_training = False

    def set_model(self, model):
        super().set_model(model)
        self._log_contributions(True)

    def on_train_begin(self, logs=None):
        self._is_training = True

    def on_train_end(self, logs=None):
        self._is_training = False
        self._log_contributions(False)

    def on_test_end(self, logs=None):
        if not self._is_training:
            self._log_contributions(False)

    def on_predict_end(self, logs=None):
        self._log_contributions(False)

    def _log_contributions(self, is_on):
        compile_loss = getattr(self.model, "_compile_loss", None)
        if compile_loss is None:
            return
        strategy = getattr(self.model, "distribute_strategy", None)
        with contextlib.nullcontext() if strategy is None else strategy.scope():
            compile_loss.log_contributions(is_on)
        # Steps that were compiled before record what they did then.
        self.model.train_function = None
        self.model.test_function = None
