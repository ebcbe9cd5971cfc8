"""Installed connectors: what they speak, what was proved of them, what must be configured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors.manifest import CRITERIA, ManifestError, installed
from gateway import contact
from gateway.console import law_words
from gateway.console.blocks import Badge, Code, Facts, Form, Lines, Link, Notice, Num, Page, Table, Text, Title
from gateway.console.common import Place, View
from gateway.problems import Unknown
from gateway.words import many, say, says, word


def places() -> list[Place]:
    """The pages of connectors."""
    role = ("integration",)
    return [
        Place("/console/connecteurs", connectors, role),
        Place("/console/connecteurs/{id}", connector, role),
        Place("/console/connecteurs/{id}/essai", attempt, role, "POST", apart=True),
    ]


def connectors(view: View) -> Page:
    """Installed connectors: what they speak, how, and what was proved of them."""
    rows = []
    for id, one in sorted(installed().items()):
        manifest = one.manifest
        rows.append(
            [
                Link(manifest.name, f"/console/connecteurs/{id}"),
                _grade(one),
                word("transport", manifest.transport),
                word("role_organisme", manifest.role),
                Num(len(manifest.document)),
                Lines(sorted(body.name for body in view.gateway.bodies.values() if body.connector == id)),
            ]
        )
    heads = says("connecteurs", "nom", "grade", "transport", "role", "documents", "organismes")
    grades = [[word("grade", grade), Lines(list(criteria.values()))] for grade, criteria in CRITERIA.items()]
    return Page(
        say("connecteurs.titre"),
        [
            Text(say("connecteurs.intro"), lead=True),
            Table("connecteurs", say("connecteurs.legende"), heads, rows, numbers=frozenset({4})),
            Title(say("connecteurs.grades")),
            Table(
                "grades",
                say("connecteurs.grades_legende"),
                [say("connecteurs.grade"), say("connecteurs.demande")],
                grades,
            ),
        ],
    )


def _grade(one: Any) -> Badge:
    try:
        grade = one.quality.grade
    except ManifestError:
        return Badge(say("connecteurs.sans_grade"), "wait")
    return Badge(word("grade", grade), "good") if grade else Badge(say("connecteurs.sans_grade"), "wait")


def connector(view: View) -> Page:
    """One connector: its documents, its criteria with their evidence, what must be configured."""
    one = installed().get(view.at("id"))
    if one is None:
        raise Unknown("connector-unknown", "List the connectors.")
    manifest = one.manifest
    page = Page(manifest.name, back=Link(say("connecteurs.retour"), "/console/connecteurs"))
    documents = [
        [
            document.title,
            Code(document.id),
            Lines([word("direction", way) for way in document.direction]),
            document.format.upper(),
            Lines([Link(name, f"/console/correspondances/{name}") for name in document.mapping]),
            document.source or "–",
        ]
        for document in manifest.document
    ]
    settings = [
        [
            Code(s.name),
            s.description,
            say("decision.oui") if s.required else say("decision.non"),
            say("decision.oui") if s.secret else say("decision.non"),
        ]
        for s in manifest.setting
    ]
    page.blocks += [
        Facts(
            [
                (say("connecteurs.grade"), _grade(one)),
                (say("connecteurs.transport"), word("transport", manifest.transport)),
                (say("connecteurs.source"), manifest.source),
            ]
        ),
        *_trials(view, manifest.id),
        Title(say("connecteurs.documents")),
        Table(
            "documents",
            say("connecteurs.documents_legende"),
            says("connecteurs", "titre_col", "id", "sens", "format", "correspondances", "source"),
            documents,
        ),
        Title(say("connecteurs.criteres")),
        *_criteria(one),
        Title(say("connecteurs.reglages")),
        Table(
            "reglages",
            say("connecteurs.reglages_legende"),
            says("connecteurs", "reglage", "description", "requis", "secret"),
            settings,
            say("connecteurs.sans_reglage"),
        ),
    ]
    return page


def _trials(view: View, id: str) -> Iterator[Any]:
    """One button for each body that speaks through this connector."""
    bodies = [one for one in view.gateway.bodies.values() if one.connector == id]
    yield Title(say("contact.titre"))
    if not bodies:
        yield Text(say("contact.aucun_organisme"))
        return
    yield Text(say("contact.intro"))
    for one in bodies:
        yield Form(
            f"/console/connecteurs/{id}/essai",
            say("contact.essayer", organisme=one.name),
            hidden=[("organisme", one.id)],
            tone="second",
        )


def attempt(view: View) -> Page:
    """Call the partner now with the settings in force: what answered, what refused, and who must act."""
    id, body = view.at("id"), view.given("organisme")
    known = view.gateway.bodies.get(body)
    if known is None or known.connector != id:
        raise Unknown("body-unknown", "Choose a body of this connector.")
    found = contact.attempt(view.gateway, body, view.by)
    wrong = sum(bool(one.code) for one in found)
    page = Page(say("contact.resultat", organisme=known.name), back=Link(known.connector, f"/console/connecteurs/{id}"))
    if not found:
        page.blocks.append(Notice(say("contact.rien"), "wait"))
        return page
    rows = [
        [
            Code(one.what),
            Badge(say("contact.refuse" if one.code else "contact.repond"), "bad" if one.code else "good"),
            _why(view, one.code),
            Code(one.code) if one.code else "–",
        ]
        for one in found
    ]
    heads = says("contact", "essaye", "etat", "explication", "code")
    page.blocks += [
        Notice(many("contact.mauvais", wrong) if wrong else say("contact.bon"), "bad" if wrong else "good"),
        Table("contacts", say("contact.legende"), heads, rows),
        Text(say("contact.trace")),
    ]
    return page


def _why(view: View, code: str) -> str:
    if not code:
        return say("contact.accepte")
    said = law_words.reason(view.gateway.policy.table, code)
    return said if said != code else say("contact.autre")


def _criteria(one: Any) -> Iterator[Any]:
    try:
        quality = one.quality.criteria
    except ManifestError:
        yield Notice(say("connecteurs.sans_preuve"), "wait")
        return
    rows = []
    for grade, criteria in CRITERIA.items():
        for name, text in criteria.items():
            found = quality[name]
            tone, label = (
                ("bad", "manque") if found.missing else ("quiet", "exempte") if found.exempt else ("good", "tenu")
            )
            rows.append(
                [
                    text,
                    word("grade", grade),
                    Badge(say(f"connecteurs.{label}"), tone),
                    found.missing or found.exempt or Lines(found.evidence),
                ]
            )
    heads = says("connecteurs", "critere", "grade", "etat", "preuve")
    yield Table("criteres", say("connecteurs.criteres_legende"), heads, rows)
