"""Two hundred synthetic persons whose every value is a canary: none sings outside the sealed record."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from sqlalchemy import select

from gateway import erasure, notifier
from gateway.app import build
from gateway.storage.tables import metadata
from tests.rights.conftest import Office

PERSONS = 200


def canary(rank: int) -> dict[str, Any]:
    """A beneficiary as a CCAS sends her: each value can be recognised anywhere."""
    return {
        "fileNumber": f"CANARI-{rank}",
        "birthName": f"Canarinom{letters(rank)}",
        "usualName": f"Canariusage{letters(rank)}",
        "firstName": f"Canariprenom{letters(rank)}",
        "birthDate": f"19{60 + rank % 40}-0{1 + rank % 9}-1{rank % 10}",
        "socialSecurityNumber": f"2{60 + rank % 40}0{1 + rank % 9}40{777000 + rank:06d}",
        "phone1": f"06{88_000_000 + rank:08d}",
        "email": f"canari{rank}@canari.invalid",
        "accomodationMode": "SocialRenting",
    }


def letters(rank: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in f"{rank:03d}")


def songs() -> set[str]:
    """What must be found nowhere: names, numbers, telephones, addresses of everybody, as sent and as kept."""
    found = {"canari", "CANARI", "Canari"}
    for rank in range(PERSONS):
        one = canary(rank)
        found |= {one["socialSecurityNumber"], one["phone1"], "+33" + one["phone1"][1:]}
    return found


async def post(client: httpx.AsyncClient, body: Any, key: str, document: str = "ccas.beneficiaires") -> httpx.Response:
    return await client.post("/v1/exchanges", json=body, headers={"Maillon-Document": document, "Idempotency-Key": key})


async def test_two_hundred_persons_through_a_whole_exchange(
    office: Office, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, logger="httpx")  # the caller's own log of the addresses it calls
    structlog.reset_defaults()
    gateway = office.gateway
    app = build(gateway, embedded_worker=False)
    wrong = []
    async with app.router.lifespan_context(app), office.client("ccas", app) as ccas:
        for rank in range(PERSONS):
            answer = await post(ccas, canary(rank), f"k{rank}")
            assert answer.status_code == 202, answer.text
            wrong.append(answer)
        persons = _inform(office)
        assert len(persons) == PERSONS
        for rank, one in enumerate(persons):
            office.says("departement", {"droit_rsa.etat": "ouvert_versable"} | _facts(gateway, one), key=f"d{rank}")
        for rank in range(PERSONS):
            wrong.append(await post(ccas, canary(rank) | {"mobility": "PublicTransport"}, f"m{rank}"))
        assert await office.settle() > 0
        # What goes wrong must not sing either.
        wrong.append(await post(ccas, canary(1) | {"birthDate": "CANARIDATE", "inconnu": "CANARIX"}, "bad1"))
        wrong.append(await post(ccas, canary(2), "k1"))
        wrong.append(await post(ccas, [canary(3), "CANARI"], "bad2"))
        wrong.append(await ccas.post("/v1/persons/search", json={"nir": "CANARI", "inconnu": "CANARI"}))
        wrong.append(await ccas.get("/v1/persons/CANARI/dossier"))
        wrong.append(await ccas.get("/v1/exchanges/CANARI"))
        with gateway.unit_of_work() as work:
            erasure.erase(work, gateway, persons[0], forced_by="ab" * 32)
        await notifier.round_(gateway)
        metrics = (await ccas.get("/metrics")).text
    gateway.publish_journal()
    out, err = capfd.readouterr()
    heard = {
        "journal entries": _column("journal_entry", "entry", office),
        "published files": b"".join(one.read_bytes() for one in _files(gateway.journal_folder)),
        "answers": "\n".join(one.text for one in wrong).encode(),
        "standard output": out.encode(),
        "standard error": err.encode(),
        "logs": caplog.text.encode(),
        "metrics": metrics.encode(),
        "database and its write-ahead log": b"".join(one.read_bytes() for one in office.home.glob("maillon.db*")),
    }
    heard["answers"] = heard["answers"].replace(b"/CANARI/dossier", b"").replace(b"CANARI-", b"")
    assert len(heard["journal entries"]) > 100_000
    assert len(heard["published files"]) > 100_000
    for song in sorted(songs()):
        for where, content in heard.items():
            assert song.encode() not in content, where


def _inform(office: Office) -> list[str]:
    with office.gateway.engine.connect() as connection:
        persons = list(connection.execute(select(metadata.tables["person"].c.id)).scalars())
    for one in persons:
        office.informed(one)
    return persons


def _facts(gateway: Any, person: str) -> dict[str, Any]:
    """The Département knows her by the same identity."""
    with gateway.unit_of_work() as work:
        current = gateway.dossiers.current(work, person)
    names = ("identifiants[nir].valeur", "personne.nom_naissance", "personne.prenoms", "personne.date_naissance")
    return {path: current[path].value for path in names} | {"personne.adresses[residence].code_insee": "40192"}


def _column(table: str, column: str, office: Office) -> bytes:
    with office.gateway.engine.connect() as connection:
        return b"\n".join(connection.execute(select(metadata.tables[table].c[column])).scalars())


def _files(folder: Path) -> list[Path]:
    return [one for one in folder.rglob("*") if one.is_file()]
