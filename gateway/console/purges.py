"""What is past its retention, and what was purged of it: two tables of the retention page."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import Any

from gateway import clock, retention
from gateway.audit_queries import period
from gateway.console import law_words
from gateway.console.blocks import Badge, Code, Num, Quiet, Table, Text, Title, When
from gateway.console.common import PAGE, View
from gateway.console.words import say, word

_SINCE = timedelta(days=366)


def blocks(view: View) -> list[Any]:
    """What is due now, by source; the certificates of the last year, newest first."""
    return [
        Title(say("purge.due")),
        Text(say("purge.due_intro")),
        _due(view),
        Title(say("purge.faite")),
        Text(say("purge.faite_intro")),
        _done(view),
    ]


def _due(view: View) -> Table:
    rows = [
        [
            view.body(one["source"]),
            Num(one["statements"]),
            Num(one["subjects"]),
            When(one["oldest"]),
            ", ".join(one["regimes"]) if one["regime_known"] else Badge(say("purge.sans_regime"), "bad"),
        ]
        for one in retention.due(view.work, view.gateway)
    ]
    heads = [say(f"purge.{key}") for key in ("source", "dires", "dossiers", "plus_ancien", "regimes")]
    return Table("purge-due", say("purge.due_legende"), heads, rows, say("purge.due_vide"), frozenset({1, 2}))


def _done(view: View) -> Table:
    now = clock.now()
    span = clock.instant(now - _SINCE), clock.instant(now + timedelta(seconds=1))
    found: deque[list[Any]] = deque(maxlen=PAGE)
    for entry in period(view.connection, *span, event="right.erase"):
        said = entry.fields
        if said.get("reason_code") != "elapsed":
            continue
        about = view.body(said.get("recipient_org", "") or said.get("sender_org", ""))
        found.append([
            When(entry.ts),
            word("purge", "personne" if said["outcome"] == "erased" else "partie" if said.get("subject") else "autre"),
            law_words.categories(said.get("categories_redacted", [])) or Quiet(about or "–"),
            Num(said.get("n_records", 0)),
            Code(said.get("object_ref", "")),
            Code(f"{entry.log}:{entry.idx}"),
        ])  # fmt: skip
    heads = [say(f"purge.{key}") for key in ("quand", "quoi", "categories", "lignes", "certificat", "journal")]
    return Table(
        "purge-faite", say("purge.faite_legende"), heads, list(reversed(found)), say("purge.faite_vide"), frozenset({3})
    )
