class TestTrainer:
    # adds: what was not passed again stayed in use.
    def test_compile_forgets_what_was_compiled(self):
        x, y = np.full((2, 1), 3.0), np.zeros((2, 1))
        model = ExampleModel(units=1)
        model.compile(loss="mse", metrics=["mae"])
        logs = model.evaluate(x, y, verbose=0, return_dict=True)
        self.assertAllClose(logs["loss"], 9.0)
        self.assertAllClose(logs["mae"], 3.0)
        model.compile(loss="mae")
        logs = model.evaluate(x, y, verbose=0, return_dict=True)
        self.assertEqual(list(logs), ["loss"])
        self.assertAllClose(logs["loss"], 3.0)
        model.compile()
        self.assertIsNone(model.loss)
        self.assertEqual([m.name for m in model.metrics], ["loss"])
