"""The double-entry meter: what nobody had to type, what was typed again, what disagrees."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from connectors.caf import generator
from gateway import clock, erasure, meter, preview
from gateway.exchange import exchange
from gateway.ingest import ingest
from gateway.meter import Count, Delivered, First
from gateway.problems import Invalid, Unknown
from gateway.receipt import Request
from gateway.storage.tables.record import person
from schemas.record import Current, PersonFacts, Record
from tests.journeys.territory import AMELIA, Territory, accompaniment, beneficiary


def read(landes: Territory, recipient: str = "") -> dict[str, Count]:
    return {one.document: one for one in meter.read(landes.gateway, recipient)}


def told_by_the_ccas(landes: Territory, **more: Any) -> None:
    (receipt,) = landes.tell("ccas", "ccas.suivi", beneficiary(**more))
    assert receipt.persons


def delivered(landes: Territory) -> None:
    """The CCAS received the sheet of a person who was told of the sharing."""
    landes.oriented()
    landes.tell("departement", "departement.accompagnement", accompaniment())
    landes.deliver("ccas")


def test_before_any_delivery_there_is_nothing_to_count(landes: Territory) -> None:
    landes.oriented()
    assert read(landes) == {}


def test_fields_the_gateway_filled_and_none_typed_again(landes: Territory) -> None:
    delivered(landes)
    count = read(landes)["ccas.beneficiaires"]
    (sheet,) = landes.sheets("ccas")
    assert sheet
    assert (count.persons, count.documents, count.own, count.typed_again, count.in_conflict) == (1, 1, 0, 0, 0)
    assert count.filled > 5
    assert count.fields_total == count.filled + count.empty


def test_what_the_ccas_sends_back_as_it_received_it_was_typed_again(landes: Territory) -> None:
    delivered(landes)
    told_by_the_ccas(landes)
    count = read(landes)["ccas.beneficiaires"]
    assert count.typed_again == 3, "name, first name and birth date; the NIR had not been sent to it"
    assert count.in_conflict == 0


def test_another_value_than_the_one_received_is_a_conflict(landes: Territory) -> None:
    delivered(landes)
    (sheet,) = landes.sheets("ccas")
    told_by_the_ccas(landes, zipcode="33999")
    count = read(landes)["ccas.beneficiaires"]
    assert count.in_conflict == 1
    told_by_the_ccas(landes, zipcode=sheet["zipcode"])
    again = read(landes)["ccas.beneficiaires"]
    assert (again.in_conflict, again.typed_again) == (0, count.typed_again + 1)


def test_what_a_body_had_said_before_it_received_anything_was_not_typed_again(landes: Territory) -> None:
    told_by_the_ccas(landes)
    delivered(landes)
    told_by_the_ccas(landes, mobility="PublicTransport")
    assert read(landes)["ccas.beneficiaires"].typed_again == 0


def test_a_household_fact_typed_again_by_another_body_counts(landes: Territory) -> None:
    told = {
        "identifiants[nir].valeur": AMELIA.nir, "personne.nom_naissance": AMELIA.nom,
        "personne.prenoms": [AMELIA.prenom], "personne.date_naissance": AMELIA.date_naissance,
    }  # fmt: skip
    household = {"foyer.organisme": "caf", "foyer.situation_familiale": "divorce", "droit_rsa.etat": "ouvert_versable"}
    with landes.gateway.unit_of_work() as work:
        flows = landes.gateway.flows(work, "caf")
        request = Request(clock.new_id(), "caf", "caf.flux_beneficiaire", flows)
        exchange(work, landes.gateway, request, [Record("foyer-1", [PersonFacts(told)], foyer=household)])
    landes.deliver("departement")
    assert read(landes, "departement")["maillon.dossier"].typed_again == 0
    landes.oriented(situation_familiale="DIV")
    again = read(landes, "departement")["maillon.dossier"]
    landes.oriented(situation_familiale="CEL")
    other = read(landes, "departement")["maillon.dossier"]
    assert again.typed_again >= 4, "her name, first name and birth date, and the household's situation"
    assert (other.typed_again, other.in_conflict) == (again.typed_again - 1, again.in_conflict + 1)


def test_a_form_counts_what_others_gave_what_the_law_keeps_back_and_what_is_filled(landes: Territory) -> None:
    delivered(landes)
    with landes.gateway.unit_of_work() as work:
        one = meter.form(work, landes.gateway, [landes.who], "ccas", "ccas.beneficiaires")
        none = meter.form(work, landes.gateway, [landes.who], "departement", "departement.webrsa_ali")
    assert (one.missed, set(one.sources)) == (0, {"departement"})
    assert 0 < one.prefilled < one.given
    assert one.withheld
    assert (none.given, none.prefilled, none.missed) == (0, 0, 0), "nobody but the Département said anything"


def test_a_form_is_filled_for_whom_it_is_asked_each_field_with_its_source_and_date(landes: Territory) -> None:
    delivered(landes)
    told_by_the_ccas(landes, accomodationMode="SocialRenting")
    sheet = preview.prefill(landes.gateway, landes.who, "ccas.beneficiaires")
    entry = preview.prefill(landes.gateway, landes.who, "fse.participant", "departement")
    for one in (sheet, entry):
        assert len(one["sources"]) == one["fields_prefilled"] > 0
        assert one["sources"].keys() == one["dates"].keys()
        assert one["fields_total"] == one["fields_prefilled"] + len(one["empty"])
    assert entry == preview.prefill(landes.gateway, landes.who, "fse.participant"), (
        "the Département holds the operations"
    )
    assert entry["sources"]["conditions_logement"] == "ccas"
    other = preview.prefill(landes.gateway, landes.who, "fse.participant", "france_travail")
    assert "conditions_logement" in other["empty"], "housing does not go to France Travail"
    with pytest.raises(Unknown):
        preview.prefill(landes.gateway, "nobody", "fse.participant")
    with pytest.raises(Invalid):
        preview.prefill(landes.gateway, landes.who, "ccas.suivi", "ccas")


def test_a_permitted_field_that_is_not_filled_is_missed(landes: Territory, monkeypatch: pytest.MonkeyPatch) -> None:
    delivered(landes)
    whole = landes.gateway.write

    def forgetful(recipient: str, document: str, current: Current, **context: Any) -> Any:
        written = whole(recipient, document, current, **context)
        if len(current) < known:
            written.filled.pop("birthDate", None)
        return written

    with landes.gateway.unit_of_work() as work:
        known = len(landes.gateway.dossiers.current(work, landes.who))
        assert meter.form(work, landes.gateway, [landes.who], "ccas", "ccas.beneficiaires").missed == 0
        monkeypatch.setattr(landes.gateway, "write", forgetful)
        assert meter.form(work, landes.gateway, [landes.who], "ccas", "ccas.beneficiaires").missed == 1


def test_one_recipient_alone(landes: Territory) -> None:
    delivered(landes)
    assert read(landes, "france_travail") == {}
    assert read(landes, "ccas").keys() == {"ccas.beneficiaires"}


def test_what_was_typed_again_is_not_forgotten_when_the_next_document_is_delivered(landes: Territory) -> None:
    delivered(landes)
    told_by_the_ccas(landes)
    before = read(landes)["ccas.beneficiaires"]
    landes.oriented(telephone="0558000099")
    landes.deliver("ccas")
    assert len(landes.sheets("ccas")) == 2
    after = read(landes)["ccas.beneficiaires"]
    assert (after.documents, after.typed_again, after.in_conflict) == (1, before.typed_again, 0)
    told_by_the_ccas(landes, phone1="0558000099")
    assert read(landes)["ccas.beneficiaires"].typed_again == before.typed_again + 1, "brought by the second one"


def test_two_records_of_one_person_are_counted_together_and_apart_again_once_undone(landes: Territory) -> None:
    delivered(landes)
    told_by_the_ccas(landes)
    once = read(landes)["ccas.beneficiaires"]
    first = landes.who
    other = replace(
        AMELIA,
        nom="TISSANDIER",
        nir="2880499999998",
        id_personne=4712,
        matricule="0123457",
        numero_demande="04000000002",
    )
    landes.oriented(other)
    landes.tell("departement", "departement.accompagnement", accompaniment(other, id="AG-2"))
    landes.deliver("ccas")
    assert landes.who != first
    assert read(landes)["ccas.beneficiaires"].persons == 2
    for merged_into, persons in ((first, 1), (None, 2)):
        with landes.gateway.unit_of_work() as work:
            work.connection.execute(update(person).where(person.c.id == landes.who).values(merged_into=merged_into))
        count = read(landes)["ccas.beneficiaires"]
        assert (count.persons, count.documents, count.typed_again) == (persons, persons, once.typed_again)


def test_who_is_erased_leaves_no_count(landes: Territory) -> None:
    delivered(landes)
    told_by_the_ccas(landes)
    with landes.gateway.unit_of_work() as work:
        erasure.erase(work, landes.gateway, landes.who, forced_by="0" * 64)
    assert read(landes) == {}


def test_a_recipient_that_is_gone_leaves_no_count_and_a_mapping_that_fails_hides_no_other(
    landes: Territory, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered(landes)
    told_by_the_ccas(landes)
    whole = landes.gateway.write

    def broken(recipient: str, document: str, current: Current, **context: Any) -> Any:
        if recipient == "ccas":
            raise ZeroDivisionError
        return whole(recipient, document, current, **context)

    monkeypatch.setattr(landes.gateway, "write", broken)
    count = read(landes)["ccas.beneficiaires"]
    assert (count.documents, count.not_written, count.fields_total, count.typed_again) == (1, 1, 0, 3)
    monkeypatch.setattr(landes.gateway, "_bodies", {"departement": landes.gateway.bodies["departement"]})
    assert "ccas.beneficiaires" not in read(landes)


def test_nobody_is_left_out_between_two_pieces(landes: Territory, monkeypatch: pytest.MonkeyPatch) -> None:
    path = landes.gateway.settings.home / "caf.xml"
    generator.write_file(path, 12, seed=5, mois="2026-09", departement="040")
    persons = ingest(landes.gateway, path, "caf", "caf.flux_beneficiaire").persons
    landes.deliver("departement")
    whole = read(landes)["maillon.dossier"]
    assert whole.persons == persons > 12
    monkeypatch.setattr(meter, "_PIECE", 5)
    assert [len(one) for one in meter.pieces(landes.gateway)] == [1] * -(-persons // 5)
    assert read(landes)["maillon.dossier"] == whole


SAYINGS = st.lists(
    st.tuples(st.sampled_from(["caf", "departement", "ccas"]), st.sampled_from("ab"), st.integers(0, 20)), max_size=12
)
DELIVERIES = st.lists(st.tuples(st.sampled_from("xy"), st.integers(0, 20)), min_size=1, max_size=4)
EVERYTHING = {"x": re.compile(".*"), "y": re.compile(".*")}
NAME = "personne.nom_naissance"


def _delivered(letters: list[tuple[str, int]], sent: str = "C1") -> list[Delivered]:
    return [
        Delivered("ccas", document, "", frozenset({sent}), f"{moment:02d}")
        for document, moment in sorted(letters, key=lambda one: (one[1], one[0]))
    ]


def _said(sayings: list[tuple[str, str, int]]) -> list[First]:
    """As the record keeps them: each source's value once, at its first time, oldest first."""
    first: dict[tuple[str, str], int] = {}
    for source, value, moment in sayings:
        first[source, value] = min(moment, first.get((source, value), moment))
    return [First(v, s, f"{moment:02d}") for (s, v), moment in sorted(first.items(), key=lambda one: (one[1], one[0]))]


def _retyped(letters: list[tuple[str, int]], said: list[First]) -> list[tuple[str, bool]]:
    return list(meter.retyped(_delivered(letters), {NAME: said}, EVERYTHING))


@given(SAYINGS, DELIVERIES)
def test_a_path_counts_at_most_once_and_only_when_received_then_said(
    sayings: list[tuple[str, str, int]], letters: list[tuple[str, int]]
) -> None:
    said = _said(sayings)
    brought = {
        (f"{moment:02d}", document, one.value)
        for document, moment in letters
        for one in said
        if one.source != "ccas" and one.received_at <= f"{moment:02d}"
    }
    later = [one for one in said if one.source == "ccas" and brought and one.received_at > min(brought)[0]]
    same = bool(later) and any(at < later[-1].received_at and value == later[-1].value for at, _, value in brought)
    assert _retyped(letters, said) == ([(min(brought)[1], same)] if later else [])


@given(SAYINGS, DELIVERIES, st.sampled_from("xy"))
def test_one_more_delivery_takes_back_nothing_that_was_typed_before_it(
    sayings: list[tuple[str, str, int]], letters: list[tuple[str, int]], document: str
) -> None:
    said = _said(sayings)
    assert _retyped([*letters, (document, 30)], said) == _retyped(letters, said)


@given(SAYINGS, DELIVERIES)
def test_what_was_not_in_the_document_or_its_category_is_never_counted(
    sayings: list[tuple[str, str, int]], letters: list[tuple[str, int]]
) -> None:
    said = {NAME: _said(sayings)}
    assert not list(meter.retyped(_delivered(letters, "C7"), said, EVERYTHING))
    assert not list(meter.retyped(_delivered(letters), said, dict.fromkeys("xy", re.compile("foyer.*"))))
