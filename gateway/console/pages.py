"""The pages: what each shows, and the queries behind it."""

from __future__ import annotations

import asyncio
import tomllib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from sqlalchemy import Connection, func, select
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from gateway.registry import Gateway
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.journal import journal_log
from gateway.storage.tables.record import exchange

_FOLDER = Path(__file__).parent
STRINGS: dict[str, dict[str, str]] = tomllib.loads((_FOLDER / "strings.toml").read_text(encoding="utf-8"))
PAGE = 50
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)


def routes(gateway: Gateway) -> list[Route | Mount]:
    """The routes of `/console/`."""
    pages = Pages(gateway)
    return [
        Route("/console/", pages.exchanges, methods=["GET"]),
        Mount("/console/static", StaticFiles(directory=_FOLDER / "static")),
    ]


class Pages:
    """Renders pages from the database of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._templates = Environment(
            loader=PackageLoader("gateway.console"),
            autoescape=select_autoescape(),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["t"] = STRINGS
        self._templates.filters["moment"] = moment
        self._templates.filters["nombre"] = number

    async def exchanges(self, request: Request) -> Response:
        """Every exchange, newest first, with what became of its deliveries."""
        after = request.query_params.get("after", "")
        return await self._render("exchanges.html", lambda connection: _exchanges(connection, self._gateway, after))

    async def _render(self, template: str, query: Callable[[Connection], dict[str, Any]]) -> Response:
        def read() -> str:
            with self._gateway.engine.connect().execution_options(read_only=True) as connection:
                values = query(connection)
            return self._templates.get_template(template).render(**values)

        return HTMLResponse(await asyncio.to_thread(read), headers={"Content-Security-Policy": _POLICY})


def _exchanges(connection: Connection, gateway: Gateway, after: str) -> dict[str, Any]:
    query = select(exchange).order_by(exchange.c.id.desc()).limit(PAGE)
    if after:
        query = query.where(exchange.c.id < after)
    rows = connection.execute(query).all()
    states: dict[str, dict[str, int]] = defaultdict(dict)
    counted = connection.execute(
        select(outbox.c.exchange_id, outbox.c.state, func.count())
        .where(outbox.c.exchange_id.in_([row.id for row in rows]))
        .group_by(outbox.c.exchange_id, outbox.c.state)
    )
    for exchange_id, state, times in counted:
        states[exchange_id][state] = times
    log = connection.execute(select(journal_log).order_by(journal_log.c.size.desc())).first()
    return {
        "rows": [
            {"at": row.received_at, "sender": _name(gateway, row.sender), "document": row.document,
             "records": row.records, "states": sorted(states[row.id].items())}
            for row in rows
        ],
        "older": rows[-1].id if len(rows) == PAGE else "",
        "recipients": _recipients(connection, gateway),
        "log": log,
    }  # fmt: skip


def _recipients(connection: Connection, gateway: Gateway) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(outbox.c.recipient, outbox.c.document, outbox.c.state, outbox.c.reason, outbox.c.article, func.count())
        .group_by(outbox.c.recipient, outbox.c.document, outbox.c.state, outbox.c.reason, outbox.c.article)
        .order_by(outbox.c.recipient, outbox.c.document, outbox.c.state)
    )
    return [
        {"recipient": _name(gateway, recipient), "document": document, "state": state, "reason": reason,
         "article": article, "count": count}
        for recipient, document, state, reason, article, count in rows
    ]  # fmt: skip


def _name(gateway: Gateway, body: str) -> str:
    known = gateway.bodies.get(body)
    return known.name if known else body


def moment(instant: str | None) -> str:
    """`2026-11-21T09:30:00.000000Z` as French readers write it; UTC is said."""
    if not instant:
        return "–"
    return f"{instant[8:10]}/{instant[5:7]}/{instant[:4]} {instant[11:16]} UTC"


def number(value: int) -> str:
    """Thousands apart by a narrow no-break space."""
    return f"{value:,}".replace(",", "\u202f")
