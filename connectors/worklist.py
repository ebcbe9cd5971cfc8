"""What a partner asks our side to do about persons: its worklist, in words that name no partner.

A connector whose partner keeps such a list has `families` and `worklist`; the gateway polls it and gives each item its
route. An item says who must be looked at and why; it never says what to decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from connectors.transport import Transport

Kind = Literal["decision_orientation", "premier_rendez_vous", "sanction", "inconnu"]
"""`sanction` is transmit only, under two human validations; `inconnu`: a code of no table, shown to a human."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to do. `created_at` and `due_at` are as the partner writes them (RFC 3339), empty when it does not."""

    id: str = field(repr=False)
    """The partner's own id: the same item, poll after poll."""
    code: str
    kind: Kind
    ft_numero: str = field(repr=False)
    created_at: str = ""
    due_at: str = ""
    fetch: tuple[str, ...] = ()
    """Documents to pull before anybody can act."""
    transmits: str = ""
    """The document that carries the act, when acting is transmitting one."""
    context: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What that document must repeat."""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer. `complete` is False when the partner cut its list: what is missing then means nothing."""

    items: Sequence[Item]
    skipped: int
    """Items that name nobody, counted and left aside."""
    complete: bool


@runtime_checkable
class Worklisted(Protocol):
    """A connector whose partner keeps a worklist for our side."""

    families: tuple[str, ...]

    async def worklist(self, family: str, transport: Transport) -> Page:
        """One family of the list, by due date. Raises `NotObtained`."""
        ...
