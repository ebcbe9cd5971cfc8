"""Python being written: what the generated readers and writers of mappings share.

The generated source is what an engineer would write by hand for one document. Only mapping files that the project or
an installed connector ships are compiled; what a partner sends is never code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Lines:
    """The lines of one function, and the objects that it uses by name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}
        self._depth = 0
        self._count = 0

    def say(self, *lines: str) -> None:
        self.lines.extend("    " * self._depth + line for line in lines)

    @contextmanager
    def block(self, line: str) -> Iterator[None]:
        self.say(line)
        self._depth += 1
        yield
        self._depth -= 1

    def name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def hold(self, stem: str, value: Any) -> str:
        """A name in the generated module for an object that the code uses."""
        name = self.name(stem)
        self.names[name] = value
        return name

    def compiled(self, function: str, id: str, called: dict[str, Any]) -> tuple[Callable[..., Any], str]:
        """The function of this name, which calls `called`, and its source."""
        source = "\n".join(self.lines) + "\n"
        namespace = called | self.names
        exec(compile(source, f"<mapping {id}, {function}>", "exec"), namespace)  # noqa: S102
        return namespace[function], source


def escape(text: str) -> str:
    """`text` as it stands in the body of an f-string."""
    return text.replace("{", "{{").replace("}", "}}")


def at(body: str) -> str:
    """An expression for a partner path given as the body of an f-string; its final slash is cut."""
    body = body.removesuffix("/")
    return f"f{body!r}" if "{" in body or "}" in body else repr(body)


def path(target: str, word: str = 'ctx["%s"]') -> str:
    """An expression for a canonical path: `{k3}` and `{w}` are variables, any other `{word}` comes from the context."""
    if "{" not in target:
        return repr(target)
    text = ""
    for position, piece in enumerate(target.replace("}", "{").split("{")):
        if position % 2 == 0:
            text += escape(piece)
        elif piece == "w" or piece[1:].isdigit():
            text += "{" + piece + "}"
        else:
            text += "{" + word % piece + "}"
    return f"f{text!r}"
