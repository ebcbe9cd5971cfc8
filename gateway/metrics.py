"""What Prometheus is answered: the measures of this process, or of all those that answer at one address.

With several processes behind one port (`maillon serve --workers`), each scrape reaches one of them. They then keep
their measures in files of one folder, which any of them reads whole (prometheus_client's multiprocess mode). Labels are
ids of bodies, doors and states, never a person.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

REQUESTS = Histogram(
    "maillon_request_seconds", "From a request's first byte to its answer's last, by door and status",
    ["door", "status"], buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Read by prometheus_client when it is imported."""


_shared: list[Shared] = []


class Shared(Collector):
    """A gauge that every process reads from one table: whichever answers, it says the same. It is shown whole, so that
    labels which are gone disappear, which the files of several processes cannot do."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._described = (name, documentation)
        self._labels = labels
        self._shown: Mapping[tuple[str, ...], float] = {}
        REGISTRY.register(self)
        _shared.append(self)

    def show(self, values: Mapping[tuple[str, ...], float]) -> None:
        """What it says from now on, by the values of its labels."""
        self._shown = values

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(*self._described, labels=self._labels)
        for labels, value in self._shown.items():
            family.add_metric(labels, value)
        yield family


@contextmanager
def together() -> Iterator[None]:
    """The processes started meanwhile answer for each other."""
    with tempfile.TemporaryDirectory(prefix="maillon-metrics-") as folder:
        os.environ[_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[_FOLDER]


def exported() -> bytes:
    """All measures, in Prometheus' text format."""
    folder = os.environ.get(_FOLDER)
    if not folder:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    for one in (_Processes(Path(folder)), *_shared):
        registry.register(one)
    return generate_latest(registry)


class _Processes(Collector):
    """Memory, CPU and descriptors of each process that has files in the folder and lives, under its `pid`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        pids = sorted({path.stem.rpartition("_")[2] for path in self._folder.glob("*.db")})
        for pid in pids:
            for one in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                family = families.setdefault(one.name, Metric(one.name, one.documentation, one.type))
                for sample in one.samples:
                    family.add_sample(sample.name, {"pid": pid}, sample.value)
        yield from families.values()
