"""The doors of the console: entering, leaving, proving again who one is, and the accessibility statement."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from gateway import journal
from gateway.console import statement
from gateway.console.blocks import Facts, Form, Link, Notice, Page, Text
from gateway.console.common import AGAIN, FOLDER, Console, safe
from gateway.console.provider import ACCOUNTS, PATH, on_loopback, provider
from gateway.console.signin import ENTRANCE, ROLES, SignIn
from gateway.doors import access_of
from gateway.problems import Problem, Unauthenticated
from gateway.registry import Gateway
from gateway.words import say


class Doors:
    """Sign-in and sign-out of one console."""

    def __init__(self, gateway: Gateway, console: Console) -> None:
        self._gateway, self._console = gateway, console
        settings = gateway.settings
        self._local: Any = None
        if settings.profile != "production" and not settings.console_oidc_issuer and on_loopback(settings.issuer):
            self._local = provider(gateway.keys, f"{settings.issuer}{PATH}", settings.profile, self._provider_page)
        self._sign_in = SignIn(settings, self._local)

    def routes(self) -> list[Route | Mount]:
        """What is open without a session."""
        own = [
            Route(ENTRANCE, self._guard(self.entrance), methods=["GET"]),
            Route("/console/connexion", self._guard(self.leave_for_provider), methods=["GET"]),
            Route("/console/preuve", self._guard(self.prove), methods=["GET"]),
            Route("/console/retour", self._guard(self.come_back), methods=["GET"]),
            Route("/console/sortie", self._guard(self.sign_out), methods=["POST"]),
            Route("/console/accessibilite", self._guard(self.accessibility), methods=["GET"]),
        ]
        mounts = [Mount("/console/static", StaticFiles(directory=FOLDER / "static"))]
        return [*own, *mounts, *([Mount(PATH, self._local)] if self._local is not None else [])]

    def _guard(self, serve: Any) -> Any:
        async def guarded(request: Request) -> Response:
            try:
                answer: Response = await serve(request)
                return answer
            except Problem as problem:
                return await asyncio.to_thread(self._console.refuse, request, problem)

        return guarded

    async def entrance(self, request: Request) -> Response:
        """Choose how to enter; the demonstration offers one door per role."""
        if await asyncio.to_thread(self._console.signed_in, request):
            return RedirectResponse("/console/", 303)
        back = _back(request)
        page = Page(say("entree.titre"), [Text(say("entree.intro"), lead=True)])
        if back.endswith(AGAIN):
            page.blocks.append(Notice(say("entree.terminee"), "wait"))
        if not self._sign_in.configured:
            page.blocks.append(Notice(say("entree.fermee"), "wait"))
            page.status = 503
        elif self._sign_in.local:
            page.blocks.append(Notice(say("entree.demonstration"), "wait"))
            items = [
                (say(f"entree.{role}_quoi"), Link(say(f"entree.{role}"), _connexion(back, role))) for role in ROLES
            ]
            page.blocks.append(Facts(items))
        else:
            page.blocks.append(Facts([(say("entree.compte"), Link(say("entree.connexion"), _connexion(back, "")))]))
        return self._console.page(page, None)

    async def leave_for_provider(self, request: Request) -> Response:
        """Who is signed in stays who she is: a link, from anywhere, changes no session."""
        if await asyncio.to_thread(self._console.signed_in, request):
            return RedirectResponse(_back(request), 303)
        return await self._start(request, again=False)

    async def prove(self, request: Request) -> Response:
        """Sensitive readings ask the account to prove again who it is."""
        if await asyncio.to_thread(self._console.signed_in, request) is None:
            return RedirectResponse(ENTRANCE, 303)
        return await self._start(request, again=True)

    async def _start(self, request: Request, *, again: bool) -> Response:
        if not self._sign_in.configured:
            return RedirectResponse(ENTRANCE, 303)
        access = access_of(self._gateway)  # a session is written down, whoever asks
        access.rates.require("token-address", access.trust.peer(request.scope))
        hint = request.query_params.get("comme", "")
        if again and (session := await asyncio.to_thread(self._console.signed_in, request)):
            hint = next((role for role in ROLES if role in session.roles), "")
        pending = self._sign_in.start(_back(request), again=again)
        address = await self._sign_in.address(pending, hint if hint in ACCOUNTS else "")
        token = await asyncio.to_thread(self._begin, pending, request)
        response = RedirectResponse(address, 303)
        self._console.sessions.give_entering(response, token)
        return response

    def _begin(self, pending: dict[str, str], request: Request) -> str:
        """One sign-in is under way in a browser: the one before it ends."""
        with self._gateway.engine.begin() as connection:
            if before := self._console.sessions.waiting(connection, request):
                self._console.sessions.end(connection, before)
            return self._console.sessions.begin(connection, pending)

    async def come_back(self, request: Request) -> Response:
        """The provider answered: open a session of this account, under a new token."""
        waiting = await asyncio.to_thread(self._waiting, request)
        if waiting is None or waiting.pending is None:
            raise Unauthenticated("sign-in-lost", "Start again from the sign-in page.")
        account = await self._sign_in.finish(waiting.pending, dict(request.query_params))
        token = await asyncio.to_thread(self._open, request, waiting, account)
        response = RedirectResponse(waiting.pending["back"], 303)
        self._console.sessions.give(response, token)
        return response

    def _waiting(self, request: Request) -> Any:
        with self._gateway.engine.connect().execution_options(read_only=True) as connection:
            return self._console.sessions.waiting(connection, request)

    def _open(self, request: Request, waiting: Any, account: Any) -> str:
        """What the cookie stood for until now ends with the sign-in."""
        agent = self._gateway.keys.pseudonym("agent", account.issuer, account.subject)
        with self._gateway.unit_of_work() as work:
            before = self._console.sessions.known(work.connection, request)
            kept = before.kept if before and before.agent == agent else None
            for one in filter(None, (waiting, before)):
                self._console.sessions.end(work.connection, one)
            role = next(role for role in ROLES if role in account.roles)
            journal.append(work, "log.read", agent=agent, agent_role=role, outcome="console-sign-in")
            return self._console.sessions.open(
                work.connection, agent, account.roles, account.proved_at, account.id_token, kept
            )

    async def sign_out(self, request: Request) -> Response:
        """End the session here, then at the provider. Nobody's form is read before there is a session."""
        session = await asyncio.to_thread(self._console.signed_in, request)
        if session is None:
            return RedirectResponse(ENTRANCE, 303)
        form = await self._console.form(request, session)
        if isinstance(form, Response):
            return form
        await asyncio.to_thread(self._end, session)
        response = RedirectResponse(await self._sign_in.farewell(session.id_token), 303)
        self._console.sessions.take_back(response)
        return response

    def _end(self, session: Any) -> None:
        with self._gateway.engine.begin() as connection:
            self._console.sessions.end(connection, session)

    async def accessibility(self, request: Request) -> Response:
        """The accessibility statement, its rate computed from the audit grid."""
        session = await asyncio.to_thread(self._console.signed_in, request)
        return self._console.page(statement.page(), session, "/console/accessibilite")

    def _provider_page(self, asked: dict[str, str], account: str) -> Response:
        """The page of the local provider: which account, and that it is really she."""
        names = [account] if account else list(ACCOUNTS)
        forms = [
            Form(f"{PATH}/authorize", say(f"fournisseur.{name}"), hidden=[*sorted(asked.items()), ("account", name)])
            for name in names
        ]
        page = Page(
            say("fournisseur.titre"),
            [Text(say("fournisseur.preuve" if account else "fournisseur.choix"), lead=True), *forms],
        )
        return self._console.page(page, None)


def _back(request: Request) -> str:
    asked = request.query_params.get("suite", "")
    return asked if safe(asked) else "/console/"


def _connexion(back: str, role: str) -> str:
    asked = {name: value for name, value in (("comme", role), ("suite", back if back != "/console/" else "")) if value}
    return "/console/connexion" + (f"?{urlencode(asked)}" if asked else "")
