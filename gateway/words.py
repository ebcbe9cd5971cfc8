"""What readers are told in French: sentences come from `console/strings.toml`; figures, dates and codes in words."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from gateway.clock import day_of, local
from schemas import paths

_FILE = Path(__file__).parent / "console" / "strings.toml"
_BRACKETS = re.compile(r"\[[^\[\]]*\]")
_PERIOD = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?")


_HELD = {" :": "\u00a0:", " ;": "\u202f;", " !": "\u202f!", " ?": "\u202f?", "« ": "«\u00a0", " »": "\u00a0»"}


def typeset(text: str) -> str:
    """French text with the spaces at which no line ends (Imprimerie nationale, Lexique des règles typographiques)."""
    for plain, held in _HELD.items():
        text = text.replace(plain, held)
    return text


@cache
def strings() -> dict[str, dict[str, str]]:
    """Section → name → sentence, typeset."""
    return tomllib.loads(typeset(_FILE.read_text(encoding="utf-8")))


def say(key: str, **values: Any) -> str:
    """The sentence `section.name`, with its values. Raises `KeyError`: a page never shows a key."""
    section, _, name = key.partition(".")
    sentence = strings()[section][name]
    return sentence.format(**values) if values else sentence


def says(section: str, *names: str) -> list[str]:
    """What these names of a section say, in order: the heads of a table."""
    return [say(f"{section}.{name}") for name in names]


def many(key: str, n: int, **values: Any) -> str:
    """A sentence written `singular|plural`; French counts 0 and 1 as singular."""
    singular, _, plural = say(key).partition("|")
    return (plural if n > 1 and plural else singular).format(n=number(n), **values)


def word(section: str, name: str | None, otherwise: str | None = None) -> str:
    """The label of a code, or the code itself: an unknown word is shown, never hidden."""
    if not name:
        return ""
    return strings().get(section, {}).get(name) or (name if otherwise is None else otherwise)


def in_words(code: str) -> str:
    """`non_aborde` → « non abordé »: a code without a label of its own, with the accents and capitals of its words."""
    known = strings()["mot"]
    return known.get(code) or " ".join(known.get(part, part) for part in code.split("_"))


def unranked(path: str, mark: str = "") -> str:
    """A partner's path without its ranks and conditions, so that the same place is one line."""
    return _BRACKETS.sub(mark, path)


def quiet_path(path: str) -> str:
    """A canonical path without keys that may identify someone."""
    return paths.shape(path) if path.startswith(("personne.telephones", "personne.courriels", "identifiants")) else path


def number(value: int) -> str:
    """Thousands apart by a narrow no-break space."""
    return f"{value:,}".replace(",", "\u202f")


def moment(instant: str | None) -> str:
    """`2026-11-21T08:30:00.000000Z` as French readers write it: 21/11/2026 09:30 (Paris)."""
    return f"{local(instant):%d/%m/%Y %H:%M}" if instant else "–"


def day(date: str | None) -> str:
    """`2026-11-21` as 21/11/2026, `2026-11` as 11/2026; of an instant, the day it was in Paris."""
    if not date:
        return "–"
    return "/".join(part for part in reversed(day_of(date).split("-")) if part.strip("0")) or "–"


def period(iso: str | None) -> str:
    """`P2Y` as « 2 ans »."""
    found = _PERIOD.fullmatch(iso or "")
    if not found or not any(found.groups()):
        return iso or "–"
    kinds = ("duree.ans", "duree.mois", "duree.jours")
    return " ".join(many(kind, int(count)) for kind, count in zip(kinds, found.groups(), strict=True) if count)


def seconds(value: float) -> str:
    """A waiting time in its largest units."""
    value = max(0, int(value))
    if value < 60:
        return many("duree.secondes", value)
    if value < 3600:
        return many("duree.minutes", value // 60)
    return many("duree.heures", value // 3600) if value < 172_800 else many("duree.jours", value // 86_400)
