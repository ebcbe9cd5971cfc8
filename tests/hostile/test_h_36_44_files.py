"""H-36 … H-44: hostile tables, archives and files, on the exchange door, on files, and on what is handed out."""

from __future__ import annotations

import gzip
import io
import json
import stat
import struct
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.archive import check_archive
from connectors.contract import DocumentRefused
from connectors.table import XLSX, inert, sheets, to_csv, to_xlsx
from gateway import clock
from gateway.inbox import NOTICE
from gateway.ingest import ingest
from gateway.storage.tables.delivery import mailbox
from tests.api.house import MB, House, bounded, problem
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


def test_h_36_a_line_without_end_is_not_held(house: House, tmp_path: Path) -> None:
    """Sixty megabytes of a file dropped here, of cells short enough, and not one line end."""
    refused(house, tmp_path, (HEAD + LINE + "x;" * 600_000).encode(), 400, "table-cell-too-long")
    path = tmp_path / "long.csv"
    path.write_bytes((HEAD + LINE).encode() + b"x;" * (30 << 20))
    with bounded(memory=20 * MB), pytest.raises(DocumentRefused, match="table-cell-too-long") as refusal:
        ingest(house.gateway, path, "ccas", "ccas.beneficiaires")
    assert refusal.value.path == "line 3"


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
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
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
    refused(house, tmp_path, gzip.compress(b"0" * (1 << 20)), 415, "table-format")
    overlapping = bytearray(packed(a=b"x" * 500, b=b"y" * 500))
    second = overlapping.rindex(b"PK\x01\x02")
    overlapping[second + 42 : second + 46] = (0).to_bytes(4, "little")
    refused(house, tmp_path, bytes(overlapping), 400, "archive-broken", XLSX)


def directory(entries: int) -> bytes:
    """A zip that is nothing but a central directory of so many entries, and its end as ZIP64 writes it."""
    entry = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    whole = entry * entries
    end = struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, entries, entries, len(whole), 0)
    where = struct.pack("<IQI", 0, len(whole), 1)
    last = struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return whole + b"PK\x06\x06" + end + b"PK\x06\x07" + where + b"PK\x05\x06" + last


def test_h_41_a_million_entries_are_not_listed(house: House, tmp_path: Path) -> None:
    """What an archive says it holds is counted before the library reads it: a million entries would take 360 MB."""
    refused(house, tmp_path, directory(60_000), 413, "archive-too-large", XLSX)
    million = io.BytesIO(directory(1_000_000))
    with bounded(cpu=0.5), pytest.raises(DocumentRefused, match="archive-too-large"):
        check_archive(million)
    path = tmp_path / "million.xlsx"
    path.write_bytes(million.getvalue())
    with bounded(), pytest.raises(DocumentRefused):
        ingest(house.gateway, path, "ccas", "ccas.beneficiaires")


def test_h_41_a_workbook_of_one_kilobyte_that_spans_the_world(house: House, tmp_path: Path) -> None:
    """Laid out, these two cells would ask for 500 GB and end the process."""
    body = book(cell("A", 1) + cell("XFD", 1_048_576))
    assert len(body) < 2_000
    refused(house, tmp_path, body, 413, "table-too-large", XLSX)
    refused(
        house, tmp_path, book(cell("A", 1) + "<row><c/></row>" + cell("ZZ", 1_000_000)), 413, "table-too-large", XLSX
    )
    refused(house, tmp_path, book(cell("A", 1) + cell("X&#70;D", 1_048_576)), 413, "table-too-large", XLSX)


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "C:\\x", "..\\x", "a/../../x", "a\x00b", "‥/x", "．．/x", "a／..／x"]
)
def test_h_42_names_that_leave_the_archive(house: House, tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("place" if "\x00" in name else name, b"x")
    body = stream.getvalue().replace(b"place", b"a\x00bcd") if "\x00" in name else stream.getvalue()
    with bounded():
        problem(send(house, body, XLSX), 400, "archive-name")
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
    with bounded():
        assert send(house, body, "text/csv").status_code in (400, 415)
        problem(send(house, body, XLSX), 415, "not-as-announced")
    problem(send(house, b"%PDF-1.7", "application/pdf"), 415, "media-type")
    assert house.alive()


def test_a_table_or_json_under_the_name_of_another(house: House) -> None:
    json, table, workbook = b'{"firstName": "Canarimarie"}', f"{HEAD}Canarimarie;".encode(), to_xlsx({"a": (["b"], [])})
    for body, media in ((json, "text/csv"), (json, XLSX), (table, XLSX), (workbook, "text/csv"),
                        (workbook, "application/json")):  # fmt: skip
        problem(send(house, body, media), 415, "not-as-announced", "Canarimarie")
    for body in (table, b"", b"null", "{}".encode("utf-16")):
        assert "table" not in send(house, body, "application/json").json()["type"]


@pytest.mark.parametrize(
    ("document", "body", "media"),
    [("ccas.suivi", b"[" + b"{}," * 1_000_000 + b"{}]", XLSX),
     ("ccas.beneficiaires", HEAD.encode() + b"a;b;c\n" * 160_000, "application/json"),
     ("ccas.suivi", b"\xef\xbb\xbf \n[" + b"[]," * 1_000_000 + b"[]]", XLSX)],
    ids=["objects as a workbook", "lines as JSON", "lists after a mark"],
)  # fmt: skip
def test_a_body_called_something_else_is_bounded_by_what_it_is(
    house: House, document: str, body: bytes, media: str
) -> None:
    with bounded():
        problem(house.send("ccas", document, body, media), 413, "too-many-parts")


def test_h_43_what_is_handed_out_is_an_attachment_nobody_guesses(house: House) -> None:
    letter = clock.new_id()
    with house.gateway.unit_of_work() as work:
        work.add(
            mailbox, id=letter, body="ccas", person_id="", document=NOTICE, content_type="image/svg+xml",
            content=b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", delivery_id=letter,
            created_at=work.now,
        )  # fmt: skip
    with house.client("ccas") as client:
        document = client.get(f"/v1/inbox/{letter}/document")
        assert document.status_code == 200
        assert document.headers["content-disposition"].startswith("attachment; ")
        assert document.headers["x-content-type-options"] == "nosniff"
        assert document.headers["content-security-policy"].startswith("default-src 'none'")
        for path in ("/v1/inbox", "/docs", "/openapi.json", "/healthz"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "media", ["multipart/form-data; boundary=x", "multipart/form-data", "multipart/mixed; boundary=" + "b" * 5_000]
)
def test_h_44_no_partner_s_door_takes_a_multipart_body(house: House, media: str) -> None:
    """Documents are bodies of their own; parts, their headers and their file names are never parsed."""
    parted = b"".join(
        b"--x\r\nContent-Disposition: form-data; name=a; filename=../../x\r\n\r\n1\r\n" for _ in range(1_000)
    )
    with bounded():
        problem(send(house, parted + b"--x--", media), 415, "media-type")
        problem(house.search("ccas", parted, media), 415, "media-type")
    with house.anyone() as anyone:
        assert anyone.post("/oauth/token", content=parted, headers={"Content-Type": media}).status_code == 415


@pytest.fixture
def uploader(house: House) -> Iterator[tuple[httpx.Client, str]]:
    """The engineer's session in the console, where files are parts of a form, and its token."""
    with httpx.Client(base_url=house.base, follow_redirects=True, timeout=30, trust_env=False) as client:
        page = client.get("/console/connexion?comme=integration&suite=/console/essai").text
        client.follow_redirects = False
        yield client, page.partition('name="jeton" value="')[2].partition('"')[0]


def parts(*fields: tuple[str, bytes], boundary: bytes = b"x") -> bytes:
    return b"".join(b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary, head.encode(), body) for head, body in fields) + (
        b"--%s--\r\n" % boundary
    )


def field(name: str, more: str = "") -> str:
    return f"Content-Disposition: form-data; name={name}{more}"


NAMES = [
    '; filename="../../etc/cron.d/x"', '; filename="/etc/cron.d/x"', '; filename="C:\\x"',
    "; filename*=UTF-8''..%2f..%2fetc%2fx", "; filename*=utf-7'x'%ff%00", "; filename*=nothing",
    '; filename="\x01\x02"', '; filename="a"; filename="b"', '; filename="' + "n" * 300 + '"',
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_h_44_the_name_of_an_uploaded_file_names_nothing_here(uploader: Any, name: str) -> None:
    """The only doors that take parts are the console's; a file's name is neither kept, shown nor opened."""
    client, token = uploader
    kept = set(Path(tempfile.gettempdir()).iterdir())
    body = parts(
        (field("jeton"), token.encode()),
        (field("document"), b"ccas.suivi"),
        (field("fichier", name), b'{"birthName": 1}'),
    )
    with bounded():
        answer = client.post(
            "/console/essai", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
    assert answer.status_code in (200, 400, 422), answer.text
    assert "cron.d" not in answer.text
    assert {one.name for one in set(Path(tempfile.gettempdir()).iterdir()) - kept} & {"x", "a", "b"} == set()
    assert not Path("/etc/cron.d/x").exists()


HOSTILE_PARTS = {
    "100 000 parts": (400, lambda token: parts(*[(field(f"a{n % 7}"), b"") for n in range(40_000)])),
    "more fields than any form has": (400, lambda token: parts(*[(field(f"a{n}"), b"1") for n in range(51)])),
    "two files": (400, lambda token: parts(*[(field("fichier", "; filename=a"), b"1")] * 2)),
    "a header without end": (400, lambda token: parts((field("a") + "\r\nX-A: " + "b" * 200_000, b"1"))),
    "ten thousand headers": (400, lambda token: parts((field("a") + "\r\nX-A: b" * 10_000, b"1"))),
    "a field without name": (400, lambda token: parts(("Content-Disposition: form-data", b"1"))),
    "a field too long": (400, lambda token: parts((field("jeton"), b"x" * 100_000))),
    "no end": (403, lambda token: parts((field("jeton"), token.encode()))[:-30]),
    "another boundary": (400, lambda token: parts((field("jeton"), token.encode()), boundary=b"y")),
    "more than a form may weigh": (413, lambda token: parts((field("fichier", "; filename=a"), b"x" * (9 << 20)))),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE_PARTS)
def test_h_44_parts_that_attack_the_console(house: House, uploader: Any, what: str) -> None:
    client, token = uploader
    status, body = HOSTILE_PARTS[what]
    with bounded():
        answer = client.post(
            "/console/essai", content=body(token), headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
    assert answer.status_code in (status, 400, 403), (answer.status_code, answer.text[:300])
    assert answer.status_code == 413 or status != 413
    assert token not in answer.text.replace(f'value="{token}"', "")
    assert house.alive()


@pytest.mark.parametrize(
    "media", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 5_000,
              "multipart/mixed; boundary=x"],
)  # fmt: skip
def test_h_44_parts_without_a_boundary(uploader: Any, media: str) -> None:
    client, token = uploader
    with bounded():
        answer = client.post(
            "/console/essai", content=parts((field("jeton"), token.encode())), headers={"Content-Type": media}
        )
    assert answer.status_code in (400, 403), answer.text


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
