"""Who takes part: the gateway with its keys, its rules and its bodies, each body behind a connector."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

import mappings
from connectors.contract import Connector
from connectors.manifest import REACH, Document, Installed, ManifestError, installed
from connectors.transport import Transport
from gateway import clock, convention, erasure_list, fse_form, interpreter, journal, key_marks, other_clocks
from gateway.convention_model import Flow
from gateway.deposit import SETTINGS as DROP
from gateway.deposit import Drop
from gateway.dossier import Dossiers
from gateway.identity import Identity
from gateway.journal_files import folder_of, publish
from gateway.keys import Keyring
from gateway.own_documents import OWN
from gateway.policy import Policy
from gateway.problems import Invalid, Misconfigured, Misnamed, Problem
from gateway.receipt import Request
from gateway.references import References
from gateway.settings import Settings
from gateway.storage import open_engine
from gateway.storage.migrate import migrate
from gateway.storage.tables.access import client
from gateway.unit_of_work import UnitOfWork
from gateway.vault import Vault
from mappings import MappingError
from schemas import nomenclatures
from schemas.normalisation import name_key
from schemas.record import Current, Written

if TYPE_CHECKING:
    from gateway.access.details import Perimeter

SECRECY = frozenset({"departement", "delegataire", "ccas", "france_travail", "caf_msa"})
"""Roles whose staff the law puts under professional secrecy (CASF L133-5, L262-44; Code pénal 226-13)."""

_REACH = frozenset(setting.name for setting in REACH)


@dataclass(frozen=True, slots=True)
class Body:
    """One body that exchanges: its stable id, its display name, its role before the law, and what speaks for it."""

    id: str
    name: str
    role: str
    connector: str
    client_id: str = ""


@lru_cache(maxsize=4096)
def _name_of_today(name: str) -> str:
    """What a name is compared by, the former names of an institution (`crosswalk/anciens_noms`) told as today's."""
    said = f" {name_key(name)} "
    for row in nomenclatures.crosswalk("anciens_noms"):
        said = said.replace(f" {name_key(row['ancien'])} ", f" {name_key(row['nouveau'])} ")
    return said.strip()


@dataclass
class Gateway:
    """Everything one process needs to exchange. Open it with `Gateway.open(settings)`."""

    settings: Settings
    engine: Engine
    keys: Keyring
    policy: Policy
    transports: dict[str, Transport] = field(default_factory=dict)
    """Transports given instead of the network: an in-process stand-in, under the body's id."""
    _opened: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Transport]] = field(
        default_factory=WeakKeyDictionary, repr=False
    )
    _connectors: dict[str, Connector] = field(default_factory=dict, repr=False)
    _bodies: dict[str, Body] | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def open(cls, settings: Settings, *, create: bool = True, date_is_right: bool = False) -> Gateway:
        """Open the database (bringing it to the current schema), the keys and the decision table.

        Raises `Misconfigured`, also under a date that other clocks contradict; `date_is_right`: the operator says so,
        whatever the date of the journal.
        """
        production = settings.profile == "production"
        settings.home.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as refused:
            engine = open_engine(settings.database)
            refused.callback(engine.dispose)
            if create:
                migrate(engine)
                other_clocks.require(engine, but_the_journal=date_is_right)
            keys = Keyring(settings.home / "keys", may_create=not production)
            trusted = settings.policy_trusted.read_bytes() if settings.policy_trusted else b""
            policy = Policy.load(settings.policy_file, require_signature=production, trusted=trusted)
            gateway = cls(settings, engine, keys, policy)
            if create:
                key_marks.require(engine, keys)
                from gateway import erasure, policy_history  # they act on a gateway, which they import

                policy_history.keep(settings.home, settings.policy_file, signed=policy.table.signed)
                erasure.reconcile(gateway)
            refused.pop_all()
        return gateway

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.keys, erasure_list.read(self.settings.home))

    @cached_property
    def dossiers(self) -> Dossiers:
        return Dossiers(self.keys, self.vault, self.role, self.policy.shortest_retention)

    @cached_property
    def identity(self) -> Identity:
        return Identity(self.keys)

    @cached_property
    def references(self) -> References:
        return References(self.keys)

    def unit_of_work(self) -> UnitOfWork:
        return UnitOfWork(self.engine, law=self.policy.table)

    def reading(self) -> UnitOfWork:
        """A transaction that only reads: it waits for no writer, and nothing of it is kept."""
        return UnitOfWork(self.engine, law=self.policy.table, read_only=True)

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

    def named(self, name: str) -> set[str]:
        """The registered bodies of this name, whatever its case, accents and hyphens, and under its former one too."""
        wanted = _name_of_today(name)
        return {one.id for one in self.bodies.values() if one.client_id and _name_of_today(one.name) == wanted}

    def refresh(self) -> None:
        """Partners were added or changed: read them again."""
        self._bodies = None

    def body(self, id: str) -> Body:
        """Raises `Invalid` (`body-unknown`) for a body that is neither registered nor a connector's own id."""
        try:
            return self.bodies[id]
        except KeyError:
            raise Misnamed("body-unknown", "Register the body with `maillon partner add`, or correct its id.") from None

    def installed(self, body: Body) -> Installed:
        try:
            return installed()[body.connector]
        except KeyError:
            raise Misconfigured("connector-missing", f"Install the connector {body.connector}.") from None

    def connector(self, body_id: str) -> Connector:
        """The connector that speaks for a body, configured once."""
        body = self.body(body_id)
        with self._lock:
            if body_id not in self._connectors:
                self._connectors[body_id] = configured(self.installed(body), self.settings, body_id, body.name)
            return self._connectors[body_id]

    def document(self, body_id: str, document: str) -> Document:
        """The manifest's entry of a document. Raises `Invalid` (`document-unknown`)."""
        if own := OWN.get(document):
            return own.DOCUMENT
        manifest = self.installed(self.body(body_id)).manifest
        try:
            return manifest.documents[document]
        except KeyError:
            raise Misnamed(
                "document-unknown", f"{manifest.name} exchanges: {', '.join(sorted(manifest.documents))}."
            ) from None

    def title(self, document: str) -> str:
        """A document in words, as its manifest names it, whoever exchanges it; its id when no connector has it now."""
        if own := OWN.get(document):
            return own.DOCUMENT.title
        manifests = (one.manifest for one in installed().values())
        return next((one.documents[document].title for one in manifests if document in one.documents), document)

    def speaks(self, body_id: str, document: str) -> bool:
        """Is this body still known, and this document still in its connector's manifest?"""
        try:
            self.body(body_id)
            self.document(body_id, document)
        except Invalid:
            return False
        return True

    def warm(self) -> None:
        """Load the connectors of the registered bodies and compile their mappings, so that the first page or exchange
        does not wait for them. What is wrong there is told when it is used. For a process that lasts."""
        for id in list(self.bodies):
            with contextlib.suppress(Problem, ManifestError, MappingError):
                for document in self.connector(id).manifest.document:
                    for mapping in document.mapping:
                        mappings.load(mapping).warm()
        interpreter.leave_aside()

    def categories(self, document: Document) -> frozenset[str]:
        """Canonical categories a document writes: what permission is asked for is what the mapping writes."""
        if own := OWN.get(document.id):
            return own.OFFERED
        written = [mapping for one in document.mapping if (mapping := mappings.load(one)).file.direction != "read"]
        return frozenset().union(*(mapping.categories for mapping in written))

    def write(self, body_id: str, document: str, current: Current, **context: Any) -> Written:
        """One of a body's documents, from facts it may receive."""
        if own := OWN.get(document):
            return own.write(current)
        return self.connector(body_id).write(document, current, **context)

    def by_mailbox(self, body_id: str, document: str) -> bool:
        """Is this document left for the body to fetch, rather than sent to it?"""
        if self.drop(body_id):
            return False
        return document in OWN or self.installed(self.body(body_id)).manifest.transport == "inbox"

    def drop(self, body_id: str) -> Drop | None:
        """Where this body takes its deliveries as files, if it does."""
        return Drop.of(self.settings.bodies.get(body_id, {}))

    def role(self, body_id: str) -> str:
        """The legal role of a body; empty for one that is no longer known. The person speaks for herself."""
        if body_id == "personne":
            return body_id
        body = self.bodies.get(body_id)
        return body.role if body else ""

    # --- flows ------------------------------------------------------------------------------------------------------

    def flows(self, work: UnitOfWork, sender: str, purposes: frozenset[str] | None = None) -> tuple[Flow, ...]:
        """Flows that start at this body, for these purposes or for all, active or not."""
        return tuple(convention.flows_from(work, sender, purposes))

    def request(self, work: UnitOfWork, sender: str, document: str, id: str = "") -> Request:
        """What a body asks by sending this document, for all the purposes that it serves."""
        purposes = frozenset(self.document(sender, document).purposes)
        return Request(id or clock.new_id(), sender, document, self.flows(work, sender, purposes))

    def flow(self, work: UnitOfWork, id: str) -> Flow | None:
        """A flow as it is today; None when no convention declares it any more."""
        return convention.flow(work, id)

    def flows_to(self, work: UnitOfWork, recipient: str, purposes: frozenset[str] | None = None) -> tuple[Flow, ...]:
        """Flows that end at this body, for these purposes or for all; none from a body not registered yet."""
        return tuple(flow for flow in convention.flows_to(work, recipient, purposes) if flow.de in self.bodies)

    def flows_carrying(self, work: UnitOfWork, recipient: str, document: str) -> tuple[Flow, ...]:
        """Flows that fill this document for a body; the FSE form, which none carries, is filled by all."""
        flows = self.flows_to(work, recipient)
        return flows if document == fse_form.ID else tuple(flow for flow in flows if flow.document == document)

    def allowed_purposes(self, body: str) -> dict[str, Perimeter]:
        """Purposes that the conventions in force open to a body, each with its regimes, its conventions and the
        categories that law and conventions leave open; asked by the authorization server. Flow by flow, they are looked
        at when a token serves."""
        from gateway.access.details import Perimeter  # for whoever opened the access: commands do without

        flows: dict[str, list[Flow]] = {}
        with self.reading() as work:
            for one in convention.open_to(work, body):
                flows.setdefault(one.purpose, []).append(one)
        return {
            purpose: Perimeter(
                datatypes=frozenset().union(*(one.may_carry(self.policy.table) for one in its)),
                regimes=frozenset(one.regime for one in its),
                conventions=frozenset(one.convention for one in its),
            )
            for purpose, its in flows.items()
        }

    def on_refusal(self, event: str, *, reason: str, client_id: str | None, instance: str) -> None:
        """Write a refused access into the journal, under the instance of its answer."""
        with self.unit_of_work() as work:
            journal.refused(
                work,
                reason,
                client_id=journal.fitting("client_id", client_id),
                exchange_id=instance.removeprefix("urn:uuid:"),
            )

    @property
    def journal_folder(self) -> Path:
        """Where the journal is published."""
        return folder_of(self.settings)

    def publish_journal(self, *, rebuild: bool = False) -> None:
        """Write what is new in the journal, or every file again, and sign its checkpoint."""
        publish(self.engine, self.keys, self.settings, rebuild=rebuild)

    def seal_what_was_left(self) -> None:
        """For a command that takes exchanges, as a server does when it starts: machines may have been off for days.
        What cannot be sealed closes the gateway once it lasted too long (`journal_files.require_available`)."""
        with contextlib.suppress(OSError, Problem, SQLAlchemyError):
            self.publish_journal()

    def transport(self, body_id: str) -> Transport:
        """The way to one body, opened once per event loop; only the addresses of its settings may be called."""
        if given := self.transports.get(body_id):
            return given
        opened = self._opened.setdefault(asyncio.get_running_loop(), {})
        if body_id not in opened:
            opened[body_id] = way_to(self.settings, body_id)
        return opened[body_id]

    async def close_transports(self) -> None:
        """Close the connections that this event loop opened."""
        for one in self._opened.pop(asyncio.get_running_loop(), {}).values():
            await one.aclose()


def way_to(settings: Settings, body_id: str) -> Transport:
    """The way to a body by the addresses of its settings. Raises `DestinationRefused` for one that is none to call."""
    told = settings.bodies.get(body_id, {})
    addresses = [value for value in told.values() if value.startswith(("https://", "http://"))]
    reach = {f"{number}_url": address for number, address in enumerate(addresses)}
    reach |= {name: told[name] for name in _REACH if name in told}
    return Transport.open(body_id, reach, allow_loopback=settings.profile in ("demo", "test"))


def configured(one: Installed, settings: Settings, body_id: str = "", name: str = "") -> Connector:
    """A connector with the operator's settings, and what the gateway itself can tell it."""
    body_id = body_id or one.manifest.id
    values = dict(settings.bodies.get(body_id, {}))
    ours = {"notifications_url", "worklist_for", *DROP}  # the body's, whatever its connector
    if one.manifest.transport != "api" and "notifications_url" in values:  # called for its notices alone
        ours |= _REACH
    for one_of_ours in ours:
        values.pop(one_of_ours, None)
    own = {
        "departement": settings.departement,
        "organisme": body_id,
        "nom_structure": name,
        "referentiels": str(settings.home / "referentiels" / body_id),
    }
    known = {setting.name for setting in one.manifest.setting}
    for setting, value in own.items():
        if setting in known and value:
            values.setdefault(setting, value)
    if not values.get("departement") and any(
        each.name == "departement" and each.required for each in one.manifest.setting
    ):
        who = "set MAILLON_DEPARTEMENT to the Département served, as CAF files write it (040)"
        raise ManifestError(Path(f"{body_id} settings"), [("departement", who)])
    return one.create(values)
