"""Decisions taken again: under the same table to check a record, under another to see what it would change."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.policy_question import Decision, question_of

if TYPE_CHECKING:
    from gateway.policy import Policy


@dataclass(frozen=True, slots=True)
class Replay:
    """One recorded decision taken again."""

    same: bool
    """The new record is byte for byte the old one (same policy, same answer)."""
    before: Mapping[str, Any]
    now: Decision

    @property
    def change(self) -> str:
        """`unchanged`, `refused` (was permitted), `permitted` (was refused), `narrowed`, `widened` or `altered`."""
        was, sent = self.before["decision"] == "permit", frozenset(self.before["categories_sent"])
        if was != self.now.permits:
            return "refused" if was else "permitted"
        if sent == self.now.sent:
            return "unchanged"
        return "narrowed" if self.now.sent < sent else "widened" if self.now.sent > sent else "altered"


def replay(record: bytes, policy: Policy) -> Replay:
    """Take a recorded decision again under `policy`."""
    before, question = json.loads(record), question_of(record)
    now = policy.decide(question)
    return Replay(now.record(question, before["evaluated_at"]) == record, before, now)


@dataclass(frozen=True, slots=True)
class PeriodReplay:
    """What another table would have changed over a period."""

    counts: Mapping[str, int]
    refused: tuple[tuple[int, tuple[str, ...]], ...]
    """(index of the record, rules that would refuse it)."""
    changed: tuple[tuple[int, str], ...]
    """(index of the record, kind of change), refusals included."""


def replay_period(records: Iterable[bytes], policy: Policy) -> PeriodReplay:
    """What would have been refused, narrowed or opened under another table?"""
    counts: Counter[str] = Counter()
    refused: list[tuple[int, tuple[str, ...]]] = []
    changed: list[tuple[int, str]] = []
    for index, record in enumerate(records):
        again = replay(record, policy)
        counts[again.change] += 1
        if again.change != "unchanged":
            changed.append((index, again.change))
        if again.change == "refused":
            refused.append((index, again.now.rule_ids))
    return PeriodReplay(dict(counts), tuple(refused), tuple(changed))
