"""Following one document through the record: an example from partner to recipient, or a file tried without writing."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from starlette.datastructures import UploadFile

import mappings
from connectors.contract import DocumentRefused
from connectors.manifest import Document, ManifestError, installed
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
    Quiet,
    Table,
    Text,
    Title,
)
from gateway.console.common import Answer, Place, View, to_correct
from gateway.words import number, quiet_path, say, says, unranked, word
from mappings import examples
from mappings.engine import Mapping
from mappings.grammar import Example, Row, Section, dotted, joined
from schemas import paths
from schemas.record import Fact, Record

MAX_UPLOAD = 2 * 1024 * 1024
"""Largest file tried on a page; larger ones are tried with `maillon map`."""
_RECORDS = 500
_SHOWN = 3
_HIDDEN = frozenset({"identite", "nir", "identifiants", "contact", "adresse"})
"""Categories whose values are never shown back, even to whoever sent the file."""


def places() -> list[Place]:
    """The pages that follow one document."""
    role = ("integration",)
    return [
        Place("/console/explorateur", explore, role),
        Place("/console/essai", form, role),
        Place("/console/essai", attempt, role, "POST", apart=True, upload=MAX_UPLOAD),
    ]


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
                _shown(value),
                law_words.category(code) if code else say("explorateur.libre" if code == "" else "explorateur.jamais"),
                arrival,
            ]
        )
    return rows, lost


Placed = tuple[str, Any]


def _by_path(mapping: Mapping, writing: bool) -> dict[str, list[Placed]]:
    found: dict[str, list[Placed]] = {}
    for path, partner, row in _declared(mapping, writing):
        for name in {path, unranked(path, "[]")}:
            if (partner, row) not in found.setdefault(name, []):
                found[name].append((partner, row))
    return found


def _declared(mapping: Mapping, writing: bool) -> Iterator[tuple[str, str, Row]]:
    """(canonical path, partner path, row) of every row that reads a fact, or that writes one."""
    yield from _inside(mapping, mapping.file.section, "", "", writing)


def _inside(
    mapping: Mapping, sections: tuple[Section, ...], canonical: str, partner: str, writing: bool
) -> Iterator[tuple[str, str, Row]]:
    mark = "/" if mapping.file.partner.format == "xml" else "."
    for section in sections:
        inside, at = dotted(canonical, section.canonical), joined(partner, section.partner, mark)
        for row in section.fields:
            if row.canonical is not None and (row.writes if writing else row.reads):
                for name in row.partners:
                    yield dotted(inside, row.canonical), joined(at, name, mark), row
        yield from _inside(mapping, section.section, inside, at, writing)


def _of(index: dict[str, list[Placed]], path: str) -> list[Placed]:
    return index.get(path) or index.get(paths.shape(path)) or []


def _shown(value: Any) -> str:
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
    except (KeyError, ValueError, LookupError):
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


# --- a file, tried ------------------------------------------------------------


def _documents() -> dict[str, tuple[str, Document]]:
    """Documents that may be read: id → (connector, entry of the manifest)."""
    return {
        document.id: (id, document)
        for id, one in sorted(installed().items())
        for document in one.manifest.document
        if "read" in document.direction or "pull" in document.direction
    }


def form(view: View) -> Page:
    """Choose a document and a file: it is read as an exchange would read it, and forgotten."""
    return _form_page("", "")


def _form_page(chosen: str, error: str) -> Page:
    page = Page(
        say("essai.titre"), [Text(say("essai.intro"), lead=True)], error=bool(error), status=422 if error else 200
    )
    if error:
        page.blocks.append(to_correct(Link(error, "#fichier")))
    fields = [
        Field(
            "document",
            say("essai.document"),
            "select",
            value=chosen,
            options=[(id, f"{document.title} ({id})") for id, (_, document) in _documents().items()],
        ),
        Field(
            "fichier",
            say("essai.fichier"),
            "file",
            say("essai.fichier_aide", n=MAX_UPLOAD // 1024 // 1024),
            required=True,
            error=error,
        ),
    ]
    page.blocks.append(Form("/console/essai", say("essai.essayer"), fields, upload=True))
    return page


def attempt(view: View) -> Answer:
    """Read the file; nothing is written but the trace that somebody tried."""
    assert view.form is not None
    chosen, file = view.given("document"), view.form.get("fichier")
    known = _documents().get(chosen)
    if known is None or not isinstance(file, UploadFile):
        return _form_page(chosen, say("essai.sans_fichier"))
    content = file.file.read(MAX_UPLOAD + 1)
    if not content or len(content) > MAX_UPLOAD:
        return _form_page(
            chosen, say("essai.trop_grand" if content else "essai.sans_fichier", **({"n": 2} if content else {}))
        )
    view.journal("log.read", outcome="trial", size=len(content))
    id, document = known
    try:
        reading = view.gateway.connector(id).read(chosen, io.BytesIO(content), content_type=document.content_type[0])
        records = list(islice(iter(reading), _RECORDS))
    except DocumentRefused as refused:
        return _form_page(chosen, say("essai.refuse", code=word("constat", refused.code), chemin=refused.path or "–"))
    except ManifestError:
        return _form_page(chosen, say("essai.non_configure"))
    return _told(document, records)


def _told(document: Document, records: list[Record]) -> Page:
    page = Page(say("essai.resultat", document=document.title))
    rejected = sum(one.rejected for one in records)
    held = sum(one.quarantined and not one.rejected for one in records)
    page.blocks += [
        Notice(say("essai.rien_ecrit"), "good"),
        Figures(
            [
                (say("essai.enregistrements"), Num(len(records)), ""),
                (say("essai.personnes"), Num(sum(len(one.personnes) for one in records)), ""),
                (say("essai.compris"), Num(len(records) - rejected - held), "good"),
                (say("essai.quarantaine"), Num(held), "wait" if held else ""),
                (say("essai.rejetes"), Num(rejected), "bad" if rejected else ""),
            ]
        ),
    ]
    counted: Counter[tuple[str, str, str, str]] = Counter()
    for record in records:
        counted.update((one.code, unranked(one.path), one.severity, one.detail) for one in record.findings)
    rows = [
        [
            word("constat", code),
            Code(path),
            Badge(word("gravite", severity), {"reject": "bad", "quarantine": "wait"}.get(severity, "quiet")),
            detail or "–",
            Num(times),
        ]
        for (code, path, severity, detail), times in counted.most_common(100)
    ]
    heads = says("essai", "constat", "chemin", "gravite", "detail", "nombre")
    page.blocks += [
        Title(say("essai.constats")),
        Table("constats", say("essai.constats_legende"), heads, rows, say("essai.sans_constat"), frozenset({4})),
    ]
    people = [(record, one) for record in records for one in record.personnes][:_SHOWN]
    for rank, (record, one) in enumerate(people, 1):
        facts = record.foyer | one.facts
        shown = [
            [paths.FIELDS[paths.shape(path)].description, Code(quiet_path(path)), _kept(path, value)]
            for path, value in sorted(facts.items())
        ]
        page.blocks += [
            Title(say("essai.personne", n=rank)),
            Table(
                f"faits-{rank}",
                say("essai.faits_legende", n=rank),
                [say("essai.donnee"), say("essai.chemin_dossier"), say("essai.valeur")],
                shown,
            ),
        ]
    page.back = None
    page.blocks.append(Text(say("essai.masque")))
    return page


def _kept(path: str, value: Any) -> Any:
    return Quiet(say("essai.valeur_masquee")) if paths.categorie(path, value) in _HIDDEN else _shown(value)
