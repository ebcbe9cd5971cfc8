"""rdv-insertion's webhooks: proved on the raw body, read person by person, erased without cancelling anything."""

from __future__ import annotations

import copy
import hashlib
import hmac
import io
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from connectors.contract import DocumentRefused
from connectors.rdv_insertion import statuts
from connectors.rdv_insertion.connector import RdvInsertion
from connectors.rdv_insertion.webhook import Webhook
from connectors.table import to_csv
from schemas.record import Record

SECRET = "a-shared-secret"
CONNECTOR = RdvInsertion({"departement": "026", "secret": SECRET})
PARIS = timezone(timedelta(hours=1))
NOW = datetime(2026, 3, 2, 10, 6, tzinfo=PARIS)
PRIVATE = "NE DOIT JAMAIS SORTIR"

ZOE: dict[str, Any] = {
    "id": 7, "first_name": "Zoé", "last_name": "Nougarent", "birth_name": None, "birth_date": "1990-02-03",
    "title": "madame", "email": "zoe@exemple.invalid", "phone_number": "+33611223344",
    "address": "1 rue des Tuileries Neuves 26000 Valmarense", "nir": "290024090123461", "affiliation_number": "0456789",
    "role": "demandeur", "department_internal_id": "26-77", "france_travail_id": "12345678901",
    "rights_opening_date": "2026-01-01", "rdv_solidarites_user_id": 8008, "created_at": "2026-01-02T10:00:00+01:00",
    "notes": PRIVATE,
}  # fmt: skip
PAUL = ZOE | {"id": 8, "first_name": "Paul", "birth_date": "1988-01-01", "nir": None, "title": "monsieur",
              "role": "conjoint", "email": "paul@exemple.invalid", "rdv_solidarites_user_id": 8009}  # fmt: skip
MESSAGE: dict[str, Any] = {
    "data": {
        "id": 42, "uuid": "0190-aa", "starts_at": "2026-03-02T09:30:00+01:00", "duration_in_min": 30,
        "cancelled_at": None, "address": "Place de la Halle, 26000 Valmarense", "status": "seen",
        "created_by": "agent", "users_count": 2, "rdv_solidarites_rdv_id": 9009, "context": PRIVATE,
        "agents": [{"id": 3, "first_name": "Camille", "last_name": "Lauret", "email": "camille@exemple.invalid"}],
        "lieu": {"name": "Maison du Département", "address": "Place de la Halle, 26000 Valmarense"},
        "motif": {
            "name": PRIVATE, "collectif": False, "location_type": "public_office", "follow_up": False,
            "motif_category": {"short_name": "rsa_premier_rdv_daccompagnement", "name": "Premier rendez-vous"},
        },
        "users": [ZOE, PAUL],
        "organisation": {"id": 5, "name": "Département de la Drôme", "organisation_type": "conseil_departemental"},
        "participations": [
            {"id": 1, "status": "seen", "created_by": "user", "user": ZOE},
            {"id": 2, "status": "noshow", "created_by": "agent", "user": PAUL},
        ],
    },
    "meta": {"model": "Rdv", "event": "updated", "timestamp": "2026-03-02T10:05:11+01:00"},
}  # fmt: skip


def message(**changes: Any) -> dict[str, Any]:
    """The message with some values changed: `meta__event="destroyed"`, `data__motif__location_type="home"`."""
    changed = copy.deepcopy(MESSAGE)
    for path, value in changes.items():
        *before, last = path.split("__")
        box = changed
        for name in before:
            box = box[name]
        box[last] = value
    return changed


def signed(value: dict[str, Any], name: str = "X-RDVI-SIGNATURE") -> tuple[dict[str, str], bytes]:
    body = json.dumps(value).encode()
    return {name: hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}, body


def received(value: dict[str, Any]) -> Webhook:
    return CONNECTOR.webhook(*signed(value), NOW)


def read(value: dict[str, Any]) -> list[Record]:
    webhook = received(value)
    return list(CONNECTOR.read(webhook.document, io.BytesIO(webhook.body)))


def test_each_person_has_her_own_status_of_the_same_rendez_vous() -> None:
    zoe, paul = read(MESSAGE)
    path = "rendez_vous[rdv_insertion:0190-aa]"
    facts = zoe.personnes[0].facts
    assert (zoe.findings, paul.findings) == ([], [])
    assert (zoe.key, paul.key) == ("0190-aa:7", "0190-aa:8")
    assert facts[f"{path}.statut"] == "honore"
    assert paul.personnes[0].facts[f"{path}.statut"] == "absent"
    assert facts[f"{path}.debut"] == "2026-03-02T08:30:00Z"
    assert facts[f"{path}.motif"] == "accompagnement"
    assert facts[f"{path}.premier_accompagnement"] is True
    assert facts[f"{path}.modalite"] == "presentiel"
    assert facts[f"{path}.lieu"] == "Maison du Département"
    assert facts[f"{path}.organisme.nature"] == "departement"
    assert facts[f"{path}.identifiants"] == ["rdv_insertion:42", "rdv_service_public:9009"]
    assert facts[f"{path}.professionnels[3].professionnel.nom"] == "Lauret"
    assert facts[f"{path}.cree_par"] == "personne"
    assert facts["identifiants[si_departement:26].valeur"] == "26-77"
    assert facts["identifiants[nir].valeur"] == "2900240901234"
    assert facts["personne.nom_usage"] == "Nougarent"
    assert facts["personne.role_foyer"] == "demandeur"
    assert zoe.foyer["droit_rsa.date_ouverture"] == "2026-01-01"
    assert zoe.asserted_at == datetime.fromisoformat("2026-03-02T10:05:11+01:00")


def test_free_text_and_agents_addresses_go_no_further() -> None:
    told = repr([(r.personnes[0].facts, r.foyer, r.findings) for r in read(MESSAGE)])
    assert PRIVATE not in told
    assert "camille@exemple.invalid" not in told


def test_a_meeting_at_home_never_says_where() -> None:
    zoe, _ = read(message(data__motif__location_type="home"))
    facts = {p: v for p, v in zoe.personnes[0].facts.items() if p.startswith("rendez_vous")}
    assert facts["rendez_vous[rdv_insertion:0190-aa].modalite"] == "domicile"
    assert not any("lieu" in path for path in facts)


@pytest.mark.parametrize(
    ("starts_at", "status"),
    [("2026-03-03T09:30:00+01:00", "prevu"), ("2026-03-01T09:30:00+01:00", "a_renseigner")],
)
def test_unknown_means_planned_before_the_date_and_to_be_told_after(starts_at: str, status: str) -> None:
    value = message(data__starts_at=starts_at)
    value["data"]["participations"][0]["status"] = "unknown"
    zoe, _ = read(value)
    assert zoe.personnes[0].facts["rendez_vous[rdv_insertion:0190-aa].statut"] == status


@pytest.mark.parametrize(
    ("situation", "headers", "code"),
    [
        ("no signature", {}, "signature-missing"),
        ("jwt only", {"Authorization": "Bearer a.b.c"}, "signature-missing"),
        ("wrong", {"X-RDVI-SIGNATURE": "0" * 64}, "signature-wrong"),
        ("not hex", {"X-RDVI-SIGNATURE": "é"}, "signature-wrong"),
        ("empty", {"X-RDVI-SIGNATURE": ""}, "signature-missing"),
    ],
)
def test_an_unproved_message_is_refused_before_anything_parses_it(
    situation: str, headers: dict[str, str], code: str
) -> None:
    with pytest.raises(DocumentRefused) as refusal:
        CONNECTOR.webhook(headers, b"{ this is not even json", NOW)
    assert refusal.value.code == code


def test_the_signature_is_of_the_raw_bytes_and_its_header_of_any_case() -> None:
    headers, body = signed(MESSAGE, "x-rdvi-SIGNATURE")
    assert CONNECTOR.webhook(headers, body, NOW).event == "updated"
    spaced = json.dumps(MESSAGE, indent=1).encode()
    with pytest.raises(DocumentRefused) as refusal:
        CONNECTOR.webhook(headers, spaced, NOW)
    assert refusal.value.code == "signature-wrong"


def test_an_endpoint_without_a_secret_accepts_nothing() -> None:
    body = b"{}"
    headers = {"X-RDVI-SIGNATURE": hmac.new(b"", body, hashlib.sha256).hexdigest()}
    with pytest.raises(DocumentRefused) as refusal:
        RdvInsertion({"departement": "26"}).webhook(headers, body, NOW)
    assert refusal.value.code == "signature-missing"


@pytest.mark.parametrize(
    ("late", "code"),
    [(timedelta(hours=25), "stale-timestamp"), (timedelta(minutes=-10), "timestamp-ahead")],
)
def test_a_message_out_of_its_time_is_refused(late: timedelta, code: str) -> None:
    with pytest.raises(DocumentRefused) as refusal:
        CONNECTOR.webhook(*signed(MESSAGE), NOW + late)
    assert refusal.value.code == code


def test_a_repeated_message_has_the_same_key_and_a_later_one_another() -> None:
    first, again = received(MESSAGE), received(MESSAGE)
    later = received(message(meta__timestamp="2026-03-02T10:05:12+01:00"))
    assert first.replay_key == again.replay_key != later.replay_key
    assert first.order_key == later.order_key
    assert later.sent_at > first.sent_at


@pytest.mark.parametrize("reason", ["rgpd", None])
def test_destroyed_is_an_erasure_never_a_cancellation(reason: str | None) -> None:
    changes: dict[str, Any] = {"meta__event": "destroyed"}
    if reason:
        changes["meta__webhook_reason"] = reason
    value = message(**changes)
    assert received(value).erased_places == (("0190-aa:7", "7"), ("0190-aa:8", "8"))
    zoe, _ = read(value)
    assert zoe.partial is False
    assert "source-erasure" in [finding.code for finding in zoe.findings]
    statuses = [v for person in zoe.personnes for p, v in person.facts.items() if p.endswith(".statut")]
    assert statuses == ([] if reason else ["efface_source"])
    assert "annule_service" not in repr(zoe.personnes)
    if reason == "rgpd":
        assert zoe.personnes == [], "nothing of an erased person is told again"


def test_marks_of_erasure_are_never_taken_for_contact_details() -> None:
    erased = ZOE | {"email": "7@deleted.rdv-solidarites.fr", "phone_number": "[valeur anonymisée]"}
    value = copy.deepcopy(MESSAGE)
    value["data"]["participations"] = [{"id": 1, "status": "seen", "user": erased}]
    (record,) = read(value)
    assert "erased-person" in [finding.code for finding in record.findings]
    assert "deleted.rdv-solidarites" not in repr(record.personnes)


def test_a_participation_of_nobody_is_rejected() -> None:
    value = copy.deepcopy(MESSAGE)
    value["data"]["participations"] = [{"id": 1, "status": "seen", "user": {"id": 7}}, {"id": 2, "status": "seen"}]
    assert [record.rejected for record in read(value)] == [True, True]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("participations", {"id": 1, "status": "seen", "user": ZOE}),
        ("participations", ["seen"]),
        ("motif", [{"collectif": False}]),
        ("lieu", [{"name": "Maison du Département"}]),
        ("agents", {"id": 3, "first_name": "Camille"}),
        ("organisation", "Département"),
    ],
)
def test_an_object_of_another_shape_rejects_its_record_and_breaks_nothing(name: str, value: Any) -> None:
    records = read(message(**{f"data__{name}": value}))
    assert records
    for record in records:
        assert record.rejected
        assert ("bad-type", f"data.{name}") in {(found.code, found.path.partition("[")[0]) for found in record.findings}


def test_an_invitation_tells_who_she_is_and_says_it_is_not_carried() -> None:
    value = {
        "data": {"id": 9, "format": "sms", "user": ZOE},
        "meta": MESSAGE["meta"] | {"model": "Invitation"},
    }
    (record,) = read(value)
    assert record.personnes[0].facts["personne.prenoms"] == ["Zoé"]
    assert [finding.code for finding in record.findings] == ["resource-not-carried"]


def test_what_is_written_beside_data_and_meta_is_told() -> None:
    for record in read(message(meta__source="Canari") | {"links": ["Canari"]}):
        assert [one.path for one in record.findings if one.code == "unknown-field"] == ["links", "meta.source"]


def test_an_unknown_status_or_motive_waits_verbatim() -> None:
    value = message(data__motif__motif_category__short_name="rsa_nouveaute")
    value["data"]["participations"][0]["status"] = "teleported"
    zoe, _ = read(value)
    assert {(finding.code, finding.raw) for finding in zoe.findings} == {
        ("unknown-code", "rsa_nouveaute"),
        ("unknown-code", "teleported"),
    }


RDV = {"model": "Rdv", "event": "updated"}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"data": {}}, "schema-invalid"),
        ({"data": [], "meta": {}}, "schema-invalid"),
        ({"data": {}, "meta": RDV | {"event": "exploded"}}, "schema-invalid"),
        ({"data": {}, "meta": RDV | {"timestamp": "yesterday"}}, "schema-invalid"),
        ({"data": {}, "meta": RDV | {"timestamp": "2026-03-02T10:00:00"}}, "schema-invalid"),
    ],
)
def test_a_proved_message_that_makes_no_sense_is_refused(value: dict[str, Any], code: str) -> None:
    with pytest.raises(DocumentRefused) as refusal:
        received(value)
    assert refusal.value.code == code


# --- statuses ---------------------------------------------------------------------------------------------------------


def test_every_status_of_the_partner_is_known() -> None:
    assert statuts.meanings().keys() == {"unknown", "seen", "excused", "revoked", "noshow"}


# --- tables -----------------------------------------------------------------------------------------------------------


def test_a_table_of_users_says_the_same_as_their_webhook() -> None:
    headers = ["Nom", "Prénom", "Civilité", "Date de naissance", "Email", "Téléphone", "Numéro allocataire", "Rôle",
               "ID interne au département", "NIR", "Couleur"]  # fmt: skip
    rows = [
        ["Nougarent", "Zoé", "MME", "03/02/1990", "zoe@exemple.invalid", "0611223344", "456789", "DEMANDEUR",
         "26-77", "290024090123461", "bleu"],
        ["Ortholier", "Paul", "M", "31/02/1990", "", "", "", "", "26-78", "2,9E+14", ""],
        ["Peyroudet", "Rose", "Mme", "", "", "", "", "", "", "", ""],
        ["", "Rose", "Mme", "", "", "", "", "", "26-79", "", ""],
    ]  # fmt: skip
    reading = CONNECTOR.read("rdv_insertion.usagers", io.BytesIO(to_csv(headers, rows)))
    assert (reading.envelope.counted, [f.code for f in reading.envelope.findings]) == (4, ["unknown-column"])
    zoe, paul, rose, nameless = list(reading)
    by_webhook, _ = read(MESSAGE)
    assert zoe.personnes[0].facts.items() <= by_webhook.personnes[0].facts.items()
    assert zoe.foyer["foyer.matricule"] == "0456789"
    assert sorted(f.code for f in paul.findings) == ["bad-date", "number-lost-digits"]
    assert [f.code for f in rose.findings] == ["identifier-missing"]
    assert rose.rejected
    assert nameless.rejected


def test_a_row_that_differs_by_a_date_nobody_can_read_is_not_the_last_one_again() -> None:
    def digest(born: str) -> bytes:
        table = to_csv(["Prénom", "Nom", "Date de naissance", "Email"], [["Zoé", "Elan", born, "zoe@example.org"]])
        (record,) = CONNECTOR.read("rdv_insertion.usagers", io.BytesIO(table))
        return record.digest

    assert len({digest(""), digest("31/02/1990"), digest("32/02/1990")}) == 3


def test_the_number_of_an_msa_household_that_is_a_nir_is_left_out_and_asks_nobody() -> None:
    table = to_csv(["Nom", "Prénom", "Email", "Numéro allocataire"],
                   [["Nougarent", "Zoé", "zoe@exemple.invalid", "285069999999919"]])  # fmt: skip
    (zoe,) = CONNECTOR.read("rdv_insertion.usagers", io.BytesIO(table))
    assert [(f.code, f.severity, f.raw) for f in zoe.findings] == [("matricule-is-nir", "notice", "")]
    assert "foyer.matricule" not in zoe.foyer


def test_a_table_without_names_is_refused() -> None:
    with pytest.raises(DocumentRefused) as refusal:
        CONNECTOR.read("rdv_insertion.usagers", io.BytesIO(b"NIR;Email\n1;2\n"))
    assert refusal.value.code == "missing-header"
