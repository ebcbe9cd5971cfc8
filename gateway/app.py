"""The HTTP application: OAuth, the partners' doors, the console, and the worker on an embedded database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Literal

import structlog
from fastapi import Depends, FastAPI, Response
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway import access, api, audit, clock, console, journal, metrics, notifier, openapi, schedule
from gateway.committer import Committer
from gateway.doors import require_accepted
from gateway.frame import Frame, answer
from gateway.journal_files import require_available
from gateway.journal_upkeep import keep_publishing, publish_now
from gateway.logs import LastingFailure
from gateway.problems import Invalid, NotAllowed, OperatorProblem, Problem, Unknown
from gateway.registry import Gateway
from gateway.storage import takes_writing
from gateway.storage.migrate import is_current
from gateway.worker import Worker

log = structlog.get_logger(__name__)
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""Whatever the environment asks for, no trace of a request leaves by another way than ours: it could quote it."""
WARM_AFTER = 3.0
"""Seconds after which a process that started prepares what its first document will need."""


def build(gateway: Gateway, *, embedded_worker: bool = True) -> FastAPI:
    """The application of one process. On SQLite it also delivers; on PostgreSQL, `maillon work` does.

    The partners' doors and the pages are plain routes of it: FastAPI's own cost a quarter of a millisecond each.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
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

    app = FastAPI(
        title="Maillon",
        version="1",
        lifespan=lifespan,
        openapi_url=None,  # `gateway/openapi.py` describes every door, and its page needs no script
        redirect_slashes=False,  # a redirect would repeat whatever Host was sent
        telemetry=_NO_TELEMETRY,
    )
    app.state.gateway = gateway
    for part in (access, api, audit, notifier, console, openapi):
        app.router.routes.extend(part.routes(gateway))
    _operations(app, gateway)
    app.router.routes[:] = openapi.negotiated(app.router.routes)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Frame, gateway=gateway)
    return app


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    status: Literal["ready", "not-ready"]
    checks: dict[str, bool]


_READ = ["GET", "HEAD"]


def _accepting(media: str) -> Any:
    """What a door of FastAPI depends on: that its caller takes the one form of its answer."""

    def accepted(request: Request) -> None:
        require_accepted(request, media)

    return Depends(accepted)


def _operations(app: FastAPI, gateway: Gateway) -> None:
    """For whoever watches over this process, and the way to the console."""

    @app.api_route("/healthz", methods=_READ, dependencies=[_accepting("application/json")])
    async def alive() -> Alive:
        return Alive()

    @app.api_route("/readyz", methods=_READ, dependencies=[_accepting("application/json")])
    async def ready(response: Response) -> Ready:
        checks = await asyncio.to_thread(readiness, gateway)
        good = all(checks.values())
        response.status_code = 200 if good else 503
        return Ready(status="ready" if good else "not-ready", checks=checks)

    @app.api_route("/metrics", methods=_READ, dependencies=[_accepting("text/plain")])
    async def measured() -> Response:
        return Response(metrics.exported(), media_type=CONTENT_TYPE_LATEST)

    @app.api_route("/", methods=_READ)
    @app.api_route("/console", methods=_READ)
    async def home() -> Response:
        return Response(status_code=307, headers={"Location": "/console/"})

    @app.api_route("/accessibilite", methods=_READ)
    async def statement() -> Response:
        return Response(status_code=307, headers={"Location": "/console/accessibilite"})


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
        refused = NotAllowed("method-not-allowed", "`Allow` names those it takes.", headers=_allowed(request, error))
        return answer(request.scope["state"], refused)
    if error.status_code == 404:
        return answer(request.scope["state"], Unknown("not-found", "Check the address: /openapi.json lists them all."))
    body = {"type": "about:blank", "title": HTTPStatus(error.status_code).phrase, "status": error.status_code}
    body |= {"instance": request.scope["state"]["instance"]}
    return JSONResponse(body, error.status_code, error.headers, media_type="application/problem+json")


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    where = [{"path": "/".join(map(str, one["loc"])), "code": one["type"]} for one in error.errors()]
    return answer(request.scope["state"], Invalid("invalid", "Send what the API describes.", errors=where))
