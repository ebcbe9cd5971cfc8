"""Two bodies that each run a gateway: what one gave and the other took in is found again in both journals."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from connectors.kit import acknowledged
from connectors.transport import Answer
from gateway import basis, journal, journal_files, verify
from gateway.demo.forms import global_accompaniment, information
from gateway.journal_entry import COLUMNS
from gateway.keys import Keyring
from gateway.settings import Settings
from gateway.storage import open_engine
from gateway.storage.tables import metadata
from gateway.storage.tables.journal import journal_entry
from gateway.unit_of_work import UnitOfWork
from gateway.worker import Worker
from tests.api.house import House, opened, problem

PEOPLE = ("Canarianne", "Canaribea", "Canaricleo")


def known(rank: int, **more: str) -> dict[str, str]:
    return {"fileNumber": f"SA-{rank}", "birthName": "Canarilefevre", "firstName": PEOPLE[rank],
            "birthDate": f"1979-03-0{rank + 1}", "socialSecurityNumber": f"279034099990{rank}",
            "accomodationMode": "SocialRenting"} | more  # fmt: skip


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[House]:
    """The gateway of the CCAS."""
    with opened(tmp_path / "ours") as house:
        yield house


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[House]:
    """The gateway of the Département."""
    with opened(tmp_path / "theirs") as house:
        yield house


def followed(house: House) -> None:
    """The CCAS speaks of three persons, whom it informed and whom the Département accompanies too."""
    for rank in range(len(PEOPLE)):
        assert house.send("ccas", "ccas.suivi", known(rank)).status_code == 202
        told = known(rank)
        sought = {"nir": told["socialSecurityNumber"], "date_naissance": told["birthDate"],
                  "nom_naissance": told["birthName"]}  # fmt: skip
        reference = house.search("ccas", sought).json()["person"]
        with house.gateway.unit_of_work() as work:
            person = house.gateway.references.find(work, "ccas", reference)
            assert person
            basis.record(work, information(house.gateway, person))
        one: Any = SimpleNamespace(
            person=SimpleNamespace(nir=sought["nir"], nom_naissance=told["birthName"], prenom=PEOPLE[rank]),
            born=told["birthDate"],
        )
        opened = house.send("departement", "departement.accompagnement", global_accompaniment([(one, 500 + rank)]))
        assert opened.json()["results"][0]["status"] == "accepted", opened.text
        last = house.send("ccas_voisin", "ccas.suivi", known(rank, mobility="PublicTransport"))
        assert [one["recipient"] for one in last.json()["outcomes"] if one["status"] == "queued"], last.text


def relay(ours: House, theirs: House) -> None:
    """What a body with a gateway of its own does: fetch, take in, acknowledge, each side naming the same delivery."""
    with ours.client("departement") as client:
        letters = client.get("/v1/inbox").json()["letters"]
        assert len(letters) == len(PEOPLE)
        for rank, letter in enumerate(letters):
            delivery = {"Maillon-Delivery": letter["delivery"]}
            taken = theirs.send("ccas", "ccas.suivi", known(rank), **delivery)
            assert taken.status_code == 202, taken.text
            told = taken.json()["journal"]
            assert taken.headers["maillon-journal"] == f"{told['origin']} {told['index']}"
            place = {"Maillon-Journal": taken.headers["maillon-journal"]}
            acked = client.post(f"/v1/inbox/{letter['id']}/ack", headers=place)
            assert acked.status_code == 204
            assert acked.headers["maillon-journal"]
        wrong = client.post(f"/v1/inbox/{letter['id']}/ack", headers={"Maillon-Journal": "nowhere"})
        problem(wrong, 400, "journal-index")


def compare(ours: Path, theirs: Path) -> list[verify.Divergence]:
    sides = [verify.entries(one, (one / "vkeys").read_text().split()) for one in (ours, theirs)]
    return verify.reconcile(*sides, us="ccas", them="departement")


def retold(house: House, home: Path, order: list[int]) -> Path:
    """The same gateway's journal as an insider with its keys would write it anew, its entries in another order."""
    shutil.copytree(house.home / "keys", home / "keys")
    engine = open_engine(f"sqlite:///{home / 'retold.db'}")
    metadata.create_all(engine)
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(select(journal_entry).order_by(journal_entry.c.idx)).all()
    with UnitOfWork(engine) as work:
        told = [json.loads(row.entry) for row in rows]
        columns = [
            (row.ts, *(said.get(name) for name in ("event", *COLUMNS))) for row, said in zip(rows, told, strict=True)
        ]
        journal._extend(work, "12m", [journal.Entry("12m", rows[n].entry, columns[n]) for n in order])
    settings = Settings(home=home, profile="test")
    journal_files.publish(engine, Keyring(home / "keys"), settings)
    engine.dispose()
    return home / "journal"


def test_a_moved_entry_is_found_by_the_place_its_acknowledgement_gave(
    ours: House, theirs: House, tmp_path: Path
) -> None:
    followed(ours)

    async def deliver() -> None:
        await Worker(ours.gateway).drain()
        await ours.gateway.close_transports()

    asyncio.run(deliver())
    relay(ours, theirs)
    for house in (ours, theirs):
        house.gateway.publish_journal()
    mine, other = ours.gateway.journal_folder, theirs.gateway.journal_folder
    assert compare(mine, other) == []

    with theirs.gateway.engine.connect().execution_options(read_only=True) as connection:
        size = connection.execute(select(func.count()).select_from(journal_entry)).scalar_one()
    received = [index for index, raw in verify.entries(other, (other / "vkeys").read_text().split())
                if b'"delivery_id"' in raw]  # fmt: skip
    assert len(received) == len(PEOPLE)
    order = list(range(size))
    order[received[0]], order[received[2]] = received[2], received[0]
    moved = retold(theirs, tmp_path / "retold", order)
    assert verify.verify(moved, (moved / "vkeys").read_text().split()).ok  # alone, it shows nothing
    assert [one.kind for one in compare(mine, moved)] == ["moved", "moved"]


def test_a_pushed_delivery_brings_back_its_place_too() -> None:
    told = Answer(202, httpx.Headers({"Maillon-Journal": "ccas.example/journal 0"}), b"{}")
    assert acknowledged(told).peer_idx == 0
    assert acknowledged(Answer(202, httpx.Headers({}), b"{}")).peer_idx is None
    assert acknowledged(Answer(202, httpx.Headers({"Maillon-Journal": "anything"}), b"{}")).peer_idx is None
