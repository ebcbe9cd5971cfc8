"""Commands about the journal: verify, export, checkpoint, witness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway import journal_files, verify, witness
from gateway.commands.output import REFUSED, data, people
from gateway.registry import Gateway
from gateway.settings import settings


def register(app: typer.Typer) -> None:
    journal = typer.Typer(help="The journal of exchanges: verify, export, checkpoint, witness.", no_args_is_help=True)
    journal.command(name="verify")(verify_)
    journal.command(name="export")(export)
    journal.command(name="checkpoint")(checkpoint)
    journal.command(name="witness")(witness_)
    app.add_typer(journal, name="journal")


def verify_(
    folder: Annotated[Path | None, typer.Argument(help="Exported or published journal; by default this gateway's.")] = None,
) -> None:
    """Check every entry against the signed checkpoint, with a reader that shares nothing with the writer."""
    if folder is None:
        gateway = Gateway.open(settings())
        journal_files.publish(gateway.engine, gateway.keys, settings())
        folder = journal_files.folder_of(settings())
    report = verify.verify(folder)
    typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(REFUSED)


def export(folder: Path) -> None:
    """Write `checkpoint`, `tile/` and `vkey` in the C2SP formats."""
    gateway = Gateway.open(settings())
    journal_files.publish(gateway.engine, gateway.keys, settings())
    journal_files.export(gateway.engine, gateway.keys, settings(), folder)
    people.print(f"written to {folder}")


def checkpoint() -> None:
    """Publish what is new and print the signed checkpoint."""
    gateway = Gateway.open(settings())
    journal_files.publish(gateway.engine, gateway.keys, settings())
    typer.echo((journal_files.folder_of(settings()) / "checkpoint").read_text(), nl=False)


def witness_(
    origin: Annotated[str, typer.Option("--origin", help="Address of the witness (prefix of add-checkpoint).")],
) -> None:
    """Have a witness cosign the current checkpoint; prints its cosignature lines."""
    gateway = Gateway.open(settings())
    data(witness.submit_current(gateway.engine, gateway.keys, settings(), origin))
