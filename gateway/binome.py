"""The pair of an accompagnement global (a social worker and an employment adviser): what its deadlines count from.

Its dates are read from the members, the rendez-vous and the person's choice, and are in no partner's document; the
deadlines themselves are rows of `policies/delais.toml`. Nothing here decides: an alert recalls a date.
"""

from __future__ import annotations

from collections.abc import Iterator

from schemas import paths
from schemas.record import Current, Fact

INCOMPLET = "binome_incomplet_depuis"
"""Since when one side, social or emploi, has had nobody; the day of its last departure, else the opening."""
REUNI = "binome_reuni_le"
"""The last time both met the person together, since the opening."""
SANS_ACCORD = "accord_manquant_depuis"
"""The opening, as long as the person's free choice is not recorded."""
COMPUTED = frozenset(f"accompagnements[].{name}" for name in (INCOMPLET, REUNI, SANS_ACCORD))

_MET = {
    "rendez_vous[].conjoint": (".debut", ".statut", "honore"),
    "entretiens[].conjoint": (".date", ".statut", "fait"),
}
"""A meeting held together: the field of its date, of its state, and the state that says it took place."""


def dates(current: Current) -> dict[str, Fact]:
    """The computed dates of each open accompagnement global of this dossier, as facts of that item."""
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
        }
        found |= {f"{item}.{name}": Fact(day, fact.source, "", fact.asserted_at) for name, day in told.items() if day}
    return found


def _empty_sides(current: Current, opened: str) -> Iterator[str]:
    """For each side where nobody is any more: since when. Both bodies may tell the pair, each in an item of its own."""
    here: dict[str, list[str]] = {"social": [], "emploi": []}
    for path, fact in current.items():
        item, _, rest = path.partition("].membres[")
        if not rest.endswith("].cote") or fact.value not in here or _said(current, f"{item}].fin"):
            continue
        if _said(current, f"{item}].nature") in ("global", ""):
            here[fact.value].append(_said(current, path.removesuffix(".cote") + ".jusqua"))
    for departures in here.values():
        if all(departures) and (since := max([*departures, opened])):
            yield since


def _met(current: Current) -> Iterator[str]:
    for path, fact in current.items():
        known = _MET.get(paths.shape(path)) if fact.value is True else None
        if known:
            item, (when, state, done) = path.rpartition(".")[0], known
            if _said(current, item + state) in (done, "") and (day := _said(current, item + when)[:10]):
                yield day


def _said(current: Current, path: str) -> str:
    fact = current.get(path)
    return str(fact.value) if fact else ""
