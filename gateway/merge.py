"""From what each body said to the current dossier: authority, certainty, date; and where two bodies disagree.

Nothing is overwritten: every body's live assertions stay side by side, and the current value of a path is chosen when
it is read. Order: authority of the field (declared with the field in `schemas`), certainty, when it was said, when it
arrived; a value for want of a better one, or a date known in part, gives way to the finer one it agrees with. Two live
values that differ are a divergence, shown to a human and never guessed away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from schemas import paths
from schemas.normalisation import is_initial, name_key
from schemas.record import Fact, Facts

Certainty = Literal["declare", "verifie", "certifie"]

LETTERS: dict[str, frozenset[str]] = {
    "departement": frozenset("DL"),
    "delegataire": frozenset("SL"),
    "ccas": frozenset("SL"),
    "commune": frozenset("SL"),
    "france_travail": frozenset("FL"),
    "caf_msa": frozenset("C"),
    "personne": frozenset("P"),
}
"""Which authorities of a field a role speaks for. E (whoever explored last) and M (the gateway) are nobody's own."""

_UNINFORMATIVE = frozenset({"non_aborde", "non_explore", "non_renseigne", "ne_sait_pas"})
"""Absence of information said aloud: it never hides what another body knows."""

_POORER = {
    "rendez_vous[].statut": {
        "annule_service": frozenset({"excuse_usager"}),
        "a_renseigner": frozenset({"honore", "absent", "excuse_usager"}),
    },
    "foyer.situation_familiale": {"celibataire": frozenset({"veuf", "divorce", "separe"})},
}
"""A value that a partner uses for want of a finer one never replaces the finer one (path shape → poor → richer)."""

_ONCE_CERTIFIED = frozenset({"personne.nom_naissance"})
"""Fields that the caisse decides only of an identity that it certified; before, its word comes last."""

_FIRST_NAMES = "personne.prenoms"
_ADDRESS = "personne.adresses["
_LINES = frozenset({
    "lignes", "complement", "numero_voie", "type_voie", "nom_voie", "lieu_dit", "code_postal", "code_insee",
    "libelle_commune", "pays", "id_ban",
})  # fmt: skip
"""What is read together on an envelope: the street of one body above the town of another is nobody's address."""

RECTIFIED = "maillon.rectification"
"""What a person had corrected (GDPR 16): it stands over what bodies said, even if one of them repeats its error."""

_CERTAINTY = {"declare": 0, "verifie": 1, "certifie": 2}


@dataclass(frozen=True, slots=True)
class Assertions:
    """What one body said of one person in one of its records, as it stands now."""

    source: str
    role: str
    document: str
    asserted_at: str
    received_at: str
    facts: Facts
    last_said: str = ""
    """When it was last said here, if later than `received_at`; empty also when nobody looked, as it is recent."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """Two bodies hold different values for one path: what each says, chosen one first."""

    path: str
    facts: tuple[Fact, ...]


@lru_cache(maxsize=65_536)
def _authority(path: str, role: str) -> int:
    """Rank of a role for a path: 0 is strongest; explored fields rank all sides alike."""
    letters = LETTERS.get(role, frozenset())
    order = paths.field(path).autorite
    for rank, letter in enumerate(order):
        if letter in letters or letter == "E":
            return rank
    return len(order)


def _said_at(path: str, said: Assertions) -> str:
    """When this value was said: the exploration or update date beside it, else the date of the record."""
    parent = path.rpartition(".")[0]
    for name in ("explore_le", "maj_le"):
        if moment := said.facts.get(f"{parent}.{name}"):
            return str(moment)
    return said.asserted_at


def _certainty(path: str, said: Assertions) -> Certainty:
    if path.startswith("personne.") and said.facts.get("personne.identite_certifiee") is True:
        return "certifie"
    return "declare"


def _rank(path: str, said: Assertions) -> int:
    rank = _authority(path, said.role)
    if path in _ONCE_CERTIFIED and rank == 0 and _certainty(path, said) == "declare":
        return len(paths.field(path).autorite)
    return rank


def _key(path: str, said: Assertions) -> tuple[Any, ...]:
    value = said.facts[path]
    return (
        said.document == RECTIFIED,
        value not in _UNINFORMATIVE if isinstance(value, str) else not _by_initial(path, value),
        -_rank(path, said),
        _CERTAINTY[_certainty(path, said)],
        _said_at(path, said),
        said.received_at,
        said.source,
        said.document,
    )


def _fact(path: str, said: Assertions) -> Fact:
    return Fact(said.facts[path], said.source, said.document, said.asserted_at, _certainty(path, said))


def _ordered(path: str, candidates: Sequence[Assertions]) -> list[Assertions]:
    """Strongest first."""
    ordered = sorted(candidates, key=lambda said: _key(path, said), reverse=True)
    if ordered[0].document == RECTIFIED:
        return ordered
    # The list of the caisses (SITFAM) tells them all apart: their word is never for want of a finer one.
    poorer = _POORER.get(paths.shape(path)) if ordered[0].role != "caf_msa" else None
    if poorer and (richer := poorer.get(str(ordered[0].facts[path]))):
        ordered.sort(key=lambda said: said.facts[path] not in richer)
    for one in ordered[1:]:
        if _part_of(path, ordered[0].facts[path], one.facts[path]):
            ordered.sort(key=lambda said: said is not one)
    return ordered


def _by_initial(path: str, value: Any) -> bool:
    """Is this no first name but its initial? It never hides the first name that another body knows."""
    return path == _FIRST_NAMES and is_initial(" ".join(value))


def _part_of(path: str, value: Any, other: Any) -> bool:
    """Whether a date known in part is filled by another one (`1985-06`, `1985-06-12`), or an initial by a first name:
    whoever knows less gives way."""
    if _by_initial(path, value) and not _by_initial(path, other):
        letters, names = name_key(" ".join(value)).split(), name_key(" ".join(other)).split()
        return [name[0] for name in names[: len(letters)]] == letters
    if not isinstance(value, str) or not isinstance(other, str) or not other.startswith(f"{value}-"):
        return False
    return paths.field(path).type == "date_partielle"


def _by_path(said: Iterable[Assertions]) -> dict[str, list[Assertions]]:
    gathered: dict[str, list[Assertions]] = {}
    for one in said:
        for path in one.facts:
            gathered.setdefault(path, []).append(one)
    return gathered


def chosen(said: Iterable[Assertions]) -> dict[str, Assertions]:
    """Whose word stands for each path."""
    told = list(said)
    found: dict[str, Assertions] = {}
    contested: set[str] = set()
    for one in told:
        if found:
            contested |= found.keys() & one.facts.keys()
        found.update(dict.fromkeys(one.facts, one))
    if contested:
        for path, candidates in _by_path(told).items():
            if path in contested:
                found[path] = _ordered(path, candidates)[0]
    if len(told) > 1:
        for place, tellers in _addresses(told).items():
            if len(tellers) > 1:
                _stand_together(found, place, tellers)
    return found


def _addresses(told: Sequence[Assertions]) -> dict[str, list[Assertions]]:
    """Who tells lines of each address (`personne.adresses[residence].`); what the person had corrected stands apart."""
    found: dict[str, list[Assertions]] = {}
    for one in told:
        if one.document == RECTIFIED:
            continue
        places = {path[: path.index("].") + 2] for path in one.facts if path.startswith(_ADDRESS)}
        for place in places:
            if _lines(place, one):
                found.setdefault(place, []).append(one)
    return found


def _lines(place: str, one: Assertions) -> dict[str, Any]:
    return {name: one.facts[path] for name in _LINES if (path := place + name) in one.facts}


def _stand_together(found: dict[str, Assertions], place: str, tellers: list[Assertions]) -> None:
    """Keep of one address the lines of whoever's word stands, completed only by those who tell the same one."""
    tellers = sorted(tellers, key=lambda one: _address_key(place, one), reverse=True)
    first = _lines(place, tellers[0])
    standing = [tellers[0], *(one for one in tellers[1:] if _same_place(first, _lines(place, one)))]
    for name in _LINES:
        path = place + name
        if path in found and found[path].document != RECTIFIED:
            teller = next((one for one in standing if path in one.facts), None)
            if teller is None:
                del found[path]
            else:
                found[path] = teller


def _address_key(place: str, one: Assertions) -> tuple[Any, ...]:
    path = place + "lignes"
    said = _said_at(path, one), one.received_at, one.source, one.document
    return -_authority(path, one.role), _CERTAINTY[_certainty(path, one)], *said


def _same_place(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two statements share a line, and none of those they share differs."""
    shared = one.keys() & other.keys()
    return bool(shared) and all(name_key(str(one[name])) == name_key(str(other[name])) for name in shared)


class Portrait(Mapping[str, Fact]):
    """A current dossier: one fact per path, each with its provenance, made when it is looked at.

    `sources` are all the bodies with something live to say, also where another's word stands.
    """

    __slots__ = ("_facts", "_shapes", "_words", "said", "sources")

    def __init__(self, said: Iterable[Assertions]) -> None:
        self.said = told = list(said)
        self._words = chosen(told)
        self._facts: dict[str, Fact] = {}
        self._shapes: paths.Shapes | None = None
        self.sources = frozenset([one.source for one in told])

    def __getitem__(self, path: str) -> Fact:
        fact = self._facts.get(path)
        if fact is None:
            fact = self._facts[path] = _fact(path, self._words[path])
        return fact

    def get(self, path: str, default: Any = None) -> Any:
        return self[path] if path in self._words else default

    def __contains__(self, path: object) -> bool:
        return path in self._words

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)

    def __or__(self, more: Mapping[str, Fact]) -> dict[str, Fact]:
        return {**self, **more}

    @property
    def shapes(self) -> paths.Shapes:
        """Its paths under their shapes, cut once for all that ask."""
        if self._shapes is None:
            self._shapes = paths.by_shape(self._words)
        return self._shapes

    def is_all_of(self, told: Collection[str]) -> bool:
        """Are these paths, as a set, those of this dossier?"""
        return self._words.keys() == told

    def value(self, path: str) -> Any:
        """The value alone."""
        return self._words[path].facts[path]

    def seconded(self, path: str) -> list[Fact]:
        """The same value in the words of others, strongest first, or a date that it completes, as they know it."""
        first = self._words[path]
        value = first.facts[path]
        told = (one for one in self.said if one is not first and path in one.facts)
        agreeing = [one for one in told if one.facts[path] == value or _part_of(path, one.facts[path], value)]
        return [_fact(path, one) for one in _ordered(path, agreeing)] if agreeing else []


def by_shape(told: Collection[str]) -> paths.Shapes:
    """The paths of a dossier, or others, under their shapes."""
    return told.shapes if isinstance(told, Portrait) else paths.by_shape(told)


def current(said: Iterable[Assertions]) -> dict[str, Fact]:
    """The current dossier: one fact per path, each with its provenance."""
    return dict(Portrait(said))


def divergences(said: Iterable[Assertions]) -> list[Divergence]:
    """Every path on which two bodies hold different informative values, chosen value first.

    A body speaks with its strongest statement, and with those it made in the same breath: two adults of one household
    who answer differently are shown side by side.
    """
    found = []
    for path, candidates in _by_path(said).items():
        ordered = _ordered(path, candidates)
        voices = {one.source: (one.document, one.asserted_at) for one in reversed(ordered)}
        told = [one for one in ordered if voices[one.source] == (one.document, one.asserted_at)]
        first = ordered[0].facts[path]
        if not any(isinstance(one.facts[path], list) for one in told):
            told = [one for one in told if one.facts[path] not in _UNINFORMATIVE]
        told = [one for one in told if not _part_of(path, one.facts[path], first)]
        distinct = {(one.source, repr(one.facts[path])): one for one in reversed(told)}
        shown = [one for one in told if distinct[one.source, repr(one.facts[path])] is one]
        if len({value for _, value in distinct}) > 1:
            found.append(Divergence(path, tuple(_fact(path, one) for one in shown)))
    return sorted(found, key=lambda divergence: divergence.path)
