"""A gateway and its partner, where faults can be made: in process, or as processes of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from joserfc.jwk import ECKey
from sqlalchemy import func, select, update

from connectors.manifest import installed
from gateway import basis, clock, convention
from gateway.access import partners
from gateway.access.client import PartnerAuth
from gateway.demo.stage import Served
from gateway.exchange import exchange
from gateway.receipt import Receipt, Request
from gateway.registry import Gateway
from gateway.settings import Settings
from gateway.storage.tables.delivery import outbox, recipient_state
from gateway.storage.tables.record import exchange as exchange_table
from schemas.record import PersonFacts, Record
from tests.conftest import TLS
from tests.faults.launcher import Process
from tests.faults.partner import Partner

HERE = Path(__file__).parent
SITE = HERE / "foreign"
ROOT = HERE.parents[1]
CANARY = "CANARI"
"""Begins every synthetic name: must appear in no log (I7)."""
SENDER, RECIPIENTS = "caf_essai", ("guichet", "guichet_b")
_LETTERS = "ABCDEFGHIJ"

_CONVENTION = """
id = "essai-pannes"
nature = "echange_donnees"
titre = "Convention des essais de pannes"
debut = 2026-01-01
fin = 2036-12-31
perimetre = ["40"]
{parties}
{flux}
"""
_PARTIE = """
[[partie]]
id = "{id}"
role = "{role}"
nom = "{id} d'essai"
"""
_FLUX = """
[[flux]]
de = "caf_essai"
vers = "{vers}"
document = "guichet.fiche"
purpose = "instruction_rsa"
regime = "RSA"
base_legale = ["CASF L262-40"]
information = "collective"
notice = "essai:1"
"""


def announce_guichet() -> None:
    """Make the foreign connector visible to this process until the test ends, as `pip install` would."""
    if str(SITE) not in sys.path:
        sys.path.append(str(SITE))
        installed.cache_clear()


def letters(number: int) -> str:
    return "".join(_LETTERS[int(digit)] for digit in f"{number:06d}")


def declaration(number: int, version: int = 0, *, name: str = "") -> dict[str, Any]:
    """Person `number` of the experiment; each version of her declaration differs by her telephone."""
    year, month, rest = 50 + number % 45, 1 + number % 12, number // 180
    telephone = f"+336{number % 10_000:04d}{version % 10_000:04d}"
    return {
        "numero": f"D{number}",
        "personne": {
            "identifiants[nir].valeur": f"2{year:02d}{month:02d}40{1 + rest // 900:03d}{1 + rest % 900:03d}",
            "personne.nom_naissance": f"{name or CANARY}{letters(number)}",
            "personne.prenoms": [f"Canari{letters(number * 7919 % 1_000_000).lower()}"],
            "personne.date_naissance": f"19{year:02d}-{month:02d}-{1 + number % 28:02d}",
            "personne.adresses[residence].code_insee": "40192",
            "personne.adresses[residence].code_postal": "40000",
            f"personne.telephones[{telephone}].numero": telephone,
        },
        "foyer": {"droit_rsa.etat": "ouvert_versable"},
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class House:
    """One gateway's home and database, its partner, and the processes that run in it."""

    home: Path
    database_url: str = ""
    recipients: tuple[str, ...] = RECIPIENTS[:1]
    lease: float = 1.5
    partner_url: str = ""
    """Where the recipient is reached when it is not straight: through a fault proxy, for instance."""
    extra: dict[str, str] = field(default_factory=dict)
    """More settings of every recipient (`rate`, `concurrent`, `deadline`)."""
    partner: Partner = field(default_factory=Partner)
    served: Served | None = None
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", auto_kid=True))
    running: list[Process] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    killed: int = 0
    _gateway: Gateway | None = None
    _history: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        announce_guichet()
        self.home.mkdir(parents=True, exist_ok=True)
        self.served = Served(self.partner)
        self.served.start()
        self.partner_url = self.partner_url or self.served.url

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bodies(self) -> dict[str, dict[str, str]]:
        return {one: {"url": self.partner_url} | self.extra for one in self.recipients}

    @property
    def gateway(self) -> Gateway:
        if self._gateway is None:
            self._gateway = Gateway.open(
                Settings(
                    profile="test",
                    home=self.home,
                    database_url=self.database_url,
                    departement="040",
                    issuer=self.issuer,
                    lease=self.lease,
                    checkpoint_every=0.5,
                    bodies=self.bodies,
                )
            )
        return self._gateway

    def furnish(self) -> House:
        """Partners, notice and convention."""
        with self.gateway.unit_of_work() as work:
            roles = {SENDER: "caf_msa"} | dict.fromkeys(self.recipients, "departement")
            for body, role in roles.items():
                jwks = {"keys": [self.key.as_dict(private=False)]}
                partners.register_partner(
                    work, body, "guichet", jwks, name=f"{body} d'essai", role=role, issuer=self.issuer
                )
            basis.publish_notice(work, "essai", 1, "Notice d'essai")
            parties = "".join(_PARTIE.format(id=id, role=role) for id, role in roles.items())
            flux = "".join(_FLUX.format(vers=one) for one in self.recipients)
            convention.add(work, _CONVENTION.format(parties=parties, flux=flux).encode())
        self.gateway.refresh()
        return self

    def says(self, said: Iterable[dict[str, Any]], *, one_exchange: bool = True) -> list[Receipt]:
        """The sender declares these persons, in one transaction, without the network."""
        gateway = self.gateway
        with gateway.unit_of_work() as work:
            request = Request(clock.new_id(), SENDER, "guichet.declaration", gateway.flows(work, SENDER), SENDER)
            records = [
                Record(
                    one["numero"],
                    [PersonFacts(one["personne"], "p")],
                    one["foyer"],
                    digest=clock.new_id().encode()[-32:],
                )
                for one in said
            ]
            work.add(
                exchange_table, id=request.id, sender=SENDER, client_id=SENDER, document=request.document,
                purpose="instruction_rsa", received_at=work.now, records=len(records),
            )  # fmt: skip
            return exchange(work, gateway, request, records)

    def count(self, table: Any, *where: Any) -> int:
        with self.gateway.engine.connect().execution_options(read_only=True) as connection:
            return int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())

    def due_now(self) -> None:
        """As if the time until the next attempt had passed."""
        with self.gateway.unit_of_work() as work:
            work.connection.execute(update(outbox).where(outbox.c.state == "queued").values(next_at=work.now))
            work.connection.execute(update(recipient_state).values(retry_at=None))

    # --- processes -------------------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("MAILLON_")}
        return own | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(SITE)]),
            "MAILLON_HOME": str(self.home),
            "MAILLON_PROFILE": "test",
            "MAILLON_LEASE": str(self.lease),
            "MAILLON_DEPARTEMENT": "040",
            "MAILLON_ISSUER": self.issuer,
            "MAILLON_CHECKPOINT_EVERY": "0.5",
            "MAILLON_BODIES": json.dumps(self.bodies),
            **({"MAILLON_DATABASE_URL": self.database_url} if self.database_url else {}),
        }

    def start(self, *command: str, failpoint: str = "", migrations: Path | None = None, network: str = "") -> Process:
        """A `maillon` command in a process of its own; its log is kept in the home. `failpoint`: where it dies;
        `migrations`: those of another version of the product; `network`: the namespace it runs in (machines.py)."""
        self.happened("start", command=command, failpoint=failpoint, migrations=migrations)
        environment = self.environment | ({"MIGRATIONS": str(migrations)} if migrations else {})
        environment |= {"NETNS": network} if network else {}
        one = Process(command, environment, self.home / "log", failpoint)
        self.running.append(one)
        return one

    def serve(self, failpoint: str = "", *, port: int = 0, migrations: Path | None = None) -> Process:
        return self.start("serve", "--port", str(port or self.port), failpoint=failpoint, migrations=migrations)

    def work(self, failpoint: str = "", *, migrations: Path | None = None, network: str = "") -> Process:
        return self.start("work", failpoint=failpoint, migrations=migrations, network=network)

    def until_ready(self, timeout: float = 120.0, path: str = "/healthz") -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                if httpx.get(self.issuer + path, timeout=5, trust_env=False, verify=TLS).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the gateway did not start: {self.log()[-2000:]}")

    def client(self) -> httpx.Client:
        """The sender's own HTTP client."""
        auth = PartnerAuth(self.issuer, SENDER, self.key, purpose="instruction_rsa")
        return httpx.Client(base_url=self.issuer, auth=auth, timeout=20, trust_env=False, verify=TLS)

    @staticmethod
    def post(client: httpx.Client, number: int, version: int = 0, key: str = "") -> httpx.Response:
        """One declaration, under an idempotency key that is the same each time it is sent."""
        return client.post(
            "/v1/exchanges",
            json=declaration(number, version),
            headers={"Maillon-Document": "guichet.declaration", "Idempotency-Key": key or f"k-{number}-{version}"},
        )

    def log(self) -> str:
        path = self.home / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self, one: Process) -> None:
        self.happened("kill", pid=one.pid, command=one.args)
        one.send_signal(signal.SIGKILL)
        assert one.wait() == -signal.SIGKILL, "it had ended by itself"
        self.killed += 1

    def happened(self, what: str, **more: Any) -> None:
        """One line of the experiment's history, kept with the home when it fails."""
        line = {"at": time.time(), "monotonic": time.monotonic(), "what": what} | more
        with self._history, (self.home / "history.jsonl").open("a") as history:
            history.write(json.dumps(line, default=str) + "\n")

    def close(self) -> None:
        for one in self.running:
            if one.poll() is None:
                one.kill()
            one.wait()
        if self._gateway is not None:
            self._gateway.engine.dispose()
            self._gateway = None
        self.partner.let_go()
        if self.served is not None:
            self.served.stop()

    async def aclose(self) -> None:
        """Close it, and first the connections that this event loop opened."""
        if self._gateway is not None:
            await self._gateway.close_transports()
        self.close()


def eventually(condition: Any, timeout: float = 120.0, every: float = 0.1) -> None:
    """Wait until the condition holds; fails when it never does."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(every)
