"""The notifications of one side, receiver or sender: read without order, deleted last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from connectors.hubee.client import FOLDERS, Client, Stopped
from connectors.hubee.demarches import Demarche
from connectors.hubee.modele import Event, Notification, read

BATCH = 25


class Boite:
    """What HubEE has to tell one organisation."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._deleted: set[str] = set()

    async def waiting(self, demarche: Demarche) -> AsyncIterator[Notification]:
        """Each notification of a démarche once, batch after batch, events before new cases. Raises `Stopped`.

        A deposit comes before the case it reopens: the corrected file counts, not the one it replaces. One that
        cannot be read never hides the others: it is told (`answer-unexpected`) after them.
        """
        seen: set[str] = set()
        broken = 0
        while True:
            # Those left in place come again and again: they must not fill the batch.
            asked = BATCH + len(seen - self._deleted) + broken
            told = await self.client.json(
                demarche,
                "GET",
                f"{FOLDERS}/notifications",
                params={"eventDetails": "true", "maxResult": str(asked)},
            )
            if not isinstance(told, list):
                raise Stopped("retry", "answer-unexpected")
            batch = [one for each in told if (one := _readable(each))]
            broken = len(told) - len(batch)
            fresh = {one.id: one for one in batch if one.id not in seen}
            for notification in sorted(fresh.values(), key=lambda one: one.event_id is None):
                seen.add(notification.id)
                yield notification
            if not fresh or len(told) < asked:
                break
        if broken:
            raise Stopped("retry", "answer-unexpected")

    async def delete(self, demarche: Demarche, notification: str) -> None:
        """Deleting twice does no harm: one that is gone is deleted. Raises `Stopped`."""
        try:
            await self.client.call(demarche, "DELETE", f"{FOLDERS}/notifications/{notification}", repeatable=True)
        except Stopped as stopped:
            if stopped.outcome == "unknown":
                raise Stopped("retry", stopped.code) from None
            if stopped.code != "not-found":
                raise
        self._deleted.add(notification)

    async def event(self, demarche: Demarche, case: str, event: str) -> Event:
        return read(Event, await self.client.json(demarche, "GET", f"{FOLDERS}/cases/{case}/events/{event}"))

    async def acknowledge(self, demarche: Demarche, case: str, event: str) -> None:
        """Tell the other side that its event was received, once. Raises `Stopped`."""
        path = f"{FOLDERS}/cases/{case}/events/{event}"
        for _ in range(3):
            try:
                if (await self.event(demarche, case, event)).status == "SENT":
                    await self.client.call(demarche, "PATCH", path, json={"status": "RECEIVED"})
                return
            except Stopped as stopped:
                if stopped.outcome != "unknown":
                    raise
        raise Stopped("retry", "outcome-unknown")


def _readable(told: Any) -> Notification | None:
    try:
        return read(Notification, told)
    except Stopped:
        return None
