"""rdv-insertion pushes: proved, taken once, in order, and erased when its source erases."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from gateway.access import ProxyTrust
from gateway.storage.tables.record import assertion_set, quarantine
from tests.api.house import SECRET, House, problem

LINE = {
    "id": 71, "first_name": "Canariline", "last_name": "Canarinougat", "birth_date": "1991-02-03", "title": "madame",
    "nir": "2910240999901", "role": "demandeur", "department_internal_id": "40-71",
}  # fmt: skip
RDV: dict[str, Any] = {
    "data": {
        "id": 420, "uuid": "0190-line", "starts_at": "2026-12-02T09:30:00+01:00", "duration_in_min": 30,
        "cancelled_at": None, "status": "unknown", "created_by": "agent", "users_count": 1,
        "motif": {"collectif": False, "location_type": "public_office",
                  "motif_category": {"short_name": "rsa_orientation"}},
        "organisation": {"id": 5, "name": "Département d'essai", "organisation_type": "conseil_departemental"},
        "participations": [{"id": 1, "status": "unknown", "created_by": "user", "user": LINE}],
    },
    "meta": {"model": "Rdv", "event": "created", "timestamp": ""},
}  # fmt: skip


def message(minutes: float, rdv: int = 420, **meta: str) -> bytes:
    """The message, sent this many minutes ago."""
    value = copy.deepcopy(RDV)
    value["data"] |= {"id": rdv, "uuid": f"0190-{rdv}"}
    value["meta"] |= {"timestamp": (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()} | meta
    return json.dumps(value).encode()


def push(house: House, body: bytes, to: str = "rdv_insertion", secret: str = SECRET, **headers: str) -> httpx.Response:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    given = {"Content-Type": "application/json", "X-RDVI-SIGNATURE": signature} | headers
    with house.anyone() as client:
        return client.post(f"/v1/webhooks/{to}", content=body, headers=given)


def kept(house: House) -> int:
    with house.gateway.engine.connect().execution_options(read_only=True) as connection:
        query = select(func.count()).select_from(assertion_set).where(assertion_set.c.source == "rdv_insertion")
        return int(connection.execute(query).scalar_one())


def test_a_proved_message_is_taken_once_and_its_repetition_changes_nothing(house: House) -> None:
    body, before = message(10, 421), kept(house)
    first, again = push(house, body), push(house, body)
    assert (first.status_code, first.json()["status"]) == (202, "accepted"), first.text
    taken = kept(house)
    assert taken > before
    assert (again.status_code, again.json()["reason"]) == (202, "repeated")
    assert kept(house) == taken


def test_a_message_that_comes_in_clear_to_an_https_gateway_is_refused_and_not_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.gateway.access, "https", True)
    monkeypatch.setattr(house.gateway.access, "trust", ProxyTrust.of("127.0.0.1"))
    before, body = kept(house), message(10, 431)
    problem(push(house, body, **{"X-Forwarded-Proto": "http"}), 400, "plain-http")
    problem(push(house, body), 400, "proxy-silent")
    assert kept(house) == before
    assert push(house, body, **{"X-Forwarded-Proto": "https"}).status_code == 202


def test_what_is_erased_in_the_second_it_was_updated_is_erased(house: House) -> None:
    before, second = kept(house), datetime.now(UTC).replace(microsecond=0).isoformat()
    assert push(house, message(0, 426, event="updated", timestamp=second)).json()["status"] == "accepted"
    erased = message(0, 426, event="destroyed", webhook_reason="rgpd", timestamp=second)
    assert push(house, erased).json()["status"] == "accepted"
    assert kept(house) == before
    assert push(house, erased).json()["reason"] == "repeated"


def test_a_message_without_a_signature_is_refused_before_it_is_read(house: House) -> None:
    head = [b"POST /v1/webhooks/rdv_insertion HTTP/1.1", b"Host: " + house.base.removeprefix("http://").encode(),
            b"Content-Type: application/json", b"Content-Length: 900000", b"", b"{"]  # fmt: skip
    assert b" 401 " in house.raw(b"\r\n".join(head)).partition(b"\r\n")[0]


def test_a_message_older_than_the_last_is_ignored(house: House) -> None:
    assert push(house, message(5, 422, event="updated")).json()["status"] == "accepted"
    before = kept(house)
    late = push(house, message(9, 422))
    assert (late.status_code, late.json()["reason"]) == (202, "out-of-order")
    assert kept(house) == before


@pytest.mark.parametrize("to", ["dpo", "ccas", "personne", "DPO"])
def test_a_body_that_pushes_nothing_is_unknown(house: House, to: str) -> None:
    """Nor does one that has no connector at all, as a data protection officer's client."""
    problem(push(house, message(1, 424), to=to), 404, "webhook-unknown")


@pytest.mark.parametrize("reason", ["rgpd", ""])
def test_what_its_source_erases_is_erased_here(house: House, reason: str) -> None:
    rdv = 430 + len(reason)
    assert push(house, message(8, rdv)).json()["status"] == "accepted"
    erased = {"event": "destroyed"} | ({"webhook_reason": reason} if reason else {})
    before = kept(house)
    answer = push(house, message(2, rdv, **erased))
    assert answer.json()["status"] == "accepted", answer.text
    purged = [entry for entry in house.entries() if entry.get("reason_code") == "source-erasure"]
    assert purged[-1]["n_records"] >= 1
    assert kept(house) < before if reason else kept(house) <= before


def test_what_was_rejected_and_its_source_erases_waits_no_more(house: House) -> None:
    """Nothing of it had entered the record: what waits for a human was all that was left of her."""
    for rdv, minutes in ((450, 9), (451, 8)):
        nameless = json.loads(message(minutes, rdv))
        nameless["data"]["participations"][0]["user"] |= {"first_name": "", "last_name": ""}
        assert push(house, json.dumps(nameless).encode()).json()["results"][0]["status"] == "rejected"
    erased = {"event": "destroyed", "webhook_reason": "rgpd"}
    assert push(house, message(2, 450, **erased)).json()["status"] == "accepted"
    with house.gateway.reading() as work:
        query = select(quarantine.c.state, quarantine.c.record.is_(None)).order_by(quarantine.c.id)
        waited = work.connection.execute(query.where(quarantine.c.code == "identity-missing")).all()
    assert [tuple(one) for one in waited] == [("dismissed", True), ("open", False)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"secret": "another"}, "signature-wrong"),
        ({"X-RDVI-SIGNATURE": ""}, "signature-missing"),
        ({"X-RDVI-SIGNATURE": "none"}, "signature-wrong"),
        ({"X-RDVI-SIGNATURE": hashlib.sha1(b"algorithm swapped").hexdigest()}, "signature-wrong"),
    ],
)
def test_o_110_a_message_that_is_not_its_senders_has_no_effect(house: House, change: dict[str, str], code: str) -> None:
    before = kept(house)
    told = problem(push(house, message(3, 440), **change), 401, code, "Canariline")
    assert kept(house) == before
    assert house.journaled(told["instance"])["reason_code"] == code


def test_o_110_an_old_a_future_and_a_truncated_message(house: House) -> None:
    before = kept(house)
    problem(push(house, message(25 * 60, 441)), 401, "stale-timestamp")
    problem(push(house, message(-30, 441)), 401, "timestamp-ahead")
    body = message(3, 441)
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    cut = push(house, body[:-20], **{"X-RDVI-SIGNATURE": signature})
    problem(cut, 401, "signature-wrong", "Canariline")
    assert kept(house) == before


@pytest.mark.parametrize("to", ["caf", "inconnu", "hubee", "..%2fexchanges"])
def test_only_a_body_that_pushes_has_an_address(house: House, to: str) -> None:
    assert push(house, message(1, 442), to).status_code == 404


def test_a_proved_message_that_is_not_json_is_refused_without_its_words(house: House) -> None:
    problem(push(house, b'{"data": {"first_name": "Canariline"'), 400, "json-syntax", "Canariline")
    problem(push(house, b"{}" + b" " * (1 << 21)), 413, "body-too-large")
    problem(push(house, b"[]"), 422, "schema-invalid")
    problem(push(house, b"x", **{"Content-Type": "text/plain"}), 415, "media-type")
