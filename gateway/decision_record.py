"""The receipt of a decision: what was asked and answered, sealed so that it can be taken again years later.

A journal entry that decides names, by its SHA-256 (`decision_h`), the record of what was asked (the facts of the table,
all closed words) and of what was answered. The record holds nothing of the person, so persons in the same situation
share one; what belongs to one exchange (instant, pseudonym, notice shown, consent) is in the entry. The entry is in the
tree, so an altered record is found by its digest and an altered entry by the journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, select

from gateway import journal, policy_history
from gateway.convention_model import Flow
from gateway.journal import Logged
from gateway.policy import Decision, Policy, Question, Replay, in_order, replay
from gateway.problems import Conflict, NotKept
from gateway.storage import upsert
from gateway.storage.tables.journal import decision_record as table
from gateway.unit_of_work import UnitOfWork

_PENDING = "decision_record"
_kept: WeakKeyDictionary[Engine, set[bytes]] = WeakKeyDictionary()
"""Digests this process knows to be committed: each record costs one insert in the life of a database."""


def told(work: UnitOfWork, flow: Flow, question: Question, decision: Decision) -> dict[str, Any]:
    """What a journal entry says of this decision, without absent fields, and how long the entry is kept; the record of
    the decision is kept with the transaction.

    The persons of one batch share their decisions: what was told of one is told again.
    """
    known: dict[tuple[int, int, int], tuple[Flow, Question, Decision, dict[str, Any]]]
    known = work.scratch.setdefault("decisions_told", {})
    key = id(flow), id(question), id(decision)  # kept beside what was told of them, they leave these to no other
    if key not in known:
        known[key] = flow, question, decision, _told(work, flow, question, decision)
    return known[key][-1].copy()


def _told(work: UnitOfWork, flow: Flow, question: Question, decision: Decision) -> dict[str, Any]:
    digest, content = decision.sealed(question)
    _keep(work, bytes.fromhex(digest), content)
    fields = {
        "retention": journal.kept_for(decision.traces),
        "purpose": flow.purpose,
        "regime": flow.regime,
        "article": decision.articles,
        "convention": journal.fitting("convention", f"{flow.convention}:{flow.version}" if flow.convention else None),
        "notice_ref": journal.fitting("notice_ref", question.notice_ref or None),
        "consent_ref": question.consent_ref,
        "decision": "permit" if decision.permits else "deny",
        "rule_ids": decision.rule_ids,
        "policy_h": decision.policy_version,
        "decision_h": digest,
        "categories_sent": tuple(sorted(decision.sent)),
        "categories_redacted": tuple(sorted(decision.redacted)),
    }
    return {name: value for name, value in fields.items() if value}


def _keep(work: UnitOfWork, digest: bytes, content: bytes) -> None:
    kept = _kept.setdefault(work.connection.engine, set())
    if digest in kept:
        return
    if _PENDING not in work.scratch:
        work.scratch[_PENDING] = {}
        # Early, and in the order of their digests: two transactions with the same new records never wait for each other
        # both ways, nor for the lock of a log.
        work.before_commit(_write, early=True)
    work.scratch[_PENDING][digest] = content


def _write(work: UnitOfWork) -> None:
    pending: dict[bytes, bytes] = work.scratch.pop(_PENDING)
    rows = [{"digest": digest, "content": content} for digest, content in sorted(pending.items())]
    work.connection.execute(upsert(work.connection.dialect.name, table).on_conflict_do_nothing(), rows)
    kept = _kept.setdefault(work.connection.engine, set())
    work.after_commit(lambda: kept.update(pending))


def find(connection: Connection, digest: str) -> bytes:
    """The record of this digest. Raises `Unknown`, or `Conflict("receipt-altered")` when its bytes are others."""
    content = connection.scalar(select(table.c.content).where(table.c.digest == bytes.fromhex(digest)))
    if content is None:
        raise NotKept("receipt-missing", "The record of this decision is not in this database: bring back a backup.")
    if hashlib.sha256(content).hexdigest() != digest:
        raise Conflict("receipt-altered", "The record of this decision is not the one its journal entry names.")
    return bytes(content)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision taken again under the table of its day."""

    entry: Logged
    record: bytes
    again: Replay

    @property
    def same(self) -> bool:
        """The table of its day gives, byte for byte, the record that the journal names."""
        return self.again.same

    def line(self) -> dict[str, Any]:
        now, asked = self.again.now, self.again.before
        kept = ("decision", "reason", "rule_ids", "article", "categories_sent", "categories_redacted", "obligations")
        return {
            "log": self.entry.log,
            "index": self.entry.idx,
            "ts": self.entry.ts,
            "event": self.entry.fields["event"],
            "same": self.same,
            "policy": asked["policy_version"],
            **{name: asked[name] for name in (*kept, "proposed", "facts")},
            "to_verify": asked.get("to_verify", []),
            "now": {"decision": "permit" if now.permits else "deny", "rule_ids": list(now.rule_ids)},
        }


def replay_entry(connection: Connection, home: Path, entry: Logged) -> Verdict:
    """Take the decision of one entry again under the table of its day.

    Raises `Unknown` (`receipt-none`: it decides nothing, or was written before records were kept; `receipt-missing`;
    `policy-unknown`), `Conflict("receipt-altered")`, `Misconfigured("policy-altered")`.
    """
    said = entry.fields
    if "decision_h" not in said:
        raise NotKept("receipt-none", "This entry holds no decision that can be taken again.")
    record = find(connection, said["decision_h"])
    return Verdict(entry, record, replay(record, policy_history.load(home, said["policy_h"])))


def under(connection: Connection, policy: Policy, start: str, end: str) -> Iterator[tuple[Logged, Replay]]:
    """What another table would have answered to each decision of a period (start ≤ ts < end), oldest first.

    Equal records are taken again once. Raises as `find` does: a period that cannot be read whole is not answered.
    """
    known: dict[str, Replay] = {}
    after = None
    while rows := journal.of_period(connection, start, end, after=after, limit=1000):
        for entry in rows:
            if digest := entry.fields.get("decision_h"):
                if digest not in known:
                    known[digest] = replay(find(connection, digest), policy)
                yield entry, known[digest]
        after = rows[-1].cursor


def changed(entry: Logged, again: Replay) -> dict[str, Any]:
    """One decision that the other table would have taken otherwise, in codes and pseudonyms."""
    said, now = entry.fields, again.now
    return {
        "log": entry.log, "index": entry.idx, "ts": entry.ts, "change": again.change, "event": said["event"],
        "exchange_id": said.get("exchange_id"), "sender": said.get("sender_org"),
        "recipient": said.get("recipient_org"), "purpose": said.get("purpose"), "subject": said.get("subject"),
        "before": {"rule_ids": said["rule_ids"], "categories_sent": again.before["categories_sent"]},
        "after": {"rule_ids": list(now.rule_ids), "categories_sent": in_order(now.sent), "article": list(now.articles)},
    }  # fmt: skip
