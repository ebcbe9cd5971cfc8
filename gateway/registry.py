"""Who takes part: the gateway with its keys, its rules and its bodies, each body behind a connector."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

import mappings
from connectors.contract import Connector
from connectors.manifest import Document, Installed, installed
from connectors.transport import Transport
from gateway import canonical, convention, journal
from gateway.convention import Flow
from gateway.dossier import Dossiers
from gateway.identity import Identity
from gateway.keys import Keyring
from gateway.policy import Policy
from gateway.problems import Invalid, Misconfigured
from gateway.settings import Settings
from gateway.storage import open_engine
from gateway.storage.migrate import migrate
from gateway.storage.tables.access import client
from gateway.unit_of_work import UnitOfWork
from gateway.vault import Vault
from schemas.record import Current, Written

SECRECY = frozenset({"departement", "delegataire", "ccas", "france_travail", "caf_msa"})
"""Roles whose staff the law puts under professional secrecy (CASF L133-5, L262-44; Code pénal 226-13)."""


@dataclass(frozen=True, slots=True)
class Body:
    """One body that exchanges: its stable id, its display name, its role before the law, and what speaks for it."""

    id: str
    name: str
    role: str
    connector: str
    client_id: str = ""


@dataclass
class Gateway:
    """Everything one process needs to exchange. Open it with `Gateway.open(settings)`."""

    settings: Settings
    engine: Engine
    keys: Keyring
    policy: Policy
    transports: dict[str, Transport] = field(default_factory=dict)
    """Transport of each body; those not given are opened from the settings on first use."""
    _connectors: dict[str, Connector] = field(default_factory=dict, repr=False)
    _bodies: dict[str, Body] | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def open(cls, settings: Settings, *, create: bool = True) -> Gateway:
        """Open the database (bringing it to the current schema), the keys and the decision table."""
        production = settings.profile == "production"
        settings.home.mkdir(parents=True, exist_ok=True)
        engine = open_engine(settings.database)
        if create:
            migrate(engine)
        keys = Keyring(settings.home / "keys", may_create=not production)
        trusted = settings.policy_trusted.read_bytes() if settings.policy_trusted else b""
        policy = Policy.load(settings.policy_file, require_signature=production, trusted=trusted)
        return cls(settings, engine, keys, policy)

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.keys)

    @cached_property
    def dossiers(self) -> Dossiers:
        return Dossiers(self.keys, self.vault, self.role)

    @cached_property
    def identity(self) -> Identity:
        return Identity(self.keys)

    def unit_of_work(self) -> UnitOfWork:
        return UnitOfWork(self.engine)

    # --- bodies -----------------------------------------------------------------------------------------------------

    @property
    def bodies(self) -> Mapping[str, Body]:
        """Every body known here: the registered partners, and each connector under its own id."""
        if self._bodies is None:
            known = {
                one.manifest.id: Body(one.manifest.id, one.manifest.name, one.manifest.role, one.manifest.id)
                for one in installed().values()
            }
            with self.engine.connect().execution_options(read_only=True) as connection:
                for row in connection.execute(select(client).order_by(client.c.created_at)):
                    known[row.body] = Body(row.body, row.name, row.role, row.connector, row.client_id)
            self._bodies = known
        return self._bodies

    def refresh(self) -> None:
        """Partners were added or changed: read them again."""
        self._bodies = None

    def body(self, id: str) -> Body:
        """Raises `Invalid` (`body-unknown`) for a body that is neither registered nor a connector's own id."""
        try:
            return self.bodies[id]
        except KeyError:
            raise Invalid("body-unknown", "Register the body with `maillon partner add`, or correct its id.") from None

    def installed(self, body: Body) -> Installed:
        try:
            return installed()[body.connector]
        except KeyError:
            raise Misconfigured("connector-missing", f"Install the connector {body.connector}.") from None

    def connector(self, body_id: str) -> Connector:
        body = self.body(body_id)
        with self._lock:
            if body_id not in self._connectors:
                values = dict(self.settings.bodies.get(body_id, {}))
                known = {setting.name for setting in self.installed(body).manifest.setting}
                if "departement" in known:
                    values.setdefault("departement", self.settings.departement)
                self._connectors[body_id] = self.installed(body).create(values)
            return self._connectors[body_id]

    def document(self, body_id: str, document: str) -> Document:
        """The manifest's entry of a document. Raises `Invalid` (`document-unknown`)."""
        if document == canonical.ID:
            return canonical.DOCUMENT
        manifest = self.installed(self.body(body_id)).manifest
        try:
            return manifest.documents[document]
        except KeyError:
            raise Invalid(
                "document-unknown", f"{manifest.name} exchanges: {', '.join(sorted(manifest.documents))}."
            ) from None

    def categories(self, document: Document) -> frozenset[str]:
        """Canonical categories a document writes: what permission is asked for is what the mapping writes."""
        if document.id == canonical.ID:
            return canonical.OFFERED
        written = [mapping for one in document.mapping if (mapping := mappings.load(one)).file.direction != "read"]
        return frozenset().union(*(mapping.categories for mapping in written))

    def write(self, body_id: str, document: str, current: Current, **context: Any) -> Written:
        """One of a body's documents, from facts it may receive."""
        if document == canonical.ID:
            return canonical.write(current)
        return self.connector(body_id).write(document, current, **context)

    def by_mailbox(self, body_id: str, document: str) -> bool:
        """Is this document left for the body to fetch, rather than sent to it?"""
        return document == canonical.ID or self.installed(self.body(body_id)).manifest.transport == "inbox"

    def role(self, body_id: str) -> str:
        """The legal role of a body; empty for one that is no longer known."""
        body = self.bodies.get(body_id)
        return body.role if body else ""

    # --- flows ------------------------------------------------------------------------------------------------------

    def flows(self, work: UnitOfWork, sender: str, purposes: frozenset[str]) -> tuple[Flow, ...]:
        """Flows that start at this body for these purposes, active or not."""
        return tuple(convention.flows_from(work, sender, purposes))

    def flow(self, work: UnitOfWork, id: str) -> Flow | None:
        """A flow as it is today; None when no convention declares it any more."""
        return convention.flow(work, id)

    def flows_to(
        self, work: UnitOfWork, recipient: str, purposes: frozenset[str] | None = None
    ) -> tuple[Flow, ...]:
        """Flows that end at this body, for these purposes or for all."""
        return tuple(convention.flows_to(work, recipient, purposes))

    def journal_origin(self, entry: journal.Entry) -> str:
        return journal.origin_of(self.settings.journal_origin, entry.log)

    def transport(self, body_id: str) -> Transport:
        with self._lock:
            if body_id not in self.transports:
                self.transports[body_id] = Transport.open(
                    body_id,
                    self.settings.bodies.get(body_id, {}),
                    allow_loopback=self.settings.profile in ("demo", "test"),
                )
            return self.transports[body_id]


def read_settings(path: Path | None = None, **values: Any) -> Settings:
    """Settings of this process, with values that override them."""
    return Settings(**values) if path is None else Settings(_toml_file=path, **values)  # type: ignore[call-arg]
