"""Edits to `array_data_adapter.py` of Keras 3.15.1; no whole module, see
`edits.py`.

Sample weights reach the rule that matches them to the outputs by name.
"""
# Some names are those of the base.
# ruff: noqa: F821

import math

from keras.src import tree
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.output_structure import describe


class ArrayDataAdapter:
    # replaces b226a565230e: a dict of sample weights had to have the structure
    # of the labels, and a label in a list was no label of a single output.
    def __init__(
        self,
        x,
        y=None,
        sample_weight=None,
        batch_size=None,
        steps=None,
        shuffle=False,
        class_weight=None,
    ):
        if not can_convert_arrays((x, y, sample_weight)):
            raise ValueError(
                "Expected all elements of `x` to be array-like. So must be "
                f"those of `y` and `sample_weight`. Received: x={describe(x)}, "
                f"y={describe(y)}, sample_weight={describe(sample_weight)}"
            )
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError(
                    "You cannot `class_weight` and `sample_weight` at the same "
                    "time: multiply them, and pass `sample_weight`."
                )
            sample_weight = data_adapter_utils.class_weight_to_sample_weights(
                y, class_weight
            )
        elif sample_weight is not None and tree.is_nested(y):
            sample_weight = sample_weight_for_labels(y, sample_weight)
        data = data_adapter_utils.pack_x_y_sample_weight(x, y, sample_weight)
        data_adapter_utils.check_data_cardinality(data)
        count = next(
            leaf.shape[0] for leaf in tree.flatten(data) if leaf is not None
        )
        if not batch_size:
            batch_size = max(1, math.ceil(count / steps)) if steps else 32
        self._inputs = data
        self._num_samples = count
        self._batch_size = batch_size
        self._size = math.ceil(count / batch_size)
        self._partial_batch_size = count % batch_size
        self._shuffle = shuffle


# adds: sample weights go by name, or by the number of labels.
def sample_weight_for_labels(y, sample_weight):
    """Refuses sample weights that can't be meant for several labels.

    A single array is repeated for each label. What a dict means depends on the
    outputs, which are not known here.
    """
    if isinstance(sample_weight, dict):
        return sample_weight
    if tree.is_nested(sample_weight):
        if len(tree.flatten(sample_weight)) == len(tree.flatten(y)):
            return sample_weight
        raise ValueError(
            "You should provide one `sample_weight` array per output in `y`.\n"
            f"Received: sample_weight={describe(sample_weight)}\n"
            f"Expected the structure of y={describe(y)}, or a dict of names."
        )
    shape = tuple(sample_weight.shape)
    labels = tree.flatten(y)
    if len(labels) > 1 and shape[1:] not in [(), (1,)]:
        raise ValueError(
            "For a model with multiple outputs, when providing a single "
            "`sample_weight` array, it can only weigh samples as a whole.\n"
            f"Received: sample_weight={describe(sample_weight)}\n"
            f"Expected shape ({shape[0]},), or one array for each output."
        )
    return tree.map_structure(lambda _: sample_weight, y)
