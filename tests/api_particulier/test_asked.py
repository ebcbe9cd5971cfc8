"""A body asks API Particulier about somebody it knows, as its convention and the decision table let it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response
from typer.testing import CliRunner

from connectors.api_particulier.connector import QUOTIENT
from connectors.api_particulier.sandbox import JETON, sandbox
from connectors.contract import NotObtained
from connectors.transport import Limits, Transport
from gateway import basis, clock, convention, journal
from gateway.cli import app
from gateway.demo.forms import information
from gateway.demo.stage import signed_policy
from gateway.exchange import exchange
from gateway.past import given
from gateway.problems import Unknown
from gateway.pull import pull
from gateway.receipt import Receipt, Request
from gateway.registry import Gateway
from gateway.settings import Settings
from schemas.record import PersonFacts, Record

URL = "https://particulier.sandbox.test"
CONVENTION = f"""
id = "dites-le-nous-une-fois"
nature = "echange_donnees"
titre = "Un CCAS demande le quotient familial"
debut = 2026-01-01
fin = 2028-12-31
renouvelable = true
perimetre = ["40"]
priorites = []

[[partie]]
id = "ccas"
role = "ccas"
nom = "CCAS de Saint-Aventin-les-Sables"

[[partie]]
id = "api_particulier"
role = "caf_msa"
nom = "API Particulier"

[[flux]]
de = "ccas"
vers = "api_particulier"
document = "{QUOTIENT}"
purpose = "acces_droits_non_recours"
regime = "DLNUF"
base_legale = ["CRPA L114-8"]
notice = "dlnuf:1"
"""
SOLANGE = {
    "personne.nom_naissance": "ARBELIER", "personne.prenoms": ["SOLANGE"], "personne.sexe_etat_civil": "feminin",
    "personne.date_naissance": "1985-06-12", "personne.lieu_naissance.code_insee": "40901",
}  # fmt: skip


def office(folder: Path, *signed: str) -> Gateway:
    """A CCAS under that convention; `signed` are the proposed rules that an officer signed."""
    policy, trusted = signed_policy(folder, signed)
    settings = Settings(
        home=folder, profile="test", departement="040", policy_file=policy, policy_trusted=trusted,
        bodies={"api_particulier": {"api_url": URL, "jeton": JETON, "recipient": "22400001800016"}, "ccas": {}},
    )  # fmt: skip
    gateway = Gateway.open(settings)
    wire = httpx.ASGITransport(sandbox())
    gateway.transports["api_particulier"] = Transport("api_particulier", [URL], limits=Limits(attempts=1), wire=wire)
    with gateway.unit_of_work() as work:
        convention.add(work, CONVENTION.encode())
        basis.publish_notice(work, "dlnuf", 1, "Dites-le-nous une fois")
    gateway.refresh()
    return gateway


def known(gateway: Gateway, **changes: Any) -> str:
    """The CCAS knows her, and told her of the question."""
    facts = SOLANGE | {f"personne.{name}": value for name, value in changes.items()}
    with gateway.unit_of_work() as work:
        request = Request(clock.new_id(), "ccas", "ccas.suivi", gateway.flows(work, "ccas"))
        record = Record("SA-1", [PersonFacts(facts)], foyer={"droit_rsa.etat": "ouvert_versable"})
        (receipt,) = exchange(work, gateway, request, [record])
        (who,) = receipt.persons
    with gateway.unit_of_work() as work:
        told = information(gateway, who) | {
            "notice_id": "dlnuf",
            "regime": "DLNUF",
            "purpose": "acces_droits_non_recours",
        }
        basis.record(work, told | {"article": ["CRPA L114-8"], "categories": ["C1"]})
    return who


def asked(gateway: Gateway, who: str) -> list[Receipt]:
    return asyncio.run(pull(gateway, who, "api_particulier", QUOTIENT, "ccas"))


def left(gateway: Gateway, who: str) -> list[tuple[str, str, str]]:
    """What the journal says left towards API Particulier: document, law, categories."""
    names = [gateway.keys.pseudonym("api_particulier", who)]
    with gateway.reading() as work:
        told = [entry.fields for entry in journal.about(work.connection, names, ["exchange.deliver"])]
    return [(one["document"], one["article"], " ".join(one["categories_sent"])) for one in told]


def held(gateway: Gateway, who: str) -> set[str]:
    """What a DPO is told that API Particulier was given of her."""
    with gateway.reading() as work:
        return given(work, gateway, who).get("api_particulier", set())


def test_a_ccas_asks_by_civil_identity_once_the_rule_is_signed_and_the_journal_says_so(tmp_path: Path) -> None:
    gateway = office(tmp_path, "A16")
    who = known(gateway)
    (receipt,) = asked(gateway, who)
    assert "droit_rsa.montants[quotient_familial].montant" in receipt.changes[0].paths
    assert left(gateway, who) == [(QUOTIENT, "CRPA L114-8", "C1")]
    assert held(gateway, who) == {"C1"}


@pytest.mark.parametrize(
    ("status", "ends"),
    [(403, [("refused", "scope-missing")]), (503, [])],
    ids=["it refused to answer", "nobody knows what it has read"],
)
def test_the_journal_says_how_a_question_ended(tmp_path: Path, status: int, ends: list[tuple[str, str]]) -> None:
    gateway = office(tmp_path, "A16")
    who = known(gateway)
    wire = httpx.ASGITransport(Response("{}", status, media_type="application/json"))
    gateway.transports["api_particulier"] = Transport("api_particulier", [URL], limits=Limits(attempts=1), wire=wire)
    with pytest.raises(NotObtained):
        asked(gateway, who)
    with gateway.reading() as work:
        names = [gateway.keys.pseudonym("api_particulier", who)]
        told = [one.fields for one in journal.about(work.connection, names, ["exchange.ack"])]
    assert [(one["outcome"], one["reason_code"]) for one in told] == ends
    assert held(gateway, who) == set()


@pytest.mark.parametrize(
    ("signed", "changes", "why"),
    [
        ((), {}, "no-identifier"),
        (("A16",), {"prenoms": ["S."]}, "identity-incomplete"),
        (("A16",), {"date_naissance": "2015-06-12"}, "no-identifier"),
    ],
    ids=["nobody signed the rule", "an initial is no first name", "a minor goes through an agent"],
)
def test_nothing_is_asked_that_the_law_or_her_identity_does_not_let(
    tmp_path: Path, signed: tuple[str, ...], changes: dict[str, Any], why: str
) -> None:
    gateway = office(tmp_path, *signed)
    who = known(gateway, **changes)
    with pytest.raises(NotObtained) as told:
        asked(gateway, who)
    assert (told.value.outcome, told.value.code) == ("waiting", why)
    assert bool(left(gateway, who)) is (why == "identity-incomplete")
    assert held(gateway, who) == set()


def test_the_command_says_what_was_obtained_or_why_nothing_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unsigned, signed = office(tmp_path / "unsigned"), office(tmp_path / "signed", "A16")
    command = ["pull", "--document", QUOTIENT, "--from", "api_particulier", "--for", "ccas"]
    monkeypatch.setattr(Gateway, "open", lambda settings: unsigned)
    refused = CliRunner().invoke(app, [*command, known(unsigned)])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "no-identifier: The law does not let her be named there: no-permit (" in refused.stderr
    nobody = CliRunner().invoke(app, [*command[:-1], "departement", known(unsigned)])
    assert "no-identifier: No flow of the asking body names this document there" in nobody.stderr
    assert isinstance(CliRunner().invoke(app, [*command, "01a"]).exception, Unknown)
    monkeypatch.setattr(Gateway, "open", lambda settings: signed)
    told = CliRunner().invoke(app, [*command, known(signed)])
    assert (told.exit_code, json.loads(told.stdout.splitlines()[-1])["obtained"]) == (0, 1), told.stderr
