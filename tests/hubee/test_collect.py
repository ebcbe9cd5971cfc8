"""Files of the caisses come through HubEE into the record, whatever happens on the way; real database, real files."""

from __future__ import annotations

import gc
import io
import json
import os
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select
from typer import Typer
from typer.testing import CliRunner

from connectors.caf.generator import write_contacts, write_file, write_instruction
from connectors.hubee.sandbox import CORRUPTED, Sandbox, sandbox
from connectors.transport import Transport
from gateway.collect import Collected, collect
from gateway.commands import collect as command
from gateway.problems import Conflict, Misconfigured
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import assertion_set, batch, exchange, person
from tests.hubee.conftest import BASE, DAY, QUICK, RSABAM, Clock, Crash, over_http

CODE = "RSABEM-RSABAM"


def flux(seed: int = 1, n: int = 3, *oddities: str, **options: str) -> bytes:
    """A beneficiary file of the Landes: synthetic people, the caisse's exact structure."""
    written = io.BytesIO()
    write_file(written, n, seed, oddities=oddities, **options)  # type: ignore[arg-type]
    return written.getvalue()


class Passerelle:
    """A gateway of the Landes in front of a HubEE."""

    def __init__(self, home: Path, app: Sandbox, *demarches: str) -> None:
        self.app, self.home = app, home
        bodies = {"hubee": app.credentials(BASE, *demarches)}
        self.gateway = Gateway.open(Settings(home=home, profile="test", departement="040", bodies=bodies))
        self.steps: list[str] = []
        self.crash_at = 0

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) == self.crash_at:
            raise Crash(name)

    async def collect(self) -> list[Collected]:
        """One collection, by a process that starts anew."""
        self.steps = []
        self.gateway.transports["hubee"] = Transport("hubee", [BASE], limits=QUICK, wire=httpx.ASGITransport(self.app))
        found = await collect(self.gateway, step=self._step)
        assert self.app.unmatched == []
        return found

    def state(self) -> Counter[str]:
        """How much the database holds, by table, and the journal by event."""
        with self.gateway.engine.connect().execution_options(read_only=True) as connection:
            tables = (batch, exchange, person, assertion_set)
            counted = Counter(
                {t.name: connection.execute(select(func.count()).select_from(t)).scalar() for t in tables}
            )
            events = select(journal_entry.c.event, func.count()).group_by(journal_entry.c.event)
            return counted | Counter({f"journal {event}": n for event, n in connection.execute(events)})

    def files(self) -> list[Path]:
        return list((self.home / "hubee").glob("*.fichier"))


@pytest.fixture
def passerelle(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Passerelle]]:
    opened: list[Passerelle] = []

    def build(scenario: str | None = None, *demarches: str) -> Passerelle:
        opened.append(Passerelle(tmp_path / "maillon", sandbox(scenario, now=clock), *(demarches or (CODE,))))
        return opened[-1]

    yield build
    for one in opened:
        one.gateway.engine.dispose()


async def test_a_monthly_file_reaches_the_record_and_its_sender_is_told(passerelle) -> None:
    one = passerelle()
    case = one.app.drop.send(CODE, {"RSABEM": flux(), "RSABAM": RSABAM})
    [found] = await one.collect()
    assert found.status == "done"
    main, companion = found.files
    assert (main.type, main.status, main.document, main.sender) == ("RSABEM", "read", "caf.flux_beneficiaire", "caf")
    assert (main.counts["records"], main.counts["accepted"]) == (3, 3)
    assert (companion.type, companion.status, companion.code) == ("RSABAM", "kept", "anomaly-companion")
    assert one.app.drop.case(case).status == "DONE"
    assert one.state()["batch"] == 1
    assert [path.read_bytes() for path in one.files()] == [RSABAM]
    assert await one.collect() == []


async def test_the_same_file_in_two_folders_changes_nothing_the_second_time(passerelle) -> None:
    one = passerelle()
    one.app.drop.send(CODE, {"RSABEM": flux()})
    await one.collect()
    before = one.state()
    one.app.drop.send(CODE, {"RSABEM": flux()})
    [found] = await one.collect()
    assert found.status == "done"
    assert (found.files[0].counts["accepted"], found.files[0].counts["unchanged"]) == (0, 3)
    assert one.state() == before


async def test_a_crash_at_any_step_leaves_the_same_record(passerelle) -> None:
    one, once = passerelle(), {"batch": 1, "exchange": 1, "journal exchange.request": 4}  # three households, one file
    for crash_at in range(1, 40):
        content = flux(seed=crash_at, mois=f"{2010 + crash_at // 12}-{crash_at % 12 + 1:02d}")
        before, crashed = one.state(), False
        case = one.app.drop.send(CODE, {"RSABEM": content})
        one.crash_at = crash_at
        try:
            await one.collect()
        except Crash:
            one.crash_at, crashed = 0, True
            await one.collect()
        added = one.state() - before
        assert {name: added[name] for name in once} == once, crash_at
        assert one.app.drop.case(case).status == "DONE"
        assert [event.told["caseNewStatus"] for event in one.app.drop.events(case)] == ["IN_PROGRESS", "DONE"]
        assert one.files() == []
        if not crashed:
            break
    assert {"ingested", "read", "concluded", "settled"} <= set(one.steps)
    assert crash_at > 11


@pytest.mark.parametrize(
    ("oddity", "code"),
    [
        ("tronque", "truncated"),
        ("doctype", "xml-doctype"),
        ("autre_departement", "not-ours"),
        ("racine_fausse", "wrong-root"),
    ],
)
async def test_a_file_refused_whole_is_told_with_its_code_and_journaled(passerelle, oddity: str, code: str) -> None:
    one = passerelle()
    case = one.app.drop.send(CODE, {"RSABEM": flux(1, 3, oddity)})
    [found] = await one.collect()
    assert (found.status, found.code) == ("refused", code)
    assert one.app.drop.hear()[-1].message == f"RSABEM: {code}"
    assert one.app.drop.case(case).status == "CLOSED"
    assert (one.state()["batch"], one.state()["journal input.reject"], one.files()) == (0, 1, [])

    one.app.drop.resend(case, {"RSABEM": flux()})
    [found] = await one.collect()
    assert (found.status, one.app.drop.case(case).status, one.state()["batch"]) == ("done", "DONE", 1)


@pytest.mark.parametrize(
    ("demarche", "kind", "options", "path"),
    [
        (CODE, "RSABEM", {"flux": "quotidien"}, "IdentificationFlux/TYPEFLUX"),
        ("RSABEI-RSABAI", "RSABEI", {}, "IdentificationFlux/TYPEFLUX"),
        (CODE, "RSABEM", {"organisme": "msa"}, "Organisme/FONORG"),
        ("MSABEM", "MSABEM", {}, "Organisme/FONORG"),
    ],
)
async def test_a_file_that_is_not_what_its_demarche_says_is_refused(passerelle, demarche, kind, options, path) -> None:
    one = passerelle(None, demarche)
    case = one.app.drop.send(demarche, {kind: flux(**options)})
    [found] = await one.collect()
    assert (found.status, found.code) == ("refused", "not-as-announced")
    assert found.files[0].line()["path"] == path
    assert one.app.drop.case(case).status == "REFUSED"
    assert one.state() == Counter({"journal input.reject": 1})


async def test_another_file_under_the_same_key_is_refused(passerelle) -> None:
    one = passerelle()
    one.app.drop.send(CODE, {"RSABEM": flux(1)})
    await one.collect()
    before = one.state()
    case = one.app.drop.send(CODE, {"RSABEM": flux(2)})
    [found] = await one.collect()
    assert (found.status, found.code) == ("refused", "same-key-other-bytes")
    assert one.app.drop.case(case).status == "REFUSED"
    assert one.state() - before == Counter({"journal input.reject": 1})


async def test_a_wrong_footer_waits_for_a_human_and_hubee_is_told_nothing_more(passerelle) -> None:
    one = passerelle()
    case = one.app.drop.send(CODE, {"RSABEM": flux(1, 3, "pied_faux")})
    for _ in range(2):  # the second collection finds it still waiting, and does not count it again
        [found] = await one.collect()
        assert (found.status, found.code) == ("held", "footer-mismatch")
        assert one.app.drop.case(case).status == "IN_PROGRESS"
        assert (one.state()["batch"], one.state()["journal exchange.request"]) == (1, 1)
        assert len(one.files()) == 1
        one.app.advance(10 * DAY)


async def test_every_demarche_reads_its_own_document(passerelle) -> None:
    flows = {
        "RSABEI-RSABAI": ("RSABEI", flux(1, 2, flux="quotidien")),
        "RSABEX-RSABAX": ("RSABEX", flux(2, 2, flux="quotidien", mois="2026-09")),
        "MSABEM": ("MSABEM", flux(3, 2, organisme="msa")),
        "MSABEI": ("MSABEI", flux(4, 2, organisme="msa", flux="quotidien")),
    }
    one = passerelle(None, *flows)
    for process, (kind, content) in flows.items():
        one.app.drop.send(process, {kind: content})
    found = await one.collect()
    assert {one.demarche: one.status for one in found} == dict.fromkeys(flows, "done")
    assert {file.document for each in found for file in each.files} == {"caf.flux_beneficiaire"}
    assert {file.sender for each in found for file in each.files} == {"caf"}
    assert one.state()["batch"] == 4


async def test_applications_and_contacts_come_the_same_way(passerelle) -> None:
    one = passerelle(None, "IRSACG-IRSDCG", "ContactsAllocataires-BRSA")
    demandes, contacts = io.BytesIO(), io.BytesIO()
    write_instruction(demandes, 3, 3)
    write_contacts(contacts, 3, 3)
    one.app.drop.send("IRSACG-IRSDCG", {"IRSACG": RSABAM, "IRSDCG": demandes.getvalue()})
    one.app.drop.send("ContactsAllocataires-BRSA", {"coordonnees-allocataire.txt": contacts.getvalue()})
    found = {each.demarche: each for each in await one.collect()}
    assert {each.status for each in found.values()} == {"done"}
    assert {(f.type, f.status, f.document, f.code) for each in found.values() for f in each.files} == {
        ("IRSACG", "kept", "", "administrative-part"),
        ("IRSDCG", "read", "caf.instruction", ""),
        ("coordonnees-allocataire.txt", "read", "caf.contacts_allocataires", ""),
    }
    assert all(f.counts["records"] >= 3 for each in found.values() for f in each.files if f.status == "read")
    assert [path.read_bytes() for path in one.files()] == [RSABAM]


async def test_one_withdrawn_access_does_not_stop_the_other(passerelle) -> None:
    one = passerelle(None, CODE, "MSABEM")
    one.app.fail("status", "token", None, status=401, process=CODE)
    one.app.drop.send(CODE, {"RSABEM": flux(1)})
    one.app.drop.send("MSABEM", {"MSABEM": flux(2, organisme="msa")})
    stopped, done = await one.collect()
    assert (stopped.demarche, stopped.status, stopped.code) == (CODE, "stopped", "access-refused")
    assert (done.demarche, done.status) == ("MSABEM", "done")


async def test_hubee_down_when_it_must_be_answered(passerelle) -> None:
    one = passerelle()
    fault = one.app.fail("status", "case_patch", None, status=500)
    case = one.app.drop.send(CODE, {"RSABEM": flux()})
    [found] = await one.collect()
    assert (found.status, found.code) == ("retry", "http-500")
    fault.times = 0
    [found] = await one.collect()
    assert (found.status, one.app.drop.case(case).status) == ("done", "DONE")


async def test_a_defect_with_one_file_lets_the_others_through(passerelle, monkeypatch) -> None:
    one = passerelle()
    from gateway import collect as module

    real, bad = module.ingest, flux(1)

    def ingest(gateway, path, sender, document, **more):
        if path.read_bytes() == bad:
            raise ZeroDivisionError("Mme Dupont")
        return real(gateway, path, sender, document, **more)

    monkeypatch.setattr(module, "ingest", ingest)
    one.app.drop.send(CODE, {"RSABEM": bad})
    one.app.drop.send(CODE, {"RSABEM": flux(2, mois="2026-09")})
    assert {(each.status, each.code) for each in await one.collect()} == {("done", ""), ("retry", "unexpected-error")}
    assert len(one.files()) == 1


async def test_nothing_personal_in_what_is_told_printed_or_logged(passerelle, capsys) -> None:
    one = passerelle()
    attachments = {"RSABEM": flux(1, 2, "tronque"), "Dupont Marie": RSABAM, "RSABAM": b"<" + CORRUPTED}
    case = one.app.drop.send(CODE, attachments, names={"RSABAM": "MME DUPONT.xml"})
    one.app.drop.write(case, "Le dossier de Mme Dupont")
    found = await one.collect()
    assert [each.message for each in found if each.message] == ["Le dossier de Mme Dupont"]
    told = [event.told.get("message", "") for event in one.app.drop.events(case)]
    printed = repr(found) + json.dumps([each.line() for each in found]) + "".join(told) + str(capsys.readouterr())
    assert "upont" not in printed.lower()
    assert "RSABEM: truncated" in printed


def test_a_lock_keeps_two_collections_apart(passerelle) -> None:
    import asyncio

    from connectors.hubee.registre import Registre

    one = passerelle()
    with Registre(one.home / "hubee") as other, other.alone(), pytest.raises(Conflict, match="already-collecting"):
        asyncio.run(one.collect())


async def test_without_settings_the_operator_is_told_which(tmp_path: Path) -> None:
    gateway = Gateway.open(Settings(home=tmp_path, profile="test"))
    with pytest.raises(Misconfigured, match="not-configured: siret"):
        await collect(gateway)
    gateway.engine.dispose()


KILLED = """
    import asyncio, os, signal, sys
    from gateway.collect import collect
    from gateway.registry import Gateway
    from gateway.settings import Settings
    import json
    home, bodies, at = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    seen = []
    def step(name):
        seen.append(name)
        if len(seen) == at:
            os.kill(os.getpid(), signal.SIGKILL)
    gateway = Gateway.open(Settings(home=home, profile="test", departement="040", bodies=bodies))
    for one in asyncio.run(collect(gateway, step=step)):
        print(json.dumps(one.line()))
"""


@pytest.mark.parametrize("at", [3, 6, 8])
def test_a_process_killed_outright_and_the_next_one_over_http(tmp_path: Path, at: int) -> None:
    app = sandbox()
    with over_http(app) as url:
        case = app.drop.send(CODE, {"RSABEM": flux()})
        bodies = json.dumps({"hubee": app.credentials(url, CODE)})
        codes = []
        for moment in (at, 0):
            run = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), bodies, str(moment)]
            done = subprocess.run(run, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
            codes.append(done.returncode)
        assert codes == [-9, 0], done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["status"] == "done"
    assert app.drop.case(case).status == "DONE"
    assert [event.told["caseNewStatus"] for event in app.drop.events(case)] == ["IN_PROGRESS", "DONE"]
    gateway = Gateway.open(Settings(home=tmp_path, profile="test"))
    with gateway.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(batch)).scalar() == 1
    gateway.engine.dispose()


def command_line(app: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[dict]]:
    """`maillon collect` from these settings: its status, and the lines printed."""
    from gateway.settings import settings

    cli = Typer()
    command.register(cli)
    cli.callback()(lambda: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "MAILLON_HOME", str(tmp_path / "var"))
    monkeypatch.setitem(os.environ, "MAILLON_PROFILE", "test")
    with over_http(app) as url:
        lines = [f"{name} = {json.dumps(value)}" for name, value in app.credentials(url, CODE).items()]
        (tmp_path / "maillon.toml").write_text("[bodies.hubee]\n" + "\n".join(lines), encoding="utf-8")
        settings.cache_clear()
        try:
            result = CliRunner().invoke(cli, ["collect"])
        finally:
            settings.cache_clear()
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_the_command_prints_a_line_for_each_then_the_counts(tmp_path: Path, monkeypatch) -> None:
    app = sandbox()
    app.drop.send(CODE, {"RSABEM": flux(), "RSABAM": RSABAM})
    status, told = command_line(app, tmp_path, monkeypatch)
    assert status == 0, told
    assert told[0]["files"][1]["code"] == "anomaly-companion"
    assert "never an update" in told[0]["files"][1]["detail"]
    assert told[-1] == {"collected": 1, "done": 1}


def test_the_command_leaves_no_connection_open(tmp_path: Path, monkeypatch, caplog) -> None:
    gc.collect()  # what tests before this one left open is not ours
    caplog.clear()
    command_line(sandbox(), tmp_path, monkeypatch)
    gc.collect()
    assert [one.message for one in caplog.records if one.name == "asyncio" and one.levelname == "ERROR"] == []


def test_the_command_fails_when_a_defect_of_ours_kept_a_file_from_being_read(tmp_path: Path, monkeypatch) -> None:
    def broken(*words, **options):
        raise ZeroDivisionError

    monkeypatch.setattr("gateway.collect.ingest", broken)
    app = sandbox()
    app.drop.send(CODE, {"RSABEM": flux()})
    status, told = command_line(app, tmp_path, monkeypatch)
    assert (status, told[0]["status"], told[0]["code"]) == (1, "retry", "unexpected-error")
