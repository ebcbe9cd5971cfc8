"""Commands about the gateway's own signing keys; a partner's are changed with `maillon partner rotate`."""

from __future__ import annotations

import time
from enum import StrEnum
from math import ceil
from typing import Annotated

import typer

from gateway import journal, journal_upkeep, note, witness
from gateway.access import webhooks
from gateway.access.tokens import CURRENT, NEXT, RELOAD_AFTER, rotate_signing_key
from gateway.commands import group
from gateway.commands.output import WRONG_USAGE, data, fail
from gateway.keys import Keyring
from gateway.registry import Gateway
from gateway.settings import settings


class Signs(StrEnum):
    """What a key signs."""

    OAUTH = "oauth"
    JOURNAL = "journal"


def register(app: typer.Typer) -> None:
    group(app, "keys", "The gateway's own signing keys.", rotate=rotate, webhook=webhook, witness=witness_)


def webhook() -> None:
    """The public key that the bodies we send notices to register, as Standard Webhooks writes it. Prints JSON."""
    data({"webhook": webhooks.public_text(Gateway.open(settings()).keys.ed25519("webhook"))})


def witness_() -> None:
    """The key of the witness that this gateway is to others' journals, made when there is none, and the line of their
    `witnesses.policy`. Prints JSON. It cosigns the logs whose `vkey` stands in `witness.logs`, once started again."""
    gateway = Gateway.open(settings())
    key = Keyring(gateway.keys.folder).ed25519("witness")
    name = witness.name_of(gateway.settings)
    vkey = note.public_key(name, key, note.COSIGNATURE)
    url = f"{gateway.settings.issuer.rstrip('/')}/v1/journal/witness"
    data({"vkey": str(vkey), "policy": f"witness {name.partition('/')[0]} {vkey} {url}"})


def rotate(
    signs: Annotated[Signs, typer.Argument(help="Access tokens, or the journal's checkpoints.")],
    compromised: Annotated[
        bool, typer.Option("--compromised", help="oauth: refuse what the former key signed, within a minute.")
    ] = False,
) -> None:
    """Sign with a new key, without a stop; what the former one signed stays valid until it ends. Prints JSON.

    A key of access tokens is announced before it signs: where none is, the first run makes and announces it
    (`announced`), and the next one, a minute later, signs with it (`rotated`); sooner, it is refused.
    """
    if compromised and signs is Signs.JOURNAL:
        fail(
            "not-for-the-journal",
            "What it signed stays provable: rotate, then publish and tell the witnesses.",
            WRONG_USAGE,
        )
    gateway = Gateway.open(settings())
    # The operator asks for it: here, and nowhere else in production, the gateway makes a key file.
    keys = Keyring(gateway.keys.folder)
    outcome, announced = "rotated", keys.folder / f"{NEXT}.es256"
    if signs is Signs.OAUTH and not compromised and announced.exists():
        wait = RELOAD_AFTER - (time.time() - announced.stat().st_mtime)
        if wait > 0:
            fail("announced-recently", f"Some process may not know the key yet: run it again in {ceil(wait)} seconds.")
    with gateway.unit_of_work() as work:
        if signs is Signs.OAUTH and not compromised and not announced.exists():
            outcome = "announced"
        journal.append(work, "key.rotate", outcome=f"{signs}-{outcome}")
        work.flush()
        name = CURRENT
        if signs is Signs.JOURNAL:
            name = journal_upkeep.rotate_key(keys)
        elif outcome == "announced":
            keys.es256(NEXT)
        else:
            rotate_signing_key(keys, compromised=compromised)
    data({"key": name, "outcome": outcome} | ({"again_after_s": int(RELOAD_AFTER)} if outcome == "announced" else {}))
