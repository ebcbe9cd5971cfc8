"""Any bytes at all on the JSON, CSV and XML doors: an answer of the contract, never a defect, never a value.

Seeds that once mattered stay as examples.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connectors.table import XLSX
from tests.api.house import House
from tests.hostile.workbooks import book, cell

CANARY = "CANARIFUZZ"
BOUNDED = settings(max_examples=25, deadline=None, derandomize=True, database=None,
                   suppress_health_check=list(HealthCheck))  # fmt: skip
NAMES = ["birthName", "firstName", "birthDate", "fileNumber", "freins", "rendezVous", "followups", "phone1", "mobility",
         "beneficiaries", "structure", "socialSecurityNumber", "birthPlace"]  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=20) | st.just(CANARY)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = {
    "ccas": ["ccas.suivi", "ccas.beneficiaires"],
    "departement": ["departement.accompagnement"],
    "france_travail": ["france_travail.dossier_diagnostic", "france_travail.statut_usager", "france_travail.rqth"],
}


CELLS = [b"Nom", b";", b"\n", b'"', b"\r", b"\x00", b"Date de naissance", b"CANARIFUZZ", b"1970-01-01", b"\xff"]
TAGS = [
    b"<Racine>", b"</Racine>", b"<InfosFoyerRSA>", b"</InfosFoyerRSA>", b"<WebRSA-ALI>", b"<Referentiel_WebRSA>",
    b"<IdentificationFlux>", b"<TransmissionFlux>", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"&amp;", b"CANARIFUZZ",
    b'<?xml version="1.0" encoding="utf-8"?>', b"<a b='1'/>", b"\xe9", b"<", b">",
]  # fmt: skip


def mixed(words: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(words), max_size=30).map(b"".join)


def answered(house: House, body: str, document: str, raw: bytes, media: str) -> None:
    answer = house.send(body, document, raw, media)
    assert answer.status_code in (202, 400, 413, 415, 422), (answer.status_code, answer.text[:200])
    assert CANARY not in answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("body", "document"), [(b, d) for b, ds in DOCUMENTS.items() for d in ds])
def test_any_json(house: House, body: str, document: str) -> None:
    @BOUNDED
    @example({"birthName": CANARY, "firstName": [], "birthDate": {}})
    @example([[[]]])
    @example({"beneficiaries": [{"freins": [{"theme": CANARY}]}]})
    @given(VALUES)
    def fuzz(value: object) -> None:
        answered(house, body, document, json.dumps(value).encode(), "application/json")

    fuzz()


def test_any_table(house: House) -> None:
    @BOUNDED
    @example(b'Nom;Pr\xe9nom;Date de naissance\n"CANARIFUZZ')
    @example(b"\xef\xbb\xbf\n;;\n")
    @given(st.binary(max_size=200) | mixed(CELLS))
    def fuzz(raw: bytes) -> None:
        answered(house, "ccas", "ccas.beneficiaires", raw, "text/csv")

    fuzz()


def test_any_workbook(house: House) -> None:
    whole = book(cell("A", 1) + cell("B", 2, CANARY))

    @BOUNDED
    @example(0, 0)
    @example(len(whole) - 20, 255)
    @given(st.integers(0, len(whole) - 1), st.integers(0, 255))
    def fuzz(place: int, value: int) -> None:
        answered(house, "ccas", "ccas.beneficiaires", whole[:place] + bytes([value]) + whole[place + 1 :], XLSX)

    fuzz()


@pytest.mark.parametrize(
    ("body", "document"),
    [("caf", "caf.flux_beneficiaire"), ("caf", "caf.instruction"), ("departement", "departement.webrsa_ali"),
     ("departement", "departement.referentiel")],
)  # fmt: skip
def test_any_xml(house: House, body: str, document: str) -> None:
    @BOUNDED
    @example(b"<Racine><InfosFoyerRSA></InfosFoyerRSA></Racine>")
    @example(b"<Racine/>")
    @given(st.binary(max_size=100) | mixed(TAGS))
    def fuzz(raw: bytes) -> None:
        answered(house, body, document, raw, "application/xml")

    fuzz()
    assert house.alive()
