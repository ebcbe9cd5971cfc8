"""Who may receive what: the decision table (`gateway/policies/`) applied to one question.

Deny by default. The steps, in order: an unknown value or an error gives D99; any refusal that applies wins; the
categories of the permit rules are joined, within the limits of the pair and of the convention; redactions take
categories out; a required category taken out refuses the whole; obligations merge, the most protective wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from gateway.policy_obligations import hours, merge
from gateway.policy_question import Decision, Question, in_order, question_of, values_of
from gateway.policy_replay import Replay, replay
from gateway.policy_table import (
    DEFAULT,
    DERIVED,
    FACTS,
    OBLIGATIONS,
    Condition,
    Obligation,
    Pair,
    Regime,
    Rule,
    Table,
    could_hold,
    read,
)

_MEMO_LIMIT = 65_536


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
        self._default = {rule.id: rule for rule in table.rules if rule.id in ("D00", "D05", "D19", "D99")}
        self._codes = frozenset(table.categories)
        self._permits_for = {
            purpose: [rule for rule in permits if any(could_hold(when, {"purpose": purpose}) for when in rule.when)]
            for purpose in table.purposes
        }
        listed = OBLIGATIONS & table.source["obligations"].keys()
        self._unknown_duty = {rule for rule in permits if not {name for name, _ in rule.obligations} <= listed}
        self._merged: dict[tuple[Any, ...], tuple[str, ...]] = {}
        kept = (length for one in table.regimes.values() for length in (one.retention, *one.shorter.values()))
        self.shortest_retention = timedelta(hours=min(map(hours, kept)))

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
        values = values_of(question)
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
        if not question.elapsed_categories <= codes:
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
        if question.elapsed_categories:
            redacts = dict.fromkeys(question.elapsed_categories, self._default["D19"]) | redacts
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
            to_verify=_unread(*rules, regime, weighed.pair),
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
            to_verify=_unread(*rules, regime),
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


def _holds(condition: Condition, facts: Mapping[str, Any]) -> bool:
    for fact, values in condition:  # noqa: SIM110 a generator costs twice as much here
        if facts[fact] not in values:
            return False
    return True


def _applies(rule: Rule, facts: Mapping[str, Any]) -> bool:
    for condition in rule.when:
        for fact, values in condition:
            if facts[fact] not in values:
                break
        else:
            return not (rule.unless and any(_holds(unless, facts) for unless in rule.unless))
    return False


def _unread(*said: Rule | Regime | Pair | None) -> tuple[str, ...]:
    return tuple(_unique(one.id for one in said if one is not None and one.to_verify))


def _unique(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))


__all__ = [
    "DERIVED", "FACTS", "Decision", "Policy", "Question", "Replay", "in_order", "question_of", "replay",
]  # fmt: skip
