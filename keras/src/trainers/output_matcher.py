"""Matches every argument of `compile`, `fit` and `evaluate` to the outputs.

`loss`, `loss_weights`, `metrics`, `weighted_metrics`, `y_true` and
`sample_weight` all come in the same few forms: the outputs' own structure, a
dict keyed by output names, one thing for every output, or a flat list in the
model's order. This module is the only place that knows these forms. No matter
of outputs are weights of losses of sub-structures, which go by the structure of
`loss` (`loss_plan`); all metrics of an only output, and labels that only a
`compute_loss` knows (`metric_plan`); and what the adapter of arrays counts.

Not part of upstream Keras 3.15.1, where each argument has matching code of
its own inside `compile_utils.py`.
"""

from typing import Any
from typing import Callable
from typing import NamedTuple

from keras.src import ops
from keras.src.trainers.argument_errors import Refusal
from keras.src.trainers.argument_errors import invalid
from keras.src.trainers.output_structure import Node
from keras.src.trainers.output_structure import are_numbers
from keras.src.trainers.output_structure import below
from keras.src.trainers.output_structure import describe
from keras.src.trainers.output_structure import flatten_with_paths
from keras.src.trainers.output_structure import follow
from keras.src.trainers.output_structure import is_container
from keras.src.trainers.output_structure import is_ordered
from keras.src.trainers.output_structure import items_of
from keras.src.trainers.output_structure import kind_of
from keras.src.trainers.output_structure import pairs_of
from keras.src.trainers.output_structure import places_of
from keras.src.trainers.output_structure import signature
from keras.src.trainers.output_structure import unique_or_none


class Argument(NamedTuple):
    """What the matcher must know of an argument.

    Args:
        name: The name that users know it by, for errors.
        several: Whether one output may have a list of them (losses, metrics).
        takes_structure: Tells of a leaf whether it takes a sub-structure of
            outputs as a whole, instead of each output below it by itself.
        follows_labels: Whether a list may have entries for only those outputs
            that have a loss.
        further_keys: Whether a dict may have keys that are no outputs.
    """

    name: str
    several: bool = False
    takes_structure: Callable | None = None
    follows_labels: bool = False
    further_keys: bool = False


Y_TRUE = Argument("y_true", follows_labels=True)
SAMPLE_WEIGHT = Argument("sample_weight", follows_labels=True)


class Batch(NamedTuple):
    """A batch of data, as lists with one leaf, or `None`, for each output."""

    labels: list
    predictions: list
    sample_weights: list


class Match(NamedTuple):
    """One matched item.

    Args:
        target: The index of an output, or the `Node` of a sub-structure.
        item: What the argument holds for it.
        path: Where in the argument it stands.
    """

    target: Any
    item: Any
    path: tuple


class OutputMatcher:
    """The outputs of a model, flattened once, and the rule that finds them.

    Args:
        y_pred: The model's predictions: a leaf, or nested dicts, lists and
            tuples of leaves. Only the structure is used.
        output_names: The names that the model gives its outputs, in the
            order of `keras.tree.flatten`, or `None`.
        find_labelled: Called with this object for `labelled`, if that is
            asked for; `None` if no output has a loss.

    Attributes:
        paths: The path of each output in `y_pred`, in the model's order.
        names: The name of each output, all different; `None` for an output
            that has neither a key nor a name.
        keys: The keys that a dict for the outputs may have.
        model_names: `output_names`, or `None` if it has not one for each
            output.
        is_flat: Whether there is at most one container around the outputs.
        is_dict: Whether the outermost container is a dict.
    """

    def __init__(self, y_pred, output_names=None, find_labelled=None):
        count = len(flatten_with_paths(y_pred))
        if output_names is None or len(output_names) != count:
            output_names = None
        self.model_names = output_names
        self._structure = places_of(y_pred)
        self._order_is_known = output_names is not None or is_ordered(y_pred)
        self._readers = {}
        self._find_labelled = find_labelled
        self._labelled = None
        self.paths, names, self._have_keys = [], [], []
        self._root = self._index(y_pred, (), (), (), names)
        self._read_predictions = _reader(self.paths)
        self.names = unique_or_none(names)
        self.keys = {*self.names, *getattr(self._root, "keys", ())}
        self.is_dict = isinstance(y_pred, dict)
        self.is_flat = isinstance(self._root, int) or all(
            isinstance(child, int) for child in self._root.children
        )

    def _index(self, structure, path, keys, positions, names):
        """Numbers the outputs, and notes the path and the name of each.

        `keys` are the dict keys above, `positions` the places in the lists
        and tuples that lie between the innermost of these dicts and here.
        """
        if not is_container(structure):
            self.paths.append(path)
            self._have_keys.append(bool(keys) and not positions)
            if self.model_names and not self._have_keys[-1]:
                positions = (self.model_names[len(names)],)
            elif not keys:
                positions = ()
            names.append("/".join(map(str, keys + positions)) or None)
            return len(names) - 1
        items = items_of(structure)
        is_dict, model_names = isinstance(structure, dict), self.model_names
        if is_dict and model_names and set(structure) == set(model_names):
            # The model's own order, which need not be that of sorted keys.
            items = [(key, structure[key]) for key in model_names]
        children = tuple(
            self._index(
                child,
                path + (key,),
                keys + (key,) if is_dict else keys,
                () if is_dict else positions + (key,),
                names,
            )
            for key, child in items
        )
        node_keys = tuple(key for key, _ in items)
        return Node(kind_of(structure), node_keys, children, path)

    def __len__(self):
        return len(self.paths)

    @property
    def labelled(self):
        """The indices of the outputs that have a loss."""
        if self._labelled is None:
            find = self._find_labelled
            self._labelled = [] if find is None else find(self)
        return self._labelled

    def match(self, argument, value, shown=None):
        """Matches the value of an argument to the outputs.

        Args:
            argument: An `Argument`.
            value: What the user passed for it.
            shown: What errors show as received. Defaults to `value`.

        Returns:
            A list of `Match`. An output that `value` leaves out is not in it.

        Raises:
            ValueError: If `value` has none of the forms that it may have.
        """
        refuse = Refusal(self, argument.name, value if shown is None else shown)
        root = self._root
        if argument.further_keys and isinstance(value, dict):
            value = {k: v for k, v in value.items() if k in self.keys}
        if not is_container(value):
            return [Match(i, value, ()) for i in range(len(self))]
        if self._lists_one_loss_of_all(argument, value):
            matches = [Match(root, value[0], (0,))]
        elif _lists_losses_of(argument, root, value) or _fits(root, value):
            matches = []
            self._descend(argument, root, value, (), matches, refuse)
        elif (
            argument.several
            and isinstance(value, dict)
            and self.names == [None]
            and len(value) == 1
        ):
            # Whatever the key is, the only output has no other name.
            matches = [Match(0, x, (key,)) for key, x in value.items()]
        elif isinstance(value, dict):
            matches = self._by_name(value, refuse)
        elif argument.several and len(self) == 1 and len(value) != 1:
            matches = [Match(0, value, ())]
        elif len(value) == len(self):
            if not self._order_is_known:
                raise refuse.order()
            matches = [Match(i, x, (i,)) for i, x in enumerate(value)]
        elif argument.follows_labels and len(value) == len(self.labelled):
            matches = [
                Match(i, x, (place,))
                for place, (i, x) in enumerate(zip(self.labelled, value))
            ]
        else:
            raise refuse.count(len(value))
        for match in matches:
            # Only what is no container is matched to a sub-structure.
            if is_container(match.item):
                flat = not any(map(is_container, match.item))
                if isinstance(match.item, dict):
                    raise refuse.depth(match)
                if not (argument.several and flat):
                    raise refuse.nesting(match)
        return matches

    def _lists_one_loss_of_all(self, argument, value):
        """Whether a list holds one loss, of a dict of outputs as a whole."""
        is_list = kind_of(value) in (list, tuple) and len(value) == 1
        takes_structure = argument.takes_structure
        if not (is_list and takes_structure and self.is_dict):
            return False
        return len(self) > 1 and takes_structure(value[0])

    def _by_name(self, value, refuse):
        unknown = [key for key in value if key not in self.names]
        if unknown:
            keys = getattr(self._root, "keys", ())
            raise refuse.key(min(unknown, key=lambda key: key in keys))
        return [
            Match(self.names.index(key), item, (key,))
            for key, item in value.items()
        ]

    def _descend(self, argument, node, value, path, matches, refuse):
        if isinstance(node, int):
            matches.append(Match(node, value, path))
        elif not is_container(value):
            if argument.takes_structure and argument.takes_structure(value):
                matches.append(Match(node, value, path))
            else:
                matches += [Match(i, value, path) for i in below(node)]
        elif _lists_losses_of(argument, node, value):
            for place, item in enumerate(value):
                if item is not None:
                    self._descend(
                        argument, node, item, path + (place,), matches, refuse
                    )
        elif _fits(node, value):
            children = dict(zip(node.keys, node.children))
            for key, item in pairs_of(value):
                self._descend(
                    argument,
                    children[key],
                    item,
                    path + (key,),
                    matches,
                    refuse,
                )
        elif isinstance(value, dict) and value:
            children = node.keys if node.kind is dict else ()
            unknown = [key for key in value if key not in children]
            raise refuse.key("/".join(map(str, path + (unknown[0],))))
        else:
            raise refuse.count(len(value), path)

    def read_batch(self, y_true, y_pred, sample_weight=None, y_true_as=Y_TRUE):
        """The leaves of a batch of data, as a `Batch`.

        Args:
            y_true: Labels, in any form that `match` knows, or `None`.
            y_pred: Predictions, in the structure that this object is made of.
            sample_weight: Sample weights, like labels.
            y_true_as: The `Argument` that labels are.

        Raises:
            ValueError: If labels or sample weights don't match the outputs.
        """
        if len(self) == 1 and are_numbers(sample_weight):
            sample_weight = ops.convert_to_tensor(sample_weight)
        return Batch(
            self.read(y_true_as, y_true),
            self._read_predictions(y_pred),
            self.read(SAMPLE_WEIGHT, sample_weight),
        )

    def require_labels(self, user, labels, indices, y_true):
        """Refuses outputs without a label that have a loss or a metric.

        Args:
            user: What they have, for the error.
            labels: One label, or `None`, for each output.
            indices: The outputs that have it.
            y_true: The labels as they came.

        Raises:
            ValueError: If one of them has no label.
        """
        for index in indices:
            if labels[index] is None:
                name = self.display_name(index)
                raise invalid(
                    "y_true",
                    f"Output {name} has a {user}, and no label.",
                    y_true,
                    self.expected(),
                )

    def require_same_outputs(self, known, y_pred):
        """Refuses outputs that are others than those of the first batch.

        Args:
            known: The `OutputMatcher`s of earlier batches.
            y_pred: The predictions that this object is made of.

        Raises:
            ValueError: If the outputs have other names.
        """
        for matcher in known:
            if matcher.names != self.names:
                raise invalid(
                    "y_pred",
                    "The model returns other outputs than it did at first.",
                    y_pred,
                    matcher.expected(),
                )

    def read(self, argument, data):
        """The leaves of a batch of data, one for each output.

        Where each leaf stands is worked out the first time that a structure
        comes along; after that it is looked up.

        Args:
            argument: An `Argument`: labels or sample weights.
            data: The batch, in any form that `match` knows.

        Returns:
            A list with one leaf, or `None`, for each output.
        """
        if data is None:
            return [None] * len(self)
        key = (argument.name, signature(data))
        if key not in self._readers:
            paths = [None] * len(self)
            for match in self.match(argument, places_of(data), data):
                if match.item is not None:
                    paths[match.target] = match.item.path
            self._readers[key] = _reader(paths)
        return self._readers[key](data)

    def path_of(self, target):
        """The path of an output or a sub-structure in the predictions."""
        return self.paths[target] if isinstance(target, int) else target.path

    def logged_path(self, target):
        """The parts of a raw loss's logged name, as in the base release.

        That is the path, with the name that the model has for an output instead
        of its place in a list; `None` if there is none, at the end.
        """
        path = self.path_of(target)
        if not isinstance(target, int):
            # Without a path, it is all outputs.
            return path or [
                None if None in self.names else "_".join(self.names)
            ]
        if len(path) < 2:
            return [self.names[target]]
        if self._have_keys[target]:
            return path
        return [*path[:-1], self.model_names and self.model_names[target]]

    def display_name(self, index):
        """What errors call an output."""
        return repr(self.names[index] or index)

    def expected(self):
        """The forms that an argument can have, for errors."""
        named = None not in self.names
        structure = describe(self._structure)
        if len(self) == 1:
            forms = ["one value for the only output"]
        else:
            which = f" {self.names}" if named else ""
            order = ", in this order" if self._order_is_known else " by name"
            forms = [f"one for each of the {len(self)} outputs{which}{order}"]
        if named:
            forms.append(f"a dict with keys from {self.names}")
        forms.append(f"the structure of the outputs, {structure}")
        return "; or ".join(forms) + "."


def _fits(node, value):
    """Whether a container can be matched to a node, entry by entry."""
    if isinstance(node, int):
        return False
    if isinstance(value, dict) or node.kind is dict:
        is_same_kind = isinstance(value, dict) and node.kind is dict
        return is_same_kind and set(value) <= set(node.keys)
    return len(value) == len(node.keys)


def _lists_losses_of(argument, node, value):
    """Whether a list holds several losses for one sub-structure of outputs.

    Upstream's tests pin this form: at a tuple of outputs, the list
    `[f, (g, h)]` is the loss `f` of the tuple as a whole, and `g` and `h` of
    its entries. Only a list of another kind than the outputs' container is
    read so, with an entry of just that kind and a loss that can take a
    structure. All else goes entry by entry.
    """
    if isinstance(node, int) or argument.takes_structure is None:
        return False
    if kind_of(value) not in (list, tuple) or kind_of(value) is node.kind:
        return False
    leaves = [x for x in value if x is not None and not is_container(x)]
    entries = [x for x in value if is_container(x)]
    return (
        bool(leaves)
        and all(map(argument.takes_structure, leaves))
        and any(kind_of(x) is node.kind and _fits(node, x) for x in entries)
    )


def _reader(paths):
    """A function that lists what stands at the paths, or `None` for `None`."""
    if all(path is not None and len(path) == 1 for path in paths):
        # Without a call for each output.
        keys = [key for (key,) in paths]
        return lambda data: [data[key] for key in keys]
    return lambda data: [
        None if path is None else follow(path, data) for path in paths
    ]
