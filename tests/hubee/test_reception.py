"""What the Département lives when it collects: hubee.md §6 and the scenarios of §11."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.hubee.client import Stopped
from connectors.hubee.demarches import DEMARCHES, TAKEN
from connectors.hubee.reception import Arrival, Notice
from connectors.hubee.registre import AlreadyCollecting, Registre
from connectors.hubee.sandbox import CORRUPTED, SCENARIOS, VOISIN, objets
from connectors.transport import Limits
from tests.hubee.conftest import BASE, DAY, QUICK, RSABAM, RSABEM, Crash, Landes

FILES = {"RSABEM": RSABEM, "RSABAM": RSABAM}


def statuses(landes: Landes, case: str) -> list[str]:
    """What the sender was told of a case, in order."""
    return [event.told.get("caseNewStatus", "") for event in landes.app.drop.events(case)]


def notices(found: list[Arrival | Notice]) -> list[tuple[str, str]]:
    return [(one.status, one.code) for one in found if isinstance(one, Notice)]


def nothing_waits(landes: Landes) -> bool:
    return not [one for one in landes.app.hub.notifications.values() if one.recipient["type"] == "SI"]


async def test_nothing_waits(landes) -> None:
    dpt = landes()
    assert await dpt.collect() == []
    assert len(dpt.app.calls("notifications")) == 1


async def test_a_monthly_folder_is_taken_told_and_read(landes) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    [arrival] = await dpt.collect()
    assert dpt.read == [("RSABEM", RSABEM)]
    assert {piece.type: piece.verified for piece in arrival.pieces} == {"RSABEM": True, "RSABAM": True}
    assert dpt.app.drop.case(case).status == "DONE"
    assert statuses(dpt, case) == ["IN_PROGRESS", "DONE"]
    assert nothing_waits(dpt)
    assert dpt.files() == [RSABAM]  # kept for the Département; the file that was read is gone
    assert dpt.steps == [
        "downloaded", "renamed", "taken", "downloaded", "renamed", "taken", "status IN_PROGRESS", "event IN_PROGRESS",
        "read", "concluded", "status DONE", "event DONE", "settled", "deleted",
    ]  # fmt: skip
    assert await dpt.collect() == []


async def test_the_hub_knows_which_software_answers(landes) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    await dpt.collect()
    told = {"editorName": "Maillon", "applicationName": "Maillon", "softwareVersion": "0.1.0"}
    assert [event.partner for event in dpt.app.drop.events(case)] == [told, told]


async def test_twenty_six_folders_come_in_two_batches(landes) -> None:
    dpt = landes()
    cases = [dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": b"<Racine>%d</Racine>" % n}) for n in range(26)]
    assert len(await dpt.collect()) == 26
    assert len(dpt.read) == 26
    assert {dpt.app.drop.case(case).status for case in cases} == {"DONE"}
    assert [call.query["maxResult"] for call in dpt.app.calls("notifications")] == [["25"], ["25"]]


async def test_notifications_left_in_place_do_not_hide_the_others(landes) -> None:
    dpt = landes()
    for number in range(30):
        dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": b"<Racine>attend %d</Racine>" % number})
    dpt.held = {b"<Racine>attend %d</Racine>" % number for number in range(30)}
    dpt.app.drop.send("RSABEM-RSABAM", FILES)
    assert len(await dpt.collect()) == 31
    assert dpt.read == [("RSABEM", RSABEM)]


@pytest.mark.parametrize("scenario", ["", "coupure_apres_statut", "coupure_apres_evenement", "notification_double"])
async def test_a_crash_at_any_step_then_another_collection_gives_the_same_state(landes, scenario: str) -> None:
    for crash_at in range(1, 40):
        dpt = landes(scenario or None)
        dpt.folder = dpt.folder / f"{scenario}-{crash_at}"
        dpt.crash_at, case = crash_at, dpt.app.drop.send("RSABEM-RSABAM", FILES)
        try:
            await dpt.collect()
            break
        except Crash:
            dpt.crash_at = 0
        await dpt.collect()
        assert dpt.read == [("RSABEM", RSABEM)], crash_at
        assert dpt.app.drop.case(case).status == "DONE"
        assert statuses(dpt, case) == ["IN_PROGRESS", "DONE"], crash_at
        assert nothing_waits(dpt)
        assert dpt.files() == [RSABAM]
        assert dpt.leftovers() == []
    assert crash_at > 12


async def test_files_already_taken_are_not_downloaded_again_after_a_crash(landes) -> None:
    dpt = landes()
    dpt.app.drop.send("RSABEM-RSABAM", FILES)
    dpt.crash_at = 8  # both files are here and IN_PROGRESS is told
    with pytest.raises(Crash):
        await dpt.collect()
    dpt.app.advance(3 * DAY)  # HubEE has purged them since
    dpt.crash_at = 0
    await dpt.collect()
    assert dpt.read == [("RSABEM", RSABEM)]
    assert len(dpt.app.calls("attachment")) == 2


async def test_nothing_is_told_before_the_files_are_here(landes) -> None:
    dpt = landes("corps_coupe_toujours")
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    assert notices(await dpt.collect()) == [("retry", "answer-truncated")]
    assert dpt.app.drop.case(case).status == "HUBEE_NOTIFIED"
    assert dpt.app.drop.events(case) == []
    assert (dpt.files(), dpt.leftovers(), dpt.read) == ([], [], [])


async def test_the_same_folder_notified_twice_is_read_once(landes) -> None:
    dpt = landes("notification_double")
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    found = await dpt.collect()
    assert notices(found) == [("duplicate", "already-settled")]
    assert dpt.read == [("RSABEM", RSABEM)]
    assert statuses(dpt, case) == ["IN_PROGRESS", "DONE"]
    assert nothing_waits(dpt)


async def test_a_wrong_digest_then_the_right_one(landes) -> None:
    dpt = landes("empreinte_fausse_une_fois")
    dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": RSABEM})
    await dpt.collect()
    assert dpt.read == [("RSABEM", RSABEM)]
    assert len(dpt.app.calls("attachment")) == 2


async def test_a_digest_that_stays_wrong_is_tried_at_the_next_collection(landes) -> None:
    dpt = landes("empreinte_fausse")
    case = dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": RSABEM})
    assert notices(await dpt.collect()) == [("retry", "digest-mismatch")]
    assert dpt.app.drop.case(case).status == "HUBEE_NOTIFIED"
    dpt.app.faults.clear()
    await dpt.collect()
    assert dpt.read == [("RSABEM", RSABEM)]


@pytest.mark.parametrize(("scenario", "verified"), [("empreinte_absente", False), ("empreinte_rfc3230", True)])
async def test_forms_of_the_digest(landes, scenario: str, verified: bool) -> None:
    dpt = landes(scenario)
    dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": RSABEM})
    [arrival] = await dpt.collect()
    assert [piece.verified for piece in arrival.pieces] == [verified]
    assert dpt.read == [("RSABEM", RSABEM)]


async def test_a_file_cut_in_the_middle_is_begun_again(landes) -> None:
    dpt = landes("corps_coupe")
    dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": RSABEM})
    await dpt.collect()
    assert dpt.read == [("RSABEM", RSABEM)]
    assert dpt.leftovers() == []


async def test_a_corrupted_list_of_anomalies_does_not_stop_the_good_file(landes) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": RSABEM, "RSABAM": b"<Racine>" + CORRUPTED + b"</Racine>"})
    [arrival] = await dpt.collect()
    assert arrival.missing == (("RSABAM", "corrupted"),)
    assert dpt.read == [("RSABEM", RSABEM)]
    assert statuses(dpt, case) == ["IN_PROGRESS", "DONE"]
    assert [one.message for one in dpt.app.drop.hear()] == ["", "RSABAM: corrupted"]


async def test_a_corrupted_main_file_is_told_without_pretending_to_work_on_it(landes) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": b"<Racine>" + CORRUPTED + b"</Racine>", "RSABAM": RSABAM})
    await dpt.collect()
    assert dpt.app.drop.case(case).status == "SI_INTG_ERROR"
    assert statuses(dpt, case) == ["SI_INTG_ERROR"]
    assert dpt.app.drop.hear()[0].message == "RSABEM: corrupted"
    assert nothing_waits(dpt)


async def test_two_demarches_and_the_access_of_one_is_withdrawn(landes) -> None:
    dpt = landes(None, "RSABEM-RSABAM", "MSABEM")
    revoked = dpt.app.fail("status", "token", None, status=401, process="RSABEM-RSABAM")
    lost, kept = dpt.app.drop.send("RSABEM-RSABAM", FILES), dpt.app.drop.send("MSABEM", {"MSABEM": RSABEM})
    assert notices(await dpt.collect()) == [("refused", "access-refused")]
    assert dpt.read == [("MSABEM", RSABEM)]
    assert (dpt.app.drop.case(lost).status, dpt.app.drop.case(kept).status) == ("HUBEE_NOTIFIED", "DONE")
    revoked.times = 0
    await dpt.collect()
    assert dpt.app.drop.case(lost).status == "DONE"


async def test_a_refused_file_is_replaced_by_its_sender_in_the_same_case(landes) -> None:
    dpt = landes()
    dpt.refuse = {RSABEM: "truncated"}
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    await dpt.collect()
    assert dpt.app.drop.case(case).status == "REFUSED"
    assert [one.message for one in dpt.app.drop.hear() if one.status == "REFUSED"] == ["RSABEM: truncated"]
    assert dpt.app.drop.case(case).status == "CLOSED"

    corrected = b"<Racine>corrige</Racine>"
    dpt.app.drop.resend(case, {"RSABEM": corrected})
    await dpt.collect()
    assert dpt.read == [("RSABEM", corrected)]
    assert dpt.app.drop.case(case).status == "DONE"
    assert statuses(dpt, case) == ["IN_PROGRESS", "REFUSED", "IN_PROGRESS", "DONE"]
    assert [event.status for event in dpt.app.drop.events(case, "OSL")] == ["RECEIVED"]
    assert nothing_waits(dpt)


async def test_a_crash_at_any_step_of_a_corrected_file(landes) -> None:
    for crash_at in range(1, 20):
        dpt = landes()
        dpt.folder = dpt.folder / str(crash_at)
        dpt.refuse = {RSABEM: "truncated"}
        case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
        await dpt.collect()
        dpt.app.drop.hear()
        dpt.app.drop.resend(case, {"RSABEM": b"<Racine>corrige</Racine>"})
        dpt.crash_at = crash_at
        try:
            await dpt.collect()
            break
        except Crash:
            dpt.crash_at = 0
        await dpt.collect()
        assert dpt.read == [("RSABEM", b"<Racine>corrige</Racine>")], crash_at
        assert statuses(dpt, case) == ["IN_PROGRESS", "REFUSED", "IN_PROGRESS", "DONE"], crash_at
        assert nothing_waits(dpt)
    assert crash_at > 10


async def test_a_case_reopened_without_a_new_file_is_taken_anew(landes) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": RSABEM})
    await dpt.collect()
    dpt.app.drop.hear()
    hub, (folder, held) = dpt.app.hub, dpt.app.hub.cases[case]
    hub.patch_case(hub.accounts["osl-rsabem-rsabam"], case, {"status": "HUBEE_NOTIFIED"})
    hub.notify(folder, held, held.recipient)
    await dpt.collect()
    assert len(dpt.app.calls("attachment")) == 2
    assert statuses(dpt, case) == ["IN_PROGRESS", "DONE", "IN_PROGRESS", "DONE"]
    assert nothing_waits(dpt)


async def test_a_complement_sent_while_the_first_file_waits_for_a_human(landes) -> None:
    dpt = landes()
    dpt.held = {RSABEM}
    case = dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": RSABEM})
    await dpt.collect()
    assert (dpt.app.drop.case(case).status, dpt.files()) == ("IN_PROGRESS", [RSABEM])
    dpt.app.drop.resend(case, {"RSABEM": b"<Racine>corrige</Racine>"})
    await dpt.collect()
    assert dpt.read == [("RSABEM", b"<Racine>corrige</Racine>")]
    dpt.app.advance(30 * DAY)
    dpt.held.clear()  # the human decides: the first file may be read after all
    await dpt.collect()
    assert dpt.read == [("RSABEM", b"<Racine>corrige</Racine>"), ("RSABEM", RSABEM)]
    assert dpt.app.drop.case(case).status == "DONE"
    assert nothing_waits(dpt)
    assert dpt.files() == []


async def test_a_case_of_another_demarche_stays_where_it_is(landes) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    dpt.app.drop.folder(case).process = "MSABEM"  # HubEE forbids it to this access: 403
    assert notices(await dpt.collect()) == [("refused", "not-ours")]
    assert len(dpt.app.hub.notifications) == 1
    assert (dpt.read, dpt.app.drop.case(case).status) == ([], "HUBEE_NOTIFIED")


async def test_a_notification_for_another_organisation_than_its_case_is_left_untouched(landes, monkeypatch) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    (notification,) = dpt.app.hub.notifications.values()
    shown = type(notification).json
    monkeypatch.setattr(type(notification), "json", lambda self, details: shown(self, details) | {"recipient": VOISIN})
    assert notices(await dpt.collect()) == [("left", "not-ours")]
    assert (dpt.app.drop.case(case).status, dpt.app.calls("attachment")) == ("HUBEE_NOTIFIED", [])
    assert len(dpt.app.hub.notifications) == 1


async def test_an_unknown_process_code_is_left_untouched(landes, monkeypatch) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    shown = dpt.app.drop.folder(case).case_json
    monkeypatch.setattr(
        type(dpt.app.drop.folder(case)),
        "case_json",
        lambda *args, **more: shown(*args[1:], **more) | {"processCode": "X"},
    )
    assert notices(await dpt.collect()) == [("left", "process-unknown")]
    assert (dpt.app.drop.case(case).status, dpt.app.calls("attachment")) == ("HUBEE_NOTIFIED", [])
    assert len(dpt.app.hub.notifications) == 1


def test_sister_flows_have_no_access_to_configure(landes) -> None:
    dpt = landes()
    settings = dpt.app.credentials(BASE)
    left = {code for code in DEMARCHES if code not in TAKEN}
    assert left >= {"RSAFIM", "RSAFIX", "MSAFIM", "RSACTM", "GRO", "SGR", "DSG", "SNATED"}
    assert not {DEMARCHES[code].setting for code in left} & settings.keys()


async def test_the_file_of_a_neighbour_is_left_where_it_is(landes) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES, recipient=VOISIN)
    assert await dpt.collect() == []
    assert dpt.app.drop.case(case).status == "HUBEE_NOTIFIED"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/tmp/x", "C:\\temp\\x.xml", "a/b.xml", "con.xml", "a\u202eb.xml", "é" * 200 + "/.."]
)
async def test_an_attachment_name_with_path_characters_names_no_file(landes, name: str, tmp_path: Path) -> None:
    dpt = landes()
    dpt.app.drop.send("RSABEM-RSABAM", FILES, names={"RSABAM": name})
    await dpt.collect()
    written = {path.relative_to(dpt.folder).name for path in dpt.folder.rglob("*")}
    assert all(re.fullmatch(r"[0-9a-f]{64}\.fichier|hubee\.(db|lock)(-\w+)?", one) for one in written)
    assert os.listdir(tmp_path) == [dpt.folder.name]
    assert b"etc/passwd" not in b"".join(path.read_bytes() for path in dpt.folder.iterdir())


async def test_files_are_readable_by_the_gateway_alone(landes) -> None:
    dpt = landes()
    dpt.app.drop.send("RSABEM-RSABAM", FILES)
    await dpt.collect()
    assert dpt.folder.stat().st_mode & 0o077 == 0
    assert [path.stat().st_mode & 0o077 for path in dpt.folder.glob("*.fichier")] == [0]


async def test_a_file_purged_before_it_was_downloaded(landes) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    dpt.app.drop.attachment(case, "RSABEM").status = "DELETED"
    await dpt.collect()
    assert dpt.read == []
    assert statuses(dpt, case) == ["SI_INTG_ERROR"]
    assert dpt.app.drop.hear()[0].message == "RSABEM: purged"
    assert nothing_waits(dpt)


async def test_a_file_purged_between_its_listing_and_its_download(landes) -> None:
    dpt = landes()
    dpt.app.fail("status", "attachment", status=404)
    case = dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": RSABEM})
    await dpt.collect()
    assert statuses(dpt, case) == ["SI_INTG_ERROR"]


@pytest.mark.parametrize("call", ["attachment", "case_patch", "event_create", "notification_delete", "notifications"])
async def test_a_token_that_expires_during_a_long_download(landes, call: str) -> None:
    dpt = landes()
    dpt.app.fail("expired", call)
    case = dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": RSABEM})
    await dpt.collect()
    assert dpt.read == [("RSABEM", RSABEM)]
    assert statuses(dpt, case) == ["IN_PROGRESS", "DONE"]
    assert len(dpt.app.calls("token")) == 2


async def test_one_token_serves_a_whole_collection_and_is_renewed_before_its_end(landes, clock) -> None:
    dpt = landes()
    for number in range(3):
        dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": b"<Racine>%d</Racine>" % number})
    await dpt.collect()
    assert len(dpt.app.calls("token")) == 1


@pytest.mark.parametrize(
    "scenario",
    sorted(SCENARIOS.keys() - {"muet", "panne_durable", "indisponible", "demarche_revoquee"}),
)
async def test_after_any_passing_failure_the_folder_is_read_and_told_once(landes, scenario: str) -> None:
    dpt = landes(scenario)
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    await dpt.collect()
    for fault in dpt.app.faults:
        fault.times = 0
    await dpt.collect()
    assert dpt.read == [("RSABEM", RSABEM)]
    assert dpt.app.drop.case(case).status == "DONE"
    assert statuses(dpt, case) == ["IN_PROGRESS", "DONE"]
    assert nothing_waits(dpt)
    assert dpt.leftovers() == []


@pytest.mark.parametrize(
    ("scenario", "code", "delay"),
    [
        ("panne_durable", "http-500", 3600.0),
        ("indisponible", "http-503", None),
        ("quota", "quota", 30.0),
        ("quota_sans_delai", "quota", 300.0),
    ],
)
async def test_hubee_asks_to_come_back_later(landes, scenario: str, code: str, delay: float | None) -> None:
    dpt = landes(scenario)
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    [notice] = await dpt.collect()
    assert (notice.status, notice.code, notice.retry_after) == ("retry", code, delay)
    assert dpt.app.drop.case(case).status == "HUBEE_NOTIFIED"


async def test_a_quota_during_the_collection_stops_all_calls_for_its_time(landes) -> None:
    dpt = landes()
    for number in range(4):
        dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": b"<Racine>%d</Racine>" % number})
    dpt.app.fail("status", "case", status=429)
    assert notices(await dpt.collect()) == [("retry", "quota"), *[("retry", "paused")] * 3]
    assert len(dpt.app.calls("case")) == 1
    await dpt.collect()
    assert len(dpt.read) == 4


async def test_a_notification_nobody_can_read_does_not_hide_the_others(landes, monkeypatch) -> None:
    dpt = landes()
    for number in range(3):
        dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": b"<Racine>%d</Racine>" % number})
    real, broken = dpt.app.hub.waiting, {"id": "../../folders", "caseId": None}

    class Broken:
        def json(self, details: bool):
            return broken

    monkeypatch.setattr(dpt.app.hub, "waiting", lambda *args: [Broken(), *real(*args)])
    found = await dpt.collect()
    assert notices(found) == [("retry", "answer-unexpected")]
    assert len(dpt.read) == 3


async def test_hubee_says_nothing_at_all(landes) -> None:
    dpt = landes("muet", limits=Limits(backoff=0.0, deadline=0.1))
    dpt.app.drop.send("RSABEM-RSABAM", FILES)
    assert notices(await dpt.collect()) == [("retry", "deadline")]


async def test_the_notification_comes_before_its_case(landes) -> None:
    dpt = landes("dossier_pas_encore_lisible")
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    assert notices(await dpt.collect()) == [("waiting", "not-readable-yet")]
    await dpt.collect()
    assert dpt.app.drop.case(case).status == "DONE"


@pytest.mark.parametrize("early", ["HUBEE_RECEIVED", "HUBEE_COMPLETED"])
async def test_the_notification_comes_before_its_case_is_handed_over(landes, early: str) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    dpt.app.drop.case(case).status = early
    assert notices(await dpt.collect()) == [("waiting", "not-readable-yet")]
    dpt.app.drop.case(case).status = "HUBEE_NOTIFIED"
    await dpt.collect()
    assert statuses(dpt, case) == ["IN_PROGRESS", "DONE"]


async def test_a_list_that_is_null_is_an_empty_one(landes, monkeypatch) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    real = objets.Event.json
    monkeypatch.setattr(objets.Event, "json", lambda *of: {k: v or None for k, v in real(*of).items()})
    await dpt.collect()
    dpt.app.drop.write(case, "Merci de nous rappeler.")
    assert notices(await dpt.collect()) == [("message", "sending-message")]
    assert statuses(dpt, case)[:2] == ["IN_PROGRESS", "DONE"]
    assert nothing_waits(dpt)


async def test_a_message_of_the_sender_is_handed_over_and_acknowledged(landes) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    await dpt.collect()
    event = dpt.app.drop.write(case, "Merci de nous rappeler.")
    [notice] = await dpt.collect()
    assert (notice.status, notice.code, notice.message) == ("message", "sending-message", "Merci de nous rappeler.")
    assert "rappeler" not in repr(notice)
    assert [one.status for one in dpt.app.drop.events(case, "OSL") if one.id == event] == ["RECEIVED"]
    assert nothing_waits(dpt)


async def test_a_process_that_forbids_words_still_hears_the_status(landes) -> None:
    dpt = landes()
    dpt.refuse = {RSABEM: "not-ours"}
    dpt.app.hub.processes["RSABEM-RSABAM"].messages = False
    case = dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": RSABEM})
    await dpt.collect()
    assert statuses(dpt, case) == ["IN_PROGRESS", "REFUSED"]
    assert [one.message for one in dpt.app.drop.hear()] == ["", ""]


async def test_an_attachment_of_unknown_type_is_kept_and_its_words_never_repeated(landes) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", {"RSABEM": RSABEM, "Jean Dupont": CORRUPTED, "AUTRE": RSABAM})
    await dpt.collect()
    assert dpt.read == [("RSABEM", RSABEM)]
    assert dpt.files() == [RSABAM]
    assert "Dupont" not in dpt.app.drop.hear()[-1].message
    assert dpt.app.drop.case(case).status == "CLOSED"


async def test_a_case_already_finished_on_the_portal_is_read_all_the_same(landes) -> None:
    dpt = landes()
    case = dpt.app.drop.send("RSABEM-RSABAM", FILES)
    for status in ("IN_PROGRESS", "DONE"):
        dpt.app.hub.patch_case(dpt.app.hub.accounts["si-rsabem-rsabam"], case, {"status": status})
    await dpt.collect()
    assert dpt.read == [("RSABEM", RSABEM)]
    assert nothing_waits(dpt)


def test_two_collections_never_share_a_folder(tmp_path: Path) -> None:
    first, second = Registre(tmp_path), Registre(tmp_path)
    with first.alone(), pytest.raises(AlreadyCollecting), second.alone():
        pass
    with second.alone():
        pass
    first.close()
    second.close()


async def test_without_settings_nothing_is_called(landes: Callable[..., Landes], tmp_path: Path) -> None:
    from connectors.hubee.connector import create
    from connectors.transport import Transport

    hubee = create({})
    with hubee.open_registre(tmp_path) as registre, pytest.raises(Stopped, match="not-configured"):
        hubee.reception(Transport("hubee", [], limits=QUICK), registre)
