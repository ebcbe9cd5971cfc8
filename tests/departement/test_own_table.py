"""A Département's own table, in TOML alone: the how-to page executed as written, and its mapping on worse files."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

import mappings
from connectors import manifest
from connectors.contract import DocumentRefused
from mappings.lint import lint
from schemas.record import Record

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pages" / "how-to" / "table.md").read_text(encoding="utf-8")
DOCUMENT = "departement.passage"
NIR = "290029999999901"
TITLES = [
    "N° Dossier", "Nom d'usage", "Prénom", "Né(e)\nle", "nir", "TEL", "Type de parcours", "Décidé le", "Métier visé",
]  # fmt: skip


def heredoc(file: str) -> str:
    found = re.search(rf"cat > {re.escape(file)} <<'FIN'\n(.*?)^FIN$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def forget() -> None:
    mappings.forget()
    manifest.installed.cache_clear()


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's mapping, in a folder that is not ours."""
    folder = tmp_path / "mappings" / "departement"
    (folder / "examples").mkdir(parents=True)
    for name in ("passage.v1.toml", "examples/une_ligne.json", "examples/une_ligne.facts.json"):
        (folder / name).write_text(heredoc(f"mappings/departement/{name}"), encoding="utf-8")
    monkeypatch.setenv("MAILLON_MAPPINGS", str(folder.parent))
    forget()
    yield folder / "passage.v1.toml"
    monkeypatch.undo()
    forget()


def open_(data: bytes) -> Any:
    return manifest.installed()["departement"].create({"departement": "40"}).read(DOCUMENT, io.BytesIO(data))


def table(*rows: list[str], titles: list[str] = TITLES) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL).writerows([titles, *rows])
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def workbook(*rows: list[object]) -> bytes:
    book, stream = Workbook(), io.BytesIO()
    for row in (TITLES, *rows):
        book.active.append(row)
    book.save(stream)
    return stream.getvalue()


def codes(record: Record) -> list[str]:
    return sorted(finding.code for finding in record.findings)


ZOE = ["771", "NOUGARENT", "Zoé", "03/02/1990", "", "", "Social", "15/01/2026", ""]


def test_the_page_says_only_what_works(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAILLON_")}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    script = "set -euo pipefail\n" + "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    zoe, nael = (one["facts"] for one in told if "facts" in one)
    assert zoe["orientations[departement:40:771].categorie"] == "socio_professionnelle"
    assert zoe["personne.telephones[+33536490012].numero"] == "+33536490012"
    assert zoe["projets[departement:40:771].rome"] == "K1304"
    assert nael["orientations[departement:40:772].date_decision"] == "2026-01-20"
    assert [one["finding"] for one in told if "finding" in one] == ["lines-above-headers"]
    assert (told[-1]["records"], told[-1]["accepted"], told[-1]["quarantined"]) == (2, 2, 0)


def test_it_is_a_document_like_the_others(added: Path) -> None:
    document = manifest.installed()["departement"].manifest.documents[DOCUMENT]
    assert (document.direction, document.purposes, document.bulk) == (("read",), ("orientation",), True)
    assert document.mapping == (DOCUMENT,)
    assert added in mappings.files()
    assert lint([added]) == []


def test_a_csv_with_a_mark_a_broken_title_and_two_telephones(added: Path) -> None:
    first = ["771", "NOUGARENT", "Zoé", "32907", NIR, "06 11 22 33 44 - 0536490012", "PARCOURS SOCIAL", "46037", ""]
    second = ["772", "ORTHOLIER", "Naël", "31/02/1985", "2,85E+14", "12", "Parcours lunaire", "", ""]
    one, two = open_(table(first, second))
    facts = one.personnes[0].facts
    assert codes(one) == []
    assert facts["personne.date_naissance"] == "1990-02-03"
    assert facts["orientations[departement:40:771].date_decision"] == "2026-01-15"
    assert facts["orientations[departement:40:771].categorie"] == "sociale"
    assert "".join(facts["identifiants[nir].valeur"]) == NIR[:13]
    assert {path for path in facts if path.startswith("personne.telephones")} == {
        "personne.telephones[+33611223344].numero", "personne.telephones[+33536490012].numero",
    }  # fmt: skip
    assert set(codes(two)) >= {"bad-date", "bad-phone", "number-lost-digits", "unknown-code", "identity-missing"}
    assert two.rejected
    assert all(finding.path.startswith("ligne ") for finding in two.findings)


def test_a_workbook_with_numbers_where_there_was_text(added: Path) -> None:
    whole, cut = open_(
        workbook(
            [771, "NOUGARENT", "Zoé", 32907, float(NIR), "0611223344\n0536490012", "Social", 46037, "Cuisine (G1602)"],
            [772, "ORTHOLIER", "Naël", 31249, 2.850699999999e14, None, "social", None, "Jardinage"],
        )
    )
    facts = whole.personnes[0].facts
    assert codes(whole) == [], "a NIR whose key agrees has lost nothing"
    assert "".join(facts["identifiants[nir].valeur"]) == NIR[:13]
    assert facts["identifiants[si_departement:40].valeur"] == "771"
    assert len([path for path in facts if path.startswith("personne.telephones")]) == 2
    assert facts["projets[departement:40:771].appellation"] == "Cuisine"
    assert codes(cut) == ["number-lost-digits"]
    assert cut.personnes[0].facts["projets[departement:40:772].appellation"] == "Jardinage"


def test_another_title_of_a_column_is_understood_even_under_a_line_of_its_own(added: Path) -> None:
    above = table(["identifiant passage", *TITLES[1:]], ZOE, titles=["Export du 3 novembre", *[""] * 8])
    reading = open_(above)
    assert [(f.code, f.path) for f in reading.envelope.findings] == [("lines-above-headers", "1")]
    (record,) = reading
    assert record.key == "771"
    with pytest.raises(DocumentRefused) as twice:
        open_(table([*ZOE, "9"], titles=[*TITLES, "Identifiant Passage"]))
    assert (twice.value.code, twice.value.path) == ("table-duplicate-header", "N° Dossier")


def test_a_column_reported_and_a_column_missing(added: Path) -> None:
    told = open_(table([*ZOE[:8], "x"], titles=[*TITLES[:8], "Humeur"])).envelope.findings
    assert {(one.code, one.path) for one in told} == {("unread-column", "humeur"), ("absent-column", "Métier visé")}
    with pytest.raises(DocumentRefused) as missing:
        open_(table(ZOE[1:], titles=TITLES[1:]))
    assert (missing.value.code, missing.value.path) == ("missing-header", "N° Dossier")


@pytest.mark.parametrize(
    ("said", "instead", "code"),
    [
        ('required = ["N° Dossier"', 'required = ["N° Dosier"', "unknown-column"),
        ('["Identifiant Passage"]', '["né e le"]', "same-title"),
        ('format = "table"', 'format = "json"', "table-format"),
        ('"rome_last"', '"rome_deviné"', "unknown-type"),
        ("purposes = ", "purpose = ", "mapping-grammar"),
        ("folded    = true", "folded    = true\nprefer    = { sociale = 'Rien' }", "mapping-codes"),
    ],
)
def test_lint_names_the_line_of_a_slip(added: Path, said: str, instead: str, code: str) -> None:
    text = added.read_text(encoding="utf-8")
    assert said in text
    added.write_text(text.replace(said, instead), encoding="utf-8")
    assert code in {one.code for one in lint([added])}


def test_an_unknown_purpose_is_refused_by_name(added: Path) -> None:
    added.write_text(added.read_text("utf-8").replace('["orientation"]', '["marketing"]'), encoding="utf-8")
    forget()
    with pytest.raises(manifest.ManifestError, match="purposes"):
        manifest.installed()


def test_it_cannot_replace_one_of_ours(added: Path) -> None:
    text = added.read_text("utf-8").replace(DOCUMENT, "departement.orientation_csv")
    added.with_name("orientation_csv.v1.toml").write_text(text, encoding="utf-8")
    forget()
    with pytest.raises(manifest.ManifestError, match="mapping-taken"):
        manifest.installed()
