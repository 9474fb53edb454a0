"""Masks of predictions reach the metrics in training."""

from keras.src.backend.common.masking import get_keras_mask
from keras.src.backend.common.masking import set_keras_mask


# or Trainer: its name on head.
class JAXTrainer:
    # in train_step, replaces 8642133a7306: differentiation gives new arrays.
    def _(self):
        def loss_and_masks(*args, **kwargs):
            loss, aux = self.compute_loss_and_updates(*args, **kwargs)
            # What differentiation returns has lost its masks.
            masks = [get_keras_mask(output) for output in tree.flatten(aux[1])]
            return loss, (aux, masks)

        grad_fn = jax.value_and_grad(loss_and_masks, has_aux=True)

    # in train_step, after 4e6a31f56a3b: masks come beside the rest.
    def _(aux):
        aux, masks = aux

    # in train_step, after ab8499dff496: the predictions get theirs back.
    def _(y_pred, masks):
        for output, mask in zip(tree.flatten(y_pred), masks):
            if mask is not None:
                set_keras_mask(output, mask)
