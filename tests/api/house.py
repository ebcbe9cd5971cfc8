"""A gateway served on a loopback socket as `maillon serve` does, its partners, and callers who may do wrong."""

from __future__ import annotations

import gc
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from joserfc.jwk import ECKey
from sqlalchemy import select

from gateway import basis, convention, http_guard, journal
from gateway.access import partners
from gateway.access.client import PartnerAuth
from gateway.app import build
from gateway.demo.stage import FOLDER, NOTICES
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.journal import journal_entry
from tests.conftest import TLS

BODIES = {
    "departement": ("departement", "departement"),
    "ccas": ("ccas", "ccas"),
    "ccas_voisin": ("ccas", "ccas"),
    "caf": ("caf", "caf_msa"),
    "france_travail": ("france_travail", "france_travail"),
    "dpo": ("dpo", "dpo"),
}
PURPOSE = {
    "departement": "accompagnement",
    "ccas": "accompagnement",
    "ccas_voisin": "accompagnement",
    "caf": "instruction_rsa",
    "france_travail": "orientation",
}
SECRET = "un-secret-partage-pour-les-essais"
MB = 1 << 20


@dataclass
class House:
    """Everything one test session needs; `base` is the URL of the server."""

    home: Path
    gateway: Gateway
    base: str
    app: Any
    keys: dict[str, ECKey]
    _auths: dict[tuple[str, str], PartnerAuth] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.base.removeprefix("http://").partition(":")
        return host, int(port)

    def auth(self, body: str, purpose: str = "", scope: str = "") -> PartnerAuth:
        wanted = purpose or PURPOSE.get(body, "")
        key = (body, f"{wanted} {scope}")
        if key not in self._auths:
            named: dict[str, Any] = {"scope": scope} if scope else {"purpose": wanted}
            self._auths[key] = PartnerAuth(self.base, body, self.keys[body], **({"purpose": None} | named))
        return self._auths[key]

    def client(self, body: str, purpose: str = "", scope: str = "") -> httpx.Client:
        return httpx.Client(
            base_url=self.base, auth=self.auth(body, purpose, scope), timeout=30, trust_env=False, verify=TLS
        )

    def anyone(self) -> httpx.Client:
        return httpx.Client(base_url=self.base, timeout=30, trust_env=False, verify=TLS)

    def send(
        self, body: str, document: str, content: Any, media: str = "application/json", key: str = "", **headers: str
    ) -> httpx.Response:
        """Send one document as this body; bytes as they are, anything else as JSON."""
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        given = {"Maillon-Document": document, "Idempotency-Key": key or str(uuid.uuid4())}
        if media:
            given["Content-Type"] = media
        with self.client(body) as client:
            return client.post("/v1/exchanges", content=raw, headers=given | headers)

    def search(self, body: str, content: Any, media: str = "application/json") -> httpx.Response:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        with self.client(body) as client:
            return client.post("/v1/persons/search", content=raw, headers={"Content-Type": media} if media else {})

    def journaled(self, instance: str) -> dict[str, Any]:
        """The journal entry of a refusal, found by the instance of its problem."""
        with self.gateway.engine.connect().execution_options(read_only=True) as connection:
            query = select(journal_entry.c.entry).where(
                journal_entry.c.exchange_id == instance.removeprefix("urn:uuid:")
            )
            (row,) = connection.execute(query).all()
        return dict(json.loads(row.entry))

    def at(self, index: int) -> dict[str, Any]:
        """The journal entry of this index of the main log."""
        with self.gateway.engine.connect().execution_options(read_only=True) as connection:
            (found,) = journal.at(connection, journal.DEFAULT_LOG, index)
        return found.fields

    def entries(self, holding: str = "") -> list[dict[str, Any]]:
        """The journal; the entries alone that hold this text, where they are few."""
        with self.gateway.engine.connect().execution_options(read_only=True) as connection:
            rows = connection.execute(select(journal_entry.c.entry))
            return [json.loads(row.entry) for row in rows if holding.encode() in row.entry]

    def alive(self) -> bool:
        with self.anyone() as client:
            return client.get("/healthz").status_code == 200

    def raw(self, sent: bytes, timeout: float = 5.0, then: bytes = b"") -> bytes:
        """Bytes on the wire, and every byte answered until the server closes or, once it began, falls silent."""
        with socket.create_connection(self.address, timeout=60) as wire:
            wire.sendall(sent)
            if then:
                time.sleep(0.05)
                wire.sendall(then)
            received = b""
            try:
                while block := wire.recv(65_536):
                    received += block
                    wire.settimeout(timeout)
            except (TimeoutError, ConnectionResetError):
                pass
            return received


@contextmanager
def running(config: uvicorn.Config, listening: socket.socket) -> Iterator[None]:
    """A server of its own on this socket, from its first answer on."""
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def opened(home: Path, keys: dict[str, ECKey] | None = None, **settings: Any) -> Iterator[House]:
    """Raise the house in an empty folder, and take it down. With the `keys` of its partners: serve the folder again."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    values: dict[str, Any] = {"profile": "test", "home": home, "issuer": base, "departement": "040"}
    bodies = {"rdv_insertion": {"departement": "040", "secret": SECRET}}
    gateway = Gateway.open(Settings(**(values | {"bodies": bodies} | settings)))
    keys = keys or _furnished(gateway, base)
    app = build(gateway, embedded_worker=False)
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="on", **http_guard.serving())
    try:
        with running(config, listening):
            yield House(home, gateway, base, app, keys)
    finally:
        gateway.engine.dispose()


def _furnished(gateway: Gateway, base: str) -> dict[str, ECKey]:
    keys = {body: ECKey.generate_key("P-256", auto_kid=True) for body in BODIES}
    with gateway.unit_of_work() as work:
        for body, (connector, role) in BODIES.items():
            jwks = {"keys": [keys[body].as_dict(private=False)]}
            partners.register_partner(work, body, connector, jwks, name=f"{body} d'essai", role=role, issuer=base)
        for identifier, text in NOTICES.items():
            basis.publish_notice(work, identifier, 1, text)
        convention.add(work, (FOLDER / "convention.toml").read_bytes())
    gateway.refresh()
    return keys


def problem(answer: httpx.Response, status: int, code: str, *canaries: str) -> dict[str, Any]:
    """The error contract: a problem of this status and code, with an instance and what to do, that repeats nothing."""
    assert answer.status_code == status, (answer.status_code, answer.text[:300])
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["type"] == f"urn:maillon:problem:{code}", told
    assert told["status"] == status
    assert told["instance"].startswith("urn:uuid:")
    assert told.get("detail"), told
    for canary in canaries:
        assert canary not in answer.text
    return told


@contextmanager
def bounded(memory: int = 50 * MB, cpu: float = 1.0) -> Iterator[None]:
    """What happens inside takes less memory and processor time than that, client and server together.

    The peak is counted from here: one that an earlier test reached would hide this one's.
    """
    gc.collect()
    _PEAK_FORGOTTEN.write_text("5")
    before, spent = resident("VmRSS"), time.process_time()
    yield
    assert resident("VmHWM") - before < memory
    assert time.process_time() - spent < cpu


_PEAK_FORGOTTEN = Path("/proc/self/clear_refs")


def resident(what: str) -> int:
    """Bytes of this process in memory now (`VmRSS`), or at most since its peak was forgotten (`VmHWM`); proc(5)."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(f"{what}:"))
    return int(line.split()[1]) * 1024
