"""The question put to the decision table: what is known of a person, a recipient and a flow, as the table's facts."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import select

from gateway import canonical, clock
from gateway.basis import informed_collectively
from gateway.basis_states import FlowStates, states
from gateway.categories import codes_of, told
from gateway.clock import today
from gateway.convention_model import Flow
from gateway.links import Links, links
from gateway.policy import Decision, Policy, Question
from gateway.registry import SECRECY, Gateway
from gateway.storage.tables.access import client
from gateway.storage.tables.delivery import outbox
from gateway.unit_of_work import UnitOfWork
from schemas.normalisation import departement_code
from schemas.record import Current

_NIR_PURPOSES = frozenset({"identification", "instruction_rsa", "liquidation_controle_rsa"})


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
    seen = links(work, gateway, current)
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


def _paid_for(work: UnitOfWork, gateway: Gateway, person_id: str, flow: Flow, seen: Links) -> bool:
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
    seen = links(work, gateway, current)
    known = seen.asked
    if (codes := known.get(categories)) is None:
        codes = known[categories] = codes_of(seen.what(), within=categories)
    return codes if flow.purpose in _NIR_PURPOSES else codes - {"C3"}


def _still_known(gateway: Gateway, flow: Flow, seen: Links, codes: frozenset[str] | None) -> frozenset[str]:
    """The legal categories of which something that the flow may look at is still within its retention."""
    looked_at = gateway.categories(gateway.document(flow.vers, flow.document)) if codes is None else None
    return codes_of(told(seen.within), within=looked_at)
