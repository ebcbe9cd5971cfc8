"""The synthetic files are those of the caisses: same structure, same encoding, same traps, and nobody in them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree
from stdnum.fr import nir as stdnum_nir
from typer.testing import CliRunner

from connectors.caf.generator import ODDITES, contexte, foyers, write_file
from connectors.caf.synthese import nir
from connectors.caf.synthese.monde import Monde
from gateway import cli
from tests.caf.conftest import fichier


@pytest.fixture(scope="module")
def grand_mensuel() -> etree._Element:
    return etree.fromstring(fichier(1500).read())


@pytest.mark.parametrize("organisme", ["caf", "msa"])
@pytest.mark.parametrize("flux", ["mensuel", "quotidien"])
def test_un_fichier_synthetique_respecte_le_schema_de_la_cnaf(samples: Path, organisme: str, flux: str) -> None:
    schema = etree.XMLSchema(etree.parse(samples / "vrsb0801.xsd"))
    document = etree.fromstring(fichier(300, organisme=organisme, flux=flux).read())
    assert schema.validate(document), schema.error_log
    assert (document.find(".//Evenement") is not None) == (flux == "quotidien")
    assert (document.find(".//Controle") is not None) == (flux == "mensuel")


def test_le_meme_depart_donne_le_meme_fichier_et_un_autre_depart_un_autre() -> None:
    assert fichier(20).read() == fichier(20).read()
    assert fichier(20).read() != fichier(20, seed=4).read()


def test_un_fichier_peut_etre_ecrit_par_morceaux_de_rangs() -> None:
    ou = contexte()
    assert [f.demande for f in foyers(6, 3, ou=ou)][4:] == [f.demande for f in foyers(2, 3, debut=4, ou=ou)]


def test_les_situations_difficiles_sont_presentes(grand_mensuel: etree._Element) -> None:
    dit = {name: {e.text for e in grand_mensuel.iter(name)} for name in ("ETATDOSRSA", "ROLEPERS", "TYPEDTNAI", "PAYS")}
    assert dit["ETATDOSRSA"] == set("0123456")
    assert {"DEM", "CJT", "ENF", "AUT", "RDO"} <= dit["ROLEPERS"]
    assert dit["TYPEDTNAI"] == {"N", "J", "O"}
    assert dit["PAYS"] == {"FRA", "HOR"}
    for rare in ("RGNAI", "IDASSEDIC", "NUMDEMRSAPRECE", "OrganismeCedant", "OrganismePrenant", "Grossesse"):
        assert grand_mensuel.find(f".//{rare}") is not None, rare
    numeros = [e.text or "" for e in grand_mensuel.iter("NIR")]
    assert any(n[5:7] in ("2A", "2B") for n in numeros)
    assert any(n[5:7] == "97" for n in numeros)
    assert any(n[0] in "78" for n in numeros)
    personnes = grand_mensuel.findall(".//Personne")
    assert any(p.find("Identification/NIR") is None for p in personnes)
    assert any(p.find(".//TOPPERSDRODEVORSA") is None for p in personnes if p.find("Ressources") is not None)
    assert any(len(s) > 2 for s in grand_mensuel.iter("SituationDossierRSA")), "several suspensions at once"


def test_l_etat_du_dossier_et_son_motif_vont_ensemble(grand_mensuel: etree._Element) -> None:
    blocs = {"1": "Refus", "3": "SuspensionDroit", "4": "SuspensionVersement", "5": "FinDroit",
             "6": "FinDroitMoisAnterieur"}  # fmt: skip
    for situation in grand_mensuel.iter("SituationDossierRSA"):
        etat = situation.findtext("EtatDossierRSA/ETATDOSRSA") or ""
        assert {child.tag for child in situation[1:]} == ({blocs[etat]} if etat in blocs else set())


def test_aucun_nir_ne_peut_etre_celui_de_quelqu_un(grand_mensuel: etree._Element) -> None:
    """The places of birth used were never attributed."""
    for element in grand_mensuel.iter("NIR"):
        numero = element.text or ""
        lieu = numero[5:10]
        assert re.fullmatch(r"\d{2}99\d|2[AB][7-9]\d\d|97[1-4][7-9]\d|99[6-9]\d\d", lieu), "an attributable place"


@pytest.mark.parametrize("origine", ["", "corse", "outre_mer", "etranger"])
def test_deux_personnes_nees_le_meme_mois_n_ont_pas_le_meme_nir(origine: str) -> None:
    rangs = range(110_000)
    assert len({nir.compose("2", 1985, 6, nir.lieu(n // 999, origine), n % 999 + 1) for n in rangs}) == len(rangs)


def test_la_msa_ecrit_quinze_caracteres_dont_la_cle_est_juste() -> None:
    document = etree.fromstring(fichier(200, organisme="msa").read())
    numeros = [e.text or "" for e in document.iter("NIR")]
    assert numeros
    assert all(len(n) == 15 and stdnum_nir.calc_check_digits(n) == n[13:] for n in numeros)
    matricules = {len((e.text or "").lstrip("0")) for e in document.iter("MATRICULE")}
    assert 13 in matricules, "some MSA matricules are NIRs"


@pytest.mark.parametrize(
    ("treize", "cle"),
    [("1800199999999", "40"), ("2850699999999", "19"), ("180012A999999", "66"), ("285062B999999", "72"),
     ("1251299999999", "01"), ("1271299999999", "97"), ("7850699999999", "60")],
)  # fmt: skip
def test_la_cle_d_un_nir_corse_ou_provisoire_est_juste(treize: str, cle: str) -> None:
    assert nir.cle(treize) == cle


@pytest.mark.parametrize("nom", sorted(ODDITES))
def test_chaque_bizarrerie_change_le_fichier(nom: str) -> None:
    assert fichier(6, nom).read() != fichier(6).read()


def test_une_bizarrerie_inconnue_est_refusee() -> None:
    with pytest.raises(ValueError, match="fautes_de_frappe"):
        write_file(io.BytesIO(), 1, oddities=["fautes_de_frappe"])


EN_MEMOIRE = """
import io, tracemalloc
from connectors.caf.generator import write_file

class Puits(io.RawIOBase):
    def write(self, octets):
        return len(octets)

for foyers in (130, 500):
    tracemalloc.start()
    write_file(Puits(), foyers)
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""


def test_la_memoire_ne_grandit_pas_avec_le_fichier() -> None:
    """Dans un processus à lui : ce que d'autres tests ont laissé en route serait compté avec."""
    dit = subprocess.run([sys.executable, "-c", EN_MEMOIRE], capture_output=True, text=True, check=True)
    petit, grand = map(int, dit.stdout.split())
    assert grand < petit + 1_000_000


def test_un_monde_vit_et_ses_fichiers_restent_valides(samples: Path) -> None:
    schema = etree.XMLSchema(etree.parse(samples / "vrsb0801.xsd"))
    monde = Monde(seed=5, n=120, rythme=1.5)
    vus: set[str] = set()
    for _ in range(3):
        for flux, ecrire in (("mensuel", monde.mensuel), ("quotidien", monde.quotidien)):
            for organisme in ("caf", "msa"):
                sortie = io.BytesIO()
                ecrire(sortie, organisme)
                document = etree.fromstring(sortie.getvalue())
                assert schema.validate(document), (flux, schema.error_log)
                vus |= {e.text or "" for e in document.iter("FG")}
        monde.avancer(30)
    assert {"ADR", "SITFAM", "MUT", "SUS", "RAD", "REA", "SITENFAUT", "DEMRSA"} <= vus
    assert any(p.demande_precedente for f in monde.etat_vrai() for p in f.personnes)


def suite(dossier: Path, *options: str) -> dict[str, bytes]:
    commande = ["demo-data", "caf", "--foyers", "60", "--seed", "3", "--suite", "3", "--output", str(dossier)]
    fait = CliRunner().invoke(cli.app, [*commande, *options])
    assert fait.exit_code == 0, fait.output
    assert json.loads(fait.stdout)["files"] == len(list(dossier.iterdir()))
    return {chemin.name: chemin.read_bytes() for chemin in sorted(dossier.iterdir())}


def test_la_commande_ecrit_des_mois_qui_se_suivent(tmp_path: Path) -> None:
    fichiers = suite(tmp_path / "un")
    assert fichiers == suite(tmp_path / "deux"), "the same seed writes the same bytes"
    mensuels = [nom for nom in fichiers if nom.endswith("-caf-mensuel.xml")]
    assert [nom[:10] for nom in mensuels] == ["2026-11-04", "2026-12-04", "2027-01-04", "2027-02-04"]
    references = [etree.fromstring(fichiers[nom]).findtext(".//DTREF") for nom in mensuels]
    assert references == ["2026-10-31", "2026-11-30", "2026-12-31", "2027-01-31"]
    quotidiens = [octets for nom, octets in fichiers.items() if nom.endswith("quotidien.xml")]
    assert len(quotidiens) > 3
    assert all(b"<InfosFoyerRSA>" in octets for octets in quotidiens), "a day without news has no file"
    seuls = suite(tmp_path / "trois", "--organisme", "msa", "--flux", "mensuel")
    assert set(seuls) == {nom for nom in fichiers if nom.endswith("-msa-mensuel.xml")}


def test_chaque_fichier_de_la_suite_est_valide(tmp_path: Path, samples: Path) -> None:
    schema = etree.XMLSchema(etree.parse(samples / "vrsb0801.xsd"))
    for nom, octets in suite(tmp_path / "suite").items():
        assert schema.validate(etree.fromstring(octets)), (nom, schema.error_log)


def test_la_commande_ecrit_un_fichier_comme_avant(tmp_path: Path) -> None:
    for flux in ("mensuel", "quotidien"):
        for organisme in ("caf", "msa"):
            commande = ["demo-data", "caf", "--foyers", "5", "--flux", flux, "--organisme", organisme, "-o"]
            assert CliRunner().invoke(cli.app, [*commande, str(tmp_path / "un.xml")]).exit_code == 0
            attendu = io.BytesIO()
            write_file(attendu, 5, flux=flux, organisme=organisme)
            assert (tmp_path / "un.xml").read_bytes() == attendu.getvalue()


def test_sans_lieu_le_fichier_porte_le_code_des_caisses_et_n_en_remplace_aucun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commande = ["demo-data", "caf", "--foyers", "2", "--flux", "quotidien", "--organisme", "msa"]
    assert CliRunner().invoke(cli.app, commande).exit_code == 0
    assert (tmp_path / "MSABEI.xml").is_file()
    assert CliRunner().invoke(cli.app, commande).exit_code == 2


def test_un_dossier_clos_est_dit_une_fois_puis_plus() -> None:
    monde = Monde(seed=5, n=300)
    premier, second = io.BytesIO(), io.BytesIO()
    monde.mensuel(premier)
    clos = {
        f.findtext(".//NUMDEMRSA")
        for f in etree.fromstring(premier.getvalue()).iter("InfosFoyerRSA")
        if f.findtext(".//ETATDOSRSA") == "5"
    }
    monde.mensuel(second)
    assert clos
    assert not clos & {e.text for e in etree.fromstring(second.getvalue()).iter("NUMDEMRSA")}
