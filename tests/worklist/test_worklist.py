"""France Travail's worklist: read with back-pressure, given to the right person, routed, and never decided here."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from connectors.france_travail.sandbox import Usager
from connectors.france_travail.sandbox.scenarios import SCENARIOS, Scenario
from connectors.france_travail.sandbox.usagers import orientation_initiale
from gateway import recipients, schedule, worklist
from gateway.problems import Conflict, Invalid, Unavailable, Unknown
from gateway.storage.tables.worklist import worklist_item
from tests.worklist.conftest import Territory, territory

NUMERO = "00000000101"
SAISIE = {"type_evenement": "SAISIE_SANCTION", "date_evenement": "2026-11-20"}


def said(facts: dict[str, Any], ending: str) -> list[Any]:
    return [fact.value for path, fact in sorted(facts.items()) if path.endswith(ending)]


def test_a_decision_to_take_brings_the_proposal_and_the_diagnosis_into_the_dossier(landes: Territory) -> None:
    who = landes.known()
    told = landes.poll()
    assert (told.listed, told.new, told.fetched, told.pending, told.refused) == (2, 2, 1, 0, {})
    facts = landes.current(who)
    assert said(facts, "].etat")[:1] == ["en_attente"]
    assert facts["freins[mobilite].valeur"].source == "france_travail"
    steps = {one["code"]: (one["person"], one["state"], one["next"]) for one in landes.todo()}
    assert steps == {"ACT382": (who, "open", "decider"), "ACT366": (who, "open", "valider_puis_transmettre")}
    assert landes.sandbox.usagers[NUMERO].orientations[0]["statut"] == "PRECONISE", "nothing was decided"
    assert landes.sandbox.calls("decision") == []


def test_the_same_item_is_one_row_and_is_fetched_once(landes: Territory) -> None:
    landes.known()
    landes.poll()
    first = {name: row.id for name, row in landes.items().items()}
    calls = len(landes.sandbox.calls("lecture"))
    again = landes.poll()
    assert (again.new, again.known, again.fetched) == (0, 2, 0)
    assert {name: row.id for name, row in landes.items().items()} == first
    assert len(landes.sandbox.calls("lecture")) == calls


def test_a_date_that_the_partner_moves_is_followed(landes: Territory, monkeypatch: pytest.MonkeyPatch) -> None:
    landes.known()
    landes.poll()
    before, now = landes.items(), landes.sandbox.now
    monkeypatch.setattr(landes.sandbox, "now", lambda: now() + timedelta(days=9))
    landes.poll()
    for name, row in landes.items().items():
        moved = datetime.fromisoformat(row.due_at) - datetime.fromisoformat(before[name].due_at)
        assert (moved, row.id) == (timedelta(days=9), before[name].id)
        assert worklist.content_of(landes.gateway, row).due_at == row.due_at


def test_an_item_no_longer_listed_was_acted_on_elsewhere_and_comes_back_if_it_is_listed_again(
    landes: Territory,
) -> None:
    who = landes.known()
    landes.poll()
    usager = landes.sandbox.usagers[NUMERO]
    kept, usager.orientations = usager.orientations, []
    told = landes.poll()
    assert told.absent == 1
    assert landes.items()[f"ACT382 {NUMERO}"].state == "absent"
    assert landes.current(who), "an item that is gone says nothing of the person"
    usager.orientations = kept
    landes.poll()
    row = landes.items()[f"ACT382 {NUMERO}"]
    assert (row.state, row.settled_at) == ("open", None)


def test_a_first_appointment_is_a_task_until_it_is_taken(landes: Territory) -> None:
    landes.known()
    usager = landes.sandbox.usagers[NUMERO]
    usager.orientations[0] |= {"etat": "OUVERT", "statut": "DECIDE"}
    landes.poll()
    (task,) = [one for one in landes.todo() if one["kind"] == "premier_rendez_vous"]
    assert (task["code"], task["next"], task["state"]) == ("ACT380", "prendre_rendez_vous", "open")
    usager.rendez_vous["r1"] = {"id": "r1", "motif": "ACC"}
    landes.poll()
    assert landes.items()[f"ACT380 {NUMERO}"].state == "absent"


def test_nobody_known_by_this_number_waits_and_goes_on_when_the_number_becomes_known(landes: Territory) -> None:
    who = landes.known(number=False)
    told = landes.poll()
    assert (told.pending, told.fetched) == (2, 0)
    assert {(one["state"], one["reason"], one["person"]) for one in landes.todo()} == {
        ("pending", "person-unknown", None)
    }
    assert landes.known() == who
    told = landes.poll()
    assert (told.new, told.pending, told.fetched) == (0, 0, 1)
    assert {one["person"] for one in landes.todo()} == {who}


def test_a_number_that_two_persons_carry_is_left_to_a_human(landes: Territory) -> None:
    landes.known()
    other = {
        "personne.nom_naissance": "AUTREMENT", "personne.prenoms": ["BO"], "personne.date_naissance": "1971-01-01",
        "identifiants[nir].valeur": "1710199999555", "identifiants[ft_numero].valeur": NUMERO,
    }  # fmt: skip
    landes.tell("departement", "other", other)
    landes.poll()
    assert {(one["state"], one["reason"]) for one in landes.todo()} == {("pending", "several-matches")}


def test_a_code_of_no_table_is_kept_and_shown(landes: Territory, monkeypatch: pytest.MonkeyPatch) -> None:
    landes.known()
    monkeypatch.delitem(__import__("connectors.france_travail.activites", fromlist=["_KINDS"])._KINDS, "ACT382")
    landes.poll()
    (one,) = [one for one in landes.todo() if one["kind"] == "inconnu"]
    assert (one["code"], one["next"]) == ("ACT382", "lire")


def test_a_family_that_cannot_be_read_is_named_and_settles_nothing(tmp_path: Path) -> None:
    there = territory(tmp_path)
    there.known()
    there.poll()
    before = {name: row.state for name, row in there.items().items()}
    there.sandbox.scenario = "activites_refusees"
    told = there.poll()
    assert set(told.refused.values()) == {"A001"}
    assert {name: row.state for name, row in there.items().items()} == before
    there.gateway.engine.dispose()


def test_what_could_not_be_fetched_is_tried_at_the_next_poll(landes: Territory) -> None:
    landes.known()
    usager = landes.sandbox.usagers[NUMERO]
    usager.retour = "R999"
    landes.poll()
    assert (landes.items()[f"ACT382 {NUMERO}"].reason or "").startswith("fetch-again:")
    usager.retour = "S001"
    assert landes.poll().fetched == 1
    assert landes.items()[f"ACT382 {NUMERO}"].reason is None


def test_an_answer_that_cannot_be_read_stops_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (
        Usager(f"{n:011d}", f"29001999{n:05d}", "1990-01-01", nom=f"FICTIVE{n}", orientations=[orientation_initiale()])
        for n in (20_000, 20_001)
    )
    there = territory(tmp_path, [first, second])
    for usager in (first, second):
        there.known(usager.numero, **{"identifiants[si_departement:40].valeur": usager.numero})
    monkeypatch.setitem(
        SCENARIOS, "autre_objet", Scenario("Un autre objet", "dossier", (200, {}, {"maintenance": True}))
    )
    first.scenario = "autre_objet"
    assert there.poll().fetched == 1
    reasons = {row.reason for row in there.items().values()}
    assert reasons == {"fetch-again:wrong-root", None}
    there.gateway.engine.dispose()


@pytest.mark.parametrize("retour", ["R001", "R998"])
def test_a_person_france_travail_will_not_show_is_not_asked_for_forever(landes: Territory, retour: str) -> None:
    landes.known()
    usager = landes.sandbox.usagers[NUMERO]
    usager.retour = retour
    landes.poll()
    row = landes.items()[f"ACT382 {NUMERO}"]
    assert (row.reason or "").startswith("fetch-refused:")
    asked = len(landes.sandbox.received)
    landes.poll()
    searched = [call.name for call in landes.sandbox.received[asked:] if call.name.startswith("recherche")]
    assert searched == []


def test_a_full_list_is_acted_on_then_read_again_until_it_brings_nothing_new(tmp_path: Path) -> None:
    many = [
        Usager(f"{n:011d}", f"29001999{n:05d}", "1990-01-01", orientations=[orientation_initiale()])
        for n in range(20_000, 21_001)
    ]
    there = territory(tmp_path, many)
    told = there.poll()
    assert (told.new, told.pending, told.cut, told.absent) == (1000, 1000, ["INSEA"], 0)
    assert len(there.sandbox.calls("activites")) == 4, "three families, and the full one once more"
    many[0].orientations.clear()
    many[1].orientations.clear()
    told = there.poll()
    assert (told.cut, told.listed, told.absent) == ([], 999, 2)
    there.gateway.engine.dispose()


# --- by itself, at intervals ------------------------------------------------------------------------------------------


def scheduled(landes: Territory, **settings: str) -> None:
    landes.gateway.settings.bodies["france_travail"] |= {"worklist_for": "departement"} | settings


def test_only_a_body_whose_settings_say_whose_list_it_is_is_read_by_itself(landes: Territory) -> None:
    landes.known()
    (job,) = [one for one in schedule.JOBS if one.name == "worklists"]
    assert job.period(landes.gateway.settings) == 0
    assert asyncio.run(worklist.poll_all(landes.gateway)) == {}
    scheduled(landes)
    assert job.period(landes.gateway.settings) == landes.gateway.settings.worklist_every
    told = asyncio.run(worklist.poll_all(landes.gateway))
    assert (told["france_travail"].new, told["france_travail"].fetched) == (2, 1)
    assert landes.gateway.connector("france_travail"), "the connector is not given a setting that is the gateway's"


def test_a_body_that_rests_is_not_asked(landes: Territory) -> None:
    landes.known()
    scheduled(landes)
    with landes.gateway.unit_of_work() as work:
        recipients.pause(work, "france_travail", True)
    assert asyncio.run(worklist.poll_all(landes.gateway)) == {}
    assert landes.sandbox.received == []
    with landes.gateway.unit_of_work() as work:
        recipients.pause(work, "france_travail", False)
    assert asyncio.run(worklist.poll_all(landes.gateway))["france_travail"].new == 2


def test_a_partner_that_fails_three_times_is_left_alone_until_the_next_poll(tmp_path: Path) -> None:
    many = [
        Usager(f"{n:011d}", f"29001999{n:05d}", "1990-01-01", nom=f"FICTIVE{n}", orientations=[orientation_initiale()])
        for n in range(20_000, 20_006)
    ]
    there = territory(tmp_path, many)
    for usager in many:
        there.known(usager.numero, **{"identifiants[si_departement:40].valeur": usager.numero})
        usager.retour = "R999"
    scheduled(there)
    with pytest.raises(Unavailable, match="worklist-refused"):
        asyncio.run(worklist.poll_all(there.gateway))
    rows = there.items().values()
    assert Counter((row.state, (row.reason or "").partition(":")[0]) for row in rows) == {
        ("open", "fetch-again"): 3,
        ("open", "to-fetch"): 3,
    }, "all are written down, three were asked for"
    for usager in many:
        usager.retour = "S001"
    there.connect()
    assert asyncio.run(worklist.poll_all(there.gateway))["france_travail"].fetched == 6
    there.gateway.engine.dispose()


def test_a_poll_is_cut_when_the_process_stops_and_goes_on_at_the_next_look(
    landes: Territory, monkeypatch: pytest.MonkeyPatch
) -> None:
    landes.known()
    scheduled(landes)
    (job,) = [one for one in schedule.JOBS if one.name == "worklists"]
    asked, real = asyncio.Event(), worklist.pull

    async def never(*_: Any) -> Any:
        asked.set()
        await asyncio.sleep(3600)

    async def turn(until: asyncio.Event) -> None:
        stopping = asyncio.Event()
        loop = asyncio.create_task(schedule.run(landes.gateway, stopping, [job], pause=0.01))
        await asyncio.wait_for(until.wait(), 60)
        stopping.set()
        await asyncio.wait_for(loop, 60)

    def due() -> None:
        schedule._due(landes.gateway, [job])
        with landes.gateway.engine.begin() as connection:
            connection.execute(update(schedule.table).values(since="2020-01-01T00:00:00.000000Z"))

    due()
    monkeypatch.setattr(worklist, "pull", never)
    asyncio.run(turn(asked))
    assert landes.items()[f"ACT382 {NUMERO}"].reason == "to-fetch"
    (state,) = schedule.states(landes.gateway, [job])
    assert (state.failures, state.reason, state.done_at) == (0, None, None)
    done = asyncio.Event()

    async def told(*given: Any) -> Any:
        receipts = await real(*given)
        done.set()
        return receipts

    monkeypatch.setattr(worklist, "pull", told)
    asyncio.run(turn(done))
    schedule.DONE.clear()
    schedule.FAILURES.clear()
    assert landes.sandbox.calls("lecture")


def test_a_body_without_a_worklist_says_so(landes: Territory) -> None:
    with pytest.raises(Invalid, match="worklist-missing"):
        asyncio.run(worklist.poll(landes.gateway, "ccas", "departement"))


# --- sanctions: transmitted, never decided ----------------------------------------------------------------------------


def sanction(landes: Territory) -> tuple[str, str]:
    who = landes.known()
    landes.poll()
    return who, landes.items()[f"ACT366 {NUMERO}"].id


def test_a_sanction_leaves_with_two_validations_of_that_very_act(landes: Territory) -> None:
    who, row = sanction(landes)
    landes.validate(who, worklist.digest_of(row, SAISIE), "agent-1", "agent-2")
    answer = landes.transmit(row, SAISIE)
    assert answer.outcome == "delivered", answer
    usager = landes.sandbox.usagers[NUMERO]
    assert usager.sanctions["csq-fictive-1"]["activite"] == "ACT367"
    assert landes.items()[f"ACT366 {NUMERO}"].state == "transmitted"
    told = landes.poll()
    assert told.absent == 1
    assert landes.items()[f"ACT367 {NUMERO}"].state == "open", "the next step is a task of its own"


def test_an_act_is_about_the_consequence_of_its_item_whatever_it_says(landes: Territory) -> None:
    who, row = sanction(landes)
    act = SAISIE | {"identifiant_consequence": "csq-of-another", "activite": "ACT367"}
    landes.validate(who, worklist.digest_of(row, act), "agent-1", "agent-2")
    assert landes.transmit(row, act).outcome == "delivered"
    assert landes.sandbox.usagers[NUMERO].sanctions["csq-fictive-1"]["activite"] == "ACT367"


@pytest.mark.parametrize("agents", [(), ("agent-1",), ("agent-1", "agent-1")])
def test_without_two_agents_nothing_leaves(landes: Territory, agents: tuple[str, ...]) -> None:
    who, row = sanction(landes)
    landes.validate(who, worklist.digest_of(row, SAISIE), *agents)
    with pytest.raises(Conflict, match="validations-missing"):
        landes.transmit(row, SAISIE)
    assert landes.sandbox.usagers[NUMERO].sanctions["csq-fictive-1"]["evenements"] == []
    assert landes.items()[f"ACT366 {NUMERO}"].state == "open"


def test_validations_of_another_act_do_not_count(landes: Territory) -> None:
    who, row = sanction(landes)
    landes.validate(who, worklist.digest_of(row, SAISIE), "agent-1", "agent-2")
    with pytest.raises(Conflict, match="validations-missing"):
        landes.transmit(row, SAISIE | {"date_evenement": "2026-11-21"})
    with pytest.raises(Conflict, match="validations-missing"):
        landes.transmit(row, SAISIE | {"type_evenement": "REFUS_SAISIE_SANCTION"})


def test_the_worklist_alone_never_moves_a_sanction(landes: Territory) -> None:
    who, row = sanction(landes)
    landes.validate(who, worklist.digest_of(row, SAISIE), "agent-1", "agent-2")
    for _ in range(3):
        landes.poll()
        landes.deliver()
    assert landes.sandbox.calls("evenement_sanction") == []
    assert landes.sandbox.usagers[NUMERO].sanctions["csq-fictive-1"]["evenements"] == []


def test_a_cut_transmission_waits_for_a_human(landes: Territory) -> None:
    who, row = sanction(landes)
    landes.validate(who, worklist.digest_of(row, SAISIE), "agent-1", "agent-2")
    with landes.gateway.unit_of_work() as work:
        work.connection.execute(update(worklist_item).where(worklist_item.c.id == row).values(state="transmitting"))
    with pytest.raises(Conflict, match="worklist-not-open"):
        landes.transmit(row, SAISIE)
    landes.poll()
    assert landes.items()[f"ACT366 {NUMERO}"].state == "transmitting"
    with landes.gateway.unit_of_work() as work:
        worklist.release(work, row)
    assert landes.transmit(row, SAISIE).outcome == "delivered"
    with pytest.raises(Conflict, match="worklist-not-transmitting"), landes.gateway.unit_of_work() as work:
        worklist.release(work, row)


def test_only_a_sanction_is_transmitted_this_way(landes: Territory) -> None:
    landes.known()
    landes.poll()
    with pytest.raises(Conflict, match="worklist-not-transmitted"):
        landes.transmit(landes.items()[f"ACT382 {NUMERO}"].id, SAISIE)
    with pytest.raises(Unknown, match="worklist-unknown"):
        landes.transmit("00000000-0000-7000-8000-000000000000", SAISIE)


def test_a_row_shows_no_number(landes: Territory) -> None:
    landes.known()
    landes.poll()
    for row in landes.items().values():
        assert NUMERO not in repr(row)
        assert "csq-fictive-1" not in repr(worklist.content_of(landes.gateway, row))
