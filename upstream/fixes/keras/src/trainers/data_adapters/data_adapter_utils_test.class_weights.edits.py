class TestClassWeightToSampleWeights:
    # adds: it was a TypeError.
    @parameterized.named_parameters(
        ("one_hot", lambda classes: np.eye(3)[classes]),
        ("sparse", lambda classes: classes[..., None]),
    )
    def test_class_of_each_position(self, encode):
        classes = np.array([[0, 1], [2, 0], [1, 1]])
        weights = class_weight_to_sample_weights(
            encode(classes), {0: 1.0, 1: 2.0, 2: 3.0}
        )
        self.assertAllClose(weights, [[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]])
        # A class that is left out has the weight 1.
        weights = class_weight_to_sample_weights(encode(classes), {2: 3.0})
        self.assertAllClose(weights, [[1.0, 1.0], [3.0, 1.0], [1.0, 1.0]])
