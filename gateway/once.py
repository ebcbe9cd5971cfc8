"""A write is done once: the same idempotency key brings the same answer, also after a restart.

The key is remembered with the answer in the row of the exchange, in the transaction of what was done. A key belongs to
one client; the same key of another client is another key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from starlette.requests import Request as HttpRequest

from gateway.access import Caller
from gateway.lookup import rows
from gateway.problems import Invalid, Problem, Unreadable
from gateway.registry import Gateway
from gateway.storage.tables.record import exchange as exchange_table
from gateway.unit_of_work import UnitOfWork

_KEY = re.compile(r"[!-~]{1,200}")
_ANSWERED = ("idempotency_h", "request_h", "response")


class Told:
    """An answer to be, and the row that remembers it; `content` is called once the journal has given its index."""

    def __init__(self, status: int, content: Callable[[], Any], **row: Any) -> None:
        self.status, self.row = status, row
        self._content = content
        self._rendered: str | None = None

    def render(self) -> str:
        if self._rendered is None:
            self._rendered = json.dumps(self._content())
        return self._rendered


def idempotency_key(http: HttpRequest) -> str:
    """The key of a write. Raises `Unreadable`."""
    given = http.headers.getlist("idempotency-key")
    if len(given) != 1 or not _KEY.fullmatch(given[0]):
        raise Unreadable("idempotency-key-missing", "Send one Idempotency-Key header of 1 to 200 visible characters.")
    return given[0]


def once(
    work: UnitOfWork, gateway: Gateway, caller: Caller, key: str, said: bytes, act: Callable[[], Told | Problem]
) -> tuple[int, Callable[[], str]] | Problem:
    """Do what a write asks the first time; give the same answer each time after, also after a restart.

    `said` is what must be the same under the same key. The answer is stored in the transaction of what it tells.
    Returns the status and what renders the answer once everything is committed, or the refusal.
    """
    idempotency = index_of(gateway, caller, key)
    digest = gateway.keys.blind("body", said.hex())
    pending: dict[bytes, Earlier] = work.scratch.setdefault("accepted", {})
    if earlier := pending.get(idempotency) or foresee(work, [idempotency])[idempotency]:
        if earlier[0] != digest:
            return Invalid("idempotency-key-reused", "This key was used for another body; use a new key.")
        return 200, earlier[1]
    told = act()
    if isinstance(told, Problem):
        return told
    pending[idempotency] = (digest, told.render)
    work.before_commit(
        lambda last: last.add(
            exchange_table, client_id=caller.client_id, request_h=digest, idempotency_h=idempotency,
            response=told.render(), **told.row | {"sender": caller.body},
        )
    )  # fmt: skip
    return told.status, told.render


def index_of(gateway: Gateway, caller: Caller, key: str) -> bytes:
    """Blind index of this client's key."""
    return gateway.keys.blind("idempotency", f"{caller.client_id}\x00{key}")


Earlier = tuple[bytes, Callable[[], str]]
"""The digest of what was said under a key, and what renders the answer it got."""


def foresee(work: UnitOfWork, indexes: Sequence[bytes]) -> Mapping[bytes, Earlier | None]:
    """What was answered under these keys before this transaction, looked up once for all of them."""
    known: dict[bytes, Earlier | None] = work.scratch.setdefault("answered", {})
    if wanted := [index for index in indexes if index not in known]:
        known.update(dict.fromkeys(wanted))
        for index, said, answer in rows(work.connection, exchange_table, _ANSWERED, "idempotency_h", wanted):
            known[index] = said, partial(str, answer)
    return known
