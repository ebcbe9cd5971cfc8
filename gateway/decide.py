"""The question put to the decision table: what is known of a person, a recipient and a flow, as the table's facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import select

from gateway import canonical, clock, retention
from gateway.basis import informed_collectively
from gateway.basis_states import FlowStates, states
from gateway.categories import Told, codes_of, legal_code, told
from gateway.clock import today
from gateway.convention_model import Flow
from gateway.merge import Portrait
from gateway.policy import Decision, Policy, Question
from gateway.registry import SECRECY, Gateway
from gateway.storage.tables.access import client
from gateway.storage.tables.delivery import outbox
from gateway.unit_of_work import UnitOfWork
from schemas.normalisation import departement_code, is_initial
from schemas.record import Current, value_of

_OPEN_RIGHTS = frozenset({"demande_en_attente", "ouvert_versable", "ouvert_suspendu", "ouvert_versement_suspendu"})
_NIR_PURPOSES = frozenset({"identification", "instruction_rsa", "liquidation_controle_rsa"})
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


def decide(work: UnitOfWork, gateway: Gateway, person_id: str, flow: Flow, current: Current) -> Decision:
    """May this flow carry what its document writes about this person, today?"""
    return answer(work, gateway, person_id, flow, current)[1]


def answer(
    work: UnitOfWork, gateway: Gateway, person_id: str, flow: Flow, current: Current
) -> tuple[Question, Decision]:
    """All that this flow asks about this person today, and what the table answers.

    Within one transaction the same flow and the same facts get the same answer: those met are remembered.
    """
    said = _said(work, gateway, person_id, flow, current, None)
    known: dict[int, tuple[Flow, Policy, dict[_Said, tuple[Question, Decision]]]] = work.scratch.setdefault(
        "decisions", {}
    )
    asked_of, policy, answers = known.get(id(flow), (None, None, {}))
    if asked_of is not flow or policy is not gateway.policy:
        # Kept beside its answers, a flow cannot leave its identity to another.
        _, _, answers = known[id(flow)] = flow, gateway.policy, {}
    found = answers.get(said)
    if found is None:
        put = _question(gateway, flow, said)
        found = answers[said] = put, gateway.policy.decide(put)
    return found


def question(
    work: UnitOfWork,
    gateway: Gateway,
    person_id: str,
    flow: Flow,
    current: Current,
    codes: frozenset[str] | None = None,
) -> Question:
    """The facts of one flow about one person. `codes` narrows what is asked; by default, all the document writes."""
    return _question(gateway, flow, _said(work, gateway, person_id, flow, current, codes))


class _Said(NamedTuple):
    """All that the question about one flow takes from the person and her dossier; the flow itself says the rest."""

    states: FlowStates
    categories: frozenset[str]
    elapsed: frozenset[str]
    informed: bool
    age_status: str
    convention_active: bool
    habilitated: bool
    linked: bool
    sender_linked: bool
    referent: str
    clock_ok: bool
    """The date is still sure: one that is moved during a transaction counts at its next question."""


def _said(
    work: UnitOfWork, gateway: Gateway, person_id: str, flow: Flow, current: Current, codes: frozenset[str] | None
) -> _Said:
    known = states(work, (person_id,))[person_id].for_flow(flow.regime, flow.purpose, flow.vers, work.now)
    seen = _portrait(work, gateway, current)
    wanted = codes if codes is not None else asked(work, gateway, flow, current)
    role = flow.role_vers or gateway.body(flow.vers).role
    linked = seen.linked(flow.vers, role) or (role == "departement" and _paid_for(work, gateway, person_id, flow, seen))
    return _Said(
        known,
        wanted,
        wanted - _still_known(gateway, flow, seen, codes) if seen.within is not current else frozenset(),
        known.person_informed or informed_collectively(work, flow.information, flow.notice),
        _age_status(known.age_status, current, work.now),
        flow.active and in_perimeter(gateway, flow, current),
        not _suspended(work) & {flow.de, flow.vers},
        linked,
        linked and seen.linked(flow.de, gateway.body(flow.de).role),
        seen.referent,
        clock.steady(),
    )


def _paid_for(work: UnitOfWork, gateway: Gateway, person_id: str, flow: Flow, seen: _Portrait) -> bool:
    """Does a caisse speak of someone it told this Département of? It hears that she left the household of the right as
    it hears that a right ended (CASF L262-40): no right of hers is left to link them."""
    if flow.de not in seen.sources or gateway.role(flow.de) != "caf_msa":
        return False
    told = select(outbox.c.id).where(
        outbox.c.person_id == person_id,
        outbox.c.recipient == flow.vers,
        outbox.c.state == "delivered",
        outbox.c.sender == flow.de,
    )
    return work.connection.execute(told.limit(1)).first() is not None


_CLIENTS = select(client.c.body, client.c.state).distinct()


def _suspended(work: UnitOfWork) -> frozenset[str]:
    """The bodies whose clients are all suspended (`maillon partner suspend`), read once for a transaction: they neither
    give nor receive. A body without a client is not one of them: it is read and served by this gateway itself."""
    known: frozenset[str] | None = work.scratch.get("suspended")
    if known is None:
        rows = work.connection.execute(_CLIENTS).all()
        active = {row.body for row in rows if row.state == "active"}
        known = work.scratch["suspended"] = frozenset(row.body for row in rows) - active
    return known


def _question(gateway: Gateway, flow: Flow, said: _Said) -> Question:
    sender, recipient, known = gateway.body(flow.de), gateway.body(flow.vers), said.states
    role = flow.role_vers or recipient.role
    return Question(
        sender=flow.role_de or sender.role,
        recipient=role,
        regime=flow.regime,
        purpose=flow.purpose,
        categories=said.categories,
        art9_gate=flow.art9_gate,
        consent_state=known.consent_state,
        consent_categories=known.consent_categories,
        objection_state=known.objection_state,
        limitation=known.limitation,
        person_informed=said.informed,
        age_status=said.age_status,
        representative_notified=known.representative_notified,
        convention_active=said.convention_active,
        convention_categories=flow.codes,
        client_habilitated=said.habilitated,
        agent_habilitated=True,  # no token names an agent: each body answers for its own, under its convention
        link_active=said.linked,
        referent=said.referent,
        recipient_secrecy=role in SECRECY,
        both_professionals_act=said.sender_linked,
        strict_necessity=bool(flow.necessite),
        reason_hash=flow.necessite,
        household_link="self",  # each person has her own dossier, and is asked about by herself
        data_origin_regime="none",  # a dossier has several origins: D16 is applied value by value (O5)
        record_expired=bool(said.elapsed) and said.elapsed == said.categories,
        elapsed_categories=said.elapsed,
        rate_exceeded=False,  # the doors answer 429 before anything is asked (`access/rates.py`)
        human_validations=known.human_validations,
        clock_ok=said.clock_ok,
        notice_ref=known.notice_ref or flow.notice,
        consent_ref=known.consent_ref,
    )


def followers(work: UnitOfWork, gateway: Gateway, current: Current) -> set[str]:
    """The bodies that follow this person: named as her référent or her host, or speaking of her themselves.

    The caisse that pays her does not follow her.
    """
    seen = _portrait(work, gateway, current)
    said = {source for source in seen.sources if gateway.role(source) != "caf_msa"}
    return {body for body in said | seen.named if body in gateway.bodies}


def following(gateway: Gateway, current: Current) -> tuple[frozenset[str], str]:
    """The bodies linked with this person, and the role of the one that follows her."""
    seen = _seen(gateway, current, current)
    return frozenset(id for id, body in gateway.bodies.items() if seen.linked(id, body.role)), seen.referent


def came_of_age(before: Current, since: str, current: Current, now: str) -> bool:
    """Was this person a minor at an instant, by what was said of her then, and is no more?"""
    return (_age_status("adult", before, since), _age_status("adult", current, now)) == ("minor", "adult")


def absent_flow(gateway: Gateway, like: Flow, recipient: str) -> Flow:
    """The flow that no convention declares, asked about under the regime and purpose of one that exists."""
    return replace(
        like,
        id="",
        convention="",
        vers=recipient,
        role_vers=gateway.role(recipient),
        document=canonical.ID,
        etat="suspendue",
        codes=None,
        identification=False,
    )


def _age_status(recorded: str, current: Current, now: str) -> str:
    """A minor by her birth date, until the end of the month or year when only that is known, unless a protection was
    recorded; an unknown date says nothing."""
    born = current.get("personne.date_naissance")
    if recorded != "adult" or born is None:
        return recorded
    day = str(born.value)[:10]
    eighteen = f"{int(day[:4]) + 18}{day[4:]}{'-12-31'[len(day) - 4 :]}"
    # Paris is never behind universal time: an adult there is one here.
    return "minor" if now[:10] < eighteen and today(now) < eighteen else "adult"


def refusal_of(
    work: UnitOfWork, gateway: Gateway, person_id: str, flow: Flow, current: Current
) -> tuple[Question, Decision]:
    """Why a flow that no convention declares is refused: by the law itself where it says so, else for want of one."""
    asked_of = question(work, gateway, person_id, flow, current)
    lawful = replace(asked_of, convention_active=True)
    by_law = gateway.policy.decide(lawful)
    return (asked_of, gateway.policy.decide(asked_of)) if by_law.permits else (lawful, by_law)


def in_perimeter(gateway: Gateway, flow: Flow, current: Current) -> bool:
    """Does the person live where the flow is open?

    A person without a known commune (homeless, abroad) is inside when the flow covers the whole Département and one of
    its ends is the Département or the caisse that pays for it. So is whoever lives elsewhere when that caisse tells the
    Département of her right (CASF L262-13, L262-40): it pays until the transfer, and must hear that it ended.
    """
    de, vers = gateway.role(flow.de), gateway.role(flow.vers)
    for nature in ("residence", "domiciliation"):
        if fact := current.get(f"personne.adresses[{nature}].code_insee"):
            if flow.covers(str(fact.value)):
                return True
            right = current.get("droit_rsa.etat") if (de, vers) == ("caf_msa", "departement") else None
            return right is not None and right.source == flow.de and _covers_all(gateway, flow)
    return bool({de, vers} & {"departement", "caf_msa"}) and _covers_all(gateway, flow)


def _covers_all(gateway: Gateway, flow: Flow) -> bool:
    """Is the flow open in the whole Département that this gateway serves?"""
    served = gateway.settings.departement
    return bool(served) and flow.covers(departement_code(served).ljust(5, "0"))


def asked(work: UnitOfWork, gateway: Gateway, flow: Flow, current: Current) -> frozenset[str]:
    """The legal categories that the flow's document would carry of what is known today.

    The NIR is only asked for where it may travel; elsewhere asking for it would refuse the whole (D06).
    """
    categories = gateway.categories(gateway.document(flow.vers, flow.document))
    seen = _portrait(work, gateway, current)
    known = seen.asked
    if (codes := known.get(categories)) is None:
        codes = known[categories] = codes_of(seen.what(), within=categories)
    return codes if flow.purpose in _NIR_PURPOSES else codes - {"C3"}


def _still_known(gateway: Gateway, flow: Flow, seen: _Portrait, codes: frozenset[str] | None) -> frozenset[str]:
    """The legal categories of which something that the flow may look at is still within its retention."""
    looked_at = gateway.categories(gateway.document(flow.vers, flow.document)) if codes is None else None
    return codes_of(told(seen.within), within=looked_at)


def identifiers_for(
    work: UnitOfWork, gateway: Gateway, person_id: str, flow: Flow, current: Current
) -> Mapping[str, str]:
    """What may serve to find the person at the recipient's, as a flow's own identification lets it."""
    return found_by(work, gateway, person_id, flow, current).names


class FoundBy(NamedTuple):
    """What finds a person at a partner's, and what lets it be told there."""

    names: Mapping[str, str]
    flow: Flow | None = None
    question: Question | None = None
    decision: Decision | None = None


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


# --- what one look at a dossier tells every flow --------------------------------------------------------------------

FOLLOWING = ("accompagnements[", "orientations[")
"""The facts that say who follows somebody."""
_ORIENTED = ".organisme_accueil.nom"
_HOST = (".organisation.nom", ".organisation.ref", _ORIENTED, ".organisme_accueil.ref")


@dataclass(frozen=True, slots=True)
class _Portrait:
    """Who speaks of a person and who follows her, read once from her current dossier for all its flows."""

    of: Current
    sources: frozenset[str]
    named: frozenset[str]
    """The bodies that the dossier names as hosts or followers of this person."""
    referent: str
    """The role of the body that follows her: her current référent, else the body her orientation names."""
    right: Any
    known_to_france_travail: bool
    within: Current
    """The same dossier without what is past its retention; itself when nothing is."""
    asked: dict[frozenset[str], frozenset[str]]
    """C-codes that documents writing these categories of the model would carry."""
    seen: list[Told]

    def what(self) -> Told:
        """What the dossier tells, by category and code, looked at once for all flows."""
        if not self.seen:
            self.seen.append(told(self.of))
        return self.seen[0]

    def linked(self, body_id: str, role: str) -> bool:
        """Does this body have a current link with the person: it speaks of her, follows her, or must by law?"""
        if body_id in self.sources or body_id in self.named:
            return True
        if role in ("departement", "caf_msa"):
            return self.right is not None
        # France Travail registers everyone with the RSA request (CT L5411-1).
        return role == "france_travail" and (self.right in _OPEN_RIGHTS or self.known_to_france_travail)


def _portrait(work: UnitOfWork, gateway: Gateway, current: Current) -> _Portrait:
    """The portrait of this very dossier: another one, or the same read again after a change, gets another."""
    known: _Portrait | None = work.scratch.get("portrait")
    if known is None or known.of is not current:
        known = work.scratch["portrait"] = _paint(work, gateway, current)
    return known


def within_retention(work: UnitOfWork, gateway: Gateway, current: Current) -> Current:
    """This dossier without what is past its retention; the same object when nothing is."""
    return _portrait(work, gateway, current).within


def _paint(work: UnitOfWork, gateway: Gateway, current: Current) -> _Portrait:
    within = retention.within(work, gateway, current) if isinstance(current, Portrait) else current
    return _seen(gateway, current, within)


def _seen(gateway: Gateway, current: Current, within: Current) -> _Portrait:
    places = {path.rpartition(".")[0] for path in current if path.endswith(_HOST)}
    return _Portrait(
        of=current,
        sources=current.sources if isinstance(current, Portrait) else frozenset(f.source for f in current.values()),
        named=frozenset[str]().union(*(_bodies(gateway, current, place) for place in places)),
        referent=_referent(gateway, current),
        right=value_of(current, "droit_rsa.etat"),
        known_to_france_travail="identifiants[ft_numero].valeur" in current,
        within=within,
        asked={},
        seen=[],
    )


def _referent(gateway: Gateway, current: Current) -> str:
    """What has an end names nobody any more."""
    about = [path for path in current if path.startswith(FOLLOWING)]
    for path in about:
        if path.endswith(".est_referent") and current[path].value is True:
            member, (item, _, _) = path.rpartition(".")[0], path.partition("]")
            over = f"{member}.jusqua" in current or f"{item}].fin" in current
            if not over and (role := _role(gateway, current, f"{member}.organisation")):
                return role
    return _oriented_to(gateway, current, about) or "aucun"


def _oriented_to(gateway: Gateway, current: Current, about: list[str]) -> str:
    """The role of the body that the last begun of her decided orientations names."""
    begun: dict[str, str] = {}
    for path in about:
        if path.startswith("orientations[") and path.endswith(_ORIENTED):
            item = path.removesuffix(_ORIENTED)
            if f"{item}.fin" not in current and value_of(current, f"{item}.etat") in (None, "decidee"):
                begun[item] = str(
                    value_of(current, f"{item}.debut") or value_of(current, f"{item}.date_decision") or ""
                )
    return _role(gateway, current, f"{max(begun, key=begun.__getitem__)}.organisme_accueil") if begun else ""


_ROLE_OF_NATURE = {
    "departement": "departement", "service_social": "departement", "sst": "departement", "ccas": "ccas",
    "cias": "ccas", "commune": "commune", "france_travail": "france_travail", "caf": "caf_msa", "msa": "caf_msa",
}  # fmt: skip


def _role(gateway: Gateway, current: Current, organisation: str) -> str:
    named = _bodies(gateway, current, organisation)
    if named:
        return gateway.role(min(named))
    nature = current.get(f"{organisation}.nature")
    return _ROLE_OF_NATURE.get(str(nature.value), "") if nature else ""


def _bodies(gateway: Gateway, current: Current, organisation: str) -> set[str]:
    """The bodies an organisation of the dossier is: by its id here, or by its registered name."""
    found = set()
    if (ref := current.get(f"{organisation}.ref")) and str(ref.value) in gateway.bodies:
        found.add(str(ref.value))
    if name := current.get(f"{organisation}.nom"):
        found |= gateway.named(str(name.value))
    return found
