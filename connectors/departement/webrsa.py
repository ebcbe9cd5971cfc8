"""Reading WebRSA-ALI: what the Département entrusts to the body that accompanies the person.

The file is read through once (well-formed, header, count) before its first record. Then each dossier is checked
against the contract, its local integers are resolved through the référentiel, and the mapping reads the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, BinaryIO, ClassVar

from lxml import etree

import mappings
from connectors.contract import DocumentRefused, Envelope
from connectors.departement.referentiel import Entry, Referentiel, Referentiels, local_time, required
from connectors.departement.structure import Node, check, structure, to_json
from connectors.json import digest
from connectors.repeated import Repeated
from connectors.source import rewindable
from connectors.xml import stream
from schemas.normalisation import name_key
from schemas.record import Finding, Record

ROOT = "WebRSA-ALI"
MAX_BYTES = 2 * 1024**3
DIRECTORY = frozenset({"typesorients", "structuresreferentes", "referents"})
"""Lists whose entries matter by their identity: they become objects. The others become their code or meaning."""


class WebrsaReading:
    """One WebRSA-ALI file: its envelope, then its dossiers in constant memory."""

    document: ClassVar[str] = "departement.webrsa_ali"

    def __init__(self, source: BinaryIO, kept: Referentiels, departement: str, max_age: timedelta) -> None:
        self._source = rewindable(source, MAX_BYTES)
        self._departement = departement
        self._head, entete, counted = _survey(self._source)
        self._emitted: datetime = local_time(entete["date_generation"])
        self._stock = entete["fichier_stock"] in {"true", "1"}
        self._referentiel = required(kept, entete["id_structure_ali"], self._emitted, max_age)
        self.envelope = Envelope(
            document=self.document,
            kind="stock" if self._stock else "delta",
            emitted_at=self._emitted,
            reference_date=self._emitted.date().isoformat(),
            key=f"{departement}/{entete['id_structure_ali']}/{self._emitted.isoformat()}",
            organisme=entete["id_structure_ali"],
            counted=counted,
        )

    def __iter__(self) -> Iterator[Record]:
        self._source.seek(0)
        node = structure("webrsa_ali").under("dossiers", "dossier")
        mapping, repeated = mappings.load(self.document), Repeated()
        for element in stream(self._source, ROOT, "entete", "dossier", container="dossiers"):
            if element.tag != "dossier":
                continue
            record = self._record(element, node, mapping)
            repeated.tell(record, "dossiers/dossier")
            if record.quarantined:
                record.original = partial(self._alone, etree.tostring(element, with_tail=False))
            yield record

    def _alone(self, dossier: bytes) -> bytes:
        """A file that holds this dossier only, under the header it came with."""
        return b"<%b>%b%b</%b>" % (ROOT.encode(), self._head, dossier, ROOT.encode())

    def _record(self, element: etree._Element, node: Node, mapping: Any) -> Record:
        number = (element.findtext("id_personne") or "").strip()
        if wrong := check(element, node):
            return Record(number, [], findings=wrong, digest=_bytes_digest(element))
        findings: list[Finding] = []
        dossier = resolved(to_json(element, node), node, self._referentiel, findings)
        if "allocataire" not in dossier:
            missing = Finding(
                "identity-missing", "dossiers/dossier/allocataire", "reject", detail="send the allocataire"
            )
            return Record(number, [], findings=[missing], digest=_bytes_digest(element))
        for orientation in dossier.get("orientations", {}).get("orientation", []):
            if orientation.get("statut_orient") == "Orienté":
                orientation["decidee_le"] = orientation["date_orient"]
        if "modes_contact" in dossier:
            dossier["modes_contact"] = _contacts(dossier["modes_contact"])
        record: Record = mapping.read(dossier, digest=digest(dossier, findings), departement=self._departement)
        record.key = f"{number}-{_who(dossier['allocataire'])}"
        record.findings = findings + record.findings
        record.asserted_at = self._emitted
        record.partial = not self._stock
        return record


def _survey(source: BinaryIO) -> tuple[bytes, dict[str, str], int]:
    """The header as written and as read, and how many dossiers follow.

    Raises `DocumentRefused` for a file that cannot be read to its end.
    """
    head, entete = b"", dict[str, str]()
    counted = 0
    for element in stream(source, ROOT, "entete", "dossier", container="dossiers"):
        if element.tag == "dossier":
            if not entete:
                break
            counted += 1
        elif not entete:
            if wrong := check(element, structure("webrsa_ali").under("entete")):
                raise DocumentRefused("schema-invalid", wrong[0].code, path=wrong[0].path)
            entete = to_json(element, structure("webrsa_ali").under("entete"))
            head = etree.tostring(element, with_tail=False)
    if not entete:
        raise DocumentRefused("schema-invalid", "the header must come first", path="entete")
    return head, entete, counted


def resolved(value: dict[str, Any], node: Node, referentiel: Referentiel, findings: list[Finding]) -> dict[str, Any]:
    """`value` with each local integer replaced by what it means; what means nothing is left out and named."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        child = node.children[name]
        if child.type == "bloc":
            blocks = item if child.repeats else [item]
            inner = [resolved(block, child, referentiel, findings) for block in blocks]
            found[name] = inner if child.repeats else inner[0]
        elif child.liste:
            meaning = _meaning(child, str(item), referentiel, findings)
            if meaning is not None:
                found[name] = meaning
        else:
            found[name] = item
    return found


def _meaning(child: Node, identifiant: str, referentiel: Referentiel, findings: list[Finding]) -> Any:
    entry = referentiel.entry(child.liste, identifiant)
    if entry is None:
        findings.append(Finding("unknown-code", child.path, "quarantine", identifiant, f"référentiel, {child.liste}"))
        return None
    if child.liste in DIRECTORY:
        return _directory(entry, child, referentiel, findings)
    if not entry.concept:
        findings.append(
            Finding("unknown-label", child.path, "quarantine", entry.libelle, f"référentiel, {child.liste}")
        )
        return None
    return entry.concept


def _directory(entry: Entry, child: Node, referentiel: Referentiel, findings: list[Finding]) -> dict[str, str]:
    found = {"identifiant": entry.identifiant, "libelle": entry.libelle}
    if child.liste == "referents":
        return {"identifiant": entry.identifiant} | {
            name: entry.champs[name] for name in ("nom", "prenom", "email", "numtel") if name in entry.champs
        }
    concept = entry.concept
    if child.liste == "structuresreferentes":
        kind = referentiel.entry("typesorients", entry.champs.get("typeorient_id", ""))
        concept = kind.concept if kind else ""
    elif not concept:
        findings.append(Finding("unknown-label", child.path, "quarantine", entry.libelle, "référentiel, typesorients"))
    return found | ({"concept": concept} if concept else {})


def _contacts(block: dict[str, Any]) -> dict[str, Any]:
    """Each number and address beside the time it was changed."""
    kinds = {"telephones": ("telephone_1", "telephone_2"), "courriels": ("email",)}
    return {
        kind: [
            {"valeur": block[name]} | ({"modifie": block[f"modif_{name}"]} if f"modif_{name}" in block else {})
            for name in names
            if name in block
        ]
        for kind, names in kinds.items()
    }


def _who(allocataire: dict[str, Any]) -> str:
    """Eight characters that tell apart two people sharing a Département id (a couple), and say nothing of either."""
    text = f"{name_key(str(allocataire.get('prenom', '')))}|{allocataire.get('date_naissance', '')}"
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _bytes_digest(element: etree._Element) -> bytes:
    return hashlib.sha256(etree.tostring(element)).digest()
