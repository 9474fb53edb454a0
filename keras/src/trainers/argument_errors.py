"""Words the errors about the arguments of `compile`, `fit` and `evaluate`.

Not part of upstream Keras 3.15.1, where each place words its own. All say what
came and what was expected. Worded elsewhere are those that lie below this
module (`weighting.align`, `loss.standardize_reduction`), are about no single
value of these (`raw_loss.batch_size`, `class_weights.check`, data that ends at
once, shards of a batch, callbacks, saved files) or keep a text of the base
release, some of which upstream's tests pin (`CompileMetrics.result`,
`get_metric`, the edits of trainers and data adapters).
"""

from keras.src.trainers.output_structure import describe

# Texts that upstream's tests look for in the errors of an argument.
_PINNED = {
    "y_true": "y_true and y_pred have different structures. ",
    "loss_weights": "`loss_weights` must match the number of losses. ",
}


class UnknownOutputError(KeyError, ValueError):
    """A key names no output.

    It is both types because upstream's tests pin `KeyError` for dict outputs
    and `ValueError` for list outputs.
    """

    def __str__(self):
        # `KeyError` would show the repr, line breaks escaped.
        return Exception.__str__(self)


def invalid(argument, problem, received, expected, error=ValueError):
    """Words an error about an argument: what came, what was expected."""
    return error(
        f"Invalid `{argument}`. {problem}\n"
        f"Received: {argument}={describe(received)}\n"
        f"Expected {expected}"
    )


class Refusal:
    """Makes the errors of an argument that doesn't match the outputs.

    Args:
        matcher: The `OutputMatcher` of the outputs.
        argument: The name of the argument.
        received: What was passed for it.
    """

    def __init__(self, matcher, argument, received):
        self._matcher = matcher
        self._name = argument
        self._received = received

    def _make(self, problem, expected=None, error=ValueError):
        pinned = _PINNED.get(self._name, "")
        return invalid(
            self._name,
            pinned + problem,
            self._received,
            expected or self._matcher.expected(),
            error,
        )

    def key(self, key):
        names = self._matcher.names
        known = "no keys: the outputs have no names. Use a list."
        if None not in names:
            known = f"keys: {names}"
        return self._make(
            f"The path {key!r} in the `{self._name}` argument, can't be found "
            "in either the model's outputs or their names.",
            known,
            UnknownOutputError,
        )

    def depth(self, match):
        path = "/".join(map(str, match.path + tuple(match.item)[:1]))
        return self._make(
            f"The path {path!r} can't be found in the model's outputs: "
            f"{self._matcher.display_name(match.target)} is a single output.",
            error=UnknownOutputError,
        )

    def nesting(self, match):
        return self._make(
            "There is a list where output "
            f"{self._matcher.display_name(match.target)} has only one."
        )

    def count(self, received, path=()):
        where = f" at {'/'.join(map(str, path))!r}" if path else ""
        return self._make(
            f"There are {received} entries{where} for "
            f"{len(self._matcher)} outputs."
        )

    def weights(self, received, losses, expected=None):
        expected = expected or self._matcher.expected()
        return self._make(
            f"There are {received} weights for {losses} losses.",
            f"a scalar for each loss: {expected}",
        )

    def order(self):
        return self._make(
            "A list can't be matched to a dict of outputs whose order the "
            "model doesn't tell."
        )
