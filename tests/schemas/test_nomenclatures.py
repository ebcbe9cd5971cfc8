"""Code lists: whole, clean, keyed so that one code never means two things, labels compared but never looked up."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import nomenclatures
from schemas.nomenclatures import (
    UnknownList,
    codes,
    crosswalk,
    excluded_codes,
    lists,
    sensitive_codes,
)
from schemas.nomenclatures.labels import clean_label, label_key, repair

SHARED = Path(__file__).parents[2].parent / "shared" / "nomenclatures"
FRENCH = "abcdefghijklmnopqrstuvwxyzàâäçéèêëîïôöùûüÿœÀÂÇÉÈÊËÎÏÔÙÛÜŒ ’'-(),/0123456789"


@pytest.mark.parametrize("name", lists())
def test_chaque_liste_se_charge_sans_texte_abime(name: str) -> None:
    entries = codes(name)
    assert entries
    for key, entry in entries.items():
        assert entry.code
        assert entry.libelle
        assert entry.source
        assert key in (entry.code, f"{entry.parent}:{entry.code}")
        assert not repair(entry.libelle).repaired
        assert entry.libelle == clean_label(entry.libelle)


@pytest.mark.parametrize("folder", ["cnaf", "dsp", "france_travail", "data_inclusion", "crosswalk"])
def test_aucune_ligne_d_une_liste_n_est_perdue(folder: str) -> None:
    for path in (Path(nomenclatures.__file__).parent / folder).glob("*.csv"):
        name = f"{folder}/{path.stem.upper() if folder == 'dsp' else path.stem}"
        if name in lists():
            with path.open(encoding="utf-8", newline="") as file:
                assert len(codes(name)) == sum(1 for _ in csv.DictReader(file)), name


@pytest.mark.skipif(not SHARED.is_dir(), reason="reference code lists are not beside the checkout")
@pytest.mark.parametrize("folder", ["cnaf", "dsp", "france_travail", "data_inclusion", "crosswalk"])
def test_les_listes_sont_celles_de_la_reference(folder: str) -> None:
    for path in (SHARED / folder).glob("*.csv"):
        if path.stem.startswith(("vrsb0801_", "vird0201_")):
            continue
        ours = Path(nomenclatures.__file__).parent / folder / path.name
        with path.open(encoding="utf-8", newline="") as theirs, ours.open(encoding="utf-8", newline="") as mine:
            assert list(csv.DictReader(mine)) == list(csv.DictReader(theirs)), path.name


def test_un_code_dsp_est_nomme_par_sa_liste() -> None:
    # 2104 is a difficulty in one list and a duration in another.
    everything = codes("dsp")
    assert everything["DIFSOCPRO:2104"].libelle != everything["DURACTDOMI:2104"].libelle
    assert len(everything) == sum(len(codes(name)) for name in lists() if name.startswith("dsp/"))


def test_les_reponses_fermees_des_dsp_sont_des_listes() -> None:
    assert {code: entry.libelle for code, entry in codes("dsp/SOUTDEMARSOC").items()} == {
        "N": "Non",
        "O": "Oui",
        "V": "Ne veut pas répondre",
    }


def test_les_valeurs_france_travail_sont_nommees_par_leur_genre() -> None:
    assert {"contrainte:OUI", "situation:OUI", "situation:NON"} <= set(codes("france_travail/valeurs"))


def test_les_codes_exclus_existent_dans_leur_liste() -> None:
    for row in crosswalk("exclus"):
        assert row["code"] in codes(row["liste"])
        assert row["code"] in excluded_codes(row["liste"])
        assert row["raison"]
    assert excluded_codes("cnaf/SEXE") == frozenset()


def test_plusieurs_listes_se_joignent() -> None:
    joined = codes("cnaf/MOTISUSDRORSA|cnaf/MOTISUSVERSRSA")
    assert set(joined) == set(codes("cnaf/MOTISUSDRORSA")) | set(codes("cnaf/MOTISUSVERSRSA"))


@pytest.mark.parametrize("name", ["cnaf/INCONNUE", "nulle_part/X", "rien", "cnaf/INDEX", "../personne", "cnaf/sexe"])
def test_une_liste_inconnue_se_dit(name: str) -> None:
    with pytest.raises(UnknownList):
        codes(name)


@pytest.mark.parametrize("name", ["inconnue", "../cnaf/SEXE", ""])
def test_une_correspondance_inconnue_se_dit(name: str) -> None:
    with pytest.raises(UnknownList):
        crosswalk(name)


def test_les_codes_qui_revelent_la_sante_existent_dans_leur_liste() -> None:
    for key, nature in sensitive_codes().items():
        name, _, code = key.partition(":")
        folder = "cnaf" if f"cnaf/{name}" in lists() else "dsp"
        assert code in codes(f"{folder}/{name}"), key
        assert nature in ("sante", "fraude")


def _cells(row: Mapping[str, str], column: str) -> list[str]:
    return [cell for cell in row[column].split("|") if cell]


def test_les_correspondances_ne_citent_que_des_codes_qui_existent() -> None:
    dsp, themes = codes("dsp"), codes("crosswalk/freins")
    for bridge in ("freins", "freins_situations"):
        for row in crosswalk(bridge):
            assert set(_cells(row, "dsp_codes")) <= set(dsp), row
            assert row["theme_canonique"] in themes
    for row in crosswalk("freins"):
        assert set(_cells(row, "data_inclusion_thematiques")) <= set(codes("data_inclusion/thematiques"))
        assert row["ft_contrainte_code"] in {"", *codes("france_travail/contraintes")}
    for row in crosswalk("objectifs"):
        assert row["ft_objectif_code"] in {"", *codes("france_travail/objectifs")}
        assert row["theme_canonique"] in themes
    for row in crosswalk("situation_familiale"):
        assert set(_cells(row, "caf_webrsa_sitfam")) <= set(codes("cnaf/SITFAM"))
    for row in crosswalk("logement"):
        assert set(_cells(row, "dsp_natlog")) <= set(codes("dsp/NATLOG"))
    for row in crosswalk("niveau_etude"):
        assert row["dsp_nivetu"] in codes("dsp/NIVETU")
        assert row["code_ft_carnet"] in codes("france_travail/orientation_niveau_etude")


@pytest.mark.parametrize(
    ("damaged", "whole"),
    [
        ("mÃ©tier", "métier"),
        ("Ã\u00a0 prendre", "à prendre"),
        ("Ã  prendre", "à prendre"),
        ("lâ€™emploi", "l’emploi"),
        ("lâ\u0080\u0099emploi", "l’emploi"),
        ("Å“uvre", "œuvre"),
        ("Ã‰tat", "État"),
        ("Ã\u0089tat", "État"),
        ("â‚¬", "€"),
        ("d‚part", "départ"),
    ],
)
def test_un_libelle_abime_par_une_page_de_codes_est_repare(damaged: str, whole: str) -> None:
    assert clean_label(damaged) == whole
    assert repair(damaged).repaired


@pytest.mark.parametrize("whole", ["CAFÉ»", "GÂTEAU", "« état »", "à prendre", "Âge", "São Paulo", "plain", "", "ô, ‚"])
def test_un_libelle_sain_reste_verbatim(whole: str) -> None:
    assert repair(whole) == (whole, False)


@given(st.text(FRENCH, max_size=60), st.sampled_from(["latin-1", "cp1252"]))
def test_un_libelle_lu_deux_fois_de_travers_revient_entier(label: str, page: str) -> None:
    try:
        damaged = label.encode("utf-8").decode(page)
    except UnicodeDecodeError:
        return
    read = repair(damaged)
    assert read.text == label
    assert read.repaired is (damaged != label)


@given(st.text(FRENCH, max_size=60))
def test_un_libelle_francais_n_est_jamais_abime_par_la_reparation(label: str) -> None:
    assert repair(label) == (label, False)
    assert label_key(label_key(label)) == label_key(label) == label_key(label.upper())
