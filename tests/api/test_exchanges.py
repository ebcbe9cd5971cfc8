"""Exchanges through the HTTP door: what is asked, what is answered, and the same answer under the same key."""

from __future__ import annotations

import io
import re
import threading
import uuid
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete

from connectors.caf import generator
from connectors.caf.generator import contexte
from gateway import clock, journal, outbox
from gateway.receipt import row_of
from gateway.storage.tables.delivery import outbox as outbox_table
from gateway.storage.tables.record import exchange
from tests.api.house import House, opened, problem

MARIE = {
    "fileNumber": "SA-0001", "birthName": "Canarilefevre", "firstName": "Canarimarie", "birthDate": "1985-06-12",
    "socialSecurityNumber": "2850640999901", "accomodationMode": "SocialRenting",
}  # fmt: skip


def person(rank: int) -> dict[str, str]:
    """Somebody else each time."""
    return {"fileNumber": f"SA-{rank:04d}", "birthName": f"Nom{chr(65 + rank % 26)}{chr(65 + rank // 26)}",
            "firstName": "Prenom", "birthDate": f"19{60 + rank % 30}-01-{1 + rank % 28:02d}"}  # fmt: skip


def test_a_document_is_accepted_with_what_each_recipient_will_get(house: House) -> None:
    answer = house.send("ccas", "ccas.suivi", MARIE)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert told["records"] == 1
    assert told["results"][0]["status"] == "accepted"
    assert answer.headers["location"] == f"/v1/exchanges/{told['id']}"
    assert {"index", "origin"} == told["journal"].keys()
    assert {"recipient", "status", "reason", "article", "categories", "withheld_categories", "delivery"} <= (
        told["outcomes"][0].keys()
    )


def test_the_same_key_brings_the_same_answer_and_another_body_is_refused(house: House) -> None:
    key = str(uuid.uuid4())
    first = house.send("ccas", "ccas.suivi", person(10), key=key)
    again = house.send("ccas", "ccas.suivi", person(10), key=key)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == first.json()
    problem(house.send("ccas", "ccas.suivi", person(11), key=key), 422, "idempotency-key-reused", "Prenom")


def test_a_sending_that_changes_nothing_is_told_in_the_journal_too(house: House) -> None:
    first, again = (house.send("ccas", "ccas.suivi", person(17)).json() for _ in range(2))
    assert again["results"][0]["status"] == "unchanged"
    assert again["id"] != first["id"]
    assert again["journal"]["index"] > first["journal"]["index"]
    assert again["journal"]["origin"] == first["journal"]["origin"] == house.gateway.settings.journal_origin
    with house.gateway.engine.connect() as connection:
        [entry] = journal.at(connection, journal.DEFAULT_LOG, again["journal"]["index"])
    assert (entry.fields["exchange_id"], entry.fields["outcome"]) == (again["id"], "received")


def test_o_112_another_clients_same_key_is_another_key(house: House) -> None:
    key = str(uuid.uuid4())
    first = house.send("ccas", "ccas.suivi", person(12), key=key)
    other = house.send("ccas_voisin", "ccas.suivi", person(13), key=key)
    assert (first.status_code, other.status_code) == (202, 202)
    assert first.json()["id"] != other.json()["id"]


def test_o_112_parallel_requests_with_one_key_are_one_exchange(house: House) -> None:
    key, answers = str(uuid.uuid4()), []

    def send() -> None:
        answers.append(house.send("ccas", "ccas.suivi", person(14), key=key))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.parametrize("key", ["", "x" * 201, "avec espace"])
def test_a_write_needs_a_key(house: House, key: str) -> None:
    headers = {"Maillon-Document": "ccas.suivi", "Content-Type": "application/json"}
    with house.client("ccas") as client:
        named = {"Idempotency-Key": key} if key else {}
        answer = client.post("/v1/exchanges", json=person(15), headers=headers | named)
    problem(answer, 400, "idempotency-key-missing")


def test_the_answer_survives_a_restart(tmp_path: Path) -> None:
    key = str(uuid.uuid4())
    with opened(tmp_path) as house:
        first = house.send("ccas", "ccas.suivi", person(16), key=key)
        assert first.status_code == 202
    with opened(tmp_path, house.keys) as later:
        again = later.send("ccas", "ccas.suivi", person(16), key=key)
    assert again.status_code == 200
    assert again.json() == first.json()


def test_an_unknown_document_or_a_media_type_that_is_not_its_own(house: House) -> None:
    problem(house.send("ccas", "caf.flux_beneficiaire", {}), 422, "document-unknown")
    problem(house.send("france_travail", "france_travail.rendez_vous", {}), 422, "document-not-sent")
    problem(house.send("ccas", "ccas.suivi", b"{}", "text/csv"), 415, "media-type")
    with house.client("ccas") as client:
        answer = client.post("/v1/exchanges", content=b"{}", headers={"Idempotency-Key": "k"})
    problem(answer, 400, "document-missing")


def test_a_refused_input_is_in_the_journal_under_the_instance_of_its_answer(house: House) -> None:
    told = problem(
        house.send("ccas", "ccas.suivi", b'{"firstName": "Canarimarie", '), 400, "json-syntax", "Canarimarie"
    )
    entry = house.journaled(told["instance"])
    assert entry["event"] == "input.reject"
    assert entry["sender_org"] == "ccas"
    assert entry["reason_code"] == "json-syntax"


def test_a_refused_token_request_is_in_the_journal_under_the_instance_of_its_answer(house: House) -> None:
    with house.anyone() as client:
        answer = client.post("/oauth/token", data={"grant_type": "client_credentials", "client_secret": "Canarisecret"})
    assert answer.status_code == 401
    assert house.journaled(answer.json()["instance"])["reason_code"] == "client-secret"


def test_a_document_without_any_record_to_apply_is_refused_with_its_reasons(house: House) -> None:
    told = problem(
        house.send("ccas", "ccas.suivi", {"firstName": "Canarimarie"}), 422, "records-rejected", "Canarimarie"
    )
    assert told["errors"][0]["code"] == "identity-missing"


def test_a_column_that_nobody_reads_is_told_to_who_sent_it(house: House) -> None:
    table = "N° dossier;Nom;Prénom;Né le;Couleur des volets\nSA-31;Canarinom;Zoé;03/02/1990;bleu\n".encode()
    answer = house.send("ccas", "ccas.beneficiaires", table, "text/csv")
    assert answer.status_code == 202, answer.text
    (finding,) = answer.json()["findings"]
    assert (finding["code"], finding["path"]) == ("unknown-column", "colonne couleur des volets")


def test_a_file_whose_foot_contradicts_it_is_held_over_http_as_from_a_folder(house: House) -> None:
    whole = io.BytesIO()
    generator.write_foyers(whole, generator.foyers(2, ou=contexte()), contexte())
    cut = re.sub(rb"<NBTOTDOSRSATRANSM>\d+", b"<NBTOTDOSRSATRANSM>00000007", whole.getvalue())
    told = problem(house.send("caf", "caf.flux_beneficiaire", cut, "application/xml"), 422, "footer-mismatch")
    assert "Nothing of it is applied" in told["detail"]


def test_listings_page_by_cursor_and_refuse_other_cursors(house: House) -> None:
    for rank in range(20, 24):
        assert house.send("ccas_voisin", "ccas.suivi", person(rank)).status_code == 202
    with house.client("ccas_voisin") as client:
        whole = client.get("/v1/exchanges", params={"limit": 200}).json()["exchanges"]
        first = client.get("/v1/exchanges", params={"limit": 2}).json()
        then = client.get("/v1/exchanges", params={"limit": 2, "after": first["next"]}).json()
        assert [one["id"] for one in first["exchanges"] + then["exchanges"]] == [one["id"] for one in whole[:4]]
        problem(client.get("/v1/exchanges", params={"after": "' or 1=1 --"}), 422, "cursor", "1=1")
        problem(client.get("/v1/exchanges?limit=2&limit=3"), 422, "parameter-repeated")
        for limit in ("0", "201", "-1", "abc", "٣"):
            problem(client.get("/v1/exchanges", params={"limit": limit}), 422, "limit")


def test_the_deliveries_of_a_file_are_listed_a_page_at_a_time(house: House) -> None:
    """Those of a monthly file are tens of thousands: one call for a list would hold them all in memory."""
    with house.gateway.unit_of_work() as work:
        request = house.gateway.request(work, "ccas_voisin", "ccas.beneficiaires", clock.new_id())
        work.add(exchange, **row_of(request, work.now, records=120))
        made = [
            outbox.enqueue(work, recipient="departement", person_id=clock.new_id(), sender=request.sender,
                           document="maillon.dossier", item="", flow="f", exchange_id=request.id)
            for _ in range(120)
        ]  # fmt: skip
    for body in ("ccas_voisin", "departement"):
        with house.client(body) as client:
            (first, *_) = client.get("/v1/exchanges", params={"limit": 1}).json()["exchanges"]
            assert len(first["deliveries"]) == 50
            found, after = first["deliveries"], first["next"]
            while after:
                then = client.get(f"/v1/exchanges/{request.id}", params={"after": after, "limit": 35}).json()
                found, after = found + then["deliveries"], then["next"]
            assert [one["id"] for one in found] == made
    with house.gateway.unit_of_work() as work:
        work.connection.execute(delete(outbox_table).where(outbox_table.c.exchange_id == request.id))


def test_an_exchange_is_shown_to_those_who_took_part_and_answers_304(house: House) -> None:
    sent = house.send("ccas", "ccas.suivi", person(30)).json()
    with house.client("ccas") as client:
        shown = client.get(f"/v1/exchanges/{sent['id']}")
        assert shown.json() | sent == shown.json()
        unchanged = client.get(f"/v1/exchanges/{sent['id']}", headers={"If-None-Match": shown.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
    with house.client("caf") as client:
        foreign = client.get(f"/v1/exchanges/{sent['id']}")
        absent = client.get(f"/v1/exchanges/{uuid.uuid4()}")
    assert same_words(foreign, absent)
    problem(foreign, 404, "exchange-unknown")


def same_words(one: httpx.Response, other: httpx.Response) -> bool:
    """Equal but for the instance, which is new each time."""
    return {**one.json(), "instance": ""} == {**other.json(), "instance": ""} and one.status_code == other.status_code


def test_every_answer_to_a_partner_says_what_is_left_of_its_quota(house: House) -> None:
    with house.client("ccas") as client:
        for path in ("/v1/exchanges", "/v1/inbox", "/v1/exchanges/none"):
            answer = client.get(path)
            assert answer.headers["ratelimit"].startswith('"calls";r=')
            assert answer.headers["ratelimit-policy"].startswith('"calls";q=')
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_refusal_is_told_and_journaled_once_however_many_appointments_it_is_about(house: House) -> None:
    visits = [
        {"id": f"r-{n}", "debut": f"2026-12-{1 + n:02d}T08:30:00Z", "dureeMin": 60, "motif": "accompagnement",
         "modalite": "presentiel", "premierAccompagnement": n == 0, "lieu": "Mairie", "statut": "prevu"}
        for n in range(3)
    ]  # fmt: skip
    answer = house.send("ccas", "ccas.suivi", person(31) | {"rendezVous": visits})
    assert answer.status_code == 202, answer.text
    refused = [one for one in answer.json()["outcomes"] if one["status"] == "withheld"]
    about = [(one["recipient"], one["document"]) for one in refused]
    assert "france_travail.rendez_vous" in {document for _, document in about}
    assert len(about) == len(set(about))
    entries = [entry for entry in house.entries() if entry.get("exchange_id") == answer.json()["id"]]
    assert sum(entry["event"] == "exchange.deny" for entry in entries) == len(refused)
