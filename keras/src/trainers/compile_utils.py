"""The losses and metrics that `compile` was given, computed and recorded.

Replaces the module of the same name in Keras 3.15.1, written anew from the
fork's contract: a loss entry's raw loss is recorded before its weight is
applied, epoch values are averages over samples whose number is read at run
time, and every argument is matched to the outputs by one rule (in
`output_matcher.py`).

The first batch shows the structure of the outputs, and the arguments are
resolved into flat lists (`loss_plan.py`, `metric_plan.py`). Each step is a loop
over one.
"""

from keras.src import backend
from keras.src import losses as losses_module
from keras.src import metrics as metrics_module
from keras.src import ops
from keras.src.losses import replicas
from keras.src.losses import weighting
from keras.src.losses.loss import reduce_to_number
from keras.src.trainers import loss_plan
from keras.src.trainers import metric_plan
from keras.src.trainers import raw_loss
from keras.src.trainers.identifiers import get_loss as get_loss
from keras.src.trainers.identifiers import get_metric as get_metric
from keras.src.trainers.identifiers import (
    is_binary_or_sparse_categorical as is_binary_or_sparse_categorical,
)
from keras.src.trainers.loss_weights import HandedWeights
from keras.src.trainers.loss_weights import plain_weights
from keras.src.trainers.loss_weights import weigh
from keras.src.trainers.metric_plan import MetricsList as MetricsList
from keras.src.trainers.metric_plan import NotSaved
from keras.src.trainers.metric_plan import get_metrics_list
from keras.src.trainers.output_matcher import Y_TRUE
from keras.src.trainers.output_matcher import OutputMatcher
from keras.src.trainers.output_structure import is_container
from keras.src.trainers.output_structure import signature
from keras.src.utils.tracking import DotNotTrackScope
from keras.src.utils.tracking import no_automatic_dependency_tracking


class CompileMetrics(NotSaved, metrics_module.Metric):
    """The metrics of `compile`, matched to the outputs.

    Args:
        metrics: List, tuple or dict of metrics, matched to the outputs as
            `OutputMatcher` says, or `None`. They see no sample weight.
        weighted_metrics: The same, for metrics that see the sample weights.
        name: Not used: the name is always `"compile_metrics"`.
        output_names: The names of the model's outputs, or `None`.

    Raises:
        ValueError: If `metrics` or `weighted_metrics` is neither list, tuple
            nor dict, or if a `Metric` object stands in them twice.
    """

    @no_automatic_dependency_tracking
    def __init__(
        self,
        metrics,
        weighted_metrics,
        name="compile_metric",
        output_names=None,
    ):
        super().__init__(name="compile_metrics")
        metric_plan.check_metrics(
            {"metrics": metrics, "weighted_metrics": weighted_metrics}
        )
        self._user_metrics = metrics
        self._user_weighted_metrics = weighted_metrics
        self.output_names = output_names
        self.built = False
        self._compile_loss = None
        self._has_further_labels = False
        self._need_labels = []
        self._matchers = {}
        self._flat_metrics = []
        self._flat_weighted_metrics = []
        self._named = None, {}

    @property
    def metrics(self):
        lists = [*self._flat_metrics, *self._flat_weighted_metrics]
        return [metric for one in lists if one for metric in one.metrics]

    @property
    def variables(self):
        # Implicit tracking would miss metrics that are built outside of it.
        return [v for metric in self.metrics for v in metric.variables]

    @property
    def named_metrics(self):
        """The `Metric` object behind each name that `result` reports."""
        if not self.built:
            return {}
        taken, named = self._taken_names(), self._named
        if named[0] == taken:
            return named[1]
        flat = self._flat_metrics, self._flat_weighted_metrics
        lists = {
            name: {i: one.metrics for i, one in enumerate(metrics) if one}
            for name, metrics in zip(("metrics", "weighted_metrics"), flat)
        }
        matcher = next(iter(self._matchers.values()))
        named = metric_plan.name_metrics(lists, matcher, taken)
        with DotNotTrackScope():
            self._named = taken, named
        return named

    def names_for(self, model):
        """The names that `result` will report, as far as they can be told.

        Args:
            model: The model. Before the first batch, only a functional one
                knows its outputs.

        Returns:
            A dict of the names, and of what the metrics are to be made of.
        """
        outputs = getattr(model, "_functional", None) or model
        outputs = getattr(outputs, "_outputs_struct", None)
        if outputs is None:
            return {self.name: self}
        matcher = OutputMatcher(outputs, self.output_names)
        lists = self._match(matcher)
        named = metric_plan.name_metrics(lists, matcher, self._taken_names())
        own_names = map(metric_plan.name_of, named.values())
        return {self.name: self} if None in own_names else named

    def _taken_names(self):
        """What no metric may be called: the total, and `listed_names`."""
        if self._compile_loss is None:
            return {"loss"}
        return {"loss", *self._compile_loss.listed_names}

    def _match(self, matcher):
        arguments = {
            "metrics": self._user_metrics,
            "weighted_metrics": self._user_weighted_metrics,
        }
        return {
            name: metric_plan.match_metrics(name, metrics, matcher)
            for name, metrics in arguments.items()
        }

    def stand_beside(self, compile_loss, has_further_labels=False):
        """Takes the `CompileLoss` of the same model into account.

        It logs names that no metric may have, and refuses labels that it
        doesn't know; a list of labels may have entries for only those outputs
        that have a loss.

        Args:
            compile_loss: The `CompileLoss`, or `None`.
            has_further_labels: Whether a `compute_loss` of the user's own may
                read more labels than there are outputs. Metrics get the first.
        """
        self._compile_loss = compile_loss
        self._has_further_labels = has_further_labels
        if compile_loss is not None:
            compile_loss.compile_metrics = self

    def build(self, y_true, y_pred):
        """Matches the metrics to the outputs.

        Args:
            y_true: Labels of a batch. Only structure and shapes are used.
            y_pred: Predictions for the batch, likewise.

        Raises:
            ValueError: If the metrics or the labels don't match the outputs.
        """
        compile_loss = self._compile_loss
        matcher = OutputMatcher(
            y_pred,
            self.output_names,
            None if compile_loss is None else compile_loss.with_loss,
        )
        matcher.require_same_outputs(self._matchers.values(), y_pred)
        matched = self._match(matcher)
        batch = self._read(matcher, y_true, y_pred)
        self._need_labels = metric_plan.need_labels(matched)
        matcher.require_labels(
            "metric", batch.labels, self._need_labels, y_true
        )
        if not self.built:
            self._flat_metrics, self._flat_weighted_metrics = (
                [
                    get_metrics_list(
                        per_output.get(index),
                        batch.labels[index],
                        batch.predictions[index],
                        matcher.names[index] if len(matcher) > 1 else None,
                    )
                    for index in range(len(matcher))
                ]
                for per_output in matched.values()
            )
        self._matchers[signature(y_pred)] = matcher
        self.built = True
        return matcher

    def _read(self, matcher, y_true, y_pred, sample_weight=None):
        labels = Y_TRUE
        if self._compile_loss is not None or self._has_further_labels:
            # It refuses what it doesn't know, or a `compute_loss` reads it.
            labels = Y_TRUE._replace(further_keys=True)
        if self._has_further_labels:
            y_true = metric_plan.first_labels(y_true, matcher)
        return matcher.read_batch(y_true, y_pred, sample_weight, labels)

    def prepare(self, y_true, y_pred, sample_weight=None):
        """Refuses what `update_state` would, without a change of state.

        A trainer calls it before the optimizer has moved a weight.

        Args:
            y_true: Labels of a batch.
            y_pred: Predictions for the batch.
            sample_weight: Sample weights of the batch, or `None`.

        Returns:
            The leaves of the batch, as a `Batch`.

        Raises:
            ValueError: If metrics or labels don't match the outputs.
        """
        matcher = self._matchers.get(signature(y_pred))
        if matcher is None:
            matcher = self.build(y_true, y_pred)
        batch = self._read(matcher, y_true, y_pred, sample_weight)
        matcher.require_labels(
            "metric", batch.labels, self._need_labels, y_true
        )
        return batch

    def update_state(self, y_true, y_pred, sample_weight=None):
        if not self._user_weighted_metrics:
            # A `compute_loss` may take sample weights in a form of its own.
            sample_weight = None
        batch = self.prepare(y_true, y_pred, sample_weight)
        for metrics, *data in zip(self._flat_metrics, *batch[:2]):
            if metrics:
                metrics.update_state(*data)
        for metrics, *data in zip(self._flat_weighted_metrics, *batch):
            if metrics:
                metrics.update_state(*data)

    def reset_state(self):
        for metric in self.metrics:
            metric.reset_state()

    def result(self):
        """The results as a dict, under the names that are logged."""
        if not self.built:
            raise ValueError(
                "Cannot get result() since the metric has not yet been built."
            )
        return {
            name: metric_plan.result_of(metric)
            for name, metric in self.named_metrics.items()
        }


class CompileLoss(NotSaved, losses_module.Loss):
    """The losses of `compile`: matched to the outputs, computed, recorded.

    For each loss entry, a call computes the raw loss, records it, applies the
    loss weight and adds the contribution to the total. What is recorded and
    logged as `<output>_loss` is the raw loss, as in Keras 2, so that

        total = sum(weight_i * <i>_loss)

    The only loss of the only output counts in the total alone.

    Args:
        loss: A loss, or losses in any form that `OutputMatcher` knows. A loss
            is a string, a function, or a `Loss` object. `None` is no loss.
        loss_weights: Scalars, in any of these forms: numbers, NumPy scalars,
            tensors, or scalar `keras.Variable`s, which are read at each call.
            `None` is 1.
        reduction: Kept for compatibility; each loss has its own.
        output_names: The names of the model's outputs, or `None`.

    Example:

    >>> import numpy as np
    >>> loss = CompileLoss(["mse", "mae"], [10, 1], output_names=["a", "b"])
    >>> y_true = [np.zeros((2, 1)), np.zeros((2, 1))]
    >>> y_pred = [np.full((2, 1), 2.0), np.full((2, 1), 3.0)]
    >>> float(loss(y_true, y_pred))
    43.0
    >>> {m.name: float(m.result()) for m in loss.metrics}
    {'a_loss': 4.0, 'b_loss': 3.0}
    """

    def __init__(
        self,
        loss,
        loss_weights=None,
        reduction="sum_over_batch_size",
        output_names=None,
    ):
        super().__init__(name="compile_loss", reduction=reduction)
        self._user_loss = loss
        self._user_loss_weights = loss_weights
        self.output_names = output_names
        self.compile_metrics = None
        # Of the metrics of the model and its layers.
        self.other_names = ()
        self.built = False
        self.sizes = raw_loss.BatchSizes()
        self._flat_losses = None
        self._need_labels = []
        self._targets = {}
        self._matchers = {}
        self._metrics = []
        # A `LossTerms` while the terms of the total are logged.
        self.terms = None
        # Of the last call, what `require_number` refuses, if there is any.
        self._unreduced = None
        self.handed_weights = HandedWeights(loss_weights)

    Loss = loss_plan.LossEntry

    @property
    def metrics(self):
        return list(self._metrics)

    @property
    def variables(self):
        return [v for metric in self.metrics for v in metric.variables]

    @property
    def unlisted_metrics(self):
        """The raw loss of a single loss entry, which the base has not."""
        return self._metrics if len(self._metrics) == 1 else []

    @property
    def listed_names(self):
        """The names of the raw losses that the base release logs, too."""
        names = [metric.name for metric in self._metrics]
        return names if len(names) > 1 else []

    def check(self):
        """Refuses what can be no losses, or no scalars to weigh them by."""
        loss_plan.check_losses(self._user_loss)
        return plain_weights(self._user_loss_weights)

    def build(self, y_true, y_pred):
        """Resolves the structure of the outputs into flat lists.

        Args:
            y_true: Labels of a batch. Only structure and shapes are used.
            y_pred: Predictions for the batch, likewise.

        Raises:
            ValueError: If losses, loss weights or labels don't fit the outputs.
        """
        matcher = OutputMatcher(y_pred, self.output_names, self.with_loss)
        matcher.require_same_outputs(self._matchers.values(), y_pred)
        if not self.built:
            self._resolve(matcher, y_true, y_pred)
        self._matchers[signature(y_pred)] = matcher
        return matcher

    def _resolve(self, matcher, y_true, y_pred):
        loss_weights = self.check()
        batch = matcher.read_batch(y_true, y_pred)
        self._need_labels = loss_plan.need_labels(self._user_loss, matcher)
        matcher.require_labels("loss", batch.labels, self._need_labels, y_true)
        taken = getattr(self.compile_metrics, "named_metrics", ())
        taken = {*taken, *self.other_names}
        flat, targets = loss_plan.entries(
            self._user_loss, loss_weights, matcher, batch, taken
        )
        if not is_container(y_true) and len(matcher) > 1:
            loss_plan.require_no_broadcast(flat, targets, batch, matcher)
        self._flat_losses = flat
        self._targets = {x.path: target for x, target in zip(flat, targets)}
        if loss_plan.is_reported(flat, self._user_loss, y_pred):
            self._metrics = raw_loss.metrics_of([x.name for x in flat])
        self.built = True

    def with_loss(self, matcher):
        """The indices of the outputs that have a loss."""
        return loss_plan.with_loss(self._user_loss, matcher)

    def __call__(self, y_true, y_pred, sample_weight=None):
        with backend.name_scope(self.name):
            return self.call(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred, sample_weight=None):
        """Computes the total; it is `None` if no output has a loss.

        Of what a step of the user's own may reduce, it records the mean.
        """
        matcher = self._matchers.get(signature(y_pred))
        if matcher is None:
            matcher = self.build(y_true, y_pred)
        batch = matcher.read_batch(y_true, y_pred, sample_weight)
        matcher.require_labels("loss", batch.labels, self._need_labels, y_true)
        if not self._flat_losses:
            return None

        self._unreduced, raw_losses, weights = None, [], []
        for path, loss, weight, _ in self._flat_losses:
            target = self._targets[path]
            raw_losses.append(self._raw_loss(loss, target, batch, matcher))
            weights.append(self.handed_weights.read(weight))
        size = raw_loss.batch_size(batch, matcher.labelled)
        self.sizes.put(size)
        numbers = raw_losses
        if self._unreduced is not None:
            numbers = list(map(reduce_to_number, raw_losses))
        if self._metrics:
            values = replicas.unscale_losses(numbers)
            raw_loss.record(self._metrics, values, size)
        if self.terms is not None:
            names = [name for *_, name in self._flat_losses]
            self.terms.note(names, bool(self._metrics), numbers, weights)
        contributions = list(map(weigh, raw_losses, weights))
        return sum(contributions[1:], start=contributions[0])

    def _raw_loss(self, loss, target, batch, matcher):
        y_true = loss_plan.at(target, batch.labels)
        y_pred = loss_plan.at(target, batch.predictions)
        weight = loss_plan.sample_weight_at(target, batch.sample_weights)
        try:
            raw = loss(y_true, y_pred, weight)
        except Exception as error:
            error.add_note(
                loss_plan.failure_note(loss, target, matcher, y_true, y_pred)
            )
            raise
        raw = weighting.cast(raw, self._dtype)
        if len(raw.shape) == 0:
            return raw
        if all(size == 1 for size in raw.shape):
            return ops.reshape(raw, ())
        if self._unreduced is None:
            self._unreduced = raw.shape, loss, target, matcher
        return raw

    def require_number(self):
        """Refuses what the last call returned, if it is not one number."""
        if self._unreduced is not None:
            raise loss_plan.no_number(*self._unreduced, self._user_loss)
