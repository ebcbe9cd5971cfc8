"""What a convention says: its parties, flows, annexes, switches and services, as its TOML file declares them, and the
flows that they make on a day.

Its state follows from its dates: when it ends, its flows stop by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.categories import bridge
from gateway.policy_table import Table
from schemas.annuaire import NatureOrganisation
from schemas.champ import CATEGORIES

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
        return commune is not None and inside(commune, self.territoires)

    def may_carry(self, law: Table) -> frozenset[str]:
        """C-codes that the law permits on this flow, within what its convention says."""
        permitted = frozenset(law.reachable(self.role_de, self.role_vers, self.regime, self.purpose))
        return permitted if self.codes is None else permitted & self.codes

    def for_identification(self) -> Flow:
        """The exchange that only finds the person (P1); closed unless the convention opens one."""
        state: Etat = self.etat if self.identification else "suspendue"
        return replace(
            self, purpose="identification", etat=state, categories=None, codes=None, art9_gate="none", necessite=""
        )


def _both(some: Iterable[str], others: Iterable[str]) -> frozenset[str]:
    """What two territories have in common."""
    some, others = frozenset(some), frozenset(others)
    return frozenset(code for code in some if inside(code, others)) | {one for one in others if inside(one, some)}


def inside(code: str, where: Iterable[str]) -> bool:
    """A territory is a commune code (5 characters) or the prefix of a département (2 or 3)."""
    return any(code == one or (len(one) < 5 and code.startswith(one)) for one in where)


def serving(convention: Convention, commune: str) -> list[Desserte]:
    """Who serves this commune (INSEE code): the row that names it before the row that names its Département."""
    rows = [(max(len(code) for code in one.communes if inside(commune, [code])), one)
            for one in convention.desserte if inside(commune, one.communes)]  # fmt: skip
    nearest = {one.nature: length for length, one in sorted(rows, key=lambda row: row[0])}
    return [one for length, one in rows if length == nearest[one.nature]]


def _switched_on(switch: Activation, day: date) -> bool:
    return switch.etat == "ouvert" and switch.debut <= day and (switch.fin is None or day <= switch.fin)


def codes_of(names: Iterable[str]) -> frozenset[str]:
    """C-codes as written, and those of each category of the model."""
    said = [bridge().codes_of(name) if name in CATEGORIES else frozenset({name}) for name in names]
    return frozenset().union(*said)
