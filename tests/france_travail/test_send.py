"""Deliveries: read before writing, never twice, never a decision of our own. Domain reference §7, §9, §10, §11."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from connectors.france_travail.sandbox.scenarios import SCENARIOS, Scenario
from connectors.france_travail.sandbox.usagers import orientation_initiale

ITEM = "departement:7"
ORIENTATION = f"orientations[{ITEM}]"
ACCEPTED = {f"{ORIENTATION}.etat": "decidee", f"{ORIENTATION}.date_decision": "2026-11-21"}
REFUSED = {
    f"{ORIENTATION}.etat": "refusee",
    f"{ORIENTATION}.date_decision": "2026-11-21",
    f"{ORIENTATION}.motif_refus": "APPRECIATION_DIFFERENTE",
    f"{ORIENTATION}.parcours": "PED",
    f"{ORIENTATION}.organisme_accueil.code_organisme_ft": "FT",
}
CRITERIA = {
    "droit_rsa.etat": "ouvert_versable",
    "personne.date_naissance": "1990-01-01",
    "personne.adresses[residence].code_insee": "40999",
    "parcours_pro.derniere_activite": "PLUS_DEUX_ANS",
    "parcours_pro.type_emploi": "AUTRE",
    "parcours_pro.niveau_etude": "cap_bep",
    "parcours_pro.projet": "SALARIAT",
    "parcours_pro.capacite_a_travailler": True,
    "parcours_pro.boe": False,
    "parcours_pro.baeeh": False,
    "parcours_pro.scolarite_etablissement_specialise": False,
    "parcours_pro.esat": False,
    "parcours_pro.boe_souhait_accompagnement": False,
    "freins[sante].valeur": "absent",
    "freins[finances].valeur": "present",
    "freins[finances].impact": "fort",
    "diagnostic.declare_sans_frein.valeur": True,
}


# Calcul d'orientation


async def test_criteria_are_stored_once_and_computed(partner) -> None:
    ft = partner()
    answer = await ft.send("calcul_orientation", CRITERIA)
    assert (answer.outcome, answer.code) == ("delivered", "computed")
    assert ft.usager.orientations[0]["parcours"] == "PSP"
    again = await ft.send("calcul_orientation", CRITERIA)
    assert (again.outcome, again.code) == ("duplicate", "same_criteria")
    assert len(ft.app.calls("calcul")) == 1


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"lignes": ["BAT B", "12 RUE DES PINS", "LE BOURG"]}, "BAT B 12 RUE DES PINS LE BOURG"),
        (
            {"numero_voie": "12 bis", "type_voie": "RUE", "nom_voie": "DES PINS", "complement": "BAT B"},
            "12 bis RUE DES PINS",
        ),
        ({"lignes": ["BAT B", "RUE DES PINS"], "nom_voie": "RUE DES PINS"}, "RUE DES PINS"),
    ],
    ids=["lines-alone", "parts-alone", "both"],
)
async def test_the_street_is_written_from_its_parts_or_else_from_its_lines(
    partner, told: dict[str, object], line: str
) -> None:
    ft = partner()
    home = {f"personne.adresses[residence].{name}": value for name, value in told.items()}
    assert (await ft.send("calcul_orientation", CRITERIA | home)).outcome == "delivered"
    assert ft.app.calls("calcul")[-1].body["adresse"]["numero_type_libelle_voie"] == line


async def test_an_incomplete_set_of_criteria_is_said_to_be_so(partner) -> None:
    few = {name: CRITERIA[name] for name in ("droit_rsa.etat", "parcours_pro.derniere_activite")}
    answer = await partner().send("calcul_orientation", few)
    assert (answer.outcome, answer.code) == ("delivered", "criteria_insufficient")


async def test_criteria_that_france_travail_alone_knows_are_not_erased(partner) -> None:
    ft = partner()
    answer = await ft.send("calcul_orientation", {"droit_rsa.etat": "ouvert_versable"})
    assert (answer.outcome, answer.code) == ("waiting", "criteria_incomplete")
    assert ft.app.calls("calcul") == []


async def test_the_answer_lost_on_the_way_is_found_on_the_other_side(partner) -> None:
    ft = partner("coupure_apres_ecriture")
    assert (await ft.send("calcul_orientation", CRITERIA)).outcome == "delivered"
    assert (await ft.send("calcul_orientation", CRITERIA)).outcome == "duplicate"


# Décision d'orientation


async def test_an_acceptance_carries_no_other_body(partner) -> None:
    ft = partner()
    decided = ACCEPTED | {
        f"{ORIENTATION}.organisme_accueil.code_organisme_ft": "CD",
        f"{ORIENTATION}.categorie": "professionnelle",
    }
    answer = await ft.send("decision_orientation", decided, item=ITEM)
    assert (answer.outcome, answer.code) == ("delivered", "decided")
    assert ft.app.calls("decision")[0].body == {
        "etat_decision": "ACCEPTEE", "date_decision": "2026-11-21", "organisme_decision": "CD",
        "agent_decision": "BATCH",
    }  # fmt: skip
    assert (await ft.send("decision_orientation", decided, item=ITEM)).outcome == "duplicate"
    assert len(ft.app.calls("decision")) == 1


async def test_a_refusal_carries_what_was_decided_instead(partner) -> None:
    ft = partner()
    assert (await ft.send("decision_orientation", REFUSED, item=ITEM)).code == "decided"
    assert ft.usager.orientations[0]["organisme"] == "FT"
    for missing in ("motif_refus", "parcours", "organisme_accueil.code_organisme_ft"):
        partial = {path: value for path, value in REFUSED.items() if not path.endswith(missing)}
        answer = await partner().send("decision_orientation", partial, item=ITEM)
        assert (answer.outcome, answer.code) == ("refused", "incomplete_document")


@pytest.mark.parametrize(
    ("proposed", "decided", "code"),
    [
        (
            {"parcours": "PED", "organisme": "FT"},
            {"organisme_accueil.code_organisme_ft": "CD"},
            "preconisation_differs",
        ),
        ({"parcours": "PED"}, {"categorie": "sociale"}, "preconisation_differs"),
        ({"parcours": "PSO"}, {"categorie": "professionnelle"}, "preconisation_differs"),
        ({"parcours": "PSO"}, {"parcours": "PSP"}, "preconisation_differs"),
        ({"parcours": "PSO"}, {"categorie": "sociale"}, "parcours_disputed"),
        ({"parcours": "PSO"}, {"parcours": "PSO"}, "decided"),
        ({"parcours": "PED"}, {"categorie": "professionnelle"}, "decided"),
        ({"parcours": "PSO"}, {}, "decided"),
    ],
)
async def test_an_acceptance_must_accept_what_the_authority_decided(
    partner, proposed: dict, decided: dict, code: str
) -> None:
    ft = partner()
    ft.usager.orientations[0] |= proposed
    values = ACCEPTED | {f"{ORIENTATION}.{name}": value for name, value in decided.items()}
    assert (await ft.send("decision_orientation", values, item=ITEM)).code == code
    assert len(ft.app.calls("decision")) == (code == "decided")


async def test_a_disputed_parcours_is_accepted_only_where_the_operator_says_so(partner) -> None:
    ft = partner(acceptation_parcours_dispute="oui")
    ft.usager.orientations[0] |= {"parcours": "PSO"}
    values = ACCEPTED | {f"{ORIENTATION}.categorie": "sociale"}
    assert (await ft.send("decision_orientation", values, item=ITEM)).code == "decided"


@pytest.mark.parametrize("parcours", ["PSP", "PSO"])
async def test_a_disputed_parcours_is_never_written(partner, parcours: str) -> None:
    ft = partner(acceptation_parcours_dispute="oui", orientation_forcee="oui")
    values = REFUSED | {f"{ORIENTATION}.parcours": parcours}
    answer = await ft.send("decision_orientation", values, item=ITEM)
    assert (answer.outcome, answer.code) == ("refused", "parcours_disputed")
    assert ft.app.received == [] or ft.app.calls("decision") == []


@pytest.mark.parametrize("state", [{"etat": "BROUILLON"}, {"parcours": "IND"}])
async def test_a_draft_waits_for_its_criteria(partner, state: dict) -> None:
    ft = partner()
    ft.usager.orientations[0] |= state
    answer = await ft.send("decision_orientation", ACCEPTED, item=ITEM)
    assert (answer.outcome, answer.code) == ("waiting", "criteria_incomplete")


async def test_an_orientation_is_forced_only_where_the_operator_says_so(partner) -> None:
    values = ACCEPTED | {
        f"{ORIENTATION}.parcours": "PED",
        f"{ORIENTATION}.organisme_accueil.code_organisme_ft": "CD",
    }
    ft = partner()
    ft.usager.orientations.clear()
    answer = await ft.send("decision_orientation", values, item=ITEM)
    assert (answer.outcome, answer.code) == ("waiting", "no_preconisation")
    ft = partner(orientation_forcee="oui")
    ft.usager.orientations.clear()
    assert (await ft.send("decision_orientation", values, item=ITEM)).code == "forced"
    assert (await ft.send("decision_orientation", values, item=ITEM)).outcome == "duplicate"
    assert len(ft.app.calls("forcer")) == 1


async def test_a_decision_whose_answer_is_lost_is_read_back_and_not_sent_again(partner) -> None:
    ft = partner("coupure_apres_ecriture")
    answer = await ft.send("decision_orientation", ACCEPTED, item=ITEM)
    assert (answer.outcome, answer.code) == ("delivered", "read_back")
    assert len(ft.app.calls("decision")) == 1


async def test_a_decision_is_recognised_however_france_travail_words_it(partner, monkeypatch) -> None:
    def alter(items: Any) -> Any:
        items = copy.deepcopy(items)
        for item in items:
            if decision := item.get("decision"):
                item["organisme_decision"] = decision.pop("organisme_decision")
                decision["date_decision"] = "2026-11-20T23:00:00Z"  # midnight in Paris
        return {"orientations": items}

    monkeypatch.setitem(SCENARIOS, "formes", Scenario("Autres écritures", "lecture", alter=alter))
    ft = partner("formes")
    assert (await ft.send("decision_orientation", ACCEPTED, item=ITEM)).code == "decided"
    answer = await ft.send("decision_orientation", ACCEPTED, item=ITEM)
    assert (answer.outcome, answer.code) == ("duplicate", "already_decided")


async def test_an_orientation_already_forced_is_recognised_by_its_origin_wherever_it_stands(
    partner, monkeypatch
) -> None:
    def alter(items: Any) -> Any:
        items = copy.deepcopy(items)
        for item in items:
            item["criteres_orientation"] = {"origine_calcul": item.pop("origine")}
        return items

    monkeypatch.setitem(SCENARIOS, "formes", Scenario("Anciennes clés", "lecture", alter=alter))
    ft = partner("formes", orientation_forcee="oui")
    ft.usager.orientations.clear()
    forced = ACCEPTED | {
        f"{ORIENTATION}.parcours": "PED",
        f"{ORIENTATION}.organisme_accueil.code_organisme_ft": "CD",
    }
    codes = [(await ft.send("decision_orientation", forced, item=ITEM)).code for _ in range(2)]
    assert codes == ["forced", "read_back"]
    assert len(ft.app.calls("forcer")) == 1


async def test_a_decision_of_an_unknown_day_is_refused_before_any_call(partner) -> None:
    ft = partner()
    answer = await ft.send("decision_orientation", {f"{ORIENTATION}.etat": "decidee"}, item=ITEM)
    assert (answer.outcome, answer.code) == ("refused", "incomplete_document")
    assert ft.app.received == []


async def test_two_orientations_need_to_be_told_which(partner) -> None:
    values = ACCEPTED | {"orientations[departement:8].etat": "decidee"}
    assert (await partner().send("decision_orientation", values)).code == "incomplete_document"
    assert (await partner().send("decision_orientation", values, item=ITEM)).outcome == "delivered"


# Rendez-vous

RDV = "rendez_vous[ccas:42]"
PLANNED = {
    f"{RDV}.debut": "2026-12-01T10:30:00Z",
    f"{RDV}.duree_min": 45,
    f"{RDV}.motif": "accompagnement",
    f"{RDV}.premier_accompagnement": True,
    f"{RDV}.modalite": "presentiel",
    f"{RDV}.statut": "prevu",
    f"{RDV}.lieu": "Maison fictive",
}
SETTINGS = {"organismes": "departement=CD,ccas=DCD", "organisme_email": "accueil@exemple.invalid"}


def now(statut: str, **more: Any) -> dict[str, Any]:
    return PLANNED | {f"{RDV}.statut": statut} | {f"{RDV}.{name}": value for name, value in more.items()}


async def test_a_rendez_vous_is_created_changed_and_cancelled_under_one_id(partner) -> None:
    ft = partner(**SETTINGS)
    made = await ft.send("rendez_vous", PLANNED, item="ccas:42")
    assert (made.outcome, made.code) == ("delivered", "created")
    (held,) = ft.usager.rendez_vous.values()
    assert (held["organisme"]["code"], held["motif"], held["id"]) == ("DCD", "ACC", made.remote_id)
    changed = await ft.send("rendez_vous", now("honore"), item="ccas:42", remote_id=made.remote_id)
    assert (changed.code, changed.remote_id) == ("modified", made.remote_id)
    cancelled = await ft.send("rendez_vous", now("excuse_usager"), item="ccas:42", remote_id=made.remote_id)
    assert cancelled.code == "modified"
    assert [rdv["statut"] for rdv in ft.usager.rendez_vous.values()] == ["ANNULE"]
    assert len(ft.app.calls("rdv_post")) == 1


@pytest.mark.parametrize("scenario", ["rendez_vous_200", "coupure_apres_ecriture", "rendez_vous_sans_id"])
async def test_a_rendez_vous_is_made_once_however_it_is_answered(partner, scenario: str) -> None:
    ft = partner(scenario, **SETTINGS)
    first = await ft.send("rendez_vous", PLANNED, item="ccas:42")
    if scenario == "rendez_vous_sans_id":
        assert (first.outcome, first.code) == ("retry", "no_identifier")
        assert ft.usager.rendez_vous == {}
        return
    assert first.outcome == "delivered"
    assert first.remote_id in ft.usager.rendez_vous
    again = await ft.send("rendez_vous", PLANNED, item="ccas:42")
    assert (again.outcome, again.remote_id) == ("duplicate", first.remote_id)
    assert len(ft.app.calls("rdv_post")) == 1


async def test_after_a_merge_the_rendez_vous_is_found_again_or_made_again(partner) -> None:
    ft = partner(**SETTINGS)
    first = await ft.send("rendez_vous", PLANNED, item="ccas:42")
    ft.app.fusionner("00000000101")
    moved = await ft.send("rendez_vous", now("honore"), item="ccas:42", remote_id=first.remote_id)
    assert (moved.code, moved.remote_id) == ("modified", f"fusionne-{first.remote_id}")
    ft.usager.rendez_vous.clear()
    made = await ft.send("rendez_vous", now("honore"), item="ccas:42", remote_id=first.remote_id)
    assert made.code == "created_again"
    assert made.remote_id not in {None, first.remote_id}
    assert len(ft.usager.rendez_vous) == 1


async def test_a_merge_during_the_change_creates_once(partner) -> None:
    ft = partner(**SETTINGS)
    first = await ft.send("rendez_vous", PLANNED, item="ccas:42")
    ft.app.scenario = "fusion"
    moved = await ft.send("rendez_vous", now("absent"), item="ccas:42", remote_id=first.remote_id)
    assert moved.outcome == "delivered"
    assert [rdv["statut"] for rdv in ft.usager.rendez_vous.values()] == ["ABSENT"]


async def test_what_the_source_erased_leaves_france_travail_too(partner) -> None:
    ft = partner(**SETTINGS)
    first = await ft.send("rendez_vous", PLANNED, item="ccas:42")
    ft.app.fusionner("00000000101")
    gone = await ft.send("rendez_vous", now("efface_source"), item="ccas:42", remote_id=first.remote_id)
    assert (gone.outcome, gone.code) == ("delivered", "deleted")
    assert ft.usager.rendez_vous == {}
    again = await ft.send("rendez_vous", now("efface_source"), item="ccas:42", remote_id=first.remote_id)
    assert (again.outcome, again.code) == ("duplicate", "already_gone")


async def test_a_cancellation_of_what_was_never_sent_sends_nothing(partner) -> None:
    ft = partner(**SETTINGS)
    answer = await ft.send("rendez_vous", now("annule_service"), item="ccas:42")
    assert (answer.outcome, answer.code) == ("duplicate", "nothing_to_cancel")
    assert ft.app.calls("rdv_post") == []


@pytest.mark.parametrize("item", ["france_travail:9", "rdv_insertion:9"])
async def test_a_rendez_vous_of_france_travail_is_not_sent_back(partner, item: str) -> None:
    values = {path.replace("ccas:42", item): value for path, value in PLANNED.items()}
    values |= {f"rendez_vous[{item}].organisme.code_organisme_ft": "FT"}
    answer = await partner(**SETTINGS).send("rendez_vous", values, item=item)
    assert (answer.outcome, answer.code) == ("refused", "owned_by_recipient")


async def test_a_rendez_vous_of_a_body_that_france_travail_does_not_list_is_not_sent_under_another(partner) -> None:
    ft = partner(organismes="rdv_insertion=CD")
    values = {path.replace("ccas:42", "rdv_insertion:9"): value for path, value in PLANNED.items()}
    siae = values | {"rendez_vous[rdv_insertion:9].organisme.nature": "siae"}
    assert (await ft.send("rendez_vous", siae, item="rdv_insertion:9")).code == "incomplete_document"
    assert (await ft.send("rendez_vous", values, item="rdv_insertion:9")).outcome == "delivered"


async def test_a_rendez_vous_erased_at_the_source_is_deleted_though_nothing_else_of_it_is_left(partner) -> None:
    ft = partner(**SETTINGS)
    first = await ft.send("rendez_vous", PLANNED, item="ccas:42")
    gone = await ft.send("rendez_vous", {f"{RDV}.statut": "efface_source"}, item="ccas:42", remote_id=first.remote_id)
    assert (gone.outcome, gone.code) == ("delivered", "deleted")
    assert ft.usager.rendez_vous == {}


async def test_private_words_of_a_rendez_vous_never_leave(partner) -> None:
    ft = partner(**SETTINGS)
    await ft.send("rendez_vous", PLANNED, item="ccas:42")
    assert ft.app.calls("rdv_post")[0].body.keys().isdisjoint({"theme", "information", "telephoneContactUsager"})


async def test_a_rendez_vous_waits_for_the_person_to_be_known_at_france_travail(partner) -> None:
    ft = partner(**SETTINGS)
    unknown = {"nir": "2900199999999", "date_naissance": "1990-01-01"}
    for identifiers, code in (({}, "identifier_missing"), (unknown, "not_found")):
        answer = await ft.send("rendez_vous", PLANNED, item="ccas:42", identifiers=identifiers)
        assert (answer.outcome, answer.code) == ("waiting", code)


@pytest.mark.parametrize(
    ("numero", "outcome", "code"),
    [
        ("00000000103", "refused", "ambiguous"),
        ("00000000104", "waiting", "not_certified"),
        ("00000000105", "refused", "forbidden"),
        ("00000000106", "refused", "forbidden"),
        ("00000000107", "refused", "incomplete_person"),
        ("00000000108", "retry", "unavailable"),
    ],
)
async def test_each_person_that_cannot_be_written_for_has_her_outcome(
    partner, numero: str, outcome: str, code: str
) -> None:
    ft = partner(**SETTINGS)
    answer = await ft.send("rendez_vous", PLANNED, item="ccas:42", identifiers=ft.person(numero))
    assert (answer.outcome, answer.code) == (outcome, code)
    assert ft.app.calls("rdv_post") == []


async def test_a_refusal_on_functional_grounds_is_terminal(partner) -> None:
    ft = partner(organismes="ccas=CCAS")
    answer = await ft.send("rendez_vous", PLANNED, item="ccas:42")
    assert answer.outcome == "refused"


# Contrat d'engagement

CONTRAT = "contrats[departement:3]"
SIGNED = {f"{CONTRAT}.etat": "signe", f"{CONTRAT}.signe_le": "2026-12-01", f"{CONTRAT}.refuse_le": "2026-11-25"}
DECLINED = {f"{CONTRAT}.etat": "refuse", f"{CONTRAT}.refuse_le": "2026-12-01"}


async def test_a_first_contract_is_posted_and_an_existing_one_patched(partner) -> None:
    ft = partner()
    assert (await ft.send("contrat_engagement", SIGNED)).code == "signed"
    assert [call.name for call in ft.app.calls("contrat_signer")] == ["contrat_signer"]
    assert ft.app.calls("contrat_signer")[0].body == {"dateSignature": "2026-12-01T00:00:00.000Z"}
    ft.usager.contrat = None
    assert (await ft.send("contrat_engagement", SIGNED)).code == "signed"
    assert len(ft.app.calls("contrat_creer")) == 1
    again = await ft.send("contrat_engagement", SIGNED)
    assert (again.outcome, again.code) == ("duplicate", "already_recorded")


async def test_a_refused_contract_can_be_signed_later(partner) -> None:
    ft = partner()
    assert (await ft.send("contrat_engagement", DECLINED)).code == "refused"
    assert ft.usager.contrat["etat"] == "REFUSE"
    assert (await ft.send("contrat_engagement", SIGNED)).code == "signed"


async def test_a_contract_that_does_not_exist_cannot_be_refused_yet(partner) -> None:
    ft = partner()
    ft.usager.contrat = None
    answer = await ft.send("contrat_engagement", DECLINED)
    assert (answer.outcome, answer.code) == ("waiting", "no_contract")


async def test_a_transition_that_is_not_possible_is_refused(partner) -> None:
    ft = partner()
    ft.usager.contrat = {"etat": "CLOTURE"}
    answer = await ft.send("contrat_engagement", SIGNED)
    assert (answer.outcome, answer.code) == ("refused", "TRANSITION_IMPOSSIBLE")


async def test_a_signature_whose_answer_is_lost_is_read_back(partner) -> None:
    ft = partner("coupure_apres_ecriture")
    assert (await ft.send("contrat_engagement", SIGNED)).code == "read_back"
    assert len(ft.app.calls("contrat_signer")) == 1


# Sanctions

ACT = {"identifiant_consequence": "csq-fictive-1", "type_evenement": "SAISIE_SANCTION", "date_evenement": "2026-12-01"}
TWO = [{"agent": "agent-1", "le": "2026-11-30"}, {"agent": "agent-2", "le": "2026-12-01"}]


@pytest.mark.parametrize(
    "validations",
    [
        [],
        TWO[:1],
        [TWO[0], TWO[0]],
        [TWO[0], {"agent": "agent-2"}],
        [TWO[0], {"agent": "", "le": "2026-12-01"}],
        ["agent-1", "agent-2"],
    ],
    ids=["none", "one", "same-person", "undated", "unnamed", "not-recorded"],
)
async def test_a_sanction_needs_two_people(partner, validations: list) -> None:
    ft = partner()
    answer = await ft.send("sanction_rsa", {}, sanction=ACT, validations=validations)
    assert (answer.outcome, answer.code) == ("refused", "validations_missing")
    assert ft.app.received == []


async def test_a_sanction_is_transmitted_as_it_was_decided(partner) -> None:
    ft = partner()
    assert (await ft.send("sanction_rsa", {}, sanction=ACT, validations=TWO)).code == "transmitted"
    assert ft.usager.sanctions["csq-fictive-1"]["activite"] == "ACT367"
    repeated = await ft.send("sanction_rsa", {}, sanction=ACT, validations=TWO)
    assert (repeated.outcome, repeated.code) == ("refused", "EVENEMENT_IMPOSSIBLE")


@pytest.mark.parametrize("missing", ["type_consequence", "modalite_decision", "montant", "duree"])
async def test_a_validated_sanction_has_all_its_fields(partner, missing: str) -> None:
    whole = ACT | {
        "type_evenement": "VALID_SANCTION", "type_consequence": "SUSP_RSA", "modalite_decision": "P", "montant": 30,
        "duree": 1,
    }  # fmt: skip
    ft = partner()
    del whole[missing]
    answer = await ft.send("sanction_rsa", {}, sanction=whole, validations=TWO)
    assert (answer.outcome, answer.code) == ("refused", "incomplete_document")
    assert ft.app.received == []


async def test_a_suspended_route_and_an_unknown_event_are_not_taken(partner) -> None:
    for kind, code in (("REFUS_SAISIE_SANCTION", "refus_saisie_suspended"), ("RADIATION", "incomplete_document")):
        answer = await partner().send("sanction_rsa", {}, sanction=ACT | {"type_evenement": kind}, validations=TWO)
        assert answer.code == code
    ft = partner(refus_saisie_sanction="oui")
    refusal = ACT | {"type_evenement": "REFUS_SAISIE_SANCTION"}
    assert (await ft.send("sanction_rsa", {}, sanction=refusal, validations=TWO)).code == "transmitted"


async def test_an_event_of_another_activity_is_not_sent(partner) -> None:
    ft = partner()
    for activity, kind in (("ACT367", "SAISIE_SANCTION"), ("ACT366", "REFUS_SANCTION"), ("ACT370", "VALID_LEVEE_SUSP")):
        act = ACT | {"type_evenement": kind, "activite": activity}
        answer = await ft.send("sanction_rsa", {}, sanction=act, validations=TWO)
        assert (answer.outcome, answer.code) == ("refused", "event_of_another_activity")
    assert ft.app.received == []


async def test_a_sanction_whose_answer_is_lost_waits_for_a_human(partner) -> None:
    ft = partner("coupure_apres_ecriture")
    answer = await ft.send("sanction_rsa", {}, sanction=ACT, validations=TWO)
    assert (answer.outcome, answer.code) == ("refused", "unknown_outcome")
    assert len(ft.app.calls("sanction")) == 1


async def test_nothing_of_the_dossier_makes_a_sanction(partner) -> None:
    answer = await partner().send("sanction_rsa", CRITERIA)
    assert (answer.outcome, answer.code) == ("refused", "incomplete_document")


# Failures common to all


@pytest.mark.parametrize(
    ("scenario", "outcome", "code"),
    [
        ("portee_refusee", "refused", "invalid_scope"),
        ("client_refuse", "refused", "invalid_client"),
        ("portee_absente", "refused", "scope_missing"),
        ("redirection", "refused", "agent_header_missing"),
        ("panne_durable", "retry", "JCS0011G"),
        ("reponse_non_json", "retry", "answer_unreadable"),
    ],
)
async def test_a_delivery_never_raises_for_what_france_travail_answers(
    partner, scenario: str, outcome: str, code: str
) -> None:
    answer = await partner(scenario, **SETTINGS).send("rendez_vous", PLANNED, item="ccas:42")
    assert (answer.outcome, answer.code) == (outcome, code)


@pytest.mark.parametrize(
    ("route", "written", "document", "values"),
    [
        ("lecture", "calcul", "calcul_orientation", CRITERIA),
        ("lecture", "forcer", "decision_orientation", ACCEPTED),
        ("rdv_liste", "rdv_post", "rendez_vous", PLANNED),
        ("contrat_lecture", "contrat_creer", "contrat_engagement", SIGNED),
    ],
)
async def test_nothing_is_written_on_a_remote_state_that_cannot_be_read(
    partner, monkeypatch, route: str, written: str, document: str, values: dict
) -> None:
    told = ["message"] if route == "contrat_lecture" else {"message": "Forme nouvelle"}
    monkeypatch.setitem(SCENARIOS, "formes", Scenario("Autre forme", route, (200, {}, told)))
    ft = partner("formes", orientation_forcee="oui", **SETTINGS)
    answer = await ft.send(document, values, **({"item": ITEM} if document == "decision_orientation" else {}))
    assert (answer.outcome, answer.code) == ("retry", "answer_unexpected")
    assert ft.app.calls(written) == []


async def test_a_quota_tells_when_to_come_back(partner) -> None:
    answer = await partner("quota", **SETTINGS).send("rendez_vous", PLANNED, item="ccas:42")
    assert (answer.outcome, answer.code, answer.retry_after) == ("retry", "quota", 30.0)


async def test_a_document_of_someone_else_is_refused(partner) -> None:
    from connectors.contract import Outgoing
    from schemas.record import Written

    ft = partner()
    outgoing = Outgoing("1", "caf.flux_beneficiaire", Written({}), {})
    assert (await ft.connector.send(outgoing, ft.transport)).outcome == "refused"


def test_the_seeds_have_something_to_decide() -> None:
    assert orientation_initiale()["etat"] == "EN_ATTENTE"
