"""A stand-in of Mobilité solidaire: its paths, its key, its failures. Its people are invented (`fixtures/`).

It is strict: a path, a parameter or a field that the partner does not have is refused, never overlooked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEY = "cle-de-demonstration"
MEDIA = "application/json"
FIXTURES = Path(__file__).parent / "fixtures" / "suivi"
KNOWN = {"nom_naissance": "ARBELIER", "prenoms": "SOLANGE", "date_naissance": "1985-06-12"}
FAILURES: dict[str, tuple[int, dict[str, str]]] = {
    "acces_refuse": (401, {}),
    "quota": (429, {"Retry-After": "30"}),
    "quota_sans_delai": (429, {}),
    "fiche_refusee": (422, {}),
    "indisponible": (503, {}),
}
SCENARIOS = {
    "acces_refuse": "la clé n'est plus valable",
    "quota": "429, revenir dans 30 secondes",
    "quota_sans_delai": "429, sans dire quand revenir",
    "fiche_refusee": "422 : la fiche ne convient pas",
    "indisponible": "503 : le service est arrêté",
    "personne_inconnue": "404 : personne de ce nom",
    "page_du_pare_feu": "200, avec la page d'un pare-feu au lieu du document",
    "pages": "la réponse tient en deux pages",
}


def sandbox(scenario: str | None = None) -> Starlette:
    """The stand-in as an ASGI application. Raises `KeyError` for a scenario that is not in `SCENARIOS`."""
    if scenario is not None:
        SCENARIOS[scenario]
    sheets: dict[str, bytes] = {}
    done: dict[str, str] = {}

    def stopped(request: Request) -> Response | None:
        if scenario in FAILURES:
            status, headers = FAILURES[scenario]
            return JSONResponse({"code": scenario}, status, headers)
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"code": "acces_refuse"}, 401)
        if scenario == "page_du_pare_feu":
            return Response("<html><body>Accès filtré</body></html>", 200, media_type="text/html")
        return None

    async def search(request: Request) -> Response:
        if answer := stopped(request):
            return answer
        asked = await request.json()
        if set(asked) != {*KNOWN, "page"}:
            return JSONResponse({"code": "parametres"}, 422)
        page = asked.pop("page")
        if asked != KNOWN or scenario == "personne_inconnue":
            return JSONResponse({"code": "personne_inconnue"}, 404)
        pages = ["une_personne", "page_suivante"] if scenario == "pages" else ["une_personne"]
        if page not in range(1, len(pages) + 1):
            return JSONResponse({"code": "page"}, 422)
        headers = {"Page-Suivante": str(page + 1)} if page < len(pages) else {}
        content = (FIXTURES / f"{pages[page - 1]}.json").read_bytes()
        return Response(content, media_type=MEDIA, headers=headers)

    async def put(request: Request) -> Response:
        if answer := stopped(request):
            return answer
        key, reference = request.headers.get("idempotency-key", ""), request.path_params["reference"]
        if not key or request.headers.get("content-type", "").partition(";")[0] != MEDIA:
            return JSONResponse({"code": "entetes"}, 422)
        if done.setdefault(key, reference) != reference:
            return JSONResponse({"code": "cle_reutilisee"}, 422)
        sheets[reference] = await request.body()
        return Response(status_code=204)

    app = Starlette(
        routes=[
            Route("/v1/suivis/recherche", search, methods=["POST"]),
            Route("/v1/fiches/{reference}", put, methods=["PUT"]),
        ]
    )
    app.state.fiches = sheets
    return app


def describe(app: Starlette, base_url: str) -> dict[str, Any]:
    """What an engineer needs to call this stand-in: where, with what, and about whom."""
    return {
        "base_url": base_url,
        "token_url": None,
        "credentials": {"cle": KEY},
        "settings": {"api_url": base_url, "cle": KEY},
        "identifiers": KNOWN,
        "paths": [route.path for route in app.routes if isinstance(route, Route)],
        "scenarios": SCENARIOS,
    }
