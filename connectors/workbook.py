"""How large a workbook really is, before anything lays it out.

A reader of spreadsheets makes room for what a workbook says of itself: the rectangle from the first filled cell to the
last, a count of texts, a text of 30 kB that a hundred thousand cells refer to. A file of one kilobyte may ask for
500 GB and end the process. Each part is measured here from its own XML, as a stream, and the reader is given a copy of
the parts that were measured: from the same bytes it could find another directory than this one.
"""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from collections.abc import Sequence
from typing import BinaryIO, cast

from lxml import etree

from connectors.archive import BROKEN
from connectors.contract import DocumentRefused
from connectors.xml import HARDENED, Guarded, release

MAX_CELLS = 1_500_000
"""Of one sheet, empty ones inside its rectangle included: about 50 MB once laid out."""
MAX_WEIGHT = 256 << 20
"""Bytes of all sheets once laid out, a text counted in each cell that shows it."""
_CELL_WEIGHT = 32
_LAST_ROW, _LAST_COLUMN = 1_048_576, 16_384
_CELL = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_TAG = rb"""<(?:[^\s<>/!?"'=]+:)?(?:row|c)(?=[\s/>])"""
_ROW_OR_CELL = re.compile(_TAG)
_PLACE = re.compile(_TAG + rb"""\s+r\s*=\s*["']([A-Za-z]{0,3})([0-9]{1,7})["']""")
_ODD = re.compile(rb"""<!DOCTYPE|<(?:[^\s<>/!?"'=]+:)?table-cell|encoding\s*=\s*["'][uU](?![tT][fF]-8)""")
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"<\x00", b"\x00<")
_REPEATED = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}number-%s-repeated"
_WATCHED = ("{*}c", "{*}row", "{*}table", "{*}table-row", "{*}table-cell")


class _Sheet:
    """From the first filled cell of a sheet to the last, and what they show."""

    def __init__(self) -> None:
        self.row = self.column = self.text = self.cells = 0
        self._top = self._left = 1 << 40
        self._bottom = self._right = 0

    @property
    def weight(self) -> int:
        return self.cells * _CELL_WEIGHT + self.text

    def fill(self, row: int, column: int, rows: int = 1, columns: int = 1, text: int = 0) -> None:
        self._top, self._left = min(self._top, row), min(self._left, column)
        self._bottom, self._right = max(self._bottom, row + rows - 1), max(self._right, column + columns - 1)
        self.cells = (self._bottom - self._top + 1) * (self._right - self._left + 1)
        self.text += text * rows * columns
        if self.cells > MAX_CELLS:
            raise DocumentRefused("table-too-large", f"a sheet spans more than {MAX_CELLS} cells; send CSV")
        _bounded(self.weight)


def _bounded(weight: int) -> int:
    if weight > MAX_WEIGHT:
        raise DocumentRefused("table-too-large", "the sheets show far more text than the file holds; send CSV")
    return weight


class Measured:
    """A workbook that may be opened: its parts as they were measured, and the weight of the heaviest."""

    def __init__(self, parts: BinaryIO, weight: int) -> None:
        self.parts, self._weight = parts, weight

    def require(self, sheets: int) -> None:
        """Refuse more sheets than may be laid out: several may name one part. Raises `DocumentRefused`."""
        _bounded(sheets * self._weight)


def measured(source: BinaryIO) -> Measured:
    """The workbook (XLSX, ODS) in `source`, once it is known what laying it out takes. Raises `DocumentRefused`.

    ``table-too-large``; ``archive-broken`` and the codes of `connectors.xml` for a part that is not what it says.
    """
    copy = io.BytesIO()
    weight = 0
    try:
        with zipfile.ZipFile(source) as archive, zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED, True, 1) as kept:
            entries = archive.infolist()
            shared = [length for one in entries if _is_shared(one) for length in _shared(archive, one)]
            longest = max(shared, default=0)
            for entry in entries:
                if entry.filename.lower().endswith("workbook.bin"):
                    raise DocumentRefused("table-format", "send XLSX, not XLSB")
                with archive.open(entry) as part:
                    plain = _plain_weight(cast(BinaryIO, part), longest)
                if plain is None:
                    with archive.open(entry) as part:
                        plain = _weight(cast(BinaryIO, part), shared)
                weight = max(weight, plain)
                with archive.open(entry) as part, kept.open(entry.filename, "w") as place:
                    shutil.copyfileobj(part, place, 1 << 18)
    except (*BROKEN, etree.XMLSyntaxError):
        raise DocumentRefused("archive-broken", "a part of the workbook cannot be read") from None
    finally:
        source.seek(0)
    copy.seek(0)
    return Measured(copy, weight)


def _is_shared(entry: zipfile.ZipInfo) -> bool:
    return "sharedstrings" in entry.filename.lower()


def _shared(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> list[int]:
    """How long each text is that cells refer to by its rank. A reader makes room for as many as are announced."""
    found, length = [], 0
    with archive.open(entry) as part:
        for event, element in etree.iterparse(Guarded(cast(BinaryIO, part)), events=("start", "end"), **HARDENED):
            name = etree.QName(element).localname
            if event == "start" and name == "sst" and any(_number(element.get(n, "0")) > MAX_CELLS for n in _ANNOUNCED):
                raise DocumentRefused("table-too-large", f"more than {MAX_CELLS} texts are announced; send CSV")
            if event == "end":
                length += len(element.text or "")
                if name == "si":
                    found.append(length)
                    length = 0
                release(element)
    return found


_ANNOUNCED = ("count", "uniqueCount")


def _number(text: str) -> int:
    """A count as any reader of it would take it, or more than any limit."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 1 << 40


def _length(element: etree._Element) -> int:
    return sum(len(text) for text in element.itertext())


def _plain_weight(part: BinaryIO, longest: int) -> int | None:
    """A weight that this part cannot pass, when every row and cell names its place first and all places hold in the
    limits: true of nearly every file, and a quarter of the price of parsing it. Empty cells count here; what this
    cannot tell (None), the parser will."""
    expected = named = bottom = right = size = 0
    rest = b""
    while block := part.read(1 << 18):
        if not size and block.startswith(_WIDE):
            return None
        size += len(block)
        cut = (rest + block).rpartition(b"<")
        text, rest = cut[0], cut[1] + cut[2]
        expected += len(_ROW_OR_CELL.findall(text))
        for letters, number in _PLACE.findall(text):
            named += 1
            bottom, right = max(bottom, int(number)), max(right, _column(letters.decode()))
        if _ODD.search(text) or len(rest) > 1 << 20:
            return None
    cells = bottom * max(right, 1)
    weight = cells * _CELL_WEIGHT + expected * longest + (size if expected else 0)
    small = cells <= MAX_CELLS and weight <= MAX_WEIGHT and bottom <= _LAST_ROW and right <= _LAST_COLUMN
    return weight if small and named == expected and not (_ODD.search(rest) or _ROW_OR_CELL.search(rest)) else None


def _column(letters: str) -> int:
    column = 0
    for letter in letters.upper():
        column = column * 26 + ord(letter) - 64
    return column


def _weight(part: BinaryIO, shared: Sequence[int]) -> int:
    """The weight of a part once laid out, from its own XML."""
    sheet, heaviest = _Sheet(), 0
    for event, element in etree.iterparse(Guarded(part), events=("start", "end"), tag=_WATCHED, **HARDENED):
        name = etree.QName(element).localname
        if event == "start" and name == "table":
            sheet = _Sheet()
        elif event == "start" and name in ("row", "table-row"):
            told = element.get("r")
            sheet.row, sheet.column = (sheet.row + 1 if told is None else _place("A" + told)[0]), 0
        elif event == "end" and name == "c":
            _cell(sheet, element, shared)
            release(element)
        elif event == "end" and name == "table-cell":
            columns = _repeats(element, "columns")
            if len(element) or element.get("{urn:oasis:names:tc:opendocument:xmlns:office:1.0}value-type"):
                row = element.getparent()
                rows = _repeats(row, "rows") if row is not None else 1
                sheet.fill(sheet.row, sheet.column + 1, rows, columns, _length(element))
            sheet.column += columns
            release(element)
        elif event == "end" and name == "table-row":
            sheet.row += _repeats(element, "rows") - 1
            release(element)
        elif event == "end":
            release(element)
        heaviest = max(heaviest, sheet.weight)
    return heaviest


def _cell(sheet: _Sheet, element: etree._Element, shared: Sequence[int]) -> None:
    if told := element.get("r"):
        sheet.row, sheet.column = _place(told.upper())
    else:
        sheet.column += 1
    if len(element):
        sheet.fill(max(sheet.row, 1), sheet.column, text=_shown(element, shared))


def _place(told: str) -> tuple[int, int]:
    """Row and column, from 1. What stands where no sheet has a cell would be looked for there by its reader."""
    found = _CELL.fullmatch(told)
    row, column = (int(found[2]), _column(found[1])) if found else (0, 0)
    if not (0 < row <= _LAST_ROW and 0 < column <= _LAST_COLUMN):
        raise DocumentRefused("table-too-large", "a cell stands beyond the last row or column that a sheet has")
    return row, column


def _shown(element: etree._Element, shared: Sequence[int]) -> int:
    if element.get("t") != "s":
        return _length(element)
    rank = _number((element.findtext("{*}v") or "").strip())
    return shared[rank] if rank < len(shared) else 0


def _repeats(element: etree._Element, what: str) -> int:
    return _number(element.get(_REPEATED % what, "1"))
