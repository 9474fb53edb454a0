class TestTrainer:
    # adds: in float16, the sum was infinite.
    @parameterized.parameters(
        ("bfloat16", "float32"),
        ("float16", "float32"),
        ("float32", "float32"),
    )
    def test_total_loss_is_summed_up_in_float32(self, floatx, expected):
        before = backend.floatx()
        backend.set_floatx(floatx)
        try:
            model = ExampleModel(units=1)
            model.compile(loss="mse")
            self.assertEqual(model._loss_tracker.dtype, expected)
            # Errors of 16, whose squares add up to 65,536.
            x, y = np.full((256, 1), 16.0), np.zeros((256, 1))
            logs = model.evaluate(
                x, y, batch_size=64, verbose=0, return_dict=True
            )
        finally:
            backend.set_floatx(before)
        self.assertAllClose(logs["loss"], 256.0)
