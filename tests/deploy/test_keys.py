"""An operator who loses, exchanges or breaks key files is told, before anything is written under the wrong ones."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.key_marks import LASTING
from gateway.keys import Keyring
from gateway.problems import Misconfigured
from gateway.production import examine
from gateway.registry import Gateway
from gateway.settings import Settings

KEYS = Path(__file__).parents[2] / "deploy" / "keys"


@pytest.fixture
def site(database: str, tmp_path: Path) -> Settings:
    """A home with its keys, whose database was opened once."""
    made = Settings(profile="test", home=tmp_path, database_url=database, departement="040")
    subprocess.run([KEYS, tmp_path / "keys"], check=True)
    _open(made)
    return made


def _open(site: Settings) -> None:
    Gateway.open(site).engine.dispose()


def _doctor(site: Settings) -> dict[str, Any]:
    return next(one for one in examine(site) if one["check"] == "keys")


def test_the_keys_of_the_database_are_right(site: Settings) -> None:
    _open(site)
    assert _doctor(site)["ok"]


def test_another_key_is_refused_and_named(site: Settings) -> None:
    for name in LASTING:
        path = site.home / "keys" / f"{name}.key"
        kept = path.read_bytes()
        path.write_bytes(bytes(32))
        with pytest.raises(Misconfigured, match=f"^keys-wrong: {path.name}: not what"):
            _open(site)
        path.write_bytes(kept)
    _open(site)


def test_keys_made_anew_in_the_place_of_lost_ones_are_refused(site: Settings) -> None:
    shutil.rmtree(site.home / "keys")
    assert "key-missing" in _doctor(site)["detail"]
    with pytest.raises(Misconfigured, match="sealed copy"):
        _open(site)
    assert not (site.home / "keys").exists(), "none is made in the place of the lost ones"
    subprocess.run([KEYS, site.home / "keys"], check=True)
    assert "keys-wrong" in _doctor(site)["detail"]
    with pytest.raises(Misconfigured, match="not what this database"):
        _open(site)


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_key_that_is_not_whole_is_no_key(tmp_path: Path, content: bytes) -> None:
    for name in ("index.key", "journal.ed25519", "oauth.es256"):
        subprocess.run([KEYS, tmp_path], check=True)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Misconfigured, match=f"^key-invalid: The key file {name} "):
            Keyring(tmp_path, may_create=False).require_whole()
        (tmp_path / name).unlink()


def test_what_is_wrong_with_the_keys_is_told_by_the_doctor(site: Settings) -> None:
    wrap = site.home / "keys" / "wrap.key"
    wrap.chmod(0o640)
    assert _doctor(site) == {"check": "keys", "ok": False, "detail": "wrap.key: open to other accounts; chmod 600"}
    wrap.write_bytes(b"")
    assert _doctor(site)["detail"].startswith("key-invalid: ")


def test_a_database_of_before_the_marks_takes_the_keys_it_is_opened_with(tmp_path: Path) -> None:
    site = Settings(profile="test", home=tmp_path, departement="040")
    _open(site)
    subprocess.run([KEYS, tmp_path / "keys"], check=True)
    _open(site)
    (tmp_path / "keys" / "wrap.key").write_bytes(bytes(32))
    with pytest.raises(Misconfigured):
        _open(site)


def test_a_disk_that_fills_leaves_no_empty_key(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    no_room = ["sh", "-c", 'trap "" XFSZ; ulimit -f 0; exec "$@"', "sh", KEYS, keys]
    assert subprocess.run(no_room, capture_output=True).returncode
    assert not list(keys.glob("[!.]*"))
    subprocess.run([KEYS, keys], check=True)
    (keys / "oauth.es256").unlink()
    assert subprocess.run(no_room, capture_output=True).returncode
    assert not (keys / "oauth.es256").exists()
    Keyring(keys, may_create=False).require_whole()


def held(folder: Path) -> list[str]:
    """The files of this folder that the process holds open."""
    links = [os.readlink(one.path) for one in os.scandir("/proc/self/fd") if os.path.islink(one.path)]
    return [Path(link).name for link in links if Path(link).parent == folder]


def test_a_gateway_that_does_not_open_and_one_that_was_examined_hold_no_file_of_the_database(tmp_path: Path) -> None:
    gc.collect()
    subprocess.run([KEYS, tmp_path / "keys"], check=True)
    site = Settings(profile="test", home=tmp_path, departement="040")
    _open(site)
    examine(site)
    assert held(tmp_path) == []
    shutil.rmtree(tmp_path / "keys")
    with pytest.raises(Misconfigured) as refused:
        Gateway.open(site)
    assert held(tmp_path) == [], refused.value.code
