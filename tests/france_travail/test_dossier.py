"""The diagnosis, in both generations: the same facts, nothing guessed, nothing lost in silence."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest

import mappings
from connectors.contract import DocumentRefused
from connectors.france_travail import lecture
from connectors.france_travail.sandbox import SCENARIOS
from connectors.france_travail.sandbox.usagers import dossier_v1, dossier_v4, seeds
from schemas import paths
from schemas.record import Fact, Record

SHARED = Path(__file__).parents[2].parent / "shared"
SAMPLE = SHARED / "samples" / "france_travail" / "dossier_individu_v1.json"


def read(document: Any) -> Record:
    content = document if isinstance(document, bytes) else json.dumps(document, ensure_ascii=False).encode()
    (record,) = lecture.read(lecture.DOSSIER, io.BytesIO(content))
    return record


def told(record: Record) -> dict[str, Any]:
    return record.personnes[0].facts


@pytest.fixture
def sample() -> dict[str, Any]:
    if not SAMPLE.exists():
        pytest.skip(f"needs {SAMPLE.name} in the shared samples")
    return json.loads(SAMPLE.read_text(encoding="utf-8"))


def test_a_real_dossier_tells_its_freins_as_they_are(sample) -> None:
    record = read(sample)
    facts = told(record)
    assert {path: value for path, value in facts.items() if path.startswith("freins") and path.count("[") == 1
            and path.endswith(".valeur")} == {
        "freins[mobilite].valeur": "present",
        "freins[famille].valeur": "cloture",
        "freins[sante].valeur": "cloture",
        "freins[lecture_ecriture_calcul].valeur": "cloture",
        "freins[logement].valeur": "non_aborde",
        "freins[finances].valeur": "present",
        "freins[administratif_juridique].valeur": "non_aborde",
    }  # fmt: skip
    assert {paths.keys(path)[1]: value for path, value in facts.items() if ".situations[" in path} == {
        "mobilite_dependant_transports_communs": "oui",
        "sante_entrave_certains_metiers": "oui",
        "sante_absences_regulieres": "oui",
        "langue_ecrit": "oui",
        "calcul_difficultes": "oui",
        "finances_surendettement": "oui",
    }
    assert {path: value for path, value in facts.items() if path.startswith("objectifs")} == {
        "objectifs[mobilite_obtenir_permis].statut": "en_cours",
        "objectifs[mobilite_solution_transport].statut": "en_cours",
        "objectifs[famille_personne_dependante].statut": "realise",
        "objectifs[sante_acces_droits_soins].statut": "realise",
        "objectifs[sante_comportements].statut": "realise",
        "objectifs[langue_ameliorer_francais].statut": "realise",
        "objectifs[langue_ameliorer_calcul].statut": "realise",
    }
    assert record.findings == []
    assert paths.check(facts) == []
    assert not any(value in ("absent", "non") for value in facts.values()), "not explored is never a no"


def explored(sample: dict[str, Any], name: str) -> dict[str, dict[str, str]]:
    """Contrainte code to the codes and values of its explored items."""
    contraintes = sample["contraintesIndividusDto"]["contraintes"]
    return {
        one["code"]: {i["code"]: i["valeur"] for i in one.get(name, []) if not i["valeur"].startswith("NON_A")}
        for one in contraintes
    }


def test_a_real_dossier_is_written_back_with_the_same_codes(sample) -> None:
    current = {path: Fact(value, "france_travail", "essai", "") for path, value in told(read(sample)).items()}
    written = mappings.load(lecture.DOSSIER, 1).write(current)
    assert written.findings == []
    back = {one["code"]: one for one in written.document["contraintesIndividusDto"]["contraintes"]}
    source = {one["code"]: one for one in sample["contraintesIndividusDto"]["contraintes"]}
    assert {code: one["valeur"] for code, one in back.items()} == {code: o["valeur"] for code, o in source.items()}
    for name in ("situations", "objectifs"):
        assert explored(written.document, name) == explored(sample, name)
    assert told(read(written.document)) == {
        path: value for path, value in told(read(sample)).items() if not path.startswith("besoins")
    }


def test_both_generations_tell_the_same_facts_of_one_person() -> None:
    usager = seeds()[0]
    v4, v1 = told(read(dossier_v4(usager))), told(read(dossier_v1(usager)))
    assert v1.items() <= v4.items()
    only = v4.keys() - v1.keys()
    assert "freins[numerique].valeur" in only, "contrainte 22 is told by v4 alone"
    assert all(
        path.startswith(("freins[numerique]", "objectifs[numerique", "besoins[utiliser_services", "diagnostic."))
        or path.endswith((".impact", ".prioritaire", ".explore_le", ".rome", ".code_appellation"))
        for path in only
    )


def test_the_digital_contrainte_is_found_where_v4_hides_it() -> None:
    facts = told(read(dossier_v4(seeds()[0])))
    assert facts["freins[numerique].valeur"] == "present"
    assert facts["freins[numerique].situations[numerique_sans_connexion_autre].valeur"] == "oui"
    assert facts["objectifs[numerique_connexion].statut"] == "en_cours"
    assert facts["besoins[utiliser_services_numeriques].valeur"] == "besoin"


def test_a_dossier_replaces_what_it_said_before_unless_a_block_is_missing() -> None:
    whole = dossier_v4(seeds()[0])
    assert read(whole).partial is False
    del whole["autonomieNumerique"]
    assert read(whole).partial is True
    assert read(dossier_v1(seeds()[0])).partial is False


@pytest.mark.parametrize(
    ("dossier", "block"), [(dossier_v4, "thematiqueContrainte"), (dossier_v1, "contraintesIndividusDto")]
)
@pytest.mark.parametrize("nothing", [None, []])
def test_a_dossier_without_any_contrainte_takes_none_back(dossier: Any, block: str, nothing: Any) -> None:
    """France Travail lists them all, even those never explored: an empty list is a silence."""
    whole = dossier(seeds()[0])
    whole[block]["contraintes"] = nothing
    assert read(whole).partial is True


def test_equal_bytes_have_equal_digests() -> None:
    whole = dossier_v4(seeds()[0])
    assert read(whole).digest == read(copy.deepcopy(whole)).digest
    whole["pouvoirAgir"]["confiance"] = "OUI"
    assert read(whole).digest != read(dossier_v4(seeds()[0])).digest


NOMINAL = told(read(dossier_v4(seeds()[0])))


def altered(scenario: str) -> Record:
    alter = SCENARIOS[scenario].alter
    assert alter is not None
    return read(alter(dossier_v4(seeds()[0])))


@pytest.mark.parametrize("scenario", ["libelles_mojibake", "champs_nouveaux"])
def test_what_does_not_change_the_meaning_changes_no_fact(scenario: str) -> None:
    record = altered(scenario)
    assert {p: v for p, v in told(record).items() if not p.endswith("appellation")} == {
        p: v for p, v in NOMINAL.items() if not p.endswith("appellation")
    }
    assert not record.quarantined


def test_damaged_labels_are_repaired_and_it_is_said() -> None:
    (found,) = altered("libelles_mojibake").findings
    assert (found.code, found.path, found.severity) == ("encoding-repaired", "", "notice")


def test_a_new_field_is_noticed_by_its_place_alone() -> None:
    notices = [(finding.code, finding.path, finding.severity) for finding in altered("champs_nouveaux").findings]
    assert notices == [
        ("unknown-element", "blocNouveau", "notice"),
        ("unknown-element", "thematiqueContrainte/contraintes[1]/champNouveau", "notice"),
    ]


def test_a_missing_impact_or_block_says_nothing() -> None:
    assert told(altered("impact_absent")).keys() == {p for p in NOMINAL if not p.endswith(".impact")}
    record = altered("cles_absentes")
    assert record.findings == []
    assert told(record).items() <= NOMINAL.items()
    assert record.partial


@pytest.mark.parametrize(
    ("scenario", "code", "raw", "lost"),
    [
        ("code_inconnu", "unknown-code", "99", set()),
        ("libelle_contredit", "label-disagrees", "8", set()),
        ("valeur_inconnue", "unknown-code", "PEUT_ETRE", {"freins[mobilite].valeur"}),
    ],
)
def test_what_is_not_understood_is_kept_aside_and_the_rest_is_read(
    scenario: str, code: str, raw: str, lost: set
) -> None:
    record = altered(scenario)
    assert [(f.code, f.raw, f.severity) for f in record.findings] == [(code, raw, "quarantine")]
    assert told(record) == {path: value for path, value in NOMINAL.items() if path not in lost}
    assert raw not in repr(record.findings[0])


def test_objectives_numbered_otherwise_never_pass_by_their_label() -> None:
    """A widely copied test fixture has right labels and wrong numbers (domain reference §8.5)."""
    record = altered("objectifs_inventes")
    codes = {finding.code for finding in record.findings}
    assert codes == {"unknown-code", "label-disagrees"}
    assert not any(path.startswith("objectifs[mobilite") for path in told(record))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"[]", "wrong-root"), (b"{}", "wrong-root"), (b"<html/>", "json-syntax"), (b"", "json-syntax"),
        (b'{"thematiqueContrainte":{},"thematiqueContrainte":{}}', "json-duplicate-key"),
        (b'{"thematiqueContrainte":NaN}', "json-number"), (b"\xff\xfe{}", "json-bom"), (b"\x80", "json-not-utf8"),
        (b"[" * 100_000, "json-too-deep"), (b'{"a":"' + b"x" * lecture.MAX_BYTES + b'"}', "too-large"),
    ],
    ids=["array", "empty", "html", "nothing", "twice", "nan", "bom", "latin", "deep", "large"],
)  # fmt: skip
def test_a_hostile_dossier_is_refused_whole(content: bytes, code: str) -> None:
    with pytest.raises(DocumentRefused) as caught:
        read(content)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "block", [[], "texte", 7, {"contraintes": "texte"}, {"contraintes": [None, 3, {"code": {}}]}]
)  # fmt: skip
def test_a_block_of_the_wrong_kind_is_told_and_stops_nothing(block: Any) -> None:
    document = dossier_v4(seeds()[0]) | {"thematiqueContrainte": block}
    record = read(document)
    assert told(record)["freins[numerique].valeur"] == "present"
    assert record.findings


@pytest.mark.parametrize("generation", ["v1", "v4"])
@pytest.mark.parametrize(
    ("first", "stands"), [(True, "point_fort"), (False, "besoin")], ids=["priority", "explored-last"]
)
def test_two_projects_that_answer_one_need_otherwise_ask_nobody(generation: str, first: bool, stands: str) -> None:
    path = Path(mappings.__file__).parent / f"france_travail/examples/dossier_diagnostic/{generation}.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    projects = document["besoinsParDiagnostic" if generation == "v4" else "besoinsParDiagnosticIndividuDtos"]
    projects[:] = [projects[0], copy.deepcopy(projects[0])]
    for project, value, day in zip(projects, ("POINT_FORT", "BESOIN"), ("01", "02"), strict=True):
        about = project["diagnostic"] if generation == "v4" else project
        explored = f"2026-03-{day}T10:00:00.000+02:00"
        about |= {"estPrioritaire": first and day == "01", "idMetierChiffre": day, "dateMiseAJour": explored}
        need = {"code": "1", "valeur": value}
        project |= {"thematiquesBesoins": [{"besoins": [need]}]} if generation == "v4" else {"besoins": [need]}
    record = read(document)
    assert told(record)["besoins[identifier_points_forts].valeur"] == stands
    assert [(one.code, one.severity) for one in record.findings] == [("told-differently", "notice")]
