"""Delivering to France Travail: read what it holds, write only what differs, never write twice.

Every write is preceded by a reading of the remote state, so that an attempt whose outcome was lost (cut connection,
crash before the acknowledgement was kept) is recognised by the next one. A connection cut after a write is followed by
the same reading at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from connectors.contract import Acknowledgement, Outgoing
from connectors.france_travail import apis
from connectors.france_travail.answers import Stopped, Verdict, listed
from connectors.france_travail.client import Client, Person
from connectors.transport import Transport
from schemas import normalisation
from schemas.nomenclatures import codes

Delivered = Callable[[Client, Mapping[str, str], Outgoing, Person, Transport], Awaitable[Acknowledgement]]

_NOT_CRITERIA = frozenset({"origine", "origine_calcul", "date_saisie_donnees", "date_saise_données"})
_DISPUTED = frozenset({"PSP", "PSO"})
_PARCOURS = {"professionnelle": "PED", "indeterminee": "IND"}
"""Category decided to the parcours it is sure to be; PSP and PSO wait for France Travail to say which is which."""


def _done(code: str = "", remote_id: str | None = None, detail: str = "") -> Acknowledgement:
    return Acknowledgement("delivered", code, remote_id=remote_id, detail=detail)


def _refused(code: str) -> Acknowledgement:
    return Acknowledgement("refused", code)


def _same_moment(one: Any, other: Any) -> bool:
    """Two instants, whatever their spelling; a time without a zone is in UTC."""

    def read(text: Any) -> datetime | None:
        try:
            moment = datetime.fromisoformat(str(text))
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    return read(one) is not None and read(one) == read(other)


async def _written(
    write: Callable[[], Awaitable[Any]], held: Callable[[], Awaitable[Acknowledgement | None]]
) -> Any | Acknowledgement:
    """Write; when the outcome is unknown, read whether it was done, and say so or try again later."""
    try:
        return await write()
    except Stopped as stopped:
        if stopped.verdict.outcome != "unknown":
            raise
        found = await held()
        return found or Acknowledgement("retry", "unknown_outcome")


# --- orientation ----------------------------------------------------------------------------------------------------


async def _orientations(client: Client, person: Person, transport: Transport) -> list[dict[str, Any]]:
    read = await client.call(apis.ORIENTATION, "GET", "/lectureOrientation", transport, person=person)
    return [item for item in listed(read, "orientations") if isinstance(item, dict)]


def _pending(orientations: list[dict[str, Any]]) -> dict[str, Any] | None:
    return next((item for item in orientations if item.get("etat") not in {"OUVERT", "CLOTURE"}), None)


async def calcul_orientation(
    client: Client, settings: Mapping[str, str], outgoing: Outgoing, person: Person, transport: Transport
) -> Acknowledgement:
    """Store the criteria and have the préconisation computed. Criteria that France Travail alone knows are kept."""
    sent: dict[str, Any] = outgoing.written.document
    known = (_pending(await _orientations(client, person, transport)) or {}).get("criteres_orientation") or {}
    criteria = {name: value for name, value in known.items() if name not in _NOT_CRITERIA and value is not None}
    if criteria == sent:
        return Acknowledgement("duplicate", "same_criteria")
    if criteria.keys() - sent.keys():
        return Acknowledgement("waiting", "criteria_incomplete")
    told = await client.call(
        apis.ORIENTATION, "POST", "/calculOrientation", transport, person=person, json=sent, repeatable=True
    )
    parcours = told.get("parcours") if isinstance(told, dict) else None
    return _done("criteria_insufficient" if parcours == "IND" else "computed")


def _decided(orientations: list[dict[str, Any]], sent: Mapping[str, Any]) -> bool:
    made = _decision({"decision": sent})
    return any(item.get("statut") == "DECIDE" and _decision(item) == made for item in orientations)


def _decision(item: Mapping[str, Any]) -> tuple[Any, ...]:
    """What was decided, by whom, which day: the body stands beside the decision or in it, a day may be an instant."""
    told = item.get("decision") or {}
    body = told.get("organisme_decision") or item.get("organisme_decision")
    return told.get("etat_decision"), normalisation.partial_date(str(told.get("date_decision"))), body


def _contradiction(pending: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """Why an acceptance would not accept what the authority decided; empty when nothing contradicts it."""
    proposed, decided, categorie = pending.get("parcours"), told.get("parcours"), told.get("categorie")
    organisme = told.get("organisme")
    if organisme and pending.get("organisme") not in {None, organisme}:
        return "preconisation_differs"
    if decided:
        return "" if decided == proposed else "preconisation_differs"
    if categorie in _PARCOURS or proposed not in _DISPUTED:
        return "" if not categorie or _PARCOURS.get(str(categorie)) == proposed else "preconisation_differs"
    return "parcours_disputed" if categorie else ""


async def decision_orientation(
    client: Client, settings: Mapping[str, str], outgoing: Outgoing, person: Person, transport: Transport
) -> Acknowledgement:
    """Transmit the authority's decision on the préconisation. It is never turned into another one."""
    sent, told = outgoing.written.document, outgoing.written.metadata
    if any(finding.path.endswith("parcours") for finding in outgoing.written.findings):
        return _refused("parcours_disputed")
    if sent.get("etat_decision") == "REFUSEE" and not {"motif_refus", "parcours", "organisme"} <= sent.keys():
        return _refused("incomplete_document")
    orientations = await _orientations(client, person, transport)
    if _decided(orientations, sent):
        return Acknowledgement("duplicate", "already_decided")
    pending = _pending(orientations)
    if pending is None:
        return await _force(client, settings, sent, told, person, transport)
    if pending.get("etat") == "BROUILLON" or pending.get("parcours") == "IND":
        return Acknowledgement("waiting", "criteria_incomplete")
    reason = _contradiction(pending, told) if sent["etat_decision"] == "ACCEPTEE" else ""
    if reason and not (reason == "parcours_disputed" and settings.get("acceptation_parcours_dispute") == "oui"):
        return _refused(reason)

    async def held() -> Acknowledgement | None:
        again = await _orientations(client, person, transport)
        return _done("read_back") if _decided(again, sent) else None

    answer = await _written(
        lambda: client.call(apis.ORIENTATION, "POST", "/decisionOrientation", transport, person=person, json=sent),
        held,
    )
    return answer if isinstance(answer, Acknowledgement) else _done("decided")


async def _force(
    client: Client,
    settings: Mapping[str, str],
    sent: Mapping[str, Any],
    told: Mapping[str, Any],
    person: Person,
    transport: Transport,
) -> Acknowledgement:
    """An orientation without a préconisation: discouraged by France Travail, so only where the operator said so."""
    if settings.get("orientation_forcee") != "oui":
        return Acknowledgement("waiting", "no_preconisation")
    if sent.get("etat_decision") != "ACCEPTEE" or told.get("parcours") != "PED" or not told.get("organisme"):
        return _refused("parcours_disputed" if told.get("parcours") in _DISPUTED else "incomplete_document")
    body = {"organisme": told["organisme"], "origine": "INSCRIPTION_CONSEILLER_CD", "parcours": told["parcours"]}

    async def held() -> Acknowledgement | None:
        again = await _orientations(client, person, transport)
        same = (_forced(item) for item in again if item.get("etat") == "OUVERT")
        return _done("read_back") if body in same else None

    if found := await held():
        return Acknowledgement("duplicate", found.code)
    answer = await _written(
        lambda: client.call(apis.ORIENTATION, "POST", "/orientation", transport, person=person, json=body), held
    )
    return answer if isinstance(answer, Acknowledgement) else _done("forced")


def _forced(item: Mapping[str, Any]) -> dict[str, Any]:
    """What a forced orientation says: its origin stands at the top or among the criteria, under either name."""
    criteria = item.get("criteres_orientation") or {}
    told = (place.get(name) for place in (item, criteria) for name in ("origine", "origine_calcul"))
    origin = next(filter(None, told), None)
    return {"organisme": item.get("organisme"), "origine": origin, "parcours": item.get("parcours")}


# --- rendez-vous ----------------------------------------------------------------------------------------------------


def _identity(rdv: Mapping[str, Any]) -> tuple[Any, ...]:
    return rdv.get("motif"), rdv.get("typeReception"), (rdv.get("organisme") or {}).get("code")


async def _existing(client: Client, sent: Mapping[str, Any], person: Person, transport: Transport) -> dict[str, Any]:
    """The rendez-vous that France Travail already holds for this moment, reason and body; empty when none."""
    read = await client.call(apis.RENDEZ_VOUS, "GET", "/rendez-vous-usager", transport, person=person)
    for rdv in listed(read, "rendezVous"):
        if not isinstance(rdv, dict) or not rdv.get("id"):
            continue
        if _same_moment(rdv.get("date"), sent.get("date")) and _identity(rdv) == _identity(sent):
            return rdv
    return {}


async def rendez_vous(
    client: Client, settings: Mapping[str, str], outgoing: Outgoing, person: Person, transport: Transport
) -> Acknowledgement:
    """Create, change or cancel one rendez-vous; create it again once when France Travail merged two files."""
    sent, told = outgoing.written.document, outgoing.written.metadata
    theirs = (sent.get("organisme") or {}).get("code") == "FT"  # a Département's tool also keeps those of its agencies
    if theirs or str(told.get("item", "")).startswith("france_travail:"):
        return _refused("owned_by_recipient")
    if outgoing.withdraw or told.get("etat") == "efface_source":
        return await _erase(client, outgoing, person, transport)
    if outgoing.remote_id:
        try:
            await client.call(
                apis.RENDEZ_VOUS, "PUT", "/rendez-vous", transport, person=person,
                json=sent | {"id": outgoing.remote_id}, repeatable=True,
            )  # fmt: skip
            return _done("modified", outgoing.remote_id)
        except Stopped as stopped:
            if stopped.verdict.code != "ID_NON_RECONNU":
                raise
    if held := await _existing(client, sent, person, transport):
        return _renamed(await _adopt(client, sent, held, person, transport), outgoing)
    if sent.get("statut") == "ANNULE":
        return Acknowledgement("duplicate", "nothing_to_cancel")
    answer = await _create(client, sent, person, transport, again=bool(outgoing.remote_id))
    return _renamed(answer, outgoing)


def _renamed(answer: Acknowledgement, outgoing: Outgoing) -> Acknowledgement:
    """France Travail merged two files: both ids of the rendez-vous are told, so that neither is lost."""
    former, item = outgoing.remote_id, outgoing.written.metadata.get("item")
    if not former or not item or answer.remote_id in {None, former}:
        return answer
    ids = [f"france_travail:{former}", f"france_travail:{answer.remote_id}"]
    return replace(answer, facts={f"rendez_vous[{item}].identifiants": ids})


async def _adopt(
    client: Client, sent: Mapping[str, Any], held: Mapping[str, Any], person: Person, transport: Transport
) -> Acknowledgement:
    """France Travail already holds it, under an id we lost or never had: keep that id, write what changed."""
    identifier = str(held["id"])
    if all(held.get(name) == value for name, value in sent.items() if name not in {"id", "date"}):
        return Acknowledgement("duplicate", "already_held", remote_id=identifier)
    await client.call(
        apis.RENDEZ_VOUS, "PUT", "/rendez-vous", transport, person=person, json={**sent, "id": identifier},
        repeatable=True,
    )  # fmt: skip
    return _done("modified", identifier)


async def _create(
    client: Client, sent: Mapping[str, Any], person: Person, transport: Transport, *, again: bool
) -> Acknowledgement:
    async def held() -> Acknowledgement | None:
        found = await _existing(client, sent, person, transport)
        return _done("read_back", str(found["id"])) if found else None

    answer = await _written(
        lambda: client.call(
            apis.RENDEZ_VOUS, "POST", "/rendez-vous", transport, person=person, json={**sent, "id": None}
        ),
        held,
    )
    if isinstance(answer, Acknowledgement):
        return answer
    identifier = answer.get("id") if isinstance(answer, dict) else None
    if not identifier:
        # A success without an id leaves something that nobody could change: the next attempt looks for it first.
        return await held() or Acknowledgement("retry", "no_identifier")
    return _done("created_again" if again else "created", str(identifier))


async def _erase(client: Client, outgoing: Outgoing, person: Person, transport: Transport) -> Acknowledgement:
    """The source erased it, or it is another person's: it goes from France Travail too, wherever a merge put it."""
    identifier = outgoing.remote_id
    for _ in range(2):
        if identifier is None:
            identifier = (await _existing(client, outgoing.written.document, person, transport)).get("id")
        if identifier is None:
            return Acknowledgement("duplicate", "already_gone")
        try:
            path = f"/rendez-vous/{identifier}"
            await client.call(apis.RENDEZ_VOUS, "DELETE", path, transport, person=person, repeatable=True)
            return _done("deleted")
        except Stopped as stopped:
            if stopped.verdict.code != "ID_NON_RECONNU":
                raise
            identifier = None
    return Acknowledgement("duplicate", "already_gone")


# --- contract, sanction ---------------------------------------------------------------------------------------------


async def contrat_engagement(
    client: Client, settings: Mapping[str, str], outgoing: Outgoing, person: Person, transport: Transport
) -> Acknowledgement:
    """Record that the contract was signed or refused. Whether one exists decides how: it is always read first."""
    sent = outgoing.written.document
    if len(sent) != 1:
        return _refused("incomplete_document")
    ((name, moment),) = sent.items()

    async def read() -> dict[str, Any] | None:
        found = await client.call(apis.CONTRAT, "GET", "/lecture", transport, person=person)
        if not isinstance(found, dict | None):
            raise Stopped(Verdict("retry", "answer_unexpected"))
        return found

    async def held() -> Acknowledgement | None:
        found = await read()
        return _done("read_back") if found and _same_moment(found.get(name), moment) else None

    existing = await read()
    if existing and _same_moment(existing.get(name), moment):
        return Acknowledgement("duplicate", "already_recorded")
    if existing is None and name == "dateRefus":
        return Acknowledgement("waiting", "no_contract")
    method = "POST" if existing is None else "PATCH"
    path = "/signer" if name == "dateSignature" else "/refuser"
    answer = await _written(lambda: client.call(apis.CONTRAT, method, path, transport, person=person, json=sent), held)
    return answer if isinstance(answer, Acknowledgement) else _done("signed" if path == "/signer" else "refused")


_SANCTION_FIELDS: dict[str, tuple[str, ...]] = {
    "SAISIE_SANCTION": (),
    "REFUS_SAISIE_SANCTION": (),
    "VALID_SANCTION": (
        "typeConsequenceSanctionValide", "modaliteDecisionValidee", "montantValide", "dureeValidee",
    ),
    "REFUS_SANCTION": (),
    "VALID_LEVEE_SUSP": (),
    "REFUS_LEVEE_SUSP": (),
    "ANNULATION_SANCTION": ("typeConsequenceSanctionValide", "motifEvenement"),
}  # fmt: skip
"""Events and the fields they need; France Travail's own samples omit some that its diagram calls mandatory."""


@cache
def _events() -> frozenset[tuple[str, str]]:
    """Each event with the activity that it answers; an annulment answers none."""
    return frozenset((one.code, one.parent) for one in codes("france_travail/sanctions_evenements").values())


def _validated(validations: Any) -> bool:
    """Two recorded validations by two different people, each named and dated."""
    named = {
        str(one.get("agent"))
        for one in validations or ()
        if isinstance(one, Mapping) and one.get("agent") and one.get("le")
    }
    return len(named) >= 2


async def sanction_rsa(
    client: Client, settings: Mapping[str, str], outgoing: Outgoing, person: Person, transport: Transport
) -> Acknowledgement:
    """Transmit one administrative act. Its author decided; two people validated; nothing is repeated by itself."""
    sent = outgoing.written.document
    event = sent.get("evenement") or {}
    needed = _SANCTION_FIELDS.get(str(event.get("typeEvenement")))
    if not _validated(outgoing.written.metadata.get("validations")):
        return _refused("validations_missing")
    if needed is None or any(event.get(name) in {None, ""} for name in needed):
        return _refused("incomplete_document")
    activite = outgoing.written.metadata.get("activite")
    if activite and not {(event["typeEvenement"], activite), (event["typeEvenement"], "")} & _events():
        return _refused("event_of_another_activity")
    if event["typeEvenement"] == "REFUS_SAISIE_SANCTION" and settings.get("refus_saisie_sanction") != "oui":
        return _refused("refus_saisie_suspended")
    try:
        await client.call(apis.SANCTIONS, "POST", "/evenementSanctionRSA", transport, person=person, json=sent)
    except Stopped as stopped:
        if stopped.verdict.outcome == "unknown":
            # What France Travail holds cannot be read (its answer is not published): a human looks before a new try.
            raise Stopped(Verdict("refused", "unknown_outcome")) from None
        raise
    return _done("transmitted")


SENT: Mapping[str, Delivered] = {
    "france_travail.calcul_orientation": calcul_orientation,
    "france_travail.decision_orientation": decision_orientation,
    "france_travail.rendez_vous": rendez_vous,
    "france_travail.contrat_engagement": contrat_engagement,
    "france_travail.sanction_rsa": sanction_rsa,
}
