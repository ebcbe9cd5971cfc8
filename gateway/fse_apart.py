"""The answers that the FSE asks and nobody derives (handicap, origin, minority), in a register apart.

They are sealed under a key of their own (`keys/fse_sensible`), inside the person's: destroying either makes them
unreadable, and neither alone opens them. They are never part of a dossier: no mapping, decision, prefill or dossier
page can meet them. They serve the indicators of an operation, its list of incomplete participants, and the copy that
the person asks for (GDPR 15).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import select, update

from gateway import clock
from gateway.dossier import APART
from gateway.keys import seal, unseal
from gateway.registry import Gateway
from gateway.storage.tables.record import assertion_set
from gateway.unit_of_work import UnitOfWork
from gateway.vault import Erased
from schemas.record import Fact, Facts

_SEALED = "scelle"
_LIVE = assertion_set.c.superseded_at.is_(None) & (assertion_set.c.document == APART)


def put(
    work: UnitOfWork, gateway: Gateway, person_id: str, body: str, participation: str, told: Mapping[str, Any]
) -> None:
    """Add answers to those of a participation; nothing is overwritten, an earlier set is superseded."""
    work.flush()
    index = gateway.dossiers.record_index(body, APART, participation)
    here = _LIVE & (assertion_set.c.subject_id == person_id) & (assertion_set.c.record_h == index)
    before = work.connection.execute(select(assertion_set).where(here)).first()
    known = _answers(work, gateway, before) if before is not None else {}
    prefix = f"participations[{participation}].reponses_sensibles."
    facts = known | {f"{prefix}{name}": value for name, value in told.items()}
    new = clock.new_id()
    if before is not None:
        past = update(assertion_set).where(assertion_set.c.id == before.id)
        work.connection.execute(past.values(superseded_at=work.now, superseded_by=new))
    inner = seal(gateway.keys.secret("fse_sensible"), to_json(facts), person_id.encode())
    work.add(
        assertion_set, id=new, subject_id=person_id, source=body, document=APART, record_h=index,
        exchange_id=clock.new_id(), asserted_at=work.now, received_at=work.now, superseded_at=None, superseded_by=None,
        payload=gateway.vault.seal(work, person_id, {_SEALED: b64encode(inner).decode()}),
    )  # fmt: skip


def of(work: UnitOfWork, gateway: Gateway, people: Collection[str]) -> dict[str, Fact]:
    """What these people (one person, and those merged into her) answered, by path."""
    work.flush()
    found: dict[str, Fact] = {}
    rows = work.connection.execute(select(assertion_set).where(_LIVE, assertion_set.c.subject_id.in_(people)))
    for row in rows:
        for path, value in _answers(work, gateway, row).items():
            found[path] = Fact(value, row.source, APART, row.asserted_at)
    return found


def _answers(work: UnitOfWork, gateway: Gateway, row: Any) -> Facts:
    try:
        return opened(gateway, row.subject_id, gateway.vault.open(work, row.subject_id, row.payload))
    except Erased:
        return {}


def opened(gateway: Gateway, person_id: str, content: Facts) -> Facts:
    """The facts of a set as the person's key opens it: those of this register need their own key too."""
    if _SEALED not in content:
        return content
    inner = unseal(gateway.keys.secret("fse_sensible"), b64decode(content[_SEALED]), person_id.encode())
    answers: Facts = from_json(inner)
    return answers
