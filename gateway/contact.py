"""Trying a partner's settings for real: is it there, is it who it says, does it accept our access?

Nothing is said of anybody and nothing is changed at the partner's. What is found is told by codes; a secret never is.
"""

from __future__ import annotations

import asyncio

from connectors.contract import Contact, Reachable
from connectors.failures import TransportError
from connectors.manifest import ManifestError
from gateway import journal
from gateway.registry import Gateway

PATIENCE = 20.0
"""Seconds for a whole trial."""


async def contacts(gateway: Gateway, body_id: str) -> list[Contact]:
    """First each registered place (name, network, TLS), then what the connector tries; empty: nothing to call.

    What was found before the patience ends is told, then `deadline`. Raises `Unknown` for no such body.
    """
    found: list[Contact] = []
    try:
        async with asyncio.timeout(PATIENCE):
            await _try(gateway, body_id, found)
    except TimeoutError:
        found.append(Contact(body_id, "deadline"))
    except TransportError as error:  # a setting that is no place to call
        found.append(Contact(error.host or body_id, error.code))
    except ManifestError:
        found.append(Contact(body_id, "not-configured"))
    finally:
        await gateway.close_transports()
    return found


async def _try(gateway: Gateway, body_id: str, found: list[Contact]) -> None:
    connector = gateway.connector(body_id)
    transport = gateway.transport(body_id)
    for where in transport.origins:
        try:
            await transport.knock(where)
        except TransportError as error:
            found.append(Contact(where, error.code))
        else:
            found.append(Contact(where))
    if isinstance(connector, Reachable) and not any(one.code for one in found):
        async for one in connector.contacts(transport):
            found.append(Contact(one.what, one.code.replace("_", "-")))


def attempt(gateway: Gateway, body_id: str, by: dict[str, str]) -> list[Contact]:
    """Try it now, outside any transaction, and write down who tried and what came out."""
    found = asyncio.run(contacts(gateway, body_id))
    wrong = next((one.code for one in found if one.code), "")
    with gateway.unit_of_work() as work:
        work.by = by
        journal.append(
            work, "admin.contact", recipient_org=body_id, n_records=len(found), reason_code=wrong,
            outcome="failed" if wrong else "reached" if found else "nothing-to-call",
        )  # fmt: skip
    return found
