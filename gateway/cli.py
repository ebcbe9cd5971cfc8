"""`maillon`: the command line (same as `python -m gateway`)."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from cryptography.exceptions import InvalidTag
from sqlalchemy.exc import DBAPIError

from connectors.contract import DocumentRefused
from connectors.manifest import ManifestError
from gateway import interpreter, logs
from gateway.commands.output import REFUSED, WRONG_USAGE, status_of, told
from gateway.problems import Problem, kind
from gateway.vault import Erased
from mappings.grammar import MappingError

FAMILIES = {
    "run": ("demo", "serve", "work", "sandbox", "doctor", "bench", "demo-data", "outbox"),
    "files": ("ingest", "map", "replay-fixture", "prefill", "explain", "lint", "connector"),
    "collect": ("collect", "pull"),
    "drop": ("drop",),
    "quarantine": ("quarantine",),
    "alerts": ("alerts",),
    "record": ("worklist", "evidence", "meter"),
    "referential": ("referential",),
    "partners": ("partner", "convention"),
    "keys": ("keys",),
    "law": ("basis", "person", "breach", "notice", "retention", "reidentify", "register"),
    "proof": ("journal", "receipt"),
}
"""Modules of `gateway/commands`, in the order of the help, and the first words that each answers to: a command that is
named imports its own family alone, and starts in about half the time."""


def _told_version(asked: bool) -> None:
    if asked:
        typer.echo(f"maillon {version('maillon')}")
        raise typer.Exit


def _whole(
    version: Annotated[
        bool, typer.Option("--version", callback=_told_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Options of `maillon` itself."""


@cache
def application(*families: str) -> typer.Typer:
    """The commands of these families; of all without a name."""
    made = typer.Typer(
        name="maillon",
        help="Exchange gateway of the shared social and employment diagnosis.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode="markdown",  # in "rich", a text between brackets is taken for a style, and lost
        callback=_whole,
    )
    for family in families or tuple(FAMILIES):
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
    if error.connection_invalidated:
        act = "Begin again once it answers: nothing is half done, and a file goes on after its last committed record."
        return "database-lost", f"The database ended the connection ({_code_of(error)}). {act}"
    if code := getattr(error.orig, "sqlite_errorname", ""):
        where = "look at the space and the rights of its file and folder, and at what else holds it."
    else:
        code, where = _code_of(error), "its own log says why."
    return "database-refused", f"The database refused a statement ({code}): {where}"


def _code_of(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or type(error.orig).__name__


def _of_the_system(error: OSError) -> tuple[str, str, int]:
    """What is said of a file, a disk or a network that this machine refuses, and the exit status."""
    if isinstance(error, PermissionError):
        who = "is closed to this account: open it to the one of the services, which runs the commands (deploy/maillon)."
        return "access-denied", f"{error.filename} {who}", REFUSED
    if error.filename is not None and isinstance(error, _OF_A_PATH):
        act = "Name another place, or make its folder first."
        return "path-unusable", f"{error.filename}: {error.strerror}. {act}", WRONG_USAGE
    return "system-refused", f"{error.strerror or kind(error)}: free what this machine lacks, then repeat.", REFUSED


def _placed(refused: Problem | DocumentRefused) -> str:
    """The words of a refusal, after the place that they are about when it names one: a column, an element."""
    return ": ".join(filter(None, (refused.path, refused.detail)))


_OF_A_PATH = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)


def main() -> None:
    """Run a command. A refusal is one line with its code and exit status 1; wrong usage is 2."""
    logs.configure()
    interpreter.settle_in()
    named = sys.argv[1:2]
    try:
        application(*(family for family, words in FAMILIES.items() if set(words).intersection(named)))()
    except Problem as problem:
        told(problem.code, _placed(problem))
        sys.exit(status_of(problem))
    except DBAPIError as error:
        told(*_of_the_database(error))
        sys.exit(REFUSED)
    except OSError as error:
        code, detail, status = _of_the_system(error)
        told(code, detail)
        sys.exit(status)
    except Erased:
        told("person-erased", "Her key was destroyed: nothing of her can be read or written any more.")
        sys.exit(REFUSED)
    except InvalidTag:
        told("keys-wrong", "The keys in MAILLON_HOME are not those of this database: the operator puts back its own.")
        sys.exit(REFUSED)
    except DocumentRefused as refused:
        told(refused.code, _placed(refused))
        sys.exit(REFUSED)
    except ManifestError as error:
        told("manifest", str(error))
        sys.exit(REFUSED)
    except MappingError as error:
        told(error.code, f"{error.where + ': ' if error.where else ''}{error.detail}. `maillon lint` names the line.")
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
