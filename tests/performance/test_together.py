"""Exchanges that share a transaction get what each would get alone, and cost no more look-ups than one."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey
from sqlalchemy import event, select

from connectors.departement.synthetic import referentiel
from gateway import basis, convention
from gateway.access import Caller
from gateway.access.partners import register_partner
from gateway.access.replay import Used
from gateway.arrival import Arrival, Found
from gateway.committer import Committer
from gateway.problems import Problem, Unavailable
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import assertion_set

DEMO = Path(__file__).parents[2] / "gateway" / "demo" / "convention.toml"
NIRS = ("", "2880440901234", "1750440901288")
_lots = itertools.count()


def opened(home: Path, url: str = "") -> Gateway:
    gateway = Gateway.open(Settings(profile="test", home=home, database_url=url, departement="040"))
    with gateway.unit_of_work() as work:
        for notice in ("rsa-demande", "reseau-emploi", "parcours-insertion"):
            basis.publish_notice(work, notice, 1, "Une notice.")
        convention.add(work, DEMO.read_bytes())
    return gateway


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways told the same things, one in groups and one by one."""
    pair = opened(tmp_path_factory.mktemp("together")), opened(tmp_path_factory.mktemp("alone"))
    yield pair
    for gateway in pair:
        gateway.engine.dispose()


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    """One call among few records, persons, keys and proofs, so that those of a group meet each other."""
    return {
        "record": draw(st.integers(0, 2)),
        "person": draw(st.integers(0, 1)),
        "nir": draw(st.sampled_from(NIRS)),
        "street": draw(st.sampled_from(["", "RUE HAUTE", "RUE BASSE"])),
        "frein": draw(st.sampled_from(["", "logement", "inconnu"])),
        "key": draw(st.integers(0, 5)),
        "proof": draw(st.integers(0, 7)),
        "broken": draw(st.sampled_from([False] * 9 + [True])),
    }


def arrival(gateway: Gateway, lot: int, call: dict[str, Any]) -> Arrival:
    """The same call for each gateway; each lot is about persons of its own."""
    name = "".join(chr(65 + lot // 26**place % 26) for place in range(3))
    told = {
        "fileNumber": f"L{lot}-{call['record']}", "birthName": f"Essai{name}", "firstName": "AB"[call["person"]] * 4,
        "birthDate": "1988-04-12", "zipcode": "40100", "city": "Saint-Aventin-les-Sables",
    }  # fmt: skip
    if call["nir"]:
        told["socialSecurityNumber"] = call["nir"]
    if call["street"]:
        told["street"] = call["street"]
    if call["frein"]:
        told["freins"] = [{"theme": call["frein"], "valeur": "present"}]  # type: ignore[assignment]
    body = json.dumps(told).encode()[: 20 if call["broken"] else None]
    proof = Used.of("dpop", "key", f"{lot} {call['proof']}", time.time() + 60)
    caller = Caller("ccas", "one", "ccas", frozenset({"accompagnement"}), frozenset(), "key", proof=proof)
    return Arrival(gateway, caller, "ccas.suivi", "application/json", f"{lot}-{call['key']}", body)


async def answers(gateway: Gateway, arrivals: list[Arrival], *, together: bool) -> list[Any]:
    committer = Committer(gateway.unit_of_work)
    if together:
        free = threading.Event()
        held = asyncio.create_task(committer.submit(lambda _: free.wait(30)))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(committer.submit(one)) for one in arrivals]
        await asyncio.sleep(0)
        free.set()
        assert await held
        found = await asyncio.gather(*waiting, return_exceptions=True)
    else:
        found = [(await asyncio.gather(committer.submit(one), return_exceptions=True))[0] for one in arrivals]
    committer.close()
    return [_said(one) for one in found]


def _said(answer: Any) -> Any:
    """An answer without what belongs to its moment."""
    if isinstance(answer, Problem):
        return answer.code
    status, render = answer
    told = json.loads(render())
    for outcome in told["outcomes"]:
        outcome["delivery"] = bool(outcome["delivery"])
    return status, told["results"], told["outcomes"], bool(told["journal"])


def known(gateway: Gateway) -> list[Any]:
    """All that is kept and journaled, without ids and instants."""
    with gateway.unit_of_work() as work:
        rows = work.connection.execute(select(assertion_set.c.subject_id, assertion_set.c.superseded_at)).all()
        gateway.dossiers.prefetch(work, {row.subject_id for row in rows})
        live = work.scratch["dossier"].values()
        facts = sorted(json.dumps(one.facts, sort_keys=True) for sets in live for one in sets.values())
        entries = [json.loads(entry) for entry in work.connection.scalars(select(journal_entry.c.entry))]
    kept = ("event", "recipient_org", "decision", "reason_code", "rule_ids", "categories_sent", "outcome")
    return [facts, len(rows), sorted(json.dumps([entry.get(name) for name in kept]) for entry in entries)]


def same_person(record: int, key: int, nir: str = NIRS[1]) -> dict[str, Any]:
    return {
        "record": record, "person": 0, "nir": nir, "street": "", "frein": "", "key": key, "proof": key, "broken": False,
    }  # fmt: skip


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@example(
    lot=[same_person(2, 0), same_person(0, 1), same_person(2, 2, nir="")]
)  # said again once another said otherwise
@given(lot=st.lists(calls(), min_size=1, max_size=8))
def test_a_group_gets_what_each_would_get_alone(houses: tuple[Gateway, Gateway], lot: list[dict[str, Any]]) -> None:
    rank = next(_lots)
    told = [
        asyncio.run(answers(gateway, [arrival(gateway, rank, call) for call in lot], together=together))
        for gateway, together in zip(houses, (True, False), strict=True)
    ]
    assert told[0] == told[1]
    assert known(houses[0]) == known(houses[1])


def statements(gateway: Gateway, arrivals: list[Arrival], kind: str = "SELECT") -> list[str]:
    """What SQLite was asked, row by row of an `executemany`, for these exchanges in one transaction."""
    asked: list[str] = []

    def look(connection: Any, *_: Any) -> None:
        connection.set_trace_callback(lambda text: asked.append(text) if text.startswith(kind) else None)

    event.listen(gateway.engine, "checkout", look)
    try:
        with gateway.unit_of_work() as work:
            Arrival.foresee(work, arrivals)
            assert all(one(work)[0] == 202 for one in arrivals)  # type: ignore[index]
    finally:
        event.remove(gateway.engine, "checkout", look)
        with gateway.engine.connect() as connection:
            connection.connection.dbapi_connection.set_trace_callback(None)  # type: ignore[union-attr]
    return asked


def some(gateway: Gateway, count: int) -> list[Arrival]:
    plain = {"record": 0, "person": 0, "nir": "", "street": "", "frein": "logement", "key": 0, "proof": 0}
    return [arrival(gateway, next(_lots), plain | {"broken": False}) for _ in range(count)]


def test_nine_exchanges_look_up_as_often_as_two(houses: tuple[Gateway, Gateway]) -> None:
    gateway = houses[0]
    statements(gateway, some(gateway, 1))
    assert len(statements(gateway, some(gateway, 9))) == len(statements(gateway, some(gateway, 2)))


def test_eight_exchanges_write_as_often_as_four(houses: tuple[Gateway, Gateway]) -> None:
    """Each statement gives the interpreter away: beside a page being computed, a row of its own waits for a turn."""
    gateway = houses[0]
    statements(gateway, some(gateway, 1))
    assert len(statements(gateway, some(gateway, 8), "INSERT")) == len(statements(gateway, some(gateway, 4), "INSERT"))


def test_a_document_read_ahead_tells_its_findings_once_however_often_it_is_tried(
    houses: tuple[Gateway, Gateway],
) -> None:
    """Its group failed for another's defect: what was found of it on the way is not there a second time."""
    gateway = houses[0]
    call = {"record": 0, "person": 0, "nir": "", "street": "", "frein": "", "key": 0, "proof": 0, "broken": False}
    ahead = arrival(gateway, next(_lots), call)
    ahead.ahead = ahead.read()
    assert isinstance(ahead.ahead, Found)
    ahead.ahead.records[0].personnes[0].facts["orientations[ccas:1].etat"] = (
        "decidee"  # which is not this body's to decide
    )

    async def tried() -> list[Any]:
        committer, free = Committer(gateway.unit_of_work), threading.Event()
        held = asyncio.create_task(committer.submit(lambda _: free.wait(30)))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(committer.submit(one)) for one in (ahead, _broken)]
        await asyncio.sleep(0)
        free.set()
        await held
        found = await asyncio.gather(*waiting, return_exceptions=True)
        committer.close()
        return found

    answer, broken = asyncio.run(tried())
    assert isinstance(broken, ZeroDivisionError)
    (result,) = json.loads(answer[1]())["results"]
    assert [one["code"] for one in result["findings"]] == ["decision-not-theirs"]


def test_a_replayed_proof_replaces_no_list(tmp_path: Path) -> None:
    """A list that lasts is replaced for whoever may send it, and not by reading what somebody else sent."""
    gateway = opened(tmp_path)
    with gateway.unit_of_work() as work:
        jwks = {"keys": [ECKey.generate_key("P-256", auto_kid=True).as_dict(private=False)]}
        register_partner(work, "departement", "departement", jwks, name="Landes", role="departement", issuer="http://i")
    departement = Gateway.open(
        gateway.settings.model_copy(update={"bodies": {"departement": {"referentiels": str(tmp_path / "lists")}}})
    )
    proof = Used.of("dpop", "key", "once", time.time() + 60)
    caller = Caller("departement", "one", "departement", frozenset({"orientation"}), frozenset(), "key", proof=proof)
    sent = [
        Arrival(departement, caller, "departement.referentiel", "application/xml", str(rank), referentiel("40", rank))
        for rank in (1, 2)
    ]
    first, again = asyncio.run(answers(departement, sent, together=False))
    assert (first[0], again) == (202, "proof-replayed")
    (kept,) = (tmp_path / "lists").glob("referentiel-*.xml")
    assert kept.read_bytes() == sent[0].body
    for one in (gateway, departement):
        one.engine.dispose()


def _broken(_: Any) -> None:
    raise ZeroDivisionError


def test_on_postgresql_two_groups_about_the_same_persons_both_succeed(
    tmp_path: Path, postgres_database: AbstractContextManager[str] | str
) -> None:
    """Two processes take the same turns, each for its whole group at once: nobody waits for ever, nobody is doubled."""
    gateway = opened(tmp_path, str(postgres_database))
    plain = {"person": 0, "nir": "", "street": "", "frein": "logement", "broken": False}
    rank = next(_lots)
    groups = [
        [arrival(gateway, rank, plain | {"record": one, "key": 10 * group + one, "proof": 10 * group + one})
         for one in order]
        for group, order in enumerate(([0, 1, 2], [2, 1, 0]))
    ]  # fmt: skip
    told: list[Any] = []

    def send(group: list[Arrival]) -> None:
        told.extend(asyncio.run(answers(gateway, group, together=True)))

    threads = [threading.Thread(target=send, args=(group,)) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(told) == 6
    assert all(one[0] == 202 for one in told), [one for one in told if one[0] != 202]
    with gateway.unit_of_work() as work:
        assert len(work.connection.execute(select(assertion_set.c.record_h).distinct()).all()) >= 3
    gateway.engine.dispose()
    assert Unavailable not in {type(one) for one in told}
