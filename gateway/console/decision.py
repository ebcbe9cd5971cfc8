"""The decision table as a person reads it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gateway.console import law_words
from gateway.console.blocks import (
    Badge,
    Code,
    Facts,
    Lines,
    Page,
    Table,
    Text,
    Title,
)
from gateway.console.common import Place, View
from gateway.policy_question import in_order
from gateway.policy_table import Rule
from gateway.policy_table import Table as Law
from gateway.words import say, says, word


def places() -> list[Place]:
    """The page of the decision table."""
    return [Place("/console/decision", decision, ("dpo",))]


def decision(view: View) -> Page:
    """The decision table as a person reads it: each rule with its text, when it applies, its article."""
    law = view.gateway.policy.table
    counts = Counter(rule.effect for rule in law.rules)
    return Page(
        say("decision.titre"),
        [
            Text(say("decision.intro"), lead=True),
            Facts(
                [
                    (say("decision.version"), Code(law.version)),
                    (
                        say("decision.signature"),
                        Badge(say("decision.signee"), "good")
                        if law.signed
                        else Badge(say("decision.non_signee"), "wait"),
                    ),
                    (
                        say("decision.compte"),
                        say(
                            "decision.compte_detail",
                            deny=counts["deny"],
                            redact=counts["redact"],
                            permit=counts["permit"],
                        ),
                    ),
                ]
            ),
            Title(say("decision.regles")),
            _rules(law),
            Title(say("decision.categories_titre")),
            _categories(law),
        ],
    )


_EFFECTS = {"deny": "bad", "redact": "wait", "permit": "good"}


def _rules(law: Law) -> Table:
    heads = says("decision", "regle", "effet", "texte", "quand", "categories", "articles")
    return Table("regles", say("decision.legende"), heads, [_rule(law, rule) for rule in law.rules])


def _rule(law: Law, rule: Rule) -> list[Any]:
    when = [one for one in law_words.conditions(law, rule.when) if one] or [say("decision.par_defaut")]
    more = [say("decision.autres", n=len(when) - 6)] if len(when) > 6 else []
    unless = [say("decision.sauf", quand=one) for one in law_words.conditions(law, rule.unless)]
    mark = (
        [Badge(say("decision.en_vigueur" if rule.in_force else "decision.proposee"), "wait")] if rule.proposed else []
    )
    taken = rule.categories or rule.asks
    return [
        Lines([Code(rule.id), *mark]),
        Badge(word("effet", rule.effect), _EFFECTS[rule.effect]),
        rule.text_fr or "–",
        Lines([*when[:6], *more, *unless[:3]]),
        law_words.categories(taken) if taken else say("decision.toutes"),
        Lines(rule.articles),
    ]


def _categories(law: Law) -> Table:
    rows = [
        [
            Code(code),
            word("categorie", code),
            word("sensibilite", law.categories[code]["sensitivity"]),
            say("decision.oui") if law.categories[code].get("secret") else say("decision.non"),
        ]
        for code in in_order(law.categories)
    ]
    heads = says("decision", "code", "nom", "sensibilite", "secret")
    return Table("categories", say("decision.categories_legende"), heads, rows)
