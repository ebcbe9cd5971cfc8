"""Reading and writing tables: CSV in the dialects that French offices export, and XLSX or ODS workbooks.

Every cell comes out as text, under a header reduced to lower-case ASCII words, with the line it stands on. What a
spreadsheet may have damaged is told apart: a date stored as a serial number is restored, a number shown in
scientific notation is named so that the field it fills may refuse it. Nothing is unpacked to disk.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from itertools import chain, count, islice
from types import MappingProxyType
from typing import Any, BinaryIO

import python_calamine

from connectors import manifest
from connectors.archive import check_archive
from connectors.contract import DocumentRefused
from connectors.source import rewindable
from connectors.workbook import measured
from schemas.composition import normal
from schemas.nomenclatures.labels import bare_words
from schemas.record import Finding

MAX_BYTES = manifest.MAX_TABLE
MAX_COLUMNS = 512
MAX_LINES_PER_ROW = 64
MAX_LINE = 1_000_000
MAX_CELL = 32_767
"""The longest text a spreadsheet cell can hold."""
XLSX = manifest.XLSX
_LOOKED_AT = 20
"""Lines among which the headers are looked for."""
_DELIMITERS = ";,\t|"
_SEPARATOR = re.compile(r'"?sep=.?"?', re.IGNORECASE)
"""A line that tells Excel how the others are cut; it is no row."""
_NONE: Mapping[str, str] = MappingProxyType({})
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
csv.field_size_limit(MAX_CELL)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: header word to cell text; empty cells are absent."""

    line: int
    cells: dict[str, str] = field(repr=False)
    numeric: frozenset[str] = frozenset()
    """Headers whose cell a spreadsheet stored as a number: leading zeros and digits beyond 15 are lost."""
    surplus: int = 0
    """Cells beyond the last header that are not empty."""

    @property
    def digest(self) -> bytes:
        text = "\x1f".join(f"{name}\x1e{self.cells[name]}" for name in sorted(self.cells))
        return hashlib.sha256(text.encode("utf-8")).digest()


@dataclass(slots=True)
class Sheet:
    """A table being read: its headers, then its rows in order."""

    name: str
    headers: tuple[str, ...]
    rows: Iterator[Row] = field(repr=False)
    above: int = 0
    """Lines that are not empty above the headers: a title, a date of export."""
    rank: int = 1
    """Its place among the sheets of the workbook, from 1."""

    def __iter__(self) -> Iterator[Row]:
        return self.rows


def alone(headers: Sequence[str], row: Row) -> bytes:
    """A table that holds this row only, under the headers it came with: what is kept of a row that must be read again.

    A cell keeps its text, not the type that a spreadsheet gave it.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerows((headers, [row.cells.get(name, "") for name in headers]))
    return text.getvalue().encode("utf-8")


def unread(main: Sheet, others: Iterable[Sheet]) -> tuple[Finding, ...]:
    """What is told of the sheets beside the one that is read: none is dropped in silence.

    Raises `DocumentRefused` (``table-in-two-sheets``) for one that has all its columns: its rows would be lost.
    """
    told = []
    for sheet in others:
        at = f"feuille {sheet.rank}"
        if set(main.headers) <= {*sheet.headers, ""}:
            raise DocumentRefused("table-in-two-sheets", "put the rows of both sheets in one, or send two files", at)
        told.append(Finding("unread-sheet", at, "notice", detail="only one sheet is read"))
    return tuple(told)


def header(text: str) -> str:
    """A header reduced for comparison: lower case, no accent, words joined by one space; a final `*` is dropped."""
    return bare_words(text)


def is_workbook(head: bytes) -> bool:
    """Whether bytes begin a zip container (XLSX, ODS), whatever the announced type."""
    return head.startswith(b"PK\x03\x04")


class _Wanted:
    """The titles that tell the line of headers, reduced, and those that stand for one of them."""

    def __init__(self, titles: Collection[str], aliases: Mapping[str, str]) -> None:
        self._titles = frozenset(map(header, titles))
        self._aliases = {title: header(column) for title, column in aliases.items()}

    def __bool__(self) -> bool:
        return bool(self._titles)

    def named_by(self, row: Iterable[str]) -> bool:
        found = {self._aliases.get(title, title) for title in map(header, row)}
        return 2 * len(self._titles & found) >= len(self._titles)


def sheets(
    source: BinaryIO,
    *,
    max_bytes: int = MAX_BYTES,
    titles: Collection[str] = (),
    aliases: Mapping[str, str] = _NONE,
    taken: str = "CSV or XLSX",
) -> list[Sheet]:
    """Every table in `source`: one for CSV, one per sheet that has rows for a workbook.

    Headers are the first line; with `titles`, the first of the twenty first lines that names half of them. `aliases`:
    a reduced title to the one of `titles` that it stands for. `taken`: what to send instead of what is no table.

    Raises `DocumentRefused`: ``too-large``, ``table-nul``, ``table-headers``, ``table-duplicate-header``,
    ``table-too-many-columns``, ``table-empty``, ``archive-*``. While rows are read: ``table-unclosed-quote``,
    ``table-cell-too-long``, ``table-syntax``, each with the line.
    """
    spool = rewindable(source, max_bytes)
    head = spool.read(8)
    spool.seek(0)
    wanted = _Wanted(titles, aliases)
    if is_workbook(head):
        return _workbook(spool, wanted)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DocumentRefused("table-encoding", "send UTF-8 or windows-1252, not the Unicode text of a spreadsheet")
    if head.startswith((b"\xd0\xcf\x11\xe0", b"%PDF", b"\x89PNG", b"\x1f\x8b", b"<")):
        raise DocumentRefused("table-format", f"send {taken}")
    return [_csv(spool, wanted)]


_C1 = bytes(range(0x80, 0xA0))
_LATIN9 = re.compile(rb"(?<![0-9])\xbc(?=[A-Za-z\xc0-\xff])|(?<=[a-z\xe0-\xff])\xbd(?=[a-z])|(?<=[A-Z\xc0-\xde])\xbe")
"""Œ, œ and Ÿ as ISO-8859-15 writes them inside a word, where windows-1252 would read ¼, ½ and ¾."""


def _encoding(spool: BinaryIO) -> str:
    """UTF-8 when every byte of the file says so, else windows-1252 as French spreadsheets export it; ISO-8859-15 when
    it writes the letters that tell them apart and nothing that only windows-1252 writes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while block := spool.read(65_536):
            decoder.decode(block)
        decoder.decode(b"", final=True)
        return "utf-8-sig"
    except UnicodeDecodeError:
        spool.seek(0)
        return "iso8859-15" if _is_latin9(spool) else "cp1252"
    finally:
        spool.seek(0)


def _is_latin9(spool: BinaryIO) -> bool:
    found, end = False, b""
    while block := spool.read(65_536):
        if len(block.translate(None, _C1)) < len(block):
            return False
        block = end + block
        if not found and any(letter in block for letter in (b"\xbc", b"\xbd", b"\xbe")):
            found = _LATIN9.search(block) is not None
        end = block[-2:]
    return found


class _Lent(io.RawIOBase):
    """A source lent to a text layer, which must not close it: it will be read again."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._source.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


class _Lines:
    """Physical lines of a text, counted; refuses NUL, and a quoted cell that swallows what follows it."""

    def __init__(self, text: Iterable[str]) -> None:
        self._text = iter(text)
        self._ahead: deque[str] = deque()
        self.number = 0
        self.row_began = 0

    def __iter__(self) -> _Lines:
        return self

    def peek(self, count: int) -> list[str]:
        """The lines to come, not yet counted."""
        self._ahead.extend(islice(self._text, count - len(self._ahead)))
        return list(self._ahead)

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else next(self._text)
        self.number += 1
        if "\x00" in line:
            raise DocumentRefused("table-nul", f"line {self.number} holds a NUL", path=f"line {self.number}")
        if self.number - self.row_began > MAX_LINES_PER_ROW:
            where = f"line {self.row_began + 1}"
            raise DocumentRefused("table-unclosed-quote", f"{where}: a quote is never closed", path=where)
        return line


def _csv(spool: BinaryIO, titles: _Wanted) -> Sheet:
    encoding = _encoding(spool)
    text = io.TextIOWrapper(io.BufferedReader(_Lent(spool)), encoding=encoding, errors="strict", newline="")
    lines = _Lines(_decoded(text))
    while (first := lines.peek(1)) and (not first[0].strip() or _SEPARATOR.fullmatch(first[0].strip())):
        next(lines)
    ahead = lines.peek(_LOOKED_AT)
    if not ahead:
        raise DocumentRefused("table-empty", "the table has no header line")
    telling = max(ahead, key=_marks) if titles else ahead[0]
    delimiter = max(_DELIMITERS, key=lambda mark: (telling.count(mark), -_DELIMITERS.index(mark)))
    try:
        above = _above(csv.reader(ahead, delimiter=delimiter), titles)
        deque(islice(_filled(csv.reader(lines, delimiter=delimiter)), above), maxlen=0)
        # Strictly: a quote never closed would make one title of all the rows, and leave none to read.
        headers = _headers(next(_filled(csv.reader(lines, delimiter=delimiter, strict=True)), ()))
    except csv.Error:
        raise DocumentRefused(
            "table-headers", "the line that names the columns cannot be read", path="line 1"
        ) from None
    return Sheet("", headers, _csv_rows(lines, delimiter, headers), above)


def _marks(line: str) -> int:
    return max(line.count(mark) for mark in _DELIMITERS)


def _filled(rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    return (row for row in rows if any(cell.strip() for cell in row))


def _above(rows: Iterable[Sequence[str]], titles: _Wanted) -> int:
    """How many filled rows stand above the one that names the columns."""
    if not titles:
        return 0
    named = (rank for rank, row in enumerate(_filled(rows)) if titles.named_by(row))
    return next(named, 0)


def _decoded(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a text, none longer than any row may be: a file without line ends is not held in memory."""
    try:
        for number in count(1):
            line = text.readline(MAX_LINE + 1)
            if len(line) > MAX_LINE:
                where = f"line {number}"
                raise DocumentRefused("table-cell-too-long", f"{where} has more than {MAX_LINE} characters", path=where)
            if not line:
                return
            yield line
    except UnicodeDecodeError:
        raise DocumentRefused("table-encoding", "send UTF-8 or windows-1252") from None


def _csv_rows(lines: _Lines, delimiter: str, headers: tuple[str, ...]) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.row_began = lines.number
        began = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            where = f"line {began}"
            if "field limit" in str(error):
                why = f"{where}: a cell holds more than {MAX_CELL} characters"
                raise DocumentRefused("table-cell-too-long", why, path=where) from None
            why = f"{where}: a quote stands alone inside a cell; double it, or export the table again"
            raise DocumentRefused("table-syntax", why, path=where) from None
        if any(cell.strip() for cell in cells):
            yield _row(began, headers, [(cell, False) for cell in cells])


def _headers(names: Sequence[str]) -> tuple[str, ...]:
    reduced = [header(name) for name in names]
    while reduced and not reduced[-1]:
        reduced.pop()
    if len(reduced) > MAX_COLUMNS:
        raise DocumentRefused("table-too-many-columns", f"at most {MAX_COLUMNS} columns")
    if not reduced or all(name.isdigit() for name in reduced if name):
        raise DocumentRefused("table-headers", "the first line must name the columns", path="line 1")
    if twice := next((rank for rank, name in enumerate(reduced, 1) if name and name in reduced[: rank - 1]), 0):
        # By its rank: in a table without a line of titles, this is the name of somebody.
        raise DocumentRefused("table-duplicate-header", "a column name stands twice", path=f"colonne {twice}")
    return tuple(reduced)


def _row(line: int, headers: tuple[str, ...], cells: list[tuple[str, bool]]) -> Row:
    found: dict[str, str] = {}
    numeric: set[str] = set()
    for name, (cell, number) in zip(headers, cells, strict=False):
        text = _tidy(cell)
        if text and name:
            found[name] = text
            if number:
                numeric.add(name)
    beyond = sum(1 for cell, _ in cells[len(headers) :] if cell.strip())
    nameless = sum(1 for name, (cell, _) in zip(headers, cells, strict=False) if not name and cell.strip())
    return Row(line, found, frozenset(numeric), beyond + nameless)


def _tidy(cell: str) -> str:
    text = normal("NFC", cell.replace("\u00a0", " ").replace("\u202f", " ")).strip()
    return "" if text in {"NULL", "null", "#N/A"} else text


def _workbook(spool: BinaryIO, titles: _Wanted) -> list[Sheet]:
    check_archive(spool)
    workbook = measured(spool)
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(workbook.parts)
        workbook.require(len(book.sheet_names))
        named = enumerate(book.sheet_names, 1)
        found = [_sheet(rank, name, book.get_sheet_by_name(name), titles) for rank, name in named]
    except DocumentRefused:
        raise
    except Exception as error:
        why = f"this zip is no workbook that can be opened ({type(error).__name__}): send the table it holds"
        raise DocumentRefused("table-format", why) from None
    kept = [sheet for sheet in found if sheet is not None]
    if not kept:
        raise DocumentRefused("table-empty", "no sheet has a header line and a row")
    return kept


def _sheet(rank: int, name: str, sheet: Any, titles: _Wanted) -> Sheet | None:
    first = 1 + (sheet.start[0] if sheet.start else 0)
    filled = ((line, row) for line, row in enumerate(sheet.iter_rows(), first) if any(c not in ("", None) for c in row))
    ahead = list(islice(filled, _LOOKED_AT))
    if not ahead:
        return None
    above = _above(([_text(cell)[0] for cell in row] for _, row in ahead), titles)
    headers = _headers([_text(cell)[0] for cell in ahead[above][1]])
    return Sheet(name, headers, _sheet_rows(chain(ahead[above + 1 :], filled), headers), above, rank)


def _sheet_rows(rows: Iterable[tuple[int, list[Any]]], headers: tuple[str, ...]) -> Iterator[Row]:
    for line, row in rows:
        yield _row(line, headers, [_text(cell) for cell in row])


def _text(cell: Any) -> tuple[str, bool]:
    """A cell as text, and whether the spreadsheet stored it as a number."""
    if cell is None or cell == "":
        return "", False
    if isinstance(cell, bool):
        return ("1" if cell else "0"), False
    if isinstance(cell, datetime):
        return (cell.date().isoformat() if cell.time() == time() else cell.isoformat(" ")), False
    if isinstance(cell, date | time):
        return cell.isoformat(), False
    if isinstance(cell, timedelta):
        return str(cell), False
    if isinstance(cell, float):
        return (str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)), True
    return (str(cell), isinstance(cell, int))


# Values damaged by spreadsheets ------------------------------------------------------------------------------------

_SCIENTIFIC = re.compile(r"^[+-]?\d+(?:[.,]\d+)?[eE][+-]?\d+$")
_FRENCH = re.compile(r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})(?:[ T]\d.*)?$")
_ISO = re.compile(r"^(\d{4})[-/](\d{2})[-/](\d{2})(?:[ T]\d.*)?$")
_SERIAL = re.compile(r"^\d{5}(?:\.\d+)?$")


def is_scientific(text: str) -> bool:
    """Whether a spreadsheet rewrote digits as a power of ten: some of them are lost for good."""
    return bool(_SCIENTIFIC.match(text))


def day(text: str) -> str | None:
    """An ISO date from ISO, JJ/MM/AAAA, JJ-MM-AAAA, JJ.MM.AAAA or a spreadsheet serial; else None.

    Serials below 10000 (before 1927) are not read: they look like a year typed alone.
    """
    try:
        if len(text) == 10 and text[4] == text[7] == "-" and text.isascii():
            date.fromisoformat(text)
            return text
        if match := _ISO.match(text):
            return date(*map(int, match.groups())).isoformat()
        if match := _FRENCH.match(text):
            day_, month, year = map(int, match.groups())
            return date(year, month, day_).isoformat()
        if _SERIAL.match(text) and float(text) < 80_000:
            return (date(1899, 12, 30) + timedelta(days=int(float(text)))).isoformat()
    except ValueError:
        return None
    return None


_TIMED = re.compile(r"(\S+)\s+(?:à\s+)?(\d{1,2})\s*[:hH]\s*(\d{2})?(?::(\d{2}))?")


def moment(text: str) -> str | None:
    """An ISO instant without zone from a date of `day` and its time (`9:30`, `09h30`, `9 h`), or a spreadsheet serial;
    what is ISO already is left as it is; else None, also for a day alone."""
    if text[4:5] == "-":
        return text if len(text) > len("AAAA-MM-JJ") else None
    if _SERIAL.match(text) and "." in text and (date_ := day(text)):
        midnight = datetime.fromisoformat(date_)
        return (midnight + timedelta(seconds=round(float(text) % 1 * 86_400))).isoformat(" ")
    if (found := _TIMED.fullmatch(text)) and (date_ := day(found[1])):
        with suppress(ValueError):
            return f"{date_} {time(int(found[2]), int(found[3] or 0), int(found[4] or 0)).isoformat()}"
    return None


# Writing -----------------------------------------------------------------------------------------------------------


def inert(text: str) -> str:
    """`text` as a spreadsheet shows it without running it: a formula's first character gets an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def to_csv(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """`;`-separated UTF-8 with a byte order mark, as French spreadsheets open it. Cells are made inert."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerow(headers)
    writer.writerows([inert(cell) for cell in row] for row in rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode("utf-8")


def one_row(cells: Mapping[str, Any]) -> bytes:
    """A table of one row under its headers, as `to_csv` writes it."""
    return to_csv(list(cells), [[str(cell) for cell in cells.values()]])


def to_xlsx(tables: dict[str, tuple[Sequence[str], Iterable[Sequence[str]]]]) -> bytes:
    """A workbook with one sheet per table. Every cell is text, and inert."""
    from openpyxl import Workbook  # for whoever writes one: importing it takes as long as a thousand cells

    book = Workbook(write_only=True)
    for title, (headers, rows) in tables.items():
        sheet = book.create_sheet(title)
        sheet.append(list(headers))
        for row in rows:
            sheet.append([inert(cell) for cell in row])
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()
