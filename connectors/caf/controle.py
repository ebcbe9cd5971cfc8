"""The control of a whole file before its first record: nothing of a bad file may reach the shared record.

One pass in constant memory proves that the file is well formed XML in the encoding it declares, complete (footer and
closing tag), of the announced kind, for our Département, and counts its records. What a caisse does that is only odd
becomes a finding of the envelope; what forbids publishing sets `held`.
"""

from __future__ import annotations

import codecs
import re
from array import array
from dataclasses import dataclass, field
from typing import BinaryIO

from lxml import etree

from connectors.archive import refuse_archive
from connectors.caf import enveloppe
from connectors.caf.dossier import Dossier
from connectors.caf.doublons import Doublons
from connectors.caf.flux import RACINES, Genre, departement
from connectors.caf.octets import MAX_GAP, TooLong, head, raw_records
from connectors.contract import DocumentRefused, Envelope
from schemas.record import Finding

STRIDE = 256
"""One offset is kept every so many records, to start again near any of them."""
PIECE = 1 << 13
"""Bytes checked together: most are plain ASCII, and only the others need to be converted."""
MAX_ATTRIBUTES = 64
_DECLARATION = re.compile(rb"""^<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["'][^>]*\?>""")
_PROLOG = re.compile(rb"(?:\s+|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
_NAME = re.compile(rb"<([A-Za-z_][A-Za-z0-9._:-]*)")
_ENCODINGS = {
    "windows-1252": "cp1252", "cp1252": "cp1252", "iso-8859-1": "cp1252", "latin1": "cp1252", "latin-1": "cp1252",
    "iso-8859-15": "iso-8859-15", "us-ascii": "ascii", "ascii": "ascii", "utf-8": "utf-8", "utf8": "utf-8",
}  # fmt: skip
"""Declared name to the codec used. Files that say ISO-8859-1 carry windows-1252 characters: they are read as such."""


@dataclass(slots=True)
class Plan:
    """What the control learned: enough to read any record of the file, in any process."""

    genre: Genre
    encoding: str
    envelope: Envelope
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    last: dict[int, int] = field(default_factory=dict)
    """Files told several times: digest of the file's key to the position that counts."""
    shared: frozenset[int] = frozenset()
    """Request numbers borne by several files (digests)."""
    head: bytes = b""
    """What comes before the first record, as it was written."""


def opening(source: BinaryIO) -> tuple[bytes, str]:
    """The first bytes and the codec of the document. Raises `DocumentRefused` for what is not an XML file we read."""
    source.seek(0)
    debut = source.read(MAX_GAP)
    refuse_archive(debut)
    if debut.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00")) or debut[1:2] == b"\x00":
        raise DocumentRefused("bad-encoding", "UTF-16 and UTF-32 are not read: send windows-1252 or UTF-8")
    if not debut.strip():
        raise DocumentRefused("truncated", "the file is empty: ask the caisse to send it again")
    bom = debut.startswith(codecs.BOM_UTF8)
    contenu = debut[3:] if bom else debut
    if not contenu.lstrip().startswith(b"<"):
        raise DocumentRefused("not-xml", "the file is not XML: send the file as the caisse produced it")
    declared = _DECLARATION.match(contenu)
    name = declared.group(1).decode("ascii").lower() if declared else "utf-8"
    if name not in _ENCODINGS or (bom and _ENCODINGS[name] != "utf-8"):
        raise DocumentRefused("bad-encoding", "the declared encoding is not the one used, or is not read here")
    found = _PROLOG.match(contenu)
    rest = contenu[found.end() if found else 0 :]
    if rest[:9].upper() == b"<!DOCTYPE":
        raise DocumentRefused("xml-doctype", "remove the DOCTYPE: documents with one are never read")
    root = _NAME.match(rest)
    if not root or root.group(1) != b"Racine":
        local = root.group(1).decode("ascii") if root else ""
        raise DocumentRefused("wrong-flux" if local in RACINES else "wrong-root", RACINES.get(local, _ROOT))
    return debut, _ENCODINGS[name]


_ROOT = "the root element must be Racine: this is not a file of the caisses"


class _Passage:
    """A source that is checked while it is read: well formed, encoded as declared."""

    def __init__(self, source: BinaryIO, encoding: str) -> None:
        self._source, self._encoding = source, encoding
        self._parser = etree.XMLParser(
            target=_Nothing(),  # type: ignore[arg-type]
            encoding="utf-8",
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
        )
        self._utf8 = codecs.getincrementaldecoder("utf-8")() if encoding in ("cp1252", "iso-8859-15") else None
        self._beyond_ascii = False

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._source.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(size)
        try:
            if chunk:
                if chunk.count(b"=") > MAX_ATTRIBUTES:
                    _check_attributes(chunk)
                for start in range(0, len(chunk), PIECE):
                    piece = chunk[start : start + PIECE]
                    self._parser.feed(piece if piece.isascii() else self._in_utf8(piece))
            else:
                self._parser.close()
        except etree.XMLSyntaxError as error:
            raise _malformed(error, ended=not chunk) from None
        if not chunk and self._utf8 is not None and self._beyond_ascii:
            raise DocumentRefused("bad-encoding", "the file declares an 8-bit encoding but is written in UTF-8")
        return chunk

    def _in_utf8(self, piece: bytes) -> bytes:
        self._beyond_ascii = True
        if self._encoding == "utf-8":
            return piece
        if self._utf8 is not None:
            try:
                self._utf8.decode(piece)
            except UnicodeDecodeError:
                self._utf8 = None
        try:
            return piece.decode(self._encoding).encode()
        except UnicodeDecodeError:
            raise DocumentRefused("bad-encoding", "the file holds bytes that its encoding does not define") from None


class _Nothing:
    """A parser target that keeps nothing: the parser only proves that the document is well formed."""

    def close(self) -> None:
        return None


def _check_attributes(chunk: bytes) -> None:
    if any(piece.count(b"=") > MAX_ATTRIBUTES for piece in chunk.split(b"<")):
        raise DocumentRefused("xml-too-many-attributes", f"an element has more than {MAX_ATTRIBUTES} attributes")


def _malformed(error: etree.XMLSyntaxError, ended: bool) -> DocumentRefused:
    line = error.position[0] if error.position else 0
    if ended:
        return DocumentRefused("truncated", f"the file stops at line {line}: ask the caisse to send it again")
    if error.msg and "encoding" in error.msg:
        return DocumentRefused("bad-encoding", f"line {line} is not written in the encoding the file declares")
    return DocumentRefused("xml-not-well-formed", f"the XML breaks at line {line}")


def check_end(source: BinaryIO) -> None:
    """Refuse a file whose end does not hold the footer and the closing tag."""
    size = source.seek(0, 2)
    source.seek(max(0, size - 8192))
    tail = source.read()
    if b"</Racine>" in tail and not tail.rstrip().endswith(b"</Racine>"):
        raise DocumentRefused("unexpected-content", "bytes follow the closing tag: send the file as it was produced")
    if not tail.rstrip().endswith(b"</Racine>"):
        raise DocumentRefused("truncated", "the closing tag is missing: ask the caisse to send the file again")
    if b"<TransmissionFlux" not in tail:
        raise DocumentRefused("truncated", "the footer is missing: ask the caisse to send the file again")


def preflight(genre: Genre, source: BinaryIO, ours: str) -> Plan:
    """Control a whole seekable file for the Département `ours`. Raises `DocumentRefused`; otherwise all may be read."""
    _, encoding = opening(source)
    check_end(source)
    passage = _Passage(source, encoding)
    survey = _Survey(genre, departement(ours) if ours.strip() else "")
    gap = bytearray()
    try:
        for offset, raw in raw_records(passage, genre.record, gap=gap):  # type: ignore[arg-type]
            if survey.count and gap.strip():
                raise DocumentRefused("unexpected-content", "something stands between two records", genre.record)
            if not survey.count:
                survey.open(bytes(gap), encoding)
            gap.clear()
            survey.add(offset, raw)
    except TooLong:
        raise DocumentRefused("too-long", "a record or the header is longer than any real one") from None
    return survey.plan(bytes(gap), encoding)


class _Survey:
    """What is learned record after record."""

    def __init__(self, genre: Genre, ours: str) -> None:
        self._genre, self._ours = genre, ours
        self.count = 0
        self.entete: enveloppe.Entete | None = None
        self._head = b""
        self._offsets = array("Q")
        self._dossiers, self._demandes = Doublons(), Doublons()
        self._organismes: set[str] = set()
        self._padded = 0
        self.unnamed = False
        """No Département is configured: the file's own stands for it, the same for every record."""

    def open(self, head: bytes, encoding: str) -> None:
        """The header, once the first record is met."""
        self._head, self.entete = head, enveloppe.header(head, encoding, self._genre)

    def add(self, offset: int, raw: bytes) -> None:
        fonorg, numorg, matricule, kind, destination, demande = head(raw)
        if destination and not self._ours:
            self._ours, self.unnamed = departement(destination), True
        if destination and (departement(destination) != self._ours or kind not in ("CG", "CT", "")):
            raise DocumentRefused("not-ours", "the file is meant for another partner: nothing was read", "IDEPARTE")
        if b"<Anomalie" in raw:
            raise DocumentRefused("wrong-flux", enveloppe.ANOMALIES, "Anomalie")
        if self.count % STRIDE == 0:
            self._offsets.append(offset)
        self._organismes.add(f"{fonorg}:{numorg}")
        self._padded += b"<TYPEPARTE>%b<" % kind.encode() not in raw[:4096]
        dossier = Dossier.from_head(fonorg, numorg, matricule, kind, destination, demande)
        if self._genre.whole:
            self._dossiers.add(dossier.empreinte, self.count)
        self._demandes.add(dossier.demande, dossier.empreinte)
        self.count += 1

    def plan(self, rest: bytes, encoding: str) -> Plan:
        """Close the survey with what follows the last record. Raises `DocumentRefused`."""
        genre = self._genre
        if self.entete is None:
            self.entete, rest = enveloppe.header_alone(rest, encoding, genre)
        totals = enveloppe.footer(rest, encoding, genre)
        last, shared = self._dossiers.last(), self._demandes.disputed()
        findings = [*self.entete.findings, *totals.findings]
        for code, path, combien in (
            ("departement-not-configured", "Partenaire/IDEPARTE", int(self.unnamed)),
            ("trailing-blanks", "Partenaire/TYPEPARTE", self._padded),
            ("repeated-file", genre.record, len(last)),
            ("shared-request-number", "DemandeRSA/NUMDEMRSA", len(shared)),
            ("mixed-networks", "Organisme/FONORG", len({o.split(":")[0] for o in self._organismes}) - 1),
        ):
            if combien > 0:
                findings.append(Finding(code, path, "notice", detail=f"{combien}"))
        envelope = enveloppe.envelope(
            genre, self.entete, totals, self.count, sorted(self._organismes), self._ours, findings
        )
        return Plan(genre, encoding, envelope, self._offsets, last, shared, self._head)
