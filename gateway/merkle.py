"""The Merkle tree of RFC 6962 as a log writes it: compact frontier, and tiles of 256 hashes (C2SP tlog-tiles)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256

WIDTH = 256
"""Hashes in a full tile, entries in a full bundle."""
HASH = 32
EMPTY_ROOT = sha256(b"").digest()

ReadTile = Callable[[int, int, int], bytes]
"""(level, n, width) → `width * 32` bytes."""


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def grow(stack: list[bytes], size: int, leaves: Iterable[bytes]) -> int:
    """Append leaf hashes to a frontier (roots of the perfect subtrees, largest first); gives the new size."""
    push, pop = stack.append, stack.pop
    for leaf in leaves:
        carry = size
        while carry & 1:
            leaf = sha256(b"\x01" + pop() + leaf).digest()
            carry >>= 1
        push(leaf)
        size += 1
    return size


def fold(peaks: list[bytes]) -> bytes:
    """The root of a tree from its perfect subtrees, largest first."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def split(frontier: bytes) -> list[bytes]:
    return [frontier[at : at + HASH] for at in range(0, len(frontier), HASH)]


def _perfect(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes = [sha256(b"\x01" + left + right).digest() for left, right in zip(*[iter(hashes)] * 2, strict=True)]
    return hashes[0]


def _peaks(hashes: list[bytes]) -> Iterator[bytes]:
    start = 0
    while rest := len(hashes) - start:
        span = 1 << (rest.bit_length() - 1)
        yield _perfect(hashes[start : start + span])
        start += span


class Edge:
    """The right edge of a tiled tree: at each level, the hashes of the tile that is not full yet."""

    def __init__(self, size: int = 0, levels: list[list[bytes]] | None = None) -> None:
        self.size = size
        self.levels = levels or [[]]

    def copy(self) -> Edge:
        return Edge(self.size, [level.copy() for level in self.levels])

    def push(self, leaves: Iterable[bytes]) -> Iterator[tuple[int, int, bytes]]:
        """Append leaf hashes; yields (level, n, bytes) of each tile that becomes full."""
        for leaf in leaves:
            self.levels[0].append(leaf)
            self.size += 1
            if len(self.levels[0]) == WIDTH:
                yield from self._carry()

    def _carry(self) -> Iterator[tuple[int, int, bytes]]:
        level, span = 0, WIDTH
        while len(self.levels[level]) == WIDTH:
            hashes, self.levels[level] = self.levels[level], []
            yield level, self.size // span - 1, b"".join(hashes)
            level, span = level + 1, span * WIDTH
            if level == len(self.levels):
                self.levels.append([])
            self.levels[level].append(_perfect(hashes))

    def partial(self) -> Iterator[tuple[int, int, bytes]]:
        """(level, n, bytes) of the tiles that are not full; an empty one is not served."""
        for level, hashes in enumerate(self.levels):
            if hashes:
                yield level, self.size // WIDTH ** (level + 1), b"".join(hashes)

    def root(self) -> bytes:
        peaks: list[bytes] = []
        for hashes in reversed(self.levels):
            peaks += _peaks(hashes)
        return fold(peaks)


def edge_widths(size: int) -> list[int]:
    """Width of the partial tile at each level of a tree of this size; 0 where there is none."""
    widths = []
    while size:
        size, width = divmod(size, WIDTH)
        widths.append(width)
    return widths or [0]


def tile_path(level: int | str, n: int, width: int = WIDTH) -> str:
    """`tile/<L>/<N>[.p/<W>]`; level `entries` names an entry bundle."""
    digits = f"{n:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    number = "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])
    return f"tile/{level}/{number}" + (f".p/{width}" if width != WIDTH else "")


def _subtree(read: ReadTile, size: int, start: int, height: int) -> bytes:
    """Root of the perfect subtree of 2**height leaves that begins at leaf `start`, from the tiles of a tree."""
    level, inner = divmod(height, 8)
    first = start >> (8 * level)
    n, offset = divmod(first, WIDTH)
    width = min(WIDTH, (size >> (8 * level)) - n * WIDTH)
    tile = read(level, n, width)
    return _perfect([tile[at * HASH : (at + 1) * HASH] for at in range(offset, offset + (1 << inner))])


def _range_root(read: ReadTile, size: int, start: int, stop: int) -> bytes:
    peaks = []
    while start < stop:
        height = (stop - start).bit_length() - 1
        peaks.append(_subtree(read, size, start, height))
        start += 1 << height
    return fold(peaks)


def inclusion_proof(read: ReadTile, size: int, index: int) -> list[bytes]:
    """Hashes from the leaf's sibling upward (RFC 6962 §2.1.1). Raises ValueError when index ≥ size."""
    if not 0 <= index < size:
        raise ValueError("index outside the tree")
    proof: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + (1 << ((stop - start - 1).bit_length() - 1))
        if index < middle:
            proof.append(_range_root(read, size, middle, stop))
            stop = middle
        else:
            proof.append(_range_root(read, size, start, middle))
            start = middle
    return proof[::-1]


def consistency_proof(read: ReadTile, old: int, size: int) -> list[bytes]:
    """RFC 6962 §2.1.2; empty when old is 0 or equal to size. Raises ValueError when old > size."""
    if not 0 <= old <= size:
        raise ValueError("not an earlier size of the tree")
    proof: list[bytes] = []
    start, stop, whole = 0, size, True
    if old in (0, size):
        return proof
    while old != stop:
        middle = start + (1 << ((stop - start - 1).bit_length() - 1))
        if old <= middle:
            proof.append(_range_root(read, size, middle, stop))
            stop = middle
        else:
            proof.append(_range_root(read, size, start, middle))
            start, whole = middle, False
    if not whole:
        proof.append(_range_root(read, size, start, stop))
    return proof[::-1]
