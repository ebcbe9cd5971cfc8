"""The demonstration: one person's diagnosis, from a CAF file to three other bodies, and back.

Everything is real but the people: partner formats, OAuth over HTTP, the decision table, the journal. The stand-ins of
the other bodies run on loopback.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import select

from connectors.departement import sandbox as departement_sandbox
from connectors.departement.synthetic import person_id
from connectors.france_travail import sandbox as france_travail_sandbox
from connectors.hubee import sandbox as hubee_sandbox
from gateway import basis, fse_form, meter, meter_readings, quarantine, verify
from gateway.access.client import PartnerAuth
from gateway.collect import Collected, collect
from gateway.commands.output import printer, table
from gateway.demo.forms import ccas_beneficiary, global_accompaniment, information, neighbour_beneficiary, objection
from gateway.demo.people import Followed, as_allocataire, as_usager, followed, write_caf_file
from gateway.demo.stage import CAF_FILES, Stage, stage
from gateway.policy import in_order
from gateway.problems import Misconfigured
from gateway.pull import pull
from gateway.settings import settings
from gateway.storage.tables.delivery import outbox

_WAIT = 30.0
_STATES = {"delivered": "[green]livré[/]", "withheld": "[red]retenu[/]", "dead": "[red]abandonné[/]"}
FORMS = (
    ("france_travail.calcul_orientation", "france_travail"),
    ("departement.webrsa_ali", "departement"),
    ("ccas.beneficiaires", "ccas"),
    (fse_form.ID, "departement"),
)
"""The forms whose double entry is counted, and who would have to fill each."""
NOT_YET_INFORMED = 3
"""One person has not yet been given the notice: what would go to the CCAS about her waits."""


@dataclass
class Told:
    """What the journey has to tell at its end."""

    meter: list[meter.Form] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run_demo(*, once: bool, port: int) -> int:
    """Play the journey, print what happened, then serve the console unless `once`. Returns an exit status.

    Raises `Misconfigured` (`demo-in-production`): it would take that gateway's settings, and leave a home in its own.
    """
    if settings().profile == "production":
        act = "play it from another folder, without these settings"
        raise Misconfigured("demo-in-production", f"These are the settings of a production gateway: {act}.")
    console = printer()
    home = settings().home / "demo"
    with alone(home), opened(home, port=0 if once else port) as on:
        told = Journey(on, console, home, followed()).play()
        for problem in told.problems:
            console.print(f"[bold red]{problem}[/]")
        if not once:
            console.print(f"\nConsole : [link]{on.server.url}/console/[/link]   (Ctrl+C pour arrêter)")
            try:
                on.server.wait()
            except KeyboardInterrupt:
                console.print("Arrêt.")
    return 1 if told.problems else 0


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Begin with an empty home, which no other demonstration takes away meanwhile. Raises `Misconfigured`."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            why = f"Another demonstration runs in {home}: stop it, or set MAILLON_HOME to another folder."
            raise Misconfigured("demo-running", why) from None
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        yield


@contextmanager
def opened(home: Path, port: int = 0, database_url: str = "") -> Iterator[Stage]:
    """The stage with the demonstration's people known to each stand-in."""
    people = followed()
    usagers = [as_usager(one, rank) for rank, one in enumerate(people)]
    drop = departement_sandbox.sandbox(people=[as_allocataire(one, rank) for rank, one in enumerate(people)])
    france_travail, hubee = france_travail_sandbox.sandbox(usagers=usagers), hubee_sandbox.sandbox()
    with stage(home, france_travail, drop, hubee, port, database_url) as on:
        yield on


class Journey:
    """The six steps, each played through the doors a partner really uses."""

    def __init__(self, on: Stage, console: Console, home: Path, people: list[Followed]) -> None:
        self.on, self.console, self.home, self.people = on, console, home, people
        self.gateway = on.gateway
        self.told = Told()
        self.outcomes: list[dict[str, Any]] = []

    def play(self) -> Told:
        started = time.perf_counter()
        self._title("1. La CAF : un fichier mensuel VRSB0801 entre dans le dossier")
        self._caf()
        self._title("2. Le Département : orientation, référent, accompagnement global")
        self._departement()
        self._title("3. France Travail : le diagnostic est lu, les critères d'orientation sont envoyés remplis")
        self._france_travail()
        self._title("4. Le CCAS, référent par délégation : freins et premier rendez-vous conjoint")
        self._ccas()
        self._title("5. Une personne s'oppose au partage avec le CCAS")
        self._objection()
        self._title("Ce qui a circulé, au titre de quel article, et ce qui a été retenu")
        self._moved()
        self._title("Ce qui n'a pas été compris attend un humain")
        self._quarantine()
        self._title("La double saisie évitée")
        self._meter()
        self._title("Le journal, vérifié par un lecteur qui ne partage rien avec son auteur")
        self._verify()
        self.console.print(f"\n[dim]{time.perf_counter() - started:.1f} s[/]")
        return self.told

    # --- the steps -----------------------------------------------------------------------------------------

    def _caf(self) -> None:
        path = self.home / "RSABEM.xml"
        size = write_caf_file(path)
        self.on.hubee.drop.send(CAF_FILES, {"RSABEM": path.read_bytes()})
        self.console.print(f"Fichier synthétique déposé sur HubEE par la CNAF : {size:,} octets".replace(",", "\u202f"))
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task("relève, contrôle d'empreinte, lecture en flux", total=None)
            (taken,) = asyncio.run(self._collect())
            bar.update(task, total=1, completed=1)
        (file,) = taken.files
        told = file.counts or {}
        names = ("records", "persons", "accepted", "unchanged", "quarantined", "rejected")
        self.console.print(", ".join(f"{name} {told.get(name)}" for name in names))
        self.console.print(f"HubEE informé : {taken.status}")
        if taken.status != "done":
            self.told.problems.append(f"hubee: the case ended as {taken.status} {taken.code}")
        self._settled()

    async def _collect(self) -> list[Collected]:
        try:
            return await collect(self.gateway)
        finally:
            await self.gateway.close_transports()

    def _departement(self) -> None:
        self._inform()
        with self.on.client("departement", "orientation") as client:
            lists = self._post(client, "departement.referentiel", self.on.drop.referentiel(), "application/xml")
            self.console.print(f"Référentiel local reçu ({lists['document']})")
            for name, content in self.on.drop.flows().items():
                told = self._post(client, "departement.webrsa_ali", content, "application/xml")
                self.console.print(f"{name} : {told['records']} dossiers, {self._results(told)}")
                break
        with self.on.client("departement", "accompagnement") as client:
            body = global_accompaniment([(one, person_id(as_allocataire(one, r))) for r, one in enumerate(self.people)])
            told = self._post(client, "departement.accompagnement", body, "application/json")
            self.console.print(f"Accompagnement global ouvert (binôme, volontaires) : {self._results(told)}")
        with self.on.client("ccas_voisin", "accompagnement") as client:
            self._post(client, "ccas.beneficiaires", neighbour_beneficiary(self.people[-1]), "application/json")
            self.console.print("Un CCAS voisin, sans délégation, dit qu'il suit aussi l'une de ces personnes")
        self._settled()

    def _inform(self) -> None:
        """Each person is told of the sharing with the CCAS (PIE asks for information given to each)."""
        informed = [one for rank, one in enumerate(self.people) if rank != NOT_YET_INFORMED]
        with self.gateway.unit_of_work() as work:
            for one in informed:
                basis.record(work, information(self.gateway, self._person(work, one)))
        self.console.print(f"{len(informed)} personnes informées du partage, notice « parcours-insertion » version 1")

    def _france_travail(self) -> None:
        async def fetch() -> int:
            found = 0
            for one in self.people:
                with self.gateway.unit_of_work() as work:
                    person = self._person(work, one)
                for receipt in await pull(
                    self.gateway, person, "france_travail", "france_travail.dossier_diagnostic", "departement"
                ):
                    found += 1
                    self.outcomes += [
                        asdict(outcome) | {"from": "france_travail", "article": "; ".join(outcome.article)}
                        for outcome in receipt.outcomes
                    ]
            await self.gateway.close_transports()
            return found

        read = asyncio.run(fetch())
        self.console.print(f"{read} dossiers de diagnostic v4 lus (recherche par NIR et date, jeton, dossier)")
        self._settled()
        received = self.on.france_travail.calls("calcul")
        self.console.print(f"{len(received)} calculs d'orientation reçus par France Travail")

    def _ccas(self) -> None:
        with self.on.client("ccas", "accompagnement") as client:
            for one in self.people[:3]:
                told = self._post(client, "ccas.suivi", ccas_beneficiary(one), "application/json")
                self.console.print(
                    f"Bénéficiaire envoyé : {self._results(told)}, "
                    + ", ".join(sorted({f"{o['recipient']} {o['status']}" for o in told["outcomes"]}))
                )
            self._settled()
            letters = client.get("/v1/inbox").raise_for_status().json()["letters"]
            for letter in letters:
                document = client.get(f"/v1/inbox/{letter['id']}/document").raise_for_status()
                self._measure_json(letter["document"], document)
                client.post(f"/v1/inbox/{letter['id']}/ack").raise_for_status()
            self.console.print(f"{len(letters)} dossiers retirés de la boîte du CCAS et acquittés")
        self.console.print("Le rendez-vous n'a pas de chemin légal du CCAS vers France Travail : il va au Département")
        self.console.print(f"{len(self.on.drop.deposited)} dépôts ALI reçus par le Département")

    def _objection(self) -> None:
        one = self.people[0]
        with self.gateway.unit_of_work() as work:
            person = self._person(work, one)
            basis.object_(work, objection(self.gateway, person))
        with self.on.client("departement", "accompagnement") as client:
            body = global_accompaniment([(one, person_id(as_allocataire(one, 0)))], end="2027-06-30")
            told = self._post(client, "departement.accompagnement", body, "application/json")
        for outcome in told["outcomes"]:
            if outcome["recipient"] == "ccas":
                why = f"{outcome['reason']} – {outcome['article']}"
                self.console.print(f"Envoi suivant vers le CCAS : [red]{outcome['status']}[/] – {why}")
                if outcome["status"] != "withheld":
                    self.told.problems.append("objection: the next delivery was not withheld")
        self._settled()

    # --- what is told at the end ---------------------------------------------------------------------------

    def _moved(self) -> None:
        shown = table("de, vers, document", "ce qui est passé, pourquoi, et ce qui a été retenu", "nombre")
        sent: dict[tuple[str, ...], set[str]] = defaultdict(set)
        kept: dict[tuple[str, ...], set[str]] = defaultdict(set)
        counts: Counter[tuple[str, ...]] = Counter()
        with self.gateway.engine.connect().execution_options(read_only=True) as connection:
            for row in connection.execute(select(outbox).order_by(outbox.c.id)):
                state = _STATES.get(row.state, row.state)
                why = row.article if row.state == "delivered" else f"{row.reason} – {row.article or ''}"
                place: tuple[str, ...] = (row.sender, row.recipient, row.document, state, why or "")
                counts[place] += 1
                sent[place] |= set((row.categories or "").split(",")) - {""}
                kept[place] |= {f"{code} ({rule})" for code, rule, _, _ in json.loads(row.withheld or "[]")}
        for o in self.outcomes:
            if o["status"] == "withheld":
                why = f"{o['reason']} – {o['article'] or ''}"
                counts[o["from"], o["recipient"], o["document"], "[red]refusé[/]", why] += 1
        shown.columns[0].no_wrap = True
        for place, count in sorted(counts.items()):
            sender, recipient, document, state, why = place
            passed = f"{state} : {', '.join(in_order(sent[place]))}" if sent[place] else state
            said = [passed, why, *([f"retenu : {', '.join(sorted(kept[place]))}"] if kept[place] else ())]
            shown.add_row(f"{sender} → {recipient}\n{document}", "\n".join(said), str(count), end_section=True)
        self.console.print(shown)

    def _quarantine(self) -> None:
        shown = table("document", "code", "chemin", "nombre")
        with self.gateway.unit_of_work() as work:
            for document, code, path, count in quarantine.counts(work):
                shown.add_row(document, code, path, str(count))
        self.console.print(shown)

    def _meter(self) -> None:
        shown = table("formulaire", "champs", "d'où, et ce que la loi retient")
        shown.columns[0].no_wrap = True
        with self.gateway.unit_of_work() as work:
            people = [self._person(work, one) for one in self.people]
            for document, recipient in FORMS:
                one = meter.form(work, self.gateway, people, recipient, document)
                self.told.meter.append(one)
                told = ", ".join(f"{source} {count}" for source, count in sorted(one.sources.items()))
                kept = ", ".join(f"{fields.total()} ({article})" for article, fields in sorted(one.withheld.items()))
                counts = f"{one.fields}\ndéjà donnés : {one.given}\npréremplis : {one.prefilled}"
                about = f"{document}\npour {recipient}"
                shown.add_row(about, counts, f"{told}\nretenus : {kept or 0}", end_section=True)
                if one.missed:
                    self.told.problems.append(f"meter: {one.missed} permitted fields of {document} are not filled")
        asyncio.run(meter_readings.keep(self.gateway))  # as a server does every day: the console shows it
        self.console.print(shown)
        total = sum(one.prefilled for one in self.told.meter)
        self.console.print(
            f"[bold]{total} champs que personne n'a eu à retaper[/] ({len(people)} personnes, {len(FORMS)} formulaires)"
        )

    def _verify(self) -> None:
        self.gateway.publish_journal()
        said = StringIO()
        with redirect_stdout(said):
            status = verify.main([str(self.gateway.journal_folder)])
        self.console.print(said.getvalue().strip())
        if status:
            self.told.problems.append("journal: the verifier found something wrong")

    # --- small things --------------------------------------------------------------------------------------

    def _title(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/]")

    def _post(self, client: httpx.Client, document: str, body: Any, media: str) -> dict[str, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        answer = client.post(
            "/v1/exchanges",
            content=content,
            headers={"Content-Type": media, "Maillon-Document": document, "Idempotency-Key": f"demo-{time.time_ns()}"},
        )
        if answer.status_code != 202:
            raise RuntimeError(f"{document}: {answer.status_code} {answer.text}")
        told: dict[str, Any] = answer.json()
        sender = client.auth.client_id if isinstance(client.auth, PartnerAuth) else ""
        self.outcomes += [outcome | {"from": sender} for outcome in told["outcomes"]]
        return told

    def _results(self, told: dict[str, Any]) -> str:
        counted = Counter(result["status"] for result in told["results"])
        return ", ".join(f"{count} {status}" for status, count in sorted(counted.items()))

    def _measure_json(self, document: str, answer: httpx.Response) -> None:
        if answer.headers.get("Maillon-Document") != document:
            self.told.problems.append(f"inbox: {document} came without its name")

    def _person(self, work: Any, one: Followed) -> str:
        keys = self.gateway.identity.keys_of(
            {"identifiants[nir].valeur": one.person.nir[:13], "personne.date_naissance": one.born}
        )
        match = self.gateway.identity.resolve(work, keys)
        if match.person_id is None:
            raise RuntimeError("a person of the demonstration is not known")
        return match.person_id

    def _settled(self) -> None:
        """Wait until the server's worker has nothing left to deliver."""
        until = time.monotonic() + _WAIT
        while time.monotonic() < until:
            with self.gateway.engine.connect().execution_options(read_only=True) as connection:
                row = connection.execute(select(outbox.c.id).where(outbox.c.state.in_(("queued", "claimed")))).first()
            if row is None:
                return
            time.sleep(0.1)
        self.told.problems.append("deliveries: some are still waiting")
