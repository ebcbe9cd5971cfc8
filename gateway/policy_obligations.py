"""Obligations of several rules made one list: the most protective wins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.policy_table import Obligation

_DURATION = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?(?:T(?:(\d+)H)?)?")
_SHORTEST = ("retain", "expiry", "second_person")


def hours(duration: str) -> float:
    """An ISO 8601 duration (years, months, days, hours) in hours, to compare two of them; ValueError if it is none."""
    match = _DURATION.fullmatch(duration)
    if match is None or duration in ("P", "PT"):
        raise ValueError(f"not a duration: {duration}")
    years, months, days, rest = (int(part or 0) for part in match.groups())
    return (years * 365.25 + months * 30.4375 + days) * 24 + rest


def merge(
    rules: Sequence[tuple[Sequence[Obligation], frozenset[str]]], extra: Sequence[Obligation] = ()
) -> tuple[str, ...]:
    """One list of `name(arguments)`, sorted.

    `rules` pairs the obligations of a rule with the categories it concerns: an obligation that names a category
    (`mask(C3, …)`) binds only when that category is concerned. Shortest delay, strongest log, earliest information,
    most validations, and the union of all the rest.
    """
    merged: dict[str, set[tuple[str, ...]]] = {}
    named = [(obligation, codes) for obligations, codes in rules for obligation in obligations]
    for (name, arguments), codes in [*named, *((one, frozenset[str]()) for one in extra)]:
        if any(re.fullmatch(r"C\d+", argument) and argument not in codes for argument in arguments):
            continue
        merged.setdefault(name, set()).add(arguments)
    merged.setdefault("log", {("standard",)})
    return tuple(sorted(text for name, variants in merged.items() for text in _reduced(name, variants)))


def _reduced(name: str, variants: set[tuple[str, ...]]) -> list[str]:
    if name in _SHORTEST:
        variants = {min(variants, key=lambda arguments: hours(arguments[0]))}
    elif name == "log":
        variants = {("full",) if ("full",) in variants else ("standard",)}
    elif name == "human_review":
        variants = {max(variants, key=lambda arguments: int(arguments[0]))}
    elif name == "no_onward":
        purposes = {purpose for arguments in variants for purpose in arguments}
        variants = {("all",) if "all" in purposes else tuple(sorted(purposes))}
    elif name == "inform":
        earliest = {(notice, version, by): "before" for notice, version, by, when in variants if when == "before"}
        late = {(n, v, b): when for n, v, b, when in variants if (n, v, b) not in earliest}
        variants = {(*key, when) for key, when in (earliest | late).items()}
    return [f"{name}({', '.join(arguments)})" if arguments else name for arguments in variants]
