"""A third party's connector: installed as its own distribution, graded by the command line, the tree untouched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "connecteur-externe"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the sample's distribution is installed, and nothing else is changed."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(SAMPLE, folder / "source")
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--no-build-isolation", "--no-index", "--target", str(folder / "site"), str(folder / "source"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    path = os.pathsep.join([str(ROOT), str(folder / "site")])
    return os.environ | {"PYTHONPATH": path, "MAILLON_HOME": str(folder / "home"), "MAILLON_PROFILE": "test"}


def maillon(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *words], env=environment, capture_output=True, text=True, cwd=ROOT
    )


def test_the_sample_is_graded_branche(environment: dict[str, str]) -> None:
    done = maillon(environment, "connector", "check", "mobilite_solidaire")
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["failed"], done.returncode) == ([], 0)
    assert (told["grade"], told["label"], told["no_object"]) == ("branche", "branché", 1), "it pushes nothing"
    assert not list((ROOT / "connectors").glob("mobilite*"))
    assert not list((ROOT / "mappings").glob("mobilite*"))


def test_its_document_becomes_canonical_without_a_line_of_ours(environment: dict[str, str]) -> None:
    sample = SAMPLE / "maillon_mobilite_solidaire" / "fixtures" / "suivi" / "une_personne.json"
    done = maillon(environment, "map", str(sample), "--read", "mobilite_solidaire.suivi")
    assert json.loads(done.stdout)["facts"]["freins[mobilite].valeur"] == "present"


def test_without_the_package_nobody_knows_it() -> None:
    done = maillon(os.environ | {"PYTHONPATH": str(ROOT)}, "connector", "check", "mobilite_solidaire")
    assert done.returncode == 2


def test_new_writes_a_package_and_says_what_comes_next(environment: dict[str, str], tmp_path: Path) -> None:
    words = ["connector", "new", "essai_cli", "--format", "xml", "--package", "--folder", str(tmp_path)]
    done = maillon(environment, *words)
    told = json.loads(done.stdout.splitlines()[-1])
    assert (Path(told["folder"]) / "manifest.toml").is_file()
    assert str(Path(told["folder"], "mappings", "essai_cli", "suivi.v1.toml")) in done.stderr.splitlines()
    assert "maillon connector check essai_cli" in done.stderr
    assert maillon(environment, *words).returncode == 1
    lost = maillon(environment, "connector", "new", "perdu", "--folder", str(tmp_path))
    assert (lost.returncode, f"outside-the-tree: Connectors are found in {ROOT}" in lost.stderr) == (0, True)
    assert "maillon connector check" not in lost.stderr
    assert maillon(environment, "connector", "new", "Pas_Bon").returncode == 2
    assert maillon(environment, "connector", "new", "ccas").returncode == 1
