"""What a partner's HTTP answer means for a delivery or a request, when the partner follows HTTP's own meanings.

A partner that says more (a code in the body, a state to read back) has its own table in its connector.
"""

from __future__ import annotations

from typing import Literal

from connectors.contract import JOURNAL, Acknowledgement, Contact, NotObtained, journal_index
from connectors.failures import DestinationRefused, TransportError
from connectors.transport import Answer

_REFUSED = {
    400: "invalid-request", 401: "credentials-refused", 403: "access-refused", 404: "not-found", 410: "gone",
    413: "too-large", 415: "format-refused", 422: "content-refused",
}  # fmt: skip
_LATER = frozenset({408, 423, 425, 429, 500, 502, 503, 504})


def _code(answer: Answer) -> str:
    return "too-many-requests" if answer.status == 429 else _REFUSED.get(answer.status, f"http-{answer.status}")


def acknowledged(answer: Answer, *, remote_id: str | None = None) -> Acknowledgement:
    """A 2xx is delivered, 409 is already held, what says « later » is tried again, everything else is refused.

    A web page is no answer of the partner's, whatever its status: a firewall or a maintenance page stands before it.
    """
    told = journal_index(answer.headers.get(JOURNAL, ""))
    if answer.status < 300 and "text/html" in answer.headers.get("content-type", ""):
        return Acknowledgement("retry", "unexpected-answer")
    if 200 <= answer.status < 300:
        return Acknowledgement("delivered", "accepted", remote_id=remote_id, peer_idx=told)
    if answer.status == 409:
        return Acknowledgement("duplicate", "already-held", remote_id=remote_id, peer_idx=told)
    if answer.status in _LATER:
        return Acknowledgement("retry", _code(answer), retry_after=answer.retry_after())
    return Acknowledgement("refused", _code(answer))


def contacted(what: str, answer: Answer) -> Contact:
    """What a question about nobody says of our access: refused for what it lacks, it was let in."""
    let_in = 200 <= answer.status < 300 or answer.status in {404, 422}
    return Contact(what, "" if let_in else _code(answer))


def unsent(error: TransportError) -> Acknowledgement:
    """No answer: tried again later, unless the address itself is not one the partner may be reached at."""
    outcome: Literal["refused", "retry"] = "refused" if isinstance(error, DestinationRefused) else "retry"
    return Acknowledgement(outcome, error.code, retry_after=error.retry_after)


def obtained(answer: Answer) -> bytes | None:
    """The document of a 200; None when the partner has nothing (204, 404). Raises `NotObtained` otherwise."""
    if answer.status == 200:
        return answer.content
    if answer.status in {204, 404}:
        return None
    if answer.status in _LATER:
        raise NotObtained("retry", _code(answer), answer.retry_after())
    raise NotObtained("refused", _code(answer))


def not_obtained(error: TransportError) -> NotObtained:
    """A request that got no answer, for `raise not_obtained(error) from None`."""
    told = unsent(error)
    return NotObtained("refused" if told.outcome == "refused" else "retry", told.code, told.retry_after)
