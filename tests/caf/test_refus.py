"""A file that cannot be trusted is refused whole, before its first household, with a word its sender understands."""

from __future__ import annotations

import io

import pytest

from connectors.caf import octets
from connectors.caf.connector import Caf
from connectors.contract import DocumentRefused
from tests.caf.conftest import fichier

FLUX = "caf.flux_beneficiaire"


def refus(caf: Caf, source: io.BytesIO, document: str = FLUX) -> DocumentRefused:
    with pytest.raises(DocumentRefused) as refused:
        caf.read(document, source)
    return refused.value


@pytest.mark.parametrize(
    ("situation", "code"),
    [
        ("pas_xml", "not-xml"),
        ("racine_fausse", "wrong-root"),
        ("tronque", "truncated"),
        ("sans_pied", "truncated"),
        ("mal_forme", "xml-not-well-formed"),
        ("doctype", "xml-doctype"),
        ("autre_departement", "not-ours"),
        ("encodage_menteur", "bad-encoding"),
        ("encodage_menteur_utf8", "bad-encoding"),
        ("utf_16", "bad-encoding"),
        ("flux_financier", "wrong-flux"),
        ("flux_creances", "wrong-flux"),
        ("flux_grossesse", "wrong-flux"),
        ("anomalies", "wrong-flux"),
    ],
)
def test_le_fichier_est_refuse_en_entier(caf: Caf, situation: str, code: str) -> None:
    assert refus(caf, fichier(5, situation)).code == code


@pytest.mark.parametrize(
    ("situation", "mot"),
    [("flux_financier", "financial"), ("flux_creances", "debts"), ("flux_grossesse", "pregnancy"),
     ("anomalies", "anomaly")],
)  # fmt: skip
def test_un_flux_voisin_est_reconnu_et_nomme(caf: Caf, situation: str, mot: str) -> None:
    assert mot in refus(caf, fichier(5, situation)).detail


def test_un_fichier_coupe_n_importe_ou_est_refuse(caf: Caf) -> None:
    """Wherever the transfer stopped: in the header, a tag, a record, the footer."""
    entier = fichier(5).read()
    for part in range(1, 60):
        coupe = entier[: len(entier) * part // 60]
        assert refus(caf, io.BytesIO(coupe)).code in ("truncated", "not-xml", "wrong-root"), part


@pytest.mark.parametrize(
    ("contenu", "code", "mot"),
    [(b"", "truncated", "empty"), (fichier(2).read() + b"\x1a", "unexpected-content", "follow the closing tag")],
)
def test_un_fichier_vide_ou_prolonge_dit_ce_qu_il_est(caf: Caf, contenu: bytes, code: str, mot: str) -> None:
    refused = refus(caf, io.BytesIO(contenu))
    assert (refused.code, mot in refused.detail) == (code, True)


def test_un_fichier_coupe_puis_referme_a_la_main_est_refuse(caf: Caf) -> None:
    entier = fichier(5).read()
    milieu = entier[: entier.index(b"<DonneesAdministratives>")]
    pied = entier[entier.index(b"<TransmissionFlux>") :]
    assert refus(caf, io.BytesIO(milieu + pied)).code == "xml-not-well-formed"


def _entre_deux(texte: bytes) -> io.BytesIO:
    entier = fichier(5).read()
    fin = entier.index(b"</InfosFoyerRSA>") + len(b"</InfosFoyerRSA>")
    return io.BytesIO(entier[:fin] + texte + entier[fin:])


@pytest.mark.parametrize("texte", [b"<Autre/>", b"texte", b"<TransmissionFlux/>", b"<![CDATA[x]]>"])
def test_rien_ne_se_glisse_entre_deux_foyers(caf: Caf, texte: bytes) -> None:
    assert refus(caf, _entre_deux(texte)).code == "unexpected-content"


def test_un_faux_foyer_cache_dans_un_commentaire_n_est_pas_lu(caf: Caf) -> None:
    faux = b"<!-- <InfosFoyerRSA><x/></InfosFoyerRSA> -->"
    assert refus(caf, _entre_deux(faux)).code == "unexpected-content"


def test_des_milliers_d_attributs_sont_refuses(caf: Caf) -> None:
    attributs = b" ".join(b'a%d="1"' % n for n in range(20_000))
    source = fichier(5).read().replace(b"<InfosFoyerRSA>", b"<InfosFoyerRSA " + attributs + b">", 1)
    assert refus(caf, io.BytesIO(source)).code == "xml-too-many-attributes"


def test_une_imbrication_profonde_ne_passe_pas(caf: Caf) -> None:
    """Around the records it breaks the header; inside one it rejects that household alone."""
    profond = b"<a>" * 300 + b"</a>" * 300
    source = fichier(5).read().replace(b"<IdentificationFlux>", profond + b"<IdentificationFlux>", 1)
    assert refus(caf, io.BytesIO(source)).code == "bad-header"
    dedans = fichier(5).read().replace(b"<SituationFamille>", profond + b"<SituationFamille>", 1)
    records = list(caf.read(FLUX, io.BytesIO(dedans)))
    assert [record.rejected for record in records] == [True, False, False, False, False]


def test_un_foyer_demesure_est_refuse(caf: Caf) -> None:
    long = b"X" * (octets.MAX_RECORD + 10)
    source = fichier(5).read().replace(b"<COMPLIDEADR/>", b"<COMPLIDEADR>" + long + b"</COMPLIDEADR>", 1)
    assert refus(caf, io.BytesIO(source)).code == "too-long"


@pytest.mark.parametrize("mauvais", [b"\x00", b"&#1;", b"&#xD800;", b"&inconnue;", b'<NOM a="1" a="2">', b"\x81"])
def test_un_caractere_interdit_refuse_le_fichier(caf: Caf, mauvais: bytes) -> None:
    source = fichier(5).read().replace(b"<COMPLIDEADR/>", b"<COMPLIDEADR>" + mauvais + b"</COMPLIDEADR>", 1)
    assert refus(caf, io.BytesIO(source)).code in ("xml-not-well-formed", "bad-encoding")


@pytest.mark.parametrize(
    ("avant", "apres", "code"),
    [
        (b"<TYPEFLUX>M<", b"<TYPEFLUX>H<", "wrong-flux"),
        (b"<NATFLUX>D<", b"<NATFLUX>?<", "wrong-flux"),
        (b"<DTCREAFLUX>2026-11-04<", b"<DTCREAFLUX>04/11/2026<", "bad-header"),
        (b"<HEUCREAFLUX>01:18:36.0000<", b"<HEUCREAFLUX>25h<", "bad-header"),
        (b"<DTREF>2026-10-31<", b"<DTREF><", "bad-header"),
        (b"windows-1252", b"utf-7", "bad-encoding"),
        (b"windows-1252", b"us-ascii", "bad-encoding"),
    ],
)
def test_un_en_tete_illisible_refuse_le_fichier(caf: Caf, avant: bytes, apres: bytes, code: str) -> None:
    source = fichier(5, "iso_8859_1" if code == "bad-encoding" else "nir_corse").read()
    source = source.replace(b"ISO-8859-1", b"windows-1252").replace(avant, apres, 1)
    assert refus(caf, io.BytesIO(source)).code == code


def test_un_fichier_pour_un_ccas_n_est_pas_pour_nous(caf: Caf) -> None:
    source = fichier(5).read().replace(b"<TYPEPARTE>CG <", b"<TYPEPARTE>CCAS<")
    assert refus(caf, io.BytesIO(source)).code == "not-ours"


def test_un_seul_foyer_d_un_autre_departement_suffit_a_refuser(caf: Caf) -> None:
    source = fichier(300).read()
    dernier = source.rindex(b"<IDEPARTE>040<")
    source = source[:dernier] + source[dernier:].replace(b"040", b"033", 1)
    assert refus(caf, io.BytesIO(source)).code == "not-ours"


def test_le_departement_se_lit_sur_deux_ou_trois_positions() -> None:
    source = fichier(3).read().replace(b"<IDEPARTE>040<", b"<IDEPARTE>40 <")
    assert len(list(Caf("40").read(FLUX, io.BytesIO(source)))) == 3


def test_un_fichier_beneficiaire_annonce_comme_instruction_est_refuse(caf: Caf) -> None:
    assert refus(caf, fichier(5), "caf.instruction").code == "wrong-flux"


def test_un_document_que_les_caisses_n_envoient_pas_est_refuse(caf: Caf) -> None:
    assert refus(caf, fichier(5), "caf.inconnu").code == "unknown-document"


@pytest.mark.parametrize("situation", ["tronque", "mal_forme", "autre_departement", "flux_financier", "xsd_invalide"])
def test_aucun_message_ne_porte_de_donnee_personnelle(caf: Caf, situation: str) -> None:
    source = fichier(5, situation)
    noms = {f"{p}" for p in _noms(fichier(5).read())}
    try:
        said = repr([record.findings for record in caf.read(FLUX, source)])
    except DocumentRefused as refused:
        said = f"{refused}{refused!r}{refused.path}"
    assert not any(nom in said for nom in noms)


def _noms(source: bytes) -> set[str]:
    from lxml import etree

    document = etree.fromstring(source)
    return {e.text or "" for name in ("NOM", "NIR", "NOMNAI", "DTNAI") for e in document.iter(name)}
