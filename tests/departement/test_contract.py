"""What the synthetic Département writes obeys the published contract; our own tables say the same as that contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from connectors.departement.referentiel import read_referentiel
from connectors.departement.structure import check, structure
from connectors.departement.synthetic import Allocataire, referentiel, webrsa_ali

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples" / "departement"
AMELIA = Allocataire("ARBELIER", "AMELIA", "1988-04-12", "0123456", id_personne=4711, code_postal="01000")
FELIX = Allocataire("ARBELIER", "FELIX", "1985-11-02", "0123456", civilite="MR", role="CJT", telephone="0601020304")


def schema(name: str) -> etree.XMLSchema:
    if not SAMPLES.is_dir():
        pytest.skip("the published XSDs are not on this machine (../shared/samples/departement)")
    return etree.XMLSchema(etree.parse(SAMPLES / name))


@pytest.mark.parametrize(
    ("name", "document", "table"),
    [
        ("Referentiel-WebRSA.xsd", referentiel("40", 7), "referentiel"),
        ("WebRSA-ALI.xsd", webrsa_ali([AMELIA, FELIX], "40", 7), "webrsa_ali"),
        ("WebRSA-ALI.xsd", webrsa_ali([], "40", 7, stock=False), "webrsa_ali"),
    ],
)
def test_synthetic_files_obey_the_published_contract(name: str, document: bytes, table: str) -> None:
    root = etree.fromstring(document)
    assert check(root, structure(table)) == []
    contract = schema(name)
    assert contract.validate(root), contract.error_log


_XS = "{http://www.w3.org/2001/XMLSchema}"
_TYPES = {
    "xs:integer": "entier", "xs:positiveInteger": "entier_positif", "xs:string": "texte", "xs:date": "date",
    "xs:time": "heure", "xs:gYear": "annee", "xs:gYearMonth": "annee_mois", "datetime": "instant",
    "boolean": "drapeau", "xs:boolean": "booleen", None: "bloc",
}  # fmt: skip


def published(element: etree._Element, path: str = "") -> dict[str, tuple[str, int, bool]]:
    found: dict[str, tuple[str, int, bool]] = {}
    for child in element:
        if child.tag == f"{_XS}element":
            inner = f"{path}/{child.get('name')}".removeprefix("/")
            kind = _TYPES[child.get("type")]
            found[inner] = (kind, int(child.get("minOccurs", "1")), child.get("maxOccurs") == "unbounded")
            found |= published(child, inner)
        elif isinstance(child.tag, str) and child.tag != f"{_XS}simpleType":
            found |= published(child, path)
    return found


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("Referentiel-WebRSA.xsd", "referentiel"),
        ("WebRSA-ALI.xsd", "webrsa_ali"),
        ("ALI-WebRSA.xsd", "ali_webrsa"),
    ],
)
def test_our_tables_say_what_the_published_contract_says(name: str, table: str) -> None:
    if not SAMPLES.is_dir():
        pytest.skip("the published XSDs are not on this machine (../shared/samples/departement)")
    theirs = published(etree.parse(SAMPLES / name).getroot())
    root = structure(table)
    ours = {f"{root.name}/{node.path}".rstrip("/"): (node.type, node.least, node.repeats) for node in root.walk()}
    assert ours == theirs


def test_the_46_lists_are_read_and_mean_the_same_under_other_integers() -> None:
    landes = read_referentiel(referentiel("40", 7))
    hauts_de_seine = read_referentiel(referentiel("92", 7))
    assert len(landes.lists) == len(hauts_de_seine.lists) == 46
    for liste, concept in (("sitfam", "DIV"), ("rdv_statut", "honore"), ("typesorients", "professionnelle")):
        assert landes.local(liste, concept) != hauts_de_seine.local(liste, concept)
        assert landes.local(liste, concept) is not None


def test_a_local_type_under_a_known_parent_means_what_its_parent_means() -> None:
    lists = read_referentiel(referentiel("40", 7))
    entry = next(e for e in lists.lists["typesorients"].values() if "global" in e.libelle)
    assert entry.concept == "sociale"
    assert lists.local("typesorients", "sociale") is None, "two active entries mean it: never guessed"


def test_two_runs_write_the_same_bytes() -> None:
    assert webrsa_ali([AMELIA], "40", 7) == webrsa_ali([AMELIA], "40", 7)
