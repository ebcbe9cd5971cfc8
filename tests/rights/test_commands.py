"""The same from the command line: identifiers on standard input, one JSON object on standard output."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from gateway import basis, basis_states, journal, notification
from gateway.commands import law
from gateway.problems import Conflict, Problem
from gateway.settings import settings
from tests.rights.conftest import ISSUER, MARIE, PAUL, Office, known

app = typer.Typer()
law.register(app)
SEARCH = {"nir": MARIE["identifiants[nir].valeur"], "date_naissance": MARIE["personne.date_naissance"]}


@pytest.fixture
def run(office: Office, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MAILLON_HOME", str(office.home))
    monkeypatch.setenv("MAILLON_PROFILE", "test")
    monkeypatch.setenv("MAILLON_ISSUER", ISSUER)
    settings.cache_clear()

    def command(*args: str, given: Any = None) -> Result:
        return CliRunner().invoke(app, list(args), input=None if given is None else json.dumps(given))

    yield command
    settings.cache_clear()


def said(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_search_export_rectify_and_erase(office: Office, run: Any, tmp_path: Path) -> None:
    marie = await known(office)
    await known(office, PAUL, "d2")
    found = said(run("person", "search", given=SEARCH))
    assert (found["person"], found["certainty"]) == (marie, "certain")

    folder = tmp_path / "access"
    told = said(run("person", "export", marie, "-o", str(folder)))
    assert told["facts"] > 0
    assert {one.name for one in folder.iterdir()} == {"dossier.json", "page.html"}

    given = {"facts": {"personne.nom_usage": "CANARIJUSTE"}, "expected": {"personne.nom_usage": "CANARIUSAGE"}}
    told = said(run("person", "rectify", marie, given=given))
    assert told["changed"] == ["personne.nom_usage"]
    assert "departement" in told["recipients"]

    assert said(run("person", "erase", marie))["needed_by"]
    refused = run("person", "erase", marie, "--yes")
    assert isinstance(refused.exception, Conflict)
    decision = tmp_path / "decision.txt"
    decision.write_text("Le délégué décide l'effacement.", encoding="utf-8")
    told = said(run("person", "erase", marie, "--yes", "--dpo-decision", str(decision)))
    assert told["person"] == marie
    with office.gateway.unit_of_work() as work:
        (entry,) = journal.of_period(work.connection, "2000", "3000", event="right.erase")
    assert entry.idx == told["journal"]["index"]
    assert entry.fields["reason_h"] == hashlib.sha256(decision.read_bytes()).hexdigest()
    assert said(run("person", "search", given=SEARCH))["certainty"] == "inconnu"


async def test_identifiers_never_come_as_arguments(office: Office, run: Any) -> None:
    assert run("person", "search", "--nir", "2850640999901").exit_code == 2
    result = run("person", "search", given={"nir": "CANARI"})
    assert isinstance(result.exception, Problem)
    assert "CANARI" not in str(result.exception) + result.output


async def test_requests_have_a_deadline_and_an_answer(office: Office, run: Any) -> None:
    marie = await known(office)
    one = said(run("person", "request", marie, "access", "--received", "2026-01-31", "--body", "ccas"))
    assert (one["due_at"][:10], one["late"], one["body"]) == ("2026-02-28", True, "ccas")
    assert json.loads(run("person", "requests", "--late").stdout)["id"] == one["id"]
    assert said(run("person", "answer", one["id"], "done"))["state"] == "done"
    assert run("person", "requests").stdout == ""


async def test_what_is_done_for_a_request_is_refused_no_more(office: Office, run: Any, tmp_path: Path) -> None:
    marie, other = await known(office), (await known(office, PAUL, "d2"))
    asked = {name: said(run("person", "request", marie, name))["id"] for name in ("rectification", "limitation")}
    given = {"facts": {"personne.nom_usage": "CANARIJUSTE"}}
    for wrong in (
        run("person", "rectify", other, "--request", asked["rectification"], given=given),
        run("person", "rectify", marie, "--request", asked["limitation"], given=given),
    ):
        assert "request-state" in str(wrong.exception)
    said(run("person", "rectify", marie, "--request", asked["rectification"], given=given))
    path = tmp_path / "limitation.json"
    path.write_text(json.dumps(office.record("limitation", marie, regime="", purpose="")), encoding="utf-8")
    said(run("basis", "limit", str(path), "--request", asked["limitation"]))
    for one in asked.values():
        refused = run("person", "answer", one, "refused", "--reason", "accurate", "--article", "RGPD 16")
        assert "request-state" in str(refused.exception)
        assert said(run("person", "answer", one, "done"))["state"] == "done"


async def test_a_consent_past_its_term_is_listed_as_expired(office: Office, run: Any) -> None:
    marie = await known(office)
    work = office.gateway.unit_of_work()
    work.now = "2025-01-01T00:00:00.000000Z"
    with work:
        identifier = basis.record(work, office.consent(marie, "2025-06-01T00:00:00Z"), decision="given").id
    rows = {row["id"]: row for row in map(json.loads, run("basis", "list", "--person", marie).stdout.splitlines())}
    assert rows[identifier]["state"] == "expired"


async def test_a_consent_confirmed_again_then_found_never_valid_is_to_be_erased_by_who_received(
    office: Office, run: Any, tmp_path: Path
) -> None:
    marie = await known(office)
    path, finding = tmp_path / "consent.json", tmp_path / "finding.txt"
    path.write_text(json.dumps(office.consent(marie) | {"purpose": "accompagnement"}), encoding="utf-8")
    finding.write_text("Il conditionnait une aide : il n'était pas libre.", encoding="utf-8")
    one = said(run("basis", "record", str(path), "--decision", "given"))["id"]
    assert said(run("basis", "reconfirm", one))["state"] == "given"
    told = said(run("basis", "invalidate", one, "--reason", str(finding)))
    assert told["state"] == "invalidated"
    with office.gateway.unit_of_work() as work:
        asked = notification.of_record(work, one)
        (entry,) = journal.of_period(work.connection, "2000", "3000", event="consent.invalidate")
    assert {notice.action for notice in asked} == {"erase"}
    assert len(asked) == told["notified"] > 0
    assert entry.fields["reason_h"] == hashlib.sha256(finding.read_bytes()).hexdigest()
    assert isinstance(run("basis", "reconfirm", one).exception, Conflict)


async def test_limitation_and_its_end(office: Office, run: Any, tmp_path: Path) -> None:
    marie = await known(office)
    path = tmp_path / "limitation.json"
    path.write_text(json.dumps(office.record("limitation", marie, regime="", purpose="")), encoding="utf-8")
    told = said(run("basis", "limit", str(path)))
    assert (told["state"], told["notified"]) == ("set", 2)
    assert said(run("basis", "lift", told["id"]))["state"] == "lifted"
    again = said(run("basis", "record", str(path)))["id"]
    with office.gateway.unit_of_work() as work:
        assert [one.action for one in notification.of_record(work, again)] == ["limit", "limit"]


async def test_a_protected_adults_flows_wait_until_her_representative_was_given_the_notice(
    office: Office, run: Any, tmp_path: Path
) -> None:
    marie = await known(office)

    def seen() -> tuple[str, bool]:
        with office.gateway.unit_of_work() as work:
            state = basis.states(work, [marie])[marie].for_flow("PIE", "accompagnement", "ccas", work.now)
            return state.age_status, state.representative_notified

    path = tmp_path / "protection.json"
    held = office.record("protection", marie, regime="", purpose="", recipients=[], age_status="protected_adult")
    del held["subject_ref"]  # which nobody can type
    path.write_text(json.dumps(held), encoding="utf-8")
    protection = said(run("basis", "record", str(path)))["id"]
    assert seen() == ("protected_adult", False)
    assert said(run("basis", "notified", protection))["state"] == "notified"
    assert seen() == ("protected_adult", True)
    assert said(run("basis", "lift", protection))["state"] == "ended"
    assert seen() == ("adult", False)


async def test_a_notice_and_its_easy_to_read_variant_are_published_once(
    office: Office, run: Any, tmp_path: Path
) -> None:
    path = tmp_path / "notice.txt"
    path.write_text("Vos données sont partagées avec les professionnels qui vous suivent.", encoding="utf-8")
    first = said(run("notice", "publish", "essai", str(path), "--version", "1"))
    assert first["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert said(run("notice", "publish", "essai", str(path), "--version", "1")) == first, "again changes nothing"
    path.write_text("Nous partageons ce qui est utile. Vous pouvez dire non.", encoding="utf-8")
    assert isinstance(run("notice", "publish", "essai", str(path), "--version", "1").exception, Conflict)
    said(run("notice", "publish", "essai", str(path), "--version", "1", "--falc"))
    assert run("notice", "publish", "Notice de Mme X", str(path), "--version", "1").exit_code == 2
    said(run("notice", "publish", "essai", str(path), "--version", "2"))
    shown = [json.loads(line) for line in run("notice", "list").stdout.splitlines()]
    assert [(one["version"], one["falc"]) for one in shown if one["id"] == "essai"] == [
        (1, False),
        (1, True),
        (2, False),
    ]
    with office.gateway.unit_of_work() as work:
        told = [
            one.fields["notice_ref"]
            for one in journal.of_period(work.connection, "2000", "3000", event="admin.setting")
        ]
        assert basis_states.notices_in_force(work)["essai"] == 2
    assert told == ["essai:1", "essai:1", "essai:1", "essai:2"]


async def test_the_register_and_the_breach_list(office: Office, run: Any, tmp_path: Path) -> None:
    await known(office)
    table, page = tmp_path / "registre.csv", tmp_path / "registre.html"
    told = said(run("register", "--csv", str(table), "--html", str(page)))
    assert {one["kind"] for one in told["differences"]} <= {"unused"}
    assert table.read_text(encoding="utf-8").startswith("\ufeffRéférence;")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    one = said(run("breach", "draft", "token-stolen", given={"persons": 2}))
    window = ("--from", "2020-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z")
    assert said(run("breach", "touched", "ccas", *window))["client_id"] == "ccas"
    done = said(run("breach", "complete", one["id"], "--cnil", one["aware_at"], given={"records": 3}))
    assert (done["state"], done["records"], done["late"]) == ("open", 3, False)
    assert said(run("breach", "close", one["id"]))["state"] == "closed"
    assert json.loads(run("breach", "list").stdout)["id"] == one["id"]


async def test_portability_says_why_it_does_not_apply(office: Office, run: Any) -> None:
    marie = await known(office)
    assert said(run("person", "portability", marie))["applicable"] is False
