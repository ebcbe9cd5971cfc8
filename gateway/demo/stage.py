"""The stage of the demonstration: a gateway and the four bodies' stand-ins, all on loopback, nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from cryptography.hazmat.primitives import serialization
from joserfc.jwk import ECKey

from connectors.france_travail.sandbox import Sandbox as FranceTravail
from connectors.hubee.sandbox import Sandbox as Hubee
from gateway import basis, convention, http_guard
from gateway.access import partners
from gateway.access.client import PartnerAuth
from gateway.app import build
from gateway.keys import Keyring
from gateway.policy_table import DEFAULT, activate, sign
from gateway.registry import Gateway
from gateway.settings import Settings

FOLDER = Path(__file__).parent
CAF_FILES = "RSABEM-RSABAM"
"""HubEE's name for the monthly beneficiary file and its anomalies."""
ACTIVATED = ("A13", "A14", "A15")
"""Proposed rules that the demonstration's data protection officer signs, to show how that is done."""
NOTICES = {
    "rsa-demande": "Votre CAF ou votre MSA transmet votre demande de RSA au Département, qui doit vous accompagner.",
    "reseau-emploi": "Le Département et France Travail échangent ce qui sert à vous orienter vers le bon organisme.",
    "parcours-insertion": "Les professionnels qui vous accompagnent partagent l'utile. Vous pouvez vous y opposer.",
}
BODIES = {
    "departement": ("departement", "departement", "Département (démonstration)"),
    "ccas": ("ccas", "ccas", "CCAS de Saint-Aventin-les-Sables"),
    "ccas_voisin": ("ccas", "ccas", "CCAS de Port-Albéret"),
}


class Served:
    """An ASGI application served on a free loopback port by a thread of this process."""

    def __init__(self, app: Any, port: int = 0) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="auto", **http_guard.serving())
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def start(self) -> None:
        """Serve; returns once requests are accepted."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)
        if not self._server.started:
            raise RuntimeError("a stand-in could not start")

    def wait(self) -> None:
        """Serve until interrupted."""
        self._thread.join()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


@dataclass
class Stage:
    """Everything the journey needs to play."""

    gateway: Gateway
    server: Served
    france_travail: FranceTravail
    drop: Any
    """The Département's file drop."""
    hubee: Hubee
    keys: dict[str, ECKey]
    servers: list[Served] = field(default_factory=list)

    def client(self, body: str, purpose: str) -> httpx.Client:
        """This partner's own HTTP client: its tokens, its proofs, one purpose."""
        auth = PartnerAuth(self.server.url, body, self.keys[body], purpose=purpose)
        return httpx.Client(base_url=self.server.url, auth=auth, timeout=30, trust_env=False)


def signed_policy(home: Path, rules: Iterable[str] = ACTIVATED) -> tuple[Path, Path]:
    """The decision table with these proposed rules activated, signed by the demonstration's own officer."""
    folder = home / "policy"
    folder.mkdir(parents=True, exist_ok=True)
    key = Keyring(folder).ed25519("dpo")
    table = activate(DEFAULT.read_bytes(), rules, "DPO de démonstration", date.today().isoformat())
    path, trusted = folder / DEFAULT.name, folder / "dpo.pem"
    path.write_bytes(table)
    path.with_name(path.name + ".sig").write_bytes(sign(table, key))
    trusted.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return path, trusted


@contextmanager
def stage(
    home: Path, france_travail: FranceTravail, drop_app: Any, hubee: Hubee, port: int = 0, database_url: str = ""
) -> Iterator[Stage]:
    """Raise the stage in an empty folder, and take it down. The database is a file there, unless another is given."""
    policy, trusted = signed_policy(home)
    others = [Served(france_travail), Served(drop_app), Served(hubee)]
    for one in others:
        one.start()
    server = Served(None, port)
    settings = Settings(
        profile="demo",
        home=home,
        database_url=database_url,
        departement="040",
        issuer=server.url,
        policy_file=policy,
        policy_trusted=trusted,
        checkpoint_every=0.5,
        bodies={
            "france_travail": france_travail.credentials(others[0].url),
            "departement": {"url": others[1].url, "departement": "40"} | drop_app.state.credentials,
            "hubee": hubee.credentials(others[2].url, CAF_FILES),
        },
    )
    gateway = Gateway.open(settings)
    keys = {body: ECKey.generate_key("P-256", auto_kid=True) for body in BODIES}
    with gateway.unit_of_work() as work:
        for body, (connector, role, name) in BODIES.items():
            jwks = {"keys": [keys[body].as_dict(private=False)]}
            partners.register_partner(work, body, connector, jwks, name=name, role=role, issuer=server.url)
        for identifier, text in NOTICES.items():
            basis.publish_notice(work, identifier, 1, text)
        for name in ("convention.toml", "convention_expiree.toml"):
            convention.add(work, (FOLDER / name).read_bytes())
    gateway.refresh()
    server._server.config.app = build(gateway, embedded_worker=True)
    server.start()
    try:
        yield Stage(gateway, server, france_travail, drop_app.state.departement, hubee, keys, others)
    finally:
        server.stop()
        for one in others:
            one.stop()
        gateway.engine.dispose()
