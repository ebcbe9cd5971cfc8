"""A fake HubEE, on its real paths, that serves the tests, the demonstration and the partner's engineer.

app = sandbox()                                       # or sandbox("empreinte_fausse_une_fois")
case = app.drop.send("RSABEM-RSABAM", {"RSABEM": content})
settings = app.credentials("https://hubee.exemple.invalid")
"""

from __future__ import annotations

from typing import Any

from connectors.hubee.sandbox.application import CALLS, Received, Sandbox
from connectors.hubee.sandbox.envois import Drop, Heard
from connectors.hubee.sandbox.objets import CNAF, LANDES, VOISIN
from connectors.hubee.sandbox.plateforme import CORRUPTED
from connectors.hubee.sandbox.scenarios import SCENARIOS, Fault, Scenario

__all__ = [
    "CALLS", "CNAF", "CORRUPTED", "LANDES", "SCENARIOS", "VOISIN", "Drop", "Fault", "Heard", "Received", "Sandbox",
    "Scenario", "sandbox",
]  # fmt: skip


def sandbox(scenario: str | None = None, **options: Any) -> Sandbox:
    """The stand-in, behaving as documented, or with one failure of `SCENARIOS` on demand.

    Raises `KeyError` on an unknown scenario.
    """
    return Sandbox(scenario, **options)
