"""Commands that run something: demo, serve, work, sandbox, doctor, outbox, bench, demo-data."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from prometheus_client import start_http_server
from sqlalchemy import select

from connectors.manifest import installed
from gateway import journal, notifier, outbox, recipients, schedule
from gateway.commands import group
from gateway.commands.output import WRONG_USAGE, body_of, data, fail, told
from gateway.problems import Misconfigured
from gateway.registry import Gateway
from gateway.settings import settings
from gateway.storage.tables.delivery import outbox as outbox_table
from gateway.worker import Worker

log = structlog.get_logger(__name__)


class Flux(StrEnum):
    mensuel = "mensuel"
    quotidien = "quotidien"


class Organisme(StrEnum):
    caf = "caf"
    msa = "msa"


_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def register(app: typer.Typer) -> None:
    app.command()(demo)
    app.command()(serve)
    app.command()(work)
    app.command()(sandbox)
    app.command()(doctor)
    app.command()(bench)
    app.command(name="demo-data")(demo_data)
    about = "Deliveries: list, retry, pause, resume."
    group(app, "outbox", about, list=outbox_list, retry=outbox_retry, pause=outbox_pause, resume=outbox_resume)


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop after printing; do not serve the console.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the console.")] = 8400,
) -> None:
    """One person's diagnosis through four bodies, on files in their real formats."""
    from gateway.demo.journey import run_demo

    if not once:
        _require_free("127.0.0.1", port)
    raise typer.Exit(run_demo(once=once, port=port))


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on.")] = 8400,
    workers: Annotated[int, typer.Option(min=1, help="Processes; more than one needs PostgreSQL.")] = 1,
) -> None:
    """The API and the console. On SQLite it also delivers; on PostgreSQL run `maillon work` beside it."""
    import uvicorn

    from gateway import http_guard, metrics, production, serving

    own = settings()
    production.require(own, host)
    sqlite = own.database.startswith("sqlite")
    if sqlite and workers > 1:
        fail("one-process", "SQLite serves from one process; use PostgreSQL for more.", WRONG_USAGE)
    if "issuer" not in own.model_fields_set and own.profile != "production" and host in _LOOPBACK:
        os.environ["MAILLON_ISSUER"] = f"http://{host}:{port}"
        settings.cache_clear()
    _require_free(host, port)
    gateway = Gateway.open(settings())
    log.info("serving", issuer=settings().issuer, host=host, port=port, processes=workers)
    with metrics.together() if workers > 1 else nullcontext():
        uvicorn.run(
            serving.of(gateway) if workers == 1 else "gateway.serving:app",
            factory=workers > 1,
            host=host,
            port=port,
            workers=workers,
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=30,
            timeout_worker_healthcheck=60,  # a process that is still importing on a busy machine is not a dead one
            **http_guard.serving(),
        )


def work(
    partner: Annotated[list[str] | None, typer.Option(help="Deliver to these bodies only.")] = None,
    metrics_port: Annotated[int, typer.Option(min=0, max=65_535, help="Prometheus metrics on 127.0.0.1; 0: none.")] = 0,
) -> None:
    """Deliver until stopped; what is in flight at SIGTERM is finished first. Any number of these share the work."""
    gateway = Gateway.open(settings())
    for one in partner or []:
        body_of(gateway, one)
    if metrics_port:
        _require_free("127.0.0.1", metrics_port)
        start_http_server(metrics_port, addr="127.0.0.1")

    async def run() -> None:
        worker = Worker(gateway, partner or ())
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, worker.stopping.set)
        gateway.warm()
        stopping = worker.stopping
        notices = notifier.run(gateway, stopping, only=partner or ())
        await asyncio.gather(worker.run(), schedule.run(gateway, stopping), notices)
        await gateway.close_transports()

    log.info("delivering", only=partner or [])
    asyncio.run(run())


def _require_free(host: str, port: int) -> None:
    """Raises `Misconfigured("address-unavailable")`: the servers' own words are not kept, they may quote anything."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        why = f"{host}:{port} cannot be listened on ({error.strerror}): another process may hold it."
        raise Misconfigured("address-unavailable", why) from None


def sandbox(
    id: Annotated[str, typer.Argument(help="france_travail, hubee, departement, ccas…")],
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port on 127.0.0.1.")] = 8500,
    scenario: Annotated[str, typer.Option(help="Drive it into a documented failure.")] = "",
) -> None:
    """One body's stand-in, alone, on its real paths."""
    import uvicorn

    one = installed().get(id)
    module = one.sandbox if one else None
    if module is None:
        known = sorted(name for name, each in installed().items() if each.sandbox is not None)
        fail("sandbox-unknown", f"Stand-ins: {', '.join(known)}.", WRONG_USAGE)
    if scenario and scenario not in module.SCENARIOS:
        fail("scenario-unknown", f"Scenarios: {', '.join(sorted(module.SCENARIOS))}.", WRONG_USAGE)
    _require_free("127.0.0.1", port)
    app = module.sandbox(scenario=scenario or None)
    described = getattr(module, "describe", lambda _app, base: {"base_url": base})(app, f"http://127.0.0.1:{port}")
    data(described)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def doctor() -> None:
    """Keys, clock, database, journal, partners: what is right, and what to do about the rest."""
    from gateway import production

    checks = production.examine(settings())
    for check in checks:
        told(check["check"], check["detail"], "green" if check["ok"] else "red")
    data({"ok": all(check["ok"] for check in checks), "checks": checks})
    if not all(check["ok"] for check in checks):
        raise typer.Exit(1)


def outbox_list(dead: Annotated[bool, typer.Option("--dead", help="Only those that gave up.")] = False) -> None:
    """Deliveries that are not finished, or only the dead letters; one JSON object per line."""
    gateway = Gateway.open(settings())
    states = ("dead",) if dead else ("queued", "claimed", "waiting", "dead")
    with gateway.engine.connect().execution_options(read_only=True) as connection:
        rows = connection.execute(
            select(outbox_table).where(outbox_table.c.state.in_(states)).order_by(outbox_table.c.id)
        )
        for row in rows:
            data(
                {
                    "id": row.id,
                    "recipient": row.recipient,
                    "document": row.document,
                    "state": row.state,
                    "reason": row.reason,
                    "attempts": row.attempts,
                    "next_at": row.next_at,
                }
            )


def outbox_retry(ids: Annotated[list[str], typer.Argument(help="Ids of deliveries.")]) -> None:
    """Send dead, waiting or withheld deliveries again, and now those put off until later; each is decided anew."""
    gateway = Gateway.open(settings())
    with gateway.unit_of_work() as work:
        queued = outbox.replay(work, ids)
        if queued:
            journal.append(work, "admin.delivery_retry", n_records=queued, outcome="queued")
    data({"queued": queued, "unknown": len(ids) - queued})
    if not queued:
        fail(
            "delivery-unknown",
            "None of these is left to send or withheld: see `maillon outbox list`.",
            WRONG_USAGE,
        )


def outbox_pause(body: Annotated[str, typer.Argument(help="Id of the recipient.")]) -> None:
    """Deliver nothing more to a body, on any machine, until `resume`; what is promised waits."""
    _pause(body, True)


def outbox_resume(body: Annotated[str, typer.Argument(help="Id of the recipient.")]) -> None:
    """Deliver again at once, and forget that its deliveries failed."""
    _pause(body, False)


def _pause(body: str, paused: bool) -> None:
    gateway = Gateway.open(settings())
    body_of(gateway, body)
    with gateway.unit_of_work() as work:
        recipients.pause(work, body, paused)
        journal.append(work, "admin.setting", recipient_org=body, outcome="paused" if paused else "resumed")
    data({"recipient": body, "paused": paused})


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks; all by default.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """The benchmarks of `bench/`: product, floor and their ratio, measured in one run."""
    folder = Path(__file__).parents[2] / "bench"
    known = {
        path.stem: path
        for path in sorted(folder.glob("*.py"))
        if not path.stem.startswith(("_", "capacity", "check", "flame", "report"))
    }
    if not known:
        fail("bench-missing", "Benchmarks run from a checkout of the repository.", WRONG_USAGE)
    for name in names or known:
        if name not in known:
            fail("bench-unknown", f"Benchmarks: {', '.join(known)}.", WRONG_USAGE)
        command: list[Any] = [sys.executable, known[name], *(["--json"] if json_ else [])]
        if code := subprocess.run(command, check=False).returncode:  # noqa: S603 our own script
            raise typer.Exit(code)


def _month(text: str) -> str:
    """A month that was typed. Ends as wrong usage for another text."""
    if not re.fullmatch("(19|20)[0-9]{2}-(0[1-9]|1[0-2])", text):
        raise typer.BadParameter("give a month as AAAA-MM.")
    return text


def demo_data(
    source: Annotated[str, typer.Argument(help="caf")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write, or folder with --suite; named by the flux's code if none."),
    ] = None,
    foyers: Annotated[int, typer.Option(min=0, help="Households.")] = 40,
    seed: Annotated[int, typer.Option(help="The same seed writes the same file.")] = 1,
    flux: Annotated[Flux | None, typer.Option(help="mensuel by default; with --suite, both.")] = None,
    organisme: Annotated[Organisme | None, typer.Option(help="caf by default; with --suite, both.")] = None,
    mois: Annotated[
        str, typer.Option(callback=_month, help="Reference month, AAAA-MM; with --suite, the first.")
    ] = "2026-10",
    suite: Annotated[int, typer.Option(min=0, help="Months that follow, with the daily files between.")] = 0,
) -> None:
    """Write a synthetic file of any size, in the partner's exact structure; with --suite, the files of successive
    months over which the same households live."""
    from connectors.caf import generator

    if source != "caf":
        fail("demo-data", "Files are written in the name of: caf.", WRONG_USAGE)
    departement = settings().departement or "040"
    output = output or _by_code(flux, organisme, suite)
    if suite:
        _successive_months(output, foyers, seed, flux, organisme, mois, departement, suite)
        return
    one, whose = flux or Flux.mensuel, organisme or Organisme.caf
    generator.write_file(output, foyers, seed, one.value, whose.value, mois=mois, departement=departement)
    data({"file": str(output), "bytes": output.stat().st_size, "foyers": foyers})


def _by_code(flux: Flux | None, organisme: Organisme | None, suite: int) -> Path:
    """Where to write when nobody says: under the code that the caisses give the file (RSABEM.xml), or a folder of its
    network. Ends as wrong usage where something is: it may be a file of theirs."""
    network = "MSA" if organisme == "msa" else "RSA"
    path = Path(f"{network}BE" if suite else f"{network}BE{'I' if flux == 'quotidien' else 'M'}.xml")
    if path.exists():
        fail("path-taken", f"{path} exists: name another place with --output.", WRONG_USAGE)
    return path


def _successive_months(
    folder: Path, foyers: int, seed: int, flux: Flux | None, organisme: Organisme | None, mois: str,
    departement: str, suite: int,
) -> None:  # fmt: skip
    """`AAAA-MM-JJ-<organisme>-<flux>.xml`, by the day each was made; a day without news has no daily file."""
    from connectors.caf.generator import contexte
    from connectors.caf.synthese.monde import Monde

    premier = contexte(mois=mois, departement=departement).reference + timedelta(days=4)
    monde = Monde(seed=seed, n=foyers, departement=departement, jour=premier)
    folder.mkdir(parents=True, exist_ok=True)
    files = size = 0
    for kind, _ in monde.mois_passent(suite):
        for whose in [organisme] if organisme else Organisme:
            if (flux and flux != kind) or (kind == "quotidien" and not monde.a_dire(whose.value)):
                continue
            path = folder / f"{monde.jour.isoformat()}-{whose}-{kind}.xml"
            with path.open("wb") as stream:
                (monde.mensuel if kind == "mensuel" else monde.quotidien)(stream, whose.value)
            files, size = files + 1, size + path.stat().st_size
    data({"folder": str(folder), "files": files, "bytes": size, "foyers": foyers, "months": suite})
