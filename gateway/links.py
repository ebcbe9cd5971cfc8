"""Who speaks of a person and who follows her: one look at her dossier, for every flow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gateway import clock, retention
from gateway.categories import Told, told
from gateway.merge import Portrait, by_shape
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork
from schemas.record import Current, value_of

FOLLOWING = ("accompagnements[", "orientations[")
"""The facts that say who follows somebody."""
_ORIENTED = ".organisme_accueil.nom"
_HOST = (".organisation.nom", ".organisation.ref", _ORIENTED, ".organisme_accueil.ref")
_OPEN_RIGHTS = frozenset({"demande_en_attente", "ouvert_versable", "ouvert_suspendu", "ouvert_versement_suspendu"})
_ROLE_OF_NATURE = {
    "departement": "departement", "service_social": "departement", "sst": "departement", "ccas": "ccas",
    "cias": "ccas", "commune": "commune", "france_travail": "france_travail", "caf": "caf_msa", "msa": "caf_msa",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Links:
    """Who speaks of a person and who follows her, read once from her current dossier for all its flows."""

    of: Current
    sources: frozenset[str]
    named: frozenset[str]
    """The bodies that the dossier names as hosts or followers of this person."""
    referent: str
    """The role of the body that follows her: her current référent, else the body her orientation names."""
    right: Any
    known_to_france_travail: bool
    within: Current
    """The same dossier without what is past its retention; itself when nothing is."""
    asked: dict[frozenset[str], frozenset[str]]
    """C-codes that documents writing these categories of the model would carry."""
    seen: list[Told]

    def what(self) -> Told:
        """What the dossier tells, by category and code, looked at once for all flows."""
        if not self.seen:
            self.seen.append(told(self.of))
        return self.seen[0]

    def linked(self, body_id: str, role: str) -> bool:
        """Does this body have a current link with the person: it speaks of her, follows her, or must by law?"""
        if body_id in self.sources or body_id in self.named:
            return True
        if role in ("departement", "caf_msa"):
            return self.right is not None
        # France Travail registers everyone with the RSA request (CT L5411-1).
        return role == "france_travail" and (self.right in _OPEN_RIGHTS or self.known_to_france_travail)


def links(work: UnitOfWork, gateway: Gateway, current: Current) -> Links:
    """The look at this very dossier: another one, or the same read again after a change, gets another."""
    known: Links | None = work.scratch.get("links")
    if known is None or known.of is not current:
        known = work.scratch["links"] = _look(work, gateway, current)
    return known


def within_retention(work: UnitOfWork, gateway: Gateway, current: Current) -> Current:
    """This dossier without what is past its retention; the same object when nothing is."""
    return links(work, gateway, current).within


def followers(work: UnitOfWork, gateway: Gateway, current: Current) -> set[str]:
    """The bodies that follow this person: named as her référent or her host, or speaking of her themselves.

    The caisse that pays her does not follow her.
    """
    seen = links(work, gateway, current)
    said = {source for source in seen.sources if gateway.role(source) != "caf_msa"}
    return {body for body in said | seen.named if body in gateway.bodies}


def following(gateway: Gateway, current: Current) -> tuple[frozenset[str], str]:
    """The bodies linked with this person, and the role of the one that follows her."""
    seen = _seen(gateway, current, current)
    return frozenset(id for id, body in gateway.bodies.items() if seen.linked(id, body.role)), seen.referent


def _look(work: UnitOfWork, gateway: Gateway, current: Current) -> Links:
    within = retention.within(work, gateway, current) if isinstance(current, Portrait) else current
    return _seen(gateway, current, within)


def _seen(gateway: Gateway, current: Current, within: Current) -> Links:
    shapes = by_shape(current)
    places = {path.rpartition(".")[0] for shape in shapes if shape.endswith(_HOST) for path in shapes[shape]}
    if places:
        places -= _over(current, places)
    return Links(
        of=current,
        sources=current.sources if isinstance(current, Portrait) else frozenset(f.source for f in current.values()),
        named=frozenset[str]().union(*(_bodies(gateway, current, place) for place in places)),
        referent=_referent(gateway, current),
        right=value_of(current, "droit_rsa.etat"),
        known_to_france_travail="identifiants[ft_numero].valeur" in current,
        within=within,
        asked={},
        seen=[],
    )


def _over(current: Current, places: Iterable[str]) -> set[str]:
    """Of these, those of an accompaniment or an orientation that ended: another one followed, or its last day is gone.

    Of the orientations that one body decided, the earlier one ends when the later one begins.
    """
    today = clock.today()
    begun: dict[str, dict[str, str]] = defaultdict(dict)
    found = set()
    for place in places:
        item = place.rpartition(".")[0]
        ends = [f"{item}.jusqua", f"{item}.fin", f"{place.partition(']')[0]}].fin"]
        if any(end in current and str(value_of(current, end)) < today for end in ends):
            found.add(place)
        elif item.startswith("orientations[") and value_of(current, f"{item}.etat") == "decidee":
            day = str(value_of(current, f"{item}.debut") or value_of(current, f"{item}.date_decision") or "")
            begun[item.partition(":")[0]][place] = day
    for days in begun.values():
        last = max((day for day in days.values() if day <= today), default="")
        found |= {place for place, day in days.items() if day < last}
    return found


def _referent(gateway: Gateway, current: Current) -> str:
    """What has an end names nobody any more."""
    shapes = by_shape(current)
    about = [path for shape in shapes if shape.startswith(FOLLOWING) for path in shapes[shape]]
    for path in about:
        if path.endswith(".est_referent") and current[path].value is True:
            member, (item, _, _) = path.rpartition(".")[0], path.partition("]")
            over = f"{member}.jusqua" in current or f"{item}].fin" in current
            if not over and (role := _role(gateway, current, f"{member}.organisation")):
                return role
    return _oriented_to(gateway, current, about) or "aucun"


def _oriented_to(gateway: Gateway, current: Current, about: list[str]) -> str:
    """The role of the body that the last begun of her decided orientations names."""
    begun: dict[str, str] = {}
    for path in about:
        if path.startswith("orientations[") and path.endswith(_ORIENTED):
            item = path.removesuffix(_ORIENTED)
            if f"{item}.fin" not in current and value_of(current, f"{item}.etat") in (None, "decidee"):
                begun[item] = str(
                    value_of(current, f"{item}.debut") or value_of(current, f"{item}.date_decision") or ""
                )
    return _role(gateway, current, f"{max(begun, key=begun.__getitem__)}.organisme_accueil") if begun else ""


def _role(gateway: Gateway, current: Current, organisation: str) -> str:
    named = _bodies(gateway, current, organisation)
    if named:
        return gateway.role(min(named))
    nature = current.get(f"{organisation}.nature")
    return _ROLE_OF_NATURE.get(str(nature.value), "") if nature else ""


def _bodies(gateway: Gateway, current: Current, organisation: str) -> set[str]:
    """The bodies an organisation of the dossier is: by its id here, or by its registered name."""
    found = set()
    if (ref := current.get(f"{organisation}.ref")) and str(ref.value) in gateway.bodies:
        found.add(str(ref.value))
    if name := current.get(f"{organisation}.nom"):
        found |= gateway.named(str(name.value))
    return found
