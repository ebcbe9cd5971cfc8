"""Decisions taken again: under the same table to check a record, under another to see what it would change."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
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
    if "to_verify" not in before:  # written before decisions carried that mark, or where nothing bears it
        now = dataclasses.replace(now, to_verify=(), _template=[], _seal=[])
    return Replay(now.record(question, before["evaluated_at"]) == record, before, now)
