"""Synthetic ALI files: a référentiel with its own integers, and dossiers of people given by the caller.

The same people can then be followed from the CAF's file to the Département's. Everything else (local ids, dates,
orientation, contract) is drawn from a seed, so that two runs write the same bytes. No real file is public: these are
made from the contract alone and checked against it.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from connectors.departement.structure import Node, serialize, structure, to_xml

LISTS = Path(__file__).with_name("sandbox_lists.csv")
EMITTED = datetime(2026, 11, 2, 6, 30)
_FILLER = {"texte": "-", "date": "2026-01-01", "drapeau": "1", "booleen": "true", "entier": "1"}


@dataclass(frozen=True, slots=True)
class Allocataire:
    """A person as the caller knows her. `matricule` is the CAF's, `id_personne` the Département's."""

    nom: str = field(repr=False)
    prenom: str = field(repr=False)
    date_naissance: str = field(repr=False)
    matricule: str = field(repr=False)
    nir: str = field(default="", repr=False)
    id_personne: int = 0
    civilite: str = "MME"
    role: str = "DEM"
    etat_droit: str = "2"
    situation_familiale: str = "CEL"
    nb_enfants: int = 0
    numero_demande: str = field(default="", repr=False)
    date_demande: str = "2026-03-02"
    code_postal: str = "40100"
    ville: str = "SAINT-AVENTIN-LES-SABLES"
    voie: tuple[str, str, str] = field(default=("12", "RUE", "DES RESINIERS"), repr=False)
    telephone: str = field(default="", repr=False)
    email: str = field(default="", repr=False)
    type_orientation: str = "Social"
    structure_referente: str = "CCAS de Saint-Aventin-les-Sables"


def person_id(person: Allocataire) -> int:
    """The Département's id of a person: given, or a stable number made from who she is."""
    if person.id_personne:
        return person.id_personne
    return random.Random(f"{person.nom}|{person.prenom}|{person.date_naissance}").randrange(100_000, 999_999)


class Lists:
    """The local lists of one synthetic Département: (list, code or label) to its own integer."""

    def __init__(self, departement: str) -> None:
        self.departement = departement
        self.rows: dict[str, list[dict[str, str]]] = {}
        self._ids: dict[tuple[str, str], str] = {}
        draw = random.Random(f"lists of {departement}")
        with LISTS.open(encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows):
                self.rows.setdefault(row["liste"], []).append(row)
        for liste, entries in self.rows.items():
            numbers = draw.sample(range(1, 40 + len(entries)), len(entries))
            for row, number in zip(entries, numbers, strict=True):
                self._ids[liste, row["libelle"]] = str(number)
                if row["code"]:
                    self._ids[liste, row["code"]] = str(number)

    def id(self, liste: str, code_or_label: str) -> str:
        return self._ids[liste, code_or_label]


def referentiel(departement: str, structure_ali: int, emitted: datetime = EMITTED) -> bytes:
    """A complete `Referentiel_WebRSA` of a synthetic Département, with integers of its own."""
    lists = Lists(departement)
    root = structure("referentiel")
    value: dict[str, Any] = {
        "entete": {
            "date_generation": _stamp(emitted),
            "id_ali": str(structure_ali),
            "libelle_ali": "Structure de démonstration",
            "fichier_stock": "true",
        }
    }
    for liste, rows in lists.rows.items():
        node = root.under(f"liste_{liste}", liste)
        value[f"liste_{liste}"] = {liste: [_entry(lists, liste, row, node) for row in rows]}
    return serialize(to_xml(value, root))


def _entry(lists: Lists, liste: str, row: dict[str, str], node: Node) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, child in node.children.items():
        if name == "identifiant":
            found[name] = lists.id(liste, row["libelle"])
        elif name == "libelle":
            found[name] = row["libelle"]
        elif name in {"code", "codetypeemploi", "code_insee"} and row["code"]:
            found[name] = row["code"]
        elif name in {"nom", "prenom"}:
            found[name] = row["libelle"].split()[name == "nom"]
        elif child.liste and row["parent"] and (child.liste, row["parent"]) in lists._ids:
            found[name] = lists.id(child.liste, row["parent"])
        elif name == "parent":
            found[name] = row["parent"] or "-"
        elif child.least:
            found[name] = _FILLER[child.type]
    return found


def webrsa_ali(
    people: Sequence[Allocataire],
    departement: str,
    structure_ali: int,
    *,
    emitted: datetime = EMITTED,
    stock: bool = True,
) -> bytes:
    """A WebRSA-ALI file about these people."""
    lists = Lists(departement)
    root = structure("webrsa_ali")
    value = {
        "entete": {
            "date_generation": _stamp(emitted),
            "id_structure_ali": str(structure_ali),
            "libelle_ali": "Structure de démonstration",
            "fichier_stock": "true" if stock else "false",
        },
        "dossiers": {"dossier": [dossier(person, lists, emitted) for person in people]},
    }
    return serialize(to_xml(value, root))


def dossier(person: Allocataire, lists: Lists, emitted: datetime = EMITTED) -> dict[str, Any]:
    """One dossier as plain JSON, local integers included."""
    number = person_id(person)
    draw = random.Random(f"{lists.departement}|{number}")
    oriented = emitted.date() - timedelta(days=draw.randrange(40, 200))
    structure_id = lists.id("structuresreferentes", person.structure_referente)
    referent = next(
        lists.id("referents", row["libelle"])
        for row in lists.rows["referents"]
        if row["parent"] == person.structure_referente
    )
    return {
        "id_personne": str(number),
        "allocataire": _allocataire(person, lists, draw),
        "referents_parcours": {
            "referent_parcours": [
                {
                    "id_structure_referente": structure_id,
                    "id_referent": referent,
                    "date_debut_designation": oriented.isoformat(),
                }
            ]
        },
        "modes_contact": _contact(person, emitted, draw),
        "orientations": {
            "orientation": [
                {
                    "id_orient_webrsa": str(number * 10 + 1),
                    "date_orient": oriented.isoformat(),
                    "origine_orient": lists.id("orient_origine", "cohorte"),
                    "statut_orient": lists.id("orient_statut", "Orienté"),
                    "type_orient": lists.id("typesorients", person.type_orientation),
                    "rang_orient": "1",
                    "structure_referente": structure_id,
                    "tag_entretien_diag": "0",
                }
            ]
        },
        "cers": {"cer": [_cer(number, structure_id, lists, oriented)]},
        "dsp": _dsp(number, lists, draw),
    }


def _allocataire(person: Allocataire, lists: Lists, draw: random.Random) -> dict[str, str]:
    numero, type_voie, nom_voie = person.voie
    value = {
        "civilite": lists.id("civilite", person.civilite),
        "nom": person.nom,
        "prenom": person.prenom,
        "nir": person.nir,
        "numero_caf": str(int(person.matricule)),
        "date_naissance": person.date_naissance,
        "numero_voie": numero,
        "type_voie": type_voie,
        "nom_voie": nom_voie,
        "code_postal": str(int(person.code_postal)),
        "ville": person.ville,
        "date_demande_rsa": person.date_demande,
        "numero_demande_rsa": person.numero_demande or f"{draw.randrange(10**10):011d}",
        "etat_droit": lists.id("etatdos", person.etat_droit),
        "soumis_droits_devoirs": "1",
        "role_personne": lists.id("rolepers", person.role),
        "nb_enfants_foyer": str(person.nb_enfants),
        "situation_familiale": lists.id("sitfam", person.situation_familiale),
    }
    return {name: text for name, text in value.items() if text}


def _contact(person: Allocataire, emitted: datetime, draw: random.Random) -> dict[str, str]:
    changed = _stamp(emitted - timedelta(days=draw.randrange(1, 300)))
    found: dict[str, str] = {}
    if person.telephone:
        found |= {"telephone_1": person.telephone, "modif_telephone_1": changed}
    if person.email:
        found |= {"email": person.email, "modif_email": changed}
    return found


def _cer(number: int, structure_id: str, lists: Lists, oriented: date) -> dict[str, str]:
    begins = oriented + timedelta(days=21)
    return {
        "id_cer_webrsa": str(number * 10 + 2),
        "structure_referente": structure_id,
        "statut": lists.id("cer_statut", "V"),
        "rang": "1",
        "date_debut": begins.isoformat(),
        "date_fin": (begins + timedelta(days=181)).isoformat(),
    }


def _dsp(number: int, lists: Lists, draw: random.Random) -> dict[str, Any]:
    return {
        "id_dsp_webrsa": str(number * 10 + 3),
        "niveau_etude": {
            "niveau_etude": lists.id("dsp_nivetu", "1204"),
            "diplome_plus_eleve": lists.id("diplome_max", "2604"),
            "annee_obtention": str(draw.randrange(1995, 2015)),
            "qualifications_pro": "1",
            "competences_extrapro": "0",
        },
    }


def changed(people: Iterable[Allocataire]) -> list[Allocataire]:
    """The same people after a month: the right of every other one is suspended."""
    return [replace(person, etat_droit="3") if n % 2 == 0 else person for n, person in enumerate(people)]


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")
