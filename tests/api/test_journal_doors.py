"""The journal over HTTP: verified by a reader that shares nothing with its writer, and a witness for others."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway import merkle, note, verify, witness
from gateway.api_journal import FOLLOWED
from tests.api.house import House, problem


@pytest.fixture
def published(house: House) -> House:
    house.send("ccas", "ccas.suivi", {"birthName": "Canari", "firstName": "Journal", "birthDate": "1970-01-01"})
    house.gateway.publish_journal()
    return house


def test_a_partners_officer_downloads_the_journal_and_verifies_it(published: House, tmp_path: Path) -> None:
    with published.anyone() as anyone, published.client("dpo", scope="journal") as officer:
        for name in ("checkpoint", "vkey"):
            (tmp_path / name).write_bytes(anyone.get(f"/v1/journal/{name}").content)
        size = int((tmp_path / "checkpoint").read_text().splitlines()[1])
        paths = [
            p.relative_to(published.gateway.journal_folder) for p in published.gateway.journal_folder.rglob("tile/**/*")
        ]
        for path in paths:
            if (published.gateway.journal_folder / path).is_file():
                answer = officer.get(f"/v1/journal/{path}")
                assert answer.status_code == 200, answer.text
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_bytes(answer.content)
    report = verify.verify(tmp_path)
    assert report.ok
    assert report.entries == size > 0


def test_tiles_need_the_journal_scope_and_only_published_files_are_served(published: House) -> None:
    with published.anyone() as anyone, published.client("dpo", scope="journal") as officer:
        assert anyone.get("/v1/journal/tile/0/000.p/1").status_code == 401
        problem(officer.get("/v1/journal/tile/0/999"), 404, "journal-file-unknown")
        problem(officer.get("/v1/journal/tile/keys"), 404, "journal-file-unknown")
        problem(officer.get("/v1/journal/tile/..%2f..%2fkeys/index.key"), 404, "not-found")
        tag = anyone.get("/v1/journal/checkpoint").headers["etag"]
        assert anyone.get("/v1/journal/checkpoint", headers={"If-None-Match": tag}).status_code == 304
        assert anyone.get("/v1/journal/36m/checkpoint").status_code in (200, 404)


def test_a_partners_program_reads_hashes_and_no_entry(published: House) -> None:
    """It knows the id of its exchanges: their entries would tell it who else follows a person, and what each got."""
    folder = published.gateway.journal_folder / "tile"
    with published.client("ccas", scope="journal") as program:
        for path in (folder / "entries").rglob("*"):
            if path.is_file():
                problem(program.get(f"/v1/journal/tile/{path.relative_to(folder)}"), 403, "role", "caf")
        problem(program.get("/v1/journal/tile/%65ntries/000"), 403, "role")
        problem(program.get("/v1/journal/6m/tile/entries/000"), 403, "role")
        hashes = next(path for path in (folder / "0").rglob("*") if path.is_file())
        assert program.get(f"/v1/journal/tile/{hashes.relative_to(folder)}").status_code == 200


def test_this_gateway_is_a_witness_of_the_logs_its_operator_follows(house: House) -> None:
    key, origin = Ed25519PrivateKey.generate(), "voisin.example/journal"
    with house.anyone() as anyone:
        problem(anyone.post("/v1/journal/witness", content=b"old 0\n\n"), 404, "witness-absent")
        (house.home / FOLLOWED).write_text(f"{note.public_key(origin, key)}\n")
        leaf = merkle.leaf_hash(b"entry")
        signed = note.sign(str(note.Checkpoint(origin, 1, leaf)), origin, [key]).encode()
        answer = anyone.post("/v1/journal/witness", content=witness.submission(0, [], signed))
        assert answer.status_code == 200, answer.text
        assert answer.text.startswith("— 127.0.0.1")
        again = anyone.post("/v1/journal/witness/add-checkpoint", content=witness.submission(0, [], signed))
        assert (again.status_code, again.text) == (409, "1\n")
        assert again.headers["content-type"] == "text/x.tlog.size"
        problem(anyone.post("/v1/journal/witness", content=b"x" * 70_000), 413, "body-too-large")
        assert anyone.post("/v1/journal/witness", content=b"\xff\x00").status_code == 400
