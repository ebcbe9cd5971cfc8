"""What the partner's schema says of its containers: structure for the reader, order for the writer, leaves for lint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mappings.grammar import MappingError, MappingFile
from mappings.shape import Child, Shape
from mappings.tree import Tree
from schemas.partner import tables


def record_element(file: MappingFile) -> tables.Element | None:
    """The element of the partner's table that is one record; None when the mapping names no schema.

    Raises `MappingError` ``mapping-schema``.
    """
    return None if file.partner.schema_ is None else _record(file, file.partner.schema_)


def listed_record(file: MappingFile) -> tables.Element | None:
    """The same in the table that lists the partner's elements, be it a schema or not. Raises as `record_element`."""
    table = file.partner.schema_ or file.partner.elements
    return None if table is None else _record(file, table)


def _record(file: MappingFile, table: str) -> tables.Element:
    try:
        elements = tables.load(table).elements()
    except (tables.UnknownTable, KeyError, ValueError) as error:
        raise MappingError("mapping-schema", f"{table}: {error}", file.id) from None
    wanted = "/".join(filter(None, (file.partner.root, file.partner.record)))
    if wanted not in elements:
        raise MappingError("mapping-schema", f"{table} has no element {wanted!r}", file.id)
    return elements[wanted]


def shapes(file: MappingFile, tree: Tree) -> dict[tuple[str, ...], Shape]:
    """A shape for each container that the mapping opens: the schema's, else what the mapping itself names."""
    record = record_element(file)
    described = {} if record is None else _by_path(record)
    found = {}
    for node in tree.root.walk():
        if node.path in described:
            children = {child.name: _child(child) for child in described[node.path].children}
            found[node.path] = Shape(children, file.partner.ordered, file.unknown, file.invalid)
        else:
            names = tree.names.get(node.path, set())
            once = _read_once(tree, node.path) if file.partner.format == "xml" else set()
            free = {name: Child(maximum=1 if name in once else None) for name in sorted(names)}
            found[node.path] = Shape(free, False, file.unknown, file.invalid)
    return found


def _read_once(tree: Tree, path: tuple[str, ...]) -> set[str]:
    """Children that the mapping reads as one: of two, the first would be lost in silence."""
    steps = [
        step
        for node in tree.root.walk()
        if node.path == path
        for step in (
            *(view.step for view in node.views),
            *(inputs[0] for leaf in node.leaves for inputs in leaf.inputs if inputs),
        )
    ]
    several = {step.name for step in steps if step.many or step.where}
    return {step.name for step in steps} - several


def order(file: MappingFile) -> Mapping[str, Sequence[str]]:
    """Order of the children of each container, by path from the record."""
    record = record_element(file)
    described = {} if record is None else _by_path(record)
    return {"/".join(path): [child.name for child in element.children] for path, element in described.items()}


def _by_path(record: tables.Element) -> dict[tuple[str, ...], tables.Element]:
    """Containers by their path from the record."""
    cut = len(record.path.split("/"))
    return {tuple(one.path.split("/")[cut:]): one for one in record.walk() if one.children}


def _child(element: tables.Element) -> Child:
    return Child(element.min, element.max, element.type, element.digits)
