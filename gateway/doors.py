"""What the HTTP doors share: bodies read within bounds, pages of a listing, conditional answers."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic_core import to_json
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from connectors.contract import DocumentRefused
from connectors.json import parse as parse_json
from connectors.manifest import XLSX
from gateway import clock
from gateway.access import Access
from gateway.problems import CallerProblem, Invalid, NotAcceptable, Problem, Stale, TooLarge, Unreadable, Unsupported
from gateway.unit_of_work import UnitOfWork

T = TypeVar("T")

MAX_PAGE = 200
MAX_BODY = 8 * 1024 * 1024
"""Largest body of any call; larger files go through `maillon ingest`, which streams."""
_SMALL = 64 * 1024
MAX_PARTS = 150_000
"""Values of a JSON document, tags of an XML one, lines of a table: what memory and time really depend on."""
_BEGINS = {b"{": "json", b"[": "json", b"<": "xml"}
_STATUS: dict[str, type[CallerProblem]] = {
    "too-large": TooLarge,
    "archive-too-large": TooLarge,
    "table-too-large": TooLarge,
    "table-too-many-columns": TooLarge,
    "table-format": Unsupported,
}


def media_of(http: HttpRequest) -> str:
    return http.headers.get("content-type", "").partition(";")[0].strip().lower()


def extension(media: str) -> str:
    """How the name of a file of this type ends: `xml`, `csv`, `json`, `xlsx`… Not asked of the machine, whose own table
    may say `xsl`."""
    return {XLSX: "xlsx", "text/plain": "txt"}.get(media) or re.split("[/+]", media)[-1]


def _all_of(http: HttpRequest, name: str) -> str:
    """A header that lists, whole: on several lines it says the same as on one (RFC 9110 §5.3)."""
    return ",".join(http.headers.getlist(name))


def require_accepted(http: HttpRequest, media: str) -> None:
    """Honour `Accept` (RFC 9110 §12.5.1): its most precise range that covers this type must not weigh 0.

    Raises `NotAcceptable` (`not-acceptable`).
    """
    weights: dict[str, bool] = {}
    for one in _all_of(http, "accept").lower().split(","):
        wanted, *parameters = (part.strip() for part in one.split(";"))
        if wanted:
            weights[wanted] = not any(re.fullmatch(r"q=0(\.0{0,3})?", each) for each in parameters)
    ranges = (media, f"{media.partition('/')[0]}/*", "*/*")
    if weights and not next((weights[one] for one in ranges if one in weights), False):
        raise NotAcceptable("not-acceptable", f"This is available as {media}: accept it, or send no Accept.")


def require_announced(http: HttpRequest, limit: int) -> None:
    """Refuse a body by its headers alone, before any of it is read. Raises `TooLarge`, `Unsupported`."""
    if http.headers.get("content-encoding", "identity").lower() != "identity":
        raise Unsupported("content-encoding", "Send the body uncompressed.")
    announced = http.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 15 or int(announced) > limit):
        raise TooLarge("body-too-large", f"Send at most {limit} bytes; larger files go through `maillon ingest`.")


async def read_body(http: HttpRequest, limit: int = MAX_BODY) -> bytes:
    """The body, counted while it is read: the announced length is not trusted. Raises `TooLarge`, `Unsupported`."""
    limit = min(limit, MAX_BODY)
    require_announced(http, limit)
    received, size = [], 0
    async for chunk in http.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge("body-too-large", f"Send at most {limit} bytes; larger files go through `maillon ingest`.")
        received.append(chunk)
    return b"".join(received)


async def read_json(http: HttpRequest) -> Any:
    """A small JSON body, strictly read. Raises `Unsupported`, `Unreadable`, `TooLarge`."""
    if media_of(http) != "application/json":
        raise Unsupported("media-type", "Send application/json.")
    body = await read_body(http, _SMALL)
    try:
        return parse_json(body)
    except DocumentRefused as refused:
        raise refusal(refused) from None


async def require_empty(http: HttpRequest) -> None:
    """Refuse what is sent to a door that takes nothing, as it would be dropped unread; `{}` says no more than nothing.

    Raises `Unreadable` (`body-unexpected`), `TooLarge`, `Unsupported`.
    """
    if (await read_body(http, _SMALL)).strip() not in (b"", b"{}"):
        raise Unreadable("body-unexpected", "Send no body: this takes none, and nothing in it would be read.")


def bounded(body: bytes, media: str) -> None:
    """Refuse a body whose parts would weigh far more than its bytes. Raises `TooLarge` (`too-many-parts`).

    They are those of what it is called and of what it looks like: some readers go by the one, some by the other.
    """
    if len(body) <= MAX_PARTS:
        return
    called = next((kind for kind in ("json", "xml") if media.endswith(kind)), "table")
    looks = _BEGINS.get(body.removeprefix(codecs.BOM_UTF8).lstrip()[:1], "table")
    if any(_parts(body, kind) > MAX_PARTS for kind in {called, looks}):
        raise TooLarge("too-many-parts", f"At most {MAX_PARTS} values, tags or lines; use `maillon ingest`.")


def require_form(body: bytes, media: str) -> None:
    """Refuse a table that is not in the form it is called: some readers go by what it looks like.

    Raises `Unsupported` (`not-as-announced`). What is called JSON or XML, its own parser refuses.
    """
    workbook = body.startswith((b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"))
    looks = _BEGINS.get(body.removeprefix(codecs.BOM_UTF8).lstrip()[:1])
    if workbook != (media == XLSX) or (looks and media == "text/csv"):
        raise Unsupported("not-as-announced", f"This is not {media}: send it, or announce what this is.")


def _parts(body: bytes, kind: str) -> int:
    return sum(map(body.count, {"json": (b",", b"[", b"{"), "xml": (b"<",), "table": (b"\n", b"\r")}[kind]))


def refusal(refused: DocumentRefused, media: str = "application/json") -> CallerProblem:
    """A document refused as a whole, as the caller is told."""
    kind = _STATUS.get(refused.code, Unreadable)
    if refused.code == "schema-invalid" and not media.endswith("xml"):
        kind = Invalid
    return kind(refused.code, refused.detail, path=refused.path or None)


def queried(http: HttpRequest, name: str, otherwise: str = "") -> str:
    """A value of the query. Raises `Invalid` (`parameter-repeated`): who reads the first would not see the last."""
    given = http.query_params.getlist(name)
    if len(given) > 1:
        raise Invalid("parameter-repeated", f"Give `{name}` once.")
    return given[0] if given else otherwise


def page(http: HttpRequest) -> tuple[str, int]:
    """`?after=` and `?limit=` of a listing. Raises `Invalid`."""
    limit, after = queried(http, "limit", "50"), queried(http, "after")
    if not re.fullmatch("[0-9]{1,3}", limit) or not 1 <= int(limit) <= MAX_PAGE:
        raise Invalid("limit", f"Ask for 1 to {MAX_PAGE} rows.")
    if after and not clock.ID.fullmatch(after):
        raise Invalid("cursor", "Continue with the `next` of the last page, as it is.")
    return after, int(limit)


def listing(name: str, rows: Iterable[dict[str, Any]], limit: int) -> Response:
    rows = list(rows)
    return json_answer({name: rows, "next": rows[-1]["id"] if len(rows) == limit else None})


def json_answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(content), status, headers, media_type="application/json")


def etag(content: bytes) -> str:
    """A strong entity tag (RFC 9110 §8.8.3)."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def conditional(http: HttpRequest, response: Response) -> Response:
    """The answer with its `ETag`, or 304 without content when the caller has it already."""
    tag = etag(bytes(response.body))
    response.headers["ETag"] = tag
    response.headers.setdefault("Cache-Control", "private, no-cache")
    if _lists(_all_of(http, "if-none-match"), tag, weak=True):
        kept = {name: response.headers[name] for name in ("etag", "cache-control", "vary") if name in response.headers}
        return Response(status_code=304, headers=kept)
    return response


def require_match(http: HttpRequest, tag: str) -> None:
    """Honour `If-Match` before a change. Raises `Stale` (`etag-stale`)."""
    wanted = _all_of(http, "if-match")
    if wanted and not _lists(wanted, tag, weak=False):
        raise Stale("etag-stale", "This has changed since you read it: read it again, then decide.")


def _lists(header: str, tag: str, *, weak: bool) -> bool:
    named = [one.strip() for one in header.split(",")]
    return "*" in named or tag in named or (weak and f"W/{tag}" in named)


def access_of(gateway: Any) -> Access:
    """The access that `access.routes` opened for this gateway."""
    opened: Access = gateway.access
    return opened


async def in_work(http: HttpRequest, action: Callable[[UnitOfWork], T | Problem]) -> T:
    """Run an action durably. A `Problem` it *returns* is raised here: what it wrote before then stays written, and
    the exchanges that share its transaction are not run again."""
    result: T | Problem = await http.app.state.committer.submit(action)
    if isinstance(result, Problem):
        raise result
    return result
