"""The pages of the operator: partners' health, dead letters, files, and whether the gateway is well."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, tuple_

from gateway import clock, outbox, recipients, volumes
from gateway.access import partners as credentials
from gateway.console import law_words, trials
from gateway.console.blocks import (
    Badge,
    Code,
    Facts,
    Figures,
    Form,
    Lines,
    Link,
    Notice,
    Num,
    Page,
    Quiet,
    Table,
    Text,
    Title,
    When,
)
from gateway.console.common import PAGE, Answer, Go, Place, View
from gateway.problems import Unknown
from gateway.storage import upsert
from gateway.storage.tables.delivery import OPEN as _OPEN
from gateway.storage.tables.delivery import STUCK as _STUCK
from gateway.storage.tables.delivery import mailbox, recipient_state
from gateway.storage.tables.delivery import outbox as table
from gateway.storage.tables.journal import journal_entry, journal_log
from gateway.storage.tables.record import batch
from gateway.words import many, moment, number, say, says, seconds, word

OPEN = ("queued", "claimed", "waiting", "dead")
_DEAD = "/console/abandonnes"


def places() -> list[Place]:
    """Every page of this role."""
    role = ("operateur",)
    return [
        Place("/console/partenaires", partners, role),
        Place("/console/partenaires/{id}/{action:str}", pause, role, "POST"),
        Place(_DEAD, dead, role),
        Place("/console/abandonnes/rejouer", replay, role, "POST"),
        Place("/console/fichiers", files, role),
        Place("/console/etat", health, role),
    ]


# --- partners ------------------------------------------------------------


def partners(view: View) -> Page:
    """Each body that receives: is it served, how much waits for it, what it takes."""
    waiting, oldest = _unsettled(view)
    hour, day_ = (clock.instant(clock.now() - timedelta(hours=n)) for n in (1, 24))
    rates = _delivered(view, hour)
    daily = _delivered(view, day_)
    states = {row.recipient: row for row in view.connection.execute(select(recipient_state))}
    receiving = {flow.vers for body in view.gateway.bodies for flow in view.gateway.flows(view.work, body)}
    receiving |= states.keys() | waiting.keys()
    ending = {
        one.body: [Badge(say("partenaires.identifiants_finissent", quand=moment(one.at)), "wait")]
        for one in credentials.ending(view.connection)
    }
    rows = []
    for id in sorted(receiving | {body.id for body in view.gateway.bodies.values() if body.client_id}, key=view.body):
        state, open_ = states.get(id), waiting.get(id, {})
        rows.append(
            [
                Lines([view.body(id), *ending.get(id, [])]) if id in ending else view.body(id),
                Lines([*_health(state, open_), *_cause(view, id, state, open_)]),
                Num(open_.get("queued", 0) + open_.get("claimed", 0)),
                seconds((clock.now() - datetime.fromisoformat(oldest[id])).total_seconds()) if id in oldest else "–",
                Num(open_.get("waiting", 0)),
                Num(open_.get("dead", 0)),
                Num(rates.get(id, 0)),
                Num(daily.get(id, 0)),
                _switch(view, id, bool(state and state.paused)),
            ]
        )
    heads = says(
        "partenaires", "nom", "sante", "file", "plus_ancien", "attente", "abandonnes", "heure", "jour", "action"
    )
    total = {state: sum(one.get(state, 0) for one in waiting.values()) for state in OPEN}
    return Page(
        say("partenaires.titre"),
        [
            Text(say("partenaires.intro"), lead=True),
            Figures(
                [
                    (
                        say("partenaires.file"),
                        Num(total["queued"] + total["claimed"]),
                        "wait" if total["queued"] else "",
                    ),
                    (say("partenaires.attente"), Num(total["waiting"]), ""),
                    (say("partenaires.abandonnes"), Num(total["dead"]), "bad" if total["dead"] else ""),
                    (say("partenaires.heure"), Num(sum(rates.values())), "good"),
                ]
            ),
            Table(
                "partenaires",
                say("partenaires.legende"),
                heads,
                rows,
                say("partenaires.vide"),
                frozenset({2, 4, 5, 6, 7}),
            ),
        ],
    )


def _unsettled(view: View) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """For each recipient, its unsettled deliveries by state, and when the oldest of those to send was promised."""
    c = table.c
    waiting: dict[str, dict[str, int]] = defaultdict(dict)
    oldest: dict[str, str] = {}
    for partial in (_OPEN, _STUCK):  # each has its index
        for recipient, state, times, first in view.connection.execute(
            select(c.recipient, c.state, func.count(), func.min(c.created_at))
            .where(partial)
            .group_by(c.recipient, c.state)
        ):
            waiting[recipient][state] = times
            if state in ("queued", "claimed"):
                oldest[recipient] = min(first, oldest.get(recipient, first))
    return waiting, oldest


def _delivered(view: View, since: str) -> dict[str, int]:
    """Deliveries that ended well since then, by recipient. The journal is read by time, which the outbox is not."""
    c = journal_entry.c
    ended = volumes.member(view.connection, "outcome").in_(("delivered", "duplicate"))
    query = select(c.recipient, func.count()).where(c.ts >= since[:23] + "Z", c.event == "exchange.ack", ended)
    return dict(map(tuple, view.connection.execute(query.where(c.recipient.is_not(None)).group_by(c.recipient))))


def _health(state: Any, waiting: dict[str, int]) -> list[Any]:
    if state is not None and state.paused:
        return [Badge(say("partenaires.en_pause"), "wait")]
    if state is not None and state.retry_at and state.retry_at > clock.instant():
        until = Quiet(say("partenaires.jusqu_a", quand=moment(state.retry_at)))
        return [Badge(say("partenaires.au_repos"), "bad"), until]
    if state is not None and state.failures:
        return [Badge(many("partenaires.echecs", state.failures), "wait")]
    if waiting.get("dead"):
        return [Badge(say("partenaires.abandons"), "wait")]
    return [Badge(say("partenaires.va_bien"), "good")]


_SEEN = 50
"""Deliveries looked at for the cause: those put off the furthest, which are those that failed."""
_RESTS = {"circuit-open", "paused", "rate-limited", "too-many-requests", "quota"}
_TO_MEND = {
    "host-not-found", "ca-unreadable", "networks-invalid", "invalid-client", "invalid-scope", "scope-missing",
    "token-refused", "unauthorized", "credentials-refused", "access-refused", "host-key-unknown", "disk-full",
    "folder-missing", "folder-refused", "folder-unreachable", "url-invalid", "scheme-not-allowed",
    "userinfo-not-allowed", "host-not-allowed", "port-not-allowed", "address-not-allowed", "origin-not-registered",
    "not-configured", "scope-not-configured", "agent-misconfigured", "drop-keys-missing", "drop-keys-unreadable",
    "bad-address",
}  # fmt: skip
_AT_SOURCE = {"incomplete-document", "validations-missing", "preconisation-differs"}
"""What the partner asked us to wait for; what is mended on our side; by whoever said it. The rest is the partner's."""


def _cause(view: View, id: str, state: Any, waiting: dict[str, int]) -> list[Any]:
    """Why its deliveries fail, or why they gave up: the last cause, its code, and who must act."""
    if state is not None and state.failures and (failing := _failing(view, id)):
        return failing
    return _given_up(view, id) if waiting.get("dead") else []


def _failing(view: View, id: str) -> list[Any]:
    """The commonest of the last causes of what is still tried."""
    c = table.c
    last = select(c.reason).where(_OPEN, c.recipient == id).order_by(c.next_at.desc()).limit(_SEEN)
    reasons = Counter(code for code in view.connection.scalars(last) if code and code not in recipients.OURS)
    told = [code for code, _ in reasons.most_common() if code != "circuit-open"] or list(reasons)
    if not told:
        return []
    who = _who_acts(told[0])
    acts = f"{who} {say('partenaires.repartiront')}" if who else say("partenaires.rien_a_faire")
    return [*_said(view, told[0]), Code(told[0]), Quiet(acts)]


def _given_up(view: View, id: str) -> list[Any]:
    """The cause of the last that gave up, and since when some do: nothing of it leaves by itself."""
    c = table.c
    query = select(c.reason, func.min(c.settled_at), func.max(c.settled_at)).group_by(c.reason)
    found = view.connection.execute(query.where(_STUCK, c.recipient == id, c.state == "dead")).all()
    code, _, last = max(found, key=lambda row: row[2])
    cause = (code or "").partition(":")[2] or code or ""
    since = say("partenaires.abandons_depuis", premier=moment(min(row[1] for row in found)), dernier=moment(last))
    acts = f"{_who_acts(cause)} {say('partenaires.remettre')}".strip()
    return [*_said(view, cause), Code(code or "–"), Quiet(since), Quiet(acts), Link(say("abandonnes.titre"), _DEAD)]


def _said(view: View, code: str) -> list[str]:
    said = law_words.reason(view.gateway.policy.table, code)
    return [said] if said not in ("", code) else []


def _who_acts(code: str) -> str:
    """Who mends it; nobody, when the partner asked to wait or a connector is at fault, as its own words say."""
    known = code.replace("_", "-")
    if known in _RESTS | recipients.OURS:
        return ""
    who = "nous" if known in _TO_MEND else "expediteur" if known in _AT_SOURCE else "partenaire"
    return word("agir", known, "") or say(f"partenaires.agir_{who}")


def _switch(view: View, id: str, paused: bool) -> Form:
    action = "reprendre" if paused else "suspendre"
    return Form(
        f"/console/partenaires/{id}/{action}",
        say(f"partenaires.{action}"),
        small=True,
        about=view.body(id),
        tone="second",
    )


def pause(view: View) -> Answer:
    """Stop or start again the deliveries to one body; what waits keeps waiting."""
    id, action = view.at("id"), view.at("action")
    if id not in view.gateway.bodies or action not in ("suspendre", "reprendre"):
        raise Unknown("body-unknown", "List the partners.")
    paused = int(action == "suspendre")
    state = {"recipient": id, "paused": paused}
    new = upsert(view.connection.dialect.name, recipient_state).values(failures=0, **state)
    changed = new.on_conflict_do_update(
        index_elements=["recipient"], set_=state, where=recipient_state.c.paused != paused
    )
    if not view.connection.execute(changed).rowcount:
        return Go("/console/partenaires", "deja_suspendu" if paused else "deja_repris")
    view.journal("admin.setting", recipient_org=id, outcome="paused" if paused else "resumed")
    return Go("/console/partenaires", "suspendu" if paused else "repris")


# --- dead letters ------------------------------------------------------------


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
    return Go(_DEAD, "remis" if queued else "rien", queued)


# --- files ------------------------------------------------------------


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


# --- the gateway itself ------------------------------------------------------------


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
