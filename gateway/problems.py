"""Every way things can go wrong, ordered by who must act.

    Problem
    ├── CallerProblem      the partner that sent the request must change it
    │   ├── Unreadable         400  not the announced format
    │   ├── Unauthenticated    401  no valid proof of who is calling
    │   ├── Forbidden          403  known, but not allowed
    │   ├── Unknown            404  no such thing for this caller (same answer when it is somebody else's)
    │   │   └── NotKept            what our own records name is not kept here
    │   ├── NotAllowed         405  this resource does not take this method
    │   ├── NotAcceptable      406  what was asked for is not one of the forms of this resource
    │   ├── Conflict           409  another version or another body under the same key
    │   ├── Stale              412  what the caller saw has changed
    │   ├── TooLarge           413
    │   ├── Unsupported        415
    │   ├── Misdirected        421  the Host is not this gateway
    │   ├── Invalid            422  well formed, but wrong
    │   │   └── Misnamed           it names what does not exist, or cannot be used this way
    │   ├── TooMany            429
    │   ├── HeadersTooLarge    431
    │   └── MethodUnknown      501  no resource here ever takes this method
    └── OperatorProblem    whoever runs the gateway must act
        ├── Misconfigured      500
        ├── JournalBroken      500  somebody rewrote the journal's database: keep it, bring back a backup
        └── Unavailable        503  nothing was accepted; try again later

A `Problem` carries a stable `code`, a sentence that says who does what next, and the partner's path where it has one.
It never carries a value that identifies someone. Answered as RFC 9457 problem details.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pydantic import ValidationError


class Problem(Exception):
    """Base of all problems. `code` is stable and ends the `type` URI; `path` is in the partner's own words."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Problem"

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        path: str | None = None,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.path = path
        self.retry_after = retry_after
        self.headers = headers or {}
        self.members = members

    def body(self, instance: str | None = None) -> dict[str, Any]:
        """The RFC 9457 members of this problem."""
        body: dict[str, Any] = {
            "type": f"urn:maillon:problem:{self.code}",
            "title": self.title,
            "status": self.status,
        }
        if self.detail:
            body["detail"] = self.detail
        if self.path:
            body["path"] = self.path
        if instance:
            body["instance"] = instance
        return body | self.members


def misread(error: ValidationError) -> str:
    """What a model did not take, field by field: names and reasons, never a value."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:20])


def kind(error: Exception) -> str:
    """What a log says of an error: the code of a problem, the type of anything else; never its message."""
    return error.code if isinstance(error, Problem) else type(error).__name__


def where(error: BaseException) -> str:
    """File and line of a defect, without its message, which may quote a value."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else ""


class CallerProblem(Problem):
    """The partner that sent the request must change it."""

    status = 400
    title = "The request must be changed by its sender"


class Unreadable(CallerProblem):
    title = "The document cannot be read"


class Unauthenticated(CallerProblem):
    status = 401
    title = "The caller is not authenticated"


class Forbidden(CallerProblem):
    status = 403
    title = "The caller is not allowed to do this"


class Unknown(CallerProblem):
    status = 404
    title = "Not found"


class NotKept(Unknown):
    """What our own records name is not kept here: nobody mistyped it."""


class NotAllowed(CallerProblem):
    status = 405
    title = "This resource does not take this method"


class NotAcceptable(CallerProblem):
    status = 406
    title = "This resource has no such form"


class Conflict(CallerProblem):
    status = 409
    title = "The request conflicts with what is known"


class Stale(CallerProblem):
    status = 412
    title = "What the request is about has changed"


class TooLarge(CallerProblem):
    status = 413
    title = "The request is too large"


class Unsupported(CallerProblem):
    status = 415
    title = "The format is not supported"


class Misdirected(CallerProblem):
    status = 421
    title = "The request is for another server"


class Invalid(CallerProblem):
    status = 422
    title = "The content is not valid"


class Misnamed(Invalid):
    """It names what does not exist, or cannot be used this way; typed in a command, it is wrong usage."""


class TooMany(CallerProblem):
    status = 429
    title = "Too many requests"


class HeadersTooLarge(CallerProblem):
    status = 431
    title = "The headers are too large"


class MethodUnknown(CallerProblem):
    status = 501
    title = "No resource here takes this method"


class OperatorProblem(Problem):
    """Whoever runs the gateway must act; nothing the caller can change."""


class Misconfigured(OperatorProblem):
    title = "The gateway is not configured"


class JournalBroken(OperatorProblem):
    """The journal's database does not agree with itself or with what was published. Nothing is signed."""

    title = "The journal is not what was published"


class Unavailable(OperatorProblem):
    """`retry_after`: seconds after which asking again makes sense; whoever is refused is always told."""

    status = 503
    title = "The gateway cannot accept this now"

    def __init__(self, code: str, detail: str = "", *, retry_after: int = 5, **members: Any) -> None:
        super().__init__(code, detail, retry_after=retry_after, **members)
