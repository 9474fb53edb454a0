class MonitorCallbackTest:
    # adds: all of them were a ValueError.
    def test_direction_with_several_outputs(self):
        inputs = layers.Input((2,))
        outputs = [layers.Dense(1, name=name)(inputs) for name in ("a", "b")]
        model = models.Model(inputs, outputs)
        model.compile(
            loss=["mse", "mse"],
            metrics=[["accuracy"], None],
            weighted_metrics=[None, ["mae"]],
        )
        y = np.zeros((4, 1))
        model.evaluate(np.ones((4, 2)), [y, y], verbose=0)
        for monitor, expected in (
            ("val_a_loss", ops.less),
            ("b_loss", ops.less),
            ("val_a_accuracy", ops.greater),
            ("b_mae", ops.less),
        ):
            callback = callbacks.MonitorCallback(monitor, min_delta=0.5)
            callback.set_model(model)
            callback._set_monitor_op()
            self.assertEqual(callback.monitor_op, expected)
        callback = callbacks.MonitorCallback("b_accuracy_of_none")
        callback.set_model(model)
        with self.assertRaises(ValueError):
            callback._set_monitor_op()
