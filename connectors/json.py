"""Reading JSON as RFC 8259 means it, and nothing more.

The standard parser lets through what RFC 8259 and RFC 7493 leave undefined: duplicate keys (the last one wins), NaN,
numbers out of range, lone surrogates, NUL, a byte order mark. Each becomes a refusal with a stable code. Text comes
out in NFC without direction overrides and zero-width characters: two spellings of one name must compare equal.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, BinaryIO, NoReturn

from pydantic_core import from_json

from connectors.archive import refuse_archive
from connectors.contract import DocumentRefused
from schemas.composition import normal
from schemas.record import Finding

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 32
MAX_DIGITS = 19
MAX_KEY = 256
FORBIDDEN_KEYS = frozenset({"__proto__", "__class__", "constructor", "prototype", "$ref"})
"""Keys that only serve to attack a reader."""
MAX_INTEGER = 10**MAX_DIGITS
MAX_FRACTION = 64
_LONG_NUMBER = re.compile(f"[-+.eE0-9]{{{MAX_FRACTION + 1}}}")
_RANK = re.compile(r"\[\d+\]|ligne \d+")
_INVISIBLE = re.compile(
    "[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)
_SUSPECT = re.compile("[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\U0010ffff]")


def read(source: BinaryIO, *, max_bytes: int = MAX_BYTES) -> Any:
    """The document in `source`, counting bytes while reading. Raises as `parse`."""
    data = source.read(max_bytes + 1)
    return parse(data, max_bytes=max_bytes)


def parse(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """The value in `data`.

    Raises `DocumentRefused` with ``too-large``, ``json-not-utf8``, ``json-bom``, ``json-syntax``,
    ``json-duplicate-key``, ``json-forbidden-key``, ``json-number``, ``json-text``, ``json-too-deep`` or
    ``archive-unopened``. The detail names a position or a key of ours, never a value.
    """
    if len(data) > max_bytes:
        raise DocumentRefused("too-large", f"at most {max_bytes} bytes")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise DocumentRefused("json-bom", "send UTF-8 without a byte order mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        refuse_archive(data)
        raise DocumentRefused("json-not-utf8", f"invalid UTF-8 at byte {error.start}") from None
    try:
        value = from_json(text, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return _clean(_strictly(text, max_depth), max_depth)
    if not _is_sound(value, text, max_depth):
        return _clean(_strictly(text, max_depth), max_depth)
    return value if _is_clean(text) else _clean(value, max_depth)


def _strictly(text: str, max_depth: int) -> Any:
    """The value of a text, looking at each object and number: slow, and the one that says what is wrong, and where."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise DocumentRefused("json-too-deep", f"at most {max_depth} nested levels") from None
    except json.JSONDecodeError as error:
        raise DocumentRefused("json-syntax", f"{error.msg} at line {error.lineno}, column {error.colno}") from None


def _is_sound(value: Any, text: str, depth: int) -> bool:
    """Whether a value is all that its text says, and nothing of it has to be refused.

    A key that stands twice is read once: then quotes of the text are missing from what was read.
    """
    level: list[Any] = [[value]]
    keys: set[str] = set()
    texts, fractions = 0, False
    while level and depth >= 0:
        depth -= 1
        below = []
        for box in level:
            if isinstance(box, dict):
                texts += len(box)
                keys.update(box)
                box = box.values()
            for item in box:
                kind = item.__class__
                if kind is str:
                    texts += 1
                elif kind is dict or kind is list:
                    below.append(item)
                elif kind is float and math.isfinite(item):
                    fractions = True
                elif kind is float or not -MAX_INTEGER < (item or 0) < MAX_INTEGER:
                    return False
        level = below
    if level or 2 * texts != _quotes(text) or (fractions and _LONG_NUMBER.search(text)):
        return False
    return max(map(len, keys), default=0) <= MAX_KEY and FORBIDDEN_KEYS.isdisjoint(keys)


def _quotes(text: str) -> int:
    """How many quotes begin or end a text of this document; -1 when escaped backslashes hide which do."""
    if "\\" not in text:
        return text.count('"')
    return -1 if "\\\\" in text else text.count('"') - text.count('\\"')


def _is_clean(text: str) -> bool:
    """Whether no text or key of this document needs cleaning: nothing is escaped, and the whole is clean as it stands.

    Parts of what is in NFC are in NFC; controls the parser takes only escaped, but for DEL and those above it.
    """
    if "\\" in text:
        return False
    if text.isascii():
        return "\x7f" not in text
    return unicodedata.is_normalized("NFC", text) and not _INVISIBLE.search(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DocumentRefused("json-duplicate-key", "a key stands twice in one object")
    if not FORBIDDEN_KEYS.isdisjoint(found):
        raise DocumentRefused("json-forbidden-key", "a key of this object is never part of a document")
    return found


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise DocumentRefused("json-number", f"an integer has more than {MAX_DIGITS} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits) if len(digits) <= MAX_FRACTION else math.inf
    if not math.isfinite(value):
        raise DocumentRefused("json-number", "a number is out of range")
    return value


def _constant(name: str) -> NoReturn:
    raise DocumentRefused("json-number", "NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)  # fmt: skip


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        if depth <= 0:
            raise DocumentRefused("json-too-deep", "too many nested levels")
        for key in value:
            if len(key) > MAX_KEY or (_SUSPECT.search(key) and clean_text(key) != key):
                raise DocumentRefused("json-text", "a key holds characters that no key has")
        return {key: _clean(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        if depth <= 0:
            raise DocumentRefused("json-too-deep", "too many nested levels")
        return [_clean(item, depth - 1) for item in value]
    return value


def clean_text(text: str) -> str:
    """`text` in NFC without invisible controls; those that part words (VT, FF, NEL…) are a space, as in a CSV file.

    Raises `DocumentRefused` (``json-text``) on NUL and lone surrogates.
    """
    if not _SUSPECT.search(text):
        return text
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise DocumentRefused("json-text", "a text holds a NUL or half a character")
    return normal("NFC", _INVISIBLE.sub(_blank_or_nothing, text))


def _blank_or_nothing(found: re.Match[str]) -> str:
    return " " if found[0].isspace() else ""


def digest(value: Any, findings: Iterable[Finding] = ()) -> bytes:
    """SHA-256 of a JSON value, whatever the order of its keys and the spaces around them.

    `findings`: what was left out of the value because it could not be read. Those a human must see count too, wherever
    they stood in the document: without them, a sending that differs by these alone would pass for the last one.
    """
    wrong = sorted((one.code, _RANK.sub("", one.path), one.raw) for one in findings if one.severity != "notice")
    return hashlib.sha256(_canonical([value, wrong] if wrong else value).encode("utf-8")).digest()


_canonical = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
).encode  # no value that was parsed holds itself
