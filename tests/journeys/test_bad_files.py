"""Files as they really arrive, through the command an operator types: what is refused, what waits, what goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from typer.testing import CliRunner

from connectors.caf import generator
from connectors.contract import DocumentRefused
from gateway import settings as settings_module
from gateway.cli import app
from gateway.ingest import ingest
from gateway.problems import Problem
from gateway.registry import Gateway
from gateway.rejects import Rejects
from gateway.settings import Settings, settings
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import assertion_set, batch, exchange, foyer, membership, person, quarantine
from schemas.record import Record

SHARED = Path(__file__).parents[2].parent / "shared"
FOYERS = 12


class Desk:
    """An operator's desk: a home of its own, and the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runner = CliRunner()

    def file(self, *oddities: str, flux: str = "mensuel", organisme: str = "caf") -> Path:
        path = self.folder / "flux.xml"
        generator.write_file(path, FOYERS, 4, flux, organisme, departement="040", oddities=oddities)  # type: ignore[arg-type]
        return path

    def ingest(self, path: Path, *options: str) -> tuple[int, dict[str, Any], str]:
        """Exit status, last line of stdout as JSON ({} when none), and what was said to people."""
        told = self._runner.invoke(app, ["ingest", str(path), "--from", "caf", "--no-progress", *options])
        lines = told.stdout.strip().splitlines()
        status = told.exit_code
        said = told.stderr
        if isinstance(told.exception, DocumentRefused | Problem):
            status, said = 1, said + str(told.exception)
        elif told.exception is not None and not isinstance(told.exception, SystemExit):
            raise told.exception
        return status, json.loads(lines[-1]) if lines else {}, said

    def count(self, *tables: Any) -> list[int]:
        gateway = Gateway.open(Settings(home=self.folder / "home", profile="test", departement="040"))
        with gateway.engine.connect() as connection:
            found = [connection.execute(select(func.count()).select_from(one)).scalar_one() for one in tables]
        gateway.engine.dispose()
        return found

    def at_home(self) -> list[int]:
        """How many persons a household names today."""
        gateway = Gateway.open(Settings(home=self.folder / "home", profile="test", departement="040"))
        with gateway.engine.connect() as connection:
            found = connection.execute(select(func.count()).where(membership.c.named == 1)).scalars().all()
        gateway.engine.dispose()
        return list(found)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("MAILLON_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MAILLON_PROFILE", "test")
    monkeypatch.setenv("MAILLON_DEPARTEMENT", "040")
    settings.cache_clear()
    yield Desk(tmp_path)
    settings_module.settings.cache_clear()


def balanced(told: dict[str, Any]) -> bool:
    return told["records"] == sum(told[name] for name in ("accepted", "unchanged", "quarantined", "rejected"))


@pytest.mark.parametrize(
    ("oddity", "code"),
    [
        ("pas_xml", "not-xml"),
        ("racine_fausse", "wrong-root"),
        ("tronque", "truncated"),
        ("sans_pied", "truncated"),
        ("mal_forme", "xml-not-well-formed"),
        ("doctype", "xml-doctype"),
        ("encodage_menteur_utf8", "bad-encoding"),
        ("autre_departement", "not-ours"),
        ("flux_financier", "wrong-flux"),
        ("flux_creances", "wrong-flux"),
    ],
)
def test_a_file_that_cannot_be_taken_leaves_nothing_behind(desk: Desk, oddity: str, code: str) -> None:
    status, told, said = desk.ingest(desk.file(oddity))
    assert status == 1
    assert told == {}
    assert code in said
    assert desk.count(person, foyer, assertion_set, exchange, batch) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("oddity", "status"),
    [("xsd_invalide", "rejected"), ("ordre_inverse", "rejected"), ("code_inconnu", "quarantined")],
)
def test_one_bad_household_does_not_stop_the_others(desk: Desk, oddity: str, status: str) -> None:
    rejects = desk.folder / "rejects.jsonl"
    exit_status, told, _ = desk.ingest(desk.file(oddity), "--rejects", str(rejects))
    assert exit_status == 0
    assert told[status] == 1
    assert told["accepted"] == FOYERS - 1
    assert balanced(told)
    (line,) = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert line["findings"][0]["code"]
    assert line["findings"][0]["path"]
    assert desk.count(quarantine)[0] >= 1


class CrashError(Exception):
    """The machine stops here."""


@pytest.fixture
def twelve_to_look_at(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of twelve people, each with a code that nobody knows, committed five at a time."""
    monkeypatch.setattr("gateway.ingest.BATCH", 5)
    path = desk.folder / "douze.json"
    people = [
        {"fileNumber": str(rank), "firstName": "Anna", "birthName": f"Brel{rank}", "birthDate": f"1988-04-{rank + 10}",
         "familySituation": "Compliquée"}
        for rank in range(1, 13)
    ]  # fmt: skip
    path.write_text(json.dumps({"beneficiaries": people}))
    return path


def told(rejects: Path) -> list[int]:
    return [json.loads(line)["record"] for line in rejects.read_text().splitlines()]


def as_the_ccas(desk: Desk, path: Path, rejects: Path) -> dict[str, Any]:
    options = ("--from", "ccas", "--document", "ccas.beneficiaires", "--rejects", str(rejects))
    status, counts, said = desk.ingest(path, *options)
    assert status == 0, said
    return counts


def test_the_same_file_again_keeps_what_was_told_of_its_rejects(desk: Desk, twelve_to_look_at: Path) -> None:
    rejects = desk.folder / "rejects.jsonl"
    rejects.write_text("of last month\n")
    for _ in range(2):
        assert as_the_ccas(desk, twelve_to_look_at, rejects)["quarantined"] == 12
        assert told(rejects) == list(range(1, 13))


def test_the_same_file_again_with_another_file_of_rejects_says_what_it_lacks(
    desk: Desk, twelve_to_look_at: Path
) -> None:
    first, second = desk.folder / "first.jsonl", desk.folder / "second.jsonl"
    words = ("--from", "ccas", "--document", "ccas.beneficiaires", "--rejects")
    for rejects in (first, first):
        assert "rejects-told-before" not in desk.ingest(twelve_to_look_at, *words, str(rejects))[2]
    _, counts, said = desk.ingest(twelve_to_look_at, *words, str(second))
    assert (counts["quarantined"], told(second)) == (12, [])
    assert "rejects-told-before: 12 of these records have no line in" in said


def test_after_a_crash_each_reject_is_told_once(desk: Desk, twelve_to_look_at: Path) -> None:
    rejects = desk.folder / "rejects.jsonl"
    gateway = Gateway.open(Settings(home=desk.folder / "home", profile="test", departement="040"))
    with Rejects(rejects) as lines:

        def tell(rank: int, record: Record) -> None:
            lines.tell(rank, record)
            if rank == 8:
                raise CrashError

        with pytest.raises(CrashError):
            ingest(gateway, twelve_to_look_at, "ccas", "ccas.beneficiaires", on_reject=tell, on_start=lines.start)
        assert told(rejects) == list(range(1, 9)), "on the disk before its record is committed: a crash closes nothing"
    gateway.engine.dispose()
    assert told(rejects) == list(range(1, 9)), "three more than were committed"
    assert as_the_ccas(desk, twelve_to_look_at, rejects)["quarantined"] == 12
    assert told(rejects) == list(range(1, 13))


def test_after_a_crash_the_counts_are_those_of_the_whole_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ingest.BATCH", 5)
    path = desk.file("code_inconnu")
    _, whole, _ = desk.ingest(path, "--dry-run")
    gateway = Gateway.open(Settings(home=desk.folder / "home", profile="test", departement="040"))

    def stop(done: int, total: int | None) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        ingest(gateway, path, "caf", "caf.flux_beneficiaire", progress=stop)
    gateway.engine.dispose()
    _, counts, _ = desk.ingest(path)
    assert sum(counts["notices"].values()) > 5
    assert counts | {"seconds": 0} == whole | {"seconds": 0}
    assert desk.ingest(path)[1]["notices"] == counts["notices"]


def test_a_wrong_footer_holds_the_whole_file(desk: Desk) -> None:
    rejects = desk.folder / "rejects.jsonl"
    for _ in range(2):
        status, told, said = desk.ingest(desk.file("pied_faux"), "--rejects", str(rejects))
        lines = [json.loads(line) for line in rejects.read_text().splitlines()]
        assert [line["record"] for line in lines] == list(range(1, FOYERS + 1)), "each waits, and is told"
        assert {line["findings"][-1]["code"] for line in lines} == {"footer-mismatch"}
    assert status == 0
    assert told["held"] == "footer-mismatch"
    assert "held: footer-mismatch. " in said
    assert "--publish-held" in said
    assert told["quarantined"] == told["records"] == FOYERS
    assert desk.count(person, assertion_set) == [0, 0]


def test_a_rehearsal_says_that_the_file_would_be_held(desk: Desk) -> None:
    path = desk.file("pied_faux")
    _, rehearsed, said = desk.ingest(path, "--dry-run")
    assert "footer-mismatch" in said
    assert "nouveaux foyers" not in said
    assert desk.count(person, assertion_set, exchange, batch) == [0, 0, 0, 0]
    _, decided, _ = desk.ingest(path, "--dry-run", "--publish-held")
    _, real, _ = desk.ingest(path)
    assert {**rehearsed, "seconds": 0} == {**real, "seconds": 0}
    assert (decided["accepted"], decided.get("held")) == (FOYERS, None)


def test_a_human_may_take_a_held_file_as_it_is(desk: Desk) -> None:
    path = desk.file("pied_faux")
    desk.ingest(path)
    status, told, _ = desk.ingest(path, "--publish-held")
    assert status == 0
    assert "held" not in told
    assert told["accepted"] == told["records"] == FOYERS
    assert desk.count(batch) == [1]
    for options in (["--dry-run"], []):
        _, again, _ = desk.ingest(path, *options)
        assert (again["unchanged"], again.get("held")) == (FOYERS, None)


def test_after_a_crash_a_file_that_a_human_took_as_it_is_goes_on_without_asking_again(desk: Desk) -> None:
    def crash(done: int, declared: int | None) -> None:
        raise CrashError

    path = desk.file("pied_faux")
    gateway = Gateway.open(Settings(home=desk.folder / "home", profile="test", departement="040"))
    with pytest.raises(CrashError):
        ingest(gateway, path, "caf", "caf.flux_beneficiaire", publish_held=True, progress=crash)
    with gateway.engine.connect() as connection:
        released = select(func.count()).where(journal_entry.c.event == "input.release")
        assert connection.execute(released).scalar() == 1
    gateway.engine.dispose()
    _, told, _ = desk.ingest(path)
    assert "held" not in told
    assert told["accepted"] == told["records"] == FOYERS


def test_a_held_file_that_an_earlier_version_left_without_its_reason_is_held_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any) -> None:
        raise CrashError

    path = desk.file("pied_faux")
    gateway = Gateway.open(Settings(home=desk.folder / "home", profile="test", departement="040"))
    with monkeypatch.context() as before:
        before.setattr("gateway.ingest._Run._hold", crash)
        with pytest.raises(CrashError):
            ingest(gateway, path, "caf", "caf.flux_beneficiaire")
    with gateway.engine.begin() as connection:
        connection.execute(update(batch).values(held=None))
    gateway.engine.dispose()
    for options in (["--dry-run"], []):
        _, told, _ = desk.ingest(path, *options)
        assert (told["held"], told["quarantined"]) == ("footer-mismatch", FOYERS)
    assert desk.count(person) == [0]
    _, taken, _ = desk.ingest(path, "--publish-held")
    assert taken["accepted"] == FOYERS


def test_the_same_file_twice_changes_nothing(desk: Desk) -> None:
    path = desk.file()
    _, first, _ = desk.ingest(path)
    before = desk.count(person, foyer, assertion_set, exchange)
    status, again, _ = desk.ingest(path)
    assert status == 0
    assert again["accepted"] == 0
    assert again["unchanged"] == first["accepted"]
    assert desk.count(person, foyer, assertion_set, exchange) == before


def test_another_file_under_the_same_key_is_refused(desk: Desk) -> None:
    path = desk.file()
    desk.ingest(path)
    path.write_bytes(path.read_bytes().replace(b"<NOMVOIE>", b"<NOMVOIE>X", 1))
    status, _, said = desk.ingest(path)
    assert status == 1
    assert "same-key-other-bytes" in said


def test_two_households_under_one_request_number_stay_two(desk: Desk) -> None:
    _, plain, _ = desk.ingest(desk.file("deux_foyers_meme_demande"))
    assert plain["accepted"] + plain["quarantined"] == plain["records"]
    assert desk.count(foyer) == [plain["records"]]


@pytest.mark.parametrize(
    "oddity", ["nir_corse", "nir_provisoire", "nir_absent", "code_postal_court", "iso_8859_1", "utf_8"]
)
def test_the_usual_oddities_are_read(desk: Desk, oddity: str) -> None:
    status, told, _ = desk.ingest(desk.file(oddity))
    assert status == 0
    assert told["rejected"] == 0
    assert told["accepted"] >= FOYERS - 1
    assert balanced(told)


def test_a_wrong_nir_key_is_told_and_never_shown(desk: Desk) -> None:
    path = desk.file("nir_cle_fausse", organisme="msa")
    status, told, said = desk.ingest(path)
    assert status == 0
    assert told["quarantined"] + told["rejected"] >= 1
    assert balanced(told)
    digits = [word for word in said.replace('"', " ").split() if word.isdigit() and len(word) >= 13]
    assert digits == []


def test_a_rehearsal_counts_and_writes_nothing(desk: Desk) -> None:
    path = desk.file()
    _, told, _ = desk.ingest(path, "--dry-run")
    assert told["accepted"] == FOYERS
    assert desk.count(person, foyer, assertion_set, exchange, batch) == [0, 0, 0, 0, 0]
    _, real, _ = desk.ingest(path)
    assert real["accepted"] == FOYERS


@pytest.mark.skipif(not SHARED.exists(), reason="the shared samples are not beside this checkout")
def test_a_file_that_nobody_here_wrote(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILLON_DEPARTEMENT")
    settings.cache_clear()
    status, told, _ = desk.ingest(SHARED / "samples" / "caf" / "RSABEM.xml")
    assert status == 0
    assert (told["records"], told["persons"]) == (2, 3)
    assert told["held"] == "footer-mismatch"
    assert {"foreign-schema-location", "trailing-blanks", "shared-request-number", "footer-mismatch"} <= set(
        told["notices"]
    )


@pytest.mark.parametrize("role", ["ZZZ", ""])
def test_an_adult_whose_role_cannot_be_read_has_not_left_her_household(desk: Desk, role: str) -> None:
    """She would lose her right on every screen until someone repairs the code of a list."""
    path = desk.file()
    desk.ingest(path)
    (before,) = desk.at_home()
    text = path.read_text("windows-1252").replace("<HEUCREAFLUX>0", "<HEUCREAFLUX>2", 1)
    one = text.index("<ROLEPERS>DEM", text.index("<NATPREST>RSA"))
    path.write_text(text[:one] + f"<ROLEPERS>{role}" + text[one + len("<ROLEPERS>DEM") :], "windows-1252")
    _, told, _ = desk.ingest(path)
    assert told["quarantined"] == 1
    assert desk.at_home() == [before]
