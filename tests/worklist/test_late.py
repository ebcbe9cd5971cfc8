"""What arrives late: an identifier, an address, a merge of two files. What was pending goes again, once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from gateway import outbox
from gateway.storage.tables.delivery import held_by_recipient
from gateway.storage.tables.record import assertion_set
from tests.worklist.conftest import Territory

NUMERO = "00000000102"
AT = "rendez_vous[departement:r1]"


def appointment(**changes: Any) -> dict[str, Any]:
    told = {"debut": "2026-12-02T09:00:00Z", "statut": "prevu", "motif": "orientation", "duree_min": 30,
            "modalite": "presentiel", "organisme.code_organisme_ft": "CD"}  # fmt: skip
    return {f"{AT}.{name}": value for name, value in (told | changes).items()}


def rdv(landes: Territory, who: str) -> tuple[str, str | None]:
    """State of the last delivery of the rendez-vous."""
    return [(s, r) for document, s, r in landes.deliveries(who) if document.endswith("rendez_vous")][-1]


def remote(landes: Territory, who: str) -> str:
    with landes.gateway.unit_of_work() as work:
        query = select(held_by_recipient.c.remote_id).where(
            held_by_recipient.c.person_id == who, held_by_recipient.c.item == "departement:r1"
        )
        return str(landes.gateway.vault.open(work, who, work.connection.execute(query).scalar_one()))


def retry(landes: Territory, who: str) -> int:
    with landes.gateway.unit_of_work() as work:
        return outbox.replay_waiting(work, who)


@pytest.mark.parametrize("known", [{"nir": True, "number": False}, {"nir": False, "number": True}])
def test_a_rendez_vous_taken_before_the_number_was_known_leaves_when_it_is(
    landes: Territory, known: dict[str, bool]
) -> None:
    who = landes.known(NUMERO, number=False, nir=False, **appointment())
    landes.deliver()
    assert rdv(landes, who) == ("waiting", "identifier_missing")
    assert landes.sandbox.calls("rdv_post") == []
    assert landes.known(NUMERO, **known, **appointment()) == who
    landes.deliver()
    assert rdv(landes, who) == ("delivered", "created")
    assert len(landes.sandbox.usagers[NUMERO].rendez_vous) == 1
    landes.deliver()
    assert len(landes.sandbox.calls("rdv_post")) == 1


def test_what_changes_while_the_number_is_missing_waits_once_and_leaves_as_it_is_then(landes: Territory) -> None:
    for hour in ("09", "10", "11"):
        who = landes.known(NUMERO, number=False, nir=False, **appointment(debut=f"2026-12-02T{hour}:00:00Z"))
        landes.deliver()
    told = [(state, reason) for document, state, reason in landes.deliveries(who) if document.endswith("rendez_vous")]
    assert told == [("withheld", "replaced")] * 2 + [("waiting", "identifier_missing")]
    landes.known(NUMERO, nir=False, **appointment(debut="2026-12-02T11:00:00Z"))
    landes.deliver()
    (held,) = landes.sandbox.usagers[NUMERO].rendez_vous.values()
    assert held["date"] == "2026-12-02T11:00:00.000Z"
    assert rdv(landes, who) == ("delivered", "created")


def test_a_person_france_travail_does_not_know_waits_until_it_does(landes: Territory) -> None:
    usager = landes.sandbox.usagers[NUMERO]
    who = landes.known(NUMERO, number=False, **appointment())
    del landes.sandbox.usagers[NUMERO]
    landes.deliver()
    assert rdv(landes, who)[0] == "waiting"
    landes.sandbox.add(usager)
    landes.known(NUMERO, number=False, **appointment(), **{"personne.nom_usage": "AUTRE"})
    landes.deliver()
    assert rdv(landes, who)[0] == "delivered"


def test_an_identity_not_certified_waits_and_is_never_acted_on(landes: Territory) -> None:
    usager = landes.sandbox.usagers[NUMERO]
    usager.certifiee = False
    who = landes.known(NUMERO, **appointment())
    landes.deliver()
    assert rdv(landes, who) == ("waiting", "not_certified")
    assert usager.rendez_vous == {}
    usager.certifiee = True
    assert retry(landes, who)
    landes.deliver()
    assert rdv(landes, who)[0] == "delivered"


@pytest.mark.parametrize("retour", ["R998", "R001", "S003"])
def test_what_never_passes_is_a_dead_letter_seen_by_a_human_and_not_replayed(landes: Territory, retour: str) -> None:
    landes.sandbox.usagers[NUMERO].retour = retour
    who = landes.known(NUMERO, **appointment())
    landes.deliver()
    assert rdv(landes, who)[0] == "dead"
    asked = len(landes.sandbox.calls("recherche_nir"))
    assert retry(landes, who) == 0
    landes.deliver()
    assert len(landes.sandbox.calls("recherche_nir")) == asked


def test_two_files_merged_the_rendez_vous_is_made_again_once_and_both_ids_are_kept(landes: Territory) -> None:
    who = landes.known(NUMERO, **appointment())
    landes.deliver()
    first = remote(landes, who)
    usager = landes.sandbox.usagers[NUMERO]
    usager.rendez_vous.clear()  # the file that held it is gone: its id is not recognised any more
    landes.known(NUMERO, **appointment(debut="2026-12-03T09:00:00Z"))
    landes.deliver()
    second = remote(landes, who)
    assert rdv(landes, who) == ("delivered", "created_again")
    assert second != first
    assert list(usager.rendez_vous) == [second]
    assert landes.current(who)[f"{AT}.identifiants"].value == [f"france_travail:{first}", f"france_travail:{second}"]
    usager.rendez_vous.clear()
    landes.known(NUMERO, **appointment(debut="2026-12-04T09:00:00Z"))
    landes.deliver()
    third = remote(landes, who)
    assert landes.current(who)[f"{AT}.identifiants"].value == [f"france_travail:{second}", f"france_travail:{third}"]
    with landes.gateway.unit_of_work() as work:
        sets = work.connection.execute(
            select(assertion_set).where(assertion_set.c.subject_id == who, assertion_set.c.source == "france_travail")
        ).all()
        told = [landes.gateway.vault.open(work, who, row.payload).get(f"{AT}.identifiants") for row in sets]
    assert {one for ids in told for one in ids or ()} == {f"france_travail:{one}" for one in (first, second, third)}


def test_a_merge_that_moved_the_rendez_vous_is_followed_without_a_second_one(landes: Territory) -> None:
    who = landes.known(NUMERO, **appointment())
    landes.deliver()
    first = remote(landes, who)
    landes.sandbox.fusionner(NUMERO)
    landes.known(NUMERO, **appointment(duree_min=45))
    landes.deliver()
    usager = landes.sandbox.usagers[NUMERO]
    assert list(usager.rendez_vous) == [f"fusionne-{first}"]
    assert usager.rendez_vous[f"fusionne-{first}"]["duree"] == 45
    assert remote(landes, who) == f"fusionne-{first}"
    assert f"france_travail:{first}" in landes.current(who)[f"{AT}.identifiants"].value


def test_two_appointments_of_one_person_are_two_deliveries(landes: Territory) -> None:
    other = {path.replace("r1]", "r2]"): value for path, value in appointment(debut="2026-12-09T09:00:00Z").items()}
    who = landes.known(NUMERO, **appointment(), **other)
    landes.deliver()
    assert rdv(landes, who) == ("delivered", "created")
    assert len(landes.sandbox.usagers[NUMERO].rendez_vous) == 2
