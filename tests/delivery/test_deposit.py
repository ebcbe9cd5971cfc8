"""Deliveries left as files, in a real folder and on a real SFTP server: whole, once, and told for what they are."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from sqlalchemy import select

from connectors import drop, sftp
from connectors.contract import Acknowledgement, NotObtained, Outgoing
from connectors.departement.connector import Departement
from connectors.manifest import Document, installed
from gateway import delivery, outbox
from gateway.deposit import Drop, send
from gateway.storage.tables.delivery import outbox as table
from gateway.storage.tables.journal import journal_entry
from gateway.worker import Worker
from schemas.record import Written
from tests.faults.house import House, declaration
from tests.faults.sftp_partner import Partner


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "entrees").mkdir()
    return tmp_path / "entrees"


@pytest.fixture
def partner(tmp_path: Path) -> Iterator[Partner]:
    (tmp_path / "sftp").mkdir()
    one = Partner(tmp_path / "sftp")
    yield one
    one.close()


def takes_files(house: House, where: str, **more: str) -> House:
    house.gateway.settings.bodies["guichet"] = {**house.gateway.settings.bodies["guichet"], "drop": where, **more}
    return house


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def states(house: House) -> set[tuple[str, str]]:
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        return {(row.state, row.reason) for row in connection.execute(select(table))}


async def cut_before_the_settlement(house: House) -> Acknowledgement:
    """A worker that sends and dies: its lease is over at once."""
    with house.gateway.unit_of_work() as work:
        claims = outbox.claim(work, "guichet", 1, 0.01)
        (prepared,) = delivery.prepare_all(work, house.gateway, claims)
    answer = await delivery.send(house.gateway, prepared)
    await asyncio.sleep(0.1)
    return answer


async def test_each_delivery_is_one_whole_file_that_names_nobody(house: House, folder: Path) -> None:
    takes_files(house, str(folder)).says([declaration(number) for number in range(3)])
    await Worker(house.gateway).drain()
    assert states(house) == {("delivered", "deposited")}
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        ids = set(connection.execute(select(table.c.id)).scalars())
        acks = select(journal_entry.c.entry).where(journal_entry.c.event == "exchange.ack")
        told = [json.loads(entry) for entry in connection.execute(acks).scalars()]
    assert {name.partition("-")[2].partition(".")[0] for name in names(folder)} == ids
    assert all(drop.complete(name) and json.loads((folder / name).read_bytes()) for name in names(folder))
    assert {(one["outcome"], one["reason_code"]) for one in told} == {("delivered", "deposited")}
    assert len(house.partner.effects) == 0, "nothing went by the network"


async def test_a_worker_that_died_after_the_deposit_makes_no_second_file(house: House, folder: Path) -> None:
    takes_files(house, str(folder)).says([declaration(1)])
    assert (await cut_before_the_settlement(house)).outcome == "delivered"
    (before,) = names(folder)
    await Worker(house.gateway).drain()
    assert names(folder) == [before]
    assert states(house) == {("delivered", "deposited")}


async def test_the_same_over_sftp(house: House, partner: Partner) -> None:
    keys = {"drop_key": str(partner.ours), "drop_known_hosts": str(partner.known_hosts)}
    takes_files(house, partner.url, **keys).says([declaration(1), declaration(2)])
    assert (await cut_before_the_settlement(house)).outcome == "delivered"
    await Worker(house.gateway).drain()
    assert len(names(partner.files / "rsa")) == 2
    assert states(house) == {("delivered", "deposited")}


async def test_a_folder_that_is_not_there_waits_for_the_operator_then_goes(house: House, tmp_path: Path) -> None:
    there = tmp_path / "pas-encore"
    takes_files(house, str(there)).says([declaration(1)])
    await Worker(house.gateway).drain()
    assert states(house) == {("dead", "folder-missing")}
    there.mkdir()
    with house.gateway.unit_of_work() as work:
        (one,) = work.connection.execute(select(table.c.id)).scalars()
        outbox.replay(work, [one])
    await Worker(house.gateway).drain()
    assert len(names(there)) == 1


@pytest.mark.parametrize(
    ("number", "outcome", "code"),
    [
        (errno.ENOSPC, "retry", "disk-full"),
        (errno.EDQUOT, "retry", "disk-full"),
        (errno.EIO, "retry", "folder-unreachable"),
        (errno.ESTALE, "retry", "folder-unreachable"),
        (errno.EACCES, "refused", "folder-refused"),
        (errno.EROFS, "refused", "folder-refused"),
    ],
)
async def test_each_failure_of_the_folder_says_who_acts_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, outcome: str, code: str
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(drop.os, "fsync", fails)
    answer = await Drop(str(folder)).leave("un.json", b"{}")
    assert (answer.outcome, answer.code) == (outcome, code)
    assert names(folder) == []


async def test_a_folder_closed_to_us() -> None:
    with tempfile.TemporaryDirectory() as name:  # where an account without rights may come
        os.chmod(name, 0o555)
        with without_rights():
            answer = await Drop(name).leave("un.json", b"{}")
        assert names(Path(name)) == []
    assert (answer.outcome, answer.code) == ("refused", "folder-refused")


@contextmanager
def without_rights() -> Iterator[None]:
    """As any account: root would write everywhere."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


async def test_a_newer_document_of_the_same_delivery_replaces_the_file(folder: Path, partner: Partner) -> None:
    server = Drop(partner.url, str(partner.ours), str(partner.known_hosts))
    for place, files in ((Drop(str(folder)), folder), (server, partner.files / "rsa")):
        told = [await place.leave("un.json", data) for data in (b"1", b"1", b"22")]
        assert [one.outcome for one in told] == ["delivered", "duplicate", "delivered"]
        assert {path.name: path.read_bytes() for path in files.iterdir()} == {"un.json": b"22"}


class OldServer(asyncssh.SFTPServer):
    """A server without the rename that replaces."""

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        raise asyncssh.SFTPOpUnsupported("no such extension")


class FullServer(asyncssh.SFTPServer):
    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")


@pytest.mark.parametrize(
    ("serves", "outcomes", "left"),
    [(OldServer, ["delivered", "delivered"], {"un.json": b"2"}), (FullServer, ["retry", "retry"], {})],
)
async def test_servers_of_all_kinds(
    tmp_path: Path, serves: type[asyncssh.SFTPServer], outcomes: list[str], left: dict[str, bytes]
) -> None:
    one = Partner(tmp_path, serves)
    try:
        place = Drop(one.url, str(one.ours), str(one.known_hosts))
        assert [(await place.leave("un.json", data)).outcome for data in (b"1", b"2")] == outcomes
        assert {path.name: path.read_bytes() for path in (one.files / "rsa").iterdir()} == left
    finally:
        one.close()


async def test_each_failure_of_the_server_says_who_acts(partner: Partner, tmp_path: Path) -> None:
    other, known = tmp_path / "autre-cle", tmp_path / "autres-hotes"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(other))
    changed = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    known.write_text(f"[127.0.0.1]:{partner.port} {changed}")
    ours, hosts = str(partner.ours), str(partner.known_hosts)
    for place, expected in [
        (Drop("sftp://maillon@127.0.0.1:1/rsa", ours, hosts), ("retry", "sftp-unreachable")),
        (Drop(partner.url, ours, str(known)), ("refused", "host-key-unknown")),
        (Drop(partner.url, str(other), hosts), ("refused", "access-refused")),
        (Drop(partner.url.replace("/rsa", "/ailleurs"), ours, hosts), ("refused", "folder-missing")),
        (Drop("sftp://127.0.0.1/rsa", ours, hosts), ("refused", "bad-address")),
        (Drop(partner.url), ("refused", "drop-keys-missing")),
    ]:
        answer = await place.leave("un.json", b"{}")
        assert (answer.outcome, answer.code) == expected
    assert names(partner.files / "rsa") == []


async def test_an_answer_that_never_comes_is_told_by_the_reader_too(partner: Partner, folder: Path) -> None:
    partner.close()
    with pytest.raises(NotObtained, match="sftp-unreachable"):
        await sftp.bring(partner.at(), folder)


async def test_a_file_for_a_departement_bears_its_own_id_of_the_person_or_waits(folder: Path) -> None:
    landes = Departement({"departement": "40"})
    document = landes.manifest.documents["departement.webrsa_ali"]

    def outgoing(**known: Any) -> Outgoing:
        form = b"<ALI-WebRSA><dossiers><dossier><id_personne/></dossier></dossiers></ALI-WebRSA>"
        written = Written(form, {}, [], metadata={"blocks": 1})
        return Outgoing("d1", document.id, written, {}, **known)

    waits = await send(Drop(str(folder)), landes, outgoing(), document)
    assert (waits.outcome, waits.code) == ("waiting", "person-unknown-there")
    assert names(folder) == []
    left = await send(Drop(str(folder)), landes, outgoing(identifiers={"si_departement:40": "77"}), document)
    assert left.outcome == "delivered"
    assert b"<id_personne>77</id_personne>" in (folder / "departement.webrsa_ali-d1.xml").read_bytes()


async def test_a_table_is_left_as_the_table_that_its_manifest_promises(folder: Path) -> None:
    fiche = Document(
        id="essai.fiche", title="Fiche", direction=("write",), format="csv", content_type=("text/csv",), max_bytes=1000
    )
    written = Written({"nom": "NOUGARENT", "suivi": "oui"}, {}, [])
    left = await send(Drop(str(folder)), installed()["ccas"].create(), Outgoing("d1", fiche.id, written, {}), fiche)
    assert left.outcome == "delivered"
    text = (folder / "essai.fiche-d1.csv").read_text("utf-8-sig")
    assert text.splitlines() == ["nom;suivi", "NOUGARENT;oui"]
