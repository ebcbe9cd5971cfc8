"""Cases on a connector's own files: manifest, quality, settings, mappings and their examples."""

from __future__ import annotations

from collections.abc import Iterator

import mappings
from connectors.kit.cases import case
from connectors.kit.grading import lost
from connectors.kit.subject import Subject
from connectors.manifest import ManifestError
from mappings import examples, lint

_WAYS = {"read": {"read"}, "write": {"write"}, "both": {"read", "write"}}


@case("manifeste", "manifeste", "manifest.toml et quality.toml disent vrai")
def declared(subject: Subject) -> Iterator[str]:
    for document in subject.manifest.document:
        if document.purposes and not document.mapping:
            yield f"{document.id}: speaks of persons without a mapping"
        goes, served = {"write" if one == "write" else "read" for one in document.direction}, set[str]()
        for id in document.mapping:
            try:
                ways = _WAYS[mappings.load(id).file.direction]
            except mappings.MappingError as error:
                yield f"{document.id}: {error.code} {id}"
                ways = goes
            if not ways & goes:
                yield f"{document.id}: direction is {', '.join(document.direction)}, and {id} does not"
            served |= ways
        yield from (f"{document.id}: no mapping of it does {way}" for way in sorted(goes - served) if served)
    known = [document.id.partition(".")[2] for document in subject.manifest.document]
    for folder in sorted(path.name for path in (subject.one.folder / "fixtures").glob("*/")):
        if folder not in known:
            yield f"fixtures/{folder}: no document has this name; its folder is one of {', '.join(known)}"
    for criterion, evidence in subject.one.quality.criteria.items():
        yield from (f"{criterion}: {name} does not exist" for name in lost(subject.one, evidence))


@case("notice", "notice", "README.md existe et parle du raccordement")
def notice(subject: Subject) -> Iterator[str]:
    file = subject.one.folder / "README.md"
    if not file.is_file():
        yield "README.md is missing"
    elif len(file.read_text(encoding="utf-8").split()) < 30:
        yield "README.md says too little"


@case("reglages", "manifeste", "un réglage manquant ou inconnu est nommé, jamais sa valeur")
def settings(subject: Subject) -> Iterator[str]:
    unseen = "valeur-qui-ne-doit-pas-se-lire"
    try:
        subject.manifest.configure({"reglage_inconnu_du_manifeste": unseen})
        yield "an unknown setting is accepted"
    except ManifestError as error:
        if unseen in f"{error}{error!r}":
            yield "the value of a setting shows in an error"
    values = {one.name: unseen for one in subject.manifest.setting if one.secret}
    if subject.asks_who_calls and not values:
        yield "the stand-in asks for credentials, and no setting of manifest.toml is secret = true"
    if unseen in repr(subject.manifest.configure(subject.settings | values)):
        yield "the value of a setting shows in its repr"
    if unseen in repr(subject.one.create(subject.settings | values)):
        yield "the value of a setting shows in the connector's repr"


@case("purpose", "manifeste", "chaque document dit pour quelles finalités il circule")
def purposes(subject: Subject) -> Iterator[str]:
    for document in subject.manifest.document:
        if document.mapping and not document.purposes:
            yield f"{document.id}: no purpose"


@case("mappings", "manifeste", "les mappings n'ont aucune faute (maillon lint)")
def linted(subject: Subject) -> Iterator[str]:
    paths = {mappings.load(id).path for document in subject.manifest.document for id in document.mapping}
    yield from map(str, lint.lint(paths))


@case("exemples", "manifeste", "chaque exemple de mapping donne ce qu'il annonce")
def exemplified(subject: Subject) -> Iterator[str]:
    for id in sorted({id for document in subject.manifest.document for id in document.mapping}):
        mapping = mappings.load(id)
        for example in mapping.file.example:
            for problem in examples.run(mapping, example):
                yield f"{id}, « {example.name} »: {problem}"
