"""The words that readers are shown: French as it is written."""

from __future__ import annotations

import re
import unicodedata

import pytest

from gateway.words import day, in_words, strings
from schemas import nomenclatures
from schemas.fields import FIELDS


def _lists() -> set[str]:
    named = {champ.liste for champ in FIELDS.values()} | {key.liste for champ in FIELDS.values() for key in champ.cles}
    return {name for name in named if name}


def _codes() -> set[str]:
    """The codes shown without a label of their own: parts of paths, closed values, labels that repeat their code."""
    steps = {step for path in FIELDS for step in path.replace("[]", "").split(".")[:-1]}
    values = {str(value) for champ in FIELDS.values() for value in champ.valeurs}
    labels = {code.libelle for name in _lists() for code in nomenclatures.codes(name).values()}
    return steps | values | {label for label in labels if re.fullmatch(r"[a-z_]+", label)}


def _written() -> set[str]:
    """Every word of our own French."""
    told = [champ.description for champ in FIELDS.values()]
    told += [code.libelle for name in _lists() for code in nomenclatures.codes(name).values()]
    told += [text for section, all_ in strings().items() if section != "mot" for text in all_.values()]
    return set(re.findall(r"[^\W\d_]+", " ".join(told).lower()))


def _bare(word: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFD", word) if not unicodedata.combining(sign))


_PLAIN = {"date", "demande", "efface", "garde", "invalide", "la", "ou", "presente", "sur"}
"""Words that are French with and without an accent, and are meant without."""


def test_no_code_is_shown_without_its_accents() -> None:
    accented = {_bare(word) for word in _written() if _bare(word) != word} - _PLAIN
    shown = {code: in_words(code) for code in _codes()}
    assert {code: text for code, text in shown.items() if accented & set(re.findall(r"[^\W\d_]+", text))} == {}
    assert not [text for text in shown.values() if "_" in text]


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("1989-09-21", "21/09/1989"),
        ("1989-09", "09/1989"),
        ("1989-00-00", "1989"),
        ("2026-11-21T23:30:00Z", "22/11/2026"),
        (None, "–"),
    ],
)
def test_a_day_is_the_one_of_paris_and_as_much_of_it_as_is_known(told: str | None, shown: str) -> None:
    assert day(told) == shown
