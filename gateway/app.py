"""The HTTP application: OAuth, the partners' doors, the console, and the worker on an embedded database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import structlog
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import access, api, audit, clock, console, journal, metrics, notifier, openapi, schedule
from gateway.committer import Committer
from gateway.frame import Frame, answer
from gateway.journal_files import require_available
from gateway.journal_upkeep import keep_publishing, publish_now
from gateway.logs import LastingFailure
from gateway.problems import NotAllowed, OperatorProblem, Problem, Unknown
from gateway.registry import Gateway
from gateway.storage import takes_writing
from gateway.storage.migrate import is_current
from gateway.worker import Worker

log = structlog.get_logger(__name__)
WARM_AFTER = 3.0
"""Seconds after which a process that started prepares what its first document will need."""


def build(gateway: Gateway, *, embedded_worker: bool = True) -> Starlette:
    """The application of one process. On SQLite it also delivers; on PostgreSQL, `maillon work` does."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.committer = Committer(gateway.unit_of_work, 1 if gateway.engine.dialect.name == "sqlite" else 4)
        worker = Worker(gateway)
        app.state.wake = worker.wake.set
        warming = threading.Timer(WARM_AFTER, gateway.warm)
        warming.daemon = True
        warming.start()
        closing = asyncio.Event()
        failure = LastingFailure("journal.publish_failed", "journal.publish_resumed")
        await publish_now(gateway.engine, gateway.keys, gateway.settings, failure)
        publisher = asyncio.create_task(
            keep_publishing(gateway.engine, gateway.keys, gateway.settings, closing, failure)
        )
        scheduled = asyncio.create_task(schedule.run(gateway, closing))
        deliveries = asyncio.create_task(worker.run()) if embedded_worker else None
        notices = asyncio.create_task(notifier.run(gateway, closing, sending=embedded_worker))
        try:
            yield
        finally:
            warming.cancel()
            worker.stopping.set()
            if deliveries is not None:
                await deliveries
            app.state.committer.close()
            closing.set()
            await notices
            await scheduled
            await publisher
            await gateway.close_transports()

    app = Starlette(lifespan=lifespan)
    app.state.gateway = gateway
    app.router.redirect_slashes = False  # a redirect would repeat whatever Host was sent
    for part in (access, api, audit, notifier, console, openapi):
        app.router.routes.extend(part.routes(gateway))
    app.router.routes.extend(_operations(gateway))
    app.router.routes[:] = openapi.negotiated(app.router.routes)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Frame, gateway=gateway)
    return app


def _operations(gateway: Gateway) -> list[Route]:
    async def alive(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_: Request) -> Response:
        checks = await asyncio.to_thread(readiness, gateway)
        good = all(checks.values())
        return JSONResponse({"status": "ready" if good else "not-ready", "checks": checks}, 200 if good else 503)

    async def measured(_: Request) -> Response:
        return Response(metrics.exported(), media_type=CONTENT_TYPE_LATEST)

    async def home(_: Request) -> Response:
        return Response(status_code=307, headers={"Location": "/console/"})

    async def statement(_: Request) -> Response:
        return Response(status_code=307, headers={"Location": "/console/accessibilite"})

    return [
        Route("/", home, methods=["GET"]),
        Route("/accessibilite", statement, methods=["GET"]),
        Route("/console", home, methods=["GET"]),
        Route("/healthz", alive, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
        Route("/metrics", measured, methods=["GET"]),
    ]


def readiness(gateway: Gateway) -> dict[str, bool]:
    """Can this process take exchanges: database reachable, writable and current, date not moved, journal publishing,
    code lists as changed."""
    try:
        with gateway.engine.connect().execution_options(read_only=True) as connection:
            database = takes_writing(connection)
        database = database and is_current(gateway.engine)
    except Exception:
        database = False
    if not database:  # its tables may not be there to be asked
        return {"database": False, "journal": False}
    try:
        with gateway.reading() as work:
            require_available(work, gateway.settings)
            current = not gateway.dossiers.code_lists.stale(work)
    except OperatorProblem:
        return {"database": database, "clock": clock.steady(), "journal": False}
    return {"database": database, "clock": clock.steady(), "journal": True, "code_lists": current}


# --- every answer -----------------------------------------------------------------------------------------


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    if isinstance(error, OperatorProblem):
        log.error("request.refused", code=error.code, status=error.status)
    else:
        await _journaled(request, error)
    return answer(request.scope["state"], error)


async def _journaled(request: Request, problem: Problem) -> None:
    """What an admitted caller is refused enters the journal under the answer's instance, unless it was told already: a
    letter withheld is an `exchange.deny`. Whoever was not admitted is told by `gateway/access/resource.py`."""
    caller = request.scope["state"].get("caller")
    if caller is None or problem.status == 429 or problem.code == "letter-withheld":
        return
    fields = {
        "exchange_id": request.scope["state"]["instance"].removeprefix("urn:uuid:"),
        "sender_org": caller.body,
        "client_id": caller.client_id,
        "outcome": "refused",
        "reason_code": journal.fitting("reason_code", problem.code, "refused"),
    }
    try:
        await request.app.state.committer.submit(lambda work: journal.append(work, "input.reject", **fields))
    except Problem as failed:
        # It stays refused; that it could not be written down is for the operator.
        log.error("input.refusal_not_journaled", code=failed.code, refused=problem.code)


def _allowed(request: Request, error: HTTPException) -> dict[str, str]:
    """Every method that the resource takes (RFC 9110 §15.5.6); the router, which knows those of one route only, tells
    it of what is mounted."""
    found = {
        method
        for route in request.app.routes
        if isinstance(route, Route) and route.path_regex.match(request.scope["path"])
        for method in route.methods or ()
    }
    return {"Allow": ", ".join(sorted(found))} if found else dict(error.headers or {})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return answer(request.scope["state"], NotAllowed("method-not-allowed", headers=_allowed(request, error)))
    if error.status_code == 404:
        return answer(request.scope["state"], Unknown("not-found"))
    body = {"type": "about:blank", "title": HTTPStatus(error.status_code).phrase, "status": error.status_code}
    body |= {"instance": request.scope["state"]["instance"]}
    return JSONResponse(body, error.status_code, error.headers, media_type="application/problem+json")
