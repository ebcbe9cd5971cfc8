"""Our table of the catalogue's fields, held against the JSON Schemas that data·inclusion publishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connectors.data_inclusion.champs import schema
from connectors.kit import Catalogue
from connectors.manifest import installed

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "samples" / "data_inclusion" / "v1"
ENTRIES = installed()["data_inclusion"].folder / "fixtures"
VALUES: tuple[Any, ...] = (
    None, "", "x", "abc", "abcde", "40088", "2A004", "040", "40", "200069417", "99100", "france", "2026-11-01", "hier",
    "a@exemple.invalid", "https://exemple.invalid/x", "gratuit", "usagers", "12345678901234", "y" * 151, "z" * 10_001,
    0, 1, -1, 1.5, True, [], ["x"], ["france"], ["40088", "999"], ["usagers"], ["usagers", "usagers"], ["inconnu"],
    ["a-distance"], ["telephoner"], ["aci"], {},
)  # fmt: skip
"""What a field may be sent: right for some, wrong for others."""


def published(objet: str) -> dict[str, Any]:
    file = PUBLISHED / f"{objet}.json"
    if not file.exists():
        pytest.skip(f"needs {file.name} in the shared samples")
    told: dict[str, Any] = json.loads(file.read_bytes())
    return told


@pytest.mark.parametrize(("objet", "name"), [("structure", "structures/deux_structures"),
                                             ("service", "services/deux_services")])  # fmt: skip
def test_every_field_takes_and_refuses_what_the_publisher_says(objet: str, name: str, tmp_path: Path) -> None:
    theirs, ours = published(objet), schema(objet)
    assert ours["properties"].keys() == theirs["properties"].keys()
    assert sorted(ours["required"]) == sorted(theirs["required"])
    right = json.loads((ENTRIES / f"{name}.json").read_bytes())[0]
    here, there = Catalogue(tmp_path / "ours.json", ours), Catalogue(tmp_path / "theirs.json", theirs)
    assert here.findings(right) == there.findings(right) == []
    for field in theirs["properties"]:
        assert told(here, {k: v for k, v in right.items() if k != field}) == told(
            there, {k: v for k, v in right.items() if k != field}
        )
        for value in VALUES:
            sent = right | {field: value}
            assert told(here, sent) == told(there, sent), (field, value)


def told(catalogue: Catalogue, entry: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one.code, one.path.partition(".")[0]) for one in catalogue.findings(entry)}


@pytest.mark.parametrize("objet", ["structure", "service"])
def test_every_code_of_the_publisher_is_ours(objet: str) -> None:
    theirs = {name: set(one["enum"]) for name, one in published(objet)["$defs"].items()}
    ours = [set(one["enum"]) for one in _enums(schema(objet))]
    assert sorted(map(sorted, theirs.values())) == sorted(map(sorted, ours))


def _enums(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for one in node for found in _enums(one)]
    if not isinstance(node, dict):
        return []
    return [node] if "enum" in node else [found for one in node.values() for found in _enums(one)]
