"""The stand-in obeys the contract of HubEE as documented: hubee.md §2 to §5 and §11."""

from __future__ import annotations

import base64
import hashlib
import uuid
from datetime import timedelta
from typing import Any

import httpx
import pytest

from connectors.hubee.sandbox import CALLS, CORRUPTED, LANDES, SCENARIOS, VOISIN, Sandbox, describe, sandbox
from tests.hubee.conftest import BASE, DAY, RSABEM, Clock

CODE = "RSABEM-RSABAM"
T = "/teledossiers/v1"


class Caller:
    """A partner that calls by hand, as `curl` would."""

    def __init__(self, app: Sandbox, client: str) -> None:
        self.client = client
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)
        self.bearer = ""

    async def token(self, scope: str, secret: str = "", path: str = "/oauth2/token", **form: str) -> httpx.Response:
        pair = base64.b64encode(f"{self.client}:{secret or 'secret-' + self.client}".encode()).decode()
        body = {"grant_type": "client_credentials", "scope": scope} | form
        return await self.http.post(path, data=body, headers={"authorization": f"Basic {pair}"})

    async def login(self, scope: str) -> Caller:
        self.bearer = (await self.token(scope)).json()["access_token"]
        return self

    async def __call__(self, method: str, path: str, json: Any = None, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.bearer}"} | options.pop("headers", {})
        return await self.http.request(method, path, json=json, headers=headers, **options)


@pytest.fixture
def app(clock: Clock) -> Sandbox:
    return sandbox(now=clock)


@pytest.fixture
async def si(app: Sandbox) -> Caller:
    return await Caller(app, "si-rsabem-rsabam").login("SI")


@pytest.fixture
async def osl(app: Sandbox) -> Caller:
    return await Caller(app, "osl-rsabem-rsabam").login("OSL")


def errors(answer: httpx.Response) -> list[str]:
    return [error["message"] for error in answer.json()["errors"]]


def folder(**more: Any) -> dict[str, Any]:
    return {
        "externalId": "CNAF-RSABEM-0000000000001",
        "processCode": CODE,
        "applicant": {"firstName": "CNAF", "lastName": "CNAF"},
        "cases": [{"externalId": "CNAF-RSABEM-0000000000001-01", "recipient": LANDES}],
        "attachments": [
            {
                "fileName": "RSABEM.xml", "type": "RSABEM", "size": len(RSABEM), "mimeType": "application/xml",
                "recipients": ["CNAF-RSABEM-0000000000001-01"],
            }
        ],
    } | more  # fmt: skip


class TestTokens:
    @pytest.mark.parametrize("path", ["/oauth2/token", "/token"])
    async def test_an_hour_of_access(self, app, clock, path: str) -> None:
        caller = Caller(app, "si-rsabem-rsabam")
        told = (await caller.token("SI", path=path)).json()
        assert told["expires_in"] == 3600
        caller.bearer = told["access_token"]
        assert (await caller("GET", f"{T}/notifications")).status_code == 200
        clock.time += timedelta(hours=1)
        refused = await caller("GET", f"{T}/notifications")
        assert refused.status_code == 401
        assert "900901" in refused.text

    @pytest.mark.parametrize(("scope", "secret", "status"), [("SI", "faux", 401), ("OSL", "", 400), ("", "", 400)])
    async def test_what_gives_no_token(self, app, scope: str, secret: str, status: int) -> None:
        assert (await Caller(app, "si-rsabem-rsabam").token(scope, secret)).status_code == status

    async def test_a_header_that_is_not_basic(self, app, si) -> None:
        answer = await si.http.post("/oauth2/token", data={}, headers={"authorization": "Basic é!".encode()})
        assert answer.status_code == 401


class TestOwnership:
    async def test_another_demarche_and_another_organisation_are_forbidden(self, app) -> None:
        case = app.drop.send(CODE, {"RSABEM": RSABEM})
        attachment = app.drop.attachment(case, "RSABEM").id
        for client in ("si-msabem", "si-voisin-rsabem-rsabam"):
            caller = await Caller(app, client).login("SI")
            assert (await caller("GET", f"{T}/cases/{case}")).status_code == 403
            assert (await caller("GET", f"{T}/cases/{case}/attachments/{attachment}")).status_code == 403
            assert (await caller("PATCH", f"{T}/cases/{case}", {"status": "IN_PROGRESS"})).status_code == 403
            assert (await caller("GET", f"{T}/notifications")).json() == []
            [notification] = app.hub.notifications
            assert (await caller("DELETE", f"{T}/notifications/{notification}")).status_code == 403

    async def test_what_does_not_exist(self, si) -> None:
        unknown = uuid.uuid4()
        for method, path in (("GET", "cases"), ("DELETE", "notifications"), ("GET", "folders")):
            assert (await si(method, f"{T}/{path}/{unknown}")).status_code == 404

    async def test_each_recipient_reads_its_own_attachments_only(self, app, osl, si) -> None:
        two = [
            {"externalId": "F-01", "recipient": LANDES},
            {"externalId": "F-02", "recipient": VOISIN},
        ]
        told = folder(externalId="F", cases=two)
        told["attachments"][0]["recipients"] = ["F-02"]
        made = (await osl("POST", f"{T}/folders", told)).json()
        mine = next(case["id"] for case in made["cases"] if case["externalId"] == "F-01")
        read = await si("GET", f"{T}/cases/{mine}")
        assert read.json()["attachments"] == []
        one = made["attachments"][0]["id"]
        assert (await si("GET", f"{T}/cases/{mine}/attachments/{one}")).status_code == 403


class TestSending:
    async def test_from_creation_to_notification(self, app, osl, si) -> None:
        made = (await osl("POST", f"{T}/folders", folder())).json()
        assert (made["globalStatus"], made["attachments"][0]["status"]) == ("HUBEE_RECEIVED", "PENDING")
        path = f"{T}/folders/{made['id']}"
        early = await osl("PATCH", path, {"globalStatus": "HUBEE_COMPLETED"})
        assert (early.status_code, errors(early)) == (400, ["attachments are not all sent"])
        sent = await osl("PUT", f"{path}/attachments/{made['attachments'][0]['id']}", content=RSABEM)
        assert sent.status_code == 204
        assert (await si("GET", f"{T}/notifications")).json() == []
        assert (await osl("PATCH", path, {"globalStatus": "HUBEE_COMPLETED"})).status_code == 204
        [notification] = (await si("GET", f"{T}/notifications", params={"eventDetails": "true"})).json()
        assert (notification["eventId"], notification["processCode"]) == (None, CODE)
        assert (await si("GET", f"{T}/cases/{notification['caseId']}")).json()["status"] == "HUBEE_NOTIFIED"
        assert (await osl("DELETE", path)).status_code == 400

    async def test_all_errors_at_once(self, osl) -> None:
        stranger = LANDES | {"branchCode": "999"}
        wrong = folder(externalId="x" * 31, applicant={}, cases=[{"externalId": "a", "recipient": stranger}])
        wrong["attachments"][0] |= {"mimeType": "image/png", "size": 0}
        answer = await osl("POST", f"{T}/folders", wrong)
        assert answer.status_code == 400
        assert len(errors(answer)) == 6
        assert f"SI-{LANDES['companyRegister']}-999 does not exist" in errors(answer)

    async def test_no_active_subscription(self, app, osl) -> None:
        for one in app.hub.subscriptions:
            one.status = "Suspendu"
        answer = await osl("POST", f"{T}/folders", folder())
        assert errors(answer) == [f"SI-{LANDES['companyRegister']}-040 does not suscribed to {CODE}"]

    @pytest.mark.parametrize(
        ("content", "message", "status"),
        [
            (RSABEM + b" ", "size does not match", "REJECTED"),
            (b"x" * len(RSABEM), "mimeType does not match", "REJECTED"),
        ],
    )
    async def test_bytes_that_do_not_match(self, app, osl, content: bytes, message: str, status: str) -> None:
        made = (await osl("POST", f"{T}/folders", folder())).json()
        path = f"{T}/folders/{made['id']}"
        upload = f"{path}/attachments/{made['attachments'][0]['id']}"
        refused = await osl("PUT", upload, content=content)
        assert (refused.status_code, errors(refused)) == (400, [message])
        assert (await osl("GET", path)).json()["attachments"][0]["status"] == status
        assert (await osl("PUT", upload, content=RSABEM)).status_code == 204
        assert (await osl("PUT", upload, content=RSABEM)).status_code == 400

    async def test_a_missing_body_is_a_500_and_a_wrong_digest_a_400(self, osl) -> None:
        made = (await osl("POST", f"{T}/folders", folder())).json()
        upload = f"{T}/folders/{made['id']}/attachments/{made['attachments'][0]['id']}"
        assert (await osl("PUT", upload)).status_code == 500
        wrong = base64.b64encode(hashlib.sha256(b"autre").digest()).decode()
        assert (await osl("PUT", upload, content=RSABEM, headers={"digest": wrong})).status_code == 400

    async def test_a_virus_does_not_block_the_folder(self, app) -> None:
        case = app.drop.send(CODE, {"RSABEM": RSABEM, "RSABAM": b"<a>" + CORRUPTED + b"</a>"})
        assert app.drop.case(case).status == "HUBEE_NOTIFIED"
        assert app.drop.attachment(case, "RSABAM").status == "CORRUPTED"

    async def test_giving_up_before_completion(self, app, osl) -> None:
        made = (await osl("POST", f"{T}/folders", folder())).json()
        assert (await osl("DELETE", f"{T}/folders/{made['id']}")).status_code == 204
        assert (await osl("GET", f"{T}/folders/{made['id']}")).status_code == 404


ORDER = [
    ("HUBEE_NOTIFIED", "SENT", True), ("HUBEE_NOTIFIED", "SI_RECEIVED", True), ("HUBEE_NOTIFIED", "IN_PROGRESS", True),
    ("HUBEE_NOTIFIED", "DONE", False), ("HUBEE_NOTIFIED", "CLOSED", False), ("SENT", "SI_RECEIVED", True),
    ("SENT", "IN_PROGRESS", False), ("SENT", "SI_INTG_ERROR", True), ("SI_RECEIVED", "IN_PROGRESS", True),
    ("SI_RECEIVED", "DONE", True), ("IN_PROGRESS", "ADD_AWAITING", True), ("IN_PROGRESS", "DONE", True),
    ("IN_PROGRESS", "REFUSED", True), ("IN_PROGRESS", "SENT", False), ("ADD_AWAITING", "DONE", True),
    ("DONE", "IN_PROGRESS", False), ("REFUSED", "DONE", False), ("IN_PROGRESS", "INCONNU", False),
]  # fmt: skip


class TestStates:
    @pytest.mark.parametrize(("current", "status", "allowed"), ORDER)
    async def test_the_receiver_follows_the_order(self, app, si, current: str, status: str, allowed: bool) -> None:
        case = app.drop.send(CODE, {"RSABEM": RSABEM})
        app.drop.case(case).status = current
        answer = await si("PATCH", f"{T}/cases/{case}", {"status": status})
        assert answer.status_code == (204 if allowed else 400)
        assert app.drop.case(case).status == (status if allowed else current)

    async def test_the_sender_closes_and_reopens(self, app, osl) -> None:
        case = app.drop.send(CODE, {"RSABEM": RSABEM})
        path = f"{T}/cases/{case}"
        assert (await osl("PATCH", path, {"status": "CLOSED"})).status_code == 400
        app.drop.case(case).status = "DONE"
        assert (await osl("PATCH", path, {"status": "CLOSED"})).status_code == 204
        assert (await osl("PATCH", path, {"status": "HUBEE_NOTIFIED"})).status_code == 204

    async def test_the_event_alone_changes_the_status_too(self, app, si) -> None:
        case = app.drop.send(CODE, {"RSABEM": RSABEM})
        told = {"actionType": "STATUS_UPDATE", "caseNewStatus": "IN_PROGRESS", "caseCurrentStatus": "HUBEE_NOTIFIED"}
        headers = {"editorName": "Éditeur".encode(), "applicationName": "Application", "softwareVersion": "9"}
        answer = await si("POST", f"{T}/cases/{case}/events", told, headers=headers)
        assert answer.status_code == 201
        assert answer.json()["partnerInfo"]["applicationName"] == "Application"
        assert app.drop.case(case).status == "IN_PROGRESS"
        assert [one.action for one in app.drop.hear()] == ["STATUS_UPDATE"]

    async def test_a_patch_may_come_as_a_post(self, app, si) -> None:
        case = app.drop.send(CODE, {"RSABEM": RSABEM})
        override = {"X-HTTP-Method-Override": "PATCH"}
        assert (await si("POST", f"{T}/cases/{case}", {"status": "IN_PROGRESS"}, headers=override)).status_code == 204
        other = {"X-HTTP-Method-Override": "DELETE"}
        assert (await si("POST", f"{T}/cases/{case}", {}, headers=other)).status_code == 405


class TestEvents:
    @pytest.mark.parametrize(
        ("told", "message"),
        [
            ({"actionType": "AUTRE"}, "actionType unknown"),
            ({"actionType": "ATTACH_DEPOSIT"}, "ATTACH_DEPOSIT needs attachments"),
            ({"actionType": "COM_ADD", "comment": "x" * 1001}, "comment: 1000 at most"),
            (
                {
                    "actionType": "COM_ADD",
                    "attachments": [{"fileName": "a", "type": "a", "size": 1, "mimeType": "text/plain"}],
                },
                "attachments only with ATTACH_DEPOSIT",
            ),
        ],
    )
    async def test_refused_events(self, app, si, told: dict[str, Any], message: str) -> None:
        case = app.drop.send(CODE, {"RSABEM": RSABEM})
        answer = await si("POST", f"{T}/cases/{case}/events", told)
        assert (answer.status_code, errors(answer)) == (400, [message])

    async def test_a_deposit_is_seen_once_sent_with_all_its_files(self, app, si, osl) -> None:
        case = app.drop.send(CODE, {"RSABEM": RSABEM})
        events = f"{T}/cases/{case}/events"
        attached = [{"fileName": "a.xml", "type": "RSABEM", "size": 4, "mimeType": "application/xml"}]
        event = (await osl("POST", events, {"actionType": "ATTACH_DEPOSIT", "attachments": attached})).json()
        path = f"{events}/{event['id']}"
        assert event["status"] == "IN_PROGRESS"
        assert (await si("GET", path)).status_code == 404
        assert (await osl("PATCH", path, {"status": "SENT"})).status_code == 400
        upload = f"{path}/attachments/{event['attachments'][0]['id']}"
        assert (await si("PUT", upload, content=b"<a/>")).status_code == 404
        assert (await osl("PUT", upload, content=b"<a/>")).status_code == 204
        assert (await osl("PATCH", path, {"status": "SENT"})).status_code == 204
        assert (await osl("DELETE", path)).status_code == 400
        assert (await osl("PATCH", path, {"status": "RECEIVED"})).status_code == 400  # only the other side may
        got = await si("GET", upload)
        assert got.content == b"<a/>"
        assert got.headers["digest"] == base64.b64encode(hashlib.sha256(b"<a/>").digest()).decode()
        assert (await si("PATCH", path, {"status": "RECEIVED"})).status_code == 204

    async def test_a_deposit_in_progress_can_be_taken_back(self, app, osl) -> None:
        case = app.drop.send(CODE, {"RSABEM": RSABEM})
        attached = [{"fileName": "a.xml", "type": "RSABEM", "size": 4, "mimeType": "application/xml"}]
        told = {"actionType": "ATTACH_DEPOSIT", "attachments": attached}
        event = (await osl("POST", f"{T}/cases/{case}/events", told)).json()
        assert (await osl("DELETE", f"{T}/cases/{case}/events/{event['id']}")).status_code == 204

    async def test_the_comment_stays_on_the_side_of_the_receiver(self, app, si, osl) -> None:
        case = app.drop.send(CODE, {"RSABEM": RSABEM})
        told = {"actionType": "COM_ADD", "message": "pour tous", "comment": "interne"}
        event = (await si("POST", f"{T}/cases/{case}/events", told)).json()
        path = f"{T}/cases/{case}/events/{event['id']}"
        assert (await si("GET", path)).json()["comment"] == "interne"
        assert "comment" not in (await osl("GET", path)).json()


class TestNotificationsAndPurge:
    async def test_twenty_five_at_a_time_until_deleted_in_no_order(self, app, si) -> None:
        cases = [app.drop.send(CODE, {"RSABEM": RSABEM}) for _ in range(26)]
        first = (await si("GET", f"{T}/notifications")).json()
        again = (await si("GET", f"{T}/notifications")).json()
        assert (len(first), len(again)) == (25, 25)
        assert [one["caseId"] for one in first] != [one["caseId"] for one in again]
        everything = (await si("GET", f"{T}/notifications", params={"maxResult": 100})).json()
        assert {one["caseId"] for one in everything} == set(cases)
        assert (await si("DELETE", f"{T}/notifications/{everything[0]['id']}")).status_code == 204
        assert (await si("DELETE", f"{T}/notifications/{everything[0]['id']}")).status_code == 404

    async def test_event_details_on_request(self, app, si) -> None:
        case = app.drop.send(CODE, {"RSABEM": RSABEM})
        app.hub.notifications.clear()
        app.drop.write(case, "bonjour")
        [short] = (await si("GET", f"{T}/notifications")).json()
        [long] = (await si("GET", f"{T}/notifications", params={"eventDetails": "true"})).json()
        assert "eventStatus" not in short
        assert (long["eventActionType"], long["eventStatus"]) == ("SENDING_MESSAGE", "SENT")

    async def test_bytes_are_purged_a_day_after_every_reader_took_them(self, app, si) -> None:
        case = app.drop.send(CODE, {"RSABEM": RSABEM})
        path = f"{T}/cases/{case}/attachments/{app.drop.attachment(case, 'RSABEM').id}"
        app.advance(30 * DAY)
        bearer = si.bearer = (await si.token("SI")).json()["access_token"]
        assert (await si("GET", path)).status_code == 200
        await si("PATCH", f"{T}/cases/{case}", {"status": "IN_PROGRESS"})
        assert (await si("GET", path)).status_code == 200
        app.advance(DAY)
        si.bearer = (await si.token("SI")).json()["access_token"]
        assert bearer != si.bearer
        assert (await si("GET", path)).status_code == 404
        assert app.drop.attachment(case, "RSABEM").status == "DELETED"

    async def test_a_process_may_purge_later(self, app) -> None:
        app.hub.processes[CODE].status_before_deletion = "CLOSED"
        case = app.drop.send(CODE, {"RSABEM": RSABEM})
        account = app.hub.accounts["si-rsabem-rsabam"]
        app.hub.patch_case(account, case, {"status": "IN_PROGRESS"})
        app.advance(9 * DAY)
        assert app.drop.attachment(case, "RSABEM").status == "RECEIVED"


class TestSubscriptionsAndFailures:
    async def test_pages_with_content_range(self, osl, si) -> None:
        path = "/referential/v1/subscriptions"
        page = await osl("GET", path, params={"maxResult": 3, "offSet": 3})
        assert page.headers["content-range"].startswith("subscriptions 3-5/")
        assert {one["status"] for one in page.json()} == {"Actif"}
        one = page.json()[0]
        assert one["accessMode"] == "API"
        assert (await osl("GET", f"{path}/{one['id']}")).json() == one
        assert (await si("GET", path)).status_code == 403
        none = await osl("GET", path, params={"status": "Suspendu"})
        assert (none.json(), none.headers["content-range"]) == ([], "subscriptions */0")

    async def test_calls_of_the_portal_are_forbidden(self, si) -> None:
        portal = [(method, path) for name, method, path in CALLS if name == "portal"]
        assert len(portal) == 5
        for method, path in portal:
            assert (await si(method, path.format(id="x"), {})).status_code == 403

    async def test_a_call_that_is_not_documented_is_remembered(self, app, si) -> None:
        assert (await si("GET", f"{T}/dossiers")).status_code == 404
        assert [call.path for call in app.unmatched] == [f"{T}/dossiers"]

    async def test_it_says_how_to_call_it(self) -> None:
        app = sandbox("quota")
        told = describe(app, BASE)
        assert (told["token_url"], told["scenario"]) == (f"{BASE}/oauth2/token", "quota")
        assert told["settings"]["acces_msabem"] == "si-msabem:secret-si-msabem"
        sender = next(one for one in told["credentials"] if (one["scope"], one["process"]) == ("OSL", CODE))
        assert (await Caller(app, sender["client_id"]).token("OSL", sender["client_secret"])).status_code == 200

    async def test_an_unknown_scenario(self) -> None:
        with pytest.raises(KeyError):
            sandbox("inconnu")

    async def test_every_scenario_has_a_title_and_at_least_one_fault(self) -> None:
        assert all(one.title and one.faults for one in SCENARIOS.values())
        assert {fault.call for one in SCENARIOS.values() for fault in one.faults} <= {
            "*", "token", *(name for name, _, _ in CALLS)
        }  # fmt: skip
