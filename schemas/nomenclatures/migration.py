"""From one version of a code list to the next: what was renamed, merged, split or retired, as a file.

The list itself changes in its CSV; this file says what becomes of what was stored under its former codes.

    id     = "logement-2027"
    list   = "crosswalk/logement"
    from   = "2023"
    to     = "2027"
    source = "Compte rendu du comité des nomenclatures, 12 janvier 2027"

    [[change]]
    action = "rename"          # one code, another name
    code   = "heberge_chez_tiers"
    to     = "heberge_tiers"

    [[change]]
    action = "merge"           # several codes become one
    code   = ["caravane", "cabane"]
    to     = "fortune"

    [[change]]
    action = "split"           # one code becomes several: a human chooses, person by person
    code   = "foyer_ou_urgence"
    to     = ["hebergement_urgence", "logement_accompagne"]

    [[change]]
    action = "retire"          # no code says it any more
    code   = "inconnu"

The four actions are those of the code-migration table of the Carnet de bord referential (modifier, fusionner,
supprimer, ajouter); an addition moves nothing that is stored, so that it needs no line here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas import nomenclatures

Action = Literal["rename", "merge", "split", "retire"]


class MigrationInvalid(ValueError):
    """This file does not describe a change of a code list. `code` is stable; the message says what to correct."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Change(_Strict):
    action: Action
    code: str | list[str]
    to: str | list[str] = Field(default_factory=list)


class _File(_Strict):
    id: str = Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=60)
    list_: str = Field(alias="list")
    from_: str = Field(alias="from", min_length=1, max_length=40)
    to: str = Field(min_length=1, max_length=40)
    source: str = Field(min_length=1)
    change: list[_Change] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one code: `to` has one code, several among which a human chooses, or none."""

    code: str
    to: tuple[str, ...]


@dataclass(frozen=True)
class Migration:
    """One change of version of one code list."""

    id: str
    codes: str
    """Name of the list, as `schemas.nomenclatures.codes` takes it."""
    before: str
    after: str
    changes: Mapping[str, Change]
    """By former code."""

    @cached_property
    def moved(self) -> Mapping[str, str]:
        """Former code → the only code that it may become."""
        return {code: one.to[0] for code, one in self.changes.items() if len(one.to) == 1}

    @cached_property
    def retired(self) -> frozenset[str]:
        return frozenset(code for code, one in self.changes.items() if not one.to)


def read(path: Path) -> Migration:
    """Read a file and compare it with the list as it is now.

    Raises `MigrationInvalid`: `migration-unreadable` (not such a file), `migration-list` (no such list),
    `migration-target` (a new code is not in the list), `migration-source` (a former code still is, or is said twice).
    """
    try:
        told = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MigrationInvalid("migration-unreadable", f"not a TOML file: {type(error).__name__}") from None
    except ValidationError as error:
        where = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        raise MigrationInvalid("migration-unreadable", f"correct {where}") from None
    try:
        known = nomenclatures.codes(told.list_)
    except nomenclatures.UnknownList:
        raise MigrationInvalid("migration-list", f"{told.list_} is not a code list") from None
    changes: dict[str, Change] = {}
    for one in (found for change in told.change for found in _spread(change)):
        if one.code in changes:
            raise MigrationInvalid("migration-source", f"{one.code} is said twice")
        if one.code in known:
            raise MigrationInvalid("migration-source", f"{one.code} is still in {told.list_}: take it out of the list")
        if unknown := [code for code in one.to if code not in known]:
            raise MigrationInvalid("migration-target", f"{', '.join(unknown)} is not in {told.list_}: add it there")
        changes[one.code] = one
    return Migration(told.id, told.list_, told.from_, told.to, changes)


def _spread(change: _Change) -> Iterator[Change]:
    """One `Change` for each former code, once the action and the numbers of codes agree."""
    codes = [change.code] if isinstance(change.code, str) else change.code
    targets = (change.to,) if isinstance(change.to, str) else tuple(change.to)
    fits = {
        "rename": len(codes) == 1 and len(targets) == 1,
        "merge": len(codes) >= 1 and len(targets) == 1,
        "split": len(codes) == 1 and len(set(targets)) > 1,
        "retire": len(codes) >= 1 and not targets,
    }[change.action]
    if not fits:
        raise MigrationInvalid("migration-unreadable", f"{change.action}: count the codes of {', '.join(codes)}")
    for code in codes:
        yield Change(code, targets)
