"""The migrations give exactly the tables that the code names, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, select, text

from gateway.policy_table import read
from gateway.receipt import Request, row_of
from gateway.storage import open_engine
from gateway.storage.migrate import config, head, is_current, migrate
from gateway.storage.tables import metadata
from gateway.storage.tables.access import client
from gateway.storage.tables.record import exchange


@pytest.fixture(autouse=True)
def _the_migrations_themselves(migrations: Callable[[Engine], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.storage.migrate._upgrade", migrations)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_migrations_and_the_tables_agree(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = (
        request.getfixturevalue("empty_postgres_database") if kind == "postgresql" else f"sqlite:///{tmp_path / 'a.db'}"
    )
    engine = open_engine(url)
    assert not is_current(engine)
    migrate(engine)
    assert is_current(engine)
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert [one for one in _flat(compare_metadata(context, metadata)) if one[0] != "modify_comment"] == []
    engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_index_of_some_rows_is_the_same_made_by_migrations_or_from_the_tables(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    def url(name: str) -> str:
        return (
            request.getfixturevalue("empty_postgres_database")
            if kind == "postgresql"
            else f"sqlite:///{tmp_path / name}"
        )

    migrated = open_engine(url("a.db"))
    migrate(migrated)
    found = _partial(migrated)
    if kind == "postgresql":
        metadata.drop_all(migrated)
    created = open_engine(url("b.db"))
    metadata.create_all(created)
    assert found == _partial(created)
    assert set(found) == {
        "ix_outbox_due", "ix_outbox_stuck", "ix_journal_entry_reads", "ix_journal_entry_erased",
        "ix_person_merged_into",
    }  # fmt: skip
    for engine in (migrated, created):
        engine.dispose()


def _partial(engine: Engine) -> dict[str, str]:
    asked = inspect(engine)
    return {
        str(index["name"]): str(where)
        for table in metadata.tables
        for index in asked.get_indexes(table)
        if (where := index.get("dialect_options", {}).get(f"{engine.dialect.name}_where")) is not None
    }


def _flat(differences: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    for one in differences:
        if isinstance(one, list):
            yield from _flat(one)
        else:
            yield one


def test_the_last_migration_is_found_without_alembic() -> None:
    assert head() == ScriptDirectory.from_config(config()).get_current_head()


def test_an_exchange_for_many_purposes_is_remembered_under_as_many_as_its_row_holds_none_of_them_cut() -> None:
    every = tuple(read().purposes)
    row = row_of(Request("1", "caf", "caf.flux_beneficiaire", ()), "2026-11-21T08:30:00.000000Z", every)
    assert len(row["purpose"]) <= exchange.c.purpose.type.length  # type: ignore[attr-defined]
    assert set(row["purpose"].split(",")) < set(every)


@pytest.mark.postgres
def test_a_migration_waits_for_who_holds_a_table_and_nobody_waits_behind_it(empty_postgres_database: str) -> None:
    """A backup, or the former version in the middle of something: what else runs goes on meanwhile."""
    engine = open_engine(empty_postgres_database)
    with engine.connect() as connection:
        connection.begin()
        command.upgrade(config(connection), "0017")
        connection.commit()
    with engine.begin() as connection:
        connection.execute(text(
            "insert into client (client_id, body, name, connector, role, state, purposes, tokens_from, created_at,"
            " changed_at) values ('caf', 'caf', 'CAF', 'caf', 'caf_msa', 'active', 'null', 0, 'a', 'a')"
        ))  # fmt: skip
    with ThreadPoolExecutor() as other, engine.connect() as held, engine.connect() as beside:
        held.execute(text("lock table client in access share mode"))
        beside.execute(text("set statement_timeout = '20s'"))
        migrating = other.submit(migrate, engine)
        waits = text("select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock'")
        while not beside.execute(waits).scalar():
            assert not migrating.done()
        assert beside.execute(text("select client_id from client")).scalar() == "caf", "not behind the migration"
        beside.rollback()
        held.rollback()
        migrating.result(120)
    assert is_current(engine)
    with engine.connect() as connection:
        assert connection.execute(select(client.c.client_id, client.c.credential_ends)).all() == [("caf", None)]
    engine.dispose()
