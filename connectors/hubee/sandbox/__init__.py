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
    "Scenario", "describe", "sandbox",
]  # fmt: skip


def describe(app: Sandbox, base_url: str) -> dict[str, Any]:
    """What an engineer needs to call this stand-in: one client per démarche and side, and the receiver's settings."""
    clients = [one for one in app.hub.accounts.values() if one.organisation in (LANDES, CNAF)]
    return {
        "base_url": base_url,
        "token_url": f"{base_url}/oauth2/token",
        "credentials": [
            {"process": one.process, "scope": one.role, "client_id": one.client_id, "client_secret": one.client_secret}
            for one in clients
        ],
        "settings": app.credentials(base_url),
        "recipient": LANDES,
        "scenario": app.scenario,
        "scenarios": {name: one.title for name, one in SCENARIOS.items()},
    }


def sandbox(scenario: str | None = None, **options: Any) -> Sandbox:
    """The stand-in, behaving as documented, or with one failure of `SCENARIOS` on demand.

    Raises `KeyError` on an unknown scenario.
    """
    return Sandbox(scenario, **options)
