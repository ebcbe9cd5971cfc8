"""What the stand-in holds: folders, cases, attachments, events, notifications, subscriptions, as HubEE writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Organisation = dict[str, str]
"""`type` (SI or OSL), `companyRegister` (SIRET) and `branchCode`."""

CNAF: Organisation = {"type": "OSL", "companyRegister": "99999999900011", "branchCode": "CNAF"}
LANDES: Organisation = {"type": "SI", "companyRegister": "99999999900029", "branchCode": "040"}
VOISIN: Organisation = {"type": "SI", "companyRegister": "99999999900037", "branchCode": "064"}
"""Invented SIRET numbers: 999999999 was never attributed."""


def stamp(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z" if moment else None


def name(organisation: Organisation) -> str:
    """`SI-<SIRET>-<branch code>`."""
    return "-".join(organisation[part] for part in ("type", "companyRegister", "branchCode"))


class Refusal(Exception):
    """The answer of the hub to a request it does not accept: all that is wrong with it, at once."""

    def __init__(self, status: int, *messages: str) -> None:
        super().__init__(f"{status}")
        self.status = status
        self.body = {"errors": [{"code": status, "message": message} for message in messages]}


@dataclass(frozen=True, slots=True)
class Account:
    """One client: one organisation, one role, one démarche."""

    client_id: str
    client_secret: str = field(repr=False)
    organisation: Organisation = field(repr=False)
    process: str

    @property
    def role(self) -> str:
        return self.organisation["type"]


@dataclass(slots=True)
class Process:
    """What the referential says of a démarche."""

    code: str
    formats: tuple[str, ...] = ("application/xml", "text/xml", "application/zip", "text/plain")
    max_size: int = 500_000_000
    messages: bool = True
    """May the receiver write to the sender?"""
    status_before_deletion: str = "IN_PROGRESS"
    time_before_deletion: timedelta = timedelta(0)
    """The published extra day is added to it."""


@dataclass(slots=True)
class Attachment:
    id: str
    file_name: str
    type: str
    size: int
    mime_type: str
    recipients: tuple[str, ...] = ()
    status: str = "PENDING"
    content: bytes = field(default=b"", repr=False)

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id, "fileName": self.file_name, "type": self.type, "size": self.size,
            "mimeType": self.mime_type, "status": self.status, "recipients": list(self.recipients),
        }  # fmt: skip


@dataclass(slots=True)
class Event:
    id: str
    action: str
    author: str
    transmitter: Organisation
    status: str
    created: datetime
    told: dict[str, Any] = field(default_factory=dict, repr=False)
    """`message`, `comment`, `caseCurrentStatus`, `caseNewStatus`, `partnerAttributes`, `notification`, as received."""
    attachments: list[Attachment] = field(default_factory=list)
    partner: dict[str, str] = field(default_factory=dict)

    def json(self, reader: Organisation) -> dict[str, Any]:
        told = dict(self.told)
        if reader["type"] != "SI":
            told.pop("comment", None)  # internal to the receiver's side
        return {
            "id": self.id, "actionType": self.action, "author": self.author, "status": self.status, **told,
            "transmitter": self.transmitter, "createDateTime": stamp(self.created), "partnerInfo": self.partner,
            "attachments": [one.json() for one in self.attachments],
        }  # fmt: skip


@dataclass(slots=True)
class Case:
    id: str
    external_id: str
    recipient: Organisation
    status: str = "HUBEE_RECEIVED"
    events: list[Event] = field(default_factory=list)
    transmitted: datetime | None = None
    reached: datetime | None = None
    """When it came to the status after which files are deleted."""


@dataclass(slots=True)
class Folder:
    id: str
    external_id: str
    process: str
    transmitter: Organisation
    applicant: dict[str, Any]
    cases: list[Case]
    attachments: list[Attachment]
    created: datetime
    partner: dict[str, str]
    status: str = "HUBEE_RECEIVED"
    closed: datetime | None = None

    def json(self, reader: Organisation) -> dict[str, Any]:
        return {
            "id": self.id, "externalId": self.external_id, "globalStatus": self.status, "processCode": self.process,
            "applicant": self.applicant, "createDateTime": stamp(self.created), "closeDateTime": stamp(self.closed),
            "partnerInfo": self.partner, "attachments": [one.json() for one in self.attachments],
            "cases": [self.case_json(case, reader, lite=True) for case in self.cases],
        }  # fmt: skip

    def case_json(self, case: Case, reader: Organisation, *, lite: bool = False) -> dict[str, Any]:
        told = {
            "id": case.id, "externalId": case.external_id, "status": case.status, "processCode": self.process,
            "recipient": case.recipient, "applicant": self.applicant, "transmissionDateTime": stamp(case.transmitted),
        }  # fmt: skip
        if lite:
            return told
        attachments = [one.json() for one in self.attachments if case.external_id in one.recipients]
        return told | {"attachments": attachments, "events": [event.json(reader) for event in case.events]}


@dataclass(slots=True)
class Notification:
    id: str
    recipient: Organisation
    transmitter: Organisation
    process: str
    case: Case = field(repr=False)
    event: Event | None
    created: datetime

    def json(self, details: bool) -> dict[str, Any]:
        told: dict[str, Any] = {
            "id": self.id, "recipient": self.recipient, "transmitter": self.transmitter, "processCode": self.process,
            "caseId": self.case.id, "eventId": self.event.id if self.event else None, "dateTime": stamp(self.created),
        }  # fmt: skip
        if details and self.event:
            told |= {"eventActionType": self.event.action, "eventStatus": self.event.status}
        return told


@dataclass(slots=True)
class Subscription:
    id: str
    process: str
    subscriber: Organisation
    status: str = "Actif"
    access: str = "API"
    delegate: str = "exploitation@maillon.exemple.invalid"

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id, "datapassId": int(self.id[:6], 16), "processCode": self.process,
            "subscriber": self.subscriber, "accessMode": self.access, "notificationFrequency": "unitaire",
            "status": self.status, "delegationActor": {"email": self.delegate},
            "localAdministrator": {"email": "administrateur@departement.exemple.invalid"},
        }  # fmt: skip
