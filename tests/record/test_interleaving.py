"""Four bodies speak of one person in any order: the dossier is the same, and nobody loses what it said."""

from __future__ import annotations

import hashlib
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway import clock, merge
from gateway.exchange import exchange
from gateway.receipt import Request
from gateway.registry import Gateway
from gateway.settings import Settings
from schemas.record import PersonFacts, Record

WHO = {
    "identifiants[nir].valeur": "2850699999999",
    "personne.nom_naissance": "LEFÈVRE",
    "personne.prenoms": ["Marie"],
    "personne.date_naissance": "1985-06-12",
}
START = datetime(2026, 1, 1, tzinfo=UTC)
DOCUMENTS = {
    "caf": "caf.flux_beneficiaire",
    "departement": "departement.webrsa_ali",
    "france_travail": "france_travail.dossier_diagnostic",
    "ccas": "ccas.suivi",
}
CHOICES: dict[str, list[Any]] = {
    "personne.nom_usage": ["MARTIN", "LEFÈVRE"],
    "personne.adresses[residence].code_postal": ["40100", "40000"],
    "personne.telephones[+33611111111].numero": ["+33611111111"],
    "freins[logement].valeur": ["present", "cloture", "non_aborde"],
    "freins[logement].impact": ["fort", "faible"],
    "freins[mobilite].valeur": ["present", "absent"],
    "inscription_emploi.inscrit": [True, False],
    "parcours_pro.niveau_etude": ["cap_bep", "bac"],
}
Message = tuple[str, str, dict[str, Any], int]


@st.composite
def messages(draw: st.DrawFn) -> list[Message]:
    """Up to eight messages, each dated apart: two per body at most under the same record."""
    found: list[Message] = []
    for rank in range(draw(st.integers(2, 8))):
        source = draw(st.sampled_from(sorted(DOCUMENTS)))
        told = draw(st.dictionaries(st.sampled_from(sorted(CHOICES)), st.integers(0, 2), min_size=1, max_size=4))
        facts = {path: CHOICES[path][pick % len(CHOICES[path])] for path, pick in told.items()}
        found.append((source, draw(st.sampled_from(["a", "b"])), WHO | facts, rank))
    return found


def told_to_a_gateway(order: list[Message]) -> tuple[dict[str, Any], list[Any], dict[str, set[str]]]:
    """The dossier after these messages: current values, divergences, and what each body still says."""
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway.open(Settings(home=Path(folder), profile="test"))
        person = ""
        for source, key, facts, rank in order:
            record = Record(key, [PersonFacts(dict(facts))], asserted_at=START + timedelta(days=rank), partial=False)
            record.digest = hashlib.sha256(repr((key, sorted(facts.items(), key=repr), rank)).encode()).digest()
            with gateway.unit_of_work() as work:
                request = Request(clock.new_id(), source, DOCUMENTS[source], ())
                (receipt,) = exchange(work, gateway, request, [record])
                (person,) = receipt.persons
        with gateway.unit_of_work() as work:
            said = gateway.dossiers.said(work, person)
        gateway.engine.dispose()
    current = {path: (fact.value, fact.source) for path, fact in merge.current(said).items()}
    apart = [(one.path, sorted((f.source, repr(f.value)) for f in one.facts)) for one in merge.divergences(said)]
    kept: dict[str, set[str]] = {}
    for one in said:
        kept.setdefault(one.source, set()).update(one.facts)
    return current, apart, kept


@given(messages(), st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_order_of_arrival_gives_the_same_dossier(order: list[Message], random: Any) -> None:
    shuffled = list(order)
    random.shuffle(shuffled)
    assert told_to_a_gateway(order)[:2] == told_to_a_gateway(shuffled)[:2]


def test_what_is_said_again_is_as_recent_as_its_last_saying() -> None:
    """The CAF repeats itself after the Département said otherwise: whatever came first, the CAF spoke last."""
    caf = WHO | {"freins[logement].valeur": "cloture"}
    told = [("caf", "a", caf, 1), ("departement", "a", WHO | {"freins[logement].valeur": "present"}, 3)]
    again = ("caf", "a", caf, 4)
    in_order, reversed_order = told_to_a_gateway([*told, again]), told_to_a_gateway([again, *reversed(told)])
    assert in_order[:2] == reversed_order[:2]
    assert in_order[0]["freins[logement].valeur"] == ("cloture", "caf")


@given(messages())
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_message_of_one_body_removes_what_another_said(order: list[Message]) -> None:
    first = order[0]
    *_, alone = told_to_a_gateway([one for one in order if one[0] == first[0]])
    *_, among = told_to_a_gateway(order)
    assert among[first[0]] == alone[first[0]]
