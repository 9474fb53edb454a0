"""Edits to `torch_data_loader_adapter.py` of Keras 3.15.1; no whole module, see
`patching`.

The lists that a DataLoader makes by default work with TensorFlow, too.
"""

import itertools

from keras.src.trainers.data_adapters import data_adapter_utils


class TorchDataLoaderAdapter:
    # replaces fea4a2ee5b20, d6fc9003c453: `tf.data` knows neither lists nor, on
    # head too, `None`.
    def get_tf_dataset(self):
        from keras.src.utils.module_utils import tensorflow as tf

        if self._output_signature is None:
            count = data_adapter_utils.NUM_BATCHES_FOR_TENSOR_SPEC
            batches = itertools.islice(self._dataloader, count)
            self._output_signature = data_adapter_utils.get_tensor_spec(
                list(batches)
            )
        return tf.data.Dataset.from_generator(
            lambda: map(
                data_adapter_utils.for_tf_data, self.get_numpy_iterator()
            ),
            output_signature=self._output_signature,
        )
