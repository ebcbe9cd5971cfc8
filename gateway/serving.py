"""What the server process imports: one gateway, one application."""

from __future__ import annotations

from fastapi import FastAPI

from gateway import logs, parent
from gateway.app import build
from gateway.registry import Gateway
from gateway.settings import settings


def app() -> FastAPI:
    """The application of one of several processes, from its settings."""
    logs.configure()
    parent.end_with_it()
    return of(Gateway.open(settings()))


def of(gateway: Gateway) -> FastAPI:
    """The application of the only process; on an embedded database it also delivers."""
    return build(gateway, embedded_worker=gateway.engine.dialect.name == "sqlite")
