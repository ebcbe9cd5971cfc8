"""The pages of the operator."""

from __future__ import annotations

from gateway.console import dead_letters, files, health, partners
from gateway.console.common import Place


def places() -> list[Place]:
    """Every page of this role."""
    return [*partners.places(), *dead_letters.places(), *files.places(), *health.places()]
