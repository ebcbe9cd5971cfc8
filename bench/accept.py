"""Accept one JSON exchange over HTTP, at 32 connections: token, proof of possession, reading, three decisions, journal,
durable, 202; beside the sum of its primitives and beside a bare route of the same server, in one run.

    python bench/accept.py [--exchanges N] [--full] [--json]

The server is a process of its own on loopback (uvicorn, SQLite, synchronous FULL); its CPU time is read from the
system, so that the load generator and the neighbours do not count. What it prepares after its start is over before
anything is measured (`bench/console.py` tells what a start costs). `beside_to_alone` is the part of its exchanges
that it still takes when a thread of the same process computes all the time: half would be a fair share. `half_load_…`
are the latencies at half of the pace it was found to take. Each request carries a DPoP proof of its own; the access
token is verified once and remembered. The floor is the sum of the primitives, measured here: one ES256 verification
(the proof), hash of the token, JSON parsing of the body, three decisions, the inserts of one exchange in a batch, the
hashes of its journal entries. HTTP is in none of them: what a bare route of the same server costs is told beside
(`bare_us`, `accept_to_bare`).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common
import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey
from pydantic_core import from_json

from gateway import convention
from gateway.access import partners
from gateway.access.client import PartnerAuth
from gateway.app import WARM_AFTER
from gateway.decide import question
from gateway.registry import Gateway
from schemas.record import Fact

CONNECTIONS = 32
ROWS = 15
"""What an exchange about a new person writes: herself, her household, what is said of both, her stay, three
identifiers, the record, its reception and three decisions in the journal, the exchange, the proof."""
THIRD = """
[[flux]]
de = "ccas"
vers = "departement"
document = "maillon.dossier"
purpose = "accompagnement"
regime = "PIE"
base_legale = ["CASF L263-4-1"]
role_de = "ccas"
"""
FREINS = ("logement", "finances", "famille", "mobilite", "numerique", "administratif_juridique")


def body(rank: int) -> bytes:
    """What a CCAS sends of one person it follows, about 4 kB."""
    name = "".join(chr(65 + rank // 26**place % 26) for place in range(5))
    day = 1 + rank % 28
    visits = [
        {"id": f"s-{rank}-{n}", "date": f"2026-11-{1 + n:02d}", "medium": "PlannedInPerson",
         "types": ["Accompagnement social"], "status": "Done", "firstFollowup": n == 0}
        for n in range(8)
    ]  # fmt: skip
    meetings = [
        {"id": f"r-{rank}-{n}", "debut": f"2026-12-{1 + n:02d}T08:30:00Z", "dureeMin": 60, "motif": "accompagnement",
         "modalite": "presentiel", "premierAccompagnement": n == 0, "lieu": "Mairie", "statut": "prevu"}
        for n in range(6)
    ]  # fmt: skip
    freins = [
        {"theme": theme, "valeur": "present", "impact": "fort", "exploreLe": "2026-11-05T09:00:00Z"} for theme in FREINS
    ]
    return json.dumps(
        {"fileNumber": f"B-{rank:06d}", "birthName": f"Mesure{name}", "firstName": f"Alex{name.lower()}",
         "birthDate": f"19{50 + rank % 50}-0{1 + rank % 9}-{day:02d}", "accomodationMode": "SocialRenting",
         "street": "DES RESINIERS", "zipcode": "40100", "city": "Saint-Aventin-les-Sables", "freins": freins,
         "rendezVous": meetings, "followups": visits}
    ).encode()  # fmt: skip


def prepare(home: Path, issuer: str, key: ECKey) -> None:
    gateway = _common.prepared(home, issuer=issuer)
    with gateway.unit_of_work() as work:
        for id, connector, role in (("ccas", "ccas", "ccas"), ("departement", "departement", "departement")):
            jwks = {"keys": [key.as_dict(private=False)]}
            partners.register_partner(work, id, connector, jwks, name=id.title(), role=role, issuer=issuer)
        convention.add(work, _common.CONVENTION.read_bytes() + THIRD.encode())
    gateway.engine.dispose()


def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def used(pid: int) -> float:
    """CPU seconds of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def settle(pid: int, longest: float = 60.0) -> None:
    """Wait until a server has prepared itself and has nothing more to do: two seconds in a row of almost no CPU."""
    time.sleep(WARM_AFTER + 0.5)
    quiet, until = 0, time.monotonic() + longest
    while quiet < 2 and time.monotonic() < until:
        before = used(pid)
        time.sleep(1)
        quiet = quiet + 1 if used(pid) - before < 0.05 else 0


class Server:
    """A server process that is ready to answer, and stopped at the end."""

    def __init__(self, kind: str, number: int, home: Path) -> None:
        self.url = f"http://127.0.0.1:{number}"
        environment = os.environ | {
            "MAILLON_HOME": str(home), "MAILLON_PROFILE": "test", "MAILLON_ISSUER": self.url,
            "MAILLON_DEPARTEMENT": "040",
        }  # fmt: skip
        script = Path(__file__).with_name("_server.py")
        self._process = subprocess.Popen([sys.executable, str(script), kind, str(number)], env=environment)
        self.pid = self._process.pid

    def __enter__(self) -> Server:
        address = ("127.0.0.1", int(self.url.rpartition(":")[2]))
        while self._process.poll() is None:  # however busy the machine: only a server that ended did not start
            try:
                socket.create_connection(address, timeout=2).close()
                return self
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"the server ended with code {self._process.returncode}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)


async def send(number: int, requests: list[bytes], per_second: float = 0.0) -> list[float]:
    """Every request over 32 kept connections, at once or at this pace (moments drawn, as callers who know nothing of
    each other); latencies in ms, each since the moment it was due. Refuses any answer but 202."""
    waiting, latencies = list(reversed(requests)), []
    begun, due = time.perf_counter(), 0.0

    async def connection() -> None:
        nonlocal due
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        while waiting:
            request = waiting.pop()
            start = time.perf_counter()
            if per_second:
                due += random.expovariate(per_second)
                start = begun + due
                await asyncio.sleep(start - time.perf_counter())
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            told = await reader.readexactly(int(length.partition(b":")[2]))
            latencies.append((time.perf_counter() - start) * 1000)
            if not head.startswith(b"HTTP/1.1 202"):
                raise SystemExit(f"{head.splitlines()[0].decode()}: {told.decode()}")
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return latencies


def post(content: bytes, **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST /v1/exchanges HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n{lines}\r\n"
    return head.encode() + content


def signed(auth: PartnerAuth, url: str, token: str, ranks: range) -> list[bytes]:
    return [
        post(body(rank), Content_Type="application/json", Maillon_Document="ccas.suivi", Idempotency_Key=f"k-{rank}",
             Authorization=f"DPoP {token}", DPoP=auth.proof("POST", f"{url}/v1/exchanges", token))
        for rank in ranks
    ]  # fmt: skip


SIGNED_TOGETHER = 200
"""A proof is only taken for a minute after it was signed: on a slow machine, not all can be signed beforehand."""


def product(count: int, kind: str = "product") -> dict[str, float]:
    key = ECKey.generate_key("P-256", auto_kid=True)
    with tempfile.TemporaryDirectory() as name:
        home, number = Path(name), port()
        prepare(home, f"http://127.0.0.1:{number}", key)
        with Server(kind, number, home) as server:
            auth = PartnerAuth(server.url, "ccas", key, purpose="accompagnement")
            with httpx.Client(trust_env=False) as client:
                form = client.post(auth.token_endpoint, data=auth.token_form(),
                                   headers={"DPoP": auth.proof("POST", auth.token_endpoint)})  # fmt: skip
                token = form.raise_for_status().json()["access_token"]
            asyncio.run(send(number, signed(auth, server.url, token, range(200))))
            settle(server.pid, 60.0 if kind == "product" else 5.0)
            latencies: list[float] = []
            wall = spent = 0.0
            for first in range(200, 200 + count, SIGNED_TOGETHER):
                ranks = range(first, min(first + SIGNED_TOGETHER, 200 + count))
                requests = signed(auth, server.url, token, ranks)
                before, start = used(server.pid), time.perf_counter()
                latencies += asyncio.run(send(number, requests))
                wall, spent = wall + time.perf_counter() - start, spent + used(server.pid) - before
            half = signed(auth, server.url, token, range(200 + count, 200 + count + SIGNED_TOGETHER))
            calm = sorted(asyncio.run(send(number, half, count / wall / 2)))
    return {
        "accept_us": spent / count * 1e6,
        "accepted_per_s": count / wall,
        "accepted_per_cpu_s": count / spent,
        "p50_ms": sorted(latencies)[len(latencies) // 2],
        "p99_ms": sorted(latencies)[int(len(latencies) * 0.99)],
        "half_load_p50_ms": calm[len(calm) // 2],
        "half_load_p99_ms": calm[int(len(calm) * 0.99)],
    }


def bare(count: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        number = port()
        with Server("bare", number, Path(name)) as server:
            requests = [post(body(rank), Content_Type="application/json") for rank in range(count)]
            asyncio.run(send(number, requests[:200]))
            before = used(server.pid)
            asyncio.run(send(number, requests))
            return (used(server.pid) - before) / count * 1e6


def primitives(gateway: Gateway, rounds: int = 400) -> dict[str, float]:
    """µs of CPU of each primitive, best of several rounds."""
    key = ec.generate_private_key(ec.SECP256R1())
    signature = key.sign(b"x" * 400, ec.ECDSA(hashes.SHA256()))
    public, content, token = key.public_key(), body(1), b"t" * 900
    with gateway.unit_of_work() as work:
        flows = [flow for flow in gateway.flows(work, "ccas") if flow.purpose == "accompagnement"]
        said = {"personne.nom_naissance": Fact("X", "ccas", "ccas.suivi", work.now)}
        asked = [question(work, gateway, "nobody", flow, said) for flow in flows]
        each: dict[str, Callable[[], Any]] = {
            "verify_us": lambda: public.verify(signature, b"x" * 400, ec.ECDSA(hashes.SHA256())),
            "token_us": lambda: hashlib.sha256(token).digest(),
            "parse_us": lambda: from_json(content),
            "decide_us": lambda: [gateway.policy.decide(one) for one in asked],
            "hash_us": lambda: [hashlib.sha256(b"x" * 600).digest() for _ in range(4)],
        }
        found = {
            name: _common.best(lambda one=one: [one() for _ in range(rounds)], 5) / rounds * 1e6
            for name, one in each.items()
        }
    return found | {"insert_us": insert()}


def insert(count: int = 3000) -> float:
    """The rows of one exchange, in batches of 32 exchanges, durable."""
    with tempfile.TemporaryDirectory() as name:
        connection = sqlite3.connect(f"{name}/floor.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE row (id TEXT PRIMARY KEY, a TEXT, b TEXT, c BLOB) WITHOUT ROWID")

        def write() -> None:
            for first in range(0, count, 32):
                connection.execute("BEGIN IMMEDIATE")
                rows = [(f"{n:036d}", "a" * 36, "b" * 27, b"c" * 200) for n in range(first * ROWS, (first + 32) * ROWS)]
                connection.executemany("INSERT INTO row VALUES (?, ?, ?, ?)", rows)
                connection.execute("COMMIT")

        spent = _common.cpu_and_wall(write)[0]
        connection.close()
    return spent / count * 1e6


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    count = 20_000 if asked.full else asked.exchanges
    with _common.opened() as gateway:
        with gateway.unit_of_work() as work:
            convention.add(work, _common.CONVENTION.read_bytes() + THIRD.encode())
        parts = primitives(gateway)
    floor, alone = sum(parts.values()), bare(max(600, count))
    found = product(count)
    found["beside_a_computing_thread_per_s"] = product(max(200, count // 4), "busy")["accepted_per_s"]
    return _common.told(
        "accept",
        {
            "accept_to_floor": (floor / found["accept_us"], 0.6, True),
            "p99_ms": (found["p99_ms"], 60.0, False),
            "accepted_per_cpu_s": (found["accepted_per_cpu_s"], 900.0, True),
            "beside_to_alone": (found["beside_a_computing_thread_per_s"] / found["accepted_per_s"], None, True),
            "accept_to_bare": (alone / found["accept_us"], None, True),
        },
        {"exchanges": count, "body_bytes": len(body(1)), "floor_us": floor, "bare_us": alone} | parts | found,
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--exchanges", type=int, default=2_000)


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
