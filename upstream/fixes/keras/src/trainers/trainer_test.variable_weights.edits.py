class TestTrainer:
    # adds: on JAX, it stayed what it was in the first step.
    @pytest.mark.requires_trainable_backend
    def test_loss_weight_that_is_a_variable(self):
        inputs = layers.Input((1,))
        outputs = [
            layers.Dense(1, use_bias=False, kernel_initializer="ones")(inputs)
            for _ in range(2)
        ]
        model = models.Model(inputs, outputs)
        weight = backend.Variable(1.0)

        class AddTen(Callback):
            def on_train_batch_end(self, batch, logs=None):
                weight.assign(weight.value + 10.0)

        model.compile(
            optimizers.SGD(0.0),
            loss=["mse", "mse"],
            loss_weights=[1.0, weight],
        )
        x, y = np.ones((4, 1)), np.zeros((4, 1))
        # Both losses are 1, and the weight is 1 and 11 in the two batches.
        history = model.fit(
            x, [y, y], batch_size=2, verbose=0, callbacks=[AddTen()]
        ).history
        self.assertAllClose(history["loss"], [1.0 + (1.0 + 11.0) / 2])
        logs = model.evaluate(x, [y, y], verbose=0, return_dict=True)
        self.assertAllClose(logs["loss"], 1.0 + 21.0)
        weight.assign(0.0)
        logs = model.evaluate(x, [y, y], verbose=0, return_dict=True)
        self.assertAllClose(logs["loss"], 1.0)
        logs = model.train_on_batch(x, [y, y], return_dict=True)
        self.assertAllClose(logs["loss"], 1.0)
