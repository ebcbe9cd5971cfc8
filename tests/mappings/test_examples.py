"""Every example of every mapping file of the tree."""

from __future__ import annotations

import pytest

from mappings import all_mappings
from mappings.engine import Mapping
from mappings.examples import run
from mappings.grammar import Example

EXAMPLES = [
    pytest.param(mapping, example, id=f"{mapping.id} v{mapping.version}: {example.name}")
    for mapping in all_mappings()
    for example in mapping.file.example
]


@pytest.mark.parametrize(("mapping", "example"), EXAMPLES)
def test_the_mapping_does_what_its_example_says(mapping: Mapping, example: Example) -> None:
    assert run(mapping, example) == []
