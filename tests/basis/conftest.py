"""A real database, and records as a social worker's software would send them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from gateway import basis, clock
from gateway.storage import open_engine
from gateway.storage.tables import metadata
from gateway.storage.tables.journal import journal_entry
from gateway.unit_of_work import UnitOfWork

T0 = "2026-11-21T09:00:00.000000Z"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'maillon.db'}")
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def journal(engine: Engine) -> Callable[[], list[dict[str, Any]]]:
    """`journal()`: what the journal tells, oldest first."""

    def read() -> list[dict[str, Any]]:
        with engine.connect() as connection:
            entries = connection.execute(select(journal_entry.c.entry).order_by(journal_entry.c.idx))
            return [json.loads(entry) for entry in entries.scalars()]

    return read


@pytest.fixture
def at(engine: Engine) -> Callable[..., Any]:
    """`with at("2026-11-21T09:00:00Z") as work:` a transaction at that instant."""

    @contextmanager
    def transaction(moment: str = T0) -> Iterator[UnitOfWork]:
        work = UnitOfWork(engine)
        work.now = clock.instant(clock.datetime.fromisoformat(moment))
        with work:
            yield work

    return transaction


@pytest.fixture
def person() -> str:
    return clock.new_id()


@pytest.fixture
def said(at: Callable[..., Any], person: str) -> Callable[..., dict[str, Any]]:
    """`said("consent", …)`: a complete record about a synthetic person; notices are published."""
    with at("2026-01-01T00:00:00Z") as work:
        for name in ("consentement", "pie", "l121-6-2", "sift", "css"):
            basis.publish_notice(work, name, 1, f"Notice {name}, version 1")
            basis.publish_notice(work, name, 1, f"Notice {name}, facile à lire", falc=True)

    def content(kind: str, **fields: Any) -> dict[str, Any]:
        return {
            "kind": kind,
            "person_id": person,
            "subject_ref": "ab" * 20,
            "notice_id": "consentement",
            "notice_version": 1,
            "regime": "CONSENT_6_1_a",
            "purpose": "aide_facultative_ccas",
            "purpose_text": "Étude d'une aide facultative du CCAS",
            "legal_basis": "a",
            "article": ["RGPD 6(1)(a)"],
            "categories": ["C1", "C6"],
            "controllers": [
                {
                    "nom": "CCAS de Villemin",
                    "adresse": "1 place de la Mairie",
                    "contact": "dpo@villemin.example",
                    "siren": "200000008",
                    "role": "ccas",
                }
            ],
            "recipients": ["ccas_villemin"],
            "channel": "face_to_face",
            "collection_method": "entretien",
            "storage_location": "France",
            "retention": "P12M",
            "withdrawal_method": "au guichet, par courrier ou en ligne",
            "rights": ["acces", "rectification", "effacement", "retrait"],
            "valid_until": "2027-06-01T00:00:00+02:00",
            "evidence": {"kind": "oral_attested", "agent": "cd" * 20, "witnessed_at": "2026-11-21T08:59:00Z"},
            **fields,
        }

    return content


@pytest.fixture
def consent_state(at: Callable[..., Any], person: str) -> Callable[..., str]:
    def state(moment: str = T0, recipient: str = "ccas_villemin") -> str:
        with at(moment) as work:
            return (
                basis.states(work, [person])[person]
                .for_flow("CONSENT_6_1_a", "aide_facultative_ccas", recipient, work.now)
                .consent_state
            )

    return state
