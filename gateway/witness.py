"""Witnesses: partners who attest, each with its own key, that the journal they were shown is one and only grows.

Both sides of the C2SP tlog-witness protocol. The server is what a partner's DPO runs: it cosigns a checkpoint only when
it extends the last one it cosigned, writes that down before it answers, and keeps as evidence what a log signed and it
had to refuse. The client asks the witnesses of the policy to cosign each published checkpoint.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Column, Engine, LargeBinary, MetaData, String, Table, Text, select, update
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.types import BigInteger
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors import service
from gateway import clock, merkle, note, verify
from gateway.journal import DEFAULT_LOG, RETENTION_MONTHS
from gateway.journal_files import WITNESS_POLICY, Files, alone, folder_of, tile_reader
from gateway.problems import Unavailable
from gateway.settings import Settings
from gateway.storage import upsert
from gateway.storage.tables.journal import journal_log

MAX_BODY = 65_536
MAX_PROOF = 63
SIZE_TYPE = "text/x.tlog.size"

_metadata = MetaData()
cosigned = Table(
    "cosigned",
    _metadata,
    Column("origin", String(200), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("checkpoint", Text, nullable=False),
    Column("at", String(27), nullable=False),
)
evidence = Table(
    "evidence",
    _metadata,
    Column("digest", String(64), primary_key=True, comment="SHA-256 of the submission"),
    Column("origin", String(200), nullable=False),
    Column("at", String(27), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("submission", LargeBinary, nullable=False),
)


def name_of(settings: Settings) -> str:
    """How the witness that this gateway is to others is called in its key."""
    return f"{urlsplit(settings.issuer).netloc}/witness"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str = ""
    media_type: str = "text/plain; charset=utf-8"

    def over_http(self) -> Response:
        """The media type to the letter: a log knows the size by it."""
        return Response(self.body, self.status, {"Content-Type": self.media_type})


class _Refused(Exception):
    def __init__(self, answer: Answer, reason: str) -> None:
        super().__init__(reason)
        self.answer = answer
        self.reason = reason


class Witness:
    """One witness: its name and key, the logs it follows (their vkey lines), and the file of what it cosigned."""

    def __init__(self, engine: Engine, name: str, key: Ed25519PrivateKey, logs: Sequence[str]) -> None:
        self.name = name
        self.logs = [verify.Key.parse(line) for line in logs]
        self._key = key
        self._engine = engine
        try:
            _metadata.create_all(engine)
        except (IntegrityError, ProgrammingError):  # another process was making them
            _metadata.create_all(engine)

    @property
    def vkey(self) -> str:
        return str(note.public_key(self.name, self._key, note.COSIGNATURE))

    def add(self, submission: bytes) -> Answer:
        """Answer a submission: `old` size, consistency proof, empty line, checkpoint."""
        try:
            old, proof, raw = _parse(submission)
            known = [key for key in self.logs if key.name == raw.partition(b"\n")[0].decode("utf-8", "replace")]
            if not known:
                return Answer(404, "unknown log\n")
            try:
                text, _ = verify.open_note(raw, known)
            except verify.Bad:
                return Answer(403, "no signature by a trusted key\n")
            checkpoint = verify.Checkpoint.parse(text)
        except verify.Bad as bad:
            return Answer(400, f"{bad.reason}\n")
        try:
            self._advance(old, proof, checkpoint, raw)
        except _Refused as refused:
            self._keep(checkpoint.origin, refused.reason, submission)
            return refused.answer
        # Committed: a crash from here on loses an answer, never the memory of what was cosigned.
        return Answer(200, note.cosign(text, self.name, self._key, int(time.time())))

    def _advance(self, old: int, proof: list[bytes], now: verify.Checkpoint, raw: bytes) -> None:
        """Write the checkpoint down as the last one cosigned, or refuse it. The write lock is held from the start, that
        of a log's first checkpoint too: hence a row for the empty tree, which goes with a refusal."""
        if old > now.size:
            raise _Refused(Answer(400, "old is larger than the checkpoint\n"), "shrunk")
        row = {"size": now.size, "root": now.root, "checkpoint": raw.decode(), "at": clock.instant()}
        mine = cosigned.c.origin == now.origin
        with self._engine.begin() as connection:
            empty = row | {"origin": now.origin, "size": 0, "root": merkle.EMPTY_ROOT}
            connection.execute(self._insert(cosigned).values(empty).on_conflict_do_nothing())
            last = select(cosigned.c.size, cosigned.c.root).where(mine).with_for_update()
            size, root = connection.execute(last).one()
            if old != size:
                raise _Refused(Answer(409, f"{size}\n", SIZE_TYPE), "other-size")
            if now.size == size and now.root != root:
                raise _Refused(Answer(409, f"{size}\n", SIZE_TYPE), "fork")
            if not verify.check_consistency(size, root, now.size, now.root, proof):
                raise _Refused(Answer(422, "the checkpoint does not extend the last one cosigned\n"), "inconsistent")
            connection.execute(update(cosigned).where(mine).values(row))

    def _keep(self, origin: str, reason: str, submission: bytes) -> None:
        row = {"digest": sha256(submission).hexdigest(), "origin": origin, "at": clock.instant(), "reason": reason}
        with self._engine.begin() as connection:
            kept = self._insert(evidence).values(row | {"submission": submission})
            connection.execute(kept.on_conflict_do_nothing())

    def _insert(self, table: Table) -> Any:
        return upsert(self._engine.dialect.name, table)

    def last(self, origin: str) -> int:
        """Size of the last checkpoint cosigned for this log; 0 before the first."""
        with self._engine.connect() as connection:
            size = connection.scalar(select(cosigned.c.size).where(cosigned.c.origin == origin))
        return size or 0

    async def follow(self, url: str, client: httpx.AsyncClient) -> Answer:
        """Read the log published at `url` and cosign its checkpoint, for a witness that the log does not call.

        The consistency proof is computed from the log's own tiles. Raises `httpx.HTTPError`.
        """
        raw = await _get(client, f"{url}/checkpoint")
        checkpoint = verify.Checkpoint.parse(raw.decode().partition("\n\n")[0] + "\n")
        old = min(self.last(checkpoint.origin), checkpoint.size)
        tiles: dict[tuple[int, int, int], bytes] = {}
        while True:
            try:
                proof = merkle.consistency_proof(lambda *tile: tiles[tile], old, checkpoint.size)
                break
            except KeyError as missing:
                level, n, width = wanted = missing.args[0]
                tile = await _get(client, f"{url}/{verify.tile_path(level, n, width)}")
                if len(tile) != width * merkle.HASH:
                    return Answer(422, "a tile of the log has a wrong length\n")
                tiles[wanted] = tile
        return await run_in_threadpool(self.add, submission(old, proof, raw))


def _parse(submission: bytes) -> tuple[int, list[bytes], bytes]:
    head, separator, raw = submission.partition(b"\n\n")
    first, *lines = head.decode("ascii", "replace").split("\n")
    word, _, size = first.partition(" ")
    if not separator or word != "old" or not size.isascii() or not size.isdecimal() or len(size) > 19:
        raise verify.Bad("the submission is malformed")
    if str(int(size)) != size or len(lines) > MAX_PROOF:
        raise verify.Bad("the submission is malformed")
    proof = [verify.decode_base64(line) for line in lines]
    if any(len(value) != merkle.HASH for value in proof):
        raise verify.Bad("the proof is malformed")
    return int(size), proof, raw


def submission(old: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The body of `add-checkpoint`."""
    lines = [f"old {old}", *(base64.b64encode(value).decode() for value in proof)]
    return "\n".join(lines).encode() + b"\n\n" + checkpoint


async def _get(client: httpx.AsyncClient, url: str) -> bytes:
    answer = await client.get(url)
    answer.raise_for_status()
    return answer.content


def routes(witness: Witness, path: str = "/add-checkpoint") -> list[Route]:
    """The Starlette routes of a witness."""

    async def add_checkpoint(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return Response("the submission is too large\n", 413, media_type="text/plain")
        return (await run_in_threadpool(witness.add, body)).over_http()

    return [Route(path, add_checkpoint, methods=["POST"])]


# The log's side


def policy_text(settings: Settings, logs: Sequence[str] = (DEFAULT_LOG,)) -> str:
    """The tlog-policy of these published logs: every key that signs them, and the witnesses the operator asks for in
    `WITNESS_POLICY` (`quorum none` without it)."""
    keys = [line for log in logs for line in (folder_of(settings, log) / "vkeys").read_text("utf-8").splitlines()]
    asked = settings.home / WITNESS_POLICY
    told = asked.read_text("utf-8") if asked.exists() else "quorum none\n"
    kept = [line for line in told.splitlines() if line.split()[:1] != ["log"]]
    return "\n".join([*(f"log {key}" for key in keys), *kept]) + "\n"


def _proposal(place: Path, old: int, raw: bytes) -> bytes:
    """What to send to a witness that knows the log at size `old`: the proof, and the checkpoint as we signed it."""
    text, _, signatures = raw.decode().rpartition("\n\n")
    now = verify.Checkpoint.parse(text + "\n")
    own = [line for line in signatures.splitlines() if line.split(" ")[1] == now.origin]
    proof = merkle.consistency_proof(tile_reader(place), old, now.size)
    return submission(old, proof, f"{text}\n\n{''.join(line + chr(10) for line in own)}".encode())


def _told_size(answer: httpx.Response) -> int | None:
    told = answer.text.strip()
    return int(told) if answer.status_code == 409 and told.isascii() and told.isdecimal() and len(told) < 20 else None


def keep(engine: Engine, settings: Settings, policy: verify.Policy, log: str, raw: bytes, lines: Sequence[str]) -> bool:
    """Add cosignature lines to the published checkpoint `raw`, replacing older ones of the same witnesses; True when
    the quorum of `policy` is then reached. A checkpoint published meanwhile is left alone."""
    place = folder_of(settings, log)
    with alone(place):
        if (place / "checkpoint").read_bytes() != raw:
            return False
        text, _, signatures = raw.decode().rpartition("\n\n")
        names = {line.split(" ")[1] for line in lines}
        before = [line for line in signatures.splitlines() if line.split(" ")[1] not in names]
        whole = (f"{text}\n\n" + "".join(f"{line}\n" for line in [*before, *lines])).encode()
        if whole != raw:
            files = Files(place, lambda _: None)
            files.write("checkpoint", whole)
            files.flush_folders()
    # Only the operator's own policy reopens the gateway, whichever policy the lines were asked for.
    if _met(verify.Policy.parse(policy_text(settings, [log])), whole):
        with engine.begin() as connection:
            connection.execute(update(journal_log).where(journal_log.c.log == log).values(quorum_at=clock.instant()))
    return _met(policy, whole)


def _met(policy: verify.Policy, raw: bytes) -> bool:
    try:
        policy.open(raw)
    except verify.Bad:
        return False
    return True


@dataclass(slots=True)
class Collector:
    """Asks the witnesses of a policy to cosign what is published. Remembers the size each one knows."""

    engine: Engine
    settings: Settings
    policy: verify.Policy
    client: httpx.AsyncClient
    known: dict[tuple[str, str], int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    """Status of the last answer of each witness that did not cosign; 0: it gave none."""

    async def collect(self, log: str = DEFAULT_LOG) -> bool:
        """Have the published checkpoint of one log cosigned; True when the quorum is reached. A witness that does not
        answer, or refuses, is left out."""
        place = folder_of(self.settings, log)
        raw = (place / "checkpoint").read_bytes()
        lines = [await self._ask(place, name, url, raw) for name, url in self.policy.urls.items()]
        given = [line for line in lines if line]
        return await run_in_threadpool(keep, self.engine, self.settings, self.policy, log, raw, given)

    async def _ask(self, place: Path, name: str, url: str, raw: bytes) -> str | None:
        origin = raw.partition(b"\n")[0].decode()
        old = self.known.get((url, origin), 0)
        self.refused[name] = 0
        for _ in range(2):
            try:
                answer = await self.client.post(f"{url}/add-checkpoint", content=_proposal(place, old, raw))
            except (httpx.HTTPError, ValueError, OSError):
                return None  # unreachable, or it knows a longer log than ours: its refusal is for a human
            self.refused[name] = answer.status_code
            if answer.status_code == 200:
                self.known[url, origin] = verify.Checkpoint.parse(raw.decode().rpartition("\n\n")[0] + "\n").size
                return _valid_line(self.policy.witnesses[name], raw, answer.text)
            told = _told_size(answer)
            if told is None:
                return None
            old = told
        return None


async def cosign_published(engine: Engine, settings: Settings, client: httpx.AsyncClient | None = None) -> None:
    """Have the witnesses of the operator's policy cosign every published log.

    Raises `Unavailable("witness-quorum")` naming nobody when a log did not reach the quorum: exchanges stop once that
    has lasted `audit_tolerance` seconds.
    """
    logs = [log for log in RETENTION_MONTHS if (folder_of(settings, log) / "checkpoint").exists()]
    policy = verify.Policy.parse(policy_text(settings, logs))
    async with client or service.client() as asked:
        collector = Collector(engine, settings, policy, asked)
        missing = [log for log in logs if not await collector.collect(log)]
    if missing:
        raise Unavailable("witness-quorum", f"Too few witnesses cosigned the log {', '.join(missing)}.")


def _valid_line(key: verify.Key, raw: bytes, lines: str) -> str | None:
    """The line of an answer that this witness's key really signed."""
    text = raw.rpartition(b"\n\n")[0] + b"\n\n"
    for line in lines.splitlines():
        try:
            verify.open_note(text + line.encode() + b"\n", [key])
        except verify.Bad:
            continue
        return line
    return None
