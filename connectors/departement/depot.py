"""The Département's file drop over HTTP: fetch what waits, deposit what is given back, understand the answer.

WebRSA exchanges files; how they are carried is not published. These paths are this project's own, spoken by the
sandbox and by the small relay a Département puts before its folder (README.md).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

from connectors.contract import Acknowledgement, NotObtained
from connectors.transport import Answer, Transport, TransportError

FLUX, REFERENTIEL, DEPOT = "/ali/flux", "/ali/referentiel", "/ali/depot"
_WAIT = {408, 425, 429, 500, 502, 503, 504}
_SAFE_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,59}")


async def fetch(transport: Transport, url: str, headers: Mapping[str, str]) -> AsyncIterator[tuple[str, bytes]]:
    """(document id, bytes) of the référentiel, then of each waiting flow, oldest first. Raises `NotObtained`."""
    yield "departement.referentiel", (await _get(transport, url + REFERENTIEL, headers, "xml")).content
    listing = await _get(transport, url + FLUX, headers, "json")
    try:
        names = [str(entry["nom"]) for entry in listing.json()["flux"]]
    except (ValueError, KeyError, TypeError):
        raise NotObtained("retry", "unexpected-answer") from None
    for name in names:
        path = f"{url}{FLUX}/{quote(name, safe='')}"
        yield "departement.webrsa_ali", (await _get(transport, path, headers, "xml")).content


async def _get(transport: Transport, url: str, headers: Mapping[str, str], kind: str) -> Answer:
    try:
        answer = await transport.request("GET", url, headers=headers)
    except TransportError as error:
        raise NotObtained("retry", error.code, error.retry_after) from None
    if answer.status in _WAIT:
        raise NotObtained("retry", f"http-{answer.status}", answer.retry_after())
    if answer.status != 200:
        raise NotObtained("refused", f"http-{answer.status}")
    if not _is(answer, kind):
        raise NotObtained("retry", "unexpected-answer")
    return answer


async def deposit(
    transport: Transport, url: str, headers: Mapping[str, str], document: bytes, ids: Mapping[str, str]
) -> Acknowledgement:
    """Deposit one file. `ids` maps the numbers we gave (`id_ali`) to the canonical objects they name."""
    try:
        answer = await transport.request(
            "POST",
            url + DEPOT,
            headers={**headers, "Content-Type": "application/xml"},
            content=document,
            repeatable=True,
        )
    except TransportError as error:
        return Acknowledgement("retry", error.code, retry_after=error.retry_after)
    return understood(answer, ids)


def understood(answer: Answer, ids: Mapping[str, str]) -> Acknowledgement:
    """What the drop answered. A 200 that is not the announced JSON is a failure: a firewall's page, for instance."""
    if answer.status in _WAIT:
        return Acknowledgement("retry", f"http-{answer.status}", retry_after=answer.retry_after())
    if answer.status == 404:
        return Acknowledgement("waiting", "person-unknown-there")
    if answer.status == 409:
        return Acknowledgement("duplicate", "already-deposited")
    if answer.status in {400, 413, 415, 422}:
        return Acknowledgement("refused", _code(answer), detail="the Département's check refused the file")
    if not _is(answer, "json"):
        return Acknowledgement("retry", "unexpected-answer", detail="not the announced JSON")
    received = _received(answer)
    facts = {
        f"{ids[one['id_ali']]}.identifiants": [f"departement:{one['id_webrsa']}"]
        for one in received
        if ids.get(one["id_ali"], "").startswith("rendez_vous[")
    }
    first = next((one["id_webrsa"] for one in received), None)
    return Acknowledgement("delivered", "accepted", remote_id=first, facts=facts or None)


def _received(answer: Answer) -> list[dict[str, str]]:
    try:
        entries = answer.json()["recus"]
        return [{"id_ali": str(one["id_ali"]), "id_webrsa": str(one["id_webrsa"])} for one in entries]
    except (ValueError, KeyError, TypeError):
        return []


def _code(answer: Answer) -> str:
    """The drop's own code, when it is one: a sentence could name somebody."""
    try:
        code: Any = answer.json()["code"]
    except (ValueError, KeyError, TypeError):
        code = None
    return code if isinstance(code, str) and _SAFE_CODE.fullmatch(code) else f"http-{answer.status}"


def _is(answer: Answer, kind: str) -> bool:
    return answer.status == 200 and kind in answer.headers.get("content-type", "")
