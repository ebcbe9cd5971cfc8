"""Machines of an experiment: processes with addresses of their own, cut off from the network one by one.

Each is a network namespace joined to this one by a cable (veth pair), where that is permitted (root with NET_ADMIN).
Elsewhere, each is given a loopback address of its own at which it reaches what runs here, and cannot be cut off.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

NETWORK = "10.231.0.0/16"
"""Private network of the cables: a partner there must be permitted (`bodies.<id>.networks`)."""

_experiments = itertools.count()
"""Each has names of its own: the kernel may still be clearing away the last one's."""


@dataclass(frozen=True, slots=True)
class Machine:
    host: str
    """Address at which this machine reaches what runs outside."""
    name: str = ""
    """Of its network namespace."""
    cable: str = ""

    @property
    def apart(self) -> bool:
        """Has it a network of its own?"""
        return bool(self.cable)

    def plug(self, plugged: bool) -> None:
        """Put the network cable in, or pull it."""
        _ip("link", "set", self.cable, "up" if plugged else "down")


def _ip(*arguments: str, check: bool = True) -> bool:
    return subprocess.run(["ip", *arguments], capture_output=True, check=check).returncode == 0


def permitted() -> bool:
    """May network namespaces be made here?"""
    name = f"maillon{os.getpid()}"
    if os.geteuid() or not shutil.which("ip") or not _ip("netns", "add", name, check=False):
        return False
    try:
        cabled = _ip(
            "link", "add", f"mlt{os.getpid()}", "type", "veth", "peer", "name", "eth0", "netns", name, check=False
        )
    finally:
        _ip("netns", "delete", name)  # its end of the cable goes with it, and the other end with that one
    return cabled


@contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """This many machines, removed at the end."""
    if not permitted():
        yield [Machine(f"127.0.0.{rank + 1}") for rank in range(count)]
        return
    pid, made = os.getpid(), next(_experiments)
    names = {f"maillon{pid}-{made}-{rank}": f"ml{pid}-{made}-{rank}" for rank in range(count)}
    try:
        yield [_cabled(*one, f"10.231.{pid % 251}", 4 * rank) for rank, one in enumerate(names.items())]
    finally:
        for name, cable in names.items():
            _ip("link", "delete", cable, check=False)  # at once: a namespace's own end is cleaned up some time later
            _ip("netns", "delete", name, check=False)


def _cabled(name: str, cable: str, network: str, first: int) -> Machine:
    here, there = f"{network}.{first + 1}", f"{network}.{first + 2}"
    _ip("netns", "add", name)
    _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("address", "add", f"{here}/30", "dev", cable)
    _ip("link", "set", cable, "up")
    _ip("-n", name, "address", "add", f"{there}/30", "dev", "eth0")
    _ip("-n", name, "link", "set", "eth0", "up")
    _ip("-n", name, "link", "set", "lo", "up")
    return Machine(here, name, cable)
