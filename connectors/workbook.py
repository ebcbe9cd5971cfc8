"""How large a workbook really is, before anything lays it out.

A reader of spreadsheets makes room for the whole rectangle from the first filled cell to the last: two cells at
opposite corners of an empty sheet, in a file of one kilobyte, ask for 500 GB and end the process. ODS says the same
with repeated cells. Each sheet's rectangle is measured here from its own XML, as a stream.
"""

from __future__ import annotations

import re
import zipfile
from typing import BinaryIO

from lxml import etree

from connectors.archive import BROKEN
from connectors.contract import DocumentRefused
from connectors.xml import HARDENED, Guarded

MAX_CELLS = 1_500_000
"""Of one sheet, empty ones inside its rectangle included: about 50 MB once laid out."""
_CELL = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_PLACE = re.compile(rb"""\sr\s*=\s*["']([A-Za-z]{0,3})([0-9]{1,7})["']""")
_ROW_OR_CELL = re.compile(rb"<(?:[A-Za-z0-9_.-]+:)?(?:row|c)(?=[\s/>])")
_ODD = re.compile(
    rb"""<!DOCTYPE|\sr\s*=\s*["'][^"'&]{0,16}&|<(?:[A-Za-z0-9_.-]+:)?table-cell|encoding\s*=\s*["'][uU](?![tT][fF]-8)"""
)
_REPEATED = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}number-%s-repeated"
_WATCHED = ("{*}c", "{*}row", "{*}table", "{*}table-row", "{*}table-cell")


class _Rectangle:
    """From the first filled cell of a sheet to the last."""

    def __init__(self) -> None:
        self.row = self.column = 0
        self._top = self._left = 1 << 40
        self._bottom = self._right = 0

    def fill(self, row: int, column: int, rows: int = 1, columns: int = 1) -> None:
        self._top, self._left = min(self._top, row), min(self._left, column)
        self._bottom, self._right = max(self._bottom, row + rows - 1), max(self._right, column + columns - 1)
        if (self._bottom - self._top + 1) * (self._right - self._left + 1) > MAX_CELLS:
            raise DocumentRefused("table-too-large", f"a sheet spans more than {MAX_CELLS} cells; send CSV")


def check_area(source: BinaryIO) -> None:
    """Refuse a workbook (XLSX, ODS) with a sheet of more than `MAX_CELLS` cells. Raises `DocumentRefused`.

    ``table-too-large``; ``archive-broken`` and the codes of `connectors.xml` for a part that is not what it says.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                if entry.filename.lower().endswith("workbook.bin"):
                    raise DocumentRefused("table-format", "send XLSX, not XLSB")
                with archive.open(entry) as part:
                    plain = _plainly_small(part)  # type: ignore[arg-type]
                if not plain:
                    with archive.open(entry) as part:
                        _measure(part)  # type: ignore[arg-type]
    except (*BROKEN, etree.XMLSyntaxError):
        raise DocumentRefused("archive-broken", "a part of the workbook cannot be read") from None
    finally:
        source.seek(0)


def _plainly_small(part: BinaryIO) -> bool:
    """Whether every row and cell names its place, and all places hold in the limit: true of nearly every file, and a
    quarter of the price of parsing it. Empty cells count here; what this cannot tell, the parser will."""
    expected = named = bottom = right = 0
    rest = b""
    while block := part.read(1 << 18):
        cut = (rest + block).rpartition(b"<")
        text, rest = cut[0], cut[1] + cut[2]
        expected += len(_ROW_OR_CELL.findall(text))
        for letters, number in _PLACE.findall(text):
            named += 1
            bottom, right = max(bottom, int(number)), max(right, _column(letters.decode()))
        if _ODD.search(text) or len(rest) > 1 << 20:
            return False
    return named >= expected and not _ODD.search(rest) and bottom * max(right, 1) <= MAX_CELLS


def _column(letters: str) -> int:
    column = 0
    for letter in letters.upper():
        column = column * 26 + ord(letter) - 64
    return column


def _measure(part: BinaryIO) -> None:
    sheet = _Rectangle()
    for event, element in etree.iterparse(Guarded(part), events=("start", "end"), tag=_WATCHED, **HARDENED):
        name = etree.QName(element).localname
        if event == "start" and name == "table":
            sheet = _Rectangle()
        elif event == "start" and name in ("row", "table-row"):
            told = element.get("r", "")
            sheet.row, sheet.column = (int(told) if told.isdecimal() and len(told) < 8 else sheet.row + 1), 0
        elif event == "end" and name == "c":
            _cell(sheet, element)
            element.clear()
        elif event == "end" and name == "table-cell":
            columns = _repeats(element, "columns")
            if len(element) or element.get("{urn:oasis:names:tc:opendocument:xmlns:office:1.0}value-type"):
                row = element.getparent()
                sheet.fill(sheet.row, sheet.column + 1, _repeats(row, "rows") if row is not None else 1, columns)
            sheet.column += columns
            element.clear()
        elif event == "end" and name == "table-row":
            sheet.row += _repeats(element, "rows") - 1
            element.clear()
        elif event == "end":
            element.clear()


def _cell(sheet: _Rectangle, element: etree._Element) -> None:
    if found := _CELL.fullmatch(element.get("r", "").upper()):
        sheet.row, sheet.column = int(found[2]), _column(found[1])
    else:
        sheet.column += 1
    if len(element):
        sheet.fill(max(sheet.row, 1), sheet.column)


def _repeats(element: etree._Element, what: str) -> int:
    told = element.get(_REPEATED % what, "1")
    return int(told) if told.isdecimal() and len(told) < 10 else 1
