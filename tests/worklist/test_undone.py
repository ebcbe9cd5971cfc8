"""A human undoes a merge: what a partner was told of one person and was another's is withdrawn, or shown to a human."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from gateway import identity_review, tasks
from gateway.storage.tables.record import identity_case
from tests.worklist.conftest import Territory
from tests.worklist.test_late import NUMERO, appointment, rdv

DECIDED = {"orientations[departement:o1].etat": "decidee", "orientations[departement:o1].date_decision": "2026-11-21"}


def taken_for_her(landes: Territory, facts: dict[str, Any], numero: str = NUMERO) -> tuple[str, str]:
    """Somebody like her is told of, and a human says that they are one: her, the other."""
    who = landes.known(numero)
    usager = landes.sandbox.usagers[numero]
    told = {
        "personne.nom_naissance": usager.nom, "personne.prenoms": [usager.prenom],
        "personne.date_naissance": usager.date_naissance,
    }  # fmt: skip
    (other,) = landes.tell("departement", "another", told | facts, {"droit_rsa.etat": "ouvert_versable"}).persons
    with landes.gateway.unit_of_work() as work:
        identity_review.decide(work, landes.gateway, case(work), True, "agent")
    return who, other


def case(work: Any) -> str:
    return str(work.connection.execute(select(identity_case.c.id)).scalar_one())


def apart(landes: Territory) -> None:
    with landes.gateway.unit_of_work() as work:
        identity_review.reverse(work, landes.gateway, case(work), "agent")
    landes.deliver()


def decision(landes: Territory, who: str) -> tuple[str, str | None]:
    return [(s, r) for document, s, r in landes.deliveries(who) if document.endswith("decision_orientation")][-1]


def to_see(landes: Territory, who: str) -> list[tuple[str, str, str]]:
    with landes.gateway.reading() as work:
        return [(one["kind"], one["sender"], one["document"]) for one in tasks.open_tasks(work, [who])]


def test_an_appointment_of_another_goes_from_her_file_at_france_travail(landes: Territory) -> None:
    who, other = taken_for_her(landes, appointment())
    landes.deliver()
    assert len(landes.sandbox.usagers[NUMERO].rendez_vous) == 1
    apart(landes)
    assert landes.sandbox.usagers[NUMERO].rendez_vous == {}
    assert rdv(landes, who) == ("delivered", "deleted")
    assert to_see(landes, who) == []
    assert rdv(landes, other) == ("waiting", "identifier_missing"), "it waits for the number of whom it is about"


def test_a_decision_of_another_that_france_travail_cannot_take_back_is_shown_to_a_human(landes: Territory) -> None:
    who, _ = taken_for_her(landes, DECIDED, "00000000101")
    landes.deliver()
    assert decision(landes, who) == ("delivered", "decided")
    apart(landes)
    assert decision(landes, who) == ("withheld", "of-another-person")
    assert to_see(landes, who) == [("of-another-person", "france_travail", "france_travail.decision_orientation")]


def test_an_appointment_of_another_that_did_not_leave_yet_does_not(landes: Territory) -> None:
    who, _ = taken_for_her(landes, appointment())
    apart(landes)
    assert landes.sandbox.calls("rdv_post") == landes.sandbox.calls("rdv_delete") == []
    assert rdv(landes, who) == ("withheld", "of-another-person")
    assert to_see(landes, who) == []


def test_an_appointment_that_its_sender_says_no_more_is_not_taken_back(landes: Territory) -> None:
    who = landes.known(NUMERO, **appointment())
    landes.deliver()
    landes.known(NUMERO)
    landes.deliver()
    assert len(landes.sandbox.usagers[NUMERO].rendez_vous) == 1
    assert to_see(landes, who) == []
