"""The operator changes the gateway's signing keys from the command line, without a stop."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from sqlalchemy import select
from typer.testing import CliRunner

from gateway.access.tokens import NEXT, RELOAD_AFTER, TokenKeys
from gateway.cli import app
from gateway.journal_files import signing_keys
from gateway.keys import Keyring
from gateway.registry import Gateway
from gateway.settings import settings
from gateway.storage.tables.journal import journal_entry


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MAILLON_HOME", str(tmp_path))
    monkeypatch.setenv("MAILLON_PROFILE", "test")
    settings.cache_clear()
    Gateway.open(settings()).engine.dispose()
    yield tmp_path
    settings.cache_clear()


def run(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["keys", "rotate", *words])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def journaled() -> list[str]:
    gateway = Gateway.open(settings())
    with gateway.engine.connect().execution_options(read_only=True) as connection:
        query = select(journal_entry.c.entry).where(journal_entry.c.event == "key.rotate").order_by(journal_entry.c.idx)
        found = [json.loads(row.entry)["outcome"] for row in connection.execute(query)]
    gateway.engine.dispose()
    return found


def test_a_key_of_access_tokens_is_announced_then_signs_and_the_former_still_counts(home: Path) -> None:
    folder = Gateway.open(settings()).keys.folder
    Keyring(folder).es256("oauth")
    before = {key["kid"] for key in TokenKeys(Keyring(folder, may_create=False)).jwks()["keys"]}
    assert run("oauth")["outcome"] == "announced"
    announced = [key["kid"] for key in TokenKeys(Keyring(folder, may_create=False)).jwks()["keys"]]
    assert announced[0] in before
    soon = CliRunner().invoke(app, ["keys", "rotate", "oauth"])
    assert soon.exit_code != 0, "a process that has not read the key yet would refuse its tokens"
    assert "announced-recently" in soon.output
    a_minute_ago = time.time() - RELOAD_AFTER - 1
    os.utime(folder / f"{NEXT}.es256", (a_minute_ago, a_minute_ago))
    assert run("oauth") == {"key": "oauth", "outcome": "rotated"}
    now = [key["kid"] for key in TokenKeys(Keyring(folder, may_create=False)).jwks()["keys"]]
    assert now[0] == announced[1], "it signs with the key announced"
    assert before <= set(now), "tokens of the former key are still read"
    again = CliRunner().invoke(app, ["keys", "rotate", "oauth"])
    assert again.exit_code != 0, "tokens of the key before are still alive"
    assert run("oauth", "--compromised")["outcome"] == "rotated"
    after = {key["kid"] for key in TokenKeys(Keyring(folder, may_create=False)).jwks()["keys"]}
    assert now[0] not in after
    assert journaled() == ["oauth-announced", "oauth-rotated", "oauth-rotated"], "what was refused did not happen"


def test_the_journal_signs_with_one_key_more(home: Path) -> None:
    keys = Gateway.open(settings()).keys
    before = len(signing_keys(keys))
    assert run("journal") == {"key": "journal-2", "outcome": "rotated"}
    assert len(signing_keys(Keyring(keys.folder))) == before + 1
    assert journaled() == ["journal-rotated"]
    refused = CliRunner().invoke(app, ["keys", "rotate", "journal", "--compromised"])
    assert refused.exit_code == 2


def test_the_keys_of_a_partner_that_leaked_are_withdrawn_by_command(home: Path) -> None:
    def partner(*words: str) -> Any:
        done = CliRunner().invoke(app, ["partner", *words])
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    for kid in ("former", "leaked", "new"):
        key = ECKey.generate_key("P-256", parameters={"kid": kid})
        (home / kid).write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    partner("add", "ccas", "--connector", "ccas", "--jwks", str(home / "former"))
    partner("rotate", "ccas", "--jwks", str(home / "leaked"))
    partner("rotate", "ccas", "--jwks", str(home / "new"), "--compromised")
    (told,) = partner("list")
    assert {key["kid"]: key["revoked"] for key in told["keys"]} == {"former": True, "leaked": True, "new": False}
    partner("add", "dept", "--connector", "departement", "--certificate", "san_dns=a.example")
    partner("rotate", "dept", "--certificate", "san_dns=b.example", "--compromised")
