"""Lists of arrays in a batch, with TensorFlow."""

from keras.src import tree


class PyDatasetAdapter:
    # in get_tf_dataset, replaces 1df4a6fdfac9: batches have the structure of
    # their signature.
    def _(self):
        ds = tf.data.Dataset.from_generator(
            lambda: map(tree.lists_to_tuples, self._get_iterator()),
            output_signature=self._output_signature,
        )
