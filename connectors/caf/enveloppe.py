"""Header and footer of a caisse's file: what it says of itself, and whether its totals hold.

Times are local (Europe/Paris). A total may count the dossiers of the anomaly companion: transmitted = counted, or
counted + anomalies; anything else holds the whole file for a human, and so does a monthly file that tells no household.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time

from lxml import etree

from connectors.caf.flux import ANOMALIES, Genre, check_nature
from connectors.contract import DocumentRefused, Envelope
from schemas.normalisation import PARIS
from schemas.record import Finding

__all__ = ["ANOMALIES", "Entete", "Totaux", "envelope", "footer", "header", "header_alone"]

_NAMES = frozenset({"APPLIEME", "NUMVERSIONAPPLIEME", "TYPEFLUX", "NATFLUX", "DTCREAFLUX", "HEUCREAFLUX", "DTREF"})
_SCHEMA = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"
_KNOWN_SCHEMA = re.compile(r"(vrsb|vird)\d{4}\.xsd", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entete:
    """The first block of the file. `cree_le` has its time zone."""

    application: str
    periodicite: str
    nature: str
    cree_le: datetime
    reference: str | None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Totaux:
    """The last block of the file."""

    transmis: int | None
    anomalies: int = 0
    findings: tuple[Finding, ...] = ()

    def agree(self, counted: int) -> bool:
        return self.transmis in (counted, counted + self.anomalies)


def _parse(text: bytes, encoding: str) -> etree._Element:
    """A few kilobytes of header or footer, hardened; the document as a whole is known to be well formed."""
    parser = etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return etree.fromstring(text, parser)
    except etree.XMLSyntaxError:
        raise DocumentRefused("bad-header", "the header or the footer is not where it should be") from None


def header(text: bytes, encoding: str, genre: Genre) -> Entete:
    """Everything before the first record. Raises `DocumentRefused`: ``wrong-flux``, ``bad-header``."""
    return _header(_parse(text + b"</Racine>", encoding), genre, genre.record)


def header_alone(text: bytes, encoding: str, genre: Genre) -> tuple[Entete, bytes]:
    """The header of a file without any record of this kind, and the rest of the file (its footer)."""
    root = _parse(text, encoding)
    others = [child.tag for child in root if child.tag not in ("IdentificationFlux", "TransmissionFlux")]
    if others:
        check_nature(genre, "", str(others[0]))
    return _header(root, genre, None), text[text.rindex(b"<TransmissionFlux") :]


def _header(root: etree._Element, genre: Genre, record: str | None) -> Entete:
    bloc = root.find("IdentificationFlux")
    if bloc is None:
        raise DocumentRefused("bad-header", "IdentificationFlux is missing", "IdentificationFlux")
    said = {str(child.tag): (child.text or "").strip() for child in bloc}
    check_nature(genre, said.get("NATFLUX", ""), record)
    if said.get("TYPEFLUX") not in genre.periodicites:
        raise DocumentRefused("wrong-flux", "TYPEFLUX is not a periodicity of this kind of file", "TYPEFLUX")
    findings = [
        Finding("unknown-element", f"IdentificationFlux/{name}", "notice") for name in sorted(said.keys() - _NAMES)
    ]
    declared = root.get(_SCHEMA)
    if declared is not None and not _KNOWN_SCHEMA.fullmatch(declared):
        findings.append(Finding("foreign-schema-location", "Racine/@noNamespaceSchemaLocation", "notice"))
    return Entete(
        said.get("APPLIEME", ""),
        said["TYPEFLUX"],
        said["NATFLUX"],
        _moment(said.get("DTCREAFLUX", ""), said.get("HEUCREAFLUX", "")),
        _reference(said.get("DTREF", ""), genre),
        tuple(findings),
    )


def _moment(day: str, hour: str) -> datetime:
    """Local creation time; the fraction has three digits (application files) or four (beneficiary files)."""
    try:
        return datetime.combine(date.fromisoformat(day), time.fromisoformat(hour[:12] or "00:00:00"), PARIS)
    except ValueError:
        raise DocumentRefused("bad-header", "the creation date or time cannot be read", "DTCREAFLUX") from None


def _reference(day: str, genre: Genre) -> str | None:
    try:
        return date.fromisoformat(day).isoformat() if day or genre.dated else None
    except ValueError:
        raise DocumentRefused("bad-header", "the reference date cannot be read", "DTREF") from None


def footer(text: bytes, encoding: str, genre: Genre) -> Totaux:
    """Everything after the last record. Raises `DocumentRefused`: ``wrong-flux``, ``unexpected-content``."""
    root = _parse(b"<Racine>" + text, encoding)
    if [child.tag for child in root] != ["TransmissionFlux"]:
        raise DocumentRefused("unexpected-content", "only the footer may follow the last record", "TransmissionFlux")
    said = {str(child.tag): (child.text or "").strip() for child in root[0]}
    if genre.total not in said and genre.total_anomalies in said:
        raise DocumentRefused("wrong-flux", ANOMALIES, "TransmissionFlux")
    known = {genre.total, genre.total_anomalies}
    findings = [Finding("unknown-element", f"TransmissionFlux/{n}", "notice") for n in sorted(said.keys() - known)]
    return Totaux(
        _number(said.get(genre.total, "")), _number(said.get(genre.total_anomalies or "", "")) or 0, tuple(findings)
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def envelope(
    genre: Genre,
    entete: Entete,
    totaux: Totaux,
    counted: int | None,
    organismes: list[str],
    departement: str,
    findings: list[Finding],
) -> Envelope:
    """The envelope, with the file's idempotence key and the reason to hold it, if any."""
    held = None
    if counted is not None and not totaux.agree(counted):
        held = "footer-mismatch"
        detail = f"announced {totaux.transmis}, anomalies {totaux.anomalies}, counted {counted}"
        findings.append(Finding("footer-mismatch", f"TransmissionFlux/{genre.total}", "quarantine", detail=detail))
    elif counted == 0 and genre.periodicites[entete.periodicite] == "stock":
        held = "empty-stock"
        detail = "a monthly file tells every household of its caisse: ask the caisse whether it has none"
        findings.append(Finding("empty-stock", genre.record, "quarantine", detail=detail))
    local = entete.cree_le.replace(tzinfo=None).isoformat()
    key = [entete.application, entete.periodicite, entete.nature, local, "+".join(organismes), departement]
    return Envelope(
        document=genre.document,
        kind=genre.periodicites[entete.periodicite],  # type: ignore[arg-type]
        emitted_at=entete.cree_le,
        reference_date=entete.reference,
        key="|".join(key),
        organisme="+".join(organismes),
        declared=totaux.transmis,
        counted=counted,
        findings=tuple(findings),
        held=held,
    )
