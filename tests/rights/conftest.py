"""A gateway with a Département, a CCAS and a CAF that share what they know of synthetic persons."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey

from gateway import basis, clock, convention
from gateway.access import partners
from gateway.access.client import PartnerAuth
from gateway.app import build
from gateway.exchange import exchange
from gateway.receipt import Receipt, Request
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.record import exchange as exchange_table
from gateway.worker import Worker
from schemas.record import PersonFacts, Record

HERE = Path(__file__).parent
ISSUER = "http://127.0.0.1:8400"
BODIES = {"departement": "departement", "ccas": "ccas", "dpo": "dpo"}

MARIE = {
    "identifiants[nir].valeur": "2850640999901",
    "personne.nom_naissance": "CANARILEFEVRE",
    "personne.prenoms": ["Canarimarie"],
    "personne.date_naissance": "1985-06-12",
    "personne.adresses[residence].code_insee": "40192",
    "personne.adresses[residence].code_postal": "40000",
    "personne.telephones[+33611223344].numero": "+33611223344",
}
PAUL = {
    "identifiants[nir].valeur": "1800140999902",
    "personne.nom_naissance": "CANARIDURAND",
    "personne.prenoms": ["Canaripaul"],
    "personne.date_naissance": "1980-01-02",
    "personne.adresses[residence].code_insee": "40192",
}


@dataclass
class Office:
    """One gateway, the keys of its partners, and what they do."""

    home: Path
    database: str = ""
    gateway: Gateway = field(init=False)
    keys: dict[str, ECKey] = field(default_factory=dict)

    def open(self, **settings: Any) -> Gateway:
        self.gateway = Gateway.open(
            Settings(profile="test", home=self.home, issuer=ISSUER, database_url=self.database, **settings)
        )
        return self.gateway

    def furnish(self) -> None:
        with self.gateway.unit_of_work() as work:
            for body, role in BODIES.items():
                self.keys[body] = ECKey.generate_key("P-256", auto_kid=True)
                jwks = {"keys": [self.keys[body].as_dict(private=False)]}
                partners.register_partner(work, body, body, jwks, name=f"{body} d'essai", role=role, issuer=ISSUER)
            basis.publish_notice(work, "parcours-insertion", 1, "Les professionnels partagent l'utile.")
            convention.add(work, (HERE / "convention.toml").read_bytes())
        self.gateway.refresh()

    def client(self, body: str, app: Any, *, purpose: str = "accompagnement", scope: str | None = None) -> Any:
        auth = PartnerAuth(ISSUER, body, self.keys[body], purpose=None if scope else purpose, scope=scope)
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ISSUER, auth=auth, timeout=30)

    def says(self, body: str, facts: dict[str, Any], *, key: str = "d1", foyer: Any = None, at: Any = None) -> Receipt:
        """A body sends one record; what it changes is offered to the others."""
        with self.gateway.unit_of_work() as work:
            request = Request(clock.new_id(), body, f"{body}.essai", self.gateway.flows(work, body), body)
            work.add(
                exchange_table, id=request.id, sender=body, client_id=body, document=request.document,
                purpose="accompagnement", received_at=work.now, records=1,
            )  # fmt: skip
            record = Record(
                key, [PersonFacts(facts, "p")], foyer or {}, asserted_at=at, digest=clock.new_id().encode()[:32]
            )
            return exchange(work, self.gateway, request, [record])[0]

    def informed(self, person: str) -> str:
        with self.gateway.unit_of_work() as work:
            return basis.record(work, self.record("information", person)).id

    def record(self, kind: str, person: str, **fields: Any) -> dict[str, Any]:
        """A complete record about a person, as her référent's software makes it."""
        return {
            "kind": kind,
            "person_id": person,
            "subject_ref": self.gateway.keys.pseudonym("departement", person),
            "notice_id": "parcours-insertion",
            "notice_version": 1,
            "regime": "PIE",
            "purpose": "accompagnement",
            "purpose_text": "Partage entre les professionnels qui vous accompagnent",
            "legal_basis": "e",
            "article": ["CASF L263-4-1"],
            "categories": ["C1", "C2"],
            "controllers": [
                {"nom": "Département d'essai", "adresse": "1 rue", "contact": "dpo@exemple.invalid",
                 "siren": "000000000", "role": "departement"}
            ],
            "channel": "face_to_face",
            "collection_method": "entretien",
            "storage_location": "France",
            "retention": "P2Y",
            "withdrawal_method": "dire non à son référent",
            "rights": ["acces", "rectification", "opposition"],
        } | fields  # fmt: skip

    def consent(self, person: str, until: str = "2027-06-01T00:00:00Z") -> dict[str, Any]:
        return self.record(
            "consent", person, regime="CONSENT_6_1_a", purpose="aide_facultative_ccas", legal_basis="a",
            article=["RGPD 6(1)(a)"], recipients=["ccas"], valid_until=until, retention="P12M",
            evidence={"kind": "oral_attested", "agent": "cd" * 20, "witnessed_at": "2026-11-20T08:59:00Z"},
        )  # fmt: skip

    async def settle(self) -> int:
        return await Worker(self.gateway).drain()

    def restore(self, backup: Path) -> None:
        """Put back the database as it was, with the keys and lists of today."""
        self.gateway.engine.dispose()
        for path in self.home.glob("maillon.db*"):
            path.unlink()
        shutil.copy(backup, self.home / "maillon.db")


@pytest.fixture
def both(database: str, tmp_path: Path) -> Iterator[Office]:
    """The same office on each database."""
    office = Office(tmp_path, database)
    office.open()
    office.furnish()
    yield office
    office.gateway.engine.dispose()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    office.open()
    office.furnish()
    yield office
    office.gateway.engine.dispose()


@pytest.fixture
def app(office: Office) -> Any:
    return build(office.gateway, embedded_worker=False)


@pytest.fixture
async def dpo(office: Office, app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with office.client("dpo", app, scope="audit") as client:
        yield client


async def known(office: Office, facts: dict[str, Any] = MARIE, key: str = "d1") -> str:
    """A person informed, followed by the Département and the CCAS, whose data reached both."""
    person = office.says("departement", facts, key=key).persons[0]
    office.informed(person)
    own = {
        "personne.nom_usage": "CANARIUSAGE",
        f"personne.courriels[canari{key}@exemple.invalid].adresse": f"canari{key}@exemple.invalid",
    }
    office.says("ccas", facts | own, key=key)
    office.says("departement", facts | {"personne.civilite": "madame"}, key=key)
    await office.settle()
    return person
