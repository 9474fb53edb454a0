"""Matches every argument of `compile`, `fit` and `evaluate` to the outputs.

`loss`, `loss_weights`, `metrics`, `weighted_metrics`, `y_true` and
`sample_weight` all come in the same few forms: the outputs' own structure, a
dict keyed by output names, one thing for every output, or a flat list in the
model's order. This module is the only place that knows these forms, and the
only place that words the errors for what is none of them.

Not part of upstream Keras 3.15.1, where each argument has matching code of
its own inside `compile_utils.py`.
"""

import operator
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from typing import Callable
from typing import NamedTuple


class UnknownOutputError(KeyError, ValueError):
    """A key names no output.

    It is both types because upstream's tests pin `KeyError` for dict outputs
    and `ValueError` for list outputs.
    """

    def __str__(self):
        # `KeyError` would show the repr, line breaks escaped.
        return Exception.__str__(self)


class Argument(NamedTuple):
    """What the matcher must know of an argument.

    Args:
        name: The name that users know it by, for errors.
        several: Whether one output may have a list of them (losses, metrics).
        takes_structure: Tells of a leaf whether it takes a sub-structure of
            outputs as a whole, instead of each output below it by itself.
        follows_labels: Whether a list may have entries for only those outputs
            that have a loss.
    """

    name: str
    several: bool = False
    takes_structure: Callable | None = None
    follows_labels: bool = False


class Node(NamedTuple):
    """A container of outputs.

    Args:
        kind: `dict`, `list`, `tuple`, or the type of a named tuple.
        name: The dict keys that lead to it, or `None` if a list or tuple lies
            between them and it.
        keys: The keys, or positions, of its children.
        children: Containers below it, as `Node`s, and outputs, as indices.
    """

    kind: type
    name: str | None
    keys: tuple
    children: tuple

    def pack(self, leaves):
        """Puts leaves, one for each output of the model, in such containers."""
        children = [
            leaves[child] if isinstance(child, int) else child.pack(leaves)
            for child in self.children
        ]
        if self.kind is dict:
            return dict(zip(self.keys, children))
        if self.kind in (list, tuple):
            return self.kind(children)
        return self.kind(*children)


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


@dataclass(frozen=True)
class Place:
    """Where in a batch of data one leaf stands."""

    path: tuple

    def __repr__(self):
        return "*"


def is_container(structure):
    return isinstance(structure, (dict, list, tuple))


def kind_of(container):
    """The container's type, with what wraps it (tracking, Keras) left out."""
    if isinstance(container, dict):
        return dict
    if isinstance(container, list):
        return list
    return type(container) if hasattr(container, "_fields") else tuple


def items_of(container):
    """Keys and children in the order in which `keras.tree` flattens them."""
    if not isinstance(container, dict):
        return list(enumerate(container))
    keys = list(container)
    if not isinstance(container, OrderedDict):
        keys = sorted(keys, key=lambda key: (type(key).__name__, key))
    return [(key, container[key]) for key in keys]


def flatten_with_paths(structure, path=()):
    """All leaves, `None`s too, each behind its path."""
    if not is_container(structure):
        return [(path, structure)]
    return [
        found
        for key, child in items_of(structure)
        for found in flatten_with_paths(child, path + (key,))
    ]


def follow(path, structure):
    for key in path:
        structure = structure[key]
    return structure


def signature(structure):
    """A hashable value, equal for structures that read alike."""
    if not isinstance(structure, (dict, list, tuple)):
        return structure is None
    if isinstance(structure, dict):
        children = map(signature, structure.values())
        return type(structure), *structure, *children
    return type(structure), *map(signature, structure)


def unique_names(stems, suffixes, taken=()):
    """Full names that are all different: the second `h_loss` is `h_1_loss`.

    Args:
        stems: The parts of the names that get the number.
        suffixes: What follows each stem.
        taken: Names that must not come out.

    Returns:
        The list of full names, in the order of `stems`.
    """
    wanted = {stem + suffix for stem, suffix in zip(stems, suffixes)}
    taken, names = set(taken), []
    for stem, suffix in zip(stems, suffixes):
        name, count = stem + suffix, 0
        # A numbered name may be what another output is called to begin with.
        while name in taken or (count and name in wanted):
            count += 1
            name = f"{stem}_{count}{suffix}"
        taken.add(name)
        names.append(name)
    return names


def invalid(argument, problem, received, expected, error=ValueError):
    """Words every error about an argument: what came, what was expected."""
    return error(
        f"Invalid `{argument}`. {problem}\n"
        f"Received: {argument}={describe(received)}\n"
        f"Expected {expected}"
    )


def describe(structure):
    """The structure with its arrays replaced by their shapes."""
    if isinstance(structure, dict):
        pairs = (f"{k!r}: {describe(v)}" for k, v in structure.items())
        return "{" + ", ".join(pairs) + "}"
    if is_container(structure):
        ends = "[]" if isinstance(structure, list) else "()"
        return ends[0] + ", ".join(map(describe, structure)) + ends[1]
    shape = getattr(structure, "shape", None)
    if shape is None:
        return repr(structure)
    return f"<{type(structure).__name__} of shape {tuple(shape)}>"


class OutputMatcher:
    """The outputs of a model, flattened once, and the rule that finds them.

    Args:
        y_pred: The model's predictions: a leaf, or nested dicts, lists and
            tuples of leaves. Only the structure is used.
        output_names: The names that the model gives its outputs, in the
            order of `keras.tree.flatten`, or `None`.

    Attributes:
        paths: The path of each output in `y_pred`, in the model's order.
        names: The name of each output, all different; `None` for an output
            that has neither a key nor a name.
        model_names: `output_names`, or `None` if it has not one for each
            output.
        is_flat: Whether there is at most one container around the outputs.
        labelled: The indices of the outputs that have a loss, or `None` if
            that is not known.
    """

    # Texts that upstream's tests look for in the errors of an argument.
    _PINNED = {
        "y_true": "y_true and y_pred have different structures. ",
        "loss_weights": "`loss_weights` must match the number of losses. ",
    }

    def __init__(self, y_pred, output_names=None):
        count = len(flatten_with_paths(y_pred))
        if output_names is None or len(output_names) != count:
            output_names = None
        self.model_names = output_names
        self._structure = _places(y_pred)
        self._order_is_known = output_names is not None or _is_ordered(y_pred)
        self._readers = {}
        self.labelled = None
        self.paths, names = [], []
        self._root = self._index(y_pred, (), (), (), names)
        self.names = _unique_or_none(names)
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
            if self.model_names and not (keys and not positions):
                positions = (self.model_names[len(names)],)
            elif not keys:
                positions = ()
            names.append("/".join(map(str, keys + positions)) or None)
            return len(names) - 1
        items = items_of(structure)
        is_dict = isinstance(structure, dict)
        if is_dict and set(structure) == set(self.model_names or ()):
            # The model's own order, which need not be that of sorted keys.
            items = [(key, structure[key]) for key in self.model_names]
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
        name = None if positions or not keys else "/".join(map(str, keys))
        node_keys = tuple(key for key, _ in items)
        return Node(kind_of(structure), name, node_keys, children)

    def __len__(self):
        return len(self.paths)

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
        refuse = _Refusal(self, argument, value if shown is None else shown)
        if not is_container(value):
            return [Match(i, value, ()) for i in range(len(self))]
        root = self._root
        if _lists_losses_of(argument, root, value) or _fits(root, value):
            matches = []
            self._descend(argument, root, value, (), matches, refuse)
        elif isinstance(value, dict):
            matches = self._by_name(value, refuse)
        elif argument.several and len(self) == 1 and len(value) != 1:
            matches = [Match(0, value, ())]
        elif len(value) == len(self):
            if not self._order_is_known:
                raise refuse.order()
            matches = [Match(i, x, (i,)) for i, x in enumerate(value)]
        elif argument.follows_labels and len(value) == len(self.labelled or ()):
            matches = [
                Match(i, x, (place,))
                for place, (i, x) in enumerate(zip(self.labelled, value))
            ]
        else:
            raise refuse.count(len(value))
        for match in matches:
            if is_container(match.item) and isinstance(match.target, int):
                flat = not any(map(is_container, match.item))
                if isinstance(match.item, dict):
                    raise refuse.depth(match)
                if not (argument.several and flat):
                    raise refuse.nesting(match)
        return matches

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
            for key, item in _pairs(value):
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

    def read(self, argument, data):
        """The leaves of a batch of data, one for each output.

        Where each leaf stands is worked out the first time that a structure
        comes along; after that it is looked up.

        Args:
            argument: An `Argument`: labels, predictions or sample weights.
            data: The batch, in any form that `match` knows.

        Returns:
            A list with one leaf, or `None`, for each output.
        """
        if data is None:
            return [None] * len(self)
        return self.reader(argument, data)(data)

    def reader(self, argument, data):
        """The function that `read` looks up, for data of the same structure."""
        key = (argument.name, signature(data))
        if key not in self._readers:
            paths = [None] * len(self)
            for match in self.match(argument, _places(data), data):
                if match.item is not None:
                    paths[match.target] = match.item.path
            self._readers[key] = _reader(paths)
        return self._readers[key]

    def name_of(self, target):
        """The name of an output or a sub-structure, or `None`."""
        if isinstance(target, int):
            return self.names[target]
        names = [self.names[index] for index in below(target)]
        return target.name or (None if None in names else "_".join(names))

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


class _Refusal:
    """Makes the errors of one argument."""

    def __init__(self, matcher, argument, received):
        self._matcher = matcher
        self._name = argument.name
        self._received = received

    def _make(self, problem, expected=None, error=ValueError):
        pinned = OutputMatcher._PINNED.get(self._name, "")
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

    def order(self):
        return self._make(
            "A list can't be matched to a dict of outputs whose order the "
            "model doesn't tell."
        )


def below(node):
    """Indices of the outputs below a node."""
    if isinstance(node, int):
        return [node]
    return [index for child in node.children for index in below(child)]


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


def _is_ordered(structure):
    """Whether the containers tell the order of the outputs.

    A plain dict does not: JAX hands it on with sorted keys, whatever their
    order was in the model.
    """
    if not is_container(structure):
        return True
    is_plain = isinstance(structure, dict)
    is_plain = is_plain and not isinstance(structure, OrderedDict)
    if is_plain and len(structure) > 1:
        return False
    return all(_is_ordered(child) for _, child in _pairs(structure))


def _reader(paths):
    """A function that lists what stands at the paths, or `None` for `None`."""
    is_flat = all(path is not None and len(path) == 1 for path in paths)
    if is_flat and len(paths) > 1:
        # Without a call for each output.
        get = operator.itemgetter(*(key for (key,) in paths))
        return lambda data: list(get(data))
    return lambda data: [
        None if path is None else follow(path, data) for path in paths
    ]


def _pairs(container):
    if isinstance(container, dict):
        return list(container.items())
    return list(enumerate(container))


def _places(structure, path=()):
    """The structure with each leaf replaced by its `Place`, `None`s kept."""
    if isinstance(structure, dict):
        return {k: _places(v, path + (k,)) for k, v in structure.items()}
    if is_container(structure):
        places = (_places(v, path + (i,)) for i, v in enumerate(structure))
        return list(places) if isinstance(structure, list) else tuple(places)
    return None if structure is None else Place(path)


def _unique_or_none(names):
    given = [name for name in names if name is not None]
    unique = iter(unique_names(given, [""] * len(given)))
    return [None if name is None else next(unique) for name in names]
