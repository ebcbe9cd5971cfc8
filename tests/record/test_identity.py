"""Who is it? The match ladder on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.dossier import Dossiers
from gateway.identity import Identity, Match
from gateway.keys import Keyring
from gateway.problems import Conflict
from gateway.storage import open_engine
from gateway.storage.tables import metadata
from gateway.storage.tables.record import identity_case, person
from gateway.unit_of_work import UnitOfWork
from gateway.vault import Vault

MARIE = {
    "identifiants[nir].valeur": "2850699999999",
    "personne.nom_naissance": "LEFÈVRE",
    "personne.prenoms": ["Marie-Claire"],
    "personne.date_naissance": "1985-06-12",
    "personne.adresses[residence].code_postal": "40100",
}


class Registry:
    """Identity and dossiers over one database, as the gateway assembles them."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_engine(f"sqlite:///{folder / 'maillon.db'}")
        metadata.create_all(self.engine)
        keys = Keyring(folder / "keys")
        self.identity = Identity(keys)
        self.dossiers = Dossiers(keys, Vault(keys), lambda source: source)

    def work(self) -> UnitOfWork:
        return UnitOfWork(self.engine)

    def known(self, facts: dict[str, object], source: str = "caf") -> str:
        with self.work() as work:
            who = self.dossiers.new_subject(work, "personne")
            self.identity.remember(work, who, self.identity.keys_of(facts), source)
        return who

    def match(self, facts: dict[str, object]):  # type: ignore[no-untyped-def]
        with self.work() as work:
            return self.identity.resolve(work, self.identity.keys_of(facts))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    one = Registry(tmp_path)
    yield one
    one.engine.dispose()


def test_same_nir_and_birth_date_is_certain(registry: Registry) -> None:
    marie = registry.known(MARIE)
    found = registry.match(MARIE | {"personne.nom_naissance": "DUPONT"})
    assert (found.certainty, found.person_id, found.rung) == ("certain", marie, 1)


def test_france_travail_number_and_birth_date_is_certain(registry: Registry) -> None:
    number = {"identifiants[ft_numero].valeur": "12345678901", "personne.date_naissance": "1985-06-12"}
    marie = registry.known(MARIE | number)
    assert registry.match(number).person_id == marie


def test_a_couple_shares_the_departements_id_but_not_the_person(registry: Registry) -> None:
    shared = {"identifiants[si_departement:40].valeur": "778"}
    marie = registry.known(MARIE | shared)
    husband = {
        "personne.nom_naissance": "DURAND",
        "personne.prenoms": ["Paul"],
        "personne.date_naissance": "1980-01-02",
    } | shared
    assert registry.match(husband).certainty == "inconnu"
    named = {name: MARIE[name] for name in ("personne.nom_naissance", "personne.prenoms", "personne.date_naissance")}
    found = registry.match(named | shared)
    assert (found.certainty, found.person_id, found.rung) == ("certain", marie, 3)


def test_accents_and_hyphens_do_not_hide_a_name_but_a_human_confirms(registry: Registry) -> None:
    marie = registry.known(MARIE)
    found = registry.match(
        {
            "personne.nom_naissance": "lefevre",
            "personne.prenoms": ["MARIE CLAIRE"],
            "personne.date_naissance": "1985-06-12",
            "personne.adresses[residence].code_postal": "40100",
        }
    )
    assert (found.certainty, found.person_id, found.candidate, found.rung) == ("a_confirmer", None, marie, 4)


@pytest.mark.parametrize(
    ("name", "first_name"),
    [
        ("Marie-Claire", "Lefèvre"),
        ("LEFEVRE", "marie claire"),
        ("Lefévre", "Marie-Claire"),
        ("LEFÈVRE ", "Marie  Claire"),
    ],
    ids=["swapped", "plain", "other-accent", "blanks"],
)
def test_a_name_written_otherwise_is_found_and_a_human_confirms(registry: Registry, name: str, first_name: str) -> None:
    marie = registry.known(MARIE)
    told = {"personne.nom_naissance": name, "personne.prenoms": [first_name], "personne.date_naissance": "1985-06-12"}
    found = registry.match(told)
    assert (found.certainty, found.person_id, found.candidate, found.rung) == ("a_confirmer", None, marie, 4)
    assert registry.match(told | {"personne.date_naissance": "1985-06-13"}).certainty == "inconnu"


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ("D’Hénin-Liétard", "d'henin lietard"),
        ("de la Tour", "DE LA TOUR"),
        ("Łódź-Nguyễn", "LODZ NGUYEN"),
        ("Œuvrard", "OEUVRARD"),
        ("Yılmaz", "yilmaz"),
    ],
)
def test_particles_hyphens_and_transliteration_do_not_hide_a_name(registry: Registry, known: str, told: str) -> None:
    who = registry.known(MARIE | {"personne.nom_naissance": known})
    same = {name: MARIE[name] for name in ("personne.prenoms", "personne.date_naissance")}
    assert registry.match(same | {"personne.nom_naissance": told}).candidate == who


def test_a_married_name_told_alone_is_found_and_a_human_confirms(registry: Registry) -> None:
    married = MARIE | {"personne.nom_usage": "DUPONT"}
    only = {name: MARIE[name] for name in ("personne.prenoms", "personne.date_naissance")} | {
        "personne.nom_usage": "Dupont"
    }
    who = registry.known(married)
    found = registry.match(only)
    assert (found.certainty, found.candidate, found.rung) == ("a_confirmer", who, 4)


def test_who_was_known_by_her_married_name_alone_is_found_when_both_are_told(registry: Registry) -> None:
    only = {name: MARIE[name] for name in ("personne.prenoms", "personne.date_naissance")}
    who = registry.known(only | {"personne.nom_usage": "Dupont"})
    found = registry.match(MARIE | {"personne.nom_usage": "DUPONT"})
    assert (found.certainty, found.candidate, found.reason) == ("a_confirmer", who, "usage+date")


def named(first_name: str, **more: str) -> dict[str, object]:
    """What a table without numbers tells of her."""
    told = {"personne.nom_naissance": "Lefèvre", "personne.date_naissance": "1985-06-12"}
    return told | {"personne.prenoms": [first_name]} | {f"personne.{field}": value for field, value in more.items()}


@pytest.mark.parametrize(("known", "told"), [("Marie-Claire", "M."), ("m", "Marie-Claire"), ("MARIE CLAIRE", "M.-C.")])
def test_an_initial_asks_a_human_about_each_whose_first_name_begins_so(
    registry: Registry, known: str, told: str
) -> None:
    marie = registry.known(named(known))
    assert registry.match(named(told)) == Match("a_confirmer", None, marie, 4, "nom+initiale")
    assert registry.match(named("Paul" if len(told) > 5 else "P.")).certainty == "inconnu"
    assert registry.match(named(told) | {"personne.date_naissance": "1985-06-13"}).certainty == "inconnu"
    married = {"personne.nom_naissance": "Petit", "personne.nom_usage": "Lefèvre"}
    assert registry.match(named(told) | married).candidate == marie


def test_two_first_names_that_begin_alike_are_two_people_and_an_initial_may_be_either(registry: Registry) -> None:
    registry.known(named("Marie"))
    assert registry.match(named("Martine")).certainty == "inconnu"
    registry.known(named("Martine", nom_usage="Petit"))
    assert registry.match(named("M.")).reason == "several-matches"
    alone = {"personne.nom_usage": "PETIT", "personne.prenoms": ["M"], "personne.date_naissance": "1985-06-12"}
    assert registry.match(alone).reason == "nom+initiale"


@pytest.mark.parametrize("system", ["mss_dossier:ccas", "dossier:mon_logiciel"])
def test_a_file_number_and_an_initial_make_nobody_certain(registry: Registry, system: str) -> None:
    numbered = {f"identifiants[{system}].valeur": "SA-1"}
    registry.known(named("M.") | numbered)
    assert registry.match(named("M.") | numbered).certainty == "a_confirmer"
    registry.known(named("Marie", nom_usage="Petit") | numbered)
    assert registry.match(named("Marie") | numbered).certainty == "certain"


def test_two_different_nirs_never_merge(registry: Registry) -> None:
    registry.known(MARIE)
    twin = MARIE | {"identifiants[nir].valeur": "2850699999998"}
    assert registry.match(twin).certainty == "inconnu"


def test_a_nir_with_another_birth_date_is_a_contradiction_for_a_human(registry: Registry) -> None:
    marie = registry.known(MARIE)
    found = registry.match(MARIE | {"personne.date_naissance": "1958-06-12"})
    assert (found.certainty, found.candidate, found.reason) == ("a_confirmer", marie, "nir-with-other-birth-date")


@pytest.mark.parametrize(("known", "told"), [("1985", "1985-06-12"), ("1985-06", "1985-06-12"), ("1985", "1985-06")])
@pytest.mark.parametrize("first_precise", [False, True])
def test_a_nir_with_the_same_birth_date_less_precise_is_certain(
    registry: Registry, known: str, told: str, first_precise: bool
) -> None:
    first, second = (told, known) if first_precise else (known, told)
    marie = registry.known(MARIE | {"personne.date_naissance": first})
    found = registry.match(MARIE | {"personne.date_naissance": second})
    assert (found.certainty, found.person_id, found.rung) == ("certain", marie, 1)


def test_birth_dates_known_in_part_are_found_by_those_told_with_them(registry: Registry) -> None:
    def dated(nir: int, date: str) -> dict[str, object]:
        return {"identifiants[nir].valeur": f"28506{nir:08d}", "personne.date_naissance": date}

    with registry.work() as work:
        of = registry.identity.keys_of
        registry.identity.prefetch(work, [of(dated(1, "1985-06-12")), of(dated(2, "1985-06-13"))])
        for nir, date in ((1, "1985"), (1, "1985-06"), (2, "1985-06")):
            who = registry.identity.resolve(work, of(dated(nir, date))).person_id
            who = who or registry.dossiers.new_subject(work, "personne")
            registry.identity.remember(work, who, of(dated(nir, date)), "caf")
        found = [registry.identity.resolve(work, of(dated(nir, f"1985-06-1{nir}"))) for nir in (1, 2)]
        assert [(one.certainty, one.rung) for one in found] == [("certain", 1)] * 2
        assert len({one.person_id for one in found}) == 2


@pytest.mark.parametrize("other", ["1984", "1985-05", "1985-07-12"])
def test_a_nir_with_a_birth_date_that_cannot_be_hers_is_for_a_human(registry: Registry, other: str) -> None:
    marie = registry.known(MARIE | {"personne.date_naissance": "1985-06"})
    found = registry.match(MARIE | {"personne.date_naissance": other})
    assert (found.certainty, found.candidate, found.reason) == ("a_confirmer", marie, "nir-with-other-birth-date")


@pytest.mark.parametrize(("known", "told"), [("1985", "1985-06-12"), ("1985-06-12", "1985-06"), ("1985-06", "1985-06")])
def test_the_same_name_and_a_birth_date_known_in_part_is_shown_to_a_human(
    registry: Registry, known: str, told: str
) -> None:
    named = {name: MARIE[name] for name in ("personne.nom_naissance", "personne.prenoms")}
    marie = registry.known(named | {"personne.date_naissance": known})
    found = registry.match(named | {"personne.date_naissance": told})
    assert (found.certainty, found.candidate, found.rung) == ("a_confirmer", marie, 4)
    assert registry.match(named | {"personne.date_naissance": "1986"}).certainty == "inconnu"


def test_a_provisional_number_never_identifies_alone(registry: Registry) -> None:
    provisional = MARIE | {"identifiants[nir].valeur": "8850699999999"}
    registry.known(provisional)
    found = registry.match(provisional)
    assert found.certainty == "a_confirmer"
    assert found.rung == 4


def test_an_email_is_a_suggestion_and_never_more(registry: Registry) -> None:
    mail = {"personne.courriels[c@exemple.invalid].adresse": "c@exemple.invalid"}
    registry.known(MARIE | mail)
    found = registry.match({"personne.prenoms": ["Marie-Claire"]} | mail)
    assert (found.certainty, found.rung) == ("a_confirmer", 5)
    assert registry.match({"personne.prenoms": ["Paul"]} | mail).certainty == "inconnu"


def test_a_merge_can_be_undone_and_both_histories_come_back(registry: Registry) -> None:
    marie, other = registry.known(MARIE), registry.known({})
    with registry.work() as work:
        found = registry.identity.resolve(
            work, registry.identity.keys_of({**MARIE, "personne.date_naissance": "1958-06-12"})
        )
        case = registry.identity.open_case(work, other, found, "exchange")
        place = ("ccas", "ccas.beneficiaires", b"r" * 32)
        registry.dossiers.put(
            work, other, place, {"personne.civilite": "madame"}, asserted_at=work.now, exchange_id="x", partial=True
        )
    with registry.work() as work:
        assert registry.identity.decide(work, case, True, "dpo") == (other, marie, "exchange")
    with registry.work() as work:
        assert registry.dossiers.current(work, marie)["personne.civilite"].value == "madame"
        with pytest.raises(Conflict):
            registry.identity.decide(work, case, False, "dpo")
    with registry.work() as work:
        registry.identity.reverse(work, case, "dpo")
    with registry.work() as work:
        assert registry.dossiers.current(work, marie) == {}
        assert registry.dossiers.current(work, other)["personne.civilite"].value == "madame"
        assert work.connection.execute(select(identity_case.c.state)).scalar_one() == "reversed"
        assert work.connection.execute(select(person.c.merged_into)).scalars().all() == [None, None]
