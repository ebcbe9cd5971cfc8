"""What a data protection officer asks of the journal and of the conventions. Codes, counts and pseudonyms only.

Periods are `start ≤ ts < end`, RFC 3339 UTC. Each function reads; whoever calls it for a person appends `log.read`.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from sqlalchemy import Connection, func, select

from gateway import clock, convention, journal, policy_history, retention
from gateway.basis_record import fold
from gateway.convention_model import Flow
from gateway.journal import RETENTION_MONTHS, Logged
from gateway.journal_entry import GAVE
from gateway.journal_upkeep import months_before
from gateway.policy import in_order
from gateway.problems import Unknown
from gateway.registry import Gateway
from gateway.storage.tables.basis import basis_event, basis_record
from gateway.storage.tables.journal import journal_entry, journal_log
from gateway.unit_of_work import UnitOfWork

OPEN_HOURS = range(7, 20)
"""Hours of the day (Paris), Monday to Friday, in which an office looks people up."""
MASS, REPEATED = 200, 10
"""Persons looked up by one client in one hour, and look-ups of one person by one client in one day, that are shown."""


def period(connection: Connection, start: str, end: str, page: int = 1000, **columns: str) -> Iterator[Logged]:
    """Every entry of a period, oldest first."""
    after = None
    while rows := journal.of_period(connection, start, end, after=after, limit=page, **columns):
        yield from rows
        if len(rows) < page:
            return
        after = rows[-1].cursor


def denials(connection: Connection, start: str, end: str) -> list[dict[str, Any]]:
    """Refusals of a period by rule, with who was refused what; most frequent first."""
    counted: Counter[tuple[str, ...]] = Counter()
    for entry in period(connection, start, end, decision="deny"):
        fields = entry.fields
        article = fields.get("article", "")
        article = "; ".join(article) if isinstance(article, list) else article
        for rule in fields.get("rule_ids") or ["?"]:
            said = [fields.get(name, "") for name in ("reason_code", "sender_org", "recipient_org", "purpose")]
            counted[rule, article, *said] += 1
    names = ("rule", "article", "reason", "sender", "recipient", "purpose")
    return [dict(zip(names, key, strict=True)) | {"count": count} for key, count in counted.most_common()]


def lookups(connection: Connection, start: str, end: str) -> list[dict[str, Any]]:
    """Look-ups by client, or by agent of the console (pseudonym): how many, of how many persons, out of hours,
    repeated, in mass."""
    found: dict[str, dict[str, Any]] = {}
    by_hour: dict[tuple[str, str], set[str]] = defaultdict(set)
    by_day: Counter[tuple[str, str, str]] = Counter()
    for entry in period(connection, start, end, event="log.read"):
        fields = entry.fields
        who, subject = fields.get("client_id") or fields.get("agent", ""), fields.get("subject", "")
        one = found.setdefault(who, {"client_id": who, "body": fields.get("sender_org", ""), "lookups": 0,
                                     "persons": set(), "out_of_hours": 0})  # fmt: skip
        one["lookups"] += 1
        moment = clock.local(entry.ts)
        one["out_of_hours"] += moment.weekday() > 4 or moment.hour not in OPEN_HOURS
        if subject:
            one["persons"].add(subject)
            by_hour[who, entry.ts[:13]].add(subject)
            by_day[who, moment.date().isoformat(), subject] += 1
    for who, one in found.items():
        one["persons"] = len(one["persons"])
        one["mass"] = [
            {"hour": f"{hour}:00Z", "persons": len(subjects)}
            for (client, hour), subjects in sorted(by_hour.items())
            if client == who and len(subjects) >= MASS
        ]
        one["repeated"] = [
            {"day": day, "subject": subject, "lookups": count}
            for (client, day, subject), count in sorted(by_day.items())
            if client == who and count >= REPEATED
        ]
    return sorted(found.values(), key=lambda one: (-one["lookups"], one["client_id"]))


def sent(connection: Connection, start: str, end: str) -> dict[tuple[str, str, str], dict[str, int]]:
    """What really reached somebody: (purpose, sender, recipient) → category → deliveries acknowledged, and readings of
    the dossier."""
    found: dict[tuple[str, str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for entry in chain.from_iterable(period(connection, start, end, event=event) for event in GAVE):
        fields = entry.fields
        if fields.get("outcome") not in GAVE[fields["event"]] or not fields.get("purpose"):
            continue
        way = found[fields["purpose"], fields.get("sender_org", ""), fields.get("recipient_org", "")]
        for code in fields.get("categories_sent", ()):
            way[code] += 1
    return {way: dict(codes) for way, codes in found.items()}


def unused_categories(work: UnitOfWork, gateway: Gateway, start: str, end: str) -> list[dict[str, Any]]:
    """For each open flow, the categories it may carry and never did: candidates for minimisation."""
    seen = sent(work.connection, start, end)
    found = []
    for flow in all_flows(work, gateway):
        if not flow.active:
            continue
        never = flow.may_carry(gateway.policy.table) - seen.get((flow.purpose, flow.de, flow.vers), {}).keys()
        if never:
            found.append({"flow": flow.id, "purpose": flow.purpose, "never_used": in_order(never)})
    return found


def all_flows(work: UnitOfWork, gateway: Gateway) -> list[Flow]:
    """Every flow of every convention, active or not."""
    senders = {one["parties"][rank] for one in convention.list_(work) for rank in range(len(one["parties"]))}
    return [flow for sender in sorted(senders) for flow in gateway.flows(work, sender)]


def expired_conventions(work: UnitOfWork) -> list[dict[str, Any]]:
    """Conventions that carry nothing any more, and those that end within sixty days."""
    soon = (convention.today(work) + timedelta(days=60)).isoformat()
    return [one for one in convention.list_(work) if one["etat"] != "active" or one["fin"] <= soon]


def consents_past(work: UnitOfWork, after: str = "", limit: int = 200) -> list[dict[str, Any]]:
    """Consents whose term has passed and that nobody withdrew, renewed or recorded as expired before it."""
    query = select(basis_record).where(
        basis_record.c.kind == "consent", basis_record.c.valid_until <= work.now, basis_record.c.id > after
    )
    rows = work.connection.execute(query.order_by(basis_record.c.id).limit(limit)).all()
    events: dict[str, list[tuple[str, str]]] = {row.id: [] for row in rows}
    happened = select(basis_event).where(basis_event.c.record_id.in_(events))
    for one in work.connection.execute(happened):
        events[one.record_id].append((one.name, one.recorded_at))
    return [
        {"id": row.id, "subject": json.loads(row.content)["subject_ref"], "purpose": row.purpose,
         "valid_until": row.valid_until, "recorded": state}
        for row in rows
        if (state := fold("consent", events[row.id])) in ("given", "expired")
    ]  # fmt: skip


def retention_due(work: UnitOfWork, gateway: Gateway) -> dict[str, Any]:
    """What is older than its regime allows: statements by body, entries by log."""
    return {"data": retention.due(work, gateway), "journal": _entries_due(work)}


def _entries_due(work: UnitOfWork) -> list[dict[str, Any]]:
    found = []
    now = datetime.fromisoformat(work.now)
    for log in work.connection.execute(select(journal_log)).all():
        cutoff = months_before(now, RETENTION_MONTHS[log.log])
        query = select(func.count()).where(journal_entry.c.log == log.log, journal_entry.c.ts < cutoff)
        found.append({"log": log.log, "before": cutoff, "entries": work.connection.execute(query).scalar_one(),
                      "pruned_below": log.min_index})  # fmt: skip
    return found


def explain(gateway: Gateway, fields: dict[str, Any]) -> dict[str, Any] | None:
    """The rules of one decision, in the words of the table of its day, and whether that table allows it.

    None for an entry without a decision; `policy_known` is false when no copy of that table was kept.
    """
    version = fields.get("policy_h")
    if not version:
        return None
    try:
        table = policy_history.load(gateway.settings.home, version).table
    except Unknown:
        return {"policy": version, "policy_known": False}
    rules = [rule for rule in table.rules if rule.id in fields.get("rule_ids", ())]
    allowed = frozenset[str]().union(*(rule.categories for rule in rules if rule.effect == "permit"))
    carried = frozenset(fields.get("categories_sent", ()))
    if fields.get("decision") == "deny":
        sound = any(rule.effect == "deny" for rule in rules) and not carried
    else:
        sound = bool(rules) and not any(rule.effect == "deny" and not rule.default for rule in rules)
        sound = sound and carried <= allowed
    return {
        "policy": version,
        "policy_known": True,
        "rules": [
            {"id": rule.id, "effect": rule.effect, "reason": rule.reason, "article": list(rule.articles),
             "text": rule.text_fr, "proposed": rule.proposed, "to_verify": rule.to_verify}
            for rule in rules
        ],
        "sound": sound,
    }  # fmt: skip
