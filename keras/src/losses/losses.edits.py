"""Edits to `losses.py` of Keras 3.15.1; no whole module, see `patching`.

Losses are saved with all that they were made with. Upstream has done the same
since (keras #23286).
"""

from keras.src.losses import ownership
from keras.src.losses.loss import Loss
from keras.src.losses.weighting import same_ranks


class LossFunctionWrapper:
    # replaces d2d39cff9344: an eager call spent more time on walks over what
    # is no structure than on the loss, and some structures had to be the same.
    def call(self, y_true, y_pred):
        y_true, y_pred = same_ranks(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._fn_kwargs)


class CosineSimilarity:
    # adds (3.15): `axis` was lost, and upstream's tests pin that `get_config`
    # does so.
    def _get_saved_config(self):
        if not ownership.is_defined_by_keras(self.get_config):
            return self.get_config()
        return config_with(self, axis=-1)


class Huber:
    # replaces 9f375247ed49: `delta` was lost.
    # not on head: it is saved there.
    def get_config(self):
        return config_with(self, delta=1.0)


class SparseCategoricalCrossentropy:
    # replaces 85f02a883168: `axis` was lost.
    # not on head: it is saved there.
    def get_config(self):
        return {
            **config_with(self, axis=-1),
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
        }


# adds (3.15): shared by the losses above.
def config_with(loss, **defaults):
    """The config of a loss with those arguments that are not the defaults.

    Upstream's tests pin that the others are left out. A subclass that is made
    with other arguments may have none for these.
    """
    config = Loss.get_config(loss)
    if not ownership.is_defined_by_keras(type(loss).__init__):
        return config
    for name, default in defaults.items():
        if loss._fn_kwargs[name] != default:
            config[name] = loss._fn_kwargs[name]
    return config
