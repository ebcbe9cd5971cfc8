"""The JSON Schema of the canonical models: `python -m schemas.export` writes them to `schemas/json/`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from schemas import accord, annuaire, convention, dossier

FOLDER = Path(__file__).parent / "json"
MODELS: dict[str, type[BaseModel]] = {
    "dossier": dossier.Dossier,
    "organisation": annuaire.Organisation,
    "service": annuaire.Service,
    "lieu": annuaire.Lieu,
    "professionnel": annuaire.Professionnel,
    "affectation": annuaire.Affectation,
    "convention": convention.Convention,
    "programme": convention.Programme,
    "operation_financee": convention.OperationFinancee,
    "poste_finance": convention.PosteFinance,
    "activation_territoire": convention.ActivationTerritoire,
    "accord_information": accord.AccordInformation,
}


def schema(name: str) -> dict[str, Any]:
    """JSON Schema 2020-12 of one model; `categorie`, `niveau`, `autorite`, `sujet` and `liste` are annotations."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:maillon:schema:{name}"}
    return head | MODELS[name].model_json_schema()


def text(name: str) -> str:
    """The schema as it is written to its file."""
    return json.dumps(schema(name), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write every schema; remove those of models that no longer exist."""
    FOLDER.mkdir(exist_ok=True)
    for stale in set(FOLDER.glob("*.json")) - {FOLDER / f"{name}.json" for name in MODELS}:
        stale.unlink()
    for name in MODELS:
        (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
