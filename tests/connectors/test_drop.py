"""Files dropped in a folder, here or on a real SFTP server: taken whole, read once, put away."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest
from sqlalchemy import event, text
from typer.testing import CliRunner

from connectors import sftp
from connectors.caf.generator import write_file
from connectors.contract import NotObtained
from connectors.drop import alone, complete
from gateway import cli, drop
from gateway.drop import Dropped
from gateway.problems import Conflict, Misconfigured
from gateway.registry import Gateway
from gateway.settings import Settings, settings
from tests.faults.sftp_partner import Partner

DOCUMENT = "caf.flux_beneficiaire"


def flux(n: int = 3, seed: int = 1, *oddities: str, **options: str) -> bytes:
    written = io.BytesIO()
    write_file(written, n, seed, oddities=oddities, **options)  # type: ignore[arg-type]
    return written.getvalue()


@pytest.fixture
def landes(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway.open(Settings(home=tmp_path / "maillon", profile="test", departement="040"))
    yield gateway
    gateway.engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "depot").mkdir()
    return tmp_path / "depot"


def take(gateway: Gateway, folder: Path, quiet: float = 0.0) -> list[Dropped]:
    return list(drop.take(gateway, folder, "caf", lambda path: DOCUMENT, quiet))


def names(folder: Path, place: str) -> list[str]:
    """What is there, without the moment in front."""
    return sorted(path.name.partition("Z-")[2] for path in (folder / place).iterdir())


# --- a folder ---------------------------------------------------------------------------------------------------------


def test_a_file_is_read_once_and_archived(landes: Gateway, folder: Path) -> None:
    (folder / "RSABEM.xml").write_bytes(flux())
    (one,) = take(landes, folder)
    assert (one.file, one.status) == ("RSABEM.xml", "read")
    assert one.counts is not None
    assert one.counts["accepted"] == 3
    assert names(folder, "archive") == ["RSABEM.xml"]
    assert take(landes, folder) == []
    (folder / "RSABEM.xml").write_bytes(flux())
    (again,) = take(landes, folder)
    assert again.counts is not None
    assert (again.counts["accepted"], again.counts["unchanged"]) == (0, 3)
    assert len(names(folder, "archive")) == 2
    assert names(folder, "rejets") == []


@pytest.mark.parametrize(
    "name", ["flux.xml.part", "flux.xml.TMP", ".flux.xml", "flux.filepart", "-rf.xml", "a\nb.xml", "", "x" * 200]
)
def test_a_file_still_being_written_or_oddly_named_is_left(name: str) -> None:
    assert not complete(name)


def test_a_file_appears_whole_when_its_writer_renames_it(landes: Gateway, folder: Path) -> None:
    content = flux()
    (folder / "flux.xml.part").write_bytes(content[:2000])
    assert take(landes, folder) == []
    (folder / "flux.xml.part").write_bytes(content)
    (folder / "flux.xml.part").rename(folder / "flux.xml")
    assert [one.status for one in take(landes, folder)] == ["read"]


def test_a_file_written_under_its_final_name_waits_until_it_is_quiet(landes: Gateway, folder: Path) -> None:
    (folder / "flux.xml").write_bytes(flux())
    assert take(landes, folder, quiet=60) == []
    os.utime(folder / "flux.xml", (0, 0))
    assert [one.status for one in take(landes, folder, quiet=60)] == ["read"]


def test_a_link_or_a_folder_is_never_followed(landes: Gateway, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.xml").write_bytes(flux())
    (folder / "lien.xml").symlink_to(tmp_path / "secret.xml")
    (folder / "dossier.xml").mkdir()
    os.mkfifo(folder / "tube.xml")
    told = [(one.file, one.status, one.code) for one in take(landes, folder)]
    assert told == [(name, "left", "not-a-file") for name in ("dossier.xml", "lien.xml", "tube.xml")]
    assert (tmp_path / "secret.xml").exists()


@pytest.mark.parametrize("place", ["en-cours", "archive", "rejets", "attente"])
def test_a_partner_who_owns_the_folder_moves_and_reads_nothing_of_anothers(
    landes: Gateway, folder: Path, tmp_path: Path, place: str
) -> None:
    other = tmp_path / "depot-d-un-autre"
    other.mkdir()
    (other / "RSABEM.xml").write_bytes(flux(seed=2))
    (folder / place).symlink_to(other)
    (folder / "flux.xml").write_bytes(flux())
    with pytest.raises(Misconfigured, match="folder-not-ours"):
        take(landes, folder)
    assert os.listdir(other) == ["RSABEM.xml"]
    if os.geteuid() == 0:
        (folder / place).unlink()
        (folder / place).mkdir()
        os.chown(folder / place, 65534, 65534)
        with pytest.raises(Misconfigured, match="folder-not-ours"):
            take(landes, folder)


def test_a_link_left_among_the_files_in_hand_is_not_read(landes: Gateway, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.xml").write_bytes(flux())
    (folder / "en-cours").mkdir()
    (folder / "en-cours" / "flux.xml").symlink_to(tmp_path / "secret.xml")
    assert take(landes, folder) == [Dropped("en-cours/flux.xml", "left", "not-a-file")]
    assert (tmp_path / "secret.xml").exists()


def test_the_longest_name_taken_still_has_its_place_once_read(landes: Gateway, folder: Path) -> None:
    taken, left = "é" * 98 + ".xml", "é" * 120 + ".xml"
    for name in (taken, left):
        (folder / name).write_bytes(flux()[:3000])
    assert [(one.file, one.status) for one in take(landes, folder)] == [(taken, "refused"), (left, "left")]
    assert names(folder, "rejets") == [taken, f"{taken}.motif.json"]
    assert (folder / left).exists()


def test_a_file_that_will_never_be_taken_as_it_is_named_is_told(landes: Gateway, folder: Path) -> None:
    for name in (
        "flux~1.xml",
        "flux.xml\n",
        "l'été.xml",
        os.fsdecode(b"\xe9t\xe9.xml"),
        "ancien.xml.part",
        "neuf.xml.part",
    ):
        (folder / name).write_bytes(flux())
    os.utime(folder / "ancien.xml.part", (0, 0))
    told = {one.file: (one.status, one.code) for one in take(landes, folder)}
    assert told == {
        "flux~1.xml": ("left", "odd-name"),
        "flux.xml\n": ("left", "odd-name"),
        "l'été.xml": ("left", "odd-name"),
        "\ufffdt\ufffd.xml": ("left", "odd-name"),
        "ancien.xml.part": ("left", "unfinished"),
    }


def test_a_refused_file_goes_to_the_rejects_with_its_reason_and_the_others_are_read(
    landes: Gateway, folder: Path
) -> None:
    (folder / "1.xml").write_bytes(flux()[:3000])
    (folder / "2.xml").write_bytes(flux())
    refused, read = sorted(take(landes, folder), key=lambda one: one.file)
    assert (refused.status, read.status) == ("refused", "read")
    assert names(folder, "rejets") == ["1.xml", "1.xml.motif.json"]
    (reason,) = (folder / "rejets").glob("*.motif.json")
    assert json.loads(reason.read_text()) == {"code": "truncated"} | refused.reason
    assert "ask the caisse to send the file again" in refused.line()["detail"]


@pytest.mark.parametrize("document", [DOCUMENT, "departement.webrsa_ali", "caf.contacts_allocataires"])
def test_a_zip_is_refused_for_what_it_is_with_what_to_do(landes: Gateway, folder: Path, document: str) -> None:
    with zipfile.ZipFile(folder / "flux.xml", "w") as archive:
        archive.writestr("flux.xml", flux())
    (one,) = drop.take(landes, folder, document.partition(".")[0], lambda path: document, 0.0)
    assert (one.status, one.code) == ("refused", "table-format" if "contacts" in document else "archive-unopened")
    assert "zip" in one.line()["detail"]
    assert " it holds" in one.line()["detail"]


def test_records_refused_one_by_one_are_listed_beside(landes: Gateway, folder: Path) -> None:
    (folder / "flux.xml").write_bytes(flux(4, 3, "xsd_invalide"))
    (one,) = take(landes, folder)
    assert one.counts is not None
    assert (one.status, one.counts["rejected"]) == ("read", 1)
    (rejects,) = (folder / "rejets").glob("*.jsonl")
    (line,) = rejects.read_text().splitlines()
    assert json.loads(line)["findings"][0]["severity"] == "reject"


def test_a_file_that_fails_unforeseen_keeps_no_other_from_being_read(landes: Gateway, folder: Path) -> None:
    (folder / "rejets" / "0.xml.jsonl").mkdir(parents=True)
    for rank in (0, 1):
        (folder / f"{rank}.xml").write_bytes(flux())
        os.utime(folder / f"{rank}.xml", (rank, rank))
    told = [(one.file, one.status, one.code) for one in take(landes, folder)]
    assert told == [("0.xml", "retry", "unexpected-error"), ("1.xml", "read", "")]


@pytest.mark.postgres
def test_a_database_that_ends_the_connection_leaves_the_file_to_the_next_run(
    postgres_database: str, tmp_path: Path, folder: Path
) -> None:
    """It is restarted in the middle of a file: no defect of ours, and nobody has to look at it."""
    told = Settings(home=tmp_path / "maillon", profile="test", departement="040", database_url=postgres_database)
    gateway = Gateway.open(told)

    @event.listens_for(gateway.engine, "before_cursor_execute")
    def cut(connection, _cursor, statement, *_) -> None:
        if statement.startswith("UPDATE batch SET done"):
            event.remove(gateway.engine, "before_cursor_execute", cut)
            with gateway.engine.connect() as other:
                at_work = connection.connection.driver_connection.info.backend_pid
                other.execute(text("select pg_terminate_backend(:at_work)"), {"at_work": at_work})

    (folder / "flux.xml").write_bytes(flux())
    assert [(one.status, one.code) for one in take(gateway, folder)] == [("retry", "database-unavailable")]
    (one,) = take(gateway, folder)
    assert (one.status, one.counts and one.counts["accepted"]) == ("read", 3)
    gateway.engine.dispose()


def test_a_wrong_total_waits_for_a_human(landes: Gateway, folder: Path) -> None:
    (folder / "flux.xml").write_bytes(flux(3, 1, "pied_faux"))
    (one,) = take(landes, folder)
    assert (one.status, names(folder, "attente")) == ("held", ["flux.xml"])


def test_after_a_crash_the_file_in_hand_is_taken_up_first(
    landes: Gateway, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "1.xml").write_bytes(flux(mois="2026-08"))
    (folder / "2.xml").write_bytes(flux(mois="2026-09"))
    os.utime(folder / "1.xml", (1, 1))
    read = drop.ingest
    monkeypatch.setattr(drop, "ingest", lambda *a, **o: (read(*a, **o), (_ for _ in ()).throw(KeyboardInterrupt))[0])
    with pytest.raises(KeyboardInterrupt):
        take(landes, folder)
    assert [path.name for path in (folder / "en-cours").iterdir()] == ["1.xml"]
    monkeypatch.undo()
    first, second = take(landes, folder)
    assert [first.file, second.file] == ["1.xml", "2.xml"]
    assert first.counts is not None
    assert (first.counts["accepted"], first.counts["unchanged"]) == (0, 3), "it had been read before the crash"


def test_one_process_at_a_time(landes: Gateway, folder: Path) -> None:
    with alone(folder), pytest.raises(Conflict, match="already-taking"):
        take(landes, folder)


# --- an SFTP server ---------------------------------------------------------------------------------------------------


@pytest.fixture
def partner(tmp_path: Path) -> Iterator[Partner]:
    one = Partner(tmp_path)
    yield one
    one.close()


async def test_what_is_whole_is_brought_oldest_first_and_archived_there(partner: Partner, folder: Path) -> None:
    for rank, name in enumerate(["b.xml", "a.xml", "c.xml.part"]):
        (partner.files / "rsa" / name).write_bytes(name.encode())
        os.utime(partner.files / "rsa" / name, (1000 + rank, 1000 + rank))
    (partner.files / "rsa" / "lien.xml").symlink_to("/etc/hostname")
    assert await sftp.bring(partner.at(), folder) == ["b.xml", "a.xml"]
    assert (folder / "a.xml").read_bytes() == b"a.xml"
    assert names(partner.files / "rsa", "archive") == ["a.xml", "b.xml"]
    assert await sftp.bring(partner.at(), folder) == []
    assert sorted(os.listdir(folder)) == ["a.xml", "b.xml"]


async def test_a_file_still_growing_there_is_left(partner: Partner, folder: Path) -> None:
    (partner.files / "rsa" / "flux.xml").write_bytes(b"<Racine>")
    assert await sftp.bring(partner.at(), folder) == []
    assert (partner.files / "rsa" / "flux.xml").exists()


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (lambda p: {"url": p.url.replace("/rsa", "/ailleurs")}, ("refused", "folder-missing")),
        (lambda p: {"url": p.url.replace("sftp:", "ftp:")}, ("refused", "bad-address")),
        (lambda p: {"url": "sftp://maillon@127.0.0.1:1/rsa"}, ("retry", "sftp-unreachable")),
        (lambda p: {"key": _other_key(p)}, ("refused", "access-refused")),
        (lambda p: {"known_hosts": _other_host(p)}, ("refused", "host-key-unknown")),
        (lambda p: {"key": p.known_hosts}, ("refused", "drop-keys-unreadable")),
    ],
)
async def test_each_failure_says_who_must_act(
    partner: Partner, folder: Path, wrong: Callable[[Partner], dict[str, object]], expected: tuple[str, str]
) -> None:
    with pytest.raises(NotObtained) as missing:
        await sftp.bring(partner.at(**wrong(partner)), folder)
    assert (missing.value.outcome, missing.value.code) == expected


def _other_key(partner: Partner) -> Path:
    path = partner.ours.with_name("autre-cle")
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(path))
    return path


def _other_host(partner: Partner) -> Path:
    path = partner.known_hosts.with_name("autres-hotes")
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    path.write_text(f"[127.0.0.1]:{partner.port} {other}")
    return path


def test_the_command_brings_reads_and_counts(
    partner: Partner, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HOME", str(tmp_path / "maillon")), ("PROFILE", "test"), ("DEPARTEMENT", "040")):
        monkeypatch.setenv(f"MAILLON_{name}", value)
    settings.cache_clear()
    (partner.files / "rsa" / "RSABEM.xml").write_bytes(flux())
    (partner.files / "rsa" / "flux~1.xml").write_bytes(flux())
    options = ["--sftp", partner.url, "--key", str(partner.ours), "--known-hosts", str(partner.known_hosts)]
    said = CliRunner().invoke(cli.app, ["drop", str(folder), "--from", "caf", "--quiet", "0", *options])
    settings.cache_clear()
    assert said.exit_code == 1, said.output
    lines = [json.loads(line) for line in said.stdout.splitlines() if line.startswith("{")]
    assert lines[0] == {"file": "flux~1.xml", "status": "left", "code": "odd-name", "on": "sftp"}
    assert [lines[1]["file"], lines[1]["counts"]["accepted"]] == ["RSABEM.xml", 3]
    assert lines[2] == {"files": 2, "left": 1, "read": 1}
    assert names(folder, "archive") == ["RSABEM.xml"]
