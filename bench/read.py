"""Bulk read of a CAF beneficiary file: through the mapping, beside the floor, in one run.

    python bench/read.py [--foyers N] [--rounds K] [--full] [--json]

The floor is `lxml.iterparse(tag=…)` that clears each record and keeps nothing. The product side cuts the records out of
the file as the connector does, parses each, checks it, reads its facts and digests its bytes. CPU seconds of one
process; the peak of memory is measured in a process of its own. Target: at least 50 % of the floor, at most 64 MB.
Beside them, two ways to have each record as a dict of texts, without any check: xmltodict, streaming, and plain code
that walks its children. `two_processes` is the wall clock of one process that reads the file beside that of two, each
from one of its halves, cut at the end of a record: at least 1.8 on a machine with two cores to spare.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _common
import xmltodict
from lxml import etree

from connectors.caf.generator import write_file
from connectors.caf.octets import raw_records
from mappings import load

RECORD = "InfosFoyerRSA"
TARGET = 0.5
TARGET_MB = 64


def floor(path: Path) -> int:
    """The fastest way to see every record with lxml, doing nothing with it."""
    count = 0
    for _, element in etree.iterparse(str(path), tag=RECORD):
        count += 1
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]
    return count


def through_the_mapping(path: Path, start: int = 0, end: int = sys.maxsize) -> int:
    """Every record that begins there as canonical facts, checked and digested. Counts them and refuses surprises."""
    mapping = load("caf.flux_beneficiaire")
    count = surprises = 0
    with path.open("rb") as source:
        for offset, raw in raw_records(source, RECORD, start):
            if offset >= end:
                break
            record = mapping.read(raw, encoding="windows-1252", date_reference="2026-10-31")
            count += 1
            surprises += record.quarantined
    if surprises:
        raise SystemExit(f"{surprises} records of the synthetic file were not read cleanly")
    return count


def walked(element: Any) -> Any:
    """An element as plain Python: its text, or its children by name."""
    found: dict[str, Any] = {}
    for child in element:
        value = walked(child) if len(child) else child.text
        if child.tag in found:
            known = found[child.tag]
            found[child.tag] = [*known, value] if isinstance(known, list) else [known, value]
        else:
            found[child.tag] = value
    return found


def into_dicts(path: Path) -> int:
    """Every record as a dict of texts, as a generic reader makes it: nothing checked, mapped or digested."""
    count = 0
    for _, element in etree.iterparse(str(path), tag=RECORD):
        walked(element)
        count += 1
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]
    return count


def through_xmltodict(path: Path) -> int:
    """Every record as the generic reader gives it, one at a time."""
    count = 0

    def seen(where: list[Any], item: Any) -> bool:
        nonlocal count
        count += where[-1][0] == RECORD
        return True

    with path.open("rb") as source:
        xmltodict.parse(source, item_depth=2, item_callback=seen)
    return count


def _half(path: Path, start: int, end: int, ready: Any, done: Any) -> None:
    load("caf.flux_beneficiaire").read(b"<InfosFoyerRSA/>")
    ready.wait()
    done.put(through_the_mapping(path, start, end))


def wall(path: Path, cuts: list[int]) -> float:
    """Seconds until processes that have started read the file between them, each from one of these places."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(len(cuts) + 1), context.Queue()
    ends = [*cuts[1:], sys.maxsize]
    readers = [context.Process(target=_half, args=(path, *run, ready, done)) for run in zip(cuts, ends, strict=True)]
    for one in readers:
        one.start()
    ready.wait()
    begun = time.perf_counter()
    for _ in readers:
        done.get()
    spent = time.perf_counter() - begun
    for one in readers:
        one.join()
    return spent


def seconds(work: object, path: Path) -> tuple[float, int]:
    start = time.process_time()
    count = work(path)  # type: ignore[operator]
    return time.process_time() - start, count


def peak(path: Path) -> float:
    """Peak of resident memory of a process that reads the whole file, in MB."""
    code = (
        "import resource, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
        "from read import through_the_mapping;"
        "through_the_mapping(Path(sys.argv[1])); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, str(path), str(Path(__file__).parent)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(said.stdout) / 1024


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    foyers = 20_000 if asked.full else asked.foyers
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "RSABEM.xml"
        write_file(path, foyers)
        size = path.stat().st_size
        works = {"floor": floor, "mapping": through_the_mapping, "dicts": into_dicts,
                 "xmltodict": through_xmltodict}  # fmt: skip
        best = dict.fromkeys(works, float("inf"))
        load("caf.flux_beneficiaire").read(b"<InfosFoyerRSA/>")
        for _ in range(asked.rounds):
            for name, work in works.items():
                spent, count = seconds(work, path)
                if count != foyers:
                    raise SystemExit(f"{name} saw {count} records of {foyers}")
                best[name] = min(best[name], spent)
        rss = peak(path)
        alone = min(wall(path, [0]) for _ in range(3))
        shared = min(wall(path, [0, size // 2]) for _ in range(3))
    return _common.told(
        "read",
        {
            "mapping_to_floor": (best["floor"] / best["mapping"], TARGET, True),
            "rss_mb": (rss, TARGET_MB, False),
            "two_processes": (alone / shared, 1.8, True),
            "mapping_to_xmltodict": (best["mapping"] / best["xmltodict"], None, False),
            "mapping_to_dicts": (best["mapping"] / best["dicts"], None, False),
        },
        {
            "foyers": foyers,
            "bytes_per_foyer": round(size / foyers),
            "floor_per_second": round(foyers / best["floor"]),
            "mapping_per_second": round(foyers / best["mapping"]),
            "xmltodict_per_second": round(foyers / best["xmltodict"]),
            "dicts_per_second": round(foyers / best["dicts"]),
        },
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--foyers", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
