"""The stand-in behaves as France Travail is documented to: domain reference §2 to §13."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors.france_travail.sandbox import CLIENT_ID, CLIENT_SECRET, SCENARIOS, Sandbox, Usager, describe, sandbox

BASE = "https://ft.exemple.invalid"
AGENT = {"pa-identifiant-agent": "BATCH", "pa-nom-agent": "MAILLON", "pa-prenom-agent": "MAILLON"}
SEARCH = "api_rechercher-usagerv2 rechercheusager profil_accedant"
ORIENTATION = "api_orientationusagerv1 orientationusager profil_accedant"
SANCTIONS = "api_gestion-sanctions-rsav1 sanctionsrsa profil_accedant"
CONTRAT = "api_contrat-engagementv1 contratengagement profil_accedant"
ACTIVITES = "api_activites-operationnellesv1 activitesCD referentielCD profil_accedant"
RDV = "api_rendez-vous-partenairev1 gererRDV profil_accedant"
DIAGNOSTIC = "api_diagnosticargumentev4 diagnosticusageragent"
NUMERO = "00000000101"


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


class Caller:
    """A partner that calls the stand-in by hand, as `curl` would."""

    def __init__(self, app: Sandbox) -> None:
        self.app = app
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)

    async def token(self, scope: str, realm: str = "/agent", form: dict | None = None) -> httpx.Response:
        body = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        body |= form or {}
        return await self.http.post(
            "/connexion/oauth2/access_token", params={"realm": realm}, data=body | {"scope": scope}
        )

    async def bearer(self, scope: str, realm: str = "/agent") -> dict[str, str]:
        return {"authorization": f"Bearer {(await self.token(scope, realm)).json()['access_token']}"}

    async def search(self, usager: Usager | dict[str, str], **headers: str) -> httpx.Response:
        body = usager if isinstance(usager, dict) else {"nir": usager.nir, "dateNaissance": usager.date_naissance}
        return await self.http.post(
            "/partenaire/rechercher-usager/v2/usagers/par-datenaissance-et-nir",
            json=body,
            headers=await self.bearer(SEARCH) | AGENT | headers,
        )

    async def jeton(self, numero: str = NUMERO) -> str:
        return str((await self.search(self.app.usagers[numero])).json()["jetonUsager"])

    async def call(self, method: str, path: str, scope: str, body: Any = None, **headers: str) -> httpx.Response:
        jeton = {"ft-jeton-usager": await self.jeton()} if "ft-jeton-usager" not in headers else {}
        sent = await self.bearer(scope) | AGENT | jeton | headers
        return await self.http.request(method, f"/partenaire/{path}", json=body, headers=sent)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(clock: Clock) -> Sandbox:
    return sandbox(now=clock)


@pytest.fixture
async def ft(app: Sandbox) -> AsyncIterator[Caller]:
    caller = Caller(app)
    yield caller
    await caller.http.aclose()


async def test_the_token_is_for_one_realm_and_short(ft: Caller) -> None:
    answer = await ft.token(SEARCH)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 1500)


@pytest.mark.parametrize(
    ("scope", "realm", "form", "error"),
    [
        (SEARCH, "/agent", {"client_secret": "faux"}, "invalid_client"),
        (f"{SEARCH} api_inconnuev1", "/agent", {}, "invalid_scope"),
        ("", "/agent", {}, "invalid_scope"),
        (SEARCH, "/partenaire", {}, "invalid_scope"),
        (SEARCH, "", {"realm": "/agent"}, "invalid_request"),
        (SEARCH, "/agent", {"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
async def test_a_wrong_token_request_is_a_400(ft: Caller, scope: str, realm: str, form: dict, error: str) -> None:
    answer = await ft.token(scope, realm, form)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_an_api_not_subscribed_kills_the_whole_token(clock: Clock) -> None:
    caller = Caller(sandbox(now=clock, subscribed=frozenset(SEARCH.split())))
    assert (await caller.token(SEARCH)).status_code == 200
    assert (await caller.token(f"{SEARCH} {DIAGNOSTIC}")).json()["error"] == "invalid_scope"


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"pa-nom-agent": ""}, 401), ({"pa-nom-agent": "A|B"}, 400), ({}, 200)],
)
async def test_agent_headers_present_but_wrong(ft: Caller, app: Sandbox, headers: dict, status: int) -> None:
    assert (await ft.search(app.usagers[NUMERO], **headers)).status_code == status


async def test_an_absent_agent_header_redirects_to_a_login_page(ft: Caller) -> None:
    answer = await ft.http.post(
        "/partenaire/rechercher-usager/v2/usagers/par-datenaissance-et-nir", json={}, headers=await ft.bearer(SEARCH)
    )
    assert (answer.status_code, "location" in answer.headers) == (302, True)


@pytest.mark.parametrize(
    ("numero", "status", "code", "certifiee", "jeton"),
    [
        ("00000000101", 200, "S001", "O", str),
        ("00000000103", 200, "S003", None, None),
        ("00000000104", 200, "S001", "N", str),
        ("00000000105", 403, "R001", "null", "null"),
        ("00000000106", 403, "R002", "null", "null"),
        ("00000000107", 500, "R998", "null", "null"),
        ("00000000108", 503, "R999", "null", "null"),
    ],
)
async def test_a_search_reaches_every_row_of_the_contract(
    ft: Caller, app: Sandbox, numero: str, status: int, code: str, certifiee: str | None, jeton: Any
) -> None:
    answer = await ft.search(app.usagers[numero])
    told = answer.json()
    assert (answer.status_code, told["codeRetour"], told["topIdentiteCertifiee"]) == (status, code, certifiee)
    assert isinstance(told["jetonUsager"], str) if jeton is str else told["jetonUsager"] == jeton


async def test_nobody_and_nonsense(ft: Caller) -> None:
    nobody = await ft.search({"nir": "2900199999999", "dateNaissance": "1990-01-01"})
    assert (nobody.status_code, nobody.json()["codeRetour"]) == (200, "S002")
    for body in (
        {"nir": "29001", "dateNaissance": "1990-01-01"},
        {"nir": "2900199999101", "dateNaissance": "1990"},
        {},
    ):
        answer = await ft.search(body)
        assert (answer.status_code, answer.json()["codeRetour"]) == (400, "R997")


async def test_a_jeton_lives_a_day(ft: Caller, clock: Clock) -> None:
    jeton = await ft.jeton()
    assert json.loads(base64.b64decode(jeton))["type"] == "/partenaire"
    path = "diagnosticargumente/v4/dossiers"
    clock.time += timedelta(hours=23, minutes=59)
    assert (await ft.call("GET", path, DIAGNOSTIC, **{"ft-jeton-usager": jeton})).status_code == 200
    clock.time += timedelta(minutes=1)
    assert (await ft.call("GET", path, DIAGNOSTIC, **{"ft-jeton-usager": jeton})).status_code == 401
    assert (await ft.call("GET", path, DIAGNOSTIC, **{"ft-jeton-usager": "faux"})).status_code == 401


async def test_a_token_of_another_api_is_forbidden_and_an_old_one_refused(ft: Caller, clock: Clock) -> None:
    assert (await ft.call("GET", "diagnosticargumente/v4/dossiers", SEARCH)).status_code == 403
    old = await ft.bearer(DIAGNOSTIC)
    clock.time += timedelta(seconds=1500)
    assert (await ft.call("GET", "diagnosticargumente/v4/dossiers", DIAGNOSTIC, **old)).status_code == 401


async def test_the_dossier_lists_every_item_explored_or_not(ft: Caller) -> None:
    dossier = (await ft.call("GET", "diagnosticargumente/v4/dossiers", DIAGNOSTIC)).json()
    contraintes = dossier["thematiqueContrainte"]["contraintes"]
    assert [c["code"] for c in contraintes] == ["23", "24", "25", "26", "27", "28", "29"]
    assert dossier["autonomieNumerique"]["contrainte"]["code"] == "22"
    everything = [*contraintes, dossier["autonomieNumerique"]["contrainte"]]
    assert sum(len(c["situations"]) for c in everything) == 48
    assert sum(len(c["objectifs"]) for c in everything) == 35
    untouched = next(c for c in contraintes if c["code"] == "27")
    assert (untouched["valeur"], untouched["dateExploration"]) == ("NON_ABORDEE", None)


async def test_the_older_generation_shows_the_same_person_without_the_digital_block(ft: Caller) -> None:
    headers = await ft.bearer("api_rechercher-usagerv1 api_diagnosticargumentev1", "/partenaire")
    found = await ft.http.post(
        "/partenaire/rechercher-usager/v1/usagers/recherche",
        json={"nir": "2900199999101", "dateNaissance": "1990-01-01"},
        headers=headers,
    )
    identifiant = found.json()["identifiant"].replace("#", "%23")
    dossier = await ft.http.get(f"/partenaire/diagnosticargumente/v1/individus/{identifiant}", headers=headers)
    codes = [c["code"] for c in dossier.json()["contraintesIndividusDto"]["contraintes"]]
    assert codes == ["23", "24", "25", "26", "27", "28", "29"]


async def test_a_person_without_a_dossier_is_a_204(ft: Caller) -> None:
    jeton = await ft.jeton("00000000102")
    for path, scope in (("diagnosticargumente/v4/dossiers", DIAGNOSTIC), ("contrat-engagement/v1/lecture", CONTRAT)):
        answer = await ft.call("GET", path, scope, **{"ft-jeton-usager": jeton})
        assert (answer.status_code, answer.content) == (204, b"")


CRITERES = {
    "brsa": True, "date_naissance": "1990-01-01", "adresse": {"code_commune": "40999"},
    "situation_professionnelle": "PLUS_DEUX_ANS", "type_emploi": "AUTRE", "niveau_etude": "NV5",
    "capacite_a_travailler": True, "projet_pro": "SALARIAT", "contrainte_sante": "AUCUNE",
    "contrainte_logement": "AUCUNE", "contrainte_mobilite": "DEPENDANT_TRANSPORT", "contrainte_familiale": "AUCUNE",
    "contrainte_financiere": "IMPACT_FORT_RECHERCHE_EMPLOI", "contrainte_numerique": "AUCUNE",
    "contrainte_administrative_juridique": "AUCUNE", "contrainte_francais_calcul": "AUCUNE", "boe": False,
    "baeeh": False, "scolarite_etablissement_specialise": False, "esat": False, "boe_souhait_accompagnement": False,
}  # fmt: skip
DECISION = {"etat_decision": "ACCEPTEE", "date_decision": "2026-11-21", "organisme_decision": "CD"}


async def test_an_orientation_goes_from_draft_to_open(ft: Caller, app: Sandbox) -> None:
    path = "orientationusager/v1"
    app.usagers[NUMERO].contrat = {"etat": "SIGNE"}
    partial = {name: CRITERES[name] for name in ("brsa", "niveau_etude")}
    assert (await ft.call("POST", f"{path}/calculOrientation", ORIENTATION, partial)).json()["parcours"] == "IND"
    assert app.usagers[NUMERO].orientations[0]["etat"] == "BROUILLON"
    refused = await ft.call("POST", f"{path}/decisionOrientation", ORIENTATION, DECISION)
    assert (refused.status_code, refused.json()["codeErreur"]) == (400, "ORIENTATION_NON_DECIDABLE")
    assert (await ft.call("POST", f"{path}/calculOrientation", ORIENTATION, CRITERES)).json()["parcours"] == "PSP"
    assert (await ft.call("POST", f"{path}/decisionOrientation", ORIENTATION, DECISION)).status_code == 201
    read = (await ft.call("GET", f"{path}/lectureOrientation?etatOrientation=OUVERT", ORIENTATION)).json()
    assert [(o["etat"], o["statut"], o["decision"]["etat_decision"]) for o in read] == [
        ("OUVERT", "DECIDE", "ACCEPTEE")
    ]
    assert app.usagers[NUMERO].contrat == {"etat": "A_SIGNER"}, "a decision asks for a new signature"


@pytest.mark.parametrize(
    "body",
    [{"inconnu": 1}, {"niveau_etude": "BAC"}, {"brsa": "oui"}, {"contrainte_mobilite": "IMPACT_FORT_RECHERCHE_EMPLOI"}],
)
async def test_criteria_out_of_the_lists_are_refused(ft: Caller, body: dict) -> None:
    answer = await ft.call("POST", "orientationusager/v1/calculOrientation", ORIENTATION, body)
    assert answer.status_code == 400


async def test_a_refusal_carries_what_was_decided_instead(ft: Caller) -> None:
    path = "orientationusager/v1/decisionOrientation"
    bare = DECISION | {"etat_decision": "REFUSEE"}
    assert (await ft.call("POST", path, ORIENTATION, bare)).status_code == 400
    whole = bare | {"motif_refus": "APPRECIATION_DIFFERENTE", "parcours": "PED", "organisme": "FT"}
    assert (await ft.call("POST", path, ORIENTATION, whole)).json()["organisme"] == "FT"


RENDEZ_VOUS = {
    "id": None, "date": "2026-12-01T10:30:00.000Z", "duree": 60, "motif": "ACC", "statut": "PRIS",
    "initiateur": "PARTENAIRE", "modaliteContact": "PHYSIQUE", "typeReception": "IND",
    "libelleAdresse": "Maison fictive", "adresse": "1 RUE DE L EXEMPLE 40990 VILLE FICTIVE",
    "organisme": {"code": "CD", "emailContact": "accueil@exemple.invalid"},
}  # fmt: skip


async def test_a_rendez_vous_is_created_changed_lost_in_a_merge_and_deleted(ft: Caller, app: Sandbox) -> None:
    path = "rendez-vous-partenaire/v1/rendez-vous"
    made = await ft.call("POST", path, RDV, RENDEZ_VOUS)
    identifier = made.json()["id"]
    assert made.status_code == 202
    assert (await ft.call("PUT", path, RDV, RENDEZ_VOUS | {"id": identifier, "statut": "EFFECTUE"})).status_code == 200
    assert (await ft.call("GET", f"{path}-usager", RDV)).json()[0]["statut"] == "EFFECTUE"
    app.fusionner(NUMERO)
    lost = await ft.call("PUT", path, RDV, RENDEZ_VOUS | {"id": identifier})
    assert lost.json()["codeErreur"] == "ID_NON_RECONNU"
    kept = next(iter(app.usagers[NUMERO].rendez_vous))
    assert (await ft.call("DELETE", f"{path}/{kept}", RDV)).status_code == 204
    assert (await ft.call("GET", f"{path}-usager", RDV)).status_code == 204


async def test_existence_of_the_contract_decides_how_it_is_signed(ft: Caller, app: Sandbox) -> None:
    path, signed = "contrat-engagement/v1", {"dateSignature": "2026-12-01T10:00:00.000Z"}
    assert (await ft.call("POST", f"{path}/signer", CONTRAT, signed)).status_code == 409
    refused = {"dateRefus": "2026-12-01T10:00:00.000Z"}
    assert (await ft.call("PATCH", f"{path}/refuser", CONTRAT, refused)).json()["etat"] == "REFUSE"
    assert (await ft.call("PATCH", f"{path}/signer", CONTRAT, signed)).json()["etat"] == "SIGNE"
    app.usagers[NUMERO].contrat = None
    assert (await ft.call("PATCH", f"{path}/signer", CONTRAT, signed)).status_code == 409
    assert (await ft.call("POST", f"{path}/signer", CONTRAT, signed)).json()["etat"] == "SIGNE"


async def test_a_sanction_goes_by_documented_events_only(ft: Caller) -> None:
    path = "gestion-sanctions-rsa/v1/evenementSanctionRSA"

    def event(kind: str, **more: Any) -> dict[str, Any]:
        return {
            "identifiantConsequenceSanction": "csq-fictive-1",
            "evenement": {"typeEvenement": kind, "dateEvenement": "2026-12-01", **more},
        }

    assert (await ft.call("POST", path, SANCTIONS, event("VALID_SANCTION"))).status_code == 400
    assert (await ft.call("POST", path, SANCTIONS, event("SAISIE_SANCTION"))).status_code == 200
    assert (await ft.call("POST", path, SANCTIONS, event("VALID_SANCTION"))).json()["codeErreur"] == "CHAMP_OBLIGATOIRE"
    whole = event(
        "VALID_SANCTION", typeConsequenceSanctionValide="SUSP_RSA", modaliteDecisionValidee="P", montantValide=30,
        dureeValidee=1,
    )  # fmt: skip
    assert (await ft.call("POST", path, SANCTIONS, whole)).status_code == 200


async def worklist(ft: Caller, **query: str) -> httpx.Response:
    headers = await ft.bearer(ACTIVITES) | AGENT
    url = "/partenaire/activites-operationnelles/v2/activites/chercher"
    return await ft.http.get(url, params=query, headers=headers)


async def test_an_activity_disappears_once_acted_on_and_the_next_one_appears(ft: Caller) -> None:
    assert [a["codeActivite"] for a in (await worklist(ft, codeFamille="INSEA")).json()] == ["ACT382"]
    assert [a["codeActivite"] for a in (await worklist(ft, codeDomaine="GLI")).json()] == ["ACT366"]
    assert (await worklist(ft, codeActivite="ACT380")).status_code == 204
    await ft.call("POST", "orientationusager/v1/decisionOrientation", ORIENTATION, DECISION)
    assert (await worklist(ft, codeActivite="ACT382")).status_code == 204
    assert [a["codeActivite"] for a in (await worklist(ft, codeActivite="ACT380")).json()] == ["ACT380"]
    await ft.call("POST", "rendez-vous-partenaire/v1/rendez-vous", RDV, RENDEZ_VOUS)
    assert (await worklist(ft, codeActivite="ACT380")).status_code == 204
    assert (await worklist(ft)).json() == [
        {"code": "A001", "message": "Un critère et un seul est attendu", "details": ""}
    ]


async def test_a_worklist_stops_at_a_thousand_in_order_of_due_date(ft: Caller, app: Sandbox) -> None:
    from connectors.france_travail.sandbox.usagers import orientation_initiale

    app.add(
        *(
            Usager(f"{n:011d}", f"29001999{n:05d}", "1990-01-01", orientations=[orientation_initiale()])
            for n in range(20_000, 21_100)
        )
    )
    found = (await worklist(ft, codeActivite="ACT382")).json()
    assert len(found) == 1000
    assert [a["dateEcheance"] for a in found] == sorted(a["dateEcheance"] for a in found)


async def test_a_call_no_document_describes_is_a_404_and_is_counted(ft: Caller, app: Sandbox) -> None:
    assert (await ft.http.get("/partenaire/diagnosticargumente/v4/dossier")).status_code == 404
    assert (await ft.http.delete("/partenaire/diagnosticargumente/v4/dossiers")).status_code == 404
    assert [call.name for call in app.unmatched] == ["unmatched", "unmatched"]


def test_every_scenario_has_a_french_title_and_does_something() -> None:
    for name, scenario in SCENARIOS.items():
        assert scenario.title[0].isupper(), name
        assert any((scenario.answer, scenario.alter, scenario.ending, scenario.effect)), name
    with pytest.raises(KeyError):
        sandbox(scenario="inconnu")


async def test_a_scenario_can_touch_one_person_only(clock: Clock) -> None:
    app = sandbox(now=clock)
    app.usagers["00000000101"].scenario = "quota_sans_delai"
    caller = Caller(app)
    assert (await caller.search(app.usagers["00000000102"])).status_code == 200
    assert (await caller.search(app.usagers["00000000101"])).status_code == 429
    assert (await caller.search(app.usagers["00000000101"])).status_code == 200


def test_the_people_are_invented() -> None:
    for usager in sandbox().usagers.values():
        assert usager.nir[5:10] == "99999"
        assert usager.numero.startswith("00000000")


async def test_what_is_printed_is_enough_to_get_a_token(app: Sandbox) -> None:
    printed = describe(app, BASE)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        form = printed["credentials"] | {"grant_type": "client_credentials"}
        form |= {"scope": printed["settings"]["scope_sanctions"]}
        assert (await http.post(printed["token_url"], data=form)).status_code == 200
    assert printed["usagers"][0]["numeroFranceTravail"] == NUMERO
    assert printed["scenarios"].keys() == SCENARIOS.keys()
