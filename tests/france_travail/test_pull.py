"""What is fetched on request besides the diagnosis: orientations, civil status, registration, RQTH, the worklist."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from connectors.contract import DocumentRefused, NotObtained
from connectors.france_travail import lecture
from connectors.france_travail.sandbox.scenarios import SCENARIOS, Scenario
from schemas import paths
from schemas.record import Record


def read(ft: Any, document: str, content: bytes) -> Record:
    (record,) = ft.connector.read(f"france_travail.{document}", io.BytesIO(content))
    assert paths.check(record.personnes[0].facts) == []
    return record


async def pulled(ft: Any, document: str) -> dict[str, Any]:
    (content,) = await ft.pull(document)
    record = read(ft, document, content)
    assert not record.quarantined
    return record.personnes[0].facts


async def test_the_dossier_of_either_generation_is_fetched_and_read(partner) -> None:
    v4 = await pulled(partner(), "dossier_diagnostic")
    ft = partner(diagnostic_version="v1")
    v1 = await pulled(ft, "dossier_diagnostic")
    assert v1.items() <= v4.items()
    assert [call.name for call in ft.app.received] == ["token", "recherche_v1", "dossier_v1"]
    assert ft.app.calls("token")[0].query == {"realm": "/partenaire"}
    outcome = ("waiting", "identifier_missing", None)
    assert await ft.refusal("dossier_diagnostic", {"ft_numero": "00000000101"}) == outcome


async def test_orientations_are_read_with_their_last_criteria(partner) -> None:
    facts = await pulled(partner(), "lecture_orientation")
    item = "orientations[france_travail:2026-11-01T09:00:00Z]"
    assert facts[f"{item}.etat"] == "en_attente"
    assert facts[f"{item}.categorie"] == "professionnelle"
    assert facts["parcours_pro.derniere_activite"] == "JAMAIS"


async def test_older_spellings_of_an_orientation_tell_the_same(partner) -> None:
    assert await pulled(partner("anciennes_cles"), "lecture_orientation") == await pulled(
        partner(), "lecture_orientation"
    )


async def test_no_orientation_is_an_empty_record(partner) -> None:
    assert await pulled(partner("orientations_vides"), "lecture_orientation") == {}


async def test_the_nir_is_taken_out_at_the_edge(partner) -> None:
    ft = partner()
    (content,) = await ft.pull("informations_administratives")
    assert ft.usager.nir.encode() not in content
    facts = read(ft, "informations_administratives", content).personnes[0].facts
    assert facts["personne.nom_naissance"] == "EXEMPLE"
    assert not any("nir" in path for path in facts)
    pushed = json.dumps(json.loads(content) | {"etatCivil": {"nom": "EXEMPLE", "nir": ft.usager.nir}}).encode()
    record = read(ft, "informations_administratives", pushed)
    assert ft.usager.nir not in repr(record.personnes[0].facts)
    assert record.findings == []


async def test_a_second_address_is_kept_aside_never_dropped(partner) -> None:
    ft = partner()
    (content,) = await ft.pull("informations_administratives")
    told = json.loads(content)
    told["adresses"] *= 2
    record = read(ft, "informations_administratives", json.dumps(told).encode())
    assert [finding.code for finding in record.findings] == ["several-addresses"]


async def test_registration_and_rqth_are_read(partner) -> None:
    assert (await pulled(partner(), "statut_usager"))["inscription_emploi.inscrit"] is True
    facts = await pulled(partner(), "rqth")
    assert facts == {
        "personne.rqth.etat": "oui", "personne.rqth.debut": "2026-01-01", "personne.rqth.source": "FRANCE TRAVAIL",
    }  # fmt: skip


async def test_what_is_not_pulled_is_refused(partner) -> None:
    for document in ("rendez_vous", "inconnu"):
        assert await partner().refusal(document) == ("refused", "document-unknown", None)
    with pytest.raises(DocumentRefused, match="document-unknown"):
        partner().connector.read("france_travail.rendez_vous", io.BytesIO(b"{}"))


@pytest.mark.parametrize(
    ("statut", "dated"), [("Inscrit", True), ("Radié", False), (["Inscrit"], False), (None, False)]
)
def test_the_date_of_a_status_that_nobody_can_read_is_no_date_of_registration(statut: Any, dated: bool) -> None:
    told = {"m_contrat": {"m_statut": statut, "m_date_effet_statut": "2026-01-05", "m_duree_inscription_12": 9}}
    (record,) = lecture.read("france_travail.statut_usager", io.BytesIO(json.dumps(told).encode()))
    facts = record.personnes[0].facts
    assert ("inscription_emploi.date_inscription" in facts) is dated
    assert facts["inscription_emploi.duree_mois_12"] == 9


@pytest.mark.parametrize("document", sorted(lecture._ONE))
def test_a_document_of_the_wrong_shape_is_refused_whole(document: str) -> None:
    for content in (b"3", b'"texte"', b"null"):
        with pytest.raises(DocumentRefused, match="wrong-root"):
            lecture.read(document, io.BytesIO(content))


# Worklist


async def test_the_worklist_is_read_whatever_its_envelope(partner) -> None:
    for scenario in (None, "activites_enveloppe"):
        ft = partner(scenario)
        found = await ft.connector.activites(ft.transport, codeActivite="ACT382")
        assert [item["usager"]["identifiant"] for item in found.items] == ["00000000101"]
        assert (found.skipped, found.more) == (0, False)


async def test_an_item_without_a_person_is_counted_and_left_aside(partner) -> None:
    ft = partner("activites_inexploitables")
    found = await ft.connector.activites(ft.transport, codeFamille="INSEA")
    assert (len(found.items), found.skipped) == (1, 1)


async def test_an_empty_or_refused_worklist(partner) -> None:
    ft = partner()
    empty = await ft.connector.activites(ft.transport, codeActivite="ACT380")
    assert (empty.items, empty.skipped, empty.more) == ([], 0, False)
    ft = partner("activites_refusees")
    with pytest.raises(NotObtained) as caught:
        await ft.connector.activites(ft.transport, codeActivite="ACT382")
    assert (caught.value.outcome, caught.value.code) == ("refused", "A001")


@pytest.mark.parametrize("told", [{"message": "Service en cours de migration"}, {"activites": None}, "texte", 3])
async def test_a_worklist_of_another_shape_is_not_an_empty_one(partner, monkeypatch, told: Any) -> None:
    monkeypatch.setitem(SCENARIOS, "forme", Scenario("Autre forme", "activites", (200, {}, told)))
    ft = partner("forme")
    with pytest.raises(NotObtained) as caught:
        await ft.connector.worklist("INSEA", ft.transport)
    assert (caught.value.outcome, caught.value.code) == ("retry", "answer_unexpected")


async def test_an_item_whose_person_is_a_word_hides_no_other(partner, monkeypatch) -> None:
    def alter(items: Any) -> Any:
        return [items[0] | {"usager": "00000000101"}, *items]

    monkeypatch.setitem(SCENARIOS, "forme", Scenario("Usager en texte", "activites", alter=alter))
    ft = partner("forme")
    page = await ft.connector.worklist("INSEA", ft.transport)
    assert (len(page.items), page.skipped) == (1, 1)


async def test_a_quota_met_by_the_worklist_silences_the_other_calls_too(partner) -> None:
    ft = partner("quota_sans_delai")
    with pytest.raises(NotObtained):
        await ft.connector.worklist("INSEA", ft.transport)
    assert await ft.refusal("statut_usager") == ("retry", "paused", 60.0)


async def test_a_full_worklist_says_that_there_may_be_more(partner) -> None:
    from connectors.france_travail.sandbox import Usager
    from connectors.france_travail.sandbox.usagers import orientation_initiale

    many = [
        Usager(f"{n:011d}", f"29001999{n:05d}", "1990-01-01", orientations=[orientation_initiale()])
        for n in range(20_000, 21_000)
    ]
    ft = partner(usagers=many)
    assert (await ft.connector.activites(ft.transport, codeActivite="ACT382")).more
