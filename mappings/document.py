"""Partner documents behind one shape: a container is a dict of its children by name, a leaf is a text.

XML elements, JSON objects and table rows differ only in how a container is opened; the code that reads a mapping is
the same for the three. Nothing here knows a partner.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from lxml import etree

from mappings.grammar import Format, Step
from mappings.types import Bad

Container = dict[str, Any]


def siblings(name: str, names: tuple[Any, ...], children: Sequence[Any], by_name: Container) -> Sequence[Any]:
    """The children of an XML element that bear one name, in order."""
    if len(by_name) == len(names):
        found = by_name.get(name)
        return () if found is None else (found,)
    return [child for child, its in zip(children, names, strict=True) if its == name]


def scalar(value: Any) -> str | None:
    """The text of a JSON scalar. Raises `Bad` ``bad-type`` for an object or an array."""
    if value is None or isinstance(value, str):
        return value
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    raise Bad("bad-type", "a text, a number or a boolean")


def word(value: Any) -> str | None:
    """The text of a JSON text or number. Raises `Bad` ``bad-type``: a name is never `true`."""
    if value is True or value is False:
        raise Bad("bad-type", "a text")
    return scalar(value)


def items(value: Any) -> Sequence[Any]:
    """The siblings under one name, one or many."""
    if value is None:
        return ()
    several: Sequence[Any] = value if value.__class__ is list else (value,)
    return several


def texts(value: Any) -> list[str | None]:
    """Texts of a repeated leaf."""
    return [item if item.__class__ is str else scalar(item) for item in items(value)]


def leaf(container: Any, path: tuple[Step, ...], format_: Format) -> str | None:
    """The text at the end of a path that goes through several containers; None where one is absent."""
    for step in path[:-1]:
        container = next(iter(chosen(container, step, format_)), None)
        if container is None:
            return None
    found = next(iter(_children(container, path[-1].name, format_)), None)
    if format_ == "xml":
        return None if found is None else cast("str | None", found.text)
    return scalar(found)


def first(element: Any, name: str) -> str | None:
    """Text of the first child of an XML element that bears this name."""
    for child in element:
        if child.tag == name:
            text: str | None = child.text
            return text
    return None


def chosen(container: Any, step: Step, format_: Format) -> list[Any]:
    """The siblings that a step names; with a condition, those that fulfil it."""
    found = _children(container, step.name, format_)
    if not step.where:
        return found
    path = tuple(Step(name) for name in step.where)
    return [item for item in found if (leaf(item, path, format_) or "").strip() in step.equals]


def _children(container: Any, name: str, format_: Format) -> list[Any]:
    if format_ == "xml":
        return [child for child in container if child.tag == name]
    return list(items(container.get(name))) if isinstance(container, dict) else []


def digest(source: Any, raw: bytes | None) -> bytes:
    """SHA-256 of a record as the partner wrote it: of its bytes when the connector has them, else of a stable form."""
    if raw is not None:
        return hashlib.sha256(raw).digest()
    if isinstance(source, (dict, list)):
        return hashlib.sha256(_stable(source).encode()).digest()
    return hashlib.sha256(etree.tostring(source, method="c14n", with_comments=False)).digest()


_stable = json.JSONEncoder(sort_keys=True, ensure_ascii=False, check_circular=False).encode


# --- writing --------------------------------------------------------------------------------------------------------


def put(container: Container, path: Iterable[Step], value: Any) -> None:
    """Set a leaf, making the containers on its way; a step with a condition makes the sibling that fulfils it."""
    *before, last = path
    for step in before:
        container = enter(container, step)
    if last.many:
        container.setdefault(last.name, []).append(value)
    else:
        container[last.name] = value


def enter(container: Container, step: Step, *, new: bool = False) -> Container:
    """The child container that a step names, made when absent; `new` adds one more sibling."""
    if not step.many and not step.where:
        child: Container = container.setdefault(step.name, {})
        return child
    siblings: list[Container] = container.setdefault(step.name, [])
    if step.where and not new:
        for sibling in siblings:
            if leaf(sibling, tuple(Step(name) for name in step.where), "json") in step.equals:
                return sibling
    if not new and not step.where and siblings:
        return siblings[-1]
    made: Container = {}
    if step.where:
        put(made, (Step(name) for name in step.where), step.equals[0])
    siblings.append(made)
    return made


def element(name: str, container: Mapping[str, Any], order: Mapping[str, Sequence[str]], at: str = "") -> Any:
    """An XML element from containers, its children in the order that the partner's schema asks for."""
    made = etree.Element(name)
    wanted = order.get(at, ())
    rank = {child: position for position, child in enumerate(wanted)}
    for child, value in sorted(container.items(), key=lambda pair: rank.get(pair[0], len(rank))):
        for item in items(value):
            if isinstance(item, Mapping):
                made.append(element(child, item, order, f"{at}/{child}" if at else child))
            else:
                etree.SubElement(made, child).text = None if item == "" else str(item)
    return made


def serialise(made: Any) -> bytes:
    """The bytes of one element, UTF-8, without declaration: the connector adds the envelope."""
    return etree.tostring(made, encoding="utf-8")
