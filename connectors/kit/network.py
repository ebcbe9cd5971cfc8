"""Cases on the way to the partner: what it answers, what it fails to answer, and what is sent twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import httpx

from connectors.contract import Acknowledgement, Contact, NotObtained, Reachable
from connectors.kit.cases import case
from connectors.kit.subject import BASE, NoObject, Sample, Subject
from connectors.kit.wires import Answering, Failing, Strict

Told = Acknowledgement | NotObtained
SILENCE = 0.5
"""Seconds that a stand-in that plays the silent partner is waited for, at each call: any other answers at once."""


async def _answers(subject: Subject, wire: Callable[[], Answering | Failing | Strict]) -> dict[str, Told | None]:
    """What the connector makes of this wire, for each document it sends or asks for; None: something was obtained.

    A document that needed no call says nothing here.
    """
    found: dict[str, Told | None] = {}
    for filling in subject.fillings:
        told = await subject.send(filling, subject.transport(fails := wire()))
        if fails.calls:
            found[filling.document] = told
    for document in sorted(subject.manifest.ids("pull")):
        pulled = await subject.pull(document, subject.transport(fails := wire()))
        if fails.calls:
            found[f"{document} (pull)"] = pulled if isinstance(pulled, NotObtained) else None
    if not found:
        raise NoObject("aucun exemple n'appelle le partenaire")
    return found


def _other(found: dict[str, Told | None], expected: str) -> list[str]:
    return [
        f"{document}: {told.outcome if told else 'obtained'} instead of {expected}"
        for document, told in found.items()
        if told is None or told.outcome not in expected.split("|")
    ]


@case("connexion", "echange_complet", "la connexion s'essaie sans parler de personne, et dit ce qui manque")
async def contacted(subject: Subject) -> list[str]:
    subject.transport()
    if not isinstance(subject.connector(), Reachable):
        raise NoObject("ce connecteur n'essaie pas sa connexion (contacts)")
    works = await _contacts(subject)
    faults = [f"{one.what}: {one.code} with the stand-in" for one in works if one.code]
    for name, wire in (("401", Answering(401)), ("no connection", Failing(httpx.ConnectError))):
        faults += [f"{one.what}: {name} is not told" for one in await _contacts(subject, wire) if not one.code]
    return faults if works else ["nothing was tried"]


async def _contacts(subject: Subject, wire: httpx.AsyncBaseTransport | None = None) -> list[Contact]:
    """Each time by a new connector: it has no token of an earlier trial."""
    connector = subject.connector()
    assert isinstance(connector, Reachable)
    return [one async for one in connector.contacts(subject.transport(wire))]


@case("envoi", "echange_complet", "chaque document est transporté et acquitté par le bac à sable")
async def delivered(subject: Subject) -> list[str]:
    if not subject.manifest.ids("write"):
        raise NoObject("ce partenaire ne reçoit rien")
    faults = []
    for filling in subject.fillings:
        wire = Strict(subject.stand_in())
        told = await subject.send(filling, subject.transport(wire))
        announced = subject.manifest.documents[filling.document].content_type
        if told.outcome not in ("delivered", "duplicate"):
            faults.append(f"{filling.document}: {told.outcome} ({told.code})")
        elif wire.calls and not wire.media & set(announced):
            sent = ", ".join(sorted(filter(None, wire.media))) or "no document"
            faults.append(f"{filling.document}: content_type of manifest.toml is {announced[0]}, and {sent} is sent")
    return faults


@case("demande", "echange_complet", "ce que le partenaire donne sur demande est obtenu et lu")
async def pulled(subject: Subject) -> list[str]:
    documents = sorted(subject.manifest.ids("pull"))
    if not documents:
        raise NoObject("ce partenaire ne donne rien sur demande")
    faults, obtained = [], 0
    for document in documents:
        found = await subject.pull(document, subject.transport())
        if isinstance(found, NotObtained):
            faults.append(f"{document}: {found.outcome} ({found.code})")
            continue
        obtained += len(found)
        for name, content in found:
            if not subject.read(Sample(name, "obtenu", content)):
                faults.append(f"{name}: an answer without a record")
    return faults or ([] if obtained else ["nothing was obtained about somebody the stand-in knows"])


@case("pages", "echange_complet", "toutes les pages d'une réponse sont lues, une seule fois chacune")
async def paged(subject: Subject) -> list[str]:
    if "pages" not in getattr(subject.one.sandbox, "SCENARIOS", {}):
        raise NoObject("ce partenaire ne déclare pas de pages (scénario « pages » du bac à sable)")
    faults, most = [], 0
    for document in sorted(subject.manifest.ids("pull")):
        found = await subject.pull(document, subject.transport(Strict(subject.stand_in("pages"))))
        if isinstance(found, NotObtained):
            faults.append(f"{document}: {found.outcome} ({found.code})")
            continue
        keys = [record.key for name, content in found for record in subject.read(Sample(name, "obtenu", content))]
        if len(set(keys)) != len(keys):
            faults.append(f"{document}: a page is read twice")
        most = max(most, len(found))
    return faults or ([] if most > 1 else ["no document came in several pages"])


@case("double", "rejeu", "le même envoi deux fois ne fait qu'un effet chez le partenaire")
async def duplicate(subject: Subject) -> list[str]:
    if not subject.fillings:
        raise NoObject("ce partenaire ne reçoit rien")
    faults = []
    for filling in subject.fillings:
        app, connector = subject.stand_in(), subject.connector()
        transport = subject.transport(Strict(app))
        first, second = [await subject.send(filling, transport, connector) for _ in range(2)]
        if second.outcome not in ("delivered", "duplicate") or second.remote_id not in (first.remote_id, None):
            faults.append(f"{filling.document}: sent again: {second.outcome} ({second.code})")
    return faults


@case("acces_refuse", "pannes", "des identifiants refusés arrêtent l'envoi : un humain doit agir")
async def credentials(subject: Subject) -> list[str]:
    return _other(await _answers(subject, lambda: Answering(401)), "refused")


@case("attente_annoncee", "pannes", "429 avec Retry-After : réessayer, pas avant le délai demandé")
async def later_told(subject: Subject) -> list[str]:
    found, delay = await _asked_to_wait(subject, "quota", Answering(429, {"Retry-After": "37"}))
    early = [
        f"{document}: the delay asked for is lost"
        for document, told in found.items()
        if told is not None and (told.retry_after or 0) < delay - 1
    ]
    return (
        _other(found, "retry") + early + ([] if delay else ["the scenario « quota » of the stand-in asks for no delay"])
    )


@case("attente_non_annoncee", "pannes", "429 sans délai : réessayer plus tard")
async def later(subject: Subject) -> list[str]:
    found, delay = await _asked_to_wait(subject, "quota_sans_delai", Answering(429))
    return _other(found, "retry") + ([f"« quota_sans_delai » asks for a delay of {delay:g} s"] if delay else [])


async def _asked_to_wait(subject: Subject, scenario: str, otherwise: Answering) -> tuple[dict[str, Told | None], float]:
    """What the connector makes of this scenario of the stand-in, with the delay it asks for in seconds (0: none); of
    these bare answers when the stand-in has no such scenario."""
    if scenario not in getattr(subject.one.sandbox, "SCENARIOS", {}):
        return await _answers(subject, lambda: replace(otherwise)), float(otherwise.headers.get("Retry-After", 0))
    wires: list[Strict] = []

    def stand_in() -> Strict:
        wires.append(Strict(subject.stand_in(scenario)))
        return wires[-1]

    found = await _answers(subject, stand_in)
    return found, max(wire.asked for wire in wires)


@case("panne", "pannes", "503 : réessayer plus tard")
async def broken(subject: Subject) -> list[str]:
    return _other(await _answers(subject, lambda: Answering(503)), "retry")


@case("page_web", "pannes", "200 et une page web à la place de la réponse : jamais tenu pour remis")
async def web_page(subject: Subject) -> list[str]:
    found: dict[str, Told | None] = {}
    for filling in subject.fillings:
        wire = Answering(200, {"Content-Type": "text/html; charset=utf-8"}, b"<!doctype html>")
        told = await subject.send(filling, subject.transport(wire))
        found |= {filling.document: told} if wire.calls else {}
    if not found:
        raise NoObject("ce connecteur n'envoie rien au partenaire")
    return _other(found, "retry")


@case("delai", "pannes", "aucune réponse à temps : jamais tenu pour remis")
async def late(subject: Subject) -> list[str]:
    return _other(await _answers(subject, lambda: Failing(httpx.ReadTimeout)), "retry")


@case("injoignable", "pannes", "pas de connexion : réessayer plus tard")
async def unreachable(subject: Subject) -> list[str]:
    return _other(await _answers(subject, lambda: Failing(httpx.ConnectError)), "retry")


@case("scenarios", "pannes", "chaque panne du bac à sable reçoit une réponse, et rien n'est tenu pour acquis")
async def scenarios(subject: Subject) -> list[str]:
    module = subject.one.sandbox
    if module is None or not subject.called():
        raise NoObject("ce connecteur n'appelle pas le partenaire")
    if not module.SCENARIOS:
        return ["the stand-in has no failure to play"]
    for name in module.SCENARIOS:
        for filling in subject.fillings:
            await subject.send(filling, subject.transport(Strict(subject.stand_in(name)), SILENCE))
        for document in sorted(subject.manifest.ids("pull")):
            await subject.pull(document, subject.transport(Strict(subject.stand_in(name)), SILENCE))
    return []


@case("bac_a_sable_strict", "bac_a_sable", "le bac à sable refuse ce que le partenaire n'a pas, et qui n'a pas d'accès")
async def strict(subject: Subject) -> list[str]:
    if not subject.called():
        subject.stand_in()
        raise NoObject("ce connecteur n'appelle pas le partenaire")
    app = subject.stand_in()
    wire = httpx.ASGITransport(app)
    faults = []
    async with httpx.AsyncClient(transport=wire, base_url=BASE) as client:
        for method in ("GET", "POST", "PUT"):
            answer = await client.request(method, "/chemin-que-le-partenaire-n-a-pas")
            if answer.status_code < 400:
                faults.append(f"{method} on an unknown path is answered {answer.status_code}")
    return faults
