class PyDatasetAdapterTest:
    # adds: it was a TypeError.
    def test_lists_of_arrays_with_tensorflow(self):
        class ListLabels(py_dataset_adapter.PyDataset):
            def __len__(self):
                return 3

            def __getitem__(self, index):
                label = np.full((2, 1), float(index))
                return np.ones((2, 3)), [np.zeros((2, 1)), label]

        for workers in (1, 2):
            adapter = py_dataset_adapter.PyDatasetAdapter(
                ListLabels(workers=workers), shuffle=False
            )
            adapter.on_epoch_begin()
            batches = list(adapter.get_tf_dataset())
            adapter.on_epoch_end()
            self.assertLen(batches, 3)
            for index, (x, (first, second)) in enumerate(batches):
                self.assertAllClose(x.numpy(), np.ones((2, 3)))
                self.assertAllClose(first.numpy(), np.zeros((2, 1)))
                self.assertAllClose(second.numpy(), np.full((2, 1), index))
