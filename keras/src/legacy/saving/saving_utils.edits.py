"""Edits to `saving_utils.py` of Keras 3.15.1; no whole module, see `patching`.

A compiled model that was saved as `.h5`, by Keras 2 too, can be loaded and
trained on.
"""
# Some names are those of the base.
# ruff: noqa: F821

from keras.src import backend
from keras.src import tree
from keras.src.saving import object_registration
from keras.src.trainers.identifiers import METRICS_BY_SHAPE
from keras.src.trainers.loss_weights import current_loss_weights


# replaces ba6e600c060c, 25953a5e2907: saving took the optimizer out of the
# model's own compile config, and, on head too, loss weights that are variables
# could not be saved.
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
        arguments["loss_weights"] = current_loss_weights(
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


# replaces 009d50267c50, ae4b27a6443a: what only training needs and is not there
# kept a model from being loaded, or was called as if it were a function.
def compile_args_from_training_config(training_config, custom_objects=None):
    """What a `.h5` file says about how the model was compiled.

    Args:
        training_config: The `"training_config"` of `model_metadata`.
        custom_objects: A dict of names to classes and functions, or `None`.

    Returns:
        A dict of arguments of `compile`. What has not been found in them
        raises an error when it is used.
    """
    # Keras 2 does not save this one.
    is_keras_2 = "jit_compile" not in training_config
    with object_registration.CustomObjectScope(custom_objects or {}):
        config = training_config["optimizer_config"]
        arguments = {
            "optimizer": _loaded_optimizer(config, custom_objects or {}),
            "loss_weights": training_config["loss_weights"],
        }
        for name, deserialize, module in (
            ("loss", losses.deserialize, losses),
            ("metrics", _deserialize_metric, metrics_module),
            ("weighted_metrics", _deserialize_metric, metrics_module),
        ):
            config = training_config.get(name)
            found = _deserialize_nested_config(deserialize, config)
            if isinstance(found, str) and isinstance(config, dict):
                # Of a class that is gone; Keras 2 has another name for some.
                known = config["config"].get("name")
                found = known if known in module.ALL_OBJECTS_DICT else found
            arguments[name] = tree.map_structure(
                lambda leaf: _Missing.or_known(leaf, module), found
            )
    if is_keras_2:
        for name in ("metrics", "weighted_metrics"):
            for metric in tree.flatten(arguments[name]):
                if isinstance(metric, metrics_module.Metric):
                    metric._has_name_of_output = True
    return arguments


# adds (3.15): each base has its own way with optimizers of Keras 2.
def _loaded_optimizer(config, custom_objects):
    from keras.src import optimizers

    optimizer = optimizers.deserialize(config)
    return _resolve_compile_arguments_compat(optimizer, config, optimizers)


# adds (head): the same.
def _loaded_optimizer(config, custom_objects):  # noqa: F811
    from keras.src import optimizers

    return optimizers.deserialize(
        _adapt_optimizer_config(config, custom_objects)
    )


# adds: loading a model must not need what only training does.
class _Missing:
    """Stands for a loss or a metric that was not found.

    Args:
        name: Its name in the file.
    """

    def __init__(self, name):
        self.__name__ = name

    @classmethod
    def or_known(cls, leaf, module):
        """`leaf`, unless it is the name of something unknown."""
        if not isinstance(leaf, str) or leaf.lower() in METRICS_BY_SHAPE:
            return leaf
        return leaf if leaf in module.ALL_OBJECTS_DICT else cls(leaf)

    def __call__(self, *args, **kwargs):
        raise ValueError(
            f"The model was compiled with {self.__name__!r}, which was not "
            "found when it was loaded. Expected "
            f"`load_model(..., custom_objects={{{self.__name__!r}: ...}})`, or "
            "another call of `compile`."
        )


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
            return _deserialize_of_keras_2(deserialize_fn, config)
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


# adds: Keras 2 names the function that a loss or metric wraps.
def _deserialize_of_keras_2(deserialize_fn, config):
    """Deserializes an object that may come from Keras 2."""
    arguments = config.get("config")
    if not isinstance(arguments, dict) or not isinstance(
        arguments.get("fn"), str
    ):
        return deserialize_fn(config)
    arguments = dict(arguments)
    name = arguments.pop("fn")
    if config["class_name"] == "MeanMetricWrapper":
        function = _deserialize_nested_config(deserialize_fn, name)
        if isinstance(function, str):
            function = _Missing.or_known(function, metrics_module)
        return metrics_module.MeanMetricWrapper(
            metrics_module.get(function),
            name=arguments.get("name"),
            dtype=arguments.get("dtype"),
        )
    if arguments.get("reduction") == "auto":
        del arguments["reduction"]
    return deserialize_fn({**config, "config": arguments})


# replaces 1b6e568d3a65: it tried what Keras 3 has no more, and the optimizer
# was built without the variables of the layers.
def try_build_compiled_arguments(model):
    """Gives the optimizer of a loaded model its variables, if it can.

    Losses and metrics are built by the first batch, and metrics that Keras 2
    saved lose the name of their output, which is to be put before it again.
    """
    if model.optimizer is not None and model.built:
        model.optimizer.build(model.trainable_variables)
    outputs = getattr(model, "output_names", ())
    if len(outputs) < 2:
        return
    arguments = model._compile_config.config
    for name in ("metrics", "weighted_metrics"):
        # One list for each output.
        for output, metrics in zip(outputs, arguments[name] or ()):
            for metric in tree.flatten(metrics):
                if getattr(metric, "_has_name_of_output", False):
                    metric.name = metric.name.removeprefix(f"{output}_")
