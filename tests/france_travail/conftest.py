"""A France Travail in process, a connector configured against it, and a clock both follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors.contract import Acknowledgement, NotObtained, Outgoing
from connectors.france_travail.connector import FranceTravail
from connectors.france_travail.sandbox import Sandbox, Usager
from connectors.transport import Limits, Transport
from schemas.record import Current, Fact, Written

BASE = "https://ft.exemple.invalid"


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **step: float) -> None:
        self.time += timedelta(**step)

    def seconds(self) -> float:
        return self.time.timestamp()


def facts(values: dict[str, Any], source: str = "departement") -> Current:
    return {path: Fact(value, source, "essai", "2026-11-20T08:00:00Z") for path, value in values.items()}


class Partner:
    """One connector in front of one stand-in."""

    def __init__(self, app: Sandbox, clock: Clock, **settings: str) -> None:
        self.app, self.clock = app, clock
        values = app.credentials(BASE) | settings
        self.connector = FranceTravail(FranceTravail.manifest.configure(values), clock)
        limits = Limits(backoff=0.0, deadline=2.0)
        self.transport = Transport(
            "france_travail", [BASE], limits=limits, wire=httpx.ASGITransport(app), now=clock.seconds
        )

    def person(self, numero: str = "00000000101") -> dict[str, str]:
        usager = self.app.usagers[numero]
        return {"nir": usager.nir, "date_naissance": usager.date_naissance}

    @property
    def usager(self) -> Usager:
        return self.app.usagers["00000000101"]

    async def pull(self, document: str, identifiers: dict[str, str] | None = None) -> list[bytes]:
        name = f"france_travail.{document}"
        asked = self.person() if identifiers is None else identifiers
        return [content async for _, content in self.connector.pull(name, asked, self.transport)]

    async def refusal(self, document: str, identifiers: dict[str, str] | None = None) -> tuple[str, str, float | None]:
        with pytest.raises(NotObtained) as caught:
            await self.pull(document, identifiers)
        return caught.value.outcome, caught.value.code, caught.value.retry_after

    async def send(
        self,
        document: str,
        values: dict[str, Any],
        *,
        identifiers: dict[str, str] | None = None,
        remote_id: str | None = None,
        **context: Any,
    ) -> Acknowledgement:
        name = f"france_travail.{document}"
        written: Written = self.connector.write(name, facts(values), **context)
        outgoing = Outgoing(
            delivery="01890000-0000-7000-8000-000000000000",
            document=name,
            written=written,
            current=facts(values),
            identifiers=self.person() if identifiers is None else identifiers,
            remote_id=remote_id,
        )
        return await self.connector.send(outgoing, self.transport)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def partner(clock: Clock) -> Iterator[Callable[..., Partner]]:
    """`partner("quota")` gives a connector in front of a stand-in that fails so; keyword words are settings."""
    made: list[Partner] = []

    def make(scenario: str | None = None, *, usagers: list[Usager] | None = None, **settings: str) -> Partner:
        made.append(Partner(Sandbox(scenario, now=clock, usagers=usagers), clock, **settings))
        return made[-1]

    yield make
    for one in made:
        assert one.app.unmatched == [], "a call went to a path that France Travail does not have"
