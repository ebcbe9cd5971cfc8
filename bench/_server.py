"""A server process for the accept benchmark: the gateway's application, or a bare route that only reads and answers.

    python bench/_server.py product|busy|bare PORT      (settings from MAILLON_* variables)

Deliveries are not carried out here: what is measured is the acceptance of an exchange. `busy` is the product beside a
thread that computes all the time, as pages, proofs and deliveries of the same process do.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
from typing import Any

import _common  # noqa: F401 puts the checkout on the path
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import interpreter
from gateway.app import build
from gateway.registry import Gateway
from gateway.settings import settings


async def _accept(request: Request) -> Response:
    told = json.loads(await request.body())
    return Response(json.dumps({"fields": len(told)}), 202, media_type="application/json")


def _compute() -> None:
    for number in itertools.count():
        json.dumps({"number": number, "square": number * number})


def main() -> None:
    kind, port = sys.argv[1], int(sys.argv[2])
    app: Any = Starlette(routes=[Route("/v1/exchanges", _accept, methods=["POST"])])
    if kind != "bare":
        interpreter.settle_in()
        app = build(Gateway.open(settings()), embedded_worker=False)
    if kind == "busy":
        threading.Thread(target=_compute, daemon=True).start()
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, server_header=False)


if __name__ == "__main__":
    main()
