"""What may serve to find a person at a partner's, and what lets it be told there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.categories import legal_code
from gateway.convention_model import Flow
from gateway.decide import question
from gateway.links import within_retention
from gateway.merge import Portrait
from gateway.policy import Decision, Question
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork
from schemas.normalisation import is_initial
from schemas.record import Current

_MATCH_ONLY = {
    "nir": "identifiants[nir].valeur",
    "ft_numero": "identifiants[ft_numero].valeur",
    "date_naissance": "personne.date_naissance",
    "nom_naissance": "personne.nom_naissance",
}
"""Identifiers that a transport may use to find the person at the recipient's, never written in a document."""

_CIVIL_IDENTITY = {
    "nom_naissance": "personne.nom_naissance",
    "nom_usage": "personne.nom_usage",
    "prenoms": "personne.prenoms",
    "sexe": "personne.sexe_etat_civil",
    "date_naissance": "personne.date_naissance",
    "commune_naissance": "personne.lieu_naissance.code_insee",
    "pays_naissance": "personne.lieu_naissance.code_pays",
}
"""What a partner that is asked about somebody, and was never told of her, finds her by (API Particulier, a file of a
mission locale): under the purpose of what it is asked, never with a number."""


class FoundBy(NamedTuple):
    """What finds a person at a partner's, and what lets it be told there."""

    names: Mapping[str, str]
    flow: Flow | None = None
    question: Question | None = None
    decision: Decision | None = None


def identifiers_for(
    work: UnitOfWork, gateway: Gateway, person_id: str, flow: Flow, current: Current
) -> Mapping[str, str]:
    """What may serve to find the person at the recipient's, as a flow's own identification lets it."""
    return found_by(work, gateway, person_id, flow, current).names


def found_by(work: UnitOfWork, gateway: Gateway, person_id: str, flow: Flow, current: Current) -> FoundBy:
    """What may serve to find the person at the recipient's: an exchange of its own, for identification (P1) only.

    The NIR never travels with the document; a refusal here leaves the other identifiers.
    """
    if not flow.identification:  # no convention, no exchange (D01)
        return FoundBy({})
    return _found_by(work, gateway, person_id, flow.for_identification(), current, _MATCH_ONLY)


def asked_about(work: UnitOfWork, gateway: Gateway, person_id: str, flow: Flow, current: Current) -> FoundBy:
    """Her civil identity, to ask a partner for the document that this flow names, as its own purpose lets it."""
    return _found_by(work, gateway, person_id, flow, current, _CIVIL_IDENTITY)


def _found_by(
    work: UnitOfWork, gateway: Gateway, person_id: str, flow: Flow, current: Current, names: Mapping[str, str]
) -> FoundBy:
    """What some say goes no further than its first recipient here either: what nobody else told finds nobody."""
    codes = frozenset(code for path in names.values() if path in current and (code := legal_code(path)))
    put = question(work, gateway, person_id, flow, current, codes)
    decision = gateway.policy.decide(put)
    allowed = decision.sent if decision.permits else frozenset()
    blocked = {origin: some for origin, _, _, some in decision.onward}
    still = within_retention(work, gateway, current)
    found = {}
    for name, path in names.items():
        if path not in still or (code := legal_code(path)) not in allowed:
            continue
        value = still[path].value
        tellers = [still[path], *(still.seconded(path) if blocked and isinstance(still, Portrait) else ())]
        if any(one.value == value and code not in blocked.get(gateway.role(one.source), ()) for one in tellers):
            text = " ".join(value) if isinstance(value, list) else str(value)
            if path != "personne.prenoms" or not is_initial(text):
                found[name] = text
    return FoundBy(found, flow, put, decision)
