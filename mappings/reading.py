"""From a tree to Python: one function per mapping, generated once, that reads one record.

The generated source is what an engineer would write by hand for this document: containers are opened once, children
are found by name, each row is a few lines. `source(mapping)` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mappings import document
from mappings.codes import Table
from mappings.grammar import Format, MappingError, MappingFile, Row, Severity, Step
from mappings.shape import Shape, too_long
from mappings.tree import SELF_KEYED, Leaf, Node, Tree, View
from mappings.types import TYPES, Bad, codec
from schemas.record import NON_PARTAGE, Facts, Finding, PersonFacts

Reader = Callable[[Any, dict[str, Any], list[Finding]], tuple[list[PersonFacts], Facts, str, str | None]]


# --- what the generated code calls off its fast path ----------------------------------------------------------------


def bad(findings: list[Finding], error: Bad, at: str, raw: Any, structural: bool, invalid: Severity) -> None:
    """Tell what a type could not read. Only a code is kept verbatim (`raw`), so that it can be replayed."""
    keep = error.code in ("unknown-code", "label-disagrees", "disputed-code") and isinstance(raw, str)
    severity: Severity = invalid if structural and not keep else "quarantine"
    findings.append(Finding(error.code, at, severity, raw if keep else "", error.detail))


def read_code(
    table: Table, text: Any, parent: str, label: str | None, findings: list[Finding], at: str, checked: bool
) -> Any:
    """A code outside the plain part of its table: unknown, disputed, padded, sensitive, or with a label to compare."""
    try:
        value = table.read(text, parent, label if checked else None)
    except Bad as error:
        findings.append(Finding(error.code, at, "quarantine", text, error.detail))
        return None
    if value == NON_PARTAGE:
        findings.append(Finding("withheld-code", at, "notice", "", table.name))
    return value


def put(facts: Facts, path: str, value: Any, findings: list[Finding], at: str) -> None:
    """Set a fact that another part of the record may have told already; two different values are told, not chosen."""
    if path in facts and facts[path] != value:
        findings.append(Finding("contradiction", at, "quarantine"))
        return
    facts[path] = value


def key_text(value: Any, findings: list[Finding], at: str) -> str | None:
    """The text of a key part; None (and a finding) when the item cannot be named."""
    text = value if isinstance(value, str) else None if value is None else str(value)
    if text and not ("[" in text or "]" in text):
        return text
    if text:
        findings.append(Finding("bad-key", at, "quarantine"))
    return None


def each(read: Callable[[str], Any], found: list[str | None]) -> list[Any] | None:
    return [value for text in found if text and (value := read(text)) is not None] or None


# --- the generator --------------------------------------------------------------------------------------------------


class Generator:
    """Writes the reading function of one mapping."""

    def __init__(self, file: MappingFile, tree: Tree, tables: dict[str, Table], shapes: dict[tuple[str, ...], Shape]):
        self.file = file
        self.tree = tree
        self.tables = tables
        self.shapes = shapes
        self.format: Format = file.partner.format
        self.xml = self.format == "xml"
        self.lines: list[str] = []
        self.depth = 0
        self.count = 0
        self.names: dict[str, Any] = {
            "Bad": Bad, "Finding": Finding, "PersonFacts": PersonFacts, "bad": bad, "read_code": read_code,
            "put": put, "key_text": key_text, "each": each, "group": document.group, "items": document.items,
            "group_text": document.group_text, "scalar": document.scalar, "texts": document.texts,
            "deep": document.leaf, "too_long": too_long, "chosen": document.chosen, "FORMAT": self.format, "INVALID": file.invalid,
        }  # fmt: skip

    def reader(self) -> tuple[Reader, str]:
        source = self.source()
        namespace = dict(self.names)
        exec(compile(source, f"<mapping {self.file.id}>", "exec"), namespace)  # noqa: S102 - our own files, no input
        return namespace["read"], source

    def source(self) -> str:
        self._say("def read(e0, ctx, out):")
        with self._in():
            self._say("persons = []; h = {}; p = a = {}; asserted = None")
            for position in range(len(self.file.record.key)):
                self._say(f"record{position} = None")
            self._node(self.tree.root, "e0", "")
            if self.tree.person is None:
                self._say(f"persons.append(PersonFacts(p, {self._person_key()}))")
            else:
                self._say("if a:")
                with self._in():
                    self._say("for one in persons: one.facts.update(a)")
            parts = ", ".join(f"record{position}" for position in range(len(self.file.record.key)))
            self._say(
                f"key = ':'.join([str(part) for part in ({parts},) if part is not None])" if parts else "key = ''"
            )
            self._say("return persons, h, key, asserted")
        return "\n".join(self.lines) + "\n"

    # lines

    def _say(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    @contextmanager
    def _in(self) -> Iterator[None]:
        self.depth += 1
        yield
        self.depth -= 1

    def _name(self, stem: str, value: Any = None) -> str:
        self.count += 1
        name = f"{stem}{self.count}"
        if value is not None:
            self.names[name] = value
        return name

    # containers

    def _node(self, node: Node, source: str, at: str, view: View | None = None) -> None:
        opened = self._open(node, source, at) if self._reads_children(node) else source
        if view is not None and view.step.where:
            self._condition(view.step, opened, source, at, not node.views)
        variables = [leaf for leaf in node.leaves if leaf.sink == "variable"]
        for leaf in variables:
            self._leaf(leaf, node, opened, source, at)
        if view is not None and view.key:
            self._key(view.key, at)
        for leaf in node.leaves:
            if leaf.sink != "variable":
                self._leaf(leaf, node, opened, source, at)
        gated = node is self.tree.person and self._gate() is not None
        for child in sorted(node.views, key=lambda one: not (gated and one.node.has_gate)):
            self._view(child, node, opened, source, at)
            if gated and child.node.has_gate:
                self._gated(at)
                gated = False
        if gated:
            self._gated(at)

    def _reads_children(self, node: Node) -> bool:
        return bool(node.views) or any(leaf.inputs for leaf in node.leaves)

    def _open(self, node: Node, source: str, at: str) -> str:
        """Open a container: a dict of its children, or of their texts when no child is a container."""
        opened, names = self._name("d"), self._name("s")
        shape = self.shapes[node.path]
        if self.xml:
            text = not node.views and not any(len(path) > 1 for leaf in node.leaves for path in leaf.inputs)
            repeated = self._name("REP", frozenset(self._repeated(node)))
            self._say(f"{opened} = {{c.tag: c{'.text' if text else ''} for c in {source}}}")
            self._say(f"if len({opened}) == len({source}): {names} = tuple({opened})")
            self._say(f"else: {names}, {opened} = group{'_text' if text else ''}({source}, {repeated})")
        else:
            self._say(f"{opened} = {source} if {source}.__class__ is dict else {{}}")
            self._say(f"if {source}.__class__ is not dict: out.append(Finding('bad-type', {_f(at)}, INVALID))")
            self._say(f"{names} = tuple({opened})")
        valid, check = self._name("V", shape.valid), self._name("S", shape.check)
        self._say(f"if {names} not in {valid}: {check}({names}, {_f(at)}, out)")
        return opened

    @staticmethod
    def _repeated(node: Node) -> set[str]:
        """Names that may repeat: entered one by one, chosen by a condition, or leaves read as a list."""
        found = {view.step.name for view in node.views if view.step.many or view.step.where}
        return found | {p[-1].name for leaf in node.leaves for p in leaf.inputs if len(p) == 1 and p[-1].many}

    def _view(self, view: View, node: Node, opened: str, source: str, at: str) -> None:
        name = view.step.name
        if not name:
            # A key without a repeated element: the container itself is the one item.
            self._say("for _ in (0,):")
            with self._in():
                self._node(view.node, source, at, view)
            return
        child = self._name("e")
        if not (view.step.many or view.step.where):
            self._say(f"{child} = {opened}.get({name!r})")
            self._say(f"if {child} is not None:")
            with self._in():
                if view.key:
                    self._say("for _ in (0,):")
                    with self._in():
                        self._node(view.node, child, f"{at}{_escape(name)}/", view)
                else:
                    self._node(view.node, child, f"{at}{_escape(name)}/", view)
            return
        rank = self._name("i")
        if view.step.where:
            self._say(f"met_{child} = False")
        view_at = f"{at}{_escape(name)}[{{{rank}}}]/"
        self._say(f"for {rank}, {child} in enumerate(items({opened}.get({name!r})), 1):")
        with self._in():
            if view.person:
                self._say("p = {}")
                for position in range(len(self._person_rows())):
                    self._say(f"person{position} = None")
                if self._gate() is not None:
                    self._say("only = None")
            self._node(view.node, child, view_at, view)
            if view.person:
                self._say(f"persons.append(PersonFacts(p, {self._person_key()}))")

    def _condition(self, step: Step, opened: str, source: str, at: str, text: bool) -> None:
        """Keep only the sibling that fulfils the condition; a second one is told, never chosen."""
        if len(step.where) == 1:
            found = f"{opened}.get({step.where[0]!r})"
            found = f"{found}" if text or not self.xml else f"({found}.text if {found} is not None else None)"
        else:
            path = self._name("P", tuple(Step(name) for name in step.where))
            found = f"deep({source}, {path}, FORMAT)"
        flag = f"met_{source}"
        wanted = self._name("EQ", frozenset(step.equals))
        self._say(f"if str({found} or '').strip() not in {wanted}: continue")
        self._say(f"if {flag}:")
        with self._in():
            self._say(f"out.append(Finding('repeated-element', {_f(at)}, 'quarantine')); continue")
        self._say(f"{flag} = True")

    # persons

    def _gate(self) -> Row | None:
        return self.file.record.personne.only if self.file.record.personne else None

    def _person_rows(self) -> tuple[Row, ...]:
        return self.file.record.personne.key if self.file.record.personne else ()

    def _person_key(self) -> str:
        rows = self._person_rows()
        if not rows:
            return "''"
        name = self._name("KEY", _person_key)
        return f"{name}({', '.join(f'person{position}' for position in range(len(rows)))})"

    def _gated(self, at: str) -> None:
        words = self.file.record.personne
        assert words is not None
        kept = self._name("ONLY", frozenset(words.values))
        self._say(f"if only not in {kept}:")
        with self._in():
            self._say(f"out.append(Finding('household-only', {_f(at)}, 'notice', '', {words.reason!r})); continue")

    # rows

    def _key(self, key: str, at: str) -> None:
        rows = self.tree.keys[key]
        parts = []
        for position, row in enumerate(rows):
            name = f"{key}_{position}"
            if row.constant is not None:
                self._say(f"{name} = {str(row.constant)!r}")
            elif row.context is not None:
                self._say(f"{name} = ctx[{row.context!r}]")
            else:
                self._say(f"{name} = key_text({name}, out, {_f(at)})")
                self._say(f"if {name} is None: continue")
            parts.append(f"{{{name}}}")
        self._say(f"{key} = f{':'.join(parts)!r}")

    def _leaf(self, leaf: Leaf, node: Node, opened: str, source: str, at: str) -> None:
        row = leaf.row
        if row.constant is not None and not leaf.inputs:
            if leaf.sink != "variable":
                self._store(leaf, repr(row.constant), at)
            return
        if row.context is not None and not leaf.inputs:
            if leaf.sink != "variable":
                self._say(f"v = ctx.get({row.context!r})")
                self._say("if v is not None:")
                with self._in():
                    self._store(leaf, "v", at)
            return
        if leaf.sink == "variable":
            self._say(f"{leaf.target} = None")
        if len(leaf.inputs) > 1:
            self._several(leaf, node, opened, source, at)
        elif leaf.inputs[0][-1].many:
            self._list(leaf, opened, at)
        else:
            self._one(leaf, node, opened, source, at)

    def _fetch(self, path: tuple[Step, ...], node: Node, opened: str, source: str, at: str, into: str) -> None:
        if len(path) == 1:
            name = path[0].name
            self._say(f"{into} = {opened}.get({name!r})")
            if self.xml and self._holds_elements(node):
                self._say(f"if {into} is not None: {into} = {into}.text")
            elif self.format == "json":
                self._say(f"if {into} is not None and {into}.__class__ is not str:")
                with self._in():
                    self._say(f"try: {into} = scalar({into})")
                    self._say("except Bad as b:")
                    with self._in():
                        self._say(f"bad(out, b, {_f(at + _escape(name))}, None, True, INVALID); {into} = None")
            return
        self._say(f"{into} = deep({source}, {self._name('P', path)}, FORMAT)")

    def _holds_elements(self, node: Node) -> bool:
        return bool(node.views) or any(len(path) > 1 for leaf in node.leaves for path in leaf.inputs)

    def _one(self, leaf: Leaf, node: Node, opened: str, source: str, at: str) -> None:
        row, path = leaf.row, leaf.inputs[0]
        where = at + _escape("/".join(str(step) for step in path))
        self._fetch(path, node, opened, source, at, "x")
        if leaf.sink == "variable" and leaf.target.startswith("k") and leaf.target.endswith("_0"):
            self._say(f"r{leaf.target[1:]} = (x or '').strip()")
        self._say("if x:")
        with self._in():
            self._length(node, path, "x", where)
            if row.type in ("code", "code_list"):
                self._code(leaf, node, opened, source, where, at)
                self._guarded(leaf, where)
            else:
                self._parsed(leaf, "(x)", where)
        if row.required:
            self._say("else:")
            with self._in():
                self._say(f"out.append(Finding('missing-required', {_f(where)}, 'quarantine'))")

    def _length(self, node: Node, path: tuple[Step, ...], text: str, where: str) -> None:
        """Compare the text with the length that the schema gives."""
        child = self.shapes[node.path].children.get(path[0].name) if len(path) == 1 else None
        if child is None or child.length is None:
            return
        held = self._name("L", child)
        test = f"{text} and len({text}) > {child.length} and too_long({text}, {held})"
        self._say(f"if {test.removeprefix('x and ')}: out.append(Finding('too-long', {_f(where)}, INVALID))")

    def _parsed(self, leaf: Leaf, arguments: str, where: str) -> None:
        made = codec(leaf.row, self.file.zone)
        name = self._name("T", made.read)
        structural = TYPES[leaf.row.type].structural
        self._say(f"try: v = {name}{arguments}")
        self._say("except Bad as b:")
        with self._in():
            self._say(f"bad(out, b, {_f(where)}, None, {structural}, INVALID)")
        self._say("else:")
        with self._in():
            self._guarded(leaf, where)

    def _guarded(self, leaf: Leaf, where: str) -> None:
        self._say("if v is not None:")
        with self._in():
            self._store(leaf, "v", where)

    def _code(self, leaf: Leaf, node: Node, opened: str, source: str, where: str, at: str) -> None:
        table = self._table(leaf.row)
        held = self._name("Q", table)
        parent = leaf.parent if table.has_parent and leaf.parent else "''"
        label = "None"
        if leaf.label:
            self._fetch(leaf.label, node, opened, source, at, "w")
            label = "w"
        slow = f"read_code({held}, x, {parent}, {label}, out, {_f(where)}, {bool(leaf.label)})"
        if leaf.row.type == "code_list":
            separator = leaf.row.separator or ","
            self._say(f"parts = x.split({separator!r})")
            self._say(f"v = [c for x in parts if (c := {slow}) is not None] or None")
        elif leaf.label or table.has_parent:
            self._say(f"v = {slow}")
        else:
            plain = self._name("C", table.plain)
            self._say(f"v = {plain}.get(x)")
            self._say(f"if v is None: v = {slow}")

    def _table(self, row: Row) -> Table:
        if row.codes is None or row.codes not in self.tables:
            raise MappingError("mapping-codes", f"no table is named {row.codes!r}", self.file.id)
        return self.tables[row.codes]

    def _several(self, leaf: Leaf, node: Node, opened: str, source: str, at: str) -> None:
        names = [f"x{position}" for position in range(len(leaf.inputs))]
        for name, path in zip(names, leaf.inputs, strict=True):
            self._fetch(path, node, opened, source, at, name)
        where = at + _escape("/".join(str(step) for step in leaf.inputs[0]))
        self._say(f"if {' or '.join(names)}:")
        with self._in():
            for name, path in zip(names, leaf.inputs, strict=True):
                self._length(node, path, name, at + _escape(path[0].name))
            self._parsed(leaf, f"({', '.join(names)})", where)
        if leaf.row.required:
            self._say(f"else: out.append(Finding('missing-required', {_f(where)}, 'quarantine'))")

    def _list(self, leaf: Leaf, opened: str, at: str) -> None:
        """A repeated leaf: the list of what each one says."""
        name = leaf.inputs[0][-1].name
        where = at + _escape(name) + "[]"
        self._say(f"x = texts({opened}.get({name!r}), FORMAT)")
        self._say("if x:")
        with self._in():
            if leaf.row.type == "code":
                held = self._name("Q", self._table(leaf.row))
                parent = leaf.parent or "''"
                self._say(f"v = each(lambda t: read_code({held}, t, {parent}, None, out, {_f(where)}, False), x)")
                self._guarded(leaf, where)
                return
            made = self._name("T", codec(leaf.row, self.file.zone).read)
            self._parsed_list(leaf, made, where)

    def _parsed_list(self, leaf: Leaf, made: str, where: str) -> None:
        structural = TYPES[leaf.row.type].structural
        self._say(f"try: v = each({made}, x)")
        self._say(f"except Bad as b: bad(out, b, {_f(where)}, None, {structural}, INVALID)")
        self._say("else:")
        with self._in():
            self._guarded(leaf, where)

    def _store(self, leaf: Leaf, value: str, where: str) -> None:
        if leaf.sink == "variable":
            self._say(f"{leaf.target} = {value}")
            return
        facts = {"person": "p", "foyer": "h", "everyone": "a"}[leaf.sink]
        target = leaf.target
        if SELF_KEYED in target:
            self._say(f"for w in ({value} if {value}.__class__ is list else ({value},)):")
            with self._in():
                self._say(f"{facts}[{_path(target.replace(SELF_KEYED, '[{w}]', 1))}] = w")
            return
        if leaf.checked:
            self._say(f"put({facts}, {_path(target)}, {value}, out, {_f(where)})")
        else:
            self._say(f"{facts}[{_path(target)}] = {value}")


def _person_key(*parts: Any) -> str:
    """A name for a person inside her record that says nothing of her: a digest of what does not change."""
    from hashlib import blake2b

    text = "\x1f".join("" if part is None else str(part).strip().upper() for part in parts)
    return blake2b(text.encode(), digest_size=8).hexdigest() if text.strip("\x1f") else ""


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _f(at: str) -> str:
    """An expression for a partner path: its final slash cut, its ranks filled."""
    at = at.removesuffix("/")
    return f"f{at!r}" if "{" in at or "}" in at else repr(at)


def _path(target: str) -> str:
    """An expression for a canonical path: `{k3}` is a variable, any other `{word}` comes from the context."""
    if "{" not in target:
        return repr(target)
    pieces = []
    for piece in target.replace("}", "{").split("{"):
        pieces.append(piece)
    text = ""
    for position, piece in enumerate(pieces):
        if position % 2 == 0:
            text += _escape(piece)
        elif piece == "w" or (piece[0] == "k" and piece[1:].isdigit()):
            text += "{" + piece + "}"
        else:
            text += "{ctx[" + repr(piece).replace("'", '"') + "]}"
    return f"f{text!r}"
