class TestClassWeightToSampleWeights:
    # adds: it was a TypeError.
    @parameterized.parameters((2, 3, 4), (2, 3, 1), (2, 3, 4, 5))
    def test_several_classes_for_each_sample(self, *shape):
        with self.assertRaisesRegex(ValueError, "one class for each sample"):
            class_weight_to_sample_weights(np.ones(shape), {0: 1.0, 1: 2.0})

    # adds: with NumPy 2, it was a TypeError, too.
    def test_one_class_for_each_sample(self):
        y = np.array([[[0, 1]], [[1, 0]]])
        weights = class_weight_to_sample_weights(y, {0: 1.0, 1: 2.0})
        self.assertAllClose(weights, [2.0, 1.0])
