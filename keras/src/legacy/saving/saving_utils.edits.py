"""Edits to `saving_utils.py` of Keras 3.15.1; no whole module, see `edits.py`.

A compiled model that was saved as `.h5` can be loaded and trained on.
"""
# Some names are those of the base.
# ruff: noqa: F821

from keras.src import backend
from keras.src import tree
from keras.src.saving import object_registration
from keras.src.trainers import compile_utils


# replaces ba6e600c060c: saving took the optimizer out of the model's own
# compile config.
def model_metadata(model, include_optimizer=True, require_config=True):
    """What a `.h5` file says about a model, apart from its weights.

    Args:
        model: The model.
        include_optimizer: Whether to say how it was compiled.
        require_config: Whether a model without `get_config` is an error.

    Returns:
        A dict.
    """
    from keras.src import __version__

    model_config = {"class_name": type(model).__name__}
    try:
        model_config["config"] = model.get_config()
    except NotImplementedError:
        if require_config:
            raise
    metadata = {
        "keras_version": str(__version__),
        "backend": backend.backend(),
        "model_config": model_config,
    }
    optimizer = getattr(model, "optimizer", None)
    if optimizer and include_optimizer and model.compiled:
        arguments = dict(model._compile_config.config)
        arguments.pop("optimizer", None)
        arguments["loss_weights"] = compile_utils.current_loss_weights(
            arguments.get("loss_weights")
        )
        name = object_registration.get_registered_name(type(optimizer))
        metadata["training_config"] = {
            **_serialize_nested_config(arguments),
            "optimizer_config": {
                "class_name": name,
                "config": optimizer.get_config(),
            },
        }
    return metadata


# replaces a566d8d52328: some losses have more to save than `get_config` tells.
def _serialize_nested_config(config):
    """Serializes each object in nested dicts, lists and tuples."""

    def serialize(leaf):
        if not callable(leaf):
            return leaf
        saved = serialization.serialize_keras_object(leaf)
        if hasattr(leaf, "_get_saved_config"):
            saved["config"] = leaf._get_saved_config()
        return saved

    return tree.map_structure(serialize, config)


# replaces 26e5a6e4f644: short names of losses, such as "mse", could not be
# loaded, and those of metrics came back as others.
def _deserialize_nested_config(deserialize_fn, config):
    """Deserializes each object in nested dicts, lists and tuples."""
    if config is None:
        return None
    if isinstance(config, str):
        # `compile` knows what is Keras' own by its name.
        return object_registration.get_registered_object(config) or config
    if isinstance(config, dict):
        if "class_name" in config:
            return deserialize_fn(config)
        return {
            key: _deserialize_nested_config(deserialize_fn, value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return [
            _deserialize_nested_config(deserialize_fn, entry)
            for entry in config
        ]
    raise ValueError(
        "A saved compile argument holds something unknown.\n"
        f"Received: {config!r}\n"
        "Expected a name, a serialized object, or dicts and lists of these."
    )


# replaces 960d2bf498a8: a name that only `compile` can resolve, such as
# "crossentropy", is no legacy object.
def _resolve_compile_arguments_compat(obj, obj_config, module):
    """Finds an object of Keras 2 by the name of its config."""
    is_legacy = isinstance(obj_config, dict) and isinstance(obj, str)
    if is_legacy and obj not in module.ALL_OBJECTS_DICT:
        return module.get(obj_config["config"]["name"])
    return obj


# replaces 1b6e568d3a65: it tried what Keras 3 has no more, and the optimizer
# was built without the variables of the layers.
def try_build_compiled_arguments(model):
    """Gives the optimizer of a loaded model its variables, if it can.

    Losses and metrics are built by the first batch.
    """
    if model.optimizer is not None and model.built:
        model.optimizer.build(model.trainable_variables)
