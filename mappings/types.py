"""The closed list of field types: each a way to read a partner's text and a way to write it.

A type reads `None` for « nothing was said » (an empty element says nothing) and raises `Bad` for what it cannot
understand: no value is ever guessed and no message holds one. A rule that would need an `if` in a mapping file becomes
a named type here, with its tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

from stdnum.fr import siret as _siret

from mappings.grammar import MappingError, Row
from schemas import nomenclatures
from schemas import normalisation as n


class Bad(Exception):
    """A text that the type cannot read or a fact it cannot write. `code` is stable; `detail` never holds the value."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


Parse = Callable[..., Any]
Write = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Codec:
    """One row's type, ready to use: `read` takes one text per partner path, `write` gives one text per partner path."""

    read: Parse
    write: Write
    native: Literal["text", "integer", "boolean", "decimal"] = "text"
    """What a JSON document holds instead of text."""


@dataclass(frozen=True, slots=True)
class FieldType:
    name: str
    build: Callable[[Row, str], Codec]
    """From the row's options and the mapping's time zone to a codec."""
    inputs: Literal["one", "several", "any"] = "one"
    label: str = ""
    """What the DPO reads, in French."""
    structural: bool = False
    """True: a schema would refuse what this type refuses (a date that is none), so the record is invalid."""
    memo: bool = False
    """True: few distinct texts and nothing personal in them, so what was read once is remembered."""
    bounded: bool = False
    """True: what the type reads has a length of its own, so the schema's needs no look."""
    inline: str = ""
    """Python that reads most texts without a call; `{x}` is the text, `{short}` tests its length,
    `{read}` is the codec's reader."""
    inline_write: str = ""
    """Python that writes most values without a call; `{v}` is the value, `{write}` the codec's writer."""
    tells: frozenset[str] = frozenset()
    """Types of the canonical fields (`schemas.fields.Champ.type`) that it can fill or be filled from."""
    many: bool = False
    """True: one row tells several values."""


TYPES: dict[str, FieldType] = {}
_TEXTS = ("texte", "code", "ref")
_DATES = ("date", "date_partielle")
_ANY = (*_TEXTS, *_DATES, "instant", "booleen", "entier", "decimal")


def _type(
    name: str,
    label: str,
    *,
    inputs: Literal["one", "several", "any"] = "one",
    structural: bool = False,
    memo: bool = False,
    bounded: bool = False,
    inline: str = "",
    inline_write: str = "",
    tells: tuple[str, ...] = _TEXTS,
    many: bool = False,
) -> Callable[[Callable[[Row, str], Codec]], Callable[[Row, str], Codec]]:
    def register(build: Callable[[Row, str], Codec]) -> Callable[[Row, str], Codec]:
        TYPES[name] = FieldType(
            name, build, inputs, label, structural, memo, bounded, inline, inline_write, frozenset(tells), many
        )
        return build

    return register


def tells_several(row: Row) -> bool:
    """Whether a row reads several values: a repeated element, or a type that cuts a cell."""
    return (row.type in TYPES and TYPES[row.type].many) or any(path.endswith("[]") for path in row.partners)


def codec(row: Row, zone: str) -> Codec:
    """The codec of a row. Raises `MappingError` ``mapping-type``."""
    if row.type not in TYPES:
        raise MappingError("mapping-type", f"no type is named {row.type!r}")
    return TYPES[row.type].build(row, row.zone or zone)


def _say(read: Callable[[str], Any], code: str, detail: str = "") -> Parse:
    """A reader from a normaliser that answers empty for what it cannot read."""

    def parse(text: str) -> Any:
        if not text or text.isspace():
            return None
        if (value := read(text)) in ("", None):
            raise Bad(code, detail)
        return value

    return parse


def _same(value: Any) -> Any:
    return value


def _masked(value: str) -> str:
    """The text of a value whose `str` is masked."""
    return "".join(value)


# --- text -----------------------------------------------------------------------------------------------------------


_WORD = "{x} if {short}{x}.isalnum() else {read}({x})"
"""Letters and digits alone are already clean text."""


@_type("text", "texte", inline=_WORD)
def _text(row: Row, zone: str) -> Codec:
    return Codec(lambda text: n.clean(text) or None, _cut(row))


@_type("name", "nom", inline=_WORD)
def _name(row: Row, zone: str) -> Codec:
    return Codec(lambda text: n.clean(text) or None, _cut(row))


@_type("identifier", "identifiant, tel quel")
def _identifier(row: Row, zone: str) -> Codec:
    def read(text: str) -> str | None:
        value = text.strip()
        if "[" in value or "]" in value:
            raise Bad("bad-identifier", "square brackets")
        return value or None

    return Codec(read, str)


def _cut(row: Row) -> Write:
    """Text towards a partner whose field is `max` characters long; a longer one is named, never cut in silence."""

    limit = row.max
    if limit is None:
        return str

    def write(value: Any) -> str:
        text = str(value)
        if len(text) > limit:
            raise Bad("too-long", f"{limit} characters at most")
        return text

    return write


@_type("list", "plusieurs éléments", inputs="several", many=True)
def _list(row: Row, zone: str) -> Codec:
    """Several elements, one text each, in order: first names, address lines."""

    def read(*texts: str | None) -> list[str] | None:
        return [clean for text in texts if text and (clean := text if text.isalnum() else n.clean(text))] or None

    def write(value: Sequence[str]) -> tuple[str, ...]:
        if len(value) > len(row.partners):
            raise Bad("too-many", f"{len(row.partners)} at most")
        return tuple(value) + ("",) * (len(row.partners) - len(value))

    return Codec(read, write)


@_type("words", "plusieurs valeurs dans une cellule", many=True)
def _words(row: Row, zone: str) -> Codec:
    """One text that holds several values; `separator` (`,` by default, a blank for civil-status first names)."""
    separator = row.separator or ","

    def read(text: str) -> list[str] | None:
        return [clean for part in text.split(separator) if (clean := n.clean(part))] or None

    return Codec(read, lambda value: (separator if separator.isspace() else f"{separator} ").join(value))


@_type("joined", "plusieurs éléments réunis en un texte", inputs="several")
def _joined(row: Row, zone: str) -> Codec:
    """Several elements that make one text (number, kind and name of a street). Not reversible."""

    def read(*texts: str | None) -> str | None:
        return " ".join(clean for text in texts if text and (clean := n.clean(text))) or None

    def write(value: Any) -> tuple[str, ...]:
        raise Bad("not-reversible", "a joined text cannot be split again")

    return Codec(read, write)


@_type("postal_lines", "lignes d'adresse", inputs="several", many=True)
def _postal_lines(row: Row, zone: str) -> Codec:
    """Lines of a French address from its parts: [complement, complement, number, kind, street, locality].

    The three before the last make one line. Not reversible.
    """

    def read(*texts: str | None) -> list[str] | None:
        parts = [(text if text.isalnum() else n.clean(text)) if text else "" for text in texts]
        *before, number, kind, street, locality = parts
        return [line for line in (*before, " ".join(filter(None, (number, kind, street))), locality) if line] or None

    def write(value: Any) -> tuple[str, ...]:
        raise Bad("not-reversible", "address lines cannot be split again")

    return Codec(read, write)


# --- dates ----------------------------------------------------------------------------------------------------------


def _iso_date(text: str) -> str | None:
    """`AAAA-MM-JJ` exactly; the sentinels of partners' files say nothing."""
    if len(text) != 10:
        text = text.strip()
        if not text:
            return None
    if len(text) != 10 or text[4] != "-" or text[7] != "-":
        raise Bad("bad-date", "AAAA-MM-JJ")
    try:
        date.fromisoformat(text)
    except ValueError:
        raise Bad("bad-date", "AAAA-MM-JJ") from None
    return None if text in n.SENTINEL_DATES else text


_FULL = "{v} if {v}.__class__ is str and len({v}) == 10 else {write}({v})"


@_type("date", "date", structural=True, memo=True, bounded=True, inline_write=_FULL, tells=_DATES)
def _date(row: Row, zone: str) -> Codec:
    return Codec(_iso_date, _full)


def _full(value: Any) -> str:
    text = str(value)
    if len(text) != 10:
        raise Bad("not-precise-enough", "a full date is needed")
    return text


@_type("date_fr", "date JJ/MM/AAAA", tells=_DATES)
def _date_fr(row: Row, zone: str) -> Codec:
    """A date as people write it in tables: `JJ/MM/AAAA`, ISO accepted."""
    return Codec(
        _say(n.full_date, "bad-date", "JJ/MM/AAAA"),
        lambda value: "/".join(reversed(_full(value).split("-"))),
    )


@_type("partial_date", "date, éventuellement partielle", tells=_DATES)
def _partial_date(row: Row, zone: str) -> Codec:
    """`AAAA`, `AAAA-MM` or `AAAA-MM-JJ`, ISO or French writing; `00` for an unknown month or day."""

    def read(text: str) -> str | None:
        text = re.sub(r"-00(?=-|$)", "", text.strip())
        if not text or text == "0000":
            return None
        if value := n.partial_date(text):
            return value
        if text in n.SENTINEL_DATES:
            return None
        raise Bad("bad-date", "AAAA-MM-JJ, AAAA-MM ou AAAA")

    return Codec(read, str)


_PRECISION = {"J": 7, "O": 4, "N": 10, "": 10}


@_type("date_precision", "date et sa précision (J : jour inconnu, O : jour et mois inconnus)", inputs="several",
       structural=True, bounded=True, tells=("date_partielle",))  # fmt: skip
def _date_precision(row: Row, zone: str) -> Codec:
    """A conventional birth date and the element that says what of it is really known (CNAF `TYPEDTNAI`)."""

    def read(text: str | None, precision: str | None = None) -> str | None:
        value = _iso_date(text) if text else None
        if precision is None or precision == "N" or value is None:
            return value
        mark = precision.strip()
        if mark not in _PRECISION:
            raise Bad("unknown-code", "TYPEDTNAI")
        return value[: _PRECISION[mark]]

    def write(value: str) -> tuple[str, str]:
        mark = {10: "N", 7: "J", 4: "O"}[len(value)]
        return value + "-01-01"[len(value) - 10 :] if len(value) < 10 else value, mark

    return Codec(read, write)


@_type("year", "année", tells=("date_partielle",))
def _year(row: Row, zone: str) -> Codec:
    def read(text: str) -> str | None:
        text = text.strip()
        if text and not (len(text) == 4 and text.isascii() and text.isdigit()):
            raise Bad("bad-year", "AAAA")
        return text or None

    return Codec(read, lambda value: str(value)[:4])


@_type("year_month", "mois", tells=("date_partielle",))
def _year_month(row: Row, zone: str) -> Codec:
    def read(text: str) -> str | None:
        text = text.strip()
        if text and not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text):
            raise Bad("bad-month", "AAAA-MM")
        return text or None

    return Codec(read, lambda value: str(value)[:7])


def _moment(text: str, zone: str) -> str:
    """RFC 3339 UTC with whole seconds or more; a time without zone is read in `zone`."""
    if n.is_instant(text):
        return text
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(zone))
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):  # .NET writes an absent date 0001-01-01T00:00:00: in UTC, before any year
        raise Bad("bad-instant", "AAAA-MM-JJThh:mm:ss") from None
    text = moment.isoformat(timespec="microseconds").removesuffix("+00:00")
    return (text.rstrip("0").rstrip(".") if text.endswith("0") else text) + "Z"


def _local(value: str, zone: str) -> datetime:
    try:
        return datetime.fromisoformat(value).astimezone(ZoneInfo(zone))
    except OverflowError:
        raise Bad("bad-instant", "AAAA-MM-JJThh:mm:ss") from None


@_type("instant", "instant (UTC ou fuseau écrit)", tells=("instant",))
def _instant(row: Row, zone: str) -> Codec:
    """ISO 8601, with or without zone; written in UTC with milliseconds, as France Travail's examples do."""

    def write(value: str) -> str:
        return _local(value, "UTC").isoformat(timespec="milliseconds").replace("+00:00", "Z")

    return Codec(lambda text: _moment(text.strip(), zone) if text.strip() else None, write)


@_type("instant_local", "instant, heure locale sans fuseau", tells=("instant",))
def _instant_local(row: Row, zone: str) -> Codec:
    """`AAAA-MM-JJ hh:mm:ss` in the mapping's zone, no zone written."""

    def write(value: str) -> str:
        return _local(value, zone).strftime("%Y-%m-%d %H:%M:%S")

    return Codec(lambda text: _moment(text.strip(), zone) if text.strip() else None, write)


@_type("date_time", "date et heure locales, en deux éléments", inputs="several", tells=("instant",))
def _date_time(row: Row, zone: str) -> Codec:
    def read(day: str | None, time: str | None) -> str | None:
        if not day or not day.strip():
            return None
        if not time or not time.strip():
            raise Bad("bad-instant", "heure absente")
        return _moment(f"{_iso_date(day)}T{time.strip()}", zone)

    def write(value: str) -> tuple[str, str]:
        moment = _local(value, zone)
        return moment.strftime("%Y-%m-%d"), moment.strftime("%H:%M:%S")

    return Codec(read, write)


@_type("day_of_instant", "date du jour de l'instant", tells=_DATES)
def _day_of_instant(row: Row, zone: str) -> Codec:
    """A date kept from an instant: the day it was in France, whichever zone it is told in (a date told as midnight UTC
    is that day). Written as midnight of that day in the mapping's zone."""

    def write(value: str) -> str:
        if zone == "UTC":
            return f"{value if value.__class__ is str and len(value) == 10 else _full(value)}T00:00:00.000Z"
        moment = datetime.fromisoformat(_full(value)).replace(tzinfo=ZoneInfo(zone))
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def read(text: str) -> str | None:
        return _local(_moment(text.strip(), zone), "Europe/Paris").strftime("%Y-%m-%d") if text.strip() else None

    return Codec(read, write)


# --- yes and no -----------------------------------------------------------------------------------------------------


def _boolean(words: dict[str, bool], yes: str, no: str, native: Literal["text", "boolean"] = "text") -> Codec:
    def read(text: str) -> bool | None:
        value = words.get(text.strip().casefold())
        if value is None and text.strip():
            raise Bad("bad-boolean", f"{yes} ou {no}")
        return value

    return Codec(read, lambda value: yes if value else no, native)


@_type("boolean", "oui ou non (true/false)", structural=True, memo=True, bounded=True, tells=("booleen",))
def _true_false(row: Row, zone: str) -> Codec:
    return _boolean({"true": True, "false": False, "1": True, "0": False}, "true", "false", "boolean")


@_type("boolean_01", "oui ou non (1/0)", structural=True, memo=True, bounded=True, tells=("booleen",))
def _zero_one(row: Row, zone: str) -> Codec:
    return _boolean({"1": True, "0": False, "true": True, "false": False}, "1", "0")


@_type("tri_state", "oui, non, ou non calculé (absent)", structural=True, memo=True, bounded=True, tells=("booleen",))
def _tri_state(row: Row, zone: str) -> Codec:
    """1, 0, or absent, which is « not computed » and never « no »."""
    return _boolean({"1": True, "0": False, "true": True, "false": False}, "1", "0")


@_type("boolean_on", "oui ou non (O/N)", tells=("booleen",))
def _o_n(row: Row, zone: str) -> Codec:
    return _boolean({"o": True, "n": False}, "O", "N")


@_type("boolean_oui_non", "oui ou non (oui/non)", tells=("booleen",))
def _oui_non(row: Row, zone: str) -> Codec:
    words = {"oui": True, "non": False, "o": True, "n": False, "vrai": True, "faux": False, "1": True, "0": False}
    return _boolean(words | {"true": True, "false": False, "x": True}, "Oui", "Non")


# --- numbers --------------------------------------------------------------------------------------------------------


_DIGITS = 28
"""Longest number, sign and separators included: what `decimal` keeps exactly, far beyond any amount or count."""
_DECIMAL = re.compile(r"[+-]?(?=[.,]?\d)(?:\d{1,3}(?:[ \u00a0\u202f]\d{3})+|\d*)(?:[.,]\d*)?", re.ASCII)


@_type("integer", "nombre entier", structural=True, memo=True, tells=("entier",))
def _integer(row: Row, zone: str) -> Codec:
    """A count, a rank, a length: digits, zero-padded to `width` when written; `sentinel` says nothing."""

    def read(text: str) -> int | None:
        text = text.strip().removesuffix(".0")
        if not text or text == row.sentinel:
            return None
        if not (text.removeprefix("-").isdecimal() and text.isascii() and len(text) <= _DIGITS):
            raise Bad("bad-integer", "chiffres")
        if (count := int(text)) < 0:
            raise Bad("negative-count", "zéro ou plus")
        return count

    return Codec(read, lambda value: str(int(value)).rjust(row.width or 0, "0"), "integer")


@_type("decimal", "nombre décimal", structural=True, tells=("decimal",))
def _decimal(row: Row, zone: str) -> Codec:
    """Exact decimal kept as text without padding; `sentinel` (`999999`) says nothing.

    Comma or point, and thousands told apart by spaces (`1 250,75`); never a power of ten: its digits are lost.
    """

    def read(text: str) -> str | None:
        text = text.strip()
        if not text:
            return None
        if len(text) > _DIGITS or not _DECIMAL.fullmatch(text):
            raise Bad("bad-decimal", "0000000.00")
        value = Decimal(re.sub(r"\s", "", text).replace(",", "."))
        if row.sentinel is not None and value == Decimal(row.sentinel):
            return None
        if row.places is None:
            return f"{value.normalize():f}"
        if value != round(value, row.places):
            raise Bad("bad-decimal", f"{row.places} decimals at most")
        return f"{value:.{row.places}f}"

    def write(value: Any) -> str:
        text = f"{Decimal(value):.{row.places}f}" if row.places is not None else str(value)
        return text.zfill(row.width or 0)

    return Codec(read, write, "decimal")


# --- identifiers ----------------------------------------------------------------------------------------------------


@_type("nir", "NIR, scellé (13 caractères)", bounded=True)
def _nir(row: Row, zone: str) -> Codec:
    """13 or 15 characters, kept on 13. Written on `width` 13, or 15 with the computed key (the default)."""

    def read(text: str) -> str | None:
        if len(text) == 13 and text.isascii() and text.isdigit() and text[0] in "123478":
            return text
        if not text or text.isspace():
            return None
        read = n.nir(text)
        if read.controle == "invalide":
            raise Bad("bad-nir", "clé ou forme")
        return read.valeur.valeur

    def write(value: str) -> str:
        value = _masked(value)
        return value[:13] if row.width == 13 else value[:13] + n.nir_key(value[:13])

    return Codec(read, write)


def _is_nir() -> Bad:
    return Bad("matricule-is-nir", "le numéro MSA est un NIR")


@_type("matricule_caf", "numéro de dossier CAF, 7 chiffres", bounded=True)
def _matricule_caf(row: Row, zone: str) -> Codec:
    """Padded on either side in files; written right-padded with zeros to `width` (15 in CNAF files).

    Who is not told which network pays meets the MSA's numbers too: one that is a NIR is expected, and never kept here.
    """

    def read(text: str) -> str | None:
        if len(text) == 15 and text.endswith("00000000") and text.isascii() and text.isdigit() and text[0] != "0":
            return text[:7]
        if not text or text.isspace():
            return None
        value = n.caf_matricule(text)
        if len(value) != 7:
            raise _is_nir() if n.looks_like_nir(text) else Bad("bad-matricule", "7 chiffres")
        return value

    return Codec(read, lambda value: str(value).ljust(row.width or 0, "0"))


@_type("matricule_msa", "numéro de dossier MSA")
def _matricule_msa(row: Row, zone: str) -> Codec:
    """An MSA number that is a NIR is refused here: it belongs to the seal of `identifiants[nir]`, never to a file."""

    def read(text: str) -> str:
        found = n.msa_numero(text)
        if found.systeme == "nir":
            raise _is_nir()
        return found.valeur

    return Codec(_say(read, "bad-matricule"), str)


@_type("matricule", "numéro de dossier CAF ou MSA, selon l'organisme", inputs="several", bounded=True)
def _matricule(row: Row, zone: str) -> Codec:
    """[MATRICULE, FONORG]: the network decides the rule."""
    rules = {"CAF": _matricule_caf(row, zone).read, "MSA": _matricule_msa(row, zone).read}

    def read(text: str | None, organisme: str | None) -> str | None:
        if not text or text.isspace():
            return None
        rule = rules.get((organisme or "").strip())
        if rule is None:
            raise Bad("bad-matricule", "organisme inconnu")
        value: str | None = rule(text)
        return value

    def write(value: str) -> tuple[str, str]:
        raise Bad("not-reversible", "the network is another field")

    return Codec(read, write)


def _caisse_connue(organisme: str | None, numero: str | None) -> tuple[str, str]:
    """A network and the number of one of its caisses. The MSA's numbers and those of other networks are in no list."""
    network, number = (organisme or "").strip(), (numero or "").strip()
    if network not in nomenclatures.codes("cnaf/FONORGCEDMUT"):
        raise Bad("unknown-code", "cnaf/FONORGCEDMUT")
    if number and network == "CAF" and number not in nomenclatures.codes("cnaf/NUMORG"):
        raise Bad("unknown-code", "cnaf/NUMORG")
    return network, number


@_type("caisse", "numéro de la caisse, connu de la liste des CAF", inputs="several")
def _caisse(row: Row, zone: str) -> Codec:
    """[NUMORG, FONORG]: the number alone. Not reversible."""

    def read(numero: str | None, organisme: str | None) -> str | None:
        return _caisse_connue(organisme, numero)[1] if numero and not numero.isspace() else None

    return Codec(read, _without_return)


@_type("autre_caisse", "organisme et numéro d'une autre caisse, connus des listes", inputs="several")
def _autre_caisse(row: Row, zone: str) -> Codec:
    """[NUMORG…, FONORG…] of a caisse where the household was or goes: « CAF 641 ». Not reversible."""

    def read(numero: str | None, organisme: str | None) -> str:
        return " ".join(_caisse_connue(organisme, numero)).rstrip()

    return Codec(read, _without_return)


@_type("numero_demande", "numéro de demande RSA, 11 caractères", bounded=True)
def _numero_demande(row: Row, zone: str) -> Codec:
    slow = _say(n.numero_demande, "bad-numero-demande", "11 caractères")

    def read(text: str) -> Any:
        plain = len(text) == 11 and text.isascii() and text.isdigit() and text[0:10] != "0000000000"
        return text if plain else slow(text)

    return Codec(read, str)


@_type("ft_numero", "numéro France Travail, 11 chiffres")
def _ft_numero(row: Row, zone: str) -> Codec:
    return Codec(_say(n.ft_numero, "bad-ft-numero", "11 chiffres"), str)


@_type("idassedic", "ancien identifiant demandeur d'emploi (8 caractères)", bounded=True)
def _idassedic(row: Row, zone: str) -> Codec:
    return Codec(_say(lambda text: n.identifiant("ft_idassedic", text).valeur, "bad-idassedic", "8 caractères"), str)


@_type("siret", "SIRET")
def _siret_type(row: Row, zone: str) -> Codec:
    def read(text: str) -> str:
        compact = re.sub(r"\s", "", text)
        return compact if _siret.is_valid(compact) else ""

    return Codec(_say(read, "bad-siret", "14 chiffres"), str)


# --- contact and places ---------------------------------------------------------------------------------------------


@_type("phone", "téléphone")
def _phone(row: Row, zone: str) -> Codec:
    """One number, kept in E.164; written as the partner dials it (`width` 10: national form)."""

    def write(value: str) -> str:
        return n.dialled(value) if row.width == 10 else value

    return Codec(_say(n.phone, "bad-phone"), write)


@_type("phones", "téléphones dans une cellule", many=True)
def _phones(row: Row, zone: str) -> Codec:
    """Several numbers in one cell; one that cannot be read is named, the others are kept aside with it."""

    def read(text: str) -> list[str] | None:
        if not text.strip():
            return None
        found = n.phones(text)
        if found.illisibles:
            raise Bad("bad-phone", f"{len(found.illisibles)} illisible")
        return list(found.numeros) or None

    one = _phone(row, zone).write
    return Codec(read, lambda value: (row.separator or " / ").join(one(number) for number in value))


@_type("email", "courriel")
def _email(row: Row, zone: str) -> Codec:
    """Lower case; the address that RDV Service Public puts in place of an erased one says nothing."""

    def read(text: str) -> str | None:
        if not text.strip() or n.is_erased_email(text):
            return None
        if not (address := n.email(text)):
            raise Bad("bad-email")
        return address

    return Codec(read, str)


@_type("postcode", "code postal", memo=True, bounded=True)
def _postcode(row: Row, zone: str) -> Codec:
    return Codec(_say(n.postcode, "bad-postcode", "5 chiffres"), str)


@_type("commune", "code commune INSEE", memo=True, bounded=True)
def _commune(row: Row, zone: str) -> Codec:
    return Codec(_say(n.commune_code, "bad-commune", "5 caractères"), str)


def _abroad(code: str) -> bool:
    """Codes of INSEE that begin so are countries: nobody was born in a commune of that code."""
    return code.startswith("99")


@_type("birth_commune", "code INSEE de la commune de naissance, en France", memo=True)
def _birth_commune(row: Row, zone: str) -> Codec:
    """One column holds the commune or the country of birth; the country is read by `birth_country`."""
    read = _say(n.commune_code, "bad-commune", "5 caractères")
    return Codec(lambda text: None if _abroad(code := read(text) or "") else code or None, str)


@_type("birth_country", "code INSEE du pays de naissance, hors de France", memo=True)
def _birth_country(row: Row, zone: str) -> Codec:
    return Codec(lambda text: code if _abroad(code := n.commune_code(text)) and code != "99100" else None, str)


@_type("code", "code", tells=_ANY)
def _code(row: Row, zone: str) -> Codec:
    """Through the table named by `codes`; the engine does it, because it must tell which code was unknown."""
    if row.codes is None:
        raise MappingError("mapping-type", "a row of type code names its table in codes")
    return Codec(_same, _same)


@_type("code_list", "codes dans une cellule", tells=_ANY, many=True)
def _code_list(row: Row, zone: str) -> Codec:
    """Several codes in one cell, cut at `separator`, each through the table."""
    return _code(row, zone)


# --- employment -----------------------------------------------------------------------------------------------------

_ROME = re.compile(r"[A-Z][0-9]{4}")
_LOCALITY = re.compile(r"\s*([0-9]{5})\s+(\S.*?)\s*")


@_type("rome", "code ROME d'un métier")
def _rome(row: Row, zone: str) -> Codec:
    return Codec(_say(lambda text: found[0] if (found := _ROME.fullmatch(text.strip())) else "", "bad-rome"), str)


_ROME_LAST = re.compile(r"\s*(.*?)\s*\(([A-Z][0-9]{4})\)\s*", re.DOTALL)


@_type("rome_last", "code ROME entre parenthèses, à la fin du métier")
def _rome_last(row: Row, zone: str) -> Codec:
    def read(text: str) -> str | None:
        return found[2] if (found := _ROME_LAST.fullmatch(text)) else None

    return Codec(read, _without_return)


@_type("job_title", "métier, sans le code ROME qui le suit")
def _job_title(row: Row, zone: str) -> Codec:
    def read(text: str) -> str | None:
        return n.clean(found[1] if (found := _ROME_LAST.fullmatch(text)) else text) or None

    return Codec(read, _without_return)


def _without_return(value: Any) -> str:
    raise Bad("not-reversible", "what was read cannot be told apart again")


def _part_of_locality(number: int) -> Codec:
    def read(text: str) -> str | None:
        if not text.strip():
            return None
        if (found := _LOCALITY.fullmatch(text)) is None:
            raise Bad("bad-locality", "code postal puis commune")
        return n.clean(found[number])

    def write(value: Any) -> str:
        raise Bad("not-reversible", "postcode and locality are one text")

    return Codec(read, write)


@_type("locality_postcode", "code postal, au début de la dernière ligne d'adresse")
def _locality_postcode(row: Row, zone: str) -> Codec:
    return _part_of_locality(1)


@_type("locality_name", "commune, à la fin de la dernière ligne d'adresse")
def _locality_name(row: Row, zone: str) -> Codec:
    return _part_of_locality(2)


_ETATS_ORIENTATION = (
    (("CLOTURE", None, None), "terminee"),
    (("OUVERT", "DECIDE", None), "decidee"),
    (("OUVERT", "PRECONISE", None), "proposee"),
    (("EN_ATTENTE", None, "REFUSEE"), "refusee"),
    (("EN_ATTENTE", None, None), "en_attente"),
    (("BROUILLON", None, None), "brouillon"),
)
"""France Travail's etat, statut and decision to one state; None: whatever it says. First line that holds."""
_MOTS_ORIENTATION = (
    {"BROUILLON", "EN_ATTENTE", "OUVERT", "CLOTURE"}, {"PRECONISE", "DECIDE"}, {"ACCEPTEE", "REFUSEE"},
)  # fmt: skip
"""Words of each field: another one waits for a human, also where the state would be known without it."""


@_type("etat_orientation", "état d'une orientation (état, statut et décision de France Travail)", inputs="several")
def _etat_orientation(row: Row, zone: str) -> Codec:
    """[etat, statut, decision]: three fields of France Travail make one state of ours. Not reversible."""

    def read(*texts: str | None) -> str | None:
        said = tuple((text or "").strip() for text in texts)
        if not any(said):
            return None
        if any(word and word not in known for word, known in zip(said, _MOTS_ORIENTATION, strict=True)):
            raise Bad("unknown-code", "etat, statut, etat_decision")
        for line, state in _ETATS_ORIENTATION:
            if all(wanted in (None, word) for wanted, word in zip(line, said, strict=True)):
                return state
        raise Bad("unknown-code", "etat, statut")

    def write(value: str) -> tuple[str, ...]:
        raise Bad("not-reversible", "an authority decides, the gateway never does")

    return Codec(read, write)
