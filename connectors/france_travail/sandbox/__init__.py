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
    "sandbox",
]


def sandbox(scenario: str | None = None, **options: Any) -> Sandbox:
    """The stand-in, behaving as documented, or with one failure of `SCENARIOS` on demand.

    Raises `KeyError` on an unknown scenario.
    """
    return Sandbox(scenario, **options)
