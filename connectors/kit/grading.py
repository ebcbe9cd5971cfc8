"""The grade a connector holds: what its `quality.toml` says, as far as nothing contradicts it.

A criterion is met when it has evidence that can be found, or a reason for exemption, and when no case of the contract
suite that bears on it failed. Whoever writes « I am tested » is believed until a test says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from connectors.manifest import CRITERIA, Evidence, Grade, Installed

LABELS: dict[Grade | None, str] = {
    None: "sans grade", "essai": "essai", "branche": "branché", "exploite": "exploité", "exemplaire": "exemplaire",
}  # fmt: skip
_FILE = re.compile(r"^[\w./-]+$")
_ROOT = Path(__file__).parents[2]


def held(one: Installed, failed: Iterable[str] = ()) -> Grade | None:
    """The highest grade whose criteria, and those before it, are met; `failed` names criteria a case contradicts."""
    quality, contradicted = one.quality, set(failed)
    grade: Grade | None = None
    for name, criteria in CRITERIA.items():
        for criterion in criteria:
            evidence = quality.criteria[criterion]
            if evidence.missing or criterion in contradicted or list(lost(one, evidence)):
                return grade
        grade = name
    return grade


def lost(one: Installed, evidence: Evidence) -> Iterator[str]:
    """Files named as evidence that are not there: beside the connector, or in the repository for ours."""
    ours = one.package.startswith("connectors.")
    if ours and not (_ROOT / "tests").is_dir():
        return  # an installed distribution carries no tests; the repository was checked before it was built
    for name in evidence.evidence:
        if not _FILE.match(name):
            continue  # a sentence that names a date and a place
        if not (one.folder / name).exists() and not (ours and (_ROOT / name).exists()):
            yield name
