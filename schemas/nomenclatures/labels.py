"""Labels as partners write them: damaged by a wrong code page, retyped, or the same but for case and accents."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from schemas.composition import normal

_WORDS = re.compile(r"[a-z0-9]+")
_BLANKS = re.compile(r"\s+")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'", "…": "...", "«": '"', "»": '"', "“": '"',
                         "”": '"', "–": "-", "—": "-", "‑": "-", "œ": "oe", "æ": "ae"})  # fmt: skip

_EXPECTED = frozenset(
    "ŒœŠšŽžŸ‘’“”–—…€•«»°" + "".join(map(chr, range(0xC0, 0x100))) + "".join(map(chr, range(0xA0, 0xC0)))
)
_TAIL = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
"""Bytes 0x80 to 0xBF, read as Latin-1 or as Windows-1252."""
_TWICE_ENCODED = re.compile(f"[ÂÃÅ]{_TAIL}|â{_TAIL}{_TAIL}|Ã(?= )")
_DOS = {"‚": "é", "ˆ": "ê", "‰": "ë", "‡": "ç"}
_DOS_AFTER_LETTER = re.compile(r"(?<=[A-Za-zÀ-ÿ])[‚ˆ‰‡]")


class Repaired(NamedTuple):
    """A label once repaired, and whether anything had to be."""

    text: str
    repaired: bool


def repair(label: str) -> Repaired:
    """Undo UTF-8 read as Latin-1 or Windows-1252 (`mÃ©tier`), and a DOS page read as Windows-1252 (`d‚part`).

    Only sequences that give back a character of French typography are touched; anything else stays verbatim.
    """
    if label.isascii():
        return Repaired(label, False)
    text = _TWICE_ENCODED.sub(_decode_once, label)
    text = _DOS_AFTER_LETTER.sub(lambda found: _DOS[found.group()], text)
    return Repaired(text, text != label)


def is_twice_encoded(text: str) -> bool:
    """Whether letters of this text are surely UTF-8 that was read as Latin-1 or Windows-1252 (`DurÃ©`).

    Stricter than `repair`: « Ã » before a blank ends Portuguese words, and is let through.
    """
    return any(len(one.group()) > len(_decode_once(one)) for one in _TWICE_ENCODED.finditer(text))


def _decode_once(found: re.Match[str]) -> str:
    damaged = found.group()
    if damaged == "Ã":  # the no-break space that ended « à » was turned into a plain one on the way
        return "à"
    try:
        char = b"".join(map(_byte, damaged)).decode("utf-8")
    except UnicodeError:
        return damaged
    return char if char in _EXPECTED else damaged


def _byte(char: str) -> bytes:
    return bytes([ord(char)]) if ord(char) < 0x100 else char.encode("cp1252")


def clean_label(label: str) -> str:
    """A label of a list as it is kept: repaired, NFC, blanks collapsed."""
    return _BLANKS.sub(" ", normal("NFC", repair(label).text)).strip()


def bare_words(text: str) -> str:
    """A title or a local label reduced to its lower-case, unaccented words: what else it holds says nothing."""
    bare = "".join(c for c in normal("NFKD", text) if not unicodedata.combining(c))
    return " ".join(_WORDS.findall(bare.lower()))


def label_key(label: str) -> str:
    """What two labels are compared on: lower case, unaccented, plain quotes and dashes, single blanks."""
    plain = normal("NFKD", label.casefold().translate(_QUOTES))
    return _BLANKS.sub(" ", "".join(c for c in plain if not unicodedata.combining(c))).strip()
