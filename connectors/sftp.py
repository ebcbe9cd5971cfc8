"""Files of a partner's SFTP server, brought whole into a folder of this machine (`gateway/drop.py` reads them there),
and files left for it there (`leave`).

A file is downloaded under another name, its size compared with the server's before and after, made durable, renamed;
only then does the server put it in its own `archive/`. A crash in between brings the same file again, and what was
read is recognised. The server is known by its host key and we by ours: no password, nothing is trusted at first sight.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import asyncssh

from connectors.contract import NotObtained
from connectors.drop import complete, shown, why_left

ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Server:
    """`url` is `sftp://account@host[:port]/folder`; `key` and `known_hosts` are files in OpenSSH's formats."""

    url: str
    key: Path
    known_hosts: Path


async def bring(
    server: Server, folder: Path, quiet: float = 10.0, left: list[tuple[str, str]] | None = None
) -> list[str]:
    """Bring what is complete there into `folder`, oldest first; the names brought. `quiet`: seconds without a write.

    `left` is given the names that stay there until somebody acts, each with its reason (`connectors.drop.why_left`).

    Raises `NotObtained`: `refused` when a human must act (`host-key-unknown`, `drop-keys-unreadable`…),
    `retry` when the server cannot be reached or stops answering.
    """
    async with _session(server) as (sftp, there):
        return await _bring(sftp, there, folder, quiet, [] if left is None else left)


async def leave(server: Server, name: str, content: bytes) -> bool:
    """Leave one file in the server's folder: under another name first, then renamed over any file of its own name.

    False when it was there already with these bytes. Raises `NotObtained` as `bring` does, and `retry` `disk-full`.
    """
    async with _session(server) as (sftp, there):
        target, partial = str(there / name), str(there / f"{name}.{secrets.token_hex(4)}.part")
        if await _holds(sftp, target, content):
            return False
        try:
            async with sftp.open(partial, "xb") as stream:
                await stream.write(content)
            if (await sftp.stat(partial)).size != len(content):
                raise NotObtained("retry", "sftp-incomplete")
            await _rename_over(sftp, partial, target)
        except (asyncssh.SFTPError, NotObtained):
            with suppress(asyncssh.SFTPError):
                await sftp.remove(partial)
            raise
        return True


async def _holds(sftp: asyncssh.SFTPClient, path: str, content: bytes) -> bool:
    if not await sftp.isfile(path) or await sftp.getsize(path) != len(content):
        return False
    async with sftp.open(path, "rb") as stream:
        held: object = await stream.read()
    return held == content


async def _rename_over(sftp: asyncssh.SFTPClient, partial: str, target: str) -> None:
    """In one step where the server knows how; else a file of that name, which can only be our own, goes first."""
    try:
        await sftp.posix_rename(partial, target)
    except asyncssh.SFTPOpUnsupported:
        if await sftp.isfile(target):
            await sftp.remove(target)
        await sftp.rename(partial, target)


@asynccontextmanager
async def _session(server: Server) -> AsyncIterator[tuple[asyncssh.SFTPClient, PurePosixPath]]:
    """The server's folder. What fails in it is told as `NotObtained`."""
    where = urlsplit(server.url)
    if where.scheme != "sftp" or not where.hostname or not where.username:
        raise NotObtained("refused", "bad-address")
    try:
        key, hosts = asyncssh.read_private_key(str(server.key)), asyncssh.read_known_hosts(str(server.known_hosts))
    except (ValueError, OSError):  # not the file it should be, under a passphrase, or closed to this account
        raise NotObtained("refused", "drop-keys-unreadable") from None
    try:
        async with (
            asyncssh.connect(
                where.hostname, where.port or 22, username=where.username, client_keys=[key],
                known_hosts=hosts, config=None, agent_path=None, connect_timeout=30,
                keepalive_interval=30,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):  # fmt: skip
            yield sftp, PurePosixPath(where.path or "/")
    except asyncssh.HostKeyNotVerifiable:
        raise NotObtained("refused", "host-key-unknown") from None
    except asyncssh.PermissionDenied:
        raise NotObtained("refused", "access-refused") from None
    except asyncssh.SFTPNoSuchFile:
        raise NotObtained("refused", "folder-missing") from None
    except asyncssh.SFTPPermissionDenied:
        raise NotObtained("refused", "folder-refused") from None
    except (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded):
        raise NotObtained("retry", "disk-full") from None
    except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection):
        raise NotObtained("retry", "sftp-unreachable") from None
    except asyncssh.SFTPError:  # SFTP 3, the most common, has no other word for a full disk
        raise NotObtained("retry", "sftp-failed") from None
    except (asyncssh.Error, OSError):
        raise NotObtained("retry", "sftp-unreachable") from None


async def _bring(
    sftp: asyncssh.SFTPClient, there: PurePosixPath, folder: Path, quiet: float, left: list[tuple[str, str]]
) -> list[str]:
    found = []
    for entry in await sftp.readdir(str(there)):
        name, attributes = str(entry.filename), entry.attrs
        written = attributes.mtime or 0
        mode = attributes.permissions or 0
        if not stat.S_ISDIR(mode) and (reason := why_left(name, mode, written)):  # its folders are the partner's own
            left.append((shown(name), reason))
        if complete(name) and stat.S_ISREG(mode) and time.time() - written >= quiet:
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
