"""Conventions: what they open, where, until when, and what they may not claim."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from gateway import basis, convention
from gateway.convention_checks import parse
from gateway.convention_model import Flow
from gateway.demo.stage import FOLDER
from gateway.lint import lint
from gateway.problems import Invalid, Unknown
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.access import client

At = Callable[..., Any]

SOUND = """
id = "villemin-2026"
nature = "delegation_referent"
titre = "Référent RSA du CCAS de Villemin"
debut = 2026-01-01
fin = 2026-12-31
renouvelable = true
perimetre = ["40"]

[[partie]]
id = "departement"
role = "departement"
nom = "Département des Landes"
siren = "224000018"

[[partie]]
id = "france_travail"
role = "france_travail"
nom = "France Travail"

[[flux]]
de = "departement"
vers = "france_travail"
document = "france_travail.calcul_orientation"
purpose = "orientation"
regime = "SIFT"
base_legale = ["CT L5411-5-1"]
information = "collective"
notice = "sift:1"

[[flux]]
de = "departement"
vers = "france_travail"
document = "france_travail.calcul_orientation"
purpose = "identification"
regime = "SIFT"
base_legale = ["CT R5312-42"]

[[annexe]]
id = "villemin"
partie = { id = "ccas_villemin", role = "ccas", nom = "CCAS de Villemin" }
perimetre = ["40088"]
fin = 2026-06-30

[[annexe.flux]]
de = "departement"
vers = "ccas_villemin"
document = "ccas.beneficiaires"
purpose = "accompagnement"
regime = "PIE"
base_legale = ["CASF L263-4-1"]
categories = ["C1", "contact", "C9"]
"""


def flows(text: str, day: str) -> dict[str, Flow]:
    found = parse(text.encode()).flows(date.fromisoformat(day))
    return {f"{flow.vers} {flow.purpose}": flow for flow in found}


def test_a_convention_is_kept_byte_for_byte_with_its_versions(at: At) -> None:
    with at("2026-03-01T09:00:00Z") as work:
        first = convention.add(work, SOUND.encode())
        assert (first["version"], first["etat"], first["added"]) == (1, "active", True)
        again = convention.add(work, SOUND.encode())
        assert (again["version"], again["added"]) == (1, False)
        changed = SOUND.replace("fin = 2026-12-31", "fin = 2027-12-31")
        second = convention.add(work, changed.encode())
        assert second["changes"] == ["-fin = 2026-12-31", "+fin = 2027-12-31"]
    with at("2026-03-02T09:00:00Z") as work:
        assert convention.show(work, "villemin-2026") == changed
        assert convention.show(work, "villemin-2026", 1) == SOUND
        (one,) = convention.list_(work)
        assert (one["version"], one["fin"], one["flux_actifs"]) == (2, "2027-12-31", 3)
        with pytest.raises(Unknown):
            convention.show(work, "inconnue")


def test_a_party_bears_the_id_it_is_registered_under() -> None:
    text = SOUND.replace('"france_travail"', '"ft-landes"').replace('role = "ft-landes"', 'role = "france_travail"')
    assert "ft-landes" in {one.id for one in parse(text.encode()).partie}


@pytest.mark.parametrize("hidden", ["\u202e", "\\u001b[31m", "\\n", "\u200b"])
def test_a_text_that_hides_a_part_of_itself_is_not_signed(at: At, hidden: str) -> None:
    text = SOUND.replace('nom = "CCAS de Villemin', f'nom = "{hidden}CCAS de Villemin')
    assert text != SOUND
    with at("2026-03-01T09:00:00Z") as work, pytest.raises(Invalid) as refused:
        convention.add(work, text.encode())
    assert "annexe.0.partie.nom" in refused.value.detail


def test_flows_stop_by_themselves_at_the_end(at: At) -> None:
    with at("2026-03-01T09:00:00Z") as work:
        convention.add(work, SOUND.encode())
    states = {}
    for moment in ("2026-12-31T22:59:59Z", "2026-12-31T23:00:00Z"):  # midnight in Paris is 23:00 UTC
        with at(moment) as work:
            (flow,) = convention.flows_from(work, "departement", {"orientation"})
            states[moment] = (flow.etat, flow.active)
            assert ("orientation" in {one.purpose for one in convention.open_to(work, "france_travail")}) is flow.active
    assert list(states.values()) == [("active", True), ("expiree", False)]


def test_a_token_may_name_the_categories_that_a_purpose_is_restricted_to(tmp_path: Path) -> None:
    gateway = Gateway.open(Settings(profile="test", home=tmp_path, departement="040"))
    purpose = 'purpose = "instruction_rsa"'
    text = (FOLDER / "convention.toml").read_text(encoding="utf-8")
    with gateway.unit_of_work() as work:
        for notice in ("rsa-demande", "reseau-emploi", "parcours-insertion"):
            basis.publish_notice(work, notice, 1, "Une notice.")
        convention.add(work, text.replace(purpose, f'{purpose}\ncategories = ["C1", "C6"]').encode())
    allowed = gateway.allowed_purposes("departement")
    assert allowed["instruction_rsa"].datatypes == {"C1", "C6"}
    assert allowed["accompagnement"].datatypes == {"C1", "C2", "C7", "C9", "C11", "C12"}, "restricted by the law alone"
    gateway.engine.dispose()


def test_each_annexe_has_its_own_time_and_place() -> None:
    spring, autumn = flows(SOUND, "2026-06-30"), flows(SOUND, "2026-07-01")
    assert spring["ccas_villemin accompagnement"].active
    assert autumn["ccas_villemin accompagnement"].etat == "expiree"
    assert autumn["france_travail orientation"].active
    flow = spring["ccas_villemin accompagnement"]
    assert (flow.role_de, flow.role_vers, flow.codes) == ("departement", "ccas", {"C1", "C2", "C9", "C10"})
    assert flow.covers("40088")
    assert not flow.covers("40192")
    assert spring["france_travail orientation"].covers("40192")
    assert not spring["france_travail orientation"].covers("33063")
    assert not spring["france_travail orientation"].covers(None)


@pytest.mark.parametrize(
    ("etat", "day", "expected"),
    [
        ("active", "2025-12-31", "a_venir"), ("active", "2026-01-01", "active"), ("active", "2027-01-01", "expiree"),
        ("brouillon", "2026-03-01", "brouillon"), ("suspendue", "2026-03-01", "suspendue"),
    ],
)  # fmt: skip
def test_the_state_follows_from_the_dates(etat: str, day: str, expected: str) -> None:
    text = SOUND.replace("renouvelable = true", f'renouvelable = true\netat = "{etat}"')
    assert {flow.etat for flow in flows(text, day).values() if flow.vers == "france_travail"} == {expected}


SWITCH = """
[[activation_territoire]]
territoire = "Marsan"
communes = ["40192", "33063"]
documents = ["france_travail.calcul_orientation"]
experimental = true
debut = 2026-02-01
fin = 2026-04-30
"""


def test_a_territory_opens_its_flows_for_its_own_time() -> None:
    march, may = flows(SOUND + SWITCH, "2026-03-01"), flows(SOUND + SWITCH, "2026-05-01")
    opened = march["france_travail orientation"]
    assert opened.active
    assert opened.territoires == {"40192"}, "a switch never opens outside the perimeter of the convention"
    assert not may["france_travail orientation"].active
    assert may["ccas_villemin accompagnement"].active, "a switch only concerns the documents it names"


SERVED = """
[[desserte]]
service = "SST du Marsan"
nature = "sst"
organisme = "departement"
communes = ["40192", "40088"]

[[desserte]]
service = "Autres communes des Landes"
nature = "sst"
organisme = "departement"
communes = ["40"]

[[desserte]]
service = "CCAS de Villemin"
nature = "ccas"
organisme = "ccas_villemin"
communes = ["40088"]
"""


@pytest.mark.parametrize(
    ("commune", "services"),
    [
        ("40088", {"SST du Marsan", "CCAS de Villemin"}), ("40192", {"SST du Marsan"}),
        ("40001", {"Autres communes des Landes"}), ("33063", set()),
    ],
)  # fmt: skip
def test_each_commune_has_its_service(at: At, commune: str, services: set[str]) -> None:
    with at("2026-03-01T09:00:00Z") as work:
        convention.add(work, (SOUND + SERVED).encode())
        rows = convention.services_of(work, commune)
    assert {row["service"] for row in rows} == services
    for row in rows:
        assert all(f":{row['organisme']}:" in flow for flow in row["flux"])
        assert row["flux"]
    with at("2027-01-01T09:00:00Z") as work:
        assert convention.services_of(work, commune) == []


def test_a_ccas_receives_the_persons_of_the_communes_it_serves_and_no_other() -> None:
    wide = SOUND.replace('perimetre = ["40088"]', 'perimetre = ["40"]')
    assert flows(wide, "2026-03-01")["ccas_villemin accompagnement"].territoires == {"40"}
    served = flows(wide + SERVED, "2026-03-01")
    assert served["ccas_villemin accompagnement"].territoires == {"40088"}
    assert served["france_travail orientation"].territoires == {"40"}, "the Département acts everywhere"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (('organisme = "ccas_villemin"', 'organisme = "ccas_inconnu"'), "service-party"),
        (('communes = ["40"]', 'communes = ["33"]'), "service-outside"),
        (('communes = ["40"]', 'communes = ["40192"]'), "service-twice"),
    ],
)
def test_a_table_of_services_that_contradicts_itself_is_refused(change: tuple[str, str], code: str) -> None:
    with pytest.raises(Invalid, match=code):
        parse((SOUND + SERVED.replace(*change)).encode())


def test_the_person_is_looked_for_only_where_identification_is_open(at: At) -> None:
    with at("2026-03-01T09:00:00Z") as work:
        convention.add(work, SOUND.encode())
        orientation = convention.flows_from(work, "departement", {"orientation"})[0]
        accompaniment = convention.flows_to(work, "ccas_villemin")[0]
        assert orientation.for_identification().active
        assert orientation.for_identification().purpose == "identification"
        assert not accompaniment.for_identification().active
        assert convention.flow(work, orientation.id) == orientation
        assert convention.flow(work, "absente") is None


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ('categories = ["C1", "contact", "C9"]', 'categories = ["C1", "C13"]', "flow-category"),
        ('categories = ["C1", "contact", "C9"]', 'categories = ["C3"]', "flow-category"),
        ('purpose = "orientation"', 'purpose = "controle_conjoint"', "flow-no-permit"),
        ('regime = "PIE"', 'regime = "SIFT"', "flow-no-permit"),
        ('purpose = "orientation"', 'purpose = "tout"', "flow-word"),
        ('vers = "ccas_villemin"', 'vers = "ccas_voisin"', "flow-word"),
        ('notice = "sift:1"', "", "flow-notice"),
        ('regime = "PIE"', 'regime = "PIE"\ninformation = "collective"\nnotice = "pie:1"', "flow-information"),
        ("fin = 2026-12-31", "fin = 2025-12-31", "fin comes before debut"),
        ('base_legale = ["CASF L263-4-1"]', "base_legale = []", "base_legale"),
        ('titre = "Référent', 'autre = "x"\ntitre = "Référent', "autre"),
        ('id = "villemin-2026"', 'id = "villemin-2026', "TOML"),
    ],
)
def test_a_convention_cannot_widen_the_law(at: At, before: str, after: str, code: str) -> None:
    assert before in SOUND
    with at() as work, pytest.raises(Invalid, match=code) as refused:
        convention.add(work, SOUND.replace(before, after).encode())
    assert refused.value.code == "convention-invalid"


@pytest.mark.parametrize(
    ("before", "after", "place", "words"),
    [
        ('categories = ["C1", "contact", "C9"]', 'categories = ["C1", "C22"]', "annexe.0.flux.0.categories", "C22"),
        ("fin = 2026-12-31", "fin = 2025-12-31", "fin", "fin comes before debut (2026-01-01)"),
        ("fin = 2026-06-30", 'fin = "30 juin"', "annexe.0.fin", "write a date without quotes"),
        ('CCAS de Villemin" }', 'CCAS de Villemin", ville = "x" }', "annexe.0.partie.ville", "no such word"),
        ('base_legale = ["CT R5312-42"]', "base_legale = []", "flux.1.base_legale", "at least 1 item"),
        ('regime = "PIE"', 'regime = "PEI"', "annexe.0.flux.0.regime", "unknown regime PEI"),
        ('vers = "ccas_villemin"', 'vers = "ccas_voisin"', "annexe.0.flux.0.vers", "not a party"),
        ('id = "france_travail"', 'id = "departement"', "partie.1.id", "signs once"),
        ('id = "villemin-2026"', 'id = "villemin-2026', "", "not readable TOML"),
    ],
)
def test_lint_names_the_line_the_place_and_what_is_wrong(
    tmp_path: Path, before: str, after: str, place: str, words: str
) -> None:
    assert before in SOUND
    file = tmp_path / "convention.toml"
    file.write_text(SOUND.replace(before, after, 1), encoding="utf-8")
    line = SOUND[: SOUND.index(before)].count("\n") + 1
    told = lint([file])[0]
    assert told.startswith(f"{file}:{line}: convention-invalid ")
    assert (f": {place}: " if place else "toml: The file") in told
    assert words in told
    assert "Value error" not in told


def test_lint_is_silent_about_a_sound_convention(tmp_path: Path) -> None:
    file = tmp_path / "convention.toml"
    file.write_text(SOUND + SWITCH + SERVED, encoding="utf-8")
    assert lint([file]) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        # nobody has it
        ("france_travail.calcul_orientation", "maillon.dosier", "is it maillon.dossier?"),
        # the recipient only sends it
        ("ccas.beneficiaires", "ccas.suivi", "bodies do not receive ccas.suivi; is it ccas.beneficiaires?"),
        # another body's
        ("france_travail.calcul_orientation", "ccas.beneficiaires", "france_travail (connector france_travail) does"),
    ],
)
def test_a_flow_names_a_document_that_its_recipient_receives(
    at: At, tmp_path: Path, before: str, after: str, words: str
) -> None:
    text = SOUND.replace(f'document = "{before}"', f'document = "{after}"', 1)
    with at("2026-03-01T09:00:00Z") as work:
        with pytest.raises(Invalid, match="flow-document") as refused:
            convention.add(work, text.encode())
        assert words in refused.value.detail
        assert convention.list_(work) == []
    file = tmp_path / "convention.toml"
    file.write_text(text, encoding="utf-8")
    (told,) = lint([file])
    line = text[: text.index(f'document = "{after}"')].count("\n") + 1
    assert told.startswith(f"{file}:{line}: convention-invalid flow-document: ")
    assert words in told


def test_a_registered_body_receives_what_its_own_connector_writes(at: At) -> None:
    text = SOUND.replace('document = "ccas.beneficiaires"', 'document = "i_milo.fiche"')
    with at("2026-03-01T09:00:00Z") as work:
        assert convention.add(work, text.encode())["added"], "it may register with any connector installed"
        work.connection.execute(
            insert(client).values(
                client_id="c1", body="ccas_villemin", name="CCAS", connector="ccas", role="ccas", state="active",
                purposes=None, tokens_from=0, created_at=work.now, changed_at=work.now,
            )
        )  # fmt: skip
        with pytest.raises(Invalid, match=r"ccas_villemin \(connector ccas\) does not receive i_milo.fiche"):
            convention.add(work, text.encode())


def test_what_a_body_is_asked_for_may_be_named(at: At) -> None:
    text = SOUND.replace("france_travail.calcul_orientation", "france_travail.lecture_orientation")
    with at("2026-03-01T09:00:00Z") as work:
        assert convention.add(work, text.encode())["added"]
