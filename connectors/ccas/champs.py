"""What a CCAS's follow-up software may send, field by field, and what of it is read.

`schemas/partner/ccas/champs.csv` has one row per field: its type, whether it is read, why not when it is not, and the
column titles it goes by in spreadsheets. Fields that are not read are dropped here, before anything is compared,
digested or stored: a private synthesis or a protection measure reaches no other part of the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Any

from connectors.table import Row, day, is_scientific, moment
from schemas import normalisation
from schemas.normalisation import PARIS, name_key
from schemas.partner import tables
from schemas.record import Finding

TAKEN_BACK = {"deathDate": "personne.date_deces"}
"""Fields that a CCAS takes back by an explicit `null`, and where the record holds them. Any other empty field says
nothing; a death told by mistake would end all that is owed to someone alive."""
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,60}$")
_INTEGER = re.compile(r"\d{1,4}(\.0+)?")


class Bad(Exception):
    """A value that its field cannot hold; the code is the finding's."""


Convert = Callable[[Any], Any]
Class = type[object]


@dataclass(frozen=True, slots=True)
class Champ:
    """One field. `type` is a scalar type, or `liste:<objet>` for nested objects."""

    nom: str
    type: str
    valeurs: tuple[str, ...]
    lu: bool
    motif: str
    entetes: tuple[str, ...]
    objet: str
    """Name of the nested object, empty for a scalar."""
    plain: Class
    """Class of the JSON values that `read` takes, empty texts apart; no value is of this class when nothing is read."""
    read: Convert
    """What such a value says. Raises `Bad`."""


@cache
def champs(objet: str) -> dict[str, Champ]:
    """The fields of an object, by name."""
    return {
        row["champ"]: Champ(
            row["champ"],
            row["type"],
            tuple(filter(None, row["valeurs"].split("|"))),
            row["lu"] == "oui",
            row["motif"],
            tuple(filter(None, row["entetes"].split("|"))),
            row["type"].partition(":")[2],
            *(_plain(row["type"]) if row["lu"] == "oui" else _NOTHING),
        )
        for row in tables.rows("ccas/champs")
        if row["objet"] == objet
    }


@cache
def columns(objet: str) -> dict[str, Champ]:
    """Column titles, reduced, to the field they name."""
    found = {title: champ for champ in champs(objet).values() for title in champ.entetes}
    return found | {champ.nom.lower(): champ for champ in champs(objet).values()}


@cache
def labels() -> tuple[tuple[str, str, str], ...]:
    """(kind, name, French words): `champ` and `valeur` are how we write, `graphie` is how staff may write too."""
    return tuple((row["genre"], row["nom"], row["libelle"]) for row in tables.rows("ccas/libelles"))


@cache
def spoken(objet: str, nom: str) -> dict[str, str]:
    """The words of staff for the codes of a field, reduced: a table says « Célibataire » where an export says `Single`.

    A word that two fields understand otherwise is named with its field (`mobility.None`).
    """
    codes = champs(objet)[nom].valeurs
    names = {code: code for code in codes} | {f"{nom}.{code}": code for code in codes}
    said = [(label, names[name]) for kind, name, label in labels() if kind != "champ" and name in names]
    found = {name_key(code): code for code in codes}
    for label, code in said:
        for form in (label, label.replace("(e)", ""), label.replace("(e)", "e")):
            found[name_key(form)] = code
    return found


def _day(text: str) -> str:
    if len(text) > 10 and text[10] == "T" and (text.endswith("Z") or "+" in text[10:]):
        return instant(text, PARIS).date().isoformat()
    if found := day(text):
        return found
    raise Bad("bad-date")


def instant(text: str, zone: tzinfo) -> datetime:
    """RFC 3339, or the time of Paris. Raises `Bad` (``bad-instant``)."""
    try:
        told = datetime.fromisoformat(text)
        return (told if told.tzinfo else told.replace(tzinfo=PARIS)).astimezone(zone)
    except (ValueError, OverflowError):  # in another zone, the first and the last day have no year
        raise Bad("bad-instant") from None


def _iso(text: str) -> str:
    """The moment that staff type, as a program writes it: « 26/10/2026 à 9h30 »."""
    return moment(text) or day(text) or text


def _whole_seconds(text: str) -> str:
    if normalisation.is_instant(text):
        return text
    return instant(_iso(text), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _hour(text: str) -> str:
    """A day alone is no moment to meet at: midnight would be a guess."""
    if len(_iso(text)) <= len("AAAA-MM-JJ"):
        raise Bad("bad-instant")
    return _whole_seconds(text)


def _nir(text: str) -> str:
    if is_scientific(text):
        raise Bad("number-lost-digits")
    return text


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise Bad("bad-integer")
    return int(float(text))


def _decimal(text: str) -> str:
    compact = re.sub(r"[\s\u00a0\u202f€]", "", text).replace(",", ".")
    if not re.fullmatch(r"-?\d{1,9}(\.\d{1,6})?", compact):
        raise Bad("bad-decimal")
    return compact


def _boolean(text: str) -> bool:
    words = {"oui": True, "o": True, "vrai": True, "true": True, "1": True, "x": True}
    words |= {"non": False, "n": False, "faux": False, "false": False, "0": False}
    if text.strip().lower() not in words:
        raise Bad("bad-boolean")
    return words[text.strip().lower()]


def _phones(text: str) -> list[str]:
    found = normalisation.phones(text)
    if found.illisibles:
        raise Bad("bad-phone")
    return list(found.numeros)


def _words(text: str) -> list[str]:
    return [word.strip() for word in re.split(r"[|;,]", text) if word.strip()]


_CONVERT: dict[str, Convert] = {
    "texte": str,
    "identifiant": str,
    "code": str,
    "code_postal": str,
    "date": _day,
    "instant": _whole_seconds,
    "date_heure": _hour,
    "nir": _nir,
    "entier": _integer,
    "decimal": _decimal,
    "booleen": _boolean,
    "telephone": _phones,
    "codes_libres": _words,
}
_JSON: dict[str, tuple[type, ...]] = {
    "entier": (int,), "decimal": (int, float, str), "booleen": (), "codes_libres": (list,),
}  # fmt: skip
_NOTHING: tuple[Class, Convert] = (Champ, str)


def _plain(kind: str) -> tuple[Class, Convert]:
    """The class of most JSON values of a type, and how one is read."""
    if kind == "booleen":
        return bool, bool
    if kind not in _CONVERT or kind == "codes_libres":
        return _NOTHING
    convert = _CONVERT[kind]
    if kind == "entier":
        return int, lambda number: number if 0 <= number <= 9999 else convert(str(number))
    return str, str.strip if convert is str else lambda text: convert(text.strip())


def from_json(value: Any, objet: str, path: str, findings: list[Finding]) -> dict[str, Any]:
    """A JSON object, with only the fields that are read, in plain forms (ISO dates, decimals as text).

    A value of the wrong type or form is left out and named in `findings`; an unknown field too.
    """
    if not isinstance(value, dict):
        findings.append(Finding("bad-type", path, "reject", detail="expected an object"))
        return {}
    known = champs(objet)
    kept: dict[str, Any] = {}
    for name, item in value.items():
        champ = known.get(name)
        if champ is None:
            where = name if _NAME.match(name) else "?"
            findings.append(Finding("unknown-field", _under(path, where), "quarantine"))
        elif item.__class__ is champ.plain and item != "":
            try:
                kept[name] = champ.read(item)
            except Bad as bad:
                findings.append(_bad(bad, champ, _under(path, name), str(item)))
        elif champ.lu and item is not None and item != "":
            _keep_json(kept, champ, item, _under(path, name), findings)
        elif item is None and name in TAKEN_BACK:
            kept[name] = None
    return kept


def without_unread(value: Any, objet: str) -> Any:
    """What was sent but for the fields that are never read: what may be kept to be read again. Unknown ones stay."""
    if not isinstance(value, dict):
        return value
    known = champs(objet)
    kept = {}
    for name, item in value.items():
        champ = known.get(name)
        if champ is None or (champ.lu and not (champ.objet and isinstance(item, list))):
            kept[name] = item
        elif champ.lu:
            kept[name] = [without_unread(one, champ.objet) for one in item]
    return kept


def _under(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _keep_json(kept: dict[str, Any], champ: Champ, item: Any, path: str, findings: list[Finding]) -> None:
    if champ.objet:
        if not isinstance(item, list):
            findings.append(Finding("bad-type", path, "reject", detail="expected an array"))
            return
        kept[champ.nom] = [from_json(one, champ.objet, f"{path}[{n}]", findings) for n, one in enumerate(item)]
        return
    if not isinstance(item, _JSON.get(champ.type, (str,))) or item.__class__ is bool:
        findings.append(Finding("bad-type", path, "quarantine", detail=f"expected {champ.type}"))
    elif isinstance(item, list):
        if all(isinstance(one, str) for one in item):
            kept[champ.nom] = [one for one in item if one]
        else:
            findings.append(Finding("bad-type", path, "quarantine", detail="expected texts"))
    else:
        _convert(kept, champ, str(item), path, findings)


def _convert(kept: dict[str, Any], champ: Champ, text: str, path: str, findings: list[Finding]) -> None:
    try:
        kept[champ.nom] = _CONVERT[champ.type](text.strip())
    except Bad as bad:
        findings.append(_bad(bad, champ, path, text))


def _bad(bad: Bad, champ: Champ, path: str, raw: str) -> Finding:
    return Finding(str(bad), path, "quarantine", raw, f"expected {champ.type}")


def from_row(row: Row, objet: str, findings: list[Finding], unknown: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A table row as the same object. Cells that are wrong are left out and named by line and column."""
    known = columns(objet)
    kept: dict[str, Any] = {}
    for title, text in row.cells.items():
        champ = known.get(title)
        path = f"ligne {row.line}, colonne {title}"
        if champ is None:
            if title not in unknown:
                findings.append(Finding("unknown-column", path, "notice"))
        elif not champ.lu:
            continue
        elif champ.type == "nir" and title in row.numeric and normalisation.nir(text).controle != "valide":
            findings.append(Finding("number-lost-digits", path, raw=text, detail="write the NIR as text"))
        elif champ.type in _CONVERT:
            said = spoken(objet, champ.nom).get(name_key(text), text) if champ.type == "code" else text
            _convert(kept, champ, said, path, findings)
        else:
            findings.append(Finding("bad-type", path, raw=text, detail="one row each, in a sheet of their own"))
    if row.surplus:
        findings.append(Finding("surplus-cells", f"ligne {row.line}", detail="cells beyond the last title"))
    return kept
