"""The published journal: static files in the C2SP tlog-tiles layout, one folder per log.

    checkpoint                 the signed note: origin, size, root
    tile/<L>/<N>[.p/<W>]       hash tiles
    tile/entries/<N>[.p/<W>]   entry bundles: uint16 length, bytes, for each entry
    retention                  signed note: how long entries are kept, and the index below which they were pruned
    vkey, vkeys                the verifier key in use; all those that ever signed, oldest first

The database is the truth and the folder a copy of it. Each file is written under a temporary name, flushed to disk and
renamed; the checkpoint comes last, so that it never speaks of a file that is not there. A crash at any step leaves the
last checkpoint whole; the next `publish` begins again from it, whatever it finds, and writes the same bytes.

Never a fork: before signing, the new tree is compared with the checkpoint last published and with the one the database
remembers. A database brought back from an old backup is refused, not signed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, Row, case, func, insert, select, update

from gateway import clock, merkle, note
from gateway.journal import DEFAULT_LOG, RETENTION_MONTHS, open_log
from gateway.keys import Keyring
from gateway.merkle import HASH, WIDTH
from gateway.problems import JournalBroken, Unavailable
from gateway.settings import Settings
from gateway.storage.tables.journal import journal_entry, journal_key, journal_log, journal_tile
from gateway.unit_of_work import UnitOfWork

Step = Callable[[str], None]
"""Called with a name between two durable writes, where the tests let the machine fail."""

WITNESS_POLICY = "witnesses.policy"
"""In the home folder: the C2SP tlog-policy whose quorum each checkpoint must reach; without it, none is asked."""
_PATH = re.compile(
    r"checkpoint|retention|vkeys?|tile/(?:entries|[0-9]|[1-5][0-9]|6[0-3])/(?:x\d{3}/)*\d{3}(?:\.p/\d{1,3})?"
)


@dataclass(frozen=True, slots=True)
class Published:
    log: str
    origin: str
    size: int
    root: bytes
    added: int


def folder_of(settings: Settings, log: str = DEFAULT_LOG) -> Path:
    """Where one log is published."""
    return log_folder(settings.home / "journal", log)


def log_folder(root: Path, log: str) -> Path:
    """The folder of a log: the root for the default class, so that its URL is its origin; else a sub-folder."""
    return root if log == DEFAULT_LOG else root / log


def published_file(settings: Settings, path: str) -> Path | None:
    """The published file a URL path names (`checkpoint`, `tile/…`, `6m/checkpoint`…), or None."""
    log, _, rest = path.partition("/")
    folder = folder_of(settings)
    if log in RETENTION_MONTHS and log != DEFAULT_LOG:
        folder, path = folder / log, rest
    found = folder / path
    return found if _PATH.fullmatch(path) and found.is_file() else None


def publish(
    engine: Engine,
    keys: Keyring,
    settings: Settings,
    *,
    rebuild: bool = False,
    step: Step = lambda _: None,
) -> list[Published]:
    """Write what is new in each log and sign its checkpoint; also what repairs a folder after a crash.

    `rebuild` writes every file again from the database, for a folder found damaged or lost.

    Raises `JournalBroken` rather than sign a tree that does not extend the published one, and notes it in the database:
    no process takes an exchange until a publication succeeds (an entry that follows the wrong one could never be kept).
    Raises also `Misconfigured` when the signing key is missing, OSError when the folder cannot be written,
    `Unavailable` under a date that was moved: a process that begins compares its own date with that of the last
    checkpoint (`other_clocks`).
    """
    clock.require_steady()
    with reading(engine) as connection:
        logs = connection.scalars(select(journal_log.c.log).order_by(journal_log.c.log)).all()
    if DEFAULT_LOG not in logs:
        with UnitOfWork(engine) as work:
            open_log(work.connection, DEFAULT_LOG)
        logs = sorted([*logs, DEFAULT_LOG])
    done = []
    for log in logs:
        with alone(folder_of(settings, log)) as place:
            try:
                done.append(_publish_log(engine, keys, Files(place, step), log, settings, rebuild))
            except JournalBroken as broken:
                with engine.begin() as connection:
                    connection.execute(update(journal_log).where(journal_log.c.log == log).values(broken=broken.code))
                raise
    return done


def _publish_log(engine: Engine, keys: Keyring, files: Files, log: str, settings: Settings, rebuild: bool) -> Published:
    with reading(engine) as connection:
        state = connection.execute(select(journal_log).where(journal_log.c.log == log)).one()
        signers = signing_keys(keys)
        known = known_keys(connection, keys, log, state.origin)
        before = last_checkpoint(files.place, known, state.origin)
        anchors = _anchors(state, before)
        root = merkle.fold(merkle.split(state.frontier))
        edge = merkle.Edge() if rebuild else _edge_from_files(files.place, before)
        if not _extends(connection, state, edge, anchors):
            # A tile of the folder was lost or altered: write everything again from the database.
            edge = merkle.Edge()
            if not _extends(connection, state, edge, anchors):
                raise _forked()
        _write_tiles(connection, files, state, edge)
        if edge.root() != root:
            raise JournalBroken("journal-altered", "The entries do not give the tree they were hashed into.")
    files.step("tiles written")
    signed = note.sign(str(note.Checkpoint(state.origin, state.size, root)), state.origin, signers)
    if before is None or not before[1].startswith(signed):
        _write_keys(engine, files, state, signers)
        files.write("retention", retention_note(state, signers))
        files.flush_folders()
        files.step("ready for the checkpoint")
        files.write("checkpoint", signed.encode())
        files.flush_folders()
    files.step("checkpoint written")
    # A crash before this line: the next call finds nothing new and only writes this row.
    _remember_checkpoint(engine, log, signed, settings)
    _drop_partials(files.place, min(anchors, default=0), state.size)
    return Published(log, state.origin, state.size, root, state.size - (before[0].size if before else 0))


def _edge_from_files(place: Path, before: tuple[note.Checkpoint, str] | None) -> merkle.Edge:
    """The right edge of the published tree down to its last full bundle, read back from its tiles; empty if one is
    missing."""
    if before is None:
        return merkle.Edge()
    levels: list[list[bytes]] = []
    size = before[0].size
    for level, width in enumerate(merkle.edge_widths(size)):
        levels.append([])
        if level and width:
            path = place / merkle.tile_path(level, (size >> (8 * level)) // WIDTH, width)
            raw = path.read_bytes() if path.is_file() else b""
            if len(raw) != width * HASH:
                return merkle.Edge()
            levels[level] = merkle.split(raw)
    return merkle.Edge(size // WIDTH * WIDTH, levels)


def _anchors(state: Row[Any], before: tuple[note.Checkpoint, str] | None) -> dict[int, bytes]:
    """Sizes already signed, with the root each must have. Raises `JournalBroken` when one is ahead of the database, or
    when the database remembers another root than the one published."""
    signed = [before[0]] if before else []
    if state.checkpoint:
        remembered = note.parse(state.checkpoint.encode())
        signed.append(note.checkpoint(remembered.text))
    anchors: dict[int, bytes] = {}
    for checkpoint in signed:
        if checkpoint.size > state.size:
            raise JournalBroken(
                "journal-behind", "The database is older than the published checkpoint: bring back a newer backup."
            )
        if anchors.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
            raise _forked()
    return anchors


def _forked() -> JournalBroken:
    return JournalBroken("journal-forked", "The database does not extend the published journal: it was rewritten.")


def _extends(connection: Connection, state: Row[Any], edge: merkle.Edge, anchors: dict[int, bytes]) -> bool:
    """Whether the database, from this edge on, gives each root that was signed. Asked before a file is touched: what
    was published is the evidence against a database that was rewritten."""
    grown = edge.copy()
    pending = sorted(size for size in anchors if size >= edge.size)
    for n, leaves, _ in bundles(connection, state, edge.size // WIDTH) if pending else ():
        while pending and pending[0] <= n * WIDTH + len(leaves):
            size = pending.pop(0)
            deque(grown.push(leaves[grown.size - n * WIDTH : size - n * WIDTH]), maxlen=0)
            if grown.root() != anchors[size]:
                return False
        if not pending:
            return True
        deque(grown.push(leaves[grown.size - n * WIDTH :]), maxlen=0)
    return all(grown.root() == anchors[size] for size in pending)


def _write_tiles(connection: Connection, files: Files, state: Row[Any], edge: merkle.Edge) -> None:
    """Write bundles and tiles from the edge to the size of the log, growing the edge."""
    for n, leaves, bundle in bundles(connection, state, edge.size // WIDTH):
        if bundle is not None:
            files.write(merkle.tile_path("entries", n, len(leaves)), bundle)
        files.write_tiles(edge.push(leaves[edge.size - n * WIDTH :]))
    files.write_tiles(edge.partial())


def bundles(connection: Connection, state: Row[Any], first: int) -> Iterator[tuple[int, list[bytes], bytes | None]]:
    """(n, leaf hashes, bundle bytes) in order; the bundle of pruned entries is None. Whoever stops before the end
    leaves no cursor open on the server."""
    pruned = state.min_index // WIDTH
    query = select(journal_tile.c.n, journal_tile.c.hashes)
    query = query.where(journal_tile.c.log == state.log, journal_tile.c.n >= first, journal_tile.c.n < pruned)
    for n, hashes in connection.execute(query.order_by(journal_tile.c.n)):
        yield n, merkle.split(hashes), None
    entries = select(journal_entry.c.idx, journal_entry.c.entry, journal_entry.c.leaf)
    entries = entries.where(journal_entry.c.log == state.log, journal_entry.c.idx < state.size)
    entries = entries.where(journal_entry.c.idx >= max(first, pruned) * WIDTH).order_by(journal_entry.c.idx)
    expected = max(first, pruned) * WIDTH
    with connection.execute(entries.execution_options(yield_per=16 * WIDTH)) as streamed:
        for n, rows in groupby(streamed, key=lambda row: row.idx // WIDTH):
            leaves: list[bytes] = []
            parts: list[bytes] = []
            for idx, entry, leaf in rows:
                if idx != expected or merkle.leaf_hash(entry) != leaf:
                    raise JournalBroken(
                        "journal-altered", "An entry of the database was altered or removed.", index=expected
                    )
                expected += 1
                leaves.append(leaf)
                parts += (len(entry).to_bytes(2, "big"), entry)
            yield n, leaves, b"".join(parts)
    if expected != state.size:
        raise JournalBroken("journal-altered", "An entry of the database was altered or removed.", index=expected)


class Files:
    """Durable writes into one published folder."""

    def __init__(self, place: Path, step: Step) -> None:
        self.place = place
        self.step = step
        self.folders: set[Path] = set()
        shutil.rmtree(place / ".tmp", ignore_errors=True)
        (place / ".tmp").mkdir(exist_ok=True)  # a folder closed to us keeps it, and refuses what is written below

    def write(self, path: str, content: bytes) -> None:
        target, temporary = self.place / path, self.place / ".tmp" / path.replace("/", "-")
        descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
        try:
            written = 0
            while written < len(content):
                written += os.write(descriptor, content[written:])
            self.step(f"before fsync {path}")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.step(f"before rename {path}")
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True)
            self.folders.update(parent for parent in target.parent.parents if parent.is_relative_to(self.place))
        os.rename(temporary, target)
        self.folders.add(target.parent)
        self.step(f"after rename {path}")

    def write_tiles(self, tiles: Iterable[tuple[int, int, bytes]]) -> None:
        for level, n, hashes in tiles:
            self.write(merkle.tile_path(level, n, len(hashes) // HASH), hashes)

    def flush_folders(self) -> None:
        for folder in self.folders:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self.folders.clear()


@contextmanager
def alone(place: Path) -> Iterator[Path]:
    """Hold the folder: one publisher at a time, and a dead one's hold ends with it."""
    place.mkdir(parents=True, exist_ok=True)
    with open(place / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield place


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One snapshot for all the reads of the block."""
    options: dict[str, Any] = {"read_only": True}
    if engine.dialect.name == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"
    with engine.connect().execution_options(**options) as connection:
        yield connection


def last_checkpoint(place: Path, known: list[note.VerifierKey], origin: str) -> tuple[note.Checkpoint, str] | None:
    """The checkpoint of the folder and its whole note, when one of our keys signed it; an unreadable one is none."""
    path = place / "checkpoint"
    try:
        raw = path.read_bytes()
        signed = note.parse(raw)
        if not signed.signed_by(known):
            return None
        checkpoint = note.checkpoint(signed.text)
    except (FileNotFoundError, note.NoteRefused):
        return None
    return (checkpoint, raw.decode()) if checkpoint.origin == origin else None


def signing_keys(keys: Keyring) -> list[Ed25519PrivateKey]:
    """The keys that sign checkpoints, the one in use first: `journal`, or after a rotation `journal-2`, `journal-3`…

    While an old key's file is still there it signs too, for readers who only know its verifier key.
    """
    numbers = [
        int(match[1])
        for path in keys.folder.glob("journal-*.ed25519")
        if (match := re.fullmatch(r"journal-(\d{1,4})\.ed25519", path.name))
    ]
    names = [f"journal-{number}" for number in sorted(numbers, reverse=True)]
    if not names or (keys.folder / "journal.ed25519").exists():
        names.append("journal")
    return [keys.ed25519(name) for name in names]


def known_keys(connection: Connection, keys: Keyring, log: str, origin: str) -> list[note.VerifierKey]:
    """The keys that may have signed this log: those the database remembers, and those that sign now."""
    known = [note.verifier_key(line) for line in _vkeys(connection, log)]
    return known + [note.public_key(origin, key) for key in signing_keys(keys)]


def _vkeys(connection: Connection, log: str) -> list[str]:
    query = select(journal_key.c.vkey).where(journal_key.c.log == log)
    return list(connection.scalars(query.order_by(journal_key.c.first_size, journal_key.c.since)))


def _write_keys(engine: Engine, files: Files, state: Row[Any], signers: list[Ed25519PrivateKey]) -> None:
    lines = [str(note.public_key(state.origin, key)) for key in reversed(signers)]
    with reading(engine) as connection:
        seen = _vkeys(connection, state.log)
    if new := [line for line in lines if line not in seen]:  # rare: nobody is kept from writing to find out
        with engine.begin() as connection:
            seen = _vkeys(connection, state.log)
            for line in [one for one in new if one not in seen]:
                seen.append(line)
                row = {"log": state.log, "vkey": line, "first_size": state.size, "since": clock.instant()}
                connection.execute(insert(journal_key).values(row))
    files.write("vkeys", "".join(f"{line}\n" for line in seen).encode())
    files.write("vkey", f"{note.public_key(state.origin, signers[0])}\n".encode())


def _remember_checkpoint(engine: Engine, log: str, signed: str, settings: Settings) -> None:
    now = clock.instant()
    values: dict[str, Any] = {"checkpoint": signed, "checkpoint_at": now, "quorum_at": now, "broken": None}
    if (settings.home / WITNESS_POLICY).exists():  # what was cosigned under a date ahead is no proof for days to come
        values["quorum_at"] = case((journal_log.c.quorum_at > now, now), else_=journal_log.c.quorum_at)
    with engine.begin() as connection:
        connection.execute(update(journal_log).where(journal_log.c.log == log).values(values))


def retention_note(state: Row[Any], signers: list[Ed25519PrivateKey]) -> bytes:
    """The signed note that publishes the retention policy and where pruning stands."""
    text = f"{state.origin}/retention\nmonths {RETENTION_MONTHS[state.log]}\nminimum-index {state.min_index}\n"
    return note.sign(text, state.origin, signers).encode()


def _drop_partials(place: Path, old: int, size: int) -> None:
    """Remove the partial tiles and bundles of what became full since the last checkpoint."""
    for level in range(len(merkle.edge_widths(size))):
        span = WIDTH ** (level + 1)
        for n in range(old // span, size // span):
            shutil.rmtree(place / f"{merkle.tile_path(level, n)}.p", ignore_errors=True)
            if level == 0:
                shutil.rmtree(place / f"{merkle.tile_path('entries', n)}.p", ignore_errors=True)


def tile_reader(place: Path) -> merkle.ReadTile:
    """Reads the hash tiles of one published log, for proofs at a size that was published. A proof asks for several
    hashes of the same tile: each is read once."""

    @lru_cache(maxsize=64)
    def read(level: int, n: int, width: int) -> bytes:
        return (place / merkle.tile_path(level, n, width)).read_bytes()

    return read


def export(engine: Engine, keys: Keyring, settings: Settings, target: Path) -> list[Published]:
    """Publish, then copy the journal into `target`: the default log at its root, the others in `6m/` and `36m/`."""
    done = publish(engine, keys, settings)
    for published in done:
        ignored = shutil.ignore_patterns(".*", *(RETENTION_MONTHS if published.log == DEFAULT_LOG else ()))
        with alone(folder_of(settings, published.log)) as place:
            shutil.copytree(place, log_folder(target, published.log), ignore=ignored, dirs_exist_ok=True)
    return done


def unsealed(connection: Connection, settings: Settings, moment: datetime | None = None) -> str:
    """Why exchanges are refused: the code of why a log is not signed any more, `checkpoint` or `witness-quorum` where
    there was none for `audit_tolerance` seconds (the second where one is asked); "" when they are not."""
    limit = clock.instant((moment or clock.now()) - timedelta(seconds=settings.audit_tolerance))
    asked = (settings.home / WITNESS_POLICY).exists()
    for row in connection.exec_driver_sql("SELECT checkpoint_at, quorum_at, broken FROM journal_log"):
        if row.broken:
            return str(row.broken)
        if row.checkpoint_at < limit:
            return "checkpoint"
        if asked and row.quorum_at < limit:
            return "witness-quorum"
    return ""


def behind(engine: Engine, keys: Keyring, settings: Settings) -> bool:
    """Is the database older than the published files, as the next publication will find?"""
    with reading(engine) as connection:
        logs = connection.execute(select(journal_log.c.log, journal_log.c.origin)).all()
        known = {log: known_keys(connection, keys, log, origin) for log, origin in logs}
    before = {log: last_checkpoint(folder_of(settings, log), known[log], origin) for log, origin in logs}
    with reading(engine) as connection:  # after the files, which grow meanwhile
        sizes = connection.execute(select(journal_log.c.log, journal_log.c.size)).all()
    return any(found[0].size > size for log, size in sizes if (found := before.get(log)))


def broken(connection: Connection) -> str:
    """The code of why a log is not signed any more (`journal-behind`…), as the last publication found it, or ""."""
    return connection.scalar(select(journal_log.c.broken).where(journal_log.c.broken.is_not(None)).limit(1)) or ""


def sealed_at(connection: Connection) -> float:
    """When every log had been published, in seconds of the Unix epoch; 0 when one is not the published one."""
    if broken(connection):
        return 0.0
    oldest = connection.scalar(select(func.min(journal_log.c.checkpoint_at)))
    return datetime.fromisoformat(oldest).timestamp() if oldest else clock.now().timestamp()


def require_available(work: UnitOfWork, settings: Settings) -> None:
    """Refuse a new exchange when the journal is no longer sealed: `Unavailable("audit-unavailable")` (503).

    Asked once per transaction. A process that starts publishes before it takes exchanges.
    """
    if "journal_available" not in work.scratch:
        work.scratch["journal_available"] = not unsealed(work.connection, settings)
    if not work.scratch["journal_available"]:
        raise Unavailable(
            "audit-unavailable",
            "The journal could not be published, for too long or because it is not the one that was: its operator must"
            " act (`maillon doctor` says why) before exchanges resume.",
            retry_after=300,
        )
