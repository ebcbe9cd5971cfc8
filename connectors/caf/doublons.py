"""Which keys of a file come back, in sixteen bytes a key: a million households need sixteen megabytes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from hashlib import blake2b


def empreinte(*parts: str) -> int:
    """A 64-bit digest of these parts, the same in every process."""
    return int.from_bytes(blake2b("\x00".join(parts).encode(), digest_size=8).digest(), "big")


class Doublons:
    """Remembers every key with a number; afterwards tells the keys met several times."""

    def __init__(self) -> None:
        self._keys = tuple(array("Q") for _ in range(256))
        self._values = tuple(array("Q") for _ in range(256))

    def add(self, key: int, value: int) -> None:
        self._keys[key >> 56].append(key)
        self._values[key >> 56].append(value)

    def _met(self) -> Iterator[dict[int, list[int]]]:
        for keys, values in zip(self._keys, self._values, strict=True):
            met: dict[int, list[int]] = {}
            for key, value in zip(keys, values, strict=True):
                met.setdefault(key, []).append(value)
            yield met

    def last(self) -> dict[int, int]:
        """Each key met more than once, with its last number."""
        return {key: values[-1] for met in self._met() for key, values in met.items() if len(values) > 1}

    def disputed(self) -> frozenset[int]:
        """The keys met with two different numbers."""
        return frozenset(key for met in self._met() for key, values in met.items() if len(set(values)) > 1)
