"""`maillon`: the command line (same as `python -m gateway`)."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import Any

import typer
from sqlalchemy.exc import DBAPIError

from connectors.contract import DocumentRefused
from connectors.manifest import ManifestError
from gateway import garbage, logs
from gateway.commands.output import REFUSED, WRONG_USAGE, told
from gateway.problems import Problem

FAMILIES = (
    "run", "files", "collect", "drop", "quarantine", "alerts", "record", "referential", "partners", "keys", "law",
    "proof",
)  # fmt: skip
"""Modules of `gateway/commands`, in the order of the help."""
LONG = frozenset({"serve", "work"})
"""Commands of `run` that start often and must start soon: they import no other family."""


@cache
def application(*families: str) -> typer.Typer:
    """The commands of these families; of all without a name."""
    made = typer.Typer(
        name="maillon",
        help="Exchange gateway of the shared social and employment diagnosis.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for family in families or FAMILIES:
        import_module(f"gateway.commands.{family}").register(made)
    return made


def __getattr__(name: str) -> Any:
    """`app`: every command, for whoever asks for it."""
    if name == "app":
        return application()
    raise AttributeError(name)


def _of_the_database(error: DBAPIError) -> tuple[str, str]:
    """What is said of a database that refuses: never the statement nor the server's details, which may quote a person.
    Before any statement there is only an address and an account to quote."""
    if error.statement is None:
        said = str(error.orig).strip().splitlines()[0]
        act = "Start it, or correct MAILLON_DATABASE_URL or the rights of its account."
        return "database-unreachable", f"{said}. {act}"
    code = getattr(error.orig, "sqlstate", None) or type(error.orig).__name__
    return "database-refused", f"The database refused a statement ({code}): its own log says why."


def main() -> None:
    """Run a command. A refusal is one line with its code and exit status 1; wrong usage is 2."""
    logs.configure()
    long = bool(LONG.intersection(sys.argv[1:2]))
    if long:
        garbage.collect_rarely()
    try:
        application(*(["run"] if long else []))()
    except Problem as problem:
        told(problem.code, problem.detail)
        sys.exit(WRONG_USAGE if problem.status == 404 and problem.code.endswith("-missing") else REFUSED)
    except DBAPIError as error:
        told(*_of_the_database(error))
        sys.exit(REFUSED)
    except PermissionError as error:
        who = "is closed to this account: run the command as the one of the services (deploy/maillon)."
        told("access-denied", f"{error.filename} {who}")
        sys.exit(REFUSED)
    except DocumentRefused as refused:
        told(refused.code, refused.detail)
        sys.exit(REFUSED)
    except ManifestError as error:
        told("manifest", str(error))
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
