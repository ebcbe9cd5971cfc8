"""The answers given when asking for RSA: what the Département learns, and what it never learns."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import mappings
from connectors.caf.connector import Caf
from connectors.caf.generator import write_instruction
from gateway import clock, merge
from gateway.exchange import exchange
from gateway.receipt import Request
from gateway.registry import Gateway
from gateway.settings import Settings
from schemas import nomenclatures, paths
from schemas.partner import tables
from schemas.record import Record
from tests.caf.conftest import SHARED

DOCUMENT = "caf.instruction"


def demandes(caf: Caf, n: int = 30, variante: str = "", change: tuple[bytes, bytes] = (b"", b"")) -> list[Record]:
    source = io.BytesIO()
    write_instruction(source, n, 3, variante=variante)
    octets = source.getvalue()
    if change[0]:
        assert change[0] in octets
        octets = octets.replace(*change, 1)
    return list(caf.read(DOCUMENT, io.BytesIO(octets)))


def test_le_fichier_est_un_message_dont_les_totaux_tombent_juste(caf: Caf) -> None:
    source = io.BytesIO()
    write_instruction(source, 12, 3)
    envelope = caf.read(DOCUMENT, source).envelope
    assert (envelope.kind, envelope.counted, envelope.declared, envelope.held) == ("message", 12, 12, None)
    assert envelope.reference_date is None


def test_chaque_demande_devient_des_faits_du_dossier(caf: Caf) -> None:
    records = demandes(caf)
    assert not [f for r in records for f in r.findings if f.severity == "reject"]
    faits = [p.facts for r in records for p in r.personnes]
    assert {f["diagnostic.collecte"] for f in faits} == {"collectee", "refusee", "a_collecter"}
    assert any("freins[mobilite].valeur" in f for f in faits)
    for f in (*faits, *(r.foyer for r in records)):
        assert paths.check(f) == []


def test_un_element_ecrit_deux_fois_attend_un_humain(caf: Caf) -> None:
    premier, *_ = demandes(caf, 1, change=(b"<NOMNAI>", b"<NOMNAI>CANARI</NOMNAI><NOMNAI>"))
    assert [(f.code, f.path) for f in premier.findings if f.severity == "quarantine"] == [
        ("repeated-element", "InfoDemandeRSA[1]/Personne[1]/Identification/NOMNAI")
    ]


def test_un_attribut_est_dit_par_sa_place(caf: Caf) -> None:
    premier, *_ = demandes(caf, 1, change=(b"<NOMNAI>", b'<NOMNAI note="CANARI">'))
    assert [(f.code, f.path, f.raw) for f in premier.findings if f.severity == "quarantine"] == [
        ("unknown-attribute", "InfoDemandeRSA[1]/Personne/Identification/NOMNAI", "")
    ]


def test_un_refus_du_recueil_est_dit_et_aucune_reponse_n_est_inventee(caf: Caf) -> None:
    refus = [p.facts for r in demandes(caf) for p in r.personnes if p.facts["diagnostic.collecte"] == "refusee"]
    assert refus
    assert not [path for f in refus for path in f if path.startswith(("freins", "parcours_pro"))]


def test_les_personnes_sous_l_en_tete_ou_a_cote_sont_les_memes(caf: Caf) -> None:
    a_cote, sous_tete = demandes(caf), demandes(caf, variante="sous_tete")
    assert [[p.facts for p in r.personnes] for r in a_cote] == [[p.facts for p in r.personnes] for r in sous_tete]
    assert [r.foyer for r in a_cote] == [r.foyer for r in sous_tete]


def test_aucun_et_autre_chose_a_la_fois_se_contredisent(caf: Caf) -> None:
    second = demandes(caf, variante="contradictoire")[1]
    contradiction = [f for f in second.findings if f.code == "contradictory-answers"]
    if not contradiction:
        pytest.fail("the second application must contradict itself")
    assert contradiction[0].path.endswith("DetailDifficulteSituationSociale/DIFSOC")
    assert second.quarantined
    assert re.fullmatch(r"0401\|04\d\d", contradiction[0].raw)


def test_deux_adultes_qui_repondent_autrement_sur_leur_logement_gardent_chacun_leur_reponse(
    caf: Caf, tmp_path: Path
) -> None:
    source = io.BytesIO()
    write_instruction(source, 60, 3)
    divises = [r for r in caf.read(DOCUMENT, source) if any(f.code == "told-differently" for f in r.findings)]
    assert divises
    passerelle = Gateway.open(Settings(home=tmp_path, profile="test", departement="040"))
    for divise in divises:
        assert not divise.quarantined
        demande = Request(clock.new_id(), "caf", DOCUMENT, ())
        with passerelle.unit_of_work() as work:
            (recu,) = exchange(
                work, passerelle, demande, [replace(divise, asserted_at=datetime(2026, 11, 2, tzinfo=UTC))]
            )
            assert recu.status == "accepted"
        reponses = [p.facts["foyer.logement_statut"] for p in divise.personnes]
        assert divise.foyer["foyer.logement_statut"] == reponses[0] != reponses[1]
        with passerelle.unit_of_work() as work:
            dits = [passerelle.dossiers.said(work, personne) for personne in recu.persons]
        assert [merge.current(dit)["foyer.logement_statut"].value for dit in dits] == reponses
        (divergence,) = merge.divergences(dits[1])
        assert (divergence.path, [f.value for f in divergence.facts]) == ("foyer.logement_statut", reponses[::-1])
        assert merge.divergences(dits[0]) == []


def test_les_zones_de_mobilite_repetees_sont_toutes_gardees(caf: Caf) -> None:
    zones = [p.facts.get("parcours_pro.zones_mobilite") for r in demandes(caf, 60) for p in r.personnes]
    assert ["2501", "2502"] in zones


def test_ce_qui_revele_la_sante_est_retenu_et_compte(caf: Caf) -> None:
    records = demandes(caf, 60)
    assert any(f.code == "withheld-code" for r in records for f in r.findings)
    assert not [path for r in records for p in r.personnes for path in p.facts if "sante" in path or "handicap" in path]


def test_aucun_texte_libre_ni_nom_d_agent_n_entre_dans_le_dossier(caf: Caf) -> None:
    said = repr([(p.facts, r.foyer) for r in demandes(caf, 60) for p in r.personnes])
    assert "BOULANGERIE" not in said
    assert "EN CLAIR" not in said
    assert "D ACCUEIL" not in said


def test_une_nouvelle_collecte_remplace_la_premiere_et_celle_du_conjoint_est_a_part(caf: Caf) -> None:
    premiere = demandes(caf, 2)[0].key
    nouvelle = demandes(caf, 2, change=(b"<SUIIRSA>11<", b"<SUIIRSA>13<"))[0].key
    conjoint = demandes(caf, 2, change=(b"<SUIIRSA>11<", b"<SUIIRSA>12<"))[0].key
    assert premiere == nouvelle
    assert premiere != conjoint


def test_un_code_inconnu_attend_un_humain(caf: Caf) -> None:
    records = demandes(caf, 30, change=(b"<NATLOG>", b"<NATLOG>Z"))
    assert [r.quarantined for r in records].count(True) >= 1
    assert any(f.code == "unknown-code" for r in records for f in r.findings)


def test_chaque_element_du_schema_est_lu_ou_declare_non_partage() -> None:
    mapping = mappings.load(DOCUMENT)
    declared = tuple(path for one in mapping.file.not_shared for path in one.paths)
    read = set(re.findall(r"'([A-Z][A-Z0-9-]{2,})'", mapping.source))
    table = tables.load("caf/vird0201").elements()
    prefix = "Racine/InfoDemandeRSA/"
    for path, element in table.items():
        if not path.startswith(prefix) or element.children:
            continue
        inside = path.removeprefix(prefix)
        assert element.name in read or any(inside == one or inside.startswith(one + "/") for one in declared), inside


@pytest.mark.parametrize("liste", ["DIFSOC", "DIFDISP", "DIFLOG"])
def test_les_situations_sont_celles_du_tableau_de_passage(liste: str) -> None:
    """Exact and close rows of the bridge, and they alone; what reveals health is left out."""
    rows = nomenclatures.crosswalk("freins_situations")
    sensibles = nomenclatures.sensitive_codes()
    attendu = {
        code.removeprefix(f"{liste}:"): row["situation_canonique"]
        for row in rows
        if row["grade_dsp"] in ("exact", "proche")
        for code in row["dsp_codes"].split("|")
        if code.startswith(f"{liste}:") and code not in sensibles
    }
    table = mappings.load(DOCUMENT).file.codes[f"situation_{liste.lower()}"].values
    assert {code: value for code, value in table.items() if value} == attendu
    assert set(table) == set(nomenclatures.codes(f"cnaf/{liste}"))


def test_les_tables_de_passage_sont_celles_de_la_reference() -> None:
    if not SHARED.is_dir():
        pytest.skip("the reference folder is not beside the checkout")
    with (SHARED / "nomenclatures" / "crosswalk" / "logement.csv").open(encoding="utf-8", newline="") as file:
        attendu = {
            code: row["valeur_canonique"]
            for row in csv.DictReader(file)
            for code in row["dsp_natlog"].split("|")
            if code not in ("", "0901", "0902")
        }
    table = mappings.load(DOCUMENT).file.codes["logement"].values
    assert {code: value for code, value in table.items() if value} == attendu
