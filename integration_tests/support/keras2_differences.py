"""Where Keras 2 logs something else than we do, and why.

The only list of such differences. On all other settings of `parity_grid` the
two must agree. Each has an example for which `keras2_parity_test` checks that
it is still there, and what our side of it is.
"""

from typing import Callable
from typing import NamedTuple

from integration_tests.support.parity_grid import Config

# Flat, weighted, in three steps: what the examples differ from.
PLAIN = Config(
    container="list",
    losses="same",
    loss_as="string",
    reduction="sum_over_batch_size",
    loss_form="structure",
    loss_weights="structure",
    labels="structure",
    label_rank="full",
    sample_weight="none",
    shape="flat",
    mask="none",
    batch_size=2,
    metrics="none",
    validation=False,
    l2=False,
)
DICTS = ("dict", "ordered_dict", "nested_dict")
NESTED = ("nested_dict", "nested_list")
WEIGHTED = ("steps", "structure", "names", "list", "partial")


class Difference(NamedTuple):
    """One way in which Keras 2 is another.

    Args:
        reason: What Keras 2 does, and why we don't.
        applies: Tells of a `Config` whether the difference shows.
        example: A `Config` for which it does.
        error: The name of the error that Keras 2 raises; `None` if it logs
            other names or numbers than we do.
        refused: The argument that we refuse, or `None` if we log what the
            reference does.
        is_order: Whether only the order in `evaluate`'s list is another.
    """

    reason: str
    applies: Callable
    example: Config
    error: str | None = None
    refused: str | None = None
    is_order: bool = False


def _forms(config):
    return (
        config.loss_form,
        config.loss_weights,
        config.metrics,
        config.labels,
        config.sample_weight,
    )


DIFFERENCES = {
    "reduction": Difference(
        "Keras 2 has no `mean_with_sample_weight`.",
        lambda c: c.reduction == "mean_with_sample_weight",
        PLAIN._replace(loss_as="object", reduction="mean_with_sample_weight"),
        error="ValueError",
    ),
    "several_losses": Difference(
        "Keras 2 flattens the losses and drops those that are left over: of "
        "`{'z': ['mse', 'mae']}`, 'mae' becomes the loss of the next output. "
        "Ours all train, and each on its output.",
        lambda c: c.loss_form == "several",
        PLAIN._replace(loss_form="several"),
    ),
    "flat_list_of_metrics": Difference(
        "Keras 2 gives each output all metrics of a flat list. Keras 3 "
        "documents one for each output, in their order.",
        lambda c: c.metrics == "flat",
        PLAIN._replace(metrics="flat"),
        error="ValueError",
    ),
    "fully_masked_batch": Difference(
        "A batch of which all is masked has the loss NaN in Keras 2: it "
        "divides by the number of timesteps that are left. For us nothing adds "
        "nothing.",
        # The last of the five samples has no more.
        lambda c: c.mask != "none" and c.batch_size == 2,
        PLAIN._replace(shape="steps", mask="all"),
    ),
    "weights_of_timesteps_for_squeezed_labels": Difference(
        "Labels (N, T) for predictions (N, T, 1): Keras 2 averages over the "
        "timesteps before it weighs or masks them, and then fails to.",
        lambda c: (
            c.label_rank == "squeezed"
            and c.shape == "steps"
            and (c.mask != "none" or c.sample_weight in WEIGHTED)
        ),
        PLAIN._replace(
            shape="steps",
            losses="binary",
            label_rank="squeezed",
            sample_weight="structure",
        ),
        error="InvalidArgumentError",
    ),
    "names_of_nested_losses": Difference(
        "Keras 2 calls the loss of a nested output by its layer, `a_loss`, "
        "even where a key has another name. We call it by its path, "
        "`c/a_loss`, and so it is unique.",
        lambda c: c.container == "nested_dict",
        PLAIN._replace(container="nested_dict"),
    ),
    "names_for_nested_outputs": Difference(
        "Keras 2 pairs a dict with nested outputs by its sorted keys, if not "
        "by an error. By name, says Keras 3.",
        lambda c: (
            c.container in NESTED
            and {"names", "partial", "several"}.intersection(_forms(c))
        ),
        PLAIN._replace(container="nested_list", loss_weights="names"),
    ),
    "lists_for_nested_outputs": Difference(
        "Keras 2 refuses a flat list of labels for nested outputs.",
        lambda c: c.container in NESTED and "list" in _forms(c),
        PLAIN._replace(container="nested_list", labels="list"),
        error="ValueError",
    ),
    "list_for_ordered_dict": Difference(
        "Keras 2 pairs a flat list with an `OrderedDict` of outputs by its "
        "sorted keys. We take the order that it has.",
        lambda c: c.container == "ordered_dict" and "list" in _forms(c),
        PLAIN._replace(container="ordered_dict", loss_weights="list"),
    ),
    "list_of_labels_for_dict": Difference(
        "Keras 2 refuses a list of labels for a dict of outputs. We take it in "
        "the model's order, as that of losses.",
        lambda c: c.container in DICTS and c.labels == "list",
        PLAIN._replace(container="dict", labels="list"),
        error="TypeError",
    ),
    "accuracy_of_label_in_list": Difference(
        "Keras 2 takes the only label in a list for a single output, but not "
        'if it has to find out which metric "accuracy" is.',
        lambda c: (
            c.container == "single"
            and c.labels == "list"
            and c.metrics != "none"
            and c.losses in ("binary", "classes")
        ),
        PLAIN._replace(
            container="single",
            labels="list",
            metrics="structure",
            losses="binary",
        ),
        error="AttributeError",
    ),
    "weights_of_unreduced_losses": Difference(
        "Keras 2 can weigh samples (N,) of a loss of the shape (N, T), but not "
        "if a function returns one of (N, T, classes).",
        lambda c: (
            c.losses == "functions"
            and c.shape == "steps"
            and c.sample_weight not in ("none", "column", "steps")
        ),
        PLAIN._replace(
            container="single",
            losses="functions",
            shape="steps",
            sample_weight="all",
        ),
        error="InvalidArgumentError",
    ),
    "order_of_metrics": Difference(
        "Keras 2 has the metrics of the first output, then its weighted "
        "metrics, and so on by output. Keras 3 has all metrics before all "
        "weighted metrics.",
        lambda c: c.metrics != "none" and c.container != "single",
        PLAIN._replace(metrics="structure"),
        is_order=True,
    ),
    "order_of_ordered_dict": Difference(
        "Keras 2 has the outputs of an `OrderedDict` by sorted keys. We have "
        "the order that it has.",
        lambda c: c.container == "ordered_dict",
        PLAIN._replace(container="ordered_dict"),
        is_order=True,
    ),
    "order_of_a_dict_of_losses": Difference(
        "Keras 2 has the losses of a dict of outputs by sorted keys. The list "
        "of Keras 3 has them in the order of a dict of losses.",
        lambda c: (
            "dict" in c.container and c.loss_form in ("structure", "names")
        ),
        PLAIN._replace(container="dict"),
        is_order=True,
    ),
    "one_array_of_weights_of_timesteps": Difference(
        "Keras 2 takes one array (N, T) of sample weights for several outputs. "
        "Upstream's tests pin that arrays are refused: not all outputs need "
        "have these timesteps.",
        lambda c: False,
        PLAIN._replace(shape="steps", sample_weight="steps"),
        refused="sample_weight",
    ),
}


def _applies(config, is_order):
    return any(
        difference.applies(config)
        for difference in DIFFERENCES.values()
        if difference.is_order == is_order
    )


def is_comparable(config):
    """Whether Keras 2 logs the same names and numbers."""
    return not _applies(config, is_order=False)


def has_same_order(config):
    """Whether Keras 2 logs comparable numbers in the same order."""
    return not _applies(config, is_order=True)
