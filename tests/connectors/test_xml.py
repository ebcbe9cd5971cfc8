"""Hostile XML never reaches a mapping; ordinary XML streams one record at a time."""

from __future__ import annotations

import io

import pytest

from connectors.contract import DocumentRefused
from connectors.xml import parse, stream

BOMB = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))

FAR = b'<?xml version="1.0"' + b" " * 5_000
HIDDEN = b'encoding="UTF-7"?><!-- +AC0ALQA+- <!DOCTYPE a [<!ENTITY e "ha">]> <!-- --><a x="&e;"/>'
"""In UTF-7, `+AC0ALQA+-` ends the comment."""


@pytest.mark.parametrize(
    ("situation", "document", "code"),
    [
        ("billion laughs", f'<!DOCTYPE a [<!ENTITY e0 "ha">{BOMB}]><a>&e8;</a>'.encode(), "xml-doctype"),
        ("file entity", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>', "xml-doctype"),
        ("external dtd", b'<!-- hi --><!DOCTYPE a SYSTEM "http://x.invalid/a.dtd"><a/>', "xml-doctype"),
        ("doctype after a long comment", b"<!--" + b"-x" * 9000 + b"--><!DOCTYPE a><a/>", "xml-doctype"),
        ("too deep", b"<a>" + b"<b>" * 300 + b"</b>" * 300 + b"</a>", "xml-too-deep"),
        ("attributes", b"<a " + b" ".join(b"x%d='1'" % n for n in range(5000)) + b"/>", "xml-too-many-attributes"),
        ("huge text", b"<a>" + b"x" * 11_000_000 + b"</a>", "xml-not-well-formed"),
        ("utf-7", b'<?xml version="1.0" encoding="UTF-7"?><a/>', "xml-encoding"),
        ("utf-7 declared far from the start", FAR + b'encoding="UTF-7"?><a/>', "xml-encoding"),
        ("doctype that another encoding hides in a comment", FAR + HIDDEN, "xml-encoding"),
        ("utf-16", "<a/>".encode("utf-16"), "xml-encoding"),
        ("latin-1 declared utf-8", b'<?xml version="1.0" encoding="UTF-8"?><a>\xe9</a>', "xml-not-well-formed"),
        ("nul", b"<a>\x00</a>", "xml-not-well-formed"),
        ("control reference", b"<a>&#1;</a>", "xml-not-well-formed"),
        ("surrogate reference", b"<a>&#xD800;</a>", "xml-not-well-formed"),
        ("duplicate attribute", b"<a x='1' x='2'/>", "xml-not-well-formed"),
        ("another document", b"<z/>", "wrong-root"),
        ("cut", b"<a><b></b>", "xml-not-well-formed"),
        ("empty", b"", "xml-not-well-formed"),
    ],
)  # fmt: skip
def test_a_hostile_document_is_refused_by_name(situation: str, document: bytes, code: str) -> None:
    with pytest.raises(DocumentRefused) as refusal:
        list(stream(io.BytesIO(document), "a", "b"))
    assert refusal.value.code == code
    with pytest.raises(DocumentRefused) as again:
        parse(io.BytesIO(document), "a")
    assert again.value.code == code


def test_records_come_one_at_a_time_and_are_released() -> None:
    document = (
        b"\xef\xbb\xbf<a><!-- note --><?go away?>" + b"".join(b"<b><c>%d</c></b>" % n for n in range(1000)) + b"</a>"
    )
    seen = []
    for element in stream(io.BytesIO(document), "a", "b"):
        previous = element.getprevious()
        assert previous is None or (len(previous) == 0 and previous.getprevious() is None)
        seen.append(element.findtext("c"))
    assert seen == [str(n) for n in range(1000)]


def test_a_small_document_is_read_whole() -> None:
    root = parse(io.BytesIO("<?xml version='1.0' encoding='ISO-8859-1'?><a><b>é</b></a>".encode("iso-8859-1")), "a")
    assert root.findtext("b") == "é"
    assert parse(io.BytesIO(b"<a/>"), "a").tag == "a"
