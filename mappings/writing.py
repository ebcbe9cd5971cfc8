"""From a mapping to Python: one function, generated once, that fills a partner's form from permitted facts.

It also counts what did not have to be typed again. Nothing is guessed: a fact without counterpart in the recipient's
list is a finding and leaves its field empty; a disputed row is never written. `mappings.load(…).write_source` shows it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from mappings import document, python
from mappings.codes import Table
from mappings.grammar import Format, MappingError, MappingFile, Row, Rule, Section, Step, dotted, joined, steps
from mappings.types import TYPES, Bad, Codec, codec, tells_several
from schemas.record import Current, Fact, Finding, Written

Write = Callable[[Current, Mapping[str, Any]], Written]
Lists = dict[str, dict[str, None]]


def lists(current: Mapping[str, Fact]) -> Lists:
    """The items that the facts name: `freins` to its keys, `freins[mobilite].situations` to its own."""
    found: Lists = {}
    # Facts of one item share what ends at its bracket: each item is cut once.
    for item in sorted({path[: path.rindex("]") + 1] for path in current if "]" in path}):
        start = 0
        while start < len(item):
            opened, closed = item.index("[", start), item.index("]", start)
            found.setdefault(item[:opened], {})[item[opened + 1 : closed]] = None
            start = closed + 1
    return found


def keys(current: Iterable[str], opened: str) -> Iterable[str]:
    """The items of one list, for a form without lists inside lists; `opened`: its path and a bracket, `freins[`."""
    start = len(opened)
    found = {path[start : path.index("]", start)]: None for path in current if path.startswith(opened)}
    return sorted(found) if len(found) > 1 else found


# --- what a generated writer calls off its fast path ------------------------------------------------------------------


def _tell(told: list[Finding], bad: Bad, at: str) -> None:
    told.append(Finding(bad.code, at, "quarantine", "", bad.detail))


def _codes(table: Table, value: Any, parent: str, separator: str) -> Any:
    """Codes of a value outside the fast table: several of them, or none. Raises `Bad`."""
    if not isinstance(value, list):
        return table.write(value, parent)
    codes = [table.write(one, parent) for one in value]
    return separator.join(codes) if separator else codes


def _item_code(table: Table, part: str, parent: str, told: list[Finding], at: str) -> str | None:
    """The code that names an item; None when it belongs to another parent, or has no counterpart (told)."""
    if table.elsewhere(part, parent):
        return None
    try:
        return table.write(part, parent)
    except Bad as bad:
        _tell(told, bad, at)
        return None


def _word(value: Any) -> Any:
    """What XML and tables hold of a boolean."""
    return ("true" if value else "false") if isinstance(value, bool) else value


def _merge(box: document.Container, path: tuple[Step, ...], inner: document.Container) -> None:
    """Put the children of a container where a path leads."""
    for step in path:
        box = document.enter(box, step)
    for name, value in inner.items():
        if isinstance(value, dict) and isinstance(box.get(name), dict):
            _merge(box[name], (), value)
        elif isinstance(value, list) and isinstance(box.get(name), list):
            box[name].extend(value)
        else:
            box[name] = value


_CALLED: dict[str, Any] = {
    "Bad": Bad, "Finding": Finding, "Written": Written, "lists": lists, "keys": keys, "tell": _tell, "codes": _codes,
    "item_code": _item_code, "word": _word, "merge": _merge, "enter": document.enter, "element": document.element,
    "serialise": document.serialise,
}  # fmt: skip


# --- the generator ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Box:
    """A container being filled, held by a variable; made with its parent, taken away at the end when still empty."""

    var: str
    closing: list[str]
    """Statements that take away or attach the boxes of one frame, inner ones last."""
    inner: dict[Step, Box] = field(default_factory=dict)
    gets: dict[str, str] = field(default_factory=dict)
    """Facts already looked up in this frame: expression of their path to the variable."""


@dataclass(slots=True)
class Scope:
    """Where rows are written: the frame is one item of a list, or the whole form."""

    frame: Box
    box: Box
    canonical: str
    at: str
    """Body of an f-string: the partner's path, without final slash."""
    parent: str
    """Expression of the code of the enclosing item."""
    shape: str = ""
    """`at` with `[*]` for each item."""


class Generator:
    """Writes the filling function of one mapping. Raises `MappingError` on an impossible row."""

    def __init__(self, file: MappingFile, tables: dict[str, Table], order: Mapping[str, Any]) -> None:
        self.file = file
        self.tables = tables
        self.format: Format = file.partner.format
        self.order = order
        self.out = python.Lines()
        self.nests = _nests(file.section)
        self.times = Counter(_shapes(file.section, ""))
        self.shapes: dict[str, str] = {}
        """Expression of each place to its shape."""

    def writer(self) -> tuple[Write, str]:
        """The function, and its source."""
        say = self.out.say
        with self.out.block("def write(current, ctx):"):
            say("get = current.get; filled = {}; empty = []; told = []")
            words = sorted({word for path in _canonicals(self.file.section) for word in _WORD.findall(path)})
            for word in words:
                say(f"w_{word} = ctx.get({word!r}, '')")
            if self.nests:
                say("items = lists(current)")
            say("d0 = {}")
            root = Box("d0", [])
            self._sections(self.file.section, Scope(root, root, "", "", "''"))
            say(*reversed(root.closing))
            if self.format == "xml":
                order = self.out.hold("O", self.order)
                say(f"d0 = serialise(element({self.file.partner.record!r}, d0, {order}))")
            say("return Written(d0, filled, empty, told)")
        return self.out.compiled("write", self.file.id, _CALLED)

    # --- containers

    def _sections(self, sections: tuple[Section, ...], scope: Scope) -> None:
        for section in sections:
            if section.direction == "read":
                continue
            if section.key:
                self._items(section, scope)
                continue
            box = self._enter(scope.box, steps(section.partner, self.format))
            canonical, at = (
                dotted(scope.canonical, section.canonical),
                joined(scope.at, python.escape(section.partner), "/"),
            )
            self._fill(section, Scope(scope.frame, box, canonical, at, scope.parent, _shape(scope.shape, section)))

    def _fill(self, section: Section, scope: Scope) -> None:
        for row in section.fields:
            if row.writes:
                self._row(row, scope)
        self._sections(section.section, scope)

    def _enter(self, box: Box, path: tuple[Step, ...]) -> Box:
        """The box where a path leads, made where the code stands now."""
        for step in path:
            if step not in box.inner:
                box.inner[step] = self._made(box, step)
            box = box.inner[step]
        return box

    def _made(self, box: Box, step: Step) -> Box:
        made = self.out.name("d")
        if step.many or step.where:
            self.out.say(f"{made} = {{}}")
            box.closing.append(f"if {made}: merge({box.var}, ({self.out.hold('S', step)},), {made})")
        else:
            self.out.say(f"{made} = {box.var}.setdefault({step.name!r}, {{}})")
            box.closing.append(f"if not {made}: {box.var}.pop({step.name!r}, None)")
        return Box(made, box.closing)

    def _items(self, section: Section, scope: Scope) -> None:
        """One sibling for each item of the list that the facts name."""
        say, path = self.out.say, steps(section.partner, self.format)
        name = dotted(scope.canonical, section.canonical.removesuffix("[]"))
        target = self._enter(scope.box, path[:-1])
        key, inside, at, made = (self.out.name(stem) for stem in ("k", "p", "a", "d"))
        with self.out.block(f"for {key} in {self._keys_of(name)}:"):
            partner = python.escape(section.partner.removesuffix("[]"))
            say(f"{inside} = {_path(name + '[{' + key + '}]')}")
            say(f"{at} = {python.at(joined(scope.at, partner + '[{' + key + '}]', '/'))}")
            flat = not path and not section.section and not any(row.writes for row in section.key)
            flat = flat and all(map(self._is_flat, section.fields))
            if flat:  # what one item writes only replaces the same fields of another: no box between them and the form
                made = target.var
            else:
                say(f"{made} = {{}}")
            box = Box(made, [])
            inner = Scope(box, box, f"{{{inside}}}", f"{{{at}}}", scope.parent, _shape(scope.shape, section))
            inner.parent, names = self._keys(section.key, key, inner)
            say(*reversed(box.closing))
            box.closing.clear()
            box.inner.clear()
            kept = None
            if any(row.writes for row in section.fields) or section.section:
                kept = f"len({made}) != {len(names)}"
                if names & _tops(section, self.format):
                    say(f"before = repr({made})")
                    kept = f"repr({made}) != before"
            self._fill(section, inner)
            say(*reversed(box.closing))
            if not flat:
                put = self._put_item(target.var, path, made)
                say(f"if {kept}: {put}" if kept else put)

    def _is_flat(self, row: Row) -> bool:
        """Is what this row writes a field of the form itself?"""
        return all(len(steps(one, self.format)) == 1 for one in (*row.partners, *filter(None, [row.label])))

    def _put_item(self, target: str, path: tuple[Step, ...], made: str) -> str:
        if not path:
            return f"{target}.update({made})"
        step = path[-1]
        if step.where:
            return f"enter({target}, {self.out.hold('S', step)}, new=True).update({made})"
        if step.many:
            return f"{target}.setdefault({step.name!r}, []).append({made})"
        return f"{target}.setdefault({step.name!r}, {{}}).update({made})"

    def _keys(self, rows: tuple[Row, ...], key: str, scope: Scope) -> tuple[str, set[str]]:
        """Write the parts of an item's key: (expression of the first one's code, names written), or leave the item."""
        parts = [key]
        if len(rows) > 1:
            parts = [self.out.name("t") for _ in rows]
            self.out.say(f"cut = {key}.split(':', {len(rows) - 1})", f"if len(cut) < {len(rows)}: continue")
            self.out.say(f"{', '.join(parts)} = cut")
        names: set[str] = set()
        codes = [self._key(row, part, scope, names) for row, part in zip(rows, parts, strict=True)]
        return codes[0], names

    def _key(self, row: Row, part: str, scope: Scope, names: set[str]) -> str:
        say = self.out.say
        if row.constant is not None:
            say(f"if {part} != {str(row.constant)!r}: continue")
            return part
        if row.context is not None:
            say(f"if {part} != str(ctx.get({row.context!r})): continue")
            return part
        if tells_several(row):
            told = f"'{row.partners[0]}' names several items at once: its section is only read (direction = \"read\")"
            raise MappingError("mapping-key", told, self.file.id)
        code, at, made = part, python.at(scope.at), codec(row, self.file.zone).write
        if row.codes is not None:
            table = self._table(row)
            held, code = self.out.hold("Q", table), self.out.name("c")
            say(f"{code} = {self._reverse(table, part, scope)}")
            with self.out.block(f"if {code} is None:"):
                say(f"{code} = item_code({held}, {part}, {scope.parent}, told, {at})")
                say(f"if {code} is None: continue")
        elif made is not str:
            code = self.out.name("c")
            say(f"try: {code} = {self.out.hold('T', made)}({part})")
            say(f"except Bad as b: tell(told, b, {at}); continue")
        if row.writes:
            path = steps(row.partners[0], self.format)
            names.add(path[0].name)
            self._put(scope, path, code)
            if row.label and row.codes is not None:
                label = steps(row.label, self.format)
                names.add(label[0].name)
                self._put(scope, label, f"{held}.label_of({code}, {scope.parent})")
        return code

    # --- rows

    def _row(self, row: Row, scope: Scope) -> None:
        if row.disputed is not None:
            self._left(self._place(scope, row.partners[0]))
        elif row.decision is not None:
            self._decided(row, scope)
        elif row.canonical is None:
            self._given(row, scope)
        else:
            self._fact(row, scope)

    def _decided(self, row: Row, scope: Scope) -> None:
        """The first rule whose facts are all there gives the code; a rule without code stops, and nothing is said."""
        say = self.out.say
        decision = self.file.decision.get(row.decision or "")
        if decision is None:
            raise MappingError("mapping-decision", f"no decision table is named {row.decision!r}", self.file.id)
        path = steps(row.partners[0], self.format)
        self._enter(scope.box, path[:-1])
        times = Counter(name for rule in decision.rules for name in rule.when)
        shared = {name: self._got(scope, name) for name in decision.paths if times[name] > 1}
        word = "if"
        for rule in decision.rules:
            condition, source = self._condition(rule, shared, scope)
            say(f"{word} {condition}: " + (f"t = {rule.code!r}; f = {source}" if rule.code != "" else "t = None"))
            word = "elif"
        say("else: t = None")
        place = self._place(scope, row.partners[0])
        with self.out.block("if t is not None:"):
            self._put(scope, path, "t")
            self._filled(place)
        with self.out.block("else:"):
            self._absent(row, scope, place)

    def _condition(self, rule: Rule, shared: dict[str, str], scope: Scope) -> tuple[str, str]:
        """An expression for « every fact of this rule is there », and the variable of its first fact."""
        tests, source = [], ""
        for name, value in rule.when.items():
            if name in shared:
                fact = shared[name]
                tests.append(f"{fact}v == {value!r}")
            else:
                fact = self.out.name("g")
                tests.append(f"({fact} := get({_path(dotted(scope.canonical, name))})) is not None")
                tests.append(f"{fact}.value == {value!r}")
            source = source or fact
        return " and ".join(tests), source

    def _got(self, scope: Scope, name: str) -> str:
        """The variable that holds a fact, looked up once in its frame; its value stands in one more, named with a v."""
        path = _path(dotted(scope.canonical, name))
        if path not in scope.frame.gets:
            scope.frame.gets[path] = self.out.name("g")
            name = scope.frame.gets[path]
            self.out.say(f"{name} = get({path})", f"{name}v = None if {name} is None else {name}.value")
        return scope.frame.gets[path]

    def _given(self, row: Row, scope: Scope) -> None:
        """A constant of the form, or what the connector knows (date of the document, id of the structure)."""
        say, path = self.out.say, steps(row.partners[0], self.format)
        made = codec(row, self.file.zone) if row.codes is None else None
        place = self._place(scope, row.partners[0])
        self._enter(scope.box, path[:-1])
        if row.context is None:
            if row.constant is not None:
                self._put(scope, path, self.out.hold("V", self._native(row.constant, made)))
            elif row.required:
                say(f"told.append(Finding('missing-required', {place}, 'quarantine'))")
            return
        default = "" if row.default is None else f", {row.default!r}"
        with self.out.block(f"if (v := ctx.get({row.context!r}{default})) is not None:"):
            plain = "v" if self.format == "json" else "word(v)"
            if made is None or (made.write is str and made.native == "text"):
                self._put(scope, path, plain)
            else:
                say(f"try: v = {self._one('v', row, made)} if v.__class__ is str else {plain}")
                say(f"except Bad as b: tell(told, b, {place})")
                with self.out.block("else:"):
                    self._put(scope, path, "v")
        if row.required:
            say(f"else: told.append(Finding('missing-required', {place}, 'quarantine'))")

    def _fact(self, row: Row, scope: Scope) -> None:
        say = self.out.say
        paths = [steps(one, self.format) for one in row.partners]
        places = [self._place(scope, one) for one in row.partners]
        for path in paths:
            self._enter(scope.box, path[:-1])
        found = self._found(row, scope)
        with self.out.block(f"if {found}:"):
            self._absent(row, scope, places[0])
        with self.out.block("else:"):
            fails = self._text(row, scope)
            if fails:
                say(f"except Bad as b: tell(told, b, {places[0]}); {self._left_words(places[0])}")
            with self.out.block("else:") if fails else nullcontext():
                if row.label and row.codes is not None:
                    label = f"{self.out.hold('Q', self._table(row))}.label_of(str(t), {scope.parent})"
                    self._put(scope, steps(row.label, self.format), label)
                self._store(row, paths, places, scope)

    def _found(self, row: Row, scope: Scope) -> str:
        """Look a fact up into `f` and its value into `v`: the expression that tells when it is absent."""
        target = dotted(scope.canonical, row.canonical or "")
        if "[]" not in target:
            return f"(f := get({_path(target)})) is None"
        # The item of this rank in a self-named list, or all its items.
        name, _, rest = target.partition("[]")
        item = self.out.name("k")
        one = _path(name + "[{" + item + "}]" + rest)
        if target not in scope.frame.gets:
            scope.frame.gets[target] = self.out.name("l")
            self.out.say(f"{scope.frame.gets[target]} = [g for {item} in {self._keys_of(name)} "
                         f"if (g := get({one})) is not None]")  # fmt: skip
        facts = scope.frame.gets[target]
        rank = 1 if _takes_all(row) else row.rank
        return f"(f := {facts}[{rank - 1}] if len({facts}) >= {rank} else None) is None"

    def _text(self, row: Row, scope: Scope) -> bool:
        """Put what the partner's document will hold into `t`; whether the code stands in a `try`."""
        say, made = self.out.say, codec(row, self.file.zone)
        target = dotted(scope.canonical, row.canonical or "")
        every = "[]" in target and _takes_all(row)
        say(f"v = [one.value for one in {scope.frame.gets[target]}]" if every else "v = f.value")
        many = row.partners[0].endswith("[]")
        if row.codes is not None:
            table = self._table(row)
            separator = "" if many else row.separator or ","
            slow = f"codes({self.out.hold('Q', table)}, v, {scope.parent}, {separator!r})"
            say(f"t = None if v.__class__ is list else {self._reverse(table, 'v', scope)}")
            with self.out.block("try:"):
                say(f"if t is None: t = {slow}")
            return True
        if many and TYPES[row.type].inputs == "one":
            value = self._one("one", row, made)
            text = f"[{value} for one in v] if v.__class__ is list else {self._one('v', row, made)}"
        else:
            text = self._one("v", row, made)
        never = made.write is str or (self.format == "json" and made.native in ("integer", "boolean"))
        say(f"t = {text}" if never else f"try: t = {text}")
        return not never

    def _one(self, value: str, row: Row, made: Codec) -> str:
        """An expression for one value as the partner's document holds it: in JSON, numbers and booleans as such."""
        if self.format == "json" and made.native == "integer":
            return f"({value} if {value}.__class__ is int else int({value}))"
        if self.format == "json" and made.native == "boolean":
            return f"bool({value})"
        if made.write is str:
            return f"({value} if {value}.__class__ is str else str({value}))"
        write, inline = self.out.hold("T", made.write), TYPES[row.type].inline_write
        text = "(" + inline.format(v=value, write=write) + ")" if inline else f"{write}({value})"
        return f"float({text})" if self.format == "json" and made.native == "decimal" else text

    def _store(self, row: Row, paths: list[tuple[Step, ...]], places: list[str], scope: Scope) -> None:
        """Put each text in its place; a blank one says nothing."""
        say = self.out.say
        texts = ["t"]
        if len(paths) > 1:
            texts = [f"t{position}" for position in range(len(paths))]
            say(f"{', '.join(texts)} = t")
        elif TYPES[row.type].inputs != "one" and row.codes is None:
            say("if t.__class__ is tuple: t, = t")
        native = self.format == "json" and row.codes is None and codec(row, self.file.zone).native != "text"
        for path, place, text in zip(paths, places, texts, strict=True):
            with nullcontext() if native else self.out.block(f"if {text}:"):
                if path[-1].many:
                    with self.out.block(f"for one in {text} if {text}.__class__ is list else ({text},):"):
                        self._put(scope, path, "one")
                else:
                    self._put(scope, path, text)
                self._filled(place)

    def _absent(self, row: Row, scope: Scope, place: str) -> None:
        path = steps(row.partners[0], self.format)
        if row.default is not None:
            self._put(scope, path, repr(row.default))
            return
        if row.required:
            self.out.say(f"told.append(Finding('missing-required', {place}, 'quarantine'))")
        elif self.file.empty != "omit":
            self._put(scope, path, "None" if self.file.empty == "null" else "''")
        self._left(place)

    # --- words of the generated code

    def _put(self, scope: Scope, path: tuple[Step, ...], value: str) -> None:
        """Set a leaf; its box was entered before, where the code always passes."""
        box, last = self._enter(scope.box, path[:-1]), path[-1]
        if last.many:
            self.out.say(f"{box.var}.setdefault({last.name!r}, []).append({value})")
        else:
            self.out.say(f"{box.var}[{last.name!r}] = {value}")

    def _place(self, scope: Scope, partner: str) -> str:
        """Expression of the partner's path, for the meter and the findings."""
        place = python.at(joined(scope.at, python.escape(partner), "/"))
        self.shapes[place] = joined(scope.shape, partner, "/")
        return place

    def _alone(self, place: str) -> bool:
        """Whether no other row tells of the same place: nothing to look up then."""
        return self.times[self.shapes[place]] < 2

    def _filled(self, place: str) -> None:
        self.out.say(f"filled[{place}] = f")
        if not self._alone(place):
            self.out.say(f"if {place} in empty: empty.remove({place})")

    def _left(self, place: str) -> None:
        self.out.say(self._left_words(place))

    def _left_words(self, place: str) -> str:
        added = f"empty.append({place})"
        return added if self._alone(place) else f"{place} in filled or {place} in empty or {added}"

    def _keys_of(self, name: str) -> str:
        """An expression for the keys of the items of a list that the facts name."""
        return f"items.get({_path(name)}, ())" if self.nests else f"keys(current, {_path(name + '[')})"

    def _table(self, row: Row) -> Table:
        if row.codes is None or row.codes not in self.tables:
            raise MappingError("mapping-codes", f"no table is named {row.codes!r}", self.file.id)
        return self.tables[row.codes]

    def _reverse(self, table: Table, value: str, scope: Scope) -> str:
        """An expression for the partner's code of a canonical value, None when there is none."""
        if table.has_parent:
            return f"{self.out.hold('R', table.reverse)}.get(({scope.parent}, {value}))"
        return f"{self.out.hold('R', {key: code for (_, key), code in table.reverse.items()})}.get({value})"

    def _native(self, value: Any, made: Codec | None) -> Any:
        """A constant as the document holds it: in JSON, numbers and booleans as such. Text elsewhere."""
        if self.format != "json":
            return _word(value)
        if made is None or not isinstance(value, str) or made.native == "text":
            return value
        return {"integer": int, "decimal": float}.get(made.native, lambda text: text == "true")(value)


_WORD = re.compile(r"\{([a-z_]+)\}")


def _path(target: str) -> str:
    """An expression for a canonical path, the words of the context being variables."""
    return python.path(target, "w_%s")


def _takes_all(row: Row) -> bool:
    """Whether one row writes every item of a self-named list, rather than the one of its rank."""
    return row.type in ("phones", "words") or row.partners[0].endswith("[]")


def _canonicals(sections: tuple[Section, ...]) -> Iterator[str]:
    for section in sections:
        yield section.canonical
        yield from (row.canonical for row in section.fields if row.canonical)
        yield from _canonicals(section.section)


def _nests(sections: tuple[Section, ...], outer: str = "") -> bool:
    """Whether a form writes items of lists that are inside items of lists."""
    for section in sections:
        inside = dotted(outer, section.canonical)
        for path in (inside, *(dotted(inside, row.canonical) for row in section.fields if row.canonical)):
            if ("[" in path.partition("[]")[0] and "[]" in path) or path.count("[]") > 1:
                return True
        if _nests(section.section, inside):
            return True
    return False


def _shape(at: str, section: Section) -> str:
    """The partner's path of a section, every item alike: rows of one shape may tell of one place."""
    return joined(at, section.partner.removesuffix("[]") + "[*]" if section.key else section.partner, "/")


def _shapes(sections: tuple[Section, ...], at: str) -> Iterator[str]:
    """The shape of every place that rows tell of."""
    for section in sections:
        if section.direction != "read":
            inside = _shape(at, section)
            for row in section.fields:
                yield from (joined(inside, one, "/") for one in row.partners if row.writes)
            yield from _shapes(section.section, inside)


def _tops(section: Section, format_: Format) -> set[str]:
    """Names at the top of an item that its rows and inner sections write."""
    found = {steps(one, format_)[0].name for row in section.fields if row.writes for one in row.partners}
    for inner in section.section:
        found |= {steps(inner.partner, format_)[0].name} if inner.partner else _tops(inner, format_)
    return found
