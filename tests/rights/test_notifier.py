"""What past recipients are told: by signed webhook, or by a letter in their mailbox; and what they answer."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.transport import LOOPBACK, Transport
from gateway import basis, clock, erasure, journal, notification, notifier
from gateway.access import webhooks
from gateway.app import build
from gateway.storage.tables.basis import basis_notification
from tests.rights.conftest import Office, known

URL = "http://127.0.0.1:8999/notifications"


class Server:
    """A body's own server: checks each signature, and answers as told."""

    def __init__(self, office: Office, body: str) -> None:
        self.answer: Any = lambda told: {"received_at": clock.instant(), "action_done": told["action"]}
        self.received: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.called = asyncio.Event()
        self._sender = webhooks.Sender.of("gateway", [webhooks.public_text(office.gateway.keys.ed25519("webhook"))])
        app = Starlette(routes=[Route("/notifications", self.take, methods=["POST"])])
        wire = httpx.ASGITransport(app)
        office.gateway.transports[body] = Transport(body, [URL], networks=LOOPBACK, wire=wire)
        office.gateway.settings.bodies[body] = {"notifications_url": URL}

    async def take(self, request: Request) -> Response:
        content = await request.body()
        received = webhooks.verify(request.scope["headers"], content, self._sender, lambda _: True)
        told = json.loads(content)
        assert received.id == told["id"]
        self.received.append(told)
        self.ids.append(received.id)
        self.called.set()
        answer = self.answer(told)
        return answer if isinstance(answer, Response) else JSONResponse(answer)


@pytest.fixture
async def limited(both: Office) -> str:
    """A person whose data two bodies hold asks for a limitation; the id of its record."""
    from gateway import rights

    marie = await known(both)
    with both.gateway.unit_of_work() as work:
        return rights.limit(work, both.gateway, both.record("limitation", marie, regime="", purpose="")).id


def told(office: Office, record: str) -> dict[str, notification.Notification]:
    with office.gateway.unit_of_work() as work:
        return {one.recipient: one for one in notification.of_record(work, record)}


def make_due(office: Office) -> None:
    with office.gateway.unit_of_work() as work:
        work.connection.execute(basis_notification.update().values(next_at="2026-01-01T00:00:00.000000Z"))


async def test_a_body_with_a_server_gets_a_signed_webhook_and_its_answer_is_kept(both: Office, limited: str) -> None:
    server = Server(both, "ccas")
    await notifier.round_(both.gateway)
    (one,) = server.received
    assert (one["event"], one["action"]) == ("right.limit", "limit")
    assert "CANARI" not in json.dumps(one)
    assert told(both, limited)["ccas"].state == "done"
    make_due(both)
    await notifier.round_(both.gateway)
    assert len(server.received) == 1


async def test_a_lawful_refusal_becomes_a_task_of_the_officer(both: Office, limited: str) -> None:
    server = Server(both, "ccas")
    server.answer = lambda _: {"received_at": clock.instant(), "lawful_refusal": "kept-by-law", "article": "RGPD 18(2)"}
    await notifier.round_(both.gateway)
    with both.gateway.unit_of_work() as work:
        (task,) = notification.dpo_tasks(work)
        (entry,) = journal.of_period(work.connection, "2000", "3000", event="right.answer")
    assert (task.recipient, task.state) == ("ccas", "refused")
    assert entry.fields["article"] == "RGPD 18(2)"


@pytest.mark.parametrize(
    "bad",
    [
        Response(status_code=500),
        Response("<html>", 200),
        {"action_done": "erase"},
        {},
        Response('{"received_at": 1e400, "action_done": "limit"}', 200),
        Response('{"received_at": 9007199254740993, "action_done": "limit"}', 200),
        Response('{"received_at": "\\ud800", "action_done": "limit"}', 200),
        Response('{"received_at": ' + "[" * 100_000, 200),
        Response('{"received_at": "2026-11-22", "lawful_refusal": "x", "article": {"RGPD": 18}}', 200),
    ],
)
async def test_no_good_answer_is_tried_again_under_the_same_id_for_thirty_days(
    both: Office, limited: str, bad: Any
) -> None:
    server = Server(both, "ccas")
    server.answer = lambda _: bad
    for _ in range(3):
        await notifier.round_(both.gateway)
        make_due(both)
    assert len(server.ids) == 3
    assert len(set(server.ids)) == 1
    assert told(both, limited)["ccas"].state == "queued"
    with both.gateway.unit_of_work() as work:
        past = clock.instant(clock.now() - timedelta(seconds=1))
        work.connection.execute(basis_notification.update().values(give_up_at=past))
    await notifier.round_(both.gateway)
    with both.gateway.unit_of_work() as work:
        assert "ccas" in {one.recipient for one in notification.dpo_tasks(work)}


async def test_a_body_without_a_server_finds_a_letter_and_acknowledging_it_answers(office: Office) -> None:
    marie = await known(office)
    with office.gateway.unit_of_work() as work:
        erased = erasure.erase(work, office.gateway, marie, forced_by="ab" * 32)
    await notifier.round_(office.gateway)
    app = build(office.gateway, embedded_worker=False)
    async with app.router.lifespan_context(app), office.client("ccas", app) as ccas:
        (letter,) = (await ccas.get("/v1/inbox")).raise_for_status().json()["letters"]
        assert letter["document"] == "maillon.notification"
        content = (await ccas.get(f"/v1/inbox/{letter['id']}/document")).raise_for_status().json()
        assert (content["action"], content["subject_ref"]) == ("erase", office.gateway.keys.pseudonym("ccas", marie))
        make_due(office)
        await notifier.round_(office.gateway)
        assert told(office, erased.id)["ccas"].state == "queued"
        (await ccas.post(f"/v1/inbox/{letter['id']}/ack")).raise_for_status()
    make_due(office)
    await notifier.round_(office.gateway)
    assert told(office, erased.id)["ccas"].state == "done"
    assert told(office, erased.id)["departement"].state == "queued"


async def test_a_letter_acknowledged_after_the_thirty_days_is_heard(both: Office, limited: str) -> None:
    await notifier.round_(both.gateway)
    with both.gateway.unit_of_work() as work:
        work.connection.execute(basis_notification.update().values(give_up_at="2026-01-01T00:00:00.000000Z"))
    make_due(both)
    await notifier.round_(both.gateway)
    assert {one.state for one in told(both, limited).values()} == {"dpo_task"}
    app = build(both.gateway, embedded_worker=False)
    async with app.router.lifespan_context(app), both.client("ccas", app) as ccas:
        letters = (await ccas.get("/v1/inbox")).raise_for_status().json()["letters"]
        (letter,) = [one for one in letters if one["document"] == "maillon.notification"]
        (await ccas.post(f"/v1/inbox/{letter['id']}/ack")).raise_for_status()
    assert {body: one.state for body, one in told(both, limited).items()} == {"ccas": "done", "departement": "dpo_task"}


async def test_a_body_answers_later_and_nobody_answers_for_another(office: Office) -> None:
    from gateway import rights

    marie = await known(office)
    with office.gateway.unit_of_work() as work:
        record = rights.limit(work, office.gateway, office.record("limitation", marie, regime="", purpose="")).id
    await notifier.round_(office.gateway)
    identifier = told(office, record)["ccas"].id
    app = build(office.gateway, embedded_worker=False)
    if not any(getattr(one, "path", "") == "/v1/notifications/{id}/answer" for one in app.router.routes):
        app.router.routes.extend(notifier.routes(office.gateway))
    said = {"received_at": clock.instant(), "action_done": "limit"}
    async with app.router.lifespan_context(app):
        async with office.client("departement", app) as other:
            assert (await other.post(f"/v1/notifications/{identifier}/answer", json=said)).status_code == 404
        async with office.client("ccas", app) as ccas:
            for _ in range(2):
                answer = await ccas.post(f"/v1/notifications/{identifier}/answer", json=said)
                assert answer.raise_for_status().json() == {"state": "done"}
            changed = said | {"received_at": "2026-01-01T00:00:00Z"}
            assert (await ccas.post(f"/v1/notifications/{identifier}/answer", json=changed)).status_code == 409
            assert (await ccas.post(f"/v1/notifications/{identifier}/answer", json={"x": "y"})).status_code == 422


async def test_the_loop_sends_writes_down_expired_consents_and_stops(office: Office) -> None:
    server = Server(office, "ccas")
    marie = await known(office)
    work = office.gateway.unit_of_work()
    work.now = "2025-01-01T00:00:00.000000Z"
    with work:
        consent = basis.record(work, office.consent(marie, "2025-06-01T00:00:00Z"), decision="given").id
    with office.gateway.unit_of_work() as work:
        erasure.erase(work, office.gateway, marie, forced_by="ab" * 32)
    stopping = asyncio.Event()
    loop = asyncio.create_task(notifier.run(office.gateway, stopping, pause=0.01))
    await asyncio.wait_for(server.called.wait(), 30)
    stopping.set()
    await asyncio.wait_for(loop, 60)
    with office.gateway.unit_of_work() as work:
        assert basis.read(work, consent)["state"] == "expired"
        rows = work.connection.execute(select(basis_notification.c.state)).scalars().all()
    assert "done" in rows
