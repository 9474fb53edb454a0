"""What a loss entry is, and how losses and their weights become entries.

Not part of upstream Keras 3.15.1. What `output_matcher.py` has matched becomes
a flat list here, once; a step is a loop over it.
"""

import functools
from typing import Any
from typing import Callable
from typing import NamedTuple

from keras.src import losses as losses_module
from keras.src import ops
from keras.src.losses import ownership
from keras.src.losses import weighting
from keras.src.trainers.argument_errors import Refusal
from keras.src.trainers.argument_errors import invalid
from keras.src.trainers.identifiers import LOSSES_BY_SHAPE
from keras.src.trainers.identifiers import check_identifier
from keras.src.trainers.identifiers import get_loss
from keras.src.trainers.loss_weights import WeightArray
from keras.src.trainers.output_matcher import Argument
from keras.src.trainers.output_structure import below
from keras.src.trainers.output_structure import describe
from keras.src.trainers.output_structure import flatten_with_paths
from keras.src.trainers.output_structure import is_container
from keras.src.trainers.output_structure import unique_names


class LossEntry(NamedTuple):
    """One loss function applied to one output, or to a sub-structure.

    Packages read and replace these tuples; the base release has the same four
    items. What it reads stands beside it: `CompileLoss._targets`, by path. So
    does the `LossMean` of its raw loss: `CompileLoss.metrics`, in this order.

    Args:
        path: Where in the predictions it applies. Several entries may apply in
            one place.
        loss: Called with labels, predictions and sample weights.
        loss_weights: The loss weight: a float, a tensor, a `keras.Variable`,
            or `None` for 1.
        name: What its raw loss is logged as, without `_loss` at the end.
    """

    path: tuple
    loss: Callable
    loss_weights: Any
    name: str


class _WeightedLoss(NamedTuple):
    """What a user asked for: losses, their weight and where they apply.

    Args:
        target: The index of the output, or the `Node` of the sub-structure.
        losses: The losses as the user gave them: one, or several that are
            reported as one.
        weight: See `LossEntry`.
    """

    target: Any
    losses: tuple
    weight: Any


def takes_structure(loss):
    """Whether a loss may be meant for a sub-structure of outputs as a whole.

    None of Keras' own is: it would stack the outputs and sum over them.
    """
    return callable(loss) and not ownership.is_keras_own(loss)


LOSS = Argument("loss", several=True, takes_structure=takes_structure)
LOSS_WEIGHTS = Argument("loss_weights", several=True)


def check_losses(loss):
    """Refuses what can be known to be no loss before there are outputs."""
    for _, leaf in flatten_with_paths(loss):
        check_identifier(
            "loss",
            leaf,
            loss,
            LOSSES_BY_SHAPE,
            losses_module.ALL_OBJECTS_DICT,
            "loss",
            "names of losses, functions, `keras.losses.Loss` objects or "
            "`None`, in the structure of the outputs.",
        )


def with_loss(loss, matcher):
    """The indices of the outputs that have a loss."""
    return _outputs_with(loss, matcher, lambda x: x is not None)


def need_labels(loss, matcher):
    """Those of them whose loss can't do without a label.

    A `Loss` whose `__call__` is the user's own may.
    """

    def needs_label(x):
        is_own = isinstance(x, losses_module.Loss) and (
            not ownership.is_called_by_keras(x)
        )
        return x is not None and not is_own

    return _outputs_with(loss, matcher, needs_label)


def _outputs_with(loss, matcher, is_wanted):
    return sorted(
        {
            index
            for match in matcher.match(LOSS, loss)
            for index in below(match.target)
            if any(is_wanted(x) for _, x in flatten_with_paths(match.item))
        }
    )


def entries(loss, loss_weights, matcher, batch, taken):
    """Matches losses and loss weights to the outputs.

    Args:
        loss: What `compile` was given.
        loss_weights: The same, see `plain_weights`.
        matcher: The `OutputMatcher` of the outputs.
        batch: A `Batch`, of which only shapes are used.
        taken: Names that a raw loss that the base release does not log, the
            one of a single entry, makes room for.

    Returns:
        A list of `LossEntry`, without outputs that have no loss; and for each
        of them its target, the index of an output or a `Node`.

    Raises:
        ValueError: If losses or weights don't match the outputs.
    """
    weighted_losses = _match_losses(loss, loss_weights, matcher, batch)
    targets = [weighted.target for weighted in weighted_losses]
    losses, stems, suffixes = [], [], []
    for target, alternatives, _ in weighted_losses:
        y_true, y_pred = (at(target, leaves) for leaves in batch[:2])
        made = [get_loss(one, y_true, y_pred) for one in alternatives]
        losses.append(made[0] if len(made) == 1 else _SummedLoss(made))
        loss_name = losses[-1].name
        *above, own = matcher.logged_path(target)
        several = own is not None and targets.count(target) > 1
        own = loss_name if own is None else own
        stems.append("/".join(map(str, [*above, own])))
        suffixes.append(f"_{loss_name}_loss" if several else "_loss")
    # An output called `val` must not hide the total of the validation.
    taken = {"loss", "val_loss", *(taken if len(losses) == 1 else ())}
    names = unique_names(stems, suffixes, taken)
    found = [
        LossEntry(
            matcher.path_of(weighted.target),
            loss,
            weighted.weight,
            name.removesuffix("_loss"),
        )
        for weighted, loss, name in zip(weighted_losses, losses, names)
    ]
    return found, targets


def require_no_broadcast(entries, targets, batch, matcher):
    """Refuses one label for all outputs that is wider than a prediction.

    A loss of Keras' own would compare the prediction with each of its columns.

    Args:
        entries: A list of `LossEntry`.
        targets: The target of each.
        batch: A `Batch`, of which only shapes are used.
        matcher: The `OutputMatcher` of the outputs.

    Raises:
        ValueError: If a prediction would be broadcast.
    """
    for entry, target in zip(entries, targets):
        y_true, y_pred = (at(target, leaves) for leaves in batch[:2])
        found = entry.loss
        losses = found.losses if isinstance(found, _SummedLoss) else [found]
        if not any(map(ownership.is_keras_own, losses)):
            continue
        rank = weighting.rank_of(y_true)
        if rank is None or rank != weighting.rank_of(y_pred):
            continue
        sizes = list(zip(y_true.shape, y_pred.shape))
        if any(mine == 1 and its not in (1, None) for its, mine in sizes):
            raise invalid(
                "y_true",
                "There is one label for all outputs, and output "
                f"{matcher.display_name(target)} has fewer columns.",
                y_true,
                f"a label of the shape {tuple(y_pred.shape)}, or one label for "
                "each output.",
            )


def is_reported(entries, loss, y_pred):
    """Whether each loss entry is logged under its own name.

    A single loss of a single output is not: the base release logs the total
    alone, and where the two differ `LossContributions` tells. Upstream's tests
    pin the same for the only loss in a dict that leaves out other outputs of
    a dict; everywhere else the only loss of several outputs is logged.
    """
    outputs = flatten_with_paths(y_pred)
    if len(entries) > 1 or len(outputs) == 1:
        return len(entries) > 1
    are_dicts = isinstance(loss, dict) and isinstance(y_pred, dict)
    return not are_dicts or set(loss) == set(y_pred)


def no_number(shape, loss, target, matcher, received):
    """Words the error about a raw loss that is no single number.

    Args:
        shape: The shape of what the loss returned.
        loss: The loss.
        target: Where it applies.
        matcher: The `OutputMatcher` of the outputs.
        received: The `loss` of `compile`.
    """
    reduction = getattr(loss, "reduction", None)
    return invalid(
        "loss",
        f"{_which(loss, target, matcher)} has the shape {tuple(shape)}, with "
        f"reduction={reduction!r}. Training needs one number.",
        received,
        "a loss with a reduction, such as 'sum_over_batch_size'.",
    )


def failure_note(loss, target, matcher, y_true, y_pred):
    """Says on which output a loss has failed.

    A note leaves the error as the loss raised it, for whoever waits for it.

    Args:
        loss: The loss.
        target: Where it applies.
        matcher: The `OutputMatcher` of the outputs.
        y_true: The labels that it got.
        y_pred: The predictions that it got.
    """
    return (
        f"{_which(loss, target, matcher)} failed. "
        f"Received: y_true={describe(y_true)}, y_pred={describe(y_pred)}"
    )


def _which(loss, target, matcher):
    targets = " and ".join(map(matcher.display_name, below(target)))
    return f"The loss {getattr(loss, 'name', loss)!r} of output {targets}"


def at(target, leaves):
    """What stands at an output, or at a sub-structure of outputs."""
    return leaves[target] if isinstance(target, int) else target.pack(leaves)


def sample_weight_at(target, sample_weights):
    """The sample weight of an output, or that of a sub-structure.

    Where each output of a sub-structure has one, their mean is that of the loss
    of all, as in the base release. An adapter gives each label a copy.

    Raises:
        ValueError: If only some of them have one, or one of another shape.
    """
    if isinstance(target, int):
        return sample_weights[target]
    found = [sample_weights[index] for index in below(target)]
    if all(weight is found[0] for weight in found):
        return found[0]
    shapes = [None if x is None else tuple(x.shape) for x in found]
    if len(set(shapes)) > 1:
        raise invalid(
            "sample_weight",
            "A loss of several outputs at once has sample weights of several "
            "shapes.",
            found,
            "sample weights of one shape for all of these outputs.",
        )
    return ops.mean(ops.stack(found), axis=0)


class _SummedLoss:
    """Several losses of an output that are reported as one: their sum."""

    def __init__(self, losses):
        self.losses = losses
        self.name = "_".join(loss.name for loss in losses)
        # For errors.
        self.reduction = [loss.reduction for loss in losses]

    def __call__(self, y_true, y_pred, sample_weight=None):
        values = [loss(y_true, y_pred, sample_weight) for loss in self.losses]
        return functools.reduce(ops.add, values)


def _match_losses(loss, loss_weights, matcher, batch):
    """Matches losses and loss weights to the outputs.

    Returns:
        A list of `_WeightedLoss`, without outputs that have no loss.
    """
    matches = matcher.match(LOSS, loss)
    if all(isinstance(match.target, int) for match in matches):
        weight_of = _weights_by_output(loss_weights, matcher)
    else:
        weight_of = _weights_by_loss(loss_weights, loss, matcher)
    # Upstream's tests pin that `[f, [g, h]]` reports one loss for the second
    # output.
    is_list_of_lists = isinstance(loss, (list, tuple)) and len(matcher) > 1
    found = []
    if not (isinstance(loss, dict) and matcher.is_dict):
        matches.sort(key=lambda match: below(match.target)[0])
    for match in matches:
        losses, weight = match.item, weight_of(match)
        if not is_container(losses):
            losses = [losses]
        if isinstance(weight, WeightArray):
            shape = tuple(batch.predictions[match.target].shape)
            weight = _one_repeated(weight, losses, shape)
        if is_container(weight):
            if len(weight) != len(losses):
                refuse = Refusal(matcher, LOSS_WEIGHTS.name, loss_weights)
                raise refuse.weights(len(weight), len(losses))
            pairs = [([x], w) for x, w in zip(losses, weight)]
        elif is_list_of_lists:
            pairs = [(losses, weight)]
        else:
            pairs = [([x], weight) for x in losses]
        for group, w in pairs:
            together = tuple(x for x in group if x is not None)
            if together:
                found.append(_WeightedLoss(match.target, together, w))
    return found


def _weights_by_output(loss_weights, matcher):
    # `None` is one weight for every output, too.
    matches = matcher.match(LOSS_WEIGHTS, loss_weights)
    weights = {match.target: match.item for match in matches}
    return lambda match: weights.get(match.target)


def _weights_by_loss(loss_weights, loss, matcher):
    """Weights of losses some of which take a sub-structure as a whole.

    They go by the structure of `loss`, from the outside in: a number stands
    for all below it, and a key that is left out for a weight of 1.
    """
    if not _is_part_of(loss_weights, loss):
        raise Refusal(matcher, LOSS_WEIGHTS.name, loss_weights).weights(
            len(flatten_with_paths(loss_weights)),
            len(flatten_with_paths(loss)),
            f"the structure of `loss`, {describe(loss)}.",
        )

    def weight_of(match):
        weight = loss_weights
        for key in match.path:
            if isinstance(weight, dict):
                weight = weight.get(key)
            elif is_container(weight):
                weight = weight[key]
        return weight

    return weight_of


def _is_part_of(structure, whole):
    """Whether a structure has the containers of another, but for dict keys."""
    if not is_container(structure):
        return True
    if isinstance(structure, dict) or isinstance(whole, dict):
        are_dicts = isinstance(structure, dict) and isinstance(whole, dict)
        if not are_dicts or not set(structure) <= set(whole):
            return False
        return all(_is_part_of(x, whole[key]) for key, x in structure.items())
    if not is_container(whole) or len(structure) != len(whole):
        return False
    return all(map(_is_part_of, structure, whole))


def _one_repeated(weights, losses, shape):
    """A weight that came as an array in the shape of the predictions.

    Upstream's tests pin that such an array is accepted for a single loss. It
    stands for a scalar only if it holds the same value throughout.
    """
    is_repeated = len(set(weights)) == 1 and shape == (len(weights),)
    return weights[0] if is_repeated and len(losses) == 1 else weights
