"""Several bodies speak of the same persons at the same moment: one person each, and one live statement per record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from gateway import clock
from gateway.exchange import exchange
from gateway.receipt import Request
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.record import assertion_set, person
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


@pytest.fixture(params=["sqlite", "postgresql"])
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    url = request.getfixturevalue("postgres_database") if request.param == "postgresql" else ""
    one = Gateway.open(Settings(home=tmp_path, profile="test", departement="040", database_url=url))
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


def test_four_bodies_announce_the_same_new_person_at_once(gateway: Gateway) -> None:
    for rank in range(ROUNDS):
        at_once(TOGETHER, lambda one, rank=rank: tell(gateway, list(DOCUMENTS)[one], rank))  # type: ignore[misc]
    with gateway.unit_of_work() as work:
        assert work.connection.scalar(select(func.count()).select_from(person)) == ROUNDS


def test_one_body_sends_several_versions_of_one_record_at_once(gateway: Gateway) -> None:
    for rank in range(ROUNDS):
        at_once(
            TOGETHER,
            lambda one, rank=rank: tell(gateway, "ccas", rank, {"personne.preference_contact": CHANNELS[one]}),  # type: ignore[misc]
        )
    live = select(func.count()).where(assertion_set.c.superseded_at.is_(None)).group_by(assertion_set.c.record_h)
    with gateway.unit_of_work() as work:
        assert [row[0] for row in work.connection.execute(live)] == [1] * ROUNDS
