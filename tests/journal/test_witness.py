"""Witnesses, time stamps, proof bundles, and two journals compared."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import time
import zipfile
from base64 import b64encode
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from gateway import bundle, clock, journal, journal_files, merkle, note, timestamp, verify, witness
from gateway.keys import Keyring
from gateway.problems import Misconfigured, Unavailable, Unknown
from gateway.storage import open_engine
from gateway.storage.tables.journal import journal_log
from gateway.unit_of_work import UnitOfWork

DPO = "caf40.example/temoin"


class Parties:
    """The gateway's journal and the witness that the CAF's DPO runs."""

    def __init__(self, a_journal, home: Path) -> None:
        self.journal = a_journal
        self.home = home
        home.mkdir()
        self.key = Ed25519PrivateKey.generate()
        self.witness = self.restarted()

    def restarted(self) -> witness.Witness:
        return witness.Witness(open_engine(f"sqlite:///{self.home / 'w.db'}"), DPO, self.key, [self.journal.vkey])

    def submission(self, old: int | None = None, folder: Path | None = None) -> bytes:
        folder = folder or self.journal.folder
        raw = (folder / "checkpoint").read_bytes()
        size = note.checkpoint(note.parse(raw).text).size
        old = self.witness.last("maillon.local/journal") if old is None else old
        proof = merkle.consistency_proof(journal_files.tile_reader(folder), old, size) if old <= size else []
        return witness.submission(old, proof, raw)

    @property
    def evidence(self) -> list[str]:
        with self.witness._engine.connect() as connection:
            return list(connection.scalars(select(witness.evidence.c.reason).order_by(witness.evidence.c.at)))


@pytest.fixture
def parties(a_journal, tmp_path: Path) -> Parties:
    a_journal.write(300)
    a_journal.publish()
    return Parties(a_journal, tmp_path / "temoin")


def _grow(parties: Parties, count: int = 10) -> None:
    parties.journal.write(count)
    parties.journal.publish()


def test_a_growing_log_is_cosigned(parties: Parties) -> None:
    for _ in range(3):
        raw = (parties.journal.folder / "checkpoint").read_bytes()
        answer = parties.witness.add(parties.submission())
        assert answer.status == 200
        _, signed = verify.open_note(raw + answer.body.encode(), [verify.Key.parse(parties.witness.vkey)])
        assert next(iter(signed.values())) > 1_700_000_000
        _grow(parties)
    assert parties.evidence == []


def test_a_checkpoint_seen_again_is_cosigned_again(parties: Parties) -> None:
    assert [parties.witness.add(parties.submission()).status for _ in range(2)] == [200, 200]


def _fork(parties: Parties, tmp_path: Path, count: int) -> Path:
    """Another journal signed with the same key: what an insider with the database and the key can make."""
    home = tmp_path / f"fork-{count}"
    shutil.copytree(parties.journal.home / "keys", home / "keys")
    forked = type(parties.journal)(open_engine(f"sqlite:///{home / 'f.db'}"), home)
    forked.write(count)
    forked.publish()
    assert forked.vkey == parties.journal.vkey
    assert forked.verify().ok
    return forked.folder


def test_a_fork_signed_with_the_real_key_is_never_cosigned_and_kept_as_evidence(
    parties: Parties, tmp_path: Path
) -> None:
    assert parties.witness.add(parties.submission()).status == 200
    same = parties.witness.add(parties.submission(300, _fork(parties, tmp_path, 300)))
    assert (same.status, same.body, same.media_type) == (409, "300\n", "text/x.tlog.size")
    longer = parties.witness.add(parties.submission(300, _fork(parties, tmp_path, 400)))
    assert longer.status == 422
    assert parties.evidence == ["fork", "inconsistent"]
    _grow(parties)
    assert parties.witness.add(parties.submission()).status == 200


def test_each_wrong_submission_has_its_answer(parties: Parties) -> None:
    raw = (parties.journal.folder / "checkpoint").read_bytes()
    stranger = note.sign("stranger.example/log\n1\n" + "A" * 43 + "=\n", "stranger.example/log", [parties.key])
    forged = note.sign(raw.decode().partition("\n\n")[0] + "\n", "maillon.local/journal", [parties.key])
    cases = {
        404: witness.submission(0, [], stranger.encode()),
        403: witness.submission(0, [], forged.encode()),
        409: parties.submission(7),
        422: witness.submission(0, [bytes(32)], raw),
    }
    assert {status: parties.witness.add(body).status for status, body in cases.items()} == {s: s for s in cases}
    malformed = [
        b"", b"old", b"old 0\n" + raw, b"old -1\n\n" + raw, b"old 01\n\n" + raw, b"old 0\nzz\n\n" + raw,
        b"old 0\n" + b"A" * 43 + b"=\n" * 64 + b"\n" + raw, parties.submission(301), b"new 0\n\n" + raw,
    ]  # fmt: skip
    assert [parties.witness.add(body).status for body in malformed] == [400] * 7 + [400, 400]
    assert parties.witness.last("maillon.local/journal") == 0
    # Of all these the log signed three, one of which says that it shrank.
    assert sorted(parties.evidence) == ["inconsistent", "other-size", "shrunk"]


def _until_one_waits(engine: Engine, other: Future[Any]) -> None:
    waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ILIKE '%cosigned%'")
    until = time.monotonic() + 60
    with engine.connect() as watching:
        while not watching.scalar(waits) and not other.done():
            assert time.monotonic() < until
            time.sleep(0.01)
            watching.rollback()


def test_two_processes_that_witness_for_the_first_time_both_do(parties: Parties, postgres_database: str) -> None:
    engine = open_engine(postgres_database)
    with ThreadPoolExecutor(1) as other:
        with engine.begin() as connection:
            witness.cosigned.metadata.create_all(connection)
            made = other.submit(witness.Witness, engine, DPO, parties.key, [parties.journal.vkey])
            _until_one_waits(engine, made)
        assert made.result().add(parties.submission(0)).status == 200
    engine.dispose()


def test_a_fork_shown_while_the_first_checkpoint_is_written_down_is_refused_and_kept(
    parties: Parties, postgres_database: str
) -> None:
    engine = open_engine(postgres_database)
    witnessing = witness.Witness(engine, DPO, parties.key, [parties.journal.vkey])
    first = {"origin": "maillon.local/journal", "size": 300, "root": bytes(32), "checkpoint": "", "at": clock.instant()}
    with ThreadPoolExecutor(1) as other:
        with engine.begin() as connection:
            connection.execute(witness.cosigned.insert().values(first))
            answer = other.submit(witnessing.add, parties.submission(0))
            _until_one_waits(engine, answer)
        assert (answer.result().status, answer.result().body) == (409, "300\n")
    with engine.connect() as connection:
        assert list(connection.scalars(select(witness.evidence.c.reason))) == ["other-size"]
    engine.dispose()


@given(noise=st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_noise_is_answered_never_raised(noise: bytes) -> None:
    key = note.public_key("maillon.local/journal", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    witnessing = witness.Witness(open_engine("sqlite://"), DPO, Ed25519PrivateKey.generate(), [str(key)])
    for body in (noise, b"old 0\n\n" + noise, b"old 0\n\nmaillon.local/journal\n" + noise):
        assert witnessing.add(body).status in (400, 403, 404)


def test_what_was_cosigned_is_remembered_across_a_restart(parties: Parties) -> None:
    parties.witness.add(parties.submission())
    assert parties.restarted().add(parties.submission(0)).body == "300\n"


def _client(*applications: tuple[str, Starlette]) -> httpx.AsyncClient:
    mounts = {f"all://{host}": httpx.ASGITransport(app=application) for host, application in applications}
    return httpx.AsyncClient(mounts=mounts, transport=httpx.ASGITransport(app=Starlette()))


def _policy(parties: Parties, *others: str) -> verify.Policy:
    lines = [f"log {parties.journal.vkey}", f"witness caf {parties.witness.vkey} http://temoin.test", *others]
    return verify.Policy.parse("\n".join(lines))


async def test_the_quorum_s_cosignatures_join_the_published_checkpoint(parties: Parties) -> None:
    journal_of = parties.journal
    absent = note.public_key("msa.example/temoin", Ed25519PrivateKey.generate(), note.COSIGNATURE)
    either = _policy(parties, f"witness msa {absent} http://absent.test", "group deux any caf msa", "quorum deux")
    both = _policy(parties, f"witness msa {absent} http://absent.test", "group deux all caf msa", "quorum deux")
    async with _client(("temoin.test", Starlette(routes=witness.routes(parties.witness)))) as client:
        for policy, reached in ((either, True), (both, False)):
            asked = (journal_of.engine, journal_of.settings, policy, client)
            assert await witness.Collector(*asked).collect("12m") is reached
            _grow(parties)
            assert await witness.Collector(*asked).collect("12m") is reached
    raw = (journal_of.folder / "checkpoint").read_bytes()
    assert either.open(raw).size == 320
    with pytest.raises(verify.Bad, match="quorum"):
        both.open(raw)
    assert journal_of.verify().ok
    journal_of.publish()
    assert (journal_of.folder / "checkpoint").read_bytes() == raw, "an idle publication keeps the cosignatures"


async def test_the_quorum_reopens_the_gateway(parties: Parties) -> None:
    with parties.journal.engine.begin() as connection:
        connection.execute(journal_log.update().values(quorum_at="2020-01-01T00:00:00.000000Z"))
    absent = note.public_key("msa.example/temoin", Ed25519PrivateKey.generate(), note.COSIGNATURE)
    caf, msa = f"witness caf {parties.witness.vkey}", f"witness msa {absent}"

    async def reopened(*asked_by_operator: str) -> bool:
        (parties.journal.home / journal_files.WITNESS_POLICY).write_text("\n".join(asked_by_operator))
        asked = (parties.journal.engine, parties.journal.settings, _policy(parties, "quorum caf"))
        async with _client(("temoin.test", Starlette(routes=witness.routes(parties.witness)))) as client:
            assert await witness.Collector(*asked, client).collect()
        with parties.journal.engine.connect() as connection:
            return not journal_files.unsealed(connection, parties.journal.settings)

    assert not await reopened(caf, msa, "group deux all caf msa", "quorum deux")
    assert await reopened(caf, "quorum caf")


async def test_a_witness_may_follow_the_published_log_by_itself(parties: Parties, tmp_path: Path) -> None:
    async def follow(folder: Path) -> int:
        async with _client(("log.test", Starlette(routes=[]))) as client:
            client._mounts = {key: httpx.ASGITransport(app=StaticFiles(directory=folder)) for key in client._mounts}
            return (await parties.witness.follow("http://log.test", client)).status

    assert await follow(parties.journal.folder) == 200
    _grow(parties, 500)
    assert await follow(parties.journal.folder) == 200
    assert parties.witness.last("maillon.local/journal") == 800
    assert await follow(_fork(parties, tmp_path, 900)) == 422


async def test_a_submission_without_end_is_refused(parties: Parties) -> None:
    async with _client(("temoin.test", Starlette(routes=witness.routes(parties.witness)))) as client:
        answer = await client.post("http://temoin.test/add-checkpoint", content=b"old 0\n" * 20_000)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "line", ["quorum nobody", "witness a", "group g 3 caf", "group g all nobody", "quorum caf\nquorum caf", "log x",
             "group caf any caf", "hello", "group g 0 caf", "group none any caf", "witness caf {vkey}"],
)  # fmt: skip
def test_a_policy_that_says_something_else_is_refused(parties: Parties, line: str) -> None:
    with pytest.raises(verify.Bad):
        _policy(parties, line.format(vkey=parties.witness.vkey), "quorum caf")


# Time stamps


class Authority:
    """A time-stamp authority made with openssl, answering over HTTP as real ones do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"
        config = folder / "tsa.cnf"
        config.write_text(
            "[tsa]\ndefault_tsa=t\n[t]\nserial=$ENV::D/serial\ncrypto_device=builtin\nsigner_digest=sha256\n"
            "default_policy=1.2.3.4\ndigests=sha256\naccuracy=secs:1\nordering=no\ntsa_name=no\ness_cert_id_chain=no\n"
            "ess_cert_id_alg=sha256\n[ext]\nextendedKeyUsage=critical,timeStamping\nbasicConstraints=CA:FALSE\n"
            "[ca]\nbasicConstraints=critical,CA:TRUE\n[req]\ndistinguished_name=dn\n[dn]\n"
        )
        (folder / "serial").write_text("01")
        new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "tsa.cnf")
        self._run(
            "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=AC", "-extensions", "ca"
        )
        self._run("req", *new_key, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=TSA")
        self._run("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                  "-out", "tsa.pem", "-extfile", "tsa.cnf", "-extensions", "ext")  # fmt: skip
        self.application = Starlette(routes=[Route("/", self.answer, methods=["POST"])])

    def _run(self, *arguments: str) -> None:
        environment = {"D": str(self.folder), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    async def answer(self, request: Request) -> Response:
        assert request.headers["content-type"] == "application/timestamp-query"
        (self.folder / "q.tsq").write_bytes(await request.body())
        self._run("ts", "-reply", "-queryfile", "q.tsq", "-signer", "tsa.pem", "-inkey", "tsa.key",
                  "-config", "tsa.cnf", "-section", "t", "-out", "r.tsr")  # fmt: skip
        return Response((self.folder / "r.tsr").read_bytes(), media_type="application/timestamp-reply")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    return Authority(tmp_path_factory.mktemp("tsa"))


async def test_a_checkpoint_is_stamped_once_a_day_and_the_stamp_proves_it(
    parties: Parties, authority: Authority
) -> None:
    place = parties.journal.folder
    async with _client(("tsa.test", authority.application)) as client:
        asked = (place, "http://tsa.test/", client, authority.ca, None)
        kept = await timestamp.stamp_daily(*asked, datetime(2026, 11, 21, tzinfo=UTC))
        assert await timestamp.stamp_daily(*asked, datetime(2026, 11, 21, 23, tzinfo=UTC)) is None
        assert await timestamp.stamp_daily(*asked, datetime(2026, 11, 22, tzinfo=UTC)) is not None
    content, token = (kept / "checkpoint").read_bytes(), (kept / "r.tsr").read_bytes()
    assert abs((timestamp.check(content, token, authority.ca) - clock.now()).total_seconds()) < 60
    with pytest.raises(timestamp.StampRefused, match="mismatch"):
        timestamp.check(content + b" ", token, authority.ca)
    with pytest.raises(timestamp.StampRefused, match="unreadable"):
        timestamp.check(content, token[:40], authority.ca)


async def test_a_stamp_of_an_unknown_authority_is_not_kept(
    parties: Parties, authority: Authority, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    unknown = Authority(other)
    async with _client(("tsa.test", unknown.application)) as client:
        with pytest.raises(timestamp.StampRefused, match="untrusted"):
            await timestamp.stamp_daily(
                parties.journal.folder, "http://tsa.test/", client, authority.ca, None, clock.now()
            )
    assert not list(parties.journal.folder.glob("stamps/*/r.tsr"))


# By themselves


def _harm_cosignature(checkpoint: Path, before: Path) -> None:
    shutil.copy(checkpoint, before)
    *lines, last = checkpoint.read_text().splitlines(keepends=True)
    name, _, value = last.rpartition(" ")
    raw = bytearray(verify.decode_base64(value.strip()))
    raw[-1] ^= 1
    checkpoint.write_text("".join([*lines, f"{name} {b64encode(raw).decode()}\n"]))


async def test_every_published_log_is_cosigned_and_stamped_by_itself(
    parties: Parties, authority: Authority, tmp_path: Path
) -> None:
    parties.journal.write(5, retention="6m")
    parties.journal.publish()
    parties.witness.logs += [verify.Key.parse((parties.journal.folder / "6m" / "vkey").read_text().strip())]
    told = f"witness caf {parties.witness.vkey} http://temoin.test\nquorum caf\n"
    (parties.journal.home / journal_files.WITNESS_POLICY).write_text(told)
    settings_ = parties.journal.settings.model_copy(
        update={"timestamp_url": "http://tsa.test/", "timestamp_authorities": authority.ca}
    )
    served = ("temoin.test", Starlette(routes=witness.routes(parties.witness))), ("tsa.test", authority.application)
    await witness.cosign_published(parties.journal.engine, settings_, _client(*served))
    assert len(await timestamp.stamp_published(settings_, clock.now(), _client(*served))) == 2
    quorum = _policy(parties, "quorum caf")
    for log, report in verify.verify_all(parties.journal.folder, policy=quorum):
        assert report.ok, log
    _harm_cosignature(parties.journal.folder / "6m/checkpoint", tmp_path / "harmed")
    assert [report.ok for _, report in verify.verify_all(parties.journal.folder, policy=quorum)] == [True, False]
    shutil.move(tmp_path / "harmed", parties.journal.folder / "6m/checkpoint")
    await witness.cosign_published(parties.journal.engine, settings_, _client())  # what is published is cosigned
    _grow(parties)
    with pytest.raises(Unavailable, match="witness-quorum"):
        await witness.cosign_published(parties.journal.engine, settings_, _client())
    with pytest.raises(Misconfigured, match="timestamp-authorities"):
        await timestamp.stamp_published(parties.journal.settings, clock.now(), _client())


# Proof bundles


def _an_exchange(a_journal) -> str:
    exchange = clock.new_id()
    with UnitOfWork(a_journal.engine) as work:
        for event in ("exchange.request", "exchange.permit", "exchange.deliver", "exchange.ack"):
            journal.append(work, event, exchange_id=exchange, sender_org="caf", recipient_org="ccas")
    return exchange


def _bundle(a_journal, exchange: str) -> bytes:
    with a_journal.engine.connect() as connection:
        return bundle.proof_bundle(connection, a_journal.settings, exchange)


def _run_in(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


async def test_a_bundle_is_checked_offline_with_what_it_holds(
    parties: Parties, authority: Authority, tmp_path: Path
) -> None:
    exchange = _an_exchange(parties.journal)
    _grow(parties)
    (parties.journal.home / journal_files.WITNESS_POLICY).write_text(
        f"witness caf {parties.witness.vkey} http://temoin.test\nquorum caf\n"
    )
    async with _client(
        ("temoin.test", Starlette(routes=witness.routes(parties.witness))), ("tsa.test", authority.application)
    ) as client:
        asked = (parties.journal.engine, parties.journal.settings)
        assert await witness.Collector(*asked, _policy(parties, "quorum caf"), client).collect("12m")
        await timestamp.stamp_daily(parties.journal.folder, "http://tsa.test/", client, authority.ca, None, clock.now())
    packed = _bundle(parties.journal, exchange)
    assert packed == _bundle(parties.journal, exchange)
    offline = tmp_path / "offline"
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(offline)
    (offline / "stamp" / "ca.pem").write_bytes(authority.ca.read_bytes())  # had by another way, as the guide says
    guide = (offline / "LISEZMOI.txt").read_text("utf-8")
    (one,) = (line.split() for line in guide.splitlines() if line.strip().startswith("python3"))
    done = _run_in(offline, sys.executable, "-P", *one[1:])
    assert (done.returncode, done.stdout[:9]) == (0, "ok index="), done.stdout + done.stderr
    (every,) = (line for line in guide.splitlines() if line.strip().startswith("for "))
    done = _run_in(offline, "sh", "-c", every.replace("python3", f"{sys.executable} -P"))
    assert [line[:9] for line in done.stdout.splitlines()] == ["ok index="] * 4, done.stdout + done.stderr
    stamped = next(line.split() for line in guide.splitlines() if line.strip().startswith("openssl"))
    assert _run_in(offline, *stamped).returncode == 0
    (offline / "exchange.json").write_bytes((offline / "exchange.json").read_bytes().replace(b"ccas", b"msa1"))
    done = _run_in(offline, sys.executable, "-P", *one[1:])
    assert (done.returncode, done.stdout[:3]) == (1, "bad")


def test_a_proof_without_the_quorum_s_cosignature_is_refused(parties: Parties) -> None:
    exchange = _an_exchange(parties.journal)
    parties.journal.publish()
    with zipfile.ZipFile(io.BytesIO(_bundle(parties.journal, exchange))) as archive:
        proof, entry = archive.read("exchange.tlog-proof"), archive.read("exchange.json")
        assert verify.check_proof(proof, entry, verify.Policy.parse(archive.read("policy.txt").decode()))[0] == 300
    with pytest.raises(verify.Bad, match="quorum"):
        verify.check_proof(proof, entry, _policy(parties, "quorum caf"))
    with pytest.raises(verify.Bad):
        verify.check_proof(proof.replace(b"index 300", b"index 301"), entry, _policy(parties, "quorum none"))


def test_an_exchange_not_yet_published_or_unknown_has_no_bundle(parties: Parties) -> None:
    with pytest.raises(Unavailable, match="not-yet-published"):
        _bundle(parties.journal, _an_exchange(parties.journal))
    with pytest.raises(Unknown):
        _bundle(parties.journal, clock.new_id())


# Two journals of the same exchanges


def test_one_omission_in_100_000_exchanges_is_found_on_either_side() -> None:
    ours, theirs = [], []
    for number in range(100_000):
        told = {"delivery_id": f"d{number}", "sender_org": "passerelle", "recipient_org": "ccas"}
        ours.append((2 * number, json.dumps(told | {"event": "exchange.deliver"}, separators=(",", ":")).encode()))
        acked = told | {"event": "exchange.ack", "peer_idx": number}
        ours.append((2 * number + 1, json.dumps(acked, separators=(",", ":")).encode()))
        theirs.append((number, json.dumps(told | {"event": "exchange.request"}, separators=(",", ":")).encode()))
    names = {"us": "passerelle", "them": "ccas"}
    assert verify.reconcile(ours, theirs, **names) == []
    assert verify.reconcile(ours[:84_691] + ours[84_692:], theirs, **names) == [
        verify.Divergence("missing_here", "d42345", 42_345)
    ]
    assert verify.reconcile(ours, theirs[:7] + theirs[8:], **names) == [verify.Divergence("missing_there", "d7", 15)]
    moved = [*theirs[:9], (90_000_000, theirs[9][1]), *theirs[10:]]
    assert verify.reconcile(ours, moved, **names) == [verify.Divergence("moved", "d9", 19)]


def test_two_real_journals_agree_through_the_acknowledgements(a_journal, tmp_path: Path) -> None:
    home = tmp_path / "ccas"
    home.mkdir()
    peer = type(a_journal)(open_engine(f"sqlite:///{home / 'ccas.db'}"), home)
    deliveries = [clock.new_id() for _ in range(20)]
    for delivery in deliveries[:19]:
        with UnitOfWork(peer.engine) as work:
            received = journal.append(work, "exchange.request", delivery_id=delivery, sender_org="passerelle")
        with UnitOfWork(a_journal.engine) as work:
            journal.append(work, "exchange.deliver", delivery_id=delivery, recipient_org="ccas")
            journal.append(work, "exchange.ack", delivery_id=delivery, recipient_org="ccas", peer_idx=received.idx)
    with UnitOfWork(peer.engine) as work:
        journal.append(work, "exchange.request", delivery_id=deliveries[19], sender_org="passerelle")
    a_journal.publish()
    peer.publish()
    found = verify.reconcile(
        verify.entries(a_journal.folder, a_journal.vkey), verify.entries(peer.folder, peer.vkey),
        us="passerelle", them="ccas",
    )  # fmt: skip
    assert found == [verify.Divergence("missing_here", deliveries[19], 19)]


def test_keys_of_a_ring_are_read_back_as_they_were(tmp_path: Path) -> None:
    first = str(note.public_key("a/b", Keyring(tmp_path).ed25519("temoin"), note.COSIGNATURE))
    assert str(note.verifier_key(first)) == first
    for wrong in ("", "a", "a+b", first[:-4], first.replace("a/b", "a/c"), first.replace("+", " ")):
        with pytest.raises(note.NoteRefused):
            note.verifier_key(wrong)
