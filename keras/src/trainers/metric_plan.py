"""Which metrics an output has, what they get, and what they are called.

Not part of upstream Keras 3.15.1, which hands all metrics the same, and has
`MetricsList` and `get_metrics_list` in `compile_utils.py`.
"""

from keras.src import metrics as metrics_module
from keras.src import ops
from keras.src import tree
from keras.src.backend.common.masking import get_keras_mask
from keras.src.losses import loss as loss_module
from keras.src.losses import ownership
from keras.src.losses import weighting
from keras.src.trainers.argument_errors import invalid
from keras.src.trainers.identifiers import METRICS_BY_SHAPE
from keras.src.trainers.identifiers import check_identifier
from keras.src.trainers.identifiers import get_metric
from keras.src.trainers.output_matcher import Argument
from keras.src.trainers.output_structure import flatten_with_paths
from keras.src.trainers.output_structure import free_name
from keras.src.trainers.output_structure import is_container
from keras.src.utils.naming import get_object_name


class NotSaved:
    """What is made anew from the arguments of `compile`, which are saved."""

    def get_config(self):
        raise NotImplementedError

    @classmethod
    def from_config(cls, config):
        raise NotImplementedError


class MetricsList(NotSaved, metrics_module.Metric):
    """The metrics of one output, updated together.

    Args:
        metrics: A list of `Metric` objects.
        name: The name of this object.
        output_name: The name of the output, or `None`.
    """

    def __init__(self, metrics, name="metrics_list", output_name=None):
        super().__init__(name=name)
        self.metrics = metrics
        self.output_name = output_name

    def update_state(self, y_true, y_pred, sample_weight=None):
        for metric in self.metrics:
            update(metric, y_true, y_pred, sample_weight)

    def reset_state(self):
        for metric in self.metrics:
            metric.reset_state()


def get_metrics_list(metrics, y_true, y_pred, output_name=None):
    """Makes the `MetricsList` of one output, or `None` if it has no metrics."""
    if metrics is None:
        return None
    if not isinstance(metrics, (list, tuple)):
        metrics = [metrics]
    return MetricsList(
        [get_metric(metric, y_true, y_pred) for metric in metrics],
        output_name=output_name,
    )


def check_metrics(arguments):
    """Refuses what can be known to be wrong before there are outputs."""
    seen = set()
    for name, value in arguments.items():
        if value and not is_container(value):
            raise invalid(
                name,
                f"It is of type {type(value)}.",
                value,
                "a list, tuple or dict of metrics.",
            )
        for _, metric in flatten_with_paths(value):
            check_identifier(
                name,
                metric,
                value,
                METRICS_BY_SHAPE,
                metrics_module.ALL_OBJECTS_DICT,
                "metric",
                "names of metrics, functions, `keras.metrics.Metric` objects "
                "or `None`, in the structure of the outputs.",
            )
            _check_unshared(metric, seen, name, value)


def _check_unshared(metric, seen, argument, received):
    """Refuses a `Metric` object that is in `seen`, and puts it there."""
    if not isinstance(metric, metrics_module.Metric):
        return
    if id(metric) in seen:
        raise invalid(
            argument,
            f"The metric object {metric} is used twice; its results would be "
            "pooled.",
            received,
            "an object of its own for each use.",
        )
    seen.add(id(metric))


def match_metrics(name, metrics, matcher):
    """The metrics of each output that has some, by the output's index."""
    if not metrics:
        return {}
    if len(matcher) == 1 and not isinstance(metrics, dict):
        # However they are nested, they can only be meant for that one.
        metrics = [metric for _, metric in flatten_with_paths(metrics)]
        given = [metric for metric in metrics if metric is not None]
        return {0: given} if given else {}
    per_output, seen = {}, set()
    for match in matcher.match(Argument(name, several=True), metrics):
        items = match.item if is_container(match.item) else [match.item]
        items = [metric for metric in items if metric is not None]
        for metric in items:
            # A metric at a sub-structure applies to each output below it.
            _check_unshared(metric, seen, name, metrics)
        if items:
            per_output[match.target] = items
    return dict(sorted(per_output.items()))


def need_labels(lists):
    """The indices of the outputs that have a metric of Keras' own.

    Those of users' own may do without labels. A serialized metric counts as
    Keras' own.

    Args:
        lists: For each argument, the metrics of each output, as dicts.
    """
    return sorted(
        {
            index
            for per_output in lists.values()
            for index, metrics in per_output.items()
            for metric in metrics
            if isinstance(metric, (str, dict)) or ownership.is_keras_own(metric)
        }
    )


def first_labels(y_true, matcher):
    """As many of the labels as there are outputs, where there are more.

    What the others are, only a `compute_loss` of the user's own knows.
    """
    if isinstance(y_true, dict) and not y_true.keys().isdisjoint(matcher.keys):
        return y_true
    leaves = tree.flatten(y_true)
    return leaves[: len(matcher)] if len(leaves) > len(matcher) else y_true


def name_of(metric):
    """The name that a metric has on its own.

    Args:
        metric: A `Metric`, or what one is to be made of.

    Returns:
        A string, or `None` where the metric has to be made for it.
    """
    if isinstance(metric, str):
        return metric
    if isinstance(metric, (type, dict)):
        return None
    return get_object_name(metric)


def logged_name(metric, taken):
    """The name that a metric of the model's own is logged under.

    Args:
        metric: A `Metric`.
        taken: The names that are logged for something else. A metric called
            `loss` takes the place of the total all the same, as in the base
            release: a step of the user's own may log nothing else.

    Returns:
        The metric's name, with a number behind it if it is taken.
    """
    if metric.name == "loss":
        return metric.name
    return free_name(metric.name, taken)


def result_of(metric):
    """The result of a metric, whose keys are noted if it is a dict."""
    result = metric.result()
    if isinstance(result, dict):
        metric._result_names = tuple(result)
    return result


def result_names(metric):
    """The keys of a metric's last result, or `None` if that was no dict."""
    return getattr(metric, "_result_names", None)


def logged_metrics(metrics, model=None):
    """Tells which name of the logs is whose, for all that reads or lists them.

    Args:
        metrics: The metrics of a model. Some may be there twice: those of a
            layer, or of `compile`, that are attributes of the model, too.
        model: Tells a `CompileMetrics` that has seen no outputs what names to
            expect. Without it, that has none yet.

    Yields:
        For each metric once, a tuple of it and of a dict of names to metrics.
        One whose result is a dict takes the keys of its last result, if there
        has been one when the next metric is asked for.
    """
    seen, taken = {}, set()
    for metric in metrics:
        if seen.get(metric.name) is metric:
            continue
        # A `CompileMetrics`. A user's metric may have any attributes.
        if isinstance(metric, NotSaved):
            named = metric.named_metrics
            if not named and model is not None:
                named = metric.names_for(model)
            taken.update(named)
        else:
            named = {logged_name(metric, taken): metric}
        yield metric, named
        seen.update(named)
        for name, one in named.items():
            taken.update(result_names(one) or [name])


def name_metrics(lists, matcher, taken):
    """Gives each metric the name that is logged for it.

    A weighted metric whose name is taken becomes `weighted_<name>`, as in
    Keras 2.

    Args:
        lists: For each argument, the metrics of each output, as dicts.
        matcher: The `OutputMatcher` of the outputs.
        taken: Names that are logged for something else.

    Returns:
        A dict of the logged names and the metrics.
    """
    names = matcher.names
    if not matcher.is_flat:
        # As in the base release; raw losses are called by their path there.
        names = matcher.model_names or [None] * len(matcher)
    prefixes = [f"{name}_" if name else "" for name in names]
    if len(matcher) == 1:
        prefixes = [""]
    named = {}
    for argument, per_output in lists.items():
        for index, metrics in per_output.items():
            for metric in metrics:
                stem = f"{prefixes[index]}{name_of(metric)}"
                if argument == "weighted_metrics" and stem in named:
                    stem = f"{prefixes[index]}weighted_{name_of(metric)}"
                named[free_name(stem, {*taken, *named})] = metric
    return named


def update(metric, y_true, y_pred, sample_weight):
    """Updates a metric; one of Keras' own with weights that fit its values.

    Args:
        metric: A `Metric`. One of a user's gets what the base release gives.
        y_true: Labels.
        y_pred: Predictions. A mask that they carry becomes part of the weights
            of Keras' own metrics.
        sample_weight: Sample weights, or `None`.
    """
    found = ownership.worker(metric)
    if not ownership.is_keras_own(found):
        if found is not metric:
            loss_module.warn_of_ranks(found, y_true, y_pred)
    else:
        weight = weighting.apply_mask(
            sample_weight, get_keras_mask(y_pred), metric.dtype, "sum"
        )
        if not isinstance(metric, metrics_module.MeanMetricWrapper):
            if weight is not None:
                sample_weight = _align_weight(metric, weight, y_true, y_pred)
        elif ownership.is_entrywise(found):
            axes = weighting.axes_told_apart(weight)
            sample_weight = weight
            y_true, y_pred = weighting.squeeze_or_expand_to_same_rank(
                *weighting.keep_apart(y_true, y_pred, axes)
            )
    metric.update_state(y_true, y_pred, sample_weight=sample_weight)


def _align_weight(metric, weight, y_true, y_pred):
    """Weights with the axes that a metric of Keras' own takes them to have."""
    shape = y_pred.shape[: min(len(y_true.shape), len(y_pred.shape))]
    if isinstance(metric, metrics_module.FBetaScore):
        shape = shape[:1]
    if not isinstance(metric, metrics_module.IoU):
        return weighting.align(weight, shape, "sample_weight")
    # It counts a flat list of weights against a flat list of labels.
    labels = y_pred if metric.sparse_y_pred else ops.argmax(y_pred, metric.axis)
    weight = weighting.align(weight, labels.shape, "sample_weight")
    return ops.broadcast_to(weight, ops.shape(labels))
