"""Commands about who may exchange: partners and conventions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors.manifest import installed
from gateway import convention, journal
from gateway.access import partners
from gateway.commands import group
from gateway.commands.output import WRONG_USAGE, data, fail
from gateway.registry import Gateway
from gateway.settings import settings
from gateway.unit_of_work import UnitOfWork

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The convention, as TOML.")]
Partner = Annotated[str, typer.Argument(help="Id given by `maillon partner list`.")]
Jwks = Annotated[Path | None, typer.Option("--jwks", exists=True, dir_okay=False, help="JWKS file with public keys.")]
Certificate = Annotated[
    str, typer.Option(help="Instead of keys: what names it in its certificate, `san_dns=…`, `subject_dn=…`…")
]


DpopKey = Annotated[
    str | None,
    typer.Option("--dpop-jkt", help="Thumbprint (RFC 7638) of the one key its DPoP proofs are made with; '' for any."),
]


def register(app: typer.Typer) -> None:
    group(
        app, "partner", "Partners' OAuth clients.",
        add=partner_add, list=partner_list, rotate=partner_rotate, suspend=partner_suspend, resume=partner_resume,
    )  # fmt: skip
    group(
        app, "convention", "Conventions: parties, perimeter, flows, dates.",
        add=convention_add, list=convention_list, show=convention_show, serves=convention_serves,
    )  # fmt: skip


def _jwks(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        fail("bad-jwks", 'Give a JSON file of the form {"keys": [...]} with public keys.', WRONG_USAGE)


def _require_one(jwks: Path | None, certificate: str) -> None:
    if (jwks is None) == (not certificate):
        fail("one-credential", "Give --jwks, or --certificate.", WRONG_USAGE)


def _named(certificate: str) -> dict[str, str]:
    kind, _, value = certificate.partition("=")
    return {kind: value}


def partner_add(
    id: Annotated[str, typer.Argument(help="Id of the body, as conventions and settings name it.")],
    connector: Annotated[str, typer.Option(help="Connector that speaks for it; see `maillon connector list`.")],
    jwks: Jwks = None,
    certificate: Certificate = "",
    purpose: Annotated[
        list[str] | None, typer.Option(help="May be repeated; by default all its conventions allow.")
    ] = None,
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    role: Annotated[str, typer.Option(help="Legal role; by default the connector's.")] = "",
    dpop_jkt: DpopKey = None,
) -> None:
    """Register a partner's OAuth client; prints JSON with its client_id."""
    if connector not in installed() and role != "dpo":
        fail("connector-unknown", f"Connectors: {', '.join(sorted(installed()))}.", WRONG_USAGE)
    _require_one(jwks, certificate)
    gateway = Gateway.open(settings())
    if role and role not in (roles := gateway.policy.table.source["roles"]):
        fail("role-unknown", f"Roles: {', '.join(roles)}.", WRONG_USAGE)
    default = installed()[connector].manifest if connector in installed() else None
    with gateway.unit_of_work() as work:
        told = partners.register_partner(
            work,
            id,
            connector,
            _jwks(jwks) if jwks else None,
            purpose or (),
            name or (default.name if default and id == default.id else id),
            role=role or (default.role if default else None),
            issuer=settings().issuer,
            tls_client_auth=_named(certificate) if certificate else None,
            dpop_jkt=dpop_jkt or None,
        )
        journal.append(work, "admin.partner_add", client_id=id, outcome="added")
    data(told)


def partner_list() -> None:
    """One JSON object per partner."""
    gateway = Gateway.open(settings())
    with gateway.engine.connect().execution_options(read_only=True) as connection:
        for one in partners.list_partners(connection):
            data(one)


def partner_rotate(
    id: Partner,
    jwks: Jwks = None,
    certificate: Certificate = "",
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Withdraw the former ones now, with every token they obtained.")
    ] = False,
    dpop_jkt: DpopKey = None,
) -> None:
    """Register new keys; the old ones still work for a day, so that the partner can change over. A certificate of
    another name, or another key of its proofs, counts at once, in the place of the former."""
    if dpop_jkt is None or jwks or certificate or compromised:
        _require_one(jwks, certificate)

    def change(work: UnitOfWork) -> dict[str, Any]:
        told: dict[str, Any] = {} if dpop_jkt is None else partners.pin(work, id, dpop_jkt or None)
        if jwks:
            told |= partners.rotate(work, id, _jwks(jwks), overlap=0 if compromised else partners.OVERLAP)
        elif certificate:
            told |= partners.rename(work, id, _named(certificate), compromised=compromised)
        return told

    _change(change, "admin.partner_rotate", id, "withdrawn" if compromised else "rotated")


def partner_suspend(id: Partner) -> None:
    """Stop a partner at once: no new token, and those it holds are refused."""
    _change(lambda work: partners.suspend(work, id), "admin.partner_suspend", id, "suspended")


def partner_resume(id: Partner) -> None:
    """Let a suspended partner come back; it asks for new tokens."""
    _change(lambda work: partners.resume(work, id), "admin.partner_resume", id, "resumed")


def _change(change: Callable[[UnitOfWork], dict[str, Any]], event: str, id: str, outcome: str) -> None:
    """What is changed of a partner, and its entry in the journal, in one transaction; then what to print of it."""
    with Gateway.open(settings()).unit_of_work() as work:
        told = change(work)
        journal.append(work, event, client_id=id, outcome=outcome)
    data(told)


def convention_add(file: File) -> None:
    """Register a convention, or a new version of one."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = convention.add(work, file.read_bytes())
        journal.append(work, "convention.add", outcome="added")
    data(told)


def convention_list() -> None:
    """One JSON object per convention, with its state today."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        for one in convention.list_(work):
            data(one)


def convention_show(id: Annotated[str, typer.Argument(help="Id given by `maillon convention list`.")]) -> None:
    """The convention as it was registered."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        sys.stdout.write(convention.show(work, id))


def convention_serves(commune: Annotated[str, typer.Argument(help="INSEE code of a commune.")]) -> None:
    """Which service of which body serves a commune today, with the flows open there: one JSON object each."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        found = convention.services_of(work, commune)
        if not found:
            served = ", ".join(convention.served(work)) or "none"
            fail("commune-unknown", f"No convention in force serves this commune; served: {served}.", WRONG_USAGE)
        for row in found:
            data(row)
