"""A partner's SFTP server, real, on this machine."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import asyncssh

from connectors import sftp


class Partner:
    """A partner's SFTP server on this machine, with its host key and the only account it admits: ours."""

    def __init__(self, home: Path, serves: type[asyncssh.SFTPServer] = asyncssh.SFTPServer) -> None:
        self.files, self.ours, self.known_hosts = home / "partage", home / "notre-cle", home / "known_hosts"
        (self.files / "rsa").mkdir(parents=True)
        host, client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        client.write_private_key(str(self.ours))
        authorized = home / "authorized"
        client.write_public_key(str(authorized))
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

        def chroot(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
            return serves(channel, chroot=os.fsencode(self.files))

        async def listen() -> asyncssh.SSHAcceptor:
            return await asyncssh.listen(
                "127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=str(authorized), sftp_factory=chroot
            )

        self.server = asyncio.run_coroutine_threadsafe(listen(), self.loop).result(10)
        self.port = self.server.get_port()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {host.export_public_key().decode()}")

    @property
    def url(self) -> str:
        return f"sftp://maillon@127.0.0.1:{self.port}/rsa"

    def at(self, **changes: object) -> sftp.Server:
        return sftp.Server(**({"url": self.url, "key": self.ours, "known_hosts": self.known_hosts} | changes))  # type: ignore[arg-type]

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
