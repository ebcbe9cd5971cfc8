"""Who a record speaks of: normalised identifiers, a keyed blind index, the match ladder and the review queue.

Rungs (`schemas` fixes the forms of each identifier):

0. the sender's own record and the person it names there (name, first name, birth date, rank): certain
1. NIR and birth date, each as precise as its sender knows it: certain
2. France Travail number and birth date: certain
3. the Département's own id, name and birth date: certain (a couple shares the id); so is another body's file number
   with name, first name and birth date
4. a name (of birth or of use), first name and birth date (whole, or compatible), with birth place or postcode: to be
   confirmed by a human; an initial is no first name: with the whole birth date, it asks a human about each whose first
   name begins so, and makes nobody certain
5. first name with telephone or e-mail: a suggestion to a human, never more

Two different NIRs never merge; a NIR that meets another birth date is a contradiction. An absent birth date is not
another one: the NIR is hers when her names agree or, where none are told, her file at the caisse and her role in it. A
matricule alone names a household. A doubtful person is recorded apart as *provisional*, with a case for a human;
nothing leaves about her until it is decided (`gateway/identity_review.py`). Deciding "same" only points one person at
the other, so that it can be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Literal

from sqlalchemy import select, update

from gateway import clock
from gateway.dossier import FILE
from gateway.keys import Keyring
from gateway.lookup import rows
from gateway.problems import Conflict, Unknown
from gateway.storage.tables.record import identifier, identity_case, person
from gateway.unit_of_work import UnitOfWork
from schemas import normalisation
from schemas.record import Current, Facts, value_of

Certainty = Literal["certain", "a_confirmer", "inconnu"]

_RUNGS = {
    "nir+date": 1,
    "ft+date": 2,
    "si+nom+date": 3,
    "dossier+nom+date": 3,
    "nom+date+lieu": 4,
    "nom+date": 4,
    "usage+date": 4,
    "prenom+nom+date": 4,
    "nom+initiale": 4,
    "usage+initiale": 4,
    "prenom+tel": 5,
    "prenom+mel": 5,
}
CERTAIN = tuple(system for system, rung in _RUNGS.items() if rung <= 3)
"""What makes two statements about one person, strongest first; the others ask a human."""
_ALIKE = tuple(system for system in _RUNGS if system not in CERTAIN)
NIR = "identifiants[nir].valeur"
NIR_ONLY = frozenset({"nir-with-other-birth-date", "nir-alone"})
"""Reasons of a match that only the NIR speaks for."""
_BORN = "personne.date_naissance"
_ROLE = "personne.role_foyer"
_TOLD_BY = {"nir+date": "nir", "nom+date": "nom+annee"}
"""Systems that hold a birth date, and what tells that it may be written more or less precisely elsewhere: her number,
whatever the date beside it; her name with the year of whoever has no whole date."""
_INITIAL = {"nom+initiale": "nom+date", "usage+initiale": "usage+date"}
"""Systems that hold the initial of a first name, also that of whoever is told with nothing more, and what they stand
for."""
SHARED = {"nir", "ft", "si+nom+date", "dossier+nom+date", "nom+annee", *_INITIAL, *_INITIAL.values()}
"""What two bodies may know one person by: whoever speaks of her takes turns over these."""
_LISTED = ("identifiants[", "personne.telephones[", "personne.courriels[")
"""Lists of which an item may tell who she is."""
_FILE = ("identifiants[mss_dossier", "identifiants[rdvi_usager", "identifiants[dossier")
"""What a body that may not hold the NIR calls a person by, one number for all it sends of her."""


@dataclass(frozen=True, slots=True)
class Match:
    """What the ladder found. `candidate` is set when a human must say whether it is the same person."""

    certainty: Certainty
    person_id: str | None = None
    candidate: str | None = None
    rung: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Keys:
    """The blind indexes of one person's identifiers, by system, strongest combination first."""

    indexes: dict[str, bytes]
    others: dict[str, list[bytes]] = field(default_factory=dict)
    """Under which else she may be known, looked for, never stored: her two names swapped, and a NIR that may be someone
    else's."""
    born: str = ""
    dated: dict[str, str] = field(default_factory=dict, repr=False)
    """Systems that hold her birth date, with the rest of their value in clear: other bodies may know it more or less
    precisely, and she is looked for under what they would write when something says that one of them does."""
    initials: tuple[str, ...] = field(default=(), repr=False)
    """What she would be told by with the initial of her first name, in clear; nothing when she is told so herself."""

    @property
    def partial(self) -> bool:
        """Her birth date is not whole."""
        return 0 < len(self.born) < 10

    @property
    def shared(self) -> list[bytes]:
        """What two statements about one new person have in common: whoever writes them takes turns over these."""
        stood_for = {whole for system, whole in _INITIAL.items() if system in self.indexes}
        stored = (index for system, index in self.indexes.items() if system in SHARED and system not in stood_for)
        return [*stored, *self.others.get("nom+annee", ())]

    @property
    def told(self) -> list[bytes]:
        """What she was told by, whoever sent it and wherever: the same facts give the same, in one order."""
        return sorted(index for system, index in self.indexes.items() if system != "place" and system not in _INITIAL)

    @property
    def every(self) -> Iterator[bytes]:
        """All that she is looked for under, whatever the birth date beside it."""
        return chain(self.indexes.values(), *self.others.values())

    @property
    def nir(self) -> bytes | None:
        return self.indexes.get("nir")


def borrowed(facts: Facts) -> bool:
    """Whether the NIR beside this birth date can only be someone else's (a child told under a parent's number): it
    finds whom to ask about, and is kept as nobody's."""
    return bool(normalisation.nir_disagreements(facts.get(NIR, ""), None, facts.get(_BORN)))


def confirmed(facts: Facts, foyer: Facts, known: Current) -> bool:
    """Whether these facts, met under the NIR of `known` while one of the two has no birth date, are hers.

    A contact row of a caisse names nobody: matricule, request number and role stand for the names, and where two rows
    share them the NIR decides. Whoever is a child in one and an adult in the other is told under a parent's number.
    """
    if facts.get(_BORN) and _BORN in known:
        return False
    if (told := _names(facts.get)) and (names := _names(partial(value_of, known))):
        return not told.isdisjoint(names)
    roles = {facts.get(_ROLE), value_of(known, _ROLE)}
    same_role = len(roles) == 1 or ("responsable_dossier" in roles and bool(roles & {"demandeur", "conjoint"}))
    return same_role and all(foyer.get(path) and foyer[path] == value_of(known, path) for path in FILE)


def _names(said: Callable[[str], Any]) -> set[tuple[str, str]]:
    """Each name that she is called by, with her first name; nothing unless both are told."""
    first = normalisation.name_key(" ".join((said("personne.prenoms") or ())[:1]))
    named = (normalisation.name_key(said(f"personne.{name}") or "") for name in ("nom_naissance", "nom_usage"))
    return {(name, first) for name in named if name and first}


class Identity:
    """Resolves and records identities inside a unit of work."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys

    def keys_of(self, facts: Facts) -> Keys:
        """Blind indexes of what these facts identify a person by."""
        plain: dict[str, str] = {}
        born = facts.get(_BORN, "")
        name = normalisation.name_key(str(facts.get("personne.nom_naissance") or facts.get("personne.nom_usage") or ""))
        first_names = facts.get("personne.prenoms") or []
        first = normalisation.name_key(first_names[0]) if first_names else ""
        initial = normalisation.is_initial(first)
        nir = facts.get(NIR)
        not_hers = nir is not None and borrowed(facts)
        if nir and nir[0] in "12" and not not_hers:
            # A provisional number (3, 4, 7, 8) may be replaced or shared: it never identifies alone.
            plain["nir"] = nir
            if born:
                plain["nir+date"] = f"{nir}|{born}"
        if (number := facts.get("identifiants[ft_numero].valeur")) and born:
            plain["ft+date"] = f"{number}|{born}"
            plain["ft"] = str(number)  # alone it identifies nobody here: it finds whom a worklist names
        listed = [path for path in facts if path.startswith(_LISTED)]
        for path in listed:
            if path.startswith("identifiants[si_departement") and path.endswith(".valeur") and name and born:
                plain["si+nom+date"] = f"{path}|{facts[path]}|{name}|{born}"
        if name and first and born:
            plain["nom+date"] = f"{name}|{first}|{born}"
        if name and first and len(str(born)) == 10:
            plain["nom+initiale"] = f"{name}|{first[0]}|{born}"
            for path in sorted(path for path in listed if path.startswith(_FILE) and path.endswith(".valeur")):
                if not initial:
                    plain["dossier+nom+date"] = f"{path}|{facts[path]}|{name}|{first}|{born}"
            place = facts.get("personne.lieu_naissance.code_insee") or facts.get("personne.lieu_naissance.libelle")
            place = place or facts.get("personne.adresses[residence].code_postal")
            if place:
                plain["nom+date+lieu"] = f"{name}|{first}|{born}|{normalisation.name_key(str(place))}"
        if first:
            for path in listed:
                if path.startswith("personne.telephones[") and path.endswith(".numero"):
                    plain["prenom+tel"] = f"{first}|{facts[path]}"
                elif path.startswith("personne.courriels[") and path.endswith(".adresse"):
                    plain["prenom+mel"] = f"{first}|{str(facts[path]).lower()}"
        dated = {system: who for system in _TOLD_BY if (who := plain.get(system, "").rpartition("|")[0])}
        others: dict[str, list[bytes]] = {}
        if nir and not_hers:
            others["nir"] = [self._keys.blind("nir", nir)]
        if "nom+date" in plain:
            others["prenom+nom+date"] = [self._keys.blind("nom+date", f"{first}|{name}|{born}")]
        indexes = {system: self._keys.blind(system, value) for system, value in plain.items()}
        used = normalisation.name_key(str(facts.get("personne.nom_usage") or ""))
        if used and used != name and "nom+date" in plain:  # a body that knows no other name calls her so
            indexes["usage+date"] = self._keys.blind("nom+date", f"{used}|{first}|{born}")
            if "nom+initiale" in plain:
                plain["usage+initiale"] = f"{used}|{first[0]}|{born}"
                indexes["usage+initiale"] = self._keys.blind("nom+initiale", plain["usage+initiale"])
        if "nom+date" in plain:  # told of whoever has no whole birth date, looked for by all
            year = self._keys.blind("nom+annee", f"{name}|{first}|{born[:4]}")
            if len(born) < 10:
                indexes["nom+annee"] = year
            else:
                others["nom+annee"] = [year]
        initials = () if initial else tuple(plain[system] for system in _INITIAL if system in plain)
        return Keys(indexes, others, born, dated, initials)

    def prefetch(self, work: UnitOfWork, everyone: Iterable[Keys], foyers: Collection[bytes] = ()) -> None:
        """Look up all identifiers of many persons, and the households under these indexes, with few queries."""
        self._look_up(work, [*foyers, *chain.from_iterable(keys.every for keys in everyone)], foyers)

    def under(self, keys: Keys, system: str, dates: bool = True) -> set[bytes]:
        """All that this system may know her under; with the birth dates that agree with hers, unless told not to."""
        one = (keys.indexes[system],) if system in keys.indexes else ()
        who = keys.dated.get(system) if dates else None
        agreeing = normalisation.compatible_dates(keys.born) if who else ()
        return {
            *one,
            *keys.others.get(system, ()),
            *(self._keys.blind(system, f"{who}|{date}") for date in agreeing),
        }

    def _look_up(self, work: UnitOfWork, indexes: Iterable[bytes], foyers: Collection[bytes] = ()) -> None:
        known: dict[bytes, set[str]] = work.scratch.setdefault("identity", {})
        wanted = [index for index in indexes if index not in known]
        if not wanted:
            return
        for index in wanted:
            known[index] = set()
        found: set[str] = set()
        for index, subject in rows(work.connection, identifier, ("index_h", "subject_id"), "index_h", wanted):
            known[index].add(subject)
            if index not in foyers:
                found.add(subject)
        self._follow(work, found)
        self._known_nirs(work, found)

    def resolve(self, work: UnitOfWork, keys: Keys) -> Match:
        """Climb the ladder. Never guesses: more than one hit, or a contradiction, goes to a human."""
        self.prefetch(work, [keys])
        known: dict[bytes, set[str]] = work.scratch["identity"]
        if not keys.partial and not any(map(known.__getitem__, keys.every)):
            return Match("inconnu")
        nir = keys.nir
        if placed := self._placed(work, keys):
            return placed
        same_nir = self._persons(work, keys, "nir")
        for system in CERTAIN:
            hits = self._persons(work, keys, system)
            if len(hits) > 1:
                return Match("a_confirmer", None, min(hits), _RUNGS[system], "several-matches")
            if hits:
                (hit,) = hits
                if self._contradicts(work, hit, nir):
                    return Match("a_confirmer", None, hit, 0, "other-nir")
                return Match("certain", hit, None, _RUNGS[system], system)
        if same_nir:
            reason = "nir-with-other-birth-date" if keys.born else "nir-alone"
            return Match("a_confirmer", None, min(same_nir), 0, "several-matches" if len(same_nir) > 1 else reason)
        for system in _ALIKE:
            hits = {hit for hit in self._persons(work, keys, system) if not self._contradicts(work, hit, nir)}
            if hits and keys.initials and system in _INITIAL:
                hits &= self._told_by_initial(work, keys)
            if hits:
                reason = "several-matches" if len(hits) > 1 else system
                return Match("a_confirmer", None, min(hits), _RUNGS[system], reason)
        return Match("inconnu")

    def _placed(self, work: UnitOfWork, keys: Keys) -> Match | None:
        """Whom the sender named so in this same record before, unless a number says otherwise."""
        hits = self._persons(work, keys, "place")
        if len(hits) != 1:
            return None
        (hit,) = hits
        numbered = self._persons(work, keys, "nir+date") | self._persons(work, keys, "ft+date")
        if numbered and self.waits(work, hit):
            return None  # a number says who she is: a doubt about what was told before it does not hold it
        if self._contradicts(work, hit, keys.nir) or numbered - hits:
            return Match("a_confirmer", None, hit, 0, "other-nir")
        return Match("certain", hit, None, 0, "place")

    def remember(self, work: UnitOfWork, person_id: str, keys: Keys, source: str) -> None:
        """Index the identifiers of this person that are not yet indexed."""
        self.prefetch(work, [keys])
        known: dict[bytes, set[str]] = work.scratch["identity"]
        new = work.gathered(identifier, ("index_h", "subject_id", "system", "source", "first_seen"))
        for system, index in keys.indexes.items():
            if person_id not in known[index]:
                known[index].add(person_id)
                new.append((index, person_id, system, source, work.now))
                if system == "nir":
                    work.scratch.setdefault("nirs", {}).setdefault(person_id, set()).add(index)

    def find_foyer(self, work: UnitOfWork, index: bytes) -> str | None:
        """The household recorded under this index, if any."""
        self.prefetch(work, (), {index})
        return min(work.scratch["identity"][index], default=None)

    def remember_foyer(self, work: UnitOfWork, foyer_id: str, index: bytes, source: str) -> None:
        work.scratch.setdefault("identity", {})[index] = {foyer_id}
        work.add(identifier, index_h=index, subject_id=foyer_id, system="foyer", source=source, first_seen=work.now)

    # --- the review queue -----------------------------------------------------------------------------------------

    def open_case(self, work: UnitOfWork, provisional: str, match: Match, exchange_id: str) -> str:
        """Ask a human whether the provisional person is the candidate."""
        case = clock.new_id()
        work.scratch.setdefault("provisional", set()).add(provisional)
        work.add(
            identity_case,
            id=case,
            person_id=provisional,
            candidate_id=match.candidate,
            rung=match.rung,
            reason=match.reason,
            exchange_id=exchange_id,
            state="open",
            created_at=work.now,
        )
        return case

    def decide(self, work: UnitOfWork, case_id: str, same: bool, decided_by: str) -> tuple[str, str, str]:
        """Settle a case: `same` points the provisional person at the candidate. Returns both ids, and the exchange that
        the case came with.

        Raises `Unknown` for no such case, `Conflict` when it was settled already.
        """
        case = self._case(work, case_id, "open")
        values = {"merged_into": case.candidate_id} if same else {}
        work.connection.execute(update(person).where(person.c.id == case.person_id).values(provisional=0, **values))
        self._settle(work, case, "same" if same else "different", decided_by)
        work.scratch.get("provisional", set()).discard(case.person_id)
        return case.person_id, case.candidate_id, case.exchange_id

    def decided(self, work: UnitOfWork, person_id: str) -> tuple[str, bool]:
        """Who a provisional person turned out to be, and whether that is still to be confirmed."""
        row = work.connection.execute(select(person).where(person.c.id == person_id)).first()
        if row is None:  # made in this same transaction
            return person_id, True
        return row.merged_into or person_id, bool(row.provisional)

    def waits(self, work: UnitOfWork, person_id: str) -> bool:
        """Must a human still say who this person, met by the ladder, is?"""
        return person_id in work.scratch.get("provisional", ())

    def own(self, work: UnitOfWork, keys: Keys, person_id: str) -> str:
        """Whose history the words of this record enter: the person merged into this one whom the record named before
        the merge, so that undoing it gives back what was said since too; else this one."""
        named = work.scratch["identity"].get(keys.indexes.get("place", b""), set())
        heads: dict[str, str] = work.scratch.get("heads", {})
        apart = {one for one in named if heads.get(one) == person_id}
        return apart.pop() if len(apart) == 1 and person_id not in named else person_id

    def reverse(self, work: UnitOfWork, case_id: str, decided_by: str) -> tuple[str, str]:
        """Undo a merge: both persons have their own histories again."""
        case = self._case(work, case_id, "same")
        work.connection.execute(update(person).where(person.c.id == case.person_id).values(merged_into=None))
        self._settle(work, case, "reversed", decided_by)
        return case.person_id, case.candidate_id

    def _case(self, work: UnitOfWork, case_id: str, state: str):  # type: ignore[no-untyped-def]
        case = work.connection.execute(select(identity_case).where(identity_case.c.id == case_id)).first()
        if case is None:
            raise Unknown("identity-case-unknown", "Check the id of the case against the review queue.")
        if case.state != state:
            raise Conflict("identity-case-settled", f"This case is {case.state}; read it again before deciding.")
        return case

    def _settle(self, work: UnitOfWork, case: Any, state: str, decided_by: str) -> None:
        """Only from the state that was read: of two who decide at once on PostgreSQL, the second waits here."""
        c = identity_case.c
        decided = {"state": state, "decided_at": work.now, "decided_by": decided_by}
        read = (c.id == case.id) & (c.state == case.state)
        if not work.connection.execute(update(identity_case).where(read).values(**decided)).rowcount:
            raise Conflict("identity-case-settled", "Somebody else decided at the same moment; read the case again.")

    # --- look-ups -------------------------------------------------------------------------------------------------

    def _persons(self, work: UnitOfWork, keys: Keys, system: str) -> set[str]:
        wanted = self.under(keys, system, self._dates_matter(work, keys, system))
        self._look_up(work, wanted)
        heads: dict[str, str] = work.scratch.get("heads", {})
        return {heads.get(hit, hit) for index in wanted for hit in work.scratch["identity"][index]}

    def _told_by_initial(self, work: UnitOfWork, keys: Keys) -> set[str]:
        """Who is known by her name, her birth date and the initial of her first name."""
        wanted = [self._keys.blind("nom+date", one) for one in keys.initials]
        self._look_up(work, wanted)
        heads: dict[str, str] = work.scratch.get("heads", {})
        return {heads.get(hit, hit) for index in wanted for hit in work.scratch["identity"][index]}

    def _dates_matter(self, work: UnitOfWork, keys: Keys, system: str) -> bool:
        """Does anything say that she may be known here by a birth date more or less precise than hers?"""
        told_by = _TOLD_BY.get(system)
        if not told_by:
            return False
        if keys.partial and system == "nom+date":
            return True
        known: dict[bytes, set[str]] = work.scratch["identity"]
        found = known[keys.indexes[system]] if system in keys.indexes else ()
        return any(not known[index] <= set(found) for index in self.under(keys, told_by))

    def _contradicts(self, work: UnitOfWork, hit: str, nir: bytes | None) -> bool:
        known = work.scratch.get("nirs", {}).get(hit, set())
        return bool(nir and known and nir not in known)

    def _follow(self, work: UnitOfWork, subjects: set[str]) -> None:
        """Remember to whom merged persons point, and who waits for a human."""
        heads: dict[str, str] = work.scratch.setdefault("heads", {})
        marked = "(merged_into IS NOT NULL OR provisional = 1)"
        found = rows(work.connection, person, ("id", "merged_into"), "id", sorted(subjects), marked)
        heads.update({row.id: row.merged_into for row in found if row.merged_into})
        work.scratch.setdefault("provisional", set()).update(row.id for row in found if not row.merged_into)

    def _known_nirs(self, work: UnitOfWork, subjects: set[str]) -> None:
        nirs: dict[str, set[bytes]] = work.scratch.setdefault("nirs", {})
        wanted = [one for one in sorted(subjects) if one not in nirs]
        heads: dict[str, str] = work.scratch.get("heads", {})
        for one in wanted:
            nirs.setdefault(one, set())
        for subject, index in rows(
            work.connection, identifier, ("subject_id", "index_h"), "subject_id", wanted, "system = 'nir'"
        ):
            nirs[subject].add(index)
            nirs.setdefault(heads.get(subject, subject), set()).add(index)
