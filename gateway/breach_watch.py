"""What the gateway notices by itself and writes down as the draft of a data breach, for the DPO to qualify.

| kind | noticed |
|---|---|
| `journal-verification` | the journal no longer agrees with what was published, or its reader finds a bad entry |
| `mass-read` | one client or agent looked up `MASS` persons or more in an hour |
| `probing` | one client or agent searched people nobody knows, again and again |
| `token-stolen` | a token, its proof or an assertion was used again, or with another key |
| `key-exposure` | a suspended client or a revoked token is still used by the holder of its key |

Each is written once a day per client, from the journal of the hour before: what is noticed there can be shown. The 72
hours start then. Refusals that anyone may cause without a key (a bad signature, an unknown client) say nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from gateway import breach, clock
from gateway.audit_queries import MASS, lookups, period
from gateway.clock import day_of
from gateway.journal import DEFAULT_LOG
from gateway.journal_copy import verify_own
from gateway.problems import JournalBroken, Unknown
from gateway.registry import Gateway
from gateway.unit_of_work import UnitOfWork

WINDOW = timedelta(hours=1)
VAIN = 20
"""Searches in an hour, by one client or agent, that found nobody."""


@dataclass(frozen=True, slots=True)
class Misuse:
    """Refusals that only the holder of a real token or key can cause, and how many in an hour make a signal."""

    kind: str
    reasons: frozenset[str]
    least: int
    words: str


MISUSES = (
    Misuse(
        "token-stolen",
        frozenset({"assertion-replayed", "proof-replayed", "signature-replayed", "proof-other-key",
                   "bound-token-as-bearer", "certificate-differs"}),
        5,
        "jetons ou preuves déjà servis, ou présentés avec une autre clé",
    ),
    Misuse(
        "key-exposure",
        frozenset({"client-suspended", "token-revoked"}),
        3,
        "usages d'une clé suspendue ou d'un jeton révoqué",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signal:
    kind: str
    who: str
    """Client, agent or log."""
    content: Mapping[str, Any]

    def name(self, now: str) -> str:
        return f"{self.kind}:{self.who}:{day_of(now)}"


def look(gateway: Gateway) -> list[str]:
    """Write down what the last hour shows and was not written down yet; ids of the new drafts."""
    broken = _broken_publication(gateway)
    start, end = clock.instant(clock.now() - WINDOW), clock.instant(clock.now() + timedelta(seconds=1))
    with gateway.reading() as work:
        found = [*broken, *_masses(work, start, end), *_vain(work, start, end), *_misused(work, gateway, start, end)]
    return _write(gateway, found)


def verify_journal(gateway: Gateway) -> list[str]:
    """Have every entry checked by the independent reader; a bad one is written down. Raises `JournalBroken` then."""
    found = _broken_publication(gateway)
    if not found:
        for log, report in verify_own(gateway.engine, gateway.settings):
            if not report.ok:
                place = f"écriture {report.first_bad}" if report.first_bad is not None else "dossier publié"
                found.append(_journal(log or DEFAULT_LOG, f"{place} : {report.reason}"))
    made = _write(gateway, found)
    if found:
        raise JournalBroken("journal-verification", "The journal does not verify; see the list of breaches.")
    return made


def _broken_publication(gateway: Gateway) -> list[Signal]:
    try:
        gateway.publish_journal()
    except JournalBroken as broken:
        return [_journal(DEFAULT_LOG, broken.code)]
    return []


def _journal(log: str, what: str) -> Signal:
    return Signal("journal-verification", log, {"noticed": f"Journal {log} : {what}"[:1000]})


def _masses(work: UnitOfWork, start: str, end: str) -> Iterator[Signal]:
    for one in lookups(work.connection, start, end):
        if one["persons"] >= MASS:
            said = (
                f"{one['client_id']} : {one['persons']} personnes consultées en une heure ({one['lookups']} lectures)"
            )
            yield Signal(
                "mass-read",
                one["client_id"],
                {
                    "noticed": said,
                    "persons": one["persons"],
                    "records": one["lookups"],
                    "controllers": _of(one["body"]),
                },
            )


def _vain(work: UnitOfWork, start: str, end: str) -> Iterator[Signal]:
    tried: dict[tuple[str, str], int] = defaultdict(int)
    for entry in period(work.connection, start, end, event="log.read"):
        said = entry.fields
        nobody = said.get("reason_code") in ("inconnu", "unknown") or said.get("outcome") == "unknown"
        if nobody and (who := said.get("client_id") or said.get("agent", "")):
            tried[who, said.get("sender_org", "")] += 1
    for (who, body), times in tried.items():
        if times >= VAIN:
            noticed = f"{who} : {times} recherches en une heure qui n'ont trouvé personne"
            yield Signal("probing", who, {"noticed": noticed, "controllers": _of(body)})


def _misused(work: UnitOfWork, gateway: Gateway, start: str, end: str) -> Iterator[Signal]:
    seen: dict[tuple[str, str], int] = defaultdict(int)
    for entry in period(work.connection, start, end, event="input.reject"):
        said = entry.fields
        if who := said.get("client_id"):
            seen[who, said.get("reason_code", "")] += 1
    for misuse in MISUSES:
        for who in sorted({who for who, _ in seen}):
            times = sum(count for (client, reason), count in seen.items() if client == who and reason in misuse.reasons)
            if times >= misuse.least:
                noticed = f"{who} : {times} {misuse.words} en une heure"
                yield Signal(misuse.kind, who, {"noticed": noticed} | _reached(work, gateway, who, start, end))


def _reached(work: UnitOfWork, gateway: Gateway, client_id: str, start: str, end: str) -> dict[str, Any]:
    """How many persons and records this client touched in that hour: what a thief may have had."""
    try:
        touched = breach.touched(work, gateway, client_id, start, end)
    except Unknown:
        return {}
    return {"persons": len(touched["persons"]), "records": touched["records"], "controllers": [touched["body"]]}


def _of(body: str) -> list[str]:
    return [body] if body else []


def _write(gateway: Gateway, found: list[Signal]) -> list[str]:
    made = []
    with gateway.unit_of_work() as work:
        for signal in found:
            name = signal.name(work.now)
            if not breach.known(work, name):
                made.append(breach.draft(work, signal.kind, signal.content, signal=name))
    return made
