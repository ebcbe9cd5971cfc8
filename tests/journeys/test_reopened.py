"""What was withheld for a reason that ended reaches who needs it, though nobody says it again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.departement import synthetic
from gateway import basis, clock, convention, reopened, rights
from gateway.demo.forms import objection
from tests.journeys.territory import AMELIA, DEMO, Territory, accompaniment, territory
from tests.journeys.test_life import BORDEAUX, MONT_DE_MARSAN, caf_says

CCAS = '[[annexe]]\nid = "ccas"\n'
WITHOUT_THE_CCAS = DEMO.replace(CCAS, CCAS + 'etat = "suspendue"\n')
assert WITHOUT_THE_CCAS != DEMO


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("postgres_database") if request.param == "postgresql" else ""


@pytest.fixture
def landes(database: str, tmp_path: Path) -> Iterator[Territory]:
    one = territory(tmp_path, DEMO, database_url=database)
    yield one
    one.gateway.engine.dispose()


def oriented_without_being_told(landes: Territory) -> str:
    landes.tell("departement", "departement.referentiel", synthetic.referentiel("40", 1))
    (receipt,) = landes.tell("departement", "departement.webrsa_ali", synthetic.webrsa_ali([AMELIA], "40", 1))
    landes.tell("departement", "departement.accompagnement", accompaniment())
    (landes.who,) = receipt.persons
    landes.deliver("ccas")
    return landes.who


def look(landes: Territory, since: str) -> int:
    looked = sum(reopened.look(landes.gateway, since))
    landes.deliver("ccas")
    return looked


def test_what_was_said_before_she_was_informed_goes_once_she_is(landes: Territory) -> None:
    her, since = oriented_without_being_told(landes), clock.instant()
    assert landes.sheets("ccas") == []
    assert look(landes, since) == 0
    landes.inform(her)
    assert look(landes, since) == 1
    (sheet,) = landes.sheets("ccas")
    assert sheet["birthName"] == AMELIA.nom
    look(landes, since)
    assert len(landes.sheets("ccas")) == 1, "whoever holds it is not sent it again"


def test_what_changed_during_an_objection_or_a_limitation_goes_when_it_ends(landes: Territory) -> None:
    her, since = oriented_without_being_told(landes), clock.instant()
    landes.inform(her)
    look(landes, since)
    for telephone, kind in (("0558000091", "objection"), ("0558000092", "limitation")):
        with landes.gateway.unit_of_work() as work:
            held = basis.record(work, objection(landes.gateway, her) | {"kind": kind})
        since = clock.instant()
        changed = synthetic.webrsa_ali([replace(AMELIA, telephone=telephone)], "40", 1)
        landes.tell("departement", "departement.webrsa_ali", changed)
        landes.deliver("ccas")
        before = len(landes.sheets("ccas"))
        with landes.gateway.unit_of_work() as work:
            if kind == "objection":
                rights.resolve(work, landes.gateway, held.id, upheld=False, reason_hash="0a" * 32)
            else:
                rights.lift(work, landes.gateway, held.id)
        look(landes, since)
        assert len(landes.sheets("ccas")) == before + 1
        assert telephone[1:] in str(landes.sheets("ccas")[-1])


def test_what_was_said_before_a_convention_goes_once_it_is_in_force(database: str, tmp_path: Path) -> None:
    landes = territory(tmp_path, WITHOUT_THE_CCAS, database_url=database)
    her = oriented_without_being_told(landes)
    landes.inform(her)
    since = clock.instant()
    assert look(landes, since) <= 1
    assert landes.sheets("ccas") == []
    with landes.gateway.unit_of_work() as work:
        convention.add(work, DEMO.encode())
    asyncio.run(reopened.keep(landes.gateway))
    landes.deliver("ccas")
    assert [sheet["birthName"] for sheet in landes.sheets("ccas")] == [AMELIA.nom]
    landes.gateway.engine.dispose()


def test_a_convention_over_many_is_no_one_transaction(landes: Territory, monkeypatch: pytest.MonkeyPatch) -> None:
    oriented_without_being_told(landes)
    with landes.gateway.unit_of_work() as work:
        for _ in range(4):
            landes.gateway.dossiers.new_subject(work, "personne")
    monkeypatch.setattr(reopened, "_LOT", 2)
    since = clock.instant()
    with landes.gateway.unit_of_work() as work:
        convention.add(work, DEMO.replace("Échanges autour", "Échanges, autour").encode())
    assert sum(reopened.look(landes.gateway, since)) == 0, "its title opens nothing"
    with landes.gateway.unit_of_work() as work:
        convention.add(work, DEMO.replace("fin = 2028-12-31", "fin = 2026-01-02").encode())
    since = clock.instant()
    with landes.gateway.unit_of_work() as work:
        convention.add(work, DEMO.encode())
    assert list(reopened.look(landes.gateway, since)) == [2, 2, 1]


def test_what_was_said_while_she_lived_elsewhere_goes_when_she_comes_back(landes: Territory) -> None:
    caf_says(landes, "2026-10-06", adresses=[BORDEAUX, MONT_DE_MARSAN])
    since = clock.instant()
    landes.inform(oriented_without_being_told(landes))
    look(landes, since)
    assert landes.sheets("ccas") == []
    caf_says(landes, "2026-11-05")
    landes.deliver("ccas")
    assert [sheet["birthName"] for sheet in landes.sheets("ccas")] == [AMELIA.nom]
