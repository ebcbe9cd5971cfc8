"""Calls to HubEE: one token per démarche, the three partner headers, one renewal, a verdict for all that comes back.

Stopped
├── retry     not now: HubEE, the network or a file that is not there yet (`retry_after`)
├── unknown   a write that was perhaps done: read the state of the hub before sending it again
└── refused   never like this: an access withdrawn, an object of somebody else, a request the hub does not accept
"""

from __future__ import annotations

import asyncio
import base64
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from connectors.contract import DocumentRefused
from connectors.hubee.demarches import Demarche
from connectors.json import parse
from connectors.transport import Answer, Busy, DestinationRefused, Transport, TransportError, unavailable

FOLDERS, REFERENTIAL = "/teledossiers/v1", "/referential/v1"
MARGIN = timedelta(seconds=60)
"""A token this close to its end is renewed before it is used."""
QUOTA_DELAY = 300.0
"""Seconds to wait after a 429 that gives no delay (published window: 5 minutes)."""
FAULT_DELAY = 3600.0
"""Seconds to wait after a 500, as HubEE advises."""
TRANSFER = 3600.0
"""Seconds one file may take, 500 MB at most on the published platform."""
MAX_FILE = 600_000_000

Outcome = Literal["retry", "unknown", "refused"]


class Stopped(Exception):
    """The call cannot go on. `code` is stable and says nothing of anybody."""

    def __init__(self, outcome: Outcome, code: str, retry_after: float | None = None) -> None:
        super().__init__(f"{outcome}: {code}")
        self.outcome = outcome
        self.code = code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Access:
    """Where HubEE is, and with which client each démarche is collected."""

    auth_url: str
    api_url: str
    clients: Mapping[str, tuple[str, str]] = field(repr=False)
    """Démarche to client id and secret."""
    partner: Mapping[str, str]
    """`editorName`, `applicationName`, `softwareVersion`: HubEE gives them back as `partnerInfo`."""
    role: Literal["SI", "OSL"] = "SI"


class Client:
    """One organisation's calls in one role, for all its démarches."""

    def __init__(self, access: Access, transport: Transport, now: Callable[[], datetime]) -> None:
        self.access, self._transport, self._now = access, transport, now
        self._tokens: dict[str, tuple[str, datetime]] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def json(self, demarche: Demarche, method: str, path: str, **how: Any) -> Any:
        """The JSON of an answer, None when it has no body. Raises `Stopped`."""
        answer = await self.call(demarche, method, path, **how)
        if not answer.content.strip():
            return None
        try:
            return parse(answer.content)
        except DocumentRefused:
            raise Stopped("retry" if method == "GET" else "unknown", "answer-unreadable") from None

    async def call(self, demarche: Demarche, method: str, path: str, **how: Any) -> Answer:
        """One call; a refused token is renewed once. Raises `Stopped`."""
        more = how.pop("headers", {})

        async def once(headers: dict[str, str]) -> Answer:
            return await self._transport.request(method, self.access.api_url + path, headers=headers | more, **how)

        return await self._authorized(demarche, once, writes=method != "GET")

    async def subscription(self, demarche: Demarche) -> str:
        """A token for this démarche: why there is none, or nothing."""
        try:
            await self._token(demarche)
        except Stopped as stopped:
            return stopped.code
        return ""

    async def download(
        self, demarche: Demarche, path: str, size: int, start: Callable[[], Callable[[bytes], object]]
    ) -> Answer:
        """A file of `size` bytes, given piece by piece to what `start` returns (called again if it must begin anew).

        Cut at the first byte too many. Raises `Stopped`.
        """

        async def once(headers: dict[str, str]) -> Answer:
            url = self.access.api_url + path
            return await self._transport.download(
                url, start(), headers=headers | {"Accept": "*/*"}, deadline=TRANSFER, max_bytes=min(size, MAX_FILE)
            )

        return await self._authorized(demarche, once, writes=False)

    async def _authorized(self, demarche: Demarche, once: Callable[[dict[str, str]], Any], *, writes: bool) -> Answer:
        for renewed in (False, True):
            token = await self._token(demarche)
            headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", **self.access.partner}
            try:
                answer: Answer = await once(headers)
            except TransportError as error:
                raise _lost(error, writes=writes) from None
            if answer.status != 401 or renewed:
                break
            # The API manager answers 900901 for a token that is over; another task may have renewed it meanwhile.
            if self._tokens.get(demarche.code, ("",))[0] == token:
                del self._tokens[demarche.code]
        if answer.status == 429:  # every call counts: nothing more is sent until then
            self._transport.pause(answer.retry_after() or QUOTA_DELAY)
        return _judged(answer)

    async def _token(self, demarche: Demarche) -> str:
        async with self._locks[demarche.code]:
            held = self._tokens.get(demarche.code)
            if held is None or held[1] - MARGIN <= self._now():
                held = self._tokens[demarche.code] = await self._ask(demarche)
            return held[0]

    async def _ask(self, demarche: Demarche) -> tuple[str, datetime]:
        if demarche.code not in self.access.clients:
            raise Stopped("refused", "access-not-configured")
        pair = base64.b64encode(":".join(self.access.clients[demarche.code]).encode()).decode("ascii")
        asked = self._now()
        try:
            answer = await self._transport.request(
                "POST",
                self.access.auth_url + "/oauth2/token",
                headers={"Authorization": f"Basic {pair}", "Accept": "application/json"},
                form={"grant_type": "client_credentials", "scope": self.access.role},
                repeatable=True,
            )
        except TransportError as error:
            raise _lost(error, writes=False) from None
        if answer.status in {400, 401, 403}:
            raise Stopped("refused", "access-refused")
        try:
            told = parse(_judged(answer).content)
            return str(told["access_token"]), asked + timedelta(seconds=int(told.get("expires_in", 3600)))
        except (DocumentRefused, AttributeError, KeyError, TypeError, ValueError):
            raise Stopped("retry", "token-unreadable") from None


def _lost(error: TransportError, *, writes: bool) -> Stopped:
    if isinstance(error, DestinationRefused):
        return Stopped("refused", error.code)
    if error.sent and writes:
        return Stopped("unknown", error.code)
    return Stopped("retry", error.code, error.retry_after if isinstance(error, Busy) else None)


def _judged(answer: Answer) -> Answer:
    """The answer when HubEE accepted. A body is never part of the error: it may quote what was sent."""
    status = answer.status
    if 200 <= status < 300:
        return answer
    if status == 429:
        raise Stopped("retry", "quota", answer.retry_after() or QUOTA_DELAY)
    if status == 500:
        raise Stopped("retry", "http-500", answer.retry_after() or FAULT_DELAY)
    if status > 500 or unavailable(answer):
        raise Stopped("retry", f"http-{status}", answer.retry_after())
    codes = {401: "unauthorized", 403: "not-ours", 404: "not-found"}
    raise Stopped("refused", codes.get(status, f"http-{status}"))
