"""From a tree to Python: one function per mapping, generated once, that reads one record.

The generated source is what an engineer would write by hand for this document: each container is opened once, its
children are found by name, each row is a few lines. `mappings.load(…).source` shows it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from mappings import document, python, runtime
from mappings.codes import Table
from mappings.grammar import Format, MappingError, MappingFile, Row, Step
from mappings.shape import Child, Shape
from mappings.tree import SELF_KEYED, Leaf, Node, Tree, View
from mappings.types import TYPES, Bad, codec, tells_several
from schemas import paths
from schemas.record import Facts, Finding, PersonFacts

Reader = Callable[[Any, dict[str, Any], list[Finding]], tuple[list[PersonFacts], Facts, str, str | None]]

_CALLED: dict[str, Any] = {
    "Bad": Bad, "Finding": Finding, "PersonFacts": PersonFacts, "bad": runtime.bad, "read_code": runtime.read_code,
    "contradiction": runtime.contradiction, "answer": runtime.answer, "key_text": runtime.key_text,
    "unnamed": runtime.unnamed, "left_aside": runtime.left_aside, "each": runtime.each,
    "person_key": runtime.person_key,
    "siblings": document.siblings, "items": document.items,
    "first": document.first, "scalar": document.scalar, "word": document.word, "texts": document.texts,
    "deep": document.leaf,
}  # fmt: skip
_FREE = frozenset({"text", "name", "identifier"})
"""Types that take any text, so that what is none must be told before."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Names of the variables that hold an opened container."""

    node: Node
    source: str
    children: str
    """Dict of its children by name."""
    names: str
    """Tuple of their names, in order."""
    ordered: str
    """List of them, in order; empty when no name repeats here."""
    texts: bool
    """Whether the dict holds texts rather than containers."""
    at: str
    """Body of an f-string: the partner's path, with its final slash."""


class Generator:
    """Writes the reading function of one mapping. Raises `MappingError` ``mapping-type``, ``mapping-codes``."""

    def __init__(
        self, file: MappingFile, tree: Tree, tables: dict[str, Table], shapes: dict[tuple[str, ...], Shape]
    ) -> None:
        self.file = file
        self.tree = tree
        self.tables = tables
        self.shapes = shapes
        self.format: Format = file.partner.format
        self.xml = self.format == "xml"
        self.out = python.Lines()
        words = file.record.personne
        self.person_rows = words.key if words else ()
        self.only = words.only if words else None

    def reader(self) -> tuple[Reader, str]:
        """The function, and its source."""
        self._function()
        called = _CALLED | {"FORMAT": self.format, "INVALID": self.file.invalid}
        return self.out.compiled("read", self.file.id, called)

    def _function(self) -> None:
        say = self.out.say
        keys = [f"record{position}" for position in range(len(self.file.record.key))]
        with self.out.block("def read(e0, ctx, out):"):
            say("persons = []; h = {}; p = a = {}; asserted = None")
            if keys:
                say(f"{' = '.join(keys)} = None")
            self._container(self.tree.root, "e0", "", None)
            if self.tree.person is None:
                say("persons.append(PersonFacts(p, ''))")
            else:
                with self.out.block("if a:"):
                    say("for one in persons: one.facts.update(a)")
            joined = f"':'.join([str(part) for part in ({', '.join(keys)},) if part is not None])"
            say(f"return persons, h, {joined if keys else repr('')}, asserted")

    # --- containers

    def _container(self, node: Node, source: str, at: str, view: View | None) -> None:
        """Open a container; read its rows, those that name the item first; then enter its children."""
        # A view without a name stands on the container that encloses it, whose children were compared already.
        box = self._open(node, source, at, compared=view is not None and not view.step.name)
        if view is not None and view.step.where:
            self._condition(view, box)
        groups = self._groups(node.leaves)
        for group in groups:
            if any(leaf.sink == "variable" for leaf in group):
                self._group(group, box, first=True)
        named = self._named(view.key, at, alone=not view.step.name) if view is not None and view.key else nullcontext()
        with named:
            self._inside(node, groups, box, at)

    def _inside(self, node: Node, groups: list[list[Leaf]], box: Opened, at: str) -> None:
        """The rows and the children of an opened container."""
        for group in groups:
            self._group(group, box, first=False)
        children = sorted(node.views, key=lambda one: not one.node.has_gate)
        gated = node is self.tree.person and self.only is not None
        for position, child in enumerate(children):
            if gated and not child.node.has_gate and (position == 0 or children[position - 1].node.has_gate):
                self._choice(at)
            self._child(child, box)
        if gated and (not children or children[-1].node.has_gate):
            self._choice(at)

    def _open(self, node: Node, source: str, at: str, *, compared: bool) -> Opened:
        if not node.views and not any(leaf.inputs for leaf in node.leaves):
            return Opened(node, source, "{}", "()", "", True, at)
        say, opened, names = self.out.say, self.out.name("d"), self.out.name("s")
        shape = self.shapes[node.path]
        repeated, texts, ordered = self._repeats(node), not _holds_containers(node), ""
        if not self.xml:
            with self.out.block(f"if {source}.__class__ is not dict:"):
                say(f"if {source} is not None: out.append(Finding('bad-type', {python.at(at)}, INVALID))")
                say(f"{source} = {{}}")
            say(f"{opened} = {source}", f"{names} = tuple({opened})")
        elif repeated:
            ordered, texts = self.out.name("l"), False
            say(f"{ordered} = list({source}); {names} = tuple([c.tag for c in {ordered}])")
            say(f"{opened} = dict(zip({names}, {ordered}))")
        else:
            say(f"{opened} = {{c.tag: c{'.text' if texts else ''} for c in {source}}}")
            say(f"{names} = tuple({opened}) if len({opened}) == len({source}) else tuple([c.tag for c in {source}])")
        if not compared:
            valid, check = self.out.hold("V", shape.valid), self.out.hold("S", shape.check)
            say(f"if {names} not in {valid}: {check}({names}, {python.at(at)}, out)")
        return Opened(node, source, opened, names, ordered, texts, at)

    @staticmethod
    def _repeats(node: Node) -> bool:
        """Whether a name may repeat here: entered one by one, chosen by a condition, or a leaf read as a list."""
        if any(view.step.many or view.step.where for view in node.views):
            return True
        return any(path[-1].many for leaf in node.leaves for path in leaf.inputs if len(path) == 1)

    def _siblings(self, box: Opened, name: str) -> str:
        """An expression for the children that bear a name."""
        if self.xml:
            return f"siblings({name!r}, {box.names}, {box.ordered}, {box.children})"
        return f"items({box.children}.get({name!r}))"

    def _child(self, view: View, box: Opened) -> None:
        name, say = view.step.name, self.out.say
        if not name:
            with self.out.block("for _ in (0,):"):
                self._container(view.node, box.source, box.at, view)
            return
        child, at = self.out.name("e"), f"{box.at}{python.escape(name)}"
        if view.step.many or view.step.where:
            self._each(view, box, child, at)
            return
        say(f"{child} = {box.children}.get({name!r})")
        with self.out.block(f"if {child} is not None:"):
            if view.key:
                with self.out.block("for _ in (0,):"):
                    self._container(view.node, child, f"{at}/", view)
            else:
                self._container(view.node, child, f"{at}/", view)
        if view.required:
            say(f"else: {_missing(at)}")

    def _each(self, view: View, box: Opened, child: str, at: str) -> None:
        say, rank = self.out.say, self.out.name("i")
        if view.step.where or view.required:
            say(f"met_{child} = False")
        with self.out.block(f"for {rank}, {child} in enumerate({self._siblings(box, view.step.name)}, 1):"):
            if view.required and not view.step.where:
                say(f"met_{child} = True")
            if view.person:
                self._begin_person(rank)
            self._container(view.node, child, f"{at}[{{{rank}}}]/", view)
            if view.person:
                parts = ", ".join(f"person{position}" for position in range(len(self.person_rows)))
                say(f"persons.append(PersonFacts(p, person_key({parts})))")
        if view.required:
            say(f"if not met_{child}: {_missing(at)}")

    def _condition(self, view: View, box: Opened) -> None:
        """Keep only the sibling that fulfils the condition; a second one is told, never chosen.

        What is left aside is told as well when nobody knows the code it bears.
        """
        step, say, text = view.step, self.out.say, self.out.name("w")
        if len(step.where) == 1:
            self._fetch((Step(step.where[0]),), box, text)
        elif self.xml and len(step.where) == 2:
            say(f"{text} = {box.children}.get({step.where[0]!r})")
            say(f"if {text} is not None: {text} = first({text}, {step.where[1]!r})")
        else:
            self._fetch(tuple(Step(name) for name in step.where), box, text)
        wanted = self.out.hold("EQ", frozenset(step.equals))
        with self.out.block(f"if {text} not in {wanted} and str({text} or '').strip() not in {wanted}:"):
            if view.codes is not None:
                where = python.at(box.at + python.escape("/".join(step.where)))
                say(f"left_aside({self.out.hold('Q', self._table(view.codes))}, {text}, out, {where})")
            say("continue")
        with self.out.block(f"if met_{box.source}:"):
            say(f"out.append(Finding('repeated-element', {python.at(box.at)}, 'quarantine')); continue")
        say(f"met_{box.source} = True")

    # --- persons and items

    def _begin_person(self, rank: str) -> None:
        say = self.out.say
        say("p = {}")
        for position in range(len(self.person_rows)):
            say(f"person{position} = None")
        if self.only is not None:
            say("only = None")
        for key in self.tree.member_keys:
            parts = [rank if row.position else _given(row) for row in self.tree.keys[key]]
            say(f"{key} = f{':'.join('{' + part + '}' for part in parts)!r}")

    def _choice(self, at: str) -> None:
        """Go on with the persons who get a record of their own; the others are told by a notice.

        Nobody is taken for one of the others because what tells them apart cannot be read: that waits for a human.
        """
        words = self.file.record.personne
        assert words is not None
        kept = self.out.hold("ONLY", frozenset(words.values))
        with self.out.block("if only is None:"):
            self.out.say(f"out.append(Finding('unplaced-person', {python.at(at)}, 'quarantine')); continue")
        with self.out.block(f"if only not in {kept}:"):
            told = f"Finding('household-only', {python.at(at)}, 'notice', '', {words.reason!r})"
            self.out.say(f"out.append({told}); continue")

    @contextmanager
    def _named(self, key: str, at: str, *, alone: bool) -> Iterator[None]:
        """Name the item, or leave it. `alone`: no element repeats, so an item without a name is just not there.

        A part that tells several codes names as many items: what follows is told of each.
        """
        with ExitStack() as loops:
            parts = []
            for position, row in enumerate(self.tree.keys[key]):
                if row.partner is None:
                    parts.append(_given(row))
                    continue
                value, part = f"{key}_{position}", f"t{key[1:]}_{position}"
                if several := tells_several(row):
                    loops.enter_context(self.out.block(f"for {part} in {value} or ():"))
                    value = part
                self.out.say(f"{part} = key_text({value}, out, {python.at(at)}, {key in self.tree.neutral})")
                # A code known to mean nothing here (`""` in its table) was said: the item is not missing its name.
                coded = position == 0 and row.type == "code" and len(row.partners) == 1
                told = f"if not r{key[1:]}_0: " if coded else ""
                with self.out.block(f"if {part} is None:"):
                    if not alone and not several:
                        self.out.say(f"{told}unnamed(out, before{key[1:]}, {python.at(at)})")
                    self.out.say("continue")
                parts.append(part)
            self.out.say(f"{key} = f{':'.join('{' + part + '}' for part in parts)!r}")
            yield

    # --- rows

    def _groups(self, leaves: list[Leaf]) -> list[list[Leaf]]:
        """Rows that read the same inputs with the same options, in order of their first."""
        found: dict[Any, list[Leaf]] = {}
        for leaf in leaves:
            row = leaf.row
            options = (row.type, row.codes, row.label, row.zone, row.separator, row.sentinel, row.places, row.width)
            alone = () if leaf.inputs else (len(found),)
            parent = leaf.parent if row.codes in self.tables and self.tables[row.codes].has_parent else ""
            found.setdefault((leaf.inputs, options, parent, alone), []).append(leaf)
        return list(found.values())

    def _group(self, group: list[Leaf], box: Opened, *, first: bool) -> None:
        """Rows that read the same text the same way: read once. Variables first; facts when items have a name."""
        say = self.out.say
        variables = [leaf for leaf in group if leaf.sink == "variable"]
        facts = [leaf for leaf in group if leaf.sink != "variable"]
        if first:
            if _names_item(variables[0].target):
                say(f"before{variables[0].target[1:-2]} = len(out)")
            say(f"{' = '.join(leaf.target for leaf in variables)} = None")
            self._read(group, box, lambda: say(f"{' = '.join(leaf.target for leaf in variables)} = v"))
        elif variables and facts:
            with self.out.block(f"if {variables[0].target} is not None:"):
                self._store_all(facts, variables[0].target, box.at)
        elif facts:
            self._read(group, box, lambda: self._store_all(facts, "v", box.at))

    def _read(self, group: list[Leaf], box: Opened, store: Callable[[], object]) -> None:
        leaf, say = max(group, key=lambda one: one.row.required), self.out.say
        row = leaf.row
        if not leaf.inputs:
            say(f"v = {_given(row)}" if row.context is None else f"v = ctx.get({row.context!r})")
            self._when(store)
            return
        where = box.at + python.escape("/".join(str(step) for step in leaf.inputs[0]))
        if len(leaf.inputs) == 1 and leaf.inputs[0][-1].many:
            self._list(leaf, box, where, store)
        elif len(leaf.inputs) == 1:
            with self.out.block(f"if {self._text(leaf.inputs[0], box, group)}:"):
                self._one(leaf, box, where, store)
        else:
            self._several(leaf, box, where, store)
        if row.required:
            say(f"else: {_missing(where)}")

    def _text(self, path: tuple[Step, ...], box: Opened, group: list[Leaf]) -> str:
        """An expression that puts a leaf's text in `x` and tells whether there is any."""
        key = next((one.target for one in group if one.sink == "variable" and _names_item(one.target)), None)
        if key is None and len(path) == 1 and (self.format == "table" or (self.xml and box.texts)):
            return f"x := {box.children}.get({path[0].name!r})"
        self._fetch(path, box, "x", "word" if {leaf.row.type for leaf in group} <= _FREE else "scalar")
        if key is not None:
            self.out.say(f"r{key[1:]} = (x or '').strip()")
        return "x"

    def _fetch(self, path: tuple[Step, ...], box: Opened, into: str, plain: str = "scalar") -> None:
        """Put a leaf's text in a variable; `plain` makes it from what JSON holds instead of a text."""
        say = self.out.say
        if len(path) > 1:
            fetched = f"{into} = deep({box.source}, {self.out.hold('P', path)}, FORMAT)"
            where = python.at(box.at + python.escape("/".join(str(step) for step in path)))
            say(fetched) if self.format != "json" else self._tried(fetched, into, where)
            return
        name = path[0].name
        say(f"{into} = {box.children}.get({name!r})")
        if self.xml and not box.texts:
            say(f"if {into} is not None: {into} = {into}.text")
        elif self.format == "json":
            with self.out.block(f"if {into} is not None and {into}.__class__ is not str:"):
                self._tried(f"{into} = {plain}({into})", into, python.at(box.at + python.escape(name)))

    def _tried(self, fetched: str, into: str, where: str) -> None:
        """Fetch a text from JSON; what is there instead of one is told."""
        self.out.say(f"try: {fetched}")
        self.out.say(f"except Bad as b: bad(out, b, {where}, None, True, INVALID); {into} = None")

    def _limit(self, box: Opened, path: tuple[Step, ...]) -> Child | None:
        """What the schema says of a leaf's length."""
        child = self.shapes[box.node.path].children.get(path[0].name) if len(path) == 1 else None
        return child if child is not None and child.length is not None else None

    def _one(self, leaf: Leaf, box: Opened, where: str, store: Callable[[], object]) -> None:
        row = leaf.row
        kind = TYPES.get(row.type)
        if row.type in ("code", "code_list"):
            self._code(leaf, box, where)
            self._when(store)
            return
        assert kind is not None
        limit = self._limit(box, leaf.inputs[0])
        read = codec(row, self.file.zone).read
        if row.type == "integer" and leaf.sink != "variable":
            read = runtime.within(read, paths.FIELDS[paths.shape(leaf.target)].annotation)
        read = read if kind.bounded else runtime.limited(read, [limit])
        if kind.memo:
            call = f"{self.out.hold('M', runtime.Memo(read))}[x]"
        elif kind.inline:
            short = "" if limit is None else f"len(x) <= {limit.length} and "
            call = kind.inline.format(x="x", short=short, read=self.out.hold("T", read))
        else:
            call = f"{self.out.hold('T', read)}(x)"
        self._guarded(call, leaf, where, store)

    def _guarded(self, call: str, leaf: Leaf, where: str, store: Callable[[], object], raw: str = "None") -> None:
        self.out.say(f"try: v = {call}")
        structural = TYPES[leaf.row.type].structural
        self.out.say(f"except Bad as b: bad(out, b, {python.at(where)}, {raw}, {structural}, INVALID)")
        with self.out.block("else:"):
            self._when(store)
            if leaf.row.required:  # a conventional date, a blank: something is written and it says nothing
                self.out.say(f"else: {_missing(where)}")

    def _when(self, store: Callable[[], object]) -> None:
        with self.out.block("if v is not None:"):
            store()

    def _code(self, leaf: Leaf, box: Opened, where: str) -> None:
        row, say = leaf.row, self.out.say
        table = self._table(row.codes)
        held = self.out.hold("Q", table)
        parent = leaf.parent if table.has_parent and leaf.parent else "''"
        if leaf.label:
            self._fetch(leaf.label, box, "w")
        label = "w" if leaf.label else "None"
        told = f"out, {python.at(where)}, {bool(leaf.label)}"
        slow = f"read_code({held}, x, {parent}, {label}, {told})"
        if row.type == "code_list":
            one = f"read_code({held}, t, {parent}, {label}, {told})"
            say(f"v = [c for t in x.split({row.separator or ','!r}) if (c := {one}) is not None] or None")
        elif leaf.label or table.has_parent:
            say(f"v = {slow}")
        else:
            plain = self.out.hold("C", table.plain)
            say(f"v = {plain}.get(x, {plain})", f"if v is {plain}: v = {slow}")

    def _table(self, name: str | None) -> Table:
        if name is None or name not in self.tables:
            raise MappingError("mapping-codes", f"no table is named {name!r}", self.file.id)
        return self.tables[name]

    def _several(self, leaf: Leaf, box: Opened, where: str, store: Callable[[], object]) -> None:
        names = [f"x{position}" for position in range(len(leaf.inputs))]
        for name, path in zip(names, leaf.inputs, strict=True):
            self._fetch(path, box, name)
        with self.out.block(f"if {' or '.join(names)}:"):
            kind, made = TYPES[leaf.row.type], codec(leaf.row, self.file.zone).read
            limits = [self._limit(box, path) for path in leaf.inputs]
            read = self.out.hold("T", made if kind.bounded else runtime.limited(made, limits))
            self._guarded(f"{read}({', '.join(names)})", leaf, where, store, raw=names[0])

    def _list(self, leaf: Leaf, box: Opened, where: str, store: Callable[[], object]) -> None:
        """A repeated leaf: the list of what each one says."""
        name, say = leaf.inputs[0][-1].name, self.out.say
        found = self._siblings(box, name)
        if self.xml:
            say(f"x = [c.text for c in {found}]")
        else:
            self._tried(f"x = texts({box.children}.get({name!r}))", "x", python.at(where))
        with self.out.block("if x:"):
            if leaf.row.type == "code":
                held = self.out.hold("Q", table := self._table(leaf.row.codes))
                plain = self.out.hold("C", table.plain)
                parent = leaf.parent if table.has_parent and leaf.parent else "''"
                slow = f"read_code({held}, t, {parent}, None, out, {python.at(where)}, False)"
                one = f"{plain}[t] if t in {plain} else {slow}"
                say(f"v = [c for t in x if t and (c := {one}) is not None] or None")
                self._when(store)
            else:
                read = self.out.hold("T", codec(leaf.row, self.file.zone).read)
                self._guarded(f"each({read}, x)", leaf, where, store)

    def _store_all(self, leaves: list[Leaf], value: str, at: str) -> None:
        for leaf in leaves:
            self._store(leaf, value, at)

    def _store(self, leaf: Leaf, value: str, at: str) -> None:
        say = self.out.say
        facts = {"person": "p", "foyer": "h", "each": "p", "everyone": "a"}[leaf.sink]
        where = at + python.escape("/".join(str(step) for step in leaf.inputs[0])) if leaf.inputs else at
        if leaf.sink == "each":
            say(f"answer(h, {python.path(leaf.target)}, {value}, out, {python.at(where)})")
        if SELF_KEYED in leaf.target:
            with self.out.block(f"for w in ({value} if {value}.__class__ is list else ({value},)):"):
                say(f"{facts}[{python.path(leaf.target.replace(SELF_KEYED, '[{w}]', 1))}] = w")
        elif leaf.checked:
            told = f"{facts}.setdefault({python.path(leaf.target)}, {value})"
            say(f"if {told} != {value}: contradiction(out, {python.at(where)})")
        else:
            say(f"{facts}[{python.path(leaf.target)}] = {value}")


def _missing(where: str) -> str:
    """A statement that tells a mandatory field without value."""
    return f"out.append(Finding('missing-required', {python.at(where)}, 'quarantine'))"


def _names_item(variable: str) -> bool:
    """Whether a variable is the first part of an item's key."""
    return variable.startswith("k") and variable.endswith("_0")


def _holds_containers(node: Node) -> bool:
    return bool(node.views) or any(len(path) > 1 for leaf in node.leaves for path in leaf.inputs)


def _given(row: Row) -> str:
    """An expression for a constant or a word of the context."""
    if row.context is not None:
        return f'ctx["{row.context}"]'
    return json.dumps(row.constant) if isinstance(row.constant, str) else repr(row.constant)
