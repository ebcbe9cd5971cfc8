"""Deadlines recalled in time, steps checked, decisions told only by whoever holds them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from gateway import clock
from gateway.cli import application
from gateway.exchange import exchange
from gateway.parcours import Duree, delays, dossiers, of
from gateway.receipt import Receipt, Request
from gateway.registry import Gateway
from gateway.settings import Settings, settings
from gateway.storage.tables.record import quarantine
from schemas.record import Fact, PersonFacts, Record

QUI = {
    "identifiants[nir].valeur": "2850699999999",
    "personne.nom_naissance": "LEFÈVRE",
    "personne.prenoms": ["Marie"],
    "personne.date_naissance": "1985-06-12",
}
DROIT = {"droit_rsa.etat": "ouvert_versable"}
ICI = "orientations[departement:40:1]"
DECIDEE = {f"{ICI}.etat": "decidee", f"{ICI}.notifie_le": "2026-03-02", f"{ICI}.categorie": "professionnelle"}


def dossier(**faits: Any) -> dict[str, Fact]:
    return courant({chemin.replace("__", "."): valeur for chemin, valeur in faits.items()})


def courant(faits: dict[str, Any], le: str = "2026-03-01T00:00:00.000000Z") -> dict[str, Fact]:
    return {chemin: Fact(valeur, "departement", "d", le) for chemin, valeur in faits.items()}


def alertes(faits: dict[str, Any], jour: str) -> dict[str, tuple[str, str]]:
    return {une.code: (une.state, une.due) for une in of("p", courant(faits), jour)}


# --- deadlines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duree", "debut", "fin"),
    [
        ({"semaines": 6}, "2026-03-02", "2026-04-13"),
        ({"mois": 1}, "2026-01-31", "2026-02-28"),
        ({"mois": 1}, "2027-12-15", "2028-01-15"),
        ({"mois": 6}, "2026-08-31", "2027-02-28"),
        ({"mois": 12}, "2028-02-29", "2029-02-28"),
        ({"jours": 15}, "2026-12-20", "2027-01-04"),
    ],
)
def test_une_duree_finit_le_bon_jour(duree: dict[str, int], debut: str, fin: str) -> None:
    assert Duree(**duree).after(date.fromisoformat(debut)) == date.fromisoformat(fin)


def test_six_semaines_pour_orienter_puis_plus_rien_une_fois_decide() -> None:
    entree = DROIT | {"droit_rsa.soumis_droits_devoirs": True, "droit_rsa.date_droits_devoirs": "2026-03-02"}
    assert alertes(entree, "2026-04-01") == {}
    assert alertes(entree, "2026-04-06") == {"orientation_departement": ("proche", "2026-04-13")}
    assert alertes(entree, "2026-04-14") == {"orientation_departement": ("passe", "2026-04-13")}
    oriente = entree | {f"{ICI}.etat": "decidee", f"{ICI}.date_decision": "2026-04-02"}
    assert "orientation_departement" not in alertes(oriente, "2026-04-14")


def test_un_droit_clos_n_attend_plus_d_orientation() -> None:
    clos = {"droit_rsa.etat": "clos", "droit_rsa.soumis_droits_devoirs": True}
    assert alertes(clos | {"droit_rsa.date_droits_devoirs": "2026-03-02"}, "2026-05-01") == {}


def test_plus_aucune_echeance_pour_une_personne_decedee() -> None:
    assert alertes(DECIDEE, "2026-06-01")
    assert alertes(DECIDEE | {"personne.date_deces": "2026-03-20"}, "2026-06-01") == {}


def test_le_mois_du_contrat_repart_a_la_reorientation() -> None:
    assert alertes(DECIDEE, "2026-03-28")["contrat_engagement"] == ("proche", "2026-04-02")
    autre = "orientations[departement:40:2]"
    reoriente = DECIDEE | {f"{autre}.etat": "decidee", f"{autre}.notifie_le": "2026-04-10"}
    assert alertes(reoriente, "2026-05-05")["contrat_engagement"] == ("proche", "2026-05-10")
    signe = reoriente | {"contrats[departement:40:7].signe_le": "2026-04-20"}
    assert "contrat_engagement" not in alertes(signe, "2026-05-05")


def test_un_contrat_d_avant_la_reorientation_ne_suffit_plus() -> None:
    avant = {"contrats[departement:40:7].signe_le": "2026-02-20"}
    assert "contrat_engagement" in alertes(DECIDEE | avant, "2026-04-03")


def test_rupture_de_parcours_personne_ne_l_a_rencontree() -> None:
    assert alertes(DECIDEE, "2026-03-20") == {}
    assert alertes(DECIDEE, "2026-04-02")["rupture_parcours"] == ("passe", "2026-04-01")
    manque = DECIDEE | {"rendez_vous[ccas:1].debut": "2026-03-20T09:00:00Z", "rendez_vous[ccas:1].statut": "absent"}
    assert "rupture_parcours" in alertes(manque, "2026-04-02")
    venue = manque | {"rendez_vous[ccas:1].statut": "honore"}
    assert "rupture_parcours" not in alertes(venue, "2026-04-02")


def test_reexamen_du_parcours_social_a_six_puis_douze_mois() -> None:
    social = {f"{ICI}.etat": "decidee", f"{ICI}.categorie": "sociale", f"{ICI}.debut": "2026-01-10"}
    assert alertes(social, "2026-06-20")["reexamen_parcours_social"] == ("proche", "2026-07-10")
    assert alertes(social, "2026-12-20")["reexamen_parcours_social_prolonge"] == ("proche", "2027-01-10")
    assert "reexamen_parcours_social" not in alertes(social | {f"{ICI}.categorie": "professionnelle"}, "2026-06-20")


def test_une_demande_de_reorientation_attend_sa_reponse() -> None:
    ici = "demandes_reorientation[departement:40:3]"
    demande = {f"{ici}.etat": "en_attente", f"{ici}.demandee_le": "2026-05-01"}
    assert alertes(demande, "2026-05-17") == {"reponse_reorientation": ("passe", "2026-05-16")}
    assert alertes(demande | {f"{ici}.etat": "acceptee"}, "2026-05-17") == {}


# --- the pair of an accompagnement global -----------------------------------------------------------------------------

GLOBAL = "accompagnements[departement:7]"
BINOME = {
    f"{GLOBAL}.nature": "global",
    f"{GLOBAL}.debut": "2026-03-02",
    f"{GLOBAL}.volontaire": True,
    f"{GLOBAL}.membres[departement:as].cote": "social",
    f"{GLOBAL}.membres[departement:as].depuis": "2026-03-02",
    f"{GLOBAL}.membres[france_travail:ce].cote": "emploi",
    f"{GLOBAL}.membres[france_travail:ce].depuis": "2026-03-02",
}
INFORME = {
    "freins[logement].valeur": "en_cours",
    "projets[france_travail:1].rome": "K1304",
    "inscription_emploi.inscrit": True,
}
BINOME |= INFORME
ENSEMBLE = {
    "rendez_vous[departement:1].debut": "2026-03-10T09:00:00Z",
    "rendez_vous[departement:1].conjoint": True,
    "rendez_vous[departement:1].statut": "honore",
}


def test_un_binome_complet_qui_a_recu_la_personne_n_alerte_pas() -> None:
    assert alertes(BINOME | ENSEMBLE, "2026-06-01") == {}


@pytest.mark.parametrize("parti", ["departement:as", "france_travail:ce"])
def test_le_depart_d_un_des_deux_est_signale_jusqu_au_remplacement(parti: str) -> None:
    depart = BINOME | ENSEMBLE | {f"{GLOBAL}.membres[{parti}].jusqua": "2026-05-04"}
    assert alertes(depart, "2026-05-05") == {"binome_incomplet": ("proche", "2026-05-19")}
    assert alertes(depart, "2026-05-20") == {"binome_incomplet": ("passe", "2026-05-19")}
    cote = BINOME[f"{GLOBAL}.membres[{parti}].cote"]
    autre = "emploi" if cote == "social" else "social"
    pas_le_bon = {
        f"{GLOBAL}.membres[departement:x].cote": autre,
        f"{GLOBAL}.membres[departement:x].depuis": "2026-05-06",
    }
    assert "binome_incomplet" in alertes(depart | pas_le_bon, "2026-05-20")
    remplace = {f"{GLOBAL}.membres[departement:y].cote": cote, f"{GLOBAL}.membres[departement:y].depuis": "2026-05-06"}
    assert alertes(depart | remplace, "2026-05-20") == {}
    assert alertes(depart | {f"{GLOBAL}.fin": "2026-05-04"}, "2026-05-20") == {}


def test_un_collegue_deja_la_du_meme_cote_suffit() -> None:
    deux = {
        f"{GLOBAL}.membres[departement:cesf].cote": "social",
        f"{GLOBAL}.membres[departement:as].jusqua": "2026-05-04",
    }
    assert alertes(BINOME | ENSEMBLE | deux, "2026-05-20") == {}


def test_chaque_organisme_peut_dire_son_cote_du_binome() -> None:
    sien = "accompagnements[france_travail:3]"
    social = {chemin: valeur for chemin, valeur in BINOME.items() if "france_travail" not in chemin}
    assert "binome_incomplet" in alertes(social | ENSEMBLE, "2026-04-01")
    emploi = {f"{sien}.nature": "global", f"{sien}.membres[france_travail:ce].cote": "emploi"}
    assert "binome_incomplet" not in alertes(social | ENSEMBLE | emploi, "2026-04-01")


def test_le_premier_entretien_a_deux_est_attendu_sous_un_mois() -> None:
    assert alertes(BINOME, "2026-03-20") == {}
    assert alertes(BINOME, "2026-03-25") == {"binome_jamais_reuni": ("proche", "2026-04-01")}
    seul = ENSEMBLE | {"rendez_vous[departement:1].conjoint": False}
    assert "binome_jamais_reuni" in alertes(BINOME | seul, "2026-04-02")
    absente = ENSEMBLE | {"rendez_vous[departement:1].statut": "absent"}
    assert "binome_jamais_reuni" in alertes(BINOME | absente, "2026-04-02")
    avant = ENSEMBLE | {"rendez_vous[departement:1].debut": "2026-02-10T09:00:00Z"}
    assert "binome_jamais_reuni" in alertes(BINOME | avant, "2026-04-02")
    le_jour_meme_a_paris = ENSEMBLE | {"rendez_vous[departement:1].debut": "2026-03-01T23:30:00Z"}
    assert alertes(BINOME | le_jour_meme_a_paris, "2026-04-02") == {}
    recue = {"entretiens[ccas:4].date": "2026-03-12", "entretiens[ccas:4].conjoint": True}
    assert alertes(BINOME | recue, "2026-04-02") == {}


@pytest.mark.parametrize("choix", [{}, {f"{GLOBAL}.volontaire": False}])
def test_un_accompagnement_global_sans_le_choix_de_la_personne_est_signale(choix: dict[str, Any]) -> None:
    sans = {chemin: valeur for chemin, valeur in (BINOME | ENSEMBLE).items() if not chemin.endswith("volontaire")}
    assert set(alertes(sans | choix, "2026-03-05")) == {"binome_sans_accord"}
    social = sans | choix | {f"{GLOBAL}.nature": "social"}
    assert alertes(social, "2026-06-01") == {}


@pytest.mark.parametrize(
    ("tu", "attendu", "cote", "organisme"),
    [
        ("freins[logement].valeur", "freins", "social", "departement"),
        ("projets[france_travail:1].rome", "projet_professionnel", "emploi", "france_travail"),
        ("inscription_emploi.inscrit", "inscription_emploi", "emploi", "france_travail"),
    ],
)
def test_ce_qui_manque_a_l_autre_est_nomme_avec_qui_doit_le_dire(
    tu: str, attendu: str, cote: str, organisme: str
) -> None:
    membre = f"{GLOBAL}.membres[france_travail:ce].organisation.ref"
    sans = {chemin: valeur for chemin, valeur in (BINOME | ENSEMBLE).items() if chemin != tu}
    sans |= {membre: "france_travail"}
    assert alertes(sans, "2026-03-20") == {}
    (alerte,) = of("p", courant(sans), "2026-04-02")
    assert (alerte.code, alerte.state, alerte.due) == ("binome_information_manquante", "passe", "2026-04-01")
    (manque,) = alerte.line()["missing"]
    assert (manque["information"], manque["from"], manque["body"]) == (attendu, cote, organisme)
    assert alerte.line()["item"] == GLOBAL
    parti = sans | {f"{GLOBAL}.membres[france_travail:ce].jusqua": "2026-04-01"}
    (sans_personne,) = [une for une in of("p", courant(parti), "2026-04-02") if une.missing]
    assert ("body" in sans_personne.line()["missing"][0]) == (cote == "social")
    assert alertes(sans | {f"{GLOBAL}.nature": "social"}, "2026-04-02") == {}


def test_une_information_dite_par_l_autre_cote_ne_manque_plus() -> None:
    sans = {chemin: valeur for chemin, valeur in (BINOME | ENSEMBLE).items() if not chemin.startswith("freins")}
    assert "binome_information_manquante" in alertes(sans, "2026-04-02")
    assert alertes(sans | {"diagnostic.declare_sans_frein.valeur": True}, "2026-04-02") == {}
    assert alertes(sans | {"freins[mobilite].valeur": "cloture"}, "2026-04-02") == {}


def test_aucun_texte_d_alerte_ne_propose_de_sanction() -> None:
    for delai in delays().rules.values():
        dit = f"{delai.libelle} {delai.suite}".lower()
        assert not any(mot in dit for mot in ("sanction", "suspen", "suppr", "radi", "réduction")), delai.code


# --- steps and powers -------------------------------------------------------------------------------------------------


class Landes:
    def __init__(self, home: Path) -> None:
        self.gateway = Gateway.open(Settings(home=home, profile="test", departement="040"))
        self.jour = 0

    def dire(self, source: str, document: str, faits: dict[str, Any], cle: str = "r") -> Receipt:
        self.jour += 1
        dit = Record(cle, [PersonFacts(QUI | faits)], asserted_at=datetime(2026, 4, self.jour, tzinfo=UTC))
        if source == "caf":
            dit = Record(cle, [PersonFacts(QUI)], foyer=faits, asserted_at=dit.asserted_at)
        with self.gateway.unit_of_work() as work:
            (recu,) = exchange(work, self.gateway, Request(clock.new_id(), source, document, ()), [dit])
        self.personne = recu.persons[0]
        return recu

    def valeur(self, chemin: str) -> Any:
        with self.gateway.unit_of_work() as work:
            fait = self.gateway.dossiers.current(work, self.personne).get(chemin)
            return fait.value if fait else None

    def alertes(self, jour: str) -> tuple[list[dict[str, Any]], str]:
        """What `maillon alerts` prints: its lines, and its table."""
        chez = {"MAILLON_HOME": str(self.gateway.settings.home), "MAILLON_PROFILE": "test"}
        settings.cache_clear()
        try:
            dit = CliRunner().invoke(application(), ["alerts", "--on", jour], env=chez | {"COLUMNS": "200"})
        finally:
            settings.cache_clear()
        assert dit.exit_code == 0, dit.output
        return [json.loads(ligne) for ligne in dit.stdout.splitlines()], dit.stderr

    def attendent(self) -> list[tuple[str, str]]:
        with self.gateway.engine.connect() as connection:
            rows = connection.execute(select(quarantine.c.code, quarantine.c.path))
            return [(row.code, row.path) for row in rows]


@pytest.fixture
def landes(tmp_path: Path) -> Landes:
    une = Landes(tmp_path)
    une.dire("caf", "caf.flux_beneficiaire", DROIT)
    return une


ALI = "departement.webrsa_ali"


def test_lire_les_dossiers_n_arrete_personne(landes: Landes) -> None:
    lus = dossiers(landes.gateway)
    assert next(lus)[0] == landes.personne
    assert landes.dire("departement", ALI, {"personne.civilite": "madame"}).changed
    assert list(lus) == []


def test_le_delai_part_du_jour_qu_il_etait_a_paris() -> None:
    dit = courant(
        DROIT | {"droit_rsa.soumis_droits_devoirs": True, "droit_rsa.entree_droits_devoirs": True},
        "2026-03-31T22:30:00.000000Z",
    )
    assert [une.since for une in of("p", dit, "2026-06-01")] == ["2026-04-01"]


def test_une_etape_interdite_attend_un_humain_et_l_etat_reste(landes: Landes) -> None:
    landes.dire("departement", ALI, {f"{ICI}.etat": "terminee", f"{ICI}.fin": "2026-03-31"})
    recu = landes.dire("departement", ALI, {f"{ICI}.etat": "proposee", f"{ICI}.rang": 1})
    assert recu.status == "quarantined"
    assert landes.attendent() == [("illegal-transition", "orientations[].etat")]
    assert (landes.valeur(f"{ICI}.etat"), landes.valeur(f"{ICI}.rang")) == ("terminee", 1)


def test_le_departement_decide_et_termine(landes: Landes) -> None:
    for etat in ("en_attente", "proposee", "decidee", "terminee"):
        assert landes.dire("departement", ALI, {f"{ICI}.etat": etat}).status == "accepted"
    assert landes.valeur(f"{ICI}.etat") == "terminee"


@pytest.mark.parametrize("source", ["ccas", "france_travail"])
def test_un_autre_ne_decide_pas_pour_une_beneficiaire_du_rsa(landes: Landes, source: str) -> None:
    ici = f"orientations[{source}:9]"
    document = {"ccas": "ccas.fiche", "france_travail": "france_travail.lecture_orientation"}[source]
    recu = landes.dire(source, document, {f"{ici}.etat": "decidee", f"{ici}.organisme_accueil.nom": "CCAS de Dax"})
    assert recu.status == "quarantined"
    assert landes.valeur(f"{ici}.etat") is None
    assert landes.valeur(f"{ici}.organisme_accueil.nom") == "CCAS de Dax"
    assert landes.attendent() == [("decision-not-theirs", "orientations[].etat")]


def test_france_travail_rapporte_la_decision_du_departement(landes: Landes) -> None:
    ici = "orientations[france_travail:9]"
    dit = {f"{ici}.etat": "decidee", f"{ici}.organisme_decision.code_organisme_ft": "CD"}
    assert landes.dire("france_travail", "france_travail.lecture_orientation", dit).status == "accepted"
    assert landes.valeur(f"{ici}.etat") == "decidee"


def test_france_travail_oriente_quand_les_six_semaines_sont_passees(landes: Landes) -> None:
    landes.dire("departement", ALI, {"droit_rsa.date_droits_devoirs": "2026-01-05"})
    ici, document = "orientations[france_travail:9]", "france_travail.lecture_orientation"
    tot = {f"{ici}.etat": "decidee", f"{ici}.date_decision": "2026-02-16"}
    assert landes.dire("france_travail", document, tot).status == "quarantined"
    tard = {f"{ici}.etat": "decidee", f"{ici}.date_decision": "2026-02-17"}
    assert landes.dire("france_travail", document, tard).status == "accepted"


def test_un_ccas_ne_se_designe_pas_lui_meme(landes: Landes) -> None:
    ici = "accompagnements[ccas:1].membres[ccas:a]"
    seul = {f"{ici}.est_referent": True, f"{ici}.organisation.ref": "ccas", f"{ici}.depuis": "2026-03-01"}
    assert landes.dire("ccas", "ccas.fiche", seul).status == "quarantined"
    assert landes.valeur(f"{ici}.est_referent") is None
    landes.dire("departement", ALI, seul, cle="ali")
    assert landes.valeur(f"{ici}.est_referent") is True
    assert landes.dire("ccas", "ccas.fiche", seul | {f"{ici}.cote": "social"}).status == "accepted"


def test_nul_autre_que_le_departement_ne_valide_un_contrat(landes: Landes) -> None:
    ici = "contrats[ccas:4]"
    assert landes.dire("ccas", "ccas.fiche", {f"{ici}.decision": "valide"}).status == "quarantined"
    assert landes.valeur(f"{ici}.decision") is None
    assert landes.dire("departement", ALI, {f"{ici}.decision": "valide"}).status == "accepted"


def test_les_alertes_se_lisent_pour_tous(landes: Landes) -> None:
    landes.dire("departement", ALI, DECIDEE)
    lignes, dit = landes.alertes("2026-05-01")
    assert [ligne["alert"] for ligne in lignes] == ["rupture_parcours", "contrat_engagement"]
    assert all(set(ligne) == {"person", "alert", "state", "since", "due", "article", "item"} for ligne in lignes)
    assert "Contrat d'engagement" in dit


def test_deux_organismes_qui_se_contredisent_sont_signales_et_rien_n_est_corrige(landes: Landes) -> None:
    debuts = {f"{ICI}.debut": "2026-03-02", "orientations[departement:40:2].debut": "2026-04-01"}
    landes.dire("departement", ALI, DECIDEE | debuts | {"orientations[departement:40:2].etat": "decidee"})
    lignes, dit = landes.alertes("2026-03-03")
    assert [ligne for ligne in lignes if "contradiction" in ligne] == [
        {
            "person": landes.personne,
            "contradiction": "overlap",
            "path": "orientations[].fin",
            "why": "the earlier one ends the day before the later one starts",
        }
    ]
    assert "orientations qui se chevauchent" in dit
    assert landes.valeur(f"{ICI}.fin") is None
