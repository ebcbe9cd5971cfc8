"""What every page shares: who may open it, one transaction to read or to write, one frame to show it in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import structlog
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway import clock, journal, words
from gateway.console.blocks import Code, Form, Lines, Link, Notice, Page, Text
from gateway.console.session import IDLE, Kept, Session, Sessions, same
from gateway.frame import AWAY
from gateway.problems import OperatorProblem, Problem, Unknown, where
from gateway.registry import Gateway
from gateway.storage import unreachable
from gateway.unit_of_work import UnitOfWork
from gateway.words import say, word

log = structlog.get_logger(__name__)
FOLDER = Path(__file__).parent
PAGE = 50
"""Rows of a list shown at once."""
MAX_FORM = 64 * 1024
HOME = "/console/"
AGAIN = "a_refaire"
"""What was sent could not be done before its account signed in, or proved who it is: it is to be sent again."""
_FILLED = "a_renvoyer"
"""The same, and what was typed is back in the form."""
_NOTHING_DONE = {AGAIN, _FILLED, "deja_fait", "rien", "rien_rejoue", "deja_suspendu", "deja_repris"}
_NUMBER = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
REFRESH = 5
"""Seconds between two looks at a page that is followed live."""
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'{provider}; frame-ancestors 'none'; "
    "base-uri 'none'"
)
"""`{provider}`: leaving the console is a form that ends at the provider of accounts."""
DPO = "dpo"
"""The body in whose name the console refers to persons: its references are its own."""


@dataclass
class View:
    """One request to one page: the transaction it reads in, who asks, and what was asked."""

    request: Request
    gateway: Gateway
    session: Session
    work: UnitOfWork
    form: FormData | None = None
    read: list[tuple[str, dict[str, Any]]] | None = None
    """What is to be written down of what was only read, once it was; None where this transaction writes."""
    _told: dict[str, str] = field(default_factory=dict)

    @property
    def connection(self) -> Any:
        return self.work.connection

    def asked(self, name: str, otherwise: str = "") -> str:
        """A value of the address, cut to a length that any of them has."""
        return _text(self.request.query_params.get(name, otherwise))[:200]

    def given(self, name: str, most: int = 500) -> str:
        """A value of the form, cut to `most` characters."""
        value = self.form.get(name) if self.form is not None else None
        return _text(value).strip()[:most] if isinstance(value, str) else ""

    def at(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def body(self, id: str) -> str:
        """The display name of a body."""
        known = self.gateway.bodies.get(id)
        return known.name if known else id

    def document(self, id: str) -> Lines:
        """A document by its title, with the id that commands and manifests know it by."""
        title = self.gateway.title(id)
        return Lines([title, Code(id)] if title != id else [Code(id)])

    def reference(self, person: str) -> str:
        """The console's own reference of a person; it names her to nobody else."""
        return self.gateway.keys.pseudonym(DPO, person)

    def person(self, id: str) -> Link | str:
        """A person by her reference, and the way to her page if it was ever given out."""
        ref = self.reference(id)
        shown = say("bases.personne", n=ref[:8])
        known = self.gateway.references.find(self.work, DPO, ref) is not None
        return Link(shown, f"/console/personne/{ref}") if known else shown

    def further(self, table: str, **asked: str) -> str:
        """The address of the next page of one table: where the reader is in the others is kept."""
        kept = {name: value for name, value in self.request.query_params.items() if name not in ("fait", "n")}
        return f"?{urlencode(kept | asked)}#{table}"

    @property
    def by(self) -> dict[str, str]:
        """This account, as the journal names it."""
        return {"agent": self.session.agent, "agent_role": next((one for one in MENU if one in self.session.roles), "")}

    def journal(self, event: str, **fields: Any) -> None:
        """Write down what this account did or read."""
        if self.read is None:
            journal.append(self.work, event, **self.by | fields)
        else:
            self.read.append((event, self.by | fields))


@dataclass(frozen=True, slots=True)
class Go:
    """The answer to a form: another page, and the sentence it starts with (a key of `[fait]`)."""

    href: str
    done: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Download:
    """The answer is a file."""

    content: bytes
    media: str
    name: str


Answer = Page | Go | Download
Handler = Callable[[View], Answer]


@dataclass(frozen=True, slots=True)
class Place:
    """One page of the console: where it is, who may open it, what it does."""

    path: str
    handler: Handler
    roles: tuple[str, ...]
    method: str = "GET"
    fresh: bool = False
    """Only for an account that proved who it is a moment ago."""
    writes: bool = False
    """A reading that writes more than its trace: a reference given out, a copy handed over."""
    apart: bool = False
    """A form that opens its own transactions, or only leaves a trace of what it read; the view's only reads."""
    upload: int = 0
    """Largest file taken, in bytes."""
    unsaid: bool = False
    """What is typed in its form is never shown back."""


MENU: dict[str, tuple[tuple[str, str], ...]] = {
    "dpo": (
        ("menu.registre", "/console/registre"),
        ("menu.personne", "/console/personne"),
        ("menu.conventions", "/console/conventions"),
        ("menu.bases", "/console/bases"),
        ("menu.droits", "/console/droits"),
        ("menu.violations", "/console/violations"),
        ("menu.reidentification", "/console/reidentification"),
        ("menu.integrite", "/console/integrite"),
        ("menu.conservation", "/console/conservation"),
        ("menu.anomalies", "/console/anomalies"),
        ("menu.minimisation", "/console/minimisation"),
        ("menu.double_saisie", "/console/double-saisie"),
        ("menu.correspondances", "/console/correspondances"),
        ("menu.decision", "/console/decision"),
        ("menu.registres", "/console/registres"),
    ),
    "integration": (
        ("menu.quarantaine", "/console/quarantaine"),
        ("menu.identites", "/console/identites"),
        ("menu.divergences", "/console/divergences"),
        ("menu.double_saisie", "/console/double-saisie"),
        ("menu.connecteurs", "/console/connecteurs"),
        ("menu.explorateur", "/console/explorateur"),
        ("menu.essai", "/console/essai"),
    ),
    "operateur": (
        ("menu.partenaires", "/console/partenaires"),
        ("menu.abandonnes", "/console/abandonnes"),
        ("menu.fichiers", "/console/fichiers"),
        ("menu.etat", "/console/etat"),
    ),
}
"""Role → its pages, in the order of the menu."""


class Console:
    """Draws the pages of one gateway, for the accounts that may open them."""

    def __init__(self, gateway: Gateway, pages: Collection[str]) -> None:
        """`pages`: the paths that can be read, as their places write them."""
        self.gateway = gateway
        self._pages = pages
        self.sessions = Sessions(gateway.keys, gateway.settings.issuer.startswith("https://"))
        provider = urlsplit(gateway.settings.console_oidc_issuer)
        self._policy = _POLICY.format(provider=f" {provider.scheme}://{provider.netloc}" if provider.netloc else "")
        self._readers = gateway.engine.execution_options(read_only=True)

    @cached_property
    def templates(self) -> Environment:
        made = Environment(
            loader=PackageLoader("gateway.console"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        made.globals |= {"say": say, "many": words.many, "word": word}
        made.filters |= {"role_name": _role_name, "morceaux": _parts, "moment": words.moment, "nombre": words.number}
        return made

    # --- routes -----------------------------------------------------------------------------------------------------

    def route(self, place: Place) -> Route:
        """The Starlette route of a page."""

        async def serve(request: Request) -> Response:
            try:
                return await self._serve(place, request)
            except Problem as problem:
                return await asyncio.to_thread(self.refuse, request, problem, self._leading(place, request))
            except Exception as error:
                away = unreachable(error)
                event = "console.unavailable" if away else "console.defect"
                log.error(event, kind=type(error).__name__, page=place.path, at=where(error))
                answer = self._message(None, "probleme.titre", "probleme.operateur", 503 if away else 500)
                if away:
                    answer.headers["Retry-After"] = str(AWAY.retry_after)
                return answer

        return Route(place.path, serve, methods=[place.method])

    async def nowhere(self, request: Request) -> Response:
        """An address of the console that is no page, or no page to read: told as any refusal is."""
        return await asyncio.to_thread(self.refuse, request, Unknown("page-unknown", "Start again from the home page."))

    async def _serve(self, place: Place, request: Request) -> Response:
        session = await asyncio.to_thread(self.signed_in, request)
        if session is None:
            await self._lapsed(place, request)
            return RedirectResponse(f"/console/entree?suite={quote(self._then(place, request), safe='')}", 303)
        if not session.roles.intersection(place.roles):
            return self._message(session, "refus.role_titre", "refus.role", 403)
        back = self._leading(place, request)
        form = await self.form(request, session, place.upload, back) if place.method == "POST" else None
        if isinstance(form, Response):
            return form
        if place.fresh and not session.fresh:
            if form is not None:
                await asyncio.to_thread(self._keep, request, session, form)
            then = _back(form) or self._then(place, request)
            return RedirectResponse(f"/console/preuve?suite={quote(then, safe='')}", 303)
        answer = await asyncio.to_thread(self._run, place, request, session, form)
        if form is not None and session.kept and session.kept.action == request.url.path:
            await asyncio.to_thread(self._keep, request, session, None)
        if isinstance(answer, Go) and (wake := getattr(request.app.state, "wake", None)):
            wake()
        return await asyncio.to_thread(self._respond, request, session, answer)

    async def _lapsed(self, place: Place, request: Request) -> None:
        """The session may have ended while its form was filled in."""
        if place.method == "POST" and not place.unsaid and (session := await asyncio.to_thread(self._known, request)):
            form = await self.form(request, session, place.upload)
            if isinstance(form, FormData):
                await asyncio.to_thread(self._keep, request, session, form)

    def _keep(self, request: Request, session: Session, form: FormData | None) -> None:
        """What was typed waits for its account to come back; None: it was done."""
        given = form.items() if form is not None else ()
        typed = {name: one for name, one in given if isinstance(one, str) and name not in ("jeton", "retour")}
        if typed or form is None:
            with self.gateway.engine.begin() as connection:
                kept = Kept(request.url.path, typed) if typed else None
                self.sessions.keep(connection, request, session, kept)

    def _leading(self, place: Place, request: Request) -> str:
        """The page that a form was sent from, or that leads to a page."""
        template, address = place.path.split("/"), request.url.path.split("/")
        if place.method == "GET":
            template.pop()
        while template and "/".join(template) not in self._pages:
            template.pop()
        return "/".join(address[: len(template)]) or HOME

    def _then(self, place: Place, request: Request) -> str:
        """Where to come back after signing in or proving who one is: the page, or that of a form, which is then to be
        sent again."""
        if place.method == "POST":
            return f"{self._leading(place, request)}?fait={AGAIN}"
        return request.url.path + (f"?{request.url.query}" if request.url.query else "")

    async def form(self, request: Request, session: Session, upload: int = 0, back: str = "") -> FormData | Response:
        """The form, if it came from one of our pages: its token is the session's. `upload`: largest file, in bytes;
        `back`: the page that it was sent from."""
        announced = request.headers.get("content-length", "")
        limit = (upload or MAX_FORM) + 4096
        if not announced.isdigit() or int(announced) > limit:
            return self._message(session, "refus.taille_titre", "refus.taille", 413, back)
        try:
            form = await request.form(max_files=1, max_fields=50, max_part_size=MAX_FORM)
        except HTTPException:  # it cannot be read as announced
            return self._message(session, "refus.formulaire_titre", "refus.formulaire", 400, back)
        token = form.get("jeton")
        if not isinstance(token, str) or not same(token, session.csrf):
            return self._message(session, "refus.formulaire_titre", "refus.formulaire", 403, back)
        return form

    def _run(self, place: Place, request: Request, session: Session, form: FormData | None) -> Answer:
        if place.writes or (place.method == "POST" and not place.apart):
            with self.gateway.unit_of_work() as work:
                view = View(request, self.gateway, session, work, form)
                work.by = view.by
                return place.handler(view)
        with UnitOfWork(self._readers, law=self.gateway.policy.table, read_only=True) as work:
            read: list[tuple[str, dict[str, Any]]] = []
            answer = place.handler(View(request, self.gateway, session, work, form, read))
        if read:  # written down before it is shown; meanwhile no writer was held back
            with self.gateway.unit_of_work() as work:
                for event, fields in read:
                    journal.append(work, event, **fields)
        return answer

    def _respond(self, request: Request, session: Session, answer: Answer) -> Response:
        if isinstance(answer, Go):
            mark = "&" if "?" in answer.href else "?"
            told = f"{mark}fait={answer.done}&n={answer.count}" if answer.done else ""
            return RedirectResponse(answer.href + told, 303)
        if isinstance(answer, Download):
            headers = {"Content-Disposition": f'attachment; filename="{answer.name}"', "Cache-Control": "no-store"}
            return Response(answer.content, media_type=answer.media, headers=headers)
        done = request.query_params.get("fait", "")
        if done in words.strings()["fait"] and answer.status == 200:
            if done == AGAIN and session.kept and _filled(answer, session.kept):
                done = _FILLED
            count = request.query_params.get("n", "1")
            sentence = words.many(f"fait.{done}", int(count) if count.isdigit() and len(count) < 10 else 1)
            answer.blocks.insert(0, Notice(sentence, "wait" if done in _NOTHING_DONE else "good"))
        return self._followed(request, answer, session)

    def _followed(self, request: Request, page: Page, session: Session) -> HTMLResponse:
        """A page on which something moves: renewed by itself only if the reader asked, and until she stops it (RGAA
        13.1)."""
        here, live = request.url.path, page.moving and request.query_params.get("direct") == "1"
        if live:
            page.blocks.append(Notice(say("direct.suivi", n=REFRESH), "wait", [Link(say("direct.arreter"), here)]))
        elif page.moving:
            page.blocks.append(Notice(say("direct.bouge"), "wait", [Link(say("direct.suivre"), f"{here}?direct=1")]))
        shown = self.page(page, session, here, request.url.query, _which(request))
        if live:
            shown.headers["Refresh"] = str(REFRESH)
        return shown

    # --- showing ----------------------------------------------------------------------------------------------------

    def page(
        self, page: Page, session: Session | None, path: str = "", query: str = "", which: str = ""
    ) -> HTMLResponse:
        """The page in its frame; on paper it says its address and when it was read. `which`: what tells it apart."""
        _tie(page)
        shown = self.templates.get_template("page.html").render(
            page=page,
            which=which if which not in page.title else "",
            menu=_menu(session, path),
            session=session,
            until=_until(session),
            address=f"{path}?{query}" if query else path,
            read_at=clock.instant(),
            fact=self.gateway.settings.profile,
            csrf=session.csrf if session else "",
        )
        return HTMLResponse(shown, page.status, headers={"Content-Security-Policy": self._policy})

    def refuse(self, request: Request, problem: Problem, back: str = "") -> HTMLResponse:
        """A problem as a page: what happened, who acts next, and the way back; never a value."""
        key = f"probleme.{problem.code.replace('-', '_')}"
        own = problem.code.replace("-", "_") in words.strings()["probleme"]
        sentence = (
            say(key) if own else say("probleme.operateur" if isinstance(problem, OperatorProblem) else "probleme.autre")
        )
        page = Page(
            say("probleme.titre"),
            [Notice(sentence, "bad"), Text(say("probleme.code", code=problem.code))],
            problem.status,
        )
        page.back = _way(back)
        try:
            session = self.signed_in(request)
        except Problem:
            session = None
        answer = self.page(page, session, "")
        if problem.retry_after:
            answer.headers["Retry-After"] = str(problem.retry_after)
        return answer

    def _message(self, session: Session | None, title: str, sentence: str, status: int, back: str = "") -> HTMLResponse:
        page = Page(say(title), [Notice(say(sentence), "bad")], status)
        page.back = _way(back)
        return self.page(page, session, "")

    # --- who ----------------------------------------------------------------------------------------------------------

    def _known(self, request: Request) -> Session | None:
        with self._readers.connect() as connection:
            return self.sessions.known(connection, request)

    def signed_in(self, request: Request) -> Session | None:
        """The account behind this request, its session kept alive."""
        with self._readers.connect() as connection:
            session = self.sessions.find(connection, request)
        if session is None:
            return None
        if self.sessions.stale(session):
            with self.gateway.engine.begin() as connection:
                self.sessions.touch(connection, session)
        return session


def _filled(page: Page, kept: Kept) -> bool:
    """Put what was typed back in its form, with what that form was read on; a browser lets nobody choose a file."""
    for at, form in enumerate(page.blocks):
        if isinstance(form, Form) and form.action == kept.action:
            typed = [one for one in form.fields if one.type not in ("file", "checkbox")]
            if typed and all(one.name in kept.typed for one in typed):
                fields = [one if one.type == "file" else replace(one, value=kept.typed.get(one.name, ""))
                          for one in form.fields]  # fmt: skip
                hidden = [(name, kept.typed.get(name, value)) for name, value in form.hidden]
                page.blocks[at] = replace(form, fields=fields, hidden=hidden)
                return True
    return False


def _text(value: str) -> str:
    """Without NUL: PostgreSQL takes it in no text, and none of our values has one."""
    return value.replace("\0", "")


def _parts(text: str) -> list[str]:
    """A technical name in parts: it may be cut after its separators, and nowhere else."""
    return re.findall(r"[^._/]+[._/]*|[._/]+", text)


def _role_name(role: str) -> str:
    return word("role", role)


def _way(back: str) -> Link:
    return Link(say("refus.retour_page"), back) if back not in ("", HOME) else Link(say("refus.retour"), HOME)


def _back(form: Any) -> str:
    given = form.get("retour") if form is not None else None
    return given if isinstance(given, str) and safe(given) else ""


def safe(address: str) -> bool:
    """Is this an address of the console itself?"""
    return address.startswith("/console/") and "\\" not in address and "//" not in address and address.isprintable()


def _menu(session: Session | None, path: str) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    """By role; a page of two roles is shown once, under the first."""
    shown: dict[str, list[tuple[str, str, bool]]] = {}
    seen: set[str] = set()
    for role, items in MENU.items():
        if session and role in session.roles:
            new = [(key, href) for key, href in items if href not in seen]
            shown[say(f"role.{role}")] = [
                (say(key), href, path == href or path.startswith(href + "/")) for key, href in new
            ]
            seen.update(href for _, href in new)
    return list(shown.items())


def to_correct(*wrong: Any) -> Notice:
    """What is wrong in the form that was sent, said before the form that is shown again."""
    return Notice(say("formulaire.erreurs"), "bad", wrong, focus=True)


def _which(request: Request) -> str:
    """The end of a request's number, the beginning of a person's reference: as lists show them."""
    told = request.path_params
    ref, number = told.get("ref", ""), str(told.get("id", ""))
    return ref[:8] or (number[-6:] if _NUMBER.fullmatch(number) else "")


def _tie(page: Page) -> None:
    """What is wrong in a form is also said beside its field."""
    said = {link.href: link.text for one in page.blocks if isinstance(one, Notice) and one.focus for link in one.items
            if isinstance(link, Link)}  # fmt: skip
    for at, form in enumerate(page.blocks) if said else ():
        if isinstance(form, Form):
            fields = [replace(one, error=one.error or said.get(f"#{one.name}", "")) for one in form.fields]
            page.blocks[at] = replace(form, fields=fields)


def _until(session: Session | None) -> str:
    """When the session ends if nothing more is asked."""
    if session is None:
        return ""
    last = min(clock.instant(clock.now() + IDLE), session.expires_at)
    return words.moment(last)[11:]
