"""What an answer of France Travail means: one table for its four families of errors.

`{error, error_description}` (OAuth), `{codeHttp, codeErreur, message}`, `{codeRetour, message, …}` (Rechercher
usager) and an array of `{code, message, details}` (Activités); a body that is not JSON is judged by its status alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from connectors.contract import Acknowledgement, DocumentRefused, NotObtained
from connectors.json import parse
from connectors.transport import Answer, Busy, DestinationRefused, Transport, TransportError

Outcome = Literal["ok", "nothing", "renew", "retry", "refused", "waiting", "unknown"]
"""`renew`: token or jeton no longer accepted. `unknown`: perhaps done, the remote state must be read."""

QUOTA_DELAY = 60.0
"""Seconds to wait after a 429 that gives no delay (seen in production clients)."""

SEARCH: dict[str, tuple[Outcome, str]] = {
    "S001": ("ok", "found"),
    "S002": ("waiting", "not_found"),
    "S003": ("refused", "ambiguous"),
    "R001": ("refused", "forbidden"),
    "R002": ("refused", "forbidden"),
    "R997": ("refused", "invalid_input"),
    "R998": ("refused", "incomplete_person"),
    "R999": ("retry", "unavailable"),
}
"""Codes of Rechercher usager. R998 comes as a 500 but never passes: the person has no address at France Travail."""

_SAFE_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means for the call, with a stable code."""

    outcome: Outcome
    code: str = ""
    retry_after: float | None = None
    status: int = 0
    """HTTP status of a refusal that may mean more to its caller."""

    @property
    def acknowledgement(self) -> Acknowledgement:
        """As the gateway hears it; an unknown outcome is tried again later, which reads the remote state first."""
        outcome: Literal["delivered", "retry", "refused", "waiting"]
        match self.outcome:
            case "ok" | "nothing":
                outcome = "delivered"
            case "refused" | "waiting":
                outcome = self.outcome
            case _:
                outcome = "retry"
        return Acknowledgement(outcome, self.code, retry_after=self.retry_after)


class Stopped(Exception):
    """The call cannot go on; `verdict` says why and what may help."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"{verdict.outcome}: {verdict.code}")
        self.verdict = verdict

    def not_obtained(self) -> NotObtained:
        """As a pull tells it."""
        outcome = self.verdict.outcome
        kept: Literal["retry", "refused", "waiting"] = (
            outcome if outcome == "refused" or outcome == "waiting" else "retry"
        )
        return NotObtained(kept, self.verdict.code, self.verdict.retry_after)


def body(answer: Answer) -> Any:
    """The JSON of an answer, None when it has no body. Raises `DocumentRefused`."""
    return parse(answer.content) if answer.content.strip() else None


def listed(read: Any, name: str) -> list[Any]:
    """The items of an answer, bare or under one name; none when it says nothing.

    Raises `Stopped` (`answer_unexpected`) for any other shape: what it holds is unknown, and unknown is not « none ».
    """
    found = read.get(name) if isinstance(read, dict) and read else read or []
    if not isinstance(found, list):
        raise Stopped(Verdict("retry", "answer_unexpected"))
    return found


def error_code(answer: Answer) -> str:
    """France Travail's own code for a failure, in any of its families; empty when it gives none."""
    try:
        told = body(answer)
    except DocumentRefused:
        return ""
    if isinstance(told, list):
        told = told[0] if told else {}
    if not isinstance(told, dict):
        return ""
    for name in ("codeErreur", "codeRetour", "error", "code"):
        if isinstance(code := told.get(name), str) and _SAFE_CODE.fullmatch(code):
            return code
    return ""


def judge(answer: Answer) -> Verdict:
    """Reference §2.2 as a function. 2xx is `ok` whatever its body says: the caller reads it."""
    status, code = answer.status, "" if answer.status < 400 else error_code(answer)
    if status == 204:
        return Verdict("nothing")
    if 200 <= status < 300:
        return Verdict("ok")
    if 300 <= status < 400:
        return Verdict("refused", "agent_header_missing")
    if status == 401:
        return Verdict("renew", "unauthorized")
    if status == 429:
        return Verdict("retry", "quota", answer.retry_after() or QUOTA_DELAY)
    if code in SEARCH and code.startswith("R"):
        return Verdict(*SEARCH[code])
    if status == 403:
        return Verdict("refused", "scope_missing")
    if status >= 500:
        return Verdict("retry", code or f"http_{status}", answer.retry_after())
    return Verdict("refused", code or f"http_{status}", status=status)


def heard(answer: Answer, transport: Transport) -> Verdict:
    """The verdict on an answer; one about the quota silences every later call for its time."""
    verdict = judge(answer)
    if verdict.code == "quota":
        transport.pause(verdict.retry_after or 0.0)
    return verdict


def passing(answer: Answer) -> bool:
    """Worth another try inside one call, when repeating is safe: technical errors, R998 excepted."""
    return answer.status >= 500 and judge(answer).outcome == "retry"


def unsent(error: TransportError, *, writing: bool) -> Verdict:
    """What a request without an answer means. A write that may have arrived is never taken for lost."""
    if isinstance(error, DestinationRefused):
        return Verdict("refused", error.code)
    if isinstance(error, Busy):
        return Verdict("retry", error.code, error.retry_after)
    if writing and error.sent:
        return Verdict("unknown", error.code)
    return Verdict("retry", error.code)
