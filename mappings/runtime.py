"""What a generated reader calls off its fast path, and the few helpers it calls on it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from mappings.codes import Table
from mappings.grammar import Severity
from mappings.shape import Child, too_long
from mappings.types import Bad
from schemas.record import NON_PARTAGE, Facts, Finding

MAX_REMEMBERED = 8192
_CODE_PROBLEMS = frozenset({"unknown-code", "label-disagrees", "disputed-code"})
_EXPECTED = frozenset({"matricule-is-nir"})
"""What is known to happen and needs nobody: told, and the field left out."""
_LET_THROUGH = frozenset({"negative-count", "out-of-bounds"})
"""What a schema lets through though it means nothing: its field waits, the record is read."""


def within(read: Callable[[str], int | None], annotation: Any) -> Callable[[str], int | None]:
    """The same reading, of a number that the shared record can hold."""
    bounds = getattr(annotation, "__metadata__", ())
    low = next((one.ge for one in bounds if hasattr(one, "ge")), None)
    high = next((one.le for one in bounds if hasattr(one, "le")), None)
    if not low and high is None:  # zero or more: what is below is refused already
        return read

    def bounded(text: str) -> int | None:
        value = read(text)
        if value is not None and not (low or 0) <= value <= (value if high is None else high):
            raise Bad("out-of-bounds", f"{low or 0} ou plus" if high is None else f"{low or 0} à {high}")
        return value

    return bounded


class Memo(dict[str, Any]):
    """What a type read before, for texts that come back often. Only for types without personal value."""

    def __init__(self, read: Callable[[str], Any]) -> None:
        super().__init__()
        self.read = read

    def __missing__(self, text: str) -> Any:
        value = self.read(text)
        if len(self) < MAX_REMEMBERED and len(text) <= 40:
            self[text] = value
        return value


def limited(read: Callable[..., Any], children: list[Child | None]) -> Callable[..., Any]:
    """A reader that refuses what is longer than the partner's schema allows, one limit per element."""
    if not any(children):
        return read
    if len(children) == 1 and (only := children[0]) is not None:
        return _limited_one(read, only)
    lengths = [child.length or 0 if child is not None else sys.maxsize for child in children]

    def checked(*texts: str | None) -> Any:
        for position, text in enumerate(texts):
            if text and len(text) > lengths[position]:
                child = children[position]
                if child is not None and too_long(text, child):
                    raise Bad("too-long", f"{child.length}")
        return read(*texts)

    return checked


def _limited_one(read: Callable[[str], Any], child: Child) -> Callable[[str], Any]:
    length = child.length or 0

    def checked(text: str) -> Any:
        if len(text) > length and too_long(text, child):
            raise Bad("too-long", f"{length}")
        return read(text)

    return checked


def bad(findings: list[Finding], error: Bad, at: str, raw: Any, structural: bool, invalid: Severity) -> None:
    """Tell what a type could not read. Only a code is kept verbatim (`raw`), so that it can be replayed."""
    keep = error.code in _CODE_PROBLEMS
    if error.code in _EXPECTED:
        findings.append(Finding(error.code, at, "notice", "", error.detail))
        return
    broken = (structural and error.code not in _LET_THROUGH) or error.code == "too-long"
    severity: Severity = invalid if broken and not keep else "quarantine"
    findings.append(Finding(error.code, at, severity, raw if keep and isinstance(raw, str) else "", error.detail))


def read_code(
    table: Table, text: Any, parent: str, label: str | None, findings: list[Finding], at: str, checked: bool
) -> Any:
    """A code outside the plain part of its table: unknown, disputed, padded, sensitive, or with a label to compare."""
    if not isinstance(text, str):
        return None
    try:
        value = table.read(text, parent, label if checked else None)
    except Bad as error:
        findings.append(Finding(error.code, at, "quarantine", text, error.detail))
        return None
    if value == NON_PARTAGE:
        findings.append(Finding("withheld-code", at, "notice", "", table.name))
    return value


def left_aside(table: Table, text: Any, findings: list[Finding], at: str) -> None:
    """Tell an element that no condition reads, unless it bears a code known to be left: it waits for a human."""
    if not isinstance(text, str) or not text.strip():
        findings.append(Finding("missing-required", at, "quarantine"))
    else:
        read_code(table, text, "", None, findings, at, False)


def contradiction(findings: list[Finding], at: str) -> None:
    """Tell that another part of the record told this fact otherwise: the first stands, none is chosen."""
    findings.append(Finding("contradiction", at, "quarantine"))


def answer(home: Facts, path: str, value: Any, findings: list[Finding], at: str) -> None:
    """A question about the household that each adult answers: her answer stays hers, the first is the household's.

    Two answers that differ are both kept, told by a notice, and a divergence of the dossier: nobody chooses.
    """
    if home.setdefault(path, value) != value:
        findings.append(Finding("told-differently", at, "notice"))


def key_text(value: Any, findings: list[Finding], at: str, neutral: bool = False) -> str | None:
    """The text of a key part; None when the item cannot be named. `neutral`: it may be named « not shared »."""
    if value == NON_PARTAGE and not neutral:  # told by a notice; a closed list has no such item
        return None
    text = value if isinstance(value, str) else None if value is None else str(value)
    if text and ("[" in text or "]" in text):
        findings.append(Finding("bad-key", at, "quarantine"))
        return None
    return text or None


def unnamed(findings: list[Finding], before: int, at: str) -> None:
    """Tell an item without a name, unless the reason was told already."""
    if len(findings) == before:
        findings.append(Finding("missing-key", at, "quarantine"))


def each(read: Callable[[str], Any], found: list[str | None]) -> list[Any] | None:
    return [value for text in found if text and (value := read(text)) is not None] or None


def person_key(*parts: str | None) -> str:
    """A name for a person inside her record that says nothing of her: a digest of what does not change."""
    text = "\x1f".join([part.strip().upper() if part else "" for part in parts])
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest() if text.strip("\x1f") else ""
