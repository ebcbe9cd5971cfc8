"""Writes `docs/assurance.md`: each numbered check, the tests that carry its number, what their last run gave, when.

python docs/assurance.py RUN.xml…      RUN.xml: the JUnit file of a run; `make test` and `make chaos` leave theirs

A test carries its numbers in its name: `test_o_019_…` is O-19, `test_h_1_2_3_…` is H-1, H-2 and H-3. A test that the
run left out keeps the result and the date it had; one that no longer exists leaves the page.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).with_name("assurance.md")
REMARKS = Path(__file__).with_name("assurance.toml")
SERIES = {
    "O": ("Access", 112, "tokens, proofs of possession, rich authorization, webhooks, message signatures"),
    "H": ("Hostile input", 66, "XML, JSON, tables, archives, HTTP, outgoing calls, meaning"),
    "F": ("Faults", 27, "killed processes, failing disks, networks, clocks, partners and databases"),
}
_NUMBERED = re.compile(r"^(?:async )?def (test_([ohf])_((?:\d+_)+)\w+)\(", re.MULTILINE)
_ROW = re.compile(r"^\| \w-\d+ \| `(?P<test>[^`]+)` \| (?P<result>[^|]+) \| (?P<date>[^|]*) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ran:
    """What the cases of one test gave: `2 passed, 1 skipped (why)`, and the day."""

    result: str = "not run"
    date: str = ""


def numbered() -> dict[str, list[str]]:
    """The tests of each number, as `path::function`."""
    found: dict[str, list[str]] = {
        f"{letter}-{n}": [] for letter, (_, last, _) in SERIES.items() for n in range(1, last + 1)
    }
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, letter, numbers in _NUMBERED.findall(path.read_text(encoding="utf-8")):
            for number in numbers.strip("_").split("_"):
                found[f"{letter.upper()}-{int(number)}"].append(f"{path.relative_to(ROOT)}::{name}")
    return found


def read_back() -> dict[str, Ran]:
    """The results that the page has now, by test."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    return {row["test"]: Ran(row["result"], row["date"]) for row in _ROW.finditer(text)}


def results(runs: Iterable[Path]) -> dict[str, Ran]:
    """The results of these runs, by test; of two runs of one case, the later one counts."""
    suites = [suite for path in runs for suite in etree.parse(path).getroot().iter("testsuite")]
    cases: dict[str, dict[str, etree._Element]] = {}
    dates: dict[str, str] = {}
    for suite in sorted(suites, key=lambda one: one.get("timestamp", "")):
        for case in suite.iter("testcase"):
            name = case.get("name", "")
            test = f"{case.get('classname', '').replace('.', '/')}.py::{name.partition('[')[0]}"
            cases.setdefault(test, {})[name] = case
            dates[test] = suite.get("timestamp", "")[:10]
    return {test: Ran(_told(list(ones.values())), dates[test]) for test, ones in cases.items()}


def _told(cases: list[etree._Element]) -> str:
    outcomes: Counter[str] = Counter()
    for case in cases:
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            outcomes["failed"] += 1
        elif skipped is not None:
            outcomes[f"skipped ({skipped.get('message', '')})".replace("|", "/")] += 1
        else:
            outcomes["passed"] += 1
    seeds = sorted(
        {one.get("value", "") for case in cases for one in case.iter("property") if one.get("name") == "seed"}
    )
    return ", ".join([*(f"{count} {what}" for what, count in outcomes.items()), *(f"seed {seed}" for seed in seeds)])


def page(ran: dict[str, Ran]) -> str:
    """The whole page."""
    return "\n".join([*_head(), *(line for letter in SERIES for line in _series(letter, ran)), ""])


def _head() -> Iterator[str]:
    yield "# Assurance: what was attacked, broken and checked"
    yield ""
    yield "Written by `make assurance` from the runs of `make test` and `make chaos`; a test checks that each number is"
    yield "here with tests that exist. Result: the cases of the test in its last run, by outcome."
    yield ""


def _series(letter: str, ran: dict[str, Ran]) -> Iterator[str]:
    title, last, about = SERIES[letter]
    yield f"## {title}: {letter}-1 to {letter}-{last}"
    yield ""
    yield f"{about[0].upper()}{about[1:]}."
    yield ""
    yield "| no. | test | result | date |"
    yield "|---|---|---|---|"
    remarks = tomllib.loads(REMARKS.read_text(encoding="utf-8"))
    for number, tests in numbered().items():
        if number.startswith(letter):
            for test in tests:
                one = ran.get(test, Ran())
                yield f"| {number} | `{test}` | {one.result} | {one.date} |"
            if not tests:
                yield f"| {number} | none: {remarks[number]} | | |"
    yield ""
    told = [f"- {number}: {remark}" for number, remark in remarks.items() if number.startswith(letter)]
    yield from ["What the tests do not say by themselves:", "", *told, ""] if told else []


if __name__ == "__main__":
    PAGE.write_text(page(read_back() | results(map(Path, sys.argv[1:]))), encoding="utf-8")
