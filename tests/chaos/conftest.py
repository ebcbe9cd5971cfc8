"""Houses for the experiments; the seed of a run, and what is kept when one fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.house import House

KEPT = Path(__file__).parents[1] / "output" / "chaos"
SEED = int(os.environ.get("CHAOS_SEED", "20261121"))


def pytest_report_header() -> str:
    return f"chaos seed: {SEED} (CHAOS_SEED)"


def pytest_itemcollected(item: pytest.Item) -> None:
    item.user_properties.append(("seed", str(SEED)))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    if outcome.get_result().failed:
        item.stash[_FAILED] = True


_FAILED = pytest.StashKey[bool]()


@pytest.fixture
async def house_at(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[..., House]]:
    """Makes furnished houses; when the experiment fails, their homes are kept beside its seed."""
    made: list[House] = []

    def make(database: str = "", *, home: Path | None = None, **options: Any) -> House:
        one = House(home or tmp_path / f"home{len(made)}", database, **options).furnish()
        made.append(one)
        return one

    yield make
    for one in made:
        await one.aclose()
    if request.node.stash.get(_FAILED, False):
        folder = KEPT / f"{request.node.name}-{SEED}".replace("/", "-")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for one in made:
            shutil.copytree(one.home, folder / one.home.name, ignore=shutil.ignore_patterns("keys"), dirs_exist_ok=True)
        (folder / "seed").write_text(f"{SEED}\n")


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 24 MB: what fills it meets ENOSPC."""
    folder = tmp_path / "volume"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "maillon", folder], capture_output=True).returncode:
        pytest.skip("this account may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def house(database: str, house_at: Callable[..., House]) -> House:
    return house_at(database)


@pytest.fixture(scope="session")
def go_verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal's verifier in Go, built from Debian's packages alone."""
    from tests.journal.conftest import go_verifier as build_it

    built: Path = build_it.__wrapped__(tmp_path_factory)  # type: ignore[attr-defined]
    return built
