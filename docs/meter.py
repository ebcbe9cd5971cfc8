"""Writes the two tables of `README.md` that say what nobody types again and what the law keeps back, from the
demonstration. A test compares them.

python docs/meter.py
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from gateway.demo.journey import Journey, opened
from gateway.demo.people import followed
from gateway.meter import Form

README = Path(__file__).parents[1] / "README.md"
MOST = 10
"""Fields named in one row."""
BEGIN, END = "<!-- docs/meter.py -->\n", "<!-- end -->\n"
_NAMES = {"caf": "CAF", "ccas": "CCAS", "ccas_voisin": "another CCAS", "departement": "Département",
          "france_travail": "France Travail"}  # fmt: skip


_WHY = {
    "CT R5312-42-1 II": "a CCAS's word does not reach France Travail through another body",
    "CT R5312-42-1 IV 2°": "France Travail's word goes to a CCAS only when it is her référent by delegation",
    "RGPD 5(1)(c)": "not needed for this purpose",
    "RGPD 9": "health",
    "RGPD 14(3)": "she has not been given the notice yet",
    "RGPD 21": "she objects",
}
"""What each article says here, in a few words. A new one must be put into words before it is published."""
_ID = re.compile(r"\[[^\[\]]*:[^\[\]]*\]")


def table(forms: Sequence[Form]) -> str:
    """Both tables, in Markdown."""
    lines = [
        "| form | for | given by others | kept back by law | may be given | prefilled | of it | from |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for one in forms:
        told = ", ".join(f"{_NAMES[source]} {count}" for source, count in sorted(one.sources.items()))
        kept = sum(fields.total() for fields in one.withheld.values())
        may = one.given - kept
        counts = (one.given, kept, may, one.prefilled, f"{one.prefilled / may:.0%}")
        lines.append(f"| `{one.document}` | {_NAMES[one.recipient]} | {' | '.join(map(str, counts))} | {told} |")
    lines += ["", "| kept back from | fields, and how many times | article | because |", "|---|---|---|---|"]
    for one in forms:
        for article, fields in sorted(one.withheld.items()):
            lines.append(f"| `{one.document}` | {_named(_blocks(fields))} | {article} | {_WHY[article]} |")
    return "\n".join(lines) + "\n"


def _named(blocks: Counter[str]) -> str:
    """The fields kept back most often, then how many others."""
    ranked = sorted(blocks.items(), key=lambda one: (-one[1], one[0]))
    shown, others = (ranked, []) if len(ranked) <= MOST else (ranked[: MOST - 2], ranked[MOST - 2 :])
    named = [f"`{name}` {count}" for name, count in shown]
    if others:
        named.append(f"{len(others)} other fields {sum(count for _, count in others)}")
    return ", ".join(named)


def _blocks(fields: Counter[str]) -> Counter[str]:
    """Fields by their name, those of an item of a list under the item (`freins[logement]`, `contrats[]`)."""
    blocks: Counter[str] = Counter()
    for name, count in fields.items():
        start, bracket, _ = _ID.sub("[]", name).partition("]")
        blocks[start + bracket] += count
    return blocks


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
