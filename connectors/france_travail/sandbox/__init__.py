"""A fake France Travail, on its real paths, that serves the tests, the demonstration and the partner's engineer."""

from __future__ import annotations

from typing import Any

from connectors.france_travail.sandbox.application import CLIENT_ID, CLIENT_SECRET, Received, Sandbox
from connectors.france_travail.sandbox.scenarios import SCENARIOS, Scenario
from connectors.france_travail.sandbox.usagers import Contrainte, Usager

__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "SCENARIOS",
    "Contrainte",
    "Received",
    "Sandbox",
    "Scenario",
    "Usager",
    "describe",
    "sandbox",
]


def sandbox(scenario: str | None = None, **options: Any) -> Sandbox:
    """The stand-in, behaving as documented, or with one failure of `SCENARIOS` on demand.

    Raises `KeyError` on an unknown scenario.
    """
    return Sandbox(scenario, **options)


def describe(app: Sandbox, base_url: str) -> dict[str, Any]:
    """What a partner's engineer needs to call it: addresses, test credentials, and the people it knows."""
    return {
        "base_url": base_url,
        "token_url": base_url + app.token_path,
        "credentials": {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
        "settings": app.credentials(base_url),
        "usagers": [
            {"numeroFranceTravail": usager.numero, "nir": usager.nir, "dateNaissance": usager.date_naissance}
            for usager in app.usagers.values()
        ],
        "identifiers": next(
            {"nir": one.nir, "date_naissance": one.date_naissance, "ft_numero": one.numero}
            for one in app.usagers.values()
        ),
        "scenario": app.scenario,
        "scenarios": {name: scenario.title for name, scenario in SCENARIOS.items()},
    }
