"""What travels between the folders: facts, records and findings.

A *fact* is one canonical value under its path. Paths are written with dots; an item of a list is named by its own
key in brackets, never by its position, so that two partners who speak of the same thing use the same path::

    personne.date_naissance
    identifiants[nir].valeur
    personne.adresses[residence].code_postal
    freins[mobilite].situations[mobilite_dependant_transports_communs].valeur
    rendez_vous[ccas:42].statut
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Facts = dict[str, Any]
"""Canonical path to plain JSON value: str, bool, int or list of str. Dates, instants and decimals are text."""

NON_PARTAGE = "non_partage"
"""Value of a coded fact whose code would reveal health or fraud: silence would be read as « no difficulty »."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a partner's document that could not be understood or that a human must see.

    `code` is stable kebab-case (``unknown-code``, ``bad-date``, ``footer-mismatch``…). `path` is the partner's own
    path. Neither holds a personal value; `raw` may (an unknown code is kept verbatim so that the record can be
    replayed once the table is fixed): it is stored encrypted and never logged or shown in an error.
    """

    code: str
    path: str
    severity: Literal["notice", "quarantine", "reject"] = "quarantine"
    raw: str = field(default="", repr=False)
    detail: str = ""
    """Words for the reader: list name, expected form. Never a personal value."""


@dataclass(slots=True)
class PersonFacts:
    """What one record says of one person."""

    facts: Facts
    key: str = ""
    """The partner's own name for this person inside the record, stable between two sendings; may be empty."""
    person_id: str = ""
    """Set by the gateway when it asked about a person it knows: the answer is about her and names nobody."""
    taken_back: tuple[str, ...] = ()
    """Paths that the partner says hold nothing any more, whatever it said there before in this record."""


@dataclass(slots=True)
class Record:
    """One record of a partner's document, in canonical words: a household with its members, or one person."""

    key: str
    """The partner's id of the record, stable between two sendings (request number, file number, rendez-vous id)."""
    personnes: list[PersonFacts]
    foyer: Facts = field(default_factory=dict)
    """Facts of the household (`foyer.*`, `droit_rsa.*` but `soumis_droits_devoirs`), told once for all members."""
    findings: list[Finding] = field(default_factory=list)
    asserted_at: datetime | None = None
    """When the partner says so (reference date of the file, modification time); None: time of receipt."""
    digest: bytes = b""
    """SHA-256 of the record as the partner wrote it: equal digests mean nothing changed."""
    original: Callable[[], bytes] | None = field(default=None, repr=False, compare=False)
    """Gives a document that holds this record alone, as the partner wrote it, to be read again after a correction."""
    partial: bool = True
    """True: silence on a fact means nothing. False: the sender restates all it knows under this record key."""
    silent: tuple[str, ...] = ()
    """Shapes and beginnings of paths on which silence means nothing even so: this form has no place for them."""

    @property
    def rejected(self) -> bool:
        return bool(self.findings) and any(finding.severity == "reject" for finding in self.findings)

    @property
    def quarantined(self) -> bool:
        return bool(self.findings) and any(finding.severity != "notice" for finding in self.findings)

    @property
    def unplaced(self) -> bool:
        """Whether it tells of someone whose place could not be read: who is not named here may not have left."""
        return any(finding.code == "unplaced-person" for finding in self.findings)


@dataclass(slots=True, unsafe_hash=True)
class Fact:
    """A current fact with its provenance, as the resolver chose it. Shared between readers: never alter it.

    Not frozen: a dossier makes forty of them, and a frozen one costs three times as much to make.
    """

    value: Any
    source: str
    """Id of the body that said it (`caf`, `departement`…)."""
    document: str
    asserted_at: str
    certainty: Literal["declare", "verifie", "certifie"] = "declare"


Current = Mapping[str, Fact]
"""The dossier as a recipient's mapping may see it: only permitted facts, each under its canonical path."""


def value_of(current: Current, path: str) -> Any:
    """What is known there, None when nothing is."""
    fact = current.get(path)
    return None if fact is None else fact.value


@dataclass(slots=True)
class Written:
    """A recipient's document, and for each of its fields whether it had to be typed."""

    document: Any
    """bytes (XML, CSV) or a JSON-ready dict."""
    filled: dict[str, Fact] = field(default_factory=dict, repr=False)
    """Partner path to the fact that filled it."""
    empty: list[str] = field(default_factory=list)
    """Partner paths of the form left empty: nobody has said it, or it is withheld."""
    findings: list[Finding] = field(default_factory=list)
    """Codes that have no counterpart in the recipient's list: named, never guessed."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What the connector needs beside the document (remote id, operation), never personal free text."""

    @property
    def fields_total(self) -> int:
        return len(self.filled) + len(self.empty)

    @property
    def sources(self) -> dict[str, str]:
        """Partner path to the id of the body whose fact filled it."""
        return {place: fact.source for place, fact in self.filled.items()}

    @property
    def prefilled(self) -> dict[str, Any]:
        """The form as whoever asked for it reads it: the document, and where and when each field comes from."""
        return {
            "document": self.document.decode() if isinstance(self.document, bytes) else self.document,
            "fields_total": self.fields_total,
            "fields_prefilled": len(self.filled),
            "sources": self.sources,
            "dates": {place: fact.asserted_at for place, fact in self.filled.items()},
        }
