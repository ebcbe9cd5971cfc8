"""Trying a document without writing anything: canonical JSON Lines, a recipient's document, a prefilled form."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from connectors.contract import Connector, Reading
from connectors.manifest import installed
from gateway import dry_run, fse_form
from gateway.ingest import Counts
from gateway.prefill import seen_by
from gateway.problems import Misnamed, Unknown
from gateway.registry import Gateway, configured
from gateway.settings import settings
from schemas.record import Current, Fact, Record, Written


def owner(document: str, direction: str) -> str:
    """The connector that speaks this document, `read` (from its body) or `write` (for it).

    Raises `Invalid`: `document-unknown`, `document-not-sent` (nothing reads it), `document-not-received`.
    """
    spoken = {one.id: (id, one.direction) for id, each in installed().items() for one in each.manifest.document}
    id, directions = spoken.get(document, ("", ()))
    if direction in directions:
        return id
    code = ("document-not-sent" if direction == "read" else "document-not-received") if id else "document-unknown"
    known = ", ".join(sorted(one for one, (_, directions) in spoken.items() if direction in directions))
    raise Misnamed(code, f"Documents that connectors {direction}: {known}.")


def open_document(document: str, path: Path) -> Reading:
    """A partner's document, read as it would be by an exchange. The stream lives as long as the reading."""
    return _opened(owner(document, "read")).read(document, path.open("rb"))


def _opened(id: str) -> Connector:
    """A connector that is not in service yet is tried too: what it lacks to be reached, no preview uses. The
    Département is asked for all the same: numbers are read under it."""
    one, site = installed()[id], settings()
    lacking = {each.name: "-" for each in one.manifest.setting if each.required and each.name != "departement"}
    return configured(one, site.model_copy(update={"bodies": {id: lacking | site.bodies.get(id, {})}}))


def persons(record: Record) -> Iterator[dict[str, Any]]:
    """Each person of a record with her household's facts, as canonical JSON."""
    for rank, one in enumerate(record.personnes):
        yield {"record": record.key, "person": one.key or str(rank + 1), "facts": {**record.foyer, **one.facts}}


def write(document: str, person: dict[str, Any]) -> Written:
    """The recipient's document from one previewed person, as if everything were permitted."""
    return _opened(owner(document, "write")).write(document, _told(person))


def not_carried(document: str, person: dict[str, Any]) -> Iterator[str]:
    """Each fact of a previewed person without which the recipient's document would be the same; keys only where they
    are words of ours."""
    connector, current = _opened(owner(document, "write")), _told(person)
    whole = connector.write(document, current)
    for path in current:
        other = connector.write(document, {name: fact for name, fact in current.items() if name != path})
        if (other.document, other.findings) == (whole.document, whole.findings):
            yield _NAMING.sub("[]", path)


_NAMING = re.compile(r"\[(?![a-z_]+\])[^\]]*\]")


def _told(person: dict[str, Any]) -> Current:
    return {path: Fact(value, "preview", "preview", "") for path, value in person["facts"].items()}


def changes(paths: list[Path], pause: float = 0.5) -> Iterator[Path | None]:
    """At once, then each time one of these files is written: which one. Endless."""
    yield None
    known = {path: path.stat().st_mtime_ns for path in paths}
    while True:
        time.sleep(pause)
        for path in paths:
            # An editor replaces a file: for an instant there is none.
            now = path.stat().st_mtime_ns if path.exists() else known[path]
            if now != known[path]:
                known[path] = now
                yield path


def count(reading: Reading) -> dict[str, Any]:
    """Read everything and only count: the measure of bulk reading."""
    records = people = rejected = quarantined = facts = 0
    for record in reading:
        records += 1
        people += len(record.personnes)
        rejected += record.rejected
        quarantined += record.quarantined and not record.rejected
        facts += len(record.foyer) + sum(len(one.facts) for one in record.personnes)
    return {"records": records, "persons": people, "facts": facts, "rejected": rejected, "quarantined": quarantined}


def prefill(gateway: Gateway, person: str, document: str, recipient: str = "") -> dict[str, Any]:
    """A recipient's document filled from what is known and permitted to it.

    Without a `recipient`, the first body that receives this document. Raises `Unknown` for no such person.
    """
    body = recipient or _receiver(gateway, document)
    if "write" not in gateway.document(body, document).direction:
        raise Misnamed("document-not-received", f"{document} is sent by this body, not received by it.")
    with gateway.unit_of_work() as work:
        if not gateway.dossiers.exists(work, person):
            raise Unknown("person-unknown", "Give a person id; `maillon person search` finds it.")
        visible, withheld, _ = seen_by(work, gateway, person, gateway.flows_carrying(work, body, document))
        written = gateway.write(body, document, visible)
    return written.prefilled | {
        "empty": written.empty,
        "withheld": {one.code: one.article for one in withheld},
    }


def _receiver(gateway: Gateway, document: str) -> str:
    """The first body that receives this document; for the FSE form, which any body may ask for, the Département."""
    for id, one in gateway.bodies.items():
        if one.role == "departement" if document == fse_form.ID else one.connector == owner(document, "write"):
            return id
    raise Unknown("recipient-unknown", "No registered body receives this document: name one with --for.")


def print_changes(counts: Counts, console: Console) -> None:
    """What a dry run would change, for a person to read before applying."""
    if counts.held:
        console.print(f"[bold]Essai : rien n'est écrit.[/] Ce fichier serait retenu en entier ({counts.held}) :")
        console.print("  rien n'en serait appliqué avant qu'une personne décide (--publish-held).")
        return
    said = list(dry_run.sentences(counts.changes)) or ["rien ne change"]
    console.print("[bold]Essai : rien n'est écrit.[/] Ce fichier ferait :")
    for one in said:
        console.print(f"  {one}")
    for name, word in (("quarantined", "à revoir"), ("rejected", "illisible")):
        if number := getattr(counts, name):
            console.print(f"  [yellow]{number} {word}{'s' if number > 1 and name == 'rejected' else ''}[/]")
