"""Sending through HubEE as an online-service operator does: a folder, its files, then the answers of the receivers.

A folder whose creation got no answer is created again: the first one, if it exists, holds no bytes and is notified to
nobody. Everything after is read again before it is sent again.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.hubee import digest
from connectors.hubee.boite import Boite
from connectors.hubee.client import FOLDERS, REFERENTIAL, TRANSFER, Client, Stopped
from connectors.hubee.demarches import Demarche
from connectors.hubee.modele import Event, Folder, Notification, read
from connectors.hubee.registre import Registre

_ATTEMPTS = 3
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Attached:
    """One file to send. `type` is the démarche's own word for it."""

    type: str
    name: str
    content: bytes = field(repr=False)
    mime: str = "application/xml"


@dataclass(frozen=True, slots=True)
class Receiver:
    """`SI-<SIRET>-<branch code>`."""

    siret: str
    branch: str

    @property
    def organisation(self) -> dict[str, str]:
        return {"type": "SI", "companyRegister": self.siret, "branchCode": self.branch}


@dataclass(frozen=True, slots=True)
class Answered:
    """What a receiver said of a case: `DONE`, `REFUSED`, another status, or the type of its event."""

    case: str
    word: str
    message: str = field(default="", repr=False)


class Emission:
    """The sender's side of one organisation. `code` is its code among senders (5 characters at most)."""

    def __init__(self, client: Client, registre: Registre, code: str) -> None:
        self.client, self.registre, self._code, self._box = client, registre, code[:5], Boite(client)

    async def receivers(self, demarche: Demarche) -> list[Receiver]:
        """Who takes this démarche through the API: its active subscriptions. Raises `Stopped`."""
        found: list[Receiver] = []
        first = 0
        while True:
            asked = {"processCode": demarche.code, "status": "Actif", "offSet": str(first), "maxResult": str(_PAGE)}
            page = await self.client.json(demarche, "GET", f"{REFERENTIAL}/subscriptions", params=asked)
            for one in page if isinstance(page, list) else []:
                if one.get("accessMode") == "API" and one.get("processCode") == demarche.code:
                    subscriber = one["subscriber"]
                    found.append(Receiver(subscriber["companyRegister"], subscriber["branchCode"]))
            first += _PAGE
            if not page or len(page) < _PAGE:
                return found

    async def send(self, id: str, demarche: Demarche, files: Sequence[Attached], receivers: Sequence[Receiver]) -> str:
        """Send once under this id, whatever happens between two calls; the folder's id. Raises `Stopped`.

        `refused` (`http-400`): a receiver has no active subscription, or HubEE does not accept the files;
        `corrupted`: its antivirus refused one, and the folder was given up.
        """
        folder, state = self.registre.sending(id)
        if state in {"notifie", "clos"}:
            return folder
        if not folder:
            folder = await self._create(demarche, files, receivers)
            self.registre.sent(id, demarche.code, folder, "cree")
        for _ in range(_ATTEMPTS):
            try:
                await self._fill(demarche, folder, files)
                self.registre.sent(id, demarche.code, folder, "notifie")
                return folder
            except Stopped as stopped:
                if stopped.code in {"corrupted", "not-found"}:
                    self.registre.sent(id, demarche.code, "", "abandonne")  # asked again, it begins a new folder
                if stopped.outcome != "unknown":
                    raise
        raise Stopped("retry", "outcome-unknown")

    async def _create(self, demarche: Demarche, files: Sequence[Attached], receivers: Sequence[Receiver]) -> str:
        half = demarche.code.split("-")[0][: 30 - len(self._code) - 15]
        number = f"{self._code}-{half}-{secrets.randbelow(10**13):013d}"
        cases = [f"{number}-{rank:02d}" for rank in range(1, len(receivers) + 1)]
        told = {
            "externalId": number,
            "processCode": demarche.code,
            "applicant": {"firstName": self._code, "lastName": self._code},
            "cases": [
                {"externalId": case, "recipient": receiver.organisation}
                for case, receiver in zip(cases, receivers, strict=True)
            ],
            "attachments": [_metadata(one) | {"recipients": cases} for one in files],
        }
        for _ in range(_ATTEMPTS):
            try:
                return read(Folder, await self.client.json(demarche, "POST", f"{FOLDERS}/folders", json=told)).id
            except Stopped as stopped:
                if stopped.outcome != "unknown":
                    raise
        raise Stopped("retry", "outcome-unknown")

    async def _fill(self, demarche: Demarche, id: str, files: Sequence[Attached]) -> None:
        """Bring a created folder to its receivers, from wherever it is."""
        path, contents = f"{FOLDERS}/folders/{id}", {(one.type, len(one.content)): one.content for one in files}
        folder = await self._folder(demarche, id)
        for one in folder.attachments:
            if one.status in {"PENDING", "REJECTED"}:
                await self._upload(demarche, f"{path}/attachments/{one.id}", contents[one.type, one.size])
        folder = await self._folder(demarche, id)
        if any(one.status == "CORRUPTED" for one in folder.attachments):
            await self.give_up(demarche, id)
            raise Stopped("refused", "corrupted")
        if folder.global_status == "HUBEE_RECEIVED":
            await self.client.call(demarche, "PATCH", path, json={"globalStatus": "HUBEE_COMPLETED"})

    async def _upload(self, demarche: Demarche, path: str, content: bytes) -> None:
        headers = {"digest": digest.sha256(content), "Content-Type": "application/octet-stream"}
        await self.client.call(demarche, "PUT", path, content=content, headers=headers, deadline=TRANSFER)

    async def _folder(self, demarche: Demarche, id: str) -> Folder:
        return read(Folder, await self.client.json(demarche, "GET", f"{FOLDERS}/folders/{id}"))

    async def give_up(self, demarche: Demarche, folder: str) -> None:
        """Delete a folder that was not completed. Raises `Stopped`."""
        await self.client.call(demarche, "DELETE", f"{FOLDERS}/folders/{folder}")

    async def resend(self, demarche: Demarche, folder: str, case: str, files: Sequence[Attached]) -> str:
        """Reopen a case with corrected files; the id of the deposit. Raises `Stopped`."""
        path = f"{FOLDERS}/cases/{case}"
        told = {
            "actionType": "ATTACH_DEPOSIT",
            "author": self._code,
            "notification": True,
            "attachments": [_metadata(one) for one in files],
        }
        event = read(Event, await self.client.json(demarche, "POST", f"{path}/events", json=told))
        for attached, one in zip(event.attachments, files, strict=True):
            await self._upload(demarche, f"{path}/events/{event.id}/attachments/{attached.id}", one.content)
        await self.client.call(demarche, "PATCH", path, json={"status": "HUBEE_NOTIFIED"})
        await self.client.call(demarche, "PATCH", f"{path}/events/{event.id}", json={"status": "SENT"})
        await self.client.call(
            demarche, "PATCH", f"{FOLDERS}/folders/{folder}", json={"globalStatus": "HUBEE_NOTIFIED"}
        )
        return event.id

    async def follow(self, demarche: Demarche) -> AsyncIterator[Answered]:
        """What the receivers said since; cases that are done or refused are closed, then their folder.

        Each answer is given before HubEE hears that it was received, and is settled when the next one is asked for:
        what is kept before that is never lost. Raises `Stopped`: what was followed until then is done, the rest comes
        again.
        """
        async for notification in self._box.waiting(demarche):
            if notification.process_code == demarche.code and notification.event_id:
                event = await self._box.event(demarche, notification.case_id, notification.event_id)
                yield Answered(notification.case_id, event.case_new_status or event.action_type, event.message or "")
                await self._followed(demarche, notification, event)
        for folder, sending in self.registre.sendings(demarche.code).items():
            state = await self._folder(demarche, folder)
            if all(case.status == "CLOSED" for case in state.cases):
                if state.global_status != "CLOSED":
                    told = {"globalStatus": "CLOSED"}
                    await self.client.call(demarche, "PATCH", f"{FOLDERS}/folders/{folder}", json=told)
                self.registre.sent(sending, demarche.code, folder, "clos")

    async def _followed(self, demarche: Demarche, notification: Notification, event: Event) -> None:
        case, path = notification.case_id, f"{FOLDERS}/cases/{notification.case_id}"
        await self._box.acknowledge(demarche, case, event.id)
        status = await self._status(demarche, path)
        if status in {"DONE", "REFUSED"}:
            await self.client.call(demarche, "PATCH", path, json={"status": "CLOSED"})
            told: dict[str, Any] = {
                "actionType": "STATUS_UPDATE", "author": self._code, "notification": False,
                "caseCurrentStatus": status, "caseNewStatus": "CLOSED",
            }  # fmt: skip
            await self.client.call(demarche, "POST", f"{path}/events", json=told)
        await self._box.delete(demarche, notification.id)

    async def _status(self, demarche: Demarche, path: str) -> str:
        return str((await self.client.json(demarche, "GET", path, params={"lite": "true"}))["status"])


def _metadata(one: Attached) -> dict[str, Any]:
    return {"fileName": one.name, "type": one.type, "size": len(one.content), "mimeType": one.mime}
