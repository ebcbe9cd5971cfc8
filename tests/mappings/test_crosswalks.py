"""The bridges between code systems, exhaustively: what is exact goes and comes back, what is ambiguous never writes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mappings
from mappings.codes import Table
from mappings.grammar import Codes
from mappings.types import Bad
from schemas import nomenclatures

BORROWED: list[tuple[str, Codes, Table]] = [
    (f"{mapping.id}.v{mapping.version} {name}", codes, mapping.tables[name])
    for mapping in mappings.all_mappings()
    for name, codes in mapping.file.codes.items()
    if codes.crosswalk is not None
]
CHECKED = [one for one in BORROWED if one[1].label is not None]
GRADED = {
    ("niveau_etude", "dsp_nivdipmaxobt"): "grade",
    ("niveau_etude", "dsp_nivetu"): "grade",
    ("freins_situations", "dsp_codes"): "grade_dsp",
    ("freins_situations", "carnet_libelle"): "grade_carnet",
    ("objectifs", "carnet_libelle"): "grade_carnet",
    ("objectifs", "data_inclusion_thematiques"): "grade_data_inclusion",
    ("besoins", "data_inclusion_thematique"): "grade",
}
"""Which column grades the link of which partner's codes. A code of France Travail is the row itself: it has none."""


def ids(cases: list[tuple[str, Codes, Table]]) -> list[str]:
    return [name for name, _, _ in cases]


def exact(table: Table) -> list[tuple[str, str]]:
    """(parent, code) of the rows that are one to one and undisputed."""
    usable = {key: entry for key, entry in table.entries.items() if not entry.disputed and entry.canonical != ""}
    codes_of = Counter((parent, entry.canonical) for (parent, _), entry in usable.items())
    return [
        key for key, entry in usable.items() if codes_of[key[0], entry.canonical] == 1 and not entry.sensitive
    ]  # fmt: skip


def test_the_bridges_are_all_here() -> None:
    assert {codes.crosswalk for _, codes, _ in BORROWED} >= {
        "freins", "freins_situations", "objectifs", "besoins", "niveau_etude", "situation_familiale", "logement",
        "statuts_orientation",
    }  # fmt: skip
    assert len(CHECKED) >= 4


@pytest.mark.parametrize(("name", "codes", "table"), BORROWED, ids=ids(BORROWED))
def test_every_exact_row_goes_and_comes_back(name: str, codes: Codes, table: Table) -> None:
    rows = exact(table)
    assert rows or codes.lossy, "a bridge without a single exact row"
    for parent, code in rows:
        canonical = table.read(code, parent)
        assert canonical is not None
        assert table.write(canonical, parent) == code


@pytest.mark.parametrize(("name", "codes", "table"), BORROWED, ids=ids(BORROWED))
def test_two_exact_codes_never_meet(name: str, codes: Codes, table: Table) -> None:
    read = Counter((parent, table.read(code, parent)) for parent, code in exact(table))
    assert not [place for place, count in read.items() if count > 1]


@pytest.mark.parametrize(("name", "codes", "table"), BORROWED, ids=ids(BORROWED))
def test_an_ambiguous_row_never_writes(name: str, codes: Codes, table: Table) -> None:
    assert codes.crosswalk is not None
    column = GRADED.get((codes.crosswalk, str(codes.partner)))
    if column is None:
        assert codes.grade is None or codes.grade in GRADED.values()
        return
    assert codes.grade == column, "this table would read ambiguous rows as exact ones"
    for row in nomenclatures.crosswalk(codes.crosswalk):
        if row[column] != "ambigu":
            continue
        for code in filter(None, row[str(codes.partner)].split(codes.separator)):
            if not code.startswith(codes.prefix):
                continue
            bare = code.removeprefix(codes.prefix)
            parent = row[codes.parent] if codes.parent else ""
            with pytest.raises(Bad, match="disputed-code"):
                table.read(bare, parent)
            assert bare not in table.reverse.values()


@pytest.mark.parametrize("name", sorted({codes.crosswalk for _, codes, _ in BORROWED if codes.crosswalk}))
def test_a_grade_is_one_of_the_known_words(name: str) -> None:
    for row in nomenclatures.crosswalk(name):
        for column, grade in row.items():
            if column.startswith("grade"):
                assert grade in {"", "exact", "proche", "ambigu", "aucun"}, (name, column)


@pytest.mark.parametrize(("name", "codes", "table"), CHECKED, ids=ids(CHECKED))
def test_a_code_under_another_codes_label_is_quarantined(name: str, codes: Codes, table: Table) -> None:
    labels = {key: entry.label for key, entry in table.entries.items() if entry.label and not entry.disputed}
    for (parent, code), label in labels.items():
        assert table.read(code, parent, label) == table.read(code, parent)
        other = next(one for one in labels.values() if one.casefold() != label.casefold())
        with pytest.raises(Bad, match="label-disagrees"):
            table.read(code, parent, other)


@given(st.sampled_from(BORROWED), st.text(max_size=12))
def test_a_code_of_no_row_is_never_guessed(one: tuple[str, Codes, Table], text: str) -> None:
    _, _, table = one
    if text.strip() and all(code != text.strip() for _, code in table.entries):
        with pytest.raises(Bad, match="unknown-code"):
            table.read(text)


def test_a_code_read_at_a_glance_is_read_as_its_table_reads_it() -> None:
    """What readers look up first holds no code that is disputed, withheld, or another one under another parent."""
    tables = [table for mapping in mappings.all_mappings() for table in mapping.tables.values()]
    read = [(table.read(code), value) for table in tables for code, value in table.plain.items()]
    assert {found is None for found, _ in read} == {True, False}
    assert all(found == value for found, value in read)
    assert all(not table.plain for table in tables if table.has_parent)
