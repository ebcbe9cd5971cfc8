"""The directory: organisations, services, places, professionals and their postings."""

from __future__ import annotations

from typing import Literal

from schemas.champ import Modele, champ, detail
from schemas.types import Code, Date, Decimale, Ref, Texte

NatureOrganisation = Literal[
    "departement", "service_social", "sst", "ccas", "cias", "commune", "france_travail", "mission_locale",
    "cap_emploi", "caf", "msa", "etat", "association", "siae", "autre",
]  # fmt: skip
CodeOrganismeFt = Literal["CD", "DCD", "FT", "ML", "CE", "IND"]
RoleProfessionnel = Literal[
    "assistant_social", "cesf", "referent_social_ag", "conseiller_emploi", "cae", "referent_solidarite",
    "agent_accueil", "instructeur", "responsable_structure",
]  # fmt: skip


class OrganismeCite(Modele):
    """An organisation as a dossier names it: enough for any recipient to recognise it in its own directory."""

    ref: Ref | None = detail("Identifiant chez l'organisme qui la nomme")
    nom: Texte | None = detail("Nom")
    nature: NatureOrganisation | None = detail("Nature")
    siret: Texte | None = detail("SIRET", pattern=r"^\d{14}$")
    code_organisme_ft: CodeOrganismeFt | None = detail("Type d'organisme pour France Travail")
    code_aurore: Texte | None = detail("Code structure Aurore")
    code_safir: Texte | None = detail("Code structure Safir (abandonné, encore lu)")


class ProfessionnelCite(Modele):
    """A professional as a dossier names her."""

    ref: Ref | None = detail("Identifiant chez l'organisme qui la nomme")
    nom: Texte | None = detail("Nom")
    prenom: Texte | None = detail("Prénom")
    civilite: Literal["madame", "monsieur"] | None = detail("Civilité")
    courriel: Texte | None = detail("Courriel professionnel")
    telephone: Texte | None = detail("Téléphone professionnel")
    role: RoleProfessionnel | None = detail("Métier")


class Organisation(Modele):
    id: Ref = champ("annuaire", "T0", "M", "Identifiant", default=...)
    nom: Texte | None = champ("annuaire", "T0", "D", "Nom d'usage")
    alias: list[Texte] | None = champ("annuaire", "T0", "M", "Anciens noms")
    siret: Texte | None = champ("annuaire", "T0", "D", "SIRET", pattern=r"^\d{14}$")
    id_data_inclusion: Texte | None = champ("annuaire", "T0", "M", "Identifiant data·inclusion")
    nature: NatureOrganisation | None = champ("annuaire", "T0", "D", "Nature")
    parent: Ref | None = champ("annuaire", "T0", "D", "Organisation dont elle dépend")
    delegue_par: Ref | None = champ("annuaire", "T0", "D", "Département qui lui délègue une mission")
    perimetre: list[Texte] | None = champ("annuaire", "T0", "D", "Communes, EPCI ou Départements (codes COG)")
    code_organisme_ft: CodeOrganismeFt | None = champ("annuaire", "T0", "F", "Type pour France Travail")
    code_aurore: Texte | None = champ("annuaire", "T0", "F", "Code structure Aurore")
    code_safir: Texte | None = champ("annuaire", "T0", "F", "Code structure Safir (abandonné)")
    nature_sensible: bool | None = champ(
        "annuaire", "T0", "D", "Nom et nature remplacés par « autre » hors de l'organisation"
    )


class Capacite(Modele):
    places: int | None = detail("Places", ge=0)
    au: Date | None = detail("À cette date")


class Service(Modele):
    """A service of the catalogue, in the fields of data·inclusion v1."""

    id: Ref = champ("annuaire", "T0", "M", "Identifiant", default=...)
    source: Texte | None = champ("annuaire", "T0", "M", "Source data·inclusion")
    structure_id: Ref | None = champ("annuaire", "T0", "D", "Organisation qui l'offre")
    nom: Texte | None = champ("annuaire", "T0", "D", "Nom")
    description: Texte | None = champ("annuaire", "T0", "D", "Description")
    lien_source: Texte | None = champ("annuaire", "T0", "D", "Page d'origine")
    date_maj: Date | None = champ("annuaire", "T0", "D", "Mise à jour")
    type: Code | None = champ("annuaire", "T0", "D", "Type de service", liste="data_inclusion/types")
    thematiques: list[Code] | None = champ("annuaire", "T0", "D", "Thématiques", liste="data_inclusion/thematiques")
    frais: Code | None = champ("annuaire", "T0", "D", "Frais", liste="data_inclusion/frais")
    frais_precisions: Texte | None = champ("annuaire", "T0", "D", "Frais : précisions")
    publics: list[Code] | None = champ("annuaire", "T0", "D", "Publics", liste="data_inclusion/publics")
    publics_precisions: Texte | None = champ("annuaire", "T0", "D", "Publics : précisions")
    conditions_acces: Texte | None = champ("annuaire", "T0", "D", "Conditions d'accès")
    commune: Texte | None = champ("annuaire", "T0", "D", "Commune")
    code_postal: Texte | None = champ("annuaire", "T0", "D", "Code postal", pattern=r"^\d{5}$")
    code_insee: Texte | None = champ("annuaire", "T0", "D", "Code INSEE", pattern=r"^(\d{5}|2[AB]\d{3})$")
    adresse: Texte | None = champ("annuaire", "T0", "D", "Adresse")
    telephone: Texte | None = champ("annuaire", "T0", "D", "Téléphone")
    courriel: Texte | None = champ("annuaire", "T0", "D", "Courriel")
    modes_accueil: list[Code] | None = champ(
        "annuaire", "T0", "D", "Modes d'accueil", liste="data_inclusion/modes_accueil"
    )
    modes_mobilisation: list[Code] | None = champ(
        "annuaire", "T0", "D", "Modes de mobilisation", liste="data_inclusion/modes_mobilisation"
    )
    mobilisable_par: list[Code] | None = champ(
        "annuaire", "T0", "D", "Mobilisable par", liste="data_inclusion/mobilisable_par"
    )
    mobilisation_precisions: Texte | None = champ("annuaire", "T0", "D", "Mobilisation : précisions")
    zone_eligibilite: list[Texte] | None = champ("annuaire", "T0", "D", "Territoires éligibles (codes COG)")
    volume_horaire_hebdomadaire: Decimale | None = champ("annuaire", "T0", "D", "Heures par semaine")
    nombre_semaines: int | None = champ("annuaire", "T0", "D", "Nombre de semaines", ge=0)
    horaires_accueil: Texte | None = champ("annuaire", "T0", "D", "Horaires (OpenStreetMap)")
    contact_nom_prenom: Texte | None = champ("annuaire", "T1", "D", "Personne à contacter")
    lien_mobilisation: Texte | None = champ("annuaire", "T0", "D", "Formulaire de mobilisation")
    capacite: Capacite | None = champ("annuaire", "T0", "D", "Places disponibles")


class Lieu(Modele):
    """A place of reception. `domicile` carries no address."""

    id: Ref = champ("annuaire", "T0", "M", "Identifiant", default=...)
    libelle: Texte | None = champ("annuaire", "T0", "D", "Nom du lieu")
    adresse: Texte | None = champ("annuaire", "T0", "D", "Adresse, jamais celle d'une personne")
    nature: Literal["agence", "cms", "mairie", "france_services", "point_accueil", "domicile", "partenaire"] | None = (
        champ("annuaire", "T0", "D", "Nature du lieu")
    )


class Professionnel(Modele):
    id: Ref = champ("annuaire", "T0", "M", "Identifiant", default=...)
    nom: Texte | None = champ("annuaire", "T1", "D", "Nom")
    prenom: Texte | None = champ("annuaire", "T1", "D", "Prénom")
    courriel: Texte | None = champ("annuaire", "T1", "D", "Courriel professionnel")
    telephone: Texte | None = champ("annuaire", "T1", "D", "Téléphone professionnel")
    role: RoleProfessionnel | None = champ("annuaire", "T0", "D", "Métier")
    organisation: Ref | None = champ("annuaire", "T0", "D", "Employeur")
    actif: bool | None = champ("annuaire", "T0", "D", "En poste")


class Affectation(Modele):
    """A posting: who employs, who receives, who directs, where and for which share of the time."""

    id: Ref = champ("annuaire", "T0", "M", "Identifiant", default=...)
    professionnel: Ref | None = champ("annuaire", "T1", "D", "Professionnel")
    employeur: Ref | None = champ("annuaire", "T0", "D", "Employeur")
    organisation_accueil: Ref | None = champ("annuaire", "T0", "D", "Organisation d'accueil")
    autorite_fonctionnelle: Ref | None = champ("annuaire", "T0", "D", "Autorité fonctionnelle")
    lieux: list[Ref] | None = champ("annuaire", "T0", "D", "Lieux")
    quotite: Decimale | None = champ(
        "annuaire", "T0", "D", "Part du temps, de 0 à 1", pattern=r"^(0(\.\d+)?|1(\.0+)?)$"
    )
    operation_financee: Ref | None = champ("annuaire", "T0", "D", "Opération qui finance le poste")
    debut: Date | None = champ("annuaire", "T0", "D", "Début")
    fin: Date | None = champ("annuaire", "T0", "D", "Fin")
