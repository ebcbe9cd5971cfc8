"""The Landes collect from HubEE: the stand-in, the connector, and a reader that keeps what it was given."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn

from connectors.hubee.connector import Hubee
from connectors.hubee.demarches import Demarche
from connectors.hubee.reception import Arrival, Notice
from connectors.hubee.registre import Piece, Registre
from connectors.hubee.sandbox import Sandbox, sandbox
from connectors.transport import Limits, Transport

BASE = "https://hubee.exemple.org"
QUICK = Limits(backoff=0.0, deadline=5.0, failures=100)
RSABEM, RSABAM = b"<Racine>mensuel</Racine>", b"<Racine>anomalies</Racine>"


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 3, 6, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


@contextmanager
def over_http(app: Sandbox) -> Iterator[str]:
    """The stand-in on a real port of this machine; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


class Crash(BaseException):
    """The machine stops here: nothing catches it."""


@dataclass
class Landes:
    """A Département that collects. `read` is what reached its record; `refuse` gives reasons to refuse by content."""

    app: Sandbox
    folder: Path
    clock: Clock
    demarches: tuple[str, ...] = ()
    limits: Limits = QUICK
    read: list[tuple[str, bytes]] = field(default_factory=list)
    refuse: dict[bytes, str] = field(default_factory=dict)
    held: set[bytes] = field(default_factory=set)
    steps: list[str] = field(default_factory=list)
    crash_at: int = 0
    """Stop at this step of the next collection, counted from 1."""

    def step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) == self.crash_at:
            raise Crash(name)

    async def collect(self, *demarches: Demarche) -> list[Arrival | Notice]:
        """One collection, by a process that starts anew."""
        self.steps = []
        found: list[Arrival | Notice] = []
        transport = Transport("hubee", [BASE], limits=self.limits, wire=httpx.ASGITransport(self.app))
        hubee = Hubee(self.app.credentials(BASE, *self.demarches), self.app.now)
        with hubee.open_registre(self.folder) as registre, registre.alone():
            registre.sweep()
            reception = hubee.reception(transport, registre, self.step)
            async for one in reception.arrivals(demarches):
                found.append(one)
                if isinstance(one, Arrival):
                    codes = {
                        piece.type: code for piece in one.to_read if (code := self._read(registre, piece, reception))
                    }
                    held = any(
                        piece.state == "taken" and self._content(registre, piece) in self.held for piece in one.to_read
                    )
                    await reception.settle(one, *one.outcome(codes, held))
            registre.sweep()
        assert self.app.unmatched == []
        return found

    def _content(self, registre: Registre, piece: Piece) -> bytes:
        path = registre.path(piece)
        return path.read_bytes() if path.is_file() else b""

    def _read(self, registre: Registre, piece: Piece, reception) -> str:
        if piece.settled:
            return piece.refusal
        content = self._content(registre, piece)
        if content in self.held:
            return ""
        if code := self.refuse.get(content):
            reception.mark(piece, code)
            return code
        if (piece.type, content) not in self.read:  # what the record does with a replay
            self.read.append((piece.type, content))
        reception.mark(piece)
        return ""

    def files(self) -> list[bytes]:
        return sorted(path.read_bytes() for path in self.folder.glob("*.fichier"))

    def leftovers(self) -> list[str]:
        return [path.name for path in self.folder.glob("*.partiel")]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def landes(tmp_path: Path, clock: Clock) -> Callable[..., Landes]:
    """`landes("empreinte_fausse")`: the Département before a HubEE that has this failure."""

    def build(scenario: str | None = None, *demarches: str, **options) -> Landes:
        return Landes(
            sandbox(scenario, now=clock), tmp_path / "hubee", clock, demarches or ("RSABEM-RSABAM",), **options
        )

    return build


DAY = timedelta(days=1)
