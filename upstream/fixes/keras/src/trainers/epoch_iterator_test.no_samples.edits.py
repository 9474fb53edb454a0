class TestEpochIterator:
    # adds: an epoch of nothing was run.
    def test_no_samples(self):
        empty = np.zeros((0, 2))
        with self.assertRaisesRegex(ValueError, "no samples"):
            epoch_iterator.EpochIterator(empty, empty, batch_size=2)
        dataset = tf.data.Dataset.from_tensor_slices((empty, empty)).batch(2)
        with self.assertRaisesRegex(ValueError, "no samples"):
            epoch_iterator.EpochIterator(dataset)

    # adds: the same, found out by asking for the first batch.
    def test_no_samples_in_data_of_unknown_size(self):
        dataset = tf.data.Dataset.from_tensor_slices(np.ones((4, 2)))
        dataset = dataset.batch(2).filter(lambda batch: False)
        iterator = epoch_iterator.EpochIterator(dataset)
        with self.assertRaisesRegex(ValueError, "no samples"):
            list(iterator)

    # adds: this is no error, as before.
    def test_data_that_is_used_up(self):
        batches = iter([np.ones((2, 1)), np.ones((1, 1))])
        dataset = tf.data.Dataset.from_generator(
            lambda: batches,
            output_signature=tf.TensorSpec((None, 1), "float64"),
        )
        iterator = epoch_iterator.EpochIterator(dataset)
        self.assertLen(list(iterator), 2)
        iterator.reset()
        self.assertEmpty(list(iterator))
