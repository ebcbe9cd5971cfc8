"""One connector under examination: how it is configured, what it reads, what it is asked to write."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import httpx

import mappings
from connectors.contract import Acknowledgement, Connector, NotObtained, Outgoing
from connectors.kit.wires import Strict
from connectors.manifest import Document, Installed, Manifest
from connectors.transport import Limits, Transport
from mappings import examples
from schemas.record import Current, Fact, Facts, Record, Written

BASE = "https://partenaire.exemple.invalid"
DELIVERY = "01890000-0000-7000-8000-000000000000"
TOLD_AT = "2019-02-03T04:05:06Z"
"""A moment that no example holds: a document that shows it shows when a fact was told, not the fact."""


class NoObject(Exception):
    """This case says nothing of this connector; the text says why, in French."""


@dataclass(frozen=True)
class Sample:
    """A document the partner sends, under its situation."""

    document: str
    situation: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Filling:
    """Facts from which one document is written, and the entry it carries when it carries one."""

    document: str
    facts: Facts = field(repr=False)
    item: str = ""


@dataclass
class Subject:
    """A connector and what to try it with. `values`, `identifiers`, `given` replace what its stand-in says."""

    one: Installed
    values: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)
    given: tuple[Sample, ...] = ()

    @property
    def manifest(self) -> Manifest:
        return self.one.manifest

    def stand_in(self, scenario: str | None = None) -> Any:
        """The partner's stand-in. Raises `NoObject`."""
        if self.one.sandbox is None:
            raise NoObject("ce partenaire n'a pas de serveur à imiter")
        return self.one.sandbox.sandbox(scenario)

    @cached_property
    def _described(self) -> Mapping[str, Any]:
        describe = getattr(self.one.sandbox, "describe", None) if self.one.sandbox else None
        return cast("Mapping[str, Any]", describe(self.stand_in(), BASE)) if describe else {}

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        """For lists that are kept: never the operator's own."""
        return tempfile.TemporaryDirectory()

    @property
    def settings(self) -> dict[str, str]:
        """What the stand-in says it is reached with, and something for the required settings it does not name."""
        told = dict(self._described.get("settings") or {}) | dict(self.values)
        for one in self.manifest.setting:
            if one.folder:
                told[one.name] = self._folder.name
            elif one.required and not told.get(one.name):
                told[one.name] = BASE if one.name.endswith("_url") else "40"
        return told

    @property
    def asks_who_calls(self) -> bool:
        """Does the stand-in ask who calls it?"""
        return bool(self._described.get("credentials"))

    @property
    def identifiers(self) -> Mapping[str, str]:
        """Identifiers of somebody whom the stand-in knows. Raises `NoObject`."""
        found = self.known or self._described.get("identifiers")
        if not found:
            raise NoObject("le bac à sable ne dit pas qui il connaît (describe : identifiers)")
        return cast("Mapping[str, str]", found)

    def connector(self) -> Connector:
        return self.one.create(self.settings)

    def called(self) -> bool:
        """Is this partner reached over HTTP by this connector?"""
        return self.manifest.transport == "api" and bool(self.manifest.ids("write") | self.manifest.ids("pull"))

    def transport(self, wire: httpx.AsyncBaseTransport | None = None, deadline: float = 10.0) -> Transport:
        """The way to the stand-in, or over the wire given. Waits for nothing between two attempts, and for an answer
        until the deadline, in seconds."""
        if not self.called():
            raise NoObject("ce connecteur n'appelle pas le partenaire")
        origins = {BASE} | {value for value in self.settings.values() if value.startswith("https://")}
        limits = Limits(backoff=0.0, deadline=deadline, attempts=1, failures=1000)
        return Transport(self.manifest.id, origins, limits=limits, wire=wire or Strict(self.stand_in()))

    # --- what it is tried with ------------------------------------------------------------------------------------

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """Documents given, and the files of `fixtures/<document>/`, named by their situation."""
        found = list(self.given)
        for document in self.manifest.document:
            folder = self.one.folder / "fixtures" / document.id.partition(".")[2]
            found += [Sample(document.id, path.stem, path.read_bytes()) for path in sorted(folder.glob("*.*"))]
        return tuple(found)

    def mappings(self, direction: str) -> Iterator[tuple[Document, mappings.Mapping]]:
        """Every mapping that goes this way, with its document."""
        for document in self.manifest.document:
            for id in document.mapping:
                mapping = mappings.load(id)
                if mapping.file.direction in (direction, "both"):
                    yield document, mapping

    @cached_property
    def fillings(self) -> tuple[Filling, ...]:
        """For each document that is written, the facts of its mapping's first example."""
        found: dict[str, Filling] = {}
        for document, mapping in self.mappings("write"):
            if not mapping.categories:
                continue  # a form that agents fill themselves: no fact of the dossier enters it
            for example in mapping.file.example:
                usable = example.canonical and example.direction != "read" and not example.errors
                if usable and document.id not in found and "write" in document.direction:
                    persons, foyer = examples.canonical(mapping, cast(str, example.canonical))
                    facts = {**foyer, **(persons[0] if persons else {})}
                    found[document.id] = Filling(document.id, facts, _item(document, facts))
        return tuple(found.values())

    def read(self, sample: Sample) -> list[Record]:
        """Its records. Raises `DocumentRefused`."""
        media = self.manifest.documents[sample.document].content_type[0]
        return list(self.connector().read(sample.document, io.BytesIO(sample.content), content_type=media))

    def write(self, filling: Filling, facts: Facts | None = None) -> Written:
        context = {"item": filling.item} if filling.item else {}
        return self.connector().write(
            filling.document, current(filling.facts if facts is None else facts), **context, delivery=DELIVERY
        )

    async def send(self, filling: Filling, transport: Transport, connector: Connector | None = None) -> Acknowledgement:
        known = self.known or self._described.get("identifiers") or {}
        outgoing = Outgoing(
            delivery=DELIVERY,
            document=filling.document,
            written=self.write(filling),
            current=current(filling.facts),
            identifiers=known,
            reference="ref-essai-0001",
        )
        return await (connector or self.connector()).send(outgoing, transport)

    async def pull(self, document: str, transport: Transport) -> list[tuple[str, bytes]] | NotObtained:
        """What one request brings, or the reason it brought nothing."""
        try:
            return [one async for one in self.connector().pull(document, self.identifiers, transport)]
        except NotObtained as reason:
            return reason


def current(facts: Facts) -> Current:
    """Facts as the gateway would show them to a mapping."""
    return {path: Fact(value, "departement", "essai", TOLD_AT) for path, value in facts.items()}


def _item(document: Document, facts: Facts) -> str:
    if not document.item:
        return ""
    start = f"{document.item}["
    return next((path[len(start) :].partition("]")[0] for path in facts if path.startswith(start)), "")


def as_text(written: Written) -> str:
    """What leaves, as text to search in; the names that a JSON document gives its fields are left out."""
    document = written.document
    return document.decode() if isinstance(document, bytes) else "\n".join(_leaves(document))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _leaves(one)
    else:
        yield str(value)
