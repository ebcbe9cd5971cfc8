"""Genuine documents, bent at random: each reader and each mapping gives records or refuses, and repeats no value.

Short and always the same in the suite; `make chaos` draws thousands more from its seed (CHAOS_SEED), which draws the
same ones again. What once broke a reader becomes a test of its own: an object where a text was expected did, so every
place of every example is tried with everything odd.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import mappings
from connectors.caf.generator import write_contacts, write_file, write_instruction
from connectors.contract import DocumentRefused
from connectors.json import parse
from connectors.manifest import installed
from connectors.table import to_csv, to_xlsx
from schemas.record import Record
from tests.chaos.conftest import SEED
from tests.hostile.test_fuzz_doors import CANARY

LONG = pytest.param(3_000, marks=pytest.mark.chaos)
PIECES = [
    b"\x00", b"\xff", b"\xed\xa0\x80", b"<", b">", b"</a>", b"&#0;", b"]]>", b"<!--", b'"', b"'", b"{", b"}", b"[",
    b",", b";", b"\t", b"\r", b"\n\n", b"1e999", b"-0", b"NaN", b"null", b"9" * 30, b"0000-00-00", b"2024-02-30",
    b"\\ud800", b"__proto__", CANARY.encode(), "\u202e".encode(), b" " * 50,
]  # fmt: skip
ODD = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=12) | st.just(CANARY)
    | st.just([]) | st.just({}) | st.just([None]) | st.just({"a": [CANARY]})
)  # fmt: skip


def drawn(count: int, property_: Callable[..., None], **strategies: st.SearchStrategy[Any]) -> None:
    """Try the property: always alike in the suite, from the seed of the run in the long one."""
    short = count < 1_000
    bounds = settings(
        max_examples=count, deadline=None, derandomize=short, database=None,
        phases=[Phase.generate] if short else [Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    made = bounds(given(**strategies)(property_))
    (made if short else seed(SEED)(made))()


CUTS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["cut", "put", "flip", "again"]), st.sampled_from(PIECES)),
    min_size=1, max_size=4,
)  # fmt: skip


def bent(whole: bytes, cuts: list[tuple[float, str, bytes]]) -> bytes:
    """These bytes with a few cuts, insertions, flipped bits and repetitions."""
    for where, how, piece in cuts:
        at = int(where * len(whole))
        if how == "cut":
            whole = whole[:at] + whole[at + 1 + len(piece) :]
        elif how == "put":
            whole = whole[:at] + piece + whole[at:]
        elif how == "flip":
            whole = whole[:at] + bytes(byte ^ 1 << len(piece) % 8 for byte in whole[at : at + 1]) + whole[at + 1 :]
        else:
            whole = whole[:at] + whole[max(0, at - 40) :]
    return whole


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def replaced(value: Any, where: float, odd: Any) -> Any:
    """The same JSON with one of its values, at any depth, replaced by an odd one."""
    *path, last = [None, *places(value)[round(where * (len(places(value)) - 1))]]
    if last is None:
        return odd
    inner = value = copy.deepcopy(value)
    for step in path[1:]:
        inner = inner[step]
    inner[last] = odd
    return value


def discreet(record: Record) -> None:
    """Findings say a code and a path, never what was written there. The name of an unknown field, when it has the form
    of a name, is what its sender must look for."""
    for finding in record.findings:
        assert CANARY not in finding.code
        assert CANARY not in finding.path or finding.code == "unknown-field"


@contextmanager
def refused_discreetly() -> Iterator[None]:
    """A refusal is an answer; it has a code and repeats nothing."""
    try:
        yield
    except DocumentRefused as refused:
        told = f"{refused} {refused.code} {refused.path}"
    else:
        return
    assert CANARY not in told


READ = [
    (mapping, example)
    for mapping in mappings.all_mappings()
    if mapping.file.direction != "write"
    for example in mapping.file.example
    if example.partner and example.direction != "write"
]


@pytest.mark.parametrize("count", [12, LONG])
@pytest.mark.parametrize("id", sorted({mapping.id for mapping, _ in READ}))
def test_fuzz_mapping(id: str, count: int) -> None:
    """The engine reads whatever a partner may write where its mapping expects a value."""
    chosen = [(one, two) for one, two in READ if one.id == id]
    mapping = chosen[0][0]
    genuine = [((one.path.parent / str(two.partner)).read_bytes(), two.context) for one, two in chosen]

    def bend(of: Any, cuts: Any) -> None:
        whole, context = of
        discreet(mapping.read(bent(whole, cuts), **context))

    def fill(of: Any, where: float, odd: Any) -> None:
        whole, context = of
        value = replaced(json.loads(whole), where, odd)
        if isinstance(value, dict):  # a record is an object: what carries it has checked that
            discreet(mapping.read(value, **context))

    of = st.sampled_from(genuine)
    if mapping.file.partner.format == "xml":
        drawn(count, bend, of=of, cuts=CUTS)
    else:  # a table's cells are text, whatever they hold
        odd = st.text(max_size=12) | st.just(CANARY) if mapping.file.partner.format == "table" else ODD
        drawn(count, fill, of=of, where=st.floats(0, 1), odd=odd)


@pytest.mark.parametrize("id", sorted({one.id for one, _ in READ if one.file.partner.format == "json"}))
def test_each_place_of_a_document_may_hold_anything(id: str) -> None:
    for mapping, example in [(one, two) for one, two in READ if one.id == id]:
        whole = json.loads((mapping.path.parent / str(example.partner)).read_bytes())
        last = len(places(whole)) - 1
        for rank in range(1, last + 1):
            for odd in ({}, [], [{"a": CANARY}], None, True, 1e308, CANARY):
                discreet(mapping.read(replaced(whole, rank / last, odd), **example.context))


def generated(write: Callable[..., Any]) -> bytes:
    stream = io.BytesIO()
    write(stream, 2, 1)
    return stream.getvalue()


HEADERS = ("Nom", "Prénom", "Date de naissance")
ROWS = [("Canari", "Rose", "02/01/1970"), ("Canaribis", "Line", "1971-03-04")]
SUIVI = json.dumps({"birthName": "Canari", "firstName": "Rose", "birthDate": "1970-01-02", "fileNumber": "F1"}).encode()
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
DOCUMENTS = {
    "caf.flux_beneficiaire": ("application/xml", lambda: generated(write_file)),
    "caf.instruction": ("application/xml", lambda: generated(write_instruction)),
    "caf.contacts_allocataires": ("text/csv", lambda: generated(write_contacts)),
    "ccas.suivi": ("application/json", lambda: SUIVI),
    "ccas.beneficiaires": ("text/csv", lambda: to_csv(HEADERS, ROWS)),
    "ccas.beneficiaires.xlsx": (XLSX, lambda: to_xlsx({"beneficiaires": (HEADERS, ROWS)})),
    "rdv_insertion.usagers": ("text/csv", lambda: to_csv(HEADERS, ROWS)),
}


@pytest.mark.parametrize("count", [15, LONG])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_fuzz_reader(name: str, count: int) -> None:
    """A connector opens any bytes under its document's name: records that say their findings, or one coded refusal."""
    media, genuine = DOCUMENTS[name]
    body, document = name.split(".")[0], ".".join(name.split(".")[:2])
    asked = {setting.name for setting in installed()[body].manifest.setting}
    told = {name: value for name, value in {"departement": "040", "secret": "essai"}.items() if name in asked}
    connector, whole = installed()[body].create(told), genuine()

    def read(cuts: Any) -> None:
        with refused_discreetly():
            for record in connector.read(document, io.BytesIO(bent(whole, cuts)), content_type=media):
                discreet(record)

    assert list(connector.read(document, io.BytesIO(whole), content_type=media)), "the genuine document is read"
    drawn(count, read, cuts=CUTS)


@pytest.mark.parametrize("count", [200, LONG])
def test_fuzz_json(count: int) -> None:
    def read(raw: bytes, cuts: Any) -> None:
        with refused_discreetly():
            json.dumps(parse(bent(raw, cuts)), allow_nan=False).encode()

    drawn(count, read, raw=st.binary(max_size=80) | st.just(SUIVI), cuts=CUTS)
