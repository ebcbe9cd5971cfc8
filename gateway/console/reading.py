"""A file read as an exchange would read it, without writing: what was understood of it, and what was not."""

from __future__ import annotations

import io
from collections import Counter
from itertools import islice
from typing import Any

from starlette.datastructures import UploadFile

from connectors.contract import DocumentRefused
from connectors.manifest import Document, ManifestError, installed
from gateway.console.blocks import (
    Badge,
    Code,
    Field,
    Figures,
    Form,
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
from gateway.console.explorer import shown
from gateway.words import quiet_path, say, says, unranked, word
from schemas import paths
from schemas.record import Record

_MEGABYTES = 2
MAX_UPLOAD = _MEGABYTES * 1024 * 1024
"""Largest file tried on a page; larger ones are tried with `maillon map`."""
_RECORDS = 500
_SHOWN = 3
_HIDDEN = frozenset({"identite", "nir", "identifiants", "contact", "adresse"})
"""Categories whose values are never shown back, even to whoever sent the file."""


def places() -> list[Place]:
    """The pages where a file is tried."""
    role = ("integration",)
    return [
        Place("/console/essai", form, role),
        Place("/console/essai", attempt, role, "POST", apart=True, upload=MAX_UPLOAD),
    ]


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
            say("essai.fichier_aide", n=_MEGABYTES),
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
    content = file.file.read(MAX_UPLOAD + 1) if isinstance(file, UploadFile) else b""
    if known is None or not content:
        return _form_page(chosen, say("essai.sans_fichier"))
    if len(content) > MAX_UPLOAD:
        return _form_page(chosen, say("essai.trop_grand", n=_MEGABYTES))
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
    page = Page(
        say("essai.resultat", document=document.title),
        [Notice(say("essai.rien_ecrit"), "good"), _figures(records), Title(say("essai.constats")), _findings(records)],
    )
    people = [(record, one) for record in records for one in record.personnes][:_SHOWN]
    for rank, (record, one) in enumerate(people, 1):
        page.blocks += [Title(say("essai.personne", n=rank)), _facts(rank, record.foyer | one.facts)]
    page.blocks.append(Text(say("essai.masque")))
    return page


def _figures(records: list[Record]) -> Figures:
    rejected = sum(one.rejected for one in records)
    held = sum(one.quarantined and not one.rejected for one in records)
    return Figures(
        [
            (say("essai.enregistrements"), Num(len(records)), ""),
            (say("essai.personnes"), Num(sum(len(one.personnes) for one in records)), ""),
            (say("essai.compris"), Num(len(records) - rejected - held), "good"),
            (say("essai.quarantaine"), Num(held), "wait" if held else ""),
            (say("essai.rejetes"), Num(rejected), "bad" if rejected else ""),
        ]
    )


def _findings(records: list[Record]) -> Table:
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
    return Table("constats", say("essai.constats_legende"), heads, rows, say("essai.sans_constat"), frozenset({4}))


def _facts(rank: int, facts: dict[str, Any]) -> Table:
    rows = [
        [paths.FIELDS[paths.shape(path)].description, Code(quiet_path(path)), _kept(path, value)]
        for path, value in sorted(facts.items())
    ]
    heads = says("essai", "donnee", "chemin_dossier", "valeur")
    return Table(f"faits-{rank}", say("essai.faits_legende", n=rank), heads, rows)


def _kept(path: str, value: Any) -> Any:
    return Quiet(say("essai.valeur_masquee")) if paths.categorie(path, value) in _HIDDEN else shown(value)
