class TestTrainer:
    # adds: on JAX, it was 1/3.
    @pytest.mark.requires_trainable_backend
    def test_metrics_leave_out_masked_positions_in_training(self):
        inputs = layers.Input((3,))
        outputs = layers.Embedding(
            2, 1, mask_zero=True, embeddings_initializer="ones"
        )(inputs)
        model = models.Model(inputs, outputs)
        model.compile(optimizers.SGD(0.0), loss="mse", metrics=["mae"])
        # The last position is padding, and the only one with an error.
        x, y = np.array([[1, 1, 0]]), np.array([[[1.0], [1.0], [0.0]]])
        history = model.fit(x, y, verbose=0).history
        self.assertAllClose(history["loss"], [0.0])
        self.assertAllClose(history["mae"], [0.0])
