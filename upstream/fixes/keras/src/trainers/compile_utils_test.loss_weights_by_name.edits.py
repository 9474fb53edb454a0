import numpy as np

from keras.src import ops


class TestCompileLoss:
    # adds: it was 14.
    def test_dict_of_loss_weights_for_list_of_losses(self):
        # The losses are 1 for "z" and 4 for "a".
        y_true = [np.zeros((3, 1)), np.zeros((3, 1))]
        y_pred = [np.full((3, 1), 1.0), np.full((3, 1), 2.0)]
        names = ["z", "a"]
        weights = {"a": 10, "z": 1}
        compile_loss = CompileLoss(["mse", "mse"], weights, output_names=names)
        self.assertAllClose(compile_loss(y_true, y_pred), 10 * 4.0 + 1.0)

        # An output without a weight has the weight 1, one without a loss none.
        compile_loss = CompileLoss(
            ["mse", "mse"], {"a": 10}, output_names=names
        )
        self.assertAllClose(compile_loss(y_true, y_pred), 10 * 4.0 + 1.0)
        compile_loss = CompileLoss([None, "mse"], weights, output_names=names)
        self.assertAllClose(compile_loss(y_true, y_pred), 10 * 4.0)

        # With a dict of outputs, losses go by its sorted keys.
        compile_loss = CompileLoss(["mse", "mae"], weights, output_names=names)
        y_true, y_pred = dict(zip(names, y_true)), dict(zip(names, y_pred))
        self.assertAllClose(compile_loss(y_true, y_pred), 10 * 4.0 + 1.0)

    # adds: this one has no name, as before.
    def test_dict_of_loss_weights_for_loss_of_several_outputs(self):
        def error_of_both(y_true, y_pred):
            return ops.mean(ops.abs(y_pred["a"] - y_pred["z"]), axis=-1)

        compile_loss = CompileLoss(
            [error_of_both], {"both": 10}, output_names=["z", "a"]
        )
        y_pred = {"z": ops.ones((3, 1)), "a": ops.full((3, 1), 5.0)}
        self.assertAllClose(compile_loss(y_pred, y_pred), 10 * 4.0)

    # adds: a dict of losses for a list of outputs was right, and still is.
    def test_dict_of_loss_weights_with_more_keys(self):
        compile_loss = CompileLoss(
            {"a": "mse", "z": "mse"},
            {"a": 10, "z": 1, "of_another_model": 100},
            output_names=["z", "a"],
        )
        y_true = [np.zeros((3, 1)), np.zeros((3, 1))]
        y_pred = [np.full((3, 1), 1.0), np.full((3, 1), 2.0)]
        self.assertAllClose(compile_loss(y_true, y_pred), 10 * 4.0 + 1.0)

    # adds: it was taken for the weight of another output.
    def test_loss_weight_of_no_output(self):
        names, weights = ["z", "a"], {"z": 1, "aa": 10}
        y_true = [np.zeros((3, 1)), np.zeros((3, 1))]
        compile_loss = CompileLoss(["mse", "mse"], weights, output_names=names)
        with self.assertRaisesRegex(ValueError, "name no output: {'aa'}"):
            compile_loss(y_true, y_true)
        compile_loss = CompileLoss({"z": "mse", "a": "mse"}, weights)
        y_true = dict(zip(names, y_true))
        with self.assertRaisesRegex(ValueError, "name no output: {'aa'}"):
            compile_loss(y_true, y_true)
