"""The life of orientations, contracts and accompaniments: who may tell a decision, which step may follow, which date
nears. All of it is data (`policies/delais.toml`, `schemas/etats.py`).

The gateway carries decisions and never takes one. A step that no table allows, or a decision told by a body that does
not hold it, is kept out of the record and shown to a human. An alert recalls a date; it never suggests a sanction.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from gateway import binome, clock
from gateway.clock import local
from gateway.registry import Gateway
from gateway.storage.tables.record import person as person_table
from gateway.unit_of_work import UnitOfWork
from schemas import paths
from schemas.etats import MACHINES, incoherences, legal
from schemas.record import Current, Facts, Finding, value_of

FILE = Path(__file__).parent / "policies" / "delais.toml"
STATES = {"proche": "proche", "passe": "passée"}
_OPEN = frozenset({"ouvert_versable", "ouvert_suspendu", "ouvert_versement_suspendu"})
_PAGE = 200


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Duree(_Strict):
    jours: int = 0
    semaines: int = 0
    mois: int = 0

    def after(self, start: date) -> date:
        """The last day: a delay in months ends on the same day of the month, or on its last one."""
        return clock.same_day(start, self.mois) + timedelta(days=self.jours, weeks=self.semaines)


class Delai(_Strict):
    """One deadline. See the head of `policies/delais.toml` for the words."""

    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    libelle: str
    article: str
    verifie: bool
    de: list[str] = Field(min_length=1)
    si: dict[str, list[Any]]
    sauf: list[str]
    duree: Duree
    avant: int = Field(ge=0)
    suite: str

    def words(self) -> str:
        """The delay in French."""
        told = ((self.duree.mois, "mois"), (self.duree.semaines, "semaines"), (self.duree.jours, "jours"))
        return " ".join(f"{number} {unit}" for number, unit in told if number) or "à la date dite"


class Relais(_Strict):
    """A body that may tell a decision it did not take: of these deciders, or once this deadline has passed."""

    role: str
    organismes: list[str]
    apres: str


class Pouvoir(_Strict):
    """Who may tell this state. `rsa`: asked of persons with a right to the RSA only."""

    chemin: str
    etats: list[Any]
    roles: list[str]
    article: str
    rsa: bool = False
    soi: bool = False
    """Only when the item names the sender itself: nobody designates itself."""
    relais: Relais | None = None


class _File(_Strict):
    etapes: list[str]
    delai: list[Delai]
    pouvoir: list[Pouvoir]
    attendu: list[binome.Attendu]


@dataclass(frozen=True)
class Delays:
    rules: Mapping[str, Delai]
    owed: tuple[binome.Attendu, ...]
    """What the two sides of an accompagnement global give each other."""
    powers: tuple[Pouvoir, ...]
    steps: frozenset[str]
    """Shapes of the states whose steps are checked."""

    @cached_property
    def guarded(self) -> frozenset[str]:
        return self.steps | {power.chemin for power in self.powers}

    @cached_property
    def lists(self) -> tuple[str, ...]:
        """The lists that hold what is guarded, as their paths begin."""
        return tuple(sorted({shape.partition("[")[0] + "[" for shape in self.guarded if "[" in shape}))


@lru_cache(maxsize=1)
def delays() -> Delays:
    """The deadlines and powers of `policies/delais.toml`. Raises `ValueError` for a path of the record that does not
    exist."""
    read = _File.model_validate(tomllib.loads(FILE.read_text("utf-8")))
    for rule in read.delai:
        for one in (*rule.de, *rule.sauf, *rule.si):
            if _plain(one) not in binome.COMPUTED:
                paths.field(_plain(one).replace("[]", "[x:x]"))
    for named in (named for owed in read.attendu for named in owed.chemins):
        paths.field(named.replace("[]", "[x:x]"))
    if unknown := set(read.etapes) - MACHINES.keys():
        raise ValueError(f"no life cycle: {', '.join(sorted(unknown))}")
    rules = {rule.code: rule for rule in read.delai}
    return Delays(rules, tuple(read.attendu), tuple(read.pouvoir), frozenset(read.etapes))


def guards(facts: Facts) -> bool:
    """Does any of these facts tell a step or a decision?"""
    known, told = delays(), "\n".join(facts)
    if not any(name in told for name in known.lists):  # most tell none: one look for each list, not one at each path
        return False
    return any(paths.shape(path) in known.guarded for path in facts if path.startswith(known.lists))


# --- what a sender may tell -------------------------------------------------------------------------------------------


def admissible(
    gateway: Gateway, sender: str, facts: Facts, before: Facts, current: Current, day: str
) -> tuple[Facts, list[Finding]]:
    """These facts without what this sender may not tell, and why.

    `before` is what the same sender said in the same record, `current` the dossier as it stands, `day` when it says
    so (a date or an instant). What is left out of a step keeps the state the sender told before: refusing a step is
    not taking the earlier one back.
    """
    kept, findings = dict(facts), []
    for path, value in facts.items():
        shape = paths.shape(path)
        if shape in delays().steps and not legal(shape, before.get(path), value):
            findings.append(Finding("illegal-transition", shape, raw=str(value), detail=f"after {before.get(path)}"))
        elif refused := _refused(gateway, sender, shape, path, facts, current, day):
            findings.append(Finding("decision-not-theirs", shape, raw=str(value), detail=refused.article))
        else:
            continue
        del kept[path]
        if path in before:
            kept[path] = before[path]
    return kept, findings


def _refused(
    gateway: Gateway, sender: str, shape: str, path: str, facts: Facts, current: Current, day: str
) -> Pouvoir | None:
    """The power that this sender lacks to say this, if any."""
    role, known = gateway.role(sender), current.get(path)
    if known is not None and known.value == facts[path]:
        return None  # an echo of what is known decides nothing
    for power in delays().powers:
        if power.chemin != shape or facts[path] not in power.etats or role in power.roles:
            continue
        if power.rsa and not _has_rsa(facts, current):
            continue
        if power.soi and not _names(gateway, sender, path, facts):
            continue
        if power.relais and role == power.relais.role and _relayed(power.relais, path, facts, current, day):
            continue
        return power
    return None


def _names(gateway: Gateway, sender: str, path: str, facts: Facts) -> bool:
    item = path.rpartition(".")[0]
    told = {facts.get(f"{item}.{part}") for part in ("organisation.ref", "organisme_accueil.ref")}
    named = {str(facts[name]) for part in ("organisation.nom", "organisme_accueil.nom")
             if (name := f"{item}.{part}") in facts}  # fmt: skip
    return sender in told or any(sender in gateway.named(name) for name in named)


def _has_rsa(facts: Facts, current: Current) -> bool:
    state = current.get("droit_rsa.etat")
    return (state.value if state else facts.get("droit_rsa.etat")) in _OPEN


def _relayed(relais: Relais, path: str, facts: Facts, current: Current, day: str) -> bool:
    item = path.rpartition(".")[0]
    if facts.get(f"{item}.organisme_decision.code_organisme_ft") in relais.organismes:
        return True
    rule = delays().rules[relais.apres]
    told = str(facts.get(f"{item}.date_decision") or day)
    return any(rule.duree.after(start) < _day(told) for start, _ in _starts(rule, current, always=True))


# --- deadlines --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alert:
    """A date to recall about one person. `state`: `proche` (it nears) or `passe`."""

    person: str
    code: str
    state: Literal["proche", "passe"]
    since: str
    due: str
    item: str = ""
    """The item of the dossier it is about (`orientations[ccas:12]`); empty for the person."""
    missing: tuple[binome.Missing, ...] = ()
    """What is waited for and whose side should give it, when the alert is about that."""

    def line(self) -> dict[str, Any]:
        """As JSON: no name, no value of the dossier but dates."""
        rule = delays().rules[self.code]
        told: dict[str, Any] = {
            "person": self.person,
            "alert": self.code,
            "state": self.state,
            "since": self.since,
            "due": self.due,
        }
        told |= {"article": rule.article} | ({"item": self.item} if self.item else {})
        return told | ({"missing": [one.line() for one in self.missing]} if self.missing else {})


def of(person: str, current: Current, day: str, rules: Iterable[Delai] | None = None) -> list[Alert]:
    """The alerts of one dossier on a day (`AAAA-MM-JJ`), nearest date first.

    None for someone told dead: what is still open is a contradiction to look at (`followed-after-death`).
    """
    if "personne.date_deces" in current:
        return []
    found = []
    current = {**current, **computed} if (computed := binome.dates(current, delays().owed)) else current
    for rule in rules if rules is not None else delays().rules.values():
        starts = list(_starts(rule, current))
        if not starts:
            continue
        start, item = max(starts)
        if any(stop >= start for stop in _stops(rule, current, item)):
            continue
        due = rule.duree.after(start)
        if (due - _day(day)).days <= rule.avant:
            state: Literal["proche", "passe"] = "passe" if due < _day(day) else "proche"
            awaited = any(source.endswith(f".{binome.SANS_INFORMATION}") for source in rule.de)
            lacking = binome.missing(current, delays().owed) if awaited else ()
            found.append(Alert(person, rule.code, state, start.isoformat(), due.isoformat(), item, lacking))
    return sorted(found, key=lambda alert: (alert.due, alert.code))


def contradictions(current: Current) -> list[Finding]:
    """What one dossier says that cannot all be true, whoever said it: codes and paths, no value."""
    try:
        return incoherences(paths.build(current))
    except paths.InvalidFacts as refused:
        return list(refused.findings)


def dossiers(gateway: Gateway, people: Sequence[str] | None = None) -> Iterator[tuple[str, Current]]:
    """The dossiers of these persons, or of everyone, as they stand, read a page at a time."""
    after = ""
    while True:
        with gateway.reading() as work:  # whoever asks may take its time with each
            page = _page(work, after) if people is None else list(people)
            for one in page:
                yield one, gateway.dossiers.current(work, one)
        if people is not None or len(page) < _PAGE:
            return
        after = page[-1]


def _page(work: UnitOfWork, after: str) -> list[str]:
    rows = work.connection.execute(
        select(person_table.c.id)
        .where(person_table.c.id > after, person_table.c.erased_at.is_(None), person_table.c.merged_into.is_(None))
        .order_by(person_table.c.id)
        .limit(_PAGE)
    )
    return list(rows.scalars())


def _starts(rule: Delai, current: Current, *, always: bool = False) -> Iterator[tuple[date, str]]:
    """The dates that start this delay, each with its item; the first source told of an item counts."""
    found: dict[str, date] = {}
    for source in rule.de:
        for path, fact in current.items():
            if not _matches(source, path):
                continue
            told = fact.asserted_at if source.endswith("@") and fact.value is True else fact.value
            item = _item_of(path)
            if item in found or not isinstance(told, str) or not (always or _conditions(rule, current, item)):
                continue
            found[item] = _day(told)
    yield from ((start, item) for item, start in found.items())


def _stops(rule: Delai, current: Current, item: str) -> Iterator[date]:
    """The dates that end it; of the same item when both are about the same list."""
    for source in rule.sauf:
        plain, _, condition = source.partition("?")
        for path, fact in current.items():
            if not _matches(plain, path) or not isinstance(fact.value, str):
                continue
            same_list = item and _item_of(path).partition("[")[0] == item.partition("[")[0]
            if same_list and _item_of(path) != item:
                continue
            name, _, wanted = condition.partition("=")
            if condition and value_of(current, f"{path.rpartition('.')[0]}.{name}") != wanted:
                continue
            yield _day(fact.value)


def _conditions(rule: Delai, current: Current, item: str) -> bool:
    for path, admitted in rule.si.items():
        wanted = f"{item}.{path.rpartition('].')[2]}" if "[]" in path else path
        if value_of(current, wanted) not in admitted:
            return False
    return True


def _plain(source: str) -> str:
    return source.partition("?")[0].rstrip("@")


_KEY = re.compile(r"\[[^\[\]]*\]")


def _matches(source: str, path: str) -> bool:
    plain = _plain(source)
    return path == plain or ("[" in path and _KEY.sub("[]", path) == plain)


def _item_of(path: str) -> str:
    """`orientations[caf:1].debut` is of the item `orientations[caf:1]`; a plain field is of none."""
    head, bracket, _ = path.partition("]")
    return f"{head}]" if bracket else ""


def _day(text: str) -> date:
    """A date, a partial date taken at its first day, or the day that an instant was in Paris."""
    if "T" in text:
        return local(text).date()
    return date.fromisoformat(text + "-01-01" if len(text) == 4 else text + "-01" if len(text) == 7 else text)
