"""Writes the table of `README.md` that says what nobody types again, from the demonstration. A test compares it.

python docs/meter.py
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from gateway.demo.journey import Journey, opened
from gateway.demo.people import followed
from gateway.meter import Form

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- docs/meter.py -->\n", "<!-- end -->\n"
_NAMES = {"caf": "CAF", "ccas": "CCAS", "ccas_voisin": "another CCAS", "departement": "Département",
          "france_travail": "France Travail"}  # fmt: skip


def table(forms: Sequence[Form]) -> str:
    """The table, in Markdown."""
    lines = [
        "| form | for | fields | given by others | kept back by law | prefilled | of what may be given | from |",
        "|---|---|--:|--:|---|--:|--:|---|",
    ]
    for one in forms:
        kept = "; ".join(f"{count} ({article})" for article, count in sorted(one.withheld.items())) or "–"
        told = ", ".join(f"{_NAMES[source]} {count}" for source, count in sorted(one.sources.items()))
        share = one.prefilled / (one.prefilled + one.missed)
        cells = (f"`{one.document}`", _NAMES[one.recipient], one.fields, one.given, kept, one.prefilled, f"{share:.0%}")
        lines.append(f"| {' | '.join(map(str, cells))} | {told} |")
    return "\n".join(lines) + "\n"


def shown() -> str:
    """The table as README has it."""
    return README.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as on:
        told = Journey(on, Console(file=io.StringIO()), Path(folder), followed()).play()
    text = README.read_text(encoding="utf-8")
    README.write_text(text.replace(BEGIN + shown() + END, BEGIN + table(told.meter) + END), encoding="utf-8")
    for problem in told.problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if told.problems else 0


if __name__ == "__main__":
    sys.exit(main())
