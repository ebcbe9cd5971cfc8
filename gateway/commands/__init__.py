"""The commands of `maillon`, one module per user's job; `gateway/cli.py` assembles them."""

from __future__ import annotations

from collections.abc import Callable

import typer


def group(app: typer.Typer, name: str, help: str, **commands: Callable[..., None]) -> None:
    """`maillon NAME COMMAND` for each of these, in this order; `_` is written `-`."""
    made = typer.Typer(help=help, no_args_is_help=True)
    for verb, command in commands.items():
        made.command(name=verb.replace("_", "-"))(command)
    app.add_typer(made, name=name)
