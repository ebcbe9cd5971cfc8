"""The JSON Schemas given to a CCAS's engineers, made from what the connector really reads and writes.

python -m connectors.ccas.schema      writes schemas/partner/ccas/*.schema.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mappings
from connectors.ccas.champs import TAKEN_BACK, Champ, champs
from mappings.grammar import Row, Section
from schemas.partner import tables

FOLDER = tables.FOLDER / "ccas"
_SCALAR: dict[str, dict[str, Any]] = {
    "date": {"type": "string", "description": "AAAA-MM-JJ, JJ/MM/AAAA ou RFC 3339"},
    "instant": {"type": "string", "description": "RFC 3339, ou heure de Paris"},
    "date_heure": {"type": "string", "description": "RFC 3339, ou date et heure de Paris"},
    "entier": {"type": "integer", "minimum": 0},
    "decimal": {"type": ["number", "string"]},
    "booleen": {"type": "boolean"},
    "codes_libres": {"type": "array", "items": {"type": "string"}},
    "nir": {"type": "string", "description": "13 ou 15 caractères, en texte"},
    "liste": {"type": "array"},
    "codes": {"type": "array", "items": {"type": "string"}},
    "objet": {"type": "object"},
}
_WRITTEN: dict[str, dict[str, Any]] = {
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "instant": {"type": "string", "format": "date-time"},
}


def sent() -> dict[str, Any]:
    """What a CCAS sends: `{"structure", "beneficiaries": [...]}`, an array, or one beneficiary."""
    objects = ["beneficiary", "followup", "helpRequest", "frein", "situation", "rendezVous", "professionnel",
               "resultat", "demandeReorientation", "objectif", "action", "contrat", "prescription"]  # fmt: skip
    definitions = {name: _object(champs(name)) for name in objects}
    definitions["beneficiary"]["required"] = ["firstName", "birthDate"]
    definitions["beneficiary"]["anyOf"] = [{"required": ["birthName"]}, {"required": ["usualName"]}]
    one, many = {"$ref": "#/$defs/beneficiary"}, {"type": "array", "items": {"$ref": "#/$defs/beneficiary"}}
    envelope = {
        "type": "object",
        "required": ["beneficiaries"],
        "additionalProperties": False,
        "properties": {
            "structure": {"type": "object", "description": "Seul son nom (name) est lu : le reste est au registre"},
            "generatedAt": {"type": "string", "description": "RFC 3339 : ce que l'envoi dit était vrai à cet instant"},
            "beneficiaries": many,
        },
    }  # fmt: skip
    return _head("ccas.beneficiaires") | {"anyOf": [envelope, many, one], "$defs": definitions}


def _object(fields: dict[str, Champ]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _field(champ) for name, champ in fields.items()},
    }


def _field(champ: Champ) -> dict[str, Any]:
    if champ.objet:
        return {"type": "array", "items": {"$ref": f"#/$defs/{champ.objet}"}}
    found = dict(_SCALAR.get(champ.type, {"type": "string"}))
    if champ.type == "code" and champ.valeurs:
        found["enum"] = list(champ.valeurs)
    if champ.nom in TAKEN_BACK:
        found["type"] = [found["type"], "null"]
        found["description"] += " ; null reprend ce que ce CCAS avait dit"
    if not champ.lu:
        found["description"] = f"Jamais lu : {champ.motif}"
    return found


def received() -> dict[str, Any]:
    """What a CCAS receives: the sheet of one person."""
    whole: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    for section in mappings.load("ccas.fiche").file.section:
        _section(whole, section)
    whole["properties"]["sources"] = {
        "type": "object", "additionalProperties": {"type": "string"}, "description": "Qui a dit chaque champ"
    }  # fmt: skip
    return _head("ccas.fiche") | whole


def _section(box: dict[str, Any], section: Section) -> None:
    name = section.partner
    if name:
        inner: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
        many = name.endswith("[]")
        box["properties"][name.removesuffix("[]")] = {"type": "array", "items": inner} if many else inner
        inner["description"] = section.title
        box = inner
    for row in (*section.key, *section.fields):
        for path in row.partners:
            box["properties"][path.removesuffix("[]")] = _row(row, path)
    for nested in section.section:
        _section(box, nested)


def _row(row: Row, path: str) -> dict[str, Any]:
    found = dict(_WRITTEN.get(row.type, {"type": "string"}))
    return {"type": "array", "items": found} if path.endswith("[]") else found


def _head(name: str) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:maillon:{name}:1"}


SCHEMAS = {"beneficiaires": sent, "fiche": received}


def text(name: str) -> str:
    """The schema as its file holds it."""
    return json.dumps(SCHEMAS[name](), ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    for each in SCHEMAS:
        Path(FOLDER / f"{each}.schema.json").write_text(text(each), encoding="utf-8")
