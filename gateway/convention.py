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
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import bindparam, insert, select

from connectors.manifest import Manifest, installed
from gateway.categories import bridge
from gateway.own_documents import OWN
from gateway.policy_table import Table, read
from gateway.problems import Invalid, Unknown
from gateway.storage.tables.access import client
from gateway.storage.tables.basis import convention as convention_table
from gateway.unit_of_work import UnitOfWork
from schemas.annuaire import NatureOrganisation
from schemas.champ import CATEGORIES
from schemas.normalisation import in_plain_sight

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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

    def etat_le(self, day: date) -> Etat:
        """The state on a day (Europe/Paris); the last day is still active."""
        if self.etat != "active":
            return self.etat
        return "a_venir" if day < self.debut else "expiree" if day > self.fin else "active"

    def flows(self, day: date) -> Iterator[Flow]:
        """Every flow, with whether it is open that day."""
        return (flow for _, flow in self.placed(day))

    def placed(self, day: date) -> Iterator[tuple[str, Flow]]:
        """Every flow, with the place of the file that declares it (`annexe.0.flux.2`)."""
        for rank, flux in enumerate(self.flux):
            yield f"flux.{rank}", self._flow(flux, None, day)
        for number, annexe in enumerate(self.annexe):
            for rank, flux in enumerate(annexe.flux):
                yield f"annexe.{number}.flux.{rank}", self._flow(flux, annexe, day)

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


class Fault(NamedTuple):
    """One fault of a convention: its place in the file (`annexe.0.flux.2.document`), a stable code, a sentence."""

    place: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.place}: {self.message}" if self.place else f"{self.code}: {self.message}"


@lru_cache(maxsize=256)
def parse(content: bytes) -> Convention:
    """A convention from its file. Raises `Invalid` (`convention-invalid`) with what is wrong and where."""
    found, faults = understood(content)
    if found is None or faults:
        raise Invalid("convention-invalid", "; ".join(map(str, faults)))
    return found


def understood(content: bytes) -> tuple[Convention | None, list[Fault]]:
    """A convention, if its words can be read, and everything that is wrong in it."""
    try:
        found = Convention.model_validate(tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return None, [Fault("", "toml", f"The file is not readable TOML: {error}")]
    except ValidationError as error:
        return None, [_misread(one) for one in error.errors()[:8]]
    return found, check(found)


def _misread(error: ErrorDetails) -> Fault:
    """What the grammar of a convention does not take, in plain words."""
    place, kind = ".".join(map(str, error["loc"])), error["type"]
    if kind.startswith("date_"):
        return Fault(place, "date", "write a date without quotes, year-month-day: 2026-12-31")
    words = {"missing": "this word is missing", "extra_forbidden": "a convention has no such word here"}
    return Fault(place, "word", words.get(kind, error["msg"]))


def check(convention: Convention, law: Table | None = None) -> list[Fault]:
    """Where a convention contradicts itself, or says what the law does not allow it to say."""
    law = law or _law()
    found: list[Fault] = [*_check_whole(convention)]
    seen: set[str] = set()
    for place, flow in convention.placed(convention.debut):
        found += [
            Fault(f"{place}.{word}", code, f"{flow.id}: {message}") for word, code, message in _check_flow(flow, law)
        ]
        if flow.id in seen:
            found.append(Fault(place, "flow-duplicate", f"{flow.id}: declared twice"))
        seen.add(flow.id)
    documents = {flow.document for flow in convention.flows(convention.debut)}
    for rank, switch in enumerate(convention.activation_territoire):
        if unknown := set(switch.documents) - documents:
            place, told = f"activation_territoire.{rank}.documents", ", ".join(sorted(unknown))
            found.append(Fault(place, "switch-unknown", f"{switch.territoire}: no flow carries {told}"))
    return [*found, *_check_desserte(convention)]


def _check_whole(convention: Convention) -> Iterator[Fault]:
    if convention.fin < convention.debut:
        yield Fault("fin", "dates", f"fin comes before debut ({convention.debut})")
    for rank, one in enumerate(convention.annexe):
        if one.fin and one.debut and one.fin < one.debut:
            yield Fault(f"annexe.{rank}.fin", "dates", f"fin comes before debut ({one.debut})")
    if not convention.flux and not convention.annexe:
        yield Fault("flux", "no-flow", "a convention names at least one flow")
    parties = [(f"partie.{rank}.id", one.id) for rank, one in enumerate(convention.partie)]
    parties += [(f"annexe.{rank}.partie.id", one.partie.id) for rank, one in enumerate(convention.annexe)]
    for number, (place, id) in enumerate(parties):
        if any(id == other for _, other in parties[:number]):
            yield Fault(place, "party-twice", f"{id} signs twice: a party signs once")


def _check_desserte(convention: Convention) -> Iterator[Fault]:
    parties = {one.id for one in convention.partie} | {one.partie.id for one in convention.annexe}
    named = dict[tuple[str, str], str]()
    for rank, one in enumerate(convention.desserte):
        place = f"desserte.{rank}"
        if one.organisme not in parties:
            yield Fault(f"{place}.organisme", "service-party", f"{one.service}: {one.organisme} signs nothing here")
        if outside := sorted(code for code in one.communes if not _inside(code, convention.perimetre)):
            message = f"{one.service}: {', '.join(outside)} outside the perimeter"
            yield Fault(f"{place}.communes", "service-outside", message)
        for code in one.communes:
            if (other := named.setdefault((one.nature, code), one.service)) != one.service:
                message = f"{code}: served by {other} and {one.service}, both {one.nature}"
                yield Fault(f"{place}.communes", "service-twice", message)


def _check_flow(flow: Flow, law: Table) -> Iterator[tuple[str, str, str]]:
    """(word of the flow, stable code, sentence)."""
    for word, fact, value in (
        ("de", "sender", flow.role_de), ("vers", "recipient", flow.role_vers), ("regime", "regime", flow.regime),
        ("purpose", "purpose", flow.purpose), ("art9_gate", "art9_gate", flow.art9_gate),
    ):  # fmt: skip
        if value not in law.domains[fact]:
            yield word, "flow-word", f"unknown {fact} {value or '(a body that is not a party)'}"
            return
    reachable = law.reachable(flow.role_de, flow.role_vers, flow.regime, flow.purpose)
    if not reachable:
        yield "purpose", "flow-no-permit", "no rule of the decision table, signed or proposed, ever permits this flow"
    for name in flow.categories or ():  # a category of the model claims only what the law permits of it
        if reachable and not (codes_of([name]) & reachable.keys()):
            yield "categories", "flow-category", f"the law never permits {name} here"
    if flow.information == "collective":
        if law.regimes[flow.regime].information != "collective":
            yield "information", "flow-information", f"{flow.regime} asks for information given to each person"
        if not flow.notice:
            yield "notice", "flow-notice", "a collective information names its notice"


def check_documents(convention: Convention, connectors: Mapping[str, str]) -> Iterator[Fault]:
    """Flows whose document their recipient could never receive.

    A flow names what its recipient is written, or is asked for. `connectors`: the connector that speaks for each body
    already known; a body that registers later may come with any of those installed. Raises `ManifestError`.
    """
    received = {id: _received(one.manifest) | OWN.keys() for id, one in installed().items()}
    received_by_any = frozenset(OWN).union(*received.values())
    known = received_by_any.union(*(one.manifest.documents for one in installed().values()))
    for place, flow in convention.placed(convention.debut):
        connector = connectors.get(flow.vers)
        its = received.get(connector or "", received_by_any)
        if flow.document in its:
            continue
        who = f"{flow.vers} (connector {connector}) does" if connector in received else "bodies do"
        what = f"{who} not receive {flow.document}" if flow.document in known else f"no document is {flow.document}"
        yield Fault(f"{place}.document", "flow-document", f"{flow.id}: {what}; is it {_nearest(flow.document, its)}?")


def _nearest(document: str, ids: Collection[str]) -> str:
    """The ids most like this one, else those of the same partner, else all of them."""
    partner = document.partition(".")[0]
    same = [id for id in ids if id.partition(".")[0] == partner]
    return " or ".join(difflib.get_close_matches(document, ids, n=2) or sorted(same or ids))


def _received(manifest: Manifest) -> frozenset[str]:
    return manifest.ids("write") | manifest.ids("pull")


# --- storage --------------------------------------------------------------------------------------------------------


def today(work: UnitOfWork) -> date:
    """The day of this transaction in metropolitan France."""
    return datetime.fromisoformat(work.now).astimezone(_PARIS).date()


def _hidden(value: Any, place: str = "") -> Iterator[Fault]:
    """Texts that hide, or turn round, a part of themselves: what is signed is what pages show."""
    if isinstance(value, str) and not in_plain_sight(value):
        yield Fault(place, "text-hidden", "a character that no page shows, or a second line")
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in children:
        yield from _hidden(one, f"{place}.{name}".lstrip("."))


def add(work: UnitOfWork, content: bytes) -> dict[str, Any]:
    """Register a convention or a new version of one; the same bytes again change nothing.

    Answers `{id, version, sha256, etat, added, changes}`. Raises `Invalid` when it is not sound.
    """
    convention = parse(content)
    if faults := [*_hidden(convention.model_dump()), *check_documents(convention, _speakers(work))]:
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
    return tuple(flow for flow in _flows(work, None) if flow.etat != "brouillon")


def versions(work: UnitOfWork) -> tuple[tuple[str, int], ...]:
    """Each convention with its last version: what `declared` depends on, with the day."""
    return tuple(sorted((identifier, version) for identifier, (version, _) in _latest(work).items()))


def open_to(work: UnitOfWork, body: str) -> list[Flow]:
    """The flows in force that start or end at this body."""
    return [flow for flow in _flows(work, None) if flow.active and body in (flow.de, flow.vers)]


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
