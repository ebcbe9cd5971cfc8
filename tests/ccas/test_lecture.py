"""What a CCAS sends becomes facts; what it keeps to itself appears nowhere; what is doubtful waits, cell by cell."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook
from typer.testing import CliRunner

from connectors.ccas.champs import champs, labels, spoken
from connectors.ccas.connector import Ccas
from connectors.ccas.sandbox import PRIVATE, CcasSystem
from connectors.contract import DocumentRefused
from connectors.table import to_csv, to_xlsx
from gateway.cli import app
from schemas.normalisation import name_key
from schemas.record import Record

CCAS = Ccas({"organisme": "ccas", "departement": "040", "nom_structure": ""})


def read(data: bytes, document: str = "ccas.beneficiaires") -> list[Record]:
    return list(CCAS.read(document, io.BytesIO(data)))


def one(**fields: Any) -> Record:
    base = {"fileNumber": "1", "firstName": "Zoé", "birthName": "Nougarent", "birthDate": "1990-02-03"}
    (record,) = read(json.dumps(base | fields).encode())
    return record


def codes(record: Record) -> list[str]:
    return [finding.code for finding in record.findings]


def test_the_json_export_says_who_they_are() -> None:
    amelia, felix = read(CcasSystem().export(False))
    assert (codes(amelia), codes(felix)) == ([], [])
    facts = amelia.personnes[0].facts
    assert amelia.key == "2026-014"
    assert facts["personne.nom_naissance"] == "Arbelier"
    assert facts["personne.civilite"] == "madame"
    assert facts["identifiants[nir].valeur"] == "2880440901234"
    assert facts["identifiants[si_departement:40].valeur"] == "4711"
    assert facts["personne.telephones[+33611223344].numero"] == "+33611223344"
    assert facts["freins[mobilite].situations[mobilite_dependant_transports_communs].valeur"] == "oui"
    assert "freins[mobilite].valeur" not in facts, "a means of transport opens no frein"
    assert amelia.foyer["foyer.situation_familiale"] == "divorce"
    assert amelia.foyer["foyer.logement_statut"] == "locataire_social"
    assert felix.personnes[0].facts["freins[mobilite].situations[mobilite_aucun_moyen_transport].valeur"] == "oui"


def test_the_follow_up_says_what_was_done_and_not_what_was_said() -> None:
    amelia, _ = read(CcasSystem().export(True), "ccas.suivi")
    assert codes(amelia) == []
    facts = amelia.personnes[0].facts
    assert facts["entretiens[ccas:s-101].medium"] == "accueil_rdv"
    assert facts["entretiens[ccas:s-101].premier"] is True
    assert facts["entretiens[ccas:s-101].themes"] == ["mobilite"]
    assert "freins[mobilite].valeur" not in facts, "a kind of help is a hint, never a frein"
    assert facts["demandes_aide[ccas:a-7].statut"] == "acceptee"
    assert facts["demandes_aide[ccas:a-7].montant_accorde"] == "80"
    assert facts["freins[logement].impact"] == "fort"
    assert facts["freins[finances].valeur"] == "present"
    assert facts["freins[famille].bloque_emploi"] is True
    assert facts["freins[famille].explore_par"] == "ccas"
    rendez_vous = {path.partition("].")[2]: value for path, value in facts.items() if path.startswith("rendez_vous[")}
    assert rendez_vous["debut"] == "2026-11-24T08:30:00Z"
    assert rendez_vous["conjoint"] is True
    assert rendez_vous["statut"] == "honore"
    assert rendez_vous["organisme.nom"] == "CCAS de Saint-Aventin-les-Sables"
    assert rendez_vous["professionnels[p-2].professionnel.role"] == "conseiller_emploi"


def test_what_a_ccas_keeps_to_itself_appears_nowhere() -> None:
    data = CcasSystem(scenario="private_notes").export(True)
    assert PRIVATE in data.decode()
    records = read(data, "ccas.suivi")
    assert PRIVATE not in json.dumps([asdict(r) | {"digest": "", "asserted_at": ""} for r in records], default=str)
    for one in records:
        assert one.original
        assert PRIVATE not in one.original().decode(), "not even in what is kept to be read again"
    assert PRIVATE not in repr(records)
    plain = read(CcasSystem().export(True), "ccas.suivi")
    assert [r.digest for r in records] == [r.digest for r in plain], "private text changes nothing, not even a digest"


@pytest.mark.parametrize("fields", [{"favouriteColour": "blue"}, {"minorChildren": "two"}])
def test_a_sending_that_only_adds_what_cannot_be_read_is_not_the_last_one_again(fields: dict[str, Any]) -> None:
    plain, more = one(), one(**fields)
    assert more.personnes[0].facts == plain.personnes[0].facts
    assert more.digest != plain.digest, "taken for the last one, it would not be kept for a human"
    assert more.digest == one(**fields).digest


def test_what_cannot_be_read_counts_wherever_it_stands_in_the_document() -> None:
    said = [{"fileNumber": str(n), "birthName": "Arbelier", "firstName": "Amélia", "birthDate": f"1988-04-1{n}",
             "favouriteColour": "blue"} for n in range(3)]  # fmt: skip
    for make in (json.dumps, _table):
        ordered, reversed_ = (read(make(items).encode(), "ccas.beneficiaires") for items in (said, said[::-1]))
        assert {r.key: r.digest for r in ordered} == {r.key: r.digest for r in reversed_}


def _table(items: list[dict[str, str]]) -> str:
    return "\n".join([";".join(items[0]), *(";".join(item.values()) for item in items)]) + "\n"


def test_the_mappings_and_the_field_table_say_the_same() -> None:
    import mappings

    named = json.dumps([mappings.load(f"ccas.{name}").file.model_dump() for name in ("beneficiaires", "suivi")])
    shaped = {"phone1", "phone2", "unemploymentNumber", "mobility", "redirected", "status"}
    for objet in ("beneficiary", "followup", "helpRequest", "frein", "situation", "rendezVous", "professionnel",
                  "resultat", "demandeReorientation", "objectif", "action", "contrat", "prescription"):  # fmt: skip
        for champ in champs(objet).values():
            if champ.lu and champ.nom not in shaped:
                assert f'"{champ.nom}' in named, f"{objet}.{champ.nom} is read into nothing"
            if not champ.lu:
                assert champ.motif, f"{objet}.{champ.nom} is left out without a reason"


@pytest.mark.parametrize(
    ("fields", "code", "path"),
    [
        ({"birthDate": "1990-02-30"}, "identity-missing", "beneficiaries[0].birthDate"),
        ({"birthDate": 7337}, "identity-missing", "beneficiaries[0].birthDate"),
        ({"birthDate": "01/01/1900"}, "identity-missing", "beneficiaries[0].birthDate"),
        ({"firstName": ""}, "identity-missing", "beneficiaries[0].firstName"),
        ({"birthName": None}, "identity-missing", "beneficiaries[0].birthName"),
        ({"followups": {"id": "1"}}, "bad-type", "beneficiaries[0].followups"),
    ],
)
def test_a_beneficiary_nobody_could_recognise_is_rejected_alone(fields: dict[str, Any], code: str, path: str) -> None:
    record = one(**fields)
    assert record.rejected
    assert not any(person.facts for person in record.personnes if record.key == "")
    assert (code, path) in [(finding.code, finding.path) for finding in record.findings]


@pytest.mark.parametrize(
    ("fields", "code", "absent"),
    [
        ({"minorChildren": "2"}, "bad-type", "foyer.nb_enfants_mineurs"),
        ({"minorChildren": True}, "bad-type", "foyer.nb_enfants_mineurs"),
        ({"zipcode": 1000}, "bad-type", "personne.adresses[residence].code_postal"),
        ({"deathDate": "2199-01-01"}, "death-disagrees", "personne.date_deces"),
        ({"deathDate": "1980-01-01"}, "death-disagrees", "personne.date_deces"),
        ({"followups": [{"id": "1", "dureeMin": 2000}]}, "out-of-bounds", "entretiens[ccas:1].duree_min"),
        ({"phone1": "12"}, "bad-phone", "personne.telephones"),
        ({"socialSecurityNumber": "2,88044E+14"}, "number-lost-digits", "identifiants[nir].valeur"),
        ({"socialSecurityNumber": "288044090123400"}, "bad-nir", "identifiants[nir].valeur"),
        ({"familySituation": "Complicated"}, "unknown-code", "foyer.situation_familiale"),
        ({"mobility": "Teleportation"}, "unknown-code", "freins"),
        ({"favouriteColour": "blue"}, "unknown-field", "favouriteColour"),
        ({"deathDate": "31/02/2026"}, "bad-date", "personne.date_deces"),
        ({"status": "Deceased"}, "missing-required", "personne.date_deces"),
        ({"deathDate": "9999-12-31T23:59:59Z"}, "bad-instant", "personne.date_deces"),
        ({"rendezVous": [{"id": "1", "debut": "0001-01-01T00:00:00"}]}, "bad-instant", "rendez_vous[ccas:1].debut"),
        ({"rendezVous": [{"id": "1", "debut": "26/10/2026"}]}, "bad-instant", "rendez_vous[ccas:1].debut"),
        (
            {"freins": [{"theme": "mobilite", "situations": [{"code": "sante_couverture_sociale_a_jour"}]}]},
            "unknown-code",
            "freins[mobilite].situations",
        ),
    ],
)
def test_a_doubtful_value_waits_and_the_rest_is_read(fields: dict[str, Any], code: str, absent: str) -> None:
    record = one(**fields)
    assert code in codes(record)
    assert record.quarantined
    assert not record.rejected
    facts = {**record.personnes[0].facts, **record.foyer}
    assert not any(path.startswith(absent) for path in facts)
    assert facts["personne.nom_naissance"] == "Nougarent"
    for finding in record.findings:
        assert not any(str(value) in f"{finding!r}" for value in fields.values() if len(str(value)) > 3)


@pytest.mark.parametrize(
    "typed", ["26/10/2026 09:30", "26/10/2026 à 9h30", "2026-10-26 09:30", "2026-10-26T09:30+01:00"]
)
def test_a_moment_is_read_as_staff_type_it(typed: str) -> None:
    record = one(rendezVous=[{"id": "1", "debut": typed}], freins=[{"theme": "logement", "exploreLe": "26/10/2026"}])
    told = record.personnes[0].facts
    assert told["rendez_vous[ccas:1].debut"] == "2026-10-26T08:30:00Z"
    assert told["freins[logement].explore_le"] == "2026-10-25T23:00:00Z"


@pytest.mark.parametrize("fields", [{"status": "Archived"}, {"status": "Deceased", "deathDate": "2026-10-01"}])
def test_how_a_ccas_keeps_its_file_says_nothing_else_of_her(fields: dict[str, str]) -> None:
    assert codes(one(**fields)) == []
    table = "N° dossier;Nom;Prénom;Né le;Statut\n1;Nougarent;Zoé;03/02/1990;{}\n"
    suivi = read(table.format("Suivi").encode())[0]
    assert [(one.code, one.severity) for one in suivi.findings] == [("unknown-code", "notice")]
    assert codes(read(table.format("Décédée").encode())[0]) == ["missing-required"]


def test_what_an_export_says_was_true_when_it_was_made() -> None:
    made = {"generatedAt": "2026-11-20T09:00:00+01:00", "beneficiaries": [{
        "fileNumber": "1", "birthName": "Nougarent", "firstName": "Zoé", "birthDate": "1990-02-03"}]}  # fmt: skip
    (record,) = read(json.dumps(made).encode())
    assert record.asserted_at == datetime(2026, 11, 20, 8, tzinfo=UTC)
    with pytest.raises(DocumentRefused, match="schema-invalid"):
        read(json.dumps(made | {"generatedAt": "hier"}).encode())


def test_an_unknown_medium_is_kept_verbatim_for_the_day_the_table_knows_it() -> None:
    amelia, _ = read(CcasSystem(scenario="unknown_medium").export(True), "ccas.suivi")
    (finding,) = amelia.findings
    assert (finding.code, finding.raw) == ("unknown-code", "Telepathy")
    assert amelia.personnes[0].facts["entretiens[ccas:s-101].date"] == "2026-11-05"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (CcasSystem(scenario="duplicate_keys").export(False), "json-duplicate-key"),
        (b"\xef\xbb\xbf{}", "json-bom"),
        (b'{"beneficiaries": {}}', "schema-invalid"),
        (b'{"beneficiaries": [], "extra": 1}', "schema-invalid"),
        (b'"hello"', "missing-header"),
        (b"", "table-empty"),
        ("Prénom;Ville\nZoé;Dax\n".encode(), "missing-header"),
        ("Prénom;DDN;Né le\nZoé;;\n".encode(), "table-duplicate-header"),
        ('Prénom;DDN;Nom\nZoé;"oops\n'.encode() + b"a;b;c\n" * 100, "table-unclosed-quote"),
        (b"<beneficiaires/>", "table-format: send JSON, CSV or XLSX"),
    ],
)
def test_a_sending_that_cannot_be_read_is_refused_whole(data: bytes, code: str) -> None:
    with pytest.raises(DocumentRefused) as refusal:
        CCAS.read("ccas.beneficiaires", io.BytesIO(data))
    assert str(refusal.value).startswith(code)


HEADERS = ["N° dossier", "Nom de naissance", "Prénom", "Date de naissance", "N° sécurité sociale", "Couleur"]


def workbook(*rows: list[Any]) -> bytes:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "beneficiaires"
    for row in ([*HEADERS], *rows):
        sheet.append(row)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def test_a_sheet_that_is_not_read_is_told_and_people_in_a_second_one_are_never_lost() -> None:
    row = ["1", "Nougarent", "Zoé", "03/02/1990", None, None]
    beside = load_workbook(io.BytesIO(workbook(row)))
    beside.create_sheet("Feuille2")
    beside.create_sheet("Notes").append(["à rappeler"])
    reading = CCAS.read("ccas.beneficiaires", saved(beside))
    told = [(one.code, one.path) for one in reading.envelope.findings]
    assert told == [("unknown-column", "colonne couleur"), ("unread-sheet", "feuille 3")]
    assert len(list(reading)) == 1
    beside["Feuille2"].append(HEADERS)
    beside["Feuille2"].append(["2", *row[1:]])
    with pytest.raises(DocumentRefused) as refusal:
        CCAS.read("ccas.beneficiaires", saved(beside))
    assert (refusal.value.code, refusal.value.path) == ("table-in-two-sheets", "feuille 2")


def saved(book: Workbook) -> io.BytesIO:
    stream = io.BytesIO()
    book.save(stream)
    stream.seek(0)
    return stream


def test_a_nir_in_scientific_notation_is_refused_on_that_cell_and_the_rest_is_read() -> None:
    data = workbook(
        ["1", "Nougarent", "Zoé", "03/02/1990", "2,90024E+12", "bleu"],
        ["2", "Ortholier", "Paul", "04/02/1990", 190024.0e8, None],
        ["3", "Peyroudet", "Rose", "05/02/1990", "290024090123461", None],
    )
    reading = CCAS.read("ccas.beneficiaires", io.BytesIO(data))
    assert [finding.code for finding in reading.envelope.findings] == ["unknown-column"]
    zoe, paul, rose = list(reading)
    assert [(f.code, f.path, f.severity) for f in zoe.findings] == [
        ("number-lost-digits", "ligne 2, colonne n securite sociale", "quarantine")
    ]
    assert codes(paul) == ["number-lost-digits"]
    assert "identifiants[nir].valeur" not in zoe.personnes[0].facts
    assert zoe.personnes[0].facts["personne.date_naissance"] == "1990-02-03"
    assert rose.personnes[0].facts["personne.nom_naissance"] == "Peyroudet"


def test_the_same_people_come_out_of_json_csv_and_a_workbook() -> None:
    system = CcasSystem()
    headers, rows = ["N° dossier", "Nom", "Prénom", "Né(e) le", "NIR", "Tel", "Mail", "CP", "Commune"], []
    for row in system.table():
        rows.append(row[:9])
    told = []
    for data in (to_csv(headers, rows), to_xlsx({"feuille": (headers, rows)}), to_csv(headers, rows)[3:]):
        told.append([(r.key, sorted(r.personnes[0].facts.items(), key=str), r.digest) for r in read(data)])
    assert told[0] == told[1] == told[2]
    by_json = read(system.export(False))
    for (key, facts, _), record in zip(told[0], by_json, strict=True):
        assert key == record.key
        assert set(map(str, facts)) <= set(map(str, record.personnes[0].facts.items()))


@pytest.mark.parametrize(
    ("title", "cell", "path", "value"),
    [
        ("Civilité", "Mme", "personne.civilite", "madame"),
        ("Civilité", "M.", "personne.civilite", "monsieur"),
        ("Situation familiale", "Célibataire", "foyer.situation_familiale", "celibataire"),
        ("Situation familiale", "DIVORCEE", "foyer.situation_familiale", "divorce"),
        ("Situation familiale", "single", "foyer.situation_familiale", "celibataire"),
        ("Logement", "Locataire du parc social", "foyer.logement_statut", "locataire_social"),
        ("Logement", "sans hébergement", "foyer.logement_statut", "sans_abri"),
        ("Situation professionnelle", "demandeuse d'emploi", "parcours_pro.situation_emploi", "sans_emploi"),
        ("Mobilité", "Aucun moyen de transport",
         "freins[mobilite].situations[mobilite_aucun_moyen_transport].valeur", "oui"),
    ],
)  # fmt: skip
def test_a_table_speaks_french(title: str, cell: str, path: str, value: str) -> None:
    (record,) = read(to_csv([*HEADERS[:4], title], [["1", "Nougarent", "Zoé", "03/02/1990", cell]]))
    assert codes(record) == []
    assert (record.personnes[0].facts | record.foyer)[path] == value


def test_a_word_of_another_field_is_not_understood() -> None:
    (record,) = read(to_csv([*HEADERS[:4], "Logement"], [["1", "Nougarent", "Zoé", "03/02/1990", "Divorcée"]]))
    assert [(f.code, f.raw) for f in record.findings] == [("unknown-code", "Divorcée")]


def test_no_french_word_stands_for_two_codes_of_a_field() -> None:
    for objet in (
        "beneficiary",
        "followup",
        "helpRequest",
        "frein",
        "situation",
        "rendezVous",
        "resultat",
        "demandeReorientation",
    ):
        for champ in champs(objet).values():
            said = [(name_key(label), name) for _, name, label in labels() if name.rpartition(".")[2] in champ.valeurs]
            said = [(word, name) for word, name in said if "." not in name or name.startswith(f"{champ.nom}.")]
            assert len({word for word, _ in said}) == len({(word, name) for word, name in said})
            assert set(spoken(objet, champ.nom).values()) == set(champ.valeurs)


def test_a_column_that_holds_what_needs_a_sheet_is_told() -> None:
    (record,) = read("Nom;Prénom;Date de naissance;Freins\nNougarent;Zoé;03/02/1990;logement\n".encode())
    assert [(one.code, one.path) for one in record.findings] == [("bad-type", "ligne 2, colonne freins")]
    assert record.quarantined


def test_the_sheets_of_a_workbook_join_on_the_file_number() -> None:
    data = to_xlsx(
        {
            "beneficiaires": (HEADERS[:4], [["1", "Nougarent", "Zoé", "03/02/1990"]]),
            "suivis": (
                ["N° dossier", "Identifiant du suivi", "Date", "Mode", "Statut", "Synthèse privée"],
                [
                    ["1", "s1", "05/11/2026", "Téléphone", "Fait", PRIVATE],
                    ["9", "s2", "05/11/2026", "Email", "Done", ""],
                ],
            ),
            "demandes": (
                ["N° dossier", "Identifiant de la demande", "Date d'ouverture", "Type", "Montant demandé"],
                [["1", "a1", "06/11/2026", "Aide alimentaire", "120,50 €"]],
            ),
            "Rendez-vous": (["N° dossier", "Id", "Début"], [["1", "r1", "24/11/2026 09:30"]]),
            "Actions convenues": (["N° dossier", "Id", "Échéance"], [["1", "p1", "20/12/2026"]]),
        }
    )
    zoe, orphan = read(data, "ccas.suivi")
    facts = zoe.personnes[0].facts
    assert codes(zoe) == []
    assert facts["entretiens[ccas:s1].medium"] == "telephone"
    assert facts["demandes_aide[ccas:a1].montant_demande"] == "120.5"
    assert facts["rendez_vous[ccas:r1].debut"] == "2026-11-24T08:30:00Z"
    assert facts["actions[ccas:p1].echeance"] == "2026-12-20"
    assert PRIVATE not in repr([facts, zoe.findings])
    assert codes(orphan) == ["unknown-beneficiary"]
    assert orphan.rejected


def test_six_hundred_homonyms_give_six_hundred_records() -> None:
    rows = [[str(n), "Nougarent", "Zoé", "03/02/1990"] for n in range(600)]
    records = read(to_csv(HEADERS[:4], rows))
    assert len({record.key for record in records}) == 600


def test_a_rendez_vous_at_home_never_says_where() -> None:
    visit = {"id": "r1", "debut": "2026-11-24T09:30:00", "modalite": "domicile", "lieu": "12 rue des Résiniers"}
    facts = one(rendezVous=[visit]).personnes[0].facts
    assert facts["rendez_vous[ccas:r1].modalite"] == "domicile"
    assert not any("lieu" in path for path in facts)


def test_a_date_written_by_a_program_is_the_day_in_paris() -> None:
    assert one(birthDate="1990-02-02T23:00:00.000Z").personnes[0].facts["personne.date_naissance"] == "1990-02-03"


def test_a_preview_names_what_the_recipients_document_does_not_carry(tmp_path: Path) -> None:
    """A frein told without its impact, a telephone: nothing of them is in the calculation of an orientation."""
    told = {
        "fileNumber": "SA-1", "birthName": "ARBELIER", "firstName": "AMELIA", "birthDate": "1988-04-12",
        "phone1": "0612345678", "mobility": "None",
        "freins": [{"theme": theme, "valeur": "present"} for theme in ("logement", "mobilite")],
    }  # fmt: skip
    path = tmp_path / "suivi.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    words = ["map", str(path), "--read", "ccas.suivi", "--write", "france_travail.calcul_orientation", "--report"]
    document, *found = [json.loads(line) for line in CliRunner().invoke(app, words).stdout.splitlines()]
    named = {one["path"] for one in found if one["finding"] == "not-carried"}
    assert {"freins[logement].valeur", "personne.telephones[].numero", "personne.prenoms"} <= named
    assert document["contrainte_mobilite"] == "AUCUN_MOYEN_DE_TRANSPORT"
    assert not any("situations[mobilite" in one for one in named)
    assert "612345678" not in json.dumps(found)
