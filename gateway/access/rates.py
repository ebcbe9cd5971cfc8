"""How often one address or one partner may ask, per worker; and the headers that say so (RateLimit fields draft).

Before a client is authenticated only its address counts: a limit on a client id that anybody can write would let
anybody lock a partner out. Windows start at fixed times and their counters are forgotten together; the `limits`
library keeps each key's expiry with a thread of its own, which costs as much as the signature of the call it counts.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from dataclasses import dataclass

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
REFUSED_ADDRESS = Quota(6_000, 60)
"""Refusals at the resources that one address may cause: each is an entry of the journal."""


class _Window:
    """The counters of one quota in the window that runs."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.counts: Counter[str] = Counter()
        self._ends = 0.0
        self._lock = threading.Lock()

    def count(self, key: str, cost: int) -> tuple[int, int]:
        """Add `cost`; the count so far and the seconds until the window ends."""
        now = time.time()
        with self._lock:
            if now >= self._ends:
                self.counts.clear()
                self._ends = (now // self.quota.window + 1) * self.quota.window
            if cost:
                self.counts[key] += cost
            return self.counts[key], math.ceil(self._ends - now)


class Rates:
    """Counters of one worker."""

    def __init__(self, **quotas: Quota) -> None:
        default = {
            "token-address": TOKEN_ADDRESS,
            "token-client": TOKEN_CLIENT,
            "calls": CALLS,
            "refused-address": REFUSED_ADDRESS,
        }
        self._windows = {name: _Window(quota) for name, quota in (default | quotas).items()}

    def exceeded(self, name: str, key: str) -> int | None:
        """Count one request; the seconds to wait when there were too many, else None."""
        window = self._windows[name]
        count, wait = window.count(key, 1)
        return wait if count > window.quota.amount else None

    def require(self, name: str, key: str) -> None:
        """Count one request. Raises `TooMany` with the headers of `headers`."""
        if self.exceeded(name, key):
            raise self.too_many(name, key)

    def first_excess(self, name: str, key: str) -> bool:
        """Whether the last request counted was the first one too many of its window."""
        return self._windows[name].count(key, 0)[0] == self._windows[name].quota.amount + 1

    def too_many(self, name: str, key: str) -> TooMany:
        wait = self._windows[name].count(key, 0)[1]
        headers = self.headers(name, key)
        return TooMany("rate-limit", "Wait, then send it again.", retry_after=wait, headers=headers)

    def headers(self, name: str, key: str) -> dict[str, str]:
        """`RateLimit` and `RateLimit-Policy` for this key."""
        quota = self._windows[name].quota
        count, wait = self._windows[name].count(key, 0)
        return {
            "RateLimit": f'"{name}";r={max(0, quota.amount - count)};t={wait}',
            "RateLimit-Policy": f'"{name}";q={quota.amount};w={quota.window}',
        }
