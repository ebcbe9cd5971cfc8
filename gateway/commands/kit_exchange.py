"""The part of the contract suite that needs a gateway: what a partner's document meets at the door.

A gateway of its own is raised on loopback in a temporary folder, the connector's body is registered in it, and its
first fixture is sent as the partner would send it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from joserfc.jwk import ECKey

from connectors.kit.cases import Case
from connectors.kit.subject import NoObject, Sample, Subject
from connectors.manifest import installed
from gateway import convention, policy_table
from gateway.access import partners
from gateway.access.client import PartnerAuth
from gateway.app import build
from gateway.demo.stage import Served
from gateway.registry import Gateway
from gateway.settings import Settings

BODY = "organisme_essai"
_CONVENTION = """
id = "essai-contrat"
nature = "echange_donnees"
titre = "Convention de la suite de contrat"
debut = 2020-01-01
fin = 2099-12-31
perimetre = ["40"]

[[partie]]
id = "{body}"
role = "{role}"
nom = "Organisme d'essai"

[[partie]]
id = "{recipient}"
role = "{other}"
nom = "Destinataire d'essai"

[[flux]]
de = "{body}"
vers = "{recipient}"
document = "maillon.dossier"
purpose = "{purpose}"
regime = "{regime}"
base_legale = ["{article}"]
"""


@contextmanager
def _door(subject: Subject, way: dict[str, str]) -> Iterator[Callable[[str | None], httpx.Client]]:
    """A gateway that knows this body; gives its HTTP client for one purpose, or for none."""
    manifest = subject.manifest
    with tempfile.TemporaryDirectory() as folder:
        server, key = Served(None), ECKey.generate_key("P-256", auto_kid=True)
        # A database of its own, whatever this machine's settings name.
        own = Settings(profile="test", home=Path(folder), database_url="", issuer=server.url, departement="040",
                       bodies={BODY: subject.settings})  # fmt: skip
        gateway = Gateway.open(own)
        words = {"body": BODY, "role": manifest.role, **way}
        with gateway.unit_of_work() as work:
            jwks = {"keys": [key.as_dict(private=False)]}
            partners.register_partner(
                work, BODY, manifest.id, jwks, name="Organisme d'essai", role=manifest.role, issuer=server.url
            )
            convention.add(work, _CONVENTION.format(**words).encode())
        gateway.refresh()
        server._server.config.app = build(gateway, embedded_worker=False)
        server.start()

        def client(purpose: str | None) -> httpx.Client:
            auth = PartnerAuth(server.url, BODY, key, purpose=purpose)
            return httpx.Client(base_url=server.url, auth=auth, timeout=30, trust_env=False)

        try:
            yield client
        finally:
            server.stop()
            gateway.engine.dispose()


def _sample(subject: Subject) -> tuple[Sample, dict[str, str]]:
    """The first document that the partner sends by itself, and a way the law may open to it. Raises `NoObject`."""
    sent = [one for one in subject.samples if one.document in subject.manifest.ids("read")]
    if not sent:
        raise NoObject("aucun document envoyé par le partenaire dans fixtures/")
    for sample in sent:
        for purpose in subject.manifest.documents[sample.document].purposes:
            for way in _ways(subject.manifest.role, purpose):
                return sample, way
    raise NoObject("la table de décision n'ouvre encore aucun échange à ce rôle pour ces finalités")


def _ways(role: str, purpose: str) -> Iterator[dict[str, str]]:
    """Recipients and regimes for which some rule, signed or proposed, could permit something."""
    table = policy_table.read()
    bodies = {
        one.manifest.role: id for id, one in reversed(installed().items()) if one.package.startswith("connectors.")
    }
    for sender, other, regime in table.pairs:
        if sender == role and other in bodies and table.reachable(role, other, regime, purpose):
            article = table.regimes[regime].articles[0]
            yield {
                "recipient": bodies[other], "other": other, "purpose": purpose, "regime": regime, "article": article
            }  # fmt: skip


def _post(client: httpx.Client, subject: Subject, sample: Sample, key: str) -> httpx.Response:
    headers = {
        "Maillon-Document": sample.document,
        "Idempotency-Key": key,
        "Content-Type": subject.manifest.documents[sample.document].content_type[0],
    }
    return client.post("/v1/exchanges", content=sample.content, headers=headers)


def _private(subject: Subject, sample: Sample) -> set[str]:
    return {
        value
        for record in subject.read(sample)
        for one in record.personnes
        for path, value in one.facts.items()
        if isinstance(value, str) and len(value) > 3 and path.startswith(("personne.", "identifiants["))
    }


def at_the_door(subject: Subject) -> Iterator[str]:
    """No purpose is refused; the first sending is accepted; the same key gives the same answer, or a refusal."""
    sample, way = _sample(subject)
    with _door(subject, way) as client:
        with client(None) as nobody:
            refused = _post(nobody, subject, sample, "sans-finalite")
            if refused.status_code != 403:
                yield f"without a purpose: answered {refused.status_code} instead of 403"
        with client(way["purpose"]) as partner:
            first = _post(partner, subject, sample, "envoi-1")
            if first.status_code != 202:
                yield f"first sending: answered {first.status_code} ({_type(first)}) instead of 202"
                return
            again = _post(partner, subject, sample, "envoi-1")
            if again.status_code != 200 or again.json()["id"] != first.json()["id"]:
                yield f"same key, same document: answered {again.status_code} instead of 200 with the first answer"
            changed = Sample(sample.document, sample.situation, sample.content + b"\n")
            other = _post(partner, subject, changed, "envoi-1")
            if other.status_code != 422:
                yield f"same key, other document: answered {other.status_code} instead of 422"
            if any(value in refused.text + other.text for value in _private(subject, sample)):
                yield "a personal value shows in an error"


def unchanged(subject: Subject) -> Iterator[str]:
    """The same document under a new key is accepted and promises no new delivery."""
    sample, way = _sample(subject)
    with _door(subject, way) as client, client(way["purpose"]) as partner:
        first, second = (_post(partner, subject, sample, key) for key in ("envoi-1", "envoi-2"))
        if (first.status_code, second.status_code) != (202, 202):
            yield f"sent twice under two keys: answered {first.status_code}, then {second.status_code}"
            return
        if queued := [one for one in second.json()["outcomes"] if one.get("status") == "queued"]:
            yield f"sent again unchanged: {len(queued)} new deliveries"


def _type(response: httpx.Response) -> str:
    try:
        body: Any = response.json()
    except ValueError:
        return "no problem details"
    return str(body.get("type", "")).rpartition(":")[2]


def suite(id: str, subject: Subject | None = None) -> list[Case]:
    """The cases of one installed connector; together with `connectors.kit.suite` they are the whole contract."""
    subject = subject or Subject(installed()[id])
    return [
        Case("a_la_porte", "sans finalité : refusé ; avec : reçu une fois, même si c'est envoyé deux fois",
             "echange_complet", at_the_door, subject),
        Case("inchange", "le même document, envoyé de nouveau, ne promet aucune remise nouvelle", "rejeu", unchanged,
             subject),
    ]  # fmt: skip
