"""The pages of the integration engineer."""

from __future__ import annotations

from gateway.console import connectors, divergences, explorer, identities, quarantine, reading
from gateway.console.common import Place


def places() -> list[Place]:
    """Every page of this role."""
    return [
        *quarantine.places(),
        *identities.places(),
        *divergences.places(),
        *connectors.places(),
        *explorer.places(),
        *reading.places(),
    ]
