"""The rules of the hub: who may touch what, which status follows which, when files are checked and purged."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from connectors.hubee.digest import sha256
from connectors.hubee.sandbox.objets import (
    CNAF,
    LANDES,
    VOISIN,
    Account,
    Attachment,
    Case,
    Event,
    Folder,
    Notification,
    Organisation,
    Process,
    Refusal,
    Subscription,
    name,
)
from connectors.hubee.statuts import ACTIONS, SI, SI_STATES, may_follow

CORRUPTED = b"FICHIER-INFECTE-DU-BAC-A-SABLE"
"""Bytes that contain this are CORRUPTED for the stand-in's antivirus."""
_CLOSABLE = SI_STATES
_REACHED = {
    "IN_PROGRESS": frozenset({"IN_PROGRESS", "ADD_AWAITING", "REFUSED", "DONE", "CLOSED", "ARCHIVED"}),
    "CLOSED": frozenset({"CLOSED", "ARCHIVED"}),
}
_TOLD = ("message", "comment", "notification", "caseCurrentStatus", "caseNewStatus", "partnerAttributes")


class Plateforme:
    """Everything the hub knows. `accounts` by client id; the organisations and subscriptions may be changed."""

    def __init__(self, processes: Iterable[str], now: Callable[[], datetime], seed: int = 1) -> None:
        self.now = now
        self.processes = {code: Process(code) for code in processes}
        self.organisations: list[Organisation] = [CNAF, LANDES, VOISIN]
        self.accounts: dict[str, Account] = {}
        self.folders: dict[str, Folder] = {}
        self.cases: dict[str, tuple[Folder, Case]] = {}
        self.notifications: dict[str, Notification] = {}
        self._random = Random(seed)
        self.subscriptions = [
            Subscription(self._id(), code, receiver) for code in self.processes for receiver in (LANDES, VOISIN)
        ]

    def _id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    # --- ownership ---------------------------------------------------------------------------------------------------

    def _folder(self, account: Account, id: str) -> Folder:
        folder = self.folders.get(id)
        if folder is None:
            raise Refusal(404, f"folder {id} not found")
        if account.process != folder.process or account.organisation != folder.transmitter:
            raise Refusal(403, "folder not accessible")
        return folder

    def case(self, account: Account, id: str) -> tuple[Folder, Case]:
        if id not in self.cases:
            raise Refusal(404, f"case {id} not found")
        folder, case = self.cases[id]
        if account.process != folder.process or account.organisation not in (case.recipient, folder.transmitter):
            raise Refusal(403, "case not accessible")
        return folder, case

    def event(self, account: Account, case_id: str, id: str) -> tuple[Folder, Case, Event]:
        folder, case = self.case(account, case_id)
        event = next((one for one in case.events if one.id == id), None)
        if event is None or (event.status == "IN_PROGRESS" and event.transmitter != account.organisation):
            raise Refusal(404, f"event {id} not found")
        return folder, case, event

    # --- folders (sender) --------------------------------------------------------------------------------------------

    def create_folder(self, account: Account, told: dict[str, Any], partner: dict[str, str]) -> Folder:
        if account.role != "OSL" or told.get("processCode") != account.process:
            raise Refusal(403, "process not accessible")
        process, cases = self.processes[account.process], told.get("cases") or []
        wrong = [] if 0 < len(str(told.get("externalId") or "")) <= 30 else ["externalId is required, 30 at most"]
        wrong += [] if cases else ["cases: at least one"]
        wrong += [] if told.get("attachments") else ["attachments: at least one"]
        wrong += [] if {"firstName", "lastName"} <= (told.get("applicant") or {}).keys() else ["applicant is required"]
        for case in cases:
            wrong += self._subscribed(case.get("recipient") or {}, process.code)
        attachments = [self._attachment(one, process, wrong) for one in told.get("attachments") or []]
        known = {str(case.get("externalId")) for case in cases}
        wrong += [f"{one.type}: unknown recipients" for one in attachments if not set(one.recipients) <= known]
        if wrong:
            raise Refusal(400, *wrong)
        made = [Case(self._id(), str(case["externalId"]), case["recipient"]) for case in cases]
        folder = Folder(
            self._id(), told["externalId"], process.code, account.organisation, told["applicant"], made, attachments,
            self.now(), partner,
        )  # fmt: skip
        self.folders[folder.id] = folder
        self.cases |= {case.id: (folder, case) for case in made}
        return folder

    def _subscribed(self, organisation: Organisation, process: str) -> list[str]:
        parts = {"type", "companyRegister", "branchCode"}
        if not parts <= organisation.keys() or organisation not in self.organisations:
            shown = name(organisation) if parts <= organisation.keys() else "recipient"
            return [f"{shown} does not exist"]
        active = any(
            one.status == "Actif" and one.process == process and one.subscriber == organisation
            for one in self.subscriptions
        )
        return [] if active else [f"{name(organisation)} does not suscribed to {process}"]

    def _attachment(self, told: dict[str, Any], process: Process, wrong: list[str]) -> Attachment:
        size, mime = told.get("size"), told.get("mimeType")
        kind, file_name = str(told.get("type") or ""), str(told.get("fileName") or "")
        if not 0 < len(kind) <= 100 or not 0 < len(file_name) <= 255:
            wrong.append("attachment: type (100) and fileName (255) are required")
        if not isinstance(size, int) or not 0 < size <= process.max_size:
            wrong.append(f"{kind}: size must be between 1 and {process.max_size}")
        if mime not in process.formats:
            wrong.append(f"{kind}: mimeType not allowed")
        recipients = tuple(map(str, told.get("recipients") or ()))
        return Attachment(self._id(), file_name, kind, size if isinstance(size, int) else 0, str(mime), recipients)

    def patch_folder(self, account: Account, id: str, told: dict[str, Any]) -> None:
        folder, status = self._folder(account, id), told.get("globalStatus")
        if status == "HUBEE_COMPLETED":
            if folder.status != "HUBEE_RECEIVED":
                raise Refusal(400, f"HUBEE_COMPLETED not allowed from {folder.status}")
            if any(one.status == "PENDING" for one in folder.attachments):
                raise Refusal(400, "attachments are not all sent")
            for case in folder.cases:
                case.status, case.transmitted = "HUBEE_NOTIFIED", self.now()
                self.notify(folder, case, case.recipient)
            folder.status = "HUBEE_NOTIFIED"
        elif status in {"HUBEE_NOTIFIED", "CLOSED"}:
            folder.status = status
            folder.closed = self.now() if status == "CLOSED" else None
        else:
            raise Refusal(400, "globalStatus not allowed")

    def delete_folder(self, account: Account, id: str) -> None:
        folder = self._folder(account, id)
        if folder.status != "HUBEE_RECEIVED" or any(case.events for case in folder.cases):
            raise Refusal(400, f"folder cannot be deleted from {folder.status}")
        del self.folders[id]
        for case in folder.cases:
            del self.cases[case.id]

    def get_folder(self, account: Account, id: str) -> dict[str, Any]:
        return self._folder(account, id).json(account.organisation)

    def upload(self, account: Account, folder_id: str, id: str, content: bytes, digest: str) -> None:
        self._receive(self._one(self._folder(account, folder_id).attachments, id), content, digest)

    @staticmethod
    def _one(attachments: list[Attachment], id: str) -> Attachment:
        found = next((one for one in attachments if one.id == id), None)
        if found is None:
            raise Refusal(404, f"attachment {id} not found")
        return found

    @staticmethod
    def _receive(attachment: Attachment, content: bytes, digest: str) -> None:
        """Size, type, antivirus. A file refused may be sent again; one kept may not be replaced."""
        if not content:
            raise Refusal(500, "body is missing")
        if attachment.status not in {"PENDING", "REJECTED"}:
            raise Refusal(400, f"attachment is already {attachment.status}")
        start = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
        looks = {
            "application/xml": start[:1] == b"<",
            "text/xml": start[:1] == b"<",
            "application/zip": start[:2] == b"PK",
        }
        wrong = [] if len(content) == attachment.size else ["size does not match"]
        wrong += [] if looks.get(attachment.mime_type, b"\x00" not in start) else ["mimeType does not match"]
        wrong += [] if not digest or digest == sha256(content) else ["digest does not match"]
        if wrong:
            attachment.status = "REJECTED"
            raise Refusal(400, *wrong)
        attachment.status = "CORRUPTED" if CORRUPTED in content else "RECEIVED"
        attachment.content = content if attachment.status == "RECEIVED" else b""

    # --- cases and events (both sides) -------------------------------------------------------------------------------

    def patch_case(self, account: Account, id: str, told: dict[str, Any]) -> None:
        folder, case = self.case(account, id)
        self._set(account, folder, case, str(told.get("status")))

    def _set(self, account: Account, folder: Folder, case: Case, status: str) -> None:
        if account.role == "SI":
            allowed = status in SI and may_follow(status, case.status)
        else:
            allowed = status == "HUBEE_NOTIFIED" or (status == "CLOSED" and case.status in _CLOSABLE)
        if not allowed:
            raise Refusal(400, f"{status} not allowed from {case.status}")
        case.status = status
        if status not in _REACHED[self.processes[folder.process].status_before_deletion]:
            case.reached = None
        elif case.reached is None:
            case.reached = self.now()

    def download(self, account: Account, case_id: str, id: str, event_id: str = "") -> Attachment:
        folder, case = self.case(account, case_id)
        if event_id:
            attachment = self._one(self.event(account, case_id, event_id)[2].attachments, id)
        else:
            attachment = self._one(folder.attachments, id)
            if case.external_id not in attachment.recipients:
                raise Refusal(403, "attachment not accessible")
        if attachment.status != "RECEIVED":
            raise Refusal(404, f"attachment is {attachment.status}")
        return attachment

    def create_event(self, account: Account, case_id: str, told: dict[str, Any], partner: dict[str, str]) -> Event:
        folder, case = self.case(account, case_id)
        process, action, attached = (
            self.processes[folder.process],
            told.get("actionType"),
            told.get("attachments") or [],
        )
        wrong = [] if action in ACTIONS else ["actionType unknown"]
        wrong += ["ATTACH_DEPOSIT needs attachments"] if action == "ATTACH_DEPOSIT" and not attached else []
        wrong += ["attachments only with ATTACH_DEPOSIT"] if action != "ATTACH_DEPOSIT" and attached else []
        wrong += [f"{field}: 1000 at most" for field in ("message", "comment") if len(told.get(field) or "") > 1000]
        wrong += ["partnerAttributes: 1024 at most"] if len(told.get("partnerAttributes") or "") > 1024 else []
        if account.role == "SI" and not process.messages and told.get("message"):
            wrong.append("messages to the sender are not allowed by the process")
        made = [self._attachment(one, process, wrong) for one in attached]
        if wrong:
            raise Refusal(400, *wrong)
        if (status := told.get("caseNewStatus")) and status != case.status:
            self._set(account, folder, case, str(status))
        kept = {field: told[field] for field in _TOLD if told.get(field) is not None}
        state = "IN_PROGRESS" if action == "ATTACH_DEPOSIT" else "SENT"
        author = str(told.get("author") or name(account.organisation))
        event = Event(self._id(), str(action), author, account.organisation, state, self.now(), kept, made, partner)
        case.events.append(event)
        if state == "SENT":
            self._announce(folder, case, event)
        return event

    def _announce(self, folder: Folder, case: Case, event: Event) -> None:
        if event.told.get("notification", True):
            other = folder.transmitter if event.transmitter == case.recipient else case.recipient
            self.notify(folder, case, other, event)

    def patch_event(self, account: Account, case_id: str, id: str, told: dict[str, Any]) -> None:
        folder, case, event = self.event(account, case_id, id)
        mine, status = event.transmitter == account.organisation, told.get("status")
        if status == "SENT" and mine and event.status == "IN_PROGRESS":
            if any(one.status != "RECEIVED" for one in event.attachments):
                raise Refusal(400, "attachments are not all RECEIVED")
            event.status = "SENT"
            self._announce(folder, case, event)
        elif status == "RECEIVED" and not mine and event.status == "SENT":
            event.status = "RECEIVED"
        else:
            raise Refusal(400, f"{status} not allowed from {event.status}")

    def delete_event(self, account: Account, case_id: str, id: str) -> None:
        _, case, event = self.event(account, case_id, id)
        if event.action != "ATTACH_DEPOSIT" or event.status != "IN_PROGRESS":
            raise Refusal(400, "only a deposit in progress can be deleted")
        case.events.remove(event)

    def upload_to_event(
        self, account: Account, case_id: str, event_id: str, id: str, content: bytes, digest: str
    ) -> None:
        _, _, event = self.event(account, case_id, event_id)
        if event.transmitter != account.organisation:
            raise Refusal(403, "event not accessible")
        self._receive(self._one(event.attachments, id), content, digest)

    # --- notifications, subscriptions, purge -------------------------------------------------------------------------

    def notify(self, folder: Folder, case: Case, recipient: Organisation, event: Event | None = None) -> Notification:
        transmitter = case.recipient if recipient == folder.transmitter else folder.transmitter
        made = Notification(self._id(), recipient, transmitter, folder.process, case, event, self.now())
        self.notifications[made.id] = made
        return made

    def waiting(self, account: Account, most: int, processes: list[str]) -> list[Notification]:
        """Any of those that wait, in no order."""
        if processes and set(processes) != {account.process}:
            raise Refusal(403, "process not accessible")
        mine = [
            one
            for one in self.notifications.values()
            if one.recipient == account.organisation and one.process == account.process
        ]
        return self._random.sample(mine, min(most, len(mine)))

    def forget(self, account: Account, id: str) -> None:
        found = self.notifications.get(id)
        if found is None:
            raise Refusal(404, f"notification {id} not found")
        if found.recipient != account.organisation or found.process != account.process:
            raise Refusal(403, "notification not accessible")
        del self.notifications[id]

    def purge(self) -> None:
        """Delete the bytes whose every reader has come far enough, long enough ago."""
        for folder in self.folders.values():
            delay = self.processes[folder.process].time_before_deletion + timedelta(days=1)
            for case in folder.cases:
                for event in case.events:
                    self._purge(event.attachments, [case], delay)
            for one in folder.attachments:
                self._purge([one], [case for case in folder.cases if case.external_id in one.recipients], delay)

    def _purge(self, attachments: list[Attachment], readers: list[Case], delay: timedelta) -> None:
        reached = [case.reached for case in readers if case.reached]
        if readers and len(reached) == len(readers) and self.now() >= max(reached) + delay:
            for one in attachments:
                if one.status == "RECEIVED":
                    one.status, one.content = "DELETED", b""
