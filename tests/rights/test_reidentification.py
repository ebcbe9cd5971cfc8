"""Two accounts and a reason lead from a pseudonym to a person, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from sqlalchemy.exc import IntegrityError

from gateway import clock, erasure, journal, reidentification
from gateway.access import partners
from gateway.app import build
from gateway.problems import Conflict, Forbidden, Invalid, Unknown
from gateway.reidentification import Account
from gateway.storage.tables.rights import reidentification as table
from tests.rights.conftest import ISSUER, MARIE, PAUL, Office, known
from tests.rights.test_commands import run, said

__all__ = ["run"]
REASON = "Plainte CANARIDUPONT reçue le 12 : retrouver la personne pour lui répondre."
FIRST, SECOND = Account(client_id="dpo"), Account(client_id="dpo-adjoint")


def _use(office: Office, asked: str, by: Account) -> dict[str, Any]:
    found = reidentification.whose(office.gateway, asked, by)
    with office.gateway.unit_of_work() as work:
        return reidentification.use(work, office.gateway, asked, by, found)


def _journal(office: Office) -> list[dict[str, Any]]:
    with office.gateway.engine.connect() as connection:
        entries = journal.of_period(connection, "2020", "2100", limit=1000, event="log.read")
    return [one.fields for one in entries if one.fields.get("outcome", "").startswith("reidentify")]


async def test_two_accounts_find_the_person_once_and_the_journal_says_so(both: Office) -> None:
    marie = await known(both)
    gateway = both.gateway
    subject = gateway.keys.pseudonym("ccas", marie)
    with gateway.unit_of_work() as work:
        asked = reidentification.request(work, subject, REASON, FIRST)
    with pytest.raises(Conflict, match="reidentification-closed"):
        _use(both, asked["id"], FIRST)
    with gateway.unit_of_work() as work, pytest.raises(Forbidden, match="same-account"):
        reidentification.approve(work, asked["id"], FIRST)
    with gateway.unit_of_work() as work:
        assert [one["reason"] for one in reidentification.waiting(work)] == [REASON]
        reidentification.approve(work, asked["id"], SECOND)
    with pytest.raises(Forbidden, match="other-account"):
        _use(both, asked["id"], SECOND)
    told = _use(both, asked["id"], FIRST)
    assert told["person"] == marie
    assert told["identity"]["personne.nom_naissance"] == MARIE["personne.nom_naissance"]
    for again in (reidentification.approve, lambda work, id, by: reidentification.use(work, gateway, id, FIRST, marie)):
        with gateway.unit_of_work() as work, pytest.raises(Conflict, match="reidentification-closed"):
            again(work, asked["id"], SECOND)
    logged = _journal(both)
    assert [(one["outcome"], one["client_id"]) for one in logged] == [
        ("reidentify-requested", "dpo"), ("reidentify-approved", "dpo-adjoint"), ("reidentify-used", "dpo")
    ]  # fmt: skip
    assert len({one["reason_h"] for one in logged}) == 1
    assert "CANARI" not in json.dumps(logged)


async def test_time_passes_and_the_dead_stay_dead(office: Office) -> None:
    marie = await known(office)
    gateway = office.gateway
    subject = gateway.keys.pseudonym("departement", marie)
    with gateway.unit_of_work() as work:
        asked = reidentification.request(work, subject, REASON, FIRST)["id"]
        work.now = clock.instant(clock.now() + reidentification.WAITS)
        with pytest.raises(Conflict, match="expired"):
            reidentification.approve(work, asked, SECOND)
    with gateway.unit_of_work() as work:
        reidentification.approve(work, asked, SECOND)
        work.now = clock.instant(clock.now() + reidentification.LASTS)
        with pytest.raises(Conflict, match="expired"):
            reidentification.use(work, gateway, asked, FIRST, marie)
    found = reidentification.whose(gateway, asked, FIRST)
    with gateway.unit_of_work() as work:
        erasure.erase(work, gateway, marie, ground="request", forced_by="f" * 64)
    assert (found, reidentification.whose(gateway, asked, FIRST)) == (marie, None)
    with gateway.unit_of_work() as work:
        told = reidentification.use(work, gateway, asked, FIRST, found)  # erased since it was found
    assert (told["person"], told["identity"], told["state"]) == (None, {}, "used")


async def test_the_search_reads_page_by_page_while_others_write_and_uses_nothing_up(
    both: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reidentification, "PAGE", 1)
    gateway = both.gateway
    paul, marie = await known(both, PAUL, key="d2"), await known(both)
    with gateway.unit_of_work() as work:
        both.gateway.references.give(work, "departement", paul)
        names = {gateway.keys.pseudonym("departement", one): one for one in (paul, marie)} | {"a" * 40: None}
        asked = {reidentification.request(work, name, REASON, FIRST)["id"]: who for name, who in names.items()}
    with gateway.unit_of_work() as work:
        for one in asked:
            reidentification.approve(work, one, SECOND)
    with gateway.unit_of_work() as work:
        both.gateway.references.give(work, "ccas", marie)  # on SQLite, no other may write until it ends
        assert {one: reidentification.whose(gateway, one, FIRST) for one in asked} == asked
    with gateway.reading() as work:
        assert {one["state"] for one in reidentification.waiting(work)} == {"approved"}


def test_a_request_says_who_and_why(office: Office) -> None:
    with office.gateway.unit_of_work() as work:
        with pytest.raises(Invalid, match="reason-missing"):
            reidentification.request(work, "a" * 40, "parce que", FIRST)
        with pytest.raises(Invalid, match="subject-invalid"):
            reidentification.request(work, "Marie", REASON, FIRST)
        with pytest.raises(Unknown):
            reidentification.approve(work, clock.new_id(), SECOND)
        asked = reidentification.request(work, "a" * 40, REASON, FIRST)["id"]
    with pytest.raises(IntegrityError), office.gateway.engine.begin() as connection:
        connection.execute(table.update().where(table.c.id == asked).values(approved_by="dpo"))


async def test_the_same_from_two_officers_clients(office: Office) -> None:
    marie = await known(office)
    office.keys["dpo_adjoint"] = ECKey.generate_key("P-256", auto_kid=True)
    jwks = {"keys": [office.keys["dpo_adjoint"].as_dict(private=False)]}
    with office.gateway.unit_of_work() as work:
        partners.register_partner(work, "dpo_adjoint", "dpo_adjoint", jwks, name="DPO", role="dpo", issuer=ISSUER)
    office.gateway.refresh()
    app = build(office.gateway, embedded_worker=False)
    base = "/v1/audit/reidentifications"
    async with (
        app.router.lifespan_context(app),
        office.client("dpo", app, scope="audit") as first,
        office.client("dpo_adjoint", app, scope="audit") as second,
    ):
        asked = {"subject": office.gateway.keys.pseudonym("ccas", marie), "reason": REASON}
        one = (await first.post(base, json=asked)).raise_for_status().json()["id"]
        assert (await first.post(f"{base}/{one}/approve")).status_code == 403
        assert (await second.post(f"{base}/{one}/approve")).status_code == 200
        told = (await first.post(f"{base}/{one}/use")).raise_for_status().json()
        assert told["person"] == marie
        assert (await first.post(f"{base}/{one}/use")).status_code == 409
        assert (await first.post(base, json={"subject": "a" * 40})).status_code == 422


async def test_the_same_from_the_command_line_by_two_accounts(
    office: Office, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marie = await known(office)
    reason = tmp_path / "motif.txt"
    reason.write_text(REASON, "utf-8")
    monkeypatch.setenv("SUDO_USER", "alix")
    asked = said(run("reidentify", "request", office.gateway.keys.pseudonym("ccas", marie), "--reason", str(reason)))
    assert isinstance(run("reidentify", "approve", asked["id"]).exception, Forbidden)
    monkeypatch.setenv("SUDO_USER", "camille")
    assert said(run("reidentify", "approve", asked["id"]))["state"] == "approved"
    monkeypatch.setenv("SUDO_USER", "alix")
    assert said(run("reidentify", "list"))["id"] == asked["id"]
    assert said(run("reidentify", "use", asked["id"]))["person"] == marie
