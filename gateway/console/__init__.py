"""The web console: server-rendered pages in French that work without JavaScript.

| role | pages |
|---|---|
| `dpo` | `register` `person` `agreements` `retention` `decision` `bases` `rights` `rights_act` `breaches` |
| | `reidentify` `registers` `integrity` `watch` |
| `integration` | `quarantine` `identities` `divergences` `connectors` `explorer` `reading` |
| `operateur` | `partners` `dead_letters` `files` `health` |
| `dpo`, `integration` | `double_entry` |

Pages read the real database and show codes, counts and pseudonyms; a value about someone is shown only to an account
that has just proved who it is, and the reading is journaled. Every sentence lives in `strings.toml`, every page is
made of the blocks of `blocks.py`, accounts come from an OpenID provider (`signin.py`, `provider.py`, `session.py`).
"""

from __future__ import annotations

from starlette.routing import Mount, Route

from gateway.console import double_entry, dpo, home, integration, operator, trials
from gateway.console.common import Console, Place
from gateway.console.doors import Doors
from gateway.registry import Gateway

__all__ = ["places", "routes"]


def places() -> list[Place]:
    """Every page that asks for a session."""
    return [
        *home.places(),
        *dpo.places(),
        *integration.places(),
        *operator.places(),
        *trials.places(),
        *double_entry.places(),
    ]


def routes(gateway: Gateway) -> list[Route | Mount]:
    """The routes of `/console/`."""
    every = places()
    console = Console(gateway, {place.path for place in every if place.method == "GET"})
    pages = [console.route(place) for place in every]
    return [*Doors(gateway, console).routes(), *pages, Route("/console/{rest:path}", console.nowhere, methods=["GET"])]
