"""Time stamps (RFC 3161) over the checkpoints: a third party says that the journal was already so on that day.

`openssl ts` makes the queries and checks the answers; the authority is whatever the operator has (qualified under
eIDAS in production). One stamp a day and per log is kept beside the checkpoint it stamps:

    stamps/<AAAA-MM-JJ>/checkpoint    the note as it was stamped
    stamps/<AAAA-MM-JJ>/r.tsr         the authority's answer
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography import x509

from connectors import service
from gateway.journal import RETENTION_MONTHS
from gateway.journal_files import Files, alone, folder_of
from gateway.problems import Misconfigured, Unavailable
from gateway.settings import Settings


class StampRefused(Exception):
    """The time stamp does not prove what it should. `code`: `mismatch` (other content), `untrusted`, `unreadable`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


AHEAD = timedelta(days=90)
"""Before a certificate that the stamps chain to ends, the time from which it is told."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A certificate that the stamps chain to and that ends soon, or has; nothing of its name follows it yet."""

    setting: str
    name: str
    ends: datetime


def ending(settings: Settings, moment: datetime) -> list[Ending]:
    """What ends of the configured roots and of the certificates between, the first to end first.

    Raises `OSError` and `ValueError` for a file that cannot be opened or holds none.
    """
    found: list[Ending] = []
    for setting in ("timestamp_authorities", "timestamp_chain"):
        if path := getattr(settings, setting):
            last: dict[str, datetime] = {}
            for one in x509.load_pem_x509_certificates(path.read_bytes()):
                name, ends = one.subject.rfc4514_string(), one.not_valid_after_utc
                last[name] = max(ends, last.get(name, ends))
            found += [Ending(setting, name, ends) for name, ends in last.items() if ends < moment + AHEAD]
    return sorted(found, key=lambda one: one.ends)


def _openssl(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("openssl")
    if program is None:
        raise Unavailable("openssl-missing", "Install openssl to make and check time stamps.")
    return subprocess.run([program, "ts", *map(str, arguments)], capture_output=True, timeout=60)  # noqa: S603


def query(content: bytes) -> bytes:
    """The time-stamp query (DER) for this content, with a nonce and asking for the authority's certificate."""
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder, "data"), Path(folder, "q.tsq")
        data.write_bytes(content)
        if _openssl("-query", "-data", data, "-sha256", "-cert", "-out", out).returncode:
            raise StampRefused("unreadable")
        return out.read_bytes()


def check(content: bytes, stamp: bytes, authorities: Path, untrusted: Path | None = None) -> datetime:
    """The moment the stamp attests for this content. `authorities` and `untrusted` are PEM files: the trusted roots,
    and the certificates between. Raises `StampRefused`."""
    with tempfile.TemporaryDirectory() as folder:
        data, token = Path(folder, "data"), Path(folder, "r.tsr")
        data.write_bytes(content)
        token.write_bytes(stamp)
        chain = ["-CAfile", str(authorities)] + (["-untrusted", str(untrusted)] if untrusted else [])
        done = _openssl("-verify", "-data", data, "-in", token, *chain)
        if done.returncode or b"Verification: OK" not in done.stdout + done.stderr:
            said = done.stdout + done.stderr
            if b"message imprint mismatch" in said:
                raise StampRefused("mismatch")
            raise StampRefused("untrusted" if b"certificate" in said or b"signature" in said else "unreadable")
        shown = _openssl("-reply", "-in", token, "-text").stdout.decode(errors="replace")
    match = re.search(r"^Time stamp: (\w{3} +\d+ \d\d:\d\d:\d\d)(?:\.\d+)? (\d{4}) GMT$", shown, re.MULTILINE)
    if match is None:
        raise StampRefused("unreadable")
    return datetime.strptime(f"{match[1]} {match[2]}", "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)


async def stamp(content: bytes, url: str, client: httpx.AsyncClient) -> bytes:
    """Ask the authority at `url` to stamp the content. Raises `httpx.HTTPError`."""
    answer = await client.post(url, content=query(content), headers={"Content-Type": "application/timestamp-query"})
    answer.raise_for_status()
    return answer.content


async def stamp_daily(
    place: Path, url: str, client: httpx.AsyncClient, authorities: Path, untrusted: Path | None, moment: datetime
) -> Path | None:
    """Stamp the checkpoint of one published log, if none was stamped that day; gives the folder of the new stamp.

    A stamp is checked before it is kept. Raises `StampRefused`, `httpx.HTTPError`.
    """
    day = f"stamps/{moment.astimezone(UTC):%Y-%m-%d}"
    if (place / day / "r.tsr").exists():
        return None
    content = (place / "checkpoint").read_bytes()
    token = await stamp(content, url, client)
    check(content, token, authorities, untrusted)
    with alone(place):
        files = Files(place, lambda _: None)
        files.write(f"{day}/checkpoint", content)
        # A crash here leaves a checkpoint without its stamp: the next call stamps again and overwrites it.
        files.write(f"{day}/r.tsr", token)
        files.flush_folders()
    return place / day


async def stamp_published(settings: Settings, moment: datetime, client: httpx.AsyncClient | None = None) -> list[Path]:
    """Have today's checkpoint of every published log stamped by the configured authority; the folders of new stamps.

    Raises `Misconfigured`, `StampRefused`, `httpx.HTTPError`.
    """
    if settings.timestamp_authorities is None:
        raise Misconfigured(
            "timestamp-authorities", "Set MAILLON_TIMESTAMP_AUTHORITIES: unchecked stamps prove nothing."
        )
    places = [folder_of(settings, log) for log in RETENTION_MONTHS]
    trusted, between = settings.timestamp_authorities, settings.timestamp_chain
    async with client or service.client(deadline=30) as asked:
        made = [
            await stamp_daily(place, settings.timestamp_url, asked, trusted, between, moment)
            for place in places
            if (place / "checkpoint").exists()
        ]
    return [one for one in made if one]
