"""Edits to `data_adapter_utils.py` of Keras 3.15.1; no whole module, see
`patching`.

Class weights for labels of any shape, a check for samples, and batches as
`tf.data` takes them.
"""

# Some names are those of the base.
# ruff: noqa: F821

import numpy as np

from keras.src import backend
from keras.src import ops
from keras.src import tree
from keras.src.losses import weighting
from keras.src.trainers.argument_errors import invalid
from keras.src.trainers.class_weights import ClassWeights


# replaces 3c32be181603, b5f121245cea: a list that holds the label was taken for
# the label, and labels of more than one timestep ended in a TypeError.
def class_weight_to_sample_weights(y, class_weight):
    """The sample weights that a class weight means for a batch of labels.

    Args:
        y: The labels of the only output: class indices, with or without a last
            dimension of 1, or one-hot vectors.
        class_weight: A dict of class indices to weights, or `ClassWeights`.
            The weight of a class that is left out is 1.

    Returns:
        An array with a weight for each label.
    """
    if not isinstance(class_weight, ClassWeights):
        class_weight = ClassWeights(class_weight)
    classes = ops.convert_to_numpy(only_label(y))
    if classes.ndim > 1 and not class_weight.are_indices(classes):
        if classes.shape[-1] == 1:
            classes = classes[..., 0]
        else:
            classes = classes.argmax(axis=-1)
    found, places = np.unique(np.round(classes), return_inverse=True)
    weights = np.array(
        [class_weight.get(int(index), 1.0) for index in found],
        dtype=backend.floatx(),
    )
    return weights[places].reshape(classes.shape)


# replaces 61040ca68a3c: `tf.data` knows no lists.
def get_tensor_spec(batches):
    spec = tree.lists_to_tuples(get_keras_tensor_spec(batches))
    return tree.map_structure(convert_to_tf_tensor_spec, spec)


# adds: `class_weight` is for one output, in whatever container it is.
def only_label(y):
    """The label in a structure that must hold one only."""
    labels = tree.flatten(y)
    if len(labels) != 1:
        raise ValueError(
            "`class_weight` is only supported for Models with a single output. "
            f"Received: labels of {len(labels)} outputs.\n"
            "Expected one label. For several outputs, pass `sample_weight`."
        )
    return labels[0]


# adds: a step on no samples has no loss.
def require_samples(x):
    """Refuses a batch that is known to hold no samples.

    Of several inputs, one may well be empty, such as the edges of a graph.
    """
    shapes = map(weighting.shape_of, tree.flatten(x))
    sizes = [s[0] for s in shapes if s is not None and len(s)]
    if sizes and set(sizes) == {0}:
        raise invalid("x", "It holds no samples.", x, "at least one sample.")


# adds: `tf.data` knows neither lists nor `None`.
def for_tf_data(batch):
    """A batch as `get_tensor_spec` describes it."""
    from keras.src.utils.module_utils import tensorflow as tf

    return tree.map_structure(
        lambda x: tf.experimental.Optional.empty(None) if x is None else x,
        tree.lists_to_tuples(batch),
    )
