"""Commands about the shared record: worklists of partners, evidence and FSE+, the double-entry meter, code lists."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway import worklist
from gateway.commands.output import WRONG_USAGE, data, fail
from gateway.registry import Gateway
from gateway.settings import settings

Act = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The act agents decided, as a JSON object.")]
AskedBy = Annotated[str, typer.Option("--for", help="The body whose worklist it is.")]


def register(app: typer.Typer) -> None:
    groups: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
        "worklist": (
            "What partners ask our side to do: poll, list, transmit.",
            {"poll": worklist_poll, "list": worklist_list, "digest": worklist_digest, "transmit": worklist_transmit,
             "release": worklist_release},
        ),
    }  # fmt: skip
    for name, (help_, commands) in groups.items():
        group = typer.Typer(help=help_, no_args_is_help=True)
        for verb, command in commands.items():
            group.command(name=verb)(command)
        app.add_typer(group, name=name)


def _object(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        fail("bad-json", "Give a JSON object.", WRONG_USAGE)
    if not isinstance(told, dict):
        fail("bad-json", "Give a JSON object.", WRONG_USAGE)
    return told


# --- worklists --------------------------------------------------------------------------------------------------------


def worklist_poll(
    body: Annotated[str, typer.Argument(help="Whose worklist to read.")] = "france_travail",
    asked_by: AskedBy = "departement",
) -> None:
    """Read a partner's worklist once; counts as one JSON object. Nothing is decided."""
    gateway = Gateway.open(settings())

    async def once() -> worklist.Polled:
        try:
            return await worklist.poll(gateway, body, asked_by)
        finally:
            await gateway.close_transports()

    told = asyncio.run(once())
    data(asdict(told))
    if told.refused:
        raise typer.Exit(1)


def worklist_list(body: Annotated[str, typer.Option(help="Of one body only.")] = "") -> None:
    """What is to be done, soonest due first, one JSON object per line, with the next step."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        for one in worklist.live(work, gateway, body):
            data(one)


def worklist_digest(id: str, act: Act) -> None:
    """What two agents validate before this act may leave: `reason_hash` of their validation records."""
    data({"id": id, "reason_hash": worklist.digest_of(id, _object(act))})


def worklist_transmit(id: str, act: Act, asked_by: AskedBy = "departement") -> None:
    """Carry an act that agents decided and two of them validated. It is never repeated by itself."""
    gateway = Gateway.open(settings())

    async def once() -> Any:
        try:
            return await worklist.transmit(gateway, id, _object(act), asked_by)
        finally:
            await gateway.close_transports()

    answer = asyncio.run(once())
    data({"id": id, "outcome": answer.outcome, "code": answer.code})
    if answer.outcome not in ("delivered", "duplicate"):
        raise typer.Exit(1)


def worklist_release(id: str) -> None:
    """A human read what the partner holds: an item whose transmission was cut may be acted on again."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        worklist.release(work, id)
    data({"id": id, "state": "open"})
