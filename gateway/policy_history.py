"""A copy of every decision table this gateway applied: `MAILLON_HOME/policies/<sha-256>.toml`, with its signature.

The journal names the table of each decision by its digest; with its copy, a decision of last year is explained by the
rules of last year, and can be taken again under them.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from gateway.policy import Policy
from gateway.policy_table import parse
from gateway.problems import Misconfigured, NotKept


def keep(home: Path, table: Path, *, signed: bool = False) -> str:
    """Copy the table in force, if that is not done; gives its digest. Its signature too once it was checked (`signed`):
    it puts in force the rules that waited for one."""
    content = table.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    folder = home / "policies"
    target, signature = folder / f"{digest}.toml", _signature(folder, digest)
    folder.mkdir(parents=True, exist_ok=True)
    if signed and not signature.exists():
        _write(signature, table.with_name(table.name + ".sig").read_bytes())
    if not target.exists():
        _write(target, content)
    return digest


def _signature(folder: Path, digest: str) -> Path:
    return folder / f"{digest}.toml.sig"


def versions(home: Path) -> list[str]:
    """Digests of the tables kept, in no particular order."""
    return [path.stem for path in (home / "policies").glob("*.toml")]


def content(home: Path, digest: str) -> bytes:
    """The bytes of a table. Raises `Unknown` when this gateway never applied it."""
    path = home / "policies" / f"{digest}.toml"
    if not (len(digest) == 64 and digest.isalnum() and path.is_file()):
        raise NotKept("policy-unknown", "This gateway holds no copy of this version of the decision table.")
    return path.read_bytes()


def load(home: Path, digest: str) -> Policy:
    """The table of that digest, compiled. Raises `Unknown`, or `Misconfigured` when the copy was altered."""
    found = content(home, digest)
    if hashlib.sha256(found).hexdigest() != digest:
        raise Misconfigured("policy-altered", "The copy of this decision table is not the table of that digest.")
    return _compiled(found, digest, _signature(home / "policies", digest).is_file())


@lru_cache(maxsize=4)
def _compiled(found: bytes, digest: str, signed: bool) -> Policy:
    # Its signature and annexes were checked when it was put in force; the rules are all in these bytes.
    return Policy(parse(found, f"{digest}.toml", signed))


def last_offered(home: Path) -> str:
    """The digest of the table under which what was withheld was last looked at; empty before the first look."""
    noted = home / "policies" / _OFFERED
    return noted.read_text() if noted.is_file() else ""


def note_offered(home: Path, digest: str) -> None:
    """Under this table everything was looked at: what it permits was promised."""
    if last_offered(home) != digest:
        _write(home / "policies" / _OFFERED, digest.encode())


_OFFERED = "offered"


def _write(path: Path, text: bytes) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(text)
    temporary.replace(path)


__all__ = ["content", "keep", "last_offered", "load", "note_offered", "versions"]
