"""Edits to `data_adapter_utils.py` of Keras 3.15.1; no whole module, see
`edits.py`.

Class weights for labels of any shape, and a check for samples.
"""

# Some names are those of the base.
# ruff: noqa: F821

import numpy as np

from keras.src import backend
from keras.src import ops
from keras.src import tree


# replaces 3c32be181603: a list that holds the label was taken for the label,
# and labels of more than one timestep ended in a TypeError.
def class_weight_to_sample_weights(y, class_weight):
    """The sample weights that a class weight means for a batch of labels.

    Args:
        y: The labels of the only output: class indices, with or without a last
            dimension of 1, or one-hot vectors.
        class_weight: A dict of class indices to weights. The weight of a class
            that it leaves out is 1.

    Returns:
        An array with a weight for each label.
    """
    classes = ops.convert_to_numpy(only_label(y))
    if classes.ndim > 1:
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
    """Refuses a batch that is known to hold no samples."""
    first = next((leaf for leaf in tree.flatten(x) if leaf is not None), None)
    shape = getattr(first, "shape", None)
    # A tensor of TensorFlow may not know how many dimensions it has.
    if shape is None or getattr(shape, "rank", 1) is None or len(shape) == 0:
        return
    if shape[0] == 0:
        raise ValueError(
            "Invalid `x`. It holds no samples.\n"
            f"Received: x with an array of shape {tuple(shape)}\n"
            "Expected at least one sample."
        )
