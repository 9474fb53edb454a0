"""Edits to `array_data_adapter.py` of Keras 3.15.1; no whole module, see
`patching`.

Sample weights reach the rule that matches them to the outputs by name.
"""
# Some names are those of the base, and some are for what follows there.
# ruff: noqa: F821, F841

import math

from keras.src import tree
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.output_structure import describe


class ArrayDataAdapter:
    # in __init__, replaces 50b4903d498b: the error printed all of the data.
    def _(x, y, sample_weight):
        raise ValueError(
            "Expected all elements of `x` to be array-like. So must be "
            f"those of `y` and `sample_weight`. Received: x={describe(x)}, "
            f"y={describe(y)}, sample_weight={describe(sample_weight)}"
        )

    # in __init__, replaces b77301f81403: it says what to do.
    def _():
        raise ValueError(
            "You cannot `class_weight` and `sample_weight` at the same "
            "time: multiply them, and pass `sample_weight`."
        )

    # in __init__, replaces 415fface51a8: a dict of sample weights had to have
    # the structure of the labels.
    def _(y, sample_weight):
        if tree.is_nested(y):
            sample_weight = sample_weight_for_labels(y, sample_weight)

    # in __init__, replaces 2a561724baff: a label in a list was no label of a
    # single output.
    def _(y):
        y = data_adapter_utils.only_label(y)

    # in __init__, replaces fff9510d103d: no samples were a division by zero.
    def _(num_samples, steps):
        batch_size = max(1, math.ceil(num_samples / steps)) if steps else 32


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
