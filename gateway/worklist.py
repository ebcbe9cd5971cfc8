"""What a partner asks our side to do: polled, given to the right person, and routed. Never decided here.

- `decision_orientation`: what the partner proposes is pulled into the dossier, and deliveries that waited for it go
  again; the authority decides in its own software.
- `premier_rendez_vous`: a task, until the rendez-vous is transmitted.
- `sanction`: transmit only. The act is written by agents, two of whom validated that very act (`digest_of`).

The same item is the same row poll after poll. One that is no longer listed was acted on somewhere, perhaps through
another channel: it is `absent`, which says nothing of the person. One about nobody known here stays `pending` and is
looked at again at each poll, so that it goes on as soon as the number becomes known.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

import rfc8785
import structlog
from sqlalchemy import Row, insert, select, update

from connectors.contract import Acknowledgement, NotObtained
from connectors.transport import Transport
from connectors.worklist import Item, Page, Worklisted
from gateway import clock, outbox, recipients
from gateway.keys import seal, unseal
from gateway.problems import Conflict, Misnamed, Unavailable, Unknown
from gateway.pull import pull
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.record import identifier, person
from gateway.storage.tables.worklist import worklist_item
from gateway.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)

LIVE = ("pending", "open", "transmitting", "transmitted")
_TO_FETCH = "to-fetch"
_AGAIN = "fetch-again:"
_FAILING = 3
"""Fetches that fail in a row, none of them for good, after which the body is left alone until the next poll."""


@dataclass(slots=True)
class Polled:
    """What one poll saw. Nothing is dropped: `listed` = `new` + `known`, and `skipped` names nobody."""

    listed: int = 0
    new: int = 0
    known: int = 0
    skipped: int = 0
    pending: int = 0
    fetched: int = 0
    absent: int = 0
    cut: list[str] = field(default_factory=list)
    """Families of which the partner showed only a part, whose listed items all wait for a human."""
    refused: dict[str, str] = field(default_factory=dict)
    """Families that could not be read, with the partner's code."""


# --- polling ----------------------------------------------------------------------------------------------------------


async def poll(gateway: Gateway, body: str, asked_by: str) -> Polled:
    """Read a body's worklist once, family by family, in the name of the body whose list it is (`asked_by`).

    A cut list is acted on, then read again until it brings nothing new. Raises `Invalid` (`worklist-missing`) for a
    body that keeps none.
    """
    connector = gateway.connector(body)
    if not isinstance(connector, Worklisted):
        raise Misnamed("worklist-missing", "This body keeps no worklist; see `maillon connector list`.")
    told = Polled()
    for family in connector.families:
        try:
            await _family(gateway, connector, (body, family, asked_by), told)
        except NotObtained as refused:
            told.refused[family] = refused.code
    return told


async def poll_all(gateway: Gateway) -> dict[str, Polled]:
    """Read the worklist of every body whose settings say whose it is (`worklist_for`), one body after the other.

    A body that rests (paused, or failing) is left alone. Raises `Unavailable` (`worklist-refused`) once all were read,
    when one of them could not be.
    """
    told: dict[str, Polled] = {}
    for body, asked_by in listed(gateway.settings).items():
        if not await asyncio.to_thread(_rests, gateway, body):
            told[body] = await poll(gateway, body, asked_by)
            log.info("worklist.polled", body=body, **asdict(told[body]))
    if refused := [body for body, one in told.items() if one.refused]:
        raise Unavailable("worklist-refused", f"Read why with `maillon worklist poll`: {', '.join(refused)}.")
    return told


def _rests(gateway: Gateway, body: str) -> bool:
    with gateway.reading() as work:
        return recipients.resting(work, body)


def listed(settings: Settings) -> dict[str, str]:
    """The bodies whose worklist is read at intervals, and whose list each is."""
    return {body: told["worklist_for"] for body, told in settings.bodies.items() if told.get("worklist_for")}


async def _family(gateway: Gateway, connector: Worklisted, of: tuple[str, str, str], told: Polled) -> None:
    body, family, asked_by = of
    transport: Transport = gateway.transport(body)
    met: dict[bytes, None] = {}
    while True:
        page: Page = await connector.worklist(family, transport)
        fresh = {_index(gateway, body, one): one for one in page.items}
        fresh = {index: one for index, one in fresh.items() if index not in met}
        told.skipped += page.skipped if not met else 0
        met |= dict.fromkeys(fresh)
        failing = 0
        for row_id, person_id, documents in await asyncio.to_thread(_take, gateway, (body, family), fresh, told):
            reason = await _fetch(gateway, (row_id, person_id), body, documents, asked_by)
            told.fetched += not reason
            failing = failing + 1 if reason.startswith(_AGAIN) else 0
            if failing == _FAILING:  # what was listed is written down: the next poll goes on from there
                raise NotObtained("retry", reason.removeprefix(_AGAIN))
        if page.complete:
            told.absent += await asyncio.to_thread(_absent, gateway, body, family, met.keys())
            return
        if not fresh:
            told.cut.append(family)
            return


def _take(
    gateway: Gateway, of: tuple[str, str], items: Mapping[bytes, Item], told: Polled
) -> list[tuple[str, str, tuple[str, ...]]]:
    """Write the items down; gives (row, person, documents) of those for which something must be pulled."""
    body, family = of
    to_fetch = []
    with gateway.unit_of_work() as work:
        for index, item in items.items():
            row = work.connection.execute(select(worklist_item).where(worklist_item.c.item_h == index)).first()
            told.listed += 1
            told.new += row is None
            told.known += row is not None
            kept = row.person_id if row else None
            who, reason = (kept, "") if kept else _person(work, gateway, item.ft_numero)
            if row is None:
                row_id = clock.new_id()
                reason = reason or (_TO_FETCH if item.fetch else "")
                values = _values(gateway, row_id, item, work.now) | {"person_id": who, "reason": reason or None}
                values |= {"id": row_id, "body": body, "family": family, "item_h": index, "opened_at": work.now}
                work.connection.execute(insert(worklist_item).values(**values, state="open" if who else "pending"))
            else:
                row_id, reason = row.id, _again(work, gateway, row, item, who, reason)
            if who is None:
                told.pending += 1
            elif item.fetch and (reason == _TO_FETCH or reason.startswith(_AGAIN)):
                # The partner now has something to decide on: what waited for that goes again.
                outbox.replay_waiting(work, who)
                to_fetch.append((row_id, who, item.fetch))
    return to_fetch


def _again(work: UnitOfWork, gateway: Gateway, row: Row[Any], item: Item, who: str | None, unknown: str) -> str:
    """An item met before, as its partner words it now, unless an act about it left; gives its reason now."""
    left = row.state in ("transmitting", "transmitted")
    values = {"seen_at": work.now} if left else _values(gateway, row.id, item, work.now)
    reason = row.reason or ""
    if row.state in ("pending", "absent"):
        # Listed again: what was thought settled elsewhere is not.
        reason = unknown or (_TO_FETCH if item.fetch else "")
        values |= {"state": "open" if who else "pending", "person_id": who, "reason": reason or None}
        values |= {"settled_at": None}
    work.connection.execute(update(worklist_item).where(worklist_item.c.id == row.id).values(**values))
    return reason


def _values(gateway: Gateway, row_id: str, item: Item, now: str) -> dict[str, Any]:
    content = seal(gateway.keys.secret("worklist"), json.dumps(asdict(item)).encode(), row_id.encode())
    return {"code": item.code[:40], "kind": item.kind, "content": content, "due_at": item.due_at[:40], "seen_at": now}


async def _fetch(gateway: Gateway, of: tuple[str, str], body: str, documents: Sequence[str], asked_by: str) -> str:
    """Pull what must be known before anybody can act; gives why not all of it was obtained, empty when it was."""
    row_id, person_id = of
    reason = ""
    for document in documents:
        try:
            await pull(gateway, person_id, body, document, asked_by)
        except NotObtained as refused:
            ended = "fetch-refused:" if refused.outcome == "refused" else _AGAIN
            reason = f"{ended}{refused.code}"[:64]
            break
    await asyncio.to_thread(_set, gateway, row_id, {"reason": reason or None})
    return reason


def _absent(gateway: Gateway, body: str, family: str, met: Any) -> int:
    """What is no longer listed was acted on, here or elsewhere."""
    with gateway.unit_of_work() as work:
        rows = work.connection.execute(
            select(worklist_item.c.id, worklist_item.c.item_h).where(
                worklist_item.c.body == body, worklist_item.c.family == family, worklist_item.c.state.in_(LIVE)
            )
        )
        gone = [row.id for row in rows if row.item_h not in met]
        for row_id in gone:
            settled = {"state": "absent", "settled_at": work.now}
            work.connection.execute(update(worklist_item).where(worklist_item.c.id == row_id).values(**settled))
    return len(gone)


def _index(gateway: Gateway, body: str, item: Item) -> bytes:
    return gateway.keys.blind("worklist", f"{body}\x00{item.id}")


def _person(work: UnitOfWork, gateway: Gateway, number: str) -> tuple[str | None, str]:
    """Whom a number names here, or why nobody can be told."""
    query = (
        select(person.c.id, person.c.merged_into, person.c.provisional)
        .join(identifier, identifier.c.subject_id == person.c.id)
        .where(identifier.c.index_h == gateway.keys.blind("ft", number), person.c.erased_at.is_(None))
    )
    rows = work.connection.execute(query).all()
    heads = {row.merged_into or row.id for row in rows if not row.provisional}
    if len(heads) == 1:
        return heads.pop(), ""
    return None, "several-matches" if heads else "to-be-confirmed" if rows else "person-unknown"


def _set(gateway: Gateway, row_id: str, values: Mapping[str, Any]) -> None:
    with gateway.unit_of_work() as work:
        work.connection.execute(update(worklist_item).where(worklist_item.c.id == row_id).values(**values))


# --- reading ----------------------------------------------------------------------------------------------------------


def live(work: UnitOfWork, gateway: Gateway, body: str = "") -> list[dict[str, Any]]:
    """What is to be done, soonest due first, with the next step; persons under their reference for the body."""
    query = select(worklist_item).where(worklist_item.c.state.in_(LIVE))
    if body:
        query = query.where(worklist_item.c.body == body)
    rows = work.connection.execute(query.order_by(worklist_item.c.due_at, worklist_item.c.id)).all()
    return [
        {
            "id": row.id, "body": row.body, "code": row.code, "kind": row.kind, "state": row.state,
            "reason": row.reason, "due_at": row.due_at, "person": row.person_id, "next": _next(work, gateway, row),
        }
        for row in rows
    ]  # fmt: skip


_STEPS = {"premier_rendez_vous": "prendre_rendez_vous", "sanction": "valider_puis_transmettre"}


def _next(work: UnitOfWork, gateway: Gateway, row: Row[Any]) -> str:
    """What a human does next, in the words of the trade."""
    if row.state != "open":
        return {"pending": "identifier", "transmitting": "verifier_puis_liberer"}.get(row.state, "")
    if row.kind != "decision_orientation":
        return _STEPS.get(row.kind, "lire")
    current = gateway.dossiers.current(work, row.person_id)
    proposed = [
        path.rpartition(".")[0]
        for path, fact in current.items()
        if path.startswith("orientations[") and path.endswith("].etat") and fact.value == "en_attente"
    ]
    # Without a conclusive proposal the criteria come first; an undetermined one is none.
    known = [fact.value for one in proposed if (fact := current.get(f"{one}.parcours"))]
    return "decider" if any(value != "IND" for value in known) else "completer_criteres"


# --- transmitting an act that agents decided --------------------------------------------------------------------------


def digest_of(row_id: str, act: Mapping[str, Any]) -> str:
    """What two agents validate: `reason_hash` of their validation records (SHA-256 of RFC 8785 JSON)."""
    return sha256(rfc8785.dumps({"item": row_id, "act": dict(act)})).hexdigest()


async def transmit(gateway: Gateway, row_id: str, act: Mapping[str, Any], asked_by: str) -> Acknowledgement:
    """Carry an act of the authority about one item. Nothing is decided, completed or repeated by itself.

    Raises `Unknown`, `Conflict` (`worklist-not-open`, `worklist-not-transmitted`, `validations-missing`,
    `flow-missing`) or `Forbidden` when the law or the convention refuses it. A crash on the way leaves the item
    `transmitting`: a human reads what the partner holds, then `release`s it.
    """
    from gateway import worklist_act  # it reads this module's rows

    prepared = await asyncio.to_thread(worklist_act.prepare, gateway, row_id, dict(act), asked_by)
    answer = await gateway.connector(prepared.body).send(prepared.outgoing, gateway.transport(prepared.body))
    await asyncio.to_thread(worklist_act.conclude, gateway, prepared, answer)
    return answer


def release(work: UnitOfWork, row_id: str) -> None:
    """A human read what the partner holds: the item may be acted on again. Raises `Unknown`, `Conflict`."""
    row = item_row(work, row_id)
    if row.state != "transmitting":
        raise Conflict("worklist-not-transmitting", "Only an item whose transmission was cut is released.")
    change = update(worklist_item).where(worklist_item.c.id == row_id)
    work.connection.execute(change.values(state="open", reason="released"))


def item_row(work: UnitOfWork, row_id: str) -> Row[Any]:
    """One item, locked until the transaction ends. Raises `Unknown` (`worklist-unknown`)."""
    query = select(worklist_item).where(worklist_item.c.id == row_id).with_for_update()
    row = work.connection.execute(query).first()
    if row is None:
        raise Unknown("worklist-unknown", "Check the id against `maillon worklist list`.")
    return row


def content_of(gateway: Gateway, row: Row[Any]) -> Item:
    """The item as it was read."""
    told = json.loads(unseal(gateway.keys.secret("worklist"), row.content, row.id.encode()))
    return Item(**told | {"fetch": tuple(told["fetch"])})
