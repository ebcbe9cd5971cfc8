"""Rows and changes gathered by a unit of work: each is written as it was given, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, String, Table, bindparam, select, update
from sqlalchemy.exc import DBAPIError

from gateway.lookup import rows
from gateway.storage import open_engine, upsert
from gateway.storage.tables import metadata
from gateway.storage.tables.record import identifier, person
from gateway.unit_of_work import UnitOfWork


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/rows.db" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
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
        found = connection.execute(select(person.c.id, person.c.provisional, person.c.wrapped_key)).all()
    assert {(row.id, row.provisional, bytes(row.wrapped_key)) for row in found} == {
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
        found = connection.execute(select(person.c.id, person.c.erased_at, person.c.wrapped_key)).all()
    assert {tuple(row) for row in found} == {("one", "2026-01-01", None), ("two", "2026-01-02", None)}


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 131])
def test_any_number_of_rows_is_written_in_their_order_and_the_first_of_one_key_stays(
    engine: Engine, count: int
) -> None:
    order = Table("order_of_rows", MetaData(), Column("rank", Integer, primary_key=True), Column("name", String(8)))
    unless_there = upsert(engine.dialect.name, order).on_conflict_do_nothing()
    order.create(engine)
    with UnitOfWork(engine) as work:
        for rank in range(count):
            work.change(unless_there, rank=rank, name=f"n{rank}")
            work.change(unless_there, rank=rank, name="later")
    with engine.connect() as connection:
        found = connection.execute(select(order).order_by(order.c.rank)).all()
    order.drop(engine)
    assert [tuple(row) for row in found] == [(rank, f"n{rank}") for rank in range(count)]


def test_an_upsert_that_takes_a_constant_beside_its_rows_keeps_it(engine: Engine) -> None:
    again = upsert(engine.dialect.name, person).on_conflict_do_update(index_elements=["id"], set_={"erased_at": "then"})
    with UnitOfWork(engine) as work:
        for who in ("one", "two", "one"):
            work.change(again, id=who, created_at="now", wrapped_key=b"k")
    with engine.connect() as connection:
        found = connection.execute(select(person.c.id, person.c.created_at, person.c.erased_at)).all()
    assert {tuple(row) for row in found} == {("one", "now", "then"), ("two", "now", None)}


def test_what_the_driver_would_not_take_as_it_is_is_refused_and_nothing_is_kept(engine: Engine) -> None:
    strange = Table("strange", MetaData(), Column("id", String(4)), Column("content", JSON))
    one = {"id": "one", "created_at": "2026-01-01", "wrapped_key": b"k"}
    for table, row, named in (
        (strange, {"id": "a", "content": {}}, "content"),
        (person, one | {"height": 3}, "height"),
    ):
        with UnitOfWork(engine) as work:
            work.abandon()
            work.add(person, **one)
            work.add(table, **row)
            with pytest.raises(Exception, match=named):
                work.commit()
    with engine.connect() as connection:
        assert connection.execute(select(person)).all() == []


def test_look_ups_find_exactly_the_keys_asked_for(engine: Engine) -> None:
    with UnitOfWork(engine) as work:
        for rank in range(900):
            work.add(person, id=f"p{rank:04d}", created_at=work.now, wrapped_key=bytes([rank % 256]))
    with engine.connect() as connection:
        for count in (0, 1, 2, 3, 5, 400, 401, 900):
            keys = [f"p{rank:04d}" for rank in range(count)]
            found = rows(connection, person, ("id", "wrapped_key"), "id", [*keys, "unknown"])
            assert sorted(row.id for row in found) == keys
        assert rows(connection, person, ("id",), "wrapped_key", [b"\x07"], "id < 'p0100'") == [("p0007",)]
        assert rows(connection, person, ("id",), "id", ["p0001"], "merged_into IS NOT NULL") == []
        with pytest.raises(TypeError, match="height"):
            rows(connection, person, ("height",), "id", ["p0001"])


def test_a_look_up_that_fails_is_told_as_every_failure_of_the_database(engine: Engine) -> None:
    """Whoever waits is then told to come back, rather than that the gateway has a defect."""
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP TABLE identifier")
        with pytest.raises(DBAPIError):
            rows(connection, identifier, ("subject_id",), "index_h", [b"x"])
        connection.rollback()
