"""`maillon lint` on what an engineer has just broken: a line and a code, never a traceback."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from connectors.kit import scaffold
from gateway import cli
from gateway.lint import lint
from gateway.problems import Misnamed

ROOT = Path(__file__).parents[2]
CONVENTION = ROOT / "gateway" / "demo" / "convention.toml"


def maillon(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command as it is run, with a mapping of this installation's own."""
    values = {**os.environ, "MAILLON_MAPPINGS": str(folder), "MAILLON_HOME": str(folder / "var")}
    command = [sys.executable, "-m", "gateway", *words]
    return subprocess.run(command, env=values, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_broken_mapping_of_this_installation_is_one_line_for_every_command(tmp_path: Path) -> None:
    broken = tmp_path / "essai" / "suivi.v1.toml"
    broken.parent.mkdir()
    broken.write_text('id = "essai.suivi"\nversion = 1\ntitle = "Essai\n', encoding="utf-8")
    linted = maillon(tmp_path, "lint")
    assert linted.returncode == 1
    assert linted.stdout.startswith(f"{broken}:3: mapping-toml ")
    assert len(linted.stdout.splitlines()) == 1
    mapped = maillon(tmp_path, "explain", "essai.suivi")
    assert mapped.returncode == 1
    assert mapped.stderr.startswith("mapping-toml: essai/suivi.v1.toml: ")
    assert "maillon lint" in mapped.stderr
    for one in (linted, mapped):
        assert "Traceback" not in one.stderr


@pytest.fixture
def connector(tmp_path: Path) -> Path:
    scaffold.write(scaffold.Choices("essai", "Essai"), tmp_path)
    return tmp_path / "connectors" / "essai"


@pytest.mark.parametrize(
    ("name", "before", "after", "told"),
    [
        ("manifest.toml", 'role      = "ccas"', 'role      = "plie"', "3: manifest role: "),
        ("manifest.toml", "max_bytes    = 1048576", "max_bytes    = 1 Mo", "26: manifest toml: "),
        (
            "manifest.toml",
            'content_type = "application/json"\nmax_bytes    = 104',
            "max_bytes    = 104",
            "18: manifest ",
        ),
        (
            "quality.toml",
            "rejeu  ",
            "rejeux ",
            "13: manifest criteria.rejeux: no criterion has this name; is it rejeu?",
        ),
        ("quality.toml", "rejeu  ", "# rejeu ", "4: manifest criteria: criteria without a word: rejeu"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_told_at_its_line(
    connector: Path, name: str, before: str, after: str, told: str
) -> None:
    file = connector / name
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after, 1), encoding="utf-8")
    found = lint([file])
    assert found[0].startswith(f"{file}:{told}")


def test_a_mapping_that_a_manifest_names_and_nobody_wrote_is_told_at_its_line(connector: Path) -> None:
    file = connector / "manifest.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('mapping      = "essai.suivi"', 'mapping      = "ccas.suivis"'), encoding="utf-8")
    (first, *_) = lint([file])
    assert first == f"{file}:12: mapping-unknown no mapping is ccas.suivis; is it ccas.suivi?"


def test_each_file_named_is_read_as_what_it_is(tmp_path: Path) -> None:
    convention = tmp_path / "convention.toml"
    convention.write_text(CONVENTION.read_text(encoding="utf-8").replace("2028-12-31", '"toujours"'), encoding="utf-8")
    policy = tmp_path / "decision.v1.toml"
    policy.write_text('[[rule]]\nid = "D01"\n', encoding="utf-8")
    assert {one.partition(": ")[2].split()[0].partition("-")[0] for one in lint([convention, policy])} == {
        "convention",
        "policy",
    }
    assert lint([CONVENTION, ROOT / "connectors" / "ccas", ROOT / "mappings" / "ccas"]) == []


def test_data_beside_what_is_linted_is_no_mapping_that_fails(tmp_path: Path) -> None:
    assert lint([ROOT / "gateway", ROOT / "mappings", ROOT / "docs", ROOT / "connectors"]) == []
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "a.v1.toml").write_text("id =")
    with pytest.raises(Misnamed, match="lint-nothing"):
        lint([tmp_path])
    (tmp_path / "half.toml").write_text("id =")
    assert [one.partition(": ")[2].partition(" ")[0] for one in lint([tmp_path])] == ["mapping-toml"]


def test_a_failure_of_the_contract_is_told_whole_with_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """`freins[mobilite].valeur` is told with its key, on one line of its own, whatever the width of the terminal."""
    from connectors.kit.cases import Result
    from gateway.commands import kit

    problem = "une_personne.faits.json:3: person 1: freins[mobilite].valeur is 'present' instead of 'absent'"
    failed = Result("exemples", "chaque exemple dit vrai", "manifeste", "failed", (problem,))
    case = type("Case", (), {"run": lambda self: failed})()
    monkeypatch.setattr(kit, "suite", lambda id: [case])
    monkeypatch.setattr("gateway.commands.kit_exchange.suite", lambda id: [])
    asked = CliRunner().invoke(cli.application(), ["connector", "check", "ccas"])
    assert asked.exit_code == 1
    assert f"exemples: {problem}" in asked.output.splitlines()


def test_a_package_is_linted_where_it_lies_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `pyproject.toml` is no mapping of ours, and its manifest may name the mappings beside it."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    assert lint([Path("examples")]) == []
    manifest = tmp_path / "examples/connecteur-externe/maillon_mobilite_solidaire/manifest.toml"
    manifest.write_text(manifest.read_text("utf-8").replace("mobilite_solidaire.suivi", "mobilite_solidaire.autre"))
    assert [one.partition(": ")[2].partition(" ")[0] for one in lint([Path("examples")])] == ["mapping-unknown"]


def test_a_lint_that_passes_says_that_no_element_of_the_caisses_files_is_forgotten() -> None:
    told = CliRunner().invoke(cli.application(), ["lint"])
    assert (told.exit_code, told.stdout) == (0, "")
    assert re.findall(r"(.+): (\d+) elements mapped and (\d+) declared not shared, of (\d+)", told.stderr) == [
        ("caf.flux_beneficiaire", "66", "136", "202"),
        ("caf.instruction", "47", "86", "133"),
    ]
