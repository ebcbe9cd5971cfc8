"""The states of HubEE (folder API 1.2.7): who may set which status, and from where."""

from __future__ import annotations

SI: dict[str, frozenset[str]] = {
    "SENT": frozenset({"HUBEE_NOTIFIED"}),
    "SI_RECEIVED": frozenset({"SENT", "HUBEE_NOTIFIED"}),
    "IN_PROGRESS": frozenset({"SI_RECEIVED", "HUBEE_NOTIFIED"}),
    "ADD_AWAITING": frozenset({"IN_PROGRESS"}),
    "SI_INTG_ERROR": frozenset({"SENT", "SI_RECEIVED", "IN_PROGRESS", "ADD_AWAITING"}),
    "REFUSED": frozenset({"SI_RECEIVED", "IN_PROGRESS", "ADD_AWAITING"}),
    "DONE": frozenset({"SI_RECEIVED", "IN_PROGRESS", "ADD_AWAITING"}),
}
"""Statuses the receiver sets, each with those it may follow."""

COMING = frozenset({"HUBEE_RECEIVED", "HUBEE_COMPLETED"})
"""Not handed over to the receiver yet: no status of ours may follow."""
FINAL = frozenset({"DONE", "REFUSED", "CLOSED", "ARCHIVED"})
SI_STATES = frozenset(SI)
ACTIONS = frozenset({"STATUS_UPDATE", "ATTACH_DEPOSIT", "ATTACH_DL", "ATTACH_DL_ALL", "COM_ADD", "SENDING_MESSAGE"})


def may_follow(status: str, current: str) -> bool:
    """May the receiver go from `current` to `status`?"""
    return current in SI.get(status, frozenset())


def path(current: str, target: str) -> list[str]:
    """Statuses the receiver sets to come from `current` to `target`, the shortest way; empty when there is none."""
    ways: list[list[str]] = [[status] for status in SI if may_follow(status, current)]
    seen = {current}
    while ways:
        way = ways.pop(0)
        if way[-1] == target:
            return way
        if way[-1] not in seen and way[-1] not in FINAL:
            seen.add(way[-1])
            ways += [[*way, status] for status in SI if may_follow(status, way[-1])]
    return []
