"""The mappings: each as a page, and an example document followed from its partner to a recipient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mappings
from gateway.categories import legal_code
from gateway.console import law_words
from gateway.console.blocks import (
    Badge,
    Code,
    Facts,
    Field,
    Figures,
    Form,
    Lines,
    Link,
    Notice,
    Num,
    Page,
    Prose,
    Table,
    Text,
    Title,
)
from gateway.console.common import Place, View
from gateway.problems import Unknown
from gateway.words import number, say, says, unranked, word
from mappings import examples
from mappings.engine import Mapping
from mappings.explain import explain
from mappings.grammar import Example, Row, Section, dotted, joined
from schemas import paths
from schemas.record import Fact


def places() -> list[Place]:
    """The pages of mappings."""
    return [
        Place("/console/correspondances", mapping_list, ("dpo", "integration")),
        Place("/console/correspondances/{id}", one_mapping, ("dpo", "integration")),
        Place("/console/explorateur", explore, ("integration",)),
    ]


def mapping_list(view: View) -> Page:
    """Every mapping: which document, which way, which categories."""
    rows = [
        [
            Link(one.title, f"/console/correspondances/{one.id}?version={one.version}"),
            Code(one.id),
            Num(one.version),
            word("sens", one.file.direction),
            ", ".join(word("modele", name) for name in sorted(one.categories)) or "–",
            Num(sum(1 for _ in one.rows())),
            Num(len(one.file.example)),
        ]
        for one in sorted(mappings.all_mappings(), key=lambda one: (one.id, one.version))
    ]
    heads = says("correspondances", "titre_col", "id", "version", "sens", "categories", "lignes", "cas")
    return Page(
        say("correspondances.titre"),
        [
            Text(say("correspondances.intro"), lead=True),
            Table("correspondances", say("correspondances.legende"), heads, rows, numbers=frozenset({2, 5, 6})),
        ],
    )


def one_mapping(view: View) -> Page:
    """One mapping as a page: what is read or written, what is not, and why."""
    id, version = view.at("id"), view.asked("version")
    found = next((one for one in mappings.all_mappings() if one.id == id and version in ("", str(one.version))), None)
    if found is None:
        raise Unknown("mapping-unknown", "List the mappings.")
    from gateway.console.prose import prose  # brings a reader of Markdown, for few pages

    text = explain(found, lambda category: word("modele", category)).partition("\n")[2]
    return Page(found.title, [Prose(prose(text))], back=Link(say("correspondances.retour"), "/console/correspondances"))


# --- one example, from the partner to a recipient ------------------------------------------------------------


def _examples() -> list[tuple[str, Mapping, Example]]:
    found = []
    for mapping in sorted(mappings.all_mappings(), key=lambda one: (one.id, one.version)):
        if mapping.file.direction == "write":
            continue
        for rank, example in enumerate(mapping.file.example):
            if example.partner and not example.errors and example.direction != "write":
                found.append((f"{mapping.id}@{mapping.version}:{rank}", mapping, example))
    return found


def _writers() -> list[Mapping]:
    return sorted(
        (one for one in mappings.all_mappings() if one.file.direction != "read"), key=lambda one: (one.id, one.version)
    )


def explore(view: View) -> Page:
    """An example document: each element, the fact it becomes, the recipient's element, and what is lost on the way."""
    known, writers = _examples(), _writers()
    asked = view.asked("exemple")
    key, mapping, example = next((one for one in known if one[0] == asked), known[0])
    target = next((one for one in writers if f"{one.id}@{one.version}" == view.asked("vers")), writers[0])
    context: dict[str, Any] = dict(example.context)
    record = mapping.read(examples.document(mapping, str(example.partner)), **context)
    facts = record.foyer | (record.personnes[0].facts if record.personnes else {})
    page = Page(
        say("explorateur.titre"), [Text(say("explorateur.intro"), lead=True), _chooser(known, writers, key, target)]
    )
    rows, lost = _rows(mapping, target, facts)
    page.blocks += [
        Figures(
            [
                (say("explorateur.faits"), Num(len(facts)), ""),
                (say("explorateur.repris"), Num(len(facts) - lost), "good"),
                (say("explorateur.perdus"), Num(lost), "wait" if lost else ""),
            ]
        ),
        Table(
            "chemin",
            say("explorateur.legende", exemple=example.name),
            says("explorateur", "donnee", "source", "dossier", "valeur", "categorie", "destinataire"),
            rows,
            say("explorateur.vide"),
        ),
        *_written(target, facts),
        *_not_shared(mapping),
    ]
    return page


def _chooser(known: list[tuple[str, Mapping, Example]], writers: list[Mapping], key: str, target: Mapping) -> Form:
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, mapping, example in known:
        groups.setdefault(mapping.title, []).append((name, example.name))
    return Form(
        "/console/explorateur",
        say("explorateur.suivre"),
        method="get",
        fields=[
            Field("exemple", say("explorateur.exemple"), "select", value=key, options=list(groups.items())),  # type: ignore[arg-type]
            Field(
                "vers",
                say("explorateur.vers"),
                "select",
                value=f"{target.id}@{target.version}",
                options=[(f"{one.id}@{one.version}", one.title) for one in writers],
            ),
        ],
    )


def _rows(mapping: Mapping, target: Mapping, facts: dict[str, Any]) -> tuple[list[list[Any]], int]:
    read, written = _by_path(mapping, False), _by_path(target, True)
    rows, lost = [], 0
    for path, value in sorted(facts.items()):
        sources, places_ = _of(read, path), _of(written, path)
        lossy = [row.lossy for _, row in sources + places_ if row.lossy]
        arrival: Any = Lines([Code(place) for place, _ in places_])
        if not places_:
            lost += 1
            arrival = Badge(say("explorateur.sans_place"), "wait")
        elif lossy:
            arrival = Lines(
                [*(Code(place) for place, _ in places_), Badge(say("explorateur.perte"), "wait"), *map(str, lossy)]
            )
        code = legal_code(path, value)
        rows.append(
            [
                paths.FIELDS[paths.shape(path)].description,
                Lines([Code(place) for place, _ in sources][:3]),
                Code(path),
                shown(value),
                law_words.category(code) if code else say("explorateur.libre" if code == "" else "explorateur.jamais"),
                arrival,
            ]
        )
    return rows, lost


Placed = tuple[str, Any]


def _by_path(mapping: Mapping, writing: bool) -> dict[str, list[Placed]]:
    found: dict[str, list[Placed]] = {}
    for path, partner, row in _declared(mapping, mapping.file.section, "", "", writing):
        for name in {path, unranked(path, "[]")}:
            if (partner, row) not in found.setdefault(name, []):
                found[name].append((partner, row))
    return found


def _declared(
    mapping: Mapping, sections: tuple[Section, ...], canonical: str, partner: str, writing: bool
) -> Iterator[tuple[str, str, Row]]:
    """(canonical path, partner path, row) of every row of these sections that reads a fact, or that writes one."""
    mark = "/" if mapping.file.partner.format == "xml" else "."
    for section in sections:
        inside, at = dotted(canonical, section.canonical), joined(partner, section.partner, mark)
        for row in section.fields:
            if row.canonical is not None and (row.writes if writing else row.reads):
                for name in row.partners:
                    yield dotted(inside, row.canonical), joined(at, name, mark), row
        yield from _declared(mapping, section.section, inside, at, writing)


def _of(index: dict[str, list[Placed]], path: str) -> list[Placed]:
    return index.get(path) or index.get(paths.shape(path)) or []


def shown(value: Any) -> str:
    """A value in French, cut to 80 characters."""
    if isinstance(value, bool):
        return say("decision.oui") if value else say("decision.non")
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _written(target: Mapping, facts: dict[str, Any]) -> Iterator[Any]:
    """The recipient's elements that stay empty, and what has no counterpart."""
    current = {path: Fact(value, "exemple", "exemple", "2026-11-01T00:00:00Z") for path, value in facts.items()}
    context = next((one.context for one in target.file.example if one.context), {})
    yield Title(say("explorateur.formulaire"))
    try:
        written = target.write(current, context)
    except (LookupError, ValueError):
        yield Notice(say("explorateur.contexte"), "wait")
        return
    yield Facts(
        [
            (
                say("explorateur.remplis"),
                say("explorateur.sur", n=number(len(written.filled)), total=number(written.fields_total)),
            ),
            (say("explorateur.vides"), ", ".join(written.empty[:60]) or "–"),
            (
                say("explorateur.sans_equivalent"),
                Lines([f"{word('constat', one.code)} : {one.path}" for one in written.findings[:20]]),
            ),
        ]
    )


def _not_shared(mapping: Mapping) -> Iterator[Any]:
    rows = [[Lines([Code(path) for path in one.paths]), one.reason] for one in mapping.file.not_shared]
    yield Title(say("explorateur.non_lus"))
    yield Table(
        "non_lus",
        say("explorateur.non_lus_legende"),
        [say("explorateur.source"), say("explorateur.raison")],
        rows,
        say("explorateur.tout_lu"),
    )
