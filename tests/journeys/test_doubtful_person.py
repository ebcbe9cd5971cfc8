"""A person that her sender calls by its own file number, without a NIR: recognised, or shown to a human once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from gateway import identity_review, rectification
from gateway.receipt import Receipt
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.record import identity_case, person
from tests.journeys.territory import AMELIA, Territory, beneficiary


def ccas_says(landes: Territory, document: str = "ccas.suivi", *, nir: str = "", **more: Any) -> Receipt:
    told = beneficiary(**more)
    del told["socialSecurityNumber"]
    (receipt,) = landes.tell("ccas", document, told | ({"socialSecurityNumber": nir} if nir else {}))
    return receipt


def cases(landes: Territory) -> list[Any]:
    with landes.gateway.unit_of_work() as work:
        return work.connection.execute(select(identity_case).order_by(identity_case.c.id)).all()


def people(landes: Territory) -> int:
    with landes.gateway.unit_of_work() as work:
        return len(work.connection.execute(select(person.c.id)).all())


def decide(landes: Territory, same: bool) -> None:
    case = cases(landes)[-1].id
    with landes.gateway.unit_of_work() as work:
        identity_review.decide(work, landes.gateway, case, same, "agent")


@pytest.mark.parametrize("second", ["ccas.suivi", "ccas.beneficiaires"])
def test_who_a_ccas_told_of_before_is_no_doubt_when_it_tells_more(landes: Territory, second: str) -> None:
    (known,) = ccas_says(landes).persons
    again = ccas_says(landes, second, zipcode="40200", email="amelia@exemple.invalid")
    assert (again.status, again.persons) == ("accepted", [known])
    assert cases(landes) == []


def test_another_person_under_the_same_file_number_is_another_person(landes: Territory) -> None:
    (known,) = ccas_says(landes).persons
    (twin,) = ccas_says(landes, firstName="JULIETTE").persons
    assert twin != known


@pytest.mark.parametrize("first_name", ["A.", "a"])
def test_an_initial_makes_no_second_person_by_itself_and_takes_the_place_of_no_first_name(
    landes: Territory, first_name: str
) -> None:
    (known,) = ccas_says(landes).persons
    assert ccas_says(landes, firstName=first_name).status == "quarantined"
    assert [(one.candidate_id, one.reason) for one in cases(landes)] == [(known, "nom+initiale")]
    decide(landes, True)
    assert landes.current(known)["personne.prenoms"].value == [AMELIA.prenom]
    assert ccas_says(landes, firstName=first_name, zipcode="40200").persons == [known]
    assert len(cases(landes)) == 1


def test_a_corrected_nir_is_shown_to_a_human_and_makes_no_second_person_by_itself(landes: Territory) -> None:
    ccas_says(landes, nir=AMELIA.nir)
    assert ccas_says(landes, nir="2880499999998").status == "quarantined"
    assert [one.reason for one in cases(landes)] == ["other-nir"]


def test_a_child_told_under_a_parents_nir_is_not_known_by_it(landes: Territory) -> None:
    (child,) = ccas_says(landes, fileNumber="SA-2", firstName="LÉO", birthDate="2015-03-04", nir=AMELIA.nir).persons
    assert "identifiants[nir].valeur" not in landes.current(child)
    assert landes.oriented() != child
    assert cases(landes) == []


def test_a_parents_nir_on_a_childs_line_asks_a_human_when_the_parent_is_known(landes: Territory) -> None:
    landes.oriented()
    ccas_says(landes, fileNumber="SA-2", firstName="LÉO", birthDate="2015-03-04", nir=AMELIA.nir)
    assert [(one.reason, one.candidate_id) for one in cases(landes)] == [("nir-with-other-birth-date", landes.who)]
    decide(landes, False)
    assert ccas_says(landes, nir=AMELIA.nir).persons == [landes.who]


def test_what_is_added_while_a_human_is_asked_asks_nothing_more(landes: Territory) -> None:
    landes.oriented()
    for more in ({}, {"zipcode": "40200"}, {"email": "amelia@exemple.invalid"}):
        assert ccas_says(landes, **more).status == "quarantined"
    assert (len(cases(landes)), people(landes)) == (1, 2)


@pytest.mark.parametrize("same", [True, False], ids=["same", "different"])
def test_the_answer_of_a_human_holds_for_what_comes_next(landes: Territory, same: bool) -> None:
    landes.oriented()
    doubtful = ccas_says(landes).persons
    decide(landes, same)
    later = ccas_says(landes, zipcode="40200")
    assert (later.status, later.persons) == ("accepted", [landes.who] if same else doubtful)
    assert ccas_says(landes, "ccas.beneficiaires", email="amelia@exemple.invalid").persons == later.persons
    assert (len(cases(landes)), people(landes)) == (1, 2)


def test_a_nir_told_later_says_who_she_is_without_waiting_for_the_human(landes: Territory) -> None:
    landes.oriented()
    ccas_says(landes)
    assert ccas_says(landes, nir=AMELIA.nir).persons == [landes.who]


def test_what_waited_for_the_answer_is_offered_though_its_sender_has_nothing_new_to_say(landes: Territory) -> None:
    landes.oriented()
    assert ccas_says(landes).outcomes == []
    decide(landes, True)
    with landes.gateway.unit_of_work() as work:
        (promised,) = work.connection.execute(select(outbox).where(outbox.c.sender == "ccas")).all()
    assert (promised.recipient, promised.person_id) == ("departement", landes.who)


def test_once_the_merge_is_undone_each_is_recognised_as_herself(landes: Territory) -> None:
    landes.oriented()
    (doubtful,) = ccas_says(landes).persons
    decide(landes, True)
    case = cases(landes)[-1].id
    with landes.gateway.unit_of_work() as work:
        identity_review.reverse(work, landes.gateway, case, "agent")
    assert ccas_says(landes, zipcode="40200").persons == [doubtful]
    assert landes.oriented(telephone="0558000009") == landes.who != doubtful


def test_a_doubtful_person_who_had_a_value_corrected_can_be_decided_of(landes: Territory) -> None:
    landes.oriented()
    (doubtful,) = ccas_says(landes, usualName="CANARI").persons
    with landes.gateway.unit_of_work() as work:
        rectification.rectify(work, landes.gateway, doubtful, {"personne.nom_usage": "CANARIJUSTE"})
    decide(landes, True)
    assert landes.current(landes.who)["personne.nom_usage"].value == "CANARIJUSTE"
