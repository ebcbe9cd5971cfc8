"""France Travail: the APIs of the loi Plein emploi, its 2023 diagnosis and its flat files.

France Travail pushes nothing: what it knows is pulled, what it must know is sent. The gateway transmits decisions and
never takes one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from connectors.contract import Acknowledgement, Contact, DocumentRefused, NotObtained, Outgoing, Reading
from connectors.france_travail import activites, apis, ecriture, lecture
from connectors.france_travail.answers import Stopped, Verdict, listed
from connectors.france_travail.apis import Api
from connectors.france_travail.client import Client, Person
from connectors.france_travail.envois import SENT
from connectors.json import parse
from connectors.manifest import Settings, load
from connectors.transport import Transport
from connectors.worklist import Page
from schemas.record import Current, Written

_PULLED: dict[str, tuple[Api, str]] = {
    "france_travail.dossier_diagnostic": (apis.DIAGNOSTIC, "/dossiers"),
    "france_travail.lecture_orientation": (apis.ORIENTATION, "/lectureOrientation"),
    "france_travail.informations_administratives": (apis.INFORMATIONS, "/usager"),
    "france_travail.statut_usager": (apis.STATUT, "/contrat"),
    "france_travail.rqth": (apis.RQTH, "/rqth"),
}
_FULL_WORKLIST = 1000


@dataclass(frozen=True, slots=True)
class Worklist:
    """What the caller's structure has to do. `more`: a thousand came, act on them and ask again."""

    items: list[dict[str, Any]]
    skipped: int
    """Items without a usable person, counted and left aside."""
    more: bool


class FranceTravail:
    """One client of France Travail. `now` is the clock that token and jeton lives follow."""

    manifest = load(Path(__file__).parent)
    families = activites.FAMILIES

    def __init__(self, settings: Settings, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._client = Client(settings, now)

    def read(self, document: str, source: BinaryIO, *, content_type: str = "") -> Reading:
        """Open a pulled document or a flat file. Raises `DocumentRefused`."""
        if document not in self.manifest.ids("read") | self.manifest.ids("pull"):
            raise DocumentRefused("document-unknown", "France Travail does not send this document")
        return lecture.read(document, source)

    def write(self, document: str, current: Current, **context: Any) -> Written:
        """Fill a document; `item` names the orientation, rendez-vous or contract it is about."""
        return ecriture.write(document, current, self._settings, context)

    async def send(self, outgoing: Outgoing, transport: Transport) -> Acknowledgement:
        """Deliver one document. Never raises for what France Travail answers."""
        deliver = SENT.get(outgoing.document)
        if deliver is None:
            return Acknowledgement("refused", "document-unknown")
        codes = {finding.code for finding in outgoing.written.findings}
        # Of a rendez-vous that was erased, nothing else is left.
        gone = outgoing.withdraw or outgoing.written.metadata.get("etat") == "efface_source"
        if codes & {"missing-required", "several-items"} and not gone:
            return Acknowledgement("refused", "incomplete_document")
        try:
            person = Person.of(_identifiers(outgoing))
            return await deliver(self._client, self._settings, outgoing, person, transport)
        except Stopped as stopped:
            return stopped.verdict.acknowledgement

    async def pull(
        self, document: str, identifiers: Mapping[str, str], transport: Transport
    ) -> AsyncIterator[tuple[str, bytes]]:
        """Fetch one document about one person: identifiers `nir` with `date_naissance`, or `ft_numero`.

        Yields nothing when France Travail has nothing. Raises `NotObtained`.
        """
        try:
            content = await self._pulled(document, Person.of(identifiers), transport)
        except Stopped as stopped:
            raise stopped.not_obtained() from None
        if content:
            yield document, content

    async def contacts(self, transport: Transport) -> AsyncIterator[Contact]:
        """A token for each API that has a scope: one scope it does not know makes a whole token refused."""
        for api in apis.ALL:
            if self._settings.get(api.scope):
                yield Contact(api.scope, await self._client.subscription(api, transport))

    async def _pulled(self, document: str, person: Person, transport: Transport) -> bytes | None:
        if document not in _PULLED:
            raise NotObtained("refused", "document-unknown")
        api, path = _PULLED[document]
        if document == lecture.DOSSIER and self._settings["diagnostic_version"] == "v1":
            api = apis.DIAGNOSTIC_V1
            path = f"/individus/{quote(await self._client.identifiant_v1(person, transport), safe='')}"
        content = await self._client.raw(api, path, transport, person)
        if content is None or document != "france_travail.informations_administratives":
            return content
        try:
            return json.dumps(lecture.without_nir(parse(content)), ensure_ascii=False).encode()
        except DocumentRefused:
            raise Stopped(Verdict("retry", "answer_unreadable")) from None

    async def activites(self, transport: Transport, **criterion: str) -> Worklist:
        """The worklist of the caller's structure, for one `codeActivite`, `codeFamille` or `codeDomaine`.

        An item that is no longer there was acted on by someone; it says nothing of the person. Raises `NotObtained`.
        """
        try:
            read = await self._client.call(apis.ACTIVITES, "GET", "/activites/chercher", transport, params=criterion)
            found = listed(read, "activites")
        except Stopped as stopped:
            raise stopped.not_obtained() from None
        usable = [item for item in found if isinstance(item, dict) and _names_someone(item)]
        return Worklist(usable, len(found) - len(usable), len(found) >= _FULL_WORKLIST)

    async def worklist(self, family: str, transport: Transport) -> Page:
        """One family of activities as neutral items. Raises `NotObtained`."""
        found = await self.activites(transport, codeFamille=family)
        items = [activites.item(one) for one in found.items if one.get("identifiantActivite")]
        skipped = found.skipped + len(found.items) - len(items)
        return Page(items, skipped, complete=not found.more)


def _names_someone(item: Mapping[str, Any]) -> bool:
    usager = item.get("usager")
    if not isinstance(usager, dict):
        return False
    return usager.get("typeIdentifiant") == "numeroFranceTravail" and bool(usager.get("identifiant"))


_BESIDE = {
    "ft_numero": "identifiants[ft_numero].valeur",
    "date_naissance": "personne.date_naissance",
}


def _identifiers(outgoing: Outgoing) -> dict[str, str]:
    """What may find the person: identifiers allowed for that alone, completed by the facts that may be sent."""
    found = {name: str(fact.value) for name, path in _BESIDE.items() if (fact := outgoing.current.get(path))}
    return found | dict(outgoing.identifiers)


def create(settings: Mapping[str, str]) -> FranceTravail:
    return FranceTravail(Settings(settings))
