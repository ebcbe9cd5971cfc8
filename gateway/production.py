"""What must be true before the gateway serves, and what `maillon doctor` looks at."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from connectors.failures import DestinationRefused
from connectors.manifest import Installed, ManifestError, installed
from gateway import clock, journal_files, key_marks, other_clocks, schedule, timestamp
from gateway.access import partners
from gateway.access.mtls import ProxyTrust
from gateway.app import readiness
from gateway.clock import day_of
from gateway.console.provider import LOOPBACK, on_loopback
from gateway.console.signin import require_complete
from gateway.policy import Policy
from gateway.problems import Misconfigured, Problem
from gateway.registry import Gateway, configured, way_to
from gateway.settings import Settings, unknown_variables

KEY_FILES = (
    "wrap.key",
    "index.key",
    "pseudonym.key",
    "exchange.key",
    "quarantine.key",
    "fse_sensible.key",
    "worklist.key",
    "dpop-nonce.key",
    "journal.ed25519",
    "webhook.ed25519",
    "oauth.es256",
)


def missing(settings: Settings) -> list[str]:
    """What the production profile lacks, as sentences that say what to provide; empty when complete."""
    if settings.profile != "production":
        return []
    lacks = []
    if not settings.issuer.startswith("https://"):
        lacks.append("MAILLON_ISSUER must be an https address.")
    if not settings.proxies:
        lacks.append("MAILLON_PROXIES must name the reverse proxy that ends TLS, by its address.")
    try:
        ProxyTrust.of(settings.proxies)
    except Misconfigured as problem:
        lacks.append(problem.detail)
    if not settings.database_url.startswith("postgresql"):
        lacks.append("MAILLON_DATABASE_URL must name a PostgreSQL database.")
    if settings.journal_origin == "maillon.local/journal":
        lacks.append("MAILLON_JOURNAL_ORIGIN must be this gateway's own origin.")
    if not settings.departement:
        lacks.append("MAILLON_DEPARTEMENT must name the Département served, as CAF files do (040).")
    if settings.timestamp_url and settings.timestamp_authorities is None:
        lacks.append("MAILLON_TIMESTAMP_AUTHORITIES must name the roots that time stamps chain to.")
    lacks += [
        f"The key file keys/{name} must be provided in MAILLON_HOME."
        for name in KEY_FILES
        if not (settings.home / "keys" / name).exists()
    ]
    try:
        require_complete(settings)
    except Problem as problem:
        lacks.append(problem.detail)
    try:
        trusted = settings.policy_trusted.read_bytes() if settings.policy_trusted else b""
        Policy.load(settings.policy_file, require_signature=True, trusted=trusted)
    except Problem as problem:
        lacks.append(f"The decision table must be signed ({problem.code}): {problem.detail}")
    return lacks


def wrong_addresses(settings: Settings) -> list[str]:
    """The bodies whose settings hold an address that is no place to call; looked at again at each call."""
    wrong = []
    for body in sorted(settings.bodies):
        try:
            way_to(settings, body)
        except DestinationRefused as refused:
            what, act = _WRONG.get(refused.code, _NO_PLACE)
            wrong.append(f"{what.format(f'under [bodies.{body}]')} ({refused.code}): {act}.")
    return wrong


_NO_PLACE = (
    "An address {} is no place to call",
    "write https and the partner's full name; plain http and bare addresses pass only inside its `networks`",
)
_WRONG = {
    "ca-unreadable": ("`ca` {}, the file of authorities, is no PEM file that opens", "name one"),
    "networks-invalid": ("`networks` {} is no list of networks", "write them by commas, as 10.2.0.0/16"),
}
"""What an operator has to correct, by code of `DestinationRefused`: (what, the act)."""


def require(settings: Settings, host: str) -> None:
    """Refuse to start half-configured. Raises `Misconfigured` naming all that is missing."""
    if lacks := [*missing(settings), *wrong_addresses(settings)]:
        raise Misconfigured("half-configured", " ".join(lacks))
    if settings.profile != "production" and on_loopback(settings.issuer) and host not in LOOPBACK:
        # Nothing is encrypted there, and the console lets anybody in.
        raise Misconfigured("loopback-only", "A loopback issuer is for loopback only; use the production profile.")


def examine(settings: Settings) -> list[dict[str, Any]]:
    """Every check of `maillon doctor`: name, ok, and what was found or what to do."""
    checks = [
        _check("profile", not (lacks := missing(settings)), " ".join(lacks) or settings.profile),
        _check("settings", not (misspelt := unknown_variables()), _nothing_reads(misspelt)),
        _check("addresses", not (wrong := wrong_addresses(settings)), " ".join(wrong) or "places to call"),
    ]
    if settings.timestamp_url:
        checks.append(_stamps(settings))
    connectors = installed()
    speaking = dict(connectors)  # by body: each connector under its own id, then whoever is registered under another
    ending = ExitStack()
    try:
        gateway = Gateway.open(settings, create=False)
        ending.callback(gateway.engine.dispose)
        state = readiness(gateway)
        checks.append(
            _check(
                "database",
                state["database"],
                "reachable and current"
                if state["database"]
                else "does not answer, takes no writing (a standby, a closed file), or not migrated: start it, check "
                "MAILLON_DATABASE_URL, run `maillon serve` once",
            )
        )
        checks.append(_keys(gateway, stored=state["database"]))
        if state["database"]:
            checks.append(_journal(gateway, sealed=state["journal"]))
            checks.append(_clock(gateway))
            checks += [_scheduled(one) for one in schedule.states(gateway)]
            checks += map(_unread, sorted(settings.bodies.keys() - gateway.bodies))
            checks += _credentials(gateway)
            for body in gateway.bodies.values():
                if body.connector in connectors:
                    speaking[body.id] = connectors[body.connector]
                elif body.role != "dpo":  # who has no document of its own
                    checks.append(_check(f"body {body.id}", False, f"install the connector {body.connector}"))
    except Problem as problem:
        checks.append(_check("gateway", False, f"{problem.code}: {problem.detail}"))
    except SQLAlchemyError as error:
        checks.append(_check("gateway", False, f"the database stopped answering ({type(error).__name__})"))
    finally:
        ending.close()
    return checks + [_configured(settings, id, one) for id, one in sorted(speaking.items())]


def _configured(settings: Settings, id: str, one: Installed) -> dict[str, Any]:
    """The settings of what speaks for a body are those that its manifest asks for."""
    used = id in settings.bodies or id != one.manifest.id
    name = f"connector {id}" if id == one.manifest.id else f"body {id}"
    try:
        configured(one, settings, id)
    except ManifestError as error:
        told = f"under [bodies.{id}]: " + "; ".join(f"{where}: {what}" for where, what in error.problems)
        return _check(name, not used, told if used else f"not used; to use it, {told}")
    return _check(name, True, "configured")


def _stamps(settings: Settings) -> dict[str, Any]:
    """The certificates that time stamps chain to last: without them the journal is stamped no more."""
    try:
        found = timestamp.ending(settings, clock.now())
    except (OSError, ValueError):
        told = "MAILLON_TIMESTAMP_AUTHORITIES and MAILLON_TIMESTAMP_CHAIN name PEM files: one cannot be read"
        return _check("stamps", False, told)
    if not found:
        return _check("stamps", True, "the certificates they chain to last")
    ends = ", ".join(f"{one.name} on {one.ends:%Y-%m-%d} (MAILLON_{one.setting.upper()})" for one in found)
    return _check("stamps", False, f"ends: {ends}. Get what follows it from the authority and add it to the file")


def _unread(id: str) -> dict[str, Any]:
    told = f"nothing reads [bodies.{id}]: register this body (maillon partner add {id}), or correct its id"
    return _check(f"body {id}", False, told)


def _keys(gateway: Gateway, *, stored: bool) -> dict[str, Any]:
    """The key files are those of the database, whole, and closed to other accounts."""
    try:
        if stored:
            key_marks.require(gateway.engine, gateway.keys, keep=False)
        gateway.keys.require_whole()
        if opened := [path.name for path in gateway.keys.folder.glob("[!.]*") if path.stat().st_mode & 0o077]:
            return _check("keys", False, f"{', '.join(sorted(opened))}: open to other accounts; chmod 600")
    except Problem as problem:
        return _check("keys", False, f"{problem.code}: {problem.detail}")
    except PermissionError as error:
        return _check("keys", False, f"{error.filename} is closed to this account: chown it to that of the services")
    return _check("keys", True, "whole, closed to others" + (", those of this database" if stored else ""))


def _credentials(gateway: Gateway) -> list[dict[str, Any]]:
    """The partners who will soon be let in no more, or are not already, unless they change over."""
    with gateway.engine.connect().execution_options(read_only=True) as connection:
        found = partners.ending(connection)
    return [
        _check(
            f"partner {one.client_id}",
            False,
            f"what it authenticates with (a certificate, or a key that was replaced) ends on {day_of(one.at)}: it must "
            "change over; when it gives another name or other keys, maillon partner rotate",
        )
        for one in found
    ]


def _scheduled(one: schedule.State) -> dict[str, Any]:
    """What the gateway does by itself: off, done, failing, or left undone because no process runs."""
    if not one.period:
        detail = "off"
    elif one.failures:
        detail = f"failed {one.failures} times in a row ({one.reason}); tried again by the server"
    elif not one.ok:
        detail = f"late, last done {one.done_at or 'never'}: is a server running?"
    else:
        detail = f"last done {one.done_at}" if one.done_at else "not done yet"
    return _check(one.name, one.ok, detail)


def _nothing_reads(variables: list[str]) -> str:
    return f"nothing reads {', '.join(variables)}: misspelt?" if variables else "all read"


def _journal(gateway: Gateway, *, sealed: bool) -> dict[str, Any]:
    """A database that was just restored is compared with the files before anything is published."""
    if sealed and journal_files.behind(gateway.engine, gateway.keys, gateway.settings):
        return _check("journal", False, _BROKEN.format("journal-behind"))
    return _check("journal", sealed, "publishing" if sealed else _unsealed(gateway))


_BROKEN = "{}: nothing is signed nor accepted (docs/journal.md)"


def _unsealed(gateway: Gateway) -> str:
    """Why exchanges are refused: the journal is not the published one, or is not published, or not cosigned."""
    try:
        with gateway.engine.connect().execution_options(read_only=True) as connection:
            code = journal_files.unsealed(connection, gateway.settings)
    except SQLAlchemyError:
        return "not known: the database does not answer as it should"
    if code == "witness-quorum":
        return "witness-quorum: too few witnesses cosigned for too long, nothing is accepted until they do"
    if code in ("", "checkpoint"):
        return "no recent checkpoint: is a server running, can it write in MAILLON_HOME/journal?"
    return _BROKEN.format(code)


def _clock(gateway: Gateway) -> dict[str, Any]:
    """The database's clock and ours must agree: leases and tokens depend on it."""
    if why := other_clocks.doubt(gateway.engine):
        return _check("clock", False, why)
    if gateway.engine.dialect.name == "sqlite":
        return _check("clock", True, "same machine as the database, and later than the journal's last seal")
    with gateway.engine.connect() as connection:
        there = connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one()
    apart = abs(float(there) - time.time())
    return _check("clock", apart < 2, f"{apart:.1f} s from the database's clock")


def _check(name: str, ok: bool, detail: str) -> dict[str, Any]:
    return {"check": name, "ok": ok, "detail": detail}
