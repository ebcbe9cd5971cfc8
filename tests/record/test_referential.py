"""A code list changes: what was stored under its former codes is said again, or waits for a human; never rewritten."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from typer.testing import CliRunner

from gateway import clock, journal, referential, tasks
from gateway.app import readiness
from gateway.cli import app
from gateway.code_lists import CodeLists
from gateway.exchange import exchange
from gateway.merge import Portrait
from gateway.problems import Conflict, Invalid, Unavailable, Unknown
from gateway.receipt import Request
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.settings import settings as process_settings
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import assertion_set
from gateway.worker import Worker
from schemas.nomenclatures import migration
from schemas.nomenclatures.migration import Change, Migration, MigrationInvalid
from schemas.record import PersonFacts, Record
from tests.journeys.territory import DEMO, accompaniment, territory

WHO = {
    "identifiants[nir].valeur": "2850699999999",
    "personne.nom_naissance": "LEFÈVRE",
    "personne.prenoms": ["Marie"],
    "personne.date_naissance": "1985-06-12",
}
LOGEMENT = """
id = "logement-2027"
list = "crosswalk/logement"
from = "2023"
to = "2027"
source = "essai"
change = [
  { action = "rename", code = "chez_un_tiers", to = "heberge_tiers" },
  { action = "merge", code = ["caravane", "cabane"], to = "fortune" },
  { action = "split", code = "locataire_precaire", to = ["locataire_prive", "locataire_social"] },
  { action = "retire", code = "inconnu" },
]
"""
OBJECTIFS = Migration(
    "objectifs-2027",
    "crosswalk/objectifs",
    "2023",
    "2027",
    {
        "permis": Change("permis", ("mobilite_obtenir_permis",)),
        "code_route": Change("code_route", ("mobilite_obtenir_permis",)),
        "vehicule": Change("vehicule", ("mobilite_acceder_vehicule", "mobilite_entretenir_vehicule")),
        "ancien": Change("ancien", ()),
    },
)


both_databases = pytest.mark.parametrize("gateway", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    on_postgres = getattr(request, "param", "sqlite") == "postgresql"
    url = request.getfixturevalue("postgres_database") if on_postgres else ""
    one = Gateway.open(Settings(home=tmp_path, profile="test", departement="040", database_url=url))
    yield one
    one.engine.dispose()


def written(folder: Path, text: str = LOGEMENT) -> Migration:
    path = folder / "change.toml"
    path.write_text(text, encoding="utf-8")
    return migration.read(path)


def tell(gateway: Gateway, body: str, facts: dict[str, Any], foyer: dict[str, Any] | None = None) -> str:
    document = {"ccas": "ccas.suivi", "departement": "departement.webrsa_ali"}.get(body, "caf.flux_beneficiaire")
    with gateway.unit_of_work() as work:
        request = Request(clock.new_id(), body, document, ())
        (receipt,) = exchange(work, gateway, request, [Record("r1", [PersonFacts(WHO | facts)], foyer=foyer or {})])
    (person,) = receipt.persons
    return person


def current(gateway: Gateway, person: str) -> Portrait:
    with gateway.unit_of_work() as work:
        return gateway.dossiers.current(work, person)


def values(gateway: Gateway, person: str, prefix: str) -> dict[str, Any]:
    return {path: fact.value for path, fact in current(gateway, person).items() if path.startswith(prefix)}


def stored(gateway: Gateway) -> list[Any]:
    with gateway.unit_of_work() as work:
        return list(work.connection.execute(select(assertion_set).order_by(assertion_set.c.id)))


HOUSING = "foyer.logement_statut"


def test_a_renamed_code_is_said_again_in_the_same_name_at_the_same_date(gateway: Gateway, tmp_path: Path) -> None:
    who = tell(gateway, "ccas", {}, {HOUSING: "chez_un_tiers"})
    before = current(gateway, who)[HOUSING]
    told = referential.apply(gateway, written(tmp_path))
    fact = current(gateway, who)[HOUSING]
    assert (fact.value, fact.source, fact.asserted_at) == ("heberge_tiers", before.source, before.asserted_at)
    assert (told.sets, told.subjects, told.moved, told.to_choose) == (1, 1, {"chez_un_tiers": 1}, {})


@both_databases
def test_nothing_stored_is_rewritten_and_the_new_set_names_the_change(gateway: Gateway, tmp_path: Path) -> None:
    tell(gateway, "ccas", {}, {HOUSING: "caravane"})
    before = {row.id: row.payload for row in stored(gateway)}
    referential.apply(gateway, written(tmp_path))
    after = {row.id: row for row in stored(gateway)}
    assert {id: after[id].payload for id in before} == before, "history is what was said"
    (new,) = set(after) - set(before)
    (old,) = [row for row in after.values() if row.superseded_by == new]
    assert old.superseded_at
    with gateway.unit_of_work() as work:
        (applied,) = referential.applied(work)
        entries = work.connection.execute(
            select(journal_entry.c.event).where(journal_entry.c.exchange_id == applied["exchange"])
        )
        assert [row.event for row in entries] == ["referential.change"] * 2, "opened, then one set moved"
    assert after[new].exchange_id == applied["exchange"]
    assert (applied["list"], applied["from"], applied["to"]) == ("crosswalk/logement", "2023", "2027")


def test_two_codes_merge_and_a_retired_one_is_history(gateway: Gateway, tmp_path: Path) -> None:
    who = tell(gateway, "ccas", {}, {HOUSING: "cabane"})
    tell(gateway, "caf", {}, {HOUSING: "inconnu", "foyer.nb_enfants_mineurs": 2})
    told = referential.apply(gateway, written(tmp_path))
    assert values(gateway, who, "foyer.") == {HOUSING: "fortune", "foyer.nb_enfants_mineurs": 2}
    assert (told.moved, told.retired) == ({"cabane": 1}, {"inconnu": 1})


@both_databases
def test_applied_twice_it_changes_nothing_more(gateway: Gateway, tmp_path: Path) -> None:
    tell(gateway, "ccas", {}, {HOUSING: "caravane"})
    tell(gateway, "caf", {}, {HOUSING: "locataire_precaire"})
    referential.apply(gateway, written(tmp_path))
    rows = len(stored(gateway))
    again = referential.apply(gateway, written(tmp_path))
    assert (again.sets, again.moved, again.deliveries, len(stored(gateway))) == (0, {}, 0, rows)
    with gateway.unit_of_work() as work:
        assert len(referential.applied(work)) == 1
        assert len(tasks.open_tasks(work)) == 1, "the same choice is asked for once"


@both_databases
def test_a_dry_run_counts_the_same_and_writes_nothing(gateway: Gateway, tmp_path: Path) -> None:
    who = tell(gateway, "ccas", {}, {HOUSING: "caravane"})
    tell(gateway, "caf", {}, {HOUSING: "locataire_precaire"})
    before = stored(gateway)
    seen = referential.apply(gateway, written(tmp_path), dry_run=True)
    assert stored(gateway) == before
    assert current(gateway, who)[HOUSING].value != "fortune"
    with gateway.unit_of_work() as work:
        assert (referential.applied(work), tasks.open_tasks(work)) == ([], [])
    assert seen == referential.apply(gateway, written(tmp_path))
    assert (seen.sets, seen.moved, seen.to_choose) == (1, {"caravane": 1}, {"locataire_precaire": 1})


@both_databases
def test_a_split_is_never_guessed_a_human_chooses(gateway: Gateway, tmp_path: Path) -> None:
    who = tell(gateway, "ccas", {}, {HOUSING: "locataire_precaire"})
    referential.apply(gateway, written(tmp_path))
    assert current(gateway, who)[HOUSING].value == "locataire_precaire", "kept as it was said"
    with gateway.unit_of_work() as work:
        (task,) = referential.waiting(work, gateway)
    assert task["became"] == {"locataire_precaire": ["locataire_prive", "locataire_social"]}
    for code, to in (("locataire_precaire", "fortune"), ("caravane", "fortune")):
        with pytest.raises(Invalid, match="code-not-offered"), gateway.unit_of_work() as work:
            referential.choose(work, gateway, task["task"], code, to)
    with gateway.unit_of_work() as work:
        assert referential.choose(work, gateway, task["task"], "locataire_precaire", "locataire_social")
    assert current(gateway, who)[HOUSING].value == "locataire_social"
    with gateway.unit_of_work() as work:
        assert referential.waiting(work, gateway) == []
        with pytest.raises(Conflict, match="task-settled"):
            referential.choose(work, gateway, task["task"], "locataire_precaire", "locataire_prive")
        with pytest.raises(Unknown, match="task-unknown"):
            referential.choose(work, gateway, clock.new_id(), "locataire_precaire", "locataire_prive")


def test_a_body_that_says_the_new_code_itself_leaves_nothing_to_choose(gateway: Gateway, tmp_path: Path) -> None:
    who = tell(gateway, "ccas", {}, {HOUSING: "locataire_precaire"})
    referential.apply(gateway, written(tmp_path))
    tell(gateway, "ccas", {}, {HOUSING: "locataire_prive"})
    with gateway.unit_of_work() as work:
        (task,) = tasks.open_tasks(work)
        assert referential.choose(work, gateway, task["id"], "locataire_precaire", "locataire_social")
    assert current(gateway, who)[HOUSING].value == "locataire_prive", "her CCAS said it: nothing is put in its place"


def test_items_named_by_a_code_move_whole(gateway: Gateway) -> None:
    who = tell(gateway, "ccas", {
        "objectifs[permis].statut": "en_cours", "objectifs[permis].echeance": "2026-12-31",
        "objectifs[ancien].statut": "en_cours", "actions[ccas:a1].objectif": "permis",
        "objectifs[mobilite_acceder_vehicule].prealable_a": ["permis", "code_route", "ancien"],
    })  # fmt: skip
    told = referential.apply(gateway, OBJECTIFS)
    at = "objectifs[mobilite_obtenir_permis]"
    assert values(gateway, who, "objectifs[") | values(gateway, who, "actions[") == {
        f"{at}.statut": "en_cours", f"{at}.echeance": "2026-12-31", "actions[ccas:a1].objectif": at[10:-1],
        "objectifs[mobilite_acceder_vehicule].prealable_a": [at[10:-1]],
    }  # fmt: skip
    assert (told.moved, told.retired) == ({"permis": 4, "code_route": 1}, {"ancien": 2})


def test_two_items_that_one_code_would_join_though_they_differ_wait_for_a_human(gateway: Gateway) -> None:
    facts = {"objectifs[permis].statut": "en_cours", "objectifs[code_route].statut": "realise"}
    who = tell(gateway, "ccas", facts)
    told = referential.apply(gateway, OBJECTIFS)
    assert values(gateway, who, "objectifs[") == facts, "neither is chosen by the gateway"
    assert told.to_choose == {"permis": 1, "code_route": 1}
    with gateway.unit_of_work() as work:
        (task,) = referential.waiting(work, gateway)
        assert referential.choose(work, gateway, task["task"], "code_route", "mobilite_obtenir_permis")
    assert values(gateway, who, "objectifs[") == {"objectifs[mobilite_obtenir_permis].statut": "realise"}


def test_two_bodies_keep_their_own_words_through_a_change(gateway: Gateway) -> None:
    who = tell(gateway, "ccas", {"objectifs[permis].statut": "en_cours"})
    tell(gateway, "departement", {"objectifs[code_route].statut": "realise"})
    referential.apply(gateway, OBJECTIFS)
    with gateway.unit_of_work() as work:
        said = {one.source: one.facts.get("objectifs[mobilite_obtenir_permis].statut")
                for one in gateway.dossiers.said(work, who)}  # fmt: skip
    assert said == {"ccas": "en_cours", "departement": "realise"}


def test_a_situation_goes_under_the_theme_that_the_list_gives_to_its_new_code(gateway: Gateway) -> None:
    who = tell(gateway, "ccas", {"freins[sante].situations[conduite_impossible].valeur": "oui"})
    change = Migration(
        "situations-2027", "crosswalk/freins_situations", "2023", "2027",
        {"conduite_impossible": Change("conduite_impossible", ("mobilite_sante_incompatible_conduite",))},
    )  # fmt: skip
    referential.apply(gateway, change)
    assert list(values(gateway, who, "freins[")) == [
        "freins[mobilite].situations[mobilite_sante_incompatible_conduite].valeur"
    ]


def test_versions_of_a_list_follow_each_other(gateway: Gateway, tmp_path: Path) -> None:
    referential.apply(gateway, written(tmp_path))
    with pytest.raises(Conflict, match="migration-changed"):
        referential.apply(gateway, written(tmp_path, LOGEMENT.replace('"cabane"]', '"cabane", "tente"]')))
    later = LOGEMENT.replace('id = "logement-2027"', 'id = "logement-2029"')
    with pytest.raises(Conflict, match="migration-out-of-order"):
        referential.apply(gateway, written(tmp_path, later.replace('to = "2027"', 'to = "2029"')))
    follows = later.replace('from = "2023"', 'from = "2027"').replace('to = "2027"', 'to = "2029"')
    referential.apply(gateway, written(tmp_path, follows))


def test_a_list_that_the_record_does_not_keep_changes_in_its_tables_alone(gateway: Gateway) -> None:
    change = Migration("situations-ft", "france_travail/situations", "1", "2", {"99": Change("99", ("7",))})
    with pytest.raises(Invalid, match="migration-not-stored"):
        referential.apply(gateway, change)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("id = ", "migration-unreadable"),
        (LOGEMENT.replace("rename", "move"), "migration-unreadable"),
        (LOGEMENT.replace('["locataire_prive", "locataire_social"]', '["locataire_prive"]'), "migration-unreadable"),
        (LOGEMENT.replace('code = "inconnu"', 'code = "inconnu", to = "fortune"'), "migration-unreadable"),
        (LOGEMENT.replace("crosswalk/logement", "crosswalk/rien"), "migration-list"),
        (LOGEMENT.replace("heberge_tiers", "heberge_ailleurs"), "migration-target"),
        (LOGEMENT.replace("chez_un_tiers", "sans_abri"), "migration-source"),
        (LOGEMENT.replace("inconnu", "caravane"), "migration-source"),
    ],
)
def test_a_file_that_does_not_fit_the_list_is_refused(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(MigrationInvalid) as refused:
        written(tmp_path, text)
    assert refused.value.code == code


def test_the_changes_that_come_with_a_release_fit_their_lists() -> None:
    for path in Path(migration.__file__).with_name("changes").glob("*.toml"):
        assert migration.read(path).changes


def test_whoever_holds_the_former_value_is_offered_the_document_again(tmp_path: Path) -> None:
    landes = territory(tmp_path, DEMO)
    who = landes.oriented()
    landes.tell("departement", "departement.accompagnement", accompaniment())
    with landes.gateway.unit_of_work() as work:
        place = ("departement", "departement.webrsa_ali", b"0" * 32)
        landes.gateway.dossiers.put(
            work, who, place, {"freins[transports].valeur": "present"}, asserted_at=work.now,
            exchange_id=clock.new_id(), partial=False,
        )  # fmt: skip
    landes.deliver("ccas")
    sent = len(landes.states("ccas"))
    change = Migration("freins", "crosswalk/freins", "1", "2", {"transports": Change("transports", ("mobilite",))})
    told = referential.apply(landes.gateway, change)
    assert told.deliveries == len(landes.states("ccas")) - sent
    with landes.gateway.unit_of_work() as work:
        (applied,) = referential.applied(work)
        promised = work.connection.execute(
            select(outbox.c.recipient).where(outbox.c.exchange_id == applied["exchange"])
        )
        assert {row.recipient for row in promised} == {"ccas"}
    landes.deliver("ccas")
    assert {state for state, _ in landes.states("ccas")} == {"delivered"}
    landes.gateway.engine.dispose()


@both_databases
def test_it_is_applied_while_others_write_and_nothing_is_lost_nor_said_twice(gateway: Gateway, tmp_path: Path) -> None:
    """Processes of the new release go on writing the very records that are being said again, and new ones."""
    change, begun, applied = written(tmp_path), threading.Event(), threading.Event()
    for rank in range(WRITERS):
        announced(gateway, rank, 0, "chez_un_tiers")

    def write(rank: int) -> str:
        turn = 0
        while True:
            last_turn = applied.is_set()
            turn += 1
            announced(gateway, rank, turn)
            announced(gateway, WRITERS + turn * WRITERS + rank, turn, "fortune")
            begun.set()
            if last_turn:
                return str(turn)

    with ThreadPoolExecutor(WRITERS) as pool:
        running = [pool.submit(write, rank) for rank in range(WRITERS)]
        assert begun.wait(60)
        told = referential.apply(gateway, change)
        applied.set()
        turns = sorted(one.result(timeout=120) for one in running)
    assert told.moved == {"chez_un_tiers": WRITERS}
    live = places(gateway)
    assert max(Counter(place for place, _ in live).values()) == 1, "one live statement for each record"
    said = [facts for _, facts in live]
    assert not [facts for facts in said if facts.get(HOUSING) in change.changes]
    assert Counter(facts.get(HOUSING) for facts in said)["heberge_tiers"] == WRITERS
    stood = [facts["personne.lieu_naissance.libelle"] for facts in said if facts.get("personne.nom_naissance") in NAMES]
    assert sorted(stood) == turns, "the last word of each is the one that stands"


@both_databases
def test_a_process_with_the_former_list_writes_nothing_more_once_the_change_is_opened(
    gateway: Gateway, tmp_path: Path
) -> None:
    change, accepted, refused = written(tmp_path), [0], list[tuple[str, int]]()
    former = Gateway.open(gateway.settings)
    former.dossiers.code_lists = CodeLists(lambda name: dict.fromkeys(["chez_un_tiers", "caravane", "proprietaire"]))

    def write() -> None:
        while True:
            try:
                announced(former, accepted[0], 0, "chez_un_tiers")
            except Unavailable as problem:
                refused.append((problem.code, problem.status))
                return
            accepted[0] += 1

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(write)
        until(lambda: accepted[0] > 2)
        told = referential.apply(gateway, change)
        running.result(timeout=30)
    assert refused == [("referential-stale", 503)]
    assert told.moved == {"chez_un_tiers": accepted[0]}, "what it wrote before the change, down to the last, was moved"
    assert not [facts for _, facts in places(gateway) if facts.get(HOUSING) in change.changes]
    assert readiness(former)["code_lists"] is False
    assert readiness(gateway)["code_lists"] is True
    with former.unit_of_work() as work:
        assert Worker(former)._closed(work), "nor does it deliver"
    former.dossiers.code_lists = CodeLists()
    announced(former, 99, 0, "fortune")
    former.engine.dispose()


WRITERS = 3
NAMES = {f"N{rank}" for rank in range(WRITERS)}


def announced(gateway: Gateway, rank: int, turn: int, housing: str = "") -> None:
    """A CCAS tells of one of its persons, in one record each; her housing only when it is given."""
    facts = WHO | {"identifiants[nir].valeur": f"28506{rank % 90 + 10}{rank:06d}", "personne.nom_naissance": f"N{rank}"}
    facts |= {"personne.lieu_naissance.libelle": str(turn), **({HOUSING: housing} if housing else {})}
    with gateway.unit_of_work() as work:
        request = Request(clock.new_id(), "ccas", "ccas.suivi", ())
        exchange(work, gateway, request, [Record(f"r{rank}", [PersonFacts(facts)])])


def places(gateway: Gateway) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every live statement: whose record it is, and what it says."""
    with gateway.unit_of_work() as work:
        live = work.connection.execute(select(assertion_set).where(assertion_set.c.superseded_at.is_(None))).all()
        return [
            ((row.subject_id, row.source, row.record_h), gateway.vault.open(work, row.subject_id, row.payload))
            for row in live
        ]


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILLON_HOME", str(tmp_path / "var"))
    monkeypatch.setenv("MAILLON_PROFILE", "test")
    process_settings.cache_clear()
    gateway = Gateway.open(process_settings())
    tell(gateway, "ccas", {}, {HOUSING: "caravane"})
    tell(gateway, "caf", {}, {HOUSING: "locataire_precaire"})
    path = tmp_path / "logement-2027.toml"
    path.write_text(LOGEMENT, encoding="utf-8")
    run = CliRunner()
    dry = json.loads(run.invoke(app, ["referential", "apply", str(path), "--dry-run"]).stdout)
    assert (dry["dry_run"], dry["sets"], dry["to_choose"]) == (True, 1, {"locataire_precaire": 1})
    done = json.loads(run.invoke(app, ["referential", "apply", str(path)]).stdout)
    assert (done["dry_run"], done["sets"]) == (False, 1)
    version, task = map(json.loads, run.invoke(app, ["referential", "list"]).stdout.splitlines())
    assert (version["list"], version["to"]) == ("crosswalk/logement", "2027")
    chosen = run.invoke(app, ["referential", "choose", task["task"], "locataire_precaire", "locataire_social"])
    assert json.loads(chosen.stdout)["state"] == "settled"
    path.write_text("id = 1", encoding="utf-8")
    assert run.invoke(app, ["referential", "apply", str(path)]).exit_code == 1
    with gateway.unit_of_work() as work:
        assert {"referential.change"} <= journal.EVENTS
        assert tasks.open_tasks(work) == []
    gateway.engine.dispose()
    process_settings.cache_clear()


CODES = ["permis", "code_route", "vehicule", "ancien", "mobilite_obtenir_permis", "mobilite_acceder_vehicule"]
FACTS = st.dictionaries(
    st.builds("objectifs[{}].{}".format, st.sampled_from(CODES), st.sampled_from(["statut", "cote"])),
    st.sampled_from(["en_cours", "realise"]),
) | st.dictionaries(
    st.sampled_from(["objectifs[mobilite_obtenir_permis].prealable_a", "contrats[ccas:1].objectifs"]),
    st.lists(st.sampled_from(CODES), min_size=1, unique=True),
)


@given(FACTS)
def test_no_fact_is_lost_but_the_retired_and_none_is_made_up(facts: dict[str, Any]) -> None:
    new = referential.translate(facts, OBJECTIFS)
    again = referential.translate(new.facts, OBJECTIFS)
    assert (again.facts, again.moved, again.retired) == (new.facts, {}, {}), "translating twice is translating once"
    assert not {"ancien"} & set(referential._used(new.facts, OBJECTIFS.codes))
    names = [path.partition("]")[2] for path in facts if "[ancien]" not in path]
    assert {path.partition("]")[2] for path in new.facts} <= set(names)
    left = set(referential._used(new.facts, OBJECTIFS.codes)) & set(OBJECTIFS.changes)
    assert left == new.to_choose
    if "permis" in left or "code_route" in left:
        paths = [
            p for p in facts if p.startswith(("objectifs[permis]", "objectifs[code_route]", "objectifs[mobilite_ob"))
        ]
        assert len({(p.partition("]")[2], str(facts[p])) for p in paths}) > len({p.partition("]")[2] for p in paths})
