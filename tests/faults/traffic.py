"""A sender that keeps sending until each message was accepted, and remembers what it was told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import httpx

from gateway.access.client import TokenRefused
from tests.faults.house import House


class Sender(threading.Thread):
    """Sends these messages one after the other, each under one key, as often as it takes (bounded by `patience`)."""

    def __init__(self, house: House, numbers: Iterable[tuple[int, int]], patience: float = 60.0) -> None:
        super().__init__(daemon=True)
        self._house, self._numbers, self._patience = house, list(numbers), patience
        self.accepted: dict[tuple[int, int], str] = {}
        """Exchange id by (person, version), once a 2xx was received."""
        self.statuses: list[int] = []
        self.longest_wait = 0.0
        self.gave_up: list[tuple[int, int]] = []

    def run(self) -> None:
        client: httpx.Client | None = None
        for number, version in self._numbers:
            began = time.monotonic()
            while time.monotonic() - began < self._patience:
                try:
                    client = client or self._house.client()
                    self._house.happened("invoke", sender=self.name, person=number, version=version)
                    answer = self._house.post(client, number, version)
                    self._tell(answer.status_code, number, version)
                    self.statuses.append(answer.status_code)
                    if answer.status_code in (200, 202):
                        self.accepted[number, version] = answer.json()["id"]
                        break
                except (httpx.HTTPError, TokenRefused, ValueError, KeyError) as error:
                    self._house.happened("info", sender=self.name, person=number, why=type(error).__name__)
                    if client is not None:
                        client.close()
                    client = None
                time.sleep(0.1)
            else:
                self.gave_up.append((number, version))
            self.longest_wait = max(self.longest_wait, time.monotonic() - began)
        if client is not None:
            client.close()

    def _tell(self, status: int, number: int, version: int) -> None:
        outcome = "ok" if status in (200, 202) else "fail"
        self._house.happened(outcome, sender=self.name, person=number, version=version, status=status)


def send_all(house: House, count: int, *, senders: int = 2, patience: float = 60.0, first: int = 0) -> list[Sender]:
    """`count` persons declared by several senders at once; started, not awaited."""
    shares = [[(number, 0) for number in range(first + rank, first + count, senders)] for rank in range(senders)]
    started = [Sender(house, share, patience) for share in shares]
    for one in started:
        one.start()
    return started


def accepted(senders: Iterable[Sender]) -> set[str]:
    return {id for one in senders for id in one.accepted.values()}
