"""The size of a batch is read when the step runs."""

from keras.src import ops


class CompileLoss:
    # in call, replaces e7a1b868744e: a graph is traced with an unknown size,
    # for which `Mean` counted each batch as one sample.
    def _(metric, value, y_p):
        metric.update_state(
            loss_module.unscale_loss_for_distribution(value),
            sample_weight=ops.shape(tree.flatten(y_p)[0])[0],
        )
