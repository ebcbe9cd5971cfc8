"""The offline page that checks a proof bundle: what it accepts, what it refuses, and that it reaches for nothing."""

from __future__ import annotations

import base64
import io
import random
import re
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from gateway import bundle, note
from gateway.storage.tables.journal import journal_entry
from tests.browser.conftest import SCREENSHOTS, Lived

pytestmark = pytest.mark.browser

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def packed(lived: Lived) -> bytes:
    """The bundle of a short exchange that was decided, with the table of its day."""
    gateway = lived.gateway
    gateway.publish_journal()
    with gateway.engine.connect() as connection:
        about = journal_entry.c.exchange_id
        several = select(about).group_by(about).having(func.count() > 1, func.count(journal_entry.c.decision) > 0)
        found = several.order_by(func.count(), about).limit(1)
        exchange = connection.scalars(found).one()
        return bundle.proof_bundle(connection, gateway.settings, exchange)


@pytest.fixture
def files(packed: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def vkey(lived: Lived) -> str:
    return (lived.gateway.journal_folder / "vkey").read_text("utf-8").strip()


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def window(chromium: Any, files: Files, tmp_path: Path) -> Iterator[Any]:
    """The page of the bundle, opened from the disk of a computer without network."""
    (tmp_path / "verification.html").write_bytes(files["verification.html"])
    context = chromium.new_context(locale="fr-FR", offline=True, bypass_csp=False)
    one = context.new_page()
    one.goto((tmp_path / "verification.html").as_uri())
    yield one
    context.close()


def _check(window: Any, keys: str, given: Files | bytes) -> str:
    """What the page says of these files under these keys."""
    if isinstance(given, bytes):
        given = {"preuve.zip": given}
    chosen = [{"name": name, "mimeType": "", "buffer": content} for name, content in given.items() if "/" not in name]
    window.fill("#cle", keys)
    window.set_input_files("#fichiers", chosen)
    window.click("button")
    window.wait_for_selector("#verdict.bon, #verdict.mauvais")
    said = str(window.inner_text("#verdict"))
    window.evaluate("document.getElementById('verdict').className = ''")
    return said


def _flip(content: bytes, at: int) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


def test_the_page_lets_nothing_out_and_runs_only_its_own_script(files: Files) -> None:
    page = files["verification.html"].decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]  # type: ignore[index]
    told = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert told["default-src"] == "'none'"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.S)[1]  # type: ignore[index]
        digest = base64.b64encode(sha256(inside.encode()).digest()).decode()
        assert told[rule] == f"'sha256-{digest}'", f"write this digest in the page's {rule}"
    assert not re.search(r"https?:|<link|<img|src=|fetch\(|innerHTML", page)


def test_a_genuine_proof_is_accepted_as_a_zip_or_as_files(
    window: Any, packed: bytes, files: Files, vkey: str, lived: Lived
) -> None:
    index = re.search(rb"index (\d+)", files["exchange.tlog-proof"])[1].decode()  # type: ignore[index]
    for given in (packed, files):
        said = _check(window, vkey, given)
        assert said.startswith("Preuve vérifiée"), said
        assert f"Entrée n° {index} (exchange.json)" in said
        assert "rules.toml est la table des règles que les entrées citent" in said
        assert "aucun contreseing de témoin" in said.partition("Non vérifié")[2]


def test_a_changed_byte_of_an_entry_a_proof_or_the_checkpoint_is_refused(window: Any, files: Files, vkey: str) -> None:
    chance = random.Random(20_261_122)
    accepted = []
    for name in ("exchange.json", "exchange.tlog-proof", "checkpoint", "rules.toml"):
        for at in [0, len(files[name]) - 1, *(chance.randrange(len(files[name])) for _ in range(5))]:
            said = _check(window, vkey, files | {name: _flip(files[name], at)})
            if not said.startswith("Preuve refusée"):
                accepted.append((name, at, said[:60]))
    assert accepted == []


def test_a_refusal_names_the_entry_that_was_changed(window: Any, files: Files, vkey: str) -> None:
    harmed = files["exchange.json"].replace(b'"event":"exchange.', b'"event":"exchenge.')
    assert harmed != files["exchange.json"]
    said = _check(window, vkey, files | {"exchange.json": harmed})
    assert "exchange.json : L'entrée n°" in said
    assert "ne mène pas à la racine signée" in said


@pytest.mark.parametrize("missing", ["exchange.json", "exchange.tlog-proof"])
def test_an_entry_without_its_proof_or_the_reverse_is_refused(
    window: Any, files: Files, vkey: str, missing: str
) -> None:
    del files[missing]
    assert _check(window, vkey, files).startswith("Preuve refusée")


def test_another_key_under_the_same_name_is_refused(window: Any, files: Files, vkey: str) -> None:
    other = note.public_key(note.verifier_key(vkey).name, Ed25519PrivateKey.generate())
    assert "n'est pas signé par la clé que vous avez donnée" in _check(window, str(other), files)
    assert "mal recopiée" in _check(window, _miscopied(vkey), files)
    assert "sans elle, rien ne peut être vérifié" in _check(window, "", files)


def _miscopied(vkey: str) -> str:
    name, shown, key = vkey.split("+", 2)
    return f"{name}+{int(shown, 16) ^ 1:08x}+{key}"


def _cosigned(files: Files, witness: Ed25519PrivateKey) -> Files:
    """The same bundle once a witness cosigned its checkpoint."""
    text = files["checkpoint"].decode().rpartition("\n\n")[0] + "\n"
    whole = files["checkpoint"] + note.cosign(text, "caf.example/temoin", witness, 1_790_000_000).encode()
    return {name: content.replace(files["checkpoint"], whole) for name, content in files.items()}


def test_a_witness_whose_key_is_given_must_have_cosigned(window: Any, files: Files, vkey: str) -> None:
    witness = Ed25519PrivateKey.generate()
    key = str(note.public_key("caf.example/temoin", witness, note.COSIGNATURE))
    cosigned = _cosigned(files, witness)
    said = _check(window, f"{vkey}\n{key}", cosigned)
    assert said.startswith("Preuve vérifiée")
    assert "contreseings de témoins : caf.example/temoin (2026-09-21 à " in said
    assert _check(window, f"log {vkey}\nwitness caf {key}\nquorum caf", cosigned).startswith("Preuve vérifiée")
    assert "Il manque" in _check(window, f"{vkey}\n{key}", files)
    forged = _cosigned(files, Ed25519PrivateKey.generate())
    assert _check(window, f"{vkey}\n{key}", forged).startswith("Preuve refusée")
    assert "mal formée" in _check(window, f"log {vkey}\nquorum nobody", files)


def test_the_console_gives_the_page(signed_in: Callable[[str], Any]) -> None:
    answer = signed_in("dpo").get("/console/verification")
    assert answer.headers["content-disposition"] == 'attachment; filename="verification.html"'
    assert answer.content == bundle.PAGE.read_bytes()


def test_the_page_is_accessible_and_fits_a_small_screen(
    chromium: Any, window: Any, packed: bytes, vkey: str, theme: str
) -> None:
    # Its own policy lets no foreign script in: axe looks at it in a window that waives the policy.
    context = chromium.new_context(bypass_csp=True, color_scheme=theme)
    looked = context.new_page()
    looked.goto(window.url)
    assert _check(looked, vkey, packed).startswith("Preuve vérifiée")
    looked.evaluate("document.getElementById('verdict').className = 'bon'")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    looked.screenshot(path=SCREENSHOTS / f"verification-{theme}.png", full_page=True)
    found = Axe().run(looked)
    looked.set_viewport_size({"width": 320, "height": 800})
    width = looked.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert [(one["id"], one["nodes"][0]["target"]) for one in found.response["violations"]] == []
    assert width <= 320
