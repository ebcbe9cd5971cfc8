"""Pairwise references: each body knows a person under a name of its own, so that two bodies cannot join their lists."""

from __future__ import annotations

from sqlalchemy import select

from gateway.keys import Keyring
from gateway.storage.tables.record import reference
from gateway.unit_of_work import UnitOfWork


class References:
    """Gives and finds the references of persons."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys

    def give(self, work: UnitOfWork, body: str, person_id: str) -> str:
        """The body's reference for this person, remembered so that it can be used later."""
        given = self._keys.pseudonym(body, person_id)
        if self.find(work, body, given) is None:
            work.add(reference, reference=given, body=body, person_id=person_id, given_at=work.now)
            work.flush()
        return given

    def find(self, work: UnitOfWork, body: str, given: str) -> str | None:
        """The person this body calls so; None for a name it was never given, or another body's."""
        row = work.connection.execute(
            select(reference.c.person_id).where(reference.c.reference == given, reference.c.body == body)
        ).first()
        return str(row.person_id) if row else None
