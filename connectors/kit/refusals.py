"""Cases on documents that must be refused whole: hostile, broken, foreign."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime

from connectors.contract import DocumentRefused, Pushing
from connectors.kit.cases import case
from connectors.kit.subject import NoObject, Sample, Subject

_DOCTYPE = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><x>&e;</x>'
HOSTILE: dict[str, dict[str, bytes]] = {
    "json": {
        "vide": b"",
        "clé en double": b'{"a": 1, "a": 2}',
        "nombre qui n'en est pas un": b'{"a": NaN}',
        "trop profond": b"[" * 5000 + b"]" * 5000,
        "pas de l'UTF-8": b'{"a": "\xe9"}',
    },
    "xml": {
        "vide": b"",
        "entité externe": _DOCTYPE,
        "trop profond": b"<a>" * 5000 + b"</a>" * 5000,
        "mal formé": b"<a><b></a>",
    },
    "csv": {"vide": b"", "octet nul": b"a;b\n\x00;\x00\n"},
    "xlsx": {"vide": b"", "pas un classeur": b"PK\x03\x04rien"},
    "zip": {"vide": b"", "pas une archive": b"PK\x03\x04rien"},
}


@case("document_etranger", "entrees_hostiles", "un document que le partenaire n'envoie pas est refusé par son nom")
def foreign(subject: Subject) -> Iterator[str]:
    for content in (b"{}", *(sample.content for sample in subject.samples[:1])):
        try:
            subject.connector().read("autre.document", io.BytesIO(content))
            yield "a document of somebody else is opened"
        except DocumentRefused:
            continue


@case("preuve", "entrees_hostiles", "un message poussé sans la preuve de qui l'envoie est refusé avant d'être lu")
def unproved(subject: Subject) -> Iterator[str]:
    connector = subject.connector()
    if not isinstance(connector, Pushing):
        raise NoObject("ce partenaire ne pousse rien")
    for content in (b"{}", *(sample.content for sample in subject.samples)):
        for trial in (lambda: connector.announced({}), lambda: connector.webhook({}, content, datetime.now(UTC))):  # noqa: B023
            try:
                trial()
                yield "a message without a proof is taken"
            except DocumentRefused:
                continue


@case("hostile", "entrees_hostiles", "un document hostile est refusé en entier, avec un code")
def hostile(subject: Subject) -> Iterator[str]:
    read = subject.manifest.ids("read")
    if not read:
        raise NoObject("ce partenaire n'envoie rien de lui-même")
    for id in sorted(read):
        for name, content in HOSTILE[subject.manifest.documents[id].format].items():
            try:
                records = subject.read(Sample(id, name, content))
            except DocumentRefused:
                continue
            if not records or not all(record.rejected for record in records):
                yield f"{id}: « {name} » is not refused"


@case("tronque", "entrees_hostiles", "un document coupé est refusé en entier, ou dit ce qui manque")
def truncated(subject: Subject) -> Iterator[str]:
    structured = [one for one in subject.samples if subject.manifest.documents[one.document].format in ("json", "xml")]
    if not structured:
        raise NoObject("aucun document JSON ou XML dans fixtures/")
    for sample in structured:
        for part in (3, 2):
            try:
                subject.read(Sample(sample.document, "coupé", sample.content[: len(sample.content) * part // 4]))
                yield f"{sample.document}, {sample.situation}: cut, it is read all the same"
            except DocumentRefused:
                pass
