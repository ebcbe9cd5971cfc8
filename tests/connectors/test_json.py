"""JSON is read as RFC 8259 means it: what the standard parser lets through is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import DocumentRefused
from connectors.json import _clean, _strictly, digest, parse
from schemas.normalisation import clean


@pytest.mark.parametrize(
    ("situation", "document", "code"),
    [
        ("a key twice", b'{"nom": "A", "nom": "B"}', "json-duplicate-key"),
        ("a key twice, escaped", b'{"nom": "A", "n\\u006fm": "B"}', "json-duplicate-key"),
        ("a key twice, two backslashes", rb'{"nom": 1, "nom": 2, "a": "\\", "b": "\\"}', "json-duplicate-key"),
        ("NaN", b'{"x": NaN}', "json-number"),
        ("Infinity", b"[-Infinity]", "json-number"),
        ("1e400", b"[1e400]", "json-number"),
        ("a float of 5000 digits", b"[0." + b"1" * 5000 + b"]", "json-number"),
        ("an integer of 4000 digits", b"[" + b"9" * 4000 + b"]", "json-number"),
        ("a lone surrogate", b'["\\ud800"]', "json-text"),
        ("a lone surrogate as key", b'{"\\udfff": 1}', "json-text"),
        ("NUL", b'["a\\u0000b"]', "json-text"),
        ("direction override in a key", '{"nom\u202e": 1}'.encode(), "json-text"),
        ("not UTF-8", b'["\xe9"]', "json-not-utf8"),
        ("byte order mark", b'\xef\xbb\xbf{"a": 1}', "json-bom"),
        ("UTF-16", '{"a": 1}'.encode("utf-16"), "json-bom"),
        ("900 levels", b"[" * 900 + b"]" * 900, "json-too-deep"),
        ("100 000 levels", b"[" * 100_000 + b"]" * 100_000, "json-too-deep"),
        ("33 levels", b"[" * 33 + b"]" * 33, "json-too-deep"),
        ("two documents", b"{} {}", "json-syntax"),
        ("garbage after", b"{}x", "json-syntax"),
        ("empty", b"", "json-syntax"),
        ("prototype", b'{"__proto__": {}}', "json-forbidden-key"),
        ("reference", b'{"$ref": "file:///etc/hostname"}', "json-forbidden-key"),
    ],
)
def test_what_rfc_8259_leaves_open_is_refused(situation: str, document: bytes, code: str) -> None:
    with pytest.raises(DocumentRefused) as refusal:
        parse(document)
    assert refusal.value.code == code


def test_a_document_over_the_cap_is_refused() -> None:
    with pytest.raises(DocumentRefused) as refusal:
        parse(b'"' + b"x" * 1000 + b'"', max_bytes=1000)
    assert refusal.value.code == "too-large"


@pytest.mark.parametrize("mark", ["\v", "\f", "\x1c", "\x85"])
def test_a_control_that_parts_two_names_leaves_a_blank_between_them_as_in_a_csv_file(mark: str) -> None:
    assert parse(json.dumps(f"Marie{mark}Anne").encode()) == "Marie Anne" == clean(f"Marie{mark}Anne")


def test_32_levels_are_read() -> None:
    assert parse(b"[" * 32 + b"]" * 32) is not None


_pieces = st.sampled_from(
    [
        "Zoé",
        "Zoe\u0301",
        "\u0301",
        "a",
        "\x7f",
        "\u202e",
        "\ufeff",
        "\u200b",
        "\n",
        "\b",
        "\\",
        "é",
        "가",
        "\u1161",
        "𝒜",
    ]
)
_texts = st.lists(_pieces, max_size=4).map("".join)


@given(value=st.recursive(_texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("cle") | _texts,
       inner, max_size=3), max_leaves=8), escaped=st.booleans())  # fmt: skip
def test_a_document_looked_at_once_is_cleaned_as_text_by_text(value: Any, escaped: bool) -> None:
    """A text that needs no cleaning is told of the whole document; what comes out is what each text alone would be."""
    document = json.dumps(value, ensure_ascii=escaped).encode()
    try:
        expected: Any = _clean(json.loads(document), 32)
    except DocumentRefused as refused:
        expected = refused.code
    try:
        found = parse(document)
    except DocumentRefused as refused:
        found = refused.code
    assert found == expected


_scalars = st.sampled_from(
    [
        "1", "-0", "0.5", "1e5", "1e400", "true", "null", "NaN", "9" * 19, "-" + "9" * 20, "0." + "1" * 62,
        "0." + "1" * 63, '"a"', r'"\""', r'"\\"', r'"a\":"', r'"\u00e9"', r'"\ud800"', '"e\u0301"', '"\x7f"',
        "[" * 28 + "]" * 28,
    ]
)  # fmt: skip
_names = st.sampled_from(
    ['"a"', '"b"', r'"\u0061"', r'"b\""', r'"\\"', '"é"', '"$ref"', f'"{"k" * 256}"', f'"{"k" * 257}"']
)
_blanks = st.sampled_from(["", "", " ", "\n"])
_written = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3).map(", ".join).map("[{}]".format)
    | st.lists(st.builds("{}{}:{}".format, _names, _blanks, inner), max_size=4).map(",".join).map("{{{}}}".format),
    max_leaves=12,
)  # fmt: skip


@given(text=_written, cut=st.integers(0, 40), piece=st.sampled_from(["", "", "", '"', "\\", "}", ",", ":"]))
def test_a_document_read_at_once_is_the_one_read_piece_by_piece(text: str, cut: int, piece: str) -> None:
    text = text[:cut] + piece + text[cut:]
    try:
        expected: Any = repr(_clean(_strictly(text, 32), 32))
    except DocumentRefused as refused:
        expected = str(refused)
    try:
        found = repr(parse(text.encode()))
    except DocumentRefused as refused:
        found = str(refused)
    assert found == expected


@pytest.mark.parametrize("text", ["a", "é", "\\n"])
def test_levels_and_keys_are_bounded_whatever_the_texts(text: str) -> None:
    deep, long = "[" * 33 + f'"{text}"' + "]" * 33, '{"' + "k" * 257 + f'": "{text}"' + "}"
    for document, code in ((deep, "json-too-deep"), (long, "json-text")):
        with pytest.raises(DocumentRefused) as refusal:
            parse(document.encode())
        assert refusal.value.code == code


def test_names_come_out_composed_and_without_invisible_characters() -> None:
    decomposed = "Zoe\u0301 \u202eDUPONT\u200b"
    assert parse(json.dumps({"nom": decomposed}).encode()) == {"nom": "Zoé DUPONT"}


def test_a_refusal_never_shows_a_value() -> None:
    for document in (b'{"nom": "SECRETO", "nom": 1}', b'["SECRETO\\ud800"]', b'{"nom": "SECRETO"'):
        with pytest.raises(DocumentRefused) as refusal:
            parse(document)
        assert "SECRETO" not in str(refusal.value)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text("abcdéàç -'\n", max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_", max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_ordinary_json_is_read_as_it_is(value: object) -> None:
    assert parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = parse(data)
    except DocumentRefused:
        return
    json.dumps(value, ensure_ascii=False).encode("utf-8")


def test_the_digest_ignores_spaces_and_order() -> None:
    assert digest(parse(b'{"a": 1, "b": [true]}')) == digest(parse(b'{"b":[true],"a":1}'))
    assert digest({"a": 1}) != digest({"a": "1"})
