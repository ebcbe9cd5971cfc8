"""When a life changes: what the bodies that know her hear of it, from the caisse's own files."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import mappings
from connectors.caf.generator import contexte, write_foyers
from connectors.caf.synthese.foyers import Adresse, FoyerRsa, Individu, Mutation
from gateway import clock, decision_record, journal
from gateway.demo.stage import signed_policy
from gateway.exchange import exchange
from gateway.found_by import identifiers_for
from gateway.receipt import Receipt, Request
from gateway.storage.tables.record import identity_case
from schemas.record import PersonFacts, Record
from tests.journeys.territory import AMELIA, DEMO, Territory, beneficiary, territory

HERSELF = Individu(
    "2", AMELIA.nom, AMELIA.nom, AMELIA.prenom, (), date.fromisoformat(AMELIA.date_naissance), "DEM", "40192",
    nir=AMELIA.nir, responsable=True,
)  # fmt: skip
HER_HUSBAND = replace(HERSELF, sexe="1", nom_naissance="DURAND", prenom="PAUL", naissance=date(1985, 3, 4), role="CJT",
                      nir="1850399999999", responsable=False)  # fmt: skip
MONT_DE_MARSAN = Adresse("FRA", date(2020, 1, 1), "12", "RUE", "DES PINS", commune="40192", code_postal="40000",
                         libelle_commune="MONT DE MARSAN")  # fmt: skip
BORDEAUX = replace(MONT_DE_MARSAN, depuis=date(2026, 10, 1), commune="33063", code_postal="33000",
                   libelle_commune="BORDEAUX")  # fmt: skip
EXAMPLES = Path(mappings.__file__).parent / "france_travail" / "examples" / "dossier_diagnostic"
ALONE = FoyerRsa(
    rang=1, organisme="caf", caisse="401", matricule="012345600000000", demande="04000000001",
    date_demande=date(2026, 1, 2), personnes=[HERSELF], situation="CEL", situation_depuis=date(2020, 1, 1),
    adresses=[MONT_DE_MARSAN],
)  # fmt: skip


def caf_says(landes: Territory, day: str, **changes: Any) -> Receipt:
    """The daily file of the CAF, with her household alone in it."""
    file = io.BytesIO()
    told = replace(ALONE, evenements=[(date.fromisoformat(day), "SITFAM")], **changes)
    write_foyers(file, [told], contexte("caf", day), "quotidien")
    (receipt,) = landes.tell("caf", "caf.flux_beneficiaire", file.getvalue())
    return receipt


def offered(receipt: Receipt) -> list[tuple[str, str, str]]:
    return [(one.recipient, one.status, one.reason) for one in receipt.outcomes]


def test_the_departement_that_paid_hears_that_she_moved_and_nobody_else_there_does(landes: Territory) -> None:
    caf_says(landes, "2026-09-01")
    landes.oriented()
    landes.deliver()
    moved = caf_says(
        landes, "2026-10-06", etat="5", cloture=("MUT", date(2026, 10, 1)), adresses=[BORDEAUX, MONT_DE_MARSAN],
        prenant=Mutation("CAF", "331", date(2026, 10, 1)),
    )  # fmt: skip
    assert offered(moved) == [("departement", "queued", ""), ("ccas", "withheld", "no-permit")]
    landes.deliver()
    told = landes.sheets("departement")[-1]["facts"]
    assert (told["droit_rsa.etat"]["value"], told["droit_rsa.motif_cloture"]["value"]) == ("clos", "MUT")
    assert ("withheld", "convention-missing") in landes.states("france_travail")
    (later,) = landes.tell("ccas", "ccas.beneficiaires", beneficiary(phone1="0612345678"))
    assert ("departement", "withheld", "convention-missing") in offered(later)


def test_the_departement_hears_that_a_husband_left_the_household_it_pays(landes: Territory) -> None:
    _, him = caf_says(landes, "2026-09-01", personnes=[HERSELF, HER_HUSBAND], situation="MAR").persons
    landes.deliver()
    left = caf_says(landes, "2026-10-06")
    assert offered(left) == [("departement", "queued", "")] * 2
    landes.deliver()
    (told,) = (sheet["facts"] for sheet in landes.sheets("departement")[-2:] if is_about(sheet, HER_HUSBAND))
    assert not [path for path in told if path.startswith(("droit_rsa.", "foyer.", "personne.adresses["))]
    assert "droit_rsa.etat" not in landes.current(him)


def test_a_departement_that_never_heard_of_the_husband_who_left_hears_nothing(landes: Territory) -> None:
    caf_says(landes, "2026-09-01", personnes=[HERSELF, HER_HUSBAND], situation="MAR")
    left = caf_says(landes, "2026-10-06")
    assert ("departement", "withheld", "no-active-accompaniment") in offered(left)
    landes.deliver()
    assert not [sheet for sheet in landes.sheets("departement") if is_about(sheet, HER_HUSBAND)]


def test_what_was_withheld_because_her_right_was_closed_is_decided_anew_when_it_opens_again(landes: Territory) -> None:
    caf_says(landes, "2026-09-01")
    landes.oriented()
    caf_says(landes, "2026-10-06", etat="6", cloture=("RGD", date(2026, 10, 1)))
    landes.deliver()
    assert set(landes.states("france_travail")) == {("withheld", "no-active-accompaniment")}
    caf_says(landes, "2026-11-05")
    landes.deliver()
    assert landes.states("france_travail")[-1] == ("waiting", "identifier_missing")


def is_about(sheet: dict[str, Any], one: Individu) -> bool:
    return bool(sheet["facts"]["personne.prenoms"]["value"] == [one.prenom])


def test_a_number_that_only_a_ccas_told_does_not_find_her_at_france_travail(tmp_path: Path) -> None:
    policy, trusted = signed_policy(tmp_path)
    landes = territory(tmp_path, DEMO, policy_file=policy, policy_trusted=trusted)
    known = {"birthName": AMELIA.nom, "firstName": AMELIA.prenom, "birthDate": AMELIA.date_naissance}
    her = landes.oriented(nir="")
    (receipt,) = landes.tell(
        "ccas", "ccas.beneficiaires",
        known | {"fileNumber": "SA-1", "departementId": str(AMELIA.id_personne), "socialSecurityNumber": AMELIA.nir},
    )  # fmt: skip
    assert receipt.persons == [her]
    gateway = landes.gateway

    def finds() -> set[str]:
        with gateway.unit_of_work() as work:
            flow = next(one for one in gateway.flows(work, "departement") if one.vers == "france_travail")
            return set(identifiers_for(work, gateway, her, flow, gateway.dossiers.current(work, her)))

    assert "nir" not in finds(), "a CCAS's word does not reach France Travail through another body"
    caf_says(landes, "2026-11-05")
    assert "nir" in finds()
    gateway.engine.dispose()


CONTACT = (
    "matricule;role personne;type personne;nir;numero demande rsa;date demande rsa;date debut droits devoirs;nom"
    " responsable dossier;prenom responsable dossier;numero telephone dossier;numero telephone 2 dossier;adresse"
    f" electronique dossier\n0123456;DEM;;{AMELIA.nir};04000000001;02/01/2026;;;;0612345678;;\n"
)


def asked(landes: Territory) -> list[str]:
    """Why a human is asked who somebody is."""
    with landes.gateway.unit_of_work() as work:
        return list(work.connection.execute(select(identity_case.c.reason)).scalars())


def test_the_contact_file_of_the_caisse_completes_her_household_and_hides_nothing_of_it(landes: Territory) -> None:
    (her,) = caf_says(landes, "2026-09-01").persons
    for telephone in ("0611111111", "0612345678"):
        row = CONTACT.replace("0612345678", telephone)
        (told,) = landes.tell("caf", "caf.contacts_allocataires", row.encode())
        assert (told.status, told.persons) == ("accepted", [her])
    assert asked(landes) == []
    told = landes.current(her)
    assert "personne.telephones[+33611111111].numero" not in told
    assert told["personne.telephones[+33612345678].numero"].value == "+33612345678"
    assert told["droit_rsa.etat"].value == "ouvert_versable"
    assert told["personne.adresses[residence].code_insee"].value == "40192"
    caf_says(landes, "2026-10-06", matricule="033333300000000", demande="04000000003")
    told = landes.current(her)
    assert told["foyer.matricule"].value == "0333333", "a later contact row of another file does not bring her back"
    assert "personne.telephones[+33612345678].numero" not in told


def test_a_contact_row_that_came_before_the_household_is_hers_too(landes: Territory) -> None:
    (her,) = landes.tell("caf", "caf.contacts_allocataires", CONTACT.encode())[0].persons
    assert caf_says(landes, "2026-09-01").persons == [her]
    assert asked(landes) == []


@pytest.mark.parametrize(
    ("instead", "of"),
    [("7654321", "0123456"), ("04000000009", "04000000001"), ("ENF", "DEM")],
    ids=["another-file", "another-request", "a-child-under-her-number"],
)
def test_a_contact_row_that_only_her_number_speaks_for_asks_a_human(landes: Territory, instead: str, of: str) -> None:
    caf_says(landes, "2026-09-01")
    (told,) = landes.tell("caf", "caf.contacts_allocataires", CONTACT.replace(of, instead).encode())
    assert (told.status, asked(landes)) == ("quarantined", ["nir-alone"])


def test_a_number_without_a_birth_date_is_hers_when_her_names_agree(landes: Territory) -> None:
    (her,) = caf_says(landes, "2026-09-01").persons
    known = {"identifiants[nir].valeur": AMELIA.nir, "personne.nom_usage": "Arbelier", "personne.prenoms": ["Amélia"]}
    with landes.gateway.unit_of_work() as work:
        request = Request(clock.new_id(), "caf", "caf.contacts_allocataires", landes.gateway.flows(work, "caf"))
        spoken = [Record(name, [PersonFacts(known | {"personne.prenoms": [name]})]) for name in ("Amélia", "Juliette")]
        hers, another = exchange(work, landes.gateway, request, spoken)
    assert (hers.persons, another.status) == ([her], "quarantined")


def test_a_death_told_by_mistake_is_taken_back_by_whoever_told_it(landes: Territory) -> None:
    her = landes.oriented()
    landes.tell(
        "ccas_voisin", "ccas.beneficiaires", beneficiary(deathDate="2026-10-01", email="amelia@exemple.invalid")
    )
    assert landes.current(her)["personne.date_deces"].value == "2026-10-01"
    landes.deliver()
    (told,) = landes.tell("ccas_voisin", "ccas.beneficiaires", beneficiary(deathDate=None))
    assert (told.status, told.changed) == ("accepted", 1)
    assert ("departement", "queued", "") in offered(told)
    known = landes.current(her)
    assert "personne.date_deces" not in known
    assert known["personne.courriels[amelia@exemple.invalid].adresse"].value == "amelia@exemple.invalid"
    (again,) = landes.tell("ccas_voisin", "ccas.beneficiaires", beneficiary(deathDate=None))
    assert again.status == "unchanged"


def test_a_diagnosis_of_2023_does_not_take_back_what_its_form_has_no_place_for(landes: Territory) -> None:
    her = landes.oriented()
    known = {"identifiants[nir].valeur": AMELIA.nir[:13], "personne.date_naissance": AMELIA.date_naissance}

    def ft_says(example: str, year: str) -> None:
        told = (EXAMPLES / f"{example}.json").read_bytes().replace(b"2023-", year.encode())
        reading = landes.gateway.connector("france_travail").read("france_travail.dossier_diagnostic", io.BytesIO(told))
        (record,) = reading
        record.personnes[0].facts |= known
        with landes.gateway.unit_of_work() as work:
            request = landes.gateway.request(work, "france_travail", reading.envelope.document)
            exchange(work, landes.gateway, request, [record])

    ft_says("v4", "2026-")
    today = landes.current(her)
    ft_says("v1", "2027-")
    told = landes.current(her)
    kept = ("freins[numerique].valeur", "freins[mobilite].impact", "diagnostic.declare_sans_frein.valeur",
            "besoins[utiliser_services_numeriques].valeur")  # fmt: skip
    assert [told[path].value for path in kept] == [today[path].value for path in kept]
    gone = "objectifs[mobilite_acceder_vehicule].statut"
    assert gone in today
    assert gone not in told, "it lists every objective of mobility: its silence there says something"


def test_a_decision_by_a_rule_that_a_signature_put_in_force_is_taken_again_as_it_was(tmp_path: Path) -> None:
    policy, trusted = signed_policy(tmp_path)
    landes = territory(tmp_path, DEMO, policy_file=policy, policy_trusted=trusted)
    landes.oriented()
    with landes.gateway.reading() as work:
        decided = [one for one in journal.of_period(work.connection, "0", "9") if "decision_h" in one.fields]
        again = [decision_record.replay_entry(work.connection, tmp_path, one) for one in decided]
    assert "A13" in {rule for one in decided for rule in one.fields["rule_ids"]}
    assert all(one.same for one in again)
    landes.gateway.engine.dispose()
