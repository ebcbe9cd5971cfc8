"""What the dossier must hold, told from the households themselves and not from the files: an independent reading."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from connectors.caf.synthese.foyers import FoyerRsa, Individu

ETATS = {
    "0": "demande_en_attente", "1": "refuse", "2": "ouvert_versable", "3": "ouvert_suspendu",
    "4": "ouvert_versement_suspendu", "5": "clos", "6": "clos_anterieur",
}  # fmt: skip
OUVERTS = "0234"
ROLES = {"DEM": "demandeur", "CJT": "conjoint", "RDO": "responsable_dossier", "ENF": "enfant", "AUT": "autre"}
SITUATIONS = {
    "CEL": "celibataire", "MAR": "marie", "PAC": "pacse", "VIM": "concubinage", "DIV": "divorce",
    "SEF": "separe", "SEL": "separe", "VEU": "veuf", "ABA": "abandonne", "ISO": "separe",
}  # fmt: skip
SANTE = {"44", "97"}
REFUS_SANTE = {"F97"}


def qui(personne: Individu) -> tuple[str, str, str]:
    """A person of the synthetic world, whatever the household she is in."""
    return personne.nom_naissance, personne.prenom, personne.naissance.isoformat()


def foyer_de_chacun(monde: Iterable[FoyerRsa]) -> dict[tuple[str, str, str], tuple[FoyerRsa, Individu]]:
    """Each adult with the household that is hers today: the open one, else the last."""
    chez: dict[tuple[str, str, str], tuple[FoyerRsa, Individu]] = {}
    for foyer in monde:
        for personne in foyer.adultes:
            deja = chez.get(qui(personne))
            if deja is None or foyer.etat in OUVERTS or deja[0].etat not in OUVERTS:
                chez[qui(personne)] = foyer, personne
    return chez


def faits(foyer: FoyerRsa, personne: Individu) -> dict[str, Any]:
    """Every canonical fact the caisse knows of this adult, but the reference date of the file that told it."""
    dit: dict[str, Any] = {}
    for partie in (_identite, _foyer, _adresse, _droit):
        dit |= partie(foyer, personne)
    return {chemin: valeur for chemin, valeur in dit.items() if valeur not in (None, "", [])}


def _identite(foyer: FoyerRsa, p: Individu) -> dict[str, Any]:
    naissance = p.naissance.isoformat()
    return {
        "personne.civilite": "madame" if p.sexe == "2" else "monsieur",
        "personne.nom_usage": p.nom,
        "personne.nom_naissance": p.nom_naissance,
        "personne.prenoms": [p.prenom, *p.autres_prenoms],
        "personne.lieu_naissance.libelle": p.commune_naissance,
        "personne.date_naissance": {"J": naissance[:7], "O": naissance[:4]}.get(p.precision, naissance),
        "personne.rang_naissance": p.rang,
        "personne.identite_certifiee": p.certifie,
        "personne.sexe_etat_civil": "feminin" if p.sexe == "2" else "masculin",
        "identifiants[nir].valeur": p.nir,
        "identifiants[ft_idassedic].valeur": p.idassedic,
        "personne.role_foyer": ROLES[p.role],
        "personne.a_charge": False,
        "droit_rsa.soumis_droits_devoirs": p.soumis,
        "droit_rsa.entree_droits_devoirs": p.entrant if p.soumis is not None else None,
        "droit_rsa.numero_demande_precedent": p.demande_precedente,
    }


def _foyer(foyer: FoyerRsa, _p: Individu) -> dict[str, Any]:
    numero = foyer.matricule
    if foyer.organisme == "caf":
        numero = numero[:7]
    elif numero in {membre.nir for membre in foyer.personnes}:
        numero = ""  # a matricule that is a NIR is not kept; the others are fifteen characters, zeros included
    dit: dict[str, Any] = {
        "foyer.organisme": foyer.organisme,
        "foyer.code_organisme": foyer.caisse,
        "foyer.matricule": numero,
        "foyer.situation_familiale": SITUATIONS[foyer.situation],
        "foyer.situation_familiale_depuis": foyer.situation_depuis.isoformat(),
        "foyer.nb_personnes_a_charge": foyer.a_charge,
    }
    for rang, membre in enumerate(foyer.personnes, 1):
        dit[f"foyer.membres[caf:{rang}].role"] = ROLES[membre.role]
        dit[f"foyer.membres[caf:{rang}].depuis"] = membre.depuis.isoformat()
        dit[f"foyer.membres[caf:{rang}].jusqua"] = membre.jusqua.isoformat() if membre.jusqua else None
    return dit


def _adresse(foyer: FoyerRsa, _p: Individu) -> dict[str, Any]:
    ou, ici = foyer.adresses[0], "personne.adresses[residence]"
    dit: dict[str, Any] = {
        f"{ici}.valable_depuis": ou.depuis.isoformat(),
        f"{ici}.sans_domicile_fixe": foyer.sans_domicile,
    }
    if ou.pays != "FRA":
        return dit | {f"{ici}.lignes": [ligne for ligne in ou.lignes if ligne]}
    voie = " ".join(part for part in (ou.numero, ou.type_voie, ou.voie) if part)
    return dit | {
        f"{ici}.lignes": [ligne for ligne in (ou.complement, voie, ou.lieu_dit) if ligne],
        f"{ici}.numero_voie": ou.numero,
        f"{ici}.type_voie": ou.type_voie,
        f"{ici}.nom_voie": ou.voie,
        f"{ici}.lieu_dit": ou.lieu_dit,
        f"{ici}.code_insee": ou.commune,
        f"{ici}.code_postal": ou.code_postal,
        f"{ici}.libelle_commune": ou.libelle_commune,
    }


def _droit(foyer: FoyerRsa, _p: Individu) -> dict[str, Any]:
    soumis = [adulte.soumis for adulte in foyer.adultes if adulte.soumis is not None]
    dit: dict[str, Any] = {
        "droit_rsa.prestation": "rsa",
        "droit_rsa.numero_demande": foyer.demande,
        "droit_rsa.date_demande": foyer.date_demande.isoformat(),
        "droit_rsa.etat": ETATS[foyer.etat],
        "droit_rsa.foyer_soumis_droits_devoirs": any(soumis) if soumis else None,
    }
    if foyer.refus:
        motif, le = foyer.refus
        dit["droit_rsa.motif_refus"] = "non_partage" if motif in REFUS_SANTE else motif
        dit["droit_rsa.date_refus"] = le.isoformat()
    if foyer.cloture:
        dit["droit_rsa.motif_cloture"] = foyer.cloture[0]
        dit["droit_rsa.date_cloture"] = foyer.cloture[1].isoformat()
    suspendus = [("droit", motif, le) for motif, le, _ in foyer.suspensions_droit]
    suspendus += [("versement", motif, le) for motif, le in foyer.suspensions_versement]
    for nature, motif, le in suspendus:
        partage = "non_partage" if nature == "versement" and motif in SANTE else motif
        cle = f"droit_rsa.suspensions[{partage}:{le.isoformat()}]"
        dit |= {f"{cle}.nature": nature, f"{cle}.motif": partage, f"{cle}.debut": le.isoformat()}
    for sens, mutation in (("vers", foyer.prenant), ("depuis", foyer.cedant)):
        if mutation:
            dit[f"droit_rsa.mutation_{sens}"] = f"{mutation.reseau} {mutation.caisse}"
            dit[f"droit_rsa.mutation_{sens}_le"] = mutation.le.isoformat()
    return dit
