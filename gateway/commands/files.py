"""Commands about documents and mappings: ingest, map, prefill, explain, lint, connector."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import mappings
from connectors.contract import DocumentRefused
from connectors.manifest import installed
from gateway import policy_table, preview
from gateway.commands import group, kit
from gateway.commands.output import REFUSED, WRONG_USAGE, body_of, data, fail, people, table, told
from gateway.ingest import ingest as ingest_file
from gateway.lint import coverage, lints
from gateway.lint import lint as lint_files
from gateway.problems import Problem
from gateway.registry import Gateway
from gateway.rejects import Rejects
from gateway.settings import settings
from mappings import MappingError
from mappings import explain as explain_module

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="As its sender wrote it.")]


def register(app: typer.Typer) -> None:
    app.command()(ingest)
    app.command(name="map")(map_)
    app.command(name="replay-fixture")(kit.replay_fixture)
    app.command()(prefill)
    app.command()(explain)
    app.command()(lint)
    about = "Connectors: list, check, start a new one."
    group(app, "connector", about, list=connector_list, new=kit.new, check=kit.check)


def guess_document(connector: str, path: Path) -> str:
    """The document a connector recognises in the file, or the only bulk one it reads."""
    one = installed().get(connector)
    if one is None:
        fail("document-missing", "Say which document it is with --document.", WRONG_USAGE)
    recognise = getattr(importlib.import_module(f"{one.package}.connector"), "recognise", None)
    if recognise is not None:
        with path.open("rb") as stream:
            return str(recognise(stream.read(4096)))
    bulk = [document.id for document in one.manifest.document if document.bulk]
    if len(bulk) != 1:
        fail("document-missing", f"Say which document it is with --document: {', '.join(bulk)}.", WRONG_USAGE)
    return bulk[0]


def ingest(
    file: File,
    sender: Annotated[str, typer.Option("--from", help="Body that sent the file.")],
    document: Annotated[str, typer.Option(help="Document id; guessed when the body sends one kind of file.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change; write nothing.")] = False,
    rejects: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Write here, as JSON Lines, each record that this run finds rejected or quarantined; a run that goes "
            "on after a crash adds its own.",
        ),
    ] = None,
    publish_held: Annotated[
        bool, typer.Option("--publish-held", help="Take a held file as it is: a human has decided.")
    ] = False,
    progress: Annotated[bool | None, typer.Option("--progress/--no-progress", help="By default on a terminal.")] = None,
) -> None:
    """Read a partner's file into the record; the last line printed is one JSON object of counts.

    They are those of the whole file, what an earlier run of it committed included; `seconds` are those of this run.
    """
    gateway = Gateway.open(settings())
    if not dry_run:
        gateway.seal_what_was_left()
    body = body_of(gateway, sender)
    document = document or guess_document(body.connector, file)
    if "read" not in gateway.document(sender, document).direction:
        fail("document-not-sent", f"{document} is received by this body, not sent by it.", WRONG_USAGE)
    show = progress if progress is not None else people.is_terminal
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Rejects(rejects) if rejects else nullcontext() as lines,
        Progress(*columns, console=people, disable=not show) as bar,
    ):
        task = bar.add_task(document, total=None)
        counts = ingest_file(
            gateway,
            file,
            sender,
            document,
            dry_run=dry_run,
            publish_held=publish_held,
            on_reject=lines.tell if lines else None,
            on_start=lines.start if lines else None,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    absent = counts.quarantined + counts.rejected - (lines.told if lines else 0)
    if lines and absent > 0:
        where = "The run that read them told them, in its own --rejects; `maillon quarantine list` counts what waits."
        told("rejects-told-before", f"{absent} of these records have no line in {rejects}. {where}", "yellow")
    if counts.held and not dry_run:
        told("held", f"{counts.held}. {_HELD}", "yellow")
    if dry_run:
        preview.print_changes(counts, people)
    data(counts.line())


_HELD = "Nothing of this file is applied: ask its sender for a right one, or take it as it is with --publish-held."


def map_(
    file: File,
    read: Annotated[str, typer.Option("--read", help="Mapping (document id) that reads the file.")],
    write: Annotated[str, typer.Option("--write", help="Mapping that writes the recipient's document.")] = "",
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="Add what was unknown or quarantined, and what the recipient's document does not carry."
        ),
    ] = False,
    count: Annotated[bool, typer.Option("--count", help="Print only one JSON object of counts.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again at each change of the file or of a mapping.")] = False,
) -> None:
    """Preview: canonical JSON Lines (one per person), or the recipient's document. Writes nothing."""
    preview.owner(read, "read")
    if write:
        preview.owner(write, "write")
    if not watch:
        _preview(file, read, write, report, count)
        return
    for changed in preview.changes([file, *mappings.files()]):
        if changed:
            people.print(f"[dim]{changed.name} changed[/]")
        mappings.forget()
        try:
            _preview(file, read, write, report, count)
        except (Problem, MappingError, DocumentRefused) as wrong:  # half-written: the next change may be right
            told(str(wrong), style="red")


def _preview(file: Path, read: str, write: str, report: bool, count: bool) -> None:
    reading = preview.open_document(read, file)
    if count:
        data(preview.count(reading))
        return
    seen = Counter((finding.code, finding.path, finding.severity) for finding in reading.envelope.findings)
    for record in reading:
        for finding in record.findings:
            seen[finding.code, finding.path, finding.severity] += 1
        for person in preview.persons(record):
            if write:
                written = preview.write(write, person)
                document = written.document
                if isinstance(document, bytes):
                    sys.stdout.buffer.write(document + b"\n")
                    sys.stdout.flush()
                else:
                    data(document)
                for finding in written.findings:
                    seen[finding.code, finding.path, finding.severity] += 1
                for path in preview.not_carried(write, person) if report else ():
                    seen["not-carried", path, "notice"] += 1
            else:
                data(person)
    if report:
        for (code, path, severity), times in sorted(seen.items()):
            data({"finding": code, "path": path, "severity": severity, "times": times})
    if reading.envelope.held:
        told("held", reading.envelope.held, "yellow")


def prefill(
    person: Annotated[str, typer.Argument(help="Person id, as `maillon person search` gives it.")],
    document: Annotated[str, typer.Option("--document", help="Document of the recipient.")],
    recipient: Annotated[str, typer.Option("--for", help="Who would receive it; the first body that does.")] = "",
) -> None:
    """A recipient's document filled from what is known and permitted, and how many fields nobody has to type."""
    gateway = Gateway.open(settings())
    if recipient:
        body_of(gateway, recipient)
    data(preview.prefill(gateway, person, document, recipient))


def explain(mapping: Annotated[str, typer.Argument(help="Mapping id, e.g. caf.flux_beneficiaire.")]) -> None:
    """A mapping as a French page for a data protection officer."""
    try:
        page = explain_module.explain(mappings.load(mapping))
    except MappingError as wrong:
        if wrong.code != "mapping-unknown":
            raise
        fail(
            "mapping-unknown",
            f"Known mappings: {', '.join(sorted(mapping.id for mapping in mappings.all_mappings()))}.",
            WRONG_USAGE,
        )
    sys.stdout.write(page)


def lint(
    paths: Annotated[list[Path] | None, typer.Argument(exists=True, help="Files or folders; all by default.")] = None,
    explain: Annotated[str, typer.Option(help="Print the page of one code instead.")] = "",
) -> None:
    """Check mappings, manifests, policy and conventions; exit 1 with `file:line: code message [page]`."""
    if explain:
        pages = lints()
        if explain not in pages:
            fail("lint-unknown", f"Codes: {', '.join(sorted(pages))}.", WRONG_USAGE)
        sys.stdout.write(pages[explain].page)
        return
    found = lint_files(paths or [], lambda: policy_table.read(settings().policy_file))
    for one in found:
        code = one.partition(": ")[2].partition(" ")[0]
        sys.stdout.write(f"{one} [reference/lints/{code}]\n")
    if found:
        people.print("[dim]Each page: maillon lint --explain CODE[/]")
        raise typer.Exit(REFUSED)
    for id, read, kept, of in [] if paths else coverage():
        people.print(f"{id}: {read} elements mapped and {kept} declared not shared, of {of}")
    people.print("[green]nothing to report[/]")


def connector_list() -> None:
    """Every connector, its documents and its grade."""
    shown = table("connector", "documents")  # two columns: each name is whole on a terminal of eighty
    for one in installed().values():
        about = f"{one.manifest.role}\n{one.manifest.transport}, {one.quality.grade or '–'}"
        shown.add_row(f"[bold]{one.manifest.id}[/]\n{about}", "\n".join(one.manifest.documents), end_section=True)
    people.print(shown)
    data({one.manifest.id: _described(one) for one in installed().values()})


def _described(one: Any) -> dict[str, Any]:
    return {
        "role": one.manifest.role,
        "transport": one.manifest.transport,
        "grade": one.quality.grade,
        "documents": sorted(one.manifest.documents),
    }
