"""`maillon`: the command line (same as `python -m gateway`)."""

from __future__ import annotations

import sys

import typer

from connectors.contract import DocumentRefused
from connectors.manifest import ManifestError
from gateway import logs
from gateway.commands import (
    alerts,
    collect,
    drop,
    files,
    keys,
    law,
    partners,
    proof,
    quarantine,
    record,
    referential,
    run,
)
from gateway.commands.output import REFUSED, WRONG_USAGE, people
from gateway.problems import Problem

app = typer.Typer(
    name="maillon",
    help="Exchange gateway of the shared social and employment diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (run, files, collect, drop, quarantine, alerts, record, referential, partners, keys, law, proof):
    module.register(app)


def main() -> None:
    """Run a command. A refusal is one line with its code and exit status 1; wrong usage is 2."""
    logs.configure()
    try:
        app()
    except Problem as problem:
        people.print(f"[bold red]{problem.code}[/]: {problem.detail}", soft_wrap=True)
        sys.exit(WRONG_USAGE if problem.status == 404 and problem.code.endswith("-missing") else REFUSED)
    except DocumentRefused as refused:
        people.print(f"[bold red]{refused.code}[/]: {refused.detail}", soft_wrap=True)
        sys.exit(REFUSED)
    except ManifestError as error:
        people.print(f"[bold red]manifest[/]: {error}", soft_wrap=True)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
