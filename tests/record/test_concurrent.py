"""Several bodies speak of the same persons at the same moment: one person each, and one live statement per record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from gateway import clock, erasure
from gateway.exchange import exchange
from gateway.problems import Conflict
from gateway.receipt import Request
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.record import assertion_set, identifier, identity_case, person
from gateway.turns import Turn, take
from schemas.record import PersonFacts, Record

DOCUMENTS = {
    "ccas": "ccas.suivi",
    "departement": "departement.webrsa_ali",
    "caf": "caf.flux_beneficiaire",
    "france_travail": "france_travail.dossier_diagnostic",
}
CHANNELS = ("telephone", "courriel", "sms", "courrier")
TOGETHER = len(DOCUMENTS)
ROUNDS = 8


@pytest.fixture
def gateway(database: str, tmp_path: Path) -> Iterator[Gateway]:
    one = Gateway.open(Settings(home=tmp_path, profile="test", departement="040", database_url=database))
    yield one
    one.engine.dispose()


def who(rank: int) -> dict[str, Any]:
    return {
        "identifiants[nir].valeur": f"28506{rank:02d}999{rank:03d}",
        "personne.nom_naissance": f"LEFÈVRE {chr(65 + rank)}",
        "personne.prenoms": ["Marie"],
        "personne.date_naissance": "1985-06-12",
    }


def tell(gateway: Gateway, body: str, rank: int, facts: dict[str, Any] | None = None) -> None:
    with gateway.unit_of_work() as work:
        request = Request(clock.new_id(), body, DOCUMENTS[body], ())
        exchange(work, gateway, request, [Record(f"r{rank}", [PersonFacts(who(rank) | (facts or {}))])])


def at_once(count: int, act: Callable[[int], None]) -> None:
    """Run it `count` times at the same moment; a failure of any of them fails the test."""
    ready, failures = threading.Barrier(count), []

    def run(one: int) -> None:
        ready.wait()
        try:
            act(one)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_merge_undone_gives_each_back_what_was_said_before_it_and_since(gateway: Gateway) -> None:
    """The same name and day of birth without any number: a human says it is she, and later that it is not."""

    def say(preference: str) -> tuple[str, str]:
        told = {name: value for name, value in who(0).items() if not name.startswith("identifiants")}
        told |= {"personne.adresses[residence].code_postal": "40100", "personne.preference_contact": preference}
        with gateway.unit_of_work() as work:
            request = Request(clock.new_id(), "ccas", "ccas.suivi", ())
            record = Record("a", [PersonFacts(told, key="x")], foyer={"foyer.situation_familiale": "celibataire"})
            (receipt,) = exchange(work, gateway, request, [record])
        return receipt.persons[0], receipt.status

    def preference(person_id: str) -> Any:
        with gateway.unit_of_work() as work:
            current = gateway.dossiers.current(work, person_id)
            return {path: fact.value for path, fact in current.items() if "preference" in path or "familiale" in path}

    tell(gateway, "caf", 0, {"personne.adresses[residence].code_postal": "40100"})
    other, status = say("sms")
    assert status == "quarantined"
    with gateway.unit_of_work() as work:
        (case,) = work.connection.execute(select(identity_case)).all()
        assert gateway.identity.decide(work, case.id, True, "agent")[:2] == (other, case.candidate_id)
    known = case.candidate_id
    assert say("courrier")[0] == known, "since the merge the record speaks of her"
    merged = preference(known)
    assert merged == {"personne.preference_contact": "courrier", "foyer.situation_familiale": "celibataire"}
    with gateway.unit_of_work() as work:
        gateway.identity.reverse(work, case.id, "agent")
    assert preference(known) == {}, "nothing of the other is left on her, her household neither"
    assert preference(other) == merged
    assert say("telephone") == (other, "accepted"), "the record is the other's again"
    assert preference(known) == {}
    with gateway.unit_of_work() as work:
        live = select(assertion_set.c.record_h).where(assertion_set.c.superseded_at.is_(None))
        places = work.connection.execute(live).scalars().all()
    assert len(places) == len(set(places)), "one live statement for each record"


def test_four_bodies_announce_the_same_new_person_at_once(gateway: Gateway) -> None:
    for rank in range(ROUNDS):
        at_once(TOGETHER, lambda one, rank=rank: tell(gateway, list(DOCUMENTS)[one], rank))  # type: ignore[misc]
    with gateway.unit_of_work() as work:
        assert work.connection.scalar(select(func.count()).select_from(person)) == ROUNDS


def test_two_bodies_name_the_same_new_person_at_once_one_without_the_day_of_her_birth(gateway: Gateway) -> None:
    def say(one: int, rank: int) -> None:
        named = who(rank) | {"personne.date_naissance": ("1985-06-12", "1985-06")[one]}
        del named["identifiants[nir].valeur"]
        with gateway.unit_of_work() as work:
            request = Request(clock.new_id(), ("ccas", "departement")[one], "essai", ())
            exchange(work, gateway, request, [Record(f"r{rank}", [PersonFacts(named)])])

    for rank in range(ROUNDS):
        at_once(2, lambda one, rank=rank: say(one, rank))  # type: ignore[misc]
    with gateway.unit_of_work() as work:
        doubtful = work.connection.scalars(select(person.c.provisional)).all()
    assert sorted(doubtful) == [0] * ROUNDS + [1] * ROUNDS, "whoever came second asks a human"


def test_one_body_sends_several_versions_of_one_record_at_once(gateway: Gateway) -> None:
    for rank in range(ROUNDS):
        at_once(
            TOGETHER,
            lambda one, rank=rank: tell(gateway, "ccas", rank, {"personne.preference_contact": CHANNELS[one]}),  # type: ignore[misc]
        )
    live = select(func.count()).where(assertion_set.c.superseded_at.is_(None)).group_by(assertion_set.c.record_h)
    with gateway.unit_of_work() as work:
        assert [row[0] for row in work.connection.execute(live)] == [1] * ROUNDS


def test_two_engineers_who_decide_the_same_case_at_once_decide_it_once(gateway: Gateway) -> None:
    """One says it is she, the other that it is not: the second is told, and the person is not left merged into one
    whom her case says she is not."""
    for rank in range(ROUNDS):
        tell(gateway, "caf", rank)
        told = {name: value for name, value in who(rank).items() if not name.startswith("identifiants")}
        with gateway.unit_of_work() as work:
            request = Request(clock.new_id(), "ccas", "ccas.suivi", ())
            exchange(work, gateway, request, [Record(f"doubtful-{rank}", [PersonFacts(told)])])
        with gateway.unit_of_work() as work:
            case = work.connection.execute(select(identity_case).where(identity_case.c.state == "open")).one()
        refused: list[str] = []

        def decide(one: int, case: Any = case, refused: list[str] = refused) -> None:
            try:
                with gateway.unit_of_work() as work:
                    gateway.identity.decide(work, case.id, bool(one), f"agent {one}")
            except Conflict as conflict:
                refused.append(conflict.code)

        at_once(2, decide)
        assert refused == ["identity-case-settled"]
        with gateway.unit_of_work() as work:
            state = work.connection.scalar(select(identity_case.c.state).where(identity_case.c.id == case.id))
            merged = work.connection.scalar(select(person.c.merged_into).where(person.c.id == case.person_id))
        assert (state == "same") == (merged is not None)


def test_what_is_said_of_her_while_she_is_erased_is_said_of_somebody_new(gateway: Gateway) -> None:
    """It would be sealed under a key that is gone, and its sender would be told that it was taken."""
    tell(gateway, "departement", 1)
    with gateway.reading() as work:
        her = work.connection.execute(select(person.c.id)).scalar_one()
    with ThreadPoolExecutor(1) as another:
        with gateway.unit_of_work() as work:
            erasure.erase(work, gateway, her)
            work.flush()
            told = another.submit(tell, gateway, "departement", 1, {"personne.nom_usage": "DURAND"})
            with pytest.raises(StillWaiting):
                told.result(0.5)
        told.result(60)
    with gateway.reading() as work:
        (known,) = work.connection.execute(select(person.c.id).where(person.c.erased_at.is_(None))).scalars()
        assert gateway.dossiers.current(work, known)["personne.nom_usage"].value == "DURAND"
        for table in (assertion_set, identifier):
            assert set(work.connection.execute(select(table.c.subject_id)).scalars()) == {known}


def test_who_erases_her_and_who_speaks_of_her_wait_in_the_same_order(gateway: Gateway) -> None:
    tell(gateway, "departement", 1)
    with gateway.reading() as work:
        her = work.connection.execute(select(person.c.id)).scalar_one()
        known = dict(work.connection.execute(select(identifier.c.system, identifier.c.index_h)).all())

    def erase() -> None:
        with gateway.unit_of_work() as work:
            erasure.erase(work, gateway, her)

    with ThreadPoolExecutor(1) as another:
        with gateway.unit_of_work() as work:
            take(work, Turn.RECORD, [known.pop("place")])
            erasing = another.submit(erase)
            with pytest.raises(StillWaiting):
                erasing.result(0.5)
            take(work, Turn.PERSON, known.values())
        erasing.result(60)
