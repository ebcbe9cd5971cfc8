"""The CAF beneficiary flux on a published sample and on synthetic files: what its examples cannot tell one by one."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from lxml import etree

from connectors.caf.generator import write_file
from connectors.caf.octets import raw_records
from mappings import load
from mappings.coverage import leaves
from schemas import nomenclatures, paths
from schemas.partner import tables

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT.parent / "shared" / "samples" / "caf" / "RSABEM.xml"
FLUX = "caf.flux_beneficiaire"


@pytest.fixture(scope="module")
def published():
    if not SAMPLE.is_file():
        pytest.skip("the published sample RSABEM.xml is not beside the checkout")
    root = etree.parse(str(SAMPLE)).getroot()
    return [load(FLUX).read(one, date_reference="2022-02-28") for one in root.iter("InfosFoyerRSA")]


def synthetic(n: int, **options) -> list[bytes]:
    file = io.BytesIO()
    write_file(file, n, **options)
    return [raw for _, raw in raw_records(file, "InfosFoyerRSA")]


def test_the_two_published_households_keep_distinct_keys_under_one_request_number(published):
    assert len(published) == 2
    assert len({record.key for record in published}) == 2
    assert {record.foyer["droit_rsa.numero_demande"] for record in published} == {"01024041052"}
    assert all(record.key.startswith("CAF:521:") for record in published)


def test_two_adults_both_conjoint_are_both_read(published):
    roles = [person.facts["personne.role_foyer"] for person in published[0].personnes]
    assert roles == ["conjoint", "conjoint"]
    assert len({person.key for person in published[0].personnes}) == 2


def test_the_published_households_are_read_without_a_fault(published):
    assert [finding for record in published for finding in record.findings] == []
    assert published[0].foyer["droit_rsa.etat"] == "clos"
    assert published[0].foyer["droit_rsa.motif_cloture"] == "PCG"
    assert published[1].foyer["droit_rsa.suspensions[06:2021-11-01].nature"] == "versement"
    assert published[0].foyer["foyer.matricule"] == "2055990"


def test_the_dossier_address_and_duties_reach_each_adult(published):
    first, second = (person.facts for person in published[0].personnes)
    assert first["personne.adresses[residence].code_postal"] == "92300"
    assert second["personne.adresses[residence].code_postal"] == "92300"
    assert first["droit_rsa.soumis_droits_devoirs"] is True
    assert second["droit_rsa.soumis_droits_devoirs"] is False


def test_the_assedic_number_is_never_the_france_travail_number(published):
    for person in published[0].personnes:
        assert "identifiants[ft_idassedic].valeur" in person.facts
        assert not any("ft_numero" in path for path in person.facts)


@pytest.mark.parametrize("organisme", ["caf", "msa"])
@pytest.mark.parametrize("flux", ["mensuel", "quotidien"])
def test_every_fact_of_a_synthetic_file_is_canonical(organisme, flux):
    for raw in synthetic(60, organisme=organisme, flux=flux):
        record = load(FLUX).read(raw, encoding="windows-1252", date_reference="2026-10-31")
        assert not record.quarantined, record.findings
        assert record.personnes
        for facts in (record.foyer, *(person.facts for person in record.personnes)):
            assert paths.check(facts) == []


def test_no_child_has_a_record_of_her_own():
    records = [load(FLUX).read(raw, encoding="windows-1252") for raw in synthetic(80)]
    kept = {person.facts["personne.role_foyer"] for record in records for person in record.personnes}
    assert kept <= {"demandeur", "conjoint", "responsable_dossier"}
    left = [finding for record in records for finding in record.findings if finding.code == "household-only"]
    told = sum(path.endswith("].role") for record in records for path in record.foyer)
    assert left
    assert told == len(left) + sum(len(record.personnes) for record in records)


@pytest.mark.parametrize("role", ["", "ZZZ", "dem"])
def test_an_adult_whose_role_cannot_be_read_is_not_taken_for_a_child(role):
    raw = synthetic(1)[0].decode("windows-1252")
    at = raw.index("<ROLEPERS>", raw.index("<NATPREST>RSA")) + len("<ROLEPERS>")
    record = load(FLUX).read((raw[:at] + role + raw[at + 3 :]).encode("windows-1252"), encoding="windows-1252")
    assert record.unplaced
    assert record.quarantined
    assert not [
        finding for finding in record.findings if (finding.code, finding.path) == ("household-only", "Personne[1]")
    ]


def test_no_sensitive_code_ever_becomes_a_fact():
    hidden = {
        (name, code)
        for name, _, code in (one.partition(":") for one in nomenclatures.sensitive_codes())
        if name in ("MOTISUSVERSRSA", "MOTIREFURSA")
    }
    assert hidden
    table = {"MOTISUSVERSRSA": "motif_suspension_versement", "MOTIREFURSA": "motif_refus"}
    for name, code in hidden:
        assert load(FLUX).tables[table[name]].read(code) == "non_partage"


def test_the_same_household_is_read_the_same_from_bytes_and_from_an_element():
    raw = synthetic(1)[0]
    one = load(FLUX).read(raw, encoding="windows-1252")
    other = load(FLUX).read(etree.fromstring(raw.decode("windows-1252")), raw=raw)
    assert (one.key, one.foyer, one.personnes, one.digest) == (other.key, other.foyer, other.personnes, other.digest)


def test_a_broken_record_is_rejected_alone():
    raws = synthetic(3)
    raws[1] = raws[1].replace(b"</Personne>", b"", 1)
    read = [load(FLUX).read(raw, encoding="windows-1252") for raw in raws]
    assert [record.rejected for record in read] == [False, True, False]
    assert [(finding.code, finding.path) for finding in read[1].findings] == [("xml-not-well-formed", "InfosFoyerRSA")]


@pytest.mark.parametrize(
    ("before", "after", "code", "path"),
    [
        (b"<DTDEMRSA>", b"<DTDEMRSA>x", "bad-date", "IdentificationRSA/DemandeRSA/DTDEMRSA"),
        (b"<NUMORG>", b"<NUMORG>4040", "too-long", "IdentificationRSA/Organisme/NUMORG"),
        (b"<IdentificationRSA>", b"<IdentificationRSA><Organisme/>", "repeated-element",
         "IdentificationRSA/Organisme"),
        (b"<TOPSANSDOMFIXE>", b"<TOPSANSDOMFIXE>2", "bad-boolean",
         "PrestationRSA/DetailDroitRSA/TroncCommunDroitRSA/TOPSANSDOMFIXE"),
        (b"<Prestations>", b"<X/><Prestations>", "unknown-element", "Personne[1]/X"),
    ],
)  # fmt: skip
def test_what_breaks_the_schema_is_told_with_its_code_and_path(before, after, code, path):
    raw = synthetic(1)[0].replace(before, after, 1)
    found = load(FLUX).read(raw, encoding="windows-1252").findings
    assert (code, path) in [(finding.code, finding.path) for finding in found]


@pytest.mark.parametrize(
    ("before", "after", "code", "raw", "at"),
    [
        (b"<RGADR>01", b"<RGADR>07", "unknown-code", "07",
         "DonneesAdministratives/Adresse[1]/TroncCommunAdresse/RGADR"),
        (b"<RGADR>01", b"<RGADR>  ", "missing-required", "",
         "DonneesAdministratives/Adresse[1]/TroncCommunAdresse/RGADR"),
        (b"<NUMORG>401", b"<NUMORG>409", "unknown-code", "409", "IdentificationRSA/Organisme/NUMORG"),
    ],
)  # fmt: skip
def test_a_code_that_no_list_has_waits_with_what_it_stands_for(before, after, code, raw, at):
    whole = synthetic(1)[0]
    assert before in whole
    record = load(FLUX).read(whole.replace(before, after, 1), encoding="windows-1252")
    waiting = [(one.code, one.raw, one.path) for one in record.findings if one.severity == "quarantine"]
    assert waiting == [(code, raw, at)]
    assert ("foyer.code_organisme" in record.foyer) == (raw != "409")
    assert ("personne.adresses[residence].code_postal" in record.personnes[0].facts) == ("RGADR" not in at)


def test_what_the_reader_accepts_the_schema_accepts_too():
    validator = tables.validator("caf/vrsb0801")
    for raw in synthetic(20):
        whole = etree.fromstring(
            b"<?xml version='1.0' encoding='windows-1252'?><Racine><IdentificationFlux>"
            b"<APPLIEME>CRI</APPLIEME><NUMVERSIONAPPLIEME>6200</NUMVERSIONAPPLIEME><TYPEFLUX>M</TYPEFLUX>"
            b"<NATFLUX>D</NATFLUX><DTCREAFLUX>2026-11-02</DTCREAFLUX><HEUCREAFLUX>01:18:36.0000</HEUCREAFLUX>"
            b"<DTREF>2026-10-31</DTREF></IdentificationFlux>" + raw + b"<TransmissionFlux><NBTOTDOSRSATRANSM>"
            b"00000001</NBTOTDOSRSATRANSM><NBTOTDOSRSATRANSMANO>00000000</NBTOTDOSRSATRANSMANO></TransmissionFlux>"
            b"</Racine>"
        )
        assert validator.validate(whole), validator.error_log
        assert not load(FLUX).read(raw, encoding="windows-1252").rejected


def test_every_element_of_the_partner_is_mapped_or_declared_with_its_reason():
    found = leaves(load(FLUX))
    assert len(found) > 150
    assert [leaf.path for leaf in found if not leaf.canonical and not leaf.reason] == []


def test_no_finding_shows_a_personal_value():
    raw = synthetic(1)[0].replace(b"<NIR>", b"<NIR>7", 1).replace(b"<DTNAI>", b"<DTNAI>9", 1)
    names = [n.text for n in etree.fromstring(raw.decode("windows-1252")).iter("NOM", "NIR", "DTNAI") if n.text]
    record = load(FLUX).read(raw, encoding="windows-1252")
    assert record.quarantined
    said = json.dumps([[f.code, f.path, f.detail, f.raw] for f in record.findings]) + repr(record.findings)
    assert not [name for name in names if name in said]


def test_an_msa_number_that_is_a_nir_is_sealed_and_never_names_a_record():
    folder = ROOT / "mappings" / "caf" / "examples" / "flux_beneficiaire"
    record = load(FLUX).read((folder / "msa_matricule_nir.xml").read_bytes())
    assert record.key == "MSA:40:00000123040"
    assert "foyer.matricule" not in record.foyer
    assert [finding.code for finding in record.findings] == ["matricule-is-nir"]
    assert not record.quarantined
