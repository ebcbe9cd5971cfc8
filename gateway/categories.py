"""From canonical paths to legal categories, and the facts of a dossier split by a decision.

The bridge is data (`gateway/policies/categories.toml`), signed with the decision table.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gateway.merge import Assertions, Portrait, by_shape
from gateway.policy import Decision, in_order
from gateway.policy_table import FOLDER, parse_obligation
from schemas import paths
from schemas.champ import CATEGORIES
from schemas.normalisation import name_key
from schemas.record import Current, Fact

NEVER = "jamais"
OPEN = "libre"
"""Not personal: organisations, services, places."""
_KEYED = ("freins[", "objectifs[")
"""Lists whose keys are codes that may reveal a category; all other keys say nothing, and are never remembered."""
_WORDS = ("personne.adresses[", "identifiants[")
"""Lists whose keys are words of ours wherever they are plain words: their paths may be remembered whole."""
_ANY_KEY = tuple(f"{name}]" for name in _KEYED)
"""What a path of these lists looks like without its key: never remembered, as it tells nothing of the others."""
_APART = re.compile(r"(?<=\b\w) (?=\w\b)")
"""What stands between the letters of an acronym written with dots."""
_MEMO_LIMIT = 4096
_REVEALING = ("crosswalk/freins", "crosswalk/objectifs")


@dataclass(frozen=True, slots=True)
class Withheld:
    """Facts of one category that one rule kept back."""

    code: str
    """C-code, or `jamais`."""
    count: int
    rule: str
    article: str


@dataclass(frozen=True, slots=True)
class _Row:
    code: str
    champs: tuple[str, ...]
    themes: frozenset[str]
    valeurs: frozenset[str]

    def holds(self, shape: str, path: str, value: Any) -> bool:
        if self.champs and not any(shape == c or (c.endswith(".") and shape.startswith(c)) for c in self.champs):
            return False
        if self.themes and not self.themes.intersection(paths.keys(path)[:1]):
            return False
        if self.valeurs and value is not None:
            return not self.valeurs.isdisjoint(value if isinstance(value, list) else [value])
        return True


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a structure is named."""

    within: str
    """Shape of what it stands in, up to its last dot."""
    known_by: tuple[str, ...]
    """What it is recognised by there; a last dot stands for all that follows."""

    def of(self, path: str) -> str:
        """The very item that this path is in."""
        end = 0
        for _ in range(self.within.count("[]")):
            end = path.index("]", end) + 1
        return path[:end] + self.within[self.within.rfind("]") + 1 :]

    def holds(self, shape: str) -> bool:
        return any(shape == one or (one.endswith(".") and shape.startswith(one)) for one in self.known_by)


def _naming(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, _Place]]:
    """Each field that names a structure, and where. Raises `schemas.paths.UnknownPath`."""
    for row in rows:
        for within in row["dans"]:
            place = _Place(within, tuple(within + name for name in row.get("avec", ("",))))
            yield from ((paths.field(within + name).path, place) for name in row["nommee"])


class Bridge:
    """The bridge, compiled. What depends on the shape alone, or on a code list, is remembered."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self._rows: dict[str, list[_Row]] = {name: [] for name in CATEGORIES}
        for row in source["categorie"]:
            self._rows[row["modele"]].append(
                _Row(
                    row["code"],
                    tuple(row.get("champs", ())),
                    frozenset(row.get("themes", ())),
                    frozenset(row.get("valeurs", ())),
                )
            )
        if open_ended := [name for name, rows in self._rows.items() if not rows or not _last_resort(rows[-1])]:
            raise ValueError(f"no unconditional code for {', '.join(open_ended)}")
        self.masks: Mapping[str, tuple[str, ...]] = {name: tuple(kept) for name, kept in source["masques"].items()}
        self._naming = dict(_naming(source.get("structure", ())))
        sensitive = source.get("nature_sensible", ())
        self._revealing = [(_any_of(row["mots"]), row["code"], row.get("sauf", ())) for row in sensitive]
        self._any = _any_of(word for row in sensitive for word in row["mots"])
        self._known: dict[str, tuple[str, str]] = {}
        self._valued = frozenset(name for name, rows in self._rows.items() if any(row.valeurs for row in rows))
        by_value = {shape for rows in self._rows.values() for row in rows if row.valeurs for shape in row.champs}
        self._by_value = frozenset(
            shape
            for shape, champ in paths.FIELDS.items()
            if shape in by_value or champ.categorie == "identifiants" or (champ.liste or "").startswith(_REVEALING)
        )

    def code(self, path: str, value: Any = None) -> str:
        """C-code of a concrete path, `jamais` or `libre`. Raises `schemas.paths.UnknownPath`."""
        return self.both(path, value)[1]

    def both(self, path: str, value: Any = None) -> tuple[str, str]:
        """Category of the model and C-code of a concrete path. Raises `schemas.paths.UnknownPath`."""
        if (known := self._known.get(path)) is not None:
            return known
        shape, word = _shape(path)
        if shape in self._naming and (revealed := self._revealed(shape, value)):
            return paths.categorie(path, value), revealed
        name = path if word or shape.startswith(_KEYED) else shape
        if (known := self._known.get(name)) is not None:
            return known
        category = paths.categorie(path, value)
        if shape not in self._by_value:
            return self._remember(name, (category, self._code(category, shape, path, value)))
        if category in self._valued:
            return category, self._code(category, shape, path, value)
        # The value decided the category; the category and the path decide the rest.
        name = f"{category} {name}"
        return self._known.get(name) or self._remember(name, (category, self._code(category, shape, path, value)))

    def _revealed(self, shape: str, name: Any) -> str | None:
        """The code of what the name of a structure reveals, if it does."""
        if not isinstance(name, str) or not self._any.search(folded := _APART.sub("", name_key(name))):
            return None
        found = (code for words, code, but in self._revealing if shape not in but and words.search(folded))
        return next(found, None)

    def veiled(self, told: Collection[str], value: Callable[[str], Any]) -> dict[str, str]:
        """Of these paths, those that a structure is recognised by whose name reveals more, with the code of what."""
        shapes, naming = by_shape(told), self._naming
        named = [(path, shape) for shape in shapes if shape in naming for path in shapes[shape]]
        found = {(naming[shape], path): code for path, shape in named if (code := self._revealed(shape, value(path)))}
        return {
            path: code
            for (place, name), code in found.items()
            for item in (place.of(name),)
            for shape in filter(place.holds, shapes)
            for path in shapes[shape]
            if path.startswith(item)
        }

    def _code(self, category: str, shape: str, path: str, value: Any) -> str:
        return next(row.code for row in self._rows[category] if row.holds(shape, path, value))

    def _remember(self, name: str, found: tuple[str, str]) -> tuple[str, str]:
        if len(self._known) < _MEMO_LIMIT and not name.startswith(_ANY_KEY):
            self._known[name] = found
        return found

    def of(self, told: Collection[str], value: Callable[[str], Any]) -> set[tuple[str, str]]:
        """Category of the model and C-code of each of these paths, `value` giving what stands there.

        Raises `schemas.paths.UnknownPath`.
        """
        if veiled := self.veiled(told, value):
            both = [(path, *self.both(path, value(path))) for path in told]
            return {(category, veiled.get(path, code)) for path, category, code in both}
        found: set[tuple[str, str]] = set()
        for shape, its in by_shape(told).items():
            if (known := self._known.get(shape)) is not None:
                found.add(known)
            else:
                found.update([self.both(path, value(path)) for path in its])
        return found

    def codes_of(self, category: str) -> frozenset[str]:
        """Every C-code that facts of this canonical category may fall under."""
        return frozenset(row.code for row in self._rows[category]) - {NEVER, OPEN}


def _shape(path: str) -> tuple[str, bool]:
    """The path without its keys, and whether its one key is a plain word (`residence`), which names nobody."""
    start = path.find("[")
    if start < 0:
        return path, False
    end = path.rindex("]")
    key = path[start + 1 : end]
    if "[" in key:
        return paths.shape(path), False
    shape = path[: start + 1] + path[end:]
    return shape, shape.startswith(_WORDS) and key.isalpha()


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Any of these words, whole or, with a star, what begins so, in a text that `name_key` folded."""
    folded = (name_key(word) + (r"\w*" if word.endswith("*") else "") for word in words)
    return re.compile(rf"\b(?:{'|'.join(folded)})\b")


def _last_resort(row: _Row) -> bool:
    return not (row.champs or row.themes or row.valeurs)


@lru_cache(maxsize=1)
def bridge() -> Bridge:
    """The bridge, read once."""
    return Bridge(tomllib.loads((FOLDER / "categories.toml").read_text()))


def legal_code(path: str, value: Any = None) -> str | None:
    """C-code of a concrete canonical path; None: never leaves; "": not personal data.

    With the value, codes that reveal a stricter category are seen (a number that is a NIR, a list that names health);
    without it the strictest is given. Raises `schemas.paths.UnknownPath`.
    """
    code = bridge().code(path, value)
    return None if code == NEVER else "" if code == OPEN else code


def codes_said(body: str, said: Iterable[Assertions]) -> set[str]:
    """C-codes of what this body itself said of a person."""
    hers = (one.facts for one in said if one.source == body)
    return {code for facts in hers for _, code in bridge().of(facts, facts.get)}


Told = frozenset[tuple[str, str]]
"""What some facts tell, as (category of the model, C-code) pairs."""


def told(current: Current) -> Told:
    """The categories and codes that these facts tell. Raises `schemas.paths.UnknownPath`."""
    value = current.value if isinstance(current, Portrait) else lambda path: current[path].value
    return frozenset(bridge().of(current, value))


def codes_of(what: Told, within: Collection[str] | None = None) -> frozenset[str]:
    """The C-codes that sending what was told would ask for, or those of them in these categories of the model."""
    return frozenset({code for category, code in what if within is None or category in within} - {NEVER, OPEN})


def split(
    current: Current,
    decision: Decision,
    role: Callable[[str], str],
    wanted: Collection[str] | None = None,
) -> tuple[dict[str, Fact], list[Withheld]]:
    """The facts a decision lets through, and what it keeps back, counted, with the rule and the article.

    `wanted` are the C-codes that were asked for: facts of others are in neither. By default, all are looked at.
    `role` gives the role of the body that said a fact: what some say goes no further than its first recipient; what
    another body says too, or knows less precisely (the year of a birth date), goes in the words of that other one.
    Facts that only serve to find the person (`mask(C3, match-only)`) are in neither.
    """
    codes = bridge()
    veiled = codes.veiled(current, lambda path: current[path].value)
    masks = _masks(decision)
    blocked = {origin: (rule, article, some) for origin, rule, article, some in decision.onward}
    permitted: dict[str, Fact] = {}
    counts: dict[tuple[str, str, str], int] = {}
    for path, fact in current.items():
        try:
            code = veiled.get(path) or codes.code(path, fact.value)
        except paths.UnknownPath:
            code = NEVER
        if wanted is not None and code not in wanted:
            continue
        if code == "C3" and masks.get("C3") == "match-only":
            continue
        why = _kept_back(path, code, fact, decision, masks, blocked, role)
        if why is not None and blocked and isinstance(current, Portrait) and role(fact.source) in blocked:
            for other in current.seconded(path):
                if _kept_back(path, code, other, decision, masks, blocked, role) is None:
                    permitted[path] = other
                    why = None if other.value == fact.value else why
                    break
        elif why is None:
            permitted[path] = fact
        if why is not None:
            counts[code, *why] = counts.get((code, *why), 0) + 1
    order = {code: i for i, code in enumerate(in_order(code for code, _, _ in counts if code != NEVER))}
    rows = [Withheld(code, count, rule, article) for (code, rule, article), count in counts.items()]
    return permitted, sorted(rows, key=lambda row: (order.get(row.code, 99), row.rule))


def _masks(decision: Decision) -> dict[str, str]:
    if not decision.permits:
        return {}
    found = (parse_obligation(text) for text in decision.obligations if text.startswith("mask("))
    return {arguments[0]: arguments[1] for _, arguments in found}


_USELESS = ("D05", "RGPD 5(1)(c)")
_SEPARATE = ("D10", "RGPD 9")


def _kept_back(
    path: str,
    code: str,
    fact: Fact,
    decision: Decision,
    masks: Mapping[str, str],
    blocked: Mapping[str, tuple[str, str, frozenset[str]]],
    role: Callable[[str], str],
) -> tuple[str, str] | None:
    """(rule, article) that keeps this fact back; None if it may leave."""
    if code == OPEN and decision.permits:
        return None
    if code == NEVER:
        return _SEPARATE
    if rule := decision.redacted.get(code):
        return rule, decision.redaction_articles[code]
    if not decision.permits:
        return decision.rule_ids[0], decision.articles[0]
    if code not in decision.sent:
        return _USELESS
    if blocked and (row := blocked.get(role(fact.source))) and code in row[2]:
        return row[0], row[1]
    if (mask := masks.get(code)) and paths.shape(path) not in bridge().masks.get(mask, ()):
        return _USELESS
    return None
