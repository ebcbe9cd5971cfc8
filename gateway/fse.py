"""FSE+ participations: entry, exit, six months after; what is known is derived, what must be asked is never derived.

A participation is facts of the dossier (`participations[…]`), its answers frozen at their date. Closed, it never
changes; a person who comes back has a new one. Sensitive answers stand in a register of their own (`fse_apart`) and
are only ever counted. Counting: `fse_indicators.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

from sqlalchemy import select

import mappings
from gateway import clock, fse_apart, fse_form, journal
from gateway.fse_form import SENSITIVE, Derived, derived
from gateway.merge import Portrait
from gateway.person_history import people_of
from gateway.prefill import known_to
from gateway.problems import Conflict, Invalid, Misnamed, Unknown
from gateway.registry import Gateway
from gateway.storage.tables.record import person
from gateway.unit_of_work import UnitOfWork
from schemas import paths
from schemas.fse import QuestionnaireEntree, QuestionnaireSortie, Situation6Mois
from schemas.record import Current, Fact, Facts, value_of

DOCUMENT = "maillon.fse"
SIX_MONTHS = timedelta(days=180)
_CHUNK = 400


def _results(current: Current, first: str, last: str) -> dict[str, Derived]:
    """Exit answers that dated results prove. The absence of a result proves nothing."""
    natures = {"emploi": "en_emploi", "creation": "en_emploi", "formation": "en_formation",
               "qualification": "qualification_obtenue"}  # fmt: skip
    found = {}
    for path, fact in sorted(current.items()):
        if path.startswith("resultats[") and path.endswith("].nature") and fact.value in natures:
            dated = path.removesuffix("nature") + "date"
            if first <= str(value_of(current, dated) or "") <= last:
                found[natures[fact.value]] = Derived(True, (path, dated))
    return found


# --- the three moments ------------------------------------------------------------------------------------------------


def enter(
    work: UnitOfWork,
    gateway: Gateway,
    person_id: str,
    body: str,
    operation: str,
    day: str,
    answers: Mapping[str, Any] | None = None,
    notice: str = "",
) -> str:
    """Open a participation; gives its key. What this body said or may see answers for her (`fse_form`), and `answers`
    are what she was asked, sensitive ones among them.

    `notice` is the publicity text she saw. Raises `Conflict` (`participation-open`) when one of this operation is
    open, `Invalid` (`answer-unknown`, `answer-invalid`).
    """
    current = gateway.dossiers.current(work, person_id)
    if any(one["operation"] == operation and one["etat"] == "ouverte" for one in participations(current)):
        raise Conflict("participation-open", "Close the participation of this operation before a new one.")
    told = dict(answers or {})
    apart = {name: told.pop(name) for name in SENSITIVE if name in told}
    _known(told, QuestionnaireEntree)
    key = f"{body}:{clock.new_id()}"
    known = known_to(work, gateway, person_id, body)
    frozen = {name: one.value for name, one in derived(known, day).items()} | told | {"rempli_le": day}
    facts: Facts = {"operation_financee": operation, "date_entree": day, "etat": "ouverte"}
    facts |= {f"questionnaire_entree.{name}": value for name, value in frozen.items()}
    if notice:
        facts |= {"avis_publicite.texte": notice, "avis_publicite.vu_le": work.now}
    _put(work, gateway, person_id, (body, DOCUMENT), key, facts)
    _put_apart(work, gateway, person_id, key, apart)
    return key


def answer(work: UnitOfWork, gateway: Gateway, person_id: str, key: str, answers: Mapping[str, Any]) -> None:
    """Complete what was not answered at entry. An answer given is frozen: `Conflict` (`answer-frozen`)."""
    current = gateway.dossiers.current(work, person_id)
    _open(current, key)
    told = dict(answers)
    apart = {name: told.pop(name) for name in SENSITIVE if name in told}
    _known(told, QuestionnaireEntree)
    facts = {f"questionnaire_entree.{n}": v for n, v in told.items()}
    given = current | told_apart(work, gateway, person_id)
    for name, value in (facts | {f"reponses_sensibles.{n}": v for n, v in apart.items()}).items():
        if value_of(given, f"participations[{key}].{name}") not in (None, value):
            raise Conflict("answer-frozen", "Answers at entry are those of that day; they do not change.")
    body = key.partition(":")[0]
    _put(work, gateway, person_id, (body, DOCUMENT), key, facts)
    _put_apart(work, gateway, person_id, key, apart)


def leave(
    work: UnitOfWork, gateway: Gateway, person_id: str, key: str, day: str, answers: Mapping[str, Any] | None = None
) -> None:
    """Close a participation: dated results answer for her, unchanged answers carry over, then nothing changes."""
    current = gateway.dossiers.current(work, person_id)
    entry = _open(current, key)
    if day < entry["date_entree"]:
        raise Invalid("exit-before-entry", "A participation ends after it began.")
    told = dict(answers or {})
    _known(told, QuestionnaireSortie)
    frozen: dict[str, Any] = {name: one.value for name, one in _results(current, entry["date_entree"], day).items()}
    if kept := value_of(current, f"participations[{key}].questionnaire_entree.marche_travail"):
        frozen.setdefault("marche_travail", kept)
    facts: Facts = {"date_sortie": day, "etat": "close"}
    facts |= {f"questionnaire_sortie.{name}": value for name, value in (frozen | told | {"rempli_le": day}).items()}
    _put(work, gateway, person_id, (key.partition(":")[0], DOCUMENT), key, facts)


def six_months(
    work: UnitOfWork, gateway: Gateway, person_id: str, key: str, day: str, answers: Mapping[str, Any]
) -> None:
    """What became of her 180 days after; told once. Raises `Conflict` (`not-closed`, `too-early`, `answer-frozen`)."""
    current = gateway.dossiers.current(work, person_id)
    one = next((one for one in participations(current) if one["key"] == key), None)
    if one is None:
        raise Unknown("participation-unknown", "Give the key that its entry gave.")
    if one["etat"] != "close":
        raise Conflict("not-closed", "The six months start at the exit.")
    if day < _due(one["date_sortie"]):
        raise Conflict("too-early", "The situation is observed 180 days after the exit.")
    if one["six_mois"]:
        raise Conflict("answer-frozen", "The situation after six months was told already.")
    _known(answers, Situation6Mois)
    facts = {f"situation_6_mois.{name}": value for name, value in (dict(answers) | {"observee_le": day}).items()}
    _put(work, gateway, person_id, (key.partition(":")[0], DOCUMENT), key, facts)


def _known(answers: Mapping[str, Any], model: Any) -> None:
    if extra := set(answers) - set(model.model_fields):
        raise Misnamed("answer-unknown", f"Not in this questionnaire: {', '.join(sorted(extra))}.")


def _open(current: Current, key: str) -> dict[str, Any]:
    for one in participations(current):
        if one["key"] == key:
            if one["etat"] != "ouverte":
                raise Conflict("participation-closed", "A closed participation never changes; a return is a new one.")
            return one
    raise Unknown("participation-unknown", "Give the key that its entry gave.")


def _put(
    work: UnitOfWork, gateway: Gateway, person_id: str, said_in: tuple[str, str], key: str, told: Mapping[str, Any]
) -> None:
    facts = {f"participations[{key}].{name}": value for name, value in told.items()}
    if not facts:
        return
    _valid(facts)
    body, document = said_in
    place = (body, document, gateway.dossiers.record_index(body, document, key))
    gateway.dossiers.put(
        work, person_id, place, facts, asserted_at=work.now, exchange_id=clock.new_id(), partial=True
    )  # fmt: skip


def _put_apart(work: UnitOfWork, gateway: Gateway, person_id: str, key: str, told: Mapping[str, Any]) -> None:
    if not told:
        return
    _valid({f"participations[{key}].reponses_sensibles.{name}": value for name, value in told.items()})
    fse_apart.put(work, gateway, person_id, key.partition(":")[0], key, told)


def _valid(facts: Facts) -> None:
    if wrong := [f"{one.code} {one.path}" for one in paths.check(facts)]:
        raise Invalid("answer-invalid", "; ".join(sorted(wrong)))


# --- reading ----------------------------------------------------------------------------------------------------------


def participations(current: Current) -> list[dict[str, Any]]:
    """The participations of a dossier, oldest first, without any sensitive answer."""
    keys = dict.fromkeys(paths.keys(path)[0] for path in current if path.startswith("participations["))
    found = []
    for key in keys:
        at = f"participations[{key}]."
        inside = {path.removeprefix(at): fact.value for path, fact in current.items() if path.startswith(at)}
        found.append(
            {"key": key, "operation": inside.get("operation_financee"), "etat": inside.get("etat"),
             "date_entree": inside.get("date_entree"), "date_sortie": inside.get("date_sortie"),
             "entree": _under(inside, "questionnaire_entree."), "sortie": _under(inside, "questionnaire_sortie."),
             "six_mois": _under(inside, "situation_6_mois."), "avis_vu_le": inside.get("avis_publicite.vu_le")}
        )  # fmt: skip
    return sorted(found, key=lambda one: (one["date_entree"] or "", one["key"]))


def _under(inside: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {path.removeprefix(prefix): value for path, value in sorted(inside.items()) if path.startswith(prefix)}


def _due(exit_day: str) -> str:
    return (date.fromisoformat(exit_day) + SIX_MONTHS).isoformat()


MANDATORY = ("marche_travail", "niveau_etude")
_IDENTITY = ("personne.date_naissance", "personne.sexe_etat_civil", "personne.adresses[residence].code_insee")
_ASKED_OF_ALL = ("handicap", "origine_etrangere", "minorite")


def missing(current: Current, one: Mapping[str, Any], today: str, answers: Current) -> list[str]:
    """What keeps a participation from being counted, by name of the item. A refusal to answer is an answer; `answers`
    are those of the register apart."""
    lacks = [path for path in _IDENTITY if path not in current]
    lacks += [f"entree.{name}" for name in MANDATORY if one["entree"].get(name) is None]
    at = f"participations[{one['key']}].reponses_sensibles."
    lacks += [f"demander.{name}" for name in _ASKED_OF_ALL if f"{at}{name}" not in answers]
    if not one["avis_vu_le"]:
        lacks.append("avis_publicite")
    if one["etat"] == "close":
        lacks += [] if one["sortie"].get("situation_accompagnement") else ["sortie.situation_accompagnement"]
        if today >= _due(one["date_sortie"]) and not one["six_mois"]:
            lacks.append("six_mois")
    return lacks


def everyone(work: UnitOfWork, gateway: Gateway) -> Iterator[tuple[str, Portrait]]:
    """Every person and her current dossier, in constant memory."""
    work.flush()
    live = select(person.c.id).where(
        person.c.merged_into.is_(None), person.c.erased_at.is_(None), person.c.provisional == 0
    )
    last = ""
    while chunk := list(work.connection.execute(live.where(person.c.id > last).order_by(person.c.id).limit(_CHUNK))):
        ids = [row.id for row in chunk]
        gateway.dossiers.prefetch(work, ids)
        for one in ids:
            yield one, gateway.dossiers.current(work, one)
        for cache in ("dossier", "homes", "links", "merged"):
            work.scratch.pop(cache, None)
        last = ids[-1]


def incomplete(gateway: Gateway, operation: str, today: str) -> list[dict[str, Any]]:
    """The participants whose participation lacks something, and what."""
    with reading_all(gateway, "fse-incomplete") as work:
        return [
            {"person": person_id, "participation": one["key"], "etat": one["etat"], "missing": lacks}
            for person_id, current, one in taking_part(work, gateway, operation)
            if (lacks := missing(current, one, today, told_apart(work, gateway, person_id)))
        ]


def taking_part(work: UnitOfWork, gateway: Gateway, operation: str) -> Iterator[tuple[str, Current, dict[str, Any]]]:
    """Each participation of an operation, with her dossier. Raises `Unknown` (`operation-unknown`) when there is
    none."""
    found, others = False, set()
    for person_id, current in everyone(work, gateway):
        for one in participations(current):
            if one["operation"] == operation:
                found = True
                yield person_id, current, one
            else:
                others.add(str(one["operation"]))
    if not found:
        known = ", ".join(sorted(others)) or "none"
        raise Unknown("operation-unknown", f"Nobody takes part in it. Operations with participants: {known}.")


def told_apart(work: UnitOfWork, gateway: Gateway, person_id: str) -> dict[str, Fact]:
    """Her sensitive answers, to be counted only."""
    return fse_apart.of(work, gateway, people_of(work, person_id))


@contextmanager
def reading_all(gateway: Gateway, what: str) -> Iterator[UnitOfWork]:
    """Where to read every dossier from: journaled first, then in a transaction that holds back no writer."""
    with gateway.unit_of_work() as work:
        journal.append(work, "log.read", outcome=what, purpose="statistiques_pilotage", agent_role="operator")
    with gateway.reading() as work:
        yield work


def statement(gateway: Gateway, operation: str) -> list[dict[str, str]]:
    """The participants of one operation, one row of `fse.participant` each, sensitive answers among them.

    It is the only document that carries those; it is journaled as an export before it is given.
    """
    found = []
    with gateway.reading() as work:
        for person_id, current, one in taking_part(work, gateway, operation):
            facts = {**current, **told_apart(work, gateway, person_id)}
            found.append(mappings.load(fse_form.ID).write(facts, {"participation": one["key"]}).document)
    with gateway.unit_of_work() as work:
        journal.append(
            work, "export", document=fse_form.ID, n_records=len(found), purpose="statistiques_pilotage",
            agent_role="operator", outcome="exported",
        )  # fmt: skip
    return found
