"""Edits to `py_dataset_adapter.py` of Keras 3.15.1; no whole module, see
`patching`.

Lists of arrays and `None` in a batch work with TensorFlow, too.
"""

from keras.src.trainers.data_adapters import data_adapter_utils


class PyDatasetAdapter:
    # replaces 69a47f63fbd0: `tf.data` knows neither lists nor `None`.
    def get_tf_dataset(self):
        from keras.src.utils.module_utils import tensorflow as tf

        if self._output_signature is None:
            count = data_adapter_utils.NUM_BATCHES_FOR_TENSOR_SPEC
            if self.py_dataset.num_batches is not None:
                count = min(count, self.py_dataset.num_batches)
            if count == 0:
                raise ValueError("The PyDataset has length 0")
            self._output_signature = data_adapter_utils.get_tensor_spec(
                [
                    self._standardize_batch(self.py_dataset[index])
                    for index in range(count)
                ]
            )
        dataset = tf.data.Dataset.from_generator(
            lambda: map(data_adapter_utils.for_tf_data, self._get_iterator()),
            output_signature=self._output_signature,
        )
        if self.enqueuer is None:
            return dataset.prefetch(tf.data.AUTOTUNE)
        # The enqueuer fetches ahead with threads or processes of its own.
        options = tf.data.Options()
        options.autotune.enabled = False
        options.threading.private_threadpool_size = 1
        return dataset.with_options(options)
