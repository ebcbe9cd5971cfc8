"""Reading the records of a controlled file: in order, from any record, or some of them in another process.

Records are cut by bytes, parsed a few at a time, held against the partner's schema, then read by the mapping. One bad
record never stops the file: it becomes a rejected `Record` that says where and why, without its content.
"""

from __future__ import annotations

import hashlib
import io
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

from lxml import etree

import mappings
from connectors.caf import situation, structure
from connectors.caf.controle import STRIDE, Plan
from connectors.caf.dossier import Dossier
from connectors.caf.flux import BENEFICIAIRES, INSTRUCTION
from connectors.caf.instruction import straighten
from connectors.caf.octets import raw_records
from connectors.contract import Envelope, Sketch
from schemas.record import Finding, Record

BATCH = 16
"""Records parsed by one call; more saves nothing."""
LOT = structure.LOT.encode("ascii")
ReadOne = Callable[[etree._Element, bytes], Record]


class Lecture:
    """The `Reading` of a caisse's file. Iterating starts at the first record, or where `skip` said."""

    def __init__(self, source: BinaryIO, plan: Plan, read_one: ReadOne) -> None:
        self.envelope: Envelope = plan.envelope
        self.plan = plan
        self._source = source
        self._read_one = read_one
        self._skipped = 0

    def skip(self, n: int) -> Lecture:
        """Start after the `n` first records (those committed before a crash), without reading them."""
        self._skipped = n
        return self

    def raw(self) -> Iterator[tuple[int, bytes]]:
        """(position, bytes) of each record still to read: hashing them needs no parsing."""
        offsets: array[int] = self.plan.offsets
        stride = min(self._skipped // STRIDE, len(offsets) - 1)
        start = offsets[stride] if offsets else 0
        for position, (_, raw) in enumerate(raw_records(self._source, self.plan.genre.record, start), stride * STRIDE):
            if position >= self._skipped:
                yield position, raw

    def __iter__(self) -> Iterator[Record]:
        batch: list[tuple[int, bytes]] = []
        for one in self.raw():
            batch.append(one)
            if len(batch) == BATCH:
                yield from self._read(batch)
                batch = []
        yield from self._read(batch)

    def sketches(self) -> Iterator[Sketch]:
        """Each record still to read, told by its key and its bytes: no parsing."""
        for position, raw in self.raw():
            dossier = Dossier.of(raw)
            last = self.plan.last.get(dossier.empreinte, position) == position
            key = dossier.key_apart if dossier.demande in self.plan.shared else dossier.key
            yield Sketch(position, key, hashlib.sha256(raw).digest() if last else b"", raw)

    def records(self, sketches: Sequence[Sketch]) -> Iterator[Record]:
        for start in range(0, len(sketches), BATCH):
            yield from self._read([(one.position, one.raw) for one in sketches[start : start + BATCH]])

    def remote(self) -> Remote:
        """What reads records of this file in another process."""
        return Remote(self.plan)

    def finished(self, record: Record, sketch: Sketch) -> Record:
        """A record that another process read."""
        record.original = partial(self.alone, sketch.raw)
        return record

    def alone(self, raw: bytes) -> bytes:
        """A file that holds this record only, under the header it came with."""
        footer = f"<TransmissionFlux><{self.plan.genre.total}>1</{self.plan.genre.total}></TransmissionFlux>"
        return b"".join([self.plan.head, raw, footer.encode("ascii"), b"</Racine>"])

    def _read(self, batch: Sequence[tuple[int, bytes]]) -> Iterator[Record]:
        elements, checked = self._parse([raw for _, raw in batch])
        for (position, raw), element in zip(batch, elements, strict=True):
            record = self._record(position, raw, element, checked)
            record.original = partial(self.alone, raw)
            yield record

    def _parse(self, raws: list[bytes]) -> tuple[list[etree._Element | None], bool]:
        """The elements of these records, and whether the schema accepted all of them together.

        When the batch breaks they are parsed one by one, so that only the bad one is lost.
        """
        try:
            lot = self._element(b"".join([b"<%b>" % LOT, *map(self._utf8, raws), b"</%b>" % LOT]))
        except etree.XMLSyntaxError:
            return [self._alone(raw) for raw in raws], False
        found: list[etree._Element | None] = list(lot)
        if len(found) != len(raws):
            return [self._alone(raw) for raw in raws], False
        return found, structure.valid(self.plan.genre.document, lot)

    def _alone(self, raw: bytes) -> etree._Element | None:
        try:
            return self._element(self._utf8(raw))
        except etree.XMLSyntaxError:
            return None

    def _utf8(self, raw: bytes) -> bytes:
        """The same record in UTF-8, which is parsed in two thirds of the time."""
        return raw if raw.isascii() or self.plan.encoding == "utf-8" else raw.decode(self.plan.encoding).encode()

    def _element(self, text: bytes) -> etree._Element:
        parser = etree.XMLParser(
            encoding="utf-8",
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
            remove_blank_text=True,
            remove_comments=True,
            remove_pis=True,
            collect_ids=False,
        )
        return etree.fromstring(text, parser)

    def _record(self, position: int, raw: bytes, element: etree._Element | None, checked: bool) -> Record:
        plan = self.plan
        at = f"{plan.genre.record}[{position + 1}]"
        dossier = Dossier.of(raw) if plan.last or plan.shared or element is None else None
        if dossier and plan.last.get(dossier.empreinte, position) != position:
            later = Finding("superseded", at, "notice", detail="a later record of this file tells the same dossier")
            return _empty(f"{dossier.key}#{position + 1}", raw, [later])
        if element is None:
            return _empty(Dossier.of(raw).key, raw, [Finding("xml-not-well-formed", at, "reject")])
        findings = [] if checked else structure.check(plan.genre.document, element, at)
        if plan.genre == INSTRUCTION:
            findings += [_placed(finding, at) for finding in straighten(element)]
        if any(finding.severity == "reject" for finding in findings):
            return _empty(Dossier.of(raw).key, raw, findings)
        record = self._read_one(element, raw)
        if plan.genre == BENEFICIAIRES:
            situation.compare(element, record)
        if findings or record.findings:
            record.findings = [*findings, *(_placed(finding, at) for finding in record.findings)]
        if dossier and dossier.demande in plan.shared:
            record.findings.append(Finding("shared-request-number", f"{at}/IdentificationRSA/DemandeRSA", "notice"))
            record.key = dossier.key_apart
        if record.asserted_at is None:
            record.asserted_at = self.envelope.emitted_at
        return record


@dataclass(slots=True)
class Remote:
    """Reads records of a controlled file by their bytes, in a process that has not the file."""

    plan: Plan

    def read(self, raws: Sequence[tuple[int, bytes]]) -> Iterator[Record]:
        reading = Lecture(io.BytesIO(), self.plan, reader(self.plan))
        for start in range(0, len(raws), BATCH):
            yield from reading._read(raws[start : start + BATCH])


def reader(plan: Plan) -> ReadOne:
    """What reads one element of a controlled file through its mapping."""
    read = mappings.load(plan.genre.document).read
    told = context(plan.envelope)

    def one(element: etree._Element, raw: bytes) -> Record:
        return read(element, raw=raw, **told)

    return one


def _placed(finding: Finding, at: str) -> Finding:
    """The same finding, its path starting at the record of the file; a matricule that is a NIR is expected (MSA)."""
    severity = "notice" if finding.code == "matricule-is-nir" else finding.severity
    return replace(finding, path=f"{at}/{finding.path}", severity=severity)


def _empty(key: str, raw: bytes, findings: list[Finding]) -> Record:
    return Record(key, [], findings=findings, digest=hashlib.sha256(raw).digest())


def context(envelope: Envelope) -> dict[str, Any]:
    """What the envelope tells the mapping."""
    return {"date_reference": envelope.reference_date}
