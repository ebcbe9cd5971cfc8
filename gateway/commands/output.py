"""Where commands write: data on stdout alone, words for people on stderr."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from gateway.problems import Misnamed, NotKept, Problem, Unknown
from gateway.registry import Body, Gateway
from schemas import normalisation

if TYPE_CHECKING:
    from rich.table import Table


def printer(*, stderr: bool = False) -> Console:
    """Words for people, as wide as their terminal; in a pipe or a file, wide enough that a table breaks no name."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = 200
    return made


people = printer(stderr=True)
"""Progress and messages."""

REFUSED, WRONG_USAGE = 1, 2


def table(*heads: str, title: str | None = None) -> Table:
    """A table that cuts nothing: what is too long for its column goes on below."""
    from rich.table import Table  # 6 ms, which most commands do without

    made = Table(*heads, title=title)
    for column in made.columns:
        column.overflow = "fold"
    return made


def data(value: Any) -> None:
    """One JSON object on one line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def told(code: str, detail: str = "", style: str = "bold red") -> None:
    """A code and its words on one line of stderr, as they are: brackets in them (`[record]`) are no style."""
    people.print(f"[{style}]{escape(code)}[/]" + (f": {escape(detail)}" if detail else ""), soft_wrap=True)


def body_of(gateway: Gateway, id: str) -> Body:
    """The body that was typed; one that is not known is wrong usage, told with those that are."""
    if id not in gateway.bodies:
        known = ", ".join(sorted(gateway.bodies))
        fail("body-unknown", f"Register it with `maillon partner add`, or name one of: {known}.", WRONG_USAGE)
    return gateway.bodies[id]


def day(text: str) -> str:
    """A day that was typed, or none. Ends as wrong usage for another text."""
    if text and not normalisation.full_date(text):
        raise typer.BadParameter("give a day as AAAA-MM-JJ.")
    return text


def json_object(source: Path | str) -> dict[str, Any]:
    """The JSON object that was given: a file, or `-` for standard input. Ends as wrong usage for anything else."""
    where = "Give one JSON object, in a readable file or - for standard input."
    try:
        given = json.loads(sys.stdin.read() if str(source) == "-" else Path(source).read_text(encoding="utf-8"))
    except OSError:
        fail("file-missing", where, WRONG_USAGE)
    except (ValueError, RecursionError):  # not UTF-8, not JSON
        given = None
    if not isinstance(given, dict):
        fail("bad-json", where, WRONG_USAGE)
    return given


def text_of(path: Path) -> str:
    """The words of a file that was given. Ends as wrong usage when they are not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        fail("not-utf8", f"Save {path} as UTF-8 text.", WRONG_USAGE)


def status_of(problem: Problem) -> int:
    """Of a command that ends so: 2 when what was typed names nothing that exists, or cannot be used this way."""
    mistyped = isinstance(problem, Unknown | Misnamed) and not isinstance(problem, NotKept)
    return WRONG_USAGE if mistyped else REFUSED


def fail(code: str, detail: str = "", status: int = REFUSED) -> NoReturn:
    """Say why on stderr and leave. `code` is stable; `detail` says who does what."""
    told(code, detail)
    raise typer.Exit(status)
