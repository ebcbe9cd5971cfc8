"""Command about what a human must look at: deadlines that near or passed, contradictions, and tasks."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from gateway import clock, parcours, tasks
from gateway.clock import local
from gateway.commands.output import data, day, people, table
from gateway.person_history import head_of
from gateway.registry import Gateway
from gateway.settings import settings
from gateway.words import word


def register(app: typer.Typer) -> None:
    app.command()(alerts)


def alerts(
    person: Annotated[str, typer.Option(help="Only this person.")] = "",
    on: Annotated[str, typer.Option(callback=day, help="Day to count from, AAAA-MM-JJ; today by default.")] = "",
    dismiss: Annotated[str, typer.Option(help="Close this task: a human looked at it.")] = "",
) -> None:
    """Deadlines that near or passed, contradictions of the dossiers, and tasks: one JSON object each on stdout."""
    gateway = Gateway.open(settings())
    if dismiss:
        with gateway.unit_of_work() as work:
            tasks.dismiss(work, dismiss)
        data({"task": dismiss, "state": "dismissed"})
        return
    with gateway.unit_of_work() as work:
        people_asked = [head_of(work, person)] if person else None
    seen: Counter[tuple[str, str]] = Counter()
    contradicted: Counter[str] = Counter()
    for one, current in parcours.dossiers(gateway, people_asked):
        for alert in parcours.of(one, current, on or local(clock.instant()).date().isoformat()):
            data(alert.line())
            seen[alert.code, alert.state] += 1
        for found in parcours.contradictions(current):
            data({"person": one, "contradiction": found.code, "path": found.path, "why": found.detail})
            contradicted[found.code] += 1
    shown = table("alerte", "échéance", "état", "base légale", "nombre")
    for (code, state), number in sorted(seen.items()):
        rule = parcours.delays().rules[code]
        shown.add_row(rule.libelle, rule.words(), parcours.STATES[state], rule.article, str(number))
    for code, number in sorted(contradicted.items()):
        shown.add_row(word("constat", code), "–", "à relire", "–", str(number))
    with gateway.unit_of_work() as work:
        for task in tasks.open_tasks(work, people_asked):
            data({"task": task.pop("id"), **task})
    people.print(shown)
