"""The pages of the data protection officer."""

from __future__ import annotations

from gateway.console import agreements, integrity, person, register, watch
from gateway.console.common import Place


def places() -> list[Place]:
    """Every page of this role."""
    return [*register.places(), *person.places(), *agreements.places(), *integrity.places(), *watch.places()]
