"""FSE+: what is known is not asked again, what must be asked is never derived, what is closed never changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from gateway import erasure, fse, fse_apart, fse_form, fse_indicators, person_export
from gateway.dossier import APART
from gateway.problems import Conflict, Invalid, Unknown
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import assertion_set
from schemas.record import Fact
from tests.worklist.conftest import Territory

OPERATION = "FSE-2024-001"
KNOWN = {
    "parcours_pro.niveau_etude": "cap_bep",
    "inscription_emploi.inscrit": True,
    "inscription_emploi.date_inscription": "2025-03-01",
    "personne.adresses[residence].code_insee": "40192",
    "personne.sexe_etat_civil": "feminin",
}
ASKED = {"handicap": "ne_souhaite_pas_repondre", "origine_etrangere": "non", "minorite": "non"}


def facts(**values: Any) -> dict[str, Fact]:
    return {path.replace("__", "."): Fact(v, "caf", "essai", "2026-11-20T08:00:00Z") for path, v in values.items()}


def entered(landes: Territory, numero: str = "00000000101", answers: dict[str, Any] | None = None) -> tuple[str, str]:
    who = landes.known(numero, **KNOWN)
    with landes.gateway.unit_of_work() as work:
        told = ASKED if answers is None else answers
        key = fse.enter(work, landes.gateway, who, "departement", OPERATION, "2026-05-04", told, "L'Union paie.")
    return who, key


def one(landes: Territory, who: str, key: str) -> dict[str, Any]:
    return next(found for found in fse.participations(landes.current(who)) if found["key"] == key)


def lacks(landes: Territory, today: str = "2026-11-21") -> list[list[str]]:
    return [found["missing"] for found in fse.incomplete(landes.gateway, OPERATION, today)]


def test_what_a_body_already_said_is_not_asked_again(landes: Territory) -> None:
    who, key = entered(landes)
    entry = one(landes, who, key)["entree"]
    assert entry["marche_travail"] == "chomeur_longue_duree"
    assert (entry["niveau_etude"], entry["inscrit_emploi"], entry["minimas_sociaux"]) == ("cap_bep", True, True)
    assert lacks(landes) == []


def test_entry_answers_stay_those_of_the_day_whatever_is_said_later(landes: Territory) -> None:
    who, key = entered(landes)
    landes.known(**KNOWN | {"parcours_pro.niveau_etude": "bac_plus_5"})
    assert one(landes, who, key)["entree"]["niveau_etude"] == "cap_bep"
    with pytest.raises(Conflict, match="answer-frozen"), landes.gateway.unit_of_work() as work:
        fse.answer(work, landes.gateway, who, key, {"niveau_etude": "bac_plus_5"})


def test_a_sensitive_answer_is_asked_never_derived_and_never_shown(landes: Territory) -> None:
    known = {"personne.rqth.etat": "oui", "parcours_pro.boe": True, "personne.nationalite_groupe": "autre"}
    who = landes.known(**KNOWN | known)
    found = fse_form.derived(landes.current(who), "2026-05-04")
    assert not set(found) & set(fse_form.SENSITIVE)
    assert all("rqth" not in path and "boe" not in path for one in found.values() for path in one.inputs)
    with landes.gateway.unit_of_work() as work:
        key = fse.enter(work, landes.gateway, who, "departement", OPERATION, "2026-05-04")
    assert [lack for lack in lacks(landes)[0] if lack.startswith("demander.")] == [
        "demander.handicap", "demander.origine_etrangere", "demander.minorite",
    ]  # fmt: skip
    with landes.gateway.unit_of_work() as work:
        fse.answer(work, landes.gateway, who, key, ASKED)
    assert "handicap" not in repr(one(landes, who, key))
    assert not [path for path in landes.current(who) if "reponses_sensibles" in path]
    assert lacks(landes) == [["avis_publicite"]], "they count as answered"


def test_sensitive_answers_have_a_key_of_their_own_and_never_leave_with_the_rest(landes: Territory) -> None:
    who, key = entered(landes, answers={"handicap": "oui", "vulnerable": ["migrant"]})
    at = f"participations[{key}].reponses_sensibles"
    gateway = landes.gateway
    with gateway.unit_of_work() as work:
        assert {path: fact.value for path, fact in fse_apart.of(work, gateway, [who]).items()} == {
            f"{at}.handicap": "oui", f"{at}.vulnerable": ["migrant"]
        }  # fmt: skip
        (row,) = work.connection.execute(select(assertion_set).where(assertion_set.c.document == APART))
        opened = repr(gateway.vault.open(work, who, row.payload))
        assert "handicap" not in opened, "the person's key alone opens nothing"
        copy = person_export.gather(work, gateway, who)
        assert copy["facts"][f"{at}.handicap"]["value"] == "oui", "her own copy holds them"
        assert not [path for one in gateway.dossiers.said(work, who) for path in one.facts if "sensibles" in path]
    (gateway.keys.folder / "fse_sensible.key").unlink()
    gateway.keys._secrets.clear()
    with gateway.unit_of_work() as work, pytest.raises(InvalidTag):
        fse_apart.of(work, gateway, [who])
    assert landes.current(who)[f"participations[{key}].etat"].value == "ouverte", "the rest is not lost with that key"
    with gateway.unit_of_work() as work:
        erasure.erase(work, gateway, who, forced_by="0" * 64)
    with gateway.unit_of_work() as work:
        assert not work.connection.execute(select(assertion_set).where(assertion_set.c.document == APART)).first()


def test_the_statement_of_an_operation_is_one_row_for_each_participation(landes: Territory, tmp_path: Path) -> None:
    entered(landes)
    entered(landes, "00000000102", answers={"handicap": "oui"})
    rows = fse.statement(landes.gateway, OPERATION)
    assert fse.statement(landes.gateway, OPERATION) == rows
    with pytest.raises(Unknown, match="operation-unknown"):
        fse.statement(landes.gateway, "AUTRE")
    assert [(row["operation"], row["niveau_etude"], row["marche_travail"]) for row in rows] == [
        (OPERATION, "cap_bep", "chomeur_longue_duree")
    ] * 2
    assert sorted(row["handicap"] for row in rows) == ["ne_souhaite_pas_repondre", "oui"]
    with landes.gateway.unit_of_work() as work:
        exported = work.connection.execute(select(journal_entry.c.idx).where(journal_entry.c.event == "export"))
        assert len(exported.all()) == 2, "each reading of the register apart is written down"


def test_the_entry_form_is_filled_with_what_bodies_said_and_never_with_a_sensitive_answer(landes: Territory) -> None:
    who = landes.known(**KNOWN)
    written = fse_form.write(landes.current(who), "2026-05-04")
    assert written.sources == dict.fromkeys(
        ("nom_naissance", "prenom", "date_naissance", "sexe", "commune", "marche_travail", "niveau_etude",
         "inscrit_emploi", "minimas_sociaux"), "departement"
    )  # fmt: skip
    assert set(fse_form.SENSITIVE) - {"vulnerable"} <= set(written.empty)


def test_an_answer_given_apart_is_frozen_and_checked_like_the_others(landes: Territory) -> None:
    who, key = entered(landes, answers={"handicap": "oui"})
    with pytest.raises(Conflict, match="answer-frozen"), landes.gateway.unit_of_work() as work:
        fse.answer(work, landes.gateway, who, key, {"handicap": "non"})
    with pytest.raises(Invalid, match="answer-invalid"), landes.gateway.unit_of_work() as work:
        fse.answer(work, landes.gateway, who, key, {"minorite": "peut-être"})
    with landes.gateway.unit_of_work() as work:
        fse.answer(work, landes.gateway, who, key, {"handicap": "oui", "minorite": "non"})
        assert len(fse_apart.of(work, landes.gateway, [who])) == 2


def test_the_last_class_attended_is_not_the_diploma(landes: Territory) -> None:
    assert "niveau_etude" not in fse_form.derived(facts(parcours_pro__derniere_classe="1203"), "2026-05-04")


@pytest.mark.parametrize(
    ("known", "day", "expected"),
    [
        ({"inscription_emploi__inscrit": True, "inscription_emploi__date_inscription": "2025-05-05"}, "2026-05-04",
         "chomeur"),
        ({"inscription_emploi__inscrit": True, "inscription_emploi__date_inscription": "2025-05-04"}, "2026-05-04",
         "chomeur_longue_duree"),
        ({"inscription_emploi__inscrit": True}, "2026-05-04", None),
        ({"parcours_pro__situation_emploi": "en_emploi"}, "2026-05-04", "actif_non_independant"),
        ({"parcours_pro__situation_emploi": "au_foyer"}, "2026-05-04", "inactif_hors_formation"),
        ({"parcours_pro__situation_emploi": "en_emploi", "inscription_emploi__inscrit": True,
          "inscription_emploi__date_inscription": "2020-01-01"}, "2026-05-04", None),
        ({}, "2026-05-04", None),
    ],
)  # fmt: skip
def test_the_labour_market_status_is_derived_or_asked(known: dict[str, Any], day: str, expected: str | None) -> None:
    found = fse_form.derived(facts(**known), day).get("marche_travail")
    assert (found.value if found else None) == expected


def test_what_the_form_asks_for_is_what_its_answers_come_from() -> None:
    known = facts(inscription_emploi__inscrit=True, inscription_emploi__date_inscription="2025-05-05",
                  parcours_pro__niveau_etude="cap_bep", droit_rsa__etat="ouvert_versable",
                  foyer__logement_statut="locataire_social")  # fmt: skip
    known["personne.adresses[residence].resident_qpv"] = Fact(True, "caf", "essai", "2026-11-20T08:00:00Z")
    found = fse_form.derived(known, "2026-05-04") | fse_form.derived(
        facts(parcours_pro__situation_emploi="en_emploi"), ""
    )
    assert found.keys() == fse_form.ENTRY.keys()
    assert {path for one in found.values() for path in one.inputs} <= set(fse_form.INPUTS)
    assert not {"fse", "fse_sensible", "sante"} & fse_form.OFFERED


def test_housing_is_derived_only_when_the_bridge_has_one_word() -> None:
    words = {said: fse_form.derived(facts(foyer__logement_statut=said), "2026-05-04").get("conditions_logement")
             for said in ("locataire_social", "fortune")}  # fmt: skip
    assert words["locataire_social"] is not None
    assert words["locataire_social"].value == "locataire_hlm"
    assert words["fortune"] is None


def test_the_exit_takes_dated_results_and_carries_unchanged_answers(landes: Territory) -> None:
    who, key = entered(landes)
    hired = {"resultats[ccas:1].nature": "emploi", "resultats[ccas:1].date": "2026-10-01"}
    trained = {"resultats[ccas:2].nature": "formation", "resultats[ccas:2].date": "2020-01-01"}
    landes.known(**KNOWN | hired | trained)
    with landes.gateway.unit_of_work() as work:
        fse.leave(work, landes.gateway, who, key, "2026-10-31", {"situation_accompagnement": "changement_situation"})
    leaving = one(landes, who, key)["sortie"]
    assert leaving["en_emploi"] is True
    assert "en_formation" not in leaving, "a result of another time proves nothing"
    assert leaving["marche_travail"] == "chomeur_longue_duree"


def test_closed_is_closed_and_a_return_is_a_new_participation(landes: Territory) -> None:
    who, key = entered(landes)
    gateway = landes.gateway
    with pytest.raises(Conflict, match="participation-open"), gateway.unit_of_work() as work:
        fse.enter(work, gateway, who, "departement", OPERATION, "2026-06-01")
    with gateway.unit_of_work() as work:
        fse.leave(work, gateway, who, key, "2026-06-30", {"situation_accompagnement": "abandon"})
    before = one(landes, who, key)
    for change in (
        lambda work: fse.leave(work, gateway, who, key, "2026-07-01"),
        lambda work: fse.answer(work, gateway, who, key, {"resident_qpv": True}),
    ):
        with pytest.raises(Conflict, match="participation-closed"), gateway.unit_of_work() as work:
            change(work)
    with gateway.unit_of_work() as work:
        again = fse.enter(work, gateway, who, "departement", OPERATION, "2026-09-01", ASKED)
    assert again != key
    assert one(landes, who, key) == before
    assert [found["etat"] for found in fse.participations(landes.current(who))] == ["close", "ouverte"]


def test_six_months_after_is_due_then_told_once(landes: Territory) -> None:
    who, key = entered(landes)
    gateway = landes.gateway
    with pytest.raises(Conflict, match="not-closed"), gateway.unit_of_work() as work:
        fse.six_months(work, gateway, who, key, "2026-12-31", {"en_emploi": True})
    with gateway.unit_of_work() as work:
        fse.leave(work, gateway, who, key, "2026-05-20", {"situation_accompagnement": "abandon"})
    assert lacks(landes, "2026-11-15") == []
    assert lacks(landes, "2026-11-16") == [["six_mois"]]
    with pytest.raises(Conflict, match="too-early"), gateway.unit_of_work() as work:
        fse.six_months(work, gateway, who, key, "2026-11-15", {"en_emploi": True})
    with gateway.unit_of_work() as work:
        fse.six_months(work, gateway, who, key, "2026-11-16", {"en_emploi": True})
    with pytest.raises(Conflict, match="answer-frozen"), gateway.unit_of_work() as work:
        fse.six_months(work, gateway, who, key, "2026-11-17", {"en_emploi": False})
    assert lacks(landes, "2027-11-16") == []


def test_answers_are_checked(landes: Territory) -> None:
    who = landes.known()
    gateway = landes.gateway
    for answers, code in (({"inconnu": 1}, "answer-unknown"), ({"marche_travail": "riche"}, "answer-invalid")):
        with pytest.raises(Invalid, match=code), gateway.unit_of_work() as work:
            fse.enter(work, gateway, who, "departement", OPERATION, "2026-05-04", answers)
    with pytest.raises(Unknown, match="participation-unknown"), gateway.unit_of_work() as work:
        fse.leave(work, gateway, who, "departement:rien", "2026-05-04")
    assert fse.participations(landes.current(who)) == []


def test_counts_too_small_are_hidden_and_cannot_be_found_back(landes: Territory) -> None:
    entered(landes)
    whole = {one["code"]: one for one in fse_indicators.indicators(landes.gateway, OPERATION, k=1)["indicateurs"]}
    hidden = {one["code"]: one for one in fse_indicators.indicators(landes.gateway, OPERATION)["indicateurs"]}
    assert [whole[code]["total"] for code in ("EECO01", "EECO02", "EECO03", "EECO10", "EECO12")] == [1, 1, 1, 1, 0]
    assert whole["EECO01"]["feminin"] == 1
    assert hidden["EECO01"]["total"] is None
    assert hidden["EECO01"]["feminin"] is None

    wanted = fse_indicators.targets_of({"id": OPERATION, "fonds": "fse_plus", "cibles": {"EECO01": 2000}})
    beside = fse_indicators.indicators(landes.gateway, OPERATION, targets=wanted)["indicateurs"]
    assert [one.get("cible") for one in beside[:2]] == [2000, None]
    with pytest.raises(Invalid, match="operation-invalid"):
        fse_indicators.targets_of({"id": OPERATION, "cibles": {"EECO99": 1}})


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(2, 10))
def test_no_count_below_the_threshold_is_shown_nor_left_alone_to_subtraction(a: int, b: int, c: int, k: int) -> None:
    total = a + b + c
    counts = {code: {"total": 0, "feminin": 0, "masculin": 0} for code in fse_indicators.INDICATORS}
    for code, value in (("EECO01", total), ("EECO02", a), ("EECO04", b), ("EECO05", c)):
        counts[code] = {"total": value, "feminin": value // 2, "masculin": value - value // 2}
    shown = fse_indicators.suppressed(counts, k)
    parts = [shown[code]["total"] for code in ("EECO02", "EECO04", "EECO05")]
    for row in shown.values():
        assert all(value is None or value == 0 or value >= k for value in row.values())
        assert (row["feminin"] is None) == (row["masculin"] is None)
    if any(0 < value < k for value in (a, b, c)):
        assert parts.count(None) >= 2


def test_a_row_hidden_beside_another_is_not_told_by_its_own_columns() -> None:
    counts = {code: {"total": 0, "feminin": 0, "masculin": 0} for code in fse_indicators.INDICATORS}
    for code, women, men in (("EECO01", 13, 17), ("EECO02", 0, 3), ("EECO04", 0, 9), ("EECO05", 13, 5)):
        counts[code] = {"total": women + men, "feminin": women, "masculin": men}
    shown = fse_indicators.suppressed(counts)
    parts = [shown[code] for code in ("EECO02", "EECO04", "EECO05")]
    for row in parts:
        assert (row["total"] is None) <= (row["feminin"] is row["masculin"] is None), "the sexes make the sum"
    for column in ("total", "feminin", "masculin"):
        hidden = [counts[code][column] for code in ("EECO02", "EECO04", "EECO05") if shown[code][column] is None]
        assert len(hidden) != 1
        assert not 0 < sum(hidden) < fse_indicators.K, "what is left of the participants is no small count either"


def test_who_reads_everybody_holds_back_no_exchange(landes: Territory, monkeypatch: pytest.MonkeyPatch) -> None:
    entered(landes)
    gateway, written = landes.gateway, []

    def counted(_: fse_indicators.Row) -> bool:
        with gateway.unit_of_work() as work:
            written.append(work.now)
        return True

    monkeypatch.setattr(fse_indicators, "INDICATORS", {"EECO01": ("Participants", counted)})
    assert fse_indicators.indicators(gateway, OPERATION, k=1)["indicateurs"][0]["total"] == 1
    assert written
