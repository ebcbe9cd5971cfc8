"""The workflows of the founding texts, one test each, in their words (A Landes, B Charente-Maritime, C Hauts-de-Seine,
D Isère, E Carvin)."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from connectors.departement import synthetic
from gateway import clock, convention, evidence, fse, fse_indicators, links, prefill
from gateway.exchange import exchange
from gateway.receipt import Receipt, Request
from gateway.storage.tables.access import client
from schemas.record import Fact, PersonFacts, Record
from tests.journeys.territory import AMELIA, CCAS, DEMO, Territory, accompaniment, beneficiary, territory


def said(facts: dict[str, Fact], ending: str) -> list[Any]:
    return [fact.value for path, fact in sorted(facts.items()) if path.endswith(ending)]


@pytest.mark.parametrize("months", [6, 12])
def test_a_c_accompagnement_global_of_six_months_renewable_or_twelve(landes: Territory, months: int) -> None:
    who = landes.oriented()
    (receipt,) = landes.tell("departement", "departement.accompagnement", accompaniment(months=months))
    assert receipt.status == "accepted"
    facts = landes.current(who)
    assert said(facts, "AG-1].duree_mois") == [months]
    assert sorted(said(facts, "].cote"))[:2] == ["emploi", "social"]
    landes.deliver("ccas")
    assert landes.states("ccas")[-1][0] == "delivered"


def test_b_accompagnement_global_needs_a_binome_and_a_volunteer(landes: Territory) -> None:
    landes.oriented()
    (alone,) = landes.tell("departement", "departement.accompagnement", accompaniment(sides=("social",)))
    assert alone.status == "quarantined"
    (unasked,) = landes.tell("departement", "departement.accompagnement", accompaniment(volunteer=False, id="AG-2"))
    assert unasked.status == "quarantined"


def test_b_d_refusal_has_no_consequence(landes: Territory) -> None:
    who = landes.oriented()
    before = {path: fact.value for path, fact in landes.current(who).items() if path.startswith("droit_rsa")}
    landes.tell("departement", "departement.accompagnement", accompaniment())
    ended = accompaniment(fin="2026-11-20", motifFin="refus")
    (receipt,) = landes.tell("departement", "departement.accompagnement", ended)
    assert receipt.status == "accepted"
    facts = landes.current(who)
    assert said(facts, "AG-1].motif_fin") == ["refus"]
    assert {path: fact.value for path, fact in facts.items() if path.startswith("droit_rsa")} == before


def test_b_first_appointment_held_jointly_is_one_contact_and_two_workers(landes: Territory) -> None:
    who = landes.oriented()
    joint = {
        "id": "RDV-1", "debut": "2026-12-01T10:30:00+01:00", "dureeMin": 60, "motif": "accompagnement",
        "modalite": "presentiel", "premierAccompagnement": True, "conjoint": True, "statut": "prevu",
        "professionnels": [{"id": "p1", "nom": "PRO-social", "role": "referent_social_ag"},
                           {"id": "p2", "nom": "PRO-emploi", "role": "conseiller_emploi"}],
    }  # fmt: skip
    landes.tell("ccas", "ccas.suivi", beneficiary(rendezVous=[joint]))
    landes.tell("ccas", "ccas.suivi", beneficiary(rendezVous=[joint | {"statut": "honore"}]))
    facts = landes.current(who)
    assert said(facts, "RDV-1].conjoint") == [True]
    assert said(facts, "RDV-1].statut") == ["honore"]
    contacts = {path.partition("]")[0] for path in facts if path.startswith("rendez_vous[")}
    assert len(contacts) == 1
    workers = {path.split("professionnels[")[1].partition("]")[0] for path in facts if "RDV-1].professionnels[" in path}
    assert len(workers) == 2


def test_c_flows_stop_at_the_end_of_the_convention(tmp_path: Path) -> None:
    yesterday = (date.today() - timedelta(days=1)).isoformat()
    ended = territory(tmp_path, DEMO.replace("fin = 2028-12-31", f"fin = {yesterday}"))
    ended.oriented()
    (receipt,) = ended.tell("departement", "departement.accompagnement", accompaniment())
    assert receipt.outcomes
    assert {one.status for one in receipt.outcomes} == {"withheld"}
    assert {one.reason for one in receipt.outcomes} == {"convention-missing"}
    ended.gateway.engine.dispose()


def test_c_what_was_promised_before_the_end_does_not_leave_after_it(landes: Territory) -> None:
    landes.oriented()
    landes.tell("departement", "departement.accompagnement", accompaniment())
    yesterday = (date.today() - timedelta(days=1)).isoformat()
    with landes.gateway.unit_of_work() as work:
        convention.add(work, DEMO.replace("fin = 2028-12-31", f"fin = {yesterday}").encode())
    landes.deliver("ccas")
    assert landes.sheets("ccas") == []
    assert set(landes.states("ccas")) == {("withheld", "convention-missing")}


def test_d_experimental_territory_opens_for_its_communes_only(tmp_path: Path) -> None:
    switch = """
[[activation_territoire]]
territoire = "essai"
communes = ["40312"]
documents = ["ccas.beneficiaires"]
experimental = true
debut = 2026-01-01
"""
    trial = territory(tmp_path, DEMO + switch)
    trial.oriented()
    (receipt,) = trial.tell("departement", "departement.accompagnement", accompaniment())
    to_ccas = [one for one in receipt.outcomes if one.recipient == "ccas"]
    assert {(one.status, one.reason) for one in to_ccas} == {("withheld", "convention-missing")}
    trial.gateway.engine.dispose()


@pytest.mark.parametrize(
    ("commune", "outcome"), [("40900", ("queued", "")), ("40901", ("withheld", "convention-missing"))]
)
def test_c_a_delegated_ccas_only_receives_the_persons_of_its_communes(
    tmp_path: Path, commune: str, outcome: tuple[str, str]
) -> None:
    table = """
[[desserte]]
service = "CCAS de Saint-Aventin-les-Sables"
nature = "ccas"
organisme = "ccas"
communes = ["40900"]
"""
    place = territory(tmp_path, DEMO + table)
    who = place.oriented()
    lives = PersonFacts({"personne.adresses[residence].code_insee": commune}, person_id=who)
    with place.gateway.unit_of_work() as work:
        exchange(
            work, place.gateway, Request(clock.new_id(), "caf", "caf.flux_beneficiaire", ()), [Record("1", [lives])]
        )
    (receipt,) = place.tell("departement", "departement.accompagnement", accompaniment())
    assert {(one.status, one.reason) for one in receipt.outcomes if one.recipient == "ccas"} == {outcome}
    place.gateway.engine.dispose()


def test_e_orientation_is_the_departements_and_a_ccas_cannot_assign_itself(landes: Territory) -> None:
    who = landes.oriented()
    facts = landes.current(who)
    assert said(facts, "].organisme_accueil.nom") == [CCAS]
    decided = {fact.source for path, fact in facts.items() if path.startswith("orientations[")}
    assert decided == {"departement"}
    landes.tell("ccas", "ccas.beneficiaires", beneficiary(orientationType="Departement", orientationStructure="CCAS"))
    after = {fact.source for path, fact in landes.current(who).items() if path.startswith("orientations[")}
    assert after == {"departement"}


def test_e_back_to_france_travail_when_the_situation_improves(landes: Territory) -> None:
    who = landes.oriented()
    improved = replace(AMELIA, type_orientation="Emploi", structure_referente="Agence France Travail de Port-Albéret")
    again = synthetic.webrsa_ali([improved], "40", 1, emitted=synthetic.EMITTED + timedelta(days=30))
    (receipt,) = landes.tell("departement", "departement.webrsa_ali", again)
    assert receipt.status == "accepted"
    assert "Agence France Travail de Port-Albéret" in said(landes.current(who), "].organisme_accueil.nom")


def test_a_b_e_a_body_is_found_under_the_name_it_had(landes: Territory) -> None:
    with landes.gateway.unit_of_work() as work:
        work.connection.execute(update(client).where(client.c.body == "ccas").values(name="France Travail de Dax"))
    landes.gateway.refresh()
    assert landes.gateway.named("POLE EMPLOI de Dax") == landes.gateway.named("France Travail de Dax") == {"ccas"}
    assert landes.gateway.named("Pôle emplois de Dax") == set()


def test_e_who_followed_her_before_she_was_reoriented_has_no_link_with_her_any_more(landes: Territory) -> None:
    who = landes.oriented()
    lists, later = synthetic.Lists("40"), synthetic.EMITTED + timedelta(days=20)
    flow = synthetic.webrsa_ali([AMELIA], "40", 1).decode().replace(f"{synthetic.EMITTED}", f"{later}", 1)
    (first,) = re.findall(r"<orientation>.*?</orientation>", flow, re.DOTALL)
    second = first.replace("<rang_orient>1", "<rang_orient>2").replace(
        "<id_orient_webrsa>4711", "<id_orient_webrsa>4712"
    )
    second = re.sub(r"<date_orient>[^<]+", "<date_orient>2026-11-01", second)
    agency = lists.id("structuresreferentes", "Agence France Travail de Port-Albéret")
    second = re.sub(r"<structure_referente>\d+", f"<structure_referente>{agency}", second)
    designated = "<date_fin_designation>2026-10-31</date_fin_designation></referent_parcours>"

    def linked() -> bool:
        return "ccas" in links.following(landes.gateway, landes.current(who))[0]

    assert linked()
    flow = flow.replace(first, first + second)
    landes.tell("departement", "departement.webrsa_ali", flow.encode())
    assert linked(), "its référent is still designated"
    flow = flow.replace("</referent_parcours>", designated).replace(f"{later}", f"{later + timedelta(days=1)}", 1)
    (receipt,) = landes.tell("departement", "departement.webrsa_ali", flow.encode())
    assert len(said(landes.current(who), "].organisme_accueil.nom")) == 2
    assert not linked()
    assert [(one.recipient, one.reason) for one in receipt.outcomes] == [("ccas", "no-active-accompaniment")]


def test_e_the_referent_asks_for_a_reorientation_that_the_departement_decides(landes: Territory) -> None:
    who = landes.oriented()
    asked = {
        "id": "d-3", "demandeeLe": "2026-12-15", "categorie": "professionnelle", "type": "Emploi", "urgente": False,
        "organisme": "Agence France Travail de Port-Albéret", "accordReferent": True, "accordPersonne": True,
        "motif": "Sa situation s'améliore.",
    }  # fmt: skip
    (receipt,) = landes.tell("ccas", "ccas.suivi", beneficiary(demandesReorientation=[asked]))
    assert [(one.recipient, one.status) for one in receipt.outcomes] == [("departement", "queued")]
    assert landes.current(who)["demandes_reorientation[ccas:d-3].etat"].value == "en_attente"
    with landes.gateway.unit_of_work() as work:
        seen = prefill.seen_by(work, landes.gateway, who, landes.gateway.flows_to(work, "departement"))
    file = landes.gateway.write("departement", "departement.webrsa_ali", seen.visible).document.decode()
    lists = synthetic.Lists("40")
    assert f"<id_type_orientation>{lists.id('typesorients', 'Emploi')}<" in file
    assert f"<id_structure_referente_accueil>{lists.id('structuresreferentes', asked['organisme'])}<" in file
    assert ("C21", "D11") in {(one.code, one.rule) for one in seen.withheld}, "the motive is free text"


def cer(landes: Territory, days: int, *statuses: str) -> Receipt:
    """The Département's file of a later day: her contracts, one after the other, each with its decision."""
    lists, later = synthetic.Lists("40"), synthetic.EMITTED + timedelta(days=days)
    landes.tell("departement", "departement.referentiel", synthetic.referentiel("40", 1, later))  # it goes stale
    flow = synthetic.webrsa_ali([AMELIA], "40", 1).decode().replace(f"{synthetic.EMITTED}", f"{later}", 1)
    (first,) = re.findall(r"<cer>.*?</cer>", flow, re.DOTALL)
    (number,) = re.findall(r"<id_cer_webrsa>(\d+)<", first)
    (start, end) = (re.search(rf"<date_{name}>([^<]+)<", first)[1] for name in ("debut", "fin"))  # type: ignore[index]
    contracts = ""
    for rank, status in enumerate(statuses):
        begins, ends = (date.fromisoformat(day) + timedelta(days=182 * rank) for day in (start, end))
        told = re.sub(r"<statut>\d+<", f"<statut>{lists.id('cer_statut', status)}<", first)
        told = told.replace(number, str(int(number) + rank)).replace("<rang>1<", f"<rang>{rank + 1}<")
        contracts += told.replace(start, begins.isoformat()).replace(end, ends.isoformat())
    (receipt,) = landes.tell("departement", "departement.webrsa_ali", flow.replace(first, contracts).encode())
    return receipt


def test_e_cer_steps_go_from_waiting_to_valid_to_the_next_contract_and_stay_the_departements(
    landes: Territory,
) -> None:
    first = cer(landes, 1, "E")
    (who,) = first.persons
    landes.inform(who)
    landes.tell("departement", "departement.accompagnement", accompaniment())
    steps = [first, cer(landes, 20, "V"), cer(landes, 182, "V", "E"), cer(landes, 200, "V", "V")]
    assert [one.status for one in steps] == ["accepted"] * 4
    facts = landes.current(who)
    ranks = {path: fact.value for path, fact in sorted(facts.items()) if path.endswith(("].rang", "].decision"))
             and path.startswith("contrats[")}  # fmt: skip
    assert sorted(map(str, ranks.values())) == ["1", "2", "valide", "valide"]
    assert {fact.source for path, fact in facts.items() if path.startswith("contrats[")} == {"departement"}
    assert cer(landes, 201, "V", "V").changed == 0, "the same steps told again change nothing"
    assert cer(landes, 202, "E", "V").status == "quarantined", "a valid contract does not go back to waiting"

    # Out: a contract of the Département is not part of what this CCAS may receive, and that is said with its article.
    offered = [one for step in steps for one in step.outcomes if one.recipient == "ccas"]
    assert not any("C8" in one.categories for one in offered)
    assert all(one.article for one in offered)
    landes.tell("ccas", "ccas.suivi", beneficiary(contrats=[{"decision": "valide"}]))
    assert {fact.source for path, fact in landes.current(who).items() if path.startswith("contrats[")} == {
        "departement"
    }, "a CCAS cannot write one"

    # Proof: both contracts, with their dates.
    with landes.gateway.unit_of_work() as work:
        contracts = sorted(evidence.pack(work, landes.gateway, who)["contrats"], key=lambda one: one["debut"])
    assert [one["nature"] for one in contracts] == ["cer", "cer"]
    assert contracts[0]["fin"] < contracts[1]["debut"]


def test_d_a_job_found_part_time_then_a_second_one_with_less_travel(landes: Territory) -> None:
    who = landes.oriented()
    landes.tell("departement", "departement.accompagnement", accompaniment())
    with landes.gateway.unit_of_work() as work:
        key = fse.enter(work, landes.gateway, who, "departement", "FSE-1", "2026-11-02", notice="L'Union paie.")
    first = {"id": "1", "nature": "emploi", "date": "2026-12-15", "typeContrat": "CDD", "tempsTravail": "partiel",
             "rome": "K1304"}  # fmt: skip
    second = first | {"id": "2", "date": "15/03/2027", "typeContrat": "CDI", "tempsTravail": "plein"}
    receipts = [
        landes.tell("ccas", "ccas.suivi", beneficiary(mobility="PublicTransport", resultats=found))[0]
        for found in ([first], [first, second], [first, second | {"maintenu6Mois": True}])
    ]
    assert [one.status for one in receipts] == ["accepted"] * 3
    facts = landes.current(who)
    assert said(facts, "].temps_travail") == ["partiel", "plein"], "the second job does not hide the first"
    assert said(facts, "].date")[-2:] == ["2026-12-15", "2027-03-15"]
    assert {fact.source for path, fact in facts.items() if path.startswith("resultats[")} == {"ccas"}

    # Out: no flow of this CCAS carries a result, and the one that carries her mobility says nothing of it.
    offered = [one for receipt in receipts for one in receipt.outcomes if one.recipient == "departement"]
    assert offered
    assert all("C6" not in one.categories for one in offered)
    assert receipts[-1].outcomes == [], "told alone, it leaves for nobody"

    # Proof and indicators: she is counted in employment when she leaves, without being asked again.
    with landes.gateway.unit_of_work() as work:
        fse.leave(work, landes.gateway, who, key, "2027-04-30", {"situation_accompagnement": "sortie_obligation"})
        fse.six_months(work, landes.gateway, who, key, "2027-11-02", {"en_emploi": True, "situation_amelioree": True})
    with landes.gateway.unit_of_work() as work:
        pack = evidence.pack(work, landes.gateway, who)
    (row,) = fse.statement(landes.gateway, "FSE-1")
    counted = {
        one["code"]: one["total"] for one in fse_indicators.indicators(landes.gateway, "FSE-1", 1)["indicateurs"]
    }
    assert [(one["date"], one["temps_travail"]) for one in pack["resultats"]] == [
        ("2026-12-15", "partiel"), ("2027-03-15", "plein"),
    ]  # fmt: skip
    assert (row["sortie_en_emploi"], row["six_mois_en_emploi"]) == ("Oui", "Oui")
    assert (counted["EECO01"], counted["EECR04"], counted["EECR05"], counted["EECR06"]) == (1, 1, 1, 1)


def test_a_family_money_housing_reach_the_departement_as_the_ccas_said_them_and_health_does_not(
    landes: Territory,
) -> None:
    who = landes.oriented()
    explored = "2026-11-05T09:00:00Z"
    freins = [{"theme": theme, "valeur": "present", "impact": "fort", "exploreLe": explored}
              for theme in ("logement", "finances", "famille", "sante")]  # fmt: skip
    (receipt,) = landes.tell("ccas", "ccas.suivi", beneficiary(freins=freins))
    assert receipt.status == "accepted"
    facts = landes.current(who)
    assert facts["freins[logement].valeur"].source == "ccas"
    told = [one for one in receipt.outcomes if one.recipient == "departement"]
    assert told
    assert all("C13" not in one.categories for one in told)


def test_a_e_met_at_home_then_at_the_town_hall_the_time_spent_with_her_is_proven(landes: Territory) -> None:
    who = landes.oriented()
    landes.tell("departement", "departement.accompagnement", accompaniment())
    met = [
        {"id": "1", "date": "2026-11-05", "medium": "BeneficiaryHouseAppointment", "status": "Done",
         "lieuNature": "domicile", "dureeMin": 90, "professionnels": ["PRO-social"]},
        {"id": "2", "date": "2026-11-12", "medium": "PlannedInPerson", "status": "Done", "lieuNature": "mairie",
         "dureeMin": 60, "conjoint": True, "professionnels": ["PRO-social", "PRO-emploi"]},
    ]  # fmt: skip
    (receipt,) = landes.tell("ccas", "ccas.suivi", beneficiary(followups=met))
    assert receipt.status == "accepted"
    with landes.gateway.unit_of_work() as work:
        followed = evidence.pack(work, landes.gateway, who)["accompagnements"]
    (proof,) = (one for one in followed if one["nature"] == "global")
    assert [one["lieu"] for one in proof["contacts"]] == ["domicile", "mairie"]
    assert {name: row["minutes"] for name, row in proof["temps"].items()} == {"PRO-social": 150, "PRO-emploi": 60}


def test_d_e_successive_steps_each_with_its_due_date_and_the_contract_they_make(landes: Territory) -> None:
    who = landes.oriented()
    told = beneficiary(
        atouts=["Elle sait peindre."],
        objectifsConvenus=[
            {"code": "logement_se_maintenir", "statut": "en_cours", "echeance": "2027-02-01",
             "prealableA": ["mobilite_obtenir_permis"], "accordPersonneLe": "2026-11-10", "contrat": "ccas:c1"},
        ],
        actionsConvenues=[
            {"id": "1", "nature": "action_individuelle", "libelle": "Revoir le budget", "statut": "terminee",
             "objectif": "logement_se_maintenir", "echeance": "2026-12-20"},
            {"id": "2", "nature": "job_dating", "statut": "planifiee", "echeance": "15/01/2027"},
        ],
        contratsPrepares=[
            {"id": "c1", "nature": "contrat_engagement", "engagements": "Préparer le CAP de peintre.", "dureeMois": 6,
             "pointParcours": "a_la_fin", "debut": "2026-11-15", "signeLe": "2026-11-15"},
        ],
    )  # fmt: skip
    (receipt,) = landes.tell("ccas", "ccas.suivi", told)
    assert receipt.status == "accepted"
    facts = landes.current(who)
    assert facts["objectifs[logement_se_maintenir].prealable_a"].value == ["mobilite_obtenir_permis"]
    assert said(facts, "].nature")[:2] == ["action_individuelle", "job_dating"]
    assert [facts[f"actions[ccas:{n}].echeance"].value for n in (1, 2)] == ["2026-12-20", "2027-01-15"]
    assert facts["contrats[ccas:c1].engagements"].value == "Préparer le CAP de peintre."
    assert "contrats[ccas:c1].decision" not in facts, "the Département decides"

    # Out: objectives, actions and a contract are no part of what this convention lets its Département see.
    (to_departement,) = (one for one in receipt.outcomes if one.recipient == "departement")
    assert "C8" in to_departement.withheld_categories
    assert to_departement.article


def test_a_sent_to_a_service_with_her_reason_and_what_became_of_it(landes: Territory) -> None:
    who = landes.oriented()
    heads = ("Prescription;ID_CD;Nom;Prénom;Date de naissance;structure_prescripteur;structure_partenaire;frein;"
             "motif_pos;statut;date_transmission;beneficiaire_present")  # fmt: skip
    row = "P-7;4711;ARBELIER;AMELIA;12/04/1988;Pôle social;Épicerie solidaire;finances;Budget;{};12/11/2026;{}"

    def tell(step: str, came: str) -> Receipt:
        table = f"{heads}\n{row.format(step, came)}\n".encode()
        (receipt,) = landes.tell("departement", "departement.prescriptions_csv", table)
        return receipt

    steps = [tell("envoyee", ""), tell("acceptee", ""), tell("presente", "oui")]
    assert [one.status for one in steps] == ["accepted"] * 3
    facts = landes.current(who)
    assert facts["prescriptions[departement:40:P-7].statut_metier"].value == "presente"
    assert facts["prescriptions[departement:40:P-7].envoyee_le"].value == "2026-11-11T23:00:00Z"
    (to_ccas,) = steps[-1].outcomes
    assert (to_ccas.recipient, to_ccas.status) == ("ccas", "queued")
    assert "C21" in to_ccas.withheld_categories, "her reason is free text"
    landes.deliver("ccas")
    sheet = landes.sheets("ccas")[-1]
    assert [(one["organisme"], one["statut"], one["presence"]) for one in sheet["prescriptions"]] == [
        ("Épicerie solidaire", "presente", "oui")
    ]
