"""What was taken from HubEE, durably: the guard against taking twice, in a small SQLite file beside the files.

A row of `piece` is one attachment whose bytes are on this disk, whole and checked, or were read. A row of `cas` is the
current turn of a case: from its notification to the moment HubEE knows the outcome. No name, no person, no path that
came from outside.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cas (
    id TEXT PRIMARY KEY, demarche TEXT NOT NULL, tour TEXT NOT NULL, etat TEXT NOT NULL, issue TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS piece (
    cas TEXT NOT NULL, id TEXT NOT NULL, digest TEXT NOT NULL, tour TEXT NOT NULL, type TEXT NOT NULL,
    taille INTEGER NOT NULL, verifie INTEGER NOT NULL, fichier TEXT NOT NULL, etat TEXT NOT NULL,
    PRIMARY KEY (cas, id, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS envoi (
    id TEXT PRIMARY KEY, demarche TEXT NOT NULL, dossier TEXT NOT NULL, etat TEXT NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """One file that was taken. `digest` is its SHA-256 in hexadecimal; `file` its name in the folder, ours."""

    case: str
    id: str
    digest: str
    turn: str
    type: str
    size: int
    verified: bool
    """False: HubEE gave no digest; the one computed here is not confirmed at its source."""
    file: str
    state: str
    """`taken` (on disk), `read` (in the record), `refused:<code>`, or `kept` (on disk, for the Département)."""

    @property
    def refusal(self) -> str:
        """The code of its refusal; empty when it was not refused."""
        return self.state.removeprefix("refused:") if self.state.startswith("refused:") else ""

    @property
    def settled(self) -> bool:
        """Read or refused: its bytes are no longer needed."""
        return self.state == "read" or bool(self.refusal)


class AlreadyCollecting(Exception):
    """Another process collects into the same folder; let it finish."""


class Registre:
    """The register of one folder, created with the folder when missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(folder / "hubee.db", isolation_level=None, check_same_thread=False, timeout=30)
        self._db.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One collection at a time on this folder; its lock ends with the process. Raises `AlreadyCollecting`."""
        with (self.folder / "hubee.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise AlreadyCollecting("another collection works in this folder") from None
            yield

    def path(self, piece: Piece) -> Path:
        return self.folder / piece.file

    # --- cases -------------------------------------------------------------------------------------------------------

    def case(self, id: str) -> tuple[str, str, str]:
        """(turn, state, outcome) of a case; empty texts for one never seen.

        State: `ouvert`, `rouvert` (its files are taken anew), `conclu` (outcome decided), `solde` (HubEE knows it).
        """
        row = self._db.execute("SELECT tour, etat, issue FROM cas WHERE id = ?", (id,)).fetchone()
        return tuple(row) if row else ("", "", "")

    def begin(self, id: str, demarche: str, turn: str, *, reopened: bool) -> None:
        """A new turn of this case: a notification that was not settled yet."""
        state = "rouvert" if reopened else "ouvert"
        self._write("INSERT OR REPLACE INTO cas VALUES (?, ?, ?, ?, '')", id, demarche, turn, state)

    def conclude(self, id: str, outcome: str) -> None:
        """The outcome is decided and durable; HubEE is told next."""
        self._write("UPDATE cas SET etat = 'conclu', issue = ? WHERE id = ?", outcome, id)

    def settle(self, id: str) -> None:
        """HubEE knows the outcome."""
        self._write("UPDATE cas SET etat = 'solde' WHERE id = ?", id)

    # --- files -------------------------------------------------------------------------------------------------------

    def pieces(self, case: str, turn: str | None = None) -> list[Piece]:
        rows = self._db.execute(
            "SELECT * FROM piece WHERE cas = ? AND tour = coalesce(?, tour) ORDER BY type, id", (case, turn)
        )
        return [_piece(row) for row in rows]

    def take(self, piece: Piece) -> None:
        """The bytes are on disk under their final name. Taken again with the same bytes, it changes turn only."""
        self._write(
            "INSERT INTO piece VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (cas, id, digest) DO UPDATE SET tour = excluded.tour, fichier = excluded.fichier,"
            " etat = excluded.etat",
            piece.case, piece.id, piece.digest, piece.turn, piece.type, piece.size, piece.verified, piece.file,
            piece.state,
        )  # fmt: skip

    def mark(self, piece: Piece, state: str) -> None:
        self._write(
            "UPDATE piece SET etat = ? WHERE cas = ? AND id = ? AND digest = ?",
            state, piece.case, piece.id, piece.digest,
        )  # fmt: skip

    def sweep(self) -> int:
        """Remove files that nothing awaits any more; how many. What a crash left half written goes too.

        Only while `alone`: a file being downloaded would be taken for the rest of a crash.
        """
        rows = self._db.execute("SELECT fichier FROM piece WHERE etat IN ('taken', 'kept')")
        wanted = {row["fichier"] for row in rows}
        gone = [path for path in self.folder.glob("*.fichier") if path.name not in wanted]
        gone += list(self.folder.glob("*.partiel"))
        for path in gone:
            path.unlink(missing_ok=True)
        return len(gone)

    # --- what a Département sends ------------------------------------------------------------------------------------

    def sending(self, id: str) -> tuple[str, str]:
        """(folder, state) of a sending; empty texts for one never begun."""
        row = self._db.execute("SELECT dossier, etat FROM envoi WHERE id = ?", (id,)).fetchone()
        return (row["dossier"], row["etat"]) if row else ("", "")

    def sendings(self, demarche: str) -> dict[str, str]:
        """Folders that wait for their answer: folder to sending."""
        rows = self._db.execute("SELECT id, dossier FROM envoi WHERE demarche = ? AND etat = 'notifie'", (demarche,))
        return {row["dossier"]: row["id"] for row in rows}

    def sent(self, id: str, demarche: str, folder: str, state: str) -> None:
        self._write("INSERT OR REPLACE INTO envoi VALUES (?, ?, ?, ?)", id, demarche, folder, state)

    def _write(self, statement: str, *values: Any) -> None:
        self._db.execute(statement, values)  # outside a transaction: committed, and on disk, when it returns


def _piece(row: sqlite3.Row) -> Piece:
    return Piece(
        row["cas"], row["id"], row["digest"], row["tour"], row["type"], row["taille"], bool(row["verifie"]),
        row["fichier"], row["etat"],
    )  # fmt: skip


def fsync_folder(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
