"""The migrations give exactly the tables that the code names, on both databases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from gateway.storage import open_engine
from gateway.storage.migrate import config, head, is_current, migrate
from gateway.storage.tables import metadata


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_migrations_and_the_tables_agree(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = request.getfixturevalue("postgres_database") if kind == "postgresql" else f"sqlite:///{tmp_path / 'a.db'}"
    engine = open_engine(url)
    assert not is_current(engine)
    migrate(engine)
    assert is_current(engine)
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert [one for one in _flat(compare_metadata(context, metadata)) if one[0] != "modify_comment"] == []
    engine.dispose()


def _flat(differences: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    for one in differences:
        if isinstance(one, list):
            yield from _flat(one)
        else:
            yield one


def test_the_last_migration_is_found_without_alembic() -> None:
    assert head() == ScriptDirectory.from_config(config()).get_current_head()
