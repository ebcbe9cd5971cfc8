"""The same registry and replay memory on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.access.replay import ReplayMemory, Used
from tests.access.office import ABSENT, Office, denied, open_office, unauthenticated

pytestmark = [pytest.mark.postgres]


@pytest.fixture
def office(tmp_path: Path, postgres_database: str) -> Iterator[Office]:
    opened = open_office(tmp_path, database_url=postgres_database)
    yield opened
    opened.gateway.engine.dispose()


async def test_tokens_calls_replays_and_revocation(office):
    assertion = office.ccas.assertion()
    token = (await office.ask(office.ccas, assertion)).json()["access_token"]
    unauthenticated(office, await office.ask(office.ccas, assertion), "assertion-replayed")
    assert (await office.good_call(office.ccas, token)).status_code == 200
    form = office.ccas.form(token=token, grant_type=ABSENT, resource=ABSENT, authorization_details=ABSENT)
    for _ in range(2):
        form["client_assertion"] = office.ccas.assertion()
        assert (await office.post(form, path="/oauth/revoke")).status_code == 200
    denied(office, await office.good_call(office.ccas, token), "token-revoked")


async def test_one_of_many_racing_uses_wins(office):
    use = Used.of("dpop", "key", "jti", 4e9)
    workers = [ReplayMemory(office.gateway.engine) for _ in range(4)]
    won = await asyncio.gather(*(asyncio.to_thread(worker.burn, use) for worker in workers))
    assert sorted(won) == [False, False, False, True]
    twice_each = (workers[0].burn_soon(Used.of("dpop", "k", str(number // 2), 4e9)) for number in range(8))
    assert await asyncio.gather(*twice_each) == [True, False] * 4
