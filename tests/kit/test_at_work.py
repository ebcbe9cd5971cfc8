"""What an engineer leans on while writing a mapping: failures with their line, fixtures, a preview that follows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import typer
import typer.core
from typer.testing import CliRunner

import mappings
from gateway import cli, preview
from gateway.commands import output
from mappings import examples

DOCUMENT = "caf.flux_beneficiaire"


def _copied(tmp_path: Path, document: str) -> mappings.Mapping:
    """A mapping with its examples, in a folder where they may be broken."""
    source = mappings.load(document).path
    shutil.copytree(source.parent / "examples", tmp_path / "examples")
    shutil.copy(source, tmp_path / source.name)
    return mappings.compile_file(tmp_path / source.name)


def _problems(mapping: mappings.Mapping) -> list[str]:
    return [told for one in mapping.file.example for told in examples.run(mapping, one)]


def _break(path: Path, wanted: str) -> int:
    """Change one line of a file; its number."""
    lines = path.read_text("utf-8").splitlines()
    number = next(rank for rank, line in enumerate(lines) if wanted in line)
    key, _, value = lines[number].partition(wanted)
    lines[number] = f"{key}{wanted.replace(wanted[-3:], 'ZZZ')}{value}"
    path.write_text("\n".join(lines), "utf-8")
    return number + 1


def test_a_fact_that_differs_is_told_with_its_line(tmp_path: Path) -> None:
    mapping = _copied(tmp_path, DOCUMENT)
    assert _problems(mapping) == []
    path = next(tmp_path / str(one.canonical) for one in mapping.file.example if one.canonical)
    told = json.loads(path.read_text("utf-8"))
    name = json.dumps((told.get("personnes") or [told])[0]["personne.nom_naissance"])
    line = _break(path, f'"personne.nom_naissance": {name[:-1]}')
    assert any(one.startswith(f"{path.name}:{line}: ") for one in _problems(mapping))


@pytest.mark.parametrize("document", ["departement.ali_webrsa", "france_travail.calcul_orientation"])
def test_what_is_written_otherwise_is_told_with_its_line(tmp_path: Path, document: str) -> None:
    mapping = _copied(tmp_path, document)
    assert _problems(mapping) == []
    example = next(one for one in mapping.file.example if one.partner and one.canonical and not one.errors)
    path = tmp_path / str(example.partner)
    form = mapping.file.partner.format
    lines = path.read_text("utf-8").splitlines()
    marks = ("</", ">") if form == "xml" else ('": "', '"')
    number = next(rank for rank, line in enumerate(lines) if marks[0] in line and not line.strip().startswith("</"))
    at = lines[number].rindex(marks[0]) + (0 if form == "xml" else len(marks[0]))
    lines[number] = lines[number][:at] + "AUTRE" + lines[number][at:]
    path.write_text("\n".join(lines), "utf-8")
    assert any(one.startswith(f"{path.name}:{number + 1}: ") for one in examples.run(mapping, example))


def test_a_refusal_is_told_as_it_is_brackets_included(capsys: pytest.CaptureFixture[str]) -> None:
    output.told("convention-invalid", "partie.0.id: String should match pattern '^[a-z][a-z0-9]$' [/record]")
    assert "'^[a-z][a-z0-9]$' [/record]" in capsys.readouterr().err


def test_a_preview_follows_the_files(tmp_path: Path) -> None:
    followed = tmp_path / "a.toml"
    followed.write_text("1")
    seen = preview.changes([followed], pause=0.01)
    assert next(seen) is None
    threading.Timer(0.05, os.utime, (followed, (1, 1))).start()
    assert next(seen) == followed


def test_fixtures_are_read_again_and_unknown_ones_named() -> None:
    run = CliRunner().invoke(cli.app, ["replay-fixture", "caf", "aucune"])
    assert run.exit_code == 2
    assert "fixture-unknown" in run.stderr
    assert CliRunner().invoke(cli.app, ["replay-fixture", "aucun"]).exit_code == 2


def test_a_mapping_that_was_edited_is_compiled_again() -> None:
    before = mappings.load(DOCUMENT)
    assert mappings.load(DOCUMENT) is before
    mappings.forget()
    assert mappings.load(DOCUMENT) is not before


def test_a_command_that_is_named_imports_no_other_family() -> None:
    code = "import sys; from gateway import cli; cli.application('run'); print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    others = {f"gateway.commands.{name}" for name in cli.FAMILIES} - {"gateway.commands.run"}
    others |= {"alembic", "aiohttp", "psycopg", "sqlalchemy.dialects.postgresql", "openpyxl", "pygal", "markdown_it"}
    assert loaded.isdisjoint(others)


@pytest.mark.parametrize("family", cli.FAMILIES)
def test_a_family_answers_to_the_words_that_lead_to_it(family: str) -> None:
    known = typer.main.get_command(cli.application(family))
    assert isinstance(known, typer.core.TyperGroup)
    assert set(known.commands) == set(cli.FAMILIES[family])
