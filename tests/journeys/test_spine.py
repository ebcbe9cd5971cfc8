"""One person's diagnosis, from a CAF file to three other bodies: the whole main path, on both databases."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import func, select
from typer.testing import CliRunner

from gateway import cli, verify
from gateway.demo.journey import Journey, Told, alone, opened, run_demo
from gateway.demo.people import followed
from gateway.problems import Misconfigured
from gateway.settings import settings
from gateway.storage.tables.delivery import mailbox, outbox
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import assertion_set, quarantine

PRIVATE = "Cette synthèse privée"


class Played:
    """A journey that has been played, and what it left behind."""

    def __init__(self, home: Path, on: Any, told: Told, printed: str, journey: Journey) -> None:
        self.home, self.on, self.told, self.printed, self.journey = home, on, told, printed, journey

    def rows(self, query: Any) -> list[Any]:
        with self.on.gateway.engine.connect() as connection:
            return list(connection.execute(query).all())


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    home = tmp_path_factory.mktemp("home")
    said = io.StringIO()
    with ExitStack() as until_told:
        postgresql = request.param == "postgresql"
        url = until_told.enter_context(request.getfixturevalue("new_postgres_database")()) if postgresql else ""
        on = until_told.enter_context(opened(home, database_url=url))
        journey = Journey(on, Console(file=said, width=80), home, followed())
        told = journey.play()
        yield Played(home, on, told, said.getvalue(), journey)


def outcomes(played: Played, sender: str, recipient: str) -> list[dict[str, Any]]:
    return [one for one in played.journey.outcomes if (one["from"], one["recipient"]) == (sender, recipient)]


def test_nothing_went_wrong(played: Played) -> None:
    assert played.told.problems == []
    moved = {row.document for row in played.rows(select(outbox.c.document))}
    assert moved <= set(played.printed.split()), "each name is whole on a terminal of eighty columns"
    assert played.on.france_travail.unmatched == []


def test_the_caf_file_reaches_the_departement_under_the_rsa_articles(played: Played) -> None:
    query = select(outbox.c.state, outbox.c.article, outbox.c.categories).where(
        outbox.c.sender == "caf", outbox.c.recipient == "departement"
    )
    rows = played.rows(query)
    assert rows
    assert {row.state for row in rows} == {"delivered"}
    assert all("CASF L262-40" in row.article for row in rows)
    assert all("C3" not in row.categories.split(",") for row in rows)


def test_france_travail_finds_people_by_nir_and_receives_a_form_that_nobody_typed(played: Played) -> None:
    assert len(played.on.france_travail.calls("recherche_nir")) >= len(followed())
    sent = played.on.france_travail.calls("calcul")
    assert len(sent) >= len(followed())
    for call in sent:
        text = json.dumps(call.body)
        assert not any(one.person.nir[:13] in text for one in followed())
        assert call.body["date_naissance"] in {one.born for one in followed()}


def test_what_france_travail_knows_is_not_for_a_ccas(played: Played) -> None:
    refused = outcomes(played, "france_travail", "ccas")
    assert refused
    assert {one["reason"] for one in refused} == {"recipient-not-listed"}
    assert all("CT R5312-42-1 II" in one["article"] for one in refused)


def test_health_is_withheld_and_said_to_be(played: Played) -> None:
    query = select(outbox.c.withheld).where(outbox.c.sender == "france_travail", outbox.c.recipient == "departement")
    withheld = {(code, rule) for row in played.rows(query) for code, rule, _, _ in json.loads(row.withheld)}
    assert ("C13", "D09") in withheld


def test_an_expired_convention_carries_nothing(played: Played) -> None:
    refused = outcomes(played, "departement", "ccas_voisin")
    assert refused
    assert {one["reason"] for one in refused} == {"convention-missing"}


def test_an_objection_stops_the_next_delivery_visibly(played: Played) -> None:
    stopped = [one for one in outcomes(played, "departement", "ccas") if one["reason"] == "objection"]
    assert stopped
    assert all("RGPD 21" in one["article"] for one in stopped)


def test_nothing_leaves_about_a_person_who_was_not_told(played: Played) -> None:
    waiting = [one for one in outcomes(played, "departement", "ccas") if one["reason"] == "notice-missing"]
    assert len(waiting) >= 1


def test_the_ccas_takes_its_dossiers_from_its_inbox(played: Played) -> None:
    rows = played.rows(select(mailbox.c.acknowledged_at).where(mailbox.c.body == "ccas"))
    assert len(rows) >= 3
    assert all(row.acknowledged_at for row in rows)


def test_the_joint_appointment_reaches_the_departement(played: Played) -> None:
    deposited = b"".join(played.on.drop.deposited)
    assert deposited.count(b"<date_rdv>2026-12-01</date_rdv>") >= 3


def test_a_private_synthesis_appears_nowhere(played: Played) -> None:
    assert PRIVATE not in played.printed
    assert PRIVATE.encode() not in b"".join(played.on.drop.deposited)
    for call in played.on.france_travail.received:
        assert PRIVATE not in json.dumps(call.body, default=str)


def test_an_unknown_code_waits_for_a_human(played: Played) -> None:
    rows = played.rows(
        select(quarantine.c.code, quarantine.c.state).where(quarantine.c.document == "caf.flux_beneficiaire")
    )
    assert ("unknown-code", "open") in [tuple(row) for row in rows]


def test_each_form_says_which_fields_came_from_whom(played: Played) -> None:
    told = {one.document: one for one in played.told.meter}
    assert {"caf", "departement"} <= set(told["france_travail.calcul_orientation"].sources)
    assert set(told["departement.webrsa_ali"].sources) == {"ccas"}
    assert set(told["ccas.beneficiaires"].sources) == {"caf", "departement"}, "no word of France Travail's"
    assert {"caf", "ccas"} <= set(told["fse.participant"].sources)


def test_all_that_another_body_gave_and_the_law_lets_through_is_prefilled_as_the_readme_says(played: Played) -> None:
    for one in played.told.meter:
        assert one.missed == 0, one.document
        assert 0 < one.prefilled <= one.given <= one.fields
    script = Path(__file__).parents[2] / "docs" / "meter.py"
    spec = importlib.util.spec_from_file_location("readme_table", script)
    assert spec
    assert spec.loader
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    assert page.shown() == page.table(played.told.meter), "run `python docs/meter.py`"


def test_every_delivery_is_in_the_journal_and_the_journal_verifies(played: Played) -> None:
    delivered = played.rows(select(func.count()).select_from(outbox).where(outbox.c.state == "delivered"))[0][0]
    acknowledged = played.rows(
        select(func.count()).select_from(journal_entry).where(journal_entry.c.event == "exchange.ack")
    )[0][0]
    assert acknowledged >= delivered
    played.on.gateway.publish_journal()
    reports = [report for _, report in verify.verify_all(played.on.gateway.journal_folder)]
    assert all(report.ok for report in reports)
    assert (
        sum(report.entries for report in reports) == played.rows(select(func.count()).select_from(journal_entry))[0][0]
    )


def test_each_decision_is_traced_in_the_log_that_keeps_it_as_long_as_its_regime_says(played: Played) -> None:
    logs: dict[str, set[str]] = {}
    for row in played.rows(select(journal_entry)):
        logs.setdefault(json.loads(row.entry).get("regime", ""), set()).add(row.log)
    assert logs == {"SIFT": {"6m"}, "RSA": {"12m"}, "PIE": {"12m"}, "": {"12m"}}


def test_no_name_or_number_of_a_person_is_in_the_journal_or_the_database_in_clear(played: Played) -> None:
    entries = b"".join(row.entry for row in played.rows(select(journal_entry.c.entry)))
    sealed = b"".join(row.payload for row in played.rows(select(assertion_set.c.payload)))
    for one in followed():
        for canary in (one.person.nir[:13], one.person.nom_naissance, one.born):
            assert canary.encode() not in entries
            assert canary.encode() not in sealed


def test_a_second_demonstration_leaves_the_first_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILLON_HOME", str(tmp_path))
    settings.cache_clear()
    try:
        with alone(tmp_path / "demo"):
            (tmp_path / "demo" / "kept").touch()
            with pytest.raises(Misconfigured, match="demo-running"):
                run_demo(once=True, port=0)
            assert (tmp_path / "demo" / "kept").exists()
    finally:
        settings.cache_clear()


GUIDE = Path(__file__).parents[2] / "docs" / "dpo.md"


def test_every_command_of_the_dpos_guide_runs_as_it_is_written(
    played: Played, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On the demonstration, as the guide says; what is written in capitals comes from the commands before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAILLON_HOME", str(played.home))
    monkeypatch.setenv("MAILLON_PROFILE", "demo")
    monkeypatch.setenv("MAILLON_DATABASE_URL", played.on.gateway.settings.database)
    settings.cache_clear()
    (tmp_path / "motif.txt").write_text("Contrôle interne demandé par la direction.", encoding="utf-8")
    monkeypatch.setenv("MAILLON_POLICY_TRUSTED", str(played.on.gateway.settings.policy_trusted))
    for end in ("", ".sig"):  # unsigned, it would refuse what the demonstration's officer signed
        shutil.copy(f"{played.on.gateway.settings.policy_file}{end}", tmp_path / f"nouvelle-table.toml{end}")
    shutil.copytree(played.home / "journal", tmp_path / "DOSSIER")
    (entry,) = played.rows(
        select(journal_entry.c.exchange_id, journal_entry.c.subject).where(journal_entry.c.subject != "").limit(1)
    )
    known = {"ÉCHANGE": entry.exchange_id, "PSEUDONYME": entry.subject, "PASSERELLE": played.on.server.url}
    app, said, told = cli.application(), CliRunner(), {}
    text = GUIDE.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    for name, program in re.findall(r"^```python\n# (\w+\.py).*\n((?:.*\n)*?)```", text, re.MULTILINE):
        (tmp_path / name).write_text(program, encoding="utf-8")
    whole = ("convention list", "basis list", "explain ccas.fiche", "journal verify DOSSIER", "register", "breach list")
    quoted = [one for one in re.findall(r"`(maillon [^`]+)`", text) if one.removeprefix("maillon ") in whole]
    lines = [line.partition(" #")[0].strip() for line in blocks.splitlines()]
    try:
        for line in [*quoted, *(line for line in lines if line and not line.startswith("export "))]:
            given, _, command = line.rpartition(" | ")
            words = [re.sub("|".join(known), lambda found: known[found[0]], word) for word in shlex.split(command)]
            if words[0] == "python":
                ran = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True)
                assert ran.returncode == 0, f"{line}: {ran.stdout} {ran.stderr}"
                told[words[-1].rpartition("/")[2]] = ran.stdout
                continue
            monkeypatch.setenv("SUDO_USER", "adjoint" if "approve" in words else "déléguée")  # another account
            done = said.invoke(app, words[1:], input=shlex.split(given)[1] if given else None)
            assert done.exit_code == 0, f"{line}: {done.output} {done.exception}"
            name = " ".join(words[1:3])
            told[name] = done.stdout
            if name == "person search":
                known["IDENTIFIANT"] = json.loads(done.stdout)["person"]
            if name == "reidentify request":
                known["DEMANDE"] = json.loads(done.stdout)["id"]
    finally:
        settings.cache_clear()
    replayed = [json.loads(line) for line in told["receipt replay"].splitlines()]
    assert replayed
    assert all(one["same"] for one in replayed)
    assert json.loads(told["receipt period"].splitlines()[-1])["changes"].keys() == {"unchanged"}
    assert (tmp_path / "copie" / "page.html").exists()
    assert json.loads(told["denials"])["denials"]
    assert json.loads(told[entry.exchange_id])["entries"]
    assert {one["subject"] for one in json.loads(told["history"])["entries"]} == {entry.subject}
    assert json.loads(told["reidentify use"])["person"]
    assert told["journal verify"].startswith("ok entries=")
    assert len(told) >= 13
