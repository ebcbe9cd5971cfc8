"""What each body said stays; the current value is chosen when it is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from gateway import merge
from gateway.merge import Assertions
from gateway.storage.tables.record import assertion_set
from tests.record.test_identity import Registry

PLACE = ("caf", "caf.flux_beneficiaire", b"k" * 32)


def said(source: str, role: str, at: str, **facts: object) -> Assertions:
    return Assertions(source, role, f"{source}.x", at, at, {path.replace("__", "."): v for path, v in facts.items()})


def tell(registry: Registry, who: str, facts: dict[str, object], at: str, *, partial: bool = False) -> set[str]:
    with registry.work() as work:
        return registry.dossiers.put(work, who, PLACE, facts, asserted_at=at, exchange_id="x", partial=partial)


@pytest.fixture
def registry(tmp_path: Path):  # type: ignore[no-untyped-def]
    one = Registry(tmp_path)
    yield one
    one.engine.dispose()


def test_a_newer_statement_supersedes_and_the_older_one_stays(registry: Registry) -> None:
    who = registry.known({})
    assert tell(registry, who, {"personne.civilite": "madame"}, "2026-01-01T00:00:00.000000Z") == {"personne.civilite"}
    assert tell(registry, who, {"personne.civilite": "monsieur"}, "2026-02-01T00:00:00.000000Z") == {
        "personne.civilite"
    }
    with registry.work() as work:
        assert registry.dossiers.current(work, who)["personne.civilite"].value == "monsieur"
        assert work.connection.execute(select(func.count()).select_from(assertion_set)).scalar_one() == 2


HOME = "personne__adresses[residence]__"


def address(*told: Assertions) -> dict[str, object]:
    return {path.rpartition(".")[2]: fact.value for path, fact in merge.current(told).items() if "adresses" in path}


def at_home(source: str, role: str, at: str, **lines: object) -> Assertions:
    return said(source, role, at, **{HOME + name: value for name, value in lines.items()})


def test_the_street_of_one_body_is_never_put_above_the_town_of_another() -> None:
    old = {"numero_voie": "12", "nom_voie": "DES RESINIERS", "code_postal": "40100", "libelle_commune": "DAX"}
    new = {"code_postal": "94240", "libelle_commune": "L'HAY LES ROSES"}
    told = [at_home("departement", "departement", "2026-01-01", **old), at_home("ccas", "ccas", "2026-02-01", **new)]
    assert address(*told) == new
    assert address(*reversed(told)) == new
    assert len(merge.divergences(told)) == 2


def test_lines_of_an_address_abroad_take_no_postcode_from_elsewhere() -> None:
    abroad = {"lignes": ["CALLE MAYOR 3", "20001 SAN SEBASTIAN"]}
    told = [
        at_home("caf", "caf_msa", "2026-01-01", **abroad),
        at_home("ccas", "ccas", "2026-02-01", code_postal="40100", libelle_commune="DAX"),
    ]
    assert address(*told) == abroad


def test_bodies_that_tell_the_same_address_complete_each_other() -> None:
    told = [
        at_home("caf", "caf_msa", "2026-01-01", code_postal="40100", libelle_commune="SAINT PAUL LES DAX"),
        at_home("ccas", "ccas", "2026-02-01", libelle_commune="Saint-Paul-lès-Dax", complement="Chez Mme Exemple"),
    ]
    assert address(*told) == {
        "code_postal": "40100", "libelle_commune": "SAINT PAUL LES DAX", "complement": "Chez Mme Exemple"
    }  # fmt: skip


def test_a_corrected_line_stands_in_the_address_it_corrects() -> None:
    told = at_home("caf", "caf_msa", "2026-01-01", code_postal="40100", nom_voie="DES LILAS")
    right = replace(at_home("caf", "caf_msa", "2026-02-01", code_postal="40990"), document=merge.RECTIFIED)
    assert address(told, right) == {"code_postal": "40990", "nom_voie": "DES LILAS"}


def test_what_was_said_under_a_field_that_left_the_model_stays_stored_and_is_no_part_of_the_dossier(
    registry: Registry,
) -> None:
    """As `droit_rsa.date_mutation`, now two dates: what an earlier version stored stopped deliveries and the meter."""
    who, kept = registry.known({}), {"personne.civilite": "madame", "personne.adresses[residence].code_insee": "40088"}
    gone = {"droit_rsa.date_mutation": "2026-10-15", "personne.adresses[residence].couleur": "bleu"}
    tell(registry, who, kept | gone, "2026-01-01T00:00:00.000000Z")
    with registry.work() as work:
        assert set(registry.dossiers.current(work, who)) == set(kept)
        (payload,) = work.connection.execute(select(assertion_set.c.payload)).scalars()
        assert registry.dossiers._vault.open(work, who, payload) == kept | gone
    assert tell(registry, who, kept, "2026-02-01T00:00:00.000000Z") == set(), "said again without it: nothing changed"


def test_an_older_file_arriving_late_changes_nothing(registry: Registry) -> None:
    who = registry.known({})
    tell(registry, who, {"personne.civilite": "monsieur"}, "2026-02-01T00:00:00.000000Z")
    assert tell(registry, who, {"personne.civilite": "madame"}, "2026-01-01T00:00:00.000000Z") == set()
    with registry.work() as work:
        assert registry.dossiers.current(work, who)["personne.civilite"].value == "monsieur"


def test_saying_the_same_again_writes_nothing(registry: Registry) -> None:
    who = registry.known({})
    tell(registry, who, {"personne.civilite": "madame"}, "2026-01-01T00:00:00.000000Z")
    assert tell(registry, who, {"personne.civilite": "madame"}, "2026-03-01T00:00:00.000000Z") == set()


def test_silence_of_a_whole_record_takes_back_its_own_facts_only(registry: Registry) -> None:
    who = registry.known({})
    both = {"personne.civilite": "madame", "personne.nom_usage": "Martin"}
    tell(registry, who, both, "2026-01-01T00:00:00.000000Z")
    assert tell(registry, who, {"personne.civilite": "madame"}, "2026-02-01T00:00:00.000000Z") == {"personne.nom_usage"}


def test_silence_of_a_partial_record_means_nothing(registry: Registry) -> None:
    who = registry.known({})
    tell(registry, who, {"personne.nom_usage": "Martin"}, "2026-01-01T00:00:00.000000Z")
    assert tell(registry, who, {"personne.civilite": "madame"}, "2026-02-01T00:00:00.000000Z", partial=True) == {
        "personne.civilite"
    }
    with registry.work() as work:
        assert set(registry.dossiers.current(work, who)) == {"personne.nom_usage", "personne.civilite"}


def test_nothing_of_a_person_is_readable_in_the_database(registry: Registry, tmp_path: Path) -> None:
    who = registry.known(
        {"personne.nom_naissance": "ZZCANARI", "personne.prenoms": ["Zoé"], "personne.date_naissance": "1990-01-01"}
    )
    tell(registry, who, {"personne.nom_naissance": "ZZCANARI"}, "2026-01-01T00:00:00.000000Z")
    registry.engine.dispose()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"ZZCANARI" not in stored
    assert b"1990-01-01" not in stored


def test_authority_comes_before_date() -> None:
    caf = said("caf", "caf_msa", "2026-01-01", personne__nom_naissance="LEFEVRE", personne__identite_certifiee=True)
    ccas = said("ccas", "ccas", "2026-05-01", personne__nom_naissance="LEFEBVRE")
    assert merge.current([caf, ccas])["personne.nom_naissance"].source == "caf"
    (divergence,) = merge.divergences([caf, ccas])
    assert [fact.value for fact in divergence.facts] == ["LEFEVRE", "LEFEBVRE"]


def test_not_explored_never_hides_what_another_side_found() -> None:
    ccas = Assertions("ccas", "ccas", "d", "2026-01-01", "2026-01-01", {"freins[logement].valeur": "present"})
    ft = Assertions(
        "france_travail", "france_travail", "d", "2026-06-01", "2026-06-01", {"freins[logement].valeur": "non_aborde"}
    )
    assert merge.current([ccas, ft])["freins[logement].valeur"].value == "present"
    assert merge.divergences([ccas, ft]) == []


def test_a_poorer_status_never_replaces_a_richer_one() -> None:
    path = "rendez_vous[departement:7].statut"
    rich = Assertions("ccas", "ccas", "d", "2026-01-01", "2026-01-01", {path: "excuse_usager"})
    poor = Assertions("france_travail", "france_travail", "d", "2026-06-01", "2026-06-01", {path: "annule_service"})
    assert merge.current([rich, poor])[path].value == "excuse_usager"


@pytest.mark.parametrize(
    ("body", "role", "stands"), [("caf", "caf_msa", "caf"), ("departement", "departement", "ccas")]
)
def test_single_gives_way_to_divorced_unless_the_caisse_says_it(body: str, role: str, stands: str) -> None:
    ccas = said("ccas", "ccas", "2026-01-01", foyer__situation_familiale="divorce")
    single = said(body, role, "2026-06-01", foyer__situation_familiale="celibataire")
    assert merge.current([ccas, single])["foyer.situation_familiale"].source == stands
    assert merge.divergences([ccas, single])


@pytest.mark.parametrize(
    ("caf", "ccas", "source", "disagree"),
    [
        ("1985-06", "1985-06-12", "ccas", False),
        ("1985", "1985-06-12", "ccas", False),
        ("1985-06-12", "1985-06", "caf", False),
        ("1985-06", "1985-07-12", "caf", True),
        ("1985-06-12", "1985-06-13", "caf", True),
    ],
)
def test_the_full_birth_date_of_one_body_completes_the_partial_one_of_another(
    caf: str, ccas: str, source: str, disagree: bool
) -> None:
    told = [
        said("caf", "caf_msa", "2026-05-01", personne__date_naissance=caf, personne__identite_certifiee=True),
        said("ccas", "ccas", "2026-01-01", personne__date_naissance=ccas),
    ]
    fact = merge.current(told)["personne.date_naissance"]
    assert (fact.source, fact.value) == (source, {"caf": caf, "ccas": ccas}[source])
    assert fact.certainty == ("certifie" if source == "caf" else "declare")
    assert bool(merge.divergences(told)) is disagree


@pytest.mark.parametrize(
    ("known", "told", "disagree"),
    [("AMELIA", "A.", False), ("JEAN-PIERRE", "J. P.", False), ("AMELIA", "B", True), ("AMELIA", "Amélie", True)],
)
def test_an_initial_never_hides_a_first_name_that_it_agrees_with(known: str, told: str, disagree: bool) -> None:
    words = [
        said("ccas", "ccas", "2026-01-01", personne__prenoms=[known]),
        said("departement", "departement", "2026-05-01", personne__prenoms=[told]),
    ]
    assert merge.current(words)["personne.prenoms"].value == [told if told == "Amélie" else known]
    assert bool(merge.divergences(words)) is disagree


@pytest.mark.parametrize(("certified", "standing"), [(True, "CAILLAU"), (False, "Caillaut"), (None, "Caillaut")])
def test_the_birth_name_of_the_caisse_stands_once_her_identity_is_certified(
    certified: bool | None, standing: str
) -> None:
    told = [
        said("caf", "caf_msa", "2026-05-01", personne__nom_naissance="CAILLAU", personne__date_naissance="1985-06-12"),
        said("ccas", "ccas", "2026-01-01", personne__nom_naissance="Caillaut", personne__date_naissance="1985-06-13"),
    ]
    if certified is not None:
        told[0].facts["personne.identite_certifiee"] = certified
    known = merge.current(told)
    assert known["personne.nom_naissance"].value == standing
    assert known["personne.date_naissance"].source == "caf", "of her birth date the caisse decides in any case"
    assert [one.path for one in merge.divergences(told)] == ["personne.date_naissance", "personne.nom_naissance"]


def test_a_birth_date_that_she_had_corrected_stands_though_another_is_fuller() -> None:
    corrected = Assertions(
        "dpo", "dpo", merge.RECTIFIED, "2026-05-01", "2026-05-01", {"personne.date_naissance": "1985"}
    )
    ccas = said("ccas", "ccas", "2026-06-01", personne__date_naissance="1985-06-12")
    assert merge.current([corrected, ccas])["personne.date_naissance"].value == "1985"


VALUES = st.sampled_from(["madame", "monsieur"])
SETS = st.lists(
    st.builds(
        lambda source, at, value: Assertions(
            source, {"caf": "caf_msa"}.get(source, source), "d", at, at, {"personne.civilite": value}
        ),
        st.sampled_from(["caf", "departement", "france_travail", "ccas"]),
        st.dates().map(str),
        VALUES,
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda one: one.source,
)


@given(SETS, st.randoms())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_order_of_arrival_never_changes_the_dossier(sets: list[Assertions], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(sets)
    random.shuffle(shuffled)
    assert merge.current(sets) == merge.current(shuffled)
    assert merge.divergences(sets) == merge.divergences(shuffled)
