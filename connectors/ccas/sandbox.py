"""A stand-in of a CCAS's follow-up software: it exports its beneficiaries and their follow-up, and fetches its mailbox.

app = sandbox()                        # ASGI
await app.state.ccas.collect(client)   # fetch, keep and acknowledge what waits at the gateway
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.ccas.fiche import FORMATS, render
from connectors.table import XLSX, to_csv, to_xlsx

SCENARIOS = {
    "scientific_nir": "un tableur a écrit un NIR en notation scientifique",
    "private_notes": "l'export contient des synthèses privées et une mesure de protection",
    "unknown_medium": "un mode de contact inconnu",
    "duplicate_keys": "un JSON où une clé se répète",
    "unacknowledged": "la boîte est relevée sans être acquittée",
}
PRIVATE = "NE DOIT JAMAIS SORTIR"
"""Marks what a CCAS keeps to itself, so that a test can look for it everywhere."""
BENEFICIARIES: tuple[dict[str, Any], ...] = (
    {
        "fileNumber": "2026-014", "status": "Active", "title": "Miss", "birthName": "Arbelier", "firstName": "Amélia",
        "birthDate": "1988-04-12", "socialSecurityNumber": "2880440901234", "cafNumber": "0123456",
        "departementId": "4711", "phone1": "06 11 22 33 44", "email": "amelia.arbelier@exemple.invalid",
        "streetNumber": "12", "streetType": "RUE", "street": "DES RESINIERS", "zipcode": "40100",
        "city": "Saint-Aventin-les-Sables", "familySituation": "Divorced", "minorChildren": 2,
        "mobility": "PublicTransport", "accomodationMode": "SocialRenting", "socioProfessionalCategory": "JobSeeker",
        "mainIncomeSource": ["Rsa"],
    },
    {
        "fileNumber": "2026-021", "status": "Active", "title": "Mister", "birthName": "Boucarvent",
        "firstName": "Félix", "birthDate": "1979-11-02", "socialSecurityNumber": "1791140905678",
        "cafNumber": "0234567", "departementId": "4712", "phone1": "06 58 00 00 02", "zipcode": "40100",
        "city": "Saint-Aventin-les-Sables", "mobility": "None",
    },
)  # fmt: skip
FOLLOW_UP: dict[str, dict[str, Any]] = {
    "2026-014": {
        "followups": [
            {"id": "s-101", "date": "2026-11-05", "medium": "PlannedInPerson", "types": ["Aide au transport"],
             "status": "Done", "firstFollowup": True},
        ],
        "helpRequests": [
            {"id": "a-7", "openingDate": "2026-11-06", "type": "Aide alimentaire", "financialSupport": True,
             "status": "Accepted", "askedAmount": 120, "allocatedAmount": 80, "decisionDate": "2026-11-10",
             "reason": "Food"},
        ],
        "freins": [
            {"theme": "logement", "valeur": "present", "impact": "fort", "prioritaire": True,
             "exploreLe": "2026-11-05"},
            {"theme": "finances", "valeur": "present", "impact": "moyen", "exploreLe": "2026-11-05"},
            {"theme": "famille", "valeur": "present", "impact": "fort", "bloqueEmploi": True,
             "exploreLe": "2026-11-05"},
        ],
        "rendezVous": [
            {"id": "r-42", "debut": "2026-11-24T09:30:00+01:00", "dureeMin": 60, "motif": "accompagnement",
             "modalite": "presentiel", "premierAccompagnement": True, "conjoint": True, "lieu": "Mairie",
             "statut": "honore",
             "professionnels": [
                 {"id": "p-1", "nom": "Lauret", "prenom": "Camille", "role": "referent_social_ag"},
                 {"id": "p-2", "nom": "Ferrand", "prenom": "Claude", "role": "conseiller_emploi"},
             ]},
        ],
    },
}  # fmt: skip
"""Invented people and meetings."""
_COLUMNS = {
    "N° dossier": "fileNumber", "Nom de naissance": "birthName", "Prénom": "firstName",
    "Date de naissance": "birthDate", "N° sécurité sociale": "socialSecurityNumber", "Téléphone": "phone1",
    "Courriel": "email", "Code postal": "zipcode", "Ville": "city", "N° CAF": "cafNumber",
}  # fmt: skip


@dataclass
class CcasSystem:
    """The CCAS behind the application: its files, and the sheets it has fetched."""

    structure: dict[str, str] = field(
        default_factory=lambda: {"name": "CCAS de Saint-Aventin-les-Sables", "type": "Ccas"}
    )
    beneficiaries: list[dict[str, Any]] = field(default_factory=lambda: copy.deepcopy(list(BENEFICIARIES)))
    follow_up: dict[str, dict[str, Any]] = field(default_factory=lambda: copy.deepcopy(FOLLOW_UP))
    scenario: str | None = None
    received: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Sheets fetched, by id of the delivery."""

    def export(self, with_follow_up: bool) -> bytes:
        """The JSON export: who they are, or that and what was done with them."""
        people = copy.deepcopy(self.beneficiaries)
        for person in people:
            if with_follow_up:
                person |= copy.deepcopy(self.follow_up.get(person["fileNumber"], {}))
            if self.scenario == "private_notes":
                _keep_to_themselves(person)
            if self.scenario == "unknown_medium" and person.get("followups"):
                person["followups"][0]["medium"] = "Telepathy"
        text = json.dumps({"structure": self.structure, "beneficiaries": people}, ensure_ascii=False)
        if self.scenario == "duplicate_keys":
            text = text.replace('"birthName": "Arbelier"', '"birthName": "Arbelier", "birthName": "Autre"')
        return text.encode()

    def table(self) -> list[list[str]]:
        """The rows of the spreadsheet export, dates as French offices write them."""
        rows = []
        for person in self.beneficiaries:
            row = [str(person.get(name, "")) for name in _COLUMNS.values()]
            year, month, day = row[3].split("-")
            row[3] = f"{day}/{month}/{year}"
            rows.append(row)
        if self.scenario == "scientific_nir":
            rows[0][4] = "2,88044E+12"
        return rows

    async def collect(self, client: httpx.AsyncClient) -> int:
        """Fetch the gateway's mailbox, keep each sheet and acknowledge it. Returns how many were new.

        `client` is already authorised for the gateway; its base address is the gateway's.
        """
        listing = (await client.get("/v1/inbox")).raise_for_status().json()
        waiting = listing["letters"]
        new = 0
        for entry in waiting:
            number = entry["id"]
            answer = (await client.get(f"/v1/inbox/{number}/document")).raise_for_status()
            new += number not in self.received
            self.received[number] = answer.json()
            if self.scenario != "unacknowledged":
                (await client.post(f"/v1/inbox/{number}/ack")).raise_for_status()
        return new


def _keep_to_themselves(person: dict[str, Any]) -> None:
    person["protectionMeasure"] = PRIVATE
    person["additionalInformation"] = PRIVATE
    for one in person.get("followups", []) + person.get("helpRequests", []):
        one |= {"privateSynthesis": PRIVATE, "synthesis": PRIVATE}
    for one in person.get("freins", []):
        one["note"] = PRIVATE
    for one in person.get("rendezVous", []):
        one["compteRendu"] = PRIVATE


def sandbox(scenario: str | None = None) -> Starlette:
    """The CCAS as an ASGI application. Raises `KeyError` for a scenario that is not in `SCENARIOS`."""
    if scenario is not None:
        SCENARIOS[scenario]
    ccas = CcasSystem(scenario=scenario)

    async def beneficiaries(request: Request) -> Response:
        form = request.path_params["form"]
        headers = list(_COLUMNS)
        if form == "json":
            return Response(ccas.export(False), media_type="application/json")
        if form == "csv":
            return Response(to_csv(headers, ccas.table()), media_type="text/csv")
        if form == "xlsx":
            return Response(to_xlsx({"beneficiaires": (headers, ccas.table())}), media_type=XLSX)
        return JSONResponse({"code": "unknown"}, 404)

    async def follow_up(request: Request) -> Response:
        return Response(ccas.export(True), media_type="application/json")

    async def sheets(request: Request) -> Response:
        return JSONResponse({"fiches": sorted(ccas.received)})

    async def sheet(request: Request) -> Response:
        found, form = ccas.received.get(request.path_params["id"]), request.path_params["form"]
        if found is None or form not in {"json", *FORMATS}:
            return JSONResponse({"code": "unknown"}, 404)
        return JSONResponse(found) if form == "json" else Response(render(found, form), media_type=FORMATS[form])

    app = Starlette(
        routes=[
            Route("/export/beneficiaires.{form}", beneficiaries),
            Route("/export/suivi.json", follow_up),
            Route("/fiches", sheets),
            Route("/fiches/{id}.{form}", sheet),
        ]
    )
    app.state.ccas = ccas
    return app


def describe(app: Starlette, base_url: str) -> dict[str, Any]:
    """What an engineer needs to call this stand-in; a CCAS has no server of its own, so nothing is asked for."""
    return {
        "base_url": base_url,
        "token_url": None,
        "credentials": {},
        "paths": [route.path for route in app.routes if isinstance(route, Route)],
        "scenario": app.state.ccas.scenario,
        "scenarios": SCENARIOS,
    }
