"""Capacity plan by simulation: writes `docs/capacity.md` from the measured costs in `bench/results.json` (`sizing`).

    python bench/capacity.py [--write]

A night of monthly files, and a day of deltas, for one Département and for a hundred, as a fluid queue in steps of ten
seconds. A file is taken by one process, on one core; its server shares the database's cores; what changed becomes
deliveries, which wait for the workers' cores, for the partner's pace and for its latency. What is assumed is a table of
the page, what is measured another: nothing else enters.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[1] / "docs" / "capacity.md"
STEP = 10.0
"""Seconds of one step."""
LONGEST = 72 * 3600.0


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of one household or delivery: of the gateway's process, and of the database server."""

    new: float
    new_server: float
    unchanged: float
    unchanged_server: float
    delivery: float
    delivery_server: float

    @classmethod
    def measured(cls, figures: dict[str, Any]) -> Cost:
        names = ("household", "household_server", "unchanged", "unchanged_server", "delivery", "delivery_server")
        return cls(*(figures[f"postgresql_{name}_us"] / 1e6 for name in names))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is assumed: of the files, of the partners, and of the machines."""

    households: int
    departements: int
    machines: int
    cores: int = 4
    database_cores: int = 8
    changed: float = 1.0
    """Share of the households of a file that say something new; the others are recognised by their bytes."""
    deliveries: float = 2.0
    """Deliveries that one changed household causes."""
    arrival_hours: float = 0.0
    """Files arrive evenly over this long; 0: all at once, which is the worst."""
    concurrent: int = 10
    """Deliveries in flight from one worker process to one body (the product's default)."""
    latency: float = 0.3
    """Seconds that a partner takes to answer."""
    rate: float = 0.0
    """Deliveries each second that all partners together accept for one Département; 0: as many as come."""


@dataclass(slots=True)
class _File:
    starts: float
    left: float
    waiting: float = 0.0
    """Deliveries promised and not made."""


@dataclass(frozen=True, slots=True)
class Night:
    taken: float
    """Hours until the last household is durable."""
    delivered: float
    """Hours until the last delivery is made."""
    busy: dict[str, float] = field(default_factory=dict)
    """Part of each resource used until then."""

    @property
    def limit(self) -> str:
        return max(self.busy, key=lambda name: self.busy[name])


def sizes(households: int, departements: int) -> list[float]:
    """Départements differ in size: drawn log-normally with a fixed seed, the whole being what is asked."""
    draw = random.Random(1)
    weights = [draw.lognormvariate(0, 0.6) for _ in range(departements)]
    return [households * weight / sum(weights) for weight in weights]


def simulate(plan: Plan, cost: Cost) -> Night:
    drawn = sizes(plan.households, plan.departements)
    files = [_File(rank * plan.arrival_hours * 3600 / len(drawn), size) for rank, size in enumerate(drawn)]
    cores, server = float(plan.machines * plan.cores), float(plan.database_cores)
    new, new_server = _mixed(plan, cost.new, cost.unchanged), _mixed(plan, cost.new_server, cost.unchanged_server)
    reach = plan.machines * plan.concurrent / plan.latency
    """Deliveries each second that latency allows to one Département, which has one worker on each machine."""
    now, taken, used = 0.0, 0.0, dict.fromkeys(("gateway cores", "database cores", "partners' pace"), 0.0)
    while any(one.left > 0 or one.waiting > 0 for one in files):
        if now > LONGEST:
            return Night(float("inf"), float("inf"), {name: spent / now for name, spent in used.items()})
        core_left, server_left = cores * STEP, server * STEP
        active = [one for one in files if one.starts <= now and one.left > 0]
        for rank, one in enumerate(active):
            share = min(STEP, core_left / (len(active) - rank))
            served = server_left / (len(active) - rank)
            done = min(one.left, share / new, served / new_server)
            one.left -= done
            one.waiting += done * plan.changed * plan.deliveries
            core_left, server_left = core_left - done * new, server_left - done * new_server
        waiting = [one for one in files if one.waiting > 0]
        pace = min(reach, plan.rate) if plan.rate else reach
        for rank, one in enumerate(waiting):
            part = len(waiting) - rank
            allowed = min(one.waiting, pace * STEP)
            done = min(allowed, core_left / part / cost.delivery, server_left / part / cost.delivery_server)
            one.waiting = one.waiting - done if one.waiting - done > 1e-6 else 0.0
            core_left, server_left = core_left - done * cost.delivery, server_left - done * cost.delivery_server
        held_back = sum(one.waiting > pace * STEP for one in waiting)
        used["gateway cores"] += STEP * (1 - core_left / (cores * STEP))
        used["database cores"] += STEP * (1 - server_left / (server * STEP))
        used["partners' pace"] += STEP * (held_back / len(waiting) if waiting and core_left > 1e-6 else 0.0)
        now += STEP
        if any(one.left > 0 for one in files):
            taken = now
    return Night((taken + STEP) / 3600, now / 3600, {name: spent / now for name, spent in used.items()})


def _mixed(plan: Plan, new: float, unchanged: float) -> float:
    return plan.changed * new + (1 - plan.changed) * unchanged


ONE = Plan(19_000, 1, 1)
HUNDRED = Plan(1_900_000, 100, 1)


def situations(base: Plan) -> list[tuple[str, Plan]]:
    """The first load, an ordinary month, an ordinary day; and the month with partners that accept little."""
    return [
        ("first load: every household new", base),
        ("monthly files: 30 % of the households changed", replace(base, changed=0.3)),
        ("daily deltas: 2 % of the households, all changed", replace(base, households=base.households // 50)),
        (
            "monthly files, each Département's partners accept 5 deliveries a second",
            replace(base, changed=0.3, rate=5.0),
        ),
    ]


def page(results: dict[str, Any]) -> str:
    sizing = results["sizing"]
    figures, where = sizing["figures"], sizing["machine"]
    cost = Cost.measured(figures)
    lines = [
        "# Capacity", "",
        "Generated by `python bench/capacity.py --write` from measured costs (`bench/sizing.py`); do not edit. A night",
        "is a fluid queue: its figures are those of a model, its costs those of one machine. Measure yours, and",
        "write it again.", "",
        "## Measured", "",
        f"{where['cpu']}, {where['cores']} cores, load {where['load']}, Python {where['python']}; "
        f"{figures['foyers']} households, {figures['deliveries']} deliveries.", "",
        "| | SQLite | PostgreSQL | of which the server |", "|---|---:|---:|---:|",
        *(f"| {words}, ms of CPU | {figures[f'sqlite_{key}_us'] / 1e3:.2f} "
          f"| {(figures[f'postgresql_{key}_us'] + figures[f'postgresql_{key}_server_us']) / 1e3:.2f} "
          f"| {figures[f'postgresql_{key}_server_us'] / 1e3:.2f} |"
          for key, words in (("household", "a new household"), ("unchanged", "an unchanged household"),
                             ("delivery", "a delivery"))),
        *(f"| {words}, kB on disk | {figures[f'sqlite_{key}_bytes'] / 1e3:.1f} "
          f"| {figures[f'postgresql_{key}_bytes'] / 1e3:.1f} | |"
          for key, words in (("household", "a new household, its journal entries included"),
                             ("delivery", "a delivery, its journal entries included"))),
        f"| the published journal, bytes for each entry | {figures['sqlite_published_bytes_per_entry']:.0f} "
        f"| {figures['postgresql_published_bytes_per_entry']:.0f} | |",
        f"| `maillon serve`, one process, MB at most | | {figures['postgresql_serve_mb']:.0f} | |",
        f"| `maillon work`, MB at most | | {figures['postgresql_work_mb']:.0f} | |", "",
        "## Assumed", "",
        "| what | value |", "|---|---|",
        f"| one Département | {ONE.households:,} households; a hundred: {HUNDRED.households:,}, of unequal sizes |",
        f"| machines | {ONE.cores} cores each; the database has {ONE.database_cores} |",
        "| processes of one Département | one `serve` and one `work` on each machine |",
        f"| deliveries caused by one changed household | {ONE.deliveries:g} |",
        f"| a partner answers in | {ONE.latency * 1000:.0f} ms; {ONE.concurrent} in flight from each worker |",
        "| files of a hundred Départements arrive | all at once |", "",
        "A gateway serves one Département and has a database and a journal of its own; here a hundred of them share",
        "machines and one database server.", "",
    ]  # fmt: skip
    for title, base, fleets in (("One Département", ONE, (1,)), ("A hundred Départements", HUNDRED, (1, 2, 4, 8))):
        heads = ("situation", "machines", "all durable after", "all delivered after", "busiest", "used")
        lines += [f"## {title}", "", f"| {' | '.join(heads)} |", "|---|---:|---:|---:|---|---:|"]
        for words, plan in situations(base):
            for count in fleets:
                night = simulate(replace(plan, machines=count), cost)
                lines.append(
                    f"| {words} | {count} | {_hours(night.taken)} | {_hours(night.delivered)} | {night.limit} "
                    f"| {night.busy[night.limit]:.0%} |"
                )
        lines.append("")
    lines += ["## Where the first limit is, and what to do then", "", *_first(cost), "", *_limits(cost, figures)]
    return "\n".join(lines) + "\n"


def _first(cost: Cost) -> list[str]:
    """What holds back an ordinary month first, by how large the gateway is."""
    month = [replace(base, changed=0.3, machines=count) for base, count in ((ONE, 1), (HUNDRED, 1), (HUNDRED, 8))]
    one, hundred, spread = (simulate(plan, cost).limit for plan in month)
    return [
        f"An ordinary month is held back first by the {one} for one Département, by the {hundred} for a hundred on one",
        f"machine, and by the {spread} when they are spread over eight.",
    ]


def _limits(cost: Cost, figures: dict[str, Any]) -> list[str]:
    total, every = HUNDRED.households, HUNDRED.departements
    disk = (figures["postgresql_household_bytes"] + HUNDRED.deliveries * figures["postgresql_delivery_bytes"]) * total
    memory = every * (figures["postgresql_serve_mb"] + figures["postgresql_work_mb"]) / 1e3
    rows = [
        ("limit", "where it stands", "then"),
        ("---", "---", "---"),
        ("one file, one core",
         f"{1 / cost.new:,.0f} new households a second: {ONE.households:,} in "
         f"{_hours(ONE.households * cost.new / 3600)}",
         "nothing: files of different bodies are taken side by side"),
        ("partners", f"{ONE.concurrent / ONE.latency:,.0f} deliveries a second for each worker, or the rate they set",
         "more workers, or a higher `concurrent`, until the rate they accept; beyond, agree on a higher one or begin "
         "earlier: nothing else shortens the night"),
        ("gateway cores", f"{1 / cost.delivery:,.0f} deliveries a second for each", "more machines"),
        ("memory", f"{memory:.0f} GB for the processes of {every} Départements, on each machine that runs them all",
         "two machines for each Département are enough for takeover: spread them"),
        ("database server",
         f"{1 / cost.new_server:,.0f} new households or {1 / cost.delivery_server:,.0f} deliveries a second for each "
         "of its cores",
         "a server for each group of Départements: gateways share nothing"),
        ("disk", f"{disk / 1e9:.0f} GB after the first load of {total:,} households and its deliveries",
         "history grows by what changes, not by what is sent again"),
    ]  # fmt: skip
    return [f"| {' | '.join(row)} |" for row in rows]


def _hours(hours: float) -> str:
    if hours == float("inf"):
        return "never"
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/capacity.md instead of printing it")
    asked = parser.parse_args()
    written = page(json.loads(RESULTS.read_text()))
    if asked.write:
        PAGE.write_text(written)
    else:
        print(written, end="")


if __name__ == "__main__":
    main()
