"""Commands for whoever adds a partner: `maillon connector new`, `maillon connector check`, `maillon replay-fixture`."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.markup import escape
from rich.table import Table

import connectors
from connectors.contract import DocumentRefused
from connectors.kit import grading, scaffold
from connectors.kit.cases import Result, suite
from connectors.kit.subject import Subject
from connectors.manifest import installed
from gateway import preview
from gateway.commands.output import REFUSED, WRONG_USAGE, data, fail, people, table, told

Form = StrEnum("Form", {name: name for name in scaffold.FORMATS})  # type: ignore[misc]
_MARKS = {"ok": "[green]oui[/]", "failed": "[bold red]non[/]", "no-object": "[dim]sans objet[/]"}


def new(
    id: Annotated[str, typer.Argument(help="Lower-case id: mon_logiciel.")],
    format: Annotated[Form | None, typer.Option(help="Format of the partner's documents.")] = None,
    role: Annotated[str, typer.Option(help=f"Role before the law: {', '.join(scaffold.ROLES)}.")] = "",
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    folder: Annotated[
        Path, typer.Option(file_okay=False, help="Where to write; by default here, the root of the repository.")
    ] = Path(),
    package: Annotated[bool, typer.Option("--package", help="A distribution of its own, outside the tree.")] = False,
) -> None:
    """Write a working connector: manifest, mappings with examples, stand-in, fixtures, tests, README."""
    if sys.stdin.isatty():
        name = name or typer.prompt("Nom du partenaire", default=id.replace("_", " ").capitalize(), err=True)
        role = role or typer.prompt(f"Rôle ({', '.join(scaffold.ROLES)})", default="ccas", err=True)
        format = format or Form(typer.prompt("Format (json, xml, csv)", default="json", err=True))
    if id in installed():
        fail("id-taken", f"{id} is an installed connector; choose another id.")
    try:
        choices = scaffold.Choices(
            id,
            name or id.replace("_", " ").capitalize(),
            role or "ccas",
            cast("scaffold.Format", format.value if format else "json"),
            package,
        )
        written = scaffold.write(choices, folder)
    except scaffold.Refused as refused:
        fail(refused.code, refused.detail, REFUSED if refused.code == "already-there" else WRONG_USAGE)
    for path in written:
        people.print(str(path), soft_wrap=True, markup=False)
    install = f"pip install --no-deps -e {folder / choices.root}; " if package else ""
    tree = Path(connectors.__file__).parents[1]
    if package or folder.resolve() == tree:
        people.print(f"Next: {install}maillon connector check {id}", soft_wrap=True)
    else:
        told(
            "outside-the-tree", f"Connectors are found in {tree}: move it there, or write it with --package.", "yellow"
        )
    data({"connector": id, "folder": str(folder / choices.home), "files": len(written)})


def check(
    id: Annotated[str, typer.Argument(help="Id of an installed connector; see `maillon connector list`.")],
) -> None:
    """The contract suite of one connector; the last line is one JSON object with the grade it holds."""
    from gateway.commands import kit_exchange

    if id not in installed():
        fail("connector-unknown", f"Connectors: {', '.join(sorted(installed()))}.", WRONG_USAGE)
    one = installed()[id]
    results = [case.run() for case in suite(id)]
    results += [case.run() for case in kit_exchange.suite(id)]
    people.print(_table(id, results), soft_wrap=True)
    failed = [result for result in results if result.outcome == "failed"]
    for result in failed:
        for detail in result.detail:
            told(result.case, detail)
    grade = grading.held(one, {result.criterion for result in failed})
    data(
        {
            "connector": id,
            "grade": grade,
            "label": grading.LABELS[grade],
            "passed": sum(result.outcome == "ok" for result in results),
            "failed": [asdict(result) for result in failed],
            "no_object": sum(result.outcome == "no-object" for result in results),
            "missing": {name: told.missing for name, told in one.quality.criteria.items() if told.missing},
        }
    )
    if failed:
        raise typer.Exit(REFUSED)


def replay_fixture(
    id: Annotated[str, typer.Argument(help="Id of an installed connector.")],
    situation: Annotated[str, typer.Argument(help="Name of one fixture; all by default.")] = "",
    facts: Annotated[bool, typer.Option("--facts", help="Each person's facts too.")] = False,
) -> None:
    """Read the documents of `fixtures/` as an exchange would, one JSON object per document; writes nothing.

    Exit 1 when one is refused as a whole, or holds a record that is.
    """
    if id not in installed():
        fail("connector-unknown", f"Connectors: {', '.join(sorted(installed()))}.", WRONG_USAGE)
    subject = Subject(installed()[id])
    samples = [one for one in subject.samples if situation in ("", one.situation)]
    if not samples:
        known = ", ".join(sorted({one.situation for one in subject.samples}))
        fail("fixture-unknown", f"Fixtures: {known or 'none'}.", WRONG_USAGE)
    refused = False
    for sample in samples:
        said: dict[str, object] = {"document": sample.document, "situation": sample.situation}
        try:
            records = subject.read(sample)
        except DocumentRefused as wrong:
            data(said | {"refused": wrong.code, "path": wrong.path})
            refused = True
            continue
        found = Counter((one.code, one.path, one.severity) for record in records for one in record.findings)
        said |= {"records": len(records), "persons": sum(len(one.personnes) for one in records)}
        said["findings"] = [{"code": c, "path": p, "severity": s, "times": n} for (c, p, s), n in sorted(found.items())]
        data(said)
        for record in records if facts else ():
            for person in preview.persons(record):
                data(person)
        refused = refused or any(record.rejected for record in records)
    if refused:
        raise typer.Exit(REFUSED)


def _table(id: str, results: list[Result]) -> Table:
    made = table("cas", "ce qui est demandé", "tenu", "détail", title=f"Contrat du connecteur {id}")
    for result in results:
        said = "voir plus bas" if result.outcome == "failed" else escape("\n".join(result.detail))
        made.add_row(result.case, result.title, _MARKS[result.outcome], said)
    return made
