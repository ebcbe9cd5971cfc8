"""Oddities of real and hostile CAF files, by name. One that changes a record changes the second one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from connectors.caf.synthese import nir
from connectors.caf.synthese.ecriture import Noeud
from connectors.caf.synthese.foyers import Contexte, FoyerRsa, copie
from connectors.caf.synthese.vrsb0801 import infos_foyer

ODDITES = {
    "code_inconnu": "un code de situation familiale absent de la liste",
    "element_inconnu": "un élément que le schéma ne connaît pas",
    "xsd_invalide": "un élément obligatoire manque dans un foyer",
    "ordre_inverse": "deux éléments d'un foyer sont intervertis",
    "date_impossible": "une date de naissance qui n'existe pas",
    "nir_cle_fausse": "un NIR de quinze caractères dont la clé est fausse",
    "nir_incoherent": "un NIR dont le premier chiffre contredit le sexe",
    "nir_corse": "un NIR né en Corse",
    "nir_provisoire": "un numéro en attente de certification",
    "nir_absent": "un demandeur sans NIR",
    "code_postal_court": "un code postal qui a perdu son zéro",
    "matricule_a_gauche": "un matricule complété par la gauche",
    "deux_foyers_meme_demande": "deux foyers différents sous le même numéro de demande",
    "dossier_repete": "le même dossier deux fois, la seconde fois clos",
    "deux_conjoints": "deux adultes conjoints et aucun demandeur",
    "pied_faux": "le total annoncé ne correspond pas",
    "tronque": "le fichier s'arrête au milieu d'un élément",
    "sans_pied": "le bloc de fin manque",
    "mal_forme": "une balise fermante manque au milieu du fichier",
    "doctype": "une déclaration DOCTYPE avec entité",
    "racine_fausse": "une autre racine",
    "pas_xml": "un texte qui n'est pas du XML",
    "autre_departement": "le fichier est destiné à un autre Département",
    "iso_8859_1": "déclaré ISO-8859-1 avec des octets windows-1252",
    "utf_8": "déclaré et écrit en UTF-8",
    "encodage_menteur": "déclaré windows-1252, écrit en UTF-8",
    "encodage_menteur_utf8": "déclaré UTF-8, écrit en windows-1252",
    "utf_16": "écrit en UTF-16",
    "flux_financier": "le flux financier sous le nom du flux bénéficiaire",
    "flux_creances": "le flux des créances",
    "flux_grossesse": "le flux destiné à la PMI",
    "anomalies": "le fichier des anomalies qui accompagne le flux",
    "vide": "aucun foyer, totaux à zéro",
}

ENTETE: dict[str, dict[str, Any]] = {
    "racine_fausse": {"racine": "Fichier"},
    "iso_8859_1": {"encodage": "ISO-8859-1"},
    "utf_8": {"encodage": "UTF-8"},
    "encodage_menteur_utf8": {"encodage": "UTF-8"},
    "flux_financier": {"nature": "F"},
    "flux_creances": {"nature": "C"},
    "flux_grossesse": {"nature": "G"},
}


_RECORDS = {
    "flux_financier": "InfosFinancieresFoyerRSA",
    "flux_creances": "InfosCreanceFoyerRSA",
    "flux_grossesse": "InfoSuiviGrossessePMI",
}


def connues(noms: Iterable[str]) -> frozenset[str]:
    choisies = frozenset(noms)
    if inconnues := choisies - ODDITES.keys():
        raise ValueError(f"unknown oddities: {', '.join(sorted(inconnues))}")
    return choisies


def _remplace(noeud: Noeud, nom: str, change: Callable[[Noeud], list[Noeud]], encore: list[bool]) -> list[Noeud]:
    """Replace the first element of this name, wherever it is."""
    if encore[0] and noeud[0] == nom:
        encore[0] = False
        return change(noeud)
    contenu = noeud[1]
    if isinstance(contenu, list):
        return [(noeud[0], [neuf for enfant in contenu for neuf in _remplace(enfant, nom, change, encore)])]
    return [noeud]


def _texte(valeur: str) -> Callable[[Noeud], list[Noeud]]:
    return lambda noeud: [(noeud[0], valeur)]


def _corrige(noeud: Noeud) -> list[Noeud]:
    """Turn the two last leaves around: same content, forbidden order."""
    contenu = noeud[1]
    assert isinstance(contenu, list)
    return [(noeud[0], [*contenu[:-2], contenu[-1], contenu[-2]])]


_ELEMENTS: dict[str, tuple[str, Callable[[Noeud], list[Noeud]]]] = {
    "code_inconnu": ("SITFAM", _texte("ZZZ")),
    "element_inconnu": ("SITFAM", lambda noeud: [noeud, ("NOUVEAUTE", "1")]),
    "xsd_invalide": ("DTNAI", lambda _noeud: []),
    "ordre_inverse": ("Organisme", _corrige),
    "date_impossible": ("DTNAI", _texte("1985-02-30")),
    "code_postal_court": ("CODEPOS", lambda noeud: [(noeud[0], "1000")]),
}


def _numero(foyer: FoyerRsa, nom: str) -> None:
    personne = foyer.personnes[0]
    ne = personne.naissance
    premier = {"nir_incoherent": "21"[int(personne.sexe) - 1], "nir_provisoire": "78"[int(personne.sexe) - 1]}
    origine = "corse" if nom == "nir_corse" else ""
    personne.nir = "" if nom == "nir_absent" else nir.compose(
        premier.get(nom, personne.sexe), ne.year, ne.month, nir.lieu(foyer.rang, origine), 999
    )  # fmt: skip
    personne.certifie = nom not in ("nir_provisoire", "nir_absent")


def _foyer(foyer: FoyerRsa, noms: frozenset[str]) -> FoyerRsa:
    change = copie(foyer)
    change.adresses[0] = replace(change.adresses[0], complement="RÉSIDENCE L’ŒILLET")  # every encoding differs here
    for nom in ("nir_cle_fausse", "nir_incoherent", "nir_corse", "nir_provisoire", "nir_absent"):
        if nom in noms:
            _numero(change, nom)
    if "matricule_a_gauche" in noms:
        change.matricule = foyer.matricule[:7].rjust(15, "0")
    if "deux_conjoints" in noms:
        for personne in change.personnes[:2]:
            personne.role = "CJT"
    return change


def records(noms: frozenset[str], menages: Iterable[FoyerRsa], ou: Contexte, quotidien: bool) -> Iterator[Noeud]:
    """The records of the file, the second one carrying the oddities asked for."""
    if "autre_departement" in noms:
        ou = Contexte("099", ou.organisme, ou.reference)
    premiere_demande = ""
    for autre in noms & _RECORDS.keys():
        for foyer in menages:
            yield (_RECORDS[autre], [("NUMDEMRSA", foyer.demande)])
        return
    for position, foyer in enumerate(() if "vide" in noms else menages):
        premiere_demande = premiere_demande or foyer.demande
        if position != 1 or not noms:
            noeud = infos_foyer(foyer, ou, quotidien=quotidien)
            yield _avec_anomalie(noeud) if "anomalies" in noms else noeud
            continue
        choisi = _foyer(foyer, noms)
        if "deux_foyers_meme_demande" in noms:
            choisi.demande = premiere_demande
        noeud = infos_foyer(choisi, ou, quotidien=quotidien)
        if "nir_cle_fausse" in noms:
            faux = f"{(int(nir.cle(choisi.personnes[0].nir)) + 41) % 97 + 1:02d}"
            noeud = _remplace(noeud, "NIR", _texte(choisi.personnes[0].nir + faux), [True])[0]
        for nom in noms & _ELEMENTS.keys():
            element, change = _ELEMENTS[nom]
            noeud = _remplace(noeud, element, change, [True])[0]
        yield noeud
        if "dossier_repete" in noms:
            choisi.etat, choisi.cloture = "5", ("RFD", ou.reference)
            choisi.suspensions_droit, choisi.suspensions_versement, choisi.refus = [], [], None
            yield infos_foyer(choisi, ou, quotidien=quotidien)


def _avec_anomalie(noeud: Noeud) -> Noeud:
    """Anomaly files: the state may be missing and a text says why; not valid against the schema of the flux."""
    contenu: Any = _remplace(noeud, "SituationDossierRSA", lambda vide: [(vide[0], [])], [True])[0][1]
    return (noeud[0], [*contenu, ("Anomalie", [("LIBANO", "DROIT NON CALCULABLE")])])


def avant(noms: frozenset[str], tete: bytes) -> bytes:
    if "pas_xml" in noms:
        return b"MATRICULE;NOM;PRENOM\n" + tete
    if "doctype" in noms:
        debut = tete.index(b"<Racine")
        tete = tete[:debut] + b'<!DOCTYPE Racine [<!ENTITY e "x">]>\n' + tete[debut:]
    return tete.decode("ascii").encode("utf-16") if "utf_16" in noms else tete


def pendant(noms: frozenset[str], texte: str) -> bytes:
    """Records as bytes, in the encoding that is really used. Every file carries characters beyond ASCII."""
    if "utf_16" in noms:
        return texte.encode("utf-16-le")
    if noms & {"encodage_menteur", "utf_8"}:
        return texte.encode("utf-8")
    octets = texte.encode("cp1252")
    if "mal_forme" in noms:
        octets = octets.replace(b"</DonneesAdministratives>", b"", 1)
    return octets


def apres(noms: frozenset[str], fin: bytes) -> bytes:
    if "tronque" in noms:
        return fin[: fin.rindex(b"</PrestationRSA>") + 7]
    if "anomalies" in noms:
        fin = fin.replace(b"<NBTOTDOSRSATRANSM>", b"<X>").replace(b"</NBTOTDOSRSATRANSM>", b"</X>")
        return fin[: fin.index(b"<X>")] + fin[fin.index(b"</X>") + 4 :]
    if "sans_pied" in noms:
        debut = fin.index(b"<TransmissionFlux>")
        return fin[:debut].rstrip(b"\t") + fin[fin.index(b"</Racine>") :]
    return fin
