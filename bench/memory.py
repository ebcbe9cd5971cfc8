"""Memory over a large file: the command `maillon ingest`, watched from outside while it takes the file durably.

    python bench/memory.py [--foyers N] [--full] [--json]

The same command takes a file of twenty households, then the large one, each in a process of its own on a new SQLite
base under the demonstration's convention. `above_start_mb` is the peak of the second (VmHWM) over that of the first,
where all is loaded and open. The large file has 3,000 households, or 200 MB with `--full`: a peak that grew with the
file would show; `--foyers 345000` writes 2 GB. Its speed is told beside the floor of the same file,
`lxml.iterparse(tag=…)` that clears each record and keeps nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _common
from read import floor

from connectors.caf.generator import write_file

TARGET_MB = 100
BYTES_PER_FOYER = 6_230
FULL = 200 * 2**20 // BYTES_PER_FOYER


def watched(path: Path, home: Path) -> tuple[float, float, dict[str, Any]]:
    """Run the command on this file: peak in MB, CPU seconds, and the counts it prints."""
    maillon = [sys.executable, "-m", "gateway"]
    settings = {"MAILLON_HOME": str(home), "MAILLON_PROFILE": "test", "MAILLON_DEPARTEMENT": "040"}
    env = os.environ | settings
    agreed = [*maillon, "convention", "add", str(_common.CONVENTION)]
    subprocess.run(agreed, cwd=_common.ROOT, env=env, check=True, capture_output=True)
    command = [*maillon, "ingest", str(path), "--from", "caf", "--no-progress"]
    before, peak = os.times(), 0
    with subprocess.Popen(command, cwd=_common.ROOT, env=env, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            peak = max(peak, _high_water(process.pid))
            time.sleep(0.02)
        said = process.stdout.read() if process.stdout else b""
    if process.returncode:
        raise SystemExit(f"maillon ingest ended with {process.returncode}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return peak / 1024, cpu, json.loads(said.splitlines()[-1])


def _high_water(pid: int) -> int:
    """Peak resident size of a living process so far, in kB; 0 once it has ended."""
    lines = _common.lines_of(f"/proc/{pid}/status")
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    foyers = FULL if asked.full else asked.foyers
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.xml", Path(folder) / "large.xml"
        write_file(small, 20, seed=99)
        write_file(large, foyers)
        start, _, _ = watched(small, Path(folder) / "start")
        peak, cpu, counts = watched(large, Path(folder) / "large")
        least, _, _ = _common.cpu_and_wall(lambda: floor(large))
        megabytes = large.stat().st_size / 2**20
    if counts["accepted"] < foyers * 0.95:
        raise SystemExit(f"{counts['accepted']} records of {foyers} were accepted")
    return _common.told(
        "memory",
        {"above_start_mb": (peak - start, TARGET_MB, False)},
        {
            "file_mb": megabytes,
            "start_mb": start,
            "peak_mb": peak,
            "records": counts["records"],
            "records_per_cpu_second": counts["records"] / cpu,
            "records_per_second": counts["records"] / counts["seconds"],
            "floor_records_per_cpu_second": foyers / least,
        },
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--foyers", type=int, default=3000)


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
