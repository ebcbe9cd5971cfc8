"""Writing: dense indexes in the transaction of what they tell, nothing but codes, and the questions one asks."""

from __future__ import annotations

import json
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select, update

from gateway import clock, journal, journal_entry, verify
from gateway.journal_copy import verify_own
from gateway.problems import Unavailable
from gateway.storage import open_engine
from gateway.storage.tables.journal import journal_entry as entry_table
from gateway.storage.tables.journal import journal_log
from gateway.unit_of_work import UnitOfWork

CANARIES = [
    "Zéphyrine Canari", "ZEPHYRINE", "Dupont", "2850699123456", "285069912345678", "1985-06-15", "06 12 34 56 78",
    "0612345678", "12 rue des Lilas", "zephyrine.canari@example.org", "eyJhbGciOi.J9", "http://x/?nir=2850699",
    "caf:2850699123456", "-2", "[]", '"', "\\", "é", "a b", "\n", "DROP TABLE x", "", "%s", "192.168.1.7",
]  # fmt: skip


def test_index_and_origin_are_given_just_before_the_commit(a_journal) -> None:
    seen = []
    with UnitOfWork(a_journal.engine) as work:
        entry = journal.append(work, "exchange.request", sender_org="caf")
        other = journal.append(work, "right.access", retention="36m", subject="ab" * 20)
        work.before_commit(lambda _: seen.append(entry.idx))
        assert (entry.idx, entry.origin) == (None, None)
    assert (seen, entry.idx, entry.origin) == ([0], 0, "maillon.local/journal")
    assert (other.idx, other.origin) == (0, "maillon.local/journal/36m")
    assert a_journal.write()[0].idx == 1


def test_an_entry_vanishes_with_the_transaction_that_failed(a_journal) -> None:
    a_journal.write()
    with pytest.raises(RuntimeError), UnitOfWork(a_journal.engine) as work:  # noqa: PT012
        lost = journal.append(work, "exchange.request", sender_org="caf")
        raise RuntimeError
    assert lost.idx is None
    assert a_journal.write()[0].idx == 1


def test_an_entry_appended_by_a_later_hook_of_the_same_commit_is_kept(a_journal) -> None:
    with UnitOfWork(a_journal.engine) as work:
        journal.append(work, "exchange.request", sender_org="caf")
        work.before_commit(lambda work: journal.append(work, "exchange.permit", sender_org="caf"))
    with a_journal.engine.connect() as connection:
        assert connection.scalars(select(entry_table.c.idx).order_by(entry_table.c.idx)).all() == [0, 1]


@pytest.mark.parametrize("harm", ["DROP TABLE journal_entry", "DROP TABLE journal_log"])
def test_nothing_is_committed_when_the_journal_cannot_be_written(a_journal, harm: str) -> None:
    a_journal.write()
    with a_journal.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE effect (n INTEGER)")
        connection.exec_driver_sql(harm)
    with pytest.raises(Unavailable, match="audit-unavailable"), UnitOfWork(a_journal.engine) as work:  # noqa: PT012
        work.connection.exec_driver_sql("INSERT INTO effect VALUES (1)")
        journal.append(work, "exchange.request", sender_org="caf")
    with a_journal.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM effect").scalar() == 0


def _write_from_many_threads(a_journal, writers: int, turns: int) -> list[int]:
    indexes: list[int] = []
    url = a_journal.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    failures: list[BaseException] = []

    def write() -> None:
        engine = open_engine(url)
        try:
            for turn in range(turns):
                with UnitOfWork(engine) as work:
                    pair = [journal.append(work, "exchange.request", sender_org="caf", n_records=turn) for _ in "ab"]
                    journal.append(work, "log.read", retention="6m")
                indexes.extend(entry.idx for entry in pair)
        except BaseException as failure:
            failures.append(failure)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    return indexes


def _dense(a_journal) -> None:
    indexes = _write_from_many_threads(a_journal, writers=8, turns=25)
    assert sorted(indexes) == list(range(400))
    a_journal.publish()
    assert a_journal.verify().ok
    assert a_journal.verify().entries == 400
    assert [log for log, report in verify.verify_all(a_journal.folder, a_journal.vkey) if report.ok] == ["", "6m"]


def test_indexes_are_dense_under_eight_writers_on_sqlite(a_journal) -> None:
    _dense(a_journal)


@pytest.mark.postgres
def test_indexes_are_dense_under_eight_writers_on_postgresql(a_journal_on_postgresql) -> None:
    _dense(a_journal_on_postgresql)


# What an entry may say

_LAWFUL: dict[str, st.SearchStrategy] = {
    "exchange_id": st.uuids().map(str),
    "payload_h": st.binary(min_size=32, max_size=32).map(bytes.hex),
    "subject": st.binary(min_size=20, max_size=20).map(bytes.hex),
    "sender_org": st.sampled_from(["caf", "ccas_dax", "123456789", "12345678900012"]),
    "purpose": st.sampled_from(sorted(journal_entry.PURPOSES)),
    "regime": st.sampled_from(sorted(journal_entry.REGIMES)),
    "article": st.sampled_from(["CT R5312-42 2° a", "CASF L262-40, R262-103", "Code pénal 226-13", "RGPD 6"]),
    "categories_sent": st.lists(st.sampled_from(["identite", "contact", "C10", "nir"]), max_size=5),
    "rule_ids": st.lists(st.sampled_from(["A01", "D09", "D99"]), max_size=3).map(tuple),
    "n_records": st.integers(0, 2**53 - 1),
    "size": st.integers(0, 10**6) | st.none(),
    "reason_code": st.sampled_from(["no-permit", "convention-missing", "footer-mismatch"]) | st.none(),
    "src_net": st.sampled_from(["10.0.0.0/8", "2001:db8::/48", "rie"]),
}  # fmt: skip


@given(fields=st.fixed_dictionaries({}, optional=_LAWFUL), event=st.sampled_from(sorted(journal_entry.EVENTS)))
@settings(max_examples=300, deadline=None)
def test_bytes_are_rfc_8785_canonical_json(fields: dict, event: str) -> None:
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    told = {name: value for name, value in told.items() if value is not None}
    told |= {"v": 1, "event": event, "ts": "2026-11-21T09:30:00.000Z", "nonce": "0f" * 16}
    for _ in range(2):  # met for the first time, then remembered
        written, columns = journal_entry.encode(event, told["ts"], told["nonce"], dict(fields))
        assert written == rfc8785.dumps(told)
        assert columns == (told["ts"], event, *map(told.get, journal_entry.COLUMNS))


@pytest.mark.parametrize("name", sorted(journal_entry.FIELDS))
def test_no_field_takes_a_personal_value(name: str) -> None:
    for value in CANARIES:
        for attempt in (value, [value], (value,), {value: 1}, value.encode(), 1.5, True, -1):
            try:
                told, _ = journal_entry.encode(
                    "exchange.request", "2026-11-21T09:30:00.000Z", "0f" * 16, {name: attempt}
                )
            except journal.EntryRefused as refused:
                told = str(refused).encode()
                assert len(value) < 3 or value.encode() not in told
            else:
                assert attempt == "" or (name, json.loads(told).get(name)) == ("reason_code", "unlisted")


def test_a_refused_value_stays_refused_among_remembered_ones(a_journal) -> None:
    with UnitOfWork(a_journal.engine) as work:
        for _ in range(3):
            journal.append(work, "exchange.request", n_records=1, sender_org="caf")
        for wrong in (
            {"n_records": True},
            {"n_records": -1},
            {"n_records": "1"},
            {"n_records": 2**53},
            {"sender_org": 1},
        ):
            with pytest.raises(journal.EntryRefused):
                journal.append(work, "exchange.request", **({"n_records": 1, "sender_org": "caf"} | wrong))


@pytest.mark.parametrize("fields", [{"nom": "caf"}, {"ts": "x"}, {"nonce": "x"}, {"v": 2}, {"Dupont Marie": "caf"}])
def test_an_unknown_field_is_refused(a_journal, fields: dict) -> None:
    with UnitOfWork(a_journal.engine) as work, pytest.raises(journal.EntryRefused):
        journal.append(work, "exchange.request", **fields)


def test_an_unknown_event_or_retention_is_refused(a_journal) -> None:
    with UnitOfWork(a_journal.engine) as work:
        for event, retention in (("exchange.maybe", "12m"), ("Dupont", "12m"), ("exchange.request", "10y")):
            with pytest.raises(journal.EntryRefused):
                journal.append(work, event, retention=retention)


@pytest.mark.parametrize(
    ("traces", "log"), [("P6M", "6m"), ("P9M", "6m"), ("P1Y", "12m"), ("P12M", "12m"), ("P3Y", "36m"), ("P1M", "6m")]
)
def test_a_trace_is_kept_no_longer_than_its_regime_says(traces: str, log: str) -> None:
    assert journal.kept_for(traces) == log


def test_a_partner_s_own_words_are_journaled_as_unlisted(a_journal) -> None:
    for words in ("Mme Dupont est inconnue", "ERR_422", "x" * 200):
        with UnitOfWork(a_journal.engine) as work:
            entry = journal.append(work, "exchange.ack", outcome="refused", reason_code=words)
        assert json.loads(entry.content)["reason_code"] == "unlisted"


def test_a_code_from_elsewhere_can_be_replaced_before_it_is_written() -> None:
    assert journal.fitting("reason_code", "already-known", "other") == "already-known"
    assert journal.fitting("reason_code", "Mme Dupont est inconnue", "other") == "other"
    assert journal.fitting("document", "../x") is None


def test_every_article_of_the_decision_table_can_be_journaled() -> None:
    policies = Path(journal.__file__).parent / "policies"
    # Deadlines are told to professionals, never journaled: some rest on usage, not on an article.
    tables = sorted(set(policies.glob("*.toml")) - {policies / "delais.toml"})
    assert tables

    def articles(node: object) -> list:
        if isinstance(node, dict):
            own = [node["article"]] if "article" in node else []
            return own + [found for value in node.values() for found in articles(value)]
        return [found for value in node for found in articles(value)] if isinstance(node, list) else []

    found = [article for table in tables for article in articles(tomllib.loads(table.read_text("utf-8")))]
    assert [article for article in found if journal_entry.FIELDS["article"](article) is None] == []


# Questions


def test_a_person_s_history_is_read_page_by_page_under_all_her_pseudonyms(a_journal) -> None:
    hers = ["a1" * 20, "b2" * 20]
    for number in range(30):
        a_journal.write(1, at=f"2026-03-{number + 1:02d}T08:00:00.000000Z", subject=hers[number % 2])
        a_journal.write(1, subject="cc" * 20)
    with a_journal.engine.connect() as connection:
        seen, after = [], None
        while page := journal.history(connection, hers, after=after, limit=7):
            seen += page
            after = page[-1].cursor
    assert [logged.ts[:10] for logged in seen] == [f"2026-03-{number + 1:02d}" for number in range(30)]
    assert {logged.fields["subject"] for logged in seen} == set(hers)


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_history_uses_the_index_whatever_the_size(request, backend: str) -> None:
    fixture: Callable = request.getfixturevalue("a_journal" if backend == "sqlite" else "a_journal_on_postgresql")
    fixture.write(2000)
    query = journal._READ.where(entry_table.c.subject == "ab" * 20).order_by(*journal._ORDER).limit(10)
    with fixture.engine.connect() as connection:
        sql = str(query.compile(fixture.engine, compile_kwargs={"literal_binds": True}))
        if backend == "sqlite":
            plan = " ".join(str(row) for row in connection.exec_driver_sql("EXPLAIN QUERY PLAN " + sql))
            assert "TEMP B-TREE" not in plan
        else:
            connection.exec_driver_sql("ANALYZE journal_entry")
            plan = " ".join(str(row) for row in connection.exec_driver_sql("EXPLAIN " + sql.replace("%", "%%")))
        assert "ix_journal_entry_subject" in plan


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_what_is_few_is_found_without_reading_the_exchanges(request, backend: str) -> None:
    """Look-ups, refused inputs, erasures: among millions of exchanges, by an index of their own."""
    fixture: Callable = request.getfixturevalue("a_journal" if backend == "sqlite" else "a_journal_on_postgresql")
    fixture.write(2000)
    asked: list[tuple[str, Any]] = []
    with fixture.engine.connect() as connection:
        if backend == "postgresql":
            connection.exec_driver_sql("ANALYZE journal_entry")
        event.listen(connection, "before_cursor_execute", lambda *told: asked.append(told[2:4]))
        for few in ("log.read", "right.erase"):
            assert journal.of_period(connection, "2020", "2100", event=few) == []
            assert list(journal.newest(connection, few)) == []
        plans = [
            " ".join(map(str, connection.exec_driver_sql(_EXPLAIN[backend] + sql, values)))
            for sql, values in [*asked]
            if "SELECT" in sql
        ]
    indexes = ["ix_journal_entry_reads"] * 2 + ["ix_journal_entry_erased"] * 2
    assert [index for plan, index in zip(plans, indexes, strict=True) if index not in plan] == []


_EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}


def test_what_is_few_is_read_newest_first(a_journal) -> None:
    for day in (1, 3, 2):
        with UnitOfWork(a_journal.engine) as work:
            work.now = f"2026-03-{day:02d}T08:00:00.000000Z"
            journal.append(work, "right.erase", outcome="erased")
            journal.append(work, "exchange.request", sender_org="caf")
    with a_journal.engine.connect() as connection:
        days = [entry.ts[:10] for entry in journal.newest(connection, "right.erase")]
    assert days == ["2026-03-03", "2026-03-02", "2026-03-01"]


def test_all_that_was_written_of_an_exchange_is_found(a_journal) -> None:
    exchange = clock.new_id()
    with UnitOfWork(a_journal.engine) as work:
        for event in ("exchange.request", "exchange.permit", "exchange.deliver"):
            journal.append(work, event, exchange_id=exchange)
    a_journal.write(5)
    with a_journal.engine.connect() as connection:
        found = journal.of_exchange(connection, exchange)
    assert [logged.fields["event"] for logged in found] == ["exchange.request", "exchange.permit", "exchange.deliver"]


def test_a_period_is_read_by_event_and_recipient(a_journal) -> None:
    for day in (1, 2, 3):
        a_journal.write(2, at=f"2026-05-0{day}T10:00:00.000000Z")
        a_journal.write(1, at=f"2026-05-0{day}T11:00:00.000000Z", recipient_org="ccas")
    with a_journal.engine.connect() as connection:
        found = journal.of_period(connection, "2026-05-02", "2026-05-03", recipient="ccas")
        everything = journal.of_period(connection, "2026-05-01", "2026-05-04", event="exchange.request", limit=50)
    assert [logged.ts for logged in found] == ["2026-05-02T11:00:00.000Z"]
    assert len(everything) == 9


def test_an_entry_altered_in_the_database_is_never_published(a_journal) -> None:
    a_journal.write(10)
    with a_journal.engine.begin() as connection:
        row = connection.execute(select(entry_table).where(entry_table.c.idx == 4)).one()
        forged = json.dumps(json.loads(row.entry) | {"recipient_org": "ccas"}).encode()
        connection.execute(update(entry_table).where(entry_table.c.idx == 4).values(entry=forged))
    with pytest.raises(Exception, match="journal-altered") as refused:
        a_journal.publish()
    assert refused.value.members["index"] == 4
    assert not (a_journal.folder / "checkpoint").exists()


@pytest.mark.parametrize("written", ["'{}'", "7", "CAST('recipient' AS BLOB)"])
def test_an_entry_written_over_by_hand_is_altered_whatever_its_type(a_journal, written: str) -> None:
    """SQLite takes text, or a number, in a column of bytes."""
    a_journal.write(300)
    a_journal.publish()
    with a_journal.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE journal_entry SET entry = {written} WHERE idx = 299")
    ((_, told),) = verify_own(a_journal.engine, a_journal.settings)
    assert (told.ok, told.first_bad) == (False, 299)
    a_journal.write()
    with pytest.raises(Exception, match="journal-altered") as refused:
        a_journal.publish()
    assert refused.value.members["index"] == 299
    ((_, told),) = verify_own(a_journal.engine, a_journal.settings)
    assert (told.ok, told.first_bad) == (False, 299)


def test_two_writers_that_miscount_are_refused(a_journal) -> None:
    a_journal.write(3)
    with a_journal.engine.begin() as connection:
        connection.execute(update(journal_log).values(size=2))
    with pytest.raises(Unavailable, match="audit-unavailable"):
        a_journal.write()
    with a_journal.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(entry_table)) == 3
