"""Who received somebody's data is told of her erasure by the processes that run, on either database."""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy import select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import clock, erasure
from gateway.access import webhooks
from gateway.demo.stage import Served
from gateway.storage.tables.basis import basis_notification
from gateway.storage.tables.delivery import outbox
from tests.faults.house import House, declaration, eventually


def test_a_notice_leaves_with_the_processes_that_deliver(database: str, tmp_path: Path) -> None:
    received = []

    async def take(request: Request) -> Response:
        body = await request.body()
        key = webhooks.public_text(house.gateway.keys.ed25519("webhook"))
        received.append(webhooks.verify(request.scope["headers"], body, webhooks.Sender.of("g", [key]), lambda _: True))
        return JSONResponse({"received_at": clock.instant(), "action_done": json.loads(body)["action"]})

    server = Served(Starlette(routes=[Route("/notices", take, methods=["POST"])]))
    server.start()
    house = House(tmp_path / "home", database, extra={"notifications_url": f"{server.url}/notices"})
    try:
        house.furnish().gateway.keys.ed25519("webhook")
        person = house.says([declaration(1)])[0].persons[0]
        running = [house.serve(), *([house.work()] if database else [])]
        eventually(lambda: house.count(outbox, outbox.c.state == "delivered") == 1)
        with house.gateway.unit_of_work() as work:
            erasure.erase(work, house.gateway, person, forced_by="ab" * 32)
        done = basis_notification.c.state == "done", basis_notification.c.recipient == "guichet"
        eventually(lambda: house.count(basis_notification, *done) == 1, timeout=60)
        with house.gateway.engine.connect() as connection:
            told = connection.execute(select(basis_notification.c.id).where(*done)).scalars().all()
        assert [one.id for one in received] == told
        for one in running:
            one.terminate()
            one.wait(40)
    finally:
        house.close()
        server.stop()
