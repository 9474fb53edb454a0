"""Edits to `trainer.py` of Keras 3.15.1; no whole module, see `edits.py`.

Compiling again forgets what was compiled before, `evaluate`'s list and
`metrics_names` agree, no step is made of no samples, and a step has all losses
that layers add.
"""

import warnings

from keras.src import backend
from keras.src import metrics as metrics_module
from keras.src import optimizers
from keras.src.optimizers.loss_scale_optimizer import LossScaleOptimizer
from keras.src.saving import serialization_lib
from keras.src.trainers import compile_utils
from keras.src.trainers.compile_utils import CompileLoss
from keras.src.trainers.compile_utils import CompileMetrics
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.utils import traceback_utils
from keras.src.utils import tracking


class Trainer:
    # adds: without a call that they belong to, the layers of a model each took
    # theirs for the outermost, which starts by forgetting losses: what a layer
    # that is used twice had added first, and what others had added where the
    # `id` of an earlier step's loss was given to one of this step.
    def stateless_call(self, *args, **kwargs):
        """See `Layer.stateless_call`; for the layers of the model, it is a call
        of the model.

        As in other calls, `training` holds for all layers that aren't given
        one, and `add_loss` and activity regularizers add up over all uses of a
        layer.
        """
        context = self._get_call_context()
        if context.entry_layer is not self:
            return super().stateless_call(*args, **kwargs)
        for name in self._call_context_args:
            if kwargs.get(name) is not None:
                context.set_value(name, kwargs[name])
        try:
            return super().stateless_call(*args, **kwargs)
        finally:
            self._maybe_reset_call_context()

    # replaces 98ee80c63ae7, dbf84c5a4b50, ecccfe479e8d: losses and metrics of
    # an earlier `compile` stayed in use, and the total was summed up in
    # `floatx`. Before 3.15, nothing reads `_compiled_trainable_state`.
    @traceback_utils.filter_traceback
    @tracking.no_automatic_dependency_tracking
    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
        auto_scale_loss=True,
    ):
        if jit_compile == "auto":
            jit_compile = not run_eagerly and self._resolve_auto_jit_compile()
        elif jit_compile and run_eagerly:
            warnings.warn(
                "`jit_compile=True` has no effect with `run_eagerly=True`.",
                stacklevel=2,
            )
            jit_compile = False

        # What may be refused comes before any change to the model.
        output_names = getattr(self, "output_names", None)
        compile_loss = compile_metrics = None
        if loss is not None:
            compile_loss = CompileLoss(
                loss, loss_weights, output_names=output_names
            )
        if not (metrics is None and weighted_metrics is None):
            compile_metrics = CompileMetrics(
                metrics, weighted_metrics, output_names=output_names
            )
            compile_metrics.take_labels_as(compile_loss)
        optimizer = optimizers.get(optimizer)

        self._compile_config = serialization_lib.SerializableDict(
            optimizer=optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )
        self.loss = loss
        self._compile_loss = compile_loss
        self._compile_metrics = compile_metrics
        # 600 batches in bfloat16 would saturate.
        wide = "float64" if backend.floatx() == "float64" else "float32"
        self._loss_tracker = metrics_module.Mean(name="loss", dtype=wide)
        self.train_function = None
        self.test_function = None
        self.predict_function = None

        is_mixed = self.dtype_policy.name == "mixed_float16"
        if is_mixed and auto_scale_loss and optimizer:
            if not isinstance(optimizer, LossScaleOptimizer):
                optimizer = LossScaleOptimizer(
                    optimizer, name="loss_scale_optimizer"
                )
        self.optimizer = optimizer
        self.run_eagerly = run_eagerly
        self.jit_compile = jit_compile
        self.steps_per_execution = steps_per_execution
        self.stop_training = False
        self._compiled_trainable_state = {
            layer: layer.trainable for layer in self._flatten_layers()
        }
        self.compiled = True

    # replaces 4d584e2e212b: loss weights that are variables could not be
    # saved on every backend.
    def get_compile_config(self):
        """What `compile_from_config` compiles a model alike from.

        Loss weights that are `keras.Variable`s are saved as the numbers that
        they hold.

        Returns:
            A dict, empty if the model is not compiled.
        """
        config = getattr(self, "_compile_config", None)
        if config is None or not self.compiled:
            return {}
        arguments = dict(config.config)
        arguments["loss_weights"] = compile_utils.current_loss_weights(
            arguments.get("loss_weights")
        )
        return serialization_lib.SerializableDict(**arguments).serialize()

    # replaces b25adbcafb66: raw losses share their state.
    def reset_metrics(self):
        compile_utils.reset_states(self.metrics)

    # adds: shared by the definitions for newer and older bases.
    def _read_metrics(self):
        """The results of all metrics by name; shared state is read once."""
        metrics, logs = self.metrics, {}
        for metric, result in zip(metrics, compile_utils.results(metrics)):
            if isinstance(result, dict):
                logs.update(result)
            else:
                logs[metric.name] = result
        return logs

    # replaces 89f313bc35c1: raw losses share their state.
    def get_metrics_result(self):
        return self._read_metrics()

    # replaces 0b2836185926: the same, where the base returns numbers.
    def get_metrics_result(self):  # noqa: F811
        from keras.src.utils import python_utils

        return python_utils.pythonify_logs(self._read_metrics())

    # replaces 7dfdebacbcba: it named `compile_metrics` instead of the metrics,
    # in another order than that of `evaluate`.
    @property
    def metrics_names(self):
        """The names of what `evaluate` returns as a list, in its order.

        That is the order of Keras 2: the total, the losses of the outputs, the
        metrics of `compile`, and all other metrics. The metrics of `compile`
        are known from the first batch on.
        """
        losses = self._compile_loss.metrics if self._compile_loss else []

        def rank(metric):
            if metric is self._loss_tracker:
                return 0
            if metric in losses:
                return 1
            return 2 if isinstance(metric, CompileMetrics) else 3

        names = []
        for metric in sorted(self.metrics, key=rank):
            if isinstance(metric, CompileMetrics):
                names += metric.named_metrics
                continue
            # Only the result tells the names of a metric that has several.
            result = metric.result() if rank(metric) == 3 else None
            names += result if isinstance(result, dict) else [metric.name]
        return list(dict.fromkeys(names))

    # replaces 2aac7b77fcf3: it looked for metrics under names that are not the
    # logged ones, so that values came in alphabetical order.
    def _flatten_metrics_in_order(self, logs):
        """The values of `logs` as a list, or the value if there is one.

        They come in the order of `metrics_names`. What a custom step logs
        under other names follows, sorted by name.
        """
        names = [name for name in self.metrics_names if name in logs]
        names += sorted(set(logs).difference(names))
        values = [logs[name] for name in names]
        return values[0] if len(values) == 1 else values

    # replaces 13153b89c765: the loss of no samples was NaN, and was trained on;
    # what is wrong for the metrics was found after the optimizer's step.
    def _compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        """Calls `compute_loss`, which may be an override of the user's.

        Before Keras 3.3, overrides had no `training` argument.
        """
        data_adapter_utils.require_samples(x)
        if self._compile_metrics is not None:
            # An override may give the metrics something else than this.
            if type(self).compute_metrics is Trainer.compute_metrics:
                self._compile_metrics.prepare(y, y_pred)
        arguments = {}
        if self._compute_loss_has_training_arg:
            arguments["training"] = training
        return self.compute_loss(x, y, y_pred, sample_weight, **arguments)
