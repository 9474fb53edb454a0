class LegacyH5WholeModelTest:
    # adds: the optimizer refused to train the loaded model.
    @pytest.mark.requires_trainable_backend
    def test_training_goes_on_after_loading(self):
        model = models.Sequential(
            [
                layers.Input((1,)),
                layers.Dense(1, use_bias=False, kernel_initializer="ones"),
            ]
        )
        model.compile(
            keras.optimizers.SGD(0.25, momentum=0.5),
            loss=keras.losses.MeanSquaredError(),
        )
        x, y = np.ones((2, 1)), np.zeros((2, 1))
        # The gradient is twice the kernel: 1 - 0.25 * 2 = 0.5.
        model.fit(x, y, verbose=0)
        path = os.path.join(self.get_temp_dir(), "model.h5")
        legacy_h5_format.save_model_to_hdf5(model, path)
        loaded = legacy_h5_format.load_model_from_hdf5(path)
        self.assertAllClose(loaded.get_weights(), [[[0.5]]])
        # With the momentum of the step before: 0.5 - 0.25 - 0.25 = 0.
        loaded.fit(x, y, verbose=0)
        self.assertAllClose(loaded.get_weights(), [[[0.0]]])
