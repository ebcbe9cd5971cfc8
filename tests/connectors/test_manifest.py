"""A connector's own files: what they must say, and what is refused."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from connectors import manifest
from connectors.manifest import CRITERIA, ManifestError, installed, load, load_quality

MANIFEST = """
id = "maison_des_aidants"
name = "Maison des aidants"
role = "ccas"
transport = "file"
source = "format propre, version 1"

[[document]]
id = "maison_des_aidants.suivi"
title = "Suivi"
direction = "read"
format = "csv"
content_type = "text/csv"
max_bytes = 1000

[[setting]]
name = "cle"
description = "Clé d'accès"
secret = true
required = true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "maillon_aidants"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "manifest.toml").write_text(MANIFEST)
    (package / "connector.py").write_text("def create(settings):\n    return ('created', dict(settings))\n")
    return package


def rewritten(folder: Path, old: str, new: str) -> Path:
    text = (folder / "manifest.toml").read_text()
    assert old in text
    (folder / "manifest.toml").write_text(text.replace(old, new))
    return folder


def test_a_manifest_says_what_the_partner_speaks(folder: Path) -> None:
    read = load(folder)
    assert read.ids("read") == {"maison_des_aidants.suivi"}
    assert read.ids("write") == frozenset()
    assert read.documents["maison_des_aidants.suivi"].content_type == ("text/csv",)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('role = "ccas"', 'role = "police"', "role"),
        ('direction = "read"', 'direction = "steal"', "document.0.direction.0"),
        ("max_bytes = 1000", "max_bytes = 0", "document.0.max_bytes"),
        ('transport = "file"', 'transport = "file"\ncouleur = "bleu"', "couleur"),
        ("secret = true", 'secret = true\ndefault = "1234"', "file"),
        ('id = "maison_des_aidants"', "id = ", "toml"),
    ],
    ids=["unknown-role", "unknown-direction", "no-size", "unknown-key", "secret-with-a-default", "not-toml"],
)
def test_a_wrong_manifest_is_refused_where_it_is_wrong(folder: Path, old: str, new: str, where: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load(rewritten(folder, old, new))
    assert where in [place for place, _ in caught.value.problems]


def test_settings_name_what_is_missing_and_never_show_a_value(folder: Path) -> None:
    read = load(folder)
    with pytest.raises(ManifestError) as caught:
        read.configure({"clef": "s3cr3t"})
    assert caught.value.problems == [("clef", "unknown setting"), ("cle", "required setting")]
    assert "s3cr3t" not in str(caught.value)
    settings = read.configure({"cle": "s3cr3t"})
    assert settings["cle"] == "s3cr3t"
    assert "s3cr3t" not in f"{settings} {settings!r}"


def test_the_grade_is_what_the_evidence_holds(tmp_path: Path) -> None:
    rows = [f'{name} = {{ evidence = "x" }}' for criteria in CRITERIA.values() for name in criteria]
    quality = tmp_path / "quality.toml"
    quality.write_text("[criteria]\n" + "\n".join(rows))
    assert load_quality(tmp_path).grade == "exemplaire"
    quality.write_text(quality.read_text().replace('pannes = { evidence = "x" }', 'pannes = { missing = "x" }'))
    assert load_quality(tmp_path).grade == "branche"
    quality.write_text("[criteria]\n" + "\n".join(rows[1:]))
    with pytest.raises(ManifestError, match="criteria without a word: manifeste"):
        load_quality(tmp_path)


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch, folder: Path):
    def announce(module: str) -> None:
        monkeypatch.syspath_prepend(str(folder.parent))
        point = EntryPoint(name="aidants", value=module, group=manifest.GROUP)
        monkeypatch.setattr(manifest, "entry_points", lambda group: [point] if group == manifest.GROUP else [])
        installed.cache_clear()

    yield announce
    installed.cache_clear()
    for name in [name for name in sys.modules if name.startswith("maillon_aidants")]:
        del sys.modules[name]


def test_a_connector_of_others_is_found_and_created_with_its_settings(announced) -> None:
    announced("maillon_aidants")
    found = installed()["maison_des_aidants"]
    assert found.create({"cle": "1"}) == ("created", {"cle": "1"})
    assert found.sandbox is None


def test_a_connector_of_others_never_takes_the_place_of_ours(announced, folder: Path) -> None:
    rewritten(folder, 'id = "maison_des_aidants"', 'id = "france_travail"')
    announced("maillon_aidants")
    with pytest.raises(ManifestError, match="taken by another connector"):
        installed()
