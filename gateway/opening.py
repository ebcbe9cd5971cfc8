"""What may be open to others since a record: flows that were shut to this person before it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from gateway.assertion import Entered, Who
from gateway.convention_model import Flow
from gateway.decide import came_of_age
from gateway.links import FOLLOWING, following
from gateway.merge import Assertions, Portrait
from gateway.receipt import Request
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork

_BORN = "personne.date_naissance"
_RIGHT = "droit_rsa.etat"
_LIVES = ("personne.adresses[residence].code_insee", "personne.adresses[domiciliation].code_insee")
_DECIDES_WHERE = frozenset({_RIGHT, *_LIVES})
_BY_RIGHT = frozenset({"departement", "caf_msa", "france_travail"})
"""Roles that a right links her to."""


def opened(
    work: UnitOfWork, gateway: Gateway, request: Request, who: Who, entered: Entered, changed: set[str]
) -> list[Flow]:
    """The flows that may be open to her since this: she moved, is no minor after all, her right began or ended,
    another body follows her or speaks of her. What repeats where all say that she lives opens none."""
    where = not changed.isdisjoint(_DECIDES_WHERE)
    follows = not entered.before or any(path.startswith(FOLLOWING) for path in entered.changed)
    if not (where or follows or _BORN in changed):
        return []
    said = gateway.dossiers.said(work, who.person)
    grown = _BORN in changed and came_of_age(
        Portrait(_said_before(work, gateway, who, entered, said)), work.now, Portrait(said), work.now
    )
    moved = False
    for path in changed.intersection(_LIVES):
        values = [each.facts[path] for each in said if path in each.facts]
        moved |= path in entered.before or len(values) < 2 or any(value != values[0] for value in values)
    bodies, referent = _new_followers(work, gateway, request, who, entered, said) if follows else (set(), "")
    by_right = _RIGHT in changed
    if not (moved or grown or by_right or bodies or referent):
        return []

    def may_open(flow: Flow) -> bool:
        de, vers = gateway.role(flow.de), gateway.role(flow.vers)
        follows = flow.vers in bodies or (referent and referent in (de, vers))
        return bool(moved or grown or follows or (by_right and vers in _BY_RIGHT))

    sources = sorted({each.source for each in said})
    return [flow for sender in sources for flow in gateway.flows(work, sender) if may_open(flow)]


def _new_followers(
    work: UnitOfWork, gateway: Gateway, request: Request, who: Who, entered: Entered, said: Sequence[Assertions]
) -> tuple[Collection[str], str]:
    """The bodies linked with her since this, and the role of the one that follows her when it is another."""
    told_before = entered.before or sum(each.source == request.sender for each in said) > 1
    if told_before and not any(path.startswith(FOLLOWING) for path in entered.changed):
        return (), ""
    linked, referent = following(gateway, Portrait(said))
    linked_before, referent_before = following(gateway, Portrait(_said_before(work, gateway, who, entered, said)))
    return linked - linked_before, referent if referent != referent_before else ""


def _said_before(
    work: UnitOfWork, gateway: Gateway, who: Who, entered: Entered, said: Sequence[Assertions]
) -> Iterator[Assertions]:
    """What was said of her before this record."""
    now = gateway.dossiers.told_in(work, who.own, entered.place)
    then = (replace(each, facts=entered.before) if each.facts is now else each for each in said)
    return (each for each in then if each.facts)
