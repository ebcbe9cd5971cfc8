"""Whether the code lists of this process are those that the record was brought to (`referential`).

A list changes while processes run. One that still has the former list would say a former code again, or write a
document without a value whose new code it does not know: from the moment the change is opened, it writes no fact and
delivers nothing, and asks to be restarted on the release that has the list. Nothing is lost: who sends sends again.

A change is opened alone: on PostgreSQL it waits for the transactions that write facts, which hold this turn together;
on SQLite there is one writer. So a transaction saw the change, or the change will see what it wrote.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Row, Select, func, select

from gateway.problems import Unavailable
from gateway.storage.tables.record import exchange
from gateway.unit_of_work import UnitOfWork
from schemas import nomenclatures

SENDER, DOCUMENT = "maillon", "maillon.referentiel"
_TOGETHER = "SELECT pg_advisory_xact_lock_shared(19, 1)"
_ALONE = "SELECT pg_advisory_xact_lock(19, 1)"
"""Two numbers: another space than the turns of records and persons."""
CHANGE = (exchange.c.sender == SENDER) & (exchange.c.document == DOCUMENT)
"""The exchanges that are a change of a code list: they say which lists this database went through."""


def changes(*columns: Any) -> Select[Any]:
    """The changes that this database went through, oldest first."""
    return select(*columns).where(CHANGE)


_OPENED = changes(func.count())


def alone(work: UnitOfWork) -> None:
    """Wait until nobody else writes facts, and let nobody write any before this transaction ends."""
    if work.connection.dialect.name == "postgresql":
        work.connection.exec_driver_sql(_ALONE)


class CodeLists:
    """The lists of one process, and how many of the changes opened here they are known to fit."""

    def __init__(self, codes: Callable[[str], Mapping[str, Any]] = nomenclatures.codes) -> None:
        self._codes = codes
        self._fitting = 0

    def require(self, work: UnitOfWork) -> None:
        """Raises `Unavailable` (`referential-stale`) when a list changed and this process has the former one."""
        if "code_lists" in work.scratch:
            return
        if name := self.stale(work):
            raise Unavailable(
                "referential-stale", f"{name} changed: restart this process on the release that has it.", retry_after=60
            )
        work.scratch["code_lists"] = True

    def stale(self, work: UnitOfWork) -> str:
        """A list that changed and of which this process has the former version; empty when there is none."""
        if work.connection.dialect.name == "postgresql":
            work.connection.exec_driver_sql(_TOGETHER)
        opened = work.connection.scalar(_OPENED) or 0
        if opened == self._fitting:
            return ""
        for name, gone in _gone(list(work.connection.execute(changes(exchange.c.response).order_by(exchange.c.id)))):
            if gone & self._codes(name).keys():
                return name
        self._fitting = opened
        return ""


def _gone(rows: list[Row[Any]]) -> list[tuple[str, set[str]]]:
    """By list, the codes that it no longer has."""
    gone: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        told = json.loads(row.response)
        gone[told["list"]] |= told["became"].keys()
        gone[told["list"]] -= {code for to in told["became"].values() for code in to}
    return list(gone.items())
