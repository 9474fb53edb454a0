"""Edits to `trainer.py` of Keras 3.15.1; no whole module, see `patching`.

Compiling again forgets what was compiled before, `evaluate`'s list and
`metrics_names` agree, no step is made of no samples, and a step has all losses
that layers add, and records them where somebody wants to know.
"""
# The shells hold names that only the base defines.
# ruff: noqa: F811, F821

from keras.src import backend
from keras.src import ops
from keras.src import tree
from keras.src.losses import ownership
from keras.src.saving import serialization_lib
from keras.src.trainers import class_weights
from keras.src.trainers import metric_plan
from keras.src.trainers.compile_utils import CompileLoss
from keras.src.trainers.compile_utils import CompileMetrics
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.loss_weights import current_loss_weights
from keras.src.trainers.raw_loss import TotalLoss


# or BaseTrainer: its name on head.
class Trainer:
    # adds: without a call that they belong to, the layers of a model each took
    # theirs for the outermost, which starts by forgetting losses: what a layer
    # that is used twice had added first, and what others had added where the
    # `id` of an earlier step's loss was given to one of this step.
    # not on head: such a call is one of the model there.
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

    # in compile, before 1c23cdc74826: what may be refused comes before any
    # change to the model.
    def _(self, loss, loss_weights, metrics, weighted_metrics):
        names = getattr(self, "output_names", None)
        compile_loss = compile_metrics = None
        if any(one is not None for one in tree.flatten(loss)):
            compile_loss = CompileLoss(loss, loss_weights, output_names=names)
            # A `compute_loss` of the user's own may read something else.
            if not ownership.overrides(self, "compute_loss"):
                compile_loss.check()
        if not (metrics is None and weighted_metrics is None):
            compile_metrics = CompileMetrics(
                metrics, weighted_metrics, output_names=names
            )
            compile_metrics.stand_beside(
                compile_loss, ownership.overrides(self, "compute_loss")
            )

    # in compile, replaces 7918de86af4d: the losses of an earlier `compile`
    # stayed in use.
    def _(self, loss):
        # Without either, a model's own `loss` is none of `compile`.
        if loss is not None or self._compile_loss is not None:
            self.loss = loss
        self._compile_loss = compile_loss

    # in compile, replaces 1477690cdb69: so did its metrics.
    def _(self):
        self._compile_metrics = compile_metrics

    # in compile, replaces bdcd1fe4d493: the total was summed up in `floatx`.
    def _(self):
        expects_loss = getattr(self._loss_tracker, "expects_loss", False)
        self._loss_tracker = TotalLoss(compile_loss)
        self._loss_tracker.expects_loss |= expects_loss

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
        arguments["loss_weights"] = current_loss_weights(
            arguments.get("loss_weights")
        )
        return serialization_lib.SerializableDict(**arguments).serialize()

    # adds: shared by the definitions for newer and older bases.
    def _read_metrics(self):
        """The results of all metrics by name, none of which is there twice."""
        logs = {}
        for metric, named in metric_plan.logged_metrics(self.metrics):
            result = metric_plan.result_of(metric)
            is_dict = isinstance(result, dict)
            logs.update(result if is_dict else dict.fromkeys(named, result))
        return logs

    # replaces 89f313bc35c1: of two metrics of one name, one was not logged.
    def get_metrics_result(self):
        return self._read_metrics()

    # replaces 0b2836185926: the same, where the base returns numbers.
    def get_metrics_result(self):
        from keras.src.utils import python_utils

        return python_utils.pythonify_logs(self._read_metrics())

    # in metrics, before 31e2d7cd1703: the terms of the total, while they are
    # logged, come last, so that they give way where two have one name.
    def _(self):
        terms = getattr(self._loss_tracker, "terms", None)
        metrics.extend(getattr(terms, "metrics", ()))

    # adds: what the list form of `evaluate` leaves out.
    def _unlisted_metrics(self):
        """The metrics that the base release does not have."""
        terms = getattr(self._loss_tracker, "terms", None)
        return [
            *getattr(self._compile_loss, "unlisted_metrics", ()),
            *getattr(terms, "metrics", ()),
        ]

    # replaces 7dfdebacbcba: it named `compile_metrics` instead of the metrics,
    # in another order than that of `evaluate`.
    @property
    def metrics_names(self):
        """The names of what `evaluate` returns as a list, in its order.

        Before the first batch, the names of the metrics of `compile` are there
        if the outputs of the model are known, and those of raw losses are not.
        """
        first, others = self._listed_names()
        return list(dict.fromkeys([*first, *sorted(others)]))

    # adds: `metrics_names` and the list form have one order.
    def _listed_names(self, logs=()):
        """The names of the list form of `evaluate`, as in the base release.

        Args:
            logs: The logs, if there are any. They may hold the dict that a
                metric results in as it is.

        Returns:
            A list of the names that come first, in their order, and one of
            those that follow, sorted.
        """
        unlisted = self._unlisted_metrics()
        first, others = [], []
        for metric, named in metric_plan.logged_metrics(self.metrics, self):
            if metric in unlisted:
                continue
            is_compiled = isinstance(metric, CompileMetrics)
            for name, one in named.items():
                keys = metric_plan.result_names(one)
                if keys is not None and name not in logs:
                    others += keys
                elif is_compiled and metric_plan.name_of(one) != name:
                    others.append(name)
                else:
                    first.append(name)
        return first, others

    # replaces 2aac7b77fcf3: some numbers were there twice, and TensorFlow had
    # an order of its own.
    def _flatten_metrics_in_order(self, logs):
        """The values of `logs` as a list, or the value if there is one.

        They come in the order of `metrics_names`. What a custom step logs
        under other names stands among the last ones, sorted by name.
        """
        first, _ = self._listed_names(logs)
        names = [name for name in dict.fromkeys(first) if name in logs]
        hidden = [metric.name for metric in self._unlisted_metrics()]
        hidden += getattr(self._loss_tracker, "unlisted_names", ())
        names += sorted(logs.keys() - {*names, *hidden})
        values = [logs[name] for name in names]
        return values[0] if len(values) == 1 else values

    # replaces 450e48288d48: nobody could know what regularizers and `add_loss`
    # add, but by computing it again. With TensorFlow, what layers of float16
    # add could not be added to a loss of float32.
    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        parts = []
        if self._compile_loss is not None:
            if not self._compile_loss.built:
                names = {metric.name for metric in self.metrics}
                self._compile_loss.other_names = names
            compiled = self._compile_loss(y, y_pred, sample_weight)
            if compiled is not None:
                parts.append(compiled)
        added = self.losses
        of_layers = list(map(self._aggregate_additional_loss, added))
        terms = getattr(self._loss_tracker, "terms", None)
        if terms is not None:
            terms.record(self, added, of_layers)
        parts += of_layers
        if len(parts) > 1:
            if self._compile_loss is not None:
                # What layers add belongs to the batch as a whole.
                self._compile_loss.require_number()
            if len({part.dtype for part in parts}) > 1:
                dtype = backend.result_type(*(part.dtype for part in parts))
                parts = [ops.cast(part, dtype) for part in parts]
            return ops.sum(parts)
        if not parts and backend.backend() != "jax":
            raise ValueError(
                "No loss to compute. Provide a `loss` argument in `compile()`."
            )
        return parts[0] if parts else ops.zeros(())

    # replaces 13153b89c765: the loss of no samples was NaN, and was trained on;
    # what is wrong for the metrics was found after the optimizer's step.
    def _compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        """Calls `compute_loss`, which may be an override of the user's.

        Before Keras 3.3, overrides had no `training` argument.
        """
        data_adapter_utils.require_samples(x)
        class_weights.check(self, y, y_pred)
        # A step of the user's own may give the metrics something else, and
        # weigh the total as it likes.
        step = "train_step" if training else "test_step"
        is_step_of_keras = not ownership.overrides(self, step)
        metrics = self._compile_metrics
        # Inside a stateless scope, a metric would be left without its state.
        if metrics is not None and (
            metrics.built or not backend.in_stateless_scope()
        ):
            if is_step_of_keras and not ownership.overrides(
                self, "compute_metrics"
            ):
                metrics.prepare(y, y_pred)
        arguments = {}
        if self._compute_loss_has_training_arg:
            arguments["training"] = training
        compile_loss = self._compile_loss
        if compile_loss is not None:
            compile_loss.sizes.put()
        loss = self.compute_loss(x, y, y_pred, sample_weight, **arguments)
        if compile_loss is not None and is_step_of_keras:
            compile_loss.sizes.tell()
            # A loop, or a `compute_loss` of the user's own, may reduce it.
            if (
                training
                and getattr(self, "train_function", None) is not None
                and not ownership.overrides(self, "compute_loss")
            ):
                compile_loss.require_number()
        if compile_loss is None and (
            self.loss is not None
            or getattr(self._loss_tracker, "expects_loss", False)
        ):
            if not (ownership.overrides(self, "compute_loss") or self.losses):
                raise ValueError(
                    "No loss to compute. Every loss of `compile` is `None`, "
                    "and no layer adds one."
                )
        return loss
