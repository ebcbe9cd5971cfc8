"""Commands about changes of code lists: what one would do, applying it, choosing what cannot be guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway import referential
from gateway.commands import group
from gateway.commands.output import data, fail, people, table
from gateway.registry import Gateway
from gateway.settings import settings
from schemas.nomenclatures import migration


def register(app: typer.Typer) -> None:
    about = "Changes of code lists: rename, merge, split, retire."
    group(app, "referential", about, apply=apply, list=list_, choose=choose)


def apply(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The change, as TOML.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
) -> None:
    """Say again under the new codes what is stored under the former ones. Applied twice, it changes nothing more."""
    try:
        change = migration.read(file)
    except migration.MigrationInvalid as error:
        fail(error.code, error.detail)
    told = referential.apply(Gateway.open(settings()), change, dry_run=dry_run)
    shown = table("code", "devient", "faits", "à choisir")
    for code, one in sorted(change.changes.items()):
        facts = told.moved.get(code, 0) + told.retired.get(code, 0)
        shown.add_row(code, " ou ".join(one.to) or "retiré", str(facts), str(told.to_choose.get(code, 0)))
    people.print(shown)
    data(told.line() | {"dry_run": dry_run})


def list_() -> None:
    """The version that each list was brought to here, then what waits for a choice, one JSON object per line."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        for one in referential.applied(work):
            data(one)
        for one in referential.waiting(work, gateway):
            data(one)


def choose(
    task: Annotated[str, typer.Argument(help="Id given by `maillon referential list`.")],
    code: Annotated[str, typer.Argument(help="The former code.")],
    to: Annotated[str, typer.Argument(help="What it becomes for this person.")],
) -> None:
    """Say what a former code becomes in one body's statement about one person."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        done = referential.choose(work, gateway, task, code, to)
    data({"task": task, "state": "settled" if done else "open"})
