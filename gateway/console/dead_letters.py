"""Deliveries that gave up, or wait for something that their recipient lacks."""

from __future__ import annotations

from sqlalchemy import func, select, tuple_

from gateway import outbox
from gateway.console import law_words
from gateway.console.blocks import (
    Code,
    Form,
    Lines,
    Num,
    Page,
    Table,
    Text,
    Title,
    When,
)
from gateway.console.common import PAGE, Answer, Go, Place, View
from gateway.problems import Unknown
from gateway.storage.tables.delivery import STUCK as _STUCK
from gateway.storage.tables.delivery import outbox as table
from gateway.words import many, say, says

PATH = "/console/abandonnes"


def places() -> list[Place]:
    """The pages of this family."""
    return [
        Place(PATH, dead, ("operateur",)),
        Place("/console/abandonnes/rejouer", replay, ("operateur",), "POST"),
    ]


def dead(view: View) -> Page:
    """Deliveries that gave up, by recipient and reason, and each of them; sent again, they are decided anew."""
    page = Page(say("abandonnes.titre"), [Text(say("abandonnes.intro"), lead=True)])
    grouped, total = _dead_by_reason(view)
    page.blocks.append(grouped)
    if total:
        page.blocks += [Title(say("abandonnes.un_par_un")), _dead_one_by_one(view)]
    page.blocks += [Title(say("abandonnes.attente_titre")), _waiting(view)]
    return page


def _dead_by_reason(view: View) -> tuple[Table, int]:
    """By recipient, document and reason; and how many there are."""
    c = table.c
    groups = view.connection.execute(
        select(c.recipient, c.document, c.reason, func.count(), func.max(c.settled_at))
        .where(_STUCK, c.state == "dead")
        .group_by(c.recipient, c.document, c.reason)
        .order_by(func.count().desc())
    ).all()
    rows = [
        [
            view.body(recipient),
            view.document(document),
            law_words.reason(view.gateway.policy.table, reason) or "–",
            Num(times),
            When(last),
            Form(
                "/console/abandonnes/rejouer",
                many("abandonnes.rejouer_tout", times),
                small=True,
                about=f"{view.body(recipient)}, {document}",
                hidden=[("recipient", recipient), ("document", document), ("reason", reason or "")],
            ),
        ]
        for recipient, document, reason, times, last in groups
    ]
    heads = says("abandonnes", "destinataire", "document", "motif", "nombre", "dernier", "action")
    shown = Table("groupes", say("abandonnes.legende"), heads, rows, say("abandonnes.vide"), frozenset({3}))
    return shown, sum(times for _, _, _, times, _ in groups)


def _dead_one_by_one(view: View) -> Table:
    law, c = view.gateway.policy.table, table.c
    query = select(table).where(_STUCK, c.state == "dead").order_by(c.settled_at.desc(), c.id.desc()).limit(PAGE)
    if after := view.asked("apres"):
        settled_at, _, id = after.partition("_")
        query = query.where(tuple_(c.settled_at, c.id) < tuple_(settled_at, id))
    found = view.connection.execute(query).all()
    rows = [
        [
            Code(row.id[-12:]),
            view.body(row.recipient),
            view.document(row.document),
            Lines([law_words.reason(law, row.reason), Code(row.reason or "–")]),
            Num(row.attempts),
            When(row.settled_at),
            Form(
                "/console/abandonnes/rejouer",
                say("abandonnes.rejouer"),
                small=True,
                about=row.id[-12:],
                hidden=[("id", row.id)],
            ),
        ]
        for row in found
    ]
    heads = says("abandonnes", "numero", "destinataire", "document", "motif", "essais", "abandonne_le", "action")
    older = f"?apres={found[-1].settled_at}_{found[-1].id}" if len(found) == PAGE else ""
    return Table("envois", say("abandonnes.envois_legende"), heads, rows, numbers=frozenset({4}), older=older)


def _waiting(view: View) -> Table:
    """What waits for something that its recipient lacks."""
    c = table.c
    waiting = view.connection.execute(
        select(c.recipient, c.document, c.reason, func.count(), func.min(c.created_at))
        .where(_STUCK, c.state == "waiting")
        .group_by(c.recipient, c.document, c.reason)
    )
    law = view.gateway.policy.table
    rows = [
        [view.body(recipient), view.document(document), law_words.reason(law, reason) or "–", Num(times), When(first)]
        for recipient, document, reason, times, first in waiting
    ]
    heads = says("abandonnes", "destinataire", "document", "motif", "nombre", "depuis")
    vide = say("abandonnes.attente_vide")
    return Table("attente", say("abandonnes.attente_legende"), heads, rows, vide, frozenset({3}))


def replay(view: View) -> Answer:
    """Queue one dead letter again, or all those of one recipient, document and reason."""
    c = table.c
    query = select(c.id).where(_STUCK, c.state == "dead")
    if view.given("id"):
        query = query.where(c.id == view.given("id"))
    elif view.given("recipient"):
        reason = view.given("reason")
        query = query.where(c.recipient == view.given("recipient"), c.document == view.given("document"))
        query = query.where(c.reason == reason if reason else c.reason.is_(None))
    else:
        raise Unknown("delivery-unknown", "Choose a delivery.")
    queued = outbox.replay(view.work, list(view.connection.scalars(query.limit(5_000))))
    if queued:
        view.journal("admin.delivery_retry", n_records=queued, outcome="queued")
    return Go(PATH, "remis" if queued else "rien", queued)
