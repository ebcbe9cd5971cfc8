"""Code tables at work: from a partner's code to a canonical one and back, never by label alone, never by guess."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mappings.grammar import Codes, MappingError, Scalar
from mappings.types import Bad
from schemas import nomenclatures
from schemas.nomenclatures.labels import label_key, repair
from schemas.normalisation import name_key
from schemas.record import NON_PARTAGE


@dataclass(frozen=True, slots=True)
class Entry:
    canonical: Scalar
    label: str = ""
    disputed: str = ""
    sensitive: bool = False


@dataclass(slots=True)
class Table:
    """One table, both ways. `plain` holds only what can be read without a second look."""

    name: str
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    """(parent code or "", partner code) to what is known of it."""
    plain: dict[str, Scalar | None] = field(default_factory=dict)
    reverse: dict[tuple[str, Scalar], str] = field(default_factory=dict)
    """(parent code or "", canonical value) to the partner's code, where there is exactly one."""
    several: set[tuple[str, Scalar]] = field(default_factory=set)
    written: set[Scalar] = field(default_factory=set)
    """Canonical values that have a partner's code under some parent."""
    identity: bool = False
    has_parent: bool = False
    folded: dict[str, str] = field(default_factory=dict)
    """Reduced writing of a code to the code, when case, accents and punctuation say nothing."""

    def read(self, text: str, parent: str = "", label: str | None = None) -> Any:
        """The canonical value of a partner's code; None when the code is known to mean nothing here.

        Raises `Bad`: ``unknown-code``, ``label-disagrees``, ``disputed-code``; ``withheld-code`` is told by the value
        `NON_PARTAGE`.
        """
        code = text.strip()
        if not code:
            return None
        within = parent.strip() if self.has_parent else ""
        entry = self.entries.get((within, code))
        if entry is None and self.folded:
            entry = self.entries.get((within, self.folded.get(name_key(code), "")))
        if entry is None:
            raise Bad("unknown-code", self.name)
        if label is not None and entry.label and not same_label(label, entry.label):
            raise Bad("label-disagrees", self.name)
        if entry.disputed:
            raise Bad("disputed-code", self.name)
        if entry.sensitive:
            return NON_PARTAGE
        return None if entry.canonical == "" else entry.canonical

    def write(self, value: Scalar, parent: str = "") -> str:
        """The partner's code of a canonical value. Raises `Bad` ``no-counterpart`` or ``ambiguous-code``."""
        key = (parent if self.has_parent else "", value)
        code = self.reverse.get(key)
        if code is None:
            raise Bad("ambiguous-code" if key in self.several else "no-counterpart", self.name)
        return code

    def elsewhere(self, value: Scalar, parent: str) -> bool:
        """Whether this value belongs to another enclosing item: not this one's business, and no fault."""
        return self.has_parent and (parent, value) not in self.reverse and value in self.written

    def label_of(self, code: str, parent: str = "") -> str:
        entry = self.entries.get((parent if self.has_parent else "", code))
        return entry.label if entry else ""

    @property
    def canonical_values(self) -> set[Scalar]:
        """Every canonical value that reading can give or writing can take."""
        return {entry.canonical for entry in self.entries.values() if entry.canonical != "" and not entry.disputed}


def same_label(one: str, other: str) -> bool:
    """Labels agree once case, accents, quotes and blanks are normalised, and a wrong code page undone."""
    return one == other or label_key(repair(one).text) == label_key(repair(other).text)


def build(name: str, codes: Codes) -> Table:
    """Make a table from its declaration. Raises `MappingError` ``mapping-codes``."""
    table = Table(name, identity=codes.identity, has_parent=codes.parent is not None)
    _borrowed(name, codes)
    labels = _labels(codes)
    sensitive = _sensitive(codes)
    for parent, code, canonical, label, grade in _pairs(codes):
        disputed = codes.disputed.get(code, "") or ("rapprochement ambigu" if grade == "ambigu" else "")
        entry = Entry(canonical, label or labels.get(code, ""), disputed, code in sensitive)
        known = table.entries.setdefault((parent, code), entry)
        if known.canonical != canonical:
            table.entries[parent, code] = Entry("", known.label, "deux valeurs canoniques pour ce code")
    for code in codes.disputed.keys() - {code for _, code in table.entries}:
        table.entries["", code] = Entry("", labels.get(code, ""), codes.disputed[code])
    if codes.folded:
        table.folded = {name_key(code): code for _, code in table.entries}
        if len(table.folded) < len({code for _, code in table.entries}):
            raise MappingError("mapping-codes", f"{name}: two codes differ by case, accents or punctuation only")
    _reverse(table, codes)
    return table


def _borrowed(name: str, codes: Codes) -> None:
    """Refuse a list, a crosswalk or a column that is not there, before a code is looked for in it."""
    try:
        if codes.list is not None:
            nomenclatures.codes(codes.list)
        columns = set(nomenclatures.crosswalk(codes.crosswalk)[0]) if codes.crosswalk is not None else None
    except nomenclatures.UnknownList as unknown:
        raise MappingError("mapping-codes", f"{name}: schemas/nomenclatures has no {unknown.args[0]}") from None
    if codes.identity and codes.list is None:
        raise MappingError("mapping-codes", f"{name}: an identity table names its list")
    if columns is None:
        return
    if codes.partner is None or codes.canonical is None:
        raise MappingError("mapping-codes", f"{name}: a crosswalk table names its columns partner and canonical")
    named = (codes.partner, codes.canonical, codes.label, codes.grade, codes.parent, *codes.where)
    if missing := [column for column in named if column is not None and column not in columns]:
        told = f"{name}: crosswalk {codes.crosswalk} has no column {missing[0]}: {', '.join(sorted(columns))}"
        raise MappingError("mapping-codes", told)


def _reverse(table: Table, codes: Codes) -> None:
    ways: dict[tuple[str, Scalar], list[str]] = {}
    for (parent, code), entry in table.entries.items():
        if entry.disputed:
            continue
        if not entry.sensitive and not table.has_parent:
            table.plain[code] = None if entry.canonical == "" else entry.canonical
        if not entry.sensitive and entry.canonical != "":
            ways.setdefault((parent, entry.canonical), []).append(code)
    for key, found in ways.items():
        preferred = codes.prefer.get(str(key[1]))
        if preferred is not None and preferred not in found:
            raise MappingError("mapping-codes", f"{table.name}: {preferred!r} is not a code of {key[1]!r}")
        if preferred is not None or len(found) == 1:
            table.reverse[key] = preferred if preferred is not None else found[0]
        else:
            table.several.add(key)
    table.written.update(value for _, value in table.reverse)


def _pairs(codes: Codes) -> list[tuple[str, str, Scalar, str, str]]:
    """(parent, partner code, canonical value, label, grade) of every row of the declaration."""
    if codes.crosswalk is not None:
        return _from_crosswalk(codes)
    if codes.identity:
        assert codes.list is not None
        return [("", code.code, code.code, code.libelle, "") for code in nomenclatures.codes(codes.list).values()]
    return [("", code, value, "", "") for code, value in codes.values.items()]


def _from_crosswalk(codes: Codes) -> list[tuple[str, str, Scalar, str, str]]:
    assert codes.partner is not None
    assert codes.canonical is not None
    assert codes.crosswalk is not None
    found: list[tuple[str, str, Scalar, str, str]] = []
    for row in nomenclatures.crosswalk(codes.crosswalk):
        if any(row[column] != value for column, value in codes.where.items()):
            continue
        for code in row[codes.partner].split(codes.separator):
            code = code.strip()
            if not code.startswith(codes.prefix) or not code.removeprefix(codes.prefix):
                continue
            parent = row[codes.parent] if codes.parent else ""
            label = row[codes.label] if codes.label else ""
            grade = row[codes.grade] if codes.grade else ""
            found.append((parent, code.removeprefix(codes.prefix), row[codes.canonical], label, grade))
    known = {code for _, code, *_ in found}
    return found + [("", code, value, "", "") for code, value in codes.values.items() if code not in known]


def _labels(codes: Codes) -> dict[str, str]:
    if codes.list is None:
        return {}
    return {code.code: code.libelle for code in nomenclatures.codes(codes.list).values()}


def _sensitive(codes: Codes) -> frozenset[str]:
    """Codes of the list named by `sensitive` (`ACT`) that reveal health or fraud."""
    if codes.sensitive is None:
        return frozenset()
    prefix = f"{codes.sensitive}:"
    return frozenset(key.removeprefix(prefix) for key in nomenclatures.sensitive_codes() if key.startswith(prefix))
