"""H-1 … H-16: hostile XML, on the HTTP door, on files, and on the readers under them. Nothing fetched, nothing kept."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connectors import xml
from connectors.caf import generator
from connectors.contract import DocumentRefused
from gateway.ingest import ingest
from gateway.problems import Conflict
from tests.api.house import House, bounded, problem

CAF, ALI, LISTS = "caf.flux_beneficiaire", "departement.webrsa_ali", "departement.referentiel"
ROOT = Path(__file__).parents[2]
CANARY = "CANARIXML"


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A genuine file of one household."""
    path = tmp_path_factory.mktemp("caf") / "good.xml"
    generator.write_file(path, 1, seed=3, mois="2026-10", departement="040")
    return path.read_bytes()


@pytest.fixture
def listener() -> Iterator[Callable[[], int]]:
    """A loopback server that counts who calls: nobody may."""
    calls: list[int] = []
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                server.accept()[0].close()
                calls.append(1)
            except TimeoutError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    count = lambda: len(calls)  # noqa: E731
    count.port = server.getsockname()[1]  # type: ignore[attr-defined]
    yield count
    stop.set()
    thread.join()
    server.close()


def inside(good: bytes, what: bytes, tag: bytes = b"<NOMNAI>") -> bytes:
    assert tag in good
    return good.replace(tag, tag + what, 1)


def prolog(good: bytes, what: bytes) -> bytes:
    head, end, rest = good.partition(b"?>")
    return head + end + what + rest


def refused_everywhere(house: House, tmp_path: Path, body: bytes, status: int, code: str, *canaries: str) -> None:
    """By the HTTP door and by the reader of files; nothing is written, and the refusal is journaled."""
    with bounded(cpu=2.0):
        told = problem(house.send("caf", CAF, body, "application/xml"), status, code, *canaries)
    assert house.journaled(told["instance"])["event"] == "input.reject"
    path = tmp_path / f"{uuid.uuid4()}.xml"
    path.write_bytes(body)
    # A file refused at its records was begun: another under the same header is then a conflict, refused as well.
    with bounded(cpu=2.0), pytest.raises((DocumentRefused, Conflict)) as refusal:
        read_file(house, path)
    assert not any(canary in str(refusal.value) for canary in canaries)
    assert house.alive()


def read_file(house: House, path: Path) -> None:
    """A file whose only record cannot be read applied nothing, and counted it: as good as a refusal."""
    told = ingest(house.gateway, path, "caf", CAF).line()
    if told["accepted"] == 0 and told["rejected"] == told["records"] > 0:
        raise DocumentRefused("rejected", "")


LAUGHS = b'<!DOCTYPE r [<!ENTITY a "ha">' + b"".join(
    b'<!ENTITY a%d "%s">' % (n, b"&a%s;" % (str(n - 1).encode() if n > 1 else b"") * 10) for n in range(1, 10)
) + b"]>"  # fmt: skip
QUADRATIC = b'<!DOCTYPE r [<!ENTITY a "' + b"x" * 50_000 + b'">]>'
FILE = b'<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
DTD = b'<!DOCTYPE r SYSTEM "http://127.0.0.1:%d/x.dtd">'
OUT_OF_BAND = b'<!DOCTYPE r [<!ENTITY %% p SYSTEM "http://127.0.0.1:%d/p"> %%p;]>'
DOCTYPES = {"h_1": LAUGHS, "h_2": QUADRATIC, "h_3": FILE, "h_4": DTD, "h_5": OUT_OF_BAND}


@pytest.mark.parametrize("name", DOCTYPES)
def test_h_1_2_3_4_5_a_doctype_is_refused_before_any_parser(
    house: House, tmp_path: Path, good: bytes, listener: Callable[[], int], name: str
) -> None:
    port = listener.port  # type: ignore[attr-defined]
    doctype = DOCTYPES[name] % port if name in ("h_4", "h_5") else DOCTYPES[name]
    body = prolog(inside(good, b"&a;" * (50_000 if name == "h_2" else 1)), doctype)
    refused_everywhere(house, tmp_path, body, 400, "xml-doctype", os.uname().nodename)
    for document in (ALI, LISTS):
        problem(house.send("departement", document, body, "application/xml"), 400, "xml-doctype")
    for hidden in (
        b"<!-- x -->" + doctype,
        b"\n\n" + doctype.lower().replace(b"entity", b"ENTITY"),
        b"<?p?>" + doctype,
    ):
        with pytest.raises(DocumentRefused, match="xml-doctype"):
            xml.parse(io.BytesIO(prolog(b"<?xml version='1.0'?><r/>", hidden)), "r")
    assert listener() == 0


def test_h_1_the_command_line_refuses_the_file_and_writes_nothing(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "laughs.xml"
    path.write_bytes(prolog(good, LAUGHS))
    run = subprocess.run(
        [sys.executable, "-m", "gateway", "ingest", str(path), "--from", "caf", "--document", CAF],
        env=os.environ | {"MAILLON_HOME": str(tmp_path / "home"), "MAILLON_PROFILE": "test",
                          "MAILLON_DEPARTEMENT": "040"},
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    assert "xml-doctype" in run.stderr + run.stdout
    assert "Traceback" not in run.stderr


def test_h_6_xinclude_is_never_carried_out(house: House, good: bytes) -> None:
    include = b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>'
    answer = house.send("caf", CAF, inside(good, include), "application/xml")
    assert answer.status_code == 202
    assert answer.json()["results"][0]["status"] == "quarantined"
    assert "root:" not in answer.text
    sources = [
        path for folder in ("connectors", "gateway", "mappings", "schemas") for path in (ROOT / folder).rglob("*.py")
    ]
    assert not [path for path in sources if "xinclude(" in path.read_text() or "XSLT(" in path.read_text()]


@pytest.mark.parametrize(
    ("depth", "status", "code"),
    [(300, 400, "xml-not-well-formed"), (70_000, 400, "xml-not-well-formed"), (100_000, 413, "too-many-parts")],
)  # fmt: skip
def test_h_7_depth(house: House, tmp_path: Path, good: bytes, depth: int, status: int, code: str) -> None:
    """Each by the first limit it meets: that of the library, or the number of tags that one call may hold."""
    deep = b"<a>" * depth + b"</a>" * depth
    refused_everywhere(house, tmp_path, inside(good, deep), status, code)
    nested = b"<a>" * xml.MAX_DEPTH + b"</a>" * xml.MAX_DEPTH  # in a record: an element beside it is refused sooner
    less = b"<WebRSA-ALI><dossiers><dossier>" + nested + b"</dossier></dossiers></WebRSA-ALI>"
    problem(house.send("departement", ALI, less, "application/xml"), 400, "xml-too-deep")
    with pytest.raises(DocumentRefused, match=r"xml-(too-deep|not-well-formed)"):
        xml.parse(io.BytesIO(b"<r>" + deep + b"</r>"), "r")


def test_h_8_attributes(house: House, tmp_path: Path, good: bytes) -> None:
    for count in (65, 200_000):
        many = b"<a " + b" ".join(b'a%d="1"' % n for n in range(count)) + b"/>"
        refused_everywhere(house, tmp_path, inside(good, many), 400, "xml-too-many-attributes")
        with pytest.raises(DocumentRefused, match="xml-too-many-attributes"):
            xml.parse(io.BytesIO(b"<r>" + many + b"</r>"), "r")


def test_h_9_a_text_of_eleven_megabytes(house: House, tmp_path: Path, good: bytes) -> None:
    refused_everywhere(house, tmp_path, inside(good, b"x" * (11 << 20)), 413, "body-too-large")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'<?xml version="1.0" encoding="utf-7"?>+ADw-r+AD4-', "bad-encoding"),
        (b'<?xml version="1.0" encoding="utf-16"?><Racine/>', "bad-encoding"),
        ('<?xml version="1.0" encoding="utf-16"?><Racine/>'.encode("utf-16"), "bad-encoding"),
        ("<Racine/>".encode("utf-16-le"), "bad-encoding"),
        ("<Racine/>".encode("utf-32"), "bad-encoding"),
        # Without a mark, libxml2 knows them by their declaration or their first four bytes.
        ('<?xml version="1.0"?><!DOCTYPE Racine><Racine/>'.encode("utf-16-le"), "bad-encoding"),
        ('<?xml version="1.0"?><!DOCTYPE Racine><Racine/>'.encode("utf-32-le"), "bad-encoding"),
    ],
)
def test_h_10_encodings_that_lie(house: House, tmp_path: Path, body: bytes, code: str) -> None:
    refused_everywhere(house, tmp_path, body, 400, code)
    with pytest.raises(DocumentRefused, match="xml-encoding"):
        xml.parse(io.BytesIO(body), "Racine")


def test_h_10_latin_1_declared_utf_8(house: House, tmp_path: Path, good: bytes) -> None:
    lying = inside(good.replace(b"windows-1252", b"utf-8", 1), b"\xe9" + CANARY.encode())
    refused_everywhere(house, tmp_path, lying, 400, "bad-encoding", CANARY)


@pytest.mark.parametrize("character", [b"\x00", b"&#1;", b"&#xD800;", b"&#0;", b"\x01"])
def test_h_11_characters_that_are_none(house: House, tmp_path: Path, good: bytes, character: bytes) -> None:
    body = inside(good, CANARY.encode() + character)
    refused_everywhere(house, tmp_path, body, 400, "xml-not-well-formed", CANARY)


def test_h_12_an_attribute_twice(house: House, tmp_path: Path, good: bytes) -> None:
    body = inside(good, b'<a b="CANARIXML" b="2"/>')
    refused_everywhere(house, tmp_path, body, 400, "xml-not-well-formed", CANARY)


def test_h_13_a_stylesheet_is_ignored(house: House, good: bytes, listener: Callable[[], int]) -> None:
    port = listener.port  # type: ignore[attr-defined]
    sheet = b'<?xml-stylesheet type="text/xsl" href="http://127.0.0.1:%d/x.xsl"?>' % port
    answer = house.send("caf", CAF, prolog(good, sheet), "application/xml")
    assert answer.status_code == 202
    assert listener() == 0


@pytest.mark.parametrize(
    ("before", "after", "status", "code"),
    [
        (b"<Racine ", b'<Racine xmlns="urn:autre" ', 400, "bad-header"),
        (b"<Racine ", b'<x:Racine xmlns:x="urn:autre" ', 400, "wrong-root"),
        (b"<NOMNAI>", b'<x:NOMNAI xmlns:x="urn:autre">', 422, "records-rejected"),
        (b"<NOMNAI>", b'<NOMNAI xmlns="urn:autre">', 422, "records-rejected"),
        (b"<NOMNAI>", b'<x:NOMNAI xmlns:x="urn:a" xmlns:y="urn:b"><y:x/>', 422, "records-rejected"),
    ],
)
def test_h_14_namespaces_are_not_confused(
    house: House, tmp_path: Path, good: bytes, before: bytes, after: bytes, status: int, code: str
) -> None:
    """A name of another namespace is another name: what the schema asks for is then missing."""
    ascii_only = good.decode("cp1252").encode("ascii", "xmlcharrefreplace")
    body = ascii_only.replace(before, after, 1)
    if b"<x:" in after:
        tag = before.strip(b"<> ")
        body = body.replace(b"</%s>" % tag, b"</x:%s>" % tag, 1)
    refused_everywhere(house, tmp_path, body, status, code)


def test_h_14_a_prefix_that_means_nothing_is_not_xml(house: House, tmp_path: Path, good: bytes) -> None:
    body = good.replace(b"<NOMNAI>", b"<x:NOMNAI>", 1).replace(b"</NOMNAI>", b"</x:NOMNAI>", 1)
    refused_everywhere(house, tmp_path, body, 400, "xml-not-well-formed")


def test_h_15_no_door_takes_a_signed_xml(house: House, tmp_path: Path, good: bytes) -> None:
    """No partner signs its XML, so a signature proves nothing: a copy wrapped in one is not taken for the record."""
    start, end = good.index(b"<InfosFoyerRSA>"), good.index(b"</InfosFoyerRSA>") + len(b"</InfosFoyerRSA>")
    wrapped = (
        b'<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><Object>' + good[start:end] + b"</Object></Signature>"
    )
    body = good[:start] + wrapped + good[start:end] + good[end:]
    with bounded():
        answer = house.send("caf", CAF, body, "application/xml")
    assert answer.status_code in (400, 422) or "accepted" not in [one["status"] for one in answer.json()["results"]]
    assert house.alive()


def test_h_16_no_schema_is_fetched_and_none_is_run_on_input(
    house: House, good: bytes, listener: Callable[[], int]
) -> None:
    port = listener.port  # type: ignore[attr-defined]
    body = good.replace(b"vrsb0801.xsd", b"http://127.0.0.1:%d/vrsb0801.xsd" % port, 1)
    with bounded():
        answer = house.send("caf", CAF, inside(body, b"a" * 30_000 + b"!"), "application/xml")
    assert answer.status_code in (202, 400, 422)
    assert listener() == 0
    assert json.dumps(answer.json()).count("aaaaaaaa") == 0
