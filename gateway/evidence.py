"""Proof that an accompaniment is real: dated contacts with presence, référents, contract, time; caseload by référent.

A by-product of the work, never a second form: everything is read from what bodies exchanged. A meeting counts once for
the person, however many bodies told it, and once for each professional who held it. No synthesis, note or sensitive
answer is ever part of it. Administrative time is not told here: what is not spent with people is the rest of the share
of time that each post declares.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any

from pydantic import ValidationError

from gateway import fse, journal
from gateway.clock import day_of
from gateway.printed import printed
from gateway.problems import Invalid
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork
from gateway.words import day, in_words, moment, word
from schemas import paths
from schemas.annuaire import Affectation
from schemas.convention import PosteFinance
from schemas.fields import FIELDS
from schemas.record import Current, value_of

HELD = {"honore": "present", "absent": "absent", "excuse_usager": "excuse"}
"""Outcome of a rendez-vous to presence; the others are no contact."""


@dataclass(slots=True)
class Contact:
    """One meeting of the person, told by one body or several."""

    day: str
    presence: str
    minutes: int | None = None
    how: str | None = None
    place: str | None = None
    joint: bool = False
    first: bool = False
    workers: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)

    def line(self) -> dict[str, Any]:
        return {
            "date": self.day, "presence": self.presence, "duree_min": self.minutes, "comment": self.how,
            "lieu": self.place, "conjoint": self.joint, "premier": self.first,
            "professionnels": sorted(self.workers), "sources": sorted(self.sources),
        }  # fmt: skip


def items(current: Current, name: str) -> dict[str, dict[str, Any]]:
    """The items of one list of the dossier: key → path inside the item → fact."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for path, fact in sorted(current.items()):
        if path.startswith(f"{name}["):
            key = paths.keys(path)[0]
            found[key][path.removeprefix(f"{name}[{key}].")] = fact
    return found


def contacts(current: Current) -> list[Contact]:
    """The meetings of a person, oldest first, each once.

    An interview that names its rendez-vous is the same meeting; so are two rendez-vous held jointly at the same hour,
    told by each of the two bodies.
    """
    met: dict[str, Contact] = {}
    place_of: dict[str, str] = {}
    for key, inside in items(current, "rendez_vous").items():
        presence = HELD.get(str(value_of(inside, "statut")))
        start = value_of(inside, "debut")
        if presence is None or not start:
            continue
        place = f"joint {start}" if value_of(inside, "conjoint") else key
        place_of[key] = place
        _gather(met.setdefault(place, Contact(day_of(str(start)), presence)), inside, presence)
    for key, inside in items(current, "entretiens").items():
        day = value_of(inside, "date")
        if not day or value_of(inside, "statut") in ("a_faire", "en_cours"):
            continue
        told_as = str(value_of(inside, "rendez_vous") or "")
        body = key.partition(":")[0]
        place = place_of.get(told_as) or place_of.get(f"{body}:{told_as}") or key
        if place == key and value_of(inside, "conjoint"):
            place = _same_day(met, str(day)) or key
        _gather(met.setdefault(place, Contact(str(day), "present")), inside, "present")
    return sorted(met.values(), key=lambda one: (one.day, sorted(one.workers)))


def _same_day(met: Mapping[str, Contact], day: str) -> str | None:
    return next((place for place, one in met.items() if one.joint and one.day == day), None)


_WORKER = re.compile(r"^professionnels\[([^\]]*)\]\.professionnel\.(ref|nom)$")


def _gather(contact: Contact, inside: Mapping[str, Any], presence: str) -> None:
    """Add what one body tells of a meeting; a presence proven by one body stands."""
    if presence == "present":
        contact.presence = presence
    contact.minutes = value_of(inside, "duree_min") or contact.minutes
    contact.how = value_of(inside, "medium") or value_of(inside, "modalite") or contact.how
    contact.place = value_of(inside, "lieu_nature") or contact.place
    contact.joint = contact.joint or bool(value_of(inside, "conjoint"))
    contact.first = contact.first or bool(value_of(inside, "premier") or value_of(inside, "premier_accompagnement"))
    named: dict[str, str] = {}
    for name, fact in inside.items():
        if (found := _WORKER.match(name)) and (found[2] == "ref" or found[1] not in named):
            named[found[1]] = str(fact.value)
    contact.workers |= set(named.values()) | set(value_of(inside, "professionnels") or ())
    contact.sources |= {fact.source for fact in inside.values()}


def time_of(met: Iterable[Contact]) -> dict[str, dict[str, int]]:
    """Minutes with people, by professional: a joint meeting is one working time for each. Unknown lengths counted."""
    told: dict[str, dict[str, int]] = {}
    for contact in met:
        if contact.presence == "present":
            for worker in contact.workers:
                row = told.setdefault(worker, {"contacts": 0, "minutes": 0, "sans_duree": 0})
                row["contacts"] += 1
                row["minutes"] += contact.minutes or 0
                row["sans_duree"] += contact.minutes is None
    return dict(sorted(told.items()))


# --- one accompaniment ------------------------------------------------------------------------------------------------

_MEMBER = re.compile(r"^membres\[([^\]]*)\]\.(.+)$")


def pack(work: UnitOfWork, gateway: Gateway, person_id: str) -> dict[str, Any]:
    """The evidence of a person's accompaniments; reading it is journaled. Raises `Unknown` through the dossier."""
    journal.append(
        work, "log.read", outcome="evidence-pack", purpose="statistiques_pilotage", agent_role="operator",
        subject=gateway.keys.pseudonym("personne", person_id),
    )  # fmt: skip
    current = gateway.dossiers.current(work, person_id)
    told = []
    met = contacts(current)
    for key, inside in items(current, "accompagnements").items():
        start, end = value_of(inside, "debut"), value_of(inside, "fin")
        during = [one for one in met if (not start or start <= one.day) and (not end or one.day <= end)]
        told.append(
            {name: value_of(inside, name)
             for name in ("nature", "debut", "fin_prevue", "fin", "motif_fin", "volontaire", "convention",
                          "operation_financee")}
            | {"id": key, "membres": _members(inside), "contacts": [one.line() for one in during],
               "presences": dict(Counter(one.presence for one in during)), "temps": time_of(during)}
        )  # fmt: skip
    return {
        "document": "maillon.preuves",
        "generated_at": work.now,
        "accompagnements": told,
        "contrats": [
            {"id": key} | {name: value_of(inside, name) for name in ("nature", "etat", "signe_le", "debut", "fin")}
            for key, inside in items(current, "contrats").items()
        ],
        "resultats": [
            {name: value_of(inside, name) for name in ("nature", "date", "temps_travail", "maintenu_6_mois")}
            for inside in items(current, "resultats").values()
        ],
        "participations": fse.participations(current),
    }


def _members(inside: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for path, fact in inside.items():
        if named := _MEMBER.match(path):
            found[named[1]][named[2]] = fact.value
    return [
        {
            "professionnel": one.get("professionnel.ref") or one.get("professionnel.nom"),
            "role": one.get("professionnel.role"),
            "organisation": one.get("organisation.nom"),
            "cote": one.get("cote"),
            "referent": bool(one.get("est_referent")),
            "depuis": one.get("depuis"),
            "jusqua": one.get("jusqua"),
        }
        for _, one in sorted(found.items())
    ]


# --- caseload and posts -----------------------------------------------------------------------------------------------


def caseload(
    gateway: Gateway,
    day: str,
    postings: Sequence[Affectation] = (),
    posts: Sequence[PosteFinance] = (),
) -> list[dict[str, Any]]:
    """Per référent: persons followed on a day, time with people, against each posting's share and target.

    A posting keeps who employs, who receives and who directs apart; a professional with several sites has one line per
    posting, over the same caseload.
    """
    followed: Counter[str] = Counter()
    spent: dict[str, Counter[str]] = defaultdict(Counter)
    with fse.reading_all(gateway, "caseload") as work:
        for _, current in fse.everyone(work, gateway):
            for worker in _referents(current, day):
                followed[worker] += 1
            for worker, row in time_of(contacts(current)).items():
                spent[worker].update(row)
    by_worker: dict[str, list[Affectation]] = defaultdict(list)
    for posting in postings:
        if (posting.debut or "") <= day and (not posting.fin or day <= posting.fin):
            by_worker[posting.professionnel or ""].append(posting)
    targets = {one.affectation: one for one in posts}
    told = []
    for worker in sorted(followed.keys() | spent.keys() | by_worker.keys()):
        known: Sequence[Affectation | None] = by_worker.get(worker) or [None]
        for one in known:
            target = targets.get(one.id) if one else None
            told.append(
                {"professionnel": worker, "file_active": followed[worker], "contacts": spent[worker]["contacts"],
                 "minutes_avec_les_personnes": spent[worker]["minutes"],
                 "employeur": one.employeur if one else None, "accueil": one.organisation_accueil if one else None,
                 "autorite_fonctionnelle": one.autorite_fonctionnelle if one else None,
                 "lieux": list(one.lieux or ()) if one else [], "quotite": one.quotite if one else None,
                 "operation": one.operation_financee if one else None,
                 "file_active_cible": target.file_active_cible if target else None}
            )  # fmt: skip
    return told


def _referents(current: Current, day: str) -> set[str]:
    """Who follows this person on a day: the référents of her open accompaniments, each once."""
    found = set()
    for inside in items(current, "accompagnements").values():
        start, end = value_of(inside, "debut"), value_of(inside, "fin")
        if (start and day < start) or (end and end < day):
            continue
        for one in _members(inside):
            there = (one["depuis"] or "") <= day and not (one["jusqua"] and one["jusqua"] < day)
            if one["referent"] and one["professionnel"] and there:
                found.add(str(one["professionnel"]))
    return found


def postings_of(content: Mapping[str, Any]) -> tuple[list[Affectation], list[PosteFinance]]:
    """Postings and funded posts from a file: `{"affectations": […], "postes": […]}`. Raises `Invalid`."""
    try:
        return (
            [Affectation.model_validate(one) for one in content.get("affectations", ())],
            [PosteFinance.model_validate(one) for one in content.get("postes", ())],
        )
    except (ValidationError, TypeError) as error:
        where = ", ".join(".".join(map(str, one["loc"])) for one in error.errors()) if hasattr(error, "errors") else ""
        raise Invalid("postings-invalid", f"Correct these fields: {where or 'affectations, postes'}.") from None


# --- pages ------------------------------------------------------------------------------------------------------------

_YES = {True: "oui", False: "non", None: "–"}
_LISTS = ("accompagnements[", "contrats[", "entretiens[", "participations[", "rendez_vous[", "resultats[")
_CODE = re.compile(r"[a-z]+(?:_[a-z0-9]+)*")


@cache
def _labels() -> dict[str, str]:
    """What fields of these lists are called, by the last part of their path."""
    told = [one for one in FIELDS.items() if one[0].startswith(_LISTS)]
    return {shape.rpartition(".")[2]: champ.description for shape, champ in reversed(told)}


def _label(name: str) -> str:
    said = word("preuve", name, "") or _labels().get(name) or in_words(name)
    return said[:1].upper() + said[1:]


def _in_words(value: Any) -> Any:
    """A leaf as French readers write it: a date, a moment, yes or no, a code; any other text as it is."""
    if isinstance(value, bool | None):
        return _YES[value]
    if not isinstance(value, str):
        return value
    if _CODE.fullmatch(value):
        return in_words(value)
    try:
        return moment(value) if "T" in value and value.endswith("Z") else day(date.fromisoformat(value).isoformat())
    except ValueError:
        return value


def page(title: str, told: Any) -> str:
    """Any of these answers as a page to read and print: plain tables, no script."""
    return printed("preuves.html", {"mot": _in_words, "nom": _label}, title=title, told=told)
