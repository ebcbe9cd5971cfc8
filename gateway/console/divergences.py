"""Where two bodies hold different values about one person."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import func, select

from gateway import merge
from gateway.console.blocks import Code, Facts, Lines, Link, Notice, Num, Page, Quiet, Table, Text, Title
from gateway.console.common import PAGE, Place, View
from gateway.person_export import value_in_words
from gateway.problems import Unknown
from gateway.storage.tables.record import assertion_set, membership, person
from gateway.words import day, many, quiet_path, say
from schemas import paths
from schemas.record import Fact


def places() -> list[Place]:
    """The pages of divergences."""
    role = ("integration",)
    return [
        Place("/console/divergences", divergences, role, writes=True),
        Place("/console/divergences/{ref}", one_divergence, role, fresh=True, writes=True),
    ]


ENGINEER = "integration"
"""The body in whose name engineers refer to persons: not the references of the data protection officer."""
_SCANNED, _STRETCH, _STRETCHES = 20, 100, 3
"""Persons of several bodies that fill a page (each is decrypted); persons looked up at once, and how often."""


def divergences(view: View) -> Page:
    """Where two bodies hold different values of one person, by field; the values stay hidden."""
    after = view.asked("apres")
    people, following = _several_sources(view, after)
    fields: Counter[tuple[str, str, str]] = Counter()
    rows = []
    for one in people:
        found = merge.divergences(view.gateway.dossiers.said(view.work, one))
        found = [divergence for divergence in found if len({fact.source for fact in divergence.facts}) > 1]
        for divergence in found:
            chosen, *others = divergence.facts
            fields[paths.shape(divergence.path), chosen.source, others[0].source] += 1
        if found:
            ref = view.gateway.references.give(view.work, ENGINEER, one)
            rows.append(
                [
                    Link(say("bases.personne", n=ref[:8]), f"/console/divergences/{ref}"),
                    Num(len(found)),
                    Lines(
                        [Code(quiet_path(one.path)) for one in found[:4]]
                        + ([Quiet(many("divergences.autres", len(found) - 4))] if len(found) > 4 else [])
                    ),
                ]
            )
    summary = [
        [paths.FIELDS[shape].description, Code(shape), view.body(chosen), view.body(other), Num(times)]
        for (shape, chosen, other), times in fields.most_common(PAGE)
    ]
    page = Page(
        say("divergences.titre"),
        [
            Text(say("divergences.intro"), lead=True),
            Title(say("divergences.par_champ")),
            Table(
                "champs",
                say("divergences.champs_legende"),
                [say(f"divergences.{key}") for key in ("donnee", "chemin", "retenue", "autre", "nombre")],
                summary,
                say("divergences.vide"),
                frozenset({4}),
            ),
            Title(say("divergences.par_personne")),
            Table(
                "personnes",
                say("divergences.personnes_legende"),
                [say(f"divergences.{key}") for key in ("personne", "nombre", "champs")],
                rows,
                say("divergences.vide"),
                frozenset({1}),
                older=f"/console/divergences?apres={following}" if following and rows else "",
            ),
        ],
    )
    retyped = Link(say("double_saisie.titre"), "/console/double-saisie")
    page.blocks.append(Facts([(say("divergences.retapees"), retyped)]))
    if following and not rows:
        onwards = Link(say("liste.suite"), f"/console/divergences?apres={following}")
        page.blocks.append(Facts([(say("divergences.partie"), onwards)]))
    return page


def _several_sources(view: View, after: str) -> tuple[list[str], str]:
    """Persons of whom at least two bodies speak, themselves or through their household, and where the next page starts
    (empty: everybody was looked at)."""
    found: list[str] = []
    for _ in range(_STRETCHES):
        query = select(person.c.id).where(
            person.c.id > after, person.c.merged_into.is_(None), person.c.erased_at.is_(None)
        )
        people = list(view.connection.scalars(query.order_by(person.c.id).limit(_STRETCH)))
        found += _spoken_of_by_several(view, people)
        if len(people) < _STRETCH:
            return found, ""
        after = people[-1]
        if len(found) >= _SCANNED:
            break
    return found, after


def _spoken_of_by_several(view: View, people: list[str]) -> list[str]:
    a, m = assertion_set.c, membership.c
    own = select(a.subject_id.label("id"), a.source).where(a.subject_id.in_(people), a.superseded_at.is_(None))
    home = (
        select(m.person_id.label("id"), a.source)
        .select_from(membership.join(assertion_set, m.foyer_id == a.subject_id))
        .where(m.person_id.in_(people), a.superseded_at.is_(None), m.until.is_(None))
    )
    both = own.union(home).subquery()
    query = select(both.c.id).group_by(both.c.id).having(func.count(both.c.source.distinct()) > 1)
    return list(view.connection.scalars(query.order_by(both.c.id)))


def one_divergence(view: View) -> Page:
    """The values side by side, for an account that has just proved who it is; the reading is journaled."""
    who = view.gateway.references.find(view.work, ENGINEER, view.at("ref"))
    if who is None:
        raise Unknown("person-unknown", "Read the list again.")
    view.journal("log.read", outcome="divergences", subject=view.reference(who))
    rows = []
    for one in merge.divergences(view.gateway.dossiers.said(view.work, who)):
        chosen, *others = one.facts
        rows.append(
            [
                paths.FIELDS[paths.shape(one.path)].description,
                Code(quiet_path(one.path)),
                Lines(_said(view, one.path, chosen)),
                Lines([line for fact in others for line in _said(view, one.path, fact)]),
            ]
        )
    heads = [say(f"divergences.{key}") for key in ("donnee", "chemin", "valeur_retenue", "autres_valeurs")]
    return Page(
        say("divergences.une", n=view.at("ref")[:8]),
        [
            Notice(say("divergences.trace"), "wait"),
            Table("valeurs", say("divergences.valeurs_legende"), heads, rows, say("divergences.vide")),
        ],
        back=Link(say("divergences.retour"), "/console/divergences"),
    )


def _said(view: View, path: str, fact: Fact) -> list[Any]:
    """A value as it is read in French, then who said it and when."""
    told = say("divergences.dit", qui=view.body(fact.source), quand=day(fact.asserted_at))
    return [value_in_words(fact.value, path), Quiet(told)]
