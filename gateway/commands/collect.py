"""What is taken at a partner's: the files that wait at HubEE, a document about one person on request."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

import typer

from connectors.contract import NotObtained
from connectors.hubee.connector import Hubee
from gateway.collect import Collected
from gateway.collect import collect as collect_files
from gateway.commands.output import REFUSED, WRONG_USAGE, body_of, data, fail, people
from gateway.problems import Misnamed, Unknown
from gateway.pull import pull
from gateway.receipt import Receipt
from gateway.registry import Gateway
from gateway.settings import settings


def register(app: typer.Typer) -> None:
    app.command(name="collect")(collect_command)
    app.command(name="pull")(pull_command)


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
    try:
        return await _collected(gateway, body, watch)
    finally:
        await gateway.close_transports()


async def _collected(gateway: Gateway, body: str, watch: bool) -> list[Collected]:
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


_ACTS = {
    "no-identifier": "No flow of the asking body names this document there, or the law does not let her be named.",
    "identity-incomplete": "Her civil identity lacks what this partner asks; `maillon person` shows what is known.",
}


def pull_command(
    person: Annotated[str, typer.Argument(help="Person id.")],
    document: Annotated[str, typer.Option("--document", help="Document that the partner gives on request.")],
    source: Annotated[str, typer.Option("--from", help="Body that is asked.")],
    asked_by: Annotated[str, typer.Option("--for", help="Body that asks, under its own flow.")],
) -> None:
    """Ask a partner for a document about one person: one JSON line per record, then one of counts; exit 1 if nothing
    could be asked or obtained. Nothing known there is no fault."""
    gateway = Gateway.open(settings())
    body_of(gateway, asked_by)
    body_of(gateway, source)
    if "pull" not in gateway.document(source, document).direction:
        raise Misnamed("document-not-asked", f"{document} is not given on request.")
    with gateway.reading() as work:
        if not gateway.dossiers.exists(work, person):
            raise Unknown("person-unknown", "Give a person id; `maillon person search` finds it.")
    try:
        found = asyncio.run(_pull(gateway, person, source, document, asked_by))
    except NotObtained as refused:
        act = _ACTS.get(refused.code, f"The partner was asked, or could not be: {refused.outcome}.")
        fail(refused.code, f"The law does not let her be named there: {refused.why}." if refused.why else act, REFUSED)
    for receipt in found:
        data({"status": receipt.status, "persons": receipt.persons, "changed": receipt.changed})
    data({"obtained": len(found), **Counter(one.status for one in found)})


async def _pull(gateway: Gateway, person: str, source: str, document: str, asked_by: str) -> list[Receipt]:
    try:
        return await pull(gateway, person, source, document, asked_by)
    finally:
        await gateway.close_transports()
