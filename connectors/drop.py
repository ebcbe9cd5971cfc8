"""A folder in which a partner leaves files: which ones are whole, and where each goes once it was looked at.

    FOLDER/flux.xml     whole: its writer uses another name first (`flux.xml.part`, `.flux.xml`), then renames it
    FOLDER/en-cours/    taken; after a crash, taken up again first
    FOLDER/archive/     read
    FOLDER/rejets/      refused as a whole, beside its reason (`….motif.json`); records refused one by one (`….jsonl`)
    FOLDER/attente/     held until a human decides

Every move is a rename inside one file system, so that a file is in one place at any instant. The folders inside are
ours: a partner who may write in `FOLDER` could put a link in their place, and have its files moved, or another's read.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

TAKEN = "en-cours"
LOCK = ".verrou"
Place = Literal["archive", "rejets", "attente"]
ABANDONED = 86_400.0
"""Seconds without a write after which nobody is writing a file any more."""
_OURS = (TAKEN, "archive", "rejets", "attente")
_NAME = re.compile(r"[\w][\w .()+-]{0,180}")
LONGEST = 200
"""Bytes of a name: those that are put before and after it, once it was looked at, fit too."""
_UNFINISHED = (".part", ".partial", ".partiel", ".tmp", ".filepart", ".crdownload")


class AlreadyTaking(Exception):
    """Another process takes files from the same folder; let it finish."""


class NotOurs(Exception):
    """A folder inside is a link, or belongs to another account than the one that reads."""


def complete(name: str) -> bool:
    """Whether a file of this name is whole and may be taken: an ordinary name, none that writers use meanwhile."""
    return bool(_NAME.fullmatch(name)) and len(name.encode()) <= LONGEST and not name.lower().endswith(_UNFINISHED)


def why_left(name: str, mode: int, written: float) -> str:
    """Why this entry of a folder will not be taken unless somebody acts; empty for one that is or may soon be whole.

    `not-a-file`, `odd-name`, and `unfinished` when nothing was written for a day to a file that its writer never
    renamed. `mode` and `written` are those of the entry itself (a link's, not its target's).
    """
    if not stat.S_ISREG(mode):
        return "" if stat.S_ISDIR(mode) and name in _OURS else "not-a-file"
    if complete(name) or name == LOCK:
        return ""
    if name.startswith(".") or name.lower().endswith(_UNFINISHED):
        return "unfinished" if time.time() - written >= ABANDONED else ""
    return "odd-name"


def left(folder: Path) -> list[tuple[str, str]]:
    """The entries of this folder that will not be taken unless somebody acts: name and reason (`why_left`)."""
    found = []
    for path in sorted(folder.iterdir()):
        told = path.lstat()
        if reason := why_left(path.name, told.st_mode, told.st_mtime):
            found.append((shown(path.name), reason))
    in_hand = [path for path in sorted((folder / TAKEN).iterdir()) if not _regular(path)]
    return found + [(f"{TAKEN}/{shown(path.name)}", "not-a-file") for path in in_hand]


def shown(name: str) -> str:
    """A file's name as it may be printed, whatever bytes its writer put in it."""
    return os.fsencode(name).decode("utf-8", "replace")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time in this folder; the lock ends with the process. Raises `AlreadyTaking`, `NotOurs`."""
    for name in _OURS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        with _opened(folder / name, ours=True):
            pass
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyTaking("another process takes files from this folder") from None
        yield


def waiting(folder: Path, quiet: float = 10.0) -> Iterator[Path]:
    """Files to read, each under `en-cours/` when it is given: those a crash left there, then the oldest first.

    `quiet`: seconds since its last write, for partners that write under the final name. Links and special files stay
    where they are.
    """
    yield from filter(_regular, sorted((folder / TAKEN).iterdir()))
    found = []
    for path in folder.iterdir():
        told = path.lstat()
        if stat.S_ISREG(told.st_mode) and complete(path.name) and time.time() - told.st_mtime >= quiet:
            found.append((told.st_mtime, path))
    for _, path in sorted(found):
        taken = _move(path, folder / TAKEN / path.name, ours=True)
        if _regular(taken):  # its writer could still make it another until now
            yield taken


def _regular(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def put_away(path: Path, place: Place) -> Path:
    """Move a file that was looked at, under a name that meets no other; its new path."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    there = path.parent.parent / place
    target, rank = there / f"{moment}-{path.name}", 1
    while target.exists():
        rank += 1
        target = there / f"{moment}-{rank}-{path.name}"
    return _move(path, target, ours=True)


def leave(folder: Path, name: str, content: bytes) -> bool:
    """Leave one file for whoever takes files from here: whole under its name at once, or not there at all.

    A file of this name is replaced; False when it was there already with these bytes. Raises `OSError`, and leaves
    nothing then.
    """
    target, partial = folder / name, folder / f"{name}.{secrets.token_hex(4)}.part"
    if target.is_file() and target.read_bytes() == content:
        return False
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        _move(partial, target)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return True


def _move(path: Path, target: Path, *, ours: bool = False) -> Path:
    """`ours`: the folder it goes to is one of those inside."""
    with _opened(path.parent) as here, _opened(target.parent, ours=ours) as there:
        os.rename(path.name, target.name, src_dir_fd=here, dst_dir_fd=there)
        os.fsync(here)
        os.fsync(there)
    return target


@contextmanager
def _opened(folder: Path, *, ours: bool = False) -> Iterator[int]:
    """A descriptor of this folder. Raises `NotOurs`."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if ours else 0))
    except NotADirectoryError:  # a link, too, once links are not followed
        raise NotOurs(folder.name) from None
    try:
        if ours and os.fstat(descriptor).st_uid not in (os.geteuid(), 0):
            raise NotOurs(folder.name)
        yield descriptor
    finally:
        os.close(descriptor)
