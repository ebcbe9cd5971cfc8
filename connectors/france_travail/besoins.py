"""One answer per need: France Travail asks each need once per project, the shared record holds it once per person.

A need may rightly be one for a job and a strength for another: nobody has an error to correct. The answer that stands
is that of her priority project, else the one explored last; the others are told by a notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas.record import Finding

_PROJECTS = ("besoinsParDiagnostic", "besoinsParDiagnosticIndividuDtos")
_ANSWERS = ("BESOIN", "POINT_FORT")
"""What a need may be answered; one that was not explored says nothing."""


def settle(told: dict[str, Any]) -> list[Finding]:
    """Give each need of this diagnosis, of either generation, one answer; what was answered otherwise."""
    found: dict[str, list[tuple[tuple[bool, str], str, dict[str, Any]]]] = {}
    for block in _PROJECTS:
        for at, project in _items(told, block):
            nested = project.get("diagnostic")
            about = nested if isinstance(nested, dict) else project
            first, updated = about.get("estPrioritaire") is True, about.get("dateMiseAJour")
            for path, need in _needs(project, at):
                if need.get("valeur") in _ANSWERS:
                    rank = first, str(need.get("dateExploration") or updated or "")
                    found.setdefault(str(need.get("code")), []).append((rank, path, need))
    findings = []
    for answers in found.values():
        stands = max(answers, key=lambda answer: answer[0])[2]["valeur"]
        for _, path, need in answers:
            if need["valeur"] != stands:
                findings.append(Finding("told-differently", f"{path}/valeur", "notice", detail="another project's"))
                need["valeur"] = stands
    return findings


def _needs(project: dict[str, Any], at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from _items(project, "besoins", at)
    for path, theme in _items(project, "thematiquesBesoins", at):
        yield from _items(theme, "besoins", path)


def _items(parent: dict[str, Any], name: str, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    listed = parent.get(name)
    for rank, item in enumerate(listed if isinstance(listed, list) else (), 1):
        if isinstance(item, dict):
            yield f"{at}/{name}[{rank}]".removeprefix("/"), item
