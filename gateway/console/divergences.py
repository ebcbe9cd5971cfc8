"""Where two bodies hold different values about one person."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import func, select

from gateway import merge
from gateway.categories import NEVER, bridge
from gateway.console import law_words
from gateway.console.blocks import Code, Facts, Lines, Link, Notice, Num, Page, Quiet, Table, Text, Title
from gateway.console.common import PAGE, Place, View
from gateway.person_export import value_in_words
from gateway.problems import Unknown
from gateway.storage.tables.record import assertion_set, membership, person
from gateway.words import day, many, quiet_path, say, says, word
from schemas import paths
from schemas.record import Fact


def places() -> list[Place]:
    """The pages of divergences."""
    role = ("integration",)
    return [
        Place("/console/divergences", divergences, role, writes=True),
        Place("/console/divergences/{ref}", one_divergence, role, fresh=True),
    ]


ENGINEER = "integration"
"""The body in whose name engineers refer to persons: not the references of the data protection officer."""
_NAMED = 4
"""Fields of one person named in the list."""
_SCANNED, _STRETCH, _STRETCHES = 20, 100, 3
"""Persons of several bodies that fill a page (each is decrypted); persons looked up at once, and how often."""


def divergences(view: View) -> Page:
    """Where two bodies hold different values of one person, by field; the values stay hidden."""
    people, following = _several_sources(view, view.asked("apres"))
    found = [(one, between) for one in people if (between := _between_bodies(view, one))]
    onwards = f"/console/divergences?apres={following}" if following else ""
    page = Page(
        say("divergences.titre"),
        [
            Text(say("divergences.intro"), lead=True),
            Title(say("divergences.par_champ")),
            _by_field(view, found),
            Title(say("divergences.par_personne")),
            _by_person(view, found, onwards),
            Facts([(say("divergences.retapees"), Link(say("double_saisie.titre"), "/console/double-saisie"))]),
        ],
    )
    if onwards and not found:
        page.blocks.append(Facts([(say("divergences.partie"), Link(say("liste.suite"), onwards))]))
    return page


_Found = list[tuple[str, list[merge.Divergence]]]
"""Each person, and where bodies differ about her."""


def _between_bodies(view: View, who: str) -> list[merge.Divergence]:
    """What differs between two bodies: one may differ from itself, which is its own affair."""
    differing = merge.divergences(view.gateway.dossiers.said(view.work, who))
    return [one for one in differing if len({fact.source for fact in one.facts}) > 1]


def _by_field(view: View, found: _Found) -> Table:
    """Which fields differ most, and whose value is kept."""
    times: Counter[tuple[str, str, str]] = Counter()
    for _, between in found:
        for one in between:
            chosen, other, *_ = one.facts
            times[paths.shape(one.path), chosen.source, other.source] += 1
    rows = [
        [paths.FIELDS[shape].description, Code(shape), view.body(chosen), view.body(other), Num(count)]
        for (shape, chosen, other), count in times.most_common(PAGE)
    ]
    heads = says("divergences", "donnee", "chemin", "retenue", "autre", "nombre")
    legend, empty = say("divergences.champs_legende"), say("divergences.vide")
    return Table("champs", legend, heads, rows, empty, frozenset({4}))


def _by_person(view: View, found: _Found, onwards: str) -> Table:
    """Each person, under the engineers' reference, and the first fields that differ."""
    rows = []
    for who, between in found:
        ref = view.gateway.references.give(view.work, ENGINEER, who)
        named: list[Any] = [Code(_place(one, _masked(view, one))) for one in between[:_NAMED]]
        if len(between) > _NAMED:
            named.append(Quiet(many("divergences.autres", len(between) - _NAMED)))
        link = Link(say("bases.personne", n=ref[:8]), f"/console/divergences/{ref}")
        rows.append([link, Num(len(between)), Lines(named)])
    heads = says("divergences", "personne", "nombre", "champs")
    legend, empty = say("divergences.personnes_legende"), say("divergences.vide")
    older = onwards if rows else ""
    return Table("personnes", legend, heads, rows, empty, frozenset({1}), older=older)


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
    """The values side by side, for an account that has just proved who it is; the reading is journaled.

    What the law keeps from whoever does not follow her stays masked: its place, its sources and its dates are enough
    to ask those who said it.
    """
    who = view.gateway.references.find(view.work, ENGINEER, view.at("ref"))
    if who is None:
        raise Unknown("person-unknown", "Read the list again.")
    view.journal("log.read", outcome="divergences", subject=view.reference(who))
    current = view.gateway.dossiers.current(view.work, who)
    veiled = bridge().veiled(current, lambda path: current[path].value)
    rows = []
    for one in merge.divergences(view.gateway.dossiers.said(view.work, who)):
        chosen, *others = one.facts
        masked = veiled.get(one.path) or _masked(view, one)
        rows.append(
            [
                paths.FIELDS[paths.shape(one.path)].description,
                Code(_place(one, masked)),
                Lines(_said(view, one.path, chosen, masked)),
                Lines([line for fact in others for line in _said(view, one.path, fact, masked)]),
            ]
        )
    heads = says("divergences", "donnee", "chemin", "valeur_retenue", "autres_valeurs")
    return Page(
        say("divergences.une", n=view.at("ref")[:8]),
        [
            Notice(say("divergences.trace"), "wait"),
            Table(
                "valeurs",
                say("divergences.valeurs_legende"),
                heads,
                rows,
                say("divergences.vide"),
                note=say("divergences.masquees"),
            ),
        ],
        back=Link(say("divergences.retour"), "/console/divergences"),
    )


def _masked(view: View, one: merge.Divergence) -> str:
    """The category for which these values are masked: sensitive, secret or never sent; empty when none is."""
    masked, bridged = view.gateway.policy.table.discreet | {NEVER}, bridge()
    codes = {bridged.code(one.path, fact.value) for fact in one.facts}
    return min(codes & masked, default="")


def _place(one: merge.Divergence, masked: str) -> str:
    """Where they differ; without its keys where a key would say what the mask hides."""
    return paths.shape(one.path) if masked else quiet_path(one.path)


def _said(view: View, path: str, fact: Fact, masked: str) -> list[Any]:
    """A value as it is read in French, or why it is masked, then who said it and when."""
    told = say("divergences.dit", qui=view.body(fact.source), quand=day(fact.asserted_at))
    if not masked:
        return [value_in_words(fact.value, path), Quiet(told)]
    category = word("categorie", NEVER) if masked == NEVER else law_words.category(masked)
    return [Quiet(say("divergences.masquee", categorie=category)), Quiet(told)]
