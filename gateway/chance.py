"""Random bytes that are no secret (ids, nonces), drawn from the system many at a time: each call of it costs more than
what is done with its bytes. Keys are never drawn here."""

from __future__ import annotations

import os
import threading

_DRAWN = 4096


class _Drawn(threading.local):
    """What one thread drew and did not use yet: no two threads, and no two processes, are given the same bytes."""

    left = b""
    used = 0


_drawn = _Drawn()


def chance(count: int) -> bytes:
    """`count` random bytes, never given before."""
    start = _drawn.used
    found = _drawn.left[start : start + count]
    if len(found) < count:
        _drawn.left, start = os.urandom(max(_DRAWN, count)), 0
        found = _drawn.left[:count]
    _drawn.used = start + count
    return found


def _forget() -> None:
    """A forked process would draw what its parent draws."""
    global _drawn
    _drawn = _Drawn()


os.register_at_fork(after_in_child=_forget)
