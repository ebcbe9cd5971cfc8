"""The grammar of a mapping file: what a TOML file may say, as typed models.

A mapping file is read once, at load; a word that is not in the grammar refuses the file. What each word means is told
in `mappings/README.md`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Format = Literal["xml", "json", "table"]
Severity = Literal["notice", "quarantine", "reject"]
Scalar = str | bool | int


class MappingError(Exception):
    """A mapping file that cannot be used: an operator or an engineer must change it. `code` is stable."""

    def __init__(self, code: str, detail: str, where: str = "") -> None:
        super().__init__(f"{where}: {code}: {detail}" if where else f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.where = where


class _Word(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Word):
    """One field: where it is in the partner's document, where it is in the record, and how one becomes the other."""

    canonical: str | None = None
    partner: str | tuple[str, ...] | None = None
    type: str = "text"
    codes: str | None = None
    decision: str | None = None
    label: str | None = None
    constant: Scalar | None = None
    context: str | None = None
    default: Scalar | None = None
    required: bool = False
    direction: Literal["read", "write", "both"] = "both"
    disputed: str | None = None
    lossy: str | None = None
    note: str | None = None
    max: int | None = None
    rank: int = 1
    width: int | None = None
    places: int | None = None
    sentinel: str | None = None
    zone: str | None = None
    separator: str | None = None
    position: bool = False

    @property
    def partners(self) -> tuple[str, ...]:
        return () if self.partner is None else (self.partner,) if isinstance(self.partner, str) else self.partner

    @property
    def reads(self) -> bool:
        return self.direction != "write" and self.canonical is not None

    @property
    def writes(self) -> bool:
        return self.direction != "read" and self.partner is not None


class Section(_Word):
    """Rows that a person can name together. `key` names the items of a list that the partner repeats."""

    title: str = ""
    category: str | tuple[str, ...] = ()
    canonical: str = ""
    partner: str = ""
    key: tuple[Row, ...] = ()
    codes: str | None = None
    direction: Literal["read", "write", "both"] = "both"
    required: bool = False
    note: str | None = None
    fields: tuple[Row, ...] = ()
    section: tuple[Section, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        return (self.category,) if isinstance(self.category, str) else self.category


class Codes(_Word):
    """A code table, typed here (`values`), borrowed from a crosswalk column, or kept verbatim (`identity`)."""

    source: str
    list: str | None = None
    values: dict[str, Scalar] = Field(default_factory=dict)
    identity: bool = False
    crosswalk: str | None = None
    partner: str | None = None
    canonical: str | None = None
    label: str | None = None
    grade: str | None = None
    parent: str | None = None
    prefix: str = ""
    where: dict[str, str] = Field(default_factory=dict)
    separator: str = "|"
    folded: bool = False
    prefer: dict[str, str] = Field(default_factory=dict)
    disputed: dict[str, str] = Field(default_factory=dict)
    sensitive: str | None = None
    lossy: str | None = None
    partial: str | None = None


class Rule(_Word):
    """One line of a decision table: the code to write when every fact of `when` has this value; no code stops."""

    code: Scalar = ""
    when: dict[str, Scalar] = Field(min_length=1)


class Decision(_Word):
    """How several facts make one partner code, as a table read from top to bottom. Equality only, no expression."""

    source: str
    list: str | None = None
    rules: tuple[Rule, ...] = Field(min_length=1)
    lossy: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Every fact that the table looks at, each once."""
        return tuple(dict.fromkeys(path for rule in self.rules for path in rule.when))


class Personne(_Word):
    """The repeated element that is one person of the record, and which of them get a record of their own."""

    path: str
    key: tuple[Row, ...] = ()
    only: Row | None = None
    values: tuple[str, ...] = ()
    reason: str = ""


class RecordWords(_Word):
    key: tuple[Row, ...] = ()
    personne: Personne | None = None
    partial: bool = True
    silent: tuple[str, ...] = ()
    """Shapes and beginnings of canonical paths that this form has no place for: not to tell them takes nothing back."""
    asserted_at: Row | None = None


class Partner(_Word):
    system: str
    format: Format
    schema_: str | None = Field(default=None, alias="schema")
    elements: str | None = None
    """Table of the known elements, when its cardinalities are not certain enough to judge a document: for lint only."""
    record: str = ""
    root: str | None = None
    ordered: bool = True


class Table(_Word):
    """A table that a body of `partner.system` sends: the document that this mapping is, without another declaration.

    What its cells need is told by the types of the rows that read them.
    """

    required: tuple[str, ...] = ()
    """Columns without which the file is refused as a whole."""
    aliases: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Other titles under which a column is met."""
    purposes: tuple[str, ...] = ()
    source: str = ""
    """Which software writes it, and how it is asked to."""


class NotShared(_Word):
    path: str | tuple[str, ...]
    reason: str

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else self.path


class Example(_Word):
    """One test of the mapping, kept beside it. `partner` and `canonical` are files next to the mapping file."""

    name: str
    partner: str | None = None
    canonical: str | None = None
    error: str | tuple[str, ...] = ()
    direction: Literal["read", "write", "both"] = "both"
    context: dict[str, Scalar] = Field(default_factory=dict)

    @property
    def errors(self) -> tuple[str, ...]:
        return (self.error,) if isinstance(self.error, str) else self.error


class MappingFile(_Word):
    """A whole mapping file."""

    id: str
    version: int
    title: str
    direction: Literal["read", "write", "both"]
    partner: Partner
    note: str | None = None
    unknown: Severity = "notice"
    invalid: Severity = "quarantine"
    empty: Literal["omit", "null", "blank"] = "omit"
    zone: str = "Europe/Paris"
    table: Table | None = None
    record: RecordWords = RecordWords()
    section: tuple[Section, ...] = ()
    codes: dict[str, Codes] = Field(default_factory=dict)
    decision: dict[str, Decision] = Field(default_factory=dict)
    not_shared: tuple[NotShared, ...] = ()
    example: tuple[Example, ...] = ()


def parse(path: Path) -> MappingFile:
    """Read one mapping file. Raises `MappingError`: ``mapping-toml`` or ``mapping-grammar``, with the place."""
    try:
        return MappingFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise MappingError("mapping-toml", str(error), shown(path)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise MappingError("mapping-toml", f"save it as UTF-8 (line {line} is not)", shown(path)) from None
    except ValidationError as error:
        told = error.errors(include_input=False, include_url=False)
        first = min(told, key=lambda one: one["type"] == "missing")  # a misspelt word is also a missing one
        place = ".".join(str(part) for part in first["loc"])
        raise MappingError("mapping-grammar", f"{place}: {first['msg']}", shown(path)) from None


def shown(path: Path) -> str:
    """A mapping file as messages name it: `caf/flux_beneficiaire.v1.toml`."""
    return f"{path.parent.name}/{path.name}"


# --- partner paths --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a partner path: `name`, `name[]` (every sibling) or `name[child/path=A|B]` (the one that says so)."""

    name: str
    many: bool = False
    where: tuple[str, ...] = ()
    equals: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.where:
            return f"{self.name}[{'/'.join(self.where)}={'|'.join(self.equals)}]"
        return f"{self.name}[]" if self.many else self.name


_STEP = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?:(?P<where>[^=\[\]]+)=(?P<equals>[^\[\]]*))?\])?")


def steps(path: str, format_: Format) -> tuple[Step, ...]:
    """Split a partner path. In tables the whole text is the column's name; elsewhere `/` separates, or `.` in JSON.

    Raises `MappingError` ``mapping-path``.
    """
    if not path:
        return ()
    if format_ == "table":
        return (Step(path),)
    separator = "/" if format_ == "xml" or "/" in path else "."
    found = []
    for part in _split(path, separator):
        match = _STEP.fullmatch(part)
        if match is None:
            raise MappingError("mapping-path", f"{path!r} is not a partner path")
        where = tuple(re.split(r"[/.]", match["where"])) if match["where"] else ()
        equals = tuple(match["equals"].split("|")) if where else ()
        found.append(Step(match["name"], "[" in part and not where, where, equals))
    return tuple(found)


def _split(path: str, separator: str) -> list[str]:
    """Split on the separator outside brackets."""
    parts, depth = [""], 0
    for char in path:
        depth += (char == "[") - (char == "]")
        if char == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def joined(before: str, after: str, separator: str) -> str:
    """Two parts of a path, either of which may be empty."""
    return f"{before}{separator}{after}" if before and after else before or after


def dotted(prefix: str, path: str) -> str:
    """`path` inside `prefix`; a path that begins with `/` counts from the root of the record."""
    return path[1:] if path.startswith("/") else joined(prefix, path, ".")


def sections(file: MappingFile) -> Iterator[tuple[int, Section, str]]:
    """(rank in the file, section, canonical prefix) of every section, nested ones after theirs."""

    def walk(found: tuple[Section, ...], prefix: str) -> Iterator[tuple[Section, str]]:
        for section in found:
            inside = dotted(prefix, section.canonical)
            yield section, inside
            yield from walk(section.section, inside)

    for rank, (section, inside) in enumerate(walk(file.section, "")):
        yield rank, section, inside
