"""What each of the three users comes for, with a mouse and no script."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select

import mappings
from gateway import clock, quarantine
from gateway.outbox import enqueue
from gateway.storage.tables.basis import basis_record
from gateway.storage.tables.delivery import outbox, recipient_state
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import assertion_set
from gateway.storage.tables.record import quarantine as quarantine_table
from gateway.words import typeset
from mappings.codes import Entry
from tests.browser.conftest import SCREENSHOTS, Lived, follow

pytestmark = pytest.mark.browser


class Clicks:
    """Counts what the hand does once signed in."""

    def __init__(self, page: Any) -> None:
        self.page, self.count = page, 0

    def __call__(self, selector: str) -> None:
        follow(self.page, selector)
        self.count += 1


def _rows(lived: Lived, query: Any) -> list[Any]:
    with lived.gateway.engine.connect() as connection:
        return list(connection.execute(query).all())


def test_a_dpo_says_who_received_what_about_a_person_and_what_was_refused(page: Any, lived: Lived) -> None:
    one = lived.people[0]
    page.goto("/console/")
    follow(page, "text=Entrer comme DPO")
    click = Clicks(page)
    click("nav >> text=Chercher une personne")
    page.fill("#nir", one.person.nir)
    page.fill("#date_naissance", one.born)
    click("main button[type=submit]")
    said = page.inner_text("main .lead")
    assert "Département" in said
    assert "France Travail" in said
    assert "Des envois ont été refusés vers" in said
    click("main .tabs >> text=Refus et retenues")
    refused = page.inner_text(".timeline")
    assert "RGPD 21" in refused
    assert click.count <= 4
    for shown in (one.person.nir, one.person.nom_naissance, one.born):
        assert shown not in page.content()
        assert shown not in page.url


def test_her_history_tells_her_own_requests_and_no_exchange_that_did_not_take_place(page: Any, lived: Lived) -> None:
    one = lived.people[0]
    page.goto("/console/connexion?comme=dpo")
    page.goto("/console/personne")
    page.fill("#nir", one.person.nir)
    follow(page, "main button[type=submit]")
    history = page.url.partition("?")[0]
    told = page.inner_text(".timeline")
    assert "Accusé de réception de" in told
    assert not re.search(r"(.+) → \1\b", told), "a body that acknowledges a document sends nothing to itself"
    assert not re.search(r"\d{4}-\d\d-\d\dT", page.inner_html(".timeline .links")), "Paris time, in French"
    page.goto(f"{history}/demande")
    page.select_option("#droit", "access")
    follow(page, "main button[type=submit]")
    page.goto(history)
    assert "Demande d'exercice d'un droit" in page.inner_text(".timeline")
    page.goto("/console/registre")
    bodies = "table tbody tr"
    for row in page.locator(bodies).all_inner_texts():
        assert not re.match(r"–\t", row), row


def test_what_a_body_received_stays_told_when_the_same_exchange_is_later_refused_to_it(page: Any, lived: Lived) -> None:
    """She objected since: the next delivery of an exchange that the CCAS has received already is refused."""
    page.goto("/console/connexion?comme=dpo")
    page.goto("/console/personne")
    page.fill("#nir", lived.people[0].person.nir)
    follow(page, "main button[type=submit]")
    ccas = "table tbody tr:has(th:text-is('CCAS de Saint-Aventin-les-Sables'))"
    before = page.locator(ccas).inner_text()
    assert "C11\u00a0logement" in before
    _delivered_again(lived, "ccas")
    page.reload()
    after = page.locator(ccas).inner_text()
    assert before.rpartition("\t")[0] == after.rpartition("\t")[0], "what it received does not change"
    assert before != after, "and the refusal is told"
    readings = int(page.locator(".figures > div", has_text="Consultations").locator("dd").inner_text())
    page.goto(page.url.partition("?")[0] + "?vue=lectures")
    assert page.locator(".timeline > li").count() == readings + 1, "the figure, and this very reading"
    assert page.locator(".timeline > li", has_text="→").count() == 0


def _delivered_again(lived: Lived, body: str) -> None:
    """The last delivery to this body of whoever objected in the journey, offered once more; the worker settles it."""
    with lived.gateway.unit_of_work() as work:
        objects = select(basis_record.c.person_id).where(basis_record.c.kind == "objection")
        objects = objects.order_by(basis_record.c.id).limit(1).scalar_subquery()
        query = select(outbox).where(outbox.c.recipient == body, outbox.c.person_id == objects)
        row = work.connection.execute(query.order_by(outbox.c.id.desc())).first()
        assert row is not None
        names = ("recipient", "person_id", "sender", "document", "item", "flow", "exchange_id")
        id = enqueue(work, **{name: getattr(row, name) for name in names})
    settled, until = (
        select(outbox.c.state).where(outbox.c.id == id, outbox.c.settled_at.is_not(None)),
        time.monotonic() + 60,
    )
    while not (found := _rows(lived, settled)):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert found[0].state == "withheld"


def test_a_refused_exchange_says_why_and_under_which_text(page: Any, lived: Lived) -> None:
    one = lived.people[0]
    page.goto("/console/connexion?comme=dpo")
    page.goto("/console/personne")
    page.fill("#nir", one.person.nir)
    follow(page, "main button[type=submit]")
    page.goto(page.url.partition("?")[0] + "?vue=refus")
    follow(page, ".timeline li:has-text('RGPD 21') a >> nth=0")
    said = page.inner_text("table:has(#refus)")
    assert "La personne s'est opposée à ce partage" in said
    assert typeset("RGPD 21 ; CASF L263-4-1") in said


def test_a_form_to_correct_is_told_first_to_the_keyboard(page: Any, lived: Lived) -> None:
    page.goto("/console/connexion?comme=dpo")
    page.goto("/console/personne")
    page.fill("#nir", "1")
    follow(page, "main button[type=submit]")
    assert "à corriger" in page.evaluate("document.activeElement.innerText")


def test_a_reading_of_a_person_is_journaled_under_her_reference(page: Any, lived: Lived) -> None:
    one = lived.people[1]
    page.goto("/console/connexion?comme=dpo")
    page.goto("/console/personne")
    page.fill("#nir", one.person.nir)
    follow(page, "main button[type=submit]")
    reference = page.url.partition("/personne/")[2].partition("?")[0]
    entries = [
        row.entry for row in _rows(lived, select(journal_entry.c.entry).where(journal_entry.c.subject == reference))
    ]
    assert any(b'"outcome":"person-history"' in entry and b'"agent_role":"dpo"' in entry for entry in entries)


def test_an_engineer_clears_a_quarantined_code(page: Any, lived: Lived) -> None:
    row = _unknown_codes(lived)[-1]
    with lived.gateway.unit_of_work() as work:
        code = quarantine.raw(work, lived.gateway, row.id)
    page.goto("/console/")
    follow(page, "text=Entrer comme ingénieur")
    follow(page, "nav >> text=Quarantaine")
    follow(page, "main table a")
    follow(page, f"main a[href='/console/quarantaine/{row.id}']")
    assert "n'est pas encore compris" in page.inner_text("main")
    # The mapping of the next release knows this code.
    table = mappings.load("caf.flux_beneficiaire").tables["situation_familiale"]
    table.entries["", code] = Entry("celibataire", "code ajouté")
    try:
        page.reload()
        follow(page, "main button >> text=/^Rejouer$/")
    finally:
        del table.entries["", code]
    assert "1 constat relu et échangé." in page.inner_text("main")
    (after,) = _rows(lived, select(quarantine_table.c.state).where(quarantine_table.c.id == row.id))
    assert after.state == "replayed"
    released = _rows(lived, select(journal_entry.c.exchange_id).where(journal_entry.c.event == "input.release"))
    said = _rows(lived, select(assertion_set.c.id).where(assertion_set.c.exchange_id == released[-1].exchange_id))
    assert said, "the missing fact entered the record"


def _unknown_codes(lived: Lived) -> list[Any]:
    query = select(quarantine_table).where(
        quarantine_table.c.code == "unknown-code", quarantine_table.c.state == "open"
    )
    return _rows(lived, query.order_by(quarantine_table.c.id))


def test_the_value_of_a_finding_is_shown_after_proving_who_asks(page: Any, lived: Lived) -> None:
    row = _unknown_codes(lived)[0]
    page.goto("/console/connexion?comme=integration")
    _age_the_proof(lived)
    page.goto(f"/console/quarantaine/{row.id}")
    assert "scellée" in page.inner_text("main")
    follow(page, "text=Voir la valeur")
    assert "/console/provider/authorize" in page.url
    follow(page, "text=Continuer comme ingénieur")
    assert "scellée" not in page.inner_text("main .facts")
    entries = [
        one.entry for one in _rows(lived, select(journal_entry.c.entry).where(journal_entry.c.event == "log.read"))
    ]
    assert any(b'"outcome":"quarantine-value"' in entry for entry in entries)


def _age_the_proof(lived: Lived) -> None:
    """As if the account had signed in an hour ago."""
    from datetime import timedelta

    from gateway.storage.tables.console import console_session

    with lived.gateway.engine.begin() as connection:
        earlier = clock.instant(clock.now() - timedelta(hours=1))
        connection.execute(console_session.update().values(authenticated_at=earlier))


def test_an_operator_replays_a_dead_letter(page: Any, lived: Lived) -> None:
    dead = [row.id for row in _rows(lived, select(outbox.c.id).where(outbox.c.state == "dead"))]
    assert dead
    page.goto("/console/")
    follow(page, "text=Entrer comme exploitant")
    follow(page, "nav >> text=Envois abandonnés")
    follow(page, "main table >> nth=1 >> button >> nth=0")
    assert "1 envoi remis en file" in page.inner_text("main")
    states: dict[str, str] = {}
    for _ in range(60):
        page.wait_for_timeout(250)
        states = dict(map(tuple, _rows(lived, select(outbox.c.id, outbox.c.state).where(outbox.c.id.in_(dead)))))
        if "delivered" in states.values():
            break
    assert sorted(states.values()).count("delivered") == 1


def test_an_operator_pauses_and_resumes_a_partner(page: Any, lived: Lived) -> None:
    page.goto("/console/connexion?comme=operateur")
    page.goto("/console/partenaires")
    follow(page, "form[action='/console/partenaires/france_travail/suspendre'] button")
    assert "sont suspendus" in page.inner_text("main")
    follow(page, "form[action='/console/partenaires/france_travail/reprendre'] button")
    assert "reprennent" in page.inner_text("main")


def _health_of_caf(page: Any, picture: str) -> str:
    """What an operator reads of this partner's health on the page of partners."""
    page.goto("/console/connexion?comme=operateur")
    page.goto("/console/partenaires")
    page.screenshot(path=SCREENSHOTS / picture)
    return page.inner_text("tr:has(form[action='/console/partenaires/caf/suspendre'])")


@pytest.mark.parametrize(
    ("code", "said", "who"),
    [
        ("certificate-refused", "Le certificat du partenaire n'est pas reconnu", "Au partenaire de renouveler"),
        ("deadline", "n'a pas fini de répondre à temps", "Au partenaire d'agir"),
        ("http_503", "une erreur 503", "Au partenaire d'agir"),
        ("host-not-found", "n'existe pas dans le DNS", "À vous d'agir"),
        ("circuit-open", "Trop d'échecs de suite", "Rien à faire"),
    ],
)
def test_a_partner_that_does_not_answer_is_told_with_its_cause_and_who_acts(
    page: Any, lived: Lived, code: str, said: str, who: str
) -> None:
    """A body at rest, so that nobody takes its delivery meanwhile."""
    later = clock.instant(clock.now() + timedelta(hours=1))
    names = ("person_id", "sender", "document", "item", "flow", "exchange_id")
    with lived.gateway.unit_of_work() as work:
        resting = {"recipient": "caf", "paused": 0, "failures": 3, "retry_at": later}
        work.connection.execute(insert(recipient_state).values(**resting))
        row = work.connection.execute(select(outbox).limit(1)).one()
        failed = {name: getattr(row, name) for name in names} | {"recipient": "caf", "state": "queued"}
        failed |= {"id": clock.new_id(), "created_at": work.now, "next_at": later, "reason": code, "attempts": 1}
        work.connection.execute(insert(outbox).values(**failed))
    try:
        health = _health_of_caf(page, f"partenaires-{code}.png")
    finally:
        with lived.gateway.unit_of_work() as work:
            work.connection.execute(delete(outbox).where(outbox.c.id == failed["id"]))
            work.connection.execute(delete(recipient_state).where(recipient_state.c.recipient == "caf"))
    assert "ne répond pas" in health
    for part in (said, code, who):
        assert part in health


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("too-late:not-connected", "Rien ne répond à cette adresse | Au partenaire d'agir"),
        ("attempts-exhausted:host-not-found", "n'existe pas dans le DNS | À vous d'agir"),
        ("content-refused", "Le partenaire juge le contenu du document incorrect. | Au partenaire d'agir"),
        ("connector-failed", typeset("Le connecteur a échoué ; son auteur doit le corriger.")),
    ],
)
def test_a_partner_of_whom_all_gave_up_is_still_told_with_its_cause(
    page: Any, lived: Lived, code: str, said: str
) -> None:
    names = ("person_id", "sender", "document", "item", "flow", "exchange_id")
    with lived.gateway.unit_of_work() as work:
        row = work.connection.execute(select(outbox).limit(1)).one()
        dead = {name: getattr(row, name) for name in names} | {"recipient": "caf", "state": "dead", "attempts": 12}
        dead |= {"created_at": "2026-01-01T00:00:00.000000Z", "next_at": work.now}
        for reason, at in (("deadline", "2026-01-10T23:30:00.000000Z"), (code, "2026-02-03T08:00:00.000000Z")):
            told = {"id": clock.new_id(), "item": code, "reason": reason, "settled_at": at}
            work.connection.execute(insert(outbox).values(**dead | told))
    try:
        health = _health_of_caf(page, f"partenaires-abandon-{code.partition(':')[0]}.png")
    finally:
        with lived.gateway.unit_of_work() as work:
            work.connection.execute(delete(outbox).where(outbox.c.recipient == "caf", outbox.c.item == code))
    for part in (*said.split(" | "), code, "premier abandon le 11/01/2026 00:30, dernier le 03/02/2026 09:00"):
        assert part in health
    assert "remettez ses envois en file" in health
    assert "repartiront d'eux-mêmes" not in health


def test_the_keyboard_alone_reaches_the_answer(page: Any, lived: Lived) -> None:
    one = lived.people[0]
    page.goto("/console/connexion?comme=dpo")
    page.goto("/console/personne")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type(one.person.nir)
    page.keyboard.press("Enter")
    assert "Ont reçu des données" in page.inner_text("main .lead")


def _until_it_ends(page: Any, moving: str) -> None:
    while page.locator(".state", has_text=moving).count():
        page.reload()


def test_an_operator_reads_what_a_file_would_change_then_applies_it(page: Any, lived: Lived) -> None:
    told = [{"title": "Mme", "firstName": "Ysoline", "birthName": "TREMPLIN", "birthDate": "1979-03-02", "id": "T-1"}]
    trials = lived.gateway.settings.home / "essais"
    others = set(trials.rglob("document"))
    page.goto("/console/connexion?comme=operateur")
    page.goto("/console/fichiers")
    follow(page, "form[action='/console/fichiers/essai'] button")
    page.select_option("#envoi", "ccas|ccas.beneficiaires")
    page.set_input_files(
        "#fichier", {"name": "b.json", "mimeType": "application/json", "buffer": json.dumps(told).encode()}
    )
    before = len(_rows(lived, select(assertion_set.c.id)))
    follow(page, "main form[enctype] button[type=submit]")
    _until_it_ends(page, "lecture d'essai")
    assert "1 nouvelle personne" in page.inner_text("main")
    assert len(_rows(lived, select(assertion_set.c.id))) == before
    follow(page, "form[action$='/appliquer'] button")
    _until_it_ends(page, "en cours d'application")
    assert "Ce fichier est appliqué" in page.inner_text("main")
    assert len(_rows(lived, select(assertion_set.c.id))) > before
    acts = _rows(lived, select(journal_entry.c.entry).where(journal_entry.c.event == "admin.setting"))
    assert any('"applied"' in str(row.entry) for row in acts)
    assert set(trials.rglob("document")) <= others
    follow(page, "form[action$='/jeter'] button")
    assert "il n'en reste rien" in page.inner_text("main")
