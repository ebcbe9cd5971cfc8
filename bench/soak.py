"""Memory over time: the server of `bench/accept.py` takes exchanges without pause, its resident size is watched.

    python bench/soak.py [--seconds S] [--full] [--json]

New persons all the time over 32 connections, each request with a proof of its own. `growth` is the resident size at the
end over the one after a quarter of the time, when caches have filled. `--full` lasts an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import _common
import httpx
from accept import Server, port, prepare, send, signed
from joserfc.jwk import ECKey

from gateway.access.client import PartnerAuth

ROUND = 200
"""Exchanges signed and sent together: a proof is only taken for a minute after it was signed."""


def resident(pid: int) -> float:
    """Resident memory of a process, in MB."""
    told = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(told.split()[1]) / 1024


def token_of(auth: PartnerAuth) -> str:
    with httpx.Client(trust_env=False) as client:
        proof = auth.proof("POST", auth.token_endpoint)
        answer = client.post(auth.token_endpoint, data=auth.token_form(), headers={"DPoP": proof})
        return str(answer.raise_for_status().json()["access_token"])


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    seconds = 3600 if asked.full else asked.seconds
    key = ECKey.generate_key("P-256", auto_kid=True)
    seen: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        home, number = Path(name), port()
        prepare(home, f"http://127.0.0.1:{number}", key)
        with Server("product", number, home) as server:
            auth = PartnerAuth(server.url, "ccas", key, purpose="accompagnement")
            start, sent = time.monotonic(), 0
            while (elapsed := time.monotonic() - start) < seconds or len(seen) < 4:
                asyncio.run(send(number, signed(auth, server.url, token_of(auth), range(sent, sent + ROUND))))
                sent += ROUND
                seen.append((elapsed, resident(server.pid)))
    settled = seen[len(seen) // 4][1]
    return _common.told(
        "soak",
        {"growth": (seen[-1][1] / settled, 1.1, False)},
        {"seconds": seconds, "exchanges": sent, "settled_mb": settled, "end_mb": seen[-1][1]},
    )


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=60)


if __name__ == "__main__":
    _common.main(__doc__, measure, options)
