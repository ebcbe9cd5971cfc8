"""What is known of a minor waits for a human (D18), also when only a part of her birth date is known."""

from __future__ import annotations

import pytest

from gateway import clock
from gateway.decide import _age_status
from schemas.record import Fact
from tests.rights.conftest import MARIE, Office

BORN = "personne.date_naissance"


@pytest.mark.parametrize(
    ("born", "status"),
    [
        ("2008-11-23", "minor"), ("2008-11-22", "adult"), ("2008-11", "minor"), ("2008-10", "adult"),
        ("2008", "minor"), ("2007", "adult"),
    ],
)  # fmt: skip
def test_she_is_a_minor_until_the_end_of_what_is_known_of_her_birthday(born: str, status: str) -> None:
    current = {BORN: Fact(born, "departement", "essai", "2026-11-01")}
    assert _age_status("adult", current, "2026-11-22T10:00:00.000000Z") == status


def test_she_comes_of_age_at_midnight_in_paris() -> None:
    current = {BORN: Fact("2008-07-14", "departement", "essai", "2026-07-01")}
    midnight = ("2026-07-13T21:59:59.000000Z", "2026-07-13T22:00:00.000000Z")
    assert [_age_status("adult", current, now) for now in midnight] == ["minor", "adult"]


async def test_nothing_about_a_minor_leaves_without_a_human(office: Office) -> None:
    born = str(clock.now().year - 17)
    minor = MARIE | {BORN: born, "identifiants[nir].valeur": f"2{born[2:]}0640999901"}
    office.says("ccas", minor)
    told = office.says("departement", minor)
    assert {(one.status, one.reason) for one in told.outcomes} == {("withheld", "manual-review")}
