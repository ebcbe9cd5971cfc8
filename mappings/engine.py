"""The engine: a mapping file, compiled once, that reads a partner's record and fills a partner's form.

    mapping = load("caf.flux_beneficiaire")
    record = mapping.read(element, date_reference="2026-10-31")
    written = load("france_travail.rendez_vous").write(current, {"today": "2026-11-21"})

`mapping.categories` is what the mapping may carry: permission is asked for exactly that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lxml import etree

from mappings import codes as code_tables
from mappings import document, partner_schema
from mappings.grammar import MappingError, MappingFile, Row, Section, Severity, dotted, parse, sections, shown
from mappings.reading import Generator, Reader
from mappings.tree import Tree
from mappings.writing import Generator as FormGenerator
from mappings.writing import Write
from schemas import paths
from schemas.nomenclatures.labels import is_twice_encoded
from schemas.normalisation import PARIS, nir_disagreements
from schemas.record import Current, Facts, Finding, Record, Written

FOLDER = Path(__file__).parent
ADDED = "MAILLON_MAPPINGS"
"""Variable that names the folder of the mappings which an installation adds, laid out like ours."""

_NIR = "identifiants[nir].valeur"
_BORN = "personne.date_naissance"
_FIRST_BORN = "1900-01-01"
_DIED = "personne.date_deces"
_KEYS = re.compile(r"\[[^\]]*\]")
_TWICE = "UTF-8 was read as windows-1252 on its way: its sender declares the right encoding, and sends it again"
_SEXES = {"monsieur": "masculin", "madame": "feminin"}
_PARSER = etree.XMLParser(
    encoding="utf-8",
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    huge_tree=False,
    collect_ids=False,
    remove_comments=True,
    remove_pis=True,
    remove_blank_text=True,
)


def _element(source: bytes, encoding: str) -> etree._Element:
    """The element of one record. libxml2 reads UTF-8 twice as fast as any encoding that it must convert."""
    ready = source if encoding == "utf-8" or source.isascii() else source.decode(encoding).encode()
    return etree.fromstring(ready, _PARSER)


@dataclass(frozen=True)
class Mapping:
    """One mapping, ready to use. `read` and `write` are safe to call from several threads."""

    file: MappingFile
    path: Path
    tables: dict[str, code_tables.Table]

    @property
    def id(self) -> str:
        return self.file.id

    @property
    def version(self) -> int:
        return self.file.version

    @property
    def title(self) -> str:
        return self.file.title

    def read(
        self,
        source: Any,
        *,
        raw: bytes | None = None,
        digest: bytes | None = None,
        encoding: str = "utf-8",
        **context: Any,
    ) -> Record:
        """Read one record: an lxml element, a JSON object, a table row by column name, or the XML bytes of a record.

        `raw` is the record as the partner wrote it, for its digest, unless the caller gives that one; `encoding` is
        that of the bytes of a record, which has no declaration of its own. `context` gives what the envelope said
        (reference date, Département). What could not be understood is in `findings`; a record that breaks the
        partner's schema carries a finding of severity
        ``reject`` and its facts must not be used.
        """
        if isinstance(source, bytes):
            raw = source if raw is None else raw
            try:
                source = _element(source, encoding)
            except (etree.XMLSyntaxError, UnicodeError):
                return Record("", [], findings=[Finding("xml-not-well-formed", self.file.partner.record, "reject")])
        findings: list[Finding] = []
        persons, foyer, key, asserted = self._reader[0](source, context, findings)
        for one in persons:
            if self._born_at:
                _compare_birth(one.facts, self._born_at, findings)
            if self._died_at:
                _compare_death(one.facts, self._died_at, findings)
            if self._nir_at:
                _compare_nir(one.facts, self._nir_at, findings)
        # Most records of a bulk file are plain ASCII: a tenth of a microsecond says so. (JSON may escape its accents.)
        if raw is None or not raw.isascii() or isinstance(source, dict):
            self._leave_out_twice_encoded(foyer, findings)
            for one in persons:
                self._leave_out_twice_encoded(one.facts, findings)
        return Record(
            key=key,
            personnes=persons,
            foyer=foyer,
            findings=findings,
            asserted_at=_moment(asserted),
            digest=document.digest(source, raw) if digest is None else digest,
            partial=self.file.record.partial,
            silent=self.file.record.silent,
        )

    def write(self, current: Current, context: ReadOnly[str, Any] | None = None) -> Written:
        """Fill the partner's form. `filled` and `empty` of the answer are the double-entry meter."""
        return self._writer[0](current, context or {})

    def _leave_out_twice_encoded(self, facts: Facts, findings: list[Finding]) -> None:
        """Leave out texts whose bytes were read in another encoding than theirs (`DurÃ©`): they would name nobody.

        They are not repaired: a file may be damaged in some places only, and its sender can send it right.
        """
        if "".join(map(str, facts.values())).isascii():
            return
        for path in [path for path, value in facts.items() if _is_twice_encoded(value)]:
            del facts[path]
            at = self._place_of(_KEYS.sub("[]", path)) or path
            findings.append(Finding("twice-encoded", at, "quarantine", detail=_TWICE))

    @cached_property
    def _nir_at(self) -> str:
        """Where the partner writes the NIR; empty when it writes none."""
        return self._place_of(_NIR)

    @cached_property
    def _born_at(self) -> str:
        """Where the partner writes the birth date; empty when it writes none."""
        return self._place_of(_BORN)

    @cached_property
    def _died_at(self) -> str:
        """Where the partner writes the date of death; empty when it writes none."""
        return self._place_of(_DIED)

    def _place_of(self, wanted: str) -> str:
        for path, row, section in self.rows():
            if path == wanted and row.partners:
                place = "/".join(filter(None, (section.partner, row.partners[0])))
                return place if self.file.partner.format == "table" else place.replace(".", "/")
        return ""

    def warm(self) -> None:
        """Compile now what the first record or form would have compiled."""
        if self.file.direction != "write":
            self._reader  # noqa: B018
        if self.file.direction != "read":
            self._writer  # noqa: B018

    @property
    def source(self) -> str:
        """The Python that reads a record, as generated."""
        return self._reader[1]

    @cached_property
    def _reader(self) -> tuple[Reader, str]:
        tree = Tree(self.file)
        return Generator(self.file, tree, self.tables, partner_schema.shapes(self.file, tree)).reader()

    @property
    def write_source(self) -> str:
        """The Python that fills a form, as generated."""
        return self._writer[1]

    @cached_property
    def _writer(self) -> tuple[Write, str]:
        return FormGenerator(self.file, self.tables, partner_schema.order(self.file)).writer()

    @cached_property
    def categories(self) -> frozenset[str]:
        """Canonical categories of every fact that this mapping reads or writes."""
        return frozenset(paths.categorie(concrete) for path, _, _ in self.rows() for concrete in self.concrete(path))

    def rows(self) -> Iterator[tuple[str, Row, Section]]:
        """(canonical path with `[]` for each list, row, section) of every row that carries a fact."""
        for _, section, inside in sections(self.file):
            for row in section.fields:
                if row.canonical is not None:
                    yield dotted(inside, row.canonical), row, section
                if row.decision in self.file.decision:
                    for looked_at in self.file.decision[row.decision].paths:
                        yield dotted(inside, looked_at), row, section

    def concrete(self, path: str) -> Iterator[str]:
        """The paths that a row can really have: each `[]` filled with every key that its code table can give.

        A list whose keys are not codes keeps its `[]`: its category does not depend on the key.
        """
        yield from self._fill(path, list(self._key_tables(self.file.section, "", path)))

    def _fill(self, path: str, keyed: list[tuple[str, code_tables.Table]]) -> Iterator[str]:
        if not keyed:
            yield path
            return
        (name, table), *rest = keyed
        for value in sorted(str(value) for value in table.canonical_values):
            inside = [(one.replace(name + "[]", f"{name}[{value}]", 1), held) for one, held in rest]
            yield from self._fill(path.replace(name + "[]", f"{name}[{value}]", 1), inside)

    def _key_tables(
        self, sections: tuple[Section, ...], prefix: str, path: str
    ) -> Iterator[tuple[str, code_tables.Table]]:
        for section in sections:
            inside = dotted(prefix, section.canonical)
            if not path.startswith(inside):
                yield from self._absolute(section, path)
                continue
            if len(section.key) == 1 and section.key[0].codes and inside.endswith("[]"):
                yield inside.removesuffix("[]"), self.tables[section.key[0].codes]
            yield from self._key_tables(section.section, inside, path)
            if section.section or section.key:
                return

    def _absolute(self, section: Section, path: str) -> Iterator[tuple[str, code_tables.Table]]:
        """Sections nested in this one that count from the root of the record."""
        for inner in section.section:
            if inner.canonical.startswith("/"):
                yield from self._key_tables((inner,), "", path)


def _is_twice_encoded(value: Any) -> bool:
    if isinstance(value, str):
        return not value.isascii() and is_twice_encoded(value)
    return isinstance(value, list) and any(map(_is_twice_encoded, value))


def _compare_birth(facts: Facts, at: str, findings: list[Finding]) -> None:
    """Leave out a birth date to come, or of nobody alive, by which nobody may be known: a human asks its sender."""
    born = facts.get(_BORN, "")
    if born and born < _FIRST_BORN[: len(born)]:
        del facts[_BORN]
        findings.append(Finding("birth-too-old", at, "quarantine"))
    elif born > datetime.now(PARIS).date().isoformat()[: len(born)]:
        del facts[_BORN]
        findings.append(Finding("birth-to-come", at, "quarantine"))


def _compare_death(facts: Facts, at: str, findings: list[Finding]) -> None:
    """Leave out a death to come, or before the birth: all that a death stops would stop for someone alive."""
    died = facts.get(_DIED)
    if died and (died > datetime.now(PARIS).date().isoformat() or died < facts.get(_BORN, "")):
        del facts[_DIED]
        findings.append(Finding("death-disagrees", at, "quarantine"))


def _compare_nir(facts: Facts, at: str, findings: list[Finding]) -> None:
    """Tell a NIR that contradicts the person it stands beside: a column that slipped, or the line of someone else.

    Another birth date waits for a human. Another sex is only noted: civil status changes, numbers follow later.
    """
    number = facts.get(_NIR)
    if number is None:
        return
    sex = facts.get("personne.sexe_etat_civil") or _SEXES.get(facts.get("personne.civilite", ""))
    if found := nir_disagreements(number, sex, facts.get(_BORN)):
        severity: Severity = "notice" if found == ["sexe"] else "quarantine"
        findings.append(Finding("nir-disagrees", at, severity, detail=", ".join(found)))


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def compile_file(path: Path) -> Mapping:
    """A mapping from one file, compiled. Raises `MappingError`."""
    file = parse(path)
    try:
        mapping = Mapping(file, path, {name: code_tables.build(name, one) for name, one in file.codes.items()})
        if file.direction != "write":
            _ = mapping._reader
        if file.direction != "read":
            _ = mapping._writer
    except MappingError as error:
        raise MappingError(error.code, error.detail, shown(path)) from None
    return mapping


def files() -> list[Path]:
    """Every mapping file, in a stable order."""
    return [path for folder in folders() for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.v*.toml"))


def folders() -> Iterator[Path]:
    """Where mappings are: ours, those this installation adds (`MAILLON_MAPPINGS`), then the `mappings` folder of each
    installed package that announces a connector."""
    yield FOLDER
    if added := os.environ.get(ADDED):
        yield Path(added)
    for point in sorted(entry_points(group="maillon.connectors"), key=lambda point: point.name):
        spec = find_spec(point.module)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(place) / "mappings"


@cache
def _index() -> dict[str, list[tuple[int, Path]]]:
    found: dict[str, dict[int, Path]] = {}
    for folder in folders():
        for path in _files(folder):
            name, _, version = path.name.removesuffix(".toml").rpartition(".v")
            id = f"{path.parent.name}.{name}"
            if not version.isdecimal():
                raise MappingError("file-name", "call it <document>.v<number>.toml, or take it away", str(path))
            if found.setdefault(id, {}).setdefault(int(version), path) != path:
                raise MappingError("mapping-taken", f"another package already has {id} version {version}", str(path))
    return {id: list(versions.items()) for id, versions in found.items()}


@cache
def load(id: str, version: int | None = None) -> Mapping:
    """A mapping by document id, its latest version unless one is named. Raises `MappingError` ``mapping-unknown``."""
    known = sorted(_index().get(id, ()), reverse=True)
    for number, path in known:
        if version is None or number == version:
            return compile_file(path)
    raise MappingError("mapping-unknown", f"no mapping is named {id!r}" + (f" version {version}" if version else ""))


def known() -> frozenset[str]:
    """The id of every mapping file, sound or not. Raises `MappingError` when two files claim one."""
    return frozenset(_index())


def forget() -> None:
    """Compile again from the files, at the next use: one of them was edited or added."""
    for cached in (_index, load, tables):
        cached.cache_clear()


@cache
def tables(partner: str) -> tuple[MappingFile, ...]:
    """The tables of this partner that are documents by themselves (`[table]`), latest version of each."""
    latest = (max(versions)[1] for id, versions in sorted(_index().items()) if id.startswith(f"{partner}."))
    return tuple(file for path in latest if (file := parse(path)).table is not None)


def all_mappings() -> list[Mapping]:
    """Every mapping of the tree, every version, by id."""
    return [load(id, version) for id in sorted(_index()) for version, _ in sorted(_index()[id])]
