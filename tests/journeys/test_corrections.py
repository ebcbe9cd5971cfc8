"""What a body corrects reaches whoever had received the old value, also through another body's flow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway import basis, clock
from gateway.corrections import settled
from gateway.demo.forms import objection
from gateway.exchange import exchange
from gateway.receipt import Receipt, Request
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.record import person
from schemas.record import PersonFacts, Record
from tests.journeys.territory import AMELIA, DEMO, Territory, accompaniment, territory


@pytest.fixture
def landes(database: str, tmp_path: Path) -> Iterator[Territory]:
    one = territory(tmp_path, DEMO, database_url=database)
    yield one
    one.gateway.engine.dispose()


def caf_says(landes: Territory, postcode: str, **household: Any) -> Receipt:
    told = {
        "identifiants[nir].valeur": AMELIA.nir, "personne.nom_naissance": AMELIA.nom,
        "personne.prenoms": [AMELIA.prenom], "personne.date_naissance": AMELIA.date_naissance,
        "personne.adresses[residence].code_postal": postcode,
    }  # fmt: skip
    foyer = {"foyer.organisme": "caf", "droit_rsa.etat": "ouvert_versable"} | household
    with landes.gateway.unit_of_work() as work:
        request = Request(clock.new_id(), "caf", "caf.flux_beneficiaire", landes.gateway.flows(work, "caf"))
        (receipt,) = exchange(work, landes.gateway, request, [Record("foyer-1", [PersonFacts(told)], foyer=foyer)])
    return receipt


def deliveries(landes: Territory, recipient: str) -> list[Any]:
    with landes.gateway.unit_of_work() as work:
        query = select(outbox).where(outbox.c.recipient == recipient).order_by(outbox.c.id)
        return work.connection.execute(query).all()


def zipcodes(landes: Territory) -> list[str]:
    return [sheet["zipcode"] for sheet in landes.sheets("ccas")]


def received(landes: Territory) -> None:
    """The CAF's post code is on the sheet that the Département's flow gave the CCAS."""
    caf_says(landes, "40100")
    landes.oriented()
    landes.tell("departement", "departement.accompagnement", accompaniment())
    landes.deliver("ccas", "departement")
    assert zipcodes(landes) == ["40100"]


def test_a_correction_reaches_who_received_the_old_value_through_another_body(landes: Territory) -> None:
    received(landes)
    receipt = caf_says(landes, "40200")
    assert [one.recipient for one in receipt.outcomes if one.status == "queued"] == ["departement"], (
        "the CAF is not told through whom the CCAS knows her"
    )
    landes.deliver("ccas")
    assert zipcodes(landes) == ["40100", "40200"]
    first, *_, last = deliveries(landes, "ccas")
    assert (last.sender, last.flow, last.exchange_id) == (first.sender, first.flow, first.exchange_id)
    assert (last.sender, last.state) == ("departement", "delivered")


def test_what_was_promised_or_sent_when_the_correction_came_is_followed_by_it(landes: Territory) -> None:
    caf_says(landes, "40100")
    landes.oriented()
    landes.tell("departement", "departement.accompagnement", accompaniment())
    promised = len(deliveries(landes, "ccas"))
    caf_says(landes, "40200")
    assert len(deliveries(landes, "ccas")) > promised, "it may leave as it was before this was known"
    landes.deliver("ccas")
    assert zipcodes(landes) == ["40200"], "once, when it had not left"


def test_a_sheet_that_would_say_the_same_is_not_sent(landes: Territory) -> None:
    """The state of the right is not for this purpose: the CCAS never received it."""
    received(landes)
    caf_says(landes, "40100", **{"droit_rsa.etat": "ouvert_suspendu"})
    landes.deliver("ccas")
    assert zipcodes(landes) == ["40100"]
    assert {one.state for one in deliveries(landes, "ccas")} == {"delivered"}
    assert deliveries(landes, "ccas")[-1].reason == "already-held"


def test_a_correction_is_decided_anew_and_goes_no_more_to_whom_she_objects(landes: Territory) -> None:
    received(landes)
    with landes.gateway.unit_of_work() as work:
        basis.record(work, objection(landes.gateway, landes.who))
    caf_says(landes, "40200")
    landes.deliver("ccas")
    assert zipcodes(landes) == ["40100"]
    assert deliveries(landes, "ccas")[-1].state == "withheld"


def test_nobody_is_sent_back_what_it_said_itself(landes: Territory) -> None:
    received(landes)
    before = len(deliveries(landes, "departement"))
    landes.oriented(telephone="0558000099")
    assert len(deliveries(landes, "departement")) == before


def test_a_recipient_that_is_gone_stops_nobody(landes: Territory, monkeypatch: pytest.MonkeyPatch) -> None:
    received(landes)
    monkeypatch.setattr(landes.gateway, "speaks", lambda body, document: body != "ccas")
    assert caf_says(landes, "40200").status == "accepted"
    assert deliveries(landes, "ccas")[-1].state == "delivered"


def test_who_received_what_was_another_persons_is_corrected_when_the_merge_is_undone(landes: Territory) -> None:
    received(landes)
    gateway, phone = landes.gateway, "+33558000077"
    with gateway.unit_of_work() as work:
        other = gateway.dossiers.new_subject(work, "personne")
        place = ("departement", "departement.webrsa_ali", b"r" * 32)
        told = {f"personne.telephones[{phone}].numero": phone}
        gateway.dossiers.put(work, other, place, told, asserted_at=work.now, exchange_id="x", partial=True)
    for head in (landes.who, None):
        with gateway.unit_of_work() as work:
            work.connection.execute(update(person).where(person.c.id == other).values(merged_into=head))
            settled(work, gateway, other, landes.who)
        landes.deliver("ccas")
    before, merged, undone = landes.sheets("ccas")
    assert merged != before
    assert undone == before
