"""Edits to `tf_dataset_adapter.py` of Keras 3.15.1; no whole module, see
`patching`.

Class weights mean the same for `tf.data` as for arrays.
"""

from keras.src import backend
from keras.src.trainers.class_weights import ClassWeights
from keras.src.trainers.data_adapters import data_adapter_utils


# replaces 1287bc2646f8, 787e8a99d1d9: a class that `class_weight` leaves out
# was an error if its number is higher than all others; on head too, labels of a
# class for each timestep are taken for vectors.
def make_class_weight_map_fn(class_weight):
    """Makes a function for `Dataset.map` that weighs samples by their class.

    Args:
        class_weight: A dict of class indices to weights, or `ClassWeights`.
            The weight of a class that is left out is 1.

    Returns:
        A function that takes `x` and `y` and returns `x`, `y` and a weight for
        each label, as `class_weight_to_sample_weights` makes them of arrays.
    """
    from keras.src.utils.module_utils import tensorflow as tf

    if not isinstance(class_weight, ClassWeights):
        class_weight = ClassWeights(class_weight)
    first, last = min(class_weight, default=0), max(class_weight, default=0)
    known = range(first, last + 1)
    weights = [class_weight.get(index, 1.0) for index in known]
    # The last one is for all other classes.
    weights = tf.constant([*weights, 1.0], backend.floatx())

    def class_weights_map_fn(*data):
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(data)
        if sample_weight is not None:
            raise ValueError(
                "You cannot `class_weight` and `sample_weight` at the same "
                "time. Multiply them in the dataset."
            )
        label = data_adapter_utils.only_label(y)

        def indices(values):
            return tf.cast(tf.round(values), tf.int32)

        if label.shape.rank == 1 or class_weight.are_indices(label):
            classes = indices(label)
        else:
            classes = tf.cond(
                tf.equal(tf.shape(label)[-1], 1),
                lambda: indices(label[..., 0]),
                lambda: tf.argmax(label, axis=-1, output_type=tf.int32),
            )
        is_known = tf.logical_and(classes >= first, classes <= last)
        places = tf.where(is_known, classes - first, len(known))
        return x, y, tf.gather(weights, places)

    return class_weights_map_fn
