"""What past recipients must be told of a person, and what each answered: rows that `notifier.py` sends (GDPR 7(3), 19).

They are written in the transaction of the change: she withdrew, objected, asked for a limitation, was corrected or
erased. Each is sent again with growing pauses for thirty days, then becomes a task for the DPO: a recipient that does
not answer is never forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, get_args

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import Row, insert, select, update

from gateway import clock
from gateway.basis_record import Basis, Instant
from gateway.problems import Conflict, Invalid, Unknown
from gateway.storage.tables.basis import basis_notification as table
from gateway.unit_of_work import UnitOfWork

GIVE_UP = timedelta(days=30)
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=12)
Action = Literal["stop", "erase", "limit", "resume", "rectify"]
ACTIONS: tuple[Action, ...] = get_args(Action)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    received_at: Instant = Field(description="When the notification was taken in.")


class AnswerDone(_Answer):
    """It was done, as it was asked for."""

    action_done: Action


class AnswerRefused(_Answer):
    """The law refuses it: which text."""

    lawful_refusal: Literal[True] | str = Field(description="`true`, or a word of why.")
    article: str = Field(min_length=1)


ANSWER: TypeAdapter[AnswerDone | AnswerRefused] = TypeAdapter(AnswerDone | AnswerRefused)


@dataclass(frozen=True, slots=True)
class Notification:
    id: str
    record_id: str
    recipient: str
    action: str
    content: Mapping[str, Any] = field(repr=False)
    state: str
    attempts: int
    next_at: str
    answer: Mapping[str, Any] | None = field(repr=False)


def propagate(
    work: UnitOfWork,
    record_id: str,
    basis: Basis,
    past_recipients: Iterable[str],
    *,
    reference: Callable[[str], str] | None = None,
    action: str = "stop",
) -> tuple[str, ...]:
    """One row per past recipient, in this transaction; their ids. `reference` gives the pairwise pseudonym."""
    event = "basis.withdrawn" if basis.kind == "consent" else f"basis.{basis.kind}"
    return tell(
        work, record_id, event, past_recipients, reference=reference, action=action, purpose=basis.purpose,
        categories=basis.categories,
    )  # fmt: skip


def tell(
    work: UnitOfWork,
    record_id: str,
    event: str,
    past_recipients: Iterable[str],
    *,
    reference: Callable[[str], str] | None,
    action: str,
    purpose: str = "",
    categories: Iterable[str] = (),
) -> tuple[str, ...]:
    """The same for anything past recipients must know: a rectification, an erasure, the end of a limitation.

    `record_id` is what the answers are found under: a basis record, or the id of the rectification or erasure.
    """
    recipients = sorted(set(past_recipients))
    if action not in ACTIONS or (recipients and reference is None):
        raise Invalid("notification-invalid", "Say what each recipient must do, and under which reference.")
    if not recipients or reference is None:
        return ()
    give_up = clock.after(work.now, GIVE_UP)
    rows: list[dict[str, Any]] = []
    for recipient in recipients:
        content = {
            "event": event,
            "record_id": record_id,
            "subject_ref": reference(recipient),
            "purpose": purpose,
            "categories": sorted(categories),
            "effective_at": work.now,
            "action": action,
        }
        rows.append({
            "id": clock.new_id(), "record_id": record_id, "recipient": recipient, "action": action,
            "content": rfc8785.dumps(content).decode(), "state": "queued", "attempts": 0, "next_at": work.now,
            "give_up_at": give_up, "created_at": work.now,
        })  # fmt: skip
    work.connection.execute(insert(table), rows)
    return tuple(row["id"] for row in rows)


def due(work: UnitOfWork, limit: int = 100, only: Collection[str] = ()) -> list[Notification]:
    """Notifications to send now, oldest first; to these recipients, or to any. Nobody else gives them out until this
    transaction ends."""
    query = select(table).where(table.c.state == "queued", table.c.next_at <= work.now)
    query = query.where(table.c.recipient.in_(only)) if only else query
    query = query.order_by(table.c.next_at, table.c.id).limit(limit).with_for_update(skip_locked=True)
    return [_of(row) for row in work.connection.execute(query)]


def failed(work: UnitOfWork, identifier: str) -> str:
    """An attempt brought no answer: try later, or hand it to the DPO after thirty days. The new state."""
    row = _row(work, identifier)
    if row.state != "queued":
        return str(row.state)
    pause = min(_FIRST_PAUSE * 2 ** min(row.attempts, 16), _LONGEST_PAUSE)
    again = clock.after(work.now, pause)
    state = "dpo_task" if again >= row.give_up_at else "queued"
    _set(work, identifier, state=state, attempts=row.attempts + 1, next_at=again)
    return state


def answered(work: UnitOfWork, identifier: str, answer: Any) -> str:
    """What the recipient answered, as `ANSWER` reads it. Raises `Invalid` (`answer-invalid`).

    The same answer again changes nothing; another one raises `Conflict` (`answer-differs`).
    """
    row = _row(work, identifier)
    try:
        read = ANSWER.validate_python(answer)
    except ValidationError:
        said = "Answer {received_at, action_done}, or {received_at, lawful_refusal, article}; received_at in RFC 3339."
        raise Invalid("answer-invalid", said) from None
    done = isinstance(read, AnswerDone)
    if done and answer["action_done"] != row.action:
        raise Invalid("answer-invalid", f"The action asked for is {row.action}.")
    text = rfc8785.dumps(dict(answer)).decode()
    if row.answer is not None:
        if row.answer != text:
            raise Conflict("answer-differs", "Another answer was already recorded.")
        return str(row.state)
    state = "done" if done else "refused"
    _set(work, identifier, state=state, answer=text, answered_at=work.now)
    return state


def of_record(work: UnitOfWork, record_id: str) -> list[Notification]:
    """What each past recipient was told about a record, a rectification or an erasure, and answered."""
    query = select(table).where(table.c.record_id == record_id).order_by(table.c.id)
    return [_of(row) for row in work.connection.execute(query)]


def of_recipient(work: UnitOfWork, identifier: str, recipient: str) -> Notification:
    """One notification of this recipient. Raises `Unknown`, also for another's."""
    row = work.connection.execute(select(table).where(table.c.id == identifier, table.c.recipient == recipient)).first()
    if row is None:
        raise Unknown("notification-unknown", "Check the id against the notice you were given.")
    return _of(row)


def dpo_tasks(work: UnitOfWork, *, after: str = "", limit: int | None = None) -> list[Notification]:
    """Recipients that never answered, or refused with an article: for the DPO; at most `limit` of those after one."""
    query = select(table).where(table.c.state.in_(("dpo_task", "refused")), table.c.id > after)
    query = query.order_by(table.c.id).limit(limit)
    return [_of(row) for row in work.connection.execute(query)]


def _row(work: UnitOfWork, identifier: str) -> Row[Any]:
    row = work.connection.execute(select(table).where(table.c.id == identifier).with_for_update()).first()
    if row is None:
        raise Unknown("notification-unknown", "Check the id against the notice you were given.")
    return row


def _set(work: UnitOfWork, identifier: str, **values: Any) -> None:
    work.connection.execute(update(table).where(table.c.id == identifier).values(**values))


def _of(row: Row[Any]) -> Notification:
    return Notification(
        row.id, row.record_id, row.recipient, row.action, json.loads(row.content), row.state, row.attempts, row.next_at,
        json.loads(row.answer) if row.answer else None,
    )  # fmt: skip
