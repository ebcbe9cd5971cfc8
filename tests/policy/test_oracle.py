"""The table against the law's invariants, over the whole cross product of its enumerations."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import cedarpy
import pytest

from gateway.policy import Policy, Question
from tests.policy.cedar import request, to_cedar

Ask = Callable[..., Question]
PROPOSED_PERMITS = ("A13", "A14", "A15", "A16", "A17", "A18", "A19")
GATE = {"VITAL": "9.2.c", "CONSENT_6_1_a": "9.2.a"}


def questions(policy: Policy, ask: Ask, **facts: Any) -> Iterator[Question]:
    """16 purposes × 8 recipients × 9 regimes × 7 consent states × 5 objection states; the rest is favourable."""
    domains = policy.table.domains
    senders: dict[tuple[str, str], str] = {}
    for sender, recipient, regime in policy.table.pairs:
        senders.setdefault((recipient, regime), sender)
    axes = [sorted(domains[name]) for name in ("recipient", "regime", "purpose", "consent_state", "objection_state")]
    for recipient, regime, purpose, consent, objection in product(*axes):
        said = {
            "art9_gate": GATE.get(regime, "9.2.b"),
            "consent_categories": frozenset({"C1", "C13"}),
            "consent_state": consent,
            "objection_state": objection,
            **facts,
        }
        yield ask(senders.get((recipient, regime), "departement"), recipient, regime, purpose, "", **said)


@pytest.fixture(scope="module")
def every(policy: Policy, ask: Ask) -> list[Question]:
    return list(questions(policy, ask))


@pytest.fixture(scope="module")
def favourable(every: list[Question]) -> list[Question]:
    return [q for q in every if q.consent_state == "given" and q.objection_state == "none"]


def check(policy: Policy, question: Question, category: str, decision: Any) -> None:
    """Invariants i, ii, v, vi, viii and ix on one row."""
    where = (question, category)
    assert decision.permits is bool(decision.sent), where
    assert decision.articles, where
    if not decision.permits:
        return
    assert not decision.sent & {"C18", "C19"}, where
    assert decision.notices, where
    assert decision.obligations, where
    if policy.table.regimes[question.regime].consent == "required" and question.purpose == "aide_facultative_ccas":
        assert question.consent_state == "given", where
    if question.consent_state == "withdrawn":
        assert policy.table.regimes[question.regime].consent != "required", where
    if question.art9_gate == "none":
        assert not decision.sent & {"C13", "C14", "C15"}, where
    if "C3" in decision.sent:
        assert question.purpose in ("identification", "instruction_rsa", "liquidation_controle_rsa"), where


def test_967_680_rows_of_the_shipped_table(policy: Policy, ask: Ask, codes: frozenset[str]) -> None:
    single = [(code, frozenset({code})) for code in sorted(codes)]
    by_consent: dict[tuple[Any, ...], frozenset[str]] = {}
    rows = permits = 0
    for question in questions(policy, ask):
        facts = policy._facts(question)
        assert facts is not None
        weighed = policy._weigh(question, facts)
        sent: list[str] = []
        for code, asked in single:
            decision = policy._answer(question, facts, weighed, asked)
            rows += 1
            if decision.permits or code == "C1":
                check(policy, question, code, decision)
            if decision.permits:
                permits += 1
                sent.append(code)
        if question.regime not in ("CSS_ACCORD", "CONSENT_6_1_a"):  # invariant iv
            key = (question.recipient, question.regime, question.purpose, question.objection_state)
            assert by_consent.setdefault(key, frozenset(sent)) == frozenset(sent), question
    assert rows == 967_680
    assert permits > 5_000


def test_the_whole_table_once_everything_is_signed(
    with_rules: Callable[..., Policy], every: list[Question], codes: frozenset[str]
) -> None:
    policy = with_rules(*PROPOSED_PERMITS)
    permits = 0
    for gate in ("9.2.b", "none"):
        for favoured in every:
            question = replace(favoured, art9_gate=gate)
            facts = policy._facts(question)
            assert facts is not None
            weighed = policy._weigh(question, facts)
            for asked in (codes - {"C3"}, frozenset({"C3"})):
                decision = policy._answer(question, facts, weighed, asked)
                check(policy, question, "C3" if len(asked) == 1 else "", decision)
                permits += decision.permits
    assert permits > 3_000


SPOILED = [
    ("convention_active", False, "D01"), ("agent_habilitated", False, "D03"), ("client_habilitated", False, "D03"),
    ("link_active", False, "D04"), ("limitation", True, "D14"), ("record_expired", True, "D19"),
    ("rate_exceeded", True, "D20"), ("clock_ok", False, "D99"), ("age_status", "minor", "D18"),
    ("person_informed", False, "D21"), ("recipient_secrecy", False, None), ("both_professionals_act", False, None),
    ("strict_necessity", False, None), ("reason_hash", "", None), ("break_glass", False, None),
    ("representative_notified", False, None), ("human_validations", 0, None), ("art9_gate", "none", None),
    ("household_link", "other", None), ("data_origin_regime", "PIE", None), ("referent", "aucun", None),
]  # fmt: skip


@pytest.mark.parametrize(("fact", "value", "rule"), SPOILED, ids=[row[0] for row in SPOILED])
def test_one_unfavourable_fact_never_widens(
    with_rules: Callable[..., Policy],
    every: list[Question],
    favourable: list[Question],
    codes: frozenset[str],
    fact: str,
    value: Any,
    rule: str | None,
) -> None:
    policy = with_rules(*PROPOSED_PERMITS)
    narrowed = 0
    for good in random.Random(fact).sample(every, 1_500) + favourable:
        bad = replace(good, **{fact: value})
        asked = codes - {"C3"}
        before = policy._answer(good, *_weighed(policy, good), asked)
        after = policy._answer(bad, *_weighed(policy, bad), asked)
        assert after.sent <= before.sent, (good, fact)
        narrowed += after.sent < before.sent
        own = (bad.recipient, bad.purpose) in {("personne", "droits_personne"), ("dpo", "audit_dpo")}
        spared = own or (rule == "D21" and bad.regime == "VITAL")
        if rule and not (spared and rule in ("D01", "D04", "D14", "D21")):
            assert rule in after.rule_ids, bad
    if fact not in ("representative_notified", "household_link", "data_origin_regime"):
        assert narrowed, "the fact matters somewhere"


def _weighed(policy: Policy, question: Question) -> tuple[Any, Any]:
    facts = policy._facts(question)
    assert facts is not None
    return facts, policy._weigh(question, facts)


def test_a_second_engine_agrees(
    with_rules: Callable[..., Policy], ask: Ask, every: list[Question], codes: frozenset[str]
) -> None:
    """Invariant x: the Cedar export of the table gives the same answer on a random sample of rows."""
    policy = with_rules(*PROPOSED_PERMITS)
    dice = random.Random(2026)
    rows = _likely_rows(policy, ask, sorted(codes), dice, 12_000)
    rows += [(dice.choice(every), dice.choice(sorted(codes))) for _ in range(9_000)]
    answers = cedarpy.is_authorized_batch([request(*row) for row in rows], to_cedar(policy.table), [])
    allowed = 0
    for (question, code), answer in zip(rows, answers, strict=True):
        assert not answer.diagnostics.errors
        decision = policy._answer(question, *_weighed(policy, question), frozenset({code}))
        assert answer.allowed is decision.permits, (question, code, decision)
        allowed += answer.allowed
    assert len(rows) >= 20_000
    assert allowed > 500


def _likely_rows(
    policy: Policy, ask: Ask, codes: list[str], dice: random.Random, count: int
) -> list[tuple[Question, str]]:
    """Rows on existing pairs with a few facts drawn at random: where rules meet."""
    domains, rows = policy.table.domains, []
    open_ways = [
        (*pair, purpose)
        for pair in sorted(policy.table.pairs)
        for purpose in sorted(domains["purpose"])
        if _weighed(policy, ask(*pair, purpose, "", consent_state="given"))[1].matched
    ]
    names = [fact for fact in domains if fact in Question.__dataclass_fields__ and fact not in _FIXED]
    for _ in range(count):
        sender, recipient, regime, purpose = dice.choice(open_ways)
        said: dict[str, Any] = {"consent_state": "given"}
        said |= {name: dice.choice(sorted(domains[name])) for name in dice.sample(names, 2)}
        said["basis"] = ""
        said["consent_categories"] = frozenset(dice.sample(codes, 12))
        said["convention_categories"] = None if dice.random() < 0.7 else frozenset(dice.sample(codes, 12))
        rows.append((ask(sender, recipient, regime, purpose, "", **said), dice.choice(codes)))
    return rows


_FIXED = {"sender", "recipient", "regime", "purpose", "basis", "reason_given"}
