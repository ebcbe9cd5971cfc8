"""Cases on what is read and written: fixtures, replay, drift, minimisation, discretion."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from lxml import etree

from connectors.contract import DocumentRefused
from connectors.kit.cases import case
from connectors.kit.subject import NoObject, Sample, Subject, as_text
from mappings import Mapping, examples
from schemas import paths
from schemas.record import Record

STRANGER = "champ_inconnu_du_contrat"
UNKNOWN_CODE = "ZZ-INCONNU-9"
FOREIGN = {
    "identifiants[nir].valeur": "1990199999999",
    "freins[sante].valeur": "present",
    "personne.nom_usage": "SENTINELLE-USAGE",
    "personne.ce_qui_compte_pour_moi": "SENTINELLE-PAROLE",
    "parcours_pro.projet": "SENTINELLE-PROJET",
    "personne.adresses[residence].nom_voie": "SENTINELLE-VOIE",
}
"""Facts of many categories with values that nothing else holds, to see whether a mapping lets one through."""
_NAMING = ("identite", "contact", "adresse", "identifiants", "nir")


def readable(subject: Subject) -> list[tuple[Sample, list[Record]]]:
    """Samples with their records. Raises `NoObject` when nothing is there to be read."""
    if not subject.manifest.ids("read") | subject.manifest.ids("pull"):
        raise NoObject("ce partenaire n'envoie rien")
    if not subject.samples:
        raise NoObject("aucun document dans fixtures/ : ses tests propres le lisent")
    return [(sample, subject.read(sample)) for sample in subject.samples]


@case("lecture", "echange_complet", "chaque document d'exemple est lu, en faits canoniques")
def read(subject: Subject) -> Iterator[str]:
    for sample, records in readable(subject):
        where = f"{sample.document}, {sample.situation}"
        if not subject.manifest.documents[sample.document].mapping:
            yield from (f"{where}: a document that speaks of nobody names a person" for one in records if one.personnes)
        elif not any(record.foyer or one.facts for record in records for one in record.personnes):
            yield f"{where}: no fact is read; are the fields named as the mapping names them?"
        for record in records:
            for facts in (record.foyer, *(one.facts for one in record.personnes)):
                yield from (f"{where}: {found.code} {found.path}" for found in paths.check(facts))
            if not record.digest:
                yield f"{where}: a record has no digest"


@case("rejeu", "rejeu", "relire le même document donne les mêmes clés et les mêmes empreintes")
def replayed(subject: Subject) -> Iterator[str]:
    for sample, records in readable(subject):
        if [(one.key, one.digest) for one in records] != [(one.key, one.digest) for one in subject.read(sample)]:
            yield f"{sample.document}, {sample.situation}: a second reading differs"


@case("relecture", "rejeu", "un enregistrement gardé à part se relit seul, et dit la même chose")
def read_alone(subject: Subject) -> Iterator[str]:
    kept = [(sample, one) for sample, records in readable(subject) for one in records if one.original is not None]
    for sample, record in kept:
        where = f"{sample.document}, {sample.situation}"
        alone = subject.read(Sample(sample.document, sample.situation, record.original()))  # type: ignore[misc]
        if len(alone) != 1:
            yield f"{where}: {len(alone)} records where one was kept"
        elif _told(alone[0]) != _told(record):
            yield f"{where}: a record reads otherwise alone"


def _told(record: Record) -> Any:
    return record.foyer, [one.facts for one in record.personnes], sorted(one.code for one in record.findings)


@case("cles", "rejeu", "chaque enregistrement a une clé stable, une seule fois par document")
def keyed(subject: Subject) -> Iterator[str]:
    for sample, records in readable(subject):
        names = [record.key for record in records if not record.rejected]
        where = f"{sample.document}, {sample.situation}"
        if len(records) > 1 and "" in names:
            yield f"{where}: a record has no key; [record] key names what tells one record from another"
        if len(set(names)) != len(names):
            yield f"{where}: two records have the same key"


def _read_examples(subject: Subject) -> Iterator[tuple[Mapping, Any, dict[str, Any]]]:
    for _, mapping in subject.mappings("read"):
        for example in mapping.file.example:
            if example.partner and example.direction != "write" and not example.errors:
                yield mapping, examples.document(mapping, example.partner), dict(example.context)
                break


def _with_stranger(source: Any) -> Any:
    changed = copy.deepcopy(source)
    if isinstance(changed, dict):
        return changed | {STRANGER: "x"}
    etree.SubElement(changed, STRANGER).text = "x"
    return changed


@case("champ_inconnu", "codes_inconnus", "un champ que personne n'a décrit est signalé, jamais ignoré en silence")
def unknown_field(subject: Subject) -> Iterator[str]:
    seen = False
    for mapping, source, context in _read_examples(subject):
        seen = True
        record = mapping.read(_with_stranger(source), **context)
        if not any(STRANGER in finding.path for finding in record.findings):
            yield f"{mapping.id}: the unknown field is not told"
    if not seen:
        raise NoObject("aucun mapping de lecture avec un exemple")


def _coded(mapping: Mapping) -> Iterator[tuple[str, set[str]]]:
    """Last name of each coded partner field, and the codes its table knows."""
    for _, row, _ in mapping.rows():
        if row.codes and row.reads and row.type == "code":
            known = {code for _, code in mapping.tables[row.codes].entries}
            for partner in row.partners:
                yield partner.rpartition("/")[2].rpartition(".")[2] or partner, known


def _places(node: Any, name: str, known: set[str]) -> Iterator[tuple[Any, str]]:
    """Every field of this name that holds a code of the table: (dict, key), or (element, "")."""
    if isinstance(node, list):
        for one in node:
            yield from _places(one, name, known)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == name and isinstance(value, str) and value in known:
                yield node, key
            yield from _places(value, name, known)
    elif isinstance(node, etree._Element):
        yield from ((element, "") for element in node.iter(name) if (element.text or "").strip() in known)


def _with_unknown_code(source: Any, name: str, known: set[str], rank: int) -> Any:
    """A copy whose field of this rank holds a code that nobody knows."""
    changed = copy.deepcopy(source)
    holder, key = list(_places(changed, name, known))[rank]
    if key:
        holder[key] = UNKNOWN_CODE
    else:
        holder.text = UNKNOWN_CODE
    return changed


@case("code_inconnu", "codes_inconnus", "un code inconnu part en quarantaine, gardé tel quel, jamais deviné")
def unknown_code(subject: Subject) -> Iterator[str]:
    tried = 0
    for mapping, source, context in _read_examples(subject):
        for name, known in sorted(_coded(mapping), key=lambda pair: pair[0]):
            records = []
            for rank in range(len(list(_places(source, name, known)))):
                records.append(mapping.read(_with_unknown_code(source, name, known, rank), **context))
            tried += len(records)
            kept = [one for record in records for one in record.findings if one.raw == UNKNOWN_CODE]
            if records and not any(finding.severity != "notice" for finding in kept):
                yield f"{mapping.id}: an unknown code in {name} is not quarantined"
            facts = [f"{record.foyer}{[one.facts for one in record.personnes]}" for record in records]
            if any(UNKNOWN_CODE in told for told in facts):
                yield f"{mapping.id}: an unknown code in {name} becomes a fact"
    if not tried:
        raise NoObject("aucun exemple ne porte de code")


@case("ecriture", "echange_complet", "chaque document attendu par le partenaire est écrit depuis son exemple")
def written(subject: Subject) -> Iterator[str]:
    if not subject.manifest.ids("write"):
        raise NoObject("ce partenaire ne reçoit rien")
    if not subject.fillings:
        raise NoObject("aucun exemple d'écriture sans erreur attendue")
    for filling in subject.fillings:
        told = subject.write(filling)
        if not told.filled:
            yield f"{filling.document}: nothing is filled"
        if subject.write(filling).document != told.document:
            yield f"{filling.document}: written twice, it differs"


@case("minimisation", "discretion", "rien ne sort hors des catégories déclarées, ni de ce qui a été retenu")
def minimised(subject: Subject) -> Iterator[str]:
    if not subject.fillings:
        raise NoObject("ce partenaire ne reçoit rien")
    declared = {document.id: set[str]() for document in subject.manifest.document}
    for document, mapping in subject.mappings("write"):
        declared[document.id] |= mapping.categories
    for filling in subject.fillings:
        open_ = declared[filling.document]
        foreign = {path: value for path, value in FOREIGN.items() if paths.categorie(path) not in open_}
        full = subject.write(filling, filling.facts | foreign)
        if any(value in as_text(full) for value in foreign.values() if len(value) > 8):
            yield f"{filling.document}: a fact outside its categories is written"
        for category in sorted(open_):
            yield from _withheld(subject, filling, category)


def _withheld(subject: Subject, filling: Any, category: str) -> Iterator[str]:
    """Without a category, none of its values may appear: the document is written from permitted facts alone."""
    kept = {path: value for path, value in filling.facts.items() if paths.categorie(path, value) != category}
    gone = {
        value
        for path, value in filling.facts.items()
        if path not in kept and isinstance(value, str) and len(value) > 5 and value not in kept.values()
    }
    if gone and any(value in as_text(subject.write(filling, kept)) for value in gone):
        yield f"{filling.document}: {category} is withheld and still written"


@case("discretion", "discretion", "aucune donnée personnelle dans une erreur, un constat ou un repr")
def discreet(subject: Subject) -> Iterator[str]:
    for sample, records in readable(subject):
        private = {
            value
            for record in records
            for one in record.personnes
            for path, value in one.facts.items()
            if isinstance(value, str) and len(value) > 3 and paths.categorie(path) in _NAMING
        }
        told = " ".join(repr(finding) for record in records for finding in record.findings)
        for cut in (len(sample.content) // 2, len(sample.content) - 3):
            try:
                broken = subject.read(Sample(sample.document, "tronqué", sample.content[:cut]))
                told += " ".join(repr(finding) for record in broken for finding in record.findings)
            except DocumentRefused as refused:
                told += f" {refused} {refused!r} {refused.path}"
        if any(value in told for value in private):
            yield f"{sample.document}, {sample.situation}: a personal value shows in an error or a finding"
