"""Whose référent the decision table is told of: whoever follows the person today."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.decide import question
from tests.rights.conftest import MARIE, Office

FOLLOWED = "accompagnements[ccas:1].membres[ccas:7]"
FIRST, LATER = "orientations[departement:40:1]", "orientations[departement:40:2]"


def followed_by(body: str) -> dict[str, Any]:
    return {f"{FOLLOWED}.est_referent": True, f"{FOLLOWED}.organisation.nom": f"{body} d'essai"}


def oriented(item: str, body: str, **said: Any) -> dict[str, Any]:
    told = {"organisme_accueil.nom": f"{body} d'essai", "etat": "decidee"} | said
    return {f"{item}.{name}": value for name, value in told.items() if value is not None}


@pytest.mark.parametrize(
    ("situation", "role"),
    [
        ({}, "aucun"),
        (followed_by("ccas"), "ccas"),
        (followed_by("ccas") | {f"{FOLLOWED}.jusqua": "2026-01-31"}, "aucun"),
        (followed_by("ccas") | {"accompagnements[ccas:1].fin": "2026-01-31"}, "aucun"),
        (oriented(FIRST, "ccas"), "ccas"),
        (oriented(FIRST, "ccas", etat=None), "ccas"),
        (oriented(FIRST, "ccas", fin="2026-01-31"), "aucun"),
        (oriented(FIRST, "ccas", etat="refusee"), "aucun"),
        (oriented(FIRST, "ccas", debut="2025") | oriented(LATER, "departement", debut="2026"), "departement"),
        (oriented(FIRST, "ccas", debut="2026-02-03") | oriented(LATER, "departement", debut="2025-01-02"), "ccas"),
        (oriented(FIRST, "ccas", debut="2025-01-02") | oriented(LATER, "une association", debut="2026-02-03"), "aucun"),
    ],
    ids=[
        "nobody", "her référent", "a référent who left", "an accompaniment that ended", "an orientation",
        "an orientation of no told state", "an orientation that ended", "an orientation refused", "oriented anew",
        "oriented anew, told in another order", "oriented anew to who is not here",
    ],
)  # fmt: skip
def test_her_referent_is_who_follows_her_today(office: Office, situation: dict[str, Any], role: str) -> None:
    gateway = office.gateway
    person = office.says("departement", MARIE | situation).persons[0]
    with gateway.unit_of_work() as work:
        current = gateway.dossiers.current(work, person)
        assert question(work, gateway, person, gateway.flows(work, "departement")[0], current).referent == role
