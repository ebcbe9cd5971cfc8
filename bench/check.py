"""Compare the ratios of this machine with the committed reference; a loss of more than 20 % exits with 1.

    python bench/check.py [--results FILE] [--update] [NAME…]

Only ratios that a machine does not decide are compared (product over floor of the same run); times in ms are told in
`docs/performance.md`. A ratio that falls short is measured once more before it is told: a neighbour may have passed.
`--results` reads a file that `report.py --collect` wrote instead of measuring; `--update` writes a new reference.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from _common import machine

FOLDER = Path(__file__).parent
REFERENCE = FOLDER / "reference.json"
LOSS = 0.20
ABSOLUTE = ("_ms", "_s", "_us", "_mb")
"""Ends of the names whose value depends on the machine."""


def measure(name: str) -> dict[str, Any]:
    """The result of one benchmark, as its `--json` gives it."""
    said = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    if "ratios" in found:
        return found
    return {"bench": name, "ratios": {}, "figures": found, "machine": machine()}


def names() -> list[str]:
    return [
        path.stem
        for path in sorted(FOLDER.glob("*.py"))
        if not path.stem.startswith(("_", "capacity", "check", "flame", "report"))
    ]


def ratios(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {key: one for key, one in result["ratios"].items() if not key.endswith(ABSOLUTE)}


def losses(reference: dict[str, Any], result: dict[str, Any]) -> dict[str, str]:
    """The ratios of one benchmark that lost more than `LOSS`, with a sentence each. One no longer measured counts."""
    found = {}
    now = ratios(result)
    for key, before in reference.items():
        if key not in now:
            found[key] = "not measured any more"
            continue
        after = now[key]["measured"]
        worse = before / after if now[key]["more_is_better"] else after / before
        if worse > 1 / (1 - LOSS):
            found[key] = f"{before} in the reference, {after} now"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="benchmarks; those of the reference by default")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--update", action="store_true")
    asked = parser.parse_args()
    given: dict[str, Any] = json.loads(asked.results.read_text()) if asked.results else {}
    if asked.update:
        known = json.loads(REFERENCE.read_text()) if REFERENCE.exists() else {}
        for name in asked.names or names():
            result = given.get(name) or measure(name)
            known[name] = {key: one["measured"] for key, one in ratios(result).items()}
        REFERENCE.write_text(json.dumps({k: v for k, v in sorted(known.items()) if v}, indent=1) + "\n")
        return 0
    reference = json.loads(REFERENCE.read_text())
    failed = 0
    for name in asked.names or sorted(reference):
        lost = losses(reference.get(name, {}), given.get(name) or measure(name))
        if lost and name not in given:
            lost = losses(reference.get(name, {}), measure(name))
        for key, why in lost.items():
            print(f"{name}.{key}: {why}")
        failed += len(lost)
    print(f"{failed} regression(s) of more than {LOSS:.0%}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
