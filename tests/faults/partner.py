"""The recipient of the experiments: counts what it receives, and fails as it is told.

One effect per idempotency key, as a partner that keeps its promise; every call is counted.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable

Fault = Callable[[int], "tuple[int, dict[str, str]] | None"]
"""From the rank of the call: what to answer instead of taking the sheet."""


class Partner:
    """An ASGI application. Serve it with `gateway.demo.stage.Served`, or give it to `httpx.ASGITransport`."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        """Sheets taken, by idempotency key: each must be 1."""
        self.content: dict[str, str] = {}
        self.order: list[tuple[str, str]] = []
        """(reference of the person, idempotency key), as taken."""
        self.calls: list[tuple[float, str]] = []
        self.fault: Fault | None = None
        self.latency = 0.0
        """Seconds that a call waits for its answer, or until `let_go`."""
        self._let_go = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.unknown_outcome = 0
        """Close this many times after taking the sheet, without an answer."""

    def let_go(self) -> None:
        """Those who wait are answered now, and nobody waits any more."""
        self.latency = 0.0
        self._let_go += 1

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            status, extra, answer = await self._answer(headers.get("idempotency-key", ""), body)
        finally:
            self.in_flight -= 1
        content = json.dumps(answer).encode()
        extra = {"content-type": "application/json", "content-length": str(len(content))} | extra
        start = {"type": "http.response.start", "status": status}
        await send(start | {"headers": [(name.encode(), value.encode()) for name, value in extra.items()]})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, key: str, body: bytes) -> tuple[int, dict[str, str], dict[str, str]]:
        rank = len(self.calls)
        self.calls.append((time.monotonic(), key))
        until, before = time.monotonic() + self.latency, self._let_go
        while (left := until - time.monotonic()) > 0 and self._let_go == before:  # noqa: ASYNC110 let go by a thread
            await asyncio.sleep(min(left, 0.02))
        if self.fault and (told := self.fault(rank)):
            return *told, {"erreur": "panne"}
        sheet = json.loads(body)  # a torn body never counts as a sheet
        if key in self.effects:
            return 200, {}, {"id": f"g-{key[-12:]}"}
        self.effects[key] += 1
        self.content[key] = body.decode()
        self.order.append((sheet["reference"], key))
        if self.unknown_outcome:
            self.unknown_outcome -= 1
            raise ConnectionError("the answer is lost")
        return 201, {}, {"id": f"g-{key[-12:]}"}
