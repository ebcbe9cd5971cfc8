"""The list of erased subjects, kept outside the database: a restored backup must not bring anybody back.

`erased.list` in MAILLON_HOME, one id a line, only ever appended to. The database has its own list (table `erasure`);
`gateway.erasure.reconcile` makes each complete from the other when a gateway opens and while it runs. Keep this file
with the keys: out of the backups of the database, and copied when a machine is added.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from gateway import clock


def place(home: Path) -> Path:
    return home / "erased.list"


def read(home: Path) -> set[str]:
    """Ids of the erased subjects. A line cut by a crash names nobody: `reconcile` writes it again."""
    path = place(home)
    return (
        {line for line in path.read_text(encoding="ascii").split() if clock.ID.fullmatch(line)}
        if path.exists()
        else set()
    )


def append(home: Path, subjects: Iterable[str]) -> None:
    """Add ids, durably. Raises `OSError`."""
    text = "".join(f"\n{subject}" for subject in sorted(subjects))
    if not text:
        return
    path = place(home)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, (text + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
