"""Filling a partner's form from permitted facts, and counting what did not have to be typed again.

Nothing is guessed: a fact without counterpart in the recipient's list is a finding and leaves its field empty; a
disputed row is never written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mappings import document
from mappings.codes import Table
from mappings.grammar import Format, MappingError, MappingFile, Row, Section, Step, steps
from mappings.types import Bad, Codec, codec
from schemas.record import Current, Fact, Finding, Written

_ITEM = re.compile(r"([^\[\]]*)\[([^\[\]]*)\]")

Lists = dict[str, dict[str, None]]


def lists(current: Mapping[str, Fact]) -> Lists:
    """The items that the facts name: `freins` to its keys, `freins[mobilite].situations` to its own."""
    found: Lists = {}
    # Facts of one item share what ends at its bracket: each item is cut once.
    for item in sorted({path[: path.rindex("]") + 1] for path in current if "]" in path}):
        prefix = ""
        for match in _ITEM.finditer(item):
            found.setdefault(prefix + match[1], {})[match[2]] = None
            prefix += match[0]
    return found


class Writing:
    """One document being filled."""

    def __init__(self, writer: Writer, current: Current, context: Mapping[str, Any]) -> None:
        self.writer = writer
        self.current = current
        self.context = context
        self.items = lists(current)
        self.written = Written(document={})
        self.empty: dict[str, None] = {}

    def fact(self, path: str) -> Fact | None:
        return self.current.get(path)

    def told(self, code: str, at: str, detail: str) -> None:
        self.written.findings.append(Finding(code, at, "quarantine", "", detail))

    def left(self, at: str) -> None:
        if at not in self.written.filled:
            self.empty[at] = None

    def filled(self, at: str, source: str) -> None:
        self.written.filled[at] = source
        self.empty.pop(at, None)


Step_ = Callable[[Writing, document.Container, str, str, str], None]
"""(writing, container, canonical prefix, partner prefix, code of the enclosing item)."""


class Writer:
    """The writing half of a mapping, compiled to closures. Raises `MappingError` on an impossible row."""

    def __init__(self, file: MappingFile, tables: dict[str, Table], order: Mapping[str, Any]) -> None:
        self.file = file
        self.tables = tables
        self.format: Format = file.partner.format
        self.order = order
        self.sections = [self._section(one) for one in file.section if one.direction != "read"]

    def write(self, current: Current, context: Mapping[str, Any]) -> Written:
        writing = Writing(self, current, context)
        for fill in self.sections:
            fill(writing, writing.written.document, "", "", "")
        writing.written.empty = list(writing.empty)
        if self.format == "xml":
            made = document.element(self.file.partner.record, writing.written.document, self.order)
            writing.written.document = document.serialise(made)
        return writing.written

    def _section(self, section: Section) -> Step_:
        path = steps(section.partner, self.format)
        fills = [self._row(row) for row in section.fields if row.writes]
        fills += [self._section(one) for one in section.section if one.direction != "read"]
        if section.key:
            return self._items(section, path, fills)

        def fill(writing: Writing, box: document.Container, canonical: str, at: str, parent: str) -> None:
            inner: document.Container = {}
            for one in fills:
                one(writing, inner, dotted(canonical, section.canonical), slashed(at, section.partner), parent)
            _merge(box, path, inner)

        return fill

    def _items(self, section: Section, path: tuple[Step, ...], fills: list[Step_]) -> Step_:
        """One sibling for each item of the list that the facts name."""
        keys = [self._key(row, position) for position, row in enumerate(section.key)]
        length = len(section.key)

        def fill(writing: Writing, box: document.Container, canonical: str, at: str, parent: str) -> None:
            name = _filled(dotted(canonical, section.canonical.removesuffix("[]")), writing.context)
            for key in list(writing.items.get(name, ())):
                item_at = slashed(at, section.partner.removesuffix("[]") + f"[{key}]")
                parts = key.split(":", length - 1)
                inner: document.Container = {}
                codes = [one(writing, inner, parts, item_at, parent) for one in keys]
                if len(parts) < length or None in codes:
                    continue
                empty = dict(inner)
                for one in fills:
                    one(writing, inner, f"{name}[{key}]", item_at, codes[0] or "")
                if inner != empty or not fills:
                    target = box
                    for step in path[:-1]:
                        target = document.enter(target, step)
                    if path:
                        document.enter(target, path[-1], new=True).update(inner)
                    else:
                        target.update(inner)

        return fill

    def _key(self, row: Row, position: int) -> Callable[[Writing, document.Container, list[str], str, str], str | None]:
        """Write one part of an item's key; the partner's code of it, or None when the item cannot be written."""
        paths = tuple(steps(one, self.format) for one in row.partners)
        made = codec(row, self.file.zone)
        label = steps(row.label, self.format) if row.label else ()

        def fill(writing: Writing, box: document.Container, parts: list[str], at: str, parent: str) -> str | None:
            if position >= len(parts):
                return None
            part = parts[position]
            if row.constant is not None:
                return part if part == str(row.constant) else None
            if row.context is not None:
                return part if part == str(writing.context.get(row.context)) else None
            if row.codes is not None and self.tables[row.codes].elsewhere(part, parent):
                return None
            try:
                if row.codes is not None:
                    part = self.tables[row.codes].write(part, parent)
                elif made.write is not None:
                    part = made.write(part)
            except Bad as bad:
                writing.told(bad.code, at, bad.detail)
                return None
            if row.writes:
                document.put(box, paths[0], part)
                if label and row.codes:
                    document.put(box, label, self.tables[row.codes].label_of(part, parent))
            return part

        return fill

    def _row(self, row: Row) -> Step_:
        if row.disputed is not None:
            return self._disputed(row)
        if row.decision is not None:
            return self._decided(row)
        if row.canonical is None:
            return self._given(row)
        return self._fact(row)

    def _disputed(self, row: Row) -> Step_:
        def fill(writing: Writing, box: document.Container, canonical: str, at: str, parent: str) -> None:
            writing.left(slashed(at, row.partners[0]))

        return fill

    def _decided(self, row: Row) -> Step_:
        """The first rule whose facts are all there gives the code; a rule without code stops, and nothing is said."""
        path = steps(row.partners[0], self.format)
        decision = self.file.decision.get(row.decision or "")
        if decision is None:
            raise MappingError("mapping-decision", f"no decision table is named {row.decision!r}", self.file.id)
        rules = decision.rules

        def fill(writing: Writing, box: document.Container, canonical: str, at: str, parent: str) -> None:
            place = slashed(at, row.partners[0])
            for rule in rules:
                facts = [(writing.fact(dotted(canonical, name)), value) for name, value in rule.when.items()]
                if all(fact is not None and fact.value == value for fact, value in facts):
                    if rule.code != "":
                        document.put(box, path, rule.code)
                        writing.filled(place, next(fact.source for fact, _ in facts if fact is not None))
                        return
                    break
            self._absent(writing, box, (path,), row, place)

        return fill

    def _given(self, row: Row) -> Step_:
        """A constant of the form, or what the connector knows (date of the document, id of the structure)."""
        paths = tuple(steps(one, self.format) for one in row.partners)
        made = codec(row, self.file.zone) if row.codes is None else None

        def fill(writing: Writing, box: document.Container, canonical: str, at: str, parent: str) -> None:
            value = row.constant if row.context is None else writing.context.get(row.context, row.default)
            if value is None:
                if row.required:
                    writing.told("missing-required", slashed(at, row.partners[0]), "")
                return
            if row.constant is None and made is not None and isinstance(value, str):
                value = made.write(value)
            document.put(box, paths[0], self._native(value, made))

        return fill

    def _fact(self, row: Row) -> Step_:
        paths = tuple(steps(one, self.format) for one in row.partners)
        label = steps(row.label, self.format) if row.label else ()
        made = codec(row, self.file.zone)
        table = self.tables.get(row.codes) if row.codes else None
        if row.codes and table is None:
            raise MappingError("mapping-codes", f"no table is named {row.codes!r}", self.file.id)

        name, partners = row.canonical or "", row.partners
        first, one_of_many = partners[0], "[]" in name

        def fill(writing: Writing, box: document.Container, canonical: str, at: str, parent: str) -> None:
            place = f"{at}/{first}" if at else first
            path = _filled(dotted(canonical, name), writing.context)
            if one_of_many or "[]" in path:
                found = self._find(writing, path, row)
            else:
                fact = writing.current.get(path)
                found = None if fact is None else (fact.value, fact.source)
            if found is None:
                self._absent(writing, box, paths, row, place)
                return
            value, source = found
            try:
                texts = self._texts(value, row, made, table, parent)
            except Bad as bad:
                writing.told(bad.code, place, bad.detail)
                writing.left(place)
                return
            if label and table is not None:
                document.put(box, label, table.label_of(str(texts[0]), parent))
            for where, partner, text in zip(paths, partners, texts, strict=True):
                if text == "" or text is None:
                    continue
                for one in text if where[-1].many and isinstance(text, list) else (text,):
                    document.put(box, where, self._native(one, made))
                writing.filled(slashed(at, partner), source)

        return fill

    def _find(self, writing: Writing, path: str, row: Row) -> tuple[Any, str] | None:
        """The value, and who said it, of the item of this rank in a self-named list (or of all its items)."""
        name, _, rest = path.partition("[]")
        facts = [found for key in writing.items.get(name, ()) if (found := writing.fact(f"{name}[{key}]{rest}"))]
        if row.type in ("phones", "words") or (row.partners and row.partners[0].endswith("[]")):
            return ([fact.value for fact in facts], facts[0].source) if facts else None
        return (facts[row.rank - 1].value, facts[row.rank - 1].source) if len(facts) >= row.rank else None

    def _absent(
        self, writing: Writing, box: document.Container, paths: tuple[tuple[Step, ...], ...], row: Row, place: str
    ) -> None:
        if row.default is not None:
            document.put(box, paths[0], row.default)
            return
        if row.required:
            writing.told("missing-required", place, "")
        elif self.file.empty != "omit":
            document.put(box, paths[0], None if self.file.empty == "null" else "")
        writing.left(place)

    def _texts(self, value: Any, row: Row, made: Codec, table: Table | None, parent: str) -> tuple[Any, ...]:
        if table is not None:
            if isinstance(value, list):
                codes = [table.write(one, parent) for one in value]
                many = row.partners[0].endswith("[]")
                return (codes if many else (row.separator or ",").join(codes),)
            return (table.write(value, parent),)
        if isinstance(value, list) and len(row.partners) == 1 and row.partners[0].endswith("[]"):
            return ([made.write(one) for one in value],)
        text = made.write(value)
        return text if isinstance(text, tuple) else (text,)

    def _native(self, value: Any, made: Codec | None) -> Any:
        """What a JSON document holds: numbers and booleans as such. Text elsewhere."""
        if self.format != "json":
            return ("true" if value else "false") if isinstance(value, bool) else value
        if made is None or not isinstance(value, str):
            return value
        if made.native == "integer":
            return int(value)
        if made.native == "decimal":
            return float(value)
        return value == "true" if made.native == "boolean" else value


def dotted(prefix: str, path: str) -> str:
    """`path` inside `prefix`; a path that begins with `/` counts from the root of the record."""
    if path.startswith("/"):
        return path[1:]
    return f"{prefix}.{path}" if prefix and path else prefix or path


def slashed(prefix: str, path: str) -> str:
    return f"{prefix}/{path}" if prefix and path else prefix or path


_WORD = re.compile(r"\{([a-z_]+)\}")


def _filled(path: str, context: Mapping[str, Any]) -> str:
    return _WORD.sub(lambda found: str(context.get(found[1], "")), path) if "{" in path else path


def _merge(box: document.Container, path: tuple[Step, ...], inner: document.Container) -> None:
    """Put the children of a section in their container, which is not made for nothing."""
    if not inner:
        return
    for step in path:
        box = document.enter(box, step)
    for name, value in inner.items():
        if name in box and isinstance(box[name], dict) and isinstance(value, dict):
            _merge(box[name], (), value)
        elif name in box and isinstance(box[name], list) and isinstance(value, list):
            box[name].extend(value)
        else:
            box[name] = value
