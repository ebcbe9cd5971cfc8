"""Invariants I1 to I8, checked after every experiment (I8 only where a process is still there to be measured)."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from sqlalchemy import select

from gateway import verify
from gateway.storage.tables.delivery import outbox
from gateway.storage.tables.journal import journal_entry
from gateway.storage.tables.record import exchange
from tests.faults.house import CANARY, House


def one_effect_each(house: House) -> None:
    """I1: each delivery that the outbox says delivered had exactly one effect at the recipient, and no other did."""
    delivered = set(_ids(house, outbox.c.state == "delivered", outbox.c.reason != "already-held"))
    assert set(house.partner.effects) == delivered
    assert set(house.partner.effects.values()) <= {1}


def accepted_is_durable(house: House, accepted: Collection[str]) -> None:
    """I2: every exchange answered with a 2xx is there, and so are the deliveries its answer promised."""
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        kept = {row.id: json.loads(row.response) for row in connection.execute(select(exchange)) if row.response}
    assert set(accepted) <= set(kept)
    promised = {one["delivery"] for id in accepted for one in kept[id]["outcomes"] if one["status"] == "queued"}
    assert promised <= set(_ids(house))


def one_entry_each(house: House) -> None:
    """I3: each delivery made has exactly one acknowledgement in the journal, and the reverse."""
    acknowledged: Counter[tuple[str, str, str]] = Counter()
    for fields in _entries(house, "exchange.ack"):
        if fields["outcome"] in ("delivered", "duplicate"):
            acknowledged[fields["exchange_id"], fields["recipient_org"], fields["subject"]] += 1
    made: Counter[tuple[str, str, str]] = Counter()
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        for row in connection.execute(select(outbox).where(outbox.c.state == "delivered")):
            subject = house.gateway.keys.pseudonym(row.recipient, row.person_id)
            made[row.exchange_id, row.recipient, subject] += 1
    assert acknowledged == made


def journal_verifies(house: House, go_verifier: Path | None = None) -> None:
    """I4: with the project's verifier, and with the one written in another language when it can be built."""
    house.gateway.publish_journal()
    folder = house.gateway.journal_folder
    reports = [report for _, report in verify.verify_all(folder)]
    assert all(report.ok for report in reports), reports
    assert sum(report.entries for report in reports) == house.count(journal_entry)
    if go_verifier is not None:
        vkey = (folder / "vkey").read_text().strip()
        done = subprocess.run([go_verifier, vkey, folder], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def permitted_first(house: House) -> None:
    """I5: no acknowledgement without a permit written before it, for the same exchange, person and recipient."""
    permitted: set[tuple[str, str, str]] = set()
    for fields in _entries(house):
        place = (fields.get("exchange_id", ""), fields.get("recipient_org", ""), fields.get("subject", ""))
        if fields["event"] == "exchange.deliver" and fields.get("decision") == "permit":
            permitted.add(place)
        if fields["event"] == "exchange.ack" and fields["outcome"] == "delivered":
            assert place in permitted


def drained(house: House, *, dead: int = 0) -> None:
    """I6: nothing is queued or claimed; only what was meant to die is dead."""
    assert not list(_ids(house, outbox.c.state.in_(("queued", "claimed"))))
    assert len(list(_ids(house, outbox.c.state == "dead"))) == dead


def silent(house: House, *texts: str) -> None:
    """I7: no synthetic person's value in any log."""
    for text in (house.log(), *texts):
        assert CANARY not in text
        assert CANARY.lower() not in text.lower()


def at_rest(pid: int, before: tuple[int, int], *, memory: int = 64_000_000, files: int = 24) -> None:
    """I8: memory (bytes) and descriptors are back near what they were."""
    now = measured(pid)
    assert now[0] <= before[0] + memory, (before, now)
    assert now[1] <= before[1] + files, (before, now)


def measured(pid: int) -> tuple[int, int]:
    """Resident memory in bytes and open descriptors of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))


def all_hold(house: House, *, accepted: Collection[str] = (), dead: int = 0, go: Path | None = None) -> None:
    """I1 to I7."""
    drained(house, dead=dead)
    one_effect_each(house)
    accepted_is_durable(house, accepted)
    one_entry_each(house)
    journal_verifies(house, go)
    permitted_first(house)
    silent(house)


def _ids(house: House, *where: object) -> Iterable[str]:
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        return list(connection.execute(select(outbox.c.id).where(*where)).scalars())  # type: ignore[arg-type]


def _entries(house: House, event: str = "") -> Iterable[dict[str, str]]:
    query = select(journal_entry.c.entry).order_by(journal_entry.c.idx)
    if event:
        query = query.where(journal_entry.c.event == event)
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        return [json.loads(content) for content in connection.execute(query).scalars()]
