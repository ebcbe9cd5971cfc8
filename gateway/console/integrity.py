"""Is the journal whole? Its checkpoint, its witnesses, a verification now, and a copy to verify elsewhere."""

from __future__ import annotations

import io
import threading
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, func, select

from gateway import clock, verify
from gateway.console.blocks import Badge, Code, Facts, Form, Notice, Num, Page, Table, Text, Title, When
from gateway.console.common import Answer, Download, Go, Place, View
from gateway.journal import DEFAULT_LOG, RETENTION_MONTHS
from gateway.journal_copy import verify_own
from gateway.journal_files import WITNESS_POLICY, alone, folder_of
from gateway.problems import Unavailable
from gateway.settings import Settings
from gateway.storage.tables.journal import journal_key, journal_log
from gateway.words import many, moment, number, say, says, seconds

_PATIENCE = 1.5
"""Seconds a page waits for a verification before it says that it goes on."""
_TRIES = 5


@dataclass
class Check:
    """One verification of the published journal, by code that shares nothing with its writer."""

    started_at: str
    ended_at: str = ""
    lines: list[tuple[str, verify.Report]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def ok(self) -> bool:
        return bool(self.lines) and all(report.ok for _, report in self.lines)


_last: WeakKeyDictionary[Engine, Check] = WeakKeyDictionary()


def places() -> list[Place]:
    """The pages of the journal's integrity."""
    return [
        Place("/console/integrite", integrity, ("dpo",)),
        Place("/console/integrite/verifier", start, ("dpo",), "POST"),
        Place("/console/integrite/export", export, ("dpo",), "POST", apart=True),
    ]


def integrity(view: View) -> Page:
    """The state of each log, the last verification, and what to take away."""
    settings = view.gateway.settings
    page = Page(say("integrite.titre"), [Text(say("integrite.intro"), lead=True)])
    page.blocks += _verdict(view)
    check = _last.get(view.gateway.engine)
    page.moving = check is not None and not check.done.is_set()
    page.blocks.append(Form("/console/integrite/verifier", say("integrite.verifier")))
    rows = []
    for log in view.connection.execute(select(journal_log).order_by(journal_log.c.log)).all():
        published = log.checkpoint.split("\n") if log.checkpoint else []
        size = int(published[1]) if len(published) > 1 and published[1].isdigit() else 0
        age = (clock.now() - datetime.fromisoformat(log.checkpoint_at)).total_seconds()
        rows.append(
            [
                say("integrite.classe", mois=log.log.removesuffix("m")),
                Code(log.origin),
                Num(log.size),
                Num(size),
                When(log.checkpoint_at) if published else say("integrite.aucun"),
                seconds(age),
                Num(log.min_index),
                Code(published[2][:20] + "…") if len(published) > 2 else "–",
            ]
        )
    heads = says("integrite", "journal", "origine", "entrees", "publiees", "point", "age", "elaguees", "racine")
    page.blocks += [
        Title(say("integrite.etat")),
        Table("journaux", say("integrite.legende"), heads, rows, say("integrite.vide"), frozenset({2, 3, 6})),
        Title(say("integrite.cle_titre")),
        _keys(view),
        _witnesses(settings),
        Title(say("integrite.export_titre")),
        Text(say("integrite.export_intro")),
        Form("/console/integrite/export", say("integrite.exporter")),
    ]
    return page


def _verdict(view: View) -> list[object]:
    check = _last.get(view.gateway.engine)
    if check is None:
        return [Notice(say("integrite.jamais"), "wait")]
    if not check.done.wait(_PATIENCE):
        return [Notice(say("integrite.en_cours"), "wait")]
    told = [
        say("integrite.bon", journal=name or "12m", n=number(report.entries))
        if report.ok
        else say(
            "integrite.mauvais",
            journal=name or "12m",
            raison=report.reason,
            index=report.first_bad if report.first_bad is not None else "–",
        )
        for name, report in check.lines
    ]
    return [
        Notice(
            say("integrite.verdict_bon" if check.ok else "integrite.verdict_mauvais", quand=moment(check.ended_at)),
            "good" if check.ok else "bad",
            told,
        )
    ]


def _keys(view: View) -> Facts:
    rows = view.connection.execute(select(journal_key).order_by(journal_key.c.since)).all()
    told: list[tuple[str, object]] = [
        (say("integrite.depuis", quand=moment(row.since)), Code(row.vkey)) for row in rows
    ]
    return Facts(told or [(say("integrite.cle"), say("integrite.aucun"))])


def _witnesses(settings: Settings) -> Facts:
    policy = settings.home / WITNESS_POLICY
    if not policy.is_file():
        return Facts([(say("integrite.temoins"), Badge(say("integrite.sans_temoin"), "wait"))])
    named = [line.split()[1] for line in policy.read_text(encoding="utf-8").splitlines() if line.startswith("witness ")]
    return Facts(
        [
            (say("integrite.temoins"), ", ".join(named)),
            (say("integrite.nombre_temoins"), many("integrite.temoins_n", len(named))),
        ]
    )


def start(view: View) -> Answer:
    """Verify now, in the background: the page waits a moment for the end, then says that it goes on."""
    known = _last.get(view.gateway.engine)
    if known is None or known.done.is_set():
        check = _last[view.gateway.engine] = Check(clock.instant())
        keys = view.connection.scalars(select(journal_key.c.vkey).where(journal_key.c.log == DEFAULT_LOG))
        arguments = (check, view.gateway.engine, view.gateway.settings, list(keys) or None)
        view.work.after_commit(threading.Thread(target=_check, args=arguments, daemon=True).start)
        view.journal("log.read", outcome="journal-verification")
    return Go("/console/integrite")


def _check(check: Check, engine: Engine, settings: Settings, vkeys: list[str] | None) -> None:
    """Verify while nobody publishes: a tile replaced under the reader's eyes would look like a lost one."""
    try:
        with ExitStack() as held:
            for log in RETENTION_MONTHS:
                if folder_of(settings, log).is_dir():
                    held.enter_context(alone(folder_of(settings, log)))
            check.lines = list(verify_own(engine, settings, vkeys))
    except Exception as error:
        check.lines = [("", verify.Report(ok=False, reason=type(error).__name__))]
    finally:
        check.ended_at = clock.instant()
        check.done.set()


def export(view: View) -> Answer:
    """The published journal in one file, with the verifier."""
    gateway = view.gateway
    entries = view.connection.scalar(select(func.sum(journal_log.c.size))) or 0
    view.journal("export", outcome="journal", n_records=int(entries))
    root = folder_of(gateway.settings)
    for _ in range(_TRIES):
        before = _checkpoint(root)
        try:
            content = _packed(root)
        except FileNotFoundError:
            continue  # a new checkpoint replaced a tile meanwhile
        if before and _checkpoint(root) == before:
            return Download(content, "application/zip", "journal.zip")
    raise Unavailable("not-yet-published", "The journal is being published; try again.")


def _checkpoint(root: Path) -> bytes:
    return (root / "checkpoint").read_bytes() if (root / "checkpoint").is_file() else b""


def _packed(root: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root)
            if path.is_file() and not any(part.startswith(".") for part in name.parts):
                archive.write(path, str(Path("journal") / name))
        archive.write(Path(verify.__file__), "verify.py")
        archive.writestr("LISEZMOI.txt", say("integrite.guide"))
    return packed.getvalue()
