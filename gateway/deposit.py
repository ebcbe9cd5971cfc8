"""Deliveries to a body that takes files: left in its folder, on this machine or on its SFTP server.

    [bodies.departement]
    drop             = "/srv/departement/entrees"                   # or sftp://account@host[:port]/folder
    drop_key         = "/etc/maillon/sftp"                          # our private key there (OpenSSH)
    drop_known_hosts = "/etc/maillon/known_hosts"                   # its host key: never trusted at first sight

A file bears the delivery's id: an attempt repeated after a crash finds its own file, or replaces it, and never makes a
second one. `delivered` with the reason `deposited` says that the transport took the file and no more: nobody on the
other side has read it yet.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import to_json

from connectors import drop
from connectors.contract import Acknowledgement, Connector, Filed, NotObtained, Outgoing
from connectors.manifest import Document
from schemas.record import Written

SETTINGS = ("drop", "drop_key", "drop_known_hosts")
_ACTED_ON = {
    errno.ENOENT: "folder-missing",
    errno.ENOTDIR: "folder-missing",
    errno.EACCES: "folder-refused",
    errno.EPERM: "folder-refused",
    errno.EROFS: "folder-refused",
}
"""What only a human repairs. A full disk empties itself, or is emptied, and the delivery goes: `retry`."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


def content(written: Written, document: Document) -> bytes:
    """The bytes of a written document, in the format that its manifest tells."""
    if isinstance(written.document, bytes):
        return written.document
    if document.format == "csv":
        from connectors.table import one_row  # brings readers of workbooks, for the few who receive a table

        return one_row(written.document)
    return to_json(written.document)


@dataclass(frozen=True, slots=True)
class Drop:
    """Where one body takes its files: a folder, or a server's address with our key and its own."""

    where: str
    key: str = ""
    known_hosts: str = ""

    @classmethod
    def of(cls, told: Mapping[str, str]) -> Drop | None:
        """What a body's settings say; None when they name no drop."""
        return cls(*(told.get(name, "") for name in SETTINGS)) if told.get("drop") else None

    async def leave(self, name: str, data: bytes) -> Acknowledgement:
        """One attempt. Never raises for what the folder or the server answers."""
        try:
            if not self.where.startswith("sftp://"):
                new = await asyncio.to_thread(drop.leave, Path(self.where), name, data)
            elif self.key and self.known_hosts:
                from connectors import sftp  # brings asyncssh, for the few who leave files on a server

                new = await sftp.leave(sftp.Server(self.where, Path(self.key), Path(self.known_hosts)), name, data)
            else:
                return Acknowledgement("refused", "drop-keys-missing")
        except NotObtained as missing:
            return Acknowledgement(missing.outcome, missing.code)
        except OSError as error:
            number = error.errno or 0
            if number in _ACTED_ON:
                return Acknowledgement("refused", _ACTED_ON[number])
            return Acknowledgement("retry", "disk-full" if number in _FULL else "folder-unreachable")
        return Acknowledgement("delivered", "deposited") if new else Acknowledgement("duplicate", "deposited")


async def send(place: Drop, connector: Connector, outgoing: Outgoing, document: Document) -> Acknowledgement:
    """Leave one delivery's file. Its name says the document and the delivery, nothing of the person."""
    data = connector.file(outgoing) if isinstance(connector, Filed) else content(outgoing.written, document)
    if isinstance(data, Acknowledgement):
        return data
    return await place.leave(f"{outgoing.document}-{outgoing.delivery}.{document.format}", data)
