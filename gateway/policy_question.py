"""A question put to the decision table, its answer, and the record of both."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

from gateway.policy_table import FACTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May `sender` send these categories about one person to `recipient`?

    Facts are the plain words of the table's `[facts]`; those that have a safe side default to it (not habilitated, no
    link, no convention), the others must be said. `reason_hash`, `notice_ref` and `consent_ref` are quoted in the
    record and never decide anything, except that a reason exists.
    """

    sender: str
    recipient: str
    regime: str
    purpose: str
    categories: frozenset[str]
    objection_state: str
    limitation: bool
    household_link: str
    age_status: str
    data_origin_regime: str
    record_expired: bool
    rate_exceeded: bool
    referent: str = "aucun"
    required: frozenset[str] = frozenset()
    basis: str = ""
    """Empty: the first basis of the regime."""
    art9_gate: str = "none"
    consent_state: str = "unknown"
    convention_active: bool = False
    convention_categories: frozenset[str] | None = None
    """C-codes the convention restricts the flow to; None: it adds no restriction."""
    consent_categories: frozenset[str] = frozenset()
    """C-codes named in the person's consent record."""
    elapsed_categories: frozenset[str] = frozenset()
    """C-codes of which nothing known is still within its retention."""
    client_habilitated: bool = False
    agent_habilitated: bool = False
    link_active: bool = False
    recipient_secrecy: bool = False
    both_professionals_act: bool = False
    strict_necessity: bool = False
    person_informed: bool = False
    representative_notified: bool = False
    break_glass: bool = False
    human_validations: int = 0
    clock_ok: bool = False
    honours: frozenset[str] | None = None
    """Names of the obligations the recipient says it can keep; None: all."""
    reason_hash: str = field(default="", compare=False)
    notice_ref: str = field(default="", compare=False)
    consent_ref: str = field(default="", compare=False)
    reason_given: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason_given", bool(self.reason_hash))


values_of = attrgetter(*FACTS)
_CUT = "\ufffc"
_REFERENCE = re.compile(r"[\w.:@/+=-]{0,128}", re.ASCII)
SETS = ("categories", "required", "convention_categories", "consent_categories", "honours")
_ELAPSED = "elapsed_categories"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and why. Shared between equal questions: never alter it."""

    permits: bool
    sent: frozenset[str]
    redacted: Mapping[str, str]
    """C-code taken out → id of the rule that took it."""
    rule_ids: tuple[str, ...]
    reason: str
    """Stable slug of what was decided (`permitted`, `convention-missing`, `nothing-left`…)."""
    articles: tuple[str, ...]
    obligations: tuple[str, ...]
    texts_fr: tuple[str, ...]
    texts_falc: tuple[str, ...]
    http: int
    proposed: tuple[str, ...]
    """Rules not signed yet that decided, or would have decided, something here."""
    policy_version: str
    to_verify: tuple[str, ...] = ()
    """Rules, regime and pair that decided here and whose text was not read at source."""
    basis: str = ""
    traces: str = ""
    """How long the trace of this exchange is kept, ISO 8601."""
    notices: tuple[str, ...] = ()
    redaction_articles: Mapping[str, str] = field(default_factory=dict)
    onward: tuple[tuple[str, str, str, frozenset[str]], ...] = ()
    """(role of origin, rule id, article, C-codes): what was said by that role goes no further."""

    _template: list[tuple[Question, tuple[str, ...]]] = field(default_factory=list, compare=False, repr=False)
    _seal: list[tuple[Question, str, bytes]] = field(default_factory=list, compare=False, repr=False)

    def sealed(self, question: Question) -> tuple[str, bytes]:
        """The record without what belongs to one exchange (instant and references, which its journal entry holds), and
        its SHA-256 in hexadecimal: equal questions under one table share them."""
        if not self._seal or self._seal[0][0] != question:
            content = "".join(self._segments(question)).encode()
            self._seal[:] = [(question, hashlib.sha256(content).hexdigest(), content)]
        return self._seal[0][1:]

    def record(self, question: Question, evaluated_at: str) -> bytes:
        """The decision record, RFC 8785 canonical JSON; the same input gives the same bytes.

        `question` is the one this decision answers, `evaluated_at` an RFC 3339 instant.
        """
        if not self._template or self._template[0][0] != question:
            self._template[:] = [(question, self._segments(question))]
        segments = self._template[0][1]
        said = (question.consent_ref, evaluated_at, question.notice_ref, question.reason_hash)
        text = segments[0]
        for reference, segment in zip(said, segments[1:], strict=True):
            text += (reference if _REFERENCE.fullmatch(reference) else "invalid") + segment
        return text.encode()

    def _segments(self, question: Question) -> tuple[str, ...]:
        """The record cut where the references of one exchange go."""
        facts = {name: _plain(value) for name, value in zip(FACTS, values_of(question), strict=True)}
        record = {
            "v": 1,
            "decision": "permit" if self.permits else "deny",
            "reason": self.reason,
            "rule_ids": self.rule_ids,
            "proposed": self.proposed,
            "policy_version": self.policy_version,
            "article": self.articles,
            "basis": self.basis,
            "categories_sent": in_order(self.sent),
            "categories_redacted": in_order(self.redacted),
            "redactions": self.redacted,
            "obligations": self.obligations,
            "facts": facts | {name: _plain_set(value) for name, value in _sets(question)},
            **{name: facts[name] for name in ("regime", "purpose", "art9_gate")},
            **dict.fromkeys(("consent_ref", "evaluated_at", "notice_ref", "reason_hash"), _CUT),
        }
        if self.to_verify:  # said only where there is something to say
            record["to_verify"] = self.to_verify
        # Keys and values are BMP text, small integers and booleans: the standard encoder is then RFC 8785 exactly.
        return tuple(json.dumps(record, ensure_ascii=False, separators=(",", ":"), sort_keys=True).split(_CUT))


def _sets(question: Question) -> Iterator[tuple[str, frozenset[str] | None]]:
    yield from ((name, getattr(question, name)) for name in SETS)
    if question.elapsed_categories:  # said only where there is something to say
        yield _ELAPSED, question.elapsed_categories


_NUMBER = {f"C{number}": number for number in range(100)}


def in_order(codes: Iterable[str]) -> list[str]:
    """C1, C2, … C10: by number."""
    return sorted(codes, key=_NUMBER.__getitem__)


def _plain(value: Any) -> Any:
    """A fact as the record quotes it; what is no plain word, number or truth value is never copied."""
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**53):
        return value
    return value if isinstance(value, str) and _REFERENCE.fullmatch(value) else "invalid"


def _plain_set(values: Any) -> list[Any] | None:
    return None if values is None else sorted(str(_plain(value)) for value in values)


def question_of(record: bytes) -> Question:
    """The question a decision record answered. A sealed record says that a reason was given, not which one."""
    content = json.loads(record)
    facts = dict(content["facts"])
    reason_given = facts.pop("reason_given")
    for name in SETS:
        facts[name] = None if facts[name] is None else frozenset(facts[name])
    facts[_ELAPSED] = frozenset(facts.get(_ELAPSED, ()))
    known = {item.name for item in fields(Question)}
    references = {name: content.get(name, "") for name in ("reason_hash", "notice_ref", "consent_ref")}
    question = Question(**{name: value for name, value in facts.items() if name in known}, **references)
    object.__setattr__(question, "reason_given", reason_given)
    return question
