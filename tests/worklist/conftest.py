"""A Département and France Travail in process, under a convention that opens orientation and sanctions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select

from connectors.contract import Acknowledgement
from connectors.france_travail.sandbox import Sandbox, Usager
from connectors.transport import Limits, Transport
from gateway import basis, clock, convention, worklist
from gateway.demo.forms import information
from gateway.demo.stage import FOLDER, NOTICES, signed_policy
from gateway.exchange import exchange
from gateway.merge import Portrait
from gateway.receipt import Receipt, Request
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.access import client
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.worklist import worklist_item
from gateway.worker import Worker
from gateway.worklist import Polled
from schemas.record import PersonFacts, Record

BASE = "https://ft.exemple.invalid"
FLOWS = """
[[flux]]
de = "departement"
vers = "france_travail"
document = "france_travail.sanction_rsa"
purpose = "sanction"
regime = "SIFT"
base_legale = ["CT R5312-38-1 II 6°", "CASF L262-37"]
information = "collective"
notice = "reseau-emploi:1"

[[flux]]
de = "departement"
vers = "france_travail"
document = "france_travail.decision_orientation"
purpose = "orientation"
regime = "SIFT"
base_legale = ["CT L5411-5-1", "CASF R262-111"]
information = "collective"
notice = "reseau-emploi:1"

[[flux]]
de = "departement"
vers = "france_travail"
document = "france_travail.rendez_vous"
purpose = "orientation"
regime = "SIFT"
base_legale = ["CT L5411-5-1", "CASF R262-111"]
information = "collective"
notice = "reseau-emploi:1"

# --- Le CCAS"""
CONVENTION = (FOLDER / "convention.toml").read_text(encoding="utf-8").replace("# --- Le CCAS", FLOWS, 1)


@dataclass
class Territory:
    """The gateway of a Département, and the France Travail it speaks with."""

    gateway: Gateway
    sandbox: Sandbox

    def tell(self, body: str, key: str, facts: dict[str, Any], foyer: dict[str, Any] | None = None) -> Receipt:
        """A body says these facts of one person."""
        document = {"departement": "departement.webrsa_ali", "ccas": "ccas.suivi"}.get(body, f"{body}.fichier")
        record = Record(key, [PersonFacts(facts)], foyer=foyer or {})
        with self.gateway.unit_of_work() as work:
            request = Request(clock.new_id(), body, document, self.gateway.flows(work, body))
            return exchange(work, self.gateway, request, [record])[0]

    def known(self, numero: str = "00000000101", *, number: bool = True, nir: bool = True, **more: Any) -> str:
        """The Département knows this person of France Travail's, with or without her number and her NIR."""
        usager = self.sandbox.usagers[numero]
        facts: dict[str, Any] = {
            "personne.nom_naissance": usager.nom,
            "personne.prenoms": [usager.prenom],
            "personne.date_naissance": usager.date_naissance,
            "identifiants[si_departement:40].valeur": numero[-3:],
        }
        if nir:
            facts["identifiants[nir].valeur"] = usager.nir
        if number:
            facts["identifiants[ft_numero].valeur"] = numero
        receipt = self.tell("departement", numero, facts | more, {"droit_rsa.etat": "ouvert_versable"})
        (who,) = receipt.persons
        return who

    def connect(self) -> None:
        """A new connection, which remembers no failure."""
        self.gateway.transports["france_travail"] = Transport(
            "france_travail", [BASE], limits=Limits(backoff=0.0, deadline=5.0), wire=httpx.ASGITransport(self.sandbox)
        )

    def inform(self, person: str) -> None:
        with self.gateway.unit_of_work() as work:
            basis.record(work, information(self.gateway, person))

    def poll(self) -> Polled:
        return asyncio.run(worklist.poll(self.gateway, "france_travail", "departement"))

    def transmit(self, row_id: str, act: dict[str, Any]) -> Acknowledgement:
        return asyncio.run(worklist.transmit(self.gateway, row_id, act, "departement"))

    def deliver(self) -> None:
        asyncio.run(Worker(self.gateway, ["france_travail"]).drain())

    def items(self) -> dict[str, Any]:
        """Every row of the worklist by code and number of its person."""
        with self.gateway.unit_of_work() as work:
            rows = work.connection.execute(select(worklist_item)).all()
            return {f"{row.code} {worklist.content_of(self.gateway, row).ft_numero}": row for row in rows}

    def todo(self) -> list[dict[str, Any]]:
        with self.gateway.unit_of_work() as work:
            return worklist.live(work, self.gateway)

    def current(self, person: str) -> Portrait:
        with self.gateway.unit_of_work() as work:
            return self.gateway.dossiers.current(work, person)

    def deliveries(self, person: str) -> list[tuple[str, str, str | None]]:
        with self.gateway.unit_of_work() as work:
            columns = (outbox.c.document, outbox.c.state, outbox.c.reason)
            query = select(*columns).where(outbox.c.person_id == person).order_by(outbox.c.id)
            return [tuple(row) for row in work.connection.execute(query)]

    def validate(self, person: str, digest: str, *agents: str) -> None:
        """Each agent validates one very act."""
        with self.gateway.unit_of_work() as work:
            for agent in agents:
                told = information(self.gateway, person)
                told |= {
                    "kind": "validation", "regime": "SIFT", "purpose": "sanction", "notice_id": "reseau-emploi",
                    "recipients": ["france_travail"], "categories": ["C22"], "reason_hash": digest,
                    "legal_basis": "e", "article": ["CASF L262-37"],
                    "evidence": {
                        "kind": "oral_attested", "witnessed_at": work.now,
                        "agent": self.gateway.keys.pseudonym("departement", agent),
                    },
                }  # fmt: skip
                basis.record(work, told)


def territory(folder: Path, usagers: list[Usager] | None = None, scenario: str | None = None) -> Territory:
    sandbox = Sandbox(scenario, usagers=usagers)
    policy, trusted = signed_policy(folder)
    settings = Settings(
        home=folder, profile="test", departement="040", bodies={"france_travail": sandbox.credentials(BASE)},
        policy_file=policy, policy_trusted=trusted,
    )  # fmt: skip
    gateway = Gateway.open(settings)
    there = Territory(gateway, sandbox)
    there.connect()
    with gateway.unit_of_work() as work:
        for body, role, name in (("departement", "departement", "Département"), ("ccas", "ccas", "CCAS")):
            work.connection.execute(
                insert(client).values(
                    client_id=body, body=body, name=name, connector=body, role=role, state="active", purposes=None,
                    tokens_from=0, created_at=work.now, changed_at=work.now,
                )
            )  # fmt: skip
        for notice, text in NOTICES.items():
            basis.publish_notice(work, notice, 1, text)
        convention.add(work, CONVENTION.encode())
    gateway.refresh()
    return there


@pytest.fixture
def landes(tmp_path: Path) -> Iterator[Territory]:
    one = territory(tmp_path)
    yield one
    assert one.sandbox.unmatched == [], "a call went to a path that France Travail does not have"
    one.gateway.engine.dispose()
