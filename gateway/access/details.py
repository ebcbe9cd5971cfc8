"""What a token is for: `authorization_details` of type `maillon_exchange` (RFC 9396), granted as an intersection.

`[{"type": "maillon_exchange", "purpose": "orientation"}]` is enough. Everything else narrows: what is asked, what the
client is bound to and what the conventions in force allow are intersected, and the token says what was granted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gateway.access.jose import Refused, loads

TYPE = "maillon_exchange"

Purpose = Literal[
    "identification",
    "orientation",
    "diagnostic_global",
    "contrat_engagement",
    "controle_conjoint",
    "sanction",
    "continuite_parcours",
    "accompagnement",
    "instruction_rsa",
    "liquidation_controle_rsa",
    "acces_droits_non_recours",
    "aide_facultative_ccas",
    "statistiques_pilotage",
    "droits_personne",
    "audit_dpo",
    "urgence_vitale",
]
"""P1 to P16. The first eight are the closed list of code du travail, R5312-38-1 II; III of it forbids any other."""

PURPOSES: tuple[str, ...] = get_args(Purpose)

Regime = Literal["SIFT", "RSA", "PIE", "L121-6-2", "DLNUF", "CSS_ACCORD", "CONSENT_6_1_a", "MAIRE", "VITAL"]

Action = Literal["send", "read", "search"]


class ExchangeDetails(BaseModel):
    """One authorization detail. A field or value that is not listed here is refused, never ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    type: Literal["maillon_exchange"]
    purpose: Purpose
    regime: Regime | None = None
    actions: list[Action] | None = Field(None, min_length=1, max_length=3)
    datatypes: list[str] | None = Field(None, min_length=1, max_length=24)
    """Data categories, `C1` to `C24`."""
    locations: list[str] | None = Field(None, min_length=1, max_length=4)
    privileges: list[str] | None = Field(None, max_length=8)
    """Accepted and never granted: no exchange is privileged."""
    convention_id: str | None = Field(None, min_length=1, max_length=120)


_LIST = TypeAdapter(list[ExchangeDetails])
_DATATYPES = frozenset(f"C{number}" for number in range(1, 25))


@dataclass(frozen=True, slots=True)
class Perimeter:
    """How far the conventions of a body go for one purpose; None does not narrow."""

    datatypes: frozenset[str] | None = None
    regimes: frozenset[str] | None = None
    conventions: frozenset[str] | None = None


Allowed = Collection[str] | Mapping[str, Perimeter]
"""The purposes a body's conventions in force allow: their names, or each with its perimeter."""


def requested(text: str) -> list[ExchangeDetails]:
    """Read the `authorization_details` parameter. Raises `Refused` for anything but 1 to 16 valid details."""
    try:
        details = _LIST.validate_python(loads(text))
    except (ValidationError, ValueError) as error:
        raise Refused("details-invalid") from error
    if not 1 <= len(details) <= 16 or any(set(detail.datatypes or ()) - _DATATYPES for detail in details):
        raise Refused("details-invalid")
    return details


def grant(
    asked: list[ExchangeDetails], allowed: Allowed, own: frozenset[str] | None, resource: str
) -> list[dict[str, Any]]:
    """The part of `asked` that may be granted, as it is written in the token.

    Raises `Refused("purpose-not-allowed")` when a purpose is outside the conventions or the client's own list, and
    `Refused("details-not-allowed")` when nothing is left of one of the details.
    """
    return [_granted(detail, allowed, own, resource) for detail in asked]


def _granted(detail: ExchangeDetails, allowed: Allowed, own: frozenset[str] | None, resource: str) -> dict[str, Any]:
    if detail.purpose not in allowed or (own is not None and detail.purpose not in own):
        raise Refused("purpose-not-allowed")
    perimeter = allowed[detail.purpose] if isinstance(allowed, Mapping) else Perimeter()
    granted: dict[str, Any] = {"type": detail.type, "purpose": detail.purpose}
    if detail.regime is not None:
        granted["regime"] = _one(detail.regime, perimeter.regimes)
    if detail.convention_id is not None:
        granted["convention_id"] = _one(detail.convention_id, perimeter.conventions)
    if detail.actions is not None:
        granted["actions"] = list(dict.fromkeys(detail.actions))
    if datatypes := _datatypes(detail.datatypes, perimeter.datatypes):
        granted["datatypes"] = datatypes
    if detail.locations is not None:
        if set(detail.locations) != {resource}:
            raise Refused("details-not-allowed")
        granted["locations"] = [resource]
    return granted


def _one(value: str, among: frozenset[str] | None) -> str:
    if among is not None and value not in among:
        raise Refused("details-not-allowed")
    return value


def _datatypes(asked: list[str] | None, allowed: frozenset[str] | None) -> list[str] | None:
    if asked is None:
        return None
    kept = set(asked) & (_DATATYPES if allowed is None else allowed)
    if not kept:
        raise Refused("details-not-allowed")
    return sorted(kept, key=lambda code: int(code[1:]))
