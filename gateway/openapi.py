"""What the HTTP doors say of themselves: OpenAPI 3.1 at `/openapi.json`, and the same for people at `/docs`.

The doors are plain routes, so the description is a table of its own; a test compares it with the routes both ways, and
another calls every operation and refuses an answer that is not described here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.audit import TouchedBy, WhoIs
from gateway.doors import MAX_BODY, conditional, require_accepted
from gateway.openapi_tables import (
    COMMON,
    NOTHING,
    OPERATIONS,
    PARAMETERS,
    PROBLEMS,
    SCHEMAS,
    TAGS,
    Operation,
    param,
    read_by,
    takes,
)
from gateway.registry import Gateway

_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"
_FOLDER = Path(__file__).parent / "docs_page"
_AUDIT = "/v1/audit/"
_PACK = "/v1/audit/exchanges/{id}/evidence"
_PERIOD, _PAGE = ("From", "To"), ("After", "Limit")
_ASKED = {
    "persons/{ref}/history": ("Place", "Limit"), "subjects/{subject}/history": ("Place", "Limit"),
    "exchanges/{id}": ("Place", "Limit"),
    "decisions/replay": ("Policy",), "decisions/period": _PERIOD, "denials": _PERIOD, "lookups": _PERIOD,
    "categories": _PERIOD, "register": _PERIOD, "consents": _PAGE, "requests": _PAGE,
}  # fmt: skip
"""What the officer's doors take in the query."""
_TAKEN: dict[str, Any] = {
    "search": takes("Search"),
    "decisions/replay": takes("DecisionRecord"),
    "decisions/period": {"required": True, "content": {"application/toml": {"schema": {"type": "string"}}}},
    "breaches/touched": takes("TouchedBy"),
    "reidentifications": takes("WhoIs"),
}
"""What they take in the body; the others of POST take none."""
_SCHEMAS = SCHEMAS | read_by(TouchedBy=TouchedBy, WhoIs=WhoIs)


def routes(gateway: Gateway) -> list[Route]:
    """`/openapi.json`, `/docs` and its style sheet: no script, nothing from elsewhere."""
    pages = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
    )

    @cache
    def written(app: Starlette) -> tuple[bytes, str]:
        """For programs and for people. Once: anybody may ask, and nothing in it changes while the process runs."""
        api = description(gateway, app.routes)
        return json.dumps(api, ensure_ascii=False).encode(), pages.get_template("docs.html").render(
            api=api, members=_members
        )

    async def openapi(http: HttpRequest) -> Response:
        require_accepted(http, "application/json")
        content, _ = written(http.app)
        return conditional(http, Response(content, media_type="application/json", headers=_open()))

    async def docs(http: HttpRequest) -> Response:
        _, page = written(http.app)
        return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})

    async def style(_: HttpRequest) -> Response:
        return Response((_FOLDER / "docs.css").read_bytes(), media_type="text/css", headers=_open())

    return [
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
        Route("/docs.css", style, methods=["GET"]),
    ]


def negotiated(routed: list[Any]) -> list[Any]:
    """The same doors, each closed with 406 to whoever accepts no form of its answer (RFC 9110 §12.5.1).

    The form is the one described. A door that chooses it itself, or answers nothing, stays as it was; one of FastAPI's
    says by a dependency what it takes.
    """
    forms = {(one.method.upper(), one.path): one.form for one in (*OPERATIONS, *_audit(routed))}
    return [_negotiated(route, forms) if type(route) is Route else route for route in routed]


def _negotiated(route: Route, forms: dict[tuple[str, str], str]) -> Route:
    (method,) = (route.methods or set()) - {"HEAD"}
    form = forms.get((method, route.path.replace(":path}", "}")))
    if not form:
        return route
    return Route(route.path, route.endpoint, methods=[method], middleware=[Middleware(_Negotiated, form=form)])


class _Negotiated:
    def __init__(self, app: ASGIApp, form: str) -> None:
        self.app, self.form = app, form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        require_accepted(HttpRequest(scope), self.form)
        await self.app(scope, receive, send)


def _open() -> dict[str, str]:
    return {"Cache-Control": "public, max-age=60"}


def description(gateway: Gateway, routed: list[Any]) -> dict[str, Any]:
    """The OpenAPI document of this gateway. `routed`: the routes of the application, for those of the audit."""
    base = gateway.settings.issuer.rstrip("/")
    paths: dict[str, dict[str, Any]] = {}
    for one in (*OPERATIONS, *_audit(routed)):
        paths.setdefault(one.path, {})[one.method] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Maillon",
            "version": "1",
            "summary": "Exchange gateway of the shared social and employment diagnosis",
            "description": "Every error is an RFC 9457 problem with a stable `type` and an `instance` that the "
            "journal knows; none repeats a value that was sent. Tokens: see `/.well-known/oauth-authorization-server`.",
            "license": {"name": "EUPL-1.2", "identifier": "EUPL-1.2"},
        },
        "servers": [{"url": base}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "parameters": PARAMETERS,
            "responses": {f"Problem{status}": _problem(text) for status, text in PROBLEMS.items()},
            "securitySchemes": {
                "token": {
                    "type": "oauth2",
                    "description": "`Authorization: DPoP <token>` with a `DPoP` proof (RFC 9449), or one bound to a "
                    "certificate as `Bearer` over mutual TLS (RFC 8705).",
                    "flows": {
                        "clientCredentials": {
                            "tokenUrl": f"{base}/oauth/token",
                            "scopes": {
                                "exchange": "Exchanges, mailbox and persons, for the purposes of the token.",
                                "journal": "The journal's files.",
                                "audit": "The data protection officer's doors.",
                            },
                        }
                    },
                }
            },
        },
    }


def _operation(one: Operation) -> dict[str, Any]:
    problems = {*COMMON, *one.problems, *((401, 403) if one.scope else ()), *((406,) if one.form else ())}
    responses: dict[str, Any] = {str(status): answer for status, answer in one.answers.items()}
    for status in sorted(problems - one.answers.keys()):
        responses[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
    told: dict[str, Any] = {
        "operationId": one.id,
        "summary": one.summary,
        "tags": [one.tag],
        "security": [{"token": [one.scope]}] if one.scope else [],
        "responses": dict(sorted(responses.items())),
    }
    if one.description:
        told["description"] = one.description
    if one.parameters:
        told["parameters"] = list(one.parameters)
    if one.body:
        told["requestBody"] = one.body
    return told


def _members(schema: dict[str, Any], within: str = "") -> Iterator[tuple[str, bool, str]]:
    """Path, need and meaning of all that a body may hold, for people; of alternatives, one after the other."""
    schema = _SCHEMAS.get(schema.get("$ref", "").rpartition("/")[2], schema)
    for one in schema.get("anyOf", ()):
        yield from _members(one, within)
    if "items" in schema:
        yield from _members(schema["items"], f"{within}[]")
    for name, told in schema.get("properties", {}).items():
        path = f"{within}.{name}".removeprefix(".")
        said = (", ".join(filter(None, told.get("enum", ()))), told.get("description", ""))
        yield path, name in schema.get("required", ()), ". ".join(filter(None, said))
        yield from _members(told, path)


def _problem(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _form(path: str) -> str:
    return "application/zip" if path == _PACK else "application/json"


def _audit(routed: list[Any]) -> list[Operation]:
    """The officer's doors, described from their routes: their answers are objects of counts, codes and pseudonyms."""
    found = []
    for route in routed:
        if not isinstance(route, Route) or not route.path.startswith(_AUDIT):
            continue
        for method in sorted((route.methods or set()) - {"HEAD"}):
            door = route.path.removeprefix(_AUDIT)
            asked = param(*_ASKED.get(door, ()))
            words = [word for word in route.path.removeprefix("/v1/").split("/") if not word.startswith("{")]
            named = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in route.param_convertors
            ]
            found.append(
                Operation(
                    method.lower(), route.path, "_".join([method.lower(), *words, *route.param_convertors]),
                    (route.endpoint.__doc__ or "").strip().splitlines()[0], "audit",
                    answers={200: {"description": "What was asked.", "content": {_form(route.path): {}}}},
                    problems=(404, 409, 413, 415, 422, 503), scope="audit", parameters=(*named, *asked),
                    body=_TAKEN.get(door, NOTHING) if method == "POST" else None,
                )
            )  # fmt: skip
    return found


assert MAX_BODY == 8 * 1024 * 1024, "the size told in openapi_tables.py"
