"""The pages of the data protection officer."""

from __future__ import annotations

from gateway.console import (
    agreements,
    bases,
    breaches,
    decision,
    integrity,
    person,
    register,
    registers,
    reidentify,
    retention,
    rights,
    rights_act,
    watch,
)
from gateway.console.common import Place


def places() -> list[Place]:
    """Every page of this role."""
    families = (
        register,
        person,
        agreements,
        retention,
        decision,
        bases,
        rights,
        rights_act,
        breaches,
        reidentify,
        registers,
        integrity,
        watch,
    )
    return [place for family in families for place in family.places()]
