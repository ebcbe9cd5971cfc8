"""Taking files from HubEE, one démarche after the other, so that a crash at any instant loses and doubles nothing.

Order, for each notification (each line is durable before the next):

    1. bytes in a temporary file, size and digest compared, fsync, rename
    2. (case, attachment, digest) written in the register: the guard against taking twice
    3. IN_PROGRESS told: from here HubEE may purge the bytes
    4. the file read into the record (by whoever consumes `arrivals`), its fate written in the register
    5. the outcome written in the register, then told: DONE, REFUSED or SI_INTG_ERROR
    6. the register closed, the event of a deposit set RECEIVED, the notification deleted

A notification that was not deleted comes again; what was done is recognised and the rest is done, by the same code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from connectors.hubee import statuts
from connectors.hubee.boite import Boite
from connectors.hubee.client import FOLDERS, Client, Stopped
from connectors.hubee.demarches import TAKEN, Demarche
from connectors.hubee.modele import Attachment, Case, Event, Notification, read
from connectors.hubee.registre import Piece, Registre
from connectors.hubee.telechargement import fetch

_GONE = {"CORRUPTED": "corrupted", "REJECTED": "rejected", "DELETED": "purged"}
_STATUS = {"done": "DONE", "refused": "REFUSED", "error": "SI_INTG_ERROR"}

Issue = Literal["done", "refused", "error", "held"]
"""What becomes of a case. `held`: a human decides here first; HubEE is told nothing and the notification stays."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something of HubEE that brought no file to read."""

    demarche: str
    status: Literal["left", "waiting", "retry", "refused", "message", "duplicate"]
    code: str = ""
    case: str = ""
    message: str = field(default="", repr=False)
    """What the sender wrote: it stays readable in HubEE; never logged."""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One turn of a case: its files are here, HubEE knows it (IN_PROGRESS), and it waits for its outcome."""

    demarche: Demarche
    case: str
    turn: str
    notification: str
    event: str
    pieces: tuple[Piece, ...]
    missing: tuple[tuple[str, str], ...] = ()
    """Attachments that HubEE could not give: type and code (`corrupted`, `purged`, `rejected`)."""
    whole: bool = True
    """Must it hold a file that is read? Not so for a complement to a case already taken."""
    concluded: str = ""
    """The outcome decided before a crash, as `settle` wrote it."""

    @property
    def to_read(self) -> tuple[Piece, ...]:
        return tuple(piece for piece in self.pieces if piece.type in self.demarche.read)

    @property
    def readable(self) -> bool:
        return bool(self.to_read) or not self.whole

    def outcome(self, codes: Mapping[str, str], held: bool = False) -> tuple[Issue, str]:
        """What to tell, and why in codes. `codes`: attachment type to the reason of its refusal."""
        told = [f"{_shown(kind, self.demarche)}: {code}" for kind, code in (*codes.items(), *self.missing)]
        if held:
            return "held", "; ".join(told)
        if codes:
            return "refused", "; ".join(told)
        lost = [kind for kind, _ in self.missing if kind in self.demarche.read]
        if lost or not self.readable:
            return "error", "; ".join(told) or "no file that is read here"
        return "done", "; ".join(told)


def _shown(kind: str, demarche: Demarche) -> str:
    """An attachment type that we know; a free text is never repeated."""
    return kind if kind in demarche.read or kind in demarche.kept else "attachment"


class Reception:
    """The receiver's side of one organisation (SIRET and branch code)."""

    def __init__(
        self,
        client: Client,
        registre: Registre,
        organisation: tuple[str, str],
        step: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.client, self.registre, self._organisation, self._step = client, registre, organisation, step
        self._box = Boite(client)

    async def arrivals(self, demarches: Iterable[Demarche] = ()) -> AsyncIterator[Arrival | Notice]:
        """What waits in each démarche whose access is configured. Settle each arrival before asking for the next.

        A démarche that fails is told as a notice and never stops the others.
        """
        for demarche in demarches or [TAKEN[code] for code in self.client.access.clients if code in TAKEN]:
            try:
                async for found in self._of(demarche):
                    yield found
            except Stopped as stopped:
                yield _stopped(demarche, stopped)

    async def _of(self, demarche: Demarche) -> AsyncIterator[Arrival | Notice]:
        async for notification in self._box.waiting(demarche):
            try:
                yield await self._one(demarche, notification)
            except Stopped as stopped:
                yield _stopped(demarche, stopped, notification.case_id)

    async def _one(self, demarche: Demarche, notification: Notification) -> Arrival | Notice:
        if notification.process_code != demarche.code:
            return Notice(demarche.code, "left", "process-unknown", notification.case_id)
        if notification.event_status == "RECEIVED":
            await self._box.delete(demarche, notification.id)
            return Notice(demarche.code, "duplicate", "event-received", notification.case_id)
        path = f"{FOLDERS}/cases/{notification.case_id}"
        try:
            case = read(Case, await self.client.json(demarche, "GET", path))
            event = None
            if notification.event_id:
                event = await self._box.event(demarche, case.id, notification.event_id)
        except Stopped as stopped:
            if stopped.code != "not-found":
                raise
            return Notice(demarche.code, "waiting", "not-readable-yet", notification.case_id)
        if case.process_code != demarche.code:
            return Notice(demarche.code, "left", "process-unknown", case.id)
        told = (case.recipient, notification.recipient or case.recipient)
        if any((one.company_register, one.branch_code) != self._organisation for one in told):
            return Notice(demarche.code, "left", "not-ours", case.id)
        if case.status in statuts.COMING:
            return Notice(demarche.code, "waiting", "not-readable-yet", case.id)
        if event and event.action_type != "ATTACH_DEPOSIT":
            await self._box.acknowledge(demarche, case.id, event.id)
            await self._box.delete(demarche, notification.id)
            action = event.action_type.lower().replace("_", "-")
            return Notice(demarche.code, "message", action, case.id, event.message or "")
        return await self._turn(demarche, notification, case, event)

    # --- one turn of a case ------------------------------------------------------------------------------------------

    async def _turn(
        self, demarche: Demarche, notification: Notification, case: Case, event: Event | None
    ) -> Arrival | Notice:
        turn, state, concluded = self.registre.case(case.id)
        before = self.registre.pieces(case.id)
        known = {piece.id for piece in before}
        attachments = case.attachments if event is None else event.attachments
        if event and not known:
            attachments = case.attachments + attachments
        reopened, mine = state == "rouvert", f"depot-{event.id}" if event else f"cas-{notification.id}"
        # Two notifications of one new case are one turn; a deposit is always a turn of its own.
        twice = event is None and turn.startswith("cas-") and state != "solde"
        if turn != mine and not twice:
            reopened = state == "solde" and event is None and case.status == "HUBEE_NOTIFIED"
            awaited = any(piece.state == "taken" for piece in before if piece.id in {one.id for one in attachments})
            new = any(one.status == "RECEIVED" and one.id not in known for one in attachments)
            if state == "solde" and not (new or awaited or reopened):
                await self._close(demarche, notification.id, case.id, event.id if event else "")
                return Notice(demarche.code, "duplicate", "already-settled", case.id)
            turn, concluded = mine, ""
            self.registre.begin(case.id, demarche.code, turn, reopened=reopened)
        if any(one.status == "PENDING" for one in attachments):
            raise Stopped("retry", "attachment-pending")
        missing = []
        for one in attachments:
            inner = f"events/{event.id}/attachments" if event and one in event.attachments else "attachments"
            path = f"{FOLDERS}/cases/{case.id}/{inner}/{one.id}"
            have = self._have(case.id, turn, one.id, anew=reopened)
            if not have and (code := _GONE.get(one.status) or await self._take(demarche, case.id, turn, one, path)):
                missing.append((one.type, code))
        here = {one.id for one in attachments}
        arrival = Arrival(
            demarche, case.id, turn, notification.id, event.id if event else "",
            tuple(piece for piece in self.registre.pieces(case.id, turn) if piece.id in here),
            tuple(missing), whole=event is None or not known, concluded=concluded,
        )  # fmt: skip
        if arrival.readable and not concluded:
            await self._tell(arrival, "IN_PROGRESS")
        return arrival

    def _have(self, case: str, turn: str, id: str, *, anew: bool) -> bool:
        """Was this attachment taken already? In a reopened case, only what this turn took counts."""
        for piece in self.registre.pieces(case):
            if piece.id != id or (anew and piece.turn != turn):
                continue
            if piece.settled or self.registre.path(piece).is_file():
                self.registre.take(replace(piece, turn=turn))
                return True
        return False

    async def _take(self, demarche: Demarche, case: str, turn: str, attachment: Attachment, path: str) -> str:
        """Have this attachment here, durably; the code of what prevents it for ever, or nothing."""
        try:
            got = await fetch(self.client, demarche, path, attachment, self.registre.folder, self._step)
        except Stopped as stopped:
            if stopped.code == "not-found":
                return "purged"
            raise
        state = "taken" if attachment.type in demarche.read else "kept"
        piece = Piece(
            case, attachment.id, got.digest, turn, attachment.type, attachment.size, got.verified, got.path.name, state
        )
        self.registre.take(piece)
        self._step("taken")
        return ""

    def mark(self, piece: Piece, refusal: str = "") -> None:
        """A file was read, or refused for this code; call it once that is durable."""
        self.registre.mark(piece, f"refused:{refusal}" if refusal else "read")
        self._step("read")

    async def settle(self, arrival: Arrival, issue: Issue, message: str = "") -> None:
        """Tell HubEE the outcome, then delete the notification. `message` holds codes only, never a personal value.

        Raises `Stopped` when HubEE could not be told: the notification stays and the next collection goes on from
        here.
        """
        if arrival.concluded:
            issue, message = _read_conclusion(arrival.concluded)
        if issue == "held":
            return
        self.registre.conclude(arrival.case, f"{issue} {message}".strip())
        self._step("concluded")
        await self._tell(arrival, _STATUS[issue], message)
        self.registre.settle(arrival.case)
        self._step("settled")
        await self._close(arrival.demarche, arrival.notification, arrival.case, arrival.event)

    # --- what HubEE is told ------------------------------------------------------------------------------------------

    async def _tell(self, arrival: Arrival, status: str, message: str = "") -> None:
        """The status and its event, each once: what is not certain is read again before it is sent again."""
        path = f"{FOLDERS}/cases/{arrival.case}"
        mark = f"maillon={arrival.turn}.{status}"
        for _ in range(3):
            try:
                case = read(Case, await self.client.json(arrival.demarche, "GET", path))
                way = [] if case.status == status else statuts.path(case.status, status)
                if not way and case.status != status:
                    return  # somebody went further meanwhile, on the portal or at the sender's
                for one in way:
                    await self.client.call(arrival.demarche, "PATCH", path, json={"status": one})
                    self._step(f"status {one}")
                if not any(event.partner_attributes == mark for event in case.events):
                    current = case.status if way else None
                    await self._post(arrival.demarche, path, status, current, mark, message)
                    self._step(f"event {status}")
                return
            except Stopped as stopped:
                if stopped.outcome != "unknown":
                    raise
        raise Stopped("retry", "outcome-unknown")

    async def _post(
        self, demarche: Demarche, path: str, status: str, current: str | None, mark: str, message: str
    ) -> None:
        told: dict[str, Any] = {
            "actionType": "STATUS_UPDATE",
            "author": self.client.access.partner["applicationName"],
            "notification": True,
            "caseNewStatus": status,
            "partnerAttributes": mark,
        }
        told |= {"caseCurrentStatus": current} if current else {}
        try:
            with_message = {"message": message[:1000]} if message else {}
            await self.client.call(demarche, "POST", f"{path}/events", json=told | with_message)
        except Stopped as stopped:
            if not message or stopped.code != "http-400":
                raise
            # Some processes forbid words to the sender: the status alone then.
            await self.client.call(demarche, "POST", f"{path}/events", json=told)

    async def _close(self, demarche: Demarche, notification: str, case: str, event: str) -> None:
        if event:
            await self._box.acknowledge(demarche, case, event)
            self._step("event received")
        await self._box.delete(demarche, notification)
        self._step("deleted")


def _read_conclusion(text: str) -> tuple[Issue, str]:
    """What `settle` wrote before the crash."""
    issue, _, message = text.partition(" ")
    return cast(Issue, issue), message


def _stopped(demarche: Demarche, stopped: Stopped, case: str = "") -> Notice:
    status: Literal["refused", "retry"] = "refused" if stopped.outcome == "refused" else "retry"
    return Notice(demarche.code, status, stopped.code, case, retry_after=stopped.retry_after)
