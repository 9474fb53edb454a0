"""A plugin of pytest that gives names which upstream's head has moved back.

Upstream's tests at hand are older than its nightly builds, whose wheels hold
none. Names that are there stay what they are.
"""

import importlib
import importlib.util

if importlib.util.find_spec("torch"):
    # After TensorFlow, torch would find libraries that are not its own.
    importlib.import_module("torch")

import keras  # noqa: E402, F401
from keras.src import backend  # noqa: E402
from keras.src import ops  # noqa: E402
from keras.src.trainers import trainer  # noqa: E402

TRAINERS = {
    "jax": "JAXTrainer",
    "numpy": "NumpyTrainer",
    "tensorflow": "TensorFlowTrainer",
    "torch": "TorchTrainer",
}


def give(module, name, value):
    if not hasattr(module, name):
        setattr(module, name, value)


def pytest_configure():
    name = backend.backend()
    own = importlib.import_module(f"keras.src.backend.{name}.trainer")
    give(own, TRAINERS[name], own.Trainer)
    give(trainer, "Trainer", trainer.BaseTrainer)
    for source in (backend.common, backend.common.masking, backend.ops):
        for known in dir(source):
            if not known.startswith("_"):
                give(backend, known, getattr(source, known))
    give(ops, "name_scope", backend.name_scope)
