"""The same registry and replay memory on PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from gateway.access.replay import ReplayMemory, Used
from tests.access.office import ABSENT, denied, open_office, unauthenticated

pytestmark = [pytest.mark.postgres]


async def test_tokens_calls_replays_and_revocation(tmp_path, postgres_database):
    office = open_office(tmp_path, database_url=postgres_database)
    assertion = office.ccas.assertion()
    token = (await office.ask(office.ccas, assertion)).json()["access_token"]
    unauthenticated(office, await office.ask(office.ccas, assertion), "assertion-replayed")
    assert (await office.good_call(office.ccas, token)).status_code == 200
    form = office.ccas.form(token=token, grant_type=ABSENT, resource=ABSENT, authorization_details=ABSENT)
    for _ in range(2):
        form["client_assertion"] = office.ccas.assertion()
        assert (await office.post(form, path="/oauth/revoke")).status_code == 200
    denied(office, await office.good_call(office.ccas, token), "token-revoked")


async def test_one_of_many_racing_uses_wins(tmp_path, postgres_database):
    office = open_office(tmp_path, database_url=postgres_database)
    use = Used.of("dpop", "key", "jti", 4e9)
    workers = [ReplayMemory(office.gateway.engine) for _ in range(4)]
    won = await asyncio.gather(*(asyncio.to_thread(worker.burn, use) for worker in workers))
    assert sorted(won) == [False, False, False, True]
    assert (
        await asyncio.gather(*(workers[0].burn_soon(Used.of("dpop", "k", str(n // 2), 4e9)) for n in range(8)))
        == [
            True,
            False,
        ]
        * 4
    )
