"""The local code lists of one Département, without which its flows mean nothing.

Every id in the ALI flows is an integer local to one Département: the same 3 is two things in two places. The
référentiel says which. A flow is read against the référentiel of its Département and structure, or refused.

An integer becomes the list's own code when the list has one (`CEL`, `DEM`, `2`…). A list without codes has labels
only: those are recognised through `schemas/nomenclatures/crosswalk/libelles_departement.csv`, in full, or not at all.
"""

from __future__ import annotations

import io
import os
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from connectors.contract import DocumentRefused
from connectors.departement.structure import check, structure, to_json
from connectors.xml import parse
from schemas.nomenclatures import crosswalk
from schemas.nomenclatures.labels import bare_words
from schemas.normalisation import PARIS

ROOT = "Referentiel_WebRSA"
_CODES = ("code", "codetypeemploi")


def local_time(text: str) -> datetime:
    """A WebRSA instant (`AAAA-MM-JJ HH:MM:SS`, no zone), read as Europe/Paris."""
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


@cache
def _concepts() -> dict[tuple[str, str], str]:
    return {(row["liste"], row["libelle"]): row["concept"] for row in crosswalk("libelles_departement")}


def concept_of(liste: str, label: str) -> str:
    """What a label of a list without codes means, the whole of it; empty when unknown."""
    return _concepts().get((liste, bare_words(label)), "")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a local list. `concept` is its code, or the meaning of its label; empty when neither is known."""

    identifiant: str
    libelle: str
    concept: str
    actif: bool
    champs: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Referentiel:
    """The 46 lists of one Département for one structure."""

    structure_ali: str
    emitted_at: datetime
    lists: dict[str, dict[str, Entry]] = field(repr=False)

    def entry(self, liste: str, identifiant: str) -> Entry | None:
        return self.lists.get(liste, {}).get(identifiant)

    def local(self, liste: str, concept: str) -> str | None:
        """The local id of a concept: None when no active entry means it, or when several do."""
        found = [e.identifiant for e in self.lists.get(liste, {}).values() if e.actif and e.concept == concept]
        return found[0] if len(found) == 1 else None

    def holds(self, liste: str, identifiant: str) -> bool:
        entry = self.entry(liste, identifiant)
        return entry is not None and entry.actif


def read_referentiel(data: bytes) -> Referentiel:
    """Read a `Referentiel_WebRSA`. Raises `DocumentRefused`, ``schema-invalid`` when it departs from the contract."""
    root = parse(io.BytesIO(data), ROOT)
    if wrong := check(root, structure("referentiel")):
        raise DocumentRefused("schema-invalid", f"{wrong[0].code}, {len(wrong)} in all", path=wrong[0].path)
    whole = to_json(root, structure("referentiel"))
    entete = whole["entete"]
    lists = {
        name.removeprefix("liste_"): _entries(name.removeprefix("liste_"), block[name.removeprefix("liste_")])
        for name, block in whole.items()
        if name.startswith("liste_")
    }
    return Referentiel(entete["id_ali"], local_time(entete["date_generation"]), lists)


def _entries(liste: str, rows: list[dict[str, str]]) -> dict[str, Entry]:
    labels = {row["identifiant"]: row.get("libelle", "") for row in rows}
    parents = {row["identifiant"]: row["parent_id"] for row in rows if "parent_id" in row}
    found = {}
    for row in rows:
        identifiant = row["identifiant"]
        if identifiant in found:
            raise DocumentRefused("referentiel-ambiguous", "one id names two entries", path=f"liste_{liste}")
        code = next((row[name] for name in _CODES if name in row), "")
        rest = {k: v for k, v in row.items() if k not in {"identifiant", "libelle", "actif"}}
        concept = code or _meaning(liste, identifiant, labels, parents)
        found[identifiant] = Entry(identifiant, row.get("libelle", ""), concept, row["actif"] == "1", rest)
    return found


def _meaning(liste: str, identifiant: str, labels: dict[str, str], parents: dict[str, str]) -> str:
    """The concept of a label, or of the nearest parent that has one (an orientation type under « Social »)."""
    seen: set[str] = set()
    while identifiant and identifiant not in seen:
        seen.add(identifiant)
        if concept := concept_of(liste, labels.get(identifiant, "")):
            return concept
        identifiant = parents.get(identifiant, "")
    return ""


class Referentiels:
    """The référentiels of one Département, one per structure: files of one folder, replaced atomically. They hold no
    personal data of recipients."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: dict[str, tuple[int, Referentiel]] = {}

    def current(self, structure_ali: str) -> Referentiel | None:
        file = self._file(structure_ali)
        try:
            stamp = file.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        known = self._read.get(structure_ali)
        if known is None or known[0] != stamp:
            known = self._read[structure_ali] = (stamp, read_referentiel(file.read_bytes()))
        return known[1]

    def only(self) -> Referentiel | None:
        """The référentiel kept, when there is exactly one."""
        found = [file.stem.rpartition("-")[2] for file in self._path.glob("referentiel-*.xml")]
        return self.current(found[0]) if len(found) == 1 else None

    def keep(self, structure_ali: str, document: bytes) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._path, delete=False) as fresh:
            fresh.write(document)
            fresh.flush()
            os.fsync(fresh.fileno())
        Path(fresh.name).replace(self._file(structure_ali))

    def _file(self, structure_ali: str) -> Path:
        return self._path / f"referentiel-{int(structure_ali)}.xml"


def required(kept: Referentiels, structure_ali: str, flow_at: datetime, max_age: timedelta) -> Referentiel:
    """The référentiel to read a flow with. Raises `DocumentRefused`: ``referentiel-missing``, ``referentiel-stale``."""
    found = kept.current(structure_ali)
    if found is None:
        raise DocumentRefused("referentiel-missing", "send the référentiel of this structure first")
    if flow_at - found.emitted_at > max_age:
        raise DocumentRefused("referentiel-stale", f"send a référentiel less than {max_age.days} days older")
    return found
