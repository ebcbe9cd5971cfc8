"""What the server process imports: one gateway, one application."""

from __future__ import annotations

from starlette.applications import Starlette

from gateway import logs
from gateway.app import build
from gateway.registry import Gateway
from gateway.settings import settings


def app() -> Starlette:
    """The application of this process, from its settings."""
    logs.configure()
    own = settings()
    return build(Gateway.open(own), embedded_worker=own.database.startswith("sqlite"))
