"""Each benchmark runs to its end, on sizes that measure nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
SMALL = {
    "accept": ["--exchanges", "64"],
    "console": ["--exchanges", "200"],
    "delivery": ["--deliveries", "60"],
    "growth": ["--sizes", "50,100"],
    "history": ["--rows", "2000"],
    "ingest": ["--foyers", "100", "--rounds", "1"],
    "journal": ["--entries", "1000", "--rounds", "1"],
    "mapping": ["--rounds", "1"],
    "memory": ["--foyers", "50"],
    "read": ["--foyers", "60", "--rounds", "1"],
    "sizing": ["--foyers", "50", "--deliveries", "50"],
    "soak": ["--seconds", "4"],
}


def test_every_benchmark_of_the_reference_is_here() -> None:
    assert json.loads((BENCH / "reference.json").read_text()).keys() <= SMALL.keys()


@pytest.mark.chaos
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs_to_its_end(name: str) -> None:
    done = subprocess.run(
        [sys.executable, f"{name}.py", *SMALL[name], "--json"], cwd=BENCH, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["bench"] == name
    assert told["figures"]
