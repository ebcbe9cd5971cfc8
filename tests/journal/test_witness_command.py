"""`maillon journal witness`, as an operator types it: with a key, with the operator's policy, with neither."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from typer.testing import CliRunner, Result

from connectors import service
from gateway import api_journal, verify, witness
from gateway.api_journal import FOLLOWED
from gateway.commands import keys, proof
from gateway.journal_files import WITNESS_POLICY
from gateway.registry import Gateway
from gateway.settings import settings
from gateway.storage import open_engine

AT = "http://temoin.test"


class Office:
    """A gateway, and the witness it may ask at `AT`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.gateway = Gateway.open(settings())
        self.gateway.publish_journal()
        logs = (self.gateway.journal_folder / "vkey").read_text("utf-8").split()
        engine = open_engine(f"sqlite:///{home / 'w.db'}")
        self.witness = witness.Witness(engine, "caf.example/temoin", Ed25519PrivateKey.generate(), logs)

    def ask(self, *options: str, origin: str = AT) -> Result:
        app = typer.Typer()
        proof.register(app)
        return CliRunner().invoke(app, ["journal", "witness", "--origin", origin, *options])


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setenv("MAILLON_HOME", str(tmp_path))
    monkeypatch.setenv("MAILLON_PROFILE", "test")
    settings.cache_clear()
    there = Office(tmp_path)
    mounted = Starlette(routes=witness.routes(there.witness))

    def client(**_: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(mounts={f"all://{AT[7:]}": httpx.ASGITransport(mounted)}, trust_env=False)

    monkeypatch.setattr(service, "client", client)
    yield there
    there.gateway.engine.dispose()
    settings.cache_clear()


def test_a_witness_whose_key_is_given_cosigns(office: Office) -> None:
    result = office.ask("--vkey", office.witness.vkey)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"witness": AT, "cosigned": True}


def test_the_address_is_enough_for_a_witness_of_the_operators_policy(office: Office) -> None:
    (office.home / WITNESS_POLICY).write_text(f"witness caf {office.witness.vkey} {AT}\nquorum caf\n")
    result = office.ask()
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["cosigned"] is True


def test_a_witness_that_nobody_knows_is_not_asked(office: Office) -> None:
    unnamed, mistyped = office.ask(), office.ask("--vkey", "caf.example/temoin+1a2b+zz")
    assert (unnamed.exit_code, unnamed.stdout) == (mistyped.exit_code, mistyped.stdout) == (2, "")
    assert "vkey-missing" in unnamed.stderr
    assert "bad-vkey" in mistyped.stderr


def test_a_witness_that_does_not_answer_has_not_cosigned(office: Office) -> None:
    result = office.ask("--vkey", office.witness.vkey, origin="http://127.0.0.1:1")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["cosigned"] is False
    assert "not-cosigned: It gave no answer" in result.stderr


def test_a_witness_that_does_not_follow_this_log_is_told_as_one(office: Office) -> None:
    office.witness.logs.clear()
    result = office.ask("--vkey", office.witness.vkey)
    assert (result.exit_code, json.loads(result.stdout)["cosigned"]) == (1, False)
    assert "not-cosigned: It follows no log of this origin" in result.stderr


def test_the_line_that_a_gateway_prints_of_its_witness_makes_it_trusted_by_another(office: Office) -> None:
    app = typer.Typer()
    keys.register(app)
    told = json.loads(CliRunner().invoke(app, ["keys", "witness"]).stdout)
    (office.home / FOLLOWED).write_text((office.gateway.journal_folder / "vkey").read_text("utf-8"), "utf-8")
    (office.home / WITNESS_POLICY).write_text(f"{told['policy']}\nquorum {told['policy'].split()[1]}\n")
    policy = verify.Policy.parse(witness.policy_text(office.gateway.settings))
    signed = (office.gateway.journal_folder / "checkpoint").read_bytes()
    answer = api_journal._Doors(office.gateway)._add(witness.submission(0, [], signed))
    assert policy.open(signed + answer.body.encode()).origin == office.gateway.settings.journal_origin
    assert list(policy.urls.values()) == [f"{settings().issuer}/v1/journal/witness"]
