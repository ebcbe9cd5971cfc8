"""What a partner's number, name or date becomes before it is compared or kept.

Pure functions, without any list of a partner. Unreadable input gives an empty answer or the mark ``invalide``, never
an exception and never a guess. Values that identify someone are wrapped in types whose `repr` is masked.
Sources: INSEE (NIR), the CNAF's and MSA's files, ITU-T E.164 and the ARCEP numbering plan.
"""

from __future__ import annotations

import re
import unicodedata
from calendar import monthrange
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from stdnum.fr import nir as _stdnum_nir

from schemas.composition import normal

Controle = Literal["valide", "invalide", "non_verifiable"]
"""Result of checking a number: its key agrees, its form or key is wrong, or it carries nothing to check."""


class Nir(str):
    """A NIR that does not show itself: `repr`, `str` and formatting are masked; `valeur` gives the text."""

    __slots__ = ()

    @property
    def valeur(self) -> str:
        return "".join(self)

    def __repr__(self) -> str:
        return "Nir(•••)" if self else "Nir('')"

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, spec: str) -> str:
        return repr(self)


# --- text -----------------------------------------------------------------------------------------------------------

_BLANKS = re.compile(r"\s+")
_NOT_ALNUM = re.compile(r"[\W_]+")
_LETTERS_WITHOUT_DECOMPOSITION = str.maketrans(
    {
        "Œ": "OE", "Æ": "AE", "ẞ": "SS", "Ø": "O", "Đ": "D", "Ð": "D", "Þ": "TH", "Ł": "L", "Ħ": "H", "ı": "I",
        "Ŋ": "N", "Ŧ": "T", "Ə": "E", "Ɓ": "B", "Ɗ": "D", "Ƙ": "K", "Ɔ": "O", "Ɛ": "E",
    }
)  # fmt: skip


def clean(text: str) -> str:
    """Text as it is kept: NFC, without control or invisible formatting characters, blanks collapsed."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split()) if " " in text else text
    visible = "".join(" " if c.isspace() else c for c in normal("NFC", text) if c.isspace() or not _is_invisible(c))
    return _BLANKS.sub(" ", visible).strip()


def in_plain_sight(text: str) -> bool:
    """Is it one line whose every character is shown, in the order written? No control, no change of direction."""
    return not any(map(_is_invisible, text))


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def name_key(name: str) -> str:
    """Comparison key of a name: upper case, unaccented, hyphen, apostrophe and blanks as one space.

    Civil-status files are upper case and unaccented, forms are not. The name itself is kept as it was written.
    """
    if not name.isascii():
        # Case first: `ß` only becomes SS there. Transliteration last: accents are gone by then (Ǿ → Ø → O).
        folded = normal("NFKD", clean(name).upper()).upper()
        name = "".join(c for c in folded if not unicodedata.combining(c)).translate(_LETTERS_WITHOUT_DECOMPOSITION)
    return _NOT_ALNUM.sub(" ", name).strip().upper()


def is_initial(first_name: str) -> bool:
    """Whether this is no first name but what it begins with: `M.`, `J.-P.`."""
    letters = name_key(first_name).split()
    return bool(letters) and all(len(one) == 1 for one in letters)


def same_name(one: str, other: str) -> bool:
    """Whether two names agree once folded. A text without a letter is nobody's name."""
    return bool(key := name_key(one)) and key == name_key(other)


# --- NIR ------------------------------------------------------------------------------------------------------------

_NIR_13 = re.compile(r"[123478]\d{5}(?:\d|(?<=2)[AB])\d{6}")
_SEPARATORS = re.compile(r"[\s.\-_ ]+")
PROVISIONAL_FIRST_DIGITS = frozenset("3478")
"""People whose registration is in progress (NIA): accepted, never a proof on their own."""


@dataclass(frozen=True, slots=True)
class NirLu:
    """A NIR as it was read. `valeur`: the 13 characters used to compare (empty when the form is wrong)."""

    valeur: Nir
    cle: str = field(repr=False)
    """Key of these 13 characters, computed, two digits."""
    controle: Controle
    provisoire: bool

    @property
    def complet(self) -> Nir:
        """The 15 characters, with the computed key."""
        return Nir(self.valeur.valeur + self.cle)


_NIR_UNREADABLE = NirLu(Nir(""), "", "invalide", False)


def nir_key(treize: str) -> str:
    """Key of the 13 characters: 97 − (n mod 97), 2A counting as 19 and 2B as 18."""
    key: str = _stdnum_nir.calc_check_digits(treize)
    return key


def nir(text: str) -> NirLu:
    """Read a NIR of 13 or 15 characters, blanks and separators ignored.

    A missing key makes it ``non_verifiable``, a wrong one ``invalide`` (the 13 characters are still given, so that
    the record can be shown to a human). A month above 12 is accepted: it means unknown.
    """
    compact = _SEPARATORS.sub("", text).upper()
    body = compact[:13]
    if len(compact) not in (13, 15) or not compact.isascii() or not _NIR_13.fullmatch(body):
        return _NIR_UNREADABLE
    key, sent = nir_key(body), compact[13:]
    controle: Controle = "non_verifiable" if not sent else "valide" if sent == key else "invalide"
    return NirLu(Nir(body), key, controle, body[0] in PROVISIONAL_FIRST_DIGITS)


def nir_disagreements(treize: str, sexe: str | None = None, date_naissance: str | None = None) -> list[str]:
    """What a NIR contradicts: ``sexe``, ``annee``, ``mois``. Catches columns that slipped in a spreadsheet.

    `sexe` is ``masculin`` or ``feminin``; `date_naissance` may be partial. Months above 12 say nothing.
    """
    found: list[str] = []
    if not treize:
        return found
    if sexe in ("masculin", "feminin") and (treize[0] in "137") != (sexe == "masculin"):
        found.append("sexe")
    if date_naissance and treize[1:3] != date_naissance[2:4]:
        found.append("annee")
    month = treize[3:5]
    if date_naissance and len(date_naissance) >= 7 and "01" <= month <= "12" and month != date_naissance[5:7]:
        found.append("mois")
    return found


def looks_like_nir(text: str) -> bool:
    """Whether a number may well be a NIR, whatever column it came in: then NIR rules apply to it.

    True for a valid 15-character NIR, and for 13 characters (or 13 padded with two zeros) of plausible month and
    order number.
    """
    compact = _SEPARATORS.sub("", text).upper()
    read = nir(compact)
    if read.controle == "valide":
        return True
    if not read.valeur or (len(compact) == 15 and not compact.endswith("00")):
        return False
    body = read.valeur.valeur
    return body[10:] != "000" and body[5:10] != "00000" and ("01" <= body[3:5] <= "12" or body[3:5] >= "20")


# --- other identifiers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identifiant:
    """An identifier once normalised. `systeme` may differ from the announced one: an MSA number that is a NIR."""

    systeme: str
    valeur: str = field(repr=False)
    """Normalised value; empty when unreadable."""
    controle: Controle = "non_verifiable"
    provisoire: bool = False


def caf_matricule(text: str) -> str:
    """CAF file number on 7 digits, whichever side it was padded on; empty when it is not a number.

    Names a household inside one caisse, never a person.
    """
    digits = _BLANKS.sub("", text)
    if not (digits.isascii() and digits.isdigit()) or not digits.strip("0"):
        return ""
    if digits.endswith("00000000"):  # completed to 15, then written as a number: 012345600000000 → 12345600000000
        digits = digits.rjust(15, "0")
    if len(digits) > 7 and digits[7:].strip("0"):
        digits = digits.lstrip("0")
    if len(digits) > 7 and not digits[7:].strip("0"):
        digits = digits[:7]
    return digits.rjust(7, "0")


def _identify_nir(text: str) -> Identifiant:
    read = nir(text)
    return Identifiant("nir", read.valeur.valeur, read.controle, read.provisoire)


def _identify_caf(text: str) -> Identifiant:
    number = caf_matricule(text)
    return Identifiant("caf_matricule", number, "non_verifiable" if len(number) == 7 else "invalide")


def msa_numero(text: str) -> Identifiant:
    """MSA number; when it looks like a NIR it *is* one, with its level and rules (``systeme`` becomes ``nir``)."""
    if looks_like_nir(text):
        compact = _SEPARATORS.sub("", text)
        return _identify_nir(compact[:13] if nir(compact).controle == "invalide" else compact)
    compact = _SEPARATORS.sub("", text).upper()
    readable = compact.isascii() and compact.isalnum() and bool(compact.strip("0"))
    return Identifiant("msa_numero", compact if readable else "", "non_verifiable" if readable else "invalide")


_ELEVEN_DIGITS = re.compile(r"[0-9]{11}")


def ft_numero(text: str) -> str:
    """France Travail national number: exactly 11 digits, else empty."""
    compact = _BLANKS.sub("", text)
    return compact if _ELEVEN_DIGITS.fullmatch(compact) else ""


def _identify_ft(text: str) -> Identifiant:
    number = ft_numero(text)
    return Identifiant("ft_numero", number, "non_verifiable" if number else "invalide")


def _identify_idassedic(text: str) -> Identifiant:
    compact = _BLANKS.sub("", text).upper()
    readable = len(compact) == 8 and compact.isascii() and compact.isalnum()
    return Identifiant("ft_idassedic", compact if readable else "", "non_verifiable" if readable else "invalide")


_IDENTIFY: dict[str, Callable[[str], Identifiant]] = {
    "nir": _identify_nir,
    "caf_matricule": _identify_caf,
    "msa_numero": msa_numero,
    "ft_numero": _identify_ft,
    "ft_idassedic": _identify_idassedic,
}


def identifiant(systeme: str, text: str) -> Identifiant:
    """Normalise an identifier of any system (``si_departement:40`` and other scoped ones are kept verbatim)."""
    if known := _IDENTIFY.get(systeme):
        return known(text)
    verbatim = clean(text)
    return Identifiant(systeme, verbatim, "non_verifiable" if verbatim else "invalide")


def numero_demande(text: str) -> str:
    """RSA request number on 11 characters: MSA and contact files drop the leading zero. Empty when unreadable."""
    compact = _BLANKS.sub("", text).upper()
    if not compact.isascii() or not compact.isalnum() or len(compact) > 11 or not compact.strip("0"):
        return ""
    return compact.rjust(11, "0")


# --- contact --------------------------------------------------------------------------------------------------------

OVERSEAS_PREFIXES = {
    "0262": "262", "0263": "262", "0692": "262", "0693": "262", "0269": "262", "0639": "262",
    "0590": "590", "0690": "590", "0691": "590",
    "0594": "594", "0694": "594",
    "0596": "596", "0696": "596", "0697": "596",
    "0508": "508",
}  # fmt: skip
"""First four digits of a ten-digit overseas number to its country code (ARCEP numbering plan)."""

_OVERSEAS_CODES = {"262": 9, "590": 9, "594": 9, "596": 9, "508": 6, "687": 6, "681": 6, "689": 8}
_PHONE_NOISE = re.compile(r"[\s.\-_()/\u2010-\u2015]+")
_PHONE_SPLIT = re.compile(r"[;,|\n\r]|\bou\b|\bet\b", re.IGNORECASE)
_TWO_NATIONAL = re.compile(r"(0[1-9]\d{8})(0[1-9]\d{8})")


def phone(text: str) -> str:
    """One number in E.164 (``+33612345678``), France by default; empty when it cannot be a number.

    Ten-digit overseas numbers get their own country code. A number whose leading zero a spreadsheet ate is restored.
    """
    compact = _PHONE_NOISE.sub("", text.replace("(0)", ""))
    if compact.startswith("00"):
        compact = "+" + compact[2:]
    if compact.startswith("+"):
        return _international(compact[1:])
    if not (compact.isascii() and compact.isdigit()):
        return ""
    if len(compact) == 11 and compact.startswith("33"):
        return _international(compact)
    if len(compact) == 9 and compact[0] != "0":
        compact = "0" + compact
    return _national(compact)


def _national(ten: str) -> str:
    if len(ten) != 10 or ten[0] != "0" or ten[1] == "0" or not ten[2:].strip("0"):
        return ""
    code = OVERSEAS_PREFIXES.get(ten[:4])
    return f"+508{ten[4:]}" if code == "508" else f"+{code or '33'}{ten[1:]}"


def _international(digits: str) -> str:
    if not (digits.isascii() and digits.isdigit()) or digits.startswith("0"):
        return ""
    if digits.startswith("33"):
        national = digits[2:]
        return _national(national if national.startswith("0") else "0" + national)
    for code, length in _OVERSEAS_CODES.items():
        if digits.startswith(code):
            rest = digits[3:].removeprefix("0") if len(digits) == 4 + length else digits[3:]
            return f"+{code}{rest}" if len(rest) in (length, 9) else ""
    return "+" + digits if 8 <= len(digits) <= 15 else ""


def dialled(number: str) -> str:
    """An E.164 number as it is dialled in France, overseas included, on ten digits; any other as it is."""
    ten = "0508" + number[4:] if number.startswith("+508") else "0" + number[3 if number.startswith("+33") else 4 :]
    return ten if phone(ten) == number else number


@dataclass(frozen=True, slots=True)
class Numeros:
    """The telephone numbers of one cell, and the pieces that are not numbers (kept, never dropped)."""

    numeros: tuple[str, ...] = field(repr=False)
    illisibles: tuple[str, ...] = field(repr=False)


def phones(cell: str) -> Numeros:
    """Every number of a cell, in order and without repetition: `06 12 34 56 78 / 0712345678`."""
    read: dict[str, None] = {}
    unread: list[str] = []
    pending = deque(_PHONE_SPLIT.split(cell))
    while pending:
        piece = pending.popleft().strip()
        if number := phone(piece):
            read[number] = None
        elif joined := _TWO_NATIONAL.fullmatch(_PHONE_NOISE.sub("", piece)):
            pending.extendleft(reversed(joined.groups()))
        elif "/" in piece:
            pending.extendleft(reversed(piece.split("/")))
        elif piece:
            unread.append(piece)
    return Numeros(tuple(read), tuple(unread))


ERASED_EMAIL_DOMAINS = frozenset({"deleted.rdv-solidarites.fr"})
"""RDV Service Public puts an address of this domain in place of an erased person's: an erasure, not a contact."""

_EMAIL = re.compile(r"[^\s@<>\"\\\[\](),;:]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_]{2,63}")


def email(text: str) -> str:
    """An address in lower case, without blanks around or `mailto:`; empty when it is not one address."""
    address = clean(text).removeprefix("mailto:").strip("<> ").lower()
    local = address.partition("@")[0]
    dotted = local.startswith(".") or local.endswith(".") or ".." in local
    return address if not dotted and len(address) <= 254 and _EMAIL.fullmatch(address) else ""


def is_erased_email(address: str) -> bool:
    """Whether the address means that its owner was erased at the source."""
    return address.strip().lower().rpartition("@")[2] in ERASED_EMAIL_DOMAINS


# --- places ---------------------------------------------------------------------------------------------------------

_FLOAT_TAIL = re.compile(r"\.0+$")
_COMMUNE = re.compile(r"(?:\d{5}|2[AB]\d{3})")


def postcode(text: str) -> str:
    """Postcode on five digits: `1000`, typed as a number, is `01000`. Empty when it is not one."""
    digits = _FLOAT_TAIL.sub("", _BLANKS.sub("", text))
    if not (digits.isascii() and digits.isdigit() and 4 <= len(digits) <= 5 and digits.strip("0")):
        return ""
    return digits.rjust(5, "0")


def commune_code(text: str) -> str:
    """INSEE code of a commune on five characters (`2A004`); empty when it is not one."""
    code = _FLOAT_TAIL.sub("", _BLANKS.sub("", text)).upper()
    code = code.rjust(5, "0") if len(code) == 4 and code.isdigit() else code
    return code if code.isascii() and _COMMUNE.fullmatch(code) and code.strip("0") else ""


def departement_code(text: str) -> str:
    """A Département on two or three characters (`40`, `2A`, `971`), also from the three of the caisses (`040`)."""
    code = text.strip().upper()
    return code[1:] if len(code) == 3 and code.startswith("0") else code


# --- dates ----------------------------------------------------------------------------------------------------------

SENTINEL_DATES = frozenset({"0001-01-01", "1900-01-01", "9999-12-31"})
"""Dates that partners' files write for « unknown » or « never »."""

_ISO = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_ZONED = re.compile(r"(?:Z|[+-]\d\d:?\d\d)$")
PARIS = ZoneInfo("Europe/Paris")
"""The time of metropolitan France, which partners write without saying so."""
_FRENCH = re.compile(r"(?:(?:(\d{1,2})[/.\-])?(\d{1,2})[/.\-])?(\d{4})")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\dZ", re.ASCII)
Precision = Literal["annee", "mois", "jour"]


def partial_date(text: str, precision: Precision = "jour") -> str:
    """`AAAA`, `AAAA-MM` or `AAAA-MM-JJ` from ISO or French (`JJ/MM/AAAA`) writing; empty when unknown or wrong. Of an
    instant, the day that it was in France.

    `precision` cuts a conventional date down to what is really known.
    """
    compact = text.strip()
    if len(compact) > 10 and compact[10] in "T ":
        compact = _day_in_france(compact)
    if iso := _ISO.fullmatch(compact):
        year, month, day = iso.groups()
    elif french := _FRENCH.fullmatch(compact):
        day, month, year = french.groups()
    else:
        return ""
    try:
        date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return ""
    parts = [year] + [part.rjust(2, "0") for part in (month, day) if part]
    whole = "-".join(parts)
    return "" if whole in SENTINEL_DATES else "-".join(parts[: ("annee", "mois", "jour").index(precision) + 1])


def _day_in_france(moment: str) -> str:
    """The day of a date that carries an hour: as it is written, unless its zone says that France was elsewhere."""
    if _ZONED.search(moment):
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(moment).astimezone(PARIS).date().isoformat()
    return moment[:10]


def full_date(text: str) -> str:
    """`AAAA-MM-JJ`, or empty when the date is partial, a sentinel or wrong."""
    read = partial_date(text)
    return read if len(read) == 10 else ""


def is_instant(text: str) -> bool:
    """Whether a text is an instant as we write it, in UTC and whole seconds: most that partners send already are."""
    if not _INSTANT.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def compatible_dates(born: str) -> list[str]:
    """What else a birth date may be written as: less precise (`1985-06`, `1985`), or more when its day is unknown."""
    wider = [born[:length] for length in (7, 4) if length < len(born)]
    if len(born) == 10 or not born:
        return wider
    year = int(born[:4])
    months = [int(born[5:])] if len(born) == 7 else range(1, 13)
    days = [f"{year:04d}-{month:02d}-{day:02d}" for month in months for day in range(1, monthrange(year, month)[1] + 1)]
    return [*wider, *([f"{year:04d}-{month:02d}" for month in months] if len(born) == 4 else ()), *days]
