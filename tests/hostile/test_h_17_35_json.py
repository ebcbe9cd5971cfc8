"""H-17 … H-35: hostile JSON, on the search, the exchange door of three partners, and the webhook door."""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.caf import generator
from connectors.contract import DocumentRefused
from connectors.json import parse
from schemas.composition import normal
from tests.api.house import House, bounded, problem
from tests.api.test_webhooks import message, push

CANARY = "CANARIJSON"
EXAMPLES = Path(__file__).parents[2] / "mappings" / "departement" / "examples" / "accompagnement"
Door = Callable[[House, bytes], httpx.Response]
DOORS: dict[str, Door] = {
    "search": lambda house, body: house.search("ccas", body),
    "ccas": lambda house, body: house.send("ccas", "ccas.suivi", body),
    "departement": lambda house, body: house.send("departement", "departement.accompagnement", body),
    "france_travail": lambda house, body: house.send("france_travail", "france_travail.dossier_diagnostic", body),
    "webhook": lambda house, body: push(house, body),
}
every_door = pytest.mark.parametrize("door", DOORS)


def refused(house: House, door: str, body: bytes, status: int, code: str) -> None:
    with bounded():
        told = problem(DOORS[door](house, body), status, code, CANARY)
    if door != "webhook":
        assert house.journaled(told["instance"])["reason_code"] == code
    assert house.alive()


def named(value: str) -> bytes:
    """An object with one hostile value beside a canary."""
    return f'{{"nom_naissance": "{CANARY}", "firstName": {value}}}'.encode()


@every_door
def test_h_17_a_key_twice(house: House, door: str) -> None:
    refused(house, door, b'{"nir": "CANARIJSON", "nir": "2"}', 400, "json-duplicate-key")


@every_door
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_h_18_not_a_number(house: House, door: str, value: str) -> None:
    refused(house, door, named(value), 400, "json-number")


@every_door
def test_h_19_out_of_range(house: House, door: str) -> None:
    refused(house, door, named("1e400"), 400, "json-number")


@every_door
def test_h_20_half_a_character(house: House, door: str) -> None:
    refused(house, door, named(r'"\ud800"'), 400, "json-text")


@every_door
def test_h_21_bytes_that_are_not_utf_8(house: House, door: str) -> None:
    refused(house, door, b'{"nir": "CANARIJSON\xff"}', 400, "json-not-utf8")


@every_door
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_h_22_another_encoding(house: House, door: str, encoding: str) -> None:
    body = json.dumps({"firstName": CANARY}).encode(encoding)
    answer = DOORS[door](house, body)
    assert answer.status_code in (400, 415), answer.text
    assert CANARY not in answer.text
    with pytest.raises(DocumentRefused, match=r"json-(bom|text|syntax|not-utf8)"):
        parse(body)


@every_door
@pytest.mark.parametrize("depth", [33, 900, 100_000])
def test_h_23_depth(house: House, door: str, depth: int) -> None:
    body = b'{"a":' * depth + b"1" + b"}" * depth
    if depth == 100_000 and door == "search":
        refused(house, door, body, 413, "body-too-large")
    else:
        refused(house, door, body, 400, "json-too-deep")


@every_door
@pytest.mark.parametrize("digits", [20, 4_000, 5_000])
def test_h_24_digits(house: House, door: str, digits: int) -> None:
    refused(house, door, named("9" * digits), 400, "json-number")


@every_door
def test_h_25_fifty_megabytes_announced(house: House, door: str) -> None:
    sent = b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 52428800\r\nContent-Type: application/json\r\n"
    path = {"search": b"/v1/persons/search", "webhook": b"/v1/webhooks/rdv_insertion"}.get(door, b"/v1/exchanges")
    host = house.base.removeprefix("http://").encode()
    if door == "webhook":
        answered = house.raw(sent % (path, host) + b"\r\n", timeout=2)
        assert b"413" in answered.split(b"\r\n")[0]
        return
    body = b'{"a": "' + b"x" * (9 << 20) + b'"}'
    refused(house, door, body, 413, "body-too-large")


@pytest.mark.parametrize("door", ["search", "ccas", "webhook"])
def test_h_25_a_length_that_is_not_announced_is_counted(house: House, door: str) -> None:
    def drip():  # type: ignore[no-untyped-def]
        yield b'{"a": "'
        for _ in range(144):
            yield b"x" * 65_536

    with house.client("ccas") as client, bounded(cpu=2.0):
        if door == "webhook":
            headers = {"Content-Type": "application/json", "X-RDVI-SIGNATURE": "00" * 32}
            answer = client.post("/v1/webhooks/rdv_insertion", content=drip(), headers=headers)
        else:
            path = "/v1/persons/search" if door == "search" else "/v1/exchanges"
            headers = {"Content-Type": "application/json", "Maillon-Document": "ccas.suivi", "Idempotency-Key": "h25"}
            client.get("/v1/inbox")  # the token is asked for before the body begins: a drip cannot be sent twice
            answer = client.post(path, content=drip(), headers=headers)
    problem(answer, 413, "body-too-large")


@every_door
def test_h_26_nul(house: House, door: str) -> None:
    refused(house, door, named(r'"\u0000"'), 400, "json-text")


def test_h_27_direction_overrides_and_invisible_characters_go(house: House) -> None:
    said = {"birthName": "Cana\u202eri\u200bdeux", "firstName": "Rose", "birthDate": "1971-01-02"}
    assert house.send("ccas", "ccas.suivi", said).status_code == 202
    sought = {"nom_naissance": "Canarideux", "prenom": "Rose", "date_naissance": "1971-01-02"}
    assert house.search("ccas", sought).json()["certainty"] == "a_confirmer"
    code = house.send("ccas", "ccas.suivi", said | {"accomodationMode": "SocialRenting\u0430", "firstName": "Rosa"})
    assert code.json()["results"][0]["status"] == "quarantined", "a look-alike letter in a code is no code"


def test_h_28_two_spellings_of_one_name_are_equal(house: House) -> None:
    """In JSON, in a table and in XML alike: the second spelling is the same record, and the same person."""
    assert parse('"Zoe\u0301"'.encode()) == parse('"Zo\u00e9"'.encode()) == "Zo\u00e9"
    apart, whole = "Cane\u0301ri", "Can\u00e9ri"
    for sent in (
        lambda name: house.send(
            "ccas", "ccas.suivi", {"birthName": name, "firstName": "Un", "birthDate": "1971-01-03"}
        ),
        lambda name: house.send(
            "ccas_voisin", "ccas.beneficiaires",
            f"Nom de naissance;Pr\u00e9nom;Date de naissance\n{name};Deux;1971-01-04\n".encode(), "text/csv",
        ),
        lambda name: house.send("caf", "caf.flux_beneficiaire", household(name), "application/xml"),
    ):  # fmt: skip
        assert [one["status"] for one in sent(apart).json()["results"]] == ["accepted"]
        assert [one["status"] for one in sent(whole).json()["results"]] == ["unchanged"]


def test_marks_in_a_row_take_no_more_time_than_letters(house: House) -> None:
    """In JSON, tables, titles and XML: put in order all at once, these would hold every thread for a minute."""
    name = "Can" + "\u0301" * 16_000 + "\u0316" * 16_000
    said = {"birthName": name * 4, "firstName": "Trois", "birthDate": "1971-01-05"}
    for send in (
        lambda: house.send("ccas", "ccas.suivi", json.dumps(said, ensure_ascii=False).encode()),
        lambda: house.send("ccas", "ccas.beneficiaires", f"{name};Pr\u00e9nom\nA;B\n".encode(), "text/csv"),
        lambda: house.send(
            "ccas", "ccas.beneficiaires",
            f"Nom de naissance;Pr\u00e9nom;Date de naissance\n{name[:32_000]};Trois;1971-01-05\n".encode(), "text/csv",
        ),
        lambda: house.send("caf", "caf.flux_beneficiaire", household(name), "application/xml"),
        lambda: house.search("ccas", {"nom_naissance": name[:30_000], "prenom": "T", "date_naissance": "1971-01-05"}),
    ):  # fmt: skip
        with bounded(cpu=5.0):
            assert send().status_code < 500
    assert len(normal("NFC", name)) > len(name), "nothing of it is left out"


def household(name: str) -> bytes:
    """A genuine file of one household, of that name, in UTF-8."""
    stream = io.BytesIO()
    generator.write_file(stream, 1, 28, mois="2026-10", departement="040")
    text = stream.getvalue().decode("cp1252").replace("windows-1252", "utf-8", 1)
    return re.sub("<NOMNAI>[^<]*", f"<NOMNAI>{name}", text, count=1).encode()


@pytest.mark.parametrize("value", [12, True, 1.5, [], {}, None, 1_700_000_000])
def test_h_29_types_are_not_converted(house: House, value: object) -> None:
    problem(house.search("ccas", {"nir": value}), 422, "search-form")
    answer = house.send("ccas", "ccas.suivi", {"birthName": CANARY, "firstName": "Rose", "birthDate": value})
    assert answer.status_code == 422, answer.text
    assert CANARY not in answer.text


WRONG = {int: ["12", True, 1.5], bool: ["true", 1, 0, "oui"], str: [12, True, 1.5]}
"""By the type that a published schema gives a value: what is not converted to it."""


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(one, (*path, key)) if isinstance(one, dict | list) else [((*path, key), one)]


def test_h_29_no_value_of_a_typed_document_is_converted(house: House) -> None:
    """Each value of a follow-up as the Département's schema types it, given in each wrong type: none is taken."""
    genuine = json.loads((EXAMPLES / "binome.json").read_bytes())
    envelope = {"emisLe": "2026-11-02T00:00:00Z", "accompagnements": [genuine]}
    tried = 0
    for path, right in leaves(genuine):
        for wrong in WRONG[type(right)]:
            bent = copy.deepcopy(envelope)
            *way, last = ["accompagnements", 0, *path]
            inner: Any = bent
            for step in way:
                inner = inner[step]
            inner[last] = wrong
            (record,) = house.gateway.connector("departement").read(
                "departement.accompagnement", io.BytesIO(json.dumps(bent).encode()), content_type="application/json"
            )
            assert record.rejected, (path, wrong)
            tried += 1
    assert tried > 30
    problem(house.send("departement", "departement.accompagnement", bent), 422, "records-rejected")


def test_h_30_a_field_nobody_knows(house: House) -> None:
    problem(house.search("ccas", {"inconnu": CANARY}), 422, "search-form", CANARY)
    envelope = {"beneficiaries": [], "inconnu": CANARY}
    problem(house.send("ccas", "ccas.suivi", envelope), 422, "schema-invalid", CANARY)
    with_field = {"emisLe": "2026-11-02T00:00:00Z", "accompagnements": [], CANARY: CANARY}
    problem(house.send("departement", "departement.accompagnement", with_field), 422, "schema-invalid", CANARY)
    one = {"birthName": "Nom", "firstName": "Rose", "birthDate": "1972-01-02", f"{CANARY} 2850640999901": CANARY}
    answer = house.send("ccas", "ccas.suivi", one)
    assert answer.status_code == 422 or answer.json()["results"][0]["findings"], "told, never dropped"
    assert CANARY not in answer.text


@every_door
@pytest.mark.parametrize("body", [b"{} x", b"{}{}", b'{"a": 1}\n{"b": 2}', b"", b"{", b"'a'", b"{'a': 1}", b"[1,]"])
def test_h_31_two_documents_or_a_broken_one(house: House, door: str, body: bytes) -> None:
    answer = DOORS[door](house, body)
    assert answer.status_code in (400, 415), (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("media", ["text/plain", "", "application/x-www-form-urlencoded", "text/html; charset=utf-8"])
def test_h_32_another_media_type(house: House, media: str) -> None:
    problem(house.search("ccas", b"{}", media), 415, "media-type")
    problem(house.send("ccas", "ccas.suivi", b"{}", media), 415, "media-type")
    problem(push(house, b"{}", **{"Content-Type": media or "none"}), 415, "media-type")


@pytest.mark.parametrize(
    "day", ["2024-02-30", "0000-01-01", "9999-12-31", "2023-02-29", "2024-13-01", "2024-01-01T00:00:00+99:00", "hier"]
)
def test_h_33_days_that_are_none(house: House, day: str) -> None:
    said = {"birthName": "Nomdate", "firstName": "Rose", "birthDate": day}
    answer = house.send("ccas", "ccas.suivi", said)
    assert answer.status_code == 422 or answer.json()["results"][0]["status"] == "quarantined", answer.text
    if day == "9999-12-31":  # partners' files say "no date" this way
        sought = {"nom_naissance": "Nomdate", "prenom": "Rose", "date_naissance": day}
        problem(house.search("ccas", sought), 422, "bad-date", day)
    assert day not in answer.text


@pytest.mark.parametrize(
    "moment", ["2026-12-02T09:30:00+99:00", "2026-02-30T09:30:00+01:00", "2026-12-02T25:00:00Z", "0000-01-01T00:00:00Z",
               "1764664200", 1764664200, "demain"],
)  # fmt: skip
def test_h_33_moments_that_are_none(house: House, moment: object) -> None:
    """On the webhook door, and as the moment a message was sent: neither is guessed."""
    value = json.loads(message(1, 333))
    value["data"]["starts_at"] = moment
    answer = push(house, json.dumps(value).encode())
    assert answer.status_code == 422 or answer.json()["results"][0]["status"] == "quarantined", answer.text
    value = json.loads(message(1, 334))
    value["meta"]["timestamp"] = moment
    refused = push(house, json.dumps(value).encode())
    assert refused.status_code in (400, 401, 422), refused.text
    assert str(moment) not in answer.text + refused.text


@pytest.mark.parametrize(
    ("number", "status"),
    [
        ("285064099990199", 422), ("2850640999901AB", 422), ("28506", 422), ("0850640999901", 422),
        ("2 85 06 40 999 901", 200), ("2850640999901", 200), ("285062A999901", 200), ("7850640999901", 200),
    ],
)  # fmt: skip
def test_h_34_numbers_of_the_register(house: House, number: str, status: int) -> None:
    answer = house.search("ccas", {"nir": number, "date_naissance": "1985-06-12"})
    assert answer.status_code == status, answer.text
    assert number not in answer.text
    said = {"birthName": "Canarinombre", "firstName": f"N{number}", "birthDate": "1985-06-12",
            "socialSecurityNumber": number}  # fmt: skip
    told = house.send("ccas", "ccas.suivi", said)
    (result,) = told.json()["results"]
    assert (result["status"] != "quarantined") == (status == 200) or "doubt" in told.text, told.text
    assert number not in told.text


@every_door
@pytest.mark.parametrize("key", ["__proto__", "__class__", "$ref", "constructor"])
def test_h_35_keys_that_attack(house: House, door: str, key: str) -> None:
    refused(house, door, json.dumps({key: {"admin": CANARY}}).encode(), 400, "json-forbidden-key")
