"""Commands about the shared record: worklists of partners, evidence and FSE+, the double-entry meter, code lists."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors.table import to_csv, to_xlsx
from gateway import evidence, fse, fse_form, fse_indicators, meter, orientation_counts, private_file, worklist
from gateway.clock import today
from gateway.commands import group
from gateway.commands.output import body_of, data, day, json_object
from gateway.person_history import head_of
from gateway.registry import Gateway
from gateway.settings import settings

Act = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The act agents decided, as a JSON object.")]
Answers = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="What she was asked, as JSON.")]
Day = Annotated[str, typer.Option(callback=day, help="Day (AAAA-MM-JJ); today by default.")]
Html = Annotated[Path | None, typer.Option(dir_okay=False, help="Also write it as a page to read and print.")]
Key = Annotated[str, typer.Argument(help="Key given at entry.")]
Operation = Annotated[str, typer.Argument(help="Number of the funded operation.")]
Person = Annotated[str, typer.Argument(help="Id given by `maillon person search`.")]
Item = Annotated[str, typer.Argument(help="Id given by `maillon worklist list`.")]
AskedBy = Annotated[str, typer.Option("--for", help="The body whose worklist it is.")]


def register(app: typer.Typer) -> None:
    group(
        app, "worklist", "What partners ask our side to do: poll, list, transmit.",
        poll=worklist_poll, list=worklist_list, digest=worklist_digest, transmit=worklist_transmit,
        release=worklist_release,
    )  # fmt: skip
    group(
        app, "evidence", "Evidence of an accompaniment, caseload, FSE+ participations and indicators.",
        pack=evidence_pack, caseload=evidence_caseload, indicators=evidence_indicators,
        incomplete=evidence_incomplete, enter=evidence_enter, answer=evidence_answer, leave=evidence_leave,
        six_months=evidence_six_months, participants=evidence_participants, orientations=evidence_orientations,
    )  # fmt: skip
    app.command(name="meter")(meter_)


# --- worklists --------------------------------------------------------------------------------------------------------


def worklist_poll(
    body: Annotated[str, typer.Argument(help="Whose worklist to read.")] = "france_travail",
    asked_by: AskedBy = "departement",
) -> None:
    """Read a partner's worklist once; counts as one JSON object. Nothing is decided."""
    gateway = Gateway.open(settings())
    body_of(gateway, body)
    body_of(gateway, asked_by)

    async def once() -> worklist.Polled:
        try:
            return await worklist.poll(gateway, body, asked_by)
        finally:
            await gateway.close_transports()

    told = asyncio.run(once())
    data(asdict(told))
    if told.refused:
        raise typer.Exit(1)


def worklist_list(body: Annotated[str, typer.Option(help="Of one body only.")] = "") -> None:
    """What is to be done, soonest due first, one JSON object per line, with the next step."""
    gateway = Gateway.open(settings())
    if body:
        body_of(gateway, body)
    with gateway.unit_of_work() as work:
        for one in worklist.live(work, gateway, body):
            data(one)


def worklist_digest(id: Item, act: Act) -> None:
    """What two agents validate before this act may leave: `reason_hash` of their validation records."""
    data({"id": id, "reason_hash": worklist.digest_of(id, json_object(act))})


def worklist_transmit(id: Item, act: Act, asked_by: AskedBy = "departement") -> None:
    """Carry an act that agents decided and two of them validated. It is never repeated by itself."""
    gateway = Gateway.open(settings())

    async def once() -> Any:
        try:
            return await worklist.transmit(gateway, id, json_object(act), asked_by)
        finally:
            await gateway.close_transports()

    answer = asyncio.run(once())
    data({"id": id, "outcome": answer.outcome, "code": answer.code})
    if answer.outcome not in ("delivered", "duplicate"):
        raise typer.Exit(1)


def worklist_release(id: Item) -> None:
    """A human read what the partner holds: an item whose transmission was cut may be acted on again."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        worklist.release(work, id)
    data({"id": id, "state": "open"})


# --- evidence and FSE+ ------------------------------------------------------------------------------------------------


def _given(path: Path | None) -> dict[str, Any]:
    return json_object(path) if path else {}


def _show(title: str, told: Any, html: Path | None) -> None:
    if html:
        private_file.write(html, evidence.page(title, told).encode())
    data(told)


def evidence_pack(person: Person, html: Html = None) -> None:
    """Dated contacts with presence, référents, contract, results of one person's accompaniments. No note."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        told = evidence.pack(work, gateway, head_of(work, person))
    _show("Preuves de l'accompagnement", told, html)


def evidence_caseload(
    postings: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Postings and funded posts, as JSON.")
    ] = None,
    day: Day = "",
    html: Html = None,
) -> None:
    """Persons followed and time with people, by référent, beside each posting's share of time and target."""
    known = evidence.postings_of(_given(postings))
    gateway = Gateway.open(settings())
    told = evidence.caseload(gateway, day or today(), *known)
    _show("File active par référent", told, html)


def evidence_indicators(
    operation: Operation,
    threshold: Annotated[int, typer.Option(min=2, help="Smaller counts are not shown.")] = fse_indicators.K,
    described: Annotated[
        Path | None,
        typer.Option("--described", exists=True, dir_okay=False, help="The operation, as JSON: its targets are shown."),
    ] = None,
    html: Html = None,
) -> None:
    """Indicators of one operation, by sex, beside its targets; small counts are hidden."""
    targets = fse_indicators.targets_of(_given(described)) if described else {}
    gateway = Gateway.open(settings())
    told = fse_indicators.indicators(gateway, operation, threshold, targets)
    _show("Indicateurs FSE+", told, html)


def evidence_orientations(
    first: Annotated[str, typer.Option("--from", callback=day, help="First day (AAAA-MM-JJ).")],
    last: Annotated[str, typer.Option("--to", callback=day, help="Last day (AAAA-MM-JJ).")],
    threshold: Annotated[int, typer.Option(min=2, help="Smaller counts are not shown.")] = fse_indicators.K,
    html: Html = None,
) -> None:
    """Orientation decisions of a period and the criteria known, for the CNE, the CRPE and the CDPE; small counts are
    hidden."""
    gateway = Gateway.open(settings())
    told = orientation_counts.counts(gateway, first, last, threshold)
    _show("Décisions d'orientation", told, html)


def evidence_incomplete(operation: Operation, day: Day = "", html: Html = None) -> None:
    """Participants that could not be counted, and what each lacks."""
    gateway = Gateway.open(settings())
    told = fse.incomplete(gateway, operation, day or today())
    _show("Participants incomplets", told, html)


def evidence_enter(
    person: Person,
    operation: Operation,
    body: Annotated[str, typer.Option(help="The body that accompanies her.")],
    day: Day = "",
    answers: Answers = None,
    notice: Annotated[str, typer.Option(help="The publicity text she saw.")] = "",
) -> None:
    """Open a participation: what is known fills the entry form, what she was asked completes it."""
    gateway = Gateway.open(settings())
    body_of(gateway, body)
    with gateway.unit_of_work() as work:
        person = head_of(work, person)
        key = fse.enter(work, gateway, person, body, operation, day or today(), _given(answers), notice)
        found = next(one for one in fse.participations(gateway.dossiers.current(work, person)) if one["key"] == key)
    data({"participation": key, "filled": sorted(found["entree"])})


def evidence_answer(person: Person, participation: Key, answers: Act) -> None:
    """Complete the entry form. An answer given never changes."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        fse.answer(work, gateway, head_of(work, person), participation, json_object(answers))
    data({"participation": participation, "answered": True})


def evidence_leave(person: Person, participation: Key, day: Day = "", answers: Answers = None) -> None:
    """Close a participation; it never changes any more."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        fse.leave(work, gateway, head_of(work, person), participation, day or today(), _given(answers))
    data({"participation": participation, "etat": "close"})


def evidence_six_months(person: Person, participation: Key, answers: Act, day: Day = "") -> None:
    """What became of her, 180 days after she left at the earliest."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        fse.six_months(work, gateway, head_of(work, person), participation, day or today(), json_object(answers))
    data({"participation": participation, "six_mois": True})


def evidence_participants(
    operation: Operation,
    out: Annotated[Path, typer.Argument(dir_okay=False, help="File to write: .csv or .xlsx.")],
) -> None:
    """The statement of one operation, `fse.participant`: one row per participation, sensitive answers included."""
    gateway = Gateway.open(settings())
    rows = fse.statement(gateway, operation)
    heads = list(rows[0]) if rows else []
    cells = [list(row.values()) for row in rows]
    private_file.write(
        out, to_xlsx({"participants": (heads, cells)}) if out.suffix == ".xlsx" else to_csv(heads, cells)
    )
    data({"document": fse_form.ID, "operation": operation, "participations": len(rows), "file": str(out)})


# --- the double-entry meter -------------------------------------------------------------------------------------------


def meter_(recipient: Annotated[str, typer.Option(help="One recipient only.")] = "") -> None:
    """Fields filled, typed again and in conflict, by recipient and document; one JSON object per line."""
    gateway = Gateway.open(settings())
    if recipient:
        body_of(gateway, recipient)
    for one in meter.read(gateway, recipient):
        data(one.line())
