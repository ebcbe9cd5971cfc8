"""Typed lints of mapping files: what a reviewer would ask, asked by the machine.

`lint(paths)` gives `file:line: code message` for each fault. Codes are stable; messages are for the engineer.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from mappings import coverage, engine, examples
from mappings.codes import Table
from mappings.coverage import Places
from mappings.grammar import Codes, MappingError, MappingFile, Row, Section, dotted, parse, sections, steps
from mappings.types import TYPES, tells_several
from schemas import nomenclatures, paths
from schemas.normalisation import name_key


@dataclass(frozen=True, slots=True, order=True)
class Lint:
    """One fault. `str()` is the line that `maillon lint` prints."""

    file: str
    line: int
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.code} {self.message}"


Found = Iterator[tuple[int, str, str]]
"""(line, code, message)."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What a lint finds, why it matters, how it is repaired, and one line of a file before and after."""

    code: str
    finds: str
    matters: str
    repair: str
    before: str
    after: str
    shown: str = ""
    """The repair to show, when putting `after` back is not one."""
    base: str = ""
    """The sound mapping that `after` stands in (`tests/mappings/test_lint.py`)."""

    @property
    def page(self) -> str:
        """Its page, in Markdown."""
        blocks = [f"# {self.code}", self.finds, self.matters, f"**Repair.** {self.repair}"]
        for title, text in (("Before", self.before), ("After", self.shown or self.after)):
            if text.strip():
                blocks += [f"{title}:", f"```toml\n{text.strip()}\n```"]
        return "\n\n".join(blocks) + "\n"


def explained(file: Path = Path(__file__).with_name("lints.toml")) -> dict[str, Explained]:
    """The lints that a file tells, by code; by default those of mappings."""
    told = tomllib.loads(file.read_text(encoding="utf-8"))
    return {code: Explained(code, **words) for code, words in told.items()}


def lint(files: Iterable[Path]) -> list[Lint]:
    """Every fault of these mapping files; a folder stands for the mapping files in it."""
    found: list[Lint] = []
    for path in sorted(set(_expand(files))):
        found.extend(Lint(shown(path), line, code, message) for line, code, message in _file(path))
    return sorted(found)


def _expand(files: Iterable[Path]) -> Iterator[Path]:
    for path in files:
        if path.is_dir():
            yield from (one for one in path.rglob("*.v*.toml"))
        else:
            yield path


def shown(path: Path) -> str:
    """A file as a lint names it: from here when it is below, whole otherwise."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _file(path: Path) -> Found:
    places = Places(path.read_bytes().decode("utf-8", "replace"))
    try:
        file = parse(path)
    except MappingError as error:
        yield places.refused(error.code, error.detail), error.code, error.detail
        return
    faults = [fault for check in _STATIC for fault in check(file, places)]
    yield from faults
    told = len(faults)
    if any(code in _BLOCKING for _, code, _ in faults):
        return
    try:
        mapping = engine.compile_file(path)
    except MappingError as error:
        yield places.refused(error.code, error.detail), error.code, error.detail
        return
    faults += [fault for compiled in _COMPILED for fault in compiled(mapping, places)]
    yield from faults[told:]
    if not faults:  # else they would say the same again
        yield from _run(mapping, places)


# --- on the words alone ---------------------------------------------------------------------------------------------

_NIR = "identifiants[nir].valeur"
_CODED = ("code", "code_list")
_MOMENTS = ("date", "date_fr", "day_of_instant", "instant", "instant_local", "date_time")
_BLOCKING = frozenset({"unknown-path", "unknown-type", "unknown-table"})


def _rows(file: MappingFile, places: Places) -> Iterator[tuple[Row, Section, str, int]]:
    for rank, section, inside in sections(file):
        for row in section.fields:
            yield row, section, inside, places.row(rank, row)


def _near(name: str, known: Iterable[str]) -> str:
    """What a misspelt word was meant to be."""
    return "".join(f"; is it {one}?" for one in get_close_matches(name, known, n=1))


def _paths(file: MappingFile, places: Places) -> Found:
    for row, _, inside, line in _rows(file, places):
        if row.canonical is not None and paths.shape(dotted(inside, row.canonical)) not in paths.FIELDS:
            told = paths.shape(dotted(inside, row.canonical))
            yield line, "unknown-path", f"no canonical field is {told}{_near(told, paths.FIELDS)}"
        if row.canonical is None and row.partner is None:
            yield line, "empty-row", "a row names at least a canonical or a partner path"
    for begins in file.record.silent:
        shape = paths.shape(begins).partition("[")[0] if begins.count("[") > begins.count("]") else paths.shape(begins)
        if not any(one.startswith(shape) for one in paths.FIELDS):
            yield places.quoted("silent", quotes=False), "unknown-path", f"no canonical field begins with {shape}"


def _types(file: MappingFile, places: Places) -> Found:
    for row, _, _, line in _rows(file, places):
        kind = TYPES.get(row.type)
        if kind is None:
            yield line, "unknown-type", f"no type is named {row.type!r}{_near(row.type, TYPES)}"
        elif len(row.partners) > 1 and kind.inputs == "one":
            yield line, "type-inputs", f"type {row.type} takes one partner path"
        if row.codes is not None and row.codes not in file.codes:
            yield line, "unknown-table", f"no [codes.{row.codes}] here{_near(row.codes, file.codes)}"
        if (row.codes is None) is (row.type in _CODED):
            yield line, "unknown-table", "codes = names the table of a row of type code or code_list, and of no other"
        if row.disputed is not None and not row.disputed.strip():
            yield line, "no-reason", "a disputed row says why, in French"
    keys = [(places.section(rank), row) for rank, section, _ in sections(file) for row in section.key]
    words, asserted = file.record.personne, file.record.asserted_at
    told = (*file.record.key, asserted, *((*words.key, words.only) if words else ()))
    keys += [(places.quoted("record"), row) for row in told if row is not None]
    for line, row in keys:
        if row.type not in TYPES:
            yield line, "unknown-type", f"no type is named {row.type!r}{_near(row.type, TYPES)}"
    if asserted is not None and asserted.type in TYPES and asserted.type not in _MOMENTS:
        yield places.quoted("asserted_at", quotes=False), "field-type", f"asserted_at takes {', '.join(_MOMENTS)}"


def _lists(file: MappingFile, places: Places) -> Found:
    """What is read into a list says which item it is."""
    for rank, section, inside in sections(file):
        reads = file.direction != "write" and section.direction != "write"
        if reads and inside.endswith("[]") and not section.key and any(row.reads for row in section.fields):
            yield places.section(rank), "missing-key", f"the items of {inside} need a key"


def _kinds(file: MappingFile, places: Places) -> Found:
    """The type of a row is one that can tell its canonical field, and what it says by itself is one of its values."""
    for row, section, inside, line in _rows(file, places):
        path = dotted(inside, row.canonical) if row.canonical is not None else ""
        champ = paths.FIELDS.get(paths.shape(path))
        if champ is None or row.disputed is not None:
            continue
        yield from ((line, "unknown-key", one) for one in _keys(champ, path))
        if row.constant is not None:
            wrong = None if champ.repete_cle else paths.check_value(champ, row.constant)
            if wrong is not None:
                yield line, "bad-constant", f"{champ.path}: {wrong.code}, {wrong.detail}"
        elif row.partners and row.decision is None and row.type in TYPES:
            yield from ((line, "field-type", one) for one in _kind(champ, path, row, section))


def _keys(champ: paths.Champ, path: str) -> Iterator[str]:
    for cle, key in zip(champ.cles, paths.keys(path), strict=True):
        if key and "{" not in key and not (cle.accepts(key) and cle.knows(key)):
            yield f"{champ.path} has no item {key!r}: {cle.nom}"


def _kind(champ: paths.Champ, path: str, row: Row, section: Section) -> Iterator[str]:
    kind = TYPES[row.type]
    if champ.type not in kind.tells:
        yield f"{champ.path} holds a {champ.type}, type {row.type} tells none"
    elif path == _NIR and row.type != "nir":
        yield f"{path} is told by type nir alone, which checks its key and seals it"
    named = champ.repete_cle and path.rpartition(".")[0].endswith("[]")  # `telephones[].numero`: one item for each
    several = tells_several(row)
    if not named and several is not champ.multiple:
        held, told = ("a list", "one") if champ.multiple else ("one value", "several")
        yield f"{champ.path} holds {held}, type {row.type} of {row.partners[0]} tells {told}"


def _words(file: MappingFile, places: Places) -> Found:
    for rank, section, _ in sections(file):
        line = places.section(rank)
        if not section.title:
            yield line, "missing-title", "a section has a title that the DPO reads"
        if not section.categories and section.fields:
            yield line, "missing-category", "a section names the category of its fields"
    for declared in file.not_shared:
        if not declared.reason.strip():
            yield places.quoted(declared.paths[0]), "no-reason", "what is not shared says why, in French"
    used = {row.codes for section in sections(file) for row in (*section[1].fields, *section[1].key)}
    used |= {section[1].codes for section in sections(file)}
    used |= {row.codes for row in (*file.record.key, file.record.personne and file.record.personne.only) if row}
    for name in file.codes.keys() - used:
        yield places.table(name), "unused-table", f"no row uses [codes.{name}]"


def _contexts(file: MappingFile, places: Places) -> Found:
    """A word taken from the context is one that an example gives: a misspelt one would stay silent for ever."""
    given = {name for example in file.example for name in example.context}
    rows = [row for _, section, _ in sections(file) for row in (*section.fields, *section.key)]
    for name in dict.fromkeys(row.context for row in (*rows, *file.record.key) if row.context is not None):
        if name not in given:
            line = places.quoted(f'context = "{name}"', quotes=False)
            yield line, "unknown-context", f"no example gives {name} in its context{_near(name, given)}"


def _duplicates(file: MappingFile, places: Places) -> Found:
    seen: set[tuple[object, ...]] = set()
    for row, section, inside, line in _rows(file, places):
        told = (dotted(inside, row.canonical or ""), row.partner, row.direction, row.constant, row.rank)
        where = (*told, section.partner, section.key)
        if where in seen:
            yield line, "duplicate", f"{row.canonical or row.partner} is already told in this section"
        seen.add(where)
    for name, count in Counter(example.name for example in file.example).items():
        if count > 1:
            yield places.quoted(name), "duplicate", f"two examples are named {name!r}"


def _table(file: MappingFile, places: Places) -> Found:
    """A `[table]` names columns that rows read, and no title that could be two of them."""
    if (table := file.table) is None:
        return
    if file.partner.format != "table" or file.direction != "read":
        yield places.quoted("[table]", quotes=False), "table-format", 'a [table] is read, from format = "table"'
        return
    known = coverage.columns(file)
    for column in (*table.required, *table.aliases):
        if column not in known:
            yield places.quoted(column), "unknown-column", f"no row reads the column {column}"
    declared = [path for one in file.not_shared for path in one.paths]
    titles = Counter(map(name_key, (*known, *(alias for one in table.aliases.values() for alias in one), *declared)))
    for column in (*known, *(alias for one in table.aliases.values() for alias in one)):
        if titles[name_key(column)] > 1:
            yield places.quoted(column), "same-title", f"{column} is the title of two columns once reduced"


_STATIC: tuple[Callable[[MappingFile, Places], Found], ...] = (
    _paths, _types, _lists, _kinds, _words, _contexts, _duplicates, _table,
)  # fmt: skip


# --- on the compiled mapping ----------------------------------------------------------------------------------------


def _name(mapping: engine.Mapping, places: Places) -> Found:
    partner, _, document = mapping.id.partition(".")
    expected = f"{partner}/{document}.v{mapping.version}.toml"
    if f"{mapping.path.parent.name}/{mapping.path.name}" != expected:
        yield 1, "file-name", f"{mapping.id} version {mapping.version} belongs in {expected}"


def _categories(mapping: engine.Mapping, places: Places) -> Found:
    ranks = {id(section): rank for rank, section, _ in sections(mapping.file)}
    for path, row, section in mapping.rows():
        if row.decision is not None:
            continue
        outside = {paths.categorie(one) for one in mapping.concrete(path)} - set(section.categories)
        for category in sorted(outside):
            message = (
                f"{paths.shape(path)} is of category {category}, the section is of {', '.join(section.categories)}"
            )
            yield places.row(ranks[id(section)], row), "outside-category", message


def _codes(mapping: engine.Mapping, places: Places) -> Found:
    for name, declared in mapping.file.codes.items():
        line, table = places.table(name), mapping.tables[name]
        told = {code for _, code in table.entries}
        if declared.list is not None:
            known = set(nomenclatures.codes(declared.list))
            for code in sorted(known - told):
                yield line, "uncovered-code", f"{declared.list} has {code}, [codes.{name}] does not say what it is"
            if declared.crosswalk is None:
                for code in sorted(told - known):
                    yield line, "stranger-code", f"{code} is not in {declared.list}"
            yield from _sensitive(declared, line)
        yield from _losses(declared, table, line)


def _sensitive(declared: Codes, line: int) -> Found:
    """Codes kept verbatim would tell health or fraud as ordinary facts."""
    folder, _, short = (declared.list or "").partition("/")
    verbatim = folder == "cnaf" and declared.identity and declared.sensitive is None
    if verbatim and any(key.startswith(f"{short}:") for key in nomenclatures.sensitive_codes()):
        yield line, "sensitive-codes", f"{declared.list} has sensitive codes: name it in sensitive"


def _losses(declared: Codes, table: Table, line: int) -> Found:
    if declared.lossy is not None:
        return
    ways = Counter(
        (parent, entry.canonical)
        for (parent, _), entry in table.entries.items()
        if entry.canonical != "" and not entry.disputed
    )
    merged = sorted({str(value) for (_, value), count in ways.items() if count > 1})
    if merged:
        yield line, "undeclared-loss", f"several codes read as {', '.join(merged)}: say why in lossy"
    if declared.sensitive is not None:
        yield line, "undeclared-loss", "codes become non_partage: say so in lossy"


def _values(mapping: engine.Mapping, places: Places) -> Found:
    """Both sides of a table: what it gives must be canonical; what is canonical must be writable, or said not to be."""
    ranks = {id(section): rank for rank, section, _ in sections(mapping.file)}
    for path, row, section in mapping.rows():
        champ = paths.FIELDS.get(paths.shape(path))
        if row.codes is None or champ is None or (known := champ.codes()) is None:
            continue
        line, table = places.row(ranks[id(section)], row), mapping.tables[row.codes]
        given = {str(value) for value in table.canonical_values}
        for value in sorted(given - known):
            near = _near(value, known) or f"; it holds {', '.join(sorted(known)[:20])}{'…' if len(known) > 20 else ''}"
            yield line, "not-canonical", f"[codes.{row.codes}] gives {value}, which {champ.path} cannot hold{near}"
        if row.writes and mapping.file.direction != "read" and section.direction != "read":
            missing = sorted(known - {str(value) for _, value in table.reverse})
            if missing and mapping.file.codes[row.codes].partial is None:
                message = f"[codes.{row.codes}] cannot write {', '.join(missing[:5])}: say why in partial"
                yield line, "uncovered-value", message


def _examples(mapping: engine.Mapping, places: Places) -> Found:
    if not mapping.file.example:
        yield 1, "missing-example", "a mapping has at least one example"
    for example in mapping.file.example:
        for name in (example.partner, example.canonical):
            if name is not None and not (mapping.path.parent / name).is_file():
                yield places.quoted(name), "missing-file", f"example {name} does not exist"


def _run(mapping: engine.Mapping, places: Places) -> Found:
    for example in mapping.file.example:
        for problem in examples.run(mapping, example):
            yield places.quoted(example.name), "wrong-example", problem


def _coverage(mapping: engine.Mapping, places: Places) -> Found:
    for leaf in coverage.leaves(mapping):
        if not leaf.canonical and not leaf.reason:
            yield 1, "unmapped-element", f"{leaf.path} is neither mapped nor declared not shared"
    for path in coverage.unknown(mapping):
        yield places.quoted(path), "unknown-element", f"{path} is not in {mapping.file.partner.schema_}"


def _names(mapping: engine.Mapping, places: Places) -> Found:
    """The codes that name the items of a list of the record are those of its list."""
    for rank, section, inside in sections(mapping.file):
        held = paths.shape(inside)
        champ = next((one for path, one in paths.FIELDS.items() if path.startswith(f"{held}.")), None)
        if champ is None or len(section.key) != 1 or (codes := section.key[0].codes) is None:
            continue
        if (list_ := champ.cles[held.count("[]") - 1].liste) is None:
            continue
        known = nomenclatures.codes(list_)
        for value in sorted({str(value) for value in mapping.tables[codes].canonical_values} - known.keys()):
            message = f"[codes.{codes}] gives {value}, which names no item of {held}{_near(value, known)}"
            yield places.section(rank), "not-canonical", message


def _left_aside(mapping: engine.Mapping, places: Places) -> Found:
    """What a condition leaves aside is told: without a schema nobody would ever hear of it."""
    file = mapping.file
    if file.direction == "write" or (file.partner.schema_ or file.partner.elements) is not None:
        return
    for rank, section, _ in sections(file):
        path = steps(section.partner, file.partner.format)
        asked = [(places.section(rank), step) for step in (path[:-1] if section.codes else path)]
        for row in section.fields if section.direction != "write" else ():
            told = (step for partner in row.partners for step in steps(partner, file.partner.format))
            asked += [(places.row(rank, row), step) for step in told if row.reads]
        for line, step in asked:
            if step.where:
                message = f"any other {step.name} would be left in silence: begin a section at {step}, with codes"
                yield line, "left-aside", message


_COMPILED: tuple[Callable[[engine.Mapping, Places], Found], ...] = (
    _name, _categories, _codes, _values, _names, _left_aside, _examples, _coverage,
)  # fmt: skip
