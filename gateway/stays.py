"""Who lives in which household: what each sender's records name, and which of several households is hers today.

A full record of a household names all its members: whoever it no longer names has left. The two networks of caisses
speak of one right: of the households they place a person in, the open one told last is hers, with all that other
documents tell of that same file (its contact details). What was said of her inside another one is history, but for what
identifies her. Nothing here depends on the order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from gateway.lookup import rows
from gateway.storage import upsert
from gateway.storage.tables.record import membership
from gateway.unit_of_work import UnitOfWork
from schemas import paths
from schemas.record import Facts

Home = tuple[str, str]
"""A household and the body that places her there."""

CLOSED = frozenset({"refuse", "clos", "clos_anterieur"})
"""States of the right that give way to any open one."""
LASTING = frozenset({"identite", "nir", "identifiants"})
"""Categories that stay true of a person who left the household they were told in."""
_STAY = ("foyer_id", "person_id", "source", "since", "until", "asserted_at", "said_in", "named")


class Right(NamedTuple):
    """What a household tells of its right."""

    open: bool
    told: bool
    """A state of the right is told: a document that only names the file does not say where somebody lives today."""
    file: tuple[Any, ...]
    """The matricule and the number of the request, or nothing when one of them is not known."""


@dataclass(slots=True)
class Stay:
    """One person in one household, as its last record told it."""

    asserted_at: str
    said_in: bytes | None
    named: bool
    until: str | None


def lasting(facts: Facts) -> Facts:
    """What stays true of someone who left."""
    return {path: value for path, value in facts.items() if paths.categorie(path) in LASTING}


class Stays:
    """Reads and writes stays inside a unit of work. `right` tells what a household says of its right."""

    def __init__(self, role_of: Callable[[str], str], right: Callable[[UnitOfWork, str], Right]) -> None:
        self._role_of = role_of
        self._right = right

    def prefetch(self, work: UnitOfWork, people: Iterable[str]) -> None:
        """Bring the stays of many persons into this transaction with few queries."""
        known: dict[str, dict[Home, Stay]] = work.scratch.setdefault("homes", {})
        wanted = [one for one in dict.fromkeys(people) if one not in known]
        for one in wanted:
            known[one] = {}
        for row in rows(work.connection, membership, _STAY, "person_id", wanted):
            known[row.person_id][row.foyer_id, row.source] = Stay(
                row.asserted_at or row.since, row.said_in, bool(row.named), row.until
            )

    def prefetch_members(self, work: UnitOfWork, foyers: Iterable[str]) -> None:
        """Whom these households name."""
        known: dict[str, set[Home]] = work.scratch.setdefault("members", {})
        wanted = [one for one in dict.fromkeys(foyers) if one not in known]
        for one in wanted:
            known[one] = set()
        columns = ("foyer_id", "person_id", "source")
        for foyer_id, person_id, source in rows(work.connection, membership, columns, "foyer_id", wanted, "named = 1"):
            known[foyer_id].add((person_id, source))

    def of(self, work: UnitOfWork, person_id: str) -> Mapping[Home, Stay]:
        self.prefetch(work, [person_id])
        stays: Mapping[Home, Stay] = work.scratch["homes"][person_id]
        return stays

    def current(self, work: UnitOfWork, subjects: Iterable[str]) -> list[Home]:
        """The households that are hers today: one file at most per group of bodies that speak of one right."""
        groups: dict[str, dict[Home, str]] = {}
        for subject in subjects:
            for home, stay in self.of(work, subject).items():
                if stay.named:
                    told = groups.setdefault(self._group(home[1]), {})
                    told[home] = max(stay.asserted_at, told.get(home, ""))
        return [home for told in groups.values() for home in self._chosen(work, told)]

    def name(
        self, work: UnitOfWork, person_id: str, home: Home, asserted_at: str, said_in: bytes, *, late: bool
    ) -> None:
        """This household's record names the person. `late`: a later record of it is known, which decides."""
        self.prefetch(work, [person_id])
        stays: dict[Home, Stay] = work.scratch["homes"][person_id]
        if late and home in stays:
            return
        stays[home] = Stay(asserted_at, said_in, not late, work.now)
        self._settle(work, person_id, stays, home)
        if not late:
            self.prefetch_members(work, [home[0]])
            work.scratch["members"][home[0]].add((person_id, home[1]))

    def omitted(self, work: UnitOfWork, home: Home, named: Collection[str], asserted_at: str) -> list[str]:
        """The persons that this household named and names no more; their stay there ends."""
        foyer_id, source = home
        self.prefetch_members(work, [foyer_id])
        members: set[Home] = work.scratch["members"][foyer_id]
        gone = sorted(person for person, who in members if who == source and person not in named)
        for person in gone:
            members.discard((person, source))
            self.prefetch(work, [person])
            stays: dict[Home, Stay] = work.scratch["homes"][person]
            stays[home].named, stays[home].asserted_at = False, asserted_at
            self._settle(work, person, stays, home)
        return gone

    def _settle(self, work: UnitOfWork, person_id: str, stays: dict[Home, Stay], touched: Home) -> None:
        """Write the stay that changed, and those that begin or end because of it."""
        hers = set(self.current(work, [person_id]))
        for home, stay in stays.items():
            until = None if home in hers else stay.until or work.now
            if home != touched and until == stay.until:
                continue
            stay.until = until
            work.change(
                _stated(work.connection.dialect.name),
                foyer_id=home[0],
                person_id=person_id,
                source=home[1],
                since=work.now,
                until=until,
                asserted_at=stay.asserted_at,
                said_in=stay.said_in,
                named=int(stay.named),
            )

    def _group(self, source: str) -> str:
        return "caf_msa" if self._role_of(source) == "caf_msa" else f"body {source}"

    def _chosen(self, work: UnitOfWork, told: Mapping[Home, str]) -> list[Home]:
        """The household that is hers, then what other documents tell of the same file without a state of the right."""
        if len(told) == 1:
            return list(told)
        rights = {home: self._right(work, home[0]) for home in told}
        first = max(told, key=lambda home: (rights[home].open, rights[home].told, told[home], home))
        hers = rights[first]
        same = (home for home, right in rights.items() if home != first and right.file and right.file == hers.file)
        return [first, *(home for home in same if not (rights[home].told and hers.told))]


@lru_cache
def _stated(dialect: str) -> Any:
    """Statement that inserts or replaces a stay; the same object each time, so that rows gather on it."""
    statement = upsert(dialect, membership)
    return statement.on_conflict_do_update(
        index_elements=["foyer_id", "person_id", "source"],
        set_={name: statement.excluded[name] for name in ("until", "asserted_at", "said_in", "named")},
    )
