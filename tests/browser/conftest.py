"""A gateway that has lived: the demonstration's journey, then what waits for each of the three users."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from sqlalchemy import insert, select, update

from connectors.caf import generator
from gateway import clock
from gateway.demo.forms import neighbour_beneficiary
from gateway.demo.journey import Journey, opened
from gateway.demo.people import Followed, followed
from gateway.ingest import ingest
from gateway.outbox import enqueue
from gateway.storage.tables.delivery import outbox, recipient_state
from tests.conftest import TLS

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = Path(__file__).parents[1] / "output" / "screenshots"


@dataclass
class Lived:
    """The gateway, where it answers, and the people it knows."""

    on: Any
    url: str
    people: list[Followed]

    @property
    def gateway(self) -> Any:
        return self.on.gateway


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """The journey of the demonstration, an identity to confirm, letters that gave up, a file held whole."""
    home = tmp_path_factory.mktemp("console")
    people = followed()
    with opened(home) as on:
        # In a thread of its own: Playwright keeps an event loop in this one, and the journey runs its own.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(Journey(on, Console(file=io.StringIO(), width=200), home, people).play).result()
        a_doubtful_person(on, people[1])
        _letters_that_gave_up(on)
        _another_unknown_code(on, home)
        _a_file_that_lies(on, home)
        yield Lived(on, on.server.url, people)


def a_doubtful_person(on: Any, one: Followed, number: str = "PA-9999") -> None:
    """The same name and birth date, without any number: only a human can say."""
    told = {name: value for name, value in neighbour_beneficiary(one).items() if name != "socialSecurityNumber"}
    with on.client("ccas_voisin", "accompagnement") as client:
        client.post(
            "/v1/exchanges",
            json=told | {"fileNumber": number},
            headers={"Maillon-Document": "ccas.beneficiaires", "Idempotency-Key": f"doubtful-{number}"},
        ).raise_for_status()


def _letters_that_gave_up(on: Any) -> None:
    """Three deliveries promised, then given up; one partner paused."""
    names = ("recipient", "person_id", "sender", "document", "item", "flow", "exchange_id")
    with on.gateway.unit_of_work() as work:
        work.connection.execute(insert(recipient_state).values(recipient="ccas_voisin", paused=1, failures=0))
        rows = work.connection.execute(select(outbox).where(outbox.c.sender == "caf").limit(3)).all()
        ids = [enqueue(work, **{name: getattr(row, name) for name in names}) for row in rows]
        work.flush()
        dead = {"state": "dead", "reason": "too-late:not-connected", "attempts": 12, "settled_at": clock.instant()}
        work.connection.execute(update(outbox).where(outbox.c.id.in_(ids)).values(**dead))


def _another_unknown_code(on: Any, home: Path) -> None:
    path = home / "unknown.xml"
    generator.write_file(path, 5, seed=31, mois="2026-08", departement="040", oddities=("code_inconnu",))
    assert ingest(on.gateway, path, "caf", "caf.flux_beneficiaire").quarantined == 1


def _a_file_that_lies(on: Any, home: Path) -> None:
    """A CAF file whose footer counts one household too many: held whole."""
    path = home / "footer.xml"
    generator.write_file(path, 5, seed=77, mois="2026-09", departement="040", oddities=("pied_faux",))
    assert ingest(on.gateway, path, "caf", "caf.flux_beneficiaire").held


def follow(page: Any, selector: str) -> None:
    """Click, and be on the page it leads to: what is read too early is the page before."""
    with page.expect_navigation():
        page.click(selector)


def enter(client: httpx.Client, role: str) -> httpx.Client:
    """Sign in through the local provider, as a browser does."""
    answer = client.get(f"/console/connexion?comme={role}")
    assert answer.status_code == 200, answer.text[:500]
    assert str(answer.url).endswith("/console/")
    return client


def send(client: httpx.Client, page: str, action: str = "", files: Any = None, **data: str) -> httpx.Response:
    """Post a form of a page (`action`: to another address), with the token that the page holds, and what it was read
    on."""
    hidden = dict(re.findall(r'name="(jeton|lu)" value="([^"]+)"', client.get(page).text))
    assert "jeton" in hidden
    return client.post(action or page, data=hidden | data, files=files)


@pytest.fixture
def signed_in(lived: Lived) -> Iterator[Any]:
    """A function that gives an HTTP client already signed in with a role."""
    opened_clients = []

    def give(role: str) -> httpx.Client:
        client = httpx.Client(base_url=lived.url, follow_redirects=True, timeout=30, trust_env=False, verify=TLS)
        opened_clients.append(client)
        return enter(client, role)

    yield give
    for one in opened_clients:
        one.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium, the Debian one; closed with its module, for Playwright keeps the thread's event loop."""
    if not Path(CHROMIUM).is_file() and not shutil.which("chromium"):
        pytest.skip("Chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium") or CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, lived: Lived) -> Iterator[Any]:
    """A browser window without JavaScript, in light colours."""
    context = chromium.new_context(
        base_url=lived.url, locale="fr-FR", java_script_enabled=False, viewport={"width": 1366, "height": 900}
    )
    yield context.new_page()
    context.close()
