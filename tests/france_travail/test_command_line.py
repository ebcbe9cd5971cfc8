"""`maillon sandbox france_travail --scenario NAME`: each documented failure, and what the connector does of it.

Each command is the real one; what it would serve on its port is called in process, with the settings it printed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import uvicorn
from typer.testing import CliRunner

from connectors.contract import DocumentRefused, NotObtained, Outgoing
from connectors.france_travail.connector import FranceTravail
from connectors.france_travail.sandbox import SCENARIOS, Sandbox
from connectors.transport import Limits, Transport
from gateway.cli import app as maillon
from tests.faults.house import free_port
from tests.france_travail.conftest import facts
from tests.france_travail.test_send import ACCEPTED, ACT, ITEM, PLANNED, SETTINGS, SIGNED, TWO, now

NUMERO = "00000000101"


class Started:
    """The stand-in that one command started, and a connector configured with what the command printed."""

    def __init__(self, scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
        served: list[Sandbox] = []
        monkeypatch.setattr(uvicorn, "run", lambda app, **_: served.append(app))
        told = CliRunner().invoke(
            maillon, ["sandbox", "france_travail", "--scenario", scenario, "--port", str(free_port())]
        )
        assert told.exit_code == 0, told.output
        printed = json.loads(told.stdout.splitlines()[-1])
        assert printed["scenario"] == scenario
        (self.app,) = served
        self.connector = FranceTravail(FranceTravail.manifest.configure(printed["settings"] | SETTINGS))
        limits = Limits(backoff=0.0, deadline=0.3 if scenario == "muet" else 5.0)
        wire, base = httpx.ASGITransport(self.app), printed["base_url"]
        self.transport = Transport("france_travail", [base], limits=limits, networks=["127.0.0.0/8"], wire=wire)
        self.usager = self.app.usagers[NUMERO]
        self.identifiers = {"nir": self.usager.nir, "date_naissance": self.usager.date_naissance}

    async def pull(self, document: str) -> list[bytes]:
        asked = self.connector.pull(f"france_travail.{document}", self.identifiers, self.transport)
        return [content async for _, content in asked]

    async def send(self, document: str, values: dict[str, Any], remote_id: str | None = None, **context: Any) -> str:
        name = f"france_travail.{document}"
        written = self.connector.write(name, facts(values), **context)
        outgoing = Outgoing("1", name, written, facts(values), self.identifiers, remote_id=remote_id)
        answer = await self.connector.send(outgoing, self.transport)
        return f"{answer.outcome} {answer.code} {answer.retry_after or ''}".strip()

    async def search(self) -> str:
        """Reading the dossier: how often it came, or why it did not."""
        try:
            return f"{len(await self.pull('dossier_diagnostic'))} read"
        except NotObtained as stopped:
            return f"{stopped.outcome} {stopped.code} {stopped.retry_after or ''}".strip()

    async def read(self) -> str:
        """Reading the dossier: what a human must see of it, by code."""
        (content,) = await self.pull("dossier_diagnostic")
        try:
            records = list(self.connector.read("france_travail.dossier_diagnostic", io.BytesIO(content)))
        except DocumentRefused as refused:
            return f"refused {refused.code}"
        found = sorted({f"{one.severity} {one.code}" for record in records for one in record.findings})
        return ", ".join(found) or "nothing to say"

    async def orientations(self) -> str:
        (content, *_) = [*await self.pull("lecture_orientation"), b""]
        if not content:
            return "nothing"
        (record,) = self.connector.read("france_travail.lecture_orientation", io.BytesIO(content))
        return f"{len(record.personnes)} person, findings {len(record.findings)}"

    async def worklist(self) -> str:
        try:
            found = await self.connector.activites(self.transport, codeActivite="ACT382")
        except NotObtained as stopped:
            return f"{stopped.outcome} {stopped.code}"
        return f"{len(found.items)} items, {found.skipped} left aside, {'more' if found.more else 'all'}"

    async def rendez_vous(self) -> str:
        return await self.send("rendez_vous", PLANNED, item="ccas:42")

    async def changed_rendez_vous(self) -> str:
        """One was made before France Travail failed so."""
        self.app.scenario, scenario = None, self.app.scenario
        assert (await self.rendez_vous()).startswith("delivered")
        self.app.scenario = scenario
        (held,) = self.usager.rendez_vous
        told = await self.send("rendez_vous", now("absent"), remote_id=held, item="ccas:42")
        return f"{told}, {len(self.usager.rendez_vous)} held"

    async def decision(self) -> str:
        return await self.send("decision_orientation", ACCEPTED, item=ITEM)

    async def contract(self) -> str:
        return await self.send("contrat_engagement", SIGNED)

    async def sanction(self) -> str:
        return await self.send("sanction_rsa", {}, sanction=ACT, validations=TWO)


S = Started
REACTIONS: dict[str, tuple[Callable[[Started], Awaitable[str]], str]] = {
    "client_refuse": (S.search, "refused invalid_client"),
    "portee_refusee": (S.search, "refused invalid_scope"),
    "jeton_acces_expire": (S.search, "1 read"),
    "jeton_acces_refuse": (S.search, "refused unauthorized"),
    "jeton_expire": (S.search, "1 read"),
    "portee_absente": (S.search, "refused scope_missing"),
    "redirection": (S.search, "refused agent_header_missing"),
    "quota": (S.search, "retry quota 30.0"),
    "quota_sans_delai": (S.search, "retry quota 60.0"),
    "panne_technique": (S.search, "1 read"),
    "panne_durable": (S.search, "retry JCS0011G"),
    "indisponible": (S.search, "retry http_503"),
    "approchant_absent": (S.search, "waiting not_found"),
    "approchant_absent_null": (S.search, "waiting not_found"),
    "approchant_absent_204": (S.search, "waiting not_found"),
    "approchant_absent_404": (S.search, "waiting not_found"),
    "approchant_absent_404_code": (S.search, "waiting not_found"),
    "identite_non_certifiee": (S.search, "waiting not_certified"),
    "homonymes": (S.search, "refused ambiguous"),
    "hors_perimetre": (S.search, "refused forbidden"),
    "non_rattachee": (S.search, "refused forbidden"),
    "recherche_invalide": (S.search, "refused invalid_input"),
    "sans_adresse": (S.search, "refused incomplete_person"),
    "recherche_indisponible": (S.search, "retry unavailable"),
    "code_retour_inconnu": (S.search, "refused unexpected"),
    "rien": (S.search, "0 read"),
    "reponse_non_json": (S.read, "refused json-syntax"),
    "reponse_tronquee": (S.search, "retry answer-truncated"),
    "coupure_apres_ecriture": (S.rendez_vous, "delivered read_back"),
    "muet": (S.search, "retry deadline"),
    "impact_absent": (S.read, "nothing to say"),
    "libelles_mojibake": (S.read, "notice encoding-repaired"),
    "code_inconnu": (S.read, "quarantine unknown-code"),
    "libelle_contredit": (S.read, "quarantine label-disagrees"),
    "valeur_inconnue": (S.read, "quarantine unknown-code"),
    "objectifs_inventes": (S.read, "quarantine label-disagrees, quarantine unknown-code"),
    "champs_nouveaux": (S.read, "notice unknown-element"),
    "cles_absentes": (S.read, "nothing to say"),
    "anciennes_cles": (S.orientations, "1 person, findings 0"),
    "orientations_vides": (S.orientations, "1 person, findings 0"),
    "criteres_insuffisants": (S.decision, "waiting criteria_incomplete"),
    "orientation_non_decidable": (S.decision, "refused ORIENTATION_NON_DECIDABLE"),
    "contrat_transition_impossible": (S.contract, "refused TRANSITION_IMPOSSIBLE"),
    "sanction_impossible": (S.sanction, "refused EVENEMENT_IMPOSSIBLE"),
    "fusion_perte": (S.changed_rendez_vous, "delivered created_again, 1 held"),
    "rendez_vous_sans_id": (S.rendez_vous, "retry no_identifier"),
    "rendez_vous_200": (S.rendez_vous, "delivered created"),
    "fusion": (S.changed_rendez_vous, "delivered modified, 1 held"),
    "activites_enveloppe": (S.worklist, "1 items, 0 left aside, all"),
    "activites_inexploitables": (S.worklist, "1 items, 1 left aside, all"),
    "activites_pleines": (S.worklist, "1000 items, 0 left aside, more"),
    "activites_refusees": (S.worklist, "refused A001"),
}
"""What is done in front of each, and what the connector makes of it: domain reference §2.2, §3 and §6 to §11."""


def test_each_scenario_has_its_reaction() -> None:
    assert REACTIONS.keys() == SCENARIOS.keys()


@pytest.mark.parametrize("scenario", REACTIONS)
async def test_each_documented_failure_is_driven_from_the_command_line(
    scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Started(scenario, monkeypatch)
    act, reaction = REACTIONS[scenario]
    assert await act(started) == reaction, SCENARIOS[scenario].title
    assert started.app.unmatched == []


def test_an_unknown_scenario_is_refused_with_the_list_of_those_there_are() -> None:
    told = CliRunner().invoke(maillon, ["sandbox", "france_travail", "--scenario", "inconnu"])
    assert told.exit_code == 2
    assert "sans_adresse" in told.output
