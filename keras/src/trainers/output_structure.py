"""Containers of outputs as data: their leaves, paths and names.

Not part of upstream Keras 3.15.1. Nothing here knows of losses or metrics;
`output_matcher.py` does the matching.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple


class Node(NamedTuple):
    """A container of outputs.

    Args:
        kind: `dict`, `list`, `tuple`, or the type of a named tuple.
        keys: The keys, or positions, of its children.
        children: Containers below it, as `Node`s, and outputs, as indices.
        path: The keys and positions that lead to it.
    """

    kind: type
    keys: tuple
    children: tuple
    path: tuple

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


@dataclass(frozen=True)
class Place:
    """Where in a batch of data one leaf stands."""

    path: tuple

    def __repr__(self):
        return "*"


def is_container(structure):
    """Whether something is a dict, list or tuple, and no serialized object."""
    if isinstance(structure, dict):
        return not {"class_name", "config"} <= structure.keys()
    return isinstance(structure, (list, tuple))


def are_numbers(structure):
    """Whether something is a list with a number for each of several samples."""
    is_list = isinstance(structure, (list, tuple)) and len(structure) > 1
    return is_list and not any(
        is_container(x) or x is None or tuple(getattr(x, "shape", ()))
        for x in structure
    )


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
    """What stands at a path."""
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


def free_name(stem, taken, suffix=""):
    """The name, or the first numbered one that is not taken: `h_1_loss`.

    Args:
        stem: The part of the name that gets the number.
        taken: The names that are in use.
        suffix: What follows the stem.
    """
    name, count = stem + suffix, 0
    while name in taken:
        count += 1
        name = f"{stem}_{count}{suffix}"
    return name


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
        name = stem + suffix
        if name in taken:
            # A number may make it what another one is called to begin with.
            name = free_name(stem, taken | wanted, suffix)
        taken.add(name)
        names.append(name)
    return names


def unique_or_none(names):
    """Names that are all different, with each `None` where it was."""
    given = [name for name in names if name is not None]
    unique = iter(unique_names(given, [""] * len(given)))
    return [None if name is None else next(unique) for name in names]


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


def below(node):
    """Indices of the outputs below a node."""
    if isinstance(node, int):
        return [node]
    return [index for child in node.children for index in below(child)]


def is_ordered(structure):
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
    return all(is_ordered(child) for _, child in pairs_of(structure))


def pairs_of(container):
    if isinstance(container, dict):
        return list(container.items())
    return list(enumerate(container))


def places_of(structure, path=()):
    """The structure with each leaf replaced by its `Place`, `None`s kept."""
    if isinstance(structure, dict):
        return {k: places_of(v, path + (k,)) for k, v in structure.items()}
    if is_container(structure):
        places = (places_of(v, path + (i,)) for i, v in enumerate(structure))
        return list(places) if isinstance(structure, list) else tuple(places)
    return None if structure is None else Place(path)
