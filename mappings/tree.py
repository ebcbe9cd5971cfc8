"""A mapping as a tree of the partner's containers: what `reading.py` turns into Python.

Sections that speak of the same container meet in one node, so that a document is walked once whatever the number of
sections.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mappings.grammar import MappingError, MappingFile, NotShared, Row, Section, Step, dotted, steps
from mappings.types import tells_several
from schemas import paths

SELF_KEYED = "[]"


@dataclass(slots=True)
class Leaf:
    """One row at work inside a node: its inputs (paths relative to the node) and where its value goes."""

    row: Row
    inputs: tuple[tuple[Step, ...], ...]
    target: str
    """Template of the canonical path, `{k3}` standing for the key of an item; or the name of a variable."""
    sink: str
    """`person`, `foyer`, `each` (a household fact that each person answers), `everyone`, or `variable`."""
    label: tuple[Step, ...] = ()
    gate: bool = False
    """Read before the choice of who is told as a person, so for every member of the household."""
    parent: str = ""
    checked: bool = False
    """Another value may already be there (item of a list, two rows for one fact): compare first."""


@dataclass(slots=True)
class View:
    """One way to enter a child container: alone, each sibling, or the sibling that fulfils a condition."""

    step: Step
    node: Node
    key: str = ""
    """Name of the variable that holds the item's key; empty when the view names no item."""
    person: bool = False
    required: bool = False
    codes: str | None = None
    """Table of the code that the condition looks at: siblings left aside must bear one that it knows."""


@dataclass(slots=True)
class Node:
    path: tuple[str, ...]
    leaves: list[Leaf] = field(default_factory=list)
    views: list[View] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        yield self
        for view in self.views:
            yield from view.node.walk()

    @property
    def has_gate(self) -> bool:
        return any(leaf.gate for node in self.walk() for leaf in node.leaves)


@dataclass(slots=True)
class _Scope:
    node: Node
    canonical: str
    in_person: bool
    in_list: bool
    parent: str
    gate: bool = False


class Tree:
    """Builds the tree of one mapping. Raises `MappingError` ``mapping-path``, ``mapping-key``."""

    def __init__(self, file: MappingFile) -> None:
        self.file = file
        self.root = Node(())
        self.names: dict[tuple[str, ...], set[str]] = {}
        """Children that the mapping itself names, by container path (mapped or not shared)."""
        self.keys: dict[str, tuple[Row, ...]] = {}
        self.neutral: set[str] = set()
        """Keys that may hold `non_partage`: those that no code list closes."""
        self.member_keys: list[str] = []
        """Keys that name each member of the household by its position."""
        self.person: Node | None = None
        self._numbers = iter(range(1, 10_000))
        self._person_path = steps(file.record.personne.path, file.partner.format) if file.record.personne else ()
        if file.record.personne and (not self._person_path or file.partner.format == "table"):
            raise MappingError(
                "mapping-path", "[record.personne] names an element that the record repeats, one a person"
            )
        if self._person_path:
            self._enter_person()
        for position, row in enumerate(file.record.key):
            self._variable(self.root, row, f"record{position}")
        if file.record.asserted_at is not None:
            self._variable(self.root, file.record.asserted_at, "asserted")
        for section in file.section:
            if section.direction != "write":
                self._section(section, _Scope(self.root, "", not self._person_path, False, ""))
        for declared in file.not_shared:
            self._declare(declared)
        self._compare_what_is_told_twice()

    def _compare_what_is_told_twice(self) -> None:
        """A fact that two rows may tell is compared, so that none of them is overwritten in silence."""
        told: dict[tuple[str, str], list[Leaf]] = {}
        for leaf in (leaf for node in self.root.walk() for leaf in node.leaves if leaf.sink != "variable"):
            told.setdefault((leaf.sink, leaf.target), []).append(leaf)
        for leaves in told.values():
            for leaf in leaves if len(leaves) > 1 else ():
                leaf.checked = True

    def _enter_person(self) -> None:
        words = self.file.record.personne
        assert words is not None
        node = self.root
        for step in self._person_path[:-1]:
            node = self._descend(node, step)
        last = self._person_path[-1]
        self.names.setdefault(node.path, set()).add(last.name)
        self.person = Node((*node.path, last.name))
        node.views.append(View(Step(last.name, many=True), self.person, person=True))
        for position, row in enumerate(words.key):
            self._variable(self.person, row, f"person{position}")
        if words.only is not None:
            self._variable(self.person, words.only, "only", gate=True)

    def _variable(self, node: Node, row: Row, name: str, *, gate: bool = False) -> None:
        node, inputs = self._place(node, row)
        leaf = Leaf(row, inputs, name, "variable", self._label(row), gate)
        node.leaves.append(leaf)

    def _section(self, section: Section, scope: _Scope) -> None:
        path = steps(section.partner, self.file.partner.format)
        node, in_person = scope.node, scope.in_person
        names = tuple(step.name for step in self._person_path)
        if self.person is not None and node is self.root and tuple(s.name for s in path[: len(names)]) == names:
            node, in_person, path = self.person, True, path[len(names) :]
        canonical = dotted(scope.canonical, section.canonical)
        if section.key and node is self.person and not path:
            scope = self._member(section, node, canonical)
        elif section.key:
            scope = self._item(section, node, path, canonical, in_person, scope.parent)
        else:
            for step in path:
                last = step is path[-1]
                node = self._descend(
                    node, step, required=section.required and last, codes=section.codes if last else None
                )
            scope = _Scope(node, canonical, in_person, scope.in_list, scope.parent, scope.gate)
        for row in section.fields:
            if row.reads and row.disputed is None:
                self._field(row, scope)
            elif row.partner is not None:
                self._name(scope.node, row)
        for inner in section.section:
            if inner.direction != "write":
                self._section(inner, scope)

    def _member(self, section: Section, node: Node, canonical: str) -> _Scope:
        """Each person of the record as an item, named by what does not need reading: constants and her position."""
        if any(row.partner is not None for row in section.key):
            raise MappingError("mapping-key", f"section {section.title!r}: members are named by position")
        name = f"k{next(self._numbers)}"
        self.keys[name] = section.key
        self.member_keys.append(name)
        return _Scope(node, canonical.replace(SELF_KEYED, "[{" + name + "}]", 1), True, True, "", gate=True)

    def _item(
        self, section: Section, node: Node, path: tuple[Step, ...], canonical: str, in_person: bool, parent: str
    ) -> _Scope:
        """Enter each item of a repeated container (or the container itself, when nothing repeats) under its key."""
        if SELF_KEYED not in canonical:
            raise MappingError("mapping-key", f"section {section.title!r} has a key but its canonical has no []")
        number = next(self._numbers)
        name = f"k{number}"
        for step in path[:-1]:
            node = self._descend(node, step)
        if path:
            self.names.setdefault(node.path, set()).add(path[-1].name)
            child = Node((*node.path, path[-1].name))
            node.views.append(View(path[-1], child, key=name, required=section.required, codes=section.codes))
        else:
            child = Node(node.path)
            node.views.append(View(Step(""), child, key=name))
        self.keys[name] = section.key
        if _is_open(canonical):
            self.neutral.add(name)
        for position, row in enumerate(section.key):
            _, inputs = child, tuple(steps(one, self.file.partner.format) for one in row.partners)
            self._learn(child, inputs, self._label(row))
            child.leaves.append(Leaf(row, inputs, f"{name}_{position}", "variable", self._label(row), False, parent))
        canonical = canonical.replace(SELF_KEYED, "[{" + name + "}]", 1)
        return _Scope(child, canonical, in_person, True, "" if tells_several(section.key[0]) else f"r{number}_0")

    def _field(self, row: Row, scope: _Scope) -> None:
        assert row.canonical is not None
        canonical = dotted(scope.canonical, row.canonical)
        node, inputs = self._place(scope.node, row)
        sink = "foyer" if subject(canonical) == "foyer" else "person" if scope.in_person else "everyone"
        if sink == "foyer" and scope.in_person and self.person is not None and not scope.gate:
            sink = "each"
        checked = scope.in_list and not scope.gate
        leaf = Leaf(row, inputs, canonical, sink, self._label(row), scope.gate, scope.parent, checked)
        node.leaves.append(leaf)

    def _label(self, row: Row) -> tuple[Step, ...]:
        return steps(row.label, self.file.partner.format) if row.label else ()

    def _place(self, node: Node, row: Row) -> tuple[Node, tuple[tuple[Step, ...], ...]]:
        """The node where a row's inputs are leaves, when they share one; else the section's node with whole paths."""
        paths = tuple(steps(one, self.file.partner.format) for one in row.partners)
        befores = {path[:-1] for path in paths}
        if len(befores) == 1 and (before := befores.pop()) and not row.label:
            for step in before:
                node = self._descend(node, step)
            paths = tuple(path[-1:] for path in paths)
        self._learn(node, paths, self._label(row))
        return node, paths

    def _learn(self, node: Node, paths: tuple[tuple[Step, ...], ...], label: tuple[Step, ...]) -> None:
        for path in (*paths, label):
            at = node.path
            for step in path:
                self.names.setdefault(at, set()).add(step.name)
                if step.where:
                    self._learn_where((*at, step.name), step)
                at = (*at, step.name)

    def _learn_where(self, at: tuple[str, ...], step: Step) -> None:
        for name in step.where:
            self.names.setdefault(at, set()).add(name)
            at = (*at, name)

    def _name(self, node: Node, row: Row) -> None:
        self._learn(node, tuple(steps(one, self.file.partner.format) for one in row.partners), self._label(row))

    def _descend(self, node: Node, step: Step, *, required: bool = False, codes: str | None = None) -> Node:
        self.names.setdefault(node.path, set()).add(step.name)
        if step.where:
            self._learn_where((*node.path, step.name), step)
        for view in node.views:
            if view.step == step and not view.key and not view.person:
                view.required |= required
                view.codes = view.codes or codes
                return view.node
        child = Node((*node.path, step.name))
        node.views.append(View(step, child, required=required, codes=codes))
        return child

    def _declare(self, declared: NotShared) -> None:
        for path in declared.paths:
            if path.startswith("/"):
                continue
            at: tuple[str, ...] = ()
            for step in steps(path, self.file.partner.format):
                self.names.setdefault(at, set()).add(step.name)
                at = (*at, step.name)


def _is_open(canonical: str) -> bool:
    """Whether the items of this list may bear any name (`droit_rsa.suspensions[]`), not only codes of a list."""
    shape = paths.shape(canonical)
    champ = next((one for path, one in paths.FIELDS.items() if path.startswith(f"{shape}.")), None)
    return champ is not None and champ.cles[shape.count("[]") - 1].liste is None


def subject(canonical: str) -> str:
    """`foyer` for a household fact, else `personne`. Raises `MappingError` ``mapping-canonical``."""
    known = paths.FIELDS.get(paths.shape(canonical))
    if known is None:
        raise MappingError("mapping-canonical", f"unknown canonical path {paths.shape(canonical)!r}")
    return known.sujet
