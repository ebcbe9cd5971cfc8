"""`maillon.dossier`: the shared record itself, for a body that has no form of its own for it.

Canonical JSON, one object per fact with its source and date, as `GET /v1/persons/{ref}/dossier` shows it; always left
in the recipient's mailbox.
"""

from __future__ import annotations

from connectors.manifest import Document
from schemas.champ import CATEGORIES
from schemas.record import Current, Written

ID = "maillon.dossier"
NEVER = frozenset({"nir", "fse_sensible", "annuaire"})
"""Not part of a shared dossier: the NIR only serves to match, FSE answers have a register of their own."""
OFFERED = frozenset(CATEGORIES) - NEVER

DOCUMENT = Document(
    id=ID,
    title="Dossier partagé, en JSON canonique",
    direction=("write",),
    format="json",
    content_type=("application/json",),
    max_bytes=5_000_000,
    source="docs/architecture.md",
)


def write(current: Current) -> Written:
    """Every permitted fact with its provenance."""
    facts = {
        path: {"value": fact.value, "source": fact.source, "date": fact.asserted_at, "certainty": fact.certainty}
        for path, fact in sorted(current.items())
    }
    return Written({"document": ID, "facts": facts}, filled=dict(current))
