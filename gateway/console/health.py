"""Whether the gateway is well: deliveries, journal, settings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from gateway import clock
from gateway.console.blocks import (
    Badge,
    Code,
    Facts,
    Num,
    Page,
    Table,
    Text,
    Title,
    When,
)
from gateway.console.common import Place, View
from gateway.storage.tables.delivery import OPEN as _OPEN
from gateway.storage.tables.delivery import mailbox
from gateway.storage.tables.delivery import outbox as table
from gateway.storage.tables.journal import journal_entry, journal_log
from gateway.words import many, say, says, seconds, word


def places() -> list[Place]:
    """The pages of this family."""
    return [Place("/console/etat", health, ("operateur",))]


def health(view: View) -> Page:
    """Database, journal, deliveries: what works, and what to do about the rest."""
    settings = view.gateway.settings
    return Page(
        say("etat.titre"),
        [
            Text(say("etat.intro"), lead=True),
            Title(say("etat.livraisons")),
            _deliveries(view),
            Title(say("etat.journal_titre")),
            _logs(view),
            Title(say("etat.passerelle")),
            Facts(
                [
                    (say("etat.profil"), word("profil", settings.profile)),
                    (say("etat.base"), word("base_de_donnees", view.gateway.engine.dialect.name)),
                    (say("etat.politique"), Code(view.gateway.policy.version[:16] + "…")),
                    (say("etat.organismes"), Num(len(view.gateway.bodies))),
                    (say("etat.tolerance"), seconds(settings.audit_tolerance)),
                ]
            ),
        ],
    )


def _deliveries(view: View) -> Facts:
    """What is being sent, what lost its lease, what is due, and what waits to be fetched."""
    c = table.c
    now = clock.instant()
    claimed = _counted(view, c.state == "claimed", c.lease_until >= now)
    lost = _counted(view, c.state == "claimed", c.lease_until < now)
    due = _counted(view, c.state == "queued", c.next_at <= now)
    entries = journal_entry.c
    last = view.connection.scalar(
        select(entries.ts).where(entries.event == "exchange.ack").order_by(entries.ts.desc()).limit(1)
    )
    unread = (
        view.connection.scalar(
            select(func.count())
            .select_from(mailbox)
            .where(mailbox.c.body.in_(view.gateway.bodies), mailbox.c.acknowledged_at.is_(None))
        )
        or 0
    )
    return Facts(
        [
            (say("etat.en_cours"), Num(claimed)),
            (say("etat.bail_perdu"), Badge(many("etat.reprises", lost), "wait") if lost else say("etat.aucun")),
            (say("etat.dues"), Num(due)),
            (say("etat.derniere"), When(last)),
            (say("etat.boites"), Num(unread)),
        ]
    )


def _logs(view: View) -> Table:
    """Each log of the journal, and whether its last checkpoint is recent enough."""
    settings = view.gateway.settings
    rows = []
    for log in view.connection.execute(select(journal_log).order_by(journal_log.c.log)).all():
        age = (clock.now() - datetime.fromisoformat(log.checkpoint_at)).total_seconds()
        late, stopped = age > max(60.0, settings.checkpoint_every * 4), age > settings.audit_tolerance
        rows.append(
            [
                say("integrite.classe", mois=log.log.removesuffix("m")),
                Num(log.size),
                When(log.checkpoint_at),
                seconds(age),
                Badge(
                    say("etat.ferme" if stopped else "etat.en_retard" if late else "etat.a_jour"),
                    "bad" if stopped else "wait" if late else "good",
                ),
            ]
        )
    heads = says("etat", "journal", "entrees", "point", "age", "publication")
    return Table("journaux", say("etat.legende"), heads, rows, say("integrite.vide"), frozenset({1}))


def _counted(view: View, *conditions: Any) -> int:
    """Deliveries that are not settled and meet these conditions."""
    query = select(func.count()).select_from(table).where(_OPEN, *conditions)
    return view.connection.scalar(query) or 0
