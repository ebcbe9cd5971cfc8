"""The tutorial, executed as it is written: every command of the page, in order, against a real `maillon serve`."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "pages" / "tutorial" / "premier-echange.md"


def commands() -> str:
    """The page's shell blocks, one after the other; whatever happens, the gateway they start is stopped."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    stop = "trap 'test -f passerelle.pid && kill \"$(cat passerelle.pid)\" 2>/dev/null || true' EXIT\n"
    return "set -euo pipefail\n" + stop + "\n".join(blocks)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("tutorial")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAILLON_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PORT": str(port),
        "PYTHONPATH": str(ROOT),
        "MAILLON_ISSUER": f"http://127.0.0.1:{port}",
    }
    # `timeout` ends all that the page started, the gateway too, and leaves what was printed until then.
    command = ["timeout", "300", "bash", "-c", commands()]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return folder, done


def test_every_command_succeeds(played: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    assert played[1].returncode == 0, played[1].stderr[-2000:]


def test_what_the_page_promises_has_happened(played: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = played
    (refused,) = json.loads((folder / "recu.json").read_text())["outcomes"]
    assert (refused["status"], refused["reason"]) == ("withheld", "notice-missing")
    (promised,) = json.loads((folder / "recu2.json").read_text())["outcomes"]
    assert (promised["recipient"], promised["status"]) == ("departement", "queued")
    assert json.loads((folder / "suivi.json").read_text())["exchanges"]
    facts = json.loads((folder / "dossier.json").read_text())["facts"]
    assert facts["personne.courriels[amelia.arbelier@exemple.invalid].adresse"]["source"] == "ccas"
    assert not any("nir" in path for path in facts)
    assert re.search(r"^ok entries=\d+ root=", done.stdout, re.MULTILINE)
    answers = re.findall(r"^\d{3}$", done.stderr, re.MULTILINE)
    assert (answers[0], answers[1], answers[-1]) == ("202", "200", "204")
