"""Memory over a large file: the peak of a process that takes it durably, for two sizes, beside the size of the file.

    python bench/memory.py [--foyers N] [--full] [--json]

Each size is taken by a process of its own (`ingest` of a synthetic CAF file on SQLite). What must not grow is the peak.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import _common

from connectors.caf.generator import write_file
from gateway.ingest import ingest

CODE = "import sys; sys.path.insert(0, sys.argv[1]); import memory; memory.take(int(sys.argv[2]))"


def take(foyers: int) -> None:
    """Take a file of this size and print the peak in kB before and after, and the bytes of the file."""
    with tempfile.TemporaryDirectory() as folder, _common.opened() as gateway:
        small, path = Path(folder) / "small.xml", Path(folder) / "flux.xml"
        write_file(small, 20, seed=99, mois="2026-08")
        write_file(path, foyers)
        ingest(gateway, small, "caf", "caf.flux_beneficiaire")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ingest(gateway, path, "caf", "caf.flux_beneficiaire")
        print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, path.stat().st_size)


def peak(foyers: int) -> tuple[float, float, float]:
    command = [sys.executable, "-c", CODE, str(Path(__file__).parent), str(foyers)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after, size = map(int, said.stdout.split()[-3:])
    return before / 1024, after / 1024, size / 2**20


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    large = 40 * asked.foyers if asked.full else 5 * asked.foyers
    base, small, small_mb = peak(asked.foyers)
    _, big, big_mb = peak(large)
    return _common.told(
        "memory",
        {"growth": (big / small, 1.25, False)},
        {
            "idle_mb": base,
            "small_file_mb": small_mb,
            "small_peak_mb": small,
            "large_file_mb": big_mb,
            "large_peak_mb": big,
        },
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--foyers", type=int, default=600)


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
