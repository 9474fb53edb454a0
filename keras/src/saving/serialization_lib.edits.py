"""Edits to `serialization_lib.py` of Keras 3.15.1; no whole module, see
`patching`.

An object may be saved with more than its `get_config` tells.
"""
# Some names are those of the base.
# ruff: noqa: F821

import types

from keras.src.saving import object_registration


# replaces 25f07dab151a: upstream's tests pin a `get_config` that lacks
# arguments; what is saved has to have them.
# not on head: `get_config` has them there.
def _get_class_or_fn_config(obj):
    """What an object is made of again: its config, or its registered name."""
    get_config = getattr(obj, "get_config", None)
    if isinstance(obj, types.FunctionType) or get_config is None:
        if hasattr(obj, "__name__"):
            return object_registration.get_registered_name(obj)
        raise TypeError(
            f"An object of {type(obj)} can't be serialized. Received: {obj}. "
            "Expected a function, or an object with a `get_config()` method."
        )
    config = getattr(obj, "_get_saved_config", get_config)()
    if isinstance(config, dict):
        return serialize_dict(config)
    raise TypeError(
        f"`get_config()` of {obj} should return a dict. It returned: {config}"
    )
