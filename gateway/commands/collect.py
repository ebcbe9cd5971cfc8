"""`maillon collect`: take the files that wait at HubEE, read them, answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

import typer

from connectors.hubee.connector import Hubee
from gateway.collect import Collected
from gateway.collect import collect as collect_files
from gateway.commands.output import WRONG_USAGE, body_of, data, fail, people
from gateway.registry import Gateway
from gateway.settings import settings


def register(app: typer.Typer) -> None:
    app.command(name="collect")(collect_command)


def collect_command(
    body: Annotated[str, typer.Option("--from", help="Carrier to collect from.")] = "hubee",
    watch: Annotated[bool, typer.Option("--watch", help="Go on, at the interval the carrier allows.")] = False,
) -> None:
    """Collect files from HubEE: one JSON line per notification, then one of counts; exit 1 if something must be looked
    at (an access refused, a file refused or held, a defect of the gateway)."""
    gateway = Gateway.open(settings())
    if body_of(gateway, body).connector != "hubee":
        fail("carrier-unknown", "Files are collected from HubEE: name a body of the connector hubee.", WRONG_USAGE)
    found = asyncio.run(_collect(gateway, body, watch))
    if any(
        one.status in ("stopped", "refused", "error", "held") or one.code in ("unexpected-error", "not-ours")
        for one in found
    ):
        raise typer.Exit(1)


async def _collect(gateway: Gateway, body: str, watch: bool) -> list[Collected]:
    while True:
        await asyncio.to_thread(gateway.seal_what_was_left)
        found = await collect_files(gateway, body)
        for one in found:
            data(one.line())
        data({"collected": len(found), **Counter(one.status for one in found)})
        if not watch:
            return found
        connector = gateway.connector(body)
        assert isinstance(connector, Hubee)
        pause = max([connector.interval.total_seconds(), *(one.retry_after or 0.0 for one in found)])
        people.print(f"next collection in {pause / 60:.0f} min")
        await asyncio.sleep(pause)
