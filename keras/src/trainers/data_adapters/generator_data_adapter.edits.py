"""Edits to `generator_data_adapter.py` of Keras 3.15.1; no whole module, see
`patching`.

Lists of arrays in what a generator yields work with TensorFlow, too.
"""
# The shells hold names that only the base defines.
# ruff: noqa: F821

from keras.src import tree


class GeneratorDataAdapter:
    def get_tf_dataset(self):
        # replaces 363937720054: `tf.data` knows no lists.
        def get_tf_iterator():
            for batch in map(tree.lists_to_tuples, self.generator()):
                yield tree.map_structure(
                    convert_to_tf, batch, self._output_signature
                )
