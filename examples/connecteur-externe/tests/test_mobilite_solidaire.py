"""The contract suite of mobilite_solidaire, and what is its own."""

from __future__ import annotations

import io

import pytest

from connectors import kit
from connectors.manifest import installed


@pytest.mark.parametrize("case", kit.suite("mobilite_solidaire"), ids=str)
def test_the_contract_is_kept(case: kit.Case) -> None:
    case.verify()


def test_the_person_of_the_sample_is_read() -> None:
    one = installed()["mobilite_solidaire"]
    sample = (one.folder / "fixtures" / "suivi" / "une_personne.json").read_bytes()
    connector = one.create({"api_url": "https://partenaire.exemple.invalid", "cle": "x"})
    (record,) = connector.read("mobilite_solidaire.suivi", io.BytesIO(sample))
    assert record.personnes[0].facts["personne.date_naissance"] == "1985-06-12"
    assert record.personnes[0].facts["personne.preference_contact"] == "sms"
    assert not record.findings
