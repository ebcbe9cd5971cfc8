"""Correcting what is said of a person (GDPR 16), and telling everybody who received it (GDPR 19).

A rectified value is an assertion in the person's own name. Nothing of what bodies said is overwritten: it stands beside
them, first, and a body that repeats its error changes nothing. An appreciation is not corrected: the person's statement
is attached to it. Each document that carried a corrected value is delivered again, decided anew, to whoever holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select

from gateway import clock, convention, journal, notification
from gateway.categories import legal_code
from gateway.convention_model import codes_of
from gateway.corrections import last_delivered, send_again
from gateway.decide import came_of_age
from gateway.merge import RECTIFIED
from gateway.offer import offer_again
from gateway.past import given
from gateway.person_history import HERSELF, head_of, people_of
from gateway.problems import Conflict, Invalid
from gateway.registry import Gateway
from gateway.storage.tables.record import exchange
from gateway.storage.tables.rights import statement
from gateway.turns import kept
from gateway.unit_of_work import UnitOfWork
from gateway.vault import Erased
from schemas import paths

MAX_STATEMENT = 10_000


@dataclass(frozen=True, slots=True)
class Rectified:
    """What was corrected, what leaves again, and who was told."""

    id: str
    changed: tuple[str, ...]
    deliveries: tuple[str, ...]
    told: tuple[str, ...]
    statements: tuple[str, ...]


def rectify(
    work: UnitOfWork,
    gateway: Gateway,
    person_id: str,
    facts: Mapping[str, Any],
    *,
    expected: Mapping[str, Any] | None = None,
    statements: Mapping[str, str] | None = None,
) -> Rectified:
    """Correct facts of a person, or attach her statement to appreciations.

    `expected` is the value each path had when she contested it: if a body has said something else since, a human looks
    again (`Conflict("newer-value")`). Raises `Unknown`, `Invalid("rectification-invalid")`, `Erased`.
    """
    head = head_of(work, person_id)
    _check(facts, statements or {})
    if not kept(work, [head]):
        raise Erased(head)
    current = gateway.dossiers.current(work, head)
    for path, value in (expected or {}).items():
        if (current[path].value if path in current else None) != value:
            raise Conflict("newer-value", "A body has said something else since: read the dossier again.", path=path)
    identifier = clock.new_id()
    work.add(
        exchange, id=identifier, sender=HERSELF, document=RECTIFIED, purpose="droits_personne", received_at=work.now,
        records=1,
    )  # fmt: skip
    place = (HERSELF, RECTIFIED, gateway.dossiers.record_index(HERSELF, RECTIFIED, head))
    gateway.dossiers.put(work, head, place, dict(facts), asserted_at=work.now, exchange_id=identifier, partial=True)
    written = tuple(_attach(work, gateway, head, path, text) for path, text in (statements or {}).items())
    changed = {path for path, value in facts.items() if path not in current or current[path].value != value}
    people = people_of(work, head)
    deliveries, holders = send_again(work, gateway, people, changed, identifier)
    if came_of_age(current, work.now, gateway.dossiers.current(work, head), work.now):
        offer_again(work, gateway, head, convention.declared(work))
    touched = changed | set(statements or {})
    told = _tell(work, gateway, people, touched, identifier)
    journal.append(
        work, "right.rectify", subject=gateway.keys.pseudonym(HERSELF, head), purpose="droits_personne",
        article=["RGPD 16", "RGPD 19"], exchange_id=identifier, n_records=len(touched), outcome="rectified",
    )  # fmt: skip
    return Rectified(identifier, tuple(sorted(changed)), deliveries, tuple(sorted(holders | told)), written)


def statements_of(work: UnitOfWork, gateway: Gateway, people: list[str]) -> list[dict[str, str]]:
    """What a person said of appreciations about her."""
    rows = work.connection.execute(select(statement).where(statement.c.person_id.in_(people)).order_by(statement.c.id))
    return [
        {"id": row.id, "path": row.path, "written_at": row.written_at,
         "text": str(gateway.vault.open(work, row.person_id, row.content))}
        for row in rows
    ]  # fmt: skip


def _check(facts: Mapping[str, Any], statements: Mapping[str, str]) -> None:
    if not facts and not statements:
        raise Invalid("rectification-invalid", "Give at least one fact or one statement.")
    for path in (*facts, *statements):
        try:
            code = legal_code(path)
        except paths.UnknownPath:
            raise Invalid("rectification-invalid", "Unknown path: see docs/architecture.md.") from None
        if path in facts and code == "C21":
            raise Invalid("appreciation", "An appreciation is not corrected: attach the person's statement.", path=path)
        if path in facts and path.startswith("identifiants["):
            raise Invalid(
                "rectification-invalid", "An identifier is corrected by the body that certifies it.", path=path
            )
    if findings := paths.check(dict(facts)):
        wrong = ", ".join(sorted({f"{one.path}: {one.code}" for one in findings}))
        raise Invalid("rectification-invalid", wrong)
    if any(not isinstance(text, str) or not 1 <= len(text) <= MAX_STATEMENT for text in statements.values()):
        raise Invalid("rectification-invalid", f"A statement is a text of 1 to {MAX_STATEMENT} characters.")


def _attach(work: UnitOfWork, gateway: Gateway, head: str, path: str, text: str) -> str:
    identifier = clock.new_id()
    work.connection.execute(
        insert(statement).values(
            id=identifier, person_id=head, path=path, written_at=work.now,
            content=gateway.vault.seal(work, head, text),
        )
    )  # fmt: skip
    return identifier


def _tell(work: UnitOfWork, gateway: Gateway, people: list[str], touched: set[str], record_id: str) -> set[str]:
    """Tell every body that was sent one of these categories that something of it was corrected or contested."""
    codes = {code for path in touched if (code := legal_code(path))}
    bodies: dict[str, set[str]] = {one: set() for one in people}
    for row in last_delivered(work, people):
        document = gateway.document(row.recipient, row.document)
        sent = row.categories.split(",") if row.categories else codes_of(gateway.categories(document))
        if codes.intersection(sent):
            bodies[row.person_id].add(row.recipient)
    for one in people:
        bodies[one] |= {body for body, read in given(work, gateway, one).items() if codes & read}
    for one, told in bodies.items():
        notification.tell(
            work, record_id, "right.rectify", told, action="rectify", purpose="droits_personne", categories=codes,
            reference=gateway.keys.pseudonyms_of(one),
        )  # fmt: skip
    return set().union(*bodies.values())
