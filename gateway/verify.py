"""Checking a published journal with other code than the code that wrote it.

Nothing here comes from the gateway: the standard library and `cryptography` are enough, so that this file can be read
alone and carried to an offline computer. Formats: C2SP signed-note, tlog-tiles, tlog-checkpoint, tlog-cosignature,
tlog-proof, tlog-policy; RFC 6962 hashes; RFC 9162 §2.1.3.2 and §2.1.4.2 for the checks of proofs.

    python verify.py [--vkey LINE]... [--since CHECKPOINT]... [--policy FILE] DIR     a whole journal
    python verify.py --proof FILE --policy FILE ENTRY                 one entry of a proof bundle
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Read = Callable[[str], "bytes | None"]
"""A published file by its path in the log, or None when it is not there."""

WIDTH = 256
AT_ONCE = timedelta(minutes=10)
LOGS = ("6m", "36m")
"""Sub-folders an export may hold beside its own log: the other retention classes."""
_PUBLISHED = ("checkpoint", "tile", "vkey", "vkeys", "retention")
_TIMESTAMP = re.compile(rb'"ts":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)')


class Bad(Exception):
    """Something does not hold. `index` is the first entry that is not proven, when it can be named; `whole` the entries
    of a broken bundle that come before."""

    def __init__(self, reason: str, index: int | None = None, whole: Sequence[bytes] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.index = index
        self.whole = list(whole)


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on one log. `first_bad` is the first index that is not proven; `pruned` entries are attested by their
    hashes only; `odd_timestamps` counts entries dated long before an earlier one, of another hour (a clock was
    changed)."""

    ok: bool
    origin: str = ""
    entries: int = 0
    root: str = ""
    first_bad: int | None = None
    reason: str = ""
    pruned: int = 0
    odd_timestamps: int = 0

    def __str__(self) -> str:
        if self.ok:
            return f"ok entries={self.entries} root={self.root}" + (f" pruned={self.pruned}" if self.pruned else "")
        index = "" if self.first_bad is None else f" index={self.first_bad}"
        return f"bad{index} {self.reason}"


# Keys and notes


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    id: bytes
    kind: int
    public: bytes

    @classmethod
    def parse(cls, line: str) -> Key:
        name, _, rest = line.strip().partition("+")
        shown, _, encoded = rest.partition("+")
        raw = decode_base64(encoded)
        key_id = sha256(name.encode() + b"\n" + raw).digest()[:4]
        if not name or len(raw) != 33 or raw[0] not in (1, 4) or key_id.hex() != shown:
            raise Bad("the verifier key line is malformed")
        return cls(name, key_id, raw[0], raw[1:])

    def signed_at(self, signature: bytes, text: bytes) -> int | None:
        """The cosignature's POSIX time, 0 for a log's signature, None when it is not valid."""
        time = 0
        if self.kind == 4:
            if len(signature) != 72:
                return None
            time = int.from_bytes(signature[:8], "big")
            text, signature = b"cosignature/v1\ntime %d\n%s" % (time, text), signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except InvalidSignature:
            return None
        return time


def decode_base64(text: str) -> bytes:
    """Canonical base64 only. Raises `Bad`."""
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Bad("base64 is malformed") from None
    if base64.b64encode(raw).decode() != text:
        raise Bad("base64 is not canonical")
    return raw


def open_note(raw: bytes, keys: Sequence[Key]) -> tuple[str, dict[Key, int]]:
    """The note's text and, for each known key that signed it, the time of its cosignature (0 for a log's). Unknown keys
    are ignored; a known key whose signature fails refuses the note, as does a note that no known key signed."""
    try:
        text, _, lines = raw.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        raise Bad("the note is not UTF-8") from None
    if not text or not lines.endswith("\n") or any(ord(char) < 32 and char != "\n" for char in text + lines):
        raise Bad("the note is malformed")
    signed: dict[Key, int] = {}
    for line in lines[:-1].split("\n"):
        match = re.fullmatch(r"— ([^\s+]+) (\S+)", line)
        value = decode_base64(match[2]) if match else b""
        if match is None or len(value) < 5:
            raise Bad("a signature line is malformed")
        for key in keys:
            if key.name == match[1] and key.id == value[:4]:
                time = key.signed_at(value[4:], f"{text}\n".encode())
                if time is None:
                    raise Bad(f"the signature of {key.name} does not match")
                signed[key] = time
    if not signed:
        raise Bad("no known key signed the note")
    return text + "\n", signed


@dataclass(frozen=True, slots=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        match = re.fullmatch(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([^\n]+)\n", text)
        root = decode_base64(match[3]) if match else b""
        if match is None or len(root) != 32:
            raise Bad("the checkpoint is malformed")
        return cls(match[1], int(match[2]), root)


# The tree


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def leaf_of(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def _root(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962 hash of a list of subtree roots, level by level; an odd last one climbs unchanged."""
    if not hashes:
        return sha256(b"").digest()
    row, hashed = list(hashes), sha256
    while len(row) > 1:
        odd = row[-1:] if len(row) % 2 else []
        row = [hashed(b"\x01" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=False)] + odd
    return row[0]


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162 §2.1.3.2."""
    if not 0 <= index < size:
        return False
    first, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if first & 1 or first == last:
            value = _node(sibling, value)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            value = _node(value, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and value == root


def check_consistency(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162 §2.1.4.2: whether the tree of `size` begins with the tree of `old`. Anything extends the empty tree."""
    if old == size:
        return not proof and old_root == root
    if old == 0:
        return not proof and old_root == sha256(b"").digest()
    if not 0 < old < size or not proof:
        return False
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    first, last = old - 1, size - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    before = after = path[0]
    for value in path[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            before, after = _node(value, before), _node(value, after)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            after = _node(after, value)
        first, last = first >> 1, last >> 1
    return last == 0 and before == old_root and after == root


# A published folder


def reader(folder: Path) -> Read:
    def read(path: str) -> bytes | None:
        try:
            return (folder / path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    return read


def tile_path(level: int | str, n: int, width: int) -> str:
    number = f"{n % 1000:03d}"
    while n := n // 1000:
        number = f"x{n % 1000:03d}/{number}"
    return f"tile/{level}/{number}" + (f".p/{width}" if width < WIDTH else "")


def split_bundle(bundle: bytes, count: int, first: int = 0) -> list[bytes]:
    """The entries of a bundle. Raises `Bad` with the index of the one where it breaks."""
    entries: list[bytes] = []
    at, end = 0, len(bundle)
    for done in range(count):
        start = at + 2
        at = start + int.from_bytes(bundle[at:start], "big")
        if at > end or start > end:
            raise Bad("the entry bundle is cut short", first + done, entries)
        entries.append(bundle[start:at])
    if at != end:
        raise Bad("the entry bundle holds more than its entries", first + count - 1, entries)
    return entries


def minimum_index(read: Read, keys: Sequence[Key], origin: str) -> int:
    """The index below which entries were pruned, as the signed `retention` note says; 0 without one."""
    raw = read("retention")
    if raw is None:
        return 0
    text, _ = open_note(raw, keys)
    match = re.fullmatch(r"([^\n]+)/retention\nmonths \d+\nminimum-index (\d+)\n", text)
    if match is None or match[1] != origin or int(match[2]) % WIDTH:
        raise Bad("the retention note is malformed")
    return int(match[2])


def _long_before(stamp: bytes, latest: bytes) -> bool:
    """Longer than the entries of two processes may pass each other: each is dated when its transaction began."""
    try:
        return datetime.fromisoformat(latest.decode()) - datetime.fromisoformat(stamp.decode()) > AT_ONCE
    except ValueError:  # a day or an hour that is none
        return True


@dataclass(slots=True)
class _Walk:
    """One pass over a log, from its first bundle to its root; each hash tile is met and compared on the way."""

    read: Read
    size: int
    minimum: int
    levels: list[list[bytes]] = field(default_factory=lambda: [[]])
    odd: int = 0
    latest: bytes = b""

    def entries(self) -> Iterator[tuple[int, list[bytes]]]:
        """(first index, entries) of each bundle, after comparing it with its tile; no entry where it was pruned."""
        for first in range(0, self.size, WIDTH):
            count = min(WIDTH, self.size - first)
            tile = self.tile(0, first // WIDTH, count)
            entries: list[bytes] = []
            if first >= self.minimum:
                bundle = self.read(tile_path("entries", first // WIDTH, count))
                if bundle is None:
                    raise Bad("the entry bundle is missing", first)
                broken: Bad | None = None
                try:
                    entries = split_bundle(bundle, count, first)
                except Bad as bad:  # a wrong length may only be seen some entries later
                    entries, broken = bad.whole, bad
                hashed = sha256
                leaves = [hashed(b"\x00" + entry).digest() for entry in entries]
                if broken or b"".join(leaves) != tile:
                    right = [leaf == tile[32 * i : 32 * i + 32] for i, leaf in enumerate(leaves)]
                    if broken and all(right):
                        raise broken
                    raise Bad("the entry is not the one that was hashed", first + right.index(False))
                self._date(bundle)
            else:
                leaves = [tile[at : at + 32] for at in range(0, len(tile), 32)]
            self.levels[0] = leaves
            yield first, entries
            if count == WIDTH:
                self._climb(first)

    def tile(self, level: int, n: int, width: int) -> bytes:
        tile = self.read(tile_path(level, n, width))
        first = n * WIDTH ** (level + 1)
        if tile is None:
            raise Bad(f"{tile_path(level, n, width)} is missing", first)
        if len(tile) != width * 32:
            raise Bad(f"{tile_path(level, n, width)} has a wrong length", first + len(tile) // 32 * WIDTH**level)
        return tile

    def _climb(self, first: int) -> None:
        level, span = 0, WIDTH
        while len(self.levels[level]) == WIDTH:
            if level:
                self.compare(level, first // span, WIDTH)
            above = _root(self.levels[level])
            self.levels[level] = []
            level, span = level + 1, span * WIDTH
            if level == len(self.levels):
                self.levels.append([])
            self.levels[level].append(above)

    def compare(self, level: int, n: int, width: int) -> None:
        tile = self.tile(level, n, width)
        for at, computed in enumerate(self.levels[level]):
            if tile[32 * at : 32 * at + 32] != computed:
                raise Bad(f"{tile_path(level, n, width)} is altered", (n * WIDTH + at) * WIDTH**level)

    def _date(self, bundle: bytes) -> None:
        for stamp in _TIMESTAMP.findall(bundle):
            if stamp[:13] < self.latest[:13]:
                self.odd += _long_before(stamp, self.latest)
            elif stamp > self.latest:
                self.latest = stamp

    def root(self, width: int) -> bytes:
        """Root of the bundles already climbed and the first `width` entries of the one just read."""
        peaks: list[bytes] = []
        for row in [*self.levels[:0:-1], self.levels[0][:width]]:
            start = 0
            while start < len(row):
                span = 1 << ((len(row) - start).bit_length() - 1)
                peaks.append(_root(row[start : start + span]))
                start += span
        value = peaks.pop() if peaks else sha256(b"").digest()
        while peaks:
            value = _node(peaks.pop(), value)
        return value


def _anchored(since: Sequence[bytes], keys: Sequence[Key], now: Checkpoint) -> dict[int, bytes]:
    anchors: dict[int, bytes] = {}
    for raw in since:
        earlier = Checkpoint.parse(open_note(raw, keys)[0])
        if earlier.origin != now.origin:
            raise Bad("the earlier checkpoint is of another log")
        if earlier.size > now.size:
            raise Bad("entries were removed since the earlier checkpoint", now.size)
        if anchors.setdefault(earlier.size, earlier.root) != earlier.root:
            raise Bad("two checkpoints of the same size differ: the log was forked", 0)
    return anchors


def verify(folder: Path | Read, vkey: str | Sequence[str] | None = None, *, since: Sequence[bytes] = ()) -> Report:
    """Check a published log: signature, tree, each tile, each entry.

    `vkey` is the verifier key line, or several after a key change; None takes those of the folder itself, which only
    proves that the folder agrees with itself. `since` holds checkpoints kept from earlier: the log must extend them.
    """
    read = reader(folder) if isinstance(folder, Path) else folder
    report = Report(ok=False)
    try:
        keys = _keys(read, vkey)
        raw = read("checkpoint")
        if raw is None:
            raise Bad("there is no checkpoint")
        now = Checkpoint.parse(open_note(raw, keys)[0])
        if now.origin != keys[0].name:
            raise Bad("the checkpoint is of another log")
        report = Report(False, now.origin, now.size, base64.b64encode(now.root).decode())
        minimum = minimum_index(read, keys, now.origin)
        if minimum > now.size:
            raise Bad("the retention note speaks of entries that are not there", now.size)
        walk = _Walk(read, now.size, minimum)
        _walk_through(walk, now, _anchored(since, keys, now))
        return replace(report, ok=True, pruned=minimum, odd_timestamps=walk.odd)
    except Bad as bad:
        return replace(report, reason=bad.reason, first_bad=bad.index)


def _walk_through(walk: _Walk, now: Checkpoint, anchors: dict[int, bytes]) -> None:
    proven = 0
    waiting = sorted(size for size in anchors if size)
    for first, _ in walk.entries():
        while waiting and waiting[0] <= first + len(walk.levels[0]):
            size = waiting.pop(0)
            if walk.root(size - first) != anchors[size]:
                raise Bad("the log does not extend the earlier checkpoint", proven)
            proven = size
    for level, row in enumerate(walk.levels):
        if level and row:
            walk.compare(level, now.size // WIDTH ** (level + 1), len(row))
    if walk.root(WIDTH) != now.root:
        raise Bad("the entries do not give the signed root", proven)


def _keys(read: Read, vkey: str | Sequence[str] | None) -> list[Key]:
    """The key in use first; without a line given, those the folder shows."""
    if vkey is None:
        shown = (read("vkey") or b"") + (read("vkeys") or b"")
        vkey = list(dict.fromkeys(shown.decode("ascii", "replace").splitlines()))
    keys = [Key.parse(line) for line in ([vkey] if isinstance(vkey, str) else vkey)]
    if not keys:
        raise Bad("there is no verifier key")
    return keys


def entries(folder: Path | Read, vkey: str | Sequence[str] | None = None) -> Iterator[tuple[int, bytes]]:
    """(index, bytes) of each entry that is kept, each compared with its hash tile. The root is only proven once the
    iteration has ended. Raises `Bad`."""
    read = reader(folder) if isinstance(folder, Path) else folder
    keys = _keys(read, vkey)
    now = Checkpoint.parse(open_note(read("checkpoint") or b"", keys)[0])
    walk = _Walk(read, now.size, minimum_index(read, keys, now.origin))
    for first, bundle in walk.entries():
        yield from enumerate(bundle, first)
    if walk.root(WIDTH) != now.root:
        raise Bad("the entries do not give the signed root", 0)


# Policies and proof bundles


@dataclass(frozen=True, slots=True)
class Policy:
    """A C2SP tlog-policy: which logs are trusted, and which witnesses must have cosigned."""

    logs: tuple[Key, ...]
    witnesses: dict[str, Key]
    groups: dict[str, tuple[int, tuple[str, ...]]]
    quorum: str
    urls: dict[str, str]
    """Prefix of each witness that has one."""

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Raises `Bad` for a line, a name or a quorum that is not as the specification says."""
        logs: list[Key] = []
        witnesses: dict[str, Key] = {}
        groups: dict[str, tuple[int, tuple[str, ...]]] = {}
        urls: dict[str, str] = {}
        quorums: list[str] = []
        for number, line in enumerate(text.splitlines(), 1):
            match line.split():
                case [] | ["#", *_]:
                    continue
                case [word, *_] if word.startswith("#"):
                    continue
                case ["log", vkey, *url] if len(url) <= 1:
                    logs.append(Key.parse(vkey))
                case ["witness", name, vkey, *url] if len(url) <= 1 and cls._free(name, witnesses, groups):
                    witnesses[name] = Key.parse(vkey)
                    if url:
                        urls[name] = url[0]
                case ["group", name, need, *members] if members and cls._free(name, witnesses, groups):
                    count = {"all": len(members), "any": 1}.get(need) or (int(need) if need.isdecimal() else 0)
                    known = all(member in witnesses or member in groups for member in members)
                    if not known or not 0 < count <= len(members) or len(set(members)) != len(members):
                        raise Bad(f"line {number} of the policy is malformed")
                    groups[name] = count, tuple(members)
                case ["quorum", name] if name == "none" or name in witnesses or name in groups:
                    quorums.append(name)
                case _:
                    raise Bad(f"line {number} of the policy is malformed")
        if len(quorums) != 1 or not logs:
            raise Bad("a policy names at least one log and exactly one quorum")
        return cls(tuple(logs), witnesses, groups, quorums[0], urls)

    @staticmethod
    def _free(name: str, *taken: dict[str, object] | dict[str, Key] | dict[str, tuple[int, tuple[str, ...]]]) -> bool:
        return name != "none" and not any(name in names for names in taken)

    def met(self, signed: dict[Key, int], name: str | None = None) -> bool:
        """Whether the quorum (or the named part of it) cosigned."""
        name = name or self.quorum
        if name == "none":
            return True
        if name in self.witnesses:
            return self.witnesses[name] in signed
        need, members = self.groups[name]
        return sum(self.met(signed, member) for member in members) >= need

    def open(self, raw: bytes) -> Checkpoint:
        """The checkpoint, when a trusted log signed it and the quorum cosigned it. Raises `Bad`."""
        text, signed = open_note(raw, [*self.logs, *self.witnesses.values()])
        checkpoint = Checkpoint.parse(text)
        if not any(key in signed and key.name == checkpoint.origin for key in self.logs):
            raise Bad("no trusted log signed the checkpoint")
        if not self.met(signed):
            raise Bad("the checkpoint lacks the cosignatures of the quorum")
        return checkpoint


def check_proof(proof: bytes, entry: bytes, policy: Policy) -> tuple[int, Checkpoint]:
    """Whether a C2SP tlog-proof proves the entry under the policy: its index and the checkpoint. Raises `Bad`."""
    head, _, checkpoint = proof.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    if lines[:1] != ["c2sp.org/tlog-proof@v1"] or not checkpoint:
        raise Bad("the proof is malformed")
    if lines[1:2] and lines[1].startswith("extra "):
        del lines[1]
    match = re.fullmatch(r"index (0|[1-9][0-9]*)", lines[1] if len(lines) > 1 else "")
    hashes = [decode_base64(line) for line in lines[2:]]
    if match is None or any(len(value) != 32 for value in hashes) or len(hashes) > 63:
        raise Bad("the proof is malformed")
    opened = policy.open(checkpoint)
    index = int(match[1])
    if not check_inclusion(leaf_of(entry), index, opened.size, hashes, opened.root):
        raise Bad("the proof does not lead from the entry to the signed root", index)
    return index, opened


# Two journals of the same exchanges


@dataclass(frozen=True, slots=True)
class Divergence:
    """An exchange that one journal tells and the other does not (`missing_here`, `missing_there`), or whose place in
    the other journal is not the one its acknowledgement gave (`moved`)."""

    kind: str
    exchange: str
    index: int


_UNSENT = ("already-held", "nothing-to-tell", "asked")
"""How a delivery ends that leaves nothing new at its recipient's: it had all it should, or was only asked something."""


def reconcile(
    ours: Iterable[tuple[int, bytes]], theirs: Iterable[tuple[int, bytes]], *, us: str, them: str
) -> list[Divergence]:
    """Compare what we say we gave them with what they say they got from us.

    Our side: `exchange.ack` entries towards `them`, each with the index (`peer_idx`) their acknowledgement carried.
    Their side: `exchange.request` entries from `us`. Both are named by `delivery_id`, else `exchange_id`. An omission
    on either side leaves one of the two alone, whoever made it. What ended here with nothing sent is not looked for
    there.
    """
    acknowledged: dict[str, tuple[int, int | None]] = {}
    unsent: set[str] = set()
    for index, raw in ours:
        told = _exchange_of(raw, b"exchange.ack", "recipient_org", them)
        if told:
            acknowledged[told[0]] = index, told[1].get("peer_idx")
            if told[1].get("reason_code") in _UNSENT:
                unsent.add(told[0])
            else:
                unsent.discard(told[0])
    found: list[Divergence] = []
    received: set[str] = set()
    for index, raw in theirs:
        told = _exchange_of(raw, b"exchange.request", "sender_org", us)
        if not told or told[1].get("recipient_org", them) != them:  # what they then offered to others
            continue
        if "delivery_id" in told[1]:
            received.add(told[1].get("exchange_id", ""))
        elif told[0] in received:  # more about an exchange already named by its delivery
            continue
        ack = acknowledged.pop(told[0], None)
        if ack is None:
            found.append(Divergence("missing_here", told[0], index))
        elif ack[1] is not None and ack[1] != index:
            found.append(Divergence("moved", told[0], ack[0]))
    sent = ((exchange, index) for exchange, (index, _) in acknowledged.items() if exchange not in unsent)
    return found + [Divergence("missing_there", exchange, index) for exchange, index in sent]


def _exchange_of(raw: bytes, event: bytes, field_name: str, body: str) -> tuple[str, dict[str, Any]] | None:
    if b'"event":"%s"' % event not in raw:
        return None
    entry = json.loads(raw)
    name = entry.get("delivery_id") or entry.get("exchange_id")
    return (name, entry) if entry.get(field_name) == body and name else None


# From the command line


def verify_all(
    folder: Path,
    vkey: str | Sequence[str] | None = None,
    since: Sequence[bytes] = (),
    policy: Policy | None = None,
) -> Iterator[tuple[str, Report]]:
    """(log, report) of the journal of a folder and of the retention classes below it. With a key given, those of the
    other classes are the same key under their own names; with a policy, its quorum must have cosigned each log."""
    for log, place, keys, kept in _logs(folder, vkey, since):
        report = verify(place, keys, since=kept)
        yield log, _cosigned(report, place, keys, policy) if policy and report.ok else report


def _cosigned(report: Report, place: Path, vkey: str | Sequence[str] | None, policy: Policy) -> Report:
    read = reader(place)
    try:
        _, signed = open_note(read("checkpoint") or b"", [*_keys(read, vkey), *policy.witnesses.values()])
        if not policy.met(signed):
            raise Bad("the checkpoint lacks the cosignatures of the quorum")
    except Bad as bad:
        return replace(report, ok=False, reason=bad.reason)
    return report


def all_entries(folder: Path, vkey: str | Sequence[str] | None = None) -> Iterator[tuple[int, bytes]]:
    """What `entries` gives, of the journal of a folder and then of each retention class below it."""
    for _, place, keys, _ in _logs(folder, vkey):
        yield from entries(place, keys)


def _logs(
    folder: Path, vkey: str | Sequence[str] | None, since: Sequence[bytes] = ()
) -> Iterator[tuple[str, Path, str | Sequence[str] | None, list[bytes]]]:
    """(log, its folder, its keys, the checkpoints kept of it) of a journal and of the retention classes below it, those
    included of which only a checkpoint kept from earlier, or a part of the files, is left."""
    origin = (reader(folder)("checkpoint") or b"").partition(b"\n")[0]
    kept: dict[str, list[bytes]] = {log: [] for log in ("", *LOGS)}
    for raw in since:
        named = raw.partition(b"\n")[0].removeprefix(origin + b"/").decode(errors="replace")
        kept[named if named in LOGS else ""].append(raw)
    yield "", folder, vkey, kept[""]
    for log in LOGS:
        if kept[log] or any((folder / log / name).exists() for name in _PUBLISHED):
            yield log, folder / log, None if vkey is None else _renamed(vkey, log), kept[log]


def _renamed(vkey: str | Sequence[str], log: str) -> list[str]:
    lines = []
    for line in [vkey] if isinstance(vkey, str) else vkey:
        key = Key.parse(line)
        name, raw = f"{key.name}/{log}", bytes([key.kind]) + key.public
        key_id = sha256(name.encode() + b"\n" + raw).digest()[:4]
        lines.append(f"{name}+{key_id.hex()}+{base64.b64encode(raw).decode()}")
    return lines


def main(argv: Sequence[str] | None = None, also: Callable[[str, Report], Report] | None = None) -> int:
    """Prints `ok entries=N root=…` (exit 0) or `bad index=N reason` (exit 1) for each log; exit 2 on wrong usage.

    `also` is what the caller checks of each log besides, given the report that is so far.
    """
    parser = argparse.ArgumentParser(prog="verify", description="Check a published journal, or one proof of a bundle.")
    parser.add_argument("path", type=Path, help="folder of the journal, or file of the entry with --proof")
    parser.add_argument("--vkey", action="append", help="verifier key line you trust, or a file of them")
    parser.add_argument("--since", action="append", type=Path, default=[], help="a checkpoint kept from earlier")
    parser.add_argument("--proof", type=Path, help="a tlog-proof file")
    parser.add_argument("--policy", type=Path, help="a tlog-policy file: the witnesses that must have cosigned")
    given = parser.parse_args(argv)
    if given.proof and not given.policy:
        parser.error("--proof needs --policy")
    try:
        policy = Policy.parse(given.policy.read_text("utf-8")) if given.policy else None
        if given.proof and policy:
            index, checkpoint = check_proof(given.proof.read_bytes(), given.path.read_bytes(), policy)
            print(f"ok index={index} size={checkpoint.size} origin={checkpoint.origin}")
            return 0
        since = [path.read_bytes() for path in given.since]
        vkeys = None if given.vkey is None else [line for value in given.vkey for line in _lines(value)]
        reports = list(verify_all(given.path, vkeys, since, policy))
        if also:
            reports = [(log, also(log, report)) for log, report in reports]
    except (Bad, OSError) as error:
        print(f"bad {error}")
        return 1
    for log, report in reports:
        print(f"{report} log={log}" if log else report)
        if report.odd_timestamps:
            print(f"note: {report.odd_timestamps} entries are dated before an earlier entry", file=sys.stderr)
    return 0 if all(report.ok for _, report in reports) else 1


def _lines(value: str) -> list[str]:
    """The verifier key lines of a file, which holds several after a change of key; or the line itself."""
    return Path(value).read_text("utf-8").split() if Path(value).is_file() else [value]


if __name__ == "__main__":
    sys.exit(main())
