"""From a pseudonym of the journal back to a person: two accounts and a reason, once, for a short time.

One account asks, with its written reason; another, never the same, reads the reason and approves; the first may then
look once, within the hour. Each step is in the journal under the account that took it, with the digest of the reason.
A pseudonym of an erased person leads to nobody, whoever approves.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, insert, select, update

from gateway import clock, journal
from gateway.person_history import HERSELF, OFFICER
from gateway.problems import Conflict, Forbidden, Invalid, Misnamed, Unknown
from gateway.registry import Gateway
from gateway.storage.tables.basis import basis_record
from gateway.storage.tables.record import person, reference
from gateway.storage.tables.rights import reidentification as table
from gateway.unit_of_work import UnitOfWork

WAITS = timedelta(hours=72)
"""How long a request waits for a second account."""
LASTS = timedelta(hours=1)
"""How long an approval may be used."""
PAGE = 1_000
"""Persons whose pseudonyms are made again between two readings."""
SUBJECT = re.compile(r"^[0-9a-f]{40}$")
_SHOWN = ("personne.nom_naissance", "personne.nom_usage", "personne.prenoms", "personne.date_naissance")


@dataclass(frozen=True, slots=True)
class Account:
    """Who acts: an OAuth client of a DPO (`client_id`), or an agent's pseudonym."""

    client_id: str = ""
    agent: str = ""
    role: str = ""

    @property
    def name(self) -> str:
        return self.client_id or self.agent


def request(work: UnitOfWork, subject: str, reason: str, by: Account) -> dict[str, Any]:
    """Ask to know who a pseudonym is. Raises `Invalid` without a reason of at least 20 characters."""
    if not SUBJECT.fullmatch(subject):
        raise Misnamed("subject-invalid", "A pseudonym is 40 hexadecimal digits.")
    if not 20 <= len(reason.strip()) <= 2_000:
        raise Invalid("reason-missing", "Write the reason, in 20 to 2,000 characters.")
    identifier = clock.new_id()
    work.connection.execute(
        insert(table).values(
            id=identifier, subject=subject, reason=reason.strip(), requested_by=by.name, requested_at=work.now,
            expires_at=clock.after(work.now, WAITS),
        )
    )  # fmt: skip
    row = _row(work, identifier)
    _log(work, row, by, "reidentify-requested")
    return show(row, work.now)


def approve(work: UnitOfWork, identifier: str, by: Account) -> dict[str, Any]:
    """Approve another account's request. Raises `Forbidden("same-account")`, `Conflict`, `Unknown`."""
    row = _row(work, identifier, held=True)
    if row.requested_by == by.name:
        raise Forbidden("same-account", "Another account than the one that asked approves.")
    if state(row, work.now) != "open":
        raise Conflict("reidentification-closed", f"This request is {state(row, work.now)}: it must be made anew.")
    values = {"approved_by": by.name, "approved_at": work.now, "expires_at": clock.after(work.now, LASTS)}
    work.connection.execute(update(table).where(table.c.id == identifier).values(**values))
    _log(work, row, by, "reidentify-approved")
    return show(_row(work, identifier), work.now)


def whose(gateway: Gateway, identifier: str, by: Account) -> str | None:
    """The living person of an approved request's pseudonym, searched for the account that asked; None: nobody.

    Nothing stores the way back: each person's pseudonyms are made again, a page of persons at a time. It writes nothing
    and nobody waits; a process that dies meanwhile has used no approval up. Raises as `use`.
    """
    with gateway.reading() as work:
        subject = _usable(work, identifier, by).subject
        given = work.connection.scalar(select(reference.c.person_id).where(reference.c.reference == subject))
        if given and _alive(work, given):
            return str(given)
    bodies, last = [HERSELF, OFFICER, *sorted(gateway.bodies)], ""
    while True:
        with gateway.reading() as work:
            here = person.c.id > last, person.c.erased_at.is_(None)
            page = work.connection.scalars(select(person.c.id).where(*here).order_by(person.c.id).limit(PAGE)).all()
        for one in page:  # 7 µs for each body
            if any(gateway.keys.pseudonym(body, one) == subject for body in bodies):
                return str(one)
        if not page:
            break
        last = page[-1]
    with gateway.reading() as work:
        told = select(basis_record.c.person_id).where(basis_record.c.content.contains(f'"subject_ref":"{subject}"'))
        return next((str(one) for one in work.connection.scalars(told) if _alive(work, one)), None)


def use(work: UnitOfWork, gateway: Gateway, identifier: str, by: Account, found: str | None) -> dict[str, Any]:
    """Who it is, as `whose` found: once, for the account that asked. Raises `Forbidden("other-account")`, `Conflict`,
    `Unknown`.

    An approval is used up even when the pseudonym leads to nobody (`person` is then empty).
    """
    row = _usable(work, identifier, by, held=True)
    work.connection.execute(update(table).where(table.c.id == identifier).values(used_at=work.now))
    found = found if found and _alive(work, found) else None
    _log(work, row, by, "reidentify-used" if found else "reidentify-nobody")
    told = show(_row(work, identifier), work.now)
    if found is None:
        return told | {"person": None, "identity": {}}
    current = gateway.dossiers.current(work, found)
    return told | {"person": found, "identity": {path: current[path].value for path in _SHOWN if path in current}}


def get(work: UnitOfWork, identifier: str) -> dict[str, Any]:
    """One request, as it stands. Raises `Unknown`."""
    return show(_row(work, identifier), work.now)


def waiting(work: UnitOfWork) -> list[dict[str, Any]]:
    """Requests that a second account may approve, or the first may use, oldest first."""
    rows = work.connection.execute(select(table).where(table.c.expires_at > work.now).order_by(table.c.id))
    return [show(row, work.now) for row in rows if state(row, work.now) in ("open", "approved")]


def state(row: Row[Any], now: str) -> str:
    """`open`, `approved`, `used` or `expired`."""
    if row.used_at:
        return "used"
    if row.expires_at <= now:
        return "expired"
    return "approved" if row.approved_at else "open"


def show(row: Row[Any], now: str) -> dict[str, Any]:
    """A request as the officers see it: who asked, why, who approved; never who the person is."""
    return {
        "id": row.id, "subject": row.subject, "reason": row.reason, "state": state(row, now),
        "requested_by": row.requested_by, "requested_at": row.requested_at, "approved_by": row.approved_by,
        "approved_at": row.approved_at, "expires_at": row.expires_at, "used_at": row.used_at,
    }  # fmt: skip


def _row(work: UnitOfWork, identifier: str, *, held: bool = False) -> Row[Any]:
    query = select(table).where(table.c.id == identifier)
    row = work.connection.execute(query.with_for_update() if held else query).first()
    if row is None:
        raise Unknown(
            "reidentification-unknown", "Check the id against the requests that wait (`maillon reidentify list`)."
        )
    return row


def _usable(work: UnitOfWork, identifier: str, by: Account, *, held: bool = False) -> Row[Any]:
    row = _row(work, identifier, held=held)
    if row.requested_by != by.name:
        raise Forbidden("other-account", "Only the account that asked may look.")
    if state(row, work.now) != "approved":
        raise Conflict("reidentification-closed", f"This request is {state(row, work.now)}: it must be made anew.")
    return row


def _alive(work: UnitOfWork, one: str) -> bool:
    here = select(person.c.id).where(person.c.id == one, person.c.erased_at.is_(None))
    return work.connection.scalar(here) is not None


def _log(work: UnitOfWork, row: Row[Any], by: Account, outcome: str) -> None:
    journal.append(
        work, "log.read", client_id=by.client_id, agent=by.agent, agent_role=by.role, purpose="audit_dpo",
        outcome=outcome, object_ref=row.id, subject=row.subject,
        reason_h=hashlib.sha256(row.reason.encode()).hexdigest(),
    )  # fmt: skip
