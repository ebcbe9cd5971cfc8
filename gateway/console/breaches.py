"""The list of breaches (GDPR 33(5)) and the 72 hours in which the CNIL is told."""

from __future__ import annotations

from datetime import datetime
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
from gateway.words import PARIS, many, moment, number, say, word

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
            [say(f"violations.{key}") for key in keys],
            rows,
            say("violations.vide"),
            frozenset({4}),
        ),
        _declaration(),
    ]
    return page


def _declaration() -> Form:
    return Form(
        "/console/violations",
        say("violations.inscrire"),
        [
            Field(
                "nature", say("violations.nature"), "select", options=[(k, word("violation", k)) for k in breach.KINDS]
            ),
            Field("detectee", say("violations.detectee"), "datetime-local", say("violations.maintenant")),
            Field("connue", say("violations.connue"), "datetime-local", say("violations.connue_aide")),
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


def declare(view: View) -> Answer:
    """Write a breach down; the clock runs from when the controller knew."""
    made = breach.draft(
        view.work, view.given("nature"), detected_at=_instant(view, "detectee"), aware_at=_instant(view, "connue")
    )
    return Go(f"/console/violations/{made}", "violation_inscrite")


def _instant(view: View, name: str) -> str:
    """A local date and time of the form, Paris time, as an instant; empty when none was given."""
    typed = view.given(name)
    try:
        return clock.instant(datetime.fromisoformat(typed).replace(tzinfo=PARIS)) if typed else ""
    except ValueError:
        raise Misnamed("bad-instant", "Give a day and a time.") from None


def one_breach(view: View) -> Page:
    """What is known of a breach, and what is still to be said of it."""
    return _page(view, "")


def _page(view: View, error: str) -> Page:
    one = breach.show(view.work, view.at("id"))
    page = Page(
        say("violations.une", nature=word("violation", one["kind"])),
        back=Link(say("violations.retour"), "/console/violations"),
        error=bool(error),
        status=422 if error else 200,
    )
    if error:
        page.blocks.append(to_correct(Link(error, "#delay_reason")))
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
        page.blocks += [Title(say("violations.completer")), _completion(one, error), _closing(one)]
    return page


def _completion(one: dict[str, Any], error: str) -> Form:
    told = say("violations.deja") if one["cnil_notified_at"] else ""
    return Form(
        f"/console/violations/{one['id']}",
        say("violations.enregistrer"),
        [
            Field("persons", say("violations.personnes"), "number", value=str(one["persons"])),
            Field("records", say("violations.enregistrements"), "number", value=str(one["records"])),
            Field("categories", say("violations.categories"), hint=say("violations.categories_aide"),
                  value=" ".join(one["categories"])),
            Field("consequences", say("violations.consequences"), "textarea", say("violations.sans_nom"),
                  value=one["consequences"]),
            Field("measures", say("violations.mesures"), "textarea", value=one["measures"]),
            Field("cnil", say("violations.cnil"), "datetime-local", told),
            Field("informees", say("violations.informees"), "datetime-local"),
            Field("delay_reason", say("violations.motif_retard"), "textarea", say("violations.motif_retard_aide"),
                  value=one["delay_reason"], error=error),
        ],
    )  # fmt: skip


def _closing(one: dict[str, Any]) -> Form:
    return Form(
        f"/console/violations/{one['id']}/clore",
        say("violations.clore"),
        intro=say("violations.clore_intro"),
        tone="second",
    )


def complete(view: View) -> Answer:
    """Add what became known; a notice after 72 hours gives its reason."""
    content: dict[str, Any] = {name: view.given(name, most) for name, most in _TEXTS.items()}
    content |= {name: _count(view.given(name)) for name in ("persons", "records")}
    content["categories"] = view.given("categories").upper().replace(",", " ").split()
    told = {"cnil_notified_at": _instant(view, "cnil"), "persons_notified_at": _instant(view, "informees")}
    if unknown := [code for code in content["categories"] if not word("categorie", code, "")]:
        return _page(view, say("violations.categorie_inconnue", n=number(len(unknown))))
    try:
        breach.complete(view.work, view.at("id"), content, **told)
    except Invalid as refused:
        if refused.code != "delay-reason":
            raise
        return _page(view, say("violations.motif_retard_manque", quand=moment(told["cnil_notified_at"])))
    return Go(f"/console/violations/{view.at('id')}", "violation_completee")


def _count(typed: str) -> int:
    return int(typed) if typed.isdecimal() and len(typed) < 9 else 0


def close(view: View) -> Answer:
    breach.close(view.work, view.at("id"))
    return Go("/console/violations", "violation_close")
