"""What nobody had to type twice, as the console shows it: counts by recipient and document, of nobody."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, insert, select, update

from gateway import canonical, meter, meter_readings
from gateway.storage.tables.meter import meter_reading
from gateway.words import say
from tests.browser.conftest import Lived

pytestmark = pytest.mark.browser
PAGE = "/console/double-saisie"


@pytest.fixture
def reading(lived: Lived) -> meter_readings.Reading:
    """Of now, and the only one: other tests add to the dossiers of the demonstration, and move the date."""
    with lived.gateway.unit_of_work() as work:
        assert meter_readings.last(work) is not None, "the demonstration reads the meter"
        work.connection.execute(delete(meter_reading))
    return asyncio.run(meter_readings.keep(lived.gateway))


@contextmanager
def instead(lived: Lived, **values: Any) -> Iterator[None]:
    """The kept readings changed for a while, or taken away when nothing is said of them."""
    with lived.gateway.engine.begin() as connection:
        kept = [row._asdict() for row in connection.execute(select(meter_reading))]
        connection.execute(update(meter_reading).values(**values) if values else delete(meter_reading))
    try:
        yield
    finally:
        with lived.gateway.engine.begin() as connection:
            connection.execute(delete(meter_reading))
            connection.execute(insert(meter_reading), kept)


def rows(client: httpx.Client) -> list[list[str]]:
    """The cells of the first table, in words."""
    text = client.get(PAGE).text
    body = text.partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in body.split("</tr>")]
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in row] for row in cells if row]


@pytest.mark.parametrize("role", ["dpo", "integration"])
def test_each_document_is_shown_with_its_counts(
    lived: Lived, signed_in: Any, reading: meter_readings.Reading, role: str
) -> None:
    shown = rows(signed_in(role))
    assert len(shown) == len(reading.counts) > 3
    for cells, one in zip(shown, reading.counts, strict=True):
        assert cells[0] == lived.gateway.bodies[one.recipient].name
        assert one.document in cells[1]
        share = "–" if one.document == canonical.ID else f"{100 * one.filled // one.fields_total}\u202f%"
        counts = (one.persons, one.fields_total, one.filled, share, one.own, one.empty,
                  one.typed_again, one.in_conflict)  # fmt: skip
        assert [cell.replace("\u202f", "") for cell in cells[2:]] == [str(n).replace("\u202f", "") for n in counts]
    assert reading.total("filled") > 100
    assert [one.line() for one in reading.counts] == [one.line() for one in meter.read(lived.gateway)]


def test_each_count_is_explained_and_nobody_is_named(lived: Lived, signed_in: Any) -> None:
    text = signed_in("dpo").get(PAGE).text
    for key in ("champs", "remplis", "part", "propres", "vides", "retapes", "contredits"):
        assert say(f"double_saisie.{key}_sens").replace("'", "&#39;") in text
    for one in lived.people:
        for secret in (one.person.nir, one.person.nom):
            assert secret not in text


def test_it_is_for_those_who_follow_it(signed_in: Any) -> None:
    other = signed_in("operateur")
    for path in (PAGE, f"{PAGE}/double-saisie.csv"):
        assert other.get(path).status_code == 403
    assert f'href="{PAGE}"' in signed_in("dpo").get("/console/").text
    assert f'href="{PAGE}"' in signed_in("integration").get("/console/divergences").text


def test_the_reading_can_be_taken_away(signed_in: Any, reading: meter_readings.Reading) -> None:
    client = signed_in("integration")
    told = client.get(f"{PAGE}/double-saisie.json").json()
    assert told == {"read_at": reading.read_at, "counts": [one.line() for one in reading.counts]}
    table = client.get(f"{PAGE}/double-saisie.csv")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    lines = list(csv.DictReader(io.StringIO(table.content.decode("utf-8-sig")), delimiter=";"))
    kept = [{name: str(value) for name, value in one.items()} | {"read_at": reading.read_at} for one in told["counts"]]
    assert lines == kept
    assert client.get(f"{PAGE}/autre.csv").status_code == 404


def test_before_the_first_reading_when_it_is_old_when_it_is_off_and_when_a_document_is_not_written(
    lived: Lived, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page() -> str:
        return client.get(PAGE).text.replace("&#39;", "'")

    client = signed_in("dpo")
    assert not [one for one in ("jamais", "ancien", "arrete") if say(f"double_saisie.{one}") in page()]
    with instead(lived):
        assert say("double_saisie.jamais") in page()
        assert "<table" not in page()
        assert client.get(f"{PAGE}/double-saisie.csv").status_code == 404
    with instead(lived, read_at="2020-01-01T00:00:00.000000Z"):
        assert say("double_saisie.ancien") in page()
    with instead(lived, counts='[{"recipient": "gone", "document": "gone.sheet", "not_written": 2}]'):
        assert "2 documents ne peuvent plus être remplis" in page()
        assert "gone.<wbr>sheet" in page()
    with instead(lived, counts="[]"):
        assert say("double_saisie.vide") in page()
    monkeypatch.setattr(lived.gateway.settings, "meter_every", 0.0)
    assert say("double_saisie.arrete") in page()
    assert "<table" in page()
