"""H-36 … H-44: hostile tables, archives and files, on the exchange door, on files, and on what is handed out."""

from __future__ import annotations

import gzip
import io
import json
import stat
import uuid
import zipfile
from pathlib import Path

import pytest

from connectors.archive import check_archive
from connectors.contract import DocumentRefused
from connectors.table import XLSX, inert, sheets, to_csv, to_xlsx
from gateway.ingest import ingest
from tests.api.house import House, bounded, problem
from tests.hostile.workbooks import book, cell

CANARY = "CANARITABLE"
HEAD = "Nom de naissance;Prénom;Date de naissance\n"
LINE = f"{CANARY};Rose;1970-01-02\n"


def send(house: House, body: bytes, media: str = "text/csv"):  # type: ignore[no-untyped-def]
    return house.send("ccas", "ccas.beneficiaires", body, media)


def refused(house: House, tmp_path: Path, body: bytes, status: int, code: str, media: str = "text/csv") -> None:
    """By the exchange door and by the reader of files, in bounded memory and time, without a value."""
    with bounded(cpu=2.0):
        problem(send(house, body, media), status, code, CANARY)
    path = tmp_path / f"{uuid.uuid4()}.csv"
    path.write_bytes(body)
    with bounded(cpu=2.0), pytest.raises(DocumentRefused) as refusal:
        ingest(house.gateway, path, "ccas", "ccas.beneficiaires")
    assert CANARY not in str(refusal.value)
    assert house.alive()


def test_a_genuine_table_is_taken(house: House) -> None:
    assert send(house, (HEAD + LINE).encode()).status_code == 202


def test_h_36_a_cell_without_end(house: House, tmp_path: Path) -> None:
    body = HEAD + LINE + "x" * 140_000 + ";Rose;1970-01-02\n"
    refused(house, tmp_path, body.encode(), 400, "table-cell-too-long")
    told = send(house, body.encode()).json()
    assert told["path"] == "line 3"


def test_h_37_a_quote_that_is_never_closed(house: House, tmp_path: Path) -> None:
    body = HEAD + LINE + f'"{CANARY};Rose;1970-01-02\n' + LINE * 60_000
    refused(house, tmp_path, body.encode(), 400, "table-unclosed-quote")


def test_h_38_nul(house: House, tmp_path: Path) -> None:
    refused(house, tmp_path, (HEAD + LINE + f"{CANARY}\x00;Rose;1970-01-02\n").encode(), 400, "table-nul")


@pytest.mark.parametrize("formula", ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\rx"])
def test_h_39_a_formula_is_text_when_exported_and_untouched_when_imported(formula: str) -> None:
    assert inert(formula) == f"'{formula}"
    (sheet,) = sheets(io.BytesIO(to_xlsx({"a": (["nom"], [[formula], ["suivant"]])})))
    assert next(row.cells["nom"] for row in sheet).startswith("'")
    assert f"'{formula[0]}".encode() in to_csv(["nom"], [[formula]])
    (read,) = sheets(io.BytesIO(f'nom\n"{formula}"\n'.encode()))
    assert [row.cells["nom"] for row in read] == [formula.strip()]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"Nom de naissance;Pr\xe9nom;Prenom;Date de naissance\n", 400, "table-duplicate-header"),
        (b"Pr\xe9nom;Date de naissance;Nom;" + b";".join(b"c%d" % n for n in range(10_000)) + b"\n", 413,
         "table-too-many-columns"),
        (b"1;2;3\n4;5;6\n", 400, "table-headers"),
        (b"", 400, "table-empty"),
        (b"\n\n\n", 400, "table-empty"),
        (b"Nom de naissance;Ville\nX;Y\n", 400, "missing-header"),
    ],
)  # fmt: skip
def test_h_40_tables_that_are_none(house: House, tmp_path: Path, body: bytes, status: int, code: str) -> None:
    refused(house, tmp_path, body, status, code)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [";", ",", "\t", "|"])
def test_h_40_the_dialects_of_real_offices_are_read(encoding: str, end: str, mark: str) -> None:
    text = (HEAD + LINE).replace(";", mark).replace("\n", end)
    (sheet,) = sheets(io.BytesIO(text.encode(encoding)))
    assert [row.cells["nom de naissance"] for row in sheet] == [CANARY]


def packed(**entries: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_h_41_bombs(house: House, tmp_path: Path) -> None:
    refused(house, tmp_path, packed(**{"xl/a.xml": b"0" * (200 << 20)}), 413, "archive-too-large", XLSX)
    refused(house, tmp_path, packed(**{f"{n}": b"" for n in range(2_001)}), 413, "archive-too-large", XLSX)
    refused(house, tmp_path, packed(**{"inner.zip": packed(a=b"x")}), 400, "archive-nested", XLSX)
    refused(house, tmp_path, gzip.compress(b"0" * (1 << 20)), 415, "table-format", XLSX)
    overlapping = bytearray(packed(a=b"x" * 500, b=b"y" * 500))
    second = overlapping.rindex(b"PK\x01\x02")
    overlapping[second + 42 : second + 46] = (0).to_bytes(4, "little")
    refused(house, tmp_path, bytes(overlapping), 400, "archive-broken", XLSX)


def test_h_41_a_workbook_of_one_kilobyte_that_spans_the_world(house: House, tmp_path: Path) -> None:
    """Laid out, these two cells would ask for 500 GB and end the process."""
    body = book(cell("A", 1) + cell("XFD", 1_048_576))
    assert len(body) < 2_000
    refused(house, tmp_path, body, 413, "table-too-large", XLSX)
    refused(
        house, tmp_path, book(cell("A", 1) + "<row><c/></row>" + cell("ZZ", 1_000_000)), 413, "table-too-large", XLSX
    )
    refused(house, tmp_path, book(cell("A", 1) + cell("X&#70;D", 1_048_576)), 413, "table-too-large", XLSX)


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "C:\\x", "..\\x", "a/../../x", "a\x00b"])
def test_h_42_names_that_leave_the_archive(house: House, tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("place" if "\x00" in name else name, b"x")
    body = stream.getvalue().replace(b"place", b"a\x00bcd") if "\x00" in name else stream.getvalue()
    if "\x00" in name:
        # The library cuts a name at its NUL, and nothing is ever written under a name: what is left is no workbook.
        check_archive(io.BytesIO(body))
    else:
        with bounded(), pytest.raises(DocumentRefused, match="archive-name"):
            check_archive(io.BytesIO(body))
    assert send(house, body, XLSX).status_code in (400, 415)
    assert not Path("/etc/x").exists()


def test_h_42_a_symbolic_link(house: House) -> None:
    stream, info = io.BytesIO(), zipfile.ZipInfo("xl/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    problem(send(house, stream.getvalue(), XLSX), 400, "archive-name")


@pytest.mark.parametrize(
    "body",
    [b"%PDF-1.7\n/JS (app.alert(1))", b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
     b"\x89PNG\r\n\x1a\n", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"GIF89a;PK\x03\x04"],
)  # fmt: skip
def test_h_43_what_is_not_what_it_says(house: House, body: bytes) -> None:
    for media in ("text/csv", XLSX):
        with bounded():
            answer = send(house, body, media)
        assert answer.status_code in (400, 415), (answer.status_code, answer.text)
    problem(send(house, b"%PDF-1.7", "application/pdf"), 415, "media-type")
    assert house.alive()


def test_h_43_what_is_handed_out_is_an_attachment_nobody_guesses(house: House) -> None:
    with house.client("ccas") as client:
        for path in ("/v1/inbox", "/docs", "/openapi.json", "/healthz"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "media", ["multipart/form-data; boundary=x", "multipart/form-data", "multipart/mixed; boundary=" + "b" * 5_000]
)
def test_h_44_no_door_takes_a_multipart_body(house: House, media: str) -> None:
    """Documents are bodies of their own; parts, their headers and their file names are never parsed."""
    parts = b"".join(
        b"--x\r\nContent-Disposition: form-data; name=a; filename=../../x\r\n\r\n1\r\n" for _ in range(1_000)
    )
    with bounded():
        problem(send(house, parts + b"--x--", media), 415, "media-type")
        problem(house.search("ccas", parts, media), 415, "media-type")
    with house.anyone() as anyone:
        assert anyone.post("/oauth/token", content=parts, headers={"Content-Type": media}).status_code == 415


def test_h_63_too_many_records_are_refused_whole_and_a_file_tells_each_line(house: House, tmp_path: Path) -> None:
    """100 001 rows: the door refuses all of them; a file is counted line by line, twice alike."""
    rows = "".join(f"Nom{n};Rose;19{n % 70 + 20}-01-02\n" for n in range(100_001))
    with bounded(cpu=3.0):
        told = problem(send(house, (HEAD + rows).encode()), 413, "too-many-records")
    assert house.journaled(told["instance"])["outcome"] == "refused"
    partly = HEAD + LINE + ";Rose;1970-01-02\n" + "Nomdeux;Anne;1971-01-02\n"
    path = tmp_path / "partly.csv"
    path.write_text(partly)
    bad: list[int] = []
    counts = ingest(house.gateway, path, "ccas", "ccas.beneficiaires", on_reject=lambda rank, _: bad.append(rank))
    again = ingest(house.gateway, path, "ccas", "ccas.beneficiaires")
    assert (counts.records, counts.rejected, bad) == (3, 1, [2])
    assert (again.records, again.rejected) == (3, 1)
    answer = send(house, partly.encode())
    assert [one["status"] for one in answer.json()["results"]][1] == "rejected", json.dumps(answer.json())
