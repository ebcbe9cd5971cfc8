"""The HTTP application: OAuth, the partners' doors, the console, and the worker on an embedded database."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import access, api, console
from gateway.committer import Committer
from gateway.journal_files import require_available
from gateway.journal_upkeep import keep_publishing
from gateway.problems import OperatorProblem, Problem
from gateway.registry import Gateway
from gateway.storage.migrate import is_current
from gateway.worker import Worker

log = structlog.get_logger(__name__)


def build(gateway: Gateway, *, embedded_worker: bool = True) -> FastAPI:
    """The application of one process. On SQLite it also delivers; on PostgreSQL, `maillon work` does."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.committer = Committer(gateway.unit_of_work, 1 if gateway.engine.dialect.name == "sqlite" else 4)
        worker = Worker(gateway)
        app.state.wake = worker.wake.set
        closing = asyncio.Event()
        publisher = asyncio.create_task(
            keep_publishing(gateway.engine, gateway.keys, gateway.settings, closing, _not_published)
        )
        deliveries = asyncio.create_task(worker.run()) if embedded_worker else None
        try:
            yield
        finally:
            worker.stopping.set()
            if deliveries is not None:
                await deliveries
            app.state.committer.close()
            closing.set()
            await publisher
            await gateway.close_transports()

    app = FastAPI(
        title="Maillon",
        summary="Passerelle d'échange du diagnostic social et professionnel partagé",
        version="1",
        lifespan=lifespan,
        docs_url="/docs",
        openapi_url="/openapi.json",
    )
    app.state.gateway = gateway
    app.router.routes.extend(access.routes(gateway))
    app.router.routes.extend(api.routes(gateway))
    app.router.routes.extend(console.routes(gateway))
    app.router.routes.extend(_operations(gateway))
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _defect)
    app.middleware("http")(_frame)
    return app


def _not_published(error: Exception) -> None:
    log.error("journal.publish_failed", kind=type(error).__name__)


def _operations(gateway: Gateway) -> list[Route]:
    async def alive(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_: Request) -> Response:
        checks = await asyncio.to_thread(readiness, gateway)
        good = all(checks.values())
        return JSONResponse({"status": "ready" if good else "not-ready", "checks": checks}, 200 if good else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def home(_: Request) -> Response:
        return Response(status_code=307, headers={"Location": "/console/"})

    return [
        Route("/", home, methods=["GET"]),
        Route("/healthz", alive, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


def readiness(gateway: Gateway) -> dict[str, bool]:
    """Can this process take exchanges: database reachable and current, journal publishing."""
    try:
        with gateway.engine.connect().execution_options(read_only=True) as connection:
            connection.execute(text("select 1"))
        database = is_current(gateway.engine)
    except Exception:
        return {"database": False, "journal": False}
    try:
        with gateway.unit_of_work() as work:
            require_available(work, gateway.settings)
    except OperatorProblem:
        return {"database": database, "journal": False}
    return {"database": database, "journal": True}


# --- every answer -----------------------------------------------------------------------------------------


async def _frame(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Headers of every answer; an id that ties an answer to its journal entries."""
    request.state.instance = f"urn:uuid:{uuid.uuid4()}"
    request.state.nonce = secrets.token_urlsafe(16)
    response = await call_next(request)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    response.headers.setdefault("X-Frame-Options", "DENY")
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _answer(request: Request, problem: Problem) -> JSONResponse:
    headers = dict(problem.headers)
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    body = problem.body(getattr(request.state, "instance", None))
    return JSONResponse(body, problem.status, headers, media_type="application/problem+json")


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    if isinstance(error, OperatorProblem):
        log.error("request.refused", code=error.code, status=error.status)
    return _answer(request, error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {"type": "about:blank", "title": error.detail, "status": error.status_code}
    return JSONResponse(body, error.status_code, error.headers, media_type="application/problem+json")


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    where: list[Any] = [{"path": "/".join(map(str, one["loc"])), "code": one["type"]} for one in error.errors()]
    body = {"type": "urn:maillon:problem:invalid", "title": "The content is not valid", "status": 422, "errors": where}
    return JSONResponse(body, 422, media_type="application/problem+json")


async def _defect(request: Request, error: Exception) -> Response:
    log.error("request.defect", kind=type(error).__name__, path=request.scope.get("route_path", ""))
    body = {"type": "urn:maillon:problem:defect", "title": "The gateway failed", "status": 500}
    return JSONResponse(body, 500, media_type="application/problem+json")
