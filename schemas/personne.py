"""The person: civil status, contact, addresses, identifiers."""

from __future__ import annotations

from typing import Literal

from schemas.champ import Modele, champ, collection, detail
from schemas.types import Code, Date, DatePartielle, Instant, Texte, TexteCourt

SYSTEMES = (
    "nir", "caf_matricule", "msa_numero", "ft_numero", "ft_idassedic", "ft_id_national", "si_departement",
    "mss_dossier", "rdvs_usager", "rdvi_usager", "carnet", "dossier",
)  # fmt: skip
"""Systems that name a person. `si_departement` is scoped by Département (`si_departement:40`); `dossier` is the file
number in any other software, scoped by it or by its body (`dossier:mon_logiciel`)."""

AccordCanal = Literal["accord", "refus", "inconnu"]
"""The person's agreement to be reached through one channel (CNAF AUTORUTITEL, AUTORUTIADRELEC)."""


class LieuNaissance(Modele):
    code_insee: Texte | None = detail("Code INSEE de la commune de naissance", pattern=r"^(\d{5}|2[AB]\d{3})$")
    code_pays: Texte | None = detail("Code INSEE du pays de naissance, hors de France", pattern=r"^\d{5}$")
    libelle: Texte | None = detail("Commune ou pays de naissance, en clair")


class Rqth(Modele):
    """Reconnaissance de la qualité de travailleur handicapé."""

    etat: Literal["oui", "non", "en_cours", "non_demande"] | None = detail("La personne a-t-elle la reconnaissance ?")
    debut: Date | None = detail("Début de la reconnaissance")
    fin: Date | None = detail("Fin de la reconnaissance")
    source: Texte | None = detail("Qui l'a établie")


class Telephone(Modele):
    numero: Texte | None = champ(
        "contact", "T1", "P", "Numéro au format international", cle=True, pattern=r"^\+[1-9]\d{6,14}$"
    )
    nature: Literal["portable", "fixe", "professionnel", "message", "autre"] | None = champ(
        "contact", "T1", "P", "Genre de numéro"
    )
    autorisation: AccordCanal | None = champ("contact", "T1", "P", "Accord de la personne pour ce numéro")
    rang: int | None = champ("contact", "T1", "P", "Ordre de préférence", ge=1)
    maj_le: Instant | None = champ("contact", "T1", "P", "Dernière modification à la source")
    confirme_le: Instant | None = champ("contact", "T1", "P", "Dernière confirmation par la personne")


class Courriel(Modele):
    adresse: Texte | None = champ("contact", "T1", "P", "Adresse électronique", cle=True, pattern=r"^[^@\s]+@[^@\s]+$")
    autorisation: AccordCanal | None = champ("contact", "T1", "P", "Accord de la personne pour cette adresse")
    rang: int | None = champ("contact", "T1", "P", "Ordre de préférence", ge=1)
    maj_le: Instant | None = champ("contact", "T1", "P", "Dernière modification à la source")
    confirme_le: Instant | None = champ("contact", "T1", "P", "Dernière confirmation par la personne")


NATURES_ADRESSE = ("residence", "correspondance", "domiciliation")


class Adresse(Modele):
    lignes: list[Texte] | None = champ("adresse", "T1", "CP", "Lignes de l'adresse, sans code postal ni commune")
    complement: Texte | None = champ("adresse", "T1", "CP", "Complément (bâtiment, étage, chez…)")
    numero_voie: Texte | None = champ("adresse", "T1", "CP", "Numéro dans la voie")
    type_voie: Texte | None = champ("adresse", "T1", "CP", "Type de voie, en clair")
    nom_voie: Texte | None = champ("adresse", "T1", "CP", "Nom de la voie")
    lieu_dit: Texte | None = champ("adresse", "T1", "CP", "Lieu-dit")
    code_postal: Texte | None = champ("adresse", "T1", "CP", "Code postal, cinq chiffres", pattern=r"^\d{5}$")
    code_insee: Texte | None = champ("adresse", "T1", "C", "Code INSEE de la commune", pattern=r"^(\d{5}|2[AB]\d{3})$")
    libelle_commune: Texte | None = champ("adresse", "T1", "C", "Commune")
    pays: Texte | None = champ("adresse", "T1", "C", "Pays, en clair")
    id_ban: Texte | None = champ("adresse", "T1", "M", "Identifiant de la base adresse nationale")
    sans_domicile_fixe: bool | None = champ("logement", "T3", "C", "La personne est sans domicile fixe")
    resident_qpv: bool | None = champ("fse", "T2", "F", "Habite un quartier prioritaire de la ville")
    valable_depuis: Date | None = champ("adresse", "T1", "C", "Adresse valable depuis")
    valable_jusqua: Date | None = champ("adresse", "T1", "C", "Adresse valable jusqu'à")


class IdentifiantPersonne(Modele):
    """An identifier; its system is the key of the item. The NIR's category is `nir` (see `schemas.paths`)."""

    valeur: Texte | None = champ("identifiants", "T1", "CFDM", "Identifiant tel que reçu")
    valeur_normalisee: Texte | None = champ("identifiants", "T1", "M", "Identifiant normalisé, pour comparer")
    controle: Literal["valide", "invalide", "non_verifiable"] | None = champ(
        "identifiants", "T1", "M", "Résultat du contrôle de forme et de clé"
    )
    portee: Texte | None = champ("identifiants", "T1", "M", "Portée de l'identifiant (Département, structure)")
    valable_depuis: Date | None = champ("identifiants", "T1", "CFD", "Valable depuis")
    valable_jusqua: Date | None = champ("identifiants", "T1", "CFD", "Valable jusqu'à")


class Personne(Modele):
    nom_naissance: Texte | None = champ("identite", "T1", "CL", "Nom de naissance")
    nom_usage: Texte | None = champ("identite", "T1", "PL", "Nom d'usage")
    prenoms: list[Texte] | None = champ("identite", "T1", "C", "Prénoms, dans l'ordre de l'état civil")
    prenom_usage: Texte | None = champ("identite", "T1", "P", "Prénom d'usage")
    date_naissance: DatePartielle | None = champ("identite", "T1", "C", "Date de naissance, partielle si besoin")
    rang_naissance: int | None = champ("identite", "T1", "C", "Rang de naissance (jumeaux)", ge=1, le=9)
    lieu_naissance: LieuNaissance | None = champ("identite", "T1", "C", "Lieu de naissance")
    sexe_etat_civil: Literal["masculin", "feminin"] | None = champ("identite", "T1", "C", "Sexe à l'état civil")
    genre_declare: Texte | None = champ("identite", "T1", "P", "Genre déclaré, avec les mots de la personne")
    civilite: Literal["madame", "monsieur"] | None = champ("identite", "T1", "L", "Civilité")
    nationalite_groupe: Literal["france", "ue_eee_suisse", "autre"] | None = champ(
        "fse", "T3", "C", "Groupe de nationalité"
    )
    date_deces: Date | None = champ("identite", "T1", "SC", "Date de décès")
    identite_certifiee: bool | None = champ("identite", "T1", "CF", "État civil certifié par l'organisme")
    role_foyer: Literal["demandeur", "conjoint", "enfant", "autre", "responsable_dossier"] | None = champ(
        "foyer", "T1", "C", "Rôle de la personne dans le foyer"
    )
    a_charge: bool | None = champ("foyer", "T1", "C", "Personne à charge du foyer")
    preference_contact: Literal["telephone", "courriel", "sms", "courrier", "par_referent"] | None = champ(
        "contact", "T1", "P", "Moyen de contact préféré"
    )
    besoins_communication: TexteCourt | None = champ(
        "contact", "T2", "P", "Langue, interprète, aide à la lecture : ce qu'il faut pour se comprendre"
    )
    ce_qui_compte_pour_moi: TexteCourt | None = champ(
        "accompagnement", "T2", "P", "Ce qui compte pour moi, écrit par la personne"
    )
    publics: list[Code] | None = champ(
        "accompagnement", "T2", "ME", "Publics auxquels la personne appartient", liste="data_inclusion/publics"
    )
    rqth: Rqth | None = champ("sante", "T3", "FP", "Reconnaissance de travailleur handicapé")
    telephones: dict[str, Telephone] = collection(
        "numéro au format international", "Téléphones", motif=r"\+[1-9]\d{6,14}", personnelle=True
    )
    courriels: dict[str, Courriel] = collection(
        "adresse en minuscules", "Courriels", motif=r"[^@\s\[\]]+@[^@\s\[\]]+", personnelle=True
    )
    adresses: dict[str, Adresse] = collection("nature de l'adresse", "Adresses", motif="|".join(NATURES_ADRESSE))
