"""The pair of an accompagnement global (a social worker and an employment adviser): what its deadlines count from.

Its dates are read from the members, the rendez-vous and the person's choice, and are in no partner's document; the
deadlines themselves are rows of `policies/delais.toml`. Nothing here decides: an alert recalls a date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.clock import day_of
from schemas import paths
from schemas.record import Current, Fact

INCOMPLET = "binome_incomplet_depuis"
"""Since when one side, social or emploi, has had nobody; the day of its last departure, else the opening."""
REUNI = "binome_reuni_le"
"""The last time both met the person together, since the opening."""
SANS_ACCORD = "accord_manquant_depuis"
"""The opening, as long as the person's free choice is not recorded."""
SANS_INFORMATION = "information_manquante_depuis"
"""The opening, as long as one side owes the other something that nobody has told (`[[attendu]]`)."""
COMPUTED = frozenset(f"accompagnements[].{name}" for name in (INCOMPLET, REUNI, SANS_ACCORD, SANS_INFORMATION))


class Attendu(BaseModel):
    """What one side of the pair gives the other: told once any of these fields is, by whoever knows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    libelle: str
    cote: Literal["social", "emploi"]
    chemins: list[str] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that the other side lacks, the side that should give it, and its body; empty when nobody is there."""

    code: str
    libelle: str
    cote: str
    organisme: str

    def line(self) -> dict[str, str]:
        return {"information": self.code, "label": self.libelle, "from": self.cote} | (
            {"body": self.organisme} if self.organisme else {}
        )


def missing(current: Current, owed: Iterable[Attendu]) -> tuple[Missing, ...]:
    """What the two sides of the pair still owe each other in this dossier."""
    told = {paths.shape(path) for path in current}
    here = {side: next((body for body, until in members if not until), "") for side, members in _sides(current).items()}
    return tuple(
        Missing(one.code, one.libelle, one.cote, here[one.cote]) for one in owed if not told.intersection(one.chemins)
    )


_MET = {
    "rendez_vous[].conjoint": (".debut", ".statut", "honore"),
    "entretiens[].conjoint": (".date", ".statut", "fait"),
}
"""A meeting held together: the field of its date, of its state, and the state that says it took place."""


def dates(current: Current, owed: Iterable[Attendu] = ()) -> dict[str, Fact]:
    """The computed dates of each open accompagnement global of this dossier, as facts of that item."""
    lacking = missing(current, owed)
    found: dict[str, Fact] = {}
    for path, fact in current.items():
        if not path.startswith("accompagnements[") or not path.endswith("].nature") or fact.value != "global":
            continue
        item = path.removesuffix(".nature")
        if _said(current, f"{item}.fin"):
            continue
        opened = _said(current, f"{item}.debut")
        told = {
            INCOMPLET: min(_empty_sides(current, opened), default=""),
            REUNI: max((day for day in _met(current) if day >= opened), default=""),
            SANS_ACCORD: "" if current.get(f"{item}.volontaire", fact).value is True else opened,
            SANS_INFORMATION: opened if lacking else "",
        }
        found |= {f"{item}.{name}": Fact(day, fact.source, "", fact.asserted_at) for name, day in told.items() if day}
    return found


def _empty_sides(current: Current, opened: str) -> Iterator[str]:
    """For each side where nobody is any more: since when."""
    for members in _sides(current).values():
        departures = [until for _, until in members]
        if all(departures) and (since := max([*departures, opened])):
            yield since


def _sides(current: Current) -> dict[str, list[tuple[str, str]]]:
    """The body and the departure of each member, by side. Both bodies may tell the pair, each in an item of its own."""
    here: dict[str, list[tuple[str, str]]] = {"social": [], "emploi": []}
    for path, fact in current.items():
        item, _, rest = path.partition("].membres[")
        if not rest.endswith("].cote") or fact.value not in here or _said(current, f"{item}].fin"):
            continue
        if _said(current, f"{item}].nature") in ("global", ""):
            member = path.removesuffix(".cote")
            body = _said(current, f"{member}.organisation.ref") or fact.source
            here[fact.value].append((body, _said(current, f"{member}.jusqua")))
    return here


def _met(current: Current) -> Iterator[str]:
    for path, fact in current.items():
        known = _MET.get(paths.shape(path)) if fact.value is True else None
        if known:
            item, (when, state, done) = path.rpartition(".")[0], known
            if _said(current, item + state) in (done, "") and (day := day_of(_said(current, item + when))):
                yield day


def _said(current: Current, path: str) -> str:
    fact = current.get(path)
    return str(fact.value) if fact else ""
