"""A mapping as a page that a data protection officer reads: what is read or written, what is not, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pydantic_core import to_json

from mappings import coverage
from mappings.codes import Entry, Table
from mappings.engine import Mapping
from mappings.grammar import Codes, Row, Section, dotted, joined
from mappings.types import TYPES
from schemas import nomenclatures, paths

_DIRECTIONS = {"read": "lu dans le dossier", "write": "écrit depuis le dossier", "both": "lu et écrit"}
_VALUES = {True: "oui", False: "non", "": "rien à reprendre"}


def explain(mapping: Mapping, named: Callable[[str], str] = "`{}`".format) -> str:
    """The French Markdown page of a mapping. `named`: what a category of data is called."""
    return "\n".join(_page(mapping, named)).rstrip() + "\n"


def _page(mapping: Mapping, named: Callable[[str], str]) -> Iterator[str]:
    file = mapping.file
    yield f"# {file.title}"
    yield ""
    yield f"Document `{file.id}`, version {file.version}, {_DIRECTIONS[file.direction]}."
    if file.note:
        yield f"\n{file.note}"
    yield "\n## En bref\n"
    yield f"- Catégories de données : {', '.join(map(named, sorted(mapping.categories))) or 'aucune'}."
    yield from _counts(mapping)
    if (words := file.record.personne) is not None and words.only is not None:
        kept = ", ".join(words.values)
        yield f"- Personnes qui ont un dossier : {kept}. Les autres : {words.reason or 'composition du foyer'}."
    yield from _keys(mapping)
    yield "\n## Ce qui est repris\n"
    for section in file.section:
        yield from _section(mapping, section, "", 3, named)
    yield from _not_shared(mapping)
    yield from _tables(mapping)
    yield from _decisions(mapping)
    yield from _losses(mapping)
    if file.example:
        yield "\n## Cas vérifiés à chaque modification\n"
        yield from (f"- {example.name}" for example in file.example)


def _counts(mapping: Mapping) -> Iterator[str]:
    leaves = coverage.leaves(mapping)
    if not leaves:
        return
    mapped = sum(bool(leaf.canonical) for leaf in leaves)
    declared = sum(bool(leaf.reason) and not leaf.canonical for leaf in leaves)
    yield f"- Le document du partenaire a {len(leaves)} éléments : {mapped} sont utilisés, {declared} ne le sont pas."


def _keys(mapping: Mapping) -> Iterator[str]:
    if not (keys := coverage.keys(mapping.file)):
        return
    separator = "." if mapping.file.partner.format == "json" else "/"
    yield "\n## Ce qui sert à reconnaître\n"
    yield "| Élément du partenaire | Sert de |"
    yield "|---|---|"
    for path, uses in keys.items():
        element = path.replace("/", separator)
        yield f"| {_cell(f'`{element}`')} | {', '.join(one.strip('()') for one in uses)} |"


def _section(mapping: Mapping, section: Section, prefix: str, level: int, named: Callable[[str], str]) -> Iterator[str]:
    inside = dotted(prefix, section.canonical)
    yield f"{'#' * level} {section.title}\n"
    if section.categories:
        yield f"Catégorie : {', '.join(map(named, section.categories))}.\n"
    if section.note:
        yield f"{section.note}\n"
    if section.fields:
        yield "| Élément du partenaire | Donnée du dossier | Signification | Forme |"
        yield "|---|---|---|---|"
        for row in section.fields:
            yield _row(mapping, section, row, inside)
        yield ""
    for inner in section.section:
        yield from _section(mapping, inner, inside, min(level + 1, 6), named)


def _row(mapping: Mapping, section: Section, row: Row, inside: str) -> str:
    separator = "/" if mapping.file.partner.format == "xml" else "."
    partner = ", ".join(f"`{joined(section.partner, one, separator)}`" for one in row.partners)
    facts = _facts(mapping, row, inside)
    meanings = dict.fromkeys(champ.description for path in facts if (champ := paths.FIELDS.get(paths.shape(path))))
    form = TYPES[row.type].label if row.type in TYPES else row.type
    if row.codes:
        form = f"code, table « {row.codes} »"
    elif row.decision:
        form = f"code, table de décision « {row.decision} »"
    elif row.constant is not None:
        form = f"toujours « {_value(row.constant)} »"
    elif row.context:
        form = "repris de l'enveloppe du document"
    marks = [form]
    if row.required:
        marks.append("obligatoire")
    if row.direction != "both":
        marks.append("lu seulement" if row.direction == "read" else "écrit seulement")
    if row.disputed:
        marks.append(f"**contesté** : {row.disputed}")
    if row.lossy:
        marks.append(f"sans retour : {row.lossy}")
    if row.note:
        marks.append(row.note)
    cells = (partner, ", ".join(f"`{path}`" for path in facts), " ; ".join(meanings), " ; ".join(marks))
    return f"| {' | '.join(map(_cell, cells))} |"


def _facts(mapping: Mapping, row: Row, inside: str) -> tuple[str, ...]:
    """The facts of the dossier that a row is about: its own, or those that its decision looks at."""
    if row.canonical is not None:
        return (dotted(inside, row.canonical),)
    return mapping.file.decision[row.decision].paths if row.decision else ()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _not_shared(mapping: Mapping) -> Iterator[str]:
    if not mapping.file.not_shared:
        return
    yield "\n## Ce qui n'est pas partagé, et pourquoi\n"
    yield "| Élément du partenaire | Raison |"
    yield "|---|---|"
    for declared in mapping.file.not_shared:
        yield f"| {_cell(', '.join(f'`{path}`' for path in declared.paths))} | {_cell(declared.reason)} |"


def _tables(mapping: Mapping) -> Iterator[str]:
    if not mapping.file.codes:
        return
    yield "\n## Tables de codes\n"
    for name, declared in mapping.file.codes.items():
        yield from _table(name, declared, mapping.tables[name])


def _table(name: str, declared: Codes, table: Table) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"Source : {declared.source}.\n"
    if declared.lossy:
        yield f"Perte assumée : {declared.lossy}\n"
    if declared.partial:
        yield f"Valeurs non écrites : {declared.partial}\n"
    labels = nomenclatures.codes(declared.list) if declared.list else {}
    if declared.identity and len(table.entries) > _LONG:
        hidden = sorted(code for (_, code), entry in table.entries.items() if entry.sensitive)
        yield f"Les {len(table.entries)} codes de la liste sont gardés tels quels" + (
            f", sauf {', '.join(f'`{code}`' for code in hidden)} : non partagés.\n" if hidden else ".\n"
        )
        return
    yield "| Code du partenaire | Libellé | Valeur du dossier |"
    yield "|---|---|---|"
    for (parent, code), entry in table.entries.items():
        label = entry.label or (labels[code].libelle if code in labels else "")
        shown = f"`{code}`" if not parent else f"`{code}` (sous `{parent}`)"
        yield f"| {shown} | {_cell(label)} | {_cell(_said(entry))} |"
    yield ""


_LONG = 40
"""Beyond this many codes, a table kept as it is is told in one sentence."""


def _decisions(mapping: Mapping) -> Iterator[str]:
    for name, decision in mapping.file.decision.items():
        yield f"\n### Décision « {name} »\n"
        yield f"Source : {decision.source}. La première ligne vraie décide.\n"
        yield "| Si | Code écrit |"
        yield "|---|---|"
        for rule in decision.rules:
            asked = " et ".join(f"`{path}` = {_value(value)}" for path, value in rule.when.items())
            code = rule.code if isinstance(rule.code, str) else to_json(rule.code).decode()
            yield f"| {_cell(asked)} | {f'`{code}`' if code else 'rien'} |"


def _said(entry: Entry) -> str:
    if entry.disputed:
        return f"mis en quarantaine : {entry.disputed}"
    if entry.sensitive:
        return "non partagé (donnée sensible)"
    return _VALUES.get(entry.canonical, f"`{entry.canonical}`")


def _value(value: object) -> str:
    return _VALUES.get(value, str(value)) if isinstance(value, bool) else str(value)


def _losses(mapping: Mapping) -> Iterator[str]:
    found = [f"- Table « {name} » : {one.lossy}" for name, one in mapping.file.codes.items() if one.lossy]
    found += [f"- Décision « {name} » : {one.lossy}" for name, one in mapping.file.decision.items() if one.lossy]
    found += [f"- `{path}` : {row.lossy}" for path, row, _ in mapping.rows() if row.lossy]
    if found:
        yield "\n## Pertes assumées\n"
        yield from found
