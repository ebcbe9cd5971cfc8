"""One word, one thing: the glossary covers the words of the models, and no other; the exported schemas are current."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import schemas
from schemas import export
from schemas.paths import FIELDS

FOLDER = Path(schemas.__file__).parent
MODULES = ("accord", "annuaire", "convention", "diagnostic", "dossier", "foyer", "fse", "parcours", "personne")
FORBIDDEN_WORDS = {"sync", "process", "handle", "manager", "helper", "utils"}


def _models() -> Iterator[type[BaseModel]]:
    for name in MODULES:
        module = importlib.import_module(f"schemas.{name}")
        for member in vars(module).values():
            if inspect.isclass(member) and issubclass(member, BaseModel) and member.__module__ == module.__name__:
                yield member


def _words_of_the_models() -> set[str]:
    words: set[str] = set()
    for model in _models():
        words |= {word.lower() for word in re.findall(r"[A-Z][a-z]*|\d+", model.__name__)}
        words |= {word for field in model.model_fields for word in field.split("_")}
    return words


@pytest.fixture(scope="module")
def glossary() -> str:
    return (FOLDER / "GLOSSARY.md").read_text(encoding="utf-8")


def _rows(glossary: str) -> list[list[str]]:
    lines = [line for line in glossary.splitlines() if line.startswith("| ") and not line.startswith("| terme")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_chaque_mot_des_modeles_est_au_glossaire_et_rien_de_plus(glossary: str) -> None:
    entries = {word for row in _rows(glossary) for word in row[1].split()}
    plain = set(glossary.partition("Employés avec leur sens ordinaire.")[2].split())
    words = _words_of_the_models()
    assert words - entries - plain == set(), "words of the models that the glossary does not say"
    assert (entries | plain) - words == set(), "words of the glossary that no model uses"
    assert entries & plain == set()


def test_chaque_entree_est_complete(glossary: str) -> None:
    for row in _rows(glossary):
        assert len(row) == 5, row
        assert all(row), row
        where = row[4]
        assert where in MODULES or any(path.startswith(where) for path in FIELDS), row


def test_les_modeles_n_emploient_pas_de_mots_vides() -> None:
    assert _words_of_the_models() & FORBIDDEN_WORDS == set()
    for model in _models():
        for field in model.model_fields:
            assert field.isascii()
            assert re.fullmatch(r"[a-z][a-z0-9_]*", field), field


@pytest.mark.parametrize("name", export.MODELS)
def test_le_schema_json_exporte_est_a_jour(name: str) -> None:
    stored = (FOLDER / "json" / f"{name}.json").read_text(encoding="utf-8")
    assert stored == export.text(name), "run: python -m schemas.export"
    assert json.loads(stored)["$id"] == f"urn:maillon:schema:{name}"


def test_aucun_schema_json_n_est_de_trop() -> None:
    assert {path.stem for path in (FOLDER / "json").glob("*.json")} == set(export.MODELS)


def test_exporter_ecrit_ce_qui_manque_et_retire_ce_qui_est_de_trop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "FOLDER", tmp_path / "json")
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "ancien.json").write_text("{}", encoding="utf-8")
    assert export.main() == 0
    assert {path.stem for path in (tmp_path / "json").glob("*.json")} == set(export.MODELS)
