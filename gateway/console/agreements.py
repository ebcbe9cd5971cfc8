"""Conventions: their flows, what each version changed, the file as it was signed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from sqlalchemy import select

from gateway import convention
from gateway.console import law_words
from gateway.console.blocks import (
    Badge,
    Code,
    Facts,
    Fold,
    Lines,
    Link,
    Num,
    Page,
    Quiet,
    Table,
    Text,
    Title,
    When,
)
from gateway.console.common import Place, View
from gateway.convention_checks import parse
from gateway.convention_model import Convention
from gateway.problems import Unknown
from gateway.storage.tables.basis import convention as convention_table
from gateway.words import day, many, number, say, says, word

TONES = {"active": "good", "a_venir": "wait", "suspendue": "bad", "expiree": "bad", "brouillon": "quiet"}
SOON = timedelta(days=180)


def places() -> list[Place]:
    """The pages of conventions."""
    return [
        Place("/console/conventions", conventions, ("dpo",)),
        Place("/console/conventions/{id}", one_convention, ("dpo",)),
    ]


def conventions(view: View) -> Page:
    """Every convention in its last version: who, until when, how many flows are open."""
    today = convention.today(view.work)
    rows = [
        [
            Link(one["titre"], f"/console/conventions/{one['id']}"),
            Badge(word("convention", one["etat"]), TONES.get(one["etat"], "quiet")),
            Lines([view.body(party) for party in one["parties"]]),
            day(one["debut"]),
            _end(one["fin"], today),
            f"{number(one['flux_actifs'])} / {number(one['flux'])}",
            Num(one["version"]),
        ]
        for one in convention.list_(view.work)
    ]
    heads = says("conventions", "titre_col", "etat", "parties", "debut", "fin", "flux", "version")
    return Page(
        say("conventions.titre"),
        [
            Text(say("conventions.intro"), lead=True),
            Table("conventions", say("conventions.legende"), heads, rows, say("conventions.vide"), frozenset({5, 6})),
        ],
    )


def _end(iso: str, today: date) -> Any:
    left = (date.fromisoformat(iso) - today).days
    if left < 0:
        return Lines([day(iso), Badge(say("conventions.terminee"), "bad")])
    return Lines([day(iso), Badge(many("conventions.reste", left), "wait")]) if left <= SOON.days else day(iso)


def one_convention(view: View) -> Page:
    """One convention: its flows today, what each version changed, the file as it was signed."""
    id = view.at("id")
    versions = view.connection.execute(
        select(convention_table).where(convention_table.c.id == id).order_by(convention_table.c.version.desc())
    ).all()
    if not versions:
        raise Unknown("convention-unknown", "List the conventions.")
    last, today = parse(bytes(versions[0].content)), convention.today(view.work)
    state = last.etat_le(today)
    page = Page(last.titre, back=Link(say("conventions.retour"), "/console/conventions"))
    page.blocks.append(
        Facts(
            [
                (say("conventions.etat"), Badge(word("convention", state), TONES[state])),
                (
                    say("conventions.dates"),
                    say("conventions.du_au", debut=day(last.debut.isoformat()), fin=day(last.fin.isoformat())),
                ),
                (say("conventions.nature"), word("nature", last.nature)),
                (say("conventions.perimetre"), ", ".join(last.perimetre)),
                (
                    say("conventions.parties"),
                    Lines(
                        [
                            f"{one.nom} ({law_words.role(view.gateway.policy.table, one.role)})"
                            for one in [*last.partie, *(annexe.partie for annexe in last.annexe)]
                        ]
                    ),
                ),
            ]
        )
    )
    page.blocks += [Title(say("conventions.flux_titre")), _flows(view, last, today), Title(say("conventions.versions"))]
    page.blocks += list(_versions(versions))
    page.blocks.append(
        Fold(say("conventions.fichier", version=versions[0].version), bytes(versions[0].content).decode())
    )
    return page


def _flows(view: View, one: Convention, today: date) -> Table:
    law = view.gateway.policy.table
    rows = [
        [
            say("personne.de_vers", de=view.body(flow.de), vers=view.body(flow.vers)),
            view.document(flow.document),
            law_words.purpose(law, flow.purpose),
            law_words.regime(law, flow.regime),
            Lines(flow.base_legale),
            law_words.categories(flow.codes) if flow.codes is not None else Quiet(say("conventions.toutes_categories")),
            Badge(word("convention", flow.etat), TONES.get(flow.etat, "quiet")),
        ]
        for flow in one.flows(today)
    ]
    heads = says("conventions", "qui", "document", "finalite", "regime", "base", "categories", "etat")
    return Table("flux", say("conventions.flux_legende"), heads, rows)


def _versions(versions: Any) -> Iterator[Any]:
    rows = []
    for rank, row in enumerate(versions):
        before = versions[rank + 1] if rank + 1 < len(versions) else None
        changed = convention.diff(bytes(before.content), bytes(row.content)) if before is not None else []
        told: Any = Lines([Code(line) for line in changed[:40]]) if changed else Quiet(say("conventions.premiere"))
        rows.append(
            [say("conventions.version_n", n=row.version), When(row.added_at), Code(row.sha256[:16] + "…"), told]
        )
    heads = says("conventions", "version", "ajoutee", "empreinte", "changements")
    yield Table("versions", say("conventions.versions_legende"), heads, rows)
