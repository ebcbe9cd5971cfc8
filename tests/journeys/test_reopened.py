"""What was withheld for a reason that ended reaches who needs it, though nobody says it again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from connectors.departement import synthetic
from gateway import basis, clock, convention, erasure, identity_review, inbox, rectification, reopened, rights, tasks
from gateway.access import partners
from gateway.demo.forms import objection
from gateway.exchange import exchange
from gateway.offer import offer_again
from gateway.policy_table import DEFAULT
from gateway.receipt import Request
from gateway.registry import Gateway
from gateway.storage.tables.access import client
from gateway.storage.tables.record import identity_case
from schemas.record import PersonFacts, Record
from tests.dates import passed
from tests.journeys.territory import AMELIA, DEMO, Territory, accompaniment, beneficiary, territory
from tests.journeys.test_life import BORDEAUX, MONT_DE_MARSAN, caf_says

CCAS = '[[annexe]]\nid = "ccas"\n'
WITHOUT_THE_CCAS = DEMO.replace(CCAS, CCAS + 'etat = "suspendue"\n')
assert WITHOUT_THE_CCAS != DEMO
ELSEWHERE = "Maison du Département de Valmarense"
FOLLOWED_BY_A_DELEGATE = (
    DEMO[: DEMO.index("# --- Un CCAS voisin")]
    + """
[[annexe]]
id = "delegue"
perimetre = ["40"]
partie = { id = "ccas_voisin", role = "delegataire", nom = "CCAS de Port-Albéret" }

[[annexe.flux]]
de = "france_travail"
vers = "ccas_voisin"
document = "ccas.beneficiaires"
purpose = "orientation"
regime = "SIFT"
base_legale = ["CT R5312-42-1 IV 2°"]
information = "collective"
notice = "reseau-emploi:1"
"""
)
_A06 = DEFAULT.read_bytes().partition(b'id = "A06"\n')[2].partition(b"\n[[rule]]")[0]
NOT_SIGNED = (_A06, _A06.replace(b'status = "active"', b'status = "proposed"'))
"""The rule that lets a CCAS hear of whom it accompanies waits for the DPO's signature."""


@pytest.fixture
def landes(database: str, tmp_path: Path) -> Iterator[Territory]:
    one = territory(tmp_path, DEMO, database_url=database)
    yield one
    one.gateway.engine.dispose()


def oriented_without_being_told(landes: Territory) -> str:
    landes.tell("departement", "departement.referentiel", synthetic.referentiel("40", 1))
    (receipt,) = landes.tell("departement", "departement.webrsa_ali", synthetic.webrsa_ali([AMELIA], "40", 1))
    landes.tell("departement", "departement.accompagnement", accompaniment())
    (landes.who,) = receipt.persons
    landes.deliver("ccas")
    return landes.who


def look(landes: Territory, since: str) -> int:
    looked = sum(reopened.look(landes.gateway, since))
    landes.deliver("ccas")
    return looked


def test_what_was_said_before_she_was_informed_goes_once_she_is(landes: Territory) -> None:
    her, since = oriented_without_being_told(landes), clock.instant()
    assert landes.sheets("ccas") == []
    assert look(landes, since) == 0
    landes.inform(her)
    assert look(landes, since) == 1
    (sheet,) = landes.sheets("ccas")
    assert sheet["birthName"] == AMELIA.nom
    look(landes, since)
    assert len(landes.sheets("ccas")) == 1, "whoever holds it is not sent it again"


def test_what_changed_during_an_objection_or_a_limitation_goes_when_it_ends(landes: Territory) -> None:
    her, since = oriented_without_being_told(landes), clock.instant()
    landes.inform(her)
    look(landes, since)
    for telephone, kind in (("0558000091", "objection"), ("0558000092", "limitation")):
        with landes.gateway.unit_of_work() as work:
            held = basis.record(work, objection(landes.gateway, her) | {"kind": kind})
        since = clock.instant()
        changed = synthetic.webrsa_ali([replace(AMELIA, telephone=telephone)], "40", 1)
        landes.tell("departement", "departement.webrsa_ali", changed)
        landes.deliver("ccas")
        before = len(landes.sheets("ccas"))
        with landes.gateway.unit_of_work() as work:
            if kind == "objection":
                rights.resolve(work, landes.gateway, held.id, upheld=False, reason_hash="0a" * 32)
            else:
                rights.lift(work, landes.gateway, held.id)
        look(landes, since)
        assert len(landes.sheets("ccas")) == before + 1
        assert telephone[1:] in str(landes.sheets("ccas")[-1])


def test_what_was_said_before_a_convention_goes_once_it_is_in_force(database: str, tmp_path: Path) -> None:
    landes = territory(tmp_path, WITHOUT_THE_CCAS, database_url=database)
    her = oriented_without_being_told(landes)
    landes.inform(her)
    since = clock.instant()
    assert look(landes, since) <= 1
    assert landes.sheets("ccas") == []
    with landes.gateway.unit_of_work() as work:
        convention.add(work, DEMO.encode())
    asyncio.run(reopened.keep(landes.gateway))
    landes.deliver("ccas")
    assert [sheet["birthName"] for sheet in landes.sheets("ccas")] == [AMELIA.nom]
    landes.gateway.engine.dispose()


def test_a_convention_over_many_is_no_one_transaction(landes: Territory, monkeypatch: pytest.MonkeyPatch) -> None:
    oriented_without_being_told(landes)
    with landes.gateway.unit_of_work() as work:
        for _ in range(4):
            landes.gateway.dossiers.new_subject(work, "personne")
    monkeypatch.setattr(reopened, "_LOT", 2)
    since = clock.instant()
    with landes.gateway.unit_of_work() as work:
        convention.add(work, DEMO.replace("Échanges autour", "Échanges, autour").encode())
    assert sum(reopened.look(landes.gateway, since)) == 0, "its title opens nothing"
    with landes.gateway.unit_of_work() as work:
        convention.add(work, DEMO.replace("fin = 2028-12-31", "fin = 2026-01-02").encode())
    since = clock.instant()
    with landes.gateway.unit_of_work() as work:
        convention.add(work, DEMO.encode())
    assert list(reopened.look(landes.gateway, since)) == [2, 2, 1]


def test_what_was_said_while_she_lived_elsewhere_goes_when_she_comes_back(landes: Territory) -> None:
    caf_says(landes, "2026-10-06", adresses=[BORDEAUX, MONT_DE_MARSAN])
    since = clock.instant()
    landes.inform(oriented_without_being_told(landes))
    look(landes, since)
    assert landes.sheets("ccas") == []
    caf_says(landes, "2026-11-05")
    landes.deliver("ccas")
    assert [sheet["birthName"] for sheet in landes.sheets("ccas")] == [AMELIA.nom]


def test_who_says_that_it_follows_her_hears_what_was_said_before(landes: Territory) -> None:
    landes.oriented(structure_referente=ELSEWHERE)
    for more in ({}, {"zipcode": "40000"}):
        assert landes.tell("ccas", "ccas.suivi", beneficiary(**more))[0].persons == [landes.who]
        landes.deliver("ccas")
    assert [sheet["phone1"] for sheet in landes.sheets("ccas")] == ["0558000001"]


def test_who_followed_her_without_our_knowing_hears_it_once_a_human_recognised_her(landes: Territory) -> None:
    landes.oriented(structure_referente=ELSEWHERE)
    landes.tell("ccas", "ccas.suivi", beneficiary(socialSecurityNumber=None))
    landes.deliver("ccas")
    assert landes.sheets("ccas") == []
    with landes.gateway.unit_of_work() as work:
        case = work.connection.execute(select(identity_case.c.id)).scalar_one()
        identity_review.decide(work, landes.gateway, case, True, "agent")
    landes.deliver("ccas")
    assert [sheet["phone1"] for sheet in landes.sheets("ccas")] == ["0558000001"]


def test_the_structure_named_to_follow_her_hears_what_others_said_before(database: str, tmp_path: Path) -> None:
    landes = territory(tmp_path, FOLLOWED_BY_A_DELEGATE, database_url=database)
    with landes.gateway.unit_of_work() as work:
        work.connection.execute(
            update(client).where(client.c.body == "ccas_voisin").values(role="delegataire", name=ELSEWHERE)
        )
    landes.gateway.refresh()
    landes.oriented()
    with landes.gateway.unit_of_work() as work:
        request = Request(
            clock.new_id(),
            "france_travail",
            "france_travail.dossier_diagnostic",
            landes.gateway.flows(work, "france_travail"),
        )
        facts = {"identifiants[nir].valeur": AMELIA.nir, "personne.nom_naissance": AMELIA.nom,
                 "personne.prenoms": [AMELIA.prenom], "personne.date_naissance": AMELIA.date_naissance,
                 "personne.adresses[residence].code_insee": "40192",
                 "personne.courriels[amelia@exemple.invalid].adresse": "amelia@exemple.invalid"}  # fmt: skip
        (told,) = exchange(work, landes.gateway, request, [Record("FT-1", [PersonFacts(facts)])])
    assert told.persons == [landes.who]
    landes.deliver("ccas_voisin")
    assert landes.sheets("ccas_voisin") == []
    landes.oriented(structure_referente=ELSEWHERE)
    landes.deliver("ccas_voisin")
    assert [sheet["email"] for sheet in landes.sheets("ccas_voisin")] == ["amelia@exemple.invalid"]
    landes.gateway.engine.dispose()


def test_what_was_said_while_a_partner_was_suspended_goes_when_it_is_back(landes: Territory) -> None:
    with landes.gateway.unit_of_work() as work:
        partners.suspend(work, "ccas")
    landes.inform(oriented_without_being_told(landes))
    since = clock.instant()
    assert look(landes, since) == 0
    with landes.gateway.unit_of_work() as work:
        partners.resume(work, "ccas")
    assert look(landes, since) == 1
    assert [sheet["birthName"] for sheet in landes.sheets("ccas")] == [AMELIA.nom]


def test_what_a_table_refused_goes_once_another_permits_it(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reopened, "_LATE", timedelta())
    narrow = tmp_path / "narrow.toml"
    narrow.write_bytes(DEFAULT.read_bytes().replace(*NOT_SIGNED))
    signed = territory(tmp_path, DEMO, database_url=database)
    signed.gateway.engine.dispose()
    before = Territory(Gateway.open(signed.gateway.settings.model_copy(update={"policy_file": narrow})))
    before.inform(oriented_without_being_told(before))
    asyncio.run(reopened.keep(before.gateway))
    before.gateway.engine.dispose()
    landes = Territory(Gateway.open(before.gateway.settings.model_copy(update={"policy_file": DEFAULT})))
    promised = len(landes.states("departement"))
    asyncio.run(reopened.keep(landes.gateway))
    landes.deliver("ccas")
    assert [sheet["birthName"] for sheet in landes.sheets("ccas")] == [AMELIA.nom]
    asyncio.run(reopened.keep(landes.gateway))
    assert landes.states("ccas") == [("delivered", "mailbox")]
    assert len(landes.states("departement")) == promised, "what both tables permit is not promised again"
    landes.gateway.engine.dispose()


def test_what_was_withheld_of_a_minor_goes_when_she_comes_of_age(landes: Territory) -> None:
    birthday = datetime.now(UTC).replace(hour=12) + timedelta(days=3)
    young = replace(AMELIA, date_naissance=f"{birthday.year - 18}-{birthday:%m-%d}")
    landes.oriented(young)
    landes.tell("departement", "departement.accompagnement", accompaniment(young))
    since = clock.instant()
    landes.deliver("ccas")
    assert landes.sheets("ccas") == []
    with passed(birthday - timedelta(days=1)):
        landes.gateway.publish_journal()
        look(landes, since)
        assert landes.sheets("ccas") == []
        yesterday = clock.instant()
    with passed(birthday):
        landes.gateway.publish_journal()
        assert look(landes, yesterday) == 1
        assert [sheet["birthName"] for sheet in landes.sheets("ccas")] == [AMELIA.nom]


def test_what_one_had_refused_withholds_nothing_of_the_other_once_they_are_two_again(landes: Territory) -> None:
    landes.oriented()
    (other,) = landes.tell("ccas", "ccas.suivi", beneficiary(socialSecurityNumber=None))[0].persons
    with landes.gateway.unit_of_work() as work:
        basis.record(work, objection(landes.gateway, other))
        case = work.connection.execute(select(identity_case.c.id)).scalar_one()
        identity_review.decide(work, landes.gateway, case, True, "agent")
    landes.tell("departement", "departement.accompagnement", accompaniment())
    assert landes.states("ccas") == []
    with landes.gateway.unit_of_work() as work:
        identity_review.reverse(work, landes.gateway, case, "agent")
    landes.deliver("ccas")
    assert [sheet["phone1"] for sheet in landes.sheets("ccas")] == ["0558000001"]


def test_of_whoever_is_erased_while_this_looks_at_her_nothing_is_promised(
    landes: Territory, monkeypatch: pytest.MonkeyPatch
) -> None:
    her, since = oriented_without_being_told(landes), clock.instant()
    landes.inform(her)

    def erase() -> None:
        with landes.gateway.unit_of_work() as work:
            erasure.erase(work, landes.gateway, her, forced_by="ab" * 32)

    with ThreadPoolExecutor(1) as another:
        erasing = []

        def meanwhile(*of: Any) -> None:
            offer_again(*of)
            erasing.append(another.submit(erase))
            with suppress(StillWaiting):
                erasing[0].result(0.5)

        monkeypatch.setattr(reopened, "offer_again", meanwhile)
        assert sum(reopened.look(landes.gateway, since)) == 1
        erasing[0].result(60)
    assert landes.states("ccas") == []


@pytest.mark.parametrize("herself", [False, True], ids=["another body", "herself"])
def test_what_was_withheld_of_a_minor_goes_when_her_birth_date_is_corrected(landes: Territory, herself: bool) -> None:
    young = replace(AMELIA, date_naissance="2015-04-12")
    her = landes.oriented(young)
    landes.tell("departement", "departement.accompagnement", accompaniment(young))
    landes.deliver("ccas")
    assert landes.sheets("ccas") == []
    if herself:
        with landes.gateway.unit_of_work() as work:
            told = rectification.rectify(work, landes.gateway, her, {"personne.date_naissance": "1988-04-12"})
            assert told.changed == ("personne.date_naissance",)
    else:
        told = {"personne.date_naissance": "1988-04-12", "personne.nom_naissance": AMELIA.nom}
        with landes.gateway.unit_of_work() as work:
            request = Request(clock.new_id(), "caf", "caf.flux_beneficiaire", landes.gateway.flows(work, "caf"))
            exchange(work, landes.gateway, request, [Record("K", [PersonFacts(told, person_id=her)])])
    landes.deliver("ccas")
    assert [sheet["birthDate"] for sheet in landes.sheets("ccas")] == ["1988-04-12"]


@pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
def test_whoever_was_told_of_her_for_another_and_may_not_be_any_more_is_shown_to_a_human(
    landes: Territory, read: bool
) -> None:
    known = {name: value for name, value in beneficiary().items() if name != "fileNumber"}
    (her,) = landes.tell("ccas_voisin", "ccas.beneficiaires", known | {"fileNumber": "V-1"})[0].persons
    landes.inform(her)
    told = synthetic.webrsa_ali([replace(AMELIA, nir="", telephone="0558000001")], "40", 1)
    landes.tell("departement", "departement.referentiel", synthetic.referentiel("40", 1))
    landes.tell("departement", "departement.webrsa_ali", told)
    landes.tell("departement", "departement.accompagnement", accompaniment(replace(AMELIA, nir="")))
    with landes.gateway.unit_of_work() as work:
        case = work.connection.execute(select(identity_case.c.id)).scalar_one()
        identity_review.decide(work, landes.gateway, case, True, "agent")
    landes.deliver("ccas")
    if read:
        assert len(landes.sheets("ccas")) == 1
    with landes.gateway.unit_of_work() as work:
        identity_review.reverse(work, landes.gateway, case, "agent")
    landes.deliver("ccas")
    with landes.gateway.reading() as work:
        shown = [(one["kind"], one["sender"], one["document"]) for one in tasks.open_tasks(work, [her])]
        letters = in_the_mailbox(work, landes)
    assert shown == ([("of-another-person", "ccas", "ccas.beneficiaires")] if read else [])
    assert not [one for one in letters if one.person_id == her and one.fetched_at is None], "unread, it is not given"


def test_a_letter_of_two_that_nobody_read_before_they_were_told_apart_is_written_anew(landes: Territory) -> None:
    her = landes.oriented()
    landes.tell("departement", "departement.accompagnement", accompaniment())
    another = replace(
        AMELIA, nir="", id_personne=4712, matricule="0123457", numero_demande="04000000002", telephone="0558000077"
    )
    landes.tell("departement", "departement.webrsa_ali", synthetic.webrsa_ali([AMELIA, another], "40", 1))
    with landes.gateway.unit_of_work() as work:
        case = work.connection.execute(select(identity_case.c.id)).scalar_one()
        identity_review.decide(work, landes.gateway, case, True, "agent")
    landes.deliver("ccas")
    with landes.gateway.unit_of_work() as work:
        assert [one.person_id for one in in_the_mailbox(work, landes)] == [her]
        identity_review.reverse(work, landes.gateway, case, "agent")
    landes.deliver("ccas")
    with landes.gateway.reading() as work:
        assert [one.person_id for one in in_the_mailbox(work, landes)] == [her]
    (sheet,) = landes.sheets("ccas")
    assert "0558000077" not in sheet.values()


def in_the_mailbox(work: Any, landes: Territory) -> list[Any]:
    return [inbox.find(work, "ccas", one.id) for one in inbox.letters(work, landes.gateway, "ccas")]
