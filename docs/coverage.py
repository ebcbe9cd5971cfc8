"""Writes `docs/coverage.md`: what becomes of every element of the caisses' files. A test compares it with the mappings.

python docs/coverage.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import mappings
from mappings.coverage import Covered, leaves

PAGE = Path(__file__).with_name("coverage.md")
DOCUMENTS = {
    "caf.flux_beneficiaire": "VRSB0801 : flux bénéficiaire du RSA (CAF et MSA, mensuel et quotidien)",
    "caf.instruction": "VIRD0201 : données socio-professionnelles des demandes de RSA",
}
API_PARTICULIER = ("api_particulier.quotient_familial", "api_particulier.revenu_solidarite_active")


def page() -> str:
    """The whole page."""
    return "\n".join(
        [*_head(), *(line for id, title in DOCUMENTS.items() for line in _document(id, title)), *_api(), ""]
    )


def _head() -> Iterator[str]:
    yield "# Couverture des fichiers des caisses"
    yield ""
    yield "Page produite par `docs/coverage.py` à partir des mappings ; un test la compare. Chaque élément feuille du"
    yield "schéma est lu dans le dossier, ou déclaré non partagé avec sa raison. `maillon lint` refuse un oubli."
    yield ""
    yield "| document | éléments | lus | non partagés | oubliés |"
    yield "|---|--:|--:|--:|--:|"
    for id, title in DOCUMENTS.items():
        found = leaves(mappings.load(id))
        read = sum(1 for leaf in found if leaf.canonical)
        kept = sum(1 for leaf in found if leaf.reason and not leaf.canonical)
        yield f"| {title} | {len(found)} | {read} | {kept} | {len(found) - read - kept} |"
    yield ""


def _document(id: str, title: str) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield f"Mapping `{id}`."
    yield ""
    yield "| élément | libellé | dans le dossier | pourquoi il n'est pas partagé |"
    yield "|---|---|---|---|"
    for leaf in leaves(mappings.load(id)):
        yield f"| `{_short(leaf)}` | {_cell(leaf.libelle)} | {_paths(leaf)} | {_cell(leaf.reason)} |"
    yield ""


def _short(leaf: Covered) -> str:
    return leaf.path.removeprefix("Racine/")


def _paths(leaf: Covered) -> str:
    return ", ".join(one if one.startswith("(") else f"`{one}`" for one in leaf.canonical)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _api() -> Iterator[str]:
    yield "## API Particulier"
    yield ""
    yield "Les prestations demandées à API Particulier n'ont pas de schéma fermé : une clé absente veut dire « non"
    yield "autorisé », jamais « non ». Ce que chaque mapping lit :"
    yield ""
    for id in API_PARTICULIER:
        mapping = mappings.load(id)
        read = sorted({path for path, _, _ in mapping.rows()})
        yield f"- `{id}` ({mapping.file.title}) : {', '.join(f'`{path}`' for path in read)}."
        for one in mapping.file.not_shared:
            yield f"  - non partagé : {', '.join(f'`{path}`' for path in one.paths)}. {_cell(one.reason)}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"{PAGE.name}: {len(page().splitlines())} lines\n")
