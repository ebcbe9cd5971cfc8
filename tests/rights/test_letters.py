"""A letter of a mailbox is acknowledged once, whoever asks at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from threading import Event
from typing import Any

import pytest
from sqlalchemy import select

from gateway import inbox
from gateway.storage.tables.delivery import mailbox
from tests.rights.conftest import Office, known


@pytest.mark.parametrize("database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
async def test_of_two_acknowledgements_at_once_one_is_the_second(both: Office) -> None:
    """SQLite has one writer at a time: there the second begins when the first has committed."""
    await known(both)
    with both.gateway.reading() as work:
        letter = str(work.connection.scalar(select(mailbox.c.id).where(mailbox.c.body == "ccas")))
    begun = Event()

    def again() -> Any:
        with both.gateway.unit_of_work() as work:
            inbox.find(work, "ccas", letter)
            begun.set()
            return inbox.acknowledge(work, "ccas", letter).acknowledged_at

    with ThreadPoolExecutor(1) as other:
        with both.gateway.unit_of_work() as work:
            assert inbox.acknowledge(work, "ccas", letter).acknowledged_at is None
            second = other.submit(again)
            assert begun.wait(60)
            with pytest.raises(StillWaiting):
                second.result(0.5)
        assert second.result(60)
