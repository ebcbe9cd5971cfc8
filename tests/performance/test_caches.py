"""What is remembered to go faster never outlives what it depends on."""

from __future__ import annotations

import hmac
import os
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import basis, clock, convention, decision_record, merge
from gateway.categories import Bridge, bridge
from gateway.chance import chance
from gateway.decide import answer, decide, question
from gateway.demo.forms import objection
from gateway.found_by import identifiers_for
from gateway.keys import Keyring, hmac_sha256
from gateway.merge import Assertions
from gateway.policy import Policy
from gateway.policy_table import FOLDER
from gateway.registry import Gateway
from gateway.settings import Settings
from schemas import paths
from schemas.record import Fact

DEMO = Path(__file__).parents[2] / "gateway" / "demo" / "convention.toml"
RELAXED = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
FACTS: list[tuple[str, list[Any]]] = [
    ("personne.nom_naissance", ["Vidal"]),
    ("personne.date_naissance", ["1988-04-12", "2015-01-01", "1988"]),
    ("personne.adresses[residence].code_insee", ["40088", "64024"]),
    ("personne.telephones[+33611223344].numero", ["+33611223344"]),
    ("identifiants[nir].valeur", ["2880440901234"]),
    ("identifiants[ft_numero].valeur", ["00000123456"]),
    ("foyer.matricule", ["1234567", "2880440901234"]),
    ("droit_rsa.etat", ["ouvert_versable", "clos"]),
    ("freins[sante].valeur", ["present"]),
    ("freins[mobilite].valeur", ["present", "absent"]),
    ("orientations[departement:7].organisme_accueil.nom", ["CCAS de Saint-Aventin-les-Sables"]),
    ("orientations[departement:7].organisme_accueil.nature", ["ccas", "france_travail"]),
    ("accompagnements[departement:1].membres[a].est_referent", [True, False]),
    ("accompagnements[departement:1].membres[a].organisation.nature", ["ccas", "departement"]),
    ("accompagnements[departement:1].membres[a].organisation.nom", ["CCAS de Saint-Aventin-les-Sables"]),
]
sources = st.sampled_from(["caf", "departement", "ccas", "france_travail"])
one_fact = st.sampled_from(FACTS).flatmap(lambda row: st.tuples(st.just(row[0]), st.sampled_from(row[1]), sources))
dossiers = st.lists(one_fact, max_size=10).map(
    lambda rows: {path: Fact(value, source, "x", "2026-01-01T00:00:00.000000Z") for path, value, source in rows}
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("home")
    opened = Gateway.open(Settings(profile="test", home=home, departement="040"))
    with opened.unit_of_work() as work:
        for notice in ("rsa-demande", "reseau-emploi", "parcours-insertion"):
            basis.publish_notice(work, notice, 1, "Une notice.")
        convention.add(work, DEMO.read_bytes())
    yield opened
    opened.engine.dispose()


@RELAXED
@given(seen=st.lists(dossiers, min_size=1, max_size=4))
def test_a_question_is_the_one_that_a_new_transaction_would_ask(gateway: Gateway, seen: list[dict[str, Fact]]) -> None:
    """Dossiers met one after the other in one transaction, by all flows, never answer for each other."""
    with gateway.reading() as work:
        flows = [flow for body in ("caf", "departement", "ccas") for flow in gateway.flows(work, body)]
        asked = [question(work, gateway, "nobody", flow, current) for current in seen for flow in flows]
    fresh = []
    for current in seen:
        for flow in flows:
            with gateway.reading() as work:
                fresh.append(question(work, gateway, "nobody", flow, dict(current)))
    assert asked == fresh


@RELAXED
@given(seen=st.lists(dossiers, min_size=1, max_size=4))
def test_a_remembered_decision_is_the_one_that_the_table_gives(gateway: Gateway, seen: list[dict[str, Fact]]) -> None:
    with gateway.reading() as work:
        flows = [flow for body in ("caf", "departement", "ccas") for flow in gateway.flows(work, body)]
        # Flows of the same words but another state are other flows.
        flows += [replace(flow, etat="suspendue") for flow in flows]
        for current in (*seen, *seen):
            for flow in flows:
                asked = question(work, gateway, "nobody", flow, current)
                assert decide(work, gateway, "nobody", flow, current) == gateway.policy._decide(asked)
                assert answer(work, gateway, "nobody", flow, current) == (asked, gateway.policy._decide(asked))


@RELAXED
@given(seen=st.lists(dossiers, min_size=1, max_size=4))
def test_what_the_journal_is_told_of_a_decision_is_told_of_no_other(
    gateway: Gateway, seen: list[dict[str, Fact]]
) -> None:
    with gateway.unit_of_work() as work:
        for flow in (flow for body in ("caf", "departement", "ccas") for flow in gateway.flows(work, body)):
            for current in (*seen, *seen):
                put, decision = answer(work, gateway, "nobody", flow, current)
                told = decision_record.told(work, flow, put, decision)
                assert told == decision_record._told(work, flow, put, decision)
                told["purpose"] = "altered by who was told"


@RELAXED
@given(current=dossiers)
def test_identifiers_serve_to_find_her_where_the_table_lets_them(gateway: Gateway, current: dict[str, Fact]) -> None:
    """What no convention opens for identification is not asked about; the table would have refused it."""
    with gateway.reading() as work:
        for flow in (flow for body in ("caf", "departement", "ccas") for flow in gateway.flows(work, body)):
            asked_of = question(work, gateway, "nobody", flow.for_identification(), current, frozenset({"C1", "C3"}))
            if not gateway.policy.decide(asked_of).permits:
                assert identifiers_for(work, gateway, "nobody", flow, current) == {}
            if not flow.identification:
                assert not gateway.policy.decide(asked_of).permits


def test_another_table_in_the_same_transaction_decides_anew(gateway: Gateway) -> None:
    current = {"personne.nom_naissance": Fact("Vidal", "caf", "x", "2026-01-01T00:00:00.000000Z")}
    before = gateway.policy
    with gateway.reading() as work:
        flow = next(one for one in gateway.flows(work, "caf") if one.vers == "departement")
        decide(work, gateway, "nobody", flow, current)
        try:
            gateway.policy = Policy(replace(before.table, version="another"))
            assert decide(work, gateway, "nobody", flow, current).policy_version == "another"
        finally:
            gateway.policy = before


def test_a_date_that_is_moved_in_a_transaction_changes_its_answers(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = {"personne.nom_naissance": Fact("Vidal", "caf", "x", "2026-01-01T00:00:00.000000Z")}
    with gateway.reading() as work:
        flow = next(one for one in gateway.flows(work, "caf") if one.vers == "departement")
        assert answer(work, gateway, "nobody", flow, current)[0].clock_ok
        monkeypatch.setattr(clock, "steady", lambda: False)
        asked, decision = answer(work, gateway, "nobody", flow, current)
    assert not asked.clock_ok
    assert decision == gateway.policy._decide(asked)


@given(key=st.binary(min_size=1, max_size=64), message=st.binary(max_size=300))
def test_the_keyed_digest_is_the_one_of_the_standard_library(key: bytes, message: bytes) -> None:
    assert hmac_sha256(key, message) == hmac.digest(key, message, "sha256")


def test_no_random_bytes_are_given_twice_nor_to_a_forked_process() -> None:
    ours = [chance(12) for _ in range(2000)]
    assert len(set(ours)) == len(ours)
    assert {len(one) for one in ours} == {12}
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, chance(12))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 12) != chance(12)


@RELAXED
@given(rows=st.lists(one_fact, min_size=1, max_size=20))
def test_a_remembered_category_is_the_one_that_a_bridge_read_again_gives(rows: list[tuple[str, Any, str]]) -> None:
    source = tomllib.loads((FOLDER / "categories.toml").read_text())
    remembering = Bridge(source)
    for path, value, _ in [*rows, *rows]:
        assert remembering.both(path, value) == Bridge(source).both(path, value) == bridge().both(path, value)
    facts = {path: value for path, value, _ in rows}
    asked_alone = {Bridge(source).both(path, value) for path, value in facts.items()}
    assert remembering.of(facts, facts.get) == Bridge(source).of(facts, facts.get) == asked_alone


places = st.one_of(one_fact.map(lambda row: row[0]), st.text("k:\0", max_size=3).map("entretiens[{}].date".format))


@RELAXED
@given(told=st.lists(places, max_size=20, unique=True))
def test_paths_cut_together_are_those_cut_one_by_one(told: list[str]) -> None:
    alone: dict[str, list[str]] = {}
    for path in told:
        alone.setdefault(paths.shape(path), []).append(path)
    assert paths.by_shape(told) == alone
    assert paths.categories(paths.by_shape(told)) == {paths.categorie(path) for path in told}
    dossier = merge.Portrait([Assertions("ccas", "ccas", "d", "2026-01-01", "2026-01-01", dict.fromkeys(told, "x"))])
    assert dossier.shapes == merge.by_shape(dossier) == alone
    assert dossier.is_all_of(set(told))
    assert not dossier.is_all_of({*told, "personne.civilite"})
    assert not dossier.is_all_of(set(told[1:]) | {"personne.civilite"})


@pytest.mark.parametrize("path", ["freins[].valeur", "objectifs[].besoin"])
def test_a_list_asked_about_without_a_key_tells_nothing_of_its_keys(path: str) -> None:
    """The categories of a mapping are asked about before any code is known: `freins[]`, then `freins[sante]`."""
    source = tomllib.loads((FOLDER / "categories.toml").read_text())
    for key in ("sante", "violences", "mobilite", "handicap", "acces_aux_soins"):
        remembering = Bridge(source)
        remembering.both(path)
        coded = path.replace("[]", f"[{key}]")
        assert remembering.of([coded], lambda _: None) == {Bridge(source).both(coded)}


def test_another_bridge_remembers_nothing_of_the_first() -> None:
    source = tomllib.loads((FOLDER / "categories.toml").read_text())
    assert Bridge(source).both("personne.nom_naissance") == ("identite", "C1")
    rows = [row | {"code": "C2"} if row["modele"] == "identite" else row for row in source["categorie"]]
    assert Bridge(source | {"categorie": rows}).both("personne.nom_naissance") == ("identite", "C2")


@RELAXED
@given(
    sets=st.lists(
        st.tuples(sources, st.integers(1, 9), st.dictionaries(*map(st.sampled_from, (
            ["personne.nom_naissance", "personne.civilite", "droit_rsa.etat", "freins[mobilite].valeur"],
            ["non_explore", "a", "b"],
        )))), max_size=5,
    )
)  # fmt: skip
def test_the_current_dossier_is_chosen_path_by_path(sets: list[tuple[str, int, dict[str, Any]]]) -> None:
    roles = {"caf": "caf_msa"}
    said = [
        Assertions(who, roles.get(who, who), f"d{rank}", f"2026-01-0{day}", f"2026-02-0{day}", facts)
        for rank, (who, day, facts) in enumerate(sets)
    ]
    expected = {
        path: merge._fact(path, merge._ordered(path, [one for one in said if path in one.facts])[0])
        for path in {path for one in said for path in one.facts}
    }
    assert merge.current(said) == expected


def test_an_objection_in_the_transaction_that_created_the_person_counts_at_once(gateway: Gateway) -> None:
    with gateway.unit_of_work() as work:
        person = gateway.dossiers.new_subject(work, "personne")
        flow = next(one for one in gateway.flows(work, "ccas") if one.regime == "PIE")
        current = {"personne.nom_naissance": Fact("Vidal", "ccas", "x", work.now)}
        assert question(work, gateway, person, flow, current).objection_state == "none"
        work.flush()
        basis.record(work, objection(gateway, person))
        assert question(work, gateway, person, flow, current).objection_state == "raised_pending"


def test_a_person_another_transaction_created_is_asked_about(gateway: Gateway) -> None:
    with gateway.unit_of_work() as work:
        person = gateway.dossiers.new_subject(work, "personne")
        work.flush()
        basis.record(work, objection(gateway, person))
        assert gateway.vault.created(work, person)
    with gateway.unit_of_work() as work:
        flow = next(one for one in gateway.flows(work, "ccas") if one.regime == "PIE")
        current = {"personne.nom_naissance": Fact("Vidal", "ccas", "x", work.now)}
        assert not gateway.vault.created(work, person)
        assert question(work, gateway, person, flow, current).objection_state == "raised_pending"


def test_a_convention_that_changes_in_a_transaction_changes_its_answers(gateway: Gateway) -> None:
    current = {"personne.adresses[residence].code_insee": Fact("40088", "caf", "x", "2026-01-01T00:00:00.000000Z")}
    with gateway.unit_of_work() as work:
        work.abandon()
        flow = next(one for one in gateway.flows(work, "caf") if one.vers == "departement")
        assert question(work, gateway, "nobody", flow, current).convention_active
        convention.add(work, DEMO.read_bytes().replace(b'perimetre = ["40"]', b'perimetre = ["64"]', 1))
        later = next(one for one in gateway.flows(work, "caf") if one.vers == "departement")
        assert not question(work, gateway, "nobody", later, current).convention_active
        assert not question(work, gateway, "nobody", replace(flow, etat="suspendue"), current).convention_active


def test_another_key_gives_other_indexes(tmp_path: Path, gateway: Gateway) -> None:
    other = Gateway(gateway.settings, gateway.engine, Keyring(tmp_path / "keys"), gateway.policy)
    facts = {"personne.nom_naissance": "Vidal", "personne.prenoms": ["Ana"], "personne.date_naissance": "1988-04-12"}
    ours, theirs = gateway.identity.keys_of(facts).indexes, other.identity.keys_of(facts).indexes
    assert ours.keys() == theirs.keys()
    assert not set(ours.values()) & set(theirs.values())
