"""Requests and deadlines, access, rectification, limitation, portability."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest
from lxml import html
from sqlalchemy import func, select

from gateway import (
    basis,
    clock,
    erasure,
    identity_review,
    journal,
    notification,
    person_export,
    purge,
    rectification,
    rights,
)
from gateway.app import build
from gateway.basis_states import states
from gateway.past import past_recipients
from gateway.problems import Conflict, Invalid, Unknown
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.record import identity_case
from tests.rights.conftest import MARIE, PAUL, Office, known


def at(office: Office, moment: str) -> Any:
    work = office.gateway.unit_of_work()
    work.now = clock.instant(datetime.fromisoformat(moment))
    return work


# --- deadlines ---


@pytest.mark.parametrize(
    ("received", "months", "due"),
    [
        ("2026-01-31T10:00:00Z", 1, "2026-02-28"),
        ("2028-01-31T10:00:00Z", 1, "2028-02-29"),
        ("2026-12-15T10:00:00Z", 1, "2027-01-15"),
        ("2026-11-30T10:00:00Z", 3, "2027-02-28"),
        ("2026-02-28T23:30:00Z", 1, "2026-04-01"),  # the first of March in Paris
    ],
)
def test_a_month_ends_on_the_same_day_or_the_last_of_a_shorter_one(received: str, months: int, due: str) -> None:
    assert rights.later(received, months)[:10] == due


async def test_the_month_stops_while_identity_is_checked(both: Office) -> None:
    marie = await known(both)
    with at(both, "2026-03-01T10:00:00Z") as work:
        one = rights.receive(work, both.gateway, marie, "access")
    assert (one.state, one.due_at[:10], one.late) == ("open", "2026-04-01", False)
    with at(both, "2026-03-05T10:00:00Z") as work:
        rights.check_identity(work, both.gateway, one.id)
    with at(both, "2026-05-01T10:00:00Z") as work:
        assert rights.get(work, one.id).late is False
    with at(both, "2026-03-15T10:00:00Z") as work:
        assert rights.identity_confirmed(work, both.gateway, one.id).due_at[:10] == "2026-04-11"
    with at(both, "2026-04-11T21:30:00Z") as work:
        assert rights.get(work, one.id).late is False, "the last day is hers to the end"
    with at(both, "2026-04-11T22:30:00Z") as work:
        assert rights.get(work, one.id).late is True
        assert rights.receive(work, both.gateway, marie, "access", received_at="2026-04-12").due_at[:10] == "2026-05-12"


async def test_two_more_months_once_and_within_the_first(both: Office) -> None:
    marie = await known(both)
    with at(both, "2026-03-01T10:00:00Z") as work:
        first = rights.receive(work, both.gateway, marie, "erasure")
        late = rights.receive(work, both.gateway, marie, "access")
    with at(both, "2026-03-30T10:00:00Z") as work:
        assert rights.extend(work, both.gateway, first.id, reason="complex").due_at[:10] == "2026-06-01"
    with at(both, "2026-04-02T10:00:00Z") as work, pytest.raises(Conflict, match="extension-refused"):
        rights.extend(work, both.gateway, first.id, reason="complex")
    with at(both, "2026-04-02T10:00:00Z") as work, pytest.raises(Conflict, match="extension-refused"):
        rights.extend(work, both.gateway, late.id, reason="complex")


async def test_a_refusal_cites_its_article_and_ends_the_request(both: Office) -> None:
    marie = await known(both)
    with both.gateway.unit_of_work() as work:
        one = rights.receive(work, both.gateway, marie, "erasure", body="ccas")
        with pytest.raises(Invalid, match="reason-needed"):
            rights.refuse(work, both.gateway, one.id, reason="still-needed", article="")
        told = rights.refuse(work, both.gateway, one.id, reason="still-needed", article="RGPD 17(3)(b)")
        with pytest.raises(Conflict, match="request-state"):
            rights.done(work, both.gateway, one.id)
    assert (told.state, told.article) == ("refused", "RGPD 17(3)(b)")
    with both.gateway.unit_of_work() as work:
        assert rights.demands(work, waiting=True) == []
        (entry,) = journal.of_period(work.connection, "2000", "3000", event="right.answer")
        assert "RGPD 17(3)(b)" in entry.fields["article"]


# --- access ---


async def test_the_export_holds_all_and_only_her_rows(both: Office, tmp_path: Any) -> None:
    marie = await known(both)
    await known(both, PAUL, "d2")
    gateway = both.gateway
    with gateway.unit_of_work() as work:
        counts = person_export.export(work, gateway, marie, tmp_path / "out")
    raw = (tmp_path / "out" / "dossier.json").read_text(encoding="utf-8")
    told = json.loads(raw)
    assert "CANARIDURAND" not in raw
    assert "CANARILEFEVRE" in raw
    with gateway.unit_of_work() as work:
        current = gateway.dossiers.current(work, marie)
        hers = {
            (one["log"], one["index"])
            for body in (*gateway.bodies, "personne", "dpo")
            for one in _entries(work, gateway.keys.pseudonym(body, marie))
        }
        deliveries = work.connection.execute(
            select(func.count()).select_from(outbox).where(outbox.c.person_id == marie)
        ).scalar_one()
    assert told["facts"].keys() == current.keys()
    shown = {(one["log"], one["index"]) for one in told["exchanges"]}
    assert shown <= hers
    assert hers - shown == {max(hers, key=lambda one: one[1])}  # the export itself, written as it was made
    assert counts["deliveries"] == len(told["deliveries"]) == deliveries > 0
    assert {one["sender"] for one in told["received"]} == {"departement", "ccas"}
    assert told["bases"][0]["state"] == "informed"


async def test_a_body_finds_whom_it_spoke_of_though_another_repeated_each_word_since(office: Office, app: Any) -> None:
    office.says("ccas", MARIE)
    office.says("caf", MARIE)
    sought = {"nir": "2850640999901", "date_naissance": "1985-06-12"}
    async with app.router.lifespan_context(app), office.client("ccas", app) as ccas:
        found = (await ccas.post("/v1/persons/search", json=sought)).raise_for_status().json()
    assert found["certainty"] == "certain"


async def test_refusals_are_shown_with_their_article(both: Office) -> None:
    marie = both.says("departement", MARIE).persons[0]
    both.says("ccas", MARIE | {"personne.nom_usage": "CANARIUSAGE"})  # nobody informed her: refused
    with both.gateway.unit_of_work() as work:
        told = person_export.gather(work, both.gateway, marie)
    refused = [one for one in told["exchanges"] if one.get("decision") == "deny"]
    assert refused
    assert all(one["article"] and one["rule_ids"] for one in refused)


async def test_agents_and_other_members_are_left_out_and_counted(office: Office) -> None:
    facts = MARIE | {
        "orientations[departement:1].referent_pressenti.nom": "CANARIAGENT",
        "orientations[departement:1].referent_pressenti.role": "referent_social",
    }
    marie = office.says("departement", facts, foyer={"foyer.membres[x].role": "conjoint"}).persons[0]
    with office.gateway.unit_of_work() as work:
        told = person_export.gather(work, office.gateway, marie)
    assert "CANARIAGENT" not in json.dumps(told)
    assert "foyer.membres" not in json.dumps(told)
    assert told["removed"] == {"agents": 1, "tiers": 1}
    assert "orientations[departement:1].referent_pressenti.role" in told["facts"]


async def test_the_page_is_french_readable_and_without_script(office: Office, tmp_path: Any) -> None:
    marie = await known(office, MARIE | {"personne.nom_usage": "<script>alert(1)</script>"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "page.html").write_text("une copie de l'an dernier, ouverte à tous " * 10_000)
    (tmp_path / "out" / "page.html").chmod(0o644)
    with office.gateway.unit_of_work() as work:
        person_export.export(work, office.gateway, marie, tmp_path / "out")
    page = html.fromstring((tmp_path / "out" / "page.html").read_text(encoding="utf-8"))
    assert "une copie de l'an dernier" not in page.text_content()
    assert page.get("lang") == "fr"
    assert not page.xpath("//script | //*[@onclick] | //link | //img | //iframe")
    assert len(page.xpath("//h1")) == 1
    assert page.xpath("//title")[0].text
    for table in page.xpath("//table"):
        assert table.xpath("./caption")
        assert all(cell.get("scope") == "col" for cell in table.xpath("./thead//th"))
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.xpath("//a/@href")} <= set(ids)
    assert "CANARILEFEVRE" in page.text_content()
    assert oct((tmp_path / "out" / "page.html").stat().st_mode)[-3:] == "600"


async def test_the_page_names_each_item_and_says_codes_and_dates_in_words(office: Office, tmp_path: Any) -> None:
    facts = {
        "freins[logement].impact": "fort",
        "freins[mobilite].impact": "faible",
        "freins[mobilite].situations[mobilite_dependant_transports_communs].valeur": "oui",
        "orientations[departement:1].debut": "2026-11-02",
        "orientations[departement:1].organisme_accueil.nom": "CCAS d'essai",
    }
    marie = office.says("departement", MARIE | facts).persons[0]
    with office.gateway.unit_of_work() as work:
        person_export.export(work, office.gateway, marie, tmp_path / "out")
    page = html.fromstring((tmp_path / "out" / "page.html").read_text(encoding="utf-8"))
    said = {row.xpath("string(./th)"): row.xpath("string(./td[1])") for row in page.xpath("//table[1]//tbody/tr[th]")}
    assert said["freins › logement › Impact sur la recherche d'emploi"]
    assert said["freins › mobilité › Impact sur la recherche d'emploi"]
    assert any(field.startswith("freins › mobilité › situations › Dépendant des transports") for field in said)
    assert said["orientations › Début"] == "02/11/2026"
    assert said["orientations › organisme d'accueil › Nom"] == "CCAS d'essai"


async def test_the_page_of_somebody_erased_announces_nothing_that_is_not_there(office: Office, tmp_path: Any) -> None:
    marie = await known(office, MARIE)
    with office.gateway.unit_of_work() as work:
        erasure.erase(work, office.gateway, marie, forced_by="0" * 64)
    with office.gateway.unit_of_work() as work:
        person_export.export(work, office.gateway, marie, tmp_path / "out")
    page = html.fromstring((tmp_path / "out" / "page.html").read_text(encoding="utf-8")).text_content()
    assert "Aucune donnée n'est conservée." in page
    assert "est conservée : elle est dans" not in page


# --- rectification ---


async def test_a_correction_stands_over_what_bodies_repeat_and_reaches_past_recipients(both: Office) -> None:
    marie = await known(both)
    gateway = both.gateway
    with gateway.unit_of_work() as work:
        told = rectification.rectify(
            work, gateway, marie, {"personne.nom_usage": "CANARIJUSTE"}, expected={"personne.nom_usage": "CANARIUSAGE"}
        )
    assert told.changed == ("personne.nom_usage",)
    assert "departement" in told.told
    assert await both.settle() == len(told.deliveries) > 0
    both.says("ccas", MARIE | {"personne.nom_usage": "CANARIUSAGE"}, key="again")
    with gateway.unit_of_work() as work:
        fact = gateway.dossiers.current(work, marie)["personne.nom_usage"]
        assert (fact.value, fact.source) == ("CANARIJUSTE", "personne")
        rows = work.connection.execute(select(outbox).where(outbox.c.exchange_id == told.id)).all()
        assert {row.state for row in rows} == {"delivered"}
        told_to = notification.of_record(work, told.id)
        assert {(one.recipient, one.action) for one in told_to} == {("departement", "rectify"), ("ccas", "rectify")}


async def test_a_newer_value_is_a_conflict_for_a_human(both: Office) -> None:
    marie = await known(both)
    with pytest.raises(Conflict, match="newer-value") as caught, both.gateway.unit_of_work() as work:
        rectification.rectify(
            work,
            both.gateway,
            marie,
            {"personne.nom_usage": "CANARIJUSTE"},
            expected={"personne.nom_usage": "CANARIOLD"},
        )
    assert "CANARI" not in str(caught.value)


async def test_an_appreciation_gets_the_persons_statement_and_is_not_overwritten(both: Office) -> None:
    path = "objectifs[faire_diagnostic_mobilite].texte"
    marie = await known(both)
    with both.gateway.unit_of_work() as work:
        with pytest.raises(Invalid, match="appreciation"):
            rectification.rectify(work, both.gateway, marie, {"diagnostic.commentaire_personne": "non"})
        told = rectification.rectify(
            work, both.gateway, marie, {}, statements={"diagnostic.commentaire_personne": "Je ne suis pas d'accord."}
        )
        assert len(told.statements) == 1
        shown = person_export.gather(work, both.gateway, marie)
    assert shown["statements"][0]["text"] == "Je ne suis pas d'accord."
    assert path not in shown["facts"]


async def test_a_wrong_value_or_path_is_refused_without_repeating_it(office: Office) -> None:
    marie = await known(office)
    for facts in ({"personne.date_naissance": "CANARIBAD"}, {"personne.inconnu": "CANARIBAD"}, {}):
        with pytest.raises(Invalid) as caught, office.gateway.unit_of_work() as work:
            rectification.rectify(work, office.gateway, marie, facts)
        assert "CANARIBAD" not in str(caught.value)


# --- limitation, objection, portability ---


async def test_a_limitation_stops_every_flow_and_its_end_reopens_them(both: Office) -> None:
    marie = await known(both)
    content = both.record("limitation", marie, regime="", purpose="", article=["RGPD 18"])
    with both.gateway.unit_of_work() as work:
        change = rights.limit(work, both.gateway, content)
    receipt = both.says("ccas", MARIE | {"personne.nom_usage": "CANARIAUTRE"})
    assert {one.reason for one in receipt.outcomes} == {"limitation"}
    with both.gateway.unit_of_work() as work:
        rights.lift(work, both.gateway, change.id)
    receipt = both.says("ccas", MARIE | {"personne.nom_usage": "CANARIENCORE"})
    assert "queued" in {one.status for one in receipt.outcomes}
    with both.gateway.unit_of_work() as work:
        told = notification.of_record(work, change.id)
    assert {one.action for one in told} == {"limit", "resume"}
    assert {one.recipient for one in told} == {"departement", "ccas"}


async def test_an_objection_is_answered_with_its_reason(both: Office) -> None:
    marie = await known(both)
    with both.gateway.unit_of_work() as work:
        raised = basis.object_(work, both.record("objection", marie))
    assert both.says("ccas", MARIE | {"personne.nom_usage": "X"}).outcomes[0].reason == "objection"
    with both.gateway.unit_of_work() as work, pytest.raises(Invalid, match="reason-needed"):
        rights.resolve(work, both.gateway, raised.id, upheld=False)
    with both.gateway.unit_of_work() as work:
        told = rights.resolve(work, both.gateway, raised.id, upheld=True)
    assert len(told.notifications) == 2


async def test_an_objection_made_before_she_was_recognised_holds_once_she_is(both: Office) -> None:
    marie, gateway = await known(both), both.gateway
    alike = {path: value for path, value in MARIE.items() if not path.startswith("identifiants")}
    (apart,) = both.says("ccas", alike, key="another file").persons
    with gateway.unit_of_work() as work:
        basis.object_(work, both.record("objection", apart, article=["RGPD 21"], recipients=["ccas"]))
        case = str(work.connection.scalar(select(identity_case.c.id)))
    ended = []
    for act in ("doubt", "same", "reversed"):
        with gateway.unit_of_work() as work:
            if act == "same":
                identity_review.decide(work, gateway, case, True, "agent")
            elif act == "reversed":
                identity_review.reverse(work, gateway, case, "agent")
        (told,) = both.says("departement", MARIE | {"personne.nom_usage": act.upper()}).outcomes
        ended.append((told.recipient, told.status, told.reason))
        with gateway.unit_of_work() as work:
            objecting = {one: bool(states(work, [one])[one].held) for one in (marie, apart)}
            held = [purge.hold(work, [one]) for one in (marie, apart)]
        assert (objecting, held[1]) == ({marie: True, apart: True}, "objection")
        assert held[0] == ("objection" if act == "same" else "")
    assert ended == [("ccas", "queued", ""), ("ccas", "withheld", "objection"), ("ccas", "queued", "")]


async def test_portability_is_given_under_consent_and_reasoned_otherwise(both: Office) -> None:
    marie = await known(both)
    with both.gateway.unit_of_work() as work:
        answer = person_export.portability(work, both.gateway, marie)
    assert answer["applicable"] is False
    assert "RGPD 20" in answer["article"]
    assert re.search("obligation légale|intérêt public", answer["reason"])
    with both.gateway.unit_of_work() as work:
        basis.record(work, both.consent(marie), decision="given")
        answer = person_export.portability(work, both.gateway, marie)
    assert answer["applicable"] is True
    assert answer["facts"]["personne.nom_naissance"]["value"] == "CANARILEFEVRE"


def test_nobody_is_nobody(office: Office) -> None:
    with pytest.raises(Unknown), office.gateway.unit_of_work() as work:
        rights.receive(work, office.gateway, clock.new_id(), "access")


def _entries(work: Any, subject: str) -> list[dict[str, Any]]:
    return [{"log": one.log, "index": one.idx} for one in journal.history(work.connection, [subject], limit=10_000)]


@pytest.mark.parametrize("act", ["limit", "withdraw", "rectify", "erase"])
async def test_a_body_that_only_read_the_dossier_is_told_as_one_that_received_it(office: Office, act: str) -> None:
    marie = office.says("departement", MARIE).persons[0]
    office.informed(marie)
    office.says("ccas", {name: value for name, value in MARIE.items() if "telephones" not in name})
    app = build(office.gateway, embedded_worker=False)
    async with app.router.lifespan_context(app), office.client("ccas", app) as reader:
        search = {"nir": MARIE["identifiants[nir].valeur"], "date_naissance": MARIE["personne.date_naissance"]}
        reference = (await reader.post("/v1/persons/search", json=search)).raise_for_status().json()["person"]
        with office.gateway.unit_of_work() as work:
            assert past_recipients(work, office.gateway, marie) == [], "nothing was delivered to anybody"
        assert (await reader.get(f"/v1/persons/{reference}/dossier")).raise_for_status().json()["facts"]
    with office.gateway.unit_of_work() as work:
        assert past_recipients(work, office.gateway, marie) == ["ccas"]
        assert past_recipients(work, office.gateway, marie, "accompagnement") == ["ccas"]
        assert past_recipients(work, office.gateway, marie, "orientation") == []
        if act == "limit":
            record = office.record("limitation", marie, article=["RGPD 18"])
            told = rights.limit(work, office.gateway, record).id
        elif act == "withdraw":
            told = basis.record(work, office.consent(marie), decision="given").id
            basis.withdraw(work, told, past_recipients=past_recipients(work, office.gateway, marie),
                           reference=lambda body: office.gateway.keys.pseudonym(body, marie))  # fmt: skip
        elif act == "rectify":
            told = rectification.rectify(work, office.gateway, marie, {"personne.nom_usage": "CANARIJUSTE"}).id
        else:
            told = erasure.erase(work, office.gateway, marie, forced_by="ab" * 32).id
        assert [one.recipient for one in notification.of_record(work, told)] == ["ccas"]
