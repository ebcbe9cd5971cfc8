"""Where commands write: data on stdout alone, words for people on stderr."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from gateway.problems import Misnamed, NotKept, Problem, Unknown
from gateway.registry import Body, Gateway
from schemas import normalisation

people = Console(stderr=True, highlight=False)
"""Progress and messages."""

REFUSED, WRONG_USAGE = 1, 2


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


def status_of(problem: Problem) -> int:
    """Of a command that ends so: 2 when what was typed names nothing that exists, or cannot be used this way."""
    mistyped = isinstance(problem, Unknown | Misnamed) and not isinstance(problem, NotKept)
    return WRONG_USAGE if mistyped else REFUSED


def fail(code: str, detail: str = "", status: int = REFUSED) -> NoReturn:
    """Say why on stderr and leave. `code` is stable; `detail` says who does what."""
    told(code, detail)
    raise typer.Exit(status)
