"""The contract suite: what every connector must do, whoever wrote it.

A case is a question with a name; its answer is a list of faults, empty when all is well, or the reason it has no
object for this partner. Each case bears on a criterion of `quality.toml`, which it contradicts when it fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from typing import Literal

from connectors.kit.subject import NoObject, Sample, Subject
from connectors.kit.wires import UnmatchedCall
from connectors.manifest import installed

Answer = Iterator[str] | Awaitable[list[str]]
Question = Callable[[Subject], Answer]
Outcome = Literal["ok", "failed", "no-object"]


@dataclass(frozen=True)
class Result:
    """What a case found. `detail`: faults, or why it has no object.

    Never a value of a partner's document; those of a mapping's examples, whose people are invented, are told.
    """

    case: str
    title: str
    criterion: str
    outcome: Outcome
    detail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One question to one connector. `str()` is its name, for `pytest.mark.parametrize(ids=str)`."""

    name: str
    title: str
    criterion: str
    question: Question
    subject: Subject

    def __str__(self) -> str:
        return self.name

    def run(self) -> Result:
        """The answer. A connector that breaks is a fault of its own, told by the kind of its error alone."""
        try:
            answer = self.question(self.subject)
            faults = asyncio.run(_awaited(answer)) if isinstance(answer, Awaitable) else list(answer)
        except NoObject as reason:
            return self._result("no-object", (str(reason),))
        except UnmatchedCall as unmatched:
            return self._result("failed", (str(unmatched),))
        except Exception as error:  # whatever breaks in a connector is told, and its values are not
            return self._result("failed", (f"{type(error).__name__} in {self._place(error)}",))
        return self._result("failed" if faults else "ok", tuple(faults))

    def verify(self) -> Result:
        """For pytest: raises `AssertionError` with the faults."""
        result = self.run()
        assert result.outcome != "failed", "\n".join((self.title, *result.detail))
        return result

    def _place(self, error: BaseException) -> str:
        """The last line of the connector's own that led there, or where it broke; its message may hold a value."""
        if isinstance(error, SyntaxError):
            return f"{Path(error.filename or '?').name}:{error.lineno}"
        frames = [(Path(frame.f_code.co_filename), line) for frame, line in walk_tb(error.__traceback__)]
        ours = [one for one in frames if one[0].is_relative_to(self.subject.one.folder)]
        return next((f"{path.name}:{line}" for path, line in reversed(ours or frames)), "?")

    def _result(self, outcome: Outcome, detail: tuple[str, ...]) -> Result:
        return Result(self.name, self.title, self.criterion, outcome, detail)


async def _awaited(answer: Awaitable[list[str]]) -> list[str]:
    return await answer


@dataclass(frozen=True)
class Registered:
    name: str
    title: str
    criterion: str
    question: Question


REGISTER: list[Registered] = []


def case(name: str, criterion: str, title: str) -> Callable[[Question], Question]:
    """Declare a case of the suite."""

    def register(question: Question) -> Question:
        REGISTER.append(Registered(name, title, criterion, question))
        return question

    return register


def suite(
    id: str,
    *,
    settings: Mapping[str, str] | None = None,
    identifiers: Mapping[str, str] | None = None,
    documents: Mapping[str, Mapping[str, bytes]] | None = None,
) -> list[Case]:
    """The cases of one installed connector. Raises `KeyError` when none has this id.

    `settings` and `identifiers` complete what the stand-in's `describe` says; `documents` gives, by document id and
    situation, contents to read besides `fixtures/`.
    """
    from connectors.kit import files, network, refusals, values  # noqa: F401  each declares its cases

    given = tuple(Sample(name, key, body) for name, each in (documents or {}).items() for key, body in each.items())
    subject = Subject(installed()[id], settings or {}, identifiers or {}, given)
    return [Case(one.name, one.title, one.criterion, one.question, subject) for one in REGISTER]
