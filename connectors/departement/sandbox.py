"""A stand-in of a Département's file drop: it emits its référentiel, a full WebRSA-ALI, then changes; it takes
ALI-WebRSA files, checks them against the contract and its own lists, and answers with its numbers.

    app = sandbox()                      # ASGI; app.state.departement is the Département behind it
    app = sandbox("stale_referentiel")   # one documented failure
"""

from __future__ import annotations

import base64
import hmac
import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from lxml import etree
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from connectors.contract import DocumentRefused
from connectors.departement import synthetic
from connectors.departement.referentiel import Referentiel, read_referentiel
from connectors.departement.structure import Node, check, serialize, structure
from connectors.departement.synthetic import EMITTED, Allocataire, person_id
from connectors.xml import parse

SCENARIOS = {
    "unknown_local_id": "un identifiant local du flux n'est pas dans le référentiel",
    "integer_postcode": "les codes postaux sont ceux de l'Ain : 01000 devient 1000",
    "stale_referentiel": "le référentiel a deux ans de plus que le flux",
    "shared_id": "un couple partage le même id_personne",
    "invalid_file": "le flux est coupé avant sa fin",
    "unknown_person": "le Département ne connaît pas la personne du dépôt",
    "html_firewall": "un pare-feu répond 200 avec une page HTML",
    "busy": "le dépôt est fermé pour une minute",
}
LOGIN = ("ali", "bac-a-sable")
PEOPLE = (
    Allocataire(
        "ARBELIER", "AMELIA", "1988-04-12", "0123456", "2880440901234", 4711, telephone="0558000001", nb_enfants=2,
        numero_demande="04000000001", email="amelia.arbelier@exemple.invalid", situation_familiale="DIV",
    ),
    Allocataire(
        "BOUCARVENT", "FELIX", "1979-11-02", "0234567", "1791140905678", 4712, telephone="0658000002", civilite="MR",
        numero_demande="04000000002",
    ),
    Allocataire(
        "CADILHELLE", "INES", "1995-01-30", "0345678", "2950140904321", 4713, type_orientation="Emploi",
        numero_demande="04000000003", structure_referente="Agence France Travail de Port-Albéret",
    ),
)  # fmt: skip
"""Invented people: communes and numbers that were never attributed."""


@dataclass
class Drop:
    """The Département behind the drop: its people, its lists, and the numbers it has given."""

    departement: str = "40"
    structure_ali: int = 7
    people: Sequence[Allocataire] = PEOPLE
    scenario: str | None = None
    given: dict[str, str] = field(default_factory=dict)
    deposited: list[bytes] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.scenario == "integer_postcode":
            self.people = [replace(one, code_postal="01000") for one in self.people]
        if self.scenario == "shared_id":
            first, second, *others = self.people
            self.people = [first, replace(second, id_personne=person_id(first), role="CJT"), *others]
        self.lists: Referentiel = read_referentiel(self.referentiel())

    def referentiel(self) -> bytes:
        age = timedelta(days=730 if self.scenario == "stale_referentiel" else 1)
        return synthetic.referentiel(self.departement, self.structure_ali, EMITTED - age)

    def flows(self) -> dict[str, bytes]:
        """The full file of the month, then the changes of the month after."""
        later = EMITTED + timedelta(days=30)
        changed = synthetic.changed(self.people)
        flows = {
            "stock-1.xml": synthetic.webrsa_ali(self.people, self.departement, self.structure_ali),
            "changements-2.xml": synthetic.webrsa_ali(
                changed, self.departement, self.structure_ali, emitted=later, stock=False
            ),
        }
        if self.scenario == "invalid_file":
            flows = {name: data[: len(data) // 2] for name, data in flows.items()}
        if self.scenario == "unknown_local_id":
            flows = {name: _with_unknown_id(data) for name, data in flows.items()}
        return flows

    def take(self, document: bytes, delivery: str) -> tuple[int, dict[str, Any]]:
        """Status and answer to one deposited ALI-WebRSA."""
        if delivery and delivery in self.seen:
            return 409, {"code": "already-deposited"}
        try:
            root = parse(io.BytesIO(document), "ALI-WebRSA")
        except DocumentRefused as refused:
            return 400, {"code": refused.code}
        if wrong := check(root, structure("ali_webrsa")):
            return 422, {"code": wrong[0].code, "chemin": wrong[0].path}
        if unknown := _unknown_id(root, structure("ali_webrsa"), self.lists):
            return 422, {"code": "unknown-local-id", "chemin": unknown}
        known = set() if self.scenario == "unknown_person" else {str(person_id(one)) for one in self.people}
        if any(element.text not in known for element in root.iter("id_personne")):
            return 404, {"code": "unknown-person"}
        self.seen.add(delivery)
        self.deposited.append(document)
        return 200, {"recus": [self._number(element) for element in root.iter("id_ali")]}

    def _number(self, id_ali: etree._Element) -> dict[str, str]:
        text = id_ali.text or ""
        parent = id_ali.getparent()
        number = self.given.setdefault(text, str(90_001 + len(self.given)))
        return {"objet": "" if parent is None else str(parent.tag), "id_ali": text, "id_webrsa": number}


def _with_unknown_id(data: bytes) -> bytes:
    root = etree.fromstring(data)
    for element in root.iter("statut_orient"):
        element.text = "987654"
        break
    return serialize(root)


def _unknown_id(element: etree._Element, node: Node, lists: Referentiel) -> str:
    """Path of the first local id that no active entry of the référentiel names."""
    if node.liste and not lists.holds(node.liste, (element.text or "").strip()):
        return node.path
    return next((found for child in element if (found := _unknown_id(child, node.children[child.tag], lists))), "")


def sandbox(
    scenario: str | None = None, *, people: Sequence[Allocataire] = PEOPLE, departement: str = "40"
) -> Starlette:
    """The drop as an ASGI application. Raises `KeyError` for a scenario that is not in `SCENARIOS`."""
    if scenario is not None:
        SCENARIOS[scenario]
    drop = Drop(departement=departement, people=people, scenario=scenario)

    async def referentiel(request: Request) -> Response:
        return Response(drop.referentiel(), media_type="application/xml")

    async def listing(request: Request) -> Response:
        return JSONResponse({"flux": [{"nom": name, "octets": len(data)} for name, data in drop.flows().items()]})

    async def flow(request: Request) -> Response:
        data = drop.flows().get(request.path_params["nom"])
        return Response(data, media_type="application/xml") if data else JSONResponse({"code": "unknown"}, 404)

    async def deposit(request: Request) -> Response:
        if "xml" not in request.headers.get("content-type", ""):
            return JSONResponse({"code": "content-type"}, 415)
        status, answer = drop.take(await request.body(), request.headers.get("idempotency-key", ""))
        return JSONResponse(answer, status)

    routes = [
        Route("/ali/referentiel", _guarded(drop, referentiel)),
        Route("/ali/flux", _guarded(drop, listing)),
        Route("/ali/flux/{nom}", _guarded(drop, flow)),
        Route("/ali/depot", _guarded(drop, deposit), methods=["POST"]),
    ]
    app = Starlette(routes=routes)
    app.state.departement = drop
    app.state.credentials = {"identifiant": LOGIN[0], "secret": LOGIN[1], "structure_ali": str(drop.structure_ali)}
    return app


def describe(app: Starlette, base_url: str) -> dict[str, Any]:
    """What an engineer needs to call this stand-in: where, with which login, and what there is."""
    return {
        "base_url": base_url,
        "token_url": None,
        "credentials": {"identifiant": LOGIN[0], "secret": LOGIN[1]},
        "settings": {"url": base_url} | app.state.credentials,
        "paths": [route.path for route in app.routes if isinstance(route, Route)],
        "scenario": app.state.departement.scenario,
        "scenarios": SCENARIOS,
    }


def _guarded(drop: Drop, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Ask for the login; play the failures that come before any answer."""
    expected = "Basic " + base64.b64encode(":".join(LOGIN).encode()).decode()

    async def guarded(request: Request) -> Response:
        if drop.scenario == "html_firewall":
            return HTMLResponse("<html><body>Accès filtré</body></html>")
        if drop.scenario == "busy":
            return JSONResponse({"code": "closed"}, 503, {"Retry-After": "60"})
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), expected.encode()):
            return JSONResponse({"code": "unauthenticated"}, 401, {"WWW-Authenticate": "Basic"})
        return await answer(request)

    return guarded
