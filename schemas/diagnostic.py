"""The shared diagnosis: freins and their situations, needs, objectives, working life.

The sections are owned: the social side writes social freins, France Travail writes projects and needs. `non_aborde`
is the absence of information, never a « no ».
"""

from __future__ import annotations

from typing import Literal

from schemas.champ import Modele, champ, collection, detail
from schemas.types import Code, Date, DatePartielle, Decimale, Instant, Ref, Texte, TexteCourt

OuiNonNsp = Literal["oui", "non", "ne_sait_pas"]


class DeclareSansFrein(Modele):
    valeur: bool | None = detail("La personne déclare n'avoir aucun frein")
    le: Instant | None = detail("Déclaré le")


class PouvoirAgir(Modele):
    confiance: OuiNonNsp | None = detail("A confiance dans sa capacité à agir")
    accompagnement: OuiNonNsp | None = detail("Souhaite un accompagnement sur ce point")
    analyse: Texte | None = detail("Analyse partagée avec la personne")
    explore_le: Instant | None = detail("Exploré le")


class Validation(Modele):
    par: Ref | None = champ("accompagnement", "T2", "DFSP", "Qui a validé")
    le: Instant | None = champ("accompagnement", "T2", "DFSP", "Validé le")


class Diagnostic(Modele):
    """The diagnosis as a whole. Digital autonomy is the frein `numerique` and the need
    `utiliser_services_numeriques`: it has no field of its own."""

    version: int | None = champ("accompagnement", "T2", "M", "Version du diagnostic", ge=1)
    ouvert_par: Ref | None = champ("accompagnement", "T2", "M", "Organisme qui l'a ouvert")
    ouvert_le: Instant | None = champ("accompagnement", "T2", "M", "Ouvert le")
    etat: Literal["brouillon", "partage", "valide", "a_revoir", "clos"] | None = champ(
        "accompagnement", "T2", "L", "État du diagnostic"
    )
    entretien_conjoint: Ref | None = champ("entretien", "T2", "L", "Entretien conjoint où il a été fait")
    prochaine_revue: Date | None = champ("accompagnement", "T2", "L", "Prochaine revue")
    priorite: Literal["normale", "elevee", "urgente"] | None = champ("accompagnement", "T2", "L", "Priorité")
    collecte: Literal["a_collecter", "collectee", "refusee"] | None = champ(
        "accompagnement", "T2", "C", "Recueil des données socio-professionnelles : fait, à faire ou refusé"
    )
    declare_sans_frein: DeclareSansFrein | None = champ("frein_theme", "T2", "E", "Déclare n'avoir aucun frein")
    pouvoir_agir: PouvoirAgir | None = champ("accompagnement", "T2", "F", "Confiance et capacité à agir")
    atouts: list[Texte] | None = champ("parcours_pro", "T2", "EP", "Atouts et points forts")
    commentaire_personne: Texte | None = champ("accompagnement", "T2", "P", "Commentaire de la personne")
    validations: dict[str, Validation] = collection(
        "social, emploi ou personne", "Validations du diagnostic", motif="social|emploi|personne"
    )


class Situation(Modele):
    """One precise situation behind a frein. At T3 its category is its theme's (see `schemas.paths.categorie`)."""

    valeur: Literal["oui", "non", "non_aborde"] | None = champ(
        "frein_situation", "T2", "E", "La situation est présente"
    )
    explore_le: Instant | None = champ("frein_situation", "T2", "E", "Explorée le")
    explore_par: Ref | None = champ("frein_situation", "T2", "E", "Explorée par")


class Frein(Modele):
    """An obstacle to employment (France Travail: contrainte); its theme is the key of the item."""

    valeur: Literal["non_aborde", "present", "absent", "cloture"] | None = champ(
        "frein_theme", "T2", "E", "Le frein est présent, absent, clos ou pas abordé"
    )
    impact: Literal["fort", "moyen", "faible", "non_renseigne"] | None = champ(
        "frein_theme", "T2", "E", "Impact sur la recherche d'emploi"
    )
    prioritaire: bool | None = champ("frein_theme", "T2", "E", "À traiter en priorité")
    anciennete: Texte | None = champ("frein_theme", "T2", "E", "Depuis quand")
    bloque_emploi: bool | None = champ("frein_theme", "T2", "L", "À lever avant la recherche active")
    explore_le: Instant | None = champ("frein_theme", "T2", "E", "Exploré le")
    explore_par: Ref | None = champ("frein_theme", "T2", "E", "Exploré par")
    situations: dict[str, Situation] = collection(
        "code de la situation", "Situations précises", liste="crosswalk/freins_situations"
    )


class Besoin(Modele):
    valeur: Literal["besoin", "point_fort", "non_explore"] | None = champ(
        "parcours_pro", "T2", "F", "Besoin, point fort ou pas exploré"
    )
    explore_le: Instant | None = champ("parcours_pro", "T2", "F", "Exploré le")
    explore_par: Ref | None = champ("parcours_pro", "T2", "F", "Exploré par")


class Objectif(Modele):
    """At T3 its category is its theme's (see `schemas.paths.categorie`)."""

    texte: Texte | None = champ("objectif_action", "T2", "E", "Objectif, avec les mots convenus")
    frein: Code | None = champ("objectif_action", "T2", "E", "Frein qu'il lève", liste="crosswalk/freins")
    besoin: Code | None = champ("objectif_action", "T2", "E", "Besoin auquel il répond", liste="crosswalk/besoins")
    statut: Code | None = champ("objectif_action", "T2", "E", "Statut", liste="crosswalk/statuts_objectif")
    echeance: Date | None = champ("objectif_action", "T2", "E", "Échéance")
    cote: Literal["social", "emploi"] | None = champ("objectif_action", "T2", "E", "Côté qui le porte")
    contrat: Ref | None = champ("objectif_action", "T2", "E", "Contrat qui le contient")
    accord_personne_le: Date | None = champ("objectif_action", "T2", "P", "Accord de la personne, le")
    prealable_a: list[Code] | None = champ(
        "objectif_action", "T2", "E", "Objectifs qui l'attendent", liste="crosswalk/objectifs"
    )
    explore_le: Instant | None = champ("objectif_action", "T2", "E", "Mis à jour le")
    explore_par: Ref | None = champ("objectif_action", "T2", "E", "Mis à jour par")


class Diplome(Modele):
    intitule: Texte | None = champ("parcours_pro", "T2", "F", "Intitulé")
    annee: DatePartielle | None = champ("parcours_pro", "T2", "F", "Année d'obtention")
    etranger: bool | None = champ("parcours_pro", "T2", "F", "Obtenu à l'étranger")
    reconnu_en_france: bool | None = champ("parcours_pro", "T2", "F", "Reconnu en France")


class Experience(Modele):
    rome: Code | None = champ("parcours_pro", "T2", "F", "Métier (code ROME)", pattern=r"^[A-Z]\d{4}$")
    appellation: Texte | None = champ("parcours_pro", "T2", "F", "Appellation du métier")
    debut: DatePartielle | None = champ("parcours_pro", "T2", "F", "Début")
    duree: Texte | None = champ("parcours_pro", "T2", "F", "Durée, en clair")


class ParcoursPro(Modele):
    """Working life: situation, level of study, mobility means. The level kept is the diploma obtained."""

    situation_emploi: (
        Literal[
            "en_emploi", "independant", "en_formation", "etudiant", "sans_emploi", "retraite", "au_foyer",
            "inactif", "autre",
        ]
        | None
    ) = champ("parcours_pro", "T2", "FP", "Situation vis-à-vis de l'emploi")  # fmt: skip
    situation_emploi_depuis: DatePartielle | None = champ("parcours_pro", "T2", "FP", "Depuis")
    situation_emploi_jusqua: DatePartielle | None = champ("parcours_pro", "T2", "FP", "Jusqu'à")
    derniere_activite: Code | None = champ(
        "parcours_pro", "T2", "FP", "Dernière activité professionnelle",
        liste="france_travail/orientation_situation_professionnelle",
    )  # fmt: skip
    historique: Code | None = champ("parcours_pro", "T2", "E", "Historique professionnel déclaré", liste="dsp/HISPRO")
    type_emploi: Code | None = champ(
        "parcours_pro", "T2", "F", "Statut d'emploi particulier", liste="france_travail/orientation_type_emploi"
    )
    projet: Code | None = champ(
        "parcours_pro", "T2", "FP", "Nature du projet professionnel", liste="france_travail/orientation_projet_pro"
    )
    niveau_etude: Code | None = champ(
        "parcours_pro", "T2", "PE", "Diplôme le plus élevé obtenu", liste="crosswalk/niveau_etude"
    )
    derniere_classe: Code | None = champ("parcours_pro", "T2", "PE", "Dernière classe suivie", liste="dsp/NIVETU")
    annee_diplome: DatePartielle | None = champ("parcours_pro", "T2", "PE", "Année du diplôme le plus élevé")
    a_qualifications: bool | None = champ("parcours_pro", "T2", "PE", "A une qualification professionnelle")
    qualifications: TexteCourt | None = champ("parcours_pro", "T2", "PE", "Qualifications professionnelles")
    a_competences_extrapro: bool | None = champ("parcours_pro", "T2", "PE", "A des compétences hors du travail")
    competences_extrapro: TexteCourt | None = champ("parcours_pro", "T2", "PE", "Compétences hors du travail")
    permis: list[Code] | None = champ("frein_situation", "T2", "E", "Permis de conduire")
    vehicule: bool | None = champ("frein_situation", "T2", "E", "Dispose d'un véhicule")
    moyens_transport: list[Code] | None = champ(
        "frein_situation", "T2", "E", "Moyens de transport", liste="dsp/MOYTRANS"
    )
    zones_mobilite: list[Code] | None = champ("frein_situation", "T2", "E", "Zones acceptées", liste="dsp/NATMOB")
    capacite_a_travailler: bool | None = champ("sante", "T3", "FP", "Capacité à travailler")
    boe: bool | None = champ("sante", "T3", "FP", "Bénéficiaire de l'obligation d'emploi")
    boe_souhait_accompagnement: bool | None = champ("sante", "T3", "P", "Souhaite un accompagnement adapté")
    baeeh: bool | None = champ("sante", "T3", "FP", "Bénéficiaire de l'allocation d'éducation de l'enfant handicapé")
    scolarite_etablissement_specialise: bool | None = champ("sante", "T3", "FP", "Scolarité en milieu spécialisé")
    esat: bool | None = champ("sante", "T3", "FP", "Orientation en ESAT")
    msa_autonomie_recherche_emploi: int | None = champ("parcours_pro", "T2", "C", "Autonomie de recherche (MSA)", ge=0)
    msa_demarches_professionnelles: Code | None = champ(
        "parcours_pro", "T2", "C", "Démarches professionnelles (MSA)",
        liste="france_travail/orientation_msa_demarches_professionnelles",
    )  # fmt: skip
    diplomes: dict[str, Diplome] = collection("identifiant du diplôme", "Diplômes")
    experiences: dict[str, Experience] = collection("identifiant de l'expérience", "Expériences professionnelles")


class Projet(Modele):
    """A professional project explored with France Travail."""

    rome: Code | None = champ("parcours_pro", "T2", "F", "Métier visé (code ROME v4)", pattern=r"^[A-Z]\d{4}$")
    appellation: Texte | None = champ("parcours_pro", "T2", "F", "Appellation, en clair")
    code_appellation: Code | None = champ("parcours_pro", "T2", "F", "Code de l'appellation ROME")
    typologie: Literal["metier_recherche", "a_definir", "creation", "evolution"] | None = champ(
        "parcours_pro", "T2", "F", "Genre de projet"
    )
    statut: Literal["en_cours", "clos"] | None = champ("parcours_pro", "T2", "F", "Statut du projet")
    contrats: list[Code] | None = champ("parcours_pro", "T2", "F", "Contrats recherchés")
    temps_travail: Literal["plein", "partiel", "indifferent"] | None = champ(
        "parcours_pro", "T2", "F", "Temps de travail recherché"
    )
    rayon_mobilite_km: int | None = champ("parcours_pro", "T2", "F", "Rayon de mobilité en km", ge=0, le=20_000)
    salaire_min: Decimale | None = champ("parcours_pro", "T2", "F", "Salaire minimum mensuel brut, en euros")
    prioritaire: bool | None = champ("parcours_pro", "T2", "F", "Projet prioritaire")
    maj_le: Instant | None = champ("parcours_pro", "T2", "F", "Mis à jour le")
