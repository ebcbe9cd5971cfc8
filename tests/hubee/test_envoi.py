"""A Département that sends through HubEE itself, and hears what its receivers answer."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from connectors.hubee.client import Stopped
from connectors.hubee.connector import Hubee
from connectors.hubee.demarches import DEMARCHES
from connectors.hubee.envoi import Answered, Attached, Emission, Receiver
from connectors.hubee.registre import Registre
from connectors.hubee.sandbox import CORRUPTED, LANDES, VOISIN, Sandbox, sandbox
from connectors.transport import Transport
from tests.hubee.conftest import BASE, QUICK, Clock, Landes

CODE = "RSABEM-RSABAM"
DEMARCHE = DEMARCHES[CODE]
FILE = Attached("RSABEM", "RSABEM.xml", b"<Racine>envoi</Racine>")
TO_LANDES = Receiver(LANDES["companyRegister"], LANDES["branchCode"])
TO_VOISIN = Receiver(VOISIN["companyRegister"], VOISIN["branchCode"])


class Sender:
    def __init__(self, app: Sandbox, folder: Path) -> None:
        self.app, self.folder = app, folder
        self.registre = Registre(folder)

    def start(self) -> Emission:
        """A process that starts anew."""
        settings = self.app.credentials(BASE, CODE) | {
            "emission_demarche": CODE,
            "emission_acces": "osl-rsabem-rsabam:secret-osl-rsabem-rsabam",
            "emission_code": "CNAF",
        }
        transport = Transport("hubee", [BASE], limits=QUICK, wire=httpx.ASGITransport(self.app))
        return Hubee(settings, self.app.now).emission(transport, self.registre)


async def heard(one: Sender) -> list[Answered]:
    return [answer async for answer in one.start().follow(DEMARCHE)]


@pytest.fixture
def sender(tmp_path: Path, clock: Clock):
    opened = []

    def build(scenario: str | None = None) -> Sender:
        opened.append(Sender(sandbox(scenario, now=clock), tmp_path / "emission"))
        return opened[-1]

    yield build
    for one in opened:
        assert one.app.unmatched == []
        one.registre.close()


async def test_who_may_receive(sender) -> None:
    one = sender()
    assert set(await one.start().receivers(DEMARCHE)) == {TO_LANDES, TO_VOISIN}
    one.app.hub.subscriptions[0].access = "PORTAIL"
    found = [s for s in one.app.hub.subscriptions if s.process == CODE]
    found[0].status = "Suspendu"
    assert await one.start().receivers(DEMARCHE) == [TO_VOISIN]


async def test_a_folder_is_sent_collected_answered_and_closed(sender, tmp_path, clock) -> None:
    one = sender()
    folder = await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES])
    assert one.app.hub.folders[folder].status == "HUBEE_NOTIFIED"

    landes = Landes(one.app, tmp_path / "landes", clock, (CODE,))
    await landes.collect()
    assert landes.read == [("RSABEM", FILE.content)]

    said = await heard(one)
    assert [answer.word for answer in said] in (["IN_PROGRESS", "DONE"], ["DONE", "IN_PROGRESS"])
    assert one.app.hub.folders[folder].cases[0].status == "CLOSED"
    assert one.app.hub.folders[folder].status == "CLOSED"
    assert await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES]) == folder
    assert one.registre.sending("envoi-1") == (folder, "clos")
    assert one.app.hub.notifications == {}
    assert await heard(one) == []


async def test_a_sending_asked_twice_is_sent_once(sender) -> None:
    one = sender()
    first = await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES])
    assert await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES]) == first
    assert len(one.app.hub.folders) == len(one.app.hub.notifications) == 1


async def test_a_sending_that_was_closed_then_archived_is_not_sent_again(sender, tmp_path, clock) -> None:
    one = sender()
    folder = await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES])
    await Landes(one.app, tmp_path / "landes", clock, (CODE,)).collect()
    await heard(one)
    del one.app.hub.folders[folder]
    assert await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES]) == folder
    assert one.app.hub.folders == {}


async def test_two_files_of_one_type_each_have_their_bytes(sender) -> None:
    one = sender()
    files = [FILE, Attached("RSABEM", "suite.xml", b"<Racine>suite de l'envoi</Racine>")]
    folder = await one.start().send("envoi-1", DEMARCHE, files, [TO_LANDES])
    assert [file.content for file in one.app.hub.folders[folder].attachments] == [file.content for file in files]


@pytest.mark.parametrize("call", ["folder_create", "folder_upload", "folder_patch"])
@pytest.mark.parametrize("kind", ["cut_before", "cut_after"])
async def test_a_connection_closed_leaves_one_folder_notified(sender, kind: str, call: str) -> None:
    one = sender()
    one.app.fail(kind, call)
    folder = await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES])
    assert [n.case.status for n in one.app.hub.notifications.values()] == ["HUBEE_NOTIFIED"]
    others = [f for f in one.app.hub.folders.values() if f.id != folder]
    assert [(f.status, f.attachments[0].status) for f in others] in ([], [("HUBEE_RECEIVED", "PENDING")])


@pytest.mark.parametrize("call", ["folder_upload", "folder_patch", "folder"])
async def test_a_failure_half_way_is_taken_up_where_it_stopped(sender, call: str) -> None:
    one = sender()
    fault = one.app.fail("status", call, None, status=500)
    with pytest.raises(Stopped, match="http-500"):
        await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES])
    fault.times = 0
    await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES])
    assert len(one.app.hub.folders) == len(one.app.hub.notifications) == 1


async def test_a_receiver_without_subscription_is_refused_before_anything_is_sent(sender) -> None:
    one = sender()
    for subscription in one.app.hub.subscriptions:
        subscription.status = "Inactif"
    with pytest.raises(Stopped, match="refused: http-400"):
        await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES])
    assert one.app.hub.folders == {}


async def test_a_corrupted_file_gives_the_folder_up(sender) -> None:
    one = sender()
    with pytest.raises(Stopped, match="corrupted"):
        await one.start().send("envoi-1", DEMARCHE, [Attached("RSABEM", "RSABEM.xml", b"<" + CORRUPTED)], [TO_LANDES])
    assert one.app.hub.folders == {}
    await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES])
    assert len(one.app.hub.notifications) == 1


async def test_a_refused_file_is_corrected_in_the_same_case(sender, tmp_path, clock) -> None:
    one = sender()
    folder = await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES])
    case = one.app.hub.folders[folder].cases[0].id
    landes = Landes(one.app, tmp_path / "landes", clock, (CODE,), refuse={FILE.content: "truncated"})
    await landes.collect()
    refusal = [answer for answer in await heard(one) if answer.word == "REFUSED"]
    assert [answer.message for answer in refusal] == ["RSABEM: truncated"]

    corrected = Attached("RSABEM", "RSABEM.xml", b"<Racine>corrige</Racine>")
    await one.start().resend(DEMARCHE, folder, case, [corrected])
    await landes.collect()
    assert landes.read == [("RSABEM", corrected.content)]
    await heard(one)
    assert one.app.hub.folders[folder].cases[0].status == "CLOSED"


@pytest.mark.parametrize("call", ["event_patch", "case_patch", "event_create", "notification_delete"])
async def test_an_answer_is_told_before_hubee_hears_that_it_was_received(sender, tmp_path, clock, call: str) -> None:
    one = sender()
    folder = await one.start().send("envoi-1", DEMARCHE, [FILE], [TO_LANDES])
    await Landes(one.app, tmp_path / "landes", clock, (CODE,)).collect()
    fault = one.app.fail("status", call, None, status=500)
    told: list[str] = []

    async def keep() -> None:
        async for answer in one.start().follow(DEMARCHE):
            told.append(answer.word)

    with pytest.raises(Stopped, match="http-500"):
        await keep()
    fault.times = 0
    told += [answer.word for answer in await heard(one)]
    assert {"IN_PROGRESS", "DONE"} <= set(told)
    assert one.app.hub.folders[folder].status == "CLOSED"


async def test_the_longest_process_name_still_makes_a_number(sender) -> None:
    one = sender()
    demarche = DEMARCHES["ContactsAllocataires-BRSA"]
    app = one.app
    settings = app.credentials(BASE, demarche.code) | {
        "emission_demarche": demarche.code,
        "emission_acces": "osl-contactsallocataires-brsa:secret-osl-contactsallocataires-brsa",
        "emission_code": "CNAFX",
    }
    transport = Transport("hubee", [BASE], limits=QUICK, wire=httpx.ASGITransport(app))
    emission = Hubee(settings, app.now).emission(transport, one.registre)
    contacts = Attached("coordonnees-allocataire.txt", "coordonnees-allocataire.txt", b"a;b\n", "text/plain")
    folder = await emission.send("envoi-1", demarche, [contacts], [TO_LANDES])
    assert len(app.hub.folders[folder].external_id) <= 30
