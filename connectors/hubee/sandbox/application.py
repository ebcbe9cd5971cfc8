"""The stand-in of HubEE: its real paths, its tokens, its answers, its failures, in one ASGI application."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from connectors.hubee.demarches import DEMARCHES
from connectors.hubee.digest import sha256
from connectors.hubee.sandbox.envois import Drop
from connectors.hubee.sandbox.objets import CNAF, LANDES, VOISIN, Account, Attachment, Refusal
from connectors.hubee.sandbox.plateforme import Plateforme
from connectors.hubee.sandbox.scenarios import SCENARIOS, Fault

_T, _R = "/teledossiers/v1", "/referential/v1"
_CASE, _EVENT = f"{_T}/cases/{{case}}", f"{_T}/cases/{{case}}/events/{{event}}"
CALLS: tuple[tuple[str, str, str], ...] = (
    ("notifications", "GET", f"{_T}/notifications"),
    ("notification_delete", "DELETE", f"{_T}/notifications/{{id}}"),
    ("folder_create", "POST", f"{_T}/folders"),
    ("folder", "GET", f"{_T}/folders/{{folder}}"),
    ("folder_patch", "PATCH", f"{_T}/folders/{{folder}}"),
    ("folder_delete", "DELETE", f"{_T}/folders/{{folder}}"),
    ("folder_upload", "PUT", f"{_T}/folders/{{folder}}/attachments/{{id}}"),
    ("portal", "PUT", f"{_T}/cases/migrate"),
    ("portal", "GET", f"{_T}/attachmentsIdsForPurge"),
    ("portal", "PUT", f"{_T}/idsPurged"),
    ("case", "GET", _CASE),
    ("case_patch", "PATCH", _CASE),
    ("attachment", "GET", f"{_CASE}/attachments/{{id}}"),
    ("event_create", "POST", f"{_CASE}/events"),
    ("event", "GET", _EVENT),
    ("event_patch", "PATCH", _EVENT),
    ("event_delete", "DELETE", _EVENT),
    ("event_upload", "PUT", f"{_EVENT}/attachments/{{id}}"),
    ("attachment", "GET", f"{_EVENT}/attachments/{{id}}"),
    ("subscriptions", "GET", f"{_R}/subscriptions"),
    ("subscription", "GET", f"{_R}/subscriptions/{{id}}"),
    ("portal", "POST", f"{_R}/subscriptions"),
    ("portal", "PUT", f"{_R}/subscriptions/{{id}}"),
)
_PARTNER = {"editorname": "editorName", "applicationname": "applicationName", "softwareversion": "softwareVersion"}


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived, and what it was answered. `name` is `unmatched` when no documented call is this."""

    name: str
    method: str
    path: str
    process: str
    status: int
    query: Mapping[str, list[str]] = field(repr=False)


class Sandbox:
    """A fake HubEE with invented organisations, an injectable clock and failures on demand.

    `drop` is the sender's side; `hub` the state behind; `received` and `unmatched` what was called; `fail(…)` adds a
    failure; `advance(…)` moves the clock, after which files are purged as documented.
    """

    def __init__(
        self,
        scenario: str | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        expires_in: int = 3600,
        seed: int = 1,
    ) -> None:
        self.scenario = scenario
        self._offset, self._clock, self.expires_in = timedelta(0), now, expires_in
        self.hub = Plateforme(DEMARCHES, self.now, seed)
        for code in DEMARCHES:
            for prefix, organisation in (("si", LANDES), ("si-voisin", VOISIN), ("osl", CNAF)):
                client = f"{prefix}-{code.lower()}"
                self.hub.accounts[client] = Account(client, f"secret-{client}", organisation, code)
        self.drop = Drop(self.hub, (one for one in self.hub.accounts.values() if one.role == "OSL"))
        self.faults = [Fault(**_fields(fault)) for fault in SCENARIOS[scenario].faults] if scenario else []
        self.received: list[Received] = []
        self._tokens: dict[str, tuple[Account, datetime]] = {}
        token = [Route(path, self._token, methods=["POST"]) for path in ("/oauth2/token", "/token")]
        routes = [Route(path, self._endpoint(name), methods=[method]) for name, method, path in CALLS]
        self._app = Starlette(routes=[*token, *routes], exception_handlers={404: self._nothing, 405: self._nothing})

    def now(self) -> datetime:
        return self._clock() + self._offset

    def advance(self, by: timedelta) -> None:
        """Let time pass; what is due for deletion is deleted."""
        self._offset += by
        self.hub.purge()

    def fail(self, kind: Any, call: str = "*", times: int | None = 1, **more: Any) -> Fault:
        """Make a call fail (see `scenarios.Fault`); returns the fault, whose `times` may be set to 0 to end it."""
        self.faults.append(Fault(kind, call, times, **more))
        return self.faults[-1]

    def credentials(self, base_url: str, *demarches: str, organisation: str = "si") -> dict[str, str]:
        """What a connector needs to be configured against this stand-in, for these démarches (those taken)."""
        chosen = demarches or tuple(code for code, one in DEMARCHES.items() if not one.left)
        clients = {code: f"{organisation}-{code.lower()}" for code in chosen}
        return {
            "auth_url": base_url,
            "api_url": base_url,
            "siret": LANDES["companyRegister"],
            "guichet": LANDES["branchCode"],
        } | {DEMARCHES[code].setting: f"{client}:secret-{client}" for code, client in clients.items()}

    @property
    def unmatched(self) -> list[Received]:
        return [call for call in self.received if call.name == "unmatched"]

    def calls(self, name: str) -> list[Received]:
        return [call for call in self.received if call.name == name]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            override = dict(scope["headers"]).get(b"x-http-method-override", b"").decode("latin-1")
            if override and override != "PATCH":
                await _errors(405, "X-HTTP-Method-Override allows PATCH")(scope, receive, send)
                return
            scope = {**scope, "method": override or "POST"}
        await self._app(scope, receive, send)

    # --- tokens ------------------------------------------------------------------------------------------------------

    async def _token(self, request: Request) -> Response:
        client, secret = _basic(request.headers.get("authorization", ""))
        account = self.hub.accounts.get(client)
        process = account.process if account else ""
        form = parse_qs((await request.body()).decode("latin-1"))
        if (fault := self._fault("token", process)) is not None:
            answer = await self._failed(fault)
        elif account is None or secret != account.client_secret:
            answer = JSONResponse({"error": "invalid_client"}, 401)
        elif form.get("grant_type") != ["client_credentials"] or form.get("scope") != [account.role]:
            answer = JSONResponse({"error": "invalid_request"}, 400)
        else:
            value = f"jeton-{len(self._tokens) + 1}-{process}"
            self._tokens[value] = account, self.now() + timedelta(seconds=self.expires_in)
            answer = JSONResponse({"access_token": value, "token_type": "Bearer", "expires_in": self.expires_in})
        self.received.append(Received("token", "POST", request.url.path, process, answer.status_code, {}))
        return answer

    def _account(self, request: Request) -> Account | None:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        account, until = self._tokens.get(bearer, (None, self.now()))
        return account if until > self.now() else None

    # --- calls -------------------------------------------------------------------------------------------------------

    def _endpoint(self, name: str) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            account = self._account(request)
            answer = await self._answer(name, request, account)
            process, query = account.process if account else "", parse_qs(request.url.query)
            call = Received(name, request.method, request.url.path, process, answer.status_code, query)
            self.received.append(call)
            return answer

        return endpoint

    async def _answer(self, name: str, request: Request, account: Account | None) -> Response:
        content = await request.body()
        if account is None:
            return _expired()
        fault = self._fault(name, account.process)
        if fault and fault.kind == "expired":
            self._tokens.pop(request.headers["authorization"].removeprefix("Bearer "))
            return _expired()
        if fault and fault.kind in {"status", "cut_before", "silent", "hidden"}:
            return await self._failed(fault)
        if fault and fault.kind == "duplicate":
            for one in [one for one in self.hub.notifications.values() if one.event is None]:
                folder, case = self.hub.cases[one.case.id]
                self.hub.notify(folder, case, one.recipient)
        self.hub.purge()
        try:
            answer = self._act(name, request, account, content)
        except Refusal as refusal:
            return JSONResponse(refusal.body, refusal.status)
        return _altered(answer, fault)

    async def _failed(self, fault: Fault) -> Response:
        if fault.kind == "silent":
            await asyncio.Event().wait()
        if fault.kind == "cut_before":
            return _Cut(b"{}", 0)
        status = 404 if fault.kind == "hidden" else fault.status
        answer = _errors(status, "case not found" if fault.kind == "hidden" else fault.message)
        answer.headers.update(fault.headers)
        return answer

    def _fault(self, name: str, process: str) -> Fault | None:
        for fault in self.faults:
            matches = fault.call == name or (fault.call == "*" and name != "token")
            if matches and fault.times != 0 and fault.process in {"", process}:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def _act(self, name: str, request: Request, account: Account, content: bytes) -> Response:
        hub, at, query = self.hub, request.path_params, request.query_params
        digest = request.headers.get("digest", "")
        partner = {told: request.headers[raw] for raw, told in _PARTNER.items() if raw in request.headers}
        if long := [f"{told}: 50 at most" for told, value in partner.items() if len(value) > 50]:
            raise Refusal(400, *long)
        if name in {"notifications", "subscriptions"}:
            return self._list(name, request, account)
        if name == "attachment":
            return _file(hub.download(account, at["case"], at["id"], at.get("event", "")))
        if name == "portal":
            raise Refusal(403, "reserved to the portal")
        done: dict[str, Callable[[], None]] = {
            "notification_delete": lambda: hub.forget(account, at["id"]),
            "folder_patch": lambda: hub.patch_folder(account, at["folder"], _json(content)),
            "folder_delete": lambda: hub.delete_folder(account, at["folder"]),
            "folder_upload": lambda: hub.upload(account, at["folder"], at["id"], content, digest),
            "case_patch": lambda: hub.patch_case(account, at["case"], _json(content)),
            "event_patch": lambda: hub.patch_event(account, at["case"], at["event"], _json(content)),
            "event_delete": lambda: hub.delete_event(account, at["case"], at["event"]),
            "event_upload": lambda: hub.upload_to_event(account, at["case"], at["event"], at["id"], content, digest),
        }
        if name in done:
            done[name]()
            return Response(status_code=204)
        mine = account.organisation
        if name == "case":
            folder, case = hub.case(account, at["case"])
            return JSONResponse(folder.case_json(case, mine, lite=query.get("lite") == "true"))
        if name == "event":
            return JSONResponse(hub.event(account, at["case"], at["event"])[2].json(mine))
        if name == "event_create":
            return JSONResponse(hub.create_event(account, at["case"], _json(content), partner).json(mine), 201)
        if name == "folder":
            return JSONResponse(hub.get_folder(account, at["folder"]))
        if name == "folder_create":
            return JSONResponse(hub.create_folder(account, _json(content), partner).json(mine), 201)
        found = [one for one in hub.subscriptions if one.id == at["id"]]
        if not found:
            raise Refusal(404, "subscription not found")
        return JSONResponse(found[0].json())

    def _list(self, name: str, request: Request, account: Account) -> Response:
        query = request.query_params
        processes = [value for key in ("processCode", "processCode[]") for value in query.getlist(key)]
        try:
            most, first = int(query.get("maxResult", "25")), int(query.get("offSet", "0"))
        except ValueError:
            raise Refusal(400, "maxResult and offSet are numbers") from None
        if name == "notifications":
            waiting = self.hub.waiting(account, most, processes)
            return JSONResponse([one.json(query.get("eventDetails") == "true") for one in waiting])
        if account.role != "OSL":
            raise Refusal(403, "reserved to senders")
        found = [
            one
            for one in self.hub.subscriptions
            if (not processes or one.process in processes)
            and query.get("status", one.status) == one.status
            and query.get("companyRegister", one.subscriber["companyRegister"]) == one.subscriber["companyRegister"]
        ]
        order = query.get("orderBy", "asc(processCode)")
        found.sort(key=lambda one: (one.process, one.subscriber["companyRegister"]), reverse=order.startswith("desc"))
        page = found[first : first + most]
        shown = f"{first}-{first + len(page) - 1}" if page else "*"
        return JSONResponse(
            [one.json() for one in page], headers={"Content-Range": f"subscriptions {shown}/{len(found)}"}
        )

    async def _nothing(self, request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        self.received.append(Received("unmatched", request.method, request.url.path, "", status, {}))
        return _errors(status, "no such call")


class _Cut(Response):
    """An answer that announces more than it sends."""

    def __init__(self, content: bytes, sent: int, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status, headers)
        self._sent = sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        await send({"type": "http.response.body", "body": bytes(self.body)[: self._sent], "more_body": False})


class _Slow(Response):
    """An answer that comes in small pieces."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        content = bytes(self.body)
        for start in range(0, len(content), 1024):
            await asyncio.sleep(0.005)
            await send({"type": "http.response.body", "body": content[start : start + 1024], "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _altered(answer: Response, fault: Fault | None) -> Response:
    """The true answer, and what the fault makes of it."""
    kind = fault.kind if fault else ""
    content = bytes(answer.body)
    if kind == "cut_after":
        return _Cut(b"{}", 0)
    if kind == "truncated":
        return _Cut(content, len(content) // 2, answer.status_code, dict(answer.headers))
    if kind == "slow":
        return _Slow(content, answer.status_code, dict(answer.headers))
    if kind == "digest_omitted":
        del answer.headers["digest"]
    elif kind == "digest_wrong":
        answer.headers["digest"] = sha256(content + b"?")
    elif kind == "digest_rfc3230":
        answer.headers["digest"] = f"SHA-256={answer.headers['digest']}"
    return answer


def _fields(fault: Fault) -> dict[str, Any]:
    names = ("kind", "call", "times", "process", "status", "message")
    return {name: getattr(fault, name) for name in names} | {"headers": dict(fault.headers)}


def _file(attachment: Attachment) -> Response:
    headers = {"digest": sha256(attachment.content)}
    return Response(attachment.content, headers=headers, media_type="application/octet-stream")


def _json(content: bytes) -> dict[str, Any]:
    try:
        told = json.loads(content)
    except ValueError:
        raise Refusal(400, "body is not JSON") from None
    if not isinstance(told, dict):
        raise Refusal(400, "body is not an object")
    return told


def _basic(header: str) -> tuple[str, str]:
    try:
        client, _, secret = base64.b64decode(header.removeprefix("Basic "), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return client, secret


def _errors(status: int, message: str) -> Response:
    return JSONResponse({"errors": [{"code": status, "message": message}]}, status)


def _expired() -> Response:
    """The API manager's own words."""
    told = {"fault": {"code": 900901, "message": "Invalid Credentials", "description": "Access failure for API"}}
    return JSONResponse(told, 401)
