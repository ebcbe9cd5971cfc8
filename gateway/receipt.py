"""What is asked of the main path, and what it answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.convention_model import Flow
from gateway.journal import Entry


@dataclass(frozen=True, slots=True)
class Request:
    """One document on its way in."""

    id: str
    sender: str
    document: str
    flows: tuple[Flow, ...]
    """The flows that start at this sender for the purposes it invokes, active or not: a refusal is an answer too."""
    client_id: str = ""

    @property
    def journaled(self) -> dict[str, str]:
        """What the journal says of where it comes from."""
        who = {"exchange_id": self.id, "sender_org": self.sender}
        return who | {"client_id": self.client_id} if self.client_id else who


_PURPOSES = 64
"""Characters of `exchange.purpose`."""


def row_of(
    request: Request, received_at: str, purposes: Collection[str] | None = None, *, records: int = 0
) -> dict[str, Any]:
    """The row of `exchange` that remembers a request; of its purposes (those of its flows), as many as the column
    holds whole."""
    told = sorted({flow.purpose for flow in request.flows} if purposes is None else purposes)
    while len(joined := ",".join(told)) > _PURPOSES:
        told.pop()
    return {
        "id": request.id, "sender": request.sender, "document": request.document, "purpose": joined,
        "received_at": received_at, "records": records,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one recipient gets of one person: a promised delivery, or a reasoned refusal."""

    recipient: str
    status: Literal["queued", "withheld", "quarantined"]
    reason: str = ""
    article: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    withheld_categories: tuple[str, ...] = ()
    delivery: str | None = None
    document: str = ""
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What a record changed of one subject. `facts` is what it says of a household, to count changes in words."""

    kind: Literal["personne", "foyer"]
    new: bool
    paths: frozenset[str]
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Receipt:
    """What became of one record."""

    status: Literal["accepted", "unchanged", "quarantined", "rejected"]
    persons: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    changed: int = 0
    """How many facts are new or different."""
    findings: int = 0
    changes: list[Change] = field(default_factory=list)
    entry: Entry | None = None
