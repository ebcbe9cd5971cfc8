"""The DPO's doors, `/v1/audit/…`: scope `audit`, role `dpo`. Pseudonyms, codes and counts; never the data.

Each read is written in the journal before it is answered. Searching a person gives a reference of this officer's own
and the pseudonyms under which the journal speaks of her; nothing leads from a pseudonym back to a name.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import (
    art30,
    audit_queries,
    breach,
    clock,
    decision_record,
    journal,
    notification,
    policy_history,
    reidentification,
    rights,
)
from gateway.access import Caller, authenticate
from gateway.bundle import proof_bundle
from gateway.doors import page, queried, read_body, read_json, require_empty
from gateway.journal import Cursor, Logged
from gateway.journal_copy import verify_own
from gateway.person_history import head_of, people_of, pseudonyms
from gateway.person_search import facts_of
from gateway.policy import Policy
from gateway.policy_replay import replay
from gateway.policy_table import parse
from gateway.problems import Forbidden, Invalid, Misconfigured, Problem, Unknown, misread
from gateway.registry import Gateway
from gateway.storage.tables.delivery import outbox
from gateway.unit_of_work import UnitOfWork

Answer = Callable[[UnitOfWork, Request], dict[str, Any]]
_CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]{8,15}Z)~(6m|12m|36m)~(\d{1,15})")
MAX_PAGE = 200
_MAX_CHANGES = 1_000
_PSEUDONYM = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


_A = TypeVar("_A", bound=_Asked)


class TouchedBy(_Asked):
    """Between two instants, RFC 3339."""

    client_id: str
    start: str = Field(alias="from", json_schema_extra={"format": "date-time"})
    end: str = Field(alias="to", json_schema_extra={"format": "date-time"})


class WhoIs(_Asked):
    """A pseudonym of the journal, and the reason in 20 to 2,000 characters, which the other officer reads."""

    subject: str = Field(json_schema_extra={"pattern": reidentification.SUBJECT.pattern})
    reason: str


def routes(gateway: Gateway) -> list[Route]:
    """The routes of `/v1/audit/`."""
    doors = _Doors(gateway)
    read = doors.read
    return [
        Route("/v1/audit/search", doors.search, methods=["POST"]),
        Route("/v1/audit/persons/{ref}/history", doors.person_history, methods=["GET"]),
        Route("/v1/audit/subjects/{subject}/history", read("subject", doors.subject_history), methods=["GET"]),
        Route("/v1/audit/exchanges/{id}", read("exchange", doors.exchange), methods=["GET"]),
        Route("/v1/audit/exchanges/{id}/evidence", doors.evidence, methods=["GET"]),
        Route("/v1/audit/decisions/replay", doors.replay, methods=["POST"]),
        Route("/v1/audit/decisions/period", doors.period, methods=["POST"]),
        Route("/v1/audit/denials", read("denials", doors.denials), methods=["GET"]),
        Route("/v1/audit/conventions", read("conventions", doors.conventions), methods=["GET"]),
        Route("/v1/audit/consents", read("consents", doors.consents), methods=["GET"]),
        Route("/v1/audit/retention", read("retention", doors.retention), methods=["GET"]),
        Route("/v1/audit/lookups", read("lookups", doors.lookups), methods=["GET"]),
        Route("/v1/audit/categories", read("categories", doors.categories), methods=["GET"]),
        Route("/v1/audit/requests", read("requests", doors.requests), methods=["GET"]),
        Route("/v1/audit/notifications", read("notifications", doors.notifications), methods=["GET"]),
        Route("/v1/audit/register", read("register", doors.register), methods=["GET"]),
        Route("/v1/audit/breaches", read("breaches", doors.breaches), methods=["GET"]),
        Route("/v1/audit/breaches/touched", doors.touched, methods=["POST"]),
        Route("/v1/audit/reidentifications", doors.reidentify, methods=["POST"]),
        Route("/v1/audit/reidentifications/{id}/approve", doors.approve, methods=["POST"]),
        Route("/v1/audit/reidentifications/{id}/use", doors.use, methods=["POST"]),
        Route("/v1/audit/verify", doors.verify, methods=["POST"]),
    ]


async def officer(http: Request) -> Caller:
    """The caller, if it is a data protection officer. Raises `Unauthenticated`, `Forbidden`."""
    caller = await authenticate(http, scope="audit", purpose=False)
    if caller.role != "dpo":
        raise Forbidden("role", "Only a data protection officer reads the audit.")
    return caller


class _Doors:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def read(self, what: str, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """A door that journals the read, then answers from a connection that only reads."""

        async def door(http: Request) -> Response:
            caller = await officer(http)
            await self._log(http, caller, what)
            return JSONResponse(await asyncio.to_thread(self._answer, answer, http))

        door.__doc__ = answer.__doc__  # its summary in the description of the API
        return door

    def _answer(self, answer: Answer, http: Request) -> dict[str, Any]:
        with self.gateway.reading() as work:
            return answer(work, http)

    async def _log(self, http: Request, caller: Caller, what: str) -> None:
        await http.app.state.committer.submit(lambda work: _journal(work, caller, f"audit-{what}"))

    # --- one person -----------------------------------------------------------------------------------------------

    async def search(self, http: Request) -> Response:
        """Identifiers in the body → her reference for this officer, and her pseudonyms by body."""
        caller = await officer(http)
        facts = facts_of(await read_json(http))
        gateway = self.gateway

        def find(work: UnitOfWork) -> dict[str, Any]:
            match = gateway.identity.resolve(work, gateway.identity.keys_of(facts))
            person = head_of(work, match.person_id) if match.person_id else None
            subject = gateway.keys.pseudonym(caller.body, person) if person else None
            _journal(work, caller, "audit-search", reason_code=match.certainty.replace("_", "-"), subject=subject)
            if person is None:
                return {"person": None, "certainty": match.certainty, "pseudonyms": {}}
            known = pseudonyms(work, gateway, people_of(work, person))
            by_body: dict[str, list[str]] = {}
            for one, body in known.items():
                by_body.setdefault(body or "autre", []).append(one)
            given = gateway.references.give(work, caller.body, person)
            return {"person": given, "certainty": match.certainty, "pseudonyms": by_body}

        return JSONResponse(await http.app.state.committer.submit(find))

    async def person_history(self, http: Request) -> Response:
        """Everything the journal says of a person this officer searched."""
        caller = await officer(http)
        reference = http.path_params["ref"]

        def find(work: UnitOfWork) -> list[str]:
            person = self.gateway.references.find(work, caller.body, reference)
            if person is None:
                raise Unknown("person-unknown", "Search the person first: this reference was not given to you.")
            _journal(work, caller, "audit-history", subject=reference)
            return list(pseudonyms(work, self.gateway, people_of(work, head_of(work, person))))

        subjects = await http.app.state.committer.submit(find)
        told = await asyncio.to_thread(self._answer, lambda work, http: self._history(work, http, subjects), http)
        return JSONResponse(told)

    def subject_history(self, work: UnitOfWork, http: Request) -> dict[str, Any]:
        """The same by one pseudonym, as a partner's own journal or an evidence pack names it."""
        subject = http.path_params["subject"]
        if not _PSEUDONYM.fullmatch(subject):
            raise Unknown("subject-unknown", "A pseudonym is 40 hexadecimal digits.")
        return self._history(work, http, [subject])

    def _history(self, work: UnitOfWork, http: Request, subjects: list[str]) -> dict[str, Any]:
        after, limit = _cursor(queried(http, "after")), _limit(http)
        rows = journal.history(work.connection, subjects, after=after, limit=limit)
        return _entries(rows, limit)

    # --- one exchange ---------------------------------------------------------------------------------------------

    def exchange(self, work: UnitOfWork, http: Request) -> dict[str, Any]:
        """All that was written of an exchange: each decision explained by the table of its day, each delivery."""
        identifier, limit = http.path_params["id"], _limit(http)
        told, _, delivered = queried(http, "after").partition(",")
        entries = journal.of_exchange(work.connection, identifier, after=_cursor(told), limit=limit)
        if not (told or entries):
            raise Unknown("exchange-unknown", "No entry of the journal is about this exchange.")
        query = select(outbox).where(outbox.c.exchange_id == identifier, outbox.c.id > delivered)
        deliveries = work.connection.execute(query.order_by(outbox.c.id).limit(limit)).all()
        last = _told(entries[-1]) if entries else told, deliveries[-1].id if deliveries else delivered
        return {
            "id": identifier,
            "next": ",".join(last) if limit in (len(entries), len(deliveries)) else None,
            "entries": [
                _entry(one)
                | {"explained": audit_queries.explain(self.gateway, one.fields), "receipt": self._receipt(work, one)}
                for one in entries
            ],
            "deliveries": [
                {"id": row.id, "recipient": row.recipient, "document": row.document, "state": row.state,
                 "reason": row.reason, "article": row.article, "attempts": row.attempts, "settled_at": row.settled_at,
                 "subject": self.gateway.keys.pseudonym(row.recipient, row.person_id)}
                for row in deliveries
            ],
        }  # fmt: skip

    def _receipt(self, work: UnitOfWork, entry: Logged) -> dict[str, Any] | None:
        """The decision of this entry taken again under the table of its day; None for an entry that decides nothing."""
        if "decision_h" not in entry.fields:
            return None
        try:
            return decision_record.replay_entry(work.connection, self.gateway.settings.home, entry).line()
        except Problem as problem:
            return {"same": False, "problem": problem.code}

    async def evidence(self, http: Request) -> Response:
        """The proof of an exchange, to be checked offline: entries, proofs, checkpoint, table of its day, verifier."""
        caller = await officer(http)
        await self._log(http, caller, "evidence")
        identifier = http.path_params["id"]

        def pack() -> bytes:
            self.gateway.publish_journal()
            with self.gateway.reading() as work:
                return proof_bundle(work.connection, self.gateway.settings, identifier)

        content = await asyncio.to_thread(pack)
        headers = {"Content-Disposition": f'attachment; filename="preuve-{identifier}.zip"'}
        return Response(content, media_type="application/zip", headers=headers)

    async def replay(self, http: Request) -> Response:
        """Take a decision record again under the table of its day, or under `?policy=<digest>`."""
        caller = await officer(http)
        record = await read_body(http, 64 * 1024)
        await self._log(http, caller, "replay")

        def again() -> dict[str, Any]:
            try:
                version = queried(http, "policy") or verify_record(record)
                told = replay(record, policy_history.load(self.gateway.settings.home, version))
            except (KeyError, TypeError, ValueError, RecursionError):
                raise Invalid("record-invalid", "Send a decision record, as it was written.") from None
            now = told.now
            return {"policy": version, "same": told.same, "change": told.change, "permits": now.permits,
                    "rule_ids": list(now.rule_ids), "article": list(now.articles), "reason": now.reason}  # fmt: skip

        return JSONResponse(await asyncio.to_thread(again))

    async def period(self, http: Request) -> Response:
        """What the decision table sent as the body would have changed over `?from=` and `?to=`.

        Counts, and the first thousand changes."""
        caller = await officer(http)
        content = await read_body(http, 1024 * 1024)
        span = _period(http)
        await self._log(http, caller, "replay-period")

        def again(work: UnitOfWork, _: Request) -> dict[str, Any]:
            try:
                policy = Policy(parse(content, "table", act="send a decision table that can be read, in TOML"))
            except Misconfigured as wrong:
                raise Invalid(wrong.code, wrong.detail) from None
            counts: Counter[str] = Counter()
            changes: list[dict[str, Any]] = []
            for entry, one in decision_record.under(work.connection, policy, *span):
                counts[one.change] += 1
                if one.change != "unchanged" and len(changes) < _MAX_CHANGES:
                    changes.append(decision_record.changed(entry, one))
            told = {"policy": policy.version, "decisions": counts.total(), "counts": dict(counts)}
            return told | {"changes": changes}

        return JSONResponse(await asyncio.to_thread(self._answer, again, http))

    # --- the whole ------------------------------------------------------------------------------------------------

    def denials(self, work: UnitOfWork, http: Request) -> dict[str, Any]:
        """Refusals of a period by rule, with who was refused what; the most frequent first."""
        return _listed("denials", audit_queries.denials(work.connection, *_period(http)))

    def lookups(self, work: UnitOfWork, http: Request) -> dict[str, Any]:
        """Look-ups of a period by client or by agent: how many, out of hours, repeated, in mass."""
        return _listed("lookups", audit_queries.lookups(work.connection, *_period(http)))

    def categories(self, work: UnitOfWork, http: Request) -> dict[str, Any]:
        """For each open flow, the categories that it may carry and did not in a period."""
        return _listed("flows", audit_queries.unused_categories(work, self.gateway, *_period(http)))

    def conventions(self, work: UnitOfWork, http: Request) -> dict[str, Any]:
        """Conventions that carry nothing any more, and those that end within sixty days."""
        return _listed("conventions", audit_queries.expired_conventions(work))

    def consents(self, work: UnitOfWork, http: Request) -> dict[str, Any]:
        """Consents whose term has passed, that nobody withdrew or renewed."""
        after, limit = page(http)
        return _paged("consents", audit_queries.consents_past(work, after, limit), limit)

    def retention(self, work: UnitOfWork, http: Request) -> dict[str, Any]:
        """What is older than its regime allows: statements by body, entries by log."""
        return audit_queries.retention_due(work, self.gateway)

    def requests(self, work: UnitOfWork, http: Request) -> dict[str, Any]:
        """Requests of persons about their rights, as they came: since when, until when, how answered."""
        after, limit = page(http)
        rows = [self._pseudonymous(one) for one in rights.demands(work, after=after, limit=limit)]
        return _paged("requests", rows, limit)

    def _pseudonymous(self, one: rights.Demand) -> dict[str, Any]:
        told = one.line()
        return told | {"person_id": None, "subject": self.gateway.keys.pseudonym("personne", one.person_id)}

    def notifications(self, work: UnitOfWork, http: Request) -> dict[str, Any]:
        """Recipients that never answered, or refused with an article."""
        return _listed("notifications", [
            {"id": one.id, "record_id": one.record_id, "recipient": one.recipient, "action": one.action,
             "state": one.state, "attempts": one.attempts, "answer": one.answer}
            for one in notification.dpo_tasks(work)
        ])  # fmt: skip

    def register(self, work: UnitOfWork, http: Request) -> dict[str, Any]:
        """The article 30 registers, and how what is declared differs from what was seen in a period."""
        return art30.register(work, self.gateway, *_period(http, timedelta(days=366)))

    def breaches(self, work: UnitOfWork, http: Request) -> dict[str, Any]:
        """Breaches of personal data, newest first, with what is left of the 72 hours."""
        return _listed("breaches", breach.list_(work))

    async def touched(self, http: Request) -> Response:
        """Which persons and records a client's tokens touched between two instants."""
        caller = await officer(http)
        asked = await _asked(http, TouchedBy, "touched-form")
        await self._log(http, caller, "touched")
        args = (asked.client_id, asked.start, asked.end)
        told = await asyncio.to_thread(self._answer, lambda work, _: breach.touched(work, self.gateway, *args), http)
        return JSONResponse(told)

    async def reidentify(self, http: Request) -> Response:
        """Ask who a pseudonym is, with the reason; another officer approves, then the first looks once."""
        caller = await officer(http)
        asked = await _asked(http, WhoIs, "reidentification-form")
        return await self._two(
            http, lambda work: reidentification.request(work, asked.subject, asked.reason, _account(caller))
        )

    async def approve(self, http: Request) -> Response:
        """Approve another officer's request to know who a pseudonym is."""
        by = _account(await officer(http))
        await require_empty(http)
        return await self._two(http, lambda work: reidentification.approve(work, http.path_params["id"], by))

    async def use(self, http: Request) -> Response:
        """Who it is: once, within the hour of the approval, for the officer who asked."""
        by = _account(await officer(http))
        await require_empty(http)
        id = http.path_params["id"]
        found = await asyncio.to_thread(reidentification.whose, self.gateway, id, by)
        return await self._two(http, lambda work: reidentification.use(work, self.gateway, id, by, found))

    async def _two(self, http: Request, act: Callable[[UnitOfWork], dict[str, Any]]) -> Response:
        return JSONResponse(await http.app.state.committer.submit(act))

    async def verify(self, http: Request) -> Response:
        """Publish what is new, and have the independent reader check every entry."""
        caller = await officer(http)
        await require_empty(http)
        await self._log(http, caller, "verify")

        def check() -> list[dict[str, Any]]:
            self.gateway.publish_journal()
            return [
                {"log": log or journal.DEFAULT_LOG, "ok": one.ok, "entries": one.entries, "root": one.root,
                 "first_bad": one.first_bad, "reason": one.reason, "pruned": one.pruned}
                for log, one in verify_own(self.gateway.engine, self.gateway.settings)
            ]  # fmt: skip

        reports = await asyncio.to_thread(check)
        return JSONResponse({"ok": all(one["ok"] for one in reports), "logs": reports})


def _journal(work: UnitOfWork, caller: Caller, outcome: str, **fields: Any) -> None:
    journal.append(
        work, "log.read", sender_org=caller.body, client_id=caller.client_id, purpose="audit_dpo",
        outcome=outcome, **fields,
    )  # fmt: skip


async def _asked(http: Request, form: type[_A], code: str) -> _A:
    """What was sent, as this form reads it. Raises `Invalid` under this code, besides what `read_json` does."""
    members = ", ".join(field.alias or name for name, field in form.model_fields.items())
    asked = await read_json(http)
    try:
        return form.model_validate(asked)
    except ValidationError as error:
        wrong = f" {misread(error)}." if isinstance(asked, dict) else ""
        raise Invalid(code, f"Send an object of {members} and nothing else.{wrong}") from None


def _account(caller: Caller) -> reidentification.Account:
    return reidentification.Account(client_id=caller.client_id, role="dpo")


def verify_record(record: bytes) -> str:
    """The version of the table a decision record names. Raises `ValueError`, `KeyError`."""
    return str(json.loads(record)["policy_version"])


def _entry(one: Logged) -> dict[str, Any]:
    return {"log": one.log, "index": one.idx} | {name: value for name, value in one.fields.items() if name != "nonce"}


def _entries(rows: list[Logged], limit: int) -> dict[str, Any]:
    return {"entries": [_entry(one) for one in rows], "next": _told(rows[-1]) if len(rows) == limit else None}


def _told(last: Logged) -> str:
    return "~".join(map(str, last.cursor))


def _cursor(text: str) -> Cursor | None:
    if not text:
        return None
    found = _CURSOR.fullmatch(text)
    if not found:
        raise Invalid("cursor", "Give `after` as the last answer gave `next`.")
    return found[1], found[2], int(found[3])


def _limit(http: Request) -> int:
    limit = queried(http, "limit", "50")
    if not re.fullmatch("[0-9]{1,3}", limit) or not 1 <= int(limit) <= MAX_PAGE:
        raise Invalid("limit", f"Ask for 1 to {MAX_PAGE} rows.")
    return int(limit)


def _listed(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: rows, "next": None}


def _paged(name: str, rows: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    return {name: rows, "next": rows[-1]["id"] if len(rows) == limit else None}


def _period(http: Request, length: timedelta = timedelta(days=31)) -> tuple[str, str]:
    """`?from=` and `?to=`; by default the last month. Raises `Invalid` (`period-backwards`): an empty answer would read
    as "nothing was refused"."""
    end = clock.told(queried(http, "to") or clock.instant())
    start = clock.told(queried(http, "from") or clock.instant(clock.now() - length))
    if start > end:
        raise Invalid("period-backwards", "Send a `from` that is not after `to`; without `to`, it ends now.")
    return start, end
