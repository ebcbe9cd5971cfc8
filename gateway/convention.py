"""The register of the conventions between bodies: who may send what to whom, where and until when.

A convention is one TOML file, kept byte for byte with its versions; `convention_model.py` is what it says,
`convention_checks.py` what it may not say.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import date
from functools import lru_cache
from typing import Any

from sqlalchemy import bindparam, insert, select

from connectors.manifest import installed
from gateway import clock
from gateway.convention_checks import against_law, check_documents, hidden, parse
from gateway.convention_model import Convention, Flow, serving
from gateway.problems import Invalid, Unknown
from gateway.storage.tables.access import client
from gateway.storage.tables.basis import convention as convention_table
from gateway.unit_of_work import UnitOfWork


def today(work: UnitOfWork) -> date:
    """The day of this transaction in metropolitan France."""
    return clock.local(work.now).date()


def add(work: UnitOfWork, content: bytes) -> dict[str, Any]:
    """Register a convention or a new version of one; the same bytes again change nothing.

    Answers `{id, version, sha256, etat, added, changes}`. Raises `Invalid` when it is not sound.
    """
    convention = parse(content)
    faults = [*against_law(convention, work.law), *hidden(convention.model_dump())]
    if faults := [*faults, *check_documents(convention, _speakers(work))]:
        raise Invalid("convention-invalid", "; ".join(map(str, faults)))
    digest = hashlib.sha256(content).hexdigest()
    latest = _latest(work).get(convention.id)
    version = latest[0] if latest else 0
    added = latest is None or latest[1] != content
    if added:
        version += 1
        work.connection.execute(
            insert(convention_table).values(
                id=convention.id, version=version, content=content, sha256=digest, added_at=work.now
            )
        )
        work.scratch.pop("convention", None)
    changes = diff(latest[1], content) if latest and added else []
    etat = convention.etat_le(today(work))
    return {
        "id": convention.id, "version": version, "sha256": digest, "etat": etat, "added": added, "changes": changes,
    }  # fmt: skip


def _speakers(work: UnitOfWork) -> dict[str, str]:
    """The connector that speaks for each body: the one it is registered with, or the one of its own id."""
    query = select(client.c.body, client.c.connector).order_by(client.c.created_at)
    return {id: id for id in installed()} | {row.body: row.connector for row in work.connection.execute(query)}


def list_(work: UnitOfWork) -> list[dict[str, Any]]:
    """Every convention in its last version, with its state today."""
    rows = []
    for identifier, (version, content) in sorted(_latest(work).items()):
        one = parse(content)
        flows = list(one.flows(today(work)))
        rows.append({
            "id": identifier, "version": version, "titre": one.titre, "nature": one.nature,
            "parties": [*(party.id for party in one.partie), *(annexe.partie.id for annexe in one.annexe)],
            "debut": one.debut.isoformat(), "fin": one.fin.isoformat(), "etat": one.etat_le(today(work)),
            "flux": len(flows), "flux_actifs": sum(flow.active for flow in flows),
        })  # fmt: skip
    return rows


def show(work: UnitOfWork, identifier: str, version: int | None = None) -> str:
    """The file as it was registered, in its last version or a given one. Raises `Unknown`."""
    query = select(convention_table.c.content).where(convention_table.c.id == identifier)
    query = query.where(convention_table.c.version == version) if version else query.order_by(
        convention_table.c.version.desc()
    ).limit(1)  # fmt: skip
    content = work.connection.execute(query).scalar()
    if content is None:
        known = work.connection.execute(select(convention_table.c.id).distinct().order_by(convention_table.c.id))
        raise Unknown("convention-unknown", f"Registered conventions: {', '.join(known.scalars()) or 'none'}.")
    return bytes(content).decode()


def diff(before: bytes, after: bytes) -> list[str]:
    """Lines that changed between two versions, `-` before and `+` after."""
    lines = difflib.unified_diff(before.decode().splitlines(), after.decode().splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def flows_from(work: UnitOfWork, sender: str, purposes: Collection[str] | None = None) -> list[Flow]:
    """Flows that start at this body for these purposes (all of them by default), active or not."""
    return [flow for flow in _flows(work) if flow.de == sender and (purposes is None or flow.purpose in purposes)]


def flows_to(work: UnitOfWork, recipient: str, purposes: Collection[str] | None = None) -> list[Flow]:
    """Flows that end at this body."""
    return [flow for flow in _flows(work) if flow.vers == recipient and (purposes is None or flow.purpose in purposes)]


def flow(work: UnitOfWork, identifier: str) -> Flow | None:
    """A flow by its id, as it is today; None when no convention in its last version declares it any more."""
    return next((one for one in _flows(work) if one.id == identifier), None)


def flow_as_it_was(work: UnitOfWork, identifier: str) -> Flow | None:
    """A flow by its id, in the last version of its convention that declared it."""
    named = identifier.partition(":")[0].partition(".")[0]
    query = select(convention_table).where(convention_table.c.id == named).order_by(convention_table.c.version.desc())
    for row in work.connection.execute(query):
        try:
            flows = parse(bytes(row.content)).flows(today(work))
        except Invalid:  # what this version said is no longer allowed
            continue
        if found := next((one for one in flows if one.id == identifier), None):
            return replace(found, version=row.version)
    return None


def services_of(work: UnitOfWork, commune: str) -> list[dict[str, Any]]:
    """Who serves a commune (INSEE code) today under the conventions in force, and the flows open there for each."""
    found = []
    for identifier, one in _in_force(work):
        opened = [flow for flow in one.flows(today(work)) if flow.active and flow.covers(commune)]
        found += [
            {
                "service": row.service, "nature": row.nature, "organisme": row.organisme, "convention": identifier,
                "flux": [flow.id for flow in opened if row.organisme in (flow.de, flow.vers)],
            }
            for row in serving(one, commune)
        ]  # fmt: skip
    return found


def served(work: UnitOfWork) -> list[str]:
    """Communes (INSEE codes) and Départements that the conventions in force name in their services."""
    return sorted({code for _, one in _in_force(work) for row in one.desserte for code in row.communes})


def _in_force(work: UnitOfWork) -> Iterator[tuple[str, Convention]]:
    for identifier, (_, content) in sorted(_latest(work).items()):
        one = parse(content)
        if one.etat_le(today(work)) == "active":
            yield identifier, one


def declared(work: UnitOfWork) -> tuple[Flow, ...]:
    """Every flow of every convention in its last version, as it is today, but those of drafts."""
    return tuple(flow for flow in _flows(work) if flow.etat != "brouillon")


def versions(work: UnitOfWork) -> tuple[tuple[str, int], ...]:
    """Each convention with its last version: what `declared` depends on, with the day."""
    return tuple(sorted((identifier, version) for identifier, (version, _) in _latest(work).items()))


def opened(work: UnitOfWork, since: str) -> list[Flow]:
    """The flows in force that were not, or were not as they are, at this instant: their convention began, came back,
    or changed."""
    before = _flows_of(tuple(_last(work, since).values()), clock.local(since).date())
    known = {replace(flow, version=0) for flow in before if flow.active}
    return [flow for flow in _flows(work) if flow.active and replace(flow, version=0) not in known]


def open_to(work: UnitOfWork, body: str) -> list[Flow]:
    """The flows in force that start or end at this body."""
    return [flow for flow in _flows(work) if flow.active and body in (flow.de, flow.vers)]


_VERSIONS = select(convention_table.c.id, convention_table.c.version, convention_table.c.sha256).order_by(
    convention_table.c.version
)
_CONTENTS = select(convention_table.c.sha256, convention_table.c.content).where(
    convention_table.c.sha256.in_(bindparam("missing", expanding=True))
)
_contents: dict[str, bytes] = {}
"""Conventions this process has read, by the digest of their text: a version never changes."""


def _latest(work: UnitOfWork) -> dict[str, tuple[int, bytes]]:
    """Last version of each convention, read once per transaction."""
    if "convention" not in work.scratch:
        work.scratch["convention"] = _last(work)
    latest: dict[str, tuple[int, bytes]] = work.scratch["convention"]
    return latest


def _last(work: UnitOfWork, at: str = "") -> dict[str, tuple[int, bytes]]:
    """Last version of each convention, now or at an instant."""
    query = _VERSIONS.where(convention_table.c.added_at <= at) if at else _VERSIONS
    last = {row.id: (row.version, row.sha256) for row in work.connection.execute(query)}
    if missing := [digest for _, digest in last.values() if digest not in _contents]:
        for row in work.connection.execute(_CONTENTS, {"missing": missing}):
            _contents[row.sha256] = bytes(row.content)
    return {one: (version, _contents[digest]) for one, (version, digest) in last.items()}


def _flows(work: UnitOfWork) -> tuple[Flow, ...]:
    latest = _latest(work)
    known: tuple[Any, tuple[Flow, ...]] | None = work.scratch.get("flows")
    if known is None or known[0] is not latest:
        known = work.scratch["flows"] = latest, _flows_of(tuple(latest.values()), today(work))
    return known[1]


@lru_cache(maxsize=64)
def _flows_of(latest: tuple[tuple[int, bytes], ...], day: date) -> tuple[Flow, ...]:
    found = [replace(flow, version=version) for version, content in latest for flow in parse(content).flows(day)]
    identified = {
        (flow.convention, flow.de, flow.vers) for flow in found if flow.purpose == "identification" and flow.active
    }
    return tuple(replace(flow, identification=(flow.convention, flow.de, flow.vers) in identified) for flow in found)
