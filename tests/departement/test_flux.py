"""WebRSA-ALI from the sandbox to facts, with each documented trouble; ALI-WebRSA back, checked by the sandbox."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from lxml import etree

from connectors.contract import Acknowledgement, DocumentRefused, Lasting, NotObtained, Outgoing
from connectors.departement.connector import Departement
from connectors.departement.depot import understood
from connectors.departement.referentiel import Referentiels
from connectors.departement.sandbox import PEOPLE, SCENARIOS, describe, sandbox
from connectors.departement.synthetic import Allocataire, referentiel, webrsa_ali
from connectors.transport import Answer, Transport
from schemas.record import Current, Fact, Record

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples" / "departement"
URL = "https://departement.sandbox.example"
ONE_PERSON = webrsa_ali([Allocataire("ARBELIER", "AMELIA", "1988-04-12", "0123456", id_personne=4711)], "40", 7)


def departement(folder: Path, **settings: str) -> Departement:
    base = {"departement": "040", "referentiels": str(folder), "url": URL}
    return Departement(base | {"identifiant": "ali", "secret": "bac-a-sable"} | settings)


def loaded(folder: Path, number: str = "40") -> Departement:
    connector = departement(folder, departement=number)
    reading = connector.read("departement.referentiel", io.BytesIO(referentiel(number, 7)))
    assert list(reading) == []
    reading.keep()
    return connector


def transport(scenario: str | None = None) -> Transport:
    return Transport("departement", [URL], wire=httpx.ASGITransport(sandbox(scenario)))


async def pulled(folder: Path, scenario: str | None = None) -> list[Record]:
    connector = departement(folder)
    records: list[Record] = []
    async with transport(scenario) as way:
        async for document, data in connector.collect(way):
            reading = connector.read(document, io.BytesIO(data))
            records += list(reading)
            if isinstance(reading, Lasting):
                reading.keep()
    return records


def read_changed(folder: Path, was: bytes, becomes: bytes) -> Record:
    (record,) = loaded(folder).read("departement.webrsa_ali", io.BytesIO(ONE_PERSON.replace(was, becomes, 1)))
    return record


def test_a_flow_that_differs_by_a_code_nobody_knows_is_not_the_last_one_again(tmp_path: Path) -> None:
    first, second = (read_changed(tmp_path, b"<civilite>17", b"<civilite>99%d" % n) for n in (1, 2))
    assert [one.code for one in first.findings] == ["unknown-code"]
    assert first.digest != second.digest


@pytest.mark.parametrize("where", [b"<allocataire>", b"</civilite>"])
def test_a_word_between_two_elements_is_told(tmp_path: Path, where: bytes) -> None:
    record = read_changed(tmp_path, where, where + b"Canari")
    assert [(one.code, one.path) for one in record.findings] == [("bad-type", "dossiers/dossier/allocataire")]


def test_an_attribute_is_told_by_its_place(tmp_path: Path) -> None:
    record = read_changed(tmp_path, b"<nom>", b'<nom note="Canari">')
    assert [(one.code, one.path) for one in record.findings] == [
        ("unknown-attribute", "dossiers/dossier/allocataire/nom")
    ]


@pytest.mark.parametrize("after", [b"</entete>", b"<dossiers>"])
def test_an_element_beside_the_dossiers_is_refused_by_its_name(tmp_path: Path, after: bytes) -> None:
    with pytest.raises(DocumentRefused) as refused:
        read_changed(tmp_path, after, after + b"<signalement>Canari</signalement>")
    assert (refused.value.code, refused.value.path) == ("unknown-element", "signalement")


def test_a_dossier_told_twice_is_told_and_the_second_does_not_take_the_first_away(tmp_path: Path) -> None:
    loaded(tmp_path)
    dossier = ONE_PERSON[ONE_PERSON.index(b"<dossier>") : ONE_PERSON.index(b"</dossiers>")]
    again = re.sub(rb"<ville>[^<]+", b"<ville>AILLEURS", dossier)
    flow = ONE_PERSON.replace(b"</dossiers>", again + b"</dossiers>")
    first, second = loaded(tmp_path).read("departement.webrsa_ali", io.BytesIO(flow))
    assert first.key == second.key
    assert ([one.code for one in first.findings], [one.code for one in second.findings]) == ([], ["repeated-record"])
    assert (first.partial, second.partial) == (False, True)


async def test_the_referentiel_comes_first_then_the_full_file_then_the_changes(tmp_path: Path) -> None:
    records = await pulled(tmp_path)
    assert len(records) == 6
    assert all(not record.findings for record in records), [record.findings for record in records]
    full, changes = records[:3], records[3:]
    assert [record.partial for record in full] == [False] * 3
    assert [record.partial for record in changes] == [True] * 3
    assert [record.key for record in full] == [record.key for record in changes]
    facts = full[0].personnes[0].facts
    assert facts["identifiants[si_departement:40].valeur"] == "4711"
    assert facts["personne.nom_usage"] == "ARBELIER"
    assert facts["personne.telephones[+33558000001].maj_le"].endswith("Z")
    assert facts["orientations[departement:40:47111].categorie"] == "sociale"
    assert facts["orientations[departement:40:47111].etat"] == "decidee"
    assert facts["parcours_pro.niveau_etude"] == "cap_bep"
    (membre,) = [path for path in facts if path.endswith(".depuis")]
    assert facts[membre.replace(".depuis", ".cote")] == "social"
    assert facts[membre.replace(".depuis", ".professionnel.nom")] == "Lauret"
    assert full[0].foyer["foyer.situation_familiale"] == "divorce"
    assert full[0].foyer["droit_rsa.etat"] == "ouvert_versable"
    assert changes[0].foyer["droit_rsa.etat"] == "ouvert_suspendu"


def test_two_departements_write_other_integers_and_mean_the_same(tmp_path: Path) -> None:
    told = []
    for number in ("40", "92"):
        connector = loaded(tmp_path / number, number)
        (record,) = connector.read("departement.webrsa_ali", io.BytesIO(webrsa_ali(PEOPLE[:1], number, 7)))
        told.append((record.foyer["foyer.situation_familiale"], record.personnes[0].facts["personne.civilite"]))
    assert told[0] == told[1] == ("divorce", "madame")


async def test_an_unknown_local_id_waits_for_a_human_and_the_rest_is_read(tmp_path: Path) -> None:
    first, *others = await pulled(tmp_path, "unknown_local_id")
    (finding,) = first.findings
    assert (finding.code, finding.severity, finding.raw) == ("unknown-code", "quarantine", "987654")
    assert finding.path == "dossiers/dossier/orientations/orientation/statut_orient"
    assert "987654" not in repr(finding)
    facts = first.personnes[0].facts
    assert "orientations[departement:40:47111].etat" not in facts
    assert facts["orientations[departement:40:47111].categorie"] == "sociale"
    assert not others[0].findings


async def test_postcodes_written_as_numbers_get_their_zero_back(tmp_path: Path) -> None:
    first, *_ = await pulled(tmp_path, "integer_postcode")
    assert first.personnes[0].facts["personne.adresses[residence].code_postal"] == "01000"
    assert first.foyer["foyer.matricule"] == "0123456"


async def test_a_couple_under_one_id_stays_two_people(tmp_path: Path) -> None:
    amelia, felix, *_ = await pulled(tmp_path, "shared_id")
    path = "identifiants[si_departement:40].valeur"
    assert amelia.personnes[0].facts[path] == felix.personnes[0].facts[path]
    assert amelia.key != felix.key


@pytest.mark.parametrize(
    ("scenario", "code"), [("stale_referentiel", "referentiel-stale"), ("invalid_file", "xml-not-well-formed")]
)
async def test_a_file_that_cannot_be_trusted_is_refused_whole(tmp_path: Path, scenario: str, code: str) -> None:
    with pytest.raises(DocumentRefused) as refusal:
        await pulled(tmp_path, scenario)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("scenario", "outcome", "code"),
    [("html_firewall", "retry", "unexpected-answer"), ("busy", "retry", "paused")],
)
async def test_a_drop_that_does_not_answer_is_told(tmp_path: Path, scenario: str, outcome: str, code: str) -> None:
    with pytest.raises(NotObtained) as told:
        await pulled(tmp_path, scenario)
    assert (told.value.outcome, told.value.code) == (outcome, code)


def test_a_flow_without_referentiel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentRefused) as refusal:
        departement(tmp_path).read("departement.webrsa_ali", io.BytesIO(webrsa_ali(PEOPLE, "40", 7)))
    assert refusal.value.code == "referentiel-missing"


def test_an_older_referentiel_never_replaces_a_newer_one(tmp_path: Path) -> None:
    connector = loaded(tmp_path)
    from connectors.departement.synthetic import EMITTED

    older = referentiel("40", 7, EMITTED.replace(year=2020))
    with pytest.raises(DocumentRefused) as refusal:
        connector.read("departement.referentiel", io.BytesIO(older))
    assert refusal.value.code == "referentiel-older"


def edited(path: str, text: str | None) -> bytes:
    root = etree.fromstring(webrsa_ali(PEOPLE[:1], "40", 7))
    element = root.find(path)
    assert element is not None
    if text is None:
        parent = element.getparent()
        assert parent is not None
        parent.remove(element)
    else:
        element.text = text
    return etree.tostring(root)


@pytest.mark.parametrize(
    ("path", "text", "code"),
    [
        ("dossiers/dossier/allocataire/nom", None, "missing-element"),
        ("dossiers/dossier/allocataire/date_naissance", "1988-02-30", "bad-type"),
        ("dossiers/dossier/orientations/orientation/rang_orient", "premier", "bad-type"),
        ("dossiers/dossier/allocataire", None, "identity-missing"),
    ],
)
def test_a_dossier_that_breaks_the_contract_is_rejected_alone(
    tmp_path: Path, path: str, text: str | None, code: str
) -> None:
    (record,) = loaded(tmp_path).read("departement.webrsa_ali", io.BytesIO(edited(path, text)))
    assert record.rejected
    assert record.findings[0].code == code
    assert not record.personnes


def test_the_children_of_a_block_may_come_in_any_order(tmp_path: Path) -> None:
    root = etree.fromstring(webrsa_ali(PEOPLE[:1], "40", 7))
    for block in root.iter("allocataire", "orientation", "dossier"):
        block[:] = sorted(block, key=lambda child: str(child.tag), reverse=True)
    connector = loaded(tmp_path)
    (shuffled,) = connector.read("departement.webrsa_ali", io.BytesIO(etree.tostring(root)))
    (plain,) = connector.read("departement.webrsa_ali", io.BytesIO(webrsa_ali(PEOPLE[:1], "40", 7)))
    assert shuffled.personnes[0].facts == plain.personnes[0].facts
    assert shuffled.digest == plain.digest


def test_six_hundred_homonyms_stay_six_hundred_people(tmp_path: Path) -> None:
    people = [replace(PEOPLE[0], id_personne=n, nir="", matricule=f"{n:07d}") for n in range(10_000, 10_600)]
    reading = loaded(tmp_path).read("departement.webrsa_ali", io.BytesIO(webrsa_ali(people, "40", 7)))
    assert reading.envelope.counted == 600
    assert len({record.key for record in reading}) == 600


# --- ALI-WebRSA -------------------------------------------------------------------------------------------------------


def said(value: object, source: str = "ccas") -> Fact:
    return Fact(value, source, "ccas.suivi", "2026-11-20T10:00:00Z")


RENDEZ_VOUS: Current = {
    "identifiants[si_departement:40].valeur": said("4711", "departement"),
    "rendez_vous[ccas:42].debut": said("2026-11-25T08:30:00Z"),
    "rendez_vous[ccas:42].motif": said("accompagnement"),
    "rendez_vous[ccas:42].statut": said("honore"),
    "rendez_vous[ccas:42].premier_accompagnement": said(True),
    "rendez_vous[ccas:42].organisme.nom": said("CCAS de Saint-Aventin-les-Sables"),
    "rendez_vous[departement:40:1].debut": said("2026-11-25T08:30:00Z", "departement"),
}
REFERENT: Current = {
    "accompagnements[ccas:1].membres[ccas:2].professionnel.nom": said("LAURET"),
    "accompagnements[ccas:1].membres[ccas:2].professionnel.prenom": said("Camille"),
    "accompagnements[ccas:1].membres[ccas:2].est_referent": said(True),
    "accompagnements[ccas:1].membres[ccas:2].depuis": said("2026-11-02"),
}
REORIENTATION: Current = {
    "demandes_reorientation[ccas:9].demandee_le": said("2026-11-19"),
    "demandes_reorientation[ccas:9].motif": said("Amélioration de la situation"),
    "demandes_reorientation[ccas:9].accord_referent": said(True),
    "demandes_reorientation[ccas:9].accord_personne": said(True),
    "demandes_reorientation[ccas:9].urgente": said(False),
    "demandes_reorientation[ccas:9].categorie_demandee": said("professionnelle"),
    "demandes_reorientation[ccas:9].organisme_demande.nom": said("Agence France Travail de Port-Albéret"),
    "demandes_reorientation[ccas:9].etat": said("en_attente"),
}
ETUDES: Current = {
    "parcours_pro.derniere_classe": said("1204"),
    "parcours_pro.niveau_etude": said("cap_bep", "france_travail"),
    "parcours_pro.annee_diplome": said("2009"),
    "parcours_pro.qualifications": said("Peintre en bâtiment"),
    "parcours_pro.competences_extrapro": said("Encadrement d'un club"),
}
CER: Current = {
    "contrats[ccas:5].engagements": said("Passer le permis ; revoir le budget"),
    "contrats[ccas:5].duree_mois": said(6),
    "contrats[ccas:5].point_parcours": said("a_la_fin"),
    "contrats[ccas:5].debut": said("2026-11-20"),
    "contrats[ccas:5].signe_le": said("2026-11-19"),
}
FSE: Current = {
    "participations[ccas:3].questionnaire_entree.inscrit_emploi": said(True),
    "participations[ccas:3].questionnaire_entree.marche_travail": said("chomeur"),
    "participations[ccas:3].questionnaire_entree.diplome_etranger_reconnu": said(False),
    "participations[ccas:3].questionnaire_entree.categorie_sociopro": said("employe"),
    "participations[ccas:3].questionnaire_entree.conditions_logement": said("heberge"),
    "participations[ccas:3].questionnaire_sortie.situation_accompagnement": said("maintien"),
    "participations[ccas:3].questionnaire_sortie.type_emploi": said("CDI"),
    "participations[ccas:3].questionnaire_sortie.temps_travail": said("plein"),
    "participations[ccas:3].questionnaire_sortie.date_embauche": said("2026-11-01"),
    "participations[ccas:3].questionnaire_sortie.rome": said("K1304"),
    "personne.nationalite_groupe": said("france"),
}
EVERYTHING: Current = {**RENDEZ_VOUS, **REFERENT, **REORIENTATION, **ETUDES, **CER, **FSE}
TYPED = {
    "liste_cers": {
        "cer": [
            {
                "inscrit_PE": "1", "id_cmu": "O", "id_cmu_c": "N", "id_niveau_etude": "1204", "emploi_trouve": "0",
                "date_saisie": "2026-11-19",
            }
        ]
    },
    "formulaire_d1": {"id_groupes_vulnerables": "autre"},
}  # fmt: skip


def published(document: bytes) -> None:
    if not SAMPLES.is_dir():
        pytest.skip("the published XSDs are not on this machine (../shared/samples/departement)")
    contract = etree.XMLSchema(etree.parse(SAMPLES / "ALI-WebRSA.xsd"))
    assert contract.validate(etree.fromstring(document)), contract.error_log


BLOCKS = [
    "formulaire_b7", "formulaire_d1", "formulaire_d2", "liste_cers", "liste_changements_orientation", "liste_dsps",
    "liste_referents_parcours", "liste_rendez_vous",
]  # fmt: skip


def test_every_form_of_the_contract_can_be_given_back(tmp_path: Path) -> None:
    written = loaded(tmp_path).write("departement.webrsa_ali", EVERYTHING, complement=TYPED)
    assert written.metadata["blocks"] == BLOCKS, written.findings
    published(written.document)


def test_the_studies_of_two_persons_whose_file_waited_bear_two_numbers(tmp_path: Path) -> None:
    """The Département's id of her comes from outside the permitted facts: each file is written before it is known."""
    connector = loaded(tmp_path)
    told = {path: fact for path, fact in EVERYTHING.items() if not path.startswith("identifiants[")}
    written = connector.write("departement.webrsa_ali", told)

    def studies(id_personne: str) -> str | None:
        found = {"si_departement:40": id_personne}
        file = connector.file(Outgoing("1", "departement.webrsa_ali", written, told, found))
        assert isinstance(file, bytes)
        published(file)
        return etree.fromstring(file).findtext(".//dsp/id_ali")

    assert studies("4711") != studies("4712")
    known = connector.write("departement.webrsa_ali", EVERYTHING)
    assert studies(known.metadata["id_personne"]) == etree.fromstring(known.document).findtext(".//dsp/id_ali")


def test_what_an_agent_typed_and_is_not_taken_is_named(tmp_path: Path) -> None:
    second = {path.replace("ccas:5", "ccas:6"): fact for path, fact in CER.items()}
    typed = {"liste_cers": {"cer": [
        {"id_ali": "ccas:6", "id_duree_cer": "12", "id_cmu": "N"}, {"id_ali": "ccas:7", "id_cmu": "O"}, {"id_cmu": "O"},
    ]}, "formulaire_z": {"id_cmu": "O"}}  # fmt: skip
    written = loaded(tmp_path).write("departement.webrsa_ali", {**EVERYTHING, **second}, complement=typed)
    told = sorted((one.code, one.path) for one in written.findings if one.code != "missing-required")
    at = "dossiers/dossier/liste_cers/cer"
    assert told == [
        ("said-already", f"{at}/id_duree_cer"), ("unknown-element", "dossiers/dossier/formulaire_z"),
        ("unknown-item", at), ("unknown-item", at),
    ]  # fmt: skip


def test_a_form_that_lacks_a_field_stays_out_and_says_what_it_lacks(tmp_path: Path) -> None:
    written = loaded(tmp_path).write("departement.webrsa_ali", EVERYTHING)
    assert {"liste_cers", "formulaire_d1"}.isdisjoint(written.metadata["blocks"])
    lacking = {finding.path for finding in written.findings if finding.code == "missing-required"}
    assert "dossiers/dossier/liste_cers/cer/id_cmu" in lacking
    assert "dossiers/dossier/formulaire_d1/id_groupes_vulnerables" in lacking
    assert not any(path.startswith(("liste_cers", "formulaires")) and "d1" in path for path in written.filled)
    published(written.document)


def test_a_contract_is_prefilled_with_what_the_dossier_knows_also_from_the_departement(tmp_path: Path) -> None:
    hers = "accompagnements[departement:40:parcours].membres[departement:40:1:2026-01-05]"
    known: Current = {
        "identifiants[si_departement:40].valeur": said("4711", "departement"),
        "inscription_emploi.inscrit": said(True, "france_travail"),
        "parcours_pro.derniere_classe": said("1204", "departement"),
        f"{hers}.professionnel.nom": said("Lauret", "departement"),
        f"{hers}.professionnel.prenom": said("Camille", "departement"),
        f"{hers}.est_referent": said(True, "departement"),
        **CER, **REORIENTATION,
    }  # fmt: skip
    connector = loaded(tmp_path)
    typed = {"liste_cers": {"cer": [
        {"id_cmu": "O", "id_cmu_c": "N", "emploi_trouve": "0", "date_saisie": "2026-11-19"},
    ]}}  # fmt: skip
    written = connector.write("departement.webrsa_ali", known, complement=typed)
    assert written.metadata["blocks"] == ["liste_cers", "liste_changements_orientation"], written.findings
    published(written.document)
    assert written.sources["liste_cers.cer[ccas:5]/inscrit_PE"] == "france_travail"
    assert written.sources["liste_cers.cer[ccas:5]/id_niveau_etude"] == "departement"
    over = {**known, f"{hers}.jusqua": said("2026-06-30", "departement")}
    lacking = {one.path for one in connector.write("departement.webrsa_ali", over, complement=typed).findings}
    assert "dossiers/dossier/liste_cers/cer/id_referent" in lacking, "she is her référent no more"


def test_between_two_structures_the_operator_chooses(tmp_path: Path) -> None:
    loaded(tmp_path)
    Referentiels(tmp_path).keep("8", referentiel("40", 8))
    silent = departement(tmp_path).write("departement.webrsa_ali", RENDEZ_VOUS)
    assert "referentiel-missing" in [finding.code for finding in silent.findings]
    assert silent.metadata["blocks"] == []
    named = departement(tmp_path, structure_ali="8").write("departement.webrsa_ali", RENDEZ_VOUS)
    assert etree.fromstring(named.document).findtext("entete/id_structure_ali") == "8"


def test_what_the_departement_said_never_returns_to_it(tmp_path: Path) -> None:
    written = loaded(tmp_path).write("departement.webrsa_ali", RENDEZ_VOUS)
    rendez_vous = etree.fromstring(written.document).findall(".//rendez_vous")
    assert len(rendez_vous) == 1
    assert rendez_vous[0].findtext("heure_rdv") == "09:30:00"


def test_the_same_rendez_vous_keeps_its_number_and_the_same_facts_their_bytes(tmp_path: Path) -> None:
    connector = loaded(tmp_path)
    first = connector.write("departement.webrsa_ali", RENDEZ_VOUS)
    moved = {**RENDEZ_VOUS, "rendez_vous[ccas:42].debut": said("2026-12-01T08:30:00Z")}
    second = connector.write("departement.webrsa_ali", moved)
    assert first.metadata["ids"] == second.metadata["ids"]
    assert connector.write("departement.webrsa_ali", RENDEZ_VOUS).document == first.document


async def test_the_departement_answers_with_its_number_and_the_next_file_carries_it(tmp_path: Path) -> None:
    connector = loaded(tmp_path)
    written = connector.write("departement.webrsa_ali", RENDEZ_VOUS)
    async with transport() as way:
        outgoing = Outgoing("d1", "departement.webrsa_ali", written, RENDEZ_VOUS)
        answer = await connector.send(outgoing, way)
        again = await connector.send(outgoing, way)
    assert answer.outcome == "delivered"
    assert again.outcome == "duplicate"
    assert answer.facts == {"rendez_vous[ccas:42].identifiants": ["departement:90001"]}
    known = {**RENDEZ_VOUS, "rendez_vous[ccas:42].identifiants": said(["departement:90001"], "departement")}
    document = connector.write("departement.webrsa_ali", known).document
    assert etree.fromstring(document).findtext(".//rendez_vous/id_webrsa") == "90001"
    published(document)


async def sent(
    folder: Path, scenario: str | None, current: Current, identifiers: Mapping[str, str] | None = None
) -> Acknowledgement:
    connector = loaded(folder)
    written = connector.write("departement.webrsa_ali", current)
    async with transport(scenario) as way:
        outgoing = Outgoing("d1", "departement.webrsa_ali", written, current, identifiers=identifiers or {})
        return await connector.send(outgoing, way)


NAMELESS: Current = {path: fact for path, fact in RENDEZ_VOUS.items() if not path.startswith("identifiants")}


@pytest.mark.parametrize(
    ("scenario", "current", "outcome", "code"),
    [
        (None, NAMELESS, "waiting", "person-unknown-there"),
        ("unknown_person", RENDEZ_VOUS, "waiting", "person-unknown-there"),
        ("html_firewall", RENDEZ_VOUS, "retry", "unexpected-answer"),
        ("busy", RENDEZ_VOUS, "retry", "paused"),
        (None, REFERENT, "waiting", "person-unknown-there"),
    ],
)
async def test_each_answer_of_the_departement_says_what_to_do_next(
    tmp_path: Path, scenario: str | None, current: Current, outcome: str, code: str
) -> None:
    answer = await sent(tmp_path, scenario, current)
    assert (answer.outcome, answer.code) == (outcome, code)


@pytest.mark.parametrize("said", ["Le dossier de Mme CANARI", "a" * 200, "\u202e", 7, {"a": 1}, None])
def test_a_refusal_of_the_departement_is_told_by_its_code_never_by_its_words(said: Any) -> None:
    headers = httpx.Headers({"content-type": "application/json"})
    assert understood(Answer(422, headers, json.dumps({"code": said}).encode()), {}).code == "http-422"
    assert understood(Answer(422, headers, b'{"code": "missing-element"}'), {}).code == "missing-element"


def test_a_number_that_is_no_text_is_not_kept() -> None:
    headers = httpx.Headers({"content-type": "application/json"})
    told = understood(
        Answer(200, headers, b'{"recus": [{"id_ali": "1", "id_webrsa": "\\ud800"}]}'), {"1": "rendez_vous[x]"}
    )
    assert (told.outcome, told.remote_id, told.facts) == ("delivered", None, None)


async def test_an_identifier_used_for_matching_only_addresses_the_file(tmp_path: Path) -> None:
    answer = await sent(tmp_path, None, NAMELESS, {"si_departement:40": "4711"})
    assert answer.outcome == "delivered"


def test_every_scenario_of_the_sandbox_is_documented_and_an_unknown_one_refused() -> None:
    for name in SCENARIOS:
        assert describe(sandbox(name), "http://127.0.0.1:1")["scenario"] == name
    with pytest.raises(KeyError):
        sandbox("nothing-like-that")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(sandbox()), base_url=URL) as client:
        yield client


async def test_the_sandbox_checks_what_it_is_given(client: httpx.AsyncClient) -> None:
    assert (await client.get("/ali/flux")).status_code == 401
    client.auth = httpx.BasicAuth("ali", "bac-a-sable")
    xml = {"Content-Type": "application/xml"}
    hostile = await client.post("/ali/depot", content=b"<!DOCTYPE a><ALI-WebRSA/>", headers=xml)
    assert (hostile.status_code, hostile.json()["code"]) == (400, "xml-doctype")
    empty = await client.post("/ali/depot", content=b"<ALI-WebRSA/>", headers=xml)
    assert (empty.status_code, empty.json()["code"]) == (422, "missing-element")
    assert (await client.post("/ali/depot", content=b"{}")).status_code == 415


def test_what_was_read_from_the_departement_goes_back_under_the_same_integers(tmp_path: Path) -> None:
    connector = loaded(tmp_path)
    flow = etree.fromstring(webrsa_ali(PEOPLE[:1], "40", 7))
    (record,) = connector.read("departement.webrsa_ali", io.BytesIO(etree.tostring(flow)))
    facts = record.personnes[0].facts
    studies = {path: said(value) for path, value in facts.items() if path.startswith("parcours_pro.")}
    number = "identifiants[si_departement:40].valeur"
    referent = next(path for path in facts if path.endswith(".professionnel.nom"))
    told: Current = {
        **REFERENT,
        **studies,
        number: said(facts[number], "departement"),
        "accompagnements[ccas:1].membres[ccas:2].professionnel.nom": said(facts[referent]),
    }
    document = etree.fromstring(connector.write("departement.webrsa_ali", told).document)
    for there, back in (
        (".//id_personne", ".//id_personne"),
        (".//niveau_etude/niveau_etude", ".//niveau_etude/id_niveau_etudes"),
        (".//niveau_etude/diplome_plus_eleve", ".//niveau_etude/id_diplome_plus_eleve"),
        (".//niveau_etude/annee_obtention", ".//niveau_etude/annee_obtention"),
        (".//niveau_etude/qualifications_pro", ".//niveau_etude/qualifications_pro"),
        (".//niveau_etude/competences_extrapro", ".//niveau_etude/competences_extrapro"),
        (".//referent_parcours/id_referent", ".//referent_parcours/id_webrsa"),
    ):
        assert flow.findtext(there) == document.findtext(back) is not None
