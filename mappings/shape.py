"""The shape of a partner's container: which children, in which order, how many times.

A sequence of names that was found valid once is remembered: checking the structure of the next record of the same
shape costs one look-up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from mappings.grammar import Severity
from schemas.record import Finding

MAX_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Child:
    """What the partner's schema says of one child of a container."""

    minimum: int = 0
    maximum: int | None = 1
    kind: str = ""
    length: int | None = None


def too_long(text: str, child: Child) -> bool:
    """Whether a text exceeds what the schema allows: characters, or digits once padding is gone."""
    if child.length is None or child.kind == "string":
        return child.length is not None and len(text) > child.length
    return len(text.strip().lstrip("+-0").replace(".", "")) > child.length


@dataclass(slots=True)
class Shape:
    """What a container may hold. Without a schema, `ordered` is False and every minimum is 0."""

    children: Mapping[str, Child]
    ordered: bool
    unknown: Severity
    invalid: Severity
    valid: set[tuple[Any, ...]] = field(default_factory=set)

    def check(self, names: tuple[Any, ...], at: str, findings: list[Finding]) -> None:
        """Report what is wrong with a sequence of names; a sequence without fault is remembered."""
        names = tuple(name for name in names if isinstance(name, str))
        at = f"{at}/" if at else ""
        found = [*self._unknown(names, at), *self._counts(names, at), *self._order(names, at)]
        findings.extend(found)
        if not found and len(self.valid) < MAX_REMEMBERED:
            self.valid.add(names)

    def _unknown(self, names: tuple[str, ...], at: str) -> list[Finding]:
        strangers = dict.fromkeys(name for name in names if name not in self.children)
        return [Finding("unknown-element", f"{at}{name}", self.unknown) for name in strangers]

    def _counts(self, names: tuple[str, ...], at: str) -> list[Finding]:
        seen, found = Counter(names), []
        for name, child in self.children.items():
            if seen[name] < child.minimum:
                found.append(Finding("missing-element", f"{at}{name}", self.invalid))
            elif child.maximum is not None and seen[name] > child.maximum:
                found.append(Finding("repeated-element", f"{at}{name}", self.invalid))
        return found

    def _order(self, names: tuple[str, ...], at: str) -> list[Finding]:
        if not self.ordered:
            return []
        rank = {name: position for position, name in enumerate(self.children)}
        known = [name for name in names if name in rank]
        for before, after in pairwise(known):
            if rank[after] < rank[before]:
                return [Finding("misplaced-element", f"{at}{after}", self.invalid)]
        return []
