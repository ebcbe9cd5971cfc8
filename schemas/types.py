"""The value types of the canonical models: plain JSON, with its form checked.

Dates, instants and decimals are text (`docs/architecture.md`, "Facts"). Each type names itself, so that a mapping can
be checked against the models.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, WithJsonSchema

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_PARTIAL = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z")
_DECIMAL = re.compile(r"-?\d{1,12}(\.\d{1,6})?")


class Nature:
    """Name of a value type: `texte`, `date`, `date_partielle`, `instant`, `decimal`."""

    __slots__ = ("nom",)

    def __init__(self, nom: str) -> None:
        self.nom = nom


def _checked(accept: Callable[[str], bool], reason: str) -> AfterValidator:
    def check(value: str) -> str:
        if not accept(value):
            raise ValueError(reason)
        return value

    return AfterValidator(check)


def is_plain_text(value: str) -> bool:
    """Without control character (tab and line feed excepted) nor lone surrogate."""
    return value.isprintable() or not _CONTROL.search(value)


def is_date(value: str) -> bool:
    """`AAAA-MM-JJ`, in the calendar, and not a « never »."""
    return bool(_DATE.fullmatch(value)) and _in_calendar(value)


def is_partial_date(value: str) -> bool:
    """`AAAA`, `AAAA-MM` or `AAAA-MM-JJ`, and in the calendar."""
    return bool(_PARTIAL.fullmatch(value)) and _in_calendar((value + "-01-01")[:10])


FIRST_YEAR, LAST_YEAR = 1850, 2199
"""Outside these years a date is a partner's way to say « unknown » or « never »: it is absent, not a value."""


def _in_calendar(value: str) -> bool:
    try:
        return FIRST_YEAR <= date.fromisoformat(value).year <= LAST_YEAR
    except ValueError:
        return False


def is_instant(value: str) -> bool:
    """RFC 3339 in UTC, written with `Z`."""
    if not value.isascii() or not _INSTANT.fullmatch(value):
        return False
    try:
        return FIRST_YEAR <= datetime.fromisoformat(value[:19]).year <= LAST_YEAR
    except ValueError:
        return False


def is_decimal(value: str) -> bool:
    """Decimal point, no exponent, at most twelve digits before and six after it."""
    return value.isascii() and bool(_DECIMAL.fullmatch(value))


Texte = Annotated[
    str,
    StringConstraints(min_length=1, max_length=10_000),
    _checked(is_plain_text, "control character"),
    Nature("texte"),
]
TexteCourt = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1_000),
    _checked(is_plain_text, "control character"),
    Nature("texte"),
]
Ref = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    _checked(is_plain_text, "control character"),
    Nature("ref"),
]
"""Name of another entity: `<body id>:<its own id>`, or the key of an item of the same dossier."""
Date = Annotated[
    str,
    _checked(lambda value: value.isascii() and is_date(value), "not a date AAAA-MM-JJ"),
    Nature("date"),
    WithJsonSchema({"type": "string", "format": "date"}),
]
DatePartielle = Annotated[
    str,
    _checked(lambda value: value.isascii() and is_partial_date(value), "not a date AAAA, AAAA-MM or AAAA-MM-JJ"),
    Nature("date_partielle"),
    WithJsonSchema({"type": "string", "pattern": r"^\d{4}(-\d{2}(-\d{2})?)?$"}),
]
Instant = Annotated[
    str,
    _checked(is_instant, "not an instant AAAA-MM-JJThh:mm:ssZ"),
    Nature("instant"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Decimale = Annotated[
    str,
    _checked(is_decimal, "not a decimal number"),
    Nature("decimal"),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d{1,12}(\.\d{1,6})?$"}),
]
Code = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    _checked(is_plain_text, "control character"),
    Nature("code"),
]
"""A code of the list that the field names; membership is checked by `schemas.paths.check`."""
