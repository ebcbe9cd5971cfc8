"""Commands about the journal: verify, export, checkpoint, witness."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import httpx
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
    folder: Annotated[
        Path | None, typer.Argument(help="Exported or published journal; by default this gateway's.")
    ] = None,
    vkey: Annotated[str, typer.Option(help="Verifier key you trust, or a file that holds it.")] = "",
) -> None:
    """Check every entry against the signed checkpoint, with a reader that shares nothing with the writer."""
    if folder is None:
        gateway = Gateway.open(settings())
        gateway.publish_journal()
        folder = gateway.journal_folder
    raise typer.Exit(verify.main([str(folder), *(["--vkey", vkey] if vkey else [])]))


def export(folder: Path) -> None:
    """Write `checkpoint`, `tile/` and `vkey` in the C2SP formats."""
    gateway = Gateway.open(settings())
    for one in journal_files.export(gateway.engine, gateway.keys, gateway.settings, folder):
        people.print(f"{one.origin}: {one.size} entries in {folder}")


def checkpoint() -> None:
    """Publish what is new and print the signed checkpoint."""
    gateway = Gateway.open(settings())
    gateway.publish_journal()
    typer.echo((gateway.journal_folder / "checkpoint").read_text(encoding="utf-8"), nl=False)


def witness_(
    origin: Annotated[str, typer.Option("--origin", help="Address of the witness (prefix of add-checkpoint).")],
    name: Annotated[str, typer.Option(help="Name of the witness in its key.")] = "witness",
    vkey: Annotated[str, typer.Option(help="Verifier key of the witness.")] = "",
) -> None:
    """Have a witness cosign the current checkpoint; exit 1 if it does not."""
    gateway = Gateway.open(settings())
    gateway.publish_journal()
    own = (gateway.journal_folder / "vkey").read_text(encoding="utf-8").split()
    lines = [*(f"log {line}" for line in own), f"witness {name} {vkey} {origin}", f"quorum {name}"]
    policy = verify.Policy.parse("\n".join(lines) + "\n")

    async def ask() -> bool:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            collector = witness.Collector(gateway.engine, gateway.settings, policy, client)
            return await collector.collect()

    cosigned = asyncio.run(ask())
    data({"witness": origin, "cosigned": cosigned})
    if not cosigned:
        raise typer.Exit(REFUSED)
