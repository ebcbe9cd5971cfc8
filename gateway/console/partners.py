"""The bodies that receive: is each served, how much waits for it, what fails and who mends it."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from gateway import clock, recipients, volumes
from gateway.access import partners as credentials
from gateway.console import dead_letters, law_words
from gateway.console.blocks import (
    Badge,
    Code,
    Figures,
    Form,
    Lines,
    Link,
    Num,
    Page,
    Quiet,
    Table,
    Text,
)
from gateway.console.common import Answer, Go, Place, View
from gateway.problems import Unknown
from gateway.storage.tables.delivery import OPEN as _OPEN
from gateway.storage.tables.delivery import STUCK as _STUCK
from gateway.storage.tables.delivery import outbox as table
from gateway.storage.tables.delivery import recipient_state
from gateway.storage.tables.journal import journal_entry
from gateway.words import many, moment, say, says, seconds, word

OPEN = ("queued", "claimed", "waiting", "dead")


def places() -> list[Place]:
    """The pages of this family."""
    return [
        Place("/console/partenaires", partners, ("operateur",)),
        Place("/console/partenaires/{id}/{action:str}", pause, ("operateur",), "POST"),
    ]


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
    c, total = journal_entry.c, Counter[str]()
    acknowledged = (c.ts >= since[:23] + "Z", c.event == "exchange.ack", c.recipient.is_not(None))
    for (_, _, recipient, _, _, outcome), times in volumes.said(view.connection, ("outcome",), *acknowledged).items():
        if outcome in ("delivered", "duplicate"):
            total[recipient] += times
    return total


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
    return [
        *_said(view, cause),
        Code(code or "–"),
        Quiet(since),
        Quiet(acts),
        Link(say("abandonnes.titre"), dead_letters.PATH),
    ]


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
    paused = action == "suspendre"
    if not recipients.pause(view.work, id, paused):
        return Go("/console/partenaires", "deja_suspendu" if paused else "deja_repris")
    view.journal("admin.setting", recipient_org=id, outcome="paused" if paused else "resumed")
    return Go("/console/partenaires", "suspendu" if paused else "repris")
