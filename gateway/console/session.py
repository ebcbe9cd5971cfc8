"""Sessions: a random token in a signed cookie, everything else in the database.

| after | the session |
|---|---|
| 30 minutes without a page | ends |
| 12 hours | ends |
| 5 minutes after the account proved who it is | asks it again before a sensitive reading |

A new token is given at sign-in, so that a token known before is worth nothing after. A sign-in under way has a cookie
of its own: whatever link started it, the session of this browser lasts until the account came back from its provider.
A form sent once its session, or its proof, had ended waits in that session, and goes into the one that the same account
opens next.
"""

from __future__ import annotations

import hmac
import json
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from starlette.requests import Request
from starlette.responses import Response

from gateway import clock
from gateway.keys import Keyring, seal, unseal
from gateway.storage.tables.console import console_session as table

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)
FRESH = timedelta(minutes=5)
_PENDING = timedelta(minutes=10)
_TOUCH = timedelta(seconds=60)
"""A page seen again within this time writes nothing."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A form that was sent and not done: where to, and what was typed, by field."""

    action: str
    typed: dict[str, str] = field(repr=False)


@dataclass(slots=True)
class Session:
    """One signed-in account, or a sign-in under way (`pending`)."""

    token_h: bytes = field(repr=False)
    agent: str
    roles: frozenset[str]
    csrf: str = field(repr=False)
    pending: dict[str, Any] | None = field(repr=False)
    created_at: str
    seen_at: str
    authenticated_at: str
    expires_at: str
    id_token: str = field(repr=False)
    kept: Kept | None = None

    @property
    def fresh(self) -> bool:
        """Did the account prove who it is a moment ago?"""
        return bool(self.authenticated_at) and _age(self.authenticated_at) <= FRESH


def same(given: str, known: str) -> bool:
    """Whether a secret is the one given, whatever was given, in a time that tells nothing of it."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), known.encode())


class Sessions:
    """Opens, finds and ends sessions."""

    def __init__(self, keys: Keyring, secure: bool) -> None:
        self._keys = keys
        self._secure = secure
        prefix = "__Host-" if secure else ""
        self.cookie, self.entering = f"{prefix}maillon-console", f"{prefix}maillon-console-entree"

    def find(self, connection: Connection, request: Request) -> Session | None:
        """The session that this request's cookie names, if it still lasts."""
        found = self.known(connection, request)
        return None if found is None or _age(found.seen_at) > IDLE else found

    def known(self, connection: Connection, request: Request) -> Session | None:
        """The session that this request's cookie names, even if no page was asked of it for too long."""
        found = self._named(connection, request, self.cookie)
        return None if found is None or found.pending else found

    def waiting(self, connection: Connection, request: Request) -> Session | None:
        """The sign-in under way in this browser."""
        found = self._named(connection, request, self.entering)
        return found if found and found.pending else None

    def _named(self, connection: Connection, request: Request, cookie: str) -> Session | None:
        token, _, signature = request.cookies.get(cookie, "").partition(".")
        if not token or not same(signature, self._sign(token)):
            return None
        row = connection.execute(select(table).where(table.c.token_h == self._digest(token))).first()
        if row is None or row.expires_at <= clock.instant():
            return None
        return Session(
            row.token_h,
            row.agent,
            frozenset(row.roles.split(",")) - {""},
            row.csrf,
            json.loads(row.pending) if row.pending and not row.agent else None,
            row.created_at,
            row.seen_at,
            row.authenticated_at,
            row.expires_at,
            row.id_token or "",
            self._opened(token, row.pending) if row.pending and row.agent else None,
        )

    def begin(self, connection: Connection, pending: dict[str, Any]) -> str:
        """A sign-in starts; returns the token to give."""
        connection.execute(delete(table).where(table.c.expires_at <= clock.instant()))
        token = secrets.token_urlsafe(32)
        waiting = json.dumps(pending)
        self._write(connection, token, _PENDING, agent="", roles="", authenticated_at="", pending=waiting)
        return token

    def open(
        self,
        connection: Connection,
        agent: str,
        roles: frozenset[str],
        proved_at: float | None,
        id_token: str,
        kept: Kept | None,
    ) -> str:
        """The account signed in, having proved who it is then (None: unknown when); returns the token to give.
        `kept`: the form that waited for it."""
        token = secrets.token_urlsafe(32)
        self._write(
            connection,
            token,
            LONGEST,
            agent=agent,
            roles=",".join(sorted(roles)),
            authenticated_at=clock.instant(datetime.fromtimestamp(proved_at, UTC)) if proved_at else "",
            pending=self._sealed(token, kept) if kept else None,
            id_token=id_token,
        )
        return token

    def _write(self, connection: Connection, token: str, lasts: timedelta, **columns: str | None) -> None:
        now = clock.now()
        connection.execute(
            insert(table).values(
                token_h=self._digest(token),
                csrf=secrets.token_urlsafe(32),
                created_at=clock.instant(now),
                seen_at=clock.instant(now),
                expires_at=clock.instant(now + lasts),
                **columns,
            )
        )

    def keep(self, connection: Connection, request: Request, session: Session, kept: Kept | None) -> None:
        """Keep a form in its session until the account comes back, or forget it (None)."""
        token = request.cookies[self.cookie].partition(".")[0]
        content = self._sealed(token, kept) if kept else None
        connection.execute(update(table).where(table.c.token_h == session.token_h).values(pending=content))

    def end(self, connection: Connection, session: Session) -> None:
        connection.execute(delete(table).where(table.c.token_h == session.token_h))

    def stale(self, session: Session) -> bool:
        return _age(session.seen_at) > _TOUCH

    def touch(self, connection: Connection, session: Session) -> None:
        connection.execute(update(table).where(table.c.token_h == session.token_h).values(seen_at=clock.instant()))

    def give(self, response: Response, token: str) -> None:
        """The session opened: the cookie of its sign-in goes."""
        self._set(response, self.cookie, token, LONGEST)
        self._unset(response, self.entering)

    def give_entering(self, response: Response, token: str) -> None:
        self._set(response, self.entering, token, _PENDING)

    def take_back(self, response: Response) -> None:
        self._unset(response, self.cookie)

    def _set(self, response: Response, cookie: str, token: str, lasts: timedelta) -> None:
        response.set_cookie(
            cookie,
            f"{token}.{self._sign(token)}",
            max_age=int(lasts.total_seconds()),
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )

    def _unset(self, response: Response, cookie: str) -> None:
        response.delete_cookie(cookie, path="/", secure=self._secure, httponly=True, samesite="lax")

    def _sealed(self, token: str, kept: Kept) -> str:
        """It may quote somebody: only the cookie of this browser opens it, which no backup holds."""
        content = json.dumps([kept.action, kept.typed]).encode()
        return b64encode(seal(self._keys.blind("console.form", token), content)).decode()

    def _opened(self, token: str, sealed: str) -> Kept:
        return Kept(*json.loads(unseal(self._keys.blind("console.form", token), b64decode(sealed))))

    def _digest(self, token: str) -> bytes:
        return self._keys.blind("console.session", token)

    def _sign(self, token: str) -> str:
        return self._keys.blind("console.cookie", token).hex()


def _age(instant: str) -> timedelta:
    return clock.now() - datetime.fromisoformat(instant)
