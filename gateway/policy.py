"""Who may receive what: the decision table (`gateway/policies/`) applied to one question.

Deny by default. The steps, in order: an unknown value or an error gives D99; any refusal that applies wins; the
categories of the permit rules are joined, within the limits of the pair and of the convention; redactions take
categories out; a required category taken out refuses the whole; obligations merge, the most protective wins.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from gateway.policy_obligations import merge
from gateway.policy_table import DEFAULT, DERIVED, FACTS, OBLIGATIONS, Condition, Obligation, Pair, Rule, Table, read

_MEMO_LIMIT = 65_536


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


_values = attrgetter(*FACTS)
_CUT = "\ufffc"
_REFERENCE = re.compile(r"[\w.:@/+=-]{0,128}", re.ASCII)
_SETS = ("categories", "required", "convention_categories", "consent_categories", "honours")


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
    basis: str = ""
    traces: str = ""
    """How long the trace of this exchange is kept, ISO 8601."""
    notices: tuple[str, ...] = ()
    redaction_articles: Mapping[str, str] = field(default_factory=dict)
    onward: tuple[tuple[str, str, str, frozenset[str]], ...] = ()
    """(role of origin, rule id, article, C-codes): what was said by that role goes no further."""

    _template: list[tuple[Question, tuple[str, ...]]] = field(default_factory=list, compare=False, repr=False)

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
        facts = {name: _plain(value) for name, value in zip(FACTS, _values(question), strict=True)}
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
            "facts": facts | {name: _plain_set(getattr(question, name)) for name in _SETS},
            **{name: facts[name] for name in ("regime", "purpose", "art9_gate")},
            **dict.fromkeys(("consent_ref", "evaluated_at", "notice_ref", "reason_hash"), _CUT),
        }
        # Keys and values are BMP text, small integers and booleans: the standard encoder is then RFC 8785 exactly.
        return tuple(json.dumps(record, ensure_ascii=False, separators=(",", ":"), sort_keys=True).split(_CUT))


class _Weighed(NamedTuple):
    """What the facts alone decide, whatever categories are asked."""

    denies: list[tuple[int, Rule]]
    asking: list[tuple[int, Rule]]
    """Refusals that apply only if one of their categories is asked."""
    redacts: dict[str, Rule]
    granted: dict[str, Rule]
    dormant: list[tuple[str, frozenset[str]]]
    """Proposed permits that would apply: (id, categories they would have given)."""
    pair: Pair | None
    matched: bool
    own_rights: bool
    onward: tuple[tuple[str, str, str, frozenset[str]], ...]
    onward_proposed: tuple[str, ...]


class Policy:
    """A decision table, compiled."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.version = table.version
        self._memo: dict[Question, Decision] = {}
        self._domains = tuple(table.domains[name] for name in FACTS)
        self._booleans = tuple(i for i, name in enumerate(FACTS) if table.source["facts"][name]["values"] == "yes-no")
        numbered = [(i, rule) for i, rule in enumerate(table.rules) if not rule.default]
        self._denies = [(i, rule) for i, rule in numbered if rule.effect == "deny"]
        self._redacts = [rule for _, rule in numbered if rule.effect == "redact"]
        permits = [rule for _, rule in numbered if rule.effect == "permit"]
        self._default = {rule.id: rule for rule in table.rules if rule.id in ("D00", "D05", "D99")}
        self._codes = frozenset(table.categories)
        self._permits_for = {
            purpose: [rule for rule in permits if any(_may_hold(when, "purpose", purpose) for when in rule.when)]
            for purpose in table.purposes
        }
        listed = OBLIGATIONS & table.source["obligations"].keys()
        self._unknown_duty = {rule for rule in permits if not {name for name, _ in rule.obligations} <= listed}
        self._merged: dict[tuple[Any, ...], tuple[str, ...]] = {}

    @classmethod
    def load(cls, path: Path = DEFAULT, require_signature: bool = False, trusted: bytes = b"") -> Policy:
        """Read a table. With `require_signature`, an unsigned or altered one raises `Misconfigured`.

        `trusted` is a PEM bundle of the public keys (Ed25519) whose signature counts.
        """
        return cls(read(path, require_signature=require_signature, trusted=trusted))

    def decide(self, question: Question) -> Decision:
        """Never raises: what cannot be decided is refused by D99."""
        try:
            decision = self._memo.get(question)
            if decision is None:
                decision = self._decide(question)
                if len(self._memo) >= _MEMO_LIMIT:
                    self._memo.clear()
                self._memo[question] = decision
            return decision
        except Exception:  # an engine error refuses, whatever it is
            return self._refuse([self._default["D99"]], ())

    def _decide(self, question: Question) -> Decision:
        facts = self._facts(question)
        if facts is None:
            return self._refuse([self._default["D99"]], ())
        return self._answer(question, facts, self._weigh(question, facts), question.categories)

    def _facts(self, question: Question) -> dict[str, Any] | None:
        """The facts with those derived from them; None if a value is unknown."""
        values = _values(question)
        regime = self.table.regimes.get(question.regime)
        if regime is None or type(question.human_validations) is not int or question.human_validations < 0:
            return None
        facts = dict(zip(FACTS, values, strict=True))
        facts["human_validations"] = min(question.human_validations, 2)
        facts["basis"] = regime.bases[0] if question.basis == "" else question.basis
        for value, domain in zip(facts.values(), self._domains):  # noqa: B905 as many, by construction
            if value not in domain:
                return None
        for index in self._booleans:
            if type(values[index]) is not bool:  # 1 is not an answer to a yes-no question
                return None
        codes = self._codes
        if facts["basis"] not in regime.bases:
            return None
        if not (question.categories <= codes and question.required <= codes and question.consent_categories <= codes):
            return None
        if question.convention_categories is not None and not question.convention_categories <= codes:
            return None
        recipient, purpose = question.recipient, question.purpose
        facts["own_rights"] = (recipient == "personne" and purpose == "droits_personne") or (
            recipient == "dpo" and purpose == "audit_dpo"
        )
        facts["recipient_listed"] = recipient in regime.recipients
        facts["regime_consent"] = regime.consent
        facts["regime_pending"] = regime.pending
        facts["referent_is_sender"] = question.referent == question.sender
        facts["referent_is_recipient"] = question.referent == recipient
        return facts

    def _weigh(self, question: Question, facts: Mapping[str, Any]) -> _Weighed:
        matching = [(i, rule) for i, rule in self._denies if _applies(rule, facts)]
        redacts: dict[str, Rule] = {}
        for rule in self._redacts:
            if _applies(rule, facts):
                for code in rule.categories:
                    redacts.setdefault(code, rule)
        pair = self.table.pairs.get((question.sender, question.recipient, question.regime))
        if pair is not None and not _holds(pair.requires, facts):
            pair = None
        granted: dict[str, Rule] = {}
        dormant: list[tuple[str, frozenset[str]]] = []
        matched = False
        for rule in self._permits_for[question.purpose]:
            if not _applies(rule, facts):
                continue
            codes = self._grants(rule, pair, question)
            if not rule.in_force:
                dormant.append((rule.id, codes))
                continue
            matched = matched or rule.any_pair or pair is not None
            for code in codes:
                granted.setdefault(code, rule)
        blocked = [row for row in self.table.onward if question.recipient in row.to]
        blocked = [row for row in blocked if not any(_holds(unless, facts) for unless in row.unless)]
        return _Weighed(
            denies=[(i, rule) for i, rule in matching if not rule.asks],
            asking=[(i, rule) for i, rule in matching if rule.asks],
            redacts=redacts,
            granted=granted,
            dormant=dormant,
            pair=pair,
            matched=matched,
            own_rights=facts["own_rights"],
            onward=tuple((row.origin, row.id, row.articles[0], row.categories) for row in blocked),
            onward_proposed=tuple(row.id for row in blocked if row.proposed),
        )

    def _grants(self, rule: Rule, pair: Pair | None, question: Question) -> frozenset[str]:
        """What this permit may give here: its categories, within the pair, the convention and the consent."""
        codes = rule.categories
        if not rule.any_pair:
            if pair is None:
                return frozenset()
            only = frozenset(code for code, identifier in pair.only_by.items() if identifier == rule.id)
            codes = codes & (pair.allowed | only) - pair.never
        if rule.within:
            codes = codes & getattr(question, rule.within)
        if question.convention_categories is not None and not rule.any_pair:
            codes = codes & question.convention_categories
        return codes

    def _answer(
        self, question: Question, facts: Mapping[str, Any], weighed: _Weighed, asked: frozenset[str]
    ) -> Decision:
        dormant: tuple[str, ...] = ()
        if weighed.dormant:
            dormant = tuple(identifier for identifier, codes in weighed.dormant if codes & asked)
        denies = weighed.denies
        if weighed.asking:
            denies = sorted([*denies, *(row for row in weighed.asking if row[1].asks & asked)], key=lambda row: row[0])
        if denies:
            return self._refuse([rule for _, rule in denies], dormant, facts)
        if not weighed.matched:
            return self._refuse([self._default["D00"]], dormant, facts)
        granted, redacts, useless = weighed.granted, weighed.redacts, self._default["D05"]
        sent = frozenset(code for code in asked if code in granted and code not in redacts)
        removed = {code: redacts.get(code, useless) for code in in_order(asked - sent)}
        articles = {
            code: weighed.pair.articles[0]
            if rule is useless and weighed.pair and code in weighed.pair.never
            else rule.articles[0]
            for code, rule in removed.items()
        }
        if not sent or question.required & removed.keys():
            reason = "required-category-removed" if question.required & removed.keys() else "nothing-left"
            rules = _unique(removed.values()) or [self._default["D00"]]
            return self._refuse(rules, dormant, facts, reason=reason, removed=removed, articles=articles)
        permits = _unique(granted[code] for code in in_order(sent))
        return self._permit(question, facts, weighed, permits, sent, removed, articles, dormant)

    def _permit(
        self,
        question: Question,
        facts: Mapping[str, Any],
        weighed: _Weighed,
        permits: list[Rule],
        sent: frozenset[str],
        removed: Mapping[str, Rule],
        articles: Mapping[str, str],
        dormant: tuple[str, ...],
    ) -> Decision:
        redactors = _unique(removed.values())
        named = [(rule, sent) for rule in permits] + [(rule, frozenset(removed)) for rule in redactors]
        regime = self.table.regimes[question.regime]
        kept = () if weighed.own_rights else (("retain", (regime.retention,)),)
        obligations = self._merge(named, kept)
        for rule in permits:
            if rule in self._unknown_duty or (question.honours is not None and not self._kept(rule, question.honours)):
                return self._refuse([self._default["D99"], rule], dormant, facts, reason="obligation-unsupported")
        rules = [rule for rule, _ in named]
        texts = [rule for rule, codes in named if not codes & rule.categories <= rule.silent_for or rule in permits]
        pair_articles = weighed.pair.articles if weighed.pair and not all(rule.any_pair for rule in permits) else ()
        marks = [rule.id for rule in rules if rule.proposed]
        return Decision(
            permits=True,
            sent=sent,
            redacted={code: rule.id for code, rule in removed.items()},
            rule_ids=tuple(rule.id for rule in rules),
            reason="permitted",
            articles=tuple(_unique([*(article for rule in permits for article in rule.articles), *pair_articles])),
            obligations=obligations,
            texts_fr=tuple(rule.text_fr for rule in texts if rule.text_fr),
            texts_falc=tuple(rule.text_falc for rule in texts if rule.text_falc),
            http=200,
            proposed=tuple(_unique([*marks, *weighed.onward_proposed, *dormant])),
            policy_version=self.version,
            basis=next((rule.basis for rule in permits if rule.basis), facts["basis"]),
            traces=regime.traces,
            notices=tuple(_unique(rule.notice for rule in permits)),
            redaction_articles=articles,
            onward=weighed.onward,
        )

    def _kept(self, rule: Rule, honours: frozenset[str]) -> bool:
        duties = self.table.source["obligations"]
        return all(name in honours for name, _ in rule.obligations if duties[name]["by"] == "recipient")

    def _refuse(
        self,
        rules: list[Rule],
        dormant: tuple[str, ...],
        facts: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        removed: Mapping[str, Rule] | None = None,
        articles: Mapping[str, str] | None = None,
    ) -> Decision:
        removed = removed or {}
        regime = self.table.regimes[facts["regime"]] if facts else None
        texts = [
            rule for rule in rules if not removed or {c for c, r in removed.items() if r is rule} - rule.silent_for
        ]
        return Decision(
            permits=False,
            sent=frozenset(),
            redacted={code: rule.id for code, rule in removed.items()},
            rule_ids=tuple(rule.id for rule in rules),
            reason=reason or rules[0].reason,
            articles=tuple(_unique(article for rule in (rules if removed else rules[:1]) for article in rule.articles)),
            obligations=self._merge([(rule, frozenset(removed)) for rule in rules], ()),
            texts_fr=tuple(rule.text_fr for rule in texts if rule.text_fr),
            texts_falc=tuple(rule.text_falc for rule in texts if rule.text_falc),
            http=rules[0].http,
            proposed=tuple(_unique([*(rule.id for rule in rules if rule.proposed), *dormant])),
            policy_version=self.version,
            basis=facts["basis"] if facts else "",
            traces=regime.traces if regime else "P6M",
            redaction_articles=articles or {},
        )

    def _merge(self, rules: list[tuple[Rule, frozenset[str]]], extra: tuple[Obligation, ...]) -> tuple[str, ...]:
        key = (*rules, extra)
        if key not in self._merged:
            if len(self._merged) >= _MEMO_LIMIT:
                self._merged.clear()
            self._merged[key] = merge([(rule.obligations, codes) for rule, codes in rules], extra)
        return self._merged[key]

    def duties(self, decision: Decision, by: str = "gateway") -> tuple[str, ...]:
        """The obligations of a decision that `by` must carry out: `gateway`, `sender` or `recipient`."""
        rows = self.table.source["obligations"]
        return tuple(text for text in decision.obligations if rows[text.partition("(")[0]]["by"] == by)


def _holds(condition: Condition, facts: Mapping[str, Any]) -> bool:
    for fact, values in condition:  # noqa: SIM110 a generator costs twice as much here
        if facts[fact] not in values:
            return False
    return True


def _may_hold(condition: Condition, fact: str, value: Any) -> bool:
    return all(value in values for name, values in condition if name == fact)


def _applies(rule: Rule, facts: Mapping[str, Any]) -> bool:
    for condition in rule.when:
        for fact, values in condition:
            if facts[fact] not in values:
                break
        else:
            return not (rule.unless and any(_holds(unless, facts) for unless in rule.unless))
    return False


def _unique(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))


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
    """The question a decision record answered."""
    content = json.loads(record)
    facts = dict(content["facts"])
    facts.pop("reason_given")
    for name in _SETS:
        facts[name] = None if facts[name] is None else frozenset(facts[name])
    known = {item.name for item in fields(Question)}
    references = {name: content.get(name, "") for name in ("reason_hash", "notice_ref", "consent_ref")}
    return Question(**{name: value for name, value in facts.items() if name in known}, **references)


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


__all__ = [
    "DERIVED", "FACTS", "Decision", "PeriodReplay", "Policy", "Question", "Replay", "in_order", "question_of",
    "replay", "replay_period",
]  # fmt: skip
