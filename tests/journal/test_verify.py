"""The published journal and its two readers: ours, and one written in Go from Debian's packages."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pymerkle
import pytest

from gateway import journal, journal_upkeep, merkle, verify
from gateway.storage import open_engine
from gateway.unit_of_work import UnitOfWork

FILES = ("checkpoint", "vkey", "retention", "tile/**/*")


class InMemory:
    """A published log held in memory, so that many harmed copies cost little."""

    def __init__(self, folder: Path) -> None:
        self.files = {
            str(path.relative_to(folder)): path.read_bytes()
            for pattern in FILES
            for path in folder.glob(pattern)
            if path.is_file()
        }

    def __call__(self, path: str) -> bytes | None:
        return self.files.get(path)


@pytest.fixture
def copied(a_published_journal, tmp_path: Path) -> Path:
    return Path(shutil.copytree(a_published_journal.folder, tmp_path / "copy"))


def test_an_untouched_journal_is_accepted(a_published_journal) -> None:
    report = a_published_journal.verify()
    assert (report.ok, report.entries, report.first_bad) == (True, 1000, None)
    assert str(report).startswith("ok entries=1000 root=")


def test_the_root_is_the_one_pymerkle_computes(a_published_journal) -> None:
    oracle = pymerkle.InmemoryTree(algorithm="sha256")
    for _, entry in verify.entries(a_published_journal.folder, a_published_journal.vkey):
        oracle.append_entry(entry)
    checkpoint = (a_published_journal.folder / "checkpoint").read_text().splitlines()
    assert verify.decode_base64(checkpoint[2]) == oracle.get_root()


def test_the_layout_of_70_000_entries_is_the_specified_one() -> None:
    leaves = [merkle.leaf_hash(b"%d" % number) for number in range(70_000)]
    edge = merkle.Edge()
    full = [(level, n) for level, n, _ in edge.push(leaves)]
    partial = {level: len(hashes) // 32 for level, _, hashes in edge.partial()}
    assert [sum(level == wanted for level, _ in full) for wanted in (0, 1, 2)] == [273, 1, 0]
    assert partial == {0: 112, 1: 17, 2: 1} == dict(enumerate(merkle.edge_widths(70_000)))
    assert merkle.tile_path(0, 1_234_067, 5) == verify.tile_path(0, 1_234_067, 5) == "tile/0/x001/x234/067.p/5"


def _harmed(log: InMemory, stride: int) -> Iterator[tuple[str, int]]:
    """Every `stride`th byte of every file (each byte of the checkpoint), one bit flipped at a time."""
    chance = random.Random(20_261_121)
    for path, content in list(log.files.items()):
        if path.endswith("vkey") or (".p/" in path and not _current(path)):
            continue
        for at in range(0, len(content), 1 if path in ("checkpoint", "retention") else stride):
            flipped = bytearray(content)
            flipped[at] ^= 1 << chance.randrange(8)
            log.files[path] = bytes(flipped)
            yield path, at
        log.files[path] = content


def _current(path: str) -> bool:
    """Partial tiles of earlier checkpoints stay for slow readers and are no part of the log's last state."""
    return path.endswith(("003.p/232", "1/000.p/3"))


def test_a_flipped_byte_is_detected(a_published_journal) -> None:
    log = InMemory(a_published_journal.folder)
    missed = [where for where in _harmed(log, 211) if verify.verify(log, a_published_journal.vkey).ok]
    assert missed == []
    assert verify.verify(log, a_published_journal.vkey).ok


@pytest.mark.chaos
def test_each_flipped_byte_of_1_000_entries_is_detected(a_journal) -> None:
    with UnitOfWork(a_journal.engine) as work:
        for _ in range(1000):
            journal.append(work, "log.read")
    a_journal.publish()
    log = InMemory(a_journal.folder)
    missed = [where for where in _harmed(log, 1) if verify.verify(log, a_journal.vkey).ok]
    assert missed == []


def test_an_altered_entry_is_named_by_its_exact_index(copied: Path, a_published_journal, go_verifier: Path) -> None:
    bundle = copied / "tile/entries/002"
    bundle.write_bytes(bundle.read_bytes().replace(b'"france_travail"', b'"france_chomage"', 1))
    report = verify.verify(copied, a_published_journal.vkey)
    assert (report.ok, report.first_bad) == (False, 512)
    done = subprocess.run([go_verifier, a_published_journal.vkey, copied], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "ENTRY ALTERED 512\n")


def test_a_deleted_tail_is_detected_by_a_checkpoint_kept_from_before(a_journal) -> None:
    a_journal.write(400)
    a_journal.publish()
    short = shutil.copytree(a_journal.folder, a_journal.home / "short")
    a_journal.write(100)
    a_journal.publish()
    kept = (a_journal.folder / "checkpoint").read_bytes()
    assert verify.verify(short, a_journal.vkey).ok
    report = verify.verify(short, a_journal.vkey, since=[kept])
    assert (report.ok, report.first_bad) == (False, 400)


def test_two_swapped_entries_are_detected_even_when_their_tile_agrees(copied: Path, a_published_journal) -> None:
    bundle, tile = copied / "tile/entries/001", copied / "tile/0/001"
    entries = verify.split_bundle(bundle.read_bytes(), 256)
    entries[10], entries[11] = entries[11], entries[10]
    bundle.write_bytes(b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries))
    report = verify.verify(copied, a_published_journal.vkey)
    assert (report.ok, report.first_bad) == (False, 266)
    tile.write_bytes(b"".join(map(verify.leaf_of, entries)))
    report = verify.verify(copied, a_published_journal.vkey)
    assert (report.ok, report.first_bad) == (False, 256)


@pytest.mark.parametrize("path", ["tile/0/003.p/232", "tile/1/000.p/3", "tile/entries/003.p/232"])
@pytest.mark.parametrize("harm", ["cut", "removed", "longer"])
def test_a_harmed_partial_tile_is_detected(copied: Path, a_published_journal, path: str, harm: str) -> None:
    content = (copied / path).read_bytes()
    if harm == "removed":
        (copied / path).unlink()
    else:
        (copied / path).write_bytes(content[:-32] if harm == "cut" else content + bytes(32))
    assert not verify.verify(copied, a_published_journal.vkey).ok


def test_a_rewritten_log_does_not_extend_the_checkpoint_kept_from_before(a_journal, tmp_path_factory) -> None:
    a_journal.write(300)
    a_journal.publish()
    kept = (a_journal.folder / "checkpoint").read_bytes()
    home = tmp_path_factory.mktemp("other")
    shutil.copytree(a_journal.home / "keys", home / "keys")
    other = type(a_journal)(open_engine(f"sqlite:///{home / 'maillon.db'}"), home)
    other.write(600)
    other.publish()
    assert other.vkey == a_journal.vkey
    assert other.verify().ok
    report = other.verify(since=[kept])
    assert not report.ok
    assert report.reason == "the log does not extend the earlier checkpoint"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 255, 256, 257, 511, 700, 66_000])
def test_proofs_of_the_writer_convince_the_reader(size: int) -> None:
    leaves = [merkle.leaf_hash(b"%d" % number) for number in range(size)]
    edge, tiles = merkle.Edge(), {}
    for level, n, hashes in [*edge.push(leaves), *edge.partial()]:
        tiles[level, n, len(hashes) // 32] = hashes
    root = edge.root()
    chance = random.Random(size)
    for index in {0, size - 1, *(chance.randrange(size) for _ in range(12))}:
        proof = merkle.inclusion_proof(lambda *tile: tiles[tile], size, index)
        assert verify.check_inclusion(leaves[index], index, size, proof, root)
        assert not verify.check_inclusion(merkle.leaf_hash(b"other"), index, size, proof, root)
        assert not verify.check_inclusion(leaves[index], index, size, [*proof, root], root)
        if size > 1:
            assert not verify.check_inclusion(leaves[index], (index + 1) % size, size, proof, root)
        old = index + 1
        before = merkle.Edge()
        list(before.push(leaves[:old]))
        consistency = merkle.consistency_proof(lambda *tile: tiles[tile], old, size)
        assert verify.check_consistency(old, before.root(), size, root, consistency)
        assert not verify.check_consistency(old, merkle.leaf_hash(b"other"), size, root, consistency)
        if consistency:
            assert not verify.check_consistency(old, before.root(), size, root, consistency[:-1])


def test_both_verifiers_give_the_same_verdict_on_500_mutations(
    a_published_journal, go_verifier: Path, tmp_path: Path
) -> None:
    chance = random.Random(7)
    ours, folders = [], []
    for number in range(500):
        folder = tmp_path / f"{number:03d}"
        shutil.copytree(a_published_journal.folder, folder, copy_function=lambda a, b: Path(b).hardlink_to(a))
        _mutate(folder, chance)
        ours.append(verify.verify(folder, a_published_journal.vkey).ok)
        folders.append(str(folder))
    done = subprocess.run([go_verifier, a_published_journal.vkey, ",".join(folders)], capture_output=True, text=True)
    theirs = [line == "size 1000 bad 0" for line in done.stdout.splitlines()]
    assert [n for n in range(500) if ours[n] != theirs[n]] == []
    assert 10 < sum(ours) < 200  # some mutations touch nothing that counts: both readers must accept those


def _mutate(folder: Path, chance: random.Random) -> None:
    """Harm one file of the copy as an insider or a failing disk would; now and then, one that does not count."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    paths = [path for path in paths if path.name not in ("vkey", "vkeys", "retention")]
    path = chance.choice(paths)
    content = bytearray(path.read_bytes())
    path.unlink()
    match chance.randrange(6):
        case 0 | 1:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        case 2:
            del content[chance.randrange(len(content)) :]
        case 3:
            content += chance.randbytes(chance.randrange(1, 40))
        case 4:
            a, b = sorted(chance.sample(range(len(content)), 2))
            content[a], content[b] = content[b], content[a]
        case 5:
            return
    path.write_bytes(content)


def test_entries_written_while_the_clock_was_wrong_are_flagged_and_keep_their_order(a_journal, capsys) -> None:
    for hour in (9, 10, 8, 8, 11):
        a_journal.write(1, at=f"2026-11-21T{hour:02d}:00:00.000000Z")
    a_journal.publish()
    assert (a_journal.verify().ok, a_journal.verify().odd_timestamps) == (True, 2)
    assert verify.main([str(a_journal.folder)]) == 0
    assert "2 entries are dated before an earlier entry" in capsys.readouterr().err


def test_entries_of_two_processes_that_pass_each_other_at_the_hour_are_no_clock_that_was_changed(a_journal) -> None:
    for instant in ("09:59:58", "10:00:01", "09:59:59", "10:00:02"):
        a_journal.write(1, at=f"2026-11-21T{instant}.000000Z")
    a_journal.publish()
    assert (a_journal.verify().ok, a_journal.verify().odd_timestamps) == (True, 0)


def test_the_command_line_says_ok_or_names_the_first_bad_index(a_published_journal, copied: Path, capsys) -> None:
    assert verify.main([str(copied)]) == 0
    assert capsys.readouterr().out.startswith("ok entries=1000 root=")
    bundle = copied / "tile/entries/001"
    bundle.write_bytes(bundle.read_bytes().replace(b'"caf"', b'"msa"', 1))
    assert verify.main([str(copied), "--vkey", a_published_journal.vkey]) == 1
    assert capsys.readouterr().out.startswith("bad index=256 ")


def test_a_wrong_length_is_named_at_its_own_entry(copied: Path) -> None:
    bundle = copied / "tile/entries/001"
    whole = bundle.read_bytes()
    first = int.from_bytes(whole[:2], "big") + 2
    for at, bad in ((0, 256), (1, 256), (first, 257), (first + 1, 257)):
        harmed = bytearray(whole)
        harmed[at] ^= 1
        bundle.write_bytes(harmed)
        assert verify.verify(copied).first_bad == bad


def test_a_log_withheld_whole_is_missed_by_the_checkpoint_kept_of_it(a_journal, tmp_path: Path, capsys) -> None:
    a_journal.write(3)
    a_journal.write(3, retention="6m")
    a_journal.publish()
    kept = Path(shutil.copy(a_journal.folder / "6m/checkpoint", tmp_path / "kept"))
    a_journal.write(2, retention="6m")
    a_journal.publish()
    asked = ["--vkey", a_journal.vkey, "--since", str(kept)]
    assert verify.main([str(a_journal.folder), *asked]) == 0
    capsys.readouterr()
    partial = Path(shutil.copytree(a_journal.folder, tmp_path / "partial"))
    shutil.rmtree(partial / "6m/tile")
    (partial / "6m/checkpoint").unlink()
    assert verify.main([str(partial)]) == 1
    withheld = Path(shutil.copytree(a_journal.folder, tmp_path / "withheld"))
    shutil.rmtree(withheld / "6m")
    assert verify.main([str(withheld), *asked]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "bad there is no checkpoint log=6m"


def test_all_the_keys_of_a_journal_are_given_in_one_file(a_journal, tmp_path: Path) -> None:
    a_journal.write(3)
    a_journal.publish()
    kept = Path(shutil.copy(a_journal.folder / "checkpoint", tmp_path / "kept"))
    journal_upkeep.rotate_key(a_journal.keys)
    a_journal.write(3)
    a_journal.publish()
    (a_journal.home / "keys/journal.ed25519").unlink()
    a_journal.write(3)
    a_journal.publish()
    every, current = str(a_journal.folder / "vkeys"), str(a_journal.folder / "vkey")
    assert verify.main([str(a_journal.folder), "--vkey", every, "--since", str(kept)]) == 0
    assert verify.main([str(a_journal.folder), "--vkey", current, "--since", str(kept)]) == 1


def test_the_verifier_runs_alone_outside_the_project(a_published_journal, tmp_path: Path) -> None:
    alone = Path(shutil.copy(verify.__file__, tmp_path / "verify.py"))
    done = subprocess.run(
        [sys.executable, "-P", alone, a_published_journal.folder], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout[:22]) == (0, "ok entries=1000 root=" + done.stdout[21])
