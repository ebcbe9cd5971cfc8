"""Rows and changes gathered by a unit of work: each is written as it was given, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import JSON, Column, Engine, MetaData, String, Table, bindparam, select, update

from gateway.storage import open_engine
from gateway.storage.tables import metadata
from gateway.storage.tables.record import person
from gateway.unit_of_work import UnitOfWork


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/rows.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = open_engine(url)
    metadata.create_all(opened)
    yield opened
    metadata.drop_all(opened)
    opened.dispose()


def test_a_doubtful_person_stays_doubtful_beside_certain_ones(engine: Engine) -> None:
    """Rows of one table may tell different columns: none of them is lost, whatever came first."""
    with UnitOfWork(engine) as work:
        work.add(person, id="certain", created_at=work.now, wrapped_key=b"k")
        work.add(person, id="doubtful", created_at=work.now, wrapped_key=b"k", provisional=1)
        work.add(person, wrapped_key=b"other", id="reordered", created_at=work.now)
    with engine.connect() as connection:
        rows = connection.execute(select(person.c.id, person.c.provisional, person.c.wrapped_key)).all()
    assert {(row.id, row.provisional, bytes(row.wrapped_key)) for row in rows} == {
        ("certain", 0, b"k"),
        ("doubtful", 1, b"k"),
        ("reordered", 0, b"other"),
    }


def test_a_change_keeps_its_constants_and_takes_its_parameters_by_name(engine: Engine) -> None:
    erased = (
        update(person).where(person.c.id == bindparam("who")).values(wrapped_key=None, erased_at=bindparam("moment"))
    )
    with UnitOfWork(engine) as work:
        work.add(person, id="one", created_at=work.now, wrapped_key=b"k")
        work.add(person, id="two", created_at=work.now, wrapped_key=b"k")
        work.change(erased, moment="2026-01-01", who="one")
        work.change(erased, who="two", moment="2026-01-02")
    with engine.connect() as connection:
        rows = connection.execute(select(person.c.id, person.c.erased_at, person.c.wrapped_key)).all()
    assert {tuple(row) for row in rows} == {("one", "2026-01-01", None), ("two", "2026-01-02", None)}


def test_what_the_driver_would_not_take_as_it_is_is_refused_and_nothing_is_kept(engine: Engine) -> None:
    strange = Table("strange", MetaData(), Column("id", String(4)), Column("content", JSON))
    with pytest.raises(TypeError, match="content"), UnitOfWork(engine) as work:
        work.add(person, id="one", created_at=work.now, wrapped_key=b"k")
        work.add(strange, id="a", content={})
    with pytest.raises(TypeError), UnitOfWork(engine) as work:
        work.add(person, id="one", created_at=work.now, wrapped_key=b"k", height=3)
    with engine.connect() as connection:
        assert connection.execute(select(person)).all() == []
