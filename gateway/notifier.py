"""Telling past recipients what they must stop, limit, correct or erase, until each has answered (GDPR 7(3), 19).

The rows come from `notification.py`. A body with a server (`notifications_url` in its settings) gets a signed webhook
(Standard Webhooks, Ed25519) and answers in its reply, or later through `POST /v1/notifications/{id}/answer`. Any other
body gets a letter, `maillon.notification`, in its mailbox; acknowledging it says that the action is done.

Each attempt is counted before it is made: a crash in between leaves a notification that is sent again under the same
id. After thirty days without an answer it is a task for the DPO.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from typing import Any

import structlog
from sqlalchemy import insert, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import basis, clock, erasure, journal, notification
from gateway.access import authenticate, webhooks
from gateway.doors import read_json
from gateway.inbox import NOTICE
from gateway.logs import LastingFailure
from gateway.notification import Notification
from gateway.problems import CallerProblem
from gateway.registry import Gateway
from gateway.storage.tables.delivery import mailbox
from gateway.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)

BATCH = 50
UPKEEP = 60.0
"""Seconds between two looks at consents past their time and at erasures of other machines."""
_DEADLINE = 10.0
"""Seconds for a webhook and its whole answer, tries included."""


def routes(gateway: Gateway) -> list[Route]:
    """`POST /v1/notifications/{id}/answer`: what a body did of what it was told."""

    async def answer_(http: Request) -> Response:
        caller = await authenticate(http, purpose=False)
        said = await read_json(http)
        identifier = http.path_params["id"]
        state = await http.app.state.committer.submit(lambda work: answer(work, caller.body, identifier, said))
        return JSONResponse({"state": state})

    return [Route("/v1/notifications/{id}/answer", answer_, methods=["POST"])]


async def run(
    gateway: Gateway,
    stopping: asyncio.Event,
    pause: float = 5.0,
    *,
    sending: bool = True,
    only: Collection[str] = (),
) -> None:
    """Send what is due (to these bodies only, if some are named), and do the upkeep, until `stopping` is set. A failure
    is told and tried again."""
    upkeep_at = float("-inf")
    failure = LastingFailure("notifier.failed", "notifier.resumed")
    while not stopping.is_set():
        now = asyncio.get_running_loop().time()
        try:
            if now - upkeep_at >= UPKEEP:
                upkeep_at = now
                await asyncio.to_thread(upkeep, gateway)
            sent = await round_(gateway, only) if sending else 0
            failure.over()
        except Exception as error:  # whatever it is, no notice would ever leave this process again
            failure.met(error)
            sent = 0
        if sent < BATCH:
            try:
                await asyncio.wait_for(stopping.wait(), timeout=pause)
            except TimeoutError:
                continue


def upkeep(gateway: Gateway) -> None:
    """Write down the consents that came to their end; make the lists of erased persons agree."""
    with gateway.unit_of_work() as work:
        basis.expire_due(work)
    erasure.reconcile(gateway)


async def round_(gateway: Gateway, only: Collection[str] = ()) -> int:
    """One batch of what is due: letters are left, webhooks sent; gives how many were tried."""
    due = await asyncio.to_thread(_claim, gateway, only)
    answers = await asyncio.gather(*(_send(gateway, one) for one in due))
    for one, answer in zip(due, answers, strict=True):
        if answer is not None:
            await asyncio.to_thread(_take, gateway, one, answer)
    return len(due)


def answer(work: UnitOfWork, body: str, identifier: str, said: Any) -> str:
    """What a body answers to what it was told; the new state. Raises `Unknown` (also for another body's), `Invalid`,
    `Conflict`."""
    told = notification.of_recipient(work, identifier, body)
    state = notification.answered(work, identifier, said)
    if told.answer is None:
        _log(work, told, "right.answer", outcome=state, article=said.get("article"))
    return state


def acknowledged(work: UnitOfWork, body: str, identifier: str) -> None:
    """A body took in the letter that told it: what it had to do is done, though its thirty days be over."""
    told = notification.of_recipient(work, identifier, body)
    if told.answer is None:
        answer(work, body, identifier, {"received_at": work.now, "action_done": told.action})


def _claim(gateway: Gateway, only: Collection[str]) -> list[Notification]:
    """Count an attempt for each notification due. Letters are left and their acknowledgements read here; what remains
    is to be sent over the network."""
    with gateway.unit_of_work() as work:
        due = notification.due(work, BATCH, only)
        for one in due:
            if one.attempts == 0:
                _log(work, one, "exchange.deliver", document=NOTICE, outcome="sending")
            if not _url(gateway, one.recipient) and _by_letter(work, one):
                continue
            if notification.failed(work, one.id) == "dpo_task":
                _log(work, one, "right.answer", outcome="dpo-task", reason_code="no-answer")
    return due


def _by_letter(work: UnitOfWork, one: Notification) -> bool:
    """Leave the letter, once; True when it was acknowledged."""
    letter = work.connection.execute(select(mailbox.c.acknowledged_at).where(mailbox.c.delivery_id == one.id)).first()
    if letter is None:
        content = json.dumps({"document": NOTICE, "id": one.id} | dict(one.content), sort_keys=True)
        work.connection.execute(
            insert(mailbox).values(
                id=clock.new_id(), body=one.recipient, person_id="", document=NOTICE, content_type="application/json",
                content=content.encode(), delivery_id=one.id, created_at=work.now,
            )
        )  # fmt: skip
        return False
    if letter.acknowledged_at is None:
        return False
    answer(work, one.recipient, one.id, {"received_at": letter.acknowledged_at, "action_done": one.action})
    return True


async def _send(gateway: Gateway, one: Notification) -> Mapping[str, Any] | None:
    """Send a webhook; the answer of the body if it gives one at once."""
    url = _url(gateway, one.recipient)
    if not url:
        return None
    body = json.dumps({"id": one.id} | dict(one.content), sort_keys=True).encode()
    headers = webhooks.sign(gateway.keys.ed25519("webhook"), one.id, body) | {"content-type": "application/json"}
    try:
        way = gateway.transport(one.recipient)
        reply = await way.request("POST", url, content=body, headers=headers, deadline=_DEADLINE)
        said = reply.json() if reply.status == 200 and reply.content else None
    except Exception as error:  # whatever one body answers costs its own notification a try, never those of the others
        log.warning("notifier.not_answered", notification=one.id, recipient=one.recipient, kind=type(error).__name__)
        return None
    return said if isinstance(said, dict) else None


def _take(gateway: Gateway, one: Notification, said: Mapping[str, Any]) -> None:
    try:
        with gateway.unit_of_work() as work:
            answer(work, one.recipient, one.id, said)
    except CallerProblem as problem:
        log.warning("notifier.answer_refused", notification=one.id, recipient=one.recipient, code=problem.code)


def _url(gateway: Gateway, body: str) -> str:
    return gateway.settings.bodies.get(body, {}).get("notifications_url", "")


def _log(work: UnitOfWork, one: Notification, event: str, **fields: Any) -> None:
    article = fields.pop("article", None)
    journal.append(
        work, event, recipient_org=one.recipient, subject=str(one.content["subject_ref"]), object_ref=one.record_id,
        article=journal.fitting("article", article) if article else None, **fields,
    )  # fmt: skip
