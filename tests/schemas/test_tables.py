"""The tables of the partners' documents and the schemas made from them, against the caisses' own."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from schemas.partner import tables
from schemas.partner.tables import UnknownTable, load, validator, xsd

CAF = Path(__file__).parents[2].parent / "shared" / "samples" / "caf"
OURS = ("caf/vrsb0801", "caf/vird0201")
with_samples = pytest.mark.skipif(not CAF.is_dir(), reason="sample documents are not beside the checkout")


@pytest.fixture(scope="module")
def theirs() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(CAF / "vrsb0801.xsd"))


@pytest.fixture(scope="module")
def flux_mensuel() -> etree._Element:
    return etree.parse(CAF / "RSABEM.xml").getroot()


@pytest.mark.parametrize("name", OURS)
def test_une_table_dit_le_document_dans_son_ordre(name: str) -> None:
    elements = load(name).elements()
    assert load(name).root.name == "Racine"
    for path, element in elements.items():
        assert path.startswith("Racine")
        assert (element.type == "bloc") == bool(element.children)
        assert element.min <= (element.max or element.min + 1)
        assert element.type == "bloc" or element.libelle


def test_les_effectifs_des_tables() -> None:
    assert len(load("caf/vrsb0801").elements()) == 270
    assert len(load("caf/vird0201").elements()) == 173
    nir = load("caf/vrsb0801").elements()["Racine/InfosFoyerRSA/Personne/Identification/NIR"]
    assert (nir.type, nir.digits, nir.min, nir.max, nir.categorie) == ("string", 15, 0, 1, "identite")


@pytest.mark.parametrize("name", ["caf/inconnu", "inconnu", "../nomenclatures/cnaf/SEXE", "caf/../caf/vrsb0801x", ""])
def test_une_table_inconnue_se_dit(name: str) -> None:
    with pytest.raises(UnknownTable):
        load(name)


@pytest.mark.parametrize("name", OURS)
def test_le_schema_engendre_est_un_schema(name: str) -> None:
    validator(name)
    assert b"targetNamespace" not in xsd(name)


@pytest.mark.parametrize(
    "row",
    ["Racine/Ailleurs/X,string,1,1,1,,,", "Racine/A,string,1,1,1,,,", "Racine/B,float,1,1,1,,,"],
    ids=["hors de l'arbre", "répétée", "type inconnu"],
)
def test_une_table_mal_ecrite_est_refusee(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = "path,type,size,min,max,libelle,categorie,origine\nRacine,bloc,,1,1,,,\nRacine/A,string,2,1,1,,,\n"
    (tmp_path / "abimee.csv").write_text(head + row + "\n", encoding="utf-8")
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    load.cache_clear()
    try:
        with pytest.raises(ValueError, match="abimee: row"):
            load("abimee")
    finally:
        load.cache_clear()


@with_samples
def test_le_schema_accepte_un_flux_reel(flux_mensuel: etree._Element, theirs: etree.XMLSchema) -> None:
    assert theirs.validate(flux_mensuel)
    assert validator("caf/vrsb0801").validate(flux_mensuel)


def _mutated(root: etree._Element, path: str, change: str) -> etree._Element:
    document = copy.deepcopy(root)
    (node,) = document.xpath(f"({path})[1]")
    parent = node.getparent()
    if change == "retiré":
        parent.remove(node)
    elif change == "répété":
        parent.insert(parent.index(node), copy.deepcopy(node))
    elif change == "déplacé":
        parent.append(node)
    elif change == "inconnu":
        node.addnext(etree.Element("ELEMENTINCONNU"))
    else:
        node.text = change
    return document


@with_samples
@pytest.mark.parametrize(
    ("path", "change", "valid"),
    [
        ("//IdentificationFlux/APPLIEME", "déplacé", False),
        ("//Personne/Identification/NOM", "retiré", False),
        ("//Personne/Identification/NIR", "retiré", True),
        ("//Personne/Identification/DTNAI", "1982-02-30", False),
        ("//Personne/Identification/DTNAI", "01/02/1982", False),
        ("//Personne/Identification/NOM", "X" * 29, False),
        ("//Personne/Identification/NOM", "X" * 28, True),
        ("//Personne/Identification/NIR", "1" * 16, False),
        ("//Organisme/MATRICULE", "1234567A", False),
        ("//Personne/Prestations", "retiré", False),
        ("//Personne/Prestations", "répété", False),
        ("//IdentificationFlux", "retiré", False),
        ("//TransmissionFlux", "répété", False),
        ("//Personne/Identification/TOPVALIEC", "2", False),
        ("//Personne/Identification/TOPVALIEC", "true", True),
        ("//IdentificationFlux/HEUCREAFLUX", "25:00:00", False),
        ("//Personne/Identification/NOM", "", True),
        ("//Personne/Identification/NOM", "inconnu", False),
    ],
)
def test_une_mutation_est_jugee_comme_par_la_caisse(
    path: str, change: str, valid: bool, flux_mensuel: etree._Element, theirs: etree.XMLSchema
) -> None:
    document = _mutated(flux_mensuel, path, change)
    assert theirs.validate(document) is valid
    assert validator("caf/vrsb0801").validate(document) is valid


_CHANGES = st.sampled_from(
    ["retiré", "répété", "déplacé", "inconnu", "", "X", "X" * 40, "12", "12.345", "0001675.00", "123456789012.1",
     "2024-02-29", "2023-02-29", "true", "0", " 1 ", "-1", "12:00:00.0000", "1" * 16]
)  # fmt: skip


@with_samples
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_les_deux_schemas_jugent_pareil(
    data: st.DataObject, flux_mensuel: etree._Element, theirs: etree.XMLSchema
) -> None:
    document = copy.deepcopy(flux_mensuel)
    node = data.draw(st.sampled_from([element for element in document.iter() if element.getparent() is not None]))
    changed = _mutated(document, document.getroottree().getpath(node), data.draw(_CHANGES))
    assert validator("caf/vrsb0801").validate(changed) == theirs.validate(changed)


def test_une_instruction_synthetique_est_valide() -> None:
    document = etree.fromstring(
        """<Racine><IdentificationFlux><APPLIEME>NRA</APPLIEME><NUMVERSIONAPPLIEME>0100</NUMVERSIONAPPLIEME>
        <TYPEFLUX>I</TYPEFLUX><NATFLUX>R</NATFLUX><DTCREAFLUX>2026-11-20</DTCREAFLUX>
        <HEUCREAFLUX>01:00:00.0000</HEUCREAFLUX></IdentificationFlux>
        <InfoDemandeRSA><IdentificationRSA><Organisme><FONORG>CAF</FONORG><NUMORG>401</NUMORG>
        <MATRICULE>123456700000000</MATRICULE></Organisme><Partenaire><TYPEPARTE>CG </TYPEPARTE>
        <IDEPARTE>040</IDEPARTE></Partenaire><DemandeRSA><DTDEMRSA>2026-11-01</DTDEMRSA>
        <NUMDEMRSA>01024041040</NUMDEMRSA></DemandeRSA></IdentificationRSA>
        <Personne><Identification><NOM>MARTIN</NOM><NOMNAI>MARTIN</NOMNAI><PRENOM>MARIE</PRENOM>
        <DTNAI>1985-06-14</DTNAI><NIR>285069999999919</NIR><SEXE>2</SEXE></Identification>
        <Prestations><NATPREST>RSA</NATPREST><ROLEPERS>DEM</ROLEPERS></Prestations>
        <SuiviAppuiOrientation><SITPERSSOCPRO>EF</SITPERSSOCPRO></SuiviAppuiOrientation>
        <DonneesSocioProfessionnelles><SituationSociale><DetailDifficulteSituationSociale><DIFSOC>0405</DIFSOC>
        </DetailDifficulteSituationSociale></SituationSociale></DonneesSocioProfessionnelles></Personne>
        <DonneesAdministratives><SituationFamille><SITFAM>CEL</SITFAM><DDSITFAM>2020-01-01</DDSITFAM>
        </SituationFamille><Adresse><TroncCommunAdresse><RGADR>01</RGADR><PAYS>FRA</PAYS><TYPEADR>D</TYPEADR>
        <ETATADR>CO</ETATADR></TroncCommunAdresse><AdresseDetailleeFrance><COMPLIDEADR/><COMPLADR/>
        <NUMVOIE>1</NUMVOIE><LIBTYPEVOIE>RUE</LIBTYPEVOIE><NOMVOIE>DE L EXEMPLE</NOMVOIE><LIEUDIST/>
        <NUMCOM>40192</NUMCOM><CODEPOS>40000</CODEPOS><NOMCOM>MONT DE MARSAN</NOMCOM></AdresseDetailleeFrance>
        </Adresse></DonneesAdministratives></InfoDemandeRSA>
        <TransmissionFlux><NBTOTDEMRSATRANSM>00000001</NBTOTDEMRSATRANSM></TransmissionFlux></Racine>"""
    )
    schema = validator("caf/vird0201")
    assert schema.validate(document), schema.error_log.last_error
    document.find(".//DIFSOC").text = "04050"
    assert not schema.validate(document)
