"""What a token opens of a convention's flows: what its `authorization_details` narrow (RFC 9396) is narrowed here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from gateway import inbox
from gateway.access import Caller
from gateway.convention_model import Flow
from gateway.problems import Forbidden, Problem
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork


def opened(caller: Caller, flows: Iterable[Flow]) -> tuple[Flow, ...]:
    """Of these flows of the token's purposes, those of the regimes and conventions that it names, with no more
    categories than it names."""
    if not any(one.keys() - {"type", "purpose"} for one in caller.details):
        return tuple(flows)
    return tuple(found for one in flows if (found := narrowed(caller, one)))


def narrowed(caller: Caller, flow: Flow) -> Flow | None:
    """This flow as the token opens it; None when it does not."""
    named = [
        one
        for one in caller.details
        if (one["purpose"], one.get("regime", flow.regime), one.get("convention_id", flow.convention))
        == (flow.purpose, flow.regime, flow.convention)
    ]
    if not named:
        return None
    if not all("datatypes" in one for one in named):
        return flow
    codes = frozenset(code for one in named for code in one["datatypes"])
    return replace(flow, codes=codes if flow.codes is None else codes & flow.codes)


def closed(work: UnitOfWork, gateway: Gateway, caller: Caller, letter: Any) -> Problem | None:
    """Why this token does not open a letter of its body's mailbox (`inbox.find`), nor see it listed, if it does not.

    A mailbox holds what its body receives for all its purposes: a token that names a purpose and no more opens the
    letters of every purpose its client is registered for; one that is narrowed further opens what it names. A flow that
    ended is told when the letter is decided again (`gateway/hand_over.py`).
    """
    if letter.document == inbox.NOTICE:
        return None
    flow = gateway.flow(work, letter.flow)
    plain = any(one.keys() <= {"type", "purpose"} for one in caller.details)
    if plain and (flow is None or caller.registered is None or flow.purpose in caller.registered):
        return None
    found = flow and narrowed(caller, flow)
    if flow and not found:
        asked = f"Use a client and a token that open the purpose {flow.purpose}, regime {flow.regime}."
        return Forbidden("purpose-not-granted", asked)
    if found and found.codes is not None and not set(filter(None, (letter.categories or "").split(","))) <= found.codes:
        return Forbidden("datatypes-narrowed", "This document holds more than the datatypes of the token.")
    return None


def require_whole(caller: Caller) -> None:
    """What is sent is shared as the conventions say, also long after its token ended: a token narrowed to some
    categories cannot send. Raises `Forbidden` (`datatypes-narrowed`)."""
    if any("datatypes" in one for one in caller.details):
        raise Forbidden("datatypes-narrowed", "A token narrowed by datatypes only reads: ask for one without them.")
