"""Access tokens and jetons usager, in memory only.

One token per (realm, client, scope set): one unknown or unsubscribed scope kills a whole token, so each API asks for
its own. A jeton is the capability to act on one person for a day, never an identity key: it is neither logged nor
stored, and the cache knows the person by a keyed digest only.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from connectors.contract import DocumentRefused
from connectors.france_travail.answers import Stopped, Verdict, body, heard, passing, unsent
from connectors.transport import Transport, TransportError

MARGIN = timedelta(seconds=60)
"""A token this close to its end is renewed before it is used."""
JETON_LIFE = timedelta(hours=24)
MAX_JETONS = 20_000
PATH = "/connexion/oauth2/access_token"


@dataclass(frozen=True, slots=True)
class _Held:
    value: str = field(repr=False)
    until: datetime


class Tokens:
    """Access tokens of one client. Concurrent calls that need the same token wait for one request."""

    def __init__(self, auth_url: str, client_id: str, client_secret: str, now: Callable[[], datetime]) -> None:
        self._url, self._client, self._secret, self._now = auth_url.rstrip("/") + PATH, client_id, client_secret, now
        self._held: dict[tuple[str, str], _Held] = {}
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, realm: str, scope: str, transport: Transport) -> str:
        """A token good for at least a minute. Raises `Stopped`: bad client and bad scope are never tried again."""
        key = realm, " ".join(sorted(scope.split()))
        async with self._locks[key]:
            held = self._held.get(key)
            if held is None or held.until - MARGIN <= self._now():
                held = self._held[key] = await self._ask(realm, scope, transport)
            return held.value

    def forget(self, realm: str, scope: str, value: str) -> None:
        """This token was refused; another request may have renewed it since."""
        key = realm, " ".join(sorted(scope.split()))
        if (held := self._held.get(key)) and held.value == value:
            del self._held[key]

    async def _ask(self, realm: str, scope: str, transport: Transport) -> _Held:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client,
            "client_secret": self._secret,
            "scope": scope,
        }
        asked = self._now()
        try:
            answer = await transport.request(
                "POST", self._url, params={"realm": realm}, form=form, repeatable=True, again=passing
            )
        except TransportError as error:
            raise Stopped(unsent(error, writing=False)) from None
        verdict = heard(answer, transport)
        if verdict.outcome == "renew":
            raise Stopped(Verdict("refused", "invalid_client"))
        if verdict.outcome != "ok":
            raise Stopped(verdict)
        try:
            told = body(answer)
            return _Held(str(told["access_token"]), asked + timedelta(seconds=int(told["expires_in"])))
        except (DocumentRefused, KeyError, TypeError, ValueError):
            raise Stopped(Verdict("retry", "token_unreadable")) from None


class Jetons:
    """Jetons usager by person, for at most a day."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now, self._salt = now, os.urandom(32)
        self._held: OrderedDict[bytes, _Held] = OrderedDict()

    def _key(self, person: tuple[str, ...]) -> bytes:
        return hashlib.blake2b("\x00".join(person).encode(), key=self._salt, digest_size=32).digest()

    def get(self, person: tuple[str, ...]) -> str | None:
        held = self._held.get(self._key(person))
        return held.value if held and held.until - MARGIN > self._now() else None

    def keep(self, person: tuple[str, ...], jeton: str) -> None:
        key = self._key(person)
        self._held[key] = _Held(jeton, self._now() + JETON_LIFE)
        self._held.move_to_end(key)
        while len(self._held) > MAX_JETONS:
            self._held.popitem(last=False)

    def forget(self, person: tuple[str, ...]) -> None:
        self._held.pop(self._key(person), None)
