"""The list of breaches (GDPR 33(5)) and the 72 hours in which the CNIL is told."""

from __future__ import annotations

import json
from datetime import datetime
from hashlib import sha256
from typing import Any

from gateway import breach, clock
from gateway.console import law_words
from gateway.console.blocks import (
    Badge,
    Facts,
    Field,
    Form,
    Lines,
    Link,
    Notice,
    Num,
    Page,
    Quiet,
    Table,
    Text,
    Title,
    When,
)
from gateway.console.common import Answer, Go, Place, View, to_correct
from gateway.problems import Invalid, Misnamed
from gateway.words import many, moment, number, say, says, word
from schemas.normalisation import PARIS

_TEXTS = {"consequences": 5_000, "measures": 5_000, "delay_reason": 2_000}


def places() -> list[Place]:
    """The pages of breaches."""
    role = ("dpo",)
    return [
        Place("/console/violations", listed, role),
        Place("/console/violations", declare, role, "POST"),
        Place("/console/violations/{id}", one_breach, role),
        Place("/console/violations/{id}", complete, role, "POST"),
        Place("/console/violations/{id}/clore", close, role, "POST"),
    ]


def listed(view: View) -> Page:
    """Every breach, newest first, with what is left of the 72 hours; a form to write one down."""
    found = breach.list_(view.work)
    rows = [
        [
            Link(word("violation", one["kind"]), f"/console/violations/{one['id']}", about=one["id"][-6:]),
            _state(one),
            When(one["detected_at"]),
            clock_of(one),
            Num(one["persons"]),
            When(one["cnil_notified_at"]),
            When(one["persons_notified_at"]),
        ]
        for one in found
    ]
    keys = ("nature", "etat", "detectee", "echeance", "personnes", "cnil", "informees")
    page = Page(say("violations.titre"), [Text(say("violations.intro"), lead=True)])
    if any(one["state"] != "closed" and not one["cnil_notified_at"] and one["late"] for one in found):
        page.blocks.append(Notice(say("violations.en_retard"), "bad"))
    page.blocks += [
        Table(
            "violations",
            say("violations.legende"),
            says("violations", *keys),
            rows,
            say("violations.vide"),
            frozenset({4}),
        ),
        _declaration(view),
    ]
    return page


def _declaration(view: View) -> Form:
    """The form, with what was typed when it is to correct."""
    natures = [(k, word("violation", k)) for k in breach.KINDS]
    known = say("violations.connue_aide")
    return Form(
        "/console/violations",
        say("violations.inscrire"),
        [
            Field("nature", say("violations.nature"), "select", value=view.given("nature"), options=natures),
            Field(
                "detectee",
                say("violations.detectee"),
                "datetime-local",
                say("violations.maintenant"),
                value=view.given("detectee"),
            ),
            Field("connue", say("violations.connue"), "datetime-local", known, value=view.given("connue")),
        ],
        title=say("violations.declarer"),
        intro=say("violations.declarer_intro"),
    )


def _state(one: dict[str, Any]) -> Badge:
    return Badge(word("violation_etat", one["state"]), {"draft": "wait", "open": "wait"}.get(one["state"], "good"))


def clock_of(one: dict[str, Any]) -> Lines:
    """The end of the 72 hours, and what is left of them while the CNIL was not told."""
    told: list[Any] = [When(one["due_at"])]
    if one["cnil_notified_at"] or one["state"] == "closed":
        told.append(Quiet(say("violations.hors_delai" if one["late"] else "violations.dans_delai")))
    elif one["late"]:
        told.append(Badge(say("violations.depasse"), "bad"))
    else:
        left = (datetime.fromisoformat(one["due_at"]) - clock.now()).total_seconds()
        told.append(Badge(many("violations.reste", int(left // 3600)), "wait"))
    return Lines(told)


_ASKED = {
    "detected_at": "detectee", "aware_at": "connue", "cnil_notified_at": "cnil", "persons_notified_at": "informees",
}  # fmt: skip
"""Instants of a breach → their fields."""


def declare(view: View) -> Answer:
    """Write a breach down; the clock runs from when the controller knew."""
    try:
        detected, aware = (_instant(view, name) for name in ("detected_at", "aware_at"))
        made = breach.draft(view.work, view.given("nature"), detected_at=detected, aware_at=aware)
    except Invalid as refused:
        if not (at := _wrong_instant(refused)):
            raise
        page = listed(view)
        page.blocks.insert(0, to_correct(Link(_why(refused), f"#{at}")))
        page.error, page.status = True, 422
        return page
    return Go(f"/console/violations/{made}", "violation_inscrite")


def _wrong_instant(refused: Invalid) -> str:
    """The field whose instant is still to come, or is none, when this is what is refused."""
    return _ASKED.get(refused.path or "", "") if refused.code in ("later-than-now", "bad-instant") else ""


def _why(refused: Invalid) -> str:
    return say("violations.futur" if refused.code == "later-than-now" else "probleme.bad_instant")


def _instant(view: View, name: str) -> str:
    """A local date and time of the form, Paris time, as an instant; empty when none was given."""
    typed = view.given(_ASKED[name])
    try:
        return clock.instant(datetime.fromisoformat(typed).replace(tzinfo=PARIS)) if typed else ""
    except ValueError:
        raise Misnamed("bad-instant", "Give a day and a time.", path=name) from None


def one_breach(view: View) -> Page:
    """What is known of a breach, and what is still to be said of it."""
    return _page(view)


def _page(view: View, error: str = "", at: str = "") -> Page:
    """`error`: what is wrong in the form that was sent, `at` this field."""
    one = breach.show(view.work, view.at("id"))
    page = Page(
        say("violations.une", nature=word("violation", one["kind"])),
        back=Link(say("violations.retour"), "/console/violations"),
        error=bool(error),
        status=422 if error else 200,
    )
    if error:
        page.blocks.append(to_correct(Link(error, f"#{at}")))
    page.blocks.append(
        Facts(
            [
                (say("violations.etat"), _state(one)),
                (say("violations.detectee"), When(one["detected_at"])),
                (say("violations.connue"), When(one["aware_at"])),
                (say("violations.echeance"), clock_of(one)),
                (say("violations.atteintes"), ", ".join(word("atteinte", name) for name in one["nature"])),
                (say("violations.categories"), law_words.categories(one["categories"])),
                (say("violations.personnes"), Num(one["persons"])),
                (say("violations.enregistrements"), Num(one["records"])),
                *([(say("violations.constat"), one["noticed"])] if one.get("noticed") else []),
                (say("violations.consequences"), one["consequences"] or "–"),
                (say("violations.mesures"), one["measures"] or "–"),
                (say("violations.cnil"), When(one["cnil_notified_at"])),
                (say("violations.informees"), When(one["persons_notified_at"])),
                *([(say("violations.cloturee"), When(one["closed_at"]))] if one["closed_at"] else []),
            ]
        )
    )
    if one["state"] != "closed":
        page.blocks += [Title(say("violations.completer")), _completion(view, one, error, at), _closing(one)]
    return page


def _read(one: dict[str, Any]) -> str:
    """What the form was opened on: another account may have completed it since."""
    names = (*_TEXTS, "persons", "records", "categories", "state", "cnil_notified_at", "persons_notified_at")
    return sha256(json.dumps([one[name] for name in names]).encode()).hexdigest()[:16]


def _completion(view: View, one: dict[str, Any], error: str, at: str) -> Form:
    """What is known, to be completed; a form that is shown again holds what was typed."""
    told = say("violations.deja") if one["cnil_notified_at"] else ""
    known = {"persons": str(one["persons"]), "records": str(one["records"]), "cnil": "", "informees": ""}
    known |= {"categories": " ".join(one["categories"])} | {name: one[name] for name in _TEXTS}
    said = {name: view.given(name, _TEXTS.get(name, 500)) for name in known} if error else known
    wrong = {at: error}

    def asked(name: str, key: str, type: str = "text", hint: str = "") -> Field:
        return Field(name, say(f"violations.{key}"), type, hint, value=said[name], error=wrong.get(name, ""))

    return Form(
        f"/console/violations/{one['id']}",
        say("violations.enregistrer"),
        [
            asked("persons", "personnes", "number"),
            asked("records", "enregistrements", "number"),
            asked("categories", "categories", hint=say("violations.categories_aide")),
            asked("consequences", "consequences", "textarea", say("violations.sans_nom")),
            asked("measures", "mesures", "textarea"),
            asked("cnil", "cnil", "datetime-local", told),
            asked("informees", "informees", "datetime-local"),
            asked("delay_reason", "motif_retard", "textarea", say("violations.motif_retard_aide")),
        ],
        hidden=[("lu", _read(one))],
    )


def _closing(one: dict[str, Any]) -> Form:
    return Form(
        f"/console/violations/{one['id']}/clore",
        say("violations.clore"),
        intro=say("violations.clore_intro"),
        tone="second",
    )


def complete(view: View) -> Answer:
    """Add what became known; a notice after 72 hours gives its reason. What another account wrote since the form was
    opened is not lost under it: both are shown, and the form is to be sent again."""
    if view.given("lu") != _read(breach.show(view.work, view.at("id"))):
        return _page(view, say("violations.changee"), "consequences")
    content: dict[str, Any] = {name: view.given(name, most) for name, most in _TEXTS.items()}
    for name in ("persons", "records"):
        if (count := _count(view.given(name))) is None:
            return _page(view, say("violations.nombre_faux"), name)
        content[name] = count
    content["categories"] = view.given("categories").upper().replace(",", " ").split()
    if unknown := [code for code in content["categories"] if not word("categorie", code, "")]:
        return _page(view, say("violations.categorie_inconnue", n=number(len(unknown))), "categories")
    try:
        told = {name: _instant(view, name) for name in ("cnil_notified_at", "persons_notified_at")}
        breach.complete(view.work, view.at("id"), content, **told)
    except Invalid as refused:
        if at := _wrong_instant(refused):
            return _page(view, _why(refused), at)
        if refused.code != "delay-reason":
            raise
        late = say("violations.motif_retard_manque", quand=moment(told["cnil_notified_at"]))
        return _page(view, late, "delay_reason")
    return Go(f"/console/violations/{view.at('id')}", "violation_completee")


def _count(typed: str) -> int | None:
    """How many, thousands apart or not; None for what is no such number."""
    digits = "".join(typed.split()) or "0"
    return int(digits) if digits.isdecimal() and len(digits) < 9 else None


def close(view: View) -> Answer:
    breach.close(view.work, view.at("id"))
    return Go("/console/violations", "violation_close")
