"""Command about what a human must look at in time: deadlines that near or passed, and tasks."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from gateway import clock, parcours, tasks
from gateway.commands.output import data, day, people
from gateway.person_history import head_of
from gateway.registry import Gateway
from gateway.settings import settings


def register(app: typer.Typer) -> None:
    app.command()(alerts)


def alerts(
    person: Annotated[str, typer.Option(help="Only this person.")] = "",
    on: Annotated[str, typer.Option(callback=day, help="Day to count from, AAAA-MM-JJ; today by default.")] = "",
    dismiss: Annotated[str, typer.Option(help="Close this task: a human looked at it.")] = "",
) -> None:
    """Deadlines that near or passed, computed from the dossiers, and tasks: one JSON object each on stdout."""
    gateway = Gateway.open(settings())
    if dismiss:
        with gateway.unit_of_work() as work:
            tasks.dismiss(work, dismiss)
        data({"task": dismiss, "state": "dismissed"})
        return
    with gateway.unit_of_work() as work:
        people_asked = [head_of(work, person)] if person else None
    table = Table("alerte", "échéance", "état", "base légale", "nombre")
    seen: dict[tuple[str, str], int] = {}
    for alert in parcours.alerts(gateway, on or clock.instant()[:10], people_asked):
        data(alert.line())
        seen[alert.code, alert.state] = seen.get((alert.code, alert.state), 0) + 1
    for (code, state), number in sorted(seen.items()):
        rule = parcours.delays().rules[code]
        table.add_row(rule.libelle, rule.words(), parcours.STATES[state], rule.article, str(number))
    with gateway.unit_of_work() as work:
        for one in tasks.open_tasks(work, people_asked):
            data({"task": one.pop("id"), **one})
    people.print(table)
