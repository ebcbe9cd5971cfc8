"""Files of a partner's SFTP server, brought whole into a folder of this machine (`gateway/drop.py` reads them there).

A file is downloaded under another name, its size compared with the server's before and after, made durable, renamed;
only then does the server put it in its own `archive/`. A crash in between brings the same file again, and what was
read is recognised. The server is known by its host key and we by ours: no password, nothing is trusted at first sight.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import asyncssh

from connectors.contract import NotObtained
from connectors.drop import complete

ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Server:
    """`url` is `sftp://account@host[:port]/folder`; `key` and `known_hosts` are files in OpenSSH's formats."""

    url: str
    key: Path
    known_hosts: Path


async def bring(server: Server, folder: Path, quiet: float = 10.0) -> list[str]:
    """Bring what is complete there into `folder`, oldest first; the names brought. `quiet`: seconds without a write.

    Raises `NotObtained`: `refused` when a human must act (`host-key-unknown`, `access-refused`, `folder-missing`),
    `retry` when the server cannot be reached or stops answering.
    """
    where = urlsplit(server.url)
    if where.scheme != "sftp" or not where.hostname or not where.username:
        raise NotObtained("refused", "bad-address")
    try:
        async with (
            asyncssh.connect(
                where.hostname, where.port or 22, username=where.username, client_keys=[str(server.key)],
                known_hosts=str(server.known_hosts), config=None, agent_path=None, connect_timeout=30,
                keepalive_interval=30,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):  # fmt: skip
            return await _bring(sftp, PurePosixPath(where.path or "/"), folder, quiet)
    except asyncssh.HostKeyNotVerifiable:
        raise NotObtained("refused", "host-key-unknown") from None
    except asyncssh.PermissionDenied:
        raise NotObtained("refused", "access-refused") from None
    except asyncssh.SFTPNoSuchFile:
        raise NotObtained("refused", "folder-missing") from None
    except asyncssh.SFTPPermissionDenied:
        raise NotObtained("refused", "folder-refused") from None
    except (asyncssh.Error, OSError):
        raise NotObtained("retry", "sftp-unreachable") from None


async def _bring(sftp: asyncssh.SFTPClient, there: PurePosixPath, folder: Path, quiet: float) -> list[str]:
    found = []
    for entry in await sftp.readdir(str(there)):
        name, attributes = str(entry.filename), entry.attrs
        written = attributes.mtime or 0
        if complete(name) and stat.S_ISREG(attributes.permissions or 0) and time.time() - written >= quiet:
            found.append((written, name))
    brought = []
    for _, name in sorted(found):
        if not (folder / name).exists() and await _one(sftp, there, name, folder):
            brought.append(name)
    return brought


async def _one(sftp: asyncssh.SFTPClient, there: PurePosixPath, name: str, folder: Path) -> bool:
    """Bring one file; False when it changed meanwhile: it stays for the next time."""
    remote, partial = str(there / name), folder / f"{name}.part"
    before = await sftp.lstat(remote)
    await sftp.get(remote, str(partial), follow_symlinks=False)
    after = await sftp.lstat(remote)
    if not (before.size == after.size == partial.stat().st_size and before.mtime == after.mtime):
        partial.unlink()
        return False
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.rename(folder / name)
    await sftp.makedirs(str(there / ARCHIVE), exist_ok=True)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    await sftp.rename(remote, str(there / ARCHIVE / f"{moment}-{name}"))
    return True
