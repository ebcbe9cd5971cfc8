"""The double-entry meter: what nobody had to type, what was typed again, what disagrees."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from gateway import clock, meter, preview
from gateway.exchange import exchange
from gateway.meter import Count, First
from gateway.problems import Invalid, Unknown
from gateway.receipt import Request
from schemas.record import Current, PersonFacts, Record
from tests.journeys.test_seeds import AMELIA, DEMO, Territory, accompaniment, beneficiary, territory


@pytest.fixture
def landes(tmp_path: Path) -> Iterator[Territory]:
    one = territory(tmp_path, DEMO)
    yield one
    one.gateway.engine.dispose()


def read(landes: Territory, recipient: str = "") -> dict[str, Count]:
    with landes.gateway.unit_of_work() as work:
        return {one.document: one for one in meter.read(work, landes.gateway, recipient)}


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
    assert (count.documents, count.own, count.typed_again, count.in_conflict) == (1, 0, 0, 0)
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


def test_one_recipient_alone_and_the_metrics(landes: Territory) -> None:
    delivered(landes)
    told_by_the_ccas(landes)
    assert read(landes, "france_travail") == {}
    with landes.gateway.unit_of_work() as work:
        (count,) = [one for one in meter.observe(work, landes.gateway) if one.recipient == "ccas"]
    shown = generate_latest().decode()
    line = f'maillon_fields{{document="ccas.beneficiaires",recipient="ccas",what="typed_again"}} {count.typed_again}.0'
    assert line in shown
    assert AMELIA.nom not in shown


SAYINGS = st.lists(
    st.tuples(st.sampled_from(["caf", "departement", "ccas"]), st.sampled_from("ab"), st.integers(0, 20)), max_size=12
)
ANY = re.compile(".*")
NAME = "personne.nom_naissance"


def _row(delivered: int) -> Any:
    return SimpleNamespace(recipient="ccas", categories="C1", delivered_at=f"{delivered:02d}")


def _said(sayings: list[tuple[str, str, int]]) -> list[First]:
    """As the record keeps them: each source's value once, at its first time, oldest first."""
    first: dict[tuple[str, str], int] = {}
    for source, value, moment in sayings:
        first[source, value] = min(moment, first.get((source, value), moment))
    return [First(v, s, f"{moment:02d}") for (s, v), moment in sorted(first.items(), key=lambda one: (one[1], one[0]))]


@given(SAYINGS, st.integers(0, 20))
def test_a_path_counts_at_most_once_and_only_when_received_then_said(
    sayings: list[tuple[str, str, int]], delivered: int
) -> None:
    said = _said(sayings)
    again, conflict = meter.retyped(_row(delivered), {NAME: said}, set(), ANY)
    received = {one.value for one in said if one.source != "ccas" and one.received_at <= f"{delivered:02d}"}
    later = [one.value for one in said if one.source == "ccas" and one.received_at > f"{delivered:02d}"]
    assert again + conflict == int(bool(received and later))
    assert again == int(bool(later) and later[-1] in received)


@given(SAYINGS, st.integers(0, 20), st.integers(0, 20))
def test_two_documents_that_bring_the_same_path_count_it_once(
    sayings: list[tuple[str, str, int]], one: int, other: int
) -> None:
    said, brought = {NAME: _said(sayings)}, set[tuple[str, str]]()
    counted = [sum(meter.retyped(_row(moment), said, brought, ANY)) for moment in sorted((one, other))]
    assert sum(counted) <= 1


@given(SAYINGS, st.integers(0, 20))
def test_what_was_not_in_the_document_or_its_category_is_never_counted(
    sayings: list[tuple[str, str, int]], delivered: int
) -> None:
    said = {NAME: _said(sayings)}
    elsewhere = SimpleNamespace(recipient="ccas", categories="C7", delivered_at="00")
    assert meter.retyped(elsewhere, said, set(), ANY) == (0, 0)
    assert meter.retyped(_row(delivered), said, set(), re.compile("foyer.*")) == (0, 0)
