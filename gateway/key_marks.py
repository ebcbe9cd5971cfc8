"""Holding the keys against the database that was written under them.

Under another index key the same person would be entered twice, under another wrapping key nobody could be read, and
nothing would say so: the gateway is opened with the keys of its database, or not at all.
"""

from __future__ import annotations

from hmac import compare_digest

from sqlalchemy import Engine, select

from gateway.keys import Keyring, hmac_sha256
from gateway.problems import Misconfigured
from gateway.storage import upsert
from gateway.storage.tables.keys import key_mark
from gateway.unit_of_work import UnitOfWork

LASTING = ("wrap", "index", "pseudonym", "quarantine", "worklist")
"""Keys that never change (docs/operations.md, Keys)."""
_TEXT = b"maillon-key-mark"


def require(engine: Engine, keys: Keyring, *, keep: bool = True) -> None:
    """Refuse keys that are not those of this database; `keep`: mark those that it is opened with for the first time.

    Raises `Misconfigured`: `key-missing`, `key-invalid`, `keys-wrong`.
    """
    with UnitOfWork(engine, read_only=True) as work:
        known = {row.name: row.mark for row in work.connection.execute(select(key_mark))}
    found = {name: _mark(keys, name) for name in LASTING if name in known or (keys.folder / f"{name}.key").exists()}
    others = [f"{name}.key" for name, mark in found.items() if name in known and not compare_digest(known[name], mark)]
    if others:
        raise Misconfigured(
            "keys-wrong",
            f"{', '.join(others)}: not what this database was written under. Bring back the sealed copy of the keys; "
            "without it nothing stored can be read, and a new gateway begins with an empty database.",
        )
    if keep and (new := found.keys() - known.keys()):
        with UnitOfWork(engine) as work:
            rows = [{"name": name, "mark": found[name], "since": work.now} for name in sorted(new)]
            work.connection.execute(upsert(engine.dialect.name, key_mark).on_conflict_do_nothing(), rows)


def _mark(keys: Keyring, name: str) -> bytes:
    if not (keys.folder / f"{name}.key").exists():
        raise Misconfigured("key-missing", f"Bring back the sealed copy of {name}.key: this database needs it.")
    return hmac_sha256(keys.secret(name), _TEXT)
