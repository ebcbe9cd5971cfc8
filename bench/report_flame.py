"""Where the time of a benchmark's product side goes: a flame graph, sampled by the process's own CPU clock.

    python bench/report_flame.py [ingest|accept] [--count N] [--out docs/flame-ingest.svg] [--top]

`setitimer(ITIMER_PROF)` interrupts the process each millisecond of CPU; the stack met there is one sample. Widths are
parts of the CPU time, so that a busy machine changes nothing. `--top` prints where samples fell, function by function.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from types import FrameType
from typing import Any

import _common
import accept
from joserfc.jwk import ECKey

from connectors.caf.generator import write_file
from gateway.access import Caller
from gateway.access.replay import Used
from gateway.arrival import Arrival
from gateway.ingest import ingest
from gateway.registry import Gateway
from gateway.settings import Settings

INTERVAL = 0.001
WIDTH, ROW = 1200, 17
NARROWEST = 0.002
"""Boxes narrower than this part of the whole are left out."""

Stack = tuple[str, ...]


@contextmanager
def sampled() -> Iterator[Counter[Stack]]:
    """The stacks met while the body runs, outermost function first."""
    stacks: Counter[Stack] = Counter()

    def sample(_number: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None:
            code = frame.f_code
            stack.append(f"{_place(code.co_filename)}:{code.co_qualname}")
            frame = frame.f_back
        stacks[tuple(reversed(stack))] += 1

    before = signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        yield stacks
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _place(filename: str) -> str:
    path = Path(filename)
    if path.is_relative_to(_common.ROOT) and ".venv" not in path.parts:
        return str(path.relative_to(_common.ROOT))
    return filename if filename.startswith("<") else path.name


@dataclass(slots=True)
class Box:
    name: str
    samples: int = 0
    inner: dict[str, Box] = field(default_factory=dict)


def tree(stacks: Counter[Stack], root: str) -> Box:
    """The stacks joined; what stands below the first function whose name ends with `root` is cut."""
    whole = Box("all")
    for stack, count in stacks.items():
        start = next((depth for depth, name in enumerate(stack) if name.endswith(root)), None)
        if start is None:
            continue
        box = whole
        box.samples += count
        for name in stack[start:]:
            box = box.inner.setdefault(name, Box(name))
            box.samples += count
    return whole


def svg(whole: Box, title: str) -> str:
    """The flame graph: one box per function and way to it, as wide as its part of the samples."""
    boxes: list[str] = []
    depth = _draw(whole, 0.0, 0, whole.samples, boxes)
    height = (depth + 3) * ROW
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="11" role="img" aria-label="{escape(title)}">'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/><text x="4" y="13">{escape(title)}</text>'
    )
    return "\n".join([head, *boxes, "</svg>"]) + "\n"


def _draw(box: Box, left: float, depth: int, total: int, boxes: list[str]) -> int:
    part = box.samples / total
    if part < NARROWEST:
        return depth
    x, width, y = left * WIDTH, part * WIDTH, (depth + 1.4) * ROW
    tint = 200 - (sum(box.name.encode()) * 7) % 90
    label = escape(box.name)
    shown = escape(box.name.rpartition(":")[2][: int(width / 6.2)]) if width > 40 else ""
    boxes.append(
        f'<g><title>{label} {part:.1%}</title><rect x="{x:.1f}" y="{y:.1f}" width="{max(width - 0.5, 0.3):.1f}" '
        f'height="{ROW - 1}" fill="rgb(235,{tint},110)"/><text x="{x + 2:.1f}" y="{y + 12:.1f}">{shown}</text></g>'
    )
    deepest = depth
    for inner in sorted(box.inner.values(), key=lambda one: one.name):
        deepest = max(deepest, _draw(inner, left, depth + 1, total, boxes))
        left += inner.samples / total
    return deepest


def top(stacks: Counter[Stack], count: int = 45) -> str:
    """Parts of the samples by function: inside it and what it calls, and in itself alone."""
    total = sum(stacks.values())
    whole: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for stack, samples in stacks.items():
        alone[stack[-1]] += samples
        for name in set(stack):
            whole[name] += samples
    lines = [f"{total} samples", "  whole   alone"]
    lines += [f"{part / total:7.1%} {alone[name] / total:7.1%}  {name}" for name, part in whole.most_common(count)]
    lines += ["", "  alone"]
    lines += [f"{part / total:7.1%}  {name}" for name, part in alone.most_common(count)]
    return "\n".join(lines)


def durable_ingest(foyers: int) -> Counter[Stack]:
    """New households into the record: what `bench/ingest.py` measures, sampled."""
    with tempfile.TemporaryDirectory() as folder, _common.opened() as gateway:

        def carry(name: str, count: int, first: int, day: str) -> Callable[[], Any]:
            path = Path(folder) / name
            write_file(path, count, flux="quotidien", mois=day, debut=first)
            return lambda: ingest(gateway, path, "caf", "caf.flux_beneficiaire")

        carry("warm.xml", 60, 0, "2026-09-01")()
        work = carry("new.xml", foyers, 1000, "2026-09-02")
        with sampled() as stacks:
            work()
    return stacks


TOGETHER = 20
"""Exchanges of one group of the writer, as 32 connections make them."""


def accepted(count: int) -> Counter[Stack]:
    """Exchanges about new persons, in groups: what the writer of `bench/accept.py` does, sampled."""
    with tempfile.TemporaryDirectory() as folder:
        accept.prepare(Path(folder), "http://127.0.0.1", ECKey.generate_key("P-256", auto_kid=True))
        gateway = Gateway.open(Settings(profile="test", home=Path(folder), departement="040"))
        gateway.warm()

        def carry(first: int, last: int) -> None:
            for start in range(first, last, TOGETHER):
                group = [_arrival(gateway, rank) for rank in range(start, min(start + TOGETHER, last))]
                carry_group(gateway, group)

        carry(0, 200)
        with sampled() as stacks:
            carry(200, 200 + count)
        gateway.engine.dispose()
    return stacks


def carry_group(gateway: Gateway, group: list[Arrival]) -> None:
    """One transaction of the writer."""
    with gateway.unit_of_work() as work:
        Arrival.foresee(work, group)
        for one in group:
            one(work)


def _arrival(gateway: Gateway, rank: int) -> Arrival:
    proof = Used.of("dpop", "key", str(rank), time.time() + 60)
    caller = Caller("ccas", "one", "ccas", frozenset({"accompagnement"}), frozenset(), "key", proof=proof)
    return Arrival(gateway, caller, "ccas.suivi", "application/json", f"k-{rank}", accept.body(rank))


KINDS: dict[str, tuple[Callable[[int], Counter[Stack]], str, str]] = {
    "ingest": (durable_ingest, "ingest.py:ingest", "Durable ingest of {} new households"),
    "accept": (accepted, "report_flame.py:carry_group", "{} exchanges accepted, the writer's thread"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", nargs="?", choices=KINDS, default="ingest")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--top", action="store_true")
    asked = parser.parse_args()
    work, root, title = KINDS[asked.kind]
    stacks = work(asked.count)
    if asked.top:
        print(top(stacks))
        return
    whole, out = tree(stacks, root), asked.out or _common.ROOT / "docs" / f"flame-{asked.kind}.svg"
    out.write_text(svg(whole, f"{title.format(asked.count)}, {whole.samples} samples"))
    print(f"{out}: {whole.samples} samples", file=sys.stderr)


if __name__ == "__main__":
    main()
