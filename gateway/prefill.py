"""What one body may see of one person today, over all the flows that end at it."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from gateway import merge
from gateway.categories import Withheld, legal_code, split
from gateway.convention_model import Flow
from gateway.decide import answer, asked
from gateway.links import within_retention
from gateway.policy import Decision, Question, in_order
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork
from schemas.record import Current, Fact


class Ground(NamedTuple):
    """One flow that lets a body see something: the decision, the categories (C-codes) it shows, those it keeps back."""

    flow: Flow
    question: Question
    decision: Decision
    shown: frozenset[str]
    kept_back: frozenset[str]


class Seen(NamedTuple):
    """What a body may see of a person, the categories that none of its flows carries, and what the sight rests on."""

    visible: dict[str, Fact]
    withheld: list[Withheld]
    grounds: list[Ground]


def permitted(
    work: UnitOfWork, gateway: Gateway, person_id: str, flow: Flow, current: Current, said: Current | None = None
) -> tuple[dict[str, Fact], list[Withheld], Question, Decision]:
    """What one flow may carry of a dossier, or of what was `said` when it is given; what it keeps back and why."""
    question, decision = answer(work, gateway, person_id, flow, current)
    wanted = asked(work, gateway, flow, current)
    still = within_retention(work, gateway, current)
    kept, back = split(still if said is None else said, decision, gateway.role, wanted)
    if still is not current and said is None:
        back += _too_old(gateway, [path for path in current if path not in still], current, wanted)
    return kept, back, question, decision


def _too_old(gateway: Gateway, gone: list[str], current: Current, wanted: frozenset[str]) -> list[Withheld]:
    """What its retention keeps back, counted."""
    rule = gateway.policy.table.rule("D19")
    counts = Counter(code for path in gone if (code := legal_code(path, current[path].value)) in wanted)
    return [Withheld(code, counts[code], rule.id, rule.articles[0]) for code in in_order(counts)]


def known_to(work: UnitOfWork, gateway: Gateway, person_id: str, body: str) -> dict[str, Fact]:
    """What a body said of a person, and what its flows let it see of the rest."""
    said = (one for one in gateway.dossiers.said(work, person_id) if one.source == body)
    return merge.current(said) | seen_by(work, gateway, person_id, gateway.flows_to(work, body)).visible


def seen_by(work: UnitOfWork, gateway: Gateway, person_id: str, flows: tuple[Flow, ...]) -> Seen:
    """The union of what these flows may carry; withheld are the categories that none of them carries."""
    current = gateway.dossiers.current(work, person_id)
    visible: dict[str, Fact] = {}
    withheld: dict[str, Withheld] = {}
    grounds = []
    for flow in flows:
        kept, back, question, decision = permitted(work, gateway, person_id, flow, current)
        if kept:
            codes = frozenset(code for path, fact in kept.items() if (code := legal_code(path, fact.value)))
            grounds.append(Ground(flow, question, decision, codes, frozenset(one.code for one in back)))
        visible |= kept
        withheld |= {one.code: one for one in back}
    shown = {legal_code(path, fact.value) for path, fact in visible.items()}
    return Seen(visible, [one for code, one in withheld.items() if code not in shown], grounds)
