"""A territory under its conventions, the bodies that exchange in it, and what they send of one person."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from connectors.contract import Lasting
from connectors.departement import synthetic
from connectors.departement.synthetic import Allocataire
from gateway import basis, clock, convention, inbox
from gateway.demo.forms import information
from gateway.demo.stage import FOLDER, NOTICES
from gateway.exchange import exchange
from gateway.merge import Portrait
from gateway.receipt import Receipt, Request
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.access import client
from gateway.storage.tables.delivery import outbox
from gateway.worker import Worker

CCAS = "CCAS de Saint-Aventin-les-Sables"
AMELIA = Allocataire(
    "ARBELIER", "AMELIA", "1988-04-12", "0123456", "2880499999999", 4711, telephone="0558000001", nb_enfants=2,
    numero_demande="04000000001", situation_familiale="DIV",
)  # fmt: skip
DEMO = (FOLDER / "convention.toml").read_text(encoding="utf-8")


@dataclass
class Territory:
    """A territory under its conventions, and the bodies that exchange in it."""

    gateway: Gateway
    who: str = ""
    """The person last oriented."""

    def tell(self, body: str, document: str, content: bytes | dict[str, Any]) -> list[Receipt]:
        """A body sends one of its documents."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        reading = self.gateway.connector(body).read(document, io.BytesIO(data))
        records = list(reading)
        if isinstance(reading, Lasting):
            reading.keep()
        with self.gateway.unit_of_work() as work:
            request = Request(clock.new_id(), body, document, self.gateway.flows(work, body))
            return exchange(work, self.gateway, request, records)

    def current(self, person: str) -> Portrait:
        with self.gateway.unit_of_work() as work:
            return self.gateway.dossiers.current(work, person)

    def inform(self, person: str) -> None:
        with self.gateway.unit_of_work() as work:
            basis.record(work, information(self.gateway, person))

    def oriented(self, person: Allocataire = AMELIA, **changes: Any) -> str:
        """The Département orients a person towards the CCAS; she is told of the sharing."""
        self.tell("departement", "departement.referentiel", synthetic.referentiel("40", 1))
        flow = synthetic.webrsa_ali([replace(person, **changes)], "40", 1)
        (receipt,) = self.tell("departement", "departement.webrsa_ali", flow)
        (self.who,) = receipt.persons
        self.inform(self.who)
        return self.who

    def deliver(self, *bodies: str) -> None:
        asyncio.run(Worker(self.gateway, bodies).drain())

    def sheets(self, body: str) -> list[dict[str, Any]]:
        """What waits in a body's mailbox, read."""
        with self.gateway.unit_of_work() as work:
            letters = inbox.letters(work, self.gateway, body)
            found = (inbox.find(work, body, one.id) for one in letters)
            return [json.loads(inbox.fetch(work, self.gateway, one)) for one in found]

    def states(self, recipient: str) -> list[tuple[str, str | None]]:
        with self.gateway.unit_of_work() as work:
            query = select(outbox.c.state, outbox.c.reason).where(outbox.c.recipient == recipient)
            return [tuple(row) for row in work.connection.execute(query.order_by(outbox.c.id))]


def territory(folder: Path, *agreements: str, **more: Any) -> Territory:
    """`more` are settings: another database, for instance."""
    gateway = Gateway.open(Settings(home=folder, profile="test", departement="040", **more))
    with gateway.unit_of_work() as work:
        for body, connector, role, name in (
            ("departement", "departement", "departement", "Département"),
            ("ccas", "ccas", "ccas", CCAS),
            ("ccas_voisin", "ccas", "ccas", "CCAS de Port-Albéret"),
        ):
            work.connection.execute(
                insert(client).values(
                    client_id=body, body=body, name=name, connector=connector, role=role, state="active",
                    purposes=None, tokens_from=0, created_at=work.now, changed_at=work.now,
                )
            )  # fmt: skip
        for notice, text in NOTICES.items():
            basis.publish_notice(work, notice, 1, text)
        for agreement in agreements:
            convention.add(work, agreement.encode())
    gateway.refresh()
    return Territory(gateway)


def accompaniment(
    person: Allocataire = AMELIA,
    *,
    months: int = 6,
    volunteer: bool = True,
    sides: tuple[str, ...] = ("social", "emploi"),
    **more: Any,
) -> dict[str, Any]:
    start = date(2026, 11, 2)
    members = [
        {"id": side, "cote": side, "referent": side == "social", "professionnel": {"nom": f"PRO-{side}"},
         "organisation": {"nom": CCAS if side == "social" else "France Travail"}, "depuis": start.isoformat()}
        for side in sides
    ]  # fmt: skip
    return {
        "accompagnements": [
            {
                "id": "AG-1",
                "personne": {"idDepartement": str(person.id_personne), "nir": person.nir, "nomNaissance": person.nom,
                             "prenom": person.prenom, "dateNaissance": person.date_naissance},
                "nature": "global", "volontaire": volunteer, "debut": start.isoformat(), "dureeMois": months,
                "finPrevue": (start + timedelta(days=30 * months)).isoformat(), "renouvelable": True,
                "membres": members,
            } | more
        ]
    }  # fmt: skip


def beneficiary(**more: Any) -> dict[str, Any]:
    return {
        "fileNumber": "SA-1", "birthName": AMELIA.nom, "firstName": AMELIA.prenom, "birthDate": AMELIA.date_naissance,
        "socialSecurityNumber": AMELIA.nir,
    } | more  # fmt: skip
