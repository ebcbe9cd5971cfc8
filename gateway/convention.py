"""Conventions between bodies: who may send what to whom, where and until when.

A convention is one TOML file, kept byte for byte with its versions. It narrows what the law allows and never widens
it: a flow that claims a category no rule could ever permit is refused when the convention is added. Its state follows
from its dates: when it ends, its flows stop by themselves.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import bindparam, insert, select

from gateway.categories import bridge
from gateway.policy_table import Table, read
from gateway.problems import Invalid, Unknown
from gateway.storage.tables.basis import convention as convention_table
from gateway.unit_of_work import UnitOfWork
from schemas.annuaire import NatureOrganisation
from schemas.champ import CATEGORIES

_PARIS = ZoneInfo("Europe/Paris")
_LOCAL = frozenset({"ccas", "commune", "delegataire"})
"""Roles of one place: when the table of services names such a body, its flows are open in its communes only."""
BODY = r"^(?:\d{9}|\d{14}|[a-z][a-z0-9]*(?:[_.-][a-z0-9]+)*)$"
"""The id of a body: the words that its registration, its conventions and the journal take alike."""
Etat = Literal["brouillon", "a_venir", "active", "suspendue", "expiree"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Partie(_Strict):
    """A body that signs, under its id in this gateway."""

    id: str = Field(pattern=BODY, max_length=64)
    role: str
    nom: str
    siren: str = Field("", pattern=r"^(\d{9}(\d{5})?)?$")


class FluxDeclare(_Strict):
    """One flow: a document, for one purpose, under one regime."""

    de: str
    vers: str
    document: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")
    purpose: str
    regime: str
    base_legale: list[str] = Field(min_length=1)
    categories: list[str] | None = None
    """C-codes, or categories of the model; none: all that the law allows."""
    art9_gate: str = "none"
    necessite: str = Field("", pattern=r"^[0-9a-f]{0,64}$")
    """Digest of the written reason of a strict necessity (CASF L121-6-2)."""
    information: Literal["individuelle", "collective"] = "individuelle"
    notice: str = ""
    """Notice shown, `id:version`; a collective information needs one."""
    etat: Literal["active", "suspendue"] = "active"
    territoires: list[str] | None = None
    """Where it is open: commune codes, or département prefixes; none: the perimeter of the convention."""
    role_de: str = ""
    role_vers: str = ""
    """The role in which a party acts here, when it signs in several."""


class Annexe(_Strict):
    """What one CCAS signs for itself, in its own perimeter and for its own time."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    partie: Partie
    perimetre: list[str] = Field(default_factory=list)
    debut: date | None = None
    fin: date | None = None
    etat: Literal["brouillon", "active", "suspendue"] = "active"
    flux: list[FluxDeclare] = Field(min_length=1)


class Activation(_Strict):
    """The switch of one territory: the flows it names are open there, for that time, and nowhere else."""

    territoire: str
    communes: list[str] = Field(min_length=1)
    documents: list[str] = Field(min_length=1)
    experimental: bool = False
    debut: date
    fin: date | None = None
    evaluation_prevue: date | None = None
    etat: Literal["ouvert", "ferme"] = "ouvert"


class Desserte(_Strict):
    """Who serves these communes: a service (`SST de Dax`) of a body of the convention."""

    service: str
    nature: NatureOrganisation
    organisme: str
    communes: list[str] = Field(min_length=1)


class Convention(_Strict):
    id: str = Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=60)
    nature: Literal["accompagnement_global", "delegation_referent", "commune_departement", "echange_donnees"]
    titre: str
    debut: date
    fin: date
    renouvelable: bool = False
    etat: Literal["brouillon", "active", "suspendue"] = "active"
    perimetre: list[str] = Field(min_length=1)
    priorites: list[str] = Field(default_factory=list)
    instances: list[str] = Field(default_factory=list)
    dates_revue: list[date] = Field(default_factory=list)
    partie: list[Partie] = Field(min_length=2)
    flux: list[FluxDeclare] = Field(default_factory=list)
    annexe: list[Annexe] = Field(default_factory=list)
    activation_territoire: list[Activation] = Field(default_factory=list)
    desserte: list[Desserte] = Field(default_factory=list)

    @model_validator(mode="after")
    def _sound(self) -> Convention:
        if self.fin < self.debut or any(one.fin and one.debut and one.fin < one.debut for one in self.annexe):
            raise ValueError("fin comes before debut")
        if not self.flux and not self.annexe:
            raise ValueError("a convention names at least one flow")
        ids = [one.id for one in self.partie] + [one.partie.id for one in self.annexe]
        if len(set(ids)) != len(ids):
            raise ValueError("a party signs once")
        return self

    def etat_le(self, day: date) -> Etat:
        """The state on a day (Europe/Paris); the last day is still active."""
        if self.etat != "active":
            return self.etat
        return "a_venir" if day < self.debut else "expiree" if day > self.fin else "active"

    def flows(self, day: date) -> Iterator[Flow]:
        """Every flow, with whether it is open that day."""
        for flux in self.flux:
            yield self._flow(flux, None, day)
        for annexe in self.annexe:
            for flux in annexe.flux:
                yield self._flow(flux, annexe, day)

    def _flow(self, flux: FluxDeclare, annexe: Annexe | None, day: date) -> Flow:
        roles = {one.id: one.role for one in self.partie}
        if annexe:
            roles[annexe.partie.id] = annexe.partie.role
        switches = [one for one in self.activation_territoire if flux.document in one.documents]
        where = frozenset(flux.territoires or (annexe.perimetre if annexe else ()) or self.perimetre)
        if switches:
            opened = [one for one in switches if _switched_on(one, day)]
            places = {code for one in opened for code in one.communes}
            where = _both(places, where)
        roles_there = {
            flux.de: flux.role_de or roles.get(flux.de, ""),
            flux.vers: flux.role_vers or roles.get(flux.vers, ""),
        }
        for body, role in roles_there.items():
            served = [code for one in self.desserte if one.organisme == body for code in one.communes]
            if served and role in _LOCAL:
                where = _both(served, where)
        name = ":".join(
            (f"{self.id}.{annexe.id}" if annexe else self.id, flux.de, flux.vers, flux.document, flux.purpose)
        )
        state = self._flow_state(flux, annexe, day)
        return Flow(
            id=name,
            convention=self.id,
            de=flux.de,
            vers=flux.vers,
            document=flux.document,
            purpose=flux.purpose,
            regime=flux.regime,
            base_legale=tuple(flux.base_legale),
            role_de=roles_there[flux.de],
            role_vers=roles_there[flux.vers],
            categories=None if flux.categories is None else tuple(flux.categories),
            codes=None if flux.categories is None else codes_of(flux.categories),
            art9_gate=flux.art9_gate,
            necessite=flux.necessite,
            information=flux.information,
            notice=flux.notice,
            territoires=where,
            etat="suspendue" if state == "active" and not where else state,
        )

    def _flow_state(self, flux: FluxDeclare, annexe: Annexe | None, day: date) -> Etat:
        whole = self.etat_le(day)
        if whole != "active" or annexe is None:
            return whole if whole != "active" else flux.etat
        if annexe.etat != "active":
            return annexe.etat
        if annexe.debut and day < annexe.debut:
            return "a_venir"
        return "expiree" if annexe.fin and day > annexe.fin else flux.etat


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow of one convention, as it is on a day."""

    id: str
    """Stable between versions: convention, sender, recipient, document, purpose."""
    convention: str
    de: str
    vers: str
    document: str
    purpose: str
    regime: str
    base_legale: tuple[str, ...]
    role_de: str
    role_vers: str
    categories: tuple[str, ...] | None
    """As the convention writes them: C-codes, or categories of the model."""
    codes: frozenset[str] | None
    """C-codes the convention restricts the flow to; None: no restriction beyond the law."""
    art9_gate: str
    necessite: str
    information: str
    notice: str
    territoires: frozenset[str]
    etat: Etat
    version: int = 0
    """Version of the convention."""
    identification: bool = False
    """The same convention also opens a flow for identification between these two."""

    @property
    def active(self) -> bool:
        return self.etat == "active"

    def covers(self, commune: str | None) -> bool:
        """Is this commune (INSEE code) inside the territory? A person whose commune is unknown is outside."""
        return commune is not None and _inside(commune, self.territoires)

    def for_identification(self) -> Flow:
        """The exchange that only finds the person (P1); closed unless the convention opens one."""
        state: Etat = self.etat if self.identification else "suspendue"
        return replace(
            self, purpose="identification", etat=state, categories=None, codes=None, art9_gate="none", necessite=""
        )


def _both(some: Iterable[str], others: Iterable[str]) -> frozenset[str]:
    """What two territories have in common."""
    some, others = frozenset(some), frozenset(others)
    return frozenset(code for code in some if _inside(code, others)) | {one for one in others if _inside(one, some)}


def _inside(code: str, where: Iterable[str]) -> bool:
    """A territory is a commune code (5 characters) or the prefix of a département (2 or 3)."""
    return any(code == one or (len(one) < 5 and code.startswith(one)) for one in where)


def serving(convention: Convention, commune: str) -> list[Desserte]:
    """Who serves this commune (INSEE code): the row that names it before the row that names its Département."""
    rows = [(max(len(code) for code in one.communes if _inside(commune, [code])), one)
            for one in convention.desserte if _inside(commune, one.communes)]  # fmt: skip
    nearest = {one.nature: length for length, one in sorted(rows, key=lambda row: row[0])}
    return [one for length, one in rows if length == nearest[one.nature]]


def _switched_on(switch: Activation, day: date) -> bool:
    return switch.etat == "ouvert" and switch.debut <= day and (switch.fin is None or day <= switch.fin)


def codes_of(names: Iterable[str]) -> frozenset[str]:
    """C-codes as written, and those of each category of the model."""
    said = [bridge().codes_of(name) if name in CATEGORIES else frozenset({name}) for name in names]
    return frozenset().union(*said)


# --- reading and checking -------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _law() -> Table:
    return read()


@lru_cache(maxsize=256)
def parse(content: bytes) -> Convention:
    """A convention from its file. Raises `Invalid` (`convention-invalid`) with what is wrong and where."""
    try:
        found = Convention.model_validate(tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid("convention-invalid", f"The file is not readable TOML: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:8])
        raise Invalid("convention-invalid", wrong) from None
    if problems := check(found):
        raise Invalid("convention-invalid", "; ".join(f"{code}: {message}" for code, message in problems))
    return found


def check(convention: Convention, law: Table | None = None) -> list[tuple[str, str]]:
    """What a convention says that the law does not allow it to say: (stable code, sentence)."""
    law = law or _law()
    found: list[tuple[str, str]] = []
    seen: set[str] = set()
    for flow in convention.flows(convention.debut):
        found += [(code, f"{flow.id}: {message}") for code, message in _check_flow(flow, law)]
        if flow.id in seen:
            found.append(("flow-duplicate", f"{flow.id}: declared twice"))
        seen.add(flow.id)
    documents = {flow.document for flow in convention.flows(convention.debut)}
    for switch in convention.activation_territoire:
        if unknown := set(switch.documents) - documents:
            found.append(("switch-unknown", f"{switch.territoire}: no flow carries {', '.join(sorted(unknown))}"))
    return found + _check_desserte(convention)


def _check_desserte(convention: Convention) -> list[tuple[str, str]]:
    parties = {one.id for one in convention.partie} | {one.partie.id for one in convention.annexe}
    found, named = [], dict[tuple[str, str], str]()
    for one in convention.desserte:
        if one.organisme not in parties:
            found.append(("service-party", f"{one.service}: {one.organisme} signs nothing here"))
        if outside := sorted(code for code in one.communes if not _inside(code, convention.perimetre)):
            found.append(("service-outside", f"{one.service}: {', '.join(outside)} outside the perimeter"))
        for code in one.communes:
            if (other := named.setdefault((one.nature, code), one.service)) != one.service:
                found.append(("service-twice", f"{code}: served by {other} and {one.service}, both {one.nature}"))
    return found


def _check_flow(flow: Flow, law: Table) -> Iterator[tuple[str, str]]:
    for fact, value in (
        ("sender", flow.role_de), ("recipient", flow.role_vers), ("regime", flow.regime), ("purpose", flow.purpose),
        ("art9_gate", flow.art9_gate),
    ):  # fmt: skip
        if value not in law.domains[fact]:
            yield "flow-word", f"unknown {fact} {value or '(a body that is not a party)'}"
            return
    reachable = law.reachable(flow.role_de, flow.role_vers, flow.regime, flow.purpose)
    if not reachable:
        yield "flow-no-permit", "no rule of the decision table, signed or proposed, ever permits this flow"
    for name in flow.categories or ():  # a category of the model claims only what the law permits of it
        if reachable and not (codes_of([name]) & reachable.keys()):
            yield "flow-category", f"the law never permits {name} here"
    if flow.information == "collective":
        if law.regimes[flow.regime].information != "collective":
            yield "flow-information", f"{flow.regime} asks for information given to each person"
        if not flow.notice:
            yield "flow-notice", "a collective information names its notice"


def lint(paths: Collection[Path] = ()) -> list[str]:
    """`file:line: code message` for each problem of these convention files; without paths, of those of the tree."""
    if not paths:
        root = Path(__file__).resolve().parents[1]
        paths = [
            *sorted((root / "examples").rglob("convention*.toml")),
            *sorted(root.glob("gateway/demo/**/convention*.toml")),
        ]
    found = []
    for path in paths:
        try:
            parse(path.read_bytes())
        except Invalid as problem:
            found.append(f"{path}:1: {problem.code} {problem.detail}")
    return found


# --- storage --------------------------------------------------------------------------------------------------------


def today(work: UnitOfWork) -> date:
    """The day of this transaction in metropolitan France."""
    return datetime.fromisoformat(work.now).astimezone(_PARIS).date()


def add(work: UnitOfWork, content: bytes) -> dict[str, Any]:
    """Register a convention or a new version of one; the same bytes again change nothing.

    Answers `{id, version, sha256, etat, added, changes}`. Raises `Invalid` when it is not sound.
    """
    convention = parse(content)
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
        raise Unknown("convention-unknown", "List the conventions with `maillon convention list`.")
    return bytes(content).decode()


def diff(before: bytes, after: bytes) -> list[str]:
    """Lines that changed between two versions, `-` before and `+` after."""
    lines = difflib.unified_diff(before.decode().splitlines(), after.decode().splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def flows_from(
    work: UnitOfWork, sender: str, purposes: Collection[str] | None = None, on: date | None = None
) -> list[Flow]:
    """Flows that start at this body for these purposes (all of them by default), active or not, today or on a day."""
    return [flow for flow in _flows(work, on) if flow.de == sender and (purposes is None or flow.purpose in purposes)]


def flows_to(
    work: UnitOfWork, recipient: str, purposes: Collection[str] | None = None, on: date | None = None
) -> list[Flow]:
    """Flows that end at this body."""
    return [
        flow for flow in _flows(work, on) if flow.vers == recipient and (purposes is None or flow.purpose in purposes)
    ]


def flow(work: UnitOfWork, identifier: str) -> Flow | None:
    """A flow by its id, as it is today; None when no convention in its last version declares it any more."""
    return next((one for one in _flows(work, None) if one.id == identifier), None)


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
    for identifier, (_, content) in sorted(_latest(work).items()):
        one = parse(content)
        if one.etat_le(today(work)) != "active":
            continue
        opened = [flow for flow in one.flows(today(work)) if flow.active and flow.covers(commune)]
        found += [
            {
                "service": row.service, "nature": row.nature, "organisme": row.organisme, "convention": identifier,
                "flux": [flow.id for flow in opened if row.organisme in (flow.de, flow.vers)],
            }
            for row in serving(one, commune)
        ]  # fmt: skip
    return found


def declared(work: UnitOfWork) -> tuple[Flow, ...]:
    """Every flow of every convention in its last version, as it is today, but those of drafts."""
    return tuple(flow for flow in _flows(work, None) if flow.etat != "brouillon")


def versions(work: UnitOfWork) -> tuple[tuple[str, int], ...]:
    """Each convention with its last version: what `declared` depends on, with the day."""
    return tuple(sorted((identifier, version) for identifier, (version, _) in _latest(work).items()))


def purposes_of(work: UnitOfWork, body: str) -> frozenset[str]:
    """The purposes that the conventions in force open to a body, as sender or recipient."""
    return frozenset(flow.purpose for flow in _flows(work, None) if flow.active and body in (flow.de, flow.vers))


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
        last = {row.id: (row.version, row.sha256) for row in work.connection.execute(_VERSIONS)}
        if missing := [digest for _, digest in last.values() if digest not in _contents]:
            for row in work.connection.execute(_CONTENTS, {"missing": missing}):
                _contents[row.sha256] = bytes(row.content)
        work.scratch["convention"] = {one: (version, _contents[digest]) for one, (version, digest) in last.items()}
    latest: dict[str, tuple[int, bytes]] = work.scratch["convention"]
    return latest


def _flows(work: UnitOfWork, on: date | None) -> tuple[Flow, ...]:
    latest = _latest(work)
    if on is not None:
        return _flows_of(tuple(latest.values()), on)
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


def to_json(convention: Convention) -> str:
    """The convention as JSON, for a page or an export."""
    return json.dumps(convention.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False, indent=2)
