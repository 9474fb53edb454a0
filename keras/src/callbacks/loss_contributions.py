"""A callback that logs what each output adds to the total loss."""

from keras.src.api_export import keras_export
from keras.src.callbacks.callback import Callback


@keras_export("keras.callbacks.LossContributions")
class LossContributions(Callback):
    """Adds loss weights and contributions to the logs of each epoch.

    For each logged `<output>_loss`, the raw loss, it adds

    - `<output>_contribution`: what the output added to the total loss, which
      is weight x raw loss, averaged over the samples of the epoch;
    - `<output>_weight`: the loss weight, averaged over the samples likewise.

    and both with `val_` before them if there is validation data. All
    contributions and the regularization add up to `loss`. That holds when the
    weights move during an epoch, too: the weight of each step is multiplied
    by the raw loss of that step.

    Put it before callbacks that are to see its values, such as `CSVLogger`
    and `TensorBoard`. A model that logs no loss but `loss` has one
    contribution only, and nothing is added for it.

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
        self._is_in_epoch = False
        self._training = None
        self._validation = {}

    def on_epoch_begin(self, epoch, logs=None):
        self._is_in_epoch = True
        self._training = None
        self._validation = {}

    def on_test_begin(self, logs=None):
        # The evaluation is about to reset what the epoch has recorded.
        if self._is_in_epoch and self._training is None:
            self._training = self._contributions()

    def on_test_end(self, logs=None):
        if self._is_in_epoch:
            self._validation = {
                f"val_{name}": value
                for name, value in self._contributions().items()
            }
        elif logs is not None:
            logs.update(self._contributions())

    def on_epoch_end(self, epoch, logs=None):
        if self._training is None:
            self._training = self._contributions()
        if logs is not None:
            logs.update(self._training)
            logs.update(self._validation)
        self._is_in_epoch = False

    def _contributions(self):
        compile_loss = self.model._compile_loss
        return {} if compile_loss is None else compile_loss.contributions()
