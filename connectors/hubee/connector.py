"""HubEE, the State's exchange hub: it carries the files of the CAF and MSA to a Département, and says what became of
them. It is a way, not a party: it has no document of its own and nothing of a person is ever written to it.

    hubee = create({"siret": "…", "guichet": "…", …})
    with hubee.open_registre(folder) as registre, registre.alone():
        reception = hubee.reception(transport, registre)
        async for found in reception.arrivals():
            ...                                    # read its files, then
            await reception.settle(found, "done")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from connectors import manifest
from connectors.contract import Acknowledgement, Contact, DocumentRefused, Outgoing, Reading
from connectors.hubee.client import Access, Client, Stopped
from connectors.hubee.demarches import TAKEN
from connectors.hubee.envoi import Emission
from connectors.hubee.reception import Reception
from connectors.hubee.registre import Registre
from schemas.record import Current, Written

if TYPE_CHECKING:
    from connectors.transport import Transport

SHORTEST = timedelta(minutes=10)
"""HubEE asks that a démarche be polled no more often."""


class Hubee:
    """One organisation on HubEE: its SIRET, its branch code, an access per démarche."""

    def __init__(self, settings: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.manifest = manifest.load(Path(__file__).parent)
        self._settings, self._now = settings, now

    @property
    def interval(self) -> timedelta:
        """Time between two collections, never shorter than HubEE allows."""
        return max(SHORTEST, timedelta(minutes=int(self._settings.get("intervalle") or 15)))

    def open_registre(self, folder: Path) -> Registre:
        """The register in the configured folder, else in this one."""
        return Registre(Path(self._settings.get("dossier") or folder))

    def reception(
        self, transport: Transport, registre: Registre, step: Callable[[str], None] = lambda name: None
    ) -> Reception:
        """The receiver's side. Raises `Stopped` (`not-configured`)."""
        clients = {code: self._pair(one.setting) for code, one in TAKEN.items() if self._settings.get(one.setting)}
        organisation = self._required("siret"), self._required("guichet")
        return Reception(Client(self._access(clients, "SI"), transport, self._now), registre, organisation, step)

    async def contacts(self, transport: Transport) -> AsyncIterator[Contact]:
        """A token for each démarche that has an access."""
        configured = {code: one for code, one in TAKEN.items() if self._settings.get(one.setting)}
        for code, one in configured.items():
            try:
                client = Client(self._access({code: self._pair(one.setting)}, "SI"), transport, self._now)
            except Stopped as stopped:
                yield Contact(one.setting, stopped.code.partition(":")[0])
            else:
                yield Contact(one.setting, await client.subscription(one))

    def emission(self, transport: Transport, registre: Registre) -> Emission:
        """The sender's side, for a Département that sends. Raises `Stopped` (`not-configured`)."""
        clients = {self._required("emission_demarche"): self._pair("emission_acces")}
        client = Client(self._access(clients, "OSL"), transport, self._now)
        return Emission(client, registre, self._required("emission_code"))

    def _access(self, clients: Mapping[str, tuple[str, str]], role: Any) -> Access:
        auth, api = self._required("auth_url").rstrip("/"), self._required("api_url").rstrip("/")
        partner = {
            "editorName": self._settings.get("editeur") or "Maillon",
            "applicationName": self._settings.get("application") or "Maillon",
            "softwareVersion": self._settings.get("version") or "0.1.0",
        }
        return Access(auth, api, clients, {name: value[:50] for name, value in partner.items()}, role)

    def _required(self, name: str) -> str:
        value = self._settings.get(name, "")
        if not value:
            raise Stopped("refused", f"not-configured: {name}")
        return value

    def _pair(self, setting: str) -> tuple[str, str]:
        client, colon, secret = self._required(setting).partition(":")
        if not (client and colon and secret):
            raise Stopped("refused", f"not-configured: {setting}")
        return client, secret

    def read(self, document: str, source: BinaryIO, *, content_type: str = "") -> Reading:
        raise DocumentRefused("unknown-document", "HubEE carries the files of others: announce their sender")

    def write(self, document: str, current: Current, **context: Any) -> Written:
        raise DocumentRefused("unknown-document", "HubEE is a way to others: nothing is written for it")

    async def send(self, outgoing: Outgoing, transport: Transport) -> Acknowledgement:
        return Acknowledgement("refused", "not-a-recipient", detail="HubEE is a way to others: name the recipient")

    async def pull(
        self, document: str, identifiers: Mapping[str, str], transport: Transport
    ) -> AsyncIterator[tuple[str, bytes]]:
        """Nothing is asked of HubEE about one person."""
        return
        yield


def create(settings: Mapping[str, str]) -> Hubee:
    """The connector from its settings; without an access nothing is collected."""
    return Hubee(settings)
