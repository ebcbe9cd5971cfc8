"""One person per document in, one sheet per delivery out, under the delivery's id as idempotency key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import mappings
from connectors import manifest
from connectors.contract import Acknowledgement, DocumentRefused, Envelope, Outgoing
from connectors.transport import Transport, TransportError
from schemas.record import Current, PersonFacts, Record, Written

WORDS = {"organisme": "guichet", "departement": "40"}
POISON = "POISON"


class Declaration:
    def __init__(self, source: BinaryIO) -> None:
        try:
            self._said = json.loads(source.read())
            self._facts = dict(self._said["personne"])
            self._foyer = dict(self._said["foyer"])
            self._key = str(self._said["numero"])
        except (ValueError, KeyError, TypeError):
            raise DocumentRefused("not-a-declaration", "personne, foyer, numero") from None
        self.envelope = Envelope("guichet.declaration", "message", datetime.now(UTC), declared=1, counted=1)

    def __iter__(self) -> Iterator[Record]:
        digest = json.dumps(self._said, sort_keys=True).encode().rjust(32)[-32:]
        yield Record(self._key, [PersonFacts(self._facts, "p")], self._foyer, digest=digest)


class Guichet:
    def __init__(self, settings: Mapping[str, str]) -> None:
        self.manifest = manifest.load(Path(__file__).parent)
        self._url = settings.get("url", "")

    def read(self, document: str, source: BinaryIO, *, content_type: str = "") -> Declaration:
        return Declaration(source)

    def write(self, document: str, current: Current, **context: Any) -> Written:
        name = current.get("personne.nom_naissance")
        if name is not None and str(name.value).startswith(POISON):
            raise ValueError("this sheet cannot be written")
        return mappings.load("ccas.fiche").write(current, WORDS)

    async def send(self, outgoing: Outgoing, transport: Transport) -> Acknowledgement:
        try:
            answer = await transport.request(
                "POST",
                f"{self._url}/fiches",
                headers={"Idempotency-Key": outgoing.delivery},
                json={"reference": outgoing.reference, "fiche": outgoing.written.document},
                repeatable=True,
            )
        except TransportError as error:
            return Acknowledgement("retry", error.code, retry_after=error.retry_after)
        if answer.status in (200, 201):
            try:
                remote = str(answer.json()["id"])
            except (ValueError, KeyError, TypeError):
                return Acknowledgement("retry", "unexpected-answer")
            return Acknowledgement("delivered" if answer.status == 201 else "duplicate", "accepted", remote)
        if answer.status in (400, 422):
            return Acknowledgement("refused", f"http-{answer.status}")
        return Acknowledgement("retry", f"http-{answer.status}", retry_after=answer.retry_after())

    async def pull(
        self, document: str, identifiers: Mapping[str, str], transport: Transport
    ) -> AsyncIterator[tuple[str, bytes]]:
        nothing: tuple[tuple[str, bytes], ...] = ()
        for document_and_bytes in nothing:
            yield document_and_bytes


def create(settings: Mapping[str, str]) -> Guichet:
    return Guichet(settings)
