"""What a connector is: one partner's real formats and transport, behind four verbs.

`read` opens a document the partner sent; `write` fills one it expects; `send` delivers it through the partner's own
transport; `pull` fetches what the partner only gives on request. A connector knows one partner and nothing of
consent, storage or the journal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, runtime_checkable

from schemas.record import Current, Finding, Record, Written

if TYPE_CHECKING:
    from connectors.manifest import Manifest
    from connectors.transport import Transport


class DocumentRefused(Exception):
    """The document as a whole cannot be taken; nothing of it may reach the record.

    `code` is stable kebab-case (``xml-doctype``, ``truncated``, ``wrong-root``, ``not-ours``…); `detail` says who
    must do what; neither holds a personal value.
    """

    def __init__(self, code: str, detail: str, path: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.path = path


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a document says of itself before its records."""

    document: str
    kind: Literal["stock", "delta", "message"] = "message"
    emitted_at: datetime | None = None
    reference_date: str | None = None
    key: str = ""
    """Idempotence key of the document: same key and same bytes is a replay; same key and other bytes is refused."""
    organisme: str = ""
    """The paying or sending organism inside the body (caisse number, structure id)."""
    declared: int | None = None
    """How many records the sender says it sent."""
    counted: int | None = None
    """How many records are really there, when the whole document was checked first."""
    findings: tuple[Finding, ...] = ()
    held: str | None = None
    """A reason for a human to decide before anything is published (``footer-mismatch``)."""


class Reading(Protocol):
    """A document being read: its envelope, then its records, one at a time, in constant memory."""

    envelope: Envelope

    def __iter__(self) -> Iterator[Record]: ...


class Lasting(ABC):
    """A reading that replaces something its connector keeps: code lists, a catalogue. A rehearsal never asks for it.

    Any class that has a `keep` is one. It is asked of every document: a protocol would be compared anew each time.
    """

    @abstractmethod
    def keep(self) -> None:
        """Replace it, once every record is durable. Asked again after a crash, it does the same."""
        ...

    @classmethod
    def __subclasshook__(cls, reading: type) -> bool:
        return hasattr(reading, "keep")


@dataclass(frozen=True, slots=True)
class Sketch:
    """A record known by its key and digest, not read yet."""

    position: int
    """Its place in the document, from 0."""
    key: str = field(repr=False)
    digest: bytes
    """As `Record.digest` will be; empty when only reading it can tell what it is."""
    raw: bytes = field(repr=False)


@runtime_checkable
class Sketched(Protocol):
    """A reading whose records can be compared with those already taken before any of them is read."""

    envelope: Envelope

    def skip(self, n: int) -> Sketched:
        """Start after the `n` first records."""
        ...

    def sketches(self) -> Iterator[Sketch]: ...

    def records(self, sketches: Sequence[Sketch]) -> Iterator[Record]:
        """Read these records, in order."""
        ...


class Remote(Protocol):
    """What reads the records of one controlled document in another process: it can be pickled, and opens no file."""

    def read(self, raws: Sequence[tuple[int, bytes]]) -> Iterator[Record]:
        """The records at these positions, in order, without `Record.original`."""
        ...


@runtime_checkable
class Aloof(Sketched, Protocol):
    """A reading whose records another process can read."""

    def remote(self) -> Remote: ...

    def finished(self, record: Record, sketch: Sketch) -> Record:
        """A record that came back, with what only this process can give it (`Record.original`)."""
        ...


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What the recipient answered to a delivery."""

    outcome: Literal["delivered", "duplicate", "retry", "refused", "waiting"]
    """`retry`: not now (back off, honour `retry_after`). `refused`: never like this (dead letter, a human acts).
    `waiting`: something about the person is missing at the recipient's; replay when it becomes known."""
    code: str = ""
    remote_id: str | None = field(default=None, repr=False)
    retry_after: float | None = None
    detail: str = ""
    facts: Mapping[str, Any] | None = field(default=None, repr=False)
    """Facts the recipient gave back about the person (an id it assigned), to be asserted in its name."""
    peer_idx: int | None = None
    """Where the recipient's own journal tells this delivery, when it keeps one and says so (`journal_index`)."""


JOURNAL = "Maillon-Journal"
"""Header of an answer or of an acknowledgement: origin of a journal, a space, the index of its entry."""


def journal_index(text: str) -> int | None:
    """The index that a `Maillon-Journal` header gives; None when it is none."""
    _, _, index = text.strip().rpartition(" ")
    return int(index) if index.isascii() and index.isdecimal() and len(index) < 16 else None


class NotObtained(Exception):
    """A `pull` that brought nothing, for a reason worth telling; no document of the call was yielded after it.

    `outcome` reads as in `Acknowledgement`: `retry` later, `waiting` for something about the person, `refused`. `why`:
    what the decision table said, with its articles. An empty file is not a reason: the pull then simply yields nothing.
    """

    def __init__(
        self,
        outcome: Literal["retry", "refused", "waiting"],
        code: str,
        retry_after: float | None = None,
        why: str = "",
    ) -> None:
        super().__init__(f"{outcome}: {code}")
        self.outcome = outcome
        self.code = code
        self.retry_after = retry_after
        self.why = why


async def nothing_asked(code: str) -> AsyncIterator[tuple[str, bytes]]:
    """The `pull` of a partner of whom nothing is asked: raises `NotObtained` (`refused`, with this code)."""
    nothing: tuple[tuple[str, bytes], ...] = ()
    for document_and_bytes in nothing:
        yield document_and_bytes
    raise NotObtained("refused", code)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One document on its way to one recipient."""

    delivery: str
    """Id of the delivery: the idempotency key towards the recipient, the same at each attempt."""
    document: str
    written: Written
    current: Current = field(repr=False)
    """The permitted facts, for transports that need an identifier beside the document."""
    identifiers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Identifiers that only serve to find the person at the recipient's (match only), as the policy allows."""
    reference: str = ""
    """The person's pairwise reference for this recipient."""
    remote_id: str | None = None
    """The recipient's id of the object, from an earlier delivery."""
    withdraw: bool = False
    """The object is another person's: take it back. Only for a document that its manifest says `withdrawn`."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One thing tried at the partner's, and what it found. Neither field holds a secret or a personal value."""

    what: str
    """A host, a scope, an access: as the settings name it."""
    code: str = ""
    """Empty: it works. Else a stable code of the connector, or of `connectors.failures`."""


@runtime_checkable
class Filed(Protocol):
    """A connector that has something to add to a document before it can be left as a file."""

    def file(self, outgoing: Outgoing) -> bytes | Acknowledgement:
        """The file; or, when there is none to leave, why."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A message that its partner pushed, once its sender is proved and before anything of it is read."""

    document: str
    replay_key: str
    """Names this message: received again, it changes nothing."""
    order_key: str
    """Names what it speaks of: a message older than the last one about it changes nothing."""
    sent_at: datetime
    erased_places: tuple[tuple[str, str], ...] = ()
    """(record key, person key) of each earlier statement that the source erased, to purge."""


@runtime_checkable
class Pushing(Protocol):
    """A connector whose partner calls us, at `POST /v1/webhooks/{body}`; its `read` then reads the same bytes."""

    def announced(self, headers: Mapping[str, str]) -> None:
        """Refuse what bears no proof before its body is read. Raises `DocumentRefused` (``signature-missing``)."""
        ...

    def webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Pushed:
        """Prove a message before anything parses it. Raises `DocumentRefused`: ``signature-wrong``,
        ``stale-timestamp`` or ``timestamp-ahead`` are answered 401, any other code 400 or 422."""
        ...


@runtime_checkable
class Reachable(Protocol):
    """A connector that can try its settings without speaking of anybody and without changing anything."""

    def contacts(self, transport: Transport) -> AsyncIterator[Contact]:
        """Real calls that do no harm: a token per scope, a question about nobody. Never raises for an answer."""
        ...


class Connector(Protocol):
    """One partner system."""

    manifest: Manifest

    def read(self, document: str, source: BinaryIO, *, content_type: str = "") -> Reading:
        """Open a document the partner sent. Raises `DocumentRefused` before the first record, or not at all."""
        ...

    def write(self, document: str, current: Current, **context: Any) -> Written:
        """Fill one of the partner's documents from permitted facts."""
        ...

    async def send(self, outgoing: Outgoing, transport: Transport) -> Acknowledgement:
        """Deliver through the partner's own transport. Never raises for what the partner answers."""
        ...

    def pull(
        self, document: str, identifiers: Mapping[str, str], transport: Transport
    ) -> AsyncIterator[tuple[str, bytes]]:
        """Fetch documents that the partner only gives on request: (document id, bytes). Raises `NotObtained`."""
        ...
