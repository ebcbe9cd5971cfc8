"""What the benchmarks share: a gateway of their own, CPU clocks, the machine, and how results are told."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.registry import Gateway

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

LIBRARIES = ("lxml", "pydantic", "sqlalchemy", "psycopg", "starlette", "uvicorn", "joserfc", "cryptography", "httpx")
CONVENTION = ROOT / "gateway" / "demo" / "convention.toml"
NOTICES = ("rsa-demande", "reseau-emploi", "parcours-insertion")


def machine() -> dict[str, Any]:
    """Where a figure was taken: it means nothing elsewhere, its ratio does."""
    model = next((line.partition(":")[2].strip() for line in lines_of("/proc/cpuinfo") if "model name" in line), "")
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def lines_of(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def cpu_and_wall(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """CPU seconds of this process and of the children it waited for, wall seconds, and what the work returned."""
    gc.collect()
    others, own, wall = children(), time.process_time(), time.perf_counter()
    result = work()
    return time.process_time() - own + children() - others, time.perf_counter() - wall, result


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def best(work: Callable[[], Any], rounds: int) -> float:
    """Least CPU seconds of several rounds: what a busy machine adds is not the program's."""
    return min(cpu_and_wall(work)[0] for _ in range(rounds))


def queued(processes: Sequence[str] = ("thread-self",)) -> float:
    """Milliseconds these processes waited for a core so far (Linux; 0 elsewhere): other programs' doing, not ours."""
    try:
        return sum(int(Path(f"/proc/{one}/schedstat").read_text().split()[1]) for one in processes) / 1e6
    except OSError:
        return 0.0


@contextmanager
def opened(database_url: str = "", **changes: Any) -> Iterator[Gateway]:
    """A gateway in an empty folder, with the demonstration's convention and notices."""
    with tempfile.TemporaryDirectory() as name:
        gateway = prepared(Path(name), database_url, **changes)
        try:
            yield gateway
        finally:
            gateway.engine.dispose()


def prepared(home: Path, database_url: str = "", **changes: Any) -> Gateway:
    from gateway import basis, convention  # here, so that what only reads does not carry the whole gateway
    from gateway.registry import Gateway
    from gateway.settings import Settings

    settings = Settings(profile="test", home=home, database_url=database_url, departement="040", **changes)
    gateway = Gateway.open(settings)
    with gateway.unit_of_work() as work:
        for notice in NOTICES:
            basis.publish_notice(work, notice, 1, "Texte de la mesure.")
        convention.add(work, CONVENTION.read_bytes())
    return gateway


Measure = Callable[[argparse.Namespace], dict[str, Any]]


def told(
    name: str,
    ratios: dict[str, tuple[float, float | None, bool]],
    figures: dict[str, Any],
) -> dict[str, Any]:
    """One result: `ratios` gives for each target (measured, target, whether more is better)."""
    return {
        "bench": name,
        "ratios": {
            key: {"measured": round(measured, 3), "target": target, "more_is_better": more,
                  "holds": None if target is None else (measured >= target if more else measured <= target)}
            for key, (measured, target, more) in ratios.items()
        },
        "figures": {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()},
        "machine": machine(),
    }  # fmt: skip


def main(doc: str | None, measure: Measure, add: Callable[[argparse.ArgumentParser], None] | None = None) -> None:
    """The command line of every benchmark: `--json`, `--full`, and what the benchmark adds."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--full", action="store_true", help="the long version, on the sizes of the targets")
    if add:
        add(parser)
    asked = parser.parse_args()
    result = measure(asked)
    print(json.dumps(result) if asked.json else page(result))


def page(result: dict[str, Any]) -> str:
    """A result for people."""
    where = result["machine"]
    lines = [f"{result['bench']}: {where['cpu']}, {where['cores']} cores, load {where['load']}, "
             f"Python {where['python']}"]  # fmt: skip
    lines += [f"  {key:<34} {value:>14}" for key, value in result["figures"].items()]
    for key, ratio in result["ratios"].items():
        holds = {None: "", True: "holds", False: "does not hold"}[ratio["holds"]]
        wanted = (
            "" if ratio["target"] is None else f"target {'≥' if ratio['more_is_better'] else '≤'} {ratio['target']}"
        )
        lines.append(f"  {key:<34} {ratio['measured']:>14.3f}  {wanted}  {holds}".rstrip())
    return "\n".join(lines)
