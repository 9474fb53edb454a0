class GeneratorDataAdapterTest:
    # adds: it was a TypeError.
    def test_lists_of_arrays_with_tensorflow(self):
        batch = (np.ones((2, 3)), [np.zeros((2, 1)), np.full((2, 1), 5.0)])
        adapter = generator_data_adapter.GeneratorDataAdapter(iter([batch] * 3))
        batches = list(adapter.get_tf_dataset())
        self.assertLen(batches, 3)
        for x, (first, second) in batches:
            self.assertAllClose(x.numpy(), np.ones((2, 3)))
            self.assertAllClose(first.numpy(), np.zeros((2, 1)))
            self.assertAllClose(second.numpy(), np.full((2, 1), 5.0))
