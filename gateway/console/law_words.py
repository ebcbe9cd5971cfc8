"""Codes of the decision table in French: purposes, categories, regimes, rules, reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.console.blocks import Lines, Quiet
from gateway.policy_question import in_order
from gateway.policy_table import Condition, Onward, Rule, Table
from gateway.words import many, say, typeset, word


def purpose(table: Table, name: str | None) -> str:
    """`orientation` → « orientation et réorientation »."""
    if not name:
        return "–"
    row = table.source["purposes"].get(name)
    return str(row["fr"]) if row else name


def regime(table: Table, name: str | None) -> str:
    row = table.source["regimes"].get(name or "")
    return str(row["fr"]) if row else name or "–"


def category(code: str) -> str:
    """`C11` → « C11 logement »."""
    return f"{code}\u00a0{word('categorie', code, '')}".rstrip("\u00a0")


def categories(codes: Iterable[str]) -> str:
    """Several categories, by number."""
    known = [code for code in codes if code[:1] == "C" and code[1:].isdigit()]
    rest = sorted(set(codes) - set(known))
    return ", ".join(category(code) for code in [*in_order(set(known)), *rest]) or "–"


def role(table: Table, name: str) -> str:
    return str(table.source["roles"].get(name, name))


def reason(table: Table, code: str | None) -> str:
    """Why something was refused or stopped, in a sentence: the rule's own, or the console's for technical reasons."""
    if not code:
        return ""
    known = code.replace("_", "-")  # as one partner's own codes are written
    if said := word("motif", known, "") or word("contact_code", known, ""):
        return said
    if known.startswith("http-"):
        return say("contact.http", statut=known[5:])
    ending, _, cause = code.partition(":")
    if cause and (said := word("motif", ending, "")):
        return f"{said} {reason(table, cause)}"
    return next((rule_text(rule) for rule in table.rules if rule.reason == code and rule.text_fr), code)


def rule_text(rule: Rule | Onward) -> str:
    """What a rule says, to whoever reads it about somebody else."""
    return word("regle", rule.id, rule.text_fr)


def texts(cited: Iterable[str] | str | None) -> str:
    """The articles of a decision, one after the other; the journal and the outbox keep them as one text."""
    parts = cited.split("; ") if isinstance(cited, str) else cited or ()
    return typeset(" ; ".join(parts)) or "–"


def rule(table: Table, identifier: str) -> Rule | Onward | None:
    rules: tuple[Rule | Onward, ...] = (*table.rules, *table.onward)
    return next((one for one in rules if one.id == identifier), None)


def withheld(table: Table, rows: Iterable[tuple[str, str, str, int]]) -> Lines:
    """What was kept back: category, how much, under which rule and article."""
    told = []
    for code, identifier, article, count in rows:
        known = rule(table, identifier)
        cited = texts(article or (known.articles if known else ""))
        much = f" ({many('personne.donnees', count)})" if count else ""
        why = rule_text(known) if known else ""
        name = category(code) if code != "jamais" else say("personne.jamais")
        told.append(f"{name}{much} : {identifier}, {cited}. {why}".strip())
    return Lines(told or [Quiet(say("personne.rien_retenu"))])


def conditions(table: Table, alternatives: Iterable[Condition]) -> list[str]:
    """When a rule applies, one line for each way it may."""
    facts = table.source["facts"] | {name: {"fr": text} for name, text in table.source["derived"].items()}
    return [
        " ; ".join(f"{_fact(facts, name)} : {_values(table, name, values)}" for name, values in condition)
        for condition in alternatives
    ]


def _fact(facts: Mapping[str, Any], name: str) -> str:
    return word("fait_de_regle", name, "") or str(facts.get(name, {}).get("fr", name))


def _values(table: Table, name: str, values: Iterable[Any]) -> str:
    shown = []
    for value in sorted(values, key=str):
        if isinstance(value, bool):
            shown.append(say("decision.oui") if value else say("decision.non"))
        elif name == "purpose":
            shown.append(purpose(table, value))
        elif name in ("sender", "recipient", "referent") and value in table.source["roles"]:
            shown.append(role(table, value))
        elif name in ("regime", "data_origin_regime") and value in table.source["regimes"]:
            shown.append(regime(table, value))
        else:
            shown.append(word("valeur_de_regle", str(value)))
    return say("decision.ou").join(shown)
