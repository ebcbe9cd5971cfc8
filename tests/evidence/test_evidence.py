"""The evidence of an accompaniment, read from what bodies exchanged."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from gateway import evidence, fse
from gateway.problems import Invalid
from tests.worklist.conftest import Territory

MEMBERS = {
    "accompagnements[departement:AG-1].nature": "global",
    "accompagnements[departement:AG-1].debut": "2026-05-01",
    "accompagnements[departement:AG-1].membres[departement:s].professionnel.ref": "pro-social",
    "accompagnements[departement:AG-1].membres[departement:s].cote": "social",
    "accompagnements[departement:AG-1].membres[departement:s].est_referent": True,
    "accompagnements[departement:AG-1].membres[departement:s].depuis": "2026-05-01",
    "accompagnements[departement:AG-1].membres[departement:e].professionnel.ref": "pro-emploi",
    "accompagnements[departement:AG-1].membres[departement:e].cote": "emploi",
    "accompagnements[departement:AG-1].membres[departement:e].est_referent": False,
    "contrats[departement:C1].nature": "cer",
    "contrats[departement:C1].signe_le": "2026-05-15",
}


def meeting(key: str, *, start: str, status: str = "honore", joint: bool = False, **workers: str) -> dict[str, Any]:
    at = f"rendez_vous[{key}]"
    return {
        f"{at}.debut": start, f"{at}.statut": status, f"{at}.duree_min": 60, f"{at}.conjoint": joint,
    } | {f"{at}.professionnels[{name}].professionnel.ref": ref for name, ref in workers.items()}  # fmt: skip


def followed(landes: Territory, *meetings: dict[str, Any], numero: str = "00000000101", **more: Any) -> str:
    who = landes.known(numero, **MEMBERS | more)
    usager = landes.sandbox.usagers[numero]
    identity = {"identifiants[nir].valeur": usager.nir, "personne.date_naissance": usager.date_naissance}
    for rank, told in enumerate(meetings):
        body = next(iter(told)).partition("[")[2].partition(":")[0]
        assert landes.tell(body, f"{numero}-{rank}", identity | told).persons == [who]
    return who


def pack(landes: Territory, who: str) -> dict[str, Any]:
    with landes.gateway.unit_of_work() as work:
        return evidence.pack(work, landes.gateway, who)


def test_a_joint_first_appointment_told_by_both_is_one_contact_and_two_working_times(landes: Territory) -> None:
    hour = "2026-06-02T09:00:00Z"
    who = followed(
        landes,
        meeting("departement:r1", start=hour, joint=True, a="pro-social"),
        meeting("ccas:r9", start=hour, joint=True, b="pro-emploi"),
    )
    (told,) = pack(landes, who)["accompagnements"]
    (contact,) = told["contacts"]
    assert contact["professionnels"] == ["pro-emploi", "pro-social"]
    assert contact["sources"] == ["ccas", "departement"]
    assert told["temps"] == {
        name: {"contacts": 1, "minutes": 60, "sans_duree": 0} for name in ("pro-emploi", "pro-social")
    }


def test_two_appointments_at_the_same_hour_that_are_not_joint_stay_two(landes: Territory) -> None:
    hour = "2026-06-02T09:00:00Z"
    who = followed(landes, meeting("departement:r1", start=hour, a="p1"), meeting("ccas:r9", start=hour, b="p2"))
    assert len(pack(landes, who)["accompagnements"][0]["contacts"]) == 2


def test_an_interview_and_its_appointment_are_one_contact(landes: Territory) -> None:
    interview = {
        "entretiens[ccas:e1].rendez_vous": "r9", "entretiens[ccas:e1].date": "2026-06-02",
        "entretiens[ccas:e1].medium": "domicile", "entretiens[ccas:e1].lieu_nature": "domicile",
        "entretiens[ccas:e1].synthese": "CONTENU A NE JAMAIS MONTRER",
    }  # fmt: skip
    who = followed(landes, meeting("ccas:r9", start="2026-06-02T09:00:00Z", b="p2") | interview)
    told = pack(landes, who)
    (contact,) = told["accompagnements"][0]["contacts"]
    assert (contact["comment"], contact["lieu"], contact["duree_min"]) == ("domicile", "domicile", 60)
    assert "NE JAMAIS" not in repr(told)


def test_the_day_of_a_meeting_is_that_of_paris(landes: Territory) -> None:
    """An hour left at midnight is told as the evening before by universal time."""
    who = followed(landes, meeting("ccas:r9", start="2026-06-01T22:00:00Z", b="p2"))
    (contact,) = pack(landes, who)["accompagnements"][0]["contacts"]
    assert contact["date"] == "2026-06-02"


def test_presence_is_told_and_absence_takes_no_working_time(landes: Territory) -> None:
    who = followed(
        landes,
        meeting("ccas:r1", start="2026-06-02T09:00:00Z", b="p2"),
        meeting("ccas:r2", start="2026-06-09T09:00:00Z", status="absent", b="p2"),
        meeting("ccas:r3", start="2026-06-16T09:00:00Z", status="excuse_usager", b="p2"),
        meeting("ccas:r4", start="2026-06-23T09:00:00Z", status="annule_service", b="p2"),
        meeting("ccas:r5", start="2026-04-01T09:00:00Z", b="p2"),
    )
    (told,) = pack(landes, who)["accompagnements"]
    assert told["presences"] == {"present": 1, "absent": 1, "excuse": 1}
    assert told["temps"]["p2"]["contacts"] == 1


def test_referents_and_contract_are_dated(landes: Territory) -> None:
    told = pack(landes, followed(landes))
    (social,) = [one for one in told["accompagnements"][0]["membres"] if one["referent"]]
    assert (social["professionnel"], social["depuis"], social["cote"]) == ("pro-social", "2026-05-01", "social")
    assert told["contrats"][0]["signe_le"] == "2026-05-15"


POSTINGS = {
    "affectations": [
        {"id": "A1", "professionnel": "pro-social", "employeur": "association", "organisation_accueil": "ccas",
         "autorite_fonctionnelle": "departement", "lieux": ["mairie-1"], "quotite": "0.6",
         "operation_financee": "FSE-2024-001", "debut": "2026-01-01"},
        {"id": "A2", "professionnel": "pro-social", "employeur": "association", "organisation_accueil": "departement",
         "lieux": ["cms-2"], "quotite": "0.4", "debut": "2026-01-01"},
        {"id": "A0", "professionnel": "pro-social", "employeur": "ancien", "quotite": "1", "fin": "2025-12-31"},
    ],
    "postes": [{"id": "P1", "affectation": "A1", "operation_financee": "FSE-2024-001", "file_active_cible": 150}],
}  # fmt: skip


def test_caseload_by_referent_with_employer_host_sites_share_and_target(landes: Territory) -> None:
    followed(landes, meeting("ccas:r1", start="2026-06-02T09:00:00Z", b="pro-social"))
    followed(landes, numero="00000000102")
    rows = evidence.caseload(landes.gateway, "2026-11-01", *evidence.postings_of(POSTINGS))
    mine = [row for row in rows if row["professionnel"] == "pro-social"]
    assert [(row["employeur"], row["accueil"], row["quotite"], row["lieux"]) for row in mine] == [
        ("association", "ccas", "0.6", ["mairie-1"]), ("association", "departement", "0.4", ["cms-2"]),
    ]  # fmt: skip
    assert {(row["file_active"], row["contacts"], row["minutes_avec_les_personnes"]) for row in mine} == {(2, 1, 60)}
    assert [row["file_active_cible"] for row in mine] == [150, None]
    assert not [row for row in rows if row["professionnel"] == "pro-emploi"], "not a référent, and met nobody"


def test_an_ended_accompaniment_or_a_replaced_referent_is_no_caseload(landes: Territory) -> None:
    followed(landes, **{"accompagnements[departement:AG-1].fin": "2026-10-31"})
    followed(landes, numero="00000000102",
             **{"accompagnements[departement:AG-1].membres[departement:s].jusqua": "2026-09-30"})  # fmt: skip
    assert [row["file_active"] for row in evidence.caseload(landes.gateway, "2026-10-15")] == [1]
    assert evidence.caseload(landes.gateway, "2026-11-01") == []


def test_wrong_postings_are_refused_by_field() -> None:
    with pytest.raises(Invalid, match="quotite"):
        evidence.postings_of({"affectations": [{"id": "A1", "quotite": "plein"}]})


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.said.append(data.strip())


def test_the_page_is_readable_and_escapes_what_it_shows(landes: Territory) -> None:
    who = followed(landes, meeting("ccas:r1", start="2026-06-02T09:00:00Z", b="<script>"))
    with landes.gateway.unit_of_work() as work:
        fse.enter(work, landes.gateway, who, "departement", "FSE-1", "2026-05-04")
    html = evidence.page("Preuves", pack(landes, who))
    read = _Text()
    read.feed(html)
    assert html.startswith("<!doctype html>")
    assert "script" not in read.tags
    assert {"présent", "02/06/2026", "oui", "Opération", "Motif de fin", "Établi le"} <= set(read.said)
    assert not [said for said in read.said if re.search(r"[a-z]_[a-z]|generated|(?<![\w-])\d{4}-\d\d-\d\d", said)]
    assert html.count("<table aria-label=") == html.count("<table")
