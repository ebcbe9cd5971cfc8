"""The flat files that France Travail sends to Départements, on real samples and on damaged ones."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from connectors.contract import DocumentRefused
from connectors.france_travail import lecture
from schemas import paths

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples" / "carnet_de_bord"
SPIE = SAMPLES / "i03300c.j.extract_spie_carnet_spie_carnet_de_bord_principal.csv"
ACTIONS = SAMPLES / "actions_example.csv"


@pytest.fixture
def spie() -> bytes:
    if not SPIE.exists():
        pytest.skip(f"needs {SPIE.name} in the shared samples")
    return SPIE.read_bytes()


@pytest.fixture
def actions() -> bytes:
    if not ACTIONS.exists():
        pytest.skip(f"needs {ACTIONS.name} in the shared samples")
    return ACTIONS.read_bytes()


def read(document: str, content: bytes):
    return list(lecture.read(f"france_travail.{document}", io.BytesIO(content)))


def test_the_real_extract_has_the_forty_four_columns(spie: bytes) -> None:
    header = spie.splitlines()[0].decode().split(";")
    assert tuple(header) == lecture.TABLES["france_travail.flux_spie"]
    assert len(header) == 44


def test_the_real_extract_is_read_line_by_line(spie: bytes) -> None:
    records = read("flux_spie", spie)
    assert len(records) == 4
    first = records[0].personnes[0].facts
    assert first["personne.date_naissance"] == "1982-02-01"
    assert first["personne.adresses[residence].code_postal"] == "08300"
    assert first["projets[france_travail:metier_1].rome"] == "A1101"
    assert not any("NULL" in str(value) for record in records for value in record.personnes[0].facts.values())
    assert [paths.check(record.personnes[0].facts) for record in records] == [[]] * 4
    assert [finding.code for record in records for finding in record.findings] == ["bad-rome"]
    assert len({record.key for record in records}) == 4


def test_reading_the_same_extract_again_gives_the_same_digests(spie: bytes) -> None:
    assert [r.digest for r in read("flux_spie", spie)] == [r.digest for r in read("flux_spie", spie)]


def test_the_real_actions_are_all_read_each_under_its_own_key(actions: bytes) -> None:
    records = read("actions", actions)
    assert len(records) == 125
    assert [finding for record in records for finding in record.findings] == []
    assert all(paths.check(record.personnes[0].facts) == [] for record in records)
    different = {(record.key, record.digest) for record in records}
    assert len({key for key, _ in different}) == len(different), "two actions never share a key"


def line(spie: bytes, number: int, **cells: str) -> bytes:
    """The header and one line of the sample, some cells changed."""
    lines = spie.decode().splitlines()
    names, values = lines[0].split(";"), lines[number].split(";")
    values = [cells.get(name, value) for name, value in zip(names, values, strict=True)]
    return "\n".join([lines[0], ";".join(values)]).encode()


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ({"date_naissance": "31/02/1982"}, "bad-date"),
        ({"date_naissance": "NULL"}, "missing-required"),
        ({"civilite": "DR"}, "unknown-code"),
        ({"inscription": "hier"}, "bad-date"),
        ({"adresse_ligne6": "RETHEL"}, "bad-locality"),
        ({"dif_sante": "PEUT-ETRE"}, "unknown-code"),
        ({"referent_mail": "pas un courriel"}, "bad-email"),
    ],
)
def test_a_cell_that_cannot_be_read_is_told_and_the_rest_is_kept(spie: bytes, cells: dict, code: str) -> None:
    (record,) = read("flux_spie", line(spie, 1, **cells))
    assert {finding.code for finding in record.findings} == {code}
    assert record.personnes[0].facts["personne.nom_naissance"] == "TIFOUR"
    value = next(iter(cells.values()))
    assert value not in repr(record.findings)


def test_two_lines_of_one_person_are_told_and_none_takes_the_other_away(spie: bytes) -> None:
    head, line, *_ = spie.splitlines()
    first, second = read("flux_spie", b"\n".join([head, line, line.replace(b"RETHEL", b"SEDAN"), b""]))
    assert first.key == second.key
    assert "repeated-record" not in [one.code for one in first.findings]
    assert "repeated-record" in [one.code for one in second.findings]
    assert (first.partial, second.partial) == (False, True)


def test_an_indicator_at_no_is_not_a_frein(spie: bytes) -> None:
    (record,) = read("flux_spie", line(spie, 1, dif_transport="O", dif_sante="N", dif_inser_com="O"))
    freins = {path: value for path, value in record.personnes[0].facts.items() if path.startswith("freins")}
    assert freins == {"freins[mobilite].valeur": "present"}


def test_shifted_cells_reject_the_line(spie: bytes) -> None:
    (record,) = read("flux_spie", line(spie, 1, brsa="O;surplus"))
    assert record.rejected
    assert [finding.code for finding in record.findings] == ["surplus-cells"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda raw: raw.replace(b"code_safir", b"code_aurore", 1), "missing-column"),
        (lambda raw: raw.replace(b"civilite", b"nom", 1), "table-duplicate-header"),
        (lambda raw: b"", "table-empty"),
        (lambda raw: b"<html>" + raw, "table-format"),
    ],
    ids=["missing", "twice", "empty", "html"],
)
def test_another_file_is_refused_whole(spie: bytes, change, code: str) -> None:
    with pytest.raises(DocumentRefused) as caught:
        read("flux_spie", change(spie))
    assert caught.value.code == code


def test_columns_may_come_in_another_order_and_code_page(spie: bytes) -> None:
    lines = [row.split(";")[::-1] for row in spie.decode().splitlines()[:2]]
    other = "\r\n".join(";".join(row) for row in lines).encode("cp1252")
    assert read("flux_spie", other)[0].personnes == read("flux_spie", spie)[0].personnes
