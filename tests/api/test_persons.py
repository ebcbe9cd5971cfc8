"""Persons through the HTTP doors: found by those who accompany them, and unknown to everybody else."""

from __future__ import annotations

import asyncio
import time
import uuid
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey
from sqlalchemy import delete, select

from gateway import basis, convention, notification, outbox, rights
from gateway.access import partners
from gateway.access.client import PartnerAuth, TokenRefused
from gateway.api_persons import FLOOR
from gateway.categories import legal_code
from gateway.demo.forms import global_accompaniment, information
from gateway.demo.stage import FOLDER
from gateway.storage.tables.basis import convention as conventions
from gateway.storage.tables.delivery import outbox as deliveries
from gateway.worker import Worker
from tests.api.house import House, problem

ANNE = {
    "fileNumber": "SA-0500", "birthName": "Canarianne", "firstName": "Canariprenom", "birthDate": "1979-03-04",
    "socialSecurityNumber": "2790340999903", "accomodationMode": "SocialRenting",
    "socioProfessionalCategory": "Employed",
}  # fmt: skip
SOUGHT = {"nir": "2790340999903", "date_naissance": "1979-03-04", "nom_naissance": "Canarianne"}
NOBODY = {"nir": "2790340999904", "date_naissance": "1979-03-04", "nom_naissance": "Canariabsente"}


@pytest.fixture(scope="module")
def anne(house: House) -> str:
    """A person the CCAS accompanies: its own reference of her."""
    return accompanied(house, ANNE, 500)


def accompanied(house: House, who: dict[str, str], rank: int) -> str:
    assert house.send("ccas", "ccas.suivi", who).status_code == 202
    told = house.search("ccas", {"nir": who["socialSecurityNumber"], "date_naissance": who["birthDate"]}).json()
    assert told["certainty"] == "certain"
    gateway = house.gateway
    with gateway.unit_of_work() as work:
        person = gateway.references.find(work, "ccas", told["person"])
        assert person
        basis.record(work, information(gateway, person))
    followed: Any = SimpleNamespace(
        person=SimpleNamespace(
            nir=who["socialSecurityNumber"], nom_naissance=who["birthName"], prenom=who["firstName"]
        ),
        born=who["birthDate"],
    )
    opened = house.send("departement", "departement.accompagnement", global_accompaniment([(followed, rank)]))
    assert opened.json()["results"][0]["status"] == "accepted", opened.text
    return str(told["person"])


def test_a_reference_is_the_callers_own(house: House, anne: str) -> None:
    assert house.send("ccas_voisin", "ccas.suivi", ANNE).status_code == 202
    other = house.search("ccas_voisin", SOUGHT).json()
    assert other["certainty"] == "certain"
    assert other["person"] != anne


def test_o_101_a_person_of_another_body_answers_as_unknown_same_words_and_no_sooner(house: House, anne: str) -> None:
    def ask(sought: dict[str, str]) -> tuple[Any, float]:
        began = time.monotonic()
        answer = house.search("caf", sought)
        return answer.json(), time.monotonic() - began

    ask(NOBODY)
    foreign, absent = [ask(SOUGHT) for _ in range(5)], [ask(NOBODY) for _ in range(5)]
    assert {str(told) for told, _ in foreign + absent} == {str({"person": None, "certainty": "inconnu"})}
    assert min(spent for _, spent in foreign + absent) >= FLOOR


def test_o_101_an_almost_matching_name_does_not_tell_that_somebody_exists(house: House, anne: str) -> None:
    close = {"nom_naissance": "Canarianne", "prenom": "Canariprenom", "date_naissance": "1979-03-04"}
    assert house.search("ccas", close).json()["certainty"] == "a_confirmer"
    assert house.search("caf", close).json() == {"person": None, "certainty": "inconnu"}


def test_a_date_written_the_french_way_finds_her_and_a_wrong_one_is_told(house: House, anne: str) -> None:
    year, month, day = SOUGHT["date_naissance"].split("-")
    french = house.search("ccas", SOUGHT | {"date_naissance": f"{day}/{month}/{year}"}).json()
    assert french == {"person": anne, "certainty": "certain"}
    for wrong in ("1979-02-30", "le 4 mars", "0001-01-01"):
        problem(house.search("ccas", SOUGHT | {"date_naissance": wrong}), 422, "bad-date", wrong)


@pytest.mark.parametrize("number", ["1234567", "123456789012", "1234567890A"])
def test_a_number_that_france_travail_does_not_give_is_told(house: House, number: str) -> None:
    sought = {"numero_france_travail": number, "date_naissance": "1979-03-04"}
    problem(house.search("ccas", sought), 422, "bad-number", number)


def test_o_101_anothers_reference_is_an_unknown_one(house: House, anne: str) -> None:
    with house.client("caf") as client:
        for path in ("dossier", "basis"):
            foreign, absent = (client.get(f"/v1/persons/{ref}/{path}") for ref in (anne, "0" * 40))
            problem(foreign, 404, "person-unknown")
            assert foreign.json() | {"instance": ""} == absent.json() | {"instance": ""}
        written = client.post(f"/v1/persons/{anne}/basis", json={}, headers={"Idempotency-Key": str(uuid.uuid4())})
        problem(written, 404, "person-unknown")


def test_a_record_that_waits_for_a_human_says_why(house: House, anne: str) -> None:
    unnumbered = {name: value for name, value in ANNE.items() if name != "socialSecurityNumber"} | {"fileNumber": "V-2"}
    answer = house.send("ccas_voisin", "ccas.suivi", unnumbered).json()["results"]
    assert [(one["status"], [finding["code"] for finding in one["findings"]]) for one in answer] == [
        ("quarantined", ["identity-to-confirm"])
    ]
    assert answer[0]["findings"][0]["path"] == "personnes[1]"


def test_o_102_fields_are_not_for_the_caller_to_choose(house: House, anne: str) -> None:
    with house.client("departement") as client:
        ref = house.search("departement", SOUGHT).json()["person"]
        assert ref, "the CCAS's flow makes her known to the Département"
        plain = client.get(f"/v1/persons/{ref}/dossier")
        asked = client.get(f"/v1/persons/{ref}/dossier", params={"fields": "*", "decision": "permit"})
        assert plain.status_code == 200, plain.text
        assert asked.json() == plain.json()
    problem(house.search("ccas", SOUGHT | {"decision": "permit"}), 422, "search-form", "Canarianne")


@pytest.mark.parametrize("path", ["/v1/audit/register", "/v1/audit/denials", "/v1/journal/tile/0/000"])
def test_o_103_a_partner_does_not_open_the_officers_doors(house: House, path: str) -> None:
    with house.client("ccas", scope="exchange") as client:
        assert client.get(path).status_code == 403


@pytest.mark.parametrize("path", ["/v1/exchanges", "/v1/inbox", "/v1/persons/x/dossier"])
def test_o_104_an_officers_token_does_not_open_data(house: House, path: str) -> None:
    with house.client("dpo", scope="audit") as client:
        assert client.get(path).status_code == 403


def test_the_dossier_names_the_source_of_each_fact_and_what_was_withheld(house: House, anne: str) -> None:
    with house.client("departement") as client:
        ref = house.search("departement", SOUGHT).json()["person"]
        shown = client.get(f"/v1/persons/{ref}/dossier")
        told = shown.json()
        assert {fact["source"] for fact in told["facts"].values()} <= {"ccas", "ccas_voisin", "departement"}
        assert all({"category", "facts", "rule", "article"} == one.keys() for one in told["withheld"])
        again = client.get(f"/v1/persons/{ref}/dossier", headers={"If-None-Match": shown.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["vary"] == shown.headers["vary"] == "Accept-Document"
        filled = client.get(f"/v1/persons/{ref}/dossier", headers={"Accept-Document": "departement.webrsa_ali"})
        assert filled.status_code == 200, filled.text
        assert 0 < filled.json()["fields_prefilled"] <= filled.json()["fields_total"]
        assert filled.json()["sources"].keys() == filled.json()["dates"].keys(), "each field with its source and date"
        assert all(len(day) > 9 for day in filled.json()["dates"].values())
        problem(client.get(f"/v1/persons/{ref}/dossier", headers={"Accept": "application/xml"}), 406, "not-acceptable")
        wrong = client.get(f"/v1/persons/{ref}/dossier", headers={"Accept-Document": "departement.referentiel"})
        problem(wrong, 422, "document-not-received")


HEALTH = {"freins": [{"theme": "sante", "valeur": "present", "exploreLe": "2026-11-04T23:00:00Z"}]}


def withheld_from(house: House, body: str, who: dict[str, str]) -> set[str]:
    found = house.search(body, {"nir": who["socialSecurityNumber"], "date_naissance": who["birthDate"]}).json()
    with house.client(body) as client:
        dossier = client.get(f"/v1/persons/{found['person']}/dossier").json()
    return {one["category"] for one in dossier["withheld"]}


def test_that_others_spoke_of_her_health_is_told_to_who_receives_a_part_of_her_dossier(house: House) -> None:
    """It knows that it does not know all, and why."""
    blanche = ANNE | {"fileNumber": "SA-0510", "birthDate": "1980-03-04", "socialSecurityNumber": "2800340999903"}
    accompanied(house, blanche, 510)
    assert house.send("ccas_voisin", "ccas.suivi", blanche | HEALTH).status_code == 202
    assert "C13" in withheld_from(house, "ccas", blanche)


def test_that_others_spoke_of_her_health_is_not_told_to_who_only_gave_her_name(house: House) -> None:
    denise = ANNE | {"fileNumber": "SA-0530", "birthDate": "1982-03-04", "socialSecurityNumber": "2820340999903"}
    assert house.send("ccas_voisin", "ccas.suivi", denise | HEALTH).status_code == 202
    for more, told in (({}, False), (HEALTH, True)):
        assert house.send("ccas", "ccas.suivi", denise | more).status_code == 202
        withheld = withheld_from(house, "ccas", denise)
        assert "C1" in withheld
        assert ("C13" in withheld) is told


def test_that_others_spoke_of_her_health_is_not_told_to_who_sends_her_name(house: House) -> None:
    claire = ANNE | {"fileNumber": "SA-0520", "birthDate": "1981-03-04", "socialSecurityNumber": "2810340999903"}
    accompanied(house, claire, 520)
    assert house.send("ccas", "ccas.suivi", claire | HEALTH).status_code == 202
    for more, told in (({}, False), (HEALTH, True)):
        outcomes = house.send("ccas_voisin", "ccas.suivi", claire | more).json()["outcomes"]
        (queued,) = [one for one in outcomes if one["status"] == "queued"]
        assert "C11" in queued["categories"]
        assert ("C13" in queued["withheld_categories"]) is told


@pytest.mark.parametrize("wanted", ["", "ccas.beneficiaires"])
def test_a_body_that_spoke_of_her_is_told_why_it_sees_nothing_of_her(house: House, wanted: str) -> None:
    names = {"fileNumber": "SA-0501", "birthName": "Canarisansnotice", "firstName": "Canariprenom"}
    sent = house.send(
        "ccas", "ccas.beneficiaires", names | {"birthDate": "1981-05-06", "socialSecurityNumber": "2810540999905"}
    )
    assert sent.status_code in (200, 202), sent.text
    found = house.search("ccas", {"nir": "2810540999905", "date_naissance": "1981-05-06"}).json()
    assert found["certainty"] == "certain"
    with house.client("ccas") as client:
        headers = {"Accept-Document": wanted} if wanted else {}
        shown = client.get(f"/v1/persons/{found['person']}/dossier", headers=headers)
    assert shown.status_code == 200, "the search has just named her: to send her software back to it would not end"
    told = shown.json()
    assert not (told["sources"] if wanted else told["facts"])
    assert told["withheld"]
    assert all(one["article"] and one["rule"] for one in told["withheld"])


async def delivered(house: House) -> None:
    await Worker(house.gateway).drain()
    await house.gateway.close_transports()


def narrowed(house: House, body: str, *details: dict[str, Any]) -> httpx.Client:
    """The client of a body whose token says more than a purpose."""
    told = [{"type": "maillon_exchange", "purpose": "accompagnement"} | one for one in details]
    auth = PartnerAuth(house.base, body, house.keys[body], details=told)
    return httpx.Client(base_url=house.base, auth=auth, timeout=30, trust_env=False)


def test_a_token_opens_no_more_than_its_details_say(house: House, anne: str) -> None:
    ref = house.search("departement", SOUGHT).json()["person"]
    place, seen = f"/v1/persons/{ref}/dossier", {}
    opening: dict[str, dict[str, Any]] = {
        "wholly": {}, "named": {"regime": "PIE", "convention_id": "demo-landes"}, "identity": {"datatypes": ["C1"]},
    }  # fmt: skip
    for name, details in opening.items():
        with narrowed(house, "departement", details) as client:
            seen[name] = client.get(place).json()["facts"]
    assert seen["named"] == seen["wholly"]
    assert {legal_code(path) for path in seen["identity"]} == {"C1"} < {legal_code(path) for path in seen["wholly"]}
    for wrong in ({"regime": "RSA"}, {"convention_id": "autre"}):
        with (
            narrowed(house, "departement", wrong) as client,
            pytest.raises(TokenRefused, match="invalid_authorization"),
        ):
            client.get(place)

    with narrowed(house, "departement", {"actions": ["send"]}) as client:
        for answer in (client.get(place), client.get("/v1/inbox"), client.post("/v1/persons/search", json=SOUGHT)):
            problem(answer, 403, "purpose-not-allowed")
    for details, code in (
        ({"actions": ["read"]}, "purpose-not-allowed"),
        ({"datatypes": ["C1"]}, "datatypes-narrowed"),
    ):
        with narrowed(house, "ccas", details) as client:
            headers = {"Maillon-Document": "ccas.suivi", "Idempotency-Key": uuid.uuid4().hex}
            problem(client.post("/v1/exchanges", json=ANNE, headers=headers), 403, code)
        assert house.entries()[-1]["reason_code"] == code


def listed(client: httpx.Client) -> set[str]:
    """Every letter that a program sees in its mailbox, by the smallest pages."""
    found, after = set(), ""
    while after is not None:
        told = client.get("/v1/inbox", params={"limit": 1, "after": after}).json()
        found |= {one["id"] for one in told["letters"]}
        after = told["next"]
    return found


def test_a_letter_is_opened_by_whoever_may_act_for_its_purpose(house: House, anne: str) -> None:
    """A body may hand one of its programs less than its conventions open: the mailbox is no way around it."""
    assert house.send("ccas_voisin", "ccas.suivi", ANNE | {"mobility": "Bicycle"}).status_code == 202
    asyncio.run(delivered(house))
    key = ECKey.generate_key("P-256", auto_kid=True)
    house.keys["departement-orientation"] = key
    with house.gateway.unit_of_work() as work:
        partners.register_partner(
            work, "departement-orientation", "departement", {"keys": [key.as_dict(private=False)]}, ["orientation"],
            body="departement",
        )  # fmt: skip
    with house.client("departement") as client, house.client("departement-orientation", "orientation") as other:
        letter = client.get("/v1/inbox").json()["letters"][-1]["id"]
        assert listed(other) < listed(client), "of a mailbox, a program sees what it opens"
        assert letter not in listed(other)
        for refused in (other.get(f"/v1/inbox/{letter}/document"), other.post(f"/v1/inbox/{letter}/ack")):
            told = problem(refused, 403, "purpose-not-granted")
            assert "accompagnement" in told["detail"]
            assert house.journaled(told["instance"])["reason_code"] == "purpose-not-granted"
        with narrowed(house, "departement", {"datatypes": ["C1"]}) as identity:
            assert letter not in listed(identity)
            problem(identity.get(f"/v1/inbox/{letter}/document"), 403, "datatypes-narrowed")
        with house.client("departement", "orientation") as any_purpose:
            assert letter in listed(any_purpose)
            assert any_purpose.get(f"/v1/inbox/{letter}/document").status_code == 200
    with house.gateway.unit_of_work() as work:
        partners.suspend(work, "departement-orientation")


def record(house: House, **changes: Any) -> dict[str, Any]:
    """An information given, as a partner's software makes it: the gateway adds whom it is about."""
    made = information(house.gateway, "00000000-0000-0000-0000-000000000000") | changes
    return {name: value for name, value in made.items() if name not in ("person_id", "subject_ref")}


def test_the_fse_form_comes_filled_from_what_the_caller_may_see_and_never_with_a_sensitive_answer(
    house: House, anne: str
) -> None:
    def ask(body: str) -> Any:
        with house.client(body) as client:
            ref = house.search(body, SOUGHT).json()["person"] or "0" * 40
            return client.get(f"/v1/persons/{ref}/dossier", headers={"Accept-Document": "fse.participant"})

    told = ask("departement").json()
    assert told["document"]["conditions_logement"] == "locataire_hlm", (
        "the CCAS said it, housing may go to the Département"
    )
    assert told["sources"]["conditions_logement"] in {"ccas", "ccas_voisin"}
    assert not {"handicap", "origine_etrangere", "minorite"} & told["sources"].keys()
    assert told["document"]["handicap"] == ""
    problem(ask("caf"), 404, "person-unknown")
    read = [
        one for one in house.entries() if one["event"] == "exchange.permit" and one["recipient_org"] == "departement"
    ]
    assert "C11" in read[-1]["categories_sent"], "the housing it was given is in the register"


def test_a_convention_may_name_a_body_before_it_is_registered(house: House, anne: str) -> None:
    text = (FOLDER / "convention.toml").read_text(encoding="utf-8")
    later = text.replace('"demo-landes"', '"demo-plus-tard"').replace('"ccas_voisin"', '"ccas_a_venir"')
    with house.gateway.unit_of_work() as work:
        convention.add(work, later.replace('"ccas-voisin"', '"ccas-a-venir"').encode())
    with house.client("departement") as client:
        ref = house.search("departement", SOUGHT).json()["person"]
        answer = client.get(f"/v1/persons/{ref}/dossier")
    with house.gateway.unit_of_work() as work:  # or each flow of the other tests would be there twice
        work.connection.execute(delete(conventions).where(conventions.c.id == "demo-plus-tard"))
    assert answer.status_code == 200


def test_what_the_caller_may_not_see_fills_nothing_of_the_fse_form(house: House, anne: str) -> None:
    with house.client("departement") as client:
        ref = house.search("departement", SOUGHT).json()["person"]
        told = client.get(f"/v1/persons/{ref}/dossier", headers={"Accept-Document": "fse.participant"}).json()
        seen = client.get(f"/v1/persons/{ref}/dossier").json()["facts"]
    assert "parcours_pro.situation_emploi" not in seen
    assert told["document"]["marche_travail"] == "", "the CCAS knows it, and no rule carries it for this purpose"


def test_what_exchanges_rest_on_is_recorded_once_and_listed(house: House, anne: str) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    with house.client("ccas") as client:
        made = client.post(f"/v1/persons/{anne}/basis", json=record(house), headers=key)
        assert made.status_code == 201, made.text
        again = client.post(f"/v1/persons/{anne}/basis", json=record(house), headers=key)
        assert (again.status_code, again.json()) == (200, made.json())
        listed = client.get(f"/v1/persons/{anne}/basis").json()["records"]
        assert [one["id"] for one in listed] == [made.json()["id"]]
        assert not {"person_id", "subject_ref", "evidence"} & listed[0].keys()
        wrong = client.post(
            f"/v1/persons/{anne}/basis", json=record(house, regime="INVENTE"),
            headers={"Idempotency-Key": str(uuid.uuid4())},
        )  # fmt: skip
        assert wrong.status_code == 422
        problem(client.post(f"/v1/basis/{made.json()['id']}/withdraw"), 409, "basis-kind")


def test_a_consent_is_withdrawn_unless_it_changed_since_it_was_read(house: House, anne: str) -> None:
    consent = record(
        house, kind="consent", regime="CONSENT_6_1_a", purpose="aide_facultative_ccas", legal_basis="a",
        article=["RGPD 6(1)(a)"], recipients=["ccas"], valid_until="2027-06-01T00:00:00Z", retention="P12M",
        evidence={"kind": "oral_attested", "agent": "cd" * 20, "witnessed_at": "2026-01-20T08:59:00Z"},
        decision="given",
    )  # fmt: skip
    with house.client("ccas") as client:
        made = client.post(f"/v1/persons/{anne}/basis", json=consent, headers={"Idempotency-Key": str(uuid.uuid4())})
        assert (made.status_code, made.json().get("state")) == (201, "given"), made.text
        path = f"/v1/basis/{made.json()['id']}/withdraw"
        problem(client.post(path, json={"reason": "Canari"}), 400, "body-unexpected", "Canari")
        (shown,) = [one for one in client.get(f"/v1/persons/{anne}/basis").json()["records"] if one["id"] in path]
        problem(client.post(path, headers={"If-Match": '"other"'}), 412, "etag-stale")
        with house.client("caf") as other:
            problem(other.post(path), 404, "basis-unknown")
        withdrawn = client.post(path, headers={"If-Match": shown["etag"]})
        assert (withdrawn.status_code, withdrawn.json()["state"]) == (200, "withdrawn")
        problem(client.post(path), 409, "basis-ended")
    entries = [one for one in house.entries() if one.get("consent_ref") == made.json()["id"]]
    assert [one["event"] for one in entries] == ["consent.give", "consent.withdraw"]
    assert {(one["sender_org"], one["client_id"]) for one in entries} == {("ccas", "ccas")}, "who attested it is told"


def test_a_letter_that_waits_while_she_asks_for_a_limitation_is_no_longer_given(house: House, anne: str) -> None:
    def waiting() -> list[str]:
        async def deliver() -> None:
            await Worker(house.gateway).drain()
            await house.gateway.close_transports()

        asyncio.run(deliver())
        with house.client("departement") as client:
            return [one["id"] for one in client.get("/v1/inbox").json()["letters"]]

    def sends(mobility: str) -> tuple[str, str]:
        """(id of the exchange, of the letter it brought)."""
        before = waiting()
        sent = house.send("ccas_voisin", "ccas.suivi", ANNE | {"mobility": mobility}).json()["id"]
        [letter] = set(waiting()) - set(before)
        return sent, letter

    (_, read), (sent, unread) = sends("BikeOrEquivalent"), sends("PermitWithVehicle")
    with house.client("departement") as client, house.client("ccas") as her_ccas:
        assert client.get(f"/v1/inbox/{read}/document").status_code == 200
        asked, key = record(house, kind="limitation", regime="", purpose=""), {"Idempotency-Key": str(uuid.uuid4())}
        limitation = her_ccas.post(f"/v1/persons/{anne}/basis", json=asked, headers=key).json()["id"]
        try:
            with house.gateway.unit_of_work() as work:
                told = {one.recipient: one.action for one in notification.of_record(work, limitation)}
            assert told["departement"] == "limit", "who received something of her is told (GDPR 19)"
            for letter in (read, unread):
                refused = problem(client.get(f"/v1/inbox/{letter}/document"), 403, "letter-withheld", "Canari")
                assert refused["reason"] == "limitation"
                assert "18" in refused["article"]
            problem(client.get(f"/v1/inbox/{unread}/document"), 404, "letter-unknown")
            assert client.post(f"/v1/inbox/{read}/ack").status_code == 204, "what was read can still be acknowledged"
        finally:
            with house.gateway.unit_of_work() as work:
                rights.lift(work, house.gateway, limitation)
    with house.client("ccas_voisin") as client:
        states = {one["id"]: one["state"] for one in client.get(f"/v1/exchanges/{sent}").json()["deliveries"]}
    withheld = [delivery for delivery, state in states.items() if state == "withheld"]
    assert withheld
    before = waiting()
    with house.gateway.unit_of_work() as work:
        outbox.replay(work, withheld)
    [again] = set(waiting()) - set(before)
    with house.client("departement") as client:
        assert client.get(f"/v1/inbox/{again}/document").status_code == 200


def test_a_letter_is_fetched_and_acknowledged_by_its_recipient_alone(house: House, anne: str) -> None:
    assert house.send("ccas_voisin", "ccas.suivi", ANNE | {"mobility": "PublicTransport"}).status_code == 202
    asyncio.run(delivered(house))
    with house.client("departement") as client, house.client("caf") as other:
        letters = client.get("/v1/inbox").json()["letters"]
        assert letters
        path = f"/v1/inbox/{letters[0]['id']}"
        problem(client.get(f"{path}/document", headers={"Accept": "image/*"}), 406, "not-acceptable")
        assert client.get("/v1/inbox").json()["letters"] == letters, "what was not given is not marked as fetched"
        fetched = client.get(f"{path}/document")
        media = fetched.headers["content-type"].partition(";")[0]
        name = f"{letters[0]['document']}-{letters[0]['id']}.{media.rpartition('/')[2]}"
        assert fetched.headers["content-disposition"] == f'attachment; filename="{name}"'
        for wanted in ("application/pdf", "image/*", f"*/*, {media};q=0"):
            problem(client.get(f"{path}/document", headers={"Accept": wanted}), 406, "not-acceptable")
        for wanted in (media, f"application/pdf, {media};q=0.5", "image/*;q=0, */*;q=0.1"):
            assert client.get(f"{path}/document", headers={"Accept": wanted}).status_code == 200
        assert client.get(f"{path}/document", headers={"If-None-Match": fetched.headers["etag"]}).status_code == 304
        lines = [("If-None-Match", '"other"'), ("If-None-Match", fetched.headers["etag"])]  # RFC 9110 §5.3
        assert client.get(f"{path}/document", headers=lines).status_code == 304
        assert client.get(f"{path}/document", headers=[("Accept", "application/pdf"), ("Accept", media)]).is_success
        refused = client.get(f"{path}/document", headers=[("Accept", "*/*"), ("Accept", f"{media};q=0")])
        problem(refused, 406, "not-acceptable")
        problem(other.get(f"{path}/document"), 404, "letter-unknown")
        problem(client.post(f"{path}/ack", headers={"If-Match": '"other"'}), 412, "etag-stale")
        problem(client.post(f"{path}/ack", json={"status": "refused"}), 400, "body-unexpected", "refused")
        first = client.post(f"{path}/ack", headers={"If-Match": fetched.headers["etag"]}, json={})
        assert first.status_code == 204
        entries = len(house.entries())
        again = client.post(f"{path}/ack")
        assert (again.status_code, again.content) == (204, b"")
        assert again.headers["maillon-journal"] == first.headers["maillon-journal"]
        index = int(first.headers["maillon-journal"].rpartition(" ")[2])
        assert house.at(index)["event"] == "exchange.ack"
        assert not [one for one in house.entries()[entries:] if one["event"] == "exchange.ack"]


def test_an_end_whose_client_is_suspended_neither_gives_nor_receives(house: House, anne: str) -> None:
    """D03: what waits for it is withheld when its turn comes, and nothing new is promised to it."""

    def told(mobility: str) -> dict[str, Any]:
        sent = house.send("ccas_voisin", "ccas.suivi", ANNE | {"mobility": mobility})
        (outcome,) = (one for one in sent.json()["outcomes"] if one["recipient"] == "departement")
        return dict(outcome)

    async def deliver() -> None:
        await Worker(house.gateway).drain()
        await house.gateway.close_transports()

    def became(promised: dict[str, Any]) -> tuple[str, str | None]:
        query = select(deliveries.c.state, deliveries.c.reason).where(deliveries.c.id == promised["delivery"])
        with house.gateway.engine.connect().execution_options(read_only=True) as connection:
            return tuple(connection.execute(query).one())

    waiting = told("VehicleWithoutPermit")
    assert waiting["status"] == "queued"
    with house.gateway.unit_of_work() as work:
        partners.suspend(work, "departement")
    try:
        refused = told("PermitPending")
        assert (refused["status"], refused["reason"]) == ("withheld", "habilitation")
        assert "CASF R262-107" in str(refused["article"])
        asyncio.run(deliver())
        assert became(waiting) == ("withheld", "habilitation")
    finally:
        with house.gateway.unit_of_work() as work:
            partners.resume(work, "departement")
    with house.gateway.unit_of_work() as work:
        assert outbox.replay(work, [waiting["delivery"]]) == 1
    asyncio.run(deliver())
    assert became(waiting) == ("delivered", "mailbox")
