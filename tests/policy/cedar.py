"""The decision table written in Cedar, from the table alone: a second engine to compare the first one with.

One request asks for one category: it is allowed when the table would send that category, asked alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from gateway.policy import Question
from gateway.policy_table import FACTS, Condition, Rule, Table


def to_cedar(table: Table) -> str:
    """The whole table as Cedar policies; each carries the id of its rule."""
    policies = [_policy(table, rule) for rule in table.rules if not rule.default and rule.in_force]
    return "\n\n".join(policies) + "\n"


def request(question: Question, category: str) -> dict[str, Any]:
    """The Cedar request that asks for one category of this question."""
    context: dict[str, Any] = {name: getattr(question, name) for name in FACTS}
    context["category"] = category
    context["record_expired"] = question.record_expired or category in question.elapsed_categories
    context["consent_categories"] = sorted(question.consent_categories)
    if question.convention_categories is not None:
        context["convention_categories"] = sorted(question.convention_categories)
    return {
        "principal": f'Role::"{question.sender}"',
        "action": 'Action::"send"',
        "resource": f'Role::"{question.recipient}"',
        "context": context,
    }


def _policy(table: Table, rule: Rule) -> str:
    effect = "permit" if rule.effect == "permit" else "forbid"
    clauses = [_any(_condition(table, condition) for condition in rule.when)]
    if rule.unless:
        clauses.append(f"!{_any(_condition(table, condition) for condition in rule.unless)}")
    if rule.asks:
        clauses.append(_among(rule.asks, "context.category"))
    if rule.effect != "deny":
        clauses.append(_among(rule.categories, "context.category"))
    if rule.effect == "permit":
        clauses += _limits(table, rule)
    body = "\n  && ".join(clauses)
    return f'@id("{rule.id}")\n{effect} (principal, action, resource)\nwhen {{\n  {body}\n}};'


def _limits(table: Table, rule: Rule) -> list[str]:
    clauses = []
    if not rule.any_pair:
        clauses.append(_any(_pairs(table, rule)))
        clauses.append(
            "(!(context has convention_categories) || context.convention_categories.contains(context.category))"
        )
    if rule.within:
        clauses.append(f"context.{rule.within}.contains(context.category)")
    return clauses


def _pairs(table: Table, rule: Rule) -> Iterable[str]:
    for (sender, recipient, regime), pair in table.pairs.items():
        own = {code for code, identifier in pair.only_by.items() if identifier == rule.id}
        codes = (pair.allowed | own) - pair.never
        where = f"context.sender == {_text(sender)} && context.recipient == {_text(recipient)}"
        where += f" && context.regime == {_text(regime)} && {_among(codes, 'context.category')}"
        yield f"({where} && {_condition(table, pair.requires)})"


def _condition(table: Table, condition: Condition) -> str:
    return "(" + " && ".join(_clause(table, fact, values) for fact, values in condition) + ")" if condition else "true"


def _clause(table: Table, fact: str, values: frozenset[Any]) -> str:
    if fact == "own_rights":
        return _truth(
            '((context.recipient == "personne" && context.purpose == "droits_personne")'
            ' || (context.recipient == "dpo" && context.purpose == "audit_dpo"))',
            values,
        )
    if fact == "recipient_listed":
        listed = (
            f"(context.regime == {_text(name)} && {_among(regime.recipients, 'context.recipient')})"
            for name, regime in table.regimes.items()
        )
        return _truth(_any(listed), values)
    if fact in ("regime_consent", "regime_pending"):
        attribute = fact.removeprefix("regime_")
        names = [name for name, regime in table.regimes.items() if getattr(regime, attribute) in values]
        return _among(names, "context.regime")
    if fact in ("referent_is_sender", "referent_is_recipient"):
        return _truth(f"(context.referent == context.{fact.removeprefix('referent_is_')})", values)
    return _among(values, f"context.{fact}")


def _truth(expression: str, values: frozenset[Any]) -> str:
    return expression if values == {True} else f"!{expression}" if values == {False} else "true"


def _any(expressions: Iterable[str]) -> str:
    return "(" + " || ".join(expressions) + ")"


def _among(values: Iterable[Any], what: str) -> str:
    return f"[{', '.join(map(_text, sorted(values, key=str)))}].contains({what})"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
