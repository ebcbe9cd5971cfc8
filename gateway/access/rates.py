"""How often one address or one partner may ask, per worker; and the headers that say so (RateLimit fields draft).

Before a client is authenticated only its address counts: a limit on a client id that anybody can write would let
anybody lock a partner out.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from gateway.problems import TooMany


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `amount` in `window` seconds."""

    amount: int
    window: int


TOKEN_ADDRESS = Quota(12_000, 60)
"""Requests to the OAuth endpoints from one address: bounds what signature checks may cost us (about 3 % of a core)."""
TOKEN_CLIENT = Quota(1_200, 60)
"""Authenticated requests of one client to the OAuth endpoints; one every few minutes is what a partner needs."""
CALLS = Quota(50_000, 10)
"""Calls of one client to the resources."""


class Rates:
    """Counters of one worker."""

    def __init__(self, **quotas: Quota) -> None:
        self.quotas = {"token-address": TOKEN_ADDRESS, "token-client": TOKEN_CLIENT, "calls": CALLS} | quotas
        self._items = {name: RateLimitItemPerSecond(q.amount, q.window) for name, q in self.quotas.items()}
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def exceeded(self, name: str, key: str) -> int | None:
        """Count one request; the seconds to wait when there were too many, else None."""
        if self._limiter.hit(self._items[name], name, key):
            return None
        return self._state(name, key)[1]

    def require(self, name: str, key: str) -> None:
        """Count one request. Raises `TooMany` with the headers of `headers`."""
        if wait := self.exceeded(name, key):
            raise TooMany("rate-limit", "Wait, then send it again.", retry_after=wait, headers=self.headers(name, key))

    def headers(self, name: str, key: str) -> dict[str, str]:
        """`RateLimit` and `RateLimit-Policy` for this key."""
        remaining, reset = self._state(name, key)
        quota = self.quotas[name]
        return {
            "RateLimit": f'"{name}";r={remaining};t={reset}',
            "RateLimit-Policy": f'"{name}";q={quota.amount};w={quota.window}',
        }

    def _state(self, name: str, key: str) -> tuple[int, int]:
        stats = self._limiter.get_window_stats(self._items[name], name, key)
        return max(0, stats.remaining), max(1, math.ceil(stats.reset_time - time.time()))
