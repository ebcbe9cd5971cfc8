"""`maillon drop`: read the files that a body leaves in a folder, here or on its SFTP server."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from connectors import sftp
from connectors.contract import NotObtained
from gateway.commands.files import guess_document
from gateway.commands.output import REFUSED, WRONG_USAGE, body_of, data, fail, people
from gateway.drop import Dropped, take
from gateway.registry import Gateway
from gateway.settings import settings


def register(app: typer.Typer) -> None:
    app.command()(drop)


def drop(
    folder: Annotated[
        Path,
        typer.Argument(file_okay=False, help="Where files wait; en-cours, archive, rejets, attente are made in it."),
    ],
    sender: Annotated[str, typer.Option("--from", help="Body that drops the files.")],
    document: Annotated[str, typer.Option(help="Document id; guessed when the body sends one kind of file.")] = "",
    server: Annotated[
        str, typer.Option("--sftp", help="Bring them first from sftp://account@host[:port]/folder.")
    ] = "",
    key: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Our private key for that server (OpenSSH).")
    ] = None,
    known_hosts: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The server's host key (OpenSSH known_hosts).")
    ] = None,
    quiet: Annotated[float, typer.Option(min=0, help="Seconds without a write before a file is taken.")] = 10.0,
    watch: Annotated[float, typer.Option(min=0, help="Go on, looking every so many seconds; 0: once.")] = 0.0,
) -> None:
    """Read the files dropped in a folder: one JSON line per file, then one of counts; exit 1 if something must be
    looked at (a file refused, held or left, a server that refuses)."""
    if server and not (key and known_hosts):
        fail("sftp-keys-missing", "Give --key and --known-hosts with --sftp.", WRONG_USAGE)
    gateway = Gateway.open(settings())
    connector = body_of(gateway, sender).connector
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        found: list[Dropped] = []
        refused = _bring(sftp.Server(server, key, known_hosts), folder, quiet, found) if key and known_hosts else False
        gateway.seal_what_was_left()
        for one in take(gateway, folder, sender, lambda path: document or guess_document(connector, path), quiet):
            found.append(one)
            data(one.line())
        data({"files": len(found), **Counter(one.status for one in found)})
        if not watch:
            break
        time.sleep(watch)
    if refused or any(one.status in ("refused", "held", "left") or one.code == "unexpected-error" for one in found):
        raise typer.Exit(REFUSED)


def _bring(server: sftp.Server, folder: Path, quiet: float, found: list[Dropped]) -> bool:
    """Bring the server's files; whether it must be looked at. What is here already is read all the same."""
    left: list[tuple[str, str]] = []
    try:
        brought = asyncio.run(sftp.bring(server, folder, quiet, left))
    except NotObtained as missing:
        data({"sftp": missing.outcome, "code": missing.code})
        return missing.outcome == "refused"
    people.print(f"{len(brought)} file(s) brought")
    for name, reason in left:
        found.append(Dropped(name, "left", reason))
        data(found[-1].line() | {"on": "sftp"})
    return False
