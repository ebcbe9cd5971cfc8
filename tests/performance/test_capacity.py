"""The capacity plan is what its simulation says of the costs measured last; the simulation answers to its inputs."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def capacity() -> Any:
    spec = importlib.util.spec_from_file_location("bench_capacity", ROOT / "bench" / "capacity.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_page_is_written_from_the_results_that_are_here(capacity: Any) -> None:
    results = json.loads((ROOT / "bench" / "results.json").read_text())
    assert capacity.page(results) == (ROOT / "docs" / "capacity.md").read_text(), (
        "run `python bench/capacity.py --write`: the costs or the model have changed"
    )


@pytest.fixture
def cost(capacity: Any) -> Any:
    return capacity.Cost(new=0.004, new_server=0.001, unchanged=0.0002, unchanged_server=0.0001,
                         delivery=0.003, delivery_server=0.0005)  # fmt: skip


def test_a_night_takes_what_its_work_takes(capacity: Any, cost: Any) -> None:
    """Alone on a core, a file takes its households times their cost; the partners' pace then holds the deliveries."""
    night = capacity.simulate(capacity.ONE, cost)
    assert night.taken * 3600 == pytest.approx(19_000 * 0.004, abs=2 * capacity.STEP)
    pace = capacity.ONE.concurrent / capacity.ONE.latency
    assert night.delivered * 3600 == pytest.approx(2 * 19_000 / pace, rel=0.05)
    assert night.limit == "partners' pace"


def test_what_helps_is_what_was_short(capacity: Any, cost: Any) -> None:
    month = replace(capacity.HUNDRED, changed=0.3)
    alone = capacity.simulate(month, cost)
    assert alone.limit == "gateway cores"
    assert capacity.simulate(replace(month, machines=4), cost).delivered == pytest.approx(alone.delivered / 4, rel=0.1)
    slow = replace(month, rate=5.0)
    assert capacity.simulate(replace(slow, machines=8), cost).delivered == pytest.approx(
        capacity.simulate(replace(slow, machines=4), cost).delivered, rel=0.05
    ), "no machine makes a partner accept more"
    starved = replace(cost, new_server=0.05)
    assert capacity.simulate(replace(month, machines=8), starved).limit == "database cores"


def test_no_household_of_the_hundred_is_forgotten(capacity: Any) -> None:
    assert sum(capacity.sizes(1_900_000, 100)) == pytest.approx(1_900_000)
