"""However doubts come and are answered, whoever was merged points at somebody who is herself, never at a doubt."""

from __future__ import annotations

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gateway import clock, identity_review
from gateway.exchange import exchange
from gateway.receipt import Request
from gateway.storage.tables.record import identity_case, person
from schemas.record import PersonFacts, Record
from tests.journeys.territory import Territory

BODIES = "departement", "ccas", "ccas_voisin"
NIRS = "288049999{:04}", "288049998{:04}", ""
SAID = st.tuples(
    st.sampled_from(BODIES), st.sampled_from(("D-1-{}", "D-2-{}")), st.sampled_from(NIRS),
    st.sampled_from(("ARBELIER {}", "FICTIVE {}")), st.sampled_from(("1988-04-12", "1988-04", "1990-01-01")),
)  # fmt: skip
ANSWERS = st.tuples(st.sampled_from(("same", "different", "undo")), st.integers(0, 9))


def say(landes: Territory, body: str, key: str, nir: str, name: str, born: str) -> None:
    facts = {"personne.nom_naissance": name, "personne.prenoms": ["AMELIA"], "personne.date_naissance": born}
    facts |= {"personne.lieu_naissance.code_insee": "40192"} | ({"identifiants[nir].valeur": nir} if nir else {})
    with landes.gateway.unit_of_work() as work:
        request = Request(clock.new_id(), body, "maillon.dossier", landes.gateway.flows(work, body))
        exchange(work, landes.gateway, request, [Record(key, [PersonFacts(facts, "1")])])


def answer(landes: Territory, what: str, which: int) -> None:
    with landes.gateway.unit_of_work() as work:
        state = "same" if what == "undo" else "open"
        query = select(identity_case.c.id).where(identity_case.c.state == state).order_by(identity_case.c.id)
        cases = list(work.connection.execute(query).scalars())
        if not cases:
            return
        case = cases[which % len(cases)]
        if what == "undo":
            identity_review.reverse(work, landes.gateway, case, "agent")
        else:
            identity_review.decide(work, landes.gateway, case, what == "same", "agent")


def test_nobody_is_merged_into_whoever_is_merged_or_in_doubt(landes: Territory) -> None:
    worlds, merged = count(), set()

    @settings(max_examples=40, derandomize=True, database=None)
    @given(st.lists(st.one_of(SAID, ANSWERS), min_size=6, max_size=16))
    def live(steps: list[tuple[str, ...]]) -> None:
        world = next(worlds)
        for step in steps:
            if len(step) == 5:
                body, key, nir, name, born = step
                say(landes, body, key.format(world), nir.format(world), name.format(letters(world)), born)
            else:
                answer(landes, *step)
        with landes.gateway.reading() as work:
            known = select(person.c.id, person.c.merged_into, person.c.provisional)
            heads = {row.merged_into for row in work.connection.execute(known) if row.merged_into}
            asked = select(identity_case.c.candidate_id).where(identity_case.c.state == "open")
            meant = heads.union(work.connection.execute(asked).scalars())
            assert not [row for row in work.connection.execute(known) if row.id in meant and any(row[1:])]
        merged.update(heads)

    live()
    assert len(merged) > 10, "doubts came, and were answered"


def letters(number: int) -> str:
    """A name has no digit."""
    return "".join(chr(ord("A") + int(digit)) for digit in str(number))
