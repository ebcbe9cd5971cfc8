"""Commands about what waits for a correction: list, show, replay, dismiss."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import select, union

from gateway import journal, quarantine
from gateway.commands import group
from gateway.commands.output import REFUSED, WRONG_USAGE, data, fail, told
from gateway.preview import owner
from gateway.problems import Conflict
from gateway.registry import Gateway
from gateway.replay import replay as replay_record
from gateway.settings import settings
from gateway.storage.tables.record import exchange as exchange_table
from gateway.storage.tables.record import quarantine as table

Ids = Annotated[list[str], typer.Argument(help="Ids given by `maillon quarantine list`.")]


def register(app: typer.Typer) -> None:
    about = "What could not be understood and waits for a correction."
    group(app, "quarantine", about, list=list_, show=show, replay=replay, dismiss=dismiss)


def list_(
    exchange: Annotated[str, typer.Option(help="Only of this exchange or file.")] = "",
    document: Annotated[str, typer.Option(help="Only of this document.")] = "",
    settled: Annotated[bool, typer.Option("--all", help="Those settled too.")] = False,
) -> None:
    """Each finding on a line of JSON: codes and places, never what was written."""
    if document:
        owner(document, "read")
    columns = ("id", "exchange_id", "sender", "document", "position", "code", "path", "severity", "detail", "state")
    query = select(*(table.c[name] for name in (*columns, "created_at"))).order_by(table.c.id)
    for column, wanted in ((table.c.exchange_id, exchange), (table.c.document, document)):
        query = query.where(column == wanted) if wanted else query
    if not settled:
        query = query.where(table.c.state == "open")
    gateway = Gateway.open(settings())
    with gateway.engine.connect().execution_options(read_only=True) as connection:
        named = union(select(exchange_table.c.id), select(table.c.exchange_id)).subquery()
        if exchange and not connection.execute(select(named).where(named.c.id == exchange)).first():
            fail("exchange-unknown", "No exchange nor file has this id; a receipt or the list tells it.", WRONG_USAGE)
        for row in connection.execute(query):
            data(dict(row._mapping))


def show(
    finding: Annotated[str, typer.Argument(help="Id of the finding.")],
    whole: Annotated[bool, typer.Option("--record", help="The whole record as the partner wrote it.")] = False,
) -> None:
    """What was written and not understood. It may name someone: reading it is journaled."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        kept = quarantine.kept_record(work, gateway, finding)
        said = quarantine.raw(work, gateway, finding)
        journal.append(work, "log.read", n_records=1, outcome="shown")
    if whole and kept.original is not None:
        typer.echo(kept.original().decode("utf-8", "replace"))
        return
    data({"id": finding, "raw": said, "replayable": kept.original is not None or not kept.rejected})


def replay(findings: Ids) -> None:
    """Read these records again, now that the table is fixed; exit 1 if one of them still waits."""
    gateway, left = Gateway.open(settings()), 0
    gateway.seal_what_was_left()
    for one in findings:
        try:
            receipt = replay_record(gateway, one)
            data({"id": one, "status": receipt.status, "persons": len(receipt.persons), "changed": receipt.changed})
        except Conflict as waiting:
            left += 1
            told(waiting.code, f"{one}: {waiting.detail}", "yellow")
    if left:
        raise typer.Exit(REFUSED)


def dismiss(findings: Ids) -> None:
    """Close these findings without applying what they hold; what was kept of them is deleted."""
    gateway = Gateway.open(settings())
    for one in findings:
        with gateway.unit_of_work() as work:
            quarantine.dismiss(work, one)
        data({"id": one, "state": "dismissed"})
