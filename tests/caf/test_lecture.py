"""What a Département gets out of the files: one record per household, each with what was odd in it."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.caf.connector import Caf
from connectors.caf.generator import contexte, foyers, write_file, write_foyers
from connectors.caf.lecture import Lecture
from connectors.caf.octets import raw_records
from schemas.record import Record
from tests.caf.conftest import fichier

FLUX = "caf.flux_beneficiaire"
Lire = Callable[..., Lecture]


def codes(record: Record) -> set[str]:
    return {finding.code for finding in record.findings}


# --- the envelope ---------------------------------------------------------------------------------------------------


def test_le_mensuel_est_un_stock_date_de_la_fin_du_mois(lire: Lire) -> None:
    envelope = lire(4).envelope
    assert (envelope.kind, envelope.reference_date, envelope.organisme) == ("stock", "2026-10-31", "CAF:401")
    assert (envelope.declared, envelope.counted, envelope.held) == (4, 4, None)


def test_le_quotidien_est_un_delta(lire: Lire) -> None:
    assert lire(4, flux="quotidien").envelope.kind == "delta"


def test_l_heure_de_creation_est_celle_de_paris(lire: Lire) -> None:
    assert lire(2).envelope.emitted_at == datetime(2026, 11, 4, 0, 18, 36, tzinfo=UTC)
    ete = lire(2, mois="2026-06").envelope.emitted_at
    assert ete is not None
    assert ete.astimezone(UTC) == datetime(2026, 7, 3, 23, 18, 36, tzinfo=UTC)


def test_un_quotidien_plus_recent_que_le_mensuel_arrive_avant_l_emporte(caf: Caf) -> None:
    """The monthly of October is made on 4 November: a daily file of the 2nd is older, one of the 5th newer."""
    asserted = {}
    for nom, options in {"mensuel": {}, "le 2": {"mois": "2026-11-02"}, "le 5": {"mois": "2026-11-05"}}.items():
        flux = "quotidien" if options else "mensuel"
        reading = caf.read(FLUX, fichier(1, flux=flux, **options))
        asserted[nom] = next(iter(reading)).asserted_at or datetime.min.replace(tzinfo=UTC)
    assert asserted["le 2"] < asserted["mensuel"] < asserted["le 5"]


def test_la_cle_du_fichier_reconnait_un_renvoi(lire: Lire) -> None:
    un, meme, autre, msa = lire(3), lire(3), lire(3, mois="2026-09"), lire(3, organisme="msa")
    assert un.envelope.key == meme.envelope.key
    assert len({un.envelope.key, autre.envelope.key, msa.envelope.key}) == 3


def test_un_total_faux_retient_le_fichier(lire: Lire) -> None:
    reading = lire(5, "pied_faux")
    assert reading.envelope.held == "footer-mismatch"
    assert (reading.envelope.declared, reading.envelope.counted) == (4, 5)
    assert len(list(reading)) == 5, "held, not refused: a human may still publish it"


def test_un_total_qui_compte_les_anomalies_est_admis(caf: Caf) -> None:
    source = fichier(5).read().replace(b"TRANSM>00000005<", b"TRANSM>00000007<")
    source = source.replace(b"TRANSMANO>00000000<", b"TRANSMANO>00000002<")
    assert caf.read(FLUX, io.BytesIO(source)).envelope.held is None


def test_un_fichier_quotidien_vide_dit_qu_il_n_y_a_rien(lire: Lire) -> None:
    reading = lire(5, "vide", flux="quotidien")
    assert (reading.envelope.counted, reading.envelope.held, list(reading)) == (0, None, [])


def test_un_stock_mensuel_sans_aucun_foyer_attend_une_personne(lire: Lire) -> None:
    """One household would raise a task for each of the others; none at all is a fault of the run before it is news."""
    reading = lire(5, "vide")
    assert (reading.envelope.counted, reading.envelope.held) == (0, "empty-stock")


def test_un_schema_etranger_est_signale_et_jamais_cherche(caf: Caf) -> None:
    source = fichier(2).read().replace(b'"vrsb0801.xsd"', b'"http://exemple.test/vrsb0801.xsd"')
    findings = caf.read(FLUX, io.BytesIO(source)).envelope.findings
    assert "foreign-schema-location" in {finding.code for finding in findings}


def test_le_fichier_publie_par_d_autres_est_lu_et_ses_defauts_sont_dits(samples: Path) -> None:
    """Two households, a footer that says one, the same request number twice, two partners and no applicant."""
    with (samples / "RSABEM.xml").open("rb") as source:
        reading = Caf("052").read(FLUX, source)
        records = list(reading)
    assert reading.envelope.held == "footer-mismatch"
    assert {f.code for f in reading.envelope.findings} == {
        "footer-mismatch", "foreign-schema-location", "shared-request-number", "trailing-blanks",
    }  # fmt: skip
    assert [len(record.personnes) for record in records] == [2, 1]
    assert len({record.key for record in records}) == 2, "two households never merge for a request number"
    assert not any(record.quarantined for record in records)


# --- encodings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encodage", ["nir_corse", "iso_8859_1", "utf_8"])
def test_les_caracteres_sont_lus_quel_que_soit_l_encodage_declare(lire: Lire, encodage: str) -> None:
    second = list(lire(3, encodage))[1]
    assert "RÉSIDENCE L’ŒILLET" in second.personnes[0].facts["personne.adresses[residence].lignes"]


# --- one household --------------------------------------------------------------------------------------------------


def test_un_foyer_invalide_est_rejete_seul_avec_sa_place(lire: Lire) -> None:
    records = list(lire(5, "xsd_invalide"))
    assert [record.rejected for record in records] == [False, True, False, False, False]
    rejet = records[1]
    assert rejet.findings[0].path.startswith("InfosFoyerRSA[2]/Personne/Identification/")
    assert rejet.findings[0].detail == "expected here: DTNAI"
    assert rejet.key.endswith(":01024048040"), "the reject names its request"
    assert not rejet.personnes
    assert rejet.digest


@pytest.mark.parametrize("situation", ["ordre_inverse", "date_impossible"])
def test_un_ordre_ou_une_date_impossible_rejette_le_foyer(lire: Lire, situation: str) -> None:
    records = list(lire(5, situation))
    assert [record.rejected for record in records] == [False, True, False, False, False]


def test_un_code_inconnu_attend_un_humain_avec_sa_valeur(lire: Lire) -> None:
    second = list(lire(5, "code_inconnu"))[1]
    inconnu = next(f for f in second.findings if f.code == "unknown-code")
    assert second.quarantined
    assert not second.rejected
    assert (inconnu.path, inconnu.raw) == ("InfosFoyerRSA[2]/DonneesAdministratives/SituationFamille/SITFAM", "ZZZ")
    assert "ZZZ" not in repr(inconnu)
    assert "foyer.situation_familiale" not in second.foyer


def test_un_element_que_le_schema_ne_connait_pas_attend_un_humain(lire: Lire) -> None:
    second = list(lire(5, "element_inconnu"))[1]
    assert second.quarantined
    assert not second.rejected
    assert second.foyer["foyer.situation_familiale"]


def test_un_nir_de_treize_ou_quinze_caracteres_est_le_meme(lire: Lire) -> None:
    caf, msa = list(lire(40)), list(lire(40, organisme="msa"))
    for records in (caf, msa):
        numeros = [p.facts.get("identifiants[nir].valeur") for r in records for p in r.personnes]
        assert any(numeros)
        assert all(numero is None or len(numero) == 13 for numero in numeros)


def test_un_nir_corse_est_lu(lire: Lire) -> None:
    numero = list(lire(3, "nir_corse"))[1].personnes[0].facts["identifiants[nir].valeur"]
    assert numero[5:7] in ("2A", "2B")


def test_une_cle_fausse_met_en_quarantaine(lire: Lire) -> None:
    second = list(lire(3, "nir_cle_fausse"))[1]
    assert second.quarantined
    assert "bad-nir" in codes(second)


def test_un_numero_provisoire_est_lu_sans_certifier_l_identite(lire: Lire) -> None:
    facts = list(lire(3, "nir_provisoire"))[1].personnes[0].facts
    assert facts["personne.identite_certifiee"] is False


def test_une_personne_sans_nir_est_lue(lire: Lire) -> None:
    facts = list(lire(3, "nir_absent"))[1].personnes[0].facts
    assert "identifiants[nir].valeur" not in facts
    assert facts["personne.nom_naissance"]


def test_un_nir_qui_contredit_le_sexe_est_signale(lire: Lire) -> None:
    second = list(lire(3, "nir_incoherent"))[1]
    assert "nir-disagrees" in codes(second)
    assert not second.quarantined, "a number follows a change of sex late, or never"
    assert "nir-disagrees" not in codes(list(lire(3))[1])


_ETAT = re.compile(rb"<ETATDOSRSA>.</ETATDOSRSA>(\s*</EtatDossierRSA>).*?(</SituationDossierRSA>)", re.DOTALL)
_BLOCS = {
    "1": "<Refus><DTREFURSA>2026-09-01</DTREFURSA><MOTIREFURSA>F02</MOTIREFURSA></Refus>",
    "3": "<SuspensionDroit><MOTISUSDRORSA>GJ</MOTISUSDRORSA><DDSUSDRORSA>2026-09-01</DDSUSDRORSA></SuspensionDroit>",
    "4": "<SuspensionVersement><MOTISUSVERSRSA>06</MOTISUSVERSRSA><DDSUSVERSRSA>2026-09-01</DDSUSVERSRSA>"
    "</SuspensionVersement>",
    "5": "<FinDroit><MOTICLORSA>MUT</MOTICLORSA><DTCLORSA>2026-09-01</DTCLORSA></FinDroit>",
    "6": "<FinDroitMoisAnterieur><MOTICLORSA>MUT</MOTICLORSA><DTCLORSA>2026-09-01</DTCLORSA></FinDroitMoisAnterieur>",
}


def _avec_etat(caf: Caf, etat: str, *blocs: str) -> Record:
    """One household whose dossier is in this state, with the blocks of these."""
    flux = fichier(1).read()
    situation = f"<ETATDOSRSA>{etat}</ETATDOSRSA>\\1{''.join(_BLOCS[one] for one in sorted(blocs))}\\2"
    flux = _ETAT.sub(situation.encode(), flux)
    (record,) = caf.read("caf.flux_beneficiaire", io.BytesIO(flux))
    return record


@pytest.mark.parametrize(("etat", "blocs"), [("2", "5"), ("2", "4"), ("2", "1"), ("4", "3"), ("3", "5"), ("6", "5")])
def test_un_etat_que_dement_un_bloc_attend_un_humain(caf: Caf, etat: str, blocs: str) -> None:
    record = _avec_etat(caf, etat, *blocs)
    assert [(one.code, one.raw) for one in record.findings if one.severity == "quarantine"] == [("contradiction", etat)]
    assert not [path for path in record.foyer if path.startswith(("droit_rsa.etat", "droit_rsa.suspensions"))]
    assert "droit_rsa.date_cloture" not in record.foyer
    assert record.foyer["droit_rsa.date_demande"]


@pytest.mark.parametrize(
    ("etat", "blocs"), [("2", ""), ("5", "5"), ("5", "35"), ("5", ""), ("3", "34"), ("2", "6"), ("0", "5"), ("6", "6")]
)
def test_un_etat_que_la_norme_fait_passer_avant_ses_blocs_est_lu(caf: Caf, etat: str, blocs: str) -> None:
    record = _avec_etat(caf, etat, *blocs)
    assert not record.quarantined
    assert record.foyer["droit_rsa.etat"]


def test_un_nombre_negatif_attend_seul(caf: Caf) -> None:
    flux = re.sub(rb"<NBENFAUTCHA>\d+<", b"<NBENFAUTCHA>-1<", fichier(40).read())
    told = [
        record for record in caf.read("caf.flux_beneficiaire", io.BytesIO(flux)) if "negative-count" in codes(record)
    ]
    assert told
    for record in told:
        assert not record.rejected
        assert "foyer.nb_personnes_a_charge" not in record.foyer
        assert record.foyer["droit_rsa.etat"]


def test_deux_foyers_sous_un_meme_numero_ne_fusionnent_pas(lire: Lire) -> None:
    for organisme in ("caf", "msa"):
        records = list(lire(4, "deux_foyers_meme_demande", organisme=organisme))
        assert len({record.key for record in records}) == 4
        assert "shared-request-number" in codes(records[0]) & codes(records[1])


def test_le_matricule_complete_a_gauche_ou_a_droite_est_le_meme_dossier(lire: Lire) -> None:
    droite, gauche = list(lire(3))[1], list(lire(3, "matricule_a_gauche"))[1]
    assert droite.key == gauche.key
    assert droite.foyer["foyer.matricule"] == gauche.foyer["foyer.matricule"]


def test_un_matricule_msa_qui_est_un_nir_ne_sort_ni_dans_la_cle_ni_dans_les_faits(caf: Caf) -> None:
    source = fichier(60, organisme="msa")
    matricules = [e[2] for e in _tetes(source)]
    records = list(caf.read(FLUX, source))
    nirs = [m for m in matricules if len(m) == 13]
    assert nirs
    for record in records:
        assert not any(m in record.key or m in json.dumps(record.foyer) for m in nirs)
        assert not record.quarantined, "expected of the MSA: not a case for a human"


def _tetes(source: io.BytesIO) -> list[tuple[str, ...]]:
    from connectors.caf.octets import head

    found = [head(raw) for _, raw in raw_records(source, "InfosFoyerRSA")]
    source.seek(0)
    return found


def test_un_code_postal_qui_a_perdu_son_zero_le_retrouve(lire: Lire) -> None:
    facts = list(lire(3, "code_postal_court"))[1].personnes[0].facts
    assert facts["personne.adresses[residence].code_postal"] == "01000"


def test_le_dernier_dossier_dit_l_emporte_et_le_premier_reste_compte(lire: Lire) -> None:
    records = list(lire(5, "dossier_repete"))
    assert len(records) == 6
    premier, second = records[1], records[2]
    assert codes(premier) == {"superseded"}
    assert not premier.personnes
    assert premier.key != second.key
    assert second.foyer["droit_rsa.etat"] == "clos"


def test_les_enfants_n_ont_pas_de_dossier_mais_sont_comptes(lire: Lire) -> None:
    records = list(lire(60))
    roles = {p.facts["personne.role_foyer"] for r in records for p in r.personnes}
    assert roles <= {"demandeur", "conjoint", "responsable_dossier"}
    assert any(r.foyer["foyer.nb_personnes_a_charge"] > 0 for r in records)


def test_ni_ressources_ni_grossesse_ni_controle_ne_deviennent_des_faits(lire: Lire) -> None:
    for record in lire(200):
        for facts in (record.foyer, *(p.facts for p in record.personnes)):
            assert not [
                path for path in facts if any(m in path for m in ("ressources", "gross", "controle", "montant"))
            ]


# --- digests, resuming, parts, memory -------------------------------------------------------------------------------


def test_l_empreinte_d_un_foyer_ne_depend_pas_du_fichier_qui_le_porte(caf: Caf) -> None:
    ou = contexte()
    un, autre = io.BytesIO(), io.BytesIO()
    write_foyers(un, foyers(4, 3, ou=ou), ou, heure="01:00:00.0000")
    write_foyers(autre, foyers(2, 3, debut=2, ou=ou), ou, heure="23:00:00.0000")
    premiers = [record.digest for record in caf.read(FLUX, un)]
    assert premiers[2:] == [record.digest for record in caf.read(FLUX, autre)]


def test_un_renvoi_sans_changement_se_reconnait_sans_analyse(lire: Lire) -> None:
    reading = lire(20)
    bruts = [hashlib.sha256(raw).digest() for _, raw in reading.raw()]
    assert bruts == [record.digest for record in reading]


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 511, 600])
def test_la_lecture_reprend_apres_le_dernier_foyer_acquis(caf: Caf, n: int) -> None:
    source = fichier(600)
    toutes = [raw for _, raw in _lecture(caf, source).raw()]
    reprise = list(_lecture(caf, source).skip(n).raw())
    assert [raw for _, raw in reprise] == toutes[n:]
    assert [position for position, _ in reprise] == list(range(n, 600))


def _lecture(caf: Caf, source: io.BytesIO) -> Lecture:
    source.seek(0)
    reading = caf.read(FLUX, source)
    assert isinstance(reading, Lecture)
    return reading


def test_une_source_qui_ne_se_relit_pas_est_lue_quand_meme(caf: Caf) -> None:
    class Tuyau(io.RawIOBase):
        def __init__(self, octets: bytes) -> None:
            self._reste = io.BytesIO(octets)

        def read(self, size: int = -1) -> bytes:
            return self._reste.read(size)

        def seekable(self) -> bool:
            return False

    assert len(list(caf.read(FLUX, Tuyau(fichier(30).read())))) == 30  # type: ignore[arg-type]


_PIC = """
import resource, sys
from connectors.caf.connector import Caf
with open(sys.argv[1], "rb") as source:
    print(sum(1 for record in Caf("040").read("caf.flux_beneficiaire", source)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_la_memoire_ne_depend_pas_de_la_taille_du_fichier(tmp_path: Path) -> None:
    """The same 512 households twenty times over: the peak does not move."""
    chemin = tmp_path / "petit.xml"
    write_file(chemin, 512, 3)
    grand = tmp_path / "grand.xml"
    octets = chemin.read_bytes()
    debut, fin = octets.index(b"<InfosFoyerRSA>"), octets.rindex(b"</InfosFoyerRSA>") + len(b"</InfosFoyerRSA>")
    with grand.open("wb") as sortie:
        sortie.write(octets[:debut])
        for tour in range(12):
            sortie.write(octets[debut:fin].replace(b"040</NUMDEMRSA>", b"%03d</NUMDEMRSA>" % (100 + tour)))
        sortie.write(octets[fin:].replace(b"00000512", b"00006144"))
    pics = []
    for fichier_lu, attendus in ((chemin, 512), (grand, 6144)):
        said = subprocess.run(
            [sys.executable, "-c", _PIC, str(fichier_lu)], capture_output=True, text=True, check=True
        ).stdout.split()
        assert int(said[0]) == attendus
        pics.append(int(said[1]))
    assert pics[1] < pics[0] + 8
