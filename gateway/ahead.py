"""Reading ahead: a second process reads the next records of a big file while this one writes the last.

What goes there and back is bytes and facts: the other process opens no database. It also computes the keyed indexes of
whom the records speak of, which needs the gateway's keys and nothing of its state. A file read by one process or by
two gives the same records, in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import fields
from multiprocessing import get_context
from operator import attrgetter
from typing import Any

from connectors.contract import Aloof, Remote, Sketch
from gateway import parent
from gateway.identity import Identity, Keys
from gateway.keys import Keyring
from schemas.record import PersonFacts, Record

WORTH = 4000
"""Records below which starting a process costs more than it spares."""

_Told = tuple[list[tuple[Any, ...]], tuple[Any, ...]]
"""A record as it travels, its persons apart: plain values, which cost a third of the objects they make."""
_PERSON = attrgetter(*(one.name for one in fields(PersonFacts)))
_WORDS = tuple(one.name for one in fields(Record) if one.name not in ("personnes", "original"))
_RECORD = attrgetter(*_WORDS)


class Ahead:
    """The other process, and what this one asked of it."""

    def __init__(self, pool: ProcessPoolExecutor, reading: Aloof) -> None:
        self._pool = pool
        self._reading = reading

        self._ready = pool.submit(_ready)

    def ask(self, sketches: list[Sketch]) -> Future[Any] | None:
        """Have these read there; None while the other process is not ready yet, or is lost."""
        if not self._ready.done():
            return None
        with suppress(BrokenProcessPool):
            return self._pool.submit(_read, [(one.position, one.raw) for one in sketches])
        return None

    def records(self, sketches: list[Sketch], asked: Future[Any] | None) -> list[tuple[Record, list[Keys]]]:
        """What was asked, in order. Were the other process lost (killed for memory), this one reads them itself."""
        answer = None
        if asked is not None:
            with suppress(BrokenProcessPool):
                answer = asked.result()
        if answer is None:
            return [(record, []) for record in self._reading.records(sketches)]
        told, keys = answer
        return [
            (self._reading.finished(_made(one), sketch), people)
            for one, people, sketch in zip(told, keys, sketches, strict=True)
        ]


@contextmanager
def ahead(reading: Any, keys: Keyring) -> Iterator[Ahead | None]:
    """The other process, while the body runs; None for a reading that cannot be shared or is not worth it."""
    counted = reading.envelope.counted or 0
    if not isinstance(reading, Aloof) or counted < WORTH or len(os.sched_getaffinity(0)) < 2:
        yield None
        return
    # Spawned, not forked: the child of a process with threads and open databases inherits neither.
    pool = ProcessPoolExecutor(1, get_context("spawn"), _start, (reading.remote(), keys.folder, keys.secret("index")))
    try:
        yield Ahead(pool, reading)
    finally:
        pool.shutdown(cancel_futures=True)


def _told(one: Record) -> _Told:
    return [_PERSON(person) for person in one.personnes], _RECORD(one)


def _made(told: _Told) -> Record:
    people, words = told
    return Record(personnes=[PersonFacts(*one) for one in people], **dict(zip(_WORDS, words, strict=True)))


# --- in the other process -------------------------------------------------------------------------------------------

_there: dict[str, Any] = {}


def _start(remote: Remote, folder: Any, index_key: bytes) -> None:
    parent.end_with_it()
    keyring = Keyring(folder, may_create=False)
    keyring.given("index", index_key)
    _there.update(remote=remote, identity=Identity(keyring))
    list(remote.read([(0, b"")]))  # compiles the mapping


def _ready() -> None:
    """Answers once this process has started."""


def _read(raws: Sequence[tuple[int, bytes]]) -> tuple[list[_Told], list[list[Keys]]]:
    told: list[_Told] = []
    keys: list[list[Keys]] = []
    identity: Identity = _there["identity"]
    for one in _there["remote"].read(raws):
        told.append(_told(one))
        keys.append([identity.keys_of(person.facts) for person in one.personnes])
    return told, keys
