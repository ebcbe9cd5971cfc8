"""The console's pages on PostgreSQL; the browser looks at them on SQLite."""

from __future__ import annotations

import httpx
import pytest

from gateway import retention, volumes
from gateway.app import build
from gateway.console import places
from tests.rights.conftest import ISSUER, Office, known

_ROLES = ("dpo", "integration", "operateur")


@pytest.mark.parametrize("both", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
async def test_every_page_opens_on_postgresql_too(both: Office) -> None:
    await known(both)
    retention.keep(both.gateway)
    volumes.keep(both.gateway)
    wire = httpx.ASGITransport(build(both.gateway, embedded_worker=False))
    answers = {}
    for role in _ROLES:
        async with httpx.AsyncClient(transport=wire, base_url=ISSUER, follow_redirects=True) as client:
            await client.get(f"/console/connexion?comme={role}")
            for place in places():
                if place.method == "GET" and "{" not in place.path and role in place.roles:
                    answer = await client.get(place.path)
                    answers[role, place.path] = answer.status_code, answer.url.path
    assert len(answers) > 25
    assert {asked: told for asked, told in answers.items() if told != (200, asked[1])} == {}
