"""The partners' HTTP doors about persons: search, dossier, and what exchanges about her rest on.

A person this body does not accompany answers exactly as one who does not exist: same words, and a time that does not
depend on which of the two she is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic_core import to_json
from sqlalchemy import select
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from gateway import basis, canonical, clock, decision_record, journal, rights
from gateway.access import Caller, authenticate
from gateway.categories import codes_said
from gateway.convention_model import Flow, codes_of
from gateway.decide import decide
from gateway.doors import T, conditional, etag, in_work, json_answer, read_json, require_empty, require_match
from gateway.granted import opened
from gateway.once import Told, idempotency_key, once
from gateway.person_search import facts_of
from gateway.policy import in_order
from gateway.prefill import Ground, seen_by
from gateway.problems import Invalid, Misnamed, Problem, Unknown
from gateway.registry import Gateway
from gateway.storage.tables.basis import basis_record
from gateway.unit_of_work import UnitOfWork

FLOOR = 0.08
"""Seconds before which no search and no unknown person is answered: what was looked up is not told by the time."""
_SHOWN = (
    "kind", "regime", "purpose", "purpose_text", "legal_basis", "article", "categories", "recipients", "notice_id",
    "notice_version", "valid_from", "valid_until", "created_at",
)  # fmt: skip


def routes(gateway: Gateway) -> list[Route]:
    doors = _Doors(gateway)
    return [
        Route("/v1/persons/search", doors.search, methods=["POST"]),
        Route("/v1/persons/{ref}/dossier", doors.dossier, methods=["GET"]),
        Route("/v1/persons/{ref}/basis", doors.list_basis, methods=["GET"]),
        Route("/v1/persons/{ref}/basis", doors.record_basis, methods=["POST"]),
        Route("/v1/basis/{id}/withdraw", doors.withdraw, methods=["POST"]),
    ]


def _nobody() -> Unknown:
    return Unknown("person-unknown", "Search the person again: this reference names nobody you accompany.")


async def _no_sooner(started: float) -> None:
    await asyncio.sleep(max(0.0, FLOOR - (time.monotonic() - started)))


async def _in_work(http: HttpRequest, started: float, action: Callable[[UnitOfWork], T | Problem]) -> T:
    """As `doors.in_work`; that there is nobody, or nothing of hers, is answered no sooner than after `FLOOR`."""
    try:
        return await in_work(http, action)
    except Unknown:
        await _no_sooner(started)
        raise


class _Doors:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def search(self, http: HttpRequest) -> Response:
        """Identifiers in the body, never in a URL; the answer is a reference of this caller's own."""
        caller, started = await authenticate(http, action="search"), time.monotonic()
        facts = facts_of(await read_json(http))
        found = await in_work(http, lambda work: self._search(work, caller, facts))
        await _no_sooner(started)
        return json_answer(found)

    def _search(self, work: UnitOfWork, caller: Caller, facts: dict[str, Any]) -> dict[str, Any]:
        match = self.gateway.identity.resolve(work, self.gateway.identity.keys_of(facts))
        met = match.person_id or match.candidate
        linked = met is not None and self._linked(work, caller, met)
        certainty = match.certainty if linked else "inconnu"
        person = match.person_id if linked else None
        journal.append(
            work, "log.read", sender_org=caller.body, client_id=caller.client_id, outcome="search",
            reason_code=certainty.replace("_", "-"),
            subject=self.gateway.keys.pseudonym(caller.body, person) if person else None,
        )  # fmt: skip
        given = self.gateway.references.give(work, caller.body, person) if person else None
        return {"person": given, "certainty": certainty}

    async def dossier(self, http: HttpRequest) -> Response:
        """The shared record as this caller may see it, or its own document prefilled (`Accept-Document`)."""
        caller, started = await authenticate(http), time.monotonic()
        wanted = http.headers.get("accept-document", "")
        if wanted and "write" not in self.gateway.document(caller.body, wanted).direction:
            raise Misnamed("document-not-received", f"{wanted} is sent by this body, not received by it.")

        def read(work: UnitOfWork) -> dict[str, Any] | Problem:
            person = self.gateway.references.find(work, caller.body, http.path_params["ref"])
            shown = person and self._seen_by(work, caller, person, wanted)
            self._log(work, caller, person if shown else None, "dossier" if shown else "unknown")
            return shown or _nobody()

        shown = await _in_work(http, started, read)
        return conditional(http, json_answer(shown, headers={"Vary": "Accept-Document"}))

    def _seen_by(self, work: UnitOfWork, caller: Caller, person: str, wanted: str) -> dict[str, Any] | None:
        visible, withheld, grounds = seen_by(work, self.gateway, person, self._flows(work, caller))
        if not visible and not self._linked(work, caller, person):
            return None
        self._log_grounds(work, caller, person, grounds, wanted)
        hushed: frozenset[str] = frozenset()
        if not visible:  # whoever only gave her name: that others said something sensitive of her already tells it
            said = codes_said(caller.body, self.gateway.dossiers.said(work, person))
            hushed = self.gateway.policy.table.discreet - said
        told: dict[str, Any] = {
            "withheld": [
                {"category": one.code, "facts": one.count, "rule": one.rule, "article": one.article}
                for one in withheld if one.code not in hushed
            ]
        }  # fmt: skip
        if not wanted:
            shown: dict[str, Any] = canonical.write(visible).document
            return shown | told
        return told | self.gateway.write(caller.body, wanted, visible).prefilled

    # --- what exchanges rest on ----------------------------------------------------------------------------

    async def list_basis(self, http: HttpRequest) -> Response:
        """Information, consents and objections that this body keeps, or that concern what it receives."""
        caller, started = await authenticate(http), time.monotonic()

        def read(work: UnitOfWork) -> list[dict[str, Any]] | Problem:
            person = self._accompanied(work, caller, http.path_params["ref"])
            self._log(work, caller, person, "basis" if person else "unknown")
            if person is None:
                return _nobody()
            own = self.gateway.keys.pseudonym(caller.body, person)
            return [_shown(one) for one in basis.list_(work, person) if _concerns(one["record"], own, caller.body)]

        return conditional(http, json_answer({"records": await _in_work(http, started, read)}))

    async def record_basis(self, http: HttpRequest) -> Response:
        """Record an information given, a consent, an objection…; the gateway adds whom it is about."""
        caller, started = await authenticate(http, action="send"), time.monotonic()
        key, content = idempotency_key(http), await read_json(http)
        if not isinstance(content, dict) or {"person_id", "subject_ref"} & content.keys():
            raise Invalid("basis-invalid", "Send the record as an object, without person_id nor subject_ref.")
        decision = content.pop("decision", "")
        ref = http.path_params["ref"]
        said = b"maillon.basis\x00" + ref.encode() + to_json([decision, content])

        def write(work: UnitOfWork) -> Any:
            person = self._accompanied(work, caller, ref)
            if person is None:
                self._log(work, caller, None, "unknown")
                return _nobody()
            named = {"person_id": person, "subject_ref": self.gateway.keys.pseudonym(caller.body, person)}
            return once(
                work,
                self.gateway,
                caller,
                key,
                said,
                lambda: _recorded(work, self.gateway, caller, content | named, decision),
            )

        status, render = await _in_work(http, started, write)
        return Response(render(), status, media_type="application/json")

    async def withdraw(self, http: HttpRequest) -> Response:
        """The person withdraws a consent: no reason, no body; each past recipient is told in the same transaction."""
        caller, started = await authenticate(http, action="send"), time.monotonic()
        await require_empty(http)

        def write(work: UnitOfWork) -> dict[str, Any] | Problem:
            found = self._kept(work, caller, http.path_params["id"])
            if found is None:
                self._log(work, caller, None, "unknown")
                return Unknown("basis-unknown", "Check the id against the person's records.")
            record = found["record"]
            try:
                require_match(http, _shown(found)["etag"])
                with _in_its_name(work, caller):
                    change = rights.withdraw(work, self.gateway, record["record_id"])
            except Problem as problem:
                return problem
            return {"id": change.id, "state": change.state, "notified": len(change.notifications)}

        return json_answer(await _in_work(http, started, write))

    def _kept(self, work: UnitOfWork, caller: Caller, id: str) -> dict[str, Any] | None:
        """A record that concerns this body, whole."""
        person = work.connection.scalar(select(basis_record.c.person_id).where(basis_record.c.id == id))
        if person is None:
            return None
        own = self.gateway.keys.pseudonym(caller.body, person)
        known = {one["record"]["record_id"]: one for one in basis.list_(work, person)}
        return known[id] if _concerns(known[id]["record"], own, caller.body) else None

    # --- who may ask about whom ----------------------------------------------------------------------------

    def _accompanied(self, work: UnitOfWork, caller: Caller, ref: str) -> str | None:
        person = self.gateway.references.find(work, caller.body, ref)
        return person if person is not None and self._linked(work, caller, person) else None

    def _linked(self, work: UnitOfWork, caller: Caller, person: str) -> bool:
        """Did this body say something of her, or may it receive something about her today?"""
        current = self.gateway.dossiers.current(work, person)
        return caller.body in current.sources or any(
            decide(work, self.gateway, person, flow, current).permits for flow in self._flows(work, caller)
        )

    def _flows(self, work: UnitOfWork, caller: Caller) -> tuple[Flow, ...]:
        return opened(caller, self.gateway.flows_to(work, caller.body, caller.purposes))

    def _log_grounds(self, work: UnitOfWork, caller: Caller, person: str, grounds: list[Ground], wanted: str) -> None:
        """Say of each flow that a reading rests on what it gave, as is said of a delivery: a reading gives data too."""
        named = self.gateway.categories(self.gateway.document(caller.body, wanted)) if wanted else ()
        carried = codes_of(named)
        for one in grounds:
            sent = one.shown & carried if wanted else one.shown
            if sent:
                told = decision_record.told(work, one.flow, one.question, one.decision)
                kept_back = in_order(code for code in one.kept_back if code.startswith("C"))
                journal.append(
                    work, "exchange.permit", sender_org=one.flow.de, recipient_org=caller.body,
                    client_id=caller.client_id, subject=self.gateway.keys.pseudonym(caller.body, person),
                    **told | {"categories_sent": in_order(sent), "categories_redacted": kept_back}, outcome="dossier",
                )  # fmt: skip

    def _log(self, work: UnitOfWork, caller: Caller, person: str | None, what: str) -> None:
        journal.append(
            work, "log.read", sender_org=caller.body, client_id=caller.client_id, outcome=what,
            subject=self.gateway.keys.pseudonym(caller.body, person) if person else None,
        )  # fmt: skip


@contextmanager
def _in_its_name(work: UnitOfWork, caller: Caller) -> Iterator[None]:
    """The journal names this body for what is written meanwhile; others may share the transaction."""
    work.by = {"sender_org": caller.body, "client_id": caller.client_id}
    try:
        yield
    finally:
        work.by = {}


def _recorded(
    work: UnitOfWork, gateway: Gateway, caller: Caller, content: dict[str, Any], decision: Any
) -> Told | Problem:
    try:
        with _in_its_name(work, caller):
            made = rights.record(work, gateway, content, decision=str(decision))
    except Problem as problem:
        return problem
    told = {"id": made.id, "kind": made.kind, "state": made.state, "receipt": made.receipt}
    return Told(
        201, lambda: told, id=clock.new_id(), document="maillon.basis", purpose=made.basis.purpose,
        received_at=work.now, records=1,
    )  # fmt: skip


def _concerns(record: dict[str, Any], own: str, body: str) -> bool:
    return record["subject_ref"] == own or body in record["recipients"]


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    """A record as a body sees it: no internal id, no other body's pseudonym, no agent."""
    record = found["record"]
    tag = etag(f"{record['record_id']}:{found['state']}:{len(found['events'])}".encode())
    shown = {name: record.get(name) for name in _SHOWN}
    return {"id": record["record_id"], "state": found["state"], "etag": tag} | shown
