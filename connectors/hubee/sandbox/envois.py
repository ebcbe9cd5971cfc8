"""The sender's side of the stand-in: what the CNAF does, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from connectors.hubee.sandbox.objets import LANDES, Account, Attachment, Case, Event, Folder, Organisation
from connectors.hubee.sandbox.plateforme import Plateforme

_PARTNER = {"editorName": "CNAF", "applicationName": "Envoi RSA", "softwareVersion": "1"}


@dataclass(frozen=True, slots=True)
class Heard:
    """What the receiver said of a case."""

    case_id: str
    action: str
    status: str
    message: str = field(repr=False)


class Drop:
    """`drop.send("RSABEM-RSABAM", {"RSABEM": content})` puts a folder in the queue and returns the id of its case."""

    def __init__(self, plateforme: Plateforme, accounts: Iterable[Account]) -> None:
        self._hub = plateforme
        self._accounts = {account.process: account for account in accounts}
        self._number = 0

    def send(
        self,
        process: str,
        files: Mapping[str, bytes],
        *,
        recipient: Organisation | None = None,
        names: Mapping[str, str] | None = None,
        mime: str = "",
    ) -> str:
        """Create, upload, complete. Files are by attachment type; `names` replaces the file names."""
        account = self._accounts[process]
        self._number += 1
        number = f"CNAF-{process.split('-')[0]}-{self._number:013d}"[:30]
        told = {
            "externalId": number,
            "processCode": process,
            "applicant": {"firstName": "CNAF", "lastName": "CNAF"},
            "cases": [{"externalId": f"{number}-01", "recipient": recipient or LANDES}],
            "attachments": [
                self._metadata(kind, content, (names or {}).get(kind, f"{kind}.xml"), mime)
                | {"recipients": [f"{number}-01"]}
                for kind, content in files.items()
            ],
        }
        folder = self._hub.create_folder(account, told, _PARTNER)
        for one, content in zip(folder.attachments, files.values(), strict=True):
            self._hub.upload(account, folder.id, one.id, content, "")
        self._hub.patch_folder(account, folder.id, {"globalStatus": "HUBEE_COMPLETED"})
        return folder.cases[0].id

    @staticmethod
    def _metadata(kind: str, content: bytes, name: str, mime: str) -> dict[str, object]:
        found = mime or ("application/xml" if content.lstrip()[:1] == b"<" else "text/plain")
        return {"fileName": name, "type": kind, "size": len(content), "mimeType": found}

    def resend(self, case_id: str, files: Mapping[str, bytes]) -> str:
        """Reopen the case with other files, as its sender does after a refusal; returns the id of the event."""
        folder, _ = self._hub.cases[case_id]
        account = self._accounts[folder.process]
        attached = [self._metadata(kind, content, f"{kind}.xml", "") for kind, content in files.items()]
        event = self._hub.create_event(
            account, case_id, {"actionType": "ATTACH_DEPOSIT", "attachments": attached}, _PARTNER
        )
        for one, content in zip(event.attachments, files.values(), strict=True):
            self._hub.upload_to_event(account, case_id, event.id, one.id, content, "")
        self._hub.patch_case(account, case_id, {"status": "HUBEE_NOTIFIED"})
        self._hub.patch_event(account, case_id, event.id, {"status": "SENT"})
        self._hub.patch_folder(account, folder.id, {"globalStatus": "HUBEE_NOTIFIED"})
        return event.id

    def write(self, case_id: str, message: str) -> str:
        """A message to the receiver; returns the id of the event."""
        folder, _ = self._hub.cases[case_id]
        told = {"actionType": "SENDING_MESSAGE", "message": message}
        return self._hub.create_event(self._accounts[folder.process], case_id, told, _PARTNER).id

    def hear(self) -> list[Heard]:
        """What receivers said since the last time; cases that are done or refused are closed."""
        heard = []
        for notification in list(self._hub.notifications.values()):
            event, account = notification.event, self._accounts.get(notification.process)
            if event is None or account is None or notification.recipient != account.organisation:
                continue
            case = notification.case
            if event.status == "SENT":
                self._hub.patch_event(account, case.id, event.id, {"status": "RECEIVED"})
            status = str(event.told.get("caseNewStatus", ""))
            heard.append(Heard(case.id, event.action, status, str(event.told.get("message", ""))))
            if case.status in {"DONE", "REFUSED"}:
                self._hub.patch_case(account, case.id, {"status": "CLOSED"})
            self._hub.forget(account, notification.id)
        return heard

    def case(self, case_id: str) -> Case:
        return self._hub.cases[case_id][1]

    def folder(self, case_id: str) -> Folder:
        return self._hub.cases[case_id][0]

    def attachment(self, case_id: str, kind: str) -> Attachment:
        return next(one for one in self.folder(case_id).attachments if one.type == kind)

    def events(self, case_id: str, author: str = "SI") -> list[Event]:
        """The events of one side."""
        return [event for event in self.case(case_id).events if event.transmitter["type"] == author]
