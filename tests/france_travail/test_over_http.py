"""The stand-in on a real socket, as `maillon sandbox france_travail` runs it: cuts are cuts there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvicorn

from connectors.contract import Outgoing
from connectors.france_travail.connector import FranceTravail
from connectors.france_travail.sandbox import Sandbox, sandbox
from connectors.transport import Limits, Transport
from tests.france_travail.conftest import facts

RDV = {
    "rendez_vous[departement:1].debut": "2026-12-01T10:30:00Z",
    "rendez_vous[departement:1].motif": "orientation",
    "rendez_vous[departement:1].modalite": "telephone",
    "rendez_vous[departement:1].statut": "prevu",
}


class Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        self.ready.set()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Sandbox], Awaitable[str]]]:
    running: list[tuple[Server, asyncio.Task[None]]] = []

    async def start(app: Sandbox) -> str:
        server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off"))
        task = asyncio.create_task(server.serve())
        running.append((server, task))
        await server.ready.wait()
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield start
    for server, task in running:
        server.should_exit = server.force_exit = True
        await task


async def send(app: Sandbox, base: str, deadline: float = 5.0):
    values = FranceTravail.manifest.configure(app.credentials(base))
    connector, usager = FranceTravail(values), app.usagers["00000000101"]
    outgoing = Outgoing(
        "1", "france_travail.rendez_vous", connector.write("france_travail.rendez_vous", facts(RDV)), facts(RDV),
        {"nir": usager.nir, "date_naissance": usager.date_naissance},
    )  # fmt: skip
    async with Transport.open("france_travail", values, allow_loopback=True) as transport:
        transport.limits = Limits(deadline=deadline, backoff=0.0)
        return await connector.send(outgoing, transport)


@pytest.mark.parametrize(
    ("scenario", "outcome", "code", "made"),
    [
        (None, "delivered", "created", 1),
        ("coupure_apres_ecriture", "delivered", "read_back", 1),
        ("muet", "retry", "deadline", 0),
        ("redirection", "refused", "agent_header_missing", 0),
        ("quota", "retry", "quota", 0),
    ],
)
async def test_a_delivery_over_the_network(serve, scenario: str | None, outcome: str, code: str, made: int) -> None:
    app = sandbox(scenario)
    answer = await send(app, await serve(app), 0.5 if scenario == "muet" else 5.0)
    assert (answer.outcome, answer.code) == (outcome, code)
    assert len(app.usagers["00000000101"].rendez_vous) == made
    assert app.unmatched == []
