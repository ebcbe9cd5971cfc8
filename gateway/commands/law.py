"""Commands about what exchanges rest on: information, consent, objection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select

from gateway import basis
from gateway.basis_states import states
from gateway.commands.output import WRONG_USAGE, data, fail
from gateway.past import past_recipients
from gateway.registry import Gateway
from gateway.settings import settings
from gateway.storage.tables.basis import basis_record

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The record, as JSON.")]


def register(app: typer.Typer) -> None:
    records = typer.Typer(help="Information, consent and objection records.", no_args_is_help=True)
    records.command(name="record")(record)
    records.command(name="withdraw")(withdraw)
    records.command(name="object")(object_)
    records.command(name="list")(list_)
    app.add_typer(records, name="basis")


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        fail("bad-json", "Give a JSON file; its fields are those of schemas/json/basis.", WRONG_USAGE)


def record(
    file: File,
    decision: Annotated[str, typer.Option(help="For a consent: requested, given or refused.")] = "",
) -> None:
    """Record an information given, a consent, a limitation or a validation."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = basis.record(work, _content(file), decision=decision)
    data({"id": told.id, "kind": told.kind, "state": told.state, "receipt": told.receipt})


def withdraw(id: str) -> None:
    """The person withdraws a consent; every past recipient is told. No reason is asked."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        row = work.connection.execute(select(basis_record).where(basis_record.c.id == id)).first()
        if row is None:
            fail("basis-unknown", "Check the id against `maillon basis list`.")
        person = str(row.person_id)
        told = basis.withdraw(
            work,
            id,
            past_recipients=past_recipients(work, person, row.purpose),
            reference=lambda body: gateway.keys.pseudonym(body, person),
        )
    data({"id": told.id, "state": told.state, "notified": len(told.notifications)})


def object_(file: File) -> None:
    """The person objects, where the regime allows it; what it suspends stops at once."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = basis.object_(work, _content(file))
    data({"id": told.id, "state": told.state, "notified": len(told.notifications)})


def list_(person: Annotated[str, typer.Option(help="Person id; all by default.")] = "") -> None:
    """One JSON object per record."""
    gateway = Gateway.open(settings())
    query = select(basis_record).order_by(basis_record.c.id)
    if person:
        query = query.where(basis_record.c.person_id == person)
    with gateway.unit_of_work() as work:
        rows = work.connection.execute(query).all()
        held = {one.id: one for known in states(work, [row.person_id for row in rows]).values() for one in known.held}
        for row in rows:
            told = {"id": row.id, "kind": row.kind, "regime": row.regime, "purpose": row.purpose}
            data(told | {"state": held[row.id].state, "since": row.created_at, "until": row.valid_until})
