"""Tables as French offices send them, damaged by spreadsheets or by malice."""

from __future__ import annotations

import io
import zipfile
from datetime import date

import pytest
from openpyxl import Workbook, load_workbook

from connectors.contract import DocumentRefused
from connectors.table import day, header, inert, is_scientific, moment, sheets, to_csv, to_xlsx
from tests.hostile.workbooks import book, cell, with_parts


def read(data: bytes) -> list[tuple[int, dict[str, str]]]:
    (sheet,) = sheets(io.BytesIO(data))
    return [(row.line, row.cells) for row in sheet]


@pytest.mark.parametrize(
    "data",
    [
        "Nom;Prénom\r\nÉlan;Zoé\r\n".encode(),
        "\ufeffNom;Prénom\nÉlan;Zoé\n".encode(),
        "Nom;Prénom\nÉlan;Zoé".encode("cp1252"),
        "Nom,Prénom\rÉlan,Zoé\r".encode(),
        'Nom\tPrénom\n"Élan"\tZoé\n\n'.encode(),
        "\n\nNom;Prénom;\nÉlan;Zoé;\n".encode(),
        "\ufeffsep=;\r\nNom;Prénom\r\nÉlan;Zoé\r\n".encode(),
    ],
    ids=["utf-8 crlf", "bom", "cp1252", "comma cr", "tab quoted", "blank lines", "a word to Excel"],
)
def test_the_dialects_of_spreadsheets_give_the_same_row(data: bytes) -> None:
    assert [cells for _, cells in read(data)] == [{"nom": "Élan", "prenom": "Zoé"}]


def test_a_title_cell_may_hold_a_line_break() -> None:
    assert read('"Date de\nnaissance";Nom\r\n1985-06-12;Élan\r\n'.encode()) == [
        (3, {"date de naissance": "1985-06-12", "nom": "Élan"})
    ]


@pytest.mark.parametrize(
    ("row", "encoding"),
    [
        ("ŒUVRARD;Zoé", "iso8859-15"),
        ("Lebœuf;L'HAŸ-LES-ROSES", "iso8859-15"),
        ("Élan;2½h, ½ pension, 3¼h", "cp1252"),
        ("Œuvrard;payé 30 €", "cp1252"),
    ],
)
def test_a_name_keeps_its_ligature_whichever_of_the_two_old_encodings_writes_it(row: str, encoding: str) -> None:
    ((_, cells),) = read(f"Nom;Note\n{row}\n".encode(encoding))
    assert list(cells.values()) == row.split(";")


def test_a_table_without_titles_is_refused_without_a_word_of_its_first_person() -> None:
    with pytest.raises(DocumentRefused) as refused:
        read("Élan;Élan;Zoé\nRoux;Roux;Ana\n".encode())
    assert (refused.value.code, refused.value.path) == ("table-duplicate-header", "colonne 2")


ABOVE = [["Export du 3 novembre 2026", "", ""], ["", "", ""], ["Service : insertion, social", "", ""]]
NAMED, FILLED = ["Nom", "Prénom", "Date de\nnaissance"], ["Élan", "Zoé", "12/06/1985"]


@pytest.mark.parametrize(
    "make", [lambda rows: to_csv(rows[0], rows[1:]), lambda rows: to_xlsx({"Feuille": (rows[0], rows[1:])})]
)
def test_headers_are_found_below_the_lines_an_export_puts_above_them(make) -> None:
    (sheet,) = sheets(io.BytesIO(make([*ABOVE, NAMED, FILLED])), titles=["NOM", "prenom", "date de naissance"])
    assert (sheet.headers, sheet.above) == (("nom", "prenom", "date de naissance"), 2)
    assert [row.cells for row in sheet] == [{"nom": "Élan", "prenom": "Zoé", "date de naissance": "12/06/1985"}]


def test_a_table_that_names_none_of_the_titles_begins_with_its_headers() -> None:
    (sheet,) = sheets(io.BytesIO(b"a;b\n1;2\n"), titles=["nom", "prenom"])
    assert (sheet.headers, sheet.above) == (("a", "b"), 0)


@pytest.mark.parametrize("titles", [(), ("nom", "prenom")])
@pytest.mark.parametrize("data", [b"x" * 200_000 + b";1\n", b'"oops;nom\n' * 90_000, b"\n\n", b"nom;\x00\n1;2\n"])
def test_a_line_of_headers_that_cannot_be_read_is_refused(data: bytes, titles: tuple[str, ...]) -> None:
    with pytest.raises(DocumentRefused):
        list(sheets(io.BytesIO(data), titles=titles)[0])


def test_lines_are_numbered_as_in_the_file() -> None:
    assert [line for line, _ in read(b'a;b\n1;"x\ny"\n\n2;z\n')] == [2, 5]


@pytest.mark.parametrize(
    ("situation", "data", "code"),
    [
        ("cell too long", b"a;b\n" + b"x" * 200_000 + b";1\n", "table-cell-too-long"),
        ("quote never closed", b'a;b\n1;"oops\n' + b"2;3\n" * 60_000, "table-unclosed-quote"),
        ("quote never closed in a title", b'a;"b\n1;2\n3;4\n', "table-headers"),
        ("nul", b"a;b\n1;\x00\n", "table-nul"),
        ("utf-16", "a;b\n1;2\n".encode("utf-16"), "table-encoding"),
        ("same header twice", "Prénom;PRENOM\n1;2\n".encode(), "table-duplicate-header"),
        ("10 000 columns", b";".join(b"c%d" % n for n in range(10_000)) + b"\n1\n", "table-too-many-columns"),
        ("no header", b"1;2\n3;4\n", "table-headers"),
        ("empty", b"", "table-empty"),
        ("html", b"<html><body>Forbidden</body></html>", "table-format"),
        ("pdf", b"%PDF-1.7", "table-format"),
        ("old xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "table-format"),
        ("broken workbook", b"PK\x03\x04 nothing", "archive-broken"),
    ],
)
def test_a_hostile_table_is_refused_by_name(situation: str, data: bytes, code: str) -> None:
    with pytest.raises(DocumentRefused) as refusal:
        read(data)
    assert refusal.value.code == code


def test_a_refusal_names_the_line_and_no_value() -> None:
    with pytest.raises(DocumentRefused) as refusal:
        read(b'nom;b\nSECRETO;"oops\n' + b"2;3\n" * 100)
    assert "line 2" in str(refusal.value)
    assert "SECRETO" not in str(refusal.value)


def test_surplus_cells_are_counted_never_dropped_in_silence() -> None:
    (sheet,) = sheets(io.BytesIO(b"a;b\n1;2;3\n1;2;\n"))
    assert [row.surplus for row in sheet] == [1, 0]


def zipped(*entries: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("situation", "data", "code"),
    [
        ("bomb", zipped(("xl/sheet.xml", b"0" * 40_000_000)), "archive-too-large"),
        ("too many entries", zipped(*((f"{n}.xml", b"") for n in range(2_001))), "archive-too-large"),
        ("leaves the folder", zipped(("../../etc/x", b"1")), "archive-name"),
        ("absolute", zipped(("/etc/x", b"1")), "archive-name"),
        ("drive", zipped(("C:\\x", b"1")), "archive-name"),
        ("nested", zipped(("inner.zip", b"1")), "archive-nested"),
        ("not a workbook", zipped(("hello.txt", b"1")), "table-format"),
    ],
)
def test_a_hostile_archive_is_refused_by_name(situation: str, data: bytes, code: str) -> None:
    with pytest.raises(DocumentRefused) as refusal:
        sheets(io.BytesIO(data))
    assert refusal.value.code == code


TWO_ROWS = cell("A", 1) + cell("A", 2)
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def far(place: str) -> str:
    return f'<row r="3"><c r="{place}" t="inlineStr"><is><t>x</t></is></c><x r="A1"/><x r="A1"/></row>'


def shared(announced: str, text: str, cells: int) -> bytes:
    rows = '<row r="2">' + '<c t="s"><v>0</v></c>' * cells + "</row>"
    texts = f'<sst xmlns="{MAIN}" {announced}><si><t>{text}</t></si></sst>'
    return with_parts(book(cell("A", 1) + rows), {"xl/sharedStrings.xml": texts})


def the_same_sheet(times: int) -> bytes:
    one = '<sheet name="a" sheetId="1" r:id="r"/>'
    many = "".join(one.replace('"a"', f'"a{n}"').replace('"1"', f'"{n}"') for n in range(times))
    return with_parts(
        book(cell("A", 1) + cell("A", 1_048_576)), {"xl/workbook.xml": lambda text: text.replace(one, many)}
    )


def repeated(times: str) -> bytes:
    """An ODS with one cell over and over."""
    names = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    cell = f'<table:table-cell office:value-type="string" table:number-columns-repeated="{times}"><text:p>x</text:p>'
    row = f'<table:table table:name="a"><table:table-row>{cell}</table:table-cell></table:table-row></table:table>'
    book = f"<office:body><office:spreadsheet>{row}</office:spreadsheet></office:body>"
    content = f"<office:document-content {names}>{book}</office:document-content>"
    return zipped(("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", content.encode()))


@pytest.mark.parametrize(
    ("situation", "data"),
    [
        *(
            (f"cell {place}", book(TWO_ROWS + far(place)))
            for place in ("A99999999", "A99999999999", "AAAAAAAAAAAA1", "ZZZZ3")
        ),
        *((f"row {n}", book(TWO_ROWS + f'<row r="{n}"><c><v>1</v></c></row>')) for n in ("99999999", "4000000000")),
        ("texts announced", shared('count="4000000000"', "nom", 1)),
        ("unique texts announced", shared('uniqueCount="4000000000"', "nom", 1)),
        ("one long text in many cells", shared("", "y" * 32_000, 10_000)),
        ("a large sheet under many names", the_same_sheet(300)),
        ("a cell repeated ten digits of times", repeated("9999999999")),
        ("a cell repeated +999999999 times", repeated("+999999999")),
    ],
)
def test_a_workbook_that_would_end_its_reader_is_refused_before_it_is_opened(situation: str, data: bytes) -> None:
    """A few kilobytes each; laid out, they ask for more memory than there is, and the process is aborted."""
    assert len(data) < 50_000
    with pytest.raises(DocumentRefused) as refusal:
        sheets(io.BytesIO(data))
    assert refusal.value.code == "table-too-large"


def test_of_two_directories_in_one_file_the_reader_finds_the_one_that_was_measured() -> None:
    """The last end of directory is the one the checks read; its disk numbers made the reader look for another."""
    looked_at, other = book(TWO_ROWS), book("".join(cell("A", row) for row in range(1, 500)))
    end, last = other.rindex(b"PK\x05\x06"), looked_at.rindex(b"PK\x05\x06")
    looked_at = looked_at[: last + 4] + (1).to_bytes(2, "little") + (2).to_bytes(2, "little") + looked_at[last + 8 :]
    both = other[: end + 20] + len(looked_at).to_bytes(2, "little") + looked_at
    (sheet,) = sheets(io.BytesIO(both))
    assert len(list(sheet)) == 1


def test_two_parts_under_one_name_are_refused() -> None:
    with pytest.raises(DocumentRefused, match="archive-name"):
        sheets(io.BytesIO(zipped(("xl/a.xml", b"<a/>"), ("XL\\A.xml", b"<a/>"))))


def test_a_workbook_gives_text_and_says_what_was_a_number() -> None:
    book = Workbook()
    active = book.active
    assert active is not None
    active.append(["NIR", "Né le", "Code postal", "Nom"])
    active.append([185057800608436, date(1985, 5, 3), 1000, "Élan"])
    active.append([1.8505e14, 31170, "01000", None])
    stream = io.BytesIO()
    book.save(stream)
    (sheet,) = sheets(io.BytesIO(stream.getvalue()))
    first, second = list(sheet)
    assert first.cells == {"nir": "185057800608436", "ne le": "1985-05-03", "code postal": "1000", "nom": "Élan"}
    assert first.numeric == {"nir", "code postal"}
    assert second.cells["ne le"] == "31170"
    assert (first.line, second.line) == (2, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1985-05-03", "1985-05-03"),
        ("03/05/1985", "1985-05-03"),
        ("3-5-1985", "1985-05-03"),
        ("03.05.1985", "1985-05-03"),
        ("1985-05-03 00:00:00.0", "1985-05-03"),
        ("31170", "1985-05-03"),
        ("31170.0", "1985-05-03"),
        ("2024-02-30", None),
        ("2024-W05-3", None),
        ("1985-0٥-03", "1985-05-03"),
        ("31/04/1985", None),
        ("1985", None),
        ("mai 1985", None),
        ("", None),
    ],
)
def test_dates_of_spreadsheets(text: str, expected: str | None) -> None:
    assert day(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("04/12/2026 09:30", "2026-12-04 09:30:00"),
        ("4/12/2026 9h", "2026-12-04 09:00:00"),
        ("04/12/2026 à 09h30", "2026-12-04 09:30:00"),
        ("04.12.2026 09:30:15", "2026-12-04 09:30:15"),
        ("46360.395833333336", "2026-12-04 09:30:00"),
        ("2026-12-04T09:30:00Z", "2026-12-04T09:30:00Z"),
        ("04/12/2026 25:00", None),
        ("31/11/2026 09:30", None),
        ("04/12/2026", None),
        ("2026-12-04", None),
        ("matin", None),
    ],
)
def test_moments_of_spreadsheets(text: str, expected: str | None) -> None:
    assert moment(text) == expected


def test_scientific_notation_is_seen() -> None:
    assert is_scientific("1,85058E+14")
    assert is_scientific("1.85E12")
    assert not is_scientific("185057800608436")
    assert not is_scientific("2A004")


@pytest.mark.parametrize("formula", ['=HYPERLINK("http://x.invalid")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_formula_never_leaves_alive(formula: str) -> None:
    assert inert(formula) == "'" + formula
    written = to_csv(["nom"], [[formula]])
    assert written.startswith(b"\xef\xbb\xbf")
    book = load_workbook(io.BytesIO(to_xlsx({"personnes": (["nom"], [[formula]])})))
    cell = book["personnes"]["A2"]
    assert cell.data_type == "s"
    assert str(cell.value).startswith("'")


def test_what_is_written_is_read_back() -> None:
    rows = [["Élan", "1985-05-03"], ['O"Neil; fils', "multi\nligne"]]
    for data in (to_csv(["Nom", "Naissance"], rows), to_xlsx({"f": (["Nom", "Naissance"], rows)})):
        assert [list(cells.values()) for _, cells in read(data)] == rows


def test_headers_compare_without_accent_case_or_star() -> None:
    assert header("Prénom *") == header("PRENOM") == "prenom"
    assert header("N° allocataire CAF/MSA") == "n allocataire caf msa"
