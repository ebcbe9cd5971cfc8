"""The first page: what asks for attention today, by role."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from sqlalchemy import and_, func, select

from gateway import clock, convention, volumes
from gateway.access import partners
from gateway.console.blocks import Badge, Link, Num, Page, Table, Text, Title
from gateway.console.common import MENU, Place, View
from gateway.storage.tables.basis import basis_event, basis_notification
from gateway.storage.tables.delivery import STUCK, outbox, recipient_state
from gateway.storage.tables.journal import journal_log
from gateway.storage.tables.record import batch, identity_case, quarantine
from gateway.storage.tables.rights import breach, rights_request
from gateway.words import say

Task = tuple[str, int, str, str]
"""(key of the sentence, how many, address, tone when there is something)."""


def places() -> list[Place]:
    """The first page, open to every role."""
    return [Place("/console/", home, tuple(MENU))]


def home(view: View) -> Page:
    """One table per role of the account: what to look at, how much of it, where."""
    page = Page(say("accueil.titre"), [Text(say("accueil.intro"), lead=True)])
    for role, tasks in _TASKS.items():
        if role not in view.session.roles:
            continue
        rows = [
            [
                Link(say(f"accueil.{key}"), href),
                Num(count),
                Badge(
                    say("accueil.a_voir" if count and tone != "quiet" else "accueil.rien"), tone if count else "good"
                ),
            ]
            for key, count, href, tone in tasks(view)
        ]
        page.blocks.append(Title(say(f"role.{role}")))
        heads = [say("accueil.quoi"), say("accueil.combien"), say("accueil.etat")]
        page.blocks.append(Table(f"taches-{role}", say("accueil.legende"), heads, rows, numbers=frozenset({1})))
    return page


def _dpo(view: View) -> Iterator[Task]:
    seen = volumes.counts(view.gateway.engine, view.connection, 7)
    yield (
        "refus",
        sum(n for row, n in seen.items() if row.event == "exchange.deny"),
        "/console/registre?jours=7",
        "wait",
    )
    today = convention.today(view.work)
    ending = [
        one
        for one in convention.list_(view.work)
        if one["etat"] == "active" and one["fin"] <= str(today + timedelta(days=90))
    ]
    yield "conventions", len(ending), "/console/conventions", "wait"
    since = clock.instant(clock.now() - timedelta(days=30))
    named = basis_event.c.name.in_(("raised", "withdrawn", "refused"))
    yield (
        "oppositions",
        _count(view, basis_event, named & (basis_event.c.recorded_at >= since)),
        "/console/bases",
        "wait",
    )
    late = basis_notification.c.state.in_(("dpo_task", "refused"))
    waiting = rights_request.c.state.in_(("open", "identity"))
    soon = clock.instant(clock.now() + timedelta(days=7))
    yield "droits", _count(view, rights_request, waiting & (rights_request.c.due_at <= soon)), "/console/droits", "bad"
    untold = (breach.c.state != "closed") & breach.c.cnil_notified_at.is_(None)
    yield "violations", _count(view, breach, untold), "/console/violations", "bad"
    yield "sans_reponse", _count(view, basis_notification, late), "/console/bases", "bad"
    limit = clock.instant(clock.now() - timedelta(seconds=max(120.0, view.gateway.settings.checkpoint_every * 4)))
    yield "journal", _count(view, journal_log, journal_log.c.checkpoint_at < limit), "/console/integrite", "bad"


def _integration(view: View) -> Iterator[Task]:
    yield "quarantaine", _count(view, quarantine, quarantine.c.state == "open"), "/console/quarantaine", "wait"
    yield "identites", _count(view, identity_case, identity_case.c.state == "open"), "/console/identites", "wait"


def _operateur(view: View) -> Iterator[Task]:
    yield "abandonnes", _count(view, outbox, and_(STUCK, outbox.c.state == "dead")), "/console/abandonnes", "bad"
    yield "en_pause", _count(view, recipient_state, recipient_state.c.paused == 1), "/console/partenaires", "wait"
    now = clock.instant()
    yield "au_repos", _count(view, recipient_state, recipient_state.c.retry_at > now), "/console/partenaires", "wait"
    yield "identifiants", len(partners.ending(view.connection)), "/console/partenaires", "wait"
    yield "fichiers", _count(view, batch, batch.c.state == "held"), "/console/fichiers", "wait"


_TASKS: dict[str, Callable[[View], Iterator[Task]]] = {
    "dpo": _dpo,
    "integration": _integration,
    "operateur": _operateur,
}


def _count(view: View, table: object, condition: object) -> int:
    return view.connection.scalar(select(func.count()).select_from(table).where(condition)) or 0  # type: ignore[arg-type]
