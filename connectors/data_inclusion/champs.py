"""What an entry of the catalogue may hold, field by field, as the JSON Schema that `kit.Catalogue` checks.

`schemas/partner/data_inclusion/champs.csv` has one row per field of data·inclusion v1: whether it is required, its
type, its code list (`schemas/nomenclatures/data_inclusion`), its bounds and its form. A field that is not required may
be null; one without a row is kept as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas import nomenclatures
from schemas.partner import tables

_TEXT: dict[str, Any] = {"type": "string"}
_TYPES: dict[str, dict[str, Any]] = {
    "texte": _TEXT,
    "code": _TEXT,
    "date": _TEXT | {"format": "date"},
    "uri": _TEXT | {"format": "uri"},
    "courriel": _TEXT | {"format": "email"},
    "nombre": {"type": "number"},
    "entier": {"type": "integer"},
    "textes": {"type": "array"},
    "codes": {"type": "array", "uniqueItems": True},
}
_BOUNDS = {"string": ("minLength", "maxLength"), "array": ("minItems", "maxItems")}
"""Bounds are of the length of texts and lists, of the value of numbers."""


def schema(objet: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of one `structure` or `service`."""
    rows = [row for row in tables.rows("data_inclusion/champs") if row["objet"] == objet]
    return {
        "type": "object",
        "required": [row["champ"] for row in rows if row["requis"]],
        "properties": {row["champ"]: _property(row) for row in rows},
    }


def _property(row: Mapping[str, str]) -> dict[str, Any]:
    made = dict(_TYPES[row["type"]])
    one: dict[str, Any] = {"pattern": row["motif"]} if row["motif"] else {}
    if row["codes"]:
        one = {"enum": list(nomenclatures.codes(f"data_inclusion/{row['codes']}"))}
    if made["type"] == "array":
        made["items"] = _TEXT | one
    else:
        made |= one
    for name, bound in zip(_BOUNDS.get(made["type"], ("minimum", "maximum")), row["bornes"].split(".."), strict=False):
        if bound:
            made[name] = int(bound)
    return made if row["requis"] else {"anyOf": [made, {"type": "null"}]}
