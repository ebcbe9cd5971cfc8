"""Files of many persons: how far each got, what it brought, which wait for a human."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import select

from gateway import clock
from gateway.console import trials
from gateway.console.blocks import (
    Badge,
    Lines,
    Notice,
    Num,
    Page,
    Quiet,
    Table,
    Text,
    When,
)
from gateway.console.common import PAGE, Place, View
from gateway.storage.tables.record import batch
from gateway.words import many, number, say, says, seconds, word


def places() -> list[Place]:
    """The pages of this family."""
    return [Place("/console/fichiers", files, ("operateur",))]


def files(view: View) -> Page:
    """Files of many persons: how far each got, what it brought, which wait for a human."""
    after = view.asked("apres")
    query = select(batch).order_by(batch.c.id.desc()).limit(PAGE)
    rows = view.connection.execute(query.where(batch.c.id < after) if after else query).all()
    held = [row for row in rows if row.state == "held"]
    shown = [_file(view, row) for row in rows]
    heads = says(
        "fichiers",
        "document",
        "expediteur",
        "etat",
        "avancement",
        "acceptes",
        "inchanges",
        "quarantaine",
        "rejetes",
        "debut",
    )
    page = Page(say("fichiers.titre"), [Text(say("fichiers.intro"), lead=True)])
    if held:
        page.blocks.append(Notice(many("fichiers.retenus", len(held)), "wait"))
    page.blocks += trials.waiting(view)
    page.moving = any(row.state == "running" for row in rows)
    older = f"/console/fichiers?apres={rows[-1].id}" if len(rows) == PAGE else ""
    page.blocks.append(
        Table(
            "fichiers",
            say("fichiers.legende"),
            heads,
            shown,
            say("fichiers.vide"),
            frozenset({3, 4, 5, 6, 7}),
            older=older,
        )
    )
    return page


def _file(view: View, row: Any) -> list[Any]:
    told = json.loads(row.counts)
    tones = {"running": "wait", "done": "good", "held": "bad"}
    state: Any = Badge(word("fichier_etat", row.state), tones.get(row.state, "quiet"))
    if row.held:
        state = Lines([state, Quiet(word("constat", row.held))])
    ended = datetime.fromisoformat(row.ended_at) if row.ended_at else clock.now()
    lasted = seconds((ended - datetime.fromisoformat(row.started_at)).total_seconds())
    return [
        Lines([*view.document(row.document).items, Quiet(word("genre", row.kind))]),
        view.body(row.sender),
        state,
        many("fichiers.lus", row.done)
        if row.state == "running"
        else say("fichiers.sur", n=number(row.done), total=number(told.get("records", row.done))),
        *(Num(told.get(name, 0)) for name in ("accepted", "unchanged", "quarantined", "rejected")),
        Lines([When(row.started_at), Quiet(lasted)]),
    ]
