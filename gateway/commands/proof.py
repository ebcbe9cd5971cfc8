"""Commands about the journal (verify, export, checkpoint, recover, reconcile, witness), receipts of its decisions."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from connectors import service
from gateway import bundle, clock, decision_record, journal, journal_files, journal_recovery, verify, witness
from gateway.commands import group
from gateway.commands.output import REFUSED, WRONG_USAGE, data, fail, people, told
from gateway.journal import Logged
from gateway.journal_copy import compared
from gateway.journal_files import WITNESS_POLICY
from gateway.policy import Policy
from gateway.problems import Problem
from gateway.registry import Gateway
from gateway.settings import settings


def register(app: typer.Typer) -> None:
    group(
        app, "journal", "The journal of exchanges: verify, export, checkpoint, recover, reconcile, witness.",
        verify=verify_, export=export, checkpoint=checkpoint, recover=recover, reconcile=reconcile, witness=witness_,
    )  # fmt: skip
    group(app, "receipt", "Decisions taken again, from their receipts.", replay=replay, period=period)


def verify_(
    folder: Annotated[
        Path | None,
        typer.Argument(exists=True, file_okay=False, help="Exported or published journal; by default this gateway's."),
    ] = None,
    vkey: Annotated[str, typer.Option(help="Verifier key you trust, or a file of them after a change of key.")] = "",
    since: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True, dir_okay=False, help="Checkpoint kept from earlier, of any of the logs: it must be extended."
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="C2SP policy whose quorum of witnesses must have cosigned each log."
        ),
    ] = None,
) -> None:
    """Check every entry against the signed checkpoint, with a reader that shares nothing with the writer; of this
    gateway's own journal, also that its database still holds what was published."""
    copy = None
    if folder is None:
        gateway = Gateway.open(settings())
        gateway.publish_journal()
        folder, copy = gateway.journal_folder, partial(compared, gateway.engine, gateway.settings)
    kept = [word for one in since or () for word in ("--since", str(one))]
    asked = [*(["--vkey", vkey] if vkey else []), *kept, *(["--policy", str(policy)] if policy else [])]
    raise typer.Exit(verify.main([str(folder), *asked], copy))


def export(folder: Annotated[Path, typer.Argument(file_okay=False, help="Folder to write.")]) -> None:
    """Write `checkpoint`, `tile/` and `vkey` in the C2SP formats."""
    gateway = Gateway.open(settings())
    for one in journal_files.export(gateway.engine, gateway.keys, gateway.settings, folder):
        people.print(f"{one.origin}: {one.size} entries in {folder}", soft_wrap=True, markup=False)


def checkpoint(
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Write every published file again: one was lost or altered.")
    ] = False,
) -> None:
    """Publish what is new and print the signed checkpoint; after a journal was dated ahead by mistake, date it anew."""
    gateway = Gateway.open(settings(), date_is_right=True)
    gateway.publish_journal(rebuild=rebuild)
    typer.echo((gateway.journal_folder / "checkpoint").read_text(encoding="utf-8"), nl=False)


def recover(
    confirm: Annotated[bool, typer.Option("--confirm", help="Do it; otherwise only say what would be done.")] = False,
) -> None:
    """After a backup older than the published journal was restored: bring the missing entries back from its files.

    One JSON object per log that lacks some: at which size it was restored, what was published, how many entries of each
    kind come back, and between which dates. What those entries did (records, choices, deliveries) does not come back.
    Exit 1 when nothing was done.
    """
    gateway = Gateway.open(settings())
    done = journal_recovery.recover(gateway.engine, gateway.keys, gateway.settings, rehearsal=not confirm)
    if not done:
        fail("journal-whole", "The database holds every published entry: there is nothing to bring back.")
    for one in done:
        data(asdict(one))
    if not confirm:
        fail("not-confirmed", "Nothing was changed. Read what this database does not hold, then add --confirm.")
    gateway.publish_journal()


def reconcile(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Journal the partner exported.")],
    partner: Annotated[str, typer.Option(help="Identifier of the partner, as our journal names it.")],
    us: Annotated[str, typer.Option(help="Identifier under which the partner's journal names us, as sender.")],
    vkey: Annotated[str, typer.Option(help="Verifier key of the partner, or a file that holds it.")],
) -> None:
    """Compare what our journal says a partner acknowledged with what its journal says it received; exit 1 if they
    differ.

    Both journals are verified first. One JSON object per exchange that only one tells (`missing_here`,
    `missing_there`) or that stands elsewhere than acknowledged (`moved`), then their number, with what each side
    pruned: an exchange that one side pruned and the other not yet is told as missing.
    """
    gateway = Gateway.open(settings())
    _read(gateway, "journal-reconcile")
    gateway.publish_journal()
    own = gateway.journal_folder
    theirs = Path(vkey).read_text(encoding="utf-8").split() if Path(vkey).is_file() else [vkey]
    ours = (own / "vkeys").read_text(encoding="utf-8").split()
    pruned = {}
    # While nobody publishes: a tile replaced under the reader's eyes would look like a lost one.
    with ExitStack() as held:
        for log in journal.RETENTION_MONTHS:
            held.enter_context(journal_files.alone(journal_files.log_folder(own, log)))
        for place, keys, whose in ((own, ours, us), (folder, theirs, partner)):
            reports = [report for _, report in verify.verify_all(place, keys)]
            for report in reports:
                if not report.ok:
                    fail("journal-invalid", f"The journal of {whose} does not verify ({report}): do not compare it.")
            pruned[whose] = sum(report.pruned for report in reports)
        found = verify.reconcile(verify.all_entries(own, ours), verify.all_entries(folder, theirs), us=us, them=partner)
    for one in found:
        data(asdict(one))
    data({"partner": partner, "divergences": len(found), "pruned": pruned})
    if found:
        raise typer.Exit(REFUSED)


def witness_(
    origin: Annotated[str, typer.Option("--origin", help="Address of the witness (prefix of add-checkpoint).")],
    name: Annotated[str, typer.Option(help="Name of the witness in its key.")] = "witness",
    vkey: Annotated[
        str, typer.Option(help="Verifier key of the witness; by default the one that `witnesses.policy` has for it.")
    ] = "",
) -> None:
    """Have a witness cosign the current checkpoint; exit 1 if it does not."""
    gateway = Gateway.open(settings())
    gateway.publish_journal()
    policy = _asking(gateway, origin, name, vkey)

    async def ask() -> tuple[bool, int]:
        async with service.client() as client:
            collector = witness.Collector(gateway.engine, gateway.settings, policy, client)
            return await collector.collect(), collector.refused[name]

    cosigned, status = asyncio.run(ask())
    data({"witness": origin, "cosigned": cosigned})
    if not cosigned:
        told("not-cosigned", _NOT_COSIGNED.get(status, f"It answers {status}: ask its operator what it lacks."))
        raise typer.Exit(REFUSED)


_NOT_COSIGNED = {
    0: "It gave no answer, or knows a longer log than ours: check its address, then which log it followed.",
    200: "Its answer is not signed by the key of --vkey: ask its operator for its verifier key.",
    403: "It knows this log under another key: give its operator our `vkey` (`maillon journal export`).",
    404: "It follows no log of this origin, or is not there: give its operator our `vkey` (`maillon journal export`).",
    409: "It cosigned another log of this origin and size: keep both, and look for who rewrote ours.",
    422: "What it cosigned before is not in this log: keep both, and look for who rewrote ours.",
}
"""What to do when a witness does not cosign, by the status of its answer."""


def _asking(gateway: Gateway, origin: str, name: str, vkey: str) -> verify.Policy:
    """The policy that asks this witness alone: without its key, nobody could tell its cosignature from another."""
    try:
        known = verify.Policy.parse(witness.policy_text(gateway.settings))
        named = [known.witnesses[one] for one, url in known.urls.items() if url == origin]
        keys = [verify.Key.parse(vkey)] if vkey else named
    except verify.Bad as bad:
        fail("bad-vkey", f"{bad.reason}: correct --vkey, or {WITNESS_POLICY}.", WRONG_USAGE)
    if not keys:
        fail("vkey-missing", f"Give --vkey, or name this witness with its address in {WITNESS_POLICY}.", WRONG_USAGE)
    return verify.Policy(known.logs, {name: keys[0]}, {}, name, {name: origin})


# --- receipts of decisions --------------------------------------------------------------------------------------------


def replay(
    which: Annotated[str, typer.Argument(help="Id of an exchange, or one entry as LOG:INDEX (12m:42).")],
) -> None:
    """Take the decisions of an exchange again under the table of their day; exit 1 when one is not found the same.

    One JSON object per decision: what was asked, what was answered, whether its journal entry is proven.
    """
    gateway = Gateway.open(settings())
    _read(gateway, "receipt-replay")
    gateway.publish_journal()
    good = True
    with gateway.reading() as work:
        found = _entries(work.connection, which)
        entries = [one for one in found if "decision_h" in one.fields]
        if not entries:
            status = REFUSED if found else WRONG_USAGE
            fail("receipt-none", "No decision that can be taken again is under this id.", status)
        for entry in entries:
            verdict = decision_record.replay_entry(work.connection, gateway.settings.home, entry)
            proven = _proven(gateway, entry)
            data(verdict.line() | {"proven": proven})
            good = good and verdict.same and proven
    if not good:
        raise typer.Exit(REFUSED)


def period(
    table: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The other decision table.")],
    start: Annotated[str, typer.Option("--from", help="RFC 3339.")],
    end: Annotated[str, typer.Option("--to", help="RFC 3339; now by default.")] = "",
) -> None:
    """What another table would have refused, narrowed or opened: one JSON object per changed decision, then counts.

    Its proposed rules permit nothing until it is signed (`TABLE.sig`), as in service."""
    gateway = Gateway.open(settings())
    trusted = gateway.settings.policy_trusted
    policy = Policy.load(table, trusted=trusted.read_bytes() if trusted else b"")
    _read(gateway, "receipt-period")
    counts: Counter[str] = Counter()
    span = clock.told(start), clock.told(end) if end else clock.instant()
    with gateway.reading() as work:
        for entry, again in decision_record.under(work.connection, policy, *span):
            counts[again.change] += 1
            if again.change != "unchanged":
                data(decision_record.changed(entry, again))
    data({"policy": policy.version, "decisions": counts.total(), "changes": dict(counts)})


def _entries(connection: Connection, which: str) -> list[Logged]:
    log, _, index = which.partition(":")
    if log in journal.RETENTION_MONTHS and index.isdecimal() and len(index) < 19:  # what a database counts to
        return journal.at(connection, log, int(index))
    return journal.of_exchange(connection, which)


def _proven(gateway: Gateway, entry: Logged) -> bool:
    """Is this entry, as the database gives it now, in the published and signed tree?"""
    place = journal_files.folder_of(gateway.settings, entry.log)
    keys = [f"log {line}" for line in (place / "vkeys").read_text(encoding="utf-8").splitlines()]
    policy = verify.Policy.parse("\n".join([*keys, "quorum none"]))
    try:
        index, _ = verify.check_proof(bundle.tlog_proof(entry, place), entry.content, policy)
    except (verify.Bad, Problem):
        return False
    return bool(index == entry.idx)


def _read(gateway: Gateway, what: str) -> None:
    with gateway.unit_of_work() as work:
        journal.append(work, "log.read", outcome=what, purpose="audit_dpo", agent_role="operator")
