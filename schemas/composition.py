"""Unicode normal forms of what a partner wrote, in a time that grows with its length and no faster."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

MARKS = 30
"""In a row: more than any language puts on one letter, and what UAX #15 §13 (stream-safe text) allows."""
_JOINER = "\u034f"
_MANY = re.compile(rf"(?:[^\w\s\0-\u02ff]|[\uff9e\uff9f]){{{MARKS + 1},}}")
"""Nothing but marks, punctuation and symbols; the two kana are letters that NFKD makes marks of."""


def normal(form: Literal["NFC", "NFKD"], text: str) -> str:
    """`text` in this normal form.

    Putting marks in order takes the square of how many stand in a row: a hundred kilobytes of them, fourteen seconds.
    A grapheme joiner stands after each `MARKS` of them, as UAX #15 §13 says; nothing is left out.
    """
    if unicodedata.is_normalized(form, text):
        return text
    return unicodedata.normalize(form, _MANY.sub(_joined, text))


def _joined(row: re.Match[str]) -> str:
    told, marks = [], 0
    for char in row[0]:
        marks = marks + 1 if unicodedata.category(char)[0] in "ML" and char != _JOINER else 0
        if marks > MARKS:
            told.append(_JOINER)
            marks = 1
        told.append(char)
    return "".join(told)
