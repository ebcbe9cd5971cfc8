"""`maillon journal reconcile`: our journal and the one a partner exported, as an operator compares them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner, Result

from gateway import clock, journal, note
from gateway.commands import proof
from gateway.registry import Gateway
from gateway.settings import settings
from gateway.unit_of_work import UnitOfWork


class Pair:
    """This gateway, a partner's journal, and what passed between them."""

    def __init__(self, gateway: Gateway, peer: Any) -> None:
        self.gateway = gateway
        self.peer = peer

    def exchange(self, *, here: bool = True, there: bool = True, kept: str = "12m") -> str:
        """One delivery to the CCAS, told by each side or left out of one."""
        delivery, index = clock.new_id(), None
        if there:
            with UnitOfWork(self.peer.engine) as work:
                index = journal.append(work, "exchange.request", delivery_id=delivery, sender_org="departement").idx
        if here:
            with self.gateway.unit_of_work() as work:
                journal.append(work, "exchange.ack", delivery_id=delivery, sender_org="caf", recipient_org="ccas",
                               outcome="delivered", peer_idx=index, retention=kept)  # fmt: skip
        self.peer.publish()
        return delivery

    def compare(self, **other: str) -> Result:
        app = typer.Typer()
        proof.register(app)
        options = {"partner": "ccas", "us": "departement", "vkey": self.peer.vkey} | other
        command = ["journal", "reconcile", str(self.peer.folder)]
        for name, value in options.items():
            command += [f"--{name}", value]
        return CliRunner().invoke(app, command)


@pytest.fixture
def pair(a_journal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    home = tmp_path / "departement"
    home.mkdir()
    monkeypatch.setenv("MAILLON_HOME", str(home))
    monkeypatch.setenv("MAILLON_PROFILE", "test")
    settings.cache_clear()
    gateway = Gateway.open(settings())
    yield Pair(gateway, a_journal)
    gateway.engine.dispose()
    settings.cache_clear()


def _lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_two_journals_that_agree(pair: Pair) -> None:
    for _ in range(5):
        pair.exchange()
    result = pair.compare()
    assert result.exit_code == 0, result.output
    assert _lines(result) == [{"partner": "ccas", "divergences": 0, "pruned": {"departement": 0, "ccas": 0}}]
    with pair.gateway.unit_of_work() as work:
        read = journal.of_period(work.connection, "2000", "3000", event="log.read")
    assert [one.fields["outcome"] for one in read] == ["journal-reconcile"]


def test_an_omission_on_either_side_is_named_and_fails_the_command(pair: Pair) -> None:
    pair.exchange()
    hidden_here, hidden_there = pair.exchange(here=False), pair.exchange(there=False)
    result = pair.compare()
    assert result.exit_code == 1
    *found, total = _lines(result)
    assert {(one["kind"], one["exchange"]) for one in found} == {
        ("missing_here", hidden_here),
        ("missing_there", hidden_there),
    }
    assert total["divergences"] == 2


def test_what_is_kept_for_another_time_is_compared_and_verified_too(pair: Pair) -> None:
    pair.exchange(kept="6m")
    pair.exchange()
    hidden = pair.exchange(kept="6m", there=False)
    *found, total = _lines(pair.compare())
    assert [(one["kind"], one["exchange"]) for one in found] == [("missing_there", hidden)]
    assert total["divergences"] == 1
    pair.peer.write(3, retention="36m")
    pair.peer.publish()
    last = next((pair.peer.folder / "36m" / "tile" / "entries").rglob("3"))
    last.write_bytes(last.read_bytes().replace(b"orientation", b"accompagner"))
    assert "The journal of ccas does not verify" in pair.compare().output


def test_a_partner_s_journal_that_does_not_verify_is_not_compared(pair: Pair) -> None:
    pair.exchange()
    other = note.public_key(note.verifier_key(pair.peer.vkey).name, Ed25519PrivateKey.generate())
    assert "journal-invalid" in pair.compare(vkey=str(other)).output
    entries = next((pair.peer.folder / "tile" / "entries").rglob("1"))
    entries.write_bytes(entries.read_bytes().replace(b"departement", b"departemenl"))
    result = pair.compare()
    assert result.exit_code == 1
    assert "The journal of ccas does not verify" in result.output
    assert result.stdout == ""
